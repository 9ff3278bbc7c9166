//! What one adapter says next, as a value: notices first, then replies in the order of their chat.
//!
//! Replies to one chat form a *lane*: they are sent one part after the other, so that the parts of a reply never interleave with another's,
//! and a lane that has to wait holds up no other. Notices stand in no lane: they overtake replies, and are sent at most once.
//!
//! | what came of a send | reply | notice |
//! |---|---|---|
//! | sent | next part | done |
//! | retry after | the room, or everything, waits | that one, or everything, waits; saved and back are dropped |
//! | refused | dead letter, next part; an edit is sent anew | failed |
//! | broken | lane backs off, dead after `max_tries` | failed |
//! | unknown | as broken; repeated with a mark unless the platform takes our key | unknown, never repeated |

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::clock::{Moment, Wall};
use crate::ids::{ChatId, MessageId, OutboxId, SessionKey};
use crate::ledger::{Fate, NoticeKind, OutboxRow, OutboxState, What};
use crate::platform::SpeakError;
use crate::session::machine::Delivery;
use crate::settings::AT_ONCE;
use crate::shutdown::report::NoticeFate;
use crate::supervision::intensity::backoff;

/// The longest that one message keeps the next one waiting, however small a rate is set.
const SLOWEST: Duration = DAY;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The outbox of one adapter.
#[derive(Debug)]
pub struct Outbox {
    bounds: Bounds,
    connected: bool,
    /// The platform asked everything on this account to wait.
    hold: Moment,
    /// When the next message may go, where a rate is set.
    next_slot: Moment,
    notices: BTreeMap<(u8, OutboxId), Notice>,
    /// Notices whose room has to wait, and until when.
    put_off: BTreeMap<(Moment, OutboxId), Notice>,
    lanes: HashMap<ChatId, Lane>,
    /// Lanes that may have something to send, in the order in which they came by it.
    ready: VecDeque<ChatId>,
    /// Lanes that wait, and until when.
    asleep: BTreeSet<(Moment, ChatId)>,
    flying: HashMap<OutboxId, Flight>,
    /// A shutdown's deadline: what is not delivered by then is stuck.
    before: Option<Moment>,
    flushing: bool,
}

/// The bounds of an outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Messages on their way at the same time.
    pub in_flight: usize,
    /// The first wait after a failure.
    pub retry_first: Duration,
    /// The longest.
    pub retry_most: Duration,
    /// Tries after which a reply is dead.
    pub max_tries: u32,
    /// Whether the platform takes our key, so that a repeat is no repeat.
    pub idempotent: bool,
    /// Messages per second at most.
    pub rate: Option<f64>,
}

#[derive(Debug, Default)]
struct Lane {
    rows: VecDeque<Letter>,
    /// The first row is on its way, or is being recorded as such.
    busy: bool,
    not_before: Moment,
}

#[derive(Debug)]
struct Letter {
    row: OutboxRow,
    /// Its session was told that it will not be delivered in time.
    stuck: bool,
}

/// A notice. The time of day at which it is void was one from now, whatever the clock does meanwhile.
#[derive(Debug)]
struct Notice {
    row: OutboxRow,
    void: Option<Moment>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "at most `in_flight` of them")]
enum Flight {
    Reply(ChatId),
    Notice(Notice),
}

/// What an outbox is told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once, from the actor to the machine or back, and never kept in numbers")]
pub enum Event {
    /// The platform can be spoken to.
    Connected,
    /// It cannot, for now.
    Disconnected,
    /// Another platform from now on: what the one before asked for does not bind it.
    Replaced,
    /// Other bounds from now on.
    Bounds(Bounds),
    /// The parts of one reply, durable. A first part that is `sending` may go at once.
    Reply(Vec<OutboxRow>),
    /// A notice, recorded.
    Notice(OutboxRow),
    /// A row is durable as `sending`; `false`: it must not be sent, since an operator gave it up.
    Recorded(OutboxId, bool),
    /// It could not be recorded, and may be after this time.
    NotRecorded(OutboxId, Duration),
    /// What came of a send.
    Sent(OutboxId, Result<MessageId, SpeakError>),
    /// This chat needs no "going down" any more.
    Withdraw(ChatId),
    /// What is not delivered before this moment is stuck.
    Before(Moment),
    /// Say when nothing is due any more.
    Flush,
    /// Nothing will be sent any more. Replies stay in the ledger; a notice that was not sent is void.
    Closing,
    /// A wait may be over.
    Tick,
}

