//! Browsers whose cookie of an older version was exchanged for one of two halves: each once, so that the old one is void from then on.
//!
//! A file of them lies beside the key of the cookies, one name a line, and goes with the time in which old cookies are taken.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::durable;

/// Browsers that are exchanged at most; more are let in by a code.
const MOST: usize = 4096;
/// An answer may be lost on its way: whoever asks again within so long is answered again.
const AGAIN: Duration = Duration::from_secs(600);

/// They.
#[derive(Debug)]
pub struct Exchanged {
    known: HashSet<String>,
    lately: Vec<(String, Instant)>,
}

/// What an exchange comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the first: write it down before it is answered.
    First,
    /// It was done a moment ago.
    Again,
    /// It was done long ago, or there were too many.
    Void,
}

impl Exchanged {
    /// Those of the file. One that cannot be read holds nobody back: their cookies would be exchanged a second time.
    pub fn of(file: &Record) -> Self {
        let text = std::fs::read_to_string(&file.0).unwrap_or_default();
        Self { known: text.lines().take(MOST).map(str::to_owned).collect(), lately: Vec::new() }
    }

    /// Whether this browser's old cookie is void.
    pub fn has(&self, browser: &str) -> bool {
        self.known.contains(browser)
    }

    /// Exchanges the old cookie of this browser.
    pub fn exchange(&mut self, now: Instant, browser: &str) -> Verdict {
        self.lately.retain(|(_, since)| now.saturating_duration_since(*since) < AGAIN);
        if self.lately.iter().any(|(known, _)| known == browser) {
            return Verdict::Again;
        }
        if self.known.len() >= MOST || !self.known.insert(browser.to_owned()) {
            return Verdict::Void;
        }
        self.lately.push((browser.to_owned(), now));
        Verdict::First
    }
}

/// Where they are written down.
#[derive(Clone, Debug)]
pub struct Record(pub PathBuf);

impl Record {
    /// Writes one more down. It blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn add(&self, browser: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
        file.write_all(format!("{browser}\n").as_bytes())?;
        file.sync_data()
    }

    /// The time is over.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self) -> io::Result<()> {
        durable::remove(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_cookie_is_exchanged_once_and_a_lost_answer_costs_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (record, start) = (Record(dir.path().join("exchanged")), Instant::now());
        let mut exchanged = Exchanged::of(&record);
        for (secs, browser, expected) in [
            (0, "ann", Verdict::First),
            (1, "ann", Verdict::Again),
            (2, "bob", Verdict::First),
            (599, "ann", Verdict::Again),
            (600, "ann", Verdict::Void),
        ] {
            let verdict = exchanged.exchange(start + Duration::from_secs(secs), browser);
            assert_eq!(verdict, expected, "{browser} after {secs} s");
            if verdict == Verdict::First {
                record.add(browser).expect("writable");
            }
        }
        let mut later = Exchanged::of(&record);
        assert!(later.has("ann") && later.has("bob") && !later.has("eve"));
        assert_eq!(later.exchange(start, "bob"), Verdict::Void);
        record.remove().expect("ours");
        record.remove().expect("gone is gone");
    }

    #[test]
    fn g41_those_exchanged_are_bounded_in_number() {
        let mut exchanged = Exchanged { known: (0..MOST).map(|number| number.to_string()).collect(), lately: Vec::new() };
        assert_eq!(exchanged.exchange(Instant::now(), "one more"), Verdict::Void);
    }
}
