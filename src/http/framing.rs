//! Where a request ends: the bytes of a connection, cut so that the HTTP layer is never handed more than one request.
//!
//! The cut is made by the very codec that decodes the request behind it (`actix_http::h1::Codec`), so that both agree. What cannot be
//! understood is handed on as it is, once: the HTTP layer answers it and closes.

use actix_codec::Decoder;
use actix_http::h1::{Codec, Message, MessageType};
use actix_http::{Request, ServiceConfig};
use bytes::BytesMut;

/// The longest head of a request. Browsers and proxies send a few KiB at most.
pub(super) const HEAD_MOST: usize = 16 * 1024;

/// What the next bytes are.
pub(super) enum Piece {
    /// The beginning of a head: more must come.
    Partial,
    /// So many bytes are a head, of this request.
    Head(usize, Box<Request>),
    /// So many bytes belong to the body.
    Body(usize),
    /// They are no HTTP.
    Malformed,
    /// A head beyond [`HEAD_MOST`].
    TooLong,
}

/// Reads along with one connection.
pub(super) struct Framing {
    codec: Codec,
    in_body: bool,
}

impl Framing {
    /// At the beginning of a connection. The configuration, which decides nothing here, is shared: each has a clock that ticks.
    pub(super) fn new(shared: ServiceConfig) -> Self {
        Self { codec: Codec::new(shared), in_body: false }
    }

    /// Whether the body of a request goes on.
    pub(super) fn in_body(&self) -> bool {
        self.in_body
    }

    /// What `bytes` begin with: the bytes behind those that it answered with before.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Piece {
        match self.in_body {
            true => self.body(bytes),
            false => self.head(bytes),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Piece {
        // Looked for first, so that a head which comes byte by byte is not decoded anew with each.
        if !ends(bytes) {
            return if bytes.len() > HEAD_MOST { Piece::TooLong } else { Piece::Partial };
        }
        let mut rest = BytesMut::from(bytes);
        match self.codec.decode(&mut rest) {
            Ok(Some(Message::Item(request))) => {
                let length = bytes.len() - rest.len();
                self.in_body = !matches!(self.codec.message_type(), MessageType::None);
                if length > HEAD_MOST { Piece::TooLong } else { Piece::Head(length, Box::new(request)) }
            }
            Ok(None) if bytes.len() > HEAD_MOST => Piece::TooLong,
            Ok(None) => Piece::Partial,
            Ok(Some(Message::Chunk(_))) | Err(_) => Piece::Malformed,
        }
    }

    fn body(&mut self, bytes: &[u8]) -> Piece {
        let mut rest = BytesMut::from(bytes);
        loop {
            match self.codec.decode(&mut rest) {
                Ok(Some(Message::Chunk(Some(_)))) => {}
                Ok(Some(Message::Chunk(None))) => {
                    self.in_body = false;
                    return Piece::Body(bytes.len() - rest.len());
                }
                Ok(None) => return Piece::Body(bytes.len() - rest.len()),
                Ok(Some(Message::Item(_))) | Err(_) => return Piece::Malformed,
            }
        }
    }
}

/// Whether an empty line is in it. The codec lets a bare line feed end a line.
fn ends(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "Host: a\r\n";

    /// Cuts a text into what is handed on piece by piece, the text coming in `step` bytes at a time.
    fn cut(text: &str, step: usize) -> Vec<String> {
        let (mut framing, mut waiting, mut pieces) = (Framing::new(ServiceConfig::default()), Vec::new(), Vec::new());
        for bytes in text.as_bytes().chunks(step) {
            waiting.extend_from_slice(bytes);
            while !waiting.is_empty() {
                let (name, length) = match framing.next(&waiting) {
                    Piece::Partial => break,
                    Piece::Head(length, request) => (format!("head {}", request.path()), length),
                    Piece::Body(length) => (if framing.in_body() { "body" } else { "end" }.to_owned(), length),
                    Piece::Malformed => return [pieces, vec!["malformed".to_owned()]].concat(),
                    Piece::TooLong => return [pieces, vec!["too long".to_owned()]].concat(),
                };
                let length = waiting.drain(..length).count();
                if name != "body" {
                    pieces.push(name);
                }
                if length == 0 {
                    break;
                }
            }
        }
        pieces
    }

    #[actix_rt::test]
    async fn g41_the_http_layer_is_handed_one_request_after_the_other() {
        let check = |text: &str, expected: &[&str]| {
            for step in [1, 2, 3, 7, 4096] {
                assert_eq!(cut(text, step), expected, "{step} bytes at a time: {text:?}");
            }
        };
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\n{HOST}\r\n");
        check(&(get("/a") + &get("/b")), &["head /a", "head /b"]);
        check(&format!("POST /a HTTP/1.1\r\n{HOST}Content-Length: 3\r\n\r\nxyz{}", get("/b")), &["head /a", "end", "head /b"]);
        let chunked = format!("POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n{}", get("/b"));
        check(&chunked, &["head /a", "end", "head /b"]);
        check(&format!("GET /a HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n{}", get("/b")), &["head /a", "head /b"]);
        check("GET /a HTTP/1.0\r\n\r\n", &["head /a"]);
        check("GET /a HTTP/1.1\nHost: a\n\n", &["head /a"]);
        check(&format!("\r\n\r\n{}", get("/a")), &["head /a"]);
        check(&format!("GET /a HTTP/1.1\r\n{HOST}Upgrade: websocket\r\nConnection: upgrade\r\n\r\n{}", get("/b")), &["head /a"]);
        check("GET / HTTP/1.1\r\n\r\n", &["malformed"]);
        check("nonsense\r\n\r\n", &["malformed"]);
        check(&format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), &["malformed"]);
        check(&format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 3\r\nContent-Length: 4\r\n\r\n"), &["malformed"]);
    }

    #[actix_rt::test]
    async fn g41_a_head_without_an_end_is_not_waited_for() {
        let long = format!("GET / HTTP/1.1\r\n{HOST}Cookie: {}", "x".repeat(HEAD_MOST));
        assert_eq!(cut(&long, 1000), ["too long"]);
        assert_eq!(cut(&(long + "\r\n\r\n"), 100_000), ["too long"]);
    }
}
