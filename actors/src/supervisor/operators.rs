//! What operators and embedders ask for: how things are, a hold and its end, questions to the ledger, and orders about what is in it.

use std::time::Duration;

use actix::{AsyncContext, Context, Handler, MessageResult, ResponseFuture};
use tokio::sync::oneshot;

use super::{Stage, Supervisor};
use crate::ids::SessionKey;
use crate::ledger::{Done, Step};
use crate::protocol::{AdapterHealth, GetStatus, Hold, Inquire, Order, Resume, Status};

impl Handler<Hold> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Hold, _: &mut Context<Self>) {
        tracing::info!("turns are held");
        self.held = true;
        self.set_gates();
    }
}

impl Handler<Resume> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Resume, ctx: &mut Context<Self>) {
        let looped = std::mem::take(&mut self.looped);
        if std::mem::take(&mut self.held) || looped {
            tracing::info!("turns may start again");
        }
        self.set_gates();
        if looped {
            self.recover_rest(ctx);
        }
        self.run_again(ctx);
    }
}

impl Handler<Inquire> for Supervisor {
    type Result = ResponseFuture<Result<crate::ledger::Knowledge, crate::ledger::Fault>>;

    fn handle(&mut self, Inquire(question): Inquire, _: &mut Context<Self>) -> Self::Result {
        let (told, answer) = oneshot::channel();
        self.ledger.ask(question, move |knowledge| {
            let _ = told.send(knowledge);
        });
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(crate::ledger::Fault::NotCommitted("the ledger is closed".into()))) })
    }
}

impl Handler<GetStatus> for Supervisor {
    type Result = MessageResult<GetStatus>;

    fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
        /// Sessions listed at most.
        const LISTED: usize = 100;
        let now = self.clock.now();
        let mut running: Vec<_> = self.books.running().map(|(key, since)| (SessionKey::clone(key), now.since(since))).collect();
        running.sort_by(|(a_key, a), (b_key, b)| b.cmp(a).then_with(|| a_key.cmp(b_key)));
        let running_count = running.len();
        running.truncate(LISTED);
        let mut adapters: Vec<_> = self.books.adapters.iter().map(|(name, entry)| (name.clone(), entry.health.clone())).collect();
        adapters.sort_by(|(a, _), (b, _)| a.cmp(b));
        let connecting = self.books.adapters.values().filter(|entry| entry.health == AdapterHealth::Connecting);
        let waits: Vec<Duration> = connecting.map(|entry| entry.not_before.since(now)).filter(|wait| !wait.is_zero()).collect();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        MessageResult(Box::new(Status {
            instance: self.instance,
            up_ms: millis(now.0),
            not_ready: self.not_ready(),
            phase: match &self.stage {
                Stage::GoingDown(down) => Some(down.plan.phase()),
                Stage::Waking | Stage::Serving => None,
            },
            held: match (self.held, self.looped) {
                (true, _) => Some("held by an operator; `switchboard resume` ends it".to_owned()),
                (false, true) => Some("held after a crash loop; `switchboard resume` ends it".to_owned()),
                (false, false) => None,
            },
            sessions: self.books.sessions.len(),
            running: running.into_iter().map(|(key, time)| (key, millis(time))).collect(),
            running_count,
            waiting: self.books.sessions.values().map(|entry| entry.waiting as usize).sum(),
            unclean_starts: self.unclean_starts,
            ledger: self.ledger_health.clone(),
            adapters,
            adapters_waiting: waits.len(),
            adapters_wait_ms: waits.iter().map(|wait| millis(*wait)).max().unwrap_or(0),
            accepted: self.accepted,
            delivered: self.delivered,
            abandoned: self.abandoned,
        }))
    }
}

impl Supervisor {
    /// Every part that is not ready, by name; nothing: it can serve.
    fn not_ready(&self) -> Vec<String> {
        let mut parts = Vec::new();
        match self.stage {
            Stage::Waking => parts.push("starting".to_owned()),
            Stage::GoingDown(_) => parts.push("going down".to_owned()),
            Stage::Serving if self.ready.is_none() => parts.push("adapters: none has connected yet".to_owned()),
            Stage::Serving => {}
        }
        if self.held {
            parts.push("held by an operator".to_owned());
        }
        if self.unread {
            parts.push("ledger: what the last life left open cannot be read".to_owned());
        }
        if let Err(reason) = &self.ledger_health {
            parts.push(format!("ledger: {reason}"));
        }
        if let Some(reason) = &self.ledger_full {
            parts.push(format!("ledger: {reason}"));
        }
        let all_broken =
            !self.books.adapters.is_empty() && self.books.adapters.values().all(|entry| matches!(entry.health, AdapterHealth::Broken(_)));
        if self.ready.is_some() && all_broken {
            parts.push("adapters: none is connected".to_owned());
        }
        parts
    }
}

impl Handler<Order> for Supervisor {
    type Result = ResponseFuture<Result<Done, String>>;

    fn handle(&mut self, order: Order, ctx: &mut Context<Self>) -> Self::Result {
        let at = self.clock.wall();
        let step = match order {
            Order::RetryTurn(turn) => Step::TurnRetry { seq: self.sequence.next_seq(), turn, at },
            Order::DropTurn(turn) => Step::TurnDrop { turn },
            Order::RetryOutbox(id) => Step::OutboxRetry { id, at },
            Order::DropOutbox(id) => Step::OutboxDrop { id },
            Order::Approve(code) => Step::PairApprove { code, at },
            Order::Revoke(adapter, user) => Step::PairRevoke { adapter, user },
            Order::MoveAdapter(from, _) | Order::DropAdapter(from) if self.books.adapters.contains_key(&from) => {
                let reason = format!("the adapter {from} is configured and runs; its rows are in use. Disable it first, and reload");
                return Box::pin(async move { Err(reason) });
            }
            Order::MoveAdapter(from, _) | Order::DropAdapter(from) if self.books.retired.contains_key(&from) => {
                let reason = format!("a task of the adapter {from} still runs; its rows are in use. See `switchboard turns list`");
                return Box::pin(async move { Err(reason) });
            }
            Order::MoveAdapter(from, to) => Step::MoveAdapter { from, to },
            Order::DropAdapter(adapter) => Step::DropAdapter { adapter },
        };
        let ((told, answer), me) = (oneshot::channel(), ctx.address());
        let written = step.clone();
        self.ledger.write(step, move |result| {
            let result = result.map_err(|unable| unable.to_string());
            me.do_send(Ordered { step: written, done: result.clone().ok() });
            let _ = told.send(result);
        });
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err("the gateway ended before it could answer".into())) })
    }
}

/// An operator's order is durable, and what it means for who is in memory follows.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Ordered {
    step: Step,
    done: Option<Done>,
}

impl Handler<Ordered> for Supervisor {
    type Result = ();

    fn handle(&mut self, Ordered { step, done }: Ordered, ctx: &mut Context<Self>) {
        match (step, done) {
            (Step::PairApprove { .. }, Some(Done::Paired { adapter, user, .. })) => self.desk.doors.let_in(adapter, user),
            (Step::PairRevoke { adapter, user }, Some(Done::Ok)) => self.desk.doors.shut_out(&adapter, &user),
            (Step::TurnRetry { .. }, Some(Done::Ok)) => self.wake_waiting(ctx),
            (Step::OutboxRetry { id, .. } | Step::OutboxDrop { id }, Some(Done::Ok)) => self.reload_outbox(id, ctx),
            (Step::MoveAdapter { to, .. }, Some(Done::Moved(_))) => self.take_over(to, ctx),
            _ => {}
        }
    }
}
