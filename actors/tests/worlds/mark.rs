//! Mark: the flag exists only if it is true, and is used once.

use std::path::Path;
use std::time::Duration;

use super::{secs, world};
use switchboard_actors::clock::Wall;
use switchboard_actors::ids::InstanceId;
use switchboard_actors::last_words::{Cause, Death, LastWords, Remains};
use switchboard_actors::ledger::{Ending, Knowledge, Question};
use switchboard_actors::marker::{Flag, Found};
use switchboard_actors::shutdown::{Phase, ShutdownKind};
use switchboard_actors::testkit::world::World;

/// How each life ended, as its successor judged, newest first.
fn endings(world: &mut World) -> Vec<Option<Ending>> {
    let knowledge = world.life(async |life| {
        life.settle().await;
        life.inquire(Question::Instances { most: 10 }).await
    });
    match knowledge {
        Knowledge::Instances(instances) => instances.into_iter().map(|facts| facts.predecessor).collect(),
        other => panic!("{other:?}"),
    }
}

fn in_a_folder(play: impl FnOnce(World, &Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("clean");
    let (mut world, _) = world();
    world.set_marker(&path);
    play(world, &path);
}

#[test]
fn g08_a_clean_end_leaves_a_flag_that_the_next_life_uses_once() {
    in_a_folder(|mut world, path| {
        world.life(async |life| {
            life.say("7", "alice", "hello").await;
            assert!(!path.exists());
            life.shut_down(ShutdownKind::Update).await;
        });
        let Found::Whole(flag) = Flag::at(path).read() else { panic!("no flag") };
        assert_eq!((flag.kind, flag.census), (ShutdownKind::Update, 1));
        assert_eq!(endings(&mut world), [Some(Ending::Clean), None]);
        assert!(!path.exists(), "it was consumed");
        // That life was cut, and the flag of the one before is no excuse for it.
        Flag::at(path).write(&flag).expect("it can be written");
        assert_eq!(endings(&mut world)[0], Some(Ending::Killed { phase: None, by: Death::Unknown }));
    });
}

#[test]
fn g08_a_life_that_cut_somebody_leaves_none() {
    in_a_folder(|mut world, path| {
        world.life(async |life| {
            life.say("7", "alice", "work 100").await;
            life.shut_down(ShutdownKind::Stop).await;
        });
        assert!(!path.exists());
        let verdict = "not clean: stage room 7 is interrupted: its task was cut and can be run again".to_owned();
        assert_eq!(endings(&mut world)[0], Some(Ending::Unclean { verdict }));
    });
}

#[test]
fn g08_a_flag_that_is_torn_or_gone_or_not_writable_counts_as_unclean() {
    let lost = Some(Ending::Unclean { verdict: "it was clean, but left no flag that is true".into() });
    let clean_end = |world: &mut World| world.life(async |life| life.shut_down(ShutdownKind::Stop).await);
    in_a_folder(|mut world, path| {
        clean_end(&mut world);
        let whole = std::fs::read(path).expect("a flag");
        std::fs::write(path, &whole[..whole.len() / 2]).expect("it can be torn");
        assert_eq!(endings(&mut world)[0], lost);
    });
    in_a_folder(|mut world, path| {
        clean_end(&mut world);
        std::fs::remove_file(path).expect("it can be removed");
        assert_eq!(endings(&mut world)[0], lost);
    });
    in_a_folder(|mut world, path| {
        world.set_marker(path.join("no/such/folder"));
        let report = clean_end(&mut world);
        assert!(report.verdict.to_string().contains("could not be written"), "{}", report.verdict);
        assert_eq!(endings(&mut world)[0], lost);
    });
}

#[test]
fn a_life_that_was_killed_while_going_down_is_known_with_its_phase() {
    in_a_folder(|mut world, path| {
        world.life(async |life| {
            life.say("7", "alice", "work 100").await;
            life.ask_for(ShutdownKind::Stop, None).await;
            life.pass(secs(3)).await;
        });
        assert!(!path.exists());
        assert_eq!(endings(&mut world)[0], Some(Ending::Killed { phase: Some(Phase::Drain), by: Death::Unknown }));
    });
}

#[test]
fn g08_commands_that_are_answered_while_it_goes_down_leave_the_flag_true() {
    in_a_folder(|mut world, _| {
        world.set_latency(Duration::from_millis(30));
        world.settings.ledger.batch = 1;
        world.life(async |life| {
            life.stage("stage").say("7", "alice", "/stop");
            life.stage("stage").say("7", "alice", "/status");
            life.pass(Duration::from_millis(1)).await;
            let report = life.shut_down(ShutdownKind::Stop).await;
            assert!(report.verdict.is_clean(), "{report:?}");
        });
        assert_eq!(endings(&mut world)[0], Some(Ending::Clean));
        assert_eq!(world.stage("stage").heard_in("7"), ["Nothing to stop.", "💤 Nothing to do. Waiting: 0."]);
    });
}

/// A life that cuts a task as it goes down and is ended in its drain; who it was.
fn ended_in_drain(world: &mut World) -> InstanceId {
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        life.ask_for(ShutdownKind::Stop, None).await;
        life.pass(secs(3)).await;
        life.gateway.instance
    })
}

