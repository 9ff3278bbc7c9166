//! A turn's life: started, in progress, finished; taken back, cleared, recovered, run again.

use super::{CUT_OFF, DROPPED, Part, Rules, Stop, call_of, refused};
use crate::agent::Entry;
use crate::children::Child;
use crate::clock::Wall;
use crate::ids::{AdapterName, InstanceId, MessageId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::ledger::rows::{Asked, Change, Inbox, InboxState, Kind, Rows, Session, Turn};
use crate::ledger::transcript::{self, Join};
use crate::ledger::undo::{Before, SupersededTurn, Undo};
use crate::ledger::{Closes, Done, End, Finish, LeftChild, OutboxState, Resume, Start, Started, Take, TurnState, Word};

/// What a new turn takes up.
struct Taking {
    rows: Vec<Seq>,
    entries: Vec<Entry>,
    asked_by: (UserId, String),
    reply_to: Option<MessageId>,
    superseded: Vec<SupersededTurn>,
}

impl<R: Rows> Rules<'_, R> {
    pub(super) fn start(&mut self, start: &Start) -> Part<Done, R> {
        let waiting = self.rows.waiting(&start.session)?;
        if let Some(running) = self.running_in(&start.session)? {
            // The same start again, after a commit of unknown fate: the turn is theirs, and nobody else will run it.
            if running.start == start.turn.0 && running.instance == start.instance {
                let own = self.rows.entries(running.id)?;
                return self.started(&running, own, waiting.len(), start.history);
            }
            return Err(refused(format!("turn {} of this session is running", running.id)));
        }
        for (at, oldest) in waiting.iter().enumerate() {
            let left = waiting.len() - at;
            if oldest.kind == Kind::Message {
                return self.start_messages(start, &waiting[at..]);
            }
            match self.meant_by(&start.session, oldest)? {
                Some(turn) if turn.is_cut() => {
                    return self.run_again(turn, (start.instance, start.at), Some((start.turn.0, oldest.seq)), left, start.history);
                }
                Some(turn) => return self.start_copy(start, &turn, oldest.seq, left),
                // Its turn is gone: there is nothing left to ask for.
                None => self.change(Change::Inbox(oldest.seq, InboxState::Closed, None)),
            }
        }
        Ok(Done::NothingWaiting)
    }

    /// The turn that a retry row means.
    fn meant_by(&mut self, session: &SessionKey, row: &Inbox) -> Part<Option<Turn>, R> {
        if let Some(named) = row.target {
            return Ok(self.rows.turn(named)?);
        }
        if let Some(cut) = self.rows.open_turns(session)?.into_iter().rev().find(Turn::is_cut) {
            return Ok(Some(cut));
        }
        let forgotten = self.rows.session(session)?.unwrap_or_default().forgotten;
        Ok(self.rows.newest_turn(session, forgotten)?)
    }

    /// `waiting` begins with a message.
    fn start_messages(&mut self, start: &Start, waiting: &[Inbox]) -> Part<Done, R> {
        self.take(start.turn.0)?;
        let most = if start.take == Take::One { 1 } else { usize::MAX };
        let messages: Vec<&Inbox> = waiting.iter().take_while(|row| row.kind == Kind::Message).take(most).collect();
        let (oldest, newest) = (messages[0], messages[messages.len() - 1]);
        let superseded = self.supersede(&start.session, oldest.seq, start.at)?;
        let entries = messages.iter().map(|row| Entry::User { name: Some(row.name.clone()), text: row.text.clone() });
        let taking = Taking {
            rows: messages.iter().map(|row| row.seq).collect(),
            entries: entries.collect(),
            asked_by: (newest.user.clone(), newest.name.clone()),
            reply_to: newest.message.clone(),
            superseded,
        };
        self.begin(start, taking, waiting.len())
    }

    /// A closed turn is never run again; its messages are, as a new one.
    fn start_copy(&mut self, start: &Start, of: &Turn, row: Seq, left: usize) -> Part<Done, R> {
        self.take(start.turn.0)?;
        let entries = self.rows.entries(of.id)?.into_iter().filter(|entry| matches!(entry, Entry::User { .. }));
        let taking = Taking {
            rows: vec![row],
            entries: entries.collect(),
            asked_by: (of.user.clone(), of.name.clone()),
            reply_to: of.reply_to.clone(),
            superseded: Vec::new(),
        };
        self.begin(start, taking, left)
    }

    fn begin(&mut self, start: &Start, taking: Taking, waiting: usize) -> Part<Done, R> {
        let Taking { rows, entries, asked_by: (user, name), reply_to, superseded } = taking;
        for seq in &rows {
            self.change(Change::Inbox(*seq, InboxState::Claimed, Some(start.turn)));
        }
        let newest = rows.last().copied().unwrap_or_default();
        let left = waiting - rows.len();
        // The usual turn can be taken back from its rows alone.
        let undo = (!superseded.is_empty()).then_some(Undo { before: None, rows, superseded });
        let turn = Turn {
            id: start.turn,
            session: start.session.clone(),
            state: TurnState::Running,
            instance: start.instance,
            attempt: 1,
            strikes: 0,
            since: start.at,
            cause: None,
            asks: None,
            user,
            name,
            reply_to,
            newest,
            start: start.turn.0,
            undo,
        };
        self.change(Change::Begun(turn.clone(), entries.clone()));
        self.started(&turn, entries, left, start.history)
    }

    /// Closes the cut turns of which the chat was told before row `by` was accepted.
    fn supersede(&mut self, session: &SessionKey, by: Seq, at: Wall) -> Part<Vec<SupersededTurn>, R> {
        let mut superseded = Vec::new();
        for mut turn in self.rows.open_turns(session)?.into_iter().filter(Turn::is_cut) {
            if !self.told(&turn, by)? {
                continue;
            }
            let rows = self.close_claimed(turn.id)?;
            superseded.push(SupersededTurn { turn: turn.id, state: turn.state, since: turn.since, asks: turn.asks.take(), rows });
            (turn.state, turn.since) = (TurnState::Superseded, at);
            self.change(Change::Turn(turn));
        }
        Ok(superseded)
    }

    /// Whether the chat was told about a cut before row `by` was accepted.
    fn told(&mut self, turn: &Turn, by: Seq) -> Part<bool, R> {
        let said = self.rows.said(turn.id)?;
        Ok(said.iter().any(|said| {
            said.attempt == turn.attempt && matches!(said.word, Word::Interrupted | Word::Approval | Word::Parked) && said.id < OutboxId(by)
        }))
    }

    /// A cut turn runs under its old id; `by`: the number of the start and the retry row that asked for it.
    fn run_again(
        &mut self,
        mut turn: Turn,
        (instance, at): (InstanceId, Wall),
        by: Option<(Seq, Seq)>,
        waiting: usize,
        history: u32,
    ) -> Part<Done, R> {
        let own = self.rows.entries(turn.id)?;
        let before = Before {
            state: turn.state,
            instance: turn.instance,
            strikes: turn.strikes,
            since: turn.since,
            cause: turn.cause.take(),
            asks: turn.asks.take(),
            newest: turn.newest,
            start: turn.start,
            entries: u32::try_from(own.len()).unwrap_or(u32::MAX),
        };
        let rows = by.map(|(_, row)| row).into_iter().collect();
        turn.undo = Some(Undo { before: Some(before), rows, superseded: Vec::new() });
        (turn.state, turn.instance, turn.since) = (TurnState::Running, instance, at);
        turn.attempt = turn.attempt.saturating_add(1);
        turn.start = by.map_or(Seq(0), |(start, _)| start);
        let mut left = waiting;
        if let Some((_, row)) = by {
            self.change(Change::Inbox(row, InboxState::Claimed, Some(turn.id)));
            turn.strikes = 0;
            turn.newest = turn.newest.max(row);
            left -= 1;
        }
        self.change(Change::Turn(turn.clone()));
        self.started(&turn, own, left, history)
    }

    pub(super) fn resume(&mut self, resume: &Resume) -> Part<Done, R> {
        let turn = self.rows.turn(resume.turn)?.ok_or(Stop::Done(Done::Lost))?;
        let repeated = turn.state == TurnState::Running
            && resume.attempt.checked_add(1) == Some(turn.attempt)
            && turn.instance == resume.instance
            && turn.start == Seq(0);
        let waiting = self.rows.waiting(&turn.session)?.len();
        if repeated {
            let own = self.rows.entries(turn.id)?;
            return self.started(&turn, own, waiting, resume.history);
        }
        if turn.state != TurnState::Interrupted || turn.attempt != resume.attempt {
            return Ok(Done::Lost);
        }
        if let Some(running) = self.running_in(&turn.session)? {
            return Err(refused(format!("turn {} of this session is running", running.id)));
        }
        self.run_again(turn, (resume.instance, resume.at), None, waiting, resume.history)
    }

    /// What the agent gets to see of a turn that runs.
    fn started(&mut self, turn: &Turn, own: Vec<Entry>, left: usize, most: u32) -> Part<Done, R> {
        let session = self.rows.session(&turn.session)?.unwrap_or_default();
        let earlier = self.rows.earlier(&turn.session, turn.id, session.forgotten, most)?;
        Ok(Done::Started(Box::new(Started {
            turn: turn.id,
            attempt: turn.attempt,
            strikes: turn.strikes,
            decisions: transcript::decisions(&own),
            history: transcript::history(earlier, own, session.shared),
            reply_to: turn.reply_to.clone(),
            asked_by: (turn.user.clone(), turn.name.clone()),
            left: u32::try_from(left).unwrap_or(u32::MAX),
        })))
    }

    pub(super) fn unstart(&mut self, id: TurnId, attempt: u32) -> Part<Done, R> {
        let mut turn = self.runs(id, attempt)?;
        let undo = match turn.undo.take() {
            Some(undo) => undo,
            None => Undo { before: None, rows: self.rows.claimed(id)?, superseded: Vec::new() },
        };
        match undo.before {
            Some(before) => {
                self.change(Change::Truncate(id, before.entries));
                put_back(&mut turn, before);
                self.change(Change::Turn(turn));
            }
            None => self.change(Change::TurnGone(id)),
        }
        for seq in undo.rows {
            self.change(Change::Inbox(seq, InboxState::Waiting, None));
        }
        for old in undo.superseded {
            let Some(mut turn) = self.rows.turn(old.turn)? else { continue };
            (turn.state, turn.since, turn.asks) = (old.state, old.since, old.asks);
            self.change(Change::Turn(turn));
            for seq in old.rows {
                self.change(Change::Inbox(seq, InboxState::Claimed, Some(old.turn)));
            }
        }
        Ok(Done::Ok)
    }

    pub(super) fn progress(&mut self, id: TurnId, attempt: u32, entry: &Entry) -> Part<Done, R> {
        self.runs(id, attempt)?;
        let known = self.rows.entries_about(id, call_of(entry))?;
        match transcript::join(&known, entry) {
            Join::Append => self.change(Change::Append(id, vec![entry.clone()])),
            Join::Known => {}
            Join::Refused(why) => return Err(refused(why)),
        }
        Ok(Done::Ok)
    }

    pub(super) fn child(&mut self, id: TurnId, attempt: u32, child: &Child) -> Part<Done, R> {
        let turn = self.runs(id, attempt)?;
        self.change(Change::Child(LeftChild { turn: id, instance: turn.instance, child: child.clone() }));
        Ok(Done::Ok)
    }

    pub(super) fn finish(&mut self, finish: &Finish) -> Part<Done, R> {
        let found = self.rows.turn(finish.turn)?;
        let mut turn = match found {
            Some(turn) if turn.state == TurnState::Running && turn.attempt == finish.attempt => turn,
            Some(turn) if self.is_repeat(&turn, finish)? => return Ok(Done::Ok),
            Some(_) | None => return Ok(Done::Lost),
        };
        let session = turn.session.clone();
        (turn.since, turn.cause) = (finish.at, None);
        match &finish.end {
            End::Answered(text) => self.answer(turn, text)?,
            End::Asks { call, question } => self.ask(turn, call, question)?,
            end => {
                turn.cause = match end {
                    End::Interrupted { cause: why } | End::Failed { reason: why } => Some(why.clone()),
                    End::Answered(_) | End::Asks { .. } | End::Stopped | End::Superseded => None,
                };
                self.close_turn(turn, end.state())?;
            }
        }
        if let Some(request) = &finish.request {
            let asked = Asked { session, request: request.clone(), at: finish.at, answered: false };
            self.change(Change::Asked(finish.turn.0, asked));
        }
        self.post_all(&finish.replies, Some(finish.turn), finish.attempt)?;
        Ok(Done::Ok)
    }

    /// Whether this very end is what ended the turn: its words are here.
    fn is_repeat(&mut self, turn: &Turn, finish: &Finish) -> Part<bool, R> {
        if turn.attempt != finish.attempt || turn.state != finish.end.state() {
            return Ok(false);
        }
        for row in &finish.replies {
            if self.rows.posted(row.id)?.is_none_or(|known| known.row.turn != Some(finish.turn)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What was cut before is answered now: the marks go.
    fn answer(&mut self, mut turn: Turn, text: &str) -> Part<(), R> {
        let mut entries = transcript::missing_results(&self.rows.calls(turn.id)?);
        entries.push(Entry::Assistant { text: text.to_owned() });
        if turn.attempt > 1 {
            self.change(Change::Uncut(turn.id));
        }
        self.change(Change::Append(turn.id, entries));
        self.close_claimed(turn.id)?;
        (turn.state, turn.asks, turn.undo) = (TurnState::Answered, None, None);
        self.change(Change::Turn(turn));
        Ok(())
    }

    /// It waits for a decision: at a safe point, and nothing of it is lost.
    fn ask(&mut self, mut turn: Turn, call: &str, question: &str) -> Part<(), R> {
        let mut entries = transcript::missing_results(&self.rows.calls(turn.id)?);
        entries.push(Entry::Asked { call: call.to_owned(), question: question.to_owned() });
        self.change(Change::Append(turn.id, entries));
        (turn.state, turn.asks, turn.undo) = (TurnState::Interrupted, Some(call.to_owned()), None);
        self.change(Change::Turn(turn));
        Ok(())
    }

    /// Closes what a session has open before row `by`, and nothing after.
    pub(super) fn close_before(&mut self, by: Seq, key: &SessionKey, mut session: Session, closes: Closes) -> Part<Done, R> {
        if closes == Closes::Conversation {
            session.forgotten = session.forgotten.max(by);
            self.change(Change::Session(key.clone(), session));
        }
        let mut messages = 0;
        for row in self.rows.waiting(key)?.into_iter().filter(|row| row.seq < by) {
            messages += u32::from(row.kind == Kind::Message);
            self.change(Change::Inbox(row.seq, InboxState::Closed, None));
        }
        let (mut running, mut cut) = (None, 0);
        for turn in self.rows.open_turns(key)?.into_iter().filter(|turn| turn.newest < by) {
            match turn.state {
                TurnState::Running => running = Some(turn.id),
                _ => cut += 1,
            }
            self.close_turn(turn, TurnState::Stopped)?;
        }
        Ok(Done::Cleared { messages, running, cut })
    }

    pub(super) fn turn_drop(&mut self, id: TurnId) -> Part<Done, R> {
        let turn = self.rows.turn(id)?.filter(Turn::is_cut).ok_or(Stop::Done(Done::Lost))?;
        self.close_turn(turn, TurnState::Stopped)?;
        Ok(Done::Ok)
    }

    pub(super) fn recover(&mut self, instance: InstanceId, max_attempts: u32, at: Wall) -> Part<Done, R> {
        for mut turn in self.rows.running()?.into_iter().filter(|turn| turn.instance != instance) {
            turn.strikes = turn.strikes.saturating_add(1);
            (turn.since, turn.cause) = (at, None);
            let state = if turn.strikes >= max_attempts { TurnState::Parked } else { TurnState::Interrupted };
            self.close_turn(turn, state)?;
        }
        for mut posted in self.rows.sending()? {
            (posted.row.state, posted.row.unsure) = (OutboxState::Unknown, true);
            posted.row.reason = Some(CUT_OFF.into());
            self.change(Change::Posted(posted.row));
        }
        Ok(Done::Ok)
    }

    pub(super) fn drop_adapter(&mut self, adapter: &AdapterName) -> Part<Done, R> {
        let rows = self.rows.waiting_of(adapter)?;
        let turns = self.rows.open_turns_of(adapter)?;
        let posts = self.rows.open_posts_of(adapter)?;
        let dropped = rows.len() + turns.len() + posts.len();
        for seq in rows {
            self.change(Change::Refused(seq, DROPPED.into()));
        }
        for turn in turns {
            self.close_turn(turn, TurnState::Stopped)?;
        }
        for id in posts {
            self.change(Change::GivenUp(id, DROPPED.into()));
        }
        Ok(Done::Moved(u32::try_from(dropped).unwrap_or(u32::MAX)))
    }
}

fn put_back(turn: &mut Turn, before: Before) {
    turn.attempt = turn.attempt.saturating_sub(1);
    turn.state = before.state;
    turn.instance = before.instance;
    turn.strikes = before.strikes;
    turn.since = before.since;
    turn.cause = before.cause;
    turn.asks = before.asks;
    turn.newest = before.newest;
    turn.start = before.start;
}
