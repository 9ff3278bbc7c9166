//! Random lives of a ledger, played to every engine at once: whatever one says, all must say.
//!
//! The memory engine is the model. SQLite is closed and opened again, and dropped without a goodbye, at random points between.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use switchboard_actors::agent::Entry;
use switchboard_actors::children::Child;
use switchboard_actors::clock::Wall;
use switchboard_actors::ids::{
    Account, AdapterName, ChatId, Cursor, DeliveryId, InstanceId, MessageId, OutboxId, Seq, SessionKey, TurnId, UserId,
};
use switchboard_actors::last_words::{Cause, Death, LastWords, Remains};
use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::ledger::sqlite::SqliteLedger;
use switchboard_actors::ledger::{
    Accept, Accepted, Born, Closes, Done, End, Ending, Fate, Finish, Knowledge, Ledger, NoticeKind, OutboxRow, OutboxState, PairCode,
    Question, Request, Resume, Settle, Span, Start, Step, Take, What, Word,
};
use switchboard_actors::shutdown::{Phase, ShutdownKind};
use uuid::Uuid;

/// One throw: which step, and four choices within it.
type Throw = (u8, u8, u8, u8, u8);

/// What the player remembers, to name things that exist.
#[derive(Default)]
struct Player {
    seq: u64,
    now: i64,
    turns: Vec<(TurnId, u32)>,
    open: Vec<(TurnId, u32)>,
    words: Vec<OutboxId>,
    rows: Vec<Seq>,
}

impl Player {
    /// Mostly a fresh number, sometimes one that was used.
    fn number(&mut self, dice: u8) -> Seq {
        if dice >= 250 && self.seq > 0 {
            return Seq(1 + u64::from(dice) % self.seq);
        }
        self.seq += 1;
        Seq(self.seq)
    }

    fn turn(&self, dice: u8) -> (TurnId, u32) {
        if dice < 200 && !self.open.is_empty() {
            return self.open[self.open.len() - 1 - usize::from(dice) % self.open.len()];
        }
        match self.turns.len() {
            0 => (TurnId(Seq(1)), 1),
            n => self.turns[n - 1 - usize::from(dice) % n.min(5)],
        }
    }

    fn word(&self, dice: u8) -> OutboxId {
        match self.words.len() {
            0 => OutboxId(Seq(1)),
            n => self.words[n - 1 - usize::from(dice) % n.min(8)],
        }
    }

    fn row(&self, dice: u8) -> Seq {
        match self.rows.len() {
            0 => Seq(1),
            n => self.rows[n - 1 - usize::from(dice) % n.min(6)],
        }
    }

    fn outbox(&mut self, (a, b, c, d): (u8, u8, u8, u8), turn: Option<TurnId>, what: What, state: OutboxState) -> OutboxRow {
        let id = if d.is_multiple_of(7) && !self.words.is_empty() { self.word(d) } else { OutboxId(self.number(d)) };
        self.words.push(id);
        OutboxRow {
            id,
            chat: session(a).chat,
            session: (!b.is_multiple_of(3)).then(|| session(a)),
            turn,
            what,
            part: u32::from(c % 2),
            text: format!("word {id}"),
            reply_to: c.is_multiple_of(3).then(|| MessageId::new("m1")),
            state,
            tries: u32::from(d % 2),
            not_before: Wall(self.now),
            valid_until: b.is_multiple_of(2).then(|| Wall(self.now + 1000)),
            message: None,
            reason: None,
            unsure: false,
            at: Wall(self.now),
        }
    }

    fn answers(&mut self, (a, b, _, d): (u8, u8, u8, u8), turn: Option<TurnId>, word: Word) -> Vec<OutboxRow> {
        let state = if b.is_multiple_of(2) { OutboxState::Due } else { OutboxState::Sending };
        (0..d % 3).map(|n| self.outbox((a, b, n, d), turn, What::Reply { word }, state)).collect()
    }

