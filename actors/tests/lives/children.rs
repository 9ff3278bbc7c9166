//! Children of agents are processes of the system here, and refuse to go.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use switchboard_actors::agent::{Agent, AgentError, Answer, Report, Task};
use switchboard_actors::children::Child;
use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::settings::Settings;

use super::begun::{HANG, Life, play};

/// An agent whose child forks, and refuses SIGTERM, as its child does.
#[derive(Clone, Default)]
struct Parent(Arc<Mutex<Vec<Child>>>);

impl Agent for Parent {
    fn kind(&self) -> &'static str {
        "parent"
    }

    fn run(&self, _: Task, report: Report) -> BoxFuture<'static, Result<Answer, AgentError>> {
        let children = self.0.clone();
        Box::pin(async move {
            let script = "trap '' TERM; sh -c 'trap \"\" TERM; sleep 1000' & sleep 1000 & wait";
            #[expect(clippy::zombie_processes, reason = "who kills it is tested; it ends with this program")]
            let process = Command::new("sh").args(["-c", script]).process_group(0).spawn().expect("a shell starts");
            let child = Child::of(process.id()).expect("it leads its group");
            children.lock().expect("nobody panics here").push(child.clone());
            report.child(child).await.map_err(|lost| AgentError::Unavailable(lost.to_string()))?;
            std::future::pending().await
        })
    }
}

impl Parent {
    /// Waits until its newest child works.
    async fn at_work(&self, count: usize) -> Child {
        let begun = Instant::now();
        loop {
            let newest = self.0.lock().expect("nobody panics here").get(count - 1).cloned();
            match newest.filter(Child::lives) {
                Some(child) => return child,
                None => tokio::task::yield_now().await,
            }
            assert!(begun.elapsed() < HANG, "no child came to life");
        }
    }
}

fn expect_gone(child: &Child, by: &str) {
    let begun = Instant::now();
    while child.lives() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{by}: {child:?} lives on");
        std::thread::yield_now();
    }
}

#[test]
fn g09_g11_children_that_fork_and_refuse_to_go_go_with_their_run() {
    play(async |agents| {
        let parent = Parent::default();
        let mut life = Life::begin(Settings::defaults(), MemoryLedger::new(), parent.clone(), agents).await;
        life.people.say(7, "go on");
        let first = parent.at_work(1).await;
        life.people.say(7, "/stop");
        assert!(life.heard_in(7).await.starts_with("⏹️"));
        expect_gone(&first, "/stop");
        life.people.say(7, "go on");
        let second = parent.at_work(2).await;
        let report = life.stop(Some(Duration::ZERO)).await;
        assert!(!report.verdict.is_clean() && report.took < Duration::from_secs(20), "{report:?}");
        expect_gone(&second, "a shutdown");
    });
}
