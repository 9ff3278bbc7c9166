//! The embedded engine: SQLite in WAL mode, one writer, every commit on the disk before it is answered.
//!
//! One transaction per commit. What a step comes to is decided by the rules (`ledger/rules.rs`): `find.rs` looks for them, `keep.rs` writes what
//! they say. When to commit and whom to tell is the [writer](super::writer)'s business. Tables stand in `sqlite/schema.rs`.

mod answers;
mod find;
mod keep;
mod open;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod upkeep;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};
use uuid::Uuid;

pub use self::schema::{MIGRATIONS, Migration};
use super::{Done, Fault, Knowledge, Ledger, OpenError, Question, Step, rules};
use crate::ids::{Seq, SessionKey};

/// A ledger in a file.
#[derive(Debug)]
pub struct SqliteLedger {
    path: PathBuf,
    migrations: Vec<Migration>,
    writes: bool,
    /// None between a failed reopen and the next, and after the close.
    open: Option<Book>,
}

/// What must find room before a ledger that was full is back: a long message, or many commits of short ones.
const ROOM: usize = 64 << 10;

/// The open file.
#[derive(Debug)]
struct Book {
    conn: Connection,
    ledger: Uuid,
    /// At least the highest number in the ledger: a number above it is certainly free. Never lowered, so that a rolled-back
    /// step costs a look, not a mistake.
    top: Seq,
    /// The session that was looked up last, with its number and that of its chat.
    known: Option<(SessionKey, Place)>,
}

/// Where a session stands in the tables.
#[derive(Clone, Copy, Debug)]
struct Place {
    session: i64,
    chat: i64,
}

impl SqliteLedger {
    /// Opens the ledger at `path`; makes it where there is none, brings an older one up to date after a snapshot of it.
    ///
    /// # Errors
    /// By what the operator should do: [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_as(path.as_ref(), MIGRATIONS)
    }

    /// As [`open`](Self::open), for a program whose ledger is made by these migrations: those of this version, or of one that is to come.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_as(path: &Path, migrations: &[Migration]) -> Result<Self, OpenError> {
        let (conn, meta) = open::for_writing(path, migrations)?;
        Ok(Self { path: path.to_owned(), migrations: migrations.to_vec(), writes: true, open: Some(Book::new(conn, meta.ledger)) })
    }

    /// Opens the ledger at `path` to ask questions, beside a gateway that may be writing it. Commits are refused.
    ///
    /// # Errors
    /// As [`open`](SqliteLedger::open); also when it has to be brought up to date first.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_read_only_as(path.as_ref(), MIGRATIONS)
    }

    /// As [`open_read_only`](Self::open_read_only), for a program whose ledger is made by these migrations.
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only).
    pub fn open_read_only_as(path: &Path, migrations: &[Migration]) -> Result<Self, OpenError> {
        let (conn, meta) = open::for_reading(path, migrations)?;
        Ok(Self { path: path.to_owned(), migrations: migrations.to_vec(), writes: false, open: Some(Book::new(conn, meta.ledger)) })
    }

    /// Copies the ledger at `from`, of whatever schema and also beside a gateway that writes it, to `to`: all of it or nothing, and what was
    /// there before is replaced.
    ///
    /// # Errors
    /// When it cannot be read, or the copy not be written.
    pub fn copy(from: &Path, to: &Path) -> Result<(), OpenError> {
        open::copy(from, to)
    }

    /// The schema of the ledger at `path`, and the oldest schema whose programs can read it, by its own word; whatever they are.
    ///
    /// # Errors
    /// When it cannot be read, or is no ledger.
    pub fn readers(path: &Path) -> Result<(u32, u32), OpenError> {
        open::readers(path)
    }

    fn book(&mut self) -> Result<&mut Book, Fault> {
        self.open.as_mut().ok_or_else(|| Fault::NotCommitted("the ledger is closed".into()))
    }
}

impl Ledger for SqliteLedger {
    fn commit(&mut self, steps: &[Step]) -> Result<Vec<Done>, Fault> {
        let book = self.book()?;
        book.transact(steps).map_err(|error| {
            let fault = fault(&error);
            // A full disk may have rolled back by itself.
            if !book.conn.is_autocommit()
                && let Err(stuck) = book.conn.execute_batch("ROLLBACK")
            {
                return Fault::Unknown(format!("{error}; and the roll-back failed: {stuck}"));
            }
            fault
        })
    }

    fn ask(&mut self, question: &Question) -> Result<Knowledge, Fault> {
        let book = self.book()?;
        book.consult(question).map_err(|error| Fault::NotCommitted(error.to_string()))
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        // Dropped first: as long as it lives, its file locks and its page cache do.
        self.open = None;
        let (path, migrations) = (&self.path, &*self.migrations);
        let opened = if self.writes { open::for_writing(path, migrations) } else { open::for_reading(path, migrations) };
        let (conn, meta) = opened.map_err(|error| Fault::NotCommitted(error.to_string()))?;
        let mut book = Book::new(conn, meta.ledger);
        book.consult(&Question::Facts).map_err(|error| Fault::NotCommitted(error.to_string()))?;
        self.open = Some(book);
        Ok(())
    }

