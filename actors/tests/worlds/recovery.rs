//! Coming back: what a life that was cut left open is told, run again, parked or held.

use super::{secs, world};
use switchboard_actors::protocol::Resume;
use switchboard_actors::settings::Policy;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::world::World;

/// A life that is cut while it works on what alice asked.
fn cut_life(world: &mut World, asked: &str) {
    world.life(async |life| {
        life.say("7", "alice", asked).await;
        life.pass(secs(2)).await;
    });
}

fn lives(world: &mut World, count: u32, span: u64) {
    for _ in 0..count {
        world.life(async |life| life.pass(secs(span)).await);
        world.pass(secs(1));
    }
}

#[test]
fn g01_ask_tells_once_and_runs_again_on_retry() {
    let (mut world, worker) = world();
    cut_life(&mut world, "work 10");
    lives(&mut world, 2, 5);
    assert_eq!(worker.runs().len(), 1, "nothing runs by itself");
    world.life(async |life| {
        life.pass(secs(1)).await;
        life.say("7", "alice", "/retry").await;
        life.pass(secs(12)).await;
        life.say("7", "alice", "/retry").await;
        life.pass(secs(12)).await;
    });
    assert_eq!(worker.runs().len(), 3);
    world.expect(
        " 0s  alice in 7  work 10
          2s  → 7         ✂️ Your task was interrupted (crash). Use /retry to run it again, /new to drop it.
         15s  alice in 7  /retry
         25s  → 7         work 10: done
         27s  alice in 7  /retry
         37s  → 7         work 10: done",
    );
}

#[test]
fn resume_runs_again_by_itself() {
    let (mut world, worker) = world();
    world.settings.recovery.policy = Policy::Resume;
    cut_life(&mut world, "work 10");
    lives(&mut world, 1, 15);
    assert_eq!(worker.runs(), [("work 10".to_owned(), 1), ("work 10".to_owned(), 2)]);
    world.expect(
        " 0s  alice in 7  work 10
         12s  → 7         work 10: done",
    );
}

#[test]
fn hold_says_nothing_until_somebody_asks() {
    let (mut world, worker) = world();
    world.settings.recovery.policy = Policy::Hold;
    cut_life(&mut world, "work 10");
    lives(&mut world, 1, 15);
    assert_eq!(worker.runs().len(), 1);
    world.life(async |life| {
        life.say("7", "alice", "/status").await;
        life.say("7", "alice", "/retry").await;
        life.pass(secs(12)).await;
    });
    world.expect(
        " 0s  alice in 7  work 10
         18s  alice in 7  /status
         18s  → 7         ✂️ Your last task was interrupted (crash). Use /retry to run it again, /new to drop it. Waiting: 0.
         18s  alice in 7  /retry
         28s  → 7         work 10: done",
    );
}

#[test]
fn g15_a_turn_that_crashes_the_gateway_each_time_is_parked_and_told() {
    let (mut world, worker) = world();
    world.settings.recovery.policy = Policy::Resume;
    world.settings.recovery.crash_loop.starts = 0;
    cut_life(&mut world, "work 10");
    lives(&mut world, 4, 3);
    let attempts: Vec<u32> = worker.runs().iter().map(|(_, attempt)| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3], "and then no more");
    world.life(async |life| {
        life.say("7", "alice", "/retry").await;
        life.pass(secs(12)).await;
    });
    world.expect(
        " 0s  alice in 7  work 10
         10s  → 7         🛑 Stopped after 3 attempts. Use /retry to try again.
         18s  alice in 7  /retry
         28s  → 7         work 10: done",
    );
}

#[test]
fn planned_interrupts_are_no_strikes() {
    let (mut world, worker) = world();
    world.settings.recovery.crash_loop.starts = 0;
    world.settings.recovery.policy = Policy::Resume;
    for _ in 0..5 {
        world.life(async |life| {
            if worker.runs().is_empty() {
                life.say("7", "alice", "work 600").await;
            }
            life.pass(secs(5)).await;
            life.shut_down(ShutdownKind::Restart).await;
        });
    }
    assert_eq!(worker.runs().len(), 5, "it is never parked");
}

#[test]
fn g01_a_crash_loop_is_held_and_said_until_an_operator_resumes() {
    let (mut world, worker) = world();
    world.settings.recovery.policy = Policy::Resume;
    cut_life(&mut world, "work 10");
    lives(&mut world, 2, 3);
    assert_eq!(worker.runs().len(), 3);
    world.settings.recovery.max_attempts = 9;
    world.life(async |life| {
        life.pass(secs(3)).await;
        assert!(life.status().await.held.is_some());
        life.say("9", "bob", "work 5").await;
        life.say("11", "carol", "hello").await;
        assert_eq!(life.status().await.running_count, 1, "new turns go one at a time");
        life.pass(secs(10)).await;
        assert_eq!(worker.runs().len(), 5, "the suspect waits");
        life.gateway.supervisor.do_send(Resume);
        life.pass(secs(15)).await;
        life.shut_down(ShutdownKind::Stop).await;
    });
    world.expect(
        " 0s  alice in 7   work 10
         10s  → 7          ✂️ Your task was interrupted (crash). Use /retry to run it again, /new to drop it.
         13s  bob in 9     work 5
         13s  carol in 11  hello
         18s  → 9          work 5: done
         18s  → 11         hello: done
         33s  → 7          work 10: done
         38s  drain
         38s  mark
         38s  down         clean",
    );
}

