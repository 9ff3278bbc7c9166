//! Who may come in: the token, its cookie, and from where a request may come.
//!
//! Whoever holds the token is allowed. A browser exchanges it for a cookie that holds a random id of its own, signed with the
//! token, so that a new token voids every cookie. Room and user are derived from that id here, never taken from the client.
//! A page of another origin holds neither: Host names are listed (against names that are made to point at us), writes need a
//! same-origin Origin, and the cookie is SameSite=Strict.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, ORIGIN};
use ring::{digest, hmac};
use switchboard_actors::ids::{RoomId, UserId};

use crate::config::Http;
use crate::token::{Token, random_hex};

/// Bytes of a browser's id.
const ID_BYTES: usize = 16;
/// A browser forgets its cookie, and with it its room, after so long.
const REMEMBERED_SECS: u32 = 400 * 24 * 3600;

/// Decides who may come in.
pub struct Gate {
    key: hmac::Key,
    token: hmac::Tag,
    /// Host headers that are ours, in lower case; without a port: any.
    hosts: Vec<String>,
    cookie: String,
    bearer: Caller,
}

/// Somebody who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The browser's id: a secret, since it leads to the room.
    id: String,
    /// Whether a browser sends this by itself, with every request.
    by_cookie: bool,
}

impl Caller {
    /// The room, which nobody can guess.
    pub fn room(&self) -> RoomId {
        RoomId::new(&derived("room", &self.id)[..32])
    }

    /// The person, as told and as written into `admins`: long enough that nobody can become a chosen one.
    pub fn user(&self) -> UserId {
        UserId::new(&derived("user", &self.id)[..32])
    }
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Under a name that is not ours.
    Misdirected,
    /// Without a token or cookie that is good.
    NoToken,
    /// With a token that is wrong.
    WrongToken,
    /// From a page that is not ours.
    ForeignOrigin,
}

impl Denied {
    /// What is answered.
    pub fn response(self) -> HttpResponse {
        let (status, error) = match self {
            Denied::Misdirected => (StatusCode::MISDIRECTED_REQUEST, "this Host is not served here; add it to http.hosts"),
            Denied::NoToken => (StatusCode::UNAUTHORIZED, "open the address that `switchboard url` prints, or send Authorization: Bearer"),
            Denied::WrongToken => {
                (StatusCode::UNAUTHORIZED, "this token is not the gateway's; `switchboard url` prints the address with the right one")
            }
            Denied::ForeignOrigin => (StatusCode::FORBIDDEN, "a write must come from this page, or with Authorization: Bearer"),
        };
        super::refuse(status, error)
    }
}

