//! Doors as tables: what is brought, and who that is.

use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};

use super::codes::LASTS as CODE_LASTS;
use super::*;
use crate::config::{Config, Surroundings};
use crate::token::Scope;

const OURS: &str = "127.0.0.1:7878";
const ORIGIN_OURS: (&str, &str) = ("origin", "http://127.0.0.1:7878");
/// Some moment, in seconds since 1970.
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

/// A gate, and what stands behind it.
struct Site {
    gate: Gate,
    state: StateDir,
    dir: tempfile::TempDir,
}

impl Site {
    fn new(change: impl FnOnce(&mut Http)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::of(dir, change)
    }

    /// Another life in the same directory.
    fn of(dir: tempfile::TempDir, change: impl FnOnce(&mut Http)) -> Self {
        let around = Surroundings { variables: [("HOME".to_owned(), "/h".to_owned())].into(), ..Surroundings::default() };
        let mut http = Config::load(None, &around).expect("the defaults").http;
        change(&mut http);
        let state = StateDir::open(dir.path()).expect("ours");
        let keys = Keys::open(&state, NOW).expect("writable");
        Self { gate: Gate::new(&http, &state, &keys), state, dir }
    }

    /// One in which an older version lived.
    fn that_lived() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Token::open(&StateDir::open(dir.path()).expect("ours"), Scope::Chat).expect("writable");
        Self::of(dir, |_| {})
    }

    fn token(&self, scope: Scope) -> String {
        Token::open(&self.state, scope).expect("readable").expose().to_owned()
    }

    /// The cookie that an older version gave a browser of this id.
    fn old_cookie(&self, id: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.token(Scope::Chat).as_bytes());
        format!("switchboard_7878={id}.{}", hex(hmac::sign(&key, format!("cookie {id}").as_bytes()).as_ref()))
    }

    fn enter(&self, more: &[(&str, &str)], entry: Entry<'_>) -> Result<Entered, Denied> {
        self.enter_at(more, entry, Instant::now(), NOW)
    }

    fn enter_at(&self, more: &[(&str, &str)], entry: Entry<'_>, moment: Instant, now: u64) -> Result<Entered, Denied> {
        let mut all = vec![("host", OURS), ORIGIN_OURS];
        all.extend(more);
        self.gate.enter_at(&headers(&all), entry, moment, now)
    }

    /// A browser that was let in by a code.
    fn browser(&self) -> Browser {
        let entered = self.enter(&[], Entry::Code(&self.gate.new_code())).expect("a new code");
        assert!(entered.is_new && !entered.was_exchanged);
        Browser::of(&entered)
    }

    fn reads(&self, pairs: &[(&str, &str)], now: u64) -> Result<UserId, Denied> {
        self.gate.reader_at(&headers(pairs), now).map(|caller| caller.user())
    }
}

/// What a browser has.
struct Browser {
    cookie: String,
    half: String,
    user: UserId,
}

impl Browser {
    fn of(entered: &Entered) -> Self {
        let cookie = entered.cookie.as_ref().expect("a new one").split(';').next().expect("a cookie begins with its value");
        Self { cookie: cookie.to_owned(), half: entered.half.clone(), user: entered.caller.user() }
    }

    fn sends(&self) -> [(&str, &str); 2] {
        [("cookie", &self.cookie), ("switchboard-half", &self.half)]
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().expect("a header name");
        headers.append(name, HeaderValue::from_str(value).expect("a header value"));
    }
    headers
}

#[test]
fn only_names_of_ours_are_served() {
    let site = Site::new(|http| http.hosts = vec!["chat.example.org".into(), "Other:99".into()]);
    let check = |host: &str, ok: bool| assert_eq!(site.gate.host(&headers(&[("host", host)])).is_ok(), ok, "{host}");
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
    assert_eq!(site.gate.host(&headers(&[])), Err(Denied::Misdirected));
}

