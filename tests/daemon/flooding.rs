//! The port under attack: pipelines that nobody reads, readers that read nothing, heads and bodies that never end, by strangers with as
//! many connections as they like. Probes answer throughout, whoever is logged in goes on, and memory stays bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::browser::HALF;
use crate::gateway::{BOUND, Home, until};

/// What a flood may add to a gateway's memory at most, in KiB. The first of them added 1,500,000 before the port had bounds.
const FLOOD: u64 = 24 << 10;

/// A gateway that does not count the strangers of this machine by address, so that they are as many as those of many machines.
fn home_of_many() -> Home {
    let home = Home::with_demo("");
    set(&home, "http.proxies = [\"127.0.0.0/8\"]");
    home
}

/// A further line of the configuration.
fn set(home: &Home, line: &str) {
    home.rewrite(&[("\n\n[agents.default]", &format!("\n{line}\n\n[agents.default]"))]);
}

/// Connections that stay open.
struct Flood<'a> {
    home: &'a Home,
    connections: Vec<TcpStream>,
}

impl<'a> Flood<'a> {
    /// So many connections; each says `words`, as far as they are taken.
    fn begin(home: &'a Home, many: usize, words: &str) -> Self {
        let connections = (0..many).map(|_| {
            let mut connection = TcpStream::connect(("127.0.0.1", home.port())).expect("it listens");
            connection.set_nonblocking(true).expect("a socket");
            write_some(&mut connection, words.as_bytes());
            connection
        });
        Self { home, connections: connections.collect() }
    }

    /// Waits until each has been answered, or ended.
    #[track_caller]
    fn is_answered(&self) {
        for connection in &self.connections {
            until("an answer, or an end", || match connection.peek(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Ok(_) | Err(_) => Some(()),
            });
        }
    }

    /// What each was answered, until its end.
    #[track_caller]
    fn heard(self) -> Vec<String> {
        self.connections.into_iter().map(to_the_end).collect()
    }

    /// The probes answer.
    #[track_caller]
    fn leaves_the_probes(&self) {
        for path in ["/livez", "/readyz"] {
            assert_eq!(asked(self.home.port(), &get(path)).status, 200, "{path}");
        }
    }
}

/// As much as the other end takes now.
fn write_some(connection: &mut TcpStream, mut words: &[u8]) {
    while !words.is_empty() {
        match connection.write(words) {
            Ok(written) => words = &words[written..],
            Err(_) => return, // full, or sent away already
        }
    }
}

#[track_caller]
fn to_the_end(mut connection: TcpStream) -> String {
    connection.set_nonblocking(false).expect("a socket");
    connection.set_read_timeout(Some(BOUND)).expect("a time");
    let mut bytes = Vec::new();
    match connection.read_to_end(&mut bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => panic!("held for {BOUND:?}"),
        Ok(_) | Err(_) => String::from_utf8_lossy(&bytes).into_owned(), // an end is an end
    }
}

/// An answer.
struct Answer {
    status: u16,
    text: String,
}

