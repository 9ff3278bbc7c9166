//! Child processes of agents: they outlive a gateway that is cut, and are gone before their turn may run again, or any other of their conversation.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use switchboard_actors::children::Child;
use switchboard_actors::ledger::{Done, Step};
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::cuts::Event;
use switchboard_actors::testkit::tripwire::Tripwire;
use switchboard_actors::testkit::world::Life;

use crate::at_rest::AtRest;
use crate::fates::last_life;
use crate::guarantees::Evidence;
use crate::scenario::{Named, Scenario, scenarios};

const BRIEFLY: Duration = Duration::from_secs(1);

/// All of them.
pub(crate) fn all() -> Vec<Named> {
    scenarios![
        a_child_that_a_cut_leaves_behind,
        a_child_at_every_end_of_a_turn,
        a_child_of_a_turn_that_asks_and_whose_session_leaves,
        a_child_of_a_session_that_fell_for_good,
        children_at_a_restart_that_a_turn_asks_for,
    ]
}

fn a_child_that_a_cut_leaves_behind() -> Scenario {
    Scenario::new(8, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 child stuck").await;
            life.pass(BRIEFLY).await;
        })
    })
    .cut_twice()
}

fn a_child_at_every_end_of_a_turn() -> Scenario {
    Scenario::new(60, |life| {
        Box::pin(async move {
            for text in ["m1 child child", "m2 child fail", "m3 child panic", "m4 child silent", "m5 child stuck"] {
                life.say("7", "alice", text).await;
            }
            life.say("7", "alice", "/stop").await;
            life.say("7", "alice", "/retry").await;
            life.pass(BRIEFLY).await;
        })
    })
}

fn a_child_of_a_turn_that_asks_and_whose_session_leaves() -> Scenario {
    Scenario::new(24, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 child ask").await;
            life.pass(BRIEFLY).await;
            life.say("7", "alice", "/approve").await;
            life.pass(BRIEFLY).await;
        })
    })
    .set(|world| world.settings.session.idle_after = Duration::from_millis(200))
}

fn a_child_of_a_session_that_fell_for_good() -> Scenario {
    Scenario::new(20, |life| {
        Box::pin(async move {
            let wire = Tripwire::on("agent panicked", 1);
            life.say("7", "alice", "m1 child panic").await;
            assert!(wire.is_spent());
            // It is built anew once its time has passed.
            life.pass(BRIEFLY * 90).await;
            life.say("7", "alice", "/retry").await;
            life.pass(BRIEFLY).await;
        })
    })
    .set(|world| world.settings.supervision.restarts = 0)
}

fn a_second(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(life.pass(BRIEFLY))
}

fn children_at_a_restart_that_a_turn_asks_for() -> Scenario {
    Scenario::new(40, |life| {
        Box::pin(async move {
            life.say("7", "alice", "m1 child stuck").await;
            life.say("8", "bob", "m2 child slow").await;
            life.say("9", "carol", "m3 child ask").await;
            life.say("6", "dave", "m4 child restart").await;
            life.shut_down(ShutdownKind::Restart).await;
        })
    })
    .set(|world| world.settings.shutdown.grace = Duration::from_secs(30))
    .then(a_second)
}

/// G9: whoever works for an agent while the gateway is gone is on record, so that the next start finds it; and a life that said goodbye left
/// nobody behind.
pub(crate) fn g09_who_is_at_work_is_on_record(AtRest { facts, open, at_work, .. }: &AtRest) -> usize {
    if at_work.is_empty() {
        return 0;
    }
    let last = last_life(facts);
    let of_it = || facts.iter().rev().take_while(|fact| fact.life == last);
    if !of_it().any(|fact| matches!(fact.event, Event::Cut(_))) {
        // One whose ledger could not be read to its end knows nothing of what earlier ones left.
        let well = of_it().any(|fact| matches!(fact.event, Event::Committed(Step::Ended { .. }, _)));
        let its =
            |child: &Child| of_it().any(|fact| matches!(&fact.event, Event::Committed(Step::Child { child: its, .. }, _) if its == child));
        assert!(!at_work.iter().any(|(child, ..)| well || its(child)), "G9: life {last} said goodbye, and left {at_work:?}");
    }
    for (child, _, turn) in at_work {
        assert!(
            open.children.iter().any(|left| (&left.child, &left.turn) == (child, turn)),
            "G9: {child:?} works for turn {turn}, and is not on record: {:?}",
            open.children
        );
    }
    at_work.len()
}

/// G9: a child works only once it is on record, is left alone while its run goes on, and is gone before its conversation goes on.
pub(crate) fn g09_children_are_gone_before_their_conversation_goes_on(evidence: &Evidence) -> usize {
    let recorded: Vec<_> = evidence
        .steps()
        .filter_map(|(_, _, step, done)| match (step, done) {
            (Step::Child { child, .. }, Done::Ok) => Some(child),
            _ => None,
        })
        .collect();
    for child in &evidence.set_to_work {
        assert!(recorded.contains(&child), "G9: {child:?} was set to work and is not on record");
    }
    assert!(evidence.robbed.is_empty(), "G9: {:?} were ended while their runs went on", evidence.robbed);
    for ran in &evidence.runs {
        assert!(ran.beside.is_empty(), "G9: attempt {} of turn {} ran beside {:?} of an earlier one", ran.attempt, ran.turn, ran.beside);
    }
    evidence.set_to_work.len()
}