#[test]
fn g23_only_the_token_opens() {
    let site = Site::new(|_| {});
    let read = |pairs: &[(&str, &str)]| site.reads(pairs, NOW);
    let bearer = format!("Bearer {}", site.token(Scope::Chat));
    assert!(read(&[("authorization", &bearer)]).is_ok());
    assert_eq!(read(&[]), Err(Denied::NoLogin));
    assert_eq!(read(&[("authorization", "Bearer ")]), Err(Denied::WrongToken));
    assert_eq!(read(&[("authorization", &bearer[..bearer.len() - 1])]), Err(Denied::WrongToken));
    assert_eq!(read(&[("authorization", "Basic Og==")]), Err(Denied::WrongToken));
}

#[test]
fn g39_the_operators_token_opens_no_chat_and_both_show_figures() {
    let site = Site::new(|_| {});
    let bearer = |scope| format!("Bearer {}", site.token(scope));
    let (chat, operate) = (bearer(Scope::Chat), bearer(Scope::Operate));
    // By the clock that the doors themselves look at.
    let entered = site.gate.enter(&headers(&[("host", OURS), ORIGIN_OURS]), Entry::Code(&site.gate.new_code())).expect("a new code");
    let browser = Browser::of(&entered);
    assert_ne!(chat, operate);
    for (brought, chats, watches) in [
        (&[("authorization", &*chat)][..], true, true),
        (&[("authorization", &operate)], false, true),
        (&browser.sends(), true, true),
        (&browser.sends()[..1], false, false),
        (&[("authorization", "Bearer nonsense")], false, false),
        (&[], false, false),
    ] {
        let headers = headers(&[brought, &[("host", OURS), ORIGIN_OURS]].concat());
        let found = (site.gate.reader(&headers).is_ok(), site.gate.writer(&headers).is_ok(), site.gate.watcher(&headers).is_ok());
        assert_eq!(found, (chats, chats, watches), "{brought:?}");
    }
}

#[test]
fn g23_g41_a_cookie_alone_opens_nothing_nor_does_what_is_forged_halved_swapped_or_stale() {
    let site = Site::new(|_| {});
    let (ann, bob) = (site.browser(), site.browser());
    let (id, rest) = ann.cookie.split_once('.').expect("an id");
    let forged = format!("switchboard_7878={}.{rest}", "0".repeat(32));
    let elsewhere = ann.cookie.replace("7878", "7879");
    let other_id = format!("{}.{rest}", bob.cookie.split_once('.').expect("an id").0);
    let short = ann.half[..62].to_owned();
    let check = |cookie: &str, half: Option<&str>, now: u64, expected: Result<&UserId, Denied>| {
        let mut pairs = vec![("cookie", cookie)];
        pairs.extend(half.map(|half| ("switchboard-half", half)));
        assert_eq!(site.reads(&pairs, now), expected.cloned(), "{pairs:?} at {now}");
    };
    check(&ann.cookie, Some(&ann.half), NOW, Ok(&ann.user));
    check(&format!("other=1; {}", ann.cookie), Some(&ann.half), NOW, Ok(&ann.user));
    check(&format!("switchboard_7878=junk; {}", ann.cookie), Some(&ann.half), NOW, Ok(&ann.user));
    check(&ann.cookie, None, NOW, Err(Denied::HalfLogin));
    check(&ann.cookie, Some(""), NOW, Err(Denied::HalfLogin));
    check(&ann.cookie, Some(&short), NOW, Err(Denied::HalfLogin));
    check(&ann.cookie, Some(&bob.half), NOW, Err(Denied::HalfLogin));
    check(&bob.cookie, Some(&ann.half), NOW, Err(Denied::HalfLogin));
    check("", Some(&ann.half), NOW, Err(Denied::NoLogin));
    check(&forged, Some(&ann.half), NOW, Err(Denied::NoLogin));
    check(&other_id, Some(&bob.half), NOW, Err(Denied::NoLogin));
    check(&elsewhere, Some(&ann.half), NOW, Err(Denied::NoLogin));
    check(id, Some(&ann.half), NOW, Err(Denied::NoLogin));
    check("switchboard_7878=", Some(&ann.half), NOW, Err(Denied::NoLogin));
    check(&ann.cookie, Some(&ann.half), NOW + 30 * DAY - 1, Ok(&ann.user));
    check(&ann.cookie, Some(&ann.half), NOW + 30 * DAY, Err(Denied::NoLogin));
    // What was signed with the token is no cookie where no older version has lived.
    check(&site.old_cookie("a1"), None, NOW, Err(Denied::NoLogin));
}

