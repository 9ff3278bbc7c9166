//! What the service manager is told, word by word: a datagram socket stands for it (sd_notify(3)). That is all of `Type=notify-reload` that a
//! machine can show whose systemd is older than 253.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::time::{ClockId, clock_gettime};
use switchboard_actors::testkit::fake_openai::Reply;
use switchboard_actors::testkit::journal::Journal;

use crate::gateway::{BOUND, Home, Life, until};
use crate::tracer::Tracer;

const EVERYBODY: &str = "[access]\nallow = [\"*\"]\n";
/// How much time may be asked for at once.
const ASK: u64 = 15_000_000;
/// Without a sign of life for so long a gateway counts as hung.
const HUNG: Duration = Duration::from_secs(10);
/// How often the watchdog is to be fed, as the manager has it.
const WATCHDOG: Duration = Duration::from_secs(3);

/// A service manager that only listens.
struct Manager {
    socket: PathBuf,
    heard: Arc<Journal<Vec<(Instant, String)>>>,
}

impl Manager {
    fn of(home: &Home) -> Self {
        let (socket, heard) = (home.path().join("notify"), Arc::new(Journal::new(Vec::new())));
        let (ear, written) = (UnixDatagram::bind(&socket).expect("a new path"), heard.clone());
        std::thread::spawn(move || {
            let mut words = [0; 4096];
            while let Ok(length) = ear.recv(&mut words) {
                let words = String::from_utf8_lossy(&words[..length]).into_owned();
                written.write(|heard| heard.push((Instant::now(), words)));
            }
        });
        Self { socket, heard }
    }

    /// Starts a gateway as a manager does.
    fn start<'a>(&self, home: &'a Home) -> Life<'a> {
        let script =
            format!("NOTIFY_SOCKET={} WATCHDOG_USEC={} WATCHDOG_PID=$$ exec \"$0\" \"$@\"", self.socket.display(), WATCHDOG.as_micros());
        home.launch_under(&["sh", "-c", &script], "debug")
    }

    /// How many words it has heard.
    fn so_far(&self) -> usize {
        self.heard.read(Vec::len)
    }

    /// Waits until it has heard this after so many others; which one it was.
    #[track_caller]
    fn hears(&self, after: usize, part: &str) -> usize {
        self.heard.wait_for(&format!("{part:?} after {after} words"), BOUND, |heard| {
            heard.iter().enumerate().skip(after).find(|(_, (_, words))| words.contains(part)).map(|(at, _)| at)
        })
    }

    fn words(&self, range: impl std::slice::SliceIndex<[(Instant, String)], Output = [(Instant, String)]>) -> Vec<String> {
        self.heard.read(|heard| heard[range].iter().map(|(_, words)| words.clone()).collect())
    }

    /// How often a line like this was said after so many words.
    fn count(&self, after: usize, line: &str) -> usize {
        self.words(after..).iter().filter(|words| words.lines().any(|said| said == line)).count()
    }

    /// When it was fed last.
    fn fed(&self) -> Option<Instant> {
        self.heard.read(|heard| heard.iter().rev().find(|(_, words)| words.contains("WATCHDOG=1")).map(|(at, _)| *at))
    }
}

/// The number of a field of these words.
fn number(words: &str, field: &str) -> Option<u64> {
    words.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('=')?.parse().ok())
}

fn monotonic_usec() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000
}

#[test]
fn g25_g29_ready_is_said_once_it_serves_and_around_every_reload() {
    let home = Home::with_demo(EVERYBODY);
    let manager = Manager::of(&home);
    let gateway = manager.start(&home);
    let ready = manager.hears(0, "READY=1");
    assert_eq!(home.get("/readyz").expect("it listens").0, 200);
    assert_eq!(manager.count(0, "READY=1"), 1);
    assert!(manager.words(..ready).iter().all(|words| !words.contains("STATUS=serving")), "{:?}", manager.words(..));
    // A manager that reloads by itself knows a reload by a time that is not before its signal (systemd.service(5)): a good one and a bad one.
    for (changes, outcome) in [(("[access]", "[texts]\nunknown = \"What?\"\n[access]"), "STATUS=serving"), (("[\"*\"]", "[7]"), "failed")] {
        home.rewrite(&[changes]);
        let (before, asked) = (manager.so_far(), monotonic_usec());
        gateway.signal(Signal::SIGHUP);
        let reloading = manager.hears(before, "RELOADING=1");
        let words = manager.words(reloading..=reloading);
        assert!(number(&words[0], "MONOTONIC_USEC").is_some_and(|at| at >= asked && at <= monotonic_usec()), "{asked}: {words:?}");
        let ready = manager.hears(reloading, "READY=1");
        assert!(manager.words(ready..)[0].contains(outcome), "{:?}", manager.words(ready..));
        assert_eq!((manager.count(before, "RELOADING=1"), manager.count(before, "READY=1")), (1, 1));
    }
    assert_eq!(manager.count(0, "STOPPING=1"), 0);
    gateway.kill();
}

