//! Performs what [`machine`](super::machine) decides, in its order, and tells it what came of it.

use semver::Version;

use super::errand::{Answer, What};
use super::journal::{Entry, Journal, JournalError};
use super::machine::{Effect, Event, Outcome, Stuck};
use crate::install::Layout;
use crate::restart::proof::Limits;
use crate::trial::{Terms, Verdict};

/// Versions that stay: the current one, the one before it, and one more.
const KEEP: usize = 3;
/// Where programs are brought before they become versions.
pub(super) const DOWNLOADS: &str = "downloads";

/// How an update ended, or that it did not.
#[derive(Debug)]
pub enum End {
    /// It is over.
    Over(Outcome),
    /// An operator has to look.
    Stuck(Stuck),
}

/// Brings an update to its end.
pub struct Driver<'a> {
    /// Where the versions are.
    pub layout: &'a Layout,
    /// Where it is written down.
    pub journal: &'a Journal,
    /// How long a version may take, and has to stay.
    pub limits: Limits,
    /// Hears every step, in words.
    pub told: &'a mut dyn FnMut(&str),
}

impl Driver<'_> {
    /// Goes on with an update, from wherever it stands, until it is over or stuck.
    ///
    /// # Errors
    /// When the journal cannot be written: nothing is begun that is not written down.
    pub fn drive(&mut self, mut entry: Entry) -> Result<End, JournalError> {
        let mut event = Event::Go;
        loop {
            let mut came = None;
            for effect in entry.update.step(event) {
                match effect {
                    Effect::Record => self.record(&entry)?,
                    Effect::Tidy => self.tidy(&entry),
                    Effect::Forget => self.journal.forget()?,
                    Effect::Report(outcome) => return Ok(End::Over(outcome)),
                    Effect::Stuck(stuck) => return Ok(End::Stuck(stuck)),
                    act => came = Some(self.perform(&act, &mut entry)),
                }
            }
            event = came.unwrap_or(Event::Done);
        }
    }

    /// Once `current` names the new version, to stop would leave that unproved, and what is written down already leads to the same end.
    fn record(&mut self, entry: &Entry) -> Result<(), JournalError> {
        match self.journal.write(entry) {
            Err(error) if entry.update.may_go_on_unrecorded() => {
                (self.told)(&format!("warning: {error}; going on without"));
                // What is tidied away is what the older record would be gone on with.
                if entry.update.is_over() { self.journal.forget() } else { Ok(()) }
            }
            written => written,
        }
    }

    fn perform(&mut self, effect: &Effect, entry: &mut Entry) -> Event {
        let came = match effect {
            Effect::Snapshot => {
                (self.told)("copying the ledger");
                entry.subject.errand(What::Snapshot { to: entry.update.plan.to.clone() }).map(drop)
            }
            Effect::Arm => {
                (self.told)(
                    "the old version cannot read what the new one makes of the ledger: it is proved on a copy, hearing and saying nothing",
                );
                // By then we have decided, or are gone.
                let keep_after = self.limits.start.saturating_add(self.limits.dwell);
                let keep_after_millis = u64::try_from(keep_after.as_millis()).unwrap_or(u64::MAX);
                let terms = Terms { version: entry.update.plan.to.to_string(), keep_after_millis };
                entry.subject.errand(What::Arm(terms)).map(drop)
            }
            Effect::Switch(version) => {
                let plan = &entry.update.plan;
                if *version == plan.to {
                    // What an earlier update left of its trial would keep it from serving.
                    if !plan.on_trial()
                        && let Err(reason) = entry.subject.errand(What::TidyTrial)
                    {
                        return Event::Failed(reason);
                    }
                    // By then the new version may be all that `switchboard` leads to.
                    let from = self.layout.program(&plan.from.to_string());
                    (self.told)(&format!("should this be cut, `{} update` finishes or undoes it", from.display()));
                }
                (self.told)(&format!("switching to {version}"));
                self.layout.switch(&version.to_string()).map_err(|error| error.to_string())
            }
            Effect::Prove(prove) => {
                let again = if prove.anew { ", once more" } else { "" };
                (self.told)(&format!("proving {}{again}", prove.version));
                let verdict = if prove.on_trial { verdict(entry, What::Verdict) } else { Ok(Verdict::Open) };
                if verdict == Ok(Verdict::Undone) {
                    Err("its trial was undone meanwhile: another version has served".into())
                } else {
                    let came = entry.subject.prove(self.layout, prove, &self.limits, self.told);
                    if let Err(reason) = &came {
                        (self.told)(&format!("{} is not proved: {reason}", prove.version));
                    }
                    came
                }
            }
            Effect::Keep => {
                (self.told)("keeping it: from here on only forward");
                match verdict(entry, What::Keep) {
                    Ok(Verdict::Kept) => Ok(()),
                    Ok(_) => Err("its trial was undone meanwhile".into()),
                    Err(reason) => Err(reason),
                }
            }
            Effect::Undo => match verdict(entry, What::Undo) {
                Ok(Verdict::Kept) => return Event::Kept,
                undone => undone.map(drop),
            },
            // The others are the loop's.
            Effect::Record | Effect::Tidy | Effect::Forget | Effect::Report(_) | Effect::Stuck(_) => Ok(()),
        };
        came.map_or_else(Event::Failed, |()| Event::Done)
    }

    /// What cannot be removed is rubbish, and said.
    fn tidy(&mut self, entry: &Entry) {
        let plan = &entry.update.plan;
        let errands = [What::TidyTrial, What::Tidy { to: plan.to.clone() }];
        let mut failed: Vec<String> = errands.into_iter().filter_map(|what| entry.subject.errand(what).err()).collect();
        for version in superfluous(&self.layout.versions(), &[&plan.from, &plan.to]) {
            failed.extend(self.layout.remove(&version).err().map(|error| error.to_string()));
        }
        let downloads = self.layout.root().join(DOWNLOADS);
        if downloads.exists() {
            failed.extend(std::fs::remove_dir_all(&downloads).err().map(|error| format!("{}: {error}", downloads.display())));
        }
        failed.iter().for_each(|reason| (self.told)(&format!("warning: {reason}")));
    }
}

