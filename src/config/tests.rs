//! Bad files as data: each with the faults that it must name, all of them at once.

use super::*;

fn load(file: &str, variables: &[(&str, &str)]) -> (Result<Config, Faults>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, file).expect("writable");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let mut around = Surroundings::default();
    around.variables.insert("HOME".into(), "/home/nobody".into());
    around.variables.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    (Config::load(Some(&path), &around), dir)
}

/// Every fault must hold all parts of one expectation, in the order of the keys, and there is no other.
#[track_caller]
fn check(file: &str, variables: &[(&str, &str)], expected: &[&[&str]]) {
    let faults = match load(file, variables).0 {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0.iter().map(ToString::to_string).collect(),
    };
    let fits =
        faults.len() == expected.len() && faults.iter().zip(expected).all(|(fault, parts)| parts.iter().all(|part| fault.contains(part)));
    assert!(fits, "expected {expected:#?}\ngot {faults:#?}");
}

#[test]
fn no_file_at_all_is_a_working_gateway() {
    let around = Surroundings { variables: [("XDG_STATE_HOME".to_owned(), "/s".to_owned())].into(), looks_only: false };
    let config = Config::load(None, &around).expect("the defaults are a configuration");
    assert_eq!(config.state_dir, Path::new("/s/switchboard"));
    assert_eq!(config.control.socket, Path::new("/s/switchboard/control.sock"));
    let enabled: Vec<&str> =
        config.adapters.values().filter(|adapter| adapter.enabled).map(|adapter| adapter.settings.name.as_str()).collect();
    assert_eq!(enabled, ["web"]);
    assert_eq!(config.agents.len(), 1);
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(config.settings, Settings::defaults());
}

#[test]
fn the_service_managers_directories_come_first() {
    let (config, _dir) =
        load("", &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), ("RUNTIME_DIRECTORY", "/run/a"), ("XDG_STATE_HOME", "/s")]);
    let config = config.expect("good");
    assert_eq!((config.state_dir, config.control.socket), ("/var/lib/a".into(), "/run/a/control.sock".into()));
}

#[test]
fn the_environment_wins_over_the_file_and_takes_its_types() {
    let (config, _dir) = load(
        "[session]\nbacklog = 7\nhistory = 9\n[adapters.family]\nkind = \"telegram\"\ntoken = \"t\"\nagent = \"default\"",
        &[
            ("SWITCHBOARD__SESSION__BACKLOG", "8"),
            ("SWITCHBOARD__ACCESS__ALLOW", "family:1, web:2"),
            ("SWITCHBOARD__ADAPTERS__FAMILY__RATE", "2.5"),
            ("SWITCHBOARD__ADAPTERS__FAMILY__ENABLED", "false"),
        ],
    );
    let config = config.expect("good");
    assert_eq!((config.settings.session.backlog, config.settings.session.history), (8, 9));
    assert_eq!(config.settings.access.allow, ["family:1", "web:2"]);
    let family = &config.adapters[&AdapterName::new("family")];
    assert_eq!((family.settings.rate, family.enabled), (Some(2.5), false));
}

#[test]
fn g29_every_fault_is_named_at_once_with_file_key_and_remedy() {
    check(
        r#"
        [shutdown]
        grace = "0s"
        margn = "5s"
        [session]
        busy = "sometimes"
        backlog = 0
        idle_after = "soon"
        [recovery]
        max_attempts = 0
        [ledger]
        keep = "1h"
        [texts]
        stop = "in {time}"
        [adapters.family]
        kind = "telegram"
        agent = "defualt"
        rate = 0
        [agents.big]
        kind = "openai"
        base_url = "ftp://x"
        api_key = { env = "NOT_SET" }
        "#,
        &[],
        &[
            &["config.toml: adapters.family.agent: there is no agent", "Did you mean \"default\""],
            &["adapters.family.rate", "not above zero"],
            &["adapters.family.token: is missing", "BotFather"],
            &["agents.big.api_key", "NOT_SET is not set"],
            &["agents.big.base_url", "not an http"],
            &["agents.big.model: is missing"],
            &["recovery.max_attempts: is zero"],
            &["session.backlog: is zero"],
            &["session.busy", "sometimes", "collect"],
            &["session.idle_after", "soon", "not a duration"],
            &["shutdown.grace: is zero"],
            &["shutdown.margn: is unknown", "Did you mean \"margin\""],
            &["texts.stop", "{time}"],
        ],
    );
}

