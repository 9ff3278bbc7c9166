//! What hangs: agents that never yield, and platforms that never answer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use switchboard_actors::testkit::fake_openai::Reply;
use switchboard_actors::testkit::fake_telegram::Fault;

use crate::gateway::{BOUND, CUT, DOWN, Home, Life, until};
use crate::recording::expect_end;
use crate::tracer::Tracer;

/// The whole of a shutdown, and what is granted beyond it.
pub(crate) const GRACE: Duration = Duration::from_secs(4);
pub(crate) const MARGIN: Duration = Duration::from_secs(2);
/// What a crowded machine may add to a wall clock.
pub(crate) const CROWD: Duration = Duration::from_secs(5);
pub(crate) const BRIEF: &str = r#"
[access]
allow = ["*"]
[shutdown]
grace = "4s"
roll_call = "500ms"
announce = "500ms"
interrupt = "500ms"
flush = "500ms"
disconnect = "500ms"
margin = "2s"
"#;

#[test]
fn g11_agents_that_never_yield_do_not_hold_a_shutdown() {
    let home = Home::with_demo(BRIEF);
    let gateway = home.start();
    let before = gateway.peak();
    for chat in 1..=4 {
        home.telegram.push_text(chat, chat, "block for 60s");
    }
    until("four tasks", || home.status().filter(|status| status["turns_running"] == 4));
    gateway.expect_small(before);
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert!(!home.is_marked());
    let _gateway = home.start();
    for chat in 1..=4 {
        assert_eq!(home.count(chat, DOWN), 1);
        home.told(chat, CUT);
    }
}

/// How many runs were cut and did not yield.
fn abandoned(home: &Home) -> Option<String> {
    let (_, figures) = home.get("/metrics")?;
    figures.lines().find_map(|line| line.strip_prefix("switchboard_runs_abandoned ").map(str::to_owned))
}

#[test]
fn g19_agents_that_ignore_being_dropped_hold_up_nobody_and_in_the_end_cost_a_restart() {
    let home = Home::with_demo(&format!("{BRIEF}[runs]\nabandon_after = \"200ms\"\nmax_abandoned = 2\n"));
    let gateway = home.start();
    let before = gateway.peak();
    for chat in 1..=3 {
        home.telegram.push_text(chat, chat, "block for 60s");
        until("its task", || home.status().filter(|status| status["turns_running"] == 1));
        let asked = Instant::now();
        home.telegram.push_text(chat, chat, "/stop");
        home.told(chat, "⏹️");
        assert!(asked.elapsed() < Duration::from_secs(1) + CROWD, "whatever the agent does: {:?}", asked.elapsed());
        if chat < 3 {
            until("it to be counted", || abandoned(&home).filter(|count| *count == chat.to_string()));
            // In this very chat, and in another one.
            for other in [chat, 10 + chat] {
                home.telegram.push_text(other, other, "hello");
                home.told(other, "You said: ");
            }
            gateway.expect_small(before);
        }
    }
    // The third is one too many: only a new process gets the threads back.
    gateway.wait_for_times("ready instance=", 2);
    assert_eq!(gateway.logged("agents will not yield"), 1);
    until("threads that are free", || abandoned(&home).filter(|count| count == "0"));
    home.telegram.push_text(3, 3, "hello");
    home.told(3, "You said: ");
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked());
}

#[test]
fn g06_g11_a_platform_that_hangs_holds_up_neither_the_shutdown_nor_the_page() {
    let home = Home::with_model(BRIEF);
    home.model.reply_to("endless", Reply::Never);
    let gateway = home.start();
    let page = home.browser();
    home.telegram.push_text(1, 1, "endless");
    assert_eq!(page.say("endless"), 200);
    home.asked("endless", 2);
    home.telegram.fail_always("sendMessage", Some(Fault::Hang));
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    page.shown(DOWN);
    assert_eq!(gateway.ended(), Some(0));
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    home.telegram.fail_always("sendMessage", None);
    let _gateway = home.start();
    home.told(1, CUT);
    assert_eq!(home.count(1, DOWN), 0, "what was cut while being sent is not said again");
    page.shown(CUT);
}

/// The runtimes of connections and agents, the ledger's writer, and the arbiter of the HTTP server, by the names of their threads.
const KINDS: [&str; 4] = ["io", "agent", "ledger", "actix-rt|"];
/// What such a thread does whenever it has nothing else to do.
const RESTS: &str = "epoll_wait,epoll_pwait,futex";

/// The first thread of a kind.
fn thread(gateway: &Life<'_>, kind: &str) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("it runs").flatten().map(|task| task.path());
    let of_kind = |path: &PathBuf| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with(kind));
    let id = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    tasks.filter(of_kind).find_map(id).expect("a thread of each kind")
}

