//! What walks over very many closed rows: an adapter's are moved, old ones forgotten.

use rusqlite::params;

use super::Book;
use super::find::OWED;
use super::rows::{self, found, int};
use crate::clock::Wall;
use crate::ids::{AdapterName, TurnId};
use crate::ledger::Done;

/// Instances that are kept whatever their age: the crash-loop count reads 32 of them.
const INSTANCES: u32 = 64;

impl Book {
    /// Everything of the adapter moves, closed rows too: its chats keep their past.
    pub(super) fn move_adapter(&mut self, from: &AdapterName, to: &AdapterName) -> rusqlite::Result<Done> {
        if from == to {
            return Ok(Done::Moved(0));
        }
        let mut moved = self.open_rows(from)?;
        let sql = "SELECT o.id, n.id FROM chat o JOIN chat n ON n.adapter = ?2 AND n.room = o.room AND n.thread IS o.thread
             WHERE o.adapter = ?1";
        let merged = self
            .conn
            .prepare(sql)?
            .query_map([from.as_str(), to.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
        self.merge_chats(&merged)?;
        self.conn.execute("UPDATE chat SET adapter = ?2 WHERE adapter = ?1", [from.as_str(), to.as_str()])?;
        moved += self.move_pairs(from, to)?;
        Ok(Done::Moved(moved))
    }

    /// Chats that exist at both places become one. The pairs go into a table, so that each big table is read once.
    fn merge_chats(&self, merged: &[(i64, i64)]) -> rusqlite::Result<()> {
        if merged.is_empty() {
            return Ok(());
        }
        self.conn.execute_batch(
            "CREATE TEMP TABLE merged_chat (old INTEGER PRIMARY KEY, new INTEGER NOT NULL);
             CREATE TEMP TABLE merged_session (old INTEGER PRIMARY KEY, new INTEGER NOT NULL);",
        )?;
        let mut insert = self.conn.prepare("INSERT INTO merged_chat (old, new) VALUES (?1, ?2)")?;
        for (old, new) in merged {
            insert.execute([old, new])?;
        }
        drop(insert);
        self.conn.execute_batch(
            "INSERT INTO merged_session SELECT o.id, n.id FROM merged_chat c JOIN session o ON o.chat = c.old
               JOIN session n ON n.chat = c.new AND n.member IS o.member;
             UPDATE session SET
               forgotten = max(session.forgotten, o.forgotten),
               shared = session.shared OR o.shared OR coalesce(session.first_user <> o.first_user, 0),
               first_user = coalesce(session.first_user, o.first_user)
             FROM (SELECT m.new, s.forgotten, s.shared, s.first_user FROM merged_session m JOIN session s ON s.id = m.old) AS o
             WHERE session.id = o.new;
             DELETE FROM session WHERE id IN (SELECT old FROM merged_session);
             UPDATE session SET chat = (SELECT new FROM merged_chat WHERE old = chat) WHERE chat IN (SELECT old FROM merged_chat);
             UPDATE inbox SET session = (SELECT new FROM merged_session WHERE old = session) WHERE session IN (SELECT old FROM merged_session);
             UPDATE inbox SET chat = (SELECT new FROM merged_chat WHERE old = chat) WHERE chat IN (SELECT old FROM merged_chat);
             UPDATE turn SET session = (SELECT new FROM merged_session WHERE old = session) WHERE session IN (SELECT old FROM merged_session);
             UPDATE request SET session = (SELECT new FROM merged_session WHERE old = session)
               WHERE session IN (SELECT old FROM merged_session);
             UPDATE outbox SET session = (SELECT new FROM merged_session WHERE old = session) WHERE session IN (SELECT old FROM merged_session);
             UPDATE outbox SET chat = (SELECT new FROM merged_chat WHERE old = chat) WHERE chat IN (SELECT old FROM merged_chat);
             DELETE FROM chat WHERE id IN (SELECT old FROM merged_chat);
             DROP TABLE merged_chat;
             DROP TABLE merged_session;",
        )
    }

    /// Who is in at the new place already keeps that entry.
    fn move_pairs(&self, from: &AdapterName, to: &AdapterName) -> rusqlite::Result<u32> {
        let names = [from.as_str(), to.as_str()];
        let mut moved = 0;
        for table in ["let_in", "pair_code"] {
            moved += self
                .conn
                .query_row(&format!("SELECT count(*) FROM {table} WHERE adapter = ?1"), [from.as_str()], |row| row.get::<_, u32>(0))?;
            let known = format!("DELETE FROM {table} WHERE adapter = ?1 AND user IN (SELECT user FROM {table} WHERE adapter = ?2)");
            self.conn.execute(&known, names)?;
            self.conn.execute(&format!("UPDATE {table} SET adapter = ?2 WHERE adapter = ?1"), names)?;
        }
        Ok(moved)
    }

    /// Waiting rows, cut turns and replies that are owed: what an operator would lose with the adapter.
    fn open_rows(&self, adapter: &AdapterName) -> rusqlite::Result<u32> {
        let of_session = "JOIN session s ON s.id = x.session JOIN chat c ON c.id = s.chat WHERE c.adapter = ?1";
        let sql = format!(
            "SELECT (SELECT count(*) FROM inbox x {of_session} AND x.state = 'waiting')
               + (SELECT count(*) FROM turn x {of_session} AND x.state IN ('running', 'interrupted', 'parked') AND x.state <> 'running')
               + (SELECT count(*) FROM outbox o JOIN chat c ON c.id = o.chat WHERE c.adapter = ?1 AND {OWED})"
        );
        self.conn.prepare_cached(&sql)?.query_row([adapter.as_str()], |row| row.get(0))
    }

    pub(super) fn prune(&mut self, before: Wall, most: u32) -> rusqlite::Result<Done> {
        self.keep_last()?;
        let limits = params![before.0, most];
        // Words about an open turn stay: they tell that its chat was told.
        let mut pruned = self
            .conn
            .prepare_cached(
                "DELETE FROM outbox WHERE id IN (SELECT o.id FROM outbox o
               WHERE (o.state IN ('sent', 'dead') OR (o.state = 'unknown' AND o.notice IS NOT NULL)) AND o.at < ?1
                 AND NOT EXISTS (SELECT 1 FROM turn t WHERE t.id = o.turn AND t.state IN ('running', 'interrupted', 'parked'))
               ORDER BY o.at, o.id LIMIT ?2)",
            )?
            .execute(limits)?;
        pruned += self.conn.prepare_cached(
            "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox WHERE state IN ('closed', 'refused') AND at < ?1 ORDER BY at, seq LIMIT ?2)",
        )?.execute(limits)?;
        pruned += self.prune_turns(before, most)?;
        pruned += self
            .conn
            .prepare_cached(
                "DELETE FROM request WHERE seq IN (SELECT seq FROM request WHERE answered = 1 AND at < ?1 ORDER BY seq LIMIT ?2)",
            )?
            .execute(limits)?;
        pruned += self.prune_instances(before, most)?;
        Ok(Done::Moved(u32::try_from(pruned).unwrap_or(u32::MAX)))
    }

    /// The newest turn of a session is what /retry means; one with an undelivered reply is open still.
    fn prune_turns(&self, before: Wall, most: u32) -> rusqlite::Result<usize> {
        let sql = "SELECT t.id FROM turn t WHERE t.state NOT IN ('running', 'interrupted', 'parked') AND t.since < ?1
             AND EXISTS (SELECT 1 FROM turn n WHERE n.session = t.session AND n.id > t.id)
             AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.turn = t.id AND o.state NOT IN ('sent', 'dead'))
             ORDER BY t.since, t.id LIMIT ?2";
        let old = self
            .conn
            .prepare_cached(sql)?
            .query_map(params![before.0, most], |row| rows::turn(row, 0))?
            .collect::<rusqlite::Result<Vec<TurnId>>>()?;
        for turn in &old {
            self.conn.prepare_cached("DELETE FROM entry WHERE turn = ?1")?.execute([int(turn.0)])?;
            self.conn.prepare_cached("DELETE FROM turn WHERE id = ?1")?.execute([int(turn.0)])?;
        }
        Ok(old.len())
    }

    /// From the oldest on, up to the first that is young enough.
    fn prune_instances(&self, before: Wall, most: u32) -> rusqlite::Result<usize> {
        let sql = "SELECT id FROM instance ORDER BY id DESC LIMIT 1 OFFSET ?1";
        let Some(spare) = found(self.conn.prepare_cached(sql)?.query_row([INSTANCES], |row| row.get::<_, i64>(0)))? else { return Ok(0) };
        let sql = "DELETE FROM instance WHERE id IN (SELECT id FROM instance
             WHERE id <= ?1 AND id < coalesce((SELECT min(id) FROM instance WHERE born >= ?2), ?1 + 1) ORDER BY id LIMIT ?3)";
        self.conn.prepare_cached(sql)?.execute(params![spare, before.0, most])
    }
}
