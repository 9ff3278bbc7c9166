//! A completion as it comes in, chunk by chunk or whole: what is new, and whether it is over.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/chat-streaming/streaming> (chunks, `delta`, `finish_reason`, `[DONE]`),
//! <https://platform.openai.com/docs/api-reference/chat/object> (whole). Servers differ from it in many ways, so nothing is required
//! that is not needed: unknown fields, a choice without `index`, an unknown finish reason, `content` that is null or a list of parts,
//! tool calls of any shape, a chunk without choices are all taken. A stream that ends without `finish_reason` or `[DONE]` is not over: it was cut.

use serde_json::Value;

/// What was understood so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Completion {
    /// The answer's words.
    pub(super) text: String,
    /// Bytes of thoughts so far, of which nothing else is kept.
    pub(super) thought: usize,
    /// Of which it was asked whether there are more.
    thought_before: usize,
    /// Whether the server said that this is all.
    pub(super) over: bool,
    /// Whether anything was understood at all.
    pub(super) begun: bool,
}

/// Why a chunk is not a part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// It is not a completion.
    NotUnderstood,
    /// The server says that it failed, in its own words and perhaps with a code like a status of HTTP.
    Error {
        /// The code, where it is a number.
        code: Option<u64>,
        /// Its words.
        message: String,
    },
}

impl Completion {
    /// Takes one event of a stream; returns the words that are new, perhaps none.
    pub(super) fn chunk(&mut self, data: &str) -> Result<&str, Odd> {
        if data.trim() == "[DONE]" {
            (self.begun, self.over) = (true, true);
            return Ok("");
        }
        let chunk: Value = serde_json::from_str(data).map_err(|_| Odd::NotUnderstood)?;
        self.take(&chunk)
    }

    /// Whether there are thoughts that were not there when this was asked before.
    pub(super) fn thinks_on(&mut self) -> bool {
        std::mem::replace(&mut self.thought_before, self.thought) < self.thought
    }

    /// Takes a whole answer, from a server that does not stream.
    pub(super) fn whole(&mut self, body: &str) -> Result<&str, Odd> {
        let body: Value = serde_json::from_str(body).map_err(|_| Odd::NotUnderstood)?;
        if body["choices"].as_array().is_none_or(Vec::is_empty) && body.get("error").is_none_or(Value::is_null) {
            return Err(Odd::NotUnderstood);
        }
        // All of it is here, whatever the finish reason.
        self.over = true;
        self.take(&body)
    }

    fn take(&mut self, chunk: &Value) -> Result<&str, Odd> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(told(error));
        }
        if !chunk.is_object() {
            return Err(Odd::NotUnderstood);
        }
        self.begun = true;
        let before = self.text.len();
        for choice in chunk["choices"].as_array().into_iter().flatten().filter(|choice| ours(choice)) {
            for said in [&choice["delta"]["content"], &choice["message"]["content"]] {
                add(&mut self.text, said);
            }
            // DeepSeek, llama.cpp and vLLM call a model's thoughts the one, OpenRouter and later versions of vLLM the other.
            for thought in [&choice["delta"]["reasoning_content"], &choice["delta"]["reasoning"]] {
                self.thought = self.thought.saturating_add(thought.as_str().map_or(0, str::len));
            }
            // Some servers send an empty reason with every chunk.
            self.over |= choice["finish_reason"].as_str().is_some_and(|reason| !reason.is_empty());
        }
        Ok(&self.text[before..])
    }
}

/// The words of an error in any of its shapes: `{"message": …}`, `{"message": …, "code": …}`, `"…"`.
pub(super) fn told(error: &Value) -> Odd {
    let message = error.as_str().or_else(|| error["message"].as_str()).unwrap_or_default().to_owned();
    let code = error["code"].as_u64().or_else(|| error["code"].as_str().and_then(|code| code.parse().ok()));
    Odd::Error { code, message }
}

