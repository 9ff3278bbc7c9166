//! The fixed sections: those of the actor system and those of the daemon. Their keys, types and defaults are those of
//! `config/default.toml`; the types' own words and the bounds beyond them stand here.
//!
//! Every key is tried by itself in place of its default, so that each fault is found, not only the first of a section.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use switchboard_actors::settings::{DEFAULTS, Settings, span};

use super::fault::{Fault, did_you_mean};
use super::layers::{Merged, OPEN};
use super::network::Network;

/// Values that may be zero and mean something then.
const MAY_BE_ZERO: [&str; 8] = [
    "ledger.max_bytes",
    "shutdown.manager_limit",
    "session.draft_every",
    "session.history",
    "recovery.crash_loop.starts",
    "supervision.restarts",
    "runs.max_abandoned",
    "http.replay",
];
/// Telegram offers an update again for a day; a key that is forgotten earlier lets a duplicate through.
const LEAST_KEEP: Duration = Duration::from_secs(24 * 3600);
/// More than a platform ever sends at once, and little enough to hold a backlog of.
const MOST_MESSAGE_BYTES: u32 = 16 << 20;

/// What only the daemon is told.
#[derive(Clone, Debug, Deserialize)]
pub struct Daemon {
    /// As written; empty: to be found.
    pub state_dir: PathBuf,
    /// Web chat and probes.
    pub http: Http,
    /// What is logged, and how.
    pub log: Log,
    /// The control socket.
    pub control: Control,
    /// How a restart is done.
    pub restart: Restart,
    /// Where other versions come from.
    pub update: Update,
}

/// Web chat and probes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Http {
    /// Host and port to listen on.
    pub listen: String,
    /// Host and port on which probes are answered instead; empty: on those of `listen`.
    pub probes: String,
    /// Further Host names under which browsers may reach it.
    pub hosts: Vec<String>,
    /// From where many people come over one address: the bound on a stranger's connections does not hold there.
    pub proxies: Vec<Network>,
    /// Pages that watch at the same time at most.
    pub streams: u32,
    /// Of them, pages of one browser at most.
    pub browser_streams: u32,
    /// Browsers that are let in anew in a minute at most.
    pub browsers_per_minute: u32,
    /// Bytes that pages may say in a minute, all together.
    pub bytes_per_minute: u64,
    /// Bytes that one browser may say in a minute.
    pub browser_bytes_per_minute: u64,
    /// Messages from pages that wait to be taken in at most.
    pub waiting: u32,
    /// A page hears within this time whether its message is stored.
    #[serde(with = "span")]
    pub accept_limit: Duration,
    /// How often every page is sent a sign of life.
    #[serde(with = "span")]
    pub heartbeat: Duration,
    /// Lines of the conversation that a page is shown when it opens.
    pub replay: u32,
    /// Lines that were said while a page was away, which it is shown when it comes back, at most.
    pub missed: u32,
}

impl Http {
    /// The host of `listen`, without brackets.
    pub fn host(&self) -> &str {
        let host = self.listen.rsplit_once(':').map_or(&*self.listen, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port of `listen`.
    pub fn port(&self) -> Option<u16> {
        port(&self.listen)
    }

    /// Listening everywhere without a name means that no browser elsewhere can get in.
    pub(super) fn warning(&self) -> Option<String> {
        let everywhere = matches!(self.host(), "0.0.0.0" | "::");
        (everywhere && self.hosts.is_empty()).then(|| {
            "http.hosts is empty: the page listens on every address, but only this machine may open it. Name the host that browsers use"
                .into()
        })
    }
}

fn port(listen: &str) -> Option<u16> {
    listen.rsplit_once(':')?.1.parse().ok()
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// A level, or a filter of `tracing-subscriber`.
    pub level: String,
}

/// For people or for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines to read.
    Human,
    /// One JSON object a line.
    Json,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Control {
    /// Where it is.
    pub socket: PathBuf,
    /// Clients at the same time at most.
    pub connections: u32,
    /// A request must arrive, and its answer be made, within this time.
    #[serde(with = "span")]
    pub limit: Duration,
}

/// How a restart is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Restart {
    /// By whom.
    pub mode: RestartMode,
    /// How long a new instance must stay ready before a restart counts as done.
    #[serde(with = "span")]
    pub dwell: Duration,
    /// How long a new instance may take to be ready, before `switchboard restart` calls that a failure.
    #[serde(with = "span")]
    pub start_limit: Duration,
}

impl Restart {
    /// As it is without a configuration file.
    ///
    /// # Panics
    /// Never: the defaults are compiled in, and a test reads them.
    pub fn defaults() -> Self {
        let table: toml::Table = toml::from_str(DEFAULTS).expect("config/default.toml is TOML; a test reads it");
        table["restart"].clone().try_into().expect("config/default.toml is complete; a test reads it")
    }
}

/// Where other versions come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Update {
    /// An address or a directory; empty: none.
    pub source: String,
    /// The minisign key of whoever makes the releases; empty: none.
    pub public_key: String,
    /// The key that is to take its place; empty: none.
    pub next_public_key: String,
}

