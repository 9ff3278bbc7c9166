//! A platform and an agent that take no time, on a clock that runs: for whoever measures or counts what the gateway itself does.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};

use crate::agent::{Agent, AgentError, Answer, Report, Task};
use crate::ids::{Account, Cursor, DeliveryId, MessageId, RoomId, UserId};
use crate::platform::{
    Abilities, Connection, Content, Inbound, Listener, Offer, Outgoing, Platform, PlatformError, Said, Sender, SpeakError, Speaker,
};

/// People at their keyboards, on the other side of the platform.
pub struct People {
    say: mpsc::UnboundedSender<Inbound>,
    heard: mpsc::UnboundedReceiver<Outgoing>,
    said: u64,
}

impl People {
    /// People, and the platform that they use.
    pub fn and_their_platform() -> (Self, Instant) {
        let ((say, ear), (voice, heard)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        (Self { say, heard, said: 0 }, Instant { ear: Arc::new(Mutex::new(ear)), voice })
    }

    /// Somebody says something in a room of their own.
    ///
    /// # Panics
    /// When the gateway is gone.
    pub fn say(&mut self, room: u64, text: &str) {
        self.said += 1;
        let (room, delivery) = (room.to_string(), self.said.to_string());
        let said = Said {
            room: RoomId::new(&room),
            thread: None,
            group: false,
            sender: Sender { user: UserId::new(&room), name: "somebody".into(), person: true },
            message: None,
            text: text.into(),
            relayed: false,
        };
        let inbound = Inbound { delivery: DeliveryId::new(delivery), cursor: None, content: Content::Message(said) };
        self.say.send(inbound).expect("the platform is kept by its adapter");
    }

    /// Waits for the next message that anybody gets.
    ///
    /// # Panics
    /// When the gateway is gone.
    pub async fn hear(&mut self) -> Outgoing {
        self.heard.recv().await.expect("the platform is kept by its adapter")
    }

    /// A thousand at a time, everybody in `rooms` speaks once and waits for the answer.
    ///
    /// # Panics
    /// When the gateway is gone.
    pub async fn chatter(&mut self, rooms: std::ops::Range<u64>) {
        let mut rooms = rooms.peekable();
        while rooms.peek().is_some() {
            let mut asked = 0;
            for room in rooms.by_ref().take(1000) {
                self.say(room, "hello");
                asked += 1;
            }
            for _ in 0..asked {
                self.hear().await;
            }
        }
    }
}

/// The platform.
pub struct Instant {
    ear: Arc<Mutex<mpsc::UnboundedReceiver<Inbound>>>,
    voice: mpsc::UnboundedSender<Outgoing>,
}

impl Platform for Instant {
    fn kind(&self) -> &'static str {
        "instant"
    }

    fn abilities(&self) -> Abilities {
        Abilities { edits: false, idempotent: true, max_units: 4096 }
    }

    fn connect(&self) -> BoxFuture<'static, Result<Connection, PlatformError>> {
        let listener = Box::new(Ear { people: self.ear.clone(), greeted: false });
        let speaker = Arc::new(Voice(self.voice.clone()));
        Box::pin(async move { Ok(Connection { account: Account::new("instant:1"), listener, speaker }) })
    }
}

struct Ear {
    people: Arc<Mutex<mpsc::UnboundedReceiver<Inbound>>>,
    greeted: bool,
}

impl Listener for Ear {
    fn resume(&mut self, _: Option<Cursor>) {}

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Offer>, PlatformError>> {
        Box::pin(async {
            // The evidence that it receives.
            if !std::mem::replace(&mut self.greeted, true) {
                return Ok(Vec::new());
            }
            let mut batch = Vec::new();
            match self.people.lock().await.recv_many(&mut batch, 100).await {
                0 => Err(PlatformError::Closed),
                _ => Ok(batch.into_iter().map(|inbound| Offer::new(inbound).0).collect()),
            }
        })
    }
}

struct Voice(mpsc::UnboundedSender<Outgoing>);

impl Speaker for Voice {
    fn send(&self, out: Outgoing) -> BoxFuture<'_, Result<MessageId, SpeakError>> {
        let message = MessageId::new(out.key.0.0.to_string());
        // Nobody listens any more once the people have gone home.
        let _ = self.0.send(out);
        Box::pin(async { Ok(message) })
    }
}

/// An agent that knows the answer before it is asked.
pub struct Oracle;

impl Agent for Oracle {
    fn kind(&self) -> &'static str {
        "oracle"
    }

    fn run(&self, _: Task, _: Report) -> BoxFuture<'static, Result<Answer, AgentError>> {
        Box::pin(async { Ok(Answer { text: "yes".into() }) })
    }
}
