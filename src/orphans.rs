//! What the first process of a container owes the system: whoever loses its parent becomes its child, and has to be looked at when it ends,
//! or stays in the table of processes for ever; and a signal that comes before it can be heard would be lost. Anywhere else this does nothing.
//!
//! It looks at every child that ended. The gateway waits for none of its own through the system: agents kill theirs by their group.

use std::io;

use rustix::process::{WaitOptions, getpid, wait};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

/// Has signals wait until they are heard: the system throws away what would end the first process, and whoever sent it waits for nothing
/// (pid_namespaces(7)). To be called before anything else.
pub fn hold_signals() {
    if getpid().is_init()
        && let Err(error) = crate::signals::block()
    {
        tracing::error!(%error, "signals that come too early cannot be kept");
    }
}

/// Begins to look after orphans, where they are ours.
///
/// # Errors
/// When the system refuses a handler or a thread.
pub fn adopt() -> io::Result<()> {
    if !getpid().is_init() {
        return Ok(());
    }
    let mut ended = Signals::new([SIGCHLD])?;
    std::thread::Builder::new().name("orphans".into()).spawn(move || {
        // Some may have ended before anybody listened.
        look();
        ended.forever().for_each(|_| look());
    })?;
    Ok(())
}

/// One signal may stand for many that ended.
fn look() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
