//! What the tables hold, found: one look through an index each.

use rusqlite::{Row, params};

use super::answers::{INSTANCE, instance};
use super::rows::{self, Text, found, int};
use super::{Book, Place};
use crate::agent::Entry;
use crate::ids::{Account, AdapterName, ChatId, DeliveryId, InstanceId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::ledger::rows::{Asked, Inbox, Posted, Rows, Said, Session, Turn};
use crate::ledger::{InstanceFacts, NoticeKind, PairCode, Request};

/// [`Entry::Cut`] as it is stored.
pub(super) const CUT: &str = r#"{"entry":"cut"}"#;
/// A reply that still has to reach its chat (of `outbox o`); drafts only once no running turn will finish them.
pub(super) const OWED: &str = "o.state NOT IN ('sent', 'dead') AND o.notice IS NULL AND (o.state <> 'draft'
     OR NOT EXISTS (SELECT 1 FROM turn t WHERE t.id = o.turn AND t.state = 'running'))";

/// The columns of a session's key, of `session s` and `chat c` as [`OF_SESSION`] joins them to a row `x`.
const KEY: &str = "c.adapter, c.room, c.thread, s.member";
const OF_SESSION: &str = "JOIN session s ON s.id = x.session JOIN chat c ON c.id = s.chat";
/// The columns that [`inbox`] reads.
const INBOX: &str = "x.seq, x.user, x.name, x.message, x.at, x.kind, x.text, x.state, x.reason, x.target";
/// The columns that [`turn`] reads.
const TURN: &str =
    "x.id, x.state, x.instance, x.attempt, x.strikes, x.since, x.cause, x.asks, x.user, x.name, x.reply_to, x.newest, x.start, x.undo";

impl Rows for Book {
    type Error = rusqlite::Error;

    fn used(&mut self, seq: Seq) -> rusqlite::Result<bool> {
        if seq > self.top {
            return Ok(false);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM inbox WHERE seq = ?1) OR EXISTS (SELECT 1 FROM turn WHERE id = ?1)
             OR EXISTS (SELECT 1 FROM outbox WHERE id = ?1)";
        self.conn.prepare_cached(sql)?.query_row([int(seq)], |row| row.get(0))
    }

    fn delivery(&mut self, account: &Account, id: &DeliveryId) -> rusqlite::Result<Option<Inbox>> {
        let sql = format!(
            "SELECT {INBOX}, {KEY} FROM account a CROSS JOIN inbox x {OF_SESSION} WHERE a.name = ?1 AND x.account = a.id AND x.delivery = ?2"
        );
        found(self.conn.prepare_cached(&sql)?.query_row([account.as_str(), id.as_str()], |row| inbox(row, rows::session_key(row, 10)?)))
    }

    fn inbox(&mut self, seq: Seq) -> rusqlite::Result<Option<Inbox>> {
        let sql = format!("SELECT {INBOX}, {KEY} FROM inbox x {OF_SESSION} WHERE x.seq = ?1");
        found(self.conn.prepare_cached(&sql)?.query_row([int(seq)], |row| inbox(row, rows::session_key(row, 10)?)))
    }

