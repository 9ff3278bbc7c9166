//! Cases of what goes out.

use super::Case;
use super::script::{Script, alice, room};
use crate::clock::Wall;
use crate::ids::{InstanceId, OutboxId, Seq};
use crate::ledger::{Accepted, Done, End, Fate, Knowledge, NoticeKind, OutboxState, Question, RoomLine, Span, Step, Word};
use crate::platform::Voice;

pub(super) const CASES: &[Case] = &[
    Case { name: "a reply is owed until it is sent", play: delivery },
    Case { name: "a fate is final once it is sent or dead", play: fates },
    Case { name: "a word about a turn is said once per cut", play: tell },
    Case { name: "a notice is recorded once and never among the replies", play: notices },
    Case { name: "what was being sent at a crash is unknown", play: unknown },
    Case { name: "the answer takes over its own draft", play: draft },
    Case { name: "a draft without its turn is owed", play: orphan },
    Case { name: "an answer with a number that is taken is refused whole", play: clash },
    Case { name: "who was told down is told back", play: told_down },
    Case { name: "an operator resends and gives up", play: operator },
    Case { name: "a room shows its newest lines in order", play: lines },
    Case { name: "a room does not show what was refused", play: no_empty_lines },
    Case { name: "a room is read backwards in stretches", play: stretches },
];

fn sent() -> Fate {
    Fate::Sent { message: Some("p".into()), text: None }
}

fn delivery(s: &mut Script) {
    let (_, id) = s.talk("hi");
    let open = s.open();
    s.same(open.owed.iter().map(|(_, count)| *count).collect(), vec![1]);
    let done = s.fate(id, Fate::Sending);
    s.same(done, Done::Ok);
    let due = s.undelivered();
    s.same(due, Vec::new());
    let view = s.session();
    s.same(view.owed, 1);
    let failed = Fate::Failed { not_before: Wall(9_999), reason: "busy".into() };
    s.fate(id, failed);
    let rows = s.outbox();
    s.same((rows[0].state, rows[0].tries, rows[0].not_before), (OutboxState::Failed, 1, Wall(9_999)));
    let due = s.undelivered();
    s.same(due, vec![id]);
    s.fate(id, Fate::Sending);
    s.again(Step::Fate { id, fate: Fate::Sending }, Done::Ok);
    let done = s.fate(id, sent());
    s.same(done, Done::Ok);
    let view = s.session();
    s.same(view.owed, 0);
    let open = s.open();
    s.same(open.owed, Vec::new());
    let rows = s.outbox();
    s.same(rows, Vec::new());
}

fn fates(s: &mut Script) {
    let (_, delivered) = s.talk("one");
    s.fate(delivered, sent());
    let (_, dead) = s.talk("two");
    s.fate(dead, Fate::Dead { reason: "blocked".into() });
    let later = || Fate::Unknown { not_before: Wall(1), reason: "late".into() };
    for id in [delivered, dead, OutboxId(Seq(999))] {
        for fate in [Fate::Sending, sent(), later(), Fate::Dead { reason: "again".into() }] {
            s.again(Step::Fate { id, fate }, Done::Lost);
        }
    }
    let due = s.undelivered();
    s.same(due, Vec::new());
    let rows = s.outbox();
    s.same(rows.into_iter().map(|row| (row.id, row.reason)).collect(), vec![(dead, Some("blocked".to_owned()))]);
}

fn tell(s: &mut Script) {
    let turn = s.crash("hi", 3);
    let word = s.tell_cut(turn);
    s.again(Step::Tell(word), Done::Duplicate { waiting: None });
    let other = s.reply(Some(turn), Word::Interrupted, "cut");
    s.again(Step::Tell(other), Done::Duplicate { waiting: None });
    let mut second = s.reply(Some(turn), Word::Interrupted, "more");
    second.part = 1;
    let done = s.step(Step::Tell(second));
    s.same(done, Done::Ok);
    let step = s.resume_step(turn, 1);
    s.started(step);
    s.restart(3);
    let open = s.open();
    s.same(open.cut[0].told, false);
    s.tell_cut(turn);
    let open = s.open();
    s.same(open.cut[0].told, true);
}

