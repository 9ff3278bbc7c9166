//! The actor of one conversation: it translates between the [machine], the ledger, the agent and the outbox.
//!
//! A run is a task on the agents' runtime; what it reports comes back as messages, so a session always answers at once. It decides
//! nothing that the machine does not, and holds no words longer than it takes to write them down.

pub mod machine;
mod run;
mod speech;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle, Supervised};

use crate::agent::{Agent, News, Task};
use crate::children::Reaper;
use crate::clock::Clock;
use crate::desk::access::Doors;
use crate::ids::{InstanceId, OutboxId, Seq, Sequence, SessionKey, TurnId};
use crate::ledger::writer::{LedgerLine, Unable};
use crate::ledger::{Done, End, Finish, Knowledge, OutboxRow, Question, Resume, SessionView, Start, Step};
use crate::live::Live;
use crate::platform::Abilities;
use crate::protocol::{
    Deliver, Doze, Drain, EndDraft, GoAhead, Halt, HaltUnrecorded, Heard, Interrupt, Leave, Owe, Present, RollCall, RunAgain, RunOver,
    SessionNews, SetGate, SetRules, Settled, ShowDraft, ShowTyping, Upward,
};
use crate::settings::Settings;
use crate::shutdown::ticket::Ticket;
use machine::{Close, Effect, Event, Gate, Rules, RunEnd, Say, Session};
use run::Work;

/// What all sessions share.
pub struct Shared {
    /// How everything is set.
    pub settings: Arc<Live<Settings>>,
    /// What holds for every session.
    pub rules: Live<Rules>,
    /// The time.
    pub clock: Clock,
    /// The ledger's numbers.
    pub sequence: Sequence,
    /// This life.
    pub instance: InstanceId,
    /// Where agents run.
    pub agents: tokio::runtime::Handle,
    /// The way to the ledger.
    pub ledger: LedgerLine,
    /// Ends the children of agents.
    pub reaper: Arc<dyn Reaper>,
    /// Who may speak: checked again when a turn starts.
    pub doors: Doors,
    /// The lines to the supervisor.
    pub upward: Arc<Upward>,
}

/// What a session needs of its adapter and agent.
pub struct Post {
    /// Takes replies.
    pub deliver: Recipient<Deliver>,
    /// Shows that work goes on.
    pub typing: Recipient<ShowTyping>,
    /// Shows a reply while it grows.
    pub draft: Recipient<ShowDraft>,
    /// Hears of a draft that no reply will finish.
    pub end_draft: Recipient<EndDraft>,
    /// What the platform can do.
    pub abilities: Abilities,
    /// Who answers.
    pub agent: Live<dyn Agent>,
}

/// One conversation.
pub struct SessionActor {
    key: Arc<SessionKey>,
    shared: Arc<Shared>,
    post: Arc<Post>,
    machine: Session,
    /// Things it was told of since the start of this life, for [`SessionNews::MayLeave`].
    heard: u64,
    work: Option<Box<Work>>,
    ticket: Option<Ticket>,
    /// The moment at which the limits are looked at again.
    alarm: Option<SpawnHandle>,
    /// A start that the ledger could not write, told to the machine once it is worth trying again.
    start_failed: Option<SpawnHandle>,
    /// What follows once the close that is under way is durable.
    closing: Option<Box<Closing>>,
    /// The row under which the reply is shown while it grows; it becomes the reply's first part.
    draft: Option<OutboxId>,
    /// Whether the supervisor was told that a turn runs.
    told_running: bool,
}

/// What a close hands on once it is durable.
#[derive(Default)]
struct Closing {
    /// The words for the outbox.
    parts: Vec<OutboxRow>,
    /// The wish to end the process, which is told once it is on record.
    wants: Option<crate::ledger::Request>,
    /// The draft that the first of the words takes over, if there are any.
    draft: Option<OutboxId>,
    /// What is being written: a fall may lose its answer, or the wait for another try.
    step: Option<Step>,
}

/// How a session comes to life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// With the first thing that it will hear.
    Fresh,
    /// With what the ledger has open for it.
    Waking,
}

