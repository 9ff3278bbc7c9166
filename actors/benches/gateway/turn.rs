//! A message to its reply through the whole system.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use switchboard_actors::ledger::Ledger;
use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::ledger::sqlite::SqliteLedger;

use crate::disk;
use crate::life::{Life, Stage};

/// One person at a time, and a thousand at once.
const CROWDS: [u64; 2] = [1, 1000];

/// Measures turns on both engines.
pub(crate) fn bench(criterion: &mut Criterion) {
    let dir = disk::directory();
    disk::tell();
    let memory: Box<dyn Ledger> = Box::new(MemoryLedger::new());
    let sqlite: Box<dyn Ledger> = Box::new(SqliteLedger::open(dir.path().join("ledger")).expect("a new ledger"));
    for (name, ledger) in [("memory", memory), ("sqlite", sqlite)] {
        measure(criterion, name, ledger);
    }
}

fn measure(criterion: &mut Criterion, engine: &str, ledger: Box<dyn Ledger>) {
    let stage = Stage::new();
    let mut life = stage.play(Life::begin(ledger, None));
    let mut group = criterion.benchmark_group(format!("turn/{engine}"));
    group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    for crowd in CROWDS {
        group.throughput(Throughput::Elements(crowd));
        group.bench_function(BenchmarkId::from_parameter(crowd), |bencher| {
            bencher.iter_custom(|rounds| {
                let began = Instant::now();
                stage.play(async {
                    for _ in 0..rounds {
                        life.people.chatter(0..crowd).await;
                    }
                });
                began.elapsed()
            });
        });
    }
    group.finish();
    stage.play(life.end());
}