    /// What a throw means now.
    fn step(&mut self, (which, a, b, c, d): Throw) -> Step {
        self.now += i64::from(d);
        let at = Wall(self.now);
        let (turn, attempt) = self.turn(b);
        let rest = (a, b, c, d);
        match which % 40 {
            0 => {
                let (boot, remains) = (c.is_multiple_of(2).then(|| "boot".into()), remains(c, d, at));
                Step::Born(Born { instance: instance(a), version: "1".into(), boot, predecessor: ending(b), remains, at })
            }
            1 => Step::Recover { instance: instance(a), max_attempts: u32::from(b % 3 + 1), at },
            12 => Step::Cursor { account: account(a), cursor: Cursor::new(b.to_string()) },
            13 => Step::Settle(Settle { seq: self.row(b), replies: self.answers(rest, None, Word::Command) }),
            15..=20 => {
                let id = TurnId(self.number(d));
                self.turns.push((id, 1));
                let take = if c.is_multiple_of(3) { Take::One } else { Take::All };
                Step::Start(Start { turn: id, session: session(a), take, instance: instance(b), at, history: u32::from(d % 12) })
            }
            21 => {
                self.turns.push((turn, attempt + 1));
                Step::Resume(Resume { turn, attempt, instance: instance(a), at, history: u32::from(c % 12) })
            }
            22 => Step::Unstart { turn, attempt },
            23 if c.is_multiple_of(4) => Step::ChildrenGone { turn },
            23 if c.is_multiple_of(3) => {
                Step::Child { turn, attempt, child: Child { group: u32::from(d % 3), started: 1, boot: "b".into() } }
            }
            23 | 24 => Step::Progress { turn, attempt, entry: entry(c, d) },
            25..=28 => self.finish(rest),
            29 => {
                let word = [Word::Interrupted, Word::Parked, Word::Failed, Word::Approval][usize::from(c % 4)];
                let turn = (!d.is_multiple_of(5)).then_some(turn);
                Step::Tell(self.outbox(rest, turn, What::Reply { word }, OutboxState::Due))
            }
            30 => {
                let kind = [NoticeKind::Down, NoticeKind::Saved, NoticeKind::Back][usize::from(c % 3)];
                let scope = if d.is_multiple_of(8) { "a minute".to_owned() } else { instance(b).to_string() };
                Step::Notice(self.outbox(rest, None, What::Notice { kind, scope }, OutboxState::Sending))
            }
            31 => Step::Draft(self.outbox(rest, Some(turn), What::Reply { word: Word::Answer }, OutboxState::Draft)),
            32..=34 => Step::Fate { id: self.word(a), fate: fate(b, c, at) },
            35 => match a % 5 {
                4 => Step::Leaving { instance: instance(b), why: format!("why {c}") },
                0 => Step::Phase { instance: instance(b), phase: Phase::Drain, at },
                1 => {
                    let clean = c.is_multiple_of(2);
                    Step::Ended { instance: instance(b), clean, kind: ShutdownKind::Stop, verdict: "v".into(), at }
                }
                2 => Step::Answered { request: self.row(b), replies: self.answers(rest, None, Word::Command) },
                _ => Step::Answered { request: turn.0, replies: Vec::new() },
            },
            36 => pairing(a, b, c, at),
            37 => match a % 4 {
                0 => Step::TurnRetry { seq: self.number(d), turn, at },
                1 => Step::TurnDrop { turn },
                2 => Step::OutboxRetry { id: self.word(b), at },
                _ => Step::OutboxDrop { id: self.word(b) },
            },
            38 => match a % 6 {
                1 => Step::DropAdapter { adapter: adapter(b) },
                _ => Step::Prune { before: Wall(self.now - i64::from(b) * 8), most: u32::from(c % 20) },
            },
            39 if a.is_multiple_of(3) => Step::MoveAdapter { from: adapter(b), to: adapter(c) },
            _ => self.accept(rest),
        }
    }

    fn finish(&mut self, (a, b, c, d): (u8, u8, u8, u8)) -> Step {
        let (turn, attempt) = self.turn(b);
        let end = match c % 7 {
            0 | 1 => End::Answered(format!("answer {turn}")),
            2 => End::Interrupted { cause: "restart".into() },
            3 => End::Failed { reason: "no".into() },
            4 => End::Stopped,
            5 => End::Asks { call: format!("c{}", d % 3), question: "may I?".into() },
            _ => End::Superseded,
        };
        let request = d.is_multiple_of(9).then(|| request(a));
        let replies = self.answers((a, b, c, d), Some(turn), Word::Answer);
        Step::Finish(Finish { turn, attempt, end, replies, request, at: Wall(self.now) })
    }

