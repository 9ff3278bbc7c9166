//! The steps of a turn's life as the ledger records them, and what comes of each.
//!
//! | step | one transaction | only then |
//! |---|---|---|
//! | accept | inbox row, unique by (account, delivery) | the platform is acknowledged |
//! | start | turn `running` with instance and attempt, inbox rows claimed | the agent runs |
//! | progress | a tool call before it runs, its result after | the agent continues |
//! | finish | transcript, turn closed, outbox rows, inbox rows closed | the adapter speaks |
//! | fate | outbox row `due`, `sending`, then `sent`, `failed`, `unknown` or `dead` | the turn is delivered |

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::{Decision, Entry};
use crate::children::Child;
use crate::clock::Wall;
use crate::ids::{Account, AdapterName, ChatId, Cursor, DeliveryId, InstanceId, MessageId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::last_words::{Death, Remains};
use crate::platform::Voice;
use crate::shutdown::{Phase, ShutdownKind};

/// One thing to be made durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A new instance begins, and how the last one ended is settled, with what it left beside the ledger. → [`Done::Ok`]; [`Done::Lost`] when the instance is known.
    Born(Born),
    /// Turns left running by other instances become [`TurnState::Interrupted`] (strikes + 1), or [`TurnState::Parked`] once
    /// their strikes reach `max_attempts`; their dangling tool calls are closed as unknown and [`Entry::Cut`] is appended to
    /// their transcript; outbox rows left `sending` become `unknown`. → [`Done::Ok`]
    Recover {
        /// The instance that recovers; its own turns are left alone.
        instance: InstanceId,
        /// Unclean ends after which a turn is parked.
        max_attempts: u32,
        /// Now.
        at: Wall,
    },
    /// A delivery is taken in. → [`Done::Accepted`]; when (account, delivery) is known [`Done::Duplicate`], or [`Done::Open`].
    Accept(Accept),
    /// An adapter's account was read up to here. → [`Done::Ok`]
    Cursor {
        /// The account.
        account: Account,
        /// Where it stands.
        cursor: Cursor,
    },
    /// A command's row is closed and its answer put into the outbox. → [`Done::Ok`], [`Done::Lost`] when it was settled before.
    Settle(Settle),
    /// /stop, /new: what a session has open before a point is closed. → [`Done::Cleared`], [`Done::Lost`] without the row of the command
    /// that wants it.
    Clear(Clear),
    /// A session takes up what waits. → [`Done::Started`], or [`Done::NothingWaiting`]; [`Done::Refused`] while a turn of the session runs. The same
    /// start again, while its turn runs, answers [`Done::Started`] again: after a commit of unknown fate nobody else would run it.
    Start(Start),
    /// A cut turn runs again by itself. → [`Done::Started`] (also when it is repeated while the turn runs), [`Done::Lost`]; [`Done::Refused`]
    /// while another turn of the session runs.
    Resume(Resume),
    /// A turn that was started but not dispatched is taken back: its rows wait again, the attempt is not counted. A turn that had been cut
    /// before goes back to that. → [`Done::Ok`], [`Done::Lost`]
    Unstart {
        /// The turn.
        turn: TurnId,
        /// Its attempt.
        attempt: u32,
    },
    /// A tool call or its result joins the transcript. → [`Done::Ok`] (also when it is there already), [`Done::Lost`]; [`Done::Refused`] for a
    /// result without its call.
    Progress {
        /// The turn.
        turn: TurnId,
        /// Its attempt.
        attempt: u32,
        /// The entry.
        entry: Entry,
    },
    /// A child process works for a running turn. → [`Done::Ok`], also when it is there already; [`Done::Lost`] when (turn, attempt) is not running.
    Child {
        /// The turn.
        turn: TurnId,
        /// Its attempt.
        attempt: u32,
        /// The child.
        child: Child,
    },
    /// The children of a turn were killed. → [`Done::Ok`]
    ChildrenGone {
        /// The turn.
        turn: TurnId,
    },
    /// A running turn ends. → [`Done::Ok`], also for a repeat of the very same end, whose first commit was unknown; [`Done::Lost`] when
    /// (turn, attempt) is not running: then nothing changes, and none of its replies is stored.
    Finish(Finish),
    /// A word about a turn or to a chat that stands beside the turn's end (interrupted, parked, …). → [`Done::Ok`], [`Done::Duplicate`] when a
    /// row for the same (turn, word, part) exists.
    Tell(OutboxRow),
    /// A notice is recorded as `sending`, before it is sent. → [`Done::Ok`], [`Done::Duplicate`] when one of the same (kind, scope, chat)
    /// exists: then it must not be sent.
    Notice(OutboxRow),
    /// A streamed reply is recorded as `draft`, before its first send. → [`Done::Ok`], [`Done::Duplicate`] when it is there already.
    Draft(OutboxRow),
    /// What became of an outbox row. → [`Done::Ok`], [`Done::Lost`] when the row is `sent`, `dead` or gone.
    Fate {
        /// The row.
        id: OutboxId,
        /// What became of it.
        fate: Fate,
    },
    /// A phase of a shutdown begins. → [`Done::Ok`], [`Done::Lost`] when the instance is unknown.
    Phase {
        /// Whose shutdown.
        instance: InstanceId,
        /// The phase.
        phase: Phase,
        /// Now.
        at: Wall,
    },
    /// Why an instance goes down, as far as it is known: it is written anew when somebody joins. → [`Done::Ok`], [`Done::Lost`] when the
    /// instance is unknown or has said its last word.
    Leaving {
        /// Whose shutdown.
        instance: InstanceId,
        /// Who asked for it, and why, in words.
        why: String,
    },
    /// An instance's last word. → [`Done::Ok`], also when it is repeated; [`Done::Lost`] when it said another.
    Ended {
        /// The instance.
        instance: InstanceId,
        /// Whether every session of the census was Idle or Finished.
        clean: bool,
        /// What the shutdown was for.
        kind: ShutdownKind,
        /// The verdict in words.
        verdict: String,
        /// Now.
        at: Wall,
    },
    /// The request that ended a process was answered. → [`Done::Ok`], [`Done::Lost`] when it was before.
    Answered {
        /// The command's or turn's number that made the request.
        request: Seq,
        /// The answer, if there is a chat to tell.
        replies: Vec<OutboxRow>,
    },
    /// A stranger's pairing code. Replaces that sender's older one; the table keeps the newest 100 per adapter. → [`Done::Ok`]
    PairCode(PairCode),
    /// The holder of a live code is let in. → [`Done::Paired`], [`Done::Lost`] when the code is unknown or too old.
    PairApprove {
        /// The code, as the stranger was told it.
        code: String,
        /// Now.
        at: Wall,
    },
    /// Somebody is let in no longer. → [`Done::Ok`], [`Done::Lost`] when they were not in.
    PairRevoke {
        /// The adapter.
        adapter: AdapterName,
        /// The person.
        user: UserId,
    },
    /// An operator's /retry of one turn: an inbox row of kind retry for it. → [`Done::Ok`], [`Done::Lost`] when the turn is unknown or running.
    TurnRetry {
        /// The new inbox row.
        seq: Seq,
        /// The turn.
        turn: TurnId,
        /// Now.
        at: Wall,
    },
    /// An operator closes a cut or parked turn. → [`Done::Ok`], [`Done::Lost`]
    TurnDrop {
        /// The turn.
        turn: TurnId,
    },
    /// An operator sends a failed, unknown or dead row again. → [`Done::Ok`], [`Done::Lost`]
    OutboxRetry {
        /// The row.
        id: OutboxId,
        /// Now.
        at: Wall,
    },
    /// An operator gives up an undelivered row: it becomes `dead`. → [`Done::Ok`], [`Done::Lost`]
    OutboxDrop {
        /// The row.
        id: OutboxId,
    },
    /// Open rows and pairings of one adapter are given to another. → [`Done::Moved`]
    MoveAdapter {
        /// From.
        from: AdapterName,
        /// To.
        to: AdapterName,
    },
    /// Open rows of an adapter are closed: messages refused, turns stopped, replies dead. → [`Done::Moved`]
    DropAdapter {
        /// The adapter.
        adapter: AdapterName,
    },
    /// Closed rows, keys and transcripts from before `before` are forgotten, at most `most` rows of a kind. → [`Done::Moved`]
    Prune {
        /// The oldest time to keep.
        before: Wall,
        /// How many rows of a kind at most, so that one commit stays short.
        most: u32,
    },
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// It took effect.
    Ok,
    /// The compare-and-set found another state: nothing changed.
    Lost,
    /// It was there before: nothing changed.
    Duplicate {
        /// The session of an earlier accept whose row still waits, to be woken in case it never heard.
        waiting: Option<SessionKey>,
    },
    /// A command that was accepted before and is not settled: perhaps nobody knew that it was, and nobody carries it out.
    Open(Seq),
    /// An accept took effect; rows of /retry, /approve and /deny say whether there is a turn to run again (else the row is closed).
    Accepted {
        /// False for a retry with nothing to retry, or a decision with nothing to decide.
        retryable: bool,
    },
    /// What a clear closed.
    Cleared {
        /// Waiting messages that were closed.
        messages: u32,
        /// The turn that was running and is now `stopped`.
        running: Option<TurnId>,
        /// Cut turns that were closed.
        cut: u32,
    },
    /// A turn may run.
    Started(Box<Started>),
    /// No row waits (a retry row whose turn is gone was closed).
    NothingWaiting,
    /// Who was let in.
    Paired {
        /// The adapter.
        adapter: AdapterName,
        /// The person.
        user: UserId,
        /// The name that the platform shows.
        name: String,
    },
    /// How many rows were touched.
    Moved(u32),
    /// The engine cannot do this step (never because of the disk): nothing of it took effect.
    Refused(String),
}

