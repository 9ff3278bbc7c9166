//! Cases of what comes in: deliveries, commands, requests, instances, pairings.

use uuid::Uuid;

use super::Case;
use super::script::{Script, alice, everybody};
use crate::clock::Wall;
use crate::ids::{InstanceId, Seq};
use crate::last_words::{Cause, Death, LastWords, Remains};
use crate::ledger::{
    Accept, Accepted, Born, Done, Ending, InstanceFacts, Knowledge, LedgerFacts, PairCode, PairRow, Paired, Question, Request, Settle,
    Step, Word,
};
use crate::shutdown::{Phase, ShutdownKind};

pub(super) const CASES: &[Case] = &[
    Case { name: "a delivery counts once, and a repeat wakes who still waits", play: once },
    Case { name: "a number is given once", play: numbers },
    Case { name: "a refused step fails none of its neighbours", play: neighbours },
    Case { name: "a retry with nothing to retry is closed at once", play: nothing_to_retry },
    Case { name: "what is closed as it is taken in has its word in the same breath, and nothing else has", play: answered_at_once },
    Case { name: "a command is open until it is settled", play: command },
    Case { name: "a request is at most once and open until it is answered", play: request },
    Case { name: "the cursor is the account's", play: cursor },
    Case { name: "an instance is born once, and its last word stands", play: instances },
    Case { name: "unclean starts count back to the last clean one", play: unclean },
    Case { name: "what an instance left beside the ledger is put to its row, and its own word stands", play: remains },
    Case { name: "a code lets one person in, once, while it lives", play: pairing },
    Case { name: "the newest hundred codes of an adapter are kept", play: codes },
    Case { name: "old lives are forgotten, but not the last ones", play: forgotten },
];

fn once(s: &mut Script) {
    let first = s.delivery(alice(), "alice", Accepted::Message { text: "hi".into() });
    let done = s.step(Step::Accept(first.clone()));
    s.same(done, Done::Accepted { retryable: true });
    s.again(Step::Accept(first.clone()), Done::Duplicate { waiting: Some(alice()) });
    let mut repeat = first.clone();
    repeat.seq = s.seq();
    s.again(Step::Accept(repeat.clone()), Done::Duplicate { waiting: Some(alice()) });
    s.start();
    s.again(Step::Accept(repeat), Done::Duplicate { waiting: None });
    let refused = s.delivery(alice(), "alice", Accepted::Refused { reason: "too many".into() });
    let done = s.step(Step::Accept(refused.clone()));
    s.same(done, Done::Accepted { retryable: true });
    s.again(Step::Accept(refused), Done::Duplicate { waiting: None });
    let view = s.session();
    s.same(view.waiting, 0);
}

fn numbers(s: &mut Script) {
    let seq = s.say("hi");
    let mut other = s.delivery(alice(), "alice", Accepted::Message { text: "ho".into() });
    other.seq = seq;
    let done = s.step(Step::Accept(other));
    s.refused(&done);
    let mut word = s.reply(None, Word::Command, "word");
    word.id = crate::ids::OutboxId(seq);
    let done = s.step(Step::Tell(word));
    s.refused(&done);
    let view = s.session();
    s.same(view.waiting, 1);
}

fn neighbours(s: &mut Script) {
    let first = s.delivery(alice(), "alice", Accepted::Message { text: "one".into() });
    let mut clash = s.delivery(everybody(), "bob", Accepted::Message { text: "two".into() });
    clash.seq = first.seq;
    let third = s.delivery(alice(), "alice", Accepted::Message { text: "three".into() });
    let done = s.commit(&[Step::Accept(first), Step::Accept(clash.clone()), Step::Accept(third)]);
    s.same(done[0].clone(), Done::Accepted { retryable: true });
    s.refused(&done[1]);
    s.same(done[2].clone(), Done::Accepted { retryable: true });
    let open = s.open();
    s.same(open.waiting.len(), 1);
    s.same(open.waiting[0].count, 2);
    // Its key was not kept either.
    clash.seq = s.seq();
    let done = s.step(Step::Accept(clash));
    s.same(done, Done::Accepted { retryable: true });
}

fn nothing_to_retry(s: &mut Script) {
    let retry = s.delivery(alice(), "alice", Accepted::Retry);
    let done = s.step(Step::Accept(retry.clone()));
    s.same(done, Done::Accepted { retryable: false });
    s.again(Step::Accept(retry), Done::Duplicate { waiting: None });
    let view = s.session();
    s.same(view.waiting, 0);
    s.talk("hi");
    let retry = s.delivery(alice(), "alice", Accepted::Retry);
    let done = s.step(Step::Accept(retry));
    s.same(done, Done::Accepted { retryable: true });
}

