//! A wall clock that jumps by a year, either way, between two lives and in the middle of one: nothing waits for a year, nothing fresh counts as
//! old, and no text tells nonsense. The monotonic clock goes on, as it does when a real one is set.

use std::path::{Path, PathBuf};

use switchboard_actors::testkit::fake_openai::Reply;
use switchboard_actors::testkit::fake_telegram::Fault;

use crate::gateway::{BACK, CUT, DOWN, Home, Life, is_here, until};
use crate::hanging::BRIEF;

const YEARS: [&str; 2] = ["+365d", "-365d"];

/// A clock that can be set.
struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// One that is right. None where the library that sets clocks is not to be had.
    fn new(home: &Home) -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
        let library = folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|path| path.exists());
        is_here(library.is_some(), "faketime").then_some(())?;
        let clock = Self { library: library?, file: home.path().join("clock") };
        clock.set("+0d");
        Some(clock)
    }

    /// Sets it, for lives that run as well, by so much from what is right.
    fn set(&self, by: &str) {
        // In one step: a process that reads half of it would see another time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, by).expect("writable");
        std::fs::rename(new, &self.file).expect("ours");
    }

    /// Starts a life by this clock, and waits until it is ready.
    #[track_caller]
    fn start<'a>(&self, home: &'a Home) -> Life<'a> {
        let variable = |name: &str, path: &Path| format!("{name}={}", path.display());
        let (library, file) = (variable("LD_PRELOAD", &self.library), variable("FAKETIME_TIMESTAMP_FILE", &self.file));
        let gateway = home.launch_under(&["env", &library, &file, "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1"], "debug");
        gateway.wait_for("ready instance=");
        gateway
    }
}

/// A second is the longest wait; old rows are looked for all the time.
const QUICK: &str = "[outbox]\nretry_first = \"500ms\"\nretry_most = \"1s\"\n[ledger]\nprune_every = \"50ms\"\n";

fn home() -> Home {
    let home = Home::with_model(&format!("{BRIEF}{QUICK}"));
    home.model.reply_to("endless", Reply::Never);
    home
}

/// A reply that could not be sent, and waits to be tried again.
fn owe(home: &Home, chat: i64, words: &str) {
    let calls = || home.telegram.calls("sendMessage").len();
    let before = calls();
    home.telegram.fail_chat(chat, Some(Fault::Declined(500, "Internal Server Error".into())));
    home.telegram.push_text(chat, chat, words);
    until("a try in vain", || (calls() > before).then_some(()));
}

#[test]
fn g07_g09_a_clock_that_jumps_between_two_lives_delays_nothing_and_tells_no_nonsense() {
    for year in YEARS {
        for killed in [false, true] {
            let home = home();
            let Some(clock) = Clock::new(&home) else { return };
            let gateway = clock.start(&home);
            owe(&home, 1, "owed");
            home.telegram.push_text(2, 2, "endless");
            home.asked("endless", 1);
            if killed {
                gateway.kill();
            } else {
                assert_eq!(gateway.stop(), Some(0));
                home.told(2, DOWN);
            }
            clock.set(year);
            home.telegram.fail_chat(1, None);
            let gateway = clock.start(&home);
            let case = format!("{year}, killed: {killed}");
            home.telegram.wait_for(&format!("what is owed ({case})"), crate::gateway::BOUND, |telegram| {
                telegram.texts_in(1).iter().any(|text| text.ends_with("You said: owed")).then_some(())
            });
            home.told(2, CUT);
            // A life later by a year may really be one: then "back" is no news. One that began before the last ended is not, and says no time.
            let (back, told) = (year.starts_with('-') && !killed, home.telegram.texts_in(2));
            if back {
                assert!(home.told(2, BACK).contains(&"✅ Back (stop).".to_owned()), "{case}: {told:?}");
            }
            home.telegram.push_text(2, 2, "/retry");
            home.asked("endless", 2);
            home.telegram.push_text(3, 3, "hello");
            home.told(3, "You said: hello");
            assert_eq!(home.count(2, BACK), usize::from(back), "{case}");
            assert_eq!(gateway.stop(), Some(0), "{case}");
        }
    }
}

