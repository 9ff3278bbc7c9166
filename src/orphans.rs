//! What the first process of a container owes the system: whoever loses its parent becomes its child, and has to be looked at when it ends,
//! or stays in the table of processes for ever. Anywhere else this does nothing.
//!
//! It looks at every child that ended. The gateway waits for none of its own through the system: agents kill theirs by their group.

use std::io;

use rustix::process::{WaitOptions, getpid, wait};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

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
        for _ in ended.forever() {
            // One signal may stand for many that ended.
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        }
    })?;
    Ok(())
}
