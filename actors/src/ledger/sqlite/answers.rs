//! What the ledger knows.

use rusqlite::{Row, params};

use super::Book;
use super::find::OWED;
use super::rows::{self, found, int};
use crate::children::Child;
use crate::clock::Wall;
use crate::ids::{AdapterName, ChatId, InstanceId, OutboxId, SessionKey};
use crate::ledger::{
    CutTurn, Ending, InstanceFacts, Knowledge, LedgerFacts, LeftChild, OpenCommand, OpenRequest, OpenWork, OutboxRow, PairCode, PairRow,
    Paired, Question, Request, RoomLine, SessionView, Span, TurnRow, WaitingSession, Word,
};
use crate::platform::Voice;

/// The columns of a session's key, of `session s` joined by [`OF_SESSION`].
const SESSION: &str = "c.adapter, c.room, c.thread, s.member";
/// From a row `x` to its session and chat.
const OF_SESSION: &str = "JOIN session s ON s.id = x.session JOIN chat c ON c.id = s.chat";
/// The columns that [`turn_row`] reads behind the session's key.
const TURN: &str = "x.id, x.state, x.attempt, x.strikes, x.since, x.cause, x.asks IS NOT NULL";

/// The columns that [`instance`] reads.
pub(super) const INSTANCE: &str =
    "uuid, version, born, phase, phase_at, ended_at, ended_kind, ended_clean, verdict, predecessor, why, boot, seen, words";

impl Book {
    /// Answers a question.
    pub(super) fn answer(&self, question: &Question) -> rusqlite::Result<Knowledge> {
        Ok(match question {
            Question::Facts => Knowledge::Facts(Box::new(self.facts()?)),
            Question::Open => Knowledge::Open(Box::new(self.open_work()?)),
            Question::Cursor(account) => {
                let sql = "SELECT cursor FROM account WHERE name = ?1";
                let cursor = self.conn.prepare_cached(sql)?.query_row([account.as_str()], |row| rows::maybe_id(row, 0));
                Knowledge::Cursor(found(cursor)?.flatten())
            }
            Question::Undelivered(adapter) => {
                let condition = format!("{OWED} AND o.state <> 'sending' AND c.adapter = ?1");
                Knowledge::Outbox(self.outbox_rows(&condition, [adapter.as_str()])?)
            }
            Question::Outbox => Knowledge::Outbox(self.troubled()?),
            Question::Turns => Knowledge::Turns(self.turns("x.state IN ('running', 'interrupted', 'parked') ORDER BY x.id", [])?),
            Question::Session(session) => Knowledge::Session(Box::new(self.session_view(session)?)),
            Question::Pairs { at } => Knowledge::Pairs(self.pairs(*at)?),
            Question::Room { chat, span } => Knowledge::Room(self.room(chat, span)?),
            Question::Instances { most } => Knowledge::Instances(self.instances(*most)?),
            Question::Adapters => Knowledge::Adapters(self.adapters()?),
        })
    }

