//! The root of the tree: it starts, watches, restarts and puts to bed everyone below, and keeps the books on who is who.
//!
//! What it decides is decided by values: the [desk](crate::desk) before the sessions, the [recovery] of what the last life left open,
//! the [`plan`] of a shutdown. What stands here carries their decisions out: `front` takes in, `waking` comes back,
//! `going_down` goes. It never ends the process, reads the environment or handles a signal: whoever embeds it does.

mod books;
mod falls;
mod front;
mod going_down;
mod operators;
mod reconfigure;
pub mod recovery;
mod requests;
mod upkeep;
mod waking;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, SpawnHandle, Supervised};

use crate::adapter::{self, AdapterActor};
use crate::agent::Agent;
use crate::children::Reaper;
use crate::clock::{Clock, Moment, Wall};
use crate::desk::Desk;
use crate::desk::access::Doors;
use crate::ids::{AgentName, ChatId, InstanceId, OutboxId, Seq, Sequence, SessionKey};
use crate::last_words::Remains;
use crate::ledger::writer::{LedgerActor, LedgerHealth, LedgerLine};
use crate::ledger::{Fate, Ledger, OpenRequest, OutboxRow, OutboxState, Step, What};
use crate::live::Live;
use crate::marker::{Flag, MarkerActor};
use crate::platform::{Platform, split_text};
use crate::protocol::{
    AdapterHealth, AdapterNews, Bulletin, Child, Deliver, Fallen, GoAhead, Heard, Leave, Owe, RunAgain, SessionNews, SetGate, Settled,
    Upward,
};
use crate::session::machine::{Delivery, Gate, Rules};
use crate::session::{self, Birth, Post, SessionActor};
use crate::settings::{AT_ONCE, AdapterSettings, Recovery, Settings};
use crate::shutdown::{RequestedBy, plan};
use crate::supervision::intensity::Intensity;
use crate::supervision::{ChildSpec, Ended, Name, Nursery};
use books::{AdapterEntry, Books, Entry};
use going_down::GoingDown;
use recovery::{Places, Queue};

/// Everything that a gateway is made of.
pub struct Ports {
    /// How it is set.
    pub settings: Arc<Settings>,
    /// The time.
    pub clock: Clock,
    /// The program's version, for the record.
    pub version: String,
    /// Where everything durable is kept.
    pub ledger: Box<dyn Ledger>,
    /// Where the ledger works.
    pub place: Place,
    /// The boot of the machine ([`children::boot`](crate::children::boot)); `None` where the system does not tell.
    pub boot: Option<String>,
    /// What the life before left beside the ledger; `None` where nobody writes such a thing.
    pub remains: Option<Remains>,
    /// When starts ended that came to nothing since, before they had a life on record.
    pub false_starts: Vec<Wall>,
    /// The clean-shutdown flag; `None` with a ledger that does not survive either.
    pub marker: Option<Flag>,
    /// The adapters, each on its platform.
    pub adapters: Vec<(AdapterSettings, Arc<dyn Platform>)>,
    /// The agents, by name.
    pub agents: HashMap<AgentName, Arc<dyn Agent>>,
    /// Where platforms run.
    pub io: tokio::runtime::Handle,
    /// Where agents run: apart from everything else, since one that blocks its thread cannot be stopped.
    pub agent_runtime: tokio::runtime::Handle,
    /// Ends what agents leave behind.
    pub reaper: Arc<dyn Reaper>,
    /// Is told what whoever embeds the gateway must know. Called on the arbiter; must not block.
    pub bulletin: Box<dyn Fn(Bulletin)>,
}

/// Where the ledger works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a thread of its own.
    Thread,
    /// On the arbiter, each commit taking this long of a paused clock.
    Inline(Duration),
}

/// A gateway that was started.
#[derive(Clone)]
pub struct Gateway {
    /// Its root.
    pub supervisor: Addr<Supervisor>,
    /// This life.
    pub instance: InstanceId,
    /// Who lives.
    pub nursery: Nursery,
}

