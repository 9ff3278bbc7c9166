//! The rows of a ledger, as plain data: what an engine must find ([`Rows`]) and keep ([`Change`]).
//!
//! An engine decides nothing. [`rules`](super::rules) look through [`Rows`] and answer with changes, which the engine keeps in their order
//! before the next step is looked at; so a step never reads what it wrote itself, and one that is refused has written nothing.

use super::undo::Undo;
use super::{InstanceFacts, LeftChild, NoticeKind, OutboxRow, PairCode, Request, TurnState, Word};
use crate::agent::Entry;
use crate::clock::Wall;
use crate::ids::{Account, AdapterName, ChatId, Cursor, DeliveryId, InstanceId, MessageId, OutboxId, Seq, SessionKey, TurnId, UserId};

/// What an engine finds. It decides nothing and changes nothing; each call is one look through an index.
pub(crate) trait Rows {
    /// Why something could not be read.
    type Error;

    /// Whether a delivery, a turn or an outbox row has this number.
    fn used(&mut self, seq: Seq) -> Result<bool, Self::Error>;
    /// What was taken in under this key.
    fn delivery(&mut self, account: &Account, id: &DeliveryId) -> Result<Option<Inbox>, Self::Error>;
    /// What was taken in under this number.
    fn inbox(&mut self, seq: Seq) -> Result<Option<Inbox>, Self::Error>;
    /// The messages and retries of a session that wait, oldest first.
    fn waiting(&mut self, session: &SessionKey) -> Result<Vec<Inbox>, Self::Error>;
    /// What a turn has claimed, oldest first.
    fn claimed(&mut self, turn: TurnId) -> Result<Vec<Seq>, Self::Error>;
    /// A session, if anything was ever said in it.
    fn session(&mut self, session: &SessionKey) -> Result<Option<Session>, Self::Error>;
    /// A turn.
    fn turn(&mut self, turn: TurnId) -> Result<Option<Turn>, Self::Error>;
    /// The turns of a session that run or were cut, oldest first.
    fn open_turns(&mut self, session: &SessionKey) -> Result<Vec<Turn>, Self::Error>;
    /// The newest turn of a session that took something behind this number.
    fn newest_turn(&mut self, session: &SessionKey, behind: Seq) -> Result<Option<Turn>, Self::Error>;
    /// Every turn that runs, oldest first.
    fn running(&mut self) -> Result<Vec<Turn>, Self::Error>;
    /// A turn's part of the transcript, oldest first.
    fn entries(&mut self, turn: TurnId) -> Result<Vec<Entry>, Self::Error>;
    /// What of it judges an entry about this call: the entries of the call, the cuts and the last one, oldest first. A long tool loop must
    /// not read itself again at every step.
    fn entries_about(&mut self, turn: TurnId, call: Option<&str>) -> Result<Vec<Entry>, Self::Error>;
    /// The tool calls of a turn and their results, and its last entry, oldest first.
    fn calls(&mut self, turn: TurnId) -> Result<Vec<Entry>, Self::Error>;
    /// The newest entries of a session's turns before `turn` that took something behind this number; at most so many, oldest first.
    fn earlier(&mut self, session: &SessionKey, turn: TurnId, behind: Seq, most: u32) -> Result<Vec<(TurnId, Entry)>, Self::Error>;
    /// The words about a turn.
    fn said(&mut self, turn: TurnId) -> Result<Vec<Said>, Self::Error>;
    /// An outbox row.
    fn posted(&mut self, id: OutboxId) -> Result<Option<Posted>, Self::Error>;
    /// Whether a chat was told this.
    fn noticed(&mut self, kind: NoticeKind, scope: &str, chat: &ChatId) -> Result<bool, Self::Error>;
    /// Every outbox row that is being sent.
    fn sending(&mut self) -> Result<Vec<Posted>, Self::Error>;
    /// A wish to end the process.
    fn request(&mut self, seq: Seq) -> Result<Option<Asked>, Self::Error>;
    /// An instance.
    fn instance(&mut self, instance: InstanceId) -> Result<Option<InstanceFacts>, Self::Error>;
    /// The pairing codes of an adapter, oldest first.
    fn codes(&mut self, adapter: &AdapterName) -> Result<Vec<PairCode>, Self::Error>;
    /// The pairing codes with these letters, of whatever adapter, oldest first.
    fn codes_reading(&mut self, code: &str) -> Result<Vec<PairCode>, Self::Error>;
    /// Whether somebody was let in.
    fn is_in(&mut self, adapter: &AdapterName, user: &UserId) -> Result<bool, Self::Error>;
    /// What waits in the chats of an adapter, of whatever kind.
    fn waiting_of(&mut self, adapter: &AdapterName) -> Result<Vec<Seq>, Self::Error>;
    /// The turns in the chats of an adapter that run or were cut.
    fn open_turns_of(&mut self, adapter: &AdapterName) -> Result<Vec<Turn>, Self::Error>;
    /// The outbox rows to the chats of an adapter that are neither sent nor dead.
    fn open_posts_of(&mut self, adapter: &AdapterName) -> Result<Vec<OutboxId>, Self::Error>;
}

