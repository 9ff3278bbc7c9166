//! A trial: the first life of a version whose ledger the one before it cannot read.
//!
//! It lives on a copy of the ledger, hears nobody and says nothing, so that the ledger itself is still the whole truth and going back needs no more
//! than the link. Whether it was kept or undone is decided by the name of one file: whoever renames it first has decided, the updater or, when
//! nobody does, the trial itself after a while.
//!
//! | file in the state directory | the version that it names | any other version |
//! |---|---|---|
//! | `trial` | lives on trial | undoes it, and serves |
//! | `trial.kept` | makes the copy the ledger, and serves | the same if it can read the copy, else refuses: it would go back over what was decided |
//! | `trial.undone` | refuses: its ledger would be the real one, unproved | serves |
//!
//! [`begin`](Trial::begin) is called under the instance lock, before the ledger is opened.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_actors::ledger::Ledger;
use switchboard_actors::ledger::sqlite::SqliteLedger;

use crate::durable;
use crate::release::Release;
use crate::state_dir::StateDir;

/// The trial of a state directory.
#[derive(Clone, Debug)]
pub struct Trial {
    armed: PathBuf,
    kept: PathBuf,
    undone: PathBuf,
    copy: PathBuf,
    flag: PathBuf,
    ledger: PathBuf,
    marker: PathBuf,
}

/// Whose trial, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The version on trial.
    pub version: String,
    /// Ready for so long without a word from the updater, it keeps itself.
    pub keep_after_millis: u64,
}

impl Terms {
    /// When it keeps itself.
    pub fn keep_after(&self) -> Duration {
        Duration::from_millis(self.keep_after_millis)
    }
}

/// What a life is to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Life {
    /// On the ledger.
    Serving,
    /// On a copy of it, which was made, hearing and saying nothing.
    OnTrial(Terms),
}

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing yet.
    Open,
    /// From here on only forward.
    Kept,
    /// It was for nothing.
    Undone,
}

