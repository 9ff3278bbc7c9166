//! Signals, and what everybody is told: a stop in the middle of work, a hurried one, and the start after it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use switchboard_actors::testkit::fake_openai::{Reply, RequestFate};
use switchboard_actors::testkit::fake_telegram::Fault;

use crate::gateway::{BACK, BOUND, CUT, DOWN, Home, RESTARTING, SAVED, until};

/// A drain of a few seconds, and a group in which everybody has a conversation of their own.
const SHORT: &str = r#"
[access]
allow = ["*"]
[shutdown]
grace = "7s"
roll_call = "500ms"
announce = "1s"
interrupt = "1s"
flush = "1s"
disconnect = "500ms"
"#;
/// A drain that nobody waits for.
const LONG: &str = "[access]\nallow = [\"*\"]\n[shutdown]\ngrace = \"1h\"\nflush = \"30m\"\n[outbox]\nsend_limit = \"30m\"\n";
const GROUP: i64 = -100;

#[test]
fn g06_g07_g08_g09_everybody_is_told_once_cut_late_and_brought_back() {
    let home = Home::with_model(SHORT);
    home.model.reply_to("endless", Reply::Never);
    home.model.reply_to("a while", Reply::Stream(vec!["Took ".into(), "a ".into(), "while.".into()], Duration::from_millis(900)));
    let gateway = home.start();
    let page = home.browser();
    home.telegram.push_text(5, 5, "nothing more");
    home.told(5, "You said: nothing more");
    for user in [1, 2] {
        home.telegram.push_text(user, user, "endless");
    }
    for member in [8, 9] {
        home.telegram.push_text(GROUP, member, "@OurBot endless");
    }
    assert_eq!(page.say("endless"), 200);
    home.asked("endless", 5);
    home.telegram.push_text(4, 4, "a while");
    home.asked("a while", 1);
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for("shutdown phase phase=drain");
    home.telegram.push_text(6, 6, "too late?");
    home.told(6, SAVED);
    home.told(4, "Took a while.");
    assert_eq!(page.shown(DOWN).len(), 2, "the page still serves");
    assert_eq!(gateway.ended(), Some(0), "the code is the intent");
    assert!(!home.is_marked(), "five were cut");
    assert_eq!(home.model.requests().iter().filter(|request| request.fate == RequestFate::ClientGone).count(), 5, "the cut ones let go");
    for chat in [1, 2, GROUP] {
        let told = home.telegram.texts_in(chat);
        assert!(told[0].contains("your current task has up to") && told[0].contains("Use /retry when it is back."), "{told:?}");
        assert_eq!(told.iter().filter(|text| text.contains(DOWN)).count(), 1, "{told:?}");
    }
    assert!(home.telegram.texts_in(GROUP)[0].starts_with("User8, User9: "), "one notice for two conversations");
    assert_eq!((home.count(5, DOWN), home.telegram.texts_in(5).len()), (0, 1), "who has nothing running is not disturbed");
    everybody_comes_back(&home);
}

/// The lives after it: "back" and "interrupted" once, /retry works, what was saved is answered, and a stop with nothing to do is clean.
#[track_caller]
fn everybody_comes_back(home: &Home) {
    let gateway = home.start();
    for chat in [1, 2, 4, 6, GROUP] {
        home.told(chat, BACK);
    }
    home.told(6, "You said: too late?");
    for chat in [1, 2, GROUP] {
        home.told(chat, CUT);
    }
    home.model.reply_next(Reply::Stream(vec!["This time.".into()], Duration::ZERO));
    home.telegram.push_text(1, 1, "/retry");
    home.told(1, "This time.");
    home.telegram.push_text(2, 2, "/new");
    home.told(2, "🆕");
    let before = home.telegram.sent().len();
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked(), "nobody was cut");
    let gateway = home.start();
    home.telegram.push_text(5, 5, "still there?");
    home.told(5, "You said: still there?");
    assert!(!home.is_marked(), "it counts once");
    assert_eq!(home.telegram.sent().len(), before + 1, "nobody is told anything twice: {:?}", home.telegram.sent());
    for (chat, cuts) in [(1, 1), (2, 1), (4, 0), (5, 0), (6, 0), (GROUP, 2)] {
        assert_eq!((home.count(chat, BACK), home.count(chat, CUT)), (usize::from(chat != 5), cuts), "{chat}");
    }
    gateway.kill();
}

#[test]
fn g13_a_second_signal_hurries_and_nobody_is_cut_untold() {
    let home = Home::with_model(LONG);
    home.model.reply_always(Reply::Never);
    let gateway = home.start();
    home.telegram.push_text(1, 1, "endless");
    home.asked("endless", 1);
    gateway.signal(Signal::SIGHUP);
    gateway.wait_for("configuration read again");
    for _ in 0..3 {
        gateway.signal(Signal::SIGTERM);
    }
    gateway.wait_for("shutdown phase phase=drain");
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for("ignored: the gateway is going down");
    assert_eq!(gateway.logged("hurrying"), 0, "equal signals within half a second are one");
    gateway.wait_until_doing("drain");
    let begun = Instant::now();
    gateway.signal(Signal::SIGINT);
    gateway.wait_for("hurrying");
    assert_eq!(gateway.ended(), Some(0));
    assert!(begun.elapsed() < BOUND, "an hour was granted");
    assert_eq!(home.count(1, DOWN), 1);
    home.model.reply_always(Reply::Echo);
    let _gateway = home.start();
    home.told(1, CUT);
    home.telegram.push_text(1, 1, "/retry");
    home.told(1, "You said: endless");
}

