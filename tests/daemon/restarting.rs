//! A restart: in place, by whoever supervises, by a command and from a chat.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use switchboard_actors::testkit::fake_openai::Reply;

use crate::gateway::{BACK, CUT, Home, RESTARTING, until};

/// The instance that answers now.
fn instance(home: &Home) -> Option<Value> {
    home.status().filter(|status| status["ready"] == true).map(|status| status["instance"].clone())
}

#[test]
fn g27_a_restart_in_place_refuses_no_connection_and_never_lets_go_of_the_lock() {
    let home = Home::with_demo("");
    let gateway = home.start();
    let page = home.browser();
    assert_eq!(page.say("before"), 200);
    page.shown("You said: before");
    let (first, over) = (instance(&home), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let connections = scope.spawn(|| {
            let (mut tries, mut refused) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                tries += 1;
                refused += u32::from(TcpStream::connect(("127.0.0.1", home.port())).is_err());
                std::thread::yield_now();
            }
            (tries, refused)
        });
        let lock = scope.spawn(|| {
            let file = std::fs::File::open(home.state().lock()).expect("made by the gateway");
            while !over.load(Ordering::Relaxed) {
                if file.try_lock().is_ok() {
                    return false;
                }
                std::thread::yield_now();
            }
            true
        });
        gateway.signal(Signal::SIGUSR1);
        gateway.wait_for_times("ready instance=", 2);
        over.store(true, Ordering::Relaxed);
        let (tries, refused) = connections.join().expect("no panic");
        assert_eq!(refused, 0, "of {tries} connections");
        assert!(lock.join().expect("no panic"), "the lock was free for a moment");
    });
    let status = home.status().expect("it runs");
    assert_eq!((&status["pid"], &status["last_end"]), (&gateway.pid().into(), &"clean".into()));
    assert_ne!(Some(status["instance"].clone()), first);
    assert_eq!(page.say("after"), 200);
    page.shown("You said: after");
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for_times("ready instance=", 3);
    assert_eq!(gateway.stop(), Some(0), "signals are heard by the third image as by the first");
}