#[test]
fn g23_nobody_becomes_a_chosen_user() {
    let site = Site::new(|_| {});
    let browser = site.browser();
    assert_eq!(browser.user.as_str().len(), 32);
    let caller = site.gate.reader_at(&headers(&browser.sends()), NOW).expect("both halves");
    assert_eq!(caller.room().as_str().len(), 32);
    assert_ne!(caller.room().as_str(), caller.user().as_str());
    // As it was in older versions, so that conversations stay and names are only longer.
    let known = Caller { id: "0123456789abcdef0123456789abcdef".into(), by: By::Halves, ages: Ages::default() };
    assert_eq!(known.room().as_str(), &hex(digest::digest(&digest::SHA256, format!("room {}", known.id).as_bytes()).as_ref())[..32]);
}

#[test]
fn a_browser_keeps_its_room_and_is_renewed_as_it_is_used() {
    let site = Site::new(|_| {});
    let browser = site.browser();
    let fresh = site.enter(&browser.sends(), Entry::Login).expect("both halves");
    assert_eq!((fresh.caller.user(), &fresh.half, &fresh.cookie, fresh.is_new), (browser.user.clone(), &browser.half, &None, false));
    let later = site.enter_at(&browser.sends(), Entry::Login, Instant::now(), NOW + 20 * DAY).expect("both halves");
    let renewed = Browser::of(&later);
    assert_eq!((&renewed.user, &renewed.half), (&browser.user, &browser.half), "another tab must go on with what it has");
    assert_eq!(site.reads(&renewed.sends(), NOW + 49 * DAY), Ok(browser.user.clone()));
    let set = later.cookie.expect("renewed");
    assert!(set.contains("; HttpOnly; SameSite=Strict; Max-Age=2592000") && !set.contains("Secure"), "{set}");
    assert_eq!(site.enter(&browser.sends()[..1], Entry::Login), Err(Denied::HalfLogin));
    assert_eq!(site.enter(&[], Entry::Login), Err(Denied::NoLogin));
    // Half a login is no reason to be given the rest: whoever may chat would become whoever they have the cookie of.
    let stranger = site.enter(&browser.sends()[..1], Entry::Code(&site.gate.new_code())).expect("a new code");
    assert!(stranger.is_new && stranger.caller.user() != browser.user);
    let over_tls = [("host", "chat.example.org"), ("origin", "https://chat.example.org")];
    let entered = site.gate.enter(&headers(&over_tls), Entry::Code(&site.gate.new_code())).expect("a new code");
    assert!(entered.cookie.expect("new").ends_with("; Secure"));
}

#[test]
fn g41_a_code_lets_one_browser_in() {
    let site = Site::new(|_| {});
    let moment = Instant::now();
    let code = site.gate.new_code();
    assert_eq!(code.len(), 32);
    let enter = |code: &str, moment| site.enter_at(&[], Entry::Code(code), moment, NOW).map(|entered| entered.is_new);
    assert_eq!(enter("", moment), Err(Denied::StaleCode));
    assert_eq!(enter(&code[..31], moment), Err(Denied::StaleCode));
    assert_eq!(enter(&site.token(Scope::Chat), moment), Err(Denied::StaleCode));
    let from_elsewhere = [("host", OURS), ("origin", "http://evil.example")];
    assert_eq!(site.gate.enter(&headers(&from_elsewhere), Entry::Code(&code)), Err(Denied::ForeignOrigin), "and it is not used up");
    assert_eq!(enter(&code, moment), Ok(true));
    assert_eq!(enter(&code, moment), Err(Denied::StaleCode));
    let old = site.gate.new_code();
    assert_eq!(enter(&old, Instant::now() + CODE_LASTS), Err(Denied::StaleCode));
    // A page that is in goes on, whatever stood in its address; a code that was good is used up all the same.
    let (browser, code) = (site.browser(), site.gate.new_code());
    for code in ["stale", &code] {
        let entered = site.enter(&browser.sends(), Entry::Code(code)).expect("it is in");
        assert_eq!((entered.caller.user(), entered.is_new), (browser.user.clone(), false));
    }
    assert_eq!(enter(&code, Instant::now()), Err(Denied::StaleCode));
}

