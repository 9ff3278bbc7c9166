//! The daemon's parts from outside: over real sockets and as a real process. One binary, so that it links once.

#[path = "daemon/backend.rs"]
mod backend;
#[path = "daemon/commands.rs"]
mod commands;
#[path = "daemon/control.rs"]
mod control;
#[path = "daemon/http.rs"]
mod http;
