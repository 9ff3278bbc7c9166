//! The control socket with both of its halves.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use switchboard::caller::Caller;
use switchboard::config::Control;
use switchboard::control::client::{AskError, Sockets};
use switchboard::control::server::Socket;
use switchboard::control::{Farewell, Handle, Request, Response};
use switchboard_actors::ids::{AdapterName, OutboxId, Seq, TurnId, UserId};

/// Answers with what it was asked; if so, never who was let in.
struct Echo(bool);

impl Handle for Echo {
    fn handle(&self, request: Request, _: &Caller) -> BoxFuture<'static, Response> {
        match request {
            Request::Pairs if self.0 => Box::pin(std::future::pending()),
            request => Box::pin(async move { Response::Done { message: format!("{request:?}") } }),
        }
    }
}

/// A server on a runtime of its own, so that the blocking client has a thread.
fn with_server(limit: Duration, connections: u32, test: impl FnOnce(&Path)) {
    with_echo(Echo(false), limit, connections, test);
}

fn with_echo(echo: Echo, limit: Duration, connections: u32, test: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("control.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let guard = runtime.enter();
    let socket = Socket::listen(&path).expect("a free path");
    let control = Control { socket: path.clone(), connections, limit };
    let server = runtime.spawn(async move { socket.serve(Arc::new(echo), &control).await });
    test(&path);
    server.abort();
    drop(guard);
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert!(!path.exists(), "the file goes with the server");
}

fn ask(path: &Path, request: &Request) -> Response {
    Sockets(vec![path.to_owned()]).ask(request).expect("an answer")
}

#[test]
fn a_request_finds_the_gateway_and_its_answer_the_way_back() {
    with_server(Duration::from_secs(10), 4, |path| {
        assert_eq!(ask(path, &Request::Outbox), Response::Done { message: "Outbox".into() });
        let sockets = Sockets(vec![PathBuf::from("/nowhere/control.sock"), path.to_owned()]);
        let (_, there) = sockets.find(&Request::Status).expect("the second is there");
        assert_eq!((there, sockets.own()), (Sockets(vec![path.to_owned()]), Sockets(vec![PathBuf::from("/nowhere/control.sock")])));
        assert_eq!(std::fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(Socket::listen(path).expect_err("taken").to_string().contains("another gateway listens there"));
    });
}

#[test]
fn g16_g23_the_gateways_own_family_looks_and_changes_nothing() {
    let farewell = Farewell::default;
    let (turn, id) = (TurnId(Seq(1)), OutboxId(Seq(1)));
    let person = || (AdapterName::new("family"), UserId::new("1"));
    with_server(Duration::from_secs(10), 4, |path| {
        for request in [
            Request::Stop(farewell()),
            Request::Restart(farewell()),
            Request::Update(farewell()),
            Request::Reload,
            Request::Drain,
            Request::Resume,
            Request::TurnRetry { turn },
            Request::TurnDrop { turn },
            Request::OutboxRetry { id },
            Request::OutboxDrop { id },
            Request::PairApprove { code: "ABCDEFGH".into() },
            Request::PairRevoke { adapter: person().0, user: person().1 },
            Request::LedgerMove { from: person().0, to: "kin".into() },
            Request::LedgerDrop { adapter: person().0 },
        ] {
            assert!(matches!(ask(path, &request), Response::Refused { .. }), "{request:?}");
        }
        for request in [Request::Status, Request::Turns, Request::Outbox, Request::Pairs, Request::History { most: 1 }] {
            assert!(matches!(ask(path, &request), Response::Done { .. }), "{request:?}");
        }
    });
}

#[test]
fn lines_that_are_no_requests_are_answered_and_endless_ones_end() {
    with_server(Duration::from_secs(10), 4, |path| {
        let mut stream = UnixStream::connect(path).expect("listening");
        let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
        let mut answer = |text: &str| {
            stream.write_all(text.as_bytes()).expect("open");
            lines.next().expect("an answer").expect("whole")
        };
        assert!(answer("nonsense\n").contains("not_understood"));
        assert!(answer("{\"v\":9,\"do\":\"status\"}\n").contains("version 1"));
        assert!(answer("{\"v\":1,\"do\":\"turns\"}\n").contains("Turns"));
        let endless = "x".repeat(4 << 20);
        assert!(answer(&endless).contains("too long"));
    });
}

#[test]
fn a_gateway_that_does_not_answer_itself_says_so() {
    with_echo(Echo(true), Duration::from_millis(50), 4, |path| {
        let Response::NotAchieved { reason } = ask(path, &Request::Pairs) else { panic!("it never answers") };
        assert!(reason.contains("50ms"), "{reason}");
    });
}

#[test]
fn clients_are_bounded() {
    with_server(Duration::from_secs(30), 1, |path| {
        let mut first = UnixStream::connect(path).expect("listening");
        first.write_all(b"{\"v\":1,\"do\":\"turns\"}\n").expect("open");
        let mut line = String::new();
        BufReader::new(&first).read_line(&mut line).expect("an answer");
        assert!(matches!(Sockets(vec![path.to_owned()]).ask(&Request::Turns), Err(AskError::Broken { .. })));
    });
}

#[test]
fn g22_a_socket_file_of_a_dead_gateway_is_replaced() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
    assert!(path.exists());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _guard = runtime.enter();
    Socket::listen(&path).expect("nobody listens there");
    assert!(matches!(Sockets(vec![path]).ask(&Request::Status), Err(AskError::NoGateway { .. })));
}
