//! An update as operators make it: root runs it, the manager starts what comes of it, and the state belongs to a user whom nobody else knows.

use std::io::{BufRead, BufReader};

use super::host::{BRIEF, Host};
use super::sockets::connections;
use crate::gateway::until;
use crate::releases::{Next, Releases};

/// The version of the program as it was built.
const BUILT: &str = env!("CARGO_PKG_VERSION");
/// Run by the version that was built: whatever `current` leads to, that one is good.
const PROGRAM: &str = concat!("/opt/switchboard/versions/", env!("CARGO_PKG_VERSION"), "/switchboard");
const UPDATE: [&str; 6] = [PROGRAM, "update", "--dwell", "1s", "--start-limit", "8s"];
const STATE: &str = "/var/lib/private/switchboard";

/// A machine whose service can be updated.
struct Serviced {
    host: Host,
    releases: Releases,
    said: u32,
}

impl Serviced {
    /// One that runs; none where there are no machines.
    fn start() -> Option<Self> {
        let releases = Releases::serve();
        let (source, key) = (releases.address(), releases.public_key());
        let host = Host::serving(&format!("{BRIEF}[update]\nsource = \"{source}\"\npublic_key = \"{key}\"\n"))?;
        let mut serviced = Self { host, releases, said: 0 };
        serviced.serves(BUILT);
        Some(serviced)
    }

    /// Updates to this release; how it ended, and what it said.
    fn update_to(&self, next: Next) -> (Option<i32>, String) {
        self.releases.publish(next);
        self.update(&[])
    }

    fn update(&self, more: &[&str]) -> (Option<i32>, String) {
        let printed = self.host.run(&[&UPDATE, more].concat());
        (printed.code, printed.out + &printed.err)
    }

    /// Updates, and kills the updater as soon as it has said this.
    fn cut(&self, at: &str) {
        let line = format!("echo $$; exec {}", UPDATE.join(" "));
        let mut update = self.host.begin(&["sh", "-c", &line]);
        let mut pid = String::new();
        BufReader::new(update.stdout.take().expect("piped")).read_line(&mut pid).expect("UTF-8");
        let mut lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
        if lines.any(|line| line.contains(at)) {
            self.host.done(&["kill", "-KILL", pid.trim()]);
        }
        update.wait().expect("ours");
    }

    /// This version is what the manager runs: it is ready, has the whole state, answers what is said now, and has answered what was said before once.
    #[track_caller]
    fn serves(&mut self, version: &str) {
        let host = &self.host;
        until(&format!("version {version} serves"), || {
            host.status().filter(|status| status["version"] == version && status["ready"] == true && status["doing"] == "serving")
        });
        self.said += 1;
        host.home.telegram.push_text(1, 1, &format!("word {}.", self.said));
        for word in 1..=self.said {
            let answer = format!("You said: word {word}.");
            host.home.told(1, &answer);
            assert_eq!(host.home.count(1, &answer), 1, "word {word}");
        }
        // The gateway says that it is ready to whoever asks, and to its manager, who may not have heard it yet.
        host.wait_for_property("ActiveState", "active");
        assert_eq!(host.property("SubState"), "running");
        let runs = host.done(&["readlink", &format!("/proc/{}/exe", host.main_pid())]);
        assert_eq!(runs.trim(), format!("/opt/switchboard/versions/{version}/switchboard"));
        assert_eq!(host.done(&["readlink", "/opt/switchboard/current"]).trim(), format!("versions/{version}"));
        let user = host.done(&["stat", "--format=%u", STATE]);
        assert_eq!(host.done(&["find", STATE, "!", "-user", user.trim()]), "", "the service cannot open what is not its own");
        assert_eq!(host.done(&["find", STATE, "-type", "f", "-perm", "/077"]), "", "nobody else may read it");
    }

    /// Nothing of an update is left beside versions and snapshots.
    #[track_caller]
    fn is_tidy(&self) {
        assert_eq!(
            self.host.done(&["ls", "/opt/switchboard"]).split_whitespace().collect::<Vec<_>>(),
            ["current", "update.lock", "versions"]
        );
        let rubbish = self.host.done(&["find", STATE, "-name", "*trial*", "-o", "-name", "*check*", "-o", "-name", "*.part"]);
        assert_eq!(rubbish, "");
    }
}

