//! What the gateway says, as templates without code.
//!
//! A template may hold the placeholders of [`PLACEHOLDERS`] and nothing else; one that is unknown is a fault of the
//! configuration. What users wrote is a value, never a template: a brace in it stays a brace.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Everything that a template may ask for.
pub const PLACEHOLDERS: [&str; 8] = ["left", "downtime", "cause", "attempts", "members", "count", "code", "question"];

/// One text of the gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Takes a text, if every placeholder in it is known.
    ///
    /// # Errors
    /// Names the placeholder that is unknown, or the brace that is not closed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let after = &rest[open + 1..];
            let Some(close) = after.find('}') else {
                return Err(format!("the brace in {text:?} is never closed"));
            };
            let name = &after[..close];
            if !PLACEHOLDERS.contains(&name) {
                return Err(format!("{{{name}}} in {text:?} is unknown; known are {}", known()));
            }
            rest = &after[close + 1..];
        }
        Ok(Self(text.to_owned()))
    }

    /// The text with its placeholders filled in, in one pass: what a value holds is never looked at again. A placeholder
    /// without a value becomes nothing.
    pub fn render(&self, values: &[(&str, &str)]) -> String {
        let mut out = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (name, behind) = after.split_once('}').unwrap_or((after, ""));
            if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
                out.push_str(value);
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// The text of a template that needs nothing.
    pub fn plain(&self) -> String {
        self.render(&[])
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Template::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

fn known() -> String {
    PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(" ")
}

/// A span of time as one says it in a chat: `45s`, `2m`, `1m 30s`, `3h 5m`. Rounded up, so that a promise is never short.
pub fn spoken(span: Duration) -> String {
    let secs = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let (days, hours, minutes, seconds) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60);
    let units = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let said: Vec<String> =
        units[first..].iter().take(2).filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if said.is_empty() { "0s".into() } else { said.join(" ") }
}

impl Texts {
    /// What a message needs beside its own words, in UTF-16 code units: the mark of a repeat, or of a cut, may be added to it later.
    pub fn marks(&self) -> usize {
        let units = |mark: &Template| mark.plain().encode_utf16().count();
        units(&self.repeat).max(units(&self.draft_cut))
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Every text of the gateway. What each is for stands in `config/default.toml`.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Texts {
            $($(#[$doc])* pub $name: Template,)*
        }
    };
}

texts! {
    /// Going down to stay down; a task runs.
    stop,
    /// Going down to come back; a task runs.
    restart,
    /// As `stop`, with no time left.
    stop_now,
    /// As `restart`, with no time left.
    restart_now,
    /// As `stop`, where cut tasks resume by themselves.
    stop_resume,
    /// As `restart`, where cut tasks resume by themselves.
    restart_resume,
    /// As `stop_now`, where cut tasks resume by themselves.
    stop_now_resume,
    /// As `restart_now`, where cut tasks resume by themselves.
    restart_now_resume,
    /// Going down to stay down; messages only wait.
    waiting_stop,
    /// Going down to come back; messages only wait.
    waiting_restart,
    /// In front of a notice to a chat that several sessions share.
    members,
    /// A message that arrives while going down.
    saved,
    /// Back again.
    back,
    /// Back again, after a time that cannot be told.
    back_plain,
    /// A turn was cut.
    interrupted,
    /// A turn was cut too often.
    parked,
    /// An agent asks for approval.
    approval,
    /// A turn could not be answered.
    failed,
    /// The agent had nothing to say.
    empty,
    /// A turn took too long.
    too_long,
    /// A message was too large.
    too_large,
    /// Too many messages.
    too_many,
    /// A stranger's pairing code.
    pairing,
    /// In front of a message that may be a repeat.
    repeat,
    /// At the end of a draft that was cut.
    draft_cut,
    /// /help.
    help,
    /// /help, for administrators, behind `help`.
    help_admin,
    /// A command that nobody knows.
    unknown,
    /// A command for administrators only.
    not_admin,
    /// /stop that stopped something.
    stopped,
    /// /stop with nothing to stop.
    stopped_nothing,
    /// /new.
    new,
    /// /retry with nothing to retry.
    nothing_to_retry,
    /// /approve or /deny with nothing to decide.
    nothing_to_decide,
    /// /status, while a task runs.
    status_running,
    /// /status, while a cut task waits.
    status_cut,
    /// /status of a turn that asks for approval.
    status_asks,
    /// /status, while nothing runs.
    status_idle,
    /// /queue.
    queue,
    /// /queue, when nothing waits.
    queue_empty,
    /// /whoami.
    whoami,
    /// /sessions.
    sessions,
    /// /stop all.
    stopped_all,
    /// To whoever asked for a task that /stop all stopped.
    stopped_by_admin,
    /// /restart.
    restarting,
    /// /shutdown.
    stopping,
    /// The result of a restart, to whoever asked.
    restarted,
    /// The result of a restart that failed at first, to whoever asked.
    restarted_late,
    /// A restart that was asked for and not carried out.
    not_restarted,
    /// A shutdown that was asked for, told at the next start.
    was_stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_know_their_placeholders() {
        let check = |text: &str, expected: Result<&str, &str>| match (Template::parse(text), expected) {
            (Ok(template), Ok(rendered)) => assert_eq!(template.render(&[("left", "{cause}"), ("count", "3")]), rendered),
            (Err(fault), Err(part)) => assert!(fault.contains(part), "{fault}"),
            (got, _) => panic!("{text:?}: {got:?}"),
        };
        check("up to {left}", Ok("up to {cause}"));
        check("{count}{count} {downtime}.", Ok("33 ."));
        check("no placeholder }", Ok("no placeholder }"));
        check("{name}", Err("{name}"));
        check("{left} {name}", Err("known are {"));
        check("open {left", Err("never closed"));
    }

    #[test]
    fn spans_are_spoken() {
        let check = |millis: u64, text: &str| assert_eq!(spoken(Duration::from_millis(millis)), text);
        check(0, "0s");
        check(1, "1s");
        check(45_000, "45s");
        check(60_000, "1m");
        check(90_500, "1m 31s");
        check(3_600_000 + 5_000, "1h");
        check(11_100_000, "3h 5m");
        check(90_000_000, "1d 1h");
    }
}
