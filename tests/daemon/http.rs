//! Pages and probes over a real connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER};
use serde_json::{Value, json};
use switchboard::http::figures::Figures;
use switchboard::http::health::{Part, Vitals};
use switchboard_actors::platform::{Speaker, Voice};

use crate::backend::{AllWell, Edge, words};
use crate::browser::{Browser, HANG, client};

const ID: &str = "0195f0c2-0000-7000-8000-000000000001";

fn root(edge: &Edge) -> String {
    format!("http://{}", edge.address)
}

async fn echo(said: &switchboard_actors::platform::Said, speaker: Arc<dyn Speaker>, rooms: &crate::backend::Rooms) {
    let text = format!("you said {}", said.text);
    let number = rooms.add(&said.room, Some(Voice::Agent), None, &text).expect("a reply has no delivery");
    speaker.send(words(&said.room, number, Voice::Agent, &text)).await.expect("nobody refuses");
}

#[actix_rt::test]
async fn g01_a_message_is_taken_in_once_answered_and_shown_to_who_comes_later() {
    let edge = Edge::start(Arc::new(AllWell), &[]);
    let gateway = actix_rt::spawn(Edge::answer(edge.hub.clone(), edge.rooms.clone(), echo));
    let browser = Browser::open(&root(&edge), edge.token.expose()).await;
    let mut events = browser.watch(0).await;
    assert_eq!(events.until("ready").await, ["ready"]);
    assert_eq!(browser.say(ID, "hello").await.status(), StatusCode::OK);
    assert_eq!(browser.say(ID, "hello").await.status(), StatusCode::OK, "a repeat is accepted as well");
    assert_eq!(edge.rooms.heard(), ["hello"], "and counts once");
    assert!(events.until("line you said hello").await.len() <= 3);
    let mut later = browser.watch(0).await;
    assert_eq!(later.until("ready").await, ["line hello", "line you said hello", "ready"]);
    let mut ahead = browser.watch(99).await;
    assert_eq!(ahead.next().await.expect("the reply").1["text"], "you said hello");
    let (name, whose, id) = ahead.next().await.expect("the end of the log");
    assert_eq!((&*name, &whose["ledger"], id), ("ready", &json!(edge.ledger), Some(2)), "a page must see that numbers are not its own");
    let mut again = browser.watch(2).await;
    assert_eq!(again.until("ready").await, ["line you said hello", "ready"], "own words are known, replies may have changed");
    let other = Browser::open(&root(&edge), edge.token.expose()).await;
    assert_eq!(other.watch(0).await.until("ready").await, ["ready"], "another browser is another room");
    gateway.abort();
    edge.stop().await;
}

/// Somebody who may not speak is told so before they have said anything.
#[actix_rt::test]
async fn g23_nobody_waits_for_the_words_of_a_stranger() {
    let edge = Edge::start(Arc::new(AllWell), &[]);
    let address = edge.address;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(HANG)).expect("a time");
        let head = format!(
            "POST /api/messages HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: application/json\r\nContent-Length: 50000\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).expect("it reads");
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut answer).expect("an answer, though no word was said");
        String::from_utf8_lossy(&answer).into_owned()
    });
    assert_eq!(answer.await.expect("no panic"), "HTTP/1.1 401");
    edge.stop().await;
}

#[actix_rt::test]
async fn nothing_is_confirmed_that_nobody_took_in() {
    let edge = Edge::start(Arc::new(AllWell), &[("SWITCHBOARD__HTTP__ACCEPT_LIMIT", "50ms"), ("SWITCHBOARD__HTTP__WAITING", "1")]);
    let browser = Browser::open(&root(&edge), edge.token.expose()).await;
    for _ in 0..2 {
        // The first waits for a receipt in vain, the second finds no room.
        let response = browser.say(ID, "hello").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }
    edge.stop().await;
}

