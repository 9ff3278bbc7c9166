//! A gateway inside an actix-web application: everything that an embedder has to do, in one file.
//!
//! ```sh
//! cargo run -p switchboard-actors --example embed -- /tmp/embed-state
//! curl -s localhost:8080/chat -H 'Content-Type: application/json' -d '{"user":"ann","text":"hello"}'
//! curl -s localhost:8080/status
//! ```
//!
//! What the library does: accept, sessions, turns, delivery, recovery, and the plan of a shutdown. What it leaves to you: configuration,
//! signals, HTTP, the lock on the state directory (two processes must never serve one ledger: see `src/lock.rs`), and the end of the
//! process. Ctrl-C takes both down in order; a second one leaves running tasks no more time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Addr;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use switchboard_actors::agent::Agent;
use switchboard_actors::agent::demo::Demo;
use switchboard_actors::children::ProcessGroups;
use switchboard_actors::clock::Clock;
use switchboard_actors::ids::{Account, AdapterName, AgentName, Cursor, DeliveryId, MessageId, RoomId, UserId};
use switchboard_actors::ledger::sqlite::SqliteLedger;
use switchboard_actors::marker::Flag;
use switchboard_actors::platform::{
    Abilities, Connection, Content, Inbound, Listener, Offer, Outgoing, Platform, PlatformError, Said, Sender, SpeakError, Speaker, Taken,
};
use switchboard_actors::protocol::{Bulletin, GetStatus, Hurry, Shutdown};
use switchboard_actors::settings::{Access, AdapterSettings, Settings};
use switchboard_actors::shutdown::{RequestedBy, ShutdownKind};
use switchboard_actors::supervisor::{Gateway, Place, Ports, Supervisor};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

const LISTEN: &str = "127.0.0.1:8080";
/// A client is told to come back after this, where its answer takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that may wait to be taken in.
const BACKLOG: usize = 256;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    // Actors decide on one arbiter, the actix system below. Platforms and agents work elsewhere: each on a runtime of its own, so
    // that an agent which blocks its thread takes nobody else's.
    let threads = |name: &str| tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build();
    let (io, agents) = (threads("io")?, threads("agent")?);
    let served = actix_rt::System::new().block_on(serve(io.handle().clone(), agents.handle().clone()));
    // A run that does not yield would hold a runtime that is dropped; these two are let go.
    io.shutdown_background();
    agents.shutdown_background();
    served
}

async fn serve(io: Handle, agents: Handle) -> Result<(), Failure> {
    let counter = Counter::default();
    let (gateway, ready) = start_gateway(&counter, io, agents)?;
    // `Ready` comes when the first adapter is connected. The port opens after it, so whoever can connect is served.
    ready.await?;
    let (app, supervisor) = (web::Data::new(counter.clone()), web::Data::new(gateway.supervisor.clone()));
    let routes = move || {
        App::new()
            .app_data(app.clone())
            .app_data(supervisor.clone())
            .route("/chat", web::post().to(chat))
            .route("/status", web::get().to(status))
    };
    // actix-web would end itself at the first signal, while turns still run: signals are ours, and the order is, too.
    let server = HttpServer::new(routes).workers(1).disable_signals().shutdown_timeout(5).bind(LISTEN)?.run();
    let handle = server.handle();
    let server = actix_rt::spawn(server);
    eprintln!("listening on http://{LISTEN}; Ctrl-C stops");
    actix_rt::signal::ctrl_c().await?;
    go_down(&gateway.supervisor, &counter, &handle).await?;
    Ok(server.await??)
}

