//! Where the page is, as it may be told.

use std::path::PathBuf;

use crate::config::Config;
use crate::state_dir::StateDir;
use crate::token::Token;

/// The page's address, and where its token is.
pub(super) struct Url {
    page: String,
    file: PathBuf,
}

impl Url {
    pub(super) fn of(config: &Config, token: &Token, state: &StateDir) -> Self {
        Self { page: token.page_url(&config.http.listen), file: state.token() }
    }

    /// The token goes to a person's terminal, never into a log that is kept.
    pub(super) fn tell(&self) {
        if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            eprintln!("\n  Chat: {}\n  Ctrl-C stops the gateway; a second one hurries it.\n", self.page);
        } else {
            tracing::info!(token = %self.file.display(), "web chat is open; `switchboard url` prints its address");
        }
    }
}
