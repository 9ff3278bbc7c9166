//! `switchboard update` with real versions: proved, kept, undone, and cut anywhere.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switchboard::release::Release;
use switchboard_actors::ledger::sqlite::SqliteLedger;

use crate::browser::client;
use crate::gateway::{BACK, RESTARTING, SAVED, until};
use crate::installed::{BUILT, Installed, LIMITS, cut, cut_at, start, start_with};
use crate::releases::Next;
use crate::tracer::Tracer;

#[test]
fn g26_an_update_is_fetched_and_proved_and_can_be_gone_back_on() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("good", "additive"));
    let look = installed.update(&["--check"]);
    assert_eq!((look.code, look.out.as_str()), (Some(0), "version 0.2.0 is there; 0.1.0 is current\n"), "{look:?}");
    let (_, first) = installed.serving().expect("it runs");
    let printed = installed.update(&[]);
    assert_eq!((printed.code, printed.out.as_str()), (Some(0), "updated from 0.1.0 to 0.2.0: it is ready and stayed so\n"), "{printed:?}");
    assert_ne!(installed.serving().expect("it runs").1, first);
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
    let again = installed.update(&[]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "version 0.2.0 is current, and the newest\n"), "{again:?}");
    // The ledger has the newer schema, and the old version can read it.
    let back = installed.update(&["--to", BUILT]);
    assert_eq!((back.code, back.out.as_str()), (Some(0), "updated from 0.2.0 to 0.1.0: it is ready and stayed so\n"), "{back:?}");
    installed.serves(BUILT, &mut said);
    installed.is_tidy();
}

#[test]
fn g26_a_version_that_is_not_proved_is_undone() {
    for (nature, change, reason) in [
        ("crashes at start", "additive", "no new instance came within 10s"),
        ("crashes at start", "breaking", "no new instance came within 10s"),
        ("dies soon", "additive", ""),
        ("dies soon", "breaking", ""),
        ("dies serving", "additive", ""),
    ] {
        let installed = Installed::new();
        let _gateway = start(&installed);
        let mut said = 0;
        installed.serves(BUILT, &mut said);
        installed.releases.publish(Next::new(nature, change));
        let printed = installed.update(&[]);
        let told = printed.err.contains("0.2.0 was not proved: ") && printed.err.contains(reason);
        assert!(printed.code == Some(1) && told && printed.err.contains("version 0.1.0 is back"), "{nature} {change}: {printed:?}");
        installed.serves(BUILT, &mut said);
        installed.is_tidy();
        assert_eq!(installed.processes().len(), 1, "{nature} {change}: one that hangs is left behind");
    }
}

/// We end no process: its manager started it.
#[test]
fn g26_a_version_that_hangs_before_it_answers_is_its_managers_to_end() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("never ready", "none"));
    let printed = installed.printed(&["update", "--dwell", "1s", "--start-limit", "3s"]);
    let told =
        printed.err.contains("version 0.1.0 should run and is not proved: ") && printed.err.contains("no new instance came within 3s");
    assert!(printed.code == Some(1) && told, "{printed:?}");
    assert_eq!((installed.layout.current().as_deref(), installed.processes().len()), (Some(BUILT), 1));
    installed.end_all();
    let printed = installed.update(&[]);
    assert!(printed.code == Some(1) && printed.err.contains("version 0.1.0 is back"), "{printed:?}");
    installed.serves(BUILT, &mut said);
    installed.is_tidy();
}

