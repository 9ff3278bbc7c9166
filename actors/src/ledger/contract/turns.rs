//! Cases of a turn's life.

use super::Case;
use super::script::{Script, alice, answer, call, everybody, result, user};
use crate::agent::Entry;
use crate::ids::{Seq, TurnId};
use crate::ledger::{Accepted, Closes, Done, End, Fate, Knowledge, Question, Request, Start, Started, Step, Take, TurnState, Word};
use crate::shutdown::ShutdownKind;

pub(super) const CASES: &[Case] = &[
    Case { name: "a turn takes what waits in the order of acceptance", play: order },
    Case { name: "one at a time, when one is asked for", play: one },
    Case { name: "one turn runs in a session, and its start can be repeated", play: one_runs },
    Case { name: "accept and start share a commit", play: one_commit },
    Case { name: "an end counts once, and only for its own attempt", play: ends_once },
    Case { name: "an agent sees the conversation before, up to the limit", play: history },
    Case { name: "names are shown where several speak", play: names },
    Case { name: "progress counts once, and a cut leaves no dangling call", play: progress },
    Case { name: "recovery cuts what others left running, and counts strikes", play: recover },
    Case { name: "a planned cut gives no strike", play: planned },
    Case { name: "a resumed turn keeps its strikes and ends in its request", play: resume },
    Case { name: "too many strikes park a turn until it is retried", play: parked },
    Case { name: "retry runs the newest cut turn under its old id", play: retry_cut },
    Case { name: "retry without a cut turn asks the newest again", play: retry_newest },
    Case { name: "messages before a retry run first", play: retry_in_order },
    Case { name: "a message after the word about a cut supersedes it", play: supersede },
    Case { name: "a message before that word does not", play: not_superseded },
    Case { name: "a start is taken back exactly", play: unstart },
    Case { name: "a retry is taken back exactly", play: unstart_retry },
    Case { name: "a superseding start is taken back exactly", play: unstart_superseding },
    Case { name: "clearing closes what came before, and nothing after", play: clear },
    Case { name: "a new conversation sees nothing of the old", play: forget },
    Case { name: "a turn's wish to end the process closes with it", play: wish },
    Case { name: "an operator retries and drops turns", play: operator },
];

fn finish_answered(s: &mut Script, turn: TurnId, attempt: u32) {
    s.finish(turn, attempt, End::Answered("done".into()));
}

fn order(s: &mut Script) {
    s.say("one");
    s.say("two");
    let two = s.say("three");
    let started = s.start();
    s.same(started.history, vec![user("one"), user("two"), user("three")]);
    s.same((started.attempt, started.strikes, started.left), (1, 0, 0));
    s.same(started.reply_to, Some(format!("m{two}").as_str().into()));
    s.same(started.asked_by, ("alice".into(), "ALICE".into()));
    let view = s.session();
    s.same((view.waiting, view.running.map(|(turn, _)| turn), view.turns), (0, Some(started.turn), 1));
}

fn one(s: &mut Script) {
    s.say("one");
    s.say("two");
    let start = s.start_step(Take::One);
    let first = s.started(Step::Start(start));
    s.same((first.history, first.left), (vec![user("one")], 1));
}

fn one_runs(s: &mut Script) {
    s.say("one");
    let start = s.start_step(Take::All);
    let first = s.started(Step::Start(start.clone()));
    s.again(Step::Start(start.clone()), Done::Started(Box::new(first.clone())));
    s.say("two");
    let second = s.start_step(Take::All);
    let done = s.step(Step::Start(second.clone()));
    s.refused(&done);
    finish_answered(s, first.turn, 1);
    // The number of a turn that ended starts no other.
    let done = s.step(Step::Start(start));
    s.refused(&done);
    let second = s.started(Step::Start(second));
    s.same(second.history, vec![user("one"), answer("done"), user("two")]);
    finish_answered(s, second.turn, 1);
    let third = s.start_step(Take::All);
    s.again(Step::Start(third), Done::NothingWaiting);
}

fn one_commit(s: &mut Script) {
    let accept = s.delivery(alice(), "alice", Accepted::Message { text: "hi".into() });
    let start = s.start_step(Take::All);
    let done = s.commit(&[Step::Accept(accept), Step::Start(start)]);
    assert!(matches!(&done[1], Done::Started(started) if started.history == [user("hi")]), "{done:?}");
}

