//! A disk in memory that loses its power. What was written and not synced is then kept, lost, torn or empty, as its [`Loss`] says; whoever
//! syncs in the wrong order, or not at all, finds less than they wrote.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Chronicle, Event, Knife};
use crate::marker::disk;

/// What becomes of what was not synced when a life ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// It is kept: the process went, and the machine stayed.
    #[default]
    Nothing,
    /// It is as if it had never been done.
    Unsynced,
    /// Files have their new names, and half of what they were to hold.
    Torn,
    /// Files have their new names, and hold nothing.
    Emptied,
}

/// A disk. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Disk {
    loss: Loss,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    knife: Knife,
    files: Vec<File>,
    /// As whoever runs sees them, and as they were when their directory was synced: each the place of a file.
    names: BTreeMap<PathBuf, usize>,
    synced: BTreeMap<PathBuf, usize>,
}

#[derive(Debug)]
struct File {
    bytes: Vec<u8>,
    synced: Option<Vec<u8>>,
}

impl Disk {
    /// An empty disk.
    pub fn new(loss: Loss) -> Self {
        let knife = Knife::new(None, Chronicle::default());
        let state = State { knife, files: Vec::new(), names: BTreeMap::new(), synced: BTreeMap::new() };
        Self { loss, state: Arc::new(Mutex::new(state)) }
    }

    /// Another life has another end.
    pub(in crate::testkit) fn set_life(&self, knife: Knife) {
        self.state().knife = knife;
    }

    /// The power goes.
    pub(in crate::testkit) fn lose_power(&self) {
        let state = &mut *self.state();
        match self.loss {
            Loss::Nothing => {}
            Loss::Unsynced => state.names.clone_from(&state.synced),
            Loss::Torn | Loss::Emptied => {}
        }
        for file in &mut state.files {
            if file.synced.as_ref() != Some(&file.bytes) {
                match self.loss {
                    Loss::Nothing => {}
                    Loss::Unsynced => file.bytes = file.synced.clone().unwrap_or_default(),
                    Loss::Torn => file.bytes.truncate(file.bytes.len() / 2),
                    Loss::Emptied => file.bytes.clear(),
                }
            }
            file.synced = Some(file.bytes.clone());
        }
        state.synced.clone_from(&state.names);
    }

    /// Does something between two points.
    fn cut<R>(&self, what: &str, path: &Path, act: impl FnOnce(&mut State) -> io::Result<R>) -> io::Result<R> {
        let state = &mut *self.state();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let off = || io::Error::other("the power is off");
        if !state.knife.pass(|| format!("before the disk is to {what} {name}")) {
            return Err(off());
        }
        let done = act(state)?;
        if state.knife.pass(|| format!("after the disk was to {what} {name}")) { Ok(done) } else { Err(off()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn place(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl disk::Disk for Disk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.cut("write", path, |state| {
            state.names.insert(path.to_owned(), state.files.len());
            state.files.push(File { bytes: bytes.to_owned(), synced: None });
            Ok(())
        })
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.cut("sync", path, |state| {
            match state.place(path) {
                Ok(place) => state.files[place].synced = Some(state.files[place].bytes.clone()),
                // A file's name is in its directory.
                Err(_) => {
                    state.synced.clone_from(&state.names);
                    state.knife.note(Event::Synced);
                }
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.cut("rename", from, |state| {
            let place = state.place(from)?;
            state.names.remove(from);
            state.names.insert(to.to_owned(), place);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().place(path)?;
        self.cut("remove", path, |state| {
            state.names.remove(path);
            Ok(())
        })
    }

    fn read(&self, path: &Path, _: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        Ok(state.files[state.place(path)?].bytes.clone())
    }
}
