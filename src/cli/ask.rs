//! Commands that ask the running gateway, and what their answers come to.
//!
//! A stop is done when the instance is gone: success is seen, not assumed. A restart is more than a question: [`super::restart`].

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use switchboard_actors::escape::{self, one_line};
use switchboard_actors::ids::{AdapterName, InstanceId, OutboxId, Seq, TurnId, UserId};

use super::{Command, Farewell, History, Json, Ledger, Outbox, Pair, Turns, history, pair, restart, say, tables};
use crate::config::{Config, Faults, Restart, Surroundings};
use crate::control::client::{AskError, Sockets};
use crate::control::{self, Request, Response, Status};
use crate::exit::Exit;

/// Where the system service listens.
pub(super) const SYSTEM_SOCKET: &str = "/run/switchboard/control.sock";
/// How often a shutdown is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Asks, waits where waiting is wanted, and prints. `alone`: that nobody runs is no error, and not worth a word.
pub(super) fn ask(command: &Command, place: &Place<'_>, config: Result<Config, Faults>, alone: bool) -> Exit {
    let settings = config.as_ref().map_or_else(|_| Restart::defaults(), |config| config.restart);
    if let Command::Reload = command {
        return reload(place, config);
    }
    let sockets = sockets(place, config);
    if let Command::Restart(order) = command {
        return restart::restart(&sockets, order, &settings);
    }
    if let Command::Pair(Pair::Approve { code, yes }) = command {
        return pair::approve(&sockets, code, yes);
    }
    let request = request(command);
    let (response, there) = match sockets.find(&request) {
        Ok(found) => found,
        Err(AskError::NoGateway { .. }) if alone => return Exit::NoGateway,
        Err(error) => return failed(&error),
    };
    match (response, command) {
        (Response::GoingDown { instance, within_millis, .. }, Command::Stop(farewell)) => {
            wait_for_stop(&there, instance, Duration::from_millis(within_millis), farewell)
        }
        (response, command) => print(&response, wants_json(command)),
    }
}

/// Prints how the gateway is.
pub(super) fn status(sockets: &Sockets) -> Exit {
    match sockets.ask(&Request::Status) {
        Ok(response) => print(&response, false),
        Err(error) => failed(&error),
    }
}

/// Where to look for a gateway. A configuration with faults must not keep anybody from stopping the gateway that runs.
pub(super) fn sockets(place: &Place<'_>, config: Result<Config, Faults>) -> Sockets {
    if let (Err(faults), None) = (&config, place.socket) {
        eprintln!("warning: {faults}\nlooking for a gateway all the same");
    }
    place.sockets(config.ok().as_ref())
}

/// What says where a gateway listens.
pub(super) struct Place<'a> {
    /// Its socket.
    pub(super) socket: Option<&'a Path>,
    /// Its configuration file.
    pub(super) file: Option<&'a Path>,
    pub(super) around: &'a Surroundings,
}

impl Place<'_> {
    /// Where to ask; a configuration with faults still says where its gateway listens.
    pub(super) fn sockets(&self, config: Option<&Config>) -> Sockets {
        if let Some(path) = self.socket {
            return Sockets(vec![path.to_owned()]);
        }
        let mut paths = match config {
            Some(config) => vec![config.control.socket.clone()],
            None => Config::sockets_despite_faults(self.file, self.around),
        };
        paths.push(SYSTEM_SOCKET.into());
        paths.dedup();
        Sockets(paths)
    }
}

/// The gateway judges the configuration, not we: it may have variables and secrets that we have not. Where there is no gateway to ask, a bad one is bad.
fn reload(place: &Place<'_>, config: Result<Config, Faults>) -> Exit {
    match (place.sockets(config.as_ref().ok()).ask(&Request::Reload), config) {
        (Ok(response), _) => print(&response, false),
        (Err(error), Err(faults)) => complain(&format!("{faults}\n{error}"), Exit::Config),
        (Err(error), Ok(_)) => failed(&error),
    }
}