fn ends_once(s: &mut Script) {
    s.say("hi");
    let turn = s.start().turn;
    for (id, attempt) in [(turn, 2), (TurnId(Seq(99)), 1)] {
        let reply = s.reply(Some(id), Word::Answer, "lost");
        let step = s.finish_step(id, attempt, End::Answered("lost".into()), vec![reply]);
        s.again(step, Done::Lost);
    }
    let reply = s.reply(Some(turn), Word::Answer, "done");
    let step = s.finish_step(turn, 1, End::Answered("done".into()), vec![reply.clone()]);
    let done = s.step(step.clone());
    s.same(done, Done::Ok);
    // Its commit may have been unknown: a repeat is told the truth, and says nothing twice.
    s.again(step, Done::Ok);
    let another = s.reply(Some(turn), Word::Answer, "done");
    let step = s.finish_step(turn, 1, End::Answered("done".into()), vec![another]);
    s.again(step, Done::Lost);
    let step = s.finish_step(turn, 1, End::Interrupted { cause: "late".into() }, Vec::new());
    s.again(step, Done::Lost);
    let view = s.session();
    s.same((view.running, view.owed), (None, 1));
    let due = s.undelivered();
    s.same(due, vec![reply.id]);
}

fn history(s: &mut Script) {
    s.talk("one");
    s.talk("two");
    s.say("three");
    let mut start = s.start_step(Take::All);
    start.history = 3;
    let started = s.started(Step::Start(start));
    s.same(started.history, vec![answer("answer"), user("two"), answer("answer"), user("three")]);
}

fn names(s: &mut Script) {
    let start = |s: &mut Script| {
        let turn = TurnId(s.seq());
        Step::Start(Start { turn, session: everybody(), take: Take::All, instance: s.instance, at: s.now, history: 100 })
    };
    s.hear(everybody(), "alice", Accepted::Message { text: "one".into() });
    let step = start(s);
    let first = s.started(step);
    s.same(first.history, vec![user("one")]);
    finish_answered(s, first.turn, 1);
    s.hear(everybody(), "bob", Accepted::Message { text: "two".into() });
    let step = start(s);
    let second = s.started(step);
    let named = |name: &str, text: &str| Entry::User { name: Some(name.into()), text: text.into() };
    s.same(second.history, vec![named("ALICE", "one"), answer("done"), named("BOB", "two")]);
    s.same(second.asked_by, ("bob".into(), "BOB".into()));
}

fn progress(s: &mut Script) {
    s.say("hi");
    let turn = s.start().turn;
    let step = |attempt, entry| Step::Progress { turn, attempt, entry };
    for entry in [call("1"), result("1", Some("ok")), call("2")] {
        let done = s.step(step(1, entry.clone()));
        s.same(done, Done::Ok);
        s.again(step(1, entry), Done::Ok);
    }
    s.again(step(2, call("3")), Done::Lost);
    let done = s.step(step(1, result("9", None)));
    s.refused(&done);
    s.restart(3);
    s.again(step(1, call("3")), Done::Lost);
    s.say("next");
    let next = s.start();
    let closed = vec![user("hi"), call("1"), result("1", Some("ok")), call("2"), result("2", None), Entry::Cut, user("next")];
    s.same(next.history, closed);
}

fn recover(s: &mut Script) {
    let turn = s.crash("hi", 3);
    let open = s.open();
    s.same(open.cut.len(), 1);
    let cut = &open.cut[0];
    s.same((cut.turn, cut.attempt, cut.strikes, cut.state), (turn, 1, 1, TurnState::Interrupted));
    s.same((cut.cause.clone(), cut.told, cut.user.as_str()), (None, false, "alice"));
    let recover = Step::Recover { instance: s.instance, max_attempts: 3, at: s.now };
    s.again(recover.clone(), Done::Ok);
    s.say("next");
    let next = s.start();
    s.again(recover, Done::Ok);
    s.same(next.history, vec![user("hi"), Entry::Cut, user("next")]);
    let view = s.session();
    s.same(view.running.map(|(turn, _)| turn), Some(next.turn));
}

fn planned(s: &mut Script) {
    s.say("hi");
    let turn = s.start().turn;
    s.finish(turn, 1, End::Interrupted { cause: "restart".into() });
    s.restart(1);
    let open = s.open();
    let cut = &open.cut[0];
    s.same((cut.strikes, cut.state, cut.cause.as_deref()), (0, TurnState::Interrupted, Some("restart")));
}

fn resume(s: &mut Script) {
    s.say("hi");
    let turn = s.start().turn;
    s.step(Step::Progress { turn, attempt: 1, entry: call("1") });
    s.restart(3);
    let step = s.resume_step(turn, 1);
    let expected = Started {
        decisions: Vec::new(),
        turn,
        attempt: 2,
        strikes: 1,
        history: vec![user("hi"), call("1"), result("1", None), Entry::Cut, user("hi")],
        reply_to: Some("m1".into()),
        asked_by: ("alice".into(), "ALICE".into()),
        left: 0,
    };
    let started = s.started(step.clone());
    s.same(&started, &expected);
    s.again(step, Done::Started(Box::new(expected)));
    let stale = s.resume_step(turn, 3);
    s.again(stale, Done::Lost);
    finish_answered(s, turn, 2);
    let late = s.resume_step(turn, 2);
    s.again(late, Done::Lost);
    s.say("next");
    let next = s.start();
    s.same(next.history, vec![user("hi"), call("1"), result("1", None), answer("done"), user("next")]);
}