/// The root of the tree.
pub struct Supervisor {
    instance: InstanceId,
    version: String,
    boot: Option<String>,
    remains: Option<Remains>,
    settings: Arc<Settings>,
    clock: Clock,
    sequence: Sequence,
    nursery: Nursery,
    upward: Arc<Upward>,
    ledger: LedgerLine,
    ledger_actor: Addr<LedgerActor>,
    marker: Addr<MarkerActor>,
    ledger_id: uuid::Uuid,
    ledger_health: Result<(), String>,
    /// Why it takes in nothing new, though it commits.
    ledger_full: Option<String>,
    bulletin: Box<dyn Fn(Bulletin)>,
    /// Adapters that wait for the ledger's facts before they start.
    unborn: Vec<(AdapterSettings, Arc<dyn Platform>)>,
    agents: HashMap<AgentName, Arc<dyn Agent>>,
    adapter_shared: Arc<adapter::Shared>,
    session_shared: Arc<session::Shared>,
    /// The budget of restarts of a session that never fell.
    fresh_intensity: Intensity,
    desk: Desk,
    books: Books,
    /// Commands that are being carried out and not settled yet.
    carrying: HashSet<Seq>,
    stage: Stage,
    /// Sessions whose next /stop was answered before it could be recorded.
    stopped: HashSet<Arc<SessionKey>>,
    /// An operator holds turns back.
    held: bool,
    /// A crash loop does: one turn at a time, and nothing that was cut runs again by itself.
    looped: bool,
    /// What the last life left open cannot be read for now: a turn that started would not know who still works for it.
    unread: bool,
    again: Queue,
    /// Sessions that want to start a turn while the gate is metered, and the one that has leave.
    turnstile: VecDeque<Arc<SessionKey>>,
    admitted: Option<Arc<SessionKey>>,
    /// Since when it serves.
    ready: Option<Moment>,
    /// Restarts whose askers are answered once this life has lasted.
    unproved: Vec<OpenRequest>,
    /// When starts ended that came to nothing.
    false_starts: Vec<Wall>,
    accepted: u64,
    delivered: u64,
    abandoned: usize,
    unclean_starts: u32,
    /// Why the last life ended, as one says it in a chat.
    last_cause: &'static str,
    /// The next look for sessions that have been quiet for long.
    sweeper: Option<SpawnHandle>,
}

/// Where the gateway stands.
enum Stage {
    /// The ledger has not told yet what the last life left.
    Waking,
    Serving,
    GoingDown(Box<GoingDown>),
}

impl Supervisor {
    /// Starts a gateway on the current arbiter.
    pub fn start(ports: Ports) -> Gateway {
        let nursery = Nursery::new(ports.clock.clone());
        let instance = InstanceId::fresh();
        // It keeps its state across a panic: the books outlive the message that could not be handled.
        let spec = ChildSpec { name: Name::Fixed("supervisor".into()), intensity: Intensity::endless(&ports.settings.supervision) };
        let root = nursery.clone();
        let supervisor = nursery.start(spec, |ctx| Supervisor::build(ports, instance, root, ctx), |_| {});
        Gateway { supervisor, instance, nursery }
    }

    fn build(ports: Ports, instance: InstanceId, nursery: Nursery, ctx: &mut Context<Self>) -> Self {
        let Ports {
            settings,
            clock,
            version,
            ledger,
            place,
            boot,
            remains,
            false_starts,
            marker,
            adapters,
            agents,
            io,
            agent_runtime,
            reaper,
            bulletin,
        } = ports;
        let me = ctx.address();
        let upward = Arc::new(Upward {
            offered: me.clone().recipient(),
            adapter: me.clone().recipient(),
            present: me.clone().recipient(),
            goodbye: me.clone().recipient(),
            session: me.clone().recipient(),
            fallen: me.clone().recipient(),
        });
        let watcher = me.clone().recipient();
        let spec = |name: &str| ChildSpec { name: Name::Fixed(name.into()), intensity: Intensity::from_settings(&settings.supervision) };
        let writer = settings.ledger.clone();
        let ledger_actor = nursery.start(
            spec("ledger"),
            move |_| match place {
                Place::Thread => LedgerActor::threaded(ledger, writer, watcher),
                Place::Inline(latency) => LedgerActor::inline(ledger, latency, writer, watcher),
            },
            watch(&upward, Child::Ledger),
        );
        let marker = nursery.start(spec("marker"), |_| MarkerActor::new(marker), watch(&upward, Child::Marker));
        let line = LedgerLine::to(ledger_actor.clone());
        let (sequence, live) = (Sequence::after(Seq(0)), Arc::new(Live::new(settings.clone())));
        let doors = Doors::new(adapters.iter().map(|(set, _)| (set.name.clone(), set.access.clone())));
        Self {
            instance,
            version,
            boot,
            remains,
            desk: Desk::new(settings.session.clone(), doors.clone()),
            adapter_shared: Arc::new(adapter::Shared {
                settings: live.clone(),
                clock: clock.clone(),
                io,
                ledger: line.clone(),
                upward: upward.clone(),
            }),
            session_shared: Arc::new(session::Shared {
                rules: Live::new(Arc::new(Rules::of(&settings.session))),
                settings: live,
                clock: clock.clone(),
                sequence: sequence.clone(),
                doors,
                instance,
                agents: agent_runtime,
                ledger: line.clone(),
                reaper,
                upward: upward.clone(),
            }),
            fresh_intensity: Intensity::from_settings(&settings.supervision),
            settings,
            clock,
            sequence,
            nursery,
            upward,
            ledger: line,
            ledger_actor,
            marker,
            ledger_id: uuid::Uuid::nil(),
            ledger_health: Ok(()),
            ledger_full: None,
            bulletin,
            unborn: adapters,
            agents,
            books: Books::default(),
            carrying: HashSet::new(),
            stopped: HashSet::new(),
            stage: Stage::Waking,
            held: false,
            looped: false,
            unread: false,
            again: Queue::default(),
            turnstile: VecDeque::new(),
            admitted: None,
            ready: None,
            unproved: Vec::new(),
            false_starts,
            accepted: 0,
            delivered: 0,
            abandoned: 0,
            unclean_starts: 0,
            last_cause: "crash",
            sweeper: None,
        }
    }

