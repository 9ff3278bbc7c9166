//! What this program is, as far as those who run, check or update it must know.

use switchboard_actors::ledger::sqlite::{MIGRATIONS, Migration};

/// A version of the program and what it makes of a ledger.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Which.
    pub version: &'static str,
    /// How it brings a ledger up to date.
    pub migrations: &'static [Migration],
}

impl Release {
    /// This one.
    pub const THIS: Self = Self { version: env!("CARGO_PKG_VERSION"), migrations: MIGRATIONS };

    /// The version, and what it does to ledgers.
    pub fn in_full(&self) -> String {
        let (schema, oldest_reader) = self.schema();
        format!("{} (ledger schema {schema}, oldest reader {oldest_reader})", self.version)
    }

    /// The schema of a ledger that it has opened, and the oldest schema whose programs can still read that.
    pub fn schema(&self) -> (u32, u32) {
        self.migrations.last().map_or((0, 0), |newest| (newest.number, newest.oldest_reader))
    }
}
