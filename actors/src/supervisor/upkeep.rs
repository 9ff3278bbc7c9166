//! What the root does by itself, again and again: it asks sessions that are quiet whether they would leave memory, and lets the ledger forget what is
//! old. Neither loses anything: who is quiet comes back with the next word, and what is open is never old.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler};

use super::books::Entry;
use super::{Stage, Supervisor};
use crate::clock::Wall;
use crate::ids::SessionKey;
use crate::ledger::{Done, Step};
use crate::protocol::Doze;

impl Supervisor {
    /// Asks sessions that have been quiet for long whether they would leave memory; again and again.
    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        if let Some(sweeper) = self.sweeper.take() {
            ctx.cancel_future(sweeper);
        }
        /// Questions per sweep at most: the rest has time until the next one.
        const MOST: usize = 4096;
        let (now, idle) = (self.clock.now(), self.settings.session.idle_after);
        if matches!(self.stage, Stage::Serving) {
            let quiet = |(_, entry): &(&Arc<SessionKey>, &Entry)| {
                entry.leaving.is_none() && entry.running.is_none() && now.since(entry.last) >= idle
            };
            // In one order, so that a world that is played again goes as it went.
            let mut quiet: Vec<_> = self.books.sessions.iter().filter(quiet).take(MOST).collect();
            quiet.sort_unstable_by_key(|(key, _)| *key);
            for (_, entry) in quiet {
                entry.addr.do_send(Doze);
            }
        }
        self.sweeper = Some(ctx.run_later((idle / 4).max(Duration::from_millis(100)), Self::sweep));
    }

    /// Lets the ledger forget what is old; again and again.
    pub(super) fn prune(&mut self, ctx: &mut Context<Self>) {
        self.prune_some(ctx);
        ctx.run_later(self.settings.ledger.prune_every, Self::prune);
    }

    /// Lets it forget as much as fits into a short commit; and at once as much again, until nothing is old any more.
    fn prune_some(&self, ctx: &mut Context<Self>) {
        /// Rows of a kind per step at most.
        const MOST: u32 = 1000;
        let ledger = &self.settings.ledger;
        if matches!(self.stage, Stage::Serving) && self.ledger_health.is_ok() {
            let keep = i64::try_from(ledger.keep.as_millis()).unwrap_or(i64::MAX);
            let before = Wall(self.clock.careful_wall().0.saturating_sub(keep));
            let me = ctx.address();
            self.ledger.write(Step::Prune { before, most: MOST }, move |result| {
                if matches!(result, Ok(Done::Moved(rows)) if rows >= MOST) {
                    me.do_send(PruneMore);
                }
            });
        }
    }
}

/// There may be more that is old.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct PruneMore;

impl Handler<PruneMore> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: PruneMore, ctx: &mut Context<Self>) {
        self.prune_some(ctx);
    }
}
