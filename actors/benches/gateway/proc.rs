//! What this process holds in memory, as the system counts it.

use std::fs;

/// Resident bytes now.
pub(crate) fn resident() -> u64 {
    field("VmRSS:")
}

/// Resident bytes at most, since [`forget_peak`].
pub(crate) fn peak() -> u64 {
    field("VmHWM:")
}

/// Lets the peak start anew.
pub(crate) fn forget_peak() {
    // 5: "reset the peak resident set size" (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5").expect("a process may reset its own peak");
}

fn field(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("there is a /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the system counts it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
}
