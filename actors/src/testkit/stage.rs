//! A scripted platform: it outlives the gateway, as the real one does, redelivers what was not accepted, and can be told to misbehave.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::cuts::{Event, Knife};
use super::trace::Trace;
use crate::clock::{Clock, Wall};
use crate::ids::{Account, AdapterName, Cursor, DeliveryId, MessageId, OutboxId, RoomId, ThreadId, UserId};
use crate::platform::unsettled::Unsettled;
use crate::platform::{
    Abilities, Connection, Content, Inbound, Listener, Offer, Outgoing, Platform, PlatformError, Said, Sender, SpeakError, Speaker, Voice,
};

/// A scripted platform. Clones are the same one.
#[derive(Clone)]
pub struct Stage {
    shared: Arc<Shared>,
}

struct Shared {
    name: AdapterName,
    abilities: Abilities,
    state: Mutex<State>,
    news: Notify,
    trace: Trace,
}

struct State {
    clock: Clock,
    account: Account,
    knife: Knife,
    /// What people said and nobody has accepted, in order.
    pending: VecDeque<Inbound>,
    deliveries: u64,
    sent: Vec<Sent>,
    keys: HashMap<OutboxId, MessageId>,
    groups: HashSet<RoomId>,
    mood: Mood,
    connects: u32,
    /// Signs that somebody works, by room.
    typing: HashMap<RoomId, u32>,
}

/// One message that a chat saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Wall,
    /// The room.
    pub room: RoomId,
    /// The words, as they stand after the last edit.
    pub text: String,
    /// Whose.
    pub voice: Voice,
    /// The key that it was sent under.
    pub key: OutboxId,
}

/// How the platform behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mood {
    /// It cannot be connected to, and loses who is.
    pub down: bool,
    /// Whoever would connect to it gets no answer.
    pub mute: bool,
    /// Sends take this long.
    pub slow: Duration,
    /// Sends to these rooms never end.
    pub hanging: HashSet<RoomId>,
    /// Sends to these rooms are refused for good.
    pub refusing: HashSet<RoomId>,
    /// The next send is told to wait this long: its room alone, or everything.
    pub busy: Option<(Duration, bool)>,
    /// Messages that were sent cannot be edited any more.
    pub uneditable: bool,
    /// Sends arrive, but the answer is lost.
    pub mumbling: bool,
    /// Nothing is heard from it: no message, no sign of life. It can still be spoken to.
    pub deaf: bool,
}

impl Stage {
    /// A platform with these abilities, on which nobody lives yet.
    pub(super) fn new(name: AdapterName, abilities: Abilities, clock: Clock, knife: Knife, trace: Trace) -> Self {
        let state = State {
            clock,
            account: Account::new("stage:1"),
            knife,
            pending: VecDeque::new(),
            deliveries: 0,
            sent: Vec::new(),
            keys: HashMap::new(),
            groups: HashSet::new(),
            mood: Mood::default(),
            connects: 0,
            typing: HashMap::new(),
        };
        Self { shared: Arc::new(Shared { name, abilities, state: Mutex::new(state), news: Notify::new(), trace }) }
    }

    /// Abilities of a platform that edits nothing and takes no key.
    pub fn plain() -> Abilities {
        Abilities { edits: false, idempotent: false, max_units: 4096 }
    }

    /// What it is called.
    pub fn name(&self) -> &AdapterName {
        &self.shared.name
    }

    /// What it can do.
    pub fn abilities(&self) -> Abilities {
        self.shared.abilities
    }

    /// `user` says something in `room`.
    pub fn say(&self, room: &str, user: &str, text: &str) -> DeliveryId {
        self.deliver(None, room, user, text)
    }

    /// Says something again under a delivery id that was used before, as platforms do.
    pub fn redeliver(&self, delivery: &DeliveryId, room: &str, user: &str, text: &str) {
        self.deliver(Some(delivery), room, user, text);
    }

    fn deliver(&self, known: Option<&DeliveryId>, room: &str, user: &str, text: &str) -> DeliveryId {
        let mut state = self.state();
        state.deliveries += 1;
        let number = state.deliveries;
        let delivery = known.cloned().unwrap_or_else(|| DeliveryId::new(number.to_string()));
        let group = state.groups.contains(&RoomId::new(room));
        self.shared.trace.note(state.clock.wall(), format!("{user} in {room}"), text);
        let stage = self.shared.name.clone();
        let (to, by) = (RoomId::new(room), UserId::new(user));
        state.knife.note(Event::Said { stage, delivery: delivery.clone(), room: to, user: by, text: text.into() });
        let said = Said {
            room: RoomId::new(room),
            thread: None,
            group,
            sender: Sender { user: UserId::new(user), name: user.into(), person: true },
            message: None,
            text: text.into(),
            relayed: false,
        };
        let inbound =
            Inbound { delivery: delivery.clone(), cursor: Some(Cursor::new(number.to_string())), content: Content::Message(said) };
        state.pending.push_back(inbound);
        drop(state);
        self.shared.news.notify_waiters();
        delivery
    }

