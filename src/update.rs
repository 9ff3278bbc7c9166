//! `switchboard update`: another version, proved, or the old one back.
//!
//! Fetch and verify ([`source`], [`manifest`]), let both versions look at a copy ([`examine`]), then step by step what [`machine`] decides and
//! [`driver`] performs, written down in a [`journal`] so that the next run finishes or undoes what was cut. Before the journal there is nothing to
//! undo: what was fetched is only used when it is whole.

pub mod driver;
pub mod errand;
pub mod examine;
pub mod journal;
pub mod machine;
pub mod manifest;
pub mod process;
mod release;
pub mod source;
pub mod subject;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use semver::Version;
use signal_hook::consts::SIGHUP;
use switchboard_actors::escape::one_line;

use crate::account::Account;
use crate::account::way::Way;
use crate::config::{Config, Faults, Surroundings};
use crate::control::client::{AskError, Peer, Sockets};
use crate::control::{Request, Response, Status};
use crate::exit::Exit;
use crate::install::Layout;
use crate::restart::proof::Limits;
use crate::unit::installed::{Installed, Presence};
use crate::unit::{Scope, Unit};
use driver::{Driver, End};
use errand::{Answer, What};
use journal::{Entry, Journal};
use machine::{Before, Change, Outcome, Plan, Update};
use release::Release;
use subject::Subject;

/// So often a gateway is asked that falls while it is asked, and so long apart.
const LOOKS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Only look what there is.
    pub check: bool,
    /// This version; none: the newest.
    pub to: Option<Version>,
    /// From this place; none: the configured one.
    pub from: Option<String>,
    /// Also by a manifest whose time is over, or that has none.
    pub expired: bool,
    /// How long a version must stay ready; none: as configured.
    pub dwell: Option<Duration>,
    /// How long it may take to be; none: as configured.
    pub start_limit: Option<Duration>,
    /// The file of `--config`.
    pub config: Option<PathBuf>,
}

impl Order {
    /// What of it an update that was begun otherwise does not heed.
    fn beside(&self, entry: &Entry) -> Vec<String> {
        let (plan, limits) = (&entry.update.plan, &entry.limits);
        let config = self.config.as_ref().and_then(|file| std::path::absolute(file).ok());
        let time = |flag: &str, wanted: Option<Duration>, is: Duration| {
            wanted.filter(|wanted| *wanted != is).map(|wanted| format!("{flag} {}", humantime::format_duration(wanted)))
        };
        let flags = [
            self.to.as_ref().filter(|to| **to != plan.to).map(|to| format!("--to {to}")),
            self.from.as_ref().map(|from| format!("--from {from}")),
            config.filter(|file| entry.subject.config() != Some(file)).map(|file| format!("--config {}", file.display())),
            time("--dwell", self.dwell, limits.dwell),
            time("--start-limit", self.start_limit, limits.start),
        ];
        flags.into_iter().flatten().collect()
    }
}

/// Why an update ended without the new version, and how the command ends for it.
#[derive(Debug)]
pub struct Refusal(pub Exit, pub String);

fn refuse(error: &dyn std::error::Error) -> Refusal {
    Refusal(Exit::NotAchieved, words(error))
}

/// An error with all that lies behind it, on one line.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

/// Where versions are installed, as the program that runs knows it.
///
/// # Errors
/// When it is not installed side by side with others; where one is that was, it is named.
pub fn layout(program: &Path, around: &Surroundings) -> Result<Layout, Refusal> {
    let refused = || {
        let (place, theirs) = (program.display(), [Scope::User, Scope::System].map(|scope| Layout::of(scope, around)));
        let remedy = match theirs.into_iter().flatten().find(|layout| layout.current().is_some()) {
            Some(layout) => format!("`{} update` updates the one that is", layout.current_program().display()),
            None => format!("`{place} service install` does that"),
        };
        Refusal(Exit::Refused, format!("{place} is not installed so that it can be updated. {remedy}"))
    };
    Layout::holding(program).map(|(layout, _)| layout).ok_or_else(refused)
}

