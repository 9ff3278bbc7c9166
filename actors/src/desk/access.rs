//! Who may speak, and who may command.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::{AdapterName, UserId};
use crate::live::Live;
use crate::settings::Access;

/// The doors of every adapter. An adapter without one admits nobody. Clones are the same doors.
#[derive(Clone, Debug)]
pub struct Doors {
    doors: Arc<Live<HashMap<AdapterName, Door>>>,
    /// Let in by a pairing code.
    paired: Arc<Mutex<HashSet<(AdapterName, UserId)>>>,
}

#[derive(Clone, Debug)]
struct Door {
    open: bool,
    allowed: HashSet<UserId>,
    admins: HashSet<UserId>,
    pairing: bool,
}

impl Doors {
    /// As configured, per adapter.
    pub fn new(access: impl IntoIterator<Item = (AdapterName, Access)>) -> Self {
        Self { doors: Arc::new(Live::new(Arc::new(hung(access).collect()))), paired: Arc::default() }
    }

    /// From now on these adapters have these doors. One that is not named keeps its own: nobody comes through it any more, but what is on its way
    /// behind it still counts.
    pub fn hang(&self, access: impl IntoIterator<Item = (AdapterName, Access)>) {
        let mut doors = HashMap::clone(&self.doors.now());
        doors.extend(hung(access));
        self.doors.replace(Arc::new(doors));
    }

    /// Whether this person may speak there. An administrator may.
    pub fn admits(&self, adapter: &AdapterName, user: &UserId) -> bool {
        let doors = self.doors.now();
        let Some(door) = doors.get(adapter) else { return false };
        door.open || door.allowed.contains(user) || door.admins.contains(user) || self.paired().contains(&(adapter.clone(), user.clone()))
    }

    /// Whether this person may use the commands of administrators.
    pub fn commands(&self, adapter: &AdapterName, user: &UserId) -> bool {
        self.doors.now().get(adapter).is_some_and(|door| door.admins.contains(user))
    }

    /// Whether strangers are told a code there.
    pub fn pairs(&self, adapter: &AdapterName) -> bool {
        self.doors.now().get(adapter).is_some_and(|door| door.pairing)
    }

    /// Lets somebody in.
    pub fn let_in(&self, adapter: AdapterName, user: UserId) {
        self.paired().insert((adapter, user));
    }

    /// Lets somebody in no longer, as far as a code had let them in.
    pub fn shut_out(&self, adapter: &AdapterName, user: &UserId) {
        self.paired().remove(&(adapter.clone(), user.clone()));
    }

    /// A set is whole, whoever panicked with it in hand.
    fn paired(&self) -> MutexGuard<'_, HashSet<(AdapterName, UserId)>> {
        self.paired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Doors as configured.
fn hung(access: impl IntoIterator<Item = (AdapterName, Access)>) -> impl Iterator<Item = (AdapterName, Door)> {
    access.into_iter().map(|(adapter, access)| {
        let of_this = |list: &[String]| list.iter().filter_map(|entry| person_on(entry, &adapter)).collect();
        let door = Door {
            open: access.allow.iter().any(|entry| entry == "*"),
            allowed: of_this(&access.allow),
            admins: of_this(&access.admins),
            pairing: access.pairing,
        };
        (adapter, door)
    })
}

/// The person of an entry `adapter:user`, if it is about this adapter.
fn person_on(entry: &str, adapter: &AdapterName) -> Option<UserId> {
    entry.split_once(':').filter(|(name, _)| *name == adapter.as_str()).map(|(_, user)| UserId::new(user))
}
