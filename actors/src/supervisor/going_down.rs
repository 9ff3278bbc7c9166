//! Going down: what the [plan](crate::shutdown::plan) wants done, is done here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message, ResponseFuture, SpawnHandle, WrapFuture, fut::ActorFutureExt};
use tokio::sync::oneshot;

use super::{Stage, Supervisor};
use crate::clock::Moment;
use crate::ids::{AdapterName, ChatId, SessionKey};
use crate::ledger::writer::Close;
use crate::ledger::{Done, NoticeKind, Question, Step};
use crate::marker::{FORMAT, Marker};
use crate::protocol::{
    Bulletin, DeliverBefore, Disconnect, Drain, Flush, Hurry, Interrupt, Notify, Phrase, Present, Rephrase, RollCall, SaidGoodbye,
    Shutdown, Soften, Unanswered, Withdraw, WriteMarker,
};
use crate::session::machine::{Activity, Delivery};
use crate::shutdown::plan::{Effect, Event, Plan};
use crate::shutdown::report::NoticeFate;
use crate::shutdown::roll_call::{Call, Presence};
use crate::shutdown::ticket::{Acknowledge, Seat, Ticket};
use crate::shutdown::{Phase, RequestedBy, ShutdownKind, ShutdownReport};

/// Sessions spoken to in one go; then everybody else gets a turn.
const AT_ONCE_MOST: usize = 512;

/// A shutdown under way.
pub(super) struct GoingDown {
    pub(super) plan: Plan,
    cause: Arc<str>,
    /// Who asked, and who joined.
    why: Vec<String>,
    /// Who waits for the report.
    waiting: Vec<oneshot::Sender<ShutdownReport>>,
    /// The seats of sessions that are not in memory.
    away: HashMap<SessionKey, Seat>,
    /// Adapters that have not said yet that nothing is due, or goodbye.
    unflushed: HashSet<AdapterName>,
    unclosed: HashSet<AdapterName>,
    alarm: Option<(Moment, SpawnHandle)>,
    /// The flush waits for commands that are being carried out: their answers belong to it, and nothing is written behind the verdict.
    flush_waits: bool,
}

impl GoingDown {
    /// The alarm is set no more, whatever was noted of it.
    pub(super) fn forget_alarm(&mut self) {
        self.alarm = None;
    }
}

impl Handler<Shutdown> for Supervisor {
    type Result = ResponseFuture<Result<ShutdownReport, Unanswered>>;

    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Context<Self>) -> Self::Result {
        let Shutdown { kind, grace, requested_by, reason } = shutdown;
        let (told, report) = oneshot::channel();
        self.shut_down(kind, grace, &requested_by, reason.as_deref(), ctx);
        if let Stage::GoingDown(down) = &mut self.stage {
            down.waiting.push(told);
        }
        Box::pin(async move { report.await.map_err(|_| Unanswered) })
    }
}

impl Handler<Hurry> for Supervisor {
    type Result = ();

    fn handle(&mut self, Hurry(by): Hurry, ctx: &mut Context<Self>) {
        tracing::info!(by = by.as_ref().map(tracing::field::display), "the shutdown is hurried");
        if let Some(by) = by {
            self.remember_why(format!("hurried by {by}"));
        }
        self.plan(Event::Hurry, ctx);
    }
}

