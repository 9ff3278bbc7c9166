//! How many pages watch at the same time: in all, and of one browser, so that one of them cannot take the places of everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchboard_actors::ids::RoomId;

/// The places.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Places>);

#[derive(Debug)]
struct Places {
    in_all: u32,
    of_one: u32,
    taken: Mutex<HashMap<RoomId, u32>>,
}

/// There is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// For anybody.
    #[error("too many pages watch")]
    InAll,
    /// For this browser.
    #[error("too many pages of this browser watch; close some")]
    OfOne,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub struct Place {
    streams: Streams,
    room: RoomId,
}

impl Streams {
    /// So many places, of which one room has at most so many.
    pub fn new(in_all: u32, of_one: u32) -> Self {
        Self(Arc::new(Places { in_all, of_one, taken: Mutex::default() }))
    }

    /// How many there are.
    pub fn in_all(&self) -> usize {
        self.0.in_all as usize
    }

    /// Takes a place for a page of this room.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&self, room: &RoomId) -> Result<Place, Full> {
        let mut taken = self.taken();
        let of_one = taken.get(room).copied().unwrap_or(0);
        if of_one >= self.0.of_one {
            return Err(Full::OfOne);
        }
        if taken.values().sum::<u32>() >= self.0.in_all {
            return Err(Full::InAll);
        }
        taken.insert(room.clone(), of_one + 1);
        Ok(Place { streams: self.clone(), room: room.clone() })
    }

    /// The map is whole after every statement that holds the lock, so a panic elsewhere spoils nothing.
    fn taken(&self) -> MutexGuard<'_, HashMap<RoomId, u32>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.streams.taken();
        match taken.get_mut(&self.room) {
            Some(of_one) if *of_one > 1 => *of_one -= 1,
            _ => _ = taken.remove(&self.room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g41_one_browser_leaves_places_for_others() {
        let streams = Streams::new(4, 2);
        let [ann, bob, eve] = ["ann", "bob", "eve"].map(RoomId::new);
        let take = |room: &RoomId| streams.take(room);
        let (first, second) = (take(&ann).expect("free"), take(&ann).expect("free"));
        assert_eq!(take(&ann).err(), Some(Full::OfOne));
        let (_third, _fourth) = (take(&bob).expect("free"), take(&eve).expect("free"));
        assert_eq!((take(&bob).err(), take(&ann).err()), (Some(Full::InAll), Some(Full::OfOne)));
        drop(first);
        let again = take(&ann).expect("free again");
        drop((second, again));
        assert_eq!(streams.taken().len(), 2, "who is gone is forgotten");
    }
}
