//! Panics where no test can reach: in whatever handler logs a certain event on this thread.
//!
//! A world runs on one thread, and every actor logs what an operator would want to know; so a subscriber that panics
//! stands for any panic in that handler, and the product needs no door for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Subscriber};
use tracing::{Event, Metadata};

/// A wire that is armed for as long as it lives.
pub struct Tripwire {
    times: u32,
    left: Arc<AtomicU32>,
    _guard: DefaultGuard,
}

impl Tripwire {
    /// The next `times` events with these words panic where they are logged, on this thread.
    pub fn on(words: &'static str, times: u32) -> Self {
        let left = Arc::new(AtomicU32::new(times));
        let _guard = tracing::subscriber::set_default(Wire { words, left: left.clone() });
        Self { times, left, _guard }
    }

    /// How many have panicked.
    pub fn tripped(&self) -> u32 {
        self.times - self.left.load(Ordering::SeqCst)
    }

    /// Whether everything that was to panic has.
    pub fn is_spent(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

struct Wire {
    words: &'static str,
    left: Arc<AtomicU32>,
}

/// Finds the words of an event.
struct Words<'a>(&'a str, bool);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.1 |= field.name() == "message" && format!("{value:?}") == self.0;
    }
}

impl Subscriber for Wire {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(self.words, false);
        event.record(&mut words);
        let trips = words.1 && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        assert!(!trips, "tripped over {:?}", self.words);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
