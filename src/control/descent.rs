//! Whether a process descends from another: a guard against an agent that restarts its own gateway by accident, or lets somebody in because it was
//! talked into it. A process that wants to can leave its parents behind, and read what its user can; it is no guard against malice.

use crate::lock::InstanceLock;
use crate::state_dir::StateDir;

/// Generations to look back; deeper trees are not made by accident.
const DEEPEST: usize = 64;

/// Whether `pid` is `ancestor` or one of its descendants, as the system tells now. A process that is gone descends from nobody.
pub fn descends(pid: u32, ancestor: u32) -> bool {
    line(pid, |pid| parent(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).any(|found| found == ancestor)
}

/// Whether this process descends from the gateway that lives on this state directory now.
pub fn is_from_within(state: &StateDir) -> bool {
    InstanceLock::holder(state).is_some_and(|gateway| descends(std::process::id(), gateway))
}

/// A process and its ancestors, the first process among them: in a container that is the gateway.
fn line(pid: u32, parent_of: impl Fn(u32) -> Option<u32>) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(pid), move |pid| parent_of(*pid)).take_while(|pid| *pid > 0).take(DEEPEST)
}

/// The parent in a line of `/proc/PID/stat`: the second field behind the name, which may hold anything, brackets too.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        assert_eq!(parent("12 (a) b (c)) S 7 12 12 0"), Some(7));
        assert_eq!(parent("nonsense"), None);
    }

    #[test]
    fn children_descend_and_parents_do_not() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat is everywhere");
        let ours = std::process::id();
        assert!(descends(child.id(), ours) && descends(ours, ours));
        assert!(!descends(ours, child.id()));
        drop(child.stdin.take());
        child.wait().expect("it ends with its input");
        assert!(!descends(child.id(), ours));
    }

    #[test]
    fn g23_who_holds_the_lock_is_the_gateway_of_its_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("writable");
        assert!(!is_from_within(&state), "nobody holds it");
        let lock = InstanceLock::take(&state).expect("free");
        assert!(is_from_within(&state), "we hold it ourselves");
        drop(lock);
        assert!(!is_from_within(&state), "what its file says is of one that is gone");
    }

    #[test]
    fn in_a_container_everybody_descends_from_the_first_process() {
        let tree = |pid: u32| Some(pid / 2);
        assert_eq!(line(5, tree).collect::<Vec<_>>(), [5, 2, 1]);
    }

    #[test]
    fn a_circle_ends() {
        assert!(line(2, |pid| Some(5 - pid)).count() <= DEEPEST);
    }
}
