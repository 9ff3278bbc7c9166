//! An update as a value: what is done next, and what follows from how it went. It is what the journal holds, so that whoever comes after a cut
//! goes on with it.
//!
//! ```text
//! Snapshot ─ Arm ─ Switch ─ Prove ─┬─ Keep ─ Serve ─ Tidy         the new version, proved
//!                                  └─ Undo ─ SwitchBack ─ ProveBack ─ Tidy     the old one, proved
//! ```
//!
//! | change to the ledger | on trial | going back is | until |
//! |---|---|---|---|
//! | none, or the old version reads it still | no: it serves at once | the link | the new one is proved |
//! | the old version cannot read it | yes: on a copy of the ledger, hearing and saying nothing | the link; the ledger was never touched | the trial is kept |
//!
//! Every step is recorded before it is performed, and may be performed again: a cut before, in or after it changes nothing but the time that it
//! takes. Where the disk refuses once the new version is current, an older record leads to the same end. It never does anything itself; [`driver`](super::driver) does.

use semver::Version;
use serde::{Deserialize, Serialize};

/// A version gets a second chance before it is judged.
const TRIES: u8 = 2;

/// What an update is about; settled before anything is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version that `current` named.
    pub from: Version,
    /// The version to come.
    pub to: Version,
    /// What it does to the ledger.
    pub change: Change,
    /// How the gateway was.
    pub before: Before,
}

/// How a gateway was before its update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// It served.
    Well,
    /// It was meant to, and did not; how it was, in words. An update may mend it, and is proved as any other; but the way back leads to where it
    /// was, and no proof is asked for there.
    Ill(String),
    /// None was meant to run: there is nothing to prove.
    Down,
    /// It serves, and nobody is known who would start it again: its operator restarts it, and sees whether that was good.
    Unmanaged,
}

/// What a new version does to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Nothing that keeps the old version from reading it.
    Readable,
    /// The old version cannot read it any more.
    Breaking,
}

impl Plan {
    /// Whether the new version is proved on trial: on a copy, hearing and saying nothing.
    pub fn on_trial(&self) -> bool {
        self.change == Change::Breaking && self.proves()
    }

    /// Whether there is something to prove, and a manager that starts it for that.
    pub fn proves(&self) -> bool {
        matches!(self.before, Before::Well | Before::Ill(_))
    }
}

/// Where it stands: the step that is to be performed next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "next")]
pub enum Stage {
    /// Copy the ledger, for the operator: it is never put back by itself.
    Snapshot,
    /// Say that the next life of the new version is a trial.
    Arm,
    /// Let `current` name the new version.
    Switch,
    /// See that the new version runs and stays.
    Prove {
        /// So often it did not.
        failed: u8,
    },
    /// End the trial for good: from here on only forward.
    Keep,
    /// See that the new version serves after its trial.
    Serve {
        /// So often it did not.
        failed: u8,
    },
    /// End the trial for nothing, unless it was kept.
    Undo {
        /// Why.
        reason: String,
    },
    /// Let `current` name the old version.
    SwitchBack {
        /// Why.
        reason: String,
    },
    /// See that the old version runs and stays.
    ProveBack {
        /// Why.
        reason: String,
        /// So often it did not.
        failed: u8,
    },
    /// Remove what the update needed.
    Tidy {
        /// How it went.
        outcome: Outcome,
    },
    /// It could not go on. The next run does, from where it was, unless another version is to be had.
    Stuck {
        /// Where it was.
        at: Box<Stage>,
        /// What the operator was told.
        why: Stuck,
    },
}

