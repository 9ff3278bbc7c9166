//! The way in: long polling, with an offset that follows only what was accepted.
//!
//! Source: <https://core.telegram.org/bots/api#getupdates>: an update is confirmed, and forgotten by Telegram, once getUpdates is called
//! with an offset above its number. So polling goes on only when all of the last batch was accepted. Telegram keeps what is not
//! confirmed for 24 hours.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;

use super::api::Api;
use super::update;
use crate::ids::Cursor;
use crate::platform::unsettled::Unsettled;
use crate::platform::{Inbound, Listener, Offer, PlatformError};

/// A poll that was not answered so long after its time is lost.
const MARGIN: Duration = Duration::from_secs(10);

/// The updates of one bot.
pub(super) struct Updates {
    api: Arc<Api>,
    us: String,
    /// The number that the next poll asks for; `None`: the oldest that Telegram has.
    offset: Option<i64>,
    /// Whether Telegram has answered a poll. The first one does not wait: a quiet bot would be unheard until it is over.
    heard: bool,
    unsettled: Unsettled,
}

impl Updates {
    pub(super) fn new(api: Arc<Api>, us: String) -> Self {
        Self { api, us, offset: None, heard: false, unsettled: Unsettled::default() }
    }

    async fn poll(&mut self) -> Result<Vec<Inbound>, PlatformError> {
        let timeout = if self.heard { self.api.poll().as_secs().max(1) } else { 0 };
        let asked = GetUpdates { offset: self.offset, timeout, allowed_updates: &["message"] };
        let answer =
            self.api.call("getUpdates", &asked, self.api.poll() + MARGIN).await.map_err(|error| self.api.connection_error(error))?;
        let batch = batch(&answer, &self.us).map_err(|what| self.api.not_telegram(what))?;
        self.heard = true;
        if batch.unnumbered > 0 {
            tracing::warn!(count = batch.unnumbered, "telegram updates without a number");
        }
        self.offset = batch.offset.or(self.offset);
        Ok(batch.updates)
    }
}

/// What a poll brought.
pub(crate) struct Batch {
    /// In their order; one that cannot be understood says so.
    pub(crate) updates: Vec<Inbound>,
    /// How many have no number, and are passed over.
    unnumbered: usize,
    /// What the next poll asks for; `None`: the same as this one.
    pub(crate) offset: Option<i64>,
}

/// Reads the result of getUpdates for the bot called `us`; or says what is wrong with it.
pub(crate) fn batch(answer: &RawValue, us: &str) -> Result<Batch, &'static str> {
    let all: Vec<&RawValue> = serde_json::from_str(answer.get()).map_err(|_| "the answer to getUpdates is no list")?;
    let numbered: Vec<(i64, &RawValue)> = all.iter().filter_map(|update| Some((update::number(update)?, *update))).collect();
    if numbered.is_empty() && !all.is_empty() {
        // Polling on at once would bring the same ones for ever.
        return Err("no update of a batch has a number");
    }
    Ok(Batch {
        unnumbered: all.len() - numbered.len(),
        // Not the highest number ever seen: after a week of silence, and on another server, numbers start anew and may be lower
        // (https://core.telegram.org/bots/api#update). An offset that is ahead of them is answered from the oldest update, so one
        // that never fell would get the same batch for ever.
        offset: numbered.last().map(|(last, _)| last.saturating_add(1)),
        updates: numbered.into_iter().map(|(number, raw)| update::meaning(number, raw, us)).collect(),
    })
}

impl Listener for Updates {
    fn resume(&mut self, cursor: Option<Cursor>) {
        let last = cursor.as_ref().map(|cursor| cursor.as_str().parse::<i64>());
        if let Some(Err(_)) = last {
            // Harmless: what comes again is recognised by its number.
            tracing::warn!("the stored cursor is no number; telegram is read from its oldest update");
        }
        self.offset = last.and_then(Result::ok).map(|last| last.saturating_add(1));
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Offer>, PlatformError>> {
        Box::pin(async {
            let again = self.unsettled.settled().await;
            if !again.is_empty() {
                return Ok(again);
            }
            let batch = self.poll().await?;
            Ok(self.unsettled.offer(batch))
        })
    }
}

#[derive(Serialize)]
struct GetUpdates {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    timeout: u64,
    allowed_updates: &'static [&'static str],
}
