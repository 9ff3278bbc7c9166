//! What the flag asks of a disk: the verbs that its write is made of, so that a test can let the power go before and behind each.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// A disk, as far as one small file needs it.
pub trait Disk: Send + Sync + 'static {
    /// A new file of these bytes, or the old one with them. Not durable yet.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Makes what a file holds durable, or the names in a directory.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name; what had it is gone. Durable once the directory is.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable once the directory is.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The first `most` bytes of a file.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl Disk for Files {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(path, bytes)
    }

    /// A write that failed meanwhile is told to whoever syncs next, also through another descriptor (fsync(2), Linux 4.13 and later).
    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
