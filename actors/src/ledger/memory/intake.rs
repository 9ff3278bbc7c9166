//! What comes in: instances, deliveries, commands, requests and pairings.

use super::books::{Asked, Books, InboxRow, InboxState, Kind, clash, is_open};
use crate::agent::Entry;
use crate::clock::Wall;
use crate::ids::{Account, AdapterName, Cursor, InstanceId, Seq, SessionKey, TurnId, UserId};
use crate::ledger::{Accept, Accepted, Born, Done, InstanceFacts, OutboxRow, PairCode, Settle, TurnState};
use crate::shutdown::{Phase, ShutdownKind};

/// Codes kept per adapter.
const CODES: usize = 100;

impl Books {
    pub(super) fn born(&mut self, born: &Born) -> Done {
        if self.instances.iter().any(|known| known.instance == born.instance) {
            return Done::Lost;
        }
        self.instances.push(InstanceFacts {
            instance: born.instance,
            version: born.version.clone(),
            born: born.at,
            phase: None,
            ended: None,
            boot: born.boot.clone(),
            predecessor: born.predecessor.clone(),
            why: None,
            seen: None,
            words: None,
        });
        if let Some(remains) = &born.remains {
            self.instances.iter_mut().for_each(|known| known.take_in(remains));
        }
        Done::Ok
    }

    pub(super) fn phase(&mut self, instance: InstanceId, phase: Phase, at: Wall) -> Done {
        match self.instances.iter_mut().find(|known| known.instance == instance) {
            Some(known) => {
                known.phase = Some((phase, at));
                Done::Ok
            }
            None => Done::Lost,
        }
    }

    pub(super) fn leaving(&mut self, instance: InstanceId, why: &str) -> Done {
        match self.instances.iter_mut().find(|known| known.instance == instance && known.ended.is_none()) {
            Some(known) => {
                known.why = Some(why.to_owned());
                Done::Ok
            }
            None => Done::Lost,
        }
    }

    /// The last word can be repeated but not taken back.
    pub(super) fn ended(&mut self, instance: InstanceId, word: (Wall, ShutdownKind, bool, String)) -> Done {
        match self.instances.iter_mut().find(|known| known.instance == instance) {
            Some(known) if known.ended.as_ref().is_none_or(|said| *said == word) => {
                known.ended = Some(word);
                Done::Ok
            }
            _ => Done::Lost,
        }
    }

    pub(super) fn cursor(&mut self, account: &Account, cursor: &Cursor) -> Done {
        self.cursors.insert(account.clone(), cursor.clone());
        Done::Ok
    }

    pub(super) fn accept(&mut self, accept: &Accept) -> Done {
        let key = (accept.account.clone(), accept.delivery.clone());
        if let Some((seq, row)) = self.keys.get(&key).and_then(|seq| self.inbox.get_key_value(seq)) {
            if row.kind == Kind::Command && row.state == InboxState::Waiting {
                return Done::Open(*seq);
            }
            let waits = row.state == InboxState::Waiting && matches!(row.kind, Kind::Message | Kind::Retry);
            return Done::Duplicate { waiting: waits.then(|| row.session.clone()) };
        }
        if self.used(accept.seq) {
            return clash(accept.seq);
        }
        if let Some(clash) = self.replies_clash(&accept.answer, None) {
            return clash;
        }
        let retryable =
            self.newest_turn(&accept.session).is_some() || self.sessions.get(&accept.session).is_some_and(|book| !book.waiting.is_empty());
        let asks = match accept.what {
            Accepted::Decision { .. } => self.asking(&accept.session),
            _ => None,
        };
        let (kind, text, state) = match &accept.what {
            Accepted::Message { text } => (Kind::Message, text.clone(), InboxState::Waiting),
            Accepted::Retry if retryable => (Kind::Retry, String::new(), InboxState::Waiting),
            Accepted::Decision { .. } if asks.is_some() => (Kind::Retry, String::new(), InboxState::Waiting),
            Accepted::Retry | Accepted::Decision { .. } => (Kind::Retry, String::new(), InboxState::Closed),
            Accepted::Command { text } => (Kind::Command, text.clone(), InboxState::Waiting),
            Accepted::Request(_) => (Kind::Request, String::new(), InboxState::Closed),
            Accepted::Refused { .. } => (Kind::Message, String::new(), InboxState::Refused),
        };
        if let Accepted::Request(request) = &accept.what {
            let asked = Asked { session: accept.session.clone(), request: request.clone(), at: accept.at, answered: false };
            self.requests.insert(accept.seq, asked);
        }
        self.saw(accept.seq);
        if matches!(state, InboxState::Closed | InboxState::Refused) {
            self.post_all(&accept.answer, 0);
        }
        self.keys.insert(key.clone(), accept.seq);
        self.add_row(
            accept.seq,
            InboxRow {
                key: Some(key),
                session: accept.session.clone(),
                user: accept.user.clone(),
                name: accept.name.clone(),
                message: accept.message.clone(),
                at: accept.at,
                kind,
                text,
                state,
                target: asks,
            },
        );
        let retryable = match accept.what {
            Accepted::Retry => retryable,
            Accepted::Decision { approved } => self.decide(asks, approved),
            _ => true,
        };
        Done::Accepted { retryable }
    }

