//! Who is let in by the real gateway, for how long, and how much of it one of them can take.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use reqwest::header::{COOKIE, ORIGIN, RETRY_AFTER};
use serde_json::{Value, json};
use switchboard::token::{Scope, Token};
use switchboard_actors::testkit::journal::Journal;

use crate::browser::{Browser, HALF, client};
use crate::gateway::{BOUND, Home, is_here, until};

/// Streams that one browser tries to hold; all of them together may be 256.
const MANY: usize = 300;

/// What is answered to somebody who brings this: the status and the words.
fn brought(home: &Home, entry: &Value) -> (u16, String) {
    home.now(async {
        match Browser::entered(&home.root(), entry).await {
            Ok(_) => (200, String::new()),
            Err(response) => {
                let status = response.status().as_u16();
                (status, response.json::<Value>().await.expect("JSON")["error"].as_str().expect("words").to_owned())
            }
        }
    })
}

/// The code of a new address.
fn code(home: &Home) -> String {
    home.address().split_once("/#code=").expect("an address").1.to_owned()
}

#[test]
fn g41_an_address_lets_one_browser_in_and_looking_at_it_uses_nothing() {
    let home = Home::with_demo("");
    let gateway = home.start();
    let code = code(&home);
    // As a preview of a chat program, or a browser that loads ahead.
    for path in ["/", "/page.js", "/?code", "/api/session"] {
        home.get(path).expect("it runs");
    }
    assert_eq!(brought(&home, &json!({ "code": code })).0, 200);
    for again in [&code, "", &"0".repeat(32)] {
        let (status, words) = brought(&home, &json!({ "code": again }));
        assert_eq!(status, 401);
        assert!(words.contains("was used or is too old") && words.contains("`switchboard url` again"), "{words}");
    }
    gateway.kill();
    let _gateway = home.start();
    let (token, unknown) = (home.token(), json!({ "tokn": "x" }));
    assert_eq!(brought(&home, &json!({ "token": token })).0, 200, "programs' token lets a browser in as well");
    assert_eq!((brought(&home, &unknown).0, brought(&home, &json!({})).0), (400, 401));
}

#[test]
fn g41_half_a_login_opens_nothing_in_the_real_gateway() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let (ann, bob) = (home.browser(), home.browser());
    let root = home.root();
    for (cookie, half, expected) in [
        (Some(ann.browser.cookie()), Some(ann.half()), 200),
        (Some(ann.browser.cookie()), None, 403),
        (Some(ann.browser.cookie()), Some(bob.half()), 403),
        (None, Some(ann.half()), 401),
        (None, None, 401),
    ] {
        for path in ["/api/session", "/api/events", "/metrics", "/api/messages"] {
            let mut request = match path {
                "/api/messages" => client().post(format!("{root}{path}")).json(&json!({ "id": uuid::Uuid::new_v4(), "text": "hi" })),
                _ => client().get(format!("{root}{path}")),
            };
            request = request.header(ORIGIN, &root);
            request = cookie.into_iter().fold(request, |request, cookie| request.header(COOKIE, cookie));
            request = half.into_iter().fold(request, |request, half| request.header(HALF, half));
            assert_eq!(home.sent(request), expected, "{path} with {cookie:?} and {half:?}");
        }
    }
}

#[test]
fn a_browser_of_the_version_before_goes_on_as_itself() {
    let home = Home::with_demo("");
    // What the version before left: a token, and cookies signed with it.
    let state = switchboard::state_dir::StateDir::open(&home.path().join("state")).expect("ours");
    let token = Token::open(&state, Scope::Chat).expect("writable");
    let id = "0123456789abcdef0123456789abcdef";
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, token.expose().as_bytes());
    let tag = ring::hmac::sign(&key, format!("cookie {id}").as_bytes());
    let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let cookie = format!("switchboard_{}={id}.{tag}", home.port());
    let gateway = home.start();
    let root = home.root();
    let session = || client().get(format!("{root}/api/session")).header(COOKIE, &cookie);
    let whose = |request: reqwest::RequestBuilder| {
        home.now(async { request.send().await.expect("an answer").json::<Value>().await.expect("JSON") })
    };
    let user = whose(session())["user"].clone();
    assert!(user.as_str().is_some_and(|user| user.len() == "web:".len() + 32), "{user}");
    let exchange = || client().post(format!("{root}/api/session")).header(COOKIE, &cookie).header(ORIGIN, &root).json(&json!({}));
    let exchanged = home.now(async { exchange().send().await.expect("an answer") });
    let fresh = exchanged.headers()["set-cookie"].to_str().expect("ASCII").split(';').next().expect("a value").to_owned();
    let half = home.now(exchanged.json::<Value>()).expect("JSON")["half"].as_str().expect("a half").to_owned();
    assert_eq!(home.sent(session()), 401, "the old one is void");
    gateway.kill();
    let _gateway = home.start();
    assert_eq!(home.sent(exchange()), 401, "and exchanged once");
    assert_eq!(whose(client().get(format!("{root}/api/session")).header(COOKIE, fresh).header(HALF, half))["user"], user);
}

