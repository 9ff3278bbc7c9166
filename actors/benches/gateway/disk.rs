//! The disk below the ledger: a directory on it, and what one fsync costs there.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A directory below the target directory: on the real disk, whatever /tmp is.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory is ours")
}

/// Says what one fdatasync of an appended page costs: figures that rest on the disk have to be read beside it.
pub(crate) fn tell() {
    /// Enough that the 99th percentile is one of them.
    const TIMES: usize = 200;
    let dir = directory();
    let mut file = File::create(dir.path().join("fsync")).expect("the directory is ours");
    let mut times: Vec<Duration> = (0..TIMES)
        .map(|_| {
            file.write_all(&[7; 4096]).expect("the disk has room");
            let began = Instant::now();
            file.sync_data().expect("the disk works");
            began.elapsed()
        })
        .collect();
    times.sort();
    eprintln!("fdatasync here: p50 {:?}, p99 {:?}", times[TIMES / 2], times[TIMES * 99 / 100]);
}
