//! The web platform: the place where the daemon's HTTP handlers and the web adapter meet.
//!
//! The [`Hub`] knows neither HTTP nor the ledger. What pages say goes in as [`Offer`]s through a bounded channel; what is said to
//! them is published to whoever watches the room at that moment. It keeps nothing: the room's log is the ledger, read through
//! [`RoomLog`], so a reply counts as sent when nobody watches. A page that watches first and then reads the log misses nothing,
//! because a reply is in the ledger before it comes here; it may see a line twice, and knows it by its number.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Abilities, Connection, Inbound, Listener, Offer, Outgoing, Platform, PlatformError, SpeakError, Speaker, Taken, Voice};
use crate::ids::{Account, AdapterName, ChatId, Cursor, DeliveryId, MessageId, OutboxId, RoomId, ThreadId};
use crate::ledger::{RoomLine, Span};

/// What the ledger knows of a room.
pub trait RoomLog: Send + Sync + 'static {
    /// A stretch of the lines of `chat`, in order.
    ///
    /// # Errors
    /// In words for an operator's log, when the ledger cannot be read now.
    fn read(&self, chat: ChatId, span: Span) -> BoxFuture<'static, Result<Vec<RoomLine>, String>>;
}

/// An empty batch comes at least this often: the hub is alive, nobody has anything to say.
const EVIDENCE: Duration = Duration::from_secs(25);
/// Offers in one batch at most.
const BATCH: usize = 64;
/// Events that a slow page may be behind; one that is further behind is cut off, and reads the log again.
const BEHIND: usize = 256;
/// And bytes of their texts, but for the newest event alone.
const BEHIND_BYTES: usize = 256 * 1024;
/// The page takes any length; this keeps one event reasonable.
const MAX_UNITS: usize = 100_000;

/// Where HTTP handlers and the adapter meet. Clones are the same hub.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    adapter: AdapterName,
    offers: mpsc::Sender<Offer>,
    /// The one way in for the listener; a new connection takes it over from the last.
    incoming: Arc<tokio::sync::Mutex<mpsc::Receiver<Offer>>>,
    /// Who watches which room, by a number of each.
    rooms: Mutex<Rooms>,
    log: Arc<dyn RoomLog>,
}

#[derive(Default)]
struct Rooms {
    watched: HashMap<RoomId, Vec<Arc<Line>>>,
}

/// Something that happens in a room while it is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A reply or notice, or a newer text of one that was shown.
    Line {
        /// Its number, which stays the same when it is edited.
        id: OutboxId,
        /// Who speaks.
        voice: Voice,
        /// The words as they are now.
        text: String,
        /// Whether it still grows.
        draft: bool,
    },
    /// The person's own words were accepted; for the other pages of the same room.
    Said {
        /// By which the page that sent it knows it.
        delivery: DeliveryId,
        /// The words.
        text: String,
    },
    /// An answer is being worked on.
    Typing,
}

impl Event {
    fn bytes(&self) -> usize {
        match self {
            Event::Line { text, .. } | Event::Said { text, .. } => text.len(),
            Event::Typing => 0,
        }
    }

    /// Whether a page that is shown `newer` has no use for this any more.
    fn is_made_good_by(&self, newer: &Self) -> bool {
        matches!((self, newer), (Event::Line { id: mine, .. }, Event::Line { id: others, .. }) if mine == others)
    }
}

/// What a page was not shown yet, in order.
#[derive(Default)]
struct Queue {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// It was too much: the page has to read the log again.
    cut: bool,
}

impl Queue {
    fn push(&mut self, event: &Arc<Event>) {
        if self.cut {
            return;
        }
        self.bytes += event.bytes();
        // A line that grows is shown as it is now: who reads slowly is behind by its length, not by all that it has been.
        match self.events.iter_mut().find(|older| older.is_made_good_by(event)) {
            Some(older) => {
                self.bytes -= older.bytes();
                *older = event.clone();
            }
            None => self.events.push_back(event.clone()),
        }
        if self.events.len() > BEHIND || (self.bytes > BEHIND_BYTES && self.events.len() > 1) {
            *self = Self { cut: true, ..Self::default() };
        }
    }

