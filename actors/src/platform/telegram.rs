//! Telegram, through the Bot API by long polling: <https://core.telegram.org/bots/api>.
//!
//! It never acknowledges what was not accepted (`listener`), never lets one strange update spoil its batch (`update`) and never
//! lets the token into a text (`api`). The types are a small set of our own, because a client that decodes a batch as a whole fails on
//! the first update of a new kind.

pub(crate) mod api;
pub(crate) mod listener;
pub(crate) mod speaker;
#[cfg(all(test, feature = "testkit"))]
mod tests;
pub(crate) mod update;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;

use self::api::Api;
use self::listener::Updates;
use self::speaker::Mouth;
use super::{Abilities, Connection, Platform, PlatformError};
use crate::ids::{Account, AdapterName};

/// The longest text of a message: "1-4096 characters after entities parsing", and lengths are counted in UTF-16 code units.
/// <https://core.telegram.org/bots/api#sendmessage>, <https://core.telegram.org/bots/api#messageentity>
const MAX_UNITS: usize = 4096;

/// One bot.
#[derive(Clone)]
pub struct TelegramConfig {
    /// The adapter's name, for errors that say where to look (`adapters.NAME.token`).
    pub adapter: AdapterName,
    /// The bot's token. White space around it (the line end of a file) does not count.
    pub token: String,
    /// Where the Bot API is: `https://api.telegram.org`, or a server of one's own. White space and slashes at its end do not count.
    pub api_root: String,
    /// How long one getUpdates waits for something to come. Telegram itself allows up to 50 s.
    pub poll: Duration,
    /// How long any other call may take; a send that took longer has an unknown fate.
    pub call_limit: Duration,
}

impl fmt::Debug for TelegramConfig {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramConfig")
            .field("adapter", &self.adapter)
            .field("token", &"[secret]")
            .field("api_root", &self.api_root)
            .field("poll", &self.poll)
            .field("call_limit", &self.call_limit)
            .finish()
    }
}

/// The connection to Telegram of one bot.
pub struct Telegram {
    api: Arc<Api>,
}

impl Telegram {
    /// Speaks through `client`, which should follow no redirects: the Bot API has none, and a token must not travel on.
    pub fn new(config: TelegramConfig, client: reqwest::Client) -> Self {
        Self { api: Arc::new(Api::new(config, client)) }
    }
}

impl Platform for Telegram {
    fn kind(&self) -> &'static str {
        "telegram"
    }

    fn abilities(&self) -> Abilities {
        // There is no idempotency key: a repeated sendMessage is a second message.
        Abilities { edits: true, idempotent: false, max_units: MAX_UNITS }
    }

    fn connect(&self) -> BoxFuture<'static, Result<Connection, PlatformError>> {
        let api = Arc::clone(&self.api);
        Box::pin(async move {
            let us = who_we_are(&api).await?;
            Ok(Connection {
                account: Account::new(format!("telegram:{}", us.id)),
                listener: Box::new(Updates::new(Arc::clone(&api), us.username.unwrap_or_default())),
                speaker: Arc::new(Mouth::new(api)),
            })
        })
    }
}

/// Ourselves: <https://core.telegram.org/bots/api#getme>.
#[derive(Deserialize)]
struct Us {
    id: i64,
    username: Option<String>,
}

async fn who_we_are(api: &Api) -> Result<Us, PlatformError> {
    let answer = api.call("getMe", &serde_json::json!({}), api.call_limit()).await.map_err(|error| api.connection_error(error))?;
    serde_json::from_str(answer.get()).map_err(|_| api.not_telegram("the answer to getMe names no id"))
}
