//! A stop by the manager: it waits as long as there is progress and no longer, hits only the gateway, and is never a failure.

use std::time::{Duration, Instant};

use switchboard_actors::testkit::fake_telegram::Fault;

use super::host::{BRIEF, Host};
use crate::gateway::{BOUND, CUT, DOWN, until};

/// What a crowded machine may add to a wall clock.
const CROWD: Duration = Duration::from_secs(10);

#[test]
fn g12_a_drain_that_makes_progress_outlasts_the_managers_limit_up_to_its_own() {
    let Some(host) = Host::boot(&BRIEF.replace("[shutdown]", "[shutdown]\ngrace = \"20s\"")) else { return };
    host.install();
    host.tune("TimeoutStopSec=2");
    host.done(&["systemctl", "start", "switchboard"]);
    host.work(1, "work for 6s");
    let begun = Instant::now();
    host.done(&["systemctl", "stop", "switchboard"]);
    assert!(begun.elapsed() > Duration::from_secs(3), "longer than the limit: {:?}", begun.elapsed());
    assert_eq!((host.property("ActiveState"), host.property("Result")), ("inactive".into(), "success".into()));
    assert!(host.home.told(1, DOWN).len() >= 2, "it was told, and answered");
    assert_eq!(host.home.count(1, CUT), 0);
    // A task without end: the grace is the maximum, and being cut is no failure of the unit.
    host.done(&["systemctl", "start", "switchboard"]);
    host.work(2, "work for 1h");
    let begun = Instant::now();
    let stop = host.begin(&["systemctl", "stop", "switchboard"]);
    let text = until("the drain's status", || Some(host.property("StatusText")).filter(|text| text.starts_with("drain: 1 tasks running")));
    assert!(text.contains("s left"), "{text}");
    assert_eq!(host.property("SubState"), "stop-sigterm");
    // What it runs is hidden from the service; who it is is known.
    let history = host.done(&["switchboard", "history", "-n", "1"]);
    assert!(history.contains("stop by SIGTERM from the service manager (pid 1, user 0)"), "{history}");
    let output = stop.wait_with_output().expect("it ends");
    assert!(output.status.success() && begun.elapsed() < Duration::from_secs(20) + CROWD, "{:?}", begun.elapsed());
    assert_eq!((host.property("ActiveState"), host.property("Result")), ("inactive".into(), "success".into()));
    host.done(&["systemctl", "start", "switchboard"]);
    host.home.told(2, CUT);
}

#[test]
fn g12_stopping_is_said_only_when_the_drain_is_over() {
    let Some(host) = Host::serving(&BRIEF.replace("[shutdown]", "[shutdown]\ngrace = \"30s\"")) else { return };
    let first = host.instance().expect("ready");
    host.work(1, "work for 12s");
    let restart = host.begin(&["switchboard", "restart"]);
    until("the drain's status", || host.property("StatusText").starts_with("drain: ").then_some(()));
    assert_eq!((host.property("ActiveState"), host.property("SubState")), ("active".into(), "running".into()), "the clock has not begun");
    let output = restart.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(host.instance(), Some(first));
    let journal = host.journal(&["--unit=switchboard"]);
    assert_eq!(journal.matches("Scheduled restart job").count(), 1, "{journal}");
}

#[test]
fn g30_children_outlive_the_signal_and_not_the_stop() {
    let Some(host) = Host::serving(&BRIEF.replace("[shutdown]", "[shutdown]\ngrace = \"30s\"")) else { return };
    // Processes of the service that are not its main one, as an agent's child is: one that refuses SIGTERM, and one that it left behind in a session of
    // its own, where no kill of its group reaches it.
    let children = "echo $$ > /sys/fs/cgroup/system.slice/switchboard.service/cgroup.procs && trap '' TERM && setsid --fork sleep infinity && \
                    exec sleep infinity";
    let mut child = host.begin(&["sh", "-c", children]);
    until("three processes of the service", || (processes(&host) == 3).then_some(()));
    host.work(1, "work for 12s");
    let stop = host.begin(&["systemctl", "stop", "switchboard"]);
    until("the drain's status", || host.property("StatusText").starts_with("drain: ").then_some(()));
    assert!(child.try_wait().expect("ours").is_none(), "SIGTERM was for the gateway alone");
    assert!(stop.wait_with_output().expect("it ends").status.success());
    assert_eq!(host.property("Result"), "success");
    until("the end of the child", || child.try_wait().expect("ours"));
    until("the end of what it left behind", || (processes(&host) == 0).then_some(()));
}

fn processes(host: &Host) -> usize {
    host.run(&["cat", "/sys/fs/cgroup/system.slice/switchboard.service/cgroup.procs"]).out.lines().count()
}

#[test]
fn g11_g28_a_gateway_that_hangs_in_stop_is_ended_and_its_end_known() {
    let Some(host) = Host::boot(BRIEF) else { return };
    host.install();
    host.tune("TimeoutStopSec=2\nNotifyAccess=all");
    host.replace_program("2.0", "trap '' TERM; $real \"$@\" & while :; do wait; sleep 0.1; done");
    host.done(&["systemctl", "start", "switchboard"]);
    host.run(&["systemctl", "stop", "switchboard"]);
    assert_eq!((host.property("ActiveState"), host.property("Result")), ("failed".into(), "timeout".into()));
    host.replace_program("2.1", "exec $real \"$@\"");
    host.done(&["systemctl", "start", "switchboard"]);
    let last = host.status().expect("it runs")["last_end"].as_str().expect("there was one").to_owned();
    assert_eq!(last, "killed while serving: the service manager waited no longer");
}