#[test]
fn g05_a_message_after_the_word_supersedes_the_cut_turn() {
    let (mut world, worker) = world();
    cut_life(&mut world, "work 10");
    world.life(async |life| {
        life.pass(secs(2)).await;
        life.say("7", "alice", "something else").await;
        life.say("7", "alice", "/retry").await;
        life.pass(secs(2)).await;
    });
    assert_eq!(worker.runs().last().map(|(asked, _)| asked.as_str()), Some("something else"), "the cut turn is closed");
    world.expect(
        "0s  alice in 7  work 10
         2s  → 7         ✂️ Your task was interrupted (crash). Use /retry to run it again, /new to drop it.
         4s  alice in 7  something else
         4s  → 7         something else: done
         4s  alice in 7  /retry
         4s  → 7         something else: done",
    );
}

#[test]
fn a_message_that_waited_when_the_life_was_cut_is_answered_without_asking() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.say("7", "alice", "and this").await;
    });
    world.life(async |life| {
        life.pass(secs(2)).await;
        life.say("7", "alice", "/retry").await;
        life.pass(secs(12)).await;
    });
    world.expect(
        " 0s  alice in 7  work 10
          0s  alice in 7  and this
          0s  → 7         ✂️ Your task was interrupted (crash). Use /retry to run it again, /new to drop it.
          0s  → 7         and this: done
          2s  alice in 7  /retry
         12s  → 7         work 10: done",
    );
}

#[test]
fn new_and_stop_close_a_cut_turn() {
    for command in ["/new", "/stop"] {
        let (mut world, worker) = world();
        cut_life(&mut world, "work 10");
        world.life(async |life| {
            life.pass(secs(2)).await;
            life.say("7", "alice", command).await;
            life.say("7", "alice", "/status").await;
            life.pass(secs(2)).await;
        });
        assert_eq!(worker.runs().len(), 1, "{command}");
        let heard = world.stage("stage").heard_in("7");
        assert_eq!(heard.last().map(String::as_str), Some("💤 Nothing to do. Waiting: 0."), "{command}: {heard:?}");
    }
}

#[test]
fn g07_back_is_said_once_over_two_crashes() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.ask_for(ShutdownKind::Restart, None).await;
        life.down().await;
    });
    world.pass(secs(30));
    lives(&mut world, 3, 2);
    let heard = world.stage("stage").heard_in("7");
    assert_eq!(heard.iter().filter(|text| text.contains("Back")).count(), 1, "{heard:?}");
}

#[test]
fn g07_back_is_not_said_after_a_day() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.shut_down(ShutdownKind::Stop).await;
    });
    world.pass(secs(25 * 3600));
    lives(&mut world, 1, 2);
    let heard = world.stage("stage").heard_in("7");
    assert!(!heard.iter().any(|text| text.contains("Back")), "{heard:?}");
}

#[test]
fn g14_a_tool_call_that_was_cut_is_closed_as_unknown() {
    let (mut world, worker) = world();
    cut_life(&mut world, "tool 10");
    world.life(async |life| {
        life.pass(secs(2)).await;
        life.say("7", "alice", "/retry").await;
        life.pass(secs(12)).await;
    });
    assert_eq!(worker.runs().len(), 2);
    world.expect(
        " 0s  alice in 7  tool 10
          2s  → 7         ✂️ Your task was interrupted (crash). Use /retry to run it again, /new to drop it.
          4s  alice in 7  /retry
         14s  → 7         tool 10: done",
    );
}

#[test]
fn g17_a_cut_turn_that_its_user_dropped_does_not_hold_up_the_others() {
    let (mut world, worker) = world();
    world.settings.recovery.policy = Policy::Resume;
    world.life(async |life| {
        for room in ["a", "b", "c"] {
            life.say(room, "alice", "work 5").await;
        }
    });
    world.life(async |life| {
        life.pass(secs(1)).await;
        assert_eq!(worker.runs().len(), 4, "one suspect at a time");
        life.say("b", "alice", "/stop").await;
        life.pass(secs(20)).await;
    });
    assert_eq!(worker.runs().len(), 5);
    assert_eq!(world.stage("stage").heard_in("c"), ["work 5: done"]);
}

#[test]
fn g25_a_crash_loop_waits_to_connect_and_is_ready_meanwhile() {
    let (mut world, _) = world();
    lives(&mut world, 8, 1);
    let stage = world.stage("stage");
    let before = stage.connects();
    world.life(async |life| {
        let status = life.status().await;
        assert!(status.not_ready.is_empty() && status.held.is_some(), "{status:?}");
        assert_eq!((status.adapters_waiting, status.adapters_wait_ms.div_ceil(1000)), (1, 32));
        life.pass(secs(31)).await;
        assert_eq!((stage.connects(), life.status().await.adapters_waiting), (before, 1));
        life.say("7", "alice", "hello").await;
        life.pass(secs(1)).await;
        assert_eq!((stage.connects(), life.status().await.adapters_waiting), (before + 1, 0));
        assert_eq!(stage.heard_in("7"), ["hello: done"]);
    });
}