fn parked(s: &mut Script) {
    let turn = s.crash("poison", 2);
    let step = s.resume_step(turn, 1);
    s.started(step);
    s.restart(2);
    let open = s.open();
    s.same((open.cut[0].state, open.cut[0].strikes, open.cut[0].attempt), (TurnState::Parked, 2, 2));
    let step = s.resume_step(turn, 2);
    s.again(step, Done::Lost);
    s.retry();
    let again = s.start();
    s.same((again.turn, again.attempt, again.strikes), (turn, 3, 0));
    s.same(again.history, vec![user("poison")]);
}

fn retry_cut(s: &mut Script) {
    s.crash("one", 3);
    let newer = s.crash("two", 3);
    s.retry();
    let start = s.start_step(Take::All);
    let again = s.started(Step::Start(start.clone()));
    s.same((again.turn, again.attempt, again.strikes), (newer, 2, 0));
    s.same(again.history.clone(), vec![user("one"), Entry::Cut, user("two")]);
    s.again(Step::Start(start), Done::Started(Box::new(again)));
    finish_answered(s, newer, 2);
    let open = s.open();
    s.same(open.cut.len(), 1);
    s.same(open.waiting.len(), 0);
}

fn retry_newest(s: &mut Script) {
    s.talk("one");
    let (old, _) = s.talk("two");
    s.retry();
    let again = s.start();
    assert_ne!(again.turn, old, "an answered turn never runs again");
    s.same((again.attempt, again.strikes), (1, 0));
    let before = [user("one"), answer("answer"), user("two"), answer("answer"), user("two")];
    s.same(again.history, before.to_vec());
    s.same(again.reply_to, Some("m4".into()));
}

fn retry_in_order(s: &mut Script) {
    s.say("one");
    s.retry();
    s.say("two");
    let first = s.start();
    s.same((first.history, first.left), (vec![user("one")], 2));
    finish_answered(s, first.turn, 1);
    let second = s.start();
    s.same((second.history, second.left), (vec![user("one"), answer("done"), user("one")], 1));
    finish_answered(s, second.turn, 1);
    let third = s.start();
    s.same(third.history.last().cloned(), Some(user("two")));
}

fn supersede(s: &mut Script) {
    let cut = s.crash("one", 3);
    let word = s.tell_cut(cut);
    let open = s.open();
    s.same(open.cut[0].told, true);
    // The word's own fate does not matter: it was written.
    s.fate(word.id, Fate::Dead { reason: "gone".into() });
    s.say("two");
    let next = s.start();
    s.same(next.history, vec![user("one"), Entry::Cut, user("two")]);
    let open = s.open();
    s.same(open.cut.len(), 0);
    let step = s.resume_step(cut, 1);
    s.again(step, Done::Lost);
}

fn not_superseded(s: &mut Script) {
    s.say("one");
    let cut = s.start().turn;
    s.say("before the word");
    s.restart(3);
    s.tell_cut(cut);
    s.say("after the word");
    let next = s.start();
    let open = s.open();
    s.same(open.cut.iter().map(|cut| cut.turn).collect(), vec![cut]);
    finish_answered(s, next.turn, 1);
    // Cut once more, it must be told once more before anything supersedes it.
    s.retry();
    let again = s.start();
    s.same(again.turn, cut);
    s.restart(3);
    let open = s.open();
    s.same(open.cut[0].told, false);
    s.say("later");
    s.start();
    let open = s.open();
    s.same(open.cut.len(), 1);
}

fn unstart(s: &mut Script) {
    s.talk("zero");
    s.say("one");
    s.say("two");
    let (session, open) = (s.session(), s.open());
    let started = s.start();
    s.again(Step::Unstart { turn: started.turn, attempt: 2 }, Done::Lost);
    let step = Step::Unstart { turn: started.turn, attempt: 1 };
    let done = s.step(step.clone());
    s.same(done, Done::Ok);
    let now = (s.session(), s.open());
    s.same(now, (session, open));
    s.again(step, Done::Lost);
    let again = s.start();
    s.same((again.attempt, again.history), (1, started.history));
}

