//! What happened in a world, as text: one line per thing that somebody outside could see.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Wall;

/// A trace. Clones write into the same one.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: Arc<Mutex<Vec<(Wall, String, String)>>>,
}

impl Trace {
    /// Notes that `who` did or said `what`.
    pub fn note(&self, at: Wall, who: impl Into<String>, what: impl Into<String>) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push((at, who.into(), what.into()));
    }

    /// The lines since `origin`, each with its time in whole seconds.
    pub fn text(&self, origin: Wall) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let width = lines.iter().map(|(_, who, _)| who.chars().count()).max().unwrap_or(0);
        let line = |(at, who, what): &(Wall, String, String)| {
            let secs = at.since(origin).unwrap_or(Duration::ZERO).as_secs();
            let what = what.replace('\n', " ⏎ ");
            format!("{}\n", format!("{secs:>3}s  {who:<width$}  {what}").trim_end())
        };
        lines.iter().map(line).collect()
    }

    /// Forgets everything so far.
    pub fn clear(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
