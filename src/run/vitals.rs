//! The gateway's pulse: a snapshot that is taken again and again, so that a probe asks nobody. A snapshot that grows old is itself the sign
//! that something hangs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use switchboard_actors::last_words::Cause;
use switchboard_actors::protocol::{AdapterHealth, GetStatus, Status};
use switchboard_actors::supervisor::Gateway;
use tokio::sync::Notify;

use crate::exit::Exit;
use crate::http::figures::Figures;
use crate::http::health::{Part, Vitals};
use crate::scribe::Scribe;
use crate::signals::Intent;

/// How often the pulse is felt.
const EVERY: Duration = Duration::from_millis(500);
/// Without a pulse for this long the gateway hangs.
const HUNG: Duration = Duration::from_secs(10);

/// The last snapshot, and when it was taken. Clones share it.
#[derive(Clone)]
pub(super) struct Pulse {
    last: Arc<Mutex<(Instant, Option<Status>)>>,
    now: Arc<Notify>,
}

impl Pulse {
    /// Feels the gateway's pulse for as long as it lives. Without one for `hung_after`, while no shutdown is under way (that has a
    /// watchdog of its own), the process is ended from a thread of its own: whoever supervises it starts it again.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn begin(
        gateway: &Gateway,
        io: &tokio::runtime::Handle,
        hung_after: Duration,
        intent: Intent,
        scribe: Scribe,
    ) -> std::io::Result<Self> {
        let pulse = Self { last: Arc::new(Mutex::new((Instant::now(), None))), now: Arc::new(Notify::new()) };
        let (felt, supervisor) = (pulse.clone(), gateway.supervisor.clone().recipient::<GetStatus>());
        io.spawn(async move {
            while let Ok(status) = supervisor.send(GetStatus).await {
                *felt.last.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Some(*status));
                _ = tokio::time::timeout(EVERY, felt.now.notified()).await;
            }
        });
        let watched = pulse.clone();
        std::thread::Builder::new().name("heartbeat".into()).spawn(move || {
            while watched.silent_for() < hung_after || intent.exit_code().is_some() {
                std::thread::sleep(EVERY);
            }
            scribe.last_word(Exit::Hung.code(), Cause::Hung);
            signal_hook::low_level::exit(i32::from(Exit::Hung.code()));
        })?;
        Ok(pulse)
    }

    /// The last snapshot, unless it is so old that something hangs.
    pub(super) fn fresh(&self) -> Option<Status> {
        self.status().filter(|_| self.silent_for() < HUNG)
    }

    /// Something has changed: the next probe should know.
    pub(super) fn look_now(&self) {
        self.now.notify_one();
    }

    /// The last snapshot.
    pub(super) fn status(&self) -> Option<Status> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn silent_for(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).0.elapsed()
    }
}

impl Vitals for Pulse {
    fn live(&self) -> Vec<Part> {
        let silent = self.silent_for();
        vec![if silent < HUNG {
            Part::well("actors")
        } else {
            Part::unwell("actors", format!("no sign of life for {} s", silent.as_secs()))
        }]
    }

    fn ready(&self) -> Vec<Part> {
        let mut parts = self.live();
        match self.status() {
            None => parts.push(Part::unwell("gateway", "starting")),
            Some(status) => parts.extend(status.not_ready.into_iter().map(|trouble| match trouble.split_once(": ") {
                Some((part, trouble)) => Part::unwell(part, trouble),
                None => Part::unwell("gateway", trouble),
            })),
        }
        parts
    }

    fn figures(&self) -> Figures {
        let Some(status) = self.status() else { return Figures::default() };
        let connected = |(name, health): &(_, AdapterHealth)| (format!("{name}"), matches!(health, AdapterHealth::Connected));
        Figures {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: Duration::from_millis(status.up_ms),
            sessions: status.sessions as u64,
            turns_running: status.running_count as u64,
            runs_abandoned: status.abandoned as u64,
            messages_waiting: status.waiting as u64,
            messages_accepted: status.accepted,
            replies_delivered: status.delivered,
            adapters_connected: status.adapters.iter().map(connected).collect::<BTreeMap<_, _>>(),
            ledger_up: status.ledger.is_ok(),
            unclean_starts: u64::from(status.unclean_starts),
            going_down: status.phase.is_some(),
        }
    }
}
