//! Releases as they are found, believed, fetched and put in place, and everything that keeps one from that.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate};
use serde_json::Value;
use switchboard::install::Layout;
use switchboard::update::manifest::TARGET;

use crate::disks::{Mount, fill};
use crate::gateway::{Home, is_here, until};
use crate::installed::{BUILT, Installed, start};
use crate::releases::{EXPIRES, Fault, Next, sum};
use crate::tracer::have;

#[test]
fn g26_a_release_that_is_not_what_was_signed_changes_nothing() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let first = installed.serving().expect("it runs");
    let folder = installed.releases.folder();
    let check = |expected: &str| {
        let printed = installed.update(&[]);
        assert!(printed.code == Some(1) && printed.err.contains(expected), "{expected}: {printed:?}");
        assert_eq!(installed.serving().as_ref(), Some(&first), "{expected}");
        assert_eq!(
            (installed.layout.current().as_deref(), installed.layout.versions()),
            (Some(BUILT), vec![BUILT.to_owned()]),
            "{expected}"
        );
        assert!(!installed.layout.root().join("update.json").exists());
    };
    check("404");
    let good = Next::new("good", "none");
    let sum = |text: &str| -> String {
        serde_json::from_str::<Value>(text).expect("JSON")["artifacts"][0]["sha256"].as_str().expect("a sum").into()
    };
    installed.releases.publish_as(good, |text| text.replace(&sum(&text), &"ab".repeat(32)));
    check("its checksum is not the one that was signed");
    installed.releases.publish(good);
    let text = std::fs::read_to_string(folder.join("manifest.json")).expect("readable");
    std::fs::write(folder.join("manifest.json"), text.replace("0.2.0", "0.3.0")).expect("writable");
    check("the signature is not good");
    installed.releases.publish_as(good, |text| text.replace("0.2.0", "0.3.0"));
    check("says that it is version 0.2.0");
    installed.releases.publish_as(good, |text| text.replace("0.2.0", "0.0.9"));
    check("older than 0.1.0");
    installed.releases.publish_as(good, |text| text.replace("\"size\":", "\"size\":9"));
    check("bytes are here");
    let short = |text: String| text.replace("\"size\":", "\"size\":1,\"was\":");
    installed.releases.publish_as(good, short);
    check("larger than the 1 bytes that were signed");
    let kept = installed.layout.root().join("downloads").read_dir().map_or(0, Iterator::count);
    assert_eq!(kept, 0, "it was thrown away");
}

/// Whoever stands between can show yesterday's manifest, whose signature is good, for as long as they like; it is believed until its date.
#[test]
fn g26_an_old_manifest_that_is_shown_again_is_refused_with_its_date() {
    let installed = Installed::new();
    let refused = |words: &[&str], expected: &str| {
        let printed = installed.update(words);
        assert!(printed.code == Some(1) && printed.err.contains(expected), "{words:?} {expected}: {printed:?}");
        assert_eq!(installed.layout.versions(), [BUILT], "{words:?} {expected}");
    };
    let over = "2001-09-09T01:46:40Z";
    for (change, expected) in [
        ("\"expires\"", "version 0.2.0 does not say when it expires"),
        (EXPIRES, "version 0.2.0 expired at 2001-09-09T01:46:40Z, and the clock of this machine says "),
    ] {
        let other = if change == EXPIRES { over } else { "\"expired\"" };
        installed.releases.publish_as(Next::new("good", "none"), |text| text.replace(change, other));
        // That there is nothing newer is not to be believed either.
        for words in [&[][..], &["--check"], &["--to", "0.2.0"], &["--to", BUILT, "--check"]] {
            refused(words, expected);
        }
        refused(&[], "or go on with this one by --expired");
    }
    let printed = installed.update(&["--expired"]);
    let told = printed.err.contains("going on all the same (--expired): ") && printed.err.contains(over);
    assert!(printed.code == Some(0) && told && printed.out.starts_with("0.2.0 is in place"), "{printed:?}");
}

