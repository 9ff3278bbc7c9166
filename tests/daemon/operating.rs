//! What an operator can ask of a gateway, running or not, and the codes that say what came of it.

use std::time::Duration;

use switchboard_actors::testkit::fake_openai::Reply;
use switchboard_actors::testkit::fake_telegram::Fault;

use crate::gateway::{CUT, DOWN, Home, Printed, until};

const EVERYBODY: &str = "[access]\nallow = [\"*\"]\n";
/// The only adapter's place, given up.
const RENAMED: [(&str, &str); 1] = [("[adapters.family]", "[adapters.kin]")];

/// The first words of each line below the head.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[track_caller]
fn check(printed: &Printed, code: i32, part: &str) {
    assert!(printed.code == Some(code) && (printed.out.contains(part) || printed.err.contains(part)), "{code} {part:?}: {printed:?}");
}

#[test]
fn what_waits_during_a_drain_is_answered_after_resume() {
    let home = Home::with_demo(EVERYBODY);
    let gateway = home.start();
    check(&home.run(&["drain"]), 0, "switchboard resume");
    gateway.wait_until_doing("held by an operator");
    home.telegram.push_text(1, 1, "hello");
    assert_eq!(home.browser().say("hello"), 200, "it is taken in");
    until("two messages that wait", || home.status().filter(|status| status["messages_waiting"] == 2));
    assert_eq!(home.telegram.texts_in(1), Vec::<String>::new());
    check(&home.run(&["status"]), 0, "2 waiting");
    check(&home.run(&["resume"]), 0, "tasks may start again");
    home.told(1, "You said: hello");
    home.done(&["drain"]);
    home.telegram.push_text(1, 1, "again");
    until("a message that waits", || home.status().filter(|status| status["messages_waiting"] == 1));
    assert_eq!(gateway.stop(), Some(0));
    let _gateway = home.start();
    home.told(1, "You said: again");
}

#[test]
fn g18_cut_tasks_are_listed_run_again_and_dropped() {
    let home = Home::with_model(&format!("{EVERYBODY}[recovery]\npolicy = \"hold\""));
    home.model.reply_always(Reply::Never);
    let gateway = home.start();
    check(&home.run(&["turns", "list"]), 0, "No task runs");
    for chat in [1, 2] {
        home.telegram.push_text(chat, chat, &format!("task {chat}"));
    }
    home.asked("task", 2);
    assert!(rows(&home.done(&["turns", "list"])).iter().all(|row| row[1] == "running"));
    gateway.kill();
    let gateway = home.start();
    home.model.reply_always(Reply::Echo);
    assert_eq!(home.status().expect("it runs")["turns_cut"], 2);
    let table = home.done(&["turns", "list"]);
    let cut = rows(&table);
    assert!(cut.len() == 2 && cut.iter().all(|row| row[1] == "interrupted"), "{table}");
    check(&home.run(&["check"]), 0, "2 tasks were cut and wait for /retry");
    check(&home.run(&["turns", "retry", cut[0][0]]), 0, "done");
    let first = if table.lines().nth(1).expect("a row").contains("room 1") { 1 } else { 2 };
    home.told(first, &format!("You said: task {first}"));
    check(&home.run(&["turns", "drop", cut[1][0]]), 0, "done");
    check(&home.run(&["turns", "drop", cut[1][0]]), 1, "no such turn");
    check(&home.run(&["turns", "retry", "999999"]), 1, "no such turn");
    check(&home.run(&["turns", "list"]), 0, "No task runs");
    assert_eq!((home.count(1, CUT), home.count(2, CUT)), (0, 0), "the policy is to hold");
    gateway.kill();
}

#[test]
fn g18_a_dead_reply_is_listed_with_its_reason_and_sent_again() {
    let home = Home::with_demo(EVERYBODY);
    let gateway = home.start();
    check(&home.run(&["outbox", "list"]), 0, "Every reply is delivered.");
    home.telegram.fail_chat(1, Some(Fault::Declined(403, "Forbidden: bot was blocked by the user".into())));
    for words in ["one", "two"] {
        home.telegram.push_text(1, 1, words);
        let dead = if words == "one" { 1 } else { 2 };
        until("a dead reply", || (home.done(&["outbox", "list"]).matches("dead").count() == dead).then_some(()));
    }
    let table = home.done(&["outbox", "list"]);
    assert!(table.contains("blocked"), "{table}");
    let dead = rows(&table);
    check(&home.run(&["status"]), 0, "2 not delivered");
    home.telegram.fail_chat(1, None);
    for (row, words) in dead.iter().zip(["one", "two"]) {
        check(&home.run(&["outbox", "drop", row[0]]), 0, "done");
        assert!(rows(&home.done(&["outbox", "list"])).iter().all(|listed| listed[0] != row[0]), "nobody has to look after it any more");
        check(&home.run(&["outbox", "drop", row[0]]), 1, "it is given up already");
        check(&home.run(&["outbox", "retry", row[0]]), 0, "done");
        home.told(1, &format!("You said: {words}"));
    }
    until("nothing more to deliver", || (home.done(&["outbox", "list"]) == "Every reply is delivered.\n").then_some(()));
    assert_eq!(home.telegram.texts_in(1).len(), 2);
    gateway.kill();
}

