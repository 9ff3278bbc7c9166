//! A turn's life: started, in progress, finished; taken back, cleared, recovered, run again.

use rusqlite::{Row, params};

use super::intake::refused;
use super::rows::{self, Text, found, int};
use super::{Book, Outcome, Stop};
use crate::agent::Entry;
use crate::children::Child;
use crate::clock::Wall;
use crate::ids::{InstanceId, MessageId, Seq, TurnId, UserId};
use crate::ledger::transcript::{self, Join};
use crate::ledger::undo::{Before, SupersededTurn, Undo};
use crate::ledger::{Clear, Done, End, Finish, Resume, Start, Started, Take, TurnState};

/// A turn as it stands.
struct TurnLine {
    id: TurnId,
    session: i64,
    state: TurnState,
    instance: InstanceId,
    attempt: u32,
    strikes: u32,
    since: Wall,
    cause: Option<String>,
    asks: Option<String>,
    user: UserId,
    name: String,
    reply_to: Option<MessageId>,
    newest: Seq,
    start: Seq,
}

/// What a new turn is made of.
struct NewTurn {
    session: i64,
    entries: Vec<Entry>,
    user: UserId,
    name: String,
    reply_to: Option<MessageId>,
    newest: Seq,
}

const COLUMNS: &str = "id, session, state, instance, attempt, strikes, since, cause, user, name, reply_to, newest, start, asks";

impl Book {
    pub(super) fn start(&mut self, start: &Start) -> Outcome {
        let Some(session) = self.find_session(&start.session)? else { return Ok(Done::NothingWaiting) };
        if let Some(running) = self.running(session.id)? {
            // The same start again, after a commit of unknown fate: the turn is theirs, and nobody else will run it.
            if running.start == start.turn.0 && running.instance == start.instance {
                return self.started(running.id, start.history);
            }
            return Err(refused(format!("turn {} of this session is running", running.id)));
        }
        while let Some((row, is_message, target)) = self.oldest_waiting(session.id)? {
            if is_message {
                return self.start_messages(start, session.id, row);
            }
            match self.to_retry(session.id, session.forgotten, target)? {
                Some(turn) if is_cut(turn.state) => {
                    self.run_again(&turn, start.instance, start.at, Some((start.turn.0, row)))?;
                    return self.started(turn.id, start.history);
                }
                Some(turn) => return self.start_copy(start, &turn, row),
                None => {
                    self.conn.prepare_cached("UPDATE inbox SET state = 'closed' WHERE seq = ?1")?.execute([int(row)])?;
                }
            }
        }
        Ok(Done::NothingWaiting)
    }

    /// The oldest waiting row: its number, whether it is a message, and the turn that a retry names.
    fn oldest_waiting(&self, session: i64) -> rusqlite::Result<Option<(Seq, bool, Option<TurnId>)>> {
        let sql = "SELECT seq, kind = 'message', target FROM inbox
             WHERE session = ?1 AND state = 'waiting' AND kind IN ('message', 'retry') ORDER BY seq LIMIT 1";
        found(self.conn.prepare_cached(sql)?.query_row([session], |row| {
            let target = row.get::<_, Option<i64>>(2)?.map(|_| rows::turn(row, 2)).transpose()?;
            Ok((rows::seq(row, 0)?, row.get(1)?, target))
        }))
    }

    /// The turn that a retry row means.
    fn to_retry(&self, session: i64, forgotten: Seq, target: Option<TurnId>) -> rusqlite::Result<Option<TurnLine>> {
        if let Some(named) = target {
            return self.turn(named);
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM turn WHERE session = ?1 AND state IN ('running', 'interrupted', 'parked') AND state <> 'running'
             ORDER BY id DESC LIMIT 1"
        );
        if let Some(cut) = found(self.conn.prepare_cached(&sql)?.query_row([session], turn_line))? {
            return Ok(Some(cut));
        }
        let sql = format!("SELECT {COLUMNS} FROM turn WHERE session = ?1 AND newest > ?2 ORDER BY id DESC LIMIT 1");
        found(self.conn.prepare_cached(&sql)?.query_row([session, int(forgotten)], turn_line))
    }

