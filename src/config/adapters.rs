//! `[adapters.NAME]`: where the gateway speaks, and who may speak to it there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use switchboard_actors::ids::{AdapterName, AgentName};
use switchboard_actors::settings::{Access, AdapterSettings};

use super::Surroundings;
use super::fault::{Fault, did_you_mean};
use super::fields::Fields;
use super::layers::Merged;
use super::secret::Secret;
use super::sections::people;

const KINDS: [&str; 3] = ["web", "console", "telegram"];

/// One adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// Whether it is started.
    pub enabled: bool,
    /// What every platform has.
    pub settings: AdapterSettings,
    /// What only this platform has.
    pub kind: AdapterKind,
}

/// What only one platform has.
#[derive(Clone, Debug, PartialEq)]
pub enum AdapterKind {
    /// The page of this gateway.
    Web,
    /// The terminal that it was started in.
    Console,
    /// A Telegram bot.
    Telegram {
        /// The bot's token; only an adapter that is not enabled may be without one.
        token: Option<Secret>,
        /// The address of the Bot API.
        api_root: String,
        /// How long one getUpdates waits.
        poll: Duration,
    },
}

impl AdapterKind {
    /// As it is written.
    pub fn name(&self) -> &'static str {
        match self {
            AdapterKind::Web => "web",
            AdapterKind::Console => "console",
            AdapterKind::Telegram { .. } => "telegram",
        }
    }

    /// Whether it belongs to the process, as its page and its terminal do, and comes and goes only with it.
    pub fn is_of_the_process(&self) -> bool {
        matches!(self, AdapterKind::Web | AdapterKind::Console)
    }

    /// The keys in which two of a kind differ: each wants another connection.
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let keys = match (self, other) {
            (
                AdapterKind::Telegram { token, api_root, poll },
                AdapterKind::Telegram { token: other_token, api_root: other_root, poll: other_poll },
            ) => [("token", token != other_token), ("api_root", api_root != other_root), ("poll", poll != other_poll)],
            _ => return Vec::new(),
        };
        keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

/// Reads every adapter.
pub(super) fn read(
    merged: &Merged,
    around: &Surroundings,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<String>,
) -> BTreeMap<AdapterName, AdapterConfig> {
    let mut adapters = BTreeMap::new();
    for (name, value) in merged.section("adapters").into_iter().flatten() {
        let path = format!("adapters.{name}");
        named(&path, name, merged, faults);
        let Some(mut fields) = Fields::open(merged, faults, &path, value) else { continue };
        match adapter(&mut fields, name, merged, around) {
            Some(adapter) => {
                fields.finish();
                let own = merged.section_value(&format!("{path}.access")); // the others are checked in [access], once
                for (key, entries, everybody) in
                    [("allow", &adapter.settings.access.allow, true), ("admins", &adapter.settings.access.admins, false)]
                {
                    if own.is_some_and(|own| own.contains_key(key)) {
                        people(&format!("{path}.access.{key}"), entries, everybody, merged, faults);
                    }
                }
                adapters.insert(AdapterName::new(name), adapter);
            }
            None => fields.finish_if_kind_known(&KINDS),
        }
    }
    together(&adapters, merged, faults);
    warnings.extend(adapters.values().filter_map(nobody_can_speak));
    warnings.extend(shortened(&adapters));
    if !adapters.values().any(|adapter| adapter.enabled) && faults.is_empty() {
        warnings.push("no adapter is enabled: nobody can reach the gateway. Enable one under [adapters]".into());
    }
    adapters
}

/// Refuses names that could not stand in a path, a metric label or a command.
pub(super) fn named(path: &str, name: &str, merged: &Merged, faults: &mut Vec<Fault>) {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(fits) {
        faults.push(Fault::new(merged.origin(path), path, format!("{name:?} is not a name"), "Use 1 to 32 of a-z, 0-9, _ and -"));
    }
}

fn adapter(fields: &mut Fields<'_>, name: &str, merged: &Merged, around: &Surroundings) -> Option<AdapterConfig> {
    let enabled = fields.flag("enabled").unwrap_or(true);
    let agent = agent(fields, merged);
    let rate = fields.rate("rate");
    let access = access(fields, merged);
    let kind = match fields.required("kind", "Write kind = \"web\", \"console\" or \"telegram\"").as_deref() {
        Some("web") => Some(AdapterKind::Web),
        Some("console") => Some(AdapterKind::Console),
        Some("telegram") => telegram(fields, enabled, around),
        Some(other) => {
            let remedy = did_you_mean(other, KINDS.into_iter());
            fields.fault("kind", format!("{other:?} is not a kind of adapter"), remedy)
        }
        None => None,
    };
    let settings = AdapterSettings { name: AdapterName::new(name), access, rate, agent: agent? };
    Some(AdapterConfig { enabled, settings, kind: kind? })
}

