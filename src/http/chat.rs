//! The way in for pages: a code becomes a login, and words become offers. A message is answered with 200 only when its
//! receipt says that it is durable; until then the page keeps it, and repeats it under the same id.

use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use switchboard_actors::ids::{DeliveryId, MessageId};
use switchboard_actors::platform::web::Event;
use switchboard_actors::platform::{Content, Inbound, Said, Sender, Taken};
use uuid::Uuid;

use super::access::{Caller, Entry};
use super::link::{Link, UNASKED_BODY};
use super::{Front, later, refuse, too_much};

/// A body must be there within this time.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Seconds until a page tries again, when nobody named a time.
const SOON: u64 = 2;

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.service(web::resource("/api/session").route(web::get().to(whoami)).route(web::post().to(enter)))
        .route("/api/messages", web::post().to(say));
}

/// What a browser brings to be let in: a code, else the token, else only the login that it has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Brought {
    code: Option<String>,
    token: Option<String>,
}

impl Brought {
    fn entry(&self) -> Entry<'_> {
        match (&self.code, &self.token) {
            (Some(code), _) => Entry::Code(code),
            (None, Some(token)) => Entry::Token(token),
            (None, None) => Entry::Login,
        }
    }
}

#[derive(Deserialize)]
struct Words {
    id: Uuid,
    text: String,
}

/// There is no chat.
pub(super) fn closed() -> HttpResponse {
    refuse(StatusCode::NOT_FOUND, "the web adapter is not enabled; see [adapters.web]")
}

/// What a stranger says: no more than is read of anybody.
async fn body<T: DeserializeOwned>(request: &HttpRequest, payload: web::Payload) -> Result<T, HttpResponse> {
    body_within(request, payload, UNASKED_BODY).await
}

/// What a request says in `most` bytes, once it is known who asks: nobody else has more of a body read, or may take their time with it.
async fn body_within<T: DeserializeOwned>(request: &HttpRequest, payload: web::Payload, most: usize) -> Result<T, HttpResponse> {
    let too_large = || refuse(StatusCode::PAYLOAD_TOO_LARGE, "the message is too large");
    if !is_json(request) {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "write Content-Type: application/json"));
    }
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    Link::read_body(request, most);
    let bytes = match tokio::time::timeout(BODY_LIMIT, payload.to_bytes_limited(most)).await {
        Ok(Ok(Ok(bytes))) => bytes,
        Ok(Ok(Err(error))) => return Err(refuse(StatusCode::BAD_REQUEST, &format!("the message did not arrive whole: {error}"))),
        Ok(Err(_)) => return Err(too_large()),
        Err(_) => return Err(refuse(StatusCode::REQUEST_TIMEOUT, "the message did not arrive in time; send it again under the same id")),
    };
    serde_json::from_slice(&bytes).map_err(|error| refuse(StatusCode::BAD_REQUEST, &format!("the JSON cannot be understood: {error}")))
}

/// A form of another site's page cannot say so without asking first.
fn is_json(request: &HttpRequest) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

async fn enter(front: web::Data<Front>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let Some(chat) = &front.chat else { return closed() };
    let brought: Brought = match body(&request, payload).await {
        Ok(brought) => brought,
        Err(refused) => return refused,
    };
    let entered = match front.gate.enter(request.headers(), brought.entry()) {
        Ok(entered) => entered,
        Err(denied) => return denied.response(),
    };
    let user = format!("{}:{}", chat.adapter, entered.caller.user());
    if entered.is_new {
        let from = request.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
        tracing::info!(%user, %from, "a new browser was let in");
    }
    if entered.was_exchanged {
        let (gate, caller) = (front.gate.clone(), entered.caller.clone());
        // Written or not, it is told so in the log.
        _ = web::block(move || gate.write_down(&caller)).await;
        tracing::info!(%user, "the cookie of an older version was exchanged");
    }
    let mut response = HttpResponse::Ok().json(serde_json::json!({ "user": user, "half": entered.half }));
    if let Some(cookie) = entered.cookie {
        let cookie = HeaderValue::try_from(cookie).expect("a cookie of ours holds letters, digits and =;.-_ only");
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

async fn whoami(front: web::Data<Front>, request: HttpRequest) -> HttpResponse {
    match front.gate.reader(request.headers()) {
        Ok(caller) => identity(&front, &caller),
        Err(denied) => denied.response(),
    }
}

fn identity(front: &Front, caller: &Caller) -> HttpResponse {
    match &front.chat {
        Some(chat) => HttpResponse::Ok().json(serde_json::json!({ "user": format!("{}:{}", chat.adapter, caller.user()) })),
        None => closed(),
    }
}

async fn say(front: web::Data<Front>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let (caller, chat) = match (front.gate.writer(request.headers()), &front.chat) {
        (Err(denied), _) => return denied.response(),
        (_, None) => return closed(),
        (Ok(caller), Some(chat)) => (caller, chat),
    };
    let Words { id, text } = match body_within(&request, payload, chat.body_bytes()).await {
        Ok(words) => words,
        Err(refused) => return refused,
    };
    if text.trim().is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "there is nothing in the message");
    }
    if let Err(wait) = chat.volume.take(Instant::now(), &caller.room(), text.len()) {
        return too_much("too much was said in the last minute", wait);
    }
    let delivery = DeliveryId::new(id.to_string());
    let Ok(taken) = chat.hub.offer(inbound(&caller, delivery.clone(), text.clone())) else {
        return later("too many messages wait; yours was not taken in yet", SOON);
    };
    match tokio::time::timeout(chat.accept_limit, taken).await {
        Ok(Ok(Taken::Accepted)) => {
            chat.hub.publish(&caller.room(), Event::Said { delivery, text });
            HttpResponse::Ok().json(serde_json::json!({ "id": id }))
        }
        Ok(Ok(Taken::Full(wait))) => {
            let mut full = later("the gateway has no room to store new messages; its operator can make some", wait.as_secs().max(1));
            *full.status_mut() = StatusCode::INSUFFICIENT_STORAGE;
            full
        }
        Ok(Ok(Taken::Later(wait))) => later("the message cannot be stored now", wait.as_secs().max(1)),
        Ok(Err(_)) => later("the message was not taken in", SOON),
        Err(_) => later("nobody knows yet whether the message is stored; send it again under the same id", SOON),
    }
}

fn inbound(caller: &Caller, delivery: DeliveryId, text: String) -> Inbound {
    let user = caller.user();
    let sender = Sender { name: format!("browser {user}"), user, person: true };
    let message = Some(MessageId::new(delivery.as_str()));
    let said = Said { room: caller.room(), thread: None, group: false, sender, message, text, relayed: false };
    Inbound { delivery, cursor: None, content: Content::Message(said) }
}
