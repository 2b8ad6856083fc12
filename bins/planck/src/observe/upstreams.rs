//! The families of the services outside that guests call.

use super::text::{Kind, Page, SECONDS};
use engine::push_latency;
use net::upstream::{Circuit, Failure, UpstreamStats};
use proto::doc::DocBuf;

/// Responses by the first digit of their status.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

fn circuit(circuit: Circuit) -> &'static str {
    match circuit {
        Circuit::Closed => "closed",
        Circuit::Open => "open",
        Circuit::HalfOpen => "half_open",
    }
}

pub(super) fn page(page: &mut Page, all: &[UpstreamStats]) {
    let labels = &["upstream"];
    let mut calls = page.family(
        "planck_upstream_calls_total",
        Kind::Counter,
        &["upstream", "outcome"],
        "calls that are over, by the class of the answer's status or how they failed",
    );
    for stats in all {
        for (class, count) in CLASSES.iter().zip(stats.responses) {
            calls.sample(&[&stats.name, class], count as f64);
        }
        for how in Failure::ALL {
            calls.sample(&[&stats.name, how.name()], stats.failed(how) as f64);
        }
    }
    let mut latency = page.family(
        "planck_upstream_duration_seconds",
        Kind::Histogram,
        labels,
        "from the place a call got to the head of its answer",
    );
    for stats in all {
        latency.distribution(&[&stats.name], SECONDS, &stats.latency);
    }
    let mut states = page.family(
        "planck_upstream_circuit",
        Kind::Gauge,
        &["upstream", "state"],
        "1 for the state of now: closed, open or half_open",
    );
    for stats in all {
        for state in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
            let is_so = if stats.circuit == state { 1.0 } else { 0.0 };
            states.sample(&[&stats.name, circuit(state)], is_so);
        }
    }
    type Figure = fn(&UpstreamStats) -> u64;
    let figures: [(&'static str, Kind, &'static str, Figure); 7] = [
        ("planck_upstream_in_flight", Kind::Gauge, "calls that have a place", |stats| {
            stats.in_flight as u64
        }),
        ("planck_upstream_waiting", Kind::Gauge, "calls that wait for one", |stats| {
            stats.waiting as u64
        }),
        (
            "planck_upstream_idle_connections",
            Kind::Gauge,
            "connections that wait for the next call",
            |stats| stats.idle as u64,
        ),
        ("planck_upstream_connections_total", Kind::Counter, "connections opened", |stats| {
            stats.connections
        }),
        (
            "planck_upstream_circuit_opened_total",
            Kind::Counter,
            "times it was left alone for a while, since calls failed one after the other",
            |stats| stats.opened,
        ),
        ("planck_upstream_sent_bytes_total", Kind::Counter, "bytes of bodies sent", |stats| {
            stats.sent_bytes
        }),
        (
            "planck_upstream_received_bytes_total",
            Kind::Counter,
            "bytes of bodies received",
            |stats| stats.received_bytes,
        ),
    ];
    for (name, kind, help, figure) in figures {
        let mut family = page.family(name, kind, labels, help);
        for stats in all {
            family.sample(&[&stats.name], figure(stats) as f64);
        }
    }
}

pub(super) fn document(doc: &mut DocBuf, all: &[UpstreamStats]) {
    let figure = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    for stats in all {
        doc.doc(&stats.name, |doc| {
            doc.push("calls", figure(stats.calls()));
            doc.push("failed", figure(stats.failures.iter().sum()));
            doc.push("in_flight", figure(stats.in_flight as u64));
            doc.push("circuit", circuit(stats.circuit));
            push_latency(doc, "latency", &stats.latency);
        });
    }
}
