//! What comes in: instances, deliveries, commands, requests and pairings.

use super::{Part, Rules, Stop};
use crate::agent::Entry;
use crate::clock::Wall;
use crate::ids::{AdapterName, InstanceId, Seq, SessionKey, TurnId, UserId};
use crate::ledger::rows::{Asked, Change, Inbox, InboxState, Kind, Rows, Session, Turn};
use crate::ledger::{Accept, Accepted, Born, Done, InstanceFacts, OutboxRow, PairCode, Settle, TurnState};
use crate::shutdown::{Phase, ShutdownKind};

/// Codes kept per adapter.
const CODES: usize = 100;

impl<R: Rows> Rules<'_, R> {
    pub(super) fn born(&mut self, born: &Born) -> Part<Done, R> {
        if self.rows.instance(born.instance)?.is_some() {
            return Ok(Done::Lost);
        }
        let mut facts = InstanceFacts {
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
        };
        if let Some(remains) = &born.remains {
            // Put to the row of whoever left it, whose own word on its end stands.
            facts.take_in(remains);
            if let Some(mut known) = self.rows.instance(remains.instance)? {
                known.take_in(remains);
                self.change(Change::Instance(known));
            }
        }
        self.change(Change::Born(facts));
        Ok(Done::Ok)
    }

    pub(super) fn phase(&mut self, instance: InstanceId, phase: Phase, at: Wall) -> Part<Done, R> {
        let mut known = self.rows.instance(instance)?.ok_or(Stop::Done(Done::Lost))?;
        known.phase = Some((phase, at));
        self.change(Change::Instance(known));
        Ok(Done::Ok)
    }

    pub(super) fn leaving(&mut self, instance: InstanceId, why: &str) -> Part<Done, R> {
        let known = self.rows.instance(instance)?.filter(|known| known.ended.is_none());
        let mut known = known.ok_or(Stop::Done(Done::Lost))?;
        known.why = Some(why.to_owned());
        self.change(Change::Instance(known));
        Ok(Done::Ok)
    }

    /// The last word can be repeated but not taken back.
    pub(super) fn ended(&mut self, instance: InstanceId, word: (Wall, ShutdownKind, bool, String)) -> Part<Done, R> {
        let known = self.rows.instance(instance)?.filter(|known| known.ended.as_ref().is_none_or(|said| *said == word));
        let mut known = known.ok_or(Stop::Done(Done::Lost))?;
        known.ended = Some(word);
        self.change(Change::Instance(known));
        Ok(Done::Ok)
    }

    pub(super) fn accept(&mut self, accept: &Accept) -> Part<Done, R> {
        if let Some(row) = self.rows.delivery(&accept.account, &accept.delivery)? {
            return Ok(known(row));
        }
        self.take(accept.seq)?;
        let session = self.rows.session(&accept.session)?.unwrap_or_default();
        let mut target = None;
        let retryable = match &accept.what {
            Accepted::Retry => self.can_retry(&accept.session, session.forgotten)?,
            Accepted::Decision { approved } => {
                target = self.decision(&accept.session, *approved)?;
                target.is_some()
            }
            Accepted::Message { .. }
            | Accepted::Command { .. }
            | Accepted::Closing { .. }
            | Accepted::Request(_)
            | Accepted::Refused { .. } => true,
        };
        let row = taken_in(accept, retryable, target);
        let closed = matches!(row.state, InboxState::Closed | InboxState::Refused);
        self.change(Change::TakenIn(row, Some((accept.account.clone(), accept.delivery.clone()))));
        if let Accepted::Request(request) = &accept.what {
            let asked = Asked { session: accept.session.clone(), request: request.clone(), at: accept.at, answered: false };
            self.change(Change::Asked(accept.seq, asked));
        }
        if closed {
            self.post_all(&accept.answer, None, 0)?;
        }
        match accept.what {
            Accepted::Closing { closes, .. } => return self.close_before(accept.seq, &accept.session, session, closes),
            Accepted::Message { .. } => self.note_speaker(&accept.session, session, &accept.user),
            _ => {}
        }
        Ok(Done::Accepted { retryable })
    }

    /// Whether a session has anything that a /retry could mean by the time it is taken up.
    fn can_retry(&mut self, session: &SessionKey, forgotten: Seq) -> Part<bool, R> {
        Ok(self.rows.newest_turn(session, forgotten)?.is_some() || !self.rows.waiting(session)?.is_empty())
    }

    /// Notes what was decided about the newest turn of a session that asks for approval, and says which that is.
    fn decision(&mut self, session: &SessionKey, approved: bool) -> Part<Option<TurnId>, R> {
        let asking = self.rows.open_turns(session)?.into_iter().rev().find(|turn| turn.is_cut() && turn.asks.is_some());
        let Some(mut turn) = asking else { return Ok(None) };
        let id = turn.id;
        if let Some(call) = turn.asks.take() {
            self.change(Change::Append(id, vec![Entry::Decided { call, approved }]));
        }
        self.change(Change::Turn(turn));
        Ok(Some(id))
    }

    /// Remembers the first to speak, and that there is a second.
    fn note_speaker(&mut self, key: &SessionKey, mut session: Session, user: &UserId) {
        match &session.first_user {
            None => session.first_user = Some(user.clone()),
            Some(first) if !session.shared && first != user => session.shared = true,
            Some(_) => return,
        }
        self.change(Change::Session(key.clone(), session));
    }

    pub(super) fn settle(&mut self, settle: &Settle) -> Part<Done, R> {
        let open = self.rows.inbox(settle.seq)?.is_some_and(|row| row.kind == Kind::Command && row.state == InboxState::Waiting);
        if !open {
            return Ok(Done::Lost);
        }
        self.change(Change::Inbox(settle.seq, InboxState::Closed, None));
        self.post_all(&settle.replies, None, 0)?;
        Ok(Done::Ok)
    }

    pub(super) fn answered(&mut self, request: Seq, replies: &[OutboxRow]) -> Part<Done, R> {
        let asked = self.rows.request(request)?.filter(|asked| !asked.answered);
        let mut asked = asked.ok_or(Stop::Done(Done::Lost))?;
        asked.answered = true;
        self.change(Change::Asked(request, asked));
        self.post_all(replies, None, 0)?;
        Ok(Done::Ok)
    }

    pub(super) fn turn_retry(&mut self, seq: Seq, id: TurnId, at: Wall) -> Part<Done, R> {
        if self.rows.inbox(seq)?.is_some_and(|row| row.target == Some(id)) {
            return Ok(Done::Lost);
        }
        let turn: Option<Turn> = self.rows.turn(id)?.filter(|turn| turn.state != TurnState::Running);
        let turn = turn.ok_or(Stop::Done(Done::Lost))?;
        self.take(seq)?;
        let row = Inbox {
            seq,
            session: turn.session,
            user: turn.user,
            name: turn.name,
            message: None,
            at,
            kind: Kind::Retry,
            text: String::new(),
            state: InboxState::Waiting,
            reason: None,
            target: Some(id),
        };
        self.change(Change::TakenIn(row, None));
        Ok(Done::Ok)
    }

    /// It takes the place of that person's older one, and where there are too many of the oldest.
    pub(super) fn pair_code(&mut self, code: &PairCode) -> Part<Done, R> {
        let known = self.rows.codes(&code.adapter)?;
        let others: Vec<&PairCode> = known.iter().filter(|known| known.user != code.user).collect();
        let spare = (others.len() + 1).saturating_sub(CODES);
        let older = known.iter().filter(|known| known.user == code.user);
        let gone: Vec<UserId> = older.chain(others.into_iter().take(spare)).map(|gone| gone.user.clone()).collect();
        for user in gone {
            self.change(Change::CodeGone(code.adapter.clone(), user));
        }
        self.change(Change::Code(code.clone()));
        Ok(Done::Ok)
    }

    pub(super) fn pair_approve(&mut self, code: &str, at: Wall) -> Part<Done, R> {
        let found = self.rows.codes_reading(code)?.into_iter().rfind(|known| known.opens(at));
        let PairCode { adapter, user, name, .. } = found.ok_or(Stop::Done(Done::Lost))?;
        self.change(Change::CodeGone(adapter.clone(), user.clone()));
        self.change(Change::LetIn(adapter.clone(), user.clone(), name.clone()));
        Ok(Done::Paired { adapter, user, name })
    }

    pub(super) fn pair_revoke(&mut self, adapter: &AdapterName, user: &UserId) -> Part<Done, R> {
        if !self.rows.is_in(adapter, user)? {
            return Ok(Done::Lost);
        }
        self.change(Change::LetOut(adapter.clone(), user.clone()));
        Ok(Done::Ok)
    }
}

