//! Taking in: what a platform offers is judged, made durable, acknowledged, and only then has consequences.
//!
//! It needs no live session: duplicates, access, commands and "saved" notices are answered from the books and the ledger, in every phase.
//! One thing happens on arrival: a session hears of a message while its accept is being written, so that its start can share the commit.
//! What cuts a turn waits for that write, since only the ledger knows a repeat: a /stop that is delivered again must not stop what was said
//! after it. Where the ledger cannot write, /stop acts all the same.

use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};

use super::{Stage, Supervisor};
use crate::desk::command::Command;
use crate::desk::strangers::{COUNT_EVERY, Telling};
use crate::desk::{Excess, GREET_EVERY, Judgement};
use crate::ids::{Account, AdapterName, DeliveryId, Seq, SessionKey, UserId};
use crate::ledger::writer::Unable;
use crate::ledger::{
    Accept, Accepted, Closes, Done, Knowledge, NoticeKind, OpenCommand, OutboxRow, PairCode, Question, Request, SessionView, Settle, Step,
    What, Word,
};
use crate::platform::{Content, Offer, Receipt, Said, Taken};
use crate::protocol::{Halt, HaltUnrecorded, Notify, Offered};
use crate::settings::Busy;
use crate::shutdown::{Phase, RequestedBy, ShutdownKind};
use crate::texts::spoken;

/// A "too many" notice is void after this: by then it is no news.
const MINUTE: Duration = Duration::from_secs(60);

/// Somebody's words on their way into the ledger.
struct Arrival {
    seq: Seq,
    account: Account,
    delivery: DeliveryId,
    session: SessionKey,
    said: Said,
    /// What its chat is told should there be nothing more to do.
    answer: Vec<OutboxRow>,
}

/// What has to be done once it is there.
#[derive(Debug)]
enum Then {
    /// The session was told; nothing more.
    Routed,
    /// The session is to be told: what cuts a turn has to be known as a new message first.
    ToRoute,
    /// It could not be told: the gateway goes down.
    Saved,
    Retry,
    Decision,
    Refused(Excess),
    Command(Command),
    Request(Request),
}

/// An accept is durable, or failed.
#[derive(Message)]
#[rtype(result = "()")]
struct Taking {
    arrival: Box<Arrival>,
    receipt: Receipt,
    then: Then,
    result: Result<Done, Unable>,
}

impl Handler<Offered> for Supervisor {
    type Result = ();

    fn handle(&mut self, Offered { adapter, account, offer }: Offered, ctx: &mut Context<Self>) {
        let Offer { inbound, receipt } = offer;
        let said = match inbound.content {
            Content::Message(said) => said,
            Content::Nothing { reason } => {
                tracing::debug!(%adapter, %reason, "delivery passed over");
                return receipt.settle(Taken::Accepted);
            }
        };
        if matches!(self.stage, Stage::Waking) || self.is_past_hearing() {
            return receipt.settle(Taken::Later(self.settings.ledger.retry_first));
        }
        if !self.books.adapters.contains_key(&adapter) {
            // Said before the adapter was taken out of the configuration; its platform keeps it.
            return receipt.settle(Taken::Later(MINUTE));
        }
        let session = self.desk.session(&adapter, &said);
        let waiting = self.books.waiting(&session);
        let judgement = self.desk.judge(self.clock.now(), &adapter, &said, waiting);
        if let Judgement::Stranger { greet } = judgement {
            self.tell_of_stranger(&adapter, &said.sender.user, greet, ctx);
            receipt.settle(Taken::Accepted);
            if greet {
                self.greet(&adapter, &session, &said);
            }
            return;
        }
        let seq = self.sequence.next_seq();
        let answer = self.answer_at_once(&session, &said, judgement);
        let arrival = Arrival { seq, account, delivery: inbound.delivery, session, said, answer };
        self.take_in(arrival, receipt, judgement, ctx);
    }
}

impl Supervisor {
    /// Whether nobody could be told any more that their message is saved: then it is not taken in, and comes to the next life.
    fn is_past_hearing(&self) -> bool {
        matches!(&self.stage, Stage::GoingDown(down) if down.plan.phase() >= Phase::Flush)
    }

