//! Another configuration while everything runs: what differs is touched, turns run on, and nobody else notices.

use std::sync::Arc;

use super::{outcomes, pairs, secs, told, words, world};
use switchboard_actors::agent::Agent;
use switchboard_actors::ids::AgentName;
use switchboard_actors::ledger::{Knowledge, OutboxState, Question};
use switchboard_actors::platform::Platform;
use switchboard_actors::protocol::Reconfigure;
use switchboard_actors::settings::Busy;
use switchboard_actors::shutdown::{Outcome, ShutdownKind, ShutdownReport};
use switchboard_actors::testkit::stage::Stage;
use switchboard_actors::testkit::worker::Worker;
use switchboard_actors::testkit::world::{Life, World};

/// Another order, with this platform for an adapter.
fn with(mut order: Reconfigure, name: &str, stage: &Stage) -> Reconfigure {
    for (set, platform) in &mut order.adapters {
        if set.name.as_str() == name {
            *platform = Some(Arc::new(stage.clone()) as Arc<dyn Platform>);
        }
    }
    order
}

/// Another order, without this adapter.
fn without(mut order: Reconfigure, name: &str) -> Reconfigure {
    order.adapters.retain(|(set, _)| set.name.as_str() != name);
    order
}

/// What is not delivered: its room and where it stands.
async fn owed(life: &Life) -> Vec<(String, OutboxState)> {
    match life.inquire(Question::Outbox).await {
        Knowledge::Outbox(rows) => rows.into_iter().map(|row| (row.chat.room.to_string(), row.state)).collect(),
        other => panic!("{other:?}"),
    }
}

/// Who lives in a world with so many adapters and nobody else.
fn nobody_but(adapters: usize) -> usize {
    3 + adapters // supervisor, ledger, marker
}

#[test]
fn g03_an_adapter_with_another_bot_connects_anew_and_nobody_else_notices() {
    let (mut world, worker) = world();
    world.add_stage("quiet", Stage::plain());
    let other = world.add_stage("other", Stage::plain());
    world.leave_out("other");
    let order = with(without(world.configured(), "other"), "stage", &other);
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.stage("quiet").say("8", "bob", "work 10");
        life.settle().await;
        life.reconfigure(order).await;
        assert_eq!((other.connects(), life.stage("stage").connects(), life.stage("quiet").connects()), (1, 1, 1));
        life.say("7", "alice", "said to the old bot").await;
        other.say("7", "alice", "work 1");
        life.pass(secs(20)).await;
        assert_eq!(life.stage("stage").unaccepted(), 1, "nobody listens there any more");
        assert!(life.shut_down(ShutdownKind::Stop).await.verdict.is_clean());
    });
    assert_eq!(worker.runs().len(), 3, "nothing was run twice: {:?}", worker.runs());
    world.expect(
        "0s   alice in 7  work 10
         0s   bob in 8    work 10
         0s   alice in 7  said to the old bot
         0s   alice in 7  work 1
         10s  → 7         work 10: done
         10s  → 8         work 10: done
         11s  → 7         work 1: done
         20s  drain
         20s  mark
         20s  down        clean",
    );
    assert_eq!(other.heard_in("7"), ["work 10: done", "work 1: done"]);
}

#[test]
fn g04_what_is_being_sent_while_an_adapter_connects_anew_is_said_once() {
    let (mut world, _) = world();
    let stage = world.stage("stage");
    stage.set_mood(|mood| mood.slow = secs(3));
    let order = with(world.configured(), "stage", &stage);
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        life.reconfigure(order).await;
        assert_eq!(stage.connects(), 2);
        life.say("7", "alice", "again").await;
        life.pass(secs(10)).await;
        assert_eq!(owed(life).await, []);
    });
    assert_eq!(stage.heard_in("7"), ["hello: done", "again: done"]);
}

#[test]
fn g02_a_turn_of_an_adapter_that_is_taken_out_ends_and_its_reply_is_owed() {
    let (mut world, worker) = world();
    let rest = without(world.configured(), "stage");
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.say("7", "alice", "later").await;
        life.say("8", "bob", "hello").await;
        life.reconfigure(rest.clone()).await;
        // The idle one is gone at once; whose turn runs is still here.
        assert_eq!(life.gateway.nursery.lives(), nobody_but(1) + 1);
        life.say("9", "carol", "to nobody").await;
        life.pass(secs(20)).await;
        assert_eq!(life.stage("stage").unaccepted(), 1);
        assert_eq!(life.gateway.nursery.lives(), nobody_but(0));
        // Not on its way: nobody has to wonder whether it arrived.
        assert_eq!(owed(life).await, pairs(&[("7", OutboxState::Failed)]));
        assert!(life.shut_down(ShutdownKind::Stop).await.verdict.is_clean());
    });
    assert_eq!(worker.runs().len(), 2, "what waits is not started: {:?}", worker.runs());
    assert_eq!(world.stage("stage").heard_in("7"), Vec::<String>::new());
    world.life(async |life| life.pass(secs(5)).await);
    assert_eq!(world.stage("stage").heard_in("7"), ["work 10: done", "later: done"]);
    assert_eq!(world.stage("stage").heard_in("9"), ["to nobody: done"]);
}

