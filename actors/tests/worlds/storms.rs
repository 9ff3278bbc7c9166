//! Very many at once: the outcomes of a shutdown still add up, a flood in one chat is no other chat's business, and a crash loop says nothing twice.
//!
//! `SWITCHBOARD_STORM=100000 cargo test -p switchboard-actors --test worlds storms` is the whole storm, in 20 seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{secs, world};
use switchboard_actors::settings::Policy;
use switchboard_actors::shutdown::{Outcome, ShutdownKind};
use switchboard_actors::testkit::tripwire::Tripwire;

/// Sessions of a storm, unless `SWITCHBOARD_STORM` says otherwise.
const SESSIONS: usize = 3_000;
/// Sessions that fall as their turn starts.
const FALLEN: usize = 50;

fn sessions() -> usize {
    std::env::var("SWITCHBOARD_STORM").ok().and_then(|sessions| sessions.parse().ok()).unwrap_or(SESSIONS)
}

/// What the session of this number is in the middle of when the gateway goes.
fn errand(number: usize) -> (&'static str, Outcome) {
    match number % 6 {
        0 => ("hello", Outcome::Idle),
        1 => ("work 20", Outcome::Finished),
        2 => ("hang", Outcome::Interrupted),
        3 => ("panic", Outcome::Idle),
        4 if number < 600 => ("hello", Outcome::Owing),
        _ => ("ask", Outcome::Idle),
    }
}

#[test]
fn g31_the_outcomes_of_a_storm_add_up_to_its_census() {
    let (mut world, _) = world();
    // A platform without a rate limit, where some rooms take a send and never say what became of it; sends to the others take their time side by side.
    world.settings.outbox.in_flight = 1_000_000;
    world.settings.outbox.send_limit = secs(600);
    world.settings.shutdown.grace = secs(60);
    let stage = world.stage("stage");
    let room = |number: usize| format!("r{number}");
    let hanging = (0..sessions()).filter(|number| errand(*number).1 == Outcome::Owing);
    stage.set_mood(|mood| mood.hanging = hanging.map(|number| room(number).as_str().into()).collect());
    let report = world.life(async |life| {
        // Falls are spread over whatever starts; a session that fell tells its chat and is idle.
        let wire = Tripwire::on("turn started", u32::try_from(FALLEN).expect("few"));
        for number in 0..FALLEN {
            stage.say(&format!("fallen{number}"), &format!("f{number}"), "hello");
        }
        life.pass(secs(2)).await;
        assert!(wire.is_spent());
        drop(wire);
        for number in 0..sessions() {
            stage.say(&room(number), &format!("u{number}"), errand(number).0);
        }
        life.pass(secs(10)).await;
        life.shut_down(ShutdownKind::Stop).await
    });
    let mut expected = BTreeMap::new();
    for number in 0..sessions() {
        *expected.entry(errand(number).1.to_string()).or_insert(0) += 1;
    }
    let idle = expected.remove(&Outcome::Idle.to_string()).unwrap_or(0) + FALLEN;
    let mut got = BTreeMap::new();
    for end in &report.sessions {
        *got.entry(end.outcome.to_string()).or_insert(0) += 1;
    }
    assert_eq!((report.census, report.idle, got), (sessions() + FALLEN, idle, expected));
    assert!(report.took <= secs(65), "{:?}", report.took);
    // Whoever was cut was told, and only they and those who were at work.
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for sent in stage.sent().into_iter().filter(|sent| sent.text.contains("Gateway shutting down")) {
        *told.entry(sent.room.to_string()).or_default() += 1;
    }
    for number in 0..sessions() {
        let at_work = matches!(errand(number).0, "hang" | "work 20");
        assert_eq!(told.get(&room(number)).copied().unwrap_or(0), usize::from(at_work), "room {number}");
    }
}

#[test]
fn g19_a_flood_in_one_chat_leaves_the_others_answered() {
    let (mut world, worker) = world();
    let stage = world.stage("stage");
    let mut waits = Vec::new();
    world.life(async |life| {
        // 10,000 messages a second, for three seconds, and somebody else once every 300 ms.
        for tenth in 0..30 {
            for _ in 0..1_000 {
                stage.say("flood", "mallory", "work 1");
            }
            if tenth % 3 == 0 {
                let room = format!("quiet{tenth}");
                stage.say(&room, "alice", "hello");
                let since = life.clock.now();
                while stage.heard_in(&room).is_empty() && life.clock.now().since(since) < secs(60) {
                    life.pass(Duration::from_millis(10)).await;
                }
                waits.push(life.clock.now().since(since));
            } else {
                life.pass(Duration::from_millis(100)).await;
            }
        }
        life.pass(secs(300)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    assert!(waits.len() == 10 && waits.iter().all(|wait| *wait < secs(5)), "{waits:?}");
    let flood = worker.runs().iter().filter(|(asked, _)| asked.contains("work")).count();
    assert!(flood < 100, "a sender's rate bounds what is taken up: {flood}");
    let told = stage.heard_in("flood").iter().filter(|text| text.starts_with("🚦")).count();
    assert!((1..=10).contains(&told), "told once a minute, not once a message: {told}");
    assert_eq!(stage.unaccepted(), 0);
}

#[test]
fn g04_a_crash_loop_sends_no_storm_of_notices() {
    for policy in [Policy::Ask, Policy::Resume, Policy::Hold] {
        let (mut world, worker) = world();
        world.settings.recovery.policy = policy;
        for room in 0..20 {
            world.stage("stage").say(&room.to_string(), "alice", "hang");
        }
        for _ in 0..40 {
            world.life(async |life| life.pass(secs(2)).await);
            world.pass(secs(1));
        }
        for room in 0..20 {
            let heard = world.stage("stage").heard_in(&room.to_string());
            assert!(heard.len() <= 2, "{policy:?}, room {room}: {heard:?}");
        }
        // Three unclean starts make a loop: nothing runs again by itself from then on.
        assert!(worker.runs().len() <= 20 * 3, "{policy:?}: {}", worker.runs().len());
    }
}
