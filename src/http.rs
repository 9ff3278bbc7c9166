//! HTTP: probes, figures, and the web chat with its page.
//!
//! Handlers decide nothing about messages: they hand them to the hub and pass on what became of them. Who may come in is
//! [`access`], the end of it all is [`door`]. Nothing but /livez, /readyz and the page's own files answers without the token.

pub mod access;
mod chat;
pub mod door;
mod events;
pub mod figures;
pub mod health;
pub mod heart;
mod page;

use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::{DefaultHeaders, Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, web};
use switchboard_actors::ids::AdapterName;
use switchboard_actors::platform::web::Hub;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::config::Http;
use crate::token::Token;
use access::Gate;
use door::Door;
use health::Vitals;
use heart::Heart;

/// Requests in progress end within this many seconds; streams were ended before by the door.
const FAREWELL: u64 = 2;
/// Connections beside the event streams at most.
const OTHER_CONNECTIONS: usize = 256;
/// JSON may write one byte as six (`\u0000`), and there is a little around the text.
const JSON_GROWTH: usize = 6;
const JSON_AROUND: usize = 1024;
/// No script, style or address but our own; nothing may frame us.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                   base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the handlers work with.
pub struct Front {
    /// Who may come in.
    pub gate: Gate,
    /// The web chat; none when its adapter is not enabled.
    pub chat: Option<Chat>,
    /// How the gateway is.
    pub vitals: Arc<dyn Vitals>,
    /// Open until the disconnect phase.
    pub door: Door,
}

/// What the web chat works with.
pub struct Chat {
    hub: Hub,
    adapter: AdapterName,
    ledger: Uuid,
    streams: Arc<Semaphore>,
    accept_limit: Duration,
    heartbeat: Duration,
    replay: u32,
    missed: u32,
    message_bytes: usize,
}

impl Chat {
    /// The chat of an adapter over its hub; a page may send messages of `message_bytes`, as `[session]` says. The `ledger`'s id
    /// tells pages whose numbers they see.
    pub fn new(hub: Hub, adapter: AdapterName, ledger: Uuid, http: &Http, message_bytes: u32) -> Self {
        Self {
            hub,
            adapter,
            ledger,
            streams: Arc::new(Semaphore::new(http.streams as usize)),
            accept_limit: http.accept_limit,
            heartbeat: http.heartbeat,
            replay: http.replay,
            missed: http.missed,
            message_bytes: message_bytes as usize,
        }
    }
}

impl Front {
    /// A front as configured.
    pub fn new(http: &Http, token: &Token, chat: Option<Chat>, vitals: Arc<dyn Vitals>, door: Door) -> Self {
        Self { gate: Gate::new(http, token), chat, vitals, door }
    }
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("http.listen = {listen:?}: {source}. {}", remedy(.source))]
pub struct BindError {
    listen: String,
    source: std::io::Error,
}

fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "Stop what listens there, or choose another port",
        std::io::ErrorKind::PermissionDenied => "Choose a port above 1023, or give the gateway the right to use it",
        _ => "Choose an address of this machine",
    }
}

/// Listens on every address of `listen` (`localhost` may be two).
///
/// # Errors
/// When one of them cannot be had.
pub fn bind(listen: &str) -> Result<Vec<TcpListener>, BindError> {
    let broken = |source| BindError { listen: listen.to_owned(), source };
    let addresses: Vec<_> = listen.to_socket_addrs().map_err(broken)?.collect();
    addresses.into_iter().map(|address| TcpListener::bind(address).map_err(broken)).collect()
}

/// Serves until the server is stopped, and shows that it does by its `heart`. It hears no signals: the shutdown plan is not its business.
///
/// # Errors
/// When a listener cannot be used.
pub fn serve(front: Arc<Front>, listeners: Vec<TcpListener>, heart: Heart) -> std::io::Result<Server> {
    let front = web::Data::from(front);
    let message_bytes = front.chat.as_ref().map_or(0, |chat| chat.message_bytes);
    let streams = front.chat.as_ref().map_or(0, |chat| chat.streams.available_permits());
    let app = move || {
        // This is called on the arbiter that is to be measured, again for each address and by a worker that takes another's place.
        actix_rt::spawn(heart.clone().beat());
        App::new()
            .app_data(front.clone())
            .app_data(json_limit(message_bytes * JSON_GROWTH + JSON_AROUND))
            .wrap(from_fn(guard))
            .wrap(
                DefaultHeaders::new()
                    .add((CONTENT_SECURITY_POLICY, CSP))
                    .add((X_CONTENT_TYPE_OPTIONS, "nosniff"))
                    .add((REFERRER_POLICY, "no-referrer")),
            )
            .configure(health::routes)
            .configure(page::routes)
            .configure(chat::routes)
            .configure(events::routes)
            .default_service(web::to(async || refuse(StatusCode::NOT_FOUND, "there is nothing here")))
    };
    let server = HttpServer::new(app).disable_signals().workers(1).max_connections(streams + OTHER_CONNECTIONS).shutdown_timeout(FAREWELL);
    Ok(listeners.into_iter().try_fold(server, HttpServer::listen)?.run())
}

/// What every request but a probe must pass: an open door and an allowed Host.
async fn guard(
    front: web::Data<Front>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let probe = matches!(request.path(), "/livez" | "/readyz");
    if !probe && front.door.is_closed() {
        return Ok(request.into_response(later("the gateway is going down", door::RETRY_AFTER)));
    }
    if !probe && let Err(denied) = front.gate.host(request.headers()) {
        return Ok(request.into_response(denied.response()));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

fn json_limit(bytes: usize) -> web::JsonConfig {
    web::JsonConfig::default().limit(bytes).error_handler(|error, _| {
        use actix_web::error::JsonPayloadError;
        let response = match &error {
            JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
                refuse(StatusCode::PAYLOAD_TOO_LARGE, "the message is too large")
            }
            JsonPayloadError::ContentType => refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "write Content-Type: application/json"),
            error => refuse(StatusCode::BAD_REQUEST, &format!("the JSON cannot be understood: {error}")),
        };
        actix_web::error::InternalError::from_response(error, response).into()
    })
}

/// An error as JSON.
fn refuse(status: StatusCode, error: &str) -> HttpResponse {
    HttpResponse::build(status).insert_header((CONTENT_TYPE, "application/json")).json(serde_json::json!({ "error": error }))
}

/// Not now, but in so many seconds.
fn later(error: &str, seconds: u64) -> HttpResponse {
    HttpResponse::ServiceUnavailable()
        .insert_header((RETRY_AFTER, seconds.to_string()))
        .json(serde_json::json!({ "error": error, "retry_after": seconds }))
}
