//! A start on a large ledger that was left by a crash: a hundred thousand conversations, and ten thousand of them cut.
//!
//! Recovery is over when the word "interrupted" to every chat is durable. One whole life, so it is printed, not sampled.

use std::path::Path;
use std::time::{Duration, Instant};

use switchboard_actors::clock::{Clock, Wall};
use switchboard_actors::ids::{Account, ChatId, DeliveryId, InstanceId, OutboxId, Seq, Sequence, SessionKey, TurnId, UserId};
use switchboard_actors::ledger::sqlite::SqliteLedger;
use switchboard_actors::ledger::{
    Accept, Accepted, Born, Done, End, Fate, Finish, Ledger, OutboxRow, OutboxState, Start, Step, Take, What, Word,
};
use switchboard_actors::settings::AT_ONCE;
use switchboard_actors::testkit::watched::WatchedLedger;
use tokio::sync::oneshot;

use crate::disk;
use crate::life::{Life, Stage};

const CONVERSATIONS: u64 = 100_000;
const CUT: u64 = 10_000;
/// Until every chat's word is durable.
const GOAL: Duration = Duration::from_secs(1);

/// Starts once and prints what it took.
pub(crate) fn tell() {
    let dir = disk::directory();
    let path = dir.path().join("ledger");
    let filled = Instant::now();
    fill(&path);
    eprintln!("a ledger of {CONVERSATIONS} conversations, {CUT} of them running, was made in {:?}", filled.elapsed());
    disk::tell();
    let began = Instant::now();
    let (durable, all) = oneshot::channel();
    let (mut durable, mut told) = (Some(durable), 0);
    let ledger = SqliteLedger::open(&path).expect("the ledger that was just made");
    let opened = began.elapsed();
    let ledger = WatchedLedger::new(ledger, move |steps, done| {
        let words = steps.iter().zip(done).filter(|(step, done)| matches!(step, Step::Tell(_)) && **done == Done::Ok).count();
        told += words as u64;
        if told >= CUT
            && let Some(durable) = durable.take()
        {
            durable.send(began.elapsed()).expect("somebody waits");
        }
    });
    Stage::new().play(async {
        let life = Life::begin(Box::new(ledger), None).await;
        let ready = began.elapsed();
        let durable = all.await.expect("every word becomes durable");
        let verdict = if durable > GOAL { "  MISSED" } else { "" };
        eprintln!(
            "start on it: open after {opened:?}, ready after {ready:?}, every notice durable after {durable:?} (goal {GOAL:?}){verdict}"
        );
        life.end().await;
    });
}

/// Writes what an instance leaves that answered everybody and was killed while it worked for some again.
fn fill(path: &Path) {
    /// Conversations per commit.
    const TOGETHER: u64 = 2000;
    let mut ledger = SqliteLedger::open(path).expect("a new ledger");
    let (instance, sequence, at) = (InstanceId::fresh(), Sequence::after(Seq(0)), Clock::system().wall());
    let past = Past { instance, sequence, at };
    let born = Born { instance, version: "bench".into(), boot: None, predecessor: None, remains: None, at };
    commit(&mut ledger, &[Step::Born(born)]);
    for first in (0..CONVERSATIONS).step_by(TOGETHER as usize) {
        let steps: Vec<Step> = (first..first + TOGETHER).flat_map(|who| past.answered(who)).collect();
        commit(&mut ledger, &steps);
    }
    for first in (0..CUT).step_by(TOGETHER as usize) {
        let steps: Vec<Step> = (first..first + TOGETHER).flat_map(|who| past.begun(who * (CONVERSATIONS / CUT), 2).1).collect();
        commit(&mut ledger, &steps);
    }
    ledger.close().expect("nobody else reads it");
}

fn commit(ledger: &mut SqliteLedger, steps: &[Step]) {
    for done in ledger.commit(steps).expect("the disk works") {
        assert!(!matches!(done, Done::Refused(_) | Done::Lost | Done::NothingWaiting), "{done:?}");
    }
}

/// What the instance before did.
struct Past {
    instance: InstanceId,
    sequence: Sequence,
    at: Wall,
}

impl Past {
    /// Somebody's `nth` message, taken up by a turn.
    fn begun(&self, who: u64, nth: u32) -> (TurnId, [Step; 2]) {
        let session = session(who);
        let accept = Accept {
            seq: self.sequence.next_seq(),
            account: Account::new("instant:1"),
            delivery: DeliveryId::new(format!("past {who} {nth}")),
            session: session.clone(),
            user: UserId::new("somebody"),
            name: "somebody".into(),
            message: None,
            at: self.at,
            what: Accepted::Message { text: "please find out whether it is so".into() },
            answer: Vec::new(),
        };
        let turn = TurnId(self.sequence.next_seq());
        let start = Start { turn, session, take: Take::All, instance: self.instance, at: self.at, history: 200 };
        (turn, [Step::Accept(accept), Step::Start(start)])
    }

    /// A message that was answered.
    fn answered(&self, who: u64) -> [Step; 4] {
        let (turn, [accept, start]) = self.begun(who, 1);
        let reply = self.reply(who, turn);
        let sent = Step::Fate { id: reply.id, fate: Fate::Sent { message: None, text: None } };
        let end = End::Answered(reply.text.clone());
        let finish = Finish { turn, attempt: 1, end, replies: vec![reply], request: None, at: self.at };
        [accept, start, Step::Finish(finish), sent]
    }

    fn reply(&self, who: u64, turn: TurnId) -> OutboxRow {
        OutboxRow {
            id: OutboxId(self.sequence.next_seq()),
            chat: ChatId::new("instant", who.to_string()),
            session: Some(session(who)),
            turn: Some(turn),
            what: What::Reply { word: Word::Answer },
            part: 0,
            text: "it is, as far as anybody can tell".into(),
            reply_to: None,
            state: OutboxState::Sending,
            tries: 0,
            not_before: AT_ONCE,
            valid_until: None,
            message: None,
            reason: None,
            unsure: false,
            at: self.at,
        }
    }
}

fn session(who: u64) -> SessionKey {
    SessionKey { chat: ChatId::new("instant", who.to_string()), member: None }
}
