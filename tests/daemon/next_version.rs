//! A version to come: this very program under another number, with one more migration, and with the faults that releases have.
//!
//! What it is stands behind its own last byte, as the tests of updates wrote it there, so that every release is another file. It is only built for
//! them.

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use switchboard::cli::{Program, main as command_line};
use switchboard::config::{Config, Surroundings};
use switchboard::exit::Exit;
use switchboard::release::Release;
use switchboard_actors::ledger::sqlite::{MIGRATIONS, Migration};

/// Before what it is.
const MARK: &[u8] = b"\nNEXT VERSION ";
/// An additive change: whoever knows the schema before can still read it. A breaking one says otherwise.
const CHANGE: &str = "CREATE TABLE more (id INTEGER PRIMARY KEY, text TEXT)";

/// What it is.
#[derive(Deserialize)]
struct Being {
    version: String,
    nature: String,
    /// `none`, `additive` or `breaking`.
    change: String,
}

impl Being {
    fn read() -> Self {
        let program = std::fs::read("/proc/self/exe").expect("it runs");
        let at = program.windows(MARK.len()).rposition(|bytes| bytes == MARK).expect("the tests wrote it");
        serde_json::from_slice(&program[at + MARK.len()..]).expect("the tests wrote it")
    }

    fn release(&self) -> Release {
        let (newest, oldest_reader) = Release::THIS.schema();
        let change = |oldest_reader| Migration { number: newest + 1, oldest_reader, sql: CHANGE };
        let more = match self.change.as_str() {
            "additive" => Some(change(oldest_reader)),
            "breaking" => Some(change(newest + 1)),
            _ => None,
        };
        let migrations: Vec<Migration> = MIGRATIONS.iter().copied().chain(more).collect();
        Release { version: self.version.clone().leak(), migrations: migrations.leak() }
    }
}

fn main() -> ExitCode {
    _ = rustls::crypto::ring::default_provider().install_default();
    let release = Being::read().release();
    command_line(&Program { release, run, look: switchboard::upkeep::look, upkeep: switchboard::upkeep::upkeep })
}

fn run(release: &Release, config: Config, around: &Surroundings) -> Exit {
    match Being::read().nature.as_str() {
        "crashes at start" => Exit::GaveUp,
        "crashes once" if !crashed_before(&config) => Exit::GaveUp,
        "never ready" => loop {
            std::thread::park();
        },
        "dies soon" => {
            die_after(Duration::from_millis(500));
            switchboard::run::run(release, config, around)
        }
        // The trial lives on a copy; whoever serves has none.
        "dies serving" => {
            if !config.state_dir.join("trial").exists() {
                die_after(Duration::from_millis(500));
            }
            switchboard::run::run(release, config, around)
        }
        _ => switchboard::run::run(release, config, around),
    }
}

/// Whether it crashed before; now it has.
fn crashed_before(config: &Config) -> bool {
    std::fs::File::create_new(config.state_dir.join("crashed")).is_err()
}

/// Dies of itself, as of a fault that takes a while to show.
fn die_after(time: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        std::process::abort();
    });
}
