//! What another configuration changes in a gateway that runs, and what of it needs a restart: a pure difference.
//!
//! Nothing is read, built or told here, and nothing is passed over in silence: every key that differs is in one list or the other. Values are never
//! shown, since some are secrets.

use std::fmt;

use switchboard_actors::ids::{AdapterName, AgentName};

use crate::config::{AdapterConfig, Config};

/// Keys and sections that are read once, at the start. Beside them a page or terminal (`AdapterKind::is_of_the_process`) comes and goes only with its
/// process. In `config/default.toml` their comments begin with `*`.
pub const NEEDS_RESTART: [&str; 11] = [
    "state_dir",
    "http",
    "log.format",
    "control",
    "restart.mode",
    "session.groups",
    "session.message_bytes",
    "outbox.send_limit",
    "supervision",
    "ledger",
    "runs.max_abandoned",
];

/// What a reload comes to.
#[derive(Debug)]
pub struct Plan {
    /// What is in force afterwards: the new configuration, with the present value of whatever needs a restart.
    pub in_force: Config,
    /// What differs and is taken over.
    pub changes: Vec<Change>,
    /// Keys that differ and need a restart.
    pub restart: Vec<String>,
}

/// Something that is taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key of a fixed section.
    Key(String),
    /// An agent.
    Agent(AgentName, Fate),
    /// An adapter.
    Adapter(AdapterName, Fate),
}

/// What becomes of an adapter or agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new, or enabled.
    Added,
    /// It is gone, or disabled.
    Removed,
    /// An adapter connects anew, because of these keys.
    ConnectsAnew(Vec<&'static str>),
    /// It stays as it is but for these keys; none: all of it.
    Set(Vec<&'static str>),
    /// It is not enabled before or after.
    Idle,
}

impl Plan {
    /// From what is `in_force`, in a process that `started` with that, to what is `new`.
    pub fn between(started: &Config, in_force: &Config, mut new: Config) -> Self {
        let mut restart: Vec<String> = started.differing(&new).into_iter().filter(|key| needs_restart(key)).collect();
        let keys = in_force.differing(&new).into_iter().filter(|key| !needs_restart(key));
        let mut changes: Vec<Change> = keys.map(Change::Key).collect();
        hold_back(&mut new, started);
        hold_back_adapters(&mut new, in_force, &mut restart);
        agents(in_force, &new, &mut changes);
        for name in names(in_force.adapters.keys(), new.adapters.keys()) {
            let fate = adapter(in_force.adapters.get(name), new.adapters.get(name));
            changes.extend(fate.map(|fate| Change::Adapter(name.clone(), fate)));
        }
        Self { in_force: new, changes, restart }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Key(key) => write!(f, "{key}: taken over"),
            Change::Agent(name, Fate::Added) => write!(f, "agents.{name}: added"),
            Change::Agent(name, Fate::Removed) => write!(f, "agents.{name}: removed"),
            Change::Agent(name, _) => write!(f, "agents.{name}: changed; the next tasks are for it as it is now"),
            Change::Adapter(name, Fate::Added) => write!(f, "adapters.{name}: added"),
            Change::Adapter(name, Fate::Removed) => {
                write!(f, "adapters.{name}: removed; tasks that run there end first, and what is owed there stays in the ledger")
            }
            Change::Adapter(name, Fate::ConnectsAnew(keys)) => write!(f, "adapters.{name}: connects anew ({})", keys.join(", ")),
            Change::Adapter(name, Fate::Set(keys)) => write!(f, "adapters.{name}: taken over ({})", keys.join(", ")),
            Change::Adapter(name, Fate::Idle) => write!(f, "adapters.{name}: changed; it is not enabled"),
        }
    }
}

fn needs_restart(key: &str) -> bool {
    NEEDS_RESTART.iter().any(|part| key.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Keeps what the process started with where [`NEEDS_RESTART`] says so.
fn hold_back(new: &mut Config, started: &Config) {
    new.state_dir.clone_from(&started.state_dir);
    new.http = started.http.clone();
    new.log.format = started.log.format;
    new.control = started.control.clone();
    new.restart.mode = started.restart.mode;
    let (to, from) = (&mut new.settings, &started.settings);
    (to.session.groups, to.session.message_bytes) = (from.session.groups, from.session.message_bytes);
    to.outbox.send_limit = from.outbox.send_limit;
    to.supervision = from.supervision.clone();
    to.ledger = from.ledger.clone();
    to.runs.max_abandoned = from.runs.max_abandoned;
}

/// A page or terminal stays, or stays away; no adapter becomes another kind under its name.
fn hold_back_adapters(new: &mut Config, in_force: &Config, restart: &mut Vec<String>) {
    for name in names(in_force.adapters.keys(), new.adapters.keys()).into_iter().cloned().collect::<Vec<_>>() {
        let enabled = |adapter: Option<&AdapterConfig>| adapter.filter(|adapter| adapter.enabled).cloned();
        let (old, wanted) = (enabled(in_force.adapters.get(&name)), enabled(new.adapters.get(&name)));
        let of_the_process = |adapter: &Option<AdapterConfig>| adapter.as_ref().is_some_and(|adapter| adapter.kind.is_of_the_process());
        match (old, wanted) {
            (Some(old), Some(wanted)) if old.kind.name() == wanted.kind.name() => {}
            (None, None) => {}
            (Some(old), wanted) if wanted.is_some() || of_the_process(&Some(old.clone())) => {
                restart.push(format!("adapters.{name}.{}", if wanted.is_some() { "kind" } else { "enabled" }));
                if let Some(agent) = in_force.agents.get(&old.settings.agent) {
                    new.agents.entry(old.settings.agent.clone()).or_insert_with(|| agent.clone());
                }
                new.adapters.insert(name, old);
            }
            (None, wanted) if of_the_process(&wanted) => {
                restart.push(format!("adapters.{name}.enabled"));
                new.adapters.get_mut(&name).into_iter().for_each(|adapter| adapter.enabled = false);
            }
            _ => {}
        }
    }
}

fn agents(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    for name in names(old.agents.keys(), new.agents.keys()) {
        let fate = match (old.agents.get(name), new.agents.get(name)) {
            (None, _) => Fate::Added,
            (_, None) => Fate::Removed,
            (Some(old), Some(new)) if old == new => continue,
            _ => Fate::Set(Vec::new()),
        };
        changes.push(Change::Agent(name.clone(), fate));
    }
}

/// What becomes of an adapter; none: nothing.
fn adapter(old: Option<&AdapterConfig>, new: Option<&AdapterConfig>) -> Option<Fate> {
    let enabled = |adapter: Option<&AdapterConfig>| adapter.is_some_and(|adapter| adapter.enabled);
    if old == new {
        return None;
    }
    Some(match (old, new) {
        _ if !enabled(old) && !enabled(new) => Fate::Idle,
        (Some(old), Some(new)) if old.enabled && new.enabled => {
            let mut keys = old.kind.differing(&new.kind);
            let anew = !keys.is_empty();
            let (old, new) = (&old.settings, &new.settings);
            let settings = [("access", old.access != new.access), ("rate", old.rate != new.rate), ("agent", old.agent != new.agent)];
            keys.extend(settings.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key));
            if anew { Fate::ConnectsAnew(keys) } else { Fate::Set(keys) }
        }
        _ if enabled(new) => Fate::Added,
        _ => Fate::Removed,
    })
}

/// The names of both, each once, in order.
fn names<'a, N: Ord>(old: impl Iterator<Item = &'a N>, new: impl Iterator<Item = &'a N>) -> Vec<&'a N> {
    old.chain(new).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
