//! The program. What it can be told stands in `switchboard::cli`, what it does when it runs in `switchboard::run`.

use std::process::ExitCode;

use switchboard::cli::{Program, main as command_line};
use switchboard::release::Release;

fn main() -> ExitCode {
    // One TLS stack for everything that speaks HTTP; it can fail only when another was chosen before.
    _ = rustls::crypto::ring::default_provider().install_default();
    command_line(&Program {
        release: Release::THIS,
        run: switchboard::run::run,
        look: switchboard::upkeep::look,
        upkeep: switchboard::upkeep::upkeep,
    })
}