impl Gate {
    /// The gate of this token and these names.
    pub fn new(http: &Http, token: &Token) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
        let mut hosts: Vec<String> = http.hosts.iter().map(|host| host.to_lowercase()).collect();
        let port = http.port().unwrap_or(80);
        hosts.push(http.listen.to_lowercase());
        if matches!(http.host(), "127.0.0.1" | "::1" | "localhost" | "0.0.0.0" | "::") {
            hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}")));
        }
        if port == 80 {
            let bare: Vec<String> = hosts.iter().filter_map(|host| Some(host.strip_suffix(":80")?.to_owned())).collect();
            hosts.extend(bare);
        }
        // Gateways on other ports of the same host share a browser's cookies.
        let cookie = format!("switchboard_{port}");
        let bearer = Caller { id: hex(hmac::sign(&key, b"bearer").as_ref()), by_cookie: false };
        let token = hmac::sign(&key, token.expose().as_bytes());
        Self { key, token, hosts, cookie, bearer }
    }

    /// Whether the request is meant for us.
    ///
    /// # Errors
    /// [`Denied::Misdirected`].
    pub fn host(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let host = text(headers, HOST).ok_or(Denied::Misdirected)?.to_lowercase();
        let bare = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host.as_str(),
        };
        let ours = |known: &String| *known == host || known == bare;
        self.hosts.iter().any(ours).then_some(()).ok_or(Denied::Misdirected)
    }

    /// Who sends a request that only reads.
    ///
    /// # Errors
    /// [`Denied::NoToken`], [`Denied::WrongToken`].
    pub fn reader(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        if let Some(header) = text(headers, AUTHORIZATION) {
            let token = header.strip_prefix("Bearer ").ok_or(Denied::WrongToken)?;
            return self.is_token(token.trim()).then(|| self.bearer.clone()).ok_or(Denied::WrongToken);
        }
        self.by_cookie(headers).ok_or(Denied::NoToken)
    }

    /// Who sends a request that writes.
    ///
    /// # Errors
    /// As [`reader`](Self::reader), and [`Denied::ForeignOrigin`].
    pub fn writer(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        let caller = self.reader(headers)?;
        if caller.by_cookie || headers.contains_key(ORIGIN) {
            same_origin(headers)?;
        }
        Ok(caller)
    }

    /// Exchanges the token for a cookie (the value of Set-Cookie); a browser that has a good one keeps its id.
    ///
    /// # Errors
    /// [`Denied::WrongToken`], [`Denied::ForeignOrigin`].
    pub fn enter(&self, headers: &HeaderMap, token: &str) -> Result<(Caller, String), Denied> {
        same_origin(headers)?;
        if !self.is_token(token.trim()) {
            return Err(Denied::WrongToken);
        }
        let caller = self.by_cookie(headers).unwrap_or_else(|| Caller { id: random_hex(ID_BYTES), by_cookie: true });
        let secure = if text(headers, ORIGIN).is_some_and(|origin| origin.starts_with("https://")) { "; Secure" } else { "" };
        let cookie = format!(
            "{}={}.{}; Path=/; HttpOnly; SameSite=Strict; Max-Age={REMEMBERED_SECS}{secure}",
            self.cookie,
            caller.id,
            self.signature(&caller.id)
        );
        Ok((caller, cookie))
    }

    fn by_cookie(&self, headers: &HeaderMap) -> Option<Caller> {
        let cookies = headers.get_all(COOKIE).filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(';'));
        let mut ours = cookies.filter_map(|pair| pair.trim().strip_prefix(&*self.cookie)?.strip_prefix('='));
        ours.find_map(|value| {
            let (id, signature) = value.split_once('.')?;
            let tag = unhex(signature)?;
            hmac::verify(&self.key, signed(id).as_bytes(), &tag).ok()?;
            Some(Caller { id: id.to_owned(), by_cookie: true })
        })
    }

    /// In constant time: the tag is compared, not the text.
    fn is_token(&self, given: &str) -> bool {
        hmac::verify(&self.key, given.as_bytes(), self.token.as_ref()).is_ok()
    }

    fn signature(&self, id: &str) -> String {
        hex(hmac::sign(&self.key, signed(id).as_bytes()).as_ref())
    }
}

/// A page of ours says so in Origin, which a script cannot forge.
fn same_origin(headers: &HeaderMap) -> Result<(), Denied> {
    let origin = text(headers, ORIGIN).ok_or(Denied::ForeignOrigin)?;
    let host = text(headers, HOST).ok_or(Denied::ForeignOrigin)?;
    let (scheme, authority) = origin.split_once("://").ok_or(Denied::ForeignOrigin)?;
    let same = matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host);
    same.then_some(()).ok_or(Denied::ForeignOrigin)
}

fn signed(id: &str) -> String {
    format!("cookie {id}")
}

