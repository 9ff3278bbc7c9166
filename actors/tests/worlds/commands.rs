//! Commands: at once, to what came before them, and once.

use super::{secs, world};

#[test]
fn g18_stop_takes_effect_within_a_second_and_says_what_it_dropped() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        life.say("7", "alice", "one").await;
        life.say("7", "alice", "two").await;
        life.say("7", "alice", "/stop").await;
        assert_eq!(life.status().await.running_count, 0);
        life.say("7", "alice", "three").await;
        life.pass(secs(5)).await;
        life.say("7", "alice", "/stop").await;
    });
    assert_eq!(worker.runs(), [("work 100".to_owned(), 1), ("three".to_owned(), 1)]);
    world.expect(
        "0s  alice in 7  work 100
         0s  alice in 7  one
         0s  alice in 7  two
         0s  alice in 7  /stop
         0s  → 7         ⏹️ Stopped. Dropped: 2.
         0s  alice in 7  three
         0s  → 7         three: done
         5s  alice in 7  /stop
         5s  → 7         Nothing to stop.",
    );
}

#[test]
fn g05_stop_applies_to_what_came_before_it_only() {
    let (mut world, worker) = world();
    world.set_latency(secs(1));
    world.life(async |life| {
        let stage = life.stage("stage").clone();
        stage.say("7", "alice", "before");
        stage.say("7", "alice", "/stop");
        stage.say("7", "alice", "after");
        life.pass(secs(10)).await;
    });
    assert_eq!(worker.runs(), [("after".to_owned(), 1)]);
    world.expect(
        "1s  alice in 7  before
         1s  alice in 7  /stop
         1s  alice in 7  after
         3s  → 7         ⏹️ Stopped. Dropped: 1.
         4s  → 7         after: done",
    );
}

#[test]
fn new_forgets_and_says_so() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "work 100").await;
        life.say("7", "alice", "one").await;
        life.say("7", "alice", "/new").await;
        life.say("7", "alice", "/retry").await;
        life.say("7", "alice", "hello").await;
    });
    assert_eq!(worker.runs(), [("work 100".to_owned(), 1), ("hello".to_owned(), 1)]);
    world.expect(
        "0s  alice in 7  work 100
         0s  alice in 7  one
         0s  alice in 7  /new
         0s  → 7         🆕 A new conversation. Dropped: 1.
         0s  alice in 7  /retry
         0s  → 7         There is nothing to retry.
         0s  alice in 7  hello
         0s  → 7         hello: done",
    );
}

#[test]
fn retry_runs_the_last_answered_turn_again_as_a_new_one() {
    let (mut world, worker) = world();
    world.life(async |life| {
        life.say("7", "alice", "/retry").await;
        life.say("7", "alice", "hello").await;
        life.say("7", "alice", "/retry").await;
        life.say("7", "alice", "fail").await;
        life.say("7", "alice", "/retry").await;
    });
    let asked: Vec<_> = worker.runs().into_iter().map(|(asked, _)| asked).collect();
    assert_eq!(asked, ["hello", "hello", "fail", "fail"]);
    world.expect(
        "0s  alice in 7  /retry
         0s  → 7         There is nothing to retry.
         0s  alice in 7  hello
         0s  → 7         hello: done
         0s  alice in 7  /retry
         0s  → 7         hello: done
         0s  alice in 7  fail
         0s  → 7         ❌ That did not work: as asked. Use /retry to try again.
         0s  alice in 7  /retry
         0s  → 7         ❌ That did not work: as asked. Use /retry to try again.",
    );
}

