//! The promises, checked from the outside: against what platforms saw and what the ledger took, in the one order in which it happened.
//!
//! [`check`] is asked when nothing is open any more; [`at_rest`](crate::at_rest) after every life, whatever ended it.

use std::collections::{HashMap, HashSet};

use switchboard_actors::agent::Entry;
use switchboard_actors::children::Child;
use switchboard_actors::ids::{DeliveryId, OutboxId, RoomId, TurnId};
use switchboard_actors::ledger::{Accept, Accepted, Done, Fate, Finish, OutboxRow, OutboxState, Step, What, Word};
use switchboard_actors::marker::Found;
use switchboard_actors::shutdown::{Phase, ShutdownReport};
use switchboard_actors::testkit::cuts::{Event, Fact};
use switchboard_actors::testkit::world::World;

use crate::children::g09_children_are_gone_before_their_conversation_goes_on;
use crate::fates::{g01_everything_is_answered, g06_nobody_is_told_twice, g06_who_waits_is_told, last_life};
use crate::goodbyes::{g06_nobody_is_cut_untold, g07_who_was_told_down_is_told_back, g08_a_flag_is_consumed_once};
use crate::order::g05_answers_keep_their_order;
use crate::player::{Player, Ran};
use crate::tally;

/// In front of what may be a repeat.
const REPEAT: &str = "🔁";

/// Everything that is known when nothing is open any more.
pub(crate) struct Evidence {
    pub(crate) facts: Vec<Fact>,
    pub(crate) runs: Vec<Ran>,
    /// The children of agents that were given something to do.
    pub(crate) set_to_work: Vec<Child>,
    /// And the ones among them that were ended while their run went on.
    pub(crate) robbed: Vec<Child>,
    keyed: bool,
    max_attempts: u32,
    pub(crate) flag: bool,
    /// Lives in which the platform or the ledger did not do as it should: not everybody could be told, or have it recorded.
    pub(crate) troubled: HashSet<usize>,
    /// Lives that whoever embeds the gateway asked to end.
    pub(crate) asked_to_end: HashSet<usize>,
    /// A newer message cuts what runs, without a word.
    pub(crate) interrupting: bool,
}

impl Evidence {
    /// Gathers it.
    pub(crate) fn gather(world: &World, player: &Player, keyed: bool) -> Self {
        Self {
            facts: world.chronicle.facts(),
            runs: player.runs(),
            set_to_work: player.set_to_work(),
            robbed: player.robbed(),
            keyed,
            max_attempts: world.settings.recovery.max_attempts,
            flag: matches!(world.marker(), Some(Found::Whole(_))),
            troubled: HashSet::new(),
            asked_to_end: HashSet::new(),
            interrupting: false,
        }
    }

    /// Steps that took effect, with the place and life of each.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (usize, usize, &Step, &Done)> {
        steps(&self.facts)
    }

    /// Messages that the platform has, in the order in which they came: place, life, room, key, words as they were sent.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (usize, usize, &RoomId, OutboxId, &str)> {
        self.facts.iter().enumerate().filter_map(|(place, fact)| match &fact.event {
            Event::Sent { room, key, text, .. } => Some((place, fact.life, room, *key, text.as_str())),
            _ => None,
        })
    }

    /// Rows that were made durable, with the place and life of each, and the turn that they settle.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, usize, &OutboxRow)> {
        self.steps().flat_map(|(place, life, step, done)| {
            let rows: Vec<&OutboxRow> = match (step, done) {
                (Step::Finish(Finish { replies, .. }), Done::Ok) => replies.iter().collect(),
                (Step::Answered { replies, .. }, Done::Ok) => replies.iter().collect(),
                (Step::Settle(settle), Done::Ok) => settle.replies.iter().collect(),
                (Step::Accept(accept), done) if is_closed_at_once(accept, done) => accept.answer.iter().collect(),
                (Step::Tell(row) | Step::Notice(row) | Step::Draft(row), Done::Ok) => vec![row],
                _ => Vec::new(),
            };
            rows.into_iter().map(move |row| (place, life, row))
        })
    }

    /// Rows that were given up, each for a reason on record.
    pub(crate) fn dead(&self) -> HashSet<OutboxId> {
        let dead = self.steps().filter_map(|(_, _, step, _)| match step {
            Step::Fate { id, fate: Fate::Dead { .. } } => Some(*id),
            _ => None,
        });
        dead.collect()
    }
}

