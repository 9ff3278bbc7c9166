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
    assert!(!home.everything().contains(page.half()), "the half that a page keeps was printed");
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

#[test]
fn g24_a_bot_api_that_repeats_what_it_was_sent_gives_the_token_to_nobody() {
    let home = Home::with_model(HASTY);
    let gateway = home.launch("trace");
    gateway.wait_for("ready instance=");
    answered(&home, "hello");
    let token = home.telegram.token();
    let part = token.split_once(':').expect("a token has two parts").1;
    let repeated = [
        format!("no such method: POST /bot{token}/sendMessage HTTP/1.1"),
        format!("GET http://api.example/bot{}/getMe", token.replace(':', "%3A")),
        format!("Authorization: Bot {part}, which is not known here"),
        format!("{}{token}", "x".repeat(190)),
    ];
    for (chat, words) in (2..).zip(&repeated) {
        home.telegram.fail_next("getUpdates", Fault::Declined(400, words.clone()));
        home.telegram.fail_chat(chat, Some(Fault::Declined(400, words.clone())));
        home.telegram.push_text(chat, chat, "hello");
        gateway.wait_for_times("Telegram declines (400)", usize::try_from(chat - 1).expect("small"));
    }
    until("dead replies", || (home.done(&["outbox", "list"]).matches("dead").count() == repeated.len()).then_some(()));
    let listed = home.done(&["outbox", "list"]);
    assert!(listed.contains("POST /bot[secret]/sendMessage"), "the rest is told: {listed}");
    home.done(&["status"]);
    assert_eq!(gateway.stop(), Some(0));
    let ledger = std::fs::read(home.state().ledger()).expect("it was there");
    for secret in [token, part] {
        assert!(!ledger.windows(secret.len()).any(|window| window == secret.as_bytes()), "the ledger keeps it");
        assert!(!home.everything().contains(secret), "it was printed");
    }
}

#[test]
fn g24_no_key_takes_a_way_through_a_proxy_to_the_machine_itself() {
    let home = Home::with_model(&format!(
        "{HASTY}[adapters.away]\nkind = \"telegram\"\nagent = \"default\"\napi_root = \"http://198.51.100.1\"\ntoken = {{ env = \"AWAY\" }}\n"
    ));
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", proxy.local_addr().expect("bound"));
    let (told, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in proxy.incoming().map_while(Result::ok) {
            let mut line = String::new();
            _ = std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line);
            _ = told.send(line);
        }
    });
    let variables: Vec<String> =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"].map(|name| format!("{name}={address}")).into();
    let mut before = vec!["env", "AWAY=1:away"];
    before.extend(variables.iter().map(String::as_str));
    let gateway = home.launch_under(&before, "debug");
    gateway.wait_for("ready instance=");
    answered(&home, "hello");
    let first = asked.recv_timeout(BOUND).expect("what goes elsewhere goes through the proxy");
    let lines: Vec<String> = std::iter::once(first).chain(asked.try_iter()).collect();
    assert!(lines.iter().all(|line| line.contains("http://198.51.100.1/")), "{lines:?}");
    gateway.kill();
}

#[test]
fn g24_what_others_can_read_is_warned_of_by_check_and_once_by_a_start() {
    let home = Home::with_demo(&format!(
        "[agents.far]\nkind = \"openai\"\nbase_url = \"http://model.example/v1\"\nmodel = \"m\"\napi_key = \"{API_KEY}\"\n"
    ));
    let warning = "agents.far.base_url: the key and every conversation go to another host without TLS";
    let printed = home.done(&["check"]);
    assert!(printed.contains(&format!("warning: {warning}")) && printed.contains("the configuration is good"), "{printed}");
    let gateway = home.start();
    assert_eq!(gateway.logged(warning), 1);
    assert_eq!(gateway.stop(), Some(0));
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