#[test]
fn every_command_answers() {
    let (mut world, _) = world();
    world.life(async |life| {
        life.say("7", "alice", "/start").await;
        life.say("7", "alice", "/status").await;
        life.say("7", "alice", "work 100").await;
        life.say("7", "alice", "one").await;
        life.pass(secs(70)).await;
        for command in ["/status", "/queue", "/whoami", "/sessions", "/stop all", "/frobnicate"] {
            life.say("7", "alice", command).await;
        }
        life.say("9", "boss", "/help").await;
        life.say("9", "boss", "/sessions").await;
        life.say("9", "boss", "/stop all").await;
        life.pass(secs(5)).await;
    });
    world.expect(
        " 0s  alice in 7  /start
          0s  → 7         /status  what I am doing ⏎ /stop    stop the current task and drop what waits ⏎ /retry   run the last task again ⏎ /approve allow what the agent asks for, /deny to refuse it ⏎ /queue   how much waits ⏎ /new     start a new conversation ⏎ /whoami  who you are to me
          0s  alice in 7  /status
          0s  → 7         💤 Nothing to do. Waiting: 0.
          0s  alice in 7  work 100
          0s  alice in 7  one
         70s  alice in 7  /status
         70s  → 7         ⚙️ Working for 1m 11s. Waiting: 1.
         70s  alice in 7  /queue
         70s  → 7         ⏳ Waiting: 1.
         70s  alice in 7  /whoami
         70s  → 7         You are stage:alice (alice).
         70s  alice in 7  /sessions
         70s  → 7         🔒 Only administrators may do that.
         70s  alice in 7  /stop all
         70s  → 7         🔒 Only administrators may do that.
         70s  alice in 7  /frobnicate
         70s  → 7         🤔 I do not know that command. /help lists them.
         71s  boss in 9   /help
         71s  → 9         /status  what I am doing ⏎ /stop    stop the current task and drop what waits ⏎ /retry   run the last task again ⏎ /approve allow what the agent asks for, /deny to refuse it ⏎ /queue   how much waits ⏎ /new     start a new conversation ⏎ /whoami  who you are to me ⏎ /sessions  who is talking to me ⏎ /stop all  stop every task ⏎ /restart   restart the gateway ⏎ /shutdown  shut the gateway down
         71s  boss in 9   /sessions
         71s  → 9         Sessions: 1. ⏎ ⚙️ stage room 7: 1m 11s
         71s  boss in 9   /stop all
         71s  → 7         ⏹️ Your task was stopped by an administrator. Use /retry to run it again.
         71s  → 9         ⏹️ Tasks stopped: 1.
         71s  → 7         one: done",
    );
}

#[test]
fn in_a_group_a_command_acts_on_the_senders_own_session() {
    let (mut world, _) = world();
    world.stage("stage").make_group("7");
    world.life(async |life| {
        life.say("7", "alice", "work 10").await;
        life.say("7", "bob", "work 20").await;
        life.say("7", "alice", "/stop").await;
        life.pass(secs(21)).await;
    });
    world.expect(
        " 0s  alice in 7  work 10
          0s  bob in 7    work 20
          0s  alice in 7  /stop
          0s  → 7         ⏹️ Stopped. Dropped: 0.
         20s  → 7         work 20: done",
    );
}

#[test]
fn g16_a_command_that_is_delivered_again_is_not_carried_out_again() {
    let (mut world, worker) = world();
    world.life(async |life| {
        let stage = life.stage("stage").clone();
        life.say("7", "alice", "work 100").await;
        let stop = stage.say("7", "alice", "/stop");
        life.pass(secs(1)).await;
        life.say("7", "alice", "work 3").await;
        stage.redeliver(&stop, "7", "alice", "/stop");
        life.pass(secs(5)).await;
    });
    assert_eq!(worker.runs().len(), 2);
    world.expect(
        "0s  alice in 7  work 100
         0s  alice in 7  /stop
         0s  → 7         ⏹️ Stopped. Dropped: 0.
         1s  alice in 7  work 3
         1s  alice in 7  /stop
          4s  → 7         work 3: done",
    );
}

#[test]
fn a_command_that_was_accepted_and_not_answered_is_answered_by_the_next_life() {
    let (mut world, _) = world();
    world.set_latency(secs(1));
    world.life(async |life| {
        life.stage("stage").say("7", "alice", "/whoami");
        // The accept is durable, its answer is not.
        life.pass(std::time::Duration::from_millis(1500)).await;
    });
    world.life(async |life| life.pass(secs(10)).await);
    world.expect(
        "1s  alice in 7  /whoami
         4s  → 7         You are stage:alice (alice).",
    );
}
