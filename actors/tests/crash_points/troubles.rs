//! When something beside the power fails, too: the disk, the platform, memory.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use switchboard_actors::platform::Abilities;
use switchboard_actors::settings::Policy;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::stage::Stage;
use switchboard_actors::testkit::world::{Life, World};

use crate::scenario::Scenario;

const BRIEFLY: Duration = Duration::from_secs(1);

#[test]
fn a_session_that_leaves_as_somebody_speaks() {
    let scenario = Scenario::new("a session that leaves as somebody speaks", 24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1").await;
            // It is asked whether it would leave every hundred milliseconds.
            for name in ["m2", "m3", "m4"] {
                life.pass(Duration::from_millis(120)).await;
                life.say("7", "alice", name).await;
            }
            life.pass(BRIEFLY).await;
        })
    });
    scenario.set(|world| world.settings.session.idle_after = Duration::from_millis(200)).check();
}

#[test]
fn a_streamed_reply() {
    let scenario = Scenario::new("a streamed reply", 20, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 stream").await;
            life.say("7", "alice", "m2 stream").await;
            life.pass(Duration::from_secs(20)).await;
        })
    });
    let editing = |world: &mut World| {
        let idempotent = world.stage("stage").abilities().idempotent;
        world.add_stage("stage", Abilities { edits: true, idempotent, ..Stage::plain() });
    };
    scenario.set(editing).check();
}

#[test]
fn a_streamed_reply_that_a_restart_cuts() {
    let scenario = Scenario::new("a streamed reply that a restart cuts", 26, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 stream stuck").await;
            life.pass(Duration::from_secs(8)).await;
            life.shut_down(ShutdownKind::Restart).await;
        })
    });
    let editing = |world: &mut World| {
        let idempotent = world.stage("stage").abilities().idempotent;
        world.add_stage("stage", Abilities { edits: true, idempotent, ..Stage::plain() });
        world.settings.shutdown.grace = Duration::from_secs(15);
    };
    scenario.set(editing).check();
}

#[test]
fn a_platform_that_loses_its_answers() {
    let scenario = Scenario::new("a platform that loses its answers", 20, |life| {
        Box::pin(async move {
            let stage = life.stage("stage");
            stage.set_mood(|mood| mood.mumbling = true);
            life.say("7", "alice", "m1").await;
            life.pass(BRIEFLY * 2).await;
            stage.set_mood(|mood| mood.mumbling = false);
            life.pass(BRIEFLY * 10).await;
        })
    });
    scenario.check();
}

#[test]
fn a_platform_that_goes_dark() {
    let scenario = Scenario::new("a platform that goes dark", 20, |life| {
        Box::pin(async move {
            let stage = life.stage("stage");
            life.say("7", "alice", "m1 slow").await;
            stage.set_mood(|mood| mood.down = true);
            stage.say("7", "alice", "m2");
            life.pass(BRIEFLY * 15).await;
            stage.set_mood(|mood| mood.down = false);
            life.pass(BRIEFLY * 90).await;
        })
    });
    scenario.check();
}

fn half_a_second(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(life.pass(Duration::from_millis(500)))
}

#[test]
fn three_crashes_in_a_row() {
    let scenario = Scenario::new("three crashes in a row", 24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 stuck").await;
            life.say("7", "alice", "m2").await;
        })
    });
    scenario.under(&[Policy::Resume, Policy::Ask]).then(half_a_second).then(half_a_second).then(half_a_second).check();
}
