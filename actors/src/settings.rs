//! How the actor system is set: every bound, budget and text, read from `config/default.toml`, the only home of defaults.

use std::time::Duration;

use serde::Deserialize;

use crate::clock::Wall;
use crate::ids::AdapterName;
use crate::shutdown::Budgets;
use crate::texts::Texts;

/// The defaults, complete and commented, as text.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Everything that the actor system can be told.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Settings {
    /// Budgets of a shutdown.
    pub shutdown: Budgets,
    /// What the gateway says.
    pub texts: Texts,
    /// When a restart counts as done.
    pub restart: Restart,
    /// What becomes of cut turns.
    pub recovery: Recovery,
    /// How sessions behave.
    pub session: Session,
    /// Who may speak, unless an adapter says otherwise.
    pub access: Access,
    /// The outbox of each adapter.
    pub outbox: Outbox,
    /// How adapters connect.
    pub connection: Connection,
    /// How children are restarted.
    pub supervision: Supervision,
    /// How the ledger is written and kept.
    pub ledger: Ledger,
    /// Bounds on runs of agents.
    pub runs: Runs,
}

impl Settings {
    /// The defaults of `config/default.toml`.
    ///
    /// # Panics
    /// Never: the file is compiled in, and a test reads it.
    pub fn defaults() -> Self {
        toml::from_str(DEFAULTS).expect("config/default.toml is complete; a test reads it")
    }
}

/// When a restart counts as done. Whoever embeds the gateway has keys of their own beside these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Restart {
    /// A new instance must live for so long before whoever asked is told that it worked.
    #[serde(with = "span")]
    pub dwell: Duration,
}

/// What becomes of turns that were cut.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// What to do with a cut turn.
    pub policy: Policy,
    /// Unclean ends after which a turn is parked.
    pub max_attempts: u32,
    /// Cut turns that run again at the same time, at most.
    pub concurrency: u32,
    /// How long one of them runs alone that was running at a crash and may be what crashed; then others run beside it.
    #[serde(with = "span")]
    pub alone: Duration,
    /// Older "going down" notices are not answered by "back".
    #[serde(with = "span")]
    pub back_max_age: Duration,
    /// When to stop recovering by ourselves.
    pub crash_loop: CrashLoop,
}

/// What to do with a cut turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Tell the chat, and run it again on /retry.
    Ask,
    /// Run it again.
    Resume,
    /// Say nothing until /retry or the operator.
    Hold,
}

/// A crash loop: so many unclean starts within so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrashLoop {
    /// Unclean starts that make a loop; zero turns the hold off.
    pub starts: u32,
    /// Within this time.
    #[serde(with = "span")]
    pub within: Duration,
}

/// How sessions behave.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// What happens to a message that arrives during a turn.
    pub busy: Busy,
    /// Whose a conversation in a group is.
    pub groups: Groups,
    /// An idle session leaves memory after this time.
    #[serde(with = "span")]
    pub idle_after: Duration,
    /// Messages that wait in one session at most; more are refused, and the chat told.
    pub backlog: u32,
    /// Messages that one sender may send per minute; more are refused, and the chat told.
    pub sender_per_minute: u32,
    /// The longest message accepted, in bytes; a longer one is refused, and the chat told.
    pub message_bytes: u32,
    /// Entries of earlier turns that an agent is shown at most.
    pub history: u32,
    /// The longest a turn may take.
    #[serde(with = "span")]
    pub turn_limit: Duration,
    /// The longest a turn may go without progress.
    #[serde(with = "span")]
    pub turn_idle: Duration,
    /// A turn that takes longer is shown to its chat as work that goes on.
    #[serde(with = "span")]
    pub typing_after: Duration,
    /// How often a chat is shown that work goes on.
    #[serde(with = "span")]
    pub typing_every: Duration,
    /// Where a platform can edit, a streamed reply is shown and then edited this often. Zero: only the whole reply is sent.
    #[serde(with = "span")]
    pub draft_every: Duration,
}

/// What happens to a message that arrives during a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Busy {
    /// All that arrive become the next turn.
    Collect,
    /// Each becomes a turn of its own.
    Queue,
    /// The turn is cut, and all that arrived become the next.
    Interrupt,
}

