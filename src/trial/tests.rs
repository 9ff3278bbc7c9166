//! Lives of two versions on one state directory, cut between any two of their steps.

use std::sync::LazyLock;

use switchboard_actors::clock::Wall;
use switchboard_actors::ids::{ChatId, Seq, SessionKey};
use switchboard_actors::ledger::sqlite::{MIGRATIONS, Migration};
use switchboard_actors::ledger::{Accept, Accepted, Knowledge, Question, Step};

use super::*;

const OLD: Release = Release { version: "1.0.0", migrations: MIGRATIONS };
static NEW: LazyLock<Release> = LazyLock::new(|| {
    let next = Migration { number: next(), oldest_reader: next(), sql: "CREATE TABLE more (id INTEGER PRIMARY KEY, text TEXT)" };
    Release { version: "2.0.0", migrations: MIGRATIONS.iter().copied().chain([next]).collect::<Vec<_>>().leak() }
});

/// The schema of the version to come.
fn next() -> u32 {
    OLD.schema().0 + 1
}

/// The snapshot that is made before it.
fn before() -> String {
    format!(".before-{}", next())
}

struct Home {
    _dir: tempfile::TempDir,
    trial: Trial,
    ledger: PathBuf,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(&dir.path().join("state")).expect("ours");
        Self { trial: Trial::of(&state), ledger: state.ledger(), _dir: dir }
    }

    fn arm(&self) {
        self.trial.arm(&Terms { version: "2.0.0".into(), keep_after_millis: 1000 }).expect("writable");
    }

    /// A life that serves: so many messages are in the ledger then.
    fn serve(&self, release: &Release) -> u64 {
        assert_eq!(self.trial.begin(release).expect("it may begin"), Life::Serving);
        write(&self.ledger, release)
    }

    /// A life on trial, which writes what is lost with it, and is killed.
    fn try_out(&self, release: &Release) -> u64 {
        assert!(matches!(self.trial.begin(release).expect("it may begin"), Life::OnTrial(_)));
        write(self.trial.copy(), release)
    }

    fn refused(&self, release: &Release) -> String {
        self.trial.begin(release).expect_err("it must not begin").to_string()
    }

    /// Everything in the state directory, by name.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.ledger.parent().expect("a directory")).expect("readable");
        let mut names: Vec<String> = entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

/// Opens a ledger, takes one message in, and is cut: nothing is closed but what the drop closes. How many are in it.
fn write(path: &Path, release: &Release) -> u64 {
    let mut ledger = SqliteLedger::open_as(path, release.migrations).expect("it opens");
    let Ok(Knowledge::Facts(facts)) = ledger.ask(&Question::Facts) else { panic!("no facts") };
    let seq = facts.last_seq.0 + 1;
    let session = SessionKey { chat: ChatId::new("web", "room"), member: None };
    let what = Accepted::Message { text: "hello".into() };
    let (account, user, name, delivery) = ("web:1".into(), "alice".into(), "Alice".into(), format!("d{seq}").as_str().into());
    let accept = Accept { seq: Seq(seq), account, delivery, session, user, name, message: None, at: Wall(1), what, answer: Vec::new() };
    ledger.commit(&[Step::Accept(accept)]).expect("writable");
    seq
}

#[test]
fn g26_what_a_trial_does_is_lost_unless_it_is_kept() {
    let home = Home::new();
    assert_eq!(home.serve(&OLD), 1);
    home.arm();
    assert_eq!(home.try_out(&NEW), 2);
    assert_eq!(home.try_out(&NEW), 2, "a second try begins with the ledger as it is");
    assert_eq!(home.trial.undo().expect("writable"), Verdict::Undone);
    assert_eq!(home.trial.keep().expect("writable"), Verdict::Undone, "who is late hears what was decided");
    assert!(home.refused(&NEW).contains("is being undone"));
    assert_eq!(home.serve(&OLD), 2, "the ledger was never touched");
    home.trial.tidy().expect("writable");
    assert_eq!(home.files(), ["ledger.sqlite3"]);
}

