//! A disk that lets the ledger down: full, slow, hanging, one that fails to write or to sync, and a directory that cannot be written.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::gateway::{BACK, Home, Life, Page, is_here, until};
use crate::hanging::{BRIEF, CROWD, GRACE, MARGIN};
use crate::recording::expect_end;
use crate::tracer::Tracer;

/// Syncs as SQLite makes them, and writes.
const SYNCS: &str = "fsync,fdatasync";
const WRITES: &str = "pwrite64,write";
/// As if every call failed so.
const EIO: &str = "error=EIO";
/// What a disk says that the system made read-only, having found it broken.
const READ_ONLY: &str = "error=EROFS";

/// Nobody waits long for a refusal or for the next try, and what is cut runs again by itself.
fn home() -> Home {
    let home = Home::with_demo(&format!("{BRIEF}[recovery]\npolicy = \"resume\"\n[ledger]\nretry_most = \"1s\"\n"));
    home.rewrite(&[("\n\n[agents.default]", "\nhttp.accept_limit = \"2s\"\n\n[agents.default]")]);
    home
}

/// The only bound here is a number: the disk has room.
#[test]
fn g41_a_ledger_over_its_bound_takes_in_nothing_new_until_there_is_room() {
    const MOST: u64 = 1 << 20;
    const LONG: usize = 60_000;
    let home = home();
    home.rewrite(&[("[ledger]\n", &format!("[ledger]\nmax_bytes = {MOST}\n"))]);
    let gateway = home.start();
    let page = home.browser();
    let mut said = 0;
    let (status, after) = until("a page that is refused", || {
        assert!(said < 100, "nobody is refused");
        let words = format!("number {said}. {}", "x".repeat(LONG));
        let answer = page.answer(&words);
        said += usize::from(answer.0 == 200);
        (answer.0 != 200).then_some(answer)
    });
    assert!(status == 507 && after.is_some_and(|seconds| seconds >= 1), "{status} {after:?}");
    until("readiness that names it", || {
        let (code, ready) = home.get("/readyz")?;
        (code == 503 && ready.contains("ledger.max_bytes = 1048576")).then_some(())
    });
    // What was taken in is answered all the same, and what comes from elsewhere waits there.
    let last = format!("number {}. ", said - 1);
    // Among the words that it answers, which may be more than one message.
    until("the answer to the last", || (page.lines(0).0.iter().filter(|line| line.contains(&last)).count() > 1).then_some(()));
    home.telegram.push_text(1, 1, "hello");
    until("a listener that waits", || home.telegram.unconfirmed().first().map(drop));
    assert_eq!(page.say("short"), 507);
    assert_eq!(home.telegram.texts_in(1), Vec::<String>::new());
    let size: u64 = files(&home).iter().filter_map(|file| std::fs::metadata(file).ok()).map(|found| found.len()).sum();
    assert!(size < 8 * MOST, "{size} bytes for what is said of {said} messages");
    assert_eq!(gateway.stop(), Some(0));
    home.rewrite(&[(&format!("max_bytes = {MOST}"), &format!("max_bytes = {}", 64 * MOST))]);
    let _gateway = home.start();
    home.told(1, "You said: hello");
    assert_eq!(page.say("short"), 200);
}

/// The ledger's files.
fn files(home: &Home) -> [PathBuf; 2] {
    let ledger = home.state().ledger();
    [ledger.with_extension("sqlite3-wal"), ledger]
}

/// A page that keeps count of what was confirmed.
struct Sayer<'a> {
    page: Page<'a>,
    confirmed: Vec<String>,
    said: usize,
}

impl<'a> Sayer<'a> {
    fn new(home: &'a Home) -> Self {
        Self { page: home.browser(), confirmed: Vec::new(), said: 0 }
    }

