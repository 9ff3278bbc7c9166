//! The real binary: what it prints and how it ends.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `switchboard` with nothing of our own environment.
fn switchboard(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.env_clear().env("HOME", home).envs(variables.iter().copied()).args(arguments).output().expect("the binary runs")
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[track_caller]
fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let fits = output.status.code() == Some(code) && out.contains(stdout) && err.contains(stderr);
    assert!(fits, "expected {code}, {stdout:?}, {stderr:?}; got {:?}\n{out}\n{err}", output.status);
}

#[test]
fn help_and_usage() {
    let home = home();
    check(&switchboard(home.path(), &["--help"], &[]), 0, "Exit codes: 0 done", "");
    check(&switchboard(home.path(), &["dance"], &[]), 2, "", "dance");
    check(&switchboard(home.path(), &["pair", "revoke", "me"], &[]), 2, "", "adapter:user");
    check(&switchboard(home.path(), &["stop", "--grace", "soon"], &[]), 2, "", "soon");
}

#[test]
fn g29_a_bad_configuration_exits_78_and_names_everything() {
    let home = home();
    let file = home.path().join("bad.toml");
    std::fs::write(&file, "[session]\nbacklog = 0\n[shutdown]\ngrce = \"1s\"").expect("writable");
    let path = file.to_str().expect("UTF-8");
    for command in [&["run"][..], &["check"], &["config", "show"], &[]] {
        let output = switchboard(home.path(), &[&["--config", path], command].concat(), &[]);
        check(&output, 78, "", "2 faults");
        check(&output, 78, "", "session.backlog: is zero");
        check(&output, 78, "", "Did you mean \"grace\"");
    }
}

#[test]
fn a_good_configuration_is_shown_with_origins_and_without_secrets() {
    let home = home();
    let variables = [("SWITCHBOARD__SESSION__BACKLOG", "7"), ("SWITCHBOARD__ADAPTERS__A__TOKEN", "hidden-secret")];
    let more = [("SWITCHBOARD__ADAPTERS__A__KIND", "telegram"), ("SWITCHBOARD__ADAPTERS__A__AGENT", "default")];
    let output = switchboard(home.path(), &["config", "show"], &[variables, more].concat());
    check(&output, 0, "# environment variable SWITCHBOARD__SESSION__BACKLOG", "");
    check(&output, 0, "token = \"[secret]\"", "");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hidden-secret"));
    check(&switchboard(home.path(), &["check"], &[]), 0, "the configuration is good (no file, only defaults)", "");
}

#[test]
fn only_a_gateway_that_runs_makes_an_address_of_its_page() {
    let home = home();
    let output = switchboard(home.path(), &["url"], &[]);
    check(&output, 69, "", "no gateway is running");
    check(&output, 69, "", "switchboard run`");
    check(&switchboard(home.path(), &["token", "rotate"], &[]), 1, "", "there is nothing to make anew");
}

#[test]
fn commands_without_a_gateway_exit_69() {
    let home = home();
    for command in
        [&["status"][..], &["stop"], &["restart"], &["drain"], &["resume"], &["turns", "list"], &["outbox", "drop", "3"], &["pair", "list"]]
    {
        let socket = home.path().join("none.sock");
        let output = switchboard(home.path(), &[&["--socket", socket.to_str().expect("UTF-8")], command].concat(), &[]);
        check(&output, 69, "", "no gateway is running");
        check(&output, 69, "", "none.sock");
    }
}

#[test]
fn a_broken_file_does_not_keep_anybody_from_stopping_the_gateway() {
    let home = home();
    let file = home.path().join("bad.toml");
    std::fs::write(&file, "[session").expect("writable");
    let output = switchboard(home.path(), &["--config", file.to_str().expect("UTF-8"), "stop"], &[]);
    check(&output, 69, "", ".local/state/switchboard/control.sock");
}
