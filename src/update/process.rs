//! A gateway's process as /proc shows it, so that another can be started as it was; and the end of one that will not end by itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::config::Variables;

/// How long one that is killed may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// What a process was given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Process {
    /// Its environment.
    pub variables: Variables,
    /// The files that its output goes to, if they are files.
    logs: [Option<PathBuf>; 2],
    /// What its output goes to, while it is there.
    #[serde(skip)]
    open: [Option<File>; 2],
}

impl Process {
    /// One that is to be started with this environment.
    pub fn with(variables: Variables) -> Self {
        Self { variables, logs: [None, None], open: [None, None] }
    }

    /// That of a process that runs.
    ///
    /// # Errors
    /// When it is not ours to look at.
    pub fn of(pid: u32) -> std::io::Result<Self> {
        let at = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let pairs = texts(&std::fs::read(at("environ"))?);
        let variables = pairs.into_iter().filter_map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
        let outputs = ["fd/1", "fd/2"].map(at);
        let open = [&outputs[0], &outputs[1]].map(|path| File::options().append(true).open(path).ok());
        let logs = outputs.map(|path| std::fs::read_link(path).ok().filter(|path| path.is_file()));
        Ok(Self { variables: variables.collect(), logs, open })
    }

    /// Standard output (0) or error (1) for another like it; nothing where it cannot be had any more.
    pub fn output(&self, which: usize) -> Stdio {
        let open = self.open[which].as_ref().and_then(|file| file.try_clone().ok());
        let log = || File::options().append(true).open(self.logs[which].as_ref()?).ok();
        open.or_else(log).map_or_else(Stdio::null, Stdio::from)
    }
}

/// The texts in a file of /proc.
pub fn texts(bytes: &[u8]) -> Vec<String> {
    bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty()).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// Whether a process is there, and not only waited for.
pub fn is_there(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): the state is behind the name, which is in parentheses and may hold any.
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
    !matches!(state, None | Some('Z' | 'X'))
}

/// The processes that have a file open.
pub fn holders(file: &Path) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_it = |pid: &u32| {
        let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == file))
    };
    pids.filter(|pid| *pid != std::process::id()).filter(has_it).collect()
}

/// Ends processes that will not end by themselves, and waits until they are gone.
pub fn end(pids: &[u32]) {
    let pids: BTreeMap<u32, Pid> = pids.iter().filter_map(|pid| Some((*pid, Pid::from_raw(i32::try_from(*pid).ok()?)))).collect();
    for pid in pids.values() {
        _ = kill(*pid, Signal::SIGKILL); // gone already: fine
    }
    let until = Instant::now() + GONE;
    while pids.keys().any(|pid| is_there(*pid)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn whoever_holds_a_file_is_found_and_ended() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = std::fs::canonicalize(dir.path()).expect("there").join("held");
        let file = File::create(&path).expect("writable");
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::from(file)).spawn().expect("sleep is everywhere");
        assert_eq!(holders(&path), [child.id()]);
        assert!(is_there(child.id()));
        end(&[child.id()]);
        assert!(!child.wait().expect("our child").success());
        assert!(holders(&path).is_empty());
    }

    #[test]
    fn what_a_process_was_given_outlives_it_in_writing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = std::fs::canonicalize(dir.path()).expect("there").join("log");
        let file = File::create(&log).expect("writable");
        let mut child =
            Command::new("sleep").arg("600").env_clear().env("WHO", "it").stdout(Stdio::null()).stderr(file).spawn().expect("sleep");
        // Until it is the program that was asked for, its environment is ours.
        let process = loop {
            let process = Process::of(child.id()).expect("our child");
            if process.variables.len() == 1 {
                break process;
            }
            std::thread::yield_now();
        };
        end(&[child.id()]);
        child.wait().expect("our child");
        let read: Process = serde_json::from_str(&serde_json::to_string(&process).expect("plain data")).expect("it is one");
        assert_eq!(read.variables.get("WHO").map(String::as_str), Some("it"));
        let mut echo = Command::new("sh").args(["-c", "echo still here >&2"]).stderr(read.output(1)).spawn().expect("a shell");
        assert!(echo.wait().expect("our child").success());
        assert_eq!(std::fs::read_to_string(log).expect("there"), "still here\n");
    }
}
