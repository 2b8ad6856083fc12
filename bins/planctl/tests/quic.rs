//! The same commands by QUIC, through the binary and a wire.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::real::Real;
use common::{Service, command, planctl};
use engine::Limits;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const QUIC: [&str; 2] = ["--transport", "quic"];

fn by_quic<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &QUIC].concat()
}

#[test]
fn what_is_imported_by_quic_is_what_is_imported_by_tcp() {
    let service = Service::start();
    // Were they at work side by side, one would overtake another.
    service.uneven.store(4, Ordering::Relaxed);
    // Each key three times, in one batch or two: which of the rows counts is their order.
    let rows: String =
        (0..900).map(|n| format!("{{\"key\":\"{:032x}\",\"n\":{n}}}\n", n / 3)).collect();
    let file = service.file("in.ndjson", &rows);
    for conflict in ["replace", "skip"] {
        let import = |store: &str, transport: &str| {
            let args = ["import", store, &file, "--create", "--batch-size", "70"];
            let more = ["--on-conflict", conflict, "--transport", transport];
            service.run(&[&args[..], &more].concat()).ok();
            service.documents(store)
        };
        let (quic, tcp) =
            (import(&format!("q_{conflict}"), "quic"), import(&format!("t_{conflict}"), "tcp"));
        assert_eq!((quic.len(), quic), (300, tcp), "{conflict}");
    }
    let exported = service.run(&by_quic(&["export", "q_skip"])).ok();
    assert_eq!(exported, service.run(&["export", "q_skip"]).ok());
    let pong = service.run(&by_quic(&["ping"])).ok();
    assert!(pong.starts_with(&format!("{} answered in ", service.address)), "{pong}");
}

#[test]
fn how_it_ends_is_how_it_ends_by_tcp() {
    let mut service = Service::start();
    service.run(&by_quic(&["create", "store", "a"])).ok();
    service.run(&by_quic(&["create", "store", "a"])).fails(5, "PLK-1203");
    service.run(&by_quic(&["query", "flights.nonsense()"])).fails(7, "PLK-1401");
    let (address, pin) = (service.address.to_string(), service.fingerprint.clone());
    let key = service.path("admin.key");
    let ask = |more: &[&str]| {
        let to = ["list", "--server", &address, "--key-file", key.to_str().unwrap()];
        planctl(&by_quic(&[&to[..], more].concat()), b"")
    };
    assert_eq!(ask(&["--fingerprint", &pin, "--json"]).ok(), "{\"store\":\"a\"}\n");
    ask(&["--fingerprint", &"ab".repeat(32)]).fails(4, "is not the one pinned");
    ask(&["--fingerprint", &pin, "--user", "bob"]).fails(4, "PLK-1502");
    ask(&["--plaintext"]).fails(2, "--transport quic is always under TLS");
    service
        .run(&["list", "--transport", "carrier pigeon"])
        .fails(2, "[possible values: tcp, quic]");
    Service::without_tls().run(&by_quic(&["list"])).fails(2, "--transport tcp");
    service.stop();
}

#[test]
fn a_query_reads_every_page_and_leaves_nothing_behind() {
    let small = Limits {
        max_batch_size: 1000,
        max_message_size: 64 << 10,
        max_document_size: 20_000,
        ..Limits::default()
    };
    let real = Real::under_tls(small);
    let document = |n: u32| format!("{{\"n\":{},\"t\":\"{}\"}}", n * 7919 % 400, "x".repeat(3000));
    real.fill("s", (0..400).map(document));
    let query = by_quic(&["query", "s.orderBy(n desc).pluck(n, t)", "--json"]);
    let out = real.run(&query).ok();
    let found: Vec<u32> =
        out.lines().map(|line| line[5..].split_once(',').unwrap().0.parse().unwrap()).collect();
    assert_eq!(found, (0..400).rev().collect::<Vec<_>>());
    assert!(real.figure("requests.Fetch") > 15);
    // Who reads only the beginning says goodbye: its cursor goes at once, and not when the
    // server has heard nothing for two minutes.
    let dir = real.dir.path().to_str().unwrap();
    let args = [&query[..], &["--dir", dir]].concat();
    let mut child = command(&args).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    let gone = Instant::now();
    while real.figure("open_cursors") > 0 {
        assert!(gone.elapsed() < Duration::from_secs(20), "cursors are left");
        std::thread::sleep(Duration::from_millis(10));
    }
}
