//! The real binary under load, between local servers that answer at once, and one table of what was asked and what was measured.
//!
//! ```sh
//! cargo build --release && cargo run --release -p switchboard-actors --example load
//! ```
//!
//! It needs nothing but the binary beside itself, takes about a minute, and stops everything it started. The state directory stands below
//! the target directory, so that the disk is the real one.

mod disk;
mod gateway;
mod site;
mod table;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use switchboard_actors::testkit::fake_openai::Reply;

use disk::{Disk, percentile};
use gateway::Gateway;
use site::{PATIENCE, Site};
use table::{Figure, Table};

/// Messages whose way is measured, one at a time.
const SINGLE: i64 = 200;
/// Starts on an existing ledger.
const STARTS: usize = 9;
/// Chats that speak, or run, at the same time.
const CROWD: i64 = 1000;
/// Between two messages of a person.
const THINK: Duration = Duration::from_millis(20);
/// Two equal signals within half a second are one.
const NEXT_SIGNAL: Duration = Duration::from_millis(600);
/// What the model never answers.
const ENDLESS: &str = "work for ever";

fn main() -> ExitCode {
    match measure() {
        Ok(table) => match write!(std::io::stdout(), "{table}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<Table, String> {
    let binary = binary()?;
    allow_many_files();
    let site = Site::open(binary.parent().unwrap_or(Path::new("."))).map_err(|error| format!("no place for the gateway: {error}"))?;
    let mut load = Load { binary, site, table: Table::default(), crowds: 0 };
    load.size()?;
    load.messages()?;
    load.starts()?;
    load.farewell()?;
    Ok(load.table)
}

/// The gateway's binary, beside this one's directory.
fn binary() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("it is not known where this program stands: {error}"))?;
    // target/release/examples/load
    let beside = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let binary = beside.join("switchboard");
    match binary.is_file() {
        true => Ok(binary),
        false => Err(format!("{} is missing. Build it first: cargo build --release", binary.display())),
    }
}

/// Every chat that runs costs the model's server a connection, and the gateway another.
fn allow_many_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it is not allowed, the run says so by itself.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// The run so far.
struct Load {
    binary: PathBuf,
    site: Site,
    table: Table,
    /// Crowds that have spoken: each speaks in chats of its own.
    crowds: i64,
}

impl Load {
    fn size(&mut self) -> Result<(), String> {
        let size = self.binary.metadata().map_err(|error| format!("{}: {error}", self.binary.display()))?.len();
        self.table.judge("the binary", Figure::Size(12 << 20), Figure::Size(size));
        Ok(())
    }

    /// A life that is spoken to: one by one, by a hundred at once, and by a thousand.
    fn messages(&mut self) -> Result<(), String> {
        let mut gateway = self.start()?;
        gateway.until_ready(PATIENCE)?;
        self.site.first_poll(gateway.started);
        self.singles()?;
        for crowd in [CROWD / 10, CROWD] {
            let (cpu, memory) = (gateway.cpu()?, gateway.memory()?.resident);
            gateway.forget_peak();
            let took = self.crowd(crowd);
            let (used, peak) = (gateway.cpu()? - cpu, gateway.memory()?.peak);
            let name = format!("{crowd} chats at once, until the last reply");
            match crowd {
                CROWD => self.table.judge(name, Figure::Time(Duration::from_secs(1)), Figure::Time(took)),
                _ => self.table.note(name, Figure::Time(took)),
            }
            self.table.note("    CPU for that", Figure::Time(used));
            self.table.note("    memory before", Figure::Size(memory));
            self.table.note("    memory at most", Figure::Size(peak));
        }
        self.stop(gateway)
    }

    /// Messages one at a time, with an fsync of our own in each pause: what the disk costs now.
    fn singles(&mut self) -> Result<(), String> {
        let mut disk = self.disk()?;
        let mut times = Vec::new();
        for message in 0..SINGLE {
            // A few chats take turns, as new ones and as known ones.
            let chat = 1 + message % 20;
            let before = self.site.telegram.sent().len();
            let said = Instant::now();
            self.site.telegram.push_text(chat, chat, &format!("message {message}"));
            let sent = self.site.telegram.wait_for("a reply", PATIENCE, |state| state.sent.get(before).map(|reply| reply.at));
            times.push(sent - said);
            // What is written once the reply is out is not on anybody's way.
            std::thread::sleep(THINK);
            disk.sync().map_err(|error| format!("the disk cannot be measured: {error}"))?;
        }
        times.sort();
        let syncs = disk.times();
        for (name, percent) in [("median", 50), ("p99", 99)] {
            let sync = percentile(&syncs, percent);
            let goal = Figure::Time(sync * 2 + Duration::from_millis(3));
            self.table.note(format!("one fsync of this run, {name}"), Figure::Time(sync));
            self.table.judge(format!("message to reply, {name} (two fsyncs + 3 ms)"), goal, Figure::Time(percentile(&times, percent)));
        }
        Ok(())
    }

    /// So many chats speak at once; how long until the last has its reply.
    fn crowd(&mut self, size: i64) -> Duration {
        let before = self.site.telegram.sent().len();
        let said = self.say(size, "hello");
        let all = before + usize::try_from(size).expect("a crowd is not negative");
        let last = self.site.telegram.wait_for("the last reply", PATIENCE, |state| state.sent.get(all - 1).map(|reply| reply.at));
        last - said
    }

