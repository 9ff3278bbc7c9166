//! How often a child may fall: a pure count of its recent panics.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::settings::Supervision;

/// A budget of restarts.
#[derive(Clone, Debug)]
pub struct Intensity {
    /// Shared by all children that are treated alike.
    budget: Arc<Budget>,
    /// The falls that count, oldest first; nothing for a child that never fell.
    falls: Vec<Moment>,
}

#[derive(Debug)]
struct Budget {
    restarts: u32,
    within: Duration,
    first: Duration,
    most: Duration,
}

/// What follows a fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Restart after this time.
    Again {
        /// The back-off.
        after: Duration,
    },
    /// The budget is spent.
    Spent,
}

impl Intensity {
    /// At most `restarts` within `within`; the first back-off, doubled with each fall that counts, up to `most`.
    pub fn new(restarts: u32, within: Duration, first: Duration, most: Duration) -> Self {
        Self { budget: Arc::new(Budget { restarts, within, first, most }), falls: Vec::new() }
    }

    /// As the settings say.
    pub fn from_settings(settings: &Supervision) -> Self {
        Self::new(settings.restarts, settings.within, settings.backoff_first, settings.backoff_most)
    }

    /// As the settings say, but never spent: for children that are tried for ever.
    pub fn endless(settings: &Supervision) -> Self {
        Self::new(u32::MAX, settings.within, settings.backoff_first, settings.backoff_most)
    }

    /// Counts a fall. `jitter` is from 0 to 1 and spreads the back-off over its upper half.
    pub fn fallen(&mut self, now: Moment, jitter: f64) -> Next {
        let Budget { restarts, within, first, most } = *self.budget;
        self.falls.retain(|fall| now.since(*fall) < within);
        // Old falls of an endless child only lengthen its back-off, which has a cap: a few are enough to know.
        if self.falls.len() >= 32 {
            self.falls.remove(0);
        }
        let before = u32::try_from(self.falls.len()).unwrap_or(u32::MAX);
        self.falls.push(now);
        if before >= restarts {
            return Next::Spent;
        }
        Next::Again { after: backoff(first, most, before, jitter) }
    }
}

/// The wait before try number `failures` + 1: `first`, doubled with each failure up to `most`, spread over its upper half by
/// `jitter` (0 to 1).
pub fn backoff(first: Duration, most: Duration, failures: u32, jitter: f64) -> Duration {
    let full = first.saturating_mul(1 << failures.min(20)).min(most);
    full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_are_counted_within_their_time() {
        let second = Duration::from_secs;
        let check = |falls: &[(u64, Option<u64>)]| {
            let mut intensity = Intensity::new(2, second(10), second(1), second(3));
            for (at, after) in falls {
                let expected = after.map_or(Next::Spent, |secs| Next::Again { after: second(secs) });
                assert_eq!(intensity.fallen(Moment(second(*at)), 1.0), expected, "at {at} of {falls:?}");
            }
        };
        check(&[(0, Some(1)), (1, Some(2)), (2, None)]);
        check(&[(0, Some(1)), (9, Some(2)), (10, Some(2)), (30, Some(1))]);
        check(&[(0, Some(1)), (20, Some(1)), (40, Some(1))]);
    }

    #[test]
    fn a_back_off_doubles_up_to_its_cap_and_is_spread() {
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(backoff(first, most, 0, 0.0), Duration::from_millis(500));
        assert_eq!(backoff(first, most, 3, 1.0), Duration::from_secs(8));
        assert_eq!(backoff(first, most, 4_000_000, 1.0), most);
    }
}
