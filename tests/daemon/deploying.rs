//! What `deploy/` ships beside the units of systemd: one budget everywhere, and the gateway as the first process of a container.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switchboard_actors::settings::Settings;

use crate::browser::client;
use crate::gateway::{Home, Life, is_here, until};

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
            "- { name: SWITCHBOARD__SHUTDOWN__MANAGER_LIMIT,",
            "<key>SWITCHBOARD__SHUTDOWN__MANAGER_LIMIT</key>",
            "#   docker run -v switchboard:/var/lib/switchboard -p 127.0.0.1:7878:7878 --stop-timeout",
        ];
        assert!(
            file.extension().is_none_or(|kind| kind != "yaml") || !text.contains("manager_limit ="),
            "the image's environment is stronger"
        );
        let stands: Vec<u64> = limits.iter().flat_map(|word| seconds(&text, word)).collect();
        assert!(stands.windows(2).all(|pair| pair[0] == pair[1]), "{}: several budgets: {stands:?}", file.display());
        assert!(stands.iter().all(|limit| *limit > least), "{}: {stands:?}, and a shutdown may take {least} s", file.display());
        granted.extend(stands.first().map(|limit| (file.file_name().expect("a name").to_owned(), *limit)));
    }
    assert!(granted.len() >= 6, "three units, an image, a cluster and launchd: {granted:?}");
    assert!(granted.windows(2).all(|pair| pair[0].1 == pair[1].1), "one budget: {granted:?}");
}

/// What a file that ships says.
fn shipped(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)).expect("it ships")
}

/// A gateway that is flooded, or whose agents' programs run away, takes a bounded part of its machine, and its port is not everybody's unasked.
#[test]
fn g41_every_file_that_is_shipped_bounds_what_a_gateway_may_take_and_who_may_reach_it() {
    for unit in ["systemd/switchboard.service", "systemd/before-v253/switchboard.service", "systemd/user/switchboard.service"] {
        let text = shipped(unit);
        for bound in ["MemoryMax=75%", "TasksMax=2048", "LimitCORE=0"] {
            assert!(text.lines().any(|line| line == bound), "{unit}: {bound}");
        }
    }
    let image = shipped("container/Dockerfile");
    for word in ["-p 127.0.0.1:7878:7878 ", "--memory ", "--pids-limit 2048 ", "--ulimit core=0 ", "--cap-drop ALL ", "no-new-privileges "]
    {
        assert!(image.contains(word), "{word:?}");
    }
    assert!(!image.contains("-p 7878:"), "published to everybody");
    assert!(shipped("launchd/switchboard.plist").replace("\n    ", "").contains("<key>Core</key><integer>0</integer>"));
    let cluster = shipped("kubernetes/switchboard.yaml");
    let part = |kind: &str| {
        let head = format!("kind: {kind}");
        cluster.split("\n---\n").find(|part| part.lines().any(|line| line == head)).unwrap_or_else(|| panic!("there is no {kind}"))
    };
    let pod = part("StatefulSet");
    let digest = in_cluster("image: ");
    let digest = digest.split_once("@sha256:").unwrap_or_else(|| panic!("{digest} is a tag, which can come to mean another image")).1;
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    let limits = pod.lines().find_map(|line| line.trim().strip_prefix("limits: ")).expect("it has limits");
    assert!(limits.contains(" memory: ") && limits.contains("ephemeral-storage: ") && !limits.contains("cpu: "), "{limits}");
    assert!(pod.contains("emptyDir: { sizeLimit: "), "a volume in memory or on the node's disk without a bound");
    let policy = part("NetworkPolicy");
    assert!(policy.contains("podSelector:\n    matchLabels: { app: switchboard }\n  policyTypes: [Ingress, Egress]\n"), "{policy}");
    assert!(pod.contains("labels: { app: switchboard }"), "whom the policy is about");
    assert!(policy.contains("cidr: 0.0.0.0/0, except: [") && policy.contains("169.254.0.0/16"), "the cloud's metadata: {policy}");
}

