//! Files that survive a cut: whole or not there, under the name that was meant.
//!
//! What stands under a name may have been put there by somebody else: no link is followed. Nothing is given away: whoever writes here is whose the file is.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes a file for us alone. Whoever reads it finds all of it, or what was there before.
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
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn g40_what_others_put_in_the_place_of_a_file_is_not_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (theirs, victim) = (dir.path().join("theirs"), dir.path().join("victim"));
        std::fs::create_dir(&theirs).expect("writable");
        std::fs::write(&victim, "secret").expect("writable");
        let before = std::fs::metadata(&victim).expect("there");
        let path = theirs.join("file");
        symlink(&victim, theirs.join("file.new")).expect("writable");
        symlink(&victim, &path).expect("writable");
        write(&path, b"news").expect("writable");
        let (found, now) = (std::fs::symlink_metadata(&path).expect("there"), std::fs::metadata(&victim).expect("there"));
        assert!(found.is_file() && found.mode() & 0o777 == 0o600 && found.uid() == before.uid());
        assert_eq!((now.uid(), now.gid(), now.mode()), (before.uid(), before.gid(), before.mode()));
        assert_eq!(std::fs::read(&victim).expect("readable"), b"secret");
    }
}
