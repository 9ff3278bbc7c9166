//! A process as /proc shows it to everybody: what it runs, whose it is, whether it is there. Nothing here ends one.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;

/// The user and group of a process. Its files in /proc may be root's all the same: those of one that does not let itself be looked at are.
///
/// # Errors
/// When it is not there.
pub fn owner(pid: u32) -> std::io::Result<(u32, u32)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    // proc(5): real, effective, saved, and that of the file system.
    let effective = |key: &str| status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().nth(1)?.parse().ok();
    effective("Uid:").zip(effective("Gid:")).ok_or_else(|| Error::from(ErrorKind::InvalidData))
}

/// The program that a process runs, where it was when it was started: another may be there since.
pub fn program(pid: u32) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // proc(5)
    Some(path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map_or_else(|| path.clone(), PathBuf::from))
}

/// Whether a process is there, and not only waited for.
pub fn is_there(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): the state is behind the name, which is in parentheses and may hold any.
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
    !matches!(state, None | Some('Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_there_until_it_was_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("sleep is everywhere");
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        assert!(is_there(child.id()) && owner(child.id()).expect("there") == own);
        assert!(program(std::process::id()).is_some_and(|program| Some(program) == std::env::current_exe().ok()));
        child.kill().expect("our child");
        child.wait().expect("our child");
        assert!(!is_there(child.id()) && owner(child.id()).is_err());
    }
}