    /// Whether turns may start now.
    fn gate(&self) -> Gate {
        match self.stage {
            Stage::GoingDown(_) => Gate::Shut,
            _ if self.held || self.unread => Gate::Shut,
            _ if self.looped => Gate::Metered,
            _ => Gate::Open,
        }
    }

    /// Starts the adapters; each connects once `wait` has passed. The gateway is ready meanwhile: what has been accepted is answered as far as that
    /// goes, and whoever waits for a start must not take a long wait for a failure.
    fn start_adapters(&mut self, wait: Duration) {
        for (set, platform) in std::mem::take(&mut self.unborn) {
            self.start_adapter(set, platform, wait);
        }
    }

    fn start_adapter(&mut self, set: AdapterSettings, platform: Arc<dyn Platform>, wait: Duration) {
        let (name, life) = (set.name.clone(), self.books.next_life());
        let Some(agent) = self.agents.get(&set.agent).cloned() else {
            return tracing::error!(adapter = %name, agent = %set.agent, "adapter names an agent that does not exist; it is not started");
        };
        // Never given up: it is restarted with back-off for as long as the gateway lives.
        let spec =
            ChildSpec { name: Name::Fixed(format!("adapter {name}").into()), intensity: Intensity::endless(&self.settings.supervision) };
        let (kind, abilities, shared) = (platform.kind(), platform.abilities(), self.adapter_shared.clone());
        let child = Child::Adapter(name.clone(), life);
        let addr = self.nursery.start(spec, |_| AdapterActor::new(set, platform, shared, wait), watch(&self.upward, child));
        let post = Arc::new(Post {
            deliver: addr.clone().recipient(),
            typing: addr.clone().recipient(),
            draft: addr.clone().recipient(),
            end_draft: addr.clone().recipient(),
            abilities,
            agent: Live::new(agent),
        });
        let (tried, not_before) = (!wait.is_zero(), self.clock.now() + wait);
        let entry = AdapterEntry { addr, life, kind, post, health: AdapterHealth::Connecting, tried, not_before, alive: true };
        self.books.adapters.insert(name, entry);
    }

    /// Routes a message to its session, unless a turn from before it is still to run again there: the session finds it when it wakes for that.
    fn route_in_order(&mut self, key: &SessionKey) {
        if self.again.expects(key) && !self.books.sessions.contains_key(key) {
            *self.books.away.entry(key.clone()).or_default() += 1;
        } else {
            self.route(key);
        }
    }

    /// Routes something to a session, which comes to life for it if need be.
    fn route(&mut self, key: &SessionKey) {
        let now = self.clock.now();
        if let Some(entry) = self.books.sessions.get_mut(key) {
            match &mut entry.leaving {
                Some(since) => *since += 1,
                None => {
                    (entry.routed, entry.waiting, entry.last) = (entry.routed + 1, entry.waiting + 1, now);
                    entry.addr.do_send(Heard);
                }
            }
            return;
        }
        if let Some(entry) = self.be_born(Arc::new(key.clone()), Birth::Fresh) {
            (entry.routed, entry.waiting) = (1, 1);
            entry.addr.do_send(Heard);
        }
    }

