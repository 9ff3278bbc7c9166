//! `switchboard update` with real versions: fetched, proved, kept, undone, and cut anywhere.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use switchboard::install::Layout;
use switchboard::update::manifest::TARGET;

use crate::gateway::{Home, Life, Printed, until};
use crate::releases::{Fault, Next, Releases, small};

/// The version of the program as it was built.
const BUILT: &str = env!("CARGO_PKG_VERSION");
/// What a good version needs of the start limit is far less; what never gets ready costs all of it, twice.
const LIMITS: [&str; 4] = ["--dwell", "1s", "--start-limit", "10s"];

/// A gateway that is installed so that it can be updated.
struct Installed {
    home: Home,
    layout: Layout,
    releases: Releases,
}

impl Installed {
    fn new() -> Self {
        let releases = Releases::serve();
        let (source, key) = (releases.address(), releases.public_key());
        let update = format!("[update]\nsource = \"{source}\"\npublic_key = \"{key}\"\n\n[access]\nallow = [\"*\"]");
        let mut home = Home::with_demo(&update);
        let layout = Layout::at(&home.path().join("tree"));
        let program = home.path().join("built");
        std::fs::write(&program, small(env!("CARGO_BIN_EXE_switchboard").as_ref())).expect("writable");
        layout.put(BUILT, &program).expect("writable");
        layout.switch(BUILT).expect("it is there");
        home.use_program(layout.current_program());
        Self { home, layout, releases }
    }

