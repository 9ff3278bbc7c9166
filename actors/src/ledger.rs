//! The port to everything durable: a log of steps, each all or nothing, many in one commit.
//!
//! The trait speaks in the steps of a turn's life ([`Step`]), not in rows: an engine decides how to store them, and every engine
//! passes the same contract (`ledger/contract.rs`). A step is a compare-and-set: the first wins, a later one changes
//! nothing and says [`Done::Lost`], so any step may safely be repeated when its fate is unknown. The one writer in front of an
//! engine is [`LedgerActor`](writer::LedgerActor).

#[cfg(any(test, feature = "testkit"))]
pub mod contract;
pub mod memory;
pub mod post;
pub mod questions;
mod rows;
mod rules;
pub mod sqlite;
pub mod steps;
mod transcript;
pub mod turn;
mod undo;
pub mod writer;

pub use post::{Fate, NoticeKind, OutboxRow, OutboxState, What, Word};
pub use questions::{
    CutTurn, InstanceFacts, Knowledge, LedgerFacts, LeftChild, OpenCommand, OpenRequest, OpenWork, PairRow, Paired, Question, RoomLine,
    SessionView, Span, TurnRow, WaitingSession,
};
pub use steps::{Accept, Accepted, Born, Closes, Done, Ending, PairCode, Request, Settle, Step};
pub use turn::{End, Finish, Resume, Start, Started, Take, TurnState};

/// An engine that keeps the ledger. Synchronous: it lives on a thread of its own, or inline in a world.
pub trait Ledger: Send + 'static {
    /// Applies the steps in order, in one durable commit, and answers each in its place. A step that the engine refuses
    /// ([`Done::Refused`]) changes nothing and fails none of its neighbours.
    ///
    /// # Errors
    /// [`Fault::NotCommitted`]: none of the steps took effect. [`Fault::Unknown`]: nobody knows; [`reopen`](Ledger::reopen) and
    /// commit the same steps again.
    fn commit(&mut self, steps: &[Step]) -> Result<Vec<Done>, Fault>;

    /// Answers a question from what is committed.
    ///
    /// # Errors
    /// [`Fault::NotCommitted`] when it cannot be read now.
    fn ask(&mut self, question: &Question) -> Result<Knowledge, Fault>;

    /// Closes and opens again after a fault, reading back what is really there.
    ///
    /// # Errors
    /// When that fails too.
    fn reopen(&mut self) -> Result<(), Fault>;

    /// Makes something durable that means nothing, as large as a long message: only that shows that a ledger which could not
    /// commit can do so again. An engine that cannot run out of room need not.
    ///
    /// # Errors
    /// When it still cannot.
    fn prove(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// How many bytes are in use; what was forgotten is room again. An engine that is bounded by nothing that lasts need not say.
    ///
    /// # Errors
    /// When it cannot be read now.
    fn used(&mut self) -> Result<u64, Fault> {
        Ok(0)
    }

    /// Brings everything into the main file and closes; nothing is called after it.
    ///
    /// # Errors
    /// When the checkpoint could not be made. Everything committed is durable all the same.
    fn close(&mut self) -> Result<(), Fault>;
}

/// Why a commit failed, by what is known afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing of it took effect (disk full, locked, read-only).
    #[error("not committed: {0}")]
    NotCommitted(String),
    /// It may or may not be durable (fsync failed).
    #[error("commit unknown: {0}")]
    Unknown(String),
}

/// Why a ledger could not be opened, by what the operator should do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Written by a newer version that this one cannot read.
    #[error(
        "the ledger {path} is of schema {found}, which needs a reader of at least schema {oldest_reader}; this version knows schema {known}. \
         Run the newer version, or restore the snapshot made before the update"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its schema.
        found: u32,
        /// The oldest schema whose readers may use it.
        oldest_reader: u32,
        /// The newest schema known here.
        known: u32,
    },
    /// Not a ledger, or damaged.
    #[error("the ledger {path} cannot be read: {reason}. Nothing was changed; restore it from a backup, or move it away to start anew")]
    Corrupt {
        /// The file.
        path: String,
        /// What was found.
        reason: String,
    },
    /// The file or its directory cannot be used (permissions, disk full, missing).
    #[error("the ledger {path} cannot be opened: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
}