    /// Brings a session to life. `None` when its adapter is not configured, or none may be born any more: what it has stays in the ledger.
    fn be_born(&mut self, key: Arc<SessionKey>, birth: Birth) -> Option<&mut Entry> {
        if matches!(self.stage, Stage::GoingDown(_)) {
            return None;
        }
        let (post, gate) = (self.books.adapter(&key.chat)?.post.clone(), self.gate());
        let (life, shared, name) = (self.books.next_life(), self.session_shared.clone(), key.clone());
        // Its name in logs is a number: rooms and users are foreign text.
        let spec = ChildSpec { name: Name::Numbered("session", life), intensity: self.fresh_intensity.clone() };
        let child = Child::Session(key.clone(), life);
        let addr = self.nursery.start(spec, |_| SessionActor::new(name, shared, post, gate, birth), watch(&self.upward, child));
        // What waited for it is its own to count now.
        self.books.away.remove(&*key);
        let entry = Entry { addr, life, routed: 0, last: self.clock.now(), waiting: 0, running: None, leaving: None };
        Some(self.books.sessions.entry(key).insert_entry(entry).into_mut())
    }

    /// The rows of the gateway's own words to a session's chat.
    fn words(&self, session: &SessionKey, what: &What, text: &str, reply_to: Option<&crate::ids::MessageId>) -> Vec<OutboxRow> {
        let most = self.books.adapter(&session.chat).map_or(4096, |entry| entry.post.abilities.max_units);
        let most = most.saturating_sub(self.settings.texts.marks());
        let at = self.clock.wall();
        let rows = split_text(text, most).into_iter().zip(0u32..).map(|(text, part)| OutboxRow {
            session: Some(session.clone()),
            part,
            reply_to: reply_to.cloned().filter(|_| part == 0),
            state: if part == 0 { OutboxState::Sending } else { OutboxState::Due },
            ..OutboxRow::new(OutboxId(self.sequence.next_seq()), session.chat.clone(), what.clone(), text, at)
        });
        rows.collect()
    }

    /// The row of a notice to a chat.
    fn notice(&self, chat: &ChatId, kind: crate::ledger::NoticeKind, scope: String, text: String, valid_for: Duration) -> OutboxRow {
        let at = self.clock.wall();
        let id = OutboxId(self.sequence.next_seq());
        let valid_until = Some(at.plus(valid_for));
        OutboxRow { valid_until, ..OutboxRow::new(id, chat.clone(), What::Notice { kind, scope }, text, at) }
    }

    /// Hands durable words of the desk to the adapter that reaches their chat.
    fn deliver(&mut self, rows: Vec<OutboxRow>) {
        let Some(first) = rows.first() else { return };
        let Some(mouth) = self.books.mouth(&first.chat).cloned() else {
            // Nobody is on his way with them; whoever speaks to that platform next takes them up.
            for row in rows.into_iter().filter(|row| row.state == OutboxState::Sending) {
                let fate = Fate::Failed { not_before: AT_ONCE, reason: "nobody speaks to its platform".into() };
                self.ledger.lazily(Step::Fate { id: row.id, fate });
            }
            return;
        };
        if let Some(session) = &first.session {
            let ids = rows.iter().map(|row| row.id);
            match self.books.sessions.get_mut(session).filter(|entry| entry.leaving.is_none()) {
                Some(entry) => {
                    entry.routed += 1;
                    entry.addr.do_send(Owe(ids.collect()));
                }
                None => self.books.owes(session, ids),
            }
        }
        mouth.do_send(Deliver(rows));
    }

    /// Says once when it serves: the first adapter is up, or all have had their first try.
    fn check_ready(&mut self, ctx: &mut Context<Self>) {
        let adapters = &self.books.adapters;
        let up = adapters.values().any(|entry| matches!(entry.health, AdapterHealth::Connected));
        let tried = self.unborn.is_empty() && adapters.values().all(|entry| entry.tried);
        if self.ready.is_none() && matches!(self.stage, Stage::Serving) && (up || tried) {
            self.ready = Some(self.clock.now());
            (self.bulletin)(Bulletin::Ready);
            self.prove_restarts(ctx);
        }
    }

