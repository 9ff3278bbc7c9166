//! What the maps hold, found.

use std::convert::Infallible;

use super::books::Books;
use crate::agent::Entry;
use crate::ids::{Account, AdapterName, ChatId, DeliveryId, InstanceId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::ledger::rows::{Asked, Inbox, InboxState, Posted, Rows, Said, Session, Turn};
use crate::ledger::{InstanceFacts, NoticeKind, OutboxState, PairCode, TurnState, What};

/// What is in memory can be read.
type Found<T> = Result<T, Infallible>;

impl Rows for Books {
    type Error = Infallible;

    fn used(&mut self, seq: Seq) -> Found<bool> {
        Ok(self.inbox.contains_key(&seq) || self.turns.contains_key(&TurnId(seq)) || self.outbox.contains_key(&OutboxId(seq)))
    }

    fn delivery(&mut self, account: &Account, id: &DeliveryId) -> Found<Option<Inbox>> {
        let seq = self.keys.get(&(account.clone(), id.clone()));
        Ok(seq.and_then(|seq| self.inbox.get(seq)).cloned())
    }

    fn inbox(&mut self, seq: Seq) -> Found<Option<Inbox>> {
        Ok(self.inbox.get(&seq).cloned())
    }

    fn waiting(&mut self, session: &SessionKey) -> Found<Vec<Inbox>> {
        let waiting = self.sessions.get(session).into_iter().flat_map(|book| &book.waiting);
        Ok(waiting.filter_map(|seq| self.inbox.get(seq)).cloned().collect())
    }

    fn claimed(&mut self, turn: TurnId) -> Found<Vec<Seq>> {
        Ok(self.claims.get(&turn).into_iter().flatten().copied().collect())
    }

    fn session(&mut self, session: &SessionKey) -> Found<Option<Session>> {
        Ok(self.sessions.get(session).map(|book| book.row.clone()))
    }

    fn turn(&mut self, turn: TurnId) -> Found<Option<Turn>> {
        Ok(self.turns.get(&turn).cloned())
    }

    fn open_turns(&mut self, session: &SessionKey) -> Found<Vec<Turn>> {
        Ok(self.turns_of(session).filter(|turn| turn.is_open()).cloned().collect())
    }

    fn newest_turn(&mut self, session: &SessionKey, behind: Seq) -> Found<Option<Turn>> {
        Ok(self.turns_of(session).rfind(|turn| turn.newest > behind).cloned())
    }

    fn running(&mut self) -> Found<Vec<Turn>> {
        Ok(self.turns.values().filter(|turn| turn.state == TurnState::Running).cloned().collect())
    }

    fn entries(&mut self, turn: TurnId) -> Found<Vec<Entry>> {
        Ok(self.entries.get(&turn).cloned().unwrap_or_default())
    }

    fn entries_about(&mut self, turn: TurnId, _: Option<&str>) -> Found<Vec<Entry>> {
        self.entries(turn)
    }

    fn calls(&mut self, turn: TurnId) -> Found<Vec<Entry>> {
        self.entries(turn)
    }

    fn earlier(&mut self, session: &SessionKey, turn: TurnId, behind: Seq, most: u32) -> Found<Vec<(TurnId, Entry)>> {
        let earlier = self.turns_of(session).rev().filter(|earlier| earlier.id < turn && earlier.newest > behind);
        let entries = earlier.flat_map(|turn| self.entries.get(&turn.id).into_iter().flatten().rev().map(|entry| (turn.id, entry.clone())));
        let mut entries: Vec<(TurnId, Entry)> = entries.take(most as usize).collect();
        entries.reverse();
        Ok(entries)
    }

    fn said(&mut self, turn: TurnId) -> Found<Vec<Said>> {
        let words = self.words.get(&turn).into_iter().flatten().filter_map(|id| self.outbox.get(id));
        let said = words.filter_map(|posted| match posted.row.what {
            What::Reply { word } => Some(Said { id: posted.row.id, word, part: posted.row.part, attempt: posted.attempt }),
            What::Notice { .. } => None,
        });
        Ok(said.collect())
    }

    fn posted(&mut self, id: OutboxId) -> Found<Option<Posted>> {
        Ok(self.outbox.get(&id).cloned())
    }

    fn noticed(&mut self, kind: NoticeKind, scope: &str, chat: &ChatId) -> Found<bool> {
        Ok(self.notices.contains(&(kind, scope.to_owned(), chat.clone())))
    }

    fn sending(&mut self) -> Found<Vec<Posted>> {
        Ok(self.outbox.values().filter(|posted| posted.row.state == OutboxState::Sending).cloned().collect())
    }

    fn request(&mut self, seq: Seq) -> Found<Option<Asked>> {
        Ok(self.requests.get(&seq).cloned())
    }

    fn instance(&mut self, instance: InstanceId) -> Found<Option<InstanceFacts>> {
        Ok(self.instances.iter().find(|known| known.instance == instance).cloned())
    }

    fn codes(&mut self, adapter: &AdapterName) -> Found<Vec<PairCode>> {
        Ok(self.codes.iter().filter(|known| known.adapter == *adapter).cloned().collect())
    }

    fn codes_reading(&mut self, code: &str) -> Found<Vec<PairCode>> {
        Ok(self.codes.iter().filter(|known| known.code == code).cloned().collect())
    }

    fn is_in(&mut self, adapter: &AdapterName, user: &UserId) -> Found<bool> {
        Ok(self.let_in.contains_key(&(adapter.clone(), user.clone())))
    }

    fn waiting_of(&mut self, adapter: &AdapterName) -> Found<Vec<Seq>> {
        let waiting = self.inbox.values().filter(|row| row.state == InboxState::Waiting && row.session.chat.adapter == *adapter);
        Ok(waiting.map(|row| row.seq).collect())
    }

    fn open_turns_of(&mut self, adapter: &AdapterName) -> Found<Vec<Turn>> {
        Ok(self.turns.values().filter(|turn| turn.is_open() && turn.session.chat.adapter == *adapter).cloned().collect())
    }

    fn open_posts_of(&mut self, adapter: &AdapterName) -> Found<Vec<OutboxId>> {
        let rows = self.outbox.values().map(|posted| &posted.row);
        let open = rows.filter(|row| row.chat.adapter == *adapter && !matches!(row.state, OutboxState::Sent | OutboxState::Dead));
        Ok(open.map(|row| row.id).collect())
    }
}

impl Books {
    /// Oldest first.
    pub(super) fn turns_of(&self, session: &SessionKey) -> impl DoubleEndedIterator<Item = &Turn> {
        self.sessions.get(session).into_iter().flat_map(|book| &book.turns).map(|turn| &self.turns[turn])
    }
}
