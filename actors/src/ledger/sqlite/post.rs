//! What goes out: words, notices, drafts, and what became of them.

use rusqlite::params;

use super::intake::{hit, refused};
use super::rows::{self, Text, found, int};
use super::{Book, Outcome, Stop};
use crate::clock::Wall;
use crate::ids::{OutboxId, TurnId};
use crate::ledger::post::NEVER;
use crate::ledger::{Done, Fate, NoticeKind, OutboxRow, OutboxState, What, Word};

/// A reply that still has to reach its chat (of `outbox o`); drafts only once no running turn will finish them.
pub(super) const OWED: &str = "o.state NOT IN ('sent', 'dead') AND o.notice IS NULL AND (o.state <> 'draft'
     OR NOT EXISTS (SELECT 1 FROM turn t WHERE t.id = o.turn AND t.state = 'running'))";

impl Book {
    pub(super) fn tell(&mut self, row: &OutboxRow) -> Outcome {
        let What::Reply { word } = &row.what else { return Err(refused("a notice is not told but noticed")) };
        let attempt = self.attempt_of(row.turn)?;
        if let Some(turn) = row.turn {
            let sql = "SELECT EXISTS (SELECT 1 FROM outbox WHERE turn = ?1 AND word = ?2 AND part = ?3 AND attempt = ?4)";
            let key = params![int(turn.0), word.text(), row.part, attempt];
            if self.conn.prepare_cached(sql)?.query_row(key, |row| row.get(0))? {
                return Ok(Done::Duplicate { waiting: None });
            }
        }
        self.post_new(row, attempt)
    }

    pub(super) fn notice(&mut self, row: &OutboxRow) -> Outcome {
        let What::Notice { kind, scope } = &row.what else { return Err(refused("a reply is not a notice")) };
        let chat = self.chat(&row.chat)?;
        let sql = "SELECT EXISTS (SELECT 1 FROM outbox WHERE chat = ?1 AND notice = ?2 AND scope = ?3)";
        if self.conn.prepare_cached(sql)?.query_row(params![chat, kind.text(), scope], |row| row.get(0))? {
            return Ok(Done::Duplicate { waiting: None });
        }
        self.post_new(row, 0)
    }

    pub(super) fn draft(&mut self, row: &OutboxRow) -> Outcome {
        if !matches!(row.what, What::Reply { .. }) {
            return Err(refused("a notice has no draft"));
        }
        let attempt = self.attempt_of(row.turn)?;
        self.post_new(row, attempt)
    }

