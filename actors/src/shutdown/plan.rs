//! The plan of a shutdown, as a value: which phase, until when, and what it came to.
//!
//! | phase | ends when |
//! |---|---|
//! | quiesce | at once |
//! | roll call | all answered, or its budget |
//! | announce | every notice handed over, or its budget; the drain runs beside it |
//! | drain | all acknowledged, or its deadline; never before announce is over |
//! | interrupt | all acknowledged, or its deadline |
//! | flush | nothing is due any more, or its deadline |
//! | disconnect | all closed, or its deadline |
//! | mark | written, or half the margin |
//! | close | closed, or three quarters of the margin |
//!
//! `deadline(phase)` is the end of the grace less the budgets of the later phases. A phase with nobody to ask is skipped. A second
//! request joins the first and never starts it over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::report::{NoticeFate, Outcome, PhaseTime, SessionEnd, ShutdownReport, Verdict};
use super::roll_call::{Call, Presence, RollCall, Work};
use super::ticket::{Goodbye, Seat};
use super::{Budgets, Phase, ShutdownKind};
use crate::clock::Moment;
use crate::ids::{ChatId, InstanceId, SessionKey};

/// A shutdown under way.
#[derive(Debug)]
pub struct Plan {
    kind: ShutdownKind,
    budgets: Budgets,
    start: Moment,
    /// The end of the grace.
    end: Moment,
    phase: Phase,
    /// Every phase that began, and when; `announce` and `drain` overlap.
    began: Vec<(Phase, Moment, Option<Moment>)>,
    roll: RollCall,
    seats: Vec<SeatState>,
    open: usize,
    calls: HashMap<ChatId, CallState>,
    /// Calls whose notice is neither handed over nor settled.
    unspoken: usize,
    announced_until: Moment,
    /// When the last sessions were asked.
    asked: Moment,
    /// The moment at which it was last said to look again.
    alarm: Option<Moment>,
    /// Why the verdict cannot be clean, beside the outcomes.
    blemishes: Vec<String>,
}

#[derive(Debug)]
struct SeatState {
    outcome: Option<Outcome>,
    reason: String,
    waited: Duration,
    /// It came after the deadline of the drain.
    late: bool,
}

#[derive(Debug)]
struct CallState {
    place: usize,
    handed: bool,
    fate: Option<NoticeFate>,
    /// Sessions of this chat with running work, while that is the reason to tell it.
    reasons: Vec<Seat>,
    /// Messages wait there: when nothing runs any more, it is still told that.
    waits: bool,
}

/// What the plan is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another request: a kind, and a grace from now, where it names one.
    Joined {
        /// What it wants.
        kind: ShutdownKind,
        /// How long it grants from now; the shorter wins.
        grace: Option<Duration>,
    },
    /// No more time for the drain.
    Hurry,
    /// More sessions are asked only now: the budget of the roll call begins with the last of them.
    Asking,
    /// An answer to the roll call.
    Present(Seat, Presence),
    /// A notice was handed to the platform.
    Handed(ChatId),
    /// The platform gave it back: it has to wait.
    HeldBack(ChatId),
    /// What became of a notice.
    Noticed(ChatId, NoticeFate),
    /// A turn is over, though perhaps not delivered; so many messages wait behind it.
    TurnOver(Arc<SessionKey>, u32),
    /// A session's goodbye; `None`: its ticket was dropped.
    Goodbye(Seat, Option<Goodbye>),
    /// Every reply of a session that is not in memory is settled.
    Delivered(Seat),
    /// A session that is not in memory has a reply that will not be delivered in time.
    Stuck(Seat, String),
    /// Nothing is due in any outbox.
    Flushed,
    /// All adapters are closed.
    Disconnected,
    /// The ledger has the verdict and the marker stands, or why not.
    Marked(Result<(), String>),
    /// The ledger is closed.
    Closed,
    /// The ledger cannot commit.
    LedgerDown,
    /// A deadline may have passed.
    Tick,
}

