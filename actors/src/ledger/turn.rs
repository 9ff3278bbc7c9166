//! A turn: how it starts, runs again and ends.

use serde::{Deserialize, Serialize};

use super::post::OutboxRow;
use super::steps::Request;
use crate::agent::{Decision, Entry};
use crate::clock::Wall;
use crate::ids::{InstanceId, MessageId, SessionKey, TurnId, UserId};

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
