//! Reads one table of a configuration key by key, so that every fault in it is found, not only the first.

use std::time::Duration;

use super::Surroundings;
use super::fault::{Fault, Origin, did_you_mean};
use super::layers::{Merged, typed};
use super::secret::Secret;

/// One table while it is being read. Every key that was asked for is known; [`finish`](Fields::finish) refuses the others.
pub(super) struct Fields<'a> {
    merged: &'a Merged,
    faults: &'a mut Vec<Fault>,
    path: String,
    /// The table of the kind that this one starts from.
    base: Option<String>,
    table: toml::Table,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Begins with the table at `path`, which must be one.
    pub(super) fn open(merged: &'a Merged, faults: &'a mut Vec<Fault>, path: &str, value: &toml::Value) -> Option<Self> {
        let Some(table) = value.as_table() else {
            faults.push(Fault::new(merged.origin(path), path, "is not a table", format!("Write [{path}] with its keys below")));
            return None;
        };
        Some(Self { merged, faults, path: path.to_owned(), base: None, table: table.clone(), known: Vec::new() })
    }

    /// What the table does not say is taken from `[kinds.KIND]`.
    pub(super) fn start_from(&mut self, kind: &str) {
        let Some(base) = self.merged.section("kinds").and_then(|kinds| kinds.get(kind)).and_then(toml::Value::as_table) else { return };
        let mut table = base.clone();
        table.extend(std::mem::take(&mut self.table));
        self.table = table;
        self.base = Some(format!("kinds.{kind}"));
    }

    /// Text, if the key is there.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.value(key)? {
            toml::Value::String(text) => Some(text),
            _ => self.fault(key, "is not text", "Put it in quotes"),
        }
    }

    /// Text that must be there and not be empty. `remedy` says how to get it.
    pub(super) fn required(&mut self, key: &'static str, remedy: &str) -> Option<String> {
        match self.table.contains_key(key) {
            true => match self.text(key)? {
                text if text.trim().is_empty() => self.fault(key, "is empty", remedy),
                text => Some(text),
            },
            false => {
                self.known.push(key);
                self.fault(key, "is missing", remedy)
            }
        }
    }

    /// An address that begins with http:// or https:// and holds no password.
    pub(super) fn address(&mut self, key: &'static str, remedy: &str) -> Option<String> {
        let text = self.required(key, remedy)?;
        match reqwest::Url::parse(&text) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host().is_none() => {
                self.fault(key, "is not an http or https address", remedy)
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.fault(key, "holds a user or password", "Secrets have keys of their own; take it out of the address")
            }
            Ok(_) => Some(text.trim_end_matches('/').to_owned()),
            Err(error) => self.fault(key, format!("is not an address ({error})"), remedy),
        }
    }

    /// A time longer than nothing.
    pub(super) fn span(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        match humantime::parse_duration(&text) {
            Ok(Duration::ZERO) => self.fault(key, "is zero", "Write a time longer than nothing, for example \"30s\""),
            Ok(span) => Some(span),
            Err(_) => self.fault(key, format!("{text:?} is not a duration"), "Write for example \"30s\", \"5m\" or \"250ms\""),
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.value_like(key, &toml::Value::Boolean(true))? {
            toml::Value::Boolean(flag) => Some(flag),
            _ => self.fault(key, "is neither true nor false", "Write true or false, without quotes"),
        }
    }

    /// A whole number of at least one.
    pub(super) fn count(&mut self, key: &'static str) -> Option<u32> {
        match self.value_like(key, &toml::Value::Integer(0))? {
            toml::Value::Integer(number) if number >= 1 && number <= i64::from(u32::MAX) => u32::try_from(number).ok(),
            _ => self.fault(key, "is not a whole number of at least 1", "Write for example 4, without quotes"),
        }
    }

    /// A number above zero.
    pub(super) fn rate(&mut self, key: &'static str) -> Option<f64> {
        let number = match self.value_like(key, &toml::Value::Float(0.0))? {
            toml::Value::Float(number) => number,
            toml::Value::Integer(number) => number as f64,
            _ => return self.fault(key, "is not a number", "Write for example 25.0, without quotes"),
        };
        match number.is_finite() && number > 0.0 {
            true => Some(number),
            false => self.fault(key, "is not above zero", "Write messages per second, for example 25.0, or leave it out"),
        }
    }

    /// A list of texts.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        let remedy = "Write for example [\"family:1000\"]";
        let toml::Value::Array(entries) = self.value_like(key, &toml::Value::Array(Vec::new()))? else {
            return self.fault(key, "is not a list", remedy);
        };
        let texts: Option<Vec<String>> = entries.iter().map(|entry| entry.as_str().map(str::to_owned)).collect();
        texts.or_else(|| self.fault(key, "holds something that is not text", remedy))
    }

    /// A secret: text, `{ env = "…" }`, `{ file = "…" }` or `{ credential = "…" }`. With `needed` false it is only checked for its form.
    pub(super) fn secret(&mut self, key: &'static str, needed: bool, around: &Surroundings) -> Option<Secret> {
        let form = "Write { env = \"NAME\" }, { file = \"/path\" }, { credential = \"name\" } or the text itself";
        match self.value(key)? {
            toml::Value::String(text) if text.trim().is_empty() => self.fault(key, "is empty", form),
            toml::Value::String(text) => Some(Secret::new(text)),
            toml::Value::Table(table) => {
                let pair = table.iter().next().and_then(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
                match pair {
                    _ if table.len() != 1 => self.fault(key, "does not say in exactly one way where the secret is", form),
                    Some((way, _)) if !matches!(&*way, "env" | "file" | "credential") => {
                        self.fault(key, format!("{way:?} is unknown here"), form)
                    }
                    Some(_) if !needed => None,
                    Some((way, from)) => match fetch(&way, &from, around) {
                        Ok(secret) => Some(secret),
                        Err((wrong, remedy)) => self.fault(key, wrong, remedy),
                    },
                    None => self.fault(key, "does not say in text where the secret is", form),
                }
            }
            _ => self.fault(key, "is not a secret", form),
        }
    }

    /// A table within this one.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Fields<'_>> {
        let value = self.value(key)?;
        let path = format!("{}.{key}", self.path);
        Fields::open(self.merged, self.faults, &path, &value)
    }

    /// Notes a fault of `key`; returns nothing, so that it ends a chain.
    pub(super) fn fault<T>(&mut self, key: &str, wrong: impl Into<String>, remedy: impl Into<String>) -> Option<T> {
        let place = self.origin(key);
        self.faults.push(Fault::new(place, format!("{}.{key}", self.path), wrong, remedy));
        None
    }

    /// How many faults there are so far.
    pub(super) fn count_faults(&self) -> usize {
        self.faults.len()
    }

    /// As [`finish`](Self::finish), after a fault: what is known depends on the kind, so without one nothing is called unknown.
    pub(super) fn finish_if_kind_known(self, kinds: &[&str]) {
        let kind = self.table.get("kind").and_then(toml::Value::as_str);
        if kind.is_some_and(|kind| kinds.contains(&kind)) {
            self.finish();
        }
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(mut self) {
        let unknown: Vec<String> = self.table.keys().filter(|key| !self.known.contains(&key.as_str())).cloned().collect();
        for key in unknown {
            let remedy = did_you_mean(&key, self.known.clone().into_iter());
            self.fault::<()>(&key, "is unknown", remedy);
        }
    }

    fn value(&mut self, key: &'static str) -> Option<toml::Value> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key).cloned()
    }

    /// The value, where text from the environment takes the type that is wanted.
    fn value_like(&mut self, key: &'static str, like: &toml::Value) -> Option<toml::Value> {
        let value = self.value(key)?;
        match (&value, self.origin(key)) {
            (toml::Value::String(text), Origin::Variable(_)) => Some(typed(text, like)),
            _ => Some(value),
        }
    }

    fn origin(&self, key: &str) -> Origin {
        let own = self.merged.section_value(&self.path).is_some_and(|table| table.contains_key(key));
        match &self.base {
            Some(base) if !own && self.table.contains_key(key) => self.merged.origin(&format!("{base}.{key}")),
            _ if own => self.merged.origin(&format!("{}.{key}", self.path)),
            _ => self.merged.origin(&self.path),
        }
    }
}

