//! The time as the gateway sees it, in one place, so that a test's paused clock reaches everything.
//!
//! Machines never ask for the time: they are told ([`Moment`]). What is stored is [`Wall`] time and is clamped on load,
//! because a wall clock can jump; nothing is ever ordered by it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Time since this instance started. It never jumps and never goes back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long ago `earlier` was; nothing when it lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// How long until `later`; nothing when it has passed.
    pub fn until(self, later: Moment) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(span))
    }
}

impl std::ops::Sub<Duration> for Moment {
    type Output = Moment;

    /// Stops at the start of the instance.
    fn sub(self, span: Duration) -> Moment {
        Moment(self.0.saturating_sub(span))
    }
}

/// Wall time in milliseconds since 1970, for what is stored and what is shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub i64);

impl Wall {
    /// The time from `earlier` to `self`, or `None` when it is negative or longer than ten years: then a clock jumped, and a
    /// text should rather say nothing.
    pub fn since(self, earlier: Wall) -> Option<Duration> {
        let millis = u64::try_from(self.0.checked_sub(earlier.0)?).ok()?;
        (millis <= 10 * 366 * 86_400_000).then(|| Duration::from_millis(millis))
    }

    /// `span` later.
    pub fn plus(self, span: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long to wait from `self` for `due`, clamped to `most`: a clock that jumped back must not stop a retry for a year.
    pub fn wait_for(self, due: Wall, most: Duration) -> Duration {
        let millis = u64::try_from(due.0.saturating_sub(self.0)).unwrap_or(0);
        Duration::from_millis(millis).min(most)
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where the time comes from.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    /// Wall time at the start.
    born: Wall,
    /// Set in worlds: wall time then follows the paused clock.
    origin: Option<Wall>,
}

impl Clock {
    /// The system's clocks.
    pub fn system() -> Self {
        Self { start: Instant::now(), born: system_wall(), origin: None }
    }

    /// Wall time runs from `origin` along tokio's clock, paused or not.
    pub fn from_origin(origin: Wall) -> Self {
        Self { start: Instant::now(), born: origin, origin: Some(origin) }
    }

    /// Time since the start.
    pub fn now(&self) -> Moment {
        Moment(self.start.elapsed())
    }

    /// Wall time.
    pub fn wall(&self) -> Wall {
        match self.origin {
            Some(origin) => origin.plus(self.start.elapsed()),
            None => system_wall(),
        }
    }

    /// Wall time, but never later than the start and the time since: by a clock that leapt ahead nothing of this life is old.
    pub fn careful_wall(&self) -> Wall {
        self.wall().min(self.born.plus(self.start.elapsed()))
    }

    /// The tokio instant of a moment, to wait for it.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.0
    }
}

fn system_wall() -> Wall {
    Wall(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    })
}
