//! Root works over what belongs to somebody else, who put links under every name, holds the ledger's lock, and waits. What is root's, or a third
//! user's, stays as it was.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::Connection;

use crate::gateway::{Home, is_here};
use crate::installed::{BUILT, Installed, start_as};
use crate::releases::Next;

/// The gateway's user, whom nobody here is.
pub(crate) const THEIRS: u32 = 65532;
/// What only root may know.
pub(crate) const SECRET: &str = "what only root may know";

/// Every name in a state directory that root's commands have ever touched.
pub(crate) const NAMES: [&str; 21] = [
    "ledger.sqlite3",
    "ledger.sqlite3-wal",
    "ledger.sqlite3-shm",
    "ledger.sqlite3-journal",
    "ledger.check.sqlite3",
    "ledger.check.sqlite3.part",
    "ledger.check.sqlite3-wal",
    "ledger.check.sqlite3-journal",
    "ledger.sqlite3.update-0.2.0",
    "ledger.sqlite3.update-0.2.0.part",
    "trial",
    "trial.new",
    "trial.kept",
    "trial.undone",
    "lock",
    "token",
    "operate",
    "cookie-key",
    "exchanged",
    "life",
    "false-starts",
];

/// A file that is not the gateway's: as it was, and that it still is so.
pub(crate) struct Victim {
    path: PathBuf,
    bytes: Vec<u8>,
    found: (u32, u32, u32),
}

impl Victim {
    /// A ledger of `uid`'s alone that holds the secret.
    pub(crate) fn make(path: &Path, uid: u32) -> Self {
        // Made elsewhere: SQLite resolves the way into a machine by its names, and would come out in this one.
        let dir = tempfile::tempdir().expect("a temporary directory");
        let made = dir.path().join("made");
        let ledger = Connection::open(&made).expect("writable");
        ledger.execute_batch(&format!("CREATE TABLE t (x); INSERT INTO t VALUES ('{SECRET}')")).expect("writable");
        drop(ledger);
        std::fs::copy(&made, path).expect("writable");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("ours");
        chown(path, Some(uid), Some(uid)).expect("root");
        let (bytes, found) = Self::look(path);
        Self { path: path.to_owned(), bytes, found }
    }

    fn look(path: &Path) -> (Vec<u8>, (u32, u32, u32)) {
        let found = std::fs::symlink_metadata(path).expect("there");
        (std::fs::read(path).expect("root"), (found.uid(), found.gid(), found.mode()))
    }

    #[track_caller]
    pub(crate) fn is_untouched(&self, when: &str) {
        let (bytes, found) = Self::look(&self.path);
        assert!(bytes == self.bytes && found == self.found, "{when}: {}: {found:?}", self.path.display());
    }
}

/// Nothing in a state directory is anybody's but its user's, or holds the secret.
#[track_caller]
pub(crate) fn is_theirs_alone(state: &Path, uid: u32, when: &str) {
    for entry in std::fs::read_dir(state).expect("root").flatten() {
        let found = std::fs::symlink_metadata(entry.path()).expect("there");
        assert_eq!(found.uid(), uid, "{when}: {}", entry.path().display());
        // To read them would be to let go of a lock that we hold on them (fcntl(2)).
        let locked = ["ledger.sqlite3", "ledger.sqlite3-shm"].iter().any(|name| entry.file_name() == *name);
        let bytes = if found.is_file() && !locked { std::fs::read(entry.path()).expect("root") } else { Vec::new() };
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{when}: {}", entry.path().display());
    }
}

/// A link of theirs.
pub(crate) fn plant(state: &Path, name: &str, victim: &Path, uid: u32) {
    _ = std::fs::remove_file(state.join(name)); // not there: fine
    symlink(victim, state.join(name)).expect("root");
    std::os::unix::fs::lchown(state.join(name), Some(uid), Some(uid)).expect("root");
}

