//! How the service manager saw a process end: the line that the unit's `ExecStopPost=` leaves, for ends of which a process cannot tell.
//!
//! The manager calls a shell for that and not the program, which may be what is ill. It leaves a line only where there is none: the first end after the
//! last life that was on record is that life's, and those behind it are starts in vain.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use switchboard_actors::clock::Wall;
use switchboard_actors::last_words::{Cause, LastWords};

use crate::exit;

/// What it saw of the process of this invocation (`$INVOCATION_ID` in systemd.exec(5)); none when that is not the last one that it saw end.
pub(super) fn read(path: &Path, invocation: &str) -> Option<LastWords> {
    let (code, cause) = parse(&fs::read_to_string(path).ok()?, invocation)?;
    let at = fs::metadata(path).and_then(|file| file.modified()).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(LastWords { at: Wall(i64::try_from(at.as_millis()).ok()?), code, phase: None, cause })
}

/// The line: invocation, `$SERVICE_RESULT`, `$EXIT_CODE`, `$EXIT_STATUS`. Without its end it was torn, and may say another code than the manager saw.
fn parse(line: &str, invocation: &str) -> Option<(Option<u8>, Cause)> {
    let words: Vec<&str> = line.strip_suffix('\n')?.split_whitespace().collect();
    let [id, result, how, status] = words[..] else { return None };
    let plain = |word: &str| word.len() <= 32 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if id != invocation || !plain(result) || !plain(status) {
        return None;
    }
    let (code, end) = match (how, status.parse::<u8>()) {
        ("exited", Ok(code)) => (Some(code), exit::in_words(code)),
        ("killed" | "dumped", Err(_)) => (None, format!("killed by SIG{status}")),
        _ => return None,
    };
    Some((code, Cause::Seen { result: result.into(), end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g28_the_managers_word_counts_for_the_invocation_that_it_names() {
        let check = |line: &str, expected: Option<(Option<u8>, &str)>| {
            let seen = parse(line, "abc").map(|(code, cause)| (code, cause.to_string()));
            assert_eq!(seen, expected.map(|(code, words)| (code, words.to_owned())), "{line:?}");
        };
        check("abc watchdog dumped ABRT\n", Some((None, "killed by SIGABRT, as the service manager saw it: watchdog")));
        check("abc timeout killed KILL\n", Some((None, "killed by SIGKILL, as the service manager saw it: timeout")));
        check("abc exit-code exited 70\n", Some((Some(70), "exit code 70: gave up, as the service manager saw it: exit-code")));
        check("abd timeout killed KILL\n", None);
        check("abc timeout killed\n", None);
        check("abc start-limit-hit  \n", None);
        check("abc timeout killed KILL and more\n", None);
        check("abc time\u{1b}out killed KILL\n", None);
        check("abc exit-code exited 700\n", None);
        check("abc exit-code exited 7", None);
        check("abc signal killed 9\n", None);
        check("", None);
        check("\n", None);
    }
}
