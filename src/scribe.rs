//! The scribe: a plain thread that keeps, beside the ledger, what the ledger may not be able to take at the end: that this life lasts, and why
//! it ends.
//!
//! It writes into one small file of a fixed size, in place: that needs no room on a full disk, and no fsync, since what it is for is the
//! end of a process, not of the machine. The next life takes it into the ledger ([`switchboard_actors::last_words`]).
//!
//! Whoever ends the process from outside every runtime does no I/O of their own: they hand their word to this thread, wait a moment
//! for it, and go, whether or not the disk answered.
//!
//! | said | before this life is on record | after |
//! |---|---|---|
//! | every so often | nothing: the file still speaks of the life before | that it lasts |
//! | a last word | a [false start](crate::false_starts) | why it ends; the first word is heard |

mod seen;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use switchboard_actors::clock::{Clock, Wall};
use switchboard_actors::ids::InstanceId;
use switchboard_actors::last_words::{Cause, LastWords, Remains};
use switchboard_actors::shutdown::Phase;

use crate::false_starts;
use crate::state_dir::StateDir;
use crate::update::process;

/// How often it is written that this life lasts: a life that was killed is known to have lasted that exactly.
const EVERY: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the disk.
const PATIENCE: Duration = Duration::from_millis(250);
/// Bytes for the sign of life.
const SIGN: usize = 512;
/// Bytes for the last words, behind it.
const WORDS: usize = 1536;

/// The sign of life.
#[derive(Serialize, Deserialize)]
struct Sign {
    instance: InstanceId,
    pid: u32,
    /// As what the service manager started the process (`$INVOCATION_ID` in systemd.exec(5)).
    #[serde(default)]
    invocation: Option<String>,
    seen: Wall,
}

/// The last words, and whose they are.
#[derive(Serialize, Deserialize)]
struct Said {
    instance: InstanceId,
    #[serde(flatten)]
    words: LastWords,
}

/// Hands last words to the thread. Clones share it.
#[derive(Clone, Debug)]
pub struct Scribe {
    desk: Arc<Desk>,
    thread: Thread,
}

#[derive(Debug)]
struct Desk {
    state: StateDir,
    version: &'static str,
    /// None: what this life does is on record nowhere. Touched, as the phase, only at leisure and by the thread itself, never by those who end the
    /// process.
    book: Option<Mutex<Book>>,
    /// This life, once it is on record.
    instance: OnceLock<InstanceId>,
    phase: Mutex<Option<Phase>>,
    word: OnceLock<(u8, Cause)>,
    written: AtomicBool,
}

#[derive(Debug)]
struct Book {
    file: File,
    /// Whether the file speaks of this life by now.
    begun: bool,
}

impl Scribe {
    /// Starts the thread. `keeps`: this life will be on record in the ledger of this directory, and not on a copy, or in memory only.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn begin(state: &StateDir, version: &'static str, keeps: bool) -> io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = keeps.then(|| open(&state.life())).transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "last words cannot be kept: an end that the ledger is not told of will read as a crash");
            None
        });
        let desk = Arc::new(Desk {
            state: state.clone(),
            version,
            book: file.map(|file| Mutex::new(Book { file, begun: false })),
            instance: OnceLock::new(),
            phase: Mutex::default(),
            word: OnceLock::new(),
            written: AtomicBool::new(false),
        });
        let own = desk.clone();
        let thread = std::thread::Builder::new().name("scribe".into()).spawn(move || own.sit())?.thread().clone();
        Ok(Self { desk, thread })
    }

    /// This life is on record: from now on the file speaks of it.
    pub fn born(&self, instance: InstanceId) {
        _ = self.desk.instance.set(instance);
        self.thread.unpark();
    }

    /// A phase of its shutdown began.
    pub fn enters(&self, phase: Phase) {
        *self.desk.phase.lock().unwrap_or_else(PoisonError::into_inner) = Some(phase);
    }

    /// Why the process ends, handed to the thread; returns when it is written, or the disk has had its time. Takes no lock and does no I/O.
    pub fn last_word(&self, code: u8, cause: Cause) {
        _ = self.desk.word.set((code, cause));
        self.thread.unpark();
        let end = Instant::now() + PATIENCE;
        while !self.desk.written.load(Ordering::Acquire) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Why this life ends in a process that goes on as another image. Should that fail, a last word takes its place.
    pub fn word_before_replacement(&self, cause: &Cause) {
        self.desk.say(None, cause);
    }
}

