//! What each step comes to: the one place where a step is decided, whatever engine keeps it.
//!
//! [`decide`] is the one door: a step, and a look at the rows, in; what came of it, and the changes that keep it, out. Every step looks first
//! and changes afterwards, so that one that is refused has changed nothing.
//!
//! | steps | where |
//! |---|---|
//! | Born, Phase, Leaving, Ended, Cursor, Accept, Settle, Answered, Pair…, TurnRetry | [`intake`] |
//! | Start, Resume, Unstart, Progress, Child…, Finish, Recover, TurnDrop, DropAdapter | [`turns`] |
//! | Tell, Notice, Draft, Fate, Outbox… | [`post`] |
//!
//! What walks over very many closed rows (MoveAdapter, Prune) and every question stay each engine's own.

mod intake;
mod post;
#[cfg(test)]
mod tests;
mod turns;

use super::rows::{Change, InboxState, Rows, Turn};
use super::transcript;
use super::{Done, Step, TurnState};
use crate::agent::Entry;
use crate::ids::{Seq, SessionKey, TurnId};

/// What is said about a row that was being sent when its instance died.
pub(crate) const CUT_OFF: &str = "the gateway went down while it was being sent";
/// What is said about a row that an operator gave up.
pub(crate) const GIVEN_UP: &str = "given up by an operator";
/// What is said about rows of an adapter that was dropped.
pub(crate) const DROPPED: &str = "its adapter was dropped";

/// Decides a step. What is refused, lost or a repeat has no changes.
///
/// # Errors
/// When the rows cannot be read.
pub(crate) fn decide<R: Rows>(rows: &mut R, step: &Step) -> Result<(Done, Vec<Change>), R::Error> {
    let mut rules = Rules { rows, changes: Vec::new(), taken: Vec::new() };
    match rules.apply(step) {
        Ok(done) => Ok((done, rules.changes)),
        Err(Stop::Done(done)) => Ok((done, Vec::new())),
        Err(Stop::Rows(error)) => Err(error),
    }
}

/// Why a step goes no further.
enum Stop<E> {
    /// It found another state, and is answered with this; nothing is changed.
    Done(Done),
    /// The rows cannot be read.
    Rows(E),
}

impl<E> From<E> for Stop<E> {
    fn from(error: E) -> Self {
        Stop::Rows(error)
    }
}

/// What a part of a step comes to.
type Part<T, R> = Result<T, Stop<<R as Rows>::Error>>;

/// A step on its way.
struct Rules<'a, R> {
    rows: &'a mut R,
    changes: Vec<Change>,
    /// Numbers that it takes.
    taken: Vec<Seq>,
}

impl<R: Rows> Rules<'_, R> {
    fn apply(&mut self, step: &Step) -> Part<Done, R> {
        match step {
            Step::Born(born) => self.born(born),
            Step::Recover { instance, max_attempts, at } => self.recover(*instance, *max_attempts, *at),
            Step::Accept(accept) => self.accept(accept),
            Step::Cursor { account, cursor } => {
                self.changes.push(Change::Cursor(account.clone(), cursor.clone()));
                Ok(Done::Ok)
            }
            Step::Settle(settle) => self.settle(settle),
            Step::Start(start) => self.start(start),
            Step::Resume(resume) => self.resume(resume),
            Step::Unstart { turn, attempt } => self.unstart(*turn, *attempt),
            Step::Progress { turn, attempt, entry } => self.progress(*turn, *attempt, entry),
            Step::Child { turn, attempt, child } => self.child(*turn, *attempt, child),
            Step::ChildrenGone { turn } => {
                self.changes.push(Change::ChildrenGone(*turn));
                Ok(Done::Ok)
            }
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
            Step::DropAdapter { adapter } => self.drop_adapter(adapter),
            // An engine performs these itself, and asks nobody.
            Step::MoveAdapter { .. } | Step::Prune { .. } => Ok(Done::Refused("this step is an engine's own".into())),
        }
    }

    fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Takes a number, which nobody else may have.
    fn take(&mut self, seq: Seq) -> Part<(), R> {
        if self.taken.contains(&seq) || self.rows.used(seq)? {
            return Err(refused(format!("number {seq} is taken")));
        }
        self.taken.push(seq);
        Ok(())
    }

    fn running_in(&mut self, session: &SessionKey) -> Part<Option<Turn>, R> {
        let open = self.rows.open_turns(session)?;
        Ok(open.into_iter().rev().find(|turn| turn.state == TurnState::Running))
    }

    /// A turn that runs in this attempt.
    fn runs(&mut self, id: TurnId, attempt: u32) -> Part<Turn, R> {
        let turn = self.rows.turn(id)?.filter(|turn| turn.state == TurnState::Running && turn.attempt == attempt);
        turn.ok_or(Stop::Done(Done::Lost))
    }

    /// Ends a turn for good or for now: what dangles is closed, and the end of an unanswered attempt marked. Whatever it took stays claimed only
    /// while it can be run again.
    fn close_turn(&mut self, mut turn: Turn, state: TurnState) -> Part<(), R> {
        let calls = self.rows.calls(turn.id)?;
        let mut entries = transcript::missing_results(&calls);
        if !entries.is_empty() || calls.last() != Some(&Entry::Cut) {
            entries.push(Entry::Cut);
        }
        if !entries.is_empty() {
            self.change(Change::Append(turn.id, entries));
        }
        (turn.state, turn.asks, turn.undo) = (state, None, None);
        if !turn.is_cut() {
            self.close_claimed(turn.id)?;
        }
        self.change(Change::Turn(turn));
        Ok(())
    }

    /// Closes the rows that a turn has claimed, and says which.
    fn close_claimed(&mut self, turn: TurnId) -> Part<Vec<Seq>, R> {
        let rows = self.rows.claimed(turn)?;
        for seq in &rows {
            self.change(Change::Inbox(*seq, InboxState::Closed, Some(turn)));
        }
        Ok(rows)
    }
}

fn refused<E>(why: impl Into<String>) -> Stop<E> {
    Stop::Done(Done::Refused(why.into()))
}

/// The call that an entry is about.
pub(crate) fn call_of(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::ToolCall { call, .. } | Entry::ToolResult { call, .. } => Some(call),
        Entry::User { .. } | Entry::Assistant { .. } | Entry::Asked { .. } | Entry::Decided { .. } | Entry::Cut => None,
    }
}