/// Whose a conversation in a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// Each member's own.
    PerMember,
    /// Everybody's.
    Shared,
}

/// Who may speak.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// People, as `adapter:user`; or `*` for everybody.
    pub allow: Vec<String>,
    /// People who may also use the commands of administrators, as `adapter:user`.
    pub admins: Vec<String>,
    /// Whether strangers are told a pairing code.
    pub pairing: bool,
}

/// The outbox of each adapter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    /// Messages that are being sent at the same time through one adapter at most.
    pub in_flight: u32,
    /// One send may take this long; after that its fate is unknown.
    #[serde(with = "span")]
    pub send_limit: Duration,
    /// The first wait after a failed send; doubled each time.
    #[serde(with = "span")]
    pub retry_first: Duration,
    /// The longest wait after a failed send.
    #[serde(with = "span")]
    pub retry_most: Duration,
    /// Attempts after which a reply is dead.
    pub max_tries: u32,
}

/// How adapters connect.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The first wait after a failed connection; doubled each time.
    #[serde(with = "span")]
    pub retry_first: Duration,
    /// The longest wait after a failed connection; it is tried for ever.
    #[serde(with = "span")]
    pub retry_most: Duration,
    /// A connection attempt may take this long.
    #[serde(with = "span")]
    pub connect_limit: Duration,
    /// An adapter that has heard nothing from its platform for this long is deaf, and connects anew.
    #[serde(with = "span")]
    pub deaf_after: Duration,
}

/// How children are restarted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervision {
    /// Restarts of one child within `within` after which its budget is spent.
    pub restarts: u32,
    /// See `restarts`.
    #[serde(with = "span")]
    pub within: Duration,
    /// The first wait before a restart; doubled each time, with jitter.
    #[serde(with = "span")]
    pub backoff_first: Duration,
    /// The longest wait before a restart.
    #[serde(with = "span")]
    pub backoff_most: Duration,
    /// Without a sign of life for this long the daemon ends itself (exit 86), so that it is started anew.
    #[serde(with = "span")]
    pub hung_after: Duration,
}

/// How the ledger is written and kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Which engine keeps it.
    pub engine: Engine,
    /// Steps in one commit at most.
    pub batch: u32,
    /// Steps that wait for a ledger that cannot commit at most; more are refused.
    pub backlog: u32,
    /// Over so many bytes in use nothing new is taken in; 0: no bound.
    pub max_bytes: u64,
    /// How long closed rows, duplicate keys and transcripts stay; at least as long as the longest redelivery of a platform (Telegram: 24 h).
    #[serde(with = "span")]
    pub keep: Duration,
    /// How often old rows are forgotten.
    #[serde(with = "span")]
    pub prune_every: Duration,
    /// The first wait before a ledger that failed is opened again; doubled each time.
    #[serde(with = "span")]
    pub retry_first: Duration,
    /// The longest such wait.
    #[serde(with = "span")]
    pub retry_most: Duration,
}

/// Which engine keeps the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// A file in the state directory.
    Sqlite,
    /// Nothing survives a restart.
    Memory,
}

/// Bounds on runs of agents.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    /// A run that was cut has this long to yield; then it is abandoned.
    #[serde(with = "span")]
    pub abandon_after: Duration,
    /// Abandoned runs above which the gateway asks for its own restart.
    pub max_abandoned: u32,
}

/// How one adapter is set, beside its platform.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSettings {
    /// Its name.
    pub name: AdapterName,
    /// Who may speak there.
    pub access: Access,
    /// Messages per second at most, where the operator set it; none is invented.
    pub rate: Option<f64>,
    /// The agent that answers there.
    pub agent: crate::ids::AgentName,
}

/// A wall time that is certainly past, for rows that are due at once.
pub const AT_ONCE: Wall = Wall(0);

/// Durations as they are written: `"30s"`, `"5m"`, `"250ms"`, `"24h"`, `"0s"`.
pub mod span {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer};

    /// Reads a duration.
    ///
    /// # Errors
    /// When the text is not a number with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text)
            .map_err(|_| D::Error::custom(format!("{text:?} is not a duration; write for example \"30s\", \"5m\" or \"250ms\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_defaults_are_complete() {
        let settings = Settings::defaults();
        assert!(settings.shutdown.grace > settings.shutdown.least());
    }
}
