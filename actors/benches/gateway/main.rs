//! What the gateway costs: a turn, a shutdown, the flag, a start. Criterion samples what is short; whole lives are printed once.
//!
//! ```sh
//! cargo bench -p switchboard-actors --bench gateway              # everything
//! cargo bench -p switchboard-actors --bench gateway -- shutdown  # one of turn, marker, shutdown, start
//! ```

mod disk;
mod life;
mod marker;
mod proc;
mod shutdown;
mod start;
mod turn;

use criterion::Criterion;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted.contains(name) || name.contains(wanted.as_str()));
    // First, while the allocator is fresh: it counts bytes.
    if wants("shutdown") {
        shutdown::tell();
    }
    if wants("start") {
        start::tell();
    }
    let mut criterion = Criterion::default().configure_from_args();
    if wants("turn") {
        turn::bench(&mut criterion);
    }
    if wants("marker") {
        marker::bench(&mut criterion);
    }
    criterion.final_summary();
}
