//! The door of HTTP: open while serving, closed from the disconnect phase on.
//!
//! Closing it ends every event stream at once, so that the server's own end waits for nobody, and refuses what comes after.

use tokio::sync::watch;

/// Seconds after which whoever is refused should come again.
pub(super) const RETRY_AFTER: u64 = 3;

/// A door. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Door(watch::Sender<bool>);

impl Default for Door {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Door {
    /// Ends all event streams and refuses new requests, for good. Probes are still answered.
    pub fn close(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        *self.0.borrow()
    }

    /// To wait for its closing.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}
