//! A model server with one endpoint, `POST /v1/chat/completions`, by its documentation:
//! <https://platform.openai.com/docs/api-reference/chat/create> and
//! <https://platform.openai.com/docs/api-reference/chat-streaming/streaming>.
//!
//! It answers "You said: …" unless a script says otherwise, and knows when a client went away before its answer was over.

mod replies;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::journal::Journal;
use super::loopback::Loopback;

/// The fake. Dropping it closes its connections.
pub struct FakeOpenAi {
    server: Loopback,
    state: Arc<Journal<OpenAiState>>,
}

/// Everything that the fake knows.
#[derive(Default)]
pub struct OpenAiState {
    /// Every request, in order.
    pub requests: Vec<ModelRequest>,
    queued: VecDeque<Reply>,
    asked: Vec<(String, Reply)>,
    standing: Option<Reply>,
    let_go: bool,
}

/// One request.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// Its body.
    pub body: Value,
    /// Its `Authorization`.
    pub authorization: Option<String>,
    /// When it arrived.
    pub at: Instant,
    /// What became of it.
    pub fate: RequestFate,
}

impl ModelRequest {
    /// The words of the last message in it.
    pub fn asked(&self) -> &str {
        self.body["messages"].as_array().and_then(|messages| messages.last()).and_then(|last| last["content"].as_str()).unwrap_or_default()
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFate {
    /// It is being answered.
    Open,
    /// It was answered as the script says.
    Answered,
    /// Its client went away before that.
    ClientGone,
}

/// How to answer a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// "You said: " and the last message, word by word.
    Echo,
    /// These pieces, with this time before each, a finish reason and `[DONE]`.
    Stream(Vec<String>, Duration),
    /// As [`Echo`](Reply::Echo), byte by byte, with this time before each: mostly in the middle of an event.
    Drip(Duration),
    /// These pieces at once, then the connection is closed without an end.
    CutAfter(Vec<String>),
    /// These pieces at once, then silence.
    StallAfter(Vec<String>),
    /// This body with this content type, and then the proper end of the body.
    Body(&'static str, String),
    /// A status with a body, and `Retry-After` where one is given.
    Status(u16, Option<String>, String),
    /// A redirect to this address.
    Redirect(String),
    /// As [`Echo`](Reply::Echo), but not before [`let_go`](FakeOpenAi::let_go).
    Held,
    /// The request is read and never answered.
    Never,
    /// The request is read and the connection closed.
    HangUp,
}

impl Default for FakeOpenAi {
    fn default() -> Self {
        Self::start()
    }
}

impl FakeOpenAi {
    /// Starts one.
    pub fn start() -> Self {
        let state = Arc::new(Journal::new(OpenAiState::default()));
        let server = Loopback::start("fake openai", replies::handler(Arc::clone(&state)));
        Self { server, state }
    }

    /// For `agents.NAME.base_url`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.server.root())
    }

    /// The next request is answered so; several wait in line.
    pub fn reply_next(&self, reply: Reply) {
        self.state.write(|state| state.queued.push_back(reply));
    }

    /// Whoever asks for something that holds `words` is answered so, when nothing waits in line: for many chats at once, where
    /// nobody knows who comes next.
    pub fn reply_to(&self, words: &str, reply: Reply) {
        self.state.write(|state| state.asked.push((words.to_owned(), reply)));
    }

    /// Every other request is answered so from now on.
    pub fn reply_always(&self, reply: Reply) {
        self.state.write(|state| state.standing = Some(reply));
    }

    /// Answers the requests that are held.
    pub fn let_go(&self) {
        self.state.write(|state| state.let_go = true);
    }

    /// Refuses connections from now on, and closes those that are open.
    pub fn go_away(&self) {
        self.server.go_away();
    }

    /// Is there again, on the same port.
    pub fn come_back(&self) {
        self.server.come_back();
    }

    /// Every request, in order.
    pub fn requests(&self) -> Vec<ModelRequest> {
        self.state.read(|state| state.requests.clone())
    }

    /// Blocks until `condition` gives something; panics after `bound`, saying `what` it waited for.
    #[track_caller]
    pub fn wait_for<R>(&self, what: &str, bound: Duration, condition: impl FnMut(&OpenAiState) -> Option<R>) -> R {
        self.state.wait_for(what, bound, condition)
    }
}