    /// Runs the update with the program of the version that was built: whatever `current` leads to, that one is good.
    fn update(&self, more: &[&str]) -> Printed {
        let words = [&["update"], &LIMITS[..], more].concat();
        let output = self.update_command(&words).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Printed { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn update_command(&self, words: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(self.layout.program(BUILT));
        command.arg("--config").arg(self.home.config()).args(words).env_clear().env("HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    /// The version that answers and is ready, and its life.
    fn serving(&self) -> Option<(String, Value)> {
        let status = self.home.status().filter(|status| status["ready"] == true && status["doing"] == "serving")?;
        Some((status["version"].as_str()?.to_owned(), status["instance"].clone()))
    }

    /// The gateway of this version serves: what is said now is answered, and what was said before was answered once.
    #[track_caller]
    fn serves(&self, version: &str, said: &mut u32) {
        let (running, _) = until(&format!("version {version} serves"), || self.serving());
        assert_eq!((running.as_str(), self.layout.current().as_deref()), (version, Some(version)));
        *said += 1;
        self.home.telegram.push_text(1, 1, &format!("word {said}"));
        self.home.told(1, &format!("You said: word {said}"));
        for word in 1..=*said {
            assert_eq!(self.home.count(1, &format!("You said: word {word}")), 1, "word {word}");
        }
    }

    /// Every process of an installed version.
    fn processes(&self) -> Vec<i32> {
        let Ok(root) = std::fs::canonicalize(self.layout.root()) else { return Vec::new() };
        let entries = std::fs::read_dir("/proc").expect("readable").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.starts_with(&root))).collect()
    }

    /// Nothing of an update is left beside versions and snapshots.
    #[track_caller]
    fn is_tidy(&self) {
        let names = |path: PathBuf| -> Vec<String> {
            // Where no gateway has run there is no state directory.
            let entries = std::fs::read_dir(path).into_iter().flatten();
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect()
        };
        let mut tree = names(self.layout.root().to_owned());
        tree.sort();
        assert_eq!(tree, ["current", "update.lock", "versions"]);
        let rubbish = |name: &String| name.contains("trial") || name.contains("check");
        let state = names(self.home.state().path().to_owned());
        assert_eq!(state.iter().filter(|name| rubbish(name)).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

/// A gateway that the updater started is nobody's child here.
impl Drop for Installed {
    fn drop(&mut self) {
        for pid in self.processes() {
            _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // gone meanwhile: fine
        }
    }
}

/// One that is ready.
fn start(installed: &Installed) -> Life<'_> {
    installed.home.start()
}

#[test]
fn g26_an_update_is_fetched_and_proved_and_can_be_gone_back_on() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("good", "additive"));
    let look = installed.update(&["--check"]);
    assert_eq!((look.code, look.out.as_str()), (Some(0), "version 0.2.0 is there; 0.1.0 is current\n"), "{look:?}");
    let (_, first) = installed.serving().expect("it runs");
    let printed = installed.update(&[]);
    assert_eq!((printed.code, printed.out.as_str()), (Some(0), "updated from 0.1.0 to 0.2.0: it is ready and stayed so\n"), "{printed:?}");
    assert_ne!(installed.serving().expect("it runs").1, first);
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
    let again = installed.update(&[]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "version 0.2.0 is current, and the newest\n"), "{again:?}");
    // The ledger has the newer schema, and the old version can read it.
    let back = installed.update(&["--to", BUILT]);
    assert_eq!((back.code, back.out.as_str()), (Some(0), "updated from 0.2.0 to 0.1.0: it is ready and stayed so\n"), "{back:?}");
    installed.serves(BUILT, &mut said);
    installed.is_tidy();
}

#[test]
fn g26_a_release_that_is_not_what_was_signed_changes_nothing() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let first = installed.serving().expect("it runs");
    let folder = installed.releases.folder();
    let check = |expected: &str| {
        let printed = installed.update(&[]);
        assert!(printed.code == Some(1) && printed.err.contains(expected), "{expected}: {printed:?}");
        assert_eq!(installed.serving().as_ref(), Some(&first), "{expected}");
        assert_eq!(
            (installed.layout.current().as_deref(), installed.layout.versions()),
            (Some(BUILT), vec![BUILT.to_owned()]),
            "{expected}"
        );
        assert!(!installed.layout.root().join("update.json").exists());
    };
    check("404");
    let good = Next::new("good", "none");
    let sum = |text: &str| -> String {
        serde_json::from_str::<Value>(text).expect("JSON")["artifacts"][0]["sha256"].as_str().expect("a sum").into()
    };
    installed.releases.publish_as(good, |text| text.replace(&sum(&text), &"ab".repeat(32)));
    check("its checksum is not the one that was signed");
    installed.releases.publish(good);
    let text = std::fs::read_to_string(folder.join("manifest.json")).expect("readable");
    std::fs::write(folder.join("manifest.json"), text.replace("0.2.0", "0.3.0")).expect("writable");
    check("the signature is not good");
    installed.releases.publish_as(good, |text| text.replace("0.2.0", "0.3.0"));
    check("says that it is \"switchboard 0.2.0\"");
    installed.releases.publish_as(good, |text| text.replace("0.2.0", "0.0.9"));
    check("older than 0.1.0");
    installed.releases.publish_as(good, |text| text.replace("\"size\":", "\"size\":9"));
    check("bytes are here");
    let short = |text: String| text.replace("\"size\":", "\"size\":1,\"was\":");
    installed.releases.publish_as(good, short);
    check("larger than the 1 bytes that were signed");
}

#[test]
fn g26_a_download_that_is_cut_goes_on_where_it_stopped() {
    let installed = Installed::new();
    installed.releases.publish(Next::new("good", "none"));
    installed.releases.break_it(Fault::CutAfter(8 << 20));
    let printed = installed.update(&[]);
    assert_eq!((printed.code, printed.out.as_str()), (Some(0), "0.2.0 is in place; no gateway runs that could prove it\n"), "{printed:?}");
    let ranges = installed.releases.ranges();
    assert!(ranges.first().is_some_and(|first| first == "8388608-") && ranges.len() >= 2, "{ranges:?}");
    installed.is_tidy();
    // A server that knows no ranges is heard from the beginning; what is there from before does not confuse it.
    let other = Next { version: "0.3.0", ..Next::new("good", "none") };
    installed.releases.publish(other);
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(installed.releases.folder().join("manifest.json")).expect("readable")).expect("JSON");
    let part = installed.layout.root().join("downloads").join(manifest["artifacts"][0]["sha256"].as_str().expect("a sum"));
    std::fs::create_dir(part.parent().expect("a directory")).expect("writable");
    std::fs::write(&part, "the beginning of something else").expect("writable");
    installed.releases.break_it(Fault::NoRanges);
    assert_eq!(installed.update(&[]).code, Some(0));
    assert_eq!(installed.layout.current().as_deref(), Some("0.3.0"));
    // From a folder, and with a beginning that fits in size alone.
    let more = Next { version: "0.4.0", ..Next::new("good", "none") };
    installed.releases.publish(more);
    let folder = installed.releases.folder().to_str().expect("UTF-8").to_owned();
    assert_eq!(installed.update(&["--from", &folder]).code, Some(0));
    assert_eq!(installed.layout.current().as_deref(), Some("0.4.0"));
    let mut versions = installed.layout.versions();
    versions.sort();
    assert_eq!(versions, ["0.2.0", "0.3.0", "0.4.0"], "the last three stay");
}