/// Does what is wanted; what came of it, in words.
///
/// # Errors
/// When it was not achieved, and why.
pub fn update(
    layout: &Layout,
    order: &Order,
    config: Result<Config, Faults>,
    sockets: &Sockets,
    told: &mut dyn FnMut(&str),
) -> Result<String, Refusal> {
    layout.trusted().map_err(|error| Refusal(Exit::Refused, error.to_string()))?;
    let journal = Journal::open(layout.root()).map_err(|error| refuse(&error))?;
    let work = Work { layout, order, journal: &journal };
    // Before the configuration is looked at: to finish what was begun needs none.
    if let Some(entry) = journal.read().map_err(|error| refuse(&error))? {
        let Plan { from, to, .. } = &entry.update.plan;
        let cut = format!("an update from {from} to {to} was cut");
        if order.check {
            return Err(Refusal(Exit::NotAchieved, format!("{cut}; `switchboard update` finishes or undoes it")));
        }
        if let Some(brought) = work.another(&entry, &config, told) {
            return work.begin_instead(entry, brought, &config.map_err(|faults| faulty(&faults))?, told);
        }
        if entry.update.plan.proves() && !entry.subject.has_manager() {
            return Err(work.not_ours(&cut));
        }
        told(&format!("{cut}; going on with it: it is about {}", entry.subject.in_words()));
        return work.go_on(entry, told);
    }
    let config = config.map_err(|faults| faulty(&faults))?;
    believed(config.file.as_deref())?;
    let from = work.current()?;
    // Before anything is fetched: it may be one that cannot be updated.
    let whom = if order.check { None } else { Some(subject(layout, &from, order, &config, sockets)?) };
    if let Some((subject, _)) = &whom {
        let denied = |reason| Refusal(Exit::Refused, reason);
        subject.keeper().map_err(denied)?;
        subject.errand(What::Clear).map_err(|reason| Refusal(Exit::NotAchieved, reason))?;
    }
    match (work.bring(&config, &from, told)?, whom) {
        (ControlFlow::Continue(brought), Some(whom)) => work.begin((from, brought), whom, &config, told),
        (ControlFlow::Continue(brought), None) => Ok(format!("version {} is there", brought.version)),
        (ControlFlow::Break(words), _) => Ok(words),
    }
}

/// Refuses to have root install what somebody else says is good: the configuration names the place of releases, and their key.
fn believed(file: Option<&Path>) -> Result<(), Refusal> {
    let Some(file) = file.filter(|_| Account::of_caller().is_root()) else { return Ok(()) };
    let way = Way::to(file).map_err(|error| Refusal(Exit::Refused, format!("{}: {error}", file.display())))?;
    way.open_to_others().map_or(Ok(()), |place| {
        let words = format!(
            "others than root can write {}, and so change what {} says of releases and their key. Make it root's alone, or run this as whoever \
             it belongs to",
            place.display(),
            file.display()
        );
        Err(Refusal(Exit::Refused, words))
    })
}

fn faulty(faults: &Faults) -> Refusal {
    Refusal(Exit::Config, faults.to_string())
}

/// A version that is at its place.
struct Brought {
    version: Version,
    /// Only since now: where it is not wanted after all, it goes again.
    new: bool,
}

/// An order, and where it is carried out.
#[derive(Clone, Copy)]
struct Work<'a> {
    layout: &'a Layout,
    order: &'a Order,
    journal: &'a Journal,
}

