//! A ledger that cannot commit, or does not know: nothing is acknowledged that is not durable, and nothing hangs.

use super::{outcomes, pairs, secs, told, words, world};
use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::platform::Abilities;
use switchboard_actors::protocol::Bulletin;
use switchboard_actors::shutdown::{Outcome, ShutdownKind};
use switchboard_actors::testkit::frail::{Condition, Frail, Health};
use switchboard_actors::testkit::stage::Stage;
use switchboard_actors::testkit::worker::Worker;
use switchboard_actors::testkit::world::World;

/// A world on a ledger that can fall ill.
fn frail_world() -> (World, Worker, Condition) {
    let (mut world, worker) = world();
    let (books, condition) = (MemoryLedger::new(), Condition::default());
    let ledger = condition.clone();
    world.set_ledger(move || Box::new(Frail::new(books.shared(), &ledger)));
    (world, worker, condition)
}

#[test]
fn messages_are_accepted_once_the_ledger_is_back() {
    let (mut world, worker, condition) = frail_world();
    world.life(async |life| {
        condition.set(Health::Full);
        life.say("7", "alice", "hello").await;
        life.pass(secs(30)).await;
        assert_eq!(life.status().await.not_ready, ["ledger: not committed: the disk is full"]);
        assert_eq!(worker.runs(), []);
        condition.set(Health::Well);
        life.pass(secs(20)).await;
        assert_eq!(life.status().await.not_ready, Vec::<String>::new());
        assert_eq!(worker.runs(), [("hello".to_owned(), 1)]);
    });
    world.expect(
        " 0s  alice in 7  hello
         32s  → 7         hello: done",
    );
}

#[test]
fn g41_a_full_ledger_takes_in_nothing_new_and_finishes_what_it_has() {
    let (mut world, worker, condition) = frail_world();
    world.settings.ledger.max_bytes = 1_000;
    world.life(async |life| {
        life.say("7", "alice", "work 5").await;
        life.say("7", "alice", "next").await;
        condition.use_bytes(1_000);
        life.pass(secs(10)).await;
        life.say("9", "bob", "hello").await;
        life.pass(secs(10)).await;
        let full = life.status().await.not_ready.join(", ");
        assert!(full.starts_with("ledger: it is full: 1000 bytes are in use of ledger.max_bytes = 1000"), "{full}");
        assert_eq!(worker.runs(), [("work 5".to_owned(), 1), ("next".to_owned(), 1)]);
        // Whatever is written makes it look again, as a prune does.
        condition.use_bytes(999);
        life.shut_down(ShutdownKind::Restart).await;
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["work 5: done", "next: done"]);
    assert_eq!(world.stage("stage").heard_in("9"), Vec::<String>::new());
    condition.use_bytes(0);
    world.life(async |life| life.pass(secs(20)).await);
    assert_eq!(world.stage("stage").heard_in("9"), ["hello: done"]);
}

#[test]
fn an_answer_waits_for_the_ledger() {
    let (mut world, worker, condition) = frail_world();
    world.life(async |life| {
        life.say("7", "alice", "work 5").await;
        condition.set(Health::Full);
        life.pass(secs(30)).await;
        assert_eq!(life.stage("stage").heard_in("7"), Vec::<String>::new(), "nothing is said that is not durable");
        condition.set(Health::Well);
        life.pass(secs(20)).await;
        life.shut_down(ShutdownKind::Stop).await;
    });
    assert_eq!(worker.runs(), [("work 5".to_owned(), 1)]);
    world.expect(
        " 0s  alice in 7  work 5
         33s  → 7         work 5: done
         50s  drain
         50s  mark
         50s  down        clean",
    );
}

#[test]
fn a_commit_that_nobody_knows_of_is_written_again() {
    for health in [Health::Mumbling, Health::Forgetful, Health::Falling] {
        let (mut world, worker, condition) = frail_world();
        world.life(async |life| {
            life.say("7", "alice", "work 5").await;
            condition.set(health);
            life.say("9", "bob", "hello").await;
            life.pass(secs(10)).await;
            condition.set(health);
            life.pass(secs(10)).await;
            let report = life.shut_down(ShutdownKind::Stop).await;
            assert!(!report.verdict.is_clean() || report.census == 2, "{health:?}: {report:?}");
        });
        assert_eq!(world.stage("stage").heard_in("7"), ["work 5: done"], "{health:?}");
        assert_eq!(world.stage("stage").heard_in("9"), ["hello: done"], "{health:?}");
        assert_eq!(worker.runs().len(), 2, "{health:?}");
    }
}

#[test]
fn an_unknown_commit_that_cannot_be_read_back_ends_the_process() {
    let (mut world, _, condition) = frail_world();
    world.life(async |life| {
        condition.set(Health::Gone);
        life.say("7", "alice", "hello").await;
        life.until(|bulletins| bulletins.iter().any(|bulletin| matches!(bulletin, Bulletin::Lost(_)))).await;
    });
    condition.set(Health::Well);
    world.life(async |life| life.pass(secs(5)).await);
    world.expect(
        "0s  alice in 7  hello
         0s  → 7         hello: done",
    );
}

#[test]
fn a_shutdown_without_a_ledger_tells_once_and_leaves_no_flag() {
    let (mut world, _, condition) = frail_world();
    let folder = tempfile::tempdir().expect("a folder");
    world.set_marker(folder.path().join("clean"));
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        life.say("9", "bob", "hello").await;
        condition.set(Health::Full);
        let report = life.shut_down(ShutdownKind::Restart).await;
        assert_eq!(told(&report), words(&[("7", "sent")]));
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Silent)]));
        assert!(report.verdict.to_string().contains("the ledger could not commit"), "{}", report.verdict);
        assert!(report.took < secs(65), "{report:?}");
    });
    assert!(!folder.path().join("clean").exists());
    condition.set(Health::Well);
    world.life(async |life| life.pass(secs(5)).await);
    world.expect(
        " 0s  alice in 7  work 100
          0s  bob in 9    hello
          0s  → 9         hello: done
          0s  announce
          0s  drain
          0s  → 7         ⚠️ Gateway restarting — your current task has up to 53s to finish, then it will be interrupted. Use /retry after restart to continue.
         53s  interrupt
         55s  mark
         57s  down        not clean: the ledger could not commit; the marker was not written in time; stage room 7 is silent: what became of its task could not be recorded
         57s  → 7         ✂️ Your task was interrupted (crash). Use /retry to run it again, /new to drop it.",
    );
}

