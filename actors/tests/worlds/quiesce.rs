//! Quiesce and roll call: the census closes, what arrives is saved, and everybody who is there is counted.

use std::time::Duration;

use super::{outcomes, pairs, secs, told, words, world};
use switchboard_actors::ids::{ChatId, SessionKey};
use switchboard_actors::ledger::{Knowledge, Question};
use switchboard_actors::protocol::Hold;
use switchboard_actors::shutdown::{Outcome, Phase, ShutdownKind};
use switchboard_actors::testkit::tripwire::Tripwire;

#[test]
fn a_quiet_gateway_goes_at_once_and_skips_what_nobody_needs() {
    let (mut world, _) = world();
    world.life(async |life| {
        let report = life.shut_down(ShutdownKind::Stop).await;
        let phases: Vec<Phase> = report.phases.iter().map(|time| time.phase).collect();
        assert_eq!(phases, [Phase::Quiesce, Phase::Flush, Phase::Disconnect, Phase::Mark, Phase::Close]);
        assert!(report.took < secs(1), "{report:?}");
    });
    world.expect(
        "0s  mark
         0s  down  clean",
    );
}

#[test]
fn g01_a_message_during_the_drain_is_saved_told_once_and_answered_by_the_next_life() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 20").await;
        life.say("9", "bob", "hello").await;
        life.ask_for(ShutdownKind::Restart, None).await;
        assert_eq!(life.status().await.not_ready, ["going down"]);
        let sessions = life.status().await.sessions;
        life.pass(secs(3)).await;
        life.say("7", "alice", "also this").await;
        life.say("7", "alice", "and this").await;
        life.say("9", "bob", "me too").await;
        life.say("11", "carol", "and me").await;
        assert!(life.status().await.sessions <= sessions, "nobody is born after the census closed");
        let report = life.down().await;
        assert!(report.verdict.is_clean(), "{report:?}");
        assert_eq!((report.census, report.idle), (2, 1));
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Finished)]));
    });
    assert_eq!(worker.runs(), [("work 20".to_owned(), 1), ("hello".to_owned(), 1)], "no turn starts while going down");
    world.life(async |life| life.pass(secs(1)).await);
    world.expect(
        " 0s  alice in 7   work 20
          0s  bob in 9     hello
          0s  → 9          hello: done
          0s  announce
          0s  drain
          0s  → 7          ⚠️ Gateway restarting — your current task has up to 53s to finish, then it will be interrupted. Use /retry after restart to continue.
          3s  alice in 7   also this
          3s  → 7          📥 Saved — will be answered when the gateway is back.
          3s  alice in 7   and this
          3s  bob in 9     me too
          3s  → 9          📥 Saved — will be answered when the gateway is back.
          3s  carol in 11  and me
          3s  → 11         📥 Saved — will be answered when the gateway is back.
         20s  → 7          work 20: done
         20s  mark
         20s  down         clean
         20s  → 7          ✅ Back, after 1s (restart).
         20s  → 9          ✅ Back, after 1s (restart).
         20s  → 11         ✅ Back, after 1s (restart).
         20s  → 7          also this + and this: done
         20s  → 9          me too: done
         20s  → 11         and me: done",
    );
}

#[test]
fn a_command_during_the_drain_is_answered() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 20").await;
        life.ask_for(ShutdownKind::Stop, None).await;
        life.say("9", "bob", "/whoami").await;
        life.say("7", "alice", "/status").await;
        life.say("7", "alice", "/queue").await;
        life.say("7", "alice", "/restart").await;
        life.down().await;
    });
    world.expect(
        " 0s  alice in 7  work 20
          0s  announce
          0s  drain
          0s  → 7         ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
          0s  bob in 9    /whoami
          0s  → 9         You are stage:bob (bob).
          0s  alice in 7  /status
          0s  → 7         ⚙️ Working for 1s. Waiting: 0.
          0s  alice in 7  /queue
          0s  → 7         Nothing waits.
          0s  alice in 7  /restart
          0s  → 7         🔒 Only administrators may do that.
         20s  → 7         work 20: done
         20s  mark
         20s  down        clean",
    );
}

