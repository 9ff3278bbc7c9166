//! The real binary as a process, at home in a directory and on a port of its own, between a fake Telegram and a fake model.
//!
//! Waiting is by condition and bound. Whatever a process printed is kept, searched for secrets at the end (G24), and shown when a
//! test fails.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use switchboard::state_dir::StateDir;
use switchboard_actors::testkit::fake_openai::FakeOpenAi;
use switchboard_actors::testkit::fake_telegram::FakeTelegram;
use switchboard_actors::testkit::journal::Journal;

use crate::browser::{Browser, client};

/// Ten times what anything here takes on a crowded machine; only a hang reaches it.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
/// Between two looks at something that cannot wake us.
const LOOK: Duration = Duration::from_millis(10);
/// The model's key, to be found nowhere.
pub(crate) const API_KEY: &str = "sk-hidden-key-of-the-model";
/// Below the ports that systems give out by themselves, so that nobody gets ours while its gateway is away.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// What a fault below or beside a gateway may add to its memory at most, in KiB.
const FAULT: u64 = 32 << 10;

/// The beginnings of what the gateway says.
pub(crate) const DOWN: &str = "⚠️ Gateway shutting down — ";
pub(crate) const RESTARTING: &str = "⚠️ Gateway restarting — ";
pub(crate) const SAVED: &str = "📥 Saved";
pub(crate) const BACK: &str = "✅ Back";
pub(crate) const CUT: &str = "✂️ Your task was interrupted";

/// Where a gateway lives, across its lives.
pub(crate) struct Home {
    pub(crate) telegram: FakeTelegram,
    pub(crate) model: FakeOpenAi,
    dir: tempfile::TempDir,
    /// What is run: the binary as it was built, or where it is installed.
    program: PathBuf,
    port: u16,
    runtime: tokio::runtime::Runtime,
    logs: Mutex<Vec<Arc<Journal<String>>>>,
    printed: Mutex<String>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    /// A gateway whose agent is the fake model, with these further lines of configuration.
    pub(crate) fn with_model(more: &str) -> Self {
        let model = FakeOpenAi::start();
        let agent = format!("kind = \"openai\"\nbase_url = \"{}\"\nmodel = \"m\"\napi_key = \"{API_KEY}\"", model.base_url());
        Self::with_agent(model, &agent, more)
    }

    /// A gateway whose agent is the demo, with these further lines of configuration.
    pub(crate) fn with_demo(more: &str) -> Self {
        Self::with_agent(FakeOpenAi::start(), "kind = \"demo\"", more)
    }

    fn with_agent(model: FakeOpenAi, agent: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (telegram, port) = (FakeTelegram::start(), free_port());
        let (root, at) = (telegram.api_root(), dir.path().display());
        std::fs::write(dir.path().join("telegram"), telegram.token()).expect("writable");
        let config = format!(
            "state_dir = \"{at}/state\"\nhttp.listen = \"127.0.0.1:{port}\"\n\n[agents.default]\n{agent}\n\n[adapters.family]\nkind = \"telegram\"\n\
             agent = \"default\"\napi_root = \"{root}\"\ntoken = {{ file = \"{at}/telegram\" }}\n\n{more}\n"
        );
        std::fs::write(dir.path().join("config.toml"), config).expect("writable");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let program = env!("CARGO_BIN_EXE_switchboard").into();
        Self { telegram, model, dir, program, port, runtime, logs: Mutex::default(), printed: Mutex::default() }
    }

