//! The look before the leap: the new version checks the configuration and a copy of the ledger, and says who can read what it made of that; the old one
//! has to find the same. Nothing that is in use is touched.

use std::path::{Path, PathBuf};
use std::process::Command;

use semver::Version;
use switchboard_actors::ledger::sqlite::SqliteLedger;

use super::machine::Change;
use super::manifest::Manifest;
use crate::child::{self, Printed};
use crate::durable;
use crate::exit::Exit;
use crate::install::Layout;
use crate::state_dir::StateDir;

/// Beside copies of a ledger: what their migration writes down on the way.
const AIR: u64 = 512 << 10;
/// The copy's name.
const COPY: &str = "ledger.check.sqlite3";

/// What a program says of itself: `switchboard 0.2.0 (ledger schema 4, oldest reader 2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Which version it is.
    pub version: Version,
    /// The schema that it makes of a ledger.
    pub schema: u32,
    /// The oldest schema whose programs can read that.
    pub oldest_reader: u32,
}

impl Word {
    /// Asks a program.
    ///
    /// # Errors
    /// When it does not run here, or says nothing that makes sense.
    pub fn of(program: &Path) -> Result<Self, String> {
        let printed = child::run(Command::new(program).arg("--version").env_clear().current_dir("/"), b"")?;
        let text = printed.text();
        let said = text.lines().next().unwrap_or_default();
        Self::read(said).ok_or_else(|| format!("{}: it does not say which version it is, but {said:?}", program.display()))
    }

    fn read(said: &str) -> Option<Self> {
        let (version, rest) = said.strip_prefix("switchboard ")?.split_once(" (ledger schema ")?;
        let (schema, oldest_reader) = rest.strip_suffix(')')?.split_once(", oldest reader ")?;
        Some(Self { version: version.parse().ok()?, schema: schema.parse().ok()?, oldest_reader: oldest_reader.parse().ok()? })
    }
}

/// Whether a program is what its signed manifest says.
///
/// # Errors
/// When it does not run here, or says something else of itself.
pub fn is_as_signed(program: &Path, manifest: &Manifest) -> Result<(), String> {
    let word = Word::of(program)?;
    let Manifest { version, oldest_reader, .. } = manifest;
    if word.version != *version {
        return Err(format!("the program of version {version} says that it is version {}", word.version));
    }
    if word.oldest_reader != *oldest_reader {
        return Err(format!(
            "the manifest says that readers of schema {oldest_reader} and newer can read what version {version} makes of a ledger; \
             the program says schema {}",
            word.oldest_reader
        ));
    }
    Ok(())
}

/// A command of a program, which is to be told more, that sees what the gateway sees.
pub type Sees<'a> = &'a dyn Fn(&Path) -> Command;

/// Lets the new version check everything. What it does to the ledger: by its own word, and by what the old version finds in the copy. Both must say
/// the same, or nobody knows whether there is a way back.
///
/// # Errors
/// When it, or the old one after it, finds something wrong, or they contradict each other; in words.
pub fn examine(layout: &Layout, state: &StateDir, sees: Sees<'_>, from: &Version, to: &Version) -> Result<Change, String> {
    let ledger = state.ledger();
    // The copy and the snapshot of its migration; later the operator's and that of the ledger itself.
    room(&ledger, 2)?;
    let change = compare(layout, state, sees, from, to)?;
    if change == Change::Breaking {
        // The operator's, the trial's and the snapshot of its migration.
        room(&ledger, 3)?;
    }
    Ok(change)
}

/// Refuses where so many copies would fill the disk that the gateway has to write to.
fn room(ledger: &Path, copies: u64) -> Result<(), String> {
    let files = [ledger.to_owned(), durable::with_suffix(ledger, "-wal")];
    let size: u64 = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|found| found.len()).sum();
    let directory = ledger.parent().unwrap_or(Path::new("/"));
    // A disk that does not say how full it is shows it when it is written to.
    let Ok(disk) = rustix::fs::statvfs(directory) else { return Ok(()) };
    let (free, needed) = (disk.f_bavail.saturating_mul(disk.f_frsize), size.saturating_mul(copies).saturating_add(AIR));
    if free >= needed {
        return Ok(());
    }
    let kib = |bytes: u64| format!("{} KiB", bytes.div_ceil(1024));
    Err(format!(
        "the ledger cannot be copied: {} has {} left, and {copies} times the {} of the ledger and {} are needed, to check it and to have a way back. Make room \
         there",
        directory.display(),
        kib(free),
        kib(size),
        kib(AIR)
    ))
}

