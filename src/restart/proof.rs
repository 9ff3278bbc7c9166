//! Whether a restart came true: shown what is seen of the gateway and its unit, it decides. No clock, no socket.
//!
//! | seen | while | comes to |
//! |---|---|---|
//! | an instance from before | leaving | wait for its end, at most `leave` |
//! | nobody, or a new instance that is not ready | | wait for one that is, at most `start` |
//! | a new instance, ready | | dwell |
//! | the same one, ready for `dwell` | dwelling | **proved** |
//! | the same one, not ready or not answering | dwelling | wait again, within the same `start` |
//! | nobody, or another process or instance | a new one had been seen | **died** |
//! | the manager gave the unit up | | **died** |
//! | the unit was stopped | | **stopped**: somebody wanted that, so there is no retry |
//!
//! The first failure asks for one retry, in which whoever was seen before does not count; the second is the end.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchboard_actors::ids::InstanceId;
use switchboard_actors::texts::spoken;

/// How long each part of a restart may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// For the old instance to go.
    pub leave: Duration,
    /// For a new one to be ready, from the moment that the old one is gone.
    pub start: Duration,
    /// For the new one to stay ready.
    pub dwell: Duration,
}

/// An instance that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its life.
    pub instance: InstanceId,
    /// Its process.
    pub pid: u32,
    /// Whether it can serve.
    pub ready: bool,
}

/// Who answers at the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// Nobody listens.
    Nobody,
    /// Somebody listens and does not answer, or not understandably.
    Unclear,
    /// This one.
    There(Sighting),
}

/// What the service manager says of the unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitView {
    /// Its main process, if it has one.
    pub main_pid: Option<u32>,
    /// The newest process that was its main one, also when it has ended.
    pub last_pid: Option<u32>,
    /// When that was started, on the machine's monotonic clock.
    pub last_start: Duration,
    /// It is down and nothing is about to start it, although nobody stopped it; why, in words.
    pub failed: Option<String>,
    /// It is down because it was stopped.
    pub stopped: bool,
    /// How its last process ended, in words.
    pub last_exit: Option<String>,
}

impl UnitView {
    /// Without the processes from before this moment of the machine's monotonic clock: they end so that a new one can come.
    pub fn since(mut self, asked: Duration) -> Self {
        if self.last_start < asked {
            (self.main_pid, self.last_pid, self.last_exit) = (None, None, None);
        }
        self
    }
}

/// One look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// At the control socket.
    pub gateway: Gateway,
    /// At the unit, where there is one.
    pub unit: Option<UnitView>,
}

/// What the proof is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One look.
    Saw(View),
    /// The retry that it asked for cannot be made.
    NotRetried,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look again soon.
    Watch,
    /// It failed: start it once more, and look again.
    Retry(Failure),
    /// It is proved; and what went wrong before, if it took the retry.
    Proved(Sighting, Option<Failure>),
    /// It is over without success.
    Failed(Vec<Failure>),
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The old instance stayed.
    NeverLeft(Duration),
    /// No new instance was ready in time; whether there was one at all.
    NeverReady(Duration, bool),
    /// A new process came and ended before it was proved: after it was ready for so long, or before; and how it ended, if known.
    Died(Option<Duration>, Option<String>),
    /// Somebody stopped the service meanwhile.
    Stopped,
    /// The retry could not be made, because.
    NotRetried(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NeverLeft(limit) => write!(f, "the old instance was still there after {}", spoken(*limit)),
            Failure::NeverReady(limit, true) => write!(f, "a new instance came, but was not ready within {}", spoken(*limit)),
            Failure::NeverReady(limit, false) => write!(f, "no new instance came within {}", spoken(*limit)),
            Failure::Died(ready_for, how) => {
                match ready_for {
                    Some(span) => write!(f, "the new instance died when it had been ready for {}", spoken(*span))?,
                    None => f.write_str("the new instance died before it was ready")?,
                }
                how.as_ref().map_or(Ok(()), |how| write!(f, " ({how})"))
            }
            Failure::Stopped => f.write_str("the service was stopped by somebody else"),
            Failure::NotRetried(reason) => write!(f, "it could not be tried again: {reason}"),
        }
    }
}

/// The machine.
#[derive(Debug)]
pub struct Proof {
    limits: Limits,
    /// Instances and processes that count no more.
    spent: Vec<InstanceId>,
    spent_pids: Vec<u32>,
    first: Option<Failure>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Leaving { until: Instant },
    Starting { until: Instant, seen: Seen },
    Dwelling { who: Sighting, since: Instant, until: Instant },
    Over,
}

/// What was seen of a new instance that is not ready yet.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    instance: Option<InstanceId>,
    main_pid: Option<u32>,
}

impl Proof {
    /// Begins: the instance `old`, in the process `pid`, was told to go.
    pub fn begin(now: Instant, old: InstanceId, pid: u32, limits: Limits) -> Self {
        let stage = Stage::Leaving { until: now + limits.leave };
        Self { limits, spent: vec![old], spent_pids: vec![pid], first: None, stage }
    }

