//! The tables, and how an older ledger becomes a present one.
//!
//! Migrations are numbered and run once each, in one transaction each. A snapshot of an existing ledger is made before each;
//! nothing is ever overwritten, not even an older snapshot.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use uuid::Uuid;

/// "SWBD": says that an SQLite file is one of ours.
pub(super) const APPLICATION: i32 = 0x5357_4244;

/// One step from a schema to the next.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The schema that it leads to.
    pub number: u32,
    /// The oldest schema whose readers can use the result.
    pub oldest_reader: u32,
    /// What to do.
    pub sql: &'static str,
}

/// Every migration there is, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, oldest_reader: 1, sql: FIRST },
    Migration { number: 2, oldest_reader: 2, sql: APPROVALS_AND_CHILDREN },
    Migration { number: 3, oldest_reader: 2, sql: HISTORY },
    Migration { number: 4, oldest_reader: 2, sql: UNSURE },
    Migration { number: 5, oldest_reader: 2, sql: REMAINS },
];

/// What is open is found through partial indexes that hold everything recovery asks for: they stay as small as the open work, and
/// a start reads them instead of rows scattered over months of history.
const FIRST: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE instance (
  id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, version TEXT NOT NULL, born INTEGER NOT NULL,
  phase TEXT, phase_at INTEGER, ended_at INTEGER, ended_kind TEXT, ended_clean INTEGER, verdict TEXT, predecessor TEXT
);

CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, cursor TEXT);

CREATE TABLE chat (id INTEGER PRIMARY KEY, adapter TEXT NOT NULL, room TEXT NOT NULL, thread TEXT);
CREATE INDEX chat_key ON chat (adapter, room, thread);

CREATE TABLE session (
  id INTEGER PRIMARY KEY, chat INTEGER NOT NULL, member TEXT,
  first_user TEXT, shared INTEGER NOT NULL DEFAULT 0, forgotten INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX session_key ON session (chat, member);

CREATE TABLE inbox (
  seq INTEGER PRIMARY KEY, account INTEGER, delivery TEXT, session INTEGER NOT NULL, chat INTEGER NOT NULL,
  user TEXT NOT NULL, name TEXT NOT NULL, message TEXT, at INTEGER NOT NULL,
  kind TEXT NOT NULL, text TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, turn INTEGER, target INTEGER
);
CREATE UNIQUE INDEX inbox_key ON inbox (account, delivery) WHERE account IS NOT NULL;
CREATE INDEX inbox_waiting ON inbox (session, seq, kind) WHERE state = 'waiting';
CREATE INDEX inbox_claimed ON inbox (turn, seq) WHERE state = 'claimed';
CREATE INDEX inbox_closed ON inbox (at, seq) WHERE state IN ('closed', 'refused');
CREATE INDEX inbox_room ON inbox (chat, seq) WHERE kind = 'message';

CREATE TABLE turn (
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, state TEXT NOT NULL, instance TEXT NOT NULL,
  attempt INTEGER NOT NULL, strikes INTEGER NOT NULL, since INTEGER NOT NULL, cause TEXT,
  user TEXT NOT NULL, name TEXT NOT NULL, reply_to TEXT,
  newest INTEGER NOT NULL, start INTEGER NOT NULL, undo TEXT
);
CREATE INDEX turn_session ON turn (session, id, newest);
CREATE INDEX turn_open ON turn (session, id, state, attempt, strikes, since, cause, user, newest)
  WHERE state IN ('running', 'interrupted', 'parked');
CREATE INDEX turn_closed ON turn (since, id, session) WHERE state NOT IN ('running', 'interrupted', 'parked');

CREATE TABLE entry (turn INTEGER NOT NULL, n INTEGER NOT NULL, tool_call TEXT, body TEXT NOT NULL, PRIMARY KEY (turn, n)) WITHOUT ROWID;

CREATE TABLE outbox (
  id INTEGER PRIMARY KEY, chat INTEGER NOT NULL, session INTEGER, turn INTEGER, attempt INTEGER NOT NULL,
  word TEXT, notice TEXT, scope TEXT, part INTEGER NOT NULL, text TEXT NOT NULL, reply_to TEXT, state TEXT NOT NULL,
  tries INTEGER NOT NULL, not_before INTEGER NOT NULL, valid_until INTEGER, message TEXT, reason TEXT, at INTEGER NOT NULL
);
CREATE INDEX outbox_turn ON outbox (turn, word, part, attempt) WHERE turn IS NOT NULL;
CREATE INDEX outbox_notice ON outbox (chat, notice, scope, state) WHERE notice IS NOT NULL;
CREATE INDEX outbox_open ON outbox (id, chat, session, turn, state, notice) WHERE state NOT IN ('sent', 'dead');
CREATE INDEX outbox_owed ON outbox (session) WHERE state NOT IN ('sent', 'dead') AND session IS NOT NULL;
CREATE INDEX outbox_dead ON outbox (id) WHERE state = 'dead' AND notice IS NULL;
CREATE INDEX outbox_closed ON outbox (at, id) WHERE state IN ('sent', 'dead') OR (state = 'unknown' AND notice IS NOT NULL);
CREATE INDEX outbox_room ON outbox (chat, id) WHERE state IN ('sent', 'sending');

CREATE TABLE request (
  seq INTEGER PRIMARY KEY, session INTEGER NOT NULL, kind TEXT NOT NULL, instance TEXT NOT NULL, at INTEGER NOT NULL,
  answered INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX request_open ON request (seq) WHERE answered = 0;

CREATE TABLE let_in (adapter TEXT NOT NULL, user TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (adapter, user)) WITHOUT ROWID;
CREATE TABLE pair_code (
  id INTEGER PRIMARY KEY, adapter TEXT NOT NULL, user TEXT NOT NULL, name TEXT NOT NULL, code TEXT NOT NULL, expires INTEGER NOT NULL
);
";

/// Turns that ask for approval, with words and entries that a reader of the first schema does not know; and the children of turns.
const APPROVALS_AND_CHILDREN: &str = "
ALTER TABLE turn ADD COLUMN asks TEXT;
CREATE TABLE child (
  turn INTEGER NOT NULL, leader INTEGER NOT NULL, started INTEGER NOT NULL, boot TEXT NOT NULL, instance TEXT NOT NULL,
  PRIMARY KEY (turn, leader, started, boot)
) WITHOUT ROWID;
";

/// Why an instance went down.
const HISTORY: &str = "
ALTER TABLE instance ADD COLUMN why TEXT;
";

/// Whether a row may have arrived, also once it was given up and is sent again.
const UNSURE: &str = "
ALTER TABLE outbox ADD COLUMN unsure INTEGER NOT NULL DEFAULT 0;
UPDATE outbox SET unsure = 1 WHERE state NOT IN ('sent', 'dead') AND state = 'unknown';
";

/// Which boot of the machine an instance lived in, when it was last seen, and its last words.
const REMAINS: &str = "
ALTER TABLE instance ADD COLUMN boot TEXT;
ALTER TABLE instance ADD COLUMN seen INTEGER;
ALTER TABLE instance ADD COLUMN words TEXT;
";

/// What the meta table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) ledger: Uuid,
    pub(super) schema: u32,
    pub(super) oldest_reader: u32,
}

/// Why a migration stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrationError {
    #[error("schema {number}: {source}")]
    Sql { number: u32, source: rusqlite::Error },
    #[error("no snapshot could be made at {path}: {reason}")]
    Snapshot { path: String, reason: String },
}