impl Supervisor {
    /// Begins a shutdown, or joins the one under way.
    pub(super) fn shut_down(
        &mut self,
        kind: ShutdownKind,
        grace: Option<Duration>,
        by: &RequestedBy,
        reason: Option<&str>,
        ctx: &mut Context<Self>,
    ) {
        tracing::info!(%kind, %by, reason, "shutdown requested");
        let why = match reason {
            Some(reason) => format!("{kind} by {by}: {reason}"),
            None => format!("{kind} by {by}"),
        };
        if let Stage::GoingDown(_) = &self.stage {
            self.remember_why(why);
            return self.join(kind, grace, ctx);
        }
        let census = self.books.census();
        let size = census.len();
        let away = census.iter().enumerate().filter(|(_, (_, live))| !live);
        let away = away.filter_map(|(at, (key, _))| Some((SessionKey::clone(key), Seat(u32::try_from(at).ok()?)))).collect();
        let (plan, effects) = Plan::begin(self.clock.now(), kind, grace, self.settings.shutdown, census);
        let grace = plan.end().since(self.clock.now());
        let down = GoingDown {
            plan,
            cause: Arc::from(kind.to_string()),
            why: Vec::new(),
            waiting: Vec::new(),
            away,
            unflushed: HashSet::new(),
            unclosed: HashSet::new(),
            alarm: None,
            flush_waits: false,
        };
        self.stage = Stage::GoingDown(Box::new(down));
        self.remember_why(why);
        tracing::info!(%kind, census = size, grace_s = grace.as_secs_f64(), "census closed");
        (self.bulletin)(Bulletin::GoingDown { kind, grace });
        self.carry_out_all(effects, ctx);
        for session in self.books.work_of_the_absent(self.again.expected()) {
            self.say_saved(&session);
        }
        if let Err(reason) = self.ledger_health.clone() {
            tracing::error!(%reason, "going down while the ledger cannot commit");
            self.plan(Event::LedgerDown, ctx);
        }
    }

    /// Puts on record who wants this shutdown. Whoever repeats themselves is one.
    fn remember_why(&mut self, why: String) {
        /// Remembered at most.
        const MOST: usize = 4;
        let Stage::GoingDown(down) = &mut self.stage else { return };
        if !down.why.contains(&why) && down.why.len() < MOST {
            down.why.push(why);
            self.ledger.note(Step::Leaving { instance: self.instance, why: down.why.join("; then ") });
        }
    }

    /// Another request: it joins, and never starts over.
    fn join(&mut self, kind: ShutdownKind, grace: Option<Duration>, ctx: &mut Context<Self>) {
        self.plan(Event::Joined { kind, grace }, ctx);
        if let Stage::GoingDown(down) = &self.stage {
            let left = down.plan.end().since(self.clock.now());
            (self.bulletin)(Bulletin::GoingDown { kind: down.plan.kind(), grace: left });
        }
    }

    /// Tells the plan, if there is one, and does what it wants.
    pub(super) fn plan(&mut self, event: Event, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        if let Stage::GoingDown(down) = &mut self.stage {
            let effects = down.plan.step(now, event);
            self.carry_out_all(effects, ctx);
        }
    }

    fn carry_out_all(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        for effect in effects {
            self.carry_out_effect(effect, ctx);
        }
    }

    fn carry_out_effect(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let Stage::GoingDown(down) = &mut self.stage else { return };
        match effect {
            Effect::Enter(phase) => self.enter(phase),
            Effect::AskAll => {
                let seats = down.plan.asked();
                self.spread(seats, Errand::RollCall, ctx);
            }
            Effect::Announce(call) => self.announce(call),
            Effect::Withdraw(chat) => {
                if let Some(entry) = self.books.adapter(&chat) {
                    entry.addr.do_send(Withdraw(chat));
                }
            }
            Effect::Soften(chat) => {
                if let Some(entry) = self.books.adapter(&chat) {
                    entry.addr.do_send(Soften(chat));
                }
            }
            Effect::Rephrase { kind, until } => {
                down.cause = Arc::from(kind.to_string());
                self.books.speakers().iter().for_each(|speaker| speaker.do_send(Rephrase { kind, until }));
            }
            Effect::Drain { until } => {
                let seats = down.plan.asked();
                self.books.speakers().iter().for_each(|speaker| speaker.do_send(DeliverBefore(until)));
                let goodbye = self.upward.goodbye.clone();
                let line: Acknowledge = Arc::new(move |seat, said| goodbye.do_send(SaidGoodbye { seat, goodbye: said }));
                self.spread(seats, Errand::Drain(line), ctx);
            }
            Effect::Interrupt(seats) => {
                let errand = Errand::Interrupt(down.cause.clone());
                self.spread(seats, errand, ctx);
            }
            Effect::Flush => {
                // Answers of the desk may still be on their way through the ledger: they belong to what is flushed.
                let me = ctx.address();
                self.ledger.ask(Question::Instances { most: 0 }, move |_| me.do_send(FlushNow));
            }
            Effect::Disconnect => self.disconnect(ctx),
            Effect::Mark { clean, verdict } => self.mark(clean, verdict, ctx),
            Effect::Close => self.close(ctx),
            Effect::Wake(at) => self.set_alarm(at, ctx),
            Effect::Report(report) => self.report(*report, ctx),
        }
    }

