//! The rows of the ledger in memory, and the way from a step to what it does to them.
//!
//! Every step checks first and changes afterwards, so that one that is refused has changed nothing.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::agent::Entry;
use crate::clock::Wall;
use crate::ids::{Account, AdapterName, ChatId, Cursor, DeliveryId, InstanceId, MessageId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::ledger::undo::Undo;
use crate::ledger::{Done, InstanceFacts, LeftChild, NoticeKind, OutboxRow, PairCode, Request, Step, TurnState};

/// Everything.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) ledger: Uuid,
    pub(super) last: Seq,
    /// In the order of birth.
    pub(super) instances: Vec<InstanceFacts>,
    pub(super) cursors: BTreeMap<Account, Cursor>,
    pub(super) sessions: BTreeMap<SessionKey, Session>,
    pub(super) inbox: BTreeMap<Seq, InboxRow>,
    pub(super) keys: BTreeMap<(Account, DeliveryId), Seq>,
    pub(super) turns: BTreeMap<TurnId, Turn>,
    pub(super) outbox: BTreeMap<OutboxId, Posted>,
    pub(super) words: BTreeMap<TurnId, Vec<OutboxId>>,
    pub(super) notices: BTreeSet<(NoticeKind, String, ChatId)>,
    pub(super) requests: BTreeMap<Seq, Asked>,
    /// By turn.
    pub(super) children: Vec<LeftChild>,
    pub(super) let_in: BTreeMap<(AdapterName, UserId), String>,
    /// Oldest first.
    pub(super) codes: Vec<PairCode>,
}

/// One conversation.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Turns whose newest row lies before this belong to an earlier conversation.
    pub(super) forgotten: Seq,
    pub(super) first_user: Option<UserId>,
    /// Whether more than one person has spoken.
    pub(super) shared: bool,
    /// Waiting messages and retries.
    pub(super) waiting: BTreeSet<Seq>,
    pub(super) turns: BTreeSet<TurnId>,
}

/// One delivery, or an operator's retry.
#[derive(Debug)]
pub(super) struct InboxRow {
    pub(super) key: Option<(Account, DeliveryId)>,
    pub(super) session: SessionKey,
    pub(super) user: UserId,
    pub(super) name: String,
    pub(super) message: Option<MessageId>,
    pub(super) at: Wall,
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) state: InboxState,
    /// The turn that a retry names.
    pub(super) target: Option<TurnId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Retry,
    Command,
    Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InboxState {
    Waiting,
    Claimed,
    Closed,
    Refused,
}

/// One turn with its part of the transcript.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) session: SessionKey,
    pub(super) state: TurnState,
    pub(super) instance: InstanceId,
    pub(super) attempt: u32,
    pub(super) strikes: u32,
    pub(super) since: Wall,
    pub(super) cause: Option<String>,
    /// The call that it asks approval for.
    pub(super) asks: Option<String>,
    pub(super) user: UserId,
    pub(super) name: String,
    pub(super) reply_to: Option<MessageId>,
    /// The newest inbox row that it took: what was accepted later lies behind it.
    pub(super) newest: Seq,
    /// The number that its start brought along, by which a repeated start is recognised; 0 after a resume.
    pub(super) start: Seq,
    pub(super) entries: Vec<Entry>,
    pub(super) rows: Vec<Seq>,
    pub(super) undo: Undo,
}

/// One outbox row.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) row: OutboxRow,
    /// The attempt of its turn that it speaks of.
    pub(super) attempt: u32,
}

/// A wish to end the process.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) session: SessionKey,
    pub(super) request: Request,
    pub(super) at: Wall,
    pub(super) answered: bool,
}

impl Default for Books {
    fn default() -> Self {
        Self {
            ledger: Uuid::new_v4(),
            last: Seq::default(),
            instances: Vec::new(),
            cursors: BTreeMap::new(),
            sessions: BTreeMap::new(),
            inbox: BTreeMap::new(),
            keys: BTreeMap::new(),
            turns: BTreeMap::new(),
            outbox: BTreeMap::new(),
            words: BTreeMap::new(),
            notices: BTreeSet::new(),
            requests: BTreeMap::new(),
            children: Vec::new(),
            let_in: BTreeMap::new(),
            codes: Vec::new(),
        }
    }
}

