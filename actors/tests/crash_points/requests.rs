//! Commands, and the ones that end the process.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use switchboard_actors::ids::DeliveryId;
use switchboard_actors::settings::{Busy, Policy};
use switchboard_actors::testkit::world::{Life, World};

use crate::scenario::{Named, Scenario, scenarios};

const BRIEFLY: Duration = Duration::from_secs(1);

/// All of them.
pub(crate) fn all() -> Vec<Named> {
    scenarios![
        a_restart_that_is_asked_for_and_delivered_again,
        a_restart_that_is_asked_for_by_a_turn,
        every_command_is_answered_once,
        a_stop_closes_what_came_before_it_and_nothing_after,
        a_burst_is_taken_in_whole,
        a_message_that_is_delivered_again_interrupts_nobody,
        a_stop_of_a_turn_that_waits_to_run_again,
    ]
}

/// Waits until a shutdown that nobody here waits for is over.
async fn until_down(life: &Life) {
    while life.report().is_none() {
        life.pass(BRIEFLY).await;
    }
}

/// The platform has not heard that the second delivery was accepted.
fn once_more(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(async move {
        life.stage("stage").redeliver(&DeliveryId::new("2"), "7", "boss", "/restart");
        life.pass(BRIEFLY).await;
    })
}

fn a_restart_that_is_asked_for_and_delivered_again() -> Scenario {
    Scenario::new(30, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1").await;
            life.say("7", "boss", "/restart").await;
            until_down(life).await;
        })
    })
    .then(once_more)
}

fn a_restart_that_is_asked_for_by_a_turn() -> Scenario {
    Scenario::new(22, |life| {
        Box::pin(async move {
            life.say("8", "bob", "m1 stuck").await;
            life.say("7", "alice", "m2 restart").await;
            until_down(life).await;
        })
    })
    .set(|world| world.settings.shutdown.grace = Duration::from_secs(20))
}

fn every_command_is_answered_once() -> Scenario {
    Scenario::new(40, |life| {
        Box::pin(async move {
            life.say("7", "alice", "/help").await;
            life.say("7", "alice", "/status").await;
            life.say("7", "alice", "m1 stuck").await;
            life.say("7", "alice", "/queue").await;
            life.say("7", "alice", "/whoami").await;
            life.say("7", "boss", "/sessions").await;
            life.pass(BRIEFLY).await;
        })
    })
}

fn a_stop_closes_what_came_before_it_and_nothing_after() -> Scenario {
    Scenario::new(24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 stuck").await;
            life.say("7", "alice", "m2").await;
            life.say("7", "alice", "/stop").await;
            life.say("7", "alice", "m3").await;
            life.say("7", "alice", "/new").await;
            life.say("7", "alice", "m4").await;
            life.pass(BRIEFLY).await;
        })
    })
}

fn a_burst_is_taken_in_whole() -> Scenario {
    Scenario::new(16, |life| {
        Box::pin(async move {
            let stage = life.stage("stage");
            stage.say("7", "alice", "m1");
            stage.say("7", "alice", "m2");
            stage.say("7", "alice", "/stop");
            stage.say("7", "alice", "m3");
            stage.say("8", "bob", "m4");
            life.pass(BRIEFLY).await;
        })
    })
    .set(|world: &mut World| world.settings.ledger.batch = 2)
}

fn a_message_that_is_delivered_again_interrupts_nobody() -> Scenario {
    Scenario::new(20, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1").await;
            life.say("7", "alice", "m2 slow").await;
            life.stage("stage").redeliver(&DeliveryId::new("1"), "7", "alice", "m1");
            life.pass(Duration::from_secs(15)).await;
        })
    })
    .set(|world| world.settings.session.busy = Busy::Interrupt)
}

/// Two turns are to run again, one behind the other; the second is stopped, and something new said.
fn stop_the_second(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(async move {
        life.pass(BRIEFLY).await;
        for room in ["7", "8"] {
            life.say(room, "alice", "/stop").await;
            life.say(room, "alice", &format!("m{room}")).await;
        }
        life.pass(BRIEFLY).await;
        assert!(["7", "8"].iter().all(|room| life.stage("stage").heard_in(room).contains(&format!("re [m{room}]"))), "G17");
    })
}

fn a_second(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(life.pass(BRIEFLY))
}

fn a_stop_of_a_turn_that_waits_to_run_again() -> Scenario {
    Scenario::new(30, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 stuck").await;
            life.say("8", "alice", "m2 stuck").await;
            life.say("8", "alice", "m3").await;
        })
    })
    .under(&[Policy::Resume])
    .then(a_second)
    .then(stop_the_second)
}
