//! `switchboard restart`: waits where it was told to, begins, and does not call it done before it is proved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use signal_hook::consts::SIGINT;
use switchboard_actors::escape::{lines, one_line};
use switchboard_actors::texts::spoken;

use super::ask::{complain, failed, print};
use super::say;
use crate::config::Restart;
use crate::control::client::{Peer, Sockets};
use crate::control::descent::descends;
use crate::control::{Farewell, NOT_FROM_WITHIN, Request, Response, Status};
use crate::exit::Exit;
use crate::restart::help::Origin;
use crate::restart::patience::Patience;
use crate::restart::proof::Limits;
use crate::restart::{self, Outcome};
use crate::unit::Unit;

/// How often a gateway that works is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Order {
    /// Give running tasks at most this long, for example 10s [default: shutdown.grace]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    grace: Option<Duration>,
    /// First wait, as long as it takes, until no task runs; Ctrl-C ends the wait
    #[arg(long, conflicts_with_all = ["within", "now"])]
    when_idle: bool,
    /// As --when-idle, but begin after this long at the latest
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", conflicts_with = "now")]
    within: Option<Duration>,
    /// Give running tasks no time at all; they can be run again
    #[arg(long, conflicts_with = "grace")]
    now: bool,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Return as soon as it has begun
    #[arg(long)]
    no_wait: bool,
    /// How long a new gateway must stay ready to count [default: restart.dwell]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", hide_short_help = true)]
    dwell: Option<Duration>,
    /// How long a new gateway may take to be ready [default: restart.start_limit]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", hide_short_help = true)]
    start_limit: Option<Duration>,
}

impl Order {
    fn patience(&self) -> Patience {
        match (self.when_idle, self.within) {
            (true, _) => Patience::UntilIdle,
            (false, Some(most)) => Patience::Within(most),
            (false, None) => Patience::None,
        }
    }

    fn limits(&self, within: Duration, settings: &Restart) -> Limits {
        restart::limits(within, self.start_limit.unwrap_or(settings.start_limit), self.dwell.unwrap_or(settings.dwell))
    }

    fn request(&self) -> Request {
        let grace = if self.now { Some(Duration::ZERO) } else { self.grace };
        let grace_millis = grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
        Request::Restart(Farewell { grace_millis, reason: self.reason.clone() })
    }
}

/// Carries the order out; `settings` say how long things may take where the order does not.
pub(super) fn restart(sockets: &Sockets, order: &Order, settings: &Restart) -> Exit {
    // Ctrl-C: before anything began it means that nothing shall; after that it ends only our watching.
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(SIGINT, Arc::clone(&interrupted)) {
        return complain(&format!("Ctrl-C cannot be heard ({error})"), Exit::NotAchieved);
    }
    let (status, sockets, peer) = match find(sockets) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let sockets = &sockets;
    // It will be refused in the end, and until then it would wait for the very task that asks for it.
    if descends(std::process::id(), peer.pid.unwrap_or(status.pid)) {
        return complain(NOT_FROM_WITHIN, Exit::Refused);
    }
    if let Err(exit) = wait(sockets, order.patience(), &interrupted, *status) {
        return exit;
    }
    // Whoever is there now goes; asked anew, since it may be another one after a long wait.
    let origin = match find(sockets) {
        Ok((status, _, peer)) => Origin::of(&status, peer),
        Err(exit) => return exit,
    };
    let within = match sockets.ask(&order.request()) {
        Ok(Response::GoingDown { within_millis, .. }) => Duration::from_millis(within_millis),
        Ok(response) => return print(&response, false),
        Err(error) => return failed(&error),
    };
    if order.no_wait {
        return say("restart has begun\n");
    }
    prove(sockets, &origin, order.limits(within, settings), "restarted", &interrupted)
}

/// Restarts a service whose gateway does not answer, through its manager, which waits `within` so long for the old process to go.
pub(super) fn restart_silent(sockets: &Sockets, origin: &Origin, unit: &Unit, within: Duration, order: &Order, settings: &Restart) -> Exit {
    eprintln!("{unit} runs, but no gateway answers there; its manager restarts it");
    if let Err(reason) = unit.restart() {
        return complain(&reason, Exit::NotAchieved);
    }
    if order.no_wait {
        return say("restart has begun\n");
    }
    prove(sockets, origin, order.limits(within, settings), "restarted", &AtomicBool::new(false))
}

/// Watches until a new gateway is there or nobody will be, or until `interrupted`; what came of it. `done`: what it is when it is done.
pub(super) fn prove(sockets: &Sockets, origin: &Origin, limits: Limits, done: &str, interrupted: &AtomicBool) -> Exit {
    let told = &mut |words: &str| {
        eprintln!("{}", lines(words));
    };
    match restart::prove(sockets, origin, limits, &|| interrupted.load(Ordering::Relaxed), told) {
        Outcome::Unwatched => {
            complain("the restart goes on, but nobody watches it any more; `switchboard status` shows what came of it", Exit::NotAchieved)
        }
        Outcome::Proved(new, None) => say(&format!("{done}: instance {} is ready\n", new.instance)),
        Outcome::Proved(new, Some(failure)) => {
            let failure = one_line(&failure.to_string());
            say(&format!("{done} at the second try: instance {} is ready. At the first, {failure}\n", new.instance))
        }
        Outcome::Failed(failures) => complain(&origin.help(&failures), Exit::NotAchieved),
    }
}

/// Waits for running tasks as long as was said, and tells who they are whenever that changes.
fn wait(sockets: &Sockets, patience: Patience, interrupted: &AtomicBool, mut status: Status) -> Result<(), Exit> {
    let begun = Instant::now();
    let mut told = None;
    while !patience.is_over(begun.elapsed(), status.turns_running) {
        let workers = Some(restart::workers(&status));
        if workers != told {
            let left = patience.left(begun, Instant::now()).map(|left| format!(", at most {}", spoken(left))).unwrap_or_default();
            eprintln!("waiting until no task runs{left}: {}. Ctrl-C ends the wait", restart::at_work(&status));
            told = workers;
        }
        std::thread::sleep(LOOK_EVERY);
        if interrupted.load(Ordering::Relaxed) {
            return Err(complain("nothing was restarted: the wait was ended", Exit::NotAchieved));
        }
        status = *look(sockets)?;
    }
    Ok(())
}

fn look(sockets: &Sockets) -> Result<Box<Status>, Exit> {
    find(sockets).map(|(status, ..)| status)
}

/// The gateway that is there, and where it was found.
fn find(sockets: &Sockets) -> Result<(Box<Status>, Sockets, Peer), Exit> {
    match sockets.find_peer(&Request::Status) {
        Ok((Response::Status(status), there, peer)) => Ok((status, there, peer)),
        Ok((response, ..)) => Err(print(&response, false)),
        Err(error) => Err(failed(&error)),
    }
}
