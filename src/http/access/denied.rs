//! Why somebody may not come in, and what they are told: what is wrong, and what they can do.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;

use crate::invocation;

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Under a name that is not ours.
    Misdirected,
    /// Without a token or login that is good.
    NoLogin,
    /// With a cookie, and without the half that belongs to it.
    HalfLogin,
    /// With a token that is wrong, or of another scope.
    WrongToken,
    /// With a code that was used, is too old, or never was.
    StaleCode,
    /// From a page that is not ours.
    ForeignOrigin,
    /// With something wrong, as too many before: for so many seconds.
    TooManyTries(u64),
    /// As one new browser too many: for so many seconds.
    TooManyBrowsers(u64),
}

impl Denied {
    /// What is answered. Where a login is missing, the command that gives an address is in it by itself, for the page to show.
    pub fn response(self) -> HttpResponse {
        let url = invocation::for_strangers("url");
        let (status, error) = match self {
            Denied::Misdirected => (StatusCode::MISDIRECTED_REQUEST, "this Host is not served here; add it to http.hosts".to_owned()),
            Denied::NoLogin => (StatusCode::UNAUTHORIZED, format!("open the address that `{url}` prints, or send Authorization: Bearer")),
            // Not 401: a page of an older version, which another tab left with half a login, would ask for a token.
            Denied::HalfLogin => {
                (StatusCode::FORBIDDEN, format!("this page has only half of its login: reload it, or open the address that `{url}` prints"))
            }
            Denied::WrongToken => {
                (StatusCode::UNAUTHORIZED, format!("this token does not open the chat; open the address that `{url}` prints"))
            }
            Denied::StaleCode => (
                StatusCode::UNAUTHORIZED,
                format!("the code in this address was used or is too old: run `{url}` again, and open what it prints"),
            ),
            Denied::ForeignOrigin => (StatusCode::FORBIDDEN, "a write must come from this page, or with Authorization: Bearer".to_owned()),
            Denied::TooManyTries(wait) => (StatusCode::TOO_MANY_REQUESTS, format!("too many wrong tries; wait {wait} s")),
            Denied::TooManyBrowsers(wait) => (StatusCode::TOO_MANY_REQUESTS, format!("too many new browsers; wait {wait} s")),
        };
        let mut response = HttpResponse::build(status);
        if let Denied::TooManyTries(wait) | Denied::TooManyBrowsers(wait) = self {
            response.insert_header((RETRY_AFTER, wait.to_string()));
        }
        match self {
            Denied::NoLogin | Denied::HalfLogin | Denied::WrongToken | Denied::StaleCode => {
                response.json(serde_json::json!({ "error": error, "login": url }))
            }
            _ => response.json(serde_json::json!({ "error": error })),
        }
    }
}
