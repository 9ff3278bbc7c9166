//! A turn's life: started, in progress, finished; taken back, cleared, recovered, run again.

use super::books::{Books, InboxState, Kind, Turn, clash, is_cut};
use crate::agent::Entry;
use crate::children::Child;
use crate::clock::Wall;
use crate::ids::{InstanceId, OutboxId, Seq, SessionKey, TurnId};
use crate::ledger::transcript::{self, Join};
use crate::ledger::undo::{Before, SupersededTurn, Undo};
use crate::ledger::{Clear, Done, End, Finish, LeftChild, OutboxState, Resume, Start, Started, Take, TurnState, What, Word};

impl Books {
    pub(super) fn start(&mut self, start: &Start) -> Done {
        if let Some(running) = self.running(&start.session) {
            let turn = &self.turns[&running];
            // The same start again, after a commit of unknown fate: the turn is theirs, and nobody else will run it.
            if turn.start == start.turn.0 && turn.instance == start.instance {
                return self.started(running, start.history);
            }
            return Done::Refused(format!("turn {running} of this session is running"));
        }
        let waiting: Vec<Seq> = self.sessions.get(&start.session).map(|book| book.waiting.iter().copied().collect()).unwrap_or_default();
        let mut gone = Vec::new();
        for oldest in waiting {
            if self.inbox[&oldest].kind == Kind::Message {
                return self.start_messages(start, oldest, &gone);
            }
            match self.to_retry(&start.session, oldest) {
                Some(turn) if is_cut(self.turns[&turn].state) => {
                    self.close_waiting(&start.session, &gone);
                    let turn = self.run_again(turn, start.instance, start.at, Some((start.turn.0, oldest)));
                    return self.started(turn, start.history);
                }
                Some(turn) => return self.start_copy(start, turn, oldest, &gone),
                None => gone.push(oldest),
            }
        }
        self.close_waiting(&start.session, &gone);
        Done::NothingWaiting
    }

    /// Retry rows whose turn is gone have nothing left to ask for.
    fn close_waiting(&mut self, session: &SessionKey, gone: &[Seq]) {
        for seq in gone {
            self.take_row(session, *seq, InboxState::Closed);
        }
    }

    /// The turn that a retry row means.
    fn to_retry(&self, session: &SessionKey, row: Seq) -> Option<TurnId> {
        if let Some(named) = self.inbox[&row].target {
            return self.turns.contains_key(&named).then_some(named);
        }
        self.cut_turns(session).last().copied().or_else(|| self.newest_turn(session))
    }

    fn start_messages(&mut self, start: &Start, oldest: Seq, gone: &[Seq]) -> Done {
        if self.used(start.turn.0) {
            return clash(start.turn.0);
        }
        self.close_waiting(&start.session, gone);
        let waiting = self.sessions[&start.session].waiting.iter().copied();
        let most = if start.take == Take::One { 1 } else { usize::MAX };
        let rows: Vec<Seq> = waiting.take_while(|seq| self.inbox[seq].kind == Kind::Message).take(most).collect();
        let told: Vec<TurnId> = self.cut_turns(&start.session).into_iter().filter(|turn| self.told(*turn, Some(oldest))).collect();
        let superseded = told.into_iter().map(|turn| self.supersede(turn, start.at)).collect();
        let entries = rows.iter().map(|seq| {
            let row = &self.inbox[seq];
            Entry::User { name: Some(row.name.clone()), text: row.text.clone() }
        });
        let entries = entries.collect();
        let newest = *rows.last().expect("the oldest row is one of them");
        let last = &self.inbox[&newest];
        let asked = (last.user.clone(), last.name.clone(), last.message.clone());
        self.add_turn(start, rows, entries, asked, superseded)
    }

    /// A closed turn is never run again; its messages are, as a new one.
    fn start_copy(&mut self, start: &Start, of: TurnId, row: Seq, gone: &[Seq]) -> Done {
        if self.used(start.turn.0) {
            return clash(start.turn.0);
        }
        self.close_waiting(&start.session, gone);
        let old = &self.turns[&of];
        let entries = old.entries.iter().filter(|entry| matches!(entry, Entry::User { .. })).cloned().collect();
        let asked = (old.user.clone(), old.name.clone(), old.reply_to.clone());
        self.add_turn(start, vec![row], entries, asked, Vec::new())
    }

