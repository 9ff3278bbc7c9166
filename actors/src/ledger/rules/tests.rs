//! The rules as tables: what stands in the rows, a step, and what comes of it. No engine is asked.
//!
//! Rows and changes are written in a few words each, so that a case is a line: see [`Table::row`] and [`shown`].

mod table;

use self::table::{Table, check};

#[test]
fn a_delivery_is_taken_in_once() {
    check("", "accept 5 hello", "accepted", "take in 5 message waiting; session first alice");
    check("5 message waiting key=d9", "accept 9 hello key=d9", "duplicate waiting", "");
    check("5 message claimed key=d9", "accept 9 hello key=d9", "duplicate", "");
    check("5 command waiting key=d9", "accept 9 hello key=d9", "open 5", "");
    check("5 message waiting", "accept 5 hello", "refused: number 5 is taken", "");
    check("turn 5 answered", "accept 5 hello", "refused: number 5 is taken", "");
    check("post 5 sent", "accept 5 hello", "refused: number 5 is taken", "");
    check("session first=bob", "accept 5 hello", "accepted", "take in 5 message waiting; session first bob shared");
    check("session first=bob shared", "accept 5 hello", "accepted", "take in 5 message waiting");
    check("session first=alice", "accept 5 hello", "accepted", "take in 5 message waiting");
}

#[test]
fn what_is_closed_as_it_is_taken_in_has_its_answer() {
    check("", "accept 5 refused", "accepted", "take in 5 message refused; post 6 sending");
    check("", "accept 5 retry", "accepted, nothing to do", "take in 5 retry closed; post 6 sending");
    check("turn 3 interrupted", "accept 5 retry", "accepted", "take in 5 retry waiting");
    check("4 message waiting", "accept 5 retry", "accepted", "take in 5 retry waiting");
    // Forgotten: /new has closed what came before it.
    check(
        "session forgotten=4; turn 3 answered newest=2",
        "accept 5 retry",
        "accepted, nothing to do",
        "take in 5 retry closed; post 6 sending",
    );
    check("", "accept 5 approve", "accepted, nothing to do", "take in 5 retry closed; post 6 sending");
    check(
        "turn 3 interrupted asks=c",
        "accept 5 approve",
        "accepted",
        "append 3 decided; turn 3 interrupted; take in 5 retry waiting of 3",
    );
    check("", "accept 5 request", "accepted", "take in 5 request closed; asked 5; post 6 sending");
    check("", "accept 5 /status", "accepted", "take in 5 command waiting");
    check("post 6 sent", "accept 5 refused", "refused: number 6 is taken", "");
}

#[test]
fn a_command_is_settled_once_and_a_request_answered_once() {
    check("5 command waiting", "settle 5", "ok", "5 closed; post 6 sending");
    check("5 command closed", "settle 5", "lost", "");
    check("5 message waiting", "settle 5", "lost", "");
    check("", "settle 5", "lost", "");
    check("asked 5", "answered 5", "ok", "asked 5 answered; post 6 sending");
    check("asked 5 answered", "answered 5", "lost", "");
}

#[test]
fn a_start_takes_up_what_waits() {
    check("", "start 9", "nothing waiting", "");
    check("5 message waiting", "start 9", "started 9 attempt 1, 0 left", "5 claimed by 9; begin 9 running with user");
    check(
        "5 message waiting; 6 message waiting",
        "start 9",
        "started 9 attempt 1, 0 left",
        "5 claimed by 9; 6 claimed by 9; begin 9 running with user user",
    );
    check(
        "5 message waiting; 6 message waiting",
        "start 9 one",
        "started 9 attempt 1, 1 left",
        "5 claimed by 9; begin 9 running with user",
    );
    check("5 message waiting; 6 retry waiting", "start 9", "started 9 attempt 1, 1 left", "5 claimed by 9; begin 9 running with user");
    check("5 message waiting; turn 9 answered", "start 9", "refused: number 9 is taken", "");
    check("5 message waiting; turn 3 running", "start 9", "refused: turn 3 of this session is running", "");
    // The same start again, after a commit of unknown fate.
    check("turn 9 running start=9", "start 9", "started 9 attempt 1, 0 left", "");
}