    fn prove(&mut self) -> Result<(), Fault> {
        self.book()?.prove().map_err(|error| fault(&error))
    }

    fn used(&mut self) -> Result<u64, Fault> {
        self.book()?.bytes_used().map_err(|error| Fault::NotCommitted(error.to_string()))
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(book) = self.open.take() else { return Ok(()) };
        let checkpoint = if self.writes { book.checkpoint() } else { Ok(true) };
        drop(book);
        match checkpoint {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::NotCommitted("somebody else reads the ledger; its log stays beside it".into())),
            Err(error) => Err(fault(&error)),
        }
    }
}

impl Book {
    fn new(conn: Connection, ledger: Uuid) -> Self {
        // Unread: the first step then looks its number up.
        let top = last_seq(&conn).unwrap_or(Seq(u64::MAX));
        Self { conn, ledger, top, known: None }
    }

    /// The pages that hold something. The file keeps those that do not, for what comes next.
    fn bytes_used(&self) -> rusqlite::Result<u64> {
        let number = |pragma| self.conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
        Ok(u64::try_from(pages.saturating_mul(number("page_size")?)).unwrap_or_default())
    }

    /// Two commits, so that the words are really written; a row that a cut leaves behind is replaced by the next.
    fn prove(&self) -> rusqlite::Result<()> {
        self.conn.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('room', ?1)", [" ".repeat(ROOM)])?;
        self.conn.execute("DELETE FROM meta WHERE key = 'room'", []).map(drop)
    }

    /// All steps, or none. Only where one of them does not fit the tables, which its rules could not know, is each of them guarded.
    fn transact(&mut self, steps: &[Step]) -> rusqlite::Result<Vec<Done>> {
        match self.attempt(steps, Self::perform) {
            Err(error) if is_the_steps_fault(&error) => {
                self.known = None;
                if !self.conn.is_autocommit() {
                    self.conn.execute_batch("ROLLBACK")?;
                }
                self.attempt(steps, Self::guarded)
            }
            done => done,
        }
    }

    fn attempt(&mut self, steps: &[Step], perform: fn(&mut Self, &Step) -> rusqlite::Result<Done>) -> rusqlite::Result<Vec<Done>> {
        self.known = None;
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let done = steps.iter().map(|step| perform(self, step)).collect::<rusqlite::Result<_>>()?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(done)
    }

    /// One step, all or nothing.
    fn guarded(&mut self, step: &Step) -> rusqlite::Result<Done> {
        self.conn.prepare_cached("SAVEPOINT step")?.execute([])?;
        let done = match self.perform(step) {
            Err(error) if is_the_steps_fault(&error) => {
                self.known = None;
                self.conn.prepare_cached("ROLLBACK TO step")?.execute([])?;
                Done::Refused(error.to_string())
            }
            done => done?,
        };
        self.conn.prepare_cached("RELEASE step")?.execute([])?;
        Ok(done)
    }

    fn perform(&mut self, step: &Step) -> rusqlite::Result<Done> {
        match step {
            Step::MoveAdapter { from, to } => {
                self.known = None; // it may be one that moves
                self.move_adapter(from, to)
            }
            Step::Prune { before, most } => self.prune(*before, *most),
            step => {
                let (done, changes) = rules::decide(self, step)?;
                for change in &changes {
                    self.keep(change)?;
                }
                Ok(done)
            }
        }
    }

    /// One answer, from one state of the ledger however many statements it takes.
    fn consult(&mut self, question: &Question) -> rusqlite::Result<Knowledge> {
        let transaction = self.conn.unchecked_transaction()?;
        let answer = self.answer(question)?;
        transaction.commit()?;
        Ok(answer)
    }

    /// Brings the log into the main file; false when a reader holds it.
    fn checkpoint(&self) -> rusqlite::Result<bool> {
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
    }

    /// Rows with the highest number may be about to go; the ledger's last number stays.
    fn keep_last(&self) -> rusqlite::Result<()> {
        let last = last_seq(&self.conn)?;
        let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES ('last_seq', ?1)";
        self.conn.prepare_cached(sql)?.execute([last.0.to_string()])?;
        Ok(())
    }
}

/// The highest number ever written.
fn last_seq(conn: &Connection) -> rusqlite::Result<Seq> {
    let sql = "SELECT max(coalesce((SELECT max(seq) FROM inbox), 0), coalesce((SELECT max(id) FROM turn), 0),
        coalesce((SELECT max(id) FROM outbox), 0), coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_seq'), 0))";
    conn.prepare_cached(sql)?.query_row([], |row| rows::seq(row, 0))
}

/// Errors that lie in what a step holds, not in the file.
fn is_the_steps_fault(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(code, ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig),
        None => matches!(error, rusqlite::Error::ToSqlConversionFailure(_) | rusqlite::Error::IntegralValueOutOfRange(..)),
    }
}

/// A full, locked or read-only disk certainly wrote no commit; after a failed write or fsync nobody knows
/// (<https://www.sqlite.org/rescode.html>).
fn fault(error: &rusqlite::Error) -> Fault {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::OperationInterrupted,
        ) => Fault::NotCommitted(error.to_string()),
        _ => Fault::Unknown(error.to_string()),
    }
}
