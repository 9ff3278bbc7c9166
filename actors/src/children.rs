//! Child processes of agents: who they are, so that they can be killed for certain, and nobody else.
//!
//! A child leads a process group of its own; killing it kills the group, whatever it forked and whichever signals it refuses. A process number
//! alone says little: after a restart it may be somebody else's. So a child is its number, the moment at which it started and the boot in
//! which it did. It is recorded before it works ([`Report::child`](crate::agent::Report::child)) and killed with its run, or by the
//! next start. What leaves its group is the service manager's business.

use serde::{Deserialize, Serialize};

/// A child process that leads its own process group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Child {
    /// Its process number, which is that of its group.
    pub group: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
    /// The boot in which it did.
    pub boot: String,
}

/// Ends children.
pub trait Reaper: Send + Sync + 'static {
    /// Kills a child with everything in its group, at once; nothing when it is gone, or its number belongs to somebody else by now.
    fn end(&self, child: &Child);
}

/// The reaper of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessGroups;

impl Child {
    /// The process of this number, which must lead its own group (`process_group(0)` when it is spawned).
    ///
    /// # Errors
    /// When there is no such process, or the system does not say when a process started (`/proc/<pid>/stat`, proc(5); Linux alone has it).
    pub fn of(process: u32) -> std::io::Result<Self> {
        let stat = Stat::of(process)?;
        if stat.group != process {
            return Err(std::io::Error::other(format!("process {process} does not lead its group")));
        }
        Ok(Self { group: process, started: stat.started, boot: boot()? })
    }

    /// Whether a process that is there now, with this place in the system, belongs to this child's group and no later one.
    fn owns(&self, process: u32, stat: Stat) -> bool {
        let leads = process == self.group;
        stat.group == self.group && if leads { stat.started == self.started } else { stat.started >= self.started }
    }

    /// Whether anything of it is left. A zombie is nothing: it waits only for its parent to look.
    pub fn lives(&self) -> bool {
        // Where another process leads a group of this number, nobody in it is ours.
        let usurped = Stat::of(self.group).is_ok_and(|stat| !self.owns(self.group, stat));
        !usurped && boot().is_ok_and(|boot| boot == self.boot) && self.members().next().is_some()
    }

    fn members(&self) -> impl Iterator<Item = u32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        processes.filter(|process| Stat::of(*process).is_ok_and(|stat| !stat.zombie && self.owns(*process, stat)))
    }
}

impl Reaper for ProcessGroups {
    fn end(&self, child: &Child) {
        let group = i32::try_from(child.group).ok().and_then(rustix::process::Pid::from_raw);
        let Some(group) = group.filter(|_| child.lives()) else { return };
        match rustix::process::kill_process_group(group, rustix::process::Signal::KILL) {
            Ok(()) => tracing::info!(group = child.group, "child killed"),
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::error!(group = child.group, %error, "a child of an agent could not be killed"),
        }
    }
}

/// A process's place in the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    group: u32,
    started: u64,
    zombie: bool,
}

impl Stat {
    fn of(process: u32) -> std::io::Result<Self> {
        let line = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        Self::parse(&line).ok_or_else(|| std::io::Error::other("its line in /proc is not understood"))
    }

    /// Fields 3, 5 and 22 of proc_pid_stat(5). The second is the name, in parentheses, and may hold anything.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line[line.rfind(')')? + 1..].split_ascii_whitespace();
        let zombie = matches!(fields.next()?, "Z" | "X");
        let group = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(16)?.parse().ok()?;
        Some(Self { group, started, zombie })
    }
}

/// The boot of the machine that this is.
///
/// # Errors
/// Where the system does not tell (`/proc/sys/kernel/random/boot_id`, random(4); Linux alone has it).
pub fn boot() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child as Process, Command};
    use std::time::{Duration, Instant};

    use super::*;

    /// A process that refuses SIGTERM, with another in its group.
    fn stubborn() -> (Process, Child) {
        let script = "trap '' TERM; sleep 1000 & exec sleep 1000";
        let process = Command::new("sh").args(["-c", script]).process_group(0).spawn().expect("a shell starts");
        let child = Child::of(process.id()).expect("it leads its group");
        while child.members().count() < 2 {
            std::thread::yield_now();
        }
        (process, child)
    }

    fn gone(child: &Child) {
        let begun = Instant::now();
        while child.lives() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{child:?} lives on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn g09_a_child_that_forks_and_refuses_to_end_is_killed_with_all_it_forked() {
        let (mut process, child) = stubborn();
        ProcessGroups.end(&child);
        gone(&child);
        process.wait().expect("it was ours");
        ProcessGroups.end(&child);
    }

    #[test]
    fn g09_what_a_child_left_behind_is_killed_without_it() {
        let (mut process, child) = stubborn();
        process.kill().and_then(|()| process.wait()).expect("it was ours");
        assert!(child.lives(), "what it forked is still there");
        ProcessGroups.end(&child);
        gone(&child);
    }

    #[test]
    fn g22_a_stranger_with_the_number_of_a_child_is_left_alone() {
        let (mut process, child) = stubborn();
        ProcessGroups.end(&Child { started: child.started + 1, ..child.clone() });
        ProcessGroups.end(&Child { boot: "another".into(), ..child.clone() });
        assert!(process.try_wait().expect("it is ours").is_none() && child.lives());
        ProcessGroups.end(&child);
        process.wait().expect("it was ours");
    }

    #[test]
    fn a_line_of_proc_is_read_behind_any_name() {
        let line = "17 (a) b) S 1 17 17 0 -1 4194304 1 0 0 0 2 3 0 0 20 0 1 0 4711 0 0 18446744073709551615";
        assert_eq!(Stat::parse(line), Some(Stat { group: 17, started: 4711, zombie: false }));
        assert_eq!(Stat::parse(&line.replace(" S ", " Z ")).map(|stat| stat.zombie), Some(true));
        assert_eq!(Stat::parse("17 (name) S 1"), None);
        assert_eq!(Stat::parse("nonsense"), None);
    }

    #[test]
    fn g22_a_number_that_came_back_belongs_to_somebody_else() {
        let child = Child { group: 17, started: 100, boot: "b".into() };
        let check = |process, group, started, ours| {
            assert_eq!(child.owns(process, Stat { group, started, zombie: false }), ours, "{process} {group} {started}");
        };
        check(17, 17, 100, true);
        check(17, 17, 200, false);
        check(30, 17, 150, true);
        check(30, 17, 50, false);
        check(30, 30, 150, false);
    }
}
