//! Panics, wherever they happen, stay in their room, and nothing that was said is lost.

use super::{secs, world};
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::tripwire::Tripwire;

#[test]
fn g19_an_agent_that_panics_is_told_and_the_next_message_works() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "panic").await;
        life.say("7", "alice", "hello").await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    world.expect(
        "0s  alice in 7  panic
         0s  → 7         ❌ That did not work: the agent crashed. Use /retry to try again.
         0s  alice in 7  hello
         0s  → 7         hello: done
         0s  drain
         0s  mark
         0s  down        clean",
    );
}

#[test]
fn g32_a_session_that_panics_tells_and_the_next_message_works() {
    let (mut world, worker) = world();
    world.life(async |life| {
        let wire = Tripwire::on("turn started", 1);
        life.say("7", "alice", "hello").await;
        life.say("7", "alice", "and this").await;
        life.pass(secs(1)).await;
        assert!(wire.is_spent());
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    assert_eq!(worker.runs(), [("and this".to_owned(), 1)]);
    // Its back-off is spread at random: the second message may come before it has stood up, or after.
    let failed = "❌ That did not work: an internal error. Use /retry to try again.";
    assert_eq!(world.stage("stage").heard_in("7"), [failed, "and this: done"]);
}

#[test]
fn g32_a_session_that_panics_in_a_loop_is_given_up_for_a_while_and_says_so() {
    let (mut world, worker) = world();
    // Its back-off is spread at random; this one stays within a second of the trace.
    world.settings.supervision.backoff_most = world.settings.supervision.backoff_first;
    world.life(async |life| {
        let wire = Tripwire::on("turn started", 6);
        for number in 0..6 {
            life.say("7", "alice", &format!("message {number}")).await;
            life.pass(secs(8)).await;
        }
        assert!(wire.is_spent());
        life.pass(secs(200)).await;
        life.say("7", "alice", "hello").await;
        life.pass(secs(100)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    assert!(worker.runs().iter().any(|(asked, _)| asked.contains("hello")), "{:?}", worker.runs());
    world.expect(
        "  0s  alice in 7  message 0
           0s  → 7         ❌ That did not work: an internal error. Use /retry to try again.
           8s  alice in 7  message 1
           8s  → 7         ❌ That did not work: an internal error. Use /retry to try again.
          16s  alice in 7  message 2
          16s  → 7         ❌ That did not work: an internal error. Use /retry to try again.
          24s  alice in 7  message 3
          24s  → 7         ❌ That did not work: an internal error. Use /retry to try again.
          32s  alice in 7  message 4
          32s  → 7         ❌ That did not work: an internal error. Use /retry to try again.
          40s  alice in 7  message 5
          40s  → 7         ❌ That did not work: an internal error. Use /retry to try again.
         248s  alice in 7  hello
         248s  → 7         hello: done
         348s  drain
         348s  mark
         348s  down        clean",
    );
}

#[test]
fn g32_a_supervisor_that_panics_goes_on() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 5").await;
        let wire = Tripwire::on("turns are held", 1);
        life.gateway.supervisor.do_send(switchboard_actors::protocol::Hold);
        life.say("9", "bob", "hello").await;
        assert!(wire.is_spent());
        life.pass(secs(10)).await;
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    world.expect(
        " 0s  alice in 7  work 5
          0s  bob in 9    hello
          0s  → 9         hello: done
          5s  → 7         work 5: done
         10s  drain
         10s  mark
         10s  down        clean",
    );
}

#[test]
fn g32_a_supervisor_that_panics_while_going_down_still_goes_down() {
    for words in ["census closed", "shutdown phase"] {
        let (mut world, _) = world();
        world.life(async |life| {
            life.say("7", "alice", "work 5").await;
            let wire = Tripwire::on(words, 1);
            life.ask_for(ShutdownKind::Stop, None).await;
            life.pass(secs(100)).await;
            assert!(wire.is_spent());
            assert!(life.report().is_some(), "{words}: it never ended");
        });
    }
}

#[test]
fn g32_an_adapter_that_panics_connects_again_and_delivers() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.stage("stage").set_mood(|mood| mood.refusing = ["9".into()].into());
        life.say("7", "alice", "work 5").await;
        let wire = Tripwire::on("send failed", 1);
        assert_eq!(life.stage("stage").connects(), 1);
        life.say("9", "bob", "hello").await;
        assert!(wire.is_spent());
        life.pass(secs(10)).await;
        assert_eq!(life.stage("stage").connects(), 2);
        life.say("7", "alice", "hello").await;
        life.pass(secs(5)).await;
    });
    world.expect(
        " 0s  alice in 7  work 5
          0s  bob in 9    hello
          5s  → 7         work 5: done
         10s  alice in 7  hello
         10s  → 7         hello: done",
    );
}
