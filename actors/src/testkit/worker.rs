//! A scripted agent: it works for as long as it is told, in the many ways in which agents go wrong.
//!
//! | asked | it |
//! |---|---|
//! | `work 30` | works for 30 s, visibly |
//! | `hang` | never answers and shows no progress |
//! | `stream 5` | says a word a second |
//! | `long 3` | answers in three lines |
//! | `tool 4` | calls a tool that takes 4 s |
//! | `ask 2` | asks for approval of two calls, one after the other |
//! | `child 4` | lets a child process (group 104) work for 4 s |
//! | `restart`, `stop` | asks the gateway to go down |
//! | `panic`, `fail`, `nothing` | does that; `panic 5` after 5 s |
//! | anything else | answers at once |

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::agent::{Agent, AgentError, Answer, Entry, Report, Task, TurnLost};
use crate::children::Child;
use crate::shutdown::ShutdownKind;

const SECOND: Duration = Duration::from_secs(1);

/// The agent. Clones share one memory of what they were asked.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    runs: Arc<Mutex<Vec<(String, u32)>>>,
}

impl Worker {
    /// Every run that began: what was asked, and the attempt.
    pub fn runs(&self) -> Vec<(String, u32)> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Agent for Worker {
    fn kind(&self) -> &'static str {
        "worker"
    }

    fn run(&self, task: Task, report: Report) -> BoxFuture<'static, Result<Answer, AgentError>> {
        let asked = asked(&task.history);
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).push((asked.clone(), task.attempt));
        Box::pin(async move {
            let answer = work(&asked, task.attempt, &report).await;
            answer.unwrap_or_else(|lost| Err(AgentError::Unavailable(lost.to_string())))
        })
    }
}

/// What was said since the last answer or cut.
fn asked(history: &[Entry]) -> String {
    let open = history.iter().rev().skip_while(|entry| !matches!(entry, Entry::User { .. }));
    let mut words: Vec<&str> = open
        .map_while(|entry| match entry {
            Entry::User { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    words.reverse();
    words.join(" + ")
}

async fn work(asked: &str, attempt: u32, report: &Report) -> Result<Result<Answer, AgentError>, TurnLost> {
    let (word, count) = asked.split_once(' ').unwrap_or((asked, ""));
    let count: u32 = count.parse().unwrap_or(0);
    let mut text = format!("{asked}: done");
    match word {
        "work" => {
            for _ in 0..count {
                tokio::time::sleep(SECOND).await;
                report.alive().await?;
            }
        }
        "hang" => std::future::pending::<()>().await,
        "stream" => {
            text = (1..=count).map(|word| format!("word{word} ")).collect();
            for word in 1..=count {
                report.text(format!("word{word} ")).await?;
                tokio::time::sleep(SECOND).await;
            }
        }
        "long" => text = (1..=count).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n"),
        "tool" => {
            let call = format!("call-{attempt}");
            report.step(Entry::ToolCall { call: call.clone(), name: "tool".into(), arguments: "{}".into() }).await?;
            tokio::time::sleep(SECOND * count).await;
            report.step(Entry::ToolResult { call, result: Some("made".into()) }).await?;
        }
        "ask" => {
            let mut answers = Vec::new();
            for call in 1..=count.max(1) {
                let approved = report.approval(format!("call-{call}"), format!("May I make call {call}?")).await?;
                answers.push(if approved { "yes" } else { "no" });
            }
            text = format!("{asked}: {}", answers.join(" "));
        }
        "child" => {
            report.child(Child { group: 100 + count, started: u64::from(attempt), boot: "world".into() }).await?;
            tokio::time::sleep(SECOND * count).await;
        }
        "restart" => report.go_down(ShutdownKind::Restart, "restarting, as you wish").await?,
        "stop" => report.go_down(ShutdownKind::Stop, "stopping, as you wish").await?,
        "panic" => {
            tokio::time::sleep(SECOND * count).await;
            panic!("as asked")
        }
        "fail" => return Ok(Err(AgentError::Failed("as asked".into()))),
        "nothing" => text = String::new(),
        _ => {}
    }
    Ok(Ok(Answer { text }))
}
