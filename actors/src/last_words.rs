//! What a life leaves beside the ledger, for the ends that the ledger is not told of: its last sign of life and its last words.
//!
//! Whoever embeds the gateway writes them, where nothing can hang or be full, and hands what it finds to the next life
//! ([`Ports::remains`](crate::supervisor::Ports)), which takes them into the ledger as it is born. They are believed only of the life that they
//! name, and only where the ledger has no word of its own. Nothing here reads or writes a file.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Wall;
use crate::ids::InstanceId;
use crate::ledger::{Ending, InstanceFacts};
use crate::shutdown::{Phase, ShutdownKind};

/// What a life leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remains {
    /// Whose they are.
    pub instance: InstanceId,
    /// When it was alive for certain.
    pub seen: Wall,
    /// What it said of its end, if it could.
    #[serde(default)]
    pub words: Option<LastWords>,
}

/// What a process says of its own end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastWords {
    /// When it ended.
    pub at: Wall,
    /// The exit code of the process; none: it became another image in place.
    pub code: Option<u8>,
    /// The phase that it was in; none while serving.
    #[serde(default)]
    pub phase: Option<Phase>,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
}

/// Why a process ends itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// A shutdown came to its report.
    Down {
        /// What it was for.
        kind: ShutdownKind,
        /// Whether it was clean.
        clean: bool,
        /// Its verdict in words.
        verdict: String,
    },
    /// A third signal during a shutdown.
    ThirdSignal {
        /// Its name, and who sent it, in words.
        signal: String,
    },
    /// A shutdown took longer than grace and margin.
    Overdue,
    /// Found hung while no shutdown was under way.
    Hung,
    /// It cannot go on.
    GaveUp {
        /// Why, in words.
        reason: String,
    },
    /// It went down to be replaced in place, and the new image could not be started.
    NotReplaced {
        /// Why, in words.
        reason: String,
    },
    /// It said nothing itself; the service manager saw how it ended.
    Seen {
        /// The manager's own judgement: `timeout`, `watchdog`, `oom-kill`, `signal`, … (`$SERVICE_RESULT` in systemd.exec(5)).
        result: String,
        /// How the process ended, in words.
        end: String,
    },
    /// Something that a later version says.
    #[serde(other)]
    Unknown,
}

impl Cause {
    /// Keeps at most so many letters of what it tells in words.
    pub fn clip(&mut self, letters: usize) {
        match self {
            Cause::Down { verdict: text, .. } | Cause::ThirdSignal { signal: text } => *text = text.chars().take(letters).collect(),
            Cause::GaveUp { reason: text } | Cause::NotReplaced { reason: text } => *text = text.chars().take(letters).collect(),
            // The manager's words are few.
            Cause::Overdue | Cause::Hung | Cause::Seen { .. } | Cause::Unknown => {}
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Down { kind, verdict, .. } => write!(f, "{kind}, {verdict}"),
            Cause::ThirdSignal { signal } => write!(f, "a third signal: {signal}"),
            Cause::Overdue => f.write_str("the shutdown took longer than its grace and margin"),
            Cause::Hung => f.write_str("no sign of life from within"),
            Cause::GaveUp { reason } => f.write_str(reason),
            Cause::NotReplaced { reason } => write!(f, "the new image could not be started: {reason}"),
            Cause::Seen { result, end } => write!(f, "{end}, as the service manager saw it: {result}"),
            Cause::Unknown => f.write_str("a cause that only a later version knows"),
        }
    }
}

/// What ended a life that said no goodbye.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// The machine started anew since: nothing on it survived.
    Machine,
    /// A third signal.
    ThirdSignal,
    /// Its own watchdog: the shutdown took too long.
    Overdue,
    /// Its own watchdog: it hung.
    Hung,
    /// Itself: it could not go on.
    GaveUp,
    /// The service manager: a stop or a start took longer than it waits.
    Manager,
    /// The system had no memory left.
    Memory,
    /// Nobody knows, or only in the words of a service manager or a later version: SIGKILL, a crash.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Death {
    /// Whether nobody knows.
    pub fn is_unknown(&self) -> bool {
        *self == Death::Unknown
    }
}

