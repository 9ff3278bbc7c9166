//! The systemd unit that runs a gateway: found by its process, asked how it is, started anew, its log read.
//!
//! Everything goes through `systemctl` and `journalctl`, whose answers are stable, instead of a library for D-Bus. What stands
//! in its file is [`mod@file`], how that comes into place [`setup`], what is in place [`installed`].

pub mod file;
pub mod installed;
pub mod setup;

use std::fmt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::exit;
use crate::restart::proof::UnitView;

/// Whose service manager runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The machine's.
    System,
    /// That of the user who asks.
    User,
}

impl Scope {
    /// What a command must be given to mean it.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Scope::System => &[],
            Scope::User => &["--user"],
        }
    }
}

/// As whom a unit is run (systemd.exec(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsAs {
    /// As a user who is there only as long as it runs.
    pub dynamic: bool,
    /// That user's name or number; empty: root, or one whose name is the unit's.
    pub user: String,
    /// A group beside the user's own.
    pub group: String,
    /// Its process.
    pub main_pid: Option<u32>,
}

/// What systemd logs when a unit's main process ends other than it should (`SD_MESSAGE_UNIT_PROCESS_EXIT` in sd-messages.h).
const MAIN_PROCESS_EXITED: &str = "98e322203f7a4ed290d09fe03c09fe15";

/// A unit of a service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// As `systemctl` knows it.
    pub name: String,
    /// Whose it is.
    pub scope: Scope,
}

impl Unit {
    /// The unit whose main process this is. One that merely runs below a unit (a shell's, a job's) has none.
    pub fn of_process(pid: u32) -> Option<Self> {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let unit = Self::of_groups(&groups)?;
        (unit.state()?.main_pid == Some(pid)).then_some(unit)
    }