    fn enter(&self, phase: Phase) {
        tracing::info!(%phase, "shutdown phase");
        // The last row stands before the marker, and the ledger is about to be closed.
        if phase != Phase::Close {
            self.ledger.note(Step::Phase { instance: self.instance, phase, at: self.clock.wall() });
        }
        (self.bulletin)(Bulletin::Phase(phase));
    }

    fn set_alarm(&mut self, at: Moment, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let Stage::GoingDown(down) = &mut self.stage else { return };
        if let Some((set, alarm)) = down.alarm.take() {
            if set == at && at > now {
                down.alarm = Some((set, alarm));
                return;
            }
            ctx.cancel_future(alarm);
        }
        let alarm = ctx.run_later(at.since(now), |supervisor, ctx| {
            if let Stage::GoingDown(down) = &mut supervisor.stage {
                down.alarm = None;
            }
            supervisor.plan(Event::Tick, ctx);
        });
        down.alarm = Some((at, alarm));
    }

    /// Runs an errand to many sessions, a few hundred at a time.
    fn spread(&mut self, mut seats: Vec<Seat>, errand: Errand, ctx: &mut Context<Self>) {
        let rest = seats.split_off(seats.len().min(AT_ONCE_MOST));
        for seat in seats {
            self.run_errand(seat, &errand);
        }
        if matches!(errand, Errand::RollCall) {
            // Nobody is missing who was not asked yet.
            self.plan(Event::Asking, ctx);
        }
        if !rest.is_empty() {
            let later = tokio::task::yield_now().into_actor(self).map(move |(), supervisor, ctx| supervisor.spread(rest, errand, ctx));
            ctx.spawn(later);
        }
    }

    fn run_errand(&self, seat: Seat, errand: &Errand) {
        let Stage::GoingDown(down) = &self.stage else { return };
        // One that is gone, or on its way out, is no more than a dropped ticket.
        let entry = self.books.sessions.get(down.plan.session(seat));
        match (entry, errand) {
            (Some(entry), Errand::RollCall) => entry.addr.do_send(RollCall(seat)),
            (Some(entry), Errand::Drain(line)) => entry.addr.do_send(Drain(Ticket::new(seat, line.clone()))),
            (Some(entry), Errand::Interrupt(cause)) => entry.addr.do_send(Interrupt { cause: cause.clone() }),
            (None, Errand::RollCall) => self.upward.present.do_send(Present { seat, activity: Activity::Idle }),
            (None, Errand::Drain(line)) => drop(Ticket::new(seat, line.clone())),
            (None, Errand::Interrupt(_)) => {}
        }
    }

    fn announce(&mut self, call: Call) {
        let Stage::GoingDown(down) = &self.stage else { return };
        let valid_for = down.plan.end().since(self.clock.now());
        // Its words are rendered when it is sent.
        let row = self.notice(&call.chat, NoticeKind::Down, self.instance.to_string(), String::new(), valid_for);
        let members: Vec<&str> = call.members.iter().map(AsRef::as_ref).collect();
        let phrase = Phrase {
            chat: call.chat.clone(),
            work: call.work,
            members: members.join(", "),
            kind: down.plan.kind(),
            until: down.plan.deadline(Phase::Drain),
        };
        match self.books.adapter(&call.chat).filter(|entry| entry.alive) {
            Some(entry) => entry.addr.do_send(Notify { row, phrase: Some(phrase) }),
            None => {
                let reason = "its adapter is gone".to_owned();
                let news = crate::protocol::AdapterNews::Noticed(call.chat, NoticeKind::Down, NoticeFate::Failed { reason });
                self.upward.adapter.do_send(news);
            }
        }
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        let Stage::GoingDown(down) = &mut self.stage else { return };
        if down.plan.phase() != Phase::Flush {
            return;
        }
        down.flush_waits = !self.carrying.is_empty() && self.ledger_health.is_ok();
        if down.flush_waits {
            return;
        }
        let until = down.plan.deadline(Phase::Flush);
        for (name, entry) in self.books.adapters.iter().filter(|(_, entry)| entry.alive) {
            down.unflushed.insert(name.clone());
            entry.addr.do_send(DeliverBefore(until));
            entry.addr.do_send(Flush);
        }
        if down.unflushed.is_empty() {
            self.plan(Event::Flushed, ctx);
        }
    }