/// What the plan wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A phase begins.
    Enter(Phase),
    /// Ask every session in memory what it is doing.
    AskAll,
    /// Tell this chat.
    Announce(Call),
    /// This chat needs not be told any more, if it has not been.
    Withdraw(ChatId),
    /// In this chat nothing runs any more and something waits: its notice, if it has not been told, says so.
    Soften(ChatId),
    /// What the notices say has changed: the kind, and until when tasks may run.
    Rephrase {
        /// What for.
        kind: ShutdownKind,
        /// The deadline of the drain.
        until: Moment,
    },
    /// Give every session in memory its ticket, and tell the outboxes until when a reply counts.
    Drain {
        /// The deadline of the drain.
        until: Moment,
    },
    /// Cut these.
    Interrupt(Vec<Seat>),
    /// Send what is due, then say so.
    Flush,
    /// Close the adapters, then say so.
    Disconnect,
    /// Record the verdict as the ledger's last row and then, only if it is clean, write the marker.
    Mark {
        /// Whether it is.
        clean: bool,
        /// In words.
        verdict: String,
    },
    /// Close the ledger.
    Close,
    /// Look again at this moment.
    Wake(Moment),
    /// It is over.
    Report(Box<ShutdownReport>),
}

/// One session of the census: its key, and whether it is in memory.
pub type Member = (Arc<SessionKey>, bool);

impl Plan {
    /// Begins a shutdown over a census that is closed. `grace` replaces the configured one; one that is too short is raised to what the
    /// phases beside the drain need.
    pub fn begin(
        now: Moment,
        kind: ShutdownKind,
        grace: Option<Duration>,
        budgets: Budgets,
        census: impl IntoIterator<Item = Member>,
    ) -> (Self, Vec<Effect>) {
        let roll = RollCall::new(census);
        let seats: Vec<SeatState> =
            (0..roll.sessions()).map(|_| SeatState { outcome: None, reason: String::new(), waited: Duration::ZERO, late: false }).collect();
        let mut plan = Self {
            kind,
            budgets,
            start: now,
            end: now + grace.unwrap_or(budgets.grace).max(budgets.least()),
            phase: Phase::Quiesce,
            began: Vec::new(),
            open: seats.len(),
            roll,
            seats,
            calls: HashMap::new(),
            unspoken: 0,
            announced_until: now,
            asked: now,
            alarm: None,
            blemishes: Vec::new(),
        };
        let mut effects = Vec::new();
        plan.enter(now, Phase::Quiesce, &mut effects);
        plan.go_on(now, &mut effects);
        (plan, effects)
    }

