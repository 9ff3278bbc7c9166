//! A turn that waits for somebody's approval, with tools before and behind it.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::world::Life;

use crate::scenario::Scenario;

const BRIEFLY: Duration = Duration::from_secs(1);

#[test]
fn a_turn_that_asks_between_its_tools_and_is_approved() {
    let scenario = Scenario::new("a turn that asks between its tools and is approved", 24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 tools ask tools").await;
            life.pass(BRIEFLY).await;
            life.say("7", "alice", "/approve").await;
            life.pass(BRIEFLY).await;
        })
    });
    scenario.check();
}

fn refuse_and_go_on(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(async move {
        life.say("7", "alice", "/deny").await;
        life.say("7", "alice", "m2").await;
        life.pass(BRIEFLY).await;
    })
}

#[test]
fn a_turn_that_asks_across_a_restart_and_is_denied() {
    let scenario = Scenario::new("a turn that asks across a restart and is denied", 30, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 tools ask").await;
            life.pass(BRIEFLY).await;
            life.shut_down(ShutdownKind::Restart).await;
        })
    });
    scenario.then(refuse_and_go_on).check();
}
