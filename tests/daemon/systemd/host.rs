//! A machine with the gateway installed as a system service, between the fakes of a [`Home`].

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::machine::Machine;
use crate::gateway::{Home, Printed, until};

const CONFIG: &str = "/etc/switchboard/config.toml";
const DROP_IN: &str = "/etc/systemd/system/switchboard.service.d/test.conf";
/// For shutdowns of seconds: everything but the drain is short.
pub(crate) const BRIEF: &str = "[access]\nallow = [\"*\"]\n[shutdown]\nroll_call = \"500ms\"\nannounce = \"500ms\"\ninterrupt = \"500ms\"\n\
                                flush = \"500ms\"\ndisconnect = \"500ms\"\nmargin = \"2s\"\n";

/// The machine and its gateway.
pub(crate) struct Host {
    pub(crate) machine: Machine,
    pub(crate) home: Home,
}

impl Host {
    /// A machine with a configuration and no service yet; none where there are no machines.
    pub(crate) fn boot(more: &str) -> Option<Self> {
        Self::around(Home::with_demo(more))
    }

    fn around(home: Home) -> Option<Self> {
        let host = Self { machine: Machine::boot()?, home };
        host.configure(|text| text.to_owned());
        host.machine.write("/etc/switchboard/telegram", 0o644, host.home.telegram.token());
        Some(host)
    }

    /// A machine with the service installed and running.
    pub(crate) fn serving(more: &str) -> Option<Self> {
        let host = Self::boot(more)?;
        host.install();
        host.done(&["systemctl", "start", "switchboard"]);
        Some(host)
    }

    /// Writes the configuration of the home, as it is for a service, after a change.
    pub(crate) fn configure(&self, change: impl Fn(&str) -> String) {
        let text = std::fs::read_to_string(self.home.config()).expect("readable");
        // The service has a state directory of its own, and cannot look into ours.
        let text = text.lines().filter(|line| !line.starts_with("state_dir")).collect::<Vec<_>>().join("\n");
        let text = text.replace(&self.home.path().display().to_string(), "/etc/switchboard");
        self.machine.write(CONFIG, 0o644, &change(&text));
    }

    pub(crate) fn install(&self) {
        self.done(&["switchboard", "service", "install", "--yes"]);
    }

    /// Adds lines to the service's unit.
    pub(crate) fn tune(&self, lines: &str) {
        self.machine.write(DROP_IN, 0o644, &format!("[Service]\n{lines}\n"));
        self.done(&["systemctl", "daemon-reload"]);
    }

    /// Puts a script in place of the program: a new version that may be bad. `real` in it is the real one.
    pub(crate) fn replace_program(&self, version: &str, script: &str) {
        let text = format!("#!/bin/sh\nreal=/usr/local/bin/switchboard\n{script}\n");
        self.machine.write(&format!("/opt/switchboard/versions/{version}/switchboard"), 0o755, &text);
        self.done(&["ln", "-sfn", &format!("versions/{version}"), "/opt/switchboard/current"]);
    }

    pub(crate) fn run(&self, words: &[&str]) -> Printed {
        self.machine.run(words)
    }

    /// Runs a command that must do what it says; what it printed.
    #[track_caller]
    pub(crate) fn done(&self, words: &[&str]) -> String {
        let printed = self.run(words);
        assert_eq!(printed.code, Some(0), "{words:?}: {printed:?}\n{}", self.log());
        printed.out
    }

    /// Begins a command that takes its time.
    pub(crate) fn begin(&self, words: &[&str]) -> std::process::Child {
        let mut command: Command = self.machine.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nsenter")
    }

    /// A property of the unit.
    pub(crate) fn property(&self, name: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", name, "switchboard.service"]).out.trim().to_owned()
    }

    /// Waits until a property of the unit is this.
    #[track_caller]
    pub(crate) fn wait_for_property(&self, name: &str, value: &str) {
        until(&format!("{name}={value}"), || (self.property(name) == value).then_some(()));
    }

    pub(crate) fn main_pid(&self) -> String {
        self.property("MainPID")
    }

    /// Waits until the unit's main process is this program. The manager says `activating`, `start` before its child has executed anything: whoever
    /// replaces the program by that word alone may see the new one started.
    #[track_caller]
    pub(crate) fn wait_for_main(&self, program: &str) {
        until(&format!("a main process that is {program}"), || {
            let runs = self.run(&["readlink", &format!("/proc/{}/exe", self.main_pid())]).out;
            runs.trim().ends_with(&format!("/{program}")).then_some(())
        });
    }

    /// The gateway's own word on itself; none while nobody answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let printed = self.run(&["switchboard", "status", "--json"]);
        (printed.code == Some(0)).then(|| serde_json::from_str(&printed.out).expect("JSON"))
    }

    /// The instance that is ready.
    pub(crate) fn instance(&self) -> Option<String> {
        let status = self.status().filter(|status| status["ready"] == true)?;
        status["instance"].as_str().map(str::to_owned)
    }

    /// Waits until another instance than this is ready.
    #[track_caller]
    pub(crate) fn wait_for_successor(&self, old: &str) -> String {
        until("another instance", || self.instance().filter(|new| new != old))
    }

    /// A task that runs until it is cut.
    #[track_caller]
    pub(crate) fn work(&self, chat: i64, words: &str) {
        let before = self.status().map_or(0, |status| status["turns_running"].as_u64().unwrap_or(0));
        self.home.telegram.push_text(chat, chat, words);
        until("a task that runs", || self.status().filter(|status| status["turns_running"].as_u64() > Some(before)));
    }

    /// What the gateway logged, as the journal has it.
    pub(crate) fn log(&self) -> String {
        self.journal(&["--output=cat", "--unit=switchboard"])
    }

    /// What the journal has, once it has written down what it was told: it reads what processes say when it comes to that.
    pub(crate) fn journal(&self, words: &[&str]) -> String {
        self.run(&["journalctl", "--sync"]);
        self.run(&[&["journalctl", "--no-pager"], words].concat()).out
    }

    /// Files that ship with the program.
    pub(crate) fn shipped(file: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(file);
        std::fs::read_to_string(path).expect("it ships")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.journal(&["--lines=200"]);
            eprintln!("--- the machine's journal\n{log}");
        }
    }
}
