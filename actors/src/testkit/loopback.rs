//! A small HTTP/1.1 server on 127.0.0.1, on a thread of its own, that can go away and come back on the same port.
//!
//! It knows no protocol above HTTP. A handler that returns an error hangs up without an answer; a body that yields one breaks
//! off in mid-body. A client that goes away drops the handler's future, or the body, at once.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A body: whole, or in pieces, which may break off.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What becomes of a request; an error hangs up.
pub type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, io::Result<Response<Body>>> + Send + Sync>;

/// The server. Dropping it closes every connection and joins its thread.
pub struct Loopback {
    address: SocketAddr,
    state: watch::Sender<State>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Serving,
    Away,
    Over,
}

impl Loopback {
    /// Starts to serve on a free port.
    pub fn start(name: &str, handler: Handler) -> Self {
        let (state, commands) = watch::channel(State::Serving);
        let (bound, address) = std::sync::mpsc::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
            runtime.block_on(serve(handler, commands, bound));
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread can be started");
        let address = address.recv().expect("a port on loopback is free");
        Self { address, state, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection and refuses new ones. Returns at once.
    pub fn go_away(&self) {
        self.state.send_replace(State::Away);
    }

    /// Serves again, on the same port.
    pub fn come_back(&self) {
        self.state.send_replace(State::Serving);
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.state.send_replace(State::Over);
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed; a second one here would only hide it.
            let _ = thread.join();
        }
    }
}

/// A whole body.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The error that hangs up.
pub fn hang_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "hung up, as told")
}

async fn serve(handler: Handler, mut commands: watch::Receiver<State>, bound: std::sync::mpsc::Sender<SocketAddr>) {
    let mut listener = Some(listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port on loopback is free"));
    let address = listener.as_ref().and_then(|listener| listener.local_addr().ok()).expect("a bound listener has an address");
    let _ = bound.send(address);
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = commands.changed() => {
                let state = if changed.is_ok() { *commands.borrow_and_update() } else { State::Over };
                match state {
                    State::Over => return,
                    State::Away => { listener = None; connections.shutdown().await; }
                    State::Serving => if listener.is_none() { listener = Some(listen(address).expect("our port is still ours")); },
                }
            }
            accepted = accepted => {
                let Ok((stream, _)) = accepted else {
                    // Out of file descriptors, most likely: some will be closed.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let handler = Arc::clone(&handler);
                connections.spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let service = service_fn(move |request| handler(request));
                    // What goes wrong with a connection is what the test asked for, or the client's business.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}
