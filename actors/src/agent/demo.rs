//! An agent without a model or a key: it echoes, and can be told to work long, to use a tool and to fail.
//!
//! It is what a fresh installation answers with, so that everything around an agent can be tried: long work that is cut, streaming,
//! retries. It has no effects outside its own answer. It counts only the time of tokio, so that a paused clock can pass it.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Agent, AgentError, Answer, Entry, Report, Task, TurnLost};

/// The longest work that it can be asked for.
const LONGEST: Duration = Duration::from_secs(3600);
/// The longest time that it can be told to sit on its thread.
const LONGEST_BLOCK: Duration = Duration::from_secs(60);
/// Between two pieces of an answer.
const PACE: Duration = Duration::from_millis(20);
/// An answer is streamed in at most so many pieces.
const PIECES: usize = 20;

const HELP: &str = "I am the demo agent: I have no model and repeat what you say. I can also:
work for 30s (or 2m, up to 1h): work visibly for that long
tool: call a tool and tell its result
ask: ask for your approval first
fail: give up for good
busy: fail in a way that may pass
say nothing: answer with an empty text
panic: fall over
block for 5s (up to 1m): work without ever yielding, so that I cannot be cut
help: say this";

/// The agent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demo;

impl Agent for Demo {
    fn kind(&self) -> &'static str {
        "demo"
    }

    fn run(&self, task: Task, report: Report) -> BoxFuture<'static, Result<Answer, AgentError>> {
        Box::pin(async move {
            let asked = asked(&task.history);
            // Whoever lost its turn has nobody to tell, whatever it returns.
            perform(Wish::read(&asked), task.attempt, &report).await.unwrap_or_else(|lost| Err(AgentError::Unavailable(lost.to_string())))
        })
    }
}