/// Fetches a secret from where it is, or says what is wrong and what to do.
fn fetch(way: &str, from: &str, around: &Surroundings) -> Result<Secret, (String, String)> {
    let text = match way {
        "env" => around.variables.get(from).cloned().ok_or_else(|| {
            (format!("the environment variable {from} is not set"), format!("Set {from}, or name another variable or a file"))
        })?,
        "credential" => return credential(from, around),
        _ => std::fs::read_to_string(from).map_err(|error| {
            (format!("the file {from} cannot be read ({error})"), "Create it, readable for the gateway only".to_owned())
        })?,
    };
    match text.trim() {
        "" => Err((format!("{from} is empty"), "Put the secret there".to_owned())),
        secret => Ok(Secret::new(secret)),
    }
}

/// A secret that the service manager hands to the service alone (systemd.exec(5), LoadCredential).
fn credential(name: &str, around: &Surroundings) -> Result<Secret, (String, String)> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err((format!("{name:?} cannot be the name of a credential"), "Write its name alone, as in LoadCredential".into()));
    }
    let Some(folder) = around.variables.get("CREDENTIALS_DIRECTORY") else {
        let remedy = "Run the gateway under a service manager that loads it, or name a file";
        let absent = || (format!("the credential {name} is not here: CREDENTIALS_DIRECTORY is not set"), remedy.to_owned());
        // In place of it, for whoever only looks: never sent anywhere, and as much its own as the credential.
        return if around.looks_only { Ok(Secret::new(format!("credential {name}"))) } else { Err(absent()) };
    };
    let text = std::fs::read_to_string(std::path::Path::new(folder).join(name)).map_err(|error| {
        (format!("the credential {name} cannot be read ({error})"), format!("Add LoadCredential={name}:/path/to/the/secret to the unit"))
    })?;
    match text.trim() {
        "" => Err((format!("the credential {name} is empty"), "Put the secret there".to_owned())),
        secret => Ok(Secret::new(secret)),
    }
}
