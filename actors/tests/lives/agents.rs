//! Agents that are no longer wanted and will not go quietly, and one that takes memory until there is none.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rustix::process::{Resource, Rlimit, setrlimit};
use switchboard_actors::agent::{Agent, AgentError, Answer, Entry, Report, Task};
use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::ledger::sqlite::SqliteLedger;
use switchboard_actors::settings::{Policy, Settings};

use super::begun::{HANG, Life, play};

/// What a crowded machine may add to a wall clock.
const CROWD: Duration = Duration::from_secs(5);

/// An agent that does what it is told to, in its run and as that is dropped.
struct Troublesome;

/// What happens as a run is dropped.
enum AtTheEnd {
    Sleeps,
    Panics,
}

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        match self {
            Self::Sleeps => std::thread::sleep(Duration::from_secs(5)),
            Self::Panics => panic!("as it is dropped"),
        }
    }
}

impl Agent for Troublesome {
    fn kind(&self) -> &'static str {
        "troublesome"
    }

    fn run(&self, task: Task, _: Report) -> BoxFuture<'static, Result<Answer, AgentError>> {
        let asked = task.history.iter().rev().find_map(|entry| match entry {
            Entry::User { text, .. } => Some(text.clone()),
            _ => None,
        });
        Box::pin(async move {
            let _end = match asked.as_deref() {
                Some("sleep at the end") => AtTheEnd::Sleeps,
                Some("panic at the end") => AtTheEnd::Panics,
                Some("leak") => leak().await,
                _ => return Ok(Answer { text: "yes".into() }),
            };
            std::future::pending().await
        })
    }
}

/// Takes memory and never gives it back.
async fn leak() -> ! {
    tokio::time::sleep(Duration::from_millis(500)).await;
    loop {
        std::mem::forget(vec![1u8; 1 << 20]);
        tokio::task::yield_now().await;
    }
}

#[test]
fn g19_an_agent_that_blocks_or_panics_as_it_is_dropped_holds_up_nobody() {
    for wish in ["sleep at the end", "panic at the end"] {
        play(async |agents| {
            let mut settings = Settings::defaults();
            settings.runs.abandon_after = Duration::from_millis(100);
            let mut life = Life::begin(settings, MemoryLedger::new(), Troublesome, agents).await;
            life.people.say(7, wish);
            // It is at work once another one is answered that was asked after it.
            life.people.say(9, "hello");
            assert_eq!(life.heard_in(9).await, "yes");
            let asked = Instant::now();
            life.people.say(7, "/stop");
            assert!(life.heard_in(7).await.starts_with("⏹️"), "{wish}");
            assert!(asked.elapsed() < Duration::from_secs(1) + CROWD, "{wish}: {:?}", asked.elapsed());
            for room in [7, 9] {
                life.people.say(room, "hello");
                assert_eq!(life.heard_in(room).await, "yes", "{wish}");
            }
            let report = life.stop(None).await;
            assert!(report.verdict.is_clean(), "{wish}: {}", report.verdict);
        });
    }
}

/// Names the ledger, and tells a process that it is one of the lives of the test below; and which of them.
const LEDGER: &str = "SWITCHBOARD_LEAKING_LEDGER";
const LIFE: &str = "SWITCHBOARD_LEAKING_LIFE";

/// Memory for such a process, in bytes: several times what it needs by itself.
const MEMORY: u64 = 256 << 20;

/// No gateway can take memory back from an agent within it. The process ends; what it was at is known to the next, which tries it alone, and
/// in the end no more. Everybody else is answered in every life.
#[test]
fn g15_g19_g21_an_agent_that_leaks_ends_its_process_is_parked_and_costs_nobody_else_an_answer() {
    if let (Ok(ledger), Ok(life)) = (std::env::var(LEDGER), std::env::var(LIFE)) {
        return play(async |agents| live(&ledger, life.parse().expect("a number"), agents).await);
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let ledger = folder.path().join("ledger.sqlite3");
    let lives = (0..10u64).map(|life| {
        let name = "agents::g15_g19_g21_an_agent_that_leaks_ends_its_process_is_parked_and_costs_nobody_else_an_answer";
        let mut process = Command::new(std::env::current_exe().expect("this program"));
        process.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(LEDGER, &ledger).env(LIFE, life.to_string());
        let ended = process.output().expect("it starts");
        let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("room 9 was answered"), "life {life}: {said}");
        assert!(ended.status.success() || ended.status.signal().is_some(), "life {life} ended otherwise: {said}");
        ended.status.success()
    });
    let deaths = lives.take_while(|lived| !lived).count();
    assert_eq!(deaths, 3, "as many as there are attempts, and then it is parked");
}

/// One life of it, over the same ledger as those before, until the leak ends it or room 7 is told that it is over.
#[expect(clippy::print_stdout, reason = "for the process that waits")]
async fn live(ledger: &str, life: u64, agents: tokio::runtime::Handle) {
    setrlimit(Resource::Data, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) }).expect("less may always be asked for");
    let mut settings = Settings::defaults();
    (settings.recovery.policy, settings.recovery.crash_loop.starts) = (Policy::Resume, 0);
    let ledger = SqliteLedger::open(std::path::Path::new(ledger)).expect("it opens after every death");
    let mut begun = Life::begin(settings, ledger, Troublesome, agents).await;
    // Deliveries are numbered anew in each life: those of before count as repeats.
    if life == 0 {
        begun.people.say(7, "leak");
    }
    (0..=life).for_each(|_| begun.people.say(9, "hello"));
    if life > 0 {
        begun.people.say(9, "hello");
    }
    let deadline = Instant::now() + HANG;
    let (mut answered, mut parked) = (false, false);
    while Instant::now() < deadline && !(answered && parked) {
        let heard = tokio::time::timeout(HANG, begun.people.hear()).await.expect("something is said");
        if heard.room.as_str() == "9" && heard.text == "yes" {
            println!("room 9 was answered");
            answered = true;
        }
        parked |= heard.room.as_str() == "7" && heard.text.starts_with("🛑");
    }
    assert!(answered && parked);
}
