//! A shutdown of sessions that have nothing to do: how long it takes and what it holds in memory.
//!
//! Each figure is one whole life, so it is printed, not sampled.

use std::time::Duration;

use switchboard_actors::ledger::sqlite::SqliteLedger;

use crate::life::{Life, Stage};
use crate::{disk, proc};

/// Sizes of the census.
const CENSUS: [u64; 3] = [1, 1000, 100_000];
/// For the largest census.
const GOAL: Duration = Duration::from_millis(500);
/// Resident bytes of a live idle session.
const IDLE_BYTES: u64 = 1500;
/// Bytes that a shutdown adds at its peak, per session.
const PEAK_BYTES: u64 = 130;

/// Shuts each census down once and prints what that took.
pub(crate) fn tell() {
    for census in CENSUS {
        disk::tell();
        let stage = Stage::new();
        stage.play(one(census));
    }
}

async fn one(census: u64) {
    let dir = disk::directory();
    let ledger = SqliteLedger::open(dir.path().join("ledger")).expect("a new ledger");
    let mut life = Life::begin(Box::new(ledger), Some(dir.path().join("clean"))).await;
    // Queues, caches and the allocator find their size on others, who then stay for the rest of it.
    let before_anybody = 2000;
    life.people.chatter(0..before_anybody.min(census)).await;
    let before = proc::resident();
    life.people.chatter(before_anybody.min(census)..census).await;
    let live = proc::resident();
    proc::forget_peak();
    let report = life.end().await;
    let peak = proc::peak();
    assert_eq!(report.census as u64, census, "everybody is still there");
    assert!(report.verdict.is_clean(), "{}", report.verdict);
    eprintln!("shutdown of {census} idle sessions: {:?} in all{}", report.took, verdict(census == CENSUS[2] && report.took > GOAL));
    for phase in &report.phases {
        eprintln!("    {:<10} began at {:?}, took {:?}", phase.phase.as_str(), phase.began, phase.took);
    }
    if census > before_anybody {
        let session = live.saturating_sub(before) / (census - before_anybody);
        let more = peak.saturating_sub(live) / census;
        eprintln!("    resident per idle session: {session} B (goal {IDLE_BYTES} B){}", verdict(session > IDLE_BYTES));
        eprintln!("    more at the peak of the shutdown, per session: {more} B (goal {PEAK_BYTES} B){}", verdict(more > PEAK_BYTES));
    }
}

fn verdict(missed: bool) -> &'static str {
    if missed { "  MISSED" } else { "" }
}
