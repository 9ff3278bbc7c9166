//! A life on trial: ready, and waiting for the word that keeps it. Without one it keeps itself, so that people are not left without an answer when
//! the updater is gone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::release::Release;
use crate::state_dir::StateDir;
use crate::trial::{Life, Terms, Trial, TrialError, Verdict};

/// How often it looks whether it was kept.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The trial that this life is.
pub(super) struct OnTrial {
    trial: Trial,
    terms: Terms,
    ready_since: Option<Instant>,
    over: bool,
}

impl OnTrial {
    /// Asks what this life is to be; none: it serves.
    pub(super) fn begin(state: &StateDir, release: &Release) -> Result<Option<Self>, TrialError> {
        let trial = Trial::of(state);
        match trial.begin(release)? {
            Life::Serving => Ok(None),
            Life::OnTrial(terms) => {
                tracing::info!(version = %terms.version, "on trial: on a copy of the ledger, hearing and saying nothing");
                Ok(Some(Self { trial, terms, ready_since: None, over: false }))
            }
        }
    }

    /// The ledger that it lives on.
    pub(super) fn ledger(&self) -> &Path {
        self.trial.copy()
    }

    /// Its clean flag.
    pub(super) fn marker(&self) -> PathBuf {
        self.trial.flag().to_owned()
    }

    pub(super) fn ready(&mut self) {
        self.ready_since = Some(Instant::now());
    }

    /// Whether it was kept.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Looks what became of it; true once, when it was kept.
    pub(super) fn look(&mut self) -> bool {
        let overdue = self.ready_since.is_some_and(|since| since.elapsed() >= self.terms.keep_after());
        let verdict = match self.trial.verdict() {
            Verdict::Open if overdue => match self.trial.keep() {
                Ok(verdict) => {
                    tracing::warn!("nobody ended the trial; it ends itself, for good");
                    verdict
                }
                Err(error) => {
                    tracing::error!(%error, "the trial cannot be ended");
                    Verdict::Open
                }
            },
            verdict => verdict,
        };
        let kept = verdict == Verdict::Kept && !self.over;
        self.over |= kept;
        kept
    }
}
