//! The clean-shutdown flag: a small file beside the ledger that says "nobody was cut".
//!
//! It is written as the very last thing of a clean shutdown, whole or not at all, and it is true only for the ledger, the instance and
//! the last number that it names. Whoever starts next consumes it by being born in the ledger: from then on it no longer names
//! the last instance, so no cut can use it twice; removing the file is housekeeping. It skips no recovery.

pub mod disk;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix::{Actor, Context, Handler, MessageResult, Supervised};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{InstanceId, Seq};
use crate::last_words;
use crate::ledger::{Ending, LedgerFacts};
use crate::protocol::{ReadMarker, RemoveMarker, WriteMarker};
use crate::shutdown::ShutdownKind;
use disk::{Disk, Files};

/// What the flag holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// The format, so that a later one is not taken for this one.
    pub format: u32,
    /// The ledger that it speaks of.
    pub ledger: Uuid,
    /// The instance that wrote it.
    pub instance: InstanceId,
    /// The highest number that this instance gave out.
    pub last_seq: Seq,
    /// What the shutdown was for.
    pub kind: ShutdownKind,
    /// Sessions of the census.
    pub census: usize,
    /// The program's version.
    pub version: String,
}

/// The format written today.
pub const FORMAT: u32 = 1;

/// What a start finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No file.
    Nothing,
    /// A whole flag.
    Whole(Marker),
    /// A file that is not one: torn, foreign, or of a later format; and what is wrong with it.
    Broken(String),
}

/// How the last instance ended, by what its rows and the flag say; `boot`: the present one of the machine, where it is known. `None`: there was none.
///
/// | flag | ledger's last instance | ended |
/// |---|---|---|
/// | whole, same ledger, instance and number | said goodbye, clean | clean |
/// | anything else | said goodbye | unclean, in its own words |
/// | anything | said no goodbye | as its [last words](last_words::judge) say, else killed, in its last phase |
pub fn judge(found: &Found, facts: &LedgerFacts, boot: Option<&str>) -> Option<Ending> {
    let last = facts.last.as_ref()?;
    let Some((_, _, clean, verdict)) = &last.ended else {
        return Some(last_words::judge(last, boot));
    };
    let flagged = match found {
        Found::Whole(marker) => {
            marker.ledger == facts.ledger
                && marker.instance == last.instance
                && marker.last_seq >= facts.last_seq
                && marker.format == FORMAT
        }
        Found::Nothing | Found::Broken(_) => false,
    };
    Some(match (*clean, flagged) {
        (true, true) => Ending::Clean,
        (true, false) => Ending::Unclean { verdict: "it was clean, but left no flag that is true".into() },
        (false, _) => Ending::Unclean { verdict: verdict.clone() },
    })
}

/// The place of the flag.
#[derive(Clone)]
pub struct Flag {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Flag {
    /// The flag in this file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self::on(Files, path)
    }

    /// The flag in this file of a disk.
    pub fn on(disk: impl Disk, path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), disk: Arc::new(disk) }
    }

    /// Writes it: a temporary file, fsync, rename, fsync of the directory. Whoever reads sees all of it or nothing.
    ///
    /// # Errors
    /// Names the file and what the system said.
    pub fn write(&self, marker: &Marker) -> Result<(), String> {
        let text = serde_json::to_string(marker).expect("a marker is plain data");
        let temporary = self.path.with_extension("new");
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = self.disk.write(&temporary, text.as_bytes());
        let written = written.and_then(|()| self.disk.sync(&temporary)).and_then(|()| self.disk.rename(&temporary, &self.path));
        let written = written.and_then(|()| self.disk.sync(directory));
        written.map_err(|error| format!("the marker {} could not be written: {error}", self.path.display()))
    }

    /// Reads it.
    pub fn read(&self) -> Found {
        /// No flag is anywhere near this long.
        const LONGEST: u64 = 64 * 1024;
        let path = self.path.display();
        match self.disk.read(&self.path, LONGEST).map(String::from_utf8) {
            Err(error) if error.kind() == ErrorKind::NotFound => Found::Nothing,
            Err(error) => Found::Broken(format!("{path} cannot be read: {error}")),
            Ok(Err(error)) => Found::Broken(format!("{path} is not a marker: {error}")),
            Ok(Ok(text)) => parse(&text).map_or_else(|reason| Found::Broken(format!("{path} {reason}")), Found::Whole),
        }
    }

    /// Removes it. It is consumed by then, so nothing depends on this.
    fn remove(&self) {
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, "the consumed marker could not be removed");
            }
            _ => {}
        }
    }
}

/// What a flag says.
///
/// # Errors
/// Why the text is none: torn, foreign, or of a later format.
pub fn parse(text: &str) -> Result<Marker, String> {
    match serde_json::from_str::<Marker>(text) {
        Ok(marker) if marker.format == FORMAT => Ok(marker),
        Ok(marker) => Err(format!("is of format {}, not {FORMAT}", marker.format)),
        Err(error) => Err(format!("is not a marker: {error}")),
    }
}

