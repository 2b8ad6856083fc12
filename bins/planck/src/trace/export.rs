//! Sends finished traces to the collector, many at a time.
//!
//! What must stay true: one request is on its way at a time, and has [`PATIENCE`]; what a
//! collector does not take is dropped and counted, not kept: it is told of what comes
//! next. A collector that is away costs one line of the log until it is back.

use super::{Finished, TraceFigures, otlp};
use crate::config::Endpoint;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// Spans of one request to the collector, about.
const BATCH: usize = 2048;
/// How long traces wait for others to go with them.
const GATHER: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Exporter {
    endpoint: Endpoint,
    service: String,
    figures: Arc<TraceFigures>,
}

impl Exporter {
    pub(super) fn new(endpoint: Endpoint, service: &str, figures: Arc<TraceFigures>) -> Exporter {
        Exporter { endpoint, service: service.to_owned(), figures }
    }

    /// Until nobody begins traces any more; what has come by then is sent.
    pub(super) async fn run(self, mut finished: Receiver<Finished>) {
        let mut told = false;
        while let Some(first) = finished.recv().await {
            let mut spans = first.spans.len();
            let mut batch = vec![first];
            let gathering = async {
                while spans < BATCH {
                    let Some(next) = finished.recv().await else { return };
                    spans += next.spans.len();
                    batch.push(next);
                }
            };
            // However it ends, what has come is sent.
            tokio::time::timeout(GATHER, gathering).await.ok();
            let count = batch.iter().map(|trace| trace.spans.len() as u64).sum();
            let body = otlp::request(&self.service, &batch);
            let Endpoint { authority, path } = &self.endpoint;
            let sent =
                net::http::post(authority, path, "application/x-protobuf", body, PATIENCE).await;
            match sent {
                Ok(200..=299) => {
                    self.figures.sent.fetch_add(count, Relaxed);
                    if std::mem::take(&mut told) {
                        tracing::info!("the collector of traces takes them again");
                    }
                }
                failed => {
                    self.figures.dropped.fetch_add(count, Relaxed);
                    if !std::mem::replace(&mut told, true) {
                        let why = match failed {
                            Ok(status) => format!("it answers {status}"),
                            Err(error) => error.to_string(),
                        };
                        tracing::warn!(
                            "the collector at {authority} does not take traces: {why}; see \
                             tracing.otlp_endpoint in db.yaml"
                        );
                    }
                }
            }
        }
    }
}
