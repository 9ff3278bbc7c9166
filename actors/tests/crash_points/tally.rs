//! How much was judged: every cut, every world, and under the name of each promise everything that it was held against.
//!
//! A promise that nothing was ever held against proves nothing; the summary at the end of a run shows it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static TALLY: Mutex<BTreeMap<&'static str, usize>> = Mutex::new(BTreeMap::new());

/// So much more of this.
pub(crate) fn add(what: &'static str, more: usize) {
    *TALLY.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += more;
}

/// A line for everything that was counted.
pub(crate) fn summary() -> String {
    let tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
    tally.iter().map(|(what, count)| format!("{count:>9} {}\n", what.replace('_', " "))).collect()
}

/// What was counted, and came to nothing.
pub(crate) fn never() -> Vec<&'static str> {
    let tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
    tally.iter().filter(|(_, count)| **count == 0).map(|(what, _)| *what).collect()
}
