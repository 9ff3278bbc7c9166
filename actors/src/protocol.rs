//! Every message, by direction. A request is in the imperative, a fact in the past tense.
//!
//! Addresses point from parent to child; children answer on the [`Recipient`]s of their [`Upward`] line. What must happen is sent and
//! acknowledged, never asked with a time-out: dropping the question would unsend it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Message, Recipient};

use crate::agent::{Agent, AgentError, Answer};
use crate::clock::Moment;
use crate::ids::{Account, AdapterName, AgentName, ChatId, OutboxId, Seq, SessionKey, TurnId};
use crate::ledger::{Done, Fault, Knowledge, NoticeKind, OutboxRow, Question, Request};
use crate::platform::{Offer, Platform};
use crate::session::machine::{Activity, Delivery, Gate, Rules};
use crate::settings::{AdapterSettings, Settings};
use crate::shutdown::report::NoticeFate;
use crate::shutdown::roll_call::Work;
use crate::shutdown::ticket::{Goodbye, Seat, Ticket};
use crate::shutdown::{RequestedBy, ShutdownKind, ShutdownReport};
use crate::supervision::Ended;

// --- to the supervisor, from whoever embeds it ---------------------------------------------------------------------------------

/// Go down: tell every chat, drain, leave the flag if it is true, and say what it came to. A second request joins the first.
#[derive(Message)]
#[rtype(result = "Result<ShutdownReport, Unanswered>")]
pub struct Shutdown {
    /// What for.
    pub kind: ShutdownKind,
    /// How long it may take; `None`: as configured or, where it joins another, as that one has it. The shorter wins.
    pub grace: Option<Duration>,
    /// Who wants it.
    pub requested_by: RequestedBy,
    /// Why, in their words; logged, never sent to a chat.
    pub reason: Option<String>,
}

/// No more time for the drain of the shutdown that is under way; who wants that, unless it goes with a request of its own.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Hurry(pub Option<RequestedBy>);

/// What is going on.
#[derive(Message)]
#[rtype(result = "Box<Status>")]
pub struct GetStatus;

/// Hold: no turn starts, messages are saved; until [`Resume`] or the end of the instance.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Hold;

/// End a hold, by an operator or after a crash loop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Resume;

/// Ask the ledger, behind everything written so far.
#[derive(Message)]
#[rtype(result = "Result<Knowledge, Fault>")]
pub struct Inquire(pub Question);

/// An operator's order about what is in the ledger.
#[derive(Message)]
#[rtype(result = "Result<Done, String>")]
pub enum Order {
    /// Run a turn again.
    RetryTurn(TurnId),
    /// Close a cut or parked turn.
    DropTurn(TurnId),
    /// Send a failed, unknown or dead reply again.
    RetryOutbox(OutboxId),
    /// Give a reply up.
    DropOutbox(OutboxId),
    /// Let the holder of a code in.
    Approve(String),
    /// Let somebody in no longer.
    Revoke(AdapterName, crate::ids::UserId),
    /// Give the open rows of an adapter that is not configured to another one.
    MoveAdapter(AdapterName, AdapterName),
    /// Close the open rows of an adapter that is not configured.
    DropAdapter(AdapterName),
}

/// Be set like this from now on: all of it is there and was checked. Only what differs is touched; turns run on. Refused, with the reason, while the
/// gateway starts or goes down: then nothing changed.
#[derive(Clone, Message)]
#[rtype(result = "Result<(), String>")]
pub struct Reconfigure {
    /// How everything is set.
    pub settings: Arc<Settings>,
    /// Every agent, by name. The next turn of a chat is its adapter's agent's; a turn that runs keeps the one that it has.
    pub agents: HashMap<AgentName, Arc<dyn Agent>>,
    /// Every adapter. One with a platform is new, or connects anew to it; one without is there and keeps its connection; one that is missing here
    /// hears and says nothing more, and what it owes stays in the ledger.
    pub adapters: Vec<(AdapterSettings, Option<Arc<dyn Platform>>)>,
}

/// The gateway is gone before it could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway ended before it could answer")]
pub struct Unanswered;

/// What the supervisor says to whoever embeds it.
#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
pub enum Bulletin {
    /// This life is on record, and how the one before ended: what that one left beside the ledger is of no use any more.
    Born,
    /// It serves: the first adapter is up, or all have had their first try.
    Ready,
    /// A shutdown began, or was joined: it may take this long from now, and the margin.
    GoingDown {
        /// What for.
        kind: ShutdownKind,
        /// The grace.
        grace: Duration,
    },
    /// A phase of the shutdown began.
    Phase(crate::shutdown::Phase),
    /// The shutdown is over; nobody below lives any more.
    Down(Arc<ShutdownReport>),
    /// The ledger is lost: nothing may be said any more, end the process at once.
    Lost(String),
}

