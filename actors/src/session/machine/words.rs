//! What a session is told and what it wants done: the words between the [machine](super) and the actor around it.

use std::sync::Arc;

use super::{Limits, Rules};
use crate::agent::{Decision, Entry};
use crate::clock::Moment;
use crate::ids::{MessageId, OutboxId, Seq, TurnId, UserId};
use crate::ledger::{Done, End, Request, Take};
use crate::shutdown::ticket::Goodbye;

/// A turn that an agent works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The turn.
    pub turn: TurnId,
    /// Its attempt.
    pub attempt: u32,
    /// When it started.
    pub since: Moment,
    /// Its last progress.
    pub heard: Moment,
    /// How long it may take: what held when it began.
    pub limits: Limits,
    /// Who asked.
    pub asked_by: (UserId, String),
    /// What it answers.
    pub reply_to: Option<MessageId>,
    /// The call that it last asked approval for.
    pub asks: Option<String>,
}

impl Run {
    /// When it is to be looked at again.
    pub(super) fn next_limit(&self) -> Moment {
        (self.since + self.limits.wall).min(self.heard + self.limits.idle)
    }
}

/// Whether turns may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They may.
    Open,
    /// Each asks first: one at a time after a crash loop.
    Metered,
    /// None may.
    Shut,
    /// None will: nobody speaks to its chat any more. What waits, waits in the ledger alone.
    Gone,
}

/// What a session is told.
#[derive(Debug)]
pub enum Event {
    /// So many rows wait in the ledger.
    Woken {
        /// How many.
        waiting: u32,
    },
    /// Something was accepted for it.
    Heard,
    /// A cut turn is to run again.
    Resume {
        /// The turn.
        turn: TurnId,
        /// The attempt that was cut.
        attempt: u32,
    },
    /// Whether turns may start from now on.
    Gate(Gate),
    /// What holds for every session from now on. A turn that runs keeps its limits.
    Rules(Arc<Rules>),
    /// The supervisor lets it start, once.
    MayStart,
    /// What came of a start: `None` when the ledger could not write it, told once it is worth trying again.
    Started(Option<Done>),
    /// The agent made progress.
    Progress,
    /// The run is over.
    Ended(RunEnd),
    /// The agent may make this call only with somebody's approval, and asks for it in these words.
    Ask {
        /// The call.
        call: String,
        /// The words.
        question: String,
    },
    /// The agent asks the gateway to go down; its turn ends with this answer.
    GoDown(Request, String),
    /// The end of a turn is durable: `true`; or somebody else ended it first, and its words were not stored: `false`.
    Closed(bool),
    /// What became of a reply.
    Delivery(OutboxId, Delivery),
    /// /stop or /new: whatever was accepted before this is closed by the ledger.
    Halt(Seq),
    /// The same, and the ledger knows nothing of it: the turn's own end tells the chat.
    HaltUnrecorded(Seq),
    /// A limit may have passed.
    Tick,
    /// A shutdown asks for its goodbye; no turn starts any more.
    Drain,
    /// The time is over.
    Interrupt {
        /// Why, in words.
        cause: String,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// With an answer.
    Answered(String),
    /// It could not; why, in words for the chat.
    Failed(String),
}

/// What became of a reply, for the session that owes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is settled: sent, or dead.
    Settled,
    /// Not before the end of a shutdown; why.
    Stuck(String),
}

/// What a session wants done, in this order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Ask the supervisor for leave to start.
    AskToStart,
    /// Give that leave back.
    GiveWay,
    /// Make a start durable.
    Start {
        /// The number of the turn, should a new one start.
        turn: TurnId,
        /// How much to take up.
        take: Take,
    },
    /// Make it durable that a cut turn runs again.
    Resume {
        /// The turn.
        turn: TurnId,
        /// The attempt that was cut.
        attempt: u32,
    },
    /// What was to start will not: nothing waited after all, or somebody closed it.
    NotStarted,
    /// Set the agent to work.
    Run {
        /// The turn.
        turn: TurnId,
        /// Its attempt.
        attempt: u32,
        /// The conversation, ending in what is to be answered.
        history: Vec<Entry>,
        /// What was decided before.
        decisions: Vec<Decision>,
    },
    /// Tell the agent that waits what was decided: it goes on.
    Continue {
        /// Whether it may make the call.
        approved: bool,
    },
    /// Cut the agent's work.
    Abort,
    /// Look again at the limits at this moment.
    Wake(Moment),
    /// Make the end of a turn durable, with its words.
    Close(Box<Close>),
    /// Make it durable that the turn never ran.
    TakeBack {
        /// The turn.
        turn: TurnId,
        /// Its attempt.
        attempt: u32,
    },
    /// Say goodbye with the drain ticket.
    Acknowledge(Goodbye),
}

/// The end of a turn.
#[derive(Debug, PartialEq)]
pub struct Close {
    /// The turn.
    pub run: Run,
    /// How it ended.
    pub end: End,
    /// What the chat is told.
    pub word: Say,
    /// The wish to end the process that came with it.
    pub request: Option<Request>,
}

/// What the chat is told at the end of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// The answer.
    Answer(String),
    /// That it failed, and why.
    Failed(String),
    /// That it took too long, and how.
    TooLong(Limit),
    /// What the agent asks approval for.
    Question(String),
    /// That it was stopped: the command that wanted it could not be recorded, and cannot be answered yet.
    Stopped,
    /// Nothing: it is told elsewhere.
    Nothing,
}

/// Which limit a turn passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The whole time.
    Wall,
    /// The time without progress.
    Idle,
}

/// What a session is doing, for the roll call, /status and operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Nothing, and nothing waits.
    Idle,
    /// Nothing, but this many messages wait.
    Waiting(u32),
    /// A turn runs, or is about to.
    Running {
        /// Since when.
        since: Moment,
        /// Who asked, as the platform shows them.
        asked_by: Option<String>,
    },
    /// The answer is there and on its way.
    Delivering,
}
