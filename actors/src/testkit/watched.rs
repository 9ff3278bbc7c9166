//! A ledger that tells somebody what is committed, and together with what: whoever counts commits counts fsyncs.

use crate::ledger::{Done, Fault, Knowledge, Ledger, Question, Step};

/// Called with the steps of a commit and what came of them, on the ledger's own thread, before anybody else knows.
type Watch = Box<dyn FnMut(&[Step], &[Done]) + Send>;

/// An engine that is watched.
pub struct WatchedLedger {
    engine: Box<dyn Ledger>,
    watch: Watch,
}

impl WatchedLedger {
    /// Watches `engine`: every commit that succeeds is told.
    pub fn new(engine: impl Ledger + 'static, watch: impl FnMut(&[Step], &[Done]) + Send + 'static) -> Self {
        Self { engine: Box::new(engine), watch: Box::new(watch) }
    }
}

impl Ledger for WatchedLedger {
    fn commit(&mut self, steps: &[Step]) -> Result<Vec<Done>, Fault> {
        let done = self.engine.commit(steps)?;
        (self.watch)(steps, &done);
        Ok(done)
    }

    fn ask(&mut self, question: &Question) -> Result<Knowledge, Fault> {
        self.engine.ask(question)
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        self.engine.reopen()
    }

    fn used(&mut self) -> Result<u64, Fault> {
        self.engine.used()
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.engine.close()
    }
}
