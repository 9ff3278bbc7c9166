//! One request to the endpoint, from its first byte to its last, and what a failure of it means.
//!
//! Statuses: <https://platform.openai.com/docs/guides/error-codes/api-errors>. Events: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use sse_stream::SseByteStream;
use tokio::time::Instant;

use super::completion::{self, Completion, Odd};
use super::{AgentError, OpenAiConfig, Report};
use crate::exchange::{self, Secrets};

/// How much of a refusal is read, and how much of it is told.
const ERROR_BODY: usize = 64 << 10;
const ERROR_WORDS: usize = 200;
/// What JSON makes of a byte at most (`\u0000`), and what it adds around the words.
const ESCAPED: usize = 6;
const WRAPPING: usize = 64 << 10;
/// What a byte of an answer comes wrapped in at most: a chunk of its own, with all that servers put into one. A stream that is longer than the longest
/// answer so wrapped is no answer.
const WRAPPED: usize = 512;
/// After the answer is over, so long is waited for the end of the stream, so that the connection can be used again.
const LINGER: Duration = Duration::from_millis(200);
/// Progress without words of the answer (a model that reasons aloud) is reported at most this often.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// Why an attempt came to nothing.
pub(crate) enum Setback {
    /// It may work the next time, and nothing was reported yet.
    Passing {
        /// What went wrong.
        reason: String,
        /// How long the endpoint asks to wait.
        after: Option<Duration>,
    },
    /// It is not tried again.
    Final(AgentError),
}

/// One request.
pub(crate) struct Attempt<'a> {
    config: &'a OpenAiConfig,
    report: &'a Report,
    secrets: Secrets,
    completion: Completion,
    /// Something was reported: a second attempt would say it twice.
    spoken: bool,
    alive: Instant,
}

/// How a stream of bytes fails.
#[derive(Debug, thiserror::Error)]
enum Torn {
    #[error("it sent nothing for too long")]
    Silent,
    #[error("{0}")]
    Lost(String),
    #[error("it sends without end")]
    TooLong,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(config: &'a OpenAiConfig, report: &'a Report) -> Self {
        let secrets = Secrets::new(config.api_key.as_deref());
        Self { config, report, secrets, completion: Completion::default(), spoken: false, alive: Instant::now() }
    }

