//! How many commits stand between a message and its reply, with the writer on a thread of its own, as the daemon runs it.

use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::ledger::{Fate, Step};
use switchboard_actors::settings::Settings;
use switchboard_actors::testkit::instant::Oracle;
use switchboard_actors::testkit::watched::WatchedLedger;
use tokio::sync::mpsc;

use super::begun::Life;

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
        let mut life = Life::begin(Settings::defaults(), ledger, Oracle, tokio::runtime::Handle::current()).await;
        // A new session, and then the same one: it is awake already.
        for _ in 0..2 {
            life.people.say(7, "is it so?");
            let mut way = Vec::new();
            while way.last().is_none_or(|names: &Vec<&str>| !names.contains(&"sent")) {
                way.push(commits.recv().await.expect("the ledger lives"));
            }
            way.retain(|names| !names.is_empty());
            assert_eq!(way, [vec!["accept", "start"], vec!["finish"], vec!["sent"]]);
        }
        let report = life.stop(None).await;
        assert!(report.verdict.is_clean(), "{}", report.verdict);
    });
}
