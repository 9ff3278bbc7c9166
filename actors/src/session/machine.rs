//! One conversation, as a value: what a session does next.
//!
//! It runs at most one turn at a time and knows nothing of what was said: words stay in the ledger until a turn starts. Whatever it
//! decides is durable before it counts, so it can be thrown away at any moment and built again from the ledger.
//!
//! | state | leaves it when |
//! |---|---|
//! | `Waking` | the ledger told what waits |
//! | `Resting` | something waits and the gate is open → `Starting` |
//! | `Asking` | the supervisor lets it start (a gate that is metered) → `Starting` |
//! | `Starting` | the start is durable → `Running`; nothing waited, or it failed → `Resting` |
//! | `Running` | the run ended, a limit, /stop, or it is cut → `Closing` |
//! | `Closing` | the end is durable → `Resting` |

mod words;

use std::sync::Arc;
use std::time::Duration;

use crate::agent::Decision;
use crate::clock::Moment;
use crate::ids::{OutboxId, Seq, TurnId};
use crate::ledger::{Done, End, Request, Started, Take};
use crate::settings::{self, Busy};
use crate::shutdown::report::Outcome;
use crate::shutdown::ticket::Goodbye;
pub use words::{Activity, Close, Delivery, Effect, Event, Gate, Limit, Run, RunEnd, Say};

/// A conversation.
#[derive(Debug)]
pub struct Session {
    rules: Arc<Rules>,
    state: State,
    /// Rows that wait in the ledger, as far as is known.
    waiting: u32,
    /// Of these, the ones that arrived after the last start was submitted.
    arrived: u32,
    gate: Gate,
    /// Whether it holds the supervisor's leave to run a turn, and has to give it back.
    leave: bool,
    /// Cut turns that are to run again, before what waits.
    resume: Option<(TurnId, u32)>,
    /// The number of a start that the ledger could not confirm. Should it have been written all the same, only the very same start gets
    /// that turn back.
    unsure: Option<TurnId>,
    /// Replies that the outbox still has.
    owed: Vec<Owed>,
    /// A turn that asks for approval, whose agent waits. It is durable: should it be dropped, the decision runs it again.
    paused: Option<Box<Run>>,
    drain: Drain,
    /// The time of a shutdown is over: what is not delivered now stays owed.
    late: bool,
}

/// What holds for every session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a message does that arrives during a turn.
    pub busy: Busy,
    /// How long a turn may take.
    pub limits: Limits,
}

impl Rules {
    /// As the settings say.
    pub fn of(session: &settings::Session) -> Self {
        Self { busy: session.busy, limits: Limits { wall: session.turn_limit, idle: session.turn_idle } }
    }
}

/// How long a turn may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From start to answer.
    pub wall: Duration,
    /// Without progress.
    pub idle: Duration,
}

#[derive(Debug)]
enum State {
    Waking,
    Resting,
    Asking,
    /// `again`: the attempt of a cut turn that is to run again.
    Starting {
        turn: TurnId,
        again: Option<u32>,
        then: Then,
    },
    Running(Box<Run>),
    Closing(Box<Run>, Closing),
}

/// What becomes of a turn that is being started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Runs,
    /// A /stop arrived meanwhile: the ledger closes the turn.
    Halted,
    /// The session fell meanwhile: the turn gets its verdict.
    Fell,
}

/// How a turn is being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// By its run's end, a limit, or the fall of this session.
    Ended,
    /// Cut by a shutdown.
    Cut,
    /// By its user: with /stop, /new, or a newer message.
    Dropped,
    /// It asks for approval; its agent waits.
    Asking,
    /// Taken back before it was dispatched.
    TakenBack,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owed {
    row: OutboxId,
    /// Why it will not be delivered before the end of a shutdown, if that is known.
    stuck: Option<String>,
}

#[derive(Debug)]
enum Drain {
    /// No shutdown is under way for this session.
    Serving,
    /// It holds a ticket. `ran`: it owed something when it got it.
    Ticketed { ran: bool },
    /// It said goodbye.
    Gone,
}