fn request(command: &Command) -> Request {
    match command {
        Command::Stop(farewell) => Request::Stop(farewell.into()),
        Command::Drain => Request::Drain,
        Command::Resume => Request::Resume,
        Command::Turns(Turns::List(_)) => Request::Turns,
        Command::Turns(Turns::Retry { turn }) => Request::TurnRetry { turn: TurnId(Seq(*turn)) },
        Command::Turns(Turns::Drop { turn }) => Request::TurnDrop { turn: TurnId(Seq(*turn)) },
        Command::Outbox(Outbox::List(_)) => Request::Outbox,
        Command::Outbox(Outbox::Retry { id }) => Request::OutboxRetry { id: OutboxId(Seq(*id)) },
        Command::Outbox(Outbox::Drop { id }) => Request::OutboxDrop { id: OutboxId(Seq(*id)) },
        Command::Pair(Pair::List(_)) => Request::Pairs,
        Command::Pair(Pair::Revoke { user: (adapter, user) }) => {
            Request::PairRevoke { adapter: AdapterName::new(adapter), user: UserId::new(user) }
        }
        Command::History(history) => Request::History { most: history.lines },
        Command::Ledger(Ledger::Move { from, to }) => Request::LedgerMove { from: AdapterName::new(from), to: AdapterName::new(to) },
        Command::Ledger(Ledger::Drop { adapter }) => Request::LedgerDrop { adapter: AdapterName::new(adapter) },
        Command::Url => Request::Url,
        Command::Token(order) => Request::Rotate { what: order.rotation() },
        // Those that ask nobody, or in their own way, never come here.
        Command::Status(_)
        | Command::Reload
        | Command::Restart(_)
        | Command::Pair(Pair::Approve { .. })
        | Command::Service(_)
        | Command::Within(_)
        | Command::Errand { .. }
        | Command::Update(_)
        | Command::Run
        | Command::Check(_)
        | Command::Config(_) => Request::Status,
    }
}

impl From<&Farewell> for control::Farewell {
    fn from(farewell: &Farewell) -> Self {
        let millis = |grace: Duration| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        Self { grace_millis: farewell.grace.map(millis), reason: farewell.reason.clone() }
    }
}

fn wants_json(command: &Command) -> bool {
    matches!(
        command,
        Command::Status(Json { json: true })
            | Command::Turns(Turns::List(Json { json: true }))
            | Command::Outbox(Outbox::List(Json { json: true }))
            | Command::Pair(Pair::List(Json { json: true }))
            | Command::History(History { json: Json { json: true }, .. })
    )
}

/// Prints an answer; its kind is the exit code. Names that strangers gave themselves stand in answers, so each goes through [`escape`].
pub(super) fn print(response: &Response, json: bool) -> Exit {
    match response {
        Response::Status(_) | Response::Turns { .. } | Response::Outbox { .. } | Response::Pairs { .. } | Response::History { .. }
            if json =>
        {
            let text = serde_json::to_string_pretty(response).expect("answers are plain data");
            say(&format!("{}\n", escape::json(&text)))
        }
        Response::Done { message } => say(&format!("{}\n", one_line(message))),
        Response::Page { address } => say(&format!("{}\n", one_line(address))),
        Response::Reloaded { changes, restart, warnings } => say(&tables::reloaded(changes, restart, warnings)),
        Response::Faulty { faults } => {
            let faults: Vec<String> = faults.iter().map(|fault| one_line(fault)).collect();
            complain(&format!("nothing was changed:\n  {}", faults.join("\n  ")), Exit::Config)
        }
        Response::GoingDown { kind, .. } => say(&format!("{kind} has begun\n")),
        Response::Status(status) => say(&tables::status(status)),
        Response::Turns { turns } => say(&tables::turns(turns)),
        Response::Outbox { rows } => say(&tables::outbox(rows)),
        Response::History { lives } => say(&history::table(lives)),
        Response::Pairs { pairs } => say(&tables::pairs(pairs)),
        Response::NotAchieved { reason } => complain(&one_line(reason), Exit::NotAchieved),
        Response::Refused { reason } => complain(&one_line(reason), Exit::Refused),
        Response::NotUnderstood { reason } => complain(&one_line(reason), Exit::NotAchieved),
    }
}

pub(super) fn failed(error: &AskError) -> Exit {
    let exit = match error {
        AskError::NoGateway { .. } => Exit::NoGateway,
        AskError::Denied { .. } => Exit::Refused,
        AskError::Broken { .. } => Exit::NotAchieved,
    };
    complain(&one_line(&error.to_string()), exit)
}

pub(super) fn complain(reason: &str, exit: Exit) -> Exit {
    // Nobody may be left to hear it: the code says it as well.
    _ = writeln!(std::io::stderr(), "{}", escape::lines(reason));
    exit
}

fn wait_for_stop(sockets: &Sockets, old: InstanceId, within: Duration, farewell: &Farewell) -> Exit {
    if farewell.no_wait {
        return say("stop has begun\n");
    }
    let end = Instant::now() + within;
    while Instant::now() < end {
        match look(sockets) {
            Seen::Nobody => return say("stopped\n"),
            Seen::Somebody(status) if status.instance != old => {
                return complain("the gateway stopped, but something has started it again (a service manager?)", Exit::NotAchieved);
            }
            Seen::Somebody(_) | Seen::Unclear => std::thread::sleep(LOOK_EVERY),
        }
    }
    complain("the gateway is still there after its time was up; look at its log", Exit::NotAchieved)
}

enum Seen {
    Nobody,
    Somebody(Box<Status>),
    Unclear,
}

fn look(sockets: &Sockets) -> Seen {
    match sockets.ask(&Request::Status) {
        Ok(Response::Status(status)) => Seen::Somebody(status),
        Err(AskError::NoGateway { .. }) => Seen::Nobody,
        _ => Seen::Unclear,
    }
}