#[test]
fn the_image_and_the_cluster_run_it_as_nobody_and_look_where_it_answers() {
    let image = shipped("container/Dockerfile");
    let line =
        |word: &str| image.lines().find_map(|line| line.split_once(word)).unwrap_or_else(|| panic!("{word:?} is not in it")).1.to_owned();
    let user = line("USER ");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "by numbers, which a cluster can judge: {user}");
    assert_eq!(in_cluster("runAsUser: "), user.split(':').next().expect("a user"));
    assert_eq!(in_cluster("runAsNonRoot: "), "true");
    // Without a shell between it and its signals; there is none either.
    assert_eq!(line("ENTRYPOINT "), r#"["/usr/bin/switchboard"]"#);
    assert!(line("HEALTHCHECK ").ends_with(r#"CMD ["/usr/bin/switchboard", "status"]"#) && line("STOPSIGNAL ") == "SIGTERM");
    assert!(image.contains("ENV STATE_DIRECTORY=/var/lib/switchboard ") && image.contains("VOLUME /var/lib/switchboard\n"));
    // Where nobody is but the kubelet: what floods the page's port holds up no probe.
    let home = Home::with_demo("");
    let place = format!("127.0.0.1:{}", home.another_port());
    home.rewrite(&[("http.listen", &format!("http.probes = \"{place}\"\nhttp.listen"))]);
    let _gateway = home.start();
    let cluster = shipped("kubernetes/switchboard.yaml");
    let probes: Vec<&str> = cluster.split("httpGet: { path: ").skip(1).filter_map(|rest| rest.split(" }").next()).collect();
    assert_eq!(probes.len(), 3, "{probes:?}");
    for probe in probes {
        let path = probe.strip_suffix(", port: probes").unwrap_or_else(|| panic!("{probe} is not at the port for probes"));
        assert_eq!(home.sent(client().get(format!("http://{place}{path}"))), 200, "{path}");
    }
    assert_eq!(in_cluster("http.probes = \"0.0.0.0:").trim_matches('"'), in_cluster("name: probes, containerPort: "));
}

/// The value behind a word in the manifest of the cluster.
fn in_cluster(word: &str) -> String {
    let text = shipped("kubernetes/switchboard.yaml");
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

/// A container's view of processes: what is run in it is the first.
const SPACES: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"];

fn have_spaces() -> bool {
    Command::new(SPACES[0]).args(&SPACES[1..]).arg("true").output().is_ok_and(|tried| tried.status.success())
}

fn children(of: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The gateway in its own view of processes, as seen from here.
#[track_caller]
fn first_process(life: &Life<'_>) -> u32 {
    until("the gateway to be there", || children(life.pid()).first().copied())
}

#[test]
fn as_the_first_process_of_a_container_it_hears_what_was_said_before_it_could_listen() {
    if !is_here(have_spaces(), "a namespace of processes") {
        return;
    }
    let home = Home::with_demo("");
    assert_eq!(home.start().stop(), Some(0));
    // A file that can be read only when we have written it: until then it has begun, and listens to nobody.
    let (token, path, again) = (home.token(), home.state().token(), home.path().join("token"));
    std::fs::write(&again, &token).expect("writable");
    std::fs::remove_file(&path).expect("ours");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("ours");
    let life = home.launch_under(&SPACES, "info");
    let open = || std::fs::OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&path).ok();
    let mut pipe = until("a gateway that reads its token", open);
    kill(Pid::from_raw(i32::try_from(first_process(&life)).expect("a pid")), Signal::SIGTERM).expect("it runs");
    std::fs::rename(&again, &path).expect("ours");
    std::io::Write::write_all(&mut pipe, token.as_bytes()).expect("it reads");
    drop(pipe);
    assert_eq!(life.ended(), Some(0));
    assert!(home.is_marked());
}

#[test]
fn as_the_first_process_of_a_container_it_hears_signals_and_leaves_no_zombie() {
    if !is_here(have_spaces(), "a namespace of processes") {
        return;
    }
    let home = Home::with_demo("");
    let life = home.launch_under(&SPACES, "info");
    life.wait_for("ready instance=");
    let first = first_process(&life);
    let pid = Pid::from_raw(i32::try_from(first).expect("a pid"));
    let target = first.to_string();
    // What the image has its health looked at with.
    let inside = ["nsenter", "--target", &target, "--pid", "--mount"];
    let healthy = || home.command(&inside, &["status"]).output().expect("nsenter").status.code();
    assert_eq!(healthy(), Some(0));
    // It comes back in place: the container would end with its first process.
    kill(pid, Signal::SIGUSR1).expect("it runs");
    life.wait_for_times("ready instance=", 2);
    assert_eq!((first_process(&life), healthy()), (first, Some(0)));
    // Its parent ends at once: it becomes the gateway's, and ends.
    let orphan = ["--target", &target, "--pid", "--mount", "sh", "-c", "sleep 0.2 & sleep 0.1"];
    assert!(Command::new("nsenter").args(orphan).status().expect("nsenter").success());
    until("the orphan to be looked at", || children(first).is_empty().then_some(()));
    kill(pid, Signal::SIGTERM).expect("it runs");
    life.wait_for("gateway down");
    assert_eq!(life.ended(), Some(0));
    assert!(home.is_marked());
}