    /// Several people share this room.
    pub fn make_group(&self, room: &str) {
        self.state().groups.insert(RoomId::new(room));
    }

    /// Changes how it behaves.
    pub fn set_mood(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.state().mood);
        self.shared.news.notify_waiters();
    }

    /// Everything that was sent, in order.
    pub fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }

    /// What a room saw, in order.
    pub fn heard_in(&self, room: &str) -> Vec<String> {
        self.state().sent.iter().filter(|sent| sent.room.as_str() == room).map(|sent| sent.text.clone()).collect()
    }

    /// How often a room was shown that somebody works.
    pub fn typing_in(&self, room: &str) -> u32 {
        self.state().typing.get(&RoomId::new(room)).copied().unwrap_or(0)
    }

    /// How often it was connected to.
    pub fn connects(&self) -> u32 {
        self.state().connects
    }

    /// What was said and not accepted.
    pub fn unaccepted(&self) -> usize {
        self.state().pending.len()
    }

    /// Who the gateway is there.
    pub fn set_account(&self, account: &str) {
        self.state().account = Account::new(account);
    }

    /// Another life has another clock, and another end.
    pub(super) fn set_life(&self, clock: Clock, knife: Knife) {
        let mut state = self.state();
        (state.clock, state.knife) = (clock, knife);
    }

    fn knife(&self) -> Knife {
        self.state().knife.clone()
    }

    /// A point of the life that is connected. Behind a cut nothing happens any more, not even an error.
    async fn point(&self, label: impl FnOnce() -> String) {
        if !self.knife().pass(label) {
            std::future::pending::<()>().await;
        }
    }

    /// Behind a cut nothing is heard or said any more.
    async fn unless_cut(&self) {
        if self.knife().has_fallen() {
            std::future::pending::<()>().await;
        }
    }

    /// A message that is too long is refused, as everywhere.
    fn measure(&self, out: &Outgoing) -> Result<(), SpeakError> {
        let fits = out.text.encode_utf16().count() <= self.shared.abilities.max_units;
        fits.then_some(()).ok_or_else(|| SpeakError::Refused("message is too long".into()))
    }

    /// The platform has a message. Under a key that it knows it has it already.
    fn take(&self, out: Outgoing) -> MessageId {
        let mut state = self.state();
        if let (true, Some(known)) = (self.shared.abilities.idempotent, state.keys.get(&out.key)) {
            return known.clone();
        }
        let message = MessageId::new((state.sent.len() + 1).to_string());
        let at = state.clock.wall();
        self.shared.trace.note(at, format!("→ {}", out.room), out.text.clone());
        let (stage, room) = (self.shared.name.clone(), out.room.clone());
        state.knife.note(Event::Sent { stage, room, key: out.key, text: out.text.clone() });
        state.keys.insert(out.key, message.clone());
        state.sent.push(Sent { at, room: out.room, text: out.text, voice: out.voice, key: out.key });
        message
    }

    /// A message has new words.
    fn change(&self, out: Outgoing, message: &MessageId) -> Result<(), SpeakError> {
        let mut state = self.state();
        let place = message.as_str().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let Some(sent) = place.and_then(|place| state.sent.get_mut(place)) else {
            return Err(SpeakError::Refused("no such message".into()));
        };
        sent.text.clone_from(&out.text);
        state.knife.note(Event::Edited { key: out.key, text: out.text });
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform for Stage {
    fn kind(&self) -> &'static str {
        "stage"
    }

    fn abilities(&self) -> Abilities {
        self.shared.abilities
    }

    fn connect(&self) -> BoxFuture<'static, Result<Connection, PlatformError>> {
        let stage = self.clone();
        Box::pin(async move {
            stage.unless_cut().await;
            if stage.state().mood.mute {
                std::future::pending::<()>().await;
            }
            let mut state = stage.state();
            state.connects += 1;
            if state.mood.down {
                return Err(PlatformError::Broken { reason: "the stage is dark".into(), retry_after: None });
            }
            let account = state.account.clone();
            drop(state);
            let ear = Ear { stage: stage.clone(), unsettled: Unsettled::default(), offered: Vec::new(), greeted: false };
            Ok(Connection { account, listener: Box::new(ear), speaker: Arc::new(Voicebox(stage)) })
        })
    }
}

struct Ear {
    stage: Stage,
    unsettled: Unsettled,
    /// What was offered and the platform has not been told to forget.
    offered: Vec<Inbound>,
    greeted: bool,
}

