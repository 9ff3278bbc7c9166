//! Panics, wherever they happen, stay in their room, and nothing that was said is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{secs, world};
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::stage::Stage;
use switchboard_actors::testkit::tripwire::Tripwire;
use switchboard_actors::testkit::world::Life;

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
        // What was on its way as it fell is owed by nobody for ever.
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean() && report.took < secs(1), "{report:?}");
    });
    world.expect(
        " 0s  alice in 7  work 5
          0s  bob in 9    hello
          5s  → 7         work 5: done
         10s  alice in 7  hello
         10s  → 7         hello: done
         15s  drain
         15s  mark
         15s  down        clean",
    );
}

#[test]
fn g02_g32_a_reply_that_is_on_its_way_as_the_adapter_panics_is_delivered_in_this_life() {
    let (mut world, _) = world();
    let stage = world.stage("stage");
    world.life(async |life| {
        stage.set_mood(|mood| (mood.slow, mood.refusing) = (secs(5), ["9".into()].into()));
        life.say("9", "bob", "hello").await;
        life.pass(secs(1)).await;
        let wire = Tripwire::on("send failed", 1);
        life.say("7", "alice", "long 3").await;
        life.pass(secs(60)).await;
        assert!(wire.is_spent());
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(report.verdict.is_clean(), "{report:?}");
    });
    // Its answer was lost with the fall: nobody can tell, and so the repeat says.
    let whole = "line 1\nline 2\nline 3";
    assert_eq!(stage.heard_in("7"), [whole.to_owned(), format!("🔁 (possibly a repeat) {whole}")]);
}

#[test]
fn g06_g32_who_waits_for_their_notice_as_the_adapter_panics_is_told() {
    let (mut world, _) = world();
    world.adapter("stage").rate = Some(0.5);
    let stage = world.stage("stage");
    world.life(async |life| {
        stage.set_mood(|mood| mood.refusing = ["7".into()].into());
        life.say("7", "alice", "work 100").await;
        life.say("9", "bob", "work 100").await;
        let wire = Tripwire::on("send failed", 1);
        let report = life.shut_down(ShutdownKind::Stop).await;
        assert!(wire.is_spent());
        assert_eq!(super::told(&report), super::words(&[("7", "unknown"), ("9", "sent")]));
    });
    assert_eq!(stage.heard_in("9").len(), 1, "{:?}", stage.heard_in("9"));
}

/// Something in the gateway falls once a second for five minutes: `provoke` makes it log `words`, and that panics. Somebody else's task, on a
/// platform of its own, is shown as work that goes on by the timer of its session and through its adapter: that is the heartbeat. It is compared
/// with a timer that belongs to nobody.
fn beside_a_heartbeat(words: &'static str, provoke: &impl AsyncFn(&Life, u32)) {
    const SECONDS: u32 = 300;
    let (mut world, _) = world();
    world.settings.session.typing_after = secs(1);
    world.settings.session.typing_every = secs(1);
    // Whoever falls is back before the next second.
    (world.settings.supervision.backoff_first, world.settings.supervision.backoff_most) = (secs(1) / 10, secs(1) / 10);
    world.settings.supervision.restarts = u32::MAX;
    let quiet = world.add_stage("quiet", Stage::plain());
    world.adapter("stage").access.allow = vec!["stage:alice".into()];
    world.life(async |life| {
        quiet.say("home", "bob", &format!("work {}", SECONDS + 20));
        life.settle().await;
        let control = Arc::new(AtomicU32::new(0));
        let ticks = control.clone();
        let timer = tokio::spawn(async move {
            let mut interval = tokio::time::interval(secs(1));
            loop {
                interval.tick().await;
                ticks.fetch_add(1, Ordering::SeqCst);
            }
        });
        let wire = Tripwire::on(words, u32::MAX);
        for second in 0..SECONDS {
            provoke(life, second).await;
            life.pass(secs(1)).await;
        }
        let (falls, beats, ticks) = (wire.tripped(), quiet.typing_in("home"), control.load(Ordering::SeqCst));
        drop(wire);
        timer.abort();
        assert!(falls >= SECONDS / 4, "{words}: it fell {falls} times");
        assert!(beats * 100 >= ticks * 95, "{words}: {beats} beats beside {ticks}");
        life.pass(secs(120)).await;
        assert_eq!(quiet.heard_in("home"), [format!("work {}: done", SECONDS + 20)]);
        quiet.say("home", "bob", "hello");
        life.pass(secs(10)).await;
        assert_eq!(quiet.heard_in("home").len(), 2, "{words}: whoever was beside it serves");
        assert_eq!(life.stage("stage").unaccepted(), 0, "{words}: everything that was said was taken in");
    });
}

#[test]
fn g32_whatever_falls_again_and_again_leaves_the_other_heartbeats() {
    let room = |second: u32| format!("room {second}");
    // A session as it starts a task, and as it hears of an agent that panicked.
    beside_a_heartbeat("turn started", &async |life, second| life.say(&room(second), "alice", "hello").await);
    beside_a_heartbeat("agent panicked", &async |life, second| life.say(&room(second), "alice", "panic").await);
    // An adapter, with what it says; and as its connection ends.
    beside_a_heartbeat("send failed", &async |life, second| {
        life.stage("stage").set_mood(|mood| mood.refusing = (0..1000).map(|number| room(number).as_str().into()).collect());
        life.say(&room(second), "alice", "hello").await;
    });
    beside_a_heartbeat("adapter broken, connecting again", &async |life, second| {
        life.stage("stage").set_mood(|mood| mood.down = second % 2 == 0);
        life.say(&room(second), "alice", "hello").await;
    });
    // The root: an operator's word, and strangers at the door, each of whom is told of once.
    beside_a_heartbeat("turns may start again", &async |life, _| {
        life.gateway.supervisor.do_send(switchboard_actors::protocol::Hold);
        life.gateway.supervisor.do_send(switchboard_actors::protocol::Resume);
        life.settle().await;
    });
    beside_a_heartbeat("stranger turned away", &async |life, second| {
        life.say(&room(second), &format!("mallory {second}"), "hello").await;
    });
}