impl Books {
    /// Takes one step to its consequence.
    pub(super) fn apply(&mut self, step: &Step) -> Done {
        match step {
            Step::Born(born) => self.born(born),
            Step::Recover { instance, max_attempts, at } => self.recover(*instance, *max_attempts, *at),
            Step::Accept(accept) => self.accept(accept),
            Step::Cursor { account, cursor } => self.cursor(account, cursor),
            Step::Settle(settle) => self.settle(settle),
            Step::Clear(clear) => self.clear(clear),
            Step::Start(start) => self.start(start),
            Step::Resume(resume) => self.resume(resume),
            Step::Unstart { turn, attempt } => self.unstart(*turn, *attempt),
            Step::Progress { turn, attempt, entry } => self.progress(*turn, *attempt, entry),
            Step::Child { turn, attempt, child } => self.child(*turn, *attempt, child),
            Step::ChildrenGone { turn } => self.children_gone(*turn),
            Step::Finish(finish) => self.finish(finish),
            Step::Tell(row) => self.tell(row),
            Step::Notice(row) => self.notice(row),
            Step::Draft(row) => self.draft(row),
            Step::Fate { id, fate } => self.fate(*id, fate),
            Step::Phase { instance, phase, at } => self.phase(*instance, *phase, *at),
            Step::Leaving { instance, why } => self.leaving(*instance, why),
            Step::Ended { instance, clean, kind, verdict, at } => self.ended(*instance, (*at, *kind, *clean, verdict.clone())),
            Step::Answered { request, replies } => self.answered(*request, replies),
            Step::PairCode(code) => self.pair_code(code),
            Step::PairApprove { code, at } => self.pair_approve(code, *at),
            Step::PairRevoke { adapter, user } => self.pair_revoke(adapter, user),
            Step::TurnRetry { seq, turn, at } => self.turn_retry(*seq, *turn, *at),
            Step::TurnDrop { turn } => self.turn_drop(*turn),
            Step::OutboxRetry { id, at } => self.outbox_retry(*id, *at),
            Step::OutboxDrop { id } => self.outbox_drop(*id),
            Step::MoveAdapter { from, to } => self.move_adapter(from, to),
            Step::DropAdapter { adapter } => self.drop_adapter(adapter),
            Step::Prune { before, most } => self.prune(*before, *most as usize),
        }
    }

    /// Whether a row, a turn or a word has this number.
    pub(super) fn used(&self, seq: Seq) -> bool {
        self.inbox.contains_key(&seq) || self.turns.contains_key(&TurnId(seq)) || self.outbox.contains_key(&OutboxId(seq))
    }

    /// Remembers the highest number ever written.
    pub(super) fn saw(&mut self, seq: Seq) {
        self.last = self.last.max(seq);
    }

    /// The turn that runs in a session.
    pub(super) fn running(&self, session: &SessionKey) -> Option<TurnId> {
        let turns = &self.sessions.get(session)?.turns;
        turns.iter().rev().copied().find(|turn| self.turns[turn].state == TurnState::Running)
    }

    /// The turns of a session that were cut and are not closed, oldest first.
    pub(super) fn cut_turns(&self, session: &SessionKey) -> Vec<TurnId> {
        let Some(book) = self.sessions.get(session) else { return Vec::new() };
        book.turns.iter().copied().filter(|turn| is_cut(self.turns[turn].state)).collect()
    }

    /// The newest turn of the present conversation.
    pub(super) fn newest_turn(&self, session: &SessionKey) -> Option<TurnId> {
        let book = self.sessions.get(session)?;
        book.turns.iter().rev().copied().find(|turn| self.turns[turn].newest > book.forgotten)
    }

    /// Ends a turn for good or for now. Whatever it took stays claimed only while the turn can be run again.
    pub(super) fn close_turn(&mut self, id: TurnId, state: TurnState) {
        let turn = self.turns.get_mut(&id).expect("the caller has found the turn");
        turn.state = state;
        turn.undo = Undo::default();
        turn.asks = None;
        turn.cut();
        if !is_cut(state) {
            let rows = turn.rows.clone();
            self.close_rows(&rows);
        }
    }

    /// Closes claimed rows; others are left as they are. Says which were closed.
    pub(super) fn close_rows(&mut self, rows: &[Seq]) -> Vec<Seq> {
        let mut closed = Vec::new();
        for seq in rows {
            if let Some(row) = self.inbox.get_mut(seq)
                && row.state == InboxState::Claimed
            {
                row.state = InboxState::Closed;
                closed.push(*seq);
            }
        }
        closed
    }
}

impl Turn {
    /// Closes what dangles and marks the end of an unanswered attempt.
    fn cut(&mut self) {
        let missing = crate::ledger::transcript::missing_results(&self.entries);
        self.entries.extend(missing);
        if self.entries.last() != Some(&Entry::Cut) {
            self.entries.push(Entry::Cut);
        }
    }
}

/// Whether a turn in this state was cut and can be run again.
pub(super) fn is_cut(state: TurnState) -> bool {
    matches!(state, TurnState::Interrupted | TurnState::Parked)
}

/// Whether nothing has settled a turn in this state yet.
pub(super) fn is_open(state: TurnState) -> bool {
    is_cut(state) || state == TurnState::Running
}

/// What is said about a number that is taken.
pub(super) fn clash(seq: Seq) -> Done {
    Done::Refused(format!("number {seq} is taken"))
}
