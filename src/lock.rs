//! The instance lock: one gateway per state directory.
//!
//! The kernel holds it, so that it ends with its process, however that ends: a dead owner never blocks a start, and a recycled
//! pid means nothing. What is written into the file is for the message only.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use serde::{Deserialize, Serialize};

use crate::state_dir::{StateDir, Unusable};
use crate::utc;

/// Held as long as it lives.
#[derive(Debug)]
pub struct InstanceLock(File);

/// Who holds a lock, as it said itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// When it took the lock, in seconds since 1970.
    pub since: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, since {}", self.pid, utc::in_words(Duration::from_secs(self.since)))
    }
}

/// The lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another gateway lives on this state directory.
    #[error(
        "another gateway{} uses the state directory {dir}. Stop it (`switchboard stop`), or give this one a state_dir of its own",
        .owner.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default()
    )]
    Held {
        /// The directory.
        dir: String,
        /// The other one; unknown for the moment between its lock and its word.
        owner: Option<Owner>,
    },
    /// The lock's file cannot be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// The longest word of whose a lock is.
const OWNER_MOST: u64 = 4096;

impl InstanceLock {
    /// A lock that the image before held and handed over: it is held still.
    pub fn adopt(fd: std::os::fd::OwnedFd) -> Self {
        Self(File::from(fd))
    }

    /// Whether this is the lock of this directory.
    pub fn is_of(&self, dir: &StateDir) -> bool {
        let id = |found: io::Result<std::fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
        id(self.0.metadata()).is_some_and(|held| id(std::fs::metadata(dir.lock())) == Some(held))
    }

    /// The process that lives on this directory, as far as we may know; none when it is gone, whatever the file still says.
    pub fn holder(dir: &StateDir) -> Option<u32> {
        let id = |found: std::fs::Metadata| (found.dev(), found.ino());
        // Root asks, too, and whoever owns the directory must not have it wait for a pipe, or read without end.
        let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(dir.lock()).ok()?;
        let lock = id(file.metadata().ok().filter(std::fs::Metadata::is_file)?);
        let mut text = String::new();
        file.take(OWNER_MOST).read_to_string(&mut text).ok()?;
        let owner: Owner = serde_json::from_str(&text).ok()?;
        // Not by taking it for a moment: a start that comes just then would find it held.
        let mut open = std::fs::read_dir(format!("/proc/{}/fd", owner.pid)).ok()?.flatten();
        open.any(|entry| std::fs::metadata(entry.path()).ok().map(id) == Some(lock)).then_some(owner.pid)
    }

    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// When a live process has it, or the file cannot be made.
    pub fn take(dir: &StateDir) -> Result<Self, LockError> {
        let path = dir.lock();
        match take(&path) {
            Ok(file) => Ok(Self(file)),
            Err(NotTaken::Held(owner)) => Err(LockError::Held { dir: dir.path().display().to_string(), owner }),
            Err(NotTaken::Broken(what, source)) => Err(Unusable::new(&path, what, source).into()),
        }
    }
}

/// Why a lock is not ours.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// A live process has it; who, if it has said so yet.
    Held(Option<Owner>),
    /// What could not be done with its file.
    Broken(&'static str, io::Error),
}

/// Takes the lock that is this file, and says in it whose it is.
pub(crate) fn take(path: &Path) -> Result<File, NotTaken> {
    let broken = |what: &'static str| move |error: io::Error| NotTaken::Broken(what, error);
    // Whoever owns the directory must not have root write somewhere else.
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(O_NOFOLLOW).open(path);
    let mut file = opened.map_err(broken("the lock cannot be opened"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            return Err(NotTaken::Held(file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok())));
        }
        Err(TryLockError::Error(error)) => return Err(broken("the lock cannot be taken")(error)),
    }
    let owner = Owner { pid: std::process::id(), since: now() };
    let text = serde_json::to_string(&owner).expect("two numbers are JSON");
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
    written.map_err(broken("the lock cannot be written"))?;
    Ok(file)
}

/// For a restart in place, which hands the lock to the next image.
impl AsFd for InstanceLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g22_a_live_owner_is_named_and_a_gone_one_blocks_nobody() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        let held = InstanceLock::take(&state).expect("free");
        let error = InstanceLock::take(&state).expect_err("held").to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())) && error.contains("switchboard stop"), "{error}");
        drop(held);
        InstanceLock::take(&state).expect("free again, whatever the file says");
    }

    #[test]
    fn g22_a_lock_that_was_handed_over_is_known_by_its_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let (one, two) = (StateDir::open(&one).expect("ours"), StateDir::open(&two).expect("ours"));
        let lock = InstanceLock::take(&one).expect("free");
        assert!(lock.is_of(&one) && !lock.is_of(&two));
        let _other = InstanceLock::take(&two).expect("free");
        assert!(!lock.is_of(&two));
    }

    #[test]
    fn a_link_in_the_place_of_a_lock_is_not_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (state, victim) = (StateDir::open(&dir.path().join("state")).expect("ours"), dir.path().join("victim"));
        std::fs::write(&victim, "secret").expect("writable");
        std::os::unix::fs::symlink(&victim, state.lock()).expect("writable");
        assert!(matches!(InstanceLock::take(&state), Err(LockError::Unusable(_))));
        assert_eq!(std::fs::read(&victim).expect("readable"), b"secret");
    }

    #[test]
    fn g40_a_pipe_or_a_link_in_the_place_of_a_lock_holds_up_nobody_who_asks_for_its_owner() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(&dir.path().join("state")).expect("ours");
        let made = std::process::Command::new("mkfifo").arg(state.lock()).status().expect("it is everywhere");
        assert!(made.success());
        assert_eq!(InstanceLock::holder(&state), None);
        std::fs::remove_file(state.lock()).expect("ours");
        let other = StateDir::open(&dir.path().join("other")).expect("ours");
        let _held = InstanceLock::take(&other).expect("free");
        std::os::unix::fs::symlink(other.lock(), state.lock()).expect("writable");
        assert_eq!((InstanceLock::holder(&state), InstanceLock::holder(&other)), (None, Some(std::process::id())));
    }

    #[test]
    fn g22_a_live_owner_that_says_an_absurd_time_is_named_all_the_same() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        let _held = InstanceLock::take(&state).expect("free");
        std::fs::write(state.lock(), format!(r#"{{"pid":7,"since":{}}}"#, u64::MAX)).expect("writable");
        let error = InstanceLock::take(&state).expect_err("held").to_string();
        assert!(error.contains("(pid 7, since 9999-12-31T23:59:59Z)"), "{error}");
    }

    #[test]
    fn a_lock_that_says_nothing_is_still_held() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        let _held = InstanceLock::take(&state).expect("free");
        std::fs::write(state.lock(), "torn{").expect("writable");
        assert!(matches!(InstanceLock::take(&state), Err(LockError::Held { owner: None, .. })));
    }
}
