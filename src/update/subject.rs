//! The gateway that an update is about: how it was started, so that it can be restarted, started anew, and be seen to stay.
//!
//! Where it came from is read while it runs, and kept in the journal without its environment, which may hold secrets: a start after a cut has that of
//! whoever goes on with the update.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use switchboard_actors::ids::InstanceId;

use super::machine::Prove;
use crate::config::{Config, RestartMode, Surroundings, Variables};
use crate::control::client::Sockets;
use crate::control::{Farewell, ON_TRIAL, Request, Response, Status};
use crate::exit;
use crate::install::Layout;
use crate::lock::InstanceLock;
use crate::restart::proof::{Event, Failure, Gateway, Limits, Proof, Step};
use crate::restart::{self, LOOK_EVERY};
use crate::state_dir::StateDir;
use crate::unit::{Scope, Unit};

/// How long one that does not answer may take to go once it was told to.
const LEAVE: Duration = Duration::from_secs(10);

/// A gateway, running or not.
#[derive(Debug, Serialize, Deserialize)]
pub struct Subject {
    /// The unit that runs it, and whether it is a user's.
    unit: Option<(String, bool)>,
    /// The file of `--config`.
    config: Option<PathBuf>,
    /// Its other words after the program.
    arguments: Vec<String>,
    directory: PathBuf,
    /// Its user and group.
    owner: (u32, u32),
    state_dir: PathBuf,
    sockets: Vec<PathBuf>,
    /// Whether somebody starts it again whom we do not know.
    foreign: bool,
    /// What only a running one shows; not after a cut.
    #[serde(skip)]
    process: Option<Process>,
    /// Started by us.
    #[serde(skip)]
    child: Option<Child>,
    /// One that was told to go did not.
    #[serde(skip)]
    stays: bool,
}

/// What a process shows of itself.
#[derive(Debug)]
struct Process {
    variables: Variables,
    out: Option<File>,
    err: Option<File>,
}

impl Subject {
    /// The gateway that said this of itself, and its configuration.
    ///
    /// # Errors
    /// When its process cannot be looked at, or its configuration has faults.
    pub fn running(status: &Status, sockets: &Sockets) -> Result<(Self, Config), String> {
        let pid = status.pid;
        let at = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let denied =
            |error: std::io::Error| format!("the gateway (pid {pid}) cannot be looked at: {error}. Run this as its user or as root");
        let words = texts(&std::fs::read(at("cmdline")).map_err(denied)?);
        let variables: Variables = texts(&std::fs::read(at("environ")).map_err(denied)?)
            .into_iter()
            .filter_map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect();
        let found = std::fs::metadata(at("")).map_err(denied)?;
        let (file, arguments) = split(words.into_iter().skip(1));
        let around = Surroundings { variables: variables.clone(), looks_only: true };
        let directory = std::fs::read_link(at("cwd")).map_err(denied)?;
        let file = file.map(|file| directory.join(file));
        let config = Config::load(file.as_deref(), &around).map_err(|faults| faults.to_string())?;
        let unit = Unit::of_process(pid).map(|unit| (unit.name, unit.scope == Scope::User));
        let open = |fd: &str| File::options().append(true).open(at(fd)).ok();
        let process = Process { variables, out: open("fd/1"), err: open("fd/2") };
        let subject = Self {
            foreign: unit.is_none() && config.restart.mode == RestartMode::Exit,
            unit,
            config: file,
            arguments,
            directory,
            owner: (found.uid(), found.gid()),
            state_dir: config.state_dir.clone(),
            sockets: sockets.0.clone(),
            process: Some(process),
            child: None,
            stays: false,
        };
        Ok((subject, config))
    }

    /// One that does not run, of this configuration.
    pub fn resting(config: &Config, sockets: &Sockets) -> Self {
        Self {
            unit: None,
            config: config.file.clone(),
            arguments: vec!["run".into()],
            directory: "/".into(),
            owner: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            state_dir: config.state_dir.clone(),
            sockets: sockets.0.clone(),
            foreign: false,
            process: None,
            child: None,
            stays: false,
        }
    }

    /// Where its ledger is.
    pub fn state(&self) -> StateDir {
        StateDir::at(&self.state_dir)
    }

