//! The one writer in front of an engine: it groups steps into commits and stands between a failing disk and everybody else.
//!
//! While one commit is under way the next one gathers, so one fsync serves every step that waits for it. When the ledger
//! cannot commit, a step that [may](Urgency::May) happen is given back at once, and one that [must](Urgency::Must) waits, bounded, and is written when the
//! ledger is back: every step is a compare-and-set, so writing it twice is harmless. It never decides what is written, but that there is room for
//! something new (`room`).

mod room;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised, WrapFuture};

use self::room::Room;
use super::{Done, Fault, Knowledge, Ledger, Question, Step};
use crate::settings;
use crate::supervision::intensity::backoff;
use crate::supervision::words_of;

/// How much a step matters when the ledger cannot commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Given back at once: whoever wanted it tries again by itself.
    May,
    /// Kept, and written when the ledger is back.
    Must,
    /// As `Must`, but nobody waits: it rides with the next commit, or goes alone after [`LAZY`].
    Lazy,
}

/// How long a lazy step waits for company.
pub const LAZY: Duration = Duration::from_millis(100);

/// How long a commit may take before the ledger counts as one that cannot commit.
pub const SLOW: Duration = Duration::from_secs(5);

/// The step was not made durable, and will not be by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot commit: {reason}")]
pub struct Unable {
    /// What the ledger said.
    pub reason: String,
    /// When it is worth trying again.
    pub retry_after: Duration,
    /// Whether the ledger is well, and has no room for anything new.
    pub full: bool,
}

/// What is called with what came of a step.
pub type Reply = Box<dyn FnOnce(Result<Done, Unable>) + Send>;
/// What is called with an answer.
pub type Told = Box<dyn FnOnce(Result<Knowledge, Fault>) + Send>;

/// What is called with how the ledger was closed.
pub type WhenClosed = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// Write this step.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Write {
    /// The step.
    pub step: Step,
    /// How much it matters.
    pub urgency: Urgency,
    /// Who waits.
    pub reply: Option<Reply>,
}

/// Answer this question, from what is committed when its turn comes: every step written before it is seen.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ask {
    /// The question.
    pub question: Question,
    /// Who waits.
    pub reply: Told,
}

/// Write what is left, close the engine and stop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Close {
    /// Called with whether everything was written and the engine closed well.
    pub reply: WhenClosed,
}

/// How the ledger is.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum LedgerHealth {
    /// It commits.
    Up,
    /// It cannot, and is tried again.
    Down {
        /// What it said.
        reason: String,
    },
    /// It commits, and takes in nothing new: it is over its bound.
    Full {
        /// How full, and what to do.
        reason: String,
    },
    /// It has room again.
    Roomy,
    /// A commit is unknown and the ledger cannot be read back: nothing may be said any more.
    Lost {
        /// What it said.
        reason: String,
    },
}

/// The way to the writer, for everyone who writes.
#[derive(Clone)]
pub struct LedgerLine {
    write: Recipient<Write>,
    ask: Recipient<Ask>,
}

impl LedgerLine {
    /// A line to `writer`.
    pub fn to(writer: Addr<LedgerActor>) -> Self {
        Self { write: writer.clone().recipient(), ask: writer.recipient() }
    }

    /// Writes a step that may fail.
    pub fn write(&self, step: Step, reply: impl FnOnce(Result<Done, Unable>) + Send + 'static) {
        self.write.do_send(Write { step, urgency: Urgency::May, reply: Some(Box::new(reply)) });
    }

    /// Writes a step that must happen, as soon as the ledger can.
    pub fn must(&self, step: Step, reply: impl FnOnce(Result<Done, Unable>) + Send + 'static) {
        self.write.do_send(Write { step, urgency: Urgency::Must, reply: Some(Box::new(reply)) });
    }

    /// Writes a step that must happen and that nobody waits for.
    pub fn note(&self, step: Step) {
        self.write.do_send(Write { step, urgency: Urgency::Must, reply: None });
    }

    /// Writes a step that nobody waits for and that can wait for company.
    pub fn lazily(&self, step: Step) {
        self.write.do_send(Write { step, urgency: Urgency::Lazy, reply: None });
    }

