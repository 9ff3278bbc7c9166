//! Coming back, cut while it does, and again while it comes back from that; and a ledger that cannot commit for a while.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use switchboard_actors::settings::Policy;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::frail::Health;
use switchboard_actors::testkit::world::Life;

use crate::scenario::{Named, Scenario, scenarios};

const BRIEFLY: Duration = Duration::from_secs(1);

/// All of them.
pub(crate) fn all() -> Vec<Named> {
    scenarios![
        a_recovery_that_is_cut_and_whose_recovery_is_cut,
        three_crashes_in_a_row,
        notices_down_and_back,
        a_ledger_that_cannot_commit_for_a_while,
        a_ledger_that_is_full_as_the_gateway_goes,
        a_ledger_that_is_full_as_the_gateway_comes_back,
        commits_that_nobody_can_tell_of,
    ]
}

fn a_second(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(life.pass(BRIEFLY))
}

fn half_a_second(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(life.pass(Duration::from_millis(500)))
}

/// The first life is dropped in the middle of two turns and a message that waits; the next one takes them up.
fn a_recovery_that_is_cut_and_whose_recovery_is_cut() -> Scenario {
    Scenario::new(30, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 tools stuck").await;
            life.say("7", "alice", "m2").await;
            life.say("8", "bob", "m3 child stuck").await;
        })
    })
    .then(half_a_second)
    .cut_twice()
}

fn three_crashes_in_a_row() -> Scenario {
    Scenario::new(24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 stuck").await;
            life.say("7", "alice", "m2").await;
        })
    })
    .under(&[Policy::Resume, Policy::Ask])
    .then(half_a_second)
    .then(half_a_second)
    .then(half_a_second)
}

fn notices_down_and_back() -> Scenario {
    Scenario::new(30, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 stuck").await;
            tokio::join!(life.shut_down(ShutdownKind::Restart), async {
                life.pass(BRIEFLY).await;
                life.say("8", "bob", "m2").await;
            });
        })
    })
    .set(|world| world.settings.shutdown.grace = Duration::from_secs(20))
    .then(a_second)
    .cut_twice()
}

/// What is said while the disk is full is not accepted, and what is answered waits in memory.
fn a_ledger_that_cannot_commit_for_a_while() -> Scenario {
    Scenario::new(24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 child slow").await;
            life.condition.set(Health::Full);
            life.say("8", "bob", "m2").await;
            life.pass(BRIEFLY * 20).await;
            life.condition.set(Health::Well);
            life.pass(BRIEFLY * 60).await;
            life.say("7", "alice", "m3").await;
        })
    })
    .ill()
}

fn a_ledger_that_is_full_as_the_gateway_goes() -> Scenario {
    Scenario::new(24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 slow").await;
            life.say("8", "bob", "m2 child stuck").await;
            life.condition.set(Health::Full);
            life.shut_down(ShutdownKind::Restart).await;
        })
    })
    .set(|world| world.settings.shutdown.grace = Duration::from_secs(20))
    .then(|life| {
        Box::pin(async move {
            life.condition.set(Health::Well);
            life.pass(BRIEFLY * 10).await;
        })
    })
    .ill()
}

/// Somebody asks for their cut turn again before the ledger can be read.
fn a_ledger_that_is_full_as_the_gateway_comes_back() -> Scenario {
    Scenario::new(24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 child stuck").await;
            life.say("7", "alice", "m2").await;
            life.condition.set(Health::Full);
        })
    })
    .then(|life| {
        Box::pin(async move {
            life.say("7", "alice", "/retry").await;
            life.pass(BRIEFLY * 5).await;
            life.condition.set(Health::Well);
            life.pass(BRIEFLY * 30).await;
        })
    })
    .ill()
}

/// One commit after the other is made, or not, and nobody says which.
fn commits_that_nobody_can_tell_of() -> Scenario {
    Scenario::new(24, |life| {
        Box::pin(async move {
            for (text, health) in [("m1 child tools", Health::Mumbling), ("m2 tools", Health::Forgetful), ("/stop", Health::Mumbling)] {
                life.condition.set(health);
                life.say("7", "alice", text).await;
                for _ in 0..4 {
                    life.pass(Duration::from_millis(400)).await;
                    life.condition.set(health);
                }
            }
            life.condition.set(Health::Well);
            life.pass(BRIEFLY * 10).await;
        })
    })
    .ill()
}