impl Ear {
    async fn hear(&mut self) -> Result<Vec<Offer>, PlatformError> {
        // The evidence that the connection receives.
        if !std::mem::replace(&mut self.greeted, true) {
            return Ok(Vec::new());
        }
        let again = self.unsettled.settled().await;
        self.tell_accepted(&again).await;
        if !again.is_empty() {
            return Ok(again);
        }
        loop {
            self.stage.unless_cut().await;
            let news = self.stage.shared.news.notified();
            let batch: Option<Vec<Inbound>> = {
                let mut state = self.stage.state();
                if state.mood.down {
                    return Err(PlatformError::Broken { reason: "the stage went dark".into(), retry_after: None });
                }
                if state.mood.deaf { None } else { Some(state.pending.drain(..).collect()) }
            };
            let Some(batch) = batch else {
                news.await;
                continue;
            };
            if !batch.is_empty() {
                self.offered.clone_from(&batch);
                return Ok(self.unsettled.offer(batch));
            }
            // Now and then it says that nobody said anything, as a long poll does.
            if tokio::time::timeout(Duration::from_secs(30), news).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }
}

impl Ear {
    /// The receipts reach the platform: what was accepted is forgotten there. What is offered `again` was not.
    async fn tell_accepted(&mut self, again: &[Offer]) {
        let again: HashSet<_> = again.iter().map(|offer| offer.inbound.cursor.clone()).collect();
        let accepted: Vec<_> = self.offered.iter().filter(|inbound| !again.contains(&inbound.cursor)).cloned().collect();
        if accepted.is_empty() {
            return;
        }
        let names = accepted.iter().map(|inbound| inbound.delivery.to_string()).collect::<Vec<_>>().join("+");
        self.stage.point(|| format!("before the receipt of {names}")).await;
        self.offered.retain(|inbound| again.contains(&inbound.cursor));
        let knife = self.stage.knife();
        for inbound in accepted {
            knife.note(Event::Accepted(self.stage.shared.name.clone(), inbound.delivery));
        }
        self.stage.point(|| format!("after the receipt of {names}")).await;
    }
}

/// A place in the stream of what was said, as a number.
fn place(cursor: &Cursor) -> u64 {
    cursor.as_str().parse().unwrap_or(0)
}

impl Listener for Ear {
    /// As with platforms that are polled: what lies before the place that is asked for is forgotten.
    fn resume(&mut self, cursor: Option<Cursor>) {
        let Some(read) = cursor.as_ref().map(place) else { return };
        let mut state = self.stage.state();
        let (forgotten, kept): (VecDeque<_>, VecDeque<_>) =
            state.pending.drain(..).partition(|inbound| inbound.cursor.as_ref().map_or(0, place) <= read);
        state.pending = kept;
        for inbound in forgotten {
            state.knife.note(Event::Accepted(self.stage.shared.name.clone(), inbound.delivery));
        }
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Offer>, PlatformError>> {
        Box::pin(self.hear())
    }
}

impl Drop for Ear {
    /// What was offered and not accepted is offered to whoever connects next.
    fn drop(&mut self) {
        let unaccepted = self.unsettled.unaccepted();
        // A receipt that was given and did not arrive is none.
        let fallen = self.stage.knife().has_fallen();
        let offered = std::mem::take(&mut self.offered);
        let mut state = self.stage.state();
        let again = if fallen {
            offered
        } else {
            for inbound in offered.into_iter().filter(|inbound| unaccepted.iter().all(|open| open.cursor != inbound.cursor)) {
                state.knife.note(Event::Accepted(self.stage.shared.name.clone(), inbound.delivery));
            }
            unaccepted
        };
        for inbound in again.into_iter().rev() {
            state.pending.push_front(inbound);
        }
    }
}

struct Voicebox(Stage);

impl Speaker for Voicebox {
    fn send(&self, out: Outgoing) -> BoxFuture<'_, Result<MessageId, SpeakError>> {
        Box::pin(async move {
            self.0.unless_cut().await;
            let mood = self.0.state().mood.clone();
            if mood.hanging.contains(&out.room) {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(mood.slow).await;
            if mood.down {
                return Err(SpeakError::Broken("the stage is dark".into()));
            }
            if mood.refusing.contains(&out.room) {
                return Err(SpeakError::Refused("nobody is there".into()));
            }
            self.0.measure(&out)?;
            if let Some((after, room_only)) = self.0.state().mood.busy.take() {
                return Err(SpeakError::RetryAfter { after, room_only });
            }
            let key = out.key;
            self.0.point(|| format!("before {key} is sent")).await;
            let message = self.0.take(out);
            self.0.point(|| format!("after {key} was sent")).await;
            if mood.mumbling { Err(SpeakError::Unknown("no answer".into())) } else { Ok(message) }
        })
    }

    fn edit(&self, out: Outgoing, message: MessageId) -> BoxFuture<'_, Result<(), SpeakError>> {
        Box::pin(async move {
            let key = out.key;
            if self.0.state().mood.uneditable {
                return Err(SpeakError::Refused("message to edit not found".into()));
            }
            self.0.measure(&out)?;
            self.0.point(|| format!("before {key} is edited")).await;
            self.0.change(out, &message)?;
            self.0.point(|| format!("after {key} was edited")).await;
            Ok(())
        })
    }

    fn typing(&self, room: RoomId, _: Option<ThreadId>) -> BoxFuture<'_, ()> {
        *self.0.state().typing.entry(room).or_default() += 1;
        Box::pin(async {})
    }
}