    /// Says something; what the page was answered.
    fn say(&mut self) -> (u16, Option<u64>) {
        let words = format!("number {}.", self.said);
        self.said += 1;
        let answer = self.page.answer(&words);
        if answer.0 == 200 {
            self.confirmed.push(words);
        }
        answer
    }

    /// Says things until one is not confirmed; 503, and when to come again.
    #[track_caller]
    fn say_until_refused(&mut self) {
        let refused = until("a message that is not confirmed", || Some(self.say()).filter(|answer| answer.0 != 200));
        assert_eq!((refused.0, refused.1.is_some()), (503, true), "with a time to come again");
    }

    #[track_caller]
    fn say_until_confirmed(&mut self) {
        until("a message that is confirmed again", || Some(self.say()).filter(|answer| answer.0 == 200));
    }

    /// Waits until everything that was confirmed is answered; and nothing was, or is, answered twice.
    #[track_caller]
    fn expect_all_answered(&self) {
        let answers = |lines: &[String], words: &String| {
            let is_answer = |line: &&String| line.starts_with("You said: ") && line.contains(words.as_str());
            lines.iter().filter(is_answer).count()
        };
        let lines = until(&format!("answers to all of {:?}", self.confirmed), || {
            let (lines, _) = self.page.lines(0);
            self.confirmed.iter().all(|words| answers(&lines, words) > 0).then_some(lines)
        });
        for number in 0..self.said {
            assert!(answers(&lines, &format!("number {number}.")) <= 1, "answered twice: {lines:?}");
        }
    }
}

/// Waits until the gateway says that it lives, and that its ledger does not work.
#[track_caller]
fn expect_unready(home: &Home) {
    until("a readiness that names the ledger", || home.get("/readyz").filter(|(status, text)| *status == 503 && text.contains("ledger")));
    assert_eq!(home.get("/livez").expect("it runs").0, 200, "it does not hang");
}

#[track_caller]
fn expect_ready(home: &Home) {
    until("readiness", || home.get("/readyz").filter(|(status, _)| *status == 200));
}

/// Everything that the disk does to the ledger's files meets this fate for a while. Nothing that was confirmed is lost; what was not is refused,
/// the ledger is named as what is wrong, and afterwards all is well by itself.
#[track_caller]
fn ill_for_a_while(calls: &str, fate: &str) {
    let home = home();
    let gateway = home.start();
    let mut sayer = Sayer::new(&home);
    sayer.say_until_confirmed();
    let files = files(&home);
    let paths = files.each_ref().map(PathBuf::as_path);
    let before = gateway.peak();
    let Some(tracer) = Tracer::inject(&gateway, calls, fate, &paths) else { return };
    sayer.say_until_refused();
    until("two tries in vain", || (gateway.logged("ledger cannot commit") >= 3).then_some(()));
    expect_unready(&home);
    tracer.off();
    expect_ready(&home);
    sayer.say_until_confirmed();
    sayer.expect_all_answered();
    gateway.expect_small(before);
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked(), "in the end everything was written");
    let _gateway = home.start();
    assert_eq!(home.status().expect("it runs")["last_end"], "clean");
    sayer.expect_all_answered();
}

#[test]
fn g01_a_disk_that_fails_to_sync_loses_nothing_that_was_confirmed() {
    ill_for_a_while(SYNCS, EIO);
}

#[test]
fn g01_a_disk_that_fails_to_write_loses_nothing_that_was_confirmed() {
    ill_for_a_while(WRITES, EIO);
}

#[test]
fn g01_a_disk_that_became_read_only_loses_nothing_that_was_confirmed() {
    ill_for_a_while("pwrite64,write,ftruncate,unlink", READ_ONLY);
}

