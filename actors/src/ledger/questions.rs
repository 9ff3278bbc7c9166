//! What can be asked of a ledger, and what it knows.

use serde::{Deserialize, Serialize};

use super::{Ending, OutboxRow, OutboxState, Request, TurnState};
use crate::children::Child;
use crate::clock::Wall;
use crate::ids::{Account, AdapterName, ChatId, Cursor, InstanceId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::last_words::LastWords;
use crate::platform::Voice;
use crate::shutdown::{Phase, ShutdownKind};

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// What kind of ledger this is and how the last instance ended. → [`Knowledge::Facts`]
    Facts,
    /// Everything open, for recovery, after [`Step::Recover`](super::Step::Recover). → [`Knowledge::Open`]
    Open,
    /// Where an account was read up to. → [`Knowledge::Cursor`]
    Cursor(Account),
    /// Replies of an adapter that are not delivered (due, failed, unknown; drafts of turns that no longer run), oldest first. Notices are never among them. → [`Knowledge::Outbox`]
    Undelivered(AdapterName),
    /// Outbox rows that an operator may care about (not sent, not a settled notice), of every adapter, oldest first. → [`Knowledge::Outbox`]
    Outbox,
    /// Turns that are running, interrupted or parked, oldest first. → [`Knowledge::Turns`]
    Turns,
    /// What one session has open. → [`Knowledge::Session`]
    Session(SessionKey),
    /// Who was let in and who has a live code. → [`Knowledge::Pairs`]
    Pairs {
        /// Now; codes that expired before are left out.
        at: Wall,
    },
    /// What was said in a chat: messages that were taken in, and replies and notices that are sent or being sent, in order.
    /// → [`Knowledge::Room`]
    Room {
        /// The chat.
        chat: ChatId,
        /// Which of it.
        span: Span,
    },
    /// The last instances, newest first. → [`Knowledge::Instances`]
    Instances {
        /// At most so many.
        most: u32,
    },
    /// How many open rows (waiting messages, cut turns, undelivered replies) each adapter has. → [`Knowledge::Adapters`]
    Adapters,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Knowledge {
    /// To [`Question::Facts`].
    Facts(Box<LedgerFacts>),
    /// To [`Question::Open`].
    Open(Box<OpenWork>),
    /// To [`Question::Cursor`].
    Cursor(Option<Cursor>),
    /// To [`Question::Undelivered`] and [`Question::Outbox`].
    Outbox(Vec<OutboxRow>),
    /// To [`Question::Turns`].
    Turns(Vec<TurnRow>),
    /// To [`Question::Session`].
    Session(Box<SessionView>),
    /// To [`Question::Pairs`].
    Pairs(Vec<PairRow>),
    /// To [`Question::Room`].
    Room(Vec<RoomLine>),
    /// To [`Question::Instances`].
    Instances(Vec<InstanceFacts>),
    /// To [`Question::Adapters`].
    Adapters(Vec<(AdapterName, u32)>),
}

/// What a new instance must know before it is born.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerFacts {
    /// This ledger's own id, made with it.
    pub ledger: uuid::Uuid,
    /// The highest number in it.
    pub last_seq: Seq,
    /// The last instance.
    pub last: Option<InstanceFacts>,
    /// When each of the newest starts (at most 32) that followed an unclean end was, newest first, up to the last clean one.
    pub unclean_starts: Vec<Wall>,
}

/// One instance, as far as its rows tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceFacts {
    /// It.
    pub instance: InstanceId,
    /// The program's version.
    pub version: String,
    /// When it began.
    pub born: Wall,
    /// The boot of the machine that it lived in, where the system told.
    #[serde(default)]
    pub boot: Option<String>,
    /// The last phase of its shutdown, and since when.
    pub phase: Option<(Phase, Wall)>,
    /// Its last word: when, what for, clean or not, and its verdict.
    pub ended: Option<(Wall, ShutdownKind, bool, String)>,
    /// How its predecessor ended.
    pub predecessor: Option<Ending>,
    /// Who asked for its end, and why, in words.
    #[serde(default)]
    pub why: Option<String>,
    /// When it was alive for certain, as it left beside the ledger.
    #[serde(default)]
    pub seen: Option<Wall>,
    /// Its last words, as it left them beside the ledger.
    #[serde(default)]
    pub words: Option<LastWords>,
}