    fn start_messages(&mut self, start: &Start, session: i64, oldest: Seq) -> Outcome {
        self.take(start.turn.0)?;
        let most = if start.take == Take::One { 1 } else { i64::MAX };
        let sql = "SELECT seq, user, name, message, text FROM inbox
             WHERE session = ?1 AND state = 'waiting' AND kind = 'message' AND seq <= coalesce(
               (SELECT min(seq) - 1 FROM inbox WHERE session = ?1 AND state = 'waiting' AND kind = 'retry'), ?3)
             ORDER BY seq LIMIT ?2";
        let mut taken = Vec::new();
        let mut new = None;
        {
            let mut statement = self.conn.prepare_cached(sql)?;
            let mut messages = statement.query(params![session, most, i64::MAX])?;
            let mut entries = Vec::new();
            while let Some(row) = messages.next()? {
                let name: String = row.get(2)?;
                taken.push(rows::seq(row, 0)?);
                entries.push(Entry::User { name: Some(name.clone()), text: row.get(4)? });
                let (user, reply_to) = (rows::id(row, 1)?, rows::maybe_id(row, 3)?);
                new = Some(NewTurn { session, entries: Vec::new(), user, name, reply_to, newest: rows::seq(row, 0)? });
            }
            if let Some(new) = &mut new {
                new.entries = entries;
            }
        }
        // Only where an index of a damaged file says otherwise than its table.
        let new = new.ok_or_else(|| refused(format!("message {oldest} waits and cannot be found")))?;
        let superseded = self.supersede(session, oldest, start.at)?;
        self.add_turn(start, &new, &taken, superseded)
    }

    /// A closed turn is never run again; its messages are, as a new one.
    fn start_copy(&mut self, start: &Start, of: &TurnLine, row: Seq) -> Outcome {
        self.take(start.turn.0)?;
        let entries = self.entries(of.id)?.into_iter().filter(|entry| matches!(entry, Entry::User { .. })).collect();
        let new = NewTurn {
            session: of.session,
            entries,
            user: of.user.clone(),
            name: of.name.clone(),
            reply_to: of.reply_to.clone(),
            newest: row,
        };
        self.add_turn(start, &new, &[row], Vec::new())
    }

    fn add_turn(&mut self, start: &Start, new: &NewTurn, taken: &[Seq], superseded: Vec<SupersededTurn>) -> Outcome {
        let id = start.turn;
        self.claim(id, taken)?;
        // The usual turn can be undone from its rows alone.
        let undo = if superseded.is_empty() { None } else { Some(Undo { before: None, rows: taken.to_vec(), superseded }) };
        let undo = undo.as_ref().map(serde_json::to_string).transpose()?;
        let sql = "INSERT INTO turn (id, session, state, instance, attempt, strikes, since, user, name, reply_to, newest, start, undo)
             VALUES (?1, ?2, 'running', ?3, 1, 0, ?4, ?5, ?6, ?7, ?8, ?1, ?9)";
        self.conn.prepare_cached(sql)?.execute(params![
            int(id.0),
            new.session,
            start.instance.to_string(),
            start.at.0,
            new.user.as_str(),
            new.name,
            new.reply_to.as_ref().map(|message| message.as_str()),
            int(new.newest),
            undo,
        ])?;
        for entry in &new.entries {
            self.append(id, entry)?;
        }
        self.started(id, start.history)
    }

    fn claim(&self, turn: TurnId, taken: &[Seq]) -> rusqlite::Result<()> {
        let mut claim = self.conn.prepare_cached("UPDATE inbox SET state = 'claimed', turn = ?2 WHERE seq = ?1")?;
        for seq in taken {
            claim.execute([int(*seq), int(turn.0)])?;
        }
        Ok(())
    }

