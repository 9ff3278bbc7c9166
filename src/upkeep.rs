//! The ledger while no gateway runs: what `check` finds in it, what `history` tells of it, and `ledger move|drop`.

use std::path::PathBuf;

use switchboard_actors::children;
use switchboard_actors::ids::AdapterName;
use switchboard_actors::ledger::sqlite::SqliteLedger;
use switchboard_actors::ledger::{Done, Ending, Knowledge, Ledger, LedgerFacts, Question, Step, TurnState};
use switchboard_actors::marker::{self, Flag};
use switchboard_actors::settings::Engine;

use crate::config::Config;
use crate::false_starts;
use crate::history::{self, Life};
use crate::lock::InstanceLock;
use crate::release::Release;
use crate::scribe;
use crate::state_dir::StateDir;

/// Which ledger to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// This one; none: the configured one, if it is there.
    pub ledger: Option<PathBuf>,
    /// Whether it is brought up to date first.
    pub upgrade: bool,
}

/// Looks at the ledger of a configuration without changing it, also beside a running gateway: one line per finding.
///
/// # Errors
/// When the ledger is damaged, newer, or cannot be read.
pub fn look(release: &Release, config: &Config, look: &Look) -> Result<Vec<String>, String> {
    let configured = StateDir::at(&config.state_dir).ledger();
    let nothing = config.settings.ledger.engine == Engine::Memory || !configured.exists();
    let path = match &look.ledger {
        Some(path) => path,
        None if nothing => return Ok(Vec::new()),
        None => &configured,
    };
    if look.upgrade {
        let mut ledger = SqliteLedger::open_as(path, release.migrations).map_err(|error| error.to_string())?;
        ledger.close().map_err(|fault| fault.to_string())?;
    }
    let mut ledger = SqliteLedger::open_read_only_as(path, release.migrations).map_err(|error| error.to_string())?;
    let mut findings = Vec::new();
    if let Knowledge::Adapters(adapters) = ledger.ask(&Question::Adapters).map_err(|fault| fault.to_string())? {
        let configured = |name: &AdapterName| config.adapters.get(name).is_some_and(|adapter| adapter.enabled);
        for (name, rows) in adapters.into_iter().filter(|(name, rows)| *rows > 0 && !configured(name)) {
            findings.push(format!(
                "warning: {rows} open rows belong to the adapter {name}, which is not configured or not enabled. \
                 `switchboard ledger move {name} TO` or `switchboard ledger drop {name}` settles them"
            ));
        }
    }
    if let Knowledge::Turns(turns) = ledger.ask(&Question::Turns).map_err(|fault| fault.to_string())? {
        let cut = turns.iter().filter(|turn| turn.state != TurnState::Running).count();
        if cut > 0 {
            findings.push(format!("{cut} tasks were cut and wait for /retry; `switchboard turns list` lists them"));
        }
    }
    Ok(findings)
}

/// The last lives, and starts that came to nothing, without a gateway's help: also while none runs, or one that hangs.
///
/// # Errors
/// When the ledger is damaged, newer, older, or cannot be read.
pub fn look_back(release: &Release, config: &Config, most: u32) -> Result<Vec<Life>, String> {
    let state = StateDir::at(&config.state_dir);
    let (mut lives, mut last) = (Vec::new(), None);
    if config.settings.ledger.engine == Engine::Sqlite && state.ledger().exists() {
        let mut ledger = SqliteLedger::open_read_only_as(&state.ledger(), release.migrations).map_err(|error| error.to_string())?;
        if let Knowledge::Instances(known) = ledger.ask(&Question::Instances { most }).map_err(|fault| fault.to_string())? {
            lives = known;
        }
        if let Knowledge::Facts(mut facts) = ledger.ask(&Question::Facts).map_err(|fault| fault.to_string())? {
            last = how_the_last_ended(&state, &mut facts);
            if let (Some(newest), Some(known)) = (lives.first_mut(), facts.last) {
                *newest = known;
            }
        }
    }
    let mut lives = history::lives(&lives, last.as_ref(), &false_starts::read(&state));
    lives.truncate(most as usize);
    Ok(lives)
}

/// As the next start would judge it; none while it lasts.
fn how_the_last_ended(state: &StateDir, facts: &mut LedgerFacts) -> Option<Ending> {
    let remains = scribe::read(state);
    let last = facts.last.as_mut()?;
    if scribe::lasts(state) && remains.as_ref().is_some_and(|remains| remains.instance == last.instance) {
        return None;
    }
    if let Some(remains) = &remains {
        last.take_in(remains);
    }
    marker::judge(&Flag::at(state.marker()).read(), facts, children::boot().ok().as_deref())
}

/// What can be done to the ledger of a gateway that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Give an adapter's open rows to another.
    Move(AdapterName, AdapterName),
    /// Close an adapter's open rows.
    Drop(AdapterName),
}

/// Does it, under the instance lock; what was done, in words.
///
/// # Errors
/// When a gateway runs after all, or the ledger cannot be opened or written.
pub fn upkeep(release: &Release, config: &Config, upkeep: &Upkeep) -> Result<String, String> {
    let state = StateDir::open(&config.state_dir).map_err(|error| error.to_string())?;
    let _lock = InstanceLock::take(&state).map_err(|error| error.to_string())?;
    if !state.ledger().exists() {
        return Err(format!("{}: there is no ledger yet", state.ledger().display()));
    }
    let mut ledger = SqliteLedger::open_as(&state.ledger(), release.migrations).map_err(|error| error.to_string())?;
    let step = match upkeep.clone() {
        Upkeep::Move(from, to) => Step::MoveAdapter { from, to },
        Upkeep::Drop(adapter) => Step::DropAdapter { adapter },
    };
    let done = ledger.commit(&[step]).map_err(|fault| fault.to_string())?;
    ledger.close().map_err(|fault| fault.to_string())?;
    match done.first() {
        Some(Done::Moved(rows)) => Ok(format!("{rows} rows")),
        Some(Done::Refused(reason)) => Err(reason.clone()),
        other => Err(format!("the ledger answered {other:?}")),
    }
}
