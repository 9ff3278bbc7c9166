//! HTTP: probes, figures, and the web chat with its page.
//!
//! Handlers decide nothing about messages: they hand them to the hub and pass on what became of them. Who may come in is
//! [`access`], the end of it all is [`door`]. Nothing but /livez, /readyz and the page's own files answers without the token. What a
//! connection may cost, and how many there are, is decided below all that: `port`.

pub mod access;
mod chat;
pub mod door;
mod events;
pub mod figures;
mod framing;
pub mod health;
pub mod heart;
mod link;
mod page;
mod peers;
mod port;
mod replay;
mod stream;
pub mod streams;
pub mod volume;

use std::net::{TcpListener, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, web};
use switchboard_actors::ids::AdapterName;
use switchboard_actors::platform::web::Hub;
use uuid::Uuid;

use crate::config::{Http, Network};
use access::Gate;
use door::Door;
use health::Vitals;
use link::{Answering, Link};
use streams::Streams;
use volume::Volume;

pub use port::serve;

/// JSON may write one byte as six (`\u0000`), and there is a little around the text.
const JSON_GROWTH: usize = 6;
const JSON_AROUND: usize = 1024;
/// Says from where a request comes; a script cannot write it (<https://www.w3.org/TR/fetch-metadata/>).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What the handlers work with.
pub struct Front {
    /// Who may come in.
    pub gate: Arc<Gate>,
    /// The web chat; none when its adapter is not enabled.
    pub chat: Option<Chat>,
    /// How the gateway is.
    pub vitals: Arc<dyn Vitals>,
    /// Open until the disconnect phase.
    pub door: Door,
    /// From where the bound on a peer's connections does not hold.
    proxies: Vec<Network>,
    /// Probes are answered at an address of their own.
    probes_apart: bool,
}

/// What the web chat works with.
pub struct Chat {
    hub: Hub,
    adapter: AdapterName,
    ledger: Uuid,
    streams: Streams,
    volume: Volume,
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
            streams: Streams::new(http.streams, http.browser_streams),
            volume: Volume::new(http, message_bytes),
            accept_limit: http.accept_limit,
            heartbeat: http.heartbeat,
            replay: http.replay,
            missed: http.missed,
            message_bytes: message_bytes as usize,
        }
    }

    /// The longest body that a message may come in.
    fn body_bytes(&self) -> usize {
        self.message_bytes * JSON_GROWTH + JSON_AROUND
    }
}

impl Front {
    /// A front of these parts.
    pub fn new(http: &Http, gate: Arc<Gate>, chat: Option<Chat>, vitals: Arc<dyn Vitals>, door: Door) -> Self {
        Self { gate, chat, vitals, door, proxies: http.proxies.clone(), probes_apart: !http.probes.is_empty() }
    }
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {listen:?}: {source}. {}", remedy(.source))]
pub struct BindError {
    key: &'static str,
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

/// Listens on every address of `listen` (`localhost` may be two), which stands at `key`.
///
/// # Errors
/// When one of them cannot be had.
pub fn bind(key: &'static str, listen: &str) -> Result<Vec<TcpListener>, BindError> {
    let broken = |source| BindError { key, listen: listen.to_owned(), source };
    let addresses: Vec<_> = listen.to_socket_addrs().map_err(broken)?.collect();
    addresses.into_iter().map(|address| TcpListener::bind(address).map_err(broken)).collect()
}

/// What asks how we are.
fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz")
}

/// What every request passes, and every answer.
async fn guard(
    front: web::Data<Front>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let link = request.conn_data::<Rc<Link>>().cloned();
    let answering = Answering::over(link.clone());
    let mut response = match stopped_at_the_door(&front, &request) {
        Some(refusal) => request.into_response(refusal),
        None => next.call(request).await?.map_into_boxed_body(),
    };
    if link.is_some_and(|link| link.is_last()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    // Whoever wants a thing kept says so.
    if !response.headers().contains_key(CACHE_CONTROL) {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response.map_body(|_, body| answering.with(body)))
}

/// All but probes need an open door and an allowed Host, and what is not the page must not be asked for by another site's page.
fn stopped_at_the_door(front: &Front, request: &ServiceRequest) -> Option<HttpResponse> {
    if is_probe(request.path()) {
        return None;
    }
    if front.door.is_closed() {
        return Some(later("the gateway is going down", door::RETRY_AFTER));
    }
    if let Err(denied) = front.gate.host(request.headers()) {
        return Some(denied.response());
    }
    let foreign = !page::is_file(request.path()) && is_foreign(request.headers());
    foreign.then(|| refuse(StatusCode::FORBIDDEN, "this may not be asked for by the page of another site"))
}

/// Whether a browser says that another site's page asks. What is typed by a person comes from none; old browsers and programs say nothing.
fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_SITE).is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

/// An error as JSON.
fn refuse(status: StatusCode, error: &str) -> HttpResponse {
    HttpResponse::build(status).insert_header((CONTENT_TYPE, "application/json")).json(serde_json::json!({ "error": error }))
}

/// Too much from you: not before so many seconds.
fn too_much(error: &str, wait: Duration) -> HttpResponse {
    let seconds = wait.as_secs().max(1);
    HttpResponse::TooManyRequests()
        .insert_header((RETRY_AFTER, seconds.to_string()))
        .json(serde_json::json!({ "error": error, "retry_after": seconds }))
}

/// Not now, but in so many seconds.
fn later(error: &str, seconds: u64) -> HttpResponse {
    HttpResponse::ServiceUnavailable()
        .insert_header((RETRY_AFTER, seconds.to_string()))
        .json(serde_json::json!({ "error": error, "retry_after": seconds }))
}
