//! What goes out: words, notices, drafts, and what became of them.

use super::{GIVEN_UP, Part, Rules, Stop, refused};
use crate::clock::Wall;
use crate::ids::{OutboxId, TurnId};
use crate::ledger::post::NEVER;
use crate::ledger::rows::{Change, Posted, Rows, Said};
use crate::ledger::{Done, Fate, OutboxRow, OutboxState, TurnState, What};

impl<R: Rows> Rules<'_, R> {
    pub(super) fn tell(&mut self, row: &OutboxRow) -> Part<Done, R> {
        let What::Reply { word } = &row.what else { return Err(refused("a notice is not told but noticed")) };
        let attempt = self.attempt_of(row.turn)?;
        if let Some(turn) = row.turn {
            let same = |said: &Said| (said.word, said.part, said.attempt) == (*word, row.part, attempt);
            if self.rows.said(turn)?.iter().any(same) {
                return Ok(Done::Duplicate { waiting: None });
            }
        }
        self.post_new(row, attempt)
    }

    pub(super) fn notice(&mut self, row: &OutboxRow) -> Part<Done, R> {
        let What::Notice { kind, scope } = &row.what else { return Err(refused("a reply is not a notice")) };
        if self.rows.noticed(*kind, scope, &row.chat)? {
            return Ok(Done::Duplicate { waiting: None });
        }
        self.post_new(row, 0)
    }

    pub(super) fn draft(&mut self, row: &OutboxRow) -> Part<Done, R> {
        if !matches!(row.what, What::Reply { .. }) {
            return Err(refused("a notice has no draft"));
        }
        let attempt = self.attempt_of(row.turn)?;
        self.post_new(row, attempt)
    }

    /// A row under a number of its own. The same row again is a repeat, anything else under its number a clash.
    fn post_new(&mut self, row: &OutboxRow, attempt: u32) -> Part<Done, R> {
        if self.rows.used(row.id.0)?
            && let Some(Posted { row: known, .. }) = self.rows.posted(row.id)?
            && (&known.chat, known.turn, &known.what, known.part) == (&row.chat, row.turn, &row.what, row.part)
        {
            return Ok(Done::Duplicate { waiting: None });
        }
        self.take(row.id.0)?;
        self.change(Change::Post(Posted { row: row.clone(), attempt }));
        Ok(Done::Ok)
    }

    fn attempt_of(&mut self, turn: Option<TurnId>) -> Part<u32, R> {
        let Some(turn) = turn else { return Ok(0) };
        Ok(self.rows.turn(turn)?.map_or(0, |turn| turn.attempt))
    }

    /// Writes the replies of a step. Only the answer of a turn may take over a row: that turn's own draft.
    pub(super) fn post_all(&mut self, replies: &[OutboxRow], turn: Option<TurnId>, attempt: u32) -> Part<(), R> {
        for row in replies {
            let mut row = row.clone();
            match self.draft_of(&row, turn)? {
                Some(draft) if !self.taken.contains(&row.id.0) => {
                    self.taken.push(row.id.0);
                    row.message = row.message.or(draft.message);
                }
                _ => self.take(row.id.0)?,
            }
            self.change(Change::Post(Posted { row, attempt }));
        }
        Ok(())
    }

    /// The draft that this reply finishes.
    fn draft_of(&mut self, row: &OutboxRow, turn: Option<TurnId>) -> Part<Option<OutboxRow>, R> {
        if turn.is_none() || row.turn != turn || !matches!(row.what, What::Reply { .. }) || !self.rows.used(row.id.0)? {
            return Ok(None);
        }
        let known = self.rows.posted(row.id)?.map(|posted| posted.row);
        Ok(known.filter(|known| known.turn == turn && matches!(known.what, What::Reply { .. }) && known.state != OutboxState::Sent))
    }

    pub(super) fn fate(&mut self, id: OutboxId, fate: &Fate) -> Part<Done, R> {
        let known = self.rows.posted(id)?.map(|posted| posted.row);
        let known = known.filter(|row| !matches!(row.state, OutboxState::Sent | OutboxState::Dead));
        let mut row = known.ok_or(Stop::Done(Done::Lost))?;
        befalls(&mut row, fate);
        self.change(Change::Posted(row));
        Ok(Done::Ok)
    }

    pub(super) fn outbox_retry(&mut self, id: OutboxId, at: Wall) -> Part<Done, R> {
        let known = self.rows.posted(id)?.map(|posted| posted.row);
        let known = known.filter(|row| matches!(row.state, OutboxState::Dead | OutboxState::Failed | OutboxState::Unknown));
        let mut row = known.ok_or(Stop::Done(Done::Lost))?;
        // One that may have arrived is unknown again, so that its repeat says that it may be one.
        row.state = if row.unsure { OutboxState::Unknown } else { OutboxState::Due };
        (row.tries, row.not_before) = (0, at);
        self.change(Change::Posted(row));
        Ok(Done::Ok)
    }

    /// What is under way cannot be given up: its fate is not ours to tell.
    pub(super) fn outbox_drop(&mut self, id: OutboxId) -> Part<Done, R> {
        let Some(Posted { row, .. }) = self.rows.posted(id)? else { return Ok(Done::Lost) };
        let reason = match row.state {
            OutboxState::Dead if row.not_before == NEVER => return Ok(Done::Lost),
            // Why it is dead is more than who gave it up.
            OutboxState::Dead => row.reason.unwrap_or_else(|| GIVEN_UP.into()),
            OutboxState::Due | OutboxState::Failed | OutboxState::Unknown => GIVEN_UP.into(),
            OutboxState::Draft if !self.is_running(row.turn)? => GIVEN_UP.into(),
            OutboxState::Draft | OutboxState::Sending | OutboxState::Sent => return Ok(Done::Lost),
        };
        self.change(Change::GivenUp(id, reason));
        Ok(Done::Ok)
    }

    fn is_running(&mut self, turn: Option<TurnId>) -> Part<bool, R> {
        let Some(turn) = turn else { return Ok(false) };
        Ok(self.rows.turn(turn)?.is_some_and(|turn| turn.state == TurnState::Running))
    }
}

/// What a fate makes of a row that is neither sent nor dead.
fn befalls(row: &mut OutboxRow, fate: &Fate) {
    match fate {
        // A repeat of the same word must not count as another try.
        Fate::Sending if row.state == OutboxState::Sending => {}
        Fate::Sending => {
            row.state = OutboxState::Sending;
            row.tries = row.tries.saturating_add(1);
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
            (row.not_before, row.reason) = (*not_before, Some(reason.clone()));
        }
        Fate::Unknown { not_before, reason } => {
            (row.state, row.unsure) = (OutboxState::Unknown, true);
            (row.not_before, row.reason) = (*not_before, Some(reason.clone()));
        }
        Fate::Dead { reason } => {
            row.state = OutboxState::Dead;
            row.reason = Some(reason.clone());
        }
    }
}