fn notices(s: &mut Script) {
    let down = s.notice(NoticeKind::Down);
    let done = s.step(Step::Notice(down.clone()));
    s.same(done, Done::Ok);
    s.again(Step::Notice(down), Done::Duplicate { waiting: None });
    let twin = s.notice(NoticeKind::Down);
    s.again(Step::Notice(twin), Done::Duplicate { waiting: None });
    let mut elsewhere = s.notice(NoticeKind::Down);
    elsewhere.chat.thread = Some("t".into());
    let done = s.step(Step::Notice(elsewhere));
    s.same(done, Done::Ok);
    let saved = s.notice(NoticeKind::Saved);
    let done = s.step(Step::Notice(saved.clone()));
    s.same(done, Done::Ok);
    s.fate(saved.id, Fate::Failed { not_before: Wall(0), reason: "no".into() });
    let due = s.undelivered();
    s.same(due, Vec::new());
    let done = s.step(Step::Tell(saved));
    s.refused(&done);
}

fn unknown(s: &mut Script) {
    let (_, reply) = s.talk("hi");
    s.fate(reply, Fate::Sending);
    let notice = s.notice(NoticeKind::Down);
    s.step(Step::Notice(notice.clone()));
    s.restart(3);
    let due = s.undelivered();
    s.same(due, vec![reply]);
    let rows = s.outbox();
    s.same(rows.iter().map(|row| (row.id, row.state)).collect(), vec![(reply, OutboxState::Unknown)]);
    let again = s.step(Step::Notice(notice));
    s.same(again, Done::Duplicate { waiting: None });
}

fn draft(s: &mut Script) {
    s.say("hi");
    let turn = s.start().turn;
    let mut draft = s.reply(Some(turn), Word::Answer, "one mom");
    draft.state = OutboxState::Draft;
    let done = s.step(Step::Draft(draft.clone()));
    s.same(done, Done::Ok);
    s.again(Step::Draft(draft.clone()), Done::Duplicate { waiting: None });
    let due = s.undelivered();
    s.same(due, Vec::new());
    let done = s.fate(draft.id, Fate::Drafted { message: "p7".into() });
    s.same(done, Done::Ok);
    // Newer numbers than the draft's are about by then.
    s.say("meanwhile");
    let mut first = draft.clone();
    first.state = OutboxState::Due;
    first.text = "whole".into();
    let mut second = s.reply(Some(turn), Word::Answer, "rest");
    second.part = 1;
    let step = s.finish_step(turn, 1, End::Answered("whole rest".into()), vec![first, second.clone()]);
    let done = s.step(step);
    s.same(done, Done::Ok);
    let rows = s.outbox();
    s.same(rows.len(), 2);
    s.same((rows[0].text.as_str(), rows[0].state, rows[0].message.clone()), ("whole", OutboxState::Due, Some("p7".into())));
    s.same(rows[1].id, second.id);
    // The draft's first send may come back only now.
    s.fate(draft.id, Fate::Drafted { message: "p8".into() });
    let rows = s.outbox();
    s.same((rows[0].state, rows[0].message.clone()), (OutboxState::Due, Some("p8".into())));
}

fn orphan(s: &mut Script) {
    s.say("hi");
    let turn = s.start().turn;
    let mut draft = s.reply(Some(turn), Word::Answer, "one mom");
    draft.state = OutboxState::Draft;
    s.step(Step::Draft(draft.clone()));
    s.again(Step::OutboxDrop { id: draft.id }, Done::Lost);
    s.restart(3);
    let due = s.undelivered();
    s.same(due, vec![draft.id]);
    let view = s.session();
    s.same(view.owed, 1);
}

