//! The child that gives up root: it enters an account for good, sees the state directory at the path that the gateway knows it by, and becomes another
//! program. Nothing that it holds, or is given, is root's.
//!
//! In front of a directory that the manager hides (`DynamicUser=`) it opens a way of its own, in a mount namespace, as the manager does for the
//! gateway.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use nix::libc::{O_DIRECTORY, O_NOFOLLOW, O_PATH};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getgroups, setgroups, setresgid, setresuid, setsid};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::Account;
use super::way::Way;
use crate::config::Variables;
use crate::handover;

/// Room for the directories in front of a hidden one.
const FRONT: &str = "mode=755,size=64k,nr_inodes=64";
/// What a child is given at most, in bytes.
const MOST_GIVEN: u64 = 4 << 20;

/// What it hears of whoever started it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Given {
    /// The environment of the program that it becomes. Not its own: the loader would do what stands there while it is root's.
    pub variables: Variables,
}

/// Run a program as another account, seeing a state directory as its gateway does
#[derive(Debug, Args)]
pub struct Within {
    /// The user
    uid: u32,
    /// The group
    gid: u32,
    /// The state directory
    state: PathBuf,
    /// The program and its words
    #[arg(last = true, required = true)]
    words: Vec<std::ffi::OsString>,
}

impl Within {
    /// Becomes the program; comes back only where that is not possible, with the reason.
    pub fn run(&self) -> String {
        match self.become_it() {
            Ok(never) => match never {},
            Err(reason) => format!("as user {}: {reason}", self.uid),
        }
    }

    fn become_it(&self) -> Result<std::convert::Infallible, String> {
        close_inherited();
        let mut text = String::new();
        std::io::stdin().lock().take(MOST_GIVEN).read_to_string(&mut text).map_err(|error| format!("it was given nothing ({error})"))?;
        let given: Given = serde_json::from_str(&text).map_err(|error| format!("it was given nothing that makes sense ({error})"))?;
        enter(Account { uid: self.uid, gid: self.gid }, &self.state)?;
        let (program, words) = self.words.split_first().expect("clap requires one");
        let error = Command::new(program).args(words).env_clear().envs(&given.variables).stdin(Stdio::null()).exec();
        Err(format!("{}: it cannot be run ({error})", Path::new(program).display()))
    }
}

/// Whatever stood open in the shell that root typed in is none of its business.
fn close_inherited() {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|number| *number > 2).collect();
    // The one that the list itself was read from is closed already.
    numbers.into_iter().for_each(|number| drop(handover::adopt(number)));
}

/// Gives up root, for good.
fn enter(account: Account, state: &Path) -> Result<(), String> {
    // No terminal to type into, and nobody there to wait for.
    setsid().map_err(|error| format!("no session of its own: {error}"))?;
    let way = Way::to(state).map_err(|error| format!("{}: {error}", state.display()))?;
    if let Some(reason) = way.refuses(account) {
        return Err(reason);
    }
    if let Some(hidden) = way.hidden_from(account).filter(|_| way.owner().is_some()) {
        uncover(hidden, &way).map_err(|error| format!("{} is hidden, and no way there can be opened: {error}", state.display()))?;
    }
    std::env::set_current_dir("/").map_err(|error| error.to_string())?;
    rustix::process::umask(Mode::from_bits_truncate(0o077));
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let entered = setgroups(&[]).and_then(|()| setresgid(gid, gid, gid)).and_then(|()| setresuid(uid, uid, uid));
    entered.and_then(|()| prctl::set_no_new_privs()).map_err(|error| format!("root cannot be given up: {error}"))?;
    let kept = getgroups().is_ok_and(|groups| groups.iter().any(|group| *group != gid));
    if Uid::effective() != uid || Gid::effective() != gid || kept || (!uid.is_root() && setresuid(uid, Uid::from_raw(0), uid).is_ok()) {
        return Err("root was not given up".into());
    }
    // Whoever asked is gone: nobody wants to know any more. Only from here on: a new user takes that back.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| error.to_string())
}

/// Opens a way to the end that leads around the first hidden place. Everything behind that is out of reach of all but root, so that nobody
/// exchanges anything meanwhile.
fn uncover(hidden: &Path, way: &Way) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    if let Some(place) = way.open_on_the_way() {
        return Err(format!("others than root can write in {}", place.display()));
    }
    let none = None::<&Path>;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| words(&error))?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).map_err(|error| words(&error))?;
    // Of this namespace: what was opened in another cannot be mounted here (mount(2)).
    let end = std::fs::OpenOptions::new().read(true).custom_flags(O_PATH | O_DIRECTORY | O_NOFOLLOW).open(way.end());
    let end = end.map_err(|error| words(&error))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("switchboard"), hidden, Some("tmpfs"), flags, Some(FRONT)).map_err(|error| words(&error))?;
    let behind = way.end().strip_prefix(hidden).map_err(|error| words(&error))?;
    let mut place = hidden.to_owned();
    for name in behind.components() {
        place.push(name);
        std::fs::DirBuilder::new().mode(0o700).create(&place).map_err(|error| words(&error))?;
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).map_err(|error| words(&error))?;
    }
    let source = format!("/proc/self/fd/{}", end.as_raw_fd());
    mount(Some(source.as_str()), way.end(), none, MsFlags::MS_BIND, none).map_err(|error| words(&error))
}
