//! What hangs: agents that never yield, platforms that never answer, a disk that is slow, and one that is full.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switchboard_actors::testkit::fake_openai::Reply;
use switchboard_actors::testkit::fake_telegram::Fault;

use crate::gateway::{CUT, DOWN, Home, is_here, until};

/// The whole of a shutdown, and what is granted beyond it.
const GRACE: Duration = Duration::from_secs(4);
const MARGIN: Duration = Duration::from_secs(2);
/// What a crowded machine may add to a wall clock.
const CROWD: Duration = Duration::from_secs(5);
const BRIEF: &str = r#"
[access]
allow = ["*"]
[shutdown]
grace = "4s"
roll_call = "500ms"
announce = "500ms"
interrupt = "500ms"
flush = "500ms"
disconnect = "500ms"
margin = "2s"
"#;

#[test]
fn g11_agents_that_never_yield_do_not_hold_a_shutdown() {
    let home = Home::with_demo(BRIEF);
    let gateway = home.start();
    for chat in 1..=4 {
        home.telegram.push_text(chat, chat, "block for 60s");
    }
    until("four tasks", || home.status().filter(|status| status["turns_running"] == 4));
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert!(!home.is_marked());
    let _gateway = home.start();
    for chat in 1..=4 {
        assert_eq!(home.count(chat, DOWN), 1);
        home.told(chat, CUT);
    }
}

#[test]
fn g11_g06_a_platform_that_hangs_holds_up_neither_the_shutdown_nor_the_page() {
    let home = Home::with_model(BRIEF);
    home.model.reply_to("endless", Reply::Never);
    let gateway = home.start();
    let page = home.browser();
    home.telegram.push_text(1, 1, "endless");
    assert_eq!(page.say("endless"), 200);
    home.asked("endless", 2);
    home.telegram.fail_always("sendMessage", Some(Fault::Hang));
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    page.shown(DOWN);
    assert_eq!(gateway.ended(), Some(0));
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    home.telegram.fail_always("sendMessage", None);
    let _gateway = home.start();
    home.told(1, CUT);
    assert_eq!(home.count(1, DOWN), 0, "what was cut while being sent is not said again");
    page.shown(CUT);
}

#[test]
fn g11_a_disk_that_hangs_ends_with_the_watchdog() {
    if !have("strace") {
        return;
    }
    let home = Home::with_demo(&format!("{BRIEF}[recovery]\npolicy = \"resume\"\n"));
    assert_eq!(home.start().stop(), Some(0));
    // The twelfth sync of a thread, and every one after it, takes ten minutes: the ledger is open by then, and some messages are in it.
    let inject = "inject=fdatasync,fsync:delay_enter=600000000:when=12+";
    let tracer = home.launch_under(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", inject], "info");
    tracer.wait_for("ready instance=");
    let gateway = child_of(tracer.pid());
    let page = home.browser();
    let mut confirmed = Vec::new();
    let refused = until("a message that is not confirmed", || {
        let words = format!("number {}.", confirmed.len());
        let status = page.say(&words);
        if status == 200 {
            confirmed.push(words);
        }
        (status != 200).then_some(status)
    });
    assert_eq!(refused, 503);
    let begun = Instant::now();
    kill(gateway, Signal::SIGTERM).expect("it runs");
    until("the end of the process", || is_over(gateway).then_some(()));
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert!(!home.is_marked());
    tracer.kill();
    let _gateway = home.start();
    for words in confirmed {
        until(&format!("the answer to {words:?}"), || {
            let (lines, _) = page.lines(0);
            lines.iter().any(|line| line.starts_with("You said: ") && line.contains(&words)).then_some(())
        });
    }
}

/// What a tracer runs.
fn child_of(tracer: u32) -> Pid {
    let children = std::fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).expect("it runs");
    Pid::from_raw(children.split_whitespace().next().expect("a child").parse().expect("a pid"))
}

/// Whether a process is over, also while its tracer has not looked yet.
fn is_over(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with(['Z', 'X']))
}

/// Whether a program is here.
fn have(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file());
    is_here(found, program)
}

/// A small file system over the state directory, unmounted at the end.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("ours");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(at).status();
        is_here(mounted.is_ok_and(|status| status.success()), "mounting a small file system").then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: a gateway that a failed test leaves behind is killed only later.
        _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn g01_g25_a_full_disk_is_said_and_nothing_that_was_accepted_is_lost() {
    let home = Home::with_demo("");
    home.rewrite(&[("\n\n[agents.default]", "\nhttp.accept_limit = \"2s\"\n\n[agents.default]")]);
    let state = home.path().join("state");
    let Some(disk) = SmallDisk::mount(&state) else { return };
    let gateway = home.start();
    let page = home.browser();
    assert_eq!(page.say("before"), 200);
    page.shown("You said: before");
    let ballast = state.join("ballast");
    let mut accepted = Vec::new();
    let refused = until("a message that is not accepted", || {
        fill(&ballast);
        let words = format!("number {}. {}", accepted.len(), "x".repeat(500));
        let response = page.answer(&words);
        match response.0 {
            200 => {
                accepted.push(words);
                None
            }
            _ => Some(response),
        }
    });
    assert_eq!((refused.0, refused.1.is_some()), (503, true), "with a time to come again");
    // It comes back by proof only: what it let go of while it was opened again is no room to live in.
    until("three more tries in vain", || {
        fill(&ballast);
        (gateway.logged("ledger cannot commit") >= 4).then_some(())
    });
    until("a readiness that names the ledger", || home.get("/readyz").filter(|(status, text)| *status == 503 && text.contains("ledger")));
    assert_eq!(home.get("/livez").expect("it runs").0, 200, "it does not hang");
    std::fs::remove_file(&ballast).expect("ours");
    until("readiness", || home.get("/readyz").filter(|(status, _)| *status == 200));
    assert_eq!(until("a message that is accepted again", || Some(page.say("after")).filter(|status| *status == 200)), 200);
    let shown = page.shown("You said: after");
    let answered = |words: &String| shown.iter().any(|line| line.starts_with("You said: ") && line.contains(words.as_str()));
    assert!(accepted.iter().all(answered), "of {} accepted: {shown:?}", accepted.len());
    assert_eq!(gateway.stop(), Some(0));
    drop(disk);
}

/// Takes all the room there is.
fn fill(path: &Path) {
    let mut file = std::fs::File::options().append(true).create(true).open(path).expect("room for a name");
    let block = [0; 4096];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
}
