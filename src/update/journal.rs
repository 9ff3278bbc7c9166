//! The journal of an update: one file beside the versions, and the lock of whoever updates.
//!
//! It is written before every step and is whole or not there. While it is there, an update is not over. It says all that the next run needs to
//! finish or undo it as it was begun, whatever that run is told; so it may hold secrets of the gateway's environment, and is for its owner alone.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::machine::Update;
use super::subject::Subject;
use crate::durable;
use crate::lock::{self, Owner};
use crate::restart::proof::Limits;

/// Where an update under way is written down.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Held by the kernel for as long as we live, so that two updates never meet.
    _lock: File,
}

/// What is written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Where the update stands.
    pub update: Update,
    /// Whom it is about.
    pub subject: Subject,
    /// How long its versions may take, and have to stay.
    pub limits: Limits,
}

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another update is under way.
    #[error(
        "another `switchboard update`{} is at work in {root}; wait for it to end",
        .owner.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default()
    )]
    Held {
        /// The tree of versions.
        root: String,
        /// Whose it is; unknown for the moment between its lock and its word.
        owner: Option<Owner>,
    },
    /// Its file says nothing that this version understands.
    #[error(
        "{path}: the journal of an update cannot be understood ({reason}). Another version wrote it, newer or older: run that version's `update`"
    )]
    Strange {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The disk refuses.
    #[error(
        "{path}: {source}. {}",
        if source.kind() == ErrorKind::PermissionDenied { "Run this as whoever installed the versions, usually root" } else { "Make room there, or mend the disk" }
    )]
    Broken {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Journal {
    /// Opens the journal of the tree at `root`, and keeps every other update out.
    ///
    /// # Errors
    /// When another update is under way, or the directory cannot be written.
    pub fn open(root: &Path) -> Result<Self, JournalError> {
        let (path, lock) = (root.join("update.json"), root.join("update.lock"));
        let broken = |source| JournalError::Broken { path: lock.display().to_string(), source };
        match lock::take(&lock) {
            Ok(file) => Ok(Self { path, _lock: file }),
            Err(lock::NotTaken::Held(owner)) => Err(JournalError::Held { root: root.display().to_string(), owner }),
            Err(lock::NotTaken::Broken(_, source)) => Err(broken(source)),
        }
    }

    /// The update that is not over, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn read(&self) -> Result<Option<Entry>, JournalError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.broken(error)),
        };
        let strange = |error: serde_json::Error| JournalError::Strange { path: self.path.display().to_string(), reason: error.to_string() };
        serde_json::from_str(&text).map(Some).map_err(strange)
    }

    /// Writes where the update stands, durably.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, entry: &Entry) -> Result<(), JournalError> {
        let text = serde_json::to_string_pretty(entry).expect("an update is plain data");
        durable::write(&self.path, text.as_bytes()).map_err(|error| self.broken(error))
    }

    /// The update is over.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget(&self) -> Result<(), JournalError> {
        durable::remove(&self.path).map_err(|error| self.broken(error))
    }

    fn broken(&self, source: io::Error) -> JournalError {
        JournalError::Broken { path: self.path.display().to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use semver::Version;

    use super::super::machine::{Before, Change, Plan};
    use super::*;
    use crate::config::{Config, Surroundings};
    use crate::control::client::Sockets;

    #[test]
    fn a_journal_is_whole_or_not_there_and_has_one_owner() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let journal = Journal::open(dir.path()).expect("free");
        let held = Journal::open(dir.path()).expect_err("held").to_string();
        assert!(held.contains(&format!("(pid {}, since ", std::process::id())), "{held}");
        assert!(journal.read().expect("readable").is_none());
        let plan = Plan { from: Version::new(1, 0, 0), to: Version::new(1, 1, 0), change: Change::Readable, before: Before::Well };
        let config = Config::load(None, &Surroundings { variables: [("HOME".to_owned(), "/h".to_owned())].into(), looks_only: true });
        let subject = Subject::resting(&config.expect("defaults"), &Sockets(Vec::new()));
        let limits = Limits { leave: Duration::ZERO, start: Duration::from_secs(60), dwell: Duration::from_millis(1500) };
        let entry = Entry { update: Update::new(plan), subject, limits };
        // A write that was cut.
        std::fs::write(dir.path().join("update.json.new"), "{").expect("writable");
        journal.write(&entry).expect("writable");
        let read = journal.read().expect("readable").expect("written");
        assert_eq!((read.update, read.limits), (entry.update, limits));
        journal.forget().expect("writable");
        journal.forget().expect("gone already");
        assert!(journal.read().expect("readable").is_none());
        std::fs::write(dir.path().join("update.json"), "{\"plan\":1}").expect("writable");
        assert!(journal.read().expect_err("no update").to_string().contains("run that version's"));
        drop(journal);
        Journal::open(dir.path()).expect("free again");
    }
}