#[test]
fn g26_a_new_key_takes_the_place_of_the_old_one_without_a_release_that_is_not_believed() {
    let mut installed = Installed::new();
    let place = format!("public_key = \"{}\"", installed.releases.public_key());
    installed.releases.change_key();
    installed.releases.publish(Next::new("good", "none"));
    let printed = installed.update(&[]);
    assert!(printed.code == Some(1) && printed.err.contains("the signature is not good"), "{printed:?}");
    let next = format!("next_public_key = \"{}\"", installed.releases.public_key());
    installed.home.rewrite(&[(&place, &format!("{place}\n{next}"))]);
    let printed = installed.update(&["--check"]);
    assert!(printed.code == Some(0) && printed.err.contains("signed with update.next_public_key"), "{printed:?}");
    // One that is neither.
    installed.home.rewrite(&[(&next, "next_public_key = \"nonsense\"")]);
    let printed = installed.update(&[]);
    assert!(printed.code == Some(1) && printed.err.contains("update.next_public_key is not a minisign key"), "{printed:?}");
    assert_eq!(installed.layout.versions(), [BUILT]);
}

#[test]
fn g26_a_download_that_is_cut_goes_on_where_it_stopped() {
    let installed = Installed::new();
    installed.releases.publish(Next::new("good", "none"));
    installed.releases.break_it(Fault::CutAfter(8 << 20));
    let printed = installed.update(&[]);
    let told = printed.out.starts_with("0.2.0 is in place; no gateway runs that could prove it\nto start it:\n");
    assert!(printed.code == Some(0) && told, "{printed:?}");
    let ranges = installed.releases.ranges();
    assert!(ranges.first().is_some_and(|first| first == "8388608-") && ranges.len() >= 2, "{ranges:?}");
    installed.is_tidy();
    // A server that knows no ranges is heard from the beginning; what is there from before does not confuse it.
    let other = Next { version: "0.3.0", ..Next::new("good", "none") };
    installed.releases.publish(other);
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(installed.releases.folder().join("manifest.json")).expect("readable")).expect("JSON");
    let part = installed.layout.root().join("downloads").join(manifest["artifacts"][0]["sha256"].as_str().expect("a sum"));
    std::fs::create_dir(part.parent().expect("a directory")).expect("writable");
    std::fs::write(&part, "the beginning of something else").expect("writable");
    installed.releases.break_it(Fault::NoRanges);
    assert_eq!(installed.update(&[]).code, Some(0));
    assert_eq!(installed.layout.current().as_deref(), Some("0.3.0"));
    // From a folder, and with a beginning that fits in size alone.
    let more = Next { version: "0.4.0", ..Next::new("good", "none") };
    installed.releases.publish(more);
    let folder = installed.releases.folder().to_str().expect("UTF-8").to_owned();
    assert_eq!(installed.update(&["--from", &folder]).code, Some(0));
    assert_eq!(installed.layout.current().as_deref(), Some("0.4.0"));
    let mut versions = installed.layout.versions();
    versions.sort();
    assert_eq!(versions, ["0.2.0", "0.3.0", "0.4.0"], "the last three stay");
}

#[test]
fn g26_a_download_whose_updater_is_killed_goes_on_where_it_stopped() {
    let installed = Installed::new();
    installed.releases.publish(Next::new("good", "none"));
    installed.releases.break_it(Fault::SilentAfter(8 << 20));
    let mut update = installed.update_command(&["update"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let downloads = installed.layout.root().join("downloads");
    let arrived = || downloads.read_dir().ok()?.flatten().find_map(|entry| entry.metadata().ok()).filter(|found| found.len() == 8 << 20);
    until("what arrives", arrived);
    update.kill().expect("our child");
    update.wait().expect("our child");
    installed.releases.break_it(Fault::CutAfter(u64::MAX));
    let printed = installed.update(&[]);
    assert!(printed.code == Some(0) && printed.out.starts_with("0.2.0 is in place"), "{printed:?}");
    assert_eq!(installed.releases.ranges(), ["8388608-"]);
    installed.is_tidy();
}

#[test]
fn a_download_is_shown_to_a_terminal() {
    if !have("script") {
        return;
    }
    let installed = Installed::new();
    installed.releases.publish(Next::new("good", "none"));
    installed.releases.break_it(Fault::CutAfter(8 << 20));
    let command = installed.update_command(&["update"]);
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_str().expect("UTF-8"));
    let line = words.collect::<Vec<_>>().join(" ");
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("0.2.0 is in place"), "{shown}");
    let size = Next::new("good", "none").program().len() as f64 / f64::from(1 << 20);
    assert!(shown.contains(&format!("MiB of {size:.2} MiB")), "{shown}");
}

