//! The log: to stderr, for people or for machines, as `[log]` says. Its level can change while it is written. Whatever stands in a field, it is one
//! line, and commands no terminal.

use std::io::{self, Write};

use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};
use switchboard_actors::escape;

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
    let lines = match log.format {
        LogFormat::Human => {
            let fields = debug_fn(|out, field, value| write_field(out, field.name(), value)).delimited(" ");
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            // Whoever reads lines wants to know what happened, not in which file.
            fmt::layer().fmt_fields(fields).with_writer(io::stderr).with_target(false).with_ansi(colours).boxed()
        }
        LogFormat::Json => fmt::layer().with_writer(|| JsonLines(io::stderr())).json().flatten_event(true).boxed(),
    };
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_err() {
        tracing::debug!("a log was begun before");
    }
    Level(level)
}

/// One field of an event, its message among them.
fn write_field(out: &mut Writer<'_>, name: &str, value: &dyn std::fmt::Debug) -> std::fmt::Result {
    let value = escape::one_line(&format!("{value:?}"));
    match name {
        "message" => out.write_str(&value),
        name if out.has_ansi_escapes() => write!(out, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        name => write!(out, "{name}={value}"),
    }
}

/// Lines of JSON, each written at once.
struct JsonLines<W>(W);

impl<W: Write> Write for JsonLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(escape::json(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// It was tried when the configuration was read.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(level)
}
