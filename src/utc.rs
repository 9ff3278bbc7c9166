//! Moments in the words of RFC 3339, in UTC and to the second.

use std::time::{Duration, UNIX_EPOCH};

/// The last moment that RFC 3339 has words for: the end of the year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The moment so long after the beginning of 1970. A later one than there are words for, which only a spoilt file names, is told as the last.
pub fn in_words(since_1970: Duration) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970.min(LAST)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_beyond_all_dates_is_told_as_the_last() {
        let check = |since: Duration, words: &str| assert_eq!(in_words(since), words);
        check(Duration::ZERO, "1970-01-01T00:00:00Z");
        check(Duration::from_millis(1_763_935_267_999), "2025-11-23T22:01:07Z");
        check(LAST, "9999-12-31T23:59:59Z");
        check(LAST + Duration::from_secs(1), "9999-12-31T23:59:59Z");
        check(Duration::MAX, "9999-12-31T23:59:59Z");
    }
}
