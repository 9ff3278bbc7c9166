//! What the rules say, kept: one statement a change, or two.

use rusqlite::params;

use super::rows::{Text, int, to_json};
use super::{Book, find};
use crate::agent::Entry;
use crate::ids::{Account, DeliveryId, Seq, SessionKey, TurnId};
use crate::ledger::post::NEVER;
use crate::ledger::rows::{Asked, Change, Inbox, Posted, Session, Turn};
use crate::ledger::rules::call_of;
use crate::ledger::{InstanceFacts, LeftChild, NoticeKind, OutboxRow, PairCode, What, Word};

/// Whether it was written is the transaction's word; how many rows it met is nobody's business.
type Kept = rusqlite::Result<()>;

impl Book {
    pub(super) fn keep(&mut self, change: &Change) -> Kept {
        match change {
            Change::Born(facts) => self.add_instance(facts),
            Change::Instance(facts) => self.set_instance(facts),
            Change::Cursor(account, cursor) => {
                let sql = "INSERT INTO account (name, cursor) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET cursor = ?2";
                self.run(sql, [account.as_str(), cursor.as_str()])
            }
            Change::TakenIn(row, key) => self.take_in(row, key.as_ref()),
            Change::Inbox(seq, state, turn) => {
                let sql = "UPDATE inbox SET state = ?2, turn = ?3 WHERE seq = ?1";
                self.run(sql, params![int(*seq), state.text(), turn.map(|turn| int(turn.0))])
            }
            Change::Refused(seq, reason) => {
                self.run("UPDATE inbox SET state = 'refused', reason = ?2 WHERE seq = ?1", params![int(*seq), reason])
            }
            Change::Session(key, row) => self.set_session(key, row),
            Change::Begun(turn, entries) => self.begin(turn, entries),
            Change::Turn(turn) => self.set_turn(turn),
            Change::TurnGone(turn) => {
                self.keep_last()?;
                self.run("DELETE FROM entry WHERE turn = ?1", [int(turn.0)])?;
                self.run("DELETE FROM turn WHERE id = ?1", [int(turn.0)])
            }
            Change::Append(turn, entries) => self.append(*turn, entries),
            Change::Truncate(turn, most) => self.run("DELETE FROM entry WHERE turn = ?1 AND n >= ?2", params![int(turn.0), most]),
            Change::Uncut(turn) => self.run("DELETE FROM entry WHERE turn = ?1 AND body = ?2", params![int(turn.0), find::CUT]),
            Change::Post(posted) => self.post(posted),
            Change::Posted(row) => self.set_posted(row),
            Change::GivenUp(id, reason) => {
                let sql = "UPDATE outbox SET state = 'dead', reason = ?2, not_before = ?3 WHERE id = ?1";
                self.run(sql, params![int(id.0), reason, NEVER.0])
            }
            Change::Asked(seq, asked) => self.set_request(*seq, asked),
            Change::Child(left) => self.add_child(left),
            Change::ChildrenGone(turn) => self.run("DELETE FROM child WHERE turn = ?1", [int(turn.0)]),
            Change::Code(code) => self.add_code(code),
            Change::CodeGone(adapter, user) => {
                self.run("DELETE FROM pair_code WHERE adapter = ?1 AND user = ?2", [adapter.as_str(), user.as_str()])
            }
            Change::LetIn(adapter, user, name) => {
                let sql = "INSERT OR REPLACE INTO let_in (adapter, user, name) VALUES (?1, ?2, ?3)";
                self.run(sql, [adapter.as_str(), user.as_str(), name.as_str()])
            }
            Change::LetOut(adapter, user) => {
                self.run("DELETE FROM let_in WHERE adapter = ?1 AND user = ?2", [adapter.as_str(), user.as_str()])
            }
        }
    }

    fn run(&self, sql: &str, values: impl rusqlite::Params) -> Kept {
        self.conn.prepare_cached(sql)?.execute(values).map(drop)
    }

    fn add_instance(&self, facts: &InstanceFacts) -> Kept {
        let sql = "INSERT INTO instance (uuid, version, born, predecessor, boot) VALUES (?1, ?2, ?3, ?4, ?5)";
        let predecessor = facts.predecessor.as_ref().map(to_json).transpose()?;
        self.run(sql, params![facts.instance.to_string(), facts.version, facts.born.0, predecessor, facts.boot])?;
        self.set_instance(facts)
    }