impl Session {
    /// A session that does not know yet what it has open.
    pub fn new(rules: Arc<Rules>, gate: Gate) -> Self {
        Self {
            rules,
            state: State::Waking,
            waiting: 0,
            arrived: 0,
            gate,
            leave: false,
            resume: None,
            unsure: None,
            owed: Vec::new(),
            paused: None,
            drain: Drain::Serving,
            late: false,
        }
    }

    /// A session that takes the place of one that fell: the turn that ran gets its verdict, and what waits is read anew.
    pub fn instead_of(fallen: &Session) -> (Self, Vec<Effect>) {
        let (owed, resume, unsure) = (fallen.owed.clone(), fallen.resume, fallen.unsure);
        let mut session = Self { owed, resume, unsure, ..Self::new(fallen.rules.clone(), fallen.gate) };
        let mut effects = Vec::new();
        if fallen.leave {
            effects.push(Effect::GiveWay);
        }
        if let State::Running(run) = &fallen.state {
            effects.push(Effect::Abort);
            session.fail(run.clone(), &mut effects);
            // What waits is counted by the start that follows the close, which finds it in the ledger.
            session.waiting = 1;
        } else if let State::Closing(run, how) = &fallen.state {
            session.state = State::Closing(run.clone(), *how);
            session.waiting = 1;
        } else if let State::Starting { turn, again, then } = fallen.state {
            // Its answer is still under way; a turn that it starts must not run in a session that does not know why it fell.
            let then = if then == Then::Halted { then } else { Then::Fell };
            session.state = State::Starting { turn, again, then };
            session.waiting = 1;
        }
        if fallen.paused.is_some() {
            // Its agent is nobody's; the decision runs the turn again.
            effects.push(Effect::Abort);
        }
        (session, effects)
    }

    /// A session that is born with its first message: nothing of it is open but what it will hear.
    pub fn fresh(rules: Arc<Rules>, gate: Gate) -> Self {
        Self { state: State::Resting, ..Self::new(rules, gate) }
    }

    /// Takes one event to its consequences. The caller performs them, in order. `draw` is the number for a turn, should one start.
    pub fn step(&mut self, now: Moment, draw: TurnId, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.take_in(now, event, &mut effects);
        self.go_on(draw, &mut effects);
        effects
    }

    /// What it is doing.
    pub fn activity(&self) -> Activity {
        match &self.state {
            State::Running(run) => Activity::Running { since: run.since, asked_by: Some(run.asked_by.1.clone()) },
            State::Closing(_, Closing::Ended) if self.waiting == 0 => Activity::Delivering,
            // What it answers waits again in a moment.
            State::Closing(_, Closing::TakenBack) => Activity::Waiting(self.waiting + 1),
            // It was woken because something waits, and is yet to hear how much; or a cut turn waits to run again.
            State::Waking | State::Starting { again: Some(_), .. } => Activity::Waiting(self.waiting.max(1)),
            State::Resting | State::Asking if self.resume.is_some() => Activity::Waiting(self.waiting.max(1)),
            State::Resting | State::Asking | State::Starting { .. } | State::Closing(..) => match self.waiting {
                0 if self.owed.is_empty() => Activity::Idle,
                0 => Activity::Delivering,
                count => Activity::Waiting(count),
            },
        }
    }

    /// Whether it may leave memory: nothing runs, waits or is under way. What it owes is the outbox's business.
    pub fn may_leave(&self) -> bool {
        let nothing_waits = self.waiting == 0 && self.resume.is_none();
        matches!(self.state, State::Resting) && (nothing_waits || self.is_gone()) && matches!(self.drain, Drain::Serving)
    }

    /// Whether nobody speaks to its chat any more: it leaves as soon as it may.
    pub fn is_gone(&self) -> bool {
        self.gate == Gate::Gone
    }

    /// The turn that runs.
    pub fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    /// Whether it waits to learn what the ledger has open.
    pub fn is_waking(&self) -> bool {
        matches!(self.state, State::Waking)
    }

