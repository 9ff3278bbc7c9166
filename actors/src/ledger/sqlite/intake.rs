//! What comes in: instances, deliveries, commands, requests and pairings.

use rusqlite::params;

use super::rows::{self, Text, found, int};
use super::{Book, Outcome, Stop};
use crate::agent::Entry;
use crate::clock::Wall;
use crate::ids::{Account, AdapterName, Cursor, InstanceId, Seq, SessionKey, TurnId, UserId};
use crate::last_words::{LastWords, Remains};
use crate::ledger::{Accept, Accepted, Born, Done, OutboxRow, PairCode, Request, Settle, TurnState};
use crate::shutdown::{Phase, ShutdownKind};

/// Codes kept per adapter.
const CODES: u32 = 100;

impl Book {
    pub(super) fn born(&mut self, born: &Born) -> Outcome {
        let predecessor = born.predecessor.as_ref().map(serde_json::to_string).transpose()?;
        let sql = "INSERT INTO instance (uuid, version, born, predecessor, boot) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        let values = params![born.instance.to_string(), born.version, born.at.0, predecessor, born.boot];
        let done = hit(self.conn.prepare_cached(sql)?.execute(values)?);
        if let (Done::Ok, Some(remains)) = (&done, &born.remains) {
            self.take_in(remains)?;
        }
        Ok(done)
    }

