//! The configuration, read again by a gateway that runs: by an operator, by SIGHUP, good and bad.

use nix::sys::signal::Signal;
use switchboard_actors::testkit::fake_openai::Reply;
use switchboard_actors::testkit::fake_telegram::FakeTelegram;

use crate::gateway::{DOWN, Home, Printed, until};

const EVERYBODY: &str = "[access]\nallow = [\"*\"]\n";

/// The lines that a reload printed.
#[track_caller]
fn reload(home: &Home) -> Vec<String> {
    home.done(&["reload"]).lines().map(str::to_owned).collect()
}

/// How often this bot was asked who it is: once for every connection.
fn connections(telegram: &FakeTelegram) -> usize {
    telegram.calls("getMe").len()
}

#[track_caller]
fn is_refused(printed: &Printed, code: i32, parts: &[&str]) {
    assert!(printed.code == Some(code) && parts.iter().all(|part| printed.err.contains(part)), "{code} {parts:?}: {printed:?}");
}

#[test]
fn g29_a_bad_file_names_every_fault_and_takes_nothing_down() {
    let home = Home::with_demo(EVERYBODY);
    let good = std::fs::read_to_string(home.config()).expect("readable");
    let gateway = home.start();
    let instance = home.status().expect("it runs")["instance"].clone();
    let file = home.config().display().to_string();

    home.rewrite(&[("agent = \"default\"", "agent = \"nobody\""), ("[access]", "[shutdown]\ngrace = \"soon\"\n[access]")]);
    let agent = format!("{file}: adapters.family.agent: there is no agent \"nobody\". Known here: default.");
    let grace = format!("{file}: shutdown.grace: cannot be \"soon\"");
    is_refused(&home.run(&["reload"]), 78, &["nothing was changed", &agent, &grace]);
    gateway.wait_for("reload failed: the configuration is bad, and nothing changed faults=2");
    gateway.signal(Signal::SIGHUP);
    gateway.wait_for_times("reload failed: ", 2);
    assert_eq!(gateway.logged("ERROR"), 2 * 3, "each fault once, each time, and what they come to");
    assert_eq!(gateway.logged("adapters.family.agent: there is no agent"), 2);

    std::fs::write(home.config(), "this is [not TOML").expect("writable");
    let socket = home.path().join("state/control.sock").display().to_string();
    is_refused(&home.run(&["reload", "--socket", &socket]), 78, &["nothing was changed", &file, "line 1 is not TOML"]);
    // Where not even the file can say where the gateway is, the file is what is bad.
    is_refused(&home.run(&["reload"]), 78, &[&file, "line 1 is not TOML"]);
    std::fs::remove_file(home.config()).expect("there");
    is_refused(&home.run(&["reload", "--socket", &socket]), 78, &[&file, "there is no such file"]);

    assert_eq!(home.get("/readyz").expect("it listens").0, 200);
    home.telegram.push_text(1, 1, "hello");
    home.told(1, "You said: hello");
    assert_eq!((connections(&home.telegram), gateway.logged("ready instance=")), (1, 1));
    std::fs::write(home.config(), good).expect("writable");
    assert_eq!(reload(&home), ["nothing has changed"]);
    assert_eq!(home.status().expect("it runs")["instance"], instance);
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked());
}

#[test]
fn g03_a_token_that_changed_reconnects_its_adapter_and_no_other_while_turns_run_on() {
    let other = FakeTelegram::start_as(4712);
    let kin = format!("[adapters.kin]\nkind = \"telegram\"\nagent = \"default\"\napi_root = \"{}\"\n", other.api_root());
    let home = Home::with_model(&format!("{EVERYBODY}{kin}token = \"{}\"\n", other.token()));
    let gateway = home.start();
    home.telegram.push_text(1, 1, "first");
    home.told(1, "You said: first");
    other.wait_for("a poll", crate::gateway::BOUND, |state| (state.polling() > 0).then_some(()));
    home.model.reply_next(Reply::Held);
    home.telegram.push_text(1, 1, "a long task");
    home.asked("a long task", 1);

    // The file's words are the same; what they name is not.
    let token = home.telegram.renew_token();
    std::fs::write(home.path().join("telegram"), &token).expect("writable");
    assert_eq!(reload(&home), ["adapters.family: connects anew (token)"]);
    until("another connection", || (connections(&home.telegram) == 2).then_some(()));
    home.telegram.push_text(2, 2, "with the new token");
    home.told(2, "You said: with the new token");
    assert_eq!(connections(&home.telegram), 2);
    assert_eq!((connections(&other), other.sent().len()), (1, 0), "nobody else noticed");

    assert_eq!(home.status().expect("it runs")["turns_running"], 1);
    home.model.let_go();
    home.told(1, "You said: a long task");
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(home.count(1, "You said: first"), 1);
    assert!(!home.everything().contains(&token));
}