    /// A row under a number of its own. The same row again is a repeat, anything else under its number a clash.
    fn post_new(&mut self, row: &OutboxRow, attempt: u32) -> Outcome {
        if row.id.0 <= self.top {
            let chat = self.chat(&row.chat)?;
            let (word, notice, scope) = columns(&row.what);
            let sql = "SELECT EXISTS (SELECT 1 FROM outbox WHERE id = ?1 AND chat = ?2 AND turn IS ?3 AND word IS ?4 AND notice IS ?5
                 AND scope IS ?6 AND part = ?7)";
            let key = params![
                int(row.id.0),
                chat,
                row.turn.map(|turn| int(turn.0)),
                word.map(Text::text),
                notice.map(Text::text),
                scope,
                row.part
            ];
            if self.conn.prepare_cached(sql)?.query_row(key, |row| row.get(0))? {
                return Ok(Done::Duplicate { waiting: None });
            }
        }
        self.take(row.id.0)?;
        self.insert(row, attempt)?;
        Ok(Done::Ok)
    }

    fn attempt_of(&self, turn: Option<TurnId>) -> rusqlite::Result<u32> {
        let Some(turn) = turn else { return Ok(0) };
        let sql = "SELECT attempt FROM turn WHERE id = ?1";
        Ok(found(self.conn.prepare_cached(sql)?.query_row([int(turn.0)], |row| row.get(0)))?.unwrap_or(0))
    }

    /// Writes the replies of a step. Only the answer of a turn may take over a row: that turn's own draft.
    pub(super) fn post_all(&mut self, replies: &[OutboxRow], turn: Option<TurnId>, attempt: u32) -> Result<(), Stop> {
        for (at, row) in replies.iter().enumerate() {
            if replies[..at].iter().any(|other| other.id == row.id) {
                return Err(refused(format!("number {} is taken", row.id)));
            }
            match self.takes_over(row, turn)? {
                Some(draft) => {
                    self.conn.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([int(row.id.0)])?;
                    let message = row.message.clone().or(draft.message);
                    self.insert(&OutboxRow { message, ..row.clone() }, attempt)?;
                }
                None => {
                    self.take(row.id.0)?;
                    self.insert(row, attempt)?;
                }
            }
        }
        Ok(())
    }

    /// The draft that this reply finishes.
    fn takes_over(&self, row: &OutboxRow, turn: Option<TurnId>) -> rusqlite::Result<Option<OutboxRow>> {
        if turn.is_none() || row.turn != turn || !matches!(row.what, What::Reply { .. }) || row.id.0 > self.top {
            return Ok(None);
        }
        let known = self.outbox_row(row.id)?;
        Ok(known.filter(|known| known.turn == turn && matches!(known.what, What::Reply { .. }) && known.state != OutboxState::Sent))
    }

    fn outbox_row(&self, id: OutboxId) -> rusqlite::Result<Option<OutboxRow>> {
        let sql = format!("SELECT {} FROM outbox o {} WHERE o.id = ?1", rows::OUTBOX_COLUMNS, rows::OUTBOX_JOIN);
        found(self.conn.prepare_cached(&sql)?.query_row([int(id.0)], rows::outbox_row))
    }

    fn insert(&self, row: &OutboxRow, attempt: u32) -> rusqlite::Result<()> {
        let session = row.session.as_ref().map(|session| self.session(session)).transpose()?;
        let chat = match &session {
            Some(known) if row.session.as_ref().is_some_and(|session| session.chat == row.chat) => known.chat,
            _ => self.chat(&row.chat)?,
        };
        let (word, notice, scope) = columns(&row.what);
        let sql =
            "INSERT INTO outbox (id, chat, session, turn, attempt, word, notice, scope, part, text, reply_to, state, tries, not_before,
               valid_until, message, reason, at, unsure)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
        self.conn.prepare_cached(sql)?.execute(params![
            int(row.id.0),
            chat,
            session.map(|session| session.id),
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
        ])?;
        Ok(())
    }

    pub(super) fn fate(&mut self, id: OutboxId, fate: &Fate) -> Outcome {
        let id = int(id.0);
        let rows = match fate {
            // A repeat of the same word must not count as another try.
            Fate::Sending => self.conn.prepare_cached(
                "UPDATE outbox SET tries = tries + (state <> 'sending'), state = 'sending' WHERE id = ?1 AND state NOT IN ('sent', 'dead')",
            )?.execute([id])?,
            Fate::Sent { message, text } => self.conn.prepare_cached(
                "UPDATE outbox SET state = 'sent', message = coalesce(?2, message), text = coalesce(?3, text), reason = NULL
                 WHERE id = ?1 AND state NOT IN ('sent', 'dead')",
            )?.execute(params![id, message.as_ref().map(|message| message.as_str()), text])?,
            // Also after the turn's end: the first send of a draft may still be under way then, and its id must not be lost.
            Fate::Drafted { message } => self
                .conn
                .prepare_cached("UPDATE outbox SET message = ?2 WHERE id = ?1 AND state NOT IN ('sent', 'dead')")?
                .execute(params![id, message.as_str()])?,
            Fate::Failed { not_before, reason } => self.put_off(id, OutboxState::Failed, *not_before, reason)?,
            Fate::Unknown { not_before, reason } => self.put_off(id, OutboxState::Unknown, *not_before, reason)?,
            Fate::Dead { reason } => self
                .conn
                .prepare_cached("UPDATE outbox SET state = 'dead', reason = ?2 WHERE id = ?1 AND state NOT IN ('sent', 'dead')")?
                .execute(params![id, reason])?,
        };
        Ok(hit(rows))
    }

    fn put_off(&self, id: i64, state: OutboxState, not_before: Wall, reason: &str) -> rusqlite::Result<usize> {
        let sql = "UPDATE outbox SET state = ?2, not_before = ?3, reason = ?4, unsure = unsure OR ?2 = 'unknown'
             WHERE id = ?1 AND state NOT IN ('sent', 'dead')";
        self.conn.prepare_cached(sql)?.execute(params![id, state.text(), not_before.0, reason])
    }

    pub(super) fn outbox_retry(&mut self, id: OutboxId, at: Wall) -> Outcome {
        // One that may have arrived is unknown again, so that its repeat says that it may be one.
        let sql = "UPDATE outbox SET state = CASE WHEN unsure THEN 'unknown' ELSE 'due' END, tries = 0, not_before = ?2
             WHERE id = ?1 AND state IN ('dead', 'failed', 'unknown')";
        Ok(hit(self.conn.prepare_cached(sql)?.execute(params![int(id.0), at.0])?))
    }

    /// What is under way cannot be given up: its fate is not ours to tell.
    pub(super) fn outbox_drop(&mut self, id: OutboxId) -> Outcome {
        // Why it is dead is more than who gave it up.
        let sql = "UPDATE outbox SET reason = CASE state WHEN 'dead' THEN reason ELSE 'given up by an operator' END, state = 'dead', not_before = ?2
             WHERE id = ?1 AND (state IN ('due', 'failed', 'unknown') OR (state = 'dead' AND not_before <> ?2)
               OR (state = 'draft' AND NOT EXISTS (SELECT 1 FROM turn t WHERE t.id = outbox.turn AND t.state = 'running')))";
        Ok(hit(self.conn.prepare_cached(sql)?.execute(params![int(id.0), NEVER.0])?))
    }
}

fn columns(what: &What) -> (Option<Word>, Option<NoticeKind>, Option<&str>) {
    match what {
        What::Reply { word } => (Some(*word), None, None),
        What::Notice { kind, scope } => (None, Some(*kind), Some(scope)),
    }
}