    /// Closes the cut turns of which the chat was told before row `by` was accepted.
    fn supersede(&self, session: i64, by: Seq, at: Wall) -> rusqlite::Result<Vec<SupersededTurn>> {
        let sql = "SELECT t.id, t.state, t.since, t.asks FROM turn t
             WHERE t.session = ?1 AND t.state IN ('running', 'interrupted', 'parked') AND t.state <> 'running'
               AND EXISTS (SELECT 1 FROM outbox o WHERE o.turn = t.id AND o.word IN ('interrupted', 'approval', 'parked')
                 AND o.attempt = t.attempt AND o.id < ?2)
             ORDER BY t.id";
        let mut told = self.conn.prepare_cached(sql)?;
        let told = told.query_map([session, int(by)], |row| {
            let (turn, state, since, asks) = (rows::turn(row, 0)?, rows::word(row, 1)?, rows::wall(row, 2)?, row.get(3)?);
            Ok(SupersededTurn { turn, state, since, asks, rows: Vec::new() })
        })?;
        let mut superseded = told.collect::<rusqlite::Result<Vec<_>>>()?;
        for turn in &mut superseded {
            turn.rows = self.close_rows(turn.turn)?;
            let sql = "UPDATE turn SET state = 'superseded', since = ?2, asks = NULL WHERE id = ?1";
            self.conn.prepare_cached(sql)?.execute([int(turn.turn.0), at.0])?;
        }
        Ok(superseded)
    }

    /// A cut turn runs under its old id; `by`: the number of the start and the retry row that asked for it.
    fn run_again(&self, turn: &TurnLine, instance: InstanceId, at: Wall, by: Option<(Seq, Seq)>) -> Result<(), Stop> {
        let row = by.map(|(_, row)| row);
        if let Some(row) = row {
            self.claim(turn.id, &[row])?;
        }
        let sql = "SELECT count(*) FROM entry WHERE turn = ?1";
        let entries = self.conn.prepare_cached(sql)?.query_row([int(turn.id.0)], |row| row.get(0))?;
        let before = Before {
            state: turn.state,
            instance: turn.instance,
            strikes: turn.strikes,
            since: turn.since,
            cause: turn.cause.clone(),
            asks: turn.asks.clone(),
            newest: turn.newest,
            start: turn.start,
            entries,
        };
        let undo = Undo { before: Some(before), rows: row.into_iter().collect(), superseded: Vec::new() };
        let sql =
            "UPDATE turn SET state = 'running', instance = ?2, attempt = attempt + 1, strikes = ?3, since = ?4, cause = NULL, asks = NULL,
               newest = ?5, start = ?6, undo = ?7 WHERE id = ?1";
        self.conn.prepare_cached(sql)?.execute(params![
            int(turn.id.0),
            instance.to_string(),
            if by.is_some() { 0 } else { turn.strikes },
            at.0,
            int(row.map_or(turn.newest, |row| turn.newest.max(row))),
            int(by.map_or(Seq(0), |(start, _)| start)),
            serde_json::to_string(&undo)?,
        ])?;
        Ok(())
    }

    pub(super) fn resume(&mut self, resume: &Resume) -> Outcome {
        let Some(turn) = self.turn(resume.turn)? else { return Ok(Done::Lost) };
        let repeated = turn.state == TurnState::Running
            && resume.attempt.checked_add(1) == Some(turn.attempt)
            && turn.instance == resume.instance
            && turn.start == Seq(0);
        if repeated {
            return self.started(resume.turn, resume.history);
        }
        if turn.state != TurnState::Interrupted || turn.attempt != resume.attempt {
            return Ok(Done::Lost);
        }
        if let Some(running) = self.running(turn.session)? {
            return Err(refused(format!("turn {} of this session is running", running.id)));
        }
        self.run_again(&turn, resume.instance, resume.at, None)?;
        self.started(resume.turn, resume.history)
    }