    /// Lets the next session through the turnstile of a crash loop.
    fn turn_turnstile(&mut self) {
        while self.admitted.is_none() && self.gate() == Gate::Metered {
            let Some(key) = self.turnstile.pop_front() else { return };
            if let Some(entry) = self.books.sessions.get(&key) {
                entry.addr.do_send(GoAhead);
                self.admitted = Some(key);
            }
        }
    }

    /// Tells every session whether turns may start.
    fn set_gates(&mut self) {
        let gate = self.gate();
        for (_, entry) in self.books.sessions.iter().filter(|(key, _)| !self.books.retired.contains_key(&key.chat.adapter)) {
            entry.addr.do_send(SetGate(gate));
        }
        (self.turnstile, self.admitted) = (VecDeque::new(), None);
    }

    /// Lets cut turns run again, as many as may.
    fn run_again(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.stage, Stage::Serving) || self.held || self.looped {
            return;
        }
        let Recovery { concurrency: most, alone, .. } = self.settings.recovery;
        let places = Places { most, alone };
        let next = self.again.next(self.clock.now(), places);
        if !next.is_empty() && self.again.waits() {
            ctx.run_later(places.alone, Self::run_again);
        }
        for again in next {
            let key = again.session;
            if !self.books.sessions.contains_key(&key) && self.be_born(key.clone(), Birth::Waking).is_none() {
                self.again.over(&key);
                continue;
            }
            self.books.away.remove(&*key);
            if let Some(entry) = self.books.sessions.get_mut(&key) {
                (entry.routed, entry.last) = (entry.routed + 1, self.clock.now());
                entry.addr.do_send(RunAgain { turn: again.turn, attempt: again.attempt });
            }
        }
    }

    /// Puts everybody to bed who is still up, and itself last.
    fn go_to_bed(&mut self, ctx: &mut Context<Self>) {
        for entry in self.books.sessions.values() {
            entry.addr.do_send(Leave);
        }
        for entry in self.books.adapters.values().chain(self.books.retired.values().map(|retired| &retired.entry)) {
            entry.addr.do_send(Leave);
        }
        self.nursery.close();
        self.books = Books::default();
        ctx.stop();
    }
}

/// The death watch of a child.
fn watch(upward: &Arc<Upward>, child: Child) -> impl FnOnce(Ended) + 'static {
    let upward = upward.clone();
    move |ended| upward.fallen.do_send(Fallen { child, ended })
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    /// Also after a panic.
    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Stage::Waking = self.stage {
            self.wake(ctx);
        }
        self.sweep(ctx);
        self.prune(ctx);
    }
}

impl Supervised for Supervisor {
    /// The books are kept; timers are set again by `started`, which follows. Here is said again what may have been on its way to others.
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        // Handles of before are numbers of other timers now.
        self.sweeper = None;
        if let Stage::GoingDown(down) = &mut self.stage {
            down.forget_alarm();
        }
        match self.stage {
            Stage::Waking => {}
            Stage::Serving => {
                self.set_gates();
                self.run_again(ctx);
                self.check_ready(ctx);
                self.prove_restarts(ctx);
            }
            Stage::GoingDown(_) => self.plan(plan::Event::Tick, ctx),
        }
    }
}

impl Handler<AdapterNews> for Supervisor {
    type Result = ();

    fn handle(&mut self, news: AdapterNews, ctx: &mut Context<Self>) {
        match news {
            AdapterNews::Health(name, health) => {
                if let Some(entry) = self.books.adapters.get_mut(&name) {
                    entry.tried |= health != AdapterHealth::Connecting;
                    entry.health = health;
                }
                self.check_ready(ctx);
            }
            AdapterNews::Owes(rows) => self.owed_before(rows),
            AdapterNews::Delivered { session: Some(session), row, delivery } => self.delivered(&session, row, delivery, ctx),
            AdapterNews::Delivered { session: None, .. } => {}
            AdapterNews::Handed(chat, kind) => self.handed(chat, kind, ctx),
            AdapterNews::HeldBack(chat, kind) => self.held_back(chat, kind, ctx),
            AdapterNews::Noticed(chat, kind, fate) => self.noticed(chat, kind, fate, ctx),
            AdapterNews::Flushed(name) => {
                self.sent_retired(&name);
                self.flushed(&name, ctx);
            }
            AdapterNews::Closed(name) => self.adapter_closed(&name, ctx),
        }
    }
}