/// What is going on.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Status {
    /// This life.
    pub instance: crate::ids::InstanceId,
    /// How long it has lasted, in milliseconds.
    pub up_ms: u64,
    /// Why it is not ready, part by part; empty: ready.
    pub not_ready: Vec<String>,
    /// The phase of a shutdown, if one is under way.
    pub phase: Option<crate::shutdown::Phase>,
    /// Whether turns are held, and why.
    pub held: Option<String>,
    /// Sessions in memory.
    pub sessions: usize,
    /// Sessions with a turn that runs, longest first (at most 100): who, and for how long in milliseconds.
    pub running: Vec<(SessionKey, u64)>,
    /// How many turns run.
    pub running_count: usize,
    /// Messages that wait for their turn in sessions in memory.
    pub waiting: usize,
    /// Unclean starts in a row within the time of a crash loop, this one included.
    pub unclean_starts: u32,
    /// Whether the ledger commits; else why not.
    pub ledger: Result<(), String>,
    /// Every adapter.
    pub adapters: Vec<(AdapterName, AdapterHealth)>,
    /// How many of them wait before they connect, as a crash loop has it.
    pub adapters_waiting: usize,
    /// How long they do, in milliseconds.
    pub adapters_wait_ms: u64,
    /// Messages accepted since the start.
    pub accepted: u64,
    /// Replies delivered since the start.
    pub delivered: u64,
    /// Runs that were cut and did not yield.
    pub abandoned: usize,
}

// --- to the supervisor, from below ---------------------------------------------------------------------------------------------

/// The lines on which children speak to the supervisor. One of it is shared by all of them.
pub struct Upward {
    /// See [`Offered`].
    pub offered: Recipient<Offered>,
    /// See [`AdapterNews`].
    pub adapter: Recipient<AdapterNews>,
    /// See [`Present`].
    pub present: Recipient<Present>,
    /// See [`SaidGoodbye`].
    pub goodbye: Recipient<SaidGoodbye>,
    /// See [`SessionNews`].
    pub session: Recipient<SessionNews>,
    /// See [`Fallen`].
    pub fallen: Recipient<Fallen>,
}

/// A platform offers something.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Offered {
    /// The adapter.
    pub adapter: AdapterName,
    /// Who we are there.
    pub account: Account,
    /// What it offers.
    pub offer: Offer,
}

/// News of an adapter.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum AdapterNews {
    /// It took these replies up from the ledger, and has yet to deliver them.
    Owes(Vec<(SessionKey, OutboxId)>),
    /// How it is.
    Health(AdapterName, AdapterHealth),
    /// What became of a reply.
    Delivered {
        /// The session that owes it.
        session: Option<SessionKey>,
        /// The row.
        row: OutboxId,
        /// What became of it.
        delivery: Delivery,
    },
    /// A notice was handed to the platform.
    Handed(ChatId, NoticeKind),
    /// The platform gave a notice back, to be sent later.
    HeldBack(ChatId, NoticeKind),
    /// What became of a notice.
    Noticed(ChatId, NoticeKind, NoticeFate),
    /// Nothing is due in its outbox any more.
    Flushed(AdapterName),
    /// It said goodbye.
    Closed(AdapterName),
}

/// How an adapter is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterHealth {
    /// It tries for the first time.
    Connecting,
    /// There is evidence that it receives.
    Connected,
    /// It does not, and why; it is tried again.
    Broken(String),
    /// Nothing more will come, as is natural for it.
    Ended,
}

/// A session answers the roll call.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Present {
    /// Its seat.
    pub seat: Seat,
    /// What it is doing.
    pub activity: Activity,
}

/// A drain ticket was consumed, or dropped.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SaidGoodbye {
    /// Whose.
    pub seat: Seat,
    /// What it said; `None`: it was dropped.
    pub goodbye: Option<Goodbye>,
}

/// News of a session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum SessionNews {
    /// It has nothing to do and would leave memory.
    MayLeave {
        /// Who.
        session: Arc<SessionKey>,
        /// How many things it was told of in this life.
        heard: u64,
        /// Replies that the outbox still has.
        owed: Vec<OutboxId>,
    },
    /// It wants to start a turn while the gate is metered.
    MayStart(Arc<SessionKey>),
    /// It has run the turn that it had leave for.
    GaveWay(Arc<SessionKey>),
    /// A turn runs, or does no more.
    Turn {
        /// Who.
        session: Arc<SessionKey>,
        /// Since when; `None`: no more.
        since: Option<Moment>,
        /// Messages that wait behind it.
        waiting: u32,
    },
    /// A turn recorded the wish to end the process.
    Wants {
        /// Who.
        session: Arc<SessionKey>,
        /// The wish.
        request: Request,
    },
    /// It stopped its turn for a /stop that could not be recorded, and says so with the turn's end.
    Stopped(Arc<SessionKey>),
    /// A run that was cut did not yield; or one that had not did at last.
    Abandoned {
        /// `true`: another one; `false`: one less.
        more: bool,
    },
}