/// By whom a restart is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartMode {
    /// By the service manager under one, else by ourselves.
    Auto,
    /// By whoever started us: exit 75.
    Exit,
    /// By ourselves: the new image in place.
    Exec,
}

/// Reads the fixed sections. Nothing when one of them cannot be; the faults say why.
pub(super) fn read(merged: &Merged, faults: &mut Vec<Fault>) -> Option<(Settings, Daemon)> {
    let before = faults.len();
    unknown_keys(&merged.table, &merged.defaults, "", merged, faults);
    for (section, value) in &merged.table {
        match value {
            _ if OPEN.contains(&section.as_str()) || section == "kinds" => {}
            toml::Value::Table(table) => table.iter().for_each(|(key, value)| try_alone(section, Some(key), value, merged, faults)),
            value => try_alone(section, None, value, merged, faults),
        }
    }
    if faults.len() > before {
        return None;
    }
    let whole = toml::Value::Table(merged.table.clone());
    let settings = whole.clone().try_into::<Settings>();
    let daemon = whole.try_into::<Daemon>();
    match (settings, daemon) {
        (Ok(settings), Ok(daemon)) => {
            bounds(&settings, &daemon, merged, faults);
            Some((settings, daemon))
        }
        (settings, daemon) => {
            let errors = [settings.err(), daemon.err()];
            faults.extend(
                errors.into_iter().flatten().map(|error| Fault::new(merged.origin(""), "", error.message().to_owned(), "Correct it")),
            );
            None
        }
    }
}

/// Refuses every key that the defaults do not have.
fn unknown_keys(table: &toml::Table, known: &toml::Table, path: &str, merged: &Merged, faults: &mut Vec<Fault>) {
    for (name, value) in table {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (value, known.get(name)) {
            (_, None) => {
                let remedy = did_you_mean(name, known.keys().map(String::as_str));
                faults.push(Fault::new(merged.origin(&key), key, "is unknown", remedy));
            }
            (_, Some(_)) if path.is_empty() && OPEN.contains(&name.as_str()) => {}
            (toml::Value::Table(inner), Some(toml::Value::Table(known))) => unknown_keys(inner, known, &key, merged, faults),
            (_, Some(toml::Value::Table(_))) => {
                faults.push(Fault::new(merged.origin(&key), key.clone(), "is not a table", format!("Write [{key}] with its keys below")));
            }
            _ => {}
        }
    }
}

/// Puts one value in the place of its default, and reports what the types say and whether it may be zero.
fn try_alone(section: &str, key: Option<&str>, value: &toml::Value, merged: &Merged, faults: &mut Vec<Fault>) {
    let mut table = merged.defaults.clone();
    let place = match (key, table.get_mut(section)) {
        (Some(key), Some(toml::Value::Table(inner))) => inner.get_mut(key),
        (None, place) => place,
        _ => None,
    };
    let Some(place) = place else { return }; // unknown: reported already
    if place.is_table() != value.is_table() {
        return;
    }
    *place = value.clone();
    let name = key.map_or_else(|| section.to_owned(), |key| format!("{section}.{key}"));
    let whole = toml::Value::Table(table);
    let error = whole.clone().try_into::<Settings>().err().or_else(|| whole.try_into::<Daemon>().err());
    if let Some(error) = error {
        let wrong = format!("cannot be {} ({})", shown(value), error.message().trim().replace('\n', ", "));
        faults.push(Fault::new(merged.origin(&name), name, wrong, remedy(section)));
        return;
    }
    zeros(&name, value, merged, faults);
}

/// Refuses times and numbers of zero where they would mean "never" or "nothing at all".
fn zeros(name: &str, value: &toml::Value, merged: &Merged, faults: &mut Vec<Fault>) {
    let zero = match value {
        toml::Value::Integer(number) => *number == 0,
        toml::Value::String(text) => humantime::parse_duration(text).is_ok_and(|span| span.is_zero()),
        toml::Value::Table(inner) => {
            return inner.iter().for_each(|(key, value)| zeros(&format!("{name}.{key}"), value, merged, faults));
        }
        _ => false,
    };
    // "0" is a duration for humantime and a text for everybody else.
    let is_text =
        name.starts_with("texts.") || matches!(name, "state_dir" | "control.socket" | "http.listen" | "http.probes" | "log.level");
    if zero && !is_text && !MAY_BE_ZERO.contains(&name) {
        faults.push(Fault::new(merged.origin(name), name, "is zero", "Write more than nothing, or leave it out for the default"));
    }
}

