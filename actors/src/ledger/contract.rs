//! What every engine must keep, as small named cases.
//!
//! An engine's tests call [`check_all`] with a way to make an empty ledger. The cases speak in steps and questions alone and know
//! nothing of any engine. Random lives that compare whole engines stand in `tests/ledger_engines.rs`.

mod approvals;
mod intake;
mod post;
mod script;
mod turns;
mod upkeep;

pub use script::Script;

use super::Ledger;

/// One case, by its name.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What must hold.
    pub name: &'static str,
    /// Plays it on an empty ledger; panics when it does not hold.
    pub play: fn(&mut Script),
}

/// Every case.
pub fn cases() -> Vec<Case> {
    [intake::CASES, turns::CASES, approvals::CASES, post::CASES, upkeep::CASES].concat()
}

/// Plays every case, each on a ledger of its own.
///
/// # Panics
/// When a case does not hold; its name is printed with the panic.
pub fn check_all(fresh: &mut dyn FnMut() -> Box<dyn Ledger>) {
    for case in cases() {
        let mut script = Script::new(case.name, fresh());
        (case.play)(&mut script);
    }
}

#[cfg(test)]
mod tests {
    use super::check_all;
    use crate::ledger::memory::MemoryLedger;
    use crate::ledger::sqlite::SqliteLedger;

    #[test]
    fn memory_keeps_the_contract() {
        check_all(&mut || Box::new(MemoryLedger::new()));
    }

    #[test]
    fn sqlite_keeps_the_contract() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut count = 0;
        check_all(&mut || {
            count += 1;
            Box::new(SqliteLedger::open(directory.path().join(format!("{count}.sqlite3"))).expect("a new ledger opens"))
        });
    }
}