#[test]
fn stop_during_the_drain_stops_and_the_shutdown_goes_on_at_once() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 40").await;
        life.ask_for(ShutdownKind::Stop, None).await;
        life.say("7", "alice", "and this").await;
        life.say("7", "alice", "/stop").await;
        let report = life.down().await;
        assert!(report.verdict.is_clean() && report.took < secs(1), "{report:?}");
    });
    world.life(async |life| life.pass(secs(1)).await);
    world.expect(
        "0s  alice in 7  work 40
         0s  announce
         0s  drain
         0s  → 7         ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
         0s  alice in 7  and this
         0s  → 7         📥 Saved — will be answered when the gateway is back.
         0s  alice in 7  /stop
         0s  → 7         ⏹️ Stopped. Dropped: 1.
         0s  mark
         0s  down        clean
         0s  → 7         ✅ Back, after 1s (stop).",
    );
}

#[test]
fn g06_running_work_is_told_before_waiting_and_idle_chats_are_left_alone() {
    let (mut world, _) = world();
    world.settings.session.busy = switchboard_actors::settings::Busy::Queue;
    world.life(async |life| {
        life.say("idle", "ann", "hello").await;
        life.say("young", "bob", "work 9").await;
        life.pass(secs(1)).await;
        life.gateway.supervisor.do_send(switchboard_actors::protocol::Hold);
        life.say("waiting", "eve", "hello").await;
        life.pass(secs(1)).await;
        let report = life.shut_down(ShutdownKind::Restart).await;
        assert_eq!(told(&report), words(&[("young", "sent"), ("waiting", "sent")]));
        assert_eq!((report.census, report.idle), (3, 2));
    });
    world.expect(
        "0s  ann in idle     hello
         0s  → idle          hello: done
         0s  bob in young    work 9
         1s  eve in waiting  hello
         2s  announce
         2s  drain
         2s  → young         ⚠️ Gateway restarting — your current task has up to 53s to finish, then it will be interrupted. Use /retry after restart to continue.
         2s  → waiting       ⏳ Gateway restarting — your message is saved and will be answered when it is back.
         9s  → young         work 9: done
         9s  mark
         9s  down            clean",
    );
}

#[test]
fn a_session_that_is_silent_is_told_all_the_same() {
    let (mut world, _) = world();
    // It fell, and takes longer to stand up than anybody waits.
    (world.settings.supervision.backoff_first, world.settings.supervision.backoff_most) = (secs(120), secs(120));
    world.life(async |life| {
        let wire = Tripwire::on("turn started", 1);
        life.say("7", "alice", "hello").await;
        assert!(wire.is_spent());
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!(told(&report), words(&[("7", "sent")]));
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Silent)]));
        assert!(!report.verdict.is_clean());
        // It stands up to find that everybody has left.
        life.pass(secs(120)).await;
    });
    let key = SessionKey { chat: ChatId::new("stage", "7"), member: None };
    world.life(async |life| {
        life.pass(secs(1)).await;
        match life.inquire(Question::Session(key)).await {
            Knowledge::Session(view) => assert!(view.cut.is_some(), "{view:?}"),
            other => panic!("{other:?}"),
        }
    });
    world.expect(
        "  0s  alice in 7  hello
           1s  announce
           1s  drain
           1s  → 7         ⚠️ Gateway shutting down — your current task has up to 52s to finish, then it will be interrupted. Use /retry when it is back.
          53s  interrupt
          55s  mark
          55s  down        not clean: stage room 7 is silent: it answered nothing
         175s  → 7         ✅ Back, after 2m 1s (stop).
         175s  → 7         ✂️ Your task was interrupted (stop). Use /retry to run it again, /new to drop it.",
    );
}

#[test]
fn a_session_that_stands_up_in_time_finishes() {
    let (mut world, _) = world();
    (world.settings.supervision.backoff_first, world.settings.supervision.backoff_most) = (secs(10), secs(10));
    world.life(async |life| {
        let _wire = Tripwire::on("turn started", 1);
        life.say("7", "alice", "hello").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!(told(&report), words(&[("7", "sent")]));
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Finished)]));
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    let lines = world.stage("stage").heard_in("7");
    assert_eq!(lines.last().map(String::as_str), Some("❌ That did not work: an internal error. Use /retry to try again."));
}

#[test]
fn g06_a_message_whose_turn_is_taken_back_as_the_gateway_goes_is_told() {
    let (mut world, _) = world();
    world.set_latency(Duration::from_millis(30));
    world.life(async |life| {
        life.stage("stage").say("7", "alice", "hello");
        // The start is being written as turns are held, and taken back as the gateway goes.
        life.pass(Duration::from_millis(10)).await;
        life.gateway.supervisor.do_send(Hold);
        life.pass(Duration::from_millis(30)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!(told(&report), words(&[("7", "sent")]));
    });
}