    /// A command of a version, which sees what the gateway sees.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(process) = &self.process {
            command.env_clear().envs(&process.variables);
        }
        command.env_remove(crate::handover::VARIABLE).current_dir(&self.directory).stdin(Stdio::null());
        command.args(self.config.iter().flat_map(|file| [Path::new("--config"), file]));
        command
    }

    /// Sees to it that a version runs and stays; why not, in words.
    ///
    /// # Errors
    /// When it does not.
    pub fn prove(&mut self, layout: &Layout, prove: &Prove, limits: &Limits, told: &mut dyn FnMut(&str)) -> Result<(), String> {
        let version = prove.version.to_string();
        let fits = |status: &Status| status.version == version && (prove.on_trial || status.doing != ON_TRIAL);
        let (old, pid, leave) = match self.status() {
            Some(status) if !prove.anew && fits(&status) => (InstanceId::fresh(), Some(status.pid), LEAVE),
            // A trial that was kept goes by itself.
            Some(status) if !prove.anew && status.version == version => (status.instance, Some(status.pid), LEAVE),
            Some(status) => (status.instance, Some(status.pid), self.restart(layout, &status, &version)?),
            None => {
                self.start(layout)?;
                (InstanceId::fresh(), self.child.as_ref().map(Child::id), LEAVE)
            }
        };
        let limits = restart::limits(leave, limits.start, limits.dwell);
        self.watch(Proof::begin(Instant::now(), old, pid.unwrap_or(0), limits), pid, told)?;
        match self.status() {
            Some(status) if fits(&status) => Ok(()),
            Some(status) => Err(format!(
                "what runs is still version {}: it was not started through {}",
                status.version,
                layout.current_program().display()
            )),
            None => Err("it was there, and does not answer any more".into()),
        }
    }

    /// Watches until an instance has stayed, or there is no hope for it.
    fn watch(&mut self, mut proof: Proof, pid: Option<u32>, told: &mut dyn FnMut(&str)) -> Result<(), String> {
        let (sockets, unit) = (Sockets(self.sockets.clone()), self.unit());
        let mut said = String::new();
        loop {
            let (view, status) = restart::look(&sockets, unit.as_ref());
            let nobody = view.gateway == Gateway::Nobody;
            match proof.step(Instant::now(), Event::Saw(view)) {
                Step::Watch => {
                    let words = proof.words(status.as_deref().map(restart::at_work).as_deref());
                    if words != said {
                        told(&words);
                        said = words;
                    }
                }
                Step::Proved(..) => return Ok(()),
                Step::Retry(failure) => {
                    self.stays = matches!(failure, Failure::NeverLeft(_));
                    return Err(failure.to_string());
                }
                Step::Failed(failures) => return Err(failures.first().map(Failure::to_string).unwrap_or_default()),
            }
            // Where nobody starts it again nobody has to be waited for.
            if nobody
                && unit.is_none()
                && !self.foreign
                && let Some(how) = self.ended(pid)
            {
                return Err(format!("it ended{how}"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether the process that should be the gateway is gone, and how it ended if that can be known.
    fn ended(&mut self, pid: Option<u32>) -> Option<String> {
        if let Some(child) = &mut self.child
            && Some(child.id()) == pid
        {
            let status = child.try_wait().ok().flatten()?;
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Some(code.map_or_else(|| format!(" ({status})"), |code| format!(" ({})", exit::in_words(code))));
        }
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid?)).unwrap_or_default();
        // proc(5): the state is behind the name, which is in parentheses and may hold any.
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
        matches!(state, None | Some('Z' | 'X')).then(String::new)
    }

    /// Asks the gateway to come back as what `current` names; how long it may take to go.
    fn restart(&mut self, layout: &Layout, status: &Status, version: &str) -> Result<Duration, String> {
        if !std::mem::take(&mut self.stays) {
            let farewell = Farewell { grace_millis: None, reason: Some(format!("update to {version}")) };
            if let Ok(Response::GoingDown { within_millis, .. }) = self.ask(&Request::Update(farewell)) {
                return Ok(Duration::from_millis(within_millis));
            }
        }
        match self.unit() {
            Some(unit) => unit.restart()?,
            None => {
                end(&[status.pid]);
                self.start(layout)?;
            }
        }
        Ok(LEAVE)
    }

    /// Starts what `current` names, where nobody answers.
    fn start(&mut self, layout: &Layout) -> Result<(), String> {
        if let Some(unit) = self.unit() {
            return unit.restart();
        }
        if self.foreign {
            return Ok(());
        }
        // One of ours that hangs before it takes the lock would be there for ever, and might wake up.
        if let Some(mut child) = self.child.take() {
            _ = child.kill(); // gone already: fine
            _ = child.wait();
        }
        self.clear_the_way();
        let program = layout.current_program();
        let mut command = self.command(&program);
        command.args(&self.arguments).process_group(0);
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if self.owner != own {
            command.gid(self.owner.1).uid(self.owner.0);
        }
        let stdio = |file: Option<&File>| file.and_then(|file| file.try_clone().ok()).map_or_else(Stdio::null, Stdio::from);
        command.stdout(stdio(self.process.as_ref().and_then(|process| process.out.as_ref())));
        command.stderr(stdio(self.process.as_ref().and_then(|process| process.err.as_ref())));
        self.child = Some(command.spawn().map_err(|error| format!("{}: it cannot be started ({error})", program.display()))?);
        Ok(())
    }

    /// Ends whoever holds the instance lock and does not answer: a version that hangs before it can.
    fn clear_the_way(&self) {
        let state = self.state();
        if state.lock().exists() && InstanceLock::take(&state).is_err() {
            end(&holders(&state.lock()));
        }
    }

    /// What the gateway says of itself.
    pub fn status(&self) -> Option<Box<Status>> {
        match self.ask(&Request::Status) {
            Ok(Response::Status(status)) => Some(status),
            _ => None,
        }
    }

    fn ask(&self, request: &Request) -> Result<Response, crate::control::client::AskError> {
        Sockets(self.sockets.clone()).ask(request)
    }

    fn unit(&self) -> Option<Unit> {
        let scope = |user: bool| if user { Scope::User } else { Scope::System };
        self.unit.as_ref().map(|(name, user)| Unit { name: name.clone(), scope: scope(*user) })
    }

    /// The commands with which an operator looks further and starts it by hand.
    pub fn by_hand(&self, layout: &Layout) -> Vec<String> {
        match self.unit() {
            Some(unit) => {
                vec![unit.by_hand("systemctl", "status"), unit.by_hand("journalctl", "-e -u"), unit.by_hand("systemctl", "restart")]
            }
            None => {
                let file = self.config.as_ref().map(|file| format!(" --config {}", file.display())).unwrap_or_default();
                vec![format!("{}{file} {}", layout.current_program().display(), self.arguments.join(" "))]
            }
        }
    }
}

fn texts(bytes: &[u8]) -> Vec<String> {
    bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty()).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// The file of `--config`, and the other words.
fn split(words: impl Iterator<Item = String>) -> (Option<PathBuf>, Vec<String>) {
    let (mut file, mut others, mut words) = (None, Vec::new(), words);
    while let Some(word) = words.next() {
        match word.strip_prefix("--config=") {
            Some(path) => file = Some(path.into()),
            None if word == "--config" => file = words.next().map(PathBuf::from),
            None => others.push(word),
        }
    }
    (file, others)
}

/// The processes that have a file open.
fn holders(file: &Path) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_it = |pid: &u32| {
        let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == file))
    };
    pids.filter(|pid| *pid != std::process::id()).filter(has_it).collect()
}

