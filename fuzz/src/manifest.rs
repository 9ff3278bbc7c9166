//! The target of what an update reads, for the fuzzer and for `tests/daemon/fuzzing.rs`: a release's manifest, and the journal of an update that was cut.

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use switchboard::install::Layout;
use switchboard::update::journal::Journal;
use switchboard::update::machine::{Effect, Event, Update};
use switchboard::update::manifest::Manifest;
use tempfile::TempDir;

/// More steps than an update has, tried again and undone.
const MOST_STEPS: usize = 20;
/// Until the year 10000, which RFC 3339 has no words for.
const NEVER: Duration = Duration::from_secs(253_402_300_800);

/// A manifest whose signature is good (the first byte is even), or a journal: it is refused or understood, and one that is cut short is refused. No
/// version in it, and no name of a program, leads out of its folder; and an update comes to an end from wherever its journal says that it is.
pub(crate) fn one_manifest(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    if which % 2 == 0 { one_release(bytes) } else { one_journal(bytes) }
}

fn one_release(bytes: &[u8]) {
    let Ok(manifest) = Manifest::believed("here", bytes) else { return };
    assert!(Manifest::believed("here", torn(bytes)).is_err(), "{}", torn(bytes).escape_ascii());
    stays_in_its_folder(&manifest.version.to_string());
    for artifact in &manifest.artifacts {
        assert!(artifact.address().is_some() || stays_below(&artifact.url), "{artifact:?}");
        assert!(is_plain_name(&artifact.sha256), "{artifact:?}");
    }
    let stale = manifest.is_fresh("here", UNIX_EPOCH + NEVER).expect_err("no moment is so late");
    assert!(stale.to_string().contains("--expired"), "{stale}");
    if let Err(error) = manifest.artifact("here") {
        assert!(!error.to_string().is_empty());
    }
}

thread_local! {
    /// A directory and its journal, one per thread (a fuzzer has one, a test binary many), and open for good: a process that another test starts holds
    /// our descriptors until it is executed, and with them a lock that we would have let go of.
    static JOURNAL: (PathBuf, Journal) = {
        static PLACE: OnceLock<TempDir> = OnceLock::new();
        let place = PLACE.get_or_init(|| {
            let memory = Path::new("/dev/shm");
            if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a temporary directory")
        });
        let root = place.path().join(format!("{:?}", std::thread::current().id()));
        std::fs::create_dir_all(&root).expect("a temporary directory");
        let journal = Journal::open(&root).expect("nobody else is in it");
        (root, journal)
    };
}

fn one_journal(bytes: &[u8]) {
    JOURNAL.with(|(root, journal)| one_journal_in(root, journal, bytes));
}

fn one_journal_in(root: &Path, journal: &Journal, bytes: &[u8]) {
    let write = |bytes: &[u8]| std::fs::write(root.join("update.json"), bytes).expect("a temporary file");
    write(bytes);
    let Ok(Some(entry)) = journal.read() else { return };
    write(torn(bytes));
    assert!(journal.read().is_err(), "{}", torn(bytes).escape_ascii());
    journal.write(&entry).expect("a temporary file");
    let again = journal.read().expect("readable").expect("it was just written");
    assert_eq!((&again.update, again.limits), (&entry.update, entry.limits));
    stays_in_its_folder(&entry.update.plan.from.to_string());
    stays_in_its_folder(&entry.update.plan.to.to_string());
    assert!(!entry.subject.in_words().is_empty() && !entry.subject.by_hand(&Layout::at(root)).is_empty());
    comes_to_an_end(entry.update.clone(), &Event::Done);
    comes_to_an_end(entry.update, &Event::Failed("it is broken".into()));
}

/// Where everything that is tried works, or nothing does.
fn comes_to_an_end(mut update: Update, always: &Event) {
    let mut effects = update.step(Event::Go);
    for _ in 0..MOST_STEPS {
        if matches!(effects.last(), Some(Effect::Report(_) | Effect::Stuck(_))) {
            return;
        }
        effects = update.step(always.clone());
    }
    panic!("it never ends: {update:?}");
}

/// Without its last byte.
fn torn(text: &[u8]) -> &[u8] {
    text.trim_ascii_end().split_last().map_or(&[], |(_, rest)| rest)
}

fn stays_in_its_folder(version: &str) {
    assert!(is_plain_name(version), "{version:?}");
    assert_eq!(Layout::at(Path::new("/tree")).program(version).parent(), Some(Path::new("/tree/versions").join(version).as_path()));
}

/// Whether it names something in the directory where it is looked for, seen by everybody.
fn is_plain_name(name: &str) -> bool {
    !name.starts_with('.') && stays_below(name) && Path::new(name).components().count() == 1
}

fn stays_below(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
