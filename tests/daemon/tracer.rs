//! System calls of the real binary that fail, take their time or end it: strace, attached to a gateway that runs and taken off again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::gateway::{Life, is_here, until};

/// How long it may take to let go.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);
/// Ten minutes.
const FOR_GOOD: &str = "delay_enter=600000000";
/// So many looks in a row.
const HELD: u32 = 25;

/// What is on while it lives.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Every one of these system calls by the gateway, on these paths (none: on all), meets this fate, as strace's `inject` takes it.
    /// None where strace is not to be had.
    #[track_caller]
    pub(crate) fn inject(gateway: &Life<'_>, calls: &str, fate: &str, paths: &[&Path]) -> Option<Self> {
        Self::attach(gateway.pid(), &["-f"], calls, fate, paths)
    }

    /// Holds one thread in the next of these system calls, for good; returns once it is held. Before, it may do what it has just come back to.
    #[track_caller]
    pub(crate) fn block_thread(thread: u32, calls: &str) -> Option<Self> {
        let tracer = Self::attach(thread, &[], calls, FOR_GOOD, &[])?;
        let mut held = 0;
        // Each look finds it stopped by its tracer: no such stop but the delay lasts so long.
        until("a thread that is held", || {
            held = if is_stopped(thread) { held + 1 } else { 0 };
            (held == HELD).then_some(())
        });
        Some(tracer)
    }

    /// This command, whose own system calls on this path meet this fate; what it starts is left alone. None where strace is not to be had.
    pub(crate) fn around(command: &Command, calls: &str, fate: &str, paths: &[&Path]) -> Option<Command> {
        if !have("strace") {
            return None;
        }
        let mut traced = Command::new("strace");
        traced.args(["-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fate}")]);
        for path in paths {
            traced.arg("-P").arg(path);
        }
        traced.arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
        traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Some(traced)
    }

    #[track_caller]
    fn attach(pid: u32, more: &[&str], calls: &str, fate: &str, paths: &[&Path]) -> Option<Self> {
        if !have("strace") {
            return None;
        }
        let mut command = Command::new("strace");
        command.args(more).args(["-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fate}")]);
        for path in paths {
            command.arg("-P").arg(path);
        }
        command.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tracer = command.spawn().expect("strace runs");
        let mut lines = BufReader::new(tracer.stderr.take().expect("piped")).lines();
        // "Process 1 attached with 7 threads": from then on every call of theirs is its own.
        let mut said = Vec::new();
        loop {
            match lines.next() {
                Some(Ok(line)) if line.contains(" attached") => break,
                Some(Ok(line)) => said.push(line),
                Some(Err(_)) | None => panic!("strace could not be attached: {said:?}"),
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self(tracer))
    }

    /// Takes it off: what was held up goes on.
    pub(crate) fn off(self) {
        drop(self);
    }

    /// Waits for the end of the gateway, which its parent sees only once it is let go; its code.
    #[track_caller]
    pub(crate) fn ended(self, gateway: Life<'_>) -> Option<i32> {
        self.ended_after(gateway, |_| {})
    }

    /// As [`ended`](Self::ended), doing this again and again until then.
    #[track_caller]
    pub(crate) fn ended_after(self, gateway: Life<'_>, again: impl Fn(&Life<'_>)) -> Option<i32> {
        until("the end of the process", || {
            again(&gateway);
            is_over(gateway.pid()).then_some(())
        });
        self.off();
        gateway.ended()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Asked, it lets every thread go where it is; in the middle of a long delay it does not hear that.
        let pid = i32::try_from(self.0.id()).expect("a pid");
        _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Whether a process is over, also while its tracer has not looked yet: then the thread that is held is the last one.
fn is_over(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("State:").is_none_or(|state| state.starts_with(['Z', 'X'])) || field("Threads:") == Some("1")
}

/// Whether a thread is stopped by its tracer.
fn is_stopped(thread: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains("tracing stop"))
}

/// Whether a program is here.
pub(crate) fn have(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file());
    is_here(found, program)
}