/// Going down while the disk fails: in time, without a flag, and with nothing lost.
#[track_caller]
fn ill_to_the_end(calls: &str, fate: &str) {
    let home = home();
    let gateway = home.start();
    let mut sayer = Sayer::new(&home);
    sayer.say_until_confirmed();
    let files = files(&home);
    let paths = files.each_ref().map(PathBuf::as_path);
    let before = gateway.peak();
    let Some(tracer) = Tracer::inject(&gateway, calls, fate, &paths) else { return };
    sayer.say_until_refused();
    gateway.expect_small(before);
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    assert_eq!(tracer.ended(gateway), Some(0), "as was wanted, whatever it came to");
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert!(!home.is_marked(), "what could not be written is no clean end");
    expect_end(&home, &["stop, not clean: "], 0);
    let _gateway = home.start();
    sayer.expect_all_answered();
}

#[test]
fn g08_g11_g28_a_gateway_whose_disk_fails_to_sync_goes_down_in_time_and_not_clean() {
    ill_to_the_end(SYNCS, EIO);
}

#[test]
fn g08_g11_g28_a_gateway_whose_disk_fails_to_write_goes_down_in_time_and_not_clean() {
    ill_to_the_end(WRITES, EIO);
}

#[test]
fn g30_a_ledger_that_is_lost_while_somebody_stops_the_gateway_makes_no_failure_of_the_stop() {
    let home = home();
    let gateway = home.start();
    home.telegram.push_text(1, 1, "work for 30m");
    gateway.wait_for("turn started");
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for("shutdown phase phase=drain");
    let files = files(&home);
    let paths = files.each_ref().map(PathBuf::as_path);
    let Some(tracer) = Tracer::inject(&gateway, &format!("{SYNCS},openat"), EIO, &paths) else { return };
    assert_eq!(tracer.ended(gateway), Some(0), "as was wanted, whatever was lost on the way");
    assert!(!home.is_marked());
    expect_end(&home, &["gave up in drain", "the ledger is lost"], 0);
    let _gateway = home.start();
    assert!(home.told(1, BACK).iter().any(|text| text.contains("(a fault within)")), "and what it was is told");
}

#[test]
fn g01_g28_a_ledger_that_cannot_be_read_back_after_a_failed_sync_ends_the_process() {
    let home = home();
    let gateway = home.start();
    let mut sayer = Sayer::new(&home);
    sayer.say_until_confirmed();
    let files = files(&home);
    let paths = files.each_ref().map(PathBuf::as_path);
    let Some(tracer) = Tracer::inject(&gateway, &format!("{SYNCS},openat"), EIO, &paths) else { return };
    assert_ne!(sayer.say().0, 200);
    assert_eq!(tracer.ended(gateway), Some(70), "nobody knows what is true: nothing more is said");
    assert!(home.everything().contains("look at the disk"));
    expect_end(&home, &["gave up while serving", "the ledger is lost"], 70);
    assert!(!home.is_marked());
    let _gateway = home.start();
    sayer.say_until_confirmed();
    sayer.expect_all_answered();
}

#[test]
fn g01_g08_a_checkpoint_that_fails_at_the_close_costs_nothing() {
    let home = home();
    let gateway = home.start();
    let mut sayer = Sayer::new(&home);
    sayer.say_until_confirmed();
    sayer.expect_all_answered();
    // The log is brought into the main file at the close, when the flag is already there.
    let Some(tracer) = Tracer::inject(&gateway, WRITES, EIO, &[&home.state().ledger()]) else { return };
    gateway.signal(Signal::SIGTERM);
    let code = tracer.ended(gateway);
    assert_eq!((code, home.is_marked()), (Some(0), true), "all of it is in the log");
    let _gateway = home.start();
    assert_eq!(home.status().expect("it runs")["last_end"], "clean");
    sayer.expect_all_answered();
}

#[test]
fn g11_g25_a_slow_disk_is_slow_and_nothing_else() {
    let home = home();
    let gateway = home.start();
    let mut sayer = Sayer::new(&home);
    let before = gateway.peak();
    let Some(tracer) = Tracer::inject(&gateway, SYNCS, "delay_exit=300000", &[]) else { return };
    for _ in 0..5 {
        assert_eq!(sayer.say().0, 200);
        assert_eq!(home.get("/livez").expect("it runs").0, 200);
        assert_eq!(home.get("/readyz").expect("it runs").0, 200, "late is not ill");
    }
    sayer.expect_all_answered();
    gateway.expect_small(before);
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    let code = tracer.ended(gateway);
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert_eq!((code, home.is_marked()), (Some(0), true));
}

