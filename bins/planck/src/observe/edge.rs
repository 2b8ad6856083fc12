//! The families of the process, its listeners and its guests.

use super::process::Process;
use super::text::{Kind, Page, SECONDS};
use super::{Observed, Picture, live, unpoisoned};
use crate::guests::ModuleFigures;
use net::Lasting;
use runtime_api::TrapKind;
use runtime_api::pool::PoolStats;
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn process(page: &mut Page, observed: &Observed, picture: &Picture) {
    let Process { resident, anonymous, threads, files, most_files, cpu_nanos } = picture.process;
    let version = env!("CARGO_PKG_VERSION");
    page.family("planck_build_info", Kind::Gauge, &["version"], "1, with the program's version")
        .sample(&[version], 1.0);
    let up = Some(picture.seconds_up);
    page.plain("planck_uptime_seconds", Kind::Gauge, "since the process began", up);
    let ready = Some(u64::from(picture.is_ready));
    page.gauge("planck_ready", "1 if /readyz says so, else 0", ready);
    page.gauge("planck_process_resident_bytes", "memory in use, not swapped out", resident);
    let meaning = "of it, what is of no file: the kernel takes the rest back at need";
    page.gauge("planck_process_anonymous_bytes", meaning, anonymous);
    page.gauge("planck_process_threads", "threads", threads);
    page.gauge("planck_process_open_files", "open files and sockets", files);
    page.gauge("planck_process_max_open_files", "as many may be open", most_files);
    let cpu = cpu_nanos.map(|nanos| nanos as f64 / 1e9);
    page.plain("planck_process_cpu_seconds_total", Kind::Counter, "processor time used", cpu);
    let mut ends = page.family(
        "planck_tls_certificate_end_timestamp_seconds",
        Kind::Gauge,
        &["listener"],
        "when the certificate that is served ends, in seconds since 1970",
    );
    for (listener, certificates) in unpoisoned(&observed.certificates).iter() {
        ends.sample(&[listener], certificates.ends() as f64);
    }
    let mut lines = page.family(
        "planck_log_lines_total",
        Kind::Counter,
        &["level"],
        "lines of the log, those dropped included",
    );
    for (level, count) in observed.log.lines() {
        lines.sample(&[level], count as f64);
    }
    let dropped = Some(observed.log.dropped());
    page.counter("planck_log_dropped_total", "lines that could not be written", dropped);
    let (sent, dropped) = (&observed.traces.sent, &observed.traces.dropped);
    page.counter(
        "planck_trace_spans_sent_total",
        "spans that the collector of traces took",
        Some(sent.load(Relaxed)),
    );
    page.counter(
        "planck_trace_spans_dropped_total",
        "spans dropped: too many waited, or the collector did not take them",
        Some(dropped.load(Relaxed)),
    );
    connections(page, observed);
}

fn connections(page: &mut Page, observed: &Observed) {
    let traffic = unpoisoned(&observed.traffic).clone();
    let labels = &["listener"];
    let mut open =
        page.family("planck_connections", Kind::Gauge, labels, "connections that there are");
    for (listener, traffic) in &traffic {
        open.sample(&[listener], traffic.open() as f64);
    }
    let mut accepted = page.family(
        "planck_connections_total",
        Kind::Counter,
        labels,
        "connections that were accepted, those refused later included",
    );
    for (listener, traffic) in &traffic {
        accepted.sample(&[listener], traffic.accepted() as f64);
    }
    let mut refused = page.family(
        "planck_connections_refused_total",
        Kind::Counter,
        labels,
        "connections refused, and attempts to authenticate that failed",
    );
    for (listener, traffic) in &traffic {
        refused.sample(&[listener], traffic.refused() as f64);
    }
}

/// What lasts in connections of HTTP.
fn lasting(page: &mut Page, observed: &Observed) {
    let traffic = unpoisoned(&observed.traffic).clone();
    let help = "event streams whose guest is called again and WebSockets that are open";
    let mut live = page.family("planck_http_live", Kind::Gauge, &["kind"], help);
    for (_, traffic) in traffic.iter().filter(|(listener, _)| *listener == "http") {
        for what in Lasting::ALL {
            live.sample(&[what.name()], traffic.lasting(what) as f64);
        }
    }
    let mut messages = page.family(
        "planck_websocket_messages_total",
        Kind::Counter,
        &["direction"],
        "messages of WebSockets, received and sent",
    );
    for (_, traffic) in traffic.iter().filter(|(listener, _)| *listener == "http") {
        let (received, sent) = traffic.messages();
        messages.sample(&["received"], received as f64);
        messages.sample(&["sent"], sent as f64);
    }
}

