//! What an operator needs when a restart failed twice: what went wrong, how it is now, the last log lines, and the commands to look further
//! and to restart by hand.
//!
//! Where a gateway came from is read while it still runs: afterwards nobody could say.

use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use switchboard_actors::escape::one_line;
use switchboard_actors::ids::InstanceId;

use super::proof::Failure;
use crate::account::Account;
use crate::config::Surroundings;
use crate::control::Status;
use crate::control::client::Peer;
use crate::unit::Unit;
use crate::unit::installed::Installed;
use crate::update::process;

/// Log lines that are shown.
const LINES: u32 = 15;
/// The end of a log file that is read for them.
const TAIL: u64 = 16 * 1024;

/// Where a gateway that ran before the restart came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its life.
    pub instance: InstanceId,
    /// Its process.
    pub pid: u32,
    /// The unit that it is the main process of.
    pub unit: Option<Unit>,
    /// How it was started.
    command: Vec<String>,
    /// The file that its log goes to, if it is one.
    log: Option<PathBuf>,
}

impl Origin {
    /// Where the gateway that said this of itself comes from, as this process. Nobody else's words are shown as what to type, nor is a file read
    /// because another user's process names it.
    pub fn of(status: &Status, peer: Peer) -> Self {
        // The number may be another process's by now.
        let owner = |pid: u32| process::owner(pid).ok().map(|(uid, _)| uid);
        let pid = peer.pid.filter(|pid| owner(*pid) == Some(peer.uid));
        let own = pid.filter(|_| peer.uid == Account::of_caller().uid);
        let line = own.and_then(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok()).unwrap_or_default();
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(|word| String::from_utf8_lossy(word).into_owned());
        let log = own.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/fd/2")).ok()).filter(|path| path.is_file());
        let unit = pid.and_then(Unit::of_process);
        Self { instance: status.instance, pid: pid.unwrap_or(status.pid), unit, command: words.collect(), log }
    }

    /// A service in which nobody answers: one that is about to be started, or to be restarted with the process that does not.
    pub fn silent(unit: Unit, pid: Option<u32>) -> Self {
        Self { instance: InstanceId(uuid::Uuid::nil()), pid: pid.unwrap_or(0), unit: Some(unit), command: Vec::new(), log: None }
    }

    /// What an operator is told after these failures; how it is now is looked up.
    pub fn help(&self, failures: &[Failure]) -> String {
        let state =
            self.unit.as_ref().map(|unit| unit.in_words().unwrap_or_else(|| format!("{unit}: the service manager does not answer")));
        let lines = match (&self.unit, &self.log) {
            (Some(unit), _) => unit.last_lines(LINES),
            (None, Some(log)) => tail(log),
            (None, None) => Vec::new(),
        };
        self.as_its_manager_starts_it().words(failures, state.as_deref(), &lines)
    }

    /// How a unit is started is its manager's word, where the process of another user is not to be asked.
    fn as_its_manager_starts_it(&self) -> Self {
        let around = || Surroundings::of_process().variables;
        let unit = self.unit.clone().filter(|_| self.command.is_empty());
        let command = unit.and_then(|unit| Installed::of(unit, &around())).map(|installed| {
            let program = installed.program.display().to_string();
            std::iter::once(program).chain(installed.arguments).collect()
        });
        Self { command: command.unwrap_or_else(|| self.command.clone()), ..self.clone() }
    }

    fn words(&self, failures: &[Failure], state: Option<&str>, lines: &[String]) -> String {
        let mut out =
            String::from(if self.instance.0.is_nil() { "the service does not run as it should\n" } else { "the restart failed\n" });
        for (number, failure) in failures.iter().enumerate() {
            _ = writeln!(out, "  {}  {failure}", if number == 0 { "first" } else { "then " });
        }
        _ = writeln!(out, "  now    {}", state.unwrap_or("no service manager is known to run it"));
        match lines {
            [] => out.push_str("last log lines: none can be read from here; they went where the gateway's stderr goes\n"),
            lines => {
                out.push_str("last log lines:\n");
                lines.iter().for_each(|line| _ = writeln!(out, "  {}", one_line(line)));
            }
        }
        out.push_str("to look further:\n");
        let (look, by_hand) = match &self.unit {
            Some(unit) => {
                let look = vec![unit.by_hand("systemctl", "status"), unit.by_hand("journalctl", "-e -u")];
                (look, unit.by_hand("systemctl", "restart"))
            }
            None => {
                let log = self.log.iter().map(|log| format!("tail -n 100 {}", quoted(&log.display().to_string())));
                let words: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
                (log.collect(), if words.is_empty() { "switchboard run".into() } else { words.join(" ") })
            }
        };
        look.iter().chain(&[self.check()]).for_each(|line| _ = writeln!(out, "  {line}"));
        _ = write!(out, "to restart by hand:\n  {by_hand}");
        out
    }