/// What the types do not say.
fn bounds(settings: &Settings, daemon: &Daemon, merged: &Merged, faults: &mut Vec<Fault>) {
    let mut refuse = |key: &str, wrong: String, remedy: &str| faults.push(Fault::new(merged.origin(key), key, wrong, remedy));
    if settings.ledger.keep < LEAST_KEEP {
        refuse(
            "ledger.keep",
            "is shorter than 24h, so that a message offered again would be answered twice".into(),
            "Write at least \"24h\"",
        );
    }
    if settings.session.message_bytes > MOST_MESSAGE_BYTES {
        refuse("session.message_bytes", "is above 16777216 (16 MiB)".into(), "Write less");
    }
    let pairs = [
        ("outbox.retry_first", settings.outbox.retry_first, "outbox.retry_most", settings.outbox.retry_most),
        ("connection.retry_first", settings.connection.retry_first, "connection.retry_most", settings.connection.retry_most),
        ("supervision.backoff_first", settings.supervision.backoff_first, "supervision.backoff_most", settings.supervision.backoff_most),
        ("ledger.retry_first", settings.ledger.retry_first, "ledger.retry_most", settings.ledger.retry_most),
        ("session.turn_idle", settings.session.turn_idle, "session.turn_limit", settings.session.turn_limit),
    ];
    for (key, low, most, high) in pairs {
        if low > high {
            refuse(key, format!("is longer than {most}"), "Shorten it, or lengthen the other");
        }
    }
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&daemon.log.level) {
        refuse(
            "log.level",
            format!("{:?} is not a filter ({error})", daemon.log.level),
            "Write for example \"info\" or \"info,switchboard_actors=debug\"",
        );
    }
    places(daemon, merged, faults);
    people("access.allow", &settings.access.allow, true, merged, faults);
    people("access.admins", &settings.access.admins, false, merged, faults);
}

/// Paths, addresses and names of hosts.
fn places(daemon: &Daemon, merged: &Merged, faults: &mut Vec<Fault>) {
    let mut refuse = |key: &str, wrong: String, remedy: &str| faults.push(Fault::new(merged.origin(key), key, wrong, remedy));
    for (key, path) in [("state_dir", &daemon.state_dir), ("control.socket", &daemon.control.socket)] {
        if !path.as_os_str().is_empty() && !path.is_absolute() {
            refuse(key, format!("{path:?} depends on where a command is started"), "Write the whole path, beginning with /");
        }
    }
    let port = daemon.http.port();
    if daemon.http.host().is_empty() || daemon.http.host().contains(char::is_whitespace) || port.is_none() {
        refuse("http.listen", format!("{:?} is not host:port", daemon.http.listen), "Write for example \"127.0.0.1:7878\"");
    }
    let probes = &daemon.http.probes;
    if !probes.is_empty() && (probes.starts_with(':') || probes.contains(char::is_whitespace) || self::port(probes).is_none()) {
        refuse("http.probes", format!("{probes:?} is not host:port"), "Write for example \"0.0.0.0:7879\", or \"\" for http.listen's own");
    } else if probes == &daemon.http.listen {
        refuse("http.probes", "is the address of http.listen".into(), "Write \"\" to have probes answered there, or another address");
    }
    for host in &daemon.http.hosts {
        if host.is_empty() || host.contains(['/', ' ', '@', '*']) {
            refuse(
                "http.hosts",
                format!("{host:?} is not a host name"),
                "Write the name alone, as in \"chat.example.org\", with :port if it has one",
            );
        }
    }
}

/// Refuses entries that are not `adapter:user` of an adapter that exists.
pub(super) fn people(key: &str, entries: &[String], everybody: bool, merged: &Merged, faults: &mut Vec<Fault>) {
    let none = toml::Table::new();
    let adapters = merged.section("adapters").unwrap_or(&none);
    let mut refuse = |wrong: String, remedy: String| faults.push(Fault::new(merged.origin(key), key, wrong, remedy));
    for entry in entries {
        match entry.split_once(':') {
            None if entry == "*" && everybody => {}
            None if entry == "*" => refuse("\"*\" would make everybody an administrator".into(), "Name people, as \"adapter:user\"".into()),
            Some((adapter, user)) if !adapter.is_empty() && !user.is_empty() => {
                if !adapters.contains_key(adapter) {
                    let remedy = did_you_mean(adapter, adapters.keys().map(String::as_str));
                    refuse(format!("{entry:?} names the adapter {adapter:?}, which does not exist"), remedy);
                }
            }
            _ => refuse(format!("{entry:?} is not \"adapter:user\""), "Write for example \"family:1000\"".into()),
        }
    }
}

/// A value as a fault shows it: never long.
fn shown(value: &toml::Value) -> String {
    let text = value.to_string().replace('\n', " ");
    match text.chars().count() > 60 {
        true => format!("{}…", text.chars().take(60).collect::<String>()),
        false => text,
    }
}

fn remedy(section: &str) -> &'static str {
    match section {
        "texts" => "Use only the placeholders named in config/default.toml",
        _ => "`switchboard config show` prints every key with a value that works",
    }
}
