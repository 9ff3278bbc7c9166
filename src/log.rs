//! The log: to stderr, for people or for machines, as `[log]` says. Its level can change while it is written.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// The level of a log.
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Logs at this level from now on.
    pub fn set(&self, level: &str) {
        _ = self.0.reload(filter(level)); // a log that is not ours has no level of ours
    }
}

/// Begins to log. Only the first call counts; an embedder's own subscriber stays.
pub fn begin(log: &Log) -> Level {
    let (filter, level) = reload::Layer::new(filter(&log.level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        // Whoever reads lines wants to know what happened, not in which file.
        LogFormat::Human => lines.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_err() {
        tracing::debug!("a log was begun before");
    }
    Level(level)
}

/// It was tried when the configuration was read.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(level)
}