impl SessionActor {
    /// A conversation that has nothing yet.
    pub fn new(key: Arc<SessionKey>, shared: Arc<Shared>, post: Arc<Post>, gate: Gate, birth: Birth) -> Self {
        let rules = shared.rules.now();
        let machine = match birth {
            Birth::Fresh => Session::fresh(rules, gate),
            Birth::Waking => Session::new(rules, gate),
        };
        Self {
            key,
            shared,
            post,
            machine,
            heard: 0,
            work: None,
            ticket: None,
            alarm: None,
            start_failed: None,
            closing: None,
            draft: None,
            told_running: false,
        }
    }

    fn on(&mut self, event: Event, ctx: &mut Context<Self>) {
        let draw = TurnId(self.shared.sequence.next_seq());
        let effects = self.machine.step(self.shared.clock.now(), draw, event);
        self.perform_all(effects, ctx);
    }

    fn perform_all(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        for effect in effects {
            self.perform(effect, ctx);
        }
        let since = self.machine.run().map(|run| run.since);
        if since.is_some() != self.told_running {
            self.told_running = since.is_some();
            self.tell(SessionNews::Turn { session: self.key.clone(), since, waiting: self.machine.waiting() });
        }
        if self.machine.is_gone() {
            self.ask_to_leave();
        }
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::AskToStart => self.tell(SessionNews::MayStart(self.key.clone())),
            Effect::GiveWay => self.tell(SessionNews::GaveWay(self.key.clone())),
            Effect::Start { turn, take } => {
                let Shared { settings, instance, clock, .. } = &*self.shared;
                let (session, history) = (SessionKey::clone(&self.key), settings.now().session.history);
                self.write_start(Step::Start(Start { turn, session, take, instance: *instance, at: clock.wall(), history }), ctx);
            }
            Effect::Resume { turn, attempt } => {
                let Shared { settings, instance, clock, .. } = &*self.shared;
                let history = settings.now().session.history;
                self.write_start(Step::Resume(Resume { turn, attempt, instance: *instance, at: clock.wall(), history }), ctx);
            }
            Effect::NotStarted => {
                let waiting = self.machine.waiting();
                self.tell(SessionNews::Turn { session: self.key.clone(), since: None, waiting });
            }
            Effect::Run { turn, attempt, history, decisions } => {
                let task = Task { turn, attempt, session: SessionKey::clone(&self.key), history, decisions };
                tracing::debug!(session = %self.key, %turn, attempt, "turn started");
                self.work = Some(Box::new(Work::begin(&self.shared, self.post.agent.now(), task, ctx)));
                Self::show_work(turn, self.shared.settings.now().session.typing_after, ctx);
            }
            Effect::Continue { approved } => {
                if let Some(work) = &mut self.work {
                    work.decide(approved);
                    Self::show_work(work.turn(), self.shared.settings.now().session.typing_after, ctx);
                }
            }
            Effect::Abort => {
                self.end_children();
                if let Some(work) = self.work.take() {
                    work.abort(self.shared.settings.now().runs.abandon_after, self.shared.upward.session.clone());
                }
            }
            Effect::Wake(at) => {
                if let Some(alarm) = self.alarm.take() {
                    ctx.cancel_future(alarm);
                }
                let wait = at.since(self.shared.clock.now());
                self.alarm = Some(ctx.run_later(wait, |session, ctx| session.on(Event::Tick, ctx)));
            }
            Effect::Close(closing) => self.close(*closing, ctx),
            Effect::TakeBack { turn, attempt } => {
                let step = Step::Unstart { turn, attempt };
                self.closing = Some(Box::new(Closing { step: Some(step.clone()), ..Closing::default() }));
                self.write_close(step, ctx);
            }
            Effect::Acknowledge(goodbye) => {
                if let Some(ticket) = self.ticket.take() {
                    ticket.acknowledge(goodbye);
                    // Nothing of its own is outstanding, and nothing is routed to it any more.
                    ctx.stop();
                }
            }
        }
    }

    /// Shows the chat, after a while and then again and again, that this turn is worked on, until it is not. A quick answer needs no such
    /// sign, and saves the platform a request.
    fn show_work(turn: TurnId, after: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(after, move |session, ctx| {
            if session.machine.run().is_some_and(|run| run.turn == turn) {
                session.post.typing.do_send(ShowTyping(session.key.chat.clone()));
                Self::show_work(turn, session.shared.settings.now().session.typing_every, ctx);
            }
        });
    }

    /// Whatever its children left behind goes with a run, also when its agent does not yield. Then they need no record any more.
    fn end_children(&mut self) {
        if let Some(work) = &mut self.work
            && work.end_children()
        {
            self.shared.ledger.lazily(Step::ChildrenGone { turn: work.turn() });
        }
    }

    fn write_start(&mut self, step: Step, ctx: &mut Context<Self>) {
        let me = ctx.address();
        self.shared.ledger.write(step, move |result| me.do_send(StartWritten(result)));
    }

    fn close(&mut self, Close { run, end, word, request }: Close, ctx: &mut Context<Self>) {
        if let Some(alarm) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        if word == Say::Stopped {
            self.shared.upward.session.do_send(SessionNews::Stopped(self.key.clone()));
        }
        let mut parts = self.word_the_end(&run, word);
        if !matches!(end, End::Asks { .. }) {
            self.end_children();
            self.work = None;
        }
        let draft = self.draft.take();
        if let (Some(draft), Some(first)) = (draft, parts.first_mut()) {
            first.id = draft;
        }
        let replies = parts.clone();
        let wants = request.clone();
        let finish = Finish { turn: run.turn, attempt: run.attempt, end, replies, request, at: self.shared.clock.wall() };
        let step = Step::Finish(finish);
        self.closing = Some(Box::new(Closing { parts, wants, draft, step: Some(step.clone()) }));
        self.write_close(step, ctx);
    }

    fn write_close(&mut self, step: Step, ctx: &mut Context<Self>) {
        let me = ctx.address();
        let again = step.clone();
        self.shared.ledger.must(step, move |result| {
            me.do_send(match result {
                Ok(done) => CloseWritten::Done(done),
                Err(unable) => CloseWritten::Unable(Box::new(again), unable),
            });
        });
    }

    /// Asks the ledger what waits, until it answers.
    fn wake(&mut self, ctx: &mut Context<Self>) {
        let me = ctx.address();
        self.shared.ledger.ask(Question::Session(SessionKey::clone(&self.key)), move |answer| {
            let view = match answer {
                Ok(Knowledge::Session(view)) => Some(*view),
                _ => None,
            };
            me.do_send(Looked(view));
        });
    }

    fn ask_to_leave(&self) {
        if self.machine.may_leave() {
            let owed = self.machine.owed().collect();
            self.tell(SessionNews::MayLeave { session: self.key.clone(), heard: self.heard, owed });
        }
    }

    fn tell(&self, news: SessionNews) {
        self.shared.upward.session.do_send(news);
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.machine.is_waking() {
            self.wake(ctx);
        }
    }
}

