//! What a release says of itself, and how it is believed: `manifest.json`, signed with minisign in `manifest.json.minisig`.
//!
//! The signature covers the manifest, the manifest's checksums cover the programs. Nothing in an unsigned manifest is looked at. A signed one is
//! believed until its date: whoever stands between us and the releases can show an old one again, but not for ever.

use std::path::{Component, Path};
use std::time::{SystemTime, UNIX_EPOCH};

use minisign_verify::{Error, PublicKey, Signature};
use reqwest::Url;
use semver::Version;
use serde::{Deserialize, Deserializer};

use crate::config::Update as Settings;
use crate::utc;

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
    /// The moment until which it is believed, written as in RFC 3339; none: it names no end.
    #[serde(default, deserialize_with = "moment")]
    pub expires: Option<SystemTime>,
    /// Its programs.
    pub artifacts: Vec<Artifact>,
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let nonsense = |error| serde::de::Error::custom(format!("expires: {text:?} is not a moment such as 2027-01-31T00:00:00Z ({error})"));
    humantime::parse_rfc3339(&text).map(Some).map_err(nonsense)
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
    #[error("{name} is not a minisign key ({reason}). Write the second line of the release's .pub file")]
    Key {
        /// Its name in the configuration.
        name: &'static str,
        /// Why.
        reason: String,
    },
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
    /// Its time is over, or it has none.
    #[error("{place}: the manifest of version {version} {reason}")]
    Stale {
        /// The manifest.
        place: String,
        /// Its version.
        version: Version,
        /// What its date is, and what to do.
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

/// Whose signature is believed.
#[derive(Debug)]
pub struct Keys {
    current: PublicKey,
    next: Option<PublicKey>,
}

/// By which key a manifest is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// `update.public_key`.
    Current,
    /// `update.next_public_key`, which is to take its place.
    Next,
}

impl Keys {
    /// Those of the configuration, which has at least the current one.
    ///
    /// # Errors
    /// When one of them is no key.
    pub fn of(settings: &Settings) -> Result<Self, ManifestError> {
        let next = Some(&settings.next_public_key).filter(|text| !text.is_empty());
        let next = next.map(|text| key("update.next_public_key", text)).transpose()?;
        Ok(Self { current: key("update.public_key", &settings.public_key)?, next })
    }

    /// By which of them this is signed.
    ///
    /// # Errors
    /// When it is by none: why not by the one that made the signature, else why not by the current one.
    fn verify(&self, text: &[u8], signature: &Signature) -> Result<Signer, Error> {
        let current = match self.current.verify(text, signature, false) {
            Ok(()) => return Ok(Signer::Current),
            Err(error) => error,
        };
        match self.next.as_ref().map(|next| next.verify(text, signature, false)) {
            Some(Ok(())) => Ok(Signer::Next),
            Some(Err(error)) if matches!(current, Error::UnexpectedKeyId) => Err(error),
            _ => Err(current),
        }
    }
}

/// Reads a key as it stands in the configuration: the base64 line of a `.pub` file, or the whole file.
fn key(name: &'static str, text: &str) -> Result<PublicKey, ManifestError> {
    let line = text.trim().lines().last().unwrap_or_default().trim();
    PublicKey::from_base64(line).map_err(|error| ManifestError::Key { name, reason: error.to_string() })
}