/// How a life ended that has no goodbye in the ledger; `boot`: the present one of the machine, where it is known.
///
/// | last words | boot | it was |
/// |---|---|---|
/// | why it went | | killed by that, in the phase that it named, else in that of the ledger |
/// | it could not be replaced | | a shutdown that ended so |
/// | none, but a service manager saw its end | | killed by what that says |
/// | none | another than its own | ended with the machine |
/// | none | its own, or not known | killed by nobody knows what |
pub fn judge(life: &InstanceFacts, boot: Option<&str>) -> Ending {
    let recorded = life.phase.map(|(phase, _)| phase);
    let Some(words) = &life.words else {
        let another = matches!((life.boot.as_deref(), boot), (Some(then), Some(now)) if then != now);
        return Ending::Killed { phase: recorded, by: if another { Death::Machine } else { Death::Unknown } };
    };
    let by = match &words.cause {
        Cause::ThirdSignal { .. } => Death::ThirdSignal,
        Cause::Overdue => Death::Overdue,
        Cause::Hung => Death::Hung,
        Cause::GaveUp { .. } => Death::GaveUp,
        Cause::Seen { result, .. } => match result.as_str() {
            "timeout" => Death::Manager,
            "watchdog" => Death::Hung,
            "oom-kill" => Death::Memory,
            _ => Death::Unknown,
        },
        Cause::Unknown => Death::Unknown,
        Cause::Down { verdict, .. } => return Ending::Unclean { verdict: verdict.clone() },
        Cause::NotReplaced { .. } => return Ending::Unclean { verdict: words.cause.to_string() },
    };
    Ending::Killed { phase: words.phase.or(recorded), by }
}

impl InstanceFacts {
    /// Takes in what this life left beside the ledger; what others left is no business of it. The ledger's own word on its end stands.
    pub fn take_in(&mut self, remains: &Remains) {
        if remains.instance != self.instance {
            return;
        }
        self.seen = Some(remains.seen);
        let Some(words) = &remains.words else { return };
        if self.ended.is_none() {
            self.ended = words.goodbye();
        }
        self.words = Some(words.clone());
    }
}

