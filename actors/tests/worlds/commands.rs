//! Commands: at once, to what came before them, and once.

use switchboard_actors::ledger::{Knowledge, Question};
use switchboard_actors::protocol::{Inquire, Order};
use switchboard_actors::settings::{Policy, Recovery};
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::world::Life;

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

/// Something that keeps a conversation from going on: what is said, whether that life is cut off, and what is set.
struct Trap {
    name: &'static str,
    said: &'static [&'static str],
    lives: u32,
    set: fn(&mut Recovery),
}

const TRAPS: [Trap; 10] = [
    Trap { name: "it works", said: &["work 1000"], lives: 0, set: |_| {} },
    Trap { name: "it hangs", said: &["hang"], lives: 0, set: |_| {} },
    Trap { name: "something waits behind", said: &["hang", "one", "two"], lives: 0, set: |_| {} },
    Trap { name: "it asks", said: &["ask"], lives: 0, set: |_| {} },
    Trap { name: "it failed", said: &["fail"], lives: 0, set: |_| {} },
    Trap { name: "it was cut", said: &["hang"], lives: 1, set: |_| {} },
    Trap { name: "it was cut, and something waits", said: &["hang", "one"], lives: 1, set: |_| {} },
    Trap { name: "it was cut, and is held", said: &["hang"], lives: 1, set: |recovery| recovery.policy = Policy::Hold },
    Trap { name: "it runs again and hangs", said: &["hang"], lives: 1, set: |recovery| recovery.policy = Policy::Resume },
    Trap {
        name: "it is parked",
        said: &["hang"],
        lives: 2,
        set: |recovery| (recovery.policy, recovery.max_attempts) = (Policy::Resume, 2),
    },
];

#[test]
fn g18_each_command_frees_a_conversation_from_whatever_holds_it() {
    for Trap { name, said, lives, set } in TRAPS {
        for commands in [&["/stop"][..], &["/new"], &["/retry", "/stop"], &["/retry", "/new"]] {
            let (mut world, _) = world();
            set(&mut world.settings.recovery);
            let trap = async |life: &Life, first: bool| {
                for text in said.iter().filter(|_| first) {
                    life.say("7", "alice", text).await;
                }
                life.pass(secs(1)).await;
            };
            for life_number in 0..lives {
                world.life(async |life| trap(life, life_number == 0).await);
            }
            world.life(async |life| {
                trap(life, lives == 0).await;
                for command in commands {
                    life.say("7", "alice", command).await;
                    life.pass(secs(1)).await;
                }
                life.say("7", "alice", "hello").await;
                life.pass(secs(1)).await;
                let heard = life.stage("stage").heard_in("7");
                let greetings = heard.iter().filter(|text| *text == "hello: done").count();
                assert_eq!(greetings, 1, "{name}, {commands:?}: {heard:?}");
                let status = life.status().await;
                assert_eq!((status.running_count, status.waiting), (0, 0), "{name}, {commands:?}");
                assert!(life.shut_down(ShutdownKind::Stop).await.verdict.is_clean(), "{name}, {commands:?}");
            });
        }
    }
}

#[test]
fn g18_an_operator_frees_what_was_cut_where_nobody_asks_for_it() {
    for Trap { name, said, lives, set } in TRAPS.into_iter().filter(|trap| trap.lives > 0 && !trap.name.contains("again")) {
        for retries in [false, true] {
            let (mut world, worker) = world();
            set(&mut world.settings.recovery);
            for number in 0..lives {
                world.life(async |life| {
                    for text in said.iter().filter(|_| number == 0) {
                        life.say("7", "alice", text).await;
                    }
                    life.pass(secs(1)).await;
                });
            }
            let before = worker.runs().len();
            world.life(async |life| {
                life.pass(secs(1)).await;
                let Ok(Ok(Knowledge::Turns(turns))) = life.gateway.supervisor.send(Inquire(Question::Turns)).await else {
                    panic!("{name}")
                };
                let [turn] = &turns[..] else { panic!("{name}: {turns:?}") };
                let order = if retries { Order::RetryTurn(turn.turn) } else { Order::DropTurn(turn.turn) };
                life.gateway.supervisor.send(order).await.expect("it answers").expect("it can be done");
                life.pass(secs(1)).await;
                let again = worker.runs()[before..].iter().filter(|(text, _)| text == "hang").count();
                assert_eq!(again, usize::from(retries), "{name}: {:?}", worker.runs());
                if retries {
                    life.say("7", "alice", "/stop").await;
                }
                life.say("7", "alice", "hello").await;
                life.pass(secs(1)).await;
                assert!(life.stage("stage").heard_in("7").contains(&"hello: done".to_owned()), "{name}, retried: {retries}");
            });
        }
    }
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
