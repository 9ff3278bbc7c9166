//! When something beside the power fails, too: the disk, the platform, memory.

use std::time::Duration;

use switchboard_actors::platform::Abilities;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::stage::Stage;
use switchboard_actors::testkit::world::World;

use crate::scenario::{Named, Scenario, scenarios};

const BRIEFLY: Duration = Duration::from_secs(1);

/// All of them.
pub(crate) fn all() -> Vec<Named> {
    scenarios![
        a_session_that_leaves_as_somebody_speaks,
        a_streamed_reply,
        a_streamed_reply_that_a_restart_cuts,
        a_platform_that_loses_its_answers,
        a_platform_that_goes_dark,
    ]
}

fn a_session_that_leaves_as_somebody_speaks() -> Scenario {
    /// Rooms that are spoken to again, two milliseconds apart, around the moment at which all are asked whether they would leave.
    const RACING: usize = 8;
    const QUIET: [&str; 2] = ["quiet", "silent"];
    Scenario::new(80, |life| {
        Box::pin(async move {
            let stage = life.stage("stage");
            let rooms: Vec<String> = (0..RACING).map(|room| format!("r{room}")).collect();
            let everybody = rooms.iter().map(String::as_str).chain(QUIET);
            for (number, room) in everybody.enumerate() {
                stage.say(room, "alice", &format!("m{number}"));
            }
            life.pass(Duration::from_millis(290)).await;
            for (number, room) in rooms.iter().enumerate() {
                stage.say(room, "alice", &format!("m{}", 100 + number));
                life.pass(Duration::from_millis(2)).await;
            }
            life.pass(Duration::from_millis(20)).await;
            assert!(life.status().await.sessions < RACING + QUIET.len(), "nobody left: there was no race");
            life.pass(BRIEFLY).await;
        })
    })
    .set(|world| world.settings.session.idle_after = Duration::from_millis(200))
}

fn a_streamed_reply() -> Scenario {
    let scenario = Scenario::new(20, |life| {
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
    scenario.set(editing)
}

fn a_streamed_reply_that_a_restart_cuts() -> Scenario {
    let scenario = Scenario::new(26, |life| {
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
    scenario.set(editing)
}

fn a_platform_that_loses_its_answers() -> Scenario {
    Scenario::new(20, |life| {
        Box::pin(async move {
            let stage = life.stage("stage");
            stage.set_mood(|mood| mood.mumbling = true);
            life.say("7", "alice", "m1").await;
            life.pass(BRIEFLY * 2).await;
            stage.set_mood(|mood| mood.mumbling = false);
            life.pass(BRIEFLY * 10).await;
        })
    })
}

fn a_platform_that_goes_dark() -> Scenario {
    Scenario::new(20, |life| {
        Box::pin(async move {
            let stage = life.stage("stage");
            life.say("7", "alice", "m1 slow").await;
            stage.set_mood(|mood| mood.down = true);
            stage.say("7", "alice", "m2");
            life.pass(BRIEFLY * 15).await;
            stage.set_mood(|mood| mood.down = false);
            life.pass(BRIEFLY * 90).await;
        })
    })
}