#[actix_rt::test]
async fn g23_every_path_but_probes_and_the_empty_page_wants_the_token() {
    let edge = Edge::start(Arc::new(AllWell), &[]);
    let root = root(&edge);
    let client = client();
    let message = json!({ "id": ID, "text": "hello" });
    for (path, expected) in [
        ("/", 200),
        ("/page.js", 200),
        ("/outbox.js", 200),
        ("/page.css", 200),
        ("/icon.svg", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 401),
        ("/api/session", 401),
        ("/api/events", 401),
        ("/api/lines?before=9", 401),
        ("/api/messages", 404),
        ("/elsewhere", 404),
    ] {
        let response = client.get(format!("{root}{path}")).send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), expected, "{path}");
        assert!(response.headers()["content-security-policy"].to_str().expect("ASCII").starts_with("default-src 'none'"), "{path}");
        let text = response.text().await.expect("a body");
        assert!(!text.contains(edge.token.expose()), "{path}");
    }
    let post = |path: &str| client.post(format!("{root}{path}"));
    let bearer = format!("Bearer {}", edge.token.expose());
    let cases = [
        (post("/api/messages").json(&message), 401),
        (post("/api/messages").header(AUTHORIZATION, "Bearer nonsense").json(&message), 401),
        (post("/api/messages").header(AUTHORIZATION, &bearer).header(ORIGIN, "http://evil.example").json(&message), 403),
        (post("/api/messages").header(AUTHORIZATION, &bearer).header(HOST, "evil.example").json(&message), 421),
        (post("/api/messages").header(AUTHORIZATION, &bearer).header(CONTENT_TYPE, "text/plain").body(message.to_string()), 415),
        (post("/api/messages").header(AUTHORIZATION, &bearer).json(&json!({ "id": "1", "text": "x" })), 400),
        (post("/api/messages").header(AUTHORIZATION, &bearer).json(&json!({ "id": ID, "text": " \n" })), 400),
        (post("/api/messages").header(AUTHORIZATION, &bearer).json(&json!({ "id": ID, "text": "x".repeat(1 << 20) })), 413),
        (post("/api/session").header(ORIGIN, &root).json(&json!({ "token": "nonsense" })), 401),
        (post("/api/session").json(&json!({ "token": edge.token.expose() })), 403),
        (client.get(format!("{root}/metrics")).header(AUTHORIZATION, &bearer), 200),
    ];
    for (request, expected) in cases {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        assert_eq!(status, expected, "{text}");
        assert!(status == 200 || text.starts_with("{\"error\":"), "{text}");
    }
    assert_eq!(edge.rooms.heard(), Vec::<String>::new());
    edge.stop().await;
}

/// Well as long as it is told so.
struct Changing(Arc<AtomicBool>);

impl Vitals for Changing {
    fn live(&self) -> Vec<Part> {
        vec![Part::well("supervisor")]
    }

    fn ready(&self) -> Vec<Part> {
        match self.0.load(Ordering::SeqCst) {
            true => vec![Part::well("ledger")],
            false => vec![Part::well("adapter web"), Part::unwell("ledger", "disk full")],
        }
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }
}

#[actix_rt::test]
async fn g25_readiness_names_the_part_that_is_not_ready() {
    let well = Arc::new(AtomicBool::new(false));
    let edge = Edge::start(Arc::new(Changing(well.clone())), &[]);
    let client = client();
    let probe = async |path: &str| {
        let response = client.get(format!("http://{}{path}", edge.address)).header(HOST, "10.0.0.7").send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    assert_eq!(probe("/livez").await, (200, json!({ "live": true, "troubled": [] })));
    assert_eq!(probe("/readyz").await, (503, json!({ "ready": false, "troubled": [{ "name": "ledger", "trouble": "disk full" }] })));
    well.store(true, Ordering::SeqCst);
    assert_eq!(probe("/readyz").await, (200, json!({ "ready": true, "troubled": [] })));
    edge.door.close();
    assert_eq!(probe("/readyz").await.0, 503);
    assert_eq!(probe("/livez").await.0, 200);
    edge.stop().await;
}

#[actix_rt::test]
async fn closing_the_door_ends_streams_and_names_a_time() {
    let edge = Edge::start(Arc::new(AllWell), &[("SWITCHBOARD__HTTP__STREAMS", "1")]);
    let browser = Browser::open(&root(&edge), edge.token.expose()).await;
    let mut events = browser.watch(0).await;
    events.until("ready").await;
    let second = browser.get("/api/events").send().await.expect("an answer");
    assert_eq!((second.status().as_u16(), &second.headers()[RETRY_AFTER]), (503, &"10".parse().expect("a header")));
    edge.door.close();
    assert_eq!(events.next().await, None);
    assert_eq!(edge.hub.watched(), 0);
    let refused = browser.say(ID, "hello").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()[RETRY_AFTER]), (503, &"3".parse().expect("a header")));
    tokio::time::timeout(HANG, edge.stop()).await.expect("an event stream must not hold the server");
}