/// What an outbox wants done, in this order.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "moved once, from the actor to the machine or back, and never kept in numbers")]
pub enum Effect {
    /// Make `sending` durable, then come back with [`Event::Recorded`].
    Record(OutboxId),
    /// Send this now. `repeat`: it may have arrived before, and must say so.
    Send {
        /// The row.
        row: OutboxRow,
        /// Whether to mark it.
        repeat: bool,
    },
    /// Write down what became of a row. Nobody waits for it.
    Note(OutboxId, Fate),
    /// Tell the session that owes it what became of a reply.
    Tell(Option<SessionKey>, OutboxId, Delivery),
    /// A notice was handed to the platform.
    Handed(ChatId, NoticeKind),
    /// The platform gave it back: it has to wait.
    HeldBack(ChatId, NoticeKind),
    /// What became of a notice.
    Noticed(ChatId, NoticeKind, NoticeFate),
    /// Look again at this moment.
    Wake(Moment),
    /// Nothing is due any more.
    Flushed,
}

impl Outbox {
    /// An empty outbox, not connected.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            connected: false,
            hold: Moment::default(),
            next_slot: Moment::default(),
            notices: BTreeMap::new(),
            put_off: BTreeMap::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            asleep: BTreeSet::new(),
            flying: HashMap::new(),
            before: None,
            flushing: false,
        }
    }

    /// Whether the platform can be spoken to.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// An outbox that takes the place of one that fell, without the replies: those are read from the ledger again. What was on its way may
    /// have arrived; nobody will be told any more.
    pub fn instead_of(fallen: Self) -> (Self, Vec<Effect>) {
        const REASON: &str = "its adapter fell";
        let Outbox { bounds, hold, next_slot, notices, put_off, before, flushing, flying, .. } = fallen;
        let mut effects = Vec::new();
        for (id, flight) in flying {
            effects.push(Effect::Note(id, Fate::Unknown { not_before: AT_ONCE, reason: REASON.into() }));
            if let Flight::Notice(Notice { row, .. }) = flight {
                let kind = kind_of(&row).unwrap_or(NoticeKind::Back);
                effects.push(Effect::Noticed(row.chat, kind, NoticeFate::Unknown));
            }
        }
        (Self { hold, next_slot, notices, put_off, before, flushing, ..Self::new(bounds) }, effects)
    }

    /// Takes one event to its consequences. The caller performs them, in order.
    pub fn step(&mut self, now: Moment, wall: Wall, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.take_in(now, wall, event, &mut effects);
        self.pump(now, &mut effects);
        if self.flushing && self.is_flushed(now) {
            self.flushing = false;
            effects.push(Effect::Flushed);
        }
        effects
    }

    fn take_in(&mut self, now: Moment, wall: Wall, event: Event, effects: &mut Vec<Effect>) {
        match event {
            // A line that comes back lifts no limit of the platform.
            Event::Connected => self.connected = true,
            Event::Replaced => self.hold = Moment::default(),
            Event::Disconnected => {
                self.connected = false;
                self.tell_stuck(now, effects);
            }
            Event::Bounds(bounds) => self.bounds = bounds,
            Event::Reply(rows) => self.add(now, wall, rows, effects),
            Event::Notice(row) => {
                if let (false, Some(kind)) = (self.connected, kind_of(&row)) {
                    // Nobody waits for a platform that is down; should it come back in time, the notice is still sent.
                    effects.push(Effect::Noticed(row.chat.clone(), kind, NoticeFate::Failed { reason: "its platform is down".into() }));
                }
                let void = row.valid_until.map(|until| now + wall.wait_for(until, DAY));
                self.notices.insert((rank(&row), row.id), Notice { row, void });
            }
            Event::Recorded(id, true) => self.send_recorded(id, effects),
            Event::Recorded(id, false) => self.skip(id, effects),
            Event::NotRecorded(id, wait) => self.record_later(now + wait, id),
            Event::Sent(id, result) => match self.flying.remove(&id) {
                Some(Flight::Reply(chat)) => self.reply_sent(now, wall, &chat, result, effects),
                Some(Flight::Notice(notice)) => self.notice_sent(now, notice, result, effects),
                None => {}
            },
            Event::Withdraw(chat) => {
                let announces = |notice: &Notice| notice.row.chat == chat && kind_of(&notice.row) == Some(NoticeKind::Down);
                let next = self.notices.iter().find(|(_, notice)| announces(notice)).map(|(at, _)| *at);
                let later = self.put_off.iter().find(|(_, notice)| announces(notice)).map(|(at, _)| *at);
                let spared = next.and_then(|at| self.notices.remove(&at)).or_else(|| later.and_then(|at| self.put_off.remove(&at)));
                if let Some(Notice { row, .. }) = spared {
                    effects.push(Effect::Note(row.id, Fate::Dead { reason: "its turn had finished".into() }));
                    effects.push(Effect::Noticed(chat, NoticeKind::Down, NoticeFate::NotNeeded));
                }
            }
            Event::Before(moment) => {
                self.before = Some(moment);
                self.tell_stuck(now, effects);
            }
            Event::Flush => self.flushing = true,
            Event::Closing => {
                self.connected = false;
                let (next, later) = (std::mem::take(&mut self.notices), std::mem::take(&mut self.put_off));
                for Notice { row, .. } in next.into_values().chain(later.into_values()) {
                    let kind = kind_of(&row).unwrap_or(NoticeKind::Back);
                    self.drop_notice(row, kind, "not handed over in time", effects);
                }
            }
            Event::Tick => {}
        }
    }

    fn add(&mut self, now: Moment, wall: Wall, rows: Vec<OutboxRow>, effects: &mut Vec<Effect>) {
        let Some(first) = rows.first() else { return };
        let chat = first.chat.clone();
        let wait = wall.wait_for(first.not_before, self.bounds.retry_most);
        let lane = self.lanes.entry(chat.clone()).or_default();
        if lane.rows.is_empty() {
            lane.not_before = now + wait;
            self.ready.push_back(chat.clone());
        }
        for row in rows {
            let known = lane.rows.iter().position(|letter| letter.row.id == row.id);
            if known.is_some() || row.state == OutboxState::Dead {
                if lane.reorder(known, row, now + wait, effects) {
                    self.ready.push_back(chat.clone());
                }
                continue;
            }
            let at_once =
                lane.rows.is_empty() && !lane.busy && wait.is_zero() && self.connected && self.hold <= now && self.next_slot <= now;
            let waits = row.state == OutboxState::Sending && !at_once;
            let mut letter = Letter { row, stuck: false };
            if waits {
                // It was written as on its way and is not: after a crash nobody could tell. What may be there of it, a draft, may still be.
                effects.push(Effect::Note(letter.row.id, letter.put_off(AT_ONCE, "waits for its turn".into())));
            }
            lane.rows.push_back(letter);
        }
        if let Some(before) = self.before {
            let everything = if self.connected { self.hold } else { Moment(Duration::MAX) };
            lane.tell_stuck(now, before, everything, effects);
        }
    }

    /// Sends everything that may go now, notices first.
    fn pump(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if !self.connected {
            return;
        }
        while self.put_off.first_key_value().is_some_and(|((until, _), _)| *until <= now) {
            self.notices.extend(self.put_off.pop_first().map(|((_, id), notice)| ((rank(&notice.row), id), notice)));
        }
        if !self.notices.is_empty() {
            self.pump_notices(now, effects);
        }
        while self.asleep.first().is_some_and(|(until, _)| *until <= now) {
            self.ready.extend(self.asleep.pop_first().map(|(_, chat)| chat));
        }
        for _ in 0..self.ready.len() {
            if self.hold > now || self.next_slot > now || self.flying.len() >= self.bounds.in_flight {
                break;
            }
            let Some(chat) = self.ready.pop_front() else { break };
            let Some(lane) = self.lanes.get_mut(&chat) else { continue };
            if lane.busy {
                continue;
            }
            if lane.not_before > now {
                self.asleep.insert((lane.not_before, chat));
                continue;
            }
            let Some(letter) = lane.rows.front() else {
                self.lanes.remove(&chat);
                continue;
            };
            lane.busy = true;
            let row = letter.row.clone();
            self.flying.insert(row.id, Flight::Reply(chat));
            self.take_slot(now);
            if row.state == OutboxState::Sending {
                effects.push(Effect::Send { row, repeat: false });
            } else {
                effects.push(Effect::Record(row.id));
            }
        }
        let waits = self.hold.max(self.next_slot);
        if waits > now && !(self.ready.is_empty() && self.notices.is_empty()) {
            effects.push(Effect::Wake(waits));
        } else if let Some(until) = self.next_waking() {
            effects.push(Effect::Wake(until));
        }
    }

    /// When the first that sleeps wakes up.
    fn next_waking(&self) -> Option<Moment> {
        let lane = self.asleep.first().map(|(until, _)| *until);
        let notice = self.put_off.first_key_value().map(|((until, _), _)| *until);
        lane.into_iter().chain(notice).min()
    }

    fn pump_notices(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        while let Some((place, notice)) = self.notices.pop_first() {
            let Notice { row, void } = notice;
            let kind = kind_of(&row).unwrap_or(NoticeKind::Back);
            if void.is_some_and(|void| void < now) {
                self.drop_notice(row, kind, "too old", effects);
                continue;
            }
            if self.hold > now && is_courtesy(kind) {
                self.drop_notice(row, kind, "the platform's rate limit", effects);
                continue;
            }
            if self.hold > now || self.next_slot > now || self.flying.len() >= self.bounds.in_flight {
                self.notices.insert(place, Notice { row, void });
                break;
            }
            self.take_slot(now);
            effects.push(Effect::Handed(row.chat.clone(), kind));
            effects.push(Effect::Send { row: row.clone(), repeat: false });
            self.flying.insert(row.id, Flight::Notice(Notice { row, void }));
        }
    }

    fn drop_notice(&mut self, row: OutboxRow, kind: NoticeKind, reason: &str, effects: &mut Vec<Effect>) {
        effects.push(Effect::Note(row.id, Fate::Dead { reason: reason.into() }));
        effects.push(Effect::Noticed(row.chat, kind, NoticeFate::Failed { reason: reason.into() }));
    }

    fn take_slot(&mut self, now: Moment) {
        if let Some(rate) = self.bounds.rate {
            self.next_slot = self.next_slot.max(now) + Duration::try_from_secs_f64(1.0 / rate).map_or(SLOWEST, |slot| slot.min(SLOWEST));
        }
    }

    fn send_recorded(&mut self, id: OutboxId, effects: &mut Vec<Effect>) {
        let Some(Flight::Reply(chat)) = self.flying.get(&id) else { return };
        let Some(letter) = self.lanes.get_mut(chat).and_then(|lane| lane.rows.front_mut()) else { return };
        // Editing twice is editing once.
        let repeat = letter.row.unsure && letter.row.message.is_none() && !self.bounds.idempotent;
        letter.row.tries += 1;
        effects.push(Effect::Send { row: letter.row.clone(), repeat });
    }

    /// A row that cannot be recorded for now keeps its place.
    fn record_later(&mut self, not_before: Moment, id: OutboxId) {
        let Some(Flight::Reply(chat)) = self.flying.remove(&id) else { return };
        if let Some(lane) = self.lanes.get_mut(&chat) {
            (lane.busy, lane.not_before) = (false, not_before);
        }
        self.free(chat);
    }

    /// A row that is not wanted any more.
    fn skip(&mut self, id: OutboxId, effects: &mut Vec<Effect>) {
        let Some(Flight::Reply(chat)) = self.flying.remove(&id) else { return };
        let Some(lane) = self.lanes.get_mut(&chat) else { return };
        lane.busy = false;
        if let Some(letter) = lane.rows.pop_front() {
            effects.push(Effect::Tell(letter.row.session, id, Delivery::Settled));
        }
        self.free(chat);
    }

    fn reply_sent(&mut self, now: Moment, wall: Wall, chat: &ChatId, result: Result<MessageId, SpeakError>, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(chat) else { return };
        lane.busy = false;
        let Some(letter) = lane.rows.front_mut() else { return };
        let id = letter.row.id;
        let dead = match result {
            Ok(message) => {
                effects.push(Effect::Note(id, Fate::Sent { message: Some(message), text: None }));
                true
            }
            // The message that it would be an edit of is gone, or is too old: then the reply is a message of its own.
            Err(SpeakError::Refused(reason)) if letter.row.message.take().is_some() => {
                lane.not_before = now;
                effects.push(Effect::Note(id, letter.put_off(AT_ONCE, reason)));
                false
            }
            Err(SpeakError::Refused(reason)) => {
                effects.push(Effect::Note(id, Fate::Dead { reason }));
                true
            }
            Err(SpeakError::RetryAfter { after, room_only }) => {
                effects.push(Effect::Note(id, letter.put_off(wall.plus(after), "the platform's rate limit".into())));
                if room_only {
                    lane.not_before = now + after;
                } else {
                    self.hold = now + after;
                }
                false
            }
            Err(error @ (SpeakError::Broken(_) | SpeakError::Unknown(_))) => {
                letter.row.unsure |= matches!(error, SpeakError::Unknown(_));
                let failures = letter.row.tries.max(1);
                if failures >= self.bounds.max_tries {
                    if letter.row.unsure {
                        // So that it is known, should an operator send it again.
                        effects.push(Effect::Note(id, letter.put_off(wall, error.to_string())));
                    }
                    effects.push(Effect::Note(id, Fate::Dead { reason: error.to_string() }));
                    true
                } else {
                    let wait = backoff(self.bounds.retry_first, self.bounds.retry_most, failures - 1, 1.0);
                    lane.not_before = now + wait;
                    effects.push(Effect::Note(id, letter.put_off(wall.plus(wait), error.to_string())));
                    false
                }
            }
        };
        if dead && let Some(letter) = lane.rows.pop_front() {
            effects.push(Effect::Tell(letter.row.session, id, Delivery::Settled));
        }
        self.free(chat.clone());
        if !dead {
            self.tell_stuck(now, effects);
        }
    }

    /// A lane is free again: on with it, or away with it.
    fn free(&mut self, chat: ChatId) {
        match self.lanes.get(&chat) {
            Some(lane) if lane.rows.is_empty() => {
                self.lanes.remove(&chat);
            }
            Some(_) => self.ready.push_back(chat),
            None => {}
        }
    }

    fn notice_sent(&mut self, now: Moment, notice: Notice, result: Result<MessageId, SpeakError>, effects: &mut Vec<Effect>) {
        let Notice { row, void } = notice;
        let kind = kind_of(&row).unwrap_or(NoticeKind::Back);
        let (fate, noticed) = match result {
            Ok(message) => (Fate::Sent { message: Some(message), text: Some(row.text.clone()) }, NoticeFate::Sent),
            Err(SpeakError::RetryAfter { after, room_only }) => {
                effects.push(Effect::HeldBack(row.chat.clone(), kind));
                return self.put_off(Notice { row, void }, kind, now + after, room_only, effects);
            }
            Err(SpeakError::Unknown(reason)) => (Fate::Unknown { not_before: AT_ONCE, reason }, NoticeFate::Unknown),
            Err(SpeakError::Refused(reason) | SpeakError::Broken(reason)) => {
                (Fate::Dead { reason: reason.clone() }, NoticeFate::Failed { reason })
            }
        };
        effects.push(Effect::Note(row.id, fate));
        effects.push(Effect::Noticed(row.chat, kind, noticed));
    }

    /// A notice that the platform gave back waits, alone with its room or with everything else; a courtesy does not.
    fn put_off(&mut self, notice: Notice, kind: NoticeKind, until: Moment, room_only: bool, effects: &mut Vec<Effect>) {
        let Notice { row, .. } = &notice;
        if !room_only {
            self.hold = self.hold.max(until);
        } else if let Some(lane) = self.lanes.get_mut(&row.chat) {
            lane.not_before = lane.not_before.max(until);
        }
        match room_only {
            _ if is_courtesy(kind) => self.drop_notice(notice.row, kind, "the platform's rate limit", effects),
            true => _ = self.put_off.insert((until, row.id), notice),
            false => _ = self.notices.insert((rank(row), row.id), notice),
        }
    }

    /// Tells the sessions whose replies will not be delivered before the deadline, each once.
    fn tell_stuck(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(before) = self.before else { return };
        let everything = if self.connected { self.hold } else { Moment(Duration::MAX) };
        for lane in self.lanes.values_mut() {
            lane.tell_stuck(now, before, everything, effects);
        }
    }

    /// Whether nothing is on its way, and nothing will be before the deadline.
    fn is_flushed(&self, now: Moment) -> bool {
        let before = self.before.unwrap_or(now);
        let waits = |lane: &Lane| !self.connected || self.hold.max(lane.not_before) > before;
        let notices_wait = self.notices.is_empty() || !self.connected || self.hold > before;
        let put_off = !self.connected || self.put_off.first_key_value().is_none_or(|((until, _), _)| self.hold.max(*until) > before);
        self.flying.is_empty() && notices_wait && put_off && self.lanes.values().all(waits)
    }
}