/// The commands that are told under a heading.
fn told_to_type(text: &str, heading: &str) -> Vec<String> {
    let line = text.lines().skip_while(|line| *line != heading).nth(1).unwrap_or_else(|| panic!("{heading:?} in {text}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn g26_whoever_updates_a_gateway_without_a_manager_is_told_what_to_type() {
    let installed = Installed::new();
    installed.home.rewrite(&[("mode = \"exit\"", "mode = \"auto\"")]);
    let _gateway = installed.home.start();
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    let (_, first) = installed.serving().expect("it runs");
    installed.releases.publish(Next::new("good", "additive"));
    let printed = installed.update(&[]);
    let told = printed.out.starts_with("0.2.0 is in place; what runs is what ran before, and no service manager is known");
    assert!(printed.code == Some(0) && told, "{printed:?}");
    assert_eq!(installed.serving(), Some((BUILT.to_owned(), first)), "nobody restarted it");
    installed.is_tidy();
    // What is told does what is said, as it stands there.
    let typed = |heading: &str, more: &[&str]| {
        let words = told_to_type(&printed.out, heading);
        let mut command = std::process::Command::new(&words[0]);
        let output = command.args(&words[1..]).args(more).env_clear().env("HOME", installed.home.path()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
        said
    };
    typed("to restart it:", &["--dwell", "500ms"]);
    installed.serves("0.2.0", &mut said);
    assert!(typed("to see which version runs, and how it is:", &[]).contains("0.2.0"));
    assert!(typed("to go back to 0.1.0:", &[]).starts_with("0.1.0 is in place; what runs is what ran before"));
    // A word before it is restarted: nothing but the link has to change.
    let forward = installed.update(&["--to", "0.2.0"]);
    assert!(forward.code == Some(0) && forward.out.starts_with("0.2.0 is in place"), "{forward:?}");
    typed("to go back to 0.1.0:", &[]);
    typed("to restart it:", &["--dwell", "500ms"]);
    installed.serves(BUILT, &mut said);
    installed.is_tidy();
}

#[test]
fn g26_an_update_whose_gateway_only_an_older_version_would_start_is_refused_in_words() {
    let installed = Installed::new();
    // As 0.1.0 wrote it down before its second proof.
    let state = installed.home.state().path().display().to_string();
    let journal = format!(
        r#"{{"update":{{"plan":{{"from":"0.1.0","to":"0.2.0","change":"readable","before":"well"}},"stage":{{"next":"prove","failed":1}}}},
        "subject":{{"unit":null,"config":null,"arguments":["run"],"directory":"/","owner":[0,0],"state_dir":"{state}",
        "sockets":["{state}/control.sock"],"foreign":false,"process":null}},
        "limits":{{"leave":{{"secs":0,"nanos":0}},"start":{{"secs":60,"nanos":0}},"dwell":{{"secs":5,"nanos":0}}}}}}"#
    );
    std::fs::write(installed.layout.root().join("update.json"), &journal).expect("writable");
    let printed = installed.update(&[]);
    let who = format!("`{} update`", installed.layout.program(BUILT).display());
    let told = printed.err.contains("an update from 0.1.0 to 0.2.0 was cut. It was begun by a version that starts such a gateway itself");
    assert!(printed.code == Some(77) && told && printed.err.contains(&who), "{printed:?}");
    assert_eq!(std::fs::read_to_string(installed.layout.root().join("update.json")).expect("there"), journal);
}

#[test]
fn an_update_reads_a_configuration_that_is_named_relatively() {
    let installed = Installed::new();
    start(&installed).kill();
    installed.releases.publish(Next::new("good", "additive"));
    let mut update = std::process::Command::new(installed.layout.program(BUILT));
    update.args(["--config", "config.toml", "update"]).current_dir(installed.home.path()).env_clear().env("HOME", "/nowhere");
    let output = update.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let config = format!("--config {} run\n", installed.home.config().display());
    assert!(String::from_utf8_lossy(&output.stdout).contains(&config), "{output:?}");
}

#[test]
fn g26_a_version_that_crashes_once_gets_a_second_chance() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("crashes once", "none"));
    let printed = installed.update(&[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    installed.serves("0.2.0", &mut said);
}

#[test]
fn g26_a_version_that_alone_can_read_the_ledger_is_proved_on_a_copy_and_hears_nobody() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("good", "breaking"));
    let mut update =
        installed.update_command(&["update", "--dwell", "3s"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("is ready; watched for 3s")));
    let status = installed.home.status().expect("it answers");
    assert_eq!((&status["version"], &status["doing"], &status["adapters"]), (&"0.2.0".into(), &"on trial".into(), &serde_json::json!([])));
    let changes: [&[&str]; 7] = [
        &["drain"],
        &["resume"],
        &["turns", "retry", "1"],
        &["turns", "drop", "1"],
        &["outbox", "retry", "1"],
        &["pair", "revoke", "family:1"],
        &["ledger", "drop", "family"],
    ];
    for words in changes {
        let printed = installed.home.run(words);
        assert!(printed.code == Some(1) && printed.err.contains("on trial"), "what it would change is lost with it: {words:?} {printed:?}");
    }
    assert_eq!(installed.home.get("/api/messages").map(|(status, _)| status), Some(503));
    let write = client().post(format!("{}/api/messages", installed.home.root())).bearer_auth(installed.home.token()).body("{}");
    assert_eq!(installed.home.sent(write), 503, "whoever writes on the page keeps it, and sends it again");
    // Said while nobody hears: it waits at the platform, also a word to the gateway itself.
    installed.home.telegram.push_text(2, 2, "in between");
    installed.home.telegram.push_text(3, 3, "/retry");
    let polls = installed.home.telegram.calls("getUpdates").len();
    assert!(lines.any(|line| line.contains("keeping it")));
    let (sent, asked) = (installed.home.telegram.texts_in(2), installed.home.telegram.texts_in(3));
    assert_eq!((sent, asked, installed.home.telegram.calls("getUpdates").len()), (vec![], vec![], polls), "nobody hears, nobody speaks");
    lines.for_each(drop);
    assert_eq!(update.wait().expect("our child").code(), Some(0));
    assert_eq!(installed.home.status().expect("it runs")["last_end"], "clean", "a trial that was kept is no crash");
    installed.home.told(2, "You said: in between");
    installed.home.told(3, "There is nothing to");
    assert_eq!(installed.home.count(2, "You said"), 1);
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
    // There is no way back: the old version says so, and nothing is touched.
    let back = installed.update(&["--to", BUILT]);
    assert!(
        back.code == Some(1) && back.err.contains("needs a reader of at least schema") && back.err.contains("nothing was changed"),
        "{back:?}"
    );
    installed.serves("0.2.0", &mut said);
}