/// We ask for one choice; a server that sends more is heard on the first.
fn ours(choice: &Value) -> bool {
    choice["index"].as_u64().unwrap_or(0) == 0
}

fn add(text: &mut String, content: &Value) {
    match content {
        Value::String(words) => text.push_str(words),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).for_each(|words| text.push_str(words)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes chunks to the words, the end and the error that they come to.
    fn check(chunks: &[&str], text: &str, over: bool) {
        let mut completion = Completion::default();
        let mut pieces = String::new();
        for chunk in chunks {
            pieces.push_str(completion.chunk(chunk).expect("a chunk that is taken"));
        }
        assert_eq!((completion.text.as_str(), completion.over), (text, over), "{chunks:?}");
        assert_eq!(pieces, text, "every word is told once");
    }

    #[test]
    fn whatever_servers_send_is_taken() {
        let done = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        check(
            &[r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#, r#"{"choices":[{"index":0,"delta":{"content":"b"}}]}"#, done],
            "ab",
            true,
        );
        check(&[r#"{"choices":[{"delta":{"content":"no index"}}],"new":{"x":1}}"#, " [DONE]"], "no index", true);
        check(&[r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"because"}]}"#], "a", true);
        check(&[r#"{"choices":[{"delta":{"content":"a"},"finish_reason":""}]}"#], "a", false);
        check(&[r#"{"choices":[{"delta":{"content":null,"role":"assistant"}}]}"#, done], "", true);
        check(&[r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#], "ab", false);
        check(&[r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":{"a":1}}}]},"finish_reason":"tool_calls"}]}"#], "", true);
        check(
            &[r#"{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"z"},"finish_reason":"stop"}]}"#],
            "a",
            false,
        );
        check(&[r#"{"choices":[],"usage":{"total_tokens":3}}"#, r#"{"choices":null}"#, r#"{}"#], "", false);
        check(&[r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#], "", false);
        check(&[r#"{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}]}"#], "whole", true);
        check(&[r#"{"error":null,"choices":[{"delta":{"content":"a"}}]}"#], "a", false);
        check(&[], "", false);
    }

    #[test]
    fn thoughts_are_progress_and_events_without_words_are_none() {
        let mut completion = Completion::default();
        for (delta, more) in [
            (r#"{"role":"assistant","content":""}"#, false),
            (r#"{"reasoning_content":"hm"}"#, true),
            (r#"{"reasoning_content":""}"#, false),
            (r#"{"reasoning":"so"}"#, true),
            (r#"{"content":"a"}"#, false),
            (r#"{"reasoning":null}"#, false),
        ] {
            completion.chunk(&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#)).expect("a chunk");
            assert_eq!(completion.thinks_on(), more, "{delta}");
        }
        assert_eq!((completion.text.as_str(), completion.thought), ("a", 4));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let error = |code, message: &str| Err(Odd::Error { code, message: message.into() });
        for (chunk, expected) in [
            ("<html>", Err(Odd::NotUnderstood)),
            ("[1]", Err(Odd::NotUnderstood)),
            (r#"{"choices":[{"delta":{"cont"#, Err(Odd::NotUnderstood)),
            (r#"{"error":{"message":"over","code":503}}"#, error(Some(503), "over")),
            (r#"{"error":{"message":"over","code":"429"}}"#, error(Some(429), "over")),
            (r#"{"error":{"code":"server_error"}}"#, error(None, "")),
            (r#"{"error":"over"}"#, error(None, "over")),
        ] {
            assert_eq!(Completion::default().chunk(chunk), expected, "{chunk}");
        }
        assert_eq!(Completion::default().whole(r#"{"detail":"x"}"#), Err(Odd::NotUnderstood));
        assert_eq!(Completion::default().whole(r#"{"choices":[]}"#), Err(Odd::NotUnderstood));
        assert_eq!(Completion::default().whole(r#"{"choices":[{"message":{"content":"a"}}]}"#), Ok("a"));
    }
}
