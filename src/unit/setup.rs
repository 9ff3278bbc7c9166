//! Puts a service in place and takes it away: the program into its tree, the unit's files where the manager looks, and the manager told.
//!
//! What would change is shown before it does; whether it may is asked by whoever calls.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use semver::Version;
use similar::TextDiff;

use super::{Scope, Unit};
use crate::config::Surroundings;
use crate::install::{InstallError, Layout};
use crate::update::journal::{Journal, JournalError};

/// The service's name.
pub const NAME: &str = "switchboard.service";
/// The name of its socket's unit.
pub const SOCKET: &str = "switchboard.socket";

/// A file that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub path: PathBuf,
    /// What it shall say.
    pub text: String,
}

/// What is between a file that is and one that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is none.
    New,
    /// It says the same.
    None,
    /// It says something else: the difference, as `diff -u` shows it.
    Changed(String),
}

/// The service could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The program's place.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// Whoever updates the programs.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Which program is the current one is not settled.
    #[error("an update from {from} to {to} is not over; `{program} update` finishes or undoes it. Then run this again")]
    Updating {
        /// The version before it.
        from: Version,
        /// The version that it is to.
        to: Version,
        /// Who goes on with it.
        program: String,
    },
    /// A unit's file.
    #[error("{path}: {source}. {}", if *.denied { "Run this as root, or with --user for a service of your own" } else { "Make it writable" })]
    File {
        /// It.
        path: String,
        /// Whether it is not ours to write.
        denied: bool,
        /// Why.
        source: io::Error,
    },
    /// The manager.
    #[error("systemctl {command}: {reason}")]
    Manager {
        /// What was asked of it.
        command: String,
        /// What it said.
        reason: String,
    },
}

impl Wanted {
    /// Compares it with what is there.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn difference(&self) -> Result<Difference, SetupError> {
        match fs::read_to_string(&self.path) {
            Ok(text) if text == self.text => Ok(Difference::None),
            Ok(text) => {
                let (old, new) = (format!("{} (is)", self.path.display()), format!("{} (is to be)", self.path.display()));
                Ok(Difference::Changed(TextDiff::from_lines(&text, &self.text).unified_diff().header(&old, &new).to_string()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Difference::New),
            Err(error) => Err(unusable(&self.path, error)),
        }
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<(), SetupError> {
        let write = || -> io::Result<()> {
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder)?;
            let beside = self.path.with_extension("new");
            fs::write(&beside, &self.text)?;
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o644))?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(|error| unusable(&self.path, error))
    }
}

fn unusable(path: &Path, source: io::Error) -> SetupError {
    SetupError::File { path: path.display().to_string(), denied: source.kind() == io::ErrorKind::PermissionDenied, source }
}

/// The folder of units that an administrator, or a user, writes; none for a user without a home.
pub fn unit_folder(scope: Scope, around: &Surroundings) -> Option<PathBuf> {
    let path = |name: &str| around.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match scope {
        Scope::System => Some("/etc/systemd/system".into()),
        Scope::User => Some(path("XDG_CONFIG_HOME").or_else(|| Some(path("HOME")?.join(".config")))?.join("systemd/user")),
    }
}

/// The manager's version; none where there is none.
pub fn manager_version() -> Option<u32> {
    let output = Command::new("systemctl").arg("--version").stdin(Stdio::null()).output().ok()?;
    version(&String::from_utf8_lossy(&output.stdout))
}

