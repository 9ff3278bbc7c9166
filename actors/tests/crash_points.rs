//! Every crash point: a scenario is played once to number its commits, sends and receipts, then once per number with the power cut exactly
//! there, and what the platforms saw and the ledger holds is held against the promises.
//!
//! `CUT=17` in the environment plays only the cut at that point (`CUT=17,4`: and the next at point 4 of the life behind it) and prints what
//! happened. A failing case says which to set. The last lines of a run say how much was judged.

#[path = "crash_points/aftermath.rs"]
mod aftermath;
#[path = "crash_points/approvals.rs"]
mod approvals;
#[path = "crash_points/at_rest.rs"]
mod at_rest;
#[path = "crash_points/children.rs"]
mod children;
#[path = "crash_points/fates.rs"]
mod fates;
#[path = "crash_points/goodbyes.rs"]
mod goodbyes;
#[path = "crash_points/guarantees.rs"]
mod guarantees;
#[path = "crash_points/marks.rs"]
mod marks;
#[path = "crash_points/order.rs"]
mod order;
#[path = "crash_points/player.rs"]
mod player;
#[path = "crash_points/random.rs"]
mod random;
#[path = "crash_points/recoveries.rs"]
mod recoveries;
#[path = "crash_points/requests.rs"]
mod requests;
#[path = "crash_points/scenario.rs"]
mod scenario;
#[path = "crash_points/shutdowns.rs"]
mod shutdowns;
#[path = "crash_points/tally.rs"]
mod tally;
#[path = "crash_points/troubles.rs"]
mod troubles;
#[path = "crash_points/turns.rs"]
mod turns;

use std::cell::RefCell;
use std::panic::catch_unwind;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    // Agents and ledgers panic as they are asked to, thousands of times; what fails a trial is told by it.
    std::panic::set_hook(Box::new(|panic| LAST.set(panic.to_string())));
    let scenarios = [
        turns::all(),
        shutdowns::all(),
        marks::all(),
        requests::all(),
        approvals::all(),
        children::all(),
        recoveries::all(),
        troubles::all(),
    ]
    .concat();
    let points = scenarios.into_iter().map(|(name, make)| trial(name.to_owned(), move || make().check(name)));
    let worlds = random::all().into_iter().map(|(name, check)| trial(name, check));
    let arguments = Arguments::from_args();
    let conclusion = libtest_mimic::run(&arguments, points.chain(worlds).collect());
    let single = ["CUT", "WORLD"].iter().any(|name| std::env::var_os(name).is_some());
    report(arguments.filter.is_none() && conclusion.num_passed > 0 && !single);
    conclusion.exit_code()
}

thread_local! {
    /// What the last panic on this thread said, and where.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

fn trial(name: String, check: impl FnOnce() + Send + std::panic::UnwindSafe + 'static) -> Trial {
    Trial::test(name, move || catch_unwind(check).map_err(|_| Failed::from(LAST.take())))
}

#[expect(clippy::print_stdout, reason = "the last lines of a run")]
fn report(whole: bool) {
    print!("{}", tally::summary());
    let never = tally::never();
    assert!(!whole || never.is_empty(), "nothing was ever held against {never:?}");
}
