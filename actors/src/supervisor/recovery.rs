//! What a start does with what the last life left open: a pure plan, and the queue of turns that run again.
//!
//! | left open | what follows |
//! |---|---|
//! | interrupted, policy ask, not told | the word "interrupted" |
//! | interrupted, policy resume, not held | runs again: alone for a while once it was running at a crash, else a few at once |
//! | interrupted, policy resume, held by a crash loop, not told | the word "interrupted"; it waits for /retry or the operator |
//! | interrupted, policy hold | waits for /retry or the operator |
//! | parked, not told | the word "parked", unless policy is hold |
//! | waiting messages | their session wakes, whatever the policy |
//! | a chat that was told "down" | the notice "back", unless it is too old |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Moment, Wall};
use crate::ids::{SessionKey, TurnId};
use crate::last_words::Death;
use crate::ledger::{CutTurn, Ending, LedgerFacts, TurnState, Word};
use crate::settings::{CrashLoop, Policy};

/// What a cut turn comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its chat is told.
    Tell(Word),
    /// It runs again by itself.
    Resume,
    /// It waits.
    Wait,
}

/// What becomes of a cut turn.
pub fn judge(cut: &CutTurn, policy: Policy, held: bool) -> Verdict {
    match (cut.state, policy) {
        (TurnState::Parked, Policy::Ask | Policy::Resume) if !cut.told => Verdict::Tell(Word::Parked),
        (TurnState::Interrupted, Policy::Resume) if !held => Verdict::Resume,
        // Also where it would run again by itself and is not let: nobody waits in silence for an operator.
        (TurnState::Interrupted, Policy::Ask | Policy::Resume) if !cut.told => Verdict::Tell(Word::Interrupted),
        _ => Verdict::Wait,
    }
}

/// What a life died of that went without a word, as one says it in a chat; none: it said goodbye.
pub fn death(ending: Option<&Ending>) -> Option<&'static str> {
    match ending {
        Some(Ending::Killed { phase, by }) => Some(match (by, phase) {
            (Death::Machine, _) => "the machine restarted",
            (Death::ThirdSignal | Death::Manager, _) => "ended by force",
            (Death::Memory, _) => "out of memory",
            (Death::Hung, _) => "it hung",
            (Death::GaveUp, _) => "a fault within",
            (Death::Overdue, _) | (Death::Unknown, Some(_)) => "cut off while shutting down",
            (Death::Unknown, None) => "crash",
        }),
        Some(Ending::Clean | Ending::Unclean { .. }) | None => None,
    }
}

/// How many unclean starts, this one among them, there were within the time that makes a crash loop.
pub fn unclean_starts(facts: &LedgerFacts, ending: Option<&Ending>, at: Wall, crash_loop: &CrashLoop) -> u32 {
    match ending {
        None | Some(Ending::Clean) => 0,
        Some(_) => {
            let recent = |start: &&Wall| at.since(**start).is_some_and(|ago| ago < crash_loop.within);
            1 + u32::try_from(facts.unclean_starts.iter().take_while(recent).count()).unwrap_or(u32::MAX)
        }
    }
}

/// Whether so many unclean starts are a loop.
pub fn is_loop(starts: u32, crash_loop: &CrashLoop) -> bool {
    crash_loop.starts > 0 && starts >= crash_loop.starts
}

/// How long adapters wait before they connect, so that a loop does not hammer the platforms: from the fourth unclean start on,
/// 2^(n-3) s, at most a minute.
pub fn patience(starts: u32, crash_loop: &CrashLoop) -> Duration {
    if crash_loop.starts == 0 || starts < 4 {
        return Duration::ZERO;
    }
    Duration::from_secs(1 << (starts - 3).min(6)).min(Duration::from_secs(60))
}