impl Work<'_> {
    fn current(self) -> Result<Version, Refusal> {
        let program = self.layout.current_program();
        let refused = || {
            Refusal(Exit::Refused, format!("{} does not lead to a version; `switchboard service install` mends that", program.display()))
        };
        self.layout.current().and_then(|version| version.parse().ok()).ok_or_else(refused)
    }

    /// Brings the wanted version to its place; or what there is to say instead.
    fn bring(self, config: &Config, from: &Version, told: &mut dyn FnMut(&str)) -> Result<ControlFlow<String, Brought>, Refusal> {
        let Self { layout, order, .. } = self;
        let installed = |version: &Version| layout.versions().contains(&version.to_string());
        if let Some(to) = order.to.as_ref().filter(|to| installed(to)).filter(|_| order.from.is_none() && !order.check) {
            return Ok(if to == from {
                ControlFlow::Break(format!("version {from} is current already"))
            } else {
                ControlFlow::Continue(Brought { version: to.clone(), new: false })
            });
        }
        let release = Release::find(order, &config.update, told)?;
        if order.check || release.manifest.version == *from {
            return Ok(ControlFlow::Break(release.compared_with(from)));
        }
        if release.manifest.version < *from && order.to.is_none() {
            let (there, version) = (&release.place, &release.manifest.version);
            let words =
                format!("{there} has version {version}, which is older than {from}. `switchboard update --to {version}` goes back to it");
            return Err(Refusal(Exit::NotAchieved, words));
        }
        let new = !installed(&release.manifest.version);
        release.install(layout, told)?;
        Ok(ControlFlow::Continue(Brought { version: release.manifest.version, new }))
    }

    /// Lets both versions look at a copy, and updates the gateway, which is so before it, from one to the other.
    fn begin(
        self,
        (from, Brought { version: to, new }): (Version, Brought),
        (subject, before): (Subject, Before),
        config: &Config,
        told: &mut dyn FnMut(&str),
    ) -> Result<String, Refusal> {
        let Self { layout, order, journal } = self;
        if let Before::Ill(how) = &before {
            told(&format!("the gateway is ill: {how}. Version {to} may mend that; if it does not, {from} is put back as it is"));
        }
        told(&format!("version {to} checks the configuration and a copy of the ledger"));
        let look = What::Examine { tree: layout.root().to_owned(), from: from.clone(), to: to.clone() };
        let looked = subject.errand(look).and_then(|answer| match answer {
            Answer::Change(change) => Ok(change),
            other => Err(format!("asked what version {to} makes of the ledger, its user's program answered {other:?}")),
        });
        let change = looked.map_err(|reason| {
            if new {
                _ = layout.remove(&to.to_string()); // what stays behind is not current, and is replaced when it is fetched again
            }
            Refusal(Exit::NotAchieved, reason + "\nnothing was changed")
        })?;
        let limits = Limits {
            leave: Duration::ZERO,
            start: order.start_limit.unwrap_or(config.restart.start_limit),
            dwell: order.dwell.unwrap_or(config.restart.dwell),
        };
        if before == Before::Down {
            subject.errand(What::BeFree).map_err(|reason| Refusal(Exit::NotAchieved, reason + "\nnothing was changed"))?;
        }
        let entry = Entry { update: Update::new(Plan { from, to, change, before }), subject, limits };
        drive(&mut Driver { layout, journal, limits, told }, entry)
    }

    /// A version beside the two that an update is stuck between, if one is to be had: it may mend what they could not.
    fn another(self, entry: &Entry, config: &Result<Config, Faults>, told: &mut dyn FnMut(&str)) -> Option<Brought> {
        let Plan { from, to, .. } = &entry.update.plan;
        let illness = entry.update.illness()?;
        told(&format!("an update from {from} to {to} came to nothing: {illness}\nlooking for a version that mends that"));
        let config = config.as_ref().map_err(ToString::to_string);
        let brought = config.and_then(|config| {
            let current = self.current().map_err(|Refusal(_, words)| words)?;
            self.bring(config, &current, told).map_err(|Refusal(_, words)| words)
        });
        match brought {
            Ok(ControlFlow::Continue(brought)) => {
                let asked_for = self.order.to.as_ref() == Some(&brought.version);
                Some(brought).filter(|brought| asked_for || ![from, to].contains(&&brought.version))
            }
            Ok(ControlFlow::Break(words)) | Err(words) => {
                told(&format!("there is none: {words}"));
                None
            }
        }
    }

    /// Gives up an update that is stuck, for one to another version.
    fn begin_instead(self, stuck: Entry, brought: Brought, config: &Config, told: &mut dyn FnMut(&str)) -> Result<String, Refusal> {
        let illness = stuck.update.illness().unwrap_or("it does not run").to_owned();
        let current = self.current()?;
        let found = subject(self.layout, &current, self.order, config, stuck.subject.sockets())?;
        // Where whoever starts it is not known, only the journal knows that somebody does.
        let whom = if found.1 == Before::Down && stuck.subject.is_foreign() { (stuck.subject, Before::Ill(illness)) } else { found };
        self.begin((current, brought), whom, config, told)
    }

    /// An update of a gateway that only a version before this one would start and end itself.
    fn not_ours(self, cut: &str) -> Refusal {
        let begun = self
            .layout
            .versions()
            .into_iter()
            .map(|version| self.layout.program(&version))
            .map(|program| format!("`{} update`", program.display()));
        let words = format!(
            "{cut}. It was begun by a version that starts such a gateway itself; this one leaves that to a service manager. Have the version that \
             began it finish or undo it: {}",
            begun.collect::<Vec<_>>().join(" or ")
        );
        Refusal(Exit::Refused, words)
    }

    /// Brings an update that was cut to its end, as it was begun. Whoever wanted another version hears that it is still to be done.
    fn go_on(self, entry: Entry, told: &mut dyn FnMut(&str)) -> Result<String, Refusal> {
        let Self { layout, order, journal } = self;
        let beside = order.beside(&entry);
        if !beside.is_empty() {
            told(&format!("it was begun without {}, and goes on so", beside.join(" ")));
        }
        let end = drive(&mut Driver { layout, journal, limits: entry.limits, told }, entry);
        match &order.to {
            Some(to) if layout.current() != Some(to.to_string()) => {
                let (exit, words) = end.map_or_else(|Refusal(exit, words)| (exit, words), |words| (Exit::NotAchieved, words));
                Err(Refusal(exit, format!("{words}\nrun this again for version {to}")))
            }
            _ => end,
        }
    }
}