fn agent(fields: &mut Fields<'_>, merged: &Merged) -> Option<AgentName> {
    let name = fields.required("agent", "Name one of [agents], for example \"default\"")?;
    let known = merged.section("agents").cloned().unwrap_or_default();
    match known.contains_key(&name) {
        true => Some(AgentName::new(name)),
        false => {
            let remedy = did_you_mean(&name, known.keys().map(String::as_str));
            fields.fault("agent", format!("there is no agent {name:?}"), remedy)
        }
    }
}

/// The adapter's own access; what it does not say is that of `[access]`.
fn access(fields: &mut Fields<'_>, merged: &Merged) -> Access {
    let global = merged.section("access").cloned().unwrap_or_default();
    let mut access = toml::Value::Table(global).try_into::<Access>().unwrap_or_default(); // faults of [access] are reported there
    if let Some(mut own) = fields.table("access") {
        access.allow = own.list("allow").unwrap_or(access.allow);
        access.admins = own.list("admins").unwrap_or(access.admins);
        access.pairing = own.flag("pairing").unwrap_or(access.pairing);
        own.finish();
    }
    access
}

fn telegram(fields: &mut Fields<'_>, enabled: bool, around: &Surroundings) -> Option<AdapterKind> {
    fields.start_from("telegram");
    let before = fields.count_faults();
    let token = fields.secret("token", enabled, around);
    if token.is_none() && enabled && fields.count_faults() == before {
        fields.fault::<()>("token", "is missing", "Ask @BotFather for one, and write token = { file = \"/path\" }");
    }
    let api_root = fields.address("api_root", "Write for example \"https://api.telegram.org\"");
    let poll = fields.span("poll");
    Some(AdapterKind::Telegram { token, api_root: api_root?, poll: poll? })
}

/// What no adapter can know alone: one page, one bot.
fn together(adapters: &BTreeMap<AdapterName, AdapterConfig>, merged: &Merged, faults: &mut Vec<Fault>) {
    let enabled: Vec<(&AdapterName, &AdapterKind)> =
        adapters.iter().filter(|(_, adapter)| adapter.enabled).map(|(name, adapter)| (name, &adapter.kind)).collect();
    for (at, (name, kind)) in enabled.iter().enumerate() {
        for (other, before) in &enabled[..at] {
            let (key, wrong, remedy) = match (kind, before) {
                (AdapterKind::Web, AdapterKind::Web) => ("kind", "is web, like", "There is one page; disable one of the two"),
                (AdapterKind::Console, AdapterKind::Console) => {
                    ("kind", "is console, like", "There is one terminal; disable one of the two")
                }
                (AdapterKind::Telegram { token: Some(token), .. }, AdapterKind::Telegram { token: Some(same), .. }) if token == same => {
                    ("token", "is the same as that of", "Telegram serves one listener per bot; use another bot or disable one of the two")
                }
                _ => continue,
            };
            let key = format!("adapters.{name}.{key}");
            faults.push(Fault::new(merged.origin(&key), key, format!("{wrong} adapters.{other}"), remedy));
        }
    }
}

/// A warning for an adapter that nobody is allowed to use.
fn nobody_can_speak(adapter: &AdapterConfig) -> Option<String> {
    let (name, access) = (&adapter.settings.name, &adapter.settings.access);
    let here = |entry: &String| entry == "*" || entry.split_once(':').is_some_and(|(adapter, _)| adapter == name.as_str());
    let somebody = access.allow.iter().chain(&access.admins).any(here) || access.pairing;
    let open_by_nature = matches!(adapter.kind, AdapterKind::Web | AdapterKind::Console);
    (adapter.enabled && !open_by_nature && !somebody).then(|| {
        format!("adapters.{name}: nobody can speak there. Allow somebody (access.allow = [\"{name}:USER\"]), or set access.pairing = true")
    })
}

/// Digits by which older versions knew a browser.
const SHORT: usize = 8;

/// Warnings for browsers that are named as older versions named them. No fault: it would refuse the very update that brings the longer names.
fn shortened(adapters: &BTreeMap<AdapterName, AdapterConfig>) -> BTreeSet<String> {
    let is_page = |name: &str| adapters.get(&AdapterName::new(name)).is_some_and(|adapter| adapter.kind == AdapterKind::Web);
    let is_short = |user: &str| user.len() == SHORT && user.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lists = adapters.values().map(|adapter| &adapter.settings.access);
    let entries = lists.flat_map(|access| access.allow.iter().chain(&access.admins));
    let short = entries.filter(|entry| entry.split_once(':').is_some_and(|(adapter, user)| is_page(adapter) && is_short(user)));
    let warning = |entry: &String| {
        format!("access: {entry:?} matches nobody, since a browser has 32 digits now. Write what /whoami says there in place of it")
    };
    short.map(warning).collect()
}
