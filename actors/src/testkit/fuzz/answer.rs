//! What a model's server answers: in pieces of any length, and cut anywhere.

use std::convert::Infallible;
use std::time::Duration;

use reqwest::{Body, Response};

use crate::agent::openai::OpenAiConfig;
use crate::agent::openai::attempt::{Attempt, Setback};
use crate::agent::{News, Report};

/// Statuses that mean different things.
const STATUSES: [u16; 6] = [200, 302, 400, 401, 429, 503];
/// It must not be said in a chat.
const KEY: &str = "sk-secret";
/// Far longer than a test takes.
const LIMIT: Duration = Duration::from_secs(60);
/// More than a reason has, whose foreign words are cut short.
const LONGEST_REASON: usize = 400;

/// What came of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Its text, or why there is none.
    pub(super) end: Result<String, String>,
    /// The pieces that were reported on the way.
    said: String,
}

/// An answer of a model's server: the pieces add up to its text, and are the same however it comes in; one that is cut before its end is none. Why
/// there is none is short, on one line and without the key.
///
/// The first byte chooses the status, the second is the length of the pieces in which it comes, the third where it is cut (in 1/256 of it).
pub fn one_answer(data: &[u8]) {
    let [status, length, place, body @ ..] = data else { return };
    let status = STATUSES[usize::from(*status) % STATUSES.len()];
    let whole = heard(status, body, body.len());
    assert_eq!(heard(status, body, usize::from(*length)), whole, "in pieces of {length} bytes");
    if status != 200 {
        return assert!(whole.end.is_err() && whole.said.is_empty(), "{whole:?}");
    }
    // Whole answers, from servers that do not stream, are one object.
    let streams = !body.trim_ascii_start().starts_with(b"{");
    if let Ok(text) = &whole.end {
        assert_eq!(text, &whole.said);
        assert!(!streams || may_end(body), "nothing says that this is all: {whole:?}");
    }
    let (begin, rest) = body.split_at(usize::from(*place) * body.len() / 256);
    let cut = heard(status, begin, begin.len());
    match (&cut.end, &whole.end) {
        (Err(_), _) => assert!(whole.said.starts_with(&cut.said), "{cut:?} of {whole:?}"),
        (Ok(_), _) if streams => assert_eq!(cut, whole, "what comes after the end changes nothing"),
        (Ok(_), Ok(_)) => assert!(rest.trim_ascii().is_empty(), "it was cut, and taken: {cut:?}"),
        // It was whole, and rubbish followed.
        (Ok(_), Err(_)) => {}
    }
}

/// Whether a stream says anywhere that it is over, perhaps escaped.
fn may_end(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    ["[DONE]", "finish_reason", "\\u"].iter().any(|sign| text.contains(sign))
}

/// Hears an answer that comes in pieces of so many bytes.
pub(super) fn heard(status: u16, body: &[u8], length: usize) -> Heard {
    let pieces: Vec<Result<Vec<u8>, Infallible>> = body.chunks(length.max(1)).map(|piece| Ok(piece.to_vec())).collect();
    let body_in_pieces = Body::wrap_stream(futures_util::stream::iter(pieces));
    let response = hyper::Response::builder().status(status).body(body_in_pieces).expect("a status and no headers");
    let config = config();
    // Nobody listens meanwhile, so there is room for all that can be said: an event a byte, and more.
    let (report, mut news) = Report::channel(body.len() + 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let end = runtime.block_on(async { Attempt::new(&config, &report).hear(Response::from(response)).await });
    let mut said = String::new();
    while let Ok(news) = news.try_recv() {
        if let News::Text(piece) = news {
            said.push_str(&piece);
        }
    }
    let end = end.map_err(|setback| match setback {
        Setback::Passing { reason, .. } => {
            assert!(said.is_empty(), "it would be said twice: {said:?}");
            reason
        }
        Setback::Final(error) => error.to_string(),
    });
    if let Err(reason) = &end {
        assert!(reason.chars().count() <= LONGEST_REASON && !reason.contains(char::is_control), "{reason:?}");
        assert!(!reason.contains(KEY), "{reason:?}");
    }
    Heard { end, said }
}

fn config() -> OpenAiConfig {
    OpenAiConfig {
        agent: "smart".into(),
        base_url: "http://127.0.0.1:1/v1".into(),
        model: "m".into(),
        api_key: Some(KEY.into()),
        system: None,
        connect_limit: LIMIT,
        byte_limit: LIMIT,
        tries: 1,
        max_answer_bytes: 1 << 20,
    }
}