impl Supervised for SessionActor {
    /// After a panic: the drain ticket, if there was one, says so by being dropped, and the turn gets its verdict. What was being written is
    /// written again, which changes nothing where it is there; timers are gone, and what they stood for is done now.
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        (self.ticket, self.alarm) = (None, None);
        let (unwritten, start_failed) =
            (self.closing.as_ref().and_then(|closing| closing.step.clone()), self.start_failed.take().is_some());
        let (machine, effects) = Session::instead_of(&self.machine);
        self.machine = machine;
        if let Some(step) = unwritten {
            self.write_close(step, ctx);
        }
        self.perform_all(effects, ctx);
        if start_failed {
            self.on(Event::Started(None), ctx);
        }
        // `started` follows, and wakes what has to be woken.
    }
}

/// What came of a start.
#[derive(Message)]
#[rtype(result = "()")]
struct StartWritten(Result<Done, Unable>);

impl Handler<StartWritten> for SessionActor {
    type Result = ();

    fn handle(&mut self, StartWritten(result): StartWritten, ctx: &mut Context<Self>) {
        match result {
            Ok(done) => {
                if let Done::Started(started) = &done
                    && !self.shared.doors.admits(&self.key.chat.adapter, &started.asked_by.0)
                {
                    tracing::info!(session = %self.key, turn = %started.turn, "whoever asked is not let in any more; the turn is closed");
                    self.on(Event::Halt(Seq(u64::MAX)), ctx);
                }
                self.on(Event::Started(Some(done)), ctx);
            }
            // Told at once where nothing will be tried again anyhow.
            Err(_) if self.ticket.is_some() => self.on(Event::Started(None), ctx),
            Err(unable) => {
                let later = ctx.run_later(unable.retry_after, |session, ctx| {
                    session.start_failed = None;
                    session.on(Event::Started(None), ctx);
                });
                self.start_failed = Some(later);
            }
        }
    }
}