#[test]
fn a_quiet_gateway_without_a_ledger_does_not_wait_for_it_for_long() {
    let (mut world, _, condition) = frail_world();
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        condition.set(Health::Full);
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(!report.verdict.is_clean());
        assert!(report.took < secs(10), "{report:?}");
    });
}

#[test]
fn a_ledger_that_was_ill_during_the_shutdown_makes_it_unclean_but_loses_nothing() {
    let (mut world, worker, condition) = frail_world();
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.ask_for(ShutdownKind::Restart, None).await;
        condition.set(Health::Full);
        life.say("9", "bob", "hello").await;
        life.pass(secs(15)).await;
        condition.set(Health::Well);
        let report = life.down().await;
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Finished)]));
        assert!(!report.verdict.is_clean(), "{report:?}");
    });
    world.life(async |life| life.pass(secs(5)).await);
    assert_eq!(worker.runs(), [("work 10".to_owned(), 1), ("hello".to_owned(), 1)]);
    world.expect(
        " 0s  alice in 7  work 10
          0s  announce
          0s  drain
          0s  → 7         ⚠️ Gateway restarting — your current task has up to 53s to finish, then it will be interrupted. Use /retry after restart to continue.
          0s  bob in 9    hello
         22s  → 7         work 10: done
         22s  → 9         📥 Saved — will be answered when the gateway is back.
         22s  mark
         22s  down        not clean: the ledger could not commit
         22s  → 7         ✅ Back, after 1s (restart).
         22s  → 9         ✅ Back, after 1s (restart).
         22s  → 9         hello: done",
    );
}

#[test]
fn g18_stop_works_without_a_ledger_and_is_answered_once() {
    let (mut world, worker, condition) = frail_world();
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        condition.set(Health::Full);
        life.say("7", "alice", "/stop").await;
        assert_eq!(life.status().await.running_count, 0, "it acts on arrival");
        condition.set(Health::Well);
        life.pass(secs(30)).await;
        assert_eq!(life.stage("stage").unaccepted(), 0, "it is on record, and has its answer");
    });
    assert_eq!(worker.runs().len(), 1);
    world.expect(
        "0s  alice in 7  work 100
         0s  alice in 7  /stop
         0s  → 7         ⏹️ Stopped. Dropped: 0.",
    );
}

#[test]
fn g16_a_command_whose_commit_was_unknown_is_answered_all_the_same() {
    let (mut world, _, condition) = frail_world();
    world.life(async |life| {
        condition.set(Health::Mumbling);
        life.say("7", "alice", "/whoami").await;
        life.pass(secs(30)).await;
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["You are stage:alice (alice)."]);
}

#[test]
fn g02_a_notice_that_could_not_be_recorded_takes_no_number_of_a_later_reply() {
    let (mut world, _, condition) = frail_world();
    let stage = world.add_stage("stage", Abilities { idempotent: true, ..Stage::plain() });
    world.life(async |life| {
        life.say("7", "alice", "hang").await;
        condition.set(Health::Full);
        life.shut_down(ShutdownKind::Restart).await;
    });
    condition.set(Health::Well);
    world.life(async |life| {
        for _ in 0..9 {
            life.say("7", "alice", "/whoami").await;
        }
    });
    let answers = stage.heard_in("7").into_iter().filter(|text| text.starts_with("You are")).count();
    assert_eq!(answers, 9, "{:?}", stage.heard_in("7"));
}
