//! A restart as the manager does it, proved: programs that die at once, later or the first time, and one that is never ready.

use switchboard_actors::testkit::fake_telegram::Fault;

use super::host::{BRIEF, Host};

/// The restart command, patient for this long, on a machine whose new program is this script; what it said, and how it ended.
fn restart(host: &Host, script: &str, start_limit: &str) -> (Option<i32>, String) {
    host.replace_program("2.0", script);
    let printed = host.run(&["switchboard", "restart", "--dwell", "2s", "--start-limit", start_limit]);
    (printed.code, printed.out + &printed.err)
}

#[track_caller]
fn check(told: &(Option<i32>, String), code: i32, parts: &[&str]) {
    assert_eq!(told.0, Some(code), "{}", told.1);
    parts.iter().for_each(|part| assert!(told.1.contains(part), "{part:?} is missing in: {}", told.1));
}

#[test]
fn g27_a_program_that_dies_at_once_is_found_out_and_the_operator_helped() {
    let Some(host) = Host::serving(BRIEF) else { return };
    let told = restart(&host, "echo this is why; exit 70", "20s");
    check(
        &told,
        1,
        &[
            "first  the new instance died before it was ready",
            "then   the new instance died before it was ready",
            "switchboard.service is ",
            "switchboard[", // a line of the journal
            "this is why",
            "systemctl status switchboard.service",
            "journalctl -e -u switchboard.service",
            "/opt/switchboard/current/switchboard check",
            "to restart by hand:\n  systemctl restart switchboard.service",
        ],
    );
    // By hand, once the cause is gone.
    host.replace_program("2.1", "exec $real \"$@\"");
    host.done(&["systemctl", "restart", "switchboard.service"]);
    host.done(&["switchboard", "restart", "--dwell", "1s"]);
}

#[test]
fn g27_a_program_that_exits_with_bad_configuration_is_given_up_at_once() {
    let Some(host) = Host::serving(BRIEF) else { return };
    let told = restart(&host, "exit 78", "60s");
    check(&told, 1, &["exit code 78: bad configuration", "switchboard.service is failed (failed)", "to restart by hand"]);
}

/// Dies five seconds after it was ready. It is the unit's main process itself: whoever stands between it and the manager keeps the sockets from it.
const DIES_LATER: &str =
    "(until $real status --json | grep -q '\"ready\": true'; do sleep 0.1; done; sleep 5; kill -9 $$) & exec $real \"$@\"";

#[test]
fn g27_a_program_that_dies_later_or_never_starts_is_found_out() {
    let Some(host) = Host::serving(BRIEF) else { return };
    host.replace_program("2.0", DIES_LATER);
    let printed = host.run(&["switchboard", "restart", "--dwell", "20s", "--start-limit", "30s"]);
    let ready = "the new instance died when it had been ready for ";
    check(&(printed.code, printed.out + &printed.err), 1, &[&format!("first  {ready}"), &format!("then   {ready}"), "to restart by hand"]);
    host.replace_program("2.1", "exec $real \"$@\"");
    host.done(&["systemctl", "restart", "switchboard.service"]);
    let told = restart(&host, "(sleep 1.5; kill -9 $$) & exec $real \"$@\"", "20s");
    check(&told, 1, &["first  the new instance died", "then   the new instance died", "to restart by hand"]);
    host.replace_program("2.1", "exec $real \"$@\"");
    host.done(&["systemctl", "restart", "switchboard.service"]);
    let told = restart(&host, "exec sleep infinity", "3s");
    check(&told, 1, &["first  no new instance came within 3s", "then   no new instance came within 3s", "activating (start)"]);
}

/// Dies when it is told to, by a file in its state directory.
const DIES_WHEN_TOLD: &str = "(until [ -e $STATE_DIRECTORY/die ]; do sleep 0.1; done; kill -9 $$) & exec $real \"$@\"";

#[test]
fn g27_a_program_that_dies_after_the_dwell_time_was_proved_and_its_death_is_on_record() {
    let Some(host) = Host::serving(BRIEF) else { return };
    host.replace_program("2.0", DIES_WHEN_TOLD);
    host.done(&["switchboard", "restart", "--start-limit", "30s"]);
    let instance = host.instance().expect("it was proved");
    assert_eq!(host.property("NRestarts"), "1", "the restart itself");
    host.replace_program("2.1", "exec $real \"$@\"");
    host.done(&["touch", "/var/lib/private/switchboard/die"]);
    host.wait_for_successor(&instance);
    assert_eq!(host.property("NRestarts"), "2", "the manager's own");
    let history = host.done(&["switchboard", "history"]);
    assert!(history.contains("killed while serving"), "{history}");
}

#[test]
fn g27_a_program_that_comes_and_does_not_get_ready_is_found_out() {
    let more = format!("{BRIEF}[adapters.web]\nenabled = false\n[connection]\nconnect_limit = \"1h\"\n");
    let Some(host) = Host::serving(&more) else { return };
    host.home.telegram.fail_always("getMe", Some(Fault::Hang));
    let printed = host.run(&["switchboard", "restart", "--dwell", "2s", "--start-limit", "6s"]);
    let told = "a new instance came, but was not ready within 6s";
    check(&(printed.code, printed.out + &printed.err), 1, &[&format!("first  {told}"), &format!("then   {told}"), "activating (start)"]);
    host.home.telegram.fail_always("getMe", None);
    host.done(&["systemctl", "restart", "switchboard.service"]);
}

#[test]
fn g27_a_program_that_fails_once_is_restarted_at_the_second_try() {
    let Some(host) = Host::serving(BRIEF) else { return };
    let once = "[ -e $STATE_DIRECTORY/tried ] || { touch $STATE_DIRECTORY/tried; exit 1; }; exec $real \"$@\"";
    let told = restart(&host, once, "20s");
    check(&told, 0, &["once more", "restarted at the second try: instance ", "At the first, the new instance died before it was ready"]);
    assert_eq!(host.property("ActiveState"), "active");
}

#[test]
fn g27_a_restart_in_place_is_no_stop_for_the_manager() {
    let Some(host) = Host::boot(&format!("{BRIEF}[restart]\nmode = \"exec\"\n")) else { return };
    host.install();
    // Were it told of a stop, it would end what comes after it within this time.
    host.tune("TimeoutStopSec=1");
    host.done(&["systemctl", "start", "switchboard"]);
    let (pid, first) = (host.main_pid(), host.instance().expect("ready"));
    host.done(&["switchboard", "restart", "--dwell", "3s"]);
    assert_ne!(host.wait_for_successor(&first), first);
    assert_eq!((host.main_pid(), host.property("ActiveState"), host.property("NRestarts")), (pid, "active".into(), "0".into()));
    // A stop is one.
    host.done(&["systemctl", "stop", "switchboard"]);
    assert_eq!((host.property("ActiveState"), host.property("Result")), ("inactive".into(), "success".into()));
}
