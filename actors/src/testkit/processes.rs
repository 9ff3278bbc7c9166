//! The child processes of agents, in a world in which nothing is real: they outlive every life, as processes do whose gateway was killed, until
//! somebody ends them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::children::Child;
use crate::ids::{SessionKey, TurnId};

/// All processes. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    spawned: u32,
    /// Who lives, and for which turn it works once it was given something to do.
    living: BTreeMap<Child, Option<(SessionKey, TurnId)>>,
}

impl Processes {
    /// A process that waits to be given something to do. Should its agent go before, it ends by itself and has done nothing.
    pub fn spawn(&self) -> Child {
        let mut table = self.table();
        table.spawned += 1;
        let child = Child { group: 1000 + table.spawned, started: u64::from(table.spawned), boot: "world".into() };
        table.living.insert(child.clone(), None);
        child
    }

    /// It works for this turn from now on, unless it was ended before.
    pub fn set_to_work(&self, child: &Child, session: &SessionKey, turn: TurnId) {
        if let Some(works) = self.table().living.get_mut(child) {
            *works = Some((session.clone(), turn));
        }
    }

    /// Whoever works, and for which turn.
    pub fn at_work(&self) -> Vec<(Child, SessionKey, TurnId)> {
        let table = self.table();
        let at_work = table.living.iter().filter_map(|(child, works)| Some((child, works.as_ref()?)));
        at_work.map(|(child, (session, turn))| (child.clone(), session.clone(), *turn)).collect()
    }

    /// Ends one, if it lives.
    pub fn end(&self, child: &Child) {
        self.table().living.remove(child);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