#[actix_rt::test]
async fn what_was_said_while_a_page_was_away_is_shown_though_nothing_is_replayed() {
    let edge = Edge::start(Arc::new(AllWell), &[("SWITCHBOARD__HTTP__REPLAY", "0")]);
    let gateway = actix_rt::spawn(Edge::answer(edge.hub.clone(), edge.rooms.clone(), echo));
    let browser = Browser::open(&root(&edge), edge.token.expose()).await;
    browser.say(ID, "early").await;
    browser.watch(0).await.until("line you said early").await;
    let (name, _, id) = browser.look().await.next().await.expect("the end of the log");
    assert_eq!((&*name, id), ("ready", Some(2)), "nothing is replayed to a page that opens, and it goes on from here");
    browser.say("0195f0c2-0000-7000-8000-000000000002", "late").await;
    browser.watch(2).await.until("line you said late").await;
    let missed = browser.watch(2).await.until("ready").await;
    assert_eq!(missed, ["line late", "line you said late", "ready"]);
    gateway.abort();
    edge.stop().await;
}

#[actix_rt::test]
async fn more_than_is_replayed_is_shown_to_a_page_that_was_away() {
    let edge = Edge::start(Arc::new(AllWell), &[("SWITCHBOARD__HTTP__REPLAY", "2"), ("SWITCHBOARD__HTTP__MISSED", "4")]);
    let gateway = actix_rt::spawn(Edge::answer(edge.hub.clone(), edge.rooms.clone(), echo));
    let browser = Browser::open(&root(&edge), edge.token.expose()).await;
    for number in 1..=3 {
        browser.say(&format!("0195f0c2-0000-7000-8000-00000000000{number}"), &number.to_string()).await;
        browser.watch(0).await.until(&format!("line you said {number}")).await;
    }
    assert_eq!(browser.look().await.until("ready").await, ["line 3", "line you said 3", "ready"]);
    assert_eq!(browser.watch(2).await.until("ready").await, ["line 2", "line you said 2", "line 3", "line you said 3", "ready"]);
    let newest = browser.watch(0).await.until("ready").await;
    assert_eq!(newest, ["line 2", "line you said 2", "line 3", "line you said 3", "ready"], "under a bound of its own");
    gateway.abort();
    edge.stop().await;
}

#[actix_rt::test]
async fn what_a_page_is_not_shown_at_once_it_can_ask_for() {
    let edge = Edge::start(Arc::new(AllWell), &[("SWITCHBOARD__HTTP__REPLAY", "2"), ("SWITCHBOARD__HTTP__MISSED", "3")]);
    let gateway = actix_rt::spawn(Edge::answer(edge.hub.clone(), edge.rooms.clone(), echo));
    let browser = Browser::open(&root(&edge), edge.token.expose()).await;
    for number in 1..=60 {
        browser.say(&format!("0195f0c2-0000-7000-8000-0000000000{number:02}"), &number.to_string()).await;
    }
    browser.watch(0).await.until("line you said 60").await;
    let ready = async |mut events: crate::browser::Events| loop {
        let (name, data, id) = events.next().await.expect("a page is greeted");
        if name == "ready" {
            return (data["earlier"].clone(), id);
        }
    };
    assert_eq!(ready(browser.look().await).await, (json!(119), Some(120)));
    assert_eq!(ready(browser.watch(117).await).await, (Value::Null, Some(120)), "three were missed, and are shown");
    assert_eq!(ready(browser.watch(116).await).await, (json!(118), Some(120)), "one of four was not");
    let (mut texts, mut before) = (Vec::new(), json!(119));
    while !before.is_null() {
        let answer = browser.get(&format!("/api/lines?before={before}")).send().await.expect("an answer");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let answer: Value = answer.json().await.expect("JSON");
        let lines = answer["lines"].as_array().expect("a list").iter().map(|line| line["text"].as_str().expect("words").to_owned());
        texts.splice(0..0, lines);
        before = answer["earlier"].clone();
    }
    let all = (1..60).flat_map(|number| [number.to_string(), format!("you said {number}")]);
    assert_eq!(texts, all.collect::<Vec<_>>());
    gateway.abort();
    edge.stop().await;
}

#[actix_rt::test]
async fn a_page_is_sent_signs_of_life_that_it_can_see() {
    let edge = Edge::start(Arc::new(AllWell), &[("SWITCHBOARD__HTTP__HEARTBEAT", "10ms")]);
    let browser = Browser::open(&root(&edge), edge.token.expose()).await;
    let mut stream = browser.get("/api/events").send().await.expect("an answer").bytes_stream();
    let mut text = String::new();
    while !text.contains("\n\nevent: beat\ndata: {}\n\n") {
        let piece = tokio::time::timeout(HANG, stream.next()).await.expect("silence").expect("no end").expect("whole");
        text.push_str(&String::from_utf8_lossy(&piece));
    }
    assert!(text.contains("\"heartbeat\":10"), "a page must know when one is missing: {text}");
    edge.stop().await;
}
