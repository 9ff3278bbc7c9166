//! The layers of a configuration, merged: the defaults, one file, the environment. Every value keeps its origin.
//!
//! Nothing is judged here but whether a layer can be read at all.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat, Value, ValueKind};
use switchboard_actors::settings::DEFAULTS;

use super::fault::{Fault, Origin};

/// Sections whose keys are names of the operator's choice.
pub(super) const OPEN: [&str; 2] = ["agents", "adapters"];
/// What the names of our environment variables begin with.
const PREFIX: &str = "SWITCHBOARD";

/// The environment variables of the process, or of a test.
pub type Variables = BTreeMap<String, String>;

/// All layers as one table.
#[derive(Clone)]
pub(super) struct Merged {
    /// The values.
    pub(super) table: toml::Table,
    /// The defaults alone.
    pub(super) defaults: toml::Table,
    /// Where each value that is not a table was written, by its dotted key.
    origins: BTreeMap<String, Origin>,
    /// The file, if there is one.
    pub(super) file: Option<PathBuf>,
}

impl fmt::Debug for Merged {
    /// Without the values: secrets may be written among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Merged {
    /// Where the value of `key` was written. A table, or a key that nobody wrote, is where its first value is.
    pub(super) fn origin(&self, key: &str) -> Origin {
        if let Some(origin) = self.origins.get(key) {
            return origin.clone();
        }
        let below = format!("{key}.");
        let mut inside = self.origins.range(below.clone()..).take_while(|(name, _)| name.starts_with(&below)).map(|(_, origin)| origin);
        let written = inside.clone().find(|origin| **origin != Origin::Defaults);
        written.or_else(|| inside.next()).cloned().unwrap_or(match &self.file {
            Some(path) => Origin::File(path.clone()),
            None => Origin::Defaults,
        })
    }

    /// The values of one section.
    pub(super) fn section(&self, name: &str) -> Option<&toml::Table> {
        self.table.get(name).and_then(toml::Value::as_table)
    }

    /// Every value of the fixed sections, by its dotted key.
    pub(super) fn leaves(&self) -> BTreeMap<String, &toml::Value> {
        let mut leaves = BTreeMap::new();
        for (section, value) in self.table.iter().filter(|(section, _)| !OPEN.contains(&section.as_str())) {
            add_leaves(section.clone(), value, &mut leaves);
        }
        leaves
    }

    /// The table at a dotted path.
    pub(super) fn section_value(&self, path: &str) -> Option<&toml::Table> {
        path.split('.').try_fold(&self.table, |table, name| table.get(name)?.as_table())
    }
}

fn add_leaves<'a>(key: String, value: &'a toml::Value, leaves: &mut BTreeMap<String, &'a toml::Value>) {
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(name, value)| add_leaves(format!("{key}.{name}"), value, leaves)),
        value => _ = leaves.insert(key, value),
    }
}

/// Reads and merges the layers. `chosen` is the file of `--config`.
pub(super) fn read(chosen: Option<&Path>, variables: &Variables) -> Result<Merged, Fault> {
    let file = find_file(chosen, variables)?;
    let defaults: toml::Table = toml::from_str(DEFAULTS).expect("config/default.toml is TOML; a test reads it");
    let mut builder = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
    if let Some(path) = &file {
        let place = || Origin::File(path.clone());
        let text = std::fs::read_to_string(path)
            .map_err(|error| Fault::new(place(), "", format!("cannot be read ({error})"), "Check the path and its permissions"))?;
        toml::from_str::<toml::Table>(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            let wrong = format!("line {line} is not TOML ({})", error.message().trim().replace('\n', ", "));
            Fault::new(place(), "", wrong, "Correct that line; `switchboard check` reads the file again")
        })?;
        builder = builder.add_source(File::from(path.as_path()).format(FileFormat::Toml));
    }
    let ours = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).map(|(name, value)| (name.clone(), value.clone())).collect();
    let environment = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").source(Some(ours));
    let merged = builder.add_source(environment).build().map_err(|error| {
        Fault::new(
            file.clone().map_or(Origin::Variable(format!("{PREFIX}__…")), Origin::File),
            "",
            format!("a key cannot be understood ({error})"),
            "Keys hold letters, digits, - and _",
        )
    })?;
    let mut origins = BTreeMap::new();
    let table = match convert(&merged.cache, "", Some(&toml::Value::Table(defaults.clone())), file.as_deref(), &mut origins) {
        Some(toml::Value::Table(table)) => table,
        _ => toml::Table::new(),
    };
    Ok(Merged { table, defaults, origins, file })
}

