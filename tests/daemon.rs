//! The daemon's parts from outside: over real sockets and as a real process. One binary, so that it links once.

#[path = "daemon/answering.rs"]
mod answering;
#[path = "daemon/attacking.rs"]
mod attacking;
#[path = "daemon/backend.rs"]
mod backend;
#[path = "daemon/browser.rs"]
mod browser;
#[path = "daemon/clocks.rs"]
mod clocks;
#[path = "daemon/commands.rs"]
mod commands;
#[path = "daemon/control.rs"]
mod control;
#[path = "daemon/counterparts.rs"]
mod counterparts;
#[path = "daemon/crashing.rs"]
mod crashing;
#[path = "daemon/deploying.rs"]
mod deploying;
#[path = "daemon/disks.rs"]
mod disks;
#[path = "daemon/entering.rs"]
mod entering;
#[path = "daemon/fetching.rs"]
mod fetching;
#[path = "daemon/flooding.rs"]
mod flooding;
#[path = "daemon/fuzzing.rs"]
mod fuzzing;
#[path = "daemon/gateway.rs"]
mod gateway;
#[path = "daemon/hanging.rs"]
mod hanging;
#[path = "daemon/http.rs"]
mod http;
#[path = "daemon/installed.rs"]
mod installed;
#[path = "daemon/marking.rs"]
mod marking;
#[path = "daemon/notifying.rs"]
mod notifying;
#[path = "daemon/operating.rs"]
mod operating;
#[path = "daemon/page.rs"]
mod page;
#[path = "daemon/recording.rs"]
mod recording;
#[path = "daemon/releases.rs"]
mod releases;
#[path = "daemon/reloading.rs"]
mod reloading;
#[path = "daemon/restarting.rs"]
mod restarting;
#[path = "daemon/secrets.rs"]
mod secrets;
#[path = "daemon/soaking.rs"]
mod soaking;
#[path = "daemon/starting.rs"]
mod starting;
#[path = "daemon/stopping.rs"]
mod stopping;
#[path = "daemon/strangers.rs"]
mod strangers;
#[path = "daemon/systemd.rs"]
mod systemd;
#[path = "daemon/tracer.rs"]
mod tracer;
#[path = "daemon/updating.rs"]
mod updating;