/// The gateway that runs, else the one that a manager should run, else one that nobody runs; and how it is.
fn subject(layout: &Layout, current: &Version, order: &Order, config: &Config, sockets: &Sockets) -> Result<(Subject, Before), Refusal> {
    let not = |reason: String| Refusal(Exit::NotAchieved, reason);
    match look(sockets) {
        Ok((Response::Status(status), there, peer)) => {
            belongs(layout, current, order, &status, peer)?;
            let variables = Surroundings::of_process().variables;
            let unit = peer.pid.and_then(Unit::of_process).and_then(|unit| Installed::of(unit, &variables));
            let Some(installed) = unit.filter(|unit| unit.starts(&layout.current_program())) else {
                return unmanaged(config, &there, peer);
            };
            let before = match status.troubled.first() {
                Some(part) if !status.ready => Before::Ill(format!("it is not ready ({})", part.name)),
                _ => Before::Well,
            };
            Ok((Subject::installed(installed).map_err(not)?.at(there), before))
        }
        Err(AskError::NoGateway { .. }) => nobody(layout, config, sockets),
        // The system's own gateway is none of ours.
        Err(AskError::Denied { .. }) if matches!(sockets.own().ask(&Request::Status), Err(AskError::NoGateway { .. })) => {
            nobody(layout, config, sockets)
        }
        Ok(_) => Err(not("the gateway does not say how it is; try again".into())),
        Err(error) => Err(refuse(&error)),
    }
}

/// How the gateway is. One that falls again and again may fall while it is asked: then it, or who comes after it, is asked anew.
fn look(sockets: &Sockets) -> Result<(Response, Sockets, Peer), AskError> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let mut answer = sockets.find_peer(&Request::Status);
    for _ in 1..LOOKS {
        match &answer {
            Err(AskError::Broken { source, .. }) if matches!(source.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => {
                std::thread::sleep(LOOK_AGAIN);
                answer = sockets.find_peer(&Request::Status);
            }
            _ => break,
        }
    }
    answer
}

/// One that answers, and whose manager is not known: it is that of the configuration, or not ours to update.
fn unmanaged(config: &Config, there: &Sockets, peer: Peer) -> Result<(Subject, Before), Refusal> {
    let own = Sockets(vec![config.control.socket.clone()]);
    if *there != own {
        let (there, own) = (in_words(there), in_words(&own));
        let words = format!(
            "the gateway that answers at {there} has another configuration than this one, which is of {own}. Name its file with --config"
        );
        return Err(Refusal(Exit::Refused, words));
    }
    let subject = Subject::unmanaged(config, there, peer);
    let before = if subject.is_foreign() { Before::Well } else { Before::Unmanaged };
    Ok((subject, before))
}

