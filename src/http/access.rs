//! Who may come in: by the token, by the two halves of a browser's login, and from where a request may come.
//!
//! A browser is let in by a code, which opens once, and becomes a random id of its own. Room and user are derived from that id here, never taken from
//! the client. A page of another origin holds neither half: Host names are listed (against names that are made to point at us), writes need a
//! same-origin Origin, and the cookie is SameSite=Strict. Who operates is known by another token, which opens no chat.

pub mod codes;
pub mod denied;
pub mod exchanged;
pub mod rate;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use actix_web::http::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, ORIGIN};
use ring::{digest, hmac};
use switchboard_actors::ids::{RoomId, UserId};
use tokio::sync::watch;

pub use denied::Denied;

use self::codes::Codes;
use self::exchanged::{Exchanged, Record, Verdict};
use self::rate::Rate;
use crate::config::Http;
use crate::cookie_key::{Cookie, CookieKey, LASTS, hex};
use crate::keys::{Keys, Rotation};
use crate::state_dir::{StateDir, Unusable};
use crate::token::{Token, random_hex};

/// Bytes of a browser's id, and of a code: nobody guesses either, however often they try.
const RANDOM_BYTES: usize = 16;
/// Wrong codes and tokens that are answered in a minute; for those beyond it there is another answer, and no more log lines.
const WRONG_PER_MINUTE: u64 = 30;
/// The half of a login that the page keeps and sends.
const HALF: HeaderName = HeaderName::from_static("switchboard-half");

/// Decides who may come in.
pub struct Gate {
    /// Host headers that are ours, in lower case; without a port: any.
    hosts: Vec<String>,
    cookie: String,
    state: StateDir,
    locks: RwLock<Arc<Locks>>,
    /// Held while keys are made anew, so that two who ask for it do not mix their files.
    rotating: Mutex<()>,
    codes: Mutex<Codes>,
    exchanged: Mutex<Exchanged>,
    record: Record,
    wrong: Mutex<Rate>,
    newcomers: Mutex<Rate>,
    newcomers_per_minute: u64,
    ages: watch::Sender<Ages>,
}

/// What is held against what somebody brings.
struct Locks {
    chat: Lock,
    operate: Lock,
    cookies: CookieKey,
    ages: Ages,
}

/// How often logins were made void: one of another age is void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ages {
    tokens: u64,
    browsers: u64,
}

/// A token to compare with.
struct Lock {
    key: hmac::Key,
    tag: hmac::Tag,
}

/// Somebody who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The browser's id: a secret, since it leads to the room.
    id: String,
    by: By,
    ages: Ages,
}

/// How somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The token, in every request.
    Token,
    /// Both halves of a login.
    Halves,
    /// The cookie of an older version.
    OldCookie,
}

