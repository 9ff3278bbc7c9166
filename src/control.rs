//! The control socket: how operators speak to a running gateway.
//!
//! One JSON object a line, `{"v":1,"do":"status"}`, and one line back. This file is the protocol; [`server`] and [`client`] are its
//! halves. It never carries what people said, and nothing here decides what a request does: that is the [`Handle`]'s.

pub mod client;
pub mod descent;
pub mod server;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use switchboard_actors::clock::Wall;
use switchboard_actors::ids::{AdapterName, ChatId, InstanceId, OutboxId, SessionKey, TurnId, UserId};
use switchboard_actors::ledger::{OutboxState, PairRow, TurnRow};
use switchboard_actors::shutdown::ShutdownKind;

use crate::caller::Caller;
use crate::history::Life;
use crate::http::health::Part;
use crate::keys::Rotation;

/// The version of the protocol. A gateway refuses any other, since half an understood command is worse than none.
pub const VERSION: u32 = 1;
/// What a version that is on trial is about.
pub const ON_TRIAL: &str = "on trial";
/// What is refused to whom the gateway started.
pub const NOT_FROM_WITHIN: &str = "a process that the gateway started may not end or reload it, let anybody in, or change what it keeps; an agent has \
     its own way to ask for a restart, and for all else there are people";
/// The longest line, either way.
const MOST_BYTES: usize = 4 << 20;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How are you? → [`Response::Status`]
    Status,
    /// Go down and stay down. → [`Response::GoingDown`]
    Stop(Farewell),
    /// Go down and come back. → [`Response::GoingDown`]
    Restart(Farewell),
    /// Go down and come back as another version. → [`Response::GoingDown`]
    Update(Farewell),
    /// Read the configuration again. → [`Response::Reloaded`], [`Response::Faulty`]
    Reload,
    /// Start no turn from now on; messages are saved. → [`Response::Done`]
    Drain,
    /// Start turns again, also those held back after a crash loop. → [`Response::Done`]
    Resume,
    /// Which turns run, were cut or are parked? → [`Response::Turns`]
    Turns,
    /// Run this turn again. → [`Response::Done`]
    TurnRetry {
        /// It.
        turn: TurnId,
    },
    /// Close this cut or parked turn. → [`Response::Done`]
    TurnDrop {
        /// It.
        turn: TurnId,
    },
    /// Which replies are not delivered? → [`Response::Outbox`]
    Outbox,
    /// Send this reply again. → [`Response::Done`]
    OutboxRetry {
        /// It.
        id: OutboxId,
    },
    /// Give this reply up. → [`Response::Done`]
    OutboxDrop {
        /// It.
        id: OutboxId,
    },
    /// Who was let in, and who waits? → [`Response::Pairs`]
    Pairs,
    /// Let the holder of this code in. → [`Response::Done`]
    PairApprove {
        /// The code, as the stranger was told it.
        code: String,
    },
    /// Let this person in no longer. → [`Response::Done`]
    PairRevoke {
        /// The adapter.
        adapter: AdapterName,
        /// The person.
        user: UserId,
    },
    /// How did the last lives begin and end? → [`Response::History`]
    History {
        /// At most so many.
        most: u32,
    },
    /// Where is the page? → [`Response::Page`]
    Url,
    /// Make anew what opens, so that the old is void. → [`Response::Done`]
    Rotate {
        /// Of it.
        what: Rotation,
    },
    /// Give an adapter's open rows to another. → [`Response::Done`]
    LedgerMove {
        /// From.
        from: AdapterName,
        /// To.
        to: AdapterName,
    },
    /// Close an adapter's open rows. → [`Response::Done`]
    LedgerDrop {
        /// The adapter.
        adapter: AdapterName,
    },
}

impl Request {
    /// Whether it changes what is in the ledger, or what the gateway does beside going down.
    pub fn changes(&self) -> bool {
        match self {
            Request::Status | Request::History { .. } | Request::Turns | Request::Outbox | Request::Pairs => false,
            Request::Stop(_) | Request::Restart(_) | Request::Update(_) => false,
            Request::Reload | Request::Drain | Request::Resume | Request::Url | Request::Rotate { .. } => true,
            Request::TurnRetry { .. } | Request::TurnDrop { .. } | Request::OutboxRetry { .. } | Request::OutboxDrop { .. } => true,
            Request::PairApprove { .. } | Request::PairRevoke { .. } | Request::LedgerMove { .. } | Request::LedgerDrop { .. } => true,
        }
    }

    /// Whether it changes anything at all: refused to the gateway's own descendants, so that no agent does so by accident or because somebody talked it
    /// into it.
    pub fn acts(&self) -> bool {
        self.changes() || matches!(self, Request::Stop(_) | Request::Restart(_) | Request::Update(_))
    }
}

