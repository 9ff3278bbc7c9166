//! What `deploy/` ships beside the units of systemd: one budget everywhere, and the gateway as the first process of a container.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switchboard_actors::settings::Settings;

use crate::gateway::{Home, is_here, until};

fn files(under: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(under).expect("readable").map(|entry| entry.expect("readable").path()) {
        if entry.is_dir() { files(&entry, found) } else { found.push(entry) }
    }
}

/// The numbers that stand behind a word on its own line: seconds.
fn seconds(text: &str, word: &str) -> Vec<u64> {
    let behind = text.lines().filter_map(|line| line.trim().strip_prefix(word));
    let digits = |rest: &str| rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect::<String>();
    behind.filter_map(|rest| digits(rest).parse().ok()).collect()
}

#[test]
fn g12_every_file_that_is_shipped_grants_the_time_that_a_shutdown_may_take() {
    let budgets = Settings::defaults().shutdown;
    let (least, mut found) = ((budgets.grace + budgets.margin).as_secs(), Vec::new());
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"), &mut found);
    let mut granted = Vec::new();
    for file in found.iter().filter(|file| file.extension().is_none_or(|kind| kind != "tar")) {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        // A value stands on the line behind its key in a plist.
        let text = text.replace("</key>\n", "</key> ");
        let limits = [
            "TimeoutStopSec=",
            "terminationGracePeriodSeconds:",
            "<key>ExitTimeOut</key>",
            "manager_limit =",
            "SWITCHBOARD__SHUTDOWN__MANAGER_LIMIT=",
            "<key>SWITCHBOARD__SHUTDOWN__MANAGER_LIMIT</key>",
            "#   docker run -v switchboard:/var/lib/switchboard -p 7878:7878 --stop-timeout",
        ];
        let stands: Vec<u64> = limits.iter().flat_map(|word| seconds(&text, word)).collect();
        assert!(stands.windows(2).all(|pair| pair[0] == pair[1]), "{}: several budgets: {stands:?}", file.display());
        assert!(stands.iter().all(|limit| *limit > least), "{}: {stands:?}, and a shutdown may take {least} s", file.display());
        granted.extend(stands.first().map(|limit| (file.file_name().expect("a name").to_owned(), *limit)));
    }
    assert!(granted.len() >= 6, "three units, an image, a cluster and launchd: {granted:?}");
    assert!(granted.windows(2).all(|pair| pair[0].1 == pair[1].1), "one budget: {granted:?}");
}

/// The value behind a word in the manifest of the cluster.
fn in_cluster(word: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/switchboard.yaml")).expect("it ships");
    let value = text.split_once(word).and_then(|(_, rest)| rest.split([' ', ',', '\n']).find(|part| !part.is_empty()));
    value.unwrap_or_else(|| panic!("{word:?} is not in it")).to_owned()
}

#[test]
fn in_a_cluster_it_starts_on_a_volume_whose_root_is_not_its_own() {
    let user = in_cluster("runAsUser: ");
    assert_eq!((in_cluster("runAsGroup: "), in_cluster("fsGroup: ")), (user.clone(), user.clone()));
    if !is_here(rustix::process::geteuid().is_root(), "root, to give a volume to somebody else") {
        return;
    }
    let mut home = Home::with_demo("");
    let volume = home.path().join("volume");
    let state =
        in_cluster("name: STATE_DIRECTORY, value: ").replace(&in_cluster("name: state, mountPath: "), volume.to_str().expect("UTF-8"));
    home.rewrite(&[(home.state().path().to_str().expect("UTF-8"), &state)]);
    let program = home.path().join("switchboard");
    std::fs::copy(env!("CARGO_BIN_EXE_switchboard"), &program).expect("room");
    home.use_program(program);
    // As a kubelet leaves it for an fsGroup: its own, and the group may do everything.
    std::fs::create_dir(&volume).expect("ours");
    std::os::unix::fs::chown(&volume, Some(0), Some(user.parse().expect("a number"))).expect("root");
    let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("root");
    mode(home.path(), 0o755);
    mode(&volume, 0o2775);
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    for _ in 0..2 {
        let life = home.launch_under(&["setpriv", &uid, &gid, "--clear-groups"], "info");
        life.wait_for("ready instance=");
        assert_eq!(life.stop(), Some(0));
        let found = std::fs::metadata(&state).expect("made");
        assert_eq!((found.uid().to_string(), found.mode() & 0o777), (user.clone(), 0o700), "its own, and nobody else's");
        // A kubelet that is not told otherwise does that before every start.
        mode(Path::new(&state), 0o2770);
    }
}

#[test]
fn as_the_first_process_of_a_container_it_hears_signals_and_leaves_no_zombie() {
    let spaces = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"];
    let possible = Command::new(spaces[0]).args(&spaces[1..]).arg("true").output().is_ok_and(|tried| tried.status.success());
    if !is_here(possible, "a namespace of processes") {
        return;
    }
    let home = Home::with_demo("");
    let life = home.launch_under(&spaces, "info");
    life.wait_for("gateway started");
    let children = |of: u32| {
        let list = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    };
    let first = until("the gateway to be there", || children(life.pid()).first().copied());
    // Its parent ends at once: it becomes the gateway's, and ends.
    let orphan = ["--target", &first.to_string(), "--pid", "--mount", "sh", "-c", "sleep 0.2 & sleep 0.1"];
    assert!(Command::new("nsenter").args(orphan).status().expect("nsenter").success());
    until("the orphan to be looked at", || children(first).is_empty().then_some(()));
    let pid = Pid::from_raw(i32::try_from(first).expect("a pid"));
    kill(pid, Signal::SIGTERM).expect("it runs");
    life.wait_for("gateway down");
    assert_eq!(life.ended(), Some(0));
    assert!(home.is_marked());
}