    fn waiting(&mut self, session: &SessionKey) -> rusqlite::Result<Vec<Inbox>> {
        let Some(place) = self.place(session)? else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT {INBOX} FROM inbox x WHERE x.session = ?1 AND x.state = 'waiting' AND x.kind IN ('message', 'retry') ORDER BY x.seq"
        );
        self.all(&sql, [place.session], |row| inbox(row, session.clone()))
    }

    fn claimed(&mut self, turn: TurnId) -> rusqlite::Result<Vec<Seq>> {
        self.all("SELECT seq FROM inbox WHERE turn = ?1 AND state = 'claimed' ORDER BY seq", [int(turn.0)], |row| rows::seq(row, 0))
    }

    fn session(&mut self, session: &SessionKey) -> rusqlite::Result<Option<Session>> {
        let Some(place) = self.place(session)? else { return Ok(None) };
        let sql = "SELECT forgotten, first_user, shared FROM session WHERE id = ?1";
        found(self.conn.prepare_cached(sql)?.query_row([place.session], |row| {
            Ok(Session { forgotten: rows::seq(row, 0)?, first_user: rows::maybe_id(row, 1)?, shared: row.get(2)? })
        }))
    }

    fn turn(&mut self, id: TurnId) -> rusqlite::Result<Option<Turn>> {
        let sql = format!("SELECT {TURN}, {KEY} FROM turn x {OF_SESSION} WHERE x.id = ?1");
        found(self.conn.prepare_cached(&sql)?.query_row([int(id.0)], |row| turn(row, rows::session_key(row, 14)?)))
    }

    fn open_turns(&mut self, session: &SessionKey) -> rusqlite::Result<Vec<Turn>> {
        let Some(place) = self.place(session)? else { return Ok(Vec::new()) };
        let sql =
            format!("SELECT {TURN} FROM turn x WHERE x.session = ?1 AND x.state IN ('running', 'interrupted', 'parked') ORDER BY x.id");
        self.all(&sql, [place.session], |row| turn(row, session.clone()))
    }

    fn newest_turn(&mut self, session: &SessionKey, behind: Seq) -> rusqlite::Result<Option<Turn>> {
        let Some(place) = self.place(session)? else { return Ok(None) };
        let sql = format!("SELECT {TURN} FROM turn x WHERE x.session = ?1 AND x.newest > ?2 ORDER BY x.id DESC LIMIT 1");
        found(self.conn.prepare_cached(&sql)?.query_row([place.session, int(behind)], |row| turn(row, session.clone())))
    }

    fn running(&mut self) -> rusqlite::Result<Vec<Turn>> {
        let sql = format!(
            "SELECT {TURN}, {KEY} FROM turn x {OF_SESSION}
             WHERE x.state IN ('running', 'interrupted', 'parked') AND x.state = 'running' ORDER BY x.id"
        );
        self.all(&sql, [], |row| turn(row, rows::session_key(row, 14)?))
    }

    fn entries(&mut self, turn: TurnId) -> rusqlite::Result<Vec<Entry>> {
        self.all("SELECT body FROM entry WHERE turn = ?1 ORDER BY n", [int(turn.0)], |row| rows::json(row, 0))
    }

    fn entries_about(&mut self, turn: TurnId, call: Option<&str>) -> rusqlite::Result<Vec<Entry>> {
        let sql = "SELECT body FROM entry e WHERE turn = ?1
             AND (tool_call = ?2 OR body = ?3 OR n = (SELECT max(n) FROM entry WHERE turn = ?1)) ORDER BY n";
        self.all(sql, params![int(turn.0), call, CUT], |row| rows::json(row, 0))
    }

    fn calls(&mut self, turn: TurnId) -> rusqlite::Result<Vec<Entry>> {
        let sql = "SELECT body FROM entry WHERE turn = ?1
             AND (tool_call IS NOT NULL OR n = (SELECT max(n) FROM entry WHERE turn = ?1)) ORDER BY n";
        self.all(sql, [int(turn.0)], |row| rows::json(row, 0))
    }

    fn earlier(&mut self, session: &SessionKey, turn: TurnId, behind: Seq, most: u32) -> rusqlite::Result<Vec<(TurnId, Entry)>> {
        let Some(place) = self.place(session)? else { return Ok(Vec::new()) };
        let sql = "SELECT e.turn, e.body FROM turn t JOIN entry e ON e.turn = t.id
             WHERE t.session = ?1 AND t.id < ?2 AND t.newest > ?3 ORDER BY t.id DESC, e.n DESC LIMIT ?4";
        let values = params![place.session, int(turn.0), int(behind), most];
        let mut earlier = self.all(sql, values, |row| Ok((rows::turn(row, 0)?, rows::json(row, 1)?)))?;
        earlier.reverse();
        Ok(earlier)
    }

    fn said(&mut self, turn: TurnId) -> rusqlite::Result<Vec<Said>> {
        let sql = "SELECT id, word, part, attempt FROM outbox WHERE turn = ?1 AND word IS NOT NULL";
        self.all(sql, [int(turn.0)], |row| {
            Ok(Said { id: OutboxId(rows::seq(row, 0)?), word: rows::word(row, 1)?, part: row.get(2)?, attempt: row.get(3)? })
        })
    }

    fn posted(&mut self, id: OutboxId) -> rusqlite::Result<Option<Posted>> {
        let sql = format!("SELECT {}, o.attempt FROM outbox o {} WHERE o.id = ?1", rows::OUTBOX_COLUMNS, rows::OUTBOX_JOIN);
        found(self.conn.prepare_cached(&sql)?.query_row([int(id.0)], posted))
    }

    fn noticed(&mut self, kind: NoticeKind, scope: &str, chat: &ChatId) -> rusqlite::Result<bool> {
        let Some(chat) = self.find_chat(chat)? else { return Ok(false) };
        let sql = "SELECT EXISTS (SELECT 1 FROM outbox WHERE chat = ?1 AND notice = ?2 AND scope = ?3)";
        self.conn.prepare_cached(sql)?.query_row(params![chat, kind.text(), scope], |row| row.get(0))
    }

    fn sending(&mut self) -> rusqlite::Result<Vec<Posted>> {
        let sql = format!(
            "SELECT {}, o.attempt FROM outbox o {} WHERE o.state NOT IN ('sent', 'dead') AND o.state = 'sending'",
            rows::OUTBOX_COLUMNS,
            rows::OUTBOX_JOIN
        );
        self.all(&sql, [], posted)
    }

    fn request(&mut self, seq: Seq) -> rusqlite::Result<Option<Asked>> {
        let sql = format!("SELECT {KEY}, x.kind, x.instance, x.at, x.answered FROM request x {OF_SESSION} WHERE x.seq = ?1");
        found(self.conn.prepare_cached(&sql)?.query_row([int(seq)], |row| {
            let request = Request { kind: rows::word(row, 4)?, instance: rows::instance(row, 5)? };
            Ok(Asked { session: rows::session_key(row, 0)?, request, at: rows::wall(row, 6)?, answered: row.get(7)? })
        }))
    }

    fn instance(&mut self, id: InstanceId) -> rusqlite::Result<Option<InstanceFacts>> {
        let sql = format!("SELECT {INSTANCE} FROM instance WHERE uuid = ?1");
        found(self.conn.prepare_cached(&sql)?.query_row([id.to_string()], instance))
    }

    fn codes(&mut self, adapter: &AdapterName) -> rusqlite::Result<Vec<PairCode>> {
        let sql = "SELECT adapter, user, name, code, expires FROM pair_code WHERE adapter = ?1 ORDER BY id";
        self.all(sql, [adapter.as_str()], code)
    }

    fn codes_reading(&mut self, letters: &str) -> rusqlite::Result<Vec<PairCode>> {
        let sql = "SELECT adapter, user, name, code, expires FROM pair_code WHERE code = ?1 ORDER BY id";
        self.all(sql, [letters], code)
    }

    fn is_in(&mut self, adapter: &AdapterName, user: &UserId) -> rusqlite::Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM let_in WHERE adapter = ?1 AND user = ?2)";
        self.conn.prepare_cached(sql)?.query_row([adapter.as_str(), user.as_str()], |row| row.get(0))
    }

    fn waiting_of(&mut self, adapter: &AdapterName) -> rusqlite::Result<Vec<Seq>> {
        let sql = format!("SELECT x.seq FROM inbox x {OF_SESSION} WHERE x.state = 'waiting' AND c.adapter = ?1");
        self.all(&sql, [adapter.as_str()], |row| rows::seq(row, 0))
    }

    fn open_turns_of(&mut self, adapter: &AdapterName) -> rusqlite::Result<Vec<Turn>> {
        let sql = format!(
            "SELECT {TURN}, {KEY} FROM turn x {OF_SESSION} WHERE x.state IN ('running', 'interrupted', 'parked') AND c.adapter = ?1"
        );
        self.all(&sql, [adapter.as_str()], |row| turn(row, rows::session_key(row, 14)?))
    }

    fn open_posts_of(&mut self, adapter: &AdapterName) -> rusqlite::Result<Vec<OutboxId>> {
        let sql = "SELECT o.id FROM outbox o JOIN chat c ON c.id = o.chat WHERE o.state NOT IN ('sent', 'dead') AND c.adapter = ?1";
        self.all(sql, [adapter.as_str()], |row| rows::seq(row, 0).map(OutboxId))
    }
}

