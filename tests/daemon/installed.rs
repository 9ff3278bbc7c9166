//! A gateway that is installed side by side with other versions of itself, between releases to come and the fakes of a [`Home`].

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use switchboard::install::Layout;

use crate::gateway::{Home, Life, Printed, until};
use crate::releases::{Releases, small};

/// The version of the program as it was built.
pub(crate) const BUILT: &str = env!("CARGO_PKG_VERSION");
/// What a good version needs of the start limit is far less; what never gets ready costs all of it, twice.
pub(crate) const LIMITS: [&str; 4] = ["--dwell", "1s", "--start-limit", "10s"];

/// A gateway that is installed so that it can be updated.
pub(crate) struct Installed {
    pub(crate) home: Home,
    pub(crate) layout: Layout,
    pub(crate) releases: Releases,
}

impl Installed {
    pub(crate) fn new() -> Self {
        let releases = Releases::serve();
        let (source, key) = (releases.address(), releases.public_key());
        let update =
            format!("[update]\nsource = \"{source}\"\npublic_key = \"{key}\"\n\n[restart]\nmode = \"exit\"\n\n[access]\nallow = [\"*\"]");
        let mut home = Home::with_demo(&update);
        let layout = Layout::at(&home.path().join("tree"));
        let program = home.path().join("built");
        std::fs::write(&program, small(env!("CARGO_BIN_EXE_switchboard").as_ref())).expect("writable");
        layout.put(BUILT, &program).expect("writable");
        layout.switch(BUILT).expect("it is there");
        home.use_program(layout.current_program());
        Self { home, layout, releases }
    }

    /// Installs it in another place.
    pub(crate) fn move_to(&mut self, root: &Path) {
        self.layout = Layout::at(&root.join("tree"));
        self.layout.put(BUILT, &self.home.path().join("built")).expect("writable");
        self.layout.switch(BUILT).expect("it is there");
        self.home.use_program(self.layout.current_program());
    }

    /// Runs the update with the program of the version that was built: whatever `current` leads to, that one is good.
    pub(crate) fn update(&self, more: &[&str]) -> Printed {
        self.printed(&[&["update"], &LIMITS[..], more].concat())
    }

    /// Runs this command of that program to its end.
    pub(crate) fn printed(&self, words: &[&str]) -> Printed {
        Self::ended(&mut self.update_command(words))
    }

    fn ended(command: &mut Command) -> Printed {
        let output = command.output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Printed { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub(crate) fn update_command(&self, words: &[&str]) -> Command {
        self.command_of(&self.layout.program(BUILT), words)
    }

    /// Runs the update as people do: with the version that is current, whatever it is like.
    pub(crate) fn update_by_current(&self) -> Printed {
        Self::ended(&mut self.command_of(&self.layout.current_program(), &[&["update"], &LIMITS[..]].concat()))
    }

    fn command_of(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("--config").arg(self.home.config()).args(words).env_clear().env("HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    /// The version that answers and is ready, and its life.
    pub(crate) fn serving(&self) -> Option<(String, Value)> {
        let status = self.home.status().filter(|status| status["ready"] == true && status["doing"] == "serving")?;
        Some((status["version"].as_str()?.to_owned(), status["instance"].clone()))
    }

    /// The gateway of this version serves: what is said now is answered, and what was said before was answered once.
    #[track_caller]
    pub(crate) fn serves(&self, version: &str, said: &mut u32) {
        let (running, _) = until(&format!("version {version} serves"), || self.serving());
        assert_eq!((running.as_str(), self.layout.current().as_deref()), (version, Some(version)));
        *said += 1;
        self.home.telegram.push_text(1, 1, &format!("word {said}."));
        self.home.told(1, &format!("You said: word {said}."));
        for word in 1..=*said {
            assert_eq!(self.home.count(1, &format!("You said: word {word}.")), 1, "word {word}");
        }
    }

    /// Every process of an installed version.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let Ok(root) = std::fs::canonicalize(self.layout.root()) else { return Vec::new() };
        let entries = std::fs::read_dir("/proc").expect("readable").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.starts_with(&root))).collect()
    }

    /// Ends every process of an installed version.
    pub(crate) fn end_all(&self) {
        for pid in self.processes() {
            _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // gone meanwhile: fine
        }
    }

    /// Nothing of an update is left beside versions and snapshots.
    #[track_caller]
    pub(crate) fn is_tidy(&self) {
        let names = |path: PathBuf| -> Vec<String> {
            // Where no gateway has run there is no state directory.
            let entries = std::fs::read_dir(path).into_iter().flatten();
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect()
        };
        let mut tree = names(self.layout.root().to_owned());
        tree.sort();
        assert_eq!(tree, ["current", "update.lock", "versions"]);
        let rubbish = |name: &String| ["trial", "check", ".part"].iter().any(|part| name.contains(part));
        let state = names(self.home.state().path().to_owned());
        assert_eq!(state.iter().filter(|name| rubbish(name)).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

/// A gateway whose manager is gone is nobody's child here.
impl Drop for Installed {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// A manager as simple as they come: what ends is started again, but for a stop.
const SUPERVISOR: &str = "while :; do \"$@\"; code=$?; [ $code = 0 ] && exit; sleep 0.1; done";

/// A gateway whose manager starts it again.
pub(crate) struct Supervised<'a> {
    installed: &'a Installed,
    manager: Option<Life<'a>>,
}

impl Supervised<'_> {
    /// Stops it by a command; how it ended.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.installed.home.done(&["stop"]);
        self.manager.take().expect("it has run until now").ended()
    }

    /// Ends both without a word.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Supervised<'_> {
    fn drop(&mut self) {
        drop(self.manager.take());
        self.installed.end_all();
        until("nobody", || self.installed.processes().is_empty().then_some(()));
    }
}

/// One that is ready, and has a manager.
pub(crate) fn start(installed: &Installed) -> Supervised<'_> {
    start_with(installed, &[])
}

/// The same, with these variables.
pub(crate) fn start_with<'a>(installed: &'a Installed, variables: &[(&str, &str)]) -> Supervised<'a> {
    supervised(installed, &[], variables)
}

/// The same, as this user.
pub(crate) fn start_as(installed: &Installed, user: u32) -> Supervised<'_> {
    supervised(installed, &["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"], &[])
}

fn supervised<'a>(installed: &'a Installed, before: &[&str], variables: &[(&str, &str)]) -> Supervised<'a> {
    let mut command = installed.home.command(&[&["sh", "-c", SUPERVISOR, "manager"], before].concat(), &["run"]);
    // A bad version may crash often before the good one is back.
    command.env("SWITCHBOARD__RECOVERY__CRASH_LOOP__STARTS", "0");
    command.env("SWITCHBOARD__LOG__LEVEL", "debug").envs(variables.iter().copied());
    let manager = installed.home.watched(command);
    manager.wait_for("ready instance=");
    Supervised { installed, manager: Some(manager) }
}

/// Kills the updater as soon as it has said that it is at `step`.
pub(crate) fn cut(installed: &Installed, step: &str) {
    cut_at(&mut installed.update_command(&[&["update"], &LIMITS[..]].concat()), step);
}

/// The same for an updater that is begun in another way.
pub(crate) fn cut_at(update: &mut Command, step: &str) {
    let mut update = update.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
    for line in lines {
        if line.contains(step) {
            update.kill().expect("our child");
            break;
        }
    }
    update.wait().expect("our child");
}
