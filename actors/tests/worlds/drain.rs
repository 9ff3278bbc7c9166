//! Drain, interrupt, flush and disconnect: who may finish, who is cut, and what is still delivered.

use super::{outcomes, pairs, secs, told, words, world};
use switchboard_actors::shutdown::{Outcome, Phase, ShutdownKind};

#[test]
fn g10_a_turn_is_finished_only_when_its_reply_is_delivered() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.ask_for(ShutdownKind::Stop, None).await;
        life.stage("stage").set_mood(|mood| mood.slow = secs(8));
        let report = life.down().await;
        assert!(report.verdict.is_clean(), "{report:?}");
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Finished)]));
    });
    world.expect(
        " 0s  alice in 7  work 10
          0s  announce
          0s  drain
          0s  → 7         ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
         18s  → 7         work 10: done
         18s  mark
         18s  down        clean",
    );
}

#[test]
fn a_reply_that_is_already_on_its_way_is_awaited() {
    let (mut world, _) = world();
    world.stage("stage").set_mood(|mood| mood.slow = secs(8));
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Finished)]));
        assert_eq!(told(&report), words(&[]));
    });
    world.expect(
        "0s  alice in 7  hello
         0s  drain
         8s  → 7         hello: done
         8s  mark
         8s  down        clean",
    );
}

#[test]
fn g02_a_reply_to_a_platform_that_is_down_is_owed_at_once_and_delivered_by_the_next_life() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 5").await;
        life.stage("stage").set_mood(|mood| mood.down = true);
        life.pass(secs(1)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Owing)]));
        assert!(!report.verdict.is_clean() && report.took < secs(6), "{report:?}");
    });
    world.stage("stage").set_mood(|mood| mood.down = false);
    world.life(async |life| life.pass(secs(1)).await);
    world.expect(
        "0s  alice in 7  work 5
         1s  announce
         1s  drain
         5s  mark
         5s  down        not clean: stage room 7 is owing: its platform is down
         5s  → 7         work 5: done",
    );
}

#[test]
fn a_reply_that_is_due_after_the_deadline_is_owed_at_once() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.busy = Some((secs(300), false)));
        life.say("7", "alice", "hello").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Owing)]));
        assert!(report.took < secs(1), "{report:?}");
    });
    world.life(async |life| life.pass(secs(400)).await);
    world.expect(
        "  0s  alice in 7  hello
           0s  drain
           0s  mark
           0s  down        not clean: stage room 7 is owing: its answer is not due before the deadline
         300s  → 7         hello: done",
    );
}

#[test]
fn a_reply_of_a_session_that_left_memory_counts_in_the_census() {
    let (mut world, _) = world();
    world.settings.session.idle_after = secs(10);
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.busy = Some((secs(40), false)));
        life.say("7", "alice", "hello").await;
        life.pass(secs(25)).await;
        assert_eq!(life.status().await.sessions, 0, "it left");
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!((report.census, report.idle), (1, 0));
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Finished)]));
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    world.expect(
        " 0s  alice in 7  hello
         25s  drain
         40s  → 7         hello: done
         40s  mark
         40s  down        clean",
    );
}

#[test]
fn a_cut_turn_is_recorded_and_can_be_retried_in_the_next_life() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        let report = life.shut_down(ShutdownKind::Restart).await;
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Interrupted)]));
        assert_eq!(report.phases.iter().find(|time| time.phase == Phase::Interrupt).map(|time| time.began), Some(secs(53)));
    });
    world.life(async |life| {
        life.pass(secs(5)).await;
        life.say("7", "alice", "/retry").await;
        life.pass(secs(101)).await;
    });
    assert_eq!(worker.runs(), [("work 100".to_owned(), 1), ("work 100".to_owned(), 2)]);
    world.expect(
        "  0s  alice in 7  work 100
           0s  announce
           0s  drain
           0s  → 7         ⚠️ Gateway restarting — your current task has up to 53s to finish, then it will be interrupted. Use /retry after restart to continue.
          53s  interrupt
          53s  mark
          53s  down        not clean: stage room 7 is interrupted: its task was cut and can be run again
          53s  → 7         ✅ Back, after 1s (restart).
          53s  → 7         ✂️ Your task was interrupted (restart). Use /retry to run it again, /new to drop it.
          58s  alice in 7  /retry
         158s  → 7         work 100: done",
    );
}

#[test]
fn a_turn_that_was_started_but_not_dispatched_is_taken_back() {
    let (mut world, worker) = world();
    world.set_latency(secs(2));
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        life.pass(secs(1)).await;
        // Its start is in the very commit that is under way.
        let report = life.shut_down(ShutdownKind::Restart).await;
        assert_eq!((report.census, report.idle), (1, 1));
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    assert_eq!(worker.runs(), [], "it was not dispatched");
    world.life(async |life| life.pass(secs(10)).await);
    assert_eq!(worker.runs(), [("hello".to_owned(), 1)], "the attempt was not counted");
    world.expect(
        " 2s  alice in 7  hello
          3s  announce
          3s  drain
          4s  → 7         ⏳ Gateway restarting — your message is saved and will be answered when it is back.
          8s  mark
         10s  down        clean
         14s  → 7         ✅ Back, after 5s (restart).
         16s  → 7         hello: done",
    );
}

#[test]
fn a_grace_below_the_minimum_is_raised_and_the_notice_says_that_no_time_is_left() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 30").await;
        life.ask_for(ShutdownKind::Restart, Some(secs(1))).await;
        let report = life.down().await;
        assert_eq!(told(&report), words(&[("7", "sent")]));
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Interrupted)]));
        assert!(report.took < secs(11), "{report:?}");
    });
    world.expect(
        "0s  alice in 7  work 30
         0s  announce
         0s  drain
         0s  → 7         ⚠️ Gateway restarting — your current task has up to 4s to finish, then it will be interrupted. Use /retry after restart to continue.
         4s  interrupt
         4s  mark
         4s  down        not clean: stage room 7 is interrupted: its task was cut and can be run again",
    );
}

#[test]
fn flush_gives_a_reply_its_last_chance() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 52").await;
        life.ask_for(ShutdownKind::Stop, None).await;
        life.stage("stage").set_mood(|mood| mood.slow = secs(4));
        let report = life.down().await;
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Owing)]));
    });
    world.life(async |life| life.pass(secs(20)).await);
    world.expect(
        " 0s  alice in 7  work 52
          0s  announce
          0s  drain
          0s  → 7         ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
         53s  interrupt
         56s  → 7         work 52: done
         56s  mark
         56s  down        not clean: stage room 7 is owing: its answer is still on its way
         60s  → 7         ✅ Back, after 1s (stop).",
    );
}
