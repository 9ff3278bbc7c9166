//! What walks over very many closed rows: an adapter's are moved, old ones forgotten.

use std::collections::BTreeSet;

use super::books::Books;
use crate::clock::Wall;
use crate::ids::{AdapterName, ChatId, OutboxId, Seq, SessionKey, TurnId};
use crate::ledger::rows::{InboxState, Turn};
use crate::ledger::{Done, OutboxState, What};

/// Instances that are kept whatever their age: the crash-loop count reads 32 of them.
const INSTANCES: usize = 64;

impl Books {
    /// Everything of the adapter moves, closed rows too: its chats keep their past.
    pub(super) fn move_adapter(&mut self, from: &AdapterName, to: &AdapterName) -> Done {
        if from == to {
            return Done::Moved(0);
        }
        let mut moved = self.open_rows(from);
        let moved_chat = |chat: &mut ChatId| {
            if chat.adapter == *from {
                chat.adapter = to.clone();
            }
        };
        for row in self.inbox.values_mut() {
            moved_chat(&mut row.session.chat);
        }
        for turn in self.turns.values_mut() {
            moved_chat(&mut turn.session.chat);
        }
        for asked in self.requests.values_mut() {
            moved_chat(&mut asked.session.chat);
        }
        for row in self.outbox.values_mut().map(|posted| &mut posted.row) {
            moved_chat(&mut row.chat);
            if let Some(session) = &mut row.session {
                moved_chat(&mut session.chat);
            }
        }
        self.notices = std::mem::take(&mut self.notices)
            .into_iter()
            .map(|(kind, scope, mut chat)| {
                moved_chat(&mut chat);
                (kind, scope, chat)
            })
            .collect();
        self.move_sessions(from, to);
        moved += self.move_pairs(from, to);
        Done::Moved(moved)
    }

    fn move_sessions(&mut self, from: &AdapterName, to: &AdapterName) {
        let keys: Vec<SessionKey> = self.sessions.keys().filter(|key| key.chat.adapter == *from).cloned().collect();
        for mut key in keys {
            let Some(old) = self.sessions.remove(&key) else { continue };
            key.chat.adapter = to.clone();
            let new = self.sessions.entry(key).or_default();
            let (row, old_row) = (&mut new.row, old.row);
            row.forgotten = row.forgotten.max(old_row.forgotten);
            row.shared |= old_row.shared || matches!((&row.first_user, &old_row.first_user), (Some(a), Some(b)) if a != b);
            row.first_user = row.first_user.take().or(old_row.first_user);
            new.waiting.extend(old.waiting);
            new.turns.extend(old.turns);
        }
    }

    /// Who is in at the new place already keeps that entry.
    fn move_pairs(&mut self, from: &AdapterName, to: &AdapterName) -> u32 {
        let mut moved = 0;
        let users: Vec<_> = self.let_in.keys().filter(|(adapter, _)| adapter == from).cloned().collect();
        for key in users {
            let Some(name) = self.let_in.remove(&key) else { continue };
            self.let_in.entry((to.clone(), key.1)).or_insert(name);
            moved += 1;
        }
        let there: BTreeSet<_> = self.codes.iter().filter(|code| code.adapter == *to).map(|code| code.user.clone()).collect();
        self.codes.retain_mut(|code| {
            if code.adapter != *from {
                return true;
            }
            moved += 1;
            code.adapter = to.clone();
            !there.contains(&code.user)
        });
        moved
    }

    /// Waiting rows, cut turns and replies that are owed: what an operator would lose with the adapter.
    pub(super) fn open_rows(&self, adapter: &AdapterName) -> u32 {
        let rows = self.inbox.values().filter(|row| row.state == InboxState::Waiting && row.session.chat.adapter == *adapter).count();
        let turns = self.turns.values().filter(|turn| turn.is_cut() && turn.session.chat.adapter == *adapter).count();
        let owed = self.outbox.iter().filter(|(id, posted)| posted.row.chat.adapter == *adapter && self.is_owed(**id)).count();
        u32::try_from(rows + turns + owed).unwrap_or(u32::MAX)
    }