/// The newest schema that `migrations` lead to.
pub(super) fn newest(migrations: &[Migration]) -> u32 {
    migrations.last().map_or(0, |last| last.number)
}

/// Whether there is any table at all. A file without one was made by an open that was cut, and holds nothing.
pub(super) fn is_blank(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)", [], |row| row.get(0))
}

/// Reads the meta table; `None` when it does not make sense.
pub(super) fn read_meta(conn: &Connection) -> rusqlite::Result<Option<Meta>> {
    let value = |key: &str| -> rusqlite::Result<Option<String>> {
        conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
    };
    let parts = (value("ledger")?, value("schema")?, value("oldest_reader")?);
    let (Some(ledger), Some(schema), Some(oldest_reader)) = parts else { return Ok(None) };
    let parsed = (Uuid::parse_str(&ledger), schema.parse(), oldest_reader.parse());
    let (Ok(ledger), Ok(schema), Ok(oldest_reader)) = parsed else { return Ok(None) };
    Ok(Some(Meta { ledger, schema, oldest_reader }))
}

/// Runs what is missing above `from`; 0 means a blank file, which needs no snapshot.
pub(super) fn migrate(conn: &mut Connection, path: &Path, from: u32, migrations: &[Migration]) -> Result<(), MigrationError> {
    for migration in migrations.iter().filter(|migration| migration.number > from) {
        if from > 0 {
            snapshot(conn, path, migration.number)?;
        }
        run(conn, migration).map_err(|source| MigrationError::Sql { number: migration.number, source })?;
    }
    Ok(())
}

fn run(conn: &mut Connection, migration: &Migration) -> rusqlite::Result<()> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration.sql)?;
    transaction.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('ledger', ?1)", [Uuid::new_v4().to_string()])?;
    let mut set = transaction.prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
    set.execute(["schema", &migration.number.to_string()])?;
    set.execute(["oldest_reader", &migration.oldest_reader.to_string()])?;
    drop(set);
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.commit()
}

/// Copies the whole ledger to `<file>.before-<n>` (or the first free name behind it). A copy whose process was cut is left as `.part`
/// and made anew, so that a file under the final name is always whole.
fn snapshot(conn: &Connection, path: &Path, number: u32) -> Result<(), MigrationError> {
    let part = with_suffix(path, &format!(".before-{number}.part"));
    let target = (1..)
        .map(|n| with_suffix(path, &if n == 1 { format!(".before-{number}") } else { format!(".before-{number}-{n}") }))
        .find(|target| !target.exists())
        .expect("some name is free");
    let failed = |reason: String| MigrationError::Snapshot { path: target.display().to_string(), reason };
    copy_to(conn, &part, &target).map_err(failed)
}

/// Copies the whole ledger to `part`, and gives it its name when it is durable. Where that fails nothing is left of it: the disk may be full.
pub(super) fn copy_to(conn: &Connection, part: &Path, target: &Path) -> Result<(), String> {
    copied_to(conn, part, target).inspect_err(|_| _ = std::fs::remove_file(part))
}

fn copied_to(conn: &Connection, part: &Path, target: &Path) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    match std::fs::remove_file(part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(words(&error)),
        _ => {}
    }
    super::open::create_private(part).map_err(|error| words(&error))?;
    conn.execute("VACUUM INTO ?1", [part.to_string_lossy()]).map_err(|error| words(&error))?;
    let synced = std::fs::File::open(part).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(part, target));
    synced.and_then(|()| super::open::sync_directory(target)).map_err(|error| words(&error))
}

/// The path with text behind its file name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
