//! How much pages may say: bytes a minute, of one browser and of all together. The desk counts messages; a disk is filled by bytes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use switchboard_actors::ids::RoomId;

use super::access::rate::{Rate, Rates};
use crate::config::Http;

/// What a message costs beside its text: the ledger keeps a row of it, however short it is.
const ROW: u64 = 256;

/// What was said lately.
#[derive(Debug)]
pub struct Volume {
    in_all_per_minute: u64,
    of_one_per_minute: u64,
    in_all: Mutex<Rate>,
    of_one: Mutex<Rates<RoomId>>,
}

impl Volume {
    /// As configured; one message of the longest kind always fits.
    pub fn new(http: &Http, message_bytes: u32) -> Self {
        let longest = u64::from(message_bytes) + ROW;
        Self {
            in_all_per_minute: http.bytes_per_minute.max(longest),
            of_one_per_minute: http.browser_bytes_per_minute.max(longest),
            in_all: Mutex::default(),
            of_one: Mutex::default(),
        }
    }

    /// Lets a message of this many bytes in. What is longer than any may be is for others to refuse.
    ///
    /// # Errors
    /// How long to wait, when too much was said before.
    pub fn take(&self, now: Instant, room: &RoomId, bytes: usize) -> Result<(), Duration> {
        let cost = (bytes as u64 + ROW).min(self.of_one_per_minute);
        // Its own first: one that is too loud must not use up what is for all.
        self.of_one.lock().unwrap_or_else(PoisonError::into_inner).take(now, room.clone(), cost, self.of_one_per_minute)?;
        self.in_all.lock().unwrap_or_else(PoisonError::into_inner).take(now, cost.min(self.in_all_per_minute), self.in_all_per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Surroundings};

    #[test]
    fn g41_one_browser_says_no_more_than_its_bytes_and_all_no_more_than_theirs() {
        let around = Surroundings { variables: [("HOME".to_owned(), "/h".to_owned())].into(), ..Surroundings::default() };
        let mut http = Config::load(None, &around).expect("the defaults").http;
        (http.browser_bytes_per_minute, http.bytes_per_minute) = (10_000, 25_000);
        let (volume, start) = (Volume::new(&http, 1000), Instant::now());
        let said = |at: u64, room: &str, bytes: u64| {
            volume.take(start + Duration::from_secs(at), &RoomId::new(room), usize::try_from(bytes).expect("small")).is_ok()
        };
        for (at, room, bytes, expected) in [
            (0, "ann", 9000, true),
            (0, "ann", 800, false),
            (0, "bob", 9000, true),
            (0, "eve", 5000, true),
            (0, "tim", 9000, false),
            (30, "ann", 4500, true),
            (90, "ann", 1 << 30, true),
        ] {
            assert_eq!(said(at, room, bytes), expected, "{room}, {bytes} bytes after {at} s");
        }
        let small = Volume::new(&http, 1 << 20);
        assert_eq!(small.take(start, &RoomId::new("ann"), 1 << 20), Ok(()), "the longest message always fits");
    }
}
