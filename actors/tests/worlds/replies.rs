//! Replies on their way out: in order, resumed, marked when they may be repeats, dead when they are refused.

use super::{secs, world};
use switchboard_actors::ledger::{Done, Knowledge, OutboxState, Question};
use switchboard_actors::platform::Abilities;
use switchboard_actors::protocol::Order;
use switchboard_actors::shutdown::{Outcome, ShutdownKind, ShutdownReport};
use switchboard_actors::testkit::stage::Stage;

#[test]
fn g04_an_unknown_send_is_repeated_with_a_mark() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.mumbling = true);
        life.say("7", "alice", "hello").await;
        life.stage("stage").set_mood(|mood| mood.mumbling = false);
        life.pass(secs(5)).await;
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["hello: done", "🔁 (possibly a repeat) hello: done"]);
}

#[test]
fn g04_a_dead_reply_that_may_have_arrived_says_so_when_an_operator_sends_it_again() {
    let (mut world, _) = world();
    world.settings.outbox.max_tries = 1;
    let dead = |life: Knowledge| match life {
        Knowledge::Outbox(rows) => rows.into_iter().find(|row| row.state == OutboxState::Dead).map(|row| row.id),
        other => panic!("{other:?}"),
    };
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.mumbling = true);
        life.say("7", "alice", "hello").await;
    });
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.mumbling = false);
        let id = dead(life.inquire(Question::Outbox).await).expect("it was tried once");
        let done = life.gateway.supervisor.send(Order::RetryOutbox(id)).await.expect("the supervisor answers");
        assert_eq!(done, Ok(Done::Ok));
        life.pass(secs(5)).await;
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["hello: done", "🔁 (possibly a repeat) hello: done"]);
}

#[test]
fn g04_a_platform_that_takes_a_key_gets_the_same_again_without_a_mark() {
    let (mut world, _) = world();
    world.add_stage("stage", Abilities { idempotent: true, ..Stage::plain() });
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.mumbling = true);
        life.say("7", "alice", "hello").await;
        life.stage("stage").set_mood(|mood| mood.mumbling = false);
        life.pass(secs(5)).await;
        assert_eq!(life.status().await.delivered, 1);
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["hello: done"]);
}

#[test]
fn g04_a_send_that_was_under_way_when_the_life_was_cut_is_marked_by_the_next() {
    let (mut world, _) = world();
    let stage = world.stage("stage");
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.hanging = ["7".into()].into());
        life.say("7", "alice", "hello").await;
    });
    stage.set_mood(|mood| mood.hanging.clear());
    world.life(async |life| life.pass(secs(5)).await);
    world.life(async |life| life.pass(secs(5)).await);
    assert_eq!(stage.heard_in("7"), ["🔁 (possibly a repeat) hello: done"]);
}

#[test]
fn parts_stay_in_order_and_a_cut_resumes_at_the_first_that_was_not_sent() {
    let (mut world, worker) = world();
    let max_units = 8 + world.settings.texts.marks();
    let stage = world.add_stage("stage", Abilities { max_units, ..Stage::plain() });
    world.life(async |life| {
        stage.set_mood(|mood| mood.slow = secs(1));
        life.say("7", "alice", "long 4").await;
        life.pass(secs(2)).await;
    });
    let before = stage.heard_in("7").len();
    assert!((1..4).contains(&before), "the life was cut between two parts: {before}");
    stage.set_mood(|mood| mood.slow = secs(0));
    world.life(async |life| {
        life.say("7", "alice", "x").await;
        life.pass(secs(10)).await;
    });
    assert_eq!(worker.runs().len(), 2);
    world.expect(
        "0s  alice in 7  long 4
         1s  → 7         line 1
         2s  → 7         line 2
         2s  → 7         🔁 (possibly a repeat) line 3
         2s  alice in 7  x
         2s  → 7         line 4
         2s  → 7         x: done",
    );
}