#[test]
fn g28_what_a_gateway_could_not_say_of_its_end_the_manager_does() {
    let Some(host) = Host::serving(BRIEF) else { return };
    host.tune("RestartSec=50ms");
    let end = |signal: &str| {
        let instance = host.instance().expect("ready");
        host.done(&["kill", signal, &host.main_pid()]);
        host.wait_for_successor(&instance);
        let told: serde_json::Value = serde_json::from_str(&host.done(&["switchboard", "history", "--json"])).expect("JSON");
        ["how", "said", "code"].map(|key| told["lives"][1][key].clone())
    };
    let seen = |signal: &str, result: &str| serde_json::Value::from(format!("killed by {signal}, as the service manager saw it: {result}"));
    assert_eq!(end("-KILL"), ["killed while serving".into(), seen("SIGKILL", "signal"), serde_json::Value::Null]);
    let aborted = end("-ABRT")[1].clone();
    assert!([seen("SIGABRT", "core-dump"), seen("SIGABRT", "signal")].contains(&aborted), "where cores may be written or not: {aborted}");
    // Starts in vain until the next life do not take the place of its death.
    host.replace_program("2.0", "exit 70");
    let instance = host.instance().expect("ready");
    host.done(&["kill", "-KILL", &host.main_pid()]);
    until("starts in vain", || (host.property("ExecMainStatus") == "70").then_some(()));
    host.replace_program("2.1", "exec $real \"$@\"");
    host.wait_for_successor(&instance);
    let told: serde_json::Value = serde_json::from_str(&host.done(&["switchboard", "history", "--json"])).expect("JSON");
    let lives = told["lives"].as_array().expect("a list");
    let life = lives.iter().find(|life| life["instance"] == instance.as_str()).expect("it is on record");
    assert_eq!(life["said"], seen("SIGKILL", "signal"), "{lives:?}");
    // It says itself that it wants to be restarted: the manager has nothing to add.
    assert_eq!(end("-USR1"), ["restart, clean".into(), serde_json::Value::Null, 75.into()]);
}

#[test]
fn g12_whatever_comes_after_the_drain_is_granted_its_time_too() {
    let flush = |flush: u64| {
        BRIEF
            .replace("[shutdown]", &format!("[outbox]\nsend_limit = \"5m\"\n[shutdown]\ngrace = \"{}s\"", flush + 2))
            .replace("flush = \"500ms\"", &format!("flush = \"{flush}s\""))
    };
    let Some(host) = Host::boot(&flush(20)) else { return };
    host.install();
    host.tune("TimeoutStopSec=2");
    let hanging = |chat: i64| {
        host.home.telegram.fail_chat(chat, Some(Fault::Hang));
        host.home.telegram.push_text(chat, chat, "hello");
        host.home.telegram.wait_for("an answer on its way", BOUND, |telegram| {
            telegram.calls.iter().any(|call| call.method == "sendMessage" && call.parameters["chat_id"] == chat).then_some(())
        });
    };
    // Longer than is asked for at once.
    host.done(&["systemctl", "start", "switchboard"]);
    hanging(1);
    let begun = Instant::now();
    host.done(&["systemctl", "stop", "switchboard"]);
    assert!(begun.elapsed() > Duration::from_secs(18), "{:?}", begun.elapsed());
    assert_eq!((host.property("ActiveState"), host.property("Result")), ("inactive".into(), "success".into()));
    // In a restart it says itself that it stops; that clock is told as well.
    let (long, short) = (flush(20), flush(6));
    host.configure(|text| text.replace(long.as_str(), short.as_str()));
    host.home.telegram.fail_chat(1, None);
    host.done(&["systemctl", "start", "switchboard"]);
    let first = host.instance().expect("ready");
    hanging(2);
    host.done(&["switchboard", "restart", "--dwell", "500ms"]);
    assert_ne!(host.wait_for_successor(&first), first);
    let history = host.done(&["switchboard", "history"]);
    assert!(!history.contains("killed"), "{history}");
}

#[test]
fn g11_g12_a_drain_that_freezes_is_granted_no_more_time() {
    let Some(host) = Host::boot(&BRIEF.replace("[shutdown]", "[shutdown]\ngrace = \"5m\"")) else { return };
    host.install();
    host.tune("TimeoutStopSec=2");
    host.done(&["systemctl", "start", "switchboard"]);
    host.work(1, "work for 1h");
    let stop = host.begin(&["systemctl", "stop", "switchboard"]);
    until("the drain's status", || host.property("StatusText").starts_with("drain: ").then_some(()));
    let frozen = Instant::now();
    host.done(&["kill", "-STOP", &host.main_pid()]);
    _ = stop.wait_with_output().expect("it ends"); // how is the unit's to say
    // What was asked for last, and the manager's own limit.
    assert!(frozen.elapsed() < Duration::from_secs(15 + 2) + CROWD, "{:?}", frozen.elapsed());
    assert_eq!((host.property("ActiveState"), host.property("Result")), ("failed".into(), "timeout".into()));
    host.done(&["systemctl", "start", "switchboard"]);
    assert_eq!(host.status().expect("it runs")["last_end"], "killed in drain: the service manager waited no longer");
    host.home.told(1, CUT);
}
