//! Files that survive a cut: whole or not there, under the name that was meant.
//!
//! Root writes here into directories of others, who may have put anything under any name: no link is followed to what is not there itself.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

/// Writes a file for us alone, or for whoever owns the directory when we are root. Whoever reads it finds all of it, or what was there before.
///
/// # Errors
/// When the disk refuses.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, ".new");
    let written = || {
        // Left by a write that was cut, or put there by somebody else.
        remove(&beside)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        give_to_owner_of_directory(&file, &beside)?;
        file.sync_all()?;
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
    let file = File::options().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    give_to_owner_of_directory(&file, path)
}

fn give_to_owner_of_directory(file: &File, path: &Path) -> io::Result<()> {
    let directory = std::fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    let found = file.metadata()?;
    if (found.uid(), found.gid()) == (directory.uid(), directory.gid()) || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // What has another name may be anybody's.
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "somebody else has put something in its place"));
    }
    std::os::unix::fs::fchown(file, Some(directory.uid()), Some(directory.gid()))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_others_put_in_the_place_of_a_file_is_not_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (theirs, victim) = (dir.path().join("theirs"), dir.path().join("victim"));
        std::fs::create_dir(&theirs).expect("writable");
        std::fs::write(&victim, "secret").expect("writable");
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(&theirs, Some(65532), Some(65532)).expect("root");
        }
        let before = std::fs::metadata(&victim).expect("there");
        let untouched = || {
            let now = std::fs::metadata(&victim).expect("there");
            assert_eq!((now.uid(), now.gid(), now.mode()), (before.uid(), before.gid(), before.mode()));
            assert_eq!(std::fs::read(&victim).expect("readable"), b"secret");
        };
        let path = theirs.join("file");
        symlink(&victim, theirs.join("file.new")).expect("writable");
        symlink(&victim, &path).expect("writable");
        write(&path, b"news").expect("writable");
        untouched();
        let found = std::fs::symlink_metadata(&path).expect("there");
        assert!(found.is_file() && found.mode() & 0o777 == 0o600 && (!root || found.uid() == 65532));
        // Between its making and its handing over it may have become something else.
        let (link, twin) = (theirs.join("link"), theirs.join("twin"));
        symlink(&victim, &link).expect("writable");
        assert!(owned_like_its_directory(&link).is_err());
        std::fs::hard_link(&victim, &twin).expect("one file system");
        assert_eq!(owned_like_its_directory(&twin).is_err(), root, "only root gives anything away");
        untouched();
    }
}
