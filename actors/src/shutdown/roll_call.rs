//! Who is there, and which chats have to be told: a pure count over the census.
//!
//! A session answers in every state. One that does not answer in time is missing: its chat is known from the census, so it is
//! told all the same, as one whose work may be cut.

use std::collections::HashMap;
use std::sync::Arc;

use super::ticket::Seat;
use crate::clock::Moment;
use crate::ids::{ChatId, SessionKey};

/// What a session of the census is doing, as far as notices care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Not asked: it is not in memory.
    Away,
    /// Asked, and silent so far.
    Asked,
    /// Nothing that anybody waits for.
    Quiet,
    /// Only waiting messages.
    Waiting,
    /// A turn runs since then; the name of who asked, where a group shares the chat.
    Running(Moment, Option<Arc<str>>),
}

/// How much a chat is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A task may be cut.
    Running,
    /// Messages wait.
    Waiting,
}

/// One chat that has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The chat.
    pub chat: ChatId,
    /// How much.
    pub work: Work,
    /// Who asked for what runs there, where several share the chat.
    pub members: Vec<Arc<str>>,
    /// The sessions that are the reason.
    pub seats: Vec<Seat>,
    /// Whether messages wait there, too.
    pub waits: bool,
}

/// The roll call.
#[derive(Debug)]
pub struct RollCall {
    census: Vec<Arc<SessionKey>>,
    presence: Vec<Presence>,
    silent: usize,
    /// Where everybody sits, once somebody's turn ended while the others were asked.
    places: Option<HashMap<Arc<SessionKey>, Seat>>,
}

impl RollCall {
    /// Over a census of sessions, each with whether it is in memory and can be asked.
    pub fn new(census: impl IntoIterator<Item = (Arc<SessionKey>, bool)>) -> Self {
        let (census, presence): (Vec<_>, Vec<_>) =
            census.into_iter().map(|(key, live)| (key, if live { Presence::Asked } else { Presence::Away })).unzip();
        let silent = presence.iter().filter(|presence| **presence == Presence::Asked).count();
        Self { census, presence, silent, places: None }
    }

    /// The size of the census.
    pub fn sessions(&self) -> usize {
        self.census.len()
    }

    /// The session in a seat.
    pub fn session(&self, seat: Seat) -> &Arc<SessionKey> {
        &self.census[seat.0 as usize]
    }

    /// Notes an answer; the first one counts.
    pub fn answer(&mut self, seat: Seat, presence: Presence) {
        let place = &mut self.presence[seat.0 as usize];
        if *place == Presence::Asked {
            *place = presence;
            self.silent -= 1;
        }
    }

    /// A turn ended of which it was answered that it runs; so many messages wait behind it.
    pub fn turn_over(&mut self, session: &SessionKey, waiting: u32) {
        let census = &self.census;
        let places = self.places.get_or_insert_with(|| {
            let seats = (0..).map(Seat);
            census.iter().cloned().zip(seats).collect()
        });
        let Some(Seat(at)) = places.get(session) else { return };
        let presence = &mut self.presence[*at as usize];
        if let Presence::Running(..) = presence {
            *presence = if waiting > 0 { Presence::Waiting } else { Presence::Quiet };
        }
    }

    /// Whether everybody who was asked has answered.
    pub fn is_complete(&self) -> bool {
        self.silent == 0
    }

