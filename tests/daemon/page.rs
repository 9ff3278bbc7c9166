//! The page in a real browser, driven over WebDriver: what a person sees while the gateway is away, or something stands in its place.
//!
//! Where chromedriver is not to be had these tests say so in one line and do nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::browser::client;
use crate::gateway::{BOUND, Home, is_here, until};

const ARGUMENTS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one page open.
struct Chromium {
    driver: Child,
    /// The address of our session with the driver.
    session: String,
    runtime: Runtime,
}

impl Chromium {
    /// Opens an address in a new browser. None where there is no browser.
    #[track_caller]
    fn open(address: &str) -> Option<Self> {
        let driver = Command::new("chromedriver").arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        is_here(driver.is_ok(), "chromedriver").then_some(())?;
        let mut driver = driver.ok()?;
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let port = |line: String| Some(line.strip_suffix('.')?.rsplit_once("successfully on port ")?.1.to_owned());
        let port = lines.find_map(port).expect("it names its port");
        std::thread::spawn(move || lines.for_each(drop)); // it must not wait for somebody to read
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut browser = Self { driver, session: format!("http://127.0.0.1:{port}/session"), runtime };
        let options = json!({ "browserName": "chrome", "goog:chromeOptions": { "args": ARGUMENTS } });
        let session = browser.post("", &json!({ "capabilities": { "alwaysMatch": options } }));
        browser.session = format!("{}/{}", browser.session, session["sessionId"].as_str().expect("an id"));
        browser.go(address);
        Some(browser)
    }

    /// Opens the page of a gateway, and waits until it is connected.
    #[track_caller]
    fn enter(home: &Home) -> Option<Self> {
        let page = Self::open(&home.address())?;
        page.is("connected");
        Some(page)
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.answer(client().post(format!("{}{path}", self.session)).json(body)).expect("chromedriver answers");
        assert!(answer["value"]["error"].is_null(), "{answer}");
        answer["value"].clone()
    }

    fn answer(&self, request: RequestBuilder) -> Option<Value> {
        self.runtime.block_on(async { request.timeout(BOUND).send().await.ok()?.json().await.ok() })
    }

    /// As typed into the address bar.
    #[track_caller]
    fn go(&self, address: &str) {
        self.post("/url", &json!({ "url": address }));
    }

    /// What a script returns.
    #[track_caller]
    fn run(&self, script: &str, arguments: &[&str]) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// Writes a message and sends it.
    #[track_caller]
    fn say(&self, text: &str) {
        self.run("document.getElementById('words').value = arguments[0]; document.getElementById('say').requestSubmit()", &[text]);
    }

    /// Waits until the page says this of its connection.
    #[track_caller]
    fn is(&self, state: &str) {
        until(state, || (self.run("return document.getElementById('state').textContent", &[]) == state).then_some(()));
    }

    /// Waits until there are lines of this kind with these words, and says how many.
    #[track_caller]
    fn shows(&self, kind: &str, words: &str) -> u64 {
        let script = "return [...document.querySelectorAll('#log li')]
            .filter((line) => line.className === arguments[0] && line.textContent.includes(arguments[1])).length";
        until(words, || self.run(script, &[kind, words]).as_u64().filter(|lines| *lines > 0))
    }
}

impl Drop for Chromium {
    /// The driver ends its browser with the session.
    fn drop(&mut self) {
        _ = self.answer(client().delete(&self.session));
        _ = self.driver.kill();
        _ = self.driver.wait();
    }
}

/// As a proxy whose backend is away, answers whatever comes with 404, until two tries of a message were among it.
#[track_caller]
fn answer_not_found(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the gateway is gone");
    listener.set_nonblocking(true).expect("a socket");
    let mut tries = 0;
    until("two tries", || {
        let (mut connection, _) = listener.accept().ok()?;
        // Browsers also connect ahead of a request.
        connection.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        let mut request = [0; 4096];
        let length = connection.read(&mut request).unwrap_or(0);
        tries += usize::from(request[..length].starts_with(b"POST /api/messages"));
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot found";
        _ = connection.write_all(answer);
        _ = connection.shutdown(Shutdown::Write);
        // What is closed unread is reset, and the answer with it.
        while connection.read(&mut request).is_ok_and(|length| length > 0) {}
        (tries == 2).then_some(())
    });
}

