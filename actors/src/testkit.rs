//! The other side, for tests: servers on loopback that behave as the real ones are documented to, can be told to misbehave, and
//! keep a journal.
//!
//! Each server lives on a thread and a runtime of its own and is spoken to synchronously, so that it serves unit tests and tests of
//! the real binary alike. None belongs in a world with a paused clock.

pub mod fake_openai;
pub mod fake_telegram;
pub mod journal;
pub mod loopback;
