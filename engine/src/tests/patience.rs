//! Answers that are not wanted any more: what is given up changes nothing, wherever it
//! stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::request::BatchBuf;
use proto::{Key, Request, Status};

use super::cursors::{fetch, figure, stream};
use super::kit::*;
use crate::{Call, Engine};

/// Each look at it takes a millisecond; at the look that `left` counts down to, the
/// flag is set.
struct Watched {
    clock: SimClock,
    left: AtomicU64,
    flag: Arc<AtomicBool>,
}

impl platform::Clock for Watched {
    fn wall_micros(&self) -> u64 {
        self.clock.wall_micros()
    }

    fn monotonic_nanos(&self) -> u64 {
        if self.left.fetch_sub(1, Relaxed) == 0 {
            self.flag.store(true, Relaxed);
        }
        self.clock.advance(Duration::from_millis(1));
        self.clock.monotonic_nanos()
    }
}

/// With the store `s`, in which are so many documents `{n: 1}`.
fn watched(documents: u128) -> (Engine, Arc<Watched>) {
    let clock = SimClock::new(NOW);
    let clock = Arc::new(Watched { clock, left: AtomicU64::new(u64::MAX), flag: Arc::default() });
    let entropy = Arc::new(SimEntropy::new(1));
    let engine = Engine::open(SimDisk::new(1), clock.clone(), entropy, options()).unwrap();
    done(&engine, create("s"));
    for key in 0..documents {
        insert(&engine, key, r#"{"n":1}"#);
    }
    (engine, clock)
}

/// Whether a request is answered; if not, nothing has changed.
fn answered(
    engine: &Engine,
    request: Request<'_>,
    patience: u32,
    cancelled: Option<&Arc<AtomicBool>>,
    status: Status,
) -> bool {
    let lsn = engine.lsm.last_lsn();
    let call = Call { waited_micros: 0, cancelled: cancelled.cloned() };
    let Said::Refused(found, message) = ask_within(engine, &admin(), request, patience, &call)
    else {
        return true;
    };
    assert_eq!(found, status, "{message}");
    assert!(message.contains("nothing changed"), "{message}");
    assert_eq!(engine.lsm.last_lsn(), lsn, "{request:?} changed something");
    assert_eq!((figure(engine, "open_cursors"), engine.running_queries().len()), (0, 0));
    false
}

/// Asks with ever more patience until it is enough: how often it was not.
fn short(engine: &Engine, request: Request<'_>) -> u64 {
    let enough = (1..).find(|&millis| answered(engine, request, millis, None, Status::Timeout));
    u64::from(enough.unwrap_or_default() - 1)
}

/// Cancels it ever later until it is too late: how often it was not.
fn early(engine: &Engine, clock: &Watched, request: Request<'_>) -> u64 {
    let late = |looks: &u64| {
        clock.flag.store(false, Relaxed);
        clock.left.store(*looks, Relaxed);
        answered(engine, request, u32::MAX, Some(&clock.flag), Status::Cancelled)
    };
    (0..).find(late).unwrap_or_default()
}

#[test]
fn a_request_is_given_up_until_it_commits_and_nothing_has_changed() {
    let document = &doc(r#"{"m":1}"#)[..];
    let mut batch = BatchBuf::new();
    (0..200).for_each(|_| batch.push(None, document));
    let (store, key) = ("s", Key(1));
    // How often each looks: before it begins, when it has the commit lock, and for each 64
    // documents, those of a batch twice.
    for (looks, request) in [
        (1..2, Request::Ping),
        (1..2, Request::Read { store, key }),
        (2..3, Request::Insert { store, key: None, document }),
        (2..3, Request::Update { store, key, document, upsert: false }),
        (2..3, Request::Delete { store, key }),
        (10..11, Request::BatchInsert { store, batch: batch.as_batch() }),
        (8..99, query("s.filter(n = 1 and n = 2)")),
        (8..99, query("s.filter(n = 1 or m = 2).count()")),
        (16..99, query("s.filter(n = 1).set({n: 1})")),
        (2..3, query("s.insert({n: 1})")),
    ] {
        let times = short(&watched(400).0, request);
        assert!(looks.contains(&times), "{request:?} looked {times} times");
        let (engine, clock) = watched(400);
        let times = early(&engine, &clock, request);
        assert!(looks.contains(&times), "{request:?} looked {times} times");
    }
}

#[test]
fn an_index_check_is_given_up() {
    let (engine, clock) = watched(400);
    let definition = &doc(r#"{"fields":["n"]}"#);
    done(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    while engine.tend().unwrap() {}
    let check = Request::CheckIndexes { store: "s", index: None };
    let (short, early) = (short(&engine, check), early(&engine, &clock, check));
    assert!(short >= 5 && early >= 5, "{short} {early}");
}

#[test]
fn the_time_a_request_has_waited_counts() {
    let engine = with_store();
    let ask = |patience, waited_micros| {
        let call = Call { waited_micros, cancelled: None };
        ask_within(&engine, &admin(), Request::Ping, patience, &call)
    };
    assert_eq!(ask(7, 6_999), Said::Empty);
    assert!(matches!(ask(7, 7_000), Said::Refused(Status::Timeout, _)));
    assert_eq!(ask(0, u64::MAX), Said::Empty);
}

#[test]
fn patience_is_that_of_a_page_and_half_of_it_gives_a_shorter_one() {
    let (engine, clock) = watched(1000);
    let call = Call { waited_micros: 0, cancelled: Some(Arc::clone(&clock.flag)) };
    let ask = |request, patience| ask_within(&engine, &admin(), request, patience, &call);
    let Said::Page(rows, cursor) = ask(stream("s", 0, 0), 10) else { panic!("it has a page") };
    assert!((64..1000).contains(&rows.len()), "{}", rows.len());
    let scan = Request::Scan { store: "s", after: None, limit: 0, reverse: false };
    let Said::Rows(rows, Some(_)) = ask(scan, 10) else { panic!("it has a page") };
    assert!((64..1000).contains(&rows.len()), "{}", rows.len());
    // Whoever asked for the page before is of no account any more.
    clock.flag.store(true, Relaxed);
    let Said::Rows(rest, None) = done(&engine, fetch(cursor)) else { panic!("the rest comes") };
    assert!(rest.len() > 64, "{}", rest.len());
    // A page that is given up ends its cursor.
    clock.flag.store(false, Relaxed);
    let Said::Page(_, cursor) = ask(stream("s.filter(n = 1)", 200, 0), 0) else { panic!("a page") };
    clock.left.store(3, Relaxed);
    let ended = ask(fetch(cursor), u32::MAX);
    assert!(matches!(ended, Said::Refused(Status::Cancelled, _)), "{ended:?}");
    assert_eq!(figure(&engine, "open_cursors"), 0);
}
