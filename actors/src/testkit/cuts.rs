//! Power cuts: a life is ended exactly where a test wants it, and everything that had an effect outside the process is on record.
//!
//! What a process leaves behind are its commits, its messages, and the receipts that it gave to platforms. Before and after each of these
//! stands a *point*, numbered in order. A [`Knife`] counts the points of one life and falls at one of them: from there on the ledger
//! commits nothing, the stage hears and says nothing, and the life is dropped. A second run in the same world with the same words meets
//! the same points, so every one of them can be tried.

mod chronicle;
mod ledger;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use chronicle::{Chronicle, Event, Fact};
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
    /// A file that the process writes without asking, and what it held when the knife fell.
    file: Option<PathBuf>,
    kept: Option<Vec<u8>>,
}

impl Knife {
    /// A knife for the next life of this chronicle, which falls at the point of this number, from 0.
    pub(super) fn new(at: Option<usize>, chronicle: Chronicle, file: Option<PathBuf>) -> Self {
        let state = State { file, ..State::default() };
        Self { shared: Arc::new(Shared { at, chronicle, state: Mutex::new(state), fell: Notify::new() }) }
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
        state.kept = state.file.as_deref().and_then(|file| std::fs::read(file).ok());
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

    /// Takes back what the dying process did to its file after the cut.
    pub(super) fn restore_file(&self) {
        let state = self.state();
        let (true, Some(file)) = (state.fallen, &state.file) else { return };
        match &state.kept {
            Some(bytes) => std::fs::write(file, bytes).expect("a file that was there can be written"),
            None => {
                // It was not there, so it need not be there now.
                let _ = std::fs::remove_file(file);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