    fn pop(&mut self) -> Option<Arc<Event>> {
        let event = self.events.pop_front()?;
        self.bytes -= event.bytes();
        Some(event)
    }
}

/// The way to one page.
#[derive(Default)]
struct Line {
    queue: Mutex<Queue>,
    news: Notify,
}

impl Line {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole after every statement that holds the lock, so a panic elsewhere spoils nothing.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many offers wait that no more is taken in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many messages wait to be taken in")]
pub struct Full;

impl Hub {
    /// A hub for the adapter of this name, in which at most `waiting` offers wait.
    pub fn new(adapter: AdapterName, waiting: usize, log: Arc<dyn RoomLog>) -> Self {
        let (offers, incoming) = mpsc::channel(waiting.max(1));
        let incoming = Arc::new(tokio::sync::Mutex::new(incoming));
        Self(Arc::new(Shared { adapter, offers, incoming, rooms: Mutex::default(), log }))
    }

    /// Offers what a page said; the receiver learns what became of it. An error of the receiver means that nobody decided: the
    /// page sends it again under the same delivery id.
    ///
    /// # Errors
    /// When too many wait.
    pub fn offer(&self, inbound: Inbound) -> Result<oneshot::Receiver<Taken>, Full> {
        let (offer, taken) = Offer::new(inbound);
        self.0.offers.try_send(offer).map_err(|_| Full)?;
        Ok(taken)
    }

    /// Watches a room from now on.
    pub fn watch(&self, room: &RoomId) -> Watch {
        let line = Arc::new(Line::default());
        self.rooms().watched.entry(room.clone()).or_default().push(line.clone());
        Watch { hub: self.clone(), room: room.clone(), line }
    }

    /// Tells whoever watches `room`; nobody need.
    pub fn publish(&self, room: &RoomId, event: Event) {
        let event = Arc::new(event);
        for line in self.rooms().watched.get(room).into_iter().flatten() {
            line.queue().push(&event);
            line.news.notify_one();
        }
    }

    /// How many rooms are watched.
    pub fn watched(&self) -> usize {
        self.rooms().watched.len()
    }

    /// Reads the log of a room. See [`RoomLog::read`].
    ///
    /// # Errors
    /// When the ledger cannot be read now.
    pub async fn log(&self, room: &RoomId, span: Span) -> Result<Vec<RoomLine>, String> {
        let chat = ChatId { adapter: self.0.adapter.clone(), room: room.clone(), thread: None };
        self.0.log.read(chat, span).await
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        // The map is whole after every statement that holds the lock, so a panic elsewhere spoils nothing.
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A page that watches a room. The room is forgotten with its last watcher.
pub struct Watch {
    hub: Hub,
    room: RoomId,
    line: Arc<Line>,
}

impl Watch {
    /// The next event; `None` when this page is too far behind and should watch and read the log anew.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            {
                let mut queue = self.line.queue();
                if queue.cut {
                    return None;
                }
                if let Some(event) = queue.pop() {
                    return Some(event);
                }
            }
            self.line.news.notified().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut rooms = self.hub.rooms();
        let Some(lines) = rooms.watched.get_mut(&self.room) else { return };
        lines.retain(|line| !Arc::ptr_eq(line, &self.line));
        if lines.is_empty() {
            rooms.watched.remove(&self.room);
        }
    }
}

/// The platform over a [`Hub`].
pub struct Web(Hub);

impl Web {
    /// The platform of this hub.
    pub fn new(hub: Hub) -> Self {
        Self(hub)
    }
}

impl Platform for Web {
    fn kind(&self) -> &'static str {
        "web"
    }

    fn abilities(&self) -> Abilities {
        // The page replaces a line by its number, so a repeat is the same line and an edit is a repeat.
        Abilities { edits: true, idempotent: true, max_units: MAX_UNITS }
    }

