//! The log: to stderr, for people or for machines, as `[log]` says.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Begins to log. Only the first call counts; an embedder's own subscriber stays.
pub fn begin(log: &Log) {
    // The filter was tried when the configuration was read.
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = match log.format {
        // Whoever reads lines wants to know what happened, not in which file.
        LogFormat::Human => lines.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if begun.is_err() {
        tracing::debug!("a log was begun before");
    }
}