    /// A command was settled; perhaps the flush waited for it.
    pub(super) fn flush_again(&mut self, ctx: &mut Context<Self>) {
        if matches!(&self.stage, Stage::GoingDown(down) if down.flush_waits) {
            self.flush(ctx);
        }
    }

    /// Whether the verdict is being written: whatever comes now is left to the next life.
    pub(super) fn is_past_writing(&self) -> bool {
        matches!(&self.stage, Stage::GoingDown(down) if down.plan.phase() >= Phase::Mark)
    }

    fn disconnect(&mut self, ctx: &mut Context<Self>) {
        let Stage::GoingDown(down) = &mut self.stage else { return };
        for (name, entry) in self.books.adapters.iter().filter(|(_, entry)| entry.alive) {
            down.unclosed.insert(name.clone());
            entry.addr.do_send(Disconnect);
        }
        if down.unclosed.is_empty() {
            self.plan(Event::Disconnected, ctx);
        }
    }

    pub(super) fn flushed(&mut self, name: &AdapterName, ctx: &mut Context<Self>) {
        let Stage::GoingDown(down) = &mut self.stage else { return };
        if down.unflushed.remove(name) && down.unflushed.is_empty() {
            self.plan(Event::Flushed, ctx);
        }
    }

    pub(super) fn adapter_closed(&mut self, name: &AdapterName, ctx: &mut Context<Self>) {
        let Stage::GoingDown(down) = &mut self.stage else { return };
        if down.unclosed.remove(name) && down.unclosed.is_empty() {
            self.plan(Event::Disconnected, ctx);
        }
    }

    pub(super) fn handed(&mut self, chat: ChatId, kind: NoticeKind, ctx: &mut Context<Self>) {
        if kind == NoticeKind::Down {
            self.plan(Event::Handed(chat), ctx);
        }
    }

    pub(super) fn held_back(&mut self, chat: ChatId, kind: NoticeKind, ctx: &mut Context<Self>) {
        if kind == NoticeKind::Down {
            self.plan(Event::HeldBack(chat), ctx);
        }
    }

    pub(super) fn noticed(&mut self, chat: ChatId, kind: NoticeKind, fate: NoticeFate, ctx: &mut Context<Self>) {
        if let NoticeFate::Failed { reason } = &fate {
            tracing::warn!(%chat, ?kind, %reason, "notice not delivered");
        }
        if kind == NoticeKind::Down {
            self.plan(Event::Noticed(chat, fate), ctx);
        }
    }

    /// A reply of a session that is not in memory: `last` says that it was its last.
    pub(super) fn away_delivered(&mut self, session: &SessionKey, last: bool, delivery: &Delivery, ctx: &mut Context<Self>) {
        let Stage::GoingDown(down) = &self.stage else { return };
        let Some(seat) = down.away.get(session).copied() else { return };
        match delivery {
            Delivery::Settled if last => self.plan(Event::Delivered(seat), ctx),
            Delivery::Settled => {}
            Delivery::Stuck(reason) => self.plan(Event::Stuck(seat, reason.clone()), ctx),
        }
    }