fn clash(s: &mut Script) {
    let (_, old) = s.talk("one");
    s.say("two");
    let turn = s.start().turn;
    let first = s.reply(Some(turn), Word::Answer, "new");
    let mut taken = s.reply(Some(turn), Word::Answer, "taken");
    taken.id = old;
    let step = s.finish_step(turn, 1, End::Answered("x".into()), vec![first.clone(), taken]);
    let done = s.step(step);
    s.refused(&done);
    let due = s.undelivered();
    s.same(due, vec![old]);
    let view = s.session();
    s.same(view.running.map(|(turn, _)| turn), Some(turn));
    let step = s.finish_step(turn, 1, End::Answered("x".into()), vec![first]);
    let done = s.step(step);
    s.same(done, Done::Ok);
}

fn told_down(s: &mut Script) {
    let down = s.notice(NoticeKind::Down);
    s.step(Step::Notice(down.clone()));
    let shutdown = s.instance;
    let told = |s: &mut Script| -> Vec<(InstanceId, Wall)> { s.open().told_down.into_iter().map(|(_, by, at)| (by, at)).collect() };
    let now = told(s);
    s.same(now, vec![(shutdown, down.at)]);
    s.fate(down.id, sent());
    let now = told(s);
    s.same(now, vec![(shutdown, down.at)]);
    let back = s.notice(NoticeKind::Back);
    s.step(Step::Notice(back));
    let now = told(s);
    s.same(now, Vec::new());
    s.restart(3);
    let saved = s.notice(NoticeKind::Saved);
    s.step(Step::Notice(saved.clone()));
    let now = told(s);
    s.same(now, vec![(s.instance, saved.at)]);
    // Nobody heard it: nobody has to be told that we are back.
    s.fate(saved.id, Fate::Dead { reason: "gone".into() });
    let now = told(s);
    s.same(now, Vec::new());
}

fn operator(s: &mut Script) {
    let (_, id) = s.talk("hi");
    s.again(Step::OutboxRetry { id, at: Wall(5) }, Done::Lost);
    s.fate(id, Fate::Sending);
    s.again(Step::OutboxDrop { id }, Done::Lost);
    s.fate(id, Fate::Dead { reason: "blocked".into() });
    let done = s.step(Step::OutboxRetry { id, at: Wall(5) });
    s.same(done, Done::Ok);
    let rows = s.outbox();
    s.same((rows[0].state, rows[0].tries, rows[0].not_before), (OutboxState::Due, 0, Wall(5)));
    let done = s.step(Step::OutboxDrop { id });
    s.same(done, Done::Ok);
    let rows = s.outbox();
    s.same((rows[0].state, rows[0].is_given_up()), (OutboxState::Dead, true));
    s.again(Step::OutboxDrop { id }, Done::Lost);
    let done = s.step(Step::OutboxRetry { id, at: Wall(5) });
    s.same(done, Done::Ok);
    s.fate(id, Fate::Dead { reason: "blocked again".into() });
    let rows = s.outbox();
    s.same(rows[0].is_given_up(), false);
    // One that died by itself is given up, too, and keeps its reason.
    let done = s.step(Step::OutboxDrop { id });
    s.same(done, Done::Ok);
    let rows = s.outbox();
    s.same((rows[0].is_given_up(), rows[0].reason.clone()), (true, Some("blocked again".into())));
    s.again(Step::OutboxRetry { id: OutboxId(Seq(999)), at: Wall(5) }, Done::Lost);
    let (_, id) = s.talk("may have arrived");
    s.fate(id, Fate::Sending);
    s.fate(id, Fate::Unknown { not_before: Wall(99), reason: "no answer".into() });
    let done = s.step(Step::OutboxRetry { id, at: Wall(5) });
    s.same(done, Done::Ok);
    let rows = s.outbox();
    s.same((rows[1].state, rows[1].not_before), (OutboxState::Unknown, Wall(5)));
    // Whatever became of it since: it may have arrived.
    s.fate(id, Fate::Sending);
    s.fate(id, Fate::Failed { not_before: Wall(99), reason: "wait".into() });
    s.fate(id, Fate::Sending);
    s.fate(id, Fate::Dead { reason: "blocked".into() });
    let done = s.step(Step::OutboxRetry { id, at: Wall(5) });
    s.same(done, Done::Ok);
    let rows = s.outbox();
    s.same((rows[1].state, rows[1].unsure), (OutboxState::Unknown, true));
}

