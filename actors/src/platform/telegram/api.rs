//! One call of the Bot API: a POST of JSON, and what came of it.
//!
//! Sources: <https://core.telegram.org/bots/api#making-requests> (the envelope: `ok`, `result`, `error_code`, `description`,
//! `parameters`), <https://core.telegram.org/bots/api#responseparameters> (`retry_after`, `migrate_to_chat_id`). The token is part
//! of the URL, so no error of the transport is passed on as it is, and no words of whoever answers without a look for it.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{PlatformError, TelegramConfig};
use crate::exchange::{self, BodyError, Secrets};

/// The longest batch that is read: at most 100 updates, each of some ten kilobytes at the very most.
const MAX_BATCH: usize = 32 << 20;
/// The longest answer to anything else: one message at most. Many may be on their way at the same time.
const MAX_ANSWER: usize = 1 << 20;
/// What a 429 means that does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that we believe in.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How much of Telegram's own words is passed on.
const DESCRIPTION: usize = 200;

/// Why a call came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// It never left: no connection, or no such address.
    NotSent(String),
    /// Nobody knows what became of it: the connection was lost, or the answer did not come in time or could not be read.
    Lost(String),
    /// An answer, but not the Bot API's: a proxy's, a gateway's, a web server's.
    Foreign(u16),
    /// Telegram asks to wait.
    TooMany(Duration),
    /// Telegram declines.
    Declined {
        /// Its code, like a status of HTTP.
        code: u16,
        /// Its words, on one line, trimmed.
        description: String,
        /// The supergroup that the group became.
        migrated_to: Option<i64>,
    },
    /// The address cannot be called at all.
    BadAddress,
}

/// The Bot API for one bot.
pub(super) struct Api {
    config: TelegramConfig,
    secrets: Secrets,
    client: reqwest::Client,
}

impl Api {
    pub(super) fn new(mut config: TelegramConfig, client: reqwest::Client) -> Self {
        config.token = config.token.trim().to_owned();
        config.api_root = config.api_root.trim().trim_end_matches('/').to_owned();
        let secrets = Secrets::new([config.token.as_str()]);
        Self { config, secrets, client }
    }

    /// How long one getUpdates waits.
    pub(super) fn poll(&self) -> Duration {
        self.config.poll
    }

    /// How long any other call may take.
    pub(super) fn call_limit(&self) -> Duration {
        self.config.call_limit
    }

    /// Calls `method` and returns its `result` as it came.
    pub(super) async fn call(&self, method: &str, parameters: &impl Serialize, limit: Duration) -> Result<Box<RawValue>, CallError> {
        let request = self.client.post(self.address(method)?).timeout(limit).json(parameters);
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let named = exchange::retry_after(response.headers(), SystemTime::now());
        let most = if method == "getUpdates" { MAX_BATCH } else { MAX_ANSWER };
        let body = match exchange::text_of(response, most).await {
            Ok(body) => body,
            Err(BodyError::TooLong) => return Err(CallError::Lost(format!("its answer is longer than {most} bytes"))),
            Err(BodyError::Lost(reason)) => return Err(CallError::Lost(self.secrets.hide(&reason))),
        };
        opened(status, named, &body, &self.secrets)
    }

    /// What a failed call means for the connection.
    pub(super) fn connection_error(&self, error: CallError) -> PlatformError {
        let name = &self.config.adapter;
        let broken =
            |reason: String, retry_after| PlatformError::Broken { reason: format!("telegram adapter `{name}`: {reason}"), retry_after };
        match error {
            CallError::NotSent(reason) => broken(format!("cannot reach {}: {reason}", self.config.api_root), None),
            CallError::Lost(reason) => broken(format!("connection lost: {reason}"), None),
            CallError::TooMany(wait) => broken(format!("Telegram asks to wait {wait:?}"), Some(wait)),
            CallError::BadAddress => PlatformError::Refused {
                reason: format!("telegram adapter `{name}`: its address or its token has a form that cannot be called"),
                remedy: format!("Check adapters.{name}.api_root (https://…) and adapters.{name}.token (123456:ABC…)"),
            },
            CallError::Declined { code: code @ (401 | 404), .. } => PlatformError::Refused {
                reason: format!("telegram adapter `{name}`: token rejected ({code})"),
                remedy: format!("Check adapters.{name}.token; @BotFather shows and renews it"),
            },
            CallError::Foreign(code @ (401 | 403 | 404)) => PlatformError::Refused {
                reason: format!("telegram adapter `{name}`: {} answers {code}, and not as Telegram does", self.config.api_root),
                remedy: format!("Check adapters.{name}.api_root, and adapters.{name}.token"),
            },
            CallError::Foreign(code) => broken(format!("{} answers {code}, and not as Telegram does", self.config.api_root), None),
            CallError::Declined { code: 409, description, .. } => broken(conflict(name.as_str(), &description), None),
            CallError::Declined { code, description, .. } => broken(format!("Telegram declines ({code}): {description}"), None),
        }
    }

    /// An answer that is well-formed and yet not Telegram's.
    pub(super) fn not_telegram(&self, what: &str) -> PlatformError {
        let reason = format!(
            "telegram adapter `{}`: {what}. Check that adapters.{}.api_root is a Bot API",
            self.config.adapter, self.config.adapter
        );
        PlatformError::Broken { reason, retry_after: None }
    }

