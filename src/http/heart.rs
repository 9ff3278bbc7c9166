//! The heartbeat of the server's own arbiter, which is not the gateway's: a handler that blocks it leaves the page dead while everything else lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

/// How often it beats.
const EVERY: Duration = Duration::from_millis(500);
/// It need not beat any more.
const AT_REST: u64 = u64::MAX;

/// A heart. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Heart {
    born: Instant,
    /// The last beat, in milliseconds after the birth.
    last: Arc<AtomicU64>,
}

impl Default for Heart {
    fn default() -> Self {
        Self { born: Instant::now(), last: Arc::default() }
    }
}

impl Heart {
    /// How long it has not beaten; nothing once it rests.
    pub fn silent_for(&self) -> Duration {
        match self.last.load(Ordering::Acquire) {
            AT_REST => Duration::ZERO,
            last => self.born.elapsed().saturating_sub(Duration::from_millis(last)),
        }
    }

    /// The server is told to end: nobody misses its beat from here on.
    pub fn rest(&self) {
        self.last.store(AT_REST, Ordering::Release);
    }

    /// Beats for as long as the arbiter lives on which this runs.
    pub(super) async fn beat(self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(AT_REST - 1);
            // At rest it stays.
            _ = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| (last != AT_REST).then_some(now));
        }
    }
}