    /// What is said to something that is closed as it is taken in: where there is nothing to retry or to decide, beyond a bound, and to whoever
    /// ends the process.
    fn answer_at_once(&self, session: &SessionKey, said: &Said, judgement: Judgement) -> Vec<OutboxRow> {
        let texts = &self.settings.texts;
        let stops = matches!(&self.stage, Stage::GoingDown(down) if down.plan.kind() == ShutdownKind::Stop);
        let (word, text) = match judgement {
            Judgement::Command(Command::Retry) => (Word::Command, &texts.nothing_to_retry),
            Judgement::Command(Command::Approve | Command::Deny) => (Word::Command, &texts.nothing_to_decide),
            Judgement::Command(Command::Restart) if !stops => (Word::Command, &texts.restarting),
            Judgement::Command(Command::Restart | Command::Shutdown) => (Word::Command, &texts.stopping),
            Judgement::Refused(Excess::Long) => (Word::Refused, &texts.too_large),
            _ => return Vec::new(),
        };
        self.words(session, &What::Reply { word }, &text.plain(), said.message.as_ref())
    }

    fn take_in(&mut self, arrival: Arrival, receipt: Receipt, judgement: Judgement, ctx: &mut Context<Self>) {
        let down = matches!(self.stage, Stage::GoingDown(_));
        let text = arrival.said.text.clone();
        let (what, then) = match judgement {
            Judgement::Message if down => (Accepted::Message { text }, Then::Saved),
            Judgement::Message => {
                let cuts = self.settings.session.busy == Busy::Interrupt;
                (Accepted::Message { text }, if cuts { Then::ToRoute } else { Then::Routed })
            }
            Judgement::Command(Command::Retry) => (Accepted::Retry, Then::Retry),
            Judgement::Command(command @ (Command::Approve | Command::Deny)) => {
                (Accepted::Decision { approved: command == Command::Approve }, Then::Decision)
            }
            Judgement::Command(command @ (Command::Restart | Command::Shutdown)) => {
                let kind = if command == Command::Restart { ShutdownKind::Restart } else { ShutdownKind::Stop };
                let request = Request { kind, instance: self.instance };
                (Accepted::Request(request.clone()), Then::Request(request))
            }
            Judgement::Command(Command::Stop) => (Accepted::Closing { text, closes: Closes::Work }, Then::Command(Command::Stop)),
            Judgement::Command(Command::New) => (Accepted::Closing { text, closes: Closes::Conversation }, Then::Command(Command::New)),
            Judgement::Command(command) => (Accepted::Command { text }, Then::Command(command)),
            Judgement::Refused(excess) => {
                let reason = match excess {
                    Excess::Many => "too many messages",
                    Excess::Long => "too long",
                };
                (Accepted::Refused { reason: reason.into() }, Then::Refused(excess))
            }
            Judgement::Stranger { .. } => return receipt.settle(Taken::Accepted),
        };
        let routed = matches!(then, Then::Routed);
        let (me, session) = (ctx.address(), arrival.session.clone());
        let accept = accept_of(&arrival, what, self.clock.wall());
        self.ledger.write(Step::Accept(accept), move |result| {
            me.do_send(Taking { arrival: Box::new(arrival), receipt, then, result });
        });
        if routed {
            // It hears while the accept is being written; should that fail, its start finds nothing.
            self.route_in_order(&session);
        }
    }

    /// In a line of its own, or in the count of a minute.
    fn tell_of_stranger(&mut self, adapter: &AdapterName, user: &UserId, greet: bool, ctx: &mut Context<Self>) {
        match self.desk.strangers.turned_away(self.clock.now(), adapter, user) {
            Telling::Line => tracing::info!(%adapter, ?user, greet, "stranger turned away"),
            Telling::Counted => {}
            Telling::BeginsACount => {
                let adapter = adapter.clone();
                ctx.run_later(COUNT_EVERY, move |supervisor, _| {
                    let count = supervisor.desk.strangers.take(&adapter);
                    tracing::info!(%adapter, count, "more messages of strangers turned away");
                });
            }
        }
    }

    /// Tells a stranger their code, at most once.
    fn greet(&mut self, adapter: &AdapterName, session: &SessionKey, said: &Said) {
        let (at, code) = (self.clock.wall(), fresh_code());
        let text = self.settings.texts.pairing.render(&[("code", &code)]);
        let scope = format!("{} {}", said.sender.user, at.0 / i64::try_from(GREET_EVERY.as_millis()).unwrap_or(i64::MAX));
        let (user, name) = (said.sender.user.clone(), said.sender.name.clone());
        self.ledger.note(Step::PairCode(PairCode { adapter: adapter.clone(), user, name, code, expires: at.plus(PairCode::LIVES) }));
        let row = self.notice(&session.chat, NoticeKind::Pairing, scope, text, PairCode::LIVES);
        if let Some(entry) = self.books.adapter(&session.chat) {
            entry.addr.do_send(Notify { row, phrase: None });
        }
    }
}