#[test]
fn g39_the_operators_token_shows_figures_and_opens_no_chat() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let operate = std::fs::read_to_string(home.state().operate()).expect("made at the start");
    let get = |path: &str, token: &str| home.sent(client().get(format!("{}{path}", home.root())).bearer_auth(token.trim()));
    assert_eq!((get("/metrics", &operate), get("/metrics", &home.token()), get("/metrics", "nonsense")), (200, 200, 401));
    assert_eq!((get("/api/session", &operate), get("/api/events", &operate), get("/api/session", &home.token())), (401, 401, 200));
    let message = json!({ "id": uuid::Uuid::new_v4(), "text": "hi" });
    assert_eq!(home.sent(client().post(format!("{}/api/messages", home.root())).bearer_auth(operate.trim()).json(&message)), 401);
    assert_eq!(brought(&home, &json!({ "token": operate.trim() })).0, 401);
}

#[test]
fn g23_a_rotation_voids_what_it_says_at_once_and_at_rest() {
    let home = Home::with_demo("");
    let gateway = home.start();
    let page = home.browser();
    let (token, operate, code) = (home.token(), std::fs::read_to_string(home.state().operate()).expect("there"), code(&home));
    let bearer = |token: &str, path: &str| home.sent(client().get(format!("{}{path}", home.root())).bearer_auth(token.trim()));
    let browser = || home.sent(page.browser.get("/api/session"));
    let mut events = home.now(page.browser.look());
    assert_eq!(home.now(events.until("ready")), ["ready"]);

    assert!(home.done(&["token", "rotate"]).contains("browsers stay"));
    assert_eq!((bearer(&token, "/api/session"), bearer(&home.token(), "/api/session"), browser()), (401, 200, 200));
    assert_eq!(brought(&home, &json!({ "code": code })).0, 401);
    home.done(&["token", "rotate", "--operate"]);
    assert_eq!((bearer(&operate, "/metrics"), browser()), (401, 200));
    assert_eq!(page.say("still here"), 200);
    home.now(events.until("said still here"));

    let kept = home.token();
    assert!(home.done(&["token", "rotate", "--browsers"]).contains("all browsers are void"));
    home.now(async { while events.next().await.is_some() {} });
    assert_eq!((browser(), bearer(&kept, "/api/session")), (401, 401));
    gateway.wait_for_times("made anew what opens", 3);
    assert_eq!(home.run(&["token", "rotate", "--browsers", "--operate"]).code, Some(2));

    // While none runs, under its lock.
    let another = home.browser();
    gateway.kill();
    let kept = home.token();
    home.done(&["token", "rotate", "--browsers"]);
    let gateway = home.start();
    assert_eq!((bearer(&kept, "/api/session"), bearer(&home.token(), "/api/session")), (401, 200));
    assert_eq!(home.sent(another.browser.get("/api/session")), 401);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn g41_browsers_minted_in_a_loop_are_limited_and_each_is_told_of_once() {
    let home = Home::with_demo("");
    home.rewrite(&[("\n\n[agents.default]", "\nhttp.browsers_per_minute = 5\n\n[agents.default]")]);
    let gateway = home.start();
    let page = home.browser();
    let entry = json!({ "token": home.token() });
    let answers = home.now(async {
        let mut answers = Vec::new();
        for _ in 0..50 {
            answers.push(match Browser::entered(&home.root(), &entry).await {
                Ok(_) => (200, None),
                Err(response) => (response.status().as_u16(), response.headers().get(RETRY_AFTER).cloned()),
            });
        }
        answers
    });
    let new = answers.iter().filter(|(status, _)| *status == 200).count();
    // What leaks out while fifty ask is not much.
    assert!((4..10).contains(&new), "{answers:?}");
    assert!(answers.iter().all(|(status, wait)| *status == 200 || (*status == 429 && wait.is_some())), "{answers:?}");
    gateway.wait_for_times("a new browser was let in", new + 1);
    assert_eq!(gateway.logged("a new browser was let in"), new + 1);
    assert_eq!(page.say("known before"), 200);
}

#[test]
fn g41_one_browser_with_three_hundred_streams_leaves_places_for_others() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let (loud, other) = (home.browser(), home.browser());
    let held = home.now(async {
        let mut held = Vec::new();
        for _ in 0..MANY {
            let response = loud.browser.get("/api/events").send().await.expect("an answer");
            match response.status().as_u16() {
                200 => held.push(response),
                503 => assert!(response.text().await.expect("words").contains("of this browser")),
                status => panic!("{status}"),
            }
        }
        held
    });
    assert_eq!(held.len(), 8);
    assert_eq!(other.say("hello"), 200);
    other.shown("You said: hello");
}

