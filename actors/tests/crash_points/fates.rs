//! What became of every message, read from the steps that the ledger took, and whether its chat knows.
//!
//! It keeps books of its own over the chronicle, so that a mistake of an engine is not also one of its judge.

use std::collections::{BTreeMap, HashMap, HashSet};

use switchboard_actors::ids::{AdapterName, DeliveryId, OutboxId, RoomId, Seq, SessionKey, TurnId};
use switchboard_actors::ledger::{Accept, Accepted, Done, End, Finish, OutboxState, Start, Started, Step, Word};
use switchboard_actors::shutdown::Phase;
use switchboard_actors::testkit::cuts::{Event, Fact};

use crate::guarantees::{Evidence, asked_names, is_answer, told_cut};
use crate::player::names;

/// What is in front of the words that close something on somebody's wish.
const CLOSED: [&str; 2] = ["⏹️", "🆕"];
/// What is in front of the words that say that something failed.
const FAILED: [&str; 3] = ["❌", "🤷", "⏱️"];
/// What a chat with waiting work is told before the gateway goes.
const GOING: [&str; 3] = ["Gateway shutting down", "Gateway restarting", "📥"];

/// One message for the agent.
#[derive(Debug)]
struct Message {
    session: SessionKey,
    seq: Seq,
    /// Where it was taken in.
    place: usize,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Claimed(TurnId),
    /// By a command.
    Cleared,
    Refused,
}

/// One turn.
#[derive(Debug)]
struct Turn {
    session: SessionKey,
    asked: Vec<String>,
    /// It was taken up for the first time in this very start; taken back, it is gone.
    fresh: bool,
    newest: Seq,
    end: Option<(usize, Word)>,
    stopped: bool,
    superseded: bool,
    /// It waits for an approval.
    asks: Option<usize>,
}

/// The books.
#[derive(Debug, Default)]
struct Fates {
    messages: BTreeMap<String, Message>,
    turns: HashMap<TurnId, Turn>,
}

impl Fates {
    fn take(&mut self, place: usize, step: &Step, done: &Done) {
        match (step, done) {
            (Step::Accept(accept), Done::Accepted { .. }) => self.accepted(place, accept),
            (Step::Start(Start { turn, session, .. }), Done::Started(started)) => self.started(*turn, session, started),
            (Step::Resume(_), Done::Started(started)) => {
                if let Some(turn) = self.turns.get_mut(&started.turn) {
                    (turn.end, turn.fresh) = (None, false);
                }
            }
            (Step::Unstart { turn, .. }, Done::Ok) => self.taken_back(*turn),
            (Step::Accept(closing), Done::Cleared { running, cut, .. }) => self.cleared(closing, *running, *cut),
            (Step::Finish(finish), Done::Ok) => self.finished(place, finish),
            _ => {}
        }
    }

    fn accepted(&mut self, place: usize, accept: &Accept) {
        let (text, state) = match &accept.what {
            Accepted::Message { text } => (text.clone(), State::Waiting),
            // Its words are not kept.
            Accepted::Refused { .. } => (format!("{}/{}", accept.account, accept.delivery), State::Refused),
            Accepted::Retry | Accepted::Decision { .. } | Accepted::Command { .. } | Accepted::Closing { .. } | Accepted::Request(_) => {
                return;
            }
        };
        let name = text.split_whitespace().next().unwrap_or_default().to_owned();
        self.messages.insert(name, Message { session: accept.session.clone(), seq: accept.seq, place, state });
    }

    fn started(&mut self, named: TurnId, session: &SessionKey, started: &Started) {
        let asked: Vec<String> = asked_names(&started.history).into_iter().map(str::to_owned).collect();
        let mut newest = Seq(0);
        for name in &asked {
            if let Some(message) = self.messages.get_mut(name) {
                newest = newest.max(message.seq);
                message.state = State::Claimed(started.turn);
            }
        }
        // A turn that runs again keeps its number, and is as new as the wish that it does.
        let fresh = started.turn == named && !self.turns.contains_key(&named);
        let newest = if fresh { newest } else { named.0 };
        let turn = Turn { session: session.clone(), asked, fresh, newest, end: None, stopped: false, superseded: false, asks: None };
        self.turns.insert(started.turn, turn);
    }