#[test]
fn g26_what_was_cut_or_waits_at_a_trial_is_served_after_it() {
    let installed = Installed::new();
    installed.home.rewrite(&[("[update]", "[shutdown]\ngrace = \"5s\"\n[recovery]\npolicy = \"resume\"\n[update]")]);
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.home.telegram.push_text(2, 2, "work for 8s");
    until("a task that runs", || installed.home.status().filter(|status| status["turns_running"] == 1));
    installed.releases.publish(Next::new("good", "breaking"));
    let mut update =
        installed.update_command(&["update", "--dwell", "2s"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    installed.home.told(2, RESTARTING);
    installed.home.telegram.push_text(3, 3, "waiting");
    installed.home.told(3, SAVED);
    assert_eq!(update.wait().expect("our child").code(), Some(0));
    installed.serves("0.2.0", &mut said);
    installed.home.told(3, "You said: waiting");
    until("the task's second run", || installed.home.telegram.texts_in(2).iter().any(|text| text.contains("Done, after 8s")).then_some(()));
    assert_eq!((installed.home.count(2, BACK), installed.home.count(3, "You said")), (1, 1));
}

#[test]
fn g26_a_bad_version_leaves_the_ledger_as_it_was_or_with_all_that_was_said() {
    let schema = Release::THIS.schema();
    // One that alone could read the ledger never had it.
    let installed = Installed::new();
    let gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("dies soon", "breaking"));
    assert_eq!(installed.update(&[]).code, Some(1));
    let ledger = installed.home.state().ledger();
    assert_eq!(SqliteLedger::readers(&ledger).expect("it is one"), schema);
    assert_eq!(SqliteLedger::readers(&ledger.with_file_name("ledger.sqlite3.update-0.2.0")).expect("it is one"), schema);
    installed.serves(BUILT, &mut said);
    // One that makes more of it, and hears and answers before it dies: only the program goes back.
    installed.releases.publish(Next::new("dies later", "additive"));
    let mut update =
        installed.update_command(&["update", "--dwell", "10s"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("is ready; watched")));
    assert_eq!(installed.home.status().expect("it runs")["version"], "0.2.0");
    installed.home.telegram.push_text(2, 2, "to the new one");
    installed.home.told(2, "You said: to the new one");
    lines.for_each(drop);
    assert_eq!(update.wait().expect("our child").code(), Some(1));
    assert_eq!(SqliteLedger::readers(&ledger).expect("it is one"), (schema.0 + 1, schema.1), "what was said stays where it was written");
    installed.serves(BUILT, &mut said);
    assert_eq!(installed.home.count(2, "You said"), 1);
    drop(gateway);
}

#[test]
fn g26_whoever_goes_on_does_it_as_it_was_begun() {
    let installed = Installed::new();
    let file = format!("{{ file = \"{}/telegram\" }}", installed.home.path().display());
    installed.home.rewrite(&[(&file, "{ env = \"WORD\" }")]);
    let _gateway = start_with(&installed, &[("WORD", installed.home.telegram.token())]);
    installed.releases.publish(Next::new("good", "none"));
    let mut update = installed.update_command(&["update", "--dwell", "1s", "--start-limit", "10s"]);
    cut_at(update.env("WORD", installed.home.telegram.token()), "switching to 0.2.0");
    installed.end_all();
    // Without the word, and with other wishes.
    let words = ["update", "--to", "0.3.0", "--dwell", "5s"];
    let printed = installed.printed(&words);
    let told = printed.err.contains("an update from 0.1.0 to 0.2.0 was cut; going on with it: it is about the gateway of ")
        && printed.err.contains("updated from 0.1.0 to 0.2.0")
        && printed.err.contains("watched for 1s")
        && printed.err.contains("it was begun without --to 0.3.0 --dwell 5s, and goes on so")
        && printed.err.contains("run this again for version 0.3.0");
    assert!(printed.code == Some(1) && told, "{printed:?}");
    assert_eq!(installed.layout.current().as_deref(), Some("0.2.0"));
    installed.home.telegram.push_text(1, 1, "hello");
    installed.home.told(1, "You said: hello");
    installed.is_tidy();
}

#[test]
fn g26_once_something_was_accepted_there_is_only_forward() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("dies serving", "breaking"));
    let printed = installed.update(&[]);
    let told = printed.err.contains("version 0.2.0 should run and is not proved") && printed.err.contains("to start it by hand");
    assert!(printed.code == Some(1) && told, "{printed:?}");
    assert_eq!(installed.layout.current().as_deref(), Some("0.2.0"));
    let look = installed.update(&["--check"]);
    assert!(look.code == Some(1) && look.err.contains("was cut"), "{look:?}");
    let again = installed.update(&[]);
    assert!(
        again.code == Some(1) && again.err.contains("there is none: version 0.2.0 is current") && again.err.contains("going on"),
        "{again:?}"
    );
}