    /// Rows of one statement.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.conn.prepare_cached(sql)?.query_map(values, read)?.collect()
    }

    fn facts(&self) -> rusqlite::Result<LedgerFacts> {
        let newest = self.instances(32)?;
        let unclean = newest.iter().map_while(|known| match known.predecessor {
            Some(Ending::Clean) | None => None,
            Some(Ending::Unclean { .. } | Ending::Killed { .. }) => Some(known.born),
        });
        let unclean_starts = unclean.collect();
        Ok(LedgerFacts { ledger: self.ledger, last_seq: super::last_seq(&self.conn)?, last: newest.into_iter().next(), unclean_starts })
    }

    fn instances(&self, most: u32) -> rusqlite::Result<Vec<InstanceFacts>> {
        self.all(&format!("SELECT {INSTANCE} FROM instance ORDER BY id DESC LIMIT ?1"), [most], instance)
    }

    fn open_work(&self) -> rusqlite::Result<OpenWork> {
        Ok(OpenWork {
            cut: self.cut_turns()?,
            children: self.children()?,
            waiting: self.waiting_sessions()?,
            commands: self.commands()?,
            requests: self.requests()?,
            owed: self.owed()?,
            told_down: self.told_down()?,
        })
    }

    fn cut_turns(&self) -> rusqlite::Result<Vec<CutTurn>> {
        let sql = format!(
            "SELECT {SESSION}, x.id, x.attempt, x.strikes, x.state, x.cause, x.user,
               EXISTS (SELECT 1 FROM outbox o WHERE o.turn = x.id AND o.word IN ('interrupted', 'approval', 'parked') AND o.attempt = x.attempt)
             FROM turn x {OF_SESSION} WHERE x.state IN ('running', 'interrupted', 'parked') AND x.state <> 'running' AND x.asks IS NULL
               AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.session = x.session AND i.state = 'waiting' AND i.kind = 'retry'
                 AND coalesce(i.target, (SELECT max(t.id) FROM turn t WHERE t.session = x.session
                   AND t.state IN ('running', 'interrupted', 'parked') AND t.state <> 'running')) = x.id)
             ORDER BY x.id"
        );
        self.all(&sql, [], |row| {
            Ok(CutTurn {
                session: rows::session_key(row, 0)?,
                turn: rows::turn(row, 4)?,
                attempt: row.get(5)?,
                strikes: row.get(6)?,
                state: rows::word(row, 7)?,
                cause: row.get(8)?,
                user: rows::id(row, 9)?,
                told: row.get(10)?,
            })
        })
    }

    fn children(&self) -> rusqlite::Result<Vec<LeftChild>> {
        self.all("SELECT turn, leader, started, boot, instance FROM child ORDER BY turn, leader, started, boot", [], |row| {
            let child = Child { group: row.get(1)?, started: row.get::<_, i64>(2)?.cast_unsigned(), boot: row.get(3)? };
            Ok(LeftChild { turn: rows::turn(row, 0)?, instance: rows::instance(row, 4)?, child })
        })
    }

    fn waiting_sessions(&self) -> rusqlite::Result<Vec<WaitingSession>> {
        let sql = format!(
            "SELECT {SESSION}, x.count, x.last FROM (SELECT session, count(*) AS count, min(seq) AS first, max(seq) AS last FROM inbox
               WHERE state = 'waiting' AND kind IN ('message', 'retry') GROUP BY session) x {OF_SESSION} ORDER BY x.first"
        );
        self.all(&sql, [], |row| Ok(WaitingSession { session: rows::session_key(row, 0)?, count: row.get(4)?, last: rows::seq(row, 5)? }))
    }

    fn commands(&self) -> rusqlite::Result<Vec<OpenCommand>> {
        let sql = format!(
            "SELECT {SESSION}, x.seq, x.user, x.name, x.text, x.message FROM inbox x {OF_SESSION}
             WHERE x.state = 'waiting' AND x.kind = 'command' ORDER BY x.seq"
        );
        self.all(&sql, [], |row| {
            Ok(OpenCommand {
                session: rows::session_key(row, 0)?,
                seq: rows::seq(row, 4)?,
                user: rows::id(row, 5)?,
                name: row.get(6)?,
                text: row.get(7)?,
                message: rows::maybe_id(row, 8)?,
            })
        })
    }

    fn requests(&self) -> rusqlite::Result<Vec<OpenRequest>> {
        let sql =
            format!("SELECT {SESSION}, x.seq, x.kind, x.instance, x.at FROM request x {OF_SESSION} WHERE x.answered = 0 ORDER BY x.seq");
        self.all(&sql, [], |row| {
            Ok(OpenRequest {
                session: rows::session_key(row, 0)?,
                seq: rows::seq(row, 4)?,
                request: Request { kind: rows::word(row, 5)?, instance: rows::instance(row, 6)? },
                at: rows::wall(row, 7)?,
            })
        })
    }

    /// By their oldest reply.
    fn owed(&self) -> rusqlite::Result<Vec<(SessionKey, u32)>> {
        let sql = format!(
            "SELECT {SESSION}, x.count FROM (SELECT o.session AS session, count(*) AS count, min(o.id) AS first FROM outbox o
               WHERE {OWED} AND o.session IS NOT NULL GROUP BY o.session) x {OF_SESSION} ORDER BY x.first"
        );
        self.all(&sql, [], |row| Ok((rows::session_key(row, 0)?, row.get(4)?)))
    }

    /// Notices of another scope than an instance answer to nobody.
    fn told_down(&self) -> rusqlite::Result<Vec<(ChatId, InstanceId, Wall)>> {
        let sql = "SELECT c.adapter, c.room, c.thread, o.scope, o.at
             FROM (SELECT chat,
                 max(CASE WHEN notice IN ('down', 'saved') AND state IN ('sent', 'sending', 'unknown') THEN id END) AS down,
                 max(CASE WHEN notice = 'back' THEN id END) AS back
               FROM outbox WHERE notice IS NOT NULL GROUP BY chat) n
             JOIN outbox o ON o.id = n.down JOIN chat c ON c.id = o.chat
             WHERE n.back IS NULL OR n.back < n.down ORDER BY o.id";
        let told = self.all(sql, [], |row| {
            let instance = uuid::Uuid::parse_str(row.get_ref(3)?.as_str()?).ok().map(InstanceId);
            Ok((rows::chat_id(row, 0)?, instance, rows::wall(row, 4)?))
        })?;
        Ok(told.into_iter().filter_map(|(chat, instance, at)| Some((chat, instance?, at))).collect())
    }

    fn outbox_rows(&self, condition: &str, values: impl rusqlite::Params) -> rusqlite::Result<Vec<OutboxRow>> {
        let sql = format!("SELECT {} FROM outbox o {} WHERE {condition} ORDER BY o.id", rows::OUTBOX_COLUMNS, rows::OUTBOX_JOIN);
        self.all(&sql, values, rows::outbox_row)
    }

    /// What is open and what was given up have an index each.
    fn troubled(&self) -> rusqlite::Result<Vec<OutboxRow>> {
        let open = "o.state NOT IN ('sent', 'dead') AND NOT (o.notice IS NOT NULL AND o.state = 'unknown')";
        let mut troubled = self.outbox_rows(open, [])?;
        troubled.extend(self.outbox_rows("o.state = 'dead' AND o.notice IS NULL", [])?);
        troubled.sort_by_key(|row| row.id);
        Ok(troubled)
    }

    fn turns(&self, condition: &str, values: impl rusqlite::Params) -> rusqlite::Result<Vec<TurnRow>> {
        let sql = format!("SELECT {SESSION}, {TURN} FROM turn x {OF_SESSION} WHERE {condition}");
        self.all(&sql, values, turn_row)
    }

    fn session_view(&self, session: &SessionKey) -> rusqlite::Result<SessionView> {
        let Some(known) = self.find_session(session)? else { return Ok(SessionView::default()) };
        let count = |sql: &str| -> rusqlite::Result<u32> { self.conn.prepare_cached(sql)?.query_row([known.id], |row| row.get(0)) };
        let open = "x.session = ?1 AND x.state IN ('running', 'interrupted', 'parked')";
        let running = self.turns(&format!("{open} AND x.state = 'running' ORDER BY x.id DESC LIMIT 1"), [known.id])?;
        let cut = self.turns(&format!("{open} AND x.state <> 'running' ORDER BY x.id DESC LIMIT 1"), [known.id])?;
        let sql = "SELECT count(*) FROM turn WHERE session = ?1 AND newest > ?2";
        Ok(SessionView {
            waiting: count("SELECT count(*) FROM inbox WHERE session = ?1 AND state = 'waiting' AND kind IN ('message', 'retry')")?,
            running: running.into_iter().next().map(|turn| (turn.turn, turn.since)),
            cut: cut.into_iter().next(),
            owed: count(&format!("SELECT count(*) FROM outbox o WHERE o.session = ?1 AND {OWED}"))?,
            turns: self.conn.prepare_cached(sql)?.query_row([known.id, int(known.forgotten)], |row| row.get(0))?,
        })
    }

    /// By person; who is in before what they wait for.
    fn pairs(&self, at: Wall) -> rusqlite::Result<Vec<PairRow>> {
        let sql = "SELECT adapter, user, name, NULL, NULL FROM let_in
             UNION ALL SELECT adapter, user, name, code, expires FROM pair_code WHERE expires BETWEEN ?1 AND ?2
             ORDER BY 1, 2, 4";
        self.all(sql, [at.0, at.plus(PairCode::LIVES).0], |row| {
            let state = match row.get::<_, Option<String>>(3)? {
                None => Paired::In,
                Some(code) => Paired::Waiting { code, expires: rows::wall(row, 4)? },
            };
            Ok(PairRow { adapter: rows::id(row, 0)?, user: rows::id(row, 1)?, name: row.get(2)?, state })
        })
    }

    /// Messages that were refused have no words left. Both tables are read backwards by their indexes, row by row, so that no more is in
    /// memory than is answered with, however long the lines are.
    fn room(&self, chat: &ChatId, span: &Span) -> rusqlite::Result<Vec<RoomLine>> {
        let Some(chat) = self.find_chat(chat)? else { return Ok(Vec::new()) };
        let mut said = self.conn.prepare_cached(
            "SELECT seq, text, at, delivery, NULL, NULL FROM inbox
             WHERE chat = ?1 AND kind = 'message' AND text <> '' AND seq > ?2 AND seq <= ?3 ORDER BY seq DESC",
        )?;
        let mut replied = self.conn.prepare_cached(
            "SELECT id, text, at, NULL, state, word FROM outbox
             WHERE chat = ?1 AND state IN ('sent', 'sending') AND id > ?2 AND id <= ?3 ORDER BY id DESC",
        )?;
        let bounds = params![chat, int(span.after), span.before.map_or(i64::MAX, |before| int(before) - 1)];
        let (mut said, mut replied) = (said.query_map(bounds, room_line)?, replied.query_map(bounds, room_line)?);
        let (mut one, mut other) = (said.next().transpose()?, replied.next().transpose()?);
        let (mut lines, mut bytes) = (Vec::new(), 0);
        loop {
            let said_last = match (&one, &other) {
                (None, None) => break,
                (Some(one), Some(other)) => one.seq > other.seq,
                (one, _) => one.is_some(),
            };
            let (newest, rows) = if said_last { (&mut one, &mut said) } else { (&mut other, &mut replied) };
            let Some(line) = newest.take().filter(|line| span.has_room(lines.len(), bytes, line.text.len())) else { break };
            *newest = rows.next().transpose()?;
            bytes += line.text.len();
            lines.push(line);
        }
        lines.reverse();
        Ok(lines)
    }

    fn adapters(&self) -> rusqlite::Result<Vec<(AdapterName, u32)>> {
        let sql = format!(
            "SELECT adapter, count(*) FROM (
               SELECT c.adapter FROM inbox x {OF_SESSION} WHERE x.state = 'waiting'
               UNION ALL SELECT c.adapter FROM turn x {OF_SESSION}
                 WHERE x.state IN ('running', 'interrupted', 'parked') AND x.state <> 'running'
               UNION ALL SELECT c.adapter FROM outbox o JOIN chat c ON c.id = o.chat WHERE {OWED})
             GROUP BY adapter ORDER BY adapter"
        );
        self.all(&sql, [], |row| Ok((rows::id(row, 0)?, row.get(1)?)))
    }
}