#[test]
fn an_update_that_cannot_be_is_refused() {
    let mut home = Home::with_demo("");
    let printed = home.run(&["update"]);
    assert!(printed.code == Some(77) && printed.err.contains("service install"), "{printed:?}");
    // Where one is installed, to install this one would not be to update that.
    let theirs = Layout::at(&home.path().join(".local/share/switchboard"));
    theirs.put("0.2.0", env!("CARGO_BIN_EXE_switchboard").as_ref()).expect("writable");
    theirs.switch("0.2.0").expect("it is there");
    let printed = home.run(&["update"]);
    let named = format!("`{} update` updates the one that is", theirs.current_program().display());
    assert!(printed.code == Some(77) && printed.err.contains(&named) && !printed.err.contains("service install"), "{printed:?}");
    let layout = Layout::at(&home.path().join("tree"));
    layout.put(BUILT, env!("CARGO_BIN_EXE_switchboard").as_ref()).expect("writable");
    layout.switch(BUILT).expect("it is there");
    let gateway = home.launch("info");
    gateway.wait_for("ready instance=");
    gateway.kill();
    home.use_program(layout.current_program());
    let printed = home.run(&["update"]);
    assert!(printed.code == Some(2) && printed.err.contains("Set update.source, or name a place with --from"), "{printed:?}");
    let printed = home.run(&["update", "--from", "https://example.org"]);
    assert!(printed.code == Some(2) && printed.err.contains("Set update.public_key"), "{printed:?}");
}

#[test]
fn an_older_version_is_found_where_the_newest_is_not_made_for_this_machine() {
    let installed = Installed::new();
    installed.releases.publish(Next::new("good", "none"));
    let (folder, older) = (installed.releases.folder(), installed.releases.folder().join("0.2.0"));
    std::fs::create_dir(&older).expect("writable");
    for file in ["switchboard", "manifest.json", "manifest.json.minisig"] {
        std::fs::copy(folder.join(file), older.join(file)).expect("there");
    }
    let newest = Next { version: "0.3.0", ..Next::new("good", "none") };
    installed.releases.publish_as(newest, |text| text.replace(TARGET, "sparc-sun-solaris"));
    let printed = installed.update(&[]);
    assert!(printed.code == Some(1) && printed.err.contains(TARGET), "{printed:?}");
    let printed = installed.update(&["--to", "0.2.0"]);
    assert!(printed.code == Some(0) && printed.out.starts_with("0.2.0 is in place"), "{printed:?}");
}

#[test]
fn the_script_makes_a_release_that_is_believed() {
    let installed = Installed::new();
    let (out, program) = (installed.home.path().join("out"), installed.home.path().join("program"));
    std::fs::write(&program, Next::new("good", "additive").program()).expect("writable");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("ours");
    let key = installed.home.path().join("key");
    std::fs::write(&key, installed.releases.secret_key()).expect("writable");
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/release.sh"));
    command.args([&out, &key]).arg(format!("{TARGET}={}", program.display())).stdin(Stdio::null());
    let output = command.output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !is_here(!said.contains("neither minisign nor rsign"), "minisign or rsign, for deploy/release.sh") {
        let text = std::fs::read_to_string(out.join("manifest.json")).expect("made before it is signed");
        installed.releases.sign_in(&out, &text);
    } else {
        assert!(output.status.success(), "{said}");
    }
    let manifest: Value = serde_json::from_slice(&std::fs::read(out.join("manifest.json")).expect("made")).expect("JSON");
    match manifest["sbom"]["url"].as_str() {
        // What the programs are made of is signed as they are.
        Some(name) => assert_eq!(sum(&std::fs::read(out.join(name)).expect("made")), manifest["sbom"]["sha256"]),
        None => assert!(said.contains("cargo-cyclonedx is not here: the release says nothing of what its programs are made of"), "{said}"),
    }
    let printed = installed.update(&["--from", out.join("manifest.json").to_str().expect("UTF-8")]);
    assert!(printed.code == Some(0) && printed.out.starts_with("0.2.0 is in place"), "{printed:?}");
}

#[test]
fn g26_a_version_that_is_contradicted_about_the_way_back_is_refused() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let first = installed.serving().expect("it runs");
    let check = |expected: &str| {
        let printed = installed.update(&[]);
        assert!(printed.code == Some(1) && printed.err.contains(expected), "{expected}: {printed:?}");
        assert_eq!((installed.serving().as_ref(), installed.layout.current().as_deref()), (Some(&first), Some(BUILT)), "{expected}");
        assert_eq!(installed.layout.versions(), [BUILT], "{expected}");
        installed.is_tidy();
    };
    installed.releases.publish_as(Next::new("good", "additive"), |text| text.replace("\"oldest_reader\":", "\"oldest_reader\":9"));
    check("the program says schema");
    installed.releases.publish(Next::new("does not look", "secretly breaking"));
    check("version 0.2.0 says that version 0.1.0 can read what it makes of the ledger, and that is not so");
    installed.releases.publish(Next::new("good", "secretly breaking"));
    check("version 0.2.0 checked the configuration and a copy of the ledger, and ended with exit code 73");
}

