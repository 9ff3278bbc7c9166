//! What only a file can suffer: newer and damaged ones, a full disk, readers beside the writer, migrations.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::SqliteLedger;
use super::schema::{MIGRATIONS, Migration, newest};
use crate::clock::Wall;
use crate::ids::{ChatId, InstanceId, Seq, SessionKey, TurnId};
use crate::ledger::{Accept, Accepted, Done, Fault, Knowledge, Ledger, LedgerFacts, OpenError, Question, Resume, Start, Step, Take};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ledger.sqlite3");
    (directory, path)
}

fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path).expect("the ledger opens")
}

fn message(seq: u64, text: &str) -> Step {
    Step::Accept(Accept {
        seq: Seq(seq),
        account: "web:1".into(),
        delivery: format!("d{seq}").as_str().into(),
        session: SessionKey { chat: ChatId::new("web", "room"), member: None },
        user: "alice".into(),
        name: "Alice".into(),
        message: None,
        at: Wall(1),
        what: Accepted::Message { text: text.into() },
        answer: Vec::new(),
    })
}

/// Accepts messages `from..to`, one commit each.
fn fill(ledger: &mut SqliteLedger, from: u64, to: u64) {
    for seq in from..to {
        assert_eq!(ledger.commit(&[message(seq, "hello")]), Ok(vec![Done::Accepted { retryable: true }]));
    }
}

fn facts(ledger: &mut SqliteLedger) -> LedgerFacts {
    match ledger.ask(&Question::Facts) {
        Ok(Knowledge::Facts(facts)) => *facts,
        other => panic!("{other:?}"),
    }
}

fn last(ledger: &mut SqliteLedger) -> u64 {
    facts(ledger).last_seq.0
}

#[test]
fn what_people_say_is_written_nowhere_but_into_the_ledger() {
    let (_directory, path) = place();
    let mut writer = open(&path);
    fill(&mut writer, 1, 2);
    for mut ledger in [writer, SqliteLedger::open_read_only(&path).expect("somebody else looks")] {
        // 2: savepoints, sorters and temporary tables stay in memory (<https://www.sqlite.org/pragma.html#pragma_temp_store>). The files that
        // they would be in have no name and live for one commit, so nobody could find them afterwards.
        let conn = &ledger.book().expect("it is open").conn;
        assert_eq!(conn.pragma_query_value(None, "temp_store", |row| row.get::<_, u8>(0)), Ok(2));
    }
}

