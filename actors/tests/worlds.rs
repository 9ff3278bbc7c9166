//! Worlds: real actors, scripted edges, a paused clock, a trace compared as text.

#[path = "worlds/shutdown.rs"]
mod shutdown;
