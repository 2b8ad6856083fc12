//! What watchers cost a writer: updates by packets while nobody watches, one does, and a
//! hundred do, each told of every commit, in one run, taken in turns.
//!
//! As in the service the log is synced by a timer, a sync wakes one thread, and that one
//! asks for all who watch. Run on more than one processor it shows what a writer pays;
//! on one, what the whole machine does.

#![allow(clippy::unwrap_used)] // A bench that cannot go on fails.

use criterion::{Criterion, criterion_group, criterion_main};
use engine::{Engine, Options, Principal, Role};
use platform::Clock;
use platform::real::{RealClock, RealDisk, RealEntropy};
use proto::doc::{Doc, DocBuf, Value};
use proto::{Key, Reply, Request, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// As often as an impatient service.
const SYNC: Duration = Duration::from_millis(5);
const COMMITS: u64 = 4000;

struct House {
    engine: Engine,
    who: Principal,
    ends: AtomicBool,
    news: Arc<(Mutex<bool>, Condvar)>,
    told: AtomicU64,
}

impl House {
    fn ask(&self, request: Request<'_>, out: &mut Vec<u8>) {
        out.clear();
        self.engine.dispatch(&self.who, 1, request, out);
    }

    /// A page behind a token; gives the next one, and how many events it had.
    fn page(&self, since: Option<&str>, out: &mut Vec<u8>) -> (String, usize) {
        let mut what = DocBuf::new();
        what.array("stores", |list| {
            list.item("s");
        });
        what.extend(since.map(|since| ("since", Value::String(since))));
        self.ask(Request::Watch { what: &what.finish().unwrap() }, out);
        let Reply::Document(page) = Reply::decode(out).unwrap().1 else { panic!("no page") };
        let page = Doc::trusted(page);
        let events = page.get("events").and_then(|events| events.as_array()).unwrap();
        (page.get("next").and_then(|next| next.as_str()).unwrap().to_owned(), events.len())
    }

    fn watch(&self, watchers: usize) {
        let mut out = Vec::new();
        let (now, _) = self.page(None, &mut out);
        let mut places = vec![now; watchers];
        while !self.ends.load(Relaxed) {
            let (news, woken) = &*self.news;
            let mut is_news = news.lock().unwrap();
            while !*is_news && !self.ends.load(Relaxed) {
                is_news = woken.wait_timeout(is_news, SYNC).unwrap().0;
            }
            *is_news = false;
            drop(is_news);
            for place in &mut places {
                let (next, events) = self.page(Some(place), &mut out);
                *place = next;
                self.told.fetch_add(events as u64, Relaxed);
            }
        }
    }
}

/// How long so many updates take.
fn updates(house: &House, from: u64, count: u64) -> Duration {
    let document =
        json::parse_json(r#"{"name": "somebody", "balance": 12345, "text": "some words more"}"#);
    let (document, mut out) = (document.unwrap(), Vec::new());
    let clock = RealClock::new();
    let begun = clock.monotonic_nanos();
    for n in from..from + count {
        let key = Key(u128::from(n % 10_000));
        house.ask(Request::Update { store: "s", key, document: &document, upsert: true }, &mut out);
    }
    Duration::from_nanos(clock.monotonic_nanos() - begun)
}

fn with(watchers: usize, iterations: u64) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let engine =
        Engine::open(disk, Arc::new(RealClock::new()), Arc::new(RealEntropy), Options::default());
    let house = House {
        engine: engine.unwrap(),
        who: Principal::new("root", Role::Admin),
        ends: AtomicBool::new(false),
        news: Arc::default(),
        told: AtomicU64::new(0),
    };
    house.ask(Request::CreateStore { store: "s", if_not_exists: false }, &mut Vec::new());
    let news = Arc::clone(&house.news);
    let _told = house.engine.on_settled(move |_| {
        *news.0.lock().unwrap() = true;
        news.1.notify_one();
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !house.ends.load(Relaxed) {
                let (never, nobody) = (Mutex::new(()), Condvar::new());
                drop(nobody.wait_timeout(never.lock().unwrap(), SYNC));
                house.engine.sync().unwrap();
            }
        });
        if watchers > 0 {
            scope.spawn(|| house.watch(watchers));
        }
        updates(&house, 0, 2000);
        let took = (0..iterations).map(|n| updates(&house, n * COMMITS, COMMITS)).sum();
        house.ends.store(true, Relaxed);
        took
    })
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("watch");
    group.throughput(criterion::Throughput::Elements(COMMITS)).sample_size(10);
    for watchers in [0, 1, 100] {
        group.bench_function(format!("updates beside {watchers} watchers"), |b| {
            b.iter_custom(|iterations| with(watchers, iterations));
        });
    }
    group.finish();
    in_turns();
}

/// All three in turns, so that what the machine does meanwhile is shared.
fn in_turns() {
    let mut took = [(0, Duration::ZERO), (1, Duration::ZERO), (100, Duration::ZERO)];
    for _ in 0..7 {
        for (watchers, sum) in &mut took {
            *sum += with(*watchers, 5);
        }
    }
    let none = took[0].1;
    for (watchers, sum) in took {
        let each = sum.as_secs_f64() * 1e6 / (7.0 * 5.0 * COMMITS as f64);
        let ratio = sum.as_secs_f64() / none.as_secs_f64();
        println!("{watchers:>4} watchers: {each:.2} us an update, {ratio:.3} of none");
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