    /// Records the verdict as the ledger's last row; then, only if it is clean, the flag is written.
    fn mark(&mut self, clean: bool, verdict: String, ctx: &mut Context<Self>) {
        let Stage::GoingDown(down) = &self.stage else { return };
        let kind = down.plan.kind();
        let marker = Marker {
            format: FORMAT,
            ledger: self.ledger_id,
            instance: self.instance,
            last_seq: self.sequence.last(),
            kind,
            census: down.away.len() + down.plan.asked().len(),
            version: self.version.clone(),
        };
        let me = ctx.address();
        let ended = Step::Ended { instance: self.instance, clean, kind, verdict, at: self.clock.wall() };
        self.ledger.must(ended, move |result| {
            let recorded = match result {
                Ok(Done::Ok) => Ok(()),
                Ok(other) => Err(format!("the ledger answered {other:?} to the verdict")),
                Err(unable) => Err(unable.to_string()),
            };
            me.do_send(Recorded { marker: clean.then_some(marker), recorded });
        });
    }

    fn close(&mut self, ctx: &mut Context<Self>) {
        let me = ctx.address();
        self.ledger_actor.do_send(Close {
            reply: Box::new(move |result| {
                if let Err(fault) = result {
                    tracing::warn!(%fault, "the ledger was not closed well; what was committed is durable all the same");
                }
                me.do_send(LedgerClosed);
            }),
        });
    }

    fn report(&mut self, report: ShutdownReport, ctx: &mut Context<Self>) {
        let report = ShutdownReport { instance: self.instance, ..report };
        tracing::info!(kind = %report.kind, verdict = %report.verdict, census = report.census, idle = report.idle, took_ms = report.took.as_millis(), "gateway down");
        if let Stage::GoingDown(down) = &mut self.stage {
            for waiting in down.waiting.drain(..) {
                let _ = waiting.send(report.clone());
            }
        }
        (self.bulletin)(Bulletin::Down(Arc::new(report)));
        self.go_to_bed(ctx);
    }
}

/// Everything that was written when the flush began has been answered.
#[derive(Message)]
#[rtype(result = "()")]
struct FlushNow;

impl Handler<FlushNow> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: FlushNow, ctx: &mut Context<Self>) {
        self.flush(ctx);
    }
}

/// Something to be told to many sessions.
enum Errand {
    RollCall,
    Drain(Acknowledge),
    Interrupt(Arc<str>),
}

impl Handler<Present> for Supervisor {
    type Result = ();

    fn handle(&mut self, Present { seat, activity }: Present, ctx: &mut Context<Self>) {
        let presence = match activity {
            Activity::Idle | Activity::Delivering => Presence::Quiet,
            Activity::Waiting(_) => Presence::Waiting,
            Activity::Running { since, asked_by } => Presence::Running(since, asked_by.map(Arc::from)),
        };
        self.plan(Event::Present(seat, presence), ctx);
    }
}

impl Handler<SaidGoodbye> for Supervisor {
    type Result = ();

    fn handle(&mut self, SaidGoodbye { seat, goodbye }: SaidGoodbye, ctx: &mut Context<Self>) {
        self.plan(Event::Goodbye(seat, goodbye), ctx);
    }
}

/// The verdict is on record, or not; and the flag that is to be written then.
#[derive(Message)]
#[rtype(result = "()")]
struct Recorded {
    marker: Option<Marker>,
    recorded: Result<(), String>,
}

impl Handler<Recorded> for Supervisor {
    type Result = ();

    fn handle(&mut self, Recorded { marker, recorded }: Recorded, ctx: &mut Context<Self>) {
        let Some(marker) = marker.filter(|_| recorded.is_ok()) else {
            return self.plan(Event::Marked(recorded), ctx);
        };
        let written = self.marker.send(WriteMarker(marker));
        let told = async move { written.await.unwrap_or_else(|_| Err("the marker's keeper fell".into())) };
        ctx.spawn(told.into_actor(self).map(|result, supervisor, ctx| supervisor.plan(Event::Marked(result), ctx)));
    }
}

/// The ledger is closed.
#[derive(Message)]
#[rtype(result = "()")]
struct LedgerClosed;

impl Handler<LedgerClosed> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: LedgerClosed, ctx: &mut Context<Self>) {
        self.plan(Event::Closed, ctx);
    }
}
