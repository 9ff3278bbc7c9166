//! When a restart that may wait for running tasks begins.

use std::time::{Duration, Instant};

/// How long a restart waits before it asks anybody to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: the drain begins now.
    None,
    /// Until no task runs.
    UntilIdle,
    /// Until no task runs, but at most so long.
    Within(Duration),
}

impl Patience {
    /// Whether to begin, `waited` after the request, while so many tasks run.
    pub fn is_over(self, waited: Duration, running: u64) -> bool {
        match self {
            Patience::None => true,
            Patience::UntilIdle => running == 0,
            Patience::Within(most) => running == 0 || waited >= most,
        }
    }

    /// How long it may still wait; none: for ever.
    pub fn left(self, since: Instant, now: Instant) -> Option<Duration> {
        match self {
            Patience::None => Some(Duration::ZERO),
            Patience::UntilIdle => None,
            Patience::Within(most) => Some(most.saturating_sub(now.duration_since(since))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_works_is_waited_for_as_long_as_was_said() {
        let check = |patience: Patience, waited: u64, running: u64, expected: bool| {
            assert_eq!(patience.is_over(Duration::from_secs(waited), running), expected, "{patience:?} after {waited} s, {running} run");
        };
        check(Patience::None, 0, 9, true);
        check(Patience::UntilIdle, 1_000_000, 1, false);
        check(Patience::UntilIdle, 0, 0, true);
        check(Patience::Within(Duration::from_secs(60)), 59, 1, false);
        check(Patience::Within(Duration::from_secs(60)), 60, 1, true);
        check(Patience::Within(Duration::from_secs(60)), 0, 0, true);
    }
}
