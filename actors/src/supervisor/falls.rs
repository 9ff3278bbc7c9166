//! When a child falls: what its death watch tells is taken to its consequence. A session that fell too often gets a verdict for its turn,
//! and is built anew from the ledger; no child ends silently.

use std::sync::Arc;

use actix::{AsyncContext, Context, Handler};

use super::{Stage, Supervisor, waking};
use crate::ids::{Seq, SessionKey};
use crate::ledger::{Done, End, Finish, Knowledge, Question, Step, TurnRow, TurnState, What, Word};
use crate::protocol::{AdapterHealth, Bulletin, Child, Fallen};
use crate::supervision::Ended;

impl Handler<Fallen> for Supervisor {
    type Result = ();

    fn handle(&mut self, Fallen { child, ended }: Fallen, ctx: &mut Context<Self>) {
        match (child, ended) {
            (Child::Session(key, life), ended) => self.session_fell(&key, life, &ended, ctx),
            (Child::Adapter(name, life), ended) => {
                tracing::debug!(adapter = %name, ?ended, "adapter actor ended");
                if let Some(entry) = self.books.adapters.get_mut(&name).filter(|entry| entry.life == life) {
                    entry.alive = false;
                    entry.health = AdapterHealth::Ended;
                }
                self.flushed(&name, ctx);
                self.adapter_closed(&name, ctx);
            }
            (Child::Ledger, Ended::Spent(words)) => {
                (self.bulletin)(Bulletin::Lost(format!("the ledger's writer fell too often: {words}")));
            }
            (Child::Marker, Ended::Spent(words)) => tracing::error!(%words, "the marker's keeper fell too often; no flag will be written"),
            (Child::Ledger | Child::Marker, Ended::Stopped) => {}
        }
    }
}

impl Supervisor {
    fn session_fell(&mut self, key: &Arc<SessionKey>, life: u64, ended: &Ended, ctx: &mut Context<Self>) {
        if self.books.sessions.get(key).is_none_or(|entry| entry.life != life) {
            return;
        }
        let Some(entry) = self.books.sessions.remove(key) else { return };
        if self.admitted.as_ref() == Some(key) {
            self.admitted = None;
            self.turn_turnstile();
        }
        self.again.over(key);
        self.left_retired(&key.chat.adapter);
        match (ended, entry.leaving) {
            // It left as it was told; what came since is for its successor.
            (Ended::Stopped, Some(0)) => {}
            (Ended::Stopped, Some(_)) => self.route(key),
            (Ended::Stopped, None) => {}
            (Ended::Spent(words), _) => {
                tracing::error!(session = %key, panic = %words, "session fell too often");
                self.give_verdict(key.clone(), self.sequence.last(), ctx);
                // Built anew from the ledger, with a new budget, once this one's time has passed.
                let key = key.clone();
                ctx.run_later(self.settings.supervision.within, move |supervisor, _| supervisor.route(&key));
            }
        }
    }
}

impl Supervisor {
    /// The turn that ran in a session which is given up for now gets its verdict: nobody else would, while this life lasts. Turns with a
    /// number above `fell` are its successor's.
    fn give_verdict(&mut self, key: Arc<SessionKey>, fell: Seq, ctx: &mut Context<Self>) {
        let me = ctx.address();
        self.ledger.ask(Question::Turns, move |answer| {
            let turns = match answer {
                Ok(Knowledge::Turns(turns)) => Some(turns),
                _ => None,
            };
            me.do_send(LeftRunning { key, fell, turns });
        });
    }
}

/// Turns that run, as the ledger knows it, for the sake of a session that was given up; `None`: it could not say.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct LeftRunning {
    key: Arc<SessionKey>,
    fell: Seq,
    turns: Option<Vec<TurnRow>>,
}

impl Handler<LeftRunning> for Supervisor {
    type Result = ();

    fn handle(&mut self, LeftRunning { key, fell, turns }: LeftRunning, ctx: &mut Context<Self>) {
        let Some(turns) = turns else {
            ctx.run_later(self.settings.ledger.retry_first, move |supervisor, ctx| supervisor.give_verdict(key, fell, ctx));
            return;
        };
        if !matches!(self.stage, Stage::Serving) {
            return;
        }
        let its = |turn: &TurnRow| turn.session == *key && turn.state == TurnState::Running && turn.turn.0 <= fell;
        for left in turns.into_iter().filter(its) {
            let reason = "an internal error".to_owned();
            let text = self.settings.texts.failed.render(&[("cause", &reason)]);
            let mut replies = self.words(&key, &What::Reply { word: Word::Failed }, &text, None);
            replies.iter_mut().for_each(|row| row.turn = Some(left.turn));
            let (me, rows) = (ctx.address(), replies.clone());
            let (end, at) = (End::Failed { reason }, self.clock.wall());
            let finish = Finish { turn: left.turn, attempt: left.attempt, end, replies, request: None, at };
            self.ledger.must(Step::Finish(finish), move |result| {
                if result == Ok(Done::Ok) {
                    me.do_send(waking::Said(rows));
                }
            });
        }
        // A successor that was born meanwhile could not start beside that turn.
        if self.books.is_here(&key) {
            self.route(&key);
        }
    }
}
