//! What an HTTP exchange with a foreign server may cost us, and how it is told: bodies with a bound, waits that a server names,
//! failures in words without a URL, and without [secrets](Secrets) of ours.
//!
//! It never decides whether something is tried again: the caller knows what was at stake.

mod secrets;

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

pub(crate) use self::secrets::Secrets;

/// Why an exchange failed, in words for an operator. Never holds the URL, since tokens stand in URLs.
pub(crate) fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "no answer in time".into();
    }
    // The outer layers only say "error sending request"; the innermost says what happened.
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Why a body could not be read.
pub(crate) enum BodyError {
    /// It is longer than we are willing to hold.
    TooLong,
    /// The connection was lost, or too slow.
    Lost(String),
}

/// The whole body, as text, with what is not UTF-8 replaced; at most `most` bytes.
pub(crate) async fn text_of(mut response: reqwest::Response, most: usize) -> Result<String, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| BodyError::Lost(words(error)))? {
        if body.len() + chunk.len() > most {
            return Err(BodyError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(body).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// How long a server asks us to wait: seconds or an HTTP date (RFC 9110, section 10.2.3). A date that has passed is no wait.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        // Fractions are not in the RFC, but some servers send them. An absurd number is no reason to fail.
        return Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// The first `most` characters of foreign words, on one line.
pub(crate) fn trimmed(foreign: &str, most: usize) -> String {
    let one_line = foreign.split(char::is_control).collect::<Vec<_>>().join(" ");
    let one_line = one_line.trim();
    match one_line.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &one_line[..at]),
        None => one_line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_names_its_wait_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30); // Sun, 06 Nov 1994 08:49:37 GMT, less 30 s
        for (value, expected) in [
            ("7", Some(Duration::from_secs(7))),
            (" 1.5 ", Some(Duration::from_millis(1500))),
            ("-3", Some(Duration::ZERO)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(Duration::from_secs(30))),
            ("Sun, 06 Nov 1983 08:49:37 GMT", Some(Duration::ZERO)),
            ("soon", None),
            ("1e300", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().expect("a header's value"));
            assert_eq!(retry_after(&headers, now), expected, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn foreign_words_stay_short_and_on_one_line() {
        assert_eq!(trimmed("a\nb\u{1b}[31m", 20), "a b [31m");
        assert_eq!(trimmed("äöüß", 2), "äö…");
        assert_eq!(trimmed("  äö ", 2), "äö");
    }
}