#[test]
fn g01_what_waited_for_an_adapter_is_taken_up_when_it_is_back() {
    let (mut world, worker) = world();
    let stage = world.stage("stage");
    let rest = without(world.configured(), "stage");
    let back = with(world.configured(), "stage", &stage);
    world.life(async |life| {
        life.say("7", "alice", "work 3").await;
        life.say("7", "alice", "later").await;
        life.reconfigure(rest).await;
        life.pass(secs(10)).await;
        assert_eq!(life.gateway.nursery.lives(), nobody_but(0));
        life.reconfigure(back).await;
        assert_eq!(stage.heard_in("7"), ["work 3: done", "later: done"]);
        assert!(life.shut_down(ShutdownKind::Stop).await.verdict.is_clean());
    });
    assert_eq!(worker.runs().len(), 2);
}

#[test]
fn an_adapter_that_comes_back_before_its_last_turn_ended_goes_on_where_it_was() {
    let (mut world, worker) = world();
    let stage = world.stage("stage");
    let rest = without(world.configured(), "stage");
    let back = with(world.configured(), "stage", &stage);
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.say("7", "alice", "later").await;
        life.reconfigure(rest).await;
        life.pass(secs(3)).await;
        life.reconfigure(back).await;
        life.pass(secs(10)).await;
        assert_eq!(stage.heard_in("7"), ["work 10: done", "later: done"]);
        assert!(life.shut_down(ShutdownKind::Stop).await.verdict.is_clean());
    });
    assert_eq!((worker.runs().len(), stage.connects()), (2, 2));
}

/// The adapter is taken out while a turn of `work` seconds runs, then the gateway stops: what became of the session, and of its chat's notice.
fn taken_out_then_stopped(work: u32) -> ShutdownReport {
    let (mut world, _) = world();
    let rest = without(world.configured(), "stage");
    world.life(async |life| {
        life.say("7", "alice", &format!("work {work}")).await;
        life.reconfigure(rest).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(!report.verdict.is_clean());
        report
    })
}

#[test]
fn g31_a_turn_of_an_adapter_that_was_taken_out_is_in_the_census() {
    for (work, outcome) in [(5, Outcome::Owing), (500, Outcome::Interrupted)] {
        let report = taken_out_then_stopped(work);
        assert_eq!((outcomes(&report), told(&report)), (pairs(&[("7", outcome)]), words(&[("7", "failed: its adapter is gone")])));
    }
}

#[test]
fn a_new_adapter_is_heard_and_one_that_cannot_be_started_changes_nothing() {
    let (mut world, _) = world();
    let late = world.add_stage("late", Stage::plain());
    world.leave_out("late");
    let order = with(world.configured(), "late", &late);
    let mut bad = order.clone();
    bad.adapters[1].0.agent = AgentName::new("nobody");
    world.life(async |life| {
        let refused = life.gateway.supervisor.send(bad).await.expect("it answers");
        assert_eq!(refused, Err("adapters.late.agent: there is no agent nobody".into()));
        life.settle().await;
        assert_eq!(late.connects(), 0);
        late.say("9", "carol", "hello");
        life.reconfigure(order).await;
        assert_eq!(late.heard_in("9"), ["hello: done"]);
        assert_eq!(life.stage("stage").connects(), 1);
    });
}

#[test]
fn another_agent_answers_the_next_turn_and_leaves_the_one_that_runs() {
    let (mut world, old) = world();
    let new = Worker::default();
    let mut order = world.configured();
    order.agents.insert(AgentName::new("demo"), Arc::new(new.clone()) as Arc<dyn Agent>);
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.reconfigure(order).await;
        life.say("7", "alice", "next").await;
        life.say("8", "bob", "hello").await;
        life.pass(secs(12)).await;
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["work 10: done", "next: done"]);
    let asked = |worker: &Worker| worker.runs().into_iter().map(|(asked, _)| asked).collect::<Vec<_>>();
    assert_eq!((asked(&old), asked(&new)), (vec!["work 10".to_owned()], vec!["hello".to_owned(), "next".to_owned()]));
}

/// A world in which a message cuts what runs from the moment of a change on, or until then.
fn busy_changes(from: Busy, to: Busy) -> (World, Worker) {
    let (mut world, worker) = world();
    world.settings.session.busy = from;
    let mut order = world.configured();
    Arc::make_mut(&mut order.settings).session.busy = to;
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        // One is on its way into the ledger while the change comes.
        life.stage("stage").say("7", "alice", "between");
        tokio::task::yield_now().await;
        life.reconfigure(order).await;
        life.say("7", "alice", "behind").await;
        life.pass(secs(20)).await;
    });
    (world, worker)
}

