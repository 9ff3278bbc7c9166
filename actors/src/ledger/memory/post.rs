//! What goes out: words, notices, drafts, and what became of them.

use super::books::{Books, Posted, clash};
use crate::clock::Wall;
use crate::ids::{OutboxId, TurnId};
use crate::ledger::post::NEVER;
use crate::ledger::{Done, Fate, OutboxRow, OutboxState, TurnState, What};

impl Books {
    pub(super) fn tell(&mut self, row: &OutboxRow) -> Done {
        let What::Reply { word } = &row.what else { return Done::Refused("a notice is not told but noticed".into()) };
        let attempt = self.attempt_of(row.turn);
        if let Some(turn) = row.turn {
            let said =
                self.words.get(&turn).into_iter().flatten().filter_map(|id| self.outbox.get(id)).any(|posted| {
                    posted.attempt == attempt && posted.row.part == row.part && posted.row.what == (What::Reply { word: *word })
                });
            if said {
                return Done::Duplicate { waiting: None };
            }
        }
        self.post_new(row, attempt)
    }

    pub(super) fn notice(&mut self, row: &OutboxRow) -> Done {
        let What::Notice { kind, scope } = &row.what else { return Done::Refused("a reply is not a notice".into()) };
        if self.notices.contains(&(*kind, scope.clone(), row.chat.clone())) {
            return Done::Duplicate { waiting: None };
        }
        self.post_new(row, 0)
    }

    pub(super) fn draft(&mut self, row: &OutboxRow) -> Done {
        if !matches!(row.what, What::Reply { .. }) {
            return Done::Refused("a notice has no draft".into());
        }
        let attempt = self.attempt_of(row.turn);
        self.post_new(row, attempt)
    }

    /// A row under a number of its own. The same row again is a repeat, anything else under its number a clash.
    fn post_new(&mut self, row: &OutboxRow, attempt: u32) -> Done {
        if let Some(known) = self.outbox.get(&row.id)
            && (&known.row.chat, known.row.turn, &known.row.what, known.row.part) == (&row.chat, row.turn, &row.what, row.part)
        {
            return Done::Duplicate { waiting: None };
        }
        if self.used(row.id.0) {
            return clash(row.id.0);
        }
        self.post(row.clone(), attempt);
        Done::Ok
    }

    fn attempt_of(&self, turn: Option<TurnId>) -> u32 {
        turn.and_then(|turn| self.turns.get(&turn)).map_or(0, |turn| turn.attempt)
    }

    /// Whether one of the replies cannot be written. Only the answer of a turn may take over a row: that turn's own draft.
    pub(super) fn replies_clash(&self, replies: &[OutboxRow], turn: Option<TurnId>) -> Option<Done> {
        replies.iter().enumerate().find_map(|(at, row)| {
            let twice = replies[..at].iter().any(|other| other.id == row.id);
            let taken = self.used(row.id.0) && !self.takes_over(row, turn);
            (twice || taken).then(|| clash(row.id.0))
        })
    }

    fn takes_over(&self, row: &OutboxRow, turn: Option<TurnId>) -> bool {
        turn.is_some()
            && row.turn == turn
            && matches!(row.what, What::Reply { .. })
            && self.outbox.get(&row.id).is_some_and(|known| {
                known.row.turn == turn && matches!(known.row.what, What::Reply { .. }) && known.row.state != OutboxState::Sent
            })
    }

    pub(super) fn post_all(&mut self, replies: &[OutboxRow], attempt: u32) {
        for row in replies {
            let mut row = row.clone();
            if let Some(draft) = self.outbox.get(&row.id) {
                row.message = row.message.or_else(|| draft.row.message.clone());
            }
            self.post(row, attempt);
        }
    }

    fn post(&mut self, row: OutboxRow, attempt: u32) {
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
        self.outbox.insert(row.id, Posted { row, attempt });
    }

    pub(super) fn fate(&mut self, id: OutboxId, fate: &Fate) -> Done {
        let Some(row) = self.outbox.get_mut(&id).map(|posted| &mut posted.row) else { return Done::Lost };
        if matches!(row.state, OutboxState::Sent | OutboxState::Dead) {
            return Done::Lost;
        }
        match fate {
            // A repeat of the same word must not count as another try.
            Fate::Sending if row.state == OutboxState::Sending => {}
            Fate::Sending => {
                row.state = OutboxState::Sending;
                row.tries += 1;
            }
            Fate::Sent { message, text } => {
                row.state = OutboxState::Sent;
                row.message = message.clone().or(row.message.take());
                row.text = text.clone().unwrap_or(std::mem::take(&mut row.text));
                row.reason = None;
            }
            // Also after the turn's end: the first send of a draft may still be under way then, and its id must not be lost.
            Fate::Drafted { message } => row.message = Some(message.clone()),
            Fate::Failed { not_before, reason } => {
                row.state = OutboxState::Failed;
                row.not_before = *not_before;
                row.reason = Some(reason.clone());
            }
            Fate::Unknown { not_before, reason } => {
                (row.state, row.unsure) = (OutboxState::Unknown, true);
                row.not_before = *not_before;
                row.reason = Some(reason.clone());
            }
            Fate::Dead { reason } => {
                row.state = OutboxState::Dead;
                row.reason = Some(reason.clone());
            }
        }
        Done::Ok
    }

    pub(super) fn outbox_retry(&mut self, id: OutboxId, at: Wall) -> Done {
        match self.outbox.get_mut(&id).map(|posted| &mut posted.row) {
            Some(row) if matches!(row.state, OutboxState::Dead | OutboxState::Failed | OutboxState::Unknown) => {
                // One that may have arrived is unknown again, so that its repeat says that it may be one.
                row.state = if row.unsure { OutboxState::Unknown } else { OutboxState::Due };
                row.tries = 0;
                row.not_before = at;
                Done::Ok
            }
            _ => Done::Lost,
        }
    }

    /// What is under way cannot be given up: its fate is not ours to tell.
    pub(super) fn outbox_drop(&mut self, id: OutboxId) -> Done {
        let orphan = self.is_orphan(id);
        match self.outbox.get_mut(&id).map(|posted| &mut posted.row) {
            Some(row) if row.state == OutboxState::Dead && row.not_before == NEVER => Done::Lost,
            // Why it is dead is more than who gave it up.
            Some(row) if row.state == OutboxState::Dead => {
                row.not_before = NEVER;
                Done::Ok
            }
            Some(row) if orphan || matches!(row.state, OutboxState::Due | OutboxState::Failed | OutboxState::Unknown) => {
                (row.state, row.not_before) = (OutboxState::Dead, NEVER);
                row.reason = Some("given up by an operator".into());
                Done::Ok
            }
            _ => Done::Lost,
        }
    }

    /// Whether a row is a draft that no running turn will finish.
    pub(super) fn is_orphan(&self, id: OutboxId) -> bool {
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