#[test]
fn g41_who_guesses_is_slowed_down_and_shuts_nobody_out() {
    let site = Site::new(|_| {});
    let (moment, code) = (Instant::now(), site.gate.new_code());
    for _ in 0..WRONG_PER_MINUTE {
        assert_eq!(site.enter_at(&[], Entry::Code("guess"), moment, NOW), Err(Denied::StaleCode));
    }
    assert_eq!(site.enter_at(&[], Entry::Code("guess"), moment, NOW), Err(Denied::TooManyTries(2)));
    assert_eq!(site.enter_at(&[], Entry::Token("guess"), moment, NOW), Err(Denied::TooManyTries(2)));
    assert!(site.enter_at(&[], Entry::Code(&code), moment, NOW).is_ok());
    let later = moment + Duration::from_secs(60);
    assert_eq!(site.enter_at(&[], Entry::Token("guess"), later, NOW), Err(Denied::WrongToken));
}

#[test]
fn g41_new_browsers_are_limited_and_known_ones_are_not() {
    let site = Site::new(|http| http.browsers_per_minute = 3);
    let (moment, browser, token) = (Instant::now(), site.browser(), site.token(Scope::Chat));
    let mint = |moment| site.enter_at(&[], Entry::Token(&token), moment, NOW).map(|entered| entered.is_new);
    assert_eq!((mint(moment), mint(moment)), (Ok(true), Ok(true)));
    assert!(matches!(mint(moment), Err(Denied::TooManyBrowsers(20 | 21))));
    let code = site.gate.new_code();
    let refused = site.enter_at(&[], Entry::Code(&code), moment, NOW).map(|entered| entered.is_new);
    assert!(matches!(refused, Err(Denied::TooManyBrowsers(_))));
    assert!(site.enter_at(&browser.sends(), Entry::Login, moment, NOW).is_ok());
    let later = moment + Duration::from_secs(21);
    assert!(site.enter_at(&[], Entry::Code(&code), later, NOW).is_ok(), "a code that was refused for another's sake is still good");
}

#[test]
fn an_old_cookie_keeps_its_id_and_is_exchanged_once() {
    let site = Site::that_lived();
    let (id, other) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let (old, unused) = (site.old_cookie(id), site.old_cookie(other));
    let sends = [("cookie", &*old)];
    let known = UserId::new(user_of(id));
    assert_eq!(site.reads(&sends, NOW), Ok(known.clone()), "a page that was open during the update goes on");
    assert_eq!(site.reads(&[("cookie", &old.replace("0123", "3210"))], NOW), Err(Denied::NoLogin));
    assert_eq!(site.reads(&sends, NOW + 30 * DAY), Err(Denied::NoLogin));
    let moment = Instant::now();
    let entered = site.enter_at(&sends, Entry::Login, moment, NOW).expect("an old cookie");
    assert_eq!((entered.caller.user(), entered.is_new, entered.was_exchanged), (known.clone(), false, true));
    let browser = Browser::of(&entered);
    assert_eq!(site.reads(&browser.sends(), NOW), Ok(known.clone()));
    site.gate.write_down(&entered.caller);
    assert_eq!(site.reads(&sends, NOW), Err(Denied::NoLogin), "the old one is void");
    let again = |secs| site.enter_at(&sends, Entry::Login, moment + Duration::from_secs(secs), NOW).map(|entered| entered.caller.user());
    assert_eq!((again(599), again(600)), (Ok(known.clone()), Err(Denied::NoLogin)), "but for an answer that was lost");
    // Also after a restart, and only that one.
    let next = Site::of(site.dir, |_| {});
    assert_eq!(next.enter(&sends, Entry::Login).map(|entered| entered.is_new), Err(Denied::NoLogin));
    assert_eq!(next.reads(&browser.sends(), NOW), Ok(known));
    let unused = [("cookie", &*unused)];
    assert_eq!(next.reads(&unused, NOW), Ok(UserId::new(user_of(other))));
    next.gate.rotate(Rotation::Chat).expect("writable");
    assert_eq!(next.reads(&unused, NOW), Err(Denied::NoLogin), "it was signed with the token that is void");
}

