//! Where programs are installed: every version in a directory of its own, and a link to the current one.
//!
//! ```text
//! /opt/switchboard/                 for a user: $XDG_DATA_HOME/switchboard
//!   versions/0.1.0/switchboard
//!   versions/0.2.0/switchboard
//!   current -> versions/0.2.0
//! ```
//!
//! A version is there whole or not at all, and the link always leads to one that is there, wherever a change is cut. Nothing here fetches,
//! verifies or starts a program.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::account::way::Way;
use crate::config::Surroundings;
use crate::unit::Scope;

/// The program's name, in every version.
const PROGRAM: &str = "switchboard";
/// The system's place.
const SYSTEM: &str = "/opt/switchboard";
const VERSIONS: &str = "versions";
const CURRENT: &str = "current";
/// Of its directories and programs: the gateway's user goes through them and runs them, and only their owner writes.
const MODE: u32 = 0o755;

/// A tree of installed versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(PathBuf);

/// Something in the tree cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what} ({source})")]
pub struct InstallError {
    path: String,
    what: &'static str,
    source: io::Error,
}

fn broken(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> InstallError {
    move |source| InstallError { path: path.display().to_string(), what, source }
}

impl Layout {
    /// The tree of the system, or of the user; none for a user without a home.
    pub fn of(scope: Scope, around: &Surroundings) -> Option<Self> {
        let path = |name: &str| around.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        match scope {
            Scope::System => Some(Self(SYSTEM.into())),
            Scope::User => Some(Self(path("XDG_DATA_HOME").or_else(|| Some(path("HOME")?.join(".local/share")))?.join(PROGRAM))),
        }
    }

    /// The tree at `root`.
    pub fn at(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The tree that holds this program, and the program's version; none when it is not installed in one. Links are followed.
    pub fn holding(program: &Path) -> Option<(Self, String)> {
        let program = fs::canonicalize(program).ok()?;
        let version = program.parent()?;
        let versions = version.parent()?;
        let named = program.file_name()? == PROGRAM && versions.file_name()? == VERSIONS;
        named.then_some((Self(versions.parent()?.to_owned()), version.file_name()?.to_str()?.to_owned()))
    }

    /// Whether this program is one of its versions.
    pub fn holds(&self, program: &Path) -> bool {
        Self::holding(program).is_some_and(|(its, _)| fs::canonicalize(&self.0).is_ok_and(|root| root == its.0))
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Itself, with its root made if it is missing, and nobody else's to write.
    ///
    /// # Errors
    /// When it cannot be made, or others can write there.
    pub fn made(&self) -> Result<&Self, InstallError> {
        make(&self.0)?;
        self.trusted()
    }

    /// Itself, if nobody else can put another program into it: for root neither below nor on the way there.
    ///
    /// # Errors
    /// When somebody can, and where.
    pub fn trusted(&self) -> Result<&Self, InstallError> {
        let open = |path: &Path| {
            broken(path, "others can write there, and could put another program in its place")(io::Error::other(format!(
                "`chmod go-w {}` ends that; look what is there before you go on",
                path.display()
            )))
        };
        if Account::of_caller().is_root() {
            let way = Way::to(&self.0).map_err(broken(&self.0, "the way there cannot be looked at"))?;
            if let Some(place) = way.open_to_others() {
                return Err(open(place));
            }
        }
        let versions = self.0.join(VERSIONS);
        let all = self.versions().into_iter().flat_map(|version| [versions.join(&version), self.program(&version)]);
        let is_open = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink() && !is_closed(&found));
        match [self.0.clone(), versions.clone()].into_iter().chain(all).find(is_open) {
            Some(path) => Err(open(&path)),
            None => Ok(self),
        }
    }

    /// Where a version's program is, or would be.
    pub fn program(&self, version: &str) -> PathBuf {
        self.0.join(VERSIONS).join(version).join(PROGRAM)
    }

    /// The current program, by the path that survives an update: what a unit starts.
    pub fn current_program(&self) -> PathBuf {
        self.0.join(CURRENT).join(PROGRAM)
    }

    /// The version that the link leads to; none when there is none, or it leads elsewhere.
    pub fn current(&self) -> Option<String> {
        let (layout, version) = Self::holding(&self.current_program())?;
        (fs::canonicalize(&self.0).ok()? == layout.0).then_some(version)
    }

    /// Every version that is there, in no order.
    pub fn versions(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join(VERSIONS)) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| is_version(name) && self.program(name).is_file()).collect()
    }

    /// Puts a program there as this version. One of the same name is replaced.
    ///
    /// # Errors
    /// When the name is none for a version, or the disk refuses.
    pub fn put(&self, version: &str, program: &Path) -> Result<PathBuf, InstallError> {
        if !is_version(version) {
            return Err(broken(Path::new(version), "this cannot be the name of a version")(io::ErrorKind::InvalidInput.into()));
        }
        let target = self.program(version);
        let directory = self.0.join(VERSIONS).join(version);
        make(&self.0)?;
        make(&self.0.join(VERSIONS))?;
        make(&directory)?;
        self.trusted()?;
        let beside = directory.join(".new");
        let copy = || -> io::Result<()> {
            // Left by one that was cut.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            io::copy(&mut File::open(program)?, &mut file)?;
            file.set_permissions(Permissions::from_mode(MODE))?;
            file.sync_all()?;
            fs::rename(&beside, &target)?;
            [&directory, &self.0.join(VERSIONS), &self.0].into_iter().try_for_each(|directory| File::open(directory)?.sync_all())
        };
        copy().map_err(|error| {
            // On a full disk half a program would only be in the way; what cannot be removed is no version either.
            _ = fs::remove_file(&beside);
            _ = fs::remove_dir(&directory);
            broken(&target, "the program cannot be put there")(error)
        })?;
        Ok(target)
    }

    /// Makes a version that is there the current one. The link leads to the old or the new one at every moment.
    ///
    /// # Errors
    /// When the version is not there, or the disk refuses.
    pub fn switch(&self, version: &str) -> Result<(), InstallError> {
        let program = self.program(version);
        if !is_version(version) || !program.is_file() {
            return Err(broken(&program, "there is no such version")(io::ErrorKind::NotFound.into()));
        }
        let (link, beside) = (self.0.join(CURRENT), self.0.join(".current.new"));
        let swap = || -> io::Result<()> {
            if self.current().as_deref() == Some(version) {
                return File::open(&self.0)?.sync_all(); // by a switch that was cut, perhaps
            }
            _ = fs::remove_file(&beside); // left by a switch that was cut
            symlink(Path::new(VERSIONS).join(version), &beside)?;
            fs::rename(&beside, &link)?;
            File::open(&self.0)?.sync_all()
        };
        swap().map_err(broken(&link, "the link cannot be made"))
    }

    /// Removes a version. The current one stays.
    ///
    /// # Errors
    /// When it is the current one, or the disk refuses.
    pub fn remove(&self, version: &str) -> Result<(), InstallError> {
        let directory = self.0.join(VERSIONS).join(version);
        if !is_version(version) || self.current().as_deref() == Some(version) {
            return Err(broken(&directory, "the current version stays")(io::ErrorKind::InvalidInput.into()));
        }
        fs::remove_dir_all(&directory).map_err(broken(&directory, "the version cannot be removed"))
    }
}

