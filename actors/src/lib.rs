//! The actor system of Switchboard.
pub mod agent;
pub mod clock;
mod exchange;
pub mod ids;
pub mod ledger;
pub mod platform;
pub mod settings;
pub mod shutdown;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod texts;