    fn connect(&self) -> BoxFuture<'static, Result<Connection, PlatformError>> {
        let hub = self.0.clone();
        Box::pin(async move {
            let listener = Box::new(Pages { incoming: hub.0.incoming.clone(), begun: false });
            Ok(Connection { account: Account::new("web:page"), listener, speaker: Arc::new(Announcer(hub)) })
        })
    }
}

/// The way in.
struct Pages {
    incoming: Arc<tokio::sync::Mutex<mpsc::Receiver<Offer>>>,
    begun: bool,
}

impl Listener for Pages {
    /// Pages have no cursor: each repeats what it has no answer for.
    fn resume(&mut self, _cursor: Option<Cursor>) {}

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Offer>, PlatformError>> {
        Box::pin(async {
            let mut batch = Vec::new();
            // There is no network between the hub and us: that it is there is the evidence.
            if !std::mem::replace(&mut self.begun, true) {
                return Ok(batch);
            }
            let taken = async {
                let mut incoming = self.incoming.lock().await;
                incoming.recv_many(&mut batch, BATCH).await
            };
            match tokio::time::timeout(EVIDENCE, taken).await {
                Ok(0) => Err(PlatformError::Closed), // every hub is gone, and this one holds a sender: never
                Ok(_) | Err(_) => Ok(batch),
            }
        })
    }
}

/// The way out.
struct Announcer(Hub);

impl Announcer {
    fn show(&self, out: Outgoing) -> OutboxId {
        let Outgoing { room, text, key, voice, draft, .. } = out;
        self.0.publish(&room, Event::Line { id: key, voice, text, draft });
        key
    }
}

