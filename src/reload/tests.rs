//! Reloads as data: what was in force, what is written now, and what that changes.

use switchboard_actors::settings::DEFAULTS;

use super::*;
use crate::config::Surroundings;

const TELEGRAM: &str = "kind = \"telegram\"\nagent = \"default\"\ntoken = \"a\"\n";

fn load(text: &str) -> Config {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, text).expect("writable");
    let mut around = Surroundings::default();
    around.variables.insert("HOME".into(), "/home/nobody".into());
    Config::load(Some(&path), &around).expect("a good configuration")
}

/// What a gateway that started with `old` takes over of `new`, and what of it needs a restart.
#[track_caller]
fn check(old: &str, new: &str, changes: &[&str], restart: &[&str]) -> Config {
    let old = load(old);
    let plan = Plan::between(&old, &old, load(new));
    let told: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        (told.iter().map(String::as_str).collect::<Vec<_>>(), plan.restart),
        (changes.to_vec(), restart.iter().map(ToString::to_string).collect())
    );
    plan.in_force
}

fn family(more: &str) -> String {
    format!("[adapters.family]\n{TELEGRAM}{more}")
}

#[test]
fn nothing_changes_when_nothing_was_changed() {
    check("", "", &[], &[]);
    check(&family(""), &family("enabled = true\n"), &[], &[]);
    check("[texts]\nnew = \"a\"", "# a comment\ntexts.new = \"a\"", &[], &[]);
}

#[test]
fn adapters_connect_anew_only_for_what_is_said_to_their_platform() {
    let before = family("");
    let anew = |key: &str| format!("adapters.family: connects anew ({key})");
    check(&before, &family("").replace("\"a\"", "\"b\""), &[&anew("token")], &[]);
    check(&before, &family("api_root = \"https://bots.example\"\n"), &[&anew("api_root")], &[]);
    check(&before, &format!("{before}[kinds.telegram]\npoll = \"9s\""), &["kinds.telegram.poll: taken over", &anew("poll")], &[]);
    check(&before, &family("rate = 5\n"), &["adapters.family: taken over (rate)"], &[]);
    check(&before, &family("rate = 5\napi_root = \"https://bots.example\"\n"), &[&anew("api_root, rate")], &[]);
    check(&before, &family("access = { pairing = false, allow = [\"family:1\"] }\n"), &["adapters.family: taken over (access)"], &[]);
    let (web, everybody) = ("adapters.web: taken over (access)", "[access]\nallow = [\"*\"]");
    let told = ["access.allow: taken over", "adapters.console: changed; it is not enabled", "adapters.family: taken over (access)", web];
    check(&before, &format!("{before}{everybody}"), &told, &[]);
}

#[test]
fn adapters_come_and_go() {
    let gone = "adapters.family: removed; tasks that run there end first, and what is owed there stays in the ledger";
    check("", &family(""), &["adapters.family: added"], &[]);
    check(&family(""), "", &[gone], &[]);
    check(&family(""), &family("enabled = false\n"), &[gone], &[]);
    check(&family("enabled = false\n"), &family(""), &["adapters.family: added"], &[]);
    check(&family("enabled = false\n"), &family("enabled = false\nrate = 5\n"), &["adapters.family: changed; it is not enabled"], &[]);
    let renamed = family("").replace("family", "kin");
    check(&family(""), &renamed, &[gone, "adapters.kin: added"], &[]);
}

#[test]
fn what_belongs_to_the_process_stays_with_it() {
    let web = |adapters: &Config, enabled| assert_eq!(adapters.adapters[&AdapterName::new("web")].enabled, enabled);
    web(&check("", "adapters.web.enabled = false", &[], &["adapters.web.enabled"]), true);
    web(&check("adapters.web.enabled = false", "", &[], &["adapters.web.enabled"]), false);
    let more = format!("adapters.web.enabled = false\n{}", family(""));
    web(&check("", &more, &["adapters.family: added"], &["adapters.web.enabled"]), true);
    // The agent of what stays stays with it.
    let other = |more: &str| format!("[agents.other]\nkind = \"demo\"\n[adapters.web]\n{more}");
    let stays = check(&other("agent = \"other\""), "adapters.web.enabled = false", &[], &["adapters.web.enabled"]);
    assert!(stays.agents.contains_key(&AgentName::new("other")));
    check(&family(""), &family("").replace("\"telegram\"", "\"console\"").replace("token = \"a\"\n", ""), &[], &["adapters.family.kind"]);
}

#[test]
fn agents_are_changed_for_what_comes() {
    let openai = |model: &str| format!("[agents.default]\nkind = \"openai\"\nbase_url = \"http://m\"\nmodel = \"{model}\"\n");
    let changed = "agents.default: changed; the next tasks are for it as it is now";
    check("", &openai("m"), &[changed], &[]);
    check(&openai("m"), &openai("n"), &[changed], &[]);
    check(&openai("m"), &format!("{}api_key = \"k\"", openai("m")), &[changed], &[]);
    check(&openai("m"), &format!("{}[agents.two]\nkind = \"demo\"", openai("m")), &["agents.two: added"], &[]);
    check(&format!("{}[agents.two]\nkind = \"demo\"", openai("m")), &openai("m"), &["agents.two: removed"], &[]);
}

