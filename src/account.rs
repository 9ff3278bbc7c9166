//! As whom work over a state directory is done that root asked for.
//!
//! Such a directory belongs to the gateway's user, who may put anything under any name in it, hold every lock, and exchange all of that under whoever
//! looks. So root does nothing there: a child does that has given up root for the account as which the manager runs the gateway ([`within`]), and
//! what it says is only data. The way to the directory is looked at first ([`way`]). Whoever is not root works as themselves.

pub mod way;
pub mod within;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Group, User};

use crate::config::{Config, Surroundings, Variables};
use crate::control::Request;
use crate::control::client::Sockets;
use crate::unit::installed::Installed;
use crate::unit::{Scope, Unit};
use crate::update::process;

/// Below it only root can go: what is found there was put there by the manager.
const PRIVATE: &str = "/var/lib/private";
/// Through it a program starts itself, wherever it is.
const OURSELVES: &str = "/proc/self/exe";

/// A user and a group, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Account {
    /// That of this process.
    pub fn of_caller() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    /// Whether it may do everything.
    pub fn is_root(self) -> bool {
        self.uid == 0
    }

    /// As which its manager runs a unit that keeps this state directory.
    ///
    /// # Errors
    /// When the manager does not say.
    pub fn of_unit(unit: &Unit, state: &Path) -> Result<Self, String> {
        if unit.scope == Scope::User {
            return Ok(Self::of_caller());
        }
        let unknown = || format!("{unit}: its manager does not say as which user it runs. Run this as that user");
        let told = unit.runs_as().ok_or_else(unknown)?;
        // The process is asked last: while it is being started it still is root's.
        let found = match (told.dynamic, told.user.as_str()) {
            (true, name) => private_owner(state).or_else(|| named(name, &told.group)).or_else(|| of_process(told.main_pid?)),
            (false, "") => Some(Self { uid: 0, gid: 0 }),
            (false, name) => named(name, &told.group),
        };
        found.ok_or_else(unknown)
    }

    /// A child that gives up root for this account and then runs a program. It is given nothing of our environment; its variables are what it
    /// hears ([`within::Given`]).
    pub fn child<S: AsRef<OsStr>>(self, state: &Path, program: &Path, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(OURSELVES);
        command.arg("within").arg(self.uid.to_string()).arg(self.gid.to_string()).arg(state).arg("--").arg(program).args(words);
        command.env_clear().current_dir("/");
        command
    }

    /// The same, of this very program.
    pub fn child_of_ours<S: AsRef<OsStr>>(self, state: &Path, words: impl IntoIterator<Item = S>) -> Command {
        self.child(state, Path::new(OURSELVES), words)
    }
}

/// As whom to work in a state directory whose gateway runs as `gateway`, if somebody knows; none: as who we are.
///
/// # Errors
/// When root would have to trust somebody else for that; in words.
pub fn keeper(state: &Path, gateway: Option<Account>) -> Result<Option<Account>, String> {
    let caller = Account::of_caller();
    if !caller.is_root() {
        return Ok(None);
    }
    let account = gateway.unwrap_or(caller);
    let way = way::Way::to(state).map_err(|error| format!("{}: {error}", state.display()))?;
    way.refuses(account).map_or(Ok(()), |reason| Err(format!("{reason}. {}", remedy(gateway, &way))))?;
    Ok((!account.is_root()).then_some(account))
}

fn remedy(gateway: Option<Account>, way: &way::Way) -> String {
    match (gateway, way.owner()) {
        (None | Some(Account { uid: 0, .. }), Some(uid)) if uid != 0 => {
            format!("Run this as that user: setpriv --reuid {uid} --regid {uid} --clear-groups …")
        }
        _ => "Run this as the gateway's user, or mend that".into(),
    }
}

/// The service whose gateway keeps the state directory of this configuration: the one that answers there, else the installed one.
pub fn service_of(config: &Config, around: &Variables) -> Option<Installed> {
    let running = || {
        let (_, _, peer) = Sockets(vec![config.control.socket.clone()]).find_peer(&Request::Status).ok()?;
        Installed::of(peer.pid.and_then(Unit::of_process)?, around)
    };
    let place = |state: &Path| std::fs::canonicalize(state).ok();
    let keeps = |installed: &Installed| {
        let around = Surroundings { variables: installed.variables.clone(), looks_only: true };
        let theirs = Config::state_dir_of(installed.config().as_deref(), &around);
        theirs.is_some_and(|theirs| {
            theirs == config.state_dir || place(&theirs).is_some_and(|theirs| place(&config.state_dir) == Some(theirs))
        })
    };
    running().or_else(|| Installed::any(around)).filter(keeps)
}

/// Whose a directory is that the manager made for a user whom nobody else knows.
fn private_owner(state: &Path) -> Option<Account> {
    let real = std::fs::canonicalize(state).ok()?;
    let first = real.strip_prefix(PRIVATE).ok()?.components().next()?;
    let found = std::fs::metadata(Path::new(PRIVATE).join(first)).ok()?;
    Some(Account { uid: std::os::unix::fs::MetadataExt::uid(&found), gid: std::os::unix::fs::MetadataExt::gid(&found) })
}

/// A user by name or number, and the group that is named, else the user's own.
fn named(user: &str, group: &str) -> Option<Account> {
    let user = match user.parse() {
        Ok(uid) => User::from_uid(nix::unistd::Uid::from_raw(uid)),
        Err(_) => User::from_name(user),
    };
    let user = user.ok().flatten()?;
    let group = match group.parse() {
        _ if group.is_empty() => Some(user.gid.as_raw()),
        Ok(gid) => Some(gid),
        Err(_) => Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw()),
    };
    Some(Account { uid: user.uid.as_raw(), gid: group? })
}

fn of_process(pid: u32) -> Option<Account> {
    process::owner(pid).ok().map(|(uid, gid)| Account { uid, gid })
}
