//! Going down, with every kind of session, cut at every point of it.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use switchboard_actors::protocol::{Hurry, Shutdown};
use switchboard_actors::shutdown::{RequestedBy, ShutdownKind};
use switchboard_actors::testkit::world::{Life, World};

use crate::scenario::{Named, Scenario, scenarios};

const BRIEFLY: Duration = Duration::from_secs(1);

/// All of them.
pub(crate) fn all() -> Vec<Named> {
    scenarios![
        a_stop_of_a_full_house,
        a_restart_of_a_full_house,
        an_update_of_a_full_house,
        an_update_with_everybody_idle,
        a_message_while_going_down,
        a_stop_that_joins_a_restart_and_is_hurried,
        a_reply_that_is_still_owed_at_the_deadline,
        a_turn_that_started_as_the_gate_shut,
        a_group_whose_members_share_a_notice,
    ]
}

/// An idle session, one that finishes, one that is stuck, and one with something waiting behind what it does.
async fn a_full_house(life: &Life) {
    life.say("idle", "alice", "m1").await;
    life.say("finishing", "bob", "m2 slow").await;
    life.say("stuck", "carol", "m3 stuck").await;
    life.say("waiting", "dave", "m4 stuck").await;
    life.say("waiting", "dave", "m5").await;
}

fn a_short_grace(world: &mut World) {
    world.settings.shutdown.grace = Duration::from_secs(30);
}

fn a_second(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(life.pass(BRIEFLY))
}

fn a_stop_of_a_full_house() -> Scenario {
    Scenario::new(45, |life| {
        Box::pin(async move {
            a_full_house(life).await;
            life.shut_down(ShutdownKind::Stop).await;
        })
    })
    .set(a_short_grace)
}

fn a_restart_of_a_full_house() -> Scenario {
    Scenario::new(60, |life| {
        Box::pin(async move {
            a_full_house(life).await;
            life.shut_down(ShutdownKind::Restart).await;
        })
    })
    .set(a_short_grace)
    .then(a_second)
}

fn an_update_of_a_full_house() -> Scenario {
    Scenario::new(60, |life| {
        Box::pin(async move {
            a_full_house(life).await;
            life.shut_down(ShutdownKind::Update).await;
        })
    })
    .set(a_short_grace)
    .then(a_second)
}

fn an_update_with_everybody_idle() -> Scenario {
    Scenario::new(24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1").await;
            life.say("8", "bob", "m2").await;
            life.pass(BRIEFLY).await;
            life.shut_down(ShutdownKind::Update).await;
        })
    })
    .cut_twice()
}

fn a_message_while_going_down() -> Scenario {
    Scenario::new(38, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 slow").await;
            let words = async {
                life.pass(BRIEFLY).await;
                life.say("7", "alice", "m2").await;
                life.say("8", "bob", "m3").await;
            };
            tokio::join!(life.shut_down(ShutdownKind::Restart), words);
        })
    })
}

fn a_stop_that_joins_a_restart_and_is_hurried() -> Scenario {
    Scenario::new(16, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 stuck").await;
            let more = async {
                life.pass(BRIEFLY).await;
                let grace = Some(Duration::from_secs(20));
                let stop = Shutdown { kind: ShutdownKind::Stop, grace, requested_by: RequestedBy::Operator(None), reason: None };
                life.gateway.supervisor.do_send(stop);
                life.pass(BRIEFLY).await;
                life.gateway.supervisor.do_send(Hurry(Some(RequestedBy::Embedder)));
            };
            tokio::join!(life.shut_down(ShutdownKind::Restart), more);
        })
    })
}

fn a_reply_that_is_still_owed_at_the_deadline() -> Scenario {
    let scenario = Scenario::new(24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1").await;
            life.say("8", "bob", "m2").await;
            life.shut_down(ShutdownKind::Stop).await;
        })
    });
    let hanging = |world: &mut World| {
        a_short_grace(world);
        world.stage("stage").set_mood(|mood| _ = mood.hanging.insert("7".into()));
    };
    scenario.set(hanging)
}

fn a_turn_that_started_as_the_gate_shut() -> Scenario {
    Scenario::new(20, |life| {
        Box::pin(async move {
            // The commit takes a tenth of a second: the shutdown begins while the start is being written.
            life.say("7", "alice", "m1").await;
            life.say("7", "alice", "m2").await;
            life.shut_down(ShutdownKind::Stop).await;
        })
    })
    .set(|world| world.set_latency(Duration::from_millis(90)))
}

fn a_group_whose_members_share_a_notice() -> Scenario {
    Scenario::new(20, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 stuck").await;
            life.say("7", "bob", "m2 stuck").await;
            life.shut_down(ShutdownKind::Restart).await;
        })
    })
    .set(|world| world.stage("stage").make_group("7"))
}