    fn add_turn(
        &mut self,
        start: &Start,
        rows: Vec<Seq>,
        entries: Vec<Entry>,
        (user, name, reply_to): (crate::ids::UserId, String, Option<crate::ids::MessageId>),
        superseded: Vec<SupersededTurn>,
    ) -> Done {
        for seq in &rows {
            self.take_row(&start.session, *seq, InboxState::Claimed);
        }
        self.saw(start.turn.0);
        let turn = Turn {
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
            newest: *rows.last().expect("a turn takes at least one row"),
            start: start.turn.0,
            entries,
            undo: Undo { before: None, rows: rows.clone(), superseded },
            rows,
        };
        self.turns.insert(start.turn, turn);
        self.sessions.entry(start.session.clone()).or_default().turns.insert(start.turn);
        self.started(start.turn, start.history)
    }

    /// A waiting row waits no longer.
    fn take_row(&mut self, session: &SessionKey, seq: Seq, state: InboxState) {
        if let Some(book) = self.sessions.get_mut(session) {
            book.waiting.remove(&seq);
        }
        if let Some(row) = self.inbox.get_mut(&seq) {
            row.state = state;
        }
    }

    /// Whether the chat was told about a cut, before row `by` was accepted if one is named.
    pub(super) fn told(&self, id: TurnId, by: Option<Seq>) -> bool {
        let attempt = self.turns[&id].attempt;
        self.words.get(&id).into_iter().flatten().filter_map(|id| self.outbox.get(id)).any(|posted| {
            posted.attempt == attempt
                && matches!(posted.row.what, What::Reply { word: Word::Interrupted | Word::Approval | Word::Parked })
                && by.is_none_or(|by| posted.row.id < OutboxId(by))
        })
    }

    fn supersede(&mut self, id: TurnId, at: Wall) -> SupersededTurn {
        let rows = self.turns[&id].rows.clone();
        let rows = self.close_rows(&rows);
        let turn = self.turns.get_mut(&id).expect("a turn that was told about exists");
        let undone = SupersededTurn { turn: id, state: turn.state, since: turn.since, asks: turn.asks.take(), rows };
        turn.state = TurnState::Superseded;
        turn.since = at;
        undone
    }

    /// A cut turn runs under its old id; `by`: the number of the start and the retry row that asked for it.
    fn run_again(&mut self, id: TurnId, instance: InstanceId, at: Wall, by: Option<(Seq, Seq)>) -> TurnId {
        if let Some((_, row)) = by {
            let session = self.turns[&id].session.clone();
            self.take_row(&session, row, InboxState::Claimed);
        }
        let turn = self.turns.get_mut(&id).expect("the caller has found the turn");
        turn.undo = Undo {
            before: Some(Before {
                state: turn.state,
                instance: turn.instance,
                strikes: turn.strikes,
                since: turn.since,
                cause: turn.cause.take(),
                asks: turn.asks.take(),
                newest: turn.newest,
                start: turn.start,
                entries: u32::try_from(turn.entries.len()).unwrap_or(u32::MAX),
            }),
            rows: by.map(|(_, row)| row).into_iter().collect(),
            superseded: Vec::new(),
        };
        turn.state = TurnState::Running;
        turn.attempt += 1;
        turn.instance = instance;
        turn.since = at;
        turn.start = by.map_or(Seq(0), |(start, _)| start);
        if let Some((_, row)) = by {
            turn.strikes = 0;
            turn.newest = turn.newest.max(row);
            turn.rows.push(row);
        }
        id
    }

    pub(super) fn resume(&mut self, resume: &Resume) -> Done {
        let Some(turn) = self.turns.get(&resume.turn) else { return Done::Lost };
        let repeated = turn.state == TurnState::Running
            && turn.attempt == resume.attempt + 1
            && turn.instance == resume.instance
            && turn.start == Seq(0);
        if repeated {
            return self.started(resume.turn, resume.history);
        }
        if turn.state != TurnState::Interrupted || turn.attempt != resume.attempt {
            return Done::Lost;
        }
        if let Some(running) = self.running(&turn.session) {
            return Done::Refused(format!("turn {running} of this session is running"));
        }
        let turn = self.run_again(resume.turn, resume.instance, resume.at, None);
        self.started(turn, resume.history)
    }