#[test]
fn g12_time_is_asked_for_first_and_stopping_is_said_once_after_the_drain() {
    let home = Home::with_model(EVERYBODY);
    let manager = Manager::of(&home);
    let gateway = manager.start(&home);
    manager.hears(0, "READY=1");
    home.model.reply_next(Reply::Held);
    home.telegram.push_text(1, 1, "a long task");
    home.asked("a long task", 1);
    let before = manager.so_far();
    gateway.signal(Signal::SIGTERM);
    let first = manager.hears(before, "EXTEND_TIMEOUT_USEC=");
    // One sign of life may have been on its way.
    assert!(manager.words(before..first).len() <= 1, "{:?}", manager.words(before..));
    let drain = manager.hears(first, "STATUS=drain: 1 tasks running");
    manager.hears(drain + 1, "STATUS=drain: 1 tasks running");
    assert_eq!(manager.count(0, "STOPPING=1"), 0, "the drain goes on");
    home.model.let_go();
    assert_eq!(gateway.ended(), Some(0));
    let stopping = manager.hears(before, "STOPPING=1");
    let words = manager.words(before..);
    assert!(manager.words(stopping..).iter().all(|words| !words.contains("STATUS=drain")), "{words:?}");
    assert_eq!(manager.count(before, "STOPPING=1"), 1);
    let asked: Vec<u64> = words.iter().filter_map(|words| number(words, "EXTEND_TIMEOUT_USEC")).collect();
    assert!(asked.len() >= 3 && asked.iter().all(|usec| *usec <= ASK), "{asked:?}");
    assert!(number(&manager.words(stopping..)[0], "EXTEND_TIMEOUT_USEC").is_some(), "the clock that starts here is asked for more, too");
}

#[test]
fn g30_stopping_is_not_said_by_a_process_that_goes_on() {
    for (mode, said, code) in [("exec", 0, None), ("exit", 1, Some(75))] {
        let home = Home::with_demo(&format!("{EVERYBODY}[restart]\nmode = \"{mode}\"\n"));
        let manager = Manager::of(&home);
        let gateway = manager.start(&home);
        let first = manager.hears(0, "READY=1");
        gateway.signal(Signal::SIGUSR1);
        if code.is_some() {
            assert_eq!(gateway.ended(), code);
        } else {
            manager.hears(first + 1, "READY=1");
            gateway.kill();
        }
        assert_eq!(manager.count(0, "STOPPING=1"), said, "{mode}: {:?}", manager.words(..));
    }
}

/// The thread of the server's own arbiter.
fn worker(gateway: &Life<'_>) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("it runs");
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    let name = |id: &u32| std::fs::read_to_string(format!("/proc/{}/task/{id}/comm", gateway.pid())).unwrap_or_default();
    let workers: Vec<u32> = ids.filter(|id| name(id).starts_with("actix-rt|")).collect();
    assert_eq!(workers.len(), 1, "whoever adds an arbiter has its heart measured, too");
    workers[0]
}

#[test]
fn g11_g25_the_watchdog_is_fed_only_while_every_arbiter_lives() {
    for arbiter in ["the gateway's", "the server's"] {
        let home = Home::with_demo(EVERYBODY);
        let manager = Manager::of(&home);
        let gateway = manager.start(&home);
        let ready = manager.hears(0, "READY=1");
        let fed = manager.hears(manager.hears(ready, "WATCHDOG=1") + 1, "WATCHDOG=1");
        let thread = if arbiter == "the gateway's" { gateway.pid() } else { worker(&gateway) };
        let Some(tracer) = Tracer::block_thread(thread, "epoll_wait,epoll_pwait") else { return };
        let blocked = Instant::now();
        // It is not fed any more once nothing was heard for long, and in time for the manager to notice.
        until("a watchdog that starves", || (manager.fed()?.elapsed() > 2 * WATCHDOG).then_some(()));
        let last = manager.fed().expect("it was fed");
        assert!(last < blocked + HUNG + WATCHDOG, "{arbiter}: fed {:?} after it was blocked", last - blocked);
        assert!(manager.so_far() > fed);
        tracer.off();
        gateway.kill();
    }
}