    /// The newest turn of a session that asks for approval.
    fn asking(&self, session: &SessionKey) -> Option<TurnId> {
        self.cut_turns(session).into_iter().rev().find(|turn| self.turns[turn].asks.is_some())
    }

    /// Notes what was decided; `false` when nothing asks.
    fn decide(&mut self, turn: Option<TurnId>, approved: bool) -> bool {
        let Some(turn) = turn.and_then(|turn| self.turns.get_mut(&turn)) else { return false };
        let Some(call) = turn.asks.take() else { return false };
        turn.entries.push(Entry::Decided { call, approved });
        true
    }

    fn add_row(&mut self, seq: Seq, row: InboxRow) {
        let book = self.sessions.entry(row.session.clone()).or_default();
        if row.state == InboxState::Waiting && matches!(row.kind, Kind::Message | Kind::Retry) {
            book.waiting.insert(seq);
        }
        if row.kind == Kind::Message && row.state == InboxState::Waiting {
            match &book.first_user {
                None => book.first_user = Some(row.user.clone()),
                Some(first) => book.shared |= *first != row.user,
            }
        }
        self.inbox.insert(seq, row);
    }

    pub(super) fn settle(&mut self, settle: &Settle) -> Done {
        match self.inbox.get(&settle.seq) {
            Some(row) if row.kind == Kind::Command && row.state == InboxState::Waiting => {}
            _ => return Done::Lost,
        }
        if let Some(clash) = self.replies_clash(&settle.replies, None) {
            return clash;
        }
        if let Some(row) = self.inbox.get_mut(&settle.seq) {
            row.state = InboxState::Closed;
        }
        self.post_all(&settle.replies, 0);
        Done::Ok
    }

    pub(super) fn answered(&mut self, request: Seq, replies: &[OutboxRow]) -> Done {
        if self.requests.get(&request).is_none_or(|asked| asked.answered) {
            return Done::Lost;
        }
        if let Some(clash) = self.replies_clash(replies, None) {
            return clash;
        }
        if let Some(asked) = self.requests.get_mut(&request) {
            asked.answered = true;
        }
        self.post_all(replies, 0);
        Done::Ok
    }

    pub(super) fn turn_retry(&mut self, seq: Seq, id: TurnId, at: Wall) -> Done {
        if let Some(row) = self.inbox.get(&seq)
            && row.target == Some(id)
        {
            return Done::Lost;
        }
        let Some(turn) = self.turns.get(&id).filter(|turn| turn.state != TurnState::Running) else { return Done::Lost };
        let row = InboxRow {
            key: None,
            session: turn.session.clone(),
            user: turn.user.clone(),
            name: turn.name.clone(),
            message: None,
            at,
            kind: Kind::Retry,
            text: String::new(),
            state: InboxState::Waiting,
            target: Some(id),
        };
        if self.used(seq) {
            return clash(seq);
        }
        self.saw(seq);
        self.add_row(seq, row);
        Done::Ok
    }

    pub(super) fn turn_drop(&mut self, id: TurnId) -> Done {
        match self.turns.get(&id) {
            Some(turn) if is_open(turn.state) && turn.state != TurnState::Running => {
                self.close_turn(id, TurnState::Stopped);
                Done::Ok
            }
            _ => Done::Lost,
        }
    }

    pub(super) fn pair_code(&mut self, code: &PairCode) -> Done {
        self.codes.retain(|known| (&known.adapter, &known.user) != (&code.adapter, &code.user));
        self.codes.push(code.clone());
        let of_adapter = self.codes.iter().filter(|known| known.adapter == code.adapter).count();
        if of_adapter > CODES
            && let Some(oldest) = self.codes.iter().position(|known| known.adapter == code.adapter)
        {
            self.codes.remove(oldest);
        }
        Done::Ok
    }

    pub(super) fn pair_approve(&mut self, code: &str, at: Wall) -> Done {
        let Some(found) = self.codes.iter().rposition(|known| known.code == code && known.opens(at)) else { return Done::Lost };
        let PairCode { adapter, user, name, .. } = self.codes.remove(found);
        self.let_in.insert((adapter.clone(), user.clone()), name.clone());
        Done::Paired { adapter, user, name }
    }

    pub(super) fn pair_revoke(&mut self, adapter: &AdapterName, user: &UserId) -> Done {
        match self.let_in.remove(&(adapter.clone(), user.clone())) {
            Some(_) => Done::Ok,
            None => Done::Lost,
        }
    }
}
