//! Where releases come from: a web server or a folder. A download that was cut goes on where it stopped, and counts only with the checksum that was
//! signed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode, Url};
use ring::digest::{Context, SHA256};
use semver::Version;

use super::manifest::{Artifact, MANIFEST, SIGNATURE};

/// Far more than a manifest or a signature needs.
const MOST_MANIFEST_BYTES: usize = 1 << 20;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A server may be silent for so long.
const SILENCE: Duration = Duration::from_secs(30);
/// A download that makes no progress is tried so often; one that makes some is never given up.
const TRIES: u32 = 4;
/// Before the second try; doubled each time.
const PAUSE: Duration = Duration::from_millis(500);

/// A place of releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Below this address, which ends in a slash.
    Web(Url),
    /// In this directory.
    Folder(PathBuf),
}

/// Something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is not a place.
    #[error("{0:?} is neither an address (https://…) nor a directory with a {MANIFEST}")]
    NoPlace(String),
    /// It does not arrive.
    #[error("{place}: {reason}. What has arrived is kept; run it again to go on")]
    Fetch {
        /// What.
        place: String,
        /// Why.
        reason: String,
    },
    /// It arrived, and is not what was signed.
    #[error("{place}: {reason}. It was thrown away; ask whoever makes the releases")]
    Wrong {
        /// What.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be kept.
    #[error("{path}: the download cannot be written ({source}). It was removed; make room there and run this again")]
    Disk {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// How a try ended that did not bring everything.
enum Cut {
    /// Worth another try.
    Again(String),
    /// Not.
    Final(SourceError),
}

impl Source {
    /// Reads a place as people write it: an address or a path, with or without the manifest's name.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let place = text.strip_suffix(MANIFEST).unwrap_or(text);
        if place.starts_with("http://") || place.starts_with("https://") {
            let slashed = format!("{}/", place.trim_end_matches('/'));
            return Url::parse(&slashed).map(Self::Web).map_err(|_| SourceError::NoPlace(text.into()));
        }
        let folder = if place.is_empty() { Path::new(".") } else { Path::new(place) };
        let there = folder.join(MANIFEST).is_file();
        there.then(|| Self::Folder(folder.to_owned())).ok_or_else(|| SourceError::NoPlace(text.into()))
    }

    /// Where this place keeps a version that is not its newest.
    pub fn beneath(&self, version: &Version) -> Self {
        match self {
            Self::Web(url) => Self::Web(url.join(&format!("{version}/")).unwrap_or_else(|_| url.clone())),
            Self::Folder(folder) => Self::Folder(folder.join(version.to_string())),
        }
    }

    /// Its manifest's place, for words.
    pub fn place(&self) -> String {
        match self {
            Self::Web(url) => shown(url) + MANIFEST,
            Self::Folder(folder) => folder.join(MANIFEST).display().to_string(),
        }
    }

    /// The manifest and its signature, as they are.
    ///
    /// # Errors
    /// When one of them is not to be had.
    pub fn manifest(&self) -> Result<(Vec<u8>, Vec<u8>), SourceError> {
        Ok((self.small(MANIFEST)?, self.small(&format!("{MANIFEST}{SIGNATURE}"))?))
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Web(url) => now(small(&url.join(name).map_err(|_| SourceError::NoPlace(name.into()))?)),
            Self::Folder(folder) => {
                let path = folder.join(name);
                let read = |file: File| {
                    let mut bytes = Vec::new();
                    file.take(MOST_MANIFEST_BYTES as u64).read_to_end(&mut bytes).map(|_| bytes)
                };
                let fetch = |error: io::Error| SourceError::Fetch { place: path.display().to_string(), reason: error.to_string() };
                File::open(&path).and_then(read).map_err(fetch)
            }
        }
    }

    /// Brings a program to `target`, which may hold its beginning from an earlier run.
    ///
    /// # Errors
    /// When it does not arrive, or is not what was signed: then nothing is kept.
    pub fn fetch(&self, artifact: &Artifact, target: &Path) -> Result<(), SourceError> {
        let disk = |source| SourceError::Disk { path: target.display().to_string(), source };
        let before = length(target);
        if before != artifact.size {
            self.bring(artifact, target).inspect_err(|error| {
                // Where there is no room the beginning of a program must not take what there was; of a wrong one nothing is to be gone on with.
                if matches!(error, SourceError::Disk { .. } | SourceError::Wrong { .. }) {
                    _ = std::fs::remove_file(target);
                }
            })?;
        }
        if sha256(target).map_err(disk)? == artifact.sha256 {
            return Ok(());
        }
        std::fs::remove_file(target).map_err(disk)?;
        // The beginning may have been that of another file.
        if before > 0 {
            return self.fetch(artifact, target);
        }
        Err(SourceError::Wrong { place: self.place_of(artifact), reason: "its checksum is not the one that was signed".into() })
    }

    fn bring(&self, artifact: &Artifact, target: &Path) -> Result<(), SourceError> {
        let address = match self {
            Self::Web(base) => base.join(&artifact.url).ok(),
            Self::Folder(_) => artifact.address(),
        };
        match (address, self) {
            (Some(url), _) => now(download(&url, artifact.size, target)),
            (None, Self::Folder(folder)) => copy(&folder.join(&artifact.url), artifact.size, target),
            (None, Self::Web(_)) => Err(SourceError::NoPlace(artifact.url.clone())),
        }
    }

    fn place_of(&self, artifact: &Artifact) -> String {
        match self {
            Self::Web(base) => base.join(&artifact.url).map_or_else(|_| artifact.url.clone(), |url| shown(&url)),
            Self::Folder(folder) => folder.join(&artifact.url).display().to_string(),
        }
    }
}

