//! Coming back: what the last life left is read, judged and taken up, in this order.
//!
//! The facts and the marker are read; the new instance is recorded together with how the last one ended, which consumes the marker; turns
//! left running become interrupted; it is read who was let in, since nobody of those is a stranger to this life; then adapters connect and
//! what is open is taken up. Nothing of the latter holds up readiness.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message, WrapFuture, fut::ActorFutureExt};

use super::recovery::{self, Again, Verdict};
use super::{Stage, Supervisor};
use crate::ids::{ChatId, InstanceId, OutboxId, SessionKey};
use crate::ledger::{
    Born, CutTurn, Done, Ending, Fault, Knowledge, LedgerFacts, LeftChild, NoticeKind, OpenRequest, OpenWork, PairRow, Paired, Question,
    Step, What, Word,
};
use crate::marker::{self, Found};
use crate::protocol::{Bulletin, Notify, ReadMarker, RemoveMarker};
use crate::shutdown::ShutdownKind;
use crate::texts::spoken;

/// How a notice stays true for a while, and then is void.
const BACK_IS_NEWS_FOR: Duration = Duration::from_secs(600);

/// What the last life left, as far as a start must know before it is born.
#[derive(Message)]
#[rtype(result = "()")]
struct Left {
    found: Found,
    facts: Result<Knowledge, Fault>,
}

/// What is open.
#[derive(Message)]
#[rtype(result = "()")]
struct Opened {
    open: Result<Knowledge, Fault>,
    last: Last,
}

/// How the last life ended, for words.
#[derive(Clone)]
struct Last {
    ending: Option<Ending>,
    facts: LedgerFacts,
    starts: u32,
}

/// Who was let in; `None`: the ledger could not say.
#[derive(Message)]
#[rtype(result = "()")]
struct LetIn {
    pairs: Option<Vec<PairRow>>,
    then: Then,
}

/// What waits for those who were let in.
enum Then {
    /// The adapters, and what is open.
    Begin(Box<Last>),
    /// Rows that were another adapter's.
    TakeOver(crate::ids::AdapterName),
}

/// Work that begins with a question to the ledger, and is tried again where that cannot be answered.
#[derive(Message)]
#[rtype(result = "()")]
enum Chore {
    /// Wake whoever has something waiting, as the ledger knows it now.
    WakeWaiting,
    /// Take up what a crash loop held back.
    RecoverRest,
    /// Take up what was another adapter's.
    TakeOver(crate::ids::AdapterName),
    /// Look at a reply again, which an operator gave an order for.
    Reload(OutboxId),
}

impl Supervisor {
    /// Reads the marker and the ledger's facts.
    pub(super) fn wake(&mut self, ctx: &mut Context<Self>) {
        let (ledger, me) = (self.ledger.clone(), ctx.address());
        let marker = self.marker.send(ReadMarker);
        ctx.spawn(async move { marker.await.unwrap_or_else(|_| Found::Broken("its keeper fell".into())) }.into_actor(self).map(
            move |found, _, _| {
                ledger.ask(Question::Facts, move |facts| me.do_send(Left { found, facts }));
            },
        ));
    }
}

impl Handler<Left> for Supervisor {
    type Result = ();

    fn handle(&mut self, Left { found, facts }: Left, ctx: &mut Context<Self>) {
        let mut facts = match facts {
            Ok(Knowledge::Facts(facts)) => *facts,
            Ok(_) => return,
            Err(fault) => {
                tracing::error!(%fault, "the ledger cannot be read yet");
                ctx.run_later(self.settings.ledger.retry_first, |supervisor, ctx| supervisor.wake(ctx));
                return;
            }
        };
        if !matches!(self.stage, Stage::Waking) {
            return;
        }
        if let Found::Broken(reason) = &found {
            tracing::warn!(%reason, "the marker counts as unclean");
        }
        let at = self.clock.wall();
        // What others left, in another life of this directory, says nothing.
        let last = facts.last.as_mut();
        self.remains = self.remains.take().filter(|remains| last.as_ref().is_some_and(|last| last.instance == remains.instance));
        if let (Some(last), Some(remains)) = (last, &self.remains) {
            last.take_in(remains);
        }
        let ending = marker::judge(&found, &facts, self.boot.as_deref());
        let crash_loop = self.settings.recovery.crash_loop;
        let starts = recovery::unclean_starts(&facts, ending.as_ref(), at, &crash_loop);
        self.sequence.skip_to(facts.last_seq);
        self.unclean_starts = starts;
        self.ledger_id = facts.ledger;
        self.record_birth(ending.clone(), ctx);
        if recovery::is_loop(starts, &crash_loop) {
            tracing::error!(starts, within = ?crash_loop.within, "crash loop: recovery is held; `switchboard resume` ends it");
            self.looped = true;
        }
        self.stage = Stage::Serving;
        let last = Last { ending, facts, starts };
        self.last_cause = cause_of(&last);
        tell_how_it_began(self.instance, &last);
        self.let_in(Then::Begin(Box::new(last)), ctx);
    }
}

