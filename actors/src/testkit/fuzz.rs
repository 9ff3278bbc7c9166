//! What comes from outside as text, and what must hold whatever it says: one function per target, for a fuzzer (`fuzz/`) and for the tests below,
//! which play every target over the corpus in `fuzz/corpus/` and over random changes of it.
//!
//! A target panics when a promise is broken; that some input is refused is never a fault. The daemon's own input has its targets beside the fuzzer
//! (`fuzz/src/`).

mod answer;
mod bytes;
mod envelope;
mod rows;

use std::path::Path;

use serde_json::value::RawValue;

pub use self::answer::one_answer;
pub use self::envelope::one_envelope;
pub use self::rows::one_rows;

use crate::agent::Entry;
use crate::desk::command;
use crate::marker;
use crate::platform::telegram::update;
use crate::platform::{Content, split_text};
use crate::texts::Template;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("update", one_update),
    ("command", one_command),
    ("template", one_template),
    ("marker", one_marker),
    ("entry", one_entry),
    ("text", one_text),
    ("answer", one_answer),
    ("envelope", one_envelope),
    ("rows", one_rows),
];

/// An update of Telegram: it is understood or passed over, and keeps its number.
pub fn one_update(data: &[u8]) {
    let Ok(raw) = serde_json::from_slice::<Box<RawValue>>(data) else { return };
    let Some(number) = update::number(&raw) else { return };
    let inbound = update::meaning(number, &raw, "OurBot");
    assert_eq!(inbound.delivery.as_str(), number.to_string());
    if let Content::Message(said) = inbound.content {
        assert!(!said.text.is_empty() && !said.room.as_str().is_empty() && !said.sender.user.as_str().is_empty());
        let _ = command::parse(&said.text);
    }
}

/// What somebody says: only what begins with a slash and a word is a command, whatever stands behind it.
pub fn one_command(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let command = command::parse(text);
    assert!(command.is_none() || text.trim_start().starts_with('/'), "{text:?}");
    assert_eq!(command, command::parse(&format!("{text} ")), "{text:?}");
}

/// A text of the configuration: one that is taken has no brace left when it is said, and never looks into its values.
pub fn one_template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(template) = Template::parse(text) else { return };
    assert!(!template.plain().contains('{'), "{text:?}");
    let said = template.render(&[("left", "{cause}"), ("cause", "{left}")]);
    assert_eq!(said.matches("{cause}").count(), text.matches("{left}").count(), "{text:?}");
    assert_eq!(said.matches("{left}").count(), text.matches("{cause}").count(), "{text:?}");
}

/// A clean-shutdown flag: one that is cut short anywhere is none.
pub fn one_marker(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(marker) = marker::parse(text) else { return };
    let whole = serde_json::to_string(&marker).expect("a marker is plain data");
    assert_eq!(marker::parse(&whole).as_ref(), Ok(&marker));
    for end in 0..whole.len() {
        assert!(whole.get(..end).is_none_or(|torn| marker::parse(torn).is_err()), "{end} bytes of {whole}");
    }
}

/// An entry of a transcript, as a ledger keeps it: what is read is what was written.
pub fn one_entry(data: &[u8]) {
    let Ok(entry) = serde_json::from_slice::<Entry>(data) else { return };
    let text = serde_json::to_string(&entry).expect("an entry is plain data");
    assert_eq!(serde_json::from_str::<Entry>(&text).expect("it was just written"), entry);
}

/// A reply: its parts fit, none is empty, and nothing but white space is lost between them. The first byte is the bound.
pub fn one_text(data: &[u8]) {
    let Some((most, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let most = usize::from(*most).max(2);
    let parts = split_text(text, most);
    assert!(parts.iter().all(|part| part.encode_utf16().count() <= most), "{parts:?} with at most {most}");
    let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    assert_eq!(bare(&parts.concat()), bare(text), "with at most {most}");
}

/// A change of a piece of a corpus: where (in 1/65536 of it), what is done there, with what.
pub type Change = (u16, u8, u8);

/// A piece of a corpus with some of it overwritten, cut off, filled in or doubled.
pub fn changed(mut data: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for (place, how, byte) in changes {
        if data.is_empty() {
            break;
        }
        let at = usize::from(*place) * data.len() / 65_536;
        match how % 4 {
            0 => data[at] = *byte,
            1 => data.truncate(at),
            2 => drop(data.splice(at..at, [*byte])),
            _ => data.extend_from_within(at..),
        }
        data.truncate(4096);
    }
    data
}

/// Every piece of a corpus.
///
/// # Panics
/// Where it cannot be read.
pub fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = files.map(|file| file.expect("a file of the corpus").path());
    files.map(|file| std::fs::read(file).expect("a file of the corpus")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        super::corpus(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name))
    }

    #[test]
    fn every_target_holds_over_its_corpus() {
        for (name, target) in TARGETS {
            let corpus = corpus(name);
            assert!(corpus.len() >= 3, "the corpus of {name} has only {}", corpus.len());
            corpus.iter().for_each(|data| target(data));
        }
    }

    #[test]
    fn the_corpus_says_something() {
        let understood = |name: &str, reads: fn(&[u8]) -> bool| assert!(corpus(name).iter().any(|data| reads(data)), "{name}");
        understood("marker", |data| std::str::from_utf8(data).is_ok_and(|text| marker::parse(text).is_ok()));
        understood("entry", |data| serde_json::from_slice::<Entry>(data).is_ok());
        understood("template", |data| std::str::from_utf8(data).is_ok_and(|text| Template::parse(text).is_ok()));
        understood("answer", |data| answer::heard(200, &data[3..], data.len()).end.is_ok());
        understood("update", |data| serde_json::from_slice::<Box<RawValue>>(data).is_ok_and(|raw| update::number(&raw).is_some()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2600, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_target_holds_over_changes_of_its_corpus(
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
}