#[test]
fn a_retry_runs_what_it_means() {
    check(
        "5 retry waiting; turn 3 interrupted strikes=2",
        "start 9",
        "started 3 attempt 2, 0 left",
        "5 claimed by 3; turn 3 running attempt 2 strikes 0, with undo",
    );
    check(
        "5 retry waiting of 3; turn 3 parked; turn 4 interrupted",
        "start 9",
        "started 3 attempt 2, 0 left",
        "5 claimed by 3; turn 3 running attempt 2 strikes 0, with undo",
    );
    // What is closed is only ever delivered: its words run as a new turn.
    check(
        "5 retry waiting; turn 3 answered said=user",
        "start 9",
        "started 9 attempt 1, 0 left",
        "5 claimed by 9; begin 9 running with user",
    );
    // Its turn is gone: the next that waits is taken.
    check(
        "5 retry waiting of 2; 6 message waiting",
        "start 9",
        "started 9 attempt 1, 0 left",
        "5 closed; 6 claimed by 9; begin 9 running with user",
    );
    check("5 retry waiting of 2", "start 9", "nothing waiting", "5 closed");
}

#[test]
fn a_newer_message_supersedes_a_cut_turn_whose_chat_was_told_before_it() {
    let told = "turn 3 interrupted; 2 message claimed by 3; word 4 interrupted of 3";
    check(
        &format!("{told}; 5 message waiting"),
        "start 9",
        "started 9 attempt 1, 0 left",
        "2 closed by 3; turn 3 superseded; 5 claimed by 9; begin 9 running with user, with undo",
    );
    // It was said before they were told, or of another attempt, or it asked for something else.
    check(
        "turn 3 interrupted; word 6 interrupted of 3; 5 message waiting",
        "start 9",
        "started 9 attempt 1, 0 left",
        "5 claimed by 9; begin 9 running with user",
    );
    check(
        "turn 3 interrupted attempt=2; word 4 interrupted of 3; 5 message waiting",
        "start 9",
        "started 9 attempt 1, 0 left",
        "5 claimed by 9; begin 9 running with user",
    );
    check(
        "turn 3 interrupted; word 4 answer of 3; 5 message waiting",
        "start 9",
        "started 9 attempt 1, 0 left",
        "5 claimed by 9; begin 9 running with user",
    );
}

#[test]
fn a_cut_turn_resumes_from_the_attempt_that_was_cut() {
    check("turn 3 interrupted strikes=1", "resume 3", "started 3 attempt 2, 0 left", "turn 3 running attempt 2 strikes 1, with undo");
    check("turn 3 interrupted attempt=2", "resume 3", "lost", "");
    check("turn 3 parked", "resume 3", "lost", "");
    check("", "resume 3", "lost", "");
    check("turn 3 interrupted; turn 4 running", "resume 3", "refused: turn 4 of this session is running", "");
    check("turn 3 running attempt=2 start=0", "resume 3", "started 3 attempt 2, 0 left", "");
    check("turn 3 running attempt=2 start=7", "resume 3", "lost", "");
}

#[test]
fn a_start_is_taken_back_as_if_it_had_not_been() {
    check("turn 9 running; 5 message claimed by 9", "unstart 9", "ok", "turn 9 gone; 5 waiting");
    check("turn 9 running attempt=2", "unstart 9", "lost", "");
    check("turn 9 answered", "unstart 9", "lost", "");
}

