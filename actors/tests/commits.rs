//! How many commits stand between a message and its reply, with the writer on a thread of its own, as the daemon runs it.

use std::collections::HashMap;
use std::sync::Arc;

use switchboard_actors::children::ProcessGroups;
use switchboard_actors::clock::Clock;
use switchboard_actors::ids::{AdapterName, AgentName};
use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::ledger::{Fate, Step};
use switchboard_actors::protocol::{Bulletin, Shutdown};
use switchboard_actors::settings::{Access, AdapterSettings, Settings};
use switchboard_actors::shutdown::{RequestedBy, ShutdownKind};
use switchboard_actors::supervisor::{Place, Ports, Supervisor};
use switchboard_actors::testkit::instant::{Oracle, People};
use switchboard_actors::testkit::watched::WatchedLedger;
use tokio::sync::mpsc;

/// The steps of a message's way, by name; others ride along in any commit.
fn name(step: &Step) -> Option<&'static str> {
    match step {
        Step::Accept(_) => Some("accept"),
        Step::Start(_) => Some("start"),
        Step::Finish(_) => Some("finish"),
        Step::Fate { fate: Fate::Sending, .. } => Some("sending"),
        Step::Fate { fate: Fate::Sent { .. }, .. } => Some("sent"),
        _ => None,
    }
}

#[test]
fn a_message_waits_for_two_commits() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (told, mut commits) = mpsc::unbounded_channel();
    let ledger = WatchedLedger::new(MemoryLedger::new(), move |steps, _| {
        let names: Vec<_> = steps.iter().filter_map(name).collect();
        // The last commits come after the test has seen enough.
        let _ = told.send(names);
    });
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (mut people, platform) = People::and_their_platform();
        let (bulletin, mut bulletins) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Handle::current();
        let adapter = AdapterSettings {
            name: AdapterName::new("instant"),
            access: Access { allow: vec!["*".into()], admins: Vec::new(), pairing: false },
            rate: None,
            agent: AgentName::new("oracle"),
        };
        let gateway = Supervisor::start(Ports {
            settings: Arc::new(Settings::defaults()),
            clock: Clock::system(),
            version: "test".into(),
            ledger: Box::new(ledger),
            place: Place::Thread,
            boot: None,
            remains: None,
            false_starts: Vec::new(),
            marker: None,
            adapters: vec![(adapter, Arc::new(platform))],
            agents: HashMap::from([(AgentName::new("oracle"), Arc::new(Oracle) as Arc<_>)]),
            io: runtime.clone(),
            agent_runtime: runtime,
            reaper: Arc::new(ProcessGroups),
            bulletin: Box::new(move |news| _ = bulletin.send(news)),
        });
        while bulletins.recv().await.expect("the supervisor lives") != Bulletin::Ready {}
        // A new session, and then the same one: it is awake already.
        for _ in 0..2 {
            people.say(7, "is it so?");
            let mut way = Vec::new();
            while way.last().is_none_or(|names: &Vec<&str>| !names.contains(&"sent")) {
                way.push(commits.recv().await.expect("the ledger lives"));
            }
            way.retain(|names| !names.is_empty());
            assert_eq!(way, [vec!["accept", "start"], vec!["finish"], vec!["sent"]]);
        }
        let stop = Shutdown { kind: ShutdownKind::Stop, grace: None, requested_by: RequestedBy::Embedder, reason: None };
        let report = gateway.supervisor.send(stop).await.expect("the supervisor answers").expect("a report");
        assert!(report.verdict.is_clean(), "{}", report.verdict);
    });
}
