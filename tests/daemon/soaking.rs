//! Very many chats, one after the other: memory follows those that are active, not those that ever were (G21).
//!
//! `SWITCHBOARD_CHATS=1000000 cargo test --test daemon soaking -- --nocapture` is the whole soak, in half an hour.

use crate::gateway::{Home, Life, until};

/// Chats that come and go, unless `SWITCHBOARD_CHATS` says otherwise.
const CHATS: i64 = 20_000;
/// Chats at the same time.
const WAVE: i64 = 500;
/// What the second half may add to what the first half took at most, in bytes a chat: nothing that is kept for a chat is as small.
const LEAK: i64 = 8;
/// What an allocator may add between two looks, whatever the number of chats.
const NOISE: i64 = 2 << 20;

/// Resident memory, in bytes.
fn resident(gateway: &Life<'_>) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the kernel says so");
    line.trim().trim_end_matches(" kB").parse::<i64>().expect("a number") << 10
}

#[test]
fn g21_memory_follows_the_chats_that_are_active() {
    let chats = std::env::var("SWITCHBOARD_CHATS").ok().and_then(|chats| chats.parse().ok()).unwrap_or(CHATS);
    let home = Home::with_demo("[access]\nallow = [\"*\"]\n[session]\nidle_after = \"200ms\"\n");
    let gateway = home.launch("info");
    gateway.wait_for("ready instance=");
    let mut most = [0; 2];
    let waves = chats / WAVE;
    for wave in 0..waves {
        for chat in 1 + wave * WAVE..=(wave + 1) * WAVE {
            home.telegram.push_text(chat, chat, "hello");
        }
        let answers = usize::try_from((wave + 1) * WAVE).expect("positive");
        until("answers to all of a wave", || (home.telegram.count_sent() >= answers).then_some(()));
        until("everybody to leave", || {
            let status = home.status()?;
            (status["sessions"] == 0 && status["replies_owed"] == 0 && status["messages_waiting"] == 0).then_some(())
        });
        let half = usize::from(wave >= waves / 2);
        most[half] = most[half].max(resident(&gateway));
    }
    let [first, second] = most;
    eprintln!("{chats} chats: {} KiB at most in the first half, {} KiB in the second", first >> 10, second >> 10);
    let bound = first + LEAK * chats / 2 + NOISE;
    assert!(second <= bound, "the second half of {chats} chats took {second} bytes, the first {first}");
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked(), "every one was answered");
}
