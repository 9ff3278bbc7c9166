//! A ledger file in which somebody else has written: cells with values of any kind, or bytes over the file itself.
//!
//! The ledgers to begin with are those that the cases of the [contract](crate::ledger::contract) leave behind, so that there is a row of every kind.

use std::path::Path;
use std::sync::OnceLock;

use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;
use uuid::Uuid;

use super::bytes::Bytes;
use crate::clock::Wall;
use crate::ids::{ChatId, InstanceId, Seq, SessionKey};
use crate::ledger::contract::{Script, cases};
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{Born, Ledger, OpenError, Question, Step};

/// A ledger whose rows say what no gateway wrote, or that is damaged: it is opened or refused, asked and written to, and every answer is an answer
/// or a fault.
///
/// The first byte chooses the ledger; the second whether cells (even) or bytes of the file (odd) are written over; then come the changes.
pub fn one_rows(data: &[u8]) {
    let mut data = Bytes(data);
    let ledgers = ledgers();
    let directory = place();
    let path = directory.path().join("ledger.sqlite3");
    let mut file = ledgers[usize::from(data.byte()) % ledgers.len()].clone();
    if data.byte() % 2 == 1 {
        write_over(&mut file, &mut data);
    }
    std::fs::write(&path, &file).expect("a temporary file");
    write_cells(&path, &mut data);
    match SqliteLedger::open(&path) {
        Ok(ledger) => live_in(ledger),
        Err(OpenError::Corrupt { .. } | OpenError::Newer { .. } | OpenError::Unusable { .. }) => {}
    }
}

/// A start, everything that can be asked, an end.
fn live_in(mut ledger: SqliteLedger) {
    let (instance, at) = (InstanceId(Uuid::from_u128(99)), Wall(2_000));
    let born = Born { instance, version: "0".into(), boot: None, predecessor: None, remains: None, at };
    let _ = ledger.commit(&[Step::Born(born), Step::Recover { instance, max_attempts: 3, at }]);
    let chat = ChatId::new("web", "room");
    let questions = [
        Question::Facts,
        Question::Open,
        Question::Outbox,
        Question::Turns,
        Question::Adapters,
        Question::Pairs { at },
        Question::Instances { most: 100 },
        Question::Session(SessionKey { chat: chat.clone(), member: Some("alice".into()) }),
        Question::Session(SessionKey { chat: chat.clone(), member: None }),
        Question::Undelivered("web".into()),
        Question::Room { chat, after: Seq(0), most: 1000 },
    ];
    for question in &questions {
        let _ = ledger.ask(question);
    }
    let _ = ledger.close();
}

/// What the cases of the contract leave behind.
fn ledgers() -> &'static [Vec<u8>] {
    static LEDGERS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    LEDGERS.get_or_init(|| {
        let directory = place();
        let path = directory.path().join("ledger.sqlite3");
        let left = |case: crate::ledger::contract::Case| {
            let _ = std::fs::remove_file(&path);
            (case.play)(&mut Script::new(case.name, Box::new(SqliteLedger::open(&path).expect("a new ledger opens"))));
            std::fs::read(&path).expect("it was just closed")
        };
        cases().into_iter().map(left).collect()
    })
}

/// Thousands of ledgers are made and thrown away: in memory, where there is a place for that.
fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a temporary directory")
}

/// Bytes of the file: where (in 1/65536 of it), how many, what.
fn write_over(file: &mut [u8], data: &mut Bytes<'_>) {
    while !data.is_empty() {
        let at = usize::from(data.short()) * file.len() / 65_536;
        let bytes = data.some();
        let end = file.len().min(at + bytes.len());
        file[at..end].copy_from_slice(&bytes[..end - at]);
    }
}

/// Cells: which table, column and row, what kind of value, what value. What SQLite does not allow is left as it was.
fn write_cells(path: &Path, data: &mut Bytes<'_>) {
    if data.is_empty() {
        return;
    }
    let conn = Connection::open(path).expect("it opens");
    let tables = names(&conn, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
    while !data.is_empty() && !tables.is_empty() {
        let table = data.choose(&tables);
        let columns = names(&conn, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let (Some(key), row) = (columns.first(), data.byte()) else { return };
        let column = data.choose(&columns);
        let sql = format!(
            "UPDATE OR IGNORE \"{table}\" SET \"{column}\" = ?1 WHERE \"{key}\" IN (SELECT \"{key}\" FROM \"{table}\" LIMIT 1 OFFSET {})",
            row % 16
        );
        let _ = conn.execute(&sql, [value(data)]);
    }
}

fn value(data: &mut Bytes<'_>) -> Value {
    match data.byte() % 6 {
        0 => Value::Null,
        1 => Value::Integer(i64::from(data.byte())),
        2 => Value::Integer(i64::from_le_bytes(std::array::from_fn(|_| data.byte()))),
        3 => Value::Real(f64::from_le_bytes(std::array::from_fn(|_| data.byte()))),
        4 => Value::Text(String::from_utf8_lossy(data.some()).into_owned()),
        _ => Value::Blob(data.some().to_vec()),
    }
}

fn names(conn: &Connection, sql: &str) -> Vec<String> {
    let read = || conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>();
    read().unwrap_or_default()
}
