//! Foreign text on its way to a terminal, a log or whoever reads one: what can command a terminal, forge a line or turn the reading order is
//! spelled out instead. Everything that the command line and the log print goes through here, once.
//!
//! Letters of every script stay. Joiners, with which some scripts and emoji are written, are spelled out in a line, where they could make two
//! names look the same, and stay in longer text.

use std::fmt::Write as _;

/// Characters without a shape of their own that change how others are read: Cf, Zl and Zp of
/// <https://www.unicode.org/Public/16.0.0/ucd/extracted/DerivedGeneralCategory.txt>, and those beside them that are as invisible
/// (<https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point>), reserved ones included. In order.
const INVISIBLE: [(char, char); 24] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// The text on one line, whatever stands in it.
pub fn one_line(text: &str) -> String {
    spelled(text, |c| !is_plain(c))
}

/// Longer text: line ends, tabs and joiners (ZWNJ, ZWJ) stay.
pub fn lines(text: &str) -> String {
    spelled(text, |c| !matches!(c, '\n' | '\t' | '\u{200c}' | '\u{200d}') && !is_plain(c))
}

/// JSON as it was written, with the same characters spelled out as JSON does: it means the same. Those below space stand in JSON only between its values.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c < ' ' || is_plain(c) {
            true => out.push(c),
            false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| _ = write!(out, "\\u{unit:04x}")),
        }
    }
    out
}

fn spelled(text: &str, wanted: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| if wanted(c) { out.extend(c.escape_default()) } else { out.push(c) });
    out
}

fn is_plain(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    !c.is_control() && !INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g23_what_commands_a_terminal_or_hides_in_a_name_is_spelled_out() {
        for (text, expected) in [
            ("Ann Lee", "Ann Lee"),
            ("Zoë Müller 李明 ⚙️ אבג", "Zoë Müller 李明 ⚙️ אבג"),
            ("a\x1b[31m\nb\r\t\x07\x7f", "a\\u{1b}[31m\\nb\\r\\t\\u{7}\\u{7f}"),
            ("a\u{9b}2J\u{85}b", "a\\u{9b}2J\\u{85}b"),
            ("gnp\u{202e}.exe\u{2066}\u{200b}\u{feff}", "gnp\\u{202e}.exe\\u{2066}\\u{200b}\\u{feff}"),
            ("two\u{2028}lines\u{2029}", "two\\u{2028}lines\\u{2029}"),
            ("a\u{e0041}\u{ad}\u{3164}", "a\\u{e0041}\\u{ad}\\u{3164}"),
            ("", ""),
        ] {
            assert_eq!(one_line(text), expected);
        }
        assert_eq!(one_line("👨\u{200d}👩"), "👨\\u{200d}👩");
        assert_eq!(lines("a\n\tb 👨\u{200d}👩\r\x1bc\u{202e}"), "a\n\tb 👨\u{200d}👩\\r\\u{1b}c\\u{202e}");
    }

    /// The standard library knows every character without a shape, and does not say what it is.
    #[test]
    fn nothing_is_spelled_out_that_has_a_shape() {
        assert!(INVISIBLE.is_sorted_by(|(_, last), (next, _)| last < next) && INVISIBLE.iter().all(|(first, last)| first <= last));
        let shapeless = |c: char| c.is_control() || ('\u{300}'..='\u{3164}').contains(&c) || c >= '\u{fe00}' || !c.escape_debug().eq([c]);
        let all = (0..=u32::from(char::MAX)).filter_map(char::from_u32);
        for c in all.filter(|c| !is_plain(*c)) {
            assert!(shapeless(c), "{c:?}");
        }
    }

    #[test]
    fn json_means_the_same() {
        let value = serde_json::json!({ "name": "a\x1b\u{9b}\u{7f}\u{202e}\u{e0041}ü", "list": [1, "x\ny"] });
        let text = json(&serde_json::to_string_pretty(&value).expect("plain data"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
        assert!(text.chars().all(|c| c == '\n' || is_plain(c)), "{text}");
    }
}
