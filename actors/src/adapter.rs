//! The actor of one platform connection, in and out.
//!
//! It keeps the connection up, for ever, with back-off; hands what the platform offers to the supervisor's desk; and speaks what its
//! [outbox] lets through. All platform I/O runs on the I/O runtime: a platform that hangs or panics is a message here. It never looks
//! into a message, and never moves a cursor over something that was not accepted.

mod connection;
mod drafts;
pub mod outbox;

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle, Supervised};
use futures_util::FutureExt;

use crate::clock::{Clock, Moment};
use crate::ids::MessageId;
use crate::ids::{ChatId, OutboxId};
use crate::ledger::writer::{LedgerLine, Unable};
use crate::ledger::{Done, Fate, Knowledge, NoticeKind, OutboxRow, OutboxState, Question, Step, What};
use crate::live::Live;
use crate::platform::{Abilities, Outgoing, Platform, SpeakError, Speaker};
use crate::protocol::{
    AdapterHealth, AdapterNews, Deliver, DeliverBefore, Disconnect, EndDraft, Flush, Leave, Notify, Phrase, Refit, Rephrase, ShowDraft,
    ShowTyping, Soften, Upward, Withdraw,
};
use crate::settings::{AdapterSettings, Policy, Settings};
use crate::shutdown::ShutdownKind;
use crate::shutdown::report::NoticeFate;
use crate::shutdown::roll_call::Work;
use crate::supervision::words_of;
use crate::texts::spoken;
use connection::Line;
use drafts::Drafts;
use outbox::{Bounds, Effect, Event, Outbox};

/// What all adapters share.
pub struct Shared {
    /// How everything is set.
    pub settings: Arc<Live<Settings>>,
    /// The time.
    pub clock: Clock,
    /// Where platforms run.
    pub io: tokio::runtime::Handle,
    /// The way to the ledger.
    pub ledger: LedgerLine,
    /// The lines to the supervisor.
    pub upward: Arc<Upward>,
}

/// One platform connection.
pub struct AdapterActor {
    set: AdapterSettings,
    platform: Arc<dyn Platform>,
    shared: Arc<Shared>,
    outbox: Outbox,
    /// What the outbox wants done and is not yet: a panic on the way loses nobody else's news.
    todo: VecDeque<Effect>,
    line: Line,
    drafts: Drafts,
    /// Notices that are rendered when they are sent, each time anew.
    phrases: HashMap<OutboxId, Phrase>,
    /// Their words, as they were sent last: for the record.
    rendered: HashMap<OutboxId, String>,
    /// Notices sent while the ledger could not record them: once per chat and process.
    unrecorded: HashMap<ChatId, ()>,
    /// Words of "back" that wait for a connection: recorded before, one would be spent on a platform that nobody reached.
    backs: Vec<OutboxRow>,
    /// When the outbox is looked at again.
    alarm: Option<(Moment, SpawnHandle)>,
    /// Notices that are being recorded.
    recording: u32,
    /// A flush waits for those.
    flushes: bool,
    closing: bool,
}

impl AdapterActor {
    /// The adapter `set` on `platform`. It connects when it starts, not before `wait` has passed.
    pub fn new(set: AdapterSettings, platform: Arc<dyn Platform>, shared: Arc<Shared>, wait: std::time::Duration) -> Self {
        let outbox = Outbox::new(bounds(&set, platform.as_ref(), &shared.settings.now()));
        Self {
            line: Line::new(wait),
            set,
            platform,
            outbox,
            todo: VecDeque::new(),
            shared,
            drafts: Drafts::default(),
            phrases: HashMap::new(),
            rendered: HashMap::new(),
            unrecorded: HashMap::new(),
            backs: Vec::new(),
            alarm: None,
            recording: 0,
            flushes: false,
            closing: false,
        }
    }

    fn on(&mut self, event: Event, ctx: &mut Context<Self>) {
        let (now, wall) = (self.shared.clock.now(), self.shared.clock.wall());
        let effects = self.outbox.step(now, wall, event);
        self.todo.extend(effects);
        self.perform_all(ctx);
    }

