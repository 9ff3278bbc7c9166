//! The end of the process, as somebody in a chat or their agent asks for it: at most once, and whoever asked hears the result.

use super::{outcomes, pairs, secs, world};
use switchboard_actors::protocol::{Hold, Resume};
use switchboard_actors::shutdown::{Outcome, ShutdownKind};
use switchboard_actors::testkit::tripwire::Tripwire;

#[test]
fn g16_the_turn_that_asked_for_a_restart_is_answered_and_never_run_again() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "restart").await;
        let report = life.down().await;
        assert_eq!(report.kind, ShutdownKind::Restart);
        assert!(report.verdict.is_clean(), "{report:?}");
        assert_eq!(outcomes(&report), pairs(&[("7", Outcome::Finished)]));
    });
    world.pass(secs(3));
    world.life(async |life| {
        life.pass(secs(5)).await;
        assert!(life.report().is_none(), "nothing asks again");
    });
    world.life(async |life| life.pass(secs(5)).await);
    assert_eq!(worker.runs(), [("restart".to_owned(), 1)]);
    world.expect(
        "0s  alice in 7  restart
         0s  drain
         0s  → 7         restarting, as you wish
         0s  mark
         0s  down        clean
         6s  → 7         ✅ Restarted, after 4s.",
    );
}

#[test]
fn g16_a_restart_by_an_admin_that_is_delivered_again_restarts_nothing() {
    let (mut world, _) = world();
    let (stage, mut delivery) = (world.stage("stage"), None);
    world.life(async |life| {
        life.say("7", "alice", "/restart").await;
        life.say("7", "alice", "work 5").await;
        delivery = Some(stage.say("9", "boss", "/restart"));
        let report = life.down().await;
        assert_eq!((report.kind, report.verdict.is_clean()), (ShutdownKind::Restart, true));
    });
    world.pass(secs(2));
    world.life(async |life| {
        life.pass(secs(1)).await;
        stage.redeliver(&delivery.take().expect("it was said"), "9", "boss", "/restart");
        life.pass(secs(5)).await;
        assert!(life.report().is_none(), "it was carried out before");
        life.say("9", "boss", "hello").await;
    });
    world.expect(
        " 0s  alice in 7  /restart
          0s  → 7         🔒 Only administrators may do that.
          0s  alice in 7  work 5
          0s  boss in 9   /restart
          0s  announce
          0s  drain
          0s  → 9         🔄 Restarting. I will say when I am back.
          0s  → 7         ⚠️ Gateway restarting — your current task has up to 53s to finish, then it will be interrupted. Use /retry after restart to continue.
          5s  → 7         work 5: done
          5s  mark
          5s  down        clean
          7s  → 7         ✅ Back, after 3s (restart).
          8s  boss in 9   /restart
         10s  → 9         ✅ Restarted, after 3s.
         13s  boss in 9   hello
         13s  → 9         hello: done",
    );
}

#[test]
fn g27_a_restart_that_failed_at_first_is_told_with_its_cause_once_a_life_lasts() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("9", "boss", "/restart").await;
        assert_eq!(life.down().await.kind, ShutdownKind::Restart);
    });
    for _ in 0..2 {
        // Each dies within the dwell time, without a word.
        world.life(async |life| life.pass(secs(2)).await);
        world.pass(secs(2));
    }
    world.life(async |life| {
        life.pass(secs(5)).await;
        assert!(life.report().is_none());
    });
    world.life(async |life| life.pass(secs(5)).await);
    world.expect(
        " 0s  boss in 9  /restart
          0s  → 9        🔄 Restarting. I will say when I am back.
          0s  mark
          0s  down       clean
         11s  → 9        ⚠️ I am back, after 9s. The restart failed twice: crash.",
    );
}

#[test]
fn a_restart_that_a_crash_cut_short_is_told_and_not_carried_out() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        life.say("9", "boss", "/restart").await;
        life.pass(secs(2)).await;
    });
    world.life(async |life| {
        life.pass(secs(5)).await;
        assert!(life.report().is_none());
    });
    world.expect(
        "0s  alice in 7  work 100
         0s  boss in 9   /restart
         0s  announce
         0s  drain
         0s  → 9         🔄 Restarting. I will say when I am back.
         0s  → 7         ⚠️ Gateway restarting — your current task has up to 53s to finish, then it will be interrupted. Use /retry after restart to continue.
         2s  → 7         ✅ Back, after 3s (cut off while shutting down).
         2s  → 7         ✂️ Your task was interrupted (cut off while shutting down). Use /retry to run it again, /new to drop it.
         5s  → 9         ⚠️ The restart you asked for was cut short (cut off while shutting down); I am back, and did not do it again.",
    );
}

#[test]
fn a_shutdown_by_an_admin_is_told_when_somebody_starts_it_again() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("9", "boss", "/shutdown").await;
        assert_eq!(life.down().await.kind, ShutdownKind::Stop);
    });
    world.pass(secs(3600));
    world.life(async |life| life.pass(secs(1)).await);
    world.expect(
        "  0s  boss in 9  /shutdown
           0s  → 9        👋 Shutting down.
           0s  mark
           0s  down       clean
         3600s  → 9        ✅ Back. The shutdown you asked for took place.",
    );
}

#[test]
fn an_agent_that_asks_to_go_down_while_others_work_lets_them_finish() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.say("9", "bob", "stop").await;
        let report = life.down().await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    world.expect(
        " 0s  alice in 7  work 10
          0s  bob in 9    stop
          0s  announce
          0s  drain
          0s  → 9         stopping, as you wish
          0s  → 7         ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
         10s  → 7         work 10: done
         10s  mark
         10s  down        clean",
    );
}

#[test]
fn g27_a_life_that_dies_while_its_platform_is_being_reached_has_not_restarted() {
    let (mut world, _) = world();
    world.settings.connection.connect_limit = secs(10);
    world.life(async |life| {
        life.say("9", "boss", "/restart").await;
        assert_eq!(life.down().await.kind, ShutdownKind::Restart);
    });
    let stage = world.stage("stage");
    // Longer alive than the dwell time, and not ready for as long.
    stage.set_mood(|mood| mood.mute = true);
    world.life(async |life| life.pass(secs(1)).await);
    stage.set_mood(|mood| mood.mute = false);
    world.life(async |life| life.pass(secs(5)).await);
    world.expect(
        " 0s  boss in 9  /restart
          0s  → 9        🔄 Restarting. I will say when I am back.
          0s  mark
          0s  down       clean
         14s  → 9        ⚠️ I am back, after 12s. The restart failed once: crash.",
    );
}

#[test]
fn g27_whoever_asked_for_a_restart_is_told_though_the_root_fell_meanwhile() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("9", "boss", "/restart").await;
        life.down().await;
    });
    world.life(async |life| {
        life.pass(secs(1)).await;
        let wire = Tripwire::on("turns are held", 1);
        life.gateway.supervisor.do_send(Hold);
        life.gateway.supervisor.do_send(Resume);
        life.pass(secs(9)).await;
        assert!(wire.is_spent());
    });
    world.expect(
        "0s  boss in 9  /restart
         0s  → 9        🔄 Restarting. I will say when I am back.
         0s  mark
         0s  down       clean
         3s  → 9        ✅ Restarted, after 1s.",
    );
}
