//! The key that signs the logins of browsers, in a file of its own: a new token voids no browser, and a new key voids all of them.
//!
//! A login has two halves. The cookie goes to every port of the host, so it opens nothing alone; the other half is kept by the page, where only its own
//! origin reaches it, and sent as a header. Both are signatures over the browser's id, so that halves of two browsers do not fit together.
//! The cookie also holds the time of its making, and is too old after [`LASTS`].

use std::fmt;
use std::path::Path;

use ring::hmac;

use crate::durable;
use crate::state_dir::{StateDir, Unusable};
use crate::token::{random_hex, read_private};

/// Bytes of the key.
const BYTES: usize = 32;
/// Seconds that a cookie is good for.
pub const LASTS: u64 = 30 * 24 * 3600;
/// A cookie that is used and older than so many seconds is made anew.
const RENEWED_AFTER: u64 = 24 * 3600;
/// Seconds within which cookies of versions that signed them with the token are exchanged, from the making of the first key.
const EXCHANGED_FOR: u64 = 30 * 24 * 3600;
/// How the file names the end of that time.
const OLD_UNTIL: &str = "old-until ";

/// The key.
#[derive(Clone)]
pub struct CookieKey {
    key: hmac::Key,
    old_until: u64,
}

/// What a cookie of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// As it is signed with this key.
    Present {
        /// The browser's id.
        id: String,
        /// When it was made, in seconds since 1970.
        made: u64,
    },
    /// As older versions signed it with the token; whoever has the token has to look at the signature.
    Old {
        /// The browser's id.
        id: String,
        /// The signature.
        tag: Vec<u8>,
    },
}

impl CookieKey {
    /// Reads the key of the state directory, or makes one. `lived`: a gateway has lived here, so that browsers may have cookies of the time before
    /// there was such a key.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds no key.
    pub fn open(dir: &StateDir, lived: bool, now: u64) -> Result<Self, Unusable> {
        let path = dir.cookie_key();
        match read_private(&path)? {
            Some(text) => Self::parse(&path, &text),
            None if lived => Self::write(&path, Some(now.saturating_add(EXCHANGED_FOR))),
            None => Self::write(&path, None),
        }
    }

    /// Makes a new key in place of the one that is there: every cookie is void, old ones as well.
    ///
    /// # Errors
    /// When the file cannot be written: then the old one is still there.
    pub fn renew(dir: &StateDir) -> Result<Self, Unusable> {
        Self::write(&dir.cookie_key(), None)
    }

    fn write(path: &Path, old_until: Option<u64>) -> Result<Self, Unusable> {
        let end = old_until.map(|end| format!("{OLD_UNTIL}{end}\n")).unwrap_or_default();
        let text = format!("{}\n{end}", random_hex(BYTES));
        durable::write(path, text.as_bytes()).map_err(|error| Unusable::new(path, "the cookies' key cannot be written", error))?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Unusable> {
        let mut lines = text.lines();
        let bytes = lines.next().and_then(unhex).filter(|bytes| bytes.len() == BYTES).ok_or_else(|| {
            let reason = std::io::Error::other("delete it to get a new one; every browser then has to be let in anew");
            Unusable::new(path, "the file holds no key", reason)
        })?;
        let old_until = lines.next().and_then(|line| line.strip_prefix(OLD_UNTIL)?.parse().ok()).unwrap_or(0);
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), old_until })
    }

    /// Whether cookies of older versions are still exchanged.
    pub fn takes_old(&self, now: u64) -> bool {
        now < self.old_until
    }

    /// The value of a browser's cookie.
    pub fn cookie(&self, id: &str, now: u64) -> String {
        format!("{id}.{now}.{}", hex(hmac::sign(&self.key, cookie_of(id, now).as_bytes()).as_ref()))
    }

    /// The half that the page keeps. It stays the same as long as the key, so that tabs which renew the cookie do not lock each other out.
    pub fn half(&self, id: &str) -> String {
        hex(hmac::sign(&self.key, half_of(id).as_bytes()).as_ref())
    }

    /// Whether it is the half of this browser.
    pub fn is_half(&self, id: &str, given: &str) -> bool {
        unhex(given).is_some_and(|tag| hmac::verify(&self.key, half_of(id).as_bytes(), &tag).is_ok())
    }

    /// Reads a cookie. None when it is forged, too old, or none of ours. One of the future is good: the clock was set back.
    pub fn read(&self, value: &str, now: u64) -> Option<Cookie> {
        let parts: Vec<&str> = value.split('.').collect();
        match parts[..] {
            [id, made, tag] => {
                let (made, tag) = (made.parse().ok()?, unhex(tag)?);
                hmac::verify(&self.key, cookie_of(id, made).as_bytes(), &tag).ok()?;
                (now.saturating_sub(made) < LASTS).then(|| Cookie::Present { id: id.to_owned(), made })
            }
            [id, tag] if self.takes_old(now) => Some(Cookie::Old { id: id.to_owned(), tag: unhex(tag)? }),
            _ => None,
        }
    }

    /// Whether a cookie of that age is due to be made anew.
    pub fn is_due(made: u64, now: u64) -> bool {
        now.saturating_sub(made) > RENEWED_AFTER
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[cookie key]")
    }
}