/// A page that was closed held its place until a beat could not be written: whoever reloaded it some times was turned away.
#[test]
fn g41_a_page_that_is_closed_gives_its_place_back() {
    let home = Home::with_demo("");
    home.rewrite(&[("http.listen", "http.heartbeat = \"1h\"\nhttp.listen")]);
    let _gateway = home.start();
    let page = home.browser();
    for _ in 0..30 {
        until("a place", || {
            let status = home.now(async { page.browser.get("/api/events").send().await.expect("an answer").status().as_u16() });
            (status == 200).then_some(())
        });
    }
}

#[test]
fn g41_one_browser_cannot_fill_the_disk() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let (loud, other) = (home.browser(), home.browser());
    let words = "x".repeat(64 << 10);
    let answers: Vec<(u16, Option<u64>)> = (0..50).map(|_| loud.answer(&words)).collect();
    let taken = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!((15..25).contains(&taken), "{answers:?}");
    assert!(answers.iter().all(|(status, wait)| *status == 200 || (*status == 429 && wait.is_some())), "{answers:?}");
    assert_eq!(other.say("hello"), 200);
    other.shown("You said: hello");
}

/// A terminal of its own, and what runs in it.
struct Terminal<'a> {
    home: &'a Home,
    script: Child,
    shown: Arc<Journal<String>>,
}

impl<'a> Terminal<'a> {
    /// Runs what a shell is told, in which `GATEWAY` stands for the gateway's command line.
    fn open(home: &'a Home, told: &str, more: &[(&str, &str)]) -> Option<Self> {
        is_here(Command::new("script").arg("--version").output().is_ok(), "script").then_some(())?;
        let command = home.command(&[], &["run"]);
        let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_str().expect("UTF-8"));
        let told = told.replace("GATEWAY", &words.collect::<Vec<_>>().join(" "));
        let mut script = Command::new("script");
        script.args(["-qec", &format!("exec bash -c '{told}'"), "/dev/null"]).env_clear().env("HOME", home.path());
        script.env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(more.iter().copied());
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
        let shown = Arc::new(Journal::new(String::new()));
        let (written, mut lines) = (shown.clone(), BufReader::new(script.stdout.take().expect("piped")));
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                written.write(|shown| shown.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
        });
        Some(Self { home, script, shown })
    }

    fn type_in(&mut self, text: &str) {
        self.script.stdin.as_mut().expect("piped").write_all(text.as_bytes()).expect("it reads");
    }

    #[track_caller]
    fn shows(&self, words: &str) {
        self.shown.wait_for(words, BOUND, |shown| shown.contains(words).then_some(()));
    }

    /// Waits for so many codes.
    #[track_caller]
    fn codes(&self, many: usize) -> Vec<String> {
        let root = format!("{}/#code=", self.home.root());
        self.shown.wait_for("an address", BOUND, |shown| {
            let codes = shown.split(&root).skip(1).map(|rest| rest.split_whitespace().next().unwrap_or_default().to_owned());
            Some(codes.collect::<Vec<_>>()).filter(|codes| codes.len() >= many)
        })
    }
}

impl Drop for Terminal<'_> {
    /// A gateway outlives its terminal.
    fn drop(&mut self) {
        self.home.run(&["stop", "--grace", "0s"]);
        _ = self.script.kill();
        _ = self.script.wait();
    }
}

#[test]
fn g41_at_a_terminal_enter_prints_an_address_that_opens() {
    let home = Home::with_demo("");
    let Some(mut terminal) = Terminal::open(&home, "GATEWAY", &[]) else { return };
    let first = terminal.codes(1);
    terminal.type_in("\n");
    let codes = terminal.codes(2);
    assert!(codes[0] == first[0] && codes[1] != codes[0], "{codes:?}");
    for code in &codes {
        assert_eq!(brought(&home, &json!({ "code": code })).0, 200);
    }
}

/// What is typed for a console adapter is said there, and prints nothing.
#[test]
fn enter_is_left_to_a_console_that_reads_the_terminal() {
    let home = Home::with_demo("");
    let Some(mut terminal) = Terminal::open(&home, "GATEWAY", &[("SWITCHBOARD__ADAPTERS__CONSOLE__ENABLED", "true")]) else { return };
    terminal.codes(1);
    terminal.type_in("hello\n");
    terminal.shows("You said: hello");
    assert_eq!(terminal.codes(1).len(), 1);
}

/// A job in the background neither takes what is typed for the shell nor is stopped for trying.
#[test]
fn in_the_background_nothing_is_taken_from_the_shell() {
    let home = Home::with_demo("");
    let told = "set -m; GATEWAY & read first; read second; echo heard $first and $second; wait";
    let Some(mut terminal) = Terminal::open(&home, told, &[]) else { return };
    terminal.codes(1);
    terminal.type_in("one\n");
    terminal.type_in("two\n");
    terminal.shows("heard one and two");
    assert_eq!(home.status().expect("it was not stopped")["doing"], "serving");
    assert_eq!(terminal.codes(1).len(), 1);
}
