//! Turns that ask for approval, and the children of turns.

use super::Case;
use super::script::{Script, alice, answer, call, result, user};
use crate::agent::{Decision, Entry};
use crate::children::Child;
use crate::ids::TurnId;
use crate::ledger::{Accepted, Done, End, LeftChild, Started, Step, Take, TurnState, Word};

pub(super) const CASES: &[Case] = &[
    Case { name: "a turn that asks waits for a decision, which runs it again", play: asks_and_is_decided },
    Case { name: "a turn that asks outlives every restart without a strike", play: asks_across_restarts },
    Case { name: "a decision without a question is closed at once", play: nothing_to_decide },
    Case { name: "a decision that is delivered again decides nothing", play: decides_once },
    Case { name: "a message after the question supersedes the turn that asks", play: superseded },
    Case { name: "a start by a decision that is taken back can be made again", play: taken_back },
    Case { name: "a stop closes what asks", play: stopped },
    Case { name: "a retry of what asks asks again", play: retried },
    Case { name: "a cut turn for which a retry waits is not told about", play: retry_waits },
    Case { name: "children are on record until they are gone", play: children },
];

/// Alice's turn asks whether it may make call `a`.
fn ask(s: &mut Script) -> TurnId {
    s.say("do");
    let turn = s.start().turn;
    let question = s.reply(Some(turn), Word::Approval, "may I?");
    let step = s.finish_step(turn, 1, End::Asks { call: "a".into(), question: "may I?".into() }, vec![question]);
    let done = s.step(step.clone());
    s.same(done, Done::Ok);
    s.again(step, Done::Ok);
    turn
}

fn decide(s: &mut Script, approved: bool) {
    let accept = s.delivery(alice(), "alice", Accepted::Decision { approved });
    let done = s.step(Step::Accept(accept));
    s.same(done, Done::Accepted { retryable: true });
}

fn decision(approved: bool) -> Decision {
    Decision { call: "a".into(), approved }
}

fn asks_and_is_decided(s: &mut Script) {
    s.say("do");
    let turn = s.start().turn;
    let done = s.step(Step::Progress { turn, attempt: 1, entry: call("1") });
    s.same(done, Done::Ok);
    let step = s.finish_step(turn, 1, End::Asks { call: "a".into(), question: "may I?".into() }, Vec::new());
    let done = s.step(step);
    s.same(done, Done::Ok);
    let view = s.session();
    s.same((view.running, view.cut.map(|cut| (cut.turn, cut.asks))), (None, Some((turn, true))));
    let open = s.open();
    s.same(open.cut, Vec::new());
    decide(s, true);
    let view = s.session();
    s.same((view.waiting, view.cut.map(|cut| cut.asks)), (1, Some(false)));
    let Started { turn: again, attempt, strikes, history, decisions, .. } = s.start();
    s.same((again, attempt, strikes, decisions), (turn, 2, 0, vec![decision(true)]));
    let asked = Entry::Asked { call: "a".into(), question: "may I?".into() };
    let decided = Entry::Decided { call: "a".into(), approved: true };
    s.same(history, vec![user("do"), call("1"), result("1", None), asked, decided, user("do")]);
    s.finish(turn, 2, End::Answered("done".into()));
    let shown = s.say("more");
    let history = s.start().history;
    s.same((shown.0 > 0, history.contains(&answer("done"))), (true, true));
}

fn asks_across_restarts(s: &mut Script) {
    let turn = ask(s);
    for _ in 0..3 {
        s.restart(2);
    }
    let open = s.open();
    s.same(open.cut, Vec::new());
    decide(s, false);
    s.restart(2);
    let started = s.start();
    s.same((started.turn, started.strikes, started.decisions), (turn, 0, vec![decision(false)]));
    // What was decided before a cut holds no longer.
    s.restart(2);
    let step = s.resume_step(turn, 2);
    let started = s.started(step);
    s.same(started.decisions, Vec::new());
}

fn nothing_to_decide(s: &mut Script) {
    s.talk("hello");
    let accept = s.delivery(alice(), "alice", Accepted::Decision { approved: true });
    let done = s.step(Step::Accept(accept));
    s.same(done, Done::Accepted { retryable: false });
    let waiting = s.session().waiting;
    s.same(waiting, 0);
}

