//! Secrets of ours in words of others. A server that repeats its address, a header or a whole request in an error's text must not carry a token into
//! a log, a ledger or a chat; so what a foreign server says of a failure passes here before anybody else sees it.
//!
//! Found are a secret as it is, the part of it behind a colon, and both in other letters: percent-encoded (twice, too), in base64 at any place of
//! what was encoded (basic authentication), in hexadecimal, in another case, broken by white space, marks or backslashes. Who means to smuggle a
//! secret out that they know already is not stopped by this.

use std::ops::Range;

/// What stands in a secret's place.
const HIDDEN: &str = "[secret]";
/// A form of fewer letters and digits than this stands in ordinary words, too: such a secret is only found as it is.
const LEAST: usize = 8;
/// The most bytes that a letter is written in, percent-encoded twice.
const WIDEST: usize = 5;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The secrets of one adapter or agent.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// As they are.
    whole: Vec<String>,
    /// Letters and digits alone, in small letters, of every form.
    forms: Vec<Vec<u8>>,
}

impl Secrets {
    /// These; white space around one does not count, and an empty one is none.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let whole: Vec<String> = secrets.into_iter().map(str::trim).filter(|secret| !secret.is_empty()).map(str::to_owned).collect();
        let parts = whole.iter().flat_map(|secret| [Some(secret.as_str()), secret.split_once(':').map(|(_, behind)| behind)]);
        let mut forms: Vec<Vec<u8>> = parts.flatten().flat_map(forms).filter(|form| form.len() >= LEAST).collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Self { whole, forms }
    }

    /// The text without them.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.whole {
            text = text.replace(secret.as_str(), HIDDEN);
        }
        let letters = letters(text.as_bytes());
        let mut found: Vec<Range<usize>> = self.forms.iter().flat_map(|form| places(&letters, form)).collect();
        found.sort_by_key(|place| (place.start, std::cmp::Reverse(place.end)));
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for place in found.into_iter() {
            if place.start >= at {
                out.push_str(&text[at..place.start]);
                out.push_str(HIDDEN);
            }
            at = at.max(place.end);
        }
        out.push_str(&text[at..]);
        out
    }

    /// The first `most` characters of foreign words, on one line and without secrets; one that the cut would halve is hidden whole.
    pub(crate) fn told(&self, foreign: &str, most: usize) -> String {
        // Far more than is told, and little enough to look through; what a secret could be cut in at its end is left out.
        let longest = self.forms.first().map_or(0, Vec::len) * 2 * WIDEST;
        let looked_at = foreign.floor_char_boundary((most * 8).max(longest * 8));
        let hidden = self.hide(&foreign[..looked_at]);
        let kept = if looked_at < foreign.len() { hidden.floor_char_boundary(hidden.len().saturating_sub(longest)) } else { hidden.len() };
        super::trimmed(&hidden[..kept], most)
    }
}

/// What a secret may look like, as letters and digits.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let plain = |text: &[u8]| letters(text).into_iter().map(|(letter, _)| letter).collect::<Vec<u8>>();
    let hex = secret.bytes().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
    let encoded = (0..3).map(|before| plain(&base64(secret.as_bytes(), before)));
    [plain(secret.as_bytes()), hex].into_iter().chain(encoded).collect()
}

/// What is always the same of a secret in base64 that stands behind `before` bytes, whatever they are, and before whatever.
fn base64(secret: &[u8], before: usize) -> Vec<u8> {
    let bytes: Vec<u8> = std::iter::repeat_n(0, before).chain(secret.iter().copied()).collect();
    let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    let first = (before * 8).div_ceil(6);
    let letter = |sextet: usize| BASE64[(0..6).fold(0, |value, at| value << 1 | usize::from(bit(sextet * 6 + at)))];
    (first..bytes.len() * 8 / 6).map(letter).collect()
}

