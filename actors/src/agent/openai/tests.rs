//! The model client from outside: real sockets, against a server that behaves as servers do, well and badly.

use std::time::{Duration, Instant};

use super::*;
use crate::agent::{Entry, News};
use crate::ids::{ChatId, Seq, SessionKey, TurnId};
use crate::testkit::fake_openai::{FakeOpenAi, Reply, RequestFate};

/// Far longer than anything takes; a test that needs it fails.
const BOUND: Duration = Duration::from_secs(30);
/// Longer than anything takes that is not made to hang.
const LIMIT: Duration = Duration::from_secs(10);

fn config(fake: &FakeOpenAi) -> OpenAiConfig {
    OpenAiConfig {
        agent: "smart".into(),
        base_url: fake.base_url(),
        model: "m".into(),
        api_key: Some("sk-secret\n".into()),
        system: None,
        connect_limit: LIMIT,
        byte_limit: LIMIT,
        tries: 2,
        max_answer_bytes: 1000,
    }
}

fn agent(config: OpenAiConfig) -> OpenAi {
    let _ = rustls::crypto::ring::default_provider().install_default();
    OpenAi::new(config, reqwest::Client::builder().no_proxy()).expect("a client")
}

fn task(text: &str) -> Task {
    let history = vec![Entry::User { name: None, text: text.into() }];
    Task {
        turn: TurnId(Seq(1)),
        attempt: 1,
        session: SessionKey { chat: ChatId::new("web", "1"), member: None },
        history,
        decisions: Vec::new(),
    }
}

