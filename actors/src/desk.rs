//! What stands before the sessions: who may speak, what is a command, and what is too much. A pure judge.
//!
//! It needs no live session and judges in every phase alike. It never decides what becomes of what it lets in.

pub mod access;
pub mod command;
pub mod strangers;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::clock::Moment;
use crate::ids::{AdapterName, ChatId, SessionKey, UserId};
use crate::platform::Said;
use crate::settings::{self, Groups};
use access::Doors;
use command::Command;
use strangers::Strangers;

/// Senders that are remembered at most, for each of the desk's memories.
const REMEMBERED: usize = 10_000;
/// A stranger is answered at most once in this time.
pub const GREET_EVERY: Duration = Duration::from_secs(600);
/// Strangers answered per adapter and minute at most.
const GREETINGS_PER_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// The judge.
#[derive(Debug)]
pub struct Desk {
    settings: settings::Session,
    /// Who may speak, and who may command.
    pub doors: Doors,
    /// Which of those who are turned away are worth a line.
    pub strangers: Strangers,
    senders: Recent<(AdapterName, UserId)>,
    greeted: Recent<(AdapterName, UserId)>,
    greetings: Recent<AdapterName>,
}

/// What becomes of what somebody said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// From somebody unknown; nothing of it is kept.
    Stranger {
        /// Whether they are told a pairing code.
        greet: bool,
    },
    /// Over a bound; accepted without its words.
    Refused(Excess),
    /// A command.
    Command(Command),
    /// Words for the agent.
    Message,
}

/// Which bound was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Too many from this sender, or waiting in this session.
    Many,
    /// Too long.
    Long,
}

impl Desk {
    /// A desk behind these doors.
    pub fn new(settings: settings::Session, doors: Doors) -> Self {
        let (senders, greeted, greetings) = (Recent::new(), Recent::new(), Recent::new());
        Self { settings, doors, strangers: Strangers::default(), senders, greeted, greetings }
    }

    /// Other settings from now on; what is remembered stays.
    pub fn set(&mut self, settings: settings::Session) {
        self.settings = settings;
    }

    /// Whose conversation it is.
    pub fn session(&self, adapter: &AdapterName, said: &Said) -> SessionKey {
        let chat = ChatId { adapter: adapter.clone(), room: said.room.clone(), thread: said.thread.clone() };
        let own = said.group && self.settings.groups == Groups::PerMember;
        SessionKey { chat, member: own.then(|| said.sender.user.clone()) }
    }

    /// Judges what somebody said, while `waiting` messages of their session wait.
    pub fn judge(&mut self, now: Moment, adapter: &AdapterName, said: &Said, waiting: u32) -> Judgement {
        let who = (adapter.clone(), said.sender.user.clone());
        if !said.sender.person || !self.doors.admits(adapter, &said.sender.user) {
            return Judgement::Stranger { greet: said.sender.person && self.doors.pairs(adapter) && self.may_greet(now, who) };
        }
        if said.text.len() > self.settings.message_bytes as usize {
            return Judgement::Refused(Excess::Long);
        }
        // Whoever passes a command on does not give it: a forwarded "/shutdown" of an administrator is a quotation.
        let command = if said.relayed { None } else { command::parse(&said.text) };
        let busy = self.senders.count(now, MINUTE, who) > self.settings.sender_per_minute;
        match command {
            // Whoever is too loud can still stop what runs.
            Some(Command::Stop | Command::Help) => {}
            _ if busy => return Judgement::Refused(Excess::Many),
            _ => {}
        }
        match command {
            Some(command) if command.is_for_admins() && !self.doors.commands(adapter, &said.sender.user) => {
                Judgement::Command(Command::Forbidden)
            }
            Some(command) => Judgement::Command(command),
            None if waiting >= self.settings.backlog => Judgement::Refused(Excess::Many),
            None => Judgement::Message,
        }
    }

    /// What was judged came to nothing: the ledger did not take it in, or had it before. It will not have counted when it is offered again.
    pub fn forget(&mut self, adapter: &AdapterName, user: &UserId) {
        self.senders.uncount(&(adapter.clone(), user.clone()));
    }

    fn may_greet(&mut self, now: Moment, who: (AdapterName, UserId)) -> bool {
        if self.greetings.peek(now, MINUTE, &who.0) >= GREETINGS_PER_MINUTE {
            return false;
        }
        if self.greeted.count(now, GREET_EVERY, who.clone()) > 1 {
            return false;
        }
        self.greetings.count(now, MINUTE, who.0);
        true
    }
}

/// Counts of what happened lately, per key, in windows that start with a key's first event. Bounded: over [`REMEMBERED`] keys, windows that are over are
/// forgotten, and when that is not enough, all are.
#[derive(Debug)]
struct Recent<K> {
    windows: HashMap<K, (Moment, u32)>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { windows: HashMap::new() }
    }
}

impl<K: Hash + Eq> Recent<K> {
    fn new() -> Self {
        Self::default()
    }