/// Asks on a connection of its own, and hears it to the end.
#[track_caller]
fn asked(port: u16, words: &str) -> Answer {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    connection.write_all(words.as_bytes()).expect("it reads");
    let text = to_the_end(connection);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {text:?}"));
    Answer { status, text }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

fn post(home: &Home, path: &str, more: &str) -> String {
    let root = home.root();
    let host = root.trim_start_matches("http://");
    format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {root}\r\nContent-Type: application/json\r\n{more}\r\n")
}

/// 122 KB of requests on each of a hundred connections, and no answer read: 14.6 MiB were held for each.
#[test]
fn g41_pipelined_requests_whose_answers_nobody_reads_hold_no_memory() {
    let home = home_of_many();
    let gateway = home.start();
    let page = home.browser();
    assert_eq!(page.say("before"), 200);
    let before = gateway.peak();
    let host = home.root().trim_start_matches("http://").to_owned();
    for request in ["GET /page.js HTTP/1.1", "DELETE /api/session HTTP/1.1", "HEAD / HTTP/1.1", "GET /livez HTTP/1.1"] {
        let request = format!("{request}\r\nHost: {host}\r\n\r\n");
        let flood = Flood::begin(&home, 100, &request.repeat(122_000 / request.len()));
        flood.is_answered();
        flood.leaves_the_probes();
        assert_eq!(page.say("during"), 200);
        let grown = gateway.peak() - before;
        assert!(grown < FLOOD, "{grown} KiB for {request:?}");
    }
    assert_eq!(gateway.stop(), Some(0));
}

/// 530 of them shut everybody out, for ever.
#[test]
fn g41_readers_that_read_nothing_shut_nobody_out() {
    let home = Home::with_demo("");
    let gateway = home.start();
    let page = home.browser();
    assert_eq!(page.say("before"), 200);
    let before = gateway.peak();
    let flood = Flood::begin(&home, 600, &"GET /page.js HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100));
    flood.is_answered();
    for _ in 0..20 {
        flood.leaves_the_probes();
        assert_eq!(page.say("during"), 200);
    }
    page.shown("You said: during");
    let stranger = asked(home.port(), &post(&home, "/api/session", "Content-Length: 2\r\n"));
    assert_eq!(stranger.status, 503, "this peer has its share: {}", stranger.text);
    assert!(stranger.text.contains("\r\nretry-after: 10\r\n"), "{}", stranger.text);
    gateway.wait_for("connections that are not logged in were sent away");
    assert_eq!(gateway.logged("connections that are not logged in were sent away"), 1, "once a minute");
    let grown = gateway.peak() - before;
    assert!(grown < FLOOD, "{grown} KiB");
    drop(flood);
    until("room again", || (asked(home.port(), &get("/")).status == 421).then_some(()));
    assert_eq!(gateway.stop(), Some(0));
}

/// Also those of many machines together are bounded, and of them, too, whoever says at once what they want is heard.
#[test]
fn g41_strangers_of_many_machines_leave_room_for_probes_and_for_who_is_logged_in() {
    let home = home_of_many();
    let gateway = home.start();
    let page = home.browser();
    let readers = Flood::begin(&home, 400, &"GET /page.js HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100));
    readers.is_answered();
    assert_eq!(asked(home.port(), &get("/")).status, 503, "these were let in, and stay for a while");
    for _ in 0..10 {
        readers.leaves_the_probes();
        assert_eq!(page.say("during"), 200);
    }
    drop(readers);
    until("room again", || (asked(home.port(), &get("/")).status == 421).then_some(()));
    // Nobody holds a place by a head that does not end.
    let silent = Flood::begin(&home, 400, "GET / HT");
    silent.leaves_the_probes();
    assert_eq!(page.say("during"), 200);
    let heard = silent.heard();
    assert!(heard.iter().all(|heard| heard.is_empty() || heard.starts_with("HTTP/1.1 408 ")), "{heard:?}");
    assert!(heard.iter().any(|heard| !heard.is_empty()), "those who were let in are told why they go");
    assert_eq!(asked(home.port(), &get("/")).status, 421);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn g41_slow_bodies_hold_neither_places_nor_memory() {
    let home = home_of_many();
    let gateway = home.start();
    let page = home.browser();
    let before = gateway.peak();
    // Who sends more than a little is asked first who they are, and what is sent all the same is thrown away.
    let big = format!("{}{}", post(&home, "/api/messages", "Content-Length: 100000000\r\n"), "x".repeat(300_000));
    for heard in Flood::begin(&home, 20, &big).heard() {
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 401 "), "{heard}");
    }
    let large = asked(home.port(), &post(&home, "/api/session", "Content-Length: 1025\r\n"));
    assert_eq!(large.status, 413, "{}", large.text);
    // Chunks that nobody wants, without an end.
    let chunks = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}", "1\r\nx\r\n".repeat(10_000));
    Flood::begin(&home, 20, &chunks).heard();
    // A body that never comes.
    let slow = Flood::begin(&home, 100, &post(&home, "/api/session", "Content-Length: 100\r\n"));
    slow.leaves_the_probes();
    assert_eq!(page.say("during"), 200);
    for heard in slow.heard() {
        assert!(heard.starts_with("HTTP/1.1 408 "), "{heard}");
    }
    let grown = gateway.peak() - before;
    assert!(grown < FLOOD, "{grown} KiB");
    assert_eq!(gateway.stop(), Some(0));
}

/// One page on a full room held 70 MiB, since it was sent everything in one piece; twenty of them 1.4 GB.
#[test]
fn g41_pages_on_a_full_room_that_read_nothing_hold_little_memory() {
    let home = Home::with_demo("[session]\nsender_per_minute = 100000\nbacklog = 100000\n");
    let bounds = ["bytes_per_minute = 100000000", "browser_bytes_per_minute = 100000000", "browser_streams = 32"];
    let bounds = bounds.map(|bound| format!("http.{bound}\n")).concat();
    home.rewrite(&[("http.listen", &format!("{bounds}http.listen"))]);
    let gateway = home.start();
    let page = home.browser();
    for _ in 0..300 {
        assert_eq!(page.say(&"x".repeat(60_000)), 200);
    }
    // What is still being answered takes memory of its own, and a peak hides what comes below it.
    until("rest", || home.status().filter(|status| status["replies_owed"] == 0 && status["turns_running"] == 0));
    assert_eq!(gateway.stop(), Some(0));
    let gateway = home.start();
    let before = gateway.peak();
    let host = home.root().trim_start_matches("http://").to_owned();
    let (cookie, half) = (page.browser.cookie(), page.half());
    let request = format!("GET /api/events HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n{HALF}: {half}\r\n\r\n");
    let flood = Flood::begin(&home, 20, &request);
    flood.is_answered();
    let (lines, _) = page.lines(0);
    assert!(lines.iter().map(String::len).sum::<usize>() > 4_000_000, "{} lines", lines.len());
    let grown = gateway.peak() - before;
    assert!(grown < FLOOD, "{grown} KiB");
    drop(flood);
    assert_eq!(gateway.stop(), Some(0));
}

/// The time for a head counted for the first request of a connection alone.
#[test]
fn g41_the_second_request_of_a_connection_is_not_waited_for_longer_than_the_first() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let answered = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut flood = Flood::begin(&home, 1, answered);
    flood.is_answered();
    write_some(&mut flood.connections[0], b"GET / HTTP/1.1\r\nHost:");
    assert_eq!(flood.heard().concat().matches("HTTP/1.1 ").count(), 1);
}

#[test]
fn g41_a_head_without_an_end_is_refused() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}", "x".repeat(17_000));
    assert_eq!(asked(home.port(), &endless).status, 431);
    let second = format!("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n{endless}");
    let heard = asked(home.port(), &second).text;
    assert!(heard.starts_with("HTTP/1.1 200 ") && heard.contains("HTTP/1.1 431 "), "{heard}");
}