fn compare(layout: &Layout, state: &StateDir, sees: Sees<'_>, from: &Version, to: &Version) -> Result<Change, String> {
    let program = |version: &Version| layout.program(&version.to_string());
    let check = |version: &Version| {
        let mut command = sees(&program(version));
        command.arg("check");
        command
    };
    if !state.ledger().exists() {
        let printed = child::run(&mut check(to), b"")?;
        return if printed.code == Some(0) { Ok(Change::Readable) } else { Err(objection(to, &printed)) };
    }
    let (old, new) = (Word::of(&program(from))?, Word::of(&program(to))?);
    let copy = Copy::of(&state.ledger(), &state.path().join(COPY))?;
    let printed = child::run(check(to).arg("--ledger").arg(&copy.0).arg("--upgrade"), b"")?;
    if printed.code != Some(0) {
        return Err(objection(to, &printed));
    }
    let made = SqliteLedger::readers(&copy.0).map_err(|error| format!("what version {to} made of a copy of the ledger: {error}"))?;
    let change = word_on(&old, &new, made)?;
    let printed = child::run(check(from).arg("--ledger").arg(&copy.0), b"")?;
    let unreadable = printed.code == Some(i32::from(Exit::State.code()));
    match (change, printed.code) {
        (Change::Readable, Some(0)) => Ok(change),
        (Change::Breaking, _) if unreadable => Ok(change),
        (Change::Readable, _) if unreadable => Err(format!(
            "version {to} says that version {from} can read what it makes of the ledger, and that is not so:\n{}",
            printed.text().trim()
        )),
        (Change::Breaking, Some(0)) => {
            Err(format!("version {to} says that version {from} cannot read what it makes of the ledger, and version {from} reads it"))
        }
        // It could not be gone back to.
        _ => Err(objection(from, &printed)),
    }
}

/// What the versions' own words come to; `made`: the schema of the copy that the new one brought up to date, and its oldest reader.
fn word_on(old: &Word, new: &Word, (schema, oldest_reader): (u32, u32)) -> Result<Change, String> {
    // A ledger of a newer schema is left as it is by a version that can read it.
    if schema < new.schema || (schema == new.schema && oldest_reader != new.oldest_reader) {
        return Err(format!(
            "version {} says that it makes a ledger of schema {} for readers of schema {} and newer; it made schema {schema} for readers of {oldest_reader}",
            new.version, new.schema, new.oldest_reader
        ));
    }
    Ok(if oldest_reader <= old.schema { Change::Readable } else { Change::Breaking })
}

fn objection(version: &Version, printed: &Printed) -> String {
    let code = printed.code.and_then(|code| u8::try_from(code).ok()).map_or_else(|| "was killed".into(), crate::exit::in_words);
    format!("version {version} checked the configuration and a copy of the ledger, and ended with {code}:\n{}", printed.text().trim())
}

/// Removes what a check that was cut has left: a whole copy of what people said. To be asked by whoever keeps other updates out.
pub fn clear(state: &StateDir) {
    drop(Copy(state.path().join(COPY)));
}

/// A copy of the ledger, with all that a check leaves beside it.
struct Copy(PathBuf);

impl Copy {
    fn of(ledger: &Path, path: &Path) -> Result<Self, String> {
        let copy = Self(path.to_owned());
        copy.remove();
        SqliteLedger::copy(ledger, path).map_err(|error| format!("the ledger cannot be copied to be checked: {error}"))?;
        Ok(copy)
    }

    /// What is left after a cut goes with the next update.
    fn remove(&self) {
        let rubbish = durable::beside(&self.0, "").unwrap_or_default();
        rubbish.iter().for_each(|path| _ = std::fs::remove_file(path));
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_what_it_is_as_releases_do() {
        let said = format!("switchboard {}", crate::release::Release::THIS.in_full());
        let (schema, oldest_reader) = crate::release::Release::THIS.schema();
        let version = env!("CARGO_PKG_VERSION").parse().expect("a version");
        assert_eq!(Word::read(&said), Some(Word { version, schema, oldest_reader }), "{said}");
        for nonsense in ["", "switchboard 0.1.0", "switchboard x (ledger schema 1, oldest reader 1)", "switchboard 1.0.0 (ledger schema 1)"]
        {
            assert_eq!(Word::read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn g26_whether_there_is_a_way_back_is_the_oldest_readers_word() {
        let word = |schema, oldest_reader| Word { version: Version::new(1, u64::from(schema), 0), schema, oldest_reader };
        let check = |old: (u32, u32), new: (u32, u32), made: (u32, u32), expected: Option<Change>| {
            assert_eq!(word_on(&word(old.0, old.1), &word(new.0, new.1), made).ok(), expected, "{old:?} {new:?} {made:?}");
        };
        check((3, 2), (3, 2), (3, 2), Some(Change::Readable));
        check((3, 2), (4, 2), (4, 2), Some(Change::Readable));
        check((3, 2), (4, 3), (4, 3), Some(Change::Readable));
        check((3, 2), (4, 4), (4, 4), Some(Change::Breaking));
        // Back: the newer ledger is left as it is.
        check((5, 2), (3, 2), (5, 2), Some(Change::Readable));
        check((5, 4), (4, 4), (5, 4), Some(Change::Readable));
        // Another than it said, and one that was not brought up to date.
        check((3, 2), (4, 2), (4, 4), None);
        check((3, 2), (4, 4), (4, 2), None);
        check((3, 2), (4, 2), (3, 2), None);
    }
}