    /// Takes one event to what follows.
    pub fn step(&mut self, now: Instant, event: Event) -> Step {
        let Event::Saw(view) = event else { return self.over(Vec::new()) };
        let found = self.saw(now, &view).and_then(|proved| self.late(now).map(|()| proved));
        match found {
            Ok(None) => Step::Watch,
            Ok(Some(proved)) => {
                self.stage = Stage::Over;
                Step::Proved(proved, self.first.take())
            }
            Err(failure) if failure == Failure::Stopped || self.first.is_some() => {
                let failures = self.first.take().into_iter().chain([failure]).collect();
                self.over(failures)
            }
            Err(failure) => {
                self.spend(&view);
                self.first = Some(failure.clone());
                self.stage = Stage::Leaving { until: now + self.limits.leave };
                Step::Retry(failure)
            }
        }
    }

    /// Where it stands, for whoever watches; `at_work`: who still works, if that is known.
    pub fn words(&self, at_work: Option<&str>) -> String {
        match &self.stage {
            Stage::Leaving { .. } => format!("going down; {}", at_work.unwrap_or("the old instance does not answer")),
            Stage::Starting { seen, .. } if seen.instance.is_some() => "a new instance is there, not ready yet".into(),
            Stage::Starting { .. } => "the old instance is gone; waiting for a new one".into(),
            Stage::Dwelling { who, .. } => {
                format!("instance {} (pid {}) is ready; watched for {}", who.instance, who.pid, spoken(self.limits.dwell))
            }
            Stage::Over => "over".into(),
        }
    }

    fn over(&mut self, failures: Vec<Failure>) -> Step {
        self.stage = Stage::Over;
        Step::Failed(failures)
    }

    /// What one look shows: an instance that is proved, or what went wrong.
    fn saw(&mut self, now: Instant, view: &View) -> Result<Option<Sighting>, Failure> {
        let how = view.unit.as_ref().and_then(|unit| unit.last_exit.clone());
        if let Some(unit) = &view.unit {
            if unit.stopped {
                return Err(Failure::Stopped);
            }
            if let Some(reason) = &unit.failed {
                return Err(Failure::Died(self.ready_for(now), Some(reason.clone())));
            }
        }
        let main_pid = view.unit.as_ref().and_then(|unit| unit.main_pid).filter(|pid| !self.spent_pids.contains(pid));
        let new = match view.gateway {
            Gateway::There(sighting) if self.spent.contains(&sighting.instance) => return Ok(None),
            Gateway::There(sighting) => Some(sighting),
            Gateway::Unclear | Gateway::Nobody => None,
        };
        let silent = matches!(view.gateway, Gateway::Unclear);
        let until = now + self.limits.start;
        let (until, seen) = match &self.stage {
            Stage::Over => return Ok(None),
            Stage::Leaving { .. } if silent => return Ok(None),
            Stage::Leaving { .. } => (until, Seen::default()),
            Stage::Starting { until, seen } => (*until, *seen),
            Stage::Dwelling { who, until, .. } => (*until, Seen { instance: Some(who.instance), main_pid }),
        };
        let other = |before: Option<InstanceId>| before.is_some_and(|before| !silent && new.map(|new| new.instance) != Some(before));
        let gone = |before: Option<u32>| view.unit.is_some() && before.is_some_and(|before| main_pid != Some(before));
        // One that came and went between two looks.
        let last_pid = view.unit.as_ref().and_then(|unit| unit.last_pid).filter(|pid| !self.spent_pids.contains(pid));
        if other(seen.instance) || gone(seen.main_pid) || gone(last_pid) {
            return Err(Failure::Died(self.ready_for(now), how));
        }
        self.stage = match (new.filter(|new| new.ready), &self.stage) {
            (Some(new), Stage::Dwelling { who, since, .. }) if who.pid == new.pid => {
                if now.duration_since(*since) >= self.limits.dwell {
                    return Ok(Some(new));
                }
                return Ok(None);
            }
            (Some(new), _) => Stage::Dwelling { who: new, since: now, until },
            (None, _) => {
                let instance = new.map(|new| new.instance).or(seen.instance);
                Stage::Starting { until, seen: Seen { instance, main_pid: main_pid.or(seen.main_pid) } }
            }
        };
        Ok(None)
    }

    /// Whether time is up. Whoever dwells has come in time.
    fn late(&self, now: Instant) -> Result<(), Failure> {
        match &self.stage {
            Stage::Leaving { until } if now >= *until => Err(Failure::NeverLeft(self.limits.leave)),
            Stage::Starting { until, seen } if now >= *until => Err(Failure::NeverReady(self.limits.start, seen.instance.is_some())),
            _ => Ok(()),
        }
    }

    /// Whoever was seen so far does not count in the retry.
    fn spend(&mut self, view: &View) {
        match &self.stage {
            Stage::Starting { seen, .. } => {
                self.spent.extend(seen.instance);
                self.spent_pids.extend(seen.main_pid);
            }
            Stage::Dwelling { who, .. } => self.spent.push(who.instance),
            Stage::Leaving { .. } | Stage::Over => {}
        }
        if let Gateway::There(sighting) = view.gateway {
            self.spent.push(sighting.instance);
        }
        self.spent_pids.extend(view.unit.iter().flat_map(|unit| [unit.main_pid, unit.last_pid]).flatten());
    }

    fn ready_for(&self, now: Instant) -> Option<Duration> {
        match &self.stage {
            Stage::Dwelling { since, .. } => Some(now.duration_since(*since)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
