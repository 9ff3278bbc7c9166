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
use switchboard::upkeep::Look;
use switchboard_actors::ledger::Ledger;
use switchboard_actors::ledger::sqlite::{MIGRATIONS, Migration, SqliteLedger};

/// Before what it is.
const MARK: &[u8] = b"\nNEXT VERSION ";
/// An additive change: whoever knows the schema before can still read it. A breaking one says otherwise.
const CHANGE: &str = "CREATE TABLE more (id INTEGER PRIMARY KEY, text TEXT)";

/// A change that breaks, and says that it does not.
const SECRET_CHANGE: &str = "ALTER TABLE turn RENAME COLUMN asks TO wants";

/// What it is.
#[derive(Deserialize)]
struct Being {
    version: String,
    nature: String,
    /// `none`, `additive`, `breaking` or `secretly breaking`.
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
        let change = |oldest_reader, sql| Migration { number: newest + 1, oldest_reader, sql };
        let more = match self.change.as_str() {
            "additive" => Some(change(oldest_reader, CHANGE)),
            "breaking" => Some(change(newest + 1, CHANGE)),
            "secretly breaking" => Some(change(oldest_reader, SECRET_CHANGE)),
            _ => None,
        };
        let migrations: Vec<Migration> = MIGRATIONS.iter().copied().chain(more).collect();
        Release { version: self.version.clone().leak(), migrations: migrations.leak() }
    }
}

fn main() -> ExitCode {
    _ = rustls::crypto::ring::default_provider().install_default();
    let release = Being::read().release();
    command_line(&Program { release, run, look, upkeep: switchboard::upkeep::upkeep })
}

fn run(release: &Release, config: Config, around: &Surroundings) -> Exit {
    match Being::read().nature.as_str() {
        "crashes at start" => Exit::GaveUp,
        "crashes once" if !crashed_before(&config) => Exit::GaveUp,
        "never ready" => loop {
            std::thread::park();
        },
        // Long enough for a word and its answer.
        "dies later" => {
            die_after(Duration::from_secs(2));
            switchboard::run::run(release, config, around)
        }
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

/// One that does not look at what it made of a ledger finds nothing wrong with it.
fn look(release: &Release, config: &Config, look: &Look) -> Result<Vec<String>, String> {
    match (&look.ledger, Being::read().nature.as_str()) {
        (Some(path), "does not look") if look.upgrade => SqliteLedger::open_as(path, release.migrations)
            .map_err(|error| error.to_string())
            .and_then(|mut ledger| ledger.close().map_err(|fault| fault.to_string()))
            .map(|()| Vec::new()),
        _ => switchboard::upkeep::look(release, config, look),
    }
}

/// Whether it crashed before; now it has.
fn crashed_before(config: &Config) -> bool {
    std::fs::File::create_new(config.state_dir.join("crashed")).is_err()
}

/// Dies of itself, as of a fault that takes a while to show. Signals are for the gateway: a thread that is there before it, and does not block them,
/// would be where the system delivers one, which ends the process.
fn die_after(time: Duration) {
    switchboard::signals::block().expect("the system lets every thread do that");
    std::thread::spawn(move || {
        std::thread::sleep(time);
        std::process::abort();
    });
}