#[test]
fn g01_a_message_outlives_a_proxy_that_says_404_while_the_gateway_is_away() {
    let home = Home::with_demo("");
    let gateway = home.start();
    let Some(page) = Chromium::enter(&home) else { return };
    assert_eq!(gateway.stop(), Some(0));
    page.say("are you there");
    answer_not_found(home.port());
    page.shows("me pending stuck", "waiting: HTTP 404");
    let _gateway = home.start();
    page.shows("me stored", "are you there");
    assert_eq!(page.shows("agent", "You said: are you there"), 1);
}

#[test]
fn g01_what_a_browser_cannot_keep_is_sent_all_the_same() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let Some(page) = Chromium::enter(&home) else { return };
    page.run("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }", &[]);
    page.say("no room");
    page.shows("me stored", "no room");
}

#[test]
fn what_was_said_earlier_is_shown_to_whoever_asks() {
    let home = Home::with_demo("");
    home.rewrite(&[("\n\n[agents.default]", "\nhttp.replay = 2\n\n[agents.default]")]);
    let _gateway = home.start();
    let Some(page) = Chromium::enter(&home) else { return };
    for text in ["one", "two", "three"] {
        page.say(text);
        page.shows("agent", &format!("You said: {text}"));
    }
    page.run("location.reload()", &[]);
    page.is("connected");
    page.shows("agent", "You said: three");
    let lines = || page.run("return [...document.querySelectorAll('#log li')].map((line) => line.dataset.text)", &[]);
    assert_eq!(lines(), json!(["three", "You said: three"]));
    let hidden = || page.run("return document.getElementById('earlier').hidden", &[]);
    assert_eq!(hidden(), false);
    page.run("document.getElementById('earlier').click()", &[]);
    page.shows("agent", "You said: one");
    assert_eq!(lines(), json!(["one", "You said: one", "two", "You said: two", "three", "You said: three"]));
    assert_eq!(hidden(), true, "there is no more");
    page.say("four");
    page.shows("agent", "You said: four");
    assert_eq!(lines().as_array().expect("a list").len(), 8);
}

#[test]
fn the_printed_address_opens_a_page_that_is_open_and_locked() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let Some(page) = Chromium::open(&home.root()) else { return };
    page.is("locked");
    page.go(&home.address());
    page.is("connected");
}

/// Every address that the browser could show or go back to.
fn addresses(page: &Chromium) -> String {
    page.run("return [location.href, ...navigation.entries().map((entry) => entry.url)].join(' ')", &[]).to_string()
}

#[test]
fn g41_a_code_leaves_the_address_and_its_history_and_the_page_goes_on_without_it() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let address = home.address();
    let Some(page) = Chromium::open(&address) else { return };
    page.is("connected");
    let code = address.split_once('#').expect("a code").1;
    assert!(!addresses(&page).contains(code) && !addresses(&page).contains('#'), "{}", addresses(&page));
    let whose = |page: &Chromium| page.run("return document.getElementById('user').textContent", &[]);
    let user = whose(&page);
    page.say("hello");
    page.shows("agent", "You said: hello");
    page.go(&home.root());
    page.is("connected");
    page.shows("agent", "You said: hello");
    // The same address again, as from a bookmark: the page is in, and goes on.
    page.go(&address);
    page.go(&format!("{}/?again{}", home.root(), address.trim_start_matches(&format!("{}/", home.root()))));
    page.is("connected");
    assert_eq!(whose(&page), user);
    assert!(!addresses(&page).contains(code), "{}", addresses(&page));
}

#[test]
fn g41_a_cookie_alone_opens_no_page_and_a_used_code_says_what_to_do() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let address = home.address();
    let Some(page) = Chromium::open(&address) else { return };
    page.is("connected");
    // As whatever gets only the cookie: another port of this host.
    page.run("localStorage.clear()", &[]);
    page.go(&format!("{}/?alone", home.root()));
    page.is("locked");
    page.go(&address);
    let wrong = "return document.getElementById('wrong').textContent";
    until("a word on the code", || page.run(wrong, &[]).as_str().filter(|words| words.contains("used or is too old")).map(str::to_owned));
    assert_eq!(page.run("return document.getElementById('command').textContent", &[]), "switchboard url");
    page.go(&home.address());
    page.is("connected");
}

#[test]
fn a_page_sees_that_its_gateway_says_nothing_any_more() {
    let home = Home::with_demo("");
    let gateway = home.launch_under(&["env", "SWITCHBOARD__HTTP__HEARTBEAT=1s"], "debug");
    gateway.wait_for("ready instance=");
    let Some(page) = Chromium::enter(&home) else { return };
    gateway.signal(Signal::SIGSTOP); // its connections stay
    page.is("away");
    gateway.signal(Signal::SIGCONT);
    page.is("connected");
}
