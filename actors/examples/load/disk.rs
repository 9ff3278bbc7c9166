//! What one fsync costs on the disk that the ledger stands on: every figure of a durable system has to be read beside it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A file that is synced now and then, beside the ledger.
pub(crate) struct Disk {
    file: File,
    times: Vec<Duration>,
}

impl Disk {
    /// A new file below `dir`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(dir.join("fsync"))?, times: Vec::new() })
    }

    /// Appends a page, as a commit does, and syncs it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.write_all(&[7; 4096])?;
        let began = Instant::now();
        self.file.sync_data()?;
        self.times.push(began.elapsed());
        Ok(())
    }

    /// The times so far, from the shortest to the longest.
    pub(crate) fn times(&self) -> Vec<Duration> {
        let mut times = self.times.clone();
        times.sort();
        times
    }
}

/// The value below which `percent` of 100 lie.
///
/// # Panics
/// When there are no values.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