    /// What the agent gets to see of a turn that runs.
    fn started(&self, id: TurnId, most: u32) -> Outcome {
        let turn = self.turn(id)?.ok_or_else(|| refused(format!("turn {id} was started and cannot be found")))?;
        let session = self.session_by_id(turn.session)?;
        let sql = "SELECT e.turn, e.body FROM turn t JOIN entry e ON e.turn = t.id
             WHERE t.session = ?1 AND t.id < ?2 AND t.newest > ?3 ORDER BY t.id DESC, e.n DESC LIMIT ?4";
        let mut statement = self.conn.prepare_cached(sql)?;
        let earlier = statement.query_map(params![turn.session, int(id.0), int(session.forgotten), most], |row| {
            Ok((rows::turn(row, 0)?, rows::json(row, 1)?))
        })?;
        let mut earlier = earlier.collect::<rusqlite::Result<Vec<(TurnId, Entry)>>>()?;
        earlier.reverse();
        let sql = "SELECT count(*) FROM inbox WHERE session = ?1 AND state = 'waiting' AND kind IN ('message', 'retry')";
        let left = self.conn.prepare_cached(sql)?.query_row([turn.session], |row| row.get(0))?;
        let own = self.entries(id)?;
        Ok(Done::Started(Box::new(Started {
            turn: id,
            attempt: turn.attempt,
            strikes: turn.strikes,
            decisions: transcript::decisions(&own),
            history: transcript::history(earlier, own, session.shared),
            reply_to: turn.reply_to,
            asked_by: (turn.user, turn.name),
            left,
        })))
    }

    pub(super) fn unstart(&mut self, id: TurnId, attempt: u32) -> Outcome {
        let Some(turn) = self.runs(id, attempt)? else { return Ok(Done::Lost) };
        self.keep_last()?;
        let sql = "SELECT undo FROM turn WHERE id = ?1 AND undo IS NOT NULL";
        let undo: Option<Undo> = found(self.conn.prepare_cached(sql)?.query_row([int(id.0)], |row| rows::json(row, 0)))?;
        let undo = match undo {
            Some(undo) => undo,
            None => Undo { before: None, rows: self.claimed(id)?, superseded: Vec::new() },
        };
        let kept = undo.before.as_ref().map_or(0, |before| before.entries);
        let sql = "DELETE FROM entry WHERE turn = ?1 AND n >= ?2";
        self.conn.prepare_cached(sql)?.execute(params![int(id.0), kept])?;
        match undo.before {
            Some(before) => self.put_back(&turn, &before)?,
            None => {
                self.conn.prepare_cached("DELETE FROM turn WHERE id = ?1")?.execute([int(id.0)])?;
            }
        }
        let sql = "UPDATE inbox SET state = 'waiting', turn = NULL WHERE seq = ?1";
        for seq in undo.rows {
            self.conn.prepare_cached(sql)?.execute([int(seq)])?;
        }
        for old in undo.superseded {
            let sql = "UPDATE turn SET state = ?2, since = ?3, asks = ?4 WHERE id = ?1";
            self.conn.prepare_cached(sql)?.execute(params![int(old.turn.0), old.state.text(), old.since.0, old.asks])?;
            self.claim(old.turn, &old.rows)?;
        }
        Ok(Done::Ok)
    }

    fn put_back(&self, turn: &TurnLine, before: &Before) -> rusqlite::Result<()> {
        let sql = "UPDATE turn SET state = ?2, instance = ?3, attempt = ?4, strikes = ?5, since = ?6, cause = ?7, newest = ?8, start = ?9,
               asks = ?10, undo = NULL WHERE id = ?1";
        self.conn.prepare_cached(sql)?.execute(params![
            int(turn.id.0),
            before.state.text(),
            before.instance.to_string(),
            turn.attempt.saturating_sub(1),
            before.strikes,
            before.since.0,
            before.cause,
            int(before.newest),
            int(before.start),
            before.asks,
        ])?;
        Ok(())
    }

    pub(super) fn progress(&mut self, id: TurnId, attempt: u32, entry: &Entry) -> Outcome {
        if self.runs(id, attempt)?.is_none() {
            return Ok(Done::Lost);
        }
        match transcript::join(&self.relevant(id, entry)?, entry) {
            Join::Append => self.append(id, entry)?,
            Join::Known => {}
            Join::Refused(why) => return Err(refused(why)),
        }
        Ok(Done::Ok)
    }

    /// What has to be looked at to judge an entry: the entries of the same call, the cuts and the last one. A long tool loop must not
    /// read itself again at every step.
    fn relevant(&self, id: TurnId, entry: &Entry) -> rusqlite::Result<Vec<Entry>> {
        let call = match entry {
            Entry::ToolCall { call, .. } | Entry::ToolResult { call, .. } => Some(call),
            Entry::User { .. } | Entry::Assistant { .. } | Entry::Asked { .. } | Entry::Decided { .. } | Entry::Cut => None,
        };
        let sql = "SELECT body FROM entry e WHERE turn = ?1
             AND (tool_call = ?2 OR body = ?3 OR n = (SELECT max(n) FROM entry WHERE turn = ?1)) ORDER BY n";
        let mut statement = self.conn.prepare_cached(sql)?;
        let entries = statement.query_map(params![int(id.0), call, CUT], |row| rows::json(row, 0))?;
        entries.collect()
    }