/// Runs to the end; also what was streamed.
async fn run(config: OpenAiConfig) -> (Result<Answer, AgentError>, String) {
    let (report, mut news) = Report::channel(100);
    let result = agent(config).run(task("hi there"), report);
    let pieces = async {
        let mut pieces = String::new();
        while let Some(news) = news.recv().await {
            if let News::Text(piece) = news {
                pieces.push_str(&piece);
            }
        }
        pieces
    };
    tokio::time::timeout(BOUND, async { tokio::join!(result, pieces) }).await.expect("every run ends")
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn status(code: u16, body: &str) -> Reply {
    Reply::Status(code, None, body.into())
}

const CHUNK: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
const FINISH: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[tokio::test]
async fn an_answer_is_streamed() {
    let fake = FakeOpenAi::start();
    let (answer, pieces) = run(config(&fake)).await;
    assert_eq!(answer, Ok(Answer { text: "You said: hi there".into() }));
    assert_eq!(pieces, "You said: hi there");
    let request = &fake.requests()[0];
    assert_eq!(request.authorization.as_deref(), Some("Bearer sk-secret"));
    assert_eq!(request.body, serde_json::json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": "hi there" }] }));
    assert_eq!(request.fate, RequestFate::Answered);
}

#[tokio::test]
async fn whatever_servers_answer_is_understood() {
    let sse = "text/event-stream";
    let events = |events: &[&str]| events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>();
    let whole = r#"{"choices":[{"message":{"role":"assistant","content":"a"}}]}"#;
    for (what, kind, body, expected) in [
        ("without [DONE]", sse, events(&[CHUNK, FINISH]), "a"),
        ("without a finish reason", sse, events(&[CHUNK, "[DONE]"]), "a"),
        ("an empty answer", sse, events(&[FINISH, "[DONE]"]), ""),
        ("CRLF, comments, names", sse, format!("\r\n: wait\r\n\r\nevent: x\r\ndata:{CHUNK}\r\n\r\nid: 3\r\ndata: [DONE]\r\n\r\n"), "a"),
        ("something behind its end", sse, events(&[CHUNK, FINISH, "<odd>"]), "a"),
        ("events under a wrong type", "application/json", events(&[CHUNK, FINISH]), "a"),
        ("no stream, though asked for", "application/json", whole.into(), "a"),
        ("no stream, under a wrong type", sse, format!("\n {whole}"), "a"),
    ] {
        let fake = FakeOpenAi::start();
        fake.reply_next(Reply::Body(kind, body));
        let (answer, pieces) = run(config(&fake)).await;
        assert_eq!(answer, Ok(Answer { text: expected.into() }), "{what}");
        assert_eq!((pieces.as_str(), fake.requests().len()), (expected, 1), "{what}");
    }
}

/// What a run comes to when its first reply is this and the next one is good: the error's words, or none.
async fn check(reply: Reply, tries: usize, expected: Result<&str, AgentError>) {
    let fake = FakeOpenAi::start();
    fake.reply_next(reply.clone());
    let short = matches!(reply, Reply::Never | Reply::StallAfter(_));
    let byte_limit = if short { Duration::from_secs(1) } else { LIMIT };
    let (answer, _) = run(OpenAiConfig { connect_limit: byte_limit, byte_limit, ..config(&fake) }).await;
    assert_eq!(answer.map(|answer| answer.text), expected.map(str::to_owned), "{reply:?}");
    assert_eq!(fake.requests().len(), tries, "{reply:?}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let good = || Ok("You said: hi there");
    let error_event = r#"{"error":{"message":"overloaded","code":503}}"#;
    futures_util::join!(
        check(Reply::Status(429, Some("0".into()), String::new()), 2, good()),
        check(status(503, "<html>"), 2, good()),
        check(status(408, "{}"), 2, good()),
        check(Reply::HangUp, 2, good()),
        check(Reply::CutAfter(Vec::new()), 2, good()),
        check(Reply::Body("text/event-stream", String::new()), 2, good()),
        check(Reply::Body("text/event-stream", format!("data: {error_event}\n\n")), 2, good()),
    );
}

#[tokio::test]
async fn what_will_not_pass_is_not() {
    let failed = |words: &str| Err(AgentError::Failed(words.into()));
    let key_told = r#"{"error":{"message":"Incorrect API key provided: sk-secret","code":"invalid_api_key"}}"#;
    let quota = r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#;
    let no_completion = "what the model's endpoint sends is no chat completion. Check agents.smart.base_url";
    let too_long = "the model's answer is longer than 1000 bytes (agents.smart.max_answer_bytes)";
    futures_util::join!(
        check(status(401, key_told), 1, failed("the model's endpoint rejects the key (401). Check agents.smart.api_key")),
        check(status(403, ""), 1, failed("the model's endpoint rejects the key (403). Check agents.smart.api_key")),
        check(
            status(404, ""),
            1,
            failed("the endpoint or its model does not exist (404). Check agents.smart.base_url and agents.smart.model")
        ),
        check(
            status(400, r#"{"error":{"message":"too many\ntokens for sk-secret"}}"#),
            1,
            failed("the model's endpoint does not take the request (400): too many tokens for [secret]")
        ),
        check(status(422, ""), 1, failed("the model's endpoint does not take the request (422): it does not say why")),
        check(status(429, quota), 1, failed("the account of agents.smart.api_key has no quota left (429)")),
        check(
            Reply::Redirect("http://127.0.0.1:9/elsewhere".into()),
            1,
            failed("the model's endpoint redirects elsewhere (307). Check agents.smart.base_url")
        ),
        check(Reply::Body("text/html", "<html>".into()), 1, failed(no_completion)),
        check(Reply::Body("text/event-stream", "data: <html>\n\n".into()), 1, failed(no_completion)),
        check(Reply::Body("application/json", r#"{"detail":"x"}"#.into()), 1, failed(no_completion)),
        check(Reply::Stream(vec!["x".repeat(600), "y".repeat(600)], Duration::ZERO), 1, failed(too_long)),
        check(Reply::Body("application/json", "{".repeat(200_000)), 1, failed(too_long)),
        check(Reply::Body("text/event-stream", "data: x".repeat(100_000)), 1, failed(too_long)),
    );
}

/// Events at full speed, of which none says anything: they end the attempt, and the idle limit hears nothing of them.
#[tokio::test]
async fn g19_g41_events_without_words_are_not_heard_for_long() {
    let fake = FakeOpenAi::start();
    let too_long = "the model's answer is longer than 1000 bytes (agents.smart.max_answer_bytes)";
    let thought = |words: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"reasoning_content\":\"{words}\"}}}}]}}\n\n");
    let keep_alive = "data: {\"choices\":[]}\n\n".repeat(5_000);
    let one_letter = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}],\"x\":\"{}\"}}\n\n", "x".repeat(4_000));
    for body in [keep_alive, ": still here\n\n".repeat(10_000), thought("hm").repeat(600), one_letter.repeat(200)] {
        let what: String = body.chars().take(60).collect();
        fake.reply_next(Reply::Body("text/event-stream", body));
        let (report, mut news) = Report::channel(1_000);
        let run = agent(config(&fake)).run(task("hi"), report);
        let told = async { while !matches!(news.recv().await, None | Some(News::Alive)) {} };
        let (answer, ()) = tokio::time::timeout(BOUND, async { tokio::join!(run, told) }).await.expect("it ends");
        assert_eq!(answer, Err(AgentError::Failed(too_long.into())), "{what}");
    }
    // A model that thinks aloud, and then answers, is heard to its end.
    let done = format!("data: {CHUNK}\n\ndata: [DONE]\n\n");
    fake.reply_next(Reply::Body("text/event-stream", thought("hm").repeat(400) + &done));
    assert_eq!(run(config(&fake)).await.0, Ok(Answer { text: "a".into() }));
}

#[tokio::test]
async fn silence_is_bounded_and_not_asked_twice() {
    let silent = || Err(AgentError::Unavailable("the model sent nothing for 1s".into()));
    check(Reply::Never, 1, silent()).await;
    check(Reply::StallAfter(strings(&["a"])), 1, silent()).await;
}

#[tokio::test]
async fn a_cut_stream_is_no_answer_and_is_never_said_twice() {
    let fake = FakeOpenAi::start();
    fake.reply_next(Reply::CutAfter(strings(&["the ", "half"])));
    let (answer, pieces) = run(config(&fake)).await;
    let error = answer.expect_err("a half answer is none");
    assert!(matches!(&error, AgentError::Unavailable(reason) if reason.contains("broke off")), "{error:?}");
    assert_eq!((pieces.as_str(), fake.requests().len()), ("the half", 1));
    // The same, with a proper end of the body.
    fake.reply_next(Reply::Body("text/event-stream", format!("data: {CHUNK}\n\n")));
    let (answer, _) = run(config(&fake)).await;
    assert_eq!(answer, Err(AgentError::Unavailable("the model's answer broke off".into())));
}

#[tokio::test]
async fn tries_are_bounded_and_so_are_waits() {
    let fake = FakeOpenAi::start();
    fake.reply_always(Reply::Status(429, Some("3600".into()), r#"{"error":{"message":"slow down"}}"#.into()));
    let start = Instant::now();
    let (answer, _) = run(OpenAiConfig { tries: 3, byte_limit: Duration::from_secs(1), ..config(&fake) }).await;
    assert_eq!(answer, Err(AgentError::Unavailable("the model is not available now (429): slow down".into())));
    assert_eq!(fake.requests().len(), 3);
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(2) && took < BOUND, "two waits of the longest kind: {took:?}");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_unavailable() {
    let fake = FakeOpenAi::start();
    fake.go_away();
    let (answer, _) = run(OpenAiConfig { tries: 1, ..config(&fake) }).await;
    let error = answer.expect_err("nobody is there").to_string();
    assert!(error.starts_with("the model cannot be reached: ") && !error.contains("http"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_run_closes_its_connection() {
    let fake = FakeOpenAi::start();
    for reply in [Reply::Never, Reply::StallAfter(strings(&["a"])), Reply::Stream(strings(&["a"; 1000]), Duration::from_millis(20))] {
        fake.reply_next(reply);
        let before = fake.requests().len();
        let (report, mut news) = Report::channel(100);
        let run = tokio::spawn(agent(config(&fake)).run(task("hi"), report));
        tokio::task::block_in_place(|| fake.wait_for("the request", BOUND, |state| state.requests.get(before).map(|_| ())));
        run.abort();
        tokio::task::block_in_place(|| {
            fake.wait_for("the client is gone", BOUND, |state| (state.requests[before].fate == RequestFate::ClientGone).then_some(()));
        });
        while news.recv().await.is_some() {}
    }
}

#[tokio::test]
async fn a_run_that_lost_its_turn_stops() {
    let fake = FakeOpenAi::start();
    let (report, news) = Report::channel(1);
    drop(news);
    let answer = agent(config(&fake)).run(task("hi"), report).await;
    assert_eq!(answer, Err(AgentError::Unavailable("the turn was taken from this run".into())));
}

#[test]
fn what_cannot_work_is_said_before_it_is_tried() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fake = FakeOpenAi::start();
    let builder = reqwest::Client::builder;
    let key = OpenAi::new(OpenAiConfig { api_key: Some("a\u{7}b".into()), ..config(&fake) }, builder()).err().expect("no key");
    assert!(key.starts_with("agents.smart.api_key holds characters"), "{key}");
    for base_url in ["", "127.0.0.1:80", "file:///etc"] {
        let address = OpenAi::new(OpenAiConfig { base_url: base_url.into(), ..config(&fake) }, builder()).err().expect("no address");
        assert!(address.starts_with("agents.smart.base_url is not an address"), "{address}");
    }
    assert!(!format!("{:?}", config(&fake)).contains("sk-secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_at_once_keep_their_answers() {
    let fake = FakeOpenAi::start();
    fake.reply_to("hi 7.", Reply::Stream(strings(&["sev", "en"]), Duration::from_millis(1)));
    let agent = Arc::new(agent(config(&fake)));
    let runs = (0..200).map(|n| {
        let (report, mut news) = Report::channel(10);
        let run = agent.run(task(&format!("hi {n}.")), report);
        tokio::spawn(async move { tokio::join!(run, async { while news.recv().await.is_some() {} }).0 })
    });
    for (n, run) in runs.collect::<Vec<_>>().into_iter().enumerate() {
        let answer = run.await.expect("no panic").expect("an answer").text;
        let expected = if n == 7 { "seven".into() } else { format!("You said: hi {n}.") };
        assert_eq!(answer, expected);
    }
}
