//! A reply that is shown while it grows ends as exactly one message.

use super::{secs, world};
use switchboard_actors::platform::Abilities;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::stage::Stage;
use switchboard_actors::testkit::worker::Worker;
use switchboard_actors::testkit::world::World;

const WHOLE: &str = "word1 word2 word3 word4 word5 ";

fn editing_world() -> (World, Worker, Stage) {
    let (mut world, worker) = world();
    let stage = world.add_stage("stage", Abilities { edits: true, ..Stage::plain() });
    (world, worker, stage)
}

#[test]
fn a_streamed_reply_ends_as_one_message() {
    let (mut world, _, stage) = editing_world();
    world.life(async |life| {
        life.say("7", "alice", "stream 5").await;
        life.pass(secs(3)).await;
        let shown = stage.heard_in("7");
        assert!(shown.len() == 1 && WHOLE.starts_with(&shown[0]), "{shown:?}");
        life.pass(secs(3)).await;
        assert_eq!(stage.heard_in("7"), [WHOLE]);
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    world.life(async |life| life.pass(secs(5)).await);
    assert_eq!(stage.heard_in("7"), [WHOLE], "nothing is said again");
}

#[test]
fn a_reply_that_is_finished_while_its_draft_is_being_sent_ends_as_one_message() {
    let (mut world, _, stage) = editing_world();
    stage.set_mood(|mood| mood.slow = secs(10));
    world.life(async |life| {
        life.say("7", "alice", "stream 5").await;
        life.pass(secs(60)).await;
    });
    assert_eq!(stage.heard_in("7"), [WHOLE]);
}

#[test]
fn a_draft_that_is_visible_while_the_platform_is_down_ends_as_one_message() {
    let (mut world, _, stage) = editing_world();
    world.life(async |life| {
        life.say("7", "alice", "stream 5").await;
        life.pass(secs(3)).await;
        stage.set_mood(|mood| mood.down = true);
        life.pass(secs(20)).await;
        stage.set_mood(|mood| mood.down = false);
        life.pass(secs(60)).await;
    });
    assert_eq!(stage.heard_in("7"), [WHOLE]);
}

#[test]
fn a_draft_whose_reply_waits_in_the_next_life_ends_as_one_message() {
    let (mut world, worker, stage) = editing_world();
    world.life(async |life| {
        life.say("7", "alice", "stream 5").await;
        life.pass(secs(3)).await;
        stage.set_mood(|mood| mood.down = true);
        life.shut_down(ShutdownKind::Stop).await;
    });
    stage.set_mood(|mood| mood.down = false);
    world.life(async |life| life.pass(secs(60)).await);
    assert_eq!(stage.heard_in("7").first().map(String::as_str), Some(WHOLE), "{:?}", stage.heard_in("7"));
    assert_eq!(worker.runs().len(), 1);
    world.expect(
        "0s  alice in 7  stream 5
         1s  → 7         word1 word2
         3s  announce
         3s  drain
         5s  mark
         5s  down        not clean: stage room 7 is owing: its platform is down",
    );
}

#[test]
fn a_draft_that_was_cut_ends_in_the_mark() {
    let (mut world, _, stage) = editing_world();
    world.life(async |life| {
        life.say("7", "alice", "stream 9").await;
        life.pass(secs(3)).await;
    });
    world.life(async |life| life.pass(secs(5)).await);
    let heard = stage.heard_in("7");
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].starts_with("word1") && heard[0].ends_with("✂️ (interrupted)"), "{heard:?}");
    assert!(heard[1].starts_with("✂️ Your task was interrupted"), "{heard:?}");
}

#[test]
fn a_draft_of_a_turn_that_was_stopped_ends_in_the_mark() {
    let (mut world, _, stage) = editing_world();
    world.life(async |life| {
        life.say("7", "alice", "stream 9").await;
        life.pass(secs(3)).await;
        life.say("7", "alice", "/stop").await;
        life.pass(secs(5)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    world.life(async |life| life.pass(secs(5)).await);
    let heard = stage.heard_in("7");
    assert!(heard[0].starts_with("word1") && heard[0].ends_with("✂️ (interrupted)"), "{heard:?}");
}

#[test]
fn g02_a_reply_is_not_lost_behind_a_draft_that_a_platform_with_keys_may_have() {
    let (mut world, _) = world();
    let stage = world.add_stage("stage", Abilities { edits: true, idempotent: true, ..Stage::plain() });
    stage.set_mood(|mood| mood.mumbling = true);
    world.life(async |life| {
        life.say("7", "alice", "stream 5").await;
        life.pass(secs(3)).await;
        stage.set_mood(|mood| mood.mumbling = false);
        life.pass(secs(20)).await;
    });
    assert_eq!(stage.heard_in("7"), [WHOLE]);
}

#[test]
fn g21_a_draft_that_no_reply_will_finish_ends_in_the_mark_of_a_cut() {
    let (mut world, _, stage) = editing_world();
    world.life(async |life| {
        life.say("7", "alice", "stream 9").await;
        life.pass(secs(3)).await;
        let shown = stage.heard_in("7");
        life.say("7", "alice", "/stop").await;
        life.pass(secs(1)).await;
        assert_eq!(stage.heard_in("7"), [format!("{} ✂️ (interrupted)", shown[0]), "⏹️ Stopped. Dropped: 0.".to_owned()]);
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    let said = stage.heard_in("7");
    world.life(async |life| life.pass(secs(5)).await);
    assert_eq!(stage.heard_in("7"), said, "nothing is said again");
}

#[test]
fn g02_a_reply_whose_draft_was_deleted_is_sent_whole() {
    let (mut world, _, stage) = editing_world();
    world.life(async |life| {
        life.say("7", "alice", "stream 5").await;
        life.pass(secs(3)).await;
        stage.set_mood(|mood| mood.uneditable = true);
        life.pass(secs(5)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    assert_eq!(stage.heard_in("7").last().map(String::as_str), Some(WHOLE));
}
