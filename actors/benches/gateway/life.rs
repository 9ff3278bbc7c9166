//! One life of the gateway on a runtime of its own, between people who wait for nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use switchboard_actors::children::ProcessGroups;
use switchboard_actors::clock::Clock;
use switchboard_actors::ids::{AdapterName, AgentName};
use switchboard_actors::ledger::Ledger;
use switchboard_actors::marker::Flag;
use switchboard_actors::protocol::{Bulletin, Shutdown};
use switchboard_actors::settings::{Access, AdapterSettings, Settings};
use switchboard_actors::shutdown::{RequestedBy, ShutdownKind, ShutdownReport};
use switchboard_actors::supervisor::{Gateway, Place, Ports, Supervisor};
use switchboard_actors::testkit::instant::{Oracle, People};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// Where a life takes place: an arbiter, and nothing else on its thread.
pub(crate) struct Stage {
    runtime: Runtime,
    local: LocalSet,
}

/// A life.
pub(crate) struct Life {
    /// Whoever speaks to it.
    pub(crate) people: People,
    /// The gateway.
    pub(crate) gateway: Gateway,
}

impl Stage {
    /// A new one.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        Self { runtime, local: LocalSet::new() }
    }

    /// Plays there.
    pub(crate) fn play<R>(&self, play: impl Future<Output = R>) -> R {
        self.local.block_on(&self.runtime, play)
    }
}

impl Life {
    /// Begins on `ledger` and waits until it is ready. Must be called within [`Stage::play`].
    pub(crate) async fn begin(ledger: Box<dyn Ledger>, marker: Option<PathBuf>) -> Self {
        let (people, platform) = People::and_their_platform();
        let (ready, is_ready) = oneshot::channel();
        let mut ready = Some(ready);
        let told = std::cell::RefCell::new(move |bulletin| {
            if let (Bulletin::Ready, Some(ready)) = (bulletin, ready.take()) {
                // Whoever measures a start has not waited for it.
                let _ = ready.send(());
            }
        });
        let runtime = tokio::runtime::Handle::current();
        let adapter = AdapterSettings {
            name: AdapterName::new("instant"),
            access: Access { allow: vec!["*".into()], admins: Vec::new(), pairing: false },
            rate: None,
            agent: AgentName::new("oracle"),
        };
        let gateway = Supervisor::start(Ports {
            settings: Arc::new(settings()),
            clock: Clock::system(),
            version: "bench".into(),
            ledger,
            place: Place::Thread,
            boot: None,
            remains: None,
            false_starts: Vec::new(),
            marker: marker.map(Flag::at),
            adapters: vec![(adapter, Arc::new(platform))],
            agents: HashMap::from([(AgentName::new("oracle"), Arc::new(Oracle) as Arc<_>)]),
            io: runtime.clone(),
            agent_runtime: runtime,
            reaper: Arc::new(ProcessGroups),
            bulletin: Box::new(move |bulletin| (told.borrow_mut())(bulletin)),
        });
        is_ready.await.expect("a gateway becomes ready");
        Self { people, gateway }
    }

    /// Shuts it down.
    pub(crate) async fn end(&self) -> ShutdownReport {
        let shutdown = Shutdown { kind: ShutdownKind::Stop, grace: None, requested_by: RequestedBy::Embedder, reason: None };
        self.gateway.supervisor.send(shutdown).await.expect("the supervisor answers").expect("a report")
    }
}

/// The defaults, but nobody is too loud and nobody leaves by themselves.
fn settings() -> Settings {
    let mut settings = Settings::defaults();
    settings.session.sender_per_minute = u32::MAX;
    settings.session.idle_after = Duration::from_secs(3600);
    settings
}