impl Supervisor {
    /// Replies that an earlier life left, or that an adapter which fell took up again: somebody owes them until they are delivered.
    fn owed_before(&mut self, rows: Vec<(SessionKey, OutboxId)>) {
        for (session, row) in rows {
            match self.books.sessions.get_mut(&session).filter(|entry| entry.leaving.is_none()) {
                Some(entry) => {
                    entry.routed += 1;
                    entry.addr.do_send(Owe(vec![row]));
                }
                None => self.books.owes(&session, [row]),
            }
        }
    }

    fn delivered(&mut self, session: &SessionKey, row: OutboxId, delivery: Delivery, ctx: &mut Context<Self>) {
        if delivery == Delivery::Settled {
            self.delivered += 1;
        }
        let last = delivery == Delivery::Settled && self.books.settled(session, row);
        self.away_delivered(session, last, &delivery, ctx);
        if let Some(entry) = self.books.sessions.get_mut(session) {
            // Counted as what is routed to it: a wish to leave that knows nothing of it would have this booked as owed for ever.
            entry.routed += 1;
            entry.addr.do_send(Settled { row, delivery });
        }
    }
}

impl Handler<SessionNews> for Supervisor {
    type Result = ();

    fn handle(&mut self, news: SessionNews, ctx: &mut Context<Self>) {
        match news {
            SessionNews::MayLeave { session, heard, owed } => self.may_leave(&session, heard, owed),
            SessionNews::MayStart(session) => {
                self.turnstile.push_back(session);
                self.turn_turnstile();
            }
            SessionNews::GaveWay(session) => {
                if self.admitted.as_ref() == Some(&session) {
                    self.admitted = None;
                }
                self.turn_turnstile();
            }
            SessionNews::Turn { session, since, waiting } => {
                if let Some(entry) = self.books.sessions.get_mut(&session) {
                    (entry.running, entry.waiting, entry.last) = (since, waiting, self.clock.now());
                }
                if since.is_none() {
                    self.again.over(&session);
                    self.run_again(ctx);
                    // While its end cannot be written it may still come to be cut.
                    if self.ledger_health.is_ok() {
                        self.plan(plan::Event::TurnOver(session, waiting), ctx);
                    }
                }
            }
            SessionNews::Wants { session, request } => {
                self.carry_out_request(&RequestedBy::Agent(SessionKey::clone(&session)), &request, ctx);
            }
            SessionNews::Stopped(session) => {
                self.stopped.insert(session);
            }
            SessionNews::Abandoned { more: true } => self.run_abandoned(ctx),
            SessionNews::Abandoned { more: false } => self.abandoned = self.abandoned.saturating_sub(1),
        }
    }
}

impl Supervisor {
    /// Takes a session off the books, in this one message, if nothing was routed to it since and the census is open.
    fn may_leave(&mut self, session: &Arc<SessionKey>, heard: u64, owed: Vec<OutboxId>) {
        if !matches!(self.stage, Stage::Serving) {
            return;
        }
        let Some(entry) = self.books.sessions.get_mut(session) else { return };
        if entry.leaving.is_some() || entry.routed != heard {
            return;
        }
        entry.leaving = Some(0);
        entry.addr.do_send(Leave);
        if !self.books.retired.contains_key(&session.chat.adapter) {
            self.books.owes(session, owed);
        }
    }

    /// More agents than are allowed will not yield: only a new process gets their threads back.
    fn run_abandoned(&mut self, ctx: &mut Context<Self>) {
        self.abandoned += 1;
        tracing::error!(abandoned = self.abandoned, "an agent that was cut does not yield");
        if self.abandoned > self.settings.runs.max_abandoned as usize {
            let reason = format!("{} agents will not yield", self.abandoned);
            self.shut_down(crate::shutdown::ShutdownKind::Restart, None, &RequestedBy::Gateway, Some(&reason), ctx);
        }
    }
}

impl Handler<LedgerHealth> for Supervisor {
    type Result = ();

    fn handle(&mut self, health: LedgerHealth, ctx: &mut Context<Self>) {
        match health {
            LedgerHealth::Up => self.ledger_health = Ok(()),
            LedgerHealth::Full { reason } => self.ledger_full = Some(reason),
            LedgerHealth::Roomy => self.ledger_full = None,
            LedgerHealth::Down { reason } => {
                self.ledger_health = Err(reason);
                self.plan(plan::Event::LedgerDown, ctx);
            }
            LedgerHealth::Lost { reason } => {
                self.ledger_health = Err(reason.clone());
                (self.bulletin)(Bulletin::Lost(reason));
            }
        }
    }
}