/// Ends processes that will not end by themselves, and waits until they are gone.
fn end(pids: &[u32]) {
    let pids: BTreeMap<u32, Pid> = pids.iter().filter_map(|pid| Some((*pid, Pid::from_raw(i32::try_from(*pid).ok()?)))).collect();
    for pid in pids.values() {
        _ = kill(*pid, Signal::SIGKILL); // gone already: fine
    }
    let until = Instant::now() + LEAVE;
    let there = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z") && !stat.contains(") X")
    };
    while pids.keys().any(|pid| there(*pid)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_told_from_the_other_words() {
        let check = |words: &str, file: Option<&str>, others: &str| {
            let (found, left) = split(words.split_whitespace().map(str::to_owned));
            assert_eq!((found, left.join(" ")), (file.map(PathBuf::from), others.to_owned()), "{words}");
        };
        check("", None, "");
        check("run", None, "run");
        check("--config /a run", Some("/a"), "run");
        check("run --config=/a --socket /s", Some("/a"), "run --socket /s");
        check("run --config", None, "run");
    }

    #[test]
    fn whoever_holds_a_file_is_found_and_ended() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = std::fs::canonicalize(dir.path()).expect("there").join("held");
        let file = File::create(&path).expect("writable");
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::from(file)).spawn().expect("sleep is everywhere");
        assert_eq!(holders(&path), [child.id()]);
        end(&[child.id()]);
        assert!(!child.wait().expect("our child").success());
        assert!(holders(&path).is_empty());
    }
}
