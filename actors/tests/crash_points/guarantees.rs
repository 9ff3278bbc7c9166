//! The promises, checked from the outside: against what platforms saw and what the ledger took, in the one order in which it happened.
//!
//! [`check_at_rest`] is asked after every life, whatever ended it; [`check`] when nothing is open any more.

use std::collections::{HashMap, HashSet};

use switchboard_actors::agent::Entry;
use switchboard_actors::children::Child;
use switchboard_actors::ids::{Account, ChatId, DeliveryId, OutboxId, RoomId, Seq, SessionKey, TurnId};
use switchboard_actors::ledger::{
    Accept, Accepted, Done, End, Ending, Fate, Finish, Knowledge, NoticeKind, OutboxRow, OutboxState, Question, Step, TurnState, What, Word,
};
use switchboard_actors::marker::Found;
use switchboard_actors::shutdown::{Phase, ShutdownReport};
use switchboard_actors::testkit::cuts::{Event, Fact};
use switchboard_actors::testkit::world::World;

use crate::children::{g09_children_are_gone_before_their_conversation_goes_on, g09_who_is_at_work_is_on_record};
use crate::fates::{g01_everything_is_answered, g06_nobody_is_told_twice, g06_who_waits_is_told, last_life};
use crate::player::{Player, Ran, names};
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
    marker: bool,
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
            marker: matches!(world.marker(), Some(Found::Whole(_))),
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

fn steps(facts: &[Fact]) -> impl Iterator<Item = (usize, usize, &Step, &Done)> {
    facts.iter().enumerate().filter_map(|(place, fact)| match &fact.event {
        Event::Committed(step, done) => Some((place, fact.life, step, done)),
        _ => None,
    })
}

/// Judges by each of these promises, and counts under its name what it was held against.
macro_rules! judge {
    ($($promise:ident($($evidence:expr),*);)*) => { $(tally::add(stringify!($promise), $promise($($evidence),*));)* };
}

/// What must hold whenever nobody lives, whatever ended the life.
pub(crate) fn check_at_rest(world: &mut World) {
    let facts = world.chronicle.facts();
    judge! {
        g03_the_cursor_is_never_ahead(world, &facts);
        g08_a_flag_rests_on_a_clean_verdict(world, &facts);
        g09_what_was_cut_is_listed(world, &facts);
        g09_who_is_at_work_is_on_record(world, &facts);
    }
}

/// What must hold when nothing is open any more.
pub(crate) fn check(evidence: &Evidence, report: &ShutdownReport) {
    judge! {
        g01_everything_is_answered(evidence);
        g02_what_was_finished_is_delivered(evidence);
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
        g14_no_transcript_dangles(evidence);
        g15_attempts_are_bounded(evidence);
        g16_a_request_ends_the_process_once(evidence);
    }
}

/// G3: what the cursor has passed is in the ledger.
fn g03_the_cursor_is_never_ahead(world: &mut World, facts: &[Fact]) -> usize {
    let Knowledge::Cursor(Some(cursor)) = world.ask(&Question::Cursor(Account::new("stage:stage"))) else { return 0 };
    let cursor: u64 = cursor.as_str().parse().expect("the stage counts its deliveries");
    let kept: HashSet<&DeliveryId> = steps(facts)
        .filter_map(|(_, _, step, done)| match (step, done) {
            (Step::Accept(accept), Done::Accepted { .. } | Done::Duplicate { .. }) => Some(&accept.delivery),
            _ => None,
        })
        .collect();
    let said = facts.iter().filter_map(|fact| match &fact.event {
        Event::Said { delivery, .. } => Some(delivery),
        _ => None,
    });
    for (delivery, number) in said.zip(1u64..) {
        assert!(number > cursor || kept.contains(delivery), "G3: the cursor is at {cursor}, and delivery {delivery} is not in the ledger");
    }
    1
}

/// G8: a flag stands only where the last word of the last life was "clean".
fn g08_a_flag_rests_on_a_clean_verdict(world: &mut World, facts: &[Fact]) -> usize {
    let Some(Found::Whole(marker)) = world.marker() else { return 0 };
    let clean = steps(facts).any(
        |(_, _, step, done)| matches!((step, done), (Step::Ended { instance, clean: true, .. }, Done::Ok) if *instance == marker.instance),
    );
    assert!(clean, "G8: a flag stands, and the verdict of its life is not on record");
    1
}