fn answered_at_once(s: &mut Script) {
    let kinds = |s: &Script| {
        [
            Accepted::Retry,
            Accepted::Decision { approved: true },
            Accepted::Refused { reason: "too long".into() },
            Accepted::Request(Request { kind: ShutdownKind::Restart, instance: s.instance }),
        ]
    };
    for what in kinds(s) {
        let before = s.undelivered();
        let word = s.reply(None, Word::Command, "word");
        let accept = Accept { answer: vec![word.clone()], ..s.delivery(alice(), "alice", what) };
        let done = s.step(Step::Accept(accept.clone()));
        assert!(matches!(done, Done::Accepted { .. }), "{done:?}");
        let after = s.undelivered();
        s.same(after, before.into_iter().chain([word.id]).collect());
        s.again(Step::Accept(accept), Done::Duplicate { waiting: None });
    }
    // What waits, or is a command, is answered by whoever takes it up.
    s.talk("hi");
    for what in [Accepted::Message { text: "ho".into() }, Accepted::Retry, Accepted::Command { text: "/status".into() }] {
        let before = s.undelivered();
        let accept = Accept { answer: vec![s.reply(None, Word::Command, "word")], ..s.delivery(alice(), "alice", what) };
        s.step(Step::Accept(accept));
        let after = s.undelivered();
        s.same(after, before);
    }
    // A number that is taken refuses the whole of it.
    let taken = s.reply(None, Word::Command, "word");
    s.step(Step::Tell(taken.clone()));
    let accept = Accept { answer: vec![taken], ..s.delivery(alice(), "alice", Accepted::Refused { reason: "too long".into() }) };
    let done = s.step(Step::Accept(accept.clone()));
    s.refused(&done);
    let done = s.step(Step::Accept(Accept { answer: Vec::new(), ..accept }));
    s.same(done, Done::Accepted { retryable: true });
}

fn command(s: &mut Script) {
    let accept = s.delivery(alice(), "alice", Accepted::Command { text: "/status".into() });
    let seq = accept.seq;
    let done = s.step(Step::Accept(accept.clone()));
    s.same(done, Done::Accepted { retryable: true });
    s.again(Step::Accept(accept.clone()), Done::Open(seq));
    let open = s.open();
    s.same(open.commands.iter().map(|command| (command.seq, command.text.as_str())).collect::<Vec<_>>(), vec![(seq, "/status")]);
    s.same(open.waiting.len(), 0);
    let reply = s.reply(None, Word::Command, "idle");
    let settle = Step::Settle(Settle { seq, replies: vec![reply.clone()] });
    let done = s.step(settle.clone());
    s.same(done, Done::Ok);
    s.again(settle, Done::Lost);
    s.again(Step::Accept(accept), Done::Duplicate { waiting: None });
    let open = s.open();
    s.same(open.commands.len(), 0);
    let due = s.undelivered();
    s.same(due, vec![reply.id]);
}

fn request(s: &mut Script) {
    let wish = Request { kind: ShutdownKind::Restart, instance: s.instance };
    let accept = s.delivery(alice(), "alice", Accepted::Request(wish.clone()));
    let done = s.step(Step::Accept(accept.clone()));
    s.same(done, Done::Accepted { retryable: true });
    s.again(Step::Accept(accept.clone()), Done::Duplicate { waiting: None });
    let open = s.open();
    s.same(open.requests.len(), 1);
    s.same((open.requests[0].seq, &open.requests[0].request, &open.requests[0].session), (accept.seq, &wish, &alice()));
    let reply = s.reply(None, Word::Command, "restarted");
    let answered = Step::Answered { request: accept.seq, replies: vec![reply] };
    let done = s.step(answered.clone());
    s.same(done, Done::Ok);
    s.again(answered, Done::Lost);
    let open = s.open();
    s.same(open.requests.len(), 0);
    // Once answered, it is forgotten when it is old, and not before.
    let done = s.step(Step::Prune { before: accept.at, most: 100 });
    s.same(done, Done::Moved(0));
    let done = s.step(Step::Prune { before: Wall(accept.at.0 + 1), most: 100 });
    s.same(done, Done::Moved(2)); // its row in the inbox, and the request
}