impl Speaker for Announcer {
    fn send(&self, out: Outgoing) -> BoxFuture<'_, Result<MessageId, SpeakError>> {
        Box::pin(async move { Ok(MessageId::new(self.show(out).to_string())) })
    }

    fn edit(&self, out: Outgoing, _message: MessageId) -> BoxFuture<'_, Result<(), SpeakError>> {
        Box::pin(async move {
            self.show(out);
            Ok(())
        })
    }

    fn typing(&self, room: RoomId, _thread: Option<ThreadId>) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.0.publish(&room, Event::Typing) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Seq;
    use crate::platform::Content;

    struct NoLog;

    impl RoomLog for NoLog {
        fn read(&self, _: ChatId, _: Span) -> BoxFuture<'static, Result<Vec<RoomLine>, String>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    fn hub(waiting: usize) -> Hub {
        Hub::new(AdapterName::new("web"), waiting, Arc::new(NoLog))
    }

    fn inbound(delivery: &str) -> Inbound {
        Inbound { delivery: DeliveryId::new(delivery), cursor: None, content: Content::Nothing { reason: "a test".into() } }
    }

    fn line(number: u64, text: &str) -> Outgoing {
        let key = OutboxId(Seq(number));
        Outgoing { room: RoomId::new("r"), thread: None, text: text.into(), key, voice: Voice::Agent, draft: false, reply_to: None }
    }

    async fn next(watch: &mut Watch) -> Event {
        Event::clone(&watch.next().await.expect("not too far behind"))
    }

    async fn connect(hub: &Hub) -> Connection {
        Web::new(hub.clone()).connect().await.expect("a hub is always there")
    }

    #[tokio::test(start_paused = true)]
    async fn what_pages_offer_comes_in_one_batch_and_silence_is_evidence() {
        let hub = hub(8);
        let mut listener = connect(&hub).await.listener;
        listener.resume(None);
        let first = hub.offer(inbound("a")).expect("room");
        let second = hub.offer(inbound("b")).expect("room");
        assert!(listener.next().await.expect("live").is_empty(), "that it is there is evidence at once");
        let batch = listener.next().await.expect("live");
        assert_eq!(batch.iter().map(|offer| offer.inbound.delivery.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let mut batch = batch.into_iter();
        batch.next().expect("two").receipt.settle(Taken::Accepted);
        drop(batch);
        assert_eq!(first.await, Ok(Taken::Accepted));
        assert!(second.await.is_err(), "dropped unsettled: the page must hear that nobody decided");
        let before = tokio::time::Instant::now();
        assert!(listener.next().await.expect("live").is_empty());
        assert!(before.elapsed() <= Duration::from_secs(30));
    }

    #[tokio::test]
    async fn offers_are_bounded_and_survive_a_new_connection() {
        let hub = hub(2);
        drop(connect(&hub).await);
        hub.offer(inbound("a")).expect("room");
        hub.offer(inbound("b")).expect("room");
        assert_eq!(hub.offer(inbound("c")).err(), Some(Full));
        let mut listener = connect(&hub).await.listener;
        assert!(listener.next().await.expect("live").is_empty());
        assert_eq!(listener.next().await.expect("live").len(), 2);
        hub.offer(inbound("c")).expect("room again");
    }

    #[tokio::test]
    async fn a_line_keeps_its_number_through_edits_and_repeats() {
        let hub = hub(1);
        let speaker = connect(&hub).await.speaker;
        let mut watch = hub.watch(&RoomId::new("r"));
        let mut elsewhere = hub.watch(&RoomId::new("other"));
        let message = speaker.send(Outgoing { draft: true, ..line(7, "a") }).await.expect("nobody refuses");
        assert_eq!(message, MessageId::new("7"));
        speaker.edit(line(7, "ab"), message).await.expect("nobody refuses");
        speaker.typing(RoomId::new("r"), None).await;
        let line = |text: &str, draft| Event::Line { id: OutboxId(Seq(7)), voice: Voice::Agent, text: text.into(), draft };
        assert_eq!([next(&mut watch).await, next(&mut watch).await], [line("ab", false), Event::Typing], "what it is now, once");
        speaker.edit(Outgoing { draft: true, ..super::tests::line(7, "abc") }, MessageId::new("7")).await.expect("nobody refuses");
        assert_eq!(next(&mut watch).await, line("abc", true));
        hub.publish(&RoomId::new("other"), Event::Typing);
        assert_eq!(next(&mut elsewhere).await, Event::Typing);
    }

    #[tokio::test]
    async fn g21_a_room_is_forgotten_with_its_last_watcher() {
        let hub = hub(1);
        let (one, two) = (hub.watch(&RoomId::new("r")), hub.watch(&RoomId::new("r")));
        assert_eq!(hub.watched(), 1);
        drop(one);
        assert_eq!(hub.watched(), 1);
        drop(two);
        assert_eq!(hub.watched(), 0);
        let speaker = connect(&hub).await.speaker;
        speaker.send(line(1, "to nobody")).await.expect("the ledger has it");
        assert_eq!(hub.watched(), 0);
    }

    #[tokio::test]
    async fn a_page_too_far_behind_is_told_to_start_again() {
        let hub = hub(1);
        let mut watch = hub.watch(&RoomId::new("r"));
        for _ in 0..=BEHIND {
            hub.publish(&RoomId::new("r"), Event::Typing);
        }
        assert_eq!(watch.next().await, None);
    }

    #[tokio::test]
    async fn g41_what_a_page_does_not_read_is_bounded_in_bytes() {
        let hub = hub(1);
        let room = RoomId::new("r");
        let line = |number: u64, bytes: usize| Event::Line {
            id: OutboxId(Seq(number)),
            voice: Voice::Agent,
            text: "x".repeat(bytes),
            draft: true,
        };
        let (mut slow, mut quick) = (hub.watch(&room), hub.watch(&room));
        // A reply that grows counts as long as it is now, and one alone may be of any length.
        for bytes in 1..=100 {
            hub.publish(&room, line(1, bytes * BEHIND_BYTES / 50));
            assert_eq!(next(&mut quick).await, line(1, bytes * BEHIND_BYTES / 50));
        }
        assert_eq!(next(&mut slow).await, line(1, 2 * BEHIND_BYTES));
        hub.publish(&room, line(2, BEHIND_BYTES));
        assert_eq!(next(&mut quick).await, line(2, BEHIND_BYTES));
        hub.publish(&room, line(3, 1));
        assert_eq!(slow.next().await, None, "together they are too much");
        assert_eq!(next(&mut quick).await, line(3, 1), "others go on");
    }
}
