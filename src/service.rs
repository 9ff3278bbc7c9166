//! What the service manager is told, and what it grants.
//!
//! A service cannot read its own stop time-out, so it asks: during a shutdown `EXTEND_TIMEOUT_USEC` is repeated well within the time it names, for
//! as long as the gateway shows signs of life, and `STOPPING=1`, which starts the manager's own clock (for good, since systemd 259), is said
//! only when the drain is over (systemd: sd_notify(3)). Where the limit cannot be asked it is configured, and the grace stays below it.

use std::fmt::Write as _;
use std::time::Duration;

use sd_notify::NotifyState;
use switchboard_actors::protocol::Status;
use switchboard_actors::shutdown::{Budgets, Phase};

/// How often the manager hears of us.
pub const EVERY: Duration = Duration::from_secs(2);
/// Until the next reload is good.
const RELOAD_FAILED: &str = "the last reload failed and changed nothing; the log says why";
/// How much time is asked for at once: several of our words may be late.
const ASK: Duration = Duration::from_secs(15);

/// What a version on trial is about.
const TRIAL: &str = "on trial: hearing and saying nothing";

/// Tells the service manager, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// How often the watchdog wants to be fed.
    watchdog: Option<Duration>,
    /// Whether it only shows that it could serve.
    on_trial: bool,
}

impl Service {
    /// What the environment says of it.
    pub fn of_process(on_trial: bool) -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), on_trial }
    }

    /// How often [`tick`](Self::tick) is due.
    pub fn every(&self) -> Duration {
        self.watchdog.map_or(EVERY, |limit| (limit / 3).min(EVERY))
    }

    /// The gateway serves.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready, NotifyState::Status(self.doing())]);
    }

    fn doing(&self) -> &'static str {
        if self.on_trial { TRIAL } else { "serving" }
    }

    /// The configuration is being read again: `Type=notify-reload` wants to know since when (systemd: sd_notify(3)).
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "there is no monotonic time"),
        }
    }

    /// It was read, or refused: either way the gateway serves.
    pub fn reloaded(&self, failed: bool) {
        tell(&[NotifyState::Ready, NotifyState::Status(if failed { RELOAD_FAILED } else { self.doing() })]);
    }

    /// The gateway shows a sign of life: `now` is fresh. `left`: the time until a shutdown under way is over, margin included.
    /// `reload_failed`: the last one did, and nobody has mended that.
    pub fn tick(&self, now: &Status, left: Option<Duration>, reload_failed: bool) {
        let mut status = words(now, left, self.on_trial);
        if reload_failed {
            status.push_str("; ");
            status.push_str(RELOAD_FAILED);
        }
        let mut news = vec![NotifyState::Status(&status)];
        if self.watchdog.is_some() {
            news.push(NotifyState::Watchdog);
        }
        news.extend(left.map(more_time));
        tell(&news);
    }

    /// A phase of the shutdown begins. A process that goes on `in_place` does not stop: once told so, the manager would end it within its limit,
    /// however ready the next life is.
    pub fn phase(&self, phase: Phase, left: Duration, in_place: bool) {
        match phase {
            Phase::Flush if !in_place => tell(&[NotifyState::Stopping, NotifyState::Status("delivering what is due"), more_time(left)]),
            // First before the original time-out can be over.
            Phase::Quiesce | Phase::Interrupt | Phase::Flush => tell(&[more_time(left)]),
            _ => {}
        }
    }
}

/// Asks for a part of the time that is left.
fn more_time(left: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(left.min(ASK).as_micros()).unwrap_or(u32::MAX))
}

fn tell(news: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// One line for `systemctl status`: counts and our own words only.
fn words(now: &Status, left: Option<Duration>, on_trial: bool) -> String {
    match (now.phase, left) {
        (Some(phase), Some(left)) => format!("{phase}: {} tasks running, up to {} s left", now.running_count, left.as_secs()),
        _ => match now.not_ready.len() {
            0 if on_trial => TRIAL.into(),
            0 => {
                let mut words = format!("serving: {} conversations, {} tasks running", now.sessions, now.running_count);
                if let Some(held) = &now.held {
                    _ = write!(words, "; tasks are {held}");
                }
                if now.adapters_waiting > 0 {
                    let wait = Duration::from_millis(now.adapters_wait_ms).as_secs() + 1;
                    _ = write!(words, "; {} adapters connect in {wait} s, as the starts before failed", now.adapters_waiting);
                }
                words
            }
            _ => format!("not ready: {} parts; see `switchboard status`", now.not_ready.len()),
        },
    }
}

/// Fits the grace below a limit of the manager that cannot be asked for. What was changed, in words.
pub fn fit(budgets: &mut Budgets) -> Option<String> {
    let most = budgets.manager_limit.saturating_sub(budgets.margin);
    if budgets.manager_limit.is_zero() || budgets.grace <= most {
        return None;
    }
    let wanted = std::mem::replace(&mut budgets.grace, most);
    let mut said = format!(
        "shutdown.grace is {wanted:?}, but the service manager kills after shutdown.manager_limit = {:?}: the grace is {most:?}, \
         which leaves the margin of {:?}",
        budgets.manager_limit, budgets.margin
    );
    let least = budgets.least();
    if least > most {
        // The grace is never shorter than what the phases need: they get less, each in proportion.
        let share = most.as_secs_f64() / least.as_secs_f64();
        let phases = [&mut budgets.roll_call, &mut budgets.announce, &mut budgets.interrupt, &mut budgets.flush, &mut budgets.disconnect];
        phases.into_iter().for_each(|phase| *phase = phase.mul_f64(share));
        said.push_str(&format!("; the phases of a shutdown need {least:?}, so nothing is left for running tasks, and each phase has less"));
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use switchboard_actors::settings::Settings;

    use super::*;

    #[test]
    fn g12_the_grace_stays_below_the_managers_limit() {
        let check = |grace: u64, limit: u64, expected: u64, told: bool| {
            let mut budgets = Settings::defaults().shutdown;
            (budgets.grace, budgets.manager_limit, budgets.margin) =
                (Duration::from_secs(grace), Duration::from_secs(limit), Duration::from_secs(5));
            assert_eq!((fit(&mut budgets).is_some(), budgets.grace), (told, Duration::from_secs(expected)), "{grace} under {limit}");
            // What a shutdown takes at least fits as well, but for a rounding.
            assert!(!told || budgets.least() <= budgets.grace + Duration::from_micros(1), "{grace} under {limit}: {budgets:?}");
        };
        check(60, 0, 60, false);
        check(60, 90, 60, false);
        check(60, 65, 60, false);
        check(60, 30, 25, true);
        check(60, 10, 5, true);
        check(60, 3, 0, true);
    }
}
