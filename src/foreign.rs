//! Foreign text on its way to a terminal.

/// The text on one line and without control characters, so that it can neither forge a line nor command a terminal.
pub fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
