//! One life of the gateway as a process: everything is opened, the actors are started, and signals, probes and operators are served until the
//! shutdown's report is there (`keeper`). What it decides is only how the process ends.

mod enter;
mod keeper;
mod on_trial;
mod operator;
mod parts;
mod reloading;
mod trust;
mod url;
mod vitals;

use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use switchboard_actors::children::{self, ProcessGroups};
use switchboard_actors::clock::Clock;
use switchboard_actors::last_words::{Cause, Remains};
use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::ledger::sqlite::SqliteLedger;
use switchboard_actors::ledger::{Knowledge, Ledger, Question};
use switchboard_actors::live::Live;
use switchboard_actors::marker::Flag;
use switchboard_actors::open_files;
use switchboard_actors::platform::web::Hub;
use switchboard_actors::settings::Engine;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::supervisor::{Place, Ports, Supervisor};
use tokio::sync::mpsc;

use crate::activation::{self, Held, Purpose};
use crate::config::{Config, RestartMode, Surroundings};
use crate::control::server::Socket;
use crate::exit::Exit;
use crate::false_starts;
use crate::handover::{Handover, Image};
use crate::http::access::{self, Gate};
use crate::http::door::Door;
use crate::http::heart::Heart;
use crate::http::{self, Chat, Front};
use crate::keys::Keys;
use crate::lock::InstanceLock;
use crate::log::Level;
use crate::orphans;
use crate::release::Release;
use crate::scribe::{self, Scribe};
use crate::service::Service;
use crate::signals::{self, Ear, Heard, Intent};
use crate::state_dir::StateDir;
use crate::watchdog::Watchdog;
use keeper::{Keeper, exit_of};
use on_trial::OnTrial;
use operator::Operator;
use parts::{LedgerLog, Workshop};
use reloading::Reloader;
use url::Url;
use vitals::Pulse;

/// Threads for platforms and probes; they only wait.
const IO_THREADS: usize = 2;
/// How long a server may take to let go of its connections once the gateway is down.
const LET_GO: Duration = Duration::from_secs(3);

/// Why a life did not begin, and how the process ends for it.
struct Fault(Exit, String);