    pub(super) fn prune(&mut self, before: Wall, most: usize) -> Done {
        let pruned = self.prune_outbox(before, most)
            + self.prune_inbox(before, most)
            + self.prune_turns(before, most)
            + self.prune_requests(before, most)
            + self.prune_instances(before, most);
        Done::Moved(u32::try_from(pruned).unwrap_or(u32::MAX))
    }

    /// Words about an open turn stay: they tell that its chat was told.
    fn prune_outbox(&mut self, before: Wall, most: usize) -> usize {
        let mut old: Vec<(Wall, OutboxId)> = self
            .outbox
            .iter()
            .filter(|(_, posted)| {
                let row = &posted.row;
                let notice = matches!(row.what, What::Notice { .. });
                let closed = matches!(row.state, OutboxState::Sent | OutboxState::Dead) || (notice && row.state == OutboxState::Unknown);
                let needed = row.turn.and_then(|turn| self.turns.get(&turn)).is_some_and(Turn::is_open);
                closed && !needed && row.at < before
            })
            .map(|(id, posted)| (posted.row.at, *id))
            .collect();
        old.sort_unstable();
        old.truncate(most);
        for (_, id) in &old {
            let Some(posted) = self.outbox.remove(id) else { continue };
            if let What::Notice { kind, scope } = &posted.row.what {
                self.notices.remove(&(*kind, scope.clone(), posted.row.chat.clone()));
            }
            if let Some(words) = posted.row.turn.and_then(|turn| self.words.get_mut(&turn)) {
                words.retain(|word| word != id);
            }
        }
        old.len()
    }

    fn prune_inbox(&mut self, before: Wall, most: usize) -> usize {
        let closed = self.inbox.iter().filter(|(_, row)| matches!(row.state, InboxState::Closed | InboxState::Refused) && row.at < before);
        let mut old: Vec<(Wall, Seq)> = closed.map(|(seq, row)| (row.at, *seq)).collect();
        old.sort_unstable();
        old.truncate(most);
        for (_, seq) in &old {
            self.inbox.remove(seq);
            if let Some(key) = self.deliveries.remove(seq) {
                self.keys.remove(&key);
            }
        }
        old.len()
    }

    /// The newest turn of a session is what /retry means; one with an undelivered reply is open still.
    fn prune_turns(&mut self, before: Wall, most: usize) -> usize {
        let mut old: Vec<(Wall, TurnId)> = self
            .turns
            .iter()
            .filter(|(id, turn)| {
                let newest = self.sessions[&turn.session].turns.last() == Some(id);
                let owes = self.words.get(id).into_iter().flatten().any(|word| {
                    self.outbox.get(word).is_some_and(|posted| !matches!(posted.row.state, OutboxState::Sent | OutboxState::Dead))
                });
                !turn.is_open() && !newest && !owes && turn.since < before
            })
            .map(|(id, turn)| (turn.since, *id))
            .collect();
        old.sort_unstable();
        old.truncate(most);
        for (_, id) in &old {
            self.forget_turn(*id);
        }
        old.len()
    }

    fn prune_requests(&mut self, before: Wall, most: usize) -> usize {
        let old: Vec<Seq> =
            self.requests.iter().filter(|(_, asked)| asked.answered && asked.at < before).map(|(seq, _)| *seq).take(most).collect();
        for seq in &old {
            self.requests.remove(seq);
        }
        old.len()
    }

    fn prune_instances(&mut self, before: Wall, most: usize) -> usize {
        let spare = self.instances.len().saturating_sub(INSTANCES);
        let old = self.instances[..spare].iter().take_while(|known| known.born < before).count().min(most);
        self.instances.drain(..old).count()
    }
}