/// Writes and reads the flag. Its few milliseconds of disk are spent on its own turn, after everything else is quiet.
pub struct MarkerActor {
    flag: Option<Flag>,
}

impl MarkerActor {
    /// The keeper of a flag; without one (a ledger in memory) there is never any.
    pub fn new(flag: Option<Flag>) -> Self {
        Self { flag }
    }
}

impl Actor for MarkerActor {
    type Context = Context<Self>;
}

impl Supervised for MarkerActor {}

impl Handler<WriteMarker> for MarkerActor {
    type Result = MessageResult<WriteMarker>;

    fn handle(&mut self, WriteMarker(marker): WriteMarker, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.flag.as_ref().map_or(Ok(()), |flag| flag.write(&marker)))
    }
}

impl Handler<ReadMarker> for MarkerActor {
    type Result = MessageResult<ReadMarker>;

    fn handle(&mut self, _: ReadMarker, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.flag.as_ref().map_or(Found::Nothing, Flag::read))
    }
}

impl Handler<RemoveMarker> for MarkerActor {
    type Result = ();

    fn handle(&mut self, _: RemoveMarker, _: &mut Context<Self>) {
        if let Some(flag) = &self.flag {
            flag.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::clock::Wall;
    use crate::last_words::Death;
    use crate::ledger::InstanceFacts;
    use crate::shutdown::Phase;

    fn marker(instance: InstanceId, last_seq: u64) -> Marker {
        Marker {
            format: FORMAT,
            ledger: Uuid::from_u128(1),
            instance,
            last_seq: Seq(last_seq),
            kind: ShutdownKind::Stop,
            census: 3,
            version: "0.1.0".into(),
        }
    }

    #[test]
    fn g08_only_a_true_flag_counts() {
        let (me, other) = (InstanceId(Uuid::from_u128(7)), InstanceId(Uuid::from_u128(8)));
        let facts = |ended: Option<bool>, phase: Option<Phase>| LedgerFacts {
            ledger: Uuid::from_u128(1),
            last_seq: Seq(10),
            last: Some(InstanceFacts {
                instance: me,
                version: "0.1.0".into(),
                born: Wall(0),
                boot: None,
                phase: phase.map(|phase| (phase, Wall(1))),
                ended: ended.map(|clean| (Wall(2), ShutdownKind::Stop, clean, "alice was interrupted".into())),
                predecessor: None,
                why: None,
                seen: None,
                words: None,
            }),
            unclean_starts: Vec::new(),
        };
        let clean = facts(Some(true), Some(Phase::Mark));
        let check = |found: Found, facts: &LedgerFacts, is_clean: bool| {
            assert_eq!(judge(&found, facts, None) == Some(Ending::Clean), is_clean, "{found:?}");
        };
        check(Found::Whole(marker(me, 10)), &clean, true);
        check(Found::Whole(marker(me, 9)), &clean, false);
        check(Found::Whole(marker(other, 10)), &clean, false);
        check(Found::Whole(Marker { ledger: Uuid::from_u128(2), ..marker(me, 10) }), &clean, false);
        check(Found::Nothing, &clean, false);
        check(Found::Broken("torn".into()), &clean, false);
        check(Found::Whole(marker(me, 10)), &facts(Some(false), Some(Phase::Mark)), false);
        let killed = facts(None, Some(Phase::Drain));
        let ending = Ending::Killed { phase: Some(Phase::Drain), by: Death::Unknown };
        assert_eq!(judge(&Found::Whole(marker(me, 10)), &killed, None), Some(ending));
        assert_eq!(judge(&Found::Nothing, &LedgerFacts { last: None, ..clean }, None), None);
    }

    #[test]
    fn g08_a_flag_is_whole_or_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clean");
        let flag = Flag::at(&path);
        assert_eq!(flag.read(), Found::Nothing);
        let whole = marker(InstanceId(Uuid::from_u128(7)), 10);
        flag.write(&whole).expect("it can be written");
        assert_eq!(flag.read(), Found::Whole(whole.clone()));
        let bytes = fs::read(&path).expect("it can be read");
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).expect("it can be written");
            assert!(matches!(flag.read(), Found::Broken(_)), "torn at {length}");
        }
        fs::write(&path, serde_json::to_vec(&Marker { format: 2, ..whole }).expect("plain data")).expect("it can be written");
        assert!(matches!(flag.read(), Found::Broken(_)), "a later format");
        fs::write(&path, vec![b' '; 1 << 20]).expect("it can be written");
        assert!(matches!(flag.read(), Found::Broken(_)), "far too long");
        assert!(matches!(Flag::at(folder.path()).read(), Found::Broken(_)), "there is something, and it is no file");
        let missing = folder.path().join("no/such/folder/clean");
        let fault = Flag::at(&missing).write(&marker(InstanceId(Uuid::from_u128(7)), 1)).expect_err("no such folder");
        assert!(fault.contains("no/such/folder/clean"), "{fault}");
    }
}