fn derived(what: &str, id: &str) -> String {
    hex(digest::digest(&digest::SHA256, format!("{what} {id}").as_bytes()).as_ref())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.len().is_multiple_of(2).then(|| digits.chunks(2))?;
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::config::{Config, Surroundings};
    use crate::state_dir::StateDir;

    fn gate(hosts: &[&str]) -> (Gate, Token) {
        let around = Surroundings { variables: [("HOME".to_owned(), "/h".to_owned())].into(), ..Surroundings::default() };
        let mut http = Config::load(None, &around).expect("the defaults").http;
        http.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = Token::open(&StateDir::open(dir.path()).expect("ours")).expect("writable");
        (Gate::new(&http, &token), token)
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a header name");
            headers.append(name, HeaderValue::from_str(value).expect("a header value"));
        }
        headers
    }

    const OURS: &str = "127.0.0.1:7878";

    #[test]
    fn only_names_of_ours_are_served() {
        let (gate, _) = gate(&["chat.example.org", "Other:99"]);
        let check = |host: &str, ok: bool| assert_eq!(gate.host(&headers(&[("host", host)])).is_ok(), ok, "{host}");
        check("127.0.0.1:7878", true);
        check("localhost:7878", true);
        check("LOCALHOST:7878", true);
        check("[::1]:7878", true);
        check("chat.example.org", true);
        check("chat.example.org:8443", true);
        check("other:99", true);
        check("other", false);
        check("other:98", false);
        check("127.0.0.1", false);
        check("localhost:1", false);
        check("evil.example", false);
        check("chat.example.org.evil.example", false);
        assert_eq!(gate.host(&headers(&[])), Err(Denied::Misdirected));
    }

    #[test]
    fn g23_only_the_token_opens() {
        let (gate, token) = gate(&[]);
        let read = |pairs: &[(&str, &str)]| gate.reader(&headers(pairs)).map(|caller| caller.user());
        let bearer = format!("Bearer {}", token.expose());
        assert!(read(&[("authorization", &bearer)]).is_ok());
        assert_eq!(read(&[]), Err(Denied::NoToken));
        assert_eq!(read(&[("authorization", "Bearer ")]), Err(Denied::WrongToken));
        assert_eq!(read(&[("authorization", &bearer[..bearer.len() - 1])]), Err(Denied::WrongToken));
        assert_eq!(read(&[("authorization", "Basic Og==")]), Err(Denied::WrongToken));
        assert_eq!(read(&[("cookie", "switchboard_7878=00.00")]), Err(Denied::NoToken));
        assert_eq!(read(&[("cookie", "switchboard_7878=")]), Err(Denied::NoToken));
    }

    #[test]
    fn a_browser_keeps_its_room_and_cannot_choose_one() {
        let (gate, token) = gate(&[]);
        let origin = ("origin", "http://127.0.0.1:7878");
        let (first, cookie) = gate.enter(&headers(&[("host", OURS), origin]), token.expose()).expect("the token");
        assert!(cookie.contains("; HttpOnly; SameSite=Strict;") && !cookie.contains("Secure"), "{cookie}");
        let pair = cookie.split(';').next().expect("a cookie begins with its value");
        let sent = format!("other=1; {pair}");
        let (again, _) = gate.enter(&headers(&[("host", OURS), origin, ("cookie", &sent)]), token.expose()).expect("the token");
        assert_eq!(again, first);
        let (stranger, _) = gate.enter(&headers(&[("host", OURS), origin]), token.expose()).expect("the token");
        assert_ne!((stranger.room(), stranger.user()), (first.room(), first.user()));
        assert_eq!(first.user().as_str().len(), 32);
        let forged = format!("switchboard_7878={}.{}", "0".repeat(32), pair.rsplit_once('.').expect("signed").1);
        assert_eq!(gate.reader(&headers(&[("cookie", &forged)])), Err(Denied::NoToken));
    }

    #[test]
    fn writes_come_from_our_page_or_with_the_token_itself() {
        let (gate, token) = gate(&[]);
        let origin = ("origin", "http://127.0.0.1:7878");
        let (_, cookie) = gate.enter(&headers(&[("host", OURS), origin]), token.expose()).expect("the token");
        let cookie = cookie.split(';').next().expect("a cookie begins with its value");
        let bearer = format!("Bearer {}", token.expose());
        let check = |pairs: &[(&str, &str)], expected: Result<(), Denied>| {
            let mut all = vec![("host", OURS)];
            all.extend(pairs);
            assert_eq!(gate.writer(&headers(&all)).map(|_| ()), expected, "{pairs:?}");
        };
        check(&[("cookie", cookie), origin], Ok(()));
        check(&[("cookie", cookie)], Err(Denied::ForeignOrigin));
        check(&[("cookie", cookie), ("origin", "null")], Err(Denied::ForeignOrigin));
        check(&[("cookie", cookie), ("origin", "http://127.0.0.1:7879")], Err(Denied::ForeignOrigin));
        check(&[("authorization", &bearer)], Ok(()));
        check(&[("authorization", &bearer), ("origin", "http://evil.example")], Err(Denied::ForeignOrigin));
        let enter = |origin: &str| gate.enter(&headers(&[("host", OURS), ("origin", origin)]), token.expose()).map(|_| ());
        assert_eq!(enter("http://evil.example"), Err(Denied::ForeignOrigin));
        assert_eq!(gate.enter(&headers(&[("host", OURS), origin]), "wrong").map(|_| ()), Err(Denied::WrongToken));
    }
}
