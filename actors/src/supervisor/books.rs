//! The books on who is who: every session in memory, every reply owed by one that is not, every adapter.
//!
//! They only remember. A session is on them until its death watch has fired, so that a successor of the same key never runs
//! beside its predecessor.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use actix::{Addr, Recipient};

use crate::adapter::AdapterActor;
use crate::clock::Moment;
use crate::ids::{AdapterName, ChatId, OutboxId, SessionKey};
use crate::protocol::AdapterHealth;
use crate::session::{Post, SessionActor};

/// The books.
#[derive(Default)]
pub(super) struct Books {
    pub(super) sessions: HashMap<Arc<SessionKey>, Entry>,
    /// Replies of sessions that are not in memory, and answers of the desk: the outbox has them.
    pub(super) owed: HashMap<SessionKey, HashSet<OutboxId>>,
    /// Messages that wait in sessions that are not in memory, since this instance accepts no more turns.
    pub(super) away: HashMap<SessionKey, u32>,
    pub(super) adapters: HashMap<AdapterName, AdapterEntry>,
    /// Adapters that are configured no more, while something of theirs is still going on.
    pub(super) retired: HashMap<AdapterName, Retired>,
    lives: u64,
}

/// One session in memory.
pub(super) struct Entry {
    pub(super) addr: Addr<SessionActor>,
    /// Tells the lives of one key apart.
    pub(super) life: u64,
    /// Things routed to it in this life.
    pub(super) routed: u64,
    /// When something was routed to it last.
    pub(super) last: Moment,
    /// Messages that wait in it.
    pub(super) waiting: u32,
    /// Since when a turn runs.
    pub(super) running: Option<Moment>,
    /// It was told to leave; what came since waits for its successor.
    pub(super) leaving: Option<u32>,
}

/// One adapter.
pub(super) struct AdapterEntry {
    pub(super) addr: Addr<AdapterActor>,
    /// Tells the lives of one name apart.
    pub(super) life: u64,
    pub(super) kind: &'static str,
    pub(super) post: Arc<Post>,
    pub(super) health: AdapterHealth,
    /// It has connected, or failed to, at least once; or it is not to try yet, and nobody is to wait for that.
    pub(super) tried: bool,
    /// Before this moment it does not try.
    pub(super) not_before: Moment,
    pub(super) alive: bool,
}

/// An adapter that is configured no more.
pub(super) struct Retired {
    pub(super) entry: AdapterEntry,
    /// Its sessions in memory: a turn may still run there.
    pub(super) sessions: usize,
    /// Whether something is still being sent.
    pub(super) sends: bool,
}

impl Books {
    /// A number for a new life.
    pub(super) fn next_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    /// Messages that wait in a session, for the bound on its backlog.
    pub(super) fn waiting(&self, session: &SessionKey) -> u32 {
        let here = self.sessions.get(session).map_or(0, |entry| entry.waiting + entry.leaving.unwrap_or(0));
        here + self.away.get(session).copied().unwrap_or(0)
    }

    /// The census: every session in memory, and every other one with a reply that is not delivered. One that was told to leave is not in
    /// memory: it answers nothing any more.
    pub(super) fn census(&self) -> Vec<(Arc<SessionKey>, bool)> {
        let live = self.sessions.iter().filter(|(_, entry)| entry.leaving.is_none()).map(|(key, _)| (key.clone(), true));
        let owing = self.owed.keys().filter(|key| !self.is_here(key)).map(|key| (Arc::new(key.clone()), false));
        let mut census: Vec<_> = live.chain(owing).collect();
        census.sort_by(|(a, _), (b, _)| a.cmp(b));
        census
    }

    /// What a session was told of, or was to hear later, does not wait after all.
    pub(super) fn unroute(&mut self, session: &SessionKey) {
        let count = match self.sessions.get_mut(session) {
            Some(Entry { leaving: Some(mail), .. }) => mail,
            Some(entry) => &mut entry.waiting,
            None => match self.away.get_mut(session) {
                Some(mail) => mail,
                None => return,
            },
        };
        *count = count.saturating_sub(1);
    }

    /// Whether a session is in memory, to stay.
    pub(super) fn is_here(&self, session: &SessionKey) -> bool {
        self.sessions.get(session).is_some_and(|entry| entry.leaving.is_none())
    }

    /// Sessions that answer no roll call and have something waiting: those that were told to leave and were written to since, and those that
    /// are not in memory, where messages wait or a cut turn is `expected` to run again.
    pub(super) fn work_of_the_absent<'a>(&'a self, expected: impl Iterator<Item = &'a Arc<SessionKey>>) -> BTreeSet<SessionKey> {
        let expected = expected.filter(|key| !self.sessions.contains_key(*key)).map(|key| SessionKey::clone(key));
        let leaving =
            self.sessions.iter().filter(|(_, entry)| entry.leaving.is_some_and(|mail| mail > 0)).map(|(key, _)| SessionKey::clone(key));
        let away = self.away.iter().filter(|(key, mail)| **mail > 0 && !self.sessions.contains_key(*key)).map(|(key, _)| key.clone());
        leaving.chain(away).chain(expected).collect()
    }

    /// A reply of a session is settled; whether it was the last of one that is not in memory.
    pub(super) fn settled(&mut self, session: &SessionKey, row: OutboxId) -> bool {
        let Some(rows) = self.owed.get_mut(session) else { return false };
        rows.remove(&row);
        if rows.is_empty() {
            self.owed.remove(session);
            return true;
        }
        false
    }

    /// Notes replies that nobody in memory keeps count of.
    pub(super) fn owes(&mut self, session: &SessionKey, rows: impl IntoIterator<Item = OutboxId>) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_some() {
            self.owed.entry(session.clone()).or_default().extend(rows);
        }
    }

    /// The sessions whose turns run.
    pub(super) fn running(&self) -> impl Iterator<Item = (&Arc<SessionKey>, Moment)> {
        self.sessions.iter().filter_map(|(key, entry)| entry.running.map(|since| (key, since)))
    }

    /// The adapter that reaches a chat.
    pub(super) fn adapter(&self, chat: &ChatId) -> Option<&AdapterEntry> {
        self.adapters.get(&chat.adapter)
    }

    /// Who takes replies to a chat; one that is retired only keeps them in order.
    pub(super) fn mouth(&self, chat: &ChatId) -> Option<&Addr<AdapterActor>> {
        let retired = self.retired.get(&chat.adapter).map(|retired| &retired.entry);
        self.adapter(chat).or(retired).map(|entry| &entry.addr)
    }

    /// Everybody who speaks, or did, in one order.
    pub(super) fn speakers<M>(&self) -> Vec<Recipient<M>>
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
        AdapterActor: actix::Handler<M>,
    {
        let retired = self.retired.values().map(|retired| &retired.entry);
        self.adapters.values().chain(retired).filter(|entry| entry.alive).map(|entry| entry.addr.clone().recipient()).collect()
    }
}