#[test]
fn g18_a_reply_that_waits_for_its_platform_is_sent_now_or_given_up() {
    let home = Home::with_demo(&format!("{EVERYBODY}[outbox]\nretry_first = \"10m\"\nretry_most = \"10m\"\n"));
    let gateway = home.start();
    for chat in [1, 2] {
        home.telegram.fail_chat(chat, Some(Fault::Page(502)));
        home.telegram.push_text(chat, chat, "hello");
    }
    let table = until("two replies that failed", || {
        let table = home.done(&["outbox", "list"]);
        (rows(&table).iter().filter(|row| row.get(1) == Some(&"unknown")).count() == 2).then_some(table)
    });
    let id = |chat: i64| rows(&table).into_iter().find(|row| row.join(" ").contains(&format!("room {chat}"))).expect("a row")[0].to_owned();
    check(&home.run(&["outbox", "drop", &id(2)]), 0, "done");
    for chat in [1, 2] {
        home.telegram.fail_chat(chat, None);
    }
    check(&home.run(&["outbox", "retry", &id(1)]), 0, "done");
    home.told(1, "🔁 (possibly a repeat) You said: hello");
    for chat in [1, 2] {
        home.telegram.push_text(chat, chat, "again");
        home.told(chat, "You said: again");
    }
    assert_eq!(home.telegram.texts_in(1), ["🔁 (possibly a repeat) You said: hello", "You said: again"], "once, and G4: marked");
    assert_eq!(home.telegram.texts_in(2), ["You said: again"], "what was given up is not sent after all");
    gateway.kill();
}

#[test]
fn rows_of_an_adapter_that_is_gone_are_found_moved_and_dropped() {
    let home = Home::with_demo(&format!("{EVERYBODY}[outbox]\nretry_first = \"5m\"\n"));
    let gateway = home.start();
    home.done(&["drain"]);
    for chat in [1, 2] {
        home.telegram.push_text(chat, chat, &format!("hello from {chat}"));
    }
    until("two messages that wait", || home.status().filter(|status| status["messages_waiting"] == 2));
    gateway.kill();
    home.rewrite(&RENAMED);
    check(&home.run(&["check"]), 0, "2 open rows belong to the adapter family");
    check(&home.run(&["ledger", "move", "family", "kin"]), 0, "2 rows");
    check(&home.run(&["ledger", "move", "family", "kin"]), 0, "0 rows");
    let gateway = home.start();
    for chat in [1, 2] {
        assert_eq!(home.told(chat, "You said: "), [format!("You said: hello from {chat}")]);
    }
    home.done(&["drain"]);
    home.telegram.push_text(1, 1, "to be moved");
    until("a message that waits", || home.status().filter(|status| status["messages_waiting"] == 1));
    gateway.kill();
    home.rewrite(&[(RENAMED[0].1, RENAMED[0].0)]);
    let gateway = home.start();
    check(&home.run(&["check"]), 0, "1 open rows belong to the adapter kin");
    check(&home.run(&["ledger", "move", "kin", "family"]), 0, "1 rows");
    home.told(1, "You said: to be moved");
    home.done(&["drain"]);
    home.telegram.push_text(2, 2, "to be dropped");
    until("a message that waits", || home.status().filter(|status| status["messages_waiting"] == 1));
    gateway.kill();
    home.rewrite(&RENAMED);
    let gateway = home.start();
    check(&home.run(&["ledger", "drop", "family"]), 0, "1 rows");
    check(&home.run(&["check"]), 0, "the configuration is good");
    gateway.kill();
    check(&home.run(&["ledger", "drop", "family"]), 0, "0 rows");
    assert_eq!(home.count(2, "You said: to be dropped"), 0);
}

#[test]
fn commands_find_the_gateway_and_say_what_came_of_them() {
    let home = Home::with_model(EVERYBODY);
    for command in [&["status"][..], &["stop"], &["drain"], &["turns", "list"], &["pair", "list"]] {
        check(&home.run(command), 69, "no gateway is running");
    }
    let gateway = home.start();
    let (url, another) = (home.address(), home.address());
    assert!(url.starts_with(&format!("{}/#code=", home.root())) && url != another, "{url}");
    let status = home.status().expect("it runs");
    assert_eq!((&status["doing"], &status["ready"], &status["pid"]), (&"serving".into(), &true.into(), &gateway.pid().into()));
    until("a quiet bot that was heard", || home.done(&["status"]).contains("family (telegram): connected").then_some(()));
    check(&home.run(&["dance"]), 2, "dance");
    check(&home.run(&["config", "show"]), 0, "[secret]");
    check(&home.run(&["stop", "--no-wait", "--reason", "the disk is to be changed"]), 0, "stop has begun");
    gateway.wait_for("the disk is to be changed");
    assert_eq!(gateway.ended(), Some(0));
    check(&home.run(&["stop"]), 69, "no gateway is running");
}

#[test]
fn g30_a_stop_that_cuts_somebody_is_achieved_all_the_same() {
    let home = Home::with_demo(EVERYBODY);
    let gateway = home.start();
    home.telegram.push_text(1, 1, "work for 1h");
    until("a task", || home.status().filter(|status| status["turns_running"] == 1));
    check(&home.run(&["stop", "--grace", "100ms"]), 0, "stopped");
    assert_eq!(gateway.ended(), Some(0));
    assert_eq!(home.count(1, DOWN), 1);
    let _gateway = home.start();
    home.told(1, CUT);
}

/// A wait that is refused by nobody: half a minute is granted, and nothing needs it.
#[test]
fn g11_a_stop_with_nothing_to_do_is_over_at_once() {
    let home = Home::with_demo(EVERYBODY);
    let gateway = home.start();
    let page = home.browser();
    assert_eq!(page.say("hello"), 200);
    page.shown("You said: hello");
    let begun = std::time::Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