impl Supervisor {
    /// Reads who was let in, before `then`.
    fn let_in(&self, then: Then, ctx: &Context<Self>) {
        let me = ctx.address();
        self.ledger.ask(Question::Pairs { at: self.clock.wall() }, move |pairs| {
            let pairs = match pairs {
                Ok(Knowledge::Pairs(pairs)) => Some(pairs),
                _ => None,
            };
            me.do_send(LetIn { pairs, then });
        });
    }

    /// Records this instance and how the last one ended: from here on its marker is consumed.
    fn record_birth(&mut self, predecessor: Option<Ending>, ctx: &mut Context<Self>) {
        let at = self.clock.wall();
        let (boot, remains) = (self.boot.clone(), self.remains.take());
        let born = Born { instance: self.instance, version: self.version.clone(), boot, predecessor, remains, at };
        let (marker, me) = (self.marker.clone(), ctx.address());
        self.ledger.must(Step::Born(born), move |result| {
            if result == Ok(Done::Ok) {
                marker.do_send(RemoveMarker);
                me.do_send(OnRecord);
            }
        });
        let max_attempts = self.settings.recovery.max_attempts;
        let (instance, me) = (self.instance, ctx.address());
        self.ledger.must(Step::Recover { instance, max_attempts, at }, move |result| {
            if let Err(unable) = result {
                me.do_send(NotRecovered(unable.to_string()));
            }
        });
    }
}

/// This life is on record.
#[derive(Message)]
#[rtype(result = "()")]
struct OnRecord;

impl Handler<OnRecord> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: OnRecord, _: &mut Context<Self>) {
        (self.bulletin)(Bulletin::Born);
    }
}

/// What the last life left running could not be taken over.
#[derive(Message)]
#[rtype(result = "()")]
struct NotRecovered(String);

impl Handler<NotRecovered> for Supervisor {
    type Result = ();

    fn handle(&mut self, NotRecovered(reason): NotRecovered, _: &mut Context<Self>) {
        (self.bulletin)(Bulletin::Lost(reason));
    }
}

impl Handler<LetIn> for Supervisor {
    type Result = ();

    fn handle(&mut self, LetIn { pairs, then }: LetIn, ctx: &mut Context<Self>) {
        let Some(pairs) = pairs else {
            tracing::error!("who was let in cannot be read yet");
            ctx.run_later(self.settings.ledger.retry_first, move |supervisor, ctx| supervisor.let_in(then, ctx));
            return;
        };
        for pair in pairs.into_iter().filter(|pair| pair.state == Paired::In) {
            self.desk.doors.let_in(pair.adapter, pair.user);
        }
        match then {
            Then::Begin(last) => self.begin(*last, ctx),
            Then::TakeOver(to) => self.take_over_rows(to, ctx),
        }
    }
}

impl Supervisor {
    /// Connects, and takes up what is open; a shutdown that began meanwhile leaves both to the next life.
    fn begin(&mut self, last: Last, ctx: &mut Context<Self>) {
        if !matches!(self.stage, Stage::Serving) {
            return;
        }
        self.start_adapters(recovery::patience(last.starts, &self.settings.recovery.crash_loop));
        self.check_ready(ctx);
        let me = ctx.address();
        self.ledger.ask(Question::Open, move |open| me.do_send(Opened { open, last }));
    }
}

impl Handler<Opened> for Supervisor {
    type Result = ();

