//! The real binary as a process: started, watched through `/proc` and its own probes, signalled, and never left behind.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::site::Site;

/// How often somebody looks whether a process is ready, or gone.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A running gateway. Dropping it kills it.
pub(crate) struct Gateway {
    child: Child,
    http: SocketAddr,
    log: PathBuf,
    /// When it was executed.
    pub(crate) started: Instant,
}

/// What a process holds in memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident: u64,
    /// At most, since [`Gateway::forget_peak`] or its start.
    pub(crate) peak: u64,
}

impl Gateway {
    /// Executes `binary` at `site`.
    ///
    /// # Errors
    /// When it cannot be executed, or its log cannot be written.
    pub(crate) fn start(binary: &Path, site: &Site) -> io::Result<Self> {
        let log = site.log();
        let stderr = File::options().append(true).create(true).open(&log)?;
        let mut command = Command::new(binary);
        // Nothing of the caller's environment may change what is measured.
        command.env_clear().env("HOME", site.home()).arg("--config").arg(site.config());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let started = Instant::now();
        Ok(Self { child: command.spawn()?, http: site.http(), log, started })
    }

    /// Waits until `/readyz` answers 200; how long that took since it was executed.
    ///
    /// # Errors
    /// When it ended instead, or was not ready within `bound`; with the end of its log.
    pub(crate) fn until_ready(&mut self, bound: Duration) -> Result<Duration, String> {
        loop {
            if self.answers_ready() {
                return Ok(self.started.elapsed());
            }
            match self.child.try_wait() {
                Ok(None) if self.started.elapsed() < bound => std::thread::sleep(LOOK_EVERY),
                Ok(None) => return Err(format!("the gateway was not ready within {bound:?}. Its log ends:\n{}", self.last_words())),
                Ok(Some(status)) => return Err(format!("the gateway ended at once ({status}). Its log ends:\n{}", self.last_words())),
                Err(error) => return Err(format!("the gateway cannot be watched: {error}")),
            }
        }
    }

    /// Sends a signal; when.
    pub(crate) fn signal(&self, signal: Signal) -> Instant {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is positive and fits"));
        let at = Instant::now();
        // A process that is gone already shows when it is waited for.
        let _ = kill(pid, signal);
        at
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it lives on after `bound`.
    pub(crate) fn until_gone(&mut self, bound: Duration) -> Result<(), String> {
        let deadline = Instant::now() + bound;
        while self.child.try_wait().map_err(|error| format!("the gateway cannot be watched: {error}"))?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("the gateway did not end within {bound:?}. Its log ends:\n{}", self.last_words()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// What it holds in memory.
    ///
    /// # Errors
    /// Where there is no `/proc`, or no such process in it.
    pub(crate) fn memory(&self) -> Result<Memory, String> {
        let status = self.proc("status")?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        match (field("VmRSS"), field("VmHWM")) {
            (Some(resident), Some(peak)) => Ok(Memory { resident: resident * 1024, peak: peak * 1024 }),
            _ => Err("/proc does not say what the gateway holds in memory".into()),
        }
    }

    /// Lets the peak start anew from what is resident now.
    pub(crate) fn forget_peak(&self) {
        // 5: "reset the peak resident set size" (proc_pid_clear_refs(5)). Where that is not allowed the peak is that of its whole life.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// CPU time that it has used so far, on all threads.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    pub(crate) fn cpu(&self) -> Result<Duration, String> {
        let stat = self.proc("stat")?;
        // Fields 14 and 15, counted from 1; the name in field 2 may hold anything, but ends with the last parenthesis (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
        match (ticks(11), ticks(12)) {
            (Some(user), Some(system)) => Ok(Duration::from_millis((user + system) * 1000 / per_second)),
            _ => Err("/proc does not say what CPU time the gateway used".into()),
        }
    }

    fn proc(&self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }

    fn answers_ready(&self) -> bool {
        let ask = || -> io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&self.http, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            write!(stream, "GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http)?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            Ok(head == *b"HTTP/1.1 200")
        };
        ask().unwrap_or(false)
    }

    fn last_words(&self) -> String {
        /// Lines of the log that are shown.
        const SHOWN: usize = 10;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
