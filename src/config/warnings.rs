//! What a configuration allows that its operator may not have meant: keys that travel in the clear, doors that stand open, files that others can read
//! or write. Each is one line, with its remedy; none of them refuses a start, since there are places where it is right.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use switchboard_actors::ids::{AdapterName, AgentName};

use super::adapters::{AdapterConfig, AdapterKind};
use super::agents::AgentConfig;
use super::fault::Origin;
use super::layers::Merged;
use super::sections::Http;
use super::show::SECRETS;
use crate::loopback;

/// The bits of a mode that let others read and write.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
/// The bit of a directory that lets others reach what is in it, and the one that keeps them from replacing what is not theirs.
const OTHERS_PASS: u32 = 0o001;
const STICKY: u32 = 0o1000;

/// Everything of that kind, in the order in which it is read.
pub(super) fn find(
    http: &Http,
    agents: &BTreeMap<AgentName, AgentConfig>,
    adapters: &BTreeMap<AdapterName, AdapterConfig>,
    merged: &Merged,
) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(listening(http));
    warnings.extend(agents.iter().filter_map(|(name, agent)| key_in_the_clear(name, agent)));
    for (name, adapter) in adapters.iter().filter(|(_, adapter)| adapter.enabled) {
        warnings.extend(token_in_the_clear(name, &adapter.kind));
        warnings.extend(open_door(name, adapter));
    }
    warnings.extend(files(merged));
    warnings
}

/// A page that is reached from elsewhere without TLS shows its token and every word to whoever is on the way. Whoever named the proxies in front of it
/// knows.
fn listening(http: &Http) -> Option<String> {
    (!loopback::is_host(http.host()) && http.proxies.is_empty()).then(|| {
        format!(
            "http.listen = \"{}\" is reached from other hosts, and the gateway speaks no TLS: tokens and chats can be read on the way. Listen on \
             127.0.0.1, or let only a proxy with TLS reach it and name that in http.proxies",
            http.listen
        )
    })
}

fn key_in_the_clear(name: &AgentName, agent: &AgentConfig) -> Option<String> {
    let AgentConfig::OpenAi(openai) = agent else { return None };
    openai.api_key.as_ref().filter(|_| is_in_the_clear(&openai.base_url)).map(|_| {
        format!(
            "agents.{name}.base_url: the key and every conversation go to another host without TLS, for whoever is on the way to read. \
             Write https://…, or reach it through a tunnel on 127.0.0.1"
        )
    })
}

fn token_in_the_clear(name: &AdapterName, kind: &AdapterKind) -> Option<String> {
    let AdapterKind::Telegram { api_root, .. } = kind else { return None };
    is_in_the_clear(api_root).then(|| {
        format!(
            "adapters.{name}.api_root: the token goes to another host without TLS, for whoever is on the way to read. Write https://…, or run \
             that Bot API server on this host"
        )
    })
}

fn is_in_the_clear(address: &str) -> bool {
    reqwest::Url::parse(address).is_ok_and(|url| url.scheme() == "http") && !loopback::is(address)
}

/// The page lets in who has its token, the terminal who sits there; elsewhere everybody is everybody.
fn open_door(name: &AdapterName, adapter: &AdapterConfig) -> Option<String> {
    let by_nature = matches!(adapter.kind, AdapterKind::Web | AdapterKind::Console);
    (!by_nature && adapter.settings.access.allow.iter().any(|entry| entry == "*")).then(|| {
        format!(
            "adapters.{name}: everybody may speak there (access.allow = [\"*\"]), at your cost and with what your agent can do. Name people, as \
             \"{name}:USER\", or leave the list empty and let them in by pairing codes"
        )
    })
}

