//! Turns that wait for somebody's approval, and the children that agents leave behind.

use super::{outcomes, pairs, secs, world};
use switchboard_actors::shutdown::{Outcome, ShutdownKind};
use switchboard_actors::testkit::frail::Health;

#[test]
fn a_turn_waits_for_its_approval_and_goes_on_where_it_was() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "ask 2").await;
        life.pass(secs(300)).await;
        life.say("7", "alice", "/status").await;
        life.say("7", "alice", "/approve").await;
        life.say("7", "alice", "/deny").await;
        life.say("7", "alice", "/deny").await;
        assert!(life.shut_down(ShutdownKind::Stop).await.verdict.is_clean());
    });
    assert_eq!(worker.runs(), [("ask 2".to_owned(), 1)], "its agent waited all the time");
    world.expect(
        "  0s  alice in 7  ask 2
           0s  → 7         ❓ May I make call 1? ⏎ Use /approve to allow it, /deny to refuse.
         300s  alice in 7  /status
         300s  → 7         ❓ Your task waits for /approve or /deny. Waiting: 0.
         300s  alice in 7  /approve
         300s  → 7         ❓ May I make call 2? ⏎ Use /approve to allow it, /deny to refuse.
         300s  alice in 7  /deny
         300s  → 7         ask 2: yes no
         300s  alice in 7  /deny
         300s  → 7         Nothing waits for your approval.
         300s  drain
         300s  mark
         300s  down        clean",
    );
}

#[test]
fn g09_a_turn_that_asks_counts_as_idle_and_outlives_the_gateway() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "ask 2").await;
        life.say("7", "alice", "/approve").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
        assert_eq!(outcomes(&report), pairs::<Outcome>(&[]));
    });
    world.life(async |life| {
        life.pass(secs(5)).await;
        life.say("7", "alice", "/approve").await;
        assert!(life.shut_down(ShutdownKind::Stop).await.verdict.is_clean());
    });
    assert_eq!(worker.runs().len(), 2);
    world.expect(
        "0s  alice in 7  ask 2
         0s  → 7         ❓ May I make call 1? ⏎ Use /approve to allow it, /deny to refuse.
         0s  alice in 7  /approve
         0s  → 7         ❓ May I make call 2? ⏎ Use /approve to allow it, /deny to refuse.
         0s  drain
         0s  mark
         0s  down        clean
         5s  alice in 7  /approve
         5s  → 7         ask 2: yes yes
         5s  drain
         5s  mark
         5s  down        clean",
    );
}

#[test]
fn g15_waiting_for_approval_through_crashes_counts_for_nothing() {
    let (mut world, worker) = world();
    world.life(async |life| life.say("7", "alice", "ask").await);
    for _ in 0..2 {
        world.life(async |life| life.pass(secs(400)).await);
    }
    world.life(async |life| {
        life.say("7", "alice", "/deny").await;
        life.pass(secs(1)).await;
    });
    assert_eq!(worker.runs(), [("ask".to_owned(), 1), ("ask".to_owned(), 2)]);
    world.expect(
        "  0s  alice in 7  ask
           0s  → 7         ❓ May I make call 1? ⏎ Use /approve to allow it, /deny to refuse.
         800s  alice in 7  /deny
         800s  → 7         ask: no",
    );
}

#[test]
fn g18_what_asks_can_be_stopped_retried_and_left_behind() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "ask").await;
        life.say("7", "alice", "/stop").await;
        life.say("7", "alice", "/approve").await;
        life.say("7", "alice", "ask").await;
        life.say("7", "alice", "something else").await;
        life.say("7", "alice", "/approve").await;
        assert!(life.shut_down(ShutdownKind::Stop).await.verdict.is_clean());
    });
    assert_eq!(worker.runs().len(), 3);
    world.expect(
        "0s  alice in 7  ask
         0s  → 7         ❓ May I make call 1? ⏎ Use /approve to allow it, /deny to refuse.
         0s  alice in 7  /stop
         0s  → 7         ⏹️ Stopped. Dropped: 0.
         0s  alice in 7  /approve
         0s  → 7         Nothing waits for your approval.
         0s  alice in 7  ask
         0s  → 7         ❓ May I make call 1? ⏎ Use /approve to allow it, /deny to refuse.
         0s  alice in 7  something else
         0s  → 7         something else: done
         0s  alice in 7  /approve
         0s  → 7         Nothing waits for your approval.
         0s  drain
         0s  mark
         0s  down        clean",
    );
}

#[test]
fn g09_no_turn_starts_before_it_is_known_who_was_left_behind() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "child 60").await;
        life.pass(secs(1)).await;
    });
    world.condition().set(Health::Unread);
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        life.pass(secs(1)).await;
    });
    world.expect(
        "0s  alice in 7  child 60
         1s  alice in 7  hello
         1s  kill        group 160
         1s  → 7         ✂️ Your task was interrupted (crash). Use /retry to run it again, /new to drop it.
         1s  → 7         hello: done",
    );
}

#[test]
fn g09_children_die_with_their_turn_and_before_it_runs_again() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "child 5").await;
        life.pass(secs(5)).await;
        life.say("7", "alice", "child 50").await;
        life.pass(secs(1)).await;
        life.say("7", "alice", "/stop").await;
        life.say("7", "alice", "child 60").await;
        life.pass(secs(1)).await;
    });
    world.life(async |life| {
        life.pass(secs(1)).await;
        life.say("7", "alice", "/retry").await;
        life.pass(secs(1)).await;
    });
    world.life(async |life| life.pass(secs(1)).await);
    world.life(async |life| life.pass(secs(1)).await);
    world.expect(
        "0s  alice in 7  child 5
         5s  kill        group 105
         5s  → 7         child 5: done
         5s  alice in 7  child 50
         6s  alice in 7  /stop
         6s  kill        group 150
         6s  → 7         ⏹️ Stopped. Dropped: 0.
         6s  alice in 7  child 60
         7s  kill        group 160
         7s  → 7         ✂️ Your task was interrupted (crash). Use /retry to run it again, /new to drop it.
         8s  alice in 7  /retry
         9s  kill        group 160
         9s  → 7         ✂️ Your task was interrupted (crash). Use /retry to run it again, /new to drop it.",
    );
}
