//! The gateway that an update is about: who starts it, how it is restarted, and how it is seen to stay.
//!
//! A service manager starts it, or somebody whom we do not know (`restart.mode = "exit"`), or nobody. We never start or end one ourselves, and take
//! nothing from its process: what it is given is asked of its manager, or is what the caller has. It is kept in the journal, so that whoever goes on
//! with an update after a cut does so with this gateway.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchboard_actors::ids::InstanceId;

use super::errand::{Answer, Errand, What};
use super::machine::Prove;
use super::process;
use crate::account::{self, Account};
use crate::config::{Config, RestartMode, Surroundings, Variables};
use crate::control::client::{Peer, Sockets};
use crate::control::{Farewell, ON_TRIAL, Request, Response, Status};
use crate::install::Layout;
use crate::restart::help::quoted;
use crate::restart::proof::{Event, Failure, Limits, Proof, Step};
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
    /// Its user and group, where no unit says that.
    owner: (u32, u32),
    state_dir: PathBuf,
    sockets: Sockets,
    /// Whether somebody starts it again whom we do not know.
    foreign: bool,
    /// What its manager gives it at every start; none: whatever the caller has. It may be secret, and need not be written down.
    #[serde(skip)]
    variables: Option<Variables>,
    /// One that was told to go did not.
    #[serde(skip)]
    stays: bool,
}

impl Subject {
    /// The one that a manager runs, or should.
    ///
    /// # Errors
    /// When its configuration has faults.
    pub fn installed(installed: Installed) -> Result<Self, String> {
        let file = installed.config();
        let Installed { unit, variables, .. } = installed;
        let around = Surroundings { variables: variables.clone(), looks_only: true };
        let config = Config::load(file.as_deref(), &around).map_err(|faults| faults.to_string())?;
        let subject = Self::resting(&config, &Sockets(vec![config.control.socket.clone()]));
        Ok(Self { unit: Some((unit.name, unit.scope == Scope::User)), config: file, variables: Some(variables), foreign: false, ..subject })
    }

    /// The one that answered there, and that no manager which we know starts.
    pub fn unmanaged(config: &Config, there: &Sockets, peer: Peer) -> Self {
        let resting = Self::resting(config, there);
        let foreign = config.restart.mode == RestartMode::Exit;
        Self { foreign, owner: if foreign { (peer.uid, peer.gid) } else { resting.owner }, ..resting }
    }