impl Book {
    /// Where a session stands, if anything was ever said in it. One step asks for the same one again and again.
    fn place(&mut self, session: &SessionKey) -> rusqlite::Result<Option<Place>> {
        if let Some((known, place)) = &self.known
            && known == session
        {
            return Ok(Some(*place));
        }
        let Some(row) = self.find_session(session)? else { return Ok(None) };
        let place = Place { session: row.id, chat: row.chat };
        self.known = Some((session.clone(), place));
        Ok(Some(place))
    }

    /// Where a session stands; it is made known if it is not.
    pub(super) fn place_of(&mut self, session: &SessionKey) -> rusqlite::Result<Place> {
        if let Some(place) = self.place(session)? {
            return Ok(place);
        }
        let chat = self.chat(&session.chat)?;
        let member = session.member.as_ref().map(|member| member.as_str());
        let id = self.conn.prepare_cached("INSERT INTO session (chat, member) VALUES (?1, ?2)")?.insert(params![chat, member])?;
        let place = Place { session: id, chat };
        self.known = Some((session.clone(), place));
        Ok(place)
    }
}

/// A row of the inbox from [`INBOX`].
fn inbox(row: &Row<'_>, session: SessionKey) -> rusqlite::Result<Inbox> {
    Ok(Inbox {
        seq: rows::seq(row, 0)?,
        session,
        user: rows::id(row, 1)?,
        name: row.get(2)?,
        message: rows::maybe_id(row, 3)?,
        at: rows::wall(row, 4)?,
        kind: rows::word(row, 5)?,
        text: row.get(6)?,
        state: rows::word(row, 7)?,
        reason: row.get(8)?,
        target: rows::maybe_turn(row, 9)?,
    })
}

/// A turn from [`TURN`].
fn turn(row: &Row<'_>, session: SessionKey) -> rusqlite::Result<Turn> {
    Ok(Turn {
        id: rows::turn(row, 0)?,
        session,
        state: rows::word(row, 1)?,
        instance: rows::instance(row, 2)?,
        attempt: row.get(3)?,
        strikes: row.get(4)?,
        since: rows::wall(row, 5)?,
        cause: row.get(6)?,
        asks: row.get(7)?,
        user: rows::id(row, 8)?,
        name: row.get(9)?,
        reply_to: rows::maybe_id(row, 10)?,
        newest: rows::seq(row, 11)?,
        start: rows::seq(row, 12)?,
        undo: rows::maybe_json(row, 13)?,
    })
}

fn posted(row: &Row<'_>) -> rusqlite::Result<Posted> {
    Ok(Posted { row: rows::outbox_row(row)?, attempt: row.get(24)? })
}

fn code(row: &Row<'_>) -> rusqlite::Result<PairCode> {
    let (adapter, user) = (rows::id(row, 0)?, rows::id(row, 1)?);
    Ok(PairCode { adapter, user, name: row.get(2)?, code: row.get(3)?, expires: rows::wall(row, 4)? })
}