    fn handle(&mut self, Opened { open, last }: Opened, ctx: &mut Context<Self>) {
        let open = match open {
            Ok(Knowledge::Open(open)) => *open,
            Ok(_) => return,
            Err(fault) => {
                tracing::error!(%fault, "what is open cannot be read yet");
                self.unread = true;
                self.set_gates();
                let me = ctx.address();
                let ledger = self.ledger.clone();
                ctx.run_later(self.settings.ledger.retry_first, move |_, _| {
                    ledger.ask(Question::Open, move |open| me.do_send(Opened { open, last }));
                });
                return;
            }
        };
        let OpenWork { cut, children, waiting, commands, requests, owed, told_down } = open;
        self.end_children(children);
        if std::mem::take(&mut self.unread) {
            self.set_gates();
        }
        if cut.len() + waiting.len() + owed.len() > 0 {
            tracing::info!(cut = cut.len(), waiting = waiting.len(), owed = owed.len(), "open work is taken up");
        }
        // One that is going down again is not back.
        if matches!(self.stage, Stage::Serving) {
            for (chat, instance, at) in told_down {
                self.tell_back(&chat, instance, at, &last);
            }
        }
        for turn in cut {
            self.take_up(turn, ctx);
        }
        self.run_again(ctx);
        for command in commands {
            self.carry_out_again(command, ctx);
        }
        let reachable = |request: &OpenRequest| self.books.adapter(&request.session.chat).is_some();
        self.answer_requests(requests.into_iter().filter(reachable).collect(), ctx);
        self.wake_sessions(waiting.into_iter().map(|waiting| waiting.session).collect(), ctx);
    }
}

impl Supervisor {
    /// Tells a chat that was told "down" that the gateway is back, unless that is no news any more.
    fn tell_back(&self, chat: &ChatId, instance: crate::ids::InstanceId, told: crate::clock::Wall, last: &Last) {
        // Of unknown age is not old: a clock that jumped keeps nobody waiting for the word.
        let age = self.clock.wall().since(told);
        if age.is_some_and(|age| age > self.settings.recovery.back_max_age) {
            return;
        }
        let text = self.words_of_back(last);
        let row = self.notice(chat, NoticeKind::Back, instance.to_string(), text, BACK_IS_NEWS_FOR);
        if let Some(entry) = self.books.adapter(chat) {
            entry.addr.do_send(Notify { row, phrase: None });
        }
    }

    fn words_of_back(&self, last: &Last) -> String {
        let (texts, cause) = (&self.settings.texts, self.last_cause);
        match self.downtime(last) {
            Some(downtime) => texts.back.render(&[("downtime", &spoken(downtime)), ("cause", cause)]),
            None => texts.back_plain.render(&[("cause", cause)]),
        }
    }

    /// From the last sign of the last life until now; `None` when the clock says nonsense.
    fn downtime(&self, last: &Last) -> Option<Duration> {
        let facts = last.facts.last.as_ref()?;
        let ended = facts.ended.as_ref().map(|(at, ..)| *at);
        let ended = ended.or(facts.words.as_ref().map(|words| words.at)).or(facts.phase.map(|(_, at)| at))?;
        self.clock.wall().since(ended)
    }

    /// What agents of earlier lives left running goes before their turns may run again.
    fn end_children(&self, children: Vec<LeftChild>) {
        for LeftChild { turn, child, .. } in children.into_iter().filter(|left| left.instance != self.instance) {
            self.session_shared.reaper.end(&child);
            self.ledger.lazily(Step::ChildrenGone { turn });
        }
    }

    /// What was cut runs again, or its chat is told, or it waits.
    pub(super) fn take_up(&mut self, cut: CutTurn, ctx: &mut Context<Self>) {
        if self.books.adapter(&cut.session.chat).is_none() {
            return; // nobody reaches its chat; it is taken up once somebody does
        }
        match recovery::judge(&cut, self.settings.recovery.policy, self.looped) {
            Verdict::Wait => {}
            Verdict::Resume => self.queue_again(cut),
            Verdict::Tell(word) => {
                let texts = &self.settings.texts;
                let cause = cut.cause.clone().unwrap_or_else(|| self.last_cause.to_owned());
                let text = match word {
                    Word::Parked => texts.parked.render(&[("attempts", &cut.strikes.to_string())]),
                    _ => texts.interrupted.render(&[("cause", &cause)]),
                };
                let rows = self.words(&cut.session, &What::Reply { word }, &text, None);
                for mut row in rows {
                    row.turn = Some(cut.turn);
                    self.say(row, ctx);
                }
            }
        }
    }