#[test]
fn a_statement_is_planned_once_whatever_it_is_given() {
    let (_directory, path) = place();
    let mut writer = open(&path);
    fill(&mut writer, 1, 2);
    for mut ledger in [writer, SqliteLedger::open_read_only(&path).expect("somebody else looks")] {
        let conn = &ledger.book().expect("it is open").conn;
        // Its column is in the WHERE of a partial index, which this could use for some values.
        let sql = "SELECT count(*) FROM inbox WHERE chat = 1 AND kind = ?1";
        let mut statement = conn.prepare(sql).expect("a statement");
        for kind in ["message", "retry", "message", "command"] {
            statement.query_row([kind], |row| row.get::<_, u32>(0)).expect("a count");
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }
}

/// What every message, or every start, asks: none of it may walk through history.
#[test]
fn what_is_open_is_found_through_its_indexes() {
    let (_directory, path) = place();
    let mut ledger = open(&path);
    let conn = &ledger.book().expect("it is open").conn;
    let check = |sql: &str, index: &str| {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
        let values = (1..=statement.parameter_count()).map(|_| "1");
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .expect("a plan")
            .map(|line| line.expect("a line"))
            .collect();
        assert!(plan.iter().any(|line| line.contains(index)) && !plan.iter().any(|line| line.starts_with("SCAN")), "{sql}: {plan:?}");
    };
    check("SELECT seq FROM inbox WHERE account = ?1 AND delivery = ?2", "inbox_key");
    check("SELECT seq FROM inbox WHERE session = ?1 AND state = 'waiting' AND kind = ?3 AND seq < ?2", "inbox_waiting");
    check("SELECT seq FROM inbox WHERE turn = ?1 AND state = 'claimed' ORDER BY seq", "inbox_claimed");
    check(
        "SELECT id FROM turn WHERE session = ?1 AND state IN ('running', 'interrupted', 'parked') AND newest < ?2 ORDER BY id",
        "turn_open",
    );
    check("SELECT 1 FROM outbox WHERE turn = ?1 AND word = ?2 AND part = ?3 AND attempt = ?4", "outbox_turn");
    check("SELECT 1 FROM outbox WHERE chat = ?1 AND notice = ?2 AND scope = ?3", "outbox_notice");
    check("SELECT id FROM outbox WHERE session = ?1 AND state NOT IN ('sent', 'dead')", "outbox_owed");
    check("SELECT id FROM outbox WHERE chat = ?1 AND state IN ('sent', 'sending') AND id > ?2", "outbox_room");
}

#[test]
fn a_new_ledger_is_private_and_keeps_its_id() {
    let (directory, path) = place();
    let mut ledger = open(&path);
    fill(&mut ledger, 1, 3);
    let first = facts(&mut ledger);
    for suffix in ["", "-wal", "-shm"] {
        let file = super::schema::with_suffix(&path, suffix);
        let mode = std::fs::metadata(&file).expect("SQLite keeps it beside the ledger").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    ledger.close().expect("nobody else reads");
    assert_eq!(std::fs::metadata(super::schema::with_suffix(&path, "-wal")).map_or(0, |log| log.len()), 0);
    assert!(matches!(ledger.commit(&[message(3, "late")]), Err(Fault::NotCommitted(_))));
    let left = std::fs::read_dir(directory.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().contains("before")).count(), 0, "there was nothing to take a snapshot of");
    assert_eq!(facts(&mut open(&path)), first);
}

#[test]
fn what_was_committed_outlives_a_process_that_is_killed() {
    let (directory, path) = place();
    let mut ledger = open(&path);
    fill(&mut ledger, 1, 20);
    // What the disk holds while the process lives is what a killed one leaves behind.
    let left = directory.path().join("left.sqlite3");
    for suffix in ["", "-wal"] {
        std::fs::copy(super::schema::with_suffix(&path, suffix), super::schema::with_suffix(&left, suffix)).expect("a copy");
    }
    assert_eq!(last(&mut open(&left)), 19);
}

#[test]
fn a_torn_log_ends_at_its_last_whole_commit() {
    let (directory, path) = place();
    let mut ledger = open(&path);
    fill(&mut ledger, 1, 20);
    let whole = std::fs::read(super::schema::with_suffix(&path, "-wal")).expect("the log");
    let mut seen = std::collections::BTreeSet::new();
    for tenths in 1..=10 {
        let torn = directory.path().join(format!("torn-{tenths}.sqlite3"));
        std::fs::copy(&path, &torn).expect("a copy");
        std::fs::write(super::schema::with_suffix(&torn, "-wal"), &whole[..whole.len() * tenths / 10 - 7]).expect("a torn log");
        match SqliteLedger::open(&torn) {
            Ok(mut ledger) => {
                let count = last(&mut ledger);
                let Ok(Knowledge::Open(open)) = ledger.ask(&Question::Open) else { panic!("a torn log must leave a readable ledger") };
                assert_eq!(open.waiting.first().map_or(0, |waiting| u64::from(waiting.count)), count, "whole commits only");
                seen.insert(count);
                let next = count + 1;
                fill(&mut ledger, next, next + 1);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(seen.len() > 3 && seen.last() == Some(&18), "{seen:?}");
}

#[test]
fn a_newer_ledger_is_refused_unless_it_allows_us() {
    let (_directory, path) = place();
    open(&path).close().expect("nobody else reads");
    let meta = |schema: u32, oldest_reader: u32| {
        let conn = Connection::open(&path).expect("the file opens");
        let sql = format!(
            "UPDATE meta SET value = '{schema}' WHERE key = 'schema'; UPDATE meta SET value = '{oldest_reader}' WHERE key = 'oldest_reader'"
        );
        conn.execute_batch(&sql).expect("the meta table is there");
    };
    meta(9, 1);
    fill(&mut open(&path), 1, 2);
    meta(9, 8);
    let newer = OpenError::Newer { path: path.display().to_string(), found: 9, oldest_reader: 8, known: newest(MIGRATIONS) };
    assert_eq!(SqliteLedger::open(&path).err(), Some(newer.clone()));
    assert_eq!(SqliteLedger::open_read_only(&path).err(), Some(newer));
}

#[test]
fn damage_is_named_and_left_as_it_is() {
    let (directory, path) = place();
    let mut ledger = open(&path);
    fill(&mut ledger, 1, 400);
    ledger.close().expect("nobody else reads");
    let whole = std::fs::read(&path).expect("the ledger");
    let stranger = directory.path().join("stranger");
    Connection::open(&stranger).and_then(|conn| conn.execute_batch("CREATE TABLE t (x)")).expect("a strange database");
    let noise: Vec<u8> = (0..8192_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut headless = whole.clone();
    headless[..4096].fill(7);
    let mut rootless = whole.clone();
    rootless[4096..].fill(0xA5);
    let cases: [(&str, Vec<u8>); 7] = [
        ("noise", noise),
        ("a line", b"hello".to_vec()),
        ("headless", headless),
        ("rootless", rootless),
        ("cut in half", whole[..whole.len() / 2].to_vec()),
        ("cut after the header", whole[..100].to_vec()),
        ("another program's", std::fs::read(&stranger).expect("it was just made")),
    ];
    for (name, bytes) in cases {
        let file = directory.path().join(name);
        std::fs::write(&file, &bytes).expect("a copy");
        for opened in [SqliteLedger::open(&file).err(), SqliteLedger::open_read_only(&file).err()] {
            assert!(matches!(opened, Some(OpenError::Corrupt { .. })), "{name}: {opened:?}");
        }
        assert_eq!(std::fs::read(&file).expect("it is still there"), bytes, "{name} was written to");
    }
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let (directory, path) = place();
    let missing = directory.path().join("missing/ledger.sqlite3");
    assert!(matches!(SqliteLedger::open(&missing), Err(OpenError::Unusable { .. })));
    assert!(matches!(SqliteLedger::open_read_only(&path), Err(OpenError::Unusable { .. })));
    assert!(!path.exists(), "a reader makes no file");
    assert!(matches!(SqliteLedger::open(directory.path()), Err(OpenError::Unusable { .. })));
}

#[test]
fn an_open_that_was_cut_before_the_first_table_is_made_good() {
    let (_directory, path) = place();
    std::fs::write(&path, b"").expect("an empty file");
    fill(&mut open(&path), 1, 2);
    let (_directory, path) = place();
    Connection::open(&path).and_then(|conn| conn.pragma_update(None, "journal_mode", "WAL")).expect("a blank database");
    fill(&mut open(&path), 1, 2);
}

#[test]
fn a_reader_works_beside_the_writer_and_writes_nothing() {
    let (_directory, path) = place();
    let mut writer = open(&path);
    fill(&mut writer, 1, 3);
    let mut reader = SqliteLedger::open_read_only(&path).expect("it opens beside the writer");
    assert_eq!(last(&mut reader), 2);
    fill(&mut writer, 3, 5);
    assert_eq!(last(&mut reader), 4);
    assert!(matches!(reader.commit(&[message(9, "no")]), Err(Fault::NotCommitted(_))));
    assert_eq!(last(&mut reader), 4);
    reader.reopen().expect("it opens again");
    reader.close().expect("a reader has nothing to bring home");
    writer.close().expect("nobody else reads");
    let mut alone = SqliteLedger::open_read_only(&path).expect("it opens without a writer");
    assert_eq!(last(&mut alone), 4);
}

#[test]
fn a_full_disk_changes_nothing_and_is_survived() {
    let (_directory, path) = place();
    let mut ledger = open(&path);
    fill(&mut ledger, 1, 5);
    let pages = |ledger: &SqliteLedger, most: i64| -> i64 {
        let conn = &ledger.open.as_ref().expect("it is open").conn;
        conn.query_row(&format!("PRAGMA max_page_count = {most}"), [], |row| row.get(0)).expect("a pragma")
    };
    let full = pages(&ledger, 1);
    let before = (facts(&mut ledger), ledger.ask(&Question::Open));
    let long = "x".repeat(100_000);
    let refused = ledger.commit(&[message(5, "fits"), message(6, &long), message(7, "fits too")]);
    assert!(matches!(refused, Err(Fault::NotCommitted(_))), "{refused:?}");
    assert_eq!((facts(&mut ledger), ledger.ask(&Question::Open)), before);
    assert!(matches!(ledger.prove(), Err(Fault::NotCommitted(_))), "there is no room");
    pages(&ledger, full + 1000);
    assert_eq!(ledger.prove(), Ok(()));
    let steps = [message(5, "fits"), message(6, &long), message(7, "fits too")];
    assert_eq!(ledger.commit(&steps), Ok(vec![Done::Accepted { retryable: true }; 3]));
    assert_eq!(last(&mut ledger), 7);
}

#[test]
fn a_step_that_does_not_fit_the_rows_fails_none_of_its_neighbours() {
    let (_directory, path) = place();
    let mut ledger = open(&path);
    fill(&mut ledger, 1, 2);
    // Written by somebody else, who knows no numbers.
    let other = Connection::open(&path).expect("the file opens");
    let sql =
        "INSERT INTO inbox (seq, session, chat, user, name, at, kind, text, state) VALUES (3, 1, 1, 'u', 'U', 1, 'message', '', 'closed')";
    other.execute(sql, []).expect("nobody writes");
    let done = ledger.commit(&[message(2, "before"), message(3, "taken"), message(4, "behind")]).expect("the file is sound");
    assert!(matches!(&done[1], Done::Refused(_)), "{done:?}");
    assert_eq!([&done[0], &done[2]], [&Done::Accepted { retryable: true }; 2]);
}

#[test]
fn a_ledger_that_is_opened_again_reads_what_is_there_now() {
    let (_directory, path) = place();
    let mut ledger = open(&path);
    fill(&mut ledger, 1, 4);
    ledger.close().expect("nobody reads it");
    assert!(ledger.ask(&Question::Facts).is_err(), "it is closed");
    assert_eq!(ledger.reopen(), Ok(()));
    assert_eq!(last(&mut ledger), 3);
    fill(&mut ledger, 4, 6);
    std::fs::remove_file(&path).and_then(|()| std::fs::write(&path, "not a ledger")).expect("a file");
    assert!(ledger.reopen().is_err());
    assert!(ledger.commit(&[message(6, "lost")]).is_err(), "nothing is trusted that could not be read back");
}

#[test]
fn a_close_says_when_a_reader_keeps_the_log() {
    let (_directory, path) = place();
    let mut ledger = open(&path);
    fill(&mut ledger, 1, 4);
    ledger.open.as_ref().expect("it is open").conn.busy_timeout(std::time::Duration::ZERO).expect("a pragma");
    let reader = Connection::open(&path).expect("the file opens");
    reader.execute_batch("BEGIN; SELECT count(*) FROM inbox").expect("it reads");
    fill(&mut ledger, 4, 6);
    assert!(matches!(ledger.close(), Err(Fault::NotCommitted(_))));
    drop(reader);
    assert_eq!(last(&mut open(&path)), 5);
}

#[test]
fn a_ledger_that_another_process_holds_is_not_committed() {
    let (_directory, path) = place();
    let mut ledger = open(&path);
    let other = Connection::open(&path).expect("the file opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
    ledger.open.as_ref().expect("it is open").conn.busy_timeout(std::time::Duration::ZERO).expect("a pragma");
    assert!(matches!(ledger.commit(&[message(1, "busy")]), Err(Fault::NotCommitted(_))));
    other.execute_batch("ROLLBACK").expect("it holds the lock");
    fill(&mut ledger, 1, 2);
}

#[test]
fn a_copy_is_made_beside_its_writer_whatever_its_schema() {
    let (directory, path) = place();
    let mut writer = open(&path);
    fill(&mut writer, 1, 3);
    let copy = directory.path().join("copy");
    std::fs::write(&copy, "an older one").expect("writable");
    SqliteLedger::copy(&path, &copy).expect("readable");
    fill(&mut writer, 3, 4);
    assert_eq!((last(&mut open(&copy)), last(&mut writer)), (2, 3));
    Connection::open(&path).and_then(|conn| conn.execute("UPDATE meta SET value = '9' WHERE key = 'oldest_reader'", [])).expect("writable");
    SqliteLedger::copy(&path, &copy).expect("readable");
    assert!(matches!(SqliteLedger::open(&copy), Err(OpenError::Newer { .. })));
    assert!(SqliteLedger::copy(&directory.path().join("none"), &copy).is_err());
    assert!(matches!(SqliteLedger::open(&copy), Err(OpenError::Newer { .. })), "what was there is still there");
    // One that comes to nothing takes no room either.
    let taken = directory.path().join("taken");
    std::fs::create_dir_all(taken.join("by a directory")).expect("writable");
    assert!(SqliteLedger::copy(&path, &taken).is_err());
    assert!(!super::schema::with_suffix(&taken, ".part").exists());
}

#[test]
fn a_migration_leaves_a_snapshot_of_what_was() {
    let (_directory, path) = place();
    let mut ledger = open(&path);
    fill(&mut ledger, 1, 3);
    let was = facts(&mut ledger);
    drop(ledger);
    let number = newest(MIGRATIONS) + 1;
    let next = Migration { number, oldest_reader: 1, sql: "ALTER TABLE turn ADD COLUMN more TEXT" };
    let broken = Migration { number, oldest_reader: number, sql: "ALTER TABLE turn ADD COLUMN more TEXT; DROP TABLE nothing" };
    let with = |last: Migration| MIGRATIONS.iter().copied().chain([last]).collect::<Vec<_>>();
    assert!(matches!(SqliteLedger::open_as(&path, &with(broken)), Err(OpenError::Unusable { .. })));
    // Nothing of the broken one stayed.
    assert_eq!(facts(&mut open(&path)), was);
    let mut ledger = SqliteLedger::open_as(&path, &with(next)).expect("it is brought up to date");
    assert_eq!(facts(&mut ledger), was);
    fill(&mut ledger, 3, 4);
    drop(ledger);
    // An additive migration leaves it readable for us.
    assert_eq!(last(&mut open(&path)), 3);
    for suffix in ["", "-2"] {
        let snapshot = super::schema::with_suffix(&path, &format!(".before-{number}{suffix}"));
        let mode = std::fs::metadata(&snapshot).expect("a snapshot was made").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(facts(&mut SqliteLedger::open(&snapshot).expect("a snapshot is a ledger")), was);
    }
}

#[test]
fn a_ledger_of_every_older_schema_is_brought_up_to_date() {
    for known in 1..MIGRATIONS.len() {
        let (_directory, path) = place();
        drop(SqliteLedger::open_as(&path, &MIGRATIONS[..known]).expect("an old ledger"));
        let mut ledger = open(&path);
        fill(&mut ledger, 1, 3);
        assert!(matches!(ledger.ask(&Question::Open), Ok(Knowledge::Open(open)) if open.waiting.len() == 1), "from {known}");
    }
}

/// Whoever starts turns in the tests of spoilt rows.
const ME: InstanceId = InstanceId(Uuid::from_u128(1));

fn start(turn: u64) -> Step {
    let session = SessionKey { chat: ChatId::new("web", "room"), member: None };
    Step::Start(Start { turn: TurnId(Seq(turn)), session, take: Take::All, instance: ME, at: Wall(2), history: 10 })
}

#[test]
fn a_message_with_the_last_number_there_is_is_taken_up() {
    let (_directory, path) = place();
    let mut ledger = open(&path);
    ledger.commit(&[message(i64::MAX.unsigned_abs(), "hi")]).expect("a good disk");
    let done = ledger.commit(&[start(1)]).expect("a good disk");
    assert!(matches!(&done[..], [Done::Started(_)]), "{done:?}");
}

#[test]
fn a_turn_that_was_tried_absurdly_often_is_recovered() {
    let (_directory, path) = place();
    let mut ledger = open(&path);
    ledger.commit(&[message(1, "hi"), start(2)]).expect("a good disk");
    ledger.close().expect("a good disk");
    let spoil = "UPDATE turn SET strikes = 4294967295, attempt = 4294967295";
    Connection::open(&path).and_then(|conn| conn.execute(spoil, [])).expect("a good disk");
    let mut ledger = open(&path);
    let resume = Resume { turn: TurnId(Seq(2)), attempt: u32::MAX, instance: ME, at: Wall(3), history: 10 };
    let recover = Step::Recover { instance: InstanceId(Uuid::from_u128(2)), max_attempts: 3, at: Wall(3) };
    let done = ledger.commit(&[Step::Resume(resume), recover]).expect("a good disk");
    assert_eq!(done, [Done::Lost, Done::Ok]);
    let Knowledge::Turns(turns) = ledger.ask(&Question::Turns).expect("readable") else { panic!("no turns") };
    assert_eq!(turns.iter().map(|turn| turn.strikes).collect::<Vec<_>>(), [u32::MAX]);
}
