//! The port to a chat platform: something that hears and something that speaks.
//!
//! An implementation knows one platform's protocol and nothing of sessions, turns or the ledger. It never decides whether a
//! message counts: it offers it with a [`Receipt`], and offers it again until the receipt says that it was accepted. Kinds
//! stand in `platform/<kind>.rs`; the actor that drives one is [`crate::adapter`].

pub mod console;
pub mod telegram;
pub mod unsettled;
pub mod web;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::ids::{Account, Cursor, DeliveryId, MessageId, OutboxId, RoomId, ThreadId, UserId};

/// One connection to one chat platform, as configured. Its futures run on the I/O runtime, so they are `Send`.
pub trait Platform: Send + Sync + 'static {
    /// The kind as written in the configuration (`telegram`).
    fn kind(&self) -> &'static str;

    /// What the platform can do; constant for a kind.
    fn abilities(&self) -> Abilities;

    /// Connects and says who we are there. Called again after every [`PlatformError`] and after a restart of the adapter.
    fn connect(&self) -> BoxFuture<'static, Result<Connection, PlatformError>>;
}

/// What a platform can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// A message that was sent can be edited: replies may be streamed as drafts.
    pub edits: bool,
    /// Sending twice under one [`Outgoing::key`] yields one message: an unknown send may be repeated without a mark.
    pub idempotent: bool,
    /// The longest text of one message, in UTF-16 code units. Longer replies are split.
    pub max_units: usize,
}

/// A live connection, in and out.
pub struct Connection {
    /// The platform's own id for us, with its kind in front.
    pub account: Account,
    /// The way in.
    pub listener: Box<dyn Listener>,
    /// The way out; stays usable while the listener waits.
    pub speaker: std::sync::Arc<dyn Speaker>,
}

/// The way in. Owned by one task, which calls [`resume`](Listener::resume) once and then [`next`](Listener::next) for ever.
pub trait Listener: Send {
    /// Where the ledger says that this account was read up to; `None` at its first connection ever.
    fn resume(&mut self, cursor: Option<Cursor>);

    /// The next messages. Whatever of the previous batch has not been accepted by its receipt is offered again, after a
    /// pause of the listener's choice; the platform's cursor moves only over what was accepted. Returning an empty batch means "I
    /// heard from the platform, and it had nothing": it is the evidence that the connection receives.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Offer>, PlatformError>>;
}

/// One delivery of the platform, with the way to say what became of it.
#[derive(Debug)]
pub struct Offer {
    /// What arrived.
    pub inbound: Inbound,
    /// To be settled once the ledger has it.
    pub receipt: Receipt,
}

impl Offer {
    /// Offers `inbound`; the receiver learns what became of it, an error meaning that nobody decided.
    pub fn new(inbound: Inbound) -> (Self, oneshot::Receiver<Taken>) {
        let (sender, receiver) = oneshot::channel();
        (Self { inbound, receipt: Receipt(sender) }, receiver)
    }
}

/// One delivery of a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The platform's id of this delivery, by which a repeat is recognised.
    pub delivery: DeliveryId,
    /// Where the platform's stream stands once this delivery counts.
    pub cursor: Option<Cursor>,
    /// What it holds.
    pub content: Content,
}

/// What a delivery holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Somebody wrote something.
    Message(Said),
    /// Something that is not for us, or that could not be understood: it moves the cursor and is logged with this reason
    /// (our own words, never the platform's).
    Nothing {
        /// Why it is passed over.
        reason: String,
    },
}

/// Somebody's words in a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The room.
    pub room: RoomId,
    /// The thread within it.
    pub thread: Option<ThreadId>,
    /// Whether several people share the room.
    pub group: bool,
    /// Who spoke.
    pub sender: Sender,
    /// The platform's id of the message, to reply to.
    pub message: Option<MessageId>,
    /// The words.
    pub text: String,
    /// Whether the words are somebody else's, passed on: a forwarded message, one that a bot wrote for its user. They are never a command.
    pub relayed: bool,
}

/// Who spoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The platform's id of the person.
    pub user: UserId,
    /// The name that the platform shows, for notices to groups. Foreign text.
    pub name: String,
    /// Whether that is a person with an identity of their own; bots, ourselves, anonymous admins and channels are not, and
    /// count as strangers whatever the allowlist says.
    pub person: bool,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is durable (or was before, or needs not be): the platform may forget it.
    Accepted,
    /// It could not be stored now; offer it again, not before this time has passed.
    Later(Duration),
    /// It could not be stored, and will not be before somebody makes room; offer it again, not before this time has passed.
    Full(Duration),
}