#[test]
fn g11_a_blocked_thread_of_any_kind_does_not_hold_a_shutdown() {
    std::thread::scope(|scope| KINDS.into_iter().for_each(|kind| _ = scope.spawn(move || blocked(kind))));
}

/// A gateway of which one thread of this kind is blocked goes down in time, and what it had confirmed is answered, then or later.
fn blocked(kind: &str) {
    let home = Home::with_model(&format!("{BRIEF}[recovery]\npolicy = \"resume\"\n"));
    home.model.reply_to("endless", Reply::Never);
    let gateway = home.start();
    let page = home.browser();
    assert_eq!(page.say("hello"), 200);
    page.shown("You said: hello");
    home.telegram.push_text(1, 1, "endless");
    home.asked("endless", 1);
    let Some(tracer) = Tracer::block_thread(thread(&gateway, kind), RESTS) else { return };
    home.telegram.push_text(2, 2, "at the last moment");
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    assert_eq!(tracer.ended(gateway), Some(0), "{kind}: the intent");
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{kind}: {:?}", begun.elapsed());
    let _gateway = home.start();
    home.telegram.wait_for(&format!("an answer ({kind})"), BOUND, |telegram| {
        telegram.texts_in(2).iter().any(|text| text.contains("You said: at the last moment")).then_some(())
    });
    assert!(home.count(2, "You said: ") <= 1, "{kind}: said twice without a mark");
    home.asked("endless", 2);
}

/// What an arbiter's thread does whenever it has nothing else to do: from the next time on it does not come back from it. Such a thread answers
/// nobody, as if an actor had blocked it.
const REST: &str = "epoll_wait,epoll_pwait";

#[test]
fn g11_g28_a_gateway_whose_arbiter_is_blocked_ends_itself_to_be_started_anew() {
    let home = Home::with_model(&format!("{BRIEF}[supervision]\nhung_after = \"2s\"\n"));
    home.model.reply_to("endless", Reply::Never);
    let gateway = home.start();
    home.telegram.push_text(1, 1, "endless");
    home.asked("endless", 1);
    let begun = Instant::now();
    let Some(tracer) = Tracer::block_thread(gateway.pid(), REST) else { return };
    assert_eq!(tracer.ended(gateway), Some(86));
    assert!(begun.elapsed() < Duration::from_secs(2) + CROWD, "{:?}", begun.elapsed());
    expect_end(&home, &["found hung while serving"], 86);
    home.model.reply_always(Reply::Echo);
    let _gateway = home.start();
    home.told(1, CUT);
}

/// Whether it is blocked before anybody asked for the end, while nothing is heard any more, or in the middle of the drain.
#[test]
fn g11_g13_g28_a_blocked_arbiter_does_not_hold_a_shutdown() {
    let cases: [(bool, &[Signal], i32); 4] = [
        (true, &[Signal::SIGTERM], 0),
        (true, &[Signal::SIGUSR1], 75),
        (true, &[Signal::SIGUSR1, Signal::SIGTERM], 0),
        (false, &[Signal::SIGTERM], 0),
    ];
    for (blocked_first, signals, code) in cases {
        let home = Home::with_model(BRIEF);
        home.model.reply_to("endless", Reply::Never);
        let gateway = home.start();
        home.telegram.push_text(1, 1, "endless");
        home.asked("endless", 1);
        let block = || Tracer::block_thread(gateway.pid(), REST);
        let begun = Instant::now();
        let tracer = if blocked_first {
            let tracer = block();
            signals.iter().for_each(|signal| gateway.signal(*signal));
            tracer
        } else {
            signals.iter().for_each(|signal| gateway.signal(*signal));
            gateway.wait_for("shutdown phase phase=drain");
            block()
        };
        let Some(tracer) = tracer else { return };
        assert_eq!(tracer.ended(gateway), Some(code), "the intent");
        let place = if blocked_first { "killed while serving, overdue" } else { "killed in drain, overdue" };
        expect_end(&home, &[place], i64::from(code));
        assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
        assert!(!home.is_marked());
        home.model.reply_always(Reply::Echo);
        let _gateway = home.start();
        home.told(1, CUT);
    }
}

#[test]
fn g13_g28_a_third_signal_ends_a_gateway_whose_arbiter_is_blocked() {
    let home = Home::with_demo("");
    let gateway = home.start();
    let Some(tracer) = Tracer::block_thread(gateway.pid(), REST) else { return };
    let begun = Instant::now();
    gateway.signal(Signal::SIGINT);
    // Counted once half a second has passed since the last of its kind.
    let ended = tracer.ended_after(gateway, |gateway| gateway.signal(Signal::SIGTERM));
    assert_eq!(ended, Some(0));
    expect_end(&home, &["killed while serving by a third signal", "SIGTERM from daemon-"], 0);
    assert!(begun.elapsed() < CROWD, "a minute was granted, and one until it counts as hung: {:?}", begun.elapsed());
    let _gateway = home.start();
}