    /// Runs another program from now on.
    pub(crate) fn use_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> StateDir {
        StateDir::at(&self.dir.path().join("state"))
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    /// Writes the configuration anew, with these words in place of those.
    pub(crate) fn rewrite(&self, changes: &[(&str, &str)]) {
        let text = std::fs::read_to_string(self.config()).expect("readable");
        let text = changes.iter().fold(text, |text, (old, new)| text.replace(old, new));
        std::fs::write(self.config(), text).expect("writable");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// One that is free as well.
    pub(crate) fn another_port(&self) -> u16 {
        free_port()
    }

    pub(crate) fn root(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether the clean flag is there.
    pub(crate) fn is_marked(&self) -> bool {
        self.state().marker().exists()
    }

    /// The binary with this home's configuration, and nothing of our own environment.
    pub(crate) fn command(&self, before: &[&str], arguments: &[&str]) -> Command {
        let binary = self.program.to_str().expect("UTF-8");
        let mut words = before.iter().copied().chain([binary]);
        let mut command = Command::new(words.next().expect("at least the binary"));
        command.args(words).arg("--config").arg(self.config()).args(arguments).env_clear().env("HOME", self.dir.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Printed {
        let output = self.command(&[], arguments).output().expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let printed = Printed { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        if arguments != ["url"] {
            let mut all = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
            _ = write!(all, "$ switchboard {}\n{}{}", arguments.join(" "), printed.out, printed.err);
        }
        printed
    }

    /// Runs a command that must do what it says; what it printed.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let printed = self.run(arguments);
        assert_eq!(printed.code, Some(0), "{arguments:?}: {printed:?}");
        printed.out
    }

    /// Starts a gateway and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Life<'_> {
        let life = self.launch("debug");
        life.wait_for("ready instance=");
        life
    }

    /// Starts a gateway that logs at `level`.
    pub(crate) fn launch(&self, level: &str) -> Life<'_> {
        self.launch_under(&[], level)
    }

    /// As [`launch`](Self::launch), with another program and its arguments in front.
    pub(crate) fn launch_under(&self, before: &[&str], level: &str) -> Life<'_> {
        let mut command = self.command(before, &["run"]);
        command.env("SWITCHBOARD__LOG__LEVEL", level);
        self.watched(command)
    }

    /// Begins a command that takes its time.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Life<'_> {
        self.watched(self.command(&[], arguments))
    }

    /// Starts a process and keeps what it says.
    pub(crate) fn watched(&self, mut command: Command) -> Life<'_> {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let log = Arc::new(Journal::new(String::new()));
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push(log.clone());
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let written = log.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| written.write(|log| log.push_str(&(line + "\n"))));
        });
        Life { home: self, child, log }
    }

    /// The gateway's own word on itself; none while nobody answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let printed = self.run(&["status", "--json"]);
        (printed.code == Some(0)).then(|| serde_json::from_str(&printed.out).expect("JSON"))
    }

    /// The token of the page.
    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.state().token()).expect("made at the first start").trim().to_owned()
    }

    /// A new address of the page, with a code that opens once.
    #[track_caller]
    pub(crate) fn address(&self) -> String {
        let printed = self.run(&["url"]);
        assert_eq!(printed.code, Some(0), "{}", printed.err);
        printed.out.trim().to_owned()
    }

    /// Opens the page in a new browser.
    pub(crate) fn browser(&self) -> Page<'_> {
        Page { home: self, browser: self.now(Browser::open(&self.root(), &self.token())) }
    }

    /// A program that comes with the token, as if it were a page.
    pub(crate) fn program(&self) -> Page<'_> {
        Page { home: self, browser: Browser::program(&self.root(), &self.token()) }
    }

    /// A request's status and body; none while nobody listens.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        self.now(async {
            let request = client().get(format!("{}{path}", self.root())).bearer_auth(self.token());
            let response = request.send().await.ok()?;
            let (status, text) = (response.status().as_u16(), response.text().await.ok()?);
            _ = writeln!(self.printed.lock().unwrap_or_else(PoisonError::into_inner), "GET {path}: {status} {text}");
            Some((status, text))
        })
    }

    /// The status that a request is answered with.
    pub(crate) fn sent(&self, request: reqwest::RequestBuilder) -> u16 {
        self.now(async { request.send().await.expect("an answer").status().as_u16() })
    }

    /// Waits until a chat was told something that begins so; all that it was told.
    #[track_caller]
    pub(crate) fn told(&self, chat: i64, beginning: &str) -> Vec<String> {
        self.telegram.wait_for(&format!("{beginning:?} in chat {chat}"), BOUND, |telegram| {
            let texts = telegram.texts_in(chat);
            texts.iter().any(|text| text.starts_with(beginning)).then_some(texts)
        })
    }

    /// How often a chat was told something that begins so.
    pub(crate) fn count(&self, chat: i64, beginning: &str) -> usize {
        self.telegram.texts_in(chat).iter().filter(|text| text.starts_with(beginning)).count()
    }

    /// Waits until the model was asked for something that holds `words`, `times` times.
    #[track_caller]
    pub(crate) fn asked(&self, words: &str, times: usize) {
        self.model.wait_for(&format!("{words:?} asked {times} times"), BOUND, |model| {
            (model.requests.iter().filter(|request| request.asked().contains(words)).count() >= times).then_some(())
        });
    }

    pub(crate) fn now<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Everything that was printed in this home.
    pub(crate) fn everything(&self) -> String {
        let mut all = self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (life, log) in self.logs.lock().unwrap_or_else(PoisonError::into_inner).iter().enumerate() {
            _ = write!(all, "--- life {}\n{}", life + 1, log.read(String::clone));
        }
        all
    }
}

/// G24: no secret in anything that was printed.
impl Drop for Home {
    fn drop(&mut self) {
        let all = self.everything();
        if std::thread::panicking() {
            // Enough to see what went wrong, and no more than a terminal bears.
            let lines: Vec<&str> = all.lines().filter(|line| !line.contains(" TRACE ")).collect();
            eprintln!("{}", lines[lines.len().saturating_sub(300)..].join("\n"));
            return;
        }
        let state = self.state();
        let [chat, operate, cookies] = [state.token(), state.operate(), state.cookie_key()].map(|path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().next().unwrap_or_default().to_owned()
        });
        let secrets = [self.telegram.token(), "TEST-token", API_KEY, &chat, &operate, &cookies, "/#code="];
        for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
            if let Some(line) = all.lines().find(|line| line.contains(secret)) {
                panic!("g24: a secret was printed: {line}");
            }
        }
    }
}