#[test]
fn an_end_closes_what_dangles_once() {
    let running = "turn 9 running; 5 message claimed by 9";
    check(running, "finish 9 answered", "ok", "append 9 assistant; 5 closed by 9; turn 9 answered; post 6 sending of 9");
    check(
        &format!("{running} said=user,call"),
        "finish 9 answered",
        "ok",
        "append 9 assistant; 5 closed by 9; turn 9 answered; post 6 sending of 9",
    );
    check("turn 9 running said=user,call", "finish 9 answered", "ok", "append 9 result assistant; turn 9 answered; post 6 sending of 9");
    check(
        "turn 9 running attempt=2",
        "finish 9 answered attempt=2",
        "ok",
        "uncut 9; append 9 assistant; turn 9 answered attempt 2; post 6 sending of 9",
    );
    check(running, "finish 9 interrupted", "ok", "append 9 cut; turn 9 interrupted, because of a test; post 6 sending of 9");
    check(
        "turn 9 running said=user,call",
        "finish 9 interrupted",
        "ok",
        "append 9 result cut; turn 9 interrupted, because of a test; post 6 sending of 9",
    );
    check(running, "finish 9 failed", "ok", "append 9 cut; 5 closed by 9; turn 9 failed, because of a test; post 6 sending of 9");
    check(running, "finish 9 asks", "ok", "append 9 asked; turn 9 interrupted asks c; post 6 sending of 9");
    check("turn 9 running attempt=2", "finish 9 answered", "lost", "");
    check("", "finish 9 answered", "lost", "");
    // The very same end again; another word for it.
    check("turn 9 answered; word 6 answer of 9", "finish 9 answered", "ok", "");
    check("turn 9 answered", "finish 9 answered", "lost", "");
    check("turn 9 answered; word 6 answer of 9", "finish 9 failed", "lost", "");
}

#[test]
fn an_answer_takes_over_the_draft_of_its_turn_and_nothing_else() {
    let done = "append 9 assistant; turn 9 answered; post 6 sending of 9";
    check("turn 9 running; word 6 answer of 9 draft message=m", "finish 9 answered", "ok", &format!("{done} as m"));
    check("turn 9 running; word 6 answer of 9 sent", "finish 9 answered", "refused: number 6 is taken", "");
    check("turn 9 running; word 6 answer of 3 draft", "finish 9 answered", "refused: number 6 is taken", "");
    check("turn 9 running; post 6 due", "finish 9 answered", "refused: number 6 is taken", "");
}

#[test]
fn g14_a_call_is_recorded_once_and_its_result_only_with_it() {
    check("turn 9 running said=user", "progress 9 call", "ok", "append 9 call");
    check("turn 9 running said=user,call", "progress 9 call", "ok", "");
    check("turn 9 running said=user,call", "progress 9 result", "ok", "append 9 result");
    check("turn 9 running said=user", "progress 9 result", "refused: no tool call of this attempt has this id", "");
    check("turn 9 answered", "progress 9 call", "lost", "");
}

#[test]
fn a_stop_closes_what_came_before_it_and_nothing_after() {
    let taken = "take in 7 command waiting";
    let check = |rows: &str, step: &str, done: &str, changes: &str| check(rows, step, done, &format!("{taken}{changes}"));
    check("", "accept 7 /stop", "cleared 0, cut 0", "");
    check("5 message waiting; 6 retry waiting; 8 message waiting", "accept 7 /stop", "cleared 1, cut 0", "; 5 closed; 6 closed");
    check("turn 3 running newest=2", "accept 7 /stop", "cleared 0, running 3, cut 0", "; append 3 cut; turn 3 stopped");
    check("turn 3 running newest=8", "accept 7 /stop", "cleared 0, cut 0", "");
    check("turn 3 interrupted said=user,cut newest=2", "accept 7 /stop", "cleared 0, cut 1", "; turn 3 stopped");
    check("5 command waiting", "accept 7 /stop", "cleared 0, cut 0", "");
    check("session first=alice", "accept 7 /new", "cleared 0, cut 0", "; session first alice forgotten 7");
    check("5 message waiting", "accept 7 /new", "cleared 1, cut 0", "; session forgotten 7; 5 closed");
}

#[test]
fn a_stop_that_comes_again_closes_nothing_more() {
    check("6 command waiting key=d1; 8 message waiting", "accept 9 /stop", "open 6", "");
    check("6 command closed key=d1; 8 message waiting", "accept 9 /stop", "duplicate", "");
}

#[test]
fn g09_g15_recovery_cuts_what_others_left_and_parks_what_was_cut_too_often() {
    check("turn 3 running by=other", "recover", "ok", "append 3 cut; turn 3 interrupted strikes 1");
    check("turn 3 running by=other strikes=1", "recover", "ok", "append 3 cut; turn 3 parked strikes 2");
    check("turn 3 running", "recover", "ok", "");
    check("turn 3 interrupted by=other", "recover", "ok", "");
    check("post 6 sending", "recover", "ok", "posted 6 unknown unsure");
    check("post 6 due; post 7 sent; post 8 unknown", "recover", "ok", "");
}

