//! Who holds how many connections, so that nobody shuts out the others.
//!
//! A connection is a stranger's until a request on it passed the gate. Strangers are bounded per peer and in all; connections beyond that
//! stand in the reserve only until their first request is read: a probe is answered there, whoever passes the gate moves out of it, all
//! others are sent away. A full reserve gives up its oldest, which has not said anything so far, so that it has room for whoever comes and
//! says at once what they want, as probes do, throughout every flood.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::Network;

/// Connections that are not logged in, of one peer, at most.
const PER_PEER: usize = 64;
/// And of all peers together.
pub(super) const STRANGERS: usize = 256;
/// Connections beyond those, each for as long as its first request takes to arrive.
pub(super) const RESERVE: usize = 16;
/// Those who were sent away are told of no more often.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// An IPv6 host has a /64 of its own: its other half is the host's to choose.
const V6_PEER: u128 = !0 << 64;

/// At most how many connections of each sort there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    per_peer: usize,
    strangers: usize,
    known: usize,
}

impl Bounds {
    /// Where people come, of whom so many may be known.
    pub(super) fn of_people(known: usize) -> Self {
        Self { per_peer: PER_PEER, strangers: STRANGERS, known }
    }

    /// Where only probes come, one request each.
    pub(super) fn of_probes() -> Self {
        Self { per_peer: 0, strangers: 0, known: 0 }
    }
}

/// The connections of one address that is listened on, or of several. Clones are the same.
#[derive(Clone)]
pub(super) struct Peers(Arc<Mutex<Books>>);

struct Books {
    bounds: Bounds,
    proxies: Vec<Network>,
    by_peer: HashMap<Option<IpAddr>, usize>,
    strangers: usize,
    known: usize,
    reserve: VecDeque<(u64, oneshot::Sender<()>)>,
    last: u64,
    refused: u64,
    told: Option<Instant>,
}

/// The place of one connection among all; given back when it is dropped.
pub(super) struct Place {
    peers: Peers,
    sort: Sort,
}

enum Sort {
    Stranger(Option<IpAddr>),
    Known,
    Reserve(u64),
}

impl Peers {
    /// Nobody yet.
    pub(super) fn new(bounds: Bounds, proxies: Vec<Network>) -> Self {
        Self(Arc::new(Mutex::new(Books {
            bounds,
            proxies,
            by_peer: HashMap::new(),
            strangers: 0,
            known: 0,
            reserve: VecDeque::new(),
            last: 0,
            refused: 0,
            told: None,
        })))
    }

    /// A place for whoever comes from an address; none: from nobody knows where, which counts as one peer. In the reserve it is lost when the
    /// receiver hears so.
    pub(super) fn enter(&self, from: Option<IpAddr>) -> (Place, Option<oneshot::Receiver<()>>) {
        let mut books = self.books();
        let peer = from.map(peer);
        let exempt = from.is_some_and(|from| books.proxies.iter().any(|network| network.holds(from)));
        let held = books.by_peer.get(&peer).copied().unwrap_or_default();
        if books.strangers < books.bounds.strangers && (exempt || held < books.bounds.per_peer) {
            books.strangers += 1;
            *books.by_peer.entry(peer).or_default() += 1;
            return (Place { peers: self.clone(), sort: Sort::Stranger(peer) }, None);
        }
        if books.reserve.len() >= RESERVE
            && let Some((_, oldest)) = books.reserve.pop_front()
        {
            _ = oldest.send(()); // it may be going by itself just now
        }
        books.last += 1;
        let (number, (lost, hears)) = (books.last, oneshot::channel());
        books.reserve.push_back((number, lost));
        (Place { peers: self.clone(), sort: Sort::Reserve(number) }, Some(hears))
    }

