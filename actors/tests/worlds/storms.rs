//! Very many at once: the outcomes of a shutdown still add up, a flood in one chat is no other chat's business, a crash loop says nothing twice, and
//! of a thousand that come back one that hangs holds up nobody.
//!
//! `SWITCHBOARD_STORM=100000 cargo test -p switchboard-actors --test worlds storms` is the whole storm, in half a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{secs, world};
use switchboard_actors::settings::Policy;
use switchboard_actors::shutdown::{Outcome, ShutdownKind};
use switchboard_actors::testkit::tripwire::Tripwire;
use switchboard_actors::testkit::world::{Life, World};

/// Sessions of a storm, unless `SWITCHBOARD_STORM` says otherwise.
const SESSIONS: usize = 3_000;
/// Sessions that lie on the floor when the gateway goes, for a while and for longer.
const LATE: usize = 50;
const STUCK: usize = 50;

fn sessions() -> usize {
    std::env::var("SWITCHBOARD_STORM").ok().and_then(|sessions| sessions.parse().ok()).unwrap_or(SESSIONS)
}

/// What a session is in the middle of when the gateway goes, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Errand {
    /// What it was asked, and what that comes to.
    At(&'static str, Outcome),
    /// Its reply is on a way that does not end.
    Unheard,
    /// It fell, and stands up in the middle of the drain, long after the roll call.
    Late,
    /// It fell for the third time, and does not stand up before everything is over.
    Stuck,
}

/// Every kind of errand, at random.
fn errands() -> Vec<Errand> {
    let kinds = [
        Errand::At("hello", Outcome::Idle),
        Errand::At("work 20", Outcome::Finished),
        Errand::At("hang", Outcome::Interrupted),
        Errand::At("panic", Outcome::Idle),
        // It falls in the middle of the drain, with its ticket in hand.
        Errand::At("panic 20", Outcome::Dead),
        Errand::At("ask", Outcome::Idle),
    ];
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut errands: Vec<Errand> = (0..sessions()).map(|number| kinds[number % kinds.len()]).collect();
    let rare = [(Errand::Unheard, 100), (Errand::Late, LATE), (Errand::Stuck, STUCK)];
    errands.extend(rare.into_iter().flat_map(|(errand, number)| std::iter::repeat_n(errand, number)));
    random.shuffle(&mut errands);
    errands
}

/// Lets sessions fall as they start a turn, in these rooms.
async fn fell(life: &Life, rooms: &[String]) {
    let wire = Tripwire::on("turn started", u32::try_from(rooms.len()).expect("few"));
    for room in rooms {
        life.stage("stage").say(room, room, "hello");
    }
    life.pass(secs(2)).await;
    assert!(wire.is_spent());
}

/// How many sessions came to what; and how many chats were told that it goes down, how often each.
fn counted<K: Ord>(keys: impl IntoIterator<Item = K>) -> BTreeMap<K, usize> {
    keys.into_iter().fold(BTreeMap::new(), |mut counts, key| {
        *counts.entry(key).or_default() += 1;
        counts
    })
}