    /// Lets a cut turn run again, where that is the policy and whoever asked may still speak.
    pub(super) fn queue_again(&mut self, cut: CutTurn) {
        let resumes = recovery::judge(&cut, self.settings.recovery.policy, self.looped) == Verdict::Resume;
        let CutTurn { turn, attempt, session, strikes, user, .. } = cut;
        if resumes && self.desk.doors.admits(&session.chat.adapter, &user) && !self.again.expects(&session) {
            self.again.push(Again { turn, attempt, session: Arc::new(session), suspect: strikes > 0 });
        }
    }

    /// Makes a word durable, and hands it over once it is.
    pub(super) fn say(&mut self, row: crate::ledger::OutboxRow, ctx: &mut Context<Self>) {
        let (me, told) = (ctx.address(), row.clone());
        self.ledger.must(Step::Tell(row), move |result| match result {
            Ok(Done::Ok) => me.do_send(Said(vec![told])),
            Ok(_) => {}
            Err(unable) => me.do_send(SayLater(told, unable.retry_after)),
        });
    }

    /// Wakes sessions that have something waiting, a few hundred at a time, so that nobody else waits for them.
    pub(super) fn wake_sessions(&mut self, mut sessions: Vec<SessionKey>, ctx: &mut Context<Self>) {
        /// Sessions woken in one go.
        const AT_ONCE: usize = 256;
        let rest = sessions.split_off(sessions.len().min(AT_ONCE));
        for session in sessions {
            self.route_in_order(&session);
        }
        if !rest.is_empty() {
            ctx.spawn(tokio::task::yield_now().into_actor(self).map(move |(), supervisor, ctx| supervisor.wake_sessions(rest, ctx)));
        }
    }

    /// Wakes whoever has something waiting, as the ledger knows it now.
    pub(super) fn wake_waiting(&mut self, ctx: &mut Context<Self>) {
        self.ask_for(Chore::WakeWaiting, Question::Open, ctx, |knowledge| match knowledge {
            Knowledge::Open(open) => Some(Wake(open.waiting.into_iter().map(|waiting| waiting.session).collect())),
            _ => None,
        });
    }

    /// After a crash loop was ended by an operator: what was held back is taken up.
    pub(super) fn recover_rest(&mut self, ctx: &mut Context<Self>) {
        self.ask_for(Chore::RecoverRest, Question::Open, ctx, |knowledge| match knowledge {
            Knowledge::Open(open) => Some(TakeUp(open.cut)),
            _ => None,
        });
    }

    /// Rows that were another adapter's: whoever was let in there is let in here, its replies are sent, and its sessions wake.
    pub(super) fn take_over(&self, to: crate::ids::AdapterName, ctx: &Context<Self>) {
        self.let_in(Then::TakeOver(to), ctx);
    }

    fn take_over_rows(&mut self, to: crate::ids::AdapterName, ctx: &mut Context<Self>) {
        self.ask_for(Chore::TakeOver(to.clone()), Question::Undelivered(to.clone()), ctx, |knowledge| match knowledge {
            Knowledge::Outbox(rows) => Some(TakenOver(rows)),
            _ => None,
        });
        self.find_open(to, ctx);
    }

    /// An operator sends a reply again, or gives it up: the adapter learns of it from the ledger.
    pub(super) fn reload_outbox(&mut self, id: OutboxId, ctx: &mut Context<Self>) {
        self.ask_for(Chore::Reload(id), Question::Outbox, ctx, move |knowledge| match knowledge {
            Knowledge::Outbox(rows) => Some(Said(rows.into_iter().filter(|row| row.id == id).collect())),
            _ => None,
        });
    }

