//! The target of the configuration, for the fuzzer and for `tests/daemon/fuzzing.rs`, which plays it over its corpus and over random changes of it.

use std::sync::OnceLock;

use switchboard::config::{Config, Surroundings};
use tempfile::TempDir;

/// A configuration file, and behind a zero byte `NAME=VALUE` lines of the environment: it is taken, and can be shown as TOML again; or every fault
/// names its place and a remedy. Either way the same again.
pub(crate) fn one_config(data: &[u8]) {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (file, variables) = text.split_once('\0').unwrap_or((text, ""));
    let mut around = Surroundings::default();
    around.variables.insert("HOME".into(), "/home/nobody".into());
    around.variables.extend(variables.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())));
    // One file per thread: a fuzzer has one, a test binary many.
    let place = PLACE.get_or_init(|| TempDir::new().expect("a temporary directory"));
    let path = place.path().join(format!("{:?}.toml", std::thread::current().id()));
    std::fs::write(&path, file).expect("a temporary file");
    let load = || Config::load(Some(&path), &around);
    match load() {
        Ok(config) => {
            let shown = config.show();
            assert!(toml::from_str::<toml::Table>(&shown).is_ok(), "{shown}");
        }
        Err(faults) => {
            assert!(!faults.0.is_empty());
            for fault in &faults.0 {
                assert!(!fault.wrong.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
            }
            assert_eq!(load().err(), Some(faults));
        }
    }
}
