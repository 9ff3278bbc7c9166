//! Everything that had an effect outside the process, life after life, in the one order in which it happened.
//!
//! It is what promises are checked against: it holds what the platforms saw and what the ledger took, and nothing that a process only thought.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::{AdapterName, DeliveryId, OutboxId, RoomId, UserId};
use crate::ledger::{Done, Step};

/// A chronicle. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Chronicle {
    facts: Arc<Mutex<Vec<Fact>>>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// In which life, from 1; 0: before the first.
    pub life: usize,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a test's record; nothing waits for it")]
pub enum Event {
    /// A life began.
    Begun,
    /// It was cut at this point.
    Cut(String),
    /// Somebody said something.
    Said {
        /// On which platform.
        stage: AdapterName,
        /// The delivery.
        delivery: DeliveryId,
        /// Where.
        room: RoomId,
        /// Who.
        user: UserId,
        /// The words.
        text: String,
    },
    /// A platform was told that a delivery is accepted, and may forget it.
    Accepted(AdapterName, DeliveryId),
    /// A step was committed, and came to this.
    Committed(Step, Done),
    /// The names in the directory of the flag were made durable.
    Synced,
    /// A platform has a new message.
    Sent {
        /// Which platform.
        stage: AdapterName,
        /// Where.
        room: RoomId,
        /// The key it was sent under.
        key: OutboxId,
        /// The words.
        text: String,
    },
    /// A message of a platform has new words.
    Edited {
        /// The key of the row that is shown.
        key: OutboxId,
        /// The words.
        text: String,
    },
}

impl Chronicle {
    /// Notes what happened now.
    pub(in crate::testkit) fn note(&self, event: Event) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let life = facts.last().map_or(0, |fact| fact.life) + usize::from(event == Event::Begun);
        facts.push(Fact { life, event });
    }

    /// Everything so far.
    pub fn facts(&self) -> Vec<Fact> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
