//! A ledger that can fall ill, for worlds: whatever it keeps its books in stays whole, as a disk does that refuses to write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ledger::{Done, Fault, Knowledge, Ledger, Question, Step};

/// How a ledger is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It works.
    #[default]
    Well,
    /// Nothing is written, and it says so: a full disk.
    Full,
    /// The next commit is written, and nobody can tell; then it is well.
    Mumbling,
    /// The next commit is not written, and nobody can tell; then it is well.
    Forgetful,
    /// The next commit panics before anything is written; then it is well.
    Falling,
    /// A commit is unknown, and nothing can be read back.
    Gone,
    /// What is open cannot be read the next time that somebody asks; then it is well.
    Unread,
}

/// A ledger that can fall ill.
pub struct Frail {
    engine: Box<dyn Ledger>,
    condition: Condition,
}

/// How it is, and the way to change that. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Condition(Arc<Mutex<Health>>, Arc<AtomicU64>);

impl Condition {
    /// How it is from now on.
    pub fn set(&self, health: Health) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// So many bytes are in use from now on.
    pub fn use_bytes(&self, bytes: u64) {
        self.1.store(bytes, Ordering::Relaxed);
    }

    /// How it is; what happens only once is over with it.
    fn spend(&self) -> Health {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *health {
            Health::Well | Health::Full | Health::Gone | Health::Unread => *health,
            Health::Mumbling | Health::Forgetful | Health::Falling => std::mem::take(&mut *health),
        }
    }

    pub(super) fn is(&self, health: Health) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == health
    }
}

impl Frail {
    /// An engine in this condition.
    pub fn new(engine: impl Ledger, condition: &Condition) -> Self {
        Self { engine: Box::new(engine), condition: condition.clone() }
    }
}

impl Ledger for Frail {
    fn commit(&mut self, steps: &[Step]) -> Result<Vec<Done>, Fault> {
        match self.condition.spend() {
            Health::Well | Health::Unread => self.engine.commit(steps),
            Health::Full => Err(Fault::NotCommitted("the disk is full".into())),
            Health::Mumbling => {
                self.engine.commit(steps)?;
                Err(Fault::Unknown("the disk said nothing".into()))
            }
            Health::Forgetful | Health::Gone => Err(Fault::Unknown("the disk said nothing".into())),
            Health::Falling => panic!("the engine fell"),
        }
    }

    fn ask(&mut self, question: &Question) -> Result<Knowledge, Fault> {
        if *question == Question::Open && self.condition.is(Health::Unread) {
            self.condition.set(Health::Well);
            return Err(Fault::NotCommitted("it cannot be read".into()));
        }
        self.engine.ask(question)
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        if self.condition.is(Health::Gone) { Err(Fault::Unknown("the disk is gone".into())) } else { self.engine.reopen() }
    }

    fn prove(&mut self) -> Result<(), Fault> {
        if self.condition.is(Health::Full) { Err(Fault::NotCommitted("the disk is full".into())) } else { self.engine.prove() }
    }

    fn used(&mut self) -> Result<u64, Fault> {
        Ok(self.engine.used()?.max(self.condition.1.load(Ordering::Relaxed)))
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.engine.close()
    }
}