#[test]
fn g22_a_restart_in_place_goes_where_the_new_configuration_says() {
    let home = Home::with_demo("");
    let gateway = home.start();
    assert_eq!(home.browser().say("before"), 200);
    let (port, other) = (home.port(), home.another_port());
    let moved = home.path().join("moved");
    home.rewrite(&[
        (&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{other}")),
        (&home.state().path().display().to_string(), &moved.display().to_string()),
    ]);
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for_times("ready instance=", 2);
    assert!(TcpStream::connect(("127.0.0.1", other)).is_ok(), "it listens where it is told to");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "and nowhere else");
    let free = |path: std::path::PathBuf| std::fs::File::open(path).expect("a lock").try_lock().is_ok();
    assert!(!free(moved.join("lock")), "the directory that it lives in is its own");
    assert!(free(home.state().lock()), "and the other one is nobody's");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn g27_the_restart_command_proves_the_new_instance() {
    let home = Home::with_model("[access]\nallow = [\"*\"]");
    home.model.reply_always(Reply::Never);
    let gateway = home.start();
    let first = instance(&home).expect("ready");
    home.telegram.push_text(1, 1, "endless");
    home.asked("endless", 1);
    let printed = home.done(&["restart", "--grace", "12s", "--dwell", "1s", "--reason", "a new version"]);
    let second = instance(&home).expect("ready");
    assert!(second != first && printed.contains(second.as_str().expect("text")), "{printed}");
    assert_eq!(gateway.logged("a new version"), 1);
    let history = home.done(&["history"]);
    assert!(history.contains("restart by operator with switchboard (pid ") && history.contains("a new version"), "G28: {history}");
    assert_eq!(home.count(1, RESTARTING), 1);
    assert!(home.told(1, BACK).iter().any(|text| text.contains("(restart)")));
    assert!(home.told(1, "✂️")[2].contains("(restart)"));
}

#[test]
fn g27_a_restart_that_fails_twice_says_what_is_and_what_to_do() {
    let home = Home::with_demo("");
    let gateway = home.start();
    home.rewrite(&[("agent = \"default\"", "agent = \"nobody\"")]);
    // A configuration that cannot be read does not say where its gateway listens.
    let socket = home.state().path().join("control.sock");
    let socket = socket.to_str().expect("UTF-8");
    let printed = home.run(&["--socket", socket, "restart", "--start-limit", "2s", "--dwell", "1s"]);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    let config = home.config();
    let parts = [
        "no new instance came within 2s; once more".to_owned(),
        "then   it could not be tried again: no gateway is there, and nothing that could start one is known".to_owned(),
        format!("to look further:\n  {} --config {} check", env!("CARGO_BIN_EXE_switchboard"), config.display()),
        format!("to restart by hand:\n  {} --config {} run", env!("CARGO_BIN_EXE_switchboard"), config.display()),
    ];
    for part in parts {
        assert!(printed.err.contains(&part), "{part:?} is missing in {}", printed.err);
    }
    assert_eq!(gateway.ended(), Some(78));
}

#[test]
fn g07_a_restart_that_waits_for_idle_cuts_nobody_and_can_be_called_off() {
    let home = Home::with_model("[access]\nallow = [\"*\"]");
    home.model.reply_to("endless", Reply::Never);
    let gateway = home.start();
    let first = instance(&home);
    home.telegram.push_text(1, 1, "endless");
    home.asked("endless", 1);
    let waiting = home.begin(&["restart", "--when-idle", "--dwell", "500ms"]);
    waiting.wait_for("waiting until no task runs: 1 running: family room 1 for ");
    let other = home.begin(&["restart", "--within", "1h"]);
    other.wait_for("waiting until no task runs, at most 1h: ");
    other.signal(Signal::SIGINT);
    assert_eq!(other.ended(), Some(1));
    home.telegram.push_text(2, 2, "hello");
    home.told(2, "You said: hello");
    assert_eq!(instance(&home), first, "nothing has begun");
    home.telegram.push_text(1, 1, "/stop");
    assert_eq!(waiting.ended(), Some(0));
    assert!(instance(&home).is_some_and(|second| Some(second) != first));
    assert_eq!((home.count(1, RESTARTING), home.count(2, RESTARTING)), (0, 0));
    drop(gateway);
}

#[test]
fn g16_a_restart_from_within_is_refused_and_does_not_wait_for_the_task_that_asks_for_it() {
    let home = Home::with_model("[access]\nallow = [\"*\"]");
    home.model.reply_to("endless", Reply::Never);
    // A process of the gateway's own, as an agent's child is: it is there before the gateway, and asks once it is told to.
    let ask =
        r#"(until [ -e "$HOME/go" ]; do sleep 0.02; done; "$0" "$1" "$2" restart --when-idle; echo "left with $?" >&2) & exec "$0" "$@""#;
    let gateway = home.launch_under(&["sh", "-c", ask], "debug");
    gateway.wait_for("ready instance=");
    home.telegram.push_text(1, 1, "endless");
    home.asked("endless", 1);
    std::fs::write(home.path().join("go"), "").expect("a file can be made");
    gateway.wait_for("a process that the gateway started may not");
    gateway.wait_for("left with 77");
    assert_eq!(gateway.logged("waiting until no task runs"), 0);
    gateway.kill();
}

#[test]
fn a_restart_waits_no_longer_than_it_was_told_and_now_means_now() {
    let home = Home::with_model("[access]\nallow = [\"*\"]");
    home.model.reply_to("endless", Reply::Never);
    let gateway = home.start();
    home.telegram.push_text(1, 1, "endless");
    home.asked("endless", 1);
    let restart = home.begin(&["restart", "--within", "1s", "--grace", "12s", "--dwell", "500ms"]);
    restart.wait_for("waiting until no task runs, at most 1s: ");
    gateway.wait_for("shutdown phase phase=drain");
    restart.wait_for("going down; 1 running: family room 1");
    assert_eq!(restart.ended(), Some(0));
    home.told(1, "⚠️ Gateway restarting — your current task has up to");
    home.told(1, CUT);
    home.telegram.push_text(2, 2, "endless");
    home.asked("endless", 2);
    home.done(&["restart", "--now", "--dwell", "500ms"]);
    home.told(2, "⚠️ Gateway restarting — Your current task will be interrupted.");
    home.told(2, CUT);
}

#[test]
fn g30_under_a_supervisor_a_restart_is_exit_75() {
    let home = Home::with_demo("[restart]\nmode = \"exit\"");
    let gateway = home.start();
    gateway.signal(Signal::SIGUSR1);
    assert_eq!(gateway.ended(), Some(75));
    assert!(home.is_marked());
    let gateway = home.start();
    assert_eq!(home.done(&["stop"]), "stopped\n");
    assert_eq!(gateway.ended(), Some(0));
}

#[test]
fn g16_a_restart_asked_for_in_a_chat_happens_once_and_its_asker_is_told() {
    let home = Home::with_demo("[access]\nallow = [\"*\"]\nadmins = [\"family:1\"]");
    let gateway = home.start();
    home.telegram.push_text(2, 2, "/restart");
    home.told(2, "🔒");
    let update = home.telegram.push_text(1, 1, "/restart");
    gateway.wait_for_times("ready instance=", 2);
    assert!(home.told(1, "✅ Restarted, after").iter().any(|text| text.starts_with("🔄")));
    let second = instance(&home);
    // Telegram offers it again, as it does when a confirmation was lost.
    home.telegram.renumber_from(update);
    home.telegram.push_text(1, 1, "/restart");
    home.telegram.push_text(1, 1, "/whoami");
    home.told(1, "You are family:1");
    assert_eq!(instance(&home), second);
    assert_eq!(gateway.logged("ready instance="), 2);
    gateway.kill();
    let gateway = home.start();
    home.telegram.push_text(1, 1, "hello");
    home.told(1, "You said: hello");
    assert_eq!((home.count(1, "✅ Restarted"), home.count(1, "🔄")), (1, 1));
    home.telegram.push_text(1, 1, "/shutdown");
    assert_eq!(gateway.ended(), Some(0));
    let _gateway = home.start();
    until("the result of the shutdown", || (home.count(1, "✅ Back. The shutdown you asked for took place.") == 1).then_some(()));
}

/// A request that is never sent whole: it holds the server for as long as that waits for anybody.
fn half_a_request(home: &Home) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", home.port())).expect("it listens");
    let root = home.root();
    let host = root.trim_start_matches("http://");
    let head = format!(
        "POST /api/session HTTP/1.1\r\nHost: {host}\r\nOrigin: {root}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).expect("it is heard");
    stream
}

#[test]
fn g30_a_stop_at_the_end_of_a_restart_is_a_stop() {
    for (mode, config) in [("in place", ""), ("by a supervisor", "[restart]\nmode = \"exit\"")] {
        let home = Home::with_demo(config);
        let gateway = home.start();
        let _request = half_a_request(&home);
        gateway.signal(Signal::SIGUSR1);
        gateway.wait_for("gateway down");
        gateway.signal(Signal::SIGTERM);
        assert_eq!(gateway.ended(), Some(0), "{mode}");
        assert_eq!(home.everything().matches("ready instance=").count(), 1, "{mode}: nobody came after it");
        let history = home.done(&["history"]);
        assert!(history.contains("restart"), "{history}");
    }
}

#[test]
fn g30_a_stop_is_heard_at_every_moment_of_a_restart_in_place() {
    let home = Home::with_demo("");
    for step in 0..16 {
        let gateway = home.start();
        gateway.signal(Signal::SIGUSR1);
        gateway.wait_for("gateway down");
        std::thread::sleep(Duration::from_millis(step * 6));
        gateway.signal(Signal::SIGTERM);
        assert_eq!(gateway.ended(), Some(0), "{} ms after the end of the life before", step * 6);
    }
}

#[test]
fn g27_starts_in_vain_are_failures_of_the_restart_that_was_asked_for() {
    let home = Home::with_demo("[access]\nallow = [\"*\"]\nadmins = [\"family:1\"]\n[restart]\nmode = \"exit\"");
    let gateway = home.start();
    home.telegram.push_text(1, 1, "/restart");
    assert_eq!(gateway.ended(), Some(75));
    let taken = std::net::TcpListener::bind(("127.0.0.1", home.port())).expect("it was let go of");
    for _ in 0..3 {
        assert_eq!(home.launch("debug").ended(), Some(70));
    }
    drop(taken);
    let _gateway = home.start();
    let told = home.told(1, "⚠️ I am back");
    assert!(told.last().is_some_and(|text| text.ends_with("The restart failed 3 times: it could not start.")), "{told:?}");
    assert_eq!(home.count(1, "✅ Restarted"), 0);
}
