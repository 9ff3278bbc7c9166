//! One run of an agent, from the session's side: started, listened to, cut, and counted when it will not yield.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{AsyncContext, Context, Recipient};
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::{Reported, SessionActor, Shared};
use crate::agent::{Agent, Decision, Report, Task};
use crate::children::{Child, Reaper};
use crate::clock::Moment;
use crate::ids::TurnId;
use crate::protocol::{RunOver, SessionNews};
use crate::supervision::words_of;

/// News that may wait between an agent and its session.
const NEWS: usize = 64;
/// What is kept of a reply while it grows, in bytes; an agent that never ends fills no memory here.
const KEPT: usize = 1 << 20;

/// A run under way. Dropping it aborts the agent and ends its children, also where its session fell for good.
pub(super) struct Work {
    turn: TurnId,
    /// The attempt under which it began.
    attempt: u32,
    decisions: Vec<Decision>,
    /// Where it waits for a decision.
    waits: Option<oneshot::Sender<bool>>,
    children: Vec<Child>,
    reaper: Arc<dyn Reaper>,
    agent: AbortHandle,
    /// Set by the task itself as the last thing it does, also when it is dropped.
    over: Arc<AtomicBool>,
    /// The reply so far, how long it is in UTF-16 code units, and when it was last shown.
    text: String,
    units: usize,
    shown: Option<Moment>,
}

/// Says that a task is over, however it ended.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Work {
    /// Sets the agent to work on its own runtime. Its news and its end come to the session as messages.
    pub(super) fn begin(shared: &Shared, agent: Arc<dyn Agent>, task: Task, ctx: &mut Context<SessionActor>) -> Self {
        let (turn, attempt, decisions) = (task.turn, task.attempt, task.decisions.clone());
        let (report, mut news) = Report::channel(NEWS);
        let over = Arc::new(AtomicBool::new(false));
        let (reported, ended) = (ctx.address().recipient::<Reported>(), ctx.address().recipient::<RunOver>());
        let guard = Over(over.clone());
        let work = shared.agents.spawn(async move {
            let _guard = guard;
            // `run` itself may panic before it returns a future.
            let run = AssertUnwindSafe(async { agent.run(task, report).await }).catch_unwind();
            tokio::pin!(run);
            let end = loop {
                tokio::select! {
                    biased;
                    Some(news) = news.recv() => {
                        // The question waits for room in the session's queue, so an agent that floods only slows itself.
                        if reported.send(Reported { turn, attempt, news }).await.is_err() {
                            return;
                        }
                    }
                    end = &mut run => break end,
                }
            };
            while let Ok(news) = news.try_recv() {
                let _ = reported.send(Reported { turn, attempt, news }).await;
            }
            ended.do_send(RunOver { turn, attempt, end: end.map_err(|panic| words_of(panic.as_ref())) });
        });
        let (agent, children, reaper) = (work.abort_handle(), Vec::new(), shared.reaper.clone());
        Self { turn, attempt, decisions, waits: None, children, reaper, agent, over, text: String::new(), units: 0, shown: None }
    }

    /// The turn it works on.
    pub(super) fn turn(&self) -> TurnId {
        self.turn
    }

    /// Whose news are its own: the turn, and the attempt under which it began.
    pub(super) fn key(&self) -> (TurnId, u32) {
        (self.turn, self.attempt)
    }

    /// It asks for approval of a call. What was decided in an earlier run is answered at once; `true`: somebody has to be asked.
    pub(super) fn ask(&mut self, call: &str, decided: oneshot::Sender<bool>) -> bool {
        match self.decisions.iter().find(|decision| decision.call == call) {
            Some(Decision { approved, .. }) => {
                let _ = decided.send(*approved);
                false
            }
            None => {
                self.waits = Some(decided);
                true
            }
        }
    }

    /// What it waited for is decided.
    pub(super) fn decide(&mut self, approved: bool) {
        if let Some(waits) = self.waits.take() {
            let _ = waits.send(approved);
        }
    }

    /// A child works for it.
    pub(super) fn add_child(&mut self, child: Child) {
        self.children.push(child);
    }

    /// Ends its children, with whatever they left behind. `false`: it had none.
    pub(super) fn end_children(&mut self) -> bool {
        let children = std::mem::take(&mut self.children);
        children.iter().for_each(|child| self.reaper.end(child));
        !children.is_empty()
    }

    /// The reply so far; what follows is another message.
    pub(super) fn take_text(&mut self) -> String {
        (self.shown, self.units) = (None, 0);
        let mut text = std::mem::take(&mut self.text);
        text.push_str("\n\n");
        text
    }

    /// Takes another piece of the reply; the whole so far when it is time to show it, within one message.
    pub(super) fn grow(&mut self, piece: &str, now: Moment, every: Duration, most: usize) -> Option<String> {
        if self.text.len() + piece.len() <= KEPT {
            self.text.push_str(piece);
        }
        self.units += piece.encode_utf16().count();
        let since = *self.shown.get_or_insert(now);
        if now.since(since) < every || self.text.trim().is_empty() || self.units > most {
            return None;
        }
        self.shown = Some(now);
        Some(self.text.clone())
    }

    /// Cuts the agent. One that does not yield is counted as abandoned after `patience`, until it does.
    pub(super) fn abort(self, patience: Duration, news: Recipient<SessionNews>) {
        self.agent.abort();
        let over = self.over.clone();
        if over.load(Ordering::Acquire) {
            return;
        }
        drop(self);
        actix_rt::spawn(async move {
            tokio::time::sleep(patience).await;
            if over.load(Ordering::Acquire) {
                return;
            }
            news.do_send(SessionNews::Abandoned { more: true });
            while !over.load(Ordering::Acquire) {
                tokio::time::sleep(patience).await;
            }
            news.do_send(SessionNews::Abandoned { more: false });
        });
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.agent.abort();
        self.end_children();
    }
}