#[test]
fn g01_g11_a_clock_that_jumps_in_the_middle_of_a_life_delays_nothing() {
    for year in YEARS {
        let home = home();
        let Some(clock) = Clock::new(&home) else { return };
        let gateway = clock.start(&home);
        owe(&home, 1, "owed");
        home.telegram.push_text(2, 2, "endless");
        home.asked("endless", 1);
        clock.set(year);
        home.telegram.fail_chat(1, None);
        home.telegram.wait_for(&format!("what is owed ({year})"), crate::gateway::BOUND, |telegram| {
            telegram.texts_in(1).iter().any(|text| text.ends_with("You said: owed")).then_some(())
        });
        home.telegram.push_text(3, 3, "hello");
        home.told(3, "You said: hello");
        for path in ["/livez", "/readyz"] {
            assert_eq!(home.get(path).expect("it runs").0, 200, "{year}");
        }
        assert_eq!(gateway.stop(), Some(0));
        let notice = home.told(2, DOWN).remove(0);
        assert!(notice.contains("up to 2s") || notice.contains("up to 3s"), "{year}: by the clock that does not jump: {notice}");
        let _gateway = clock.start(&home);
        home.told(2, CUT);
    }
}

#[test]
fn g01_a_clock_that_jumps_ahead_makes_nothing_old_that_is_fresh() {
    const ID: &str = "0195f0c2-0000-7000-8000-00000000000b";
    let home = home();
    let Some(clock) = Clock::new(&home) else { return };
    clock.set("-400d");
    let gateway = clock.start(&home);
    let page = home.program(); // a browser's login would be old, and is meant to be
    assert_eq!(page.say("ancient"), 200);
    page.shown("You said: ancient");
    assert_eq!(gateway.stop(), Some(0));
    clock.set("+0d");
    let gateway = clock.start(&home);
    assert_eq!(page.say_as(ID, "hello"), 200);
    page.shown("You said: hello");
    // What is old goes.
    until("nothing ancient", || (!page.lines(0).0.contains(&"ancient".to_owned())).then_some(()));
    clock.set("+365d");
    let uptime = || home.status().and_then(|status| status["uptime_millis"].as_u64()).expect("it runs");
    let jumped = uptime();
    until("twenty looks for what is old", || (uptime() >= jumped + 1000).then_some(()));
    assert_eq!(page.say_as(ID, "hello"), 200, "a repeat is confirmed");
    assert_eq!(page.say("more"), 200);
    let shown = page.shown("You said: more");
    assert!(
        shown.ends_with(&["hello", "You said: hello", "more", "You said: more"].map(str::to_owned)),
        "and is no second message: {shown:?}"
    );
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn g23_a_pairing_code_opens_for_an_hour_whatever_the_clock_does() {
    for year in YEARS {
        let home = Home::with_model("[access]\nallow = []\n");
        let Some(clock) = Clock::new(&home) else { return };
        let _gateway = clock.start(&home);
        let code = |stranger: i64| {
            home.telegram.push_text(stranger, stranger, "let me in");
            let greeting = home.told(stranger, "👋").remove(0);
            greeting.split_whitespace().skip_while(|word| *word != "approve").nth(1).expect("a code").to_owned()
        };
        let old = code(7);
        clock.set(year);
        assert_eq!(home.run(&["pair", "approve", &old, "--yes"]).code, Some(1), "{year}: nobody knows how old it is");
        assert!(!home.done(&["pair", "list"]).contains(&old), "{year}");
        let new = code(8);
        assert!(home.done(&["pair", "approve", &new, "--yes"]).contains("may speak now"), "{year}");
        home.telegram.push_text(8, 8, "hello");
        home.told(8, "You said: hello");
    }
}