fn accept_of(arrival: &Arrival, what: Accepted, at: crate::clock::Wall) -> Accept {
    Accept {
        seq: arrival.seq,
        account: arrival.account.clone(),
        delivery: arrival.delivery.clone(),
        session: arrival.session.clone(),
        user: arrival.said.sender.user.clone(),
        name: arrival.said.sender.name.clone(),
        message: arrival.said.message.clone(),
        at,
        what,
        answer: arrival.answer.clone(),
    }
}

/// Eight characters that nobody mistakes for one another when they are read aloud.
fn fresh_code() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    // Random bytes of the system's generator, without those that a UUID fixes.
    let bytes = uuid::Uuid::new_v4().into_bytes();
    [0, 1, 2, 3, 4, 5, 10, 11].iter().map(|at| char::from(LETTERS[usize::from(bytes[*at] % 32)])).collect()
}

impl Handler<Taking> for Supervisor {
    type Result = ();

    fn handle(&mut self, Taking { arrival, receipt, then, result }: Taking, ctx: &mut Context<Self>) {
        if matches!(result, Err(_) | Ok(Done::Duplicate { .. } | Done::Open(_) | Done::Refused(_))) {
            // It will be offered again, or was counted before.
            self.desk.forget(&arrival.session.chat.adapter, &arrival.said.sender.user);
            if matches!(then, Then::Routed) {
                self.books.unroute(&arrival.session);
            }
        }
        if let Some(entry) = self.books.sessions.get(&arrival.session) {
            match (&then, &result) {
                (Then::Command(Command::Stop | Command::New), Ok(Done::Cleared { .. })) => entry.addr.do_send(Halt(arrival.seq)),
                (Then::Command(Command::Stop), Err(_)) => entry.addr.do_send(HaltUnrecorded(arrival.seq)),
                _ => {}
            }
        }
        if matches!(result, Ok(Done::Cleared { .. })) && self.again.forget(&arrival.session) {
            // What was said behind the command waited for the turn that it closed.
            self.route(&arrival.session);
        }
        match result {
            Err(Unable { retry_after, full: true, .. }) => receipt.settle(Taken::Full(retry_after)),
            Err(Unable { retry_after, full: false, .. }) => receipt.settle(Taken::Later(retry_after)),
            Ok(Done::Duplicate { waiting }) => {
                receipt.settle(Taken::Accepted);
                // Perhaps its session never heard: its accept may have been durable while nobody knew.
                if let Some(session) = waiting {
                    self.route_in_order(&session);
                }
            }
            Ok(Done::Open(seq)) => {
                receipt.settle(Taken::Accepted);
                let Arrival { session, said, .. } = *arrival;
                let (user, name) = (said.sender.user, said.sender.name);
                self.carry_out_again(OpenCommand { seq, session, user, name, text: said.text, message: said.message }, ctx);
            }
            Ok(Done::Refused(reason)) => {
                tracing::error!(%reason, "a message could not be taken in");
                receipt.settle(Taken::Later(MINUTE));
            }
            Ok(done) => {
                self.accepted += 1;
                receipt.settle(Taken::Accepted);
                self.taken(*arrival, then, &done, ctx);
            }
        }
    }
}

impl Supervisor {
    /// What follows once it is durable.
    fn taken(&mut self, arrival: Arrival, then: Then, done: &Done, ctx: &mut Context<Self>) {
        let Arrival { seq, session, said, answer, .. } = arrival;
        let order = OpenCommand { seq, session, user: said.sender.user, name: said.sender.name, text: said.text, message: said.message };
        match then {
            Then::Routed | Then::ToRoute if matches!(self.stage, Stage::GoingDown(_)) => {
                // A session that is here was counted with this message in the roll call, and its chat is told by that; unless it was to hear only now.
                if !self.books.is_here(&order.session) || matches!(then, Then::ToRoute) {
                    self.say_saved(&order.session);
                }
            }
            Then::ToRoute => self.route_in_order(&order.session),
            Then::Routed => {}
            Then::Saved => {
                *self.books.away.entry(order.session.clone()).or_default() += 1;
                self.say_saved(&order.session);
            }
            Then::Retry | Then::Decision if matches!(done, Done::Accepted { retryable: false }) => self.deliver(answer),
            Then::Retry | Then::Decision if matches!(self.stage, Stage::GoingDown(_)) => self.say_saved(&order.session),
            Then::Retry | Then::Decision => self.route(&order.session),
            Then::Refused(Excess::Many) => self.say_too_many(&order.session),
            Then::Refused(Excess::Long) => self.deliver(answer),
            Then::Command(command) => self.carry_out(command, order, done, ctx),
            Then::Request(request) => {
                self.carry_out_request(&RequestedBy::Person(order.user, order.session), &request, ctx);
                // It belongs to the flush, and keeps no drain waiting.
                self.deliver(answer);
            }
        }
    }