/// What a delivery that is known already comes to.
fn known(row: Inbox) -> Done {
    let waits = row.state == InboxState::Waiting;
    match row.kind {
        Kind::Command if waits => Done::Open(row.seq),
        Kind::Message | Kind::Retry if waits => Done::Duplicate { waiting: Some(row.session) },
        Kind::Message | Kind::Retry | Kind::Command | Kind::Request => Done::Duplicate { waiting: None },
    }
}

/// The row of a delivery, and how it begins.
fn taken_in(accept: &Accept, retryable: bool, target: Option<TurnId>) -> Inbox {
    let (kind, text, state, reason) = match &accept.what {
        Accepted::Message { text } => (Kind::Message, text.clone(), InboxState::Waiting, None),
        Accepted::Retry | Accepted::Decision { .. } if retryable => (Kind::Retry, String::new(), InboxState::Waiting, None),
        Accepted::Retry | Accepted::Decision { .. } => (Kind::Retry, String::new(), InboxState::Closed, None),
        Accepted::Command { text } | Accepted::Closing { text, .. } => (Kind::Command, text.clone(), InboxState::Waiting, None),
        Accepted::Request(_) => (Kind::Request, String::new(), InboxState::Closed, None),
        Accepted::Refused { reason } => (Kind::Message, String::new(), InboxState::Refused, Some(reason.clone())),
    };
    Inbox {
        seq: accept.seq,
        session: accept.session.clone(),
        user: accept.user.clone(),
        name: accept.name.clone(),
        message: accept.message.clone(),
        at: accept.at,
        kind,
        text,
        state,
        reason,
        target,
    }
}