/// What a browser brings to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A code.
    Code(&'a str),
    /// The token.
    Token(&'a str),
    /// Nothing but the login that it has.
    Login,
}

/// A browser that is in.
#[derive(Debug, PartialEq, Eq)]
pub struct Entered {
    /// It.
    pub caller: Caller,
    /// The half for its page.
    pub half: String,
    /// The value of Set-Cookie; none when the cookie that it has is young.
    pub cookie: Option<String>,
    /// Whether nobody knew it before.
    pub is_new: bool,
    /// Whether an old cookie was exchanged, which is to be written down before this is answered.
    pub was_exchanged: bool,
}

impl Caller {
    /// The room, which nobody can guess.
    pub fn room(&self) -> RoomId {
        RoomId::new(&derived("room", &self.id)[..32])
    }

    /// The person, as told and as written into `admins`: long enough that nobody can become a chosen one.
    pub fn user(&self) -> UserId {
        UserId::new(user_of(&self.id))
    }

    fn is_void(&self, now: Ages) -> bool {
        match self.by {
            By::Token => now.tokens != self.ages.tokens,
            By::Halves => now.browsers != self.ages.browsers,
            By::OldCookie => now != self.ages,
        }
    }

    fn is_browser(&self) -> bool {
        self.by != By::Token
    }
}

impl Gate {
    /// The gate of these keys and names.
    pub fn new(http: &Http, state: &StateDir, keys: &Keys) -> Self {
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
        let record = Record(state.exchanged());
        if !keys.cookies.takes_old(now()) {
            // What is left of it does no harm.
            _ = record.remove();
        }
        Self {
            hosts,
            // Gateways on other ports of the same host share a browser's cookies.
            cookie: format!("switchboard_{port}"),
            state: state.clone(),
            locks: RwLock::new(Arc::new(Locks::new(keys, Ages::default()))),
            rotating: Mutex::default(),
            codes: Mutex::default(),
            exchanged: Mutex::new(Exchanged::of(&record)),
            record,
            wrong: Mutex::default(),
            newcomers: Mutex::default(),
            newcomers_per_minute: u64::from(http.browsers_per_minute),
            ages: watch::Sender::default(),
        }
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
    /// [`Denied::NoLogin`], [`Denied::HalfLogin`], [`Denied::WrongToken`].
    pub fn reader(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        self.reader_at(headers, now())
    }

    fn reader_at(&self, headers: &HeaderMap, now: u64) -> Result<Caller, Denied> {
        let locks = self.locks();
        match bearer(headers) {
            Some(token) if locks.chat.fits(token?) => Ok(locks.bearer()),
            Some(_) => Err(Denied::WrongToken),
            None => match self.login(&locks, headers, now) {
                Ok((caller, _)) if caller.by == By::OldCookie && self.was_exchanged(&caller) => Err(Denied::NoLogin),
                found => found.map(|(caller, _)| caller),
            },
        }
    }

    /// Who sends a request that writes.
    ///
    /// # Errors
    /// As [`reader`](Self::reader), and [`Denied::ForeignOrigin`].
    pub fn writer(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        let caller = self.reader(headers)?;
        if caller.is_browser() || headers.contains_key(ORIGIN) {
            same_origin(headers)?;
        }
        Ok(caller)
    }

    /// Whether somebody may see figures: whoever operates, and for now whoever chats.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn watcher(&self, headers: &HeaderMap) -> Result<(), Denied> {
        match bearer(headers) {
            Some(Ok(token)) if self.locks().operate.fits(token) => Ok(()),
            _ => self.reader(headers).map(|_| ()),
        }
    }

    /// Lets a browser in, or makes the cookie of one that is in anew. One that is in keeps its id, whatever it brings.
    ///
    /// # Errors
    /// [`Denied`]: why not. A code that was refused for a reason other than itself is still good.
    pub fn enter(&self, headers: &HeaderMap, entry: Entry<'_>) -> Result<Entered, Denied> {
        self.enter_at(headers, entry, Instant::now(), now())
    }

    fn enter_at(&self, headers: &HeaderMap, entry: Entry<'_>, moment: Instant, now: u64) -> Result<Entered, Denied> {
        same_origin(headers)?;
        let locks = self.locks();
        match (self.login(&locks, headers, now), entry) {
            (Ok((caller, made)), entry) => {
                if let Entry::Code(code) = entry {
                    held(&self.codes).use_up(moment, code);
                }
                self.stay(&locks, headers, caller, made, moment, now)
            }
            (Err(denied), Entry::Login) => Err(denied),
            (Err(_), Entry::Token(token)) if locks.chat.fits(token.trim()) => self.join(&locks, headers, moment, now),
            (Err(_), Entry::Token(_)) => Err(self.refused(moment, Denied::WrongToken)),
            (Err(_), Entry::Code(code)) if held(&self.codes).knows(moment, code) => {
                let entered = self.join(&locks, headers, moment, now)?;
                // Two that bring the same one at once: the second finds it used.
                let first = held(&self.codes).use_up(moment, code);
                first.then_some(entered).ok_or(Denied::StaleCode)
            }
            (Err(_), Entry::Code(_)) => Err(self.refused(moment, Denied::StaleCode)),
        }
    }

    /// One that is in: an old cookie is exchanged, one that is not young is made anew.
    fn stay(
        &self,
        locks: &Locks,
        headers: &HeaderMap,
        mut caller: Caller,
        made: u64,
        moment: Instant,
        now: u64,
    ) -> Result<Entered, Denied> {
        let old = caller.by == By::OldCookie;
        let was_exchanged = match old.then(|| held(&self.exchanged).exchange(moment, &user_of(&caller.id))) {
            Some(Verdict::Void) => return Err(Denied::NoLogin),
            verdict => verdict == Some(Verdict::First),
        };
        caller.by = By::Halves;
        let cookie = (old || CookieKey::is_due(made, now)).then(|| self.set_cookie(locks, headers, &caller.id, now));
        Ok(Entered { half: locks.cookies.half(&caller.id), caller, cookie, is_new: false, was_exchanged })
    }

    /// One that nobody knows.
    fn join(&self, locks: &Locks, headers: &HeaderMap, moment: Instant, now: u64) -> Result<Entered, Denied> {
        held(&self.newcomers).take(moment, 1, self.newcomers_per_minute).map_err(|wait| Denied::TooManyBrowsers(wait.as_secs().max(1)))?;
        let caller = Caller { id: random_hex(RANDOM_BYTES), by: By::Halves, ages: locks.ages };
        let cookie = Some(self.set_cookie(locks, headers, &caller.id, now));
        Ok(Entered { half: locks.cookies.half(&caller.id), caller, cookie, is_new: true, was_exchanged: false })
    }

    fn set_cookie(&self, locks: &Locks, headers: &HeaderMap, id: &str, now: u64) -> String {
        let secure = if text(headers, ORIGIN).is_some_and(|origin| origin.starts_with("https://")) { "; Secure" } else { "" };
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={LASTS}{secure}", self.cookie, locks.cookies.cookie(id, now))
    }

    /// Something wrong was brought. A right one opens however many wrong ones came before, so that who guesses shuts nobody out.
    fn refused(&self, moment: Instant, denied: Denied) -> Denied {
        match held(&self.wrong).take(moment, 1, WRONG_PER_MINUTE) {
            Ok(()) => {
                tracing::info!(why = ?denied, "a browser was not let in");
                denied
            }
            Err(wait) => Denied::TooManyTries(wait.as_secs().max(1)),
        }
    }

    /// Who has a login, and when its cookie was made.
    fn login(&self, locks: &Locks, headers: &HeaderMap, now: u64) -> Result<(Caller, u64), Denied> {
        let cookies = headers.get_all(COOKIE).filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(';'));
        let ours = cookies.filter_map(|pair| pair.trim().strip_prefix(&*self.cookie)?.strip_prefix('='));
        let half = text(headers, HALF).unwrap_or_default();
        let mut denied = Denied::NoLogin;
        for cookie in ours.filter_map(|value| locks.cookies.read(value, now)) {
            match cookie {
                Cookie::Present { id, made } if locks.cookies.is_half(&id, half) => {
                    return Ok((Caller { id, by: By::Halves, ages: locks.ages }, made));
                }
                Cookie::Present { .. } => denied = Denied::HalfLogin,
                // Whoever has an old cookie could exchange it, so that it opens until then gives nobody more; and a page that was open during the
                // update knows no other way.
                Cookie::Old { id, tag } if locks.chat.signed(&old_cookie_of(&id), &tag) => {
                    return Ok((Caller { id, by: By::OldCookie, ages: locks.ages }, 0));
                }
                Cookie::Old { .. } => {}
            }
        }
        Err(denied)
    }

    fn was_exchanged(&self, caller: &Caller) -> bool {
        held(&self.exchanged).has(&user_of(&caller.id))
    }

    /// Writes down that the old cookie of this browser was exchanged. It blocks.
    pub fn write_down(&self, caller: &Caller) {
        if let Err(error) = self.record.add(caller.user().as_str()) {
            tracing::warn!(%error, file = %self.record.0.display(), "an exchanged cookie cannot be written down; after a restart it may be exchanged again");
        }
    }

    /// A new code.
    pub fn new_code(&self) -> String {
        let code = random_hex(RANDOM_BYTES);
        held(&self.codes).add(Instant::now(), &code);
        code
    }

    /// Makes keys anew: what they opened is void at once. It blocks.
    ///
    /// # Errors
    /// When a file cannot be written; what was written is in force.
    pub fn rotate(&self, rotation: Rotation) -> Result<(), Unusable> {
        let _alone = held(&self.rotating);
        let written = rotation.carry_out(&self.state);
        let keys = Keys::open(&self.state, now())?;
        let mut ages = self.locks().ages;
        match rotation {
            Rotation::Chat => ages.tokens += 1,
            Rotation::Browsers => (ages.tokens, ages.browsers) = (ages.tokens + 1, ages.browsers + 1),
            Rotation::Operate => {}
        }
        *self.locks.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Locks::new(&keys, ages));
        if rotation != Rotation::Operate {
            held(&self.codes).void();
        }
        self.ages.send_replace(ages);
        written
    }

    /// To wait until what this caller came in by is void.
    pub fn stay_of(&self, caller: &Caller) -> Stay {
        Stay { ages: self.ages.subscribe(), caller: caller.clone() }
    }

    fn locks(&self) -> Arc<Locks> {
        self.locks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How long somebody may stay.
#[derive(Debug)]
pub struct Stay {
    ages: watch::Receiver<Ages>,
    caller: Caller,
}

impl Stay {
    /// Whether what they came in by is void.
    pub fn is_over(&self) -> bool {
        self.caller.is_void(*self.ages.borrow())
    }

    /// Ends when what they came in by is void.
    pub async fn ends(&mut self) {
        let caller = &self.caller;
        if self.ages.wait_for(|now| caller.is_void(*now)).await.is_err() {
            // The gate is gone, and with it whoever could void anything.
            std::future::pending::<()>().await;
        }
    }
}

impl Locks {
    fn new(keys: &Keys, ages: Ages) -> Self {
        Self { chat: Lock::of(&keys.chat), operate: Lock::of(&keys.operate), cookies: keys.cookies.clone(), ages }
    }

    /// Whoever comes with the token: all of them are one.
    fn bearer(&self) -> Caller {
        Caller { id: hex(hmac::sign(&self.chat.key, b"bearer").as_ref()), by: By::Token, ages: self.ages }
    }
}

impl Lock {
    fn of(token: &Token) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
        let tag = hmac::sign(&key, token.expose().as_bytes());
        Self { key, tag }
    }

    /// In constant time: the tag is compared, not the text.
    fn fits(&self, given: &str) -> bool {
        hmac::verify(&self.key, given.as_bytes(), self.tag.as_ref()).is_ok()
    }

    fn signed(&self, text: &str, tag: &[u8]) -> bool {
        hmac::verify(&self.key, text.as_bytes(), tag).is_ok()
    }
}

/// The token that a request brings, if it brings one in any form.
fn bearer(headers: &HeaderMap) -> Option<Result<&str, Denied>> {
    let header = text(headers, AUTHORIZATION)?;
    Some(header.strip_prefix("Bearer ").map(str::trim).ok_or(Denied::WrongToken))
}

/// A page of ours says so in Origin, which a script cannot forge.
fn same_origin(headers: &HeaderMap) -> Result<(), Denied> {
    let origin = text(headers, ORIGIN).ok_or(Denied::ForeignOrigin)?;
    let host = text(headers, HOST).ok_or(Denied::ForeignOrigin)?;
    let (scheme, authority) = origin.split_once("://").ok_or(Denied::ForeignOrigin)?;
    let same = matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host);
    same.then_some(()).ok_or(Denied::ForeignOrigin)
}

/// What older versions signed with the token.
fn old_cookie_of(id: &str) -> String {
    format!("cookie {id}")
}

fn user_of(id: &str) -> String {
    derived("user", id)[..32].to_owned()
}

fn derived(what: &str, id: &str) -> String {
    hex(digest::digest(&digest::SHA256, format!("{what} {id}").as_bytes()).as_ref())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What the locks hold is whole after every statement, so a panic elsewhere spoils nothing.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
