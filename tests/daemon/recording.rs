//! The record: each way in which a life can end, what `history` says of it while nobody runs, and what the next life knows and tells.

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::Value;
use switchboard_actors::testkit::fake_openai::Reply;
use switchboard_actors::testkit::fake_telegram::Fault;

use crate::disks::{Mount, fill};
use crate::gateway::{BACK, BOUND, CUT, DOWN, Home, Life, until};

/// A supervised gateway with an admin, whose drains nobody waits for, and which may crash as often as it likes.
const CONFIG: &str = r#"
[access]
allow = ["*"]
admins = ["family:1"]
[restart]
mode = "exit"
[shutdown]
grace = "1h"
flush = "30m"
[outbox]
send_limit = "30m"
[recovery]
crash_loop.starts = 0
"#;

/// A way to die, and what is to be known of it.
struct Way {
    /// Ends the gateway; its exit code, none when it was killed. Tasks run in this chat.
    end: fn(&Home, Life<'_>, i64) -> Option<i32>,
    how: &'static str,
    said: Option<&'static str>,
    asked: Option<&'static str>,
    /// What the chat of a task that was cut is told.
    cut: Option<&'static str>,
}

const WAYS: &[Way] = &[
    Way {
        end: |_, gateway, _| gateway.stop(),
        how: "stop, clean",
        said: None,
        asked: Some("stop by SIGTERM from daemon- (pid US, user ME)"),
        cut: None,
    },
    Way {
        end: |_, gateway, _| signalled(gateway, Signal::SIGINT),
        how: "stop, clean",
        said: None,
        asked: Some("stop by SIGINT from daemon- (pid US, user ME)"),
        cut: None,
    },
    Way {
        end: |_, gateway, _| signalled(gateway, Signal::SIGUSR1),
        how: "restart, clean",
        said: None,
        asked: Some("restart by SIGUSR1 from daemon- (pid US, user ME)"),
        cut: None,
    },
    Way {
        end: |home, gateway, _| {
            home.done(&["stop", "--reason", "the disk is to be changed"]);
            gateway.ended()
        },
        how: "stop, clean",
        said: None,
        asked: Some("stop by operator with switchboard (pid IT, user ME): the disk is to be changed"),
        cut: None,
    },
    Way {
        end: |home, gateway, _| asked_in_chat(home, gateway, "/shutdown"),
        how: "stop, clean",
        said: None,
        asked: Some("stop by family:1 in family room 1"),
        cut: None,
    },
    Way {
        end: |home, gateway, _| asked_in_chat(home, gateway, "/restart"),
        how: "restart, clean",
        said: None,
        asked: Some("restart by family:1 in family room 1"),
        cut: None,
    },
    Way {
        end: |home, gateway, chat| {
            work(home, chat);
            home.done(&["stop", "--grace", "0s"]);
            gateway.ended()
        },
        how: "stop, not clean: family room CHAT is interrupted: its task was cut and can be run again",
        said: None,
        asked: Some("stop by operator with switchboard (pid IT, user ME)"),
        cut: Some("stop"),
    },
    Way {
        end: |home, gateway, chat| {
            work(home, chat);
            killed(gateway)
        },
        how: "killed while serving",
        said: None,
        asked: None,
        cut: Some("crash"),
    },
    Way {
        end: |home, gateway, chat| {
            going_down(home, &gateway, chat);
            killed(gateway)
        },
        how: "killed in drain",
        said: None,
        asked: Some("stop by SIGTERM from daemon- (pid US, user ME)"),
        cut: Some("cut off while shutting down"),
    },
    Way {
        end: |home, mut gateway, chat| {
            let stuck = hanging_answer(home, chat);
            going_down(home, &gateway, chat);
            gateway.signal(Signal::SIGINT);
            gateway.wait_for("shutdown phase phase=flush");
            // Equal signals within half a second are one.
            until("the end by a third signal", || {
                gateway.signal(Signal::SIGTERM);
                (!gateway.runs()).then_some(())
            });
            home.telegram.fail_chat(stuck, None);
            gateway.ended()
        },
        how: "killed in flush by a third signal",
        said: Some("a third signal: SIGTERM from daemon- (pid US, user ME)"),
        asked: Some("stop by SIGTERM from daemon- (pid US, user ME); then hurried by SIGINT from daemon- (pid US, user ME)"),
        cut: Some("ended by force"),
    },
    Way {
        end: |home, gateway, chat| {
            work(home, chat);
            killed(gateway);
            let ledger = Connection::open(home.state().ledger()).expect("SQLite");
            assert_eq!(ledger.execute("UPDATE instance SET boot = 'the one before' WHERE id = (SELECT max(id) FROM instance)", []), Ok(1));
            None
        },
        how: "cut off while serving: the machine restarted",
        said: None,
        asked: None,
        cut: Some("the machine restarted"),
    },
];

fn signalled(gateway: Life<'_>, signal: Signal) -> Option<i32> {
    gateway.signal(signal);
    gateway.ended()
}

fn killed(gateway: Life<'_>) -> Option<i32> {
    gateway.kill();
    None
}

fn asked_in_chat(home: &Home, gateway: Life<'_>, command: &str) -> Option<i32> {
    home.telegram.push_text(1, 1, command);
    gateway.ended()
}

/// A task that does not end.
fn work(home: &Home, chat: i64) {
    home.telegram.push_text(chat, chat, &format!("endless {chat}."));
    home.asked(&format!("endless {chat}."), 1);
}

/// An answer in another chat that hangs on its way out, for which the flush is granted half an hour.
fn hanging_answer(home: &Home, chat: i64) -> i64 {
    let stuck = 1000 + chat;
    home.telegram.fail_chat(stuck, Some(Fault::Hang));
    home.model.reply_to(&format!("quick {chat}."), Reply::Echo);
    home.telegram.push_text(stuck, stuck, &format!("quick {chat}."));
    home.telegram.wait_for("the answer on its way", BOUND, |telegram| {
        telegram.calls.iter().any(|call| call.method == "sendMessage" && call.parameters["chat_id"] == stuck).then_some(())
    });
    stuck
}

fn going_down(home: &Home, gateway: &Life<'_>, chat: i64) {
    work(home, chat);
    gateway.signal(Signal::SIGTERM);
    home.told(chat, DOWN);
    gateway.wait_for("shutdown phase phase=drain");
}

/// The lives and false starts that `history` tells of, the newest first.
fn history(home: &Home) -> Vec<Value> {
    let told: Value = serde_json::from_str(&home.done(&["history", "--json"])).expect("JSON");
    told["lives"].as_array().expect("a list").clone()
}

/// How the last life ended, as `history` tells while nobody runs: how, and with which code.
#[track_caller]
pub(crate) fn expect_end(home: &Home, how: &[&str], code: i64) {
    let told = &history(home)[0];
    let words = format!("{}: {}", told["how"].as_str().unwrap_or_default(), told["said"].as_str().unwrap_or_default());
    assert!(how.iter().all(|part| words.contains(part)) && told["code"].as_i64() == Some(code), "G28: {how:?} {code}: {told:#}");
}

/// Words with what differs from run to run named: processes, users, test binaries.
fn plain(value: &Value, chat: i64) -> Option<String> {
    let text = value.as_str()?.replace(&format!("(pid {}, user", std::process::id()), "(pid US, user");
    let text = text
        .replace(&format!(", user {})", rustix::process::geteuid().as_raw()), ", user ME)")
        .replace(&format!("room {chat} is"), "room CHAT is");
    let words = text.split(' ').map(|word| if word.starts_with("daemon-") { "daemon-" } else { word });
    let text = words.collect::<Vec<_>>().join(" ");
    match text.split_once("switchboard (pid ") {
        Some((before, after)) => Some(format!("{before}switchboard (pid IT{}", &after[after.find(',').expect("a user")..])),
        None => Some(text),
    }
}

#[test]
fn g28_each_way_to_die_is_on_record_and_the_next_life_tells_it() {
    let home = Home::with_model(CONFIG);
    home.model.reply_always(Reply::Never);
    let mut gateway = home.start();
    for (way, chat) in WAYS.iter().zip(10..) {
        let code = (way.end)(&home, gateway, chat);
        let check = |told: &Value| {
            let words = [&told["how"], &told["said"], &told["asked"]].map(|value| plain(value, chat));
            assert_eq!(words, [Some(way.how), way.said, way.asked].map(|words| words.map(Into::into)), "{told:#}");
            assert_eq!((told["code"].as_i64(), told["state"].as_str()), (code.map(i64::from), Some("ended")), "{told:#}");
            assert_eq!(told["at_least"], Value::Bool(code.is_none()), "{told:#}");
            assert!(told["lasted_millis"].is_u64(), "{told:#}");
        };
        check(&history(&home)[0]);
        gateway = home.start();
        let lives = history(&home);
        check(&lives[1]);
        assert_eq!((lives[0]["state"].as_str(), lives[0]["how"].as_str()), (Some("runs"), Some("running")));
        let last = home.status().expect("it runs")["last_end"].as_str().expect("there was one").to_owned();
        assert!(lives[1]["how"].as_str().is_some_and(|how| how.ends_with(&last)), "{last}");
        gateway.wait_for(&format!("last={last}"));
        if let Some(cause) = way.cut {
            assert!(home.told(chat, CUT).iter().any(|text| text.contains(&format!("({cause})"))), "{cause}");
        }
        if let (Some(cause), 1..) = (way.cut, home.count(chat, DOWN)) {
            assert!(home.told(chat, BACK).iter().any(|text| text.starts_with(BACK) && text.contains(&format!("({cause})"))), "{cause}");
        }
    }
    let table = home.done(&["history", "-n", "100"]);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with("20")).count(), WAYS.len() + 1, "{table}");
    eprintln!("{table}");
    gateway.kill();
}