/// A home whose state directory is theirs, with a ledger; none where we are not root.
fn theirs() -> Option<Installed> {
    if !is_here(rustix::process::geteuid().is_root(), "root, to work over what is somebody else's") {
        return None;
    }
    let installed = Installed::new();
    std::fs::set_permissions(installed.home.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let state = installed.home.state();
    std::fs::create_dir(state.path()).expect("ours");
    std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
    chown(state.path(), Some(THEIRS), Some(THEIRS)).expect("root");
    Some(installed)
}

#[test]
fn g40_root_updates_the_gateway_of_another_user_and_touches_nothing_of_theirs() {
    let Some(installed) = theirs() else { return };
    let state = installed.home.state().path().to_owned();
    let victims = [0, 65531].map(|uid| Victim::make(&installed.home.path().join(format!("of-{uid}")), uid));
    let gateway = start_as(&installed, THEIRS);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("good", "breaking"));
    // What an update makes itself it makes anew; the rest is the gateway's.
    for (number, name) in
        NAMES.iter().filter(|name| name.contains(".check.") || name.contains(".update-") || name.contains(".new")).enumerate()
    {
        plant(&state, name, &victims[number % 2].path, THEIRS);
    }
    let printed = installed.update(&[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    victims.iter().for_each(|victim| victim.is_untouched("update"));
    is_theirs_alone(&state, THEIRS, "update");
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
    drop(gateway);
}

#[test]
fn g40_root_does_nothing_in_what_is_another_users_and_no_services() {
    let Some(installed) = theirs() else { return };
    let (home, state) = (&installed.home, installed.home.state().path().to_owned());
    let victim = Victim::make(&home.path().join("victim"), 0);
    NAMES.iter().for_each(|name| plant(&state, name, &victim.path, THEIRS));
    let ledger = state.join("ledger.sqlite3");
    let ledger = ledger.to_str().expect("UTF-8");
    let commands: [&[&str]; 7] = [
        &["check"],
        &["check", "--ledger", ledger],
        &["check", "--ledger", ledger, "--upgrade"],
        &["history"],
        &["token", "rotate"],
        &["ledger", "drop", "gone"],
        &["update"],
    ];
    for words in commands {
        let printed = home.run(words);
        let refused =
            printed.err.contains(&format!("{} belongs to user {THEIRS}", state.display())) && printed.err.contains("setpriv --reuid 65532");
        // The link that was typed leads to what is root's own.
        let followed = words.contains(&"--ledger") && printed.err.contains("a link that others than root can exchange");
        assert!(printed.code == Some(77) && (refused || followed), "{words:?}: {printed:?}");
        victim.is_untouched(&words.join(" "));
    }
    is_theirs_alone(&state, THEIRS, "all of it");
    // A start with a bad configuration, which is put on record where that is the gateway's own.
    home.rewrite(&[("kind = \"demo\"", "kind = \"nonsense\"")]);
    assert_eq!(home.run(&["run"]).code, Some(78));
    victim.is_untouched("a start in vain");
}

#[test]
fn g40_root_goes_no_way_that_others_can_change() {
    let Some(installed) = theirs() else { return };
    let home = &installed.home;
    let (open, own) = (home.path().join("open"), home.path().join("own"));
    for (path, mode) in [(&open, 0o777), (&own, 0o700)] {
        std::fs::create_dir(path).expect("ours");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    }
    symlink(&own, open.join("link")).expect("ours");
    chown(&own, Some(0), Some(0)).expect("root");
    let was = home.state().path().display().to_string();
    let check = |to: &Path, expected: &str| {
        home.rewrite(&[(&format!("state_dir = \"{was}\""), &format!("state_dir = \"{}\"", to.display()))]);
        for words in [&["check"][..], &["history"], &["update"]] {
            let printed = home.run(words);
            assert!(printed.code == Some(77) && printed.err.contains(expected), "{words:?}: {printed:?}");
        }
        home.rewrite(&[(&format!("state_dir = \"{}\"", to.display()), &format!("state_dir = \"{was}\""))]);
    };
    check(&open.join("link"), "link, a link that others than root can exchange");
    check(&open.join("link/../own"), "link, a link that others than root can exchange");
    std::fs::create_dir(open.join("here")).expect("ours");
    check(&open.join("here"), "open: others than root can put something else there");
    // Nor does it believe a configuration that others can write.
    std::fs::set_permissions(home.config(), std::fs::Permissions::from_mode(0o666)).expect("ours");
    home.rewrite(&[(&was, &own.display().to_string())]);
    let printed = installed.update(&[]);
    assert!(printed.code == Some(77) && printed.err.contains("others than root can write"), "{printed:?}");
    // Nor does it put a program where others can put another.
    std::fs::set_permissions(home.config(), std::fs::Permissions::from_mode(0o600)).expect("ours");
    std::fs::set_permissions(installed.layout.root(), std::fs::Permissions::from_mode(0o777)).expect("ours");
    let printed = installed.update(&[]);
    assert!(printed.code == Some(77) && printed.err.contains("`chmod go-w "), "{printed:?}");
}

#[test]
fn g40_the_child_that_gives_up_root_keeps_nothing_of_it() {
    let Some(installed) = theirs() else { return };
    let state = installed.home.state();
    let script = "id -u; id -g; grep -E '^(Uid|Gid|Groups|NoNewPrivs|CapEff|CapPrm|CapBnd|CapAmb):' /proc/self/status; env; ls /proc/self/fd; \
                  (: </dev/tty) 2>/dev/null && echo a terminal; kill -0 $1 2>/dev/null && echo a signal to root; cat /proc/$1/environ 2>/dev/null; umask; pwd";
    let pid = std::process::id().to_string();
    let mut command = Command::new("sh");
    // Whatever stands open where root types it.
    command.args([
        "-c",
        "exec 7</etc/shadow 8>>/dev/null; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_switchboard"),
        "within",
        "65532",
        "65531",
    ]);
    command.arg(state.path()).args(["--", "/bin/sh", "-c", script, "sh", &pid]);
    let mut child =
        command.env("ROOTS", SECRET).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell");
    let given = serde_json::json!({ "variables": { "PATH": "/usr/bin:/bin", "WORD": "theirs" } });
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), given.to_string().as_bytes()).expect("it listens");
    let output = child.wait_with_output().expect("our child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let line = |beginning: &str| {
        said.lines().find_map(|line| line.strip_prefix(beginning)).unwrap_or_else(|| panic!("{beginning} in {said}")).trim()
    };
    assert!(said.starts_with("65532\n65531\n"), "{said}");
    assert_eq!((line("Uid:"), line("Gid:"), line("Groups:")), ("65532\t65532\t65532\t65532", "65531\t65531\t65531\t65531", ""));
    assert_eq!(
        (line("NoNewPrivs:"), line("CapEff:"), line("CapPrm:"), line("CapAmb:")),
        ("1", "0000000000000000", "0000000000000000", "0000000000000000")
    );
    let env: Vec<&str> = said
        .lines()
        .filter(|line| line.contains('='))
        .filter(|line| !["PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|own| line.starts_with(own)))
        .collect();
    assert!(env.len() == 2 && env.contains(&"WORD=theirs") && !said.contains(SECRET), "{said}");
    // The list's own is the fourth.
    assert!(!said.lines().any(|line| matches!(line, "4" | "5" | "6" | "7" | "8")), "{said}");
    assert!(!said.contains("a terminal") && !said.contains("a signal to root") && said.ends_with("0077\n/\n"), "{said}");
}

#[test]
fn g40_nobody_but_root_becomes_somebody_else() {
    let home = Home::with_demo("");
    if !is_here(rustix::process::geteuid().is_root(), "root, to be somebody else first") {
        return;
    }
    let words =
        ["--reuid=65532", "--regid=65532", "--clear-groups", env!("CARGO_BIN_EXE_switchboard"), "within", "0", "0", "/", "--", "/bin/id"];
    let mut child =
        Command::new("setpriv").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("setpriv");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"{\"variables\":{}}").expect("it listens");
    let output = child.wait_with_output().expect("our child");
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    drop(home);
}
