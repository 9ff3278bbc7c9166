//! The configuration of the daemon: layers merged, every fault found at once, secrets fetched.
//!
//! Layers, the later wins: `config/default.toml` (compiled in), one file, `SWITCHBOARD__SECTION__KEY`. Nothing here starts
//! anything, and nothing here prints a secret. Where a value may stand is `layers`, what is known in it [`sections`],
//! [`agents`] and [`adapters`].

pub mod adapters;
pub mod agents;
pub mod fault;
mod fields;
mod layers;
pub mod network;
pub mod secret;
pub mod sections;
mod show;
mod warnings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use switchboard_actors::ids::{AdapterName, AgentName};
use switchboard_actors::settings::Settings;

pub use adapters::{AdapterConfig, AdapterKind};
pub use agents::AgentConfig;
pub use fault::{Fault, Faults, Origin};
pub use layers::Variables;
pub use network::Network;
pub use secret::Secret;
pub use sections::{Control, Http, Log, LogFormat, Restart, RestartMode, Update};

/// Everything that the daemon can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// For the actor system.
    pub settings: Settings,
    /// Where the ledger, the marker, the lock and the token live.
    pub state_dir: PathBuf,
    /// Web chat and probes.
    pub http: Http,
    /// What is logged, and how.
    pub log: Log,
    /// The control socket.
    pub control: Control,
    /// How a restart is done.
    pub restart: Restart,
    /// Where other versions come from.
    pub update: Update,
    /// Who answers.
    pub agents: BTreeMap<AgentName, AgentConfig>,
    /// Where, also those that are not enabled.
    pub adapters: BTreeMap<AdapterName, AdapterConfig>,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// The file that was named; none: the usual ones are looked for.
    chosen: Option<PathBuf>,
    /// What works, but hardly as meant; one line each.
    pub warnings: Vec<String>,
    merged: layers::Merged,
}

/// What a configuration rests on beside its files, so that a test can stand in for it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment variables.
    pub variables: Variables,
    /// Whoever reads the configuration does not run the gateway: what only the service is given need not be here.
    pub looks_only: bool,
}

impl Surroundings {
    /// Those of this process. Variables that are not Unicode are left out.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { variables: variables.collect(), looks_only: false }
    }

    /// Where gateways listen that are not told otherwise.
    pub fn default_sockets(&self) -> Vec<PathBuf> {
        let dirs = [self.first_path("RUNTIME_DIRECTORY"), self.default_state_dir()];
        dirs.into_iter().flatten().map(|dir| dir.join("control.sock")).collect()
    }

    /// The service manager's state directory, else the user's.
    fn default_state_dir(&self) -> Option<PathBuf> {
        let user = || self.path("XDG_STATE_HOME").or_else(|| Some(self.path("HOME")?.join(".local/state")));
        self.first_path("STATE_DIRECTORY").or_else(|| Some(user()?.join("switchboard")))
    }

    /// A variable that is set and not empty.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// As [`path`](Self::path), for variables of the service manager that may hold several paths: the first.
    fn first_path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name)?.split(':').next().filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

impl Config {
    /// Reads all layers; `chosen` is the file of `--config`.
    ///
    /// # Errors
    /// Every fault at once. A layer that cannot be read at all hides those behind it.
    pub fn load(chosen: Option<&Path>, around: &Surroundings) -> Result<Self, Faults> {
        let merged = layers::read(chosen, &around.variables).map_err(|fault| Faults(vec![fault]))?;
        let mut faults = Vec::new();
        let mut warnings = Vec::new();
        let sections = sections::read(&merged, &mut faults);
        let agents = agents::read(&merged, around, &mut faults);
        let adapters = adapters::read(&merged, around, &mut faults, &mut warnings);
        let dirs = sections.and_then(|(settings, daemon)| {
            let state_dir = state_dir(&daemon.state_dir, around, &merged, &mut faults)?;
            Some((settings, daemon, state_dir))
        });
        let (Some((settings, daemon, state_dir)), true) = (dirs, faults.is_empty()) else {
            faults.sort_by(|a, b| (&a.key, &a.place).cmp(&(&b.key, &b.place)));
            faults.dedup();
            return Err(Faults(faults));
        };
        warnings.extend(daemon.http.warning());
        warnings.extend(warnings::find(&daemon.http, &agents, &adapters, &merged));
        let mut control = daemon.control;
        if control.socket.as_os_str().is_empty() {
            control.socket = around.first_path("RUNTIME_DIRECTORY").unwrap_or_else(|| state_dir.clone()).join("control.sock");
        }
        let file = merged.file.clone();
        Ok(Self {
            settings,
            state_dir,
            http: daemon.http,
            log: daemon.log,
            control,
            restart: daemon.restart,
            update: daemon.update,
            agents,
            adapters,
            file,
            chosen: chosen.map(Path::to_owned),
            warnings,
            merged,
        })
    }