    /// The command that checks the configuration that the gateway had.
    fn check(&self) -> String {
        let program = self.command.first().map_or("switchboard", String::as_str);
        let at = self.command.iter().position(|word| word == "--config");
        let chosen = at.and_then(|at| self.command.get(at + 1)).map(|file| format!(" --config {}", quoted(file))).unwrap_or_default();
        format!("{}{chosen} check", quoted(program))
    }
}

/// The last lines of a file.
fn tail(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES as usize)..].iter().map(|line| (*line).to_owned()).collect()
}

/// A word as a shell takes it for one.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::unit::Scope;

    const STATUS: &str = r#"{"instance":"01a22186-435a-709c-ab73-1716025a9678","version":"0.1.0","pid":1,"uptime_millis":1,"doing":"serving","ready":true,
        "troubled":[],"sessions":0,"turns_running":0,"turns_cut":0,"messages_waiting":0,"replies_owed":0,"adapters":[]}"#;

    fn origin(unit: Option<Unit>) -> Origin {
        let command = ["/opt/x/switchboard", "--config", "/etc/my file.toml", "run"];
        Origin { instance: InstanceId::fresh(), pid: 1, unit, command: command.map(Into::into).into(), log: None }
    }

    #[test]
    fn an_operator_is_told_what_is_and_what_to_do() {
        let failures =
            [Failure::Died(None, Some("exit code 78: bad configuration".into())), Failure::NeverReady(Duration::from_secs(60), false)];
        let unit = Unit { name: "switchboard.service".into(), scope: Scope::User };
        let lines = ["one \"two\" \x1b[31m".to_owned()];
        assert_eq!(
            origin(Some(unit)).words(&failures, Some("failed"), &lines),
            "the restart failed\n  first  the new instance died before it was ready (exit code 78: bad configuration)\n  \
             then   no new instance came within 1m\n  now    failed\nlast log lines:\n  one \"two\" \\u{1b}[31m\nto look further:\n  \
             systemctl --user status switchboard.service\n  journalctl --user -e -u switchboard.service\n  \
             /opt/x/switchboard --config '/etc/my file.toml' check\nto restart by hand:\n  systemctl --user restart switchboard.service"
        );
        let alone = origin(None).words(&failures[..1], None, &[]);
        assert!(alone.ends_with("to restart by hand:\n  /opt/x/switchboard --config '/etc/my file.toml' run"), "{alone}");
        assert!(alone.contains("no service manager") && alone.contains("none can be read"), "{alone}");
    }

    #[test]
    fn g40_another_users_process_says_nothing_that_root_types_or_reads() {
        if !Account::of_caller().is_root() {
            return; // there is nothing to give
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = std::fs::File::create(dir.path().join("log")).expect("writable");
        let mut sleep = std::process::Command::new("sleep");
        sleep.arg("600").stderr(log);
        let mut child = std::os::unix::process::CommandExt::uid(&mut sleep, 65532).spawn().expect("sleep is everywhere");
        let status = Status { pid: 1, ..serde_json::from_str(STATUS).expect("one") };
        let check = |uid: u32| {
            let origin = Origin::of(&status, Peer { pid: Some(child.id()), uid, gid: 0 });
            assert!(origin.command.is_empty() && origin.log.is_none() && origin.unit.is_none(), "{origin:?}");
            origin.pid
        };
        // That a number is another user's now says that it was given out again.
        assert_eq!((check(65532), check(65531), check(0)), (child.id(), 1, 1));
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, expected) in [("/a/b-c", "/a/b-c"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("$x", "'$x'")] {
            assert_eq!(quoted(word), expected);
        }
    }
}
