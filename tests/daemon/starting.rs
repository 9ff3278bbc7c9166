//! Starts that must not succeed, and those that must: the lock, the port, the configuration, and what lies in the state directory.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use crate::gateway::{Home, Life};

/// Starts what cannot start; its code, when it said all `parts`.
#[track_caller]
fn refused(life: Life<'_>, parts: &[&str]) -> Option<i32> {
    parts.iter().for_each(|part| life.wait_for(part));
    life.ended()
}

#[test]
fn g22_a_second_gateway_is_refused_and_a_dead_one_blocks_nobody() {
    let home = Home::with_demo("");
    let gateway = home.start();
    let pid = format!("(pid {},", gateway.pid());
    assert_eq!(refused(home.launch("info"), &["another gateway", &pid, "switchboard stop"]), Some(73));
    assert_eq!(home.run(&["ledger", "drop", "gone"]).code, Some(0), "asked of the one that runs");
    assert_eq!(home.status().expect("untouched")["pid"], gateway.pid());
    gateway.kill();
    assert!(home.state().lock().exists(), "the file of the dead one is still there");
    let gateway = home.start();
    assert_eq!(home.status().expect("it runs")["pid"], gateway.pid());
    gateway.kill();
    // Its pid may be somebody else's by now: the file is for the message only.
    std::fs::write(home.state().lock(), format!("{{\"pid\":{},\"since\":1}}", std::process::id())).expect("writable");
    home.start().kill();
}

#[test]
fn a_port_in_use_is_exit_70_and_leaves_no_trace() {
    let home = Home::with_demo("");
    assert_eq!(home.start().stop(), Some(0));
    let taken = TcpListener::bind(("127.0.0.1", home.port())).expect("free again");
    let life = home.launch("info");
    assert_eq!(refused(life, &["http.listen = ", "Stop what listens there, or choose another port"]), Some(70));
    assert!(home.is_marked(), "no life began: the mark still stands for the last one");
    drop(taken);
    let gateway = home.start();
    assert_eq!(home.status().expect("it runs")["last_end"], "clean");
    gateway.kill();
}

#[test]
fn a_control_socket_that_cannot_be_is_exit_70() {
    let home = Home::with_demo("[control]\nsocket = \"/nowhere/control.sock\"");
    assert_eq!(refused(home.launch("info"), &["control socket /nowhere/control.sock", "Set control.socket"]), Some(70));
}

#[test]
fn g29_every_fault_of_a_configuration_is_named_and_the_running_gateway_lives_on() {
    let home = Home::with_demo("");
    let gateway = home.start();
    let good = std::fs::read_to_string(home.config()).expect("readable");
    let bad = good.replace("kind = \"telegram\"", "kind = \"telegran\"") + "[shutdown]\ngrace = \"soon\"\n[recovery]\npolcy = \"ask\"\n";
    std::fs::write(home.config(), bad).expect("writable");
    for arguments in [&["run"][..], &["check"]] {
        let printed = home.run(arguments);
        assert_eq!(printed.code, Some(78), "{printed:?}");
        for part in ["3 faults", "telegran", "shutdown.grace", "polcy", "policy", "config.toml"] {
            assert!(printed.err.contains(part), "{part} is not in {}", printed.err);
        }
    }
    assert!(home.get("/readyz").expect("it runs").0 == 200);
    std::fs::write(home.config(), good).expect("writable");
    assert!(home.done(&["check"]).contains("the configuration is good"));
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_ledger_that_cannot_be_used_is_exit_73_and_stays_as_it_is() {
    let home = Home::with_demo("");
    assert_eq!(home.start().stop(), Some(0));
    let path = home.state().ledger();
    let good = std::fs::read(&path).expect("readable");
    let check = |part: &str| {
        let bytes = std::fs::read(&path).expect("readable");
        assert_eq!(refused(home.launch("info"), &[part]), Some(73), "{part}");
        assert_eq!(home.run(&["check"]).code, Some(73), "{part}");
        assert!(std::fs::read(&path).expect("readable") == bytes, "{part}: the file was changed");
    };
    let ledger = Connection::open(&path).expect("SQLite");
    assert_eq!(ledger.execute("UPDATE meta SET value = '1000' WHERE key IN ('schema', 'oldest_reader')", []), Ok(2));
    drop(ledger);
    check("newer");
    std::fs::write(&path, b"this was never a database, whatever its name says".repeat(100)).expect("writable");
    check("ledger.sqlite3");
    let mut torn = good.clone();
    torn[100..400].fill(0xff);
    std::fs::write(&path, torn).expect("writable");
    check("ledger.sqlite3");
    std::fs::write(&path, good).expect("writable");
    home.start().kill();
}

#[test]
fn a_state_directory_that_cannot_be_used_is_exit_73() {
    let home = Home::with_demo("");
    let state = home.path().join("state");
    std::fs::write(&state, "in its place").expect("writable");
    assert_eq!(refused(home.launch("info"), &["the state directory cannot be made", "set state_dir"]), Some(73));
    std::fs::remove_file(&state).expect("ours");
    std::fs::create_dir(&state).expect("free");
    std::fs::create_dir(home.state().lock()).expect("free");
    assert_eq!(refused(home.launch("info"), &["the lock cannot be opened"]), Some(73));
    std::fs::remove_dir(home.state().lock()).expect("ours");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).expect("ours");
    home.start().kill();
    let mode = || std::fs::metadata(&state).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o700, "others are shut out");
    // A directory with something else in it is not made ours by a slip of the pen, however often it is tried.
    std::fs::remove_dir_all(&state).expect("ours");
    std::fs::create_dir(&state).expect("free");
    std::fs::write(state.join("letter.txt"), "of somebody").expect("writable");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).expect("ours");
    for _ in 0..2 {
        assert_eq!(refused(home.launch("info"), &["there is something else in it", "set state_dir"]), Some(73));
        assert_eq!((mode(), std::fs::read_dir(&state).expect("readable").count()), (0o755, 1));
    }
}
