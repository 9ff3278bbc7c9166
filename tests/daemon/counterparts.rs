//! Platforms and models at their worst, between which the real binary stands: whatever one of them does, everybody else is served, memory stays
//! bounded, and what was accepted is answered or told about.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use switchboard_actors::testkit::fake_openai::{Reply, RequestFate};
use switchboard_actors::testkit::fake_telegram::Fault;

use crate::gateway::{BOUND, CUT, DOWN, Home, Page, until};
use crate::hanging::{BRIEF, CROWD, GRACE, MARGIN};

const EVERYBODY: &str = "[access]\nallow = [\"*\"]\n";
/// Waits that a test can afford.
const QUICK: &str = r#"
[connection]
retry_first = "100ms"
retry_most = "1s"
connect_limit = "1s"
[outbox]
send_limit = "1s"
retry_first = "100ms"
retry_most = "1s"
[kinds.telegram]
poll = "1s"
"#;

/// Every way in which a method goes wrong for a while. What is refused for good is no such way: a message that is, is a dead letter.
fn faults(method: &str) -> Vec<Fault> {
    let conflict = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    let own = match method {
        "getUpdates" => Fault::Declined(409, conflict.into()),
        // Cut by the same limit there, which is longer.
        _ => Fault::Endless(1, Duration::from_millis(100)),
    };
    let always = [
        Fault::Hang,
        Fault::HangUp,
        Fault::LoseAnswer,
        Fault::TooMany(Some(1)),
        Fault::TooMany(None),
        Fault::Declined(500, "Internal Server Error".into()),
        Fault::Page(502),
        Fault::Garbage,
        Fault::Endless(1 << 20, Duration::ZERO),
    ];
    always.into_iter().chain([own]).collect()
}

/// One method goes wrong for a while in this way, while somebody speaks to us from there and from the page.
fn goes_wrong(home: &Home, page: &Page<'_>, method: &str, fault: &Fault, chat: i64) {
    let (case, words) = (format!("{method}: {fault:?}"), format!("message {chat}."));
    let calls = || home.telegram.calls(method).len();
    let before = calls();
    home.telegram.fail_always(method, Some(fault.clone()));
    home.telegram.push_text(chat, chat, &words);
    until(&format!("two tries under {case}"), || (calls() >= before + 2).then_some(()));
    assert_eq!(page.say(&case), 200, "{case}");
    page.shown(&format!("You said: {case}"));
    assert_eq!(home.get("/readyz").expect("it runs").0, 200, "{case}: the page is served");
    assert!(calls() < before + 100, "{case}: it is not hammered");
    home.telegram.fail_always(method, None);
    answered(home, chat, &words);
    let unmarked = home.telegram.texts_in(chat).iter().filter(|text| text.starts_with("You said: ")).count();
    assert!(unmarked <= 1, "{case}: said twice without a mark");
}

/// Waits until these words are answered, whatever the mark before the answer.
#[track_caller]
fn answered(home: &Home, chat: i64, words: &str) {
    let answer = format!("You said: {words}");
    until(&format!("{answer:?}"), || home.telegram.texts_in(chat).iter().any(|text| text.ends_with(&answer)).then_some(()));
}

#[test]
fn g19_g20_a_platform_that_goes_wrong_in_any_way_comes_back_and_nobody_else_notices() {
    /// What memory may grow by, in KiB: twice the longest batch that is read.
    const MOST: u64 = 64 << 10;
    let home = Home::with_model(&format!("{BRIEF}{QUICK}"));
    let gateway = home.start();
    let page = home.browser();
    let before = gateway.peak();
    let cases = ["getUpdates", "sendMessage"].into_iter().flat_map(|method| faults(method).into_iter().map(move |fault| (method, fault)));
    for (chat, (method, fault)) in (1..).zip(cases) {
        goes_wrong(&home, &page, method, &fault, chat);
    }
    // Many answers without an end at the same time.
    let (first, crowd) = (home.telegram.calls("sendMessage").len(), 1001..=1020);
    home.telegram.fail_always("sendMessage", Some(Fault::Endless(1 << 20, Duration::ZERO)));
    crowd.clone().for_each(|chat| _ = home.telegram.push_text(chat, chat, "hello"));
    until("a try for each", || (home.telegram.calls("sendMessage").len() >= first + 20).then_some(()));
    home.telegram.fail_always("sendMessage", None);
    crowd.for_each(|chat| answered(&home, chat, "hello"));
    for _ in 0..3 {
        home.telegram.go_away();
        until("its loss", || home.status().filter(|status| status["adapters"][0]["state"] != "connected"));
        home.telegram.come_back();
        until("its return", || home.status().filter(|status| status["adapters"][0]["state"] == "connected"));
    }
    home.telegram.push_text(999, 999, "still there?");
    answered(&home, 999, "still there?");
    let grown = gateway.peak() - before;
    assert!(grown < MOST, "{grown} KiB more");
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked(), "everything was delivered");
}

