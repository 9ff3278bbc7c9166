//! The methods of the Bot API that the fake knows, and how it misbehaves at each.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use serde_json::{Value, json};

use super::{Call, FakeTelegram, Fault, SentMessage, TelegramState};
use crate::testkit::journal::Journal;
use crate::testkit::loopback::{Body, Handler, full, hang_up};

/// At most so many updates in one answer: <https://core.telegram.org/bots/api#getupdates>.
const MOST_UPDATES: usize = 100;
/// An offset further ahead than this is answered from the oldest update.
const FUTURE: i64 = 10;
/// The longest text: <https://core.telegram.org/bots/api#sendmessage>.
const MOST_UNITS: usize = 4096;

type Shared = Arc<Journal<TelegramState>>;
/// A result, or a code and its description.
type Outcome = Result<Value, (u16, String)>;

pub(super) fn handler(state: Shared) -> Handler {
    Arc::new(move |request| answer(Arc::clone(&state), request).boxed())
}

async fn answer(state: Shared, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let Some((asked, method)) = path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')) else {
        return page(404, "no Bot API here");
    };
    let parameters: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let fault = state.write(|state| state.arrived(method, &parameters));
    if state.read(|state| asked != state.token) {
        return told(Err((401, "Unauthorized".into())));
    }
    if let Some(supergroup) = state.read(|state| state.migrated.get(&parameters["chat_id"].as_i64()?).copied()) {
        return migrated(supergroup);
    }
    match fault {
        None => told(perform(&state, method, &parameters).await),
        Some(Fault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            told(perform(&state, method, &parameters).await)
        }
        Some(Fault::LoseAnswer) => {
            let _ = perform(&state, method, &parameters).await;
            Err(hang_up())
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::HangUp) => Err(hang_up()),
        Some(Fault::Garbage) => page(200, "<html>not what you asked for</html>"),
        Some(Fault::Page(status)) => page(status, "<html>a page of something in between</html>"),
        Some(Fault::Endless(size, every)) => endless(size, every),
        Some(Fault::Declined(code, description)) => told(Err((code, description))),
        Some(Fault::TooMany(seconds)) => too_many(seconds),
    }
}

async fn perform(state: &Shared, method: &str, parameters: &Value) -> Outcome {
    match method {
        "getMe" => {
            Ok(json!({ "id": state.read(|state| state.bot), "is_bot": true, "first_name": "Bot", "username": FakeTelegram::USERNAME }))
        }
        "getUpdates" => updates(state, parameters).await,
        "sendMessage" => state.write(|state| state.send(parameters)),
        "editMessageText" => state.write(|state| state.edit(parameters)),
        "sendChatAction" => Ok(json!(true)),
        _ => Err((404, "Not Found".into())),
    }
}

/// Long polling. The poll that came last wins; the one before is told so: "Conflict: terminated by other getUpdates request".
async fn updates(state: &Shared, parameters: &Value) -> Outcome {
    let mut changes = state.changes();
    let us = state.write(|state| {
        state.confirm(parameters["offset"].as_i64());
        state.poll += 1;
        state.polling += 1;
        state.poll
    });
    let _waiting = Waiting(state);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(parameters["timeout"].as_u64().unwrap_or(0));
    loop {
        let found = state.read(|state| {
            if state.poll != us {
                let why = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
                return Some(Err((409, why.to_owned())));
            }
            let batch: Vec<Value> = state.updates.values().take(MOST_UPDATES).cloned().collect();
            (!batch.is_empty()).then_some(Ok(Value::Array(batch)))
        });
        match found {
            Some(outcome) => return outcome,
            None => match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(json!([])),
            },
        }
    }
}

/// Counts a poll for as long as it waits, also when its client goes away.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.write(|state| state.polling -= 1);
    }
}

