//! The gateway that an update is about: how it was started, so that it can be restarted, started anew, and be seen to stay.
//!
//! Where it came from is read while it runs, or asked of the manager that should run it, and kept in the journal: whoever goes on with an update
//! after a cut does so with this gateway and in its environment, whatever their own is.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchboard_actors::ids::InstanceId;

use super::machine::Prove;
use super::process::{self, Process, end, holders};
use crate::config::{Config, RestartMode, Surroundings};
use crate::control::client::Sockets;
use crate::control::{Farewell, ON_TRIAL, Request, Response, Status};
use crate::exit;
use crate::install::Layout;
use crate::lock::InstanceLock;
use crate::restart::proof::{Event, Failure, Gateway, Limits, Proof, Step};
use crate::restart::{self, LOOK_EVERY, Onlooker};
use crate::state_dir::StateDir;
use crate::unit::installed::Installed;
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
    sockets: Sockets,
    /// Whether somebody starts it again whom we do not know.
    foreign: bool,
    /// How it was given its environment and output, where no manager does that.
    process: Option<Process>,
    /// Started by us.
    #[serde(skip)]
    child: Option<Child>,
    /// One that was told to go did not.
    #[serde(skip)]
    stays: bool,
}

impl Subject {
    /// The gateway that said this of itself.
    ///
    /// # Errors
    /// When its process cannot be looked at, or its configuration has faults.
    pub fn running(status: &Status, sockets: Sockets) -> Result<Self, String> {
        let pid = status.pid;
        let at = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let denied =
            |error: std::io::Error| format!("the gateway (pid {pid}) cannot be looked at: {error}. Run this as its user or as root");
        let words = process::texts(&std::fs::read(at("cmdline")).map_err(denied)?);
        let process = Process::of(pid).map_err(denied)?;
        let (file, arguments) = split(words.into_iter().skip(1));
        let around = Surroundings { variables: process.variables.clone(), looks_only: true };
        let directory = std::fs::read_link(at("cwd")).map_err(denied)?;
        let file = file.map(|file| directory.join(file));
        let config = Config::load(file.as_deref(), &around).map_err(|faults| faults.to_string())?;
        let unit = Unit::of_process(pid).map(|unit| (unit.name, unit.scope == Scope::User));
        let subject = Self {
            foreign: unit.is_none() && config.restart.mode == RestartMode::Exit,
            unit,
            config: file,
            arguments,
            directory,
            owner: process::owner(pid).map_err(denied)?,
            state_dir: config.state_dir.clone(),
            sockets,
            process: Some(process),
            child: None,
            stays: false,
        };
        Ok(subject)
    }

    /// The one that a manager runs, or should.
    ///
    /// # Errors
    /// When its configuration has faults.
    pub fn installed(installed: Installed) -> Result<Self, String> {
        let Installed { unit, arguments, variables, .. } = installed;
        let (file, arguments) = split(arguments.into_iter());
        let around = Surroundings { variables: variables.clone(), looks_only: true };
        let config = Config::load(file.as_deref(), &around).map_err(|faults| faults.to_string())?;
        let subject = Self::resting(&config, &Sockets(vec![config.control.socket.clone()]));
        Ok(Self {
            unit: Some((unit.name, unit.scope == Scope::User)),
            config: file,
            arguments,
            process: Some(Process::with(variables)),
            ..subject
        })
    }

    /// Leaves out what its manager gives it at every start: that need not be written down, and may be secret.
    pub fn without_what_its_manager_knows(mut self) -> Self {
        self.process = self.process.filter(|_| self.unit.is_none());
        self
    }

    /// Which gateway it is, in words.
    pub fn in_words(&self) -> String {
        let config = self.config.as_ref().map_or_else(|| "the usual configuration".to_owned(), |file| file.display().to_string());
        let unit = self.unit.as_ref().map(|(name, _)| format!(", run by {name}")).unwrap_or_default();
        format!("the gateway of {config} with its state in {}{unit}", self.state_dir.display())
    }