/// Makes a directory that others can go through and nobody else can write, whatever this process takes away from modes; one that is there stays as
/// it is.
fn make(directory: &Path) -> Result<(), InstallError> {
    let failed = |error| broken(directory, "the directory cannot be made")(error);
    let made = match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(directory.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
            DirBuilder::new().mode(0o700).create(directory)
        }
        made => made,
    };
    match made {
        Ok(()) => fs::set_permissions(directory, Permissions::from_mode(MODE)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Whether only we, or root, can write there.
fn is_closed(found: &fs::Metadata) -> bool {
    [0, Account::of_caller().uid].contains(&found.uid()) && found.mode() & 0o022 == 0
}

/// Whether a text can name a version: letters, digits and `.+-_`, no dot in front.
pub fn is_version(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-_".contains(c);
    !text.is_empty() && text.len() <= 64 && !text.starts_with('.') && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g26_the_link_leads_to_a_version_that_is_there_at_every_moment() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (root, source) = (dir.path().join("tree"), dir.path().join("binary"));
        let layout = Layout::at(&root);
        assert_eq!((layout.current(), layout.versions()), (None, Vec::new()));
        assert!(layout.switch("1.0").is_err(), "there is none");
        std::fs::write(&source, "one").expect("writable");
        layout.put("1.0", &source).expect("writable");
        assert_eq!(layout.current(), None, "it is not the current one by being there");
        layout.switch("1.0").expect("it is there");
        std::fs::write(&source, "two").expect("writable");
        let put = layout.put("1.1-rc.1", &source).expect("writable");
        assert_eq!(put, root.join("versions/1.1-rc.1/switchboard"));
        assert_eq!(std::fs::metadata(&put).expect("there").permissions().mode() & 0o777, 0o755);
        // A switch that was cut left its link behind.
        symlink("nowhere", root.join(".current.new")).expect("writable");
        layout.switch("1.1-rc.1").expect("it is there");
        assert_eq!(layout.current().as_deref(), Some("1.1-rc.1"));
        assert_eq!(std::fs::read(layout.current_program()).expect("there"), b"two");
        assert!(layout.remove("1.1-rc.1").is_err(), "the current one stays");
        layout.remove("1.0").expect("it is there");
        assert_eq!(layout.versions(), ["1.1-rc.1"]);
    }

    #[test]
    fn g40_a_tree_that_others_can_write_is_refused_with_the_place() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let source = dir.path().join("switchboard");
        std::fs::write(&source, "").expect("writable");
        let layout = Layout::at(&fs::canonicalize(dir.path()).expect("there").join("tree"));
        layout.put("2.0", &source).expect("writable");
        layout.trusted().expect("only ours");
        let places = [layout.root().to_owned(), layout.root().join("versions"), layout.root().join("versions/2.0"), layout.program("2.0")];
        for (place, mode) in places.iter().flat_map(|place| [0o777, 0o775, 0o757].map(|mode| (place, mode))) {
            std::fs::set_permissions(place, Permissions::from_mode(mode)).expect("ours");
            let error = layout.trusted().expect_err("others can write there").to_string();
            assert!(error.contains(&format!("`chmod go-w {}`", place.display())), "{error}");
            assert!(layout.put("2.1", &source).is_err(), "{}", place.display());
            std::fs::set_permissions(place, Permissions::from_mode(0o755)).expect("ours");
        }
        if Account::of_caller().is_root() {
            std::os::unix::fs::chown(layout.program("2.0"), Some(65532), None).expect("root");
            assert!(layout.trusted().is_err(), "it is another user's");
            std::os::unix::fs::chown(dir.path(), Some(65532), None).expect("root");
            assert!(layout.trusted().is_err(), "another user can put another tree there");
        }
    }

    #[test]
    fn an_installed_program_knows_its_tree() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = fs::canonicalize(dir.path()).expect("there").join("tree");
        let source = dir.path().join("switchboard");
        std::fs::write(&source, "").expect("writable");
        let layout = Layout::at(&root);
        layout.put("2.0", &source).expect("writable");
        layout.switch("2.0").expect("it is there");
        let expected = Some((layout.clone(), "2.0".to_owned()));
        assert_eq!(Layout::holding(&layout.current_program()), expected, "through the link");
        assert_eq!(Layout::holding(&layout.program("2.0")), expected);
        assert_eq!(Layout::holding(&source), None);
        assert_eq!(Layout::holding(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_version_is_no_path() {
        for (text, expected) in [("0.1.0", true), ("1.0.0-rc.1+b_2", true), ("", false), ("..", false), ("a/b", false), (".new", false)] {
            assert_eq!(is_version(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_user_has_a_tree_of_their_own() {
        let check = |scope, variables: &[(&str, &str)], expected: Option<&str>| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(Layout::of(scope, &Surroundings { variables, looks_only: false }), expected.map(|root| Layout::at(Path::new(root))));
        };
        check(Scope::System, &[], Some("/opt/switchboard"));
        check(Scope::User, &[("HOME", "/h")], Some("/h/.local/share/switchboard"));
        check(Scope::User, &[("HOME", "/h"), ("XDG_DATA_HOME", "/d")], Some("/d/switchboard"));
        check(Scope::User, &[], None);
    }
}