#[test]
fn g26_a_version_that_mends_one_which_dies_serving_is_taken() {
    for words in [&[][..], &["--to", "0.2.1"]] {
        let installed = Installed::new();
        let _gateway = start(&installed);
        let mut said = 0;
        installed.serves(BUILT, &mut said);
        installed.releases.publish(Next::new("dies serving", "breaking"));
        assert_eq!(installed.update(&[]).code, Some(1));
        installed.releases.publish(Next { version: "0.2.1", ..Next::new("good", "breaking") });
        let printed = installed.update(words);
        let told = printed.err.contains("looking for a version that mends that") && printed.out.contains("updated from 0.2.0 to 0.2.1");
        assert!(printed.code == Some(0) && told, "{words:?}: {printed:?}");
        installed.serves("0.2.1", &mut said);
        installed.is_tidy();
    }
}

#[test]
fn g26_an_updater_that_is_killed_is_finished_or_undone_by_the_next_run() {
    let forward =
        ["fetching", "checks the configuration", "copying the ledger", "switching to 0.2.0", "proving 0.2.0", "is ready; watched"];
    let trial = ["proved on a copy", "switching to 0.2.0", "proving 0.2.0", "is ready; watched", "keeping it"];
    let undone = ["is not proved", "proving 0.2.0, once more", "switching to 0.1.0", "proving 0.1.0"];
    let stories =
        [("good", "none", &forward[..], "0.2.0"), ("good", "breaking", &trial, "0.2.0"), ("dies soon", "breaking", &undone, BUILT)];
    for (nature, change, steps, expected) in stories {
        for step in steps {
            let installed = Installed::new();
            let _gateway = start(&installed);
            let mut said = 0;
            installed.serves(BUILT, &mut said);
            installed.releases.publish(Next::new(nature, change));
            cut(&installed, step);
            // At every moment there is a version that can be started.
            assert!(installed.layout.current().is_some());
            let printed = installed.update_by_current();
            let ended = if expected == BUILT { Some(1) } else { Some(0) };
            assert_eq!(printed.code, ended, "{nature} {change}, cut at {step:?}: {printed:?}");
            installed.serves(expected, &mut said);
            installed.is_tidy();
        }
    }
}