impl TelegramState {
    /// Writes a call down, and says how it is to fail.
    fn arrived(&mut self, method: &str, parameters: &Value) -> Option<Fault> {
        self.calls.push(Call { method: method.to_owned(), parameters: parameters.clone(), at: Instant::now() });
        if let Some(fault) = self.queued.get_mut(method).and_then(|line| line.pop_front()) {
            return Some(fault);
        }
        let chat = parameters["chat_id"].as_i64().and_then(|chat| self.chats.get(&chat));
        chat.or_else(|| self.standing.get(method)).cloned()
    }

    fn confirm(&mut self, offset: Option<i64>) {
        if let Some(offset) = offset.filter(|offset| *offset <= self.last_update + FUTURE) {
            self.updates = self.updates.split_off(&offset);
        }
    }

    fn send(&mut self, parameters: &Value) -> Outcome {
        let chat = parameters["chat_id"].as_i64().ok_or((400, "Bad Request: chat not found".to_owned()))?;
        let text = checked(parameters)?;
        self.last_message += 1;
        self.sent.push(SentMessage {
            id: self.last_message,
            chat,
            thread: parameters["message_thread_id"].as_i64(),
            text: text.clone(),
            edits: 0,
            reply_to: parameters["reply_parameters"]["message_id"].as_i64(),
            at: Instant::now(),
        });
        Ok(json!({ "message_id": self.last_message, "date": 1_700_000_000, "chat": { "id": chat }, "text": text }))
    }

    fn edit(&mut self, parameters: &Value) -> Outcome {
        let text = checked(parameters)?;
        let (chat, id) = (parameters["chat_id"].as_i64(), parameters["message_id"].as_i64());
        let message = self.sent.iter_mut().find(|message| Some(message.id) == id && Some(message.chat) == chat);
        let message = message.ok_or((400, "Bad Request: message to edit not found".to_owned()))?;
        if message.text == text {
            let why = "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a \
                       current content and reply markup of the message";
            return Err((400, why.into()));
        }
        message.text.clone_from(&text);
        message.edits += 1;
        Ok(json!({ "message_id": message.id, "date": 1_700_000_000, "chat": { "id": message.chat }, "text": text }))
    }
}

fn checked(parameters: &Value) -> Result<String, (u16, String)> {
    let text = parameters["text"].as_str().unwrap_or_default();
    if text.trim().is_empty() {
        return Err((400, "Bad Request: message text is empty".into()));
    }
    if text.encode_utf16().count() > MOST_UNITS {
        return Err((400, "Bad Request: message is too long".into()));
    }
    Ok(text.to_owned())
}

fn told(outcome: Outcome) -> io::Result<Response<Body>> {
    match outcome {
        Ok(result) => enveloped(200, &json!({ "ok": true, "result": result })),
        Err((code, description)) => enveloped(code, &json!({ "ok": false, "error_code": code, "description": description })),
    }
}

fn too_many(seconds: Option<u64>) -> io::Result<Response<Body>> {
    let mut body = json!({ "ok": false, "error_code": 429, "description": "Too Many Requests" });
    if let Some(seconds) = seconds {
        body["description"] = json!(format!("Too Many Requests: retry after {seconds}"));
        body["parameters"] = json!({ "retry_after": seconds });
    }
    enveloped(429, &body)
}

fn migrated(supergroup: i64) -> io::Result<Response<Body>> {
    let body = json!({
        "ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded to a supergroup chat",
        "parameters": { "migrate_to_chat_id": supergroup },
    });
    enveloped(400, &body)
}

fn enveloped(status: u16, body: &Value) -> io::Result<Response<Body>> {
    Response::builder().status(status).header("Content-Type", "application/json").body(full(body.to_string())).map_err(io::Error::other)
}

fn endless(size: usize, every: Duration) -> io::Result<Response<Body>> {
    let piece = Bytes::from(vec![b' '; size]);
    let pieces = stream::repeat(piece).then(move |piece| async move {
        tokio::time::sleep(every).await;
        Ok(Frame::data(piece))
    });
    Ok(Response::new(StreamBody::new(pieces).boxed_unsync()))
}

fn page(status: u16, text: &'static str) -> io::Result<Response<Body>> {
    Response::builder().status(status).header("Content-Type", "text/html").body(full(text)).map_err(io::Error::other)
}
