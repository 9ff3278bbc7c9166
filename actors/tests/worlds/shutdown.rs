//! Every row of the shutdown's table.

use std::time::Duration;

use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::world::World;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn an_answered_message_and_a_clean_goodbye() {
    let mut world = World::new();
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    println!("{}", world.text());
}

#[test]
fn a_long_task_is_told_and_finishes() {
    let mut world = World::new();
    world.life(async |life| {
        life.say("7", "alice", "work for 30s").await;
        life.pass(secs(5)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        println!("{report:#?}");
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    println!("{}", world.text());
}

#[test]
fn a_longer_task_is_cut() {
    let mut world = World::new();
    world.life(async |life| {
        life.say("7", "alice", "work for 5m").await;
        life.pass(secs(5)).await;
        let report = life.shut_down(ShutdownKind::Restart).await;
        println!("{report:#?}");
    });
    world.life(async |life| {
        life.pass(secs(5)).await;
        life.say("7", "alice", "/retry").await;
        life.pass(secs(400)).await;
        life.shut_down(ShutdownKind::Stop).await;
    });
    println!("{}", world.text());
}