    /// Makes it. Dropping the future closes the connection.
    pub(super) async fn make(self, client: &reqwest::Client, body: &Value) -> Result<String, Setback> {
        let request = client.post(format!("{}/chat/completions", self.config.base_url)).header("Accept", "text/event-stream").json(body);
        // Being reached is a part of saying something, and has its own, shorter limit in the client.
        let silence = self.config.byte_limit.max(self.config.connect_limit);
        let response = match tokio::time::timeout(silence, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let words = self.secrets.hide(&exchange::words(error));
                return Err(self.passing(format!("the model cannot be reached: {words}")));
            }
            Err(_) => return Err(self.torn(&Torn::Silent)),
        };
        self.hear(response).await
    }

    /// Takes what the endpoint answers to the whole text of the answer.
    pub(crate) async fn hear(mut self, response: Response) -> Result<String, Setback> {
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        self.read(response).await?;
        Ok(self.completion.text)
    }

    /// Reads the answer. Servers that do not stream, though asked to, send JSON, under whatever content type; so it is the first byte that tells.
    async fn read(&mut self, response: Response) -> Result<(), Setback> {
        let idle = Arc::new(AtomicUsize::new(0));
        let mut bytes = Box::pin(self.bytes(response, Arc::clone(&idle)));
        let mut head = Vec::new();
        let first = loop {
            match bytes.try_next().await {
                Ok(Some(chunk)) => head.extend_from_slice(&chunk),
                Ok(None) => break None,
                Err(torn) => return Err(self.torn(&torn)),
            }
            if let Some(first) = head.iter().find(|byte| !byte.is_ascii_whitespace()) {
                break Some(*first);
            }
        };
        match first {
            None => Err(self.passing("the model closed the connection before its answer".into())),
            Some(b'{') => {
                while let Some(chunk) = bytes.try_next().await.map_err(|torn| self.torn(&torn))? {
                    head.extend_from_slice(&chunk);
                }
                self.read_whole(&String::from_utf8_lossy(&head)).await
            }
            Some(_) => {
                let head = futures_util::stream::iter([Ok(Bytes::from(head))]);
                self.read_events(head.chain(bytes), &idle).await
            }
        }
    }

    async fn read_whole(&mut self, body: &str) -> Result<(), Setback> {
        let before = self.completion.whole(body).map(str::to_owned);
        let text = before.map_err(|odd| self.odd(odd))?;
        self.say(text).await.map(drop)
    }

    async fn read_events(&mut self, bytes: impl Stream<Item = Result<Bytes, Torn>>, idle: &AtomicUsize) -> Result<(), Setback> {
        let mut events = Box::pin(SseByteStream::new(bytes));
        while !self.completion.over {
            let event = match events.next().await {
                Some(Ok(event)) => event,
                Some(Err(sse_stream::Error::Body(error))) => {
                    return Err(error
                        .downcast_ref::<Torn>()
                        .map_or_else(|| self.passing("the answer was lost".into()), |torn| self.torn(torn)));
                }
                Some(Err(_)) => return Err(self.odd(Odd::NotUnderstood)),
                None if self.completion.begun => return Err(self.passing("the model's answer broke off".into())),
                None => return Err(self.odd(Odd::NotUnderstood)),
            };
            let Some(data) = event.data.filter(|data| !data.is_empty()) else { continue };
            let piece = self.completion.chunk(&data).map(str::to_owned);
            let piece = piece.map_err(|odd| self.odd(odd))?;
            if self.say(piece).await? {
                idle.store(0, Ordering::Relaxed);
            }
        }
        // The answer is whole; whatever happens to the connection now is no matter.
        let _ = tokio::time::timeout(LINGER, async { while let Some(Ok(_)) = events.next().await {} }).await;
        Ok(())
    }

    /// The body, with a bound on silence, on what may come without progress (an event that is none is no progress), and on the whole.
    fn bytes(&self, response: Response, idle: Arc<AtomicUsize>) -> impl Stream<Item = Result<Bytes, Torn>> + use<> {
        let limit = self.config.byte_limit;
        let bound = |wrapped: usize| self.config.max_answer_bytes.saturating_mul(wrapped).saturating_add(WRAPPING);
        let (most_idle, most) = (bound(ESCAPED), bound(WRAPPED));
        futures_util::stream::try_unfold((response, 0_usize), move |(mut response, all)| {
            let idle = Arc::clone(&idle);
            async move {
                let chunk = tokio::time::timeout(limit, response.chunk()).await.map_err(|_| Torn::Silent)?;
                let Some(chunk) = chunk.map_err(|error| Torn::Lost(exchange::words(error)))? else { return Ok(None) };
                let since = idle.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
                let all = all.saturating_add(chunk.len());
                if since > most_idle || all > most { Err(Torn::TooLong) } else { Ok(Some((chunk, (response, all)))) }
            }
        })
    }

    /// Reports what is new; whether anything is. An event without words is nothing that an idle limit should wait for.
    async fn say(&mut self, piece: String) -> Result<bool, Setback> {
        if self.completion.text.len().max(self.completion.thought) > self.config.max_answer_bytes {
            return Err(self.too_long());
        }
        let thinks = self.completion.thinks_on();
        let progress = thinks || !piece.is_empty();
        let told = if !piece.is_empty() {
            self.spoken = true;
            self.report.text(piece).await
        } else if thinks && self.alive.elapsed() >= ALIVE_EVERY {
            self.alive = Instant::now();
            self.report.alive().await
        } else {
            Ok(())
        };
        told.map(|()| progress).map_err(|lost| Setback::Final(AgentError::Unavailable(lost.to_string())))
    }

    fn passing(&self, reason: String) -> Setback {
        if self.spoken { Setback::Final(AgentError::Unavailable(reason)) } else { Setback::Passing { reason, after: None } }
    }

    fn torn(&self, torn: &Torn) -> Setback {
        match torn {
            // An endpoint that hangs is not helped by a second request, and the user has waited long enough.
            Torn::Silent => Setback::Final(AgentError::Unavailable(format!(
                "the model sent nothing for {}",
                humantime::format_duration(self.config.byte_limit)
            ))),
            Torn::Lost(reason) => self.passing(format!("the model's answer broke off: {}", self.secrets.hide(reason))),
            Torn::TooLong => self.too_long(),
        }
    }

    fn too_long(&self) -> Setback {
        let most = self.config.max_answer_bytes;
        failed(format!("the model's answer is longer than {most} bytes (agents.{}.max_answer_bytes)", self.config.agent))
    }

    fn odd(&self, odd: Odd) -> Setback {
        match odd {
            Odd::NotUnderstood => {
                failed(format!("what the model's endpoint sends is no chat completion. Check agents.{}.base_url", self.config.agent))
            }
            Odd::Error { code, message } => {
                let reason = format!("the model failed: {}", self.words(&message));
                match code {
                    Some(code @ 400..500) if !passes(code) => failed(reason),
                    _ => self.passing(reason),
                }
            }
        }
    }

    /// What a status other than success means.
    async fn refused(&self, response: Response) -> Setback {
        let status = response.status();
        let after = exchange::retry_after(response.headers(), SystemTime::now());
        let body = tokio::time::timeout(self.config.byte_limit, exchange::text_of(response, ERROR_BODY)).await;
        let error = body.ok().and_then(Result::ok).and_then(|body| serde_json::from_str::<Value>(&body).ok()).unwrap_or_default();
        let error = error.get("error").cloned().unwrap_or(error);
        let Odd::Error { message, .. } = completion::told(&error) else { return failed("the model failed".into()) };
        let (name, code, words) = (&self.config.agent, status.as_u16(), self.words(&message));
        match code {
            // It comes as a 429, but no waiting helps.
            429 if error["code"] == "insufficient_quota" || error["type"] == "insufficient_quota" => {
                failed(format!("the account of agents.{name}.api_key has no quota left (429)"))
            }
            code if status.is_server_error() || passes(code.into()) => {
                Setback::Passing { reason: format!("the model is not available now ({code}): {words}"), after }
            }
            // Not with the endpoint's words: some repeat the key in them.
            401 | 403 => failed(format!("the model's endpoint rejects the key ({code}). Check agents.{name}.api_key")),
            404 => failed(format!("the endpoint or its model does not exist (404). Check agents.{name}.base_url and agents.{name}.model")),
            _ if status.is_redirection() => {
                failed(format!("the model's endpoint redirects elsewhere ({code}). Check agents.{name}.base_url"))
            }
            _ => failed(format!("the model's endpoint does not take the request ({code}): {words}")),
        }
    }

    /// The endpoint's words, short, and without the key.
    fn words(&self, message: &str) -> String {
        let words = self.secrets.told(message, ERROR_WORDS);
        if words.is_empty() { "it does not say why".into() } else { words }
    }
}

/// Codes below 500 that may pass: time-out, conflict, too early, too many.
fn passes(code: u64) -> bool {
    const PASSING: [StatusCode; 4] =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    PASSING.iter().any(|status| u64::from(status.as_u16()) == code)
}

fn failed(reason: String) -> Setback {
    Setback::Final(AgentError::Failed(reason))
}
