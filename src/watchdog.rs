//! The thread that ends a process which cannot end itself.
//!
//! A plain OS thread beside every runtime. It waits for nothing but time: when that is up it ends the process by `_exit`, without
//! a lock, a log line or any other I/O of its own, since each of these may be what hangs. Its word on that is left to the
//! [scribe](crate::scribe), for a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use switchboard_actors::last_words::Cause;

use crate::exit::Exit;
use crate::scribe::Scribe;

/// Not armed.
const NEVER: u64 = u64::MAX;

/// Ends the process when it is armed and its time is up. Clones share one thread.
#[derive(Clone, Debug)]
pub struct Watchdog {
    fuse: Arc<Fuse>,
    thread: Thread,
}

#[derive(Debug)]
struct Fuse {
    start: Instant,
    /// Milliseconds after the start.
    end: AtomicU64,
    code: AtomicU8,
}

impl Watchdog {
    /// Starts the thread; it waits, unarmed, for the life of the process.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(scribe: Scribe) -> std::io::Result<Self> {
        Self::start_with(move |code| {
            scribe.last_word(code, Cause::Overdue);
            signal_hook::low_level::exit(i32::from(code))
        })
    }

    /// Arms it, or makes it shorter: the process ends `after` from now at the latest. A longer time changes only the code.
    pub fn arm(&self, after: Duration, exit: Exit) {
        let end = self.fuse.start.elapsed().saturating_add(after).as_millis();
        self.fuse.code.store(exit.code(), Ordering::Release);
        self.fuse.end.fetch_min(u64::try_from(end).unwrap_or(NEVER - 1), Ordering::AcqRel);
        self.thread.unpark();
    }

    /// When it bites, if it is armed: the time that is left.
    pub fn left(&self) -> Option<Duration> {
        match self.fuse.end.load(Ordering::Acquire) {
            NEVER => None,
            end => Some(Duration::from_millis(end).saturating_sub(self.fuse.start.elapsed())),
        }
    }

    fn start_with(bite: impl Fn(u8) + Send + 'static) -> std::io::Result<Self> {
        let fuse = Arc::new(Fuse { start: Instant::now(), end: AtomicU64::new(NEVER), code: AtomicU8::new(0) });
        let watched = fuse.clone();
        let handle = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            loop {
                match watched.end.load(Ordering::Acquire) {
                    NEVER => std::thread::park(),
                    end => match Duration::from_millis(end).checked_sub(watched.start.elapsed()) {
                        Some(left) if !left.is_zero() => std::thread::park_timeout(left),
                        _ => return bite(watched.code.load(Ordering::Acquire)),
                    },
                }
            }
        })?;
        Ok(Self { fuse, thread: handle.thread().clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_bites_once_at_the_shorter_time_with_the_later_code() {
        let (bitten, seen) = mpsc::channel();
        let dog = Watchdog::start_with(move |code| _ = bitten.send(code)).expect("a thread");
        assert_eq!(dog.left(), None);
        dog.arm(Duration::from_secs(3600), Exit::Restart);
        dog.arm(Duration::ZERO, Exit::Done);
        assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Ok(0));
    }

    #[test]
    fn a_longer_time_does_not_win() {
        let (bitten, seen) = mpsc::channel();
        let dog = Watchdog::start_with(move |code| _ = bitten.send(code)).expect("a thread");
        dog.arm(Duration::from_millis(1), Exit::Restart);
        dog.arm(Duration::from_secs(3600), Exit::Restart);
        assert!(dog.left().expect("armed") <= Duration::from_millis(1));
        assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Ok(75));
    }
}
