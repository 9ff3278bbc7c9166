//! The program. What it does stands in `switchboard::cli`.

use std::process::ExitCode;

use switchboard::cli::{Program, main as command_line};
use switchboard::exit::Exit;

fn main() -> ExitCode {
    command_line(&Program {
        run: |config, _| {
            eprintln!("the actor system is not wired to {} yet", config.http.listen);
            Exit::GaveUp
        },
        look: |_| Ok(Vec::new()),
    })
}
