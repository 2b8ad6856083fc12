//! The services outside that the guest may call, from `upstreams` of `service.yaml`.
//!
//! Invariant: what an operator writes wrongly stops the start, named with its upstream; a
//! secret is in no message.

use crate::config::{Config, FilePath, Service, service};
use crate::service::Stop;
use net::upstream::{
    BreakerOptions, Failure, Resolve, SecretHeaders, SystemResolver, UpstreamBody, UpstreamOptions,
    UpstreamStats, Upstreams,
};
use proto::Status;
use runtime_api::ServiceBody;
use std::sync::Arc;
use std::time::Duration;

/// The upstreams of `service`, whose sockets are the current async runtime's.
///
/// # Errors
/// Which is wrong, and what to do.
pub fn open(config: &Config, service: &Service) -> Result<Upstreams, Stop> {
    let mut all = Vec::with_capacity(service.upstreams.len());
    for upstream in &service.upstreams {
        let named = |why: String| {
            Stop::config(format!("service.yaml: the upstream '{}': {why}", upstream.name))
        };
        all.push(options(config, upstream).map_err(named)?);
    }
    // One instance stays free of calls, so that two services that call each other go on.
    let most = size(service.wasm.max_instances.get()).saturating_sub(1);
    let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver::default());
    Upstreams::new(all, most, tokio::runtime::Handle::current(), &resolver)
        .map_err(|why| Stop::config(format!("service.yaml: {why}")))
}

fn options(config: &Config, of: &service::Upstream) -> Result<UpstreamOptions, String> {
    let path = |file: &FilePath| config.path(&file.0);
    let ca = of.ca_file.as_ref().map(path).map(|path| {
        std::fs::read(&path)
            .map_err(|e| format!("ca_file: {}: cannot be read: {e}", path.display()))
    });
    let secret = of.secret_headers_file.as_ref().map(|file| {
        SecretHeaders::read(&path(file)).map_err(|why| format!("secret_headers_file: {why}"))
    });
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(UpstreamOptions {
        name: of.name.0.clone(),
        url: of.url.0.clone(),
        timeout: Duration::from_millis(of.timeout_ms.get()),
        max_in_flight: size(of.max_in_flight.get()),
        max_response_size: of.max_response_size.get(),
        allow_private: of.allow_private,
        ca: ca.transpose()?,
        headers: of.headers.clone().into_iter().collect(),
        secret_headers: secret.transpose()?.unwrap_or_default(),
        breaker: BreakerOptions {
            failure_threshold: small(of.breaker.failure_threshold.get()),
            success_threshold: small(of.breaker.success_threshold.get()),
            open_duration: Duration::from_millis(of.breaker.open_duration_ms.get()),
        },
    })
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The body of an answer, as the runtimes read it.
pub struct Body(pub UpstreamBody);

impl ServiceBody for Body {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Status> {
        self.0.read(out)
    }
}

/// What became of the calls, a line for each upstream that was called.
pub fn tell(stats: &[UpstreamStats]) {
    for stats in stats.iter().filter(|stats| stats.calls() > 0) {
        let failed = Failure::ALL.into_iter().filter(|how| stats.failed(*how) > 0);
        let failed: Vec<_> =
            failed.map(|how| format!("{} {}", stats.failed(how), how.name())).collect();
        tracing::info!(
            upstream = stats.name,
            calls = stats.calls(),
            failed = failed.join(", "),
            connections = stats.connections,
            circuit_opened = stats.opened,
            "calls of an upstream"
        );
    }
}
