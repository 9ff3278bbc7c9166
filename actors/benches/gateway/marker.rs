//! The clean-shutdown flag, written as it is at the end of every clean life.

use criterion::Criterion;
use switchboard_actors::ids::{InstanceId, Seq};
use switchboard_actors::marker::{FORMAT, Flag, Marker};
use switchboard_actors::shutdown::ShutdownKind;

use crate::disk;

/// Measures the write: two fsyncs and a rename.
pub(crate) fn bench(criterion: &mut Criterion) {
    let dir = disk::directory();
    disk::tell();
    let flag = Flag::at(dir.path().join("clean"));
    let marker = Marker {
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
    group.bench_function("write", |bencher| bencher.iter(|| flag.write(&marker).expect("the disk works")));
    group.finish();
}