    fn perform_all(&mut self, ctx: &mut Context<Self>) {
        while let Some(effect) = self.todo.pop_front() {
            self.perform(effect, ctx);
        }
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Record(id) => {
                let me = ctx.address();
                self.shared.ledger.must(Step::Fate { id, fate: Fate::Sending }, move |result| {
                    me.do_send(Recorded { id, result });
                });
            }
            Effect::Send { row, repeat } => self.send(row, repeat, ctx),
            Effect::Note(id, fate) => self.note(id, fate),
            Effect::Tell(session, row, delivery) => {
                self.drafts.forget(row);
                self.tell(AdapterNews::Delivered { session, row, delivery });
            }
            Effect::Handed(chat, kind) => self.tell(AdapterNews::Handed(chat, kind)),
            Effect::HeldBack(chat, kind) => self.tell(AdapterNews::HeldBack(chat, kind)),
            Effect::Noticed(chat, kind, fate) => self.tell(AdapterNews::Noticed(chat, kind, fate)),
            Effect::Wake(at) => self.wake_at(at, ctx),
            Effect::Flushed => self.tell(AdapterNews::Flushed(self.set.name.clone())),
        }
    }

    /// Writes down what became of a row. A row that merely waits can wait for company in its commit, too.
    fn note(&mut self, id: OutboxId, mut fate: Fate) {
        self.phrases.remove(&id);
        if let (Some(words), Fate::Sent { text, .. }) = (self.rendered.remove(&id), &mut fate) {
            *text = Some(words);
        }
        let lazy = matches!(&fate, Fate::Failed { not_before, .. } if *not_before == crate::settings::AT_ONCE);
        let step = Step::Fate { id, fate };
        if lazy { self.shared.ledger.lazily(step) } else { self.shared.ledger.note(step) }
    }

    fn wake_at(&mut self, at: Moment, ctx: &mut Context<Self>) {
        if let Some((set, alarm)) = self.alarm.take() {
            if set <= at && set > self.shared.clock.now() {
                self.alarm = Some((set, alarm));
                return;
            }
            ctx.cancel_future(alarm);
        }
        let alarm = ctx.run_later(at.since(self.shared.clock.now()), |adapter, ctx| {
            adapter.alarm = None;
            adapter.on(Event::Tick, ctx);
        });
        self.alarm = Some((at, alarm));
    }

    /// Hands one message to the platform, on the I/O runtime; what comes of it is a message.
    fn send(&mut self, mut row: OutboxRow, repeat: bool, ctx: &mut Context<Self>) {
        let (id, me) = (row.id, ctx.address().recipient::<SendOver>());
        let Some(speaker) = self.line.speaker() else {
            return me.do_send(SendOver { id, result: Err(SpeakError::Broken("not connected".into())) });
        };
        if let Some(phrase) = self.phrases.get(&id) {
            row.text = self.render(phrase);
            self.rendered.insert(id, row.text.clone());
        }
        if repeat {
            row.text.insert_str(0, &self.shared.settings.now().texts.repeat.plain());
        }
        let limit = self.shared.settings.now().outbox.send_limit;
        let Abilities { edits, idempotent, .. } = self.platform.abilities();
        let way = match row.message.clone() {
            Some(message) => Way::Edit(message),
            // What it has under our key may be a draft of this.
            None if edits && idempotent && row.unsure => Way::SendAndEdit,
            None => Way::Send,
        };
        self.shared.io.spawn(async move {
            let result = speak(speaker, row, way, limit).await;
            me.do_send(SendOver { id, result });
        });
    }

    /// The words of a "going down" notice, as they are true now.
    fn render(&self, phrase: &Phrase) -> String {
        let settings = self.shared.settings.now();
        let texts = &settings.texts;
        let left = phrase.until.since(self.shared.clock.now());
        let stops = phrase.kind == ShutdownKind::Stop;
        let resumes = settings.recovery.policy == Policy::Resume;
        let template = match (phrase.work, stops, left.is_zero(), resumes) {
            (Work::Waiting, true, _, _) => &texts.waiting_stop,
            (Work::Waiting, false, _, _) => &texts.waiting_restart,
            (Work::Running, true, false, false) => &texts.stop,
            (Work::Running, true, false, true) => &texts.stop_resume,
            (Work::Running, true, true, false) => &texts.stop_now,
            (Work::Running, true, true, true) => &texts.stop_now_resume,
            (Work::Running, false, false, false) => &texts.restart,
            (Work::Running, false, false, true) => &texts.restart_resume,
            (Work::Running, false, true, false) => &texts.restart_now,
            (Work::Running, false, true, true) => &texts.restart_now_resume,
        };
        let members = if phrase.members.is_empty() { String::new() } else { texts.members.render(&[("members", &phrase.members)]) };
        members + &template.render(&[("left", &spoken(left))])
    }

    /// Replies that an earlier life, or a fall of this one, left undelivered.
    fn load(&self, ctx: &mut Context<Self>) {
        let me = ctx.address();
        self.shared.ledger.ask(Question::Undelivered(self.set.name.clone()), move |answer| {
            me.do_send(Loaded(match answer {
                Ok(Knowledge::Outbox(rows)) => Some(rows),
                _ => None,
            }));
        });
    }

    /// What is being recorded belongs to what is flushed.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        if self.flushes && self.recording == 0 {
            self.flushes = false;
            self.on(Event::Flush, ctx);
        }
    }

    fn tell(&self, news: AdapterNews) {
        self.shared.upward.adapter.do_send(news);
    }

    fn health(&self, health: AdapterHealth) {
        self.tell(AdapterNews::Health(self.set.name.clone(), health));
    }
}