    fn accept(&mut self, (a, b, c, d): (u8, u8, u8, u8)) -> Step {
        let seq = self.number(d);
        self.rows.push(seq);
        let what = match c % 11 {
            0 | 1 => Accepted::Retry,
            10 => Accepted::Decision { approved: b.is_multiple_of(2) },
            2 => Accepted::Command { text: "/status".into() },
            3 => Accepted::Request(request(b)),
            4 => Accepted::Refused { reason: "too many".into() },
            5 => {
                let closes = if b.is_multiple_of(2) { Closes::Work } else { Closes::Conversation };
                Accepted::Closing { text: "/stop".into(), closes }
            }
            _ => Accepted::Message { text: format!("text {seq}") },
        };
        Step::Accept(Accept {
            seq,
            account: account(a),
            delivery: DeliveryId::new(format!("d{}", if d.is_multiple_of(5) { u64::from(d) } else { 1000 + self.seq })),
            session: session(a),
            user: UserId::new(["u1", "u2"][usize::from(b % 2)]),
            name: ["Ann", "Bob"][usize::from(b % 2)].into(),
            message: c.is_multiple_of(2).then(|| MessageId::new(format!("m{seq}"))),
            at: Wall(self.now),
            what,
            answer: Vec::new(),
        })
    }
}

fn adapter(dice: u8) -> AdapterName {
    AdapterName::new(["one", "two", "three"][usize::from(dice % 3)])
}

/// Few enough to meet again: mostly one conversation, beside it a shared one in the same chat, its twin on another adapter, and a thread.
fn session(dice: u8) -> SessionKey {
    let chat = |adapter: &str| ChatId::new(adapter, "r1");
    match dice % 8 {
        0..=3 => SessionKey { chat: chat("one"), member: Some("u1".into()) },
        4 => SessionKey { chat: chat("one"), member: None },
        5 => SessionKey { chat: chat("two"), member: Some("u1".into()) },
        6 => SessionKey { chat: chat("two"), member: None },
        _ => SessionKey { chat: ChatId { thread: Some("t".into()), ..chat("one") }, member: None },
    }
}

fn account(dice: u8) -> Account {
    Account::new(["x:1", "x:2"][usize::from(dice % 2)])
}

fn instance(dice: u8) -> InstanceId {
    InstanceId(Uuid::from_u128(u128::from(dice % 3) + 1))
}

fn request(dice: u8) -> Request {
    Request { kind: ShutdownKind::Restart, instance: instance(dice) }
}

fn ending(dice: u8) -> Option<Ending> {
    match dice % 4 {
        0 => None,
        1 => Some(Ending::Clean),
        2 => Some(Ending::Unclean { verdict: "unclean".into() }),
        _ => Some(Ending::Killed { phase: Some(Phase::Drain), by: Death::Unknown }),
    }
}

fn remains(c: u8, d: u8, at: Wall) -> Option<Remains> {
    let cause = match d % 4 {
        0 => return None,
        1 => None,
        2 => Some(Cause::Hung),
        _ => Some(Cause::Down { kind: ShutdownKind::Restart, clean: false, verdict: "unclean".into() }),
    };
    let words = cause.map(|cause| LastWords { at, code: Some(d), phase: c.is_multiple_of(2).then_some(Phase::Drain), cause });
    Some(Remains { instance: instance(c), seen: at, words })
}

fn entry(c: u8, d: u8) -> Entry {
    let call = format!("c{}", d % 3);
    match c % 5 {
        0 | 1 => Entry::ToolCall { call, name: "t".into(), arguments: "{}".into() },
        2 | 3 => Entry::ToolResult { call, result: Some("r".into()) },
        _ => Entry::Assistant { text: "thinking".into() },
    }
}

