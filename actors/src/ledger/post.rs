//! What leaves: messages to chats, parts of replies and notices, and what became of each.

use serde::{Deserialize, Serialize};

use crate::clock::Wall;
use crate::ids::{ChatId, MessageId, OutboxId, SessionKey, TurnId};
use crate::platform::Voice;

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