fn decides_once(s: &mut Script) {
    let turn = ask(s);
    let accept = s.delivery(alice(), "alice", Accepted::Decision { approved: true });
    let done = s.step(Step::Accept(accept.clone()));
    s.same(done, Done::Accepted { retryable: true });
    s.again(Step::Accept(accept.clone()), Done::Duplicate { waiting: Some(alice()) });
    s.start();
    let step = s.finish_step(turn, 2, End::Asks { call: "b".into(), question: "and now?".into() }, Vec::new());
    let done = s.step(step);
    s.same(done, Done::Ok);
    // The old yes is no answer to the new question.
    s.again(Step::Accept(accept), Done::Duplicate { waiting: None });
    let asks = s.session().cut.map(|cut| cut.asks);
    s.same(asks, Some(true));
}

fn superseded(s: &mut Script) {
    ask(s);
    s.say("something else");
    let start = s.start_step(Take::All);
    let second = s.started(Step::Start(start)).turn;
    let view = s.session();
    s.same((view.running.map(|(turn, _)| turn), view.cut), (Some(second), None));
    let accept = s.delivery(alice(), "alice", Accepted::Decision { approved: true });
    let done = s.step(Step::Accept(accept));
    s.same(done, Done::Accepted { retryable: false });
    // Taken back, it asks again.
    let done = s.step(Step::Unstart { turn: second, attempt: 1 });
    s.same(done, Done::Ok);
    let asks = s.session().cut.map(|cut| cut.asks);
    s.same(asks, Some(true));
}

fn taken_back(s: &mut Script) {
    let turn = ask(s);
    decide(s, true);
    s.start();
    let done = s.step(Step::Unstart { turn, attempt: 2 });
    s.same(done, Done::Ok);
    let waiting = s.session().waiting;
    s.same(waiting, 1);
    let started = s.start();
    s.same((started.turn, started.attempt, started.decisions), (turn, 2, vec![decision(true)]));
}

fn stopped(s: &mut Script) {
    ask(s);
    let before = s.seq();
    let done = s.clear(before, crate::ledger::Closes::Work);
    s.same(done, Done::Cleared { messages: 0, running: None, cut: 1 });
    let accept = s.delivery(alice(), "alice", Accepted::Decision { approved: true });
    let done = s.step(Step::Accept(accept));
    s.same(done, Done::Accepted { retryable: false });
}

fn retried(s: &mut Script) {
    let turn = ask(s);
    s.retry();
    let started = s.start();
    s.same((started.turn, started.attempt, started.decisions), (turn, 2, Vec::new()));
    let done = s.step(Step::Unstart { turn, attempt: 2 });
    s.same(done, Done::Ok);
    let asks = s.session().cut.map(|cut| cut.asks);
    s.same(asks, Some(true));
}

fn retry_waits(s: &mut Script) {
    let turn = s.crash("hello", 3);
    let cut = s.open().cut.len();
    s.same(cut, 1);
    s.retry();
    let cut = s.open().cut.len();
    s.same(cut, 0);
    let started = s.start();
    s.same(started.turn, turn);
    s.restart(9);
    let seq = s.seq();
    let done = s.step(Step::TurnRetry { seq, turn, at: s.now });
    s.same(done, Done::Ok);
    let open = s.open();
    s.same((open.cut.len(), open.waiting.len()), (0, 1));
    let state = s.session().cut.map(|cut| cut.state);
    s.same(state, Some(TurnState::Interrupted));
}

fn children(s: &mut Script) {
    s.say("do");
    let turn = s.start().turn;
    let child = |group| Child { group, started: u64::MAX - 1, boot: "boot".into() };
    let instance = s.instance;
    let step = |group, attempt| Step::Child { turn, attempt, child: child(group) };
    for group in [8, 7] {
        let done = s.step(step(group, 1));
        s.same(done, Done::Ok);
    }
    s.again(step(7, 1), Done::Ok);
    s.again(step(9, 2), Done::Lost);
    let left = |group| LeftChild { turn, instance, child: child(group) };
    s.restart(3);
    let known = s.open().children;
    s.same(known, vec![left(7), left(8)]);
    let done = s.step(Step::ChildrenGone { turn });
    s.same(done, Done::Ok);
    let known = s.open().children;
    s.same(known, Vec::new());
}