    /// The state directory of a configuration that may be bad elsewhere; none when too little of it can be read to know.
    pub fn state_dir_of(chosen: Option<&Path>, around: &Surroundings) -> Option<PathBuf> {
        let Ok(merged) = layers::read(chosen, &around.variables) else { return around.first_path("STATE_DIRECTORY") };
        let configured = merged.table.get("state_dir").and_then(toml::Value::as_str).filter(|path| !path.is_empty());
        configured.map(PathBuf::from).or_else(|| around.default_state_dir())
    }

    /// Where a gateway of these layers listens, whatever else is wrong with them.
    pub fn sockets_despite_faults(chosen: Option<&Path>, around: &Surroundings) -> Vec<PathBuf> {
        let Ok(merged) = layers::read(chosen, &around.variables) else { return around.default_sockets() };
        let path = |value: Option<&toml::Value>| value?.as_str().filter(|path| !path.is_empty()).map(PathBuf::from);
        let socket = path(merged.section("control").and_then(|control| control.get("socket")));
        let beside = || Some(path(merged.table.get("state_dir"))?.join("control.sock"));
        // As when it listens: the service manager's directory comes before the configured one.
        let in_runtime = || around.first_path("RUNTIME_DIRECTORY").map(|dir| dir.join("control.sock"));
        socket.or_else(in_runtime).or_else(beside).map_or_else(|| around.default_sockets(), |socket| vec![socket])
    }

    /// How long a shutdown takes at most that is granted no other time.
    pub fn longest_shutdown(&self) -> Duration {
        self.longest_shutdown_within(self.settings.shutdown.grace)
    }

    /// How long a shutdown takes at most that is granted `grace`.
    pub fn longest_shutdown_within(&self, grace: Duration) -> Duration {
        let budgets = &self.settings.shutdown;
        grace.max(budgets.least()).saturating_add(budgets.margin)
    }

    /// Reads the same layers again, as they are now.
    ///
    /// # Errors
    /// See [`load`](Self::load).
    pub fn load_again(&self, around: &Surroundings) -> Result<Self, Faults> {
        Self::load(self.chosen.as_deref(), around)
    }

    /// The keys outside of `[agents]` and `[adapters]` that are written differently there, in order.
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let (mine, others) = (self.merged.leaves(), other.merged.leaves());
        let keys: std::collections::BTreeSet<&String> = mine.keys().chain(others.keys()).collect();
        keys.into_iter().filter(|key| mine.get(*key) != others.get(*key)).cloned().collect()
    }

    /// The effective configuration as TOML, secrets masked, each value with its origin.
    pub fn show(&self) -> String {
        show::render(&self.merged)
    }
}

/// The state directory: as configured, else the service manager's, else the user's.
fn state_dir(configured: &Path, around: &Surroundings, merged: &layers::Merged, faults: &mut Vec<Fault>) -> Option<PathBuf> {
    if !configured.as_os_str().is_empty() {
        return Some(configured.to_owned());
    }
    let found = around.default_state_dir();
    if found.is_none() {
        let wrong = "is empty, and $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME are not set";
        faults.push(Fault::new(merged.origin("state_dir"), "state_dir", wrong, "Set it to a directory that survives a restart"));
    }
    found
}

#[cfg(test)]
mod tests;
