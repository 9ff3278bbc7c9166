//! While it serves: ready means ready, the status line counts, whoever hangs is ended, and there is no limit to starts.

use switchboard_actors::testkit::fake_telegram::Fault;

use super::host::{BRIEF, Host};
use crate::gateway::until;

#[test]
fn g25_the_unit_is_active_only_when_the_gateway_is_ready() {
    let Some(host) = Host::boot("[access]\nallow = [\"*\"]\n[adapters.web]\nenabled = false\n[connection]\nconnect_limit = \"1h\"\n")
    else {
        return;
    };
    host.install();
    host.home.telegram.fail_always("getMe", Some(Fault::Hang));
    host.done(&["systemctl", "start", "--no-block", "switchboard"]);
    until("an instance that is not ready", || host.status().filter(|status| status["ready"] == false));
    assert_eq!(host.property("ActiveState"), "activating");
    host.done(&["systemctl", "stop", "switchboard"]);
    host.home.telegram.fail_always("getMe", None);
    host.done(&["systemctl", "start", "switchboard"]);
    assert_eq!(host.property("ActiveState"), "active");
    assert!(host.instance().is_some(), "the start is over when it is ready");
}

#[test]
fn g24_the_status_line_counts_and_never_quotes() {
    let Some(host) = Host::serving(BRIEF) else { return };
    until("the count of none", || host.property("StatusText").contains("0 tasks running").then_some(()));
    host.work(71_421, "work for 1h");
    let text = until("the count of one", || Some(host.property("StatusText")).filter(|text| text.contains("1 tasks running")));
    assert!(text.starts_with("serving: "), "{text}");
    assert!(!text.contains("71421") && !text.contains("family"), "foreign text: {text}");
}

#[test]
fn g11_a_gateway_that_hangs_is_ended_by_the_managers_watchdog_and_comes_back() {
    let Some(host) = Host::boot(BRIEF) else { return };
    host.install();
    host.tune("WatchdogSec=2\nRestartSec=100ms");
    host.done(&["systemctl", "start", "switchboard"]);
    let first = host.instance().expect("ready");
    let (pid, began) = (host.main_pid(), host.property("ExecMainStartTimestampMonotonic"));
    // It is fed: more than one of the watchdog's times passes.
    until("more than one time of the watchdog", || {
        let up = host.status()?["uptime_millis"].as_u64()?;
        (up > 5_000).then_some(())
    });
    assert_eq!((host.main_pid(), host.property("ExecMainStartTimestampMonotonic")), (pid.clone(), began));
    host.done(&["kill", "-STOP", &pid]);
    let second = host.wait_for_successor(&first);
    assert!(host.log().contains("instance="), "{second}");
    assert_eq!(host.property("NRestarts"), "1");
    assert!(host.journal(&["--unit=switchboard"]).contains("Watchdog timeout"));
    assert_eq!(host.status().expect("it runs")["last_end"], "found hung while serving");
}

#[test]
fn g30_exit_codes_decide_whether_it_is_started_again_and_there_is_no_limit() {
    let Some(host) = Host::serving(BRIEF) else { return };
    host.tune("RestartSec=50ms");
    // 75, asked for by a signal.
    let mut instance = host.instance().expect("ready");
    host.done(&["systemctl", "kill", "--signal=USR1", "--kill-whom=main", "switchboard"]);
    instance = host.wait_for_successor(&instance);
    assert_eq!((host.property("NRestarts"), host.property("ExecMainStatus")), ("1".into(), "0".into()));
    // More deaths than systemd's own limit of starts allows (five within ten seconds).
    for _ in 0..7 {
        host.done(&["systemctl", "kill", "--signal=KILL", "--kill-whom=main", "switchboard"]);
        instance = until("the next instance", || host.instance().filter(|new| *new != instance));
    }
    host.wait_for_property("ActiveState", "active");
    // What a crash loop costs is said: the platforms are left alone for a while, and the unit is active meanwhile.
    let text = until("the wait in the status", || Some(host.property("StatusText")).filter(|text| text.contains("adapters connect in")));
    assert!(text.starts_with("serving: ") && text.contains("; tasks are held after a crash loop; ") && !text.contains("family"), "{text}");
    host.done(&["switchboard", "restart", "--dwell", "500ms", "--start-limit", "20s"]);
    // 78: another start mends nothing.
    host.configure(|text| text.replace("agent = \"default\"", "agent = \"nobody\""));
    host.done(&["systemctl", "kill", "--signal=USR1", "--kill-whom=main", "switchboard"]);
    host.wait_for_property("ActiveState", "failed");
    assert_eq!((host.property("ExecMainStatus"), host.property("SubState")), ("78".into(), "failed".into()));
    assert!(host.log().contains("there is no agent \"nobody\""));
    // 73: the state directory is another one's.
    host.configure(ToOwned::to_owned);
    let lock = host.begin(&["flock", "/var/lib/private/switchboard/lock", "sleep", "infinity"]);
    until("a state directory that is locked", || {
        host.run(&["systemctl", "restart", "switchboard"]);
        (host.property("ExecMainStatus") == "73").then_some(())
    });
    assert_eq!(host.property("ActiveState"), "failed");
    drop(lock);
}

#[test]
fn g24_the_service_is_confined_and_reads_secrets_that_only_root_can() {
    let Some(host) = Host::boot("[access]\nallow = [\"*\"]\n") else { return };
    host.configure(|text| text.replace("{ file = \"/etc/switchboard/telegram\" }", "{ credential = \"telegram\" }"));
    host.machine.write("/etc/switchboard/telegram", 0o600, host.home.telegram.token());
    host.install();
    host.tune("LoadCredential=telegram:/etc/switchboard/telegram");
    host.done(&["systemctl", "start", "switchboard"]);
    host.home.telegram.push_text(1, 1, "hello");
    host.home.told(1, "You said: hello");
    assert!(host.done(&["switchboard", "check"]).contains("the configuration is good"), "from outside, where no credential is");
    for (path, owner) in [("/var/lib/private/switchboard", "700"), ("/run/switchboard", "700"), ("/run/switchboard/control.sock", "600")] {
        assert_eq!(host.done(&["stat", "--format=%a", path]).trim(), owner, "{path}");
    }
    assert_ne!(host.done(&["stat", "--format=%u", "/run/switchboard/control.sock"]).trim(), "0", "it is not root");
    let verdict = host.done(&["systemd-analyze", "security", "--no-pager", "switchboard.service"]);
    let exposure = verdict.lines().find(|line| line.contains("Overall exposure level")).expect("a verdict");
    let level: f64 = exposure.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
    assert!(level <= 3.0, "{exposure}");
}
