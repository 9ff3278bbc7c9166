//! What Telegram answers to a call, or whatever stands in its place.

use std::time::Duration;

use reqwest::StatusCode;

use crate::exchange::Secrets;
use crate::platform::SpeakError;
use crate::platform::telegram::api::{CallError, opened};
use crate::platform::telegram::listener::batch;
use crate::platform::telegram::speaker::speak_error;

/// Statuses that mean different things.
const STATUSES: [u16; 6] = [200, 429, 400, 403, 404, 502];
/// No wait is longer, whatever is asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// To be found in nothing that is told.
const TOKEN: &str = "4711:TEST-token";
/// More than a failure's words have, of which the foreign ones are cut short.
const LONGEST_REASON: usize = 300;

/// An answer of Telegram: a wait is bounded, whoever names it, and never none; words that are passed on are short and on one line; a list of updates
/// keeps the order and the numbers of those that have one. The first byte chooses the status.
pub fn one_envelope(data: &[u8]) {
    let Some((status, body)) = data.split_first() else { return };
    let status = StatusCode::from_u16(STATUSES[usize::from(*status) % STATUSES.len()]).expect("a status");
    let body = String::from_utf8_lossy(body);
    let secrets = Secrets::new([TOKEN]);
    for named in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
        match opened(status, named, &body, &secrets) {
            Ok(result) => one_batch(&result),
            Err(error) => one_refusal(error),
        }
    }
}

fn one_batch(result: &serde_json::value::RawValue) {
    let Ok(batch) = batch(result, "OurBot") else { return };
    let numbers: Vec<i64> = batch.updates.iter().map(|update| update.delivery.as_str().parse().expect("its number")).collect();
    assert_eq!(batch.offset, numbers.last().map(|last| last.saturating_add(1)), "{numbers:?}");
}

fn one_refusal(error: CallError) {
    if let CallError::Declined { description, .. } = &error {
        assert_short(description);
    }
    match speak_error(error) {
        SpeakError::RetryAfter { after, .. } => assert!(!after.is_zero() && after <= LONGEST_WAIT, "{after:?}"),
        SpeakError::Refused(words) | SpeakError::Broken(words) | SpeakError::Unknown(words) => assert_short(&words),
    }
}

fn assert_short(words: &str) {
    assert!(words.chars().count() <= LONGEST_REASON && !words.contains(char::is_control), "{words:?}");
    assert!(!words.contains(TOKEN), "{words:?}");
}
