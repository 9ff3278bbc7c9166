//! Lives in real time: threads, processes and memory are those of the system. What needs no more than an order of events is a world.

#[path = "lives/agents.rs"]
mod agents;
#[path = "lives/begun.rs"]
mod begun;
#[path = "lives/children.rs"]
mod children;
#[path = "lives/commits.rs"]
mod commits;