/// Runs the gateway until it ends.
pub fn run(release: &Release, mut config: Config, around: &Surroundings) -> Exit {
    orphans::hold_signals();
    let level = crate::log::begin(&config.log);
    if let Some(fitted) = crate::service::fit(&mut config.settings.shutdown) {
        tracing::warn!("{fitted}");
    }
    match open_files::raise() {
        Ok(open_files::Raised { given, now }) => tracing::debug!(?given, ?now, "open files"),
        Err(error) => tracing::warn!(%error, "no more files may be open than this process was given"),
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let supervised = config.restart.mode == RestartMode::Exit
        || (config.restart.mode == RestartMode::Auto && around.variables.get("SYSTEMD_EXEC_PID") == Some(&std::process::id().to_string()));
    let image = Image::of_this_process(&around.variables);
    let state = StateDir::at(&config.state_dir);
    let (life, ear) = match Life::open(*release, config, around.clone(), level, supervised) {
        Ok(opened) => opened,
        Err(Fault(exit, reason)) => {
            tracing::error!("{reason}");
            false_starts::note(&state, release.version, exit.code(), &reason);
            return exit;
        }
    };
    let (scribe, intent) = (life.scribe.clone(), life.intent.clone());
    let mut end = life.live();
    ear.close();
    if intent.exit_code() == Some(Exit::Done.code()) {
        end.becomes_a_stop();
    }
    let End { exit, cause, handover, in_place } = end;
    let Some(handover) = handover.filter(|_| exit == Exit::Restart && (!supervised || in_place)) else {
        scribe.last_word(exit.code(), cause);
        return exit;
    };
    scribe.word_before_replacement(&cause);
    let error = image.map_or_else(|error| error, |image| image.become_it(handover));
    tracing::error!(%error, "the new image could not be started in place; whoever started this gateway has to start it again");
    scribe.last_word(Exit::Restart.code(), Cause::NotReplaced { reason: error.to_string() });
    Exit::Restart
}

/// How a life ended.
struct End {
    exit: Exit,
    /// Why, for the record.
    cause: Cause,
    /// What the next image needs, should there be one in place.
    handover: Option<Handover>,
    /// Nobody is waited for: a trial that was kept goes on as the life that serves.
    in_place: bool,
}

impl End {
    /// Somebody stopped it when everything was done for a restart: nobody is to come after it.
    fn becomes_a_stop(&mut self) {
        if self.exit == Exit::Restart {
            tracing::info!("stopped at the end of a restart: there will be no next life");
            self.exit = Exit::Done;
            if let Cause::Down { kind, .. } = &mut self.cause {
                *kind = ShutdownKind::Stop;
            }
        }
    }

    /// It cannot go on.
    fn for_fault(Fault(exit, reason): Fault) -> Self {
        tracing::error!("{reason}");
        Self { exit, cause: Cause::GaveUp { reason }, handover: None, in_place: false }
    }
}

/// Everything that a life needs before the first actor runs.
struct Life {
    release: Release,
    /// Whether somebody starts it again.
    supervised: bool,
    on_trial: Option<OnTrial>,
    in_force: Arc<Live<Config>>,
    around: Surroundings,
    level: Level,
    state: StateDir,
    lock: InstanceLock,
    ledger: Box<dyn Ledger>,
    ledger_id: uuid::Uuid,
    remains: Option<Remains>,
    scribe: Scribe,
    /// Where the page is.
    listeners: Vec<TcpListener>,
    /// Where probes are alone; none: where the page is.
    probes: Vec<TcpListener>,
    keys: Keys,
    watchdog: Watchdog,
    intent: Intent,
    signals: mpsc::Receiver<Heard>,
}

impl Life {
    fn open(release: Release, config: Config, around: Surroundings, level: Level, supervised: bool) -> Result<(Self, Ear), Fault> {
        let state_fault = |error: &dyn std::fmt::Display| Fault(Exit::State, error.to_string());
        let broken = |what: &'static str| move |error: std::io::Error| Fault(Exit::GaveUp, format!("{what}: {error}"));
        let handed = Handover::take(&around.variables);
        // Those of the service manager are ours as well, but an image in place has them already.
        let (listen, probes) = (&*config.http.listen, &*config.http.probes);
        let held = if handed.is_none() { activation::take(listen, probes) } else { Held::default() };
        let state = StateDir::open(&config.state_dir).map_err(|error| state_fault(&error))?;
        // The image before may have been configured otherwise: its lock is of its directory, its sockets of its addresses.
        let (lock, held) = handed.map_or((None, held), |Handover { lock, listeners }| {
            (Some(lock).filter(|lock| lock.is_of(&state)), activation::as_configured(listeners, listen, probes))
        });
        let lock = lock.map_or_else(|| InstanceLock::take(&state), Ok).map_err(|error| state_fault(&error))?;
        let (mut ledger, on_trial): (Box<dyn Ledger>, _) = match config.settings.ledger.engine {
            Engine::Sqlite => {
                let on_trial = OnTrial::begin(&state, &release).map_err(|error| state_fault(&error))?;
                let path = on_trial.as_ref().map_or_else(|| state.ledger(), |trial| trial.ledger().to_owned());
                let ledger = SqliteLedger::open_as(&path, release.migrations).map_err(|error| state_fault(&error))?;
                (Box::new(ledger), on_trial)
            }
            Engine::Memory => (Box::new(MemoryLedger::new()), None),
        };
        let ledger_id = match ledger.ask(&Question::Facts) {
            Ok(Knowledge::Facts(facts)) => facts.ledger,
            Ok(_) => uuid::Uuid::nil(),
            Err(fault) => return Err(state_fault(&fault)),
        };
        let listeners = listening(Purpose::Page, held.page, listen)?;
        let probes = if probes.is_empty() { Vec::new() } else { listening(Purpose::Probes, held.probes, probes)? };
        // A trial lives on a copy: the life before is for whoever comes after it.
        let keeps = config.settings.ledger.engine == Engine::Sqlite && on_trial.is_none();
        let remains = keeps.then(|| scribe::read(&state)).flatten();
        // Before there are other threads.
        signals::block().map_err(broken("signals cannot be heard"))?;
        let scribe = Scribe::begin(&state, release.version, keeps).map_err(broken("the scribe's thread cannot be started"))?;
        let keys = Keys::open(&state, access::now()).map_err(|error| state_fault(&error))?;
        let watchdog = Watchdog::start(scribe.clone()).map_err(broken("the watchdog's thread cannot be started"))?;
        let intent = Intent::default();
        orphans::adopt().map_err(broken("orphans cannot be looked after"))?;
        let in_force = Arc::new(Live::new(Arc::new(config)));
        let budgets = in_force.clone();
        let within = move || budgets.now().longest_shutdown();
        let (ear, signals) =
            signals::listen(intent.clone(), watchdog.clone(), within, scribe.clone()).map_err(broken("signals cannot be heard"))?;
        let life = Self {
            release,
            supervised,
            on_trial,
            in_force,
            around,
            level,
            state,
            lock,
            ledger,
            ledger_id,
            remains,
            scribe,
            listeners,
            probes,
            keys,
            watchdog,
            intent,
            signals,
        };
        Ok((life, ear))
    }

    /// Lives until the shutdown's report is there.
    fn live(self) -> End {
        let runtime = |name: &str, threads: usize| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
        };
        // One thread more than may be blocked for good before the gateway restarts itself.
        let for_agents = self.in_force.now().settings.runs.max_abandoned as usize + 2;
        let (io, agents) = match (runtime("io", IO_THREADS), runtime("agent", for_agents)) {
            (Ok(io), Ok(agents)) => (io, agents),
            (Err(error), _) | (_, Err(error)) => {
                return End::for_fault(Fault(Exit::GaveUp, format!("threads cannot be started: {error}")));
            }
        };
        let (io_handle, agents_handle) = (io.handle().clone(), agents.handle().clone());
        let system = actix_rt::System::new();
        // A panic ends the process as any other fault does: with a word, and without waiting for agents that will not yield.
        let served = catch_unwind(AssertUnwindSafe(|| system.block_on(self.serve(io_handle, agents_handle))));
        // Whatever will not end by itself ends with the process.
        io.shutdown_background();
        agents.shutdown_background();
        let panicked = |_| Err(Fault(Exit::GaveUp, "a panic in the gateway's own thread; what it said stands above".into()));
        served.unwrap_or_else(panicked).unwrap_or_else(End::for_fault)
    }

    async fn serve(self, io: tokio::runtime::Handle, agents: tokio::runtime::Handle) -> Result<End, Fault> {
        let Life {
            release,
            supervised,
            on_trial,
            in_force,
            around,
            level,
            state,
            lock,
            ledger,
            ledger_id,
            remains,
            scribe,
            listeners,
            probes,
            keys,
            watchdog,
            intent,
            signals,
        } = self;
        let config = in_force.now();
        let kept = listeners.iter().chain(&probes).map(TcpListener::try_clone).collect::<Result<Vec<_>, _>>();
        let kept = kept.map_err(|error| Fault(Exit::GaveUp, format!("http.listen: the socket cannot be kept for a restart: {error}")))?;
        let log = Arc::new(LedgerLog::default());
        let workshop = Workshop::open(log.clone()).map_err(|reason| Fault(Exit::GaveUp, reason))?;
        let mut parts = workshop.build(&config).map_err(|reason| Fault(Exit::GaveUp, reason))?;
        if on_trial.is_some() {
            parts.hear_and_say_nothing();
        }
        let control = {
            let _inside = io.enter();
            Socket::listen(&config.control.socket).map_err(|error| Fault(Exit::GaveUp, error.to_string()))?
        };
        // From here on there is an instance on record: whatever could not be had was found out above.
        let (bulletin, bulletins) = mpsc::unbounded_channel();
        let gateway = Supervisor::start(Ports {
            settings: Arc::new(config.settings.clone()),
            clock: Clock::system(),
            version: release.version.into(),
            ledger,
            place: Place::Thread,
            boot: children::boot().ok(),
            remains,
            false_starts: false_starts::read(&state).iter().map(|start| start.at).collect(),
            marker: (config.settings.ledger.engine == Engine::Sqlite)
                .then(|| Flag::at(on_trial.as_ref().map_or_else(|| state.marker(), OnTrial::marker))),
            adapters: parts.adapters,
            agents: parts.agents.clone(),
            io: io.clone(),
            agent_runtime: agents,
            reaper: Arc::new(ProcessGroups),
            bulletin: Box::new(move |news| _ = bulletin.send(news)),
        });
        log.connect(gateway.supervisor.clone().recipient());
        let heart = Heart::default();
        let status = gateway.supervisor.clone().recipient();
        let hung_after = config.settings.supervision.hung_after;
        let pulse = Pulse::begin(status, heart.clone(), &io, hung_after, intent.clone(), scribe.clone())
            .map_err(|error| Fault(Exit::GaveUp, format!("the heartbeat's thread cannot be started: {error}")))?;
        let door = Door::default();
        if on_trial.is_some() {
            door.close();
        }
        let gate = Arc::new(Gate::new(&config.http, &state, &keys));
        let url = parts.web.is_some().then(|| Arc::new(Url::of(&config, gate.clone())));
        let chat =
            parts.web.map(|(name, hub): (_, Hub)| Chat::new(hub, name, ledger_id, &config.http, config.settings.session.message_bytes));
        let front = Arc::new(Front::new(&config.http, gate.clone(), chat, Arc::new(pulse.clone()), door.clone()));
        let server =
            http::serve(&front, listeners, probes, &heart).map_err(|error| Fault(Exit::GaveUp, format!("http.listen: {error}")))?;
        let server_handle = server.handle();
        let server = actix_rt::spawn(server);
        let service = Service::of_process(on_trial.is_some());
        let reloader = Arc::new(Reloader {
            supervisor: gateway.supervisor.clone(),
            started: Config::clone(&config),
            in_force: in_force.clone(),
            around,
            workshop,
            level,
            service,
            io: io.clone(),
            on_trial: on_trial.is_some(),
            agents: tokio::sync::Mutex::new(parts.agents),
            ready: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        });
        let operator = Arc::new(Operator {
            supervisor: gateway.supervisor.clone(),
            instance: gateway.instance,
            pulse: pulse.clone(),
            reloader: reloader.clone(),
            state: state.clone(),
            gate,
            url: url.clone(),
            watchdog: watchdog.clone(),
            version: release.version,
            on_trial: on_trial.is_some(),
        });
        let clients = config.control.clone();
        let control = io.spawn(async move { control.serve(operator, &clients).await });

        let mut keeper = Keeper {
            gateway,
            watchdog,
            scribe,
            intent,
            door,
            server_handle,
            in_force,
            reloader,
            pulse,
            url,
            service,
            supervised,
            in_place: false,
            on_trial,
        };
        let end = keeper.keep(signals, bulletins).await;
        _ = tokio::time::timeout(LET_GO, server).await;
        // Whoever waits for the end watches the control socket: it goes last.
        control.abort();
        _ = control.await;
        match end {
            Ok(report) => Ok(End {
                exit: exit_of(report.kind),
                cause: Cause::Down { kind: report.kind, clean: report.verdict.is_clean(), verdict: report.verdict.to_string() },
                handover: Some(Handover { lock, listeners: kept }),
                in_place: keeper.trial_is_over(),
            }),
            // Whoever asked for the end gets it, and its code, whatever was lost on the way.
            Err(reason) if keeper.intent.exit_code().is_some() => {
                tracing::error!("{reason}");
                let exit = if keeper.intent.exit_code() == Some(Exit::Restart.code()) { Exit::Restart } else { Exit::Done };
                Ok(End { exit, cause: Cause::GaveUp { reason }, handover: Some(Handover { lock, listeners: kept }), in_place: false })
            }
            Err(reason) => Err(Fault(Exit::GaveUp, reason)),
        }
    }
}

/// What is held already, else sockets of our own, which the service manager is left a copy of.
fn listening(purpose: Purpose, held: Option<Vec<TcpListener>>, listen: &str) -> Result<Vec<TcpListener>, Fault> {
    if let Some(listeners) = held {
        return Ok(listeners);
    }
    let listeners = http::bind(purpose.key(), listen).map_err(|error| Fault(Exit::GaveUp, error.to_string()))?;
    activation::keep(purpose, &listeners);
    Ok(listeners)
}
