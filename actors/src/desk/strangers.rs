//! Which strangers are worth a line of the log. A bot that somebody floods would else fill the disk with words about messages of which it keeps
//! none: each stranger has a line once in a while, each adapter so many lines a minute, and all else is counted, in one line a minute.

use std::collections::HashMap;
use std::time::Duration;

use super::Recent;
use crate::clock::Moment;
use crate::ids::{AdapterName, UserId};

/// A count is told so often at most.
pub const COUNT_EVERY: Duration = Duration::from_secs(60);
/// A stranger has a line of their own once in this time.
const LINE_EVERY: Duration = Duration::from_secs(600);
/// Strangers with a line of their own, per adapter and minute, at most.
const LINES_PER_MINUTE: u32 = 20;

/// What was told of strangers lately.
#[derive(Debug, Default)]
pub struct Strangers {
    known: Recent<(AdapterName, UserId)>,
    lines: Recent<AdapterName>,
    counted: HashMap<AdapterName, u64>,
}

/// How a stranger who was turned away is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// In a line.
    Line,
    /// In a count, which is to be told after [`COUNT_EVERY`].
    BeginsACount,
    /// In a count that was begun.
    Counted,
}

impl Strangers {
    /// A message of this stranger came to nothing.
    pub fn turned_away(&mut self, now: Moment, adapter: &AdapterName, user: &UserId) -> Telling {
        let first = self.known.count(now, LINE_EVERY, (adapter.clone(), user.clone())) == 1;
        if first && self.lines.count(now, COUNT_EVERY, adapter.clone()) <= LINES_PER_MINUTE {
            return Telling::Line;
        }
        let count = self.counted.entry(adapter.clone()).or_default();
        *count = count.saturating_add(1);
        if *count == 1 { Telling::BeginsACount } else { Telling::Counted }
    }

    /// The count of an adapter, which begins anew.
    pub fn take(&mut self, adapter: &AdapterName) -> u64 {
        self.counted.remove(adapter).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g41_a_flood_of_strangers_is_a_few_lines_a_minute() {
        let (mut strangers, adapter) = (Strangers::default(), AdapterName::new("a"));
        let mut told = |secs, user: &str| strangers.turned_away(Moment(Duration::from_secs(secs)), &adapter, &user.into());
        assert_eq!([told(0, "bob"), told(1, "bob"), told(2, "bob")], [Telling::Line, Telling::BeginsACount, Telling::Counted]);
        let lines = (0..10_000).filter(|user| told(3, &user.to_string()) == Telling::Line).count();
        assert_eq!(lines, LINES_PER_MINUTE as usize - 1);
        assert_eq!(told(61, "eve"), Telling::Line);
        assert_eq!(strangers.take(&adapter), 2 + 10_000 - u64::from(LINES_PER_MINUTE) + 1);
        assert_eq!(strangers.take(&adapter), 0);
        let mut told = |secs, user: &str| strangers.turned_away(Moment(Duration::from_secs(secs)), &adapter, &user.into());
        assert_eq!([told(62, "eve"), told(63, "eve")], [Telling::BeginsACount, Telling::Counted]);
        assert_eq!(told(700, "eve"), Telling::Line);
    }
}
