//! The actor system of Switchboard.
pub mod adapter;
pub mod agent;
pub mod children;
pub mod clock;
pub mod desk;
pub mod escape;
mod exchange;
pub mod ids;
pub mod last_words;
pub mod ledger;
pub mod live;
pub mod marker;
pub mod open_files;
pub mod platform;
pub mod protocol;
pub mod session;
pub mod settings;
pub mod shutdown;
pub mod supervision;
pub mod supervisor;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod texts;
