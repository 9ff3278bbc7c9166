//! The way out to pages: one event stream per page, first what the ledger has of the room, then what happens.
//!
//! Ids are the ledger's numbers. A reply may be shown after a message with a higher number, so what follows Last-Event-ID is not
//! all that a page may have missed: replies among the newest lines are shown again, and the page replaces them by their number.
//! A beat is an event and not a comment, so that a page can see that its stream is alive, and end one that is not.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use switchboard_actors::ids::{RoomId, Seq};
use switchboard_actors::ledger::RoomLine;
use switchboard_actors::platform::Voice;
use switchboard_actors::platform::web::{Event, Watch};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior};

use super::chat::closed;
use super::{Chat, Front, later};

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/api/events", web::get().to(events));
}

/// A page that connects by itself cannot set the header.
#[derive(Deserialize)]
struct From {
    after: Option<u64>,
}

async fn events(front: web::Data<Front>, request: HttpRequest, from: web::Query<From>) -> HttpResponse {
    let (caller, chat) = match (front.gate.reader(request.headers()), &front.chat) {
        (Err(denied), _) => return denied.response(),
        (_, None) => return closed(),
        (Ok(caller), Some(chat)) => (caller, chat),
    };
    let Ok(permit) = Arc::clone(&chat.streams).try_acquire_owned() else {
        return later("too many pages watch", 10);
    };
    let header = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = header.max(from.after).map(Seq);
    let room = caller.room();
    let watch = chat.hub.watch(&room); // before the log is read, so that nothing falls between
    let (lines, newest) = match shown_first(chat, &room, after).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "the log of a room cannot be read");
            return later("the conversation cannot be read now", 3);
        }
    };
    let heartbeat = u64::try_from(chat.heartbeat.as_millis()).unwrap_or(u64::MAX);
    let user = format!("{}:{}", chat.adapter, caller.user());
    let ready = serde_json::json!({ "user": user, "ledger": chat.ledger, "heartbeat": heartbeat });
    let feed = Feed::new(opening(&lines, newest, &ready), watch, &front, chat.heartbeat, permit);
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(feed.stream())
}

/// What a page is shown first, and the number from which it goes on. One that opens is shown the newest lines; one that has
/// everything up to `after`, all that came since, however few are replayed to others, and the replies among the newest.
async fn shown_first(chat: &Chat, room: &RoomId, after: Option<Seq>) -> Result<(Vec<RoomLine>, Seq), String> {
    // Where nothing is replayed, the newest number still decides where the page goes on.
    let mut lines = chat.hub.log(room, Seq(0), chat.replay.max(1)).await?;
    let mut newest = lines.last().map_or(Seq(0), |line| line.seq);
    if chat.replay == 0 {
        lines.clear();
    }
    if let Some(after) = after {
        lines.retain(|line| line.seq <= after && line.voice.is_some());
        lines.extend(chat.hub.log(room, after, chat.missed.max(chat.replay)).await?);
        newest = lines.last().map_or(newest, |line| newest.max(line.seq));
    }
    Ok((lines, newest))
}

/// The beginning of a stream. `ready` ends what was said before: it names the length of a beat, and whose lines these are, since
/// under another user or another ledger the same numbers mean other lines, and the page starts anew.
fn opening(lines: &[RoomLine], newest: Seq, ready: &serde_json::Value) -> String {
    let mut text = String::from("retry: 1000\n\n");
    text.extend(lines.iter().map(shown));
    // The last id decides where the page goes on, whatever was repeated before it.
    text.push_str(&event("ready", Some(newest), ready));
    text
}

fn shown(line: &RoomLine) -> String {
    let number = line.outbox.map_or(line.seq, |id| id.0);
    let delivery = line.delivery.as_ref().map(ToString::to_string);
    let data = serde_json::json!({ "id": number, "from": from(line.voice), "text": line.text, "at": line.at, "delivery": delivery });
    event("line", None, &data)
}

fn from(voice: Option<Voice>) -> &'static str {
    match voice {
        None => "me",
        Some(Voice::Agent) => "agent",
        Some(Voice::Gateway) => "gateway",
    }
}

/// One event of a stream. JSON has no line breaks of its own, so one `data` line holds it.
fn event(name: &str, id: Option<Seq>, data: &serde_json::Value) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {name}\ndata: {data}\n\n")
}

/// One page's stream.
struct Feed {
    first: Option<String>,
    watch: Watch,
    closing: watch::Receiver<bool>,
    heartbeat: Interval,
    /// Counts this page among those that watch.
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    fn new(first: String, watch: Watch, front: &Front, every: Duration, permit: OwnedSemaphorePermit) -> Self {
        let mut heartbeat = tokio::time::interval(every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Self { first: Some(first), watch, closing: front.door.watch(), heartbeat, _permit: permit }
    }

    fn stream(self) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
        stream::unfold(self, |mut feed| async move { Some((Ok(Bytes::from(feed.next().await?)), feed)) })
    }

    /// The next piece; `None` ends the stream, and the page connects anew.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            _ = self.closing.wait_for(|closed| *closed) => None,
            event = self.watch.next() => event.map(|event| live(&event)),
            _ = self.heartbeat.tick() => Some(event("beat", None, &serde_json::json!({}))),
        }
    }
}

/// Lines that happen carry no id: where a page goes on is decided by what it read from the ledger in order, and everything after
/// that is read again.
fn live(happened: &Event) -> String {
    match happened {
        Event::Line { id, voice, text, draft } => {
            event("line", None, &serde_json::json!({ "id": id, "from": from(Some(*voice)), "text": text, "draft": draft }))
        }
        Event::Said { delivery, text } => event("said", None, &serde_json::json!({ "delivery": delivery, "text": text })),
        Event::Typing => event("typing", None, &serde_json::json!({})),
    }
}