fn lines(s: &mut Script) {
    let (_, first) = s.talk("one");
    let (_, second) = s.talk("two");
    s.fate(first, Fate::Sent { message: None, text: Some("rendered".into()) });
    let notice = s.notice(NoticeKind::Down);
    s.step(Step::Notice(notice.clone()));
    s.hear(super::script::everybody(), "bob", Accepted::Command { text: "/help".into() });
    let ask = |s: &mut Script, after: u64, most: u32| -> Vec<RoomLine> {
        match s.ask(&Question::Room { chat: room(), span: Span { after: Seq(after), before: None, most, bytes: u32::MAX } }) {
            Knowledge::Room(lines) => lines,
            other => panic!("{other:?}"),
        }
    };
    let all = ask(s, 0, 100);
    s.same(all.iter().map(|line| line.text.as_str()).collect(), vec!["one", "rendered", "two", "notice"]);
    s.same(all.iter().map(|line| line.voice).collect(), vec![None, Some(Voice::Agent), None, Some(Voice::Gateway)]);
    s.same(all[0].delivery.clone(), Some("d1".into()));
    s.same(all[1].outbox, Some(first));
    let tail = ask(s, 0, 2);
    s.same(tail, all[2..].to_vec());
    let rest = ask(s, notice.id.0.0 - 1, 100);
    s.same(rest, all[3..].to_vec());
    s.fate(second, Fate::Sending);
    let all = ask(s, 0, 100);
    s.same(all.len(), 5);
    s.same(all[3].state, Some(OutboxState::Sending));
}

/// A conversation of any length is read backwards in stretches of a bounded size, without a gap and without a line twice.
fn stretches(s: &mut Script) {
    for text in ["1", "22", "333", "4444"] {
        let (_, reply) = s.talk(text);
        s.fate(reply, Fate::Sent { message: None, text: Some(text.repeat(2)) });
    }
    let ask = |s: &mut Script, after: u64, before: Option<u64>, most: u32, bytes: u32| -> Vec<RoomLine> {
        match s.ask(&Question::Room { chat: room(), span: Span { after: Seq(after), before: before.map(Seq), most, bytes } }) {
            Knowledge::Room(lines) => lines,
            other => panic!("{other:?}"),
        }
    };
    let all = ask(s, 0, None, 100, u32::MAX);
    s.same(all.iter().map(|line| line.text.len()).collect(), vec![1, 2, 2, 4, 3, 6, 4, 8]);
    for (most, bytes) in [(1, u32::MAX), (3, u32::MAX), (100, 0), (100, 7), (100, 12), (2, 9)] {
        let (mut read, mut before) = (Vec::new(), None);
        loop {
            let stretch = ask(s, 0, before, most, bytes);
            let Some(oldest) = stretch.first() else { break };
            before = Some(oldest.seq.0);
            let length: usize = stretch.iter().map(|line| line.text.len()).sum();
            s.same(stretch.len() == 1 || (stretch.len() <= most as usize && length <= bytes as usize), true);
            read.splice(0..0, stretch);
        }
        s.same(read, all.clone());
    }
    let middle = ask(s, all[1].seq.0, Some(all[5].seq.0), 100, u32::MAX);
    s.same(middle, all[2..5].to_vec());
    let none = ask(s, all[7].seq.0, None, 100, u32::MAX);
    s.same(none, Vec::new());
}

/// One too many is kept without its words; what was taken in and then given up is still what was said.
fn no_empty_lines(s: &mut Script) {
    s.say("one");
    s.hear(alice(), "alice", Accepted::Refused { reason: "too many".into() });
    s.step(Step::DropAdapter { adapter: "web".into() });
    match s.ask(&Question::Room { chat: room(), span: Span { after: Seq(0), before: None, most: 100, bytes: u32::MAX } }) {
        Knowledge::Room(lines) => s.same(lines.iter().map(|line| line.text.as_str()).collect(), vec!["one"]),
        other => panic!("{other:?}"),
    }
}