/// An instance from [`INSTANCE`].
pub(super) fn instance(row: &Row<'_>) -> rusqlite::Result<InstanceFacts> {
    let phase = row.get::<_, Option<i64>>(4)?.map(|at| Ok::<_, rusqlite::Error>((rows::word(row, 3)?, Wall(at)))).transpose()?;
    let ended = row.get::<_, Option<i64>>(5)?;
    let ended = ended.map(|at| Ok::<_, rusqlite::Error>((Wall(at), rows::word(row, 6)?, row.get(7)?, row.get(8)?))).transpose()?;
    Ok(InstanceFacts {
        instance: rows::instance(row, 0)?,
        version: row.get(1)?,
        born: rows::wall(row, 2)?,
        phase,
        ended,
        predecessor: rows::maybe_json(row, 9)?,
        why: row.get(10)?,
        boot: row.get(11)?,
        seen: row.get::<_, Option<i64>>(12)?.map(Wall),
        words: rows::maybe_json(row, 13)?,
    })
}

fn turn_row(row: &Row<'_>) -> rusqlite::Result<TurnRow> {
    Ok(TurnRow {
        session: rows::session_key(row, 0)?,
        turn: rows::turn(row, 4)?,
        state: rows::word(row, 5)?,
        attempt: row.get(6)?,
        strikes: row.get(7)?,
        since: rows::wall(row, 8)?,
        cause: row.get(9)?,
        asks: row.get(10)?,
    })
}

fn room_line(row: &Row<'_>) -> rusqlite::Result<RoomLine> {
    let seq = rows::seq(row, 0)?;
    let state = row.get_ref(4)?.as_str_or_null()?.map(|_| rows::word(row, 4)).transpose()?;
    let word: Option<Word> = row.get_ref(5)?.as_str_or_null()?.map(|_| rows::word(row, 5)).transpose()?;
    let voice = state.is_some().then_some(if word == Some(Word::Answer) { Voice::Agent } else { Voice::Gateway });
    Ok(RoomLine {
        seq,
        voice,
        delivery: rows::maybe_id(row, 3)?,
        text: row.get(1)?,
        at: rows::wall(row, 2)?,
        state,
        outbox: voice.map(|_| OutboxId(seq)),
    })
}
