//! The command line: what can be said to `switchboard`, and who does it.
//!
//! `run` and what `check` looks for in a ledger are handed in by `main.rs`; everything else is done here, most of it by asking the
//! running gateway over its control socket.

mod ask;
mod consent;
pub mod history;
mod keeper;
mod pair;
mod restart;
mod service;
mod tables;
mod update;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use switchboard_actors::escape::one_line;
use switchboard_actors::ids::AdapterName;

use crate::account::within::Within;
use crate::config::{Config, Surroundings};
use crate::control::descent::is_from_within;
use crate::control::{NOT_FROM_WITHIN, Response};
use crate::exit::Exit;
use crate::false_starts;
use crate::keys::Rotation;
use crate::lock::InstanceLock;
use crate::release::Release;
use crate::state_dir::StateDir;
use crate::unit::installed::Installed;
use crate::update::errand::carry_out;
use crate::upkeep::{self, Look, Upkeep};

/// What the command line cannot do by itself.
pub struct Program {
    /// What it is.
    pub release: Release,
    /// Runs the gateway until it ends.
    pub run: fn(&Release, Config, &Surroundings) -> Exit,
    /// Looks at what a configuration would find in its state directory, without changing anything: one line per finding.
    pub look: fn(&Release, &Config, &Look) -> Result<Vec<String>, String>,
    /// Does something to the ledger of a gateway that does not run; what was done, in words.
    pub upkeep: fn(&Release, &Config, &Upkeep) -> Result<String, String>,
}

