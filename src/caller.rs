//! Who spoke to us: a process in words, for the log and the record.

use std::fmt;

use crate::foreign::one_line;

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
    /// Looks up what a process runs.
    pub fn of(pid: Option<u32>, uid: u32) -> Self {
        let name = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        Self { pid, uid, program: name.map(|name| one_line(name.trim())) }
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
        assert!(Caller::of(Some(std::process::id()), 0).program.is_some_and(|program| !program.is_empty()));
    }
}