#[test]
fn g28_a_killed_gateway_whose_parent_has_not_looked_yet_is_told_as_killed() {
    let home = Home::with_demo("");
    let gateway = home.start();
    gateway.signal(Signal::SIGKILL);
    until("its end", || (history(&home)[0]["how"] == "killed while serving").then_some(()));
    gateway.kill();
}

#[test]
fn g28_starts_that_come_to_nothing_are_on_record() {
    let home = Home::with_demo("");
    let gateway = home.start();
    assert_eq!(home.launch("info").ended(), Some(73));
    let beside = home.status().expect("it runs");
    let lives = history(&home);
    assert_eq!((lives[0]["state"].as_str(), lives[0]["code"].as_i64()), (Some("false_start"), Some(73)), "{lives:#?}");
    assert!(lives[0]["how"].as_str().expect("words").contains(&format!("another gateway (pid {}", gateway.pid())), "{lives:#?}");
    assert_eq!(lives[1]["instance"], beside["instance"]);
    assert_eq!(gateway.stop(), Some(0));
    let good = std::fs::read_to_string(home.config()).expect("readable");
    std::fs::write(home.config(), format!("{good}[recovery]\npolcy = \"ask\"\n")).expect("writable");
    for _ in 0..3 {
        assert_eq!(home.run(&["run"]).code, Some(78));
    }
    std::fs::write(home.config(), good).expect("writable");
    let taken = std::net::TcpListener::bind(("127.0.0.1", home.port())).expect("free again");
    assert_eq!(home.launch("info").ended(), Some(70));
    let told: Vec<_> = history(&home).iter().map(|life| (life["state"].clone(), life["code"].as_i64(), life["times"].as_i64())).collect();
    let vain = |code, times| (Value::from("false_start"), Some(code), Some(times));
    assert_eq!(told[..4], [vain(70, 1), vain(78, 3), vain(73, 1), (Value::from("ended"), Some(0), Some(1))]);
    let table = home.done(&["history"]);
    for part in ["3 × did not start: the configuration has 1 fault:", "polcy", "http.listen"] {
        assert!(table.contains(part), "{part:?} is missing in {table}");
    }
    drop(taken);
    // They stay on record, and change nothing of how the last life ended.
    let gateway = home.start();
    assert_eq!(home.status().expect("it runs")["last_end"], "clean");
    assert_eq!(history(&home).len(), 5);
    gateway.kill();
}