    /// Somebody was sent away; how many since it was told last, if it is time to tell.
    pub(super) fn refused(&self, now: Instant) -> Option<u64> {
        let mut books = self.books();
        books.refused += 1;
        let due = books.told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        due.then(|| {
            books.told = Some(now);
            std::mem::take(&mut books.refused)
        })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // The books are whole after every statement that holds the lock, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it is one of those kept in reserve.
    pub(super) fn in_reserve(&self) -> bool {
        matches!(self.sort, Sort::Reserve(_))
    }

    /// The connection is a known one's from here on, if there is room among those; whether it is. Without, it stays what it was.
    pub(super) fn become_known(&mut self) -> bool {
        if matches!(self.sort, Sort::Known) {
            return true;
        }
        let mut books = self.peers.books();
        if books.known >= books.bounds.known {
            return false;
        }
        books.known += 1;
        books.leave(&self.sort);
        drop(books);
        self.sort = Sort::Known;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peers.books().leave(&self.sort);
    }
}

impl Books {
    fn leave(&mut self, sort: &Sort) {
        match sort {
            Sort::Known => self.known -= 1,
            Sort::Reserve(number) => self.reserve.retain(|(other, _)| other != number),
            Sort::Stranger(peer) => {
                self.strangers -= 1;
                if let Some(held) = self.by_peer.get_mut(peer) {
                    *held -= 1;
                    if *held == 0 {
                        self.by_peer.remove(peer);
                    }
                }
            }
        }
    }
}

/// What counts as one peer: an IPv4 address, or the network of an IPv6 host.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & V6_PEER).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    fn enter(peers: &Peers, from: &str, times: usize) -> (Vec<Place>, usize) {
        let places: Vec<Place> = (0..times).map(|_| peers.enter(ip(from)).0).collect();
        let free = places.iter().filter(|place| !place.in_reserve()).count();
        (places, free)
    }

    #[test]
    fn g41_a_peer_takes_no_more_than_its_share_of_connections() {
        let check = |from: &str, also: &str, expected: usize| {
            let peers = Peers::new(Bounds::of_people(8), vec!["10.0.0.0/8".parse().expect("a network")]);
            let (_first, all) = enter(&peers, from, PER_PEER);
            assert_eq!(all, PER_PEER);
            assert_eq!(enter(&peers, also, 1).1, expected, "{also} beside {from}");
        };
        check("192.0.2.1", "192.0.2.1", 0);
        check("192.0.2.1", "::ffff:192.0.2.1", 0);
        check("192.0.2.1", "192.0.2.2", 1);
        check("2001:db8::1", "2001:db8::ffff:1", 0);
        check("2001:db8::1", "2001:db8:0:1::1", 1);
        check("10.0.0.1", "10.0.0.1", 1);
    }

    #[test]
    fn g41_strangers_are_bounded_in_all_and_places_are_given_back() {
        let peers = Peers::new(Bounds::of_people(1), vec!["10.0.0.0/8".parse().expect("a network")]);
        let (places, free) = enter(&peers, "10.0.0.1", STRANGERS + 1);
        assert_eq!(free, STRANGERS);
        assert_eq!(enter(&peers, "192.0.2.1", 1).1, 0);
        drop(places);
        let (_places, free) = enter(&peers, "192.0.2.1", PER_PEER + 1);
        assert_eq!(free, PER_PEER);
        assert_eq!(peers.books().reserve.len(), 1);
    }

    #[test]
    fn g41_whoever_is_known_leaves_their_place_to_a_stranger() {
        let peers = Peers::new(Bounds::of_people(1), Vec::new());
        let (mut places, _) = enter(&peers, "192.0.2.1", PER_PEER);
        assert!(places[0].become_known() && places[0].become_known());
        assert_eq!(enter(&peers, "192.0.2.1", 1).1, 1);
        assert!(!places[1].become_known(), "there is room for one");
        let mut beyond = peers.enter(ip("192.0.2.1")).0;
        drop(places.remove(0));
        assert!(beyond.become_known(), "also from the reserve");
    }

    #[test]
    fn g41_the_reserve_has_room_for_whoever_comes_last() {
        let peers = Peers::new(Bounds::of_probes(), Vec::new());
        let mut held: Vec<_> = (0..=RESERVE).map(|_| peers.enter(ip("192.0.2.1"))).collect();
        let lost = |hears: &mut Option<oneshot::Receiver<()>>| hears.as_mut().expect("in reserve").try_recv().is_ok();
        assert_eq!(held.iter_mut().map(|(_, hears)| lost(hears)).filter(|lost| *lost).count(), 1);
        assert_eq!(peers.books().reserve.len(), RESERVE);
        drop(held);
        assert_eq!(peers.books().reserve.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_were_sent_away_are_told_of_once_a_minute() {
        let peers = Peers::new(Bounds::of_people(1), Vec::new());
        assert_eq!(peers.refused(Instant::now()), Some(1));
        assert_eq!((peers.refused(Instant::now()), peers.refused(Instant::now())), (None, None));
        tokio::time::advance(TOLD_EVERY).await;
        assert_eq!(peers.refused(Instant::now()), Some(3));
    }
}
