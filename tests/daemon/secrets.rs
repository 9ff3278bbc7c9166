//! G24: secrets are in nothing that is printed, at any level, whatever fails. The search itself is a home's last act.

use switchboard_actors::testkit::fake_openai::Reply;
use switchboard_actors::testkit::fake_telegram::Fault;

use crate::gateway::{API_KEY, BOUND, Home, until};

/// Everything fails soon and is tried again soon.
const HASTY: &str = r#"
[access]
allow = ["*"]
[connection]
retry_first = "20ms"
retry_most = "50ms"
[outbox]
retry_first = "20ms"
retry_most = "50ms"
"#;

#[test]
fn g24_not_even_a_trace_holds_a_secret() {
    let home = Home::with_model(HASTY);
    let gateway = home.launch("trace");
    gateway.wait_for("ready instance=");
    let page = home.browser();
    assert_eq!(page.say("hello"), 200);
    page.shown("You said: hello");
    home.telegram.push_text(1, 1, "hello");
    home.told(1, "You said: hello");
    for command in [&["status", "--json"][..], &["config", "show"], &["check"], &["turns", "list"], &["outbox", "list"], &["pair", "list"]]
    {
        home.done(command);
    }
    for path in ["/livez", "/readyz", "/metrics", "/"] {
        assert_eq!(home.get(path).expect("it runs").0, 200);
    }
    assert_eq!(gateway.stop(), Some(0));
    assert!(!home.everything().contains(&page.cookie()), "a browser's cookie was printed");
}

#[test]
fn g24_no_failure_of_telegram_names_its_token() {
    let home = Home::with_model(HASTY);
    let gateway = home.launch("trace");
    gateway.wait_for("ready instance=");
    answered(&home, "hello");
    let passing = [Fault::Page(502), Fault::Garbage, Fault::HangUp, Fault::TooMany(Some(0))].map(|fault| (fault, "sendMessage"));
    let lasting =
        [Fault::Declined(401, "Unauthorized".into()), Fault::Declined(409, "Conflict: terminated by other getUpdates request".into())];
    let lasting = lasting.map(|fault| (fault, "getMe"));
    for (number, (fault, method)) in passing.into_iter().chain(lasting).enumerate() {
        home.telegram.fail_next("getUpdates", fault.clone());
        home.telegram.fail_next(method, fault);
        answered(&home, &format!("after fault {number}"));
    }
    home.telegram.go_away();
    until("an adapter that is not connected", || {
        let figures = home.get("/metrics")?.1;
        figures.contains("switchboard_adapter_connected{adapter=\"family\"} 0").then_some(())
    });
    home.done(&["status"]);
    home.telegram.come_back();
    answered(&home, "after an absence");
    gateway.kill();
}

/// Somebody says something, and is answered, perhaps with a mark.
#[track_caller]
fn answered(home: &Home, words: &str) {
    home.telegram.push_text(1, 1, words);
    home.telegram.wait_for(words, BOUND, |telegram| {
        telegram.texts_in(1).iter().any(|text| text.ends_with(&format!("You said: {words}"))).then_some(())
    });
}

#[test]
fn g24_no_failure_of_the_model_names_its_key() {
    let home = Home::with_model(HASTY);
    let gateway = home.launch("trace");
    gateway.wait_for("ready instance=");
    // As a server answers that shows what it was given.
    let indiscreet = format!(r#"{{"error":{{"message":"Incorrect API key provided: {API_KEY}. You can find yours elsewhere."}}}}"#);
    for (chat, reply) in [
        (1, Reply::Status(401, None, indiscreet.clone())),
        (2, Reply::Status(400, None, indiscreet.clone())),
        (3, Reply::Body("application/json", indiscreet.clone())),
        (4, Reply::Redirect(format!("http://127.0.0.1:9/?key={API_KEY}"))),
    ] {
        home.model.reply_next(reply);
        home.telegram.push_text(chat, chat, "hello");
        home.telegram.wait_for("a word", BOUND, |telegram| (!telegram.texts_in(chat).is_empty()).then_some(()));
        let told = home.telegram.texts_in(chat);
        assert!(!told.concat().contains(API_KEY), "{told:?}");
    }
    home.done(&["turns", "list"]);
    gateway.kill();
}