#[test]
fn g26_an_updater_that_is_killed_at_any_new_name_is_undone_by_the_next_run() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("dies soon", "breaking"));
    // Whatever it writes counts from the moment when it gets its name.
    for number in 1.. {
        let command = installed.update_command(&[&["update"], &LIMITS[..]].concat());
        let fate = format!("signal=KILL:when={number}");
        let Some(mut update) = Tracer::around(&command, "?rename,?renameat,?renameat2", &fate, &[]) else { return };
        let survived = update.output().expect("it runs").status.code();
        if survived.is_some() {
            assert!(survived == Some(1) && number > 10, "{survived:?} at {number}");
            break;
        }
        let printed = installed.update_by_current();
        assert!(printed.code == Some(1) && printed.err.contains("version 0.1.0 is back"), "{number}: {printed:?}");
        installed.serves(BUILT, &mut said);
        installed.is_tidy();
    }
}

#[test]
fn g26_a_check_that_was_cut_leaves_no_copy_of_what_people_said() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("good", "none"));
    let check = installed.home.state().path().join("ledger.check.sqlite3");
    // As the copy gets its name: it is all there.
    let words = [&["update"], &LIMITS[..]].concat();
    let fate = "signal=KILL:when=1";
    let Some(mut update) = Tracer::around(&installed.update_command(&words), "unlink", fate, &[&check]) else { return };
    update.output().expect("it runs");
    assert!(check.exists(), "it was cut when it was to go");
    // Also where there is nothing to update to.
    assert_eq!(installed.update(&["--to", BUILT]).out, "version 0.1.0 is current already\n");
    installed.is_tidy();
    installed.serves(BUILT, &mut said);
}

#[test]
fn g26_a_trial_that_nobody_ends_ends_itself() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    installed.releases.publish(Next::new("good", "breaking"));
    let mut update = installed.update_command(&["update", "--dwell", "2s", "--start-limit", "3s"]);
    let mut update = update.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("is ready; watched")));
    update.kill().expect("our child");
    update.wait().expect("our child");
    installed.serves("0.2.0", &mut said);
    let printed = installed.update(&[]);
    assert!(printed.code == Some(0) && printed.err.contains("an update from 0.1.0 to 0.2.0 was cut; going on with it"), "{printed:?}");
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
}

#[test]
fn g26_a_trial_that_cannot_be_armed_on_a_full_disk_leaves_everything_as_it_was() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    let (_, first) = installed.serving().expect("it runs");
    installed.releases.publish(Next::new("good", "breaking"));
    let words = [&["update"], &LIMITS[..]].concat();
    let half = installed.home.state().path().join("trial.new");
    let full = Tracer::around(&installed.update_command(&words), "openat,write", "error=ENOSPC", &[&half]);
    let Some(mut update) = full else { return };
    let output = update.output().expect("it runs");
    let said_so = String::from_utf8(output.stderr).expect("UTF-8");
    let told = said_so.contains("No space left on device") && said_so.contains("version 0.1.0 is still the current one");
    assert!(output.status.code() == Some(1) && told && !said_so.contains("0.2.0 should run"), "{said_so}");
    assert_eq!(installed.serving().expect("it runs").1, first, "nobody restarted it");
    installed.serves(BUILT, &mut said);
    installed.is_tidy();
    // There is room again.
    let printed = installed.update(&[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
}

#[test]
fn g26_a_gateway_that_does_not_answer_is_not_taken_for_none() {
    let installed = Installed::new();
    start(&installed).kill();
    installed.releases.publish(Next::new("good", "additive"));
    let refused = |expected: &str| {
        let printed = installed.update(&[]);
        assert!(printed.code == Some(1) && printed.err.contains(expected) && printed.err.contains("nothing was changed"), "{printed:?}");
        assert_eq!(installed.layout.current().as_deref(), Some(BUILT), "{expected}");
        assert!(!installed.layout.root().join("update.json").exists());
    };
    // It has taken its lock, and listens nowhere yet. Not ours: whom we start would be the gateway's own family.
    let lock = installed.home.state().lock();
    let mut holder = Command::new("flock").arg("--no-fork").arg(&lock).args(["sleep", "600"]).spawn().expect("it is everywhere");
    let is_held = || !Command::new("flock").arg("--nonblock").arg(&lock).arg("true").status().expect("as above").success();
    until("a lock that is held", || is_held().then_some(()));
    refused("another gateway (pid ");
    holder.kill().and_then(|()| holder.wait()).expect("ours");
    let printed = installed.update(&[]);
    assert!(printed.code == Some(0) && printed.out.starts_with("0.2.0 is in place"), "{printed:?}");
}

#[test]
fn g26_a_gateway_that_is_not_the_current_version_is_restarted_first() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    // The very version that runs is put there anew: it is still the one.
    installed.layout.put(BUILT, &installed.home.path().join("built")).expect("writable");
    installed.releases.publish(Next::new("good", "additive"));
    assert_eq!(installed.update(&["--to", BUILT]).out, "version 0.1.0 is current already\n");
    let newer = installed.home.path().join("newer");
    std::fs::write(&newer, Next::new("good", "additive").program()).expect("writable");
    installed.layout.put("0.2.0", &newer).expect("writable");
    installed.layout.switch("0.2.0").expect("it is there");
    installed.releases.publish(Next { version: "0.3.0", ..Next::new("crashes at start", "additive") });
    let printed = installed.update(&[]);
    assert!(
        printed.code == Some(77) && printed.err.contains("version 0.1.0, and 0.2.0 is current") && printed.err.contains("restart"),
        "{printed:?}"
    );
    assert!(!installed.layout.program("0.3.0").exists(), "nothing is fetched for it");
    installed.home.done(&["restart", "--dwell", "500ms"]);
    installed.serves("0.2.0", &mut said);
    let printed = installed.update(&[]);
    assert!(printed.code == Some(1) && printed.err.contains("version 0.2.0 is back"), "{printed:?}");
    installed.serves("0.2.0", &mut said);
}