    /// Puts what an instance left beside the ledger to its row, whose own word on its end stands.
    fn take_in(&self, remains: &Remains) -> Result<(), Stop> {
        let (words, goodbye) = (remains.words.as_ref(), remains.words.as_ref().and_then(LastWords::goodbye));
        let words = words.map(serde_json::to_string).transpose()?;
        let (at, kind, clean, verdict) = match goodbye {
            Some((at, kind, clean, verdict)) => (Some(at.0), Some(kind.text()), Some(clean), Some(verdict)),
            None => (None, None, None, None),
        };
        // What an UPDATE reads is what was there before it.
        let sql = "UPDATE instance SET seen = ?2, words = coalesce(?3, words), ended_at = coalesce(ended_at, ?4),
             ended_kind = iif(ended_at IS NULL, ?5, ended_kind), ended_clean = iif(ended_at IS NULL, ?6, ended_clean),
             verdict = iif(ended_at IS NULL, ?7, verdict) WHERE uuid = ?1";
        let values = params![remains.instance.to_string(), remains.seen.0, words, at, kind, clean, verdict];
        self.conn.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    pub(super) fn phase(&mut self, instance: InstanceId, phase: Phase, at: Wall) -> Outcome {
        let sql = "UPDATE instance SET phase = ?2, phase_at = ?3 WHERE uuid = ?1";
        Ok(hit(self.conn.prepare_cached(sql)?.execute(params![instance.to_string(), phase.text(), at.0])?))
    }

    pub(super) fn leaving(&mut self, instance: InstanceId, why: &str) -> Outcome {
        let sql = "UPDATE instance SET why = ?2 WHERE uuid = ?1 AND ended_at IS NULL";
        Ok(hit(self.conn.prepare_cached(sql)?.execute(params![instance.to_string(), why])?))
    }

    /// The last word can be repeated but not taken back.
    pub(super) fn ended(&mut self, instance: InstanceId, (at, kind, clean, verdict): (Wall, ShutdownKind, bool, &str)) -> Outcome {
        let sql = "UPDATE instance SET ended_at = ?2, ended_kind = ?3, ended_clean = ?4, verdict = ?5
             WHERE uuid = ?1 AND (ended_at IS NULL OR (ended_at = ?2 AND ended_kind = ?3 AND ended_clean = ?4 AND verdict = ?5))";
        Ok(hit(self.conn.prepare_cached(sql)?.execute(params![instance.to_string(), at.0, kind.text(), clean, verdict])?))
    }

    pub(super) fn cursor(&mut self, account: &Account, cursor: &Cursor) -> Outcome {
        let sql = "INSERT INTO account (name, cursor) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET cursor = ?2";
        self.conn.prepare_cached(sql)?.execute([account.as_str(), cursor.as_str()])?;
        Ok(Done::Ok)
    }

    fn account(&self, account: &Account) -> rusqlite::Result<i64> {
        let sql = "SELECT id FROM account WHERE name = ?1";
        if let Some(id) = found(self.conn.prepare_cached(sql)?.query_row([account.as_str()], |row| row.get(0)))? {
            return Ok(id);
        }
        self.conn.prepare_cached("INSERT INTO account (name) VALUES (?1)")?.insert([account.as_str()])
    }

    pub(super) fn accept(&mut self, accept: &Accept) -> Outcome {
        let account = self.account(&accept.account)?;
        if let Some(known) = self.known(account, accept)? {
            return Ok(known);
        }
        self.take(accept.seq)?;
        let session = self.session(&accept.session)?;
        let asks = match accept.what {
            Accepted::Decision { approved } => self.decide(session.id, approved)?,
            _ => None,
        };
        let retryable = match accept.what {
            Accepted::Retry => self.can_retry(session.id, session.forgotten)?,
            Accepted::Decision { .. } => asks.is_some(),
            _ => true,
        };
        let (kind, text, state, reason) = match &accept.what {
            Accepted::Message { text } => ("message", text.as_str(), "waiting", None),
            Accepted::Retry | Accepted::Decision { .. } if retryable => ("retry", "", "waiting", None),
            Accepted::Retry | Accepted::Decision { .. } => ("retry", "", "closed", None),
            Accepted::Command { text } => ("command", text.as_str(), "waiting", None),
            Accepted::Request(_) => ("request", "", "closed", None),
            Accepted::Refused { reason } => ("message", "", "refused", Some(reason)),
        };
        if let Accepted::Request(request) = &accept.what {
            self.add_request(accept.seq, session.id, request, accept.at)?;
        }
        let sql = "INSERT INTO inbox (seq, account, delivery, session, chat, user, name, message, at, kind, text, state, reason, target)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        self.conn.prepare_cached(sql)?.execute(params![
            int(accept.seq),
            account,
            accept.delivery.as_str(),
            session.id,
            session.chat,
            accept.user.as_str(),
            accept.name,
            accept.message.as_ref().map(|message| message.as_str()),
            accept.at.0,
            kind,
            text,
            state,
            reason,
            asks.map(|turn| int(turn.0)),
        ])?;
        if state != "waiting" {
            self.post_all(&accept.answer, None, 0)?;
        }
        if matches!(accept.what, Accepted::Message { .. }) {
            self.note_speaker(&session, &accept.user)?;
        }
        Ok(Done::Accepted { retryable })
    }

    /// What a delivery that is known already comes to.
    fn known(&self, account: i64, accept: &Accept) -> rusqlite::Result<Option<Done>> {
        let sql = "SELECT i.kind IN ('message', 'retry') AND i.state = 'waiting', c.adapter, c.room, c.thread, s.member,
                i.kind = 'command' AND i.state = 'waiting', i.seq
             FROM inbox i JOIN session s ON s.id = i.session JOIN chat c ON c.id = s.chat WHERE i.account = ?1 AND i.delivery = ?2";
        found(self.conn.prepare_cached(sql)?.query_row(params![account, accept.delivery.as_str()], |row| {
            if row.get(5)? {
                return Ok(Done::Open(rows::seq(row, 6)?));
            }
            let session: Option<SessionKey> = if row.get(0)? { Some(rows::session_key(row, 1)?) } else { None };
            Ok(Done::Duplicate { waiting: session })
        }))
    }

    /// Whether a session has anything that a /retry could mean by the time it is taken up.
    fn can_retry(&self, session: i64, forgotten: Seq) -> rusqlite::Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM turn WHERE session = ?1 AND newest > ?2)
             OR EXISTS (SELECT 1 FROM inbox WHERE session = ?1 AND state = 'waiting' AND kind IN ('message', 'retry'))";
        self.conn.prepare_cached(sql)?.query_row([session, int(forgotten)], |row| row.get(0))
    }

    /// Notes what was decided about the newest turn of a session that asks for approval, and says which that is.
    fn decide(&self, session: i64, approved: bool) -> Result<Option<TurnId>, Stop> {
        let sql = "SELECT id, asks FROM turn WHERE session = ?1 AND state IN ('running', 'interrupted', 'parked') AND state = 'interrupted'
             AND asks IS NOT NULL ORDER BY id DESC LIMIT 1";
        let asking = self.conn.prepare_cached(sql)?.query_row([session], |row| Ok((rows::turn(row, 0)?, row.get::<_, String>(1)?)));
        let Some((turn, call)) = found(asking)? else { return Ok(None) };
        self.append(turn, &Entry::Decided { call, approved })?;
        self.conn.prepare_cached("UPDATE turn SET asks = NULL WHERE id = ?1")?.execute([int(turn.0)])?;
        Ok(Some(turn))
    }

    /// Remembers the first to speak, and that there is a second.
    fn note_speaker(&self, session: &rows::SessionRow, user: &UserId) -> rusqlite::Result<()> {
        match &session.first_user {
            None => {
                let sql = "UPDATE session SET first_user = ?2 WHERE id = ?1";
                self.conn.prepare_cached(sql)?.execute(params![session.id, user.as_str()])?;
            }
            Some(first) if !session.shared && first != user.as_str() => {
                self.conn.prepare_cached("UPDATE session SET shared = 1 WHERE id = ?1")?.execute([session.id])?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    pub(super) fn add_request(&self, seq: Seq, session: i64, request: &Request, at: Wall) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO request (seq, session, kind, instance, at) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![int(seq), session, request.kind.text(), request.instance.to_string(), at.0];
        self.conn.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    pub(super) fn settle(&mut self, settle: &Settle) -> Outcome {
        let sql = "UPDATE inbox SET state = 'closed' WHERE seq = ?1 AND kind = 'command' AND state = 'waiting'";
        if self.conn.prepare_cached(sql)?.execute([int(settle.seq)])? == 0 {
            return Ok(Done::Lost);
        }
        self.post_all(&settle.replies, None, 0)?;
        Ok(Done::Ok)
    }

    pub(super) fn answered(&mut self, request: Seq, replies: &[OutboxRow]) -> Outcome {
        let sql = "UPDATE request SET answered = 1 WHERE seq = ?1 AND answered = 0";
        if self.conn.prepare_cached(sql)?.execute([int(request)])? == 0 {
            return Ok(Done::Lost);
        }
        self.post_all(replies, None, 0)?;
        Ok(Done::Ok)
    }

    pub(super) fn turn_retry(&mut self, seq: Seq, turn: TurnId, at: Wall) -> Outcome {
        let sql = "SELECT EXISTS (SELECT 1 FROM inbox WHERE seq = ?1 AND target = ?2)
             OR NOT EXISTS (SELECT 1 FROM turn WHERE id = ?2 AND state <> 'running')";
        if self.conn.prepare_cached(sql)?.query_row([int(seq), int(turn.0)], |row| row.get(0))? {
            return Ok(Done::Lost);
        }
        self.take(seq)?;
        let sql = "INSERT INTO inbox (seq, session, chat, user, name, at, kind, text, state, target)
             SELECT ?1, t.session, s.chat, t.user, t.name, ?3, 'retry', '', 'waiting', t.id
             FROM turn t JOIN session s ON s.id = t.session WHERE t.id = ?2";
        Ok(hit(self.conn.prepare_cached(sql)?.execute([int(seq), int(turn.0), at.0])?))
    }

    pub(super) fn turn_drop(&mut self, turn: TurnId) -> Outcome {
        let sql = "SELECT EXISTS (SELECT 1 FROM turn WHERE id = ?1 AND state IN ('interrupted', 'parked'))";
        if !self.conn.prepare_cached(sql)?.query_row([int(turn.0)], |row| row.get::<_, bool>(0))? {
            return Ok(Done::Lost);
        }
        self.close_turn(turn, TurnState::Stopped)?;
        Ok(Done::Ok)
    }

    pub(super) fn pair_code(&mut self, code: &PairCode) -> Outcome {
        let (adapter, user) = (code.adapter.as_str(), code.user.as_str());
        self.conn.prepare_cached("DELETE FROM pair_code WHERE adapter = ?1 AND user = ?2")?.execute([adapter, user])?;
        // A number above all others, not the first free one: age is read from it.
        let sql = "INSERT INTO pair_code (id, adapter, user, name, code, expires)
             VALUES ((SELECT coalesce(max(id), 0) + 1 FROM pair_code), ?1, ?2, ?3, ?4, ?5)";
        self.conn.prepare_cached(sql)?.execute(params![adapter, user, code.name, code.code, code.expires.0])?;
        let sql = "DELETE FROM pair_code WHERE id IN (SELECT id FROM pair_code WHERE adapter = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2)";
        self.conn.prepare_cached(sql)?.execute(params![adapter, CODES])?;
        Ok(Done::Ok)
    }

    pub(super) fn pair_approve(&mut self, code: &str, at: Wall) -> Outcome {
        let sql = "DELETE FROM pair_code WHERE id = (SELECT max(id) FROM pair_code WHERE code = ?1 AND expires BETWEEN ?2 AND ?3)
             RETURNING adapter, user, name";
        let one = self.conn.prepare_cached(sql)?.query_row(params![code, at.0, at.plus(PairCode::LIVES).0], |row| {
            Ok((rows::id::<AdapterName>(row, 0)?, rows::id::<UserId>(row, 1)?, row.get::<_, String>(2)?))
        });
        let Some((adapter, user, name)) = found(one)? else { return Ok(Done::Lost) };
        let sql = "INSERT OR REPLACE INTO let_in (adapter, user, name) VALUES (?1, ?2, ?3)";
        self.conn.prepare_cached(sql)?.execute([adapter.as_str(), user.as_str(), &name])?;
        Ok(Done::Paired { adapter, user, name })
    }

    pub(super) fn pair_revoke(&mut self, adapter: &AdapterName, user: &UserId) -> Outcome {
        let sql = "DELETE FROM let_in WHERE adapter = ?1 AND user = ?2";
        Ok(hit(self.conn.prepare_cached(sql)?.execute([adapter.as_str(), user.as_str()])?))
    }
}

/// Whether a compare-and-set found its row.
pub(super) fn hit(rows: usize) -> Done {
    if rows == 0 { Done::Lost } else { Done::Ok }
}

/// A refusal that rolls its step back.
pub(super) fn refused(why: impl Into<String>) -> Stop {
    Stop::Step(Done::Refused(why.into()))
}