impl Desk {
    fn sit(&self) {
        let mut ill = false;
        loop {
            if let Some((code, cause)) = self.word.get() {
                self.say(Some(*code), cause);
                return self.written.store(true, Ordering::Release);
            }
            if let Some(instance) = self.instance.get()
                && let Err(error) = self.beat(*instance)
                && !std::mem::replace(&mut ill, true)
            {
                tracing::warn!(%error, "it cannot be written that this life lasts; {} is not to be written", self.state.life().display());
            }
            std::thread::park_timeout(EVERY);
        }
    }

    /// Writes that this life lasts. Words of the life before go with the first time.
    fn beat(&self, instance: InstanceId) -> io::Result<()> {
        let Some(book) = &self.book else { return Ok(()) };
        let mut page = sign(instance, Clock::system().wall());
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !std::mem::replace(&mut book.begun, true);
        if first {
            page.extend(blank(WORDS));
        }
        book.file.write_all_at(&page, 0)?;
        // What the manager saw of the life before is on record by now. It writes only where nothing stands, so that starts in vain until here did not
        // take the place of the death before them.
        match if first { std::fs::remove_file(self.state.seen()) } else { Ok(()) } {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn say(&self, code: Option<u8>, cause: &Cause) {
        let at = Clock::system().wall();
        let Some(instance) = self.instance.get() else {
            if let Some(code) = code {
                false_starts::note(&self.state, self.version, code, &cause.to_string());
            }
            return;
        };
        let Some(book) = &self.book else { return };
        let phase = *self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let words = LastWords { at, code, phase, cause: cause.clone() };
        let page = [sign(*instance, at), fitted(*instance, words)].concat();
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        book.begun = true;
        if let Err(error) = book.file.write_all_at(&page, 0) {
            tracing::warn!(%error, "the last words could not be written");
        }
    }
}

fn sign(instance: InstanceId, seen: Wall) -> Vec<u8> {
    let sign = Sign { instance, pid: std::process::id(), invocation: invocation(), seen };
    record(&sign, SIGN).expect("a few numbers fit")
}

fn invocation() -> Option<String> {
    // 128 bits in hexadecimal; whatever else stands there is not systemd's.
    std::env::var("INVOCATION_ID").ok().filter(|id| id.len() == 32)
}

/// What the life before left, if it can be read, and what the service manager saw where it left no word.
pub fn read(state: &StateDir) -> Option<Remains> {
    let bytes = std::fs::read(state.life()).ok()?;
    let (sign, said) = bytes.split_at_checked(SIGN)?;
    let sign: Sign = whole(sign)?;
    let words = whole::<Said>(said).filter(|said| said.instance == sign.instance).map(|said| said.words);
    let words = words.or_else(|| seen::read(&state.seen(), sign.invocation.as_ref()?));
    Some(Remains { instance: sign.instance, seen: sign.seen, words })
}

/// Whether the life that the file speaks of lasts, as far as that can be seen from outside: it was written of lately, and its process is there.
pub fn lasts(state: &StateDir) -> bool {
    let bytes = std::fs::read(state.life()).unwrap_or_default();
    let Some(sign) = bytes.get(..SIGN).and_then(whole::<Sign>) else { return false };
    let lately = Clock::system().wall().since(sign.seen).is_some_and(|ago| ago < 3 * EVERY);
    lately && read(state).is_some_and(|left| left.words.is_none()) && process::is_there(sign.pid)
}

/// A line of JSON in so many bytes; none when it does not fit. Torn, it is no JSON any more.
fn record(value: &impl Serialize, length: usize) -> Option<Vec<u8>> {
    let mut text = serde_json::to_vec(value).expect("plain data");
    (text.len() < length).then(|| {
        text.resize(length - 1, b' ');
        text.push(b'\n');
        text
    })
}

fn blank(length: usize) -> Vec<u8> {
    let mut bytes = vec![b' '; length - 1];
    bytes.push(b'\n');
    bytes
}

/// Words that fit, with as much of their text as does.
fn fitted(instance: InstanceId, words: LastWords) -> Vec<u8> {
    let mut said = Said { instance, words };
    for letters in [1000, 400, 150, 0] {
        if let Some(bytes) = record(&said, WORDS) {
            return bytes;
        }
        said.words.cause.clip(letters);
    }
    record(&said, WORDS).unwrap_or_else(|| blank(WORDS))
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::exit::Exit;

    const ME: InstanceId = InstanceId(Uuid::from_u128(7));

    fn begun() -> (tempfile::TempDir, StateDir, Scribe) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        let scribe = Scribe::begin(&state, "1.0.0", true).expect("a thread");
        (dir, state, scribe)
    }

    fn words(state: &StateDir) -> Option<LastWords> {
        read(state).and_then(|left| left.words)
    }

    /// Waits, with a bound, until the file speaks of this life.
    fn until_it_lasts(state: &StateDir) {
        let end = Instant::now() + Duration::from_secs(30);
        while read(state).is_none_or(|left| left.instance != ME) {
            assert!(Instant::now() < end, "the scribe never wrote");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn g28_a_life_is_known_by_its_sign_and_its_first_last_word() {
        let (_dir, state, scribe) = begun();
        assert_eq!(read(&state), None, "nothing is said of a life that is not on record");
        scribe.born(ME);
        until_it_lasts(&state);
        assert!(lasts(&state) && words(&state).is_none());
        scribe.enters(Phase::Drain);
        scribe.last_word(Exit::Restart.code(), Cause::Overdue);
        scribe.last_word(Exit::Done.code(), Cause::Hung);
        let said = words(&state).expect("in time");
        assert_eq!((said.code, said.phase, said.cause), (Some(75), Some(Phase::Drain), Cause::Overdue));
        assert!(!lasts(&state), "it said its last word");
        assert_eq!(std::fs::metadata(state.life()).expect("there").len(), (SIGN + WORDS) as u64);
    }

    #[test]
    fn g28_a_last_word_before_the_life_is_on_record_is_a_false_start_and_spares_the_one_before() {
        let (_dir, state, before) = begun();
        before.born(ME);
        before.last_word(Exit::Hung.code(), Cause::Hung);
        let scribe = Scribe::begin(&state, "1.0.0", true).expect("a thread");
        scribe.last_word(Exit::GaveUp.code(), Cause::GaveUp { reason: "a port in use".into() });
        assert_eq!(words(&state).expect("still there").cause, Cause::Hung);
        let noted: Vec<_> = false_starts::read(&state).into_iter().map(|start| (start.code, start.reason)).collect();
        assert_eq!(noted, [(70, "a port in use".to_owned())]);
    }

    #[test]
    fn a_word_before_a_replacement_that_fails_gives_way_to_why() {
        let (_dir, state, scribe) = begun();
        scribe.born(ME);
        scribe.word_before_replacement(&Cause::GaveUp { reason: "one".into() });
        assert_eq!(words(&state).expect("at once").code, None);
        scribe.last_word(Exit::Restart.code(), Cause::NotReplaced { reason: "gone".into() });
        assert_eq!(words(&state).expect("in time").code, Some(75));
    }

    #[test]
    fn g28_what_is_torn_foreign_or_too_long_is_no_last_word() {
        let (_dir, state, scribe) = begun();
        scribe.born(ME);
        until_it_lasts(&state);
        scribe.last_word(Exit::GaveUp.code(), Cause::GaveUp { reason: "\u{1}".repeat(5000) });
        let page = std::fs::read(state.life()).expect("readable");
        assert!(matches!(words(&state).expect("clipped").cause, Cause::GaveUp { reason } if reason.chars().count() == 150));
        let text = page.iter().rposition(|byte| *byte == b'}').expect("JSON");
        for torn in [0, 100, SIGN - 1, SIGN + 1, text] {
            std::fs::write(state.life(), &page[..torn]).expect("writable");
            assert_eq!(words(&state), None, "torn at {torn}");
        }
        let other = Sign { instance: InstanceId(Uuid::from_u128(8)), pid: 1, invocation: None, seen: Wall(1) };
        let foreign = [record(&other, SIGN).expect("it fits").as_slice(), &page[SIGN..]].concat();
        std::fs::write(state.life(), foreign).expect("writable");
        assert_eq!(read(&state), Some(Remains { instance: other.instance, seen: Wall(1), words: None }));
    }
}
