//! `switchboard service`, for the system and for a user.

use super::host::{BRIEF, Host};
use crate::releases::{Next, Releases};

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
    // Only its manager knows where it keeps its things.
    check(&host, &["switchboard", "url"], 0, "/#code=");
    host.done(&["systemctl", "reload", "switchboard"]);
    // Its unit follows the budgets; one that was changed by hand is shown and not overwritten unasked.
    host.configure(|text| format!("{text}\n[shutdown]\ngrace = \"10m\"\n"));
    check(&host, &["switchboard", "service", "install"], 1, "+TimeoutStopSec=630");
    check(&host, &["switchboard", "service", "install"], 1, "nothing was changed");
    assert!(std::fs::read_to_string(host.machine.path(UNIT)).expect("there").contains("TimeoutStopSec=90"));
    check(&host, &["switchboard", "service", "install", "--yes"], 0, "-TimeoutStopSec=90");
    assert_eq!(host.property("TimeoutStopUSec"), "10min 30s");
    check(&host, &["switchboard", "service", "stop"], 0, "stopped");
    check(&host, &["switchboard", "history"], 0, "stop by SIGTERM");
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
    // Users have a journal of their own only where it outlasts the machine.
    host.machine.write("/etc/systemd/journald.conf.d/zz.conf", 0o644, "[Journal]\nStorage=persistent\n");
    host.done(&["systemctl", "restart", "systemd-journald"]);
    host.done(&["journalctl", "--flush"]);
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
        let mut line = vec!["setpriv", "--reuid=kim", "--regid=kim", "--init-groups", "env", "HOME=/home/kim", "USER=root"];
        line.extend(["XDG_RUNTIME_DIR=/run/user/4711", "switchboard", "service", "--user"]);
        line.extend(words);
        line
    };
    check(&host, &kim(&["install"]), 0, "loginctl enable-linger kim");
    check(&host, &kim(&["start"]), 0, "started: instance ");
    check(&host, &kim(&["status"]), 0, "doing     serving, ready");
    check(&host, &kim(&["restart", "--dwell", "500ms"]), 0, "restarted: instance ");
    check(&host, &kim(&["logs", "-n", "100"]), 0, "ready instance=");
    // It is updated by its user, and mended when it is ill.
    let releases = Releases::serve();
    releases.publish(Next::new("good", "breaking"));
    let (key, from) = (format!("SWITCHBOARD__UPDATE__PUBLIC_KEY={}", releases.public_key()), releases.address().to_owned());
    let program = concat!("/home/kim/.local/share/switchboard/versions/", env!("CARGO_PKG_VERSION"), "/switchboard");
    let service = kim(&[]);
    let as_kim = &service[..service.iter().position(|word| *word == "switchboard").expect("it is there")];
    // What root's own service has there is nobody else's to look at.
    host.done(&["mkdir", "--mode=0700", "/run/switchboard"]);
    let update = [as_kim, &[&*key, &*listen, program, "update", "--from", &*from, "--dwell", "1s", "--start-limit", "20s"]].concat();
    check(&host, &update, 0, "updated from 0.1.0 to 0.2.0: it is ready and stayed so");
    check(&host, &kim(&["status"]), 0, "active (running)");
    host.done(&[as_kim, &["systemctl", "--user", "kill", "--signal=KILL", "switchboard"]].concat());
    host.done(&[as_kim, &["systemctl", "--user", "stop", "switchboard"]].concat());
    releases.publish(Next { version: "0.3.0", ..Next::new("good", "breaking") });
    check(&host, &update, 0, "0.3.0 is in place; no gateway runs that could prove it");
    check(&host, &kim(&["start"]), 0, "started: instance ");
    check(&host, &kim(&["stop"]), 0, "stopped");
    check(&host, &kim(&["uninstall", "--yes"]), 0, "the service is gone");
    assert!(host.machine.path("/home/kim/.local/share/switchboard/current/switchboard").exists());
    host.machine.write("/var/lib/systemd/linger/kim", 0o644, "");
    let printed = host.run(&kim(&["install", "--yes"]));
    assert!(printed.code == Some(0) && !printed.err.contains("linger"), "{printed:?}");
}