    /// Asks a question.
    pub fn ask(&self, question: Question, reply: impl FnOnce(Result<Knowledge, Fault>) + Send + 'static) {
        self.ask.do_send(Ask { question, reply: Box::new(reply) });
    }
}

/// Where the engine works.
enum Place {
    /// On a thread of its own, which is not started yet.
    Unborn(Option<Box<dyn Ledger>>),
    /// On a thread of its own: a commit blocks nobody.
    Thread(mpsc::Sender<Job>),
    /// In the actor, each commit taking this long: for worlds with a paused clock, in which nothing real may run.
    Inline { engine: Box<dyn Ledger>, latency: Duration },
}

/// What the engine is to do.
enum Job {
    /// These; and whether to say what is in use then.
    Commit(Vec<Step>, bool),
    Ask(Question, Told),
    Reopen,
    Close,
}

/// What the engine has done.
#[derive(Message)]
#[rtype(result = "()")]
enum JobDone {
    /// It fell over a job: nothing can be known any more.
    Fell(String),
    /// With what is in use, where that was asked and could be told.
    Committed(Result<(Vec<Done>, Option<u64>), Fault>),
    Reopened(Result<(), Fault>),
    /// It can be read, and still cannot commit.
    Unproved(Fault),
    Closed(Result<(), Fault>),
}

/// It is time to commit what is lazy, too.
#[derive(Message)]
#[rtype(result = "()")]
struct CommitNow;

/// A commit has been under way for [`SLOW`], if it still is.
#[derive(Message)]
#[rtype(result = "()")]
struct StillUnderWay(u64);

/// It is time to open the ledger again.
#[derive(Message)]
#[rtype(result = "()")]
struct ReopenNow;

/// Something in the order it came.
#[expect(clippy::large_enum_variant, reason = "nearly every entry is a step: boxing them would allocate for each")]
enum Entry {
    Step(Write),
    Ask(Ask),
}

/// How the ledger is, for the writer.
enum Health {
    Up,
    /// A commit takes very long: nobody else waits for it in vain.
    Slow {
        reason: String,
    },
    /// `failures` in a row; `unknown` when the last commit's fate is.
    Down {
        reason: String,
        failures: u32,
        unknown: bool,
    },
}

/// The writer.
pub struct LedgerActor {
    place: Place,
    settings: settings::Ledger,
    watcher: Recipient<LedgerHealth>,
    queue: VecDeque<Entry>,
    /// The steps of the commit that is under way.
    under_way: Option<Vec<Write>>,
    /// Commits so far: tells one from the next.
    commits: u64,
    /// Whether somebody looks at how long a commit takes: one timer for all of them.
    watched: bool,
    /// Whether a lazy flush is set.
    lazy_set: bool,
    /// Whether a commit is about to be made, and gathers company.
    gathering: bool,
    health: Health,
    /// Commits that failed since one succeeded.
    failures: u32,
    closing: Option<WhenClosed>,
    room: Room,
}

impl LedgerActor {
    /// A writer whose engine lives on a thread of its own, started with the actor.
    pub fn threaded(engine: Box<dyn Ledger>, settings: settings::Ledger, watcher: Recipient<LedgerHealth>) -> Self {
        Self::new(Place::Unborn(Some(engine)), settings, watcher)
    }

    /// A writer that commits inline, each commit taking `latency` of the paused clock.
    pub fn inline(engine: Box<dyn Ledger>, latency: Duration, settings: settings::Ledger, watcher: Recipient<LedgerHealth>) -> Self {
        Self::new(Place::Inline { engine, latency }, settings, watcher)
    }

    fn new(place: Place, settings: settings::Ledger, watcher: Recipient<LedgerHealth>) -> Self {
        let room = Room::new(settings.max_bytes, (settings.retry_first, settings.retry_most));
        Self {
            place,
            room,
            settings,
            watcher,
            queue: VecDeque::new(),
            under_way: None,
            commits: 0,
            watched: false,
            lazy_set: false,
            gathering: false,
            health: Health::Up,
            failures: 0,
            closing: None,
        }
    }