#[test]
fn what_became_of_a_row_is_told_until_it_is_sent_or_dead() {
    for state in ["due", "failed", "unknown", "draft"] {
        check(&format!("post 6 {state}"), "fate 6 sending", "ok", "posted 6 sending tries 1");
    }
    check("post 6 sending", "fate 6 sending", "ok", "posted 6 sending");
    check("post 6 sending", "fate 6 sent", "ok", "posted 6 sent as m");
    check("post 6 sending", "fate 6 failed", "ok", "posted 6 failed");
    check("post 6 sending", "fate 6 unknown", "ok", "posted 6 unknown unsure");
    check("post 6 sending", "fate 6 dead", "ok", "posted 6 dead");
    check("post 6 draft", "fate 6 drafted", "ok", "posted 6 draft as m");
    for state in ["sent", "dead"] {
        check(&format!("post 6 {state}"), "fate 6 sending", "lost", "");
    }
    check("", "fate 6 sent", "lost", "");
}

#[test]
fn g04_a_word_and_a_notice_are_said_once() {
    check("turn 9 interrupted", "tell 6 interrupted of 9", "ok", "post 6 sending of 9");
    check("turn 9 interrupted; word 4 interrupted of 9", "tell 6 interrupted of 9", "duplicate", "");
    check("turn 9 interrupted attempt=2; word 4 interrupted of 9", "tell 6 interrupted of 9", "ok", "post 6 sending of 9 attempt 2");
    check("", "notice 6", "ok", "post 6 sending");
    check("notice 4", "notice 6", "duplicate", "");
    check("5 message waiting", "notice 5", "refused: number 5 is taken", "");
    check("turn 9 running", "draft 6 of 9", "ok", "post 6 sending of 9");
    check("turn 9 running; word 6 answer of 9", "draft 6 of 9", "duplicate", "");
}

#[test]
fn g18_an_operator_frees_what_is_stuck_and_nothing_under_way() {
    check("turn 3 parked", "retry turn 3", "ok", "take in 20 retry waiting of 3");
    check("turn 3 answered", "retry turn 3", "ok", "take in 20 retry waiting of 3");
    check("turn 3 running", "retry turn 3", "lost", "");
    check("turn 3 parked; 20 retry waiting of 3", "retry turn 3", "lost", "");
    check("turn 3 parked said=user,cut; 2 message claimed by 3", "drop turn 3", "ok", "2 closed by 3; turn 3 stopped");
    check("turn 3 running", "drop turn 3", "lost", "");
    check("post 6 dead", "retry post 6", "ok", "posted 6 due");
    check("post 6 dead unsure", "retry post 6", "ok", "posted 6 unknown unsure");
    check("post 6 sending", "retry post 6", "lost", "");
    for state in ["due", "failed", "unknown", "draft"] {
        check(&format!("post 6 {state}"), "drop post 6", "ok", "give up 6: given up by an operator");
    }
    check("turn 9 running; word 6 answer of 9 draft", "drop post 6", "lost", "");
    for state in ["sending", "sent"] {
        check(&format!("post 6 {state}"), "drop post 6", "lost", "");
    }
    check("post 6 dead because=blocked", "drop post 6", "ok", "give up 6: blocked");
    check(
        "5 message waiting; turn 3 interrupted said=user,cut; post 6 failed; post 7 sent",
        "drop adapter",
        "moved 3",
        "5 refused; turn 3 stopped; give up 6: its adapter was dropped",
    );
}

#[test]
fn g23_a_code_lets_its_holder_in_once_while_it_lives() {
    check("code K alice", "approve K", "paired alice", "code of alice gone; let in alice");
    check("code K alice", "approve L", "lost", "");
    check("code K alice until=-1", "approve K", "lost", "");
    check("code K alice", "code L alice", "ok", "code of alice gone; code L alice");
    check("in alice", "revoke alice", "ok", "let out alice");
    check("", "revoke alice", "lost", "");
    let mut full = Table::default();
    (0..100).for_each(|n| full.row(&format!("code K{n} user{n}")));
    full.check("code L alice", "ok", "code of user0 gone; code L alice");
}