#[test]
fn g01_a_message_between_two_settings_is_answered() {
    let (world, worker) = busy_changes(Busy::Collect, Busy::Interrupt);
    assert_eq!(world.stage("stage").heard_in("7").len(), 1, "{:?}", worker.runs());
    let (world, worker) = busy_changes(Busy::Interrupt, Busy::Collect);
    assert!(!world.stage("stage").heard_in("7").is_empty(), "{:?}", worker.runs());
    assert!(worker.runs().iter().any(|(asked, _)| asked.contains("between")), "{:?}", worker.runs());
}

#[test]
fn limits_and_bounds_change_for_what_comes() {
    let (mut world, _) = world();
    let mut order = world.configured();
    let settings = Arc::make_mut(&mut order.settings);
    (settings.session.turn_limit, settings.session.idle_after, settings.session.message_bytes) = (secs(5), secs(60), 10);
    world.life(async |life| {
        life.say("7", "alice", "work 20").await;
        life.reconfigure(order).await;
        life.say("8", "bob", "work 20").await;
        life.say("9", "carol", "far too long a message").await;
        life.pass(secs(30)).await;
        assert_eq!(life.stage("stage").heard_in("7"), ["work 20: done"], "it keeps the limit that it began under");
        assert_eq!(life.stage("stage").heard_in("8"), ["⏱️ Your task took too long (over 5s) and was cut. Use /retry to run it again."]);
        assert_eq!(life.stage("stage").heard_in("9"), ["📏 That message is too large. Please send a shorter one."]);
        // Set at ten minutes, and looked at every two and a half, before.
        life.pass(secs(90)).await;
        assert_eq!(life.status().await.sessions, 0);
    });
}

#[test]
fn g23_access_bites_at_once() {
    let (mut world, worker) = world();
    world.adapter("stage").access.allow = vec!["stage:alice".into(), "stage:bob".into()];
    let before = world.configured();
    world.adapter("stage").access.allow = vec!["stage:bob".into()];
    world.adapter("stage").access.admins = vec!["stage:bob".into()];
    let order = world.configured();
    world.life(async |life| {
        life.reconfigure(before).await;
        life.say("8", "bob", "/sessions").await;
        life.say("7", "alice", "work 10").await;
        life.say("7", "alice", "and this").await;
        life.reconfigure(order).await;
        life.say("7", "alice", "and that").await;
        life.say("8", "bob", "/sessions").await;
        life.pass(secs(20)).await;
        assert_eq!(life.stage("stage").connects(), 1);
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["work 10: done"]);
    assert_eq!(world.stage("stage").heard_in("8")[0], "🔒 Only administrators may do that.");
    assert!(world.stage("stage").heard_in("8")[1].starts_with("Sessions: 1."), "{:?}", world.stage("stage").heard_in("8"));
    assert_eq!(worker.runs().len(), 1);
}

#[test]
fn g29_a_gateway_that_goes_down_takes_nothing_over() {
    let (mut world, _) = world();
    let order = without(world.configured(), "stage");
    world.life(async |life| {
        life.say("7", "alice", "work 5").await;
        life.ask_for(ShutdownKind::Stop, None).await;
        let refused = life.gateway.supervisor.send(order).await.expect("it answers").expect_err("refused");
        assert!(refused.starts_with("the gateway is going down"), "{refused}");
        assert!(life.down().await.verdict.is_clean());
    });
    assert_eq!(world.stage("stage").heard_in("7").last().map(String::as_str), Some("work 5: done"));
}

#[test]
fn g06_g08_what_an_adapter_left_that_is_configured_no_more_holds_up_no_shutdown() {
    let (mut world, _) = world();
    let stage = world.stage("stage");
    world.add_stage("other", Stage::plain());
    world.life(async |life| life.say("7", "alice", "work 10").await);
    let full = world.configured();
    world.leave_out("stage");
    world.life(async |life| {
        life.pass(secs(2)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean() && report.took < secs(1), "{report:?}");
    });
    // Once it is back in the configuration its chat is told, once.
    world.life(async |life| {
        life.reconfigure(with(full, "stage", &stage)).await;
        life.pass(secs(2)).await;
        assert_eq!(stage.heard_in("7").len(), 1, "{:?}", stage.heard_in("7"));
        assert!(stage.heard_in("7")[0].starts_with("✂️ Your task was interrupted"), "{:?}", stage.heard_in("7"));
        life.say("7", "alice", "/retry").await;
        life.pass(secs(15)).await;
    });
    assert_eq!(stage.heard_in("7").last().map(String::as_str), Some("work 10: done"));
}