    /// Takes up the next work, if the engine is free and somebody waits for it.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.under_way.is_some() || !matches!(self.health, Health::Up) {
            return;
        }
        while let Some(Entry::Ask(_)) = self.queue.front() {
            let Some(Entry::Ask(Ask { question, reply })) = self.queue.pop_front() else { break };
            self.perform(Job::Ask(question, reply), ctx);
        }
        if self.queue.is_empty() {
            if self.closing.is_some() {
                self.under_way = Some(Vec::new());
                self.perform(Job::Close, ctx);
            }
            return;
        }
        let only_lazy = self.queue.iter().all(|entry| matches!(entry, Entry::Step(Write { urgency: Urgency::Lazy, .. })));
        if only_lazy && self.closing.is_none() && self.queue.len() < self.settings.batch as usize {
            if !self.lazy_set {
                self.lazy_set = true;
                ctx.notify_later(CommitNow, LAZY);
            }
            return;
        }
        if std::mem::replace(&mut self.gathering, true) {
            return;
        }
        match &self.place {
            // Everybody who is ready gets a turn first, so that a start shares the commit of the accept that it rests on.
            Place::Thread(_) | Place::Unborn(_) => {
                ctx.spawn(tokio::task::yield_now().into_actor(self).map(|(), writer, ctx| writer.gathered(ctx)));
            }
            Place::Inline { latency, .. } => {
                ctx.run_later(*latency, Self::gathered);
            }
        }
    }

    fn gathered(&mut self, ctx: &mut Context<Self>) {
        self.gathering = false;
        self.commit(ctx);
    }

    /// Commits what has gathered, up to the next question.
    fn commit(&mut self, ctx: &mut Context<Self>) {
        if self.under_way.is_some() || !matches!(self.health, Health::Up) {
            return;
        }
        let mut batch = Vec::new();
        while batch.len() < self.settings.batch as usize {
            match self.queue.pop_front() {
                Some(Entry::Step(write)) => batch.push(write),
                Some(ask @ Entry::Ask(_)) => {
                    self.queue.push_front(ask);
                    break;
                }
                None => break,
            }
        }
        if batch.is_empty() {
            return self.pump(ctx);
        }
        let steps = batch.iter().map(|write| write.step.clone()).collect();
        self.under_way = Some(batch);
        self.commits += 1;
        if matches!(self.place, Place::Thread(_)) && !std::mem::replace(&mut self.watched, true) {
            ctx.notify_later(StillUnderWay(self.commits), SLOW);
        }
        self.perform(Job::Commit(steps, self.room.is_bounded()), ctx);
    }

    fn perform(&mut self, job: Job, ctx: &mut Context<Self>) {
        match &mut self.place {
            Place::Thread(jobs) => {
                if jobs.send(job).is_err() {
                    // The thread is gone: it panicked. Nothing can be known any more.
                    self.lost("the ledger's thread died".into());
                }
            }
            Place::Unborn(_) => self.lost("the ledger's thread could not be started".into()),
            Place::Inline { engine, .. } => {
                if let Some(done) = work(engine.as_mut(), job) {
                    ctx.notify(done);
                }
            }
        }
    }

    /// The ledger failed: what may wait for nothing is given back, the rest is kept in its order.
    fn fail(&mut self, fault: &Fault, batch: Vec<Write>, ctx: &mut Context<Self>) {
        let reason = fault.to_string();
        // An engine that opens is not yet one that commits: only a commit starts the count anew.
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        let wait = backoff(self.settings.retry_first, self.settings.retry_most, failures, 1.0);
        self.give_back(batch, &Unable { reason: reason.clone(), retry_after: wait, full: false });
        tracing::error!(%reason, kept = self.queue.len(), ?wait, "ledger cannot commit");
        self.health = Health::Down { reason: reason.clone(), failures, unknown: matches!(fault, Fault::Unknown(_)) };
        self.watcher.do_send(LedgerHealth::Down { reason });
        match self.closing.take() {
            Some(reply) => {
                reply(Err(fault.clone()));
                ctx.stop();
            }
            None => {
                ctx.notify_later(ReopenNow, wait);
            }
        }
    }

    /// Gives back what may fail, of a batch and of what waits; the rest waits on, in its order.
    fn give_back(&mut self, batch: Vec<Write>, unable: &Unable) {
        self.room.given_back();
        let queued = std::mem::take(&mut self.queue);
        for entry in batch.into_iter().map(Entry::Step).chain(queued) {
            match entry {
                Entry::Step(Write { urgency: Urgency::May, reply, .. }) => answer(reply, Err(unable.clone())),
                Entry::Ask(ask) => (ask.reply)(Err(Fault::NotCommitted(unable.reason.clone()))),
                kept => self.queue.push_back(kept),
            }
        }
    }

    fn lost(&mut self, reason: String) {
        tracing::error!(%reason, "ledger lost");
        self.watcher.do_send(LedgerHealth::Lost { reason: reason.clone() });
        self.health = Health::Down { reason, failures: u32::MAX - 1, unknown: true };
    }

    /// Why a step is refused now, if it is.
    fn refusal(&self, urgency: Urgency) -> Option<Unable> {
        let (reason, failures) = match &self.health {
            Health::Up => return None,
            Health::Slow { reason } => (reason, &0),
            Health::Down { reason, failures, .. } => (reason, failures),
        };
        let full = self.queue.len() >= self.settings.backlog as usize;
        (full || urgency == Urgency::May).then(|| Unable {
            reason: reason.clone(),
            retry_after: backoff(self.settings.retry_first, self.settings.retry_most, *failures, 1.0),
            full: false,
        })
    }
}

