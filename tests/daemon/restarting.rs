//! A restart: in place, by whoever supervises, by a command and from a chat.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::Value;
use switchboard_actors::testkit::fake_openai::Reply;

use crate::gateway::{BACK, Home, RESTARTING, until};

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
    assert_eq!(home.count(1, RESTARTING), 1);
    assert!(home.told(1, BACK).iter().any(|text| text.contains("(restart)")));
    assert!(home.told(1, "✂️")[2].contains("(restart)"));
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