fn cookie_of(id: &str, made: u64) -> String {
    format!("cookie {id} {made}")
}

fn half_of(id: &str) -> String {
    format!("half {id}")
}

/// Bytes as hexadecimal text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] wrote; none of anything else.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.len().is_multiple_of(2).then(|| digits.chunks(2))?;
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn key(lived: bool) -> (CookieKey, StateDir, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(dir.path()).expect("ours");
        (CookieKey::open(&state, lived, NOW).expect("writable"), state, dir)
    }

    #[test]
    fn g41_a_cookie_is_good_for_thirty_days_and_its_forgeries_never() {
        let (key, state, _dir) = key(false);
        let (cookie, other) = (key.cookie("a1", NOW), key.cookie("b2", NOW));
        let present = |made| Some(Cookie::Present { id: "a1".into(), made });
        let tag = |cookie: &str| cookie.rsplit_once('.').expect("signed").1.to_owned();
        for (value, now, expected) in [
            (cookie.clone(), NOW, present(NOW)),
            (cookie.clone(), NOW + LASTS - 1, present(NOW)),
            (cookie.clone(), NOW + LASTS, None),
            (cookie.clone(), NOW - 9, present(NOW)),
            (format!("a1.{}.{}", NOW + 1, tag(&cookie)), NOW, None),
            (format!("a1.{NOW}.{}", tag(&other)), NOW, None),
            (format!("a1.{NOW}."), NOW, None),
            (format!("a1.{NOW}.zz"), NOW, None),
            (format!("a1.{NOW}.{}", key.half("a1")), NOW, None),
            (format!("a1.{}", tag(&cookie)), NOW, None),
            (format!("{cookie}.00"), NOW, None),
            (String::new(), NOW, None),
        ] {
            assert_eq!(key.read(&value, now), expected, "{value} at {now}");
        }
        let again = CookieKey::open(&state, true, NOW).expect("readable");
        assert_eq!(again.read(&cookie, NOW), present(NOW), "it outlives the process");
        assert!(!again.takes_old(NOW), "who came first with this version has no old ones");
        let renewed = CookieKey::renew(&state).expect("writable");
        assert_eq!((renewed.read(&cookie, NOW), renewed.is_half("a1", &key.half("a1"))), (None, false));
        assert_eq!(std::fs::metadata(state.cookie_key()).expect("there").mode() & 0o777, 0o600);
    }

    #[test]
    fn g41_halves_of_two_browsers_do_not_fit_together() {
        let (key, ..) = key(false);
        assert!(key.is_half("a1", &key.half("a1")));
        for given in [&*key.half("b2"), &key.half("a1")[..62], "", "00", key.cookie("a1", NOW).rsplit_once('.').expect("signed").1] {
            assert!(!key.is_half("a1", given), "{given}");
        }
    }

    #[test]
    fn a_cookie_that_is_used_is_made_anew_once_a_day() {
        for (age, due) in [(0, false), (RENEWED_AFTER, false), (RENEWED_AFTER + 1, true), (LASTS, true)] {
            assert_eq!(CookieKey::is_due(NOW, NOW + age), due, "{age}");
        }
        assert!(!CookieKey::is_due(NOW + 1, NOW));
    }

    #[test]
    fn old_cookies_are_taken_for_thirty_days_after_the_first_key() {
        let (key, state, _dir) = key(true);
        let old = Some(Cookie::Old { id: "a1".into(), tag: vec![0x0f] });
        assert_eq!((key.read("a1.0f", NOW), key.read("a1.0f", NOW + EXCHANGED_FOR)), (old.clone(), None));
        let later = CookieKey::open(&state, true, NOW + 9).expect("readable");
        assert_eq!((later.read("a1.0f", NOW + EXCHANGED_FOR - 1), later.takes_old(NOW + EXCHANGED_FOR)), (old, false));
        assert!(!CookieKey::renew(&state).expect("writable").takes_old(NOW), "a new key voids those as well");
        std::fs::write(state.cookie_key(), "short\n").expect("writable");
        let error = CookieKey::open(&state, true, NOW).expect_err("no key").to_string();
        assert!(error.contains("holds no key") && error.contains("delete it"), "{error}");
    }
}