    /// What the agent gets to see of a turn that runs.
    fn started(&self, id: TurnId, most: u32) -> Done {
        let turn = &self.turns[&id];
        let book = &self.sessions[&turn.session];
        let mut earlier: Vec<(TurnId, Entry)> = book
            .turns
            .range(..id)
            .rev()
            .filter(|other| self.turns[other].newest > book.forgotten)
            .flat_map(|other| self.turns[other].entries.iter().rev().map(|entry| (*other, entry.clone())))
            .take(most as usize)
            .collect();
        earlier.reverse();
        Done::Started(Box::new(Started {
            turn: id,
            attempt: turn.attempt,
            strikes: turn.strikes,
            decisions: transcript::decisions(&turn.entries),
            history: transcript::history(earlier, turn.entries.clone(), book.shared),
            reply_to: turn.reply_to.clone(),
            asked_by: (turn.user.clone(), turn.name.clone()),
            left: u32::try_from(book.waiting.len()).unwrap_or(u32::MAX),
        }))
    }

    pub(super) fn unstart(&mut self, id: TurnId, attempt: u32) -> Done {
        if !self.runs(id, attempt) {
            return Done::Lost;
        }
        let turn = self.turns.get_mut(&id).expect("it runs");
        let Undo { before, rows, superseded } = std::mem::take(&mut turn.undo);
        let session = turn.session.clone();
        let book = self.sessions.entry(session).or_default();
        if let Some(before) = before {
            turn.state = before.state;
            turn.instance = before.instance;
            turn.attempt -= 1;
            turn.strikes = before.strikes;
            turn.since = before.since;
            turn.cause = before.cause;
            turn.asks = before.asks;
            turn.newest = before.newest;
            turn.start = before.start;
            turn.entries.truncate(before.entries as usize);
            turn.rows.retain(|row| !rows.contains(row));
        } else {
            self.turns.remove(&id);
            book.turns.remove(&id);
        }
        for seq in rows {
            if let Some(row) = self.inbox.get_mut(&seq) {
                row.state = InboxState::Waiting;
                book.waiting.insert(seq);
            }
        }
        for old in superseded {
            let Some(turn) = self.turns.get_mut(&old.turn) else { continue };
            turn.state = old.state;
            turn.since = old.since;
            turn.asks = old.asks;
            for seq in old.rows {
                if let Some(row) = self.inbox.get_mut(&seq) {
                    row.state = InboxState::Claimed;
                }
            }
        }
        Done::Ok
    }

    fn runs(&self, id: TurnId, attempt: u32) -> bool {
        self.turns.get(&id).is_some_and(|turn| turn.state == TurnState::Running && turn.attempt == attempt)
    }

    pub(super) fn progress(&mut self, id: TurnId, attempt: u32, entry: &Entry) -> Done {
        if !self.runs(id, attempt) {
            return Done::Lost;
        }
        let entries = &mut self.turns.get_mut(&id).expect("it runs").entries;
        match transcript::join(entries, entry) {
            Join::Append => {
                entries.push(entry.clone());
                Done::Ok
            }
            Join::Known => Done::Ok,
            Join::Refused(why) => Done::Refused(why.into()),
        }
    }

    pub(super) fn finish(&mut self, finish: &Finish) -> Done {
        if !self.runs(finish.turn, finish.attempt) {
            return if self.is_repeat(finish) { Done::Ok } else { Done::Lost };
        }
        if let Some(clash) = self.replies_clash(&finish.replies, Some(finish.turn)) {
            return clash;
        }
        match &finish.end {
            End::Answered(text) => self.answer_turn(finish.turn, text),
            End::Asks { call, question } => self.ask_approval(finish.turn, call, question),
            End::Interrupted { cause: why } | End::Failed { reason: why } => self.end(finish, Some(why)),
            End::Stopped | End::Superseded => self.end(finish, None),
        }
        let turn = self.turns.get_mut(&finish.turn).expect("it ran");
        turn.since = finish.at;
        if let Some(request) = &finish.request {
            let session = turn.session.clone();
            let asked = super::books::Asked { session, request: request.clone(), at: finish.at, answered: false };
            self.requests.insert(finish.turn.0, asked);
        }
        self.post_all(&finish.replies, finish.attempt);
        Done::Ok
    }

    /// Whether this very end is what ended the turn: its words are here.
    fn is_repeat(&self, finish: &Finish) -> bool {
        let ended = |turn: &super::books::Turn| turn.attempt == finish.attempt && turn.state == finish.end.state();
        let ours = |row: &crate::ledger::OutboxRow| self.outbox.get(&row.id).is_some_and(|posted| posted.row.turn == Some(finish.turn));
        self.turns.get(&finish.turn).is_some_and(ended) && finish.replies.iter().all(ours)
    }

