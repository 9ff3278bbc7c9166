//! The token that opens the page and the HTTP interface: random, made at the first start, in a file that only we can read.
//!
//! It is never logged. People get it as the fragment of an address, which a browser sends to nobody.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};

use crate::state_dir::{StateDir, Unusable};

/// Bytes of randomness in a token.
const BYTES: usize = 32;
/// The shortest token that an operator may write into the file.
const LEAST: usize = 32;

/// The token. Its text leaves only through [`expose`](Token::expose).
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Reads the token of the state directory, or makes one.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something too short to be a token.
    pub fn open(dir: &StateDir) -> Result<Self, Unusable> {
        match Self::read(dir)? {
            Some(token) => Ok(token),
            None => {
                let path = dir.token();
                make(&path).map_err(|error| Unusable::new(&path, "the token cannot be written", error))
            }
        }
    }

    /// Reads the token of the state directory; `None` before the first start.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(dir: &StateDir) -> Result<Option<Self>, Unusable> {
        let path = dir.token();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Unusable::new(&path, "the token cannot be read", error)),
        };
        let text = text.trim();
        if text.len() < LEAST || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            let reason = io::Error::other(format!("it needs at least {LEAST} letters, digits, - or _; delete it to get a new one"));
            return Err(Unusable::new(&path, "the file holds no token", reason));
        }
        keep_private(&path).map_err(|error| Unusable::new(&path, "others can read the token, and that cannot be changed", error))?;
        Ok(Some(Self(text.to_owned())))
    }

    /// The text itself, for the one who may have it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The address of the page with the token in its fragment.
    pub fn page_url(&self, listen: &str) -> String {
        let reachable = listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
        format!("http://{reachable}/#token={}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[token]")
    }
}

/// Random bytes as hexadecimal text.
///
/// # Panics
/// When the system has no randomness, without which nothing here is safe.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).expect("the system gives random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Written beside and renamed, so that a cut never leaves half a token.
fn make(path: &Path) -> io::Result<Token> {
    let token = Token(random_hex(BYTES));
    let beside = path.with_extension("new");
    _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    writeln!(file, "{}", token.0)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(token)
}

fn keep_private(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)?.mode() & 0o077 {
        0 => Ok(()),
        _ => std::fs::set_permissions(path, Permissions::from_mode(0o600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_the_same_and_private() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        assert_eq!(Token::read(&state).expect("readable"), None);
        let token = Token::open(&state).expect("writable");
        assert_eq!(token.expose().len(), 2 * BYTES);
        std::fs::set_permissions(state.token(), Permissions::from_mode(0o644)).expect("ours");
        assert_eq!(Token::open(&state).expect("readable"), token);
        assert_eq!(std::fs::metadata(state.token()).expect("there").mode() & 0o777, 0o600);
        assert_eq!(format!("{token:?}"), "[token]");
        assert_eq!(token.page_url("0.0.0.0:1"), format!("http://127.0.0.1:1/#token={}", token.expose()));
    }

    #[test]
    fn an_empty_file_opens_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        std::fs::write(state.token(), "\n").expect("writable");
        let error = Token::open(&state).expect_err("no token").to_string();
        assert!(error.contains("holds no token") && error.contains("delete it"), "{error}");
    }
}