    /// The seats that were asked: those in memory.
    pub fn asked(&self) -> impl Iterator<Item = Seat> + '_ {
        self.seats().filter(|seat| self.presence[seat.0 as usize] != Presence::Away)
    }

    /// The seats that were not asked: nothing of theirs is in memory, but a reply of theirs is on its way.
    pub fn away(&self) -> impl Iterator<Item = Seat> + '_ {
        self.seats().filter(|seat| self.presence[seat.0 as usize] == Presence::Away)
    }

    /// What was answered from a seat.
    pub fn presence(&self, seat: Seat) -> &Presence {
        &self.presence[seat.0 as usize]
    }

    /// The chats that have to be told: running work before waiting, the longest-running first.
    pub fn calls(&self) -> Vec<Call> {
        let mut by_chat: HashMap<&ChatId, (Option<Moment>, Call)> = HashMap::new();
        for seat in self.seats() {
            let (work, since, who) = match self.presence(seat) {
                Presence::Away | Presence::Quiet => continue,
                // It may be in the middle of anything.
                Presence::Asked => (Work::Running, Some(Moment::default()), None),
                Presence::Waiting => (Work::Waiting, None, None),
                Presence::Running(since, who) => (Work::Running, Some(*since), who.clone()),
            };
            let key = self.session(seat);
            let (oldest, call) = by_chat.entry(&key.chat).or_insert_with(|| {
                (None, Call { chat: key.chat.clone(), work: Work::Waiting, members: Vec::new(), seats: Vec::new(), waits: false })
            });
            call.waits |= work == Work::Waiting;
            if work < call.work {
                call.work = work;
                call.seats.clear();
            }
            if work == call.work {
                call.seats.push(seat);
            }
            *oldest = match (*oldest, since) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if key.member.is_some() {
                call.members.extend(who);
            }
        }
        let mut calls: Vec<_> = by_chat.into_values().collect();
        calls.sort_by(|(a_since, a), (b_since, b)| (a.work, a_since, a.seats.first()).cmp(&(b.work, b_since, b.seats.first())));
        calls.into_iter().map(|(_, call)| call).collect()
    }

    fn seats(&self) -> impl Iterator<Item = Seat> + use<> {
        (0..u32::try_from(self.census.len()).expect("a census is counted in u32")).map(Seat)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::UserId;

    fn key(room: &str, member: Option<&str>) -> Arc<SessionKey> {
        Arc::new(SessionKey { chat: ChatId::new("a", room), member: member.map(UserId::from) })
    }

    fn running(secs: u64, who: &str) -> Presence {
        Presence::Running(Moment(Duration::from_secs(secs)), Some(who.into()))
    }

    /// Each session with its answer; then each chat that is told: room, work, members, seats.
    fn check(sessions: &[(&str, Option<&str>, Presence)], expected: &[(&str, Work, &[&str], &[u32])]) {
        let mut call = RollCall::new(sessions.iter().map(|(room, member, presence)| (key(room, *member), *presence != Presence::Away)));
        for (at, (_, _, presence)) in sessions.iter().enumerate() {
            if *presence != Presence::Asked {
                call.answer(Seat(u32::try_from(at).expect("small")), presence.clone());
            }
        }
        let got: Vec<(String, Work, Vec<String>, Vec<u32>)> = call
            .calls()
            .into_iter()
            .map(|call| {
                let members = call.members.iter().map(ToString::to_string).collect();
                (call.chat.room.to_string(), call.work, members, call.seats.iter().map(|seat| seat.0).collect())
            })
            .collect();
        let expected: Vec<(String, Work, Vec<String>, Vec<u32>)> = expected
            .iter()
            .map(|(room, work, members, seats)| ((*room).into(), *work, members.iter().map(ToString::to_string).collect(), seats.to_vec()))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn one_call_per_chat_with_work() {
        use Presence::{Asked, Away, Quiet, Waiting};
        check(&[("1", None, Quiet), ("2", None, Away)], &[]);
        check(&[("1", None, Waiting), ("2", None, running(5, "bob"))], &[("2", Work::Running, &[], &[1]), ("1", Work::Waiting, &[], &[0])]);
        // Several sessions share a chat: one call, which names them; work that only waits is not the reason any more.
        check(
            &[("7", Some("b"), running(3, "bob")), ("7", Some("c"), Waiting), ("7", Some("a"), running(9, "alice"))],
            &[("7", Work::Running, &["bob", "alice"], &[0, 2])],
        );
        // The longest-running first; one that is silent may be in the middle of anything.
        check(
            &[("1", None, running(8, "x")), ("2", None, running(4, "y")), ("3", None, Asked)],
            &[("3", Work::Running, &[], &[2]), ("2", Work::Running, &[], &[1]), ("1", Work::Running, &[], &[0])],
        );
    }

    #[test]
    fn it_is_complete_when_all_who_were_asked_have_answered() {
        let mut call = RollCall::new([(key("1", None), true), (key("2", None), false), (key("3", None), true)]);
        call.answer(Seat(0), Presence::Quiet);
        call.answer(Seat(0), Presence::Waiting);
        assert!(!call.is_complete());
        assert_eq!(*call.presence(Seat(0)), Presence::Quiet, "the first answer counts");
        call.answer(Seat(2), Presence::Waiting);
        assert!(call.is_complete());
        assert_eq!(call.away().collect::<Vec<_>>(), [Seat(1)]);
    }
}