/// The configuration file: the chosen one, which must exist, else the first of the usual ones that does.
fn find_file(chosen: Option<&Path>, variables: &Variables) -> Result<Option<PathBuf>, Fault> {
    if let Some(path) = chosen {
        return match std::fs::metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(path.to_owned())),
            Ok(_) => Err(Fault::new(Origin::File(path.to_owned()), "", "this is no file", "Correct --config, or leave it out")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Fault::new(Origin::File(path.to_owned()), "", "there is no such file", "Correct --config, or leave it out"))
            }
            Err(error) => {
                let remedy = "Correct --config or the permissions on the way there, or leave it out";
                Err(Fault::new(Origin::File(path.to_owned()), "", format!("it cannot be found ({error})"), remedy))
            }
        };
    }
    let home = variables.get("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| variables.get("HOME").filter(|dir| !dir.is_empty()).map(|home| Path::new(home).join(".config")));
    let usual = [Some(PathBuf::from("/etc/switchboard/config.toml")), home.map(|dir| dir.join("switchboard/config.toml"))];
    Ok(usual.into_iter().flatten().find(|path| path.is_file()))
}

/// Turns the merged tree into TOML, noting each value's origin. Text from the environment takes the type of the default.
fn convert(
    value: &Value,
    key: &str,
    like: Option<&toml::Value>,
    file: Option<&Path>,
    origins: &mut BTreeMap<String, Origin>,
) -> Option<toml::Value> {
    let converted = match &value.kind {
        ValueKind::Table(entries) => {
            let mut table = toml::Table::new();
            for (name, entry) in entries {
                let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let like = like.and_then(|like| like.get(name));
                table.extend(convert(entry, &inner, like, file, origins).map(|entry| (name.clone(), entry)));
            }
            return Some(toml::Value::Table(table));
        }
        ValueKind::Array(entries) => {
            toml::Value::Array(entries.iter().filter_map(|entry| convert(entry, key, None, file, &mut BTreeMap::new())).collect())
        }
        ValueKind::String(text) => match (origin(value, key, file), like) {
            (Origin::Variable(_), Some(like)) => typed(text, like),
            _ => toml::Value::String(text.clone()),
        },
        ValueKind::Boolean(flag) => toml::Value::Boolean(*flag),
        ValueKind::I64(number) => toml::Value::Integer(*number),
        ValueKind::U64(number) => toml::Value::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
        ValueKind::I128(number) => toml::Value::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
        ValueKind::U128(number) => toml::Value::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
        ValueKind::Float(number) => toml::Value::Float(*number),
        ValueKind::Nil => return None,
    };
    origins.insert(key.to_owned(), origin(value, key, file));
    Some(converted)
}

/// Where a merged value came from. The `config` crate names a file by a path of its own making, and every variable alike.
fn origin(value: &Value, key: &str, file: Option<&Path>) -> Origin {
    match (value.origin(), file) {
        (Some("the environment"), _) => Origin::Variable(variable(key)),
        (Some(_), Some(path)) => Origin::File(path.to_owned()),
        _ => Origin::Defaults,
    }
}

/// The environment variable that sets `key`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}__{}", key.replace('.', "__").to_uppercase())
}

/// Text from the environment as the type of `like`, or as it is when it cannot be that: then the check says so.
pub(super) fn typed(text: &str, like: &toml::Value) -> toml::Value {
    let as_is = || toml::Value::String(text.to_owned());
    match like {
        toml::Value::Integer(_) => text.trim().parse().map_or_else(|_| as_is(), toml::Value::Integer),
        toml::Value::Float(_) => text.trim().parse().map_or_else(|_| as_is(), toml::Value::Float),
        toml::Value::Boolean(_) => text.trim().parse().map_or_else(|_| as_is(), toml::Value::Boolean),
        toml::Value::Array(_) => {
            let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            toml::Value::Array(entries.map(|entry| toml::Value::String(entry.to_owned())).collect())
        }
        _ => as_is(),
    }
}