#[test]
fn g26_a_version_that_is_not_proved_is_undone() {
    for (nature, change, reason) in [
        ("crashes at start", "additive", "it ended"),
        ("crashes at start", "breaking", "it ended"),
        ("never ready", "none", "no new instance came within 10s"),
        ("dies soon", "additive", ""),
        ("dies soon", "breaking", ""),
        ("dies serving", "additive", ""),
    ] {
        let installed = Installed::new();
        let _gateway = start(&installed);
        let mut said = 0;
        installed.serves(BUILT, &mut said);
        installed.releases.publish(Next::new(nature, change));
        let printed = installed.update(&[]);
        let told = printed.err.contains("0.2.0 was not proved: ") && printed.err.contains(reason);
        assert!(printed.code == Some(1) && told && printed.err.contains("version 0.1.0 is back"), "{nature} {change}: {printed:?}");
        installed.serves(BUILT, &mut said);
        installed.is_tidy();
        assert_eq!(installed.processes().len(), 1, "{nature} {change}: one that hangs is left behind");
    }
}

#[test]
fn g26_a_version_that_crashes_once_gets_a_second_chance() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("crashes once", "none"));
    let printed = installed.update(&[]);
    assert!(printed.code == Some(0) && printed.err.contains("proving 0.2.0, once more"), "{printed:?}");
    installed.serves("0.2.0", &mut said);
}

#[test]
fn g26_a_version_that_alone_can_read_the_ledger_is_proved_on_a_copy_and_hears_nobody() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("good", "breaking"));
    let mut update =
        installed.update_command(&["update", "--dwell", "3s"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("is ready; watched for 3s")));
    let status = installed.home.status().expect("it answers");
    assert_eq!((&status["version"], &status["doing"], &status["adapters"]), (&"0.2.0".into(), &"on trial".into(), &serde_json::json!([])));
    assert_eq!(installed.home.run(&["drain"]).code, Some(1), "what it would change is lost with it");
    assert_eq!(installed.home.get("/api/messages").map(|(status, _)| status), Some(503));
    // Said while nobody hears: it waits at the platform.
    installed.home.telegram.push_text(2, 2, "in between");
    lines.for_each(drop);
    assert_eq!(update.wait().expect("our child").code(), Some(0));
    installed.home.told(2, "You said: in between");
    assert_eq!(installed.home.count(2, "You said"), 1);
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
    // There is no way back: the old version says so, and nothing is touched.
    let back = installed.update(&["--to", BUILT]);
    assert!(
        back.code == Some(1) && back.err.contains("needs a reader of at least schema") && back.err.contains("nothing was changed"),
        "{back:?}"
    );
    installed.serves("0.2.0", &mut said);
}

#[test]
fn g26_once_something_was_accepted_there_is_only_forward() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("dies serving", "breaking"));
    let printed = installed.update(&[]);
    let told = printed.err.contains("version 0.2.0 should run and is not proved") && printed.err.contains("to start it by hand");
    assert!(printed.code == Some(1) && told, "{printed:?}");
    assert_eq!(installed.layout.current().as_deref(), Some("0.2.0"));
    let look = installed.update(&["--check"]);
    assert!(look.code == Some(1) && look.err.contains("was cut"), "{look:?}");
}