/// What ships for a newer manager, and for users, as far as this one can judge it.
#[test]
fn g30_every_shipped_unit_is_one_and_the_services_of_the_system_are_confined() {
    let Some(host) = Host::boot(BRIEF) else { return };
    host.install();
    for (file, of, confined) in [
        ("switchboard.service", "--system", true),
        ("before-v253/switchboard.service", "--system", true),
        ("switchboard.socket", "--system", false),
        ("user/switchboard.service", "--user", false),
    ] {
        let name = file.rsplit('/').next().expect("a name");
        let folder = format!("/tmp/{}", file.replace(['/', '.'], "-"));
        // The program of a user's unit is where its user has one.
        let text = Host::shipped(file).replace("%h/.local/share", "/opt");
        host.machine.write(&format!("{folder}/{name}"), 0o644, &text);
        if name.ends_with(".socket") {
            host.machine.write(&format!("{folder}/switchboard.service"), 0o644, &Host::shipped("before-v253/switchboard.service"));
        }
        let path = format!("{folder}/{name}");
        let printed = host.run(&["env", "XDG_RUNTIME_DIR=/run", "systemd-analyze", "verify", of, "--man=no", &path]);
        let complaints: Vec<&str> = printed.err.lines().chain(printed.out.lines()).filter(|line| line.contains("switchboard")).collect();
        let newer = text.contains("Type=notify-reload") && complaints.len() == 1 && complaints[0].contains("notify-reload");
        assert!(newer || complaints.is_empty(), "{file}: {printed:?}");
        if confined {
            let verdict = host.done(&["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=30", &path]);
            assert!(verdict.contains("Overall exposure level"), "{file}: {verdict}");
        }
    }
}

#[test]
fn g27_a_service_that_answers_nobody_is_restarted_by_its_manager_and_proved() {
    let Some(host) = Host::boot(BRIEF) else { return };
    host.install();
    // Its first process dies before it is ready: for systemctl the start has failed, and the manager is about to try again.
    let once = "[ -e $STATE_DIRECTORY/tried ] || { touch $STATE_DIRECTORY/tried; exit 70; }; exec $real \"$@\"";
    host.replace_program("2.0", once);
    check(&host, &["switchboard", "service", "start"], 0, "started: instance ");
    // One that is there and never comes to listen.
    host.replace_program("2.1", "exec sleep infinity");
    host.done(&["systemctl", "restart", "--no-block", "switchboard"]);
    host.wait_for_main("sleep");
    assert_eq!((host.property("ActiveState"), host.property("SubState")), ("activating".into(), "start".into()));
    host.replace_program("2.2", "exec $real \"$@\"");
    check(&host, &["switchboard", "restart"], 69, "no gateway is running");
    check(&host, &["switchboard", "service", "restart", "--dwell", "500ms"], 0, "restarted: instance ");
    assert_eq!(host.property("ActiveState"), "active");
}

/// What a service that is installed may take of its machine, as its manager understood it.
#[test]
fn g41_a_service_is_bounded_in_memory_and_tasks_and_leaves_no_core_with_its_secrets() {
    let Some(host) = Host::serving(BRIEF) else { return };
    let memory: f64 = host.property("MemoryMax").parse().expect("a bound, in bytes");
    let words = host.done(&["cat", "/proc/meminfo"]);
    let all = words.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    let share = memory / (all.expect("a number") * 1024.0);
    assert!((0.74..0.76).contains(&share), "{share}");
    assert_eq!(host.property("TasksMax"), "2048");
    let limits = host.done(&["cat", &format!("/proc/{}/limits", host.main_pid())]);
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the system names it");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
}

/// An administrator's umask makes no tree that others can write, and none that the service's user cannot read.
#[test]
fn g40_a_service_that_is_installed_under_any_umask_is_roots_alone_to_change() {
    for umask in ["000", "077"] {
        let Some(host) = Host::boot(BRIEF) else { return };
        host.done(&["sh", "-c", &format!("umask {umask}; switchboard service install --yes")]);
        let modes = host.done(&["find", "/opt/switchboard", UNIT, "!", "-type", "l", "-printf", "%m %u %p\\n"]);
        assert!(modes.lines().count() > 4, "{modes}");
        let (unit, lock) = (format!("644 root {UNIT}"), "600 root /opt/switchboard/update.lock");
        for line in modes.lines() {
            assert!(line == unit || line == lock || line.starts_with("755 root /opt/switchboard"), "umask {umask}: {line}");
        }
        host.done(&["systemctl", "start", "switchboard"]);
    }
}