    /// Asks the ledger what a chore needs, and tells itself the answer.
    fn ask_for<M>(&self, chore: Chore, question: Question, ctx: &Context<Self>, take: impl FnOnce(Knowledge) -> Option<M> + Send + 'static)
    where
        M: Message<Result = ()> + Send + 'static,
        Self: Handler<M>,
    {
        let (told, again) = (ctx.address().recipient::<M>(), ctx.address().recipient::<Chore>());
        self.ledger.ask(question, move |answer| match answer.map(take) {
            Ok(Some(message)) => told.do_send(message),
            Ok(None) => {}
            Err(_) => again.do_send(chore),
        });
    }
}

impl Handler<Chore> for Supervisor {
    type Result = ();

    /// The ledger could not answer: another time.
    fn handle(&mut self, chore: Chore, ctx: &mut Context<Self>) {
        ctx.run_later(self.settings.ledger.retry_first, |supervisor, ctx| match chore {
            Chore::WakeWaiting => supervisor.wake_waiting(ctx),
            Chore::RecoverRest => supervisor.recover_rest(ctx),
            Chore::TakeOver(to) => supervisor.take_over_rows(to, ctx),
            Chore::Reload(id) => supervisor.reload_outbox(id, ctx),
        });
    }
}

/// A word that could not be made durable, as more waits for the ledger than may.
#[derive(Message)]
#[rtype(result = "()")]
struct SayLater(crate::ledger::OutboxRow, Duration);

impl Handler<SayLater> for Supervisor {
    type Result = ();

    fn handle(&mut self, SayLater(row, wait): SayLater, ctx: &mut Context<Self>) {
        ctx.run_later(wait, |supervisor, ctx| supervisor.say(row, ctx));
    }
}

/// These replies were another adapter's.
#[derive(Message)]
#[rtype(result = "()")]
struct TakenOver(Vec<crate::ledger::OutboxRow>);

impl Handler<TakenOver> for Supervisor {
    type Result = ();

    fn handle(&mut self, TakenOver(rows): TakenOver, _: &mut Context<Self>) {
        rows.into_iter().for_each(|row| self.deliver(vec![row]));
    }
}

/// The parts of a word are durable.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Said(pub(super) Vec<crate::ledger::OutboxRow>);

impl Handler<Said> for Supervisor {
    type Result = ();

    fn handle(&mut self, Said(rows): Said, _: &mut Context<Self>) {
        self.deliver(rows);
    }
}

/// These have something waiting.
#[derive(Message)]
#[rtype(result = "()")]
struct Wake(Vec<SessionKey>);

impl Handler<Wake> for Supervisor {
    type Result = ();

    fn handle(&mut self, Wake(sessions): Wake, ctx: &mut Context<Self>) {
        self.wake_sessions(sessions, ctx);
    }
}

/// These were held back.
#[derive(Message)]
#[rtype(result = "()")]
struct TakeUp(Vec<CutTurn>);

impl Handler<TakeUp> for Supervisor {
    type Result = ();

    fn handle(&mut self, TakeUp(cut): TakeUp, ctx: &mut Context<Self>) {
        for cut in cut {
            self.queue_again(cut);
        }
        self.run_again(ctx);
    }
}

/// Tells the log how the last life ended; an operator looks at one that said no goodbye.
fn tell_how_it_began(instance: InstanceId, last: &Last) {
    let Some(ending) = &last.ending else { return tracing::info!(%instance, "gateway started for the first time") };
    let why = last.facts.last.as_ref().and_then(|facts| facts.words.as_ref()).map(|words| words.cause.to_string());
    match ending {
        Ending::Clean | Ending::Unclean { .. } => tracing::info!(%instance, last = %ending, starts = last.starts, "gateway started"),
        Ending::Killed { .. } => {
            tracing::warn!(%instance, last = %ending, why, starts = last.starts, "gateway started after a life without a goodbye");
        }
    }
}

/// Why the last life ended, as one says it in a chat.
fn cause_of(last: &Last) -> &'static str {
    let kind = last.facts.last.as_ref().and_then(|facts| facts.ended.as_ref()).map(|(_, kind, ..)| *kind);
    recovery::death(last.ending.as_ref()).unwrap_or(match kind {
        None => "crash",
        Some(ShutdownKind::Stop) => "stop",
        Some(ShutdownKind::Restart) => "restart",
        Some(ShutdownKind::Update) => "update",
    })
}
