//! Codes that let one browser in: each stands in an address, opens once, and is forgotten after [`LASTS`] or with the process.
//!
//! What was said of an address stays in histories and logs of others; a code that stands there opens nothing any more. Only hashes are kept, so
//! the time that looking one up takes tells nothing of it. Pure: the caller has the clock and the randomness.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};

/// How long a code is good.
pub const LASTS: Duration = Duration::from_secs(600);
/// Codes that are good at the same time at most; one more voids the oldest.
pub const MOST: usize = 32;

/// The codes that are good.
#[derive(Debug, Default)]
pub struct Codes(VecDeque<(Vec<u8>, Instant)>);

impl Codes {
    /// Makes a code good from now on.
    pub fn add(&mut self, now: Instant, code: &str) {
        self.forget(now);
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((hash(code), now));
    }

    /// Whether a code is good; it stays so.
    pub fn knows(&mut self, now: Instant, given: &str) -> bool {
        self.forget(now);
        let hash = hash(given);
        self.0.iter().any(|(known, _)| *known == hash)
    }

    /// Uses a code up; whether it was good.
    pub fn use_up(&mut self, now: Instant, given: &str) -> bool {
        self.forget(now);
        let (hash, before) = (hash(given), self.0.len());
        self.0.retain(|(known, _)| *known != hash);
        self.0.len() < before
    }

    /// None is good any more.
    pub fn void(&mut self) {
        self.0.clear();
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|(_, since)| now.saturating_duration_since(*since) < LASTS);
    }
}

fn hash(code: &str) -> Vec<u8> {
    digest(&SHA256, code.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g41_a_code_opens_once_and_not_for_long() {
        let (start, mut codes) = (Instant::now(), Codes::default());
        let at = |secs| start + Duration::from_secs(secs);
        codes.add(at(0), "first");
        codes.add(at(10), "second");
        for (secs, given, good) in [
            (0, "", false),
            (0, "firs", false),
            (0, "guessed", false),
            (1, "first", true),
            (1, "first", false),
            (609, "second", true),
            (609, "second", false),
        ] {
            assert_eq!(codes.knows(at(secs), given), good, "{given} after {secs} s");
            assert_eq!(codes.use_up(at(secs), given), good, "{given} after {secs} s");
        }
        codes.add(at(700), "third");
        assert!(codes.knows(at(1299), "third"), "to look at one uses nothing");
        assert!(!codes.use_up(at(1300), "third"));
        codes.add(at(1300), "fourth");
        codes.void();
        assert!(!codes.use_up(at(1300), "fourth"));
    }

    #[test]
    fn g41_codes_are_bounded_in_number() {
        let (now, mut codes) = (Instant::now(), Codes::default());
        (0..=MOST).for_each(|number| codes.add(now, &number.to_string()));
        assert_eq!((codes.0.len(), codes.knows(now, "0"), codes.knows(now, "1")), (MOST, false, true));
    }
}