#[test]
fn g11_g28_a_disk_that_hangs_ends_with_the_watchdog() {
    let home = home();
    let gateway = home.start();
    let mut sayer = Sayer::new(&home);
    sayer.say_until_confirmed();
    let before = gateway.peak();
    let Some(tracer) = Tracer::inject(&gateway, SYNCS, "delay_enter=600000000", &[]) else { return };
    sayer.say_until_refused();
    gateway.expect_small(before);
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    let code = tracer.ended(gateway);
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert_eq!((code, home.is_marked()), (Some(0), false));
    expect_end(&home, &["stop, not clean: ", "the marker was not written in time"], 0);
    let _gateway = home.start();
    sayer.expect_all_answered();
}

#[test]
fn g22_a_state_directory_that_cannot_be_written_is_said_at_the_start() {
    let home = home();
    assert_eq!(home.start().stop(), Some(0));
    let state = home.path().join("state");
    let Some(mount) = Mount::read_only(&state) else { return };
    let gateway = home.launch("info");
    gateway.wait_for("ERROR");
    let said = home.everything();
    let named = said.contains(&state.display().to_string()) && said.contains("Read-only file system");
    assert!(named && said.contains("set state_dir"), "the place, the cause and the remedy: {said}");
    assert_eq!(gateway.ended(), Some(73));
    drop(mount);
    assert_eq!(home.start().stop(), Some(0), "nothing was spoilt");
}

/// Something mounted over a directory, unmounted at the end.
pub(crate) struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    /// A file system of so many bytes.
    pub(crate) fn small(at: &'a Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(at).expect("ours");
        Self::over(at, &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"], "mounting a small file system")
    }

    /// What is there already, not to be written.
    fn read_only(at: &'a Path) -> Option<Self> {
        let folder = at.to_str().expect("UTF-8");
        Self::over(at, &["-o", "bind,ro", folder], "mounting a directory read-only")
    }

    fn over(at: &'a Path, arguments: &[&str], what: &str) -> Option<Self> {
        let mounted = Command::new("mount").args(arguments).arg(at).status();
        is_here(mounted.is_ok_and(|status| status.success()), what).then_some(Self(at))
    }
}

impl Drop for Mount<'_> {
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
    let Some(disk) = Mount::small(&state, SMALL) else { return };
    let gateway = home.start();
    let before = gateway.peak();
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
    gateway.expect_small(before);
    assert_eq!(gateway.stop(), Some(0));
    drop(disk);
}

/// Fills the disk until nothing is confirmed any more, tries to come back are in vain, and the readiness names the ledger.
#[track_caller]
fn fill_up(home: &Home, gateway: &Life<'_>, sayer: &mut Sayer<'_>, ballast: &Path) {
    let refused = until("a message that is not confirmed", || {
        fill(ballast);
        Some(sayer.say()).filter(|answer| answer.0 != 200)
    });
    assert_eq!((refused.0, refused.1.is_some()), (503, true), "with a time to come again");
    // What it let go of while it was opened again is no room to live in.
    tries_in_vain(gateway, ballast);
    expect_unready(home);
}

/// Waits for three more, on a disk that stays full.
#[track_caller]
fn tries_in_vain(gateway: &Life<'_>, ballast: &Path) {
    let before = gateway.logged("ledger cannot commit");
    until("three tries in vain", || {
        fill(ballast);
        (gateway.logged("ledger cannot commit") >= before + 3).then_some(())
    });
}

/// The size of a small disk.
const SMALL: u64 = 2 << 20;

