//! Announce: one notice per chat, all adapters at once, and nobody waits for a platform.

use std::time::Duration;

use super::{outcomes, pairs, secs, told, words, world};
use switchboard_actors::settings::Policy;
use switchboard_actors::shutdown::{Outcome, Phase, ShutdownKind, ShutdownReport};
use switchboard_actors::testkit::stage::Stage;

fn took(report: &ShutdownReport, phase: Phase) -> Duration {
    report.phases.iter().find(|time| time.phase == phase).map(|time| time.took).unwrap_or_default()
}

#[test]
fn two_members_of_a_room_get_one_notice_that_names_both() {
    let (mut world, _) = world();
    world.stage("stage").make_group("7");
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.say("7", "bob", "work 20").await;
        life.say("7", "carol", "hello").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!(told(&report), words(&[("7", "sent")]));
        assert_eq!((report.census, report.idle), (3, 1));
        assert_eq!(outcomes(&report), pairs(&[("7 alice", Outcome::Finished), ("7 bob", Outcome::Finished)]));
    });
    world.expect(
        " 0s  alice in 7  work 10
          0s  bob in 7    work 20
          0s  carol in 7  hello
          0s  → 7         hello: done
          0s  announce
          0s  drain
          0s  → 7         alice, bob: ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
         10s  → 7         work 10: done
         20s  → 7         work 20: done
         20s  mark
         20s  down        clean",
    );
}

#[test]
fn the_announcement_is_over_when_it_is_handed_over() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 30").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(took(&report, Phase::Announce) < secs(1), "{report:?}");
        assert!(took(&report, Phase::Drain) > secs(29), "{report:?}");
    });
}

#[test]
fn g06_platforms_that_hang_refuse_or_are_slow_or_down_delay_nobody() {
    let (mut world, _) = world();
    for name in ["hanging", "refusing", "slow", "down"] {
        world.add_stage(name, Stage::plain());
    }
    world.life(async |life| {
        for name in ["hanging", "refusing", "slow", "down", "stage"] {
            life.stage(name).say(name, "alice", if name == "down" { "work 100" } else { "work 10" });
        }
        life.pass(secs(1)).await;
        life.stage("hanging").set_mood(|mood| mood.hanging = ["hanging".into()].into());
        life.stage("refusing").set_mood(|mood| mood.refusing = ["refusing".into()].into());
        life.stage("slow").set_mood(|mood| mood.slow = secs(7));
        life.stage("down").set_mood(|mood| mood.down = true);
        let report = life.shut_down(ShutdownKind::Stop).await;
        let fates = told(&report);
        let fate =
            |room: &str| fates.iter().find(|(chat, _)| chat == room).map(|(_, fate)| fate.as_str()).expect("everybody is on the list");
        assert_eq!(fate("stage"), "sent");
        assert_eq!(fate("hanging"), "unknown");
        assert_eq!(fate("refusing"), "failed: nobody is there");
        assert_eq!(fate("slow"), "sent");
        assert_eq!(fate("down"), "failed: its platform is down");
    });
    world.expect(
        " 0s  alice in hanging   work 10
          0s  alice in refusing  work 10
          0s  alice in slow      work 10
          0s  alice in down      work 100
          0s  alice in stage     work 10
          1s  announce
          1s  drain
          1s  → stage            ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
          8s  → slow             ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
         10s  → stage            work 10: done
         17s  → slow             work 10: done
         54s  interrupt
         59s  mark
         59s  down               not clean: down room down is interrupted: its task was cut and can be run again; hanging room hanging is owing: its answer is still on its way",
    );
}

#[test]
fn a_notice_that_a_rate_limit_holds_back_counts_as_failed() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        life.stage("stage").set_mood(|mood| mood.busy = Some((secs(200), false)));
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!(told(&report), words(&[("7", "failed: not handed over in time")]));
        assert_eq!(took(&report, Phase::Announce), secs(3), "{report:?}");
    });
    world.expect(
        " 0s  alice in 7  work 100
          0s  announce
          0s  drain
         53s  interrupt
         53s  mark
         53s  down        not clean: stage room 7 is interrupted: its task was cut and can be run again",
    );
}