fn answer(reply: Option<Reply>, result: Result<Done, Unable>) {
    if let Some(reply) = reply {
        reply(result);
    }
}

/// The engine's thread: one job after the other, until the writer is gone.
fn serve(mut engine: Box<dyn Ledger>, inbox: &mpsc::Receiver<Job>, writer: &Addr<LedgerActor>) {
    while let Ok(job) = inbox.recv() {
        let last = matches!(job, Job::Close);
        match catch_unwind(AssertUnwindSafe(|| work(engine.as_mut(), job))) {
            Ok(Some(done)) => writer.do_send(done),
            Ok(None) => {}
            Err(panic) => return writer.do_send(JobDone::Fell(words_of(panic.as_ref()))),
        }
        if last {
            return;
        }
    }
}

fn work(engine: &mut dyn Ledger, job: Job) -> Option<JobDone> {
    match job {
        Job::Commit(steps, measure) => Some(JobDone::Committed(engine.commit(&steps).map(|done| {
            // Unread: it stays as it was known.
            (done, measure.then(|| engine.used().ok()).flatten())
        }))),
        Job::Ask(question, reply) => {
            reply(engine.ask(&question));
            None
        }
        Job::Reopen => Some(match engine.reopen().map(|()| engine.prove()) {
            Ok(Err(fault)) => JobDone::Unproved(fault),
            Ok(Ok(())) => JobDone::Reopened(Ok(())),
            Err(fault) => JobDone::Reopened(Err(fault)),
        }),
        Job::Close => Some(JobDone::Closed(engine.close())),
    }
}

impl Actor for LedgerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let Place::Unborn(engine) = &mut self.place else { return };
        let Some(engine) = engine.take() else { return };
        let ((jobs, inbox), me) = (mpsc::channel(), ctx.address());
        match std::thread::Builder::new().name("ledger".into()).spawn(move || serve(engine, &inbox, &me)) {
            Ok(_) => self.place = Place::Thread(jobs),
            Err(error) => tracing::error!(%error, "the ledger's thread could not be started"),
        }
    }
}

impl Supervised for LedgerActor {
    /// A commit that was under way when the writer fell is unknown: its steps wait with the others, and the ledger is read back.
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        (self.lazy_set, self.gathering, self.watched) = (false, false, false);
        let batch = self.under_way.take().unwrap_or_default();
        self.fail(&Fault::Unknown("the writer restarted".into()), batch, ctx);
    }
}

impl Handler<Write> for LedgerActor {
    type Result = ();

    fn handle(&mut self, write: Write, ctx: &mut Context<Self>) {
        match self.refusal(write.urgency).map_or_else(|| self.room.admit(&write.step), Err) {
            Err(unable) => answer(write.reply, Err(unable)),
            Ok(()) => {
                self.queue.push_back(Entry::Step(write));
                self.pump(ctx);
            }
        }
    }
}