/// An address without what must not be said aloud.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    _ = url.set_password(None); // there is none to hide where there can be none
    _ = url.set_username("");
    url.set_query(None);
    url.to_string()
}

/// Runs a transfer to its end. A command has nothing else to do.
fn now<T>(transfer: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SourceError::Fetch { place: "the network".into(), reason: error.to_string() })?;
    runtime.block_on(transfer)
}

fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().connect_timeout(CONNECT_LIMIT).read_timeout(SILENCE).build()
}

async fn get(url: &Url, from: u64) -> Result<Response, String> {
    let words = |error: reqwest::Error| super::words(&error.without_url());
    let mut request = client().map_err(words)?.get(url.clone());
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    request.send().await.map_err(words)
}

async fn small(url: &Url) -> Result<Vec<u8>, SourceError> {
    let fetch = |reason: String| SourceError::Fetch { place: shown(url), reason };
    let response = get(url, 0).await.map_err(fetch)?;
    if !response.status().is_success() {
        return Err(fetch(format!("the server answers {}", response.status())));
    }
    let (mut bytes, mut chunks) = (Vec::new(), response.bytes_stream());
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| fetch(super::words(&error.without_url())))?);
        if bytes.len() > MOST_MANIFEST_BYTES {
            return Err(SourceError::Wrong { place: shown(url), reason: format!("it is larger than {MOST_MANIFEST_BYTES} bytes") });
        }
    }
    Ok(bytes)
}

/// Downloads until `size` bytes are there, however often the connection breaks on the way, as long as it gets on.
async fn download(url: &Url, size: u64, target: &Path) -> Result<(), SourceError> {
    let bar = bar(size);
    let (mut failed, mut best) = (0, length(target));
    loop {
        let reason = match transfer(url, size, target, &bar).await {
            Ok(()) => return Ok(()),
            Err(Cut::Final(error)) => return Err(error),
            Err(Cut::Again(reason)) => reason,
        };
        let now = length(target);
        // Getting on is to be further than ever: a server that lets us begin anew again and again is not worth more tries.
        failed = if now > best { 1 } else { failed + 1 };
        best = best.max(now);
        if failed >= TRIES {
            return Err(SourceError::Fetch { place: shown(url), reason: format!("{reason}; {now} of {size} bytes are here") });
        }
        tokio::time::sleep(PAUSE * 2_u32.pow(failed - 1)).await;
    }
}

/// One try, from where the last one stopped.
async fn transfer(url: &Url, size: u64, target: &Path, bar: &ProgressBar) -> Result<(), Cut> {
    let wrong = |reason: String| Cut::Final(SourceError::Wrong { place: shown(url), reason });
    let disk = |source| Cut::Final(SourceError::Disk { path: target.display().to_string(), source });
    let mut have = length(target);
    if have > size {
        have = 0;
    }
    let response = get(url, have).await.map_err(Cut::Again)?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT if begins_at(&response) == Some(have) => {}
        StatusCode::OK => have = 0,
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
            std::fs::remove_file(target).map_err(disk)?;
            return Err(Cut::Again("the server would not go on where it stopped".into()));
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Cut::Again(format!("the server answers {status}")));
        }
        status => return Err(Cut::Final(SourceError::Fetch { place: shown(url), reason: format!("the server answers {status}") })),
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(have == 0).mode(0o600).open(target).map_err(disk)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(have)).map_err(disk)?;
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Cut::Again(super::words(&error.without_url())))?;
        have += chunk.len() as u64;
        if have > size {
            return Err(wrong(format!("it is larger than the {size} bytes that were signed")));
        }
        file.write_all(&chunk).map_err(disk)?;
        bar.set_position(have);
    }
    if have < size {
        return Err(Cut::Again("the connection ended too early".into()));
    }
    Ok(())
}

fn begins_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn copy(from: &Path, size: u64, target: &Path) -> Result<(), SourceError> {
    let place = || from.display().to_string();
    let unreadable = |error: io::Error| SourceError::Fetch { place: place(), reason: error.to_string() };
    let mut file = File::open(from).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?.len();
    if found != size {
        return Err(SourceError::Wrong { place: place(), reason: format!("it has {found} bytes, but {size} were signed") });
    }
    let copied = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(target);
    let copied = copied.and_then(|mut target| io::copy(&mut file, &mut target).map(drop));
    copied.map_err(|source| SourceError::Disk { path: target.display().to_string(), source })
}

/// What is here of a download.
fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

/// The checksum of a file, in hexadecimal.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut sum, mut buffer) = (File::open(path)?, Context::new(&SHA256), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => sum.update(&buffer[..read]),
        }
    }
}

/// Shown only to a terminal.
fn bar(size: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    ProgressBar::new(size).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join(MANIFEST), "{}").expect("writable");
        let folder = dir.path().to_str().expect("UTF-8");
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Source::parse(text).ok().map(|source| source.place()), expected.map(|place| place.to_owned() + MANIFEST), "{text}");
        };
        check("https://example.org/releases", Some("https://example.org/releases/"));
        check("https://example.org/releases/manifest.json", Some("https://example.org/releases/"));
        check("https://me:secret@example.org/r/", Some("https://example.org/r/"));
        check(folder, Some(&format!("{folder}/")));
        check(&format!("{folder}/{MANIFEST}"), Some(&format!("{folder}/")));
        check("/nowhere", None);
        check("ftp://example.org", None);
        let beneath = Source::parse("https://example.org/r").expect("an address").beneath(&Version::new(1, 2, 3));
        assert_eq!(beneath.place(), "https://example.org/r/1.2.3/manifest.json");
    }

    #[test]
    fn a_file_has_the_checksum_that_everybody_finds() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").expect("writable");
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(&path).expect("readable"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