/// From `systemd 252 (252.38-1~deb12u1)`.
fn version(text: &str) -> Option<u32> {
    text.split_whitespace().nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether this user's services run without a login (loginctl(1), enable-linger).
pub fn lingers(user: &str) -> bool {
    Path::new("/var/lib/systemd/linger").join(user).exists()
}

/// Puts the running program into the tree as `version`, unless it is there, and makes it the current one; but never in place of a newer one: only
/// an update knows whether there is a way back. What was done, in words.
///
/// # Errors
/// When the tree cannot be written, or an update is not over.
pub fn put_program(layout: &Layout, program: &Path, version: &str) -> Result<String, SetupError> {
    let journal = Journal::open(layout.made()?.root())?;
    if let Some(entry) = journal.read()? {
        let (plan, program) = (entry.update.plan, layout.current_program().display().to_string());
        return Err(SetupError::Updating { from: plan.from, to: plan.to, program });
    }
    let number = |version: &str| version.parse::<Version>().ok();
    if let Some(current) = layout.current().filter(|current| number(current) > number(version)) {
        let update = layout.current_program();
        return Ok(format!(
            "version {current} stays the current one: this is {version}. To go back to it: {} update --to {version}",
            update.display()
        ));
    }
    let installed = layout.program(version);
    let same = fs::canonicalize(program).ok().is_some_and(|program| fs::canonicalize(&installed).ok() == Some(program));
    if !same {
        layout.put(version, program)?;
    }
    if layout.current().as_deref() != Some(version) {
        layout.switch(version)?;
    }
    Ok(if same { format!("{} is the current version", installed.display()) } else { format!("{} was put in place", installed.display()) })
}

impl Unit {
    /// The service of this program.
    pub fn ours(scope: Scope) -> Self {
        Self { name: NAME.into(), scope }
    }

    /// The unit of its socket.
    pub fn socket(&self) -> Self {
        Self { name: SOCKET.into(), scope: self.scope }
    }

    /// Asks its manager for something about it, and waits for that.
    ///
    /// # Errors
    /// What the manager said.
    pub fn order(&self, verb: &str) -> Result<(), SetupError> {
        run(self.scope, &[verb, &self.name])
    }
}

/// Has the manager read its files anew.
///
/// # Errors
/// What the manager said.
pub fn reload_manager(scope: Scope) -> Result<(), SetupError> {
    run(scope, &["daemon-reload"])
}

fn run(scope: Scope, arguments: &[&str]) -> Result<(), SetupError> {
    let failed = |reason: String| SetupError::Manager { command: arguments.join(" "), reason };
    let output = Command::new("systemctl").args(scope.flags()).args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_managers_version_is_its_second_word() {
        let check = |text: &str, expected: Option<u32>| assert_eq!(version(text), expected, "{text:?}");
        check("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT", Some(252));
        check("systemd 257.3-1 (x)", Some(257));
        check("systemd", None);
        check("", None);
    }

    #[test]
    fn a_unit_of_the_operators_is_shown_before_it_is_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wanted = Wanted { path: dir.path().join("a/switchboard.service"), text: "one\ntwo\nthree\n".into() };
        assert_eq!(wanted.difference().expect("readable"), Difference::New);
        wanted.write().expect("writable");
        assert_eq!(wanted.difference().expect("readable"), Difference::None);
        std::fs::write(&wanted.path, "one\n2\nthree\n").expect("writable");
        match wanted.difference().expect("readable") {
            Difference::Changed(shown) => assert!(shown.contains("-2\n+two\n") && shown.contains(" one\n"), "{shown}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_is_put_in_place_once() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (layout, source) = (Layout::at(&dir.path().join("tree")), dir.path().join("switchboard"));
        std::fs::write(&source, "1").expect("writable");
        assert!(put_program(&layout, &source, "1.0").expect("writable").contains("was put in place"));
        assert_eq!(layout.current().as_deref(), Some("1.0"));
        assert!(put_program(&layout, &layout.current_program(), "1.0").expect("writable").contains("is the current version"));
    }

    #[test]
    fn g26_a_service_that_is_installed_again_by_an_older_program_keeps_its_version() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (layout, source) = (Layout::at(&dir.path().join("tree")), dir.path().join("switchboard"));
        std::fs::write(&source, "1").expect("writable");
        let check = |version: &str, expected: &str, current: &str| {
            let said = put_program(&layout, &source, version).unwrap_or_else(|error| error.to_string());
            assert!(said.contains(expected), "{version}: {said}");
            assert_eq!(layout.current().as_deref(), Some(current), "{version}: {said}");
        };
        check("0.9.0", "was put in place", "0.9.0");
        check("0.10.0", "was put in place", "0.10.0");
        check("0.9.0", "version 0.10.0 stays the current one: this is 0.9.0", "0.10.0");
        let updating = Journal::open(layout.root()).expect("nobody updates");
        check("0.11.0", "another `switchboard update`", "0.10.0");
        drop(updating);
        std::fs::write(layout.root().join("update.json"), "{}").expect("writable");
        check("0.11.0", "the journal of an update cannot be understood", "0.10.0");
    }
}