#[test]
fn g06_g11_a_platform_that_asks_for_an_hour_holds_no_shutdown_and_gets_its_reply_later() {
    let home = Home::with_model(&format!("{BRIEF}{QUICK}"));
    let gateway = home.start();
    home.telegram.fail_always("sendMessage", Some(Fault::TooMany(Some(3600))));
    home.telegram.push_text(1, 1, "hello");
    until("a try", || (!home.telegram.calls("sendMessage").is_empty()).then_some(()));
    let begun = Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert!(!home.is_marked(), "it owes a reply");
    assert_eq!(home.telegram.calls("sendMessage").len(), 1, "whoever asks to be left alone is");
    home.telegram.fail_always("sendMessage", None);
    let _gateway = home.start();
    home.told(1, "You said: hello");
}

#[test]
fn g11_g19_g20_a_platform_that_asks_a_listener_to_wait_an_hour_is_left_alone_and_holds_up_nobody() {
    let home = Home::with_model(&format!("{BRIEF}{QUICK}"));
    let gateway = home.start();
    let page = home.browser();
    home.telegram.push_text(1, 1, "hello");
    home.told(1, "You said: hello");
    home.telegram.fail_always("getUpdates", Some(Fault::TooMany(Some(3600))));
    // The poll that waits is answered as it is, and the next one so.
    home.telegram.push_text(1, 1, "before it is known");
    until("a listener that waits", || home.status().filter(|status| status["adapters"][0]["state"] != "connected"));
    let polls = home.telegram.calls("getUpdates").len();
    home.telegram.push_text(2, 2, "meanwhile");
    for words in ["one", "two", "three"] {
        let asked = Instant::now();
        assert_eq!(page.say(words), 200);
        page.shown(&format!("You said: {words}"));
        assert!(asked.elapsed() < CROWD, "{words}: {:?}", asked.elapsed());
    }
    assert_eq!(home.get("/readyz").expect("it runs").0, 200, "the page is served");
    let begun = Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert_eq!(home.telegram.calls("getUpdates").len(), polls, "whoever asks to be left alone is");
    home.telegram.fail_always("getUpdates", None);
    let _gateway = home.start();
    home.told(2, "You said: meanwhile");
    answered(&home, 1, "before it is known");
}

#[test]
fn g06_g19_a_chat_that_is_to_wait_an_hour_holds_up_no_other_chat_and_no_shutdown() {
    let home = Home::with_model(&format!("{BRIEF}{QUICK}"));
    let gateway = home.start();
    home.telegram.fail_chat(1, Some(Fault::TooMany(Some(3600))));
    let tries = || home.telegram.calls("sendMessage").iter().filter(|call| call.parameters["chat_id"] == 1).count();
    home.telegram.push_text(1, 1, "hello");
    until("a try", || (tries() == 1).then_some(()));
    for chat in 2..=4 {
        let asked = Instant::now();
        home.telegram.push_text(chat, chat, "hello");
        home.told(chat, "You said: hello");
        assert!(asked.elapsed() < CROWD, "{chat}: {:?}", asked.elapsed());
    }
    let begun = Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert_eq!(tries(), 1, "whoever asks to be left alone is");
    assert!(!home.is_marked(), "it owes a reply");
    home.telegram.fail_chat(1, None);
    let _gateway = home.start();
    home.told(1, "You said: hello");
}

/// A model that needs ten seconds for every word.
fn dripping(more: &str) -> Home {
    let home = Home::with_model(more);
    home.model.reply_to("drip", Reply::Drip(Duration::from_millis(50)));
    home
}

#[test]
fn g19_a_model_that_drips_in_the_middle_of_an_event_is_cut_by_the_clock_and_said_so() {
    const LIMIT: Duration = Duration::from_secs(3);
    let home = dripping("[access]\nallow = [\"*\"]\n[session]\nturn_limit = \"3s\"\nturn_idle = \"3s\"\n");
    let gateway = home.start();
    let before = gateway.peak();
    let begun = Instant::now();
    for chat in 1..=10 {
        home.telegram.push_text(chat, chat, "drip");
    }
    home.asked("drip", 10);
    home.telegram.push_text(99, 99, "hello");
    home.told(99, "You said: hello");
    for chat in 1..=10 {
        home.told(chat, "⏱️");
    }
    assert!(begun.elapsed() >= LIMIT, "nobody was cut before: {:?}", begun.elapsed());
    assert!(begun.elapsed() < LIMIT + 2 * CROWD, "{:?}", begun.elapsed());
    until("a model that is let go", || home.model.requests().iter().all(|request| request.fate != RequestFate::Open).then_some(()));
    gateway.expect_small(before);
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked());
}

#[test]
fn g11_a_model_that_drips_in_the_middle_of_an_event_does_not_hold_a_shutdown() {
    let home = dripping(BRIEF);
    let gateway = home.start();
    home.telegram.push_text(1, 1, "drip");
    home.asked("drip", 1);
    let begun = Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert_eq!(home.count(1, DOWN), 1);
    let _gateway = home.start();
    home.told(1, CUT);
}

/// What is said in one chat, faster than anybody reads.
const FLOOD: i64 = 30_000;

