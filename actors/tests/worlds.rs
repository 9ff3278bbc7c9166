//! Worlds: real actors, scripted edges, a paused clock, a trace compared as text.
//!
//! That the outcomes of a shutdown add up to its census, and that no actor outlives it, is checked by every world by itself.

use std::time::Duration;

use switchboard_actors::shutdown::{NoticeFate, Outcome, ShutdownReport};
use switchboard_actors::testkit::worker::Worker;
use switchboard_actors::testkit::world::World;

#[path = "worlds/access.rs"]
mod access;
#[path = "worlds/adapters.rs"]
mod adapters;
#[path = "worlds/announce.rs"]
mod announce;
#[path = "worlds/approvals.rs"]
mod approvals;
#[path = "worlds/busy.rs"]
mod busy;
#[path = "worlds/commands.rs"]
mod commands;
#[path = "worlds/drafts.rs"]
mod drafts;
#[path = "worlds/drain.rs"]
mod drain;
#[path = "worlds/joins.rs"]
mod joins;
#[path = "worlds/ledger_ill.rs"]
mod ledger_ill;
#[path = "worlds/mark.rs"]
mod mark;
#[path = "worlds/panics.rs"]
mod panics;
#[path = "worlds/passivation.rs"]
mod passivation;
#[path = "worlds/quiesce.rs"]
mod quiesce;
#[path = "worlds/reconfigure.rs"]
mod reconfigure;
#[path = "worlds/recovery.rs"]
mod recovery;
#[path = "worlds/replies.rs"]
mod replies;
#[path = "worlds/requests.rs"]
mod requests;
#[path = "worlds/storms.rs"]
mod storms;
#[path = "worlds/typing.rs"]
mod typing;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A world with a worker in it.
fn world() -> (World, Worker) {
    let (mut world, worker) = (World::new(), Worker::default());
    world.set_agent(worker.clone());
    (world, worker)
}

/// Every session that was not idle: its room, its member, its outcome.
fn outcomes(report: &ShutdownReport) -> Vec<(String, Outcome)> {
    let name = |session: &switchboard_actors::ids::SessionKey| match &session.member {
        Some(member) => format!("{} {member}", session.chat.room),
        None => session.chat.room.to_string(),
    };
    report.sessions.iter().map(|end| (name(&end.session), end.outcome)).collect()
}

/// Every chat that was to be told: its room, and what became of that in a word.
fn told(report: &ShutdownReport) -> Vec<(String, String)> {
    let word = |fate: &NoticeFate| match fate {
        NoticeFate::Sent => "sent".to_owned(),
        NoticeFate::Unknown => "unknown".to_owned(),
        NoticeFate::Failed { reason } => format!("failed: {reason}"),
        NoticeFate::NotNeeded => "not needed".to_owned(),
        NoticeFate::Told => "told".to_owned(),
    };
    report.notices.iter().map(|(chat, fate)| (chat.room.to_string(), word(fate))).collect()
}

/// Pairs as they are written in expectations.
fn pairs<B: Clone>(list: &[(&str, B)]) -> Vec<(String, B)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), b.clone())).collect()
}

/// As [`pairs`], of words.
fn words(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}
