//! The whole gateway at work: the web chat and Telegram, from the message to its answer.

use reqwest::header::{HOST, ORIGIN};
use serde_json::json;

use crate::browser::client;
use crate::gateway::{Home, until};

const ID: &str = "0195f0c2-0000-7000-8000-00000000000a";

#[test]
fn g01_a_page_is_answered_once_and_shown_what_it_missed() {
    let home = Home::with_demo("");
    let gateway = home.start();
    let page = home.browser();
    assert_eq!(page.say_as(ID, "hello"), 200);
    assert_eq!(page.shown("You said: "), ["hello", "You said: hello"]);
    let (_, seen) = page.lines(0);
    assert_eq!(page.say_as(ID, "hello"), 200, "a repeat is confirmed as well");
    assert_eq!(page.say("again"), 200);
    assert_eq!(page.shown("You said: again"), ["hello", "You said: hello", "again", "You said: again"], "and is one message");
    let (missed, _) = page.lines(seen);
    assert_eq!(missed, ["You said: hello", "again", "You said: again"], "own words are known, replies may have changed");
    assert_eq!(home.browser().lines(0).0, Vec::<String>::new(), "another browser is another room");
    gateway.kill();
    let _gateway = home.start();
    assert_eq!(page.say_as(ID, "hello"), 200, "the cookie and the id live longer than the process");
    assert_eq!(page.lines(0).0, ["hello", "You said: hello", "again", "You said: again"]);
}

#[test]
fn g23_the_door_is_closed_without_the_token_in_the_real_gateway() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let (root, bearer) = (home.root(), format!("Bearer {}", home.token()));
    let message = json!({ "id": ID, "text": "hello" });
    let post = || client().post(format!("{root}/api/messages")).json(&message);
    let cases = [
        (post(), 401),
        (post().header("Authorization", "Bearer nonsense"), 401),
        (client().get(format!("{root}/metrics")), 401),
        (post().header("Authorization", &bearer).header(ORIGIN, "http://evil.example"), 403),
        (post().header("Authorization", &bearer).header(HOST, "evil.example"), 421),
        (client().get(format!("{root}/api/events")).header("Authorization", &bearer).header(HOST, "evil.example"), 421),
        (post().header("Authorization", &bearer), 200),
    ];
    for (request, expected) in cases {
        assert_eq!(home.sent(request), expected);
    }
    until("the answer to the only message that came in", || {
        let (_, figures) = home.get("/metrics")?;
        figures.contains("switchboard_messages_accepted_total 1\n").then_some(())
    });
}

#[test]
fn g23_a_stranger_in_telegram_is_answered_once_an_operator_let_them_in() {
    let home = Home::with_model("[access]\nallow = [\"family:1\"]");
    let _gateway = home.start();
    home.telegram.push_text(1, 1, "hello");
    assert_eq!(home.told(1, "You said: "), ["You said: hello"]);
    let authorization = home.model.requests()[0].authorization.clone().expect("a key");
    assert!(authorization.starts_with("Bearer sk-"), "the model is shown its key");
    home.telegram.push_text(7, 7, "let me in");
    let greeting = home.told(7, "👋").remove(0);
    home.telegram.push_text(7, 7, "hello?");
    let code = greeting.split_whitespace().skip_while(|word| *word != "approve").nth(1).expect("a code");
    assert!(home.done(&["pair", "list"]).contains(&format!("waiting, code {code}")));
    assert_eq!(home.run(&["pair", "approve", "AAAAAAAA", "--yes"]).code, Some(1));
    assert!(home.done(&["pair", "approve", code, "--yes"]).contains("family:7 may speak now (\"User7\")"));
    home.telegram.push_text(7, 7, "now");
    assert_eq!(home.told(7, "You said: ")[1..], ["You said: now"], "one greeting, and nothing of what came before");
    assert_eq!(home.run(&["pair", "approve", code, "--yes"]).code, Some(1), "a code opens once");
    home.done(&["pair", "revoke", "family:7"]);
    home.telegram.push_text(7, 7, "still?");
    home.telegram.push_text(1, 1, "after");
    home.told(1, "You said: after");
    assert_eq!(home.count(7, "You said: "), 1);
    assert_eq!(home.run(&["pair", "revoke", "family:7"]).code, Some(1));
}