#[test]
fn g19_g21_a_flood_in_one_chat_delays_no_other_and_fills_no_memory() {
    const WAVE: i64 = 1_000;
    let home = Home::with_model(EVERYBODY);
    let gateway = home.launch("info");
    gateway.wait_for("ready instance=");
    let page = home.browser();
    home.telegram.push_text(1, 1, "hello");
    home.told(1, "You said: hello");
    let before = gateway.peak();
    for wave in 1..=FLOOD / WAVE {
        let asked = Instant::now();
        for number in 0..WAVE {
            home.telegram.push_text(1, 1, &format!("flood {wave} {number}"));
        }
        // A page has a way of its own; before a chat of the same bot Telegram may put what is left of the wave.
        assert_eq!(page.say(&format!("page {wave}.")), 200);
        page.shown(&format!("You said: page {wave}."));
        assert!(asked.elapsed() < CROWD, "page {wave}: {:?}", asked.elapsed());
        let (chat, asked) = (100 + wave, Instant::now());
        home.telegram.push_text(chat, chat, "hello");
        home.told(chat, "You said: hello");
        assert!(asked.elapsed() < CROWD, "chat {chat}: {:?}", asked.elapsed());
    }
    until("nothing to confirm", || home.telegram.unconfirmed().is_empty().then_some(()));
    gateway.expect_small(before);
    let told = home.telegram.texts_in(1);
    assert!(told.len() < 1_000, "{} answers to a flood", told.len());
    assert!(told.iter().any(|text| text.starts_with("🚦")), "it is said: {told:?}");
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked());
}

#[test]
fn g41_a_stranger_who_writes_without_end_is_one_line_of_the_log() {
    let home = Home::with_demo("[access]\nallow = [\"family:1\"]\n");
    let gateway = home.launch("info");
    gateway.wait_for("ready instance=");
    for number in 0..500 {
        home.telegram.push_text(7, 7, &format!("let me in {number}"));
    }
    home.telegram.push_text(1, 1, "hello");
    home.told(1, "You said: hello");
    assert_eq!(gateway.logged("stranger turned away"), 1);
    assert_eq!(home.count(7, "👋"), 1);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn g19_a_model_that_drips_is_cut_by_the_clock_and_said_so() {
    let home = Home::with_model("[access]\nallow = [\"*\"]\n[session]\nturn_limit = \"3s\"\nturn_idle = \"2s\"\n");
    let drip = Reply::Stream(vec!["drop ".into(); 1000], Duration::from_millis(300));
    home.model.reply_to("drip", drip);
    // Progress that is none: not a word, and never an end.
    home.model.reply_to("nothing", Reply::Stream(vec![String::new(); 1000], Duration::from_millis(300)));
    let gateway = home.start();
    let before = gateway.peak();
    home.telegram.push_text(1, 1, "drip");
    home.telegram.push_text(2, 2, "nothing");
    home.telegram.push_text(3, 3, "hello");
    home.told(3, "You said: hello");
    for chat in [1, 2] {
        home.telegram.wait_for("the word on its end", BOUND, |telegram| {
            telegram.texts_in(chat).iter().any(|text| text.starts_with("⏱️")).then_some(())
        });
        home.telegram.push_text(chat, chat, "/new");
        home.telegram.push_text(chat, chat, "and now?");
        home.telegram.wait_for("the next answer", BOUND, |telegram| {
            telegram.texts_in(chat).iter().any(|text| text == "You said: and now?").then_some(())
        });
    }
    gateway.expect_small(before);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn g19_g21_g41_models_that_send_without_end_fill_no_memory() {
    /// What it may grow by: far less than what is sent, and more than a few answers of the longest kind at once.
    const MOST: u64 = 64 << 10;
    const PIECE: usize = 64 << 10;
    let home = Home::with_model("[access]\nallow = [\"*\"]\n");
    let words = "x".repeat(PIECE);
    home.model.reply_to("endless", Reply::Stream(vec![words.clone(); 1600], Duration::ZERO));
    home.model.reply_to("one piece", Reply::Stream(vec![words.repeat(1600)], Duration::ZERO));
    let whole = format!(r#"{{"choices":[{{"message":{{"role":"assistant","content":"{}"}}}}]}}"#, words.repeat(1600));
    home.model.reply_to("whole", Reply::Body("application/json", whole));
    home.model.reply_to("page", Reply::Body("text/html", words.repeat(1600)));
    home.model.reply_to("refusal", Reply::Status(400, None, words.repeat(1600)));
    home.model.reply_to("wordless", Reply::Stream(vec![String::new(); 100_000], Duration::ZERO));
    let gateway = home.start();
    home.telegram.push_text(9, 9, "hello");
    home.told(9, "You said: hello");
    let before = gateway.peak();
    for (chat, asked) in (1..).zip(["endless", "one piece", "whole", "page", "refusal", "wordless"]) {
        home.telegram.push_text(chat, chat, asked);
        home.told(chat, "❌");
        let grown = gateway.peak() - before;
        assert!(grown < MOST, "{asked}: {grown} KiB more");
    }
    home.telegram.push_text(9, 9, "still there?");
    home.told(9, "You said: still there?");
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    assert!(home.is_marked());
}
