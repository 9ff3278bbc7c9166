//! Any endpoint that speaks OpenAI's chat completions, streaming:
//! <https://platform.openai.com/docs/api-reference/chat/create>.
//!
//! A thin client of our own on reqwest, because those that were tried either fail on what servers really send or do not notice that a
//! stream was cut (`openai/completion.rs`). It offers the model no tools. It never answers twice: once a piece was reported, a failure is a failure; before
//! that it tries again.

pub(crate) mod attempt;
mod completion;
mod conversation;
#[cfg(all(test, feature = "testkit"))]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use self::attempt::{Attempt, Setback};
use super::{Agent, AgentError, Answer, Report, Task};
use crate::ids::AgentName;

/// The first wait between two tries; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// One model behind one endpoint.
#[derive(Clone)]
pub struct OpenAiConfig {
    /// The agent's name, for errors that say where to look (`agents.NAME.api_key`).
    pub agent: AgentName,
    /// The endpoint, up to and with its version: `https://api.openai.com/v1`.
    pub base_url: String,
    /// The model, as the endpoint calls it.
    pub model: String,
    /// The key, where the endpoint wants one. White space around it does not count.
    pub api_key: Option<String>,
    /// What the model is told before anything else.
    pub system: Option<String>,
    /// How long it may take to reach the endpoint.
    pub connect_limit: Duration,
    /// How long the endpoint may send nothing at all. No wait between two tries is longer than this either.
    pub byte_limit: Duration,
    /// How often a request is made at most, the first time included.
    pub tries: u32,
    /// The longest answer, in bytes.
    pub max_answer_bytes: usize,
}

impl fmt::Debug for OpenAiConfig {
    /// Without the key, and without the address, in which some endpoints want one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("agent", &self.agent)
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| "[secret]"))
            .field("connect_limit", &self.connect_limit)
            .field("byte_limit", &self.byte_limit)
            .field("tries", &self.tries)
            .field("max_answer_bytes", &self.max_answer_bytes)
            .finish_non_exhaustive()
    }
}

/// The agent.
pub struct OpenAi {
    endpoint: Arc<Endpoint>,
}

/// What every run needs.
struct Endpoint {
    config: OpenAiConfig,
    client: reqwest::Client,
}

impl OpenAi {
    /// Speaks through a client built by `builder` (its proxies and certificates are the embedder's choice). Redirects are off: a conversation goes
    /// where the configuration says, and nowhere else.
    ///
    /// # Errors
    /// Words that name the setting: the key cannot be sent, the address is none, no TLS.
    pub fn new(mut config: OpenAiConfig, builder: reqwest::ClientBuilder) -> Result<Self, String> {
        let name = config.agent.clone();
        let mut headers = HeaderMap::new();
        if let Some(key) = config.api_key.as_deref().map(str::trim).filter(|key| !key.is_empty()) {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| format!("agents.{name}.api_key holds characters that no key has; check what it is read from"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        config.base_url = config.base_url.trim().trim_end_matches('/').to_owned();
        if !reqwest::Url::parse(&config.base_url).is_ok_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https")) {
            return Err(format!("agents.{name}.base_url is not an address; write for example \"http://127.0.0.1:8080/v1\""));
        }
        let client = builder
            .default_headers(headers)
            .connect_timeout(config.connect_limit)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("agents.{name}: no HTTP client can be built: {}", crate::exchange::words(error)))?;
        Ok(Self { endpoint: Arc::new(Endpoint { config, client }) })
    }
}

impl Agent for OpenAi {
    fn kind(&self) -> &'static str {
        "openai"
    }

    fn run(&self, task: Task, report: Report) -> BoxFuture<'static, Result<Answer, AgentError>> {
        let endpoint = Arc::clone(&self.endpoint);
        Box::pin(async move { endpoint.answer(&task, &report).await })
    }
}

impl Endpoint {
    async fn answer(&self, task: &Task, report: &Report) -> Result<Answer, AgentError> {
        let body = conversation::request(&self.config.model, self.config.system.as_deref(), &task.history);
        let mut backoff = FIRST_WAIT;
        let mut tries = 0;
        loop {
            tries += 1;
            match Attempt::new(&self.config, report).make(&self.client, &body).await {
                Ok(text) => return Ok(Answer { text }),
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Passing { reason, .. }) if tries >= self.config.tries => return Err(AgentError::Unavailable(reason)),
                Err(Setback::Passing { reason, after }) => {
                    // What the endpoint names counts, else our own back-off; jitter, so that a crowd does not come back as one.
                    let wait = after.unwrap_or(Duration::ZERO).max(backoff.mul_f64(0.5 + fastrand::f64())).min(self.config.byte_limit);
                    tracing::info!(agent = %self.config.agent, turn = %task.turn, tries, ?wait, reason, "model is tried again");
                    tokio::time::sleep(wait).await;
                    backoff = backoff.saturating_mul(2);
                }
            }
        }
    }
}
