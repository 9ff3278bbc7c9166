//! Power cuts: a life is ended exactly where a test wants it, and everything that had an effect outside the process is on record.
//!
//! What a process leaves behind are its commits, its messages, the receipts that it gave to platforms, and its clean-shutdown flag. Before and after each of these
//! stands a *point*, numbered in order. A [`Knife`] counts the points of one life and falls at one of them: from there on the ledger
//! commits nothing, the disk writes nothing, the stage hears and says nothing, and the life is dropped. A second run in the same world with the same words meets
//! the same points, so every one of them can be tried.

mod chronicle;
mod disk;
mod ledger;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use chronicle::{Chronicle, Event, Fact};
pub use disk::{Disk, Loss};
pub(super) use ledger::CuttingLedger;

/// Counts the points of one life, and ends it at one of them. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Knife {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// At which point it falls; `None`: never.
    at: Option<usize>,
    chronicle: Chronicle,
    state: Mutex<State>,
    fell: Notify,
}

#[derive(Debug, Default)]
struct State {
    points: Vec<String>,
    fallen: bool,
}

impl Knife {
    /// A knife for the next life of this chronicle, which falls at the point of this number, from 0.
    pub(super) fn new(at: Option<usize>, chronicle: Chronicle) -> Self {
        Self { shared: Arc::new(Shared { at, chronicle, state: Mutex::default(), fell: Notify::new() }) }
    }

    /// A point. `false`: the power is off, and what was about to happen must not.
    #[must_use]
    pub(super) fn pass(&self, label: impl FnOnce() -> String) -> bool {
        let mut state = self.state();
        if state.fallen {
            return false;
        }
        let here = self.shared.at == Some(state.points.len());
        let label = label();
        state.points.push(label.clone());
        if here {
            self.fall_now(&mut state, label);
        }
        !here
    }

    /// The power goes now, at no point of its own.
    pub(super) fn fall(&self, label: &str) {
        let mut state = self.state();
        if !state.fallen {
            self.fall_now(&mut state, label.into());
        }
    }

    fn fall_now(&self, state: &mut State, label: String) {
        state.fallen = true;
        self.shared.chronicle.note(Event::Cut(label));
        self.shared.fell.notify_one();
    }

    /// Something took effect outside the process.
    pub(super) fn note(&self, event: Event) {
        if !self.has_fallen() {
            self.shared.chronicle.note(event);
        }
    }

    /// Whether the power is off.
    pub fn has_fallen(&self) -> bool {
        self.state().fallen
    }

    /// The points that this life has passed, in order.
    pub fn points(&self) -> Vec<String> {
        self.state().points.clone()
    }

    /// Waits until it falls.
    pub(super) async fn fallen(&self) {
        while !self.has_fallen() {
            self.shared.fell.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
