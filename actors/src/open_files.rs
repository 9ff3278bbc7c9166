//! How many files, sockets among them, may be open at the same time: a gateway takes what it is allowed at most, and its children get what it was given.
//!
//! The usual bound of a process is 1024, so that programs which use select(2) do not write beyond their sets; it may raise that itself, up to the hard
//! one (getrlimit(2)). Whoever else a system hands it to must be able to bear it, so no child inherits it.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use crate::children::Child;

/// What this process was given, once it has taken more.
static GIVEN: OnceLock<Rlimit> = OnceLock::new();

/// How many may be open, before and after it was raised; none: no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// As this process was given.
    pub given: Option<u64>,
    /// As it is now.
    pub now: Option<u64>,
}

/// Takes as many as are allowed. For a program that has the process to itself, before it starts others.
///
/// # Errors
/// When the system does not let it; it goes on with what it has.
pub fn raise() -> std::io::Result<Raised> {
    let given = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: given.maximum, ..given })?;
    let given = GIVEN.get_or_init(|| given);
    Ok(Raised { given: given.current, now: given.maximum })
}

/// Gives this process again what it was given, for the program that takes its place.
pub fn restore() {
    if let Some(given) = GIVEN.get() {
        // Nobody is less bound than before: at worst the next program begins with more.
        _ = setrlimit(Resource::Nofile, *given);
    }
}

/// A child that was started since gets what this process was given. Descendants that it has by then keep what they have.
pub(crate) fn lower(child: &Child) {
    let Some(given) = GIVEN.get() else { return };
    let Some(process) = i32::try_from(child.group).ok().and_then(Pid::from_raw).filter(|_| child.lives()) else { return };
    if let Err(error) = prlimit(Some(process), Resource::Nofile, *given) {
        tracing::warn!(group = child.group, %error, "a child keeps a higher bound of open files");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn bound_of(process: u32) -> Rlimit {
        let process = Pid::from_raw(i32::try_from(process).expect("a pid")).expect("a pid");
        let before = prlimit(Some(process), Resource::Nofile, getrlimit(Resource::Nofile)).expect("ours");
        prlimit(Some(process), Resource::Nofile, before).expect("ours");
        before
    }

    #[test]
    fn g41_what_the_gateway_takes_its_children_do_not_get() {
        let given = getrlimit(Resource::Nofile);
        let least = Rlimit { current: Some(given.maximum.map_or(256, |most| most.min(256))), ..given };
        setrlimit(Resource::Nofile, least).expect("less is always allowed");
        let raised = raise().expect("up to the hard bound");
        assert_eq!((raised, getrlimit(Resource::Nofile).current), (Raised { given: least.current, now: given.maximum }, given.maximum));
        let mut process = Command::new("cat").stdin(Stdio::piped()).process_group(0).spawn().expect("cat is everywhere");
        let child = Child::of(process.id()).expect("it leads its group");
        lower(&Child { started: child.started + 1, ..child.clone() });
        assert_eq!(bound_of(process.id()).current, given.maximum, "it is somebody else by now");
        lower(&child);
        assert_eq!(bound_of(process.id()), least);
        raise().expect("again");
        restore();
        assert_eq!(getrlimit(Resource::Nofile), least);
        setrlimit(Resource::Nofile, given).expect("up to the hard bound");
        drop(process.stdin.take());
        process.wait().expect("it ends with its input");
    }
}
