//! A process that is killed without a word, at rest, in the middle of work, and again and again under load.

use std::time::Duration;

use switchboard_actors::testkit::fake_openai::Reply;

use crate::gateway::{CUT, Home, until};

/// Chats at work when it is killed.
const CHATS: std::ops::RangeInclusive<i64> = 1..=20;
const EVERYBODY: &str = "[access]\nallow = [\"*\"]\n";
/// How often the gateway under load is killed, unless this variable says otherwise.
const KILLS: (&str, u32) = ("SWITCHBOARD_KILLS", 20);

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

#[test]
fn g01_g02_g04_nothing_is_lost_by_kills_at_random_under_load() {
    under_load("resume", |home, chat| {
        let told = home.telegram.texts_in(chat);
        let answer = format!("You said: m{chat}.");
        told.iter().any(|text| text.contains(&answer)).then_some(())
    });
}

#[test]
fn g01_g09_whoever_is_cut_by_kills_at_random_is_told() {
    under_load("ask", |home, chat| {
        let told = home.telegram.texts_in(chat);
        let answer = format!("You said: m{chat}.");
        told.iter().any(|text| text.contains(&answer) || text.contains(CUT)).then_some(())
    });
}

/// Kills a gateway under load at random moments; in the end every message has what it must, and nothing was said twice without a mark.
#[track_caller]
fn under_load(policy: &str, settled: impl Fn(&Home, i64) -> Option<()>) {
    let kills = std::env::var(KILLS.0).ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS.1);
    let more = format!("{EVERYBODY}\n[recovery]\npolicy = \"{policy}\"\nmax_attempts = 1000\ncrash_loop.starts = 0\n");
    let home = Home::with_model(&more);
    // Long enough that kills meet tasks, drafts and deliveries.
    let pace = Duration::from_millis(30);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut last = 0;
    for _ in 0..kills {
        let gateway = home.launch("info");
        if random.bool() {
            gateway.wait_for("ready instance=");
        }
        for _ in 0..random.u32(1..8) {
            last += 1;
            home.model.reply_to(&format!("m{last}."), Reply::Stream(["You ", "said: ", &format!("m{last}.")].map(Into::into).into(), pace));
            home.telegram.push_text(last, last, &format!("m{last}."));
        }
        // Not to wait for anything: the moment of the kill is what is drawn.
        std::thread::sleep(Duration::from_millis(random.u64(0..400)));
        gateway.kill();
    }
    let gateway = home.start();
    for chat in 1..=last {
        until(&format!("the end of message {chat} (seed {seed})"), || settled(&home, chat));
    }
    assert_eq!(home.telegram.unconfirmed(), Vec::<i64>::new());
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked(), "everything was delivered (seed {seed})");
    for chat in 1..=last {
        let told = home.telegram.texts_in(chat);
        let unmarked = |text: &str| told.iter().filter(|told| *told == text).count();
        assert!(told.iter().all(|text| unmarked(text) == 1 || text.starts_with("🔁")), "said twice without a mark (seed {seed}): {told:?}");
    }
}
