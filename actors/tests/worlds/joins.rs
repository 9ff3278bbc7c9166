//! A second request joins the first: it changes words and time, and never starts over.

use super::{outcomes, pairs, secs, told, words, world};
use switchboard_actors::protocol::Hurry;
use switchboard_actors::shutdown::{Outcome, Phase, RequestedBy, ShutdownKind};

#[test]
fn stop_turns_a_restart_into_a_stop_for_those_not_yet_told() {
    let (mut world, _) = world();
    world.adapter("stage").rate = Some(1.0);
    world.life(async |life| {
        life.say("first", "alice", "work 100").await;
        life.pass(secs(2)).await;
        life.say("second", "bob", "work 100").await;
        life.pass(secs(2)).await;
        life.ask_for(ShutdownKind::Restart, None).await;
        life.ask_for(ShutdownKind::Stop, None).await;
        life.ask_for(ShutdownKind::Update, None).await;
        let report = life.down().await;
        assert_eq!(report.kind, ShutdownKind::Stop);
        assert_eq!(report.phases.iter().filter(|time| time.phase == Phase::Drain).count(), 1, "it never starts over");
        assert_eq!(told(&report), words(&[("first", "sent"), ("second", "sent")]));
    });
    world.expect(
        " 0s  alice in first  work 100
          2s  bob in second   work 100
          4s  announce
          4s  drain
          4s  → first         ⚠️ Gateway restarting — your current task has up to 53s to finish, then it will be interrupted. Use /retry after restart to continue.
          5s  → second        ⚠️ Gateway shutting down — your current task has up to 52s to finish, then it will be interrupted. Use /retry when it is back.
         57s  interrupt
         57s  mark
         57s  down            not clean: stage room first is interrupted: its task was cut and can be run again; stage room second is interrupted: its task was cut and can be run again",
    );
}

#[test]
fn the_shorter_grace_wins() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        life.ask_for(ShutdownKind::Stop, None).await;
        life.pass(secs(5)).await;
        life.ask_for(ShutdownKind::Stop, Some(secs(17))).await;
        life.ask_for(ShutdownKind::Stop, Some(secs(500))).await;
        let report = life.down().await;
        let cut = report.phases.iter().find(|time| time.phase == Phase::Interrupt).expect("it was cut");
        assert_eq!(cut.began.as_secs(), 15, "10 s after the second request");
    });
    world.expect(
        " 0s  alice in 7  work 100
          0s  announce
          0s  drain
          0s  → 7         ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
         15s  interrupt
         15s  mark
         15s  down        not clean: stage room 7 is interrupted: its task was cut and can be run again",
    );
}

#[test]
fn hurry_cuts_at_once_and_everybody_is_told_first() {
    let (mut world, _) = world();
    world.adapter("stage").rate = Some(1.0);
    world.life(async |life| {
        for room in ["a", "b", "c"] {
            life.say(room, "alice", "work 100").await;
        }
        life.pass(secs(4)).await;
        life.ask_for(ShutdownKind::Restart, None).await;
        life.gateway.supervisor.do_send(Hurry(Some(RequestedBy::Embedder)));
        let report = life.down().await;
        assert_eq!(told(&report), words(&[("a", "sent"), ("b", "sent"), ("c", "sent")]));
        let cut = pairs(&[("a", Outcome::Interrupted), ("b", Outcome::Interrupted), ("c", Outcome::Interrupted)]);
        assert_eq!(outcomes(&report), cut);
        assert!(report.took < secs(5), "{report:?}");
    });
    world.expect(
        "0s  alice in a  work 100
         0s  alice in b  work 100
         0s  alice in c  work 100
         4s  announce
         4s  drain
         4s  → a         ⚠️ Gateway restarting — your current task has up to 53s to finish, then it will be interrupted. Use /retry after restart to continue.
         5s  → b         ⚠️ Gateway restarting — Your current task will be interrupted. Use /retry after restart to continue.
         6s  interrupt
         6s  → c         ⚠️ Gateway restarting — Your current task will be interrupted. Use /retry after restart to continue.
         6s  mark
         6s  down        not clean: stage room a is interrupted: its task was cut and can be run again; stage room b is interrupted: its task was cut and can be run again; stage room c is interrupted: its task was cut and can be run again",
    );
}

#[test]
fn hurry_without_a_shutdown_does_nothing() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.gateway.supervisor.do_send(Hurry(Some(RequestedBy::Embedder)));
        life.say("7", "alice", "hello").await;
        assert!(life.report().is_none());
        life.shut_down(ShutdownKind::Stop).await;
    });
    world.expect(
        "0s alice in 7 hello
         0s → 7 hello: done
         0s drain
         0s mark
         0s down clean",
    );
}