/// How to go down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Farewell {
    /// The grace in milliseconds; none: as configured, 0: no drain. The shorter wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_millis: Option<u64>,
    /// Why, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Response {
    /// It was done.
    Done {
        /// What, in words.
        message: String,
    },
    /// The configuration was read again, and is in force but for what needs a restart.
    Reloaded {
        /// What changed, in words, by key; never a value.
        changes: Vec<String>,
        /// Keys that differ and need a restart.
        restart: Vec<String>,
        /// What works, but hardly as meant.
        warnings: Vec<String>,
    },
    /// The configuration is bad, and nothing changed.
    Faulty {
        /// Every fault, in words.
        faults: Vec<String>,
    },
    /// The shutdown began, or was joined.
    GoingDown {
        /// The instance that goes.
        instance: InstanceId,
        /// What for, after everybody joined.
        kind: ShutdownKind,
        /// Gone within this time, margin included.
        within_millis: u64,
    },
    /// How the gateway is.
    Status(Box<Status>),
    /// Turns, oldest first.
    Turns {
        /// They.
        turns: Vec<TurnRow>,
    },
    /// Replies, oldest first.
    Outbox {
        /// They.
        rows: Vec<OutboxLine>,
    },
    /// People.
    Pairs {
        /// They.
        pairs: Vec<PairRow>,
    },
    /// Lives and starts that came to nothing, the newest first.
    History {
        /// They.
        lives: Vec<Life>,
    },
    /// The page.
    Page {
        /// Its address, with a code that opens once: a secret.
        address: String,
    },
    /// It was not done, and may be tried again.
    NotAchieved {
        /// Why, in words.
        reason: String,
    },
    /// It was not done, and will not be for you.
    Refused {
        /// Why, in words.
        reason: String,
    },
    /// The request is not one.
    NotUnderstood {
        /// Why, in words.
        reason: String,
    },
}

/// How a gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its life.
    pub instance: InstanceId,
    /// Its program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since its start.
    pub uptime_millis: u64,
    /// What it is about: `serving`, [`ON_TRIAL`], `held` (by drain), `recovery held` (crash loop), or the phase of a shutdown.
    pub doing: String,
    /// Whether it can serve.
    pub ready: bool,
    /// Parts that are not well.
    pub troubled: Vec<Part>,
    /// Sessions in memory.
    pub sessions: u64,
    /// Turns that run.
    pub turns_running: u64,
    /// The longest of them.
    #[serde(default)]
    pub running: Vec<RunningTask>,
    /// Turns that were cut or parked and wait for somebody.
    pub turns_cut: u64,
    /// Messages that wait for their turn.
    pub messages_waiting: u64,
    /// Replies that are not delivered.
    pub replies_owed: u64,
    /// Every enabled adapter.
    pub adapters: Vec<AdapterStatus>,
    /// How the last instance ended, in words; none at the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<String>,
}

/// A turn that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTask {
    /// Whose it is.
    pub session: SessionKey,
    /// Since its start.
    pub for_millis: u64,
}

/// How an adapter is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterStatus {
    /// Its name.
    pub name: AdapterName,
    /// Its kind.
    pub kind: String,
    /// In one word: `connected`, `connecting`, `deaf`, `given up`.
    pub state: String,
    /// What is wrong, in our own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A reply that is not delivered; without its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxLine {
    /// Its number.
    pub id: OutboxId,
    /// Where it should go.
    pub chat: ChatId,
    /// Where it stands.
    pub state: OutboxState,
    /// How often it was tried.
    pub tries: u32,
    /// When it was written.
    pub at: Wall,
    /// Why it failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Carries requests out.
pub trait Handle: Send + Sync + 'static {
    /// Answers one request of `caller`. Dropping the future must leave nothing half done: its asker may be gone, or out of time.
    fn handle(&self, request: Request, caller: &Caller) -> BoxFuture<'static, Response>;
}

/// A request as it is written: the line that a client sends.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope {
    v: u32,
    #[serde(flatten)]
    request: serde_json::Value,
}

impl Envelope {
    /// The line of a request, with its end.
    pub fn write(request: &Request) -> String {
        let request = serde_json::to_value(request).expect("requests are plain data");
        serde_json::to_string(&Envelope { v: VERSION, request }).expect("requests are plain data") + "\n"
    }

    /// Reads a line, with or without its end.
    ///
    /// # Errors
    /// When it is no request of this version, in words for the client.
    pub fn read(line: &[u8]) -> Result<Request, String> {
        let envelope: Envelope = serde_json::from_slice(line).map_err(|error| format!("this is not a request: {error}"))?;
        if envelope.v != VERSION {
            return Err(format!("this gateway speaks version {VERSION} of the protocol, not {}; use its own `switchboard`", envelope.v));
        }
        serde_json::from_value(envelope.request).map_err(|error| format!("this request is unknown: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let check = |request: Request, line: &str| {
            assert_eq!(Envelope::write(&request).trim(), line);
            assert_eq!(Envelope::read(line.as_bytes()), Ok(request));
        };
        check(Request::Status, r#"{"v":1,"do":"status"}"#);
        check(Request::Stop(Farewell::default()), r#"{"v":1,"do":"stop"}"#);
        check(
            Request::PairRevoke { adapter: AdapterName::new("family"), user: UserId::new("7") },
            r#"{"v":1,"adapter":"family","do":"pair_revoke","user":"7"}"#,
        );
        check(Request::Url, r#"{"v":1,"do":"url"}"#);
        check(Request::Rotate { what: Rotation::Browsers }, r#"{"v":1,"do":"rotate","what":"browsers"}"#);
    }

    #[test]
    fn what_is_not_a_request_is_said_to_be() {
        let check = |line: &str, part: &str| {
            let error = Envelope::read(line.as_bytes()).expect_err("no request");
            assert!(error.contains(part), "{error}");
        };
        check("", "not a request");
        check("{}", "not a request");
        check(r#"{"v":2,"do":"status"}"#, "version 1");
        check(r#"{"v":1,"do":"dance"}"#, "unknown");
        check(r#"{"v":1,"do":"turn_drop"}"#, "unknown");
        check(r#"{"v":1,"do":"stop","grace":"1s"}"#, "unknown");
    }
}
