//! A Bot API server for one bot, by its documentation: <https://core.telegram.org/bots/api>.
//!
//! What it keeps to: an update is forgotten once getUpdates is called with a higher offset
//! (<https://core.telegram.org/bots/api#getupdates>); at most 100 updates a call; a second poller ends the first with 409; a repeated
//! sendMessage is a second message; errors come in the envelope of <https://core.telegram.org/bots/api#making-requests>; an offset far
//! ahead of the newest update is answered from the oldest one (`Client::do_get_updates` in tdlib/telegram-bot-api and
//! `TQueueImpl::get` in tdlib/td). Negative offsets and webhooks are not played.

mod methods;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::journal::Journal;
use super::loopback::Loopback;

/// The fake. Dropping it closes its connections.
pub struct FakeTelegram {
    server: Loopback,
    state: Arc<Journal<TelegramState>>,
    token: String,
}

/// Everything that the fake knows.
#[derive(Default)]
pub struct TelegramState {
    /// Every call that arrived, in order.
    pub calls: Vec<Call>,
    /// Every message that was sent, in order, as it reads now.
    pub sent: Vec<SentMessage>,
    bot: i64,
    token: String,
    updates: BTreeMap<i64, Value>,
    last_update: i64,
    last_message: i64,
    /// The number of the poll that waits; a later one ends it.
    poll: u64,
    /// How many polls wait.
    polling: usize,
    queued: HashMap<String, VecDeque<Fault>>,
    standing: HashMap<String, Fault>,
    chats: HashMap<i64, Fault>,
    migrated: HashMap<i64, i64>,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// `getUpdates`, `sendMessage`, …
    pub method: String,
    /// Its parameters.
    pub parameters: Value,
    /// When it arrived.
    pub at: Instant,
}

/// One message that the bot sent.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// Its id, unique within the fake.
    pub id: i64,
    /// The chat.
    pub chat: i64,
    /// The topic.
    pub thread: Option<i64>,
    /// The words, as they read now.
    pub text: String,
    /// How often it was edited.
    pub edits: usize,
    /// The message that it answers.
    pub reply_to: Option<i64>,
    /// When it was sent.
    pub at: Instant,
}

/// A way to misbehave.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 429 (<https://core.telegram.org/bots/api#responseparameters>); without a number it does not say how long.
    TooMany(Option<u64>),
    /// An error in Telegram's envelope.
    Declined(u16, String),
    /// A status with a page that no Bot API wrote.
    Page(u16),
    /// 200 with something that is not JSON.
    Garbage,
    /// 200 with a body that never ends: pieces of so many bytes, with this time before each.
    Endless(usize, Duration),
    /// The request is read and never answered.
    Hang,
    /// The request is read and the connection closed; nothing was carried out.
    HangUp,
    /// It is carried out, but the connection is closed instead of an answer.
    LoseAnswer,
    /// It is carried out after this time.
    Slow(Duration),
}

impl Default for FakeTelegram {
    fn default() -> Self {
        Self::start()
    }
}

impl FakeTelegram {
    /// The name of the bot.
    pub const USERNAME: &str = "OurBot";
    /// Its id, where nothing else is said.
    pub const BOT: i64 = 4711;

    /// Starts one, with the token `4711:TEST-token`.
    pub fn start() -> Self {
        Self::start_as(Self::BOT)
    }

    /// Starts one for another bot.
    pub fn start_as(bot: i64) -> Self {
        let token = format!("{bot}:TEST-token");
        let state = Arc::new(Journal::new(TelegramState { bot, token: token.clone(), last_update: 1000, ..TelegramState::default() }));
        let server = Loopback::start("fake telegram", methods::handler(Arc::clone(&state)));
        Self { server, state, token }
    }

    /// The bot gets another token, which is returned; the one before is refused.
    pub fn renew_token(&self) -> String {
        self.state.write(|state| {
            state.token.push_str("-renewed");
            state.token.clone()
        })
    }

    /// For `adapters.NAME.api_root`.
    pub fn api_root(&self) -> String {
        self.server.root()
    }

    /// For `adapters.NAME.token`, until it is renewed.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Somebody writes in a private chat (`chat` is `user`) or in a group (`chat` is negative). Returns the update's number.
    pub fn push_text(&self, chat: i64, user: i64, text: &str) -> i64 {
        let kind = if chat < 0 { "supergroup" } else { "private" };
        self.push_message(json!({
            "chat": { "id": chat, "type": kind },
            "from": { "id": user, "is_bot": false, "first_name": format!("User{user}") },
            "text": text,
        }))
    }