#[test]
fn g08_g11_g28_a_gateway_whose_disk_is_full_goes_down_in_time_and_not_clean() {
    let home = home();
    let state = home.path().join("state");
    let Some(_disk) = Mount::small(&state, SMALL) else { return };
    let ballast = state.join("ballast");
    let gateway = home.start();
    let before = gateway.peak();
    let mut sayer = Sayer::new(&home);
    sayer.say_until_confirmed();
    fill_up(&home, &gateway, &mut sayer, &ballast);
    gateway.expect_small(before);
    let begun = Instant::now();
    assert_eq!(gateway.stop(), Some(0), "as was wanted, whatever it came to");
    assert!(begun.elapsed() < GRACE + MARGIN + CROWD, "{:?}", begun.elapsed());
    assert!(!home.is_marked(), "what could not be written is no clean end");
    std::fs::remove_file(&ballast).expect("ours");
    let gateway = home.start();
    sayer.expect_all_answered();
    sayer.say_until_confirmed();
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked(), "in the end everything was written");
}

#[test]
fn g01_g22_a_start_on_a_full_disk_says_so_and_loses_nothing_that_was_confirmed() {
    let home = home();
    let state = home.path().join("state");
    let Some(_disk) = Mount::small(&state, SMALL) else { return };
    let ballast = state.join("ballast");
    let gateway = home.start();
    let mut sayer = Sayer::new(&home);
    sayer.say_until_confirmed();
    fill_up(&home, &gateway, &mut sayer, &ballast);
    gateway.kill();
    fill(&ballast);
    let mut gateway = home.launch("debug");
    // Either there is not even room to open the ledger, or it is open and cannot take anything in.
    let ended = until("its end, or its word", || {
        fill(&ballast);
        let word = home.get("/readyz");
        assert!(word.as_ref().is_none_or(|(status, _)| *status != 200), "not able to serve: {word:?}");
        let runs = gateway.runs();
        (!runs || word.is_some_and(|(_, text)| text.contains("ledger"))).then_some(!runs)
    });
    if ended {
        assert_eq!(gateway.ended(), Some(73));
        assert!(home.everything().contains(&state.display().to_string()), "the place is named");
        std::fs::remove_file(&ballast).expect("ours");
        gateway = home.start();
    } else {
        tries_in_vain(&gateway, &ballast);
        expect_unready(&home);
        std::fs::remove_file(&ballast).expect("ours");
        expect_ready(&home);
    }
    sayer.say_until_confirmed();
    sayer.expect_all_answered();
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked());
}

#[test]
fn g01_g03_a_message_that_comes_while_the_disk_is_full_stays_with_its_platform() {
    let home = home();
    let state = home.path().join("state");
    let Some(_disk) = Mount::small(&state, SMALL) else { return };
    let ballast = state.join("ballast");
    let gateway = home.start();
    let mut sayer = Sayer::new(&home);
    sayer.say_until_confirmed();
    home.telegram.push_text(1, 1, "before");
    home.told(1, "You said: before");
    until("nothing to confirm", || home.telegram.unconfirmed().is_empty().then_some(()));
    fill_up(&home, &gateway, &mut sayer, &ballast);
    let update = home.telegram.push_text(1, 1, "while it is full");
    tries_in_vain(&gateway, &ballast);
    assert_eq!(home.telegram.unconfirmed(), [update], "nobody wrote it down");
    std::fs::remove_file(&ballast).expect("ours");
    home.told(1, "You said: while it is full");
    until("its confirmation", || home.telegram.unconfirmed().is_empty().then_some(()));
    assert_eq!(home.count(1, "You said: while it is full"), 1);
    sayer.expect_all_answered();
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked());
}

/// Takes all the room there is.
pub(crate) fn fill(path: &Path) {
    let mut file = std::fs::File::options().append(true).create(true).open(path).expect("room for a name");
    let block = [0; 4096];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
}