/// Only the service is given its credentials; whoever looks at its configuration from outside is not refused for that.
#[test]
fn g24_a_credential_is_read_where_the_service_manager_puts_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("bot"), "TEST-token\n").expect("writable");
    let there = dir.path().to_str().expect("UTF-8");
    let file = |name: &str| format!("[adapters.a]\nkind = \"telegram\"\nagent = \"default\"\ntoken = {{ credential = \"{name}\" }}");
    let given = [("CREDENTIALS_DIRECTORY", there)];
    check(&file("bot"), &given, &[]);
    check(&file("other"), &given, &[&["adapters.a.token", "credential other cannot be read", "LoadCredential=other:"]]);
    check(&file("../bot"), &given, &[&["adapters.a.token", "cannot be the name of a credential"]]);
    check(&file("bot"), &[], &[&["adapters.a.token", "CREDENTIALS_DIRECTORY is not set", "service manager"]]);
    let path = dir.path().join("config.toml");
    std::fs::write(&path, file("bot")).expect("writable");
    let around = Surroundings { variables: [("HOME".to_owned(), "/home/nobody".to_owned())].into(), looks_only: true };
    assert!(Config::load(Some(&path), &around).is_ok());
}

#[test]
fn bounds_beyond_the_types() {
    check("[ledger]\nkeep = \"23h\"", &[], &[&["ledger.keep", "24h"]]);
    check("[http]\nlisten = \"7878\"", &[], &[&["http.listen", "host:port"]]);
    check("[http]\nlisten = \"localhost:99999\"", &[], &[&["http.listen", "host:port"]]);
    check("state_dir = \"~/state\"", &[], &[&["state_dir", "beginning with /"]]);
    check("[http]\nhosts = [\"https://x/\"]", &[], &[&["http.hosts", "not a host name"]]);
    check("[http]\nprobes = \"7879\"", &[], &[&["http.probes", "host:port"]]);
    check("[http]\nprobes = \"127.0.0.1:7878\"", &[], &[&["http.probes", "the address of http.listen"]]);
    check("[http]\nproxies = [\"10.0.0.0/33\"]", &[], &[&["http.proxies", "10.0.0.0/33", "no address or network"]]);
    check("[log]\nlevel = \"loud=what\"", &[], &[&["log.level", "not a filter"]]);
    check("[outbox]\nretry_first = \"1h\"", &[], &[&["outbox.retry_first", "outbox.retry_most"]]);
    check("[recovery]\ncrash_loop = { starts = 0, within = \"5m\" }", &[], &[]);
    check("[recovery]\ncrash_loop = { starts = 1, within = \"0s\" }", &[], &[&["recovery.crash_loop.within: is zero"]]);
    check("[supervision]\nrestarts = -1", &[], &[&["supervision.restarts", "-1"]]);
    check("shutdown = 3", &[], &[&["shutdown: is not a table"]]);
    check("[shutdwon]\ngrace = \"3s\"", &[], &[&["shutdwon: is unknown", "Did you mean \"shutdown\""]]);
    check("[agents.default]\nkind = \"demo\"\nmodel = \"m\"", &[], &[&["agents.default.model: is unknown"]]);
    check("[kinds.openai]\ntris = 3", &[], &[&["kinds.openai.tris: is unknown", "tries"]]);
    check("[adapters.web]\nkind = \"wbe\"", &[], &[&["adapters.web.kind", "Did you mean \"web\""]]);
    check("[adapters.\"Über uns\"]\nkind = \"web\"\nenabled = false\nagent = \"default\"", &[], &[&["is not a name", "a-z"]]);
    check(
        "[agents.a]\nkind = \"openai\"\nbase_url = \"http://me:pw@h/\"\nmodel = \"m\"",
        &[],
        &[&["agents.a.base_url", "user or password"]],
    );
}

#[test]
fn people_are_adapter_and_user() {
    check("[access]\nallow = [\"family:1\"]", &[], &[&["access.allow", "\"family\"", "does not exist"]]);
    check(
        "[access]\nallow = [\"me\"]\nadmins = [\"*\"]",
        &[],
        &[&["access.admins", "everybody"], &["access.allow", "not \"adapter:user\""]],
    );
    check("[access]\nallow = [\"*\", \"web:0123abcd\"]", &[], &[]);
    check("[adapters.web.access]\nadmins = [\"wob:1\"]", &[], &[&["adapters.web.access.admins", "Did you mean \"web\""]]);
    check("[adapters.web.access]\nalow = []", &[], &[&["adapters.web.access.alow: is unknown"]]);
}

#[test]
fn two_of_a_thing_there_is_one_of() {
    let two = "[adapters.a]\nkind = \"telegram\"\nagent = \"default\"\ntoken = \"same\"\n[adapters.b]\nkind = \"telegram\"\nagent = \"default\"\n";
    check(&format!("{two}token = \"same\""), &[], &[&["adapters.b.token", "adapters.a"]]);
    check(&format!("{two}token = \"other\""), &[], &[]);
    check(&format!("{two}token = \"same\"\nenabled = false"), &[], &[]);
    check("[adapters.page]\nkind = \"web\"\nagent = \"default\"", &[], &[&["adapters.web.kind", "adapters.page"]]);
}

