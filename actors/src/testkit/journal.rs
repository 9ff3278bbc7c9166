//! State that a server's thread writes and a test's thread waits on.
//!
//! Waiting is by condition and bound, never by sleeping.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Something shared, whose every change wakes whoever waits: threads and futures.
pub struct Journal<T> {
    state: Mutex<T>,
    changed: Condvar,
    version: watch::Sender<()>,
}

impl<T> Journal<T> {
    /// Starts with `state`.
    pub fn new(state: T) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new(), version: watch::Sender::new(()) }
    }

    /// Looks without changing anything.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Changes it, and wakes everybody.
    pub fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        self.version.send_replace(());
        result
    }

    /// Blocks this thread until `condition` gives something.
    ///
    /// # Panics
    /// When that takes longer than `bound`; `what` says in the panic what was waited for.
    #[track_caller]
    pub fn wait_for<R>(&self, what: &str, bound: Duration, mut condition: impl FnMut(&T) -> Option<R>) -> R {
        let deadline = Instant::now() + bound;
        let mut state = self.lock();
        loop {
            if let Some(result) = condition(&state) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {bound:?} in vain for: {what}");
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The changes from now on, for futures.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.version.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        // A failed assertion of a test inside `read` must not fail the server too.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