    /// What was cut before is answered now: the marks go.
    fn answer_turn(&mut self, id: TurnId, text: &str) {
        let turn = self.turns.get_mut(&id).expect("it runs");
        turn.state = TurnState::Answered;
        turn.cause = None;
        turn.undo = Undo::default();
        turn.entries.retain(|entry| *entry != Entry::Cut);
        let missing = transcript::missing_results(&turn.entries);
        turn.entries.extend(missing);
        turn.entries.push(Entry::Assistant { text: text.to_owned() });
        let rows = turn.rows.clone();
        self.close_rows(&rows);
    }

    /// It waits for a decision: at a safe point, and nothing of it is lost.
    fn ask_approval(&mut self, id: TurnId, call: &str, question: &str) {
        let turn = self.turns.get_mut(&id).expect("it runs");
        turn.state = TurnState::Interrupted;
        turn.undo = Undo::default();
        turn.asks = Some(call.to_owned());
        let missing = transcript::missing_results(&turn.entries);
        turn.entries.extend(missing);
        turn.entries.push(Entry::Asked { call: call.to_owned(), question: question.to_owned() });
    }

    pub(super) fn child(&mut self, turn: TurnId, attempt: u32, child: &Child) -> Done {
        if !self.runs(turn, attempt) {
            return Done::Lost;
        }
        let left = LeftChild { turn, instance: self.turns[&turn].instance, child: child.clone() };
        if !self.children.iter().any(|known| (known.turn, &known.child) == (turn, child)) {
            self.children.push(left);
            self.children.sort_by(|a, b| (a.turn, &a.child).cmp(&(b.turn, &b.child)));
        }
        Done::Ok
    }

    pub(super) fn children_gone(&mut self, turn: TurnId) -> Done {
        self.children.retain(|left| left.turn != turn);
        Done::Ok
    }

    fn end(&mut self, finish: &Finish, cause: Option<&String>) {
        self.close_turn(finish.turn, finish.end.state());
        self.turns.get_mut(&finish.turn).expect("it was just closed").cause = cause.cloned();
    }

    pub(super) fn clear(&mut self, clear: &Clear) -> Done {
        if clear.by.is_some_and(|command| !self.inbox.contains_key(&command)) {
            return Done::Lost;
        }
        let Some(book) = self.sessions.get_mut(&clear.session) else {
            return Done::Cleared { messages: 0, running: None, cut: 0 };
        };
        if clear.forget {
            book.forgotten = book.forgotten.max(clear.before);
        }
        let rows: Vec<Seq> = book.waiting.range(..clear.before).copied().collect();
        let messages = rows.iter().filter(|seq| self.inbox[seq].kind == Kind::Message).count();
        for seq in rows {
            self.take_row(&clear.session, seq, InboxState::Closed);
        }
        let running = self.running(&clear.session).filter(|turn| self.turns[turn].newest < clear.before);
        let cut: Vec<TurnId> = self.cut_turns(&clear.session).into_iter().filter(|turn| self.turns[turn].newest < clear.before).collect();
        for turn in running.iter().chain(&cut) {
            self.close_turn(*turn, TurnState::Stopped);
        }
        Done::Cleared { messages: u32::try_from(messages).unwrap_or(u32::MAX), running, cut: u32::try_from(cut.len()).unwrap_or(u32::MAX) }
    }

    pub(super) fn recover(&mut self, instance: InstanceId, max_attempts: u32, at: Wall) -> Done {
        let left: Vec<TurnId> = self
            .turns
            .iter()
            .filter(|(_, turn)| turn.state == TurnState::Running && turn.instance != instance)
            .map(|(id, _)| *id)
            .collect();
        for id in left {
            let turn = self.turns.get_mut(&id).expect("it was just listed");
            turn.strikes += 1;
            turn.since = at;
            turn.cause = None;
            let state = if turn.strikes >= max_attempts { TurnState::Parked } else { TurnState::Interrupted };
            self.close_turn(id, state);
        }
        for row in self.outbox.values_mut().map(|posted| &mut posted.row) {
            if row.state == OutboxState::Sending {
                (row.state, row.unsure) = (OutboxState::Unknown, true);
                row.reason = Some("the gateway went down while it was being sent".into());
            }
        }
        Done::Ok
    }
}