#[test]
fn g13_a_third_signal_exits_at_once_and_loses_nothing() {
    let home = Home::with_model(LONG);
    home.model.reply_to("endless", Reply::Never);
    let mut gateway = home.start();
    home.telegram.push_text(1, 1, "endless");
    home.asked("endless", 1);
    // An answer that hangs on its way out, for which the flush is granted half an hour.
    home.telegram.fail_chat(2, Some(Fault::Hang));
    home.telegram.push_text(2, 2, "quick");
    home.telegram.wait_for("the answer on its way", BOUND, |telegram| {
        telegram.calls.iter().any(|call| call.method == "sendMessage" && call.parameters["chat_id"] == 2).then_some(())
    });
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for("shutdown phase phase=drain");
    home.told(1, RESTARTING);
    gateway.signal(Signal::SIGINT);
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for("shutdown phase phase=flush");
    // Counted again once half a second has passed since the last SIGTERM.
    let begun = Instant::now();
    while gateway.runs() && begun.elapsed() < BOUND {
        gateway.signal(Signal::SIGTERM);
        std::thread::yield_now();
    }
    assert_eq!(gateway.ended(), Some(0), "the restart had become a stop");
    assert!(!home.is_marked());
    home.telegram.fail_chat(2, None);
    home.model.reply_always(Reply::Echo);
    let gateway = home.start();
    assert_eq!(home.told(2, "🔁 (possibly a repeat) You said: quick").len(), 1, "G4: it may have arrived, and says so");
    home.told(1, BACK);
    home.told(1, CUT);
    let last = home.status().expect("it runs")["last_end"].as_str().expect("there was one").to_owned();
    assert_eq!(last, "killed in flush by a third signal", "G28: the next start knows");
    let history = home.done(&["history", "-n", "2"]);
    let sender = format!("(pid {}, user ", std::process::id());
    let history = history.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "running",
        "killed in flush by a third signal",
        "restart by SIGUSR1 from ",
        "; then stop by SIGINT from ",
        "; then hurried by SIGTERM from ",
        &sender,
    ] {
        assert!(history.contains(part), "G28: {part:?} is missing in {history}");
    }
    home.model.reply_next(Reply::Echo);
    home.telegram.push_text(1, 1, "/retry");
    home.told(1, "You said: endless");
    assert_eq!(home.count(1, CUT), 1);
    gateway.kill();
}

#[test]
fn g27_a_grace_longer_than_the_configured_one_is_waited_for() {
    // By the configuration a shutdown takes three seconds at most, and a restart is watched for ten.
    let brief = SHORT.replace("grace = \"7s\"", "grace = \"2s\"\nmargin = \"1s\"");
    let home = Home::with_demo(&brief);
    let gateway = home.start();
    home.telegram.push_text(1, 1, "work for 13s");
    gateway.wait_for("turn started");
    let restart = home.begin(&["restart", "--grace", "2m", "--dwell", "500ms"]);
    gateway.wait_for("shutdown phase phase=drain");
    // It grants nothing itself: it waits as long as the one that it joins.
    let joining = home.begin(&["restart", "--dwell", "500ms"]);
    for restart in [restart, joining] {
        restart.wait_for("is ready; watched for");
        assert_eq!((restart.logged("once more"), restart.ended()), (0, Some(0)));
    }
    assert!(home.telegram.texts_in(1).iter().any(|text| text.contains("Done, after")), "{:?}", home.telegram.texts_in(1));
    assert_eq!((home.count(1, CUT), gateway.logged("ready instance=")), (0, 2));
    home.telegram.push_text(1, 1, "work for 6s");
    gateway.wait_for_times("turn started", 2);
    let stop = home.begin(&["stop", "--grace", "2m"]);
    gateway.wait_for_times("shutdown phase phase=drain", 2);
    let joining = home.begin(&["stop"]);
    assert_eq!((stop.ended(), joining.ended(), gateway.ended()), (Some(0), Some(0), Some(0)));
    assert!(home.is_marked(), "nobody was cut");
}

/// Ctrl-Z and `fg`, or a container that is paused: nobody hung.
#[test]
fn g19_a_gateway_that_was_put_to_sleep_goes_on_as_it_wakes_up() {
    let home = Home::with_demo("[access]\nallow = [\"*\"]\n[supervision]\nhung_after = \"3s\"");
    let mut gateway = home.start();
    gateway.signal(Signal::SIGSTOP);
    let asleep = Instant::now();
    until("longer than it may be silent", || (asleep.elapsed() > Duration::from_secs(6)).then_some(()));
    gateway.signal(Signal::SIGCONT);
    home.telegram.push_text(1, 1, "hello");
    home.told(1, "You said: hello");
    // Whoever had looked for a sign of life has had the time to find none.
    home.telegram.push_text(1, 1, "work for 3s");
    until("its end", || home.telegram.texts_in(1).iter().any(|text| text.contains("Done, after")).then_some(()));
    assert!(gateway.runs());
    assert_eq!(gateway.stop(), Some(0));
}

/// A manager's stop has a limit that was fitted to the configured grace: it knows of no other that an operator granted.
#[test]
fn g12_a_signal_shortens_what_an_operator_granted() {
    let home = Home::with_demo(SHORT);
    let gateway = home.start();
    home.telegram.push_text(1, 1, "work for 30m");
    gateway.wait_for("turn started");
    let stop = home.begin(&["stop", "--grace", "30m"]);
    gateway.wait_for("shutdown phase phase=drain");
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    assert_eq!((gateway.ended(), stop.ended()), (Some(0), Some(0)));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    assert_eq!(home.count(1, DOWN), 1);
}