impl LastWords {
    /// The goodbye that the ledger could not take: when, what for, whether clean, and the verdict.
    pub fn goodbye(&self) -> Option<(Wall, ShutdownKind, bool, String)> {
        match &self.cause {
            Cause::Down { kind, clean, verdict } => Some((self.at, *kind, *clean, verdict.clone())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn life(phase: Option<Phase>, boot: Option<&str>) -> InstanceFacts {
        InstanceFacts {
            instance: InstanceId(Uuid::from_u128(7)),
            version: "1".into(),
            born: Wall(0),
            boot: boot.map(Into::into),
            phase: phase.map(|phase| (phase, Wall(1))),
            ended: None,
            predecessor: None,
            why: None,
            seen: None,
            words: None,
        }
    }

    fn said(phase: Option<Phase>, cause: Cause) -> Remains {
        let words = LastWords { at: Wall(5), code: Some(0), phase, cause };
        Remains { instance: InstanceId(Uuid::from_u128(7)), seen: Wall(4), words: Some(words) }
    }

    #[test]
    fn g28_an_end_without_a_goodbye_is_judged_by_last_words_phase_and_boot() {
        let check = |remains: Option<Remains>, boot: Option<&str>, ending: Ending, words: &str| {
            let mut life = life(Some(Phase::Drain), Some("a"));
            remains.iter().for_each(|remains| life.take_in(remains));
            let judged = judge(&life, boot);
            assert_eq!((judged.to_string().as_str(), &judged), (words, &ending), "{remains:?}");
        };
        let killed = |phase, by| Ending::Killed { phase: Some(phase), by };
        let (drain, flush) = (Phase::Drain, Some(Phase::Flush));
        check(None, Some("a"), killed(drain, Death::Unknown), "killed in drain");
        check(None, None, killed(drain, Death::Unknown), "killed in drain");
        check(None, Some("b"), killed(drain, Death::Machine), "cut off in drain: the machine restarted");
        let third = Cause::ThirdSignal { signal: "SIGTERM".into() };
        check(Some(said(flush, third.clone())), Some("b"), killed(Phase::Flush, Death::ThirdSignal), "killed in flush by a third signal");
        check(Some(said(None, third)), Some("a"), killed(drain, Death::ThirdSignal), "killed in drain by a third signal");
        check(Some(said(None, Cause::Overdue)), None, killed(drain, Death::Overdue), "killed in drain, overdue");
        check(Some(said(None, Cause::GaveUp { reason: "no".into() })), None, killed(drain, Death::GaveUp), "gave up in drain");
        check(Some(said(None, Cause::Unknown)), Some("a"), killed(drain, Death::Unknown), "killed in drain");
        for (result, by, told) in [
            ("timeout", Death::Manager, "killed in drain: the service manager waited no longer"),
            ("watchdog", Death::Hung, "found hung in drain"),
            ("oom-kill", Death::Memory, "killed in drain: no memory was left"),
            ("signal", Death::Unknown, "killed in drain"),
        ] {
            let seen = Cause::Seen { result: result.into(), end: "killed by SIGKILL".into() };
            check(Some(said(None, seen)), Some("b"), killed(drain, by), told);
        }
        let verdict = "the new image could not be started: gone".to_owned();
        check(Some(said(None, Cause::NotReplaced { reason: "gone".into() })), None, Ending::Unclean { verdict: verdict.clone() }, &verdict);
        let stranger = Remains { instance: InstanceId(Uuid::from_u128(8)), ..said(flush, Cause::Hung) };
        check(Some(stranger), Some("a"), killed(drain, Death::Unknown), "killed in drain");
        let mut serving = life(None, None);
        assert_eq!(judge(&serving, Some("b")).to_string(), "killed while serving");
        serving.take_in(&said(None, Cause::Hung));
        assert_eq!(judge(&serving, None).to_string(), "found hung while serving");
    }

    #[test]
    fn g28_a_goodbye_that_the_ledger_could_not_take_is_taken_from_the_last_words() {
        let down = |verdict: &str| said(None, Cause::Down { kind: ShutdownKind::Stop, clean: false, verdict: verdict.into() });
        let mut life = life(Some(Phase::Mark), None);
        life.take_in(&down("the disk is full"));
        assert_eq!(life.ended, Some((Wall(5), ShutdownKind::Stop, false, "the disk is full".into())));
        life.take_in(&down("another"));
        assert_eq!(life.ended.as_ref().map(|(.., verdict)| verdict.as_str()), Some("the disk is full"), "the first word stands");
        assert_eq!((life.seen, life.words.is_some()), (Some(Wall(4)), true));
    }

    #[test]
    fn words_of_a_later_version_are_words_all_the_same() {
        let words: LastWords = serde_json::from_str(r#"{"at":1,"code":9,"cause":"struck_by_lightning","volts":5}"#).expect("words");
        assert_eq!((words.code, words.cause), (Some(9), Cause::Unknown));
        let old: Ending = serde_json::from_str(r#"{"ending":"killed","phase":"drain"}"#).expect("as an older version wrote it");
        assert_eq!(old, Ending::Killed { phase: Some(Phase::Drain), by: Death::Unknown });
        let new: Ending =
            serde_json::from_str(r#"{"ending":"killed","phase":"drain","by":"lightning"}"#).expect("as a later version writes it");
        assert_eq!(new, old);
    }
}