fn verdict(entry: &Entry, what: What) -> Result<Verdict, String> {
    match entry.subject.errand(what)? {
        Answer::Verdict(verdict) => Ok(verdict),
        other => Err(format!("asked for the trial, its user's program answered {other:?}")),
    }
}

/// The versions that go: all but the newest, and those that an update is about. What is no version was not put there by us, and stays.
fn superfluous(there: &[String], kept: &[&Version]) -> Vec<String> {
    let mut others: Vec<Version> = there.iter().filter_map(|name| name.parse().ok()).filter(|version| !kept.contains(&version)).collect();
    others.sort();
    others.truncate(others.len().saturating_sub(KEEP.saturating_sub(kept.len())));
    others.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_three_versions_stay() {
        let check = |there: &str, from: &str, to: &str, expected: &str| {
            let there: Vec<String> = there.split_whitespace().map(str::to_owned).collect();
            let (from, to) = (from.parse().expect("a version"), to.parse().expect("a version"));
            assert_eq!(superfluous(&there, &[&from, &to]).join(" "), expected, "{there:?}");
        };
        check("0.1.0 0.2.0", "0.1.0", "0.2.0", "");
        check("0.1.0 0.2.0 0.3.0", "0.2.0", "0.3.0", "");
        check("0.1.0 0.9.0 0.10.0 0.11.0", "0.10.0", "0.11.0", "0.1.0");
        check("0.1.0 0.2.0 0.3.0 0.4.0 mine", "0.4.0", "0.1.0", "0.2.0");
    }
}