#[test]
fn g28_an_image_that_cannot_be_replaced_says_so() {
    let mut home = Home::with_demo("[restart]\nmode = \"exec\"");
    let program = home.path().join("switchboard");
    std::fs::copy(env!("CARGO_BIN_EXE_switchboard"), &program).expect("room for it");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    home.use_program(program.clone());
    let gateway = home.start();
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for_times("ready instance=", 2);
    let replaced = &history(&home)[1];
    assert_eq!((replaced["how"].as_str(), replaced["code"].as_i64()), (Some("restart, clean"), None), "it goes on as another image");
    let image = std::fs::read(&program).expect("readable");
    std::fs::remove_file(&program).expect("ours");
    gateway.signal(Signal::SIGUSR1);
    assert_eq!(gateway.ended(), Some(75));
    std::fs::write(&program, image).expect("writable");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let told = &history(&home)[0];
    assert_eq!((told["how"].as_str(), told["code"].as_i64()), (Some("restart, clean"), Some(75)), "{told:#}");
    assert!(told["said"].as_str().is_some_and(|said| said.starts_with("the new image could not be started: ")), "{told:#}");
}

/// The last words need no room that is not there already.
#[test]
fn g28_a_shutdown_that_the_ledger_cannot_record_is_no_crash() {
    let home = Home::with_model(CONFIG);
    home.model.reply_always(Reply::Never);
    let state = home.path().join("state");
    let Some(disk) = Mount::small(&state, 2 << 20) else { return };
    let mut gateway = home.start();
    work(&home, 1);
    let ballast = state.join("ballast");
    home.telegram.push_text(2, 2, "in vain");
    until("a ledger that cannot write", || {
        fill(&ballast);
        home.telegram.push_text(2, 2, &"in vain ".repeat(400));
        (gateway.logged("ledger cannot commit") >= 1).then_some(())
    });
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for("shutdown phase phase=drain");
    home.done(&["stop", "--grace", "0s", "--no-wait"]);
    until("the end", || {
        fill(&ballast);
        (!gateway.runs()).then_some(())
    });
    assert_eq!(gateway.ended(), Some(0));
    std::fs::remove_file(&ballast).expect("ours");
    let gateway = home.start();
    let told = &history(&home)[1];
    assert_eq!((told["kind"].as_str(), told["code"].as_i64(), &told["at_least"]), (Some("stop"), Some(0), &Value::Bool(false)), "{told:#}");
    assert!(told["how"].as_str().is_some_and(|how| how.starts_with("stop, not clean: ") && how.contains("ledger")), "{told:#}");
    assert!(home.told(1, CUT).iter().any(|text| text.contains("(stop)")), "{:?}", home.telegram.texts_in(1));
    gateway.kill();
    drop(disk);
}
