//! The target of the files beside the ledger that a start reads, for the fuzzer and for `tests/daemon/fuzzing.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use switchboard::cli::history::table;
use switchboard::false_starts;
use switchboard::history::lives;
use switchboard::lock::InstanceLock;
use switchboard::release::Release;
use switchboard::scribe;
use switchboard::state_dir::StateDir;
use switchboard::trial::{Life, Trial};
use tempfile::TempDir;

/// A sign of life in its bytes, of an invocation of which the manager may have seen the end.
const INVOCATION: &str = "0123456789abcdef0123456789abcdef";
const SIGN: usize = 512;

/// A file beside the ledger, chosen by the first byte: it is read or passed over, and one that is cut short anywhere is no word. What it holds can be
/// told on a terminal.
pub(crate) fn one_remains(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    let state = emptied();
    match which.wrapping_sub(b'0') % 7 {
        0 => one_life(&state, bytes),
        1 => one_seen(&state, bytes),
        2 => one_line_of_false_starts(&state, bytes),
        3 => one_lock(&state, bytes),
        4 => one_trial(&state, "trial", bytes),
        5 => one_trial(&state, "trial.kept", bytes),
        _ => one_trial(&state, "trial.undone", bytes),
    }
}

/// A directory of ours with nothing in it. One per thread: a fuzzer has one, a test binary many.
fn emptied() -> StateDir {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a temporary directory")
    });
    let path = place.path().join(format!("{:?}", std::thread::current().id()));
    let state = StateDir::open(&path).expect("a directory of ours");
    for entry in fs::read_dir(&path).expect("it was just made") {
        fs::remove_file(entry.expect("readable").path()).expect("a file");
    }
    state
}

fn write(path: PathBuf, bytes: &[u8]) {
    fs::write(path, bytes).expect("a temporary file");
}

/// Places to cut a text at: none of them leaves it whole.
fn cuts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let length = text.len();
    [0, length / 4, length / 2, length / 4 * 3, length.saturating_sub(1)].into_iter().map(move |end| &text[..end])
}

fn one_life(state: &StateDir, bytes: &[u8]) {
    write(state.life(), bytes);
    _ = scribe::lasts(state);
    let Some(words) = scribe::read(state).and_then(|left| left.words) else { return };
    _ = words.cause.to_string();
    for torn in cuts(bytes.trim_ascii_end()) {
        write(state.life(), torn);
        assert!(scribe::read(state).is_none_or(|left| left.words.is_none()), "{}", torn.escape_ascii());
    }
}

fn one_seen(state: &StateDir, bytes: &[u8]) {
    let sign = format!(r#"{{"instance":"01912d68-783e-7a03-8467-5661c1243ad5","pid":1,"invocation":"{INVOCATION}","seen":1}}"#);
    write(state.life(), format!("{sign:<width$}\n", width = SIGN - 1).as_bytes());
    write(state.seen(), bytes);
    let words = scribe::read(state).expect("its sign is whole").words;
    let Some(words) = words else { return };
    let told = words.cause.to_string();
    assert!(told.len() <= 200 && !told.contains(char::is_control), "{told:?}");
    let line = std::str::from_utf8(bytes).expect("it was just read").trim_end().as_bytes();
    for torn in cuts(line).chain([line]) {
        write(state.seen(), torn);
        assert_eq!(scribe::read(state).expect("its sign is whole").words, None, "{}", torn.escape_ascii());
    }
}

fn one_line_of_false_starts(state: &StateDir, bytes: &[u8]) {
    write(state.false_starts(), bytes);
    let told = table(&lives(&[], None, &false_starts::read(state)));
    assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    false_starts::note(state, "1.0.0", 70, "the newest");
    let newest = false_starts::read(state).pop().expect("it was just written, whatever stands before it");
    assert_eq!((newest.code, newest.reason.as_str()), (70, "the newest"));
}

fn one_lock(state: &StateDir, bytes: &[u8]) {
    let _held = InstanceLock::take(state).expect("nobody has it");
    write(state.lock(), bytes);
    let told = InstanceLock::take(state).expect_err("it is held, whatever its file says").to_string();
    assert!(told.contains("switchboard stop") && !told.contains(char::is_control), "{told:?}");
}

fn one_trial(state: &StateDir, name: &str, bytes: &[u8]) {
    let trial = Trial::of(state);
    write(state.path().join(name), bytes);
    match trial.begin(&Release::THIS) {
        Ok(Life::OnTrial(terms)) => assert_eq!(terms.version, Release::THIS.version),
        Ok(Life::Serving) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if trial.begin(&Release::THIS).is_ok() && name == "trial" {
        for torn in cuts(bytes.trim_ascii_end()) {
            write(state.path().join(name), torn);
            assert!(trial.begin(&Release::THIS).is_err(), "{}", torn.escape_ascii());
        }
    }
}
