//! The connection of an adapter: made, listened to, found deaf, and made again, for ever.
//!
//! *Connected* is said only once the platform was heard: a dial that succeeds proves nothing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message, Recipient};
use futures_util::FutureExt;
use tokio::task::AbortHandle;

use super::AdapterActor;
use super::outbox::Event;
use crate::clock::Moment;
use crate::ids::{Account, AdapterName, Cursor};
use crate::ledger::{Knowledge, Question, Step};
use crate::platform::{Connection, Listener, Offer, PlatformError, Speaker, Taken};
use crate::protocol::{AdapterHealth, Offered};
use crate::supervision::intensity::backoff;
use crate::supervision::words_of;

/// Where the connection stands.
pub(super) struct Line {
    /// The wait before the very first try.
    wait: Duration,
    failures: u32,
    /// Tells connections apart: news of an older one are ignored.
    life: u64,
    state: State,
}

enum State {
    Down,
    Up { account: Account, speaker: Arc<dyn Speaker>, listener: Option<Box<dyn Listener>>, task: Option<AbortHandle>, heard: Moment },
}

impl Line {
    pub(super) fn new(wait: Duration) -> Self {
        Self { wait, failures: 0, life: 0, state: State::Down }
    }

    /// The way out, while there is one.
    pub(super) fn speaker(&self) -> Option<Arc<dyn Speaker>> {
        match &self.state {
            State::Up { speaker, .. } => Some(speaker.clone()),
            State::Down => None,
        }
    }

    /// Gives the connection up; whatever it was doing is cut.
    pub(super) fn drop_connection(&mut self) {
        self.life += 1;
        if let State::Up { task: Some(task), .. } = std::mem::replace(&mut self.state, State::Down) {
            task.abort();
        }
    }
}

impl AdapterActor {
    /// Connects after the present wait.
    pub(super) fn connect_later(&mut self, ctx: &mut Context<Self>) {
        let wait = std::mem::take(&mut self.line.wait);
        if wait.is_zero() {
            return self.connect(ctx);
        }
        let life = self.line.life;
        ctx.run_later(wait, move |adapter, ctx| {
            if adapter.line.life == life {
                adapter.connect(ctx);
            }
        });
    }

    fn connect(&mut self, ctx: &mut Context<Self>) {
        if self.closing {
            return;
        }
        self.line.life += 1;
        let (life, me, platform) = (self.line.life, ctx.address().recipient::<Dialled>(), self.platform.clone());
        let limit = self.shared.settings.now().connection.connect_limit;
        self.shared.io.spawn(async move {
            let dial = AssertUnwindSafe(async { platform.connect().await }).catch_unwind();
            let result = match tokio::time::timeout(limit, dial).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(broken(format!("the platform's code panicked: {}", words_of(panic.as_ref())))),
                Err(_) => Err(broken(format!("no connection within {limit:?}"))),
            };
            me.do_send(Dialled { life, result });
        });
    }

    /// Gives the connection up for another, at once. What is being sent on the old one is told by it.
    pub(super) fn connect_anew(&mut self, ctx: &mut Context<Self>) {
        self.closing = false;
        self.line.drop_connection();
        (self.line.failures, self.line.wait) = (0, Duration::ZERO);
        self.on(Event::Disconnected, ctx);
        self.health(AdapterHealth::Connecting);
        self.connect(ctx);
    }

    fn fail(&mut self, error: &PlatformError, ctx: &mut Context<Self>) {
        self.line.drop_connection();
        self.on(Event::Disconnected, ctx);
        let settings = self.shared.settings.now();
        let connection = &settings.connection;
        let wait = match error {
            PlatformError::Closed => {
                tracing::info!(adapter = %self.set.name, "adapter ended");
                return self.health(AdapterHealth::Ended);
            }
            PlatformError::Broken { retry_after: Some(after), .. } => (*after).min(connection.retry_most.max(Duration::from_secs(3600))),
            PlatformError::Broken { .. } => backoff(connection.retry_first, connection.retry_most, self.line.failures, fastrand::f64()),
            PlatformError::Refused { .. } => connection.retry_most,
        };
        self.line.failures += 1;
        match error {
            PlatformError::Refused { .. } => tracing::error!(adapter = %self.set.name, %error, ?wait, "adapter refused"),
            _ => tracing::warn!(adapter = %self.set.name, %error, ?wait, "adapter broken, connecting again"),
        }
        self.health(AdapterHealth::Broken(error.to_string()));
        self.line.wait = wait;
        self.connect_later(ctx);
    }

    /// Finds the connection deaf when nothing was heard for too long.
    fn check_hearing(&mut self, life: u64, ctx: &mut Context<Self>) {
        let State::Up { heard, .. } = &self.line.state else { return };
        if self.line.life != life {
            return;
        }
        let (patience, silent) = (self.shared.settings.now().connection.deaf_after, self.shared.clock.now().since(*heard));
        if silent >= patience {
            return self.fail(&broken(format!("deaf: nothing heard for {} s", silent.as_secs())), ctx);
        }
        ctx.run_later(patience - silent, move |adapter, ctx| adapter.check_hearing(life, ctx));
    }
}

fn broken(reason: String) -> PlatformError {
    PlatformError::Broken { reason, retry_after: None }
}