#[test]
fn a_notice_that_waits_for_a_moment_says_what_is_true_then() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 30").await;
        life.stage("stage").set_mood(|mood| mood.busy = Some((secs(2), false)));
        life.shut_down(ShutdownKind::Stop).await;
    });
    world.expect(
        " 0s  alice in 7  work 30
          0s  announce
          0s  drain
          2s  → 7         ⚠️ Gateway shutting down — your current task has up to 51s to finish, then it will be interrupted. Use /retry when it is back.
         30s  → 7         work 30: done
         30s  mark
         30s  down        clean",
    );
}

#[test]
fn a_chat_whose_turn_finishes_first_is_not_told() {
    let (mut world, _) = world();
    world.adapter("stage").rate = Some(0.4);
    world.life(async |life| {
        life.say("long", "alice", "work 60").await;
        life.pass(secs(3)).await;
        life.say("short", "bob", "work 1").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!(told(&report), words(&[("long", "sent"), ("short", "not needed")]));
    });
    world.expect(
        " 0s  alice in long  work 60
          3s  bob in short   work 1
          3s  announce
          3s  drain
          3s  → long         ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
          5s  → short        work 1: done
         56s  interrupt
         56s  mark
         56s  down           not clean: stage room long is interrupted: its task was cut and can be run again",
    );
}

#[test]
fn g06_whoever_waits_behind_a_turn_that_just_ended_is_told() {
    let mut waited = 0;
    for delay in 0..60 {
        let (mut world, _) = world();
        world.set_latency(Duration::from_millis(90));
        let stage = world.stage("stage");
        world.life(async |life| {
            stage.say("7", "alice", "hello");
            life.pass(Duration::from_millis(delay * 10)).await;
            stage.say("7", "alice", "and this");
            life.pass(Duration::from_millis(100)).await;
            life.shut_down(ShutdownKind::Stop).await;
        });
        let heard = stage.heard_in("7");
        let answered = heard.iter().any(|text| text.contains("and this"));
        waited += usize::from(!answered);
        let told = heard.iter().any(|text| text.starts_with("⏳ Gateway shutting down") || text.starts_with("📥"));
        assert!(answered || told || stage.unaccepted() > 0, "after {delay}: {heard:?}");
    }
    assert!(waited > 5, "somebody has to wait");
}

#[test]
fn g06_whoever_writes_as_the_doors_close_is_told_or_not_taken_in() {
    for delay in 0..200 {
        let (mut world, _) = world();
        let stage = world.stage("stage");
        world.life(async |life| {
            let words = async {
                life.pass(Duration::from_micros(delay * 50)).await;
                stage.say("7", "alice", "hello");
            };
            tokio::join!(life.shut_down(ShutdownKind::Stop), words);
        });
        let heard = stage.heard_in("7");
        let accepted = stage.unaccepted() == 0;
        assert!(!accepted || heard == ["📥 Saved — will be answered when the gateway is back."], "after {delay}: {heard:?}");
    }
}

#[test]
fn g06_a_cut_turn_that_is_still_to_run_again_is_told_of_the_next_end() {
    let (mut world, _) = world();
    world.settings.recovery.policy = Policy::Resume;
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        life.say("8", "bob", "work 100").await;
    });
    world.life(async |life| {
        // Turns that ran at a crash run again one at a time.
        life.pass(secs(2)).await;
        life.shut_down(ShutdownKind::Stop).await;
    });
    let told =
        |room| world.stage("stage").heard_in(room).iter().any(|text| text.contains("Gateway shutting down") || text.starts_with('📥'));
    assert!(told("7") && told("8"), "{}", world.text());
}
