//! Every crash point: a scenario is played once to number its commits, sends and receipts, then once per number with the power cut exactly
//! there, and what the platforms saw and the ledger holds is held against the promises.
//!
//! `CUT=17` in the environment plays only the cut at that point (`CUT=17,4`: and the next at point 4 of the life behind it) and prints what
//! happened. A failing case says which to set.

#[path = "crash_points/aftermath.rs"]
mod aftermath;
#[path = "crash_points/approvals.rs"]
mod approvals;
#[path = "crash_points/fates.rs"]
mod fates;
#[path = "crash_points/guarantees.rs"]
mod guarantees;
#[path = "crash_points/player.rs"]
mod player;
#[path = "crash_points/random.rs"]
mod random;
#[path = "crash_points/requests.rs"]
mod requests;
#[path = "crash_points/scenario.rs"]
mod scenario;
#[path = "crash_points/shutdowns.rs"]
mod shutdowns;
#[path = "crash_points/troubles.rs"]
mod troubles;
#[path = "crash_points/turns.rs"]
mod turns;
