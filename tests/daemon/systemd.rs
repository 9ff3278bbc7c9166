//! Under a real service manager: systemd boots as PID 1 of namespaces of its own ([`machine`]) and runs the gateway as `switchboard service
//! install` sets it up ([`host`]).
//!
//! Where such namespaces are not allowed these tests say so in one line and do nothing; `SWITCHBOARD_REQUIRE_ALL=1` makes that a failure.

#[path = "systemd/attacking.rs"]
mod attacking;
#[path = "systemd/host.rs"]
mod host;
#[path = "systemd/installing.rs"]
mod installing;
#[path = "systemd/machine.rs"]
mod machine;
#[path = "systemd/reloading.rs"]
mod reloading;
#[path = "systemd/restarting.rs"]
mod restarting;
#[path = "systemd/serving.rs"]
mod serving;
#[path = "systemd/sockets.rs"]
mod sockets;
#[path = "systemd/stopping.rs"]
mod stopping;
#[path = "systemd/updating.rs"]
mod updating;
