//! Every life and every start that came to nothing, as one list: what `history` tells, from the ledger's rows and what stands beside it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_actors::clock::Wall;
use switchboard_actors::ids::InstanceId;
use switchboard_actors::last_words::Cause;
use switchboard_actors::ledger::{Ending, InstanceFacts};
use switchboard_actors::shutdown::ShutdownKind;

use crate::false_starts::FalseStart;

/// A life, or a start that came to nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// When it began; a start that came to nothing, when that was known.
    pub started: Wall,
    /// The program's version.
    pub version: String,
    /// Which it was; none: it came to nothing.
    pub instance: Option<InstanceId>,
    /// How long it lasted, in milliseconds, as far as that is known.
    pub lasted_millis: Option<u64>,
    /// It lasted longer than that: nobody saw its end.
    pub at_least: bool,
    /// Where it stands.
    pub state: State,
    /// The same in words, with phase and cause.
    pub how: String,
    /// What its end was for, where it went down in order.
    pub kind: Option<ShutdownKind>,
    /// How it ended, as its successor judged.
    pub ending: Option<Ending>,
    /// What it said of its end, where that says more.
    pub said: Option<String>,
    /// Who asked for its end, and why.
    pub asked: Option<String>,
    /// The exit code of its process, where that is known; a restart in place has none.
    pub code: Option<u8>,
    /// So many starts in a row that came to the same nothing; else 1.
    pub times: u32,
}

/// Where a life stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It lasts.
    Runs,
    /// It is over.
    Ended,
    /// It never began.
    FalseStart,
}

/// The list, newest first. `facts` are the ledger's rows, newest first; `last`: how the newest of them ended, none while it runs. How each of
/// the others ended is known by the one after it.
pub fn lives(facts: &[InstanceFacts], last: Option<&Ending>, false_starts: &[FalseStart]) -> Vec<Life> {
    let endings = std::iter::once(last).chain(facts.iter().map(|after| after.predecessor.as_ref()));
    let mut lives: Vec<Life> = facts.iter().zip(endings).enumerate().map(|(at, (facts, ending))| life(facts, ending, at == 0)).collect();
    lives.extend(false_starts.iter().map(false_start));
    lives.sort_by_key(|life| std::cmp::Reverse(life.started));
    lives.dedup_by(|next, newer| {
        let same = newer.state == State::FalseStart && (&next.state, &next.how, next.code) == (&newer.state, &newer.how, newer.code);
        newer.times += u32::from(same);
        same
    });
    lives
}

fn life(facts: &InstanceFacts, ending: Option<&Ending>, newest: bool) -> Life {
    let runs = newest && ending.is_none();
    let ended = facts.words.as_ref().map(|words| words.at).or(facts.ended.as_ref().map(|(at, ..)| *at));
    let seen = facts.seen.max(facts.phase.map(|(_, at)| at));
    let lasted = ended.or(seen).and_then(|end| end.since(facts.born)).filter(|_| !runs);
    let kind = facts.ended.as_ref().map(|(_, kind, ..)| *kind);
    let how = match (runs, &facts.ended, ending) {
        (true, ..) => "running".into(),
        (false, Some((_, kind, ..)), Some(ending)) => format!("{kind}, {ending}"),
        (false, Some((_, kind, _, verdict)), None) => format!("{kind}, {verdict}"),
        (false, None, Some(ending)) => ending.to_string(),
        (false, None, None) => "nothing is known of its end".into(),
    };
    let said = facts.words.as_ref().map(|words| &words.cause);
    // A shutdown's verdict is in its ending.
    let said = said.filter(|cause| !matches!(cause, Cause::Down { .. })).map(Cause::to_string);
    Life {
        started: facts.born,
        version: facts.version.clone(),
        instance: Some(facts.instance),
        lasted_millis: lasted.map(millis),
        at_least: lasted.is_some() && ended.is_none(),
        state: if runs { State::Runs } else { State::Ended },
        how,
        kind,
        ending: ending.cloned(),
        said,
        asked: facts.why.clone(),
        code: facts.words.as_ref().and_then(|words| words.code),
        times: 1,
    }
}

