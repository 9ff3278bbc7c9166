//! The page: a few files, compiled in, with nothing from elsewhere. They hold no secret, so they are served to everybody.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const OUTBOX: &str = include_str!("outbox.js");
const JS: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/", web::get().to(async || file("text/html; charset=utf-8", HTML)))
        .route("/page.css", web::get().to(async || file("text/css; charset=utf-8", CSS)))
        .route("/outbox.js", web::get().to(async || file("text/javascript; charset=utf-8", OUTBOX)))
        .route("/page.js", web::get().to(async || file("text/javascript; charset=utf-8", JS)))
        .route("/icon.svg", web::get().to(async || file("image/svg+xml", ICON)));
}

/// Asked for anew each time: after an update, page and gateway must be of the same version.
fn file(kind: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, kind)).insert_header((CACHE_CONTROL, "no-cache")).body(text)
}
