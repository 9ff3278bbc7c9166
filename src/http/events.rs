//! The way out to pages: one event stream per page, first what the ledger has of the room ([`Replay`]), then what happens; and what was said
//! earlier, for whoever asks.
//!
//! Ids are the ledger's numbers. A reply may be shown after a message with a higher number, so what follows Last-Event-ID is not
//! all that a page may have missed: replies among the newest lines are shown again, and the page replaces them by their number.
//! A beat is an event and not a comment, so that a page can see that its stream is alive, and end one that is not. The stream holds one
//! stretch of the log at a time, and what happened since up to the hub's bound; a page that does not read is let go by the connection
//! below it.

use std::collections::VecDeque;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use switchboard_actors::ids::{RoomId, Seq};
use switchboard_actors::ledger::{RoomLine, Span};
use switchboard_actors::platform::Voice;
use switchboard_actors::platform::web::{Event, Hub, Watch};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::access::{Caller, Stay};
use super::chat::closed;
use super::replay::{Next, Replay};
use super::streams::Place;
use super::{Chat, Front, later};

/// Earlier lines that are shown at once at most.
const EARLIER: u32 = 50;
/// And bytes of their texts, but for a single line.
const EARLIER_BYTES: u32 = 64 * 1024;

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/api/events", web::get().to(events)).route("/api/lines", web::get().to(lines));
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
    let place = match chat.streams.take(&caller.room()) {
        Ok(place) => place,
        Err(full) => return later(&full.to_string(), 10),
    };
    let header = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = header.max(from.after).map(Seq);
    let watch = chat.hub.watch(&caller.room()); // before the log is read, so that nothing falls between
    let mut feed = Feed::new(&front, chat, &caller, after, watch, place);
    if let Err(error) = feed.read_on().await {
        return unreadable(&error);
    }
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(feed.stream())
}

/// What a person asks for who wants to see more than a page was shown.
#[derive(Deserialize)]
struct Before {
    before: u64,
}

/// What was said before a number, the newest of it, and whether there is more.
async fn lines(front: web::Data<Front>, request: HttpRequest, asked: web::Query<Before>) -> HttpResponse {
    let (caller, chat) = match (front.gate.reader(request.headers()), &front.chat) {
        (Err(denied), _) => return denied.response(),
        (_, None) => return closed(),
        (Ok(caller), Some(chat)) => (caller, chat),
    };
    match earlier(chat, &caller.room(), Seq(asked.before)).await {
        Ok((lines, earlier)) => HttpResponse::Ok().json(serde_json::json!({
            "lines": lines.iter().map(data).collect::<Vec<_>>(),
            "earlier": earlier.map(|number| number.0),
        })),
        Err(error) => unreadable(&error),
    }
}

async fn earlier(chat: &Chat, room: &RoomId, before: Seq) -> Result<(Vec<RoomLine>, Option<Seq>), String> {
    let span = Span { after: Seq(0), before: Some(before), most: EARLIER, bytes: EARLIER_BYTES };
    let lines = chat.hub.log(room, span).await?;
    let Some(oldest) = lines.first().map(|line| line.seq) else { return Ok((lines, None)) };
    let more = chat.hub.log(room, Span { before: Some(oldest), most: 1, bytes: 0, ..span }).await?;
    Ok((lines, (!more.is_empty()).then_some(oldest)))
}

fn unreadable(error: &str) -> HttpResponse {
    tracing::warn!(%error, "the log of a room cannot be read");
    later("the conversation cannot be read now", 3)
}

/// A line as a page knows it.
fn data(line: &RoomLine) -> serde_json::Value {
    let number = line.outbox.map_or(line.seq, |id| id.0);
    let delivery = line.delivery.as_ref().map(ToString::to_string);
    serde_json::json!({ "id": number, "from": from(line.voice), "text": line.text, "at": line.at, "delivery": delivery })
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
    hub: Hub,
    room: RoomId,
    /// As long as not everything was shown that was said before.
    replay: Option<Replay>,
    /// Whose lines these are, under another user or another ledger the same numbers mean other lines; and how long a beat is.
    whose: serde_json::Value,
    /// What is said next.
    next: VecDeque<Piece>,
    watch: Watch,
    closing: watch::Receiver<bool>,
    heartbeat: Interval,
    /// Until what the page came in by is void.
    stay: Stay,
    /// Counts this page among those that watch.
    _place: Place,
}

/// A piece of the stream. Lines become text when they are sent: as text they are longer.
enum Piece {
    Line(RoomLine),
    Text(String),
}

impl Feed {
    fn new(front: &Front, chat: &Chat, caller: &Caller, after: Option<Seq>, watch: Watch, place: Place) -> Self {
        let mut heartbeat = tokio::time::interval(chat.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let every = u64::try_from(chat.heartbeat.as_millis()).unwrap_or(u64::MAX);
        let user = format!("{}:{}", chat.adapter, caller.user());
        Self {
            hub: chat.hub.clone(),
            room: caller.room(),
            replay: Some(Replay::new(after, chat.replay, chat.missed)),
            whose: serde_json::json!({ "user": user, "ledger": chat.ledger, "heartbeat": every }),
            next: VecDeque::from([Piece::Text("retry: 1000\n\n".to_owned())]),
            watch,
            closing: front.door.watch(),
            heartbeat,
            stay: front.gate.stay_of(caller),
            _place: place,
        }
    }

    fn stream(self) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
        stream::unfold(self, |mut feed| async move { Some((Ok(Bytes::from(feed.next().await?)), feed)) })
    }

    /// Reads what comes next of what was said before. `ready` ends that: its id is where the page goes on, whatever was repeated before it.
    async fn read_on(&mut self) -> Result<(), String> {
        let Some(replay) = &mut self.replay else { return Ok(()) };
        match replay.next() {
            Next::Read(span) => {
                let lines = self.hub.log(&self.room, span).await?;
                self.next.extend(replay.take(lines).into_iter().map(Piece::Line));
            }
            Next::Ready { newest, earlier } => {
                self.replay = None;
                self.whose["earlier"] = earlier.map(|number| number.0).into();
                self.next.push_back(Piece::Text(event("ready", Some(newest), &self.whose)));
            }
        }
        Ok(())
    }

    /// The next piece; `None` ends the stream, and the page connects anew.
    async fn next(&mut self) -> Option<String> {
        loop {
            match self.next.pop_front() {
                Some(Piece::Text(text)) => return Some(text),
                Some(Piece::Line(line)) => return Some(event("line", None, &data(&line))),
                None if self.replay.is_none() => break,
                None if *self.closing.borrow() || self.stay.is_over() => return None,
                None => self.read_on().await.inspect_err(|error| tracing::warn!(%error, "the log of a room cannot be read")).ok()?,
            }
        }
        tokio::select! {
            _ = self.closing.wait_for(|closed| *closed) => None,
            () = self.stay.ends() => None,
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