#[test]
fn g26_a_full_disk_undoes_an_update_and_says_where() {
    let mut installed = Installed::new();
    let root = installed.home.path().join("small");
    let program = Next::new("good", "none").program().len() as u64;
    let Some(_disk) = Mount::small(&root, program * 7 / 2) else { return };
    installed.move_to(&root);
    let _gateway = start(&installed);
    let (mut said, ballast) = (0, File::create(root.join("ballast")).expect("room for a name"));
    installed.releases.publish(Next::new("good", "none"));
    // Room for a part of the program, and for all of it but not for its copy among the versions.
    for (share, expected) in [(200, "the download cannot be written"), (110, "the program cannot be put there")] {
        resize(&ballast, program * share / 100);
        let printed = installed.update(&[]);
        assert!(printed.code == Some(1) && printed.err.contains(expected) && printed.err.contains("No space left"), "{share}: {printed:?}");
        assert_eq!((installed.layout.versions(), installed.layout.current().as_deref()), (vec![BUILT.to_owned()], Some(BUILT)), "{share}");
        assert!(!installed.layout.root().join("versions/0.2.0").exists() && !installed.layout.root().join("update.json").exists());
        installed.serves(BUILT, &mut said);
    }
    // What was fetched is still good.
    ballast.set_len(0).expect("ours");
    std::fs::remove_file(installed.releases.folder().join("switchboard")).expect("ours");
    let printed = installed.update(&[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    installed.serves("0.2.0", &mut said);
}

#[test]
fn g26_a_ledger_that_cannot_be_copied_is_not_updated() {
    let installed = Installed::new();
    let state = installed.home.state().path().to_owned();
    let Some(_disk) = Mount::small(&state, 2 << 20) else { return };
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    fill(&state.join("ballast"));
    installed.releases.publish(Next::new("good", "none"));
    let printed = installed.update(&[]);
    assert!(
        printed.code == Some(1) && printed.err.contains("the ledger cannot be copied") && printed.err.contains("nothing was changed"),
        "{printed:?}"
    );
    assert_eq!(installed.layout.current().as_deref(), Some(BUILT));
    installed.is_tidy();
    std::fs::remove_file(state.join("ballast")).expect("ours");
    installed.serves(BUILT, &mut said);
    assert_eq!(installed.update(&[]).code, Some(0));
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
}

#[test]
fn an_update_that_would_fill_the_disk_is_refused_before_it_begins() {
    let installed = Installed::new();
    let state = installed.home.state();
    let Some(_disk) = Mount::small(state.path(), 8 << 20) else { return };
    assert_eq!(start(&installed).stop(), Some(0));
    let ballast = File::create(state.path().join("ballast")).expect("room for a name");
    let size = std::fs::metadata(state.ledger()).expect("there").len();
    let disk = rustix::fs::statvfs(state.path()).expect("there");
    let leave = |tenths: u64| resize(&ballast, disk.f_bavail * disk.f_frsize - size * tenths / 10 - (512 << 10));
    for (change, tenths, expected) in [("breaking", 15, "2 times the "), ("breaking", 25, "3 times the "), ("none", 25, "")] {
        leave(tenths);
        installed.releases.publish(Next::new("good", change));
        let printed = installed.update(&[]);
        let refused = printed.code == Some(1) && printed.err.contains(expected) && printed.err.contains("nothing was changed");
        assert!(if expected.is_empty() { printed.code == Some(0) } else { refused }, "{change} {tenths}: {printed:?}");
        installed.is_tidy();
    }
}

/// Makes a file so large.
fn resize(file: &File, bytes: u64) {
    file.set_len(0).and_then(|()| Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)).expect("so much room there is");
}

#[test]
fn g26_two_updaters_never_meet_and_the_second_says_who_is_at_work() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    installed.releases.publish(Next::new("good", "none"));
    let mut first =
        installed.update_command(&["update", "--dwell", "3s"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(first.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("proving 0.2.0")));
    let second = installed.update(&["--to", "0.3.0"]);
    let expected = format!("another `switchboard update` (pid {}, since ", first.id());
    assert!(second.code == Some(1) && second.err.contains(&expected), "{second:?}");
    lines.for_each(drop);
    assert_eq!(first.wait().expect("our child").code(), Some(0));
}