    /// A message as Telegram would tell it; its id and date are added where they are missing.
    pub fn push_message(&self, mut message: Value) -> i64 {
        self.state.write(|state| {
            state.last_message += 1;
            let fields = message.as_object_mut().expect("a message is an object");
            fields.entry("message_id").or_insert_with(|| json!(state.last_message));
            fields.entry("date").or_insert_with(|| json!(1_700_000_000));
            state.push(json!({ "message": message }))
        })
    }

    /// Any update; its number is added where it is missing.
    pub fn push_update(&self, update: Value) -> i64 {
        self.state.write(|state| state.push(update))
    }

    /// Numbers start anew, as they do after a week without updates (<https://core.telegram.org/bots/api#update>).
    pub fn renumber_from(&self, next: i64) {
        self.state.write(|state| state.last_update = next - 1);
    }

    /// The next call of `method` fails so; several wait in line.
    pub fn fail_next(&self, method: &str, fault: Fault) {
        self.state.write(|state| state.queued.entry(method.to_owned()).or_default().push_back(fault));
    }

    /// Every call of `method` fails so from now on; `None` ends it.
    pub fn fail_always(&self, method: &str, fault: Option<Fault>) {
        self.state.write(|state| match fault {
            Some(fault) => state.standing.insert(method.to_owned(), fault),
            None => state.standing.remove(method),
        });
    }

    /// Everything said to one chat fails so from now on; `None` ends it.
    pub fn fail_chat(&self, chat: i64, fault: Option<Fault>) {
        self.state.write(|state| match fault {
            Some(fault) => state.chats.insert(chat, fault),
            None => state.chats.remove(&chat),
        });
    }

    /// The group has become a supergroup, with a new id (`migrate_to_chat_id` of <https://core.telegram.org/bots/api#responseparameters>).
    pub fn migrate(&self, group: i64, supergroup: i64) {
        self.state.write(|state| state.migrated.insert(group, supergroup));
    }

    /// Refuses connections from now on, and closes those that are open.
    pub fn go_away(&self) {
        self.server.go_away();
    }

    /// Is there again, on the same port.
    pub fn come_back(&self) {
        self.server.come_back();
    }

    /// The updates that nobody has confirmed.
    pub fn unconfirmed(&self) -> Vec<i64> {
        self.state.read(|state| state.updates.keys().copied().collect())
    }

    /// How many polls wait right now.
    pub fn polling(&self) -> usize {
        self.state.read(|state| state.polling)
    }

    /// Every message that was sent, in order, as it reads now.
    pub fn sent(&self) -> Vec<SentMessage> {
        self.state.read(|state| state.sent.clone())
    }

    /// How many messages were sent.
    pub fn count_sent(&self) -> usize {
        self.state.read(|state| state.sent.len())
    }

    /// The words sent to one chat, in order, as they read now.
    pub fn texts_in(&self, chat: i64) -> Vec<String> {
        self.state.read(|state| state.texts_in(chat))
    }

    /// Every call of one method, in order.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        self.state.read(|state| state.calls.iter().filter(|call| call.method == method).cloned().collect())
    }

    /// Blocks until `condition` gives something; panics after `bound`, saying `what` it waited for.
    #[track_caller]
    pub fn wait_for<R>(&self, what: &str, bound: Duration, condition: impl FnMut(&TelegramState) -> Option<R>) -> R {
        self.state.wait_for(what, bound, condition)
    }
}

impl TelegramState {
    /// The words sent to one chat, in order, as they read now.
    pub fn texts_in(&self, chat: i64) -> Vec<String> {
        self.sent.iter().filter(|message| message.chat == chat).map(|message| message.text.clone()).collect()
    }

    /// How many polls wait right now.
    pub fn polling(&self) -> usize {
        self.polling
    }

    /// The updates that nobody has confirmed.
    pub fn unconfirmed(&self) -> Vec<i64> {
        self.updates.keys().copied().collect()
    }

    fn push(&mut self, mut update: Value) -> i64 {
        let number = self.last_update + 1;
        update.as_object_mut().expect("an update is an object").insert("update_id".into(), json!(number));
        self.last_update = number;
        self.updates.insert(number, update);
        number
    }
}