/// A child of the supervisor has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Fallen {
    /// Who.
    pub child: Child,
    /// How.
    pub ended: Ended,
}

/// A child of the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Child {
    /// The ledger's writer.
    Ledger,
    /// The marker's writer.
    Marker,
    /// An adapter; the number tells its lives apart.
    Adapter(AdapterName, u64),
    /// A session; the number tells its lives apart.
    Session(Arc<SessionKey>, u64),
}

// --- to a session ----------------------------------------------------------------------------------------------------------------

/// Something was accepted for you (its words are in the ledger).
#[derive(Message)]
#[rtype(result = "()")]
pub struct Heard;

/// A cut turn is to run again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunAgain {
    /// The turn.
    pub turn: TurnId,
    /// The attempt that was cut.
    pub attempt: u32,
}

/// Whether turns may start from now on.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SetGate(pub Gate);

/// What holds for every session from now on.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct SetRules(pub Arc<Rules>);

/// You may start one turn.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GoAhead;

/// /stop or /new: whatever was accepted before this number is closed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Halt(pub Seq);

/// /stop while the ledger cannot record it: as [`Halt`], and the end of the turn tells the chat.
#[derive(Message)]
#[rtype(result = "()")]
pub struct HaltUnrecorded(pub Seq);

/// These words of the desk to your chat are on their way: you owe them.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Owe(pub Vec<OutboxId>);

/// What became of a reply of yours.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Settled {
    /// The row.
    pub row: OutboxId,
    /// What became of it.
    pub delivery: Delivery,
}

/// What are you doing? Answered by [`Present`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct RollCall(pub Seat);

/// Say goodbye when nothing of yours is outstanding; start nothing any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain(pub Ticket);

/// Your time is over.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Interrupt {
    /// Why, in words.
    pub cause: Arc<str>,
}

/// Would you leave memory? Answered by [`SessionNews::MayLeave`] when you would.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Doze;

/// Leave.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave;

/// A run of yours is over.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunOver {
    /// The turn.
    pub turn: TurnId,
    /// Its attempt.
    pub attempt: u32,
    /// How it ended; `Err` holds the words of a panic.
    pub end: Result<Result<Answer, AgentError>, String>,
}

// --- to an adapter ---------------------------------------------------------------------------------------------------------------

/// Deliver these parts of one reply; they are in the ledger.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver(pub Vec<OutboxRow>);

/// Say this to a chat, at most once: record it first.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Notify {
    /// The notice; its text is rendered when it is sent, where it says how.
    pub row: OutboxRow,
    /// How to render it late.
    pub phrase: Option<Phrase>,
}

/// A notice whose words depend on when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    /// The chat.
    pub chat: ChatId,
    /// Running work, or waiting.
    pub work: Work,
    /// Who is meant, where several share the chat.
    pub members: String,
    /// What the shutdown is for.
    pub kind: ShutdownKind,
    /// Until when a task may run.
    pub until: Moment,
}

/// What notices that are not yet handed over say has changed.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Rephrase {
    /// What for.
    pub kind: ShutdownKind,
    /// Until when a task may run.
    pub until: Moment,
}

/// Do not tell this chat any more, if it has not been told. Answered by [`AdapterNews::Noticed`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct Withdraw(pub ChatId);

/// In this chat nothing runs any more and something waits: say that, if it has not been told.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Soften(pub ChatId);

/// A reply that will not be delivered before this moment is stuck: say so at once.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct DeliverBefore(pub Moment);

/// Send what is due; answered by [`AdapterNews::Flushed`] when nothing is due any more.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Flush;

/// Say goodbye to the platform; answered by [`AdapterNews::Closed`].
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Disconnect;

/// Be set like this from now on; with a platform, connect to it anew. What is being sent, and what is still to be sent, stays yours.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Refit {
    /// How it is set.
    pub set: AdapterSettings,
    /// The platform, where it is another.
    pub platform: Option<Arc<dyn Platform>>,
}

/// Show that somebody works.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct ShowTyping(pub ChatId);

/// A streamed reply has grown.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ShowDraft {
    /// The draft's row, as it is now.
    pub row: OutboxRow,
}

/// This draft will not become a reply: nothing is left to say in its turn.
#[derive(Message)]
#[rtype(result = "()")]
pub struct EndDraft(pub OutboxId);

// --- to the marker ---------------------------------------------------------------------------------------------------------------

/// Write the clean-shutdown flag.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub struct WriteMarker(pub crate::marker::Marker);

/// Read the flag of the last life, if it left one. It is consumed by the row of the new instance; the file is removed afterwards.
#[derive(Message)]
#[rtype(result = "crate::marker::Found")]
pub struct ReadMarker;

/// Remove the file of a flag that was consumed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RemoveMarker;