    /// The end of the process, as somebody in a chat, or their agent, asked for it. It is on record: it cannot happen twice.
    pub(super) fn carry_out_request(&mut self, by: &RequestedBy, request: &Request, ctx: &mut Context<Self>) {
        self.shut_down(request.kind, None, by, None, ctx);
    }

    pub(super) fn say_saved(&self, session: &SessionKey) {
        let text = self.settings.texts.saved.plain();
        let row = self.notice(&session.chat, NoticeKind::Saved, self.instance.to_string(), text, MINUTE * 10);
        if let Some(entry) = self.books.adapter(&session.chat) {
            entry.addr.do_send(Notify { row, phrase: None });
        }
    }

    fn say_too_many(&self, session: &SessionKey) {
        let minute = self.clock.wall().0 / 60_000;
        let row = self.notice(&session.chat, NoticeKind::TooMany, minute.to_string(), self.settings.texts.too_many.plain(), MINUTE);
        if let Some(entry) = self.books.adapter(&session.chat) {
            entry.addr.do_send(Notify { row, phrase: None });
        }
    }

    /// A command that was accepted by an earlier life, or while nobody could tell that it was, and never settled. It applies to what came before
    /// it, and only to that.
    pub(super) fn carry_out_again(&mut self, order: OpenCommand, ctx: &mut Context<Self>) {
        if self.carrying.contains(&order.seq) || self.books.adapter(&order.session.chat).is_none() {
            return; // it is on its way, or nobody would hear the answer
        }
        let Some(command) = crate::desk::command::parse(&order.text) else {
            return self.settle(&order, "", ctx);
        };
        let adapter = &order.session.chat.adapter;
        if !self.desk.doors.admits(adapter, &order.user) {
            return self.settle(&order, "", ctx);
        }
        let forbidden = command.is_for_admins() && !self.desk.doors.commands(adapter, &order.user);
        self.carry_out(if forbidden { Command::Forbidden } else { command }, order, &Done::Ok, ctx);
    }

    /// Carries out a command that is durable, and answers it.
    fn carry_out(&mut self, command: Command, order: OpenCommand, done: &Done, ctx: &mut Context<Self>) {
        self.carrying.insert(order.seq);
        let texts = self.settings.texts.clone();
        let text = match command {
            Command::Help => {
                let admin = self.desk.doors.commands(&order.session.chat.adapter, &order.user);
                texts.help.plain() + &if admin { texts.help_admin.plain() } else { String::new() }
            }
            Command::Whoami => {
                let who = format!("{}:{} ({})", order.session.chat.adapter, order.user, order.name);
                texts.whoami.render(&[("members", &who)])
            }
            Command::Unknown => texts.unknown.plain(),
            Command::Forbidden => texts.not_admin.plain(),
            Command::Status | Command::Queue => return self.look(command, order, ctx),
            Command::Stop | Command::New => {
                let (dropped, anything) = match done {
                    Done::Cleared { messages, running, cut } => (*messages, *messages + *cut > 0 || running.is_some()),
                    _ => (0, true),
                };
                self.books.away.remove(&order.session);
                let answered = self.stopped.remove(&order.session);
                let count = dropped.to_string();
                match (command, anything) {
                    (Command::New, _) => texts.new.render(&[("count", &count)]),
                    (_, true) => texts.stopped.render(&[("count", &count)]),
                    (_, false) if answered => String::new(),
                    (_, false) => texts.stopped_nothing.plain(),
                }
            }
            Command::StopAll => texts.stopped_all.render(&[("count", &self.stop_all(order.seq, ctx).to_string())]),
            Command::Sessions => self.list_sessions(),
            Command::Retry | Command::Approve | Command::Deny | Command::Restart | Command::Shutdown => String::new(),
        };
        self.settle(&order, &text, ctx);
    }