#[test]
fn g26_a_service_is_updated_and_gone_back_on_and_refuses_no_connection() {
    let Some(mut serviced) = Serviced::start() else { return };
    serviced.releases.publish(Next::new("good", "additive"));
    let (tries, refused) = connections(&serviced.host, || {
        let (code, said) = serviced.update(&[]);
        assert!(code == Some(0) && said.contains("updated from 0.1.0 to 0.2.0: it is ready and stayed so"), "{said}");
    });
    assert_eq!(refused, 0, "of {tries} connections");
    serviced.serves("0.2.0");
    serviced.is_tidy();
    // What was installed outlives the machine's own restarts of it.
    serviced.host.done(&["systemctl", "restart", "switchboard"]);
    serviced.serves("0.2.0");
    // Nor does the program it was installed from take its place, which is still where it was.
    let printed = serviced.host.run(&["switchboard", "update"]);
    assert!(printed.code == Some(77) && printed.err.contains("`/opt/switchboard/current/switchboard update`"), "{printed:?}");
    let installed = serviced.host.done(&["switchboard", "service", "install", "--yes"]);
    assert!(installed.contains("version 0.2.0 stays the current one: this is 0.1.0"), "{installed}");
    serviced.serves("0.2.0");
    // The ledger has the newer schema, and the old version can read it.
    let (code, said) = serviced.update(&["--to", BUILT]);
    assert!(code == Some(0) && said.contains("updated from 0.2.0 to 0.1.0"), "{said}");
    serviced.serves(BUILT);
    serviced.is_tidy();
}

/// Another gateway from the same tree, beside the service: with a state and a page of its own, and nobody to hear.
fn second(serviced: &Serviced) -> String {
    let host = &serviced.host;
    let text = host.done(&["cat", "/etc/switchboard/config.toml"]);
    let update = &text[text.find("[update]").expect("it has one")..];
    let port = host.home.another_port();
    let config =
        format!("state_dir = \"/var/lib/second\"\nhttp.listen = \"127.0.0.1:{port}\"\n{BRIEF}[agents.default]\nkind = \"demo\"\n{update}");
    host.machine.write("/etc/switchboard/second.toml", 0o644, &config);
    let supervised = ["--property=Restart=on-failure", "--property=RestartForceExitStatus=75", "--property=RestartSec=2", "--unit=second"];
    let run = ["/opt/switchboard/current/switchboard", "--config", "/etc/switchboard/second.toml", "run"];
    host.done(&[&["systemd-run"], &supervised[..], &run].concat());
    let version = || {
        let status = host.run(&["switchboard", "--socket", "/var/lib/second/control.sock", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status.out).ok()?;
        (status["ready"] == true).then(|| status["version"].as_str().map(str::to_owned))?
    };
    until("the second gateway", version)
}

#[test]
fn g26_another_gateway_is_not_taken_for_the_one_that_is_proved() {
    let Some(mut serviced) = Serviced::start() else { return };
    assert_eq!(second(&serviced), BUILT);
    let whom = ["--config", "/etc/switchboard/second.toml"];
    // Every time it is gone for a while, in which the service answers where it always does.
    let restarted = serviced.host.run(&[&[PROGRAM], &whom[..], &["restart", "--dwell", "1s"]].concat());
    assert!(restarted.code == Some(0) && restarted.out.contains("restarted: instance"), "{restarted:?}");
    serviced.releases.publish(Next::new("good", "additive"));
    let updated = serviced.host.run(&[&[PROGRAM], &whom[..], &UPDATE[1..]].concat());
    let once = !updated.err.contains("once more") && updated.err.contains("proving 0.2.0");
    assert!(updated.code == Some(0) && updated.out.contains("updated from 0.1.0 to 0.2.0") && once, "{updated:?}");
    let stopped = serviced.host.run(&[&[PROGRAM], &whom[..], &["stop"]].concat());
    assert!(stopped.code == Some(0) && stopped.out.contains("stopped"), "{stopped:?}");
    // The service is what it was until it is restarted.
    assert_eq!(serviced.host.status().expect("it runs")["version"], BUILT);
    serviced.host.done(&["systemctl", "restart", "switchboard"]);
    serviced.serves("0.2.0");
}

#[test]
fn g26_a_service_whose_new_version_alone_can_read_the_ledger_serves_after_its_trial() {
    let Some(mut serviced) = Serviced::start() else { return };
    serviced.releases.publish(Next::new("good", "breaking"));
    let (tries, refused) = connections(&serviced.host, || {
        let mut update = serviced.host.begin(&[PROGRAM, "update", "--dwell", "3s"]);
        let mut lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("proved on a copy")) && lines.any(|line| line.contains("is ready; watched")));
        assert_eq!(serviced.host.property("StatusText"), "on trial: hearing and saying nothing");
        lines.for_each(drop);
        assert_eq!(update.wait().expect("ours").code(), Some(0));
    });
    assert_eq!(refused, 0, "of {tries} connections");
    serviced.serves("0.2.0");
    serviced.is_tidy();
    assert_eq!(serviced.host.status().expect("it runs")["last_end"], "clean", "a trial that was kept is no crash");
    assert!(serviced.host.done(&["switchboard", "history"]).lines().all(|line| !line.contains("flag")), "nor is the life before it");
    serviced.host.done(&["systemctl", "restart", "switchboard"]);
    serviced.serves("0.2.0");
}