    fn set_instance(&self, facts: &InstanceFacts) -> Kept {
        let sql = "UPDATE instance SET phase = ?2, phase_at = ?3, ended_at = ?4, ended_kind = ?5, ended_clean = ?6, verdict = ?7, why = ?8,
               seen = ?9, words = ?10 WHERE uuid = ?1";
        let words = facts.words.as_ref().map(to_json).transpose()?;
        let ended = facts.ended.as_ref();
        self.run(
            sql,
            params![
                facts.instance.to_string(),
                facts.phase.map(|(phase, _)| phase.text()),
                facts.phase.map(|(_, at)| at.0),
                ended.map(|(at, ..)| at.0),
                ended.map(|(_, kind, ..)| kind.text()),
                ended.map(|(_, _, clean, _)| *clean),
                ended.map(|(.., verdict)| verdict),
                facts.why,
                facts.seen.map(|seen| seen.0),
                words,
            ],
        )
    }

    fn take_in(&mut self, row: &Inbox, key: Option<&(Account, DeliveryId)>) -> Kept {
        self.top = self.top.max(row.seq);
        let place = self.place_of(&row.session)?;
        let account = key.map(|(account, _)| self.account(account)).transpose()?;
        let sql = "INSERT INTO inbox (seq, account, delivery, session, chat, user, name, message, at, kind, text, state, reason, target)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        self.run(
            sql,
            params![
                int(row.seq),
                account,
                key.map(|(_, delivery)| delivery.as_str()),
                place.session,
                place.chat,
                row.user.as_str(),
                row.name,
                row.message.as_ref().map(|message| message.as_str()),
                row.at.0,
                row.kind.text(),
                row.text,
                row.state.text(),
                row.reason,
                row.target.map(|turn| int(turn.0)),
            ],
        )
    }

    /// The number of an account, which is made known if it is not.
    fn account(&self, account: &Account) -> rusqlite::Result<i64> {
        let sql = "SELECT id FROM account WHERE name = ?1";
        if let Some(id) = super::rows::found(self.conn.prepare_cached(sql)?.query_row([account.as_str()], |row| row.get(0)))? {
            return Ok(id);
        }
        self.conn.prepare_cached("INSERT INTO account (name) VALUES (?1)")?.insert([account.as_str()])
    }

    fn set_session(&mut self, key: &SessionKey, row: &Session) -> Kept {
        let place = self.place_of(key)?;
        let sql = "UPDATE session SET first_user = ?2, shared = ?3, forgotten = ?4 WHERE id = ?1";
        let first = row.first_user.as_ref().map(|user| user.as_str());
        self.run(sql, params![place.session, first, row.shared, int(row.forgotten)])
    }

    fn begin(&mut self, turn: &Turn, entries: &[Entry]) -> Kept {
        self.top = self.top.max(turn.id.0);
        let place = self.place_of(&turn.session)?;
        let sql = "INSERT INTO turn (id, session, state, instance, attempt, strikes, since, cause, user, name, reply_to, newest, start, undo, asks)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
        let undo = turn.undo.as_ref().map(to_json).transpose()?;
        self.run(
            sql,
            params![
                int(turn.id.0),
                place.session,
                turn.state.text(),
                turn.instance.to_string(),
                turn.attempt,
                turn.strikes,
                turn.since.0,
                turn.cause,
                turn.user.as_str(),
                turn.name,
                turn.reply_to.as_ref().map(|message| message.as_str()),
                int(turn.newest),
                int(turn.start),
                undo,
                turn.asks,
            ],
        )?;
        self.append(turn.id, entries)
    }

    /// What can change of a turn: its session, and who asked, stay.
    fn set_turn(&self, turn: &Turn) -> Kept {
        let sql = "UPDATE turn SET state = ?2, instance = ?3, attempt = ?4, strikes = ?5, since = ?6, cause = ?7, newest = ?8, start = ?9,
               undo = ?10, asks = ?11 WHERE id = ?1";
        let undo = turn.undo.as_ref().map(to_json).transpose()?;
        self.run(
            sql,
            params![
                int(turn.id.0),
                turn.state.text(),
                turn.instance.to_string(),
                turn.attempt,
                turn.strikes,
                turn.since.0,
                turn.cause,
                int(turn.newest),
                int(turn.start),
                undo,
                turn.asks,
            ],
        )
    }

    fn append(&self, turn: TurnId, entries: &[Entry]) -> Kept {
        let sql = "INSERT INTO entry (turn, n, tool_call, body)
             VALUES (?1, (SELECT coalesce(max(n) + 1, 0) FROM entry WHERE turn = ?1), ?2, ?3)";
        for entry in entries {
            self.run(sql, params![int(turn.0), call_of(entry), to_json(entry)?])?;
        }
        Ok(())
    }

    fn post(&mut self, Posted { row, attempt }: &Posted) -> Kept {
        self.top = self.top.max(row.id.0);
        let place = row.session.as_ref().map(|session| self.place_of(session)).transpose()?;
        let chat = match &place {
            Some(place) if row.session.as_ref().is_some_and(|session| session.chat == row.chat) => place.chat,
            _ => self.chat(&row.chat)?,
        };
        let (word, notice, scope) = columns(&row.what);
        let sql =
            "INSERT OR REPLACE INTO outbox (id, chat, session, turn, attempt, word, notice, scope, part, text, reply_to, state, tries,
               not_before, valid_until, message, reason, at, unsure)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
        self.run(
            sql,
            params![
                int(row.id.0),
                chat,
                place.map(|place| place.session),
                row.turn.map(|turn| int(turn.0)),
                attempt,
                word.map(Text::text),
                notice.map(Text::text),
                scope,
                row.part,
                row.text,
                row.reply_to.as_ref().map(|message| message.as_str()),
                row.state.text(),
                row.tries,
                row.not_before.0,
                row.valid_until.map(|until| until.0),
                row.message.as_ref().map(|message| message.as_str()),
                row.reason,
                row.at.0,
                row.unsure,
            ],
        )
    }

    /// What can change of an outbox row: where it goes, and what it is, stay.
    fn set_posted(&self, row: &OutboxRow) -> Kept {
        let sql =
            "UPDATE outbox SET state = ?2, tries = ?3, not_before = ?4, message = ?5, reason = ?6, unsure = ?7, text = ?8 WHERE id = ?1";
        self.run(
            sql,
            params![
                int(row.id.0),
                row.state.text(),
                row.tries,
                row.not_before.0,
                row.message.as_ref().map(|message| message.as_str()),
                row.reason,
                row.unsure,
                row.text,
            ],
        )
    }

    fn set_request(&mut self, seq: Seq, asked: &Asked) -> Kept {
        let place = self.place_of(&asked.session)?;
        let sql = "INSERT OR REPLACE INTO request (seq, session, kind, instance, at, answered) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (kind, instance) = (asked.request.kind.text(), asked.request.instance.to_string());
        self.run(sql, params![int(seq), place.session, kind, instance, asked.at.0, asked.answered])
    }

    fn add_child(&self, LeftChild { turn, instance, child }: &LeftChild) -> Kept {
        let sql = "INSERT OR IGNORE INTO child (turn, leader, started, boot, instance) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.run(sql, params![int(turn.0), child.group, child.started.cast_signed(), child.boot, instance.to_string()])
    }

    /// A number above all others, not the first free one: age is read from it.
    fn add_code(&self, code: &PairCode) -> Kept {
        let sql = "INSERT INTO pair_code (id, adapter, user, name, code, expires)
             VALUES ((SELECT coalesce(max(id), 0) + 1 FROM pair_code), ?1, ?2, ?3, ?4, ?5)";
        self.run(sql, params![code.adapter.as_str(), code.user.as_str(), code.name, code.code, code.expires.0])
    }
}

fn columns(what: &What) -> (Option<Word>, Option<NoticeKind>, Option<&str>) {
    match what {
        What::Reply { word } => (Some(*word), None, None),
        What::Notice { kind, scope } => (None, Some(*kind), Some(scope)),
    }
}
