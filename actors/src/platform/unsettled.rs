//! A batch of offers whose receipts are still out: what a listener keeps so that nothing is passed over.
//!
//! It never moves a cursor and knows no platform: it waits for the receipts, and makes offers again of what was not accepted.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Inbound, Offer, Taken};

/// How long to wait before something is offered again that nobody decided about (its receipt was dropped).
const UNDECIDED: Duration = Duration::from_secs(1);

/// The batch that was offered last. Safe to use from a future that is dropped in mid-wait: what was learned is kept.
#[derive(Debug, Default)]
pub struct Unsettled {
    waiting: Vec<Waiting>,
    /// Set once every receipt has answered and some said no: not before this.
    again_at: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    inbound: Inbound,
    receipt: oneshot::Receiver<Taken>,
    taken: Option<Taken>,
}

impl Unsettled {
    /// Offers a new batch. The one before must have been settled.
    pub fn offer(&mut self, batch: impl IntoIterator<Item = Inbound>) -> Vec<Offer> {
        debug_assert!(self.waiting.is_empty(), "a batch is offered only when the one before is settled");
        self.again_at = None;
        let (offers, waiting) = batch.into_iter().map(offered).unzip();
        self.waiting = waiting;
        offers
    }

    /// What is not known to be accepted, in its order: for whoever listens next.
    pub fn unaccepted(&mut self) -> Vec<Inbound> {
        for waiting in &mut self.waiting {
            waiting.taken = waiting.taken.or_else(|| waiting.receipt.try_recv().ok());
        }
        let open = self.waiting.drain(..).filter(|waiting| waiting.taken != Some(Taken::Accepted));
        open.map(|waiting| waiting.inbound).collect()
    }

    /// Waits for all receipts. Empty when everything was accepted, else what was not, in its order, offered again after the
    /// longest pause that anybody asked for.
    pub async fn settled(&mut self) -> Vec<Offer> {
        for waiting in &mut self.waiting {
            if waiting.taken.is_none() {
                let answer = (&mut waiting.receipt).await;
                waiting.taken = Some(answer.unwrap_or(Taken::Later(UNDECIDED)));
            }
        }
        self.waiting.retain(|waiting| waiting.taken != Some(Taken::Accepted));
        let Some(pause) = self.waiting.iter().filter_map(pause).max() else { return Vec::new() };
        let again_at = *self.again_at.get_or_insert_with(|| Instant::now() + pause);
        tokio::time::sleep_until(again_at).await;
        let batch: Vec<Inbound> = self.waiting.drain(..).map(|waiting| waiting.inbound).collect();
        self.offer(batch)
    }
}

fn offered(inbound: Inbound) -> (Offer, Waiting) {
    let (offer, receipt) = Offer::new(inbound.clone());
    (offer, Waiting { inbound, receipt, taken: None })
}

fn pause(waiting: &Waiting) -> Option<Duration> {
    match waiting.taken {
        Some(Taken::Later(pause) | Taken::Full(pause)) => Some(pause),
        Some(Taken::Accepted) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DeliveryId;
    use crate::platform::Content;

    fn inbound(id: &str) -> Inbound {
        Inbound { delivery: DeliveryId::new(id), cursor: None, content: Content::Nothing { reason: "a test".into() } }
    }

    fn ids(offers: &[Offer]) -> Vec<&str> {
        offers.iter().map(|offer| offer.inbound.delivery.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_accepted_comes_again_in_order_after_the_longest_pause() {
        let mut unsettled = Unsettled::default();
        let mut offers = unsettled.offer(["1", "2", "3", "4"].map(inbound)).into_iter();
        let mut next = || offers.next().expect("four offers").receipt;
        next().settle(Taken::Accepted);
        next().settle(Taken::Later(Duration::from_secs(7)));
        next().settle(Taken::Accepted);
        drop(next());

        let start = Instant::now();
        let again = unsettled.settled().await;
        assert_eq!((ids(&again), start.elapsed()), (vec!["2", "4"], Duration::from_secs(7)));
        for offer in again {
            offer.receipt.settle(Taken::Accepted);
        }
        assert!(unsettled.settled().await.is_empty());
        assert!(unsettled.settled().await.is_empty(), "nothing is out any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_forgets_nothing() {
        let mut unsettled = Unsettled::default();
        let mut offers = unsettled.offer(["1", "2"].map(inbound)).into_iter();
        offers.next().expect("the first").receipt.settle(Taken::Later(Duration::from_secs(5)));
        let second = offers.next().expect("the second").receipt;
        let start = Instant::now();
        for _ in 0..3 {
            assert!(tokio::time::timeout(Duration::from_secs(1), unsettled.settled()).await.is_err());
        }
        second.settle(Taken::Accepted);
        for _ in 0..3 {
            assert!(tokio::time::timeout(Duration::from_secs(1), unsettled.settled()).await.is_err());
        }
        assert_eq!(ids(&unsettled.settled().await), ["1"]);
        assert_eq!(start.elapsed(), Duration::from_secs(8), "5 s from when the batch was settled, not from each wait");
    }
}
