//! Probes: live means not hung, ready means able to serve. Neither is a constant, and both are answered from a snapshot that
//! costs no question to anybody: a hung part cannot hang its own probe.

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Front;
use super::figures::Figures;

/// How the gateway is. Called for every probe, so it must neither block nor wait.
pub trait Vitals: Send + Sync {
    /// The parts whose heartbeat says whether the process hangs.
    fn live(&self) -> Vec<Part>;

    /// The parts that must work for the gateway to serve.
    fn ready(&self) -> Vec<Part>;

    /// For /metrics.
    fn figures(&self) -> Figures;
}

/// One part of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name (`ledger`, `adapter family`).
    pub name: String,
    /// What is wrong with it, in our own words; none: it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Part {
    /// A part that is well.
    pub fn well(name: impl Into<String>) -> Self {
        Self { name: name.into(), trouble: None }
    }

    /// A part that is not.
    pub fn unwell(name: impl Into<String>, trouble: impl Into<String>) -> Self {
        Self { name: name.into(), trouble: Some(trouble.into()) }
    }
}

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/metrics", web::get().to(metrics));
}

pub(super) fn probes(app: &mut web::ServiceConfig) {
    app.route("/livez", web::get().to(livez)).route("/readyz", web::get().to(readyz));
}

async fn livez(front: web::Data<Front>) -> HttpResponse {
    probe("live", front.vitals.live())
}

async fn readyz(front: web::Data<Front>) -> HttpResponse {
    let mut parts = front.vitals.ready();
    if front.door.is_closed() {
        parts.push(Part::unwell("http", "going down"));
    }
    probe("ready", parts)
}

async fn metrics(front: web::Data<Front>, request: HttpRequest) -> HttpResponse {
    match front.gate.watcher(request.headers()) {
        Ok(()) => HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; version=0.0.4")).body(front.vitals.figures().render()),
        Err(denied) => denied.response(),
    }
}

/// 503 names who is not well.
fn probe(word: &str, parts: Vec<Part>) -> HttpResponse {
    let troubled: Vec<Part> = parts.into_iter().filter(|part| part.trouble.is_some()).collect();
    let status = if troubled.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(serde_json::json!({ word: troubled.is_empty(), "troubled": troubled }))
}
