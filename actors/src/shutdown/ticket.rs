//! The drain ticket: a session's one way to say goodbye, also when it cannot.
//!
//! A session acknowledges by consuming its ticket. A ticket that is dropped says so by itself: a session that was already
//! stopped, has panicked, or goes with the ticket still in its queue answers at once. Only one that is truly stuck costs the
//! deadline.

use std::fmt;
use std::sync::Arc;

use super::report::Outcome;

/// Where a session sits in the census.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seat(pub u32);

/// What a session says of itself when it acknowledges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// Its outcome.
    pub outcome: Outcome,
    /// Why, in words; empty where the outcome says it all.
    pub reason: String,
}

/// What a ticket reports: acknowledged, or `None` when it was dropped.
pub type Acknowledge = Arc<dyn Fn(Seat, Option<Goodbye>) + Send + Sync>;

/// One session's ticket. One line is shared by all tickets of a shutdown, so that a ticket is two words.
pub struct Ticket {
    seat: Seat,
    line: Option<Acknowledge>,
}

impl Ticket {
    /// A ticket for `seat` that reports on `line`.
    pub fn new(seat: Seat, line: Acknowledge) -> Self {
        Self { seat, line: Some(line) }
    }

    /// Says goodbye.
    pub fn acknowledge(mut self, goodbye: Goodbye) {
        if let Some(line) = self.line.take() {
            line(self.seat, Some(goodbye));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line(self.seat, None);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({})", self.seat.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn g31_a_ticket_is_answered_exactly_once_also_when_it_is_lost() {
        let heard: Arc<Mutex<Vec<_>>> = Arc::default();
        let line: Acknowledge = {
            let heard = heard.clone();
            Arc::new(move |seat, goodbye| heard.lock().expect("nobody panics").push((seat, goodbye.map(|goodbye| goodbye.outcome))))
        };
        Ticket::new(Seat(1), line.clone()).acknowledge(Goodbye { outcome: Outcome::Idle, reason: String::new() });
        drop(Ticket::new(Seat(2), line));
        assert_eq!(*heard.lock().expect("nobody panics"), [(Seat(1), Some(Outcome::Idle)), (Seat(2), None)]);
    }
}
