//! What `history` prints: a line for each life, the newest first, and what belongs to it below; no wider than a terminal.

use std::time::Duration;

use switchboard_actors::clock::Wall;
use switchboard_actors::escape::one_line;
use switchboard_actors::texts::spoken;

use crate::history::{Life, State};
use crate::utc;

/// No line is longer; but for a word that is.
const WIDTH: usize = 100;
/// No version is longer that was not spoilt.
const VERSION: usize = 64;
/// The last column is never narrower.
const NARROWEST: usize = 30;
const HEAD: [&str; 5] = ["STARTED (UTC)", "LASTED", "VERSION", "EXIT", "HOW IT ENDED"];

/// The lives as a table.
pub fn table(lives: &[Life]) -> String {
    if lives.is_empty() {
        return "No gateway has lived yet.\n".into();
    }
    let rows: Vec<[String; 4]> = lives.iter().map(facts).collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).chain([HEAD[column].len()]).max().unwrap_or(0);
    let widths = [widest(0), widest(1), widest(2), widest(3)];
    let indent = widths.iter().sum::<usize>() + 2 * widths.len();
    let line = |cells: [&str; 4], last: &str| {
        let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        format!("{}{last}", cells.concat()).trim_end().to_owned() + "\n"
    };
    let mut out = line([HEAD[0], HEAD[1], HEAD[2], HEAD[3]], HEAD[4]);
    for (life, row) in lives.iter().zip(&rows) {
        let mut told = story(life, WIDTH.saturating_sub(indent).max(NARROWEST)).into_iter();
        out.push_str(&line([&row[0], &row[1], &row[2], &row[3]], &told.next().unwrap_or_default()));
        told.for_each(|more| out.push_str(&format!("{:indent$}{more}\n", "")));
    }
    out
}

fn facts(life: &Life) -> [String; 4] {
    let lasted = life.lasted_millis.map(|millis| spoken(Duration::from_millis(millis)));
    let lasted = match (life.state, lasted) {
        (State::Ended, Some(lasted)) if life.at_least => format!("> {lasted}"),
        (State::Ended, Some(lasted)) => lasted,
        (State::Ended, None) => "?".into(),
        (State::Runs | State::FalseStart, _) => "-".into(),
    };
    let code = life.code.map_or_else(|| "-".into(), |code| code.to_string());
    let version = one_line(&life.version).chars().take(VERSION).collect();
    [moment(life.started), lasted, version, code]
}

/// What is told of a life, in lines: how it ended, what it said itself, who asked for it.
fn story(life: &Life, width: usize) -> Vec<String> {
    let often = match life.times {
        1 => String::new(),
        times => format!("{times} × "),
    };
    let paragraphs = [Some(format!("{often}{}", life.how)), life.said.clone(), life.asked.clone()];
    paragraphs.iter().flatten().flat_map(|text| wrapped(&one_line(&text.replace('\n', " ")), width)).collect()
}

/// The text in lines of at most so many letters; what goes on is indented.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn moment(at: Wall) -> String {
    let since_1970 = Duration::from_millis(u64::try_from(at.0).unwrap_or_default());
    utc::in_words(since_1970).replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(state: State, how: &str) -> Life {
        Life {
            started: Wall(1_763_935_267_000),
            version: "0.1.0".into(),
            instance: None,
            lasted_millis: Some(7_325_000),
            at_least: false,
            state,
            how: how.into(),
            kind: None,
            ending: None,
            said: None,
            asked: None,
            code: None,
            times: 1,
        }
    }

    #[test]
    fn g28_the_lives_fit_a_terminal_and_foreign_text_is_tamed() {
        let asked =
            Some("restart by operator with switchboard (pid 77, user 0): to try the\x1b[31m\nnew model that everybody waits for".into());
        let clean = Life { code: Some(0), asked, ..life(State::Ended, "restart, clean") };
        let killed = Life { at_least: true, ..life(State::Ended, "killed in drain") };
        let said = Some("a third signal: SIGTERM from bash (pid 1, user 0)".into());
        let third = Life { said, code: Some(75), lasted_millis: None, ..life(State::Ended, "killed in drain by a third signal") };
        let vain = Life { times: 3, code: Some(78), ..life(State::FalseStart, "did not start: the configuration has 2 faults:\n  a\n  b") };
        let told = table(&[life(State::Runs, "running"), vain, clean, killed, third]);
        let expected = "\
STARTED (UTC)        LASTED   VERSION  EXIT  HOW IT ENDED
2025-11-23 22:01:07  -        0.1.0    -     running
2025-11-23 22:01:07  -        0.1.0    78    3 × did not start: the configuration has 2 faults: a b
2025-11-23 22:01:07  2h 2m    0.1.0    0     restart, clean
                                             restart by operator with switchboard (pid 77, user 0):
                                               to try the\\u{1b}[31m new model that everybody waits
                                               for
2025-11-23 22:01:07  > 2h 2m  0.1.0    -     killed in drain
2025-11-23 22:01:07  ?        0.1.0    75    killed in drain by a third signal
                                             a third signal: SIGTERM from bash (pid 1, user 0)
";
        assert_eq!(told, expected, "{told}");
        assert!(told.lines().all(|line| line.chars().count() <= WIDTH), "{told}");
        assert_eq!(table(&[]), "No gateway has lived yet.\n");
    }

    #[test]
    fn g28_a_life_that_a_spoilt_row_tells_of_is_told_all_the_same() {
        let spoilt = |started| Life {
            started: Wall(started),
            version: "x".repeat(70_000),
            lasted_millis: Some(u64::MAX),
            ..life(State::Ended, "killed while serving")
        };
        let told = table(&[spoilt(i64::MAX), spoilt(i64::MIN)]);
        assert!(told.contains("9999-12-31 23:59:59") && told.contains("1970-01-01 00:00:00"), "{told}");
    }
}
