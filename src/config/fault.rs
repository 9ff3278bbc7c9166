//! What is wrong with a configuration: one fault per thing, each with its place, its key and its remedy.
//!
//! Never holds the value of a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In `config/default.toml`, compiled in.
    Defaults,
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Defaults => f.write_str("defaults"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it was written.
    pub place: Origin,
    /// The key, with its section (`adapters.family.token`); empty when the whole place is meant.
    pub key: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    /// A fault of `key` at `place`.
    pub fn new(place: Origin, key: impl Into<String>, wrong: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place, key: key.into(), wrong: wrong.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}. {}.", self.wrong, self.remedy)
    }
}

/// Everything that is wrong, in the order of the keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} fault{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// "did you mean …", when one of `known` is close to what was written; else what is known.
pub(super) fn did_you_mean<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let close = known.iter().map(|name| (strsim::damerau_levenshtein(written, name), *name)).min();
    match close {
        Some((distance, name)) if distance <= 1 + name.len() / 4 => format!("Did you mean {name:?}"),
        _ => format!("Known here: {}", known.join(", ")),
    }
}
