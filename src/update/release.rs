//! A release to update to: found where releases are, believed by its signature, and brought among the versions.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

use semver::Version;

use super::manifest::{Artifact, Keys, Manifest, Signer};
use super::source::{self, Source};
use super::{Order, Refusal, driver, examine, refuse};
use crate::config::Update as Settings;
use crate::exit::Exit;
use crate::install::Layout;

/// A release that was found, and is believed.
pub(super) struct Release {
    source: Source,
    pub(super) place: String,
    pub(super) manifest: Manifest,
}

impl Release {
    /// Finds the wanted release.
    ///
    /// # Errors
    /// When it is not to be had, or not to be believed.
    pub(super) fn find(order: &Order, settings: &Settings, told: &mut dyn FnMut(&str)) -> Result<Self, Refusal> {
        let usage = |words: &str| Refusal(Exit::Usage, words.into());
        let place = order.from.as_deref().unwrap_or(&settings.source);
        if place.is_empty() {
            return Err(usage("it is not known where releases are. Set update.source, or name a place with --from"));
        }
        if settings.public_key.is_empty() {
            return Err(usage(
                "it is not known who makes the releases. Set update.public_key to the minisign key that they are signed with",
            ));
        }
        let keys = Keys::of(settings).map_err(|error| refuse(&error))?;
        let mut read = |source| Self::read(source, &keys, order.expired, told);
        let source = Source::parse(place).map_err(|error| refuse(&error))?;
        let newest = read(source.clone())?;
        let release = match &order.to {
            Some(wanted) if *wanted != newest.manifest.version => {
                let older = read(source.beneath(wanted))?;
                if older.manifest.version != *wanted {
                    let words = format!("{} is of version {}, not {wanted}", older.place, older.manifest.version);
                    return Err(Refusal(Exit::NotAchieved, words));
                }
                older
            }
            _ => newest,
        };
        // Only of the one that is wanted: another may not be made for this machine.
        release.artifact()?;
        Ok(release)
    }

    fn artifact(&self) -> Result<&Artifact, Refusal> {
        self.manifest.artifact(&self.place).map_err(|error| refuse(&error))
    }

    fn read(source: Source, keys: &Keys, expired: bool, told: &mut dyn FnMut(&str)) -> Result<Self, Refusal> {
        let place = source.place();
        told(&format!("reading {place}"));
        let (text, signature) = source.manifest().map_err(|error| refuse(&error))?;
        let (manifest, signer) = Manifest::read(&place, &text, &signature, keys).map_err(|error| refuse(&error))?;
        if signer == Signer::Next {
            told("it is signed with update.next_public_key. Once every release is, make that update.public_key");
        }
        match manifest.is_fresh(&place, SystemTime::now()) {
            Err(stale) if expired => told(&format!("going on all the same (--expired): {stale}")),
            other => other.map_err(|error| refuse(&error))?,
        }
        Ok(Self { source, place, manifest })
    }

    /// What it is beside the current one, in words.
    pub(super) fn compared_with(&self, current: &Version) -> String {
        let version = &self.manifest.version;
        match version.cmp(current) {
            std::cmp::Ordering::Equal => format!("version {current} is current, and the newest"),
            std::cmp::Ordering::Greater => format!("version {version} is there; {current} is current"),
            std::cmp::Ordering::Less => format!("version {current} is current; {} has only {version}", self.place),
        }
    }

    /// Brings its program, and puts it beside the others.
    ///
    /// # Errors
    /// When it does not arrive, is not what was signed, or there is no room for it.
    pub(super) fn install(&self, layout: &Layout, told: &mut dyn FnMut(&str)) -> Result<(), Refusal> {
        let (version, artifact) = (&self.manifest.version, self.artifact()?);
        let there = layout.program(&version.to_string());
        if source::sha256(&there).is_ok_and(|sum| sum == artifact.sha256) {
            return Ok(());
        }
        told(&format!("fetching version {version}: {} bytes", artifact.size));
        let disk = |error: std::io::Error| Refusal(Exit::NotAchieved, format!("{}: {error}", layout.root().display()));
        let folder = layout.root().join(driver::DOWNLOADS);
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(disk(error)),
            _ => {}
        }
        let download: PathBuf = folder.join(&artifact.sha256);
        self.source.fetch(artifact, &download).map_err(|error| refuse(&error))?;
        std::fs::set_permissions(&download, std::fs::Permissions::from_mode(0o755)).map_err(disk)?;
        if let Err(reason) = examine::is_as_signed(&download, &self.manifest) {
            std::fs::remove_dir_all(&folder).map_err(disk)?;
            return Err(Refusal(Exit::NotAchieved, format!("{}: {reason}", self.place)));
        }
        layout.put(&version.to_string(), &download).map_err(|error| refuse(&error))?;
        std::fs::remove_dir_all(&folder).map_err(disk)
    }
}
