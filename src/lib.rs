//! The daemon around the actors: flags, configuration, signals, HTTP, control socket, exit code.
//!
//! A library only so that its tests can drive each part; `main.rs` is the program, and what to embed is
//! `switchboard_actors`.

pub mod account;
pub mod activation;
pub mod caller;
pub mod child;
pub mod cli;
pub mod config;
pub mod control;
pub mod cookie_key;
pub mod durable;
pub mod exit;
pub mod false_starts;
pub mod handover;
pub mod history;
pub mod http;
pub mod install;
pub mod invocation;
pub mod keys;
pub mod lock;
pub mod log;
pub mod loopback;
pub mod orphans;
pub mod release;
pub mod reload;
pub mod restart;
pub mod run;
pub mod scribe;
pub mod service;
pub mod signals;
pub mod state_dir;
pub mod token;
pub mod trial;
pub mod unit;
pub mod update;
pub mod upkeep;
pub mod utc;
pub mod watchdog;