/// A new instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Born {
    /// It.
    pub instance: InstanceId,
    /// The program's version.
    pub version: String,
    /// The boot of the machine that it lives in; `None` where the system does not tell.
    pub boot: Option<String>,
    /// How its predecessor ended; `None` at the very first start.
    pub predecessor: Option<Ending>,
    /// What its predecessor left beside the ledger: it is put to that one's row.
    pub remains: Option<Remains>,
    /// Now.
    pub at: Wall,
}

/// How an instance ended, as its successor judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// The marker was there and true.
    Clean,
    /// It said goodbye, but not everybody acknowledged.
    Unclean {
        /// Its own verdict in words.
        verdict: String,
    },
    /// It said no goodbye.
    Killed {
        /// The phase that it was in; `None` while serving.
        phase: Option<Phase>,
        /// By what.
        #[serde(default, skip_serializing_if = "Death::is_unknown")]
        by: Death,
    },
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phase, by) = match self {
            Ending::Clean => return f.write_str("clean"),
            Ending::Unclean { verdict } => return f.write_str(verdict),
            Ending::Killed { phase, by } => (phase, by),
        };
        let place = phase.map_or_else(|| "while serving".to_owned(), |phase| format!("in {phase}"));
        match by {
            Death::Unknown => write!(f, "killed {place}"),
            Death::Machine => write!(f, "cut off {place}: the machine restarted"),
            Death::ThirdSignal => write!(f, "killed {place} by a third signal"),
            Death::Overdue => write!(f, "killed {place}, overdue"),
            Death::Hung => write!(f, "found hung {place}"),
            Death::GaveUp => write!(f, "gave up {place}"),
            Death::Manager => write!(f, "killed {place}: the service manager waited no longer"),
            Death::Memory => write!(f, "killed {place}: no memory was left"),
        }
    }
}