fn unstart_retry(s: &mut Script) {
    let turn = s.crash("one", 3);
    s.tell_cut(turn);
    s.retry();
    let before = (s.session(), s.open());
    let first = s.start();
    let done = s.step(Step::Unstart { turn, attempt: 2 });
    s.same(done, Done::Ok);
    let after = (s.session(), s.open());
    s.same(after, before.clone());
    let again = s.start();
    s.same((again.turn, again.attempt, again.history), (first.turn, 2, first.history));
    s.restart(3);
    let before = (s.session(), s.open());
    let step = s.resume_step(turn, 2);
    s.started(step);
    let done = s.step(Step::Unstart { turn, attempt: 3 });
    s.same(done, Done::Ok);
    let after = (s.session(), s.open());
    s.same(after, before);
}

fn unstart_superseding(s: &mut Script) {
    let cut = s.crash("one", 3);
    s.tell_cut(cut);
    s.say("two");
    let before = (s.session(), s.open());
    let next = s.start();
    let done = s.step(Step::Unstart { turn: next.turn, attempt: 1 });
    s.same(done, Done::Ok);
    let after = (s.session(), s.open());
    s.same(after, before);
    let step = s.resume_step(cut, 1);
    s.started(step);
}

fn clear(s: &mut Script) {
    let cut = s.crash("cut", 3);
    s.say("run");
    let running = s.start().turn;
    s.say("before");
    s.retry();
    let here = s.seq();
    s.say("after");
    let step = s.clear_step(here, Closes::Work);
    let done = s.step(step.clone());
    s.same(done, Done::Cleared { messages: 1, running: Some(running), cut: 1 });
    s.again(step, Done::Open(here));
    let open = s.open();
    s.same((open.cut.len(), open.waiting.len(), open.waiting[0].count), (0, 1, 1));
    let step = s.finish_step(running, 1, End::Answered("late".into()), Vec::new());
    s.again(step, Done::Lost);
    let step = s.resume_step(cut, 1);
    s.again(step, Done::Lost);
    let next = s.start();
    s.same(next.history, vec![user("cut"), Entry::Cut, user("run"), Entry::Cut, user("after")]);
}

fn forget(s: &mut Script) {
    s.talk("old");
    let here = s.seq();
    s.clear(here, Closes::Conversation);
    let view = s.session();
    s.same(view.turns, 0);
    let retry = s.delivery(alice(), "alice", Accepted::Retry);
    let done = s.step(Step::Accept(retry));
    s.same(done, Done::Accepted { retryable: false });
    s.say("new");
    let next = s.start();
    s.same(next.history, vec![user("new")]);
}

fn wish(s: &mut Script) {
    s.say("restart, please");
    let turn = s.start().turn;
    s.step(Step::Progress { turn, attempt: 1, entry: call("1") });
    let request = Request { kind: ShutdownKind::Restart, instance: s.instance };
    let end = End::Answered("restart accepted".into());
    let finish = crate::ledger::Finish { turn, attempt: 1, end, replies: Vec::new(), request: Some(request.clone()), at: s.now };
    let done = s.step(Step::Finish(finish.clone()));
    s.same(done, Done::Ok);
    s.again(Step::Finish(finish), Done::Ok);
    s.restart(3);
    let open = s.open();
    s.same(open.cut.len(), 0);
    s.same(open.requests.iter().map(|asked| (asked.seq, &asked.request)).collect::<Vec<_>>(), vec![(turn.0, &request)]);
    s.say("next");
    let next = s.start();
    let closed = vec![user("restart, please"), call("1"), result("1", None), answer("restart accepted"), user("next")];
    s.same(next.history, closed);
}

fn operator(s: &mut Script) {
    let older = s.crash("one", 3);
    let newer = s.crash("two", 3);
    let turns = match s.ask(&Question::Turns) {
        Knowledge::Turns(rows) => rows,
        other => panic!("{other:?}"),
    };
    s.same(turns.iter().map(|row| row.turn).collect(), vec![older, newer]);
    let retry = Step::TurnRetry { seq: s.seq(), turn: older, at: s.now };
    let done = s.step(retry.clone());
    s.same(done, Done::Ok);
    s.again(retry, Done::Lost);
    let started = s.start();
    s.same((started.turn, started.attempt, started.strikes), (older, 2, 0));
    let running = Step::TurnRetry { seq: s.seq(), turn: older, at: s.now };
    s.again(running, Done::Lost);
    s.again(Step::TurnDrop { turn: older }, Done::Lost);
    let done = s.step(Step::TurnDrop { turn: newer });
    s.same(done, Done::Ok);
    s.again(Step::TurnDrop { turn: newer }, Done::Lost);
    let unknown = Step::TurnRetry { seq: s.seq(), turn: TurnId(Seq(999)), at: s.now };
    s.again(unknown, Done::Lost);
    finish_answered(s, older, 2);
    let open = s.open();
    s.same((open.cut.len(), open.waiting.len()), (0, 0));
}