#[test]
fn what_needs_a_restart_is_named_again_until_there_was_one() {
    let (started, other) = (load(""), "http.listen = \"127.0.0.1:1\"\nadapters.web.enabled = false");
    let first = Plan::between(&started, &started, load(other));
    let second = Plan::between(&started, &first.in_force, load(&format!("{other}\ntexts.new = \"n\"")));
    assert_eq!(second.restart, ["http.listen", "adapters.web.enabled"]);
    assert_eq!(second.changes, [Change::Key("texts.new".into())]);
    let back = Plan::between(&started, &second.in_force, load(""));
    assert_eq!((back.restart, back.changes), (Vec::new(), vec![Change::Key("texts.new".into())]));
}

#[test]
fn g24_no_value_is_shown() {
    let old = load(&family(""));
    let new = load(&family("access = { allow = [\"family:hidden\"] }\n").replace("\"a\"", "\"hidden\""));
    let plan = Plan::between(&old, &old, new);
    assert!(!format!("{:?} {}", plan.changes, plan.changes[0]).contains("hidden"));
    assert!(!format!("{plan:?}").contains("\"hidden\""), "nor when all of it is printed");
}

/// Another value that is as good as this one.
fn another(key: &str, value: &toml::Value) -> toml::Value {
    let text = |text: &str| toml::Value::String(text.into());
    match (key, value) {
        ("access.admins", _) => toml::Value::Array(vec![text("web:somebody")]),
        ("access.allow", _) => toml::Value::Array(vec![text("*")]),
        ("http.listen", _) => text("127.0.0.1:1"),
        ("http.probes", _) => text("127.0.0.1:2"),
        ("http.proxies", _) => toml::Value::Array(vec![text("10.0.0.0/8")]),
        ("log.format", _) => text("json"),
        ("log.level", _) => text("debug"),
        ("restart.mode", _) => text("exit"),
        ("recovery.policy", _) => text("hold"),
        ("session.busy", _) => text("queue"),
        ("session.groups", _) => text("shared"),
        ("ledger.engine", _) => text("memory"),
        ("state_dir" | "control.socket" | "update.source", _) => text("/elsewhere"),
        (_, toml::Value::Array(_)) => toml::Value::Array(vec![text("another")]),
        (_, toml::Value::Integer(number)) => toml::Value::Integer(number + 1),
        (_, toml::Value::Boolean(flag)) => toml::Value::Boolean(!flag),
        (_, toml::Value::String(old)) => match humantime::parse_duration(old) {
            Ok(span) => text(&humantime::format_duration(span + std::time::Duration::from_secs(1)).to_string()),
            Err(_) => text(&format!("{old}!")),
        },
        other => panic!("what would be another value of {other:?}?"),
    }
}

#[test]
fn g29_every_key_is_taken_over_or_named_and_only_the_named_stay() {
    let old = load("");
    let defaults: toml::Table = toml::from_str(DEFAULTS).expect("TOML");
    let mut keys = Vec::new();
    gather("", &toml::Value::Table(defaults), &mut keys);
    assert!(keys.len() > 100, "{}", keys.len());
    for (key, value) in keys {
        let new = load(&format!("{key} = {}", another(&key, &value)));
        let plan = Plan::between(&old, &old, new.clone());
        let same = |a: &Config, b: &Config| {
            (&a.settings, &a.state_dir, &a.http, &a.log, &a.control, &a.restart)
                == (&b.settings, &b.state_dir, &b.http, &b.log, &b.control, &b.restart)
        };
        if needs_restart(&key) {
            assert_eq!((plan.changes, plan.restart), (Vec::new(), vec![key.clone()]));
            assert!(same(&plan.in_force, &old), "{key} needs a restart, and is in force");
            assert!(!same(&new, &old), "{key} makes no difference");
        } else {
            assert_eq!((&plan.changes[0], &plan.restart), (&Change::Key(key.clone()), &Vec::new()));
            assert!(same(&plan.in_force, &new), "{key} was said to be taken over");
        }
    }
}

fn gather(path: &str, value: &toml::Value, keys: &mut Vec<(String, toml::Value)>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table.iter().filter(|(name, _)| !(path.is_empty() && matches!(name.as_str(), "agents" | "adapters"))) {
                gather(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value, keys);
            }
        }
        value => keys.push((path.to_owned(), value.clone())),
    }
}

#[test]
fn the_defaults_say_what_needs_a_restart() {
    let (mut section, mut starred) = (String::new(), false);
    for line in DEFAULTS.lines().filter(|line| !line.starts_with('#')) {
        let star = line.split_once("# ").or(line.split_once("#")).is_some_and(|(_, comment)| comment.trim_start().starts_with('*'));
        if let Some((name, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            (section, starred) = (format!("{name}."), star);
            assert_eq!(needs_restart(name), star, "[{name}]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|(name, _)| !name.contains([' ', '/'])) {
            if section.starts_with("adapters.") || section.starts_with("texts.") {
                continue;
            }
            assert_eq!(needs_restart(&format!("{section}{name}")), star || starred, "{section}{name}");
        }
    }
}
