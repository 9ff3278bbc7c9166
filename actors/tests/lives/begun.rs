//! A life that has begun, with people on one side of it and an agent on the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use switchboard_actors::agent::Agent;
use switchboard_actors::children::{ProcessGroups, boot};
use switchboard_actors::clock::Clock;
use switchboard_actors::ids::{AdapterName, AgentName};
use switchboard_actors::ledger::Ledger;
use switchboard_actors::platform::Outgoing;
use switchboard_actors::protocol::{Bulletin, Shutdown};
use switchboard_actors::settings::{Access, AdapterSettings, Settings};
use switchboard_actors::shutdown::{RequestedBy, ShutdownKind, ShutdownReport};
use switchboard_actors::supervisor::{Gateway, Place, Ports, Supervisor};
use switchboard_actors::testkit::instant::People;
use tokio::sync::mpsc;

/// Nothing here takes a tenth of this.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// A life.
pub(crate) struct Life {
    pub(crate) people: People,
    gateway: Gateway,
}

impl Life {
    /// Begins, and is ready.
    pub(crate) async fn begin(
        settings: Settings,
        ledger: impl Ledger + 'static,
        agent: impl Agent,
        agents: tokio::runtime::Handle,
    ) -> Self {
        let (people, platform) = People::and_their_platform();
        let (bulletin, mut bulletins) = mpsc::unbounded_channel();
        let name = AgentName::new("agent");
        let adapter = AdapterSettings {
            name: AdapterName::new("instant"),
            access: Access { allow: vec!["*".into()], admins: Vec::new(), pairing: false },
            rate: None,
            agent: name.clone(),
        };
        let gateway = Supervisor::start(Ports {
            settings: Arc::new(settings),
            clock: Clock::system(),
            version: "test".into(),
            ledger: Box::new(ledger),
            place: Place::Thread,
            boot: boot().ok(),
            remains: None,
            false_starts: Vec::new(),
            marker: None,
            adapters: vec![(adapter, Arc::new(platform))],
            agents: HashMap::from([(name, Arc::new(agent) as Arc<_>)]),
            io: tokio::runtime::Handle::current(),
            agent_runtime: agents,
            reaper: Arc::new(ProcessGroups),
            bulletin: Box::new(move |news| _ = bulletin.send(news)),
        });
        while bulletins.recv().await.expect("the supervisor lives") != Bulletin::Ready {}
        Self { people, gateway }
    }

    /// The next message to a room, whatever others hear meanwhile.
    pub(crate) async fn heard_in(&mut self, room: u64) -> String {
        let hear = async {
            loop {
                let Outgoing { room: to, text, .. } = self.people.hear().await;
                if to.as_str() == room.to_string() {
                    return text;
                }
            }
        };
        tokio::time::timeout(HANG, hear).await.unwrap_or_else(|_| panic!("nothing was said in room {room}"))
    }

    /// Stops with this grace.
    pub(crate) async fn stop(&self, grace: Option<Duration>) -> ShutdownReport {
        let stop = Shutdown { kind: ShutdownKind::Stop, grace, requested_by: RequestedBy::Embedder, reason: None };
        self.gateway.supervisor.send(stop).await.expect("the supervisor answers").expect("a report")
    }
}

/// Plays on this thread, with agents on threads of their own.
pub(crate) fn play<R>(play: impl AsyncFnOnce(tokio::runtime::Handle) -> R) -> R {
    let agents = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let result = tokio::task::LocalSet::new().block_on(&here, play(agents.handle().clone()));
    agents.shutdown_background();
    result
}