    /// Closes a command together with its answer, and hands that over once it is durable.
    fn settle(&mut self, order: &OpenCommand, text: &str, ctx: &mut Context<Self>) {
        if self.is_past_writing() {
            return;
        }
        let replies = match text {
            "" => Vec::new(),
            text => self.words(&order.session, &What::Reply { word: Word::Command }, text, order.message.as_ref()),
        };
        let (me, rows, seq) = (ctx.address(), replies.clone(), order.seq);
        self.ledger.must(Step::Settle(Settle { seq, replies }), move |result| {
            me.do_send(SettleOver { seq, rows: if result == Ok(Done::Ok) { rows } else { Vec::new() } });
        });
    }

    /// Cuts every turn that runs, the longest-running first, and tells who asked for it. Their closing is each session's own step.
    fn stop_all(&mut self, before: Seq, ctx: &mut Context<Self>) -> usize {
        let mut running: Vec<_> = self.books.running().map(|(key, since)| (since, key.clone())).collect();
        running.sort();
        for (_, key) in &running {
            if let Some(entry) = self.books.sessions.get(key) {
                entry.addr.do_send(Halt(before));
            }
            let text = self.settings.texts.stopped_by_admin.plain();
            for row in self.words(key, &What::Reply { word: Word::Command }, &text, None) {
                self.say(row, ctx);
            }
        }
        running.len()
    }

    fn list_sessions(&self) -> String {
        /// Sessions listed at most.
        const LISTED: usize = 20;
        let now = self.clock.now();
        let mut running: Vec<_> = self.books.running().map(|(key, since)| (now.since(since), key)).collect();
        running.sort_by(|a, b| b.cmp(a));
        let lines: Vec<String> = running.iter().take(LISTED).map(|(time, key)| format!("\n⚙️ {key}: {}", spoken(*time))).collect();
        self.settings.texts.sessions.render(&[("count", &self.books.sessions.len().to_string()), ("members", &lines.concat())])
    }

    /// Asks the ledger what a session has open, for /status and /queue.
    fn look(&self, command: Command, order: OpenCommand, ctx: &mut Context<Self>) {
        let me = ctx.address();
        self.ledger.ask(Question::Session(order.session.clone()), move |answer| {
            let view = match answer {
                Ok(Knowledge::Session(view)) => *view,
                _ => SessionView::default(),
            };
            me.do_send(Looked { command, order: Box::new(order), view });
        });
    }
}

/// A command is settled, and this is its answer; or somebody settled it before.
#[derive(Message)]
#[rtype(result = "()")]
struct SettleOver {
    seq: Seq,
    rows: Vec<OutboxRow>,
}

impl Handler<SettleOver> for Supervisor {
    type Result = ();

    fn handle(&mut self, SettleOver { seq, rows }: SettleOver, ctx: &mut Context<Self>) {
        self.carrying.remove(&seq);
        self.deliver(rows);
        self.flush_again(ctx);
    }
}

/// What a session has open.
#[derive(Message)]
#[rtype(result = "()")]
struct Looked {
    command: Command,
    order: Box<OpenCommand>,
    view: SessionView,
}

impl Handler<Looked> for Supervisor {
    type Result = ();

    fn handle(&mut self, Looked { command, order, view }: Looked, ctx: &mut Context<Self>) {
        let (texts, count) = (&self.settings.texts, view.waiting.to_string());
        let text = match (command, &view) {
            (Command::Queue, SessionView { waiting: 0, .. }) => texts.queue_empty.plain(),
            (Command::Queue, _) => texts.queue.render(&[("count", &count)]),
            (_, SessionView { running: Some((_, since)), .. }) => {
                let time = self.clock.wall().since(*since).map(spoken).unwrap_or_default();
                texts.status_running.render(&[("left", &time), ("count", &count)])
            }
            (_, SessionView { cut: Some(cut), .. }) if cut.asks => texts.status_asks.render(&[("count", &count)]),
            (_, SessionView { cut: Some(cut), .. }) => {
                texts.status_cut.render(&[("cause", cut.cause.as_deref().unwrap_or("crash")), ("count", &count)])
            }
            _ => texts.status_idle.render(&[("count", &count)]),
        };
        self.settle(&order, &text, ctx);
    }
}