/// The one way to answer an [`Offer`]. Dropping it unsettled counts as "offer it again".
#[derive(Debug)]
pub struct Receipt(oneshot::Sender<Taken>);

impl Receipt {
    /// Says what became of the offer. A listener that is gone does not mind: it will offer it again.
    pub fn settle(self, taken: Taken) {
        let _ = self.0.send(taken);
    }
}

/// The way out.
pub trait Speaker: Send + Sync {
    /// Sends one message and returns the platform's id of it.
    fn send(&self, out: Outgoing) -> BoxFuture<'_, Result<MessageId, SpeakError>>;

    /// Replaces the text of a message that was sent. Only called where [`Abilities::edits`].
    fn edit(&self, out: Outgoing, message: MessageId) -> BoxFuture<'_, Result<(), SpeakError>> {
        let _ = (out, message);
        Box::pin(async { Err(SpeakError::Refused("this platform cannot edit messages".into())) })
    }

    /// Shows that an answer is being worked on. Best effort: nobody waits for it and a failure is not told.
    fn typing(&self, room: RoomId, thread: Option<ThreadId>) -> BoxFuture<'_, ()> {
        let _ = (room, thread);
        Box::pin(async {})
    }

    /// Says goodbye to the platform, where it wants that. No send follows.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// One message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The room to speak in.
    pub room: RoomId,
    /// The thread within it.
    pub thread: Option<ThreadId>,
    /// The words, at most [`Abilities::max_units`] long.
    pub text: String,
    /// The same for every attempt at the same message, unique within a ledger: the platform's idempotency key, where it takes one.
    pub key: OutboxId,
    /// Whether these are the gateway's words or the agent's.
    pub voice: Voice,
    /// Whether more will follow under the same key: a reply that is still being written.
    pub draft: bool,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Voice {
    /// The agent's reply.
    Agent,
    /// The gateway itself: a notice, or the answer to a command.
    Gateway,
}

/// Why a send failed, by what the caller should do next. Never holds a URL: tokens stand in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpeakError {
    /// Not now: the same message may be sent again after this time. It was certainly not delivered.
    #[error("the platform asks to wait {after:?}")]
    RetryAfter {
        /// How long the platform wants us to wait.
        after: Duration,
        /// Whether only this room has to wait, or everything on this account.
        room_only: bool,
    },
    /// Never: the platform refuses this message for good (blocked by the user, chat gone, text not acceptable).
    #[error("refused: {0}")]
    Refused(String),
    /// Certainly not delivered, and worth trying again (connection refused, name not found).
    #[error("not delivered: {0}")]
    Broken(String),
    /// Nobody knows whether it was delivered (connection lost after the request was written, time-out, 5xx).
    #[error("fate unknown: {0}")]
    Unknown(String),
}

/// Why a connection failed, by what the caller should do next. Never holds a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Worth connecting again after a back-off, or after the time that the platform named.
    #[error("{reason}")]
    Broken {
        /// What went wrong, in words that an operator understands.
        reason: String,
        /// How long the platform wants us to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// Only a human can mend it (token rejected); tried again all the same, at the longest back-off.
    #[error("{reason}. {remedy}")]
    Refused {
        /// What the platform said, in our words.
        reason: String,
        /// What to change.
        remedy: String,
    },
    /// Nothing more will come, as asked or as is natural (end of input). Not a failure, never reconnected.
    #[error("closed")]
    Closed,
}

/// Cuts a text into parts of at most `max_units` UTF-16 code units, at a line break, else at a space, else between two
/// characters. No part is empty unless the text is; joined again they hold every character of the text but the white space at
/// the cuts.
pub fn split_text(text: &str, max_units: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(limit) = cut_off(rest, max_units) {
        let head = &rest[..limit];
        // A break near the beginning would leave a part that says next to nothing.
        let last = |at: char| head.rfind(at).filter(|at| *at > limit / 2);
        let cut = last('\n').or_else(|| last(' ')).unwrap_or(limit);
        parts.push(rest[..cut].trim_end().to_owned());
        rest = rest[cut..].trim_start_matches(['\n', ' ']);
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(rest.to_owned());
    }
    parts.retain(|part| !part.is_empty() || text.is_empty());
    parts
}

/// The byte at which `text` must be cut to stay within `max_units`, or `None` when it fits.
fn cut_off(text: &str, max_units: usize) -> Option<usize> {
    let max_units = max_units.max(2); // one character can take two units
    let mut units = 0;
    text.char_indices().find_map(|(at, c)| {
        units += c.len_utf16();
        (units > max_units).then_some(at)
    })
}