/// Whether nothing is left to do for a delivery once it is taken in: its word comes with it.
pub(crate) fn is_closed_at_once(accept: &Accept, done: &Done) -> bool {
    match (&accept.what, done) {
        (Accepted::Refused { .. } | Accepted::Request(_), Done::Accepted { .. }) => true,
        (Accepted::Retry | Accepted::Decision { .. }, Done::Accepted { retryable }) => !retryable,
        _ => false,
    }
}

pub(crate) fn steps(facts: &[Fact]) -> impl Iterator<Item = (usize, usize, &Step, &Done)> {
    facts.iter().enumerate().filter_map(|(place, fact)| match &fact.event {
        Event::Committed(step, done) => Some((place, fact.life, step, done)),
        _ => None,
    })
}

/// Judges by each of these promises, and counts under its name what it was held against.
macro_rules! judge {
    ($($promise:ident($($evidence:expr),*);)*) => { $(tally::add(stringify!($promise), $promise($($evidence),*));)* };
}
pub(crate) use judge;

/// What must hold when nothing is open any more.
pub(crate) fn check(evidence: &Evidence, report: &ShutdownReport) {
    judge! {
        g01_everything_is_answered(evidence);
        g02_what_was_finished_is_delivered(evidence);
        g03_nothing_is_acknowledged_before_it_is_durable(evidence);
        g04_nothing_leaves_before_it_is_durable(evidence);
        g04_nothing_is_said_twice_without_saying_so(evidence);
        g04_notices_are_said_once(evidence);
        g05_answers_keep_their_order(evidence);
        g06_nobody_is_cut_untold(evidence);
        g06_who_waits_is_told(evidence);
        g06_nobody_is_told_twice(evidence);
        g07_who_was_told_down_is_told_back(evidence);
        g08_a_flag_is_consumed_once(evidence, report);
        g09_children_are_gone_before_their_conversation_goes_on(evidence);
        g10_a_clean_life_has_delivered_what_it_finished(evidence);
        g14_no_transcript_dangles(evidence);
        g15_attempts_are_bounded(evidence);
        g16_a_request_ends_the_process_once(evidence);
    }
}

pub(crate) fn told_cut(facts: &[Fact], turn: TurnId) -> bool {
    steps(facts).any(|(_, _, step, done)| match (step, done) {
        (Step::Tell(row), Done::Ok) => row.turn == Some(turn) && matches!(row.what, What::Reply { word: Word::Interrupted | Word::Parked }),
        _ => false,
    })
}

pub(crate) fn is_answer(text: &str) -> bool {
    text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).starts_with("re [") || text.contains(" re [")
}

/// G2: every word that was made durable has reached its chat, as it was written; unless it was given up for a reason on record.
fn g02_what_was_finished_is_delivered(evidence: &Evidence) -> usize {
    let mut judged = 0;
    let mut shown: HashMap<OutboxId, &str> = HashMap::new();
    for fact in &evidence.facts {
        if let Event::Sent { key, text, .. } | Event::Edited { key, text } = &fact.event {
            shown.insert(*key, text);
        }
    }
    let dead = evidence.dead();
    for (_, life, row) in evidence.rows() {
        if !matches!(row.what, What::Reply { .. }) || row.state == OutboxState::Draft || dead.contains(&row.id) {
            continue;
        }
        let text = shown.get(&row.id);
        assert!(text.is_some_and(|text| text.ends_with(&row.text)), "G2: {:?} of life {life} was not delivered: {text:?}", row.text);
        judged += 1;
    }
    judged
}

/// G3: the platform is told that a delivery is accepted only once that is on record: from then on nobody offers it again.
fn g03_nothing_is_acknowledged_before_it_is_durable(evidence: &Evidence) -> usize {
    let mut judged = 0;
    let mut kept: HashSet<&DeliveryId> = HashSet::new();
    for fact in &evidence.facts {
        match &fact.event {
            Event::Committed(
                Step::Accept(accept),
                Done::Accepted { .. } | Done::Cleared { .. } | Done::Duplicate { .. } | Done::Open(_),
            ) => {
                kept.insert(&accept.delivery);
            }
            Event::Accepted(stage, delivery) => {
                assert!(kept.contains(delivery), "G3: delivery {delivery} of {stage} was acknowledged and is not on record");
                judged += 1;
            }
            _ => {}
        }
    }
    judged
}

