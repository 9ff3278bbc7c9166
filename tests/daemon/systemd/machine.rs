//! A machine: systemd as PID 1 over a copy of this machine's files, gone with the value.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::gateway::{Printed, is_here, until};

/// Machines at the same time at most: each takes a processor while it boots.
const AT_ONCE: u32 = 2;
static RUNNING: (Mutex<u32>, Condvar) = (Mutex::new(0), Condvar::new());
const PATHS: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A machine that runs. Its network is that of this one.
pub(crate) struct Machine {
    /// Ends the machine when its stdin ends.
    keeper: Child,
    /// Its PID 1, as seen from here.
    init: u32,
    _place: Place,
}

impl Machine {
    /// Boots one; none where that is not possible, which is said, and is a failure where everything is required.
    pub(crate) fn boot() -> Option<Self> {
        let place = Place::take();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/systemd/boot.sh");
        let mut command = Command::new("sh");
        command.arg(script).arg(env!("CARGO_BIN_EXE_switchboard")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("a shell");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line).expect("UTF-8");
        let Some(init) = line.strip_prefix("pid ").and_then(|pid| pid.trim().parse().ok()) else {
            _ = keeper.wait();
            is_here(false, &format!("a systemd of its own ({})", line.trim()));
            return None;
        };
        let machine = Self { keeper, init, _place: place };
        until("systemd to be up", || {
            let state = machine.run(&["systemctl", "is-system-running"]).out;
            matches!(state.trim(), "running" | "degraded").then_some(())
        });
        Some(machine)
    }

    /// Runs a command in the machine, as root, to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Printed {
        let output = self.command(words).output().expect("nsenter");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Printed { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// A command in the machine, not yet begun.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all", "--root", "--wd=/", "env", "-i", PATHS, "HOME=/root"]);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Where a path of the machine is, as seen from here.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Writes a file in the machine, with this mode.
    pub(crate) fn write(&self, path: &str, mode: u32, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("not the root")).expect("writable");
        std::fs::write(&path, text).expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        _ = self.keeper.wait();
    }
}

/// Leave to run a machine.
struct Place;

impl Place {
    fn take() -> Self {
        let mut running = RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= AT_ONCE {
            running = RUNNING.1.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        RUNNING.1.notify_one();
    }
}
