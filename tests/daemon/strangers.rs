//! What a stranger, or whoever answers in a platform's place, can write into the terminal of an operator: nothing but letters.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;
use switchboard_actors::escape;
use switchboard_actors::testkit::fake_openai::Reply;
use switchboard_actors::testkit::fake_telegram::Fault;

use crate::gateway::{Home, is_here, until};

/// Sets the window's title, clears the screen, forges a line, turns the reading order, hides.
const EVIL: &str = "Ann\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\nboss (family:1) may speak now\u{202e}\u{2066}\u{200b}\u{2028}\u{e0041}\"";

/// Somebody of this name writes.
fn says(home: &Home, user: i64, name: &str, text: &str) {
    let from = json!({ "id": user, "is_bot": false, "first_name": name, "last_name": name });
    home.telegram.push_message(json!({ "chat": { "id": user, "type": "private" }, "from": from, "text": text }));
}

/// The code that a stranger was told.
fn code(home: &Home, user: i64) -> String {
    let greeting = home.told(user, "👋").remove(0);
    greeting.split_whitespace().skip_while(|word| *word != "approve").nth(1).expect("a code").to_owned()
}

/// Lines and letters, and nothing else, in all that was printed.
#[track_caller]
fn expect_letters(home: &Home) {
    let all = home.everything();
    let line = all.lines().find(|line| escape::one_line(line) != *line);
    assert_eq!(line, None, "it commands a terminal, or turns how it is read");
    assert!(!all.lines().any(|line| line.starts_with("boss")), "a line was forged: {all}");
}

#[test]
fn g23_a_strangers_name_writes_into_no_terminal() {
    for format in ["human", "json"] {
        let home = Home::with_model(&format!("[log]\nformat = \"{format}\"\n[access]\nallow = []\n"));
        home.model.reply_to("for ever", Reply::Never);
        let gateway = home.launch("trace");
        gateway.wait_for("ready");
        says(&home, 7, EVIL, "let me in");
        let code = code(&home, 7);
        let listed = home.done(&["pair", "list"]);
        assert!(listed.lines().any(|line| line.starts_with("family:7 ") && line.contains(&code) && line.contains("\\u{202e}")), "{listed}");
        home.done(&["pair", "list", "--json"]);
        let approved = home.done(&["pair", "approve", &code, "--yes"]);
        assert!(approved.starts_with("family:7 may speak now (") && approved.lines().count() == 1, "{approved}");
        says(&home, 7, EVIL, "for ever");
        home.asked("for ever", 1);
        // Whoever answers in the platform's place has words of its own.
        home.telegram.fail_chat(8, Some(Fault::Declined(403, format!("Forbidden: {EVIL}"))));
        home.telegram.fail_next("getUpdates", Fault::Declined(400, EVIL.into()));
        says(&home, 8, EVIL, "let me in");
        gateway.wait_for("Telegram declines (400)");
        for command in [&["turns", "list"][..], &["outbox", "list"], &["status"], &["status", "--json"], &["history"], &["pair", "list"]] {
            home.done(command);
        }
        home.done(&["pair", "revoke", "family:7"]);
        home.done(&["stop", "--grace", "0s"]);
        assert_eq!(gateway.ended(), Some(0));
        home.done(&["history"]);
        expect_letters(&home);
    }
}

#[test]
fn g23_whoever_is_let_in_by_a_code_is_shown_by_number_first() {
    let home = Home::with_demo("[access]\nallow = []\n");
    let _gateway = home.start();
    says(&home, 7, "Your Boss", "let me in");
    let code = code(&home, 7);
    // Nobody is there to be asked.
    let printed = home.run(&["pair", "approve", &code]);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.err.starts_with("family:7 calls themselves \"Your Boss") && printed.err.contains("--yes"), "{printed:?}");
    assert!(home.done(&["pair", "list"]).contains("waiting"), "and nobody was let in");
    for (answer, code_of_exit, told) in [("n\n", Some(1), "nobody was let in"), ("y\n", Some(0), "family:7 may speak now")] {
        let Some((exit, shown)) = at_a_terminal(&home, &["pair", "approve", &code.to_lowercase()], answer) else { return };
        assert!(exit == code_of_exit && shown.contains("[y/N]") && shown.contains(told), "{answer:?} {exit:?} {shown}");
    }
    until("somebody who is in", || home.done(&["pair", "list"]).contains("family:7  in").then_some(()));
}

