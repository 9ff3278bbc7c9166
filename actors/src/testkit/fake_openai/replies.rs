//! How the fake model writes its replies.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use serde_json::{Value, json};

use super::{ModelRequest, OpenAiState, Reply, RequestFate};
use crate::testkit::journal::Journal;
use crate::testkit::loopback::{Body, Handler, full, hang_up};

type Shared = Arc<Journal<OpenAiState>>;

pub(super) fn handler(state: Shared) -> Handler {
    Arc::new(move |request| answer(Arc::clone(&state), request).boxed())
}

async fn answer(state: Shared, request: Request<Incoming>) -> io::Result<Response<Body>> {
    if request.uri().path() != "/v1/chat/completions" {
        return whole(404, "application/json", r#"{"error":{"message":"no such endpoint"}}"#.into());
    }
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let request = ModelRequest { body, authorization, at: Instant::now(), fate: RequestFate::Open };
    let said = request.asked().to_owned();
    let (index, reply) = state.write(|state| {
        state.requests.push(request);
        let asked = || state.asked.iter().find(|(words, _)| said.contains(words)).map(|(_, reply)| reply.clone());
        let reply = state.queued.pop_front().or_else(asked).or_else(|| state.standing.clone()).unwrap_or(Reply::Echo);
        (state.requests.len() - 1, reply)
    });
    let open = Open { state, index, over: false };
    match reply {
        Reply::Echo => streamed(open, echo(&said), Duration::ZERO, End::Proper),
        Reply::Held => {
            let mut changes = open.state.changes();
            while !open.state.read(|state| state.let_go) {
                changes.changed().await.map_err(io::Error::other)?;
            }
            streamed(open, echo(&said), Duration::ZERO, End::Proper)
        }
        Reply::Stream(pieces, every) => streamed(open, pieces, every, End::Proper),
        Reply::Drip(every) => dripped(open, &echo(&said), every),
        Reply::CutAfter(pieces) => streamed(open, pieces, Duration::ZERO, End::Cut),
        Reply::StallAfter(pieces) => streamed(open, pieces, Duration::ZERO, End::Stall),
        Reply::Body(kind, body) => open.over().then(|| whole(200, kind, body)),
        Reply::Status(code, retry_after, body) => open.over().then(|| {
            let head = Response::builder().status(code).header("Content-Type", "application/json");
            let head = retry_after.into_iter().fold(head, |head, wait| head.header("Retry-After", wait));
            head.body(full(body)).map_err(io::Error::other)
        }),
        Reply::Redirect(to) => {
            open.over().then(|| Response::builder().status(307).header("Location", to).body(full("")).map_err(io::Error::other))
        }
        Reply::HangUp => open.over().then(|| Err(hang_up())),
        Reply::Never => {
            let _open = open;
            std::future::pending().await
        }
    }
}

fn echo(said: &str) -> Vec<String> {
    format!("You said: {said}").split_inclusive(' ').map(str::to_owned).collect()
}

/// A request that is being answered. Dropped before it is over, its client has gone.
struct Open {
    state: Shared,
    index: usize,
    over: bool,
}

impl Open {
    fn over(mut self) -> Self {
        self.over = true;
        self
    }

    fn then<T>(self, answer: impl FnOnce() -> T) -> T {
        answer()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let fate = if self.over { RequestFate::Answered } else { RequestFate::ClientGone };
        self.state.write(|state| state.requests[self.index].fate = fate);
    }
}

#[derive(Clone, Copy)]
enum End {
    Proper,
    Cut,
    Stall,
}

fn streamed(open: Open, pieces: Vec<String>, every: Duration, end: End) -> io::Result<Response<Body>> {
    let first = stream::iter([Ok(event(&json!({ "role": "assistant", "content": "" }), None))]);
    let pieces = stream::iter(pieces).then(move |piece| async move {
        if !every.is_zero() {
            tokio::time::sleep(every).await;
        }
        Ok(event(&json!({ "content": piece }), None))
    });
    let last: BoxStream<'static, io::Result<String>> = match end {
        // Over when its last words are written: what the client does then is its own business.
        End::Proper => stream::once(async move {
            drop(open.over());
            Ok(proper_end())
        })
        .boxed(),
        End::Cut => stream::once(async move {
            drop(open.over());
            // A server that breaks off throws away what it has not written; while it waits, it writes.
            tokio::task::yield_now().await;
            Err(hang_up())
        })
        .boxed(),
        End::Stall => stream::once(async move {
            let _open = open;
            std::future::pending().await
        })
        .boxed(),
    };
    let frames = first.chain(pieces).chain(last).map(|text| text.map(|text| Frame::data(Bytes::from(text))));
    events(StreamBody::new(frames).boxed_unsync())
}

fn dripped(open: Open, pieces: &[String], every: Duration) -> io::Result<Response<Body>> {
    let text: String = pieces.iter().map(|piece| event(&json!({ "content": piece }), None)).collect();
    let bytes = stream::iter(text.into_bytes()).then(move |byte| async move {
        tokio::time::sleep(every).await;
        Ok(Frame::data(Bytes::from(vec![byte])))
    });
    let last = stream::once(async move {
        drop(open.over());
        Ok::<_, io::Error>(Frame::data(Bytes::from(proper_end())))
    });
    events(StreamBody::new(bytes.chain(last)).boxed_unsync())
}

fn events(body: Body) -> io::Result<Response<Body>> {
    Response::builder().header("Content-Type", "text/event-stream").body(body).map_err(io::Error::other)
}

fn proper_end() -> String {
    format!("{}data: [DONE]\n\n", event(&json!({}), Some("stop")))
}

/// One chunk of <https://platform.openai.com/docs/api-reference/chat-streaming/streaming>.
fn event(delta: &Value, finish: Option<&str>) -> String {
    let chunk = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    });
    format!("data: {chunk}\n\n")
}

fn whole(status: u16, kind: &str, body: String) -> io::Result<Response<Body>> {
    Response::builder().status(status).header("Content-Type", kind).body(full(body)).map_err(io::Error::other)
}
