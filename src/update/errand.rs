//! What an update does in a state directory, as values: done by us where it is ours, else by a child as whom it belongs to ([`account`](crate::account)).
//! What such a child answers is that user's word.

use std::path::{Path, PathBuf};
use std::process::Command;

use semver::Version;
use serde::{Deserialize, Serialize};
use switchboard_actors::ledger::sqlite::SqliteLedger;

use super::examine;
use super::machine::Change;
use crate::account::Account;
use crate::account::within::Given;
use crate::child;
use crate::config::Variables;
use crate::durable;
use crate::install::Layout;
use crate::lock::InstanceLock;
use crate::state_dir::StateDir;
use crate::trial::{Terms, Trial, Verdict};
use switchboard_actors::escape::one_line;

/// Something to be done, and where.
#[derive(Debug, Serialize, Deserialize)]
pub struct Errand {
    /// The gateway's state directory.
    pub state: PathBuf,
    /// The file of its configuration, if one was named.
    pub config: Option<PathBuf>,
    /// What.
    pub what: What,
}

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum What {
    /// Remove what an examination that was cut has left.
    Clear,
    /// Let both versions of this tree look at a copy of the ledger. → [`Answer::Change`]
    Examine {
        /// The tree.
        tree: PathBuf,
        /// The version before.
        from: Version,
        /// The version to come.
        to: Version,
    },
    /// See that nobody has the instance lock.
    BeFree,
    /// Copy the ledger, for the operator, beside an update to this version. → [`Answer::Copied`]
    Snapshot {
        /// The version.
        to: Version,
    },
    /// Remove every such copy but that of this version.
    Tidy {
        /// The version.
        to: Version,
    },
    /// Say that the next life is a trial.
    Arm(Terms),
    /// What became of the trial? → [`Answer::Verdict`]
    Verdict,
    /// Keep it. → [`Answer::Verdict`]
    Keep,
    /// Undo it. → [`Answer::Verdict`]
    Undo,
    /// Remove what it left.
    TidyTrial,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Done,
    /// What the new version does to the ledger.
    Change(Change),
    /// What became of the trial.
    Verdict(Verdict),
    /// Whether there was a ledger to copy.
    Copied(bool),
}

impl Errand {
    /// Has it done by whom the state directory belongs to: this account, else us.
    ///
    /// # Errors
    /// When it could not be done; in words.
    pub fn run(&self, whose: Option<Account>, variables: Option<&Variables>) -> Result<Answer, String> {
        match whose {
            None => self.perform(variables),
            Some(account) => self.send(account, variables),
        }
    }

    /// Does it as who we are. The variables are those of the programs that it runs; none: what we have ourselves.
    ///
    /// # Errors
    /// When it could not be done; in words.
    pub fn perform(&self, variables: Option<&Variables>) -> Result<Answer, String> {
        let state = StateDir::at(&self.state);
        let trial = Trial::of(&state);
        match &self.what {
            What::Clear => examine::clear(&state),
            What::Examine { tree, from, to } => {
                return examine::examine(&Layout::at(tree), &state, &|program| self.command(program, variables), from, to)
                    .map(Answer::Change);
            }
            What::BeFree => is_free(&state)?,
            What::Snapshot { to } => return snapshot(&state, to).map(Answer::Copied),
            What::Tidy { to } => tidy(&state, to)?,
            What::Arm(terms) => trial.arm(terms).map_err(|error| error.to_string())?,
            What::Verdict => return Ok(Answer::Verdict(trial.verdict())),
            What::Keep => return trial.keep().map(Answer::Verdict).map_err(|error| error.to_string()),
            What::Undo => return trial.undo().map(Answer::Verdict).map_err(|error| error.to_string()),
            What::TidyTrial => trial.tidy().map_err(|error| error.to_string())?,
        }
        Ok(Answer::Done)
    }

    fn send(&self, account: Account, variables: Option<&Variables>) -> Result<Answer, String> {
        let errand = serde_json::to_string(self).expect("plain data");
        let given = Given { variables: variables.cloned().unwrap_or_default() };
        let given = serde_json::to_vec(&given).expect("plain data");
        let printed = child::run(&mut account.child_of_ours(&self.state, ["errand", &errand]), &given)?;
        match serde_json::from_str::<Result<Answer, String>>(&printed.out) {
            Ok(answer) => answer.map_err(|reason| lines(&reason)),
            Err(_) => Err(lines(printed.text().trim())),
        }
    }

    /// A command of a version that we run ourselves, and that sees what the gateway sees.
    fn command(&self, program: &Path, variables: Option<&Variables>) -> Command {
        let mut command = Command::new(program);
        if let Some(variables) = variables {
            command.env_clear().envs(variables);
        }
        command.env_remove(crate::handover::VARIABLE).current_dir("/");
        command.args(self.config.iter().flat_map(|file| [Path::new("--config"), file]));
        command
    }
}

/// Does what a line of the command line says, and says in another what came of it: the child's half of [`Errand::run`].
pub fn carry_out(line: &str) -> String {
    let done = serde_json::from_str::<Errand>(line).map_err(|error| error.to_string()).and_then(|errand| errand.perform(None));
    serde_json::to_string(&done).expect("plain data")
}

/// The words of somebody else, for a terminal.
fn lines(text: &str) -> String {
    text.lines().map(one_line).collect::<Vec<_>>().join("\n")
}

/// Whether a gateway has the lock that does not answer: one that starts, or hangs.
fn is_free(state: &StateDir) -> Result<(), String> {
    // Where there is no lock, one of ours would be in the way of the gateway.
    state.lock().exists().then(|| InstanceLock::take(state)).transpose().map(drop).map_err(|error| error.to_string())
}

/// The operator's copy of the ledger, as it was before an update to this version.
pub fn snapshot_of(state: &StateDir, to: &Version) -> PathBuf {
    durable::with_suffix(&state.ledger(), &format!(".update-{to}"))
}

fn snapshot(state: &StateDir, to: &Version) -> Result<bool, String> {
    let ledger = state.ledger();
    if !ledger.exists() {
        return Ok(false);
    }
    SqliteLedger::copy(&ledger, &snapshot_of(state, to)).map_err(|error| format!("the ledger cannot be copied: {error}"))?;
    Ok(true)
}

fn tidy(state: &StateDir, to: &Version) -> Result<(), String> {
    let newest = snapshot_of(state, to);
    let copies = durable::beside(&state.ledger(), ".update-").unwrap_or_default();
    let failed = copies.iter().filter(|path| **path != newest).filter_map(|old| {
        let error = durable::remove(old).err()?;
        Some(format!("{}: {error}", old.display()))
    });
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}