/// G10: whoever calls a life clean has delivered every answer that it, or a life before it, finished.
fn g10_a_clean_life_has_delivered_what_it_finished(evidence: &Evidence) -> usize {
    let mut judged = 0;
    let dead = evidence.dead();
    let ends = evidence.steps().filter(|(_, _, step, done)| matches!((step, done), (Step::Ended { clean: true, .. }, Done::Ok)));
    for (ended, life, ..) in ends {
        let shown: HashSet<OutboxId> = evidence.facts[..ended]
            .iter()
            .filter_map(|fact| match &fact.event {
                Event::Sent { key, .. } | Event::Edited { key, .. } => Some(*key),
                _ => None,
            })
            .collect();
        let finished = |row: &OutboxRow| row.turn.is_some() && row.state != OutboxState::Draft && !dead.contains(&row.id);
        for (_, of, row) in evidence.rows().filter(|(place, _, row)| *place < ended && finished(row)) {
            assert!(shown.contains(&row.id), "G10: life {life} is called clean, and {:?} of life {of} was not delivered", row.text);
            judged += 1;
        }
    }
    judged
}

/// G2: where the platform takes everything, no reply is given up.
pub(crate) fn g02_nothing_is_given_up(evidence: &Evidence) -> usize {
    let drafts: HashSet<OutboxId> =
        evidence.rows().filter(|(_, _, row)| row.state == OutboxState::Draft).map(|(_, _, row)| row.id).collect();
    let rows: HashMap<OutboxId, &OutboxRow> = evidence.rows().map(|(_, _, row)| (row.id, row)).collect();
    for id in evidence.dead() {
        let Some(row) = rows.get(&id) else { continue };
        let reply = matches!(row.what, What::Reply { .. });
        assert!(!reply || drafts.contains(&id), "G2: {:?} was given up, and nobody had refused it", row.text);
    }
    rows.len()
}

/// G4: a word is on record before it is said.
fn g04_nothing_leaves_before_it_is_durable(evidence: &Evidence) -> usize {
    let mut durable: HashMap<OutboxId, usize> = HashMap::new();
    for (place, _, row) in evidence.rows() {
        durable.entry(row.id).or_insert(place);
    }
    for (place, life, room, key, text) in evidence.sent() {
        if evidence.troubled.contains(&life) && text.contains("Gateway ") {
            continue; // better told unrecorded than not told
        }
        let known = durable.get(&key).is_some_and(|written| *written < place);
        assert!(known, "G4: {text:?} went to {room} under {key} before it was on record");
    }
    evidence.sent().count()
}

/// G4: what appears again says that it may be a repeat, and no settling word has two keys.
fn g04_nothing_is_said_twice_without_saying_so(evidence: &Evidence) -> usize {
    let mut seen: HashMap<OutboxId, Vec<&str>> = HashMap::new();
    for (_, _, room, key, text) in evidence.sent() {
        // A draft that was shown before it was whole is not yet what is said.
        let plain = text.split_once(") ").filter(|_| text.starts_with(REPEAT)).map_or(text, |(_, plain)| plain);
        let before = seen.entry(key).or_default();
        let again = before.contains(&plain);
        before.push(plain);
        assert!(!(again && evidence.keyed), "a platform that takes keys shows none twice");
        assert!(!again || text.starts_with(REPEAT), "G4: {text:?} was said again in {room}");
    }
    let mut words = HashMap::new();
    for (_, _, row) in evidence.rows() {
        let (What::Reply { word: word @ (Word::Answer | Word::Failed) }, Some(turn)) = (&row.what, row.turn) else { continue };
        if row.state == OutboxState::Draft {
            continue;
        }
        // An end whose commit had an unknown fate is written again, with the same rows.
        let known = words.insert((turn, *word, row.part), row.id);
        assert!(known.is_none_or(|known| known == row.id), "G4: {word:?} of turn {turn} is in the outbox twice");
    }
    evidence.sent().count()
}

/// G4: a notice is said once for its kind, scope and chat, and never again.
fn g04_notices_are_said_once(evidence: &Evidence) -> usize {
    let notices: HashMap<OutboxId, &OutboxRow> =
        evidence.rows().filter(|(_, _, row)| matches!(row.what, What::Notice { .. })).map(|(_, _, row)| (row.id, row)).collect();
    let mut said = HashSet::new();
    for (_, _, room, key, text) in evidence.sent() {
        let Some(OutboxRow { what: What::Notice { kind, scope }, chat, .. }) = notices.get(&key) else { continue };
        assert!(said.insert((*kind, scope.clone(), chat.clone())), "G4: the notice {text:?} was said twice in {room}");
    }
    said.len()
}