/// One delivery taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Accept {
    /// Its place in the order.
    pub seq: Seq,
    /// The platform account it came from: the key is (account, delivery).
    pub account: Account,
    /// The platform's id of the delivery.
    pub delivery: DeliveryId,
    /// The conversation.
    pub session: SessionKey,
    /// Who spoke.
    pub user: UserId,
    /// The name that the platform shows.
    pub name: String,
    /// The platform's id of the message.
    pub message: Option<MessageId>,
    /// Now.
    pub at: Wall,
    /// What it is.
    pub what: Accepted,
}

/// What an accepted delivery is.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted {
    /// Words for the agent; the row waits.
    Message {
        /// The words.
        text: String,
    },
    /// /retry: a row that waits its turn like a message. With nothing to retry it is closed at once.
    Retry,
    /// /approve or /deny: decides what the session's newest turn asks, and becomes a row that waits its turn like a /retry of it. With nothing to
    /// decide it is closed at once.
    Decision {
        /// Whether the call may be made.
        approved: bool,
    },
    /// A command that the desk carries out; the row is open until it is settled, so that a crash cannot swallow the answer.
    Command {
        /// As it was written.
        text: String,
    },
    /// A command that ends the process: the row is closed at once and the request recorded, so that it can never happen twice.
    Request(Request),
    /// Over a bound: id and reason are kept, no words; the row is closed.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A wish to end the process, from a chat or an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What is wished for.
    pub kind: ShutdownKind,
    /// The instance that was asked.
    pub instance: InstanceId,
}

/// A command carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Settle {
    /// The command's row.
    pub seq: Seq,
    /// The answer; empty when there is nothing to say.
    pub replies: Vec<OutboxRow>,
}

/// Closes what a session has open.
#[derive(Clone, Debug, PartialEq)]
pub struct Clear {
    /// The session.
    pub session: SessionKey,
    /// Everything accepted before this, and nothing after: waiting rows, the running turn and cut turns.
    pub before: Seq,
    /// Whether the conversation starts anew: later turns see none of the transcript before this.
    pub forget: bool,
    /// The command that wants it: without its row (its accept was a repeat, or failed) nothing is closed.
    pub by: Option<Seq>,
}