    /// The unit that a process's control groups name (cgroups(7)): the last part of the path in systemd's own hierarchy.
    fn of_groups(groups: &str) -> Option<Self> {
        // A host may have a tree for each controller beside it: in those the service has no name.
        let (path, name) = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let path = parts.next().filter(|controllers| matches!(*controllers, "" | "name=systemd")).and(parts.next())?;
            Some((path, path.rsplit('/').next().filter(|name| name.ends_with(".service"))?))
        })?;
        let scope = if path.contains("/user@") && !name.starts_with("user@") { Scope::User } else { Scope::System };
        Some(Self { name: name.to_owned(), scope })
    }

    /// How it is now; none when the manager does not say.
    pub fn state(&self) -> Option<UnitView> {
        let properties =
            "--property=ActiveState,SubState,Result,MainPID,ExecMainPID,ExecMainStartTimestampMonotonic,ExecMainCode,ExecMainStatus,Job";
        Some(view(&self.ask("systemctl", &["show", properties, &self.name])?))
    }

    /// How the newest of its main processes that failed ended, by the manager's own log; none where that cannot be read.
    pub fn logged_exit(&self) -> Option<String> {
        let entry = format!("MESSAGE_ID={MAIN_PROCESS_EXITED}");
        let fields = "--output-fields=EXIT_CODE,EXIT_STATUS";
        let arguments = ["--no-pager", "--quiet", "--lines=1", "--output=export", fields, "--unit", &self.name, &entry];
        logged_exit(&self.ask("journalctl", &arguments)?)
    }

    /// One line on how it is, as the manager sees it.
    pub fn in_words(&self) -> Option<String> {
        let text = self.ask("systemctl", &["show", "--property=ActiveState,SubState,Result,NRestarts", &self.name])?;
        let value = |key: &str| property(&text, key).unwrap_or("?");
        let (active, sub, result, restarts) = (value("ActiveState"), value("SubState"), value("Result"), value("NRestarts"));
        Some(format!("{self} is {active} ({sub}), result {result}, restarted {restarts} times by itself"))
    }

    /// How long the manager waits for its processes to end before it ends them; none where it waits for ever, or does not say.
    pub fn stop_limit(&self) -> Option<Duration> {
        humantime::parse_duration(property(
            &self.ask("systemctl", &["show", "--property=TimeoutStopUSec", &self.name])?,
            "TimeoutStopUSec",
        )?)
        .ok()
    }

    /// As whom its manager runs it; none where it does not say.
    pub fn runs_as(&self) -> Option<RunsAs> {
        let text = self.ask("systemctl", &["show", "--property=LoadState,DynamicUser,User,Group,MainPID", &self.name])?;
        let value = |key: &str| property(&text, key).unwrap_or_default();
        (value("LoadState") == "loaded").then(|| RunsAs {
            dynamic: value("DynamicUser") == "yes",
            user: value("User").into(),
            group: value("Group").into(),
            main_pid: value("MainPID").parse().ok().filter(|pid| *pid != 0),
        })
    }

    /// Whether it is up, or about to be.
    pub fn is_active(&self) -> bool {
        self.ask("systemctl", &["is-active", "--quiet", &self.name]).is_some()
    }

    /// Stops it and starts it anew; does not wait for that.
    ///
    /// # Errors
    /// What the manager said.
    pub fn restart(&self) -> Result<(), String> {
        let output = self.command("systemctl", &["restart", "--no-block", &self.name]).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("systemctl cannot be run: {error}")),
        }
    }

    /// The newest lines of its log, oldest first; none where the journal cannot be read.
    pub fn last_lines(&self, most: u32) -> Vec<String> {
        let text =
            self.ask("journalctl", &["--no-pager", "--quiet", "--output=short-iso", &format!("--lines={most}"), "--unit", &self.name]);
        text.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// A command for an operator that means this unit.
    pub fn by_hand(&self, program: &str, verb: &str) -> String {
        let flags = self.scope.flags().iter().map(|flag| format!(" {flag}")).collect::<String>();
        format!("{program}{flags} {verb} {}", self.name)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(self.scope.flags()).args(arguments).stdin(Stdio::null());
        command
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = self.command(program, arguments).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A value in the answer of `systemctl show`.
fn property<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// What the answer of `systemctl show` comes to. While a job is queued, or an automatic restart waits, nothing is given up.
fn view(text: &str) -> UnitView {
    let value = |key: &str| property(text, key).unwrap_or_default();
    let idle = matches!(value("Job"), "" | "0");
    let last_exit = ended(value("ExecMainCode"), value("ExecMainStatus"));
    let failed = (idle && value("ActiveState") == "failed" && value("SubState") == "failed").then(|| match &last_exit {
        Some(exit) => format!("{}, {exit}", value("Result")),
        None => value("Result").to_owned(),
    });
    // A process that is made to go so that another can come is nobody who died; one that fails has another result.
    let makes_way = !idle && value("ActiveState") == "deactivating" && value("Result") == "success";
    if makes_way {
        return UnitView::default();
    }
    UnitView {
        main_pid: value("MainPID").parse().ok().filter(|pid| *pid != 0),
        last_pid: value("ExecMainPID").parse().ok().filter(|pid| *pid != 0),
        last_start: Duration::from_micros(value("ExecMainStartTimestampMonotonic").parse().unwrap_or_default()),
        failed,
        stopped: idle && value("ActiveState") == "inactive" && value("SubState") == "dead",
        last_exit,
    }
}

/// What an entry of the manager's log, as `journalctl --output=export` shows it, says of a process's end.
fn logged_exit(entry: &str) -> Option<String> {
    ended(property(entry, "EXIT_CODE")?, property(entry, "EXIT_STATUS")?)
}

/// How a process ended, in words: the codes of waitid(2), by number or by name.
fn ended(code: &str, status: &str) -> Option<String> {
    match (code, status.parse::<u8>()) {
        ("1" | "exited", Ok(code)) => Some(exit::in_words(code)),
        ("2" | "killed" | "3" | "dumped", Ok(signal)) => Some(format!("killed by signal {signal}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_names_its_unit() {
        let check = |groups: &str, expected: Option<(&str, Scope)>| {
            let found = Unit::of_groups(groups);
            assert_eq!(found.as_ref().map(|unit| (unit.name.as_str(), unit.scope)), expected, "{groups:?}");
        };
        check("0::/system.slice/switchboard.service\n", Some(("switchboard.service", Scope::System)));
        check("0::/user.slice/user-7.slice/user@7.service/app.slice/switchboard.service", Some(("switchboard.service", Scope::User)));
        check("4:memory:/x\n1:name=systemd:/system.slice/gate.service\n0::/", Some(("gate.service", Scope::System)));
        check("9:name=systemd:/\n0::/system.slice/gate.service", Some(("gate.service", Scope::System)));
        check("0::/user.slice/user-0.slice/session-3.scope", None);
        check("0::/user.slice/user-7.slice/user@7.service", Some(("user@7.service", Scope::System)));
        check("0::/", None);
        check("", None);
    }

    #[test]
    fn nothing_is_given_up_while_the_manager_is_about_to_start_it() {
        let check = |text: &str, main_pid: Option<u32>, failed: Option<&str>, stopped: bool, last_exit: Option<&str>| {
            let expected = UnitView {
                main_pid,
                last_pid: Some(9),
                last_start: Duration::from_secs(8),
                failed: failed.map(Into::into),
                stopped,
                last_exit: last_exit.map(Into::into),
            };
            assert_eq!(
                view(&format!("{text} ExecMainPID=9 ExecMainStartTimestampMonotonic=8000000").replace(' ', "\n")),
                expected,
                "{text}"
            );
        };
        check("ActiveState=active SubState=running Result=success MainPID=7 ExecMainCode=0 ExecMainStatus=0", Some(7), None, false, None);
        check(
            "ActiveState=activating SubState=auto-restart Result=exit-code MainPID=0 ExecMainCode=1 ExecMainStatus=70",
            None,
            None,
            false,
            Some("exit code 70: gave up"),
        );
        let failed = "ActiveState=failed SubState=failed Result=exit-code MainPID=0 ExecMainCode=1 ExecMainStatus=78";
        let exit = "exit code 78: bad configuration";
        check(failed, None, Some(&format!("exit-code, {exit}")), false, Some(exit));
        check(&format!("{failed} Job=12"), None, None, false, Some(exit));
        let before = "ActiveState=failed SubState=failed-before-auto-restart Result=signal MainPID=0 ExecMainCode=2 ExecMainStatus=9";
        check(before, None, None, false, Some("killed by signal 9"));
        let dying = "ActiveState=deactivating SubState=stop-post Result=exit-code MainPID=0 ExecMainCode=1 ExecMainStatus=70 Job=12";
        check(dying, None, None, false, Some("exit code 70: gave up"));
        let leaving = "ActiveState=deactivating SubState=stop-post Result=success MainPID=0 ExecMainPID=9 ExecMainCode=2 ExecMainStatus=15";
        assert_eq!(view(&format!("{leaving} Job=12").replace(' ', "\n")), UnitView::default(), "it makes way for another");
        check(leaving, None, None, false, Some("killed by signal 15"));
        let stopped = "ActiveState=inactive SubState=dead Result=success MainPID=0 ExecMainCode=1 ExecMainStatus=0";
        check(stopped, None, None, true, Some("exit code 0: stopped as asked"));
        check(&format!("{stopped} Job=12"), None, None, false, Some("exit code 0: stopped as asked"));
    }

    #[test]
    fn the_log_knows_how_a_process_ended_that_was_replaced() {
        let check =
            |entry: &str, expected: Option<&str>| assert_eq!(logged_exit(&entry.replace(' ', "\n")).as_deref(), expected, "{entry}");
        check("__CURSOR=s=1;i=2 EXIT_CODE=exited EXIT_STATUS=70", Some("exit code 70: gave up"));
        check("EXIT_CODE=killed EXIT_STATUS=9", Some("killed by signal 9"));
        check("EXIT_CODE=dumped EXIT_STATUS=6", Some("killed by signal 6"));
        check("EXIT_CODE=exited EXIT_STATUS=TERM", None);
        check("EXIT_STATUS=70", None);
        check("", None);
    }

    #[test]
    fn what_was_started_before_the_manager_was_asked_does_not_count() {
        let text =
            "ActiveState=active\nMainPID=7\nExecMainPID=7\nExecMainCode=1\nExecMainStatus=70\nExecMainStartTimestampMonotonic=8000000";
        let asked = |seconds| view(text).since(Duration::from_secs(seconds));
        assert_eq!(asked(8), view(text));
        assert_eq!((asked(9).main_pid, asked(9).last_pid, asked(9).last_exit), (None, None, None));
    }
}