    fn taken_back(&mut self, id: TurnId) {
        let Some(turn) = self.turns.get_mut(&id) else { return };
        if turn.fresh {
            for name in &turn.asked {
                if let Some(message) = self.messages.get_mut(name) {
                    message.state = State::Waiting;
                }
            }
            self.turns.remove(&id);
        }
    }

    fn cleared(&mut self, closing: &Accept, running: Option<TurnId>, cut: u32) {
        let closed =
            |message: &&mut Message| message.session == closing.session && message.seq < closing.seq && message.state == State::Waiting;
        self.messages.values_mut().filter(closed).for_each(|message| message.state = State::Cleared);
        for (id, turn) in &mut self.turns {
            let older = cut > 0 && turn.session == closing.session && turn.newest < closing.seq && turn.end.is_none() && !turn.superseded;
            turn.stopped |= older || running == Some(*id);
        }
    }

    fn finished(&mut self, place: usize, finish: &Finish) {
        let Some(turn) = self.turns.get_mut(&finish.turn) else { return };
        match &finish.end {
            // One with nothing to say failed, as far as its chat is told.
            End::Answered(_) => {
                let empty = finish.replies.iter().any(|row| !is_answer(&row.text) && FAILED.iter().any(|mark| row.text.starts_with(mark)));
                turn.end = Some((place, if empty { Word::Failed } else { Word::Answer }));
            }
            End::Failed { .. } => turn.end = Some((place, Word::Failed)),
            End::Stopped => turn.stopped = true,
            End::Superseded => turn.superseded = true,
            End::Asks { .. } => turn.asks = Some(place),
            End::Interrupted { .. } => {}
        }
    }
}

/// G1: every message is answered, by one turn; or was closed by its sender, or its chat knows why not. A command is taken in, too.
pub(crate) fn g01_everything_is_answered(evidence: &Evidence) -> usize {
    for fact in &evidence.facts {
        if let Event::Said { stage, delivery, room, text, .. } = &fact.event {
            assert!(evidence.was_taken_in(stage, delivery), "G1: {text:?} in {room} was never accepted");
        }
    }
    let mut fates = Fates::default();
    evidence.steps().for_each(|(place, _, step, done)| fates.take(place, step, done));
    let answers = evidence.answers();
    let again = evidence.asked_again();
    for (name, message) in &fates.messages {
        let keys = answers.get(name.as_str()).map_or(0, HashSet::len);
        let allowed = if again.iter().any(|(session, seq)| *session == message.session && *seq > message.seq) { usize::MAX } else { 1 };
        assert!(keys <= allowed, "G4: {name} was answered {keys} times");
        assert!(
            keys > 0 || evidence.is_excused(&fates, message),
            "G1: {name} was never answered, and nobody said why: {message:?}, of {:?}",
            fates.turns
        );
    }
    fates.messages.len()
}

impl Evidence {
    fn was_taken_in(&self, stage: &AdapterName, delivery: &DeliveryId) -> bool {
        let receipt = Event::Accepted(stage.clone(), delivery.clone());
        self.facts.iter().any(|fact| fact.event == receipt)
    }

    /// The rows in which each message was answered, as its chat was shown them.
    fn answers(&self) -> HashMap<&str, HashSet<OutboxId>> {
        let mut answers: HashMap<&str, HashSet<OutboxId>> = HashMap::new();
        for fact in &self.facts {
            let (Event::Sent { key, text, .. } | Event::Edited { key, text }) = &fact.event else { continue };
            for name in names(text).into_iter().filter(|_| is_answer(text)) {
                answers.entry(name).or_default().insert(*key);
            }
        }
        answers
    }

    /// Whoever asked for something to be run again, and the place of that in the order.
    fn asked_again(&self) -> Vec<(SessionKey, Seq)> {
        self.accepted_as(|what| *what == Accepted::Retry)
    }

    /// Whoever asked for something to be run again, or decided what a turn asks: that comes out of turn.
    pub(crate) fn taken_up_later(&self) -> Vec<(SessionKey, Seq)> {
        self.accepted_as(|what| matches!(what, Accepted::Retry | Accepted::Decision { .. }))
    }

    fn accepted_as(&self, is: impl Fn(&Accepted) -> bool) -> Vec<(SessionKey, Seq)> {
        let accepted = self.steps().filter_map(|(_, _, step, done)| match (step, done) {
            (Step::Accept(Accept { seq, session, what, .. }), Done::Accepted { .. }) => is(what).then(|| (session.clone(), *seq)),
            _ => None,
        });
        accepted.collect()
    }