    /// Takes one event to its consequences. The caller performs them, in order.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.take_in(now, event, &mut effects);
        self.go_on(now, &mut effects);
        effects
    }

    /// What it is for.
    pub fn kind(&self) -> ShutdownKind {
        self.kind
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When the grace ends.
    pub fn end(&self) -> Moment {
        self.end
    }

    /// The session in a seat.
    pub fn session(&self, seat: Seat) -> &Arc<SessionKey> {
        self.roll.session(seat)
    }

    /// The seats of sessions in memory.
    pub fn asked(&self) -> Vec<Seat> {
        self.roll.asked().collect()
    }

    /// The seats of sessions that are not in memory and owe a reply.
    pub fn away(&self) -> Vec<Seat> {
        self.roll.away().collect()
    }

    /// The latest that a phase may end.
    pub fn deadline(&self, phase: Phase) -> Moment {
        let b = &self.budgets;
        match phase {
            Phase::Quiesce | Phase::RollCall => self.end - (b.announce + b.interrupt + b.flush + b.disconnect),
            Phase::Announce | Phase::Drain => self.end - (b.interrupt + b.flush + b.disconnect),
            Phase::Interrupt => self.end - (b.flush + b.disconnect),
            Phase::Flush => self.end - b.disconnect,
            Phase::Disconnect => self.end,
            Phase::Mark => self.end + b.margin / 2,
            Phase::Close => self.end + b.margin * 3 / 4,
        }
    }

    fn take_in(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Joined { kind, grace } => self.join(now, kind, grace, effects),
            Event::Hurry => self.shorten(now, Duration::ZERO, effects),
            Event::Asking => self.asked = now,
            Event::Present(seat, presence) => self.roll.answer(seat, presence),
            Event::Handed(chat) => {
                if let Some(call) = self.calls.get_mut(&chat) {
                    self.unspoken -= usize::from(!call.handed && call.fate.is_none());
                    call.handed = true;
                }
            }
            Event::HeldBack(chat) => self.held_back(now, &chat),
            Event::Noticed(chat, fate) => {
                if let Some(call) = self.calls.get_mut(&chat) {
                    self.unspoken -= usize::from(!call.handed && call.fate.is_none());
                    // Why it failed first is why it failed.
                    if !matches!((&call.fate, &fate), (Some(NoticeFate::Failed { .. }), NoticeFate::Failed { .. })) {
                        call.fate = Some(fate);
                    }
                }
            }
            Event::TurnOver(session, waiting) => self.turn_over(&session, waiting, effects),
            Event::Goodbye(seat, goodbye) => {
                let goodbye = goodbye.unwrap_or_else(|| Goodbye { outcome: Outcome::Dead, reason: "it died".into() });
                self.settle(now, seat, goodbye, effects);
            }
            Event::Delivered(seat) => {
                self.settle(now, seat, Goodbye { outcome: Outcome::Finished, reason: String::new() }, effects);
            }
            Event::Stuck(seat, reason) => self.settle(now, seat, Goodbye { outcome: Outcome::Owing, reason }, effects),
            Event::Flushed if self.phase == Phase::Flush => self.enter(now, Phase::Disconnect, effects),
            Event::Disconnected if self.phase == Phase::Disconnect => self.enter(now, Phase::Mark, effects),
            Event::Marked(result) if self.phase == Phase::Mark => {
                if let Err(reason) = result {
                    self.blemishes.push(reason);
                }
                self.enter(now, Phase::Close, effects);
            }
            Event::Closed if self.phase == Phase::Close => self.finish(now, effects),
            // Late: the phase went on without them.
            Event::Flushed | Event::Disconnected | Event::Marked(_) | Event::Closed => {}
            Event::LedgerDown => {
                if self.blemishes.is_empty() {
                    self.blemishes.push("the ledger could not commit".into());
                }
            }
            // It went off: should there be something to wait for still, it is set again.
            Event::Tick => self.alarm = None,
        }
    }

    fn held_back(&mut self, now: Moment, chat: &ChatId) {
        let Some(call) = self.calls.get_mut(chat).filter(|call| call.handed && call.fate.is_none()) else { return };
        call.handed = false;
        if self.phase > Phase::Drain {
            call.fate = Some(NoticeFate::Failed { reason: "not handed over in time".into() });
            return;
        }
        self.unspoken += 1;
        if let Some((_, _, ended)) = self.began.iter_mut().find(|(phase, ..)| *phase == Phase::Announce && now < self.announced_until) {
            *ended = None;
        }
    }

    fn join(&mut self, now: Moment, kind: ShutdownKind, grace: Option<Duration>, effects: &mut Vec<Effect>) {
        let joined = self.kind.joined_by(kind);
        let changed = joined != self.kind;
        self.kind = joined;
        match grace {
            Some(grace) if self.phase <= Phase::Drain => {
                let b = &self.budgets;
                self.shorten(now, grace.saturating_sub(b.interrupt + b.flush + b.disconnect), effects);
            }
            _ if changed => effects.push(Effect::Rephrase { kind: self.kind, until: self.deadline(Phase::Drain) }),
            _ => {}
        }
    }

    /// Leaves the drain at most this long; what follows keeps its budgets.
    fn shorten(&mut self, now: Moment, drain: Duration, effects: &mut Vec<Effect>) {
        if self.phase > Phase::Drain {
            return;
        }
        let b = &self.budgets;
        let end = now + drain + b.interrupt + b.flush + b.disconnect;
        self.end = self.end.min(end);
        effects.push(Effect::Rephrase { kind: self.kind, until: self.deadline(Phase::Drain) });
    }

    fn settle(&mut self, now: Moment, seat: Seat, goodbye: Goodbye, effects: &mut Vec<Effect>) {
        let late = self.phase > Phase::Drain;
        let state = &mut self.seats[seat.0 as usize];
        if state.outcome.is_some() {
            return;
        }
        let Goodbye { outcome, reason } = goodbye;
        *state = SeatState { outcome: Some(outcome), reason, waited: now.since(self.start), late };
        self.open -= 1;
        // Whoever said goodbye needs no roll call any more.
        self.roll.answer(seat, Presence::Quiet);
        if outcome == Outcome::Finished {
            self.spare(seat, effects);
        }
    }

    /// A turn that is over is no reason any more to tell its chat.
    fn turn_over(&mut self, session: &SessionKey, waiting: u32, effects: &mut Vec<Effect>) {
        if self.phase == Phase::RollCall {
            return self.roll.turn_over(session, waiting);
        }
        let Some(call) = self.calls.get_mut(&session.chat) else { return };
        call.waits |= waiting > 0;
        if let Some(seat) = call.reasons.iter().copied().find(|seat| **self.roll.session(*seat) == *session) {
            self.spare(seat, effects);
        }
    }

    /// A chat in which nothing runs any more is told no more than what waits there, and nothing where nothing does.
    fn spare(&mut self, seat: Seat, effects: &mut Vec<Effect>) {
        if self.phase > Phase::Drain || self.calls.is_empty() {
            return;
        }
        let chat = &self.roll.session(seat).chat;
        let Some(call) = self.calls.get_mut(chat) else { return };
        let before = call.reasons.len();
        call.reasons.retain(|reason| *reason != seat);
        // One that failed because its platform is down would still be sent, should that come back.
        let unsent = !call.handed && matches!(call.fate, None | Some(NoticeFate::Failed { .. }));
        if before > 0 && call.reasons.is_empty() && unsent {
            effects.push(if call.waits { Effect::Soften(chat.clone()) } else { Effect::Withdraw(chat.clone()) });
        }
    }

    /// Goes through every phase that has nothing left to wait for.
    fn go_on(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        loop {
            let before = self.phase;
            match self.phase {
                Phase::Quiesce => self.enter(now, Phase::RollCall, effects),
                Phase::RollCall if self.roll.is_complete() || now >= self.due() => self.announce(now, effects),
                Phase::Announce => self.enter(now, Phase::Drain, effects),
                Phase::Drain if self.drained(now) => self.enter(now, Phase::Interrupt, effects),
                Phase::Interrupt if self.open == 0 || now >= self.due() => {
                    self.give_up(now, effects);
                    self.enter(now, Phase::Flush, effects);
                }
                Phase::Flush if now >= self.due() => self.enter(now, Phase::Disconnect, effects),
                Phase::Disconnect if now >= self.due() => self.enter(now, Phase::Mark, effects),
                Phase::Mark if now >= self.due() => {
                    self.blemishes.push("the marker was not written in time".into());
                    self.enter(now, Phase::Close, effects);
                }
                Phase::Close if now >= self.due() => self.finish(now, effects),
                _ => {}
            }
            if before == self.phase {
                break;
            }
        }
        let announces = self.announces(now);
        if self.began.last().is_some_and(|(_, _, ended)| ended.is_none()) {
            let due = self.due();
            let alarm = if announces { due.min(self.announced_until) } else { due };
            // A census answers by the hundred thousand: what has been said is not said again with each of them.
            if self.alarm.replace(alarm) != Some(alarm) {
                effects.push(Effect::Wake(alarm));
            }
        }
    }

    /// Whether notices are still being handed over. Announce runs beside the drain, and ends by itself.
    fn announces(&mut self, now: Moment) -> bool {
        let over = self.unspoken == 0 || now >= self.announced_until;
        let open = self.began.iter_mut().find(|(phase, _, ended)| *phase == Phase::Announce && ended.is_none());
        let Some((_, _, ended)) = open else { return false };
        if over {
            *ended = Some(now);
        }
        !over
    }

    /// When the present phase is over at the latest.
    fn due(&self) -> Moment {
        let began = self.began.last().map_or(self.start, |(_, began, _)| *began);
        let deadline = self.deadline(self.phase);
        match self.phase {
            Phase::RollCall => deadline.min(began.max(self.asked) + self.budgets.roll_call),
            // A ledger that has failed before is not waited for as long as one that is only slow.
            Phase::Mark if !self.blemishes.is_empty() => deadline.min(began + self.budgets.margin / 2),
            Phase::Drain if self.unspoken > 0 => deadline.max(self.announced_until),
            _ => deadline,
        }
    }

    /// Whether the drain is over: everybody said goodbye, or its time is up; and nobody is cut before their notice was handed over.
    fn drained(&self, now: Moment) -> bool {
        if self.open == 0 {
            return true;
        }
        let told = self.unspoken == 0 || now >= self.announced_until;
        now >= self.deadline(Phase::Drain) && told
    }

    fn announce(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let calls = self.roll.calls();
        self.announced_until = now + self.budgets.announce;
        if !calls.is_empty() {
            self.enter(now, Phase::Announce, effects);
            self.unspoken = calls.len();
            effects.push(Effect::Rephrase { kind: self.kind, until: self.deadline(Phase::Drain) });
        }
        for (place, call) in calls.into_iter().enumerate() {
            let reasons = if call.work == Work::Running { call.seats.clone() } else { Vec::new() };
            let state = CallState { place, handed: false, fate: None, reasons, waits: call.waits };
            self.calls.insert(call.chat.clone(), state);
            effects.push(Effect::Announce(call));
        }
        if self.phase == Phase::RollCall {
            self.phase = Phase::Announce;
        }
    }

    /// Sessions that never answered, and replies of sessions not in memory that are still on their way.
    fn give_up(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for at in 0..self.seats.len() {
            let seat = Seat(u32::try_from(at).expect("a census is counted in u32"));
            if self.seats[at].outcome.is_some() {
                continue;
            }
            let goodbye = match self.roll.presence(seat) {
                Presence::Away => Goodbye { outcome: Outcome::Owing, reason: "its answer is still on its way".into() },
                Presence::Running(..) if !self.blemishes.is_empty() => {
                    Goodbye { outcome: Outcome::Silent, reason: "what became of its task could not be recorded".into() }
                }
                Presence::Asked => Goodbye { outcome: Outcome::Silent, reason: "it answered nothing".into() },
                Presence::Quiet | Presence::Waiting => Goodbye { outcome: Outcome::Silent, reason: "it did not say goodbye".into() },
                Presence::Running(..) => Goodbye { outcome: Outcome::Silent, reason: "its task could not be cut".into() },
            };
            self.settle(now, seat, goodbye, effects);
        }
    }

    fn enter(&mut self, now: Moment, phase: Phase, effects: &mut Vec<Effect>) {
        let skipped = match phase {
            Phase::RollCall => self.roll.asked().next().is_none(),
            Phase::Drain => self.open == 0,
            Phase::Interrupt => self.open == 0,
            _ => false,
        };
        self.phase = phase;
        if skipped {
            return;
        }
        // Announce runs on beside the drain.
        if phase != Phase::Drain {
            self.end_phases(now);
        }
        self.began.push((phase, now, None));
        effects.push(Effect::Enter(phase));
        match phase {
            Phase::Quiesce | Phase::Announce => {}
            Phase::RollCall => effects.push(Effect::AskAll),
            Phase::Drain => effects.push(Effect::Drain { until: self.deadline(Phase::Drain) }),
            Phase::Interrupt => {
                // Waiting for the last notice may have cost more than a hurried drain had: what follows keeps its budgets.
                let b = &self.budgets;
                self.end = self.end.max(now + b.interrupt + b.flush + b.disconnect);
                self.fail_unspoken();
                let seats = (0..self.seats.len()).filter(|at| self.seats[*at].outcome.is_none());
                effects.push(Effect::Interrupt(seats.filter_map(|at| u32::try_from(at).ok().map(Seat)).collect()));
            }
            Phase::Flush => effects.push(Effect::Flush),
            Phase::Disconnect => effects.push(Effect::Disconnect),
            Phase::Mark => {
                let verdict = self.verdict();
                effects.push(Effect::Mark { clean: verdict.is_clean(), verdict: verdict.to_string() });
            }
            Phase::Close => effects.push(Effect::Close),
        }
    }

    /// Notices that were held back until nobody could wait for them any longer.
    fn fail_unspoken(&mut self) {
        for call in self.calls.values_mut().filter(|call| !call.handed && call.fate.is_none()) {
            call.fate = Some(NoticeFate::Failed { reason: "not handed over in time".into() });
        }
        self.unspoken = 0;
    }

    fn end_phases(&mut self, now: Moment) {
        for (_, _, ended) in &mut self.began {
            ended.get_or_insert(now);
        }
    }

    fn verdict(&self) -> Verdict {
        let mut reasons = self.blemishes.clone();
        for (at, state) in self.seats.iter().enumerate() {
            let session = || self.roll.session(Seat(u32::try_from(at).expect("a census is counted in u32")));
            match state.outcome {
                Some(outcome) if outcome.is_clean() && !state.late => {}
                Some(outcome) if outcome.is_clean() => reasons.push(format!("{}: acknowledged after the deadline", session())),
                Some(outcome) => reasons.push(format!("{} is {outcome}: {}", session(), state.reason)),
                None => reasons.push(format!("{}: no outcome", session())),
            }
        }
        if reasons.is_empty() { Verdict::Clean } else { Verdict::Unclean { reasons } }
    }

    fn finish(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.began.iter().all(|(_, _, ended)| ended.is_some()) {
            return;
        }
        self.end_phases(now);
        let idle = |state: &SeatState| state.outcome == Some(Outcome::Idle) && !state.late;
        let mut notices: Vec<_> = self.calls.drain().collect();
        notices.sort_by_key(|(_, call)| call.place);
        effects.push(Effect::Report(Box::new(ShutdownReport {
            // Filled in by the supervisor, which knows whose life this was.
            instance: InstanceId(uuid::Uuid::nil()),
            kind: self.kind,
            verdict: self.verdict(),
            census: self.seats.len(),
            idle: self.seats.iter().filter(|state| idle(state)).count(),
            sessions: self
                .seats
                .iter()
                .enumerate()
                .filter(|(_, state)| !idle(state))
                .map(|(at, state)| SessionEnd {
                    session: SessionKey::clone(self.roll.session(Seat(u32::try_from(at).expect("a census is counted in u32")))),
                    outcome: state.outcome.unwrap_or(Outcome::Silent),
                    reason: state.reason.clone(),
                    waited: state.waited,
                })
                .collect(),
            notices: notices
                .into_iter()
                .map(|(chat, call)| (chat, call.fate.unwrap_or(if call.handed { NoticeFate::Unknown } else { NoticeFate::NotNeeded })))
                .collect(),
            phases: self
                .began
                .iter()
                .map(|(phase, began, ended)| PhaseTime {
                    phase: *phase,
                    began: began.since(self.start),
                    took: ended.unwrap_or(now).since(*began),
                })
                .collect(),
            took: now.since(self.start),
        })));
    }
}

#[cfg(test)]
mod tests;
