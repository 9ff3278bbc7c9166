//! The gateway's pulse: a snapshot that is taken again and again, so that a probe asks nobody. A snapshot that grows old is itself the sign
//! that something hangs; so is a server whose heart stands still. Every arbiter of the process is measured: there are these two.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::Recipient;
use switchboard_actors::last_words::Cause;
use switchboard_actors::protocol::{AdapterHealth, GetStatus, Status};
use tokio::sync::Notify;

use crate::exit::Exit;
use crate::http::figures::Figures;
use crate::http::health::{Part, Vitals};
use crate::http::heart::Heart;
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
    http: Heart,
}

impl Pulse {
    /// Feels the pulse of whoever knows the `status`, for as long as it lives, and of the server. Without one for `hung_after`, while no shutdown is under way (that has a
    /// watchdog of its own), the process is ended from a thread of its own: whoever supervises it starts it again.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn begin(
        status: Recipient<GetStatus>,
        http: Heart,
        io: &tokio::runtime::Handle,
        hung_after: Duration,
        intent: Intent,
        scribe: Scribe,
    ) -> std::io::Result<Self> {
        let pulse = Self::unfelt(http);
        io.spawn(pulse.clone().feel(status));
        let watched = pulse.clone();
        std::thread::Builder::new().name("heartbeat".into()).spawn(move || {
            let mut awake = Instant::now();
            while watched.silent_for().min(awake.elapsed()) < hung_after || intent.exit_code().is_some() {
                let before = Instant::now();
                std::thread::sleep(EVERY);
                // The whole process stood still, by Ctrl-Z or a freezer: nobody could give a sign, and everybody has the time anew.
                if before.elapsed() > EVERY * 4 {
                    awake = Instant::now();
                }
            }
            scribe.last_word(Exit::Hung.code(), Cause::Hung);
            signal_hook::low_level::exit(i32::from(Exit::Hung.code()));
        })?;
        Ok(pulse)
    }

    fn unfelt(http: Heart) -> Self {
        Self { last: Arc::new(Mutex::new((Instant::now(), None))), now: Arc::new(Notify::new()), http }
    }

    async fn feel(self, status: Recipient<GetStatus>) {
        while status.connected() {
            // One that falls over the question has no answer to it, and is there for the next.
            if let Ok(status) = status.send(GetStatus).await {
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Some(*status));
            }
            _ = tokio::time::timeout(EVERY, self.now.notified()).await;
        }
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

    /// The server is told to end.
    pub(super) fn rest_http(&self) {
        self.http.rest();
    }

    fn silent_for(&self) -> Duration {
        self.actors_silent_for().max(self.http.silent_for())
    }

    fn actors_silent_for(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).0.elapsed()
    }
}

impl Vitals for Pulse {
    fn live(&self) -> Vec<Part> {
        let part = |name: &str, silent: Duration| match silent < HUNG {
            true => Part::well(name),
            false => Part::unwell(name, format!("no sign of life for {} s", silent.as_secs())),
        };
        vec![part("actors", self.actors_silent_for()), part("http", self.http.silent_for())]
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

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler, MessageResult, Supervised};
    use switchboard_actors::clock::Clock;
    use switchboard_actors::ids::InstanceId;
    use switchboard_actors::settings::Settings;
    use switchboard_actors::supervision::intensity::Intensity;
    use switchboard_actors::supervision::{ChildSpec, Name, Nursery};

    use super::*;

    /// Falls over the first questions.
    struct Root(u32);

    impl Actor for Root {
        type Context = Context<Self>;
    }

    impl Supervised for Root {}

    impl Handler<GetStatus> for Root {
        type Result = MessageResult<GetStatus>;

        fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
            self.0 -= u32::from(self.0 > 0);
            assert_eq!(self.0, 0, "as the test has it");
            MessageResult(Box::new(Status {
                instance: InstanceId(uuid::Uuid::nil()),
                up_ms: 0,
                not_ready: Vec::new(),
                phase: None,
                held: None,
                sessions: 0,
                running: Vec::new(),
                running_count: 0,
                waiting: 0,
                unclean_starts: 0,
                ledger: Ok(()),
                adapters: Vec::new(),
                adapters_waiting: 0,
                adapters_wait_ms: 0,
                accepted: 0,
                delivered: 0,
                abandoned: 0,
            }))
        }
    }

    #[test]
    fn g32_a_root_that_fell_over_the_question_how_it_is_has_a_pulse_all_the_same() {
        actix_rt::System::new().block_on(async {
            let nursery = Nursery::new(Clock::system());
            let spec = ChildSpec { name: Name::Fixed("root".into()), intensity: Intensity::endless(&Settings::defaults().supervision) };
            let root = nursery.start(spec, |_| Root(3), |_| {});
            let pulse = Pulse::unfelt(Heart::default());
            let feeling = actix_rt::spawn(pulse.clone().feel(root.recipient()));
            let felt = async {
                while pulse.fresh().is_none() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), felt).await.expect("a pulse");
            feeling.abort();
        });
    }
}
