//! Connections during a restart: none is refused, whoever listens.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::host::{BRIEF, Host};
use crate::gateway::{BOUND, until};

/// Connects all the time while `act` acts, and asks for a sign of life each time: how often, and how often that was refused, reset or not
/// answered as a gateway answers that serves or goes.
pub(crate) fn connections(host: &Host, act: impl FnOnce()) -> (u32, u32) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let (mut tries, mut refused) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                tries += 1;
                refused += u32::from(!matches!(probe(host), Ok(Some(200 | 503))));
                std::thread::yield_now();
            }
            (tries, refused)
        });
        // Also when it panics: nobody would end the other thread.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        over.store(true, Ordering::Relaxed);
        let counts = connecting.join().expect("no panic");
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        counts
    })
}

/// The answer of the gateway's probe; none when nobody listens.
fn livez(host: &Host) -> Option<u16> {
    match probe(host) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
        answer => answer.expect("who is connected is answered"),
    }
}

/// The status with which the probe is answered; none: not by one.
fn probe(host: &Host) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect(("127.0.0.1", host.home.port()))?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()))
}

#[test]
fn g27_a_restart_refuses_no_connection_because_the_manager_keeps_the_socket() {
    let Some(host) = Host::serving(BRIEF) else { return };
    let first = host.instance().expect("ready");
    let (tries, refused) = connections(&host, || {
        host.done(&["switchboard", "restart", "--dwell", "500ms"]);
    });
    assert_eq!(refused, 0, "of {tries} connections, by exit 75");
    let second = host.wait_for_successor(&first);
    let (tries, refused) = connections(&host, || {
        host.done(&["systemctl", "restart", "switchboard"]);
    });
    assert_eq!(refused, 0, "of {tries} connections, by the manager");
    host.wait_for_successor(&second);
    assert_eq!(livez(&host), Some(200));
    assert!(host.log().contains("listening on what the service manager holds"));
    // Stopped is stopped: nobody listens, and nobody starts it.
    host.done(&["systemctl", "stop", "switchboard"]);
    assert_eq!(livez(&host), None);
    assert_eq!(host.property("ActiveState"), "inactive");
    host.done(&["systemctl", "start", "switchboard"]);
    assert_eq!(livez(&host), Some(200));
}

#[test]
fn a_kept_socket_is_given_up_when_another_address_is_configured() {
    let Some(host) = Host::serving(BRIEF) else { return };
    let (old, other) = (host.home.port(), host.home.another_port());
    host.configure(|text| text.replace(&format!("127.0.0.1:{old}"), &format!("127.0.0.1:{other}")));
    host.done(&["switchboard", "restart", "--dwell", "500ms"]);
    assert!(TcpStream::connect(("127.0.0.1", other)).is_ok());
    // The manager lets go of its copy when it comes to that; until then nobody would ever accept there.
    until("nobody who listens at the old address", || TcpStream::connect(("127.0.0.1", old)).is_err().then_some(()));
    // The same port on every address: the manager's copy of the old socket must not be in its way.
    for (from, to) in [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")] {
        let to_every = |text: &str| text.replace(&format!("127.0.0.1:{old}"), &format!("{to}:{other}"));
        host.configure(to_every);
        host.done(&["switchboard", "restart", "--dwell", "500ms"]);
        assert!(TcpStream::connect(("127.0.0.1", other)).is_ok(), "from {from} to {to}");
    }
    let history = host.done(&["switchboard", "history"]);
    assert!(!history.contains("exit code 70"), "{history}");
    assert_eq!(host.property("NRestarts"), "3", "no start was in vain");
}

#[test]
fn g27_a_socket_unit_starts_the_gateway_and_keeps_its_connections() {
    let Some(host) = Host::boot(BRIEF) else { return };
    host.done(&["switchboard", "service", "install", "--yes", "--with-socket"]);
    host.done(&["systemctl", "start", "switchboard.socket"]);
    assert_eq!(host.property("ActiveState"), "inactive");
    assert_eq!(livez(&host), Some(200), "whoever comes first waits for the start");
    let first = until("an instance", || host.instance());
    let (tries, refused) = connections(&host, || {
        host.done(&["switchboard", "restart", "--dwell", "500ms"]);
    });
    assert_eq!(refused, 0, "of {tries} connections");
    host.wait_for_successor(&first);
    // It listens where its unit says; that the configuration says otherwise is told.
    assert!(!host.log().contains("the .socket unit listens elsewhere"));
    let (port, other) = (host.home.port(), host.home.another_port());
    host.configure(|text| text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{other}")));
    host.done(&["systemctl", "restart", "switchboard"]);
    assert!(host.log().contains("the .socket unit listens elsewhere than http.listen says"));
    assert_eq!(livez(&host), Some(200));
    assert_eq!(host.done(&["switchboard", "service", "stop"]), "stopped\n");
    assert_eq!((livez(&host), host.property("ActiveState")), (None, "inactive".into()), "the socket is stopped too");
}