fn false_start(start: &FalseStart) -> Life {
    Life {
        started: start.at,
        version: start.version.clone(),
        instance: None,
        lasted_millis: None,
        at_least: false,
        state: State::FalseStart,
        how: format!("did not start: {}", start.reason),
        kind: None,
        ending: None,
        said: None,
        asked: None,
        code: Some(start.code),
        times: 1,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use switchboard_actors::last_words::{Death, LastWords};
    use switchboard_actors::shutdown::Phase;
    use uuid::Uuid;

    use super::*;

    fn facts(born: i64, predecessor: Option<Ending>) -> InstanceFacts {
        InstanceFacts {
            instance: InstanceId(Uuid::from_u128(1)),
            version: "1".into(),
            born: Wall(born),
            boot: None,
            phase: None,
            ended: None,
            predecessor,
            why: None,
            seen: None,
            words: None,
        }
    }

    fn failed(at: i64, code: u8, reason: &str) -> FalseStart {
        FalseStart { at: Wall(at), version: "1".into(), pid: 1, code, reason: reason.into() }
    }

    #[test]
    fn g28_each_end_is_told_with_its_time_code_and_cause() {
        let killed = |phase, by| Some(Ending::Killed { phase, by });
        let words = |at, code, cause| Some(LastWords { at: Wall(at), code, phase: None, cause });
        let down = |clean| Some((Wall(5_000), ShutdownKind::Stop, clean, "not clean: so".to_owned()));
        let check = |life: InstanceFacts, last: Option<Ending>, how: &str, lasted: Option<u64>, at_least: bool, code: Option<u8>| {
            let told = lives(&[life], last.as_ref(), &[]).remove(0);
            assert_eq!((told.how.as_str(), told.lasted_millis, told.at_least, told.code), (how, lasted, at_least, code));
        };
        let me = || facts(1_000, None);
        check(InstanceFacts { seen: Some(Wall(9_000)), ..me() }, None, "running", None, false, None);
        check(InstanceFacts { ended: down(true), ..me() }, Some(Ending::Clean), "stop, clean", Some(4_000), false, None);
        let unclean = Some(Ending::Unclean { verdict: "not clean: so".into() });
        let cause = Cause::Down { kind: ShutdownKind::Stop, clean: false, verdict: "not clean: so".into() };
        let told = InstanceFacts { ended: down(false), words: words(6_000, Some(0), cause), ..me() };
        check(told, unclean, "stop, not clean: so", Some(5_000), false, Some(0));
        let unseen = killed(None, Death::Unknown);
        check(me(), unseen.clone(), "killed while serving", None, false, None);
        check(InstanceFacts { seen: Some(Wall(9_000)), ..me() }, unseen, "killed while serving", Some(8_000), true, None);
        let drained = InstanceFacts { phase: Some((Phase::Drain, Wall(3_000))), seen: Some(Wall(2_000)), ..me() };
        check(drained, killed(Some(Phase::Drain), Death::Machine), "cut off in drain: the machine restarted", Some(2_000), true, None);
        let hung = InstanceFacts { words: words(8_000, Some(86), Cause::Hung), ..me() };
        check(hung, killed(None, Death::Hung), "found hung while serving", Some(7_000), false, Some(86));
    }

    #[test]
    fn g28_starts_in_vain_stand_among_the_lives_and_those_of_a_kind_are_one() {
        let rows = [facts(50, Some(Ending::Clean)), facts(20, None)];
        let vain =
            [failed(10, 70, "too early"), failed(30, 78, "bad"), failed(31, 78, "bad"), failed(32, 73, "held"), failed(60, 73, "held")];
        let told = lives(&rows, None, &vain);
        let told: Vec<_> = told.iter().map(|life| (life.started.0, life.state, life.code, life.times)).collect();
        let (vain, ended) = (State::FalseStart, State::Ended);
        assert_eq!(
            told,
            [
                (60, vain, Some(73), 1),
                (50, State::Runs, None, 1),
                (32, vain, Some(73), 1),
                (31, vain, Some(78), 2),
                (20, ended, None, 1),
                (10, vain, Some(70), 1),
            ]
        );
    }
}
