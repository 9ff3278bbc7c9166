//! The port: listens, lets connections in as far as there is room, and serves each over its bounded [`stream`](super::stream).
//!
//! Nobody waits in front of it: beyond what is let in, a connection is heard out for one request and sent away (see
//! [`peers`](super::peers)). All listeners are TCP, also those of a service manager, so each connection has the address of a peer; behind a
//! proxy on the same machine that is the proxy's (`http.proxies`).

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, ServiceConfig};
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::{App, web};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::heart::Heart;
use super::link::Link;
use super::peers::{Bounds, Peers, RESERVE, STRANGERS};
use super::stream::{Asks, Bounded, Look};
use super::{Front, chat, events, guard, health, is_probe, page, refuse};

/// Requests in progress end within this many seconds; streams were ended before by the door.
const FAREWELL: u64 = 2;
/// Connections of those who passed the gate, beside their event streams, at most.
const OTHER_KNOWN: usize = 128;
/// Connections that were sent away or lost their place, and are not gone yet.
const GOING: usize = 64;
/// The first request of a connection is there within this time.
const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// And each further one.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// An answer that closes the connection is given so long to arrive.
const DISCONNECT: Duration = Duration::from_secs(1);
/// What the kernel holds for one connection of what is not read, in bytes; it doubles that for itself (socket(7), SO_SNDBUF).
const SEND_BUFFER: usize = 64 * 1024;
const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 10\r\n\
                         content-length: 40\r\nconnection: close\r\n\r\n{\"error\":\"too many connections for now\"}";

/// No script, style or address but our own; nothing may frame us.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                   base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The page uses nothing of what a browser could give it, so that nothing in it could either.
const NOTHING_PERMITTED: &str = "accelerometer=(), autoplay=(), bluetooth=(), camera=(), display-capture=(), encrypted-media=(), fullscreen=(), \
                                 geolocation=(), gyroscope=(), hid=(), identity-credentials-get=(), idle-detection=(), local-fonts=(), \
                                 magnetometer=(), microphone=(), midi=(), payment=(), picture-in-picture=(), \
                                 publickey-credentials-create=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), \
                                 storage-access=(), usb=(), web-share=(), window-management=(), xr-spatial-tracking=()";

/// Serves until the server is stopped, and shows that it does by its `heart`. It hears no signals: the shutdown plan is not its business.
/// `probes` is where probes are answered alone; where it is empty they are at `listeners`.
///
/// # Errors
/// When a listener cannot be used.
pub fn serve(front: &Arc<Front>, listeners: Vec<TcpListener>, probes: Vec<TcpListener>, heart: &Heart) -> std::io::Result<Server> {
    let known = front.chat.as_ref().map_or(0, |chat| chat.streams.in_all()) + OTHER_KNOWN;
    let most = STRANGERS + known + 2 * RESERVE + GOING;
    let mut server = Server::build().workers(1).disable_signals().shutdown_timeout(FAREWELL).max_concurrent_connections(most);
    let people = Peers::new(Bounds::of_people(known), front.proxies.clone());
    let entrance = Entrance { peers: people, look: look(front.clone()), probes_only: false, going_down: server.graceful_shutdown_signal() };
    let aside = Entrance { peers: Peers::new(Bounds::of_probes(), Vec::new()), probes_only: true, ..entrance.clone() };
    for listener in listeners {
        let (front, heart) = (web::Data::from(front.clone()), heart.clone());
        server = listen(server, listener, entrance.clone(), heart, move || app(front.clone()))?;
    }
    for listener in probes {
        let (front, heart) = (web::Data::from(front.clone()), heart.clone());
        server = listen(server, listener, aside.clone(), heart, move || probes_app(front.clone()))?;
    }
    Ok(server.run())
}

/// All there is.
fn app(
    front: web::Data<Front>,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<impl MessageBody>, Error = actix_web::Error, InitError = ()>,
> {
    let answers_probes = !front.probes_apart;
    App::new()
        .app_data(front)
        .wrap(from_fn(guard))
        .wrap(headers())
        .configure(move |app| {
            if answers_probes {
                health::probes(app);
            }
        })
        .configure(health::routes)
        .configure(page::routes)
        .configure(chat::routes)
        .configure(events::routes)
        .default_service(web::to(async || refuse(StatusCode::NOT_FOUND, "there is nothing here")))
}

/// What answers probes alone.
fn probes_app(
    front: web::Data<Front>,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<impl MessageBody>, Error = actix_web::Error, InitError = ()>,
> {
    App::new()
        .app_data(front)
        .wrap(from_fn(guard))
        .wrap(headers())
        .configure(health::probes)
        .default_service(web::to(async || refuse(StatusCode::NOT_FOUND, "there is nothing here but /livez and /readyz")))
}

fn headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((CONTENT_SECURITY_POLICY, CSP))
        .add((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((REFERRER_POLICY, "no-referrer"))
        .add((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .add((HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .add((HeaderName::from_static("permissions-policy"), NOTHING_PERMITTED))
}

/// As `actix_web::HttpServer::listen` does it, over a stream of ours.
fn listen<F, A, S, B>(
    server: ServerBuilder,
    listener: TcpListener,
    entrance: Entrance,
    heart: Heart,
    app: F,
) -> std::io::Result<ServerBuilder>
where
    F: Fn() -> A + Send + Clone + 'static,
    A: IntoServiceFactory<S, actix_http::Request>,
    S: ServiceFactory<actix_http::Request, Config = AppConfig, Response = ServiceResponse<B>, Error = actix_web::Error, InitError = ()>
        + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let at = listener.local_addr()?;
    server.listen(format!("http {at}"), listener, move || {
        // This is called on the arbiter that is to be measured, again for each address and by a worker that takes another's place.
        actix_rt::spawn(heart.clone().beat());
        let (entrance, going_down, shared) = (entrance.clone(), entrance.going_down.clone(), ServiceConfig::default());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let going_down = going_down.clone();
                async move { going_down.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(FIRST_REQUEST)
            .client_disconnect_timeout(DISCONNECT)
            // Whoever closes their half has gone: a page that is closed would hold its place until the second beat fails.
            .h1_allow_half_closed(false)
            .local_addr(at)
            .on_connect_ext(|stream: &Bounded, data| _ = data.insert(stream.link().clone()))
            .h1(map_config(app().into_factory().map_err(|error| error.error_response()), |()| AppConfig::default()));
        fn_service(move |io| entrance.clone().admit(io, shared.clone())).and_then(http)
    })
}

/// What a request is.
fn look(front: Arc<Front>) -> Look {
    Arc::new(move |head| {
        let passes = || front.gate.host(head.headers()).is_ok() && front.gate.watcher(head.headers()).is_ok();
        match () {
            () if is_probe(head.uri.path()) && !front.probes_apart => Asks::Probe,
            () if passes() => Asks::Known,
            () => Asks::Stranger,
        }
    })
}

/// Where connections come in.
#[derive(Clone)]
struct Entrance {
    peers: Peers,
    look: Look,
    probes_only: bool,
    going_down: GracefulShutdownSignal,
}

impl Entrance {
    /// Lets a connection in, once it has said what it wants; an error ends it.
    async fn admit(self, io: TcpStream, shared: ServiceConfig) -> Result<(Bounded, Option<SocketAddr>), DispatchError> {
        _ = rustix::net::sockopt::set_socket_send_buffer_size(&io, SEND_BUFFER); // as large as it was: the bounds above hold all the same
        let from = io.peer_addr().ok();
        let (place, mut lost) = self.peers.enter(from.map(|from| from.ip()));
        let mut stream = Bounded::new(io, self.look.clone(), Link::new(place), shared);
        let asks = tokio::select! {
            biased;
            first = stream.first_request() => first?.ok_or_else(gone)?,
            () = until_lost(&mut lost) => return Err(self.turned_away()),
            () = self.going_down.notified() => return Err(gone()),
            () = sleep(FIRST_REQUEST) => {
                stream.say(TOO_LATE);
                return Err(gone());
            }
        };
        if stream.link().in_reserve() {
            if !self.probes_only && asks != Asks::Probe {
                stream.say(NO_ROOM);
                return Err(self.turned_away());
            }
            stream.link().end_with_this();
            stream.end_when(lost);
        }
        Ok((stream, from))
    }

    fn turned_away(&self) -> DispatchError {
        if let Some(connections) = self.peers.refused(Instant::now()) {
            let (most, remedy) = (STRANGERS, "if they come through a proxy, name it in http.proxies");
            tracing::warn!(connections, most, "connections that are not logged in were sent away: too many at a time; {remedy}");
        }
        gone()
    }
}

/// Until the place is taken away; for ever where it is not one of those.
async fn until_lost(lost: &mut Option<oneshot::Receiver<()>>) {
    match lost {
        Some(lost) => _ = lost.await,
        None => std::future::pending().await,
    }
}

/// The end of a connection that nobody need hear of.
fn gone() -> DispatchError {
    std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()
}