#[test]
fn replies_of_two_sessions_in_one_room_do_not_interleave() {
    let (mut world, _) = world();
    let max_units = 8 + world.settings.texts.marks();
    let stage = world.add_stage("stage", Abilities { max_units, ..Stage::plain() });
    stage.make_group("7");
    world.life(async |life| {
        stage.set_mood(|mood| mood.slow = secs(1));
        stage.say("7", "alice", "long 3");
        stage.say("7", "bob", "long 3");
        life.pass(secs(20)).await;
    });
    assert_eq!(stage.heard_in("7"), ["line 1", "line 2", "line 3", "line 1", "line 2", "line 3"]);
}

#[test]
fn a_permanent_refusal_is_a_dead_letter_with_its_reason_and_holds_up_nobody() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.refusing = ["7".into()].into());
        life.say("7", "alice", "hello").await;
        life.say("9", "bob", "hello").await;
        life.pass(secs(60)).await;
        match life.inquire(Question::Outbox).await {
            Knowledge::Outbox(rows) => {
                assert_eq!(rows.len(), 1, "{rows:?}");
                assert_eq!((rows[0].state, rows[0].reason.as_deref()), (OutboxState::Dead, Some("nobody is there")));
            }
            other => panic!("{other:?}"),
        }
        life.stage("stage").set_mood(|mood| mood.refusing.clear());
        life.say("7", "alice", "again").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["again: done"]);
}

#[test]
fn g02_a_reply_outlives_a_platform_that_is_down_for_long() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 2").await;
        life.stage("stage").set_mood(|mood| mood.down = true);
        life.pass(secs(600)).await;
        life.stage("stage").set_mood(|mood| mood.down = false);
        life.pass(secs(400)).await;
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["work 2: done"]);
    assert_eq!(worker.runs().len(), 1);
}

#[test]
fn a_rate_limit_delays_and_loses_nothing() {
    let (mut world, _) = world();
    world.adapter("stage").rate = Some(0.5);
    world.life(async |life| {
        for room in ["a", "b", "c", "d"] {
            life.stage("stage").say(room, "alice", "hello");
        }
        life.pass(secs(10)).await;
    });
    let sent: Vec<_> = world.stage("stage").sent().into_iter().map(|sent| sent.at.0 / 1000).collect();
    let first = sent[0];
    assert_eq!(sent.iter().map(|at| at - first).collect::<Vec<_>>(), [0, 2, 4, 6]);
}

#[test]
fn g02_g04_a_part_as_long_as_may_be_still_has_room_for_the_mark_of_a_repeat() {
    let (mut world, _) = world();
    let stage = world.add_stage("stage", Abilities { max_units: 64, ..Stage::plain() });
    world.life(async |life| {
        stage.set_mood(|mood| mood.mumbling = true);
        life.say("7", "alice", "long 30").await;
        life.pass(secs(1) / 2).await;
        stage.set_mood(|mood| mood.mumbling = false);
        life.pass(secs(60)).await;
    });
    let heard = stage.heard_in("7");
    let mark = "🔁 (possibly a repeat) ";
    let (repeats, firsts): (Vec<_>, Vec<_>) = heard.iter().partition(|text| text.starts_with(mark));
    assert!(!repeats.is_empty(), "{heard:?}");
    let told: Vec<&str> = firsts.iter().flat_map(|part| part.split('\n')).collect();
    assert_eq!(told.len(), 30, "every line arrived: {heard:?}");
}

#[test]
fn g08_g10_a_reply_that_an_earlier_life_left_is_of_the_census() {
    let (mut world, _) = world();
    let owing = |report: &ShutdownReport| {
        assert_eq!(super::outcomes(report), super::pairs(&[("7", Outcome::Owing)]), "{report:?}");
        assert!(!report.verdict.is_clean() && report.took < secs(20), "{report:?}");
    };
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.busy = Some((secs(200), false)));
        life.say("7", "alice", "hello").await;
        owing(&life.shut_down(ShutdownKind::Stop).await);
    });
    world.life(async |life| {
        life.pass(secs(1)).await;
        owing(&life.shut_down(ShutdownKind::Stop).await);
    });
}
