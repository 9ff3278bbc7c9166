//! Sessions that are idle leave memory, and nothing is lost by it.

use super::{secs, world};
use std::sync::Arc;
use std::time::Duration;
use switchboard_actors::ids::{ChatId, SessionKey};
use switchboard_actors::protocol::SessionNews;
use switchboard_actors::shutdown::ShutdownKind;

#[test]
fn an_idle_session_leaves_and_comes_back() {
    let (mut world, worker) = world();
    world.settings.session.idle_after = secs(10);
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        assert_eq!(life.status().await.sessions, 1);
        life.pass(secs(20)).await;
        assert_eq!(life.status().await.sessions, 0);
        life.say("7", "alice", "again").await;
        assert_eq!(life.status().await.sessions, 1);
        life.pass(secs(20)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert_eq!(report.census, 0);
    });
    assert_eq!(worker.runs().len(), 2);
}

#[test]
fn g21_a_session_that_works_or_waits_stays() {
    let (mut world, _) = world();
    world.settings.session.idle_after = secs(10);
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        life.say("7", "alice", "and this").await;
        life.pass(secs(60)).await;
        assert_eq!(life.status().await.sessions, 1);
        life.pass(secs(50)).await;
        assert_eq!(life.stage("stage").heard_in("7"), ["work 100: done", "and this: done"]);
    });
}

/// A message at every millisecond around the moment at which the session would leave: each is answered, none twice.
#[test]
fn g05_a_message_that_races_the_leaving_is_answered_once() {
    for millis in 0..30 {
        let (mut world, worker) = world();
        world.settings.session.idle_after = secs(1);
        world.life(async |life| {
            life.say("7", "alice", "one").await;
            life.pass(Duration::from_millis(1135 + millis)).await;
            life.say("7", "alice", "two").await;
            life.pass(secs(3)).await;
        });
        assert_eq!(worker.runs(), [("one".to_owned(), 1), ("two".to_owned(), 1)], "at {millis} ms");
        assert_eq!(world.stage("stage").heard_in("7"), ["one: done", "two: done"], "at {millis} ms");
    }
}

/// A shutdown at every millisecond around the same moment: always clean, and the census adds up.
#[test]
fn g31_a_shutdown_that_races_the_leaving_is_clean_and_tells_nobody() {
    for millis in 0..30 {
        let (mut world, _) = world();
        world.settings.session.idle_after = secs(1);
        world.life(async |life| {
            life.say("7", "alice", "one").await;
            life.pass(Duration::from_millis(1135 + millis)).await;
            let report = life.shut_down(ShutdownKind::Stop).await;
            assert!(report.verdict.is_clean(), "at {millis} ms: {report:?}");
            assert!(report.notices.is_empty() && report.took < secs(1), "at {millis} ms: {report:?}");
        });
    }
}

/// The same, on the very turn of the arbiter on which the supervisor lets it go.
#[test]
fn g31_a_shutdown_right_behind_the_leave_finds_nobody_there() {
    let (mut world, _) = world();
    world.settings.session.idle_after = secs(1);
    world.life(async |life| {
        life.say("7", "alice", "one").await;
        loop {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            if life.clock.now().0 > secs(3) {
                break;
            }
        }
        assert_eq!(life.status().await.sessions, 0);
    });
}

/// Its wish to leave and the word on its delivery pass each other: what it says that it owes has been delivered by then.
#[test]
fn g31_a_session_that_asks_to_leave_before_it_knows_of_its_delivery_owes_nothing() {
    let (mut world, _) = world();
    world.settings.session.idle_after = secs(10);
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        let owed = life.stage("stage").sent().iter().map(|sent| sent.key).collect();
        let session = Arc::new(SessionKey { chat: ChatId::new("stage", "7"), member: None });
        life.gateway.supervisor.do_send(SessionNews::MayLeave { session, heard: 1, owed });
        life.settle().await;
        assert_eq!(life.status().await.sessions, 1, "it has yet to hear of something");
        life.pass(secs(20)).await;
        assert_eq!(life.status().await.sessions, 0);
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean() && report.census == 0, "{report:?}");
    });
}