#[test]
fn g26_a_service_whose_new_version_is_not_proved_is_what_it_was() {
    let Some(mut serviced) = Serviced::start() else { return };
    // Sooner than anybody looks again: only the manager's log knows how the process before ended.
    serviced.host.tune("RestartSec=1ms");
    for (nature, change, reason) in [
        ("crashes at start", "additive", "the new instance died before it was ready (exit code 70"),
        ("crashes at start", "breaking", "the new instance died before it was ready (exit code 70"),
        ("never ready", "none", "no new instance came within 8s"),
        ("dies soon", "breaking", "the new instance died"),
        ("dies serving", "additive", "the new instance died"),
    ] {
        let (code, said) = serviced.update_to(Next::new(nature, change));
        let told = said.contains("0.2.0 was not proved: ") && said.contains(reason) && said.contains("version 0.1.0 is back");
        assert!(code == Some(1) && told && said.contains("proving 0.2.0, once more"), "{nature} {change}: {said}");
        assert!(said.contains("journalctl -e -u switchboard.service"), "{said}");
        serviced.serves(BUILT);
        serviced.is_tidy();
    }
}

#[test]
fn g26_a_service_whose_updater_is_killed_is_finished_or_undone_by_the_next_run() {
    let Some(mut serviced) = Serviced::start() else { return };
    serviced.host.tune("RestartSec=100ms");
    serviced.releases.publish(Next::new("dies soon", "breaking"));
    for step in ["copying the ledger", "proved on a copy", "switching to 0.2.0", "proving 0.2.0", "is not proved", "switching to 0.1.0"] {
        serviced.cut(step);
        let (code, said) = serviced.update(&[]);
        assert!(code == Some(1) && said.contains("was cut; going on with it") && said.contains("0.1.0 is back"), "cut at {step:?}: {said}");
        serviced.serves(BUILT);
        serviced.is_tidy();
    }
    serviced.releases.publish(Next::new("good", "breaking"));
    serviced.cut("keeping it");
    let (code, said) = serviced.update(&[]);
    assert!(code == Some(0) && said.contains("was cut; going on with it"), "{said}");
    serviced.serves("0.2.0");
    serviced.is_tidy();
}

/// Puts a version in place that answers whoever looks at it and does this when it is run; has the manager find out, and waits until it has: the
/// manager says `activating` before anything was run.
fn fall_ill(serviced: &Serviced, when_run: &str, is_ill: impl Fn(&Host) -> bool) {
    let script =
        format!("case \"$*\" in\n--version) $real --version | sed s/0.1.0/0.1.5/;;\n*run) {when_run};;\n*) exec $real \"$@\";;\nesac");
    serviced.host.replace_program("0.1.5", &script);
    serviced.host.done(&["systemctl", "restart", "--no-block", "switchboard"]);
    until("an ill service", || is_ill(&serviced.host).then_some(()));
}

/// Its first process has died, and another was or is to be started.
fn dies(host: &Host) -> bool {
    host.property("NRestarts") != "0"
}

/// Its main process runs what its script says: it has a child.
fn hangs(host: &Host) -> bool {
    let pid = host.main_pid();
    pid != "0" && !host.run(&["cat", &format!("/proc/{pid}/task/{pid}/children")]).out.trim().is_empty()
}

/// Its manager has given it up.
fn is_given_up(host: &Host) -> bool {
    host.property("ActiveState") == "failed"
}