pub(super) fn wire(page: &mut Page, observed: &Observed) {
    let wire = &observed.wire;
    let sessions = Some(live(&wire.begun, &wire.ended));
    page.gauge("planck_wire_sessions", "sessions that have authenticated", sessions);
    let at_work = Some(wire.at_work.load(Relaxed));
    page.gauge("planck_wire_requests_in_flight", "requests at work", at_work);
    for (name, help, count) in [
        ("planck_wire_sessions_total", "sessions that began", &wire.begun),
        ("planck_wire_auth_failures_total", "keys that were wrong", &wire.auth_failures),
        (
            "planck_wire_lockouts_total",
            "addresses locked out, and accounts guarded from strangers",
            &wire.lockouts,
        ),
        ("planck_wire_received_bytes_total", "bytes of requests", &wire.received),
        ("planck_wire_sent_bytes_total", "bytes of replies", &wire.sent),
    ] {
        page.counter(name, help, Some(count.load(Relaxed)));
    }
}

pub(super) fn http(page: &mut Page, observed: &Observed) {
    let http = &observed.http;
    let mut requests = page.family(
        "planck_http_requests_total",
        Kind::Counter,
        &["method", "code", "source"],
        "responses by method, class of status (2xx ..) and source (guest, file)",
    );
    http.requests(|method, code, source, count| {
        requests.sample(&[method, code, source], count as f64);
    });
    let mut routes = page.family(
        "planck_http_request_duration_seconds",
        Kind::Histogram,
        &["route"],
        "from a request's head to its response's, by the first segment of the path; 64 that \
         were answered well have their own, the rest is (other), files are (file)",
    );
    for (route, seen) in http.routes() {
        routes.distribution(&[&route], SECONDS, &seen);
    }
    let (received, sent) = http.bytes();
    page.counter("planck_http_received_bytes_total", "bytes of requests' bodies", Some(received));
    page.counter("planck_http_sent_bytes_total", "bytes of responses' bodies", Some(sent));
    let mut streams = page.family(
        "planck_http_streams_total",
        Kind::Counter,
        &["end"],
        "responses sent while the guest made them, by how they ended: whole, cut (the guest \
         failed or took too long), gone (the client left)",
    );
    for (end, count) in http.streams() {
        streams.sample(&[end], count as f64);
    }
    lasting(page, observed);
}

pub(super) fn pool(page: &mut Page, pool: Option<&PoolStats>) {
    page.gauges(
        pool,
        &[
            ("planck_pool_instances", "guests alive", |pool| pool.instances as u64),
            ("planck_pool_busy", "guests at work", |pool| pool.busy as u64),
            ("planck_pool_waiting", "requests waiting", |pool| pool.waiting as u64),
        ],
    );
    page.counters(
        pool,
        &[
            ("planck_pool_calls_total", "calls that ended", |pool| pool.calls),
            (
                "planck_pool_here_total",
                "those of them that ran on the network thread that had the request",
                |pool| pool.here,
            ),
            (
                "planck_pool_refused_total",
                "requests never run: too many waited, or for too long",
                |pool| pool.refused,
            ),
            ("planck_pool_made_total", "instances made", |pool| pool.made),
            ("planck_pool_failed_starts_total", "instances that could not be made", |pool| {
                pool.failed_starts
            }),
            (
                "planck_pool_recycled_total",
                "instances replaced since they held too much memory",
                |pool| pool.recycled,
            ),
        ],
    );
    let mut traps = page.family(
        "planck_pool_traps_total",
        Kind::Counter,
        &["kind"],
        "calls that ended in a trap; kind deadline: they took too long",
    );
    for kind in TrapKind::ALL {
        if let Some(pool) = pool {
            traps.sample(&[kind.name()], pool.trapped(kind) as f64);
        }
    }
    page.histogram(
        "planck_pool_wait_seconds",
        "what requests waited for an instance",
        SECONDS,
        pool.map(|pool| &pool.waits),
    );
    page.histogram(
        "planck_pool_call_seconds",
        "what calls took",
        SECONDS,
        pool.map(|pool| &pool.took),
    );
}

pub(super) fn module(page: &mut Page, module: Option<&ModuleFigures>) {
    let help = "1, with the SHA-256 of the guest's module that serves";
    let mut info = page.family("planck_module_info", Kind::Gauge, &["sha256"], help);
    if let Some(module) = module {
        info.sample(&[&module.hash], 1.0);
    }
    page.counters(
        module,
        &[
            (
                "planck_module_changes_total",
                "changes to another module while the service ran",
                |module| module.changes,
            ),
            (
                "planck_module_change_failures_total",
                "changes that failed: the module before served on",
                |module| module.failures,
            ),
        ],
    );
}
