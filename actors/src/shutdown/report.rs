//! What came of a shutdown: one outcome per session, one fate per notice, one time per phase, one verdict.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Phase, ShutdownKind};
use crate::ids::{ChatId, InstanceId, SessionKey};

/// How one session of the census ended. Every session has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It had nothing running; waiting messages are in the ledger.
    Idle,
    /// Its running turn was answered, and the answer delivered.
    Finished,
    /// Its answer is durable but not delivered.
    Owing,
    /// Its turn was cut; it can be run again.
    Interrupted,
    /// It died; its turn is recoverable from the ledger.
    Dead,
    /// It never answered.
    Silent,
}

impl Outcome {
    /// Whether a clean shutdown may hold it.
    pub fn is_clean(self) -> bool {
        matches!(self, Outcome::Idle | Outcome::Finished)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Idle => "idle",
            Outcome::Finished => "finished",
            Outcome::Owing => "owing",
            Outcome::Interrupted => "interrupted",
            Outcome::Dead => "dead",
            Outcome::Silent => "silent",
        })
    }
}

/// A session that was not idle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionEnd {
    /// The session, with its chat.
    pub session: SessionKey,
    /// Its outcome.
    pub outcome: Outcome,
    /// Why, in words.
    pub reason: String,
    /// From the start of the shutdown to its word.
    #[serde(serialize_with = "millis")]
    pub waited: Duration,
}

/// What became of the notice to one chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum NoticeFate {
    /// The platform has it.
    Sent,
    /// Handed to the platform, which has not answered.
    Unknown,
    /// Not handed over, or refused.
    Failed {
        /// Why.
        reason: String,
    },
    /// Its turn had finished before it was its turn to be told.
    NotNeeded,
    /// A notice of this shutdown to that chat was on record before.
    Told,
}

/// How long a phase took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// From the start of the shutdown to its start.
    #[serde(serialize_with = "millis")]
    pub began: Duration,
    /// Its length.
    #[serde(serialize_with = "millis")]
    pub took: Duration,
}

/// Whether a shutdown was clean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every session of the census acknowledged Idle or Finished before the deadline, and the ledger has it.
    Clean,
    /// Somebody did not.
    Unclean {
        /// Who, and why: one line each.
        reasons: Vec<String>,
    },
}

impl Verdict {
    /// Whether it is clean.
    pub fn is_clean(&self) -> bool {
        matches!(self, Verdict::Clean)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Clean => f.write_str("clean"),
            Verdict::Unclean { reasons } => {
                const SHOWN: usize = 3;
                f.write_str("not clean: ")?;
                let shown: Vec<&str> = reasons.iter().take(SHOWN).map(String::as_str).collect();
                f.write_str(&shown.join("; "))?;
                match reasons.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
        }
    }
}

/// What came of a shutdown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShutdownReport {
    /// Whose life ended.
    pub instance: InstanceId,
    /// What for, after everybody joined.
    pub kind: ShutdownKind,
    /// The verdict.
    pub verdict: Verdict,
    /// How many sessions the census had.
    pub census: usize,
    /// How many of them were idle; the others are listed.
    pub idle: usize,
    /// Every session that was not idle.
    pub sessions: Vec<SessionEnd>,
    /// Every chat that was to be told, and what became of that.
    pub notices: Vec<(ChatId, NoticeFate)>,
    /// Every phase that began.
    pub phases: Vec<PhaseTime>,
    /// From the request to the end.
    #[serde(serialize_with = "millis")]
    pub took: Duration,
}

/// Milliseconds, as a whole number.
fn millis<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