#[test]
fn g26_a_trial_that_was_kept_only_goes_forward() {
    let home = Home::new();
    assert_eq!(home.serve(&OLD), 1);
    home.arm();
    assert_eq!(home.try_out(&NEW), 2);
    assert_eq!(home.trial.keep().expect("writable"), Verdict::Kept);
    assert_eq!(home.trial.undo().expect("writable"), Verdict::Kept);
    assert!(home.refused(&OLD).contains("only 2.0.0 may start here"));
    assert!(home.trial.arm(&Terms { version: "3.0.0".into(), keep_after_millis: 1 }).is_err());
    home.trial.tidy().expect("writable");
    assert_eq!(home.serve(&NEW), 3);
    assert_eq!(home.files(), ["ledger.sqlite3".to_owned(), format!("ledger.sqlite3{}", before())]);
    assert_eq!(home.trial.undo().expect("nothing to do"), Verdict::Kept, "too late for good");
    assert!(SqliteLedger::open(&home.ledger).is_err(), "the old version cannot read it");
    assert_eq!(write(&home.ledger.with_file_name(format!("ledger.sqlite3{}", before())), &OLD), 2, "the snapshot is what was before");
}

#[test]
fn g26_another_version_that_serves_ends_the_trial() {
    let home = Home::new();
    home.serve(&OLD);
    home.arm();
    home.try_out(&NEW);
    assert_eq!(home.serve(&OLD), 2);
    assert_eq!(home.trial.verdict(), Verdict::Undone);
    assert!(home.refused(&NEW).contains("is being undone"), "its copy is older than the ledger");
    home.arm();
    assert_eq!(home.try_out(&NEW), 3);
}

#[test]
fn g26_taking_over_may_be_cut_anywhere() {
    // What each cut leaves: the steps of `take_over`, in their order.
    let snapshot = format!("ledger.trial.sqlite3{}", before());
    let cuts: [&[&str]; 4] =
        [&[], &[&snapshot], &[&snapshot, "ledger.sqlite3-wal"], &[&snapshot, "ledger.sqlite3-wal", "ledger.trial.sqlite3"]];
    for cut in cuts {
        let home = Home::new();
        home.serve(&OLD);
        home.arm();
        home.try_out(&NEW);
        // The old version was killed: its log is still there, and must not be played into the copy.
        std::fs::write(durable::with_suffix(&home.ledger, "-wal"), "the log of another file").expect("writable");
        home.trial.keep().expect("writable");
        for name in cut {
            let path = home.ledger.with_file_name(name);
            match *name {
                "ledger.sqlite3-wal" => std::fs::remove_file(path).expect("there"),
                _ => std::fs::rename(&path, home.ledger.with_file_name(name.replace(".trial", ""))).expect("there"),
            }
        }
        assert!(home.refused(&OLD).contains("only 2.0.0"), "{cut:?}");
        assert_eq!(home.serve(&NEW), 3, "{cut:?}");
        assert_eq!(home.files(), ["ledger.sqlite3".to_owned(), format!("ledger.sqlite3{}", before())], "{cut:?}");
    }
}

#[test]
fn g26_what_was_kept_can_be_taken_over_by_a_version_that_mends_the_one_that_was_on_trial() {
    for taken in [false, true] {
        let home = Home::new();
        home.serve(&OLD);
        home.arm();
        home.try_out(&NEW);
        home.trial.keep().expect("writable");
        if taken {
            // As a cut leaves it: the copy has its new name, and the word on it is still there.
            SqliteLedger::open_as(home.trial.copy(), NEW.migrations).expect("it opens").close().expect("writable");
            std::fs::rename(home.trial.copy(), &home.ledger).expect("there");
        }
        assert!(home.refused(&OLD).contains("only 2.0.0"));
        assert_eq!(home.serve(&Release { version: "2.0.1", ..*NEW }), 3);
        assert!(home.files().iter().all(|name| !name.contains("trial")), "{:?}", home.files());
    }
}

#[test]
fn a_trial_has_a_clean_flag_of_its_own() {
    let (home, read) = (Home::new(), |path: &Path| std::fs::read_to_string(path).unwrap_or_default());
    let marker = home.ledger.with_file_name("clean");
    home.serve(&OLD);
    std::fs::write(&marker, "the old one was clean").expect("writable");
    home.arm();
    home.try_out(&NEW);
    assert_eq!(read(home.trial.flag()), "the old one was clean", "it begins with that of the life before");
    std::fs::remove_file(home.trial.flag()).expect("there");
    assert_eq!(read(&marker), "the old one was clean", "and consumes only its copy");
    std::fs::write(home.trial.flag(), "the trial was clean").expect("writable");
    home.trial.keep().expect("writable");
    home.serve(&NEW);
    assert_eq!(read(&marker), "the trial was clean");
    assert!(!home.trial.flag().exists());
}

#[test]
fn a_first_start_can_be_a_trial_too() {
    let home = Home::new();
    home.arm();
    assert_eq!(home.try_out(&NEW), 1);
    home.trial.keep().expect("writable");
    assert_eq!(home.serve(&NEW), 2);
}
