//! The clean-shutdown flag, written as it is at the end of every clean life.

use criterion::Criterion;
use switchboard_actors::ids::{InstanceId, Seq};
use switchboard_actors::marker::{self, FORMAT, Marker};
use switchboard_actors::shutdown::ShutdownKind;

use crate::disk;

/// Measures the write: two fsyncs and a rename.
pub(crate) fn bench(criterion: &mut Criterion) {
    let dir = disk::directory();
    disk::tell();
    let path = dir.path().join("clean");
    let flag = Marker {
        format: FORMAT,
        ledger: uuid::Uuid::nil(),
        instance: InstanceId::fresh(),
        last_seq: Seq(1_000_000),
        kind: ShutdownKind::Stop,
        census: 1000,
        version: "bench".into(),
    };
    let mut group = criterion.benchmark_group("marker");
    group.sample_size(20);
    group.bench_function("write", |bencher| bencher.iter(|| marker::write(&path, &flag).expect("the disk works")));
    group.finish();
}
