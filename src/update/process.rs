//! A gateway's process as /proc shows it, so that another can be started as it was; and the end of one that will not end by itself.
//!
//! Root may look at the process of somebody else, who can make it show anything: nothing of it is opened, loaded or run with more rights than it has.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::config::Variables;

/// How long one that is killed may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// What the loader and the C library take from the environment of a program that nobody gave more rights than its caller's: the variables that glibc
/// ignores where somebody did (`sysdeps/generic/unsecvars.h`), by their beginnings.
const TRUSTED_BY_THE_LOADER: [&str; 14] = [
    "LD_",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "GETCONF_DIR",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "MALLOC_",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TMPDIR",
    "TZDIR",
];

/// What a process was given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Process {
    /// Its environment.
    pub variables: Variables,
    /// Its user.
    user: u32,
    /// The files that its output goes to, if they are files.
    logs: [Option<PathBuf>; 2],
    /// What its output goes to, while it is there.
    #[serde(skip)]
    open: [Option<File>; 2],
}

impl Process {
    /// One that is to be started with this environment.
    pub fn with(variables: Variables) -> Self {
        Self { variables, user: rustix::process::geteuid().as_raw(), logs: [None, None], open: [None, None] }
    }

    /// That of a process that runs.
    ///
    /// # Errors
    /// When it is not ours to look at.
    pub fn of(pid: u32) -> std::io::Result<Self> {
        let at = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let pairs = texts(&std::fs::read(at("environ"))?);
        let variables = pairs.into_iter().filter_map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
        let (user, _) = owner(pid)?;
        let outputs = ["fd/1", "fd/2"].map(at);
        let open = [1, 2].map(|number| match is_somebody_else(user) {
            // As it has it: to open it by its name would open it with our rights.
            true => pidfd(pid).and_then(|process| pidfd_getfd(process, number, PidfdGetfdFlags::empty()).ok()).map(File::from),
            false => File::options().append(true).open(at(&format!("fd/{number}"))).ok(),
        });
        let logs = outputs.map(|path| std::fs::read_link(path).ok().filter(|path| path.is_file()));
        Ok(Self { variables: variables.collect(), user, logs, open })
    }

    /// Its environment, for a program that we run ourselves.
    pub fn variables_to_trust(&self) -> impl Iterator<Item = (&String, &String)> {
        let trusting = !is_somebody_else(self.user);
        self.variables
            .iter()
            .filter(move |(name, _)| trusting || !TRUSTED_BY_THE_LOADER.iter().any(|beginning| name.starts_with(beginning)))
    }

    /// Standard output (0) or error (1) for another like it; nothing where it cannot be had any more.
    pub fn output(&self, which: usize) -> Stdio {
        let open = self.open[which].as_ref().and_then(|file| file.try_clone().ok());
        // Whose file it is now, and that user could write it as well as we.
        let theirs = |file: &File| !is_somebody_else(self.user) || file.metadata().is_ok_and(|found| found.uid() == self.user);
        let log = || File::options().append(true).open(self.logs[which].as_ref()?).ok().filter(theirs);
        open.or_else(log).map_or_else(Stdio::null, Stdio::from)
    }
}

/// Whether root looks at the process of this user, who is not root.
fn is_somebody_else(user: u32) -> bool {
    rustix::process::geteuid().is_root() && user != 0
}

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

fn pidfd(pid: u32) -> Option<std::os::fd::OwnedFd> {
    pidfd_open(rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

/// The texts in a file of /proc.
pub fn texts(bytes: &[u8]) -> Vec<String> {
    bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty()).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// The program that a process runs, where it was when it was started: another may be there since.
pub fn program(pid: u32) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // proc(5)
    Some(path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map_or_else(|| path.clone(), PathBuf::from))
}

/// Every process but ours, as far as we may see.
pub fn others() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| *pid != std::process::id())
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
    let has_it = |pid: &u32| {
        let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == file))
    };
    others().filter(has_it).collect()
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

    /// What stands in the environment of a process counts for one like it, and not for root.
    #[test]
    fn root_loads_nothing_that_another_user_names() {
        let variables =
            [("LD_PRELOAD", "/tmp/theirs.so"), ("GLIBC_TUNABLES", "x"), ("MALLOC_ARENA_MAX", "1"), ("WORD", "it"), ("HOME", "/h")];
        let variables: Variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let trusted = |user| {
            let process = Process { user, ..Process::with(variables.clone()) };
            process.variables_to_trust().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(" ")
        };
        let root = rustix::process::geteuid().is_root();
        assert_eq!(trusted(65532) == "HOME WORD", root);
        assert_eq!(trusted(0), "GLIBC_TUNABLES HOME LD_PRELOAD MALLOC_ARENA_MAX WORD");
    }

    #[test]
    fn a_user_who_can_only_read_a_file_is_not_given_it_to_write() {
        if !rustix::process::geteuid().is_root() {
            return; // there is nothing to give
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (victim, log) = (dir.path().join("victim"), dir.path().join("log"));
        std::fs::write(&victim, "").expect("writable");
        let theirs = File::create(&log).expect("writable");
        let mut sleep = Command::new("sleep");
        sleep.arg("600").stdout(File::open(&victim).expect("readable")).stderr(theirs);
        let mut child = std::os::unix::process::CommandExt::uid(&mut sleep, 65532).spawn().expect("sleep is everywhere");
        let process = Process::of(child.id()).expect("there");
        assert_eq!(owner(child.id()).expect("there").0, 65532);
        let written: Process = serde_json::from_str(&serde_json::to_string(&process).expect("plain data")).expect("it is one");
        for process in [&process, &written] {
            let script = "(echo stolen) 2>/dev/null; echo said >&2";
            Command::new("sh").args(["-c", script]).stdout(process.output(0)).stderr(process.output(1)).status().expect("a shell");
            assert_eq!(std::fs::read_to_string(&victim).expect("there"), "", "it was open for reading");
            assert_eq!(std::fs::read_to_string(&log).expect("there"), "said\n", "what was opened for it, and not what its name is today");
        }
        end(&[child.id()]);
        child.wait().expect("our child");
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
