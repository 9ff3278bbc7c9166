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

use super::post::{Fate, OutboxRow};
use super::turn::{Finish, Resume, Start, Started};
use crate::agent::Entry;
use crate::children::Child;
use crate::clock::Wall;
use crate::ids::{Account, AdapterName, Cursor, DeliveryId, InstanceId, MessageId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::last_words::{Death, Remains};
use crate::shutdown::{Phase, ShutdownKind};

/// One thing to be made durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A new instance begins, and how the last one ended is settled, with what it left beside the ledger. → [`Done::Ok`]; [`Done::Lost`] when the instance is known.
    Born(Born),
    /// Turns left running by other instances become [`Interrupted`](super::TurnState::Interrupted) (strikes + 1), or [`Parked`](super::TurnState::Parked) once
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
    /// A delivery is taken in. → [`Done::Accepted`], or [`Done::Cleared`]; when (account, delivery) is known [`Done::Duplicate`], or [`Done::Open`].
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
    /// A command took effect that closes something, and this is what it closed.
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
    /// What its chat is told should the row be closed at once: nothing to retry or to decide, over a bound, the end of the process. It is
    /// written in the same breath, so that no cut leaves a closed row without its word.
    pub answer: Vec<OutboxRow>,
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
    /// /stop or /new: a command, and what its session has open before it is closed in the same breath, and nothing after. → [`Done::Cleared`]
    Closing {
        /// As it was written.
        text: String,
        /// What it closes.
        closes: Closes,
    },
    /// A command that ends the process: the row is closed at once and the request recorded, so that it can never happen twice.
    Request(Request),
    /// Over a bound: id and reason are kept, no words; the row is closed.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What a command closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    /// The work of a session: waiting rows, the running turn and cut turns.
    Work,
    /// Its conversation, too: later turns see none of the transcript before.
    Conversation,
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