#[test]
fn g31_the_outcomes_of_a_storm_add_up_to_its_census() {
    let (mut world, _) = world();
    // A platform without a rate limit, where some rooms take a send and never say what became of it; sends to the others take their time side by side.
    world.settings.outbox.in_flight = 1_000_000;
    world.settings.outbox.send_limit = secs(600);
    world.settings.shutdown.grace = secs(60);
    // Whoever falls for the first time lies for 20 to 40 s, for the second time for twice as long, and so on.
    let supervision = &mut world.settings.supervision;
    (supervision.backoff_first, supervision.backoff_most, supervision.within) = (secs(40), secs(600), secs(3600));
    let (errands, stage) = (errands(), world.stage("stage"));
    let rooms = |wanted: Errand| {
        let numbered = errands.iter().enumerate().filter(move |(_, errand)| **errand == wanted);
        numbered.map(|(number, _)| format!("r{number}")).collect::<Vec<_>>()
    };
    stage.set_mood(|mood| mood.hanging = rooms(Errand::Unheard).iter().map(|room| room.as_str().into()).collect());
    let report = world.life(async |life| {
        let stuck = rooms(Errand::Stuck);
        fell(life, &stuck).await;
        life.pass(secs(40)).await;
        fell(life, &stuck).await;
        life.pass(secs(80)).await;
        fell(life, &stuck).await;
        // What each of the others does, all at once.
        for (number, errand) in errands.iter().enumerate() {
            if let Errand::At(asked, _) = errand {
                stage.say(&format!("r{number}"), &format!("u{number}"), asked);
            }
        }
        for room in rooms(Errand::Unheard) {
            stage.say(&room, &room, "hello");
        }
        life.pass(secs(8)).await;
        fell(life, &rooms(Errand::Late)).await;
        let dead = rooms(Errand::At("panic 20", Outcome::Dead)).len();
        let wire = Tripwire::on("agent panicked", u32::try_from(dead).expect("few"));
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(wire.is_spent());
        report
    });
    let outcome = |errand: &Errand| match errand {
        Errand::At(_, outcome) => *outcome,
        Errand::Unheard => Outcome::Owing,
        // Its task failed, which it says before it goes.
        Errand::Late => Outcome::Finished,
        Errand::Stuck => Outcome::Silent,
    };
    let mut expected = counted(errands.iter().map(|errand| outcome(errand).to_string()));
    let idle = expected.remove(&Outcome::Idle.to_string()).unwrap_or(0);
    let got = counted(report.sessions.iter().map(|end| end.outcome.to_string()));
    assert_eq!((report.census, report.idle, got), (errands.len(), idle, expected));
    assert!(report.took <= secs(65), "{:?}", report.took);
    // Whoever was at work was told, once; and so was whoever gave no answer, since nobody knows what they were at.
    let down = stage.sent().into_iter().filter(|sent| sent.text.contains("Gateway shutting down"));
    let told = counted(down.map(|sent| sent.room.to_string()));
    for (number, errand) in errands.iter().enumerate() {
        let at_work = matches!(errand, Errand::At("hang" | "work 20" | "panic 20", _) | Errand::Late | Errand::Stuck);
        assert_eq!(told.get(&format!("r{number}")).copied().unwrap_or(0), usize::from(at_work), "room {number}, {errand:?}");
    }
}

