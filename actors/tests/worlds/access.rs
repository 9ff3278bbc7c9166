//! Who is not allowed reaches nobody, in any phase; a code lets them in.

use super::{secs, world};
use switchboard_actors::ids::UserId;
use switchboard_actors::ledger::{Knowledge, Paired, Question};
use switchboard_actors::protocol::Order;
use switchboard_actors::settings::Policy;
use switchboard_actors::shutdown::ShutdownKind;

#[test]
fn g23_a_stranger_reaches_nobody_also_while_going_down() {
    let (mut world, worker) = world();
    world.adapter("stage").access.allow = vec!["stage:alice".into()];
    world.life(async |life| {
        life.say("9", "mallory", "hello").await;
        life.say("9", "mallory", "/status").await;
        life.say("7", "alice", "work 5").await;
        life.ask_for(ShutdownKind::Stop, None).await;
        for text in ["hello", "/stop", "/restart", "/whoami"] {
            life.say("7", "mallory", text).await;
        }
        life.down().await;
    });
    assert_eq!(worker.runs(), [("work 5".to_owned(), 1)]);
    world.expect(
        "0s  mallory in 9  hello
         0s  mallory in 9  /status
         0s  alice in 7    work 5
         0s  announce
         0s  drain
         0s  → 7           ⚠️ Gateway shutting down — your current task has up to 53s to finish, then it will be interrupted. Use /retry when it is back.
         0s  mallory in 7  hello
         0s  mallory in 7  /stop
         0s  mallory in 7  /restart
         0s  mallory in 7  /whoami
         5s  → 7           work 5: done
         5s  mark
         5s  down          clean",
    );
}

#[test]
fn a_stranger_with_a_code_is_let_in_and_out_again() {
    let (mut world, worker) = world();
    world.adapter("stage").access.allow = vec![];
    world.adapter("stage").access.pairing = true;
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        life.say("7", "alice", "hello?").await;
        let heard = life.stage("stage").heard_in("7");
        assert_eq!(heard.len(), 1, "one answer in ten minutes: {heard:?}");
        let code = match life.inquire(Question::Pairs { at: life.clock.wall() }).await {
            Knowledge::Pairs(pairs) => match &pairs[0].state {
                Paired::Waiting { code, .. } => code.clone(),
                Paired::In => panic!("not yet"),
            },
            other => panic!("{other:?}"),
        };
        assert!(heard[0].contains(&code), "{heard:?}");
        let order = life.gateway.supervisor.send(Order::Approve(code)).await.expect("it answers");
        assert!(order.is_ok(), "{order:?}");
        life.say("7", "alice", "one").await;
    });
    world.life(async |life| {
        life.settle().await;
        life.say("7", "alice", "two").await;
        let order = Order::Revoke("stage".into(), UserId::new("alice"));
        assert!(life.gateway.supervisor.send(order).await.expect("it answers").is_ok());
        life.pass(secs(700)).await;
        life.say("7", "alice", "three").await;
    });
    let asked: Vec<_> = worker.runs().into_iter().map(|(asked, _)| asked).collect();
    assert_eq!(asked, ["one", "two"]);
}

#[test]
fn g23_only_admins_command_the_gateway() {
    let (mut world, _) = world();
    world.life(async |life| {
        for command in ["/restart", "/shutdown", "/sessions", "/stop all"] {
            life.say("7", "alice", command).await;
        }
        life.pass(secs(1)).await;
        assert!(life.report().is_none());
        let refused = life.stage("stage").heard_in("7");
        assert_eq!(refused, ["🔒 Only administrators may do that."; 4]);
    });
}

#[test]
fn access_is_checked_again_when_a_cut_turn_would_run() {
    let (mut world, worker) = world();
    world.settings.recovery.policy = switchboard_actors::settings::Policy::Resume;
    world.life(async |life| life.say("7", "alice", "work 10").await);
    world.adapter("stage").access.allow = vec!["stage:bob".into()];
    world.life(async |life| life.pass(secs(20)).await);
    assert_eq!(worker.runs().len(), 1);
}

#[test]
fn g23_what_waited_of_somebody_who_was_shut_out_since_is_not_run() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.say("7", "alice", "and this").await;
    });
    world.adapter("stage").access.allow = vec!["stage:bob".into()];
    world.life(async |life| life.pass(secs(20)).await);
    assert_eq!(worker.runs().len(), 1, "{:?}", worker.runs());
}

#[test]
fn g01_g18_whoever_was_let_in_by_a_code_is_no_stranger_to_the_life_that_follows() {
    let (mut world, worker) = world();
    world.settings.recovery.policy = Policy::Resume;
    world.adapter("stage").access.allow = vec![];
    world.adapter("stage").access.pairing = true;
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        let code = match life.inquire(Question::Pairs { at: life.clock.wall() }).await {
            Knowledge::Pairs(pairs) => match &pairs[0].state {
                Paired::Waiting { code, .. } => code.clone(),
                Paired::In => panic!("not yet"),
            },
            other => panic!("{other:?}"),
        };
        assert!(life.gateway.supervisor.send(Order::Approve(code)).await.expect("it answers").is_ok());
        life.say("7", "alice", "work 10").await;
    });
    world.life(async |life| life.pass(secs(20)).await);
    assert_eq!(worker.runs(), [("work 10".to_owned(), 1), ("work 10".to_owned(), 2)]);
    assert_eq!(world.stage("stage").heard_in("7").last().map(String::as_str), Some("work 10: done"));
}