#[test]
fn faults_name_the_variable_that_holds_them() {
    check(
        "",
        &[("SWITCHBOARD__SESSION__BACKLOG", "many")],
        &[&["environment variable SWITCHBOARD__SESSION__BACKLOG: session.backlog", "many"]],
    );
    check("", &[("SWITCHBOARD__SESION__BACKLOG", "3")], &[&["environment variable SWITCHBOARD__SESION", "Did you mean \"session\""]]);
    check("", &[("SWITCHBOARD__HTTP", "3")], &[&["http: is not a table"]]);
}

#[test]
fn files_that_cannot_be_read() {
    check("[session\n", &[], &[&["config.toml", "line 1 is not TOML"]]);
    let missing = Config::load(Some(Path::new("/nowhere/x.toml")), &Surroundings::default()).expect_err("there is none");
    assert!(missing.to_string().contains("/nowhere/x.toml: there is no such file"), "{missing}");
    check(
        "[agents.a]\nkind = \"openai\"\nbase_url = \"http://h\"\nmodel = \"m\"\napi_key = { file = \"/nowhere/key\" }",
        &[],
        &[&["agents.a.api_key", "/nowhere/key"]],
    );
}

#[test]
fn g24_secrets_are_fetched_and_never_shown() {
    let file = "[agents.a]\nkind = \"openai\"\nbase_url = \"http://h\"\nmodel = \"m\"\napi_key = { env = \"KEY\" }\n\
        [adapters.family]\nkind = \"telegram\"\nagent = \"a\"\ntoken = \"literal-secret\"";
    let (config, dir) = load(file, &[("KEY", "from-the-environment\n")]);
    let config = config.expect("good");
    let AgentConfig::OpenAi(agent) = &config.agents[&AgentName::new("a")] else { panic!("an openai agent") };
    assert_eq!(agent.api_key.as_ref().map(Secret::expose), Some("from-the-environment"));
    assert_eq!(agent.tries, 4);
    let shown = config.show();
    let printed = format!("{shown}{:?}{:?}", config.agents, config.adapters);
    assert!(!printed.contains("literal-secret") && !printed.contains("from-the-environment"), "{printed}");
    assert!(shown.contains("token = \"[secret]\"") && shown.contains("api_key = { env = \"KEY\" }"), "{shown}");
    assert!(shown.contains(&format!("# {}", dir.path().join("config.toml").display())), "{shown}");
}

#[test]
fn what_is_shown_can_be_read_again() {
    let (config, _dir) = load("[session]\nbacklog = 7\n[texts]\nhelp = \"\"\"a\nb\"\"\"", &[]);
    let config = config.expect("good");
    let (again, _dir) = load(&config.show(), &[]);
    let again = again.expect("what is shown is a configuration");
    assert_eq!((again.settings, again.http), (config.settings, config.http));
}

#[test]
fn an_adapter_that_nobody_can_use_is_a_warning() {
    let file = "[access]\npairing = false\n[adapters.family]\nkind = \"telegram\"\nagent = \"default\"\ntoken = \"t\"\n";
    let (config, _dir) = load(file, &[]);
    let warnings = config.expect("good").warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("adapters.family: nobody can speak"), "{warnings:?}");
    let (config, _dir) = load(&format!("{file}access = {{ allow = [\"family:1\"] }}"), &[]);
    assert_eq!(config.expect("good").warnings, Vec::<String>::new());
}

/// Eight digits were chosen in a day; whoever has them is nobody now, and whoever wrote them is told so.
#[test]
fn g23_a_browser_of_eight_digits_is_a_warning_with_its_remedy() {
    let check = |file: &str, expected: &[&str]| {
        let (config, _dir) = load(file, &[]);
        let warnings = config.expect("good: it must not refuse the update that brings it").warnings;
        let fits = warnings.len() == expected.len() && warnings.iter().zip(expected).all(|(warning, part)| warning.contains(part));
        assert!(fits, "{file}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("matches nobody") && warning.contains("/whoami")), "{warnings:?}");
    };
    check("[access]\nadmins = [\"web:0123abcd\"]", &["\"web:0123abcd\""]);
    check("[access]\nallow = [\"web:0123ABCD\"]\nadmins = [\"web:00000000\"]", &["web:00000000", "web:0123ABCD"]);
    check("[adapters.web.access]\nadmins = [\"web:0123abcd\"]", &["web:0123abcd"]);
    check("[access]\nadmins = [\"web:0123abcd0123abcd0123abcd0123abcd\", \"web:bob\", \"console:12345678\"]", &[]);
    let telegram = "[adapters.family]\nkind = \"telegram\"\nagent = \"default\"\ntoken = \"t\"\n";
    check(&format!("[access]\nadmins = [\"family:12345678\"]\n{telegram}"), &[]);
}