/// A chat-agent gateway that never loses a message across stops, restarts and crashes.
///
/// Without a command it runs: web chat on http://127.0.0.1:7878 and a demo agent need no configuration.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, after_help = EXITS)]
struct Cli {
    /// The configuration file [default: /etc/switchboard/config.toml, else $XDG_CONFIG_HOME/switchboard/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The control socket of the gateway to speak to [default: the configuration's, else the system service's]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXITS: &str = "Exit codes: 0 done, 1 not achieved, 2 usage, 69 no gateway running, 77 refused, 78 bad configuration; of `run`: 0 stopped as asked, \
70 gave up, 73 state directory locked or unusable, 75 wants to be restarted, 78 bad configuration, 86 found hung.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway in the foreground (the default)
    Run,
    /// Check the configuration and what it would find, without changing anything; works beside a running gateway
    Check(Check),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print an address of the page that lets one browser in: it opens once, within ten minutes
    Url,
    /// The tokens of programs, and the logins of browsers
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show how the gateway is
    Status(Json),
    /// Stop the gateway: running tasks may finish within the grace, and everybody is told
    Stop(Farewell),
    /// Restart the gateway and wait until a new one is ready and stays so
    Restart(restart::Order),
    /// Put the gateway under systemd, and work it there
    Service(service::Service),
    /// How the last lives of the gateway began and ended, and why
    History(History),
    /// Fetch another version and prove it, or go back to this one; finishes or undoes an update that was cut
    Update(update::Order),
    /// Read the configuration again: what changed is taken over, what needs a restart is named, a bad one changes nothing
    Reload,
    /// Start no task from now on; messages are saved. Ends with `resume` or a restart
    Drain,
    /// Start tasks again, after `drain` or when recovery is held
    Resume,
    /// Tasks that run, were cut or are parked
    #[command(subcommand)]
    Turns(Turns),
    /// Replies that are not delivered
    #[command(subcommand)]
    Outbox(Outbox),
    /// People who may speak
    #[command(subcommand)]
    Pair(Pair),
    /// Open rows of an adapter that is not configured any more
    #[command(subcommand)]
    Ledger(Ledger),
    #[command(hide = true)]
    Within(Within),
    /// Do something of an update in a state directory of ours
    #[command(hide = true)]
    Errand {
        /// It, as JSON
        line: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print what is in force, where each value was written, and no secrets
    Show,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a new chat token: the old one and all codes are void at once; browsers stay
    Rotate {
        /// Void the logins of all browsers as well
        #[arg(long, conflicts_with = "operate")]
        browsers: bool,
        /// Make a new operator's token instead
        #[arg(long)]
        operate: bool,
    },
}

impl TokenCommand {
    fn rotation(&self) -> Rotation {
        match self {
            Self::Rotate { operate: true, .. } => Rotation::Operate,
            Self::Rotate { browsers: true, .. } => Rotation::Browsers,
            Self::Rotate { .. } => Rotation::Chat,
        }
    }
}

#[derive(Debug, Args)]
struct Check {
    /// Look at this ledger instead of the configured one: a copy, a snapshot
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// First bring that ledger up to date, as the gateway would at its start
    #[arg(long, requires = "ledger")]
    upgrade: bool,
}

#[derive(Debug, Args)]
struct Json {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct History {
    /// How many
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: u32,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Farewell {
    /// Give running tasks at most this long, for example 10s [default: shutdown.grace]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    grace: Option<Duration>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Return as soon as it has begun
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Subcommand)]
enum Turns {
    /// List them, oldest first
    List(Json),
    /// Run a task again
    Retry {
        /// Its number in the list
        turn: u64,
    },
    /// Close a cut or parked task
    Drop {
        /// Its number in the list
        turn: u64,
    },
}

#[derive(Debug, Subcommand)]
enum Outbox {
    /// List them, oldest first
    List(Json),
    /// Send a reply again
    Retry {
        /// Its number in the list
        id: u64,
    },
    /// Give a reply up
    Drop {
        /// Its number in the list
        id: u64,
    },
}

#[derive(Debug, Subcommand)]
enum Pair {
    /// List who was let in and who holds a code
    List(Json),
    /// Show who holds a code, and let them in
    Approve {
        /// The code that the stranger was told
        code: String,
        #[command(flatten)]
        yes: consent::Yes,
    },
    /// Let somebody in no longer
    Revoke {
        /// The person, as adapter:user
        #[arg(value_parser = person, value_name = "ADAPTER:USER")]
        user: (String, String),
    },
}

#[derive(Debug, Subcommand)]
enum Ledger {
    /// Give an adapter's open rows to another adapter
    Move {
        /// The adapter that has them
        #[arg(value_name = "ADAPTER")]
        from: String,
        /// The adapter that gets them
        #[arg(value_name = "TO")]
        to: String,
    },
    /// Close an adapter's open rows: messages refused, tasks stopped, replies given up
    Drop {
        /// The adapter
        adapter: String,
    },
}

fn person(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((adapter, user)) if !adapter.is_empty() && !user.is_empty() => Ok((adapter.to_owned(), user.to_owned())),
        _ => Err("write it as adapter:user, for example family:1000".into()),
    }
}

/// Does what the command line says.
pub fn main(program: &Program) -> ExitCode {
    let command = Cli::command().version(program.release.version).long_version(&*program.release.in_full().leak());
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit()); // a wrong one ends with 2
    let mut around = Surroundings::of_process();
    around.looks_only = !matches!(cli.command, None | Some(Command::Run));
    let around = around;
    let config = || Config::load(cli.config.as_deref(), &around);
    let kept = || config_of_the_kept(cli.config.as_deref(), &around);
    // The gateway refuses its own descendants what they ask of it; these act beside it.
    if cli.command.as_ref().is_some_and(acts_alone) && kept().is_ok_and(|config| is_from_within(&StateDir::at(&config.state_dir))) {
        return ask::complain(NOT_FROM_WITHIN, Exit::Refused).into();
    }
    let place = ask::Place { socket: cli.socket.as_deref(), file: cli.config.as_deref(), around: &around };
    let exit = match &cli.command {
        None | Some(Command::Run) => {
            let config = config();
            if let (Err(faults), Some(state)) = (&config, Config::state_dir_of(cli.config.as_deref(), &around)) {
                false_starts::note(&StateDir::at(&state), program.release.version, Exit::Config.code(), &faults.to_string());
            }
            with(config, |config| (program.run)(&program.release, config, &around))
        }
        Some(Command::Within(within)) => ask::complain(&within.run(), Exit::NotAchieved),
        Some(Command::Errand { line }) => say(&carry_out(line)),
        Some(Command::Check(order)) => {
            with(kept(), |config| keeper::check(&config, order, &around).unwrap_or_else(|| check(&config, order, program)))
        }
        Some(Command::Update(order)) => order.carry_out(cli.config.as_deref(), cli.socket.as_deref(), &around),
        Some(Command::Config(ConfigCommand::Show)) => with(kept(), |config| say(&config.show())),
        Some(command @ Command::Url) => ask::ask(command, &place, kept(), false),
        Some(command @ Command::Token(order)) => match ask::ask(command, &place, kept(), cli.socket.is_none()) {
            Exit::NoGateway if cli.socket.is_none() => with(kept(), |config| {
                keeper::elsewhere(&config, keeper::token(order), &around).unwrap_or_else(|| rotate(&config, order.rotation()))
            }),
            exit => exit,
        },
        Some(Command::Service(order)) => service::service(order, cli.config.as_deref(), config(), &around),
        Some(Command::Ledger(order)) if cli.socket.is_none() => {
            let known = config();
            match ask::ask(cli.command.as_ref().expect("it was just matched"), &place, known.clone(), true) {
                Exit::NoGateway => with(kept(), |config| {
                    keeper::elsewhere(&config, keeper::ledger(order), &around).unwrap_or_else(|| keep(&config, order, program))
                }),
                exit => exit,
            }
        }
        // Lives are told of also when none lasts.
        Some(Command::History(order)) if cli.socket.is_none() => {
            let known = config();
            match ask::ask(cli.command.as_ref().expect("it was just matched"), &place, known.clone(), true) {
                Exit::NoGateway => with(kept(), |config| {
                    keeper::elsewhere(&config, keeper::history(order), &around).unwrap_or_else(|| look_back(&config, order, program))
                }),
                exit => exit,
            }
        }
        Some(command) => ask::ask(command, &place, config(), false),
    };
    exit.into()
}