    /// Counts one more; how many there are in the window now.
    fn count(&mut self, now: Moment, window: Duration, key: K) -> u32 {
        if self.windows.len() >= REMEMBERED && !self.windows.contains_key(&key) {
            self.windows.retain(|_, (since, _)| now.since(*since) < window);
            if self.windows.len() >= REMEMBERED {
                self.windows.clear();
            }
        }
        let (since, count) = self.windows.entry(key).or_insert((now, 0));
        if now.since(*since) >= window {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count
    }

    /// Counts one less.
    fn uncount(&mut self, key: &K) {
        if let Some((_, count)) = self.windows.get_mut(key) {
            *count = count.saturating_sub(1);
        }
    }

    /// How many there are in the window now.
    fn peek(&self, now: Moment, window: Duration, key: &K) -> u32 {
        self.windows.get(key).filter(|(since, _)| now.since(*since) < window).map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RoomId;
    use crate::platform::Sender;
    use crate::settings::{Access, Settings};

    fn desk() -> Desk {
        let mut settings = Settings::defaults().session;
        (settings.sender_per_minute, settings.backlog, settings.message_bytes) = (3, 2, 20);
        let access = |allow: &[&str], pairing| Access {
            allow: allow.iter().map(ToString::to_string).collect(),
            admins: vec!["a:boss".into()],
            pairing,
        };
        let doors = Doors::new([("a".into(), access(&["a:ann", "a:boss"], true)), ("open".into(), access(&["*"], false))]);
        Desk::new(settings, doors)
    }

    fn said(user: &str, text: &str) -> Said {
        Said {
            room: RoomId::new("1"),
            thread: None,
            group: false,
            sender: Sender { user: user.into(), name: user.into(), person: true },
            message: None,
            text: text.into(),
            relayed: false,
        }
    }

    fn at(secs: u64) -> Moment {
        Moment(Duration::from_secs(secs))
    }

    #[test]
    fn g23_nobody_who_is_not_allowed_gets_past() {
        let mut desk = desk();
        let stranger = |greet| Judgement::Stranger { greet };
        let mut check =
            |now, adapter: &str, said: Said, expected| assert_eq!(desk.judge(at(now), &adapter.into(), &said, 0), expected, "{said:?}");
        check(0, "a", said("ann", "hi"), Judgement::Message);
        check(0, "a", said("bob", "hi"), stranger(true));
        check(1, "a", said("bob", "/stop"), stranger(false));
        check(601, "a", said("bob", "/restart"), stranger(true));
        check(0, "open", said("bob", "hi"), Judgement::Message);
        // An allowed name does not help whoever has no identity of their own.
        let mut channel = said("ann", "/stop");
        channel.sender.person = false;
        check(0, "a", channel.clone(), stranger(false));
        check(0, "open", channel, stranger(false));
        check(0, "a", said("ann", "/restart"), Judgement::Command(Command::Forbidden));
        check(0, "a", said("boss", "/restart"), Judgement::Command(Command::Restart));
        check(0, "open", said("boss", "/restart"), Judgement::Command(Command::Forbidden));
        check(0, "unknown", said("ann", "hi"), stranger(false));
    }

    #[test]
    fn g23_words_that_were_passed_on_are_no_command() {
        let mut desk = desk();
        for (relayed, expected) in [(false, Judgement::Command(Command::Restart)), (true, Judgement::Message)] {
            assert_eq!(desk.judge(at(0), &"a".into(), &Said { relayed, ..said("boss", "/restart") }, 0), expected);
        }
        let stranger = Said { relayed: true, ..said("bob", "hi") };
        assert_eq!(desk.judge(at(0), &"a".into(), &stranger, 0), Judgement::Stranger { greet: true });
    }

    #[test]
    fn bounds_refuse_and_stop_still_works() {
        let mut desk = desk();
        let refused = Judgement::Refused;
        let mut check =
            |now, said: Said, waiting, expected| assert_eq!(desk.judge(at(now), &"a".into(), &said, waiting), expected, "{said:?}");
        check(0, said("ann", "this is far too long to take"), 0, refused(Excess::Long));
        check(0, said("boss", "exactly twenty bytes"), 1, Judgement::Message);
        check(0, said("ann", "one"), 2, refused(Excess::Many));
        check(1, said("ann", "two"), 0, Judgement::Message);
        check(2, said("ann", "three"), 0, Judgement::Message);
        check(3, said("ann", "four"), 0, refused(Excess::Many));
        check(3, said("ann", "/stop"), 9, Judgement::Command(Command::Stop));
        check(3, said("boss", "hi"), 0, Judgement::Message);
        check(70, said("ann", "five"), 0, Judgement::Message);
        // What comes to nothing, however often it is offered, does not count.
        for _ in 0..9 {
            assert_eq!(desk.judge(at(200), &"a".into(), &said("ann", "six"), 0), Judgement::Message);
            desk.forget(&"a".into(), &"ann".into());
        }
    }

    #[test]
    fn memories_are_bounded() {
        let mut recent = Recent::new();
        for key in 0..3 * REMEMBERED {
            recent.count(at(0), MINUTE, key);
        }
        assert!(recent.windows.len() <= REMEMBERED);
    }

    #[test]
    fn what_is_over_is_forgotten_first() {
        let mut recent = Recent::new();
        for key in 0..REMEMBERED {
            recent.count(at(if key == 0 { 0 } else { 30 }), MINUTE, key);
        }
        assert_eq!(recent.count(at(60), MINUTE, REMEMBERED), 1);
        assert_eq!(recent.windows.len(), REMEMBERED);
        assert_eq!((recent.peek(at(60), MINUTE, &0), recent.peek(at(60), MINUTE, &1)), (0, 1));
        assert_eq!((recent.peek(at(89), MINUTE, &1), recent.peek(at(90), MINUTE, &1), recent.count(at(90), MINUTE, 1)), (1, 0, 1));
    }

    #[test]
    fn greetings_of_one_adapter_are_bounded() {
        let mut desk = desk();
        let mut greeted = |secs, user: &str| desk.judge(at(secs), &"a".into(), &said(user, "hi"), 0) == Judgement::Stranger { greet: true };
        let all: Vec<bool> = (0..GREETINGS_PER_MINUTE + 2).map(|user| greeted(0, &format!("s{user}"))).collect();
        assert_eq!(all.iter().filter(|greeted| **greeted).count(), GREETINGS_PER_MINUTE as usize);
        assert!(!all[GREETINGS_PER_MINUTE as usize]);
        assert!(greeted(60, "later"));
    }
}