/// A life that must not begin.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The ledger belongs to another version.
    #[error(
        "an update to {to} has been kept and its ledger is not in place yet: only {to} may start here, or one that can read that, and this is {this}. \
         Run `switchboard update`"
    )]
    OnlyForward {
        /// The version that may.
        to: String,
        /// We.
        this: String,
    },
    /// The trial was undone.
    #[error("the update to this version ({this}) is being undone. Run `switchboard update` to finish that")]
    BeingUndone {
        /// We.
        this: String,
    },
    /// The disk refuses, or the ledger cannot be copied.
    #[error("{path}: the trial of a new version: {reason}")]
    Broken {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl Trial {
    /// That of a state directory.
    pub fn of(state: &StateDir) -> Self {
        let file = |name: &str| state.path().join(name);
        Self {
            armed: file("trial"),
            kept: file("trial.kept"),
            undone: file("trial.undone"),
            copy: file("ledger.trial.sqlite3"),
            flag: file("ledger.trial.sqlite3.clean"),
            ledger: state.ledger(),
            marker: state.marker(),
        }
    }

    /// The copy of the ledger that it lives on.
    pub fn copy(&self) -> &Path {
        &self.copy
    }

    /// Its own clean flag, a copy as well: that of the life before is consumed only in the copy, and stays true if the trial is undone.
    pub fn flag(&self) -> &Path {
        &self.flag
    }

    /// Says that the next life of a version is a trial. One that was kept, but not taken over yet, stays.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn arm(&self, terms: &Terms) -> Result<(), TrialError> {
        if self.kept.exists() {
            return Err(self.broken(&self.kept)(&"a trial was kept, and its version has not started since"));
        }
        durable::remove(&self.undone).map_err(|error| self.broken(&self.undone)(&error))?;
        let text = serde_json::to_string(terms).expect("terms are plain data");
        durable::write(&self.armed, text.as_bytes()).map_err(|error| self.broken(&self.armed)(&error))
    }

    /// Keeps it, if nobody has decided yet. What was decided, by whomever.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&self) -> Result<Verdict, TrialError> {
        self.decide(&self.kept)
    }

    /// Undoes it, if nobody has decided yet. What was decided, by whomever.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn undo(&self) -> Result<Verdict, TrialError> {
        self.decide(&self.undone)
    }

    fn decide(&self, name: &Path) -> Result<Verdict, TrialError> {
        match durable::rename(&self.armed, name) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.broken(&self.armed)(&error)),
            // Decided by us, or by somebody else before.
            _ => Ok(self.verdict()),
        }
    }

    /// What became of it. A trial that left no trace was kept, and its version has served since.
    pub fn verdict(&self) -> Verdict {
        match (self.armed.exists(), self.undone.exists()) {
            (true, _) => Verdict::Open,
            (false, true) => Verdict::Undone,
            (false, false) => Verdict::Kept,
        }
    }

    /// What the life that begins is to be. To be asked under the instance lock, before the ledger is opened.
    ///
    /// # Errors
    /// When it must not begin, or the disk refuses.
    pub fn begin(&self, release: &Release) -> Result<Life, TrialError> {
        let this = release.version;
        if let Some(terms) = self.read(&self.kept)? {
            if terms.version != this && !self.reads_what_was_kept(release)? {
                return Err(TrialError::OnlyForward { to: terms.version, this: this.into() });
            }
            self.take_over(release)?;
        }
        match self.read(&self.armed)? {
            Some(terms) if terms.version == this => {
                self.make_copy()?;
                return Ok(Life::OnTrial(terms));
            }
            // Whoever serves makes the copy stale.
            Some(_) => drop(self.undo()?),
            None => {}
        }
        if self.read(&self.undone)?.is_some_and(|terms| terms.version == this) {
            return Err(TrialError::BeingUndone { this: this.into() });
        }
        self.remove_copy()?;
        Ok(Life::Serving)
    }

    /// Removes what an update that is over has left, but nothing that a version still has to take over.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn tidy(&self) -> Result<(), TrialError> {
        [&self.armed, &self.undone].into_iter().try_for_each(|path| durable::remove(path).map_err(|error| self.broken(path)(&error)))
    }

    fn read(&self, path: &Path) -> Result<Option<Terms>, TrialError> {
        match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| self.broken(path)(&error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.broken(path)(&error)),
        }
    }

    fn make_copy(&self) -> Result<(), TrialError> {
        self.remove_copy()?;
        if self.ledger.exists() {
            SqliteLedger::copy(&self.ledger, &self.copy).map_err(|error| self.broken(&self.copy)(&error))?;
        }
        if let Ok(flag) = std::fs::read(&self.marker) {
            durable::write(&self.flag, &flag).map_err(|error| self.broken(&self.flag)(&error))?;
        }
        Ok(())
    }

    /// Whether a release that was not on trial can read what the trial made of the ledger: one that mends the version which was.
    fn reads_what_was_kept(&self, release: &Release) -> Result<bool, TrialError> {
        // In place already, where taking over was cut.
        let kept = if self.copy.exists() { &self.copy } else { &self.ledger };
        let (_, oldest_reader) = SqliteLedger::readers(kept).map_err(|error| self.broken(kept)(&error))?;
        Ok(release.schema().0 >= oldest_reader)
    }

    /// The copy becomes the ledger. A cut anywhere leaves `trial.kept`, with which the next life goes on.
    fn take_over(&self, release: &Release) -> Result<(), TrialError> {
        let broken = |error: io::Error| self.broken(&self.ledger)(&error);
        if self.copy.exists() {
            // What stands in the copy's log must be in the copy itself before it gets another name.
            let mut copy = SqliteLedger::open_as(&self.copy, release.migrations).map_err(|error| self.broken(&self.copy)(&error))?;
            copy.close().map_err(|error| self.broken(&self.copy)(&error))?;
            drop(copy);
            for snapshot in durable::beside(&self.copy, ".before-").map_err(broken)? {
                durable::rename(&snapshot, &renamed(&snapshot, &self.copy, &self.ledger)).map_err(broken)?;
            }
            // The log of what the ledger was must not be played into what it becomes.
            for suffix in ["-wal", "-shm"] {
                durable::remove(&durable::with_suffix(&self.ledger, suffix)).map_err(broken)?;
            }
            durable::rename(&self.copy, &self.ledger).map_err(broken)?;
        }
        // A trial that did not end well has none; that of the life before it speaks of another instance, and counts for nothing.
        if self.flag.exists() {
            durable::rename(&self.flag, &self.marker).map_err(broken)?;
        }
        self.remove_copy()?;
        durable::remove(&self.kept).map_err(broken)
    }

    fn remove_copy(&self) -> Result<(), TrialError> {
        let broken = |error: io::Error| self.broken(&self.copy)(&error);
        durable::beside(&self.copy, "").map_err(broken)?.iter().try_for_each(|path| durable::remove(path).map_err(broken))
    }

    fn broken(&self, path: &Path) -> impl FnOnce(&dyn std::fmt::Display) -> TrialError {
        let path = path.display().to_string();
        move |reason| TrialError::Broken { path, reason: reason.to_string() }
    }
}

/// `path`, which begins with `from`, beginning with `to` instead.
fn renamed(path: &Path, from: &Path, to: &Path) -> PathBuf {
    let (path, from) = (path.to_string_lossy(), from.to_string_lossy());
    durable::with_suffix(to, path.strip_prefix(&*from).unwrap_or_default())
}

#[cfg(test)]
mod tests;