/// Takes up what waits, in the order of acceptance.
///
/// Rows of messages are claimed by the new turn `turn`. When the oldest waiting row is a retry, it alone is taken: the turn
/// that it names, else the session's newest cut turn (interrupted or parked), runs again under its old id with attempt + 1 and strikes 0. Without one,
/// or when the named turn is closed (an answered turn is only ever delivered), the messages of the named or newest turn run as the new turn. Cut turns that the chat was told about before the oldest row taken was accepted become `superseded`.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The id of the turn, if a new one starts.
    pub turn: TurnId,
    /// The session.
    pub session: SessionKey,
    /// How much to take.
    pub take: Take,
    /// Who runs it.
    pub instance: InstanceId,
    /// Now.
    pub at: Wall,
    /// At most so many entries of earlier turns, the newest.
    pub history: u32,
}

/// How much a turn takes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Every waiting message up to the next retry row.
    All,
    /// The oldest alone.
    One,
}

/// A cut turn runs again by itself: from `Interrupted` with this attempt to `Running` with the next, strikes kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Resume {
    /// The turn.
    pub turn: TurnId,
    /// The attempt that was cut.
    pub attempt: u32,
    /// Who runs it.
    pub instance: InstanceId,
    /// Now.
    pub at: Wall,
    /// At most so many entries of earlier turns, the newest.
    pub history: u32,
}

/// A turn that may run.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// The turn.
    pub turn: TurnId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Unclean ends so far.
    pub strikes: u32,
    /// The conversation, ending in what is to be answered. It never ends in a dangling tool call.
    pub history: Vec<Entry>,
    /// The newest message that it answers.
    pub reply_to: Option<MessageId>,
    /// Who asked: the sender of the newest message, with the name that the platform shows.
    pub asked_by: (UserId, String),
    /// Rows that still wait in this session.
    pub left: u32,
    /// What was decided since it was last cut.
    pub decisions: Vec<Decision>,
}

/// The end of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// The turn.
    pub turn: TurnId,
    /// Its attempt.
    pub attempt: u32,
    /// How it ended.
    pub end: End,
    /// What the chat is told. A row whose id is that of a draft turns that draft into the reply's first part.
    pub replies: Vec<OutboxRow>,
    /// The wish to end the process that the turn made, recorded under the turn's number.
    pub request: Option<Request>,
    /// Now.
    pub at: Wall,
}

/// How a turn ends.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// With an answer, which joins the transcript.
    Answered(String),
    /// It waits for somebody's approval: `Interrupted`, and run again by the decision.
    Asks {
        /// The id of the call that needs it.
        call: String,
        /// What the chat is asked.
        question: String,
    },
    /// Cut; it can be run again. Adds no strike: only recovery counts unclean ends.
    Interrupted {
        /// Why, in words.
        cause: String,
    },
    /// It could not be answered; the chat is told why.
    Failed {
        /// Why, in words.
        reason: String,
    },
    /// By /stop or /new, or by an operator.
    Stopped,
    /// By a newer message.
    Superseded,
}

impl End {
    /// The state that it leaves the turn in.
    pub fn state(&self) -> TurnState {
        match self {
            End::Answered(_) => TurnState::Answered,
            End::Asks { .. } | End::Interrupted { .. } => TurnState::Interrupted,
            End::Failed { .. } => TurnState::Failed,
            End::Stopped => TurnState::Stopped,
            End::Superseded => TurnState::Superseded,
        }
    }
}

/// The state of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnState {
    /// An agent works on it, or did when its instance died.
    Running,
    /// Answered; only ever delivered from here.
    Answered,
    /// Cut, or waiting for an approval; can be run again.
    Interrupted,
    /// Cut too often; waits for /retry.
    Parked,
    /// It could not be answered.
    Failed,
    /// Closed by its user or an operator.
    Stopped,
    /// Closed by a newer message.
    Superseded,
}

/// One message to a chat: a part of a reply, or a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place in the order, and its idempotency key.
    pub id: OutboxId,
    /// Where it goes.
    pub chat: ChatId,
    /// The session whose word it is; `None` for a notice to the whole chat.
    pub session: Option<SessionKey>,
    /// The turn that it settles or answers.
    pub turn: Option<TurnId>,
    /// What it is.
    pub what: What,
    /// Which part of a reply, from 0. Parts are sent in order and never interleave with another reply's.
    pub part: u32,
    /// The words.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// Where it stands.
    pub state: OutboxState,
    /// How often it was tried.
    pub tries: u32,
    /// Not to be sent before; clamped on load.
    pub not_before: Wall,
    /// Not to be sent after; `None`: for ever.
    pub valid_until: Option<Wall>,
    /// The platform's id, once sent (or as a draft).
    pub message: Option<MessageId>,
    /// Why it failed last.
    pub reason: Option<String>,
    /// A try of which nobody knows what came of it: another may be a repeat, for as long as the row stands.
    pub unsure: bool,
    /// When it was written.
    pub at: Wall,
}

