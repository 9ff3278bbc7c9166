//! The state directory: what stands in it, and that it is ours alone.
//!
//! It holds what people said and what opens the page, so nobody else may look into it.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// An existing directory that only we can enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

/// The directory, or something in it, cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what} ({source}). Make it something that the gateway's user owns and can write, or set state_dir to another directory")]
pub struct Unusable {
    path: String,
    what: &'static str,
    source: io::Error,
}

impl Unusable {
    /// `what` could not be done with `path`.
    pub(crate) fn new(path: &Path, what: &'static str, source: io::Error) -> Self {
        Self { path: path.display().to_string(), what, source }
    }
}

impl StateDir {
    /// Makes the directory if it is missing, and takes away what others may do in it.
    ///
    /// # Errors
    /// When it cannot be made, or belongs to somebody else.
    pub fn open(path: &Path) -> Result<Self, Unusable> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Unusable::new(path, "the state directory cannot be made", error))?;
        let found = std::fs::metadata(path).map_err(|error| Unusable::new(path, "the state directory cannot be read", error))?;
        if found.mode() & 0o077 != 0 {
            // Nobody's home directory, and not /tmp, becomes ours by a slip of the pen.
            if !Self::at(path).is_ours() {
                let found = io::Error::other("others can enter it, and there is something else in it");
                return Err(Unusable::new(path, "the state directory must be the gateway's alone", found));
            }
            std::fs::set_permissions(path, Permissions::from_mode(0o700))
                .map_err(|error| Unusable::new(path, "others can enter the state directory, and that cannot be changed", error))?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Whether it is the gateway's alone: nothing is written anywhere else.
    pub fn is_alone(&self) -> bool {
        std::fs::metadata(&self.0).is_ok_and(|found| found.is_dir() && found.mode() & 0o077 == 0) || self.is_ours()
    }

    /// Whether it belongs to who we are.
    pub fn is_callers(&self) -> bool {
        std::fs::metadata(&self.0).is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw())
    }

    /// Whether nothing is in it, or what a gateway keeps there.
    fn is_ours(&self) -> bool {
        let known = [self.ledger(), self.lock(), self.token(), self.false_starts()];
        let empty = std::fs::read_dir(&self.0).is_ok_and(|mut found| found.next().is_none());
        empty || known.iter().any(|path| path.exists())
    }

    /// Names an existing directory without touching it, for commands beside a running gateway.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The ledger of the SQLite engine.
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger.sqlite3")
    }

    /// The clean-shutdown marker.
    pub fn marker(&self) -> PathBuf {
        self.0.join("clean")
    }

    /// That the present life lasts, or why the last one ended.
    pub fn life(&self) -> PathBuf {
        self.0.join("life")
    }

    /// How the service manager saw the last process end.
    pub fn seen(&self) -> PathBuf {
        self.0.join("seen")
    }

    /// Starts that came to nothing.
    pub fn false_starts(&self) -> PathBuf {
        self.0.join("false-starts")
    }

    /// The instance lock.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The token of the chat.
    pub fn token(&self) -> PathBuf {
        self.0.join("token")
    }

    /// The token of the operator.
    pub fn operate(&self) -> PathBuf {
        self.0.join("operate")
    }

    /// The key of the browsers' logins.
    pub fn cookie_key(&self) -> PathBuf {
        self.0.join("cookie-key")
    }

    /// Browsers whose cookie of an older version was exchanged.
    pub fn exchanged(&self) -> PathBuf {
        self.0.join("exchanged")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_enter() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("deep/state");
        let state = StateDir::open(&path).expect("it can be made");
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").mode() & 0o777;
        assert_eq!(mode(state.path()), 0o700);
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("ours");
        StateDir::open(&path).expect("it can be mended");
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_directory_that_others_use_is_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("shared");
        std::fs::create_dir(&path).expect("writable");
        std::fs::write(path.join("letter.txt"), "of somebody").expect("writable");
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("ours");
        let error = StateDir::open(&path).expect_err("it is somebody else's").to_string();
        assert!(error.contains("something else in it") && error.contains("set state_dir"), "{error}");
        assert_eq!(std::fs::metadata(&path).expect("it is there").mode() & 0o777, 0o755);
        std::fs::write(path.join("lock"), "").expect("writable");
        StateDir::open(&path).expect("a gateway has lived here");
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("state");
        std::fs::write(&path, "").expect("writable");
        let error = StateDir::open(&path).expect_err("a file is no directory").to_string();
        assert!(error.contains("state: the state directory cannot be made") && error.contains("set state_dir"), "{error}");
    }
}