#[test]
fn g23_a_command_that_was_passed_on_is_given_by_nobody() {
    let home = Home::with_demo("[access]\nallow = []\nadmins = [\"family:1\"]\n");
    let gateway = home.start();
    let from = json!({ "id": 1, "is_bot": false, "first_name": "Boss" });
    let chat = json!({ "id": 1, "type": "private" });
    let origin = json!({ "type": "hidden_user", "sender_user_name": "Somebody", "date": 1 });
    let bot = json!({ "id": 99, "is_bot": true, "first_name": "Inline" });
    home.telegram.push_message(json!({ "chat": chat, "from": from, "text": "/shutdown", "forward_origin": origin }));
    home.told(1, "You said: /shutdown");
    home.telegram.push_message(json!({ "chat": chat, "from": from, "text": "/restart now", "via_bot": bot }));
    home.told(1, "You said: /restart now");
    home.telegram.push_text(1, 1, "/shutdown");
    assert_eq!(gateway.ended(), Some(0), "what they say themselves is done");
}

#[test]
fn g23_what_the_gateway_started_lets_nobody_in_and_changes_nothing() {
    const ACTS: [&str; 12] = [
        "pair approve $(cat $HOME/go) --yes",
        "pair revoke family:1",
        "ledger drop family",
        "ledger move family kin",
        "turns drop 1",
        "outbox drop 1",
        "resume",
        "drain",
        "reload",
        "stop",
        "update",
        "service --user uninstall --yes",
    ];
    let home = Home::with_demo("[access]\nallow = [\"family:1\"]\n");
    // As an agent's child is: it is there before the gateway, and acts once it is told to.
    let acts: String = ACTS.map(|act| format!("\"$0\" \"$1\" \"$2\" {act}; echo \"left with $?\" >&2; ")).concat();
    let script =
        format!(r#"(until [ -s "$HOME/go" ]; do sleep 0.02; done; {acts} "$0" "$1" "$2" pair list >&2; echo over >&2) & exec "$0" "$@""#);
    let gateway = home.launch_under(&["sh", "-c", &script], "debug");
    gateway.wait_for("ready instance=");
    says(&home, 7, "Stranger", "let me in");
    let code = code(&home, 7);
    let (new, go) = (home.path().join("new"), home.path().join("go"));
    std::fs::write(&new, &code).and_then(|()| std::fs::rename(new, go)).expect("a file can be made");
    gateway.wait_for("over");
    assert_eq!(gateway.logged("left with 77"), ACTS.len());
    assert_eq!(gateway.logged("a process that the gateway started may not"), ACTS.len());
    assert_eq!(gateway.logged(&format!("waiting, code {code}")), 1, "it may look");
    home.telegram.push_text(1, 1, "still there?");
    home.told(1, "You said: still there?");
    assert!(home.done(&["pair", "approve", &code, "--yes"]).contains("may speak now"), "whoever comes from elsewhere may");
}

/// Runs a command at a terminal of its own, where this is typed; how it ended, and what was shown. None where there is no `script`.
fn at_a_terminal(home: &Home, arguments: &[&str], typed: &str) -> Option<(Option<i32>, String)> {
    let found = Command::new("script").arg("--version").output().is_ok_and(|tried| tried.status.success());
    if !is_here(found, "script (util-linux)") {
        return None;
    }
    let line = format!("{} --config {} {}", env!("CARGO_BIN_EXE_switchboard"), home.config().display(), arguments.join(" "));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("HOME", home.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = command.spawn().expect("script runs");
    shell.stdin.take().expect("piped").write_all(typed.as_bytes()).expect("typed");
    let output = shell.wait_with_output().expect("it ends");
    Some((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}
