//! Where the page is, as it may be told: an address with a code that opens once.

use std::io::IsTerminal;
use std::sync::Arc;

use super::enter;
use crate::config::{AdapterKind, Config};
use crate::http::access::Gate;
use crate::invocation;

/// Makes addresses of the page.
pub(super) struct Url {
    gate: Arc<Gate>,
    root: String,
    /// Whether lines that are typed at the terminal are for us: a console adapter takes them for itself.
    hears_enter: bool,
}

impl Url {
    pub(super) fn of(config: &Config, gate: Arc<Gate>) -> Self {
        let reachable = config.http.listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
        let console = config.adapters.values().any(|adapter| adapter.enabled && adapter.kind == AdapterKind::Console);
        Self { gate, root: format!("http://{reachable}"), hears_enter: !console && std::io::stdin().is_terminal() }
    }

    /// The page's address with a new code in its fragment, which a browser sends to nobody.
    pub(super) fn address(&self) -> String {
        format!("{}/#code={}", self.root, self.gate.new_code())
    }

    /// The code goes to a person's terminal, never into a log that is kept.
    pub(super) fn tell(self: &Arc<Self>) {
        if !std::io::stderr().is_terminal() {
            tracing::info!("web chat is open; `{}` prints its address", invocation::command("url"));
            return;
        }
        let more = if self.hears_enter { ", and Enter prints another" } else { "" };
        let words = format!(
            "\n  Chat: {}\n  It opens once, within 10 minutes{more}.\n  Ctrl-C stops the gateway; a second one hurries it.\n",
            self.address()
        );
        eprintln!("{words}");
        if self.hears_enter {
            let url = self.clone();
            if let Err(error) = enter::heard(move || eprintln!("  Chat: {}\n", url.address())) {
                tracing::warn!(%error, "Enter is not heard; `{}` prints an address as well", invocation::command("url"));
            }
        }
    }
}
