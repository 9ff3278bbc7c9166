//! Cases of an operator's work.

use super::Case;
use super::script::{Script, alice, user};
use crate::clock::Wall;
use crate::ids::{Seq, SessionKey};
use crate::ledger::{Accepted, Done, Fate, Knowledge, PairCode, Paired, Question, Start, Step, Take};

pub(super) const CASES: &[Case] = &[
    Case { name: "pruning forgets what is closed and old", play: prune },
    Case { name: "pruning never touches what is open", play: prune_open },
    Case { name: "pruning leaves a retry something to mean", play: prune_newest },
    Case { name: "pruning takes no more than it may", play: prune_most },
    Case { name: "open rows are counted by adapter, moved and dropped", play: adapters },
    Case { name: "a moved session joins the one that is there", play: merge },
    Case { name: "who was let in moves along, and keeps the name that is there", play: moved_pairs },
];

fn prune_all(most: u32) -> Step {
    Step::Prune { before: Wall(i64::MAX), most }
}

fn last_seq(s: &mut Script) -> Seq {
    match s.ask(&Question::Facts) {
        Knowledge::Facts(facts) => facts.last_seq,
        other => panic!("{other:?}"),
    }
}

fn prune(s: &mut Script) {
    let (_, one) = s.talk("one");
    s.fate(one, Fate::Sent { message: None, text: None });
    let before = s.now;
    let (_, two) = s.talk("two");
    s.fate(two, Fate::Sent { message: None, text: None });
    let last = last_seq(s);
    let first = Step::Prune { before: Wall(before.0 + 1), most: 100 };
    let done = s.step(first.clone());
    s.same(done, Done::Moved(3)); // a message, a reply, a turn with its transcript
    s.again(first, Done::Moved(0));
    let done = s.step(prune_all(100));
    s.same(done, Done::Moved(2)); // the turn itself is the session's newest
    let after = last_seq(s);
    s.same(after, last);
    // Its key is forgotten: the same delivery is news again.
    let mut again = s.delivery(alice(), "alice", Accepted::Message { text: "again".into() });
    again.delivery = "d1".into();
    let done = s.step(Step::Accept(again));
    s.same(done, Done::Accepted { retryable: true });
    let next = s.start();
    s.same(next.history.first().cloned(), Some(user("two")));
}

fn prune_open(s: &mut Script) {
    s.talk("owed");
    let cut = s.crash("cut", 3);
    let word = s.tell_cut(cut);
    s.fate(word.id, Fate::Sent { message: None, text: None });
    s.hear(alice(), "alice", Accepted::Command { text: "/status".into() });
    s.say("waiting");
    let before = (s.session(), s.open());
    let done = s.step(prune_all(100));
    s.same(done, Done::Moved(1)); // only the message that was answered
    let after = (s.session(), s.open());
    s.same(after, before);
    let step = s.resume_step(cut, 1);
    let again = s.started(step);
    s.same(again.history.last().cloned(), Some(user("cut")));
}

fn prune_newest(s: &mut Script) {
    let (_, reply) = s.talk("hi");
    s.fate(reply, Fate::Sent { message: None, text: None });
    s.step(prune_all(100));
    let retry = s.delivery(alice(), "alice", Accepted::Retry);
    let done = s.step(Step::Accept(retry));
    s.same(done, Done::Accepted { retryable: true });
    let again = s.start();
    s.same(again.history.last().cloned(), Some(user("hi")));
}

fn prune_most(s: &mut Script) {
    for _ in 0..4 {
        let (_, reply) = s.talk("hi");
        s.fate(reply, Fate::Sent { message: None, text: None });
    }
    for expected in [6, 5, 0] {
        let done = s.step(prune_all(2));
        s.same(done, Done::Moved(expected));
    }
}

fn counts(s: &mut Script) -> Vec<(String, u32)> {
    match s.ask(&Question::Adapters) {
        Knowledge::Adapters(rows) => rows.into_iter().map(|(name, count)| (name.as_str().to_owned(), count)).collect(),
        other => panic!("{other:?}"),
    }
}