/// How an update ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The new version runs, proved.
    Updated,
    /// The new version is in place, and nobody proves it.
    Installed,
    /// The old version runs, proved.
    RolledBack {
        /// Why.
        reason: String,
    },
    /// The old version is back, and ill as it was before.
    BackAsIll {
        /// Why it is back.
        reason: String,
        /// How it is ill.
        illness: String,
    },
    /// Nothing was touched.
    Untouched {
        /// Why.
        reason: String,
    },
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write the journal: all of this value, durably.
    Record,
    /// Copy the ledger, for the operator.
    Snapshot,
    /// Write the trial file.
    Arm,
    /// Let `current` name this version.
    Switch(Version),
    /// See that this version runs and stays: start it, or restart what runs, unless it runs already.
    Prove(Prove),
    /// Keep the trial.
    Keep,
    /// Undo the trial.
    Undo,
    /// Remove downloads, old versions, the trial's leavings.
    Tidy,
    /// Remove the journal.
    Forget,
    /// It is over.
    Report(Outcome),
    /// It is not over, and cannot go on by itself: the operator has to look. The journal stays, and the next run goes on.
    Stuck(Stuck),
}

/// What is to be proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prove {
    /// That it is of this version.
    pub version: Version,
    /// On trial, or serving.
    pub on_trial: bool,
    /// Whether one that runs already is not enough: it did not stay.
    pub anew: bool,
}

/// Why it cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// The version that should run.
    pub version: Version,
    /// What happened.
    pub reason: String,
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The run begins, perhaps where another was cut.
    Go,
    /// The effect was performed.
    Done,
    /// The effect was not performed; it changed nothing.
    Failed(String),
    /// The trial was kept already: too late to undo it.
    Kept,
}

/// An update under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// What it is about.
    pub plan: Plan,
    /// Where it stands.
    pub stage: Stage,
}

impl Update {
    /// One that has not begun.
    pub fn new(plan: Plan) -> Self {
        Self { plan, stage: Stage::Snapshot }
    }

    /// How the gateway is ill, where that is all that is left of the update: everything is decided, and a version that should run does not. It can be
    /// updated like any other that is ill.
    pub fn illness(&self) -> Option<&str> {
        match &self.stage {
            Stage::Stuck { at, why } if matches!(**at, Stage::Serve { .. } | Stage::ProveBack { .. }) => Some(&why.reason),
            _ => None,
        }
    }

    /// Whether it is not to be stopped for a journal that still says where it was before: what follows there may all be done again.
    pub fn may_go_on_unrecorded(&self) -> bool {
        !matches!(self.stage, Stage::Snapshot | Stage::Arm | Stage::Switch)
    }