/// The configuration's own file, and those that hold its secrets.
fn files(merged: &Merged) -> Vec<String> {
    let secrets = secrets(merged);
    let mut warnings = Vec::new();
    if let Some(file) = &merged.file {
        let literal: Vec<&str> = secrets.iter().filter(|(_, place)| *place == Place::Literal).map(|(key, _)| key.as_str()).collect();
        if !literal.is_empty() && others_read(file) {
            warnings.push(format!(
                "{}: every user of this machine can read it, and the secret of {} stands in it. `chmod o-r` it, or name the secret: \
                 {{ file = \"…\" }}, {{ env = \"…\" }}",
                file.display(),
                literal.join(", ")
            ));
        }
        warnings.extend(writable(file, "the configuration"));
    }
    for (key, place) in &secrets {
        if let Place::File(path) = place {
            if others_read(path) {
                warnings.push(format!("{}: every user of this machine can read the secret of {key}. `chmod o-r` it", path.display()));
            }
            warnings.extend(writable(path, &format!("the secret of {key}")));
        }
    }
    warnings
}

/// Where a secret is written.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In the configuration file itself.
    Literal,
    /// In a file of its own.
    File(PathBuf),
}

/// The keys of all secrets that stand in a file.
fn secrets(merged: &Merged) -> Vec<(String, Place)> {
    let mut found = Vec::new();
    for section in ["agents", "adapters", "kinds"] {
        for (name, table) in merged.section(section).into_iter().flatten() {
            for (key, value) in table.as_table().into_iter().flatten().filter(|(key, _)| SECRETS.contains(&key.as_str())) {
                let key = format!("{section}.{name}.{key}");
                match value {
                    toml::Value::String(_) if matches!(merged.origin(&key), Origin::File(_)) => found.push((key, Place::Literal)),
                    toml::Value::Table(way) => {
                        let path = way.get("file").and_then(toml::Value::as_str);
                        found.extend(path.map(|path| (key, Place::File(path.into()))));
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

fn others_read(path: &Path) -> bool {
    mode(path).is_some_and(|mode| mode & OTHERS_READ != 0) && others_reach(path)
}

/// Whether others get as far as this file, by the directory that it is in and those above.
fn others_reach(path: &Path) -> bool {
    let Ok(path) = std::fs::canonicalize(path) else { return false };
    path.ancestors().skip(1).all(|above| mode(above).is_some_and(|mode| mode & OTHERS_PASS != 0))
}

/// Who beside us and root can change a file, if anybody can; and what to do.
fn writable(path: &Path, what: &str) -> Option<String> {
    let found = std::fs::metadata(path).ok()?;
    let above = std::fs::canonicalize(path).ok()?.parent().and_then(mode)?;
    let us = rustix::process::geteuid().as_raw();
    let (who, remedy) = if found.mode() & OTHERS_WRITE != 0 && others_reach(path) {
        ("every user of this machine".to_owned(), "`chmod o-w` it")
    } else if above & OTHERS_WRITE != 0 && above & STICKY == 0 && others_reach(path) {
        ("every user of this machine, by its directory,".to_owned(), "`chmod o-w` the directory")
    } else if !matches!(found.uid(), 0) && found.uid() != us {
        (format!("user {}", found.uid()), "Give it to root, or to the gateway's own user")
    } else {
        return None;
    };
    Some(format!("{}: {who} can change {what}. {remedy}", path.display()))
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|found| found.mode())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use crate::config::{Config, Surroundings};

    /// What is warned of in this configuration, whose file and whose secret's file have these modes, in a directory that others reach.
    fn warnings(file: &str, modes: (u32, u32)) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let set = |path: &std::path::Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
        set(dir.path(), 0o755);
        let (path, secret) = (dir.path().join("config.toml"), dir.path().join("secret"));
        std::fs::write(&path, file.replace("DIR", dir.path().to_str().expect("UTF-8"))).expect("writable");
        std::fs::write(&secret, "1:a").expect("writable");
        set(&path, modes.0);
        set(&secret, modes.1);
        let around = Surroundings { variables: [("HOME".to_owned(), "/home/nobody".to_owned())].into(), looks_only: true };
        Config::load(Some(&path), &around).expect("good").warnings
    }

    /// One warning with all of these parts; none: no warning.
    #[track_caller]
    fn check(file: &str, modes: (u32, u32), parts: &[&str]) {
        let warnings = warnings(file, modes);
        let fits = warnings.len() == usize::from(!parts.is_empty()) && parts.iter().all(|part| warnings[0].contains(part));
        assert!(fits, "{file} {modes:?}: expected {parts:?}, got {warnings:#?}");
    }

    const PRIVATE: (u32, u32) = (0o600, 0o600);

    #[test]
    fn g24_what_others_could_read_on_the_way_is_warned_of() {
        let model = |address: &str, key: &str| format!("[agents.m]\nkind = \"openai\"\nmodel = \"m\"\nbase_url = \"{address}\"\n{key}");
        let key = "api_key = \"k\"\n";
        for (address, key, warned) in [
            ("http://10.0.0.7:8080/v1", key, true),
            ("http://model.lan/v1", key, true),
            ("http://model.lan/v1", "", false),
            ("https://model.lan/v1", key, false),
            ("http://127.0.0.1:8080/v1", key, false),
            ("http://[::1]:8080/v1", key, false),
            ("http://localhost:8080/v1", key, false),
            ("http://localhost.evil.example/v1", key, true),
        ] {
            check(&model(address, key), PRIVATE, if warned { &["agents.m.base_url", "without TLS", "https://"] } else { &[] });
        }
        let bot = |root: &str| {
            format!("[adapters.b]\nkind = \"telegram\"\nagent = \"default\"\ntoken = {{ file = \"DIR/secret\" }}\napi_root = \"{root}\"\n")
        };
        check(&bot("http://api.lan"), PRIVATE, &["adapters.b.api_root", "without TLS"]);
        check(&bot("http://127.0.0.2:8081"), PRIVATE, &[]);
        for (listen, warned) in
            [("0.0.0.0:7878", true), ("[::]:7878", true), ("192.168.1.2:7878", true), ("127.0.0.1:7", false), ("[::1]:7", false)]
        {
            let file = format!("[http]\nlisten = \"{listen}\"\nhosts = [\"chat.example.org\"]\n");
            check(&file, PRIVATE, if warned { &["http.listen", "TLS", "127.0.0.1", "http.proxies"] } else { &[] });
            check(&format!("{file}proxies = [\"10.0.0.0/8\"]\n"), PRIVATE, &[]);
        }
    }

    #[test]
    fn g23_a_door_that_stands_open_is_warned_of_but_where_it_must() {
        let bot = "[adapters.b]\nkind = \"telegram\"\nagent = \"default\"\ntoken = { file = \"DIR/secret\" }\n";
        let everybody = "[access]\nallow = [\"*\"]\n";
        check(everybody, PRIVATE, &[]);
        check(&format!("{everybody}{bot}"), PRIVATE, &["adapters.b: everybody", "\"b:USER\"", "pairing"]);
        check(&format!("{everybody}{bot}access = {{ allow = [\"b:1\"] }}\n"), PRIVATE, &[]);
        check(&format!("{everybody}{bot}enabled = false\n"), PRIVATE, &[]);
    }

    #[test]
    fn g24_files_that_others_can_read_or_write_are_warned_of() {
        let bot = |token: &str| format!("[adapters.b]\nkind = \"telegram\"\nagent = \"default\"\ntoken = {token}\n");
        let (literal, apart) = (bot("\"1:a\""), bot("{ file = \"DIR/secret\" }"));
        for (file, modes, parts) in [
            (&literal, (0o600, 0o600), &[][..]),
            (&literal, (0o640, 0o600), &[]),
            (&literal, (0o644, 0o600), &["config.toml", "read", "adapters.b.token", "chmod o-r"]),
            (&apart, (0o644, 0o600), &[]),
            (&apart, (0o644, 0o640), &[]),
            (&apart, (0o644, 0o644), &["secret: every user", "read the secret of adapters.b.token", "chmod o-r"]),
            (&apart, (0o602, 0o600), &["config.toml", "change the configuration", "chmod o-w"]),
            (&apart, (0o600, 0o602), &["secret", "change the secret of adapters.b.token"]),
        ] {
            check(file, modes, parts);
        }
        assert!(warnings(&literal, (0o644, 0o600)).iter().all(|warning| !warning.contains("1:a")));
    }
}