    fn failed(&self, error: reqwest::Error) -> CallError {
        let (builder, connect) = (error.is_builder(), error.is_connect());
        let words = self.secrets.hide(&exchange::words(error));
        match (builder, connect) {
            (true, _) => CallError::BadAddress,
            (false, true) => CallError::NotSent(words),
            (false, false) => CallError::Lost(words),
        }
    }

    fn address(&self, method: &str) -> Result<reqwest::Url, CallError> {
        let token = &self.config.token;
        // Anything else would change the path, and with it the server that reads the rest.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte)) {
            return Err(CallError::BadAddress);
        }
        let url = reqwest::Url::parse(&format!("{}/bot{token}/{method}", self.config.api_root)).map_err(|_| CallError::BadAddress)?;
        if url.has_host() && matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(CallError::BadAddress) }
    }
}

/// Two who poll, or one who polls beside a webhook: <https://core.telegram.org/bots/api#getupdates>, notes 1 and 2.
fn conflict(name: &str, description: &str) -> String {
    if description.to_ascii_lowercase().contains("webhook") {
        "a webhook is set for this bot (409), so that it cannot be polled. Call deleteWebhook for it, or give this adapter a bot of its own"
            .into()
    } else {
        format!("somebody else polls with the same token (409). Stop the other program, or give adapters.{name}.token a bot of its own")
    }
}

#[derive(Deserialize)]
struct Envelope {
    ok: bool,
    result: Option<Box<RawValue>>,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Value,
}

/// What an answer says. Only an envelope is Telegram's word; a status without one comes from something in between.
pub(crate) fn opened(status: StatusCode, named: Option<Duration>, body: &str, secrets: &Secrets) -> Result<Box<RawValue>, CallError> {
    let envelope = match serde_json::from_str::<Envelope>(body) {
        Ok(Envelope { ok: true, result: Some(result), .. }) => return Ok(result),
        Ok(envelope) if !envelope.ok => envelope,
        _ if status == StatusCode::TOO_MANY_REQUESTS => return Err(CallError::TooMany(wait(named))),
        _ if status.is_success() => return Err(CallError::Lost("its answer cannot be understood".into())),
        _ => return Err(CallError::Foreign(status.as_u16())),
    };
    let code = envelope.error_code.unwrap_or(status.as_u16());
    if code == 429 {
        let told = envelope.parameters.get("retry_after").and_then(Value::as_f64).and_then(|s| Duration::try_from_secs_f64(s).ok());
        return Err(CallError::TooMany(wait(told.or(named))));
    }
    Err(CallError::Declined {
        code,
        description: secrets.told(&envelope.description, DESCRIPTION),
        migrated_to: envelope.parameters.get("migrate_to_chat_id").and_then(Value::as_i64),
    })
}

/// Never zero, or a flood would be answered by a flood; never absurd.
fn wait(told: Option<Duration>) -> Duration {
    told.unwrap_or(DEFAULT_WAIT).clamp(DEFAULT_WAIT, LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_envelope_is_telegrams_word() {
        let declined = |code, description: &str| CallError::Declined { code, description: description.into(), migrated_to: None };
        let secs = |s| CallError::TooMany(Duration::from_secs(s));
        for (status, body, expected) in [
            (200, r#"{"ok":true,"result":[1]}"#, Ok("[1]")),
            (200, r#"{"ok":true}"#, Err(CallError::Lost("its answer cannot be understood".into()))),
            (200, "<html>", Err(CallError::Lost("its answer cannot be understood".into()))),
            (200, r#"{"ok":false,"error_code":403,"description":"Forbidden"}"#, Err(declined(403, "Forbidden"))),
            (400, r#"{"ok":false,"description":"Bad"}"#, Err(declined(400, "Bad"))),
            (401, "<html>", Err(CallError::Foreign(401))),
            (502, "", Err(CallError::Foreign(502))),
            (429, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":35}}"#, Err(secs(35))),
            (429, r#"{"ok":false,"error_code":429}"#, Err(secs(1))),
            (429, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":0}}"#, Err(secs(1))),
            (429, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":99999999}}"#, Err(secs(3600))),
            (429, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":-5}}"#, Err(secs(1))),
            (429, "slow down", Err(secs(1))),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let answer = opened(status, None, body, &Secrets::default());
            assert_eq!(answer.as_ref().map(|result| result.get()), expected.as_ref().copied(), "{status} {body}");
        }
    }

    #[test]
    fn a_token_cannot_change_the_address() {
        let address = |root: &str, token: &str| {
            let config = TelegramConfig {
                adapter: "main".into(),
                token: token.into(),
                api_root: root.into(),
                poll: Duration::from_secs(1),
                call_limit: Duration::from_secs(1),
            };
            Api::new(config, reqwest::Client::new()).address("getMe").map(|url| url.to_string()).ok()
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert_eq!(address("http://h:1/", " 1:a-_B\n").as_deref(), Some("http://h:1/bot1:a-_B/getMe"));
        for (root, token) in
            [("http://h", ""), ("http://h", "1/../2"), ("http://h", "1?a"), ("http://h", "ü"), ("h", "1:a"), ("file:///", "1:a")]
        {
            assert_eq!(address(root, token), None, "{root} {token}");
        }
    }
}