/// Turns that run again by themselves: a few at a time, and alone those that were running at a crash.
///
/// | next | starts when |
/// |---|---|
/// | one that was cut in order | there is a place, and no suspect runs alone |
/// | a suspect | there is a place, and each that runs has run for `alone`: it crashes nothing, even if it hangs |
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Again>,
    /// The sessions of `waiting`.
    expecting: BTreeSet<Arc<SessionKey>>,
    running: BTreeMap<Arc<SessionKey>, Running>,
}

#[derive(Debug)]
struct Running {
    since: Moment,
    suspect: bool,
}

/// How many run again at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// At most.
    pub most: u32,
    /// How long a suspect runs alone.
    pub alone: Duration,
}

/// A turn to run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// The turn.
    pub turn: TurnId,
    /// The attempt that was cut.
    pub attempt: u32,
    /// Its session.
    pub session: Arc<SessionKey>,
    /// Whether it may be what crashed the gateway.
    pub suspect: bool,
}

impl Queue {
    /// Adds a turn. Suspects come last, so that they hold up nobody.
    pub fn push(&mut self, again: Again) {
        self.expecting.insert(again.session.clone());
        if again.suspect {
            self.waiting.push_back(again);
        } else {
            let place = self.waiting.iter().position(|waiting| waiting.suspect).unwrap_or(self.waiting.len());
            self.waiting.insert(place, again);
        }
    }

    /// The turns that may start now. While any wait, ask again when one is over, and when one of these has run for `alone`.
    pub fn next(&mut self, now: Moment, places: Places) -> Vec<Again> {
        let mut go = Vec::new();
        while self.running.len() < places.most as usize
            && let Some(first) = self.waiting.front()
        {
            let fresh = |running: &Running| now.since(running.since) < places.alone;
            let beside = |running: &Running| !fresh(running) || (!first.suspect && !running.suspect);
            if !self.running.values().all(beside) {
                break;
            }
            let Some(again) = self.waiting.pop_front() else { break };
            self.expecting.remove(&again.session);
            self.running.insert(again.session.clone(), Running { since: now, suspect: again.suspect });
            go.push(again);
        }
        go
    }

    /// Whether any turn is still to come.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A session's turn was closed before it came to run again. `false`: none was to.
    pub fn forget(&mut self, session: &SessionKey) -> bool {
        self.waiting.retain(|again| *again.session != *session);
        self.expecting.remove(session)
    }

    /// The sessions with a turn that is still to come.
    pub fn expected(&self) -> impl Iterator<Item = &Arc<SessionKey>> {
        self.expecting.iter()
    }

    /// Whether a turn of this session is still to come. What was said after it must not overtake it.
    pub fn expects(&self, session: &SessionKey) -> bool {
        self.expecting.contains(session)
    }