    /// So many new chats say something; when they began.
    fn say(&mut self, size: i64, words: &str) -> Instant {
        self.crowds += 1;
        let first = self.crowds * 10_000;
        let said = Instant::now();
        for chat in first..first + size {
            self.site.telegram.push_text(chat, chat, words);
        }
        said
    }

    /// Starts on the ledger of the life before.
    fn starts(&mut self) -> Result<(), String> {
        let mut disk = self.disk()?;
        let mut times = Vec::new();
        let mut idle = Vec::new();
        for _ in 0..STARTS {
            disk.sync().map_err(|error| format!("the disk cannot be measured: {error}"))?;
            let mut gateway = self.start()?;
            times.push(gateway.until_ready(PATIENCE)?);
            self.site.first_poll(gateway.started);
            idle.push(gateway.memory()?.resident);
            self.stop(gateway)?;
        }
        times.sort();
        idle.sort_unstable();
        // The first commit of a life begins a new log: it is synced, its directory is, and then the commit.
        let goal = Figure::Time(Duration::from_millis(25) + 3 * percentile(&disk.times(), 50));
        self.table.judge("exec to ready on an old ledger, median (25 ms + 3 fsyncs)", goal, Figure::Time(percentile(&times, 50)));
        self.table.note("exec to ready on an old ledger, longest", Figure::Time(times[STARTS - 1]));
        self.table.judge("memory once it listens, median", Figure::Size(12 << 20), Figure::Size(idle[STARTS / 2]));
        Ok(())
    }

    /// A thousand turns run when the signal comes; and when the power goes.
    fn farewell(&mut self) -> Result<(), String> {
        let sync = {
            let mut disk = self.disk()?;
            (0..50).try_for_each(|_| disk.sync()).map_err(|error| format!("the disk cannot be measured: {error}"))?;
            percentile(&disk.times(), 50)
        };
        self.site.model.reply_to(ENDLESS, Reply::Never);
        let mut gateway = self.start()?;
        gateway.until_ready(PATIENCE)?;
        self.run_endless();
        let before = self.site.telegram.sent().len();
        let asked = gateway.signal(Signal::SIGTERM);
        let goal = Duration::from_millis(20) + sync;
        let notice = self.nth_since(before, 1);
        self.table.judge("SIGTERM with 1000 running turns to the first notice", Figure::Time(goal), Figure::Time(notice - asked));
        let all = self.nth_since(before, CROWD);
        self.table.note("SIGTERM with 1000 running turns to the last notice", Figure::Time(all - asked));
        std::thread::sleep(NEXT_SIGNAL.saturating_sub(asked.elapsed()));
        let hurried = gateway.signal(Signal::SIGTERM);
        gateway.until_gone(PATIENCE)?;
        self.table.note("the second SIGTERM to the end, 1000 turns cut", Figure::Time(hurried.elapsed()));
        drop(gateway);
        self.power_cut()
    }

    /// After `kill -9` of a thousand running turns.
    fn power_cut(&mut self) -> Result<(), String> {
        let before = self.site.telegram.sent().len();
        let mut gateway = self.start()?;
        gateway.until_ready(PATIENCE)?;
        // Every chat that was cut hears "back" and "interrupted".
        self.nth_since(before, 2 * CROWD);
        self.run_endless();
        gateway.signal(Signal::SIGKILL);
        gateway.until_gone(PATIENCE)?;
        let before = self.site.telegram.sent().len();
        let mut gateway = self.start()?;
        let ready = gateway.until_ready(PATIENCE)?;
        let poll = self.site.first_poll(gateway.started);
        self.table.note("after kill -9 of 1000 running turns: exec to ready", Figure::Time(ready));
        self.table.note("after kill -9 of 1000 running turns: exec to first poll", Figure::Time(poll - gateway.started));
        let told = self.nth_since(before, CROWD);
        self.table.note("after kill -9 of 1000 running turns: until all are told", Figure::Time(told - gateway.started));
        self.stop(gateway)
    }

    /// A thousand new chats get a turn that never ends.
    fn run_endless(&mut self) {
        let before = self.site.model.requests().len();
        self.say(CROWD, ENDLESS);
        let all = before + usize::try_from(CROWD).expect("a crowd is not negative");
        self.site.model.wait_for("a thousand running turns", PATIENCE, |state| (state.requests.len() >= all).then_some(()));
    }

    /// When the `n`th message after the first `before` was sent.
    fn nth_since(&self, before: usize, n: i64) -> Instant {
        let at = before + usize::try_from(n).expect("it is counted from one") - 1;
        self.site.telegram.wait_for("a message to a chat", PATIENCE, |state| state.sent.get(at).map(|message| message.at))
    }

    fn disk(&self) -> Result<Disk, String> {
        Disk::open(self.site.home()).map_err(|error| format!("no file beside the ledger: {error}"))
    }

    fn start(&self) -> Result<Gateway, String> {
        Gateway::start(&self.binary, &self.site).map_err(|error| format!("{} cannot be run: {error}", self.binary.display()))
    }

    fn stop(&self, mut gateway: Gateway) -> Result<(), String> {
        gateway.signal(Signal::SIGTERM);
        gateway.until_gone(PATIENCE)
    }
}
