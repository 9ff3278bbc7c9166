//! Going down: the words, and the machines that decide.
//!
//! The plan of a shutdown is [`plan`], the count of who is there is [`roll_call`], a session's way to say goodbye is
//! [`ticket`], and what came of it all is [`report`]. The actor that performs it is [`crate::supervisor`].

pub mod plan;
pub mod report;
pub mod roll_call;
pub mod ticket;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use report::{NoticeFate, Outcome, PhaseTime, SessionEnd, ShutdownReport, Verdict};

/// What a shutdown is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownKind {
    /// To be gone until somebody starts us.
    Stop,
    /// To be back at once.
    Restart,
    /// To be back at once as another version.
    Update,
}

impl ShutdownKind {
    /// What two wishes come to: Stop outranks Restart and Update, and the first of these two stays.
    pub fn joined_by(self, other: ShutdownKind) -> ShutdownKind {
        if other == ShutdownKind::Stop { ShutdownKind::Stop } else { self }
    }
}

impl fmt::Display for ShutdownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ShutdownKind::Stop => "stop",
            ShutdownKind::Restart => "restart",
            ShutdownKind::Update => "update",
        })
    }
}

/// The phases of a shutdown, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The census closes; no turn starts any more.
    Quiesce,
    /// Every session is asked for its chat and activity.
    RollCall,
    /// One notice per chat with work.
    Announce,
    /// Running turns may finish.
    Drain,
    /// What still runs is cut, recoverably.
    Interrupt,
    /// The outbox gets its last chance.
    Flush,
    /// Adapters close.
    Disconnect,
    /// The clean flag is written, if it is true.
    Mark,
    /// The ledger closes.
    Close,
}

impl Phase {
    /// As it is written in logs and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Quiesce => "quiesce",
            Phase::RollCall => "roll call",
            Phase::Announce => "announce",
            Phase::Drain => "drain",
            Phase::Interrupt => "interrupt",
            Phase::Flush => "flush",
            Phase::Disconnect => "disconnect",
            Phase::Mark => "mark",
            Phase::Close => "close",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who wants a shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestedBy {
    /// A signal, by its name, and who sent it, in words, where that is known.
    Signal(&'static str, Option<String>),
    /// An operator, and the process that spoke for them, in words, where that is known.
    Operator(Option<String>),
    /// A person in a chat.
    Person(crate::ids::UserId, crate::ids::SessionKey),
    /// The agent of a turn.
    Agent(crate::ids::SessionKey),
    /// The gateway itself (a spent restart budget, too many abandoned runs).
    Gateway,
    /// The application that embeds us.
    Embedder,
}

impl fmt::Display for RequestedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestedBy::Signal(name, None) => f.write_str(name),
            RequestedBy::Signal(name, Some(sender)) => write!(f, "{name} from {sender}"),
            RequestedBy::Operator(None) => f.write_str("operator"),
            RequestedBy::Operator(Some(process)) => write!(f, "operator with {process}"),
            RequestedBy::Person(user, session) => write!(f, "{}:{user} in {}", session.chat.adapter, session.chat),
            RequestedBy::Agent(session) => write!(f, "the agent of {session}"),
            RequestedBy::Gateway => f.write_str("gateway"),
            RequestedBy::Embedder => f.write_str("embedder"),
        }
    }
}

/// The time a shutdown may take, and how it is shared out. `deadline(phase)` is the end of the grace less the budgets of the
/// later phases, so that unspent time rolls forward and no phase eats a later one's minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// The whole of it, from the request to the last byte.
    #[serde(with = "crate::settings::span")]
    pub grace: Duration,
    /// For every session to answer.
    #[serde(with = "crate::settings::span")]
    pub roll_call: Duration,
    /// For every notice to be handed over.
    #[serde(with = "crate::settings::span")]
    pub announce: Duration,
    /// For what still runs to be cut and recorded.
    #[serde(with = "crate::settings::span")]
    pub interrupt: Duration,
    /// For replies that are due.
    #[serde(with = "crate::settings::span")]
    pub flush: Duration,
    /// For adapters to say goodbye.
    #[serde(with = "crate::settings::span")]
    pub disconnect: Duration,
    /// Beyond the grace, before a hung process is ended from outside every runtime.
    #[serde(with = "crate::settings::span")]
    pub margin: Duration,
    /// The service manager's own limit, where it cannot be asked: the grace is clamped below it. Zero: none.
    #[serde(with = "crate::settings::span")]
    pub manager_limit: Duration,
}

impl Budgets {
    /// What every phase but the drain needs: the shortest grace there is.
    pub fn least(&self) -> Duration {
        self.roll_call + self.announce + self.interrupt + self.flush + self.disconnect
    }
}