/// What the chat of that task is told by the life after it, which finds these last words, in a machine of that boot.
fn told_after(cause: Option<Cause>, boot: &str) -> (Option<Ending>, String) {
    let (mut world, _) = world();
    world.set_boot("first");
    let instance = ended_in_drain(&mut world);
    let words = cause.map(|cause| LastWords { at: Wall(0), code: Some(0), phase: Some(Phase::Flush), cause });
    world.leave(Remains { instance, seen: Wall(0), words });
    world.set_boot(boot);
    let ending = endings(&mut world).remove(0);
    let cut = world.stage("stage").heard_in("7").into_iter().find(|text| text.starts_with("✂️")).expect("the task was cut");
    (ending, cut)
}

#[test]
fn g28_the_life_after_tells_the_chat_what_ended_the_one_before() {
    let check = |cause: Option<Cause>, boot: &str, ending: Ending, words: &str| {
        let (judged, told) = told_after(cause, boot);
        assert_eq!((judged, told.contains(&format!("({words})"))), (Some(ending), true), "{words}: {told}");
    };
    let killed = |phase, by| Ending::Killed { phase: Some(phase), by };
    check(None, "first", killed(Phase::Drain, Death::Unknown), "cut off while shutting down");
    check(None, "second", killed(Phase::Drain, Death::Machine), "the machine restarted");
    let third = Cause::ThirdSignal { signal: "SIGTERM".into() };
    check(Some(third), "second", killed(Phase::Flush, Death::ThirdSignal), "ended by force");
    check(Some(Cause::Overdue), "first", killed(Phase::Flush, Death::Overdue), "cut off while shutting down");
    check(Some(Cause::Hung), "first", killed(Phase::Flush, Death::Hung), "it hung");
    check(Some(Cause::GaveUp { reason: "no disk".into() }), "first", killed(Phase::Flush, Death::GaveUp), "a fault within");
    let verdict = "the disk is full".to_owned();
    let unrecorded = Cause::Down { kind: ShutdownKind::Stop, clean: false, verdict: verdict.clone() };
    check(Some(unrecorded), "first", Ending::Unclean { verdict }, "stop");
}

#[test]
fn g28_what_another_life_left_says_nothing() {
    let (mut world, _) = world();
    ended_in_drain(&mut world);
    let words = LastWords { at: Wall(0), code: Some(86), phase: None, cause: Cause::Hung };
    world.leave(Remains { instance: InstanceId::fresh(), seen: Wall(0), words: Some(words) });
    assert_eq!(endings(&mut world)[0], Some(Ending::Killed { phase: Some(Phase::Drain), by: Death::Unknown }));
}