/// Kills the updater as soon as it has said that it is at `step`.
fn cut(installed: &Installed, step: &str) {
    let words = [&["update"], &LIMITS[..]].concat();
    let mut update = installed.update_command(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
    for line in lines {
        if line.contains(step) {
            update.kill().expect("our child");
            break;
        }
    }
    update.wait().expect("our child");
}

#[test]
fn g26_an_updater_that_is_killed_is_finished_or_undone_by_the_next_run() {
    let forward =
        ["fetching", "checks the configuration", "copying the ledger", "switching to 0.2.0", "proving 0.2.0", "is ready; watched"];
    let trial = ["proved on a copy", "switching to 0.2.0", "proving 0.2.0", "is ready; watched", "keeping it"];
    let undone = ["is not proved", "proving 0.2.0, once more", "switching to 0.1.0", "proving 0.1.0"];
    let stories =
        [("good", "none", &forward[..], "0.2.0"), ("good", "breaking", &trial, "0.2.0"), ("dies soon", "breaking", &undone, BUILT)];
    for (nature, change, steps, expected) in stories {
        for step in steps {
            let installed = Installed::new();
            let _gateway = start(&installed);
            let mut said = 0;
            installed.serves(BUILT, &mut said);
            installed.releases.publish(Next::new(nature, change));
            cut(&installed, step);
            // At every moment there is a version that can be started.
            assert!(installed.layout.current().is_some());
            let printed = installed.update(&[]);
            let ended = if expected == BUILT { Some(1) } else { Some(0) };
            assert_eq!(printed.code, ended, "{nature} {change}, cut at {step:?}: {printed:?}");
            installed.serves(expected, &mut said);
            installed.is_tidy();
        }
    }
}

#[test]
fn g26_a_trial_that_nobody_ends_ends_itself() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("good", "breaking"));
    let mut update = installed.update_command(&["update", "--dwell", "2s", "--start-limit", "3s"]);
    let mut update = update.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("is ready; watched")));
    update.kill().expect("our child");
    update.wait().expect("our child");
    installed.serves("0.2.0", &mut said);
    let printed = installed.update(&[]);
    assert!(printed.code == Some(0) && printed.err.contains("an update from 0.1.0 to 0.2.0 was cut; going on with it"), "{printed:?}");
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
}

#[test]
fn an_update_that_cannot_be_is_refused() {
    let mut home = Home::with_demo("");
    let printed = home.run(&["update"]);
    assert!(printed.code == Some(77) && printed.err.contains("service install"), "{printed:?}");
    let layout = Layout::at(&home.path().join("tree"));
    layout.put(BUILT, env!("CARGO_BIN_EXE_switchboard").as_ref()).expect("writable");
    layout.switch(BUILT).expect("it is there");
    let gateway = home.launch("info");
    gateway.wait_for("ready instance=");
    gateway.kill();
    home.use_program(layout.current_program());
    let printed = home.run(&["update"]);
    assert!(printed.code == Some(2) && printed.err.contains("Set update.source, or name a place with --from"), "{printed:?}");
    let printed = home.run(&["update", "--from", "https://example.org"]);
    assert!(printed.code == Some(2) && printed.err.contains("Set update.public_key"), "{printed:?}");
}

#[test]
fn the_script_makes_a_release_that_is_believed() {
    let installed = Installed::new();
    let (out, program) = (installed.home.path().join("out"), installed.home.path().join("program"));
    std::fs::write(&program, Next::new("good", "additive").program()).expect("writable");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("ours");
    let key = installed.home.path().join("key");
    std::fs::write(&key, installed.releases.secret_key()).expect("writable");
    let mut command = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/release.sh"));
    command.args([&out, &key]).arg(format!("{TARGET}={}", program.display())).stdin(Stdio::null());
    let output = command.output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("neither minisign nor rsign") {
        eprintln!("not proved here: deploy/release.sh with minisign or rsign, which are not installed");
        assert!(std::env::var_os("SWITCHBOARD_REQUIRE_ALL").is_none_or(|all| all != "1"), "{said}");
        let text = std::fs::read_to_string(out.join("manifest.json")).expect("made before it is signed");
        installed.releases.sign_in(&out, &text);
    } else {
        assert!(output.status.success(), "{said}");
    }
    let printed = installed.update(&["--from", out.join("manifest.json").to_str().expect("UTF-8")]);
    assert!(printed.code == Some(0) && printed.out.starts_with("0.2.0 is in place"), "{printed:?}");
}
