//! A turn that waits for somebody's approval, with tools before and behind it.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::world::Life;

use crate::scenario::{Named, Scenario, scenarios};

const BRIEFLY: Duration = Duration::from_secs(1);

/// All of them.
pub(crate) fn all() -> Vec<Named> {
    scenarios![a_turn_that_asks_between_its_tools_and_is_approved, a_turn_that_asks_across_a_restart_and_is_denied,]
}

fn a_turn_that_asks_between_its_tools_and_is_approved() -> Scenario {
    Scenario::new(24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 tools ask tools").await;
            life.pass(BRIEFLY).await;
            life.say("7", "alice", "/approve").await;
            life.pass(BRIEFLY).await;
        })
    })
}

fn refuse_and_go_on(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(async move {
        life.say("7", "alice", "/deny").await;
        life.say("7", "alice", "m2").await;
        life.pass(BRIEFLY).await;
    })
}

fn a_turn_that_asks_across_a_restart_and_is_denied() -> Scenario {
    Scenario::new(30, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 tools ask").await;
            life.pass(BRIEFLY).await;
            life.shut_down(ShutdownKind::Restart).await;
        })
    })
    .then(refuse_and_go_on)
}
