//! A case's hand on a ledger: short verbs that make steps, and checks that name the case.

use std::fmt::Debug;

use uuid::Uuid;

use crate::agent::Entry;
use crate::clock::Wall;
use crate::ids::{ChatId, InstanceId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::ledger::{
    Accept, Accepted, Closes, Done, End, Fate, Finish, Knowledge, Ledger, NoticeKind, OpenWork, OutboxRow, OutboxState, Question, Resume,
    SessionView, Span, Start, Started, Step, Take, What, Word,
};

/// A ledger under test. Its clock moves by one with every step that is made.
pub struct Script {
    name: &'static str,
    ledger: Box<dyn Ledger>,
    seq: u64,
    /// The present instance; a case changes it to play a restart.
    pub instance: InstanceId,
    /// Now.
    pub now: Wall,
}

impl Script {
    /// A script on an empty ledger.
    pub fn new(name: &'static str, ledger: Box<dyn Ledger>) -> Self {
        Self { name, ledger, seq: 0, instance: InstanceId(Uuid::from_u128(1)), now: Wall(1_000) }
    }

    /// The next number.
    pub fn seq(&mut self) -> Seq {
        self.seq += 1;
        self.now = Wall(self.now.0 + 1);
        Seq(self.seq)
    }

    /// Commits some steps together.
    pub fn commit(&mut self, steps: &[Step]) -> Vec<Done> {
        self.ledger.commit(steps).unwrap_or_else(|fault| panic!("{}: {fault}", self.name))
    }

    /// Commits one step.
    pub fn step(&mut self, step: Step) -> Done {
        self.commit(&[step]).pop().unwrap_or_else(|| panic!("{}: a step without an answer", self.name))
    }

    /// Asks.
    pub fn ask(&mut self, question: &Question) -> Knowledge {
        self.ledger.ask(question).unwrap_or_else(|fault| panic!("{}: {fault}", self.name))
    }

    /// Must be equal.
    #[allow(clippy::needless_pass_by_value)] // so that a case reads `s.same(found, expected)`
    pub fn same<T: PartialEq + Debug>(&self, found: T, expected: T) {
        assert_eq!(found, expected, "{}", self.name);
    }

    /// Must be refused.
    pub fn refused(&self, done: &Done) {
        assert!(matches!(done, Done::Refused(_)), "{}: {done:?} is no refusal", self.name);
    }

    /// A step that was committed before must change nothing that can be asked, and answer `expected`.
    pub fn again(&mut self, step: Step, expected: Done) {
        let before = self.everything();
        let done = self.step(step);
        self.same(done, expected);
        let after = self.everything();
        self.same(after, before);
    }

    /// All that can be asked about alice's session and the whole ledger.
    fn everything(&mut self) -> Vec<Knowledge> {
        let at = self.now;
        let questions = [
            Question::Facts,
            Question::Open,
            Question::Outbox,
            Question::Turns,
            Question::Adapters,
            Question::Pairs { at },
            Question::Instances { most: 100 },
            Question::Session(alice()),
            Question::Undelivered("web".into()),
            Question::Room { chat: room(), span: Span { after: Seq(0), before: None, most: 1000, bytes: u32::MAX } },
        ];
        questions.iter().map(|question| self.ask(question)).collect()
    }

    /// The accept of a delivery.
    pub fn delivery(&mut self, session: SessionKey, user: &str, what: Accepted) -> Accept {
        let seq = self.seq();
        Accept {
            seq,
            account: "web:1".into(),
            delivery: format!("d{seq}").as_str().into(),
            session,
            user: UserId::new(user),
            name: user.to_uppercase(),
            message: Some(format!("m{seq}").as_str().into()),
            at: self.now,
            what,
            answer: Vec::new(),
        }
    }

    /// Alice says something.
    pub fn say(&mut self, text: &str) -> Seq {
        self.hear(alice(), "alice", Accepted::Message { text: text.into() })
    }

    /// Alice says /retry.
    pub fn retry(&mut self) -> Seq {
        self.hear(alice(), "alice", Accepted::Retry)
    }

    /// A delivery is accepted.
    pub fn hear(&mut self, session: SessionKey, user: &str, what: Accepted) -> Seq {
        let accept = self.delivery(session, user, what);
        let seq = accept.seq;
        let done = self.step(Step::Accept(accept));
        assert!(matches!(done, Done::Accepted { .. }), "{}: {done:?}", self.name);
        seq
    }

    /// A start of alice's session.
    pub fn start_step(&mut self, take: Take) -> Start {
        Start { turn: TurnId(self.seq()), session: alice(), take, instance: self.instance, at: self.now, history: 100 }
    }

    /// Alice's session takes up what waits.
    pub fn start(&mut self) -> Started {
        let start = self.start_step(Take::All);
        self.started(Step::Start(start))
    }

    /// A step that must start a turn.
    pub fn started(&mut self, step: Step) -> Started {
        match self.step(step) {
            Done::Started(started) => *started,
            done => panic!("{}: {done:?} instead of a turn", self.name),
        }
    }

    /// A resume of a turn.
    pub fn resume_step(&mut self, turn: TurnId, attempt: u32) -> Step {
        Step::Resume(Resume { turn, attempt, instance: self.instance, at: self.now, history: 100 })
    }

    /// The end of a turn.
    pub fn finish_step(&mut self, turn: TurnId, attempt: u32, end: End, replies: Vec<OutboxRow>) -> Step {
        Step::Finish(Finish { turn, attempt, end, replies, request: None, at: self.now })
    }

    /// A turn ends without a word.
    pub fn finish(&mut self, turn: TurnId, attempt: u32, end: End) {
        let step = self.finish_step(turn, attempt, end, Vec::new());
        let done = self.step(step);
        self.same(done, Done::Ok);
    }

    /// A message is answered, and the reply is on its way; the turn and the reply.
    pub fn talk(&mut self, text: &str) -> (TurnId, OutboxId) {
        self.say(text);
        let turn = self.start().turn;
        let reply = self.reply(Some(turn), Word::Answer, "answer");
        let id = reply.id;
        let step = self.finish_step(turn, 1, End::Answered("answer".into()), vec![reply]);
        let done = self.step(step);
        self.same(done, Done::Ok);
        (turn, id)
    }

    /// Alice says something, and the turn is cut by the end of the process.
    pub fn crash(&mut self, text: &str, max_attempts: u32) -> TurnId {
        self.say(text);
        let turn = self.start().turn;
        self.restart(max_attempts);
        turn
    }

    /// Another instance recovers.
    pub fn restart(&mut self, max_attempts: u32) {
        self.instance = InstanceId(Uuid::from_u128(self.instance.0.as_u128() + 1));
        let done = self.step(Step::Recover { instance: self.instance, max_attempts, at: self.now });
        self.same(done, Done::Ok);
    }

    /// A word to alice's session, due.
    pub fn reply(&mut self, turn: Option<TurnId>, word: Word, text: &str) -> OutboxRow {
        OutboxRow {
            id: OutboxId(self.seq()),
            chat: room(),
            session: Some(alice()),
            turn,
            what: What::Reply { word },
            part: 0,
            text: text.into(),
            reply_to: None,
            state: OutboxState::Due,
            tries: 0,
            not_before: self.now,
            valid_until: None,
            message: None,
            reason: None,
            unsure: false,
            at: self.now,
        }
    }

    /// A notice to alice's chat, about the present instance's shutdown.
    pub fn notice(&mut self, kind: NoticeKind) -> OutboxRow {
        let scope = self.instance.to_string();
        let row = self.reply(None, Word::Command, "notice");
        OutboxRow { what: What::Notice { kind, scope }, session: None, state: OutboxState::Sending, ..row }
    }

    /// Alice is told that her turn was cut.
    pub fn tell_cut(&mut self, turn: TurnId) -> OutboxRow {
        let row = self.reply(Some(turn), Word::Interrupted, "cut");
        let done = self.step(Step::Tell(row.clone()));
        self.same(done, Done::Ok);
        row
    }

    /// What became of a word.
    pub fn fate(&mut self, id: OutboxId, fate: Fate) -> Done {
        self.step(Step::Fate { id, fate })
    }

    /// A command of alice's, under this number, that closes what she has open.
    pub fn clear_step(&mut self, seq: Seq, closes: Closes) -> Step {
        let what = Accepted::Closing { text: "/stop".into(), closes };
        Step::Accept(Accept { seq, ..self.delivery(alice(), "alice", what) })
    }

    /// Closes what alice has open before this number.
    pub fn clear(&mut self, seq: Seq, closes: Closes) -> Done {
        let step = self.clear_step(seq, closes);
        self.step(step)
    }

    /// Everything open.
    pub fn open(&mut self) -> OpenWork {
        match self.ask(&Question::Open) {
            Knowledge::Open(open) => *open,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// What alice's session has open.
    pub fn session(&mut self) -> SessionView {
        match self.ask(&Question::Session(alice())) {
            Knowledge::Session(view) => *view,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// Rows of the outbox that somebody may care about.
    pub fn outbox(&mut self) -> Vec<OutboxRow> {
        match self.ask(&Question::Outbox) {
            Knowledge::Outbox(rows) => rows,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// What the web adapter still has to deliver.
    pub fn undelivered(&mut self) -> Vec<OutboxId> {
        match self.ask(&Question::Undelivered("web".into())) {
            Knowledge::Outbox(rows) => rows.into_iter().map(|row| row.id).collect(),
            other => panic!("{}: {other:?}", self.name),
        }
    }
}

/// The one room.
pub(super) fn room() -> ChatId {
    ChatId::new("web", "room")
}

/// Alice's session in the one room.
pub(super) fn alice() -> SessionKey {
    SessionKey { chat: room(), member: Some("alice".into()) }
}

/// The session that everybody in the one room shares.
pub(super) fn everybody() -> SessionKey {
    SessionKey { chat: room(), member: None }
}

/// What somebody said, in a session of their own.
pub(super) fn user(text: &str) -> Entry {
    Entry::User { name: None, text: text.into() }
}

/// What the agent said.
pub(super) fn answer(text: &str) -> Entry {
    Entry::Assistant { text: text.into() }
}

/// The agent calls a tool.
pub(super) fn call(id: &str) -> Entry {
    Entry::ToolCall { call: id.into(), name: "tool".into(), arguments: "{}".into() }
}

/// What came of a call.
pub(super) fn result(id: &str, text: Option<&str>) -> Entry {
    Entry::ToolResult { call: id.into(), result: text.map(str::to_owned) }
}