    /// Whether a message has not to be answered, and its chat knows.
    fn is_excused(&self, fates: &Fates, message: &Message) -> bool {
        let room = &message.session.chat.room;
        match &message.state {
            State::Waiting => false,
            State::Refused => true,
            State::Cleared => self.hears(room, message.place, &CLOSED),
            State::Claimed(turn) => match &fates.turns[turn] {
                Turn { end: Some((place, Word::Failed)), .. } => self.hears(room, *place, &FAILED) || self.gave_up(*turn),
                Turn { end: Some(_), .. } => self.gave_up(*turn),
                Turn { stopped: true, .. } => self.hears(room, message.place, &CLOSED),
                Turn { superseded: true, .. } => self.interrupting,
                Turn { asks: Some(place), .. } => self.hears(room, *place, &["❓"]),
                // Nothing is open any more: it was superseded by a newer one, which only happens to whoever was told.
                Turn { .. } => told_cut(&self.facts, *turn),
            },
        }
    }

    /// Whether a room was told something that begins so, from here on.
    fn hears(&self, room: &RoomId, from: usize, marks: &[&str]) -> bool {
        let there: HashSet<OutboxId> = self.sent().filter(|(_, _, to, ..)| *to == room).map(|(_, _, _, key, _)| key).collect();
        let shown = self.facts.iter().skip(from).filter_map(|fact| match &fact.event {
            Event::Sent { key, text, .. } | Event::Edited { key, text } => there.contains(key).then_some(text),
            _ => None,
        });
        let plain = |text: &str| text.trim_start_matches("🔁 (possibly a repeat) ").to_owned();
        // What was given up for a reason on record was as good as told: the operator has it.
        let dead = self.dead();
        let given_up = self.rows().filter(|(place, _, row)| *place >= from && row.chat.room == *room && dead.contains(&row.id));
        let texts = shown.into_iter().chain(given_up.map(|(_, _, row)| &row.text));
        texts.into_iter().any(|text| marks.iter().any(|mark| plain(text).starts_with(mark) || text.contains(&format!("\n\n{mark}"))))
    }

    /// Whether a word of this turn was given up, for a reason on record.
    fn gave_up(&self, turn: TurnId) -> bool {
        let dead = self.dead();
        self.rows().any(|(_, _, row)| row.turn == Some(turn) && row.state != OutboxState::Draft && dead.contains(&row.id))
    }
}

/// G6: whoever still waits at the end of a life that said goodbye was told in it.
pub(crate) fn g06_who_waits_is_told(evidence: &Evidence) -> usize {
    let mut judged = 0;
    let mut fates = Fates::default();
    let mut began: HashMap<usize, usize> = HashMap::new();
    for (place, life, step, done) in evidence.steps() {
        fates.take(place, step, done);
        match (step, done) {
            (Step::Phase { phase: Phase::Quiesce, .. }, Done::Ok) => {
                began.insert(life, place);
            }
            (Step::Ended { .. }, Done::Ok) if !evidence.troubled.contains(&life) => {
                for (name, message) in fates.messages.iter().filter(|(_, message)| message.state == State::Waiting) {
                    let room = &message.session.chat.room;
                    let told = evidence
                        .sent()
                        .any(|(_, of, to, _, text)| of == life && to == room && GOING.iter().any(|word| text.contains(word)));
                    assert!(
                        told,
                        "G6: {name} waits in {room} as life {life} ends, and nobody there was told; it began to end at {began:?}"
                    );
                    judged += 1;
                }
            }
            _ => {}
        }
    }
    judged
}

/// G6: a chat is told once in a life that it goes.
pub(crate) fn g06_nobody_is_told_twice(evidence: &Evidence) -> usize {
    let mut told = HashSet::new();
    for (_, life, room, key, text) in evidence.sent().filter(|(.., text)| GOING[..2].iter().any(|word| text.contains(word))) {
        assert!(told.insert((life, room, text.starts_with('🔁'))), "G6: {room} was told twice in life {life}: {text:?} ({key})");
    }
    told.len()
}

/// The life that was the last.
pub(crate) fn last_life(facts: &[Fact]) -> usize {
    facts.last().map_or(0, |fact| fact.life)
}
