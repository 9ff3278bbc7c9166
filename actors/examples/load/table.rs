//! Goals and what was measured, as one table.

use std::fmt;
use std::time::Duration;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) enum Figure {
    /// A time.
    Time(Duration),
    /// A size in bytes.
    Size(u64),
}

impl Figure {
    /// By how much it is above `goal`, if it is.
    fn over(self, goal: Figure) -> Option<Figure> {
        match (self, goal) {
            (Figure::Time(time), Figure::Time(goal)) => time.checked_sub(goal).filter(|over| !over.is_zero()).map(Figure::Time),
            (Figure::Size(size), Figure::Size(goal)) => size.checked_sub(goal).filter(|over| *over > 0).map(Figure::Size),
            _ => None,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figure::Time(time) => write!(f, "{:.1} ms", time.as_secs_f64() * 1e3),
            Figure::Size(bytes) => write!(f, "{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20),
        }
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    goal: Option<Figure>,
    measured: Figure,
}

impl Table {
    /// Something that is to stay at or below `goal`.
    pub(crate) fn judge(&mut self, what: impl Into<String>, goal: Figure, measured: Figure) {
        self.rows.push(Row { what: what.into(), goal: Some(goal), measured });
    }

    /// Something that explains the others.
    pub(crate) fn note(&mut self, what: impl Into<String>, measured: Figure) {
        self.rows.push(Row { what: what.into(), goal: None, measured });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<58} {:>11} {:>11}", "", "goal", "measured")?;
        for Row { what, goal, measured } in &self.rows {
            let (goal, verdict) = match goal {
                Some(goal) => (goal.to_string(), measured.over(*goal).map_or_else(|| "met".to_owned(), |over| format!("missed by {over}"))),
                None => (String::new(), String::new()),
            };
            writeln!(f, "{what:<58} {goal:>11} {:>11}  {verdict}", measured.to_string())?;
        }
        Ok(())
    }
}
