//! The fuzz targets of the daemon, over their corpora and over random changes of them. The others are played where they stand, in
//! `switchboard_actors::testkit::fuzz`.

use std::path::Path;

use proptest::prelude::*;
use switchboard::control::Envelope;
use switchboard::update::journal::Entry;
use switchboard::update::manifest::Manifest;
use switchboard_actors::testkit::fuzz::{Change, Target, changed};

#[path = "../../fuzz/src/config.rs"]
mod config;
#[path = "../../fuzz/src/manifest.rs"]
mod manifest;
#[path = "../../fuzz/src/remains.rs"]
mod remains;
#[path = "../../fuzz/src/request.rs"]
mod request;

/// Every target, by the name of its corpus.
const TARGETS: [(&str, Target); 4] = [
    ("config", config::one_config),
    ("request", request::one_request),
    ("remains", remains::one_remains),
    ("manifest", manifest::one_manifest),
];

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let pieces = switchboard_actors::testkit::fuzz::corpus(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name));
    assert!(pieces.len() >= 5, "the corpus of {name} has only {}", pieces.len());
    pieces
}

#[test]
fn every_target_of_the_daemon_holds_over_its_corpus() {
    for (name, target) in TARGETS {
        corpus(name).iter().for_each(|data| target(data));
    }
}

#[test]
fn the_corpora_of_the_daemon_say_something() {
    let understood = |name: &str, reads: fn(&[u8]) -> bool| assert!(corpus(name).iter().any(|data| reads(data)), "{name}");
    understood("request", |data| Envelope::read(data).is_ok());
    understood("manifest", |data| Manifest::believed("here", &data[1..]).is_ok());
    understood("manifest", |data| serde_json::from_slice::<Entry>(&data[1..]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_target_of_the_daemon_holds_over_changes_of_its_corpus(
        which in 0..TARGETS.len(),
        seed in any::<prop::sample::Index>(),
        changes in prop::collection::vec(any::<Change>(), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let (name, target) = TARGETS[which];
        target(&changed(seed.get(&corpus(name)).clone(), &changes));
        target(&noise);
    }
}
