//! Turns: from a message to its answer.

use std::time::Duration;

use switchboard_actors::platform::Abilities;
use switchboard_actors::settings::Busy;
use switchboard_actors::testkit::stage::Stage;

use crate::scenario::{Named, Scenario, scenarios};

const BRIEFLY: Duration = Duration::from_secs(1);

/// All of them.
pub(crate) fn all() -> Vec<Named> {
    scenarios![a_plain_turn, three_messages_collected, three_messages_queued, a_tool_loop, an_answer_in_parts,]
}

fn a_plain_turn() -> Scenario {
    Scenario::new(8, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1").await;
            life.pass(BRIEFLY).await;
        })
    })
    .cut_twice()
}

fn three_messages_collected() -> Scenario {
    Scenario::new(12, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 slow").await;
            life.say("7", "alice", "m2").await;
            life.say("7", "alice", "m3").await;
            life.pass(Duration::from_secs(20)).await;
        })
    })
}

fn three_messages_queued() -> Scenario {
    Scenario::new(16, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 slow").await;
            life.say("7", "alice", "m2").await;
            life.say("7", "alice", "m3").await;
            life.pass(Duration::from_secs(20)).await;
        })
    })
    .set(|world| world.settings.session.busy = Busy::Queue)
}

fn a_tool_loop() -> Scenario {
    Scenario::new(14, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 tools").await;
            life.pass(BRIEFLY).await;
            life.say("7", "alice", "m2 tools").await;
            life.pass(BRIEFLY).await;
        })
    })
}

fn an_answer_in_parts() -> Scenario {
    let scenario = Scenario::new(12, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 long").await;
            life.say("7", "alice", "m2 long").await;
            life.pass(BRIEFLY).await;
        })
    });
    let small = |world: &mut switchboard_actors::testkit::world::World| {
        let idempotent = world.stage("stage").abilities().idempotent;
        world.add_stage("stage", Abilities { max_units: 160, idempotent, ..Stage::plain() });
    };
    scenario.set(small)
}
