//! The shape of a transcript: what may join it, how a cut closes it, and what an agent is shown of it.
//!
//! Pure text work on [`Entry`] lists, the same for every engine, so that no engine can hand out a conversation with a dangling
//! tool call. It never reads or stores anything.

use crate::agent::{Decision, Entry};
use crate::ids::TurnId;

/// What is to be done with an entry that an agent reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// It is new: append it.
    Append,
    /// It is there already: the step was repeated.
    Known,
    /// It has no place there.
    Refused(&'static str),
}

/// Judges an entry against the entries of this attempt, oldest first. Entries before the last [`Entry::Cut`] are another attempt's.
pub(super) fn join(entries: &[Entry], entry: &Entry) -> Join {
    let start = entries.iter().rposition(|e| matches!(e, Entry::Cut)).map_or(0, |at| at + 1);
    let attempt = &entries[start..];
    match entry {
        Entry::ToolCall { call, .. } => match attempt.iter().find(|e| matches!(e, Entry::ToolCall { call: known, .. } if known == call)) {
            None => Join::Append,
            Some(known) if known == entry => Join::Known,
            Some(_) => Join::Refused("another tool call of this turn has the same id"),
        },
        Entry::ToolResult { call, .. } => {
            let made = attempt.iter().any(|e| matches!(e, Entry::ToolCall { call: known, .. } if known == call));
            let answered = attempt.iter().any(|e| matches!(e, Entry::ToolResult { call: known, .. } if known == call));
            match (made, answered) {
                (true, false) => Join::Append,
                (true, true) => Join::Known,
                (false, _) => Join::Refused("no tool call of this attempt has this id"),
            }
        }
        Entry::Assistant { .. } if attempt.last() == Some(entry) => Join::Known,
        Entry::Assistant { .. } => Join::Append,
        Entry::User { .. } | Entry::Asked { .. } | Entry::Decided { .. } | Entry::Cut => {
            Join::Refused("only tool calls, their results and the agent's words are progress")
        }
    }
}

/// The results that close every call without one: unknown, the call may have had effects.
pub(super) fn missing_results<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Entry> {
    let mut open: Vec<&str> = Vec::new();
    for entry in entries {
        match entry {
            Entry::ToolCall { call, .. } => open.push(call),
            Entry::ToolResult { call, .. } => {
                if let Some(at) = open.iter().position(|known| known == call) {
                    open.remove(at);
                }
            }
            Entry::User { .. } | Entry::Assistant { .. } | Entry::Asked { .. } | Entry::Decided { .. } | Entry::Cut => {}
        }
    }
    open.into_iter().map(|call| Entry::ToolResult { call: call.to_owned(), result: None }).collect()
}

/// What was decided since the last cut. What was allowed to a run that was cut is asked again: it may go another way.
pub(super) fn decisions(own: &[Entry]) -> Vec<Decision> {
    let mut decided: Vec<Decision> = own
        .iter()
        .rev()
        .take_while(|entry| !matches!(entry, Entry::Cut))
        .filter_map(|entry| match entry {
            Entry::Decided { call, approved } => Some(Decision { call: call.clone(), approved: *approved }),
            _ => None,
        })
        .collect();
    decided.reverse();
    decided
}

/// What an agent is shown: the tail of earlier turns (oldest first), then the turn itself, ending in what is to be answered.
/// Names are shown only where `shared`.
pub(super) fn history(earlier: Vec<(TurnId, Entry)>, own: Vec<Entry>, shared: bool) -> Vec<Entry> {
    let mut history = whole_calls(earlier);
    history.extend(to_be_answered(own));
    if !shared {
        for entry in &mut history {
            if let Entry::User { name, .. } = entry {
                *name = None;
            }
        }
    }
    history
}

/// Drops what the limit tore apart at the head: results whose call is gone, and a cut mark with nothing above it.
fn whole_calls(earlier: Vec<(TurnId, Entry)>) -> Vec<Entry> {
    let Some(torn) = earlier.first().map(|(turn, _)| *turn) else { return Vec::new() };
    let mut calls: Vec<String> = Vec::new();
    let mut kept: Vec<Entry> = Vec::new();
    for (turn, entry) in earlier {
        match &entry {
            Entry::ToolCall { call, .. } if turn == torn => calls.push(call.clone()),
            Entry::ToolResult { call, .. } if turn == torn => match calls.iter().position(|known| known == call) {
                Some(at) => drop(calls.remove(at)),
                None => continue,
            },
            Entry::Cut if kept.is_empty() => continue,
            _ => {}
        }
        kept.push(entry);
    }
    kept
}

