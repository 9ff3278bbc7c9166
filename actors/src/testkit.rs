//! The other side, for tests.
//!
//! A [`world`] runs the real actors on a paused clock between [scripted](stage) platforms and agents and keeps a [`trace`]. The fake
//! servers stand on loopback, behave as the real ones are documented to, can be told to misbehave, and keep a journal; each lives on a thread
//! and a runtime of its own and is spoken to synchronously. Nothing real belongs into a world, and no world into a fake.

pub mod cuts;
pub mod fake_openai;
pub mod fake_telegram;
pub mod journal;
pub mod loopback;
pub mod stage;
pub mod trace;
pub mod world;