/// G9: every turn that was started and has not ended is listed.
fn g09_what_was_cut_is_listed(world: &mut World, facts: &[Fact]) -> usize {
    let (mut open, mut whose) = (HashSet::new(), HashMap::new());
    for (_, _, step, done) in steps(facts) {
        match (step, done) {
            (Step::Start(_) | Step::Resume(_), Done::Started(started)) => {
                open.insert(started.turn);
                if let Step::Start(start) = step {
                    whose.insert(started.turn, &start.session);
                }
            }
            (Step::Finish(Finish { turn, end, .. }), Done::Ok) if !matches!(end, End::Interrupted { .. }) => {
                open.remove(turn);
            }
            // A turn that was cut before goes back to that: both are listed or waiting.
            (Step::Unstart { turn, .. }, Done::Ok) => {
                open.remove(turn);
            }
            (Step::Clear(clear), Done::Cleared { .. }) => open.retain(|turn| whose[turn] != &clear.session || turn.0 > clear.before),
            _ => {}
        }
    }
    let Knowledge::Turns(turns) = world.ask(&Question::Turns) else { panic!("the ledger lists its turns") };
    let listed: HashSet<TurnId> = turns.iter().map(|row| row.turn).collect();
    let superseded = |turn: &TurnId| {
        // A newer message closed it, after its chat had been told.
        turns.iter().all(|row| row.turn != *turn) && told_cut(facts, *turn)
    };
    for turn in open.iter().filter(|turn| !listed.contains(turn)) {
        assert!(superseded(turn), "G9: turn {turn} was cut and is not listed: {turns:#?}");
    }
    assert!(turns.iter().all(|row| row.state != TurnState::Running || open.contains(&row.turn)), "G9: a turn runs that never started");
    open.len()
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

/// G5: what was said in one conversation is answered in the order in which it was accepted; but for what was cut and asked for again: that
/// waits for /retry, and everything else goes on.
fn g05_answers_keep_their_order(evidence: &Evidence) -> usize {
    let said: HashMap<&str, (Seq, &SessionKey)> = evidence
        .steps()
        .filter_map(|(_, _, step, done)| match (step, done) {
            (Step::Accept(Accept { seq, session, what: Accepted::Message { text }, .. }), Done::Accepted { .. }) => {
                Some((text.split_whitespace().next().unwrap_or_default(), (*seq, session)))
            }
            _ => None,
        })
        .collect();
    let again = evidence.taken_up_later();
    let told = evidence.runs.iter().filter(|ran| told_cut(&evidence.facts, ran.turn));
    let told: HashSet<&str> = told.flat_map(|ran| asked_names(&ran.history)).collect();
    let mut last = HashMap::new();
    let mut seen = HashSet::new();
    for (_, _, _, key, text) in evidence.sent().filter(|(.., text)| is_answer(text)) {
        let first = seen.insert(key);
        for name in names(text).into_iter().filter(|name| first && !told.contains(name)) {
            let Some((at, session)) = said.get(name) else { panic!("{name} was answered, and nobody had said it") };
            if again.iter().any(|(of, seq)| of == *session && seq > at) {
                continue;
            }
            let before = last.insert(*session, (*at, name));
            assert!(before.is_none_or(|(before, _)| before < *at), "G5: {name} was answered behind {before:?}, which was said later");
        }
    }
    seen.len()
}

pub(crate) fn asked_names(history: &[Entry]) -> Vec<&str> {
    let words = history.iter().rev().map_while(|entry| match entry {
        Entry::User { text, .. } => text.split_whitespace().next(),
        _ => None,
    });
    words.collect()
}

/// G6: a turn that a shutdown cut had its chat told before, in the same life.
fn g06_nobody_is_cut_untold(evidence: &Evidence) -> usize {
    let mut judged = 0;
    let turns = evidence.turns();
    for (cut, life, step, done) in evidence.steps().filter(|(_, life, ..)| !evidence.troubled.contains(life)) {
        let (Step::Finish(Finish { turn, end: End::Interrupted { .. }, .. }), Done::Ok) = (step, done) else { continue };
        let Some(chat) = turns.get(turn) else { panic!("turn {turn} was cut and never started") };
        let told = evidence.sent().any(|(place, of, room, _, text)| {
            of == life
                && place < cut
                && *room == chat.room
                && (text.contains("Gateway shutting down") || text.contains("Gateway restarting"))
        });
        assert!(told, "G6: turn {turn} in {} was cut in life {life} and nobody was told before", chat.room);
        judged += 1;
    }
    judged
}

impl Evidence {
    fn turns(&self) -> HashMap<TurnId, ChatId> {
        let turns = self.steps().filter_map(|(_, _, step, done)| match (step, done) {
            (Step::Start(start), Done::Started(started)) => Some((started.turn, start.session.chat.clone())),
            _ => None,
        });
        turns.collect()
    }
}

/// G7: who was told "down" or "saved" is told "back", once, unless that word was cut while it was being sent.
fn g07_who_was_told_down_is_told_back(evidence: &Evidence) -> usize {
    let mut judged = 0;
    let last = evidence.facts.last().map_or(0, |fact| fact.life);
    let kind_of = |row: &OutboxRow| match &row.what {
        What::Notice { kind, .. } => Some(*kind),
        What::Reply { .. } => None,
    };
    let rows: HashMap<OutboxId, &OutboxRow> = evidence.rows().map(|(_, _, row)| (row.id, row)).collect();
    for (place, life, room, key, _) in evidence.sent() {
        let told = rows.get(&key).and_then(|row| kind_of(row));
        if !matches!(told, Some(NoticeKind::Down | NoticeKind::Saved)) || life == last {
            continue;
        }
        let back =
            evidence.rows().any(|(written, _, row)| written > place && row.chat.room == *room && kind_of(row) == Some(NoticeKind::Back));
        assert!(back, "G7: {room} was told that the gateway goes down in life {life}, and never that it is back");
        judged += 1;
    }
    for (written, life, row) in evidence.rows().filter(|(_, _, row)| kind_of(row) == Some(NoticeKind::Back)) {
        let said = evidence.sent().any(|(place, _, _, key, _)| key == row.id && place > written);
        assert!(
            said || evidence.was_cut(life) || evidence.troubled.contains(&life),
            "G7: \"back\" was recorded in life {life} and never said"
        );
    }
    judged
}

/// G8: who finds the flag of a clean life is born after a clean one, and nobody twice; and a clean life leaves one, from the moment on at which
/// its directory was synced, whatever becomes of what was not.
fn g08_a_flag_is_consumed_once(evidence: &Evidence, report: &ShutdownReport) -> usize {
    let mut judged = 0;
    let (mut clean, mut synced, mut marked) = (false, false, false);
    for fact in &evidence.facts {
        match &fact.event {
            Event::Committed(Step::Ended { clean: verdict, .. }, Done::Ok) => clean = *verdict,
            Event::Synced => synced = true,
            Event::Committed(Step::Born(born), Done::Ok) => {
                let flagged = born.predecessor == Some(Ending::Clean);
                assert!(clean || !flagged, "G8: a life was born after a clean one that was not");
                assert!(flagged || !marked, "G8: a clean life left no flag that its successor believed");
                (clean, synced, marked) = (false, false, false);
                judged += 1;
            }
            // A life that was not cut came so far, and one that was may have.
            Event::Begun => {
                let before = fact.life - 1;
                marked |= clean && (synced || !evidence.was_cut(before)) && !evidence.troubled.contains(&before);
            }
            _ => {}
        }
    }
    assert!(report.verdict.is_clean(), "G8: nothing was open, and the verdict is {}", report.verdict);
    assert!(evidence.marker, "G8: everybody was idle, and there is no flag");
    judged
}

impl Evidence {
    /// Whether a life was cut.
    fn was_cut(&self, life: usize) -> bool {
        self.facts.iter().any(|fact| fact.life == life && matches!(fact.event, Event::Cut(_)))
    }
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
                    assert!(taken.insert(accept.delivery.to_string()), "G16: delivery {} was taken twice", accept.delivery);
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
        if let Step::Phase { phase: Phase::Quiesce, .. } = step {
            assert!(
                life == last || asked_in.contains(&life) || evidence.asked_to_end.contains(&life),
                "G16: life {life} went down, and nobody had asked it to"
            );
        }
    }
    taken.len()
}