/// The moment before which nothing is sent that an operator gave up.
pub(crate) const NEVER: Wall = Wall(i64::MAX);

impl OutboxRow {
    /// A message that is to go out at once, and nothing else said of it: one part, nobody's, about to be sent.
    pub fn new(id: OutboxId, chat: ChatId, what: What, text: String, at: Wall) -> Self {
        Self {
            id,
            chat,
            session: None,
            turn: None,
            what,
            part: 0,
            text,
            reply_to: None,
            state: OutboxState::Sending,
            tries: 0,
            not_before: crate::settings::AT_ONCE,
            valid_until: None,
            message: None,
            reason: None,
            unsure: false,
            at,
        }
    }

    /// Whether an operator gave it up: nobody has to look after it any more, though it can still be sent.
    pub fn is_given_up(&self) -> bool {
        self.state == OutboxState::Dead && self.not_before == NEVER
    }
}

/// What an outbox row is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// The word that settles a turn or answers a command: delivered at least once, marked when it may be a repeat.
    Reply {
        /// Which word.
        word: Word,
    },
    /// The gateway's own: at most once, unique by (kind, scope, chat), never repeated when its fate is unknown.
    Notice {
        /// Which one.
        kind: NoticeKind,
        /// What it is unique within: the instance whose shutdown it speaks of, or a minute.
        scope: String,
    },
}

impl What {
    /// Whose words these are.
    pub fn voice(&self) -> Voice {
        match self {
            What::Reply { word: Word::Answer } => Voice::Agent,
            What::Reply { .. } | What::Notice { .. } => Voice::Gateway,
        }
    }
}

/// The words that settle something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The agent's answer.
    Answer,
    /// The turn was cut.
    Interrupted,
    /// The turn asks for approval.
    Approval,
    /// The turn was cut too often.
    Parked,
    /// The turn could not be answered.
    Failed,
    /// The message was not taken up.
    Refused,
    /// The answer to a command.
    Command,
}

/// The gateway's own notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Going down; the milder text where work only waits is the same notice.
    Down,
    /// A message that arrived while going down is saved.
    Saved,
    /// Back again.
    Back,
    /// Too many messages.
    TooMany,
    /// A stranger's pairing code.
    Pairing,
}

/// Where an outbox row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxState {
    /// A streamed reply that is not finished.
    Draft,
    /// To be sent.
    Due,
    /// Being sent; after a crash: unknown.
    Sending,
    /// The platform has it.
    Sent,
    /// Nobody knows.
    Unknown,
    /// Not delivered; tried again at `not_before`.
    Failed,
    /// Given up, with the reason; an operator may send it again.
    Dead,
}

/// What became of an outbox row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is about to be sent (tries + 1).
    Sending,
    /// The platform has it.
    Sent {
        /// The platform's id.
        message: Option<MessageId>,
        /// The words as they were sent, where they were rendered late.
        text: Option<String>,
    },
    /// Still a draft, now with the platform's id.
    Drafted {
        /// The platform's id.
        message: MessageId,
    },
    /// Certainly not delivered; to be tried again.
    Failed {
        /// Not before.
        not_before: Wall,
        /// Why.
        reason: String,
    },
    /// Nobody knows.
    Unknown {
        /// Not before.
        not_before: Wall,
        /// Why.
        reason: String,
    },
    /// Given up.
    Dead {
        /// Why.
        reason: String,
    },
}

/// A stranger's pairing code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairCode {
    /// The adapter.
    pub adapter: AdapterName,
    /// The stranger.
    pub user: UserId,
    /// The name that the platform shows.
    pub name: String,
    /// The code.
    pub code: String,
    /// Worthless after. One that expires later than [`LIVES`](Self::LIVES) from now was given out by another clock, and is worthless too.
    pub expires: Wall,
}

impl PairCode {
    /// How long a code opens.
    pub const LIVES: Duration = Duration::from_secs(3600);

    /// Whether it opens at this time.
    pub fn opens(&self, at: Wall) -> bool {
        (at..=at.plus(Self::LIVES)).contains(&self.expires)
    }
}