fn cursor(s: &mut Script) {
    let known = s.ask(&Question::Cursor("web:1".into()));
    s.same(known, Knowledge::Cursor(None));
    for cursor in ["1", "2"] {
        let step = Step::Cursor { account: "web:1".into(), cursor: cursor.into() };
        let done = s.step(step.clone());
        s.same(done, Done::Ok);
        s.again(step, Done::Ok);
        let known = s.ask(&Question::Cursor("web:1".into()));
        s.same(known, Knowledge::Cursor(Some(cursor.into())));
    }
    let known = s.ask(&Question::Cursor("web:2".into()));
    s.same(known, Knowledge::Cursor(None));
}

fn born(s: &mut Script, number: u128, predecessor: Option<Ending>) -> Step {
    s.now = Wall(s.now.0 + 10);
    let instance = InstanceId(Uuid::from_u128(number));
    Step::Born(Born { instance, version: "1.0".into(), boot: Some("boot".into()), predecessor, remains: None, at: s.now })
}

fn facts(s: &mut Script) -> LedgerFacts {
    match s.ask(&Question::Facts) {
        Knowledge::Facts(facts) => *facts,
        other => panic!("{other:?}"),
    }
}

fn instances(s: &mut Script) {
    let before = facts(s);
    s.same((before.last_seq, before.last), (Seq(0), None));
    let step = born(s, 1, None);
    let done = s.step(step.clone());
    s.same(done, Done::Ok);
    s.again(step, Done::Lost);
    let instance = InstanceId(Uuid::from_u128(1));
    let at = s.now;
    let done = s.step(Step::Phase { instance, phase: Phase::Drain, at });
    s.same(done, Done::Ok);
    let leaving = |why: &str| Step::Leaving { instance, why: why.into() };
    let done = s.step(leaving("restart"));
    s.same(done, Done::Ok);
    let done = s.step(leaving("restart; then stop"));
    s.same(done, Done::Ok);
    s.again(leaving("restart; then stop"), Done::Ok);
    let ended = |verdict: &str| Step::Ended { instance, clean: true, kind: ShutdownKind::Stop, verdict: verdict.into(), at };
    let done = s.step(ended("clean"));
    s.same(done, Done::Ok);
    s.again(ended("clean"), Done::Ok);
    s.again(ended("another"), Done::Lost);
    s.again(leaving("too late"), Done::Lost);
    let expected = InstanceFacts {
        instance,
        version: "1.0".into(),
        born: at,
        boot: Some("boot".into()),
        phase: Some((Phase::Drain, at)),
        ended: Some((at, ShutdownKind::Stop, true, "clean".into())),
        predecessor: None,
        why: Some("restart; then stop".into()),
        seen: None,
        words: None,
    };
    let now = facts(s);
    s.same(now.last, Some(expected));
    s.same(now.ledger, before.ledger);
    let unknown = Step::Phase { instance: InstanceId(Uuid::from_u128(9)), phase: Phase::Drain, at };
    s.again(unknown, Done::Lost);
}