/// A turn that runs again after it had called tools shows what was done and where it was cut, and then asks again: the model
/// must see a request at the end, not a result whose request lies far above. Without tool calls the request alone says it all.
fn to_be_answered(own: Vec<Entry>) -> Vec<Entry> {
    let prompt: Vec<Entry> = own.iter().filter(|e| matches!(e, Entry::User { .. })).cloned().collect();
    if own.iter().all(|e| matches!(e, Entry::User { .. } | Entry::Cut)) {
        return prompt;
    }
    let mut shown = own;
    shown.extend(prompt);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Seq;

    fn user(text: &str) -> Entry {
        Entry::User { name: Some("Ann".into()), text: text.into() }
    }

    fn call(id: &str) -> Entry {
        Entry::ToolCall { call: id.into(), name: "t".into(), arguments: "{}".into() }
    }

    fn result(id: &str, text: Option<&str>) -> Entry {
        Entry::ToolResult { call: id.into(), result: text.map(str::to_owned) }
    }

    #[test]
    fn entries_join_once_and_only_where_they_belong() {
        let so_far = [user("hi"), call("1"), Entry::Cut, call("2"), result("2", Some("ok"))];
        let cases = [
            (call("1"), Join::Append), // the first attempt's id does not count
            (call("2"), Join::Known),
            (result("2", Some("ok")), Join::Known),
            (call("3"), Join::Append),
        ];
        for (entry, expected) in cases {
            assert_eq!(join(&so_far, &entry), expected, "{entry:?}");
        }
        assert!(matches!(join(&so_far, &result("9", None)), Join::Refused(_)));
        assert!(matches!(join(&so_far, &Entry::Cut), Join::Refused(_)));
        let other = Entry::ToolCall { call: "2".into(), name: "other".into(), arguments: String::new() };
        assert!(matches!(join(&so_far, &other), Join::Refused(_)));
    }

    #[test]
    fn words_join_unless_they_were_just_said() {
        let said = |text: &str| Entry::Assistant { text: text.into() };
        let cases: [(&[Entry], Join); 4] = [
            (&[user("hi")], Join::Append),
            (&[user("hi"), said("one")], Join::Known),
            (&[user("hi"), said("one"), said("two")], Join::Append),
            (&[user("hi"), said("one"), Entry::Cut], Join::Append), // another attempt said it
        ];
        for (so_far, expected) in cases {
            assert_eq!(join(so_far, &said("one")), expected, "{so_far:?}");
        }
    }

    #[test]
    fn every_call_gets_a_result() {
        let entries = [call("1"), result("1", Some("a")), call("1"), call("2")];
        assert_eq!(missing_results(&entries), [result("1", None), result("2", None)]);
    }

    #[test]
    fn g14_a_decision_holds_until_the_next_cut() {
        let decided = |call: &str, approved| Entry::Decided { call: call.into(), approved };
        let entries = [user("do"), decided("1", true), Entry::Cut, decided("2", false), user("more"), decided("3", true)];
        let found: Vec<_> = decisions(&entries).into_iter().map(|decision| (decision.call, decision.approved)).collect();
        assert_eq!(found, [("2".to_owned(), false), ("3".to_owned(), true)]);
    }

    #[test]
    fn a_limit_tears_no_call_from_its_result() {
        let turn = TurnId(Seq(1));
        let tail = [call("2"), result("1", None), result("2", None), Entry::Assistant { text: "a".into() }];
        let shown = history(tail.into_iter().map(|e| (turn, e)).collect(), vec![user("now")], true);
        assert_eq!(shown, [call("2"), result("2", None), Entry::Assistant { text: "a".into() }, user("now")]);
        // Only the oldest turn is torn; those behind it are whole.
        let (torn, whole) = (TurnId(Seq(1)), TurnId(Seq(2)));
        let tail = [(torn, Entry::Cut), (torn, result("1", None)), (whole, call("1")), (whole, result("1", None)), (whole, Entry::Cut)];
        assert_eq!(history(tail.to_vec(), Vec::new(), true), [call("1"), result("1", None), Entry::Cut]);
    }

    #[test]
    fn a_turn_that_runs_again_ends_in_its_request() {
        let plain = history(Vec::new(), vec![user("do"), Entry::Cut], true);
        assert_eq!(plain, [user("do")]);
        let with_tools = vec![user("do"), call("1"), result("1", None), Entry::Cut];
        let mut expected = with_tools.clone();
        expected.push(user("do"));
        assert_eq!(history(Vec::new(), with_tools, true), expected);
    }
}
