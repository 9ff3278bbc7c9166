//! How a ledger file is opened: what is looked at before it is trusted, and what is said when it is not.
//!
//! Cheap whatever its size: header, meta table, schema and the newest rows, never the whole file. Nothing is overwritten.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema::{self, Meta, Migration, MigrationError};
use crate::ledger::OpenError;

/// How long another process (`check`, a backup) may hold the file against us.
const BUSY: Duration = Duration::from_secs(1);
/// What every SQLite file begins with (<https://www.sqlite.org/fileformat.html>).
const HEADER: &[u8; 16] = b"SQLite format 3\0";
/// Prepared statements kept: more than there are in this engine.
const STATEMENTS: usize = 192;

/// Opens for writing; makes the file where there is none and brings its schema up to date.
pub(super) fn for_writing(path: &Path, migrations: &[Migration]) -> Result<(Connection, Meta), OpenError> {
    match create_private(path) {
        Ok(()) => sync_directory(path).map_err(|error| unusable(path, &error))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unusable(path, &error)),
    }
    check_header(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(|error| judge(path, &error))?;
    let fail = |error: rusqlite::Error| judge(path, &error);
    conn.busy_timeout(BUSY).map_err(fail)?;
    keep_to_ourselves(&conn).and_then(|()| plan_once(&conn)).map_err(fail)?;
    let found = if schema::is_blank(&conn).map_err(fail)? { None } else { Some(trusted(&conn, path, migrations)?) };
    conn.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    let from = found.map_or(0, |meta| meta.schema);
    schema::migrate(&mut conn, path, from, migrations).map_err(|error| migration_failed(path, &error))?;
    let meta = trusted(&conn, path, migrations)?;
    Ok((conn, meta))
}

/// Opens for reading, beside a gateway that may be running. Its schema is not touched.
pub(super) fn for_reading(path: &Path, migrations: &[Migration]) -> Result<(Connection, Meta), OpenError> {
    let length = std::fs::metadata(path).map_err(|error| unusable(path, &error))?.len();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| judge(path, &error))?;
    conn.busy_timeout(BUSY).map_err(|error| judge(path, &error))?;
    keep_to_ourselves(&conn).and_then(|()| plan_once(&conn)).map_err(|error| judge(path, &error))?;
    if schema::is_blank(&conn).map_err(|error| judge(path, &error))? {
        if (1..512).contains(&length) {
            return Err(corrupt(path, "it is not an SQLite file"));
        }
        return Err(OpenError::Unusable { path: path.display().to_string(), reason: "it is empty; no gateway has used it yet".into() });
    }
    let meta = trusted(&conn, path, migrations)?;
    if meta.schema < schema::newest(migrations) {
        let reason =
            format!("it is of schema {} and has to be brought up to date first: start the gateway of this version once", meta.schema);
        return Err(OpenError::Unusable { path: path.display().to_string(), reason });
    }
    Ok((conn, meta))
}

/// Copies a ledger of whatever schema; `to` is all of it, or what was there before.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(from, flags).map_err(|error| judge(from, &error))?;
    conn.busy_timeout(BUSY).and_then(|()| keep_to_ourselves(&conn)).map_err(|error| judge(from, &error))?;
    schema::copy_to(&conn, &schema::with_suffix(to, ".part"), to).map_err(|reason| unusable(to, &reason))
}

/// The schema of a ledger of whatever schema, and the oldest one whose programs can read it.
pub(super) fn readers(path: &Path) -> Result<(u32, u32), OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| judge(path, &error))?;
    conn.busy_timeout(BUSY).map_err(|error| judge(path, &error))?;
    let meta = schema::read_meta(&conn).map_err(|error| judge(path, &error))?;
    let meta = meta.ok_or_else(|| corrupt(path, "its meta table does not make sense"))?;
    Ok((meta.schema, meta.oldest_reader))
}

/// Keeps what SQLite writes down only for itself in memory. Otherwise every step's savepoint copies the pages that it changes to a file in
/// /var/tmp, once a single one was large: what people said, outside the state directory, and ten times as many writes as the log has.
fn keep_to_ourselves(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "temp_store", "MEMORY")
}

/// Keeps every statement as it was prepared. By itself SQLite plans anew whenever a bound value changes that was compared with a column of a
/// partial index's WHERE, which most of ours are: that was a third of all that a busy gateway worked
/// (<https://www.sqlite.org/c3ref/c_dbconfig_defensive.html#sqlitedbconfigenableqpsg>). So a partial index is used only where the words of a
/// statement alone say that it may be.
fn plan_once(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Makes a file that only we may read. An existing one is an error.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// Makes a new name in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// An empty file is a ledger that was about to be made; anything else must be SQLite, which itself would take a short file of another
/// kind for an empty one and write over it. Only before writing: closing a file drops every lock that this process holds on it.
fn check_header(path: &Path) -> Result<(), OpenError> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(16).read_to_end(&mut head)).map_err(|error| unusable(path, &error))?;
    if head.is_empty() || head == HEADER { Ok(()) } else { Err(corrupt(path, "it is not an SQLite file")) }
}

/// The meta table of a file that is a ledger we can read.
fn trusted(conn: &Connection, path: &Path, migrations: &[Migration]) -> Result<Meta, OpenError> {
    let fail = |error: rusqlite::Error| judge(path, &error);
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fail)?;
    if application != schema::APPLICATION {
        return Err(corrupt(path, "it is an SQLite file, but not a ledger"));
    }
    let meta = schema::read_meta(conn).map_err(fail)?.ok_or_else(|| corrupt(path, "its meta table does not make sense"))?;
    let known = schema::newest(migrations);
    if meta.oldest_reader > known {
        let path = path.display().to_string();
        return Err(OpenError::Newer { path, found: meta.schema, oldest_reader: meta.oldest_reader, known });
    }
    // Reads the right edge of the three trees that everything hangs on.
    super::last_seq(conn).map_err(fail)?;
    Ok(meta)
}

/// What an SQLite error says about the file.
fn judge(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown | ErrorCode::TypeMismatch) => {
            corrupt(path, &error.to_string())
        }
        Some(_) => unusable(path, error),
        None => corrupt(path, &error.to_string()),
    }
}

fn migration_failed(path: &Path, error: &MigrationError) -> OpenError {
    unusable(path, &format!("it could not be brought up to date ({error}); it is as it was before that schema"))
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> OpenError {
    OpenError::Unusable { path: path.display().to_string(), reason: reason.to_string() }
}

fn corrupt(path: &Path, reason: &str) -> OpenError {
    OpenError::Corrupt { path: path.display().to_string(), reason: reason.to_owned() }
}