fn bounds(set: &AdapterSettings, platform: &dyn Platform, settings: &Settings) -> Bounds {
    Bounds {
        in_flight: settings.outbox.in_flight as usize,
        retry_first: settings.outbox.retry_first,
        retry_most: settings.outbox.retry_most,
        max_tries: settings.outbox.max_tries,
        idempotent: platform.abilities().idempotent,
        rate: set.rate,
    }
}

/// How a message reaches its platform.
enum Way {
    Send,
    Edit(MessageId),
    /// Sent under a key that the platform may know, with other words.
    SendAndEdit,
}

/// Sends or edits one message within `limit`. A speaker that panics, or says nothing in time, leaves the fate unknown.
async fn speak(speaker: Arc<dyn Speaker>, row: OutboxRow, way: Way, limit: std::time::Duration) -> Result<MessageId, SpeakError> {
    let out = Outgoing {
        room: row.chat.room,
        thread: row.chat.thread,
        text: row.text,
        key: row.id,
        voice: row.what.voice(),
        draft: row.state == OutboxState::Draft,
        reply_to: row.reply_to,
    };
    let work = AssertUnwindSafe(async move {
        match way {
            Way::Edit(message) => speaker.edit(out, message.clone()).await.map(|()| message),
            Way::Send => speaker.send(out).await,
            Way::SendAndEdit => {
                let message = speaker.send(out.clone()).await?;
                speaker.edit(out, message.clone()).await.map(|()| message)
            }
        }
    });
    match tokio::time::timeout(limit, work.catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(SpeakError::Unknown(format!("the platform's code panicked: {}", words_of(panic.as_ref())))),
        Err(_) => Err(SpeakError::Unknown("no answer in time".into())),
    }
}

impl Actor for AdapterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.load(ctx);
        self.connect_later(ctx);
    }
}

impl Supervised for AdapterActor {
    /// After a panic: replies are read from the ledger again, and a new connection is made; `started` follows and does both. What was on its
    /// way may have arrived, and is repeated as such; what became of others before the fall is still told.
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        let empty = Outbox::new(bounds(&self.set, self.platform.as_ref(), &self.shared.settings.now()));
        let (outbox, effects) = Outbox::instead_of(std::mem::replace(&mut self.outbox, empty));
        self.outbox = outbox;
        self.todo.retain(|effect| !matches!(effect, Effect::Send { .. } | Effect::Record(_) | Effect::Wake(_)));
        self.todo.extend(effects);
        self.alarm = None;
        self.line.drop_connection();
        self.land_drafts(ctx);
        self.perform_all(ctx);
    }
}

/// The rows of the ledger.
#[derive(Message)]
#[rtype(result = "()")]
struct Loaded(Option<Vec<OutboxRow>>);

impl Handler<Loaded> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Loaded(rows): Loaded, ctx: &mut Context<Self>) {
        let Some(rows) = rows else {
            ctx.run_later(self.shared.settings.now().ledger.retry_first, |adapter, ctx| adapter.load(ctx));
            return;
        };
        let rows: Vec<OutboxRow> = rows.into_iter().filter_map(|row| self.mend(row)).collect();
        let owed: Vec<_> = rows.iter().filter_map(|row| Some((row.session.clone()?, row.id))).collect();
        if !owed.is_empty() {
            self.tell(AdapterNews::Owes(owed));
        }
        for row in rows {
            self.on(Event::Reply(vec![row]), ctx);
        }
    }
}

