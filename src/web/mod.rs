//! Pages about the bot itself: is it well, and what has it counted.
//!
//! `/healthz` answers 200 with `{"ok":true}`, or 503 with what is wrong, one
//! sentence each. `/metrics` answers in the Prometheus text format. Nothing
//! here changes anything, and nothing here says anything about a Redis.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde_json::json;

/// Where the pages look.
#[derive(Clone)]
pub struct View {
    /// What is wrong with the bot now, one sentence each; empty when nothing is.
    pub ailments: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Counters in the Prometheus text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The routes of this room, to be mounted on the one listener.
pub fn routes(view: View) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics)).with_state(view)
}

async fn healthz(State(view): State<View>) -> impl IntoResponse {
    let ailments = (view.ailments)();
    if ailments.is_empty() {
        (StatusCode::OK, Json(json!({ "ok": true })))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ok": false, "wrong": ailments })))
    }
}

async fn metrics(State(view): State<View>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (view.metrics)())
}