    /// The file of its configuration, if one was named.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
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
            sockets: sockets.own(),
            foreign: false,
            process: None,
            child: None,
            stays: false,
        }
    }

    /// Where it listens for operators.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Whether no manager knows how it is started.
    pub fn is_unmanaged(&self) -> bool {
        self.unit.is_none()
    }

    /// Where its ledger is.
    pub fn state(&self) -> StateDir {
        StateDir::at(&self.state_dir)
    }

    /// A command of a version that we run ourselves, and that sees what the gateway sees.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(process) = &self.process {
            command.env_clear().envs(process.variables_to_trust());
        }
        self.around(command)
    }

    fn around(&self, mut command: Command) -> Command {
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
        let mut asked = now();
        let (old, pid, leave) = match self.status() {
            Some(status) if !prove.anew && fits(&status) => {
                asked = Duration::ZERO;
                (InstanceId::fresh(), Some(status.pid), LEAVE)
            }
            // A trial that was kept goes by itself.
            Some(status) if !prove.anew && status.version == version => (status.instance, Some(status.pid), LEAVE),
            Some(status) => (status.instance, Some(status.pid), self.restart(layout, &status, &version)?),
            None => {
                self.start(layout)?;
                (InstanceId::fresh(), self.child.as_ref().map(Child::id), LEAVE)
            }
        };
        let limits = restart::limits(leave, limits.start, limits.dwell);
        self.watch(Proof::begin(Instant::now(), old, pid.unwrap_or(0), limits), pid, asked, told)?;
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

    /// Watches until an instance has stayed, or there is no hope for it. What its manager started before it was `asked` does not count.
    fn watch(&mut self, mut proof: Proof, pid: Option<u32>, asked: Duration, told: &mut dyn FnMut(&str)) -> Result<(), String> {
        let (sockets, unit) = (self.sockets.clone(), self.unit());
        let mut said = String::new();
        let mut onlooker = Onlooker::new(&sockets, unit.as_ref());
        loop {
            let (mut view, status) = onlooker.look();
            view.unit = view.unit.map(|unit| unit.since(asked));
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
        (!process::is_there(pid?)).then(String::new)
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
            Some(unit) => {
                unit.restart()?;
                Ok(leave(&unit))
            }
            None => {
                end(&[status.pid]);
                self.start(layout)?;
                Ok(LEAVE)
            }
        }
    }

    /// Starts what `current` names, where nobody answers.
    fn start(&mut self, layout: &Layout) -> Result<(), String> {
        if let Some(unit) = self.unit() {
            let old = unit.state().and_then(|state| state.main_pid);
            unit.restart()?;
            // The time that the old one takes to go is none of the new one's.
            let until = Instant::now() + leave(&unit);
            while old.is_some_and(process::is_there) && Instant::now() < until {
                std::thread::sleep(LOOK_EVERY);
            }
            return Ok(());
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
        let mut command = Command::new(&program);
        if let Some(process) = &self.process {
            command.env_clear().envs(&process.variables);
        }
        let mut command = self.around(command);
        command.args(&self.arguments).process_group(0);
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if self.owner != own {
            command.gid(self.owner.1).uid(self.owner.0);
        }
        let output = |which| self.process.as_ref().map_or_else(Stdio::null, |process| process.output(which));
        command.stdout(output(0)).stderr(output(1));
        self.child = Some(command.spawn().map_err(|error| format!("{}: it cannot be started ({error})", program.display()))?);
        Ok(())
    }

    /// Sees to it that nobody runs it for as long as what comes of this lives.
    ///
    /// # Errors
    /// When somebody does, who did not answer; or another gateway of this tree runs, which is not looked for elsewhere.
    pub fn keep_down(&self, layout: &Layout) -> Result<Option<InstanceLock>, String> {
        let runs = |pid: &u32| {
            let words = process::texts(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
            let (_, words) = split(words.into_iter().skip(1));
            process::program(*pid).is_some_and(|program| layout.holds(&program))
                && (words.is_empty() || words.iter().any(|word| word == "run"))
        };
        if let Some(pid) = process::others().find(runs) {
            return Err(format!(
                "a gateway runs from here (pid {pid}) that does not answer: it starts, or hangs, or has another configuration. Wait for it, stop it, or \
                 name its file with --config; then run this again"
            ));
        }
        // Where there is none, one of root's would be in the way of the gateway.
        let state = self.state();
        state.lock().exists().then(|| InstanceLock::take(&state)).transpose().map_err(|error| error.to_string())
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
        self.sockets.ask(request)
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

/// How long one that hangs may take to go, as its manager knows it.
fn leave(unit: &Unit) -> Duration {
    unit.stop_limit().map_or(LEAVE, |limit| limit + LEAVE)
}

/// The machine's monotonic clock, on which managers say when they started something.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
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
}
