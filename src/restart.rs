//! A restart that is proved: success means that a *new* instance is ready and stays so for the dwell time.
//!
//! [`proof`] decides; what is here shows it the control socket and the systemd unit, if there is one, and carries out the one retry
//! that it may ask for. What an operator is told when that fails too is [`help`], whether to begin at all [`patience`].

pub mod help;
pub mod patience;
pub mod proof;

use std::time::{Duration, Instant};

use switchboard_actors::escape::one_line;
use switchboard_actors::ids::SessionKey;
use switchboard_actors::texts::spoken;

use crate::control::client::{AskError, Sockets};
use crate::control::{Farewell, Request, Response, RunningTask, Status};
use crate::unit::Unit;
use help::Origin;
use proof::{Event, Failure, Gateway, Limits, Proof, Sighting, Step, UnitView, View};

/// How often a restart is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a gateway that must go for the retry may take, beside its own word on that.
const LEAVE_AT_LEAST: Duration = Duration::from_secs(10);
/// Nobody watches longer.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What a restart came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This instance is ready and stayed so; what went wrong before, if it took the retry.
    Proved(Sighting, Option<Failure>),
    /// Nobody is; what went wrong, first and last.
    Failed(Vec<Failure>),
    /// Whoever watched does not want to any more.
    Unwatched,
}

/// Watches a restart that has begun until it is proved or has failed twice. The gateway's control socket says who is there, its unit what
/// became of the process. `told` hears every step on the way, in words; once `enough` it ends without a result.
pub fn prove(sockets: &Sockets, origin: &Origin, limits: Limits, enough: &dyn Fn() -> bool, told: &mut dyn FnMut(&str)) -> Outcome {
    let mut proof = Proof::begin(Instant::now(), origin.instance, origin.pid, limits);
    let mut said = None;
    let mut onlooker = Onlooker::new(sockets, origin.unit.as_ref());
    loop {
        let (view, status) = onlooker.look();
        match proof.step(Instant::now(), Event::Saw(view)) {
            Step::Watch => {
                // Said again only when something is new, not whenever time has passed.
                let news = Some((proof.words(None), status.as_deref().map(workers)));
                if news != said {
                    told(&proof.words(status.as_deref().map(at_work).as_deref()));
                    said = news;
                }
            }
            Step::Retry(failure) => {
                told(&format!("{failure}; once more"));
                if let Err(reason) = retry(sockets, origin.unit.as_ref()) {
                    proof.step(Instant::now(), Event::NotRetried);
                    return Outcome::Failed(vec![failure, Failure::NotRetried(reason)]);
                }
            }
            Step::Proved(new, before) => return Outcome::Proved(new, before),
            Step::Failed(failures) => return Outcome::Failed(failures),
        }
        std::thread::sleep(LOOK_EVERY);
        if enough() {
            return Outcome::Unwatched;
        }
    }
}

/// The times within which a gateway that goes down `within` so long must be back. Whoever named them, none is longer than a year: a moment must come of it.
pub fn limits(within: Duration, start: Duration, dwell: Duration) -> Limits {
    Limits { leave: within.clamp(LEAVE_AT_LEAST, LONGEST), start: start.min(LONGEST), dwell: dwell.min(LONGEST) }
}

/// Who works, since when: counts beyond the first few.
pub fn at_work(status: &Status) -> String {
    /// Named at most.
    const NAMED: usize = 3;
    let task =
        |task: &RunningTask| format!("{} for {}", one_line(&task.session.to_string()), spoken(Duration::from_millis(task.for_millis)));
    let named: Vec<String> = status.running.iter().take(NAMED).map(task).collect();
    match (status.turns_running, status.turns_running.saturating_sub(named.len() as u64)) {
        (0, _) => "none running".into(),
        (count, 0) => format!("{count} running: {}", named.join(", ")),
        (count, more) => format!("{count} running: {} and {more} more", named.join(", ")),
    }
}

/// Whose tasks run.
pub fn workers(status: &Status) -> Vec<SessionKey> {
    let mut workers: Vec<SessionKey> = status.running.iter().map(|task| task.session.clone()).collect();
    workers.sort();
    workers
}

/// Looks at whoever answers, and at the unit.
pub(crate) struct Onlooker<'a> {
    sockets: &'a Sockets,
    unit: Option<&'a Unit>,
    main_pid: Option<u32>,
}

impl<'a> Onlooker<'a> {
    /// One who has seen nothing yet.
    pub(crate) fn new(sockets: &'a Sockets, unit: Option<&'a Unit>) -> Self {
        Self { sockets, unit, main_pid: None }
    }

    /// Looks once.
    pub(crate) fn look(&mut self) -> (View, Option<Box<Status>>) {
        let unit = self.unit.and_then(|unit| Some(self.with_last_exit(unit, unit.state()?)));
        let (gateway, status) = match self.sockets.ask(&Request::Status) {
            Ok(Response::Status(status)) => {
                let sighting = Sighting { instance: status.instance, pid: status.pid, ready: status.ready };
                (Gateway::There(sighting), Some(status))
            }
            Err(AskError::NoGateway { .. }) => (Gateway::Nobody, None),
            _ => (Gateway::Unclear, None),
        };
        (View { gateway, unit }, status)
    }

    /// A manager that has started another process since does not say any more how the one before it ended; its log does.
    fn with_last_exit(&mut self, unit: &Unit, mut seen: UnitView) -> UnitView {
        let before = std::mem::replace(&mut self.main_pid, seen.main_pid);
        if before.is_some() && seen.main_pid.is_some() && before != seen.main_pid {
            seen.last_exit = unit.logged_exit();
        }
        seen
    }
}

/// Asks the service manager, else the gateway itself if there is one.
fn retry(sockets: &Sockets, unit: Option<&Unit>) -> Result<(), String> {
    if let Some(unit) = unit {
        return unit.restart();
    }
    match sockets.ask(&Request::Restart(Farewell { grace_millis: None, reason: Some("the restart before failed".into()) })) {
        Ok(Response::GoingDown { .. }) => Ok(()),
        Ok(_) => Err("the gateway that is there would not restart".into()),
        Err(AskError::NoGateway { .. }) => Err("no gateway is there, and nothing that could start one is known".into()),
        Err(error) => Err(error.to_string()),
    }
}
