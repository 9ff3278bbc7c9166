//! A ledger whose process may lose its power right before and right after each commit, or whose disk may be full.

use super::{Event, Knife};
use crate::ledger::{Done, Fault, Knowledge, Ledger, Question, Step};

/// An engine with a knife.
pub(in crate::testkit) struct CuttingLedger {
    engine: Box<dyn Ledger>,
    knife: Knife,
}

impl CuttingLedger {
    pub(in crate::testkit) fn new(engine: Box<dyn Ledger>, knife: Knife) -> Self {
        Self { engine, knife }
    }

    fn alive(&self) -> Result<(), Fault> {
        if self.knife.has_fallen() { Err(off()) } else { Ok(()) }
    }
}

/// Nobody reads this: the process that asked is gone.
fn off() -> Fault {
    Fault::NotCommitted("the power is off".into())
}

/// What a commit is about, for the name of its point: `accept+start`.
fn names(steps: &[Step]) -> String {
    let name = |step: &Step| {
        let debug = format!("{step:?}");
        debug.chars().take_while(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
    };
    steps.iter().map(name).collect::<Vec<_>>().join("+")
}

impl Ledger for CuttingLedger {
    fn commit(&mut self, steps: &[Step]) -> Result<Vec<Done>, Fault> {
        if !self.knife.pass(|| format!("before the commit of {}", names(steps))) {
            return Err(off());
        }
        let done = self.engine.commit(steps)?;
        for (step, done) in steps.iter().zip(&done) {
            self.knife.note(Event::Committed(step.clone(), done.clone()));
        }
        if self.knife.pass(|| format!("after the commit of {}", names(steps))) { Ok(done) } else { Err(off()) }
    }

    fn ask(&mut self, question: &Question) -> Result<Knowledge, Fault> {
        self.alive()?;
        self.engine.ask(question)
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        self.alive()?;
        self.engine.reopen()
    }

    fn used(&mut self) -> Result<u64, Fault> {
        self.engine.used()
    }

    fn close(&mut self) -> Result<(), Fault> {
        // By now the marker stands, if it ever will.
        if !self.knife.pass(|| "before the ledger closes".into()) {
            return Err(off());
        }
        self.engine.close()
    }
}
