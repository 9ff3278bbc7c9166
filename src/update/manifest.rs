//! What a release says of itself, and how it is believed: `manifest.json`, signed with minisign in `manifest.json.minisig`.
//!
//! The signature covers the manifest, the manifest's checksums cover the programs. Nothing in an unsigned manifest is looked at.

use std::path::{Component, Path};

use minisign_verify::{PublicKey, Signature};
use reqwest::Url;
use semver::Version;
use serde::Deserialize;

/// The name of a manifest in its place.
pub const MANIFEST: &str = "manifest.json";
/// What is behind its name for its signature.
pub const SIGNATURE: &str = ".minisig";
/// The triple of this program's target, for which it was built.
pub const TARGET: &str = env!("SWITCHBOARD_TARGET");

/// A release.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// Which.
    pub version: Version,
    /// The oldest schema whose programs can read a ledger that it has opened.
    pub oldest_reader: u32,
    /// Its programs.
    pub artifacts: Vec<Artifact>,
}

/// A program for one target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Artifact {
    /// The triple of its target.
    pub target: String,
    /// Where it is: an address, or a name beside the manifest.
    pub url: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A manifest that is not believed, or not for us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The key is none.
    #[error("update.public_key is not a minisign key ({0}). Write the second line of the release's .pub file")]
    Key(String),
    /// The signature is not the key's.
    #[error(
        "{place}: the signature is not good ({reason}). Nothing was downloaded; ask whoever makes the releases, or correct update.public_key"
    )]
    Signature {
        /// The manifest.
        place: String,
        /// Why.
        reason: String,
    },
    /// It is signed, and makes no sense.
    #[error("{place}: the manifest makes no sense ({reason}). Ask whoever makes the releases")]
    Nonsense {
        /// The manifest.
        place: String,
        /// Why.
        reason: String,
    },
    /// There is no program for us.
    #[error("{place}: version {version} is not there for {}; there is {offered}", TARGET)]
    NotForUs {
        /// The manifest.
        place: String,
        /// Its version.
        version: Version,
        /// The targets that it has.
        offered: String,
    },
}

/// Reads a key as it stands in the configuration: the base64 line of a `.pub` file, or the whole file.
///
/// # Errors
/// When it is none.
pub fn key(text: &str) -> Result<PublicKey, ManifestError> {
    let line = text.trim().lines().last().unwrap_or_default().trim();
    PublicKey::from_base64(line).map_err(|error| ManifestError::Key(error.to_string()))
}

impl Manifest {
    /// Reads a manifest from `place` that `key` has signed.
    ///
    /// # Errors
    /// When the signature is not the key's, or what is signed makes no sense.
    pub fn read(place: &str, text: &[u8], signature: &[u8], key: &PublicKey) -> Result<Self, ManifestError> {
        let unsigned = |reason: &dyn std::fmt::Display| ManifestError::Signature { place: place.into(), reason: reason.to_string() };
        let signature = std::str::from_utf8(signature).map_err(|error| unsigned(&error))?;
        let signature = Signature::decode(signature).map_err(|error| unsigned(&error))?;
        key.verify(text, &signature, false).map_err(|error| unsigned(&error))?;
        Self::believed(place, text)
    }

    /// What a manifest says whose signature was seen to be good; nothing here looks at that.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn believed(place: &str, text: &[u8]) -> Result<Self, ManifestError> {
        let nonsense = |reason: String| ManifestError::Nonsense { place: place.into(), reason };
        let manifest: Self = serde_json::from_slice(text).map_err(|error| nonsense(error.to_string()))?;
        for artifact in &manifest.artifacts {
            if !is_sha256(&artifact.sha256) || artifact.size == 0 {
                return Err(nonsense(format!("the program for {} has no checksum or no size", artifact.target)));
            }
            if artifact.address().is_none() && !is_beside(&artifact.url) {
                return Err(nonsense(format!("the program for {} is neither at an address nor beside the manifest", artifact.target)));
            }
        }
        Ok(manifest)
    }

    /// The program for this machine.
    ///
    /// # Errors
    /// When there is none.
    pub fn artifact(&self, place: &str) -> Result<&Artifact, ManifestError> {
        let ours = self.artifacts.iter().find(|artifact| artifact.target == TARGET);
        ours.ok_or_else(|| ManifestError::NotForUs {
            place: place.into(),
            version: self.version.clone(),
            offered: self.artifacts.iter().map(|artifact| artifact.target.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Artifact {
    /// Its address; none: it is a name beside the manifest.
    pub fn address(&self) -> Option<Url> {
        Url::parse(&self.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
    }
}

/// Whether a path leads to something below the place that it is looked for in.
fn is_beside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use minisign::KeyPair;

    use super::*;

    fn signed(keys: &KeyPair, text: &str) -> String {
        minisign::sign(Some(&keys.pk), &keys.sk, text.as_bytes(), None, None).expect("a good key").into_string()
    }

    fn text(sha256: &str, size: u64, target: &str) -> String {
        format!(
            r#"{{"version":"1.2.3","oldest_reader":1,"artifacts":[{{"target":"{target}","url":"switchboard","sha256":"{sha256}","size":{size}}}]}}"#
        )
    }

    #[test]
    fn g26_only_what_is_signed_is_looked_at() {
        let (ours, other) = (KeyPair::generate_unencrypted_keypair(), KeyPair::generate_unencrypted_keypair());
        let (ours, other) = (ours.expect("random"), other.expect("random"));
        let public = key(&ours.pk.to_base64()).expect("a key");
        let sum = "ab".repeat(32);
        let good = text(&sum, 7, TARGET);
        let check = |text: &str, signature: &str, expected: &str| {
            let got = Manifest::read("here", text.as_bytes(), signature.as_bytes(), &public);
            let got = got.and_then(|manifest| manifest.artifact("here").cloned()).map_or_else(|error| error.to_string(), |it| it.sha256);
            assert!(got.contains(expected), "{text}: {got}");
        };
        check(&good, &signed(&ours, &good), &sum);
        check(&good, &signed(&other, &good), "signature is not good");
        check(&good, "", "signature is not good");
        check(&good.replace("1.2.3", "1.2.4"), &signed(&ours, &good), "signature is not good");
        let beside = |name: &str| good.replace(r#""url":"switchboard""#, &format!(r#""url":"{name}""#));
        check(&beside("x/switchboard"), &signed(&ours, &beside("x/switchboard")), &sum);
        check(&beside("https://h/switchboard"), &signed(&ours, &beside("https://h/switchboard")), &sum);
        for (nonsense, expected) in [
            ("{}".to_owned(), "makes no sense"),
            (good.replace("1.2.3", "../../etc"), "makes no sense"),
            (text("ab", 7, TARGET), "no checksum"),
            (text(&sum, 0, TARGET), "no checksum or no size"),
            (text(&sum, 7, "vax-dec-vms"), "there is vax-dec-vms"),
            (beside("../switchboard"), "nor beside the manifest"),
            (beside("/usr/bin/switchboard"), "nor beside the manifest"),
            (beside(""), "nor beside the manifest"),
        ] {
            check(&nonsense, &signed(&ours, &nonsense), expected);
        }
    }

    #[test]
    fn a_key_is_a_line_or_its_file() {
        let pair = KeyPair::generate_unencrypted_keypair().expect("random");
        let file = pair.pk.to_box().expect("a key").into_string();
        assert_eq!(key(&file).expect("a key"), key(&pair.pk.to_base64()).expect("a key"));
        assert!(key("nonsense").expect_err("no key").to_string().contains("update.public_key"));
    }
}