impl Letter {
    /// Another time. What may have arrived once may have arrived whatever came of a later try.
    fn put_off(&mut self, not_before: Wall, reason: String) -> Fate {
        self.row.state = if self.row.unsure { OutboxState::Unknown } else { OutboxState::Failed };
        if self.row.unsure { Fate::Unknown { not_before, reason } } else { Fate::Failed { not_before, reason } }
    }
}

impl Lane {
    /// An operator's order for a row that is here already, at `known`: it waits no longer than until `due`, or is given up. Whether the lane may go on.
    fn reorder(&mut self, known: Option<usize>, order: OutboxRow, due: Moment, effects: &mut Vec<Effect>) -> bool {
        if self.busy && known == Some(0) {
            return false; // its fate is told by the platform, or by the ledger that does not record it
        }
        if let Some(letter) = known.and_then(|at| self.rows.get_mut(at)) {
            letter.row.tries = order.tries;
        }
        if order.state == OutboxState::Dead {
            known.and_then(|at| self.rows.remove(at));
            effects.push(Effect::Tell(order.session, order.id, Delivery::Settled));
        }
        let sooner = known == Some(0) && self.not_before > due;
        if sooner {
            self.not_before = due;
        }
        sooner
    }

    /// Tells whose replies here will not be delivered before the deadline; `everything` on this account waits until then.
    fn tell_stuck(&mut self, now: Moment, before: Moment, everything: Moment, effects: &mut Vec<Effect>) {
        let due = everything.max(self.not_before);
        if due <= before || due <= now || self.busy {
            return;
        }
        let reason = if everything == Moment(Duration::MAX) { "its platform is down" } else { "its answer is not due before the deadline" };
        for letter in self.rows.iter_mut().filter(|letter| !letter.stuck) {
            letter.stuck = true;
            effects.push(Effect::Tell(letter.row.session.clone(), letter.row.id, Delivery::Stuck(reason.into())));
        }
    }
}

/// A notice that a limit of the platform may drop.
fn is_courtesy(kind: NoticeKind) -> bool {
    matches!(kind, NoticeKind::Saved | NoticeKind::Back)
}

/// Announcements go first, then everything else of the gateway.
fn rank(row: &OutboxRow) -> u8 {
    match kind_of(row) {
        Some(NoticeKind::Down) => 0,
        Some(NoticeKind::Pairing | NoticeKind::TooMany) => 1,
        Some(NoticeKind::Back) => 2,
        Some(NoticeKind::Saved) | None => 3,
    }
}

fn kind_of(row: &OutboxRow) -> Option<NoticeKind> {
    match &row.what {
        What::Notice { kind, .. } => Some(*kind),
        What::Reply { .. } => None,
    }
}

#[cfg(test)]
mod tests;