impl Handler<Ask> for LedgerActor {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Context<Self>) {
        if let Health::Down { reason, .. } | Health::Slow { reason } = &self.health {
            return (ask.reply)(Err(Fault::NotCommitted(reason.clone())));
        }
        self.queue.push_back(Entry::Ask(ask));
        self.pump(ctx);
    }
}

impl Handler<CommitNow> for LedgerActor {
    type Result = ();

    fn handle(&mut self, _: CommitNow, ctx: &mut Context<Self>) {
        self.lazy_set = false;
        self.commit(ctx);
    }
}

impl Handler<StillUnderWay> for LedgerActor {
    type Result = ();

    fn handle(&mut self, StillUnderWay(commit): StillUnderWay, ctx: &mut Context<Self>) {
        self.watched = self.under_way.is_some() && self.commits != commit;
        if self.watched {
            ctx.notify_later(StillUnderWay(self.commits), SLOW);
        }
        if self.watched || self.under_way.is_none() || !matches!(self.health, Health::Up) {
            return;
        }
        let reason = format!("a commit has been under way for {} s", SLOW.as_secs());
        tracing::error!(%reason, "ledger cannot commit");
        self.health = Health::Slow { reason: reason.clone() };
        self.give_back(Vec::new(), &Unable { reason: reason.clone(), retry_after: self.settings.retry_most, full: false });
        self.watcher.do_send(LedgerHealth::Down { reason });
    }
}

impl Handler<ReopenNow> for LedgerActor {
    type Result = ();

    fn handle(&mut self, _: ReopenNow, ctx: &mut Context<Self>) {
        self.perform(Job::Reopen, ctx);
    }
}

impl Handler<Close> for LedgerActor {
    type Result = ();

    fn handle(&mut self, close: Close, ctx: &mut Context<Self>) {
        if let Health::Down { reason, .. } = &self.health {
            (close.reply)(Err(Fault::NotCommitted(reason.clone())));
            return ctx.stop();
        }
        self.closing = Some(close.reply);
        self.pump(ctx);
    }
}

impl Handler<JobDone> for LedgerActor {
    type Result = ();

    fn handle(&mut self, done: JobDone, ctx: &mut Context<Self>) {
        match done {
            JobDone::Fell(panic) => self.lost(format!("the ledger's thread fell: {panic}")),
            JobDone::Committed(Ok((results, used))) => {
                self.failures = 0;
                if let Health::Slow { .. } = self.health {
                    tracing::info!(waiting = self.queue.len(), "ledger is back");
                    self.health = Health::Up;
                    self.watcher.do_send(LedgerHealth::Up);
                }
                let batch = self.under_way.take().unwrap_or_default();
                if let Some(news) = used.and_then(|used| self.room.measured(used, batch.iter().map(|write| &write.step))) {
                    match &news {
                        LedgerHealth::Full { reason } => tracing::error!(%reason, "ledger takes in nothing new"),
                        _ => tracing::info!("ledger has room again"),
                    }
                    self.watcher.do_send(news);
                }
                for (write, result) in batch.into_iter().zip(results) {
                    if let Done::Refused(reason) = &result {
                        // Never the step itself: it holds people's words.
                        tracing::error!(%reason, "ledger refused a step");
                    }
                    answer(write.reply, Ok(result));
                }
                self.pump(ctx);
            }
            JobDone::Committed(Err(fault)) => {
                let batch = self.under_way.take().unwrap_or_default();
                self.fail(&fault, batch, ctx);
            }
            JobDone::Reopened(Ok(())) => {
                tracing::info!(waiting = self.queue.len(), "ledger is back");
                self.health = Health::Up;
                self.watcher.do_send(LedgerHealth::Up);
                self.pump(ctx);
            }
            JobDone::Reopened(Err(fault)) => {
                let unknown = matches!(self.health, Health::Down { unknown: true, .. });
                if unknown { self.lost(fault.to_string()) } else { self.fail(&fault, Vec::new(), ctx) }
            }
            JobDone::Unproved(fault) => self.fail(&fault, Vec::new(), ctx),
            JobDone::Closed(result) => {
                if let Some(reply) = self.closing.take() {
                    reply(result);
                }
                ctx.stop();
            }
        }
    }
}

#[cfg(test)]
mod tests;