fn forgotten(s: &mut Script) {
    for number in 1..=70 {
        let step = born(s, number, None);
        s.step(step);
    }
    let lives = |s: &mut Script| match s.ask(&Question::Instances { most: 100 }) {
        Knowledge::Instances(lives) => lives.iter().map(|life| life.instance.0.as_u128()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let prune = |before, most| Step::Prune { before, most };
    let oldest = Wall(s.now.0 - 69 * 10);
    let done = s.step(prune(oldest, 100));
    s.same(done, Done::Moved(0)); // born then, and not before
    let done = s.step(prune(Wall(oldest.0 + 10), 100));
    s.same(done, Done::Moved(1));
    let done = s.step(prune(Wall(i64::MAX), 2));
    s.same(done, Done::Moved(2));
    let done = s.step(prune(Wall(i64::MAX), 100));
    s.same(done, Done::Moved(3));
    let left = lives(s);
    s.same(left, (7..=70).rev().collect());
}

fn remains(s: &mut Script) {
    let known = |s: &mut Script| match s.ask(&Question::Instances { most: 10 }) {
        Knowledge::Instances(lives) => lives,
        other => panic!("{other:?}"),
    };
    let of = |number, cause: Option<Cause>| {
        let words = cause.map(|cause| LastWords { at: Wall(7), code: Some(75), phase: Some(Phase::Flush), cause });
        Some(Remains { instance: InstanceId(Uuid::from_u128(number)), seen: Wall(6), words })
    };
    let down = |verdict: &str| Cause::Down { kind: ShutdownKind::Restart, clean: false, verdict: verdict.into() };
    let follow = |s: &mut Script, number, remains: Option<Remains>| {
        let Step::Born(born) = born(s, number, None) else { unreachable!("as it was made") };
        let step = Step::Born(Born { remains, ..born });
        let done = s.step(step.clone());
        s.same(done, Done::Ok);
        s.again(step, Done::Lost);
    };
    follow(s, 1, None);
    follow(s, 2, of(1, None));
    follow(s, 3, of(2, Some(Cause::Hung)));
    follow(s, 4, of(3, Some(down("the disk is full"))));
    let (instance, at) = (InstanceId(Uuid::from_u128(4)), s.now);
    s.step(Step::Ended { instance, clean: true, kind: ShutdownKind::Stop, verdict: "clean".into(), at });
    follow(s, 5, of(4, Some(down("another"))));
    // Of nobody who is known: it changes nothing. Nor does one of whom less is known than before.
    follow(s, 6, of(9, Some(Cause::Overdue)));
    follow(s, 7, of(4, None));
    let lives = known(s);
    let told: Vec<_> =
        lives.iter().rev().map(|life| (life.seen, life.words.as_ref().map(|words| &words.cause), life.ended.as_ref())).collect();
    let (hung, full, other) = (Cause::Hung, down("the disk is full"), down("another"));
    let unrecorded = (Wall(7), ShutdownKind::Restart, false, "the disk is full".to_owned());
    let recorded = (at, ShutdownKind::Stop, true, "clean".to_owned());
    let seen = Some(Wall(6));
    let nothing = (None, None, None);
    s.same(
        told,
        vec![
            (seen, None, None),
            (seen, Some(&hung), None),
            (seen, Some(&full), Some(&unrecorded)),
            (seen, Some(&other), Some(&recorded)),
            nothing,
            nothing,
            nothing,
        ],
    );
}

fn unclean(s: &mut Script) {
    let killed = || Some(Ending::Killed { phase: None, by: Death::Unknown });
    let mut starts = Vec::new();
    for (number, predecessor) in [(1, None), (2, killed()), (3, Some(Ending::Clean)), (4, killed()), (5, killed())] {
        let step = born(s, number, predecessor);
        s.step(step);
        starts.push(s.now);
    }
    let known = facts(s);
    s.same(known.unclean_starts, vec![starts[4], starts[3]]);
    for number in 6..60 {
        let step = born(s, number, killed());
        s.step(step);
    }
    let known = facts(s);
    s.same(known.unclean_starts.len(), 32);
    s.same(known.unclean_starts[0], s.now);
}

fn code(s: &Script, user: &str, code: &str) -> PairCode {
    PairCode {
        adapter: "web".into(),
        user: user.into(),
        name: user.into(),
        code: code.into(),
        expires: s.now.plus(std::time::Duration::from_secs(1)),
    }
}

fn pairs(s: &mut Script) -> Vec<PairRow> {
    match s.ask(&Question::Pairs { at: s.now }) {
        Knowledge::Pairs(rows) => rows,
        other => panic!("{other:?}"),
    }
}

fn pairing(s: &mut Script) {
    let old = code(s, "eve", "OLD");
    s.step(Step::PairCode(old));
    let new = code(s, "eve", "NEW");
    s.step(Step::PairCode(new.clone()));
    let rows = pairs(s);
    s.same(rows.into_iter().map(|row| row.state).collect(), vec![Paired::Waiting { code: "NEW".into(), expires: new.expires }]);
    let approve = |code: &str, at| Step::PairApprove { code: code.into(), at };
    let late = Wall(new.expires.0 + 1);
    let now = s.now;
    s.again(approve("OLD", now), Done::Lost);
    s.again(approve("NEW", late), Done::Lost);
    // By a clock that jumped back nobody knows how old it is.
    s.again(approve("NEW", Wall(now.0 - 365 * 86_400_000)), Done::Lost);
    let done = s.step(approve("NEW", now));
    s.same(done, Done::Paired { adapter: "web".into(), user: "eve".into(), name: "eve".into() });
    s.again(approve("NEW", now), Done::Lost);
    let rows = pairs(s);
    s.same(rows.into_iter().map(|row| row.state).collect(), vec![Paired::In]);
    let revoke = Step::PairRevoke { adapter: "web".into(), user: "eve".into() };
    let done = s.step(revoke.clone());
    s.same(done, Done::Ok);
    s.again(revoke, Done::Lost);
    let rows = pairs(s);
    s.same(rows, Vec::new());
}

fn codes(s: &mut Script) {
    for n in 0..101 {
        let code = code(s, &format!("u{n}"), &format!("C{n}"));
        s.step(Step::PairCode(code));
    }
    let rows = pairs(s);
    s.same(rows.len(), 100);
    s.same(rows.iter().any(|row| row.user.as_str() == "u0"), false);
}
