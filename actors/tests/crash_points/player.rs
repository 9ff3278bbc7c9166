//! A scripted agent: what it does stands in the words that it is asked, and what it answers names every message that it answers.
//!
//! `m1 stuck` is the message `m1`, on which it is stuck until the player is calm. It answers `re [m1]`, or `re [m1 m2]` to two of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use switchboard_actors::agent::{Agent, AgentError, Answer, Entry, Report, Task};
use switchboard_actors::children::Child;
use switchboard_actors::ids::{SessionKey, TurnId};
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::processes::Processes;
use switchboard_actors::testkit::world::World;

/// The agent. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    state: Arc<Mutex<State>>,
    processes: Processes,
}

#[derive(Debug, Default)]
struct State {
    calm: bool,
    runs: Vec<Ran>,
    set_to_work: Vec<Child>,
    robbed: Vec<Child>,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// The turn.
    pub(crate) turn: TurnId,
    /// The attempt.
    pub(crate) attempt: u32,
    /// What it was shown.
    pub(crate) history: Vec<Entry>,
    /// The children of its conversation that were at work as it began.
    pub(crate) beside: Vec<Child>,
}

impl Player {
    /// An agent whose children are processes of this world.
    pub(crate) fn of(world: &World) -> Self {
        Self { state: Arc::default(), processes: world.processes.clone() }
    }

    /// From now on nothing takes long.
    pub(crate) fn calm_down(&self) {
        self.state().calm = true;
    }

    /// Every run so far.
    pub(crate) fn runs(&self) -> Vec<Ran> {
        self.state().runs.clone()
    }

    /// Every child that was given something to do.
    pub(crate) fn set_to_work(&self) -> Vec<Child> {
        self.state().set_to_work.clone()
    }

    /// Children that were ended while their run went on.
    pub(crate) fn robbed(&self) -> Vec<Child> {
        self.state().robbed.clone()
    }

    /// Lets a child work once it is on record, and leaves it behind.
    async fn raise(&self, task: &Task, report: &Report) -> Option<Child> {
        let child = self.processes.spawn();
        report.child(child.clone()).await.ok()?;
        self.processes.set_to_work(&child, &task.session, task.turn);
        self.state().set_to_work.push(child.clone());
        Some(child)
    }

    fn at_work_for(&self, session: &SessionKey) -> Vec<Child> {
        self.processes.at_work().into_iter().filter(|(_, works, _)| works == session).map(|(child, ..)| child).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names of the messages in a text of ours.
pub(crate) fn names(answer: &str) -> Vec<&str> {
    let Some((_, behind)) = answer.split_once('[') else { return Vec::new() };
    behind.split_once(']').map_or(Vec::new(), |(names, _)| names.split_whitespace().collect())
}

/// The words that are to be answered.
fn asked(history: &[Entry]) -> Vec<&str> {
    let mut asked: Vec<&str> = history
        .iter()
        .rev()
        .map_while(|entry| match entry {
            Entry::User { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    asked.reverse();
    asked
}

impl Agent for Player {
    fn kind(&self) -> &'static str {
        "player"
    }

    fn run(&self, task: Task, report: Report) -> BoxFuture<'static, Result<Answer, AgentError>> {
        let player = self.clone();
        Box::pin(async move {
            let beside = player.at_work_for(&task.session);
            player.state().runs.push(Ran { turn: task.turn, attempt: task.attempt, history: task.history.clone(), beside });
            let asked = asked(&task.history);
            let words: Vec<&str> = asked.iter().flat_map(|text| text.split_whitespace().skip(1)).collect();
            let names: Vec<&str> = asked.iter().filter_map(|text| text.split_whitespace().next()).collect();
            let mut answer = format!("re [{}]", names.join(" "));
            let mut children = Vec::new();
            for word in words {
                match word {
                    "fail" => return Err(AgentError::Failed("as asked".into())),
                    "silent" => return Ok(Answer { text: String::new() }),
                    "panic" => panic!("as asked"),
                    "child" => children.extend(player.raise(&task, &report).await),
                    _ => player.act(word, &task, &report, &mut answer).await,
                }
            }
            let living = player.at_work_for(&task.session);
            player.state().robbed.extend(children.into_iter().filter(|child| !living.contains(child)));
            Ok(Answer { text: answer })
        })
    }
}

impl Player {
    async fn act(&self, word: &str, task: &Task, report: &Report, answer: &mut String) {
        let calm = self.state().calm;
        match word {
            "stuck" if !calm => std::future::pending().await,
            "slow" if !calm => tokio::time::sleep(Duration::from_secs(10)).await,
            "tools" => {
                for number in 1..=2 {
                    let call = format!("{}-{}-{number}", task.turn, task.attempt);
                    let _ = report.step(Entry::ToolCall { call: call.clone(), name: "look".into(), arguments: "{}".into() }).await;
                    let _ = report.step(Entry::ToolResult { call, result: Some("seen".into()) }).await;
                }
            }
            "ask" => {
                let question = format!("May I, {}?", answer.trim_start_matches("re "));
                let approved = report.approval(format!("{}-call", task.turn), question).await.unwrap_or_default();
                answer.push_str(if approved { " approved" } else { " denied" });
            }
            "long" => answer.push_str(&"\nand so on, at length".repeat(8)),
            "stream" => {
                for _ in 0..4 {
                    let _ = report.text("so far ").await;
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                }
            }
            "restart" => {
                let _ = report.go_down(ShutdownKind::Restart, format!("{answer} restart accepted")).await;
                std::future::pending::<()>().await;
            }
            _ => {}
        }
    }
}