fn fate(b: u8, c: u8, at: Wall) -> Fate {
    let (not_before, reason) = (at.plus(Duration::from_secs(1)), "why".to_owned());
    match b % 7 {
        0 => Fate::Sending,
        1 | 2 => Fate::Sent { message: c.is_multiple_of(2).then(|| "p1".into()), text: c.is_multiple_of(3).then(|| "rendered".into()) },
        3 => Fate::Drafted { message: "p2".into() },
        4 => Fate::Failed { not_before, reason },
        5 => Fate::Unknown { not_before, reason },
        _ => Fate::Dead { reason },
    }
}

fn pairing(a: u8, b: u8, c: u8, at: Wall) -> Step {
    let code = format!("CODE{}", c % 3);
    let user = UserId::new(format!("u{}", b % 3));
    match a % 4 {
        0 | 1 => {
            let expires = Wall(at.0 + i64::from(b) * 10);
            Step::PairCode(PairCode { adapter: adapter(a / 4), user, name: "Eve".into(), code, expires })
        }
        2 => Step::PairApprove { code, at },
        _ => Step::PairRevoke { adapter: adapter(c), user },
    }
}

/// Everything that can be asked.
fn questions(now: Wall) -> Vec<Question> {
    let mut questions = vec![
        Question::Facts,
        Question::Open,
        Question::Outbox,
        Question::Turns,
        Question::Pairs { at: now },
        Question::Instances { most: 10 },
        Question::Adapters,
    ];
    for dice in 0..3 {
        questions.push(Question::Undelivered(adapter(dice)));
        questions.push(Question::Cursor(account(dice)));
    }
    for dice in 3..8 {
        let here = session(dice);
        let moved = SessionKey { chat: ChatId { adapter: adapter(2), ..here.chat.clone() }, ..here.clone() };
        for session in [here, moved] {
            let (after, before) = (Seq(u64::from(dice) * 2), (dice > 5).then_some(Seq(u64::from(dice) * 20)));
            let span = Span { after, before, most: u32::from(dice) * 4, bytes: u32::from(dice) * 16 };
            questions.push(Question::Room { chat: session.chat.clone(), span });
            questions.push(Question::Session(session));
        }
    }
    questions
}

/// The ledger's own id is made at random.
fn without_id(knowledge: Knowledge) -> Knowledge {
    match knowledge {
        Knowledge::Facts(mut facts) => {
            facts.ledger = Uuid::nil();
            Knowledge::Facts(facts)
        }
        other => other,
    }
}

fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path).expect("the ledger opens")
}

/// Plays the throws in batches; after each batch both engines must know the same.
fn play(batches: &[(u8, Vec<Throw>)]) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ledger.sqlite3");
    let (mut model, mut engine) = (MemoryLedger::new(), open(&path));
    let mut player = Player::default();
    for (between, throws) in batches {
        let mut steps: Vec<Step> = throws.iter().map(|throw| player.step(*throw)).collect();
        if between.is_multiple_of(4) {
            // As after a commit of unknown fate.
            steps.extend(steps.clone());
        }
        let expected = model.commit(&steps).expect("memory never fails");
        let found = engine.commit(&steps).expect("the disk is well");
        for (step, (expected, found)) in steps.iter().zip(expected.iter().zip(&found)) {
            match (expected, found) {
                (Done::Refused(_), Done::Refused(_)) => {}
                _ => prop_assert_eq!(expected, found, "{:?}", step),
            }
        }
        // What is open is named more often than what might be.
        if let Ok(Knowledge::Turns(turns)) = model.ask(&Question::Turns) {
            player.open = turns.iter().map(|row| (row.turn, row.attempt)).collect();
        }
        match between % 10 {
            0 => {
                engine.close().expect("nobody else reads");
                engine = open(&path);
            }
            1 => {
                drop(engine);
                engine = open(&path);
            }
            2 => engine.reopen().expect("the disk is well"),
            _ => {}
        }
        for question in questions(Wall(player.now)) {
            let expected = without_id(model.ask(&question).expect("memory never fails"));
            let found = without_id(engine.ask(&question).expect("the disk is well"));
            prop_assert_eq!(expected, found, "{:?} after {:?}", question, steps);
        }
    }
    Ok(())
}

/// As many lives as PROPTEST_CASES asks for, else enough to meet every step a few times.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn engines_agree_on_every_life(
        batches in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<Throw>(), 1..6)), 1..50)
    ) {
        play(&batches)?;
    }
}