impl Manifest {
    /// Reads a manifest from `place` that one of the keys has signed, and says which.
    ///
    /// # Errors
    /// When the signature is none of theirs, or what is signed makes no sense.
    pub fn read(place: &str, text: &[u8], signature: &[u8], keys: &Keys) -> Result<(Self, Signer), ManifestError> {
        let unsigned = |reason: &dyn std::fmt::Display| ManifestError::Signature { place: place.into(), reason: reason.to_string() };
        let signature = std::str::from_utf8(signature).map_err(|error| unsigned(&error))?;
        let signature = Signature::decode(signature).map_err(|error| unsigned(&error))?;
        let signer = keys.verify(text, &signature).map_err(|error| unsigned(&error))?;
        Ok((Self::believed(place, text)?, signer))
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

    /// Whether it may still be believed.
    ///
    /// # Errors
    /// When its time is over, or nobody knows when it is.
    pub fn is_fresh(&self, place: &str, now: SystemTime) -> Result<(), ManifestError> {
        let ask = "Ask whoever makes the releases for a new manifest, or go on with this one by --expired";
        let words = |moment: SystemTime| utc::in_words(moment.duration_since(UNIX_EPOCH).unwrap_or_default());
        let reason = match self.expires {
            Some(end) if now < end => return Ok(()),
            Some(end) => format!(
                "expired at {}, and the clock of this machine says {}: what was released since may be kept from you. {ask}",
                words(end),
                words(now)
            ),
            None => format!("does not say when it expires (\"expires\"): it may be of any age. {ask}"),
        };
        Err(ManifestError::Stale { place: place.into(), version: self.version.clone(), reason })
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

    fn settings(current: &KeyPair, next: &str) -> Settings {
        Settings { source: String::new(), public_key: current.pk.to_base64(), next_public_key: next.into() }
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
        let public = Keys::of(&settings(&ours, "")).expect("a key");
        let sum = "ab".repeat(32);
        let good = text(&sum, 7, TARGET);
        let check = |text: &str, signature: &str, expected: &str| {
            let got = Manifest::read("here", text.as_bytes(), signature.as_bytes(), &public);
            let got =
                got.and_then(|(manifest, _)| manifest.artifact("here").cloned()).map_or_else(|error| error.to_string(), |it| it.sha256);
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
    fn g26_a_second_key_is_believed_while_it_takes_the_place_of_the_first() {
        let pairs = [(); 3].map(|()| KeyPair::generate_unencrypted_keypair().expect("random"));
        let [ours, next, other] = &pairs;
        let text = text(&"ab".repeat(32), 7, TARGET);
        let check = |keys: &Settings, pair: &KeyPair, said: &str, expected: Result<Signer, &str>| {
            let signature = signed(pair, said);
            let got = Manifest::read("here", text.as_bytes(), signature.as_bytes(), &Keys::of(keys).expect("keys"));
            match (got.map(|(_, signer)| signer).map_err(|error| error.to_string()), expected) {
                (Ok(signer), Ok(expected)) => assert_eq!(signer, expected),
                (Err(error), Err(part)) if error.contains(part) => {}
                (got, expected) => panic!("{expected:?}: {got:?}"),
            }
        };
        let (one, both) = (settings(ours, ""), settings(ours, &next.pk.to_base64()));
        check(&one, ours, &text, Ok(Signer::Current));
        check(&one, next, &text, Err("signature is not good"));
        check(&both, ours, &text, Ok(Signer::Current));
        check(&both, next, &text, Ok(Signer::Next));
        check(&both, other, &text, Err("signature is not good"));
        // Of the two it is told what is wrong by the one that made the signature.
        check(&both, ours, "another text", Err("signature verification failed"));
        check(&both, next, "another text", Err("signature verification failed"));
    }

    #[test]
    fn g26_a_manifest_is_believed_until_its_date_and_no_longer() {
        let now = humantime::parse_rfc3339("2026-11-28T12:00:00Z").expect("a moment");
        let check = |expires: &str, expected: &str| {
            let text = text(&"ab".repeat(32), 7, TARGET).replacen('{', &format!("{{{expires}"), 1);
            let got = Manifest::believed("here", text.as_bytes()).and_then(|manifest| manifest.is_fresh("here", now));
            let got = got.map_or_else(|error| error.to_string(), |()| "fresh".into());
            assert!(got.contains(expected), "{expires}: {got}");
        };
        check(r#""expires":"2026-11-28T12:00:01Z","#, "fresh");
        check(r#""expires":"9999-12-31T23:59:59Z","#, "fresh");
        check(
            r#""expires":"2026-11-28T12:00:00Z","#,
            "version 1.2.3 expired at 2026-11-28T12:00:00Z, and the clock of this machine says 2026-11-28T12",
        );
        check(r#""expires":"1970-01-01T00:00:00Z","#, "expired at 1970-01-01T00:00:00Z");
        check("", "does not say when it expires");
        for nonsense in ["\"\"", "\"tomorrow\"", "\"2026-13-01T00:00:00Z\"", "null", "7", "\"1969-12-31T23:59:59Z\""] {
            check(&format!("\"expires\":{nonsense},"), "makes no sense");
        }
    }

    #[test]
    fn a_key_is_a_line_or_its_file() {
        let pair = KeyPair::generate_unencrypted_keypair().expect("random");
        let file = pair.pk.to_box().expect("a key").into_string();
        let read = |text: &str| key("update.public_key", text);
        assert_eq!(read(&file).expect("a key"), read(&pair.pk.to_base64()).expect("a key"));
        for (keys, expected) in [
            (Settings { public_key: "nonsense".into(), ..settings(&pair, "") }, "update.public_key is not a minisign key"),
            (settings(&pair, "nonsense"), "update.next_public_key is not a minisign key"),
        ] {
            assert!(Keys::of(&keys).expect_err("no key").to_string().contains(expected));
        }
    }
}