#[test]
fn g41_a_connection_serves_a_thousand_requests_and_says_when_it_ends() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let mut connection = TcpStream::connect(("127.0.0.1", home.port())).expect("it listens");
    let mut writer = connection.try_clone().expect("a copy");
    let writing = std::thread::spawn(move || {
        (0..2000).for_each(|_| _ = writer.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"));
        _ = writer.shutdown(Shutdown::Write);
    });
    connection.set_read_timeout(Some(BOUND)).expect("a time");
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    while let Ok(length @ 1..) = connection.read(&mut bytes) {
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    writing.join().expect("no panic");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1000);
    assert_eq!(text.matches("\r\nconnection: close\r\n").count(), 1);
}

#[test]
fn g41_probes_have_an_address_of_their_own_where_one_is_named() {
    let home = Home::with_demo("");
    let port = home.another_port();
    set(&home, &format!("http.probes = \"127.0.0.1:{port}\""));
    let gateway = home.start();
    for path in ["/livez", "/readyz"] {
        assert_eq!(asked(port, &get(path)).status, 200, "{path}");
        assert_eq!(home.get(path).expect("it listens").0, 404, "{path} is nobody else's business");
    }
    for path in ["/", "/metrics", "/api/session"] {
        assert_ne!(asked(port, &get(path)).status, 200, "{path}");
    }
    let page = home.browser();
    assert_eq!(page.say("hello"), 200);
    // Both addresses outlive a restart.
    assert_eq!(home.run(&["restart"]).code, Some(0));
    gateway.wait_for_times("ready instance=", 2);
    assert_eq!(asked(port, &get("/readyz")).status, 200);
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens")).collect();
    assert_eq!(asked(port, &get("/livez")).status, 200, "whoever says something is heard beside {} who do not", silent.len());
    assert_eq!(gateway.stop(), Some(0));
}

/// What a browser says of the page that asks is looked at, and what is personal is kept by nobody.
#[test]
fn g23_the_page_of_another_site_asks_in_vain() {
    let home = Home::with_demo("");
    let _gateway = home.start();
    let _ = home.browser();
    let bearer = format!("Bearer {}", home.token());
    let host = home.root().trim_start_matches("http://").to_owned();
    let ask = |path: &str, site: Option<&str>| {
        let site = site.map(|site| format!("Sec-Fetch-Site: {site}\r\n")).unwrap_or_default();
        asked(home.port(), &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\nConnection: close\r\n{site}\r\n"))
    };
    for (path, site, expected) in [
        ("/api/session", None, 200),
        ("/api/session", Some("same-origin"), 200),
        ("/api/session", Some("none"), 200),
        ("/api/session", Some("same-site"), 403),
        ("/api/session", Some("cross-site"), 403),
        ("/metrics", Some("cross-site"), 403),
        ("/metrics", None, 200),
        ("/", Some("cross-site"), 200),
        ("/livez", Some("cross-site"), 200),
    ] {
        let answer = ask(path, site);
        assert_eq!(answer.status, expected, "{path} {site:?}: {}", answer.text);
        let head = answer.text.split("\r\n\r\n").next().expect("a head").to_lowercase();
        let kept = if path == "/" { "no-cache" } else { "no-store" };
        for line in [
            &format!("cache-control: {kept}"),
            "cross-origin-opener-policy: same-origin",
            "cross-origin-resource-policy: same-origin",
            "x-content-type-options: nosniff",
        ] {
            assert!(head.lines().any(|found| found == line), "{path}: {line} is not in {head}");
        }
        assert!(head.contains("permissions-policy: accelerometer=()"), "{path}: {head}");
    }
}