/// One life of a gateway. Dropped, it is killed.
pub(crate) struct Life<'a> {
    home: &'a Home,
    child: Child,
    log: Arc<Journal<String>>,
}

impl Life<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("our child, not yet waited for");
    }

    /// Waits until the log holds `part`.
    #[track_caller]
    pub(crate) fn wait_for(&self, part: &str) {
        self.wait_for_times(part, 1);
    }

    /// Waits until the log holds `part` so often.
    #[track_caller]
    pub(crate) fn wait_for_times(&self, part: &str, times: usize) {
        self.log.wait_for(&format!("{part:?} in the log"), BOUND, |log| (log.matches(part).count() >= times).then_some(()));
    }

    /// How often the log holds `part`.
    pub(crate) fn logged(&self, part: &str) -> usize {
        self.log.read(|log| log.matches(part).count())
    }

    /// Waits for the end; its code.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Option<i32> {
        until("the end of the process", || self.child.try_wait().expect("our child")).code()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// The most memory that it ever had, in KiB.
    pub(crate) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel says so");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Its peak grew by no more than a fault may cost.
    #[track_caller]
    pub(crate) fn expect_small(&self, before: u64) {
        let grown = self.peak() - before;
        assert!(grown < FAULT, "{grown} KiB more");
    }

    /// Stops it as a service manager does; its code.
    #[track_caller]
    pub(crate) fn stop(self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Ends it without a word.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Waits until the gateway says that it is about `doing`, and perhaps more on it.
    #[track_caller]
    pub(crate) fn wait_until_doing(&self, doing: &str) {
        until(&format!("status {doing:?}"), || {
            self.home.status().filter(|status| status["doing"].as_str().is_some_and(|said| said.starts_with(doing)))
        });
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        // Ended already: fine.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A page in a browser.
pub(crate) struct Page<'a> {
    home: &'a Home,
    pub(crate) browser: Browser,
}

impl Page<'_> {
    /// What this browser is known by: a secret.
    pub(crate) fn cookie(&self) -> String {
        self.browser.cookie().split_once('=').expect("a name and a value").1.to_owned()
    }

    /// The half of its login that the page keeps: a secret.
    pub(crate) fn half(&self) -> &str {
        self.browser.half()
    }

    /// Says something under an id of its own; the status.
    pub(crate) fn say(&self, text: &str) -> u16 {
        self.say_as(&uuid::Uuid::new_v4().to_string(), text)
    }

    /// Says something under an id; the status.
    pub(crate) fn say_as(&self, id: &str, text: &str) -> u16 {
        self.home.now(self.browser.say(id, text)).status().as_u16()
    }

    /// Says something under an id of its own; the status, and when to come again.
    pub(crate) fn answer(&self, text: &str) -> (u16, Option<u64>) {
        let response = self.home.now(self.browser.say(&uuid::Uuid::new_v4().to_string(), text));
        let later = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        (response.status().as_u16(), later)
    }

    /// What a page that has everything up to `after` is shown, as it is now; and where it goes on.
    pub(crate) fn lines(&self, after: u64) -> (Vec<String>, u64) {
        self.home.now(async {
            let mut events = self.browser.watch(after).await;
            let mut lines = Vec::new();
            loop {
                match events.next().await.expect("a page is greeted") {
                    (name, _, Some(last)) if name == "ready" => return (lines, last),
                    (_, data, _) => lines.push(data["text"].as_str().unwrap_or_default().to_owned()),
                }
            }
        })
    }

    /// Waits until the page shows a line that begins so; all lines.
    #[track_caller]
    pub(crate) fn shown(&self, beginning: &str) -> Vec<String> {
        until(&format!("{beginning:?} on the page"), || {
            let (lines, _) = self.lines(0);
            lines.iter().any(|line| line.starts_with(beginning)).then_some(lines)
        })
    }
}

/// Looks again and again until there is something to see.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + BOUND;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "waited {BOUND:?} in vain for: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Whether a counterpart is here. Its absence is said where CI shows it (past the capture of a test's output), and a failure where everything is
/// required.
pub(crate) fn is_here(found: bool, what: &str) -> bool {
    let required = std::env::var_os("SWITCHBOARD_REQUIRE_ALL").is_some();
    assert!(found || !required, "{what} is not to be had here, and SWITCHBOARD_REQUIRE_ALL is set");
    if !found {
        _ = writeln!(std::io::stderr(), "::warning::{what} is not to be had here; a test of the real binary did not run");
    }
    found
}

/// A port that is free now; every call gives another.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let width = PORTS.end - PORTS.start;
    let first = u16::try_from(std::process::id() * 61 % u32::from(width)).expect("less than the width");
    let port = || PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % width;
    std::iter::repeat_with(port).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("an endless iterator")
}
