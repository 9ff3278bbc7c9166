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
use crate::ids::{ChatId, InstanceId, OutboxId, Seq, SessionKey, TurnId};
use crate::ledger::contract::{Script, cases};
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{
    Accept, Accepted, Born, Closes, Done, End, Finish, Knowledge, Ledger, OpenError, OutboxRow, OutboxState, Question, Resume, Span, Start,
    Started, Step, Take, What, Word,
};

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

const ME: InstanceId = InstanceId(Uuid::from_u128(99));
const NOW: Wall = Wall(2_000);

/// A start, everything that can be asked, work and upkeep, everything once more, an end.
fn live_in(mut ledger: SqliteLedger) {
    let born = Born { instance: ME, version: "0".into(), boot: None, predecessor: None, remains: None, at: NOW };
    let _ = ledger.commit(&[Step::Born(born), Step::Recover { instance: ME, max_attempts: 3, at: NOW }]);
    ask_everything(&mut ledger);
    work_in(&mut ledger);
    ask_everything(&mut ledger);
    let _ = ledger.close();
}

/// Alice's session takes up what waits and what she says, every turn is run again, all of it is closed and forgotten. The numbers are above those of
/// the cases.
fn work_in(ledger: &mut SqliteLedger) {
    take_up(ledger, 10_000, End::Answered("answer".into()));
    let hear = |seq: u64, what: Accepted| {
        Step::Accept(Accept {
            seq: Seq(seq),
            account: "web:1".into(),
            delivery: format!("d{seq}").as_str().into(),
            session: alice(),
            user: "alice".into(),
            name: "Alice".into(),
            message: None,
            at: NOW,
            what,
            answer: Vec::new(),
        })
    };
    let _ = ledger.commit(&[hear(20_000, Accepted::Message { text: "hi".into() })]);
    take_up(ledger, 20_001, End::Asks { call: "1".into(), question: "May I?".into() });
    let _ = ledger.commit(&[hear(30_000, Accepted::Decision { approved: true })]);
    take_up(ledger, 30_001, End::Interrupted { cause: "no model".into() });
    let Ok(Knowledge::Turns(turns)) = ledger.ask(&Question::Turns) else { return };
    for (number, row) in (40_000..).step_by(10).zip(turns) {
        let _ = ledger.commit(&[Step::TurnRetry { seq: Seq(number), turn: row.turn, at: NOW }]);
        take_up(ledger, number + 1, End::Failed { reason: "no model".into() });
        let resume = Resume { turn: row.turn, attempt: row.attempt, instance: ME, at: NOW, history: 100 };
        if let Some(Done::Started(again)) = commit_one(ledger, Step::Resume(resume)) {
            let _ = ledger.commit(&[Step::Unstart { turn: again.turn, attempt: again.attempt }]);
        }
    }
    let _ = ledger.commit(&[hear(100_000, Accepted::Closing { text: "/new".into(), closes: Closes::Conversation })]);
    let _ = ledger.commit(&[Step::Prune { before: Wall(i64::MAX), most: 100 }]);
}

/// A turn of alice's session, whole; its reply has the number behind its own.
fn take_up(ledger: &mut SqliteLedger, number: u64, end: End) {
    let start = Start { turn: TurnId(Seq(number)), session: alice(), take: Take::All, instance: ME, at: NOW, history: 100 };
    let Some(Done::Started(started)) = commit_one(ledger, Step::Start(start)) else { return };
    let Started { turn, attempt, reply_to, .. } = *started;
    let reply = OutboxRow {
        id: OutboxId(Seq(number + 1)),
        chat: alice().chat,
        session: Some(alice()),
        turn: Some(turn),
        what: What::Reply { word: Word::Answer },
        part: 0,
        text: "answer".into(),
        reply_to,
        state: OutboxState::Due,
        tries: 0,
        not_before: NOW,
        valid_until: None,
        message: None,
        reason: None,
        unsure: false,
        at: NOW,
    };
    let _ = ledger.commit(&[Step::Finish(Finish { turn, attempt, end, replies: vec![reply], request: None, at: NOW })]);
}

fn commit_one(ledger: &mut SqliteLedger, step: Step) -> Option<Done> {
    ledger.commit(&[step]).ok()?.pop()
}

fn alice() -> SessionKey {
    SessionKey { chat: ChatId::new("web", "room"), member: Some("alice".into()) }
}

fn ask_everything(ledger: &mut SqliteLedger) {
    let (chat, at) = (alice().chat, NOW);
    let questions = [
        Question::Facts,
        Question::Open,
        Question::Outbox,
        Question::Turns,
        Question::Adapters,
        Question::Pairs { at },
        Question::Instances { most: 100 },
        Question::Session(alice()),
        Question::Session(SessionKey { chat: chat.clone(), member: None }),
        Question::Undelivered("web".into()),
        Question::Room { chat, span: Span { after: Seq(0), before: None, most: 1000, bytes: u32::MAX } },
    ];
    for question in &questions {
        let _ = ledger.ask(question);
    }
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
