//! Connections that fail, flap or go deaf: tried for ever, and nobody else suffers.

use super::{secs, world};
use switchboard_actors::protocol::AdapterHealth;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::stage::Stage;
use switchboard_actors::testkit::world::Life;

async fn health(life: &Life, name: &str) -> AdapterHealth {
    let adapters = life.status().await.adapters;
    adapters.into_iter().find(|(adapter, _)| adapter.as_str() == name).map(|(_, health)| health).expect("an adapter of this world")
}

#[test]
fn g20_a_platform_that_comes_back_is_connected_again() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.down = true);
        life.say("7", "alice", "hello").await;
        life.pass(secs(300)).await;
        assert_eq!(health(life, "stage").await, AdapterHealth::Broken("the stage is dark".into()));
        assert_eq!(life.status().await.not_ready, ["adapters: none is connected"]);
        assert!(life.stage("stage").connects() < 20, "with back-off");
        life.stage("stage").set_mood(|mood| mood.down = false);
        life.pass(secs(61)).await;
        assert_eq!(health(life, "stage").await, AdapterHealth::Connected);
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["hello: done"]);
}

#[test]
fn g19_an_adapter_that_never_connects_holds_up_neither_readiness_nor_others() {
    let (mut world, _) = world();
    world.add_stage("dark", Stage::plain()).set_mood(|mood| mood.down = true);
    world.life(async |life| {
        assert!(life.clock.now().0 < secs(1));
        life.say("7", "alice", "hello").await;
        assert_eq!(life.status().await.not_ready, Vec::<String>::new());
        assert!(life.shut_down(ShutdownKind::Stop).await.verdict.is_clean());
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["hello: done"]);
}

#[test]
fn g20_a_platform_that_fell_silent_is_deaf_and_connected_again() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.deaf = true);
        life.say("7", "alice", "hello").await;
        life.pass(secs(119)).await;
        assert_eq!(life.stage("stage").connects(), 1);
        assert_eq!(health(life, "stage").await, AdapterHealth::Connected);
        life.pass(std::time::Duration::from_millis(1200)).await;
        assert_eq!(health(life, "stage").await, AdapterHealth::Broken("deaf: nothing heard for 120 s".into()));
        life.stage("stage").set_mood(|mood| mood.deaf = false);
        life.pass(secs(2)).await;
        assert_eq!(health(life, "stage").await, AdapterHealth::Connected);
        assert_eq!(life.stage("stage").connects(), 2);
    });
    assert_eq!(world.stage("stage").heard_in("7"), ["hello: done"]);
}
