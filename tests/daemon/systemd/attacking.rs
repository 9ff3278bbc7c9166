//! The gateway's user attacks the machine's root, who updates and looks after a service of a user whom nobody else knows.

use std::os::unix::fs::MetadataExt;

use rustix::fs::{FlockOperation, fcntl_lock};

use super::host::{BRIEF, Host};
use crate::attacking::{NAMES, SECRET, Victim, is_theirs_alone, plant};
use crate::releases::{Next, Releases};

const STATE: &str = "/var/lib/private/switchboard";
const PROGRAM: &str = "/opt/switchboard/current/switchboard";

#[test]
fn g40_a_services_user_gets_nothing_from_root_whatever_stands_in_its_directory() {
    let releases = Releases::serve();
    let (source, key) = (releases.address(), releases.public_key());
    let Some(host) = Host::serving(&format!("{BRIEF}[update]\nsource = \"{source}\"\npublic_key = \"{key}\"\n")) else { return };
    host.wait_for_property("SubState", "running");
    host.done(&[PROGRAM, "check"]);
    host.done(&["systemctl", "stop", "switchboard"]);
    let (state, victim) = (host.machine.path(STATE), host.machine.path("/root/victim"));
    let uid = std::fs::metadata(&state).expect("it has run").uid();
    assert_ne!(uid, 0);
    let guarded = [Victim::make(&victim, 0), Victim::make(&host.machine.path("/srv/third"), 65531)];
    releases.publish(Next::new("good", "additive"));
    let ledger = format!("{STATE}/ledger.sqlite3");
    let commands: [&[&str]; 8] = [
        &["check"],
        &["check", "--ledger", &ledger],
        &["check", "--ledger", &ledger, "--upgrade"],
        &["history"],
        &["token", "rotate"],
        &["ledger", "drop", "gone"],
        &["update"],
        &["update", "--to", env!("CARGO_PKG_VERSION")],
    ];
    // What is there of the gateway's own is there again for each.
    let kept = host.machine.path("/root/kept");
    host.done(&["cp", "-a", STATE, "/root/kept"]);
    let again = || {
        host.done(&["sh", "-c", &format!("rm -rf {STATE}/* && cp -a /root/kept/. {STATE}/")]);
    };
    let run = |when: &str| {
        for words in commands {
            let printed = host.run(&[&[PROGRAM], words].concat());
            let when = format!("{when}: {words:?}: {printed:?}");
            assert!(!printed.out.contains(SECRET) && !printed.err.contains(SECRET), "{when}");
            guarded.iter().for_each(|victim| victim.is_untouched(&when));
            is_theirs_alone(&state, uid, &when);
        }
    };
    for (number, name) in NAMES.into_iter().enumerate() {
        let target = ["/root/victim", "/srv/third"][number % 2];
        plant(&state, name, target.as_ref(), uid);
        run(&format!("{name} leads to {target}"));
        again();
    }
    // All at once, while the locks of the ledger are held: SQLite's are bytes of these files.
    let locks = ["ledger.sqlite3", "ledger.sqlite3-shm"].map(|name| {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(state.join(name)).expect("root");
        std::os::unix::fs::fchown(&file, Some(uid), Some(uid)).expect("root");
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody has it");
        file
    });
    NAMES.iter().filter(|name| !name.starts_with("ledger.sqlite3")).for_each(|name| plant(&state, name, "/root/victim".as_ref(), uid));
    run("the lock is held");
    drop(locks);
    again();
    std::fs::remove_dir_all(kept).expect("root");
    // The tree is root's, and the version that was switched to is the one that was signed.
    assert_eq!(host.done(&["find", "/opt/switchboard", "!", "-user", "root", "-o", "-perm", "/022", "!", "-type", "l"]), "");
    host.done(&["systemctl", "start", "switchboard"]);
    host.wait_for_property("SubState", "running");
}
