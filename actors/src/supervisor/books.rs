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

#[cfg(test)]
mod tests {
    use actix::{AsyncContext as _, Context};

    use super::*;
    use crate::ids::Seq;

    fn key(room: &str) -> SessionKey {
        SessionKey { chat: ChatId::new("a", room), member: None }
    }

    /// A session with so many messages waiting; told to leave, with so many since.
    fn entry(waiting: u32, leaving: Option<u32>) -> Entry {
        let addr = Context::<SessionActor>::new().address();
        Entry { addr, life: 1, routed: 0, last: Moment::default(), waiting, running: None, leaving }
    }

    /// Books on room 1, in memory or not and with messages that wait elsewhere, and on a neighbour.
    fn books(here: Option<(u32, Option<u32>)>, away: Option<u32>) -> Books {
        let mut books = Books::default();
        books.sessions.extend(here.map(|(waiting, leaving)| (Arc::new(key("1")), entry(waiting, leaving))));
        books.away.extend(away.map(|mail| (key("1"), mail)));
        books.sessions.insert(Arc::new(key("neighbour")), entry(7, None));
        books.away.insert(key("far neighbour"), 7);
        books
    }

    #[test]
    fn every_life_has_a_number_of_its_own() {
        let mut books = Books::default();
        assert_eq!([books.next_life(), books.next_life(), books.next_life()], [1, 2, 3]);
    }

    #[test]
    fn g21_what_waits_is_counted_wherever_it_waits_and_taken_back_there() {
        let check = |here, away, waits, taken_back| {
            let mut books = books(here, away);
            assert_eq!(books.waiting(&key("1")), waits, "{here:?} {away:?}");
            books.unroute(&key("1"));
            assert_eq!(books.waiting(&key("1")), taken_back, "{here:?} {away:?}");
            assert_eq!((books.waiting(&key("neighbour")), books.waiting(&key("far neighbour"))), (7, 7));
        };
        check(None, None, 0, 0);
        check(None, Some(3), 3, 2);
        check(None, Some(0), 0, 0);
        check(Some((2, None)), None, 2, 1);
        check(Some((0, None)), None, 0, 0);
        check(Some((2, Some(3))), None, 5, 4);
        check(Some((2, Some(0))), None, 2, 2);
        check(Some((2, None)), Some(3), 5, 4);
    }

    #[test]
    fn g06_who_waits_and_answers_no_roll_call_is_known_all_the_same() {
        let check = |here, away, expected: bool, works: bool| {
            let books = books(here, away);
            let expecting = Arc::new(key("1"));
            let found = books.work_of_the_absent(expected.then_some(&expecting).into_iter());
            assert!(found.contains(&key("far neighbour")) && !found.contains(&key("neighbour")), "{found:?}");
            assert_eq!(found.contains(&key("1")), works, "{here:?} {away:?} expected: {expected}");
        };
        check(None, None, false, false);
        check(None, None, true, true);
        check(None, Some(0), false, false);
        check(None, Some(1), false, true);
        check(Some((5, None)), None, false, false);
        check(Some((5, None)), None, true, false);
        check(Some((5, None)), Some(1), false, false);
        check(Some((5, Some(0))), None, false, false);
        check(Some((5, Some(1))), None, false, true);
    }

    #[test]
    fn g10_a_reply_is_owed_until_its_last_row_is_settled() {
        let (mut books, row) = (books(None, None), |number| OutboxId(Seq(number)));
        books.owes(&key("1"), [row(1), row(2)]);
        books.owes(&key("2"), []);
        assert_eq!(books.census().iter().filter(|(_, live)| !live).count(), 1);
        assert!(!books.settled(&key("1"), row(1)) && !books.settled(&key("2"), row(1)));
        assert!(books.settled(&key("1"), row(2)) && !books.settled(&key("1"), row(2)));
        assert_eq!(books.census().len(), 1, "the neighbour");
    }
}