#[test]
fn g23_a_rotation_voids_what_it_says_at_once() {
    for (rotation, token_stays, browser_stays, operate_stays) in
        [(Rotation::Chat, false, true, true), (Rotation::Browsers, false, false, true), (Rotation::Operate, true, true, false)]
    {
        let site = Site::new(|_| {});
        let (browser, code) = (site.browser(), site.gate.new_code());
        let [token, operate] = [Scope::Chat, Scope::Operate].map(|scope| format!("Bearer {}", site.token(scope)));
        let caller = site.gate.reader_at(&headers(&browser.sends()), NOW).expect("both halves");
        let bearer = site.gate.reader_at(&headers(&[("authorization", &token)]), NOW).expect("the token");
        let mut stays = [&bearer, &caller].map(|caller| site.gate.stay_of(caller));
        site.gate.rotate(rotation).expect("writable");
        let found = (
            site.reads(&[("authorization", &token)], NOW).is_ok(),
            site.reads(&browser.sends(), NOW).is_ok(),
            site.gate.watcher(&headers(&[("authorization", &operate)])).is_ok(),
        );
        assert_eq!(found, (token_stays, browser_stays, operate_stays), "{rotation:?}");
        assert_eq!(site.enter(&[], Entry::Code(&code)).is_ok(), rotation == Rotation::Operate, "{rotation:?}");
        let over = stays.each_mut().map(|stay| futures_util::FutureExt::now_or_never(stay.ends()).is_some());
        assert_eq!(over, [!token_stays, !browser_stays], "{rotation:?}");
        assert!(site.reads(&[("authorization", &format!("Bearer {}", site.token(Scope::Chat)))], NOW).is_ok());
        assert!(site.enter(&[], Entry::Code(&site.gate.new_code())).is_ok());
    }
}

#[test]
fn writes_come_from_our_page_or_with_the_token_itself() {
    let site = Site::new(|_| {});
    let entered = site.gate.enter(&headers(&[("host", OURS), ORIGIN_OURS]), Entry::Code(&site.gate.new_code())).expect("a new code");
    let browser = Browser::of(&entered);
    let [cookie, half] = browser.sends();
    let bearer = format!("Bearer {}", site.token(Scope::Chat));
    let check = |pairs: &[(&str, &str)], expected: Result<(), Denied>| {
        let mut all = vec![("host", OURS)];
        all.extend(pairs);
        assert_eq!(site.gate.writer(&headers(&all)).map(|_| ()), expected, "{pairs:?}");
    };
    check(&[cookie, half, ORIGIN_OURS], Ok(()));
    check(&[cookie, half], Err(Denied::ForeignOrigin));
    check(&[cookie, half, ("origin", "null")], Err(Denied::ForeignOrigin));
    check(&[cookie, half, ("origin", "http://127.0.0.1:7879")], Err(Denied::ForeignOrigin));
    check(&[("authorization", &bearer)], Ok(()));
    check(&[("authorization", &bearer), ("origin", "http://evil.example")], Err(Denied::ForeignOrigin));
    assert_eq!(site.enter(&[], Entry::Token("wrong")), Err(Denied::WrongToken));
    assert!(site.enter(&[], Entry::Token(&site.token(Scope::Chat))).is_ok());
}
