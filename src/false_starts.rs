//! Starts that came to nothing: those that ended before their life was on record in the ledger, one line each in a file beside it.
//!
//! The lock may be somebody else's, the ledger unusable and the configuration bad: so this asks for none of them. A line is appended by one
//! write; one that was torn is passed over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NOFOLLOW;
use serde::{Deserialize, Serialize};
use switchboard_actors::clock::{Clock, Wall};

use crate::account::Account;
use crate::durable;
use crate::state_dir::StateDir;

/// The file is kept to this size, by giving up its older half: a gateway that is started in vain all day must not fill the disk.
const MOST: u64 = 64 * 1024;
/// Letters of a reason that are kept.
const REASON: usize = 500;

/// A start that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FalseStart {
    /// When it ended.
    pub at: Wall,
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its exit code.
    pub code: u8,
    /// Why, in words.
    pub reason: String,
}

/// Puts a start that came to nothing, and its exit code, on record, as far as there is a state directory of ours that can be written.
pub fn note(state: &StateDir, version: &str, code: u8, reason: &str) {
    let reason = reason.chars().take(REASON).collect();
    let start = FalseStart { at: Clock::system().wall(), version: version.into(), pid: std::process::id(), code, reason };
    // Nor into what somebody else may put there, who would have root write where they like.
    if !state.is_alone() || (Account::of_caller().is_root() && !state.is_callers()) {
        return;
    }
    if let Err(error) = append(&state.false_starts(), &start) {
        tracing::warn!(%error, "this start could not be put on record");
    }
}

fn append(path: &Path, start: &FalseStart) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| found.len() >= MOST) {
        durable::write(path, &newer_half(&fs::read(path)?))?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(O_NOFOLLOW).open(path)?;
    // Behind a line that was torn a new one begins.
    let mut line = if ends_whole(&mut file)? { String::new() } else { "\n".to_owned() };
    line.push_str(&serde_json::to_string(start).expect("plain data"));
    line.push('\n');
    file.write_all(line.as_bytes())
}

fn ends_whole(file: &mut File) -> io::Result<bool> {
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok(last == [b'\n'])
}

/// The whole lines of the second half.
fn newer_half(bytes: &[u8]) -> Vec<u8> {
    let half = &bytes[bytes.len() / 2..];
    let begin = half.iter().position(|byte| *byte == b'\n').map_or(half.len(), |end| end + 1);
    half[begin..].to_vec()
}

/// Those on record, oldest first.
pub fn read(state: &StateDir) -> Vec<FalseStart> {
    let bytes = fs::read(state.false_starts()).unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn g28_starts_in_vain_are_kept_to_a_size_and_torn_lines_are_passed_over() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        assert_eq!(read(&state), []);
        note(&state, "1.0.0", Exit::Config.code(), "two\nfaults");
        let mut torn = fs::read(state.false_starts()).expect("readable");
        torn.truncate(torn.len() - 10);
        fs::write(state.false_starts(), torn).expect("writable");
        note(&state, "1.0.0", Exit::State.code(), "locked");
        let kept: Vec<_> = read(&state).into_iter().map(|start| (start.code, start.reason)).collect();
        assert_eq!(kept, [(73, "locked".to_owned())]);
        for _ in 0..1000 {
            note(&state, "1.0.0", Exit::GaveUp.code(), &"x".repeat(2 * REASON));
        }
        assert!(fs::metadata(state.false_starts()).expect("there").len() < MOST + 1000);
        let kept = read(&state);
        assert!(kept.len() > 40 && kept.iter().all(|start| start.reason.len() == REASON), "{}", kept.len());
    }

    #[test]
    fn where_there_is_no_state_directory_none_is_made() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(&dir.path().join("state"));
        note(&state, "1.0.0", Exit::Config.code(), "bad");
        assert!(!state.path().exists());
    }
}
