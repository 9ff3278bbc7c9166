//! Who spoke to us: a process in words, for the log and the record.

use std::fmt;

use switchboard_actors::escape::one_line;

/// A process that sent a signal or came over the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its number; none when the system did not tell.
    pub pid: Option<u32>,
    /// Its user's number.
    pub uid: u32,
    /// What it runs; none when it was gone before we looked.
    pub program: Option<String>,
}

impl Caller {
    /// Looks up what a process runs. Where that is hidden (`ProtectProc=` in systemd.exec(5)), our parent is known to be who started us.
    pub fn of(pid: Option<u32>, uid: u32) -> Self {
        Self::under(rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs()), pid, uid)
    }

    fn under(parent: Option<u32>, pid: Option<u32>, uid: u32) -> Self {
        let name = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        let name = name.map(|name| one_line(name.trim()));
        Self { pid, uid, program: name.or_else(|| (pid.is_some() && pid == parent).then(|| "the service manager".into())) }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(program) = &self.program {
            write!(f, "{program} ")?;
        }
        match self.pid {
            Some(pid) => write!(f, "(pid {pid}, user {})", self.uid),
            None => write!(f, "(user {})", self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_told_as_far_as_it_is_known() {
        let check = |pid, program: Option<&str>, words: &str| {
            assert_eq!(Caller { pid, uid: 7, program: program.map(Into::into) }.to_string(), words);
        };
        check(Some(5), Some("bash"), "bash (pid 5, user 7)");
        check(Some(5), None, "(pid 5, user 7)");
        check(None, None, "(user 7)");
        // No process has this number.
        let hidden = u32::MAX;
        assert_eq!(Caller::under(Some(hidden), Some(hidden), 0).program.as_deref(), Some("the service manager"));
        assert_eq!(Caller::under(Some(hidden - 1), Some(hidden), 0).program, None);
        assert_eq!(Caller::under(None, None, 0).program, None);
        assert!(Caller::of(Some(std::process::id()), 0).program.is_some_and(|program| !program.is_empty()));
    }
}