#[test]
fn a_task_that_runs_through_a_reload_is_answered_and_the_next_has_the_new_agent() {
    let home = Home::with_model(EVERYBODY);
    // Without the variable that sets the level in other tests, and would win here.
    let gateway = home.begin(&["run"]);
    gateway.wait_for("ready instance=");
    home.model.reply_next(Reply::Held);
    home.telegram.push_text(1, 1, "through it all");
    home.asked("through it all", 1);
    home.rewrite(&[
        ("model = \"m\"", "model = \"another\""),
        ("[access]", "[texts]\nunknown = \"What?\"\n[log]\nlevel = \"debug\"\n[access]"),
    ]);
    let told = ["log.level: taken over", "texts.unknown: taken over", "agents.default: changed; the next tasks are for it as it is now"];
    assert_eq!(reload(&home), told);
    assert_eq!(home.status().expect("it runs")["turns_running"], 1);
    home.model.let_go();
    home.told(1, "You said: through it all");
    assert_eq!(gateway.logged("turn started"), 0);
    home.telegram.push_text(1, 1, "and then");
    gateway.wait_for("turn started");
    home.told(1, "You said: and then");
    let models = home.model.wait_for("two questions", crate::gateway::BOUND, |model| {
        (model.requests.len() >= 2).then(|| model.requests.iter().map(|request| request.body["model"].clone()).collect::<Vec<_>>())
    });
    assert_eq!(models, ["m", "another"]);
    home.telegram.push_text(1, 1, "/nonsense");
    home.told(1, "What?");
    assert_eq!(connections(&home.telegram), 1);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn g23_access_and_adapters_change_at_once_by_signal_and_what_needs_a_restart_is_named() {
    let home = Home::with_demo("[access]\nallow = [\"family:1\"]\npairing = false\n");
    let gateway = home.start();
    home.telegram.push_text(2, 2, "let me in");
    until("a stranger", || (gateway.logged("stranger turned away") == 1).then_some(()));
    let listen = format!("127.0.0.1:{}", home.another_port());
    home.rewrite(&[("allow = [\"family:1\"]", "allow = [\"family:2\"]"), (&format!("127.0.0.1:{}", home.port()), &listen)]);
    gateway.signal(Signal::SIGHUP);
    gateway.wait_for("configuration read again changes=4 restart=1");
    gateway.wait_for("adapters.family: taken over (access)");
    gateway.wait_for("http.listen: needs a restart");
    home.telegram.push_text(1, 1, "me too?");
    home.telegram.push_text(2, 2, "hello");
    home.told(2, "You said: hello");
    until("another stranger", || (gateway.logged("stranger turned away") == 2).then_some(()));
    assert_eq!(home.telegram.texts_in(1), Vec::<String>::new());
    assert_eq!(home.get("/readyz").expect("where it was").0, 200);

    // Taken out, with what is owed there; and back.
    home.telegram.push_text(2, 2, "work for 2s");
    until("a task that runs", || home.status().filter(|status| status["turns_running"] == 1));
    home.rewrite(&[("kind = \"telegram\"\n", "kind = \"telegram\"\nenabled = false\n")]);
    let printed = reload(&home);
    assert!(printed[0].starts_with("adapters.family: removed; "), "{printed:?}");
    assert_eq!(printed[1..], ["http.listen: needs a restart"]);
    assert_eq!(home.status().expect("it runs")["adapters"].as_array().map(Vec::len), Some(1));
    home.telegram.push_text(2, 2, "is anybody there?");
    until("the end of the task", || home.status().filter(|status| status["turns_running"] == 0));
    assert!(home.done(&["outbox", "list"]).contains("family"));
    home.rewrite(&[("enabled = false\n", "")]);
    assert_eq!(reload(&home), ["adapters.family: added", "http.listen: needs a restart"]);
    home.told(2, "You said: is anybody there?");
    assert_eq!(home.count(2, "🔁"), 0, "nothing was on its way when it was taken out");
    assert_eq!(gateway.stop(), Some(0));
    assert!(home.is_marked());
}

#[test]
fn a_gateway_that_goes_down_does_not_reload_and_one_that_is_away_cannot() {
    let home = Home::with_model(&format!("{EVERYBODY}[shutdown]\ngrace = \"10m\"\n"));
    is_refused(&home.run(&["reload"]), 69, &["no gateway is running"]);
    home.model.reply_always(Reply::Never);
    let gateway = home.start();
    home.telegram.push_text(1, 1, "endless");
    home.asked("endless", 1);
    gateway.signal(Signal::SIGTERM);
    gateway.wait_until_doing("drain");
    home.rewrite(&[("model = \"m\"", "model = \"another\"")]);
    is_refused(&home.run(&["reload"]), 1, &["the gateway is going down"]);
    gateway.signal(Signal::SIGHUP);
    gateway.wait_for("ignored: the gateway is going down");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.ended(), Some(0));
    assert_eq!(home.count(1, DOWN), 1);
}

#[test]
fn g29_an_edit_right_after_a_reload_is_read_too() {
    let home = Home::with_demo(EVERYBODY);
    let gateway = home.start();
    for (edit, from, to) in [(1, "[access]", "[texts]\nunknown = \"What?\"\n[access]"), (2, "What?", "Pardon?")] {
        home.rewrite(&[(from, to)]);
        gateway.signal(Signal::SIGHUP);
        gateway.wait_for_times("texts.unknown: taken over", edit);
    }
    home.telegram.push_text(1, 1, "/nonsense");
    home.told(1, "Pardon?");
}