/// Starts the gateway on this arbiter; and what fires once it serves.
fn start_gateway(counter: &Counter, io: Handle, agents: Handle) -> Result<(Gateway, oneshot::Receiver<()>), Failure> {
    let state = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "embed-state".into()));
    std::fs::create_dir_all(&state)?;
    // Every bound, budget and text has a default. `Settings` is plain data: change what you like, or read it from a file of your own.
    let mut settings = Settings::defaults();
    settings.shutdown.grace = Duration::from_secs(30);
    let adapter = AdapterSettings {
        name: AdapterName::new("counter"),
        // Whoever can post here may speak: this application has its own doors.
        access: Access { allow: vec!["*".into()], admins: Vec::new(), pairing: false },
        rate: None,
        agent: AgentName::new("demo"),
    };
    let (told, ready) = oneshot::channel();
    let told = RefCell::new(Some(told));
    let gateway = Supervisor::start(Ports {
        settings: Arc::new(settings),
        clock: Clock::system(),
        version: env!("CARGO_PKG_VERSION").into(),
        ledger: Box::new(SqliteLedger::open(state.join("ledger.sqlite3"))?),
        place: Place::Thread,
        boot: None,
        remains: None,
        false_starts: Vec::new(),
        // Beside the ledger, on the same disk. It says that the last life ended clean.
        marker: Some(Flag::at(state.join("clean"))),
        adapters: vec![(adapter, Arc::new(counter.clone()) as Arc<dyn Platform>)],
        agents: HashMap::from([(AgentName::new("demo"), Arc::new(Demo) as Arc<dyn Agent>)]),
        io,
        agent_runtime: agents,
        reaper: Arc::new(ProcessGroups),
        // Called on the arbiter: it must not block.
        bulletin: Box::new(move |bulletin| match bulletin {
            Bulletin::Ready => {
                if let Some(told) = told.borrow_mut().take() {
                    // Nobody waits any more when the start was given up.
                    let _ = told.send(());
                }
            }
            Bulletin::Phase(phase) => eprintln!("going down: {phase}"),
            Bulletin::Lost(reason) => {
                // What is durable is not known any more: nothing more may be said. The next start recovers from the disk.
                eprintln!("the ledger is lost: {reason}");
                std::process::exit(70);
            }
            Bulletin::Born | Bulletin::GoingDown { .. } | Bulletin::Down(_) => {}
        }),
    });
    Ok((gateway, ready))
}

/// Down in order: no new requests, then the gateway, then the server, whose connections carry the last answers.
async fn go_down(supervisor: &Addr<Supervisor>, counter: &Counter, server: &ServerHandle) -> Result<(), Failure> {
    counter.close();
    let shutdown = Shutdown { kind: ShutdownKind::Stop, grace: None, requested_by: RequestedBy::Embedder, reason: None };
    let report = supervisor.send(shutdown);
    tokio::pin!(report);
    let report = loop {
        tokio::select! {
            report = &mut report => break report??,
            _ = actix_rt::signal::ctrl_c() => supervisor.do_send(Hurry(Some(RequestedBy::Embedder))),
        }
    };
    // Every session of the census has one outcome here, with its reason. What was cut is in the ledger and can be run again.
    eprintln!("{}; sessions: {}, idle: {}, took {:?}", report.verdict, report.census, report.idle, report.took);
    for session in &report.sessions {
        eprintln!("  {}: {} {}", session.session, session.outcome, session.reason);
    }
    server.stop(true).await;
    Ok(())
}

/// Somebody's words.
#[derive(Deserialize)]
struct Words {
    user: String,
    text: String,
}

/// The answer to them.
#[derive(Serialize)]
struct Reply {
    reply: String,
}

/// Says it to the gateway and waits for the answer.
async fn chat(words: web::Json<Words>, counter: web::Data<Counter>) -> HttpResponse {
    let later = |seconds: u64, why: &str| {
        HttpResponse::ServiceUnavailable().insert_header(("Retry-After", seconds.to_string())).body(why.to_owned())
    };
    let Words { user, text } = words.into_inner();
    let Some((taken, reply)) = counter.ask(&user, text) else { return later(5, "not now") };
    match taken.await {
        Ok(Taken::Accepted) => {}
        // Nothing was stored: the client still has it, and says it again.
        Ok(Taken::Later(after) | Taken::Full(after)) => return later(after.as_secs().max(1), "it could not be stored"),
        Err(_) => return later(5, "nobody took it in"),
    }
    match tokio::time::timeout(PATIENCE, reply).await {
        Ok(Ok(reply)) => HttpResponse::Ok().json(Reply { reply }),
        Ok(Err(_)) => later(5, "the gateway went down; the message is stored and its turn can be run again"),
        Err(_) => HttpResponse::GatewayTimeout().body("no answer yet"),
    }
}