/// Everything open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenWork {
    /// Turns that were cut, are not closed, and wait for a word of theirs: not those that ask for approval, nor those for which a /retry waits.
    /// Oldest first.
    pub cut: Vec<CutTurn>,
    /// Children of turns, by turn.
    pub children: Vec<LeftChild>,
    /// Sessions with waiting rows, by their oldest row.
    pub waiting: Vec<WaitingSession>,
    /// Commands that were accepted and not settled, oldest first.
    pub commands: Vec<OpenCommand>,
    /// Wishes to end the process that nobody answered yet.
    pub requests: Vec<OpenRequest>,
    /// Sessions with replies that are not delivered, and how many.
    pub owed: Vec<(SessionKey, u32)>,
    /// Chats whose newest "down" or "saved" notice (sent, being sent or unknown) has no later "back" notice: the shutdown it spoke of, and when it
    /// was written.
    pub told_down: Vec<(ChatId, InstanceId, Wall)>,
}

/// A child process that was on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftChild {
    /// Whose it was.
    pub turn: TurnId,
    /// The instance that started it.
    pub instance: InstanceId,
    /// It.
    pub child: Child,
}

/// A turn that was cut.
#[derive(Clone, Debug, PartialEq)]
pub struct CutTurn {
    /// The turn.
    pub turn: TurnId,
    /// Its session.
    pub session: SessionKey,
    /// The attempt that was cut.
    pub attempt: u32,
    /// Unclean ends so far.
    pub strikes: u32,
    /// Interrupted or Parked.
    pub state: TurnState,
    /// Why, in words; `None` when its instance went without a word.
    pub cause: Option<String>,
    /// Whether the chat was told (a row of word interrupted or parked exists for its present state).
    pub told: bool,
    /// Who asked.
    pub user: UserId,
}

/// A session with waiting rows.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingSession {
    /// The session.
    pub session: SessionKey,
    /// How many rows.
    pub count: u32,
    /// The newest.
    pub last: Seq,
}

/// A command that was accepted and not settled.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenCommand {
    /// Its row.
    pub seq: Seq,
    /// The session it was given in.
    pub session: SessionKey,
    /// Who gave it.
    pub user: UserId,
    /// The name that the platform shows.
    pub name: String,
    /// As it was written.
    pub text: String,
    /// The message to answer.
    pub message: Option<crate::ids::MessageId>,
}

/// A wish to end the process that nobody answered yet.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRequest {
    /// The command's row or the turn that made it.
    pub seq: Seq,
    /// The session it came from.
    pub session: SessionKey,
    /// The wish.
    pub request: Request,
    /// When it was made.
    pub at: Wall,
}

/// A turn, for an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnRow {
    /// The turn.
    pub turn: TurnId,
    /// Its session.
    pub session: SessionKey,
    /// Its state.
    pub state: TurnState,
    /// Its attempt.
    pub attempt: u32,
    /// Unclean ends so far.
    pub strikes: u32,
    /// Since when it is in that state.
    pub since: Wall,
    /// Why it was cut.
    pub cause: Option<String>,
    /// Whether it waits for an approval.
    #[serde(default)]
    pub asks: bool,
}

/// What one session has open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionView {
    /// Rows that wait.
    pub waiting: u32,
    /// The turn that runs.
    pub running: Option<(TurnId, Wall)>,
    /// The newest cut turn.
    pub cut: Option<TurnRow>,
    /// Replies that are not delivered.
    pub owed: u32,
    /// Turns of this conversation, whatever became of them.
    pub turns: u32,
}

/// Somebody who was let in, or who waits to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairRow {
    /// The adapter.
    pub adapter: AdapterName,
    /// The person.
    pub user: UserId,
    /// The name that the platform shows. Foreign text.
    pub name: String,
    /// In, or waiting.
    pub state: Paired,
}

/// Whether somebody is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paired {
    /// Let in.
    In,
    /// Holds this code until then.
    Waiting {
        /// The code.
        code: String,
        /// Worthless after.
        expires: Wall,
    },
}

/// A stretch of what was said in a chat: the newest lines between two numbers, as many as it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Lines with a higher number.
    pub after: Seq,
    /// And a lower one, if there is a bound.
    pub before: Option<Seq>,
    /// At most so many.
    pub most: u32,
    /// With texts of so many bytes together at most; a single line may be longer.
    pub bytes: u32,
}

impl Span {
    /// Whether a line of this length may be among those that there are, which have so many bytes.
    pub(super) fn has_room(&self, lines: usize, bytes: usize, length: usize) -> bool {
        lines < self.most as usize && (lines == 0 || bytes + length <= self.bytes as usize)
    }
}

/// One line of what was said in a chat.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomLine {
    /// Its number.
    pub seq: Seq,
    /// Whose words; `None`: a person's.
    pub voice: Option<Voice>,
    /// The delivery id of a person's message, by which a client recognises its own.
    pub delivery: Option<crate::ids::DeliveryId>,
    /// The words.
    pub text: String,
    /// When.
    pub at: Wall,
    /// The state of a reply or notice.
    pub state: Option<OutboxState>,
    /// The outbox row of a reply or notice.
    pub outbox: Option<OutboxId>,
}
