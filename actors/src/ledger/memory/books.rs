//! The rows of the ledger in memory, and how a change is kept in them.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::agent::Entry;
use crate::ids::{Account, AdapterName, ChatId, Cursor, DeliveryId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::ledger::post::NEVER;
use crate::ledger::rows::{Asked, Change, Inbox, InboxState, Kind, Posted, Session, Turn};
use crate::ledger::{Done, InstanceFacts, LeftChild, NoticeKind, OutboxState, PairCode, Step, TurnState, What, rules};

/// Everything.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) ledger: Uuid,
    pub(super) last: Seq,
    /// In the order of birth.
    pub(super) instances: Vec<InstanceFacts>,
    pub(super) cursors: BTreeMap<Account, Cursor>,
    pub(super) sessions: BTreeMap<SessionKey, Book>,
    pub(super) inbox: BTreeMap<Seq, Inbox>,
    pub(super) keys: BTreeMap<(Account, DeliveryId), Seq>,
    /// The keys of rows.
    pub(super) deliveries: BTreeMap<Seq, (Account, DeliveryId)>,
    /// What turns have claimed.
    pub(super) claims: BTreeMap<TurnId, BTreeSet<Seq>>,
    pub(super) turns: BTreeMap<TurnId, Turn>,
    pub(super) entries: BTreeMap<TurnId, Vec<Entry>>,
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

/// One conversation, with what it has.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) row: Session,
    /// Waiting messages and retries.
    pub(super) waiting: BTreeSet<Seq>,
    pub(super) turns: BTreeSet<TurnId>,
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
            deliveries: BTreeMap::new(),
            claims: BTreeMap::new(),
            turns: BTreeMap::new(),
            entries: BTreeMap::new(),
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
            Step::MoveAdapter { from, to } => self.move_adapter(from, to),
            Step::Prune { before, most } => self.prune(*before, *most as usize),
            step => {
                let Ok((done, changes)) = rules::decide(self, step);
                changes.into_iter().for_each(|change| self.keep(change));
                done
            }
        }
    }

    fn keep(&mut self, change: Change) {
        match change {
            Change::Born(facts) => self.instances.push(facts),
            Change::Instance(facts) => {
                if let Some(known) = self.instances.iter_mut().find(|known| known.instance == facts.instance) {
                    *known = facts;
                }
            }
            Change::Cursor(account, cursor) => _ = self.cursors.insert(account, cursor),
            Change::TakenIn(row, key) => self.take_in(row, key),
            Change::Inbox(seq, state, turn) => self.mark(seq, state, turn),
            Change::Refused(seq, reason) => {
                self.mark(seq, InboxState::Refused, None);
                self.inbox.entry(seq).and_modify(|row| row.reason = Some(reason));
            }
            Change::Session(key, row) => self.sessions.entry(key).or_default().row = row,
            Change::Begun(turn, entries) => {
                self.saw(turn.id.0);
                self.sessions.entry(turn.session.clone()).or_default().turns.insert(turn.id);
                self.entries.insert(turn.id, entries);
                self.turns.insert(turn.id, turn);
            }
            Change::Turn(turn) => _ = self.turns.insert(turn.id, turn),
            Change::TurnGone(id) => self.forget_turn(id),
            Change::Append(turn, entries) => self.entries.entry(turn).or_default().extend(entries),
            Change::Truncate(turn, most) => self.entries.entry(turn).or_default().truncate(most as usize),
            Change::Uncut(turn) => self.entries.entry(turn).or_default().retain(|entry| *entry != Entry::Cut),
            Change::Post(posted) => self.post(posted),
            Change::Posted(row) => {
                if let Some(known) = self.outbox.get_mut(&row.id) {
                    known.row = row;
                }
            }
            Change::GivenUp(id, reason) => {
                if let Some(Posted { row, .. }) = self.outbox.get_mut(&id) {
                    (row.state, row.not_before, row.reason) = (OutboxState::Dead, NEVER, Some(reason));
                }
            }
            Change::Asked(seq, asked) => _ = self.requests.insert(seq, asked),
            Change::Child(left) => {
                if !self.children.iter().any(|known| (known.turn, &known.child) == (left.turn, &left.child)) {
                    self.children.push(left);
                    self.children.sort_by(|a, b| (a.turn, &a.child).cmp(&(b.turn, &b.child)));
                }
            }
            Change::ChildrenGone(turn) => self.children.retain(|left| left.turn != turn),
            Change::Code(code) => self.codes.push(code),
            Change::CodeGone(adapter, user) => self.codes.retain(|known| (&known.adapter, &known.user) != (&adapter, &user)),
            Change::LetIn(adapter, user, name) => _ = self.let_in.insert((adapter, user), name),
            Change::LetOut(adapter, user) => _ = self.let_in.remove(&(adapter, user)),
        }
    }

    fn take_in(&mut self, row: Inbox, key: Option<(Account, DeliveryId)>) {
        self.saw(row.seq);
        let book = self.sessions.entry(row.session.clone()).or_default();
        if row.state == InboxState::Waiting && matches!(row.kind, Kind::Message | Kind::Retry) {
            book.waiting.insert(row.seq);
        }
        if let Some(key) = key {
            self.keys.insert(key.clone(), row.seq);
            self.deliveries.insert(row.seq, key);
        }
        self.inbox.insert(row.seq, row);
    }

    fn mark(&mut self, seq: Seq, state: InboxState, turn: Option<TurnId>) {
        let Some(row) = self.inbox.get_mut(&seq) else { return };
        row.state = state;
        let book = self.sessions.entry(row.session.clone()).or_default();
        match state {
            InboxState::Waiting if matches!(row.kind, Kind::Message | Kind::Retry) => _ = book.waiting.insert(seq),
            _ => _ = book.waiting.remove(&seq),
        }
        self.claims.values_mut().for_each(|claimed| _ = claimed.remove(&seq));
        self.claims.retain(|_, claimed| !claimed.is_empty());
        if let (InboxState::Claimed, Some(turn)) = (state, turn) {
            self.claims.entry(turn).or_default().insert(seq);
        }
    }

    pub(super) fn forget_turn(&mut self, id: TurnId) {
        self.entries.remove(&id);
        if let Some(book) = self.turns.remove(&id).and_then(|turn| self.sessions.get_mut(&turn.session)) {
            book.turns.remove(&id);
        }
    }

    fn post(&mut self, posted: Posted) {
        let row = &posted.row;
        self.saw(row.id.0);
        if let Some(session) = &row.session {
            self.sessions.entry(session.clone()).or_default();
        }
        if let What::Notice { kind, scope } = &row.what {
            self.notices.insert((*kind, scope.clone(), row.chat.clone()));
        }
        if let Some(turn) = row.turn {
            let words = self.words.entry(turn).or_default();
            if !words.contains(&row.id) {
                words.push(row.id);
            }
        }
        self.outbox.insert(row.id, posted);
    }

    /// Remembers the highest number ever written.
    fn saw(&mut self, seq: Seq) {
        self.last = self.last.max(seq);
    }

    /// Whether a row is a draft that no running turn will finish.
    fn is_orphan(&self, id: OutboxId) -> bool {
        let Some(row) = self.outbox.get(&id).map(|posted| &posted.row) else { return false };
        let runs = row.turn.and_then(|turn| self.turns.get(&turn)).is_some_and(|turn| turn.state == TurnState::Running);
        row.state == OutboxState::Draft && !runs
    }

    /// Whether a reply still has to reach its chat.
    pub(super) fn is_owed(&self, id: OutboxId) -> bool {
        let Some(row) = self.outbox.get(&id).map(|posted| &posted.row) else { return false };
        let open = matches!(row.state, OutboxState::Due | OutboxState::Sending | OutboxState::Failed | OutboxState::Unknown);
        matches!(row.what, What::Reply { .. }) && (open || self.is_orphan(id))
    }
}
