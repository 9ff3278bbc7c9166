//! How a child is started, watched and restarted: the only way an actor comes to life here.
//!
//! `actix::Supervisor` never restarts after a panic. The runner below polls an actor's context behind `catch_unwind`; after a panic it
//! waits its back-off and restarts the same context, so that the child keeps its address and its queue: only the message
//! that crashed it is gone. `Supervised::restarting` must then build the actor's state anew. A child whose budget of
//! restarts is spent ends for good, and its death watch says so: no child ends silently.
//!
//! Panics must unwind for this: never build with `panic = "abort"`.

pub mod intensity;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Task, Poll};

use actix::dev::ContextFut;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Supervised};
use tokio::sync::watch;

use crate::clock::Clock;
use intensity::{Intensity, Next};

/// How a child is to be run.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Its name in logs.
    pub name: Name,
    /// How often it may be restarted.
    pub intensity: Intensity,
}

/// What a child is called in logs: ours or an operator's words, never foreign text.
#[derive(Clone, Debug)]
pub enum Name {
    /// One of few.
    Fixed(Arc<str>),
    /// One of many, which costs nothing until it is said.
    Numbered(&'static str, u64),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Fixed(name) => f.write_str(name),
            Name::Numbered(kind, number) => write!(f, "{kind} {number}"),
        }
    }
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It stopped by itself, or nobody held its address any more.
    Stopped,
    /// It panicked more often than its budget allows; the last panic's words.
    Spent(String),
}

/// Where children come to life, and how many live.
#[derive(Clone, Debug)]
pub struct Nursery(Arc<House>);

/// What all children share.
#[derive(Debug)]
struct House {
    clock: Clock,
    lives: AtomicUsize,
    /// True once nobody is to stand up again.
    closed: watch::Sender<bool>,
}

impl Nursery {
    /// A nursery without children.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(House { clock, lives: AtomicUsize::new(0), closed: watch::Sender::new(false) }))
    }

    /// How many children live now.
    pub fn lives(&self) -> usize {
        self.0.lives.load(Ordering::SeqCst)
    }

    /// Everybody has been told to go: whoever fell and rests ends where they lie, instead of standing up only to hear that.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }

    /// Starts a child on the current arbiter. `watch` is called once, when it has ended.
    pub fn start<A>(&self, spec: ChildSpec, make: impl FnOnce(&mut Context<A>) -> A, watch: impl FnOnce(Ended) + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>> + Supervised,
    {
        let mut ctx = Context::new();
        let actor = make(&mut ctx);
        let addr = ctx.address();
        self.0.lives.fetch_add(1, Ordering::SeqCst);
        actix_rt::spawn(Runner {
            body: Some(ctx.into_future(actor)),
            spec,
            house: self.0.clone(),
            rest: None,
            watch: Some(Box::new(watch)),
        });
        addr
    }
}

/// One child's life.
struct Runner<A: Actor<Context = Context<A>> + Supervised> {
    body: Option<ContextFut<A, Context<A>>>,
    spec: ChildSpec,
    house: Arc<House>,
    /// The back-off after a panic; it comes to whether the child stands up again.
    rest: Option<Pin<Box<dyn Future<Output = bool>>>>,
    /// Is told how it ended. While it is here, the child is counted among those that live.
    watch: Option<Box<dyn FnOnce(Ended)>>,
}

// Nothing in here is ever moved out of a pin: the context is `Unpin` by its own bounds.
impl<A: Actor<Context = Context<A>> + Supervised> Unpin for Runner<A> {}

impl<A: Actor<Context = Context<A>> + Supervised> Future for Runner<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if let Some(rest) = &mut this.rest {
                let Poll::Ready(stands_up) = rest.as_mut().poll(task) else { return Poll::Pending };
                this.rest = None;
                let end = if stands_up { this.wake() } else { Some(Ended::Stopped) };
                if let Some(end) = end {
                    return this.end(end);
                }
            }
            let Some(body) = &mut this.body else { return Poll::Ready(()) };
            match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll(task))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => return this.end(Ended::Stopped),
                Err(panic) => {
                    if let Some(end) = this.fall(panic.as_ref()) {
                        return this.end(end);
                    }
                }
            }
        }
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Runner<A> {
    /// Restarts the body after its back-off.
    fn wake(&mut self) -> Option<Ended> {
        let body = self.body.as_mut()?;
        match catch_unwind(AssertUnwindSafe(|| body.restart())) {
            Ok(true) => None,
            Ok(false) => Some(Ended::Stopped),
            Err(panic) => self.fall(panic.as_ref()),
        }
    }

    /// Takes a panic to its consequence: a back-off, or the end.
    fn fall(&mut self, panic: &(dyn Any + Send)) -> Option<Ended> {
        let words = words_of(panic);
        match self.spec.intensity.fallen(self.house.clock.now(), fastrand::f64()) {
            Next::Again { after } => {
                tracing::error!(child = %self.spec.name, panic = %words, ?after, "child panicked, restarting");
                let mut closed = self.house.closed.subscribe();
                self.rest = Some(Box::pin(async move { tokio::time::timeout(after, closed.wait_for(|closed| *closed)).await.is_err() }));
                None
            }
            Next::Spent => {
                tracing::error!(child = %self.spec.name, panic = %words, "child panicked, restart budget spent");
                Some(Ended::Spent(words))
            }
        }
    }

    fn end(&mut self, end: Ended) -> Poll<()> {
        if let Some(mut body) = self.body.take() {
            // A body that is dropped while it believes to be alive is polled once more by its own `Drop`.
            body.ctx().terminate();
            if catch_unwind(AssertUnwindSafe(|| drop(body))).is_err() {
                tracing::error!(child = %self.spec.name, "child panicked while it was dropped");
            }
        }
        if let Some(watch) = self.watch.take() {
            self.house.lives.fetch_sub(1, Ordering::SeqCst);
            watch(end);
        }
        Poll::Ready(())
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Drop for Runner<A> {
    /// The arbiter goes down with the child still alive: it is not leaked, the whole runtime ends.
    fn drop(&mut self) {
        if let Some(body) = &mut self.body {
            body.ctx().terminate();
        }
        if self.watch.take().is_some() {
            self.house.lives.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// What a panic said.
pub fn words_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".into())
}

#[cfg(test)]
mod tests;