/// What came of a dial.
#[derive(Message)]
#[rtype(result = "()")]
struct Dialled {
    life: u64,
    result: Result<Connection, PlatformError>,
}

impl Handler<Dialled> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Dialled { life, result }: Dialled, ctx: &mut Context<Self>) {
        if life != self.line.life || self.closing {
            return;
        }
        let Connection { account, listener, speaker } = match result {
            Ok(connection) => connection,
            Err(error) => return self.fail(&error, ctx),
        };
        let heard = self.shared.clock.now();
        self.line.state = State::Up { account: account.clone(), speaker, listener: Some(listener), task: None, heard };
        self.connected(ctx);
        self.find_place(life, account, ctx);
        self.check_hearing(life, ctx);
    }
}

impl AdapterActor {
    /// Asks the ledger where this account was read up to, until it answers.
    fn find_place(&mut self, life: u64, account: Account, ctx: &mut Context<Self>) {
        let me = ctx.address();
        self.shared.ledger.ask(Question::Cursor(account), move |answer| {
            me.do_send(Placed { life, answer: answer.ok() });
        });
    }
}

/// Where the account was read up to; `None`: the ledger could not say.
#[derive(Message)]
#[rtype(result = "()")]
struct Placed {
    life: u64,
    answer: Option<Knowledge>,
}

impl Handler<Placed> for AdapterActor {
    type Result = ();

    fn handle(&mut self, Placed { life, answer }: Placed, ctx: &mut Context<Self>) {
        if life != self.line.life {
            return;
        }
        let State::Up { account, listener, task, .. } = &mut self.line.state else { return };
        let Some(Knowledge::Cursor(cursor)) = answer else {
            let account = account.clone();
            ctx.run_later(self.shared.settings.now().ledger.retry_first, move |adapter, ctx| {
                if adapter.line.life == life {
                    adapter.find_place(life, account, ctx);
                }
            });
            return;
        };
        let Some(listener) = listener.take() else { return };
        let ear = Ear {
            life,
            adapter: self.set.name.clone(),
            account: account.clone(),
            desk: self.shared.upward.offered.clone(),
            news: ctx.address().recipient(),
        };
        *task = Some(self.shared.io.spawn(ear.listen(listener, cursor)).abort_handle());
    }
}

/// What hears the platform, on the I/O runtime.
struct Ear {
    life: u64,
    adapter: AdapterName,
    account: Account,
    desk: Recipient<Offered>,
    news: Recipient<HeardNews>,
}

impl Ear {
    async fn listen(self, listener: Box<dyn Listener>, cursor: Option<Cursor>) {
        let end = match AssertUnwindSafe(self.hear(listener, cursor)).catch_unwind().await {
            Ok(error) => error,
            Err(panic) => broken(format!("the platform's code panicked: {}", words_of(panic.as_ref()))),
        };
        self.news.do_send(HeardNews { life: self.life, what: What::Ended(end) });
    }

    async fn hear(&self, mut listener: Box<dyn Listener>, cursor: Option<Cursor>) -> PlatformError {
        listener.resume(cursor);
        loop {
            let offers = match listener.next().await {
                Ok(offers) => offers,
                Err(error) => return error,
            };
            self.news.do_send(HeardNews { life: self.life, what: What::Something });
            self.pass_on(offers).await;
        }
    }

    /// Hands offers to the desk. Where the platform has a cursor it is written only once the whole batch is accepted: one that moved with a
    /// later message of a batch could pass over an earlier one that failed.
    async fn pass_on(&self, offers: Vec<Offer>) {
        let mut cursor = None;
        let mut waiting = Vec::new();
        for offer in offers {
            let Some(place) = offer.inbound.cursor.clone() else {
                self.offer(offer);
                continue;
            };
            cursor = Some(place);
            let (proxy, taken) = Offer::new(offer.inbound);
            self.offer(proxy);
            waiting.push((offer.receipt, taken));
        }
        let mut all = true;
        for (receipt, taken) in waiting {
            match taken.await {
                Ok(taken) => {
                    all &= taken == Taken::Accepted;
                    receipt.settle(taken);
                }
                Err(_) => all = false,
            }
        }
        if let (true, Some(cursor)) = (all, cursor) {
            self.news.do_send(HeardNews { life: self.life, what: What::ReadUpTo(cursor) });
        }
    }

    fn offer(&self, offer: Offer) {
        self.desk.do_send(Offered { adapter: self.adapter.clone(), account: self.account.clone(), offer });
    }
}

/// News from the listener's task.
#[derive(Message)]
#[rtype(result = "()")]
struct HeardNews {
    life: u64,
    what: What,
}

enum What {
    Something,
    ReadUpTo(Cursor),
    Ended(PlatformError),
}

impl Handler<HeardNews> for AdapterActor {
    type Result = ();

    fn handle(&mut self, HeardNews { life, what }: HeardNews, ctx: &mut Context<Self>) {
        if life != self.line.life {
            return;
        }
        let State::Up { account, heard, .. } = &mut self.line.state else { return };
        match what {
            What::Something => {
                *heard = self.shared.clock.now();
                self.line.failures = 0;
                self.health(AdapterHealth::Connected);
            }
            What::ReadUpTo(cursor) => {
                let account = account.clone();
                self.shared.ledger.lazily(Step::Cursor { account, cursor });
            }
            What::Ended(error) => self.fail(&error, ctx),
        }
    }
}