impl AdapterActor {
    /// A draft whose turn was cut ends in the interruption mark, where it can still be edited; else nobody can tell whether it was ever seen.
    fn mend(&self, mut row: OutboxRow) -> Option<OutboxRow> {
        if row.state == OutboxState::Draft {
            if row.message.is_none() {
                self.shared.ledger.note(Step::Fate { id: row.id, fate: Fate::Dead { reason: "a draft that was cut".into() } });
                return None;
            }
            row.text.push_str(&self.shared.settings.now().texts.draft_cut.plain());
        }
        // Editing twice is editing once.
        row.state = OutboxState::Due;
        row.unsure &= row.message.is_none();
        Some(row)
    }
}

/// A row is durable as `sending`, must not be sent, or cannot be recorded for now.
#[derive(Message)]
#[rtype(result = "()")]
struct Recorded {
    id: OutboxId,
    result: Result<Done, Unable>,
}

impl Handler<Recorded> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Recorded { id, result }: Recorded, ctx: &mut Context<Self>) {
        let event = match result {
            Ok(done) => Event::Recorded(id, done == Done::Ok),
            Err(unable) => Event::NotRecorded(id, unable.retry_after),
        };
        self.on(event, ctx);
    }
}

/// What came of a send.
#[derive(Message)]
#[rtype(result = "()")]
struct SendOver {
    id: OutboxId,
    result: Result<MessageId, SpeakError>,
}

impl Handler<SendOver> for AdapterActor {
    type Result = ();

    fn handle(&mut self, SendOver { id, result }: SendOver, ctx: &mut Context<Self>) {
        if let Err(error) = &result {
            tracing::warn!(adapter = %self.set.name, row = %id, %error, "send failed");
        }
        self.on(Event::Sent(id, result), ctx);
    }
}

impl Handler<Deliver> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Deliver(mut rows): Deliver, ctx: &mut Context<Self>) {
        if let Some(first) = rows.first_mut() {
            match self.drafts.finish(first.id) {
                drafts::Finished::Shown(message) => first.message = Some(message),
                drafts::Finished::OnItsWay => return self.drafts.hold(rows),
                // A platform that takes our key may have the draft under it, and would keep that.
                drafts::Finished::Unsure if self.platform.abilities().idempotent => first.unsure = true,
                drafts::Finished::Unsure => {}
                drafts::Finished::Never => {}
            }
        }
        self.on(Event::Reply(rows), ctx);
    }
}

impl Handler<Notify> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Notify { row, phrase }: Notify, ctx: &mut Context<Self>) {
        if let Some(phrase) = phrase {
            self.phrases.insert(row.id, phrase);
        }
        let is_back = matches!(row.what, What::Notice { kind: NoticeKind::Back, .. });
        if is_back && !self.outbox.is_connected() { self.backs.push(row) } else { self.record(row, ctx) }
    }
}

impl AdapterActor {
    /// Records a notice, which is said once it is.
    fn record(&mut self, row: OutboxRow, ctx: &mut Context<Self>) {
        let (me, noted) = (ctx.address(), row.clone());
        self.recording += 1;
        self.shared.ledger.write(Step::Notice(row), move |result| me.do_send(Noted { row: noted, result: result.ok() }));
    }

    /// The platform can be spoken to.
    fn connected(&mut self, ctx: &mut Context<Self>) {
        self.on(Event::Connected, ctx);
        if !self.closing {
            std::mem::take(&mut self.backs).into_iter().for_each(|row| self.record(row, ctx));
        }
    }
}

/// A notice was recorded; `None`: the ledger cannot write.
#[derive(Message)]
#[rtype(result = "()")]
struct Noted {
    row: OutboxRow,
    result: Option<Done>,
}

