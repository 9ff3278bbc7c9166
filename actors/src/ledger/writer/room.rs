//! Whether there is room for more messages: the bound `ledger.max_bytes`.
//!
//! Over it nothing new is taken in, and all that was taken in goes on: whatever is started, finished, said or judged is written as ever, since it is
//! what makes room again. A ledger without room is well; one that cannot commit is ill, and another matter.

use std::time::Duration;

use super::{LedgerHealth, Unable};
use crate::ledger::{Accepted, Step};
use crate::supervision::intensity::backoff;

/// What a row takes beside its words, roughly, with its indexes.
const ROW: u64 = 512;

/// How much is in use, and how much may be.
#[derive(Debug)]
pub(super) struct Room {
    /// 0: no bound.
    most: u64,
    /// After the last commit.
    used: u64,
    /// What waits for the next ones to be taken in.
    coming: u64,
    full: bool,
    /// Refusals since there was room.
    refused: u32,
    retry: (Duration, Duration),
}

impl Room {
    /// An empty one, of at most so many bytes; whoever is refused comes again after a wait between these two.
    pub(super) fn new(most: u64, retry: (Duration, Duration)) -> Self {
        Self { most, used: 0, coming: 0, full: false, refused: 0, retry }
    }

    /// Whether it has to be measured at all.
    pub(super) fn is_bounded(&self) -> bool {
        self.most > 0
    }

    /// Lets a step in, or says why not now.
    pub(super) fn admit(&mut self, step: &Step) -> Result<(), Unable> {
        let Some(weight) = weight(step).filter(|_| self.is_bounded()) else { return Ok(()) };
        if self.used.saturating_add(self.coming) < self.most {
            self.coming = self.coming.saturating_add(weight);
            return Ok(());
        }
        let retry_after = backoff(self.retry.0, self.retry.1, self.refused, 1.0);
        self.refused = self.refused.saturating_add(1);
        Err(Unable { reason: self.words(), retry_after, full: true })
    }

    /// These steps are written, and so much is in use now; what of that is news.
    pub(super) fn measured<'a>(&mut self, used: u64, steps: impl Iterator<Item = &'a Step>) -> Option<LedgerHealth> {
        self.used = used;
        self.coming = self.coming.saturating_sub(steps.filter_map(weight).sum());
        let full = used >= self.most;
        if std::mem::replace(&mut self.full, full) == full {
            return None;
        }
        self.refused = 0;
        Some(if full { LedgerHealth::Full { reason: self.words() } } else { LedgerHealth::Roomy })
    }

    /// Nothing of what was let in will be written: whoever wanted it comes again.
    pub(super) fn given_back(&mut self) {
        self.coming = 0;
    }

    fn words(&self) -> String {
        format!(
            "it is full: {} bytes are in use of ledger.max_bytes = {}; nothing new is taken in. Raise that, or wait until rows older than ledger.keep \
             are forgotten",
            self.used, self.most
        )
    }
}

/// What a step takes that brings something new; none: it belongs to what is there.
fn weight(step: &Step) -> Option<u64> {
    let Step::Accept(accept) = step else { return None };
    let words = match &accept.what {
        Accepted::Message { text } | Accepted::Command { text } | Accepted::Closing { text, .. } => text.len() as u64,
        _ => 0,
    };
    Some(words + accept.answer.iter().map(|row| row.text.len() as u64 + ROW).sum::<u64>() + ROW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::ids::{Account, ChatId, DeliveryId, InstanceId, Seq, SessionKey, UserId};
    use crate::ledger::Accept;
    use crate::shutdown::Phase;

    fn accept(bytes: usize) -> Step {
        Step::Accept(Accept {
            seq: Seq(1),
            account: Account::new("a"),
            delivery: DeliveryId::new("1"),
            session: SessionKey { chat: ChatId::new("a", "1"), member: None },
            user: UserId::new("1"),
            name: String::new(),
            message: None,
            at: Wall(0),
            what: Accepted::Message { text: "x".repeat(bytes) },
            answer: Vec::new(),
        })
    }

    fn room(most: u64) -> Room {
        Room::new(most, (Duration::from_secs(1), Duration::from_secs(3)))
    }

    #[test]
    fn g41_only_what_is_new_is_refused_and_whoever_brought_it_comes_again_ever_later() {
        let mut room = room(10_000);
        let other = Step::Phase { instance: InstanceId(uuid::Uuid::nil()), phase: Phase::Drain, at: Wall(0) };
        assert_eq!(room.measured(9_999, std::iter::empty()), None);
        assert_eq!(room.admit(&accept(1)), Ok(()));
        let waits: Vec<u64> = (0..4).map(|_| room.admit(&accept(1)).expect_err("what comes counts").retry_after.as_secs()).collect();
        assert_eq!(waits, [1, 2, 3, 3]);
        assert_eq!(room.admit(&other), Ok(()), "what is there goes on");
        let Some(LedgerHealth::Full { reason }) = room.measured(10_600, [accept(1)].iter()) else { panic!("it is full") };
        assert!(reason.contains("10600 bytes") && reason.contains("ledger.max_bytes = 10000"), "{reason}");
        assert!(room.admit(&accept(1)).is_err_and(|unable| unable.full));
        assert_eq!((room.measured(10_000, [other].iter()), room.measured(9_999, std::iter::empty())), (None, Some(LedgerHealth::Roomy)));
        assert_eq!(room.admit(&accept(1)), Ok(()));
    }

    #[test]
    fn what_was_given_back_takes_no_room_and_no_bound_is_none() {
        let mut room = room(1_000);
        assert_eq!(room.admit(&accept(2_000)), Ok(()));
        assert!(room.admit(&accept(1)).is_err());
        room.given_back();
        assert_eq!(room.admit(&accept(1)), Ok(()));
        let mut boundless = Room::new(0, (Duration::ZERO, Duration::ZERO));
        assert!(!boundless.is_bounded() && boundless.admit(&accept(1 << 20)).is_ok());
    }
}
