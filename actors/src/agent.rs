//! The port to an agent: given a conversation, it works and answers.
//!
//! A run is a `Send` future on the agents' own runtime. It is cut by dropping it: whatever it holds (connections, children)
//! must go with it. It reports through [`Report`], and what it reports is durable before it goes on. Kinds stand in
//! `agent/<kind>.rs`; the actor that runs one is [`crate::session`].

pub mod demo;
pub mod openai;

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::children::Child;
use crate::ids::{SessionKey, TurnId};
use crate::shutdown::ShutdownKind;

/// Something that answers.
pub trait Agent: Send + Sync + 'static {
    /// The kind as written in the configuration (`openai`).
    fn kind(&self) -> &'static str;

    /// Works on one turn until it has an answer. Dropping the future cuts the work.
    fn run(&self, task: Task, report: Report) -> BoxFuture<'static, Result<Answer, AgentError>>;
}

/// One run of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The turn.
    pub turn: TurnId,
    /// The how-many-th attempt at it this is, from 1.
    pub attempt: u32,
    /// The conversation.
    pub session: SessionKey,
    /// The conversation so far, oldest first; its last `User` entries are what is to be answered.
    pub history: Vec<Entry>,
    /// What was decided since this turn was last cut: what [`Report::approval`] answers at once.
    pub decisions: Vec<Decision>,
}

/// What somebody answered an agent that asked for approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The call that it speaks of.
    pub call: String,
    /// Whether it may be made.
    pub approved: bool,
}

/// One entry of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// Somebody's words.
    User {
        /// The name that the platform shows, in a session that several share.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The words.
        text: String,
    },
    /// The agent's answer.
    Assistant {
        /// The words.
        text: String,
    },
    /// A tool was called.
    ToolCall {
        /// The call's id, unique within its turn.
        call: String,
        /// The tool's name.
        name: String,
        /// Its arguments, as JSON text.
        arguments: String,
    },
    /// What came of a call. Every call in a transcript has one: a call cut by a crash is closed as unknown.
    ToolResult {
        /// The call's id.
        call: String,
        /// The result, or `None`: unknown, the call may have had effects.
        result: Option<String>,
    },
    /// The agent asked whether it may do something; the turn waits for a decision.
    Asked {
        /// The id of the call that it wants to make, unique within its turn.
        call: String,
        /// The question, as the chat was told it.
        question: String,
    },
    /// Somebody decided.
    Decided {
        /// The call's id.
        call: String,
        /// Whether it may be made.
        approved: bool,
    },
    /// The turn above was cut here, before it was answered.
    Cut,
}

/// What an agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The words. An agent with nothing to say answers with an empty text; the chat is told so.
    pub text: String,
}

/// Why a run failed, in words for the chat (`reason`, no secrets, no URLs).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// It may work when it is tried again (overload, connection lost).
    #[error("{0}")]
    Unavailable(String),
    /// It will fail again (key rejected, model unknown, answer not understood).
    #[error("{0}")]
    Failed(String),
}

/// What a running agent reports, and to whom. Clones report on the same run.
#[derive(Clone, Debug)]
pub struct Report {
    news: mpsc::Sender<News>,
}

/// One thing that a running agent reports.
#[derive(Debug)]
pub enum News {
    /// It makes progress; resets the idle limit.
    Alive,
    /// Another piece of the answer.
    Text(String),
    /// A tool is about to be called, or has answered. The agent goes on once it is durable.
    Step {
        /// The entry for the transcript.
        entry: Entry,
        /// Fires when it is durable; dropped when the turn is no longer this run's.
        durable: oneshot::Sender<()>,
    },
    /// A child process works for this run. The agent gives it something to do once it is on record.
    Child {
        /// The child.
        child: Child,
        /// Fires when it is durable; dropped when the turn is no longer this run's.
        durable: oneshot::Sender<()>,
    },
    /// It may go no further without somebody's approval.
    Ask {
        /// The id of the call that it wants to make.
        call: String,
        /// What the chat is asked.
        question: String,
        /// Fires when it is decided; dropped when the turn is no longer this run's.
        decided: oneshot::Sender<bool>,
    },
    /// The agent asks the gateway to go down or start again. The turn is closed by the transaction that records it.
    GoDown {
        /// What is asked for.
        kind: ShutdownKind,
        /// The answer that closes the turn.
        answer: String,
    },
}

/// The turn is no longer this run's: stop working, nobody will hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the turn was taken from this run")]
pub struct TurnLost;

impl Report {
    /// A report and the place where its news arrive; at most `bound` wait there, then the agent does.
    pub fn channel(bound: usize) -> (Self, mpsc::Receiver<News>) {
        let (news, inbox) = mpsc::channel(bound);
        (Self { news }, inbox)
    }

    /// Shows progress, so that the idle limit starts again.
    pub async fn alive(&self) -> Result<(), TurnLost> {
        self.say(News::Alive).await
    }

    /// Adds a piece to the answer while it is being made. What counts is the [`Answer`] at the end.
    pub async fn text(&self, piece: impl Into<String>) -> Result<(), TurnLost> {
        self.say(News::Text(piece.into())).await
    }

    /// Records a tool call before it runs, or its result after; returns once it is durable.
    pub async fn step(&self, entry: Entry) -> Result<(), TurnLost> {
        let (durable, done) = oneshot::channel();
        self.say(News::Step { entry, durable }).await?;
        done.await.map_err(|_| TurnLost)
    }

    /// Records a child process, so that it is killed whatever becomes of the gateway: with this run when it is cut, else by the next start, before
    /// the turn may run again. The bound of open files that the gateway raised for itself is lowered for it. Returns once it is durable; only then give
    /// the child something to do.
    pub async fn child(&self, child: Child) -> Result<(), TurnLost> {
        crate::open_files::lower(&child);
        let (durable, done) = oneshot::channel();
        self.say(News::Child { child, durable }).await?;
        done.await.map_err(|_| TurnLost)
    }

    /// Asks the chat whether `call` may be made, and waits for as long as it takes. The turn is durable while it waits, counts as idle and may
    /// outlive the gateway: then the agent runs again, and the same question (by its `call`) is answered at once. So nothing else of the run may
    /// be under way meanwhile; a tool call without a result is closed as unknown.
    pub async fn approval(&self, call: impl Into<String>, question: impl Into<String>) -> Result<bool, TurnLost> {
        let (decided, decision) = oneshot::channel();
        self.say(News::Ask { call: call.into(), question: question.into(), decided }).await?;
        decision.await.map_err(|_| TurnLost)
    }

    /// Asks the gateway to go down or start again; the only way an agent can. The run ends with it: `answer` closes the turn.
    pub async fn go_down(&self, kind: ShutdownKind, answer: impl Into<String>) -> Result<(), TurnLost> {
        self.say(News::GoDown { kind, answer: answer.into() }).await
    }

    async fn say(&self, news: News) -> Result<(), TurnLost> {
        self.news.send(news).await.map_err(|_| TurnLost)
    }
}

/// How long a turn may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    /// From start to answer.
    pub wall: Duration,
    /// Without any news.
    pub idle: Duration,
}
