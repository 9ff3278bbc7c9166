//! How much may come in a minute: a bucket that leaks. What comes at once may fill it, and from then on as much comes in as leaks out.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Keys beyond so many are looked through for those that are empty again.
const LOOKED_THROUGH: usize = 1024;
const MINUTE: f64 = 60.0;

/// One bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// What is in it, as of `since`.
    level: f64,
    since: Option<Instant>,
}

impl Rate {
    /// Lets `amount` in, of which `per_minute` may come in a minute.
    ///
    /// # Errors
    /// How long to wait, when there is no room; nothing was let in.
    pub fn take(&mut self, now: Instant, amount: u64, per_minute: u64) -> Result<(), Duration> {
        let (amount, most) = (amount as f64, per_minute as f64);
        let level = self.level(now, per_minute);
        let over = level + amount - most;
        if over > 0.0 {
            return Err(Duration::from_secs_f64((over * MINUTE / most).clamp(1.0, MINUTE)));
        }
        (self.level, self.since) = (level + amount, Some(now));
        Ok(())
    }

    fn level(&self, now: Instant, per_minute: u64) -> f64 {
        let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        (self.level - passed.as_secs_f64() * per_minute as f64 / MINUTE).max(0.0)
    }
}

/// A bucket each. Those that are empty again are forgotten.
#[derive(Debug)]
pub struct Rates<K> {
    buckets: HashMap<K, Rate>,
    look_at: usize,
}

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self { buckets: HashMap::new(), look_at: LOOKED_THROUGH }
    }
}

impl<K: Hash + Eq> Rates<K> {
    /// As [`Rate::take`], of this key's.
    ///
    /// # Errors
    /// As there.
    pub fn take(&mut self, now: Instant, key: K, amount: u64, per_minute: u64) -> Result<(), Duration> {
        if self.buckets.len() >= self.look_at {
            self.buckets.retain(|_, bucket| bucket.level(now, per_minute) > 0.0);
            self.look_at = LOOKED_THROUGH.max(2 * self.buckets.len());
        }
        self.buckets.entry(key).or_default().take(now, amount, per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g41_no_more_comes_in_than_leaks_out() {
        let (start, mut rate) = (Instant::now(), Rate::default());
        let secs = Duration::from_secs;
        for (at, amount, expected) in [
            (0, 60, Ok(())),
            (0, 1, Err(secs(1))),
            (0, 30, Err(secs(30))),
            (10, 10, Ok(())),
            (10, 1, Err(secs(1))),
            (0, 1, Err(secs(1))),
            (99, 60, Ok(())),
            (99, 61, Err(secs(60))),
        ] {
            assert_eq!(rate.take(start + secs(at), amount, 60), expected, "{amount} after {at} s");
        }
    }

    #[test]
    fn each_has_its_own_and_who_is_quiet_is_forgotten() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        let later = start + Duration::from_secs(120);
        for key in 0..3 * LOOKED_THROUGH {
            assert_eq!(rates.take(start, key, 60, 60), Ok(()));
        }
        assert!(rates.take(start, 0, 1, 60).is_err());
        for key in 0..3 * LOOKED_THROUGH {
            assert_eq!(rates.take(later, 10_000 + key, 60, 60), Ok(()));
        }
        assert!(rates.buckets.len() <= 4 * LOOKED_THROUGH, "{}", rates.buckets.len());
    }
}
