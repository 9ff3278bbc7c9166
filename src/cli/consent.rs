//! Asks a person at the terminal before something is done that cannot be taken back.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Yes {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Yes {
    /// Whether it may be done. Nobody at a terminal means no.
    pub(super) fn agreed(&self, question: &str) -> bool {
        if self.yes {
            return true;
        }
        let mut terminal = std::io::stderr();
        if !std::io::stdin().is_terminal() {
            _ = writeln!(terminal, "{question} Nobody can be asked here; --yes says so beforehand");
            return false;
        }
        _ = write!(terminal, "{question} [y/N] ");
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}