    /// A session's turn is over.
    pub fn over(&mut self, session: &SessionKey) {
        self.running.remove(session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ChatId, Seq, UserId};

    fn cut(state: TurnState, told: bool) -> CutTurn {
        CutTurn {
            turn: TurnId(Seq(1)),
            session: SessionKey { chat: ChatId::new("a", "1"), member: None },
            attempt: 1,
            strikes: 1,
            state,
            cause: None,
            told,
            user: UserId::from("u"),
        }
    }

    #[test]
    fn every_cut_turn_gets_its_verdict() {
        use Policy::{Ask, Hold, Resume};
        use TurnState::{Interrupted, Parked};
        let check = |state, told, policy, held, expected| {
            assert_eq!(judge(&cut(state, told), policy, held), expected, "{state:?} told={told} {policy:?} held={held}");
        };
        check(Interrupted, false, Ask, false, Verdict::Tell(Word::Interrupted));
        check(Interrupted, false, Ask, true, Verdict::Tell(Word::Interrupted));
        check(Interrupted, true, Ask, false, Verdict::Wait);
        check(Interrupted, false, Resume, false, Verdict::Resume);
        check(Interrupted, false, Resume, true, Verdict::Tell(Word::Interrupted));
        check(Interrupted, true, Resume, true, Verdict::Wait);
        check(Interrupted, true, Resume, false, Verdict::Resume);
        check(Interrupted, false, Hold, false, Verdict::Wait);
        check(Parked, false, Ask, false, Verdict::Tell(Word::Parked));
        check(Parked, false, Resume, true, Verdict::Tell(Word::Parked));
        check(Parked, true, Resume, false, Verdict::Wait);
        check(Parked, false, Hold, false, Verdict::Wait);
    }

    #[test]
    fn g15_g17_suspects_run_last_and_alone_until_they_have_crashed_nothing_for_a_while() {
        let again = |room: &str, suspect| Again {
            turn: TurnId(Seq(1)),
            attempt: 1,
            session: Arc::new(SessionKey { chat: ChatId::new("a", room), member: None }),
            suspect,
        };
        let mut queue = Queue::default();
        for one in [again("s1", true), again("1", false), again("2", false), again("s2", true), again("3", false)] {
            queue.push(one);
        }
        for room in ["s3", "s4", "s5"] {
            queue.push(again(room, true));
        }
        let places = Places { most: 2, alone: Duration::from_secs(10) };
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let mut step = |seconds, over: &[&str], expected: &[&str]| {
            for room in over {
                queue.over(&SessionKey { chat: ChatId::new("a", room), member: None });
            }
            let gone = queue.next(at(seconds), places);
            assert!(gone.iter().all(|again| !queue.expects(&again.session)), "after {over:?}");
            assert!(queue.waiting.iter().all(|again| queue.expects(&again.session)), "after {over:?}");
            let rooms: Vec<_> = gone.iter().map(|again| again.session.chat.room.to_string()).collect();
            assert_eq!(rooms, expected, "after {over:?}");
        };
        step(0, &[], &["1", "2"]);
        step(1, &["1"], &["3"]);
        step(2, &["2"], &[]);
        step(3, &["3"], &["s1"]);
        step(12, &["unknown"], &[]);
        step(12, &["s1"], &["s2"]);
        // It hangs, and crashes nothing: the others have the other place, each alone beside it.
        step(21, &[], &[]);
        step(22, &[], &["s3"]);
        step(23, &["s3"], &["s4"]);
        // As many as there are places.
        step(40, &[], &[]);
        step(41, &["s2"], &["s5"]);
        step(42, &["s4", "s5"], &[]);
        queue.push(again("s6", true));
        assert!(queue.waits());
        assert!(queue.forget(&again("s6", true).session) && !queue.forget(&again("s6", true).session));
        assert!(!queue.waits() && queue.next(at(99), places).is_empty());
    }

    #[test]
    fn a_crash_loop_is_a_count_within_a_time() {
        let facts = |ago: &[i64]| LedgerFacts {
            ledger: uuid::Uuid::nil(),
            last_seq: Seq(0),
            last: None,
            unclean_starts: ago.iter().map(|secs| Wall(1_000_000 - secs * 1000)).collect(),
        };
        let within = CrashLoop { starts: 3, within: Duration::from_secs(300) };
        let killed = Ending::Killed { phase: None, by: Death::Unknown };
        let check = |ago: &[i64], ending: Option<&Ending>, count, looped| {
            let starts = unclean_starts(&facts(ago), ending, Wall(1_000_000), &within);
            assert_eq!((starts, is_loop(starts, &within)), (count, looped), "{ago:?}");
        };
        check(&[10, 20], None, 0, false);
        check(&[10, 20], Some(&Ending::Clean), 0, false);
        check(&[10], Some(&killed), 2, false);
        check(&[10, 20], Some(&killed), 3, true);
        check(&[10, 400], Some(&killed), 2, false);
        check(&[299, 300, 1], Some(&killed), 2, false);
        assert!(!is_loop(9, &CrashLoop { starts: 0, ..within }));
        let waits: Vec<u64> = [3, 4, 5, 9, 30].map(|starts| patience(starts, &within).as_secs()).into();
        assert_eq!(waits, [0, 2, 4, 60, 60]);
    }
}
