//! A browser's side of the web chat: the two halves of its login, messages under ids of its own, and the event stream.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, ORIGIN, SET_COOKIE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const HANG: Duration = Duration::from_secs(20);

pub(crate) fn client() -> Client {
    _ = rustls::crypto::ring::default_provider().install_default(); // another test was first
    Client::builder().timeout(HANG).build().expect("a client")
}

/// The header of the half that a page keeps.
pub(crate) const HALF: &str = "switchboard-half";

/// One browser: it keeps both halves of its login and says where it comes from.
pub(crate) struct Browser {
    client: Client,
    root: String,
    cookie: String,
    half: String,
}

impl Browser {
    pub(crate) async fn open(root: &str, token: &str) -> Self {
        Self::entered(root, &json!({ "token": token })).await.expect("it is let in")
    }

    /// None, but a program that comes with the token: its login never ends.
    pub(crate) fn program(root: &str, token: &str) -> Self {
        _ = rustls::crypto::ring::default_provider().install_default(); // another test was first
        let token = HeaderValue::from_str(&format!("Bearer {token}")).expect("letters");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, token)]);
        let client = Client::builder().timeout(HANG).default_headers(headers).build().expect("a client");
        Self { client, root: root.to_owned(), cookie: String::new(), half: String::new() }
    }

    /// What a browser that brings this becomes; else the answer.
    pub(crate) async fn entered(root: &str, entry: &Value) -> Result<Self, Response> {
        let (client, root) = (client(), root.to_owned());
        let response = client.post(format!("{root}/api/session")).header(ORIGIN, &root).json(entry).send().await.expect("an answer");
        if response.status() != StatusCode::OK {
            return Err(response);
        }
        let cookie = response.headers()[SET_COOKIE].to_str().expect("ASCII").split(';').next().expect("a value").to_owned();
        let half = response.json::<Value>().await.expect("JSON")["half"].as_str().expect("a half").to_owned();
        Ok(Self { client, root, cookie, half })
    }

    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    pub(crate) fn half(&self) -> &str {
        &self.half
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.root)).header(COOKIE, &self.cookie).header(HALF, &self.half)
    }

    pub(crate) async fn say(&self, id: &str, text: &str) -> Response {
        let request = self.client.post(format!("{}/api/messages", self.root)).header(COOKIE, &self.cookie).header(ORIGIN, &self.root);
        let request = request.header(HALF, &self.half);
        request.json(&json!({ "id": id, "text": text })).send().await.expect("an answer")
    }

    /// As a page that opens.
    pub(crate) async fn look(&self) -> Events {
        self.events("/api/events").await
    }

    /// As a page that comes back.
    pub(crate) async fn watch(&self, after: u64) -> Events {
        self.events(&format!("/api/events?after={after}")).await
    }

    async fn events(&self, path: &str) -> Events {
        let response = self.get(path).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        Events { stream: Box::pin(response.bytes_stream().map(|piece| piece.expect("whole").to_vec())), text: String::new() }
    }
}

/// An event stream, one event at a time.
pub(crate) struct Events {
    stream: std::pin::Pin<Box<dyn futures_util::Stream<Item = Vec<u8>>>>,
    text: String,
}

impl Events {
    /// The next event that is more than a sign of life, as (name, data, id); `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(String, Value, Option<u64>)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
                let found = field("event:").map(|name| {
                    let data = serde_json::from_str(&field("data:").expect("data")).expect("JSON");
                    (name, data, field("id:").map(|id| id.parse().expect("a number")))
                });
                self.text = rest.to_owned();
                if let Some(news) = found.filter(|(name, ..)| name != "beat") {
                    return Some(news);
                }
            }
            let piece = tokio::time::timeout(HANG, self.stream.next()).await.expect("the stream hangs")?;
            self.text.push_str(&String::from_utf8(piece).expect("UTF-8"));
        }
    }

    /// Names and texts up to and with `last`.
    pub(crate) async fn until(&mut self, last: &str) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some((name, data, _)) = self.next().await {
            seen.push(format!("{name} {}", data["text"].as_str().unwrap_or_default()).trim().to_owned());
            if seen.last().is_some_and(|seen| seen == last) {
                return seen;
            }
        }
        panic!("{last:?} never came; {seen:?}");
    }
}
