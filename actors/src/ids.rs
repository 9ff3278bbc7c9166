//! The words of the gateway as types: who, where, and in which order.
//!
//! Nothing here decides anything. Names that come from outside (rooms, users, deliveries) are opaque text: they are
//! compared and stored, never taken apart, and never joined into one string.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Defines an opaque, cheaply cloned text id.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text as it came.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

text_id!(
    /// The configured name of one adapter, unique within a gateway (`[adapters.NAME]`).
    AdapterName
);
text_id!(
    /// The platform's own id for the bot behind an adapter, with the platform's kind in front (`telegram:4711`), so that
    /// cursors and duplicates survive a renamed adapter or a new token.
    Account
);
text_id!(
    /// The platform's id of a room: a Telegram chat id, a Matrix room id, a browser's room.
    RoomId
);
text_id!(
    /// The platform's id of a thread or topic within a room.
    ThreadId
);
text_id!(
    /// The platform's id of a person.
    UserId
);
text_id!(
    /// What the platform calls one delivery, unique within an [`Account`]: the key by which a repeat is recognised.
    DeliveryId
);
text_id!(
    /// The platform's id of one message that was sent.
    MessageId
);
text_id!(
    /// Where a platform's stream of messages was read up to, in the platform's own terms.
    Cursor
);
text_id!(
    /// The configured name of one agent (`[agents.NAME]`).
    AgentName
);

/// Where messages come from and replies go. Structured, never a joined string.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ChatId {
    /// The adapter that reaches it.
    pub adapter: AdapterName,
    /// The room on that platform.
    pub room: RoomId,
    /// The thread within the room, where the platform has threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadId>,
}

impl ChatId {
    /// A chat without threads.
    pub fn new(adapter: impl AsRef<str>, room: impl AsRef<str>) -> Self {
        Self { adapter: AdapterName::new(adapter), room: RoomId::new(room), thread: None }
    }
}

/// For people to read; never parsed.
impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} room {}", self.adapter, self.room)?;
        match &self.thread {
            Some(thread) => write!(f, " thread {thread}"),
            None => Ok(()),
        }
    }
}

/// One conversation with an agent. In a group there is one per member, or one for all.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct SessionKey {
    /// The chat that it speaks in.
    pub chat: ChatId,
    /// The member whose conversation it is; `None` when it is everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<UserId>,
}

/// For people to read; never parsed.
impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(f, "{} of {member}", self.chat),
            None => write!(f, "{}", self.chat),
        }
    }
}

/// A place in the ledger's one order. Inbox rows, turns and outbox rows take theirs from the same [`Sequence`], so any two
/// of them can be put in order; a timestamp or a UUID never can.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One run of the agent; the sequence number under which it was started.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TurnId(pub Seq);

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One part of a reply, or one notice; the sequence number under which it was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutboxId(pub Seq);

impl fmt::Display for OutboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl OutboxId {
    /// The number of a message that could not be recorded: it is drawn beyond every number of the ledger. One of the ledger's own would be given out
    /// again by the next life, and a platform that takes it for a key would then drop a reply as a repeat.
    pub fn unrecorded() -> Self {
        /// Beyond every ledger, and still exact for pages that count in floating point.
        const BEYOND: u64 = 1 << 52;
        Self(Seq(BEYOND | fastrand::u64(..BEYOND)))
    }
}

/// One life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

impl InstanceId {
    /// A new one, in the order of time (UUIDv7).
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Gives out the ledger's sequence numbers. There is one per ledger; clones share it.
///
/// Numbers are given out by whoever submits a step, before it is written: a message can then be claimed by a turn in the
/// very commit that accepts it. A number whose step was never committed is simply missing.
#[derive(Clone, Debug)]
pub struct Sequence(Arc<AtomicU64>);

impl Sequence {
    /// Goes on behind `last`, the highest number in the ledger.
    pub fn after(last: Seq) -> Self {
        Self(Arc::new(AtomicU64::new(last.0)))
    }

    /// The next number.
    pub fn next_seq(&self) -> Seq {
        Seq(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The last number given out.
    pub fn last(&self) -> Seq {
        Seq(self.0.load(Ordering::Relaxed))
    }

    /// Never gives out `seen` or anything below it again.
    pub fn skip_to(&self, seen: Seq) {
        self.0.fetch_max(seen.0, Ordering::Relaxed);
    }
}
