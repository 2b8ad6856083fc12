//! What is told of a service that is looked at: page, reasons, stats.

use super::*;
use engine::{Options, Principal, Role, StorageOptions, SyncMode};
use net::http::Answered;
use platform::sim::{Fault, SimClock, SimDisk, SimEntropy, Times};
use proto::Request;
use proto::doc::Doc;
use std::time::Duration;

fn engine() -> Arc<Engine> {
    let (clock, entropy) = (Arc::new(SimClock::new(1)), Arc::new(SimEntropy::new(1)));
    Arc::new(Engine::open(SimDisk::new(1), clock, entropy, Options::default()).unwrap())
}

fn observed() -> Observed {
    Observed::new(Log::silent())
}

#[test]
fn the_written_reference_is_the_real_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, reference(), "run `cargo run -p planck -- --metrics > docs/metrics.md`");
}

#[test]
fn the_list_of_families_does_not_hang_on_what_the_service_does() {
    let names = |observed: &Observed| -> Vec<_> {
        observed.page().rows().iter().map(|row| row.name).collect()
    };
    let (empty, full, engine) = (observed(), observed(), engine());
    full.opened(&engine);
    full.enter(Phase::Serving);
    full.listens("wire", Arc::default());
    assert_eq!(names(&empty), names(&full));
}

#[test]
fn each_phase_has_its_reason_and_a_service_that_serves_none() {
    let observed = observed();
    let codes = |observed: &Observed| -> Vec<_> {
        observed.reasons().into_iter().map(|(code, _)| code).collect()
    };
    assert_eq!(codes(&observed), ["opening"]);
    let engine = engine();
    observed.opened(&engine);
    assert_eq!(codes(&observed), ["starting"]);
    observed.enter(Phase::Serving);
    assert_eq!(codes(&observed), [""; 0]);
    assert!(observed.page().text().contains("\nplanck_ready 1\n"));
    observed.enter(Phase::Draining);
    assert_eq!(codes(&observed), ["draining"]);
    assert!(observed.page().text().contains("\nplanck_ready 0\n"));
}

#[test]
fn a_storage_that_refuses_writes_is_not_ready_and_says_why() {
    // Given a disk that fails,
    let disk = SimDisk::new(1);
    let (clock, entropy) = (Arc::new(SimClock::new(1)), Arc::new(SimEntropy::new(1)));
    let storage = StorageOptions { sync: SyncMode::Sync, ..StorageOptions::default() };
    let options = Options { storage, ..Options::default() };
    let engine = Engine::open(disk.clone(), clock, entropy, options).unwrap();
    let (engine, observed) = (Arc::new(engine), observed());
    observed.opened(&engine);
    observed.enter(Phase::Serving);
    assert_eq!(observed.reasons(), []);
    // when a write finds that,
    disk.fail(Fault::Write, "wal", Times::Every);
    let admin = Principal::new("root", Role::Admin);
    let request = Request::CreateStore { store: "s", if_not_exists: true };
    engine.dispatch(&admin, 1, request, &mut Vec::new());
    // then requests should go elsewhere.
    let reasons = observed.reasons();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert_eq!(reasons[0].0, "poisoned");
    assert!(reasons[0].1.contains("mend the disk"), "{reasons:?}");
    assert!(observed.page().text().contains("planck_storage_state{state=\"poisoned\"} 1\n"));
}

#[test]
fn nothing_here_keeps_the_engine_alive() {
    let (observed, engine) = (Arc::new(observed()), engine());
    observed.opened(&engine);
    engine.stand_beside(observed.clone());
    assert!(observed.page().text().contains("planck_commits_total"));
    assert!(Arc::into_inner(engine).is_some());
    assert!(observed.engine().is_none());
    assert!(!observed.page().text().contains("\nplanck_commits_total "));
}

#[test]
fn stats_tell_admins_what_stands_beside_the_engine_and_nobody_else() {
    let (observed, engine) = (Arc::new(observed()), engine());
    observed.opened(&engine);
    engine.stand_beside(observed.clone());
    observed.wire.begun.fetch_add(3, Relaxed);
    observed.wire.ended.fetch_add(1, Relaxed);
    observed.http.answered(&Answered {
        method: "GET",
        path: "/flights",
        status: 200,
        is_file: false,
        received: 0,
        sent: 1,
        streamed: None,
        took: Duration::from_micros(900),
    });
    let stats = engine.stats().unwrap();
    let stats = Doc::parse(&stats).unwrap();
    let figure = |path: &str| stats.path(path).and_then(|value| value.as_i64());
    assert_eq!(figure("wire.sessions"), Some(2));
    assert_eq!(figure("http./flights.count"), Some(1));
    assert!(figure("http./flights.p99_us").is_some_and(|us| (900..=1125).contains(&us)));
    for (role, sees) in [(Role::Admin, true), (Role::ReadWrite, false), (Role::ReadOnly, false)] {
        let mut out = Vec::new();
        engine.dispatch(&Principal::new("x", role), 1, Request::Stats, &mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert_eq!(text.contains("/flights"), sees, "{role:?}");
    }
}