fn adapters(s: &mut Script) {
    s.talk("owed");
    s.crash("cut", 3);
    s.say("waiting");
    let code =
        PairCode { adapter: "web".into(), user: "eve".into(), name: "Eve".into(), code: "C".into(), expires: s.now.plus(PairCode::LIVES) };
    s.step(Step::PairCode(code));
    let known = counts(s);
    s.same(known, vec![("web".to_owned(), 3)]);
    let done = s.step(Step::MoveAdapter { from: "web".into(), to: "net".into() });
    s.same(done, Done::Moved(4));
    s.again(Step::MoveAdapter { from: "web".into(), to: "net".into() }, Done::Moved(0));
    let known = counts(s);
    s.same(known, vec![("net".to_owned(), 3)]);
    let open = s.open();
    s.same(open.cut[0].session.chat.adapter.as_str(), "net");
    let at = s.now;
    let done = s.step(Step::PairApprove { code: "C".into(), at });
    s.same(done, Done::Paired { adapter: "net".into(), user: "eve".into(), name: "Eve".into() });
    let done = s.step(Step::DropAdapter { adapter: "net".into() });
    s.same(done, Done::Moved(3));
    s.again(Step::DropAdapter { adapter: "net".into() }, Done::Moved(0));
    let known = counts(s);
    s.same(known, Vec::new());
    let open = s.open();
    s.same((open.cut.len(), open.waiting.len(), open.owed.len()), (0, 0, 0));
}

fn merge(s: &mut Script) {
    let mut there: SessionKey = alice();
    there.chat.adapter = "net".into();
    s.say("here");
    s.hear(there.clone(), "bob", Accepted::Message { text: "there".into() });
    s.say("here again");
    let done = s.step(Step::MoveAdapter { from: "web".into(), to: "net".into() });
    s.same(done, Done::Moved(2));
    let open = s.open();
    s.same(open.waiting.iter().map(|waiting| (&waiting.session, waiting.count)).collect::<Vec<_>>(), vec![(&there, 3)]);
    let turn = crate::ids::TurnId(s.seq());
    let start = Start { turn, session: there, take: Take::All, instance: s.instance, at: s.now, history: 10 };
    let started = s.started(Step::Start(start));
    let said: Vec<_> = started.history.into_iter().collect();
    let named = |name: &str, text: &str| crate::agent::Entry::User { name: Some(name.into()), text: text.into() };
    s.same(said, vec![named("ALICE", "here"), named("BOB", "there"), named("ALICE", "here again")]);
}

fn moved_pairs(s: &mut Script) {
    let invite = |s: &mut Script, adapter: &str, user: &str, name: &str, approve: bool| {
        let code = format!("{adapter} {user}");
        let (adapter, user, name) = (adapter.into(), user.into(), name.into());
        let expires = s.now.plus(PairCode::LIVES);
        s.step(Step::PairCode(PairCode { adapter, user, name, code: code.clone(), expires }));
        if approve {
            let at = s.now;
            let done = s.step(Step::PairApprove { code, at });
            s.same(matches!(done, Done::Paired { .. }), true);
        }
    };
    invite(s, "web", "ann", "Ann", true);
    invite(s, "web", "bob", "Bob of the web", true);
    invite(s, "net", "bob", "Bob", true);
    invite(s, "other", "ann", "Anna", true);
    for (adapter, user) in [("web", "eve"), ("net", "eve"), ("web", "dan"), ("net", "ann")] {
        invite(s, adapter, user, "?", false);
    }
    let done = s.step(Step::MoveAdapter { from: "web".into(), to: "net".into() });
    s.same(done, Done::Moved(4));
    let Knowledge::Pairs(rows) = s.ask(&Question::Pairs { at: s.now }) else { panic!("pairs were asked for") };
    let rows: Vec<String> = rows
        .into_iter()
        .map(|row| match row.state {
            Paired::In => format!("{} {}: {}", row.adapter, row.user, row.name),
            Paired::Waiting { code, .. } => format!("{} {}: code {code}", row.adapter, row.user),
        })
        .collect();
    let expected =
        ["net ann: Ann", "net ann: code net ann", "net bob: Bob", "net dan: code web dan", "net eve: code net eve", "other ann: Anna"];
    s.same(rows, expected.map(str::to_owned).into());
}