/// What is to be answered: everything that was said since the last answer.
fn asked(history: &[Entry]) -> String {
    let mut words: Vec<&str> = history
        .iter()
        .rev()
        .take_while(|entry| !matches!(entry, Entry::Assistant { .. }))
        .filter_map(|entry| match entry {
            Entry::User { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    words.reverse();
    words.join("\n")
}

#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Echo(String),
    Work(Duration),
    TooLong(Duration),
    Block(Duration),
    Tool,
    Ask,
    Fail,
    Busy,
    Nothing,
    Panic,
    Help,
}

impl Wish {
    fn read(asked: &str) -> Self {
        let wish = asked.trim().to_lowercase();
        let span = |prefix: &str| wish.strip_prefix(prefix).and_then(|span| humantime::parse_duration(span.trim()).ok());
        if let Some(span) = span("work for ") {
            return if span <= LONGEST { Self::Work(span) } else { Self::TooLong(LONGEST) };
        }
        if let Some(span) = span("block for ") {
            return if span <= LONGEST_BLOCK { Self::Block(span) } else { Self::TooLong(LONGEST_BLOCK) };
        }
        match wish.as_str() {
            "tool" => Self::Tool,
            "ask" => Self::Ask,
            "fail" => Self::Fail,
            "busy" => Self::Busy,
            "say nothing" => Self::Nothing,
            "panic" => Self::Panic,
            "help" => Self::Help,
            _ => Self::Echo(asked.trim().to_owned()),
        }
    }
}

async fn perform(wish: Wish, attempt: u32, report: &Report) -> Result<Result<Answer, AgentError>, TurnLost> {
    let text = match wish {
        Wish::Echo(words) => format!("You said: {words}"),
        Wish::Help => HELP.to_owned(),
        Wish::TooLong(longest) => format!("I can do that for {} at most.", humantime::format_duration(longest)),
        Wish::Nothing => String::new(),
        Wish::Work(span) => return Ok(Ok(Answer { text: work(span, report).await? })),
        Wish::Tool => return Ok(Ok(Answer { text: use_tool(attempt, report).await? })),
        Wish::Ask => match report.approval("demo", "May I say something nice?").await? {
            true => "You are doing great.".to_owned(),
            false => "Then I say nothing.".to_owned(),
        },
        Wish::Fail => return Ok(Err(AgentError::Failed("you asked me to fail".into()))),
        Wish::Busy => return Ok(Err(AgentError::Unavailable("you asked me to be busy".into()))),
        Wish::Panic => panic!("the demo agent was asked to panic"),
        Wish::Block(span) => {
            // On purpose: a future that does not yield cannot be dropped, and the gateway has to bear it.
            std::thread::sleep(span);
            format!("I sat on my thread for {}.", humantime::format_duration(span))
        }
    };
    stream(&text, report).await?;
    Ok(Ok(Answer { text }))
}

/// Works for `span`, and says so every second.
async fn work(span: Duration, report: &Report) -> Result<String, TurnLost> {
    let mut text = String::new();
    let mut say = async |piece: String| {
        text.push_str(&piece);
        report.text(piece).await
    };
    let spoken = humantime::format_duration(span);
    say(format!("Working for {spoken}:")).await?;
    let mut done = Duration::ZERO;
    while done < span {
        let step = (span - done).min(Duration::from_secs(1));
        tokio::time::sleep(step).await;
        done += step;
        say(format!(" {}", humantime::format_duration(done))).await?;
    }
    say(format!("\nDone, after {spoken}.")).await?;
    Ok(text)
}

/// One call and its result, each durable before the next thing happens.
async fn use_tool(attempt: u32, report: &Report) -> Result<String, TurnLost> {
    let call = format!("dice-{attempt}");
    report.step(Entry::ToolCall { call: call.clone(), name: "dice".into(), arguments: r#"{"sides":6}"#.into() }).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Nobody's fortune rests on it, and a test can expect it.
    report.step(Entry::ToolResult { call, result: Some("4".into()) }).await?;
    let text = "I called the tool dice. It says: 4.";
    stream(text, report).await?;
    Ok(text.to_owned())
}

/// Says a text word by word, or in larger pieces when it is long.
async fn stream(text: &str, report: &Report) -> Result<(), TurnLost> {
    let words: Vec<&str> = text.split_inclusive(char::is_whitespace).collect();
    for piece in words.chunks(words.len().div_ceil(PIECES).max(1)) {
        report.text(piece.concat()).await?;
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::agent::News;
    use crate::ids::{ChatId, Seq, SessionKey, TurnId};

    fn user(text: &str) -> Entry {
        Entry::User { name: None, text: text.into() }
    }

    fn task(history: Vec<Entry>) -> Task {
        Task {
            turn: TurnId(Seq(1)),
            attempt: 1,
            session: SessionKey { chat: ChatId::new("web", "1"), member: None },
            history,
            decisions: Vec::new(),
        }
    }

    /// Runs a task to its end; also what it streamed, and its steps.
    async fn run(history: Vec<Entry>) -> (Result<Answer, AgentError>, Vec<String>, Vec<Entry>) {
        let (report, mut news) = Report::channel(1);
        let run = tokio::spawn(Demo.run(task(history), report));
        let (mut pieces, mut steps) = (Vec::new(), Vec::new());
        while let Some(news) = news.recv().await {
            match news {
                News::Text(piece) => pieces.push(piece),
                News::Step { entry, durable } => {
                    steps.push(entry);
                    let _ = durable.send(());
                }
                News::Ask { decided, .. } => _ = decided.send(true),
                News::Alive | News::Child { .. } | News::GoDown { .. } => {}
            }
        }
        (run.await.expect("the run does not panic"), pieces, steps)
    }

    #[test]
    fn wishes_are_read() {
        for (asked, expected) in [
            ("hello", Wish::Echo("hello".into())),
            (" Work for 30s ", Wish::Work(Duration::from_secs(30))),
            ("work for 1m 30s", Wish::Work(Duration::from_secs(90))),
            ("work for 2h", Wish::TooLong(LONGEST)),
            ("work for ever", Wish::Echo("work for ever".into())),
            ("block for 2s", Wish::Block(Duration::from_secs(2))),
            ("block for 2m", Wish::TooLong(LONGEST_BLOCK)),
            ("tool", Wish::Tool),
            ("FAIL", Wish::Fail),
            ("busy", Wish::Busy),
            ("say nothing", Wish::Nothing),
            ("panic", Wish::Panic),
            ("help", Wish::Help),
        ] {
            assert_eq!(Wish::read(asked), expected, "{asked}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_repeats_what_was_said_since_the_last_answer() {
        let history = vec![user("old"), Entry::Assistant { text: "You said: old".into() }, user("one two"), Entry::Cut, user("three")];
        let (answer, pieces, _) = run(history).await;
        assert_eq!(answer, Ok(Answer { text: "You said: one two\nthree".into() }));
        assert_eq!(pieces.concat(), "You said: one two\nthree");
        assert!(pieces.len() > 3, "in pieces: {pieces:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn work_takes_its_time_and_shows_it() {
        let start = Instant::now();
        let (answer, pieces, _) = run(vec![user("work for 30s")]).await;
        assert_eq!(start.elapsed().as_secs(), 30);
        assert_eq!(answer.expect("an answer").text, pieces.concat());
        assert_eq!(pieces.len(), 32, "a word a second: {pieces:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_is_called_and_answers() {
        let (answer, _, steps) = run(vec![user("tool")]).await;
        assert!(answer.expect("an answer").text.ends_with("4."));
        let call = "dice-1".to_owned();
        assert_eq!(
            steps,
            [
                Entry::ToolCall { call: call.clone(), name: "dice".into(), arguments: r#"{"sides":6}"#.into() },
                Entry::ToolResult { call, result: Some("4".into()) },
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_when_nobody_listens_any_more() {
        let (report, news) = Report::channel(1);
        drop(news);
        let start = Instant::now();
        Demo.run(task(vec![user("work for 1h")]), report).await.expect_err("the turn is lost");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
