//! A transcript as the messages of a chat completion.
//!
//! Neighbours of one role become one message: many servers' chat templates insist that roles alternate, and none minds that they
//! do. What happened around the words (a tool, a cut) is told in brackets in the user's role: a system message in mid-conversation is
//! refused by some servers, and in the assistant's role the model would learn to write such lines itself.

use serde_json::{Value, json};

use crate::agent::Entry;

/// The body of the request.
pub(super) fn request(model: &str, system: Option<&str>, history: &[Entry]) -> Value {
    let mut messages: Vec<(&str, String)> = Vec::new();
    if let Some(system) = system.filter(|system| !system.trim().is_empty()) {
        messages.push(("system", system.to_owned()));
    }
    for entry in history {
        let (role, text) = spoken(entry);
        match messages.last_mut() {
            _ if text.is_empty() => {} // some servers refuse a message without words
            Some((last, words)) if *last == role => {
                words.push_str("\n\n");
                words.push_str(&text);
            }
            _ => messages.push((role, text)),
        }
    }
    let messages: Vec<Value> = messages.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect();
    json!({ "model": model, "messages": messages, "stream": true })
}

fn spoken(entry: &Entry) -> (&'static str, String) {
    match entry {
        Entry::User { name: Some(name), text } => ("user", format!("{name}: {text}")),
        Entry::User { name: None, text } => ("user", text.clone()),
        Entry::Assistant { text } => ("assistant", text.clone()),
        Entry::ToolCall { call, name, arguments } => ("user", format!("[The tool {name} was called ({call}) with {arguments}]")),
        Entry::ToolResult { call, result: Some(result) } => ("user", format!("[The call {call} answered: {result}]")),
        Entry::ToolResult { call, result: None } => ("user", format!("[What came of the call {call} is unknown; it may have had effects]")),
        Entry::Asked { call, question } => ("user", format!("[Approval of the call {call} was asked for: {question}]")),
        Entry::Decided { call, approved: true } => ("user", format!("[The call {call} was approved]")),
        Entry::Decided { call, approved: false } => ("user", format!("[The call {call} was refused]")),
        Entry::Cut => ("user", "[The work on the above was interrupted here, before it was answered]".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages, one a line.
    fn check(system: Option<&str>, history: &[Entry], expected: &[&str]) {
        let body = request("m", system, history);
        assert_eq!((body["model"].as_str(), body["stream"].as_bool()), (Some("m"), Some(true)));
        let messages = body["messages"].as_array().expect("a list");
        let lines: Vec<String> = messages
            .iter()
            .map(|message| format!("{}: {}", message["role"].as_str().expect("a role"), message["content"].as_str().expect("words")))
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_transcript_becomes_messages() {
        let user = |text: &str| Entry::User { name: None, text: text.into() };
        let assistant = |text: &str| Entry::Assistant { text: text.into() };
        check(None, &[user("a")], &["user: a"]);
        check(Some("  "), &[user("a")], &["user: a"]);
        check(Some("be kind"), &[user("a"), assistant("b"), user("c")], &["system: be kind", "user: a", "assistant: b", "user: c"]);
        check(None, &[user("a"), user("b")], &["user: a\n\nb"]);
        check(None, &[user("a"), assistant(""), user("b")], &["user: a\n\nb"]);
        check(None, &[Entry::User { name: Some("Ann".into()), text: "a".into() }], &["user: Ann: a"]);
        check(
            None,
            &[user("a"), Entry::Cut, user("b")],
            &["user: a\n\n[The work on the above was interrupted here, before it was answered]\n\nb"],
        );
        check(
            None,
            &[
                user("a"),
                Entry::ToolCall { call: "1".into(), name: "t".into(), arguments: "{}".into() },
                Entry::ToolResult { call: "1".into(), result: Some("x".into()) },
                Entry::ToolResult { call: "2".into(), result: None },
                assistant("b"),
            ],
            &[
                "user: a\n\n[The tool t was called (1) with {}]\n\n[The call 1 answered: x]\n\n[What came of the call 2 is unknown; it may \
                 have had effects]",
                "assistant: b",
            ],
        );
    }
}
