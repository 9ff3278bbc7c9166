//! The actor system of Switchboard.
pub mod agent;
pub mod clock;
pub mod ids;
pub mod ledger;
pub mod platform;
pub mod settings;
pub mod shutdown;
pub mod supervision;
pub mod texts;