    pub(super) fn finish(&mut self, finish: &Finish) -> Outcome {
        let Some(turn) = self.runs(finish.turn, finish.attempt)? else {
            return Ok(if self.is_repeat(finish)? { Done::Ok } else { Done::Lost });
        };
        match &finish.end {
            End::Answered(text) => self.answer_turn(&turn, text)?,
            End::Asks { call, question } => self.ask_approval(turn.id, call, question)?,
            end => self.close_turn(turn.id, end.state())?,
        }
        let cause = match &finish.end {
            End::Interrupted { cause: why } | End::Failed { reason: why } => Some(why),
            End::Answered(_) | End::Asks { .. } | End::Stopped | End::Superseded => None,
        };
        let sql = "UPDATE turn SET since = ?2, cause = ?3 WHERE id = ?1";
        self.conn.prepare_cached(sql)?.execute(params![int(turn.id.0), finish.at.0, cause])?;
        if let Some(request) = &finish.request {
            self.add_request(turn.id.0, turn.session, request, finish.at)?;
        }
        self.post_all(&finish.replies, Some(turn.id), finish.attempt)?;
        Ok(Done::Ok)
    }

    /// Whether this very end is what ended the turn: its words are here.
    fn is_repeat(&self, finish: &Finish) -> rusqlite::Result<bool> {
        let ended = |turn: &TurnLine| turn.attempt == finish.attempt && turn.state == finish.end.state();
        if !self.turn(finish.turn)?.is_some_and(|turn| ended(&turn)) {
            return Ok(false);
        }
        let mut ours = self.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM outbox WHERE id = ?1 AND turn = ?2)")?;
        for row in &finish.replies {
            if !ours.query_row([int(row.id.0), int(finish.turn.0)], |row| row.get::<_, bool>(0))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What was cut before is answered now: the marks go.
    fn answer_turn(&self, turn: &TurnLine, text: &str) -> Result<(), Stop> {
        if turn.attempt > 1 {
            let sql = "DELETE FROM entry WHERE turn = ?1 AND body = ?2";
            self.conn.prepare_cached(sql)?.execute(params![int(turn.id.0), CUT])?;
        }
        self.append_missing_results(turn.id)?;
        self.append(turn.id, &Entry::Assistant { text: text.to_owned() })?;
        self.set_state(turn.id, TurnState::Answered)?;
        self.close_rows(turn.id)?;
        Ok(())
    }

    /// Ends a turn for good or for now. Whatever it took stays claimed only while the turn can be run again.
    pub(super) fn close_turn(&self, id: TurnId, state: TurnState) -> Result<(), Stop> {
        self.append_missing_results(id)?;
        let sql = "SELECT body = ?2 FROM entry WHERE turn = ?1 ORDER BY n DESC LIMIT 1";
        let marked = found(self.conn.prepare_cached(sql)?.query_row(params![int(id.0), CUT], |row| row.get(0)))?;
        if marked != Some(true) {
            self.append(id, &Entry::Cut)?;
        }
        self.set_state(id, state)?;
        if !is_cut(state) {
            self.close_rows(id)?;
        }
        Ok(())
    }

    /// It waits for a decision: at a safe point, and nothing of it is lost.
    fn ask_approval(&self, id: TurnId, call: &str, question: &str) -> Result<(), Stop> {
        self.append_missing_results(id)?;
        self.append(id, &Entry::Asked { call: call.to_owned(), question: question.to_owned() })?;
        self.set_state(id, TurnState::Interrupted)?;
        self.conn.prepare_cached("UPDATE turn SET asks = ?2 WHERE id = ?1")?.execute(params![int(id.0), call])?;
        Ok(())
    }

    pub(super) fn child(&mut self, id: TurnId, attempt: u32, child: &Child) -> Outcome {
        let Some(turn) = self.runs(id, attempt)? else { return Ok(Done::Lost) };
        let sql = "INSERT OR IGNORE INTO child (turn, leader, started, boot, instance) VALUES (?1, ?2, ?3, ?4, ?5)";
        let started = child.started.cast_signed();
        self.conn.prepare_cached(sql)?.execute(params![int(id.0), child.group, started, child.boot, turn.instance.to_string()])?;
        Ok(Done::Ok)
    }

    pub(super) fn children_gone(&mut self, id: TurnId) -> Outcome {
        self.conn.prepare_cached("DELETE FROM child WHERE turn = ?1")?.execute([int(id.0)])?;
        Ok(Done::Ok)
    }

    fn set_state(&self, id: TurnId, state: TurnState) -> rusqlite::Result<()> {
        let sql = "UPDATE turn SET state = ?2, asks = NULL, undo = NULL WHERE id = ?1";
        self.conn.prepare_cached(sql)?.execute(params![int(id.0), state.text()])?;
        Ok(())
    }

    fn append_missing_results(&self, id: TurnId) -> Result<(), Stop> {
        let sql = "SELECT body FROM entry WHERE turn = ?1 AND tool_call IS NOT NULL ORDER BY n";
        let mut statement = self.conn.prepare_cached(sql)?;
        let calls = statement.query_map([int(id.0)], |row| rows::json(row, 0))?.collect::<rusqlite::Result<Vec<Entry>>>()?;
        for entry in transcript::missing_results(&calls) {
            self.append(id, &entry)?;
        }
        Ok(())
    }

    pub(super) fn append(&self, id: TurnId, entry: &Entry) -> Result<(), Stop> {
        let call = match entry {
            Entry::ToolCall { call, .. } | Entry::ToolResult { call, .. } => Some(call),
            Entry::User { .. } | Entry::Assistant { .. } | Entry::Asked { .. } | Entry::Decided { .. } | Entry::Cut => None,
        };
        let sql = "INSERT INTO entry (turn, n, tool_call, body)
             VALUES (?1, (SELECT coalesce(max(n) + 1, 0) FROM entry WHERE turn = ?1), ?2, ?3)";
        self.conn.prepare_cached(sql)?.execute(params![int(id.0), call, serde_json::to_string(entry)?])?;
        Ok(())
    }

    /// Closes the rows that a turn has claimed, and says which.
    fn close_rows(&self, id: TurnId) -> rusqlite::Result<Vec<Seq>> {
        let rows = self.claimed(id)?;
        let sql = "UPDATE inbox SET state = 'closed' WHERE turn = ?1 AND state = 'claimed'";
        self.conn.prepare_cached(sql)?.execute([int(id.0)])?;
        Ok(rows)
    }

    fn claimed(&self, id: TurnId) -> rusqlite::Result<Vec<Seq>> {
        let sql = "SELECT seq FROM inbox WHERE turn = ?1 AND state = 'claimed' ORDER BY seq";
        self.conn.prepare_cached(sql)?.query_map([int(id.0)], |row| rows::seq(row, 0))?.collect()
    }

    pub(super) fn clear(&mut self, clear: &Clear) -> Outcome {
        if let Some(command) = clear.by {
            let sql = "SELECT EXISTS (SELECT 1 FROM inbox WHERE seq = ?1)";
            if !self.conn.prepare_cached(sql)?.query_row([int(command)], |row| row.get::<_, bool>(0))? {
                return Ok(Done::Lost);
            }
        }
        let Some(session) = self.find_session(&clear.session)? else {
            return Ok(Done::Cleared { messages: 0, running: None, cut: 0 });
        };
        let before = int(clear.before);
        if clear.forget {
            let sql = "UPDATE session SET forgotten = max(forgotten, ?2) WHERE id = ?1";
            self.conn.prepare_cached(sql)?.execute([session.id, before])?;
        }
        let close = |kind: &str| -> rusqlite::Result<usize> {
            let sql = "UPDATE inbox SET state = 'closed' WHERE session = ?1 AND state = 'waiting' AND kind = ?3 AND seq < ?2";
            self.conn.prepare_cached(sql)?.execute(params![session.id, before, kind])
        };
        let messages = close("message")?;
        close("retry")?;
        let sql =
            "SELECT id, state FROM turn WHERE session = ?1 AND state IN ('running', 'interrupted', 'parked') AND newest < ?2 ORDER BY id";
        let open = self
            .conn
            .prepare_cached(sql)?
            .query_map([session.id, before], |row| Ok((rows::turn(row, 0)?, rows::word::<TurnState>(row, 1)?)))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let (mut running, mut cut) = (None, 0);
        for (turn, state) in open {
            self.close_turn(turn, TurnState::Stopped)?;
            match state {
                TurnState::Running => running = Some(turn),
                _ => cut += 1,
            }
        }
        Ok(Done::Cleared { messages: u32::try_from(messages).unwrap_or(u32::MAX), running, cut })
    }

    pub(super) fn recover(&mut self, instance: InstanceId, max_attempts: u32, at: Wall) -> Outcome {
        let sql =
            "SELECT id, strikes FROM turn WHERE state IN ('running', 'interrupted', 'parked') AND state = 'running' AND instance <> ?1";
        let left = self
            .conn
            .prepare_cached(sql)?
            .query_map([instance.to_string()], |row| Ok((rows::turn(row, 0)?, row.get::<_, u32>(1)?)))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        for (turn, strikes) in left {
            let strikes = strikes.saturating_add(1);
            let state = if strikes >= max_attempts { TurnState::Parked } else { TurnState::Interrupted };
            self.close_turn(turn, state)?;
            let sql = "UPDATE turn SET strikes = ?3, since = ?2, cause = NULL WHERE id = ?1";
            self.conn.prepare_cached(sql)?.execute(params![int(turn.0), at.0, strikes])?;
        }
        let sql = "UPDATE outbox SET state = 'unknown', unsure = 1, reason = 'the gateway went down while it was being sent'
             WHERE state NOT IN ('sent', 'dead') AND state = 'sending'";
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(Done::Ok)
    }

    fn turn(&self, id: TurnId) -> rusqlite::Result<Option<TurnLine>> {
        let sql = format!("SELECT {COLUMNS} FROM turn WHERE id = ?1");
        found(self.conn.prepare_cached(&sql)?.query_row([int(id.0)], turn_line))
    }

    fn runs(&self, id: TurnId, attempt: u32) -> rusqlite::Result<Option<TurnLine>> {
        Ok(self.turn(id)?.filter(|turn| turn.state == TurnState::Running && turn.attempt == attempt))
    }

    /// The turn that runs in a session.
    fn running(&self, session: i64) -> rusqlite::Result<Option<TurnLine>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM turn WHERE session = ?1 AND state IN ('running', 'interrupted', 'parked') AND state = 'running'
             ORDER BY id DESC LIMIT 1"
        );
        found(self.conn.prepare_cached(&sql)?.query_row([session], turn_line))
    }

    fn entries(&self, id: TurnId) -> rusqlite::Result<Vec<Entry>> {
        let sql = "SELECT body FROM entry WHERE turn = ?1 ORDER BY n";
        self.conn.prepare_cached(sql)?.query_map([int(id.0)], |row| rows::json(row, 0))?.collect()
    }
}

/// [`Entry::Cut`] as it is stored.
const CUT: &str = r#"{"entry":"cut"}"#;

fn is_cut(state: TurnState) -> bool {
    matches!(state, TurnState::Interrupted | TurnState::Parked)
}

fn turn_line(row: &Row<'_>) -> rusqlite::Result<TurnLine> {
    Ok(TurnLine {
        id: rows::turn(row, 0)?,
        session: row.get(1)?,
        state: rows::word(row, 2)?,
        instance: rows::instance(row, 3)?,
        attempt: row.get(4)?,
        strikes: row.get(5)?,
        since: rows::wall(row, 6)?,
        cause: row.get(7)?,
        user: rows::id(row, 8)?,
        name: row.get(9)?,
        reply_to: rows::maybe_id(row, 10)?,
        newest: rows::seq(row, 11)?,
        start: rows::seq(row, 12)?,
        asks: row.get(13)?,
    })
}