    /// Messages that wait in the ledger, as far as it knows.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// The replies that the outbox still has.
    pub fn owed(&self) -> impl Iterator<Item = OutboxId> + '_ {
        self.owed.iter().map(|owed| owed.row)
    }

    /// Notes replies that were handed to the outbox. They count before the close that wrote them is told. An adapter that fell names again what
    /// it has.
    pub fn owes(&mut self, rows: impl IntoIterator<Item = OutboxId>) {
        for row in rows {
            if self.owed.iter().all(|owed| owed.row != row) {
                self.owed.push(Owed { row, stuck: None });
            }
        }
    }

    fn take_in(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        match (&mut self.state, event) {
            (State::Waking, Event::Woken { waiting }) => {
                // Messages heard while waking may or may not be counted; a start that finds nothing is harmless.
                self.waiting = waiting + self.arrived;
                self.state = State::Resting;
            }
            (_, Event::Woken { .. }) => {}

            (_, Event::Heard) => {
                self.waiting += 1;
                self.arrived += 1;
                if let (State::Running(run), Busy::Interrupt) = (&self.state, self.rules.busy) {
                    let run = run.clone();
                    effects.push(Effect::Abort);
                    self.close(run, End::Superseded, Say::Nothing, None, Closing::Dropped, effects);
                }
            }
            (_, Event::Resume { turn, attempt }) => self.resume = Some((turn, attempt)),
            (_, Event::Gate(gate)) => {
                self.gate = gate;
                if matches!(self.state, State::Asking) {
                    self.state = State::Resting;
                }
            }

            (_, Event::Rules(rules)) => self.rules = rules,

            (State::Asking, Event::MayStart) => {
                self.leave = true;
                self.state = State::Resting;
            }
            // It has nothing to start any more: the leave goes back at once.
            (_, Event::MayStart) => effects.push(Effect::GiveWay),

            (State::Starting { turn, again, then }, Event::Started(done)) => {
                let start = (*turn, *again, *then);
                self.state = State::Resting;
                self.started(now, done, start, effects);
            }
            (_, Event::Started(_)) => {}

            (State::Running(run), Event::Progress) => run.heard = now,
            (_, Event::Progress) => {}

            (State::Running(run), Event::Ended(end)) => {
                let run = run.clone();
                let (end, word) = match end {
                    RunEnd::Answered(text) => (End::Answered(text.clone()), Say::Answer(text)),
                    RunEnd::Failed(reason) => (End::Failed { reason: reason.clone() }, Say::Failed(reason)),
                };
                self.close(run, end, word, None, Closing::Ended, effects);
            }
            // It does not wait any more: the decision runs it again.
            (_, Event::Ended(_)) => self.drop_paused(effects),

            (State::Running(run), Event::Ask { call, question }) => {
                let mut run = run.clone();
                run.asks = Some(call.clone());
                self.close(run, End::Asks { call, question: question.clone() }, Say::Question(question), None, Closing::Asking, effects);
            }
            (_, Event::Ask { .. }) => {}

            (State::Running(run), Event::GoDown(request, answer)) => {
                let run = run.clone();
                effects.push(Effect::Abort);
                self.close(run, End::Answered(answer.clone()), Say::Answer(answer), Some(request), Closing::Ended, effects);
            }
            (_, Event::GoDown(..)) => {}

            (State::Closing(run, how), Event::Closed(ours)) => {
                let (run, how) = (run.clone(), *how);
                self.state = State::Resting;
                self.closed(run, how, ours, effects);
            }
            (_, Event::Closed(_)) => {}

            (_, Event::Delivery(row, Delivery::Settled)) => {
                self.owed.retain(|owed| owed.row != row);
                if self.owed.is_empty() {
                    // Room that an idle session would keep for nothing.
                    self.owed = Vec::new();
                }
            }
            (_, Event::Delivery(row, Delivery::Stuck(reason))) => {
                if let Some(owed) = self.owed.iter_mut().find(|owed| owed.row == row) {
                    owed.stuck = Some(reason);
                }
            }

            (_, Event::Halt(before)) => self.halt(before, Say::Nothing, effects),
            (_, Event::HaltUnrecorded(before)) => self.halt(before, Say::Stopped, effects),
            (State::Running(run), Event::Tick) => {
                let run = run.clone();
                self.watch(now, run, effects);
            }
            (_, Event::Tick) => {}

            (_, Event::Drain) => {
                let ran = matches!(self.state, State::Running(_) | State::Closing(_, Closing::Ended)) || !self.owed.is_empty();
                if matches!(self.state, State::Asking) {
                    self.state = State::Resting;
                }
                self.drain = Drain::Ticketed { ran };
            }
            (_, Event::Interrupt { cause }) => self.interrupt(cause, effects),
        }
    }

    /// What follows from where it stands now: a start, or a goodbye.
    fn go_on(&mut self, draw: TurnId, effects: &mut Vec<Effect>) {
        match (&self.state, &self.drain) {
            (State::Resting, Drain::Serving) => self.start(draw, effects),
            (State::Resting, Drain::Ticketed { ran }) => {
                let ran = *ran;
                // It is at a safe point, and counts as idle.
                self.drop_paused(effects);
                let goodbye = match self.owed.iter().find_map(|owed| owed.stuck.clone()) {
                    Some(reason) => Goodbye { outcome: Outcome::Owing, reason },
                    None if self.owed.is_empty() => {
                        Goodbye { outcome: if ran { Outcome::Finished } else { Outcome::Idle }, reason: String::new() }
                    }
                    None if self.late => Goodbye { outcome: Outcome::Owing, reason: "its answer is still on its way".into() },
                    None => return,
                };
                self.say_goodbye(goodbye, effects);
            }
            _ => {}
        }
        if self.leave && matches!(self.state, State::Resting) {
            self.leave = false;
            effects.push(Effect::GiveWay);
        }
    }

    fn start(&mut self, draw: TurnId, effects: &mut Vec<Effect>) {
        if self.waiting == 0 && self.resume.is_none() {
            return;
        }
        match self.gate {
            Gate::Shut | Gate::Gone => return,
            Gate::Metered if !self.leave => {
                self.state = State::Asking;
                effects.push(Effect::AskToStart);
                return;
            }
            Gate::Metered | Gate::Open => {}
        }
        match self.resume.take() {
            Some((turn, attempt)) => {
                self.state = State::Starting { turn, again: Some(attempt), then: Then::Runs };
                effects.push(Effect::Resume { turn, attempt });
            }
            None => {
                self.arrived = 0;
                let turn = self.unsure.take().unwrap_or(draw);
                self.state = State::Starting { turn, again: None, then: Then::Runs };
                effects.push(Effect::Start { turn, take: if self.rules.busy == Busy::Queue { Take::One } else { Take::All } });
            }
        }
    }

    fn started(&mut self, now: Moment, done: Option<Done>, (turn, again, then): (TurnId, Option<u32>, Then), effects: &mut Vec<Effect>) {
        let halted = then == Then::Halted;
        let started = match (done, again) {
            (Some(Done::Started(started)), _) => started,
            // The same again, once the ledger is back; after a /stop there is nothing to get back.
            (None, Some(attempt)) if !halted => return self.resume = Some((turn, attempt)),
            (None, None) if !halted => return self.unsure = Some(turn),
            (None | Some(_), Some(_)) => return effects.push(Effect::NotStarted),
            (None, None) => return,
            (Some(_), None) => {
                self.waiting = self.arrived;
                return effects.push(Effect::NotStarted);
            }
        };
        if then != Then::Runs && again.is_some() {
            effects.push(Effect::NotStarted);
        }
        let Started { turn, attempt, history, reply_to, asked_by, left, decisions, .. } = *started;
        self.waiting = left + self.arrived;
        let run = Box::new(Run { turn, attempt, since: now, heard: now, limits: self.rules.limits, asked_by, reply_to, asks: None });
        if halted {
            // The ledger closed it in the step behind; were that lost, this closes it.
            return self.close(run, End::Stopped, Say::Nothing, None, Closing::Dropped, effects);
        }
        if then == Then::Fell {
            return self.fail(run, effects);
        }
        if !matches!(self.drain, Drain::Serving) || matches!(self.gate, Gate::Shut | Gate::Gone) {
            effects.push(Effect::TakeBack { turn, attempt });
            self.state = State::Closing(run, Closing::TakenBack);
            return;
        }
        effects.push(Effect::Wake(run.next_limit()));
        self.state = State::Running(run);
        let waits = self.paused.as_ref().filter(|paused| paused.turn == turn).and_then(|paused| paused.asks.as_ref());
        if let Some(Decision { approved, .. }) = decisions.iter().find(|decision| Some(&decision.call) == waits) {
            self.paused = None;
            return effects.push(Effect::Continue { approved: *approved });
        }
        self.drop_paused(effects);
        effects.push(Effect::Run { turn, attempt, history, decisions });
    }

    /// A turn gets the verdict of a session that fell.
    fn fail(&mut self, run: Box<Run>, effects: &mut Vec<Effect>) {
        let reason = "an internal error".to_owned();
        self.close(run, End::Failed { reason: reason.clone() }, Say::Failed(reason), None, Closing::Ended, effects);
    }

    fn close(&mut self, run: Box<Run>, end: End, word: Say, request: Option<Request>, how: Closing, effects: &mut Vec<Effect>) {
        effects.push(Effect::Close(Box::new(Close { run: Run::clone(&run), end, word, request })));
        self.state = State::Closing(run, how);
    }

    /// What waits for a decision waits in the ledger alone.
    fn drop_paused(&mut self, effects: &mut Vec<Effect>) {
        if self.paused.take().is_some() {
            effects.push(Effect::Abort);
        }
    }

    fn closed(&mut self, run: Box<Run>, how: Closing, ours: bool, effects: &mut Vec<Effect>) {
        // Leave is for one turn: whoever has more to do stands in line again.
        if std::mem::take(&mut self.leave) {
            effects.push(Effect::GiveWay);
        }
        match how {
            Closing::TakenBack if ours => self.waiting += 1,
            Closing::Asking if ours => self.paused = Some(run),
            // Somebody else closed it meanwhile.
            Closing::Asking => effects.push(Effect::Abort),
            Closing::Cut if ours => {
                let reason = "its task was cut and can be run again".to_owned();
                self.say_goodbye(Goodbye { outcome: Outcome::Interrupted, reason }, effects);
            }
            Closing::TakenBack | Closing::Cut | Closing::Ended | Closing::Dropped => {}
        }
    }

    fn halt(&mut self, before: Seq, word: Say, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Running(run) if run.turn.0 < before => {
                let run = run.clone();
                effects.push(Effect::Abort);
                self.close(run, End::Stopped, word, None, Closing::Dropped, effects);
            }
            State::Starting { turn, then, .. } if turn.0 < before => *then = Then::Halted,
            _ => {}
        }
        if self.paused.take_if(|run| run.turn.0 < before).is_some() {
            effects.push(Effect::Abort);
        }
        // A start that finds nothing is harmless; one that is forgotten is not. So what waits is only ever counted down by the ledger.
        self.unsure = self.unsure.filter(|turn| turn.0 > before);
        if self.resume.take_if(|(turn, _)| turn.0 < before).is_some() {
            effects.push(Effect::NotStarted);
        }
    }

    fn watch(&mut self, now: Moment, run: Box<Run>, effects: &mut Vec<Effect>) {
        let passed = if now.since(run.since) >= run.limits.wall {
            Limit::Wall
        } else if now.since(run.heard) >= run.limits.idle {
            Limit::Idle
        } else {
            return effects.push(Effect::Wake(run.next_limit()));
        };
        effects.push(Effect::Abort);
        let reason = match passed {
            Limit::Wall => "it took too long",
            Limit::Idle => "it made no progress",
        };
        self.close(run, End::Failed { reason: reason.into() }, Say::TooLong(passed), None, Closing::Ended, effects);
    }

    fn interrupt(&mut self, cause: String, effects: &mut Vec<Effect>) {
        // A write that is under way is awaited; what it leaves undelivered is owed.
        self.late = true;
        if let State::Running(run) = &self.state {
            let run = run.clone();
            effects.push(Effect::Abort);
            self.close(run, End::Interrupted { cause }, Say::Nothing, None, Closing::Cut, effects);
        }
    }

    fn say_goodbye(&mut self, goodbye: Goodbye, effects: &mut Vec<Effect>) {
        if let Drain::Ticketed { .. } = self.drain {
            self.drain = Drain::Gone;
            effects.push(Effect::Acknowledge(goodbye));
        }
    }
}

#[cfg(test)]
mod tests;
