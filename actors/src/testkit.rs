//! The other side, for tests.
//!
//! A [`world`] runs the real actors on a paused clock between [scripted platforms](stage), a [scripted agent](worker) and a [ledger that
//! can fall ill](frail) or [be watched](watched), and keeps a [`trace`]; its [processes] outlive it, and a [tripwire] lets handlers panic. Where a real clock runs, an [instant] platform takes no time of it. The fake
//! servers stand on loopback, behave as the real ones are documented to, can be told to misbehave, and keep a journal; each lives on a thread
//! and a runtime of its own and is spoken to synchronously. Nothing real belongs into a world, and no world into a fake. What comes from
//! outside as text can be [fuzzed](fuzz).

pub mod cuts;
pub mod fake_openai;
pub mod fake_telegram;
pub mod frail;
pub mod fuzz;
pub mod instant;
pub mod journal;
pub mod loopback;
pub mod processes;
pub mod stage;
pub mod trace;
pub mod tripwire;
pub mod watched;
pub mod worker;
pub mod world;
