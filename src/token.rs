//! The tokens: one opens the chat, the other the operator's side. Random, made at a start that finds none, each in a file that only we can read.
//!
//! They are for programs, which send them as `Authorization: Bearer`. They are never logged and never stand in an address: people are let in
//! by codes that open once (`http::access::codes`).

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use crate::durable;
use crate::state_dir::{StateDir, Unusable};

/// Bytes of randomness in a token.
const BYTES: usize = 32;
/// The shortest token that an operator may write into the file.
const LEAST: usize = 32;

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The chat: the file `token`.
    Chat,
    /// What operators see: the file `operate`.
    Operate,
}

impl Scope {
    /// The file of its token.
    pub fn file(self, dir: &StateDir) -> PathBuf {
        match self {
            Scope::Chat => dir.token(),
            Scope::Operate => dir.operate(),
        }
    }
}

/// A token. Its text leaves only through [`expose`](Token::expose).
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Reads the token of this scope, or makes one.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something too short to be a token.
    pub fn open(dir: &StateDir, scope: Scope) -> Result<Self, Unusable> {
        Self::read(dir, scope)?.map_or_else(|| Self::renew(dir, scope), Ok)
    }

    /// Reads the token of this scope; `None` before the first start that knows of it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(dir: &StateDir, scope: Scope) -> Result<Option<Self>, Unusable> {
        let path = scope.file(dir);
        let Some(text) = read_private(&path)? else { return Ok(None) };
        let text = text.trim();
        if text.len() < LEAST || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            let reason = io::Error::other(format!("it needs at least {LEAST} letters, digits, - or _; delete it to get a new one"));
            return Err(Unusable::new(&path, "the file holds no token", reason));
        }
        Ok(Some(Self(text.to_owned())))
    }

    /// Makes a new token in place of the one that is there.
    ///
    /// # Errors
    /// When the file cannot be written: then the old one is still there.
    pub fn renew(dir: &StateDir, scope: Scope) -> Result<Self, Unusable> {
        let (path, token) = (scope.file(dir), Self(random_hex(BYTES)));
        durable::write(&path, format!("{}\n", token.0).as_bytes())
            .map_err(|error| Unusable::new(&path, "the token cannot be written", error))?;
        Ok(token)
    }

    /// The text itself, for the one who may have it.
    pub fn expose(&self) -> &str {
        &self.0
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

/// A file with a secret, which others cannot read from here on; `None` where there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<String>, Unusable> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unusable::new(path, "the secret in it cannot be read", error)),
    };
    keep_private(path).map_err(|error| Unusable::new(path, "others can read the secret in it, and that cannot be changed", error))?;
    Ok(Some(text))
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
        assert_eq!(Token::read(&state, Scope::Chat).expect("readable"), None);
        let token = Token::open(&state, Scope::Chat).expect("writable");
        assert_eq!(token.expose().len(), 2 * BYTES);
        std::fs::set_permissions(state.token(), Permissions::from_mode(0o644)).expect("ours");
        assert_eq!(Token::open(&state, Scope::Chat).expect("readable"), token);
        let mode = |path: &Path| std::fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!(mode(&state.token()), 0o600);
        assert_eq!(format!("{token:?}"), "[token]");
        let operate = Token::open(&state, Scope::Operate).expect("writable");
        assert_ne!(operate, token, "each scope has one of its own");
        assert_eq!(mode(&state.operate()), 0o600);
        let renewed = Token::renew(&state, Scope::Chat).expect("writable");
        assert_ne!(renewed, token);
        assert_eq!(Token::open(&state, Scope::Chat).expect("readable"), renewed);
        assert_eq!(Token::open(&state, Scope::Operate).expect("readable"), operate);
    }

    #[test]
    fn an_empty_file_opens_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        std::fs::write(state.token(), "\n").expect("writable");
        let error = Token::open(&state, Scope::Chat).expect_err("no token").to_string();
        assert!(error.contains("holds no token") && error.contains("delete it"), "{error}");
    }
}
