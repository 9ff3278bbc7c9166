//! A ledger in memory: for trying things out, for worlds, and as the model that every other engine is compared with.
//!
//! It says in plain maps what the steps mean. Nothing survives the process, but a "crash" within one can be played: handles
//! share their books, so a harness drops one handle and goes on with another on what was committed.

mod answers;
mod books;
mod rows;
mod upkeep;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::books::Books;
use super::{Done, Fault, Knowledge, Ledger, Question, Step};

/// A ledger in memory. Clones share one set of books.
#[derive(Clone, Debug, Default)]
pub struct MemoryLedger {
    books: Arc<Mutex<Books>>,
}

impl MemoryLedger {
    /// An empty ledger with an id of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another handle on the same books: what a new process would find after this one was killed.
    pub fn shared(&self) -> Self {
        self.clone()
    }

    /// No step panics halfway, so books behind a poisoned lock are whole.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    fn commit(&mut self, steps: &[Step]) -> Result<Vec<Done>, Fault> {
        let mut books = self.books();
        Ok(steps.iter().map(|step| books.apply(step)).collect())
    }

    fn ask(&mut self, question: &Question) -> Result<Knowledge, Fault> {
        Ok(self.books().answer(question))
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}