#[test]
fn g26_what_an_old_trial_left_keeps_no_version_from_serving() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    let left = installed.home.state().path().join("trial.undone");
    std::fs::write(&left, r#"{"version":"0.2.0","keep_after_millis":1000}"#).expect("writable");
    installed.releases.publish(Next::new("good", "additive"));
    let printed = installed.update(&[]);
    assert!(printed.code == Some(0) && !printed.err.contains("once more"), "{printed:?}");
    installed.serves("0.2.0", &mut said);
    installed.is_tidy();
}

#[test]
fn g26_a_disk_that_fills_up_behind_the_switch_leaves_no_bad_version_current() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    for change in ["breaking", "additive"] {
        installed.releases.publish(Next::new("dies soon", change));
        // The third or fourth time something is written down, the new version is current.
        let (words, steps) = ([&["update"], &LIMITS[..]].concat(), if change == "additive" { 3 } else { 4 });
        let journal = installed.layout.root().join("update.json.new");
        let full = Tracer::around(&installed.update_command(&words), "openat", &format!("error=ENOSPC:when={steps}+"), &[&journal]);
        let Some(mut update) = full else { return };
        let output = update.output().expect("it runs");
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        let went_on = told.contains("No space left on device (os error 28). Make room there, or mend the disk; going on without");
        assert!(output.status.code() == Some(1) && went_on && told.contains("version 0.1.0 is back"), "{change}: {told}");
        let before = told.split("switching to 0.2.0").next().expect("words");
        assert!(!before.contains("warning"), "{change}: it was the journal behind the switch: {told}");
        installed.serves(BUILT, &mut said);
        installed.is_tidy();
    }
}

#[test]
fn g26_an_updater_whose_terminal_is_gone_ends_what_it_began() {
    let installed = Installed::new();
    let _gateway = start(&installed);
    let mut said = 0;
    installed.serves(BUILT, &mut said);
    for (version, nature, code, expected) in [("0.2.0", "good", 0, "0.2.0"), ("0.3.0", "dies soon", 1, "0.2.0")] {
        installed.releases.publish(Next { version, ..Next::new(nature, "breaking") });
        let mut update = installed.update_command(&[&["update"], &LIMITS[..]].concat());
        let mut update = update.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut lines = BufReader::new(update.stderr.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("switching to")));
        drop(lines);
        kill(Pid::from_raw(i32::try_from(update.id()).expect("a pid")), Signal::SIGHUP).expect("our child");
        assert_eq!(update.wait().expect("our child").code(), Some(code), "{version}");
        installed.serves(expected, &mut said);
        installed.is_tidy();
    }
}

#[test]
fn whoever_installs_what_cannot_be_gone_back_from_is_told_so() {
    let installed = Installed::new();
    start(&installed).kill();
    installed.releases.publish(Next::new("good", "breaking"));
    let printed = installed.update(&[]);
    let kept = installed.home.state().path().join("ledger.sqlite3.update-0.2.0");
    let told = printed.out.contains("its first start makes a ledger that 0.1.0 cannot read")
        && printed.out.contains(kept.to_str().expect("UTF-8"));
    assert!(printed.code == Some(0) && told && kept.exists(), "{printed:?}");
}