impl Handler<Noted> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Noted { row, result }: Noted, ctx: &mut Context<Self>) {
        self.recording = self.recording.saturating_sub(1);
        let What::Notice { kind, .. } = row.what else { return };
        let unrecorded = result.is_none() && kind == NoticeKind::Down && self.unrecorded.insert(row.chat.clone(), ()).is_none();
        match result {
            Some(Done::Ok) => self.on(Event::Notice(row), ctx),
            // Better told unrecorded than not told; the ledger will not hold it against anybody.
            None if unrecorded => {
                let id = OutboxId::unrecorded();
                if let Some(phrase) = self.phrases.remove(&row.id) {
                    self.phrases.insert(id, phrase);
                }
                self.on(Event::Notice(OutboxRow { id, ..row }), ctx);
            }
            Some(_) => {
                self.phrases.remove(&row.id);
                self.tell(AdapterNews::Noticed(row.chat, kind, NoticeFate::Told));
            }
            None => {
                self.phrases.remove(&row.id);
                let reason = "the ledger could not record it".into();
                self.tell(AdapterNews::Noticed(row.chat, kind, NoticeFate::Failed { reason }));
            }
        }
        self.flush(ctx);
    }
}

impl Handler<Rephrase> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Rephrase { kind, until }: Rephrase, _: &mut Context<Self>) {
        for phrase in self.phrases.values_mut() {
            (phrase.kind, phrase.until) = (kind, until);
        }
    }
}

impl Handler<Soften> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Soften(chat): Soften, _: &mut Context<Self>) {
        for phrase in self.phrases.values_mut().filter(|phrase| phrase.chat == chat) {
            phrase.work = Work::Waiting;
            phrase.members.clear();
        }
    }
}

impl Handler<ShowTyping> for AdapterActor {
    type Result = ();

    fn handle(&mut self, ShowTyping(chat): ShowTyping, _: &mut Context<Self>) {
        if let Some(speaker) = self.line.speaker() {
            let limit = self.shared.settings.now().outbox.send_limit;
            self.shared.io.spawn(async move { tokio::time::timeout(limit, speaker.typing(chat.room, chat.thread)).await });
        }
    }
}

impl Handler<Withdraw> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Withdraw(chat): Withdraw, ctx: &mut Context<Self>) {
        self.on(Event::Withdraw(chat), ctx);
    }
}

impl Handler<DeliverBefore> for AdapterActor {
    type Result = ();

    fn handle(&mut self, DeliverBefore(moment): DeliverBefore, ctx: &mut Context<Self>) {
        self.on(Event::Before(moment), ctx);
    }
}

impl Handler<Flush> for AdapterActor {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) {
        self.flushes = true;
        self.flush(ctx);
    }
}

impl Handler<ShowDraft> for AdapterActor {
    type Result = ();

    fn handle(&mut self, ShowDraft { row }: ShowDraft, ctx: &mut Context<Self>) {
        self.show_draft(row, ctx);
    }
}

impl Handler<EndDraft> for AdapterActor {
    type Result = ();

    fn handle(&mut self, EndDraft(row): EndDraft, ctx: &mut Context<Self>) {
        self.end_draft(row, ctx);
    }
}

impl Handler<Leave> for AdapterActor {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        self.line.drop_connection();
        ctx.stop();
    }
}

impl Handler<Refit> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Refit { set, platform }: Refit, ctx: &mut Context<Self>) {
        self.set = set;
        let anew = platform.is_some();
        self.platform = platform.unwrap_or_else(|| self.platform.clone());
        let bounds = bounds(&self.set, self.platform.as_ref(), &self.shared.settings.now());
        self.on(Event::Bounds(bounds), ctx);
        if anew {
            self.on(Event::Replaced, ctx);
            self.connect_anew(ctx);
        }
    }
}

impl Handler<Disconnect> for AdapterActor {
    type Result = ();

    fn handle(&mut self, _: Disconnect, ctx: &mut Context<Self>) {
        self.closing = true;
        let news = (self.shared.upward.adapter.clone(), self.set.name.clone());
        let speaker = self.line.speaker();
        self.line.drop_connection();
        self.on(Event::Closing, ctx);
        let limit = self.shared.settings.now().shutdown.disconnect;
        self.shared.io.spawn(async move {
            if let Some(speaker) = speaker {
                let goodbye = AssertUnwindSafe(speaker.close()).catch_unwind();
                let _ = tokio::time::timeout(limit, goodbye).await;
            }
            news.0.do_send(AdapterNews::Closed(news.1));
        });
    }
}
