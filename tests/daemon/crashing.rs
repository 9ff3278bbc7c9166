//! A process that is killed without a word, at rest, in the middle of work, and again and again under load.

use std::time::Duration;

use nix::sys::signal::Signal;
use switchboard_actors::testkit::fake_openai::Reply;

use crate::gateway::{BACK, CUT, DOWN, Home, RESTARTING, SAVED, until};

/// Chats at work when it is killed.
const CHATS: std::ops::RangeInclusive<i64> = 1..=20;
const EVERYBODY: &str = "[access]\nallow = [\"*\"]\n";
/// How often gateways under load are ended in each of the tests below, unless this variable says otherwise.
const KILLS: (&str, u32) = ("SWITCHBOARD_KILLS", 80);
/// What begins a notice to a chat in which something merely waits.
const WAITING: &str = "⏳ Gateway ";
/// Gateways that are ended side by side, each in a home of its own.
const SIDE_BY_SIDE: u32 = 4;

/// Twenty chats whose tasks do not end.
fn busy(home: &Home) {
    home.model.reply_always(Reply::Never);
    for chat in CHATS {
        home.telegram.push_text(chat, chat, &format!("task {chat}"));
    }
    home.asked("task ", CHATS.count());
}

#[test]
fn g09_twenty_tasks_cut_by_a_kill_are_told_and_can_be_run_again() {
    let home = Home::with_model(EVERYBODY);
    let gateway = home.start();
    busy(&home);
    gateway.kill();
    home.model.reply_always(Reply::Echo);
    let _gateway = home.start();
    for chat in CHATS {
        assert!(home.told(chat, CUT)[0].contains("(crash)"));
        home.telegram.push_text(chat, chat, "/retry");
    }
    for chat in CHATS {
        assert_eq!(home.told(chat, "You said: ")[1..], [format!("You said: task {chat}")]);
    }
    assert_eq!(home.status().expect("it runs")["last_end"], "killed while serving");
}

#[test]
fn g09_twenty_tasks_cut_by_a_kill_go_on_by_themselves() {
    let home = Home::with_model(&format!("{EVERYBODY}\n[recovery]\npolicy = \"resume\""));
    let gateway = home.start();
    busy(&home);
    gateway.kill();
    home.model.reply_always(Reply::Echo);
    let _gateway = home.start();
    for chat in CHATS {
        assert_eq!(home.told(chat, "You said: "), [format!("You said: task {chat}")], "without a word from anybody");
    }
}

/// How a life under load ends.
#[derive(Clone, Copy)]
enum End {
    Killed,
    /// By SIGTERM, which it obeys.
    Stopped,
    /// By SIGTERM, and a kill before it could.
    StoppedAndKilled,
    /// By SIGUSR1: the next image runs in its place.
    Restarted,
}

#[test]
fn g01_g02_g04_nothing_is_lost_by_kills_at_random_under_load() {
    side_by_side("resume", End::Killed, 1);
}

#[test]
fn g01_g09_whoever_is_cut_by_kills_at_random_is_told_and_answered_after_retry() {
    side_by_side("ask", End::Killed, 1);
}

#[test]
fn g01_g09_nothing_is_lost_by_kills_while_it_goes_down_under_load() {
    side_by_side("resume", End::StoppedAndKilled, 2);
}

#[test]
fn g01_g02_nothing_is_lost_by_stops_at_random_under_load() {
    side_by_side("resume", End::Stopped, 4);
}

#[test]
fn g01_g27_nothing_is_lost_by_restarts_in_place_under_load() {
    side_by_side("resume", End::Restarted, 4);
}

/// Ends gateways under load, one in so many times of [`KILLS`], and each in a thread of its own.
fn side_by_side(policy: &str, end: End, one_in: u32) {
    let ends = std::env::var(KILLS.0).ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS.1) / one_in;
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(move || under_load(policy, end, ends.div_ceil(SIDE_BY_SIDE)));
        }
    });
}

/// Ends a gateway under load at random moments; in the end every message is answered, or its chat was told and is answered after /retry, and
/// nothing was said twice without a mark.
fn under_load(policy: &str, end: End, ends: u32) {
    let more = format!("{EVERYBODY}\n[recovery]\npolicy = \"{policy}\"\nmax_attempts = 1000\ncrash_loop.starts = 0\n");
    let home = Home::with_model(&more);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut last = 0;
    let mut running = None;
    for life in 1..=ends {
        let gateway = running.take().unwrap_or_else(|| home.launch("info"));
        if random.bool() {
            gateway.wait_for("ready instance=");
        }
        for _ in 0..random.u32(1..8) {
            last += 1;
            say(&home, last);
        }
        moment(&mut random);
        match end {
            End::Killed => gateway.kill(),
            End::Stopped => {
                gateway.wait_for("ready instance=");
                assert_eq!(gateway.stop(), Some(0), "seed {seed}");
            }
            End::StoppedAndKilled => {
                gateway.wait_for("ready instance=");
                gateway.signal(Signal::SIGTERM);
                moment(&mut random);
                gateway.kill();
            }
            End::Restarted => {
                gateway.wait_for_times("ready instance=", life as usize);
                gateway.signal(Signal::SIGUSR1);
                gateway.wait_for_times("ready instance=", life as usize + 1);
                running = Some(gateway);
            }
        }
    }
    let gateway = running.unwrap_or_else(|| home.start());
    (1..=last).for_each(|chat| settle(&home, policy, chat, seed));
    assert_eq!(home.telegram.unconfirmed(), Vec::<i64>::new());
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked(), "everything was delivered (seed {seed})");
    for chat in 1..=last {
        let told = home.telegram.texts_in(chat);
        let unmarked = |text: &str| told.iter().filter(|told| *told == text).count();
        let notice = |text: &str| [DOWN, RESTARTING, WAITING, SAVED, BACK, CUT].iter().any(|beginning| text.starts_with(beginning));
        let marked = |text: &String| unmarked(text) == 1 || text.starts_with("🔁") || notice(text);
        assert!(told.iter().all(marked), "said twice without a mark (seed {seed}): {told:?}");
    }
}

/// A message whose answer takes long enough that ends meet tasks, drafts and deliveries.
fn say(home: &Home, chat: i64) {
    let pieces = ["You ", "said: ", &format!("m{chat}.")].map(Into::into).into();
    home.model.reply_to(&format!("m{chat}."), Reply::Stream(pieces, Duration::from_millis(30)));
    home.telegram.push_text(chat, chat, &format!("m{chat}."));
}

/// Not to wait for anything: the moment of the end is what is drawn.
fn moment(random: &mut fastrand::Rng) {
    std::thread::sleep(Duration::from_millis(random.u64(0..300)));
}

/// Waits until a message is answered; where its chat was told that it was cut, once that was asked for.
fn settle(home: &Home, policy: &str, chat: i64, seed: u64) {
    let answer = format!("You said: m{chat}.");
    let is_told = |words: &str| home.telegram.texts_in(chat).iter().any(|text| text.contains(words));
    let what = format!("the end of message {chat} (seed {seed})");
    until(&what, || (is_told(&answer) || policy == "ask" && is_told(CUT)).then_some(()));
    if !is_told(&answer) {
        home.telegram.push_text(chat, chat, "/retry");
        until(&what, || is_told(&answer).then_some(()));
    }
}
