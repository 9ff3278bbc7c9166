//! The fuzz target of the configuration, over its corpus and over random changes of it. The other targets are played where they stand, in
//! `switchboard_actors::testkit::fuzz`.

use std::path::Path;

use proptest::prelude::*;
use switchboard_actors::testkit::fuzz::{Change, changed};

#[path = "../../fuzz/src/config.rs"]
mod config;

fn corpus() -> Vec<Vec<u8>> {
    let pieces = switchboard_actors::testkit::fuzz::corpus(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/config"));
    assert!(pieces.len() >= 8, "only {}", pieces.len());
    pieces
}

#[test]
fn the_configuration_holds_over_its_corpus() {
    corpus().iter().for_each(|data| config::one_config(data));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_configuration_holds_over_changes_of_its_corpus(seed in any::<prop::sample::Index>(), changes in prop::collection::vec(any::<Change>(), 0..6)) {
        config::one_config(&changed(seed.get(&corpus()).clone(), &changes));
    }
}