/// Whether it changes something of a gateway without asking it.
fn acts_alone(command: &Command) -> bool {
    match command {
        Command::Ledger(_) | Command::Update(_) | Command::Token(_) => true,
        Command::Service(order) => order.acts(),
        _ => false,
    }
}

/// The configuration of the gateway whose directories are meant: the one that is named, or whose directory this environment names, or that lived
/// here already; else the installed service's, whose manager alone knows where those are.
fn config_of_the_kept(file: Option<&Path>, around: &Surroundings) -> Result<Config, crate::config::Faults> {
    const NAMED: [&str; 2] = ["STATE_DIRECTORY", "SWITCHBOARD__STATE_DIR"];
    let own = Config::load(file, around);
    let lived = own.as_ref().is_ok_and(|config| config.state_dir.exists());
    if file.is_some() || lived || NAMED.iter().any(|name| around.variables.contains_key(*name)) {
        return own;
    }
    let Some(installed) = Installed::any(&around.variables) else { return own };
    let file = installed.config();
    Config::load(file.as_deref(), &Surroundings { variables: installed.variables, looks_only: true })
}

/// Goes on with a good configuration; every fault of a bad one is printed.
fn with(config: Result<Config, crate::config::Faults>, go: impl FnOnce(Config) -> Exit) -> Exit {
    match config {
        Ok(config) => go(config),
        Err(faults) => {
            eprintln!("{faults}");
            Exit::Config
        }
    }
}

fn check(config: &Config, order: &Check, program: &Program) -> Exit {
    let mut out = String::new();
    for warning in &config.warnings {
        out.push_str(&format!("warning: {}\n", one_line(warning)));
    }
    match (program.look)(&program.release, config, &Look { ledger: order.ledger.clone(), upgrade: order.upgrade }) {
        Ok(findings) => {
            findings.iter().for_each(|finding| out.push_str(&format!("{}\n", one_line(finding))));
            let file = config.file.as_ref().map_or("no file, only defaults".to_owned(), |path| path.display().to_string());
            out.push_str(&format!("the configuration is good ({file})\n"));
            say(&out)
        }
        Err(broken) => {
            say(&out);
            ask::complain(&broken, Exit::State)
        }
    }
}

/// No gateway runs, or none that answers: the ledger is looked at here.
fn look_back(config: &Config, order: &History, program: &Program) -> Exit {
    match upkeep::look_back(&program.release, config, order.lines) {
        Ok(lives) => ask::print(&Response::History { lives }, order.json.json),
        Err(reason) => ask::complain(&reason, Exit::NotAchieved),
    }
}

/// No gateway runs: the ledger is opened here, under its lock.
fn keep(config: &Config, order: &Ledger, program: &Program) -> Exit {
    let upkeep = match order {
        Ledger::Move { from, to } => Upkeep::Move(AdapterName::new(from), AdapterName::new(to)),
        Ledger::Drop { adapter } => Upkeep::Drop(AdapterName::new(adapter)),
    };
    match (program.upkeep)(&program.release, config, &upkeep) {
        Ok(message) => say(&format!("{}\n", one_line(&message))),
        Err(reason) => ask::complain(&reason, Exit::NotAchieved),
    }
}

/// No gateway runs: the files are written here, under its lock.
fn rotate(config: &Config, rotation: Rotation) -> Exit {
    let rotate = || -> Result<(), String> {
        if !config.state_dir.exists() {
            return Err(format!("{}: no gateway has lived there, so there is nothing to make anew", config.state_dir.display()));
        }
        let state = StateDir::open(&config.state_dir).map_err(|error| error.to_string())?;
        let _lock = InstanceLock::take(&state).map_err(|error| error.to_string())?;
        rotation.carry_out(&state).map_err(|error| error.to_string())
    };
    match rotate() {
        Ok(()) => say(&format!("{}\n", rotation.in_words())),
        Err(reason) => ask::complain(&reason, Exit::NotAchieved),
    }
}

/// Prints to stdout. A reader that went away (`| head`) is not an error.
fn say(text: &str) -> Exit {
    _ = std::io::stdout().lock().write_all(text.as_bytes());
    Exit::Done
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }
}
