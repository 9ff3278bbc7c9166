//! A gateway's edge without its middle: a real HTTP server over a real hub, and a list in memory in place of desk, session and
//! ledger.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use switchboard::config::{Config, Surroundings};
use switchboard::http::access::{Gate, now};
use switchboard::http::door::Door;
use switchboard::http::figures::Figures;
use switchboard::http::health::{Part, Vitals};
use switchboard::http::heart::Heart;
use switchboard::http::{self, Chat, Front};
use switchboard::keys::Keys;
use switchboard::state_dir::StateDir;
use switchboard::token::Token;
use switchboard_actors::clock::Wall;
use switchboard_actors::ids::{AdapterName, ChatId, OutboxId, RoomId, Seq};
use switchboard_actors::ledger::{RoomLine, Span};
use switchboard_actors::platform::web::{Hub, RoomLog, Web};
use switchboard_actors::platform::{Content, Offer, Outgoing, Platform, Said, Speaker, Taken, Voice};

/// A list in place of the ledger.
#[derive(Default)]
pub(crate) struct Rooms {
    lines: Mutex<Vec<(RoomId, RoomLine)>>,
    last: AtomicU64,
}

impl Rooms {
    /// Adds a line, unless its delivery is known; answers with its number.
    pub(crate) fn add(&self, room: &RoomId, voice: Option<Voice>, delivery: Option<&str>, text: &str) -> Option<Seq> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let delivery = delivery.map(Into::into);
        if delivery.is_some() && lines.iter().any(|(_, line)| line.delivery == delivery) {
            return None;
        }
        let seq = Seq(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let outbox = voice.map(|_| OutboxId(seq));
        let line = RoomLine { seq, voice, delivery, text: text.to_owned(), at: Wall(0), state: None, outbox };
        lines.push((room.clone(), line));
        Some(seq)
    }

    /// What was said by people, in order.
    pub(crate) fn heard(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|(_, line)| line.voice.is_none()).map(|(_, line)| line.text.clone()).collect()
    }
}

impl RoomLog for Rooms {
    fn read(&self, chat: ChatId, span: Span) -> BoxFuture<'static, Result<Vec<RoomLine>, String>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<RoomLine> =
            lines.iter().filter(|(room, line)| *room == chat.room && line.seq > span.after).map(|(_, line)| line.clone()).collect();
        found.retain(|line| span.before.is_none_or(|before| line.seq < before));
        found.drain(..found.len().saturating_sub(span.most as usize));
        while found.len() > 1 && found.iter().map(|line| line.text.len()).sum::<usize>() > span.bytes as usize {
            found.remove(0);
        }
        Box::pin(async { Ok(found) })
    }
}

/// Everything is well.
pub(crate) struct AllWell;

impl Vitals for AllWell {
    fn live(&self) -> Vec<Part> {
        vec![Part::well("supervisor")]
    }

    fn ready(&self) -> Vec<Part> {
        vec![Part::well("ledger")]
    }

    fn figures(&self) -> Figures {
        Figures { sessions: 1, ..Figures::default() }
    }
}

/// A running edge.
pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) token: Token,
    pub(crate) door: Door,
    pub(crate) hub: Hub,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) ledger: uuid::Uuid,
    server: actix_web::dev::ServerHandle,
    _dir: tempfile::TempDir,
}

impl Edge {
    /// Serves on a free port; nobody takes messages in until [`answer`](Self::answer) is spawned.
    pub(crate) fn start(vitals: Arc<dyn Vitals>, environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        let keys = Keys::open(&state, now()).expect("writable");
        let listeners = http::bind("http.listen", "127.0.0.1:0").expect("a free port");
        let address = listeners[0].local_addr().expect("bound");
        let mut around = Surroundings::default();
        around.variables.insert("HOME".into(), "/nowhere".into());
        around.variables.insert("SWITCHBOARD__HTTP__LISTEN".into(), address.to_string());
        around.variables.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let config = Config::load(None, &around).expect("a good configuration");
        let rooms = Arc::new(Rooms::default());
        let adapter = AdapterName::new("web");
        let ledger = uuid::Uuid::new_v4();
        let hub = Hub::new(adapter.clone(), config.http.waiting as usize, rooms.clone());
        let chat = Chat::new(hub.clone(), adapter, ledger, &config.http, config.settings.session.message_bytes);
        let door = Door::default();
        let gate = Arc::new(Gate::new(&config.http, &state, &keys));
        let front = Front::new(&config.http, gate, Some(chat), vitals, door.clone());
        let server = http::serve(&Arc::new(front), listeners, Vec::new(), &Heart::default()).expect("listeners of ours");
        let handle = server.handle();
        actix_rt::spawn(server);
        Self { address, token: keys.chat, door, hub, rooms, ledger, server: handle, _dir: dir }
    }

    /// Takes in what pages say and answers each message with `answer` of it, for ever.
    pub(crate) async fn answer(hub: Hub, rooms: Arc<Rooms>, answer: impl AsyncFn(&Said, Arc<dyn Speaker>, &Rooms)) {
        let connection = Web::new(hub).connect().await.expect("a hub is always there");
        let (mut listener, speaker) = (connection.listener, connection.speaker);
        listener.resume(None);
        loop {
            for Offer { inbound, receipt } in listener.next().await.expect("a hub does not break") {
                let Content::Message(said) = inbound.content else { continue };
                let fresh = rooms.add(&said.room, None, Some(inbound.delivery.as_str()), &said.text).is_some();
                receipt.settle(Taken::Accepted);
                if fresh {
                    answer(&said, speaker.clone(), &rooms).await;
                }
            }
        }
    }

    /// Ends the server.
    pub(crate) async fn stop(&self) {
        self.door.close();
        self.server.stop(true).await;
    }
}

/// A message of the agent or the gateway.
pub(crate) fn words(room: &RoomId, number: Seq, voice: Voice, text: &str) -> Outgoing {
    Outgoing { room: room.clone(), thread: None, text: text.to_owned(), key: OutboxId(number), voice, draft: false, reply_to: None }
}
