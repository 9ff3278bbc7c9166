//! Turns: from a message to its answer.

use std::time::Duration;

use switchboard_actors::platform::Abilities;
use switchboard_actors::settings::Busy;
use switchboard_actors::testkit::stage::Stage;

use crate::scenario::Scenario;

const BRIEFLY: Duration = Duration::from_secs(1);

#[test]
fn a_plain_turn() {
    let scenario = Scenario::new("a plain turn", 8, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1").await;
            life.pass(BRIEFLY).await;
        })
    });
    scenario.cut_twice().check();
}

#[test]
fn three_messages_collected() {
    let scenario = Scenario::new("three messages collected", 12, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 slow").await;
            life.say("7", "alice", "m2").await;
            life.say("7", "alice", "m3").await;
            life.pass(Duration::from_secs(20)).await;
        })
    });
    scenario.cut_twice().check();
}

#[test]
fn three_messages_queued() {
    let scenario = Scenario::new("three messages queued", 16, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 slow").await;
            life.say("7", "alice", "m2").await;
            life.say("7", "alice", "m3").await;
            life.pass(Duration::from_secs(20)).await;
        })
    });
    scenario.set(|world| world.settings.session.busy = Busy::Queue).cut_twice().check();
}

#[test]
fn a_tool_loop() {
    let scenario = Scenario::new("a tool loop", 14, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 tools").await;
            life.pass(BRIEFLY).await;
            life.say("7", "alice", "m2 tools").await;
            life.pass(BRIEFLY).await;
        })
    });
    scenario.cut_twice().check();
}

#[test]
fn an_answer_in_parts() {
    let scenario = Scenario::new("an answer in parts", 12, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 long").await;
            life.say("7", "alice", "m2 long").await;
            life.pass(BRIEFLY).await;
        })
    });
    let small = |world: &mut switchboard_actors::testkit::world::World| {
        let idempotent = world.stage("stage").abilities().idempotent;
        world.add_stage("stage", Abilities { max_units: 64, idempotent, ..Stage::plain() });
    };
    scenario.set(small).check();
}
