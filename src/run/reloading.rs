//! The configuration, read again: whole and good, or not at all. What differs is decided by [`Plan`]; what stands here reads, builds, hands it to the
//! actors, and tells whoever asked, the log and the service manager.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::Addr;
use switchboard_actors::live::Live;
use switchboard_actors::supervisor::Supervisor;
use tokio::sync::Mutex;

use super::parts::{Agents, Workshop};
use crate::config::{Config, Faults, Surroundings};
use crate::log::Level;
use crate::reload::Plan;
use crate::service::{self, Service};

/// Reads the configuration again when it is asked to.
pub(super) struct Reloader {
    pub(super) supervisor: Addr<Supervisor>,
    /// With what the process started.
    pub(super) started: Config,
    pub(super) in_force: Arc<Live<Config>>,
    pub(super) around: Surroundings,
    pub(super) workshop: Workshop,
    pub(super) level: Level,
    pub(super) service: Service,
    pub(super) io: tokio::runtime::Handle,
    /// What a life on trial would change is lost with it, and it must not hear or speak.
    pub(super) on_trial: bool,
    /// The agents in force. Whoever holds them reloads, and nobody else.
    pub(super) agents: Mutex<Agents>,
    /// The service manager was told that the gateway is ready; not before may it hear that of us.
    pub(super) ready: AtomicBool,
    /// The last reload failed.
    pub(super) failed: AtomicBool,
}

/// What a reload came to.
pub(super) enum Outcome {
    /// It is in force but for what needs a restart.
    Done { changes: Vec<String>, restart: Vec<String>, warnings: Vec<String> },
    /// It is bad; nothing changed.
    Faulty(Faults),
    /// Not now; nothing changed.
    Refused(String),
}

impl Reloader {
    /// Reloads, whether or not somebody waits for the outcome.
    pub(super) async fn reload(self: Arc<Self>, by: &'static str) -> Outcome {
        let whole = self.io.clone().spawn(async move {
            let mut agents = self.agents.lock().await;
            tracing::info!(%by, "reading the configuration again");
            let under_manager = self.ready.load(Ordering::Acquire);
            if under_manager {
                self.service.reloading();
            }
            let outcome = self.take_over(&mut agents).await;
            outcome.tell();
            self.failed.store(!matches!(outcome, Outcome::Done { .. }), Ordering::Release);
            if under_manager {
                self.service.reloaded(self.has_failed());
            }
            outcome
        });
        whole.await.unwrap_or_else(|error| Outcome::Refused(format!("the reload did not end: {error}")))
    }

    /// Whether the last reload failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    async fn take_over(&self, agents: &mut Agents) -> Outcome {
        if self.on_trial {
            return Outcome::Refused("a new version is on trial; whoever serves next reads the configuration anew".into());
        }
        let (old, around) = (self.in_force.now(), self.around.clone());
        let (known, read) = (old.clone(), tokio::task::spawn_blocking(move || known_again(&old, &around)).await);
        let (new, warnings) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(faults)) => return Outcome::Faulty(faults),
            Err(error) => return Outcome::Refused(format!("the configuration could not be read: {error}")),
        };
        let plan = Plan::between(&self.started, &known, new);
        let order = match self.workshop.rebuild(&plan, agents) {
            Ok(order) => order,
            Err(reason) => return Outcome::Refused(reason),
        };
        let built = order.agents.clone();
        match self.supervisor.send(order).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Outcome::Refused(reason),
            Err(error) => return Outcome::Refused(error.to_string()),
        }
        let Plan { in_force, changes, restart } = plan;
        *agents = built;
        self.level.set(&in_force.log.level);
        self.in_force.replace(Arc::new(in_force));
        Outcome::Done { changes: changes.iter().map(ToString::to_string).collect(), restart, warnings }
    }
}

/// Reads what was read before as it is now, fitted as at the start, and what is to be warned of that was not warned of before.
fn known_again(old: &Config, around: &Surroundings) -> Result<(Config, Vec<String>), Faults> {
    let mut new = old.load_again(around)?;
    let fitted = service::fit(&mut new.settings.shutdown);
    let told = |warning: &&String| !old.warnings.contains(warning);
    let warnings = fitted.into_iter().chain(new.warnings.iter().filter(told).cloned()).collect();
    Ok((new, warnings))
}

impl Outcome {
    /// One line per thing, for the log.
    fn tell(&self) {
        match self {
            Outcome::Done { changes, restart, warnings } => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                changes.iter().for_each(|change| tracing::info!("{change}"));
                restart.iter().for_each(|key| tracing::warn!("{key}: needs a restart"));
                tracing::info!(changes = changes.len(), restart = restart.len(), "configuration read again");
            }
            Outcome::Faulty(faults) => {
                faults.0.iter().for_each(|fault| tracing::error!("{fault}"));
                tracing::error!(faults = faults.0.len(), "reload failed: the configuration is bad, and nothing changed");
            }
            Outcome::Refused(reason) => tracing::error!(%reason, "reload refused: nothing changed"),
        }
    }
}