    /// Whether only rubbish is left of it.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Tidy { .. })
    }

    /// Takes what came of the last effect to what is done next. The caller performs it, in order.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let next = match event {
            Event::Go => self.after_cut(),
            Event::Done => self.after_done(),
            Event::Failed(reason) => match self.after_failed(reason) {
                Ok(next) => next,
                Err(stuck) => return self.stop(stuck),
            },
            Event::Kept => Stage::Serve { failed: 0 },
        };
        self.stage = next;
        self.effects()
    }

    /// A proof is worth nothing after a cut: who knows what happened since.
    fn after_cut(&self) -> Stage {
        match &self.stage {
            Stage::Tidy { outcome: Outcome::Updated } => Stage::Serve { failed: 0 },
            Stage::Tidy { outcome: Outcome::RolledBack { reason } } => Stage::ProveBack { reason: reason.clone(), failed: 0 },
            Stage::Stuck { at, .. } => (**at).clone(),
            other => other.clone(),
        }
    }

    fn after_done(&self) -> Stage {
        match &self.stage {
            Stage::Snapshot if self.plan.on_trial() => Stage::Arm,
            Stage::Snapshot | Stage::Arm => Stage::Switch,
            Stage::Switch if self.plan.proves() => Stage::Prove { failed: 0 },
            Stage::Switch => Stage::Tidy { outcome: Outcome::Installed },
            Stage::Prove { .. } if self.plan.on_trial() => Stage::Keep,
            Stage::Keep => Stage::Serve { failed: 0 },
            Stage::Prove { .. } | Stage::Serve { .. } => Stage::Tidy { outcome: Outcome::Updated },
            Stage::Undo { reason } => Stage::SwitchBack { reason: reason.clone() },
            Stage::SwitchBack { reason } if self.plan.proves() => Stage::ProveBack { reason: reason.clone(), failed: 0 },
            Stage::SwitchBack { reason } => Stage::Tidy { outcome: Outcome::Untouched { reason: reason.clone() } },
            Stage::ProveBack { reason, .. } => Stage::Tidy { outcome: Outcome::RolledBack { reason: reason.clone() } },
            Stage::Tidy { .. } | Stage::Stuck { .. } => self.stage.clone(),
        }
    }

    fn after_failed(&self, reason: String) -> Result<Stage, Stuck> {
        let stuck = |version: &Version, reason| Err(Stuck { version: version.clone(), reason });
        match &self.stage {
            // A trial that is half armed goes with the rest; an old version that starts meanwhile undoes it.
            Stage::Snapshot | Stage::Arm => Ok(Stage::Tidy { outcome: Outcome::Untouched { reason } }),
            Stage::Switch if self.plan.on_trial() => Ok(Stage::Undo { reason }),
            Stage::Switch => Ok(Stage::SwitchBack { reason }),
            Stage::Prove { failed } if *failed < TRIES - 1 => Ok(Stage::Prove { failed: failed + 1 }),
            Stage::Prove { .. } if self.plan.on_trial() => Ok(Stage::Undo { reason }),
            Stage::Prove { .. } => Ok(Stage::SwitchBack { reason }),
            // Somebody undid it, or the disk refuses; what was decided shows when it is undone.
            Stage::Keep => Ok(Stage::Undo { reason }),
            Stage::Serve { failed } if *failed < TRIES - 1 => Ok(Stage::Serve { failed: failed + 1 }),
            Stage::ProveBack { reason: first, failed } if *failed < TRIES - 1 => {
                Ok(Stage::ProveBack { reason: first.clone(), failed: failed + 1 })
            }
            Stage::ProveBack { reason: first, .. } if matches!(self.plan.before, Before::Ill(_)) => {
                Ok(Stage::Tidy { outcome: Outcome::BackAsIll { reason: first.clone(), illness: reason } })
            }
            // The new version has the ledger now; the old one could not read it.
            Stage::Serve { .. } => stuck(&self.plan.to, reason),
            Stage::Undo { reason: first } | Stage::SwitchBack { reason: first } | Stage::ProveBack { reason: first, .. } => {
                stuck(&self.plan.from, format!("{reason}; before that: {first}"))
            }
            // What stays behind is only rubbish.
            Stage::Tidy { .. } | Stage::Stuck { .. } => Ok(self.stage.clone()),
        }
    }

    /// The journal stays, with the tries given back.
    fn stop(&mut self, why: Stuck) -> Vec<Effect> {
        let mut at = Box::new(self.stage.clone());
        if let Stage::Serve { failed } | Stage::ProveBack { failed, .. } = &mut *at {
            *failed = 0;
        }
        self.stage = Stage::Stuck { at, why };
        self.effects()
    }

    fn effects(&self) -> Vec<Effect> {
        let Plan { from, to, .. } = &self.plan;
        let prove = |version: &Version, on_trial, failed: u8| Effect::Prove(Prove { version: version.clone(), on_trial, anew: failed > 0 });
        let act = match &self.stage {
            Stage::Snapshot => Effect::Snapshot,
            Stage::Arm => Effect::Arm,
            Stage::Switch => Effect::Switch(to.clone()),
            Stage::Prove { failed } => prove(to, self.plan.on_trial(), *failed),
            Stage::Keep => Effect::Keep,
            Stage::Serve { failed } => prove(to, false, *failed),
            Stage::Undo { .. } => Effect::Undo,
            Stage::SwitchBack { .. } => Effect::Switch(from.clone()),
            Stage::ProveBack { failed, .. } => prove(from, false, *failed),
            Stage::Tidy { outcome } => {
                return vec![Effect::Record, Effect::Tidy, Effect::Forget, Effect::Report(outcome.clone())];
            }
            Stage::Stuck { why, .. } => Effect::Stuck(why.clone()),
        };
        vec![Effect::Record, act]
    }
}

#[cfg(test)]
mod tests;
