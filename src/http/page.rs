//! The page: a few files, compiled in, with nothing from elsewhere. They hold no secret, so they are served to everybody.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const OUTBOX: &str = include_str!("outbox.js");
const JS: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

/// The path of each, its kind and its text.
const FILES: [(&str, &str, &str); 5] = [
    ("/", "text/html; charset=utf-8", HTML),
    ("/page.css", "text/css; charset=utf-8", CSS),
    ("/outbox.js", "text/javascript; charset=utf-8", OUTBOX),
    ("/page.js", "text/javascript; charset=utf-8", JS),
    ("/icon.svg", "image/svg+xml", ICON),
];

pub(super) fn routes(app: &mut web::ServiceConfig) {
    for (path, kind, text) in FILES {
        app.route(path, web::get().to(async move || file(kind, text)));
    }
}

/// Whether one of them is there.
pub(super) fn is_file(path: &str) -> bool {
    FILES.iter().any(|(file, ..)| *file == path)
}

/// Asked for anew each time: after an update, page and gateway must be of the same version.
fn file(kind: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, kind)).insert_header((CACHE_CONTROL, "no-cache")).body(text)
}