/// What goes on, as the supervisor sees it.
async fn status(supervisor: web::Data<Addr<Supervisor>>) -> HttpResponse {
    match supervisor.send(GetStatus).await {
        Ok(status) => HttpResponse::Ok().json(status),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// A platform of our own: a counter where each request waits for its answer. Clones are the same one.
///
/// It knows nothing of sessions or turns. What is said to it is *offered* until the gateway took it; what the gateway says is spoken to
/// whoever waits for it.
#[derive(Clone, Default)]
struct Counter(Arc<Inner>);

#[derive(Default)]
struct Inner {
    closed: AtomicBool,
    /// The way to the listener of the present connection.
    way_in: Mutex<Option<mpsc::Sender<Offer>>>,
    /// Who waits, by the message that an answer will name.
    waiting: Mutex<HashMap<MessageId, oneshot::Sender<String>>>,
}

impl Counter {
    /// Takes no more requests.
    fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
    }

    /// Offers somebody's words; what becomes of them, and where the answer will arrive. `None`: not now.
    fn ask(&self, user: &str, text: String) -> Option<(oneshot::Receiver<Taken>, oneshot::Receiver<String>)> {
        if self.0.closed.load(Ordering::Acquire) {
            return None;
        }
        let id = uuid::Uuid::new_v4().to_string();
        let message = MessageId::new(&id);
        let said = Said {
            // Each user has a conversation of their own.
            room: RoomId::new(user),
            thread: None,
            group: false,
            sender: Sender { user: UserId::new(user), name: user.to_owned(), person: true },
            message: Some(message.clone()),
            text,
            relayed: false,
        };
        // A client that repeats a request under an id of its own would be recognised by the delivery id; here each request is new. There is
        // no cursor: nothing is read from a stream.
        let (offer, taken) = Offer::new(Inbound { delivery: DeliveryId::new(&id), cursor: None, content: Content::Message(said) });
        let (speak, reply) = oneshot::channel();
        self.waiting().insert(message.clone(), speak);
        let way_in = self.0.way_in.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if way_in.is_none_or(|way_in| way_in.try_send(offer).is_err()) {
            self.waiting().remove(&message);
            return None;
        }
        Some((taken, reply))
    }

    /// Nothing in here is left half done by a panic.
    fn waiting(&self) -> MutexGuard<'_, HashMap<MessageId, oneshot::Sender<String>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform for Counter {
    fn kind(&self) -> &'static str {
        "counter"
    }

    fn abilities(&self) -> Abilities {
        Abilities { edits: false, idempotent: false, max_units: 1 << 20 }
    }

    fn connect(&self) -> BoxFuture<'static, Result<Connection, PlatformError>> {
        let (way_in, offers) = mpsc::channel(BACKLOG);
        *self.0.way_in.lock().unwrap_or_else(PoisonError::into_inner) = Some(way_in);
        let (listener, speaker) = (Box::new(Ear { offers, greeted: false }), Arc::new(self.clone()));
        // Who we are: half of the key by which a repeated delivery is recognised, for as long as the ledger lives.
        Box::pin(async { Ok(Connection { account: Account::new("counter:1"), listener, speaker }) })
    }
}

/// The way in.
struct Ear {
    offers: mpsc::Receiver<Offer>,
    greeted: bool,
}

impl Listener for Ear {
    fn resume(&mut self, _: Option<Cursor>) {}

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Offer>, PlatformError>> {
        Box::pin(async {
            // An empty batch is the evidence that we can hear: without it the adapter never counts as connected, and after
            // `connection.deaf_after` without a sign it would count as deaf.
            if !std::mem::replace(&mut self.greeted, true) {
                return Ok(Vec::new());
            }
            match tokio::time::timeout(PATIENCE, self.offers.recv()).await {
                Ok(Some(offer)) => Ok(vec![offer]),
                Ok(None) => Err(PlatformError::Closed),
                Err(_) => Ok(Vec::new()),
            }
        })
    }
}

impl Speaker for Counter {
    fn send(&self, out: Outgoing) -> BoxFuture<'_, Result<MessageId, SpeakError>> {
        Box::pin(async move {
            let asker = out.reply_to.and_then(|message| self.waiting().remove(&message));
            // Nobody can be told anything here who does not wait for it: a notice, or an answer that came too late, is refused, and the
            // answer is among the dead letters. A platform that can reach people by itself delivers both.
            match asker.map(|asker| asker.send(out.text)) {
                Some(Ok(())) => Ok(MessageId::new(out.key.0.0.to_string())),
                Some(Err(_)) | None => Err(SpeakError::Refused("nobody waits for it".into())),
            }
        })
    }

    /// Whoever still waits gets no answer from this life.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.waiting().clear() })
    }
}