/// The letters and digits of a text in small letters, percent-encoding undone (twice, too), and where each stands.
fn letters(text: &[u8]) -> Vec<(u8, Range<usize>)> {
    let mut found = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let (mut byte, mut end) = (text[at], at + 1);
        while byte == b'%'
            && let Some(code) = text.get(end..end + 2).and_then(hex)
        {
            (byte, end) = (code, end + 2);
        }
        if byte.is_ascii_alphanumeric() {
            found.push((byte.to_ascii_lowercase(), at..end));
        }
        at = end;
    }
    found
}

fn hex(two: &[u8]) -> Option<u8> {
    two.iter().try_fold(0, |value: u8, digit| Some(value << 4 | u8::try_from(char::from(*digit).to_digit(16)?).ok()?))
}

/// Where a form stands.
fn places(letters: &[(u8, Range<usize>)], form: &[u8]) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(window) = letters.get(at..at + form.len()) {
        match window.iter().zip(form).all(|((letter, _), wanted)| letter == wanted) {
            true => {
                places.push(window[0].1.start..window[form.len() - 1].1.end);
                at += form.len();
            }
            false => at += 1,
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "4711:AAH-x_Y9secretTOKEN";

    fn secrets() -> Secrets {
        Secrets::new([" 4711:AAH-x_Y9secretTOKEN\n", "", "k7"])
    }

    #[test]
    fn g24_a_secret_is_hidden_however_it_is_repeated() {
        let basic = |text: &str| {
            let mut bytes = base64(text.as_bytes(), 0);
            bytes.extend(b"==");
            String::from_utf8(bytes).expect("letters")
        };
        for (said, told) in [
            ("nothing to hide here".to_owned(), "nothing to hide here"),
            (format!("POST /bot{TOKEN}/sendMessage failed"), "POST /bot[secret]/sendMessage failed"),
            (format!("{TOKEN}{TOKEN}"), "[secret][secret]"),
            ("bot4711%3AAAH-x_Y9secretTOKEN!".into(), "bot[secret]!"),
            ("bot4711%253AAAH%252Dx_Y9secretTOKEN!".into(), "bot[secret]!"),
            ("bot%34%37%31%31%3a%41AH-x_Y9secretTOKEN!".into(), "bot[secret]!"),
            ("the part AAH-x_Y9secretTOKEN alone".into(), "the part [secret] alone"),
            ("BOT 4711:aah-X_y9SECRETtoken".into(), "BOT [secret]"),
            ("4711\\u003a:AAH-x_Y9\nsecretTOKEN".into(), "4711\\u003a:[secret]"),
            ("4711: AAH\u{200b}-x_Y9 secret\tTOKEN".into(), "[secret]"),
            (format!("Authorization: Basic {}", basic(TOKEN)), "Authorization: Basic [secret]=="),
            (TOKEN.bytes().map(|byte| format!("{byte:02X}")).collect(), "[secret]"),
            ("the key k7 is short, k77 too".into(), "the key [secret] is short, [secret]7 too"),
            ("4711 is the bot's own number".into(), "4711 is the bot's own number"),
            ("100% sure, 5%, %".into(), "100% sure, 5%, %"),
        ] {
            assert_eq!(secrets().hide(&said), told, "{said}");
        }
        for user in ["", "a:", "ab:", "abc:", "user:"] {
            let hidden = secrets().hide(&basic(&format!("{user}{TOKEN}:more")));
            assert!(hidden.contains(HIDDEN) && hidden.len() < HIDDEN.len() + 18, "{user}: {hidden}");
        }
    }

    #[test]
    fn g24_a_secret_is_not_halved_by_the_cut_of_long_words() {
        let told = |before: usize, most| secrets().told(&format!("{}{TOKEN}{}", "x".repeat(before), "y".repeat(9_000)), most);
        for before in 0..250 {
            let told = told(before, 200);
            assert!(!told.contains("4711") && !told.contains("AAH"), "{before}: {told}");
        }
        // Many of them make short words of long ones, at whose end one is cut.
        for count in 1..200 {
            let told = secrets().told(&format!("{}z", TOKEN.repeat(count)), 200);
            assert!(!told.contains("AAH"), "{count}: {told}");
        }
        assert_eq!(Secrets::default().told("a\nb", 200), "a b");
    }
}
