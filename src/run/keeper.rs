//! Keeps the process in step with the gateway: signals become its messages, its bulletins become what the process does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use switchboard_actors::ids::InstanceId;
use switchboard_actors::live::Live;
use switchboard_actors::protocol::{Bulletin, Hurry, Shutdown};
use switchboard_actors::shutdown::{Phase, RequestedBy, ShutdownKind, ShutdownReport};
use switchboard_actors::supervisor::Gateway;
use tokio::sync::mpsc;

use super::on_trial::{self, OnTrial};
use super::reloading::Reloader;
use super::url::Url;
use super::vitals::Pulse;
use crate::config::Config;
use crate::exit::Exit;
use crate::http::door::Door;
use crate::scribe::Scribe;
use crate::service::Service;
use crate::signals::{Effect, Heard, Intent};
use crate::watchdog::Watchdog;

/// How long the server may take to begin with those that it accepted last.
const LAST_ACCEPTED: Duration = Duration::from_millis(100);

/// What it keeps in step.
pub(super) struct Keeper {
    pub(super) gateway: Gateway,
    pub(super) watchdog: Watchdog,
    pub(super) scribe: Scribe,
    pub(super) intent: Intent,
    pub(super) door: Door,
    pub(super) server_handle: actix_web::dev::ServerHandle,
    pub(super) in_force: Arc<Live<Config>>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) pulse: Pulse,
    /// Where there is a page.
    pub(super) url: Option<Arc<Url>>,
    pub(super) service: Service,
    pub(super) supervised: bool,
    /// The process outlives this life.
    pub(super) in_place: bool,
    pub(super) on_trial: Option<OnTrial>,
}

impl Keeper {
    /// Until the report is there; or why nothing more may be said.
    pub(super) async fn keep(
        &mut self,
        mut signals: mpsc::Receiver<Heard>,
        mut bulletins: mpsc::UnboundedReceiver<Bulletin>,
    ) -> Result<Arc<ShutdownReport>, String> {
        let mut ticks = tokio::time::interval(self.service.every());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(on_trial::LOOK_EVERY);
        loop {
            tokio::select! {
                Some(signal) = signals.recv() => self.hear(signal),
                _ = looks.tick(), if self.on_trial.is_some() => self.look_at_trial(),
                _ = ticks.tick() => {
                    if let Some(now) = self.pulse.fresh() {
                        self.service.tick(&now, self.watchdog.left(), self.reloader.has_failed());
                    }
                }
                bulletin = bulletins.recv() => {
                    let Some(bulletin) = bulletin else { return Err("the gateway's root is gone".into()) };
                    self.pulse.look_now();
                    match bulletin {
                        Bulletin::Born => self.scribe.born(self.gateway.instance),
                        Bulletin::Ready => {
                            self.ready();
                            // The last snapshot is from before: by it the next words would be that it is not ready.
                            ticks.reset();
                        }
                        Bulletin::GoingDown { kind, grace } => {
                            self.intent.going_down(exit_of(kind));
                            self.in_place = exit_of(kind) == Exit::Restart && (!self.supervised || self.trial_is_over());
                            self.watchdog.arm(grace + self.in_force.now().settings.shutdown.margin, exit_of(kind));
                        }
                        Bulletin::Phase(phase) => {
                            self.scribe.enters(phase);
                            self.service.phase(phase, self.watchdog.left().unwrap_or_default(), self.in_place);
                            if phase == Phase::Disconnect {
                                self.door.close();
                                self.pulse.rest_http();
                                actix_rt::spawn(end_server(self.server_handle.clone()));
                            }
                        }
                        Bulletin::Down(report) => return Ok(report),
                        Bulletin::Lost(reason) => return Err(format!("the ledger is lost: {reason}. Nothing more is said; look at the disk")),
                    }
                }
            }
        }
    }

    pub(super) fn trial_is_over(&self) -> bool {
        self.on_trial.as_ref().is_some_and(OnTrial::is_over)
    }

    fn ready(&mut self) {
        let InstanceId(instance) = self.gateway.instance;
        tracing::info!(%instance, "ready");
        self.service.ready();
        self.reloader.ready.store(true, Ordering::Release);
        match &mut self.on_trial {
            Some(trial) => trial.ready(),
            None => self.url.iter().for_each(|url| url.tell()),
        }
    }

    /// A trial that was kept is over: the same program comes back to serve.
    fn look_at_trial(&mut self) {
        if self.on_trial.as_mut().is_some_and(OnTrial::look) {
            let (kind, reason) = (ShutdownKind::Update, Some("the trial is over".into()));
            self.gateway.supervisor.do_send(Shutdown { kind, grace: None, requested_by: RequestedBy::Gateway, reason });
        }
    }

    fn hear(&self, Heard { effect: signal, sender }: Heard) {
        let by = |name| RequestedBy::Signal(name, sender.clone());
        let shut_down = |kind, grace, name| {
            let shutdown = Shutdown { kind, grace, requested_by: by(name), reason: None };
            self.gateway.supervisor.do_send(shutdown);
        };
        match signal {
            // Whoever stops a service by a signal has a limit that was fitted to this grace, however long another was granted.
            Effect::Stop(signal) => shut_down(ShutdownKind::Stop, Some(self.in_force.now().settings.shutdown.grace), signal.name()),
            Effect::Restart(signal) => shut_down(ShutdownKind::Restart, None, signal.name()),
            Effect::Hurry(signal) => {
                tracing::info!(%signal, "hurrying");
                self.gateway.supervisor.do_send(Hurry(Some(by(signal.name()))));
            }
            Effect::Reload(signal) => {
                // It works beside us, and is told in the log.
                actix_rt::spawn(self.reloader.clone().reload(signal.name()));
            }
            Effect::Ignored(signal) => tracing::info!(%signal, "ignored: the gateway is going down"),
            // Carried out by the thread that heard it.
            Effect::ExitNow(_) => {}
        }
    }
}

/// Accepts nobody any more, and then ends the server: whoever connects meanwhile waits in the kernel for the next life. Ended at once, it hangs up on
/// those that it has accepted and not begun to serve.
async fn end_server(server: actix_web::dev::ServerHandle) {
    server.pause().await;
    // Its threads hear of that by themselves.
    tokio::time::sleep(LAST_ACCEPTED).await;
    server.stop(true).await;
}

/// How the process ends after a shutdown of this kind: the intent, not the verdict.
pub(super) fn exit_of(kind: ShutdownKind) -> Exit {
    match kind {
        ShutdownKind::Stop => Exit::Done,
        ShutdownKind::Restart | ShutdownKind::Update => Exit::Restart,
    }
}