pub(crate) fn asked_names(history: &[Entry]) -> Vec<&str> {
    let words = history.iter().rev().map_while(|entry| match entry {
        Entry::User { text, .. } => text.split_whitespace().next(),
        _ => None,
    });
    words.collect()
}

/// G14: whatever an agent is shown, every tool call in it has a result.
fn g14_no_transcript_dangles(evidence: &Evidence) -> usize {
    for ran in &evidence.runs {
        let mut open: Vec<&str> = Vec::new();
        for entry in &ran.history {
            match entry {
                Entry::ToolCall { call, .. } => open.push(call),
                Entry::ToolResult { call, .. } => open.retain(|made| made != call),
                Entry::User { .. } | Entry::Assistant { .. } | Entry::Asked { .. } | Entry::Decided { .. } | Entry::Cut => {}
            }
        }
        assert!(open.is_empty(), "G14: turn {} was shown calls without results: {:#?}", ran.turn, ran.history);
        assert!(!asked_names(&ran.history).is_empty(), "G14: turn {} was shown no request at the end: {:#?}", ran.turn, ran.history);
    }
    evidence.runs.iter().filter(|ran| ran.history.iter().any(|entry| matches!(entry, Entry::ToolCall { .. }))).count()
}

/// G15: an attempt is on record before the agent runs, and nobody runs more often than that by itself.
fn g15_attempts_are_bounded(evidence: &Evidence) -> usize {
    let mut started: HashSet<(TurnId, u32)> = HashSet::new();
    for (_, _, step, done) in evidence.steps() {
        if let (Step::Start(_) | Step::Resume(_), Done::Started(begun)) = (step, done) {
            started.insert((begun.turn, begun.attempt));
            assert!(begun.strikes < evidence.max_attempts, "G15: turn {} ran after {} unclean ends", begun.turn, begun.strikes);
        }
    }
    let mut ran = HashSet::new();
    for run in &evidence.runs {
        assert!(started.contains(&(run.turn, run.attempt)), "G15: turn {} ran and its attempt is not on record", run.turn);
        assert!(ran.insert((run.turn, run.attempt)), "G15: attempt {} of turn {} ran twice", run.attempt, run.turn);
    }
    ran.len()
}

/// G16: a request is on record once, and ends only the life that took it, once.
fn g16_a_request_ends_the_process_once(evidence: &Evidence) -> usize {
    let mut taken = HashSet::new();
    let mut asked_in = HashSet::new();
    let mut ends = Vec::new();
    for (_, life, step, done) in evidence.steps() {
        match (step, done) {
            (Step::Accept(accept), Done::Accepted { .. }) => {
                if let switchboard_actors::ledger::Accepted::Request(_) = &accept.what {
                    asked_in.insert(life);
                    assert!(
                        taken.insert(format!("{}/{}", accept.account, accept.delivery)),
                        "G16: delivery {} was taken twice",
                        accept.delivery
                    );
                }
            }
            (Step::Finish(Finish { turn, request: Some(_), .. }), Done::Ok) => {
                asked_in.insert(life);
                // An end whose commit had an unknown fate is written again, as it was.
                let again = ends.contains(&step);
                ends.push(step);
                assert!(taken.insert(format!("turn {turn}")) || again, "G16: turn {turn} asked twice");
            }
            _ => {}
        }
    }
    let planned = evidence.facts.iter().filter_map(|fact| match &fact.event {
        Event::Said { text, .. } if text == "/restart" || text == "/shutdown" || text.ends_with(" restart") => Some(fact.life),
        _ => None,
    });
    let planned: HashSet<usize> = planned.collect();
    if planned.is_empty() && evidence.asked_to_end.is_empty() {
        return 0;
    }
    let last = last_life(&evidence.facts);
    for (_, life, step, _) in evidence.steps() {
        if let Step::Leaving { why, .. } = step
            && why.contains("by embedder")
        {
            asked_in.insert(life);
        }
        if let Step::Phase { phase: Phase::Quiesce, .. } = step {
            assert!(
                life == last || asked_in.contains(&life) || evidence.asked_to_end.contains(&life),
                "G16: life {life} went down, and nobody had asked it to"
            );
        }
    }
    taken.len()
}
