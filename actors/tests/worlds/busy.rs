//! What happens to a message that arrives during a turn, and to too many, too large and repeated ones.

use super::{secs, world};
use switchboard_actors::settings::Busy;

fn busy(mode: Busy) -> (Vec<String>, String) {
    let (mut world, worker) = world();
    world.settings.session.busy = mode;
    world.life(async |life| {
        life.say("7", "alice", "work 5").await;
        life.say("7", "alice", "one").await;
        life.say("7", "alice", "two").await;
        life.pass(secs(20)).await;
    });
    (worker.runs().into_iter().map(|(asked, _)| asked).collect(), world.stage("stage").heard_in("7").join(" | "))
}

#[test]
fn busy_modes() {
    assert_eq!(busy(Busy::Collect), (vec!["work 5".to_owned(), "one + two".to_owned()], "work 5: done | one + two: done".to_owned()));
    let each = vec!["work 5".to_owned(), "one".to_owned(), "two".to_owned()];
    assert_eq!(busy(Busy::Queue), (each, "work 5: done | one: done | two: done".to_owned()));
}

#[test]
fn interrupt_cuts_the_turn_and_answers_what_came() {
    let (asked, heard) = busy(Busy::Interrupt);
    assert_eq!(asked.first().map(String::as_str), Some("work 5"));
    assert!(!heard.contains("work 5: done"), "{heard}");
    assert!(heard.ends_with("one + two: done") || heard.ends_with("one: done | two: done"), "{heard}");
}

#[test]
fn too_many_are_refused_with_one_word_a_minute() {
    let (mut world, worker) = world();
    world.settings.session.backlog = 2;
    world.life(async |life| {
        life.say("7", "alice", "work 5").await;
        for text in ["one", "two", "three", "four"] {
            life.say("7", "alice", text).await;
        }
        life.pass(secs(10)).await;
        life.say("7", "alice", "five").await;
        life.pass(secs(1)).await;
    });
    let asked: Vec<_> = worker.runs().into_iter().map(|(asked, _)| asked).collect();
    assert_eq!(asked, ["work 5", "one + two", "five"]);
    world.expect(
        " 0s  alice in 7  work 5
          0s  alice in 7  one
          0s  alice in 7  two
          0s  alice in 7  three
          0s  → 7         🚦 Too many messages. Some were not taken up; please slow down.
          0s  alice in 7  four
          5s  → 7         work 5: done
          5s  → 7         one + two: done
         10s  alice in 7  five
         10s  → 7         five: done",
    );
}

#[test]
fn a_sender_who_floods_is_slowed_and_can_still_stop() {
    let (mut world, _) = world();
    world.settings.session.sender_per_minute = 2;
    world.life(async |life| {
        life.say("7", "alice", "work 50").await;
        life.say("7", "alice", "one").await;
        life.say("7", "alice", "two").await;
        life.say("9", "alice", "elsewhere").await;
        life.say("7", "alice", "/stop").await;
        life.say("7", "bob", "hello").await;
        life.pass(secs(61)).await;
        life.say("7", "alice", "again").await;
    });
    world.expect(
        " 0s  alice in 7  work 50
          0s  alice in 7  one
          0s  alice in 7  two
          0s  → 7         🚦 Too many messages. Some were not taken up; please slow down.
          0s  alice in 9  elsewhere
          0s  → 9         🚦 Too many messages. Some were not taken up; please slow down.
          0s  alice in 7  /stop
          0s  → 7         ⏹️ Stopped. Dropped: 1.
          0s  bob in 7    hello
          0s  → 7         hello: done
         61s  alice in 7  again
         61s  → 7         again: done",
    );
}

#[test]
fn too_large_is_said_and_nothing_of_it_is_kept() {
    let (mut world, worker) = world();
    world.settings.session.message_bytes = 10;
    world.life(async |life| {
        life.say("7", "alice", "this is far too large").await;
        life.say("7", "alice", "short").await;
    });
    assert_eq!(worker.runs(), [("short".to_owned(), 1)]);
    world.expect(
        "0s  alice in 7  this is far too large
         0s  → 7         📏 That message is too large. Please send a shorter one.
         0s  alice in 7  short
         0s  → 7         short: done",
    );
}

#[test]
fn g04_a_repeated_delivery_is_answered_once_also_by_another_life() {
    let (mut world, worker) = world();
    let stage = world.stage("stage");
    let mut delivery = None;
    world.life(async |life| {
        delivery = Some(stage.say("7", "alice", "hello"));
        life.settle().await;
        stage.redeliver(delivery.as_ref().expect("it was said"), "7", "alice", "hello");
        life.settle().await;
    });
    world.life(async |life| {
        stage.redeliver(delivery.as_ref().expect("it was said"), "7", "alice", "hello");
        life.settle().await;
        assert_eq!(stage.unaccepted(), 0, "the platform may forget it");
    });
    assert_eq!(worker.runs(), [("hello".to_owned(), 1)]);
    assert_eq!(stage.heard_in("7"), ["hello: done"]);
}

#[test]
fn an_agent_without_progress_is_cut_and_says_so() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "hang").await;
        life.pass(secs(301)).await;
        life.say("7", "alice", "hello").await;
    });
    world.expect(
        "  0s  alice in 7  hang
         300s  → 7         ⏱️ Your task took too long (5m without progress) and was cut. Use /retry to run it again.
         301s  alice in 7  hello
         301s  → 7         hello: done",
    );
}

#[test]
fn an_agent_that_never_ends_is_cut_and_says_so() {
    let (mut world, _) = world();
    world.settings.session.turn_limit = secs(90);
    world.life(async |life| {
        life.say("7", "alice", "work 1000").await;
        life.pass(secs(95)).await;
        life.say("7", "alice", "hello").await;
    });
    world.expect(
        " 0s  alice in 7  work 1000
         90s  → 7         ⏱️ Your task took too long (over 1m 30s) and was cut. Use /retry to run it again.
         95s  alice in 7  hello
         95s  → 7         hello: done",
    );
}
