//! Files that survive a cut: whole or not there, under the name that was meant.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes a file for us alone, or for whoever owns the directory when we are root. Whoever reads it finds all of it, or what was there before.
///
/// # Errors
/// When the disk refuses.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, ".new");
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        owned_like_its_directory(&beside)?;
        rename(&beside, path)
    };
    // On a full disk half a file would only be in the way.
    written().inspect_err(|_| _ = std::fs::remove_file(&beside))
}

/// Gives a file another name; what had it is replaced.
///
/// # Errors
/// When there is no such file, or the disk refuses.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_directory_of(to)
}

/// Removes a file; one that is not there is removed.
///
/// # Errors
/// When the disk refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory_of(path),
    }
}

/// Gives a file to whoever owns its directory: a file of root's in a gateway's state directory would keep the gateway from its work.
///
/// # Errors
/// When we are not the owner, and not root either.
pub fn owned_like_its_directory(path: &Path) -> io::Result<()> {
    let directory = std::fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    let file = std::fs::metadata(path)?;
    if (file.uid(), file.gid()) == (directory.uid(), directory.gid()) || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(directory.uid()), Some(directory.gid()))
}

/// The files in the same directory whose names begin with this one's and go on so.
///
/// # Errors
/// When the directory cannot be read.
pub fn beside(path: &Path, suffix: &str) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let beginning = format!("{}{suffix}", name.to_string_lossy());
    let entries = std::fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with(&beginning)).map(|entry| entry.path()).collect())
}

/// The path with text behind its file name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