/// What an engine keeps: whole rows where they are new, and what can change of them where they are not, so that an index is written only
/// where something moved in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// A new instance.
    Born(InstanceFacts),
    /// An instance, otherwise.
    Instance(InstanceFacts),
    /// Where an account stands.
    Cursor(Account, Cursor),
    /// A new row of the inbox, and the key that it is known by (an operator's retry has none); its session is made known where it is not.
    TakenIn(Inbox, Option<(Account, DeliveryId)>),
    /// A row of the inbox: its state, and the turn that has it.
    Inbox(Seq, InboxState, Option<TurnId>),
    /// A row of the inbox is refused, for this reason.
    Refused(Seq, String),
    /// A session.
    Session(SessionKey, Session),
    /// A new turn, with its part of the transcript.
    Begun(Turn, Vec<Entry>),
    /// A turn, otherwise.
    Turn(Turn),
    /// A turn that never was, nor its part of the transcript.
    TurnGone(TurnId),
    /// Entries join a turn's part of the transcript.
    Append(TurnId, Vec<Entry>),
    /// Only so many entries of it stay.
    Truncate(TurnId, u32),
    /// The marks of cuts go from it.
    Uncut(TurnId),
    /// An outbox row that is new, or takes the place of the draft with its number.
    Post(Posted),
    /// An outbox row: where it stands, and what became known with it.
    Posted(OutboxRow),
    /// An outbox row is given up for good, for this reason.
    GivenUp(OutboxId, String),
    /// A wish to end the process.
    Asked(Seq, Asked),
    /// A child process of a turn.
    Child(LeftChild),
    /// No child of a turn is left.
    ChildrenGone(TurnId),
    /// A pairing code.
    Code(PairCode),
    /// A person's code on an adapter goes.
    CodeGone(AdapterName, UserId),
    /// Somebody is let in, under the name that the platform shows.
    LetIn(AdapterName, UserId, String),
    /// Somebody is let in no longer.
    LetOut(AdapterName, UserId),
}

/// One delivery, or an operator's retry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inbox {
    pub(crate) seq: Seq,
    pub(crate) session: SessionKey,
    pub(crate) user: UserId,
    pub(crate) name: String,
    pub(crate) message: Option<MessageId>,
    pub(crate) at: Wall,
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) state: InboxState,
    /// Why it was refused.
    pub(crate) reason: Option<String>,
    /// The turn that a retry names.
    pub(crate) target: Option<TurnId>,
}

/// What a row of the inbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message,
    Retry,
    Command,
    Request,
}

/// Where a row of the inbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InboxState {
    Waiting,
    Claimed,
    Closed,
    Refused,
}

/// One conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Session {
    /// Turns whose newest row does not lie behind this belong to an earlier conversation.
    pub(crate) forgotten: Seq,
    pub(crate) first_user: Option<UserId>,
    /// Whether more than one person has spoken.
    pub(crate) shared: bool,
}

/// One turn, without its part of the transcript.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    pub(crate) id: TurnId,
    pub(crate) session: SessionKey,
    pub(crate) state: TurnState,
    pub(crate) instance: InstanceId,
    pub(crate) attempt: u32,
    pub(crate) strikes: u32,
    pub(crate) since: Wall,
    pub(crate) cause: Option<String>,
    /// The call that it asks approval for.
    pub(crate) asks: Option<String>,
    pub(crate) user: UserId,
    pub(crate) name: String,
    pub(crate) reply_to: Option<MessageId>,
    /// The newest inbox row that it took: what was accepted later lies behind it.
    pub(crate) newest: Seq,
    /// The number that its start brought along, by which a repeated start is recognised; 0 after a resume.
    pub(crate) start: Seq,
    /// How its start is taken back; none: from the rows that it has claimed alone.
    pub(crate) undo: Option<Undo>,
}

impl Turn {
    /// Whether it was cut and can be run again.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self.state, TurnState::Interrupted | TurnState::Parked)
    }

    /// Whether nothing has settled it yet.
    pub(crate) fn is_open(&self) -> bool {
        self.is_cut() || self.state == TurnState::Running
    }
}

/// One outbox row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Posted {
    pub(crate) row: OutboxRow,
    /// The attempt of its turn that it speaks of.
    pub(crate) attempt: u32,
}

/// A word about a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) id: OutboxId,
    pub(crate) word: Word,
    pub(crate) part: u32,
    /// The attempt that it speaks of.
    pub(crate) attempt: u32,
}

/// A wish to end the process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) session: SessionKey,
    pub(crate) request: Request,
    pub(crate) at: Wall,
    pub(crate) answered: bool,
}