    /// The same, found at this place.
    pub fn at(self, sockets: Sockets) -> Self {
        Self { sockets, ..self }
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
            owner: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            state_dir: config.state_dir.clone(),
            sockets: sockets.own(),
            foreign: false,
            variables: None,
            stays: false,
        }
    }

    /// Where it listens for operators.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Whether somebody starts it again: only then is there something to prove.
    pub fn has_manager(&self) -> bool {
        self.unit.is_some() || self.foreign
    }

    /// Whether whoever starts it again is not known.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Where its ledger is.
    pub fn state(&self) -> StateDir {
        StateDir::at(&self.state_dir)
    }

    /// As whom it is worked on in its state directory; none: as who we are.
    ///
    /// # Errors
    /// When root must not do that; in words.
    pub fn keeper(&self) -> Result<Option<Account>, String> {
        if !Account::of_caller().is_root() {
            return Ok(None);
        }
        let gateway = match self.unit() {
            Some(unit) => Account::of_unit(&unit, &self.state_dir)?,
            None => Account { uid: self.owner.0, gid: self.owner.1 },
        };
        account::keeper(&self.state_dir, Some(gateway))
    }

    /// Has something done in its state directory, as whom that belongs to.
    ///
    /// # Errors
    /// When it could not be done; in words.
    pub fn errand(&self, what: What) -> Result<Answer, String> {
        let errand = Errand { state: self.state_dir.clone(), config: self.config.clone(), what };
        errand.run(self.keeper()?, self.variables.as_ref())
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
                (InstanceId::fresh(), status.pid, LEAVE)
            }
            // A trial that was kept goes by itself.
            Some(status) if !prove.anew && status.version == version => (status.instance, status.pid, LEAVE),
            Some(status) => (status.instance, status.pid, self.restart(&version)?),
            None => {
                self.start()?;
                (InstanceId::fresh(), 0, LEAVE)
            }
        };
        let limits = restart::limits(leave, limits.start, limits.dwell);
        self.watch(Proof::begin(Instant::now(), old, pid, limits), asked, told)?;
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
    fn watch(&mut self, mut proof: Proof, asked: Duration, told: &mut dyn FnMut(&str)) -> Result<(), String> {
        let (sockets, unit) = (self.sockets.clone(), self.unit());
        let mut said = String::new();
        let mut onlooker = Onlooker::new(&sockets, unit.as_ref());
        loop {
            let (mut view, status) = onlooker.look();
            view.unit = view.unit.map(|unit| unit.since(asked));
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
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Asks the gateway to come back as what `current` names, else its manager; how long it may take to go.
    fn restart(&mut self, version: &str) -> Result<Duration, String> {
        if !std::mem::take(&mut self.stays) || self.unit.is_none() {
            let farewell = Farewell { grace_millis: None, reason: Some(format!("update to {version}")) };
            if let Ok(Response::GoingDown { within_millis, .. }) = self.ask(&Request::Update(farewell)) {
                return Ok(Duration::from_millis(within_millis));
            }
        }
        let unit = self.unit().ok_or("the gateway that is there would not restart, and whoever starts it is not known")?;
        unit.restart()?;
        Ok(leave(&unit))
    }

    /// Has its manager start what `current` names, where nobody answers. One whom we do not know does so by itself, or cannot be helped.
    fn start(&self) -> Result<(), String> {
        let Some(unit) = self.unit() else { return Ok(()) };
        let old = unit.state().and_then(|state| state.main_pid);
        unit.restart()?;
        // The time that the old one takes to go is none of the new one's.
        let until = Instant::now() + leave(&unit);
        while old.is_some_and(process::is_there) && Instant::now() < until {
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
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

    /// The commands with which an operator looks further, and starts it by hand where that is known.
    pub fn by_hand(&self, layout: &Layout) -> Vec<String> {
        match self.unit() {
            Some(unit) => {
                vec![unit.by_hand("systemctl", "status"), unit.by_hand("journalctl", "-e -u"), unit.by_hand("systemctl", "restart")]
            }
            None => ["check", "status"].map(|words| self.by_version(&layout.current_program(), words)).into(),
        }
    }

    /// The command that starts this program as this gateway.
    pub fn start_by_hand(&self, program: &Path) -> String {
        self.unit().map_or_else(|| self.by_version(program, "run"), |unit| unit.by_hand("systemctl", "start"))
    }

    /// A command to this gateway by this program, as it is typed.
    pub fn by_version(&self, program: &Path, words: &str) -> String {
        let file = self.config.as_ref().map(|file| format!(" --config {}", quoted(&file.display().to_string()))).unwrap_or_default();
        format!("{}{file} {words}", quoted(&program.display().to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As 0.1.0 wrote it down, where it cloned a gateway that nobody manages.
    #[test]
    fn g26_what_an_older_version_wrote_of_a_gateway_is_understood() {
        let written = |unit: &str, foreign: bool| {
            let text = format!(
                r#"{{"unit":{unit},"config":"/c.toml","arguments":["run"],"directory":"/","owner":[7,8],"state_dir":"/s","sockets":["/s/control.sock"],
                "foreign":{foreign},"process":{{"variables":{{"A":"b"}},"user":7,"logs":[null,null]}}}}"#
            );
            serde_json::from_str::<Subject>(&text).expect("understood")
        };
        let subject = written("null", false);
        assert!(!subject.has_manager() && subject.owner == (7, 8) && subject.config() == Some(Path::new("/c.toml")));
        assert!(written("null", true).has_manager() && written(r#"["switchboard.service",false]"#, false).has_manager());
    }
}
