//! `switchboard service`, for the system and for a user.

use super::host::{BRIEF, Host};

const UNIT: &str = "/etc/systemd/system/switchboard.service";

#[track_caller]
fn check(host: &Host, words: &[&str], code: i32, part: &str) {
    let printed = host.run(words);
    assert!(printed.code == Some(code) && (printed.out.contains(part) || printed.err.contains(part)), "{words:?}: {printed:?}");
}

#[test]
fn a_system_service_is_installed_worked_changed_and_removed() {
    let Some(host) = Host::boot("[access]\nallow = [\"*\"]\n") else { return };
    check(&host, &["switchboard", "service", "install"], 0, "the service is installed");
    let unit = std::fs::read_to_string(host.machine.path(UNIT)).expect("written");
    assert_eq!(unit, Host::shipped("before-v253/switchboard.service"), "what ships is what is written");
    let current = std::fs::read_link(host.machine.path("/opt/switchboard/current")).expect("a link");
    assert_eq!(current.to_str(), Some(concat!("versions/", env!("CARGO_PKG_VERSION"))));
    host.done(&["systemd-analyze", "verify", UNIT]);
    check(&host, &["switchboard", "service", "status"], 69, "switchboard.service is inactive (dead)");
    check(&host, &["switchboard", "service", "start"], 0, "started: instance ");
    check(&host, &["switchboard", "service", "status"], 0, "doing     serving, ready");
    check(&host, &["switchboard", "service", "logs", "-n", "100"], 0, "ready instance=");
    check(&host, &["switchboard", "service", "restart", "--dwell", "500ms"], 0, "restarted: instance ");
    // Below 253 the manager reloads by a signal.
    host.done(&["systemctl", "reload", "switchboard"]);
    // Its unit follows the budgets; one that was changed by hand is shown and not overwritten unasked.
    host.configure(|text| format!("{text}\n[shutdown]\ngrace = \"10m\"\n"));
    check(&host, &["switchboard", "service", "install"], 1, "+TimeoutStopSec=630");
    check(&host, &["switchboard", "service", "install"], 1, "nothing was changed");
    assert!(std::fs::read_to_string(host.machine.path(UNIT)).expect("there").contains("TimeoutStopSec=90"));
    check(&host, &["switchboard", "service", "install", "--yes"], 0, "-TimeoutStopSec=90");
    assert_eq!(host.property("TimeoutStopUSec"), "10min 30s");
    check(&host, &["switchboard", "service", "stop"], 0, "stopped");
    check(&host, &["switchboard", "service", "restart", "--dwell", "500ms"], 0, "started: instance ");
    check(&host, &["switchboard", "service", "uninstall"], 1, "nothing was changed");
    check(&host, &["switchboard", "service", "uninstall", "--yes"], 0, "the service is gone");
    assert!(!host.machine.path(UNIT).exists() && host.machine.path("/opt/switchboard/current/switchboard").exists());
    check(&host, &["switchboard", "service", "uninstall", "--yes"], 1, "there is no service");
    check(&host, &["switchboard", "service", "start"], 1, "switchboard.service not found");
}

#[test]
fn a_service_that_cannot_start_says_what_is_wrong() {
    let Some(host) = Host::boot(BRIEF) else { return };
    host.install();
    host.configure(|text| text.replace("agent = \"default\"", "agent = \"nobody\""));
    check(&host, &["switchboard", "service", "start"], 1, "there is no agent \"nobody\"");
    check(&host, &["switchboard", "service", "start"], 1, "journalctl -e -u switchboard.service");
    check(&host, &["switchboard", "service", "install", "--yes"], 78, "there is no agent \"nobody\"");
}

#[test]
fn a_user_has_a_service_of_their_own() {
    let Some(host) = Host::boot(BRIEF) else { return };
    // Without logind nobody else says where the runtime directory is.
    let manager = "/etc/systemd/system/user@.service.d/test.conf";
    host.machine.write(manager, 0o644, "[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n");
    host.done(&["useradd", "--create-home", "--uid", "4711", "kim"]);
    host.done(&["systemctl", "daemon-reload"]);
    host.done(&["systemctl", "start", "user@4711"]);
    host.done(&["rm", "/etc/switchboard/config.toml"]);
    let listen = format!("SWITCHBOARD__HTTP__LISTEN=127.0.0.1:{}", host.home.port());
    host.done(&["mkdir", "-p", "/home/kim/.config/systemd/user/switchboard.service.d"]);
    host.machine.write(
        "/home/kim/.config/systemd/user/switchboard.service.d/port.conf",
        0o644,
        &format!("[Service]\nEnvironment={listen}\n"),
    );
    host.done(&["chown", "-R", "kim:kim", "/home/kim"]);
    let kim = |words: &[&'static str]| {
        let mut line = vec!["setpriv", "--reuid=kim", "--regid=kim", "--init-groups", "env", "HOME=/home/kim", "USER=kim"];
        line.extend(["XDG_RUNTIME_DIR=/run/user/4711", "switchboard", "service", "--user"]);
        line.extend(words);
        line
    };
    check(&host, &kim(&["install"]), 0, "loginctl enable-linger kim");
    check(&host, &kim(&["start"]), 0, "started: instance ");
    check(&host, &kim(&["status"]), 0, "doing     serving, ready");
    check(&host, &kim(&["restart", "--dwell", "500ms"]), 0, "restarted: instance ");
    check(&host, &kim(&["stop"]), 0, "stopped");
    check(&host, &kim(&["uninstall", "--yes"]), 0, "the service is gone");
    assert!(host.machine.path("/home/kim/.local/share/switchboard/current/switchboard").exists());
    host.machine.write("/var/lib/systemd/linger/kim", 0o644, "");
    let printed = host.run(&kim(&["install", "--yes"]));
    assert!(printed.code == Some(0) && !printed.err.contains("linger"), "{printed:?}");
}