/// What came of the end of a turn.
#[derive(Message)]
#[rtype(result = "()")]
enum CloseWritten {
    Done(Done),
    Unable(Box<Step>, Unable),
}

impl Handler<CloseWritten> for SessionActor {
    type Result = ();

    fn handle(&mut self, written: CloseWritten, ctx: &mut Context<Self>) {
        match written {
            CloseWritten::Done(done) => {
                let ours = matches!(done, Done::Ok);
                let Closing { parts, wants, draft, .. } = self.closing.take().map(|closing| *closing).unwrap_or_default();
                if ours && !parts.is_empty() {
                    self.machine.owes(parts.iter().map(|part| part.id));
                    self.post.deliver.do_send(Deliver(parts));
                } else if let Some(draft) = draft {
                    self.post.end_draft.do_send(EndDraft(draft));
                }
                if let Some(request) = wants.filter(|_| ours) {
                    self.tell(SessionNews::Wants { session: self.key.clone(), request });
                }
                self.on(Event::Closed(ours), ctx);
            }
            CloseWritten::Unable(step, unable) => {
                ctx.run_later(unable.retry_after, move |session, ctx| session.write_close(*step, ctx));
            }
        }
    }
}

/// What the ledger has open.
#[derive(Message)]
#[rtype(result = "()")]
struct Looked(Option<SessionView>);

impl Handler<Looked> for SessionActor {
    type Result = ();

    fn handle(&mut self, Looked(view): Looked, ctx: &mut Context<Self>) {
        match view {
            Some(view) => self.on(Event::Woken { waiting: view.waiting }, ctx),
            None => {
                ctx.run_later(self.shared.settings.now().ledger.retry_first, |session, ctx| session.wake(ctx));
            }
        }
    }
}

/// An agent's news, with whose they are: a run that was cut may still have some under way.
#[derive(Message)]
#[rtype(result = "()")]
struct Reported {
    turn: TurnId,
    attempt: u32,
    news: News,
}

impl Handler<Reported> for SessionActor {
    type Result = ();

    fn handle(&mut self, Reported { turn, attempt, news }: Reported, ctx: &mut Context<Self>) {
        if self.work.as_ref().is_none_or(|work| work.key() != (turn, attempt)) {
            return;
        }
        // An agent that was told to go on runs under the attempt that the decision began.
        let Some(attempt) = self.machine.run().map(|run| run.attempt) else { return };
        match news {
            News::Alive => self.on(Event::Progress, ctx),
            News::Text(piece) => {
                self.on(Event::Progress, ctx);
                self.show_draft(&piece);
            }
            News::Step { entry, durable } => {
                self.on(Event::Progress, ctx);
                self.shared.ledger.must(Step::Progress { turn, attempt, entry }, move |result| {
                    if result == Ok(Done::Ok) {
                        let _ = durable.send(());
                    }
                });
            }
            News::Child { child, durable } => {
                if let Some(work) = &mut self.work {
                    work.add_child(child.clone());
                }
                self.shared.ledger.must(Step::Child { turn, attempt, child }, move |result| {
                    if result == Ok(Done::Ok) {
                        let _ = durable.send(());
                    }
                });
            }
            News::Ask { call, question, decided } => {
                if let Some(work) = &mut self.work
                    && work.ask(&call, decided)
                {
                    self.on(Event::Ask { call, question }, ctx);
                }
            }
            News::GoDown { kind, answer } => {
                let request = crate::ledger::Request { kind, instance: self.shared.instance };
                self.on(Event::GoDown(request, answer), ctx);
            }
        }
    }
}