#[test]
fn g26_an_ill_service_is_mended_by_an_update_or_as_ill_as_it_was() {
    let Some(mut serviced) = Serviced::start() else { return };
    serviced.host.tune("RestartSec=100ms");
    // It dies whenever it is started: its manager tries again for ever, and nobody listens.
    fall_ill(&serviced, "exit 70", dies);
    let (code, said) = serviced.update_to(Next::new("crashes at start", "breaking"));
    let told =
        said.contains("the gateway is ill: switchboard.service is ") && said.contains("version 0.1.5 is back, and as ill as it was before");
    assert!(code == Some(1) && told && said.contains("journalctl -e -u switchboard.service"), "{said}");
    assert_eq!(serviced.host.done(&["readlink", "/opt/switchboard/current"]).trim(), "versions/0.1.5");
    serviced.is_tidy();
    let (code, said) = serviced.update_to(Next::new("crashes once", "breaking"));
    assert!(code == Some(0) && said.contains("the gateway is ill") && said.contains("updated from 0.1.5 to 0.2.0"), "{said}");
    serviced.serves("0.2.0");
    serviced.is_tidy();
}

#[test]
fn g26_a_service_that_was_given_up_is_mended_and_one_that_was_stopped_stays_so() {
    let Some(mut serviced) = Serviced::start() else { return };
    // One that is never ready, and takes its time to go.
    fall_ill(&serviced, "trap 'sleep 12; exit 1' TERM; while :; do sleep 0.1; done", hangs);
    let (code, said) = serviced.update_to(Next::new("good", "additive"));
    assert!(code == Some(0) && said.contains("switchboard.service is activating") && !said.contains("once more"), "{said}");
    serviced.serves("0.2.0");
    fall_ill(&serviced, "exit 78", is_given_up);
    let (code, said) = serviced.update(&[]);
    assert!(code == Some(0) && said.contains("switchboard.service is failed") && said.contains("updated from 0.1.5 to 0.2.0"), "{said}");
    serviced.serves("0.2.0");
    // Its own ledger is what is checked and copied, although nobody says where it is.
    serviced.host.done(&["systemctl", "stop", "switchboard"]);
    let (code, said) = serviced.update_to(Next { version: "0.3.0", ..Next::new("good", "additive") });
    assert!(code == Some(0) && said.contains("0.3.0 is in place; no gateway runs that could prove it"), "{said}");
    serviced.host.done(&["test", "-f", &format!("{STATE}/ledger.sqlite3.update-0.3.0")]);
    assert_eq!(serviced.host.property("ActiveState"), "inactive");
    serviced.host.done(&["systemctl", "start", "switchboard"]);
    serviced.serves("0.3.0");
    serviced.is_tidy();
}

/// The trial runs within the unit's bound of memory, on a copy of all that was ever said: what it holds does not grow with that.
#[test]
fn g26_g41_the_trial_of_a_large_ledger_takes_little_of_what_the_unit_may_take() {
    const LARGE: u64 = 192 << 20;
    let Some(mut serviced) = Serviced::start() else { return };
    let host = &serviced.host;
    host.done(&["systemctl", "stop", "switchboard"]);
    // Not in its place: SQLite would follow the link to the machine's root in its own way.
    let (there, here) = (host.machine.path(&format!("{STATE}/ledger.sqlite3")), host.home.path().join("ledger.sqlite3"));
    std::fs::copy(&there, &here).expect("stopped, so that it is one file");
    let ledger = rusqlite::Connection::open(&here).expect("it is one");
    let fill = "CREATE TABLE ballast (bytes BLOB); WITH RECURSIVE rows (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM rows WHERE n < 192) \
                INSERT INTO ballast SELECT randomblob(1048576) FROM rows";
    ledger.execute_batch(fill).expect("room");
    ledger.close().expect("nobody else has it");
    // Into the same file, which is its owner's.
    std::fs::write(&there, std::fs::read(&here).expect("readable")).expect("room");
    assert!(std::fs::metadata(&there).expect("there").len() > LARGE);
    host.done(&["systemctl", "start", "switchboard"]);
    serviced.releases.publish(Next::new("good", "breaking"));
    let mut update = host.begin(&[PROGRAM, "update", "--dwell", "3s"]);
    let mut lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("proved on a copy")) && lines.any(|line| line.contains("is ready; watched")));
    assert_eq!(host.property("StatusText"), "on trial: hearing and saying nothing");
    let most = host.done(&["cat", &format!("/proc/{}/status", host.main_pid())]);
    let most = most.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let most = most.expect("the system counts it") << 10;
    assert!(most < LARGE / 2, "{most} bytes at most, for a ledger of more than {LARGE}");
    lines.for_each(drop);
    assert_eq!(update.wait().expect("ours").code(), Some(0));
    serviced.serves("0.2.0");
    serviced.is_tidy();
}