#[test]
fn g31_sessions_that_die_in_the_drain_cost_no_deadline() {
    const DEAD: usize = 200;
    let (mut world, _) = world();
    let report = world.life(async |life| {
        for number in 0..DEAD {
            life.stage("stage").say(&format!("r{number}"), &format!("u{number}"), "panic 5");
            life.stage("stage").say(&format!("idle{number}"), &format!("u{number}"), "hello");
        }
        life.pass(secs(1)).await;
        let wire = Tripwire::on("agent panicked", u32::try_from(DEAD).expect("few"));
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(wire.is_spent());
        report
    });
    let got = counted(report.sessions.iter().map(|end| end.outcome.to_string()));
    assert_eq!((report.census, report.idle, got), (2 * DEAD, DEAD, [(Outcome::Dead.to_string(), DEAD)].into()));
    assert!(report.sessions.iter().all(|end| !end.reason.is_empty()), "each with its reason");
    assert!(report.took < secs(10), "nobody waited for the dead: {:?}", report.took);
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

#[test]
fn g04_a_loop_of_restarts_that_are_cut_sends_no_storm_of_notices() {
    for policy in [Policy::Ask, Policy::Resume] {
        let (mut world, _) = world();
        world.settings.recovery.policy = policy;
        let stage = world.stage("stage");
        for room in 0..20 {
            stage.say(&room.to_string(), "alice", "hang");
        }
        for life in 0..40 {
            world.life(async |of| {
                of.pass(secs(2)).await;
                of.ask_for(ShutdownKind::Restart, Some(secs(30))).await;
                // What comes now is saved, and said to be, once.
                stage.say("late", "bob", &format!("message {life}"));
                of.pass(secs(2)).await;
            });
            world.pass(secs(1));
        }
        for room in 0..20 {
            let heard = stage.heard_in(&room.to_string());
            // Of each of three attempts at most that it is cut off and that it is back; and once that it is over.
            assert!(heard.len() <= 7, "{policy:?}, room {room}: {heard:?}");
        }
        // One that writes in each life is told in each that it is saved, and in the next that it is back, and answered.
        let late = counted(stage.heard_in("late"));
        assert!(late.iter().all(|(text, times)| *times <= 40 && (*times == 1 || text.starts_with(['📥', '✅']))), "{policy:?}: {late:?}");
    }
}

/// Chats whose task is cut; in the first of them everything hangs that can.
const CUT: usize = 1_000;

fn room(number: usize) -> String {
    format!("r{number}")
}

/// A life in which so many work, each in a chat of its own, and the first one hangs; cut off, or brought down.
fn cut_a_crowd(world: &mut World, work: &str, end: Option<ShutdownKind>) {
    world.life(async |life| {
        for number in 0..CUT {
            life.stage("stage").say(&room(number), &format!("u{number}"), if number == 0 { "hang" } else { work });
        }
        life.pass(Duration::from_millis(900)).await;
        assert_eq!(life.status().await.running_count, CUT);
        if let Some(kind) = end {
            life.ask_for(kind, Some(Duration::ZERO)).await;
            assert_eq!(life.down().await.sessions.len(), CUT);
        }
    });
}

/// Somebody who had nothing to do with it is answered at once, and so are commands in the chat that hangs.
async fn expect_no_wait(life: &Life, moment: &str) {
    assert_eq!(life.status().await.not_ready, Vec::<String>::new(), "{moment}");
    life.say(moment, "alice", "hello").await;
    assert_eq!(life.stage("stage").heard_in(moment), ["hello: done"]);
    let heard = life.stage("stage").heard_in(&room(0)).len();
    life.say(&room(0), "u0", "/status").await;
    assert!(life.stage("stage").heard_in(&room(0)).len() > heard, "{moment}: {:?}", life.stage("stage").heard_in(&room(0)));
}

/// How many of the others were answered, and nobody twice.
fn answered(life: &Life, work: &str) -> usize {
    let answer = format!("{work}: done");
    let answers = counted(life.stage("stage").sent().into_iter().filter(|sent| sent.text == answer).map(|sent| sent.room.to_string()));
    assert!(answers.values().all(|times| *times == 1), "{answers:?}");
    answers.len()
}

#[test]
fn g17_a_thousand_cut_chats_are_told_at_once_and_one_that_hangs_holds_up_nobody() {
    let (mut world, _) = world();
    cut_a_crowd(&mut world, "work 5", None);
    let stage = world.stage("stage");
    stage.set_mood(|mood| mood.hanging = [room(0).as_str().into()].into());
    world.life(async |life| {
        assert!(life.clock.now().0 < secs(1), "ready");
        life.settle().await;
        for number in 1..CUT {
            assert!(stage.heard_in(&room(number))[0].starts_with("✂️"), "room {number}");
            stage.say(&room(number), &format!("u{number}"), "/retry");
        }
        stage.say(&room(0), "u0", "/retry");
        life.pass(secs(6)).await;
        assert_eq!(answered(life, "work 5"), CUT - 1);
        assert_eq!(life.status().await.running_count, 1, "the one that hangs, to which nothing can be said either");
        life.say(&room(0), "u0", "/stop").await;
        assert_eq!(life.status().await.running_count, 0);
    });
}

#[test]
fn g17_of_a_thousand_tasks_that_run_again_one_that_hangs_takes_one_place_of_several() {
    let (mut world, _) = world();
    world.settings.recovery.policy = Policy::Resume;
    cut_a_crowd(&mut world, "work 1", Some(ShutdownKind::Restart));
    world.life(async |life| {
        assert!(life.clock.now().0 < secs(1), "ready");
        expect_no_wait(life, "at first").await;
        // As long as the tasks of all the others take in the other seven places.
        life.pass(secs(145)).await;
        expect_no_wait(life, "afterwards").await;
        assert_eq!(answered(life, "work 1"), CUT - 1);
        assert_eq!(life.status().await.running_count, 1);
        life.say(&room(0), "u0", "/stop").await;
        assert_eq!(life.status().await.running_count, 0);
    });
}

#[test]
fn g17_of_a_thousand_tasks_that_run_again_alone_one_that_hangs_holds_up_the_others_for_a_moment() {
    let (mut world, _) = world();
    world.settings.recovery.policy = Policy::Resume;
    world.settings.session.turn_idle = world.settings.session.turn_limit;
    let alone = world.settings.recovery.alone;
    cut_a_crowd(&mut world, "work 1", None);
    world.life(async |life| {
        assert!(life.clock.now().0 < secs(1), "ready");
        expect_no_wait(life, "at first").await;
        life.pass(alone - secs(1)).await;
        assert_eq!((life.status().await.running_count, answered(life, "work 1")), (1, 0), "any of them may be what crashed it");
        // A little over a second for each.
        life.pass(secs(1100)).await;
        expect_no_wait(life, "afterwards").await;
        assert_eq!(answered(life, "work 1"), CUT - 1);
        assert_eq!(life.status().await.running_count, 1, "the one that hangs, which crashed nothing");
        life.say(&room(0), "u0", "/stop").await;
        assert_eq!(life.status().await.running_count, 0);
    });
}
