//! Everything that opens: both tokens and the key of the browsers' logins, as they stand in the state directory, and how they are made anew.

use serde::{Deserialize, Serialize};

use crate::cookie_key::CookieKey;
use crate::state_dir::{StateDir, Unusable};
use crate::token::{Scope, Token};

/// What opens.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The chat's token.
    pub chat: Token,
    /// The operator's token.
    pub operate: Token,
    /// The key of the browsers' logins.
    pub cookies: CookieKey,
}

impl Keys {
    /// Reads what opens; what is missing is made. `now` in seconds since 1970.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else.
    pub fn open(dir: &StateDir, now: u64) -> Result<Self, Unusable> {
        let known = Token::read(dir, Scope::Chat)?;
        let lived = known.is_some();
        let chat = known.map_or_else(|| Token::renew(dir, Scope::Chat), Ok)?;
        Ok(Self { chat, operate: Token::open(dir, Scope::Operate)?, cookies: CookieKey::open(dir, lived, now)? })
    }
}

/// What is to be void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// The chat's token, and all codes.
    Chat,
    /// The same, and the logins of all browsers.
    Browsers,
    /// The operator's token.
    Operate,
}

impl Rotation {
    /// Makes new ones in their files. Done again after a failure, it is done.
    ///
    /// # Errors
    /// When a file cannot be written: what it held is still there, and may still be good.
    pub fn carry_out(self, dir: &StateDir) -> Result<(), Unusable> {
        match self {
            Rotation::Chat => Token::renew(dir, Scope::Chat).map(|_| ()),
            Rotation::Browsers => {
                Token::renew(dir, Scope::Chat)?;
                CookieKey::renew(dir).map(|_| ())
            }
            Rotation::Operate => Token::renew(dir, Scope::Operate).map(|_| ()),
        }
    }

    /// What an operator is told, and the log.
    pub fn in_words(self) -> &'static str {
        match self {
            Rotation::Chat => "the chat's token and all codes are void; browsers stay",
            Rotation::Browsers => "the chat's token, all codes and the logins of all browsers are void",
            Rotation::Operate => "the operator's token is void",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rotation_voids_what_it_says_and_nothing_else() {
        for (rotation, chat, browsers, operate) in
            [(Rotation::Chat, true, false, false), (Rotation::Browsers, true, true, false), (Rotation::Operate, false, false, true)]
        {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let state = StateDir::open(dir.path()).expect("ours");
            let before = Keys::open(&state, 0).expect("writable");
            rotation.carry_out(&state).expect("writable");
            let after = Keys::open(&state, 0).expect("readable");
            let browser_is_void = !after.cookies.is_half("a1", &before.cookies.half("a1"));
            assert_eq!((after.chat != before.chat, browser_is_void, after.operate != before.operate), (chat, browsers, operate));
        }
    }
}