fn in_words(sockets: &Sockets) -> String {
    sockets.0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Where nobody answers: a manager may know more.
fn nobody(layout: &Layout, config: &Config, sockets: &Sockets) -> Result<(Subject, Before), Refusal> {
    let not = |reason: String| Refusal(Exit::NotAchieved, reason);
    let Some(installed) = Installed::starting(&layout.current_program(), &Surroundings::of_process().variables) else {
        return Ok((Subject::resting(config, sockets), Before::Down));
    };
    let how = installed.unit.in_words().unwrap_or_else(|| format!("{} does not answer", installed.unit));
    let before = match installed.presence {
        Presence::Leaving => return Err(not(format!("{how}: it is being stopped. Try again when it is down"))),
        Presence::Down => Before::Down,
        Presence::Meant => Before::Ill(how),
    };
    Ok((Subject::installed(installed).map_err(not)?, before))
}

/// Refuses to update a gateway that would not notice, or one that is not what there would be to go back to. What it says of itself is only its
/// version; which program it runs says the kernel.
fn belongs(layout: &Layout, current: &Version, order: &Order, status: &Status, peer: Peer) -> Result<(), Refusal> {
    let pid =
        peer.pid.ok_or_else(|| Refusal(Exit::Refused, "the gateway's process cannot be seen from here. Run this where it runs".into()))?;
    let program = process::program(pid).unwrap_or_default();
    let (running, wanted) = (one_line(&status.version), order.to.as_ref().map(Version::to_string));
    let words = if !layout.holds(&program) {
        format!(
            "the gateway that runs (pid {pid}) is {}, which is not installed so that it can be updated. `switchboard service install` does that",
            program.display()
        )
    } else if running != current.to_string() && Some(&running) != wanted.as_ref() {
        format!(
            "the gateway that runs (pid {pid}) is version {running}, and {current} is current: nobody has seen that one run. Restart the gateway \
             first: `switchboard restart`"
        )
    } else {
        return Ok(());
    };
    Err(Refusal(Exit::Refused, words))
}

fn drive(driver: &mut Driver<'_>, entry: Entry) -> Result<String, Refusal> {
    let Plan { from, to, change, before } = entry.update.plan.clone();
    // A terminal that goes away is no reason to stop half way; a handler, not to be deaf, which the gateway that we start would be, too.
    if let Err(error) = signal_hook::flag::register(SIGHUP, Arc::default()) {
        (driver.told)(&format!("warning: a lost terminal would cut this ({error})"));
    }
    let snapshot = errand::snapshot_of(&entry.subject.state(), &to);
    let by_hand = entry.subject.by_hand(driver.layout).join("\n  ");
    let unproved = unproved(driver.layout, &entry);
    let end = driver.drive(entry).map_err(|error| refuse(&error))?;
    let not = |words: String| Err(Refusal(Exit::NotAchieved, words));
    match end {
        End::Over(Outcome::Updated) => Ok(format!("updated from {from} to {to}: it is ready and stayed so")),
        End::Over(Outcome::Installed) => {
            let no_way_back = format!(
                "\nits first start makes a ledger that {from} cannot read; to go back after that is to lose what was said since: the ledger as it is now \
                 stays in {}",
                snapshot.display()
            );
            let no_way_back = if change == Change::Breaking && snapshot.exists() { no_way_back } else { String::new() };
            let why = match before {
                Before::Unmanaged => {
                    "what runs is what ran before, and no service manager is known that would start the new one to prove it"
                }
                _ => "no gateway runs that could prove it",
            };
            Ok(format!("{to} is in place; {why}{no_way_back}\n{unproved}"))
        }
        End::Over(Outcome::RolledBack { reason }) => {
            not(format!("{to} was not proved: {reason}\nversion {from} is back: it is ready and stayed so\nto look further:\n  {by_hand}"))
        }
        End::Over(Outcome::BackAsIll { reason, illness }) => not(format!(
            "{to} was not proved: {reason}\nversion {from} is back, and as ill as it was before: {illness}\nto look further:\n  {by_hand}"
        )),
        End::Over(Outcome::Untouched { reason }) => not(format!("{reason}\nversion {from} is still the current one")),
        End::Stuck(stuck) => not(format!(
            "version {} should run and is not proved: {}\nto look further, and to start it by hand:\n  {by_hand}\n\
             `{} update` goes on from here, with another version if there is one",
            stuck.version,
            stuck.reason,
            driver.layout.program(&from.to_string()).display()
        )),
    }
}

/// What an operator types where nobody proves a version for them.
fn unproved(layout: &Layout, entry: &Entry) -> String {
    let (Plan { from, before, .. }, subject) = (&entry.update.plan, &entry.subject);
    let (current, old) = (layout.current_program(), layout.program(&from.to_string()));
    let (verb, start) = match before {
        Before::Unmanaged => ("restart", subject.by_version(&current, "restart")),
        _ => ("start", subject.start_by_hand(&current)),
    };
    let (look, back) = (subject.by_version(&current, "status"), subject.by_version(&old, &format!("update --to {from}")));
    format!("to {verb} it:\n  {start}\nto see which version runs, and how it is:\n  {look}\nto go back to {from}:\n  {back}")
}