impl Handler<RunOver> for SessionActor {
    type Result = ();

    fn handle(&mut self, RunOver { turn, attempt, end }: RunOver, ctx: &mut Context<Self>) {
        if self.work.as_ref().is_none_or(|work| work.key() != (turn, attempt)) {
            return;
        }
        let end = match end {
            Ok(Ok(answer)) => RunEnd::Answered(answer.text),
            Ok(Err(error)) => RunEnd::Failed(error.to_string()),
            Err(panic) => {
                tracing::error!(session = %self.key, %turn, %panic, "agent panicked");
                RunEnd::Failed("the agent crashed".into())
            }
        };
        self.on(Event::Ended(end), ctx);
    }
}

/// Messages that are events as they are.
macro_rules! translate {
    ($($message:ident => |$value:pat_param| $event:expr;)*) => {$(
        impl Handler<$message> for SessionActor {
            type Result = ();

            fn handle(&mut self, $value: $message, ctx: &mut Context<Self>) {
                self.on($event, ctx);
            }
        }
    )*};
}

translate! {
    SetGate => |SetGate(gate)| Event::Gate(gate);
    SetRules => |SetRules(rules)| Event::Rules(rules);
    GoAhead => |GoAhead| Event::MayStart;
    Halt => |Halt(before)| Event::Halt(before);
    HaltUnrecorded => |HaltUnrecorded(before)| Event::HaltUnrecorded(before);
    Interrupt => |Interrupt { cause }| Event::Interrupt { cause: cause.to_string() };
}

impl Handler<RunAgain> for SessionActor {
    type Result = ();

    fn handle(&mut self, RunAgain { turn, attempt }: RunAgain, ctx: &mut Context<Self>) {
        self.heard += 1;
        self.on(Event::Resume { turn, attempt }, ctx);
    }
}

impl Handler<Owe> for SessionActor {
    type Result = ();

    fn handle(&mut self, Owe(rows): Owe, _: &mut Context<Self>) {
        self.heard += 1;
        self.machine.owes(rows);
    }
}

impl Handler<Settled> for SessionActor {
    type Result = ();

    fn handle(&mut self, Settled { row, delivery }: Settled, ctx: &mut Context<Self>) {
        self.heard += 1;
        self.on(Event::Delivery(row, delivery), ctx);
    }
}

impl Handler<Heard> for SessionActor {
    type Result = ();

    fn handle(&mut self, _: Heard, ctx: &mut Context<Self>) {
        self.heard += 1;
        self.on(Event::Heard, ctx);
    }
}

impl Handler<RollCall> for SessionActor {
    type Result = ();

    fn handle(&mut self, RollCall(seat): RollCall, ctx: &mut Context<Self>) {
        // From here on it starts nothing: its chat is told by what it says now.
        if !self.machine.is_gone() {
            self.on(Event::Gate(Gate::Shut), ctx);
        }
        self.shared.upward.present.do_send(Present { seat, activity: self.machine.activity() });
    }
}

impl Handler<Drain> for SessionActor {
    type Result = ();

    fn handle(&mut self, Drain(ticket): Drain, ctx: &mut Context<Self>) {
        self.ticket = Some(ticket);
        if let Some(later) = self.start_failed.take() {
            ctx.cancel_future(later);
            self.on(Event::Started(None), ctx);
        }
        self.on(Event::Drain, ctx);
    }
}

impl Handler<Doze> for SessionActor {
    type Result = ();

    fn handle(&mut self, _: Doze, _: &mut Context<Self>) {
        self.ask_to_leave();
    }
}

impl Handler<Leave> for SessionActor {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        // The supervisor took it off the books in the message that it answers: nothing is owed and nothing was routed since. A turn that
        // asks runs again once it is decided.
        self.end_children();
        ctx.stop();
    }
}
