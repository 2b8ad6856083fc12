//! The admin address: `/metrics`, `/healthz`, `/readyz`.
//!
//! What must stay true: it is another address than the public one; nothing can be
//! changed by it; whoever can reach it may read all of it, so nothing of it is secret. It
//! answers while the service starts and while it stops.

use super::Observed;
use crate::certificates;
use crate::config::Config;
use crate::service::{Stop, port, say};
use net::http::{self, GuestRequest, GuestResponse, HttpHandler, HttpOptions};
use net::tls::Certificates;
use net::{Security, Server};
use proto::Status;
use proto::doc::{Doc, DocBuf};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Connections at once; those that look are few.
const CONNECTIONS: usize = 16;
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What stands behind the admin address.
pub struct Admin {
    observed: Arc<Observed>,
    /// One page at a time: whoever asks too often waits for himself.
    turn: Mutex<()>,
}

impl Admin {
    /// Listens, if db.yaml asks for it; gives what it serves, to be watched. In the clear
    /// on this machine; elsewhere as the wire does.
    ///
    /// # Errors
    /// The address cannot be listened on, or its certificate cannot be served.
    pub async fn serve(
        config: &Config,
        observed: &Arc<Observed>,
    ) -> Result<Option<(Server, Option<Arc<Certificates>>)>, Stop> {
        let settings = &config.db.admin;
        if !settings.enabled {
            return Ok(None);
        }
        let address = SocketAddr::new(settings.address.0, port(settings.port.get()));
        let identity = match address.ip().is_loopback() {
            true => None,
            false => certificates::open(config, &config.db.tls)?,
        };
        let security = match &identity {
            Some(identity) => identity.http().map_err(Stop::config)?,
            None => Security::Plaintext,
        };
        let options = HttpOptions {
            max_connections: CONNECTIONS,
            max_body_size: 0,
            max_buffered_bytes: 0,
            drain_timeout: Duration::from_secs(1),
            ..HttpOptions::default()
        };
        let handler = Admin { observed: Arc::clone(observed), turn: Mutex::new(()) };
        let server =
            http::serve(address, security, options, handler).await.map_err(Stop::config)?;
        let scheme = if identity.is_some() { "https" } else { "http" };
        let how = certificates::describe(identity.as_deref());
        say(&format!("admin listening on {scheme}://{} {how}", server.address()));
        Ok(Some((server, identity)))
    }

    async fn metrics(&self) -> GuestResponse {
        let _turn = self.turn.lock().await;
        let observed = Arc::clone(&self.observed);
        match tokio::task::spawn_blocking(move || observed.page().text()).await {
            Ok(page) => GuestResponse::new(200, METRICS, page),
            Err(error) => {
                tracing::error!(%error, "the metrics could not be collected");
                GuestResponse::problem(Status::Internal, "the metrics could not be collected")
            }
        }
    }

    fn ready(&self) -> GuestResponse {
        let reasons = self.observed.reasons();
        let mut doc = DocBuf::new();
        doc.push("ready", reasons.is_empty());
        doc.array("reasons", |list| {
            for (code, message) in &reasons {
                list.item_doc(|doc| {
                    doc.push("code", *code).push("message", message.as_str());
                });
            }
        });
        let json = doc.finish().ok();
        let json = json.as_deref().and_then(|bytes| Doc::parse(bytes).ok());
        let json = json.map(proto::json::to_json).unwrap_or_default();
        let status = if reasons.is_empty() { 200 } else { 503 };
        GuestResponse::new(status, "application/json", json + "\n")
    }
}

impl HttpHandler for Admin {
    async fn handle(&self, request: Arc<GuestRequest>) -> GuestResponse {
        let path = request.target.split('?').next().unwrap_or_default();
        let known = ["/metrics", "/healthz", "/readyz"];
        let response = match (request.method.as_str(), path) {
            (_, path) if !known.contains(&path) => GuestResponse::problem(
                Status::NotFound,
                "here are /metrics, /healthz and /readyz, and nothing else",
            ),
            ("GET" | "HEAD", "/metrics") => self.metrics().await,
            ("GET" | "HEAD", "/readyz") => self.ready(),
            ("GET" | "HEAD", _) => GuestResponse::new(200, "text/plain; charset=utf-8", "ok\n"),
            _ => GuestResponse::new(405, "text/plain; charset=utf-8", "GET and HEAD alone\n")
                .with_header("allow", "GET, HEAD"),
        };
        response.with_header("cache-control", "no-store")
    }
}
