//! Results larger than a reply: read page by page, bounded, given back.

use std::sync::Arc;
use std::time::Duration;

use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::Doc;
use proto::request::BatchBuf;
use proto::{Key, Reply, Request, Status};

use super::kit::*;
use super::query::Ticking;
use crate::{Engine, Limits, Options, Principal, Role};

/// Messages of 64 KiB.
pub(super) fn small() -> Limits {
    Limits {
        max_batch_size: 1000,
        max_message_size: 64 << 10,
        max_document_size: 20_000,
        ..Limits::default()
    }
}

fn open_at(clock: &Arc<SimClock>, limits: Limits) -> Engine {
    let options = Options { limits, ..options() };
    let engine =
        Engine::open(SimDisk::new(1), clock.clone(), Arc::new(SimEntropy::new(1)), options);
    let engine = engine.unwrap();
    done(&engine, create("s"));
    engine
}

/// As many documents as given, of about 1000 bytes each, under keys from 0 on.
fn fill(engine: &Engine, count: u128) {
    for first in (0..count).step_by(50) {
        let mut batch = BatchBuf::new();
        for key in first..(first + 50).min(count) {
            let (n, g, pad) = (key * 7919 % 1000, key % 10, "x".repeat(900 + key as usize % 90));
            let text = format!(r#"{{"n":{n},"g":{g},"code":{key},"p":"{pad}"}}"#);
            batch.push(Some(Key(key)), &doc(&text));
        }
        done(engine, Request::BatchInsert { store: "s", batch: batch.as_batch() });
    }
}

pub(super) fn filled(limits: Limits, count: u128) -> Engine {
    let engine = open_with(limits);
    fill(&engine, count);
    engine
}

pub(super) fn stream(text: &str, rows: u32, bytes: u32) -> Request<'_> {
    Request::Stream { rows, bytes, text, parameters: None }
}

pub(super) fn fetch(cursor: u64) -> Request<'static> {
    Request::Fetch { cursor }
}

/// The cursor of a first page.
#[track_caller]
pub(super) fn opened(engine: &Engine, who: &Principal, text: &str) -> u64 {
    match ask_as(engine, who, stream(text, 1, 0)) {
        Said::Page(_, cursor) => cursor,
        other => panic!("{text}: {other:?}"),
    }
}

#[track_caller]
pub(super) fn unknown(engine: &Engine, who: &Principal, cursor: u64) {
    refused_as(engine, who, fetch(cursor), Status::UnknownCursor, &["no cursor", "cursor_idle_ms"]);
}

pub(super) fn figure(engine: &Engine, name: &str) -> i64 {
    let stats = engine.stats().unwrap();
    Doc::parse(&stats).unwrap().get(name).and_then(|v| v.as_i64()).unwrap_or(-1)
}

/// Open cursors, and what they hold: memory, disk, snapshots.
pub(super) fn held(engine: &Engine) -> [i64; 4] {
    ["open_cursors", "cursor_memory_bytes", "cursor_spill_bytes", "snapshots"]
        .map(|name| figure(engine, name))
}

/// Every page of a query, with `between` carried out behind each; how many there were.
fn read_all(
    engine: &Engine,
    request: Request<'_>,
    mut between: impl FnMut(usize),
) -> (Vec<String>, usize) {
    let (mut rows, mut pages, mut next) = (Vec::new(), 0, request);
    loop {
        pages += 1;
        match done(engine, next) {
            Said::Page(page, cursor) => {
                rows.extend(page);
                next = fetch(cursor);
            }
            Said::Rows(page, None) => {
                rows.extend(page);
                return (rows, pages);
            }
            other => panic!("{other:?}"),
        }
        between(pages);
    }
}

#[test]
fn a_result_of_many_replies_comes_whole_and_of_one_moment_while_writes_go_on() {
    // The same documents behind replies that hold all of them.
    let whole = filled(Limits::default(), 400);
    let memory = |query_memory| Limits { query_memory, ..small() };
    let mut spilled = 0;
    let (full, ten) = (0, 10);
    for (text, query_memory, page) in [
        ("s", 64 << 20, full),
        ("s.filter(n >= 100)", 64 << 20, full),
        ("s.orderBy(key desc).pluck(key, p)", 64 << 20, full),
        ("s.orderBy(n desc)", 64 << 20, full),
        ("s.orderBy(n desc)", 20_000, full),
        ("s.orderBy(g, n).skip(10).limit(380).pluck(key, n, p)", 20_000, full),
        ("s.groupBy(n).aggregate(c: count(), p: max(p), q: min(p))", 64 << 20, full),
        ("s.groupBy(n).aggregate(c: count(), p: max(p), q: min(p))", 20_000, full),
        ("s.lookup(s, g = code as more).pluck(key, p, more.0.n)", 64 << 20, full),
        ("s.lookup(s, g = code as more).orderBy(n)", 2 << 20, full),
        ("s.distinct(p, n)", 64 << 20, full),
        // By its index.
        ("s.filter(code between 20 and 100)", 64 << 20, ten),
    ] {
        let Said::Rows(expected, None) = done(&whole, query(text)) else { panic!("{text}") };
        let engine = filled(memory(query_memory), 400);
        if page == ten {
            let definition = &doc(r#"{"fields":["code"]}"#);
            done(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
            while engine.tend().unwrap() {}
        }
        let write = |page: usize| {
            // What was given, what comes, and what is new: all else than the result's.
            let page = page as u128;
            for key in [page * 7, 399 - page * 11, 1000 + page] {
                let document = doc(r#"{"n":-1,"code":7,"p":"later"}"#);
                let store = "s";
                let key = Key(key);
                done(&engine, Request::Update { store, key, document: &document, upsert: true });
            }
            ask(&engine, query("s.filter(g = 3).limit(2).delete()"));
            engine.flush().unwrap();
            assert_eq!(figure(&engine, "open_cursors"), 1, "{text}");
            spilled = spilled.max(figure(&engine, "cursor_spill_bytes"));
        };
        let (rows, pages) = read_all(&engine, stream(text, page, 0), write);
        assert_eq!(rows.len(), expected.len(), "{text}");
        assert!(rows == expected, "{text}: other rows, or in another order");
        assert!(pages > 5, "{text}: {pages} pages");
        assert_eq!(held(&engine), [0; 4], "{text}");
        assert_ne!(done(&engine, query("s.filter(p = 'later').count()")), Said::Count(0));
    }
    assert!(spilled > 100_000, "some waited with {spilled} bytes on disk");
}

#[test]
fn a_page_has_as_many_rows_and_bytes_as_were_asked_for() {
    let engine = filled(small(), 100);
    let sizes = |rows, bytes| {
        let (mut sizes, mut next) = (Vec::new(), stream("s.pluck(p)", rows, bytes));
        loop {
            let mut packet = Vec::new();
            next.encode(1, &mut packet);
            let mut out = Vec::new();
            engine.dispatch_packet(&admin(), &packet, &mut out);
            let (_, Reply::Rows(rows)) = Reply::decode(&out).unwrap() else { panic!() };
            sizes.push((rows.len(), out.len()));
            match rows.cursor {
                Some(cursor) => next = fetch(cursor),
                None => return sizes,
            }
        }
    };
    let counts = |rows, bytes| sizes(rows, bytes).into_iter().map(|(n, _)| n).collect::<Vec<_>>();
    assert_eq!(counts(30, 0), [30, 30, 30, 10]);
    // It is not looked behind the last row of a page.
    assert_eq!(counts(50, 0), [50, 50, 0]);
    assert_eq!(counts(100, 1), [1; 100], "a row longer than a page comes alone");
    assert_eq!(counts(0, 0).iter().sum::<usize>(), 100);
    assert_eq!(counts(0, 0).len(), 2);
    assert!(sizes(0, 0).iter().all(|(_, bytes)| *bytes <= 64 << 10));
    let some = sizes(0, 10_000);
    assert!(some.len() >= 10 && some.iter().all(|(_, bytes)| *bytes <= 10_000), "{some:?}");
    // What gives no rows has one page.
    assert_eq!(done(&engine, stream("s.count()", 1, 1)), Said::Count(100));
    assert_eq!(done(&engine, stream("s.filter(g = 1).limit(1).delete()", 1, 1)), Said::Count(1));
    assert_eq!(held(&engine), [0; 4]);
}

#[test]
fn a_page_is_filled_to_its_last_byte_and_a_row_that_fits_none_is_refused_by_name() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    let room = (64 << 10) - 24 - 1 - 1 - 17 - 4 - 16;
    for (key, bytes) in [(1, 20_000), (2, room), (3, 20_000), (4, room + 1), (5, 20_000)] {
        let document = doc_of(bytes);
        done(&engine, Request::Insert { store: "s", key: Some(Key(key)), document: &document });
    }
    drop(engine);
    let engine = open_on(disk.kill(), Options { limits: small(), ..options() });
    let page = |request: Request<'_>| match done(&engine, request) {
        Said::Page(rows, cursor) => (rows.len(), cursor),
        other => panic!("{other:?}"),
    };
    let (rows, cursor) = page(query("s"));
    assert_eq!(rows, 1);
    assert_eq!(page(fetch(cursor)), (1, cursor), "as long as a reply can be");
    assert_eq!(page(fetch(cursor)), (1, cursor));
    let words = &["a row", "65474 bytes", "65536", "pluck", "max_message_size"];
    refused(&engine, fetch(cursor), Status::ResultTooLarge, words);
    unknown(&engine, &admin(), cursor);
    assert_eq!(held(&engine), [0; 4]);
    refused(
        &engine,
        query("s.filter(key > '00000000000000000000000000000003')"),
        Status::ResultTooLarge,
        words,
    );
}

#[test]
fn a_cursor_is_found_by_its_user_and_session_alone() {
    let engine = filled(small(), 10);
    let ann = Principal::new("ann", Role::ReadOnly).in_session(engine.begin_session());
    let cursor = opened(&engine, &ann, "s");
    for other in [
        ann.in_session(engine.begin_session()),
        ann.in_session(0),
        Principal::new("bob", Role::ReadOnly).in_session(1),
        Principal::service("ann").in_session(1),
    ] {
        unknown(&engine, &other, cursor);
        let close = Request::CloseCursor { cursor };
        refused_as(&engine, &other, close, Status::UnknownCursor, &["no cursor"]);
        engine.end_session(&other);
    }
    unknown(&engine, &ann, cursor + 1);
    let Said::Page(rows, same) = ask_as(&engine, &ann, fetch(cursor)) else { panic!() };
    assert_eq!((rows.len(), same), (1, cursor));
    assert_eq!(ask_as(&engine, &ann, Request::CloseCursor { cursor }), Said::Empty);
    unknown(&engine, &ann, cursor);
    assert_eq!(held(&engine), [0; 4]);
}

#[test]
fn the_end_of_a_session_is_the_end_of_its_cursors() {
    let engine = filled(small(), 10);
    let ann = |session| Principal::new("ann", Role::ReadOnly).in_session(session);
    let first: Vec<u64> = (0..5).map(|_| opened(&engine, &ann(1), "s.orderBy(n)")).collect();
    let other = opened(&engine, &ann(2), "s.orderBy(n)");
    let of_six = held(&engine);
    assert_eq!((of_six[0], of_six[1] > 6 * 1000), (6, true));
    engine.end_session(&ann(1));
    let of_one = held(&engine);
    assert_eq!((of_one[0], of_one[1] * 6), (1, of_six[1]));
    first.iter().for_each(|cursor| unknown(&engine, &ann(1), *cursor));
    ask_as(&engine, &ann(2), fetch(other));
    engine.end_session(&ann(2));
    assert_eq!(held(&engine), [0; 4]);
}

#[test]
fn cursors_are_bounded_in_all_of_a_user_and_of_a_session() {
    let limits = Limits { max_cursors: 5, max_session_cursors: 2, ..small() };
    let engine = filled(limits, 10);
    let who = |name: &str, session| Principal::new(name, Role::ReadOnly).in_session(session);
    let full = |who: &Principal, words: &[&str]| {
        let cursors = figure(&engine, "open_cursors");
        refused_as(&engine, who, stream("s", 1, 0), Status::Busy, words);
        assert_eq!(figure(&engine, "open_cursors"), cursors);
        assert!(engine.running_queries().iter().all(|query| query.waits));
    };
    let one = opened(&engine, &who("ann", 1), "s");
    opened(&engine, &who("ann", 1), "s");
    full(&who("ann", 1), &["has 2 cursors", "max_session_cursors", "close some"]);
    // One that is gone on with is none more.
    let Said::Page(..) = ask_as(&engine, &who("ann", 1), fetch(one)) else { panic!() };
    opened(&engine, &who("ann", 2), "s");
    full(&who("ann", 3), &["this user has 3 cursors", "half of limits.max_cursors"]);
    opened(&engine, &who("bob", 4), "s");
    // A service is another user than one of its name.
    opened(&engine, &Principal::service("ann").in_session(5), "s");
    full(&who("cem", 6), &["5 cursors are open", "max_cursors"]);
    ask_as(&engine, &who("ann", 1), Request::CloseCursor { cursor: one });
    opened(&engine, &who("cem", 6), "s");
    // What fits a reply needs none.
    assert!(matches!(done(&engine, query("s")), Said::Rows(rows, None) if rows.len() == 10));

    let engine = filled(Limits { max_cursors: 0, ..small() }, 100);
    let words = &["larger than the 65536 bytes", "limit", "max_cursors"];
    refused(&engine, query("s"), Status::ResultTooLarge, words);
    assert!(engine.running_queries().is_empty());
}

#[test]
fn what_cursors_hold_together_is_bounded() {
    let admin = admin();
    let sorted = "s.orderBy(n)";
    for (query_memory, place, setting) in
        [(64 << 20, 1, "limits.cursor_memory"), (20_000, 2, "limits.cursor_spill")]
    {
        let limits = Limits { query_memory, ..small() };
        let engine = filled(limits, 100);
        opened(&engine, &admin, sorted);
        let held = [1, 2].map(|at| self::held(&engine)[at] as u64);
        assert!(held[place - 1] > 50_000, "{held:?}");
        let bounded = |less: u64| {
            let [memory, disk] = held.map(|bytes| 2 * bytes);
            let (cursor_memory, cursor_spill) =
                if place == 1 { (memory - less, disk) } else { (memory, disk - less) };
            filled(Limits { cursor_memory, cursor_spill, ..limits }, 100)
        };
        let engine = bounded(0);
        let first = opened(&engine, &admin, sorted);
        opened(&engine, &admin, sorted);
        let engine_of_less = bounded(1);
        opened(&engine_of_less, &admin, sorted);
        refused(&engine_of_less, stream(sorted, 1, 0), Status::Busy, &[setting, "ask again"]);
        assert_eq!(figure(&engine_of_less, "open_cursors"), 1);
        // What is read holds less and less.
        let before = self::held(&engine)[1];
        ask(&engine, fetch(first));
        assert!(place == 2 || self::held(&engine)[1] < before);
        read_all(&engine, fetch(first), |_| ());
        assert_eq!(self::held(&engine)[place], held[place - 1] as i64);
    }
}

#[test]
fn a_cursor_that_nobody_fetches_from_expires() {
    let clock = Arc::new(SimClock::new(NOW));
    let engine = open_at(&clock, Limits { cursor_idle_micros: 1_000_000, ..small() });
    fill(&engine, 10);
    let cursor = opened(&engine, &admin(), "s.orderBy(n)");
    for _ in 0..3 {
        clock.advance(Duration::from_nanos(999_999_999));
        assert!(matches!(done(&engine, fetch(cursor)), Said::Page(..)), "each page is a new start");
    }
    clock.advance(Duration::from_nanos(1_000_000_000));
    unknown(&engine, &admin(), cursor);
    assert_eq!((held(&engine), figure(&engine, "expired_cursors")), ([0; 4], 1));

    // Those that nobody asks for go in bounded steps.
    let ann = |session| Principal::new("ann", Role::ReadOnly).in_session(session);
    for session in 0..20 {
        opened(&engine, &ann(session), "s");
    }
    assert!(!engine.tend().unwrap());
    assert_eq!(figure(&engine, "open_cursors"), 20);
    clock.advance(Duration::from_secs(1));
    assert!(engine.tend().unwrap(), "there are more");
    assert_eq!(figure(&engine, "open_cursors"), 4);
    assert!(!engine.tend().unwrap());
    assert_eq!((held(&engine), figure(&engine, "expired_cursors")), ([0; 4], 21));
}

#[test]
fn who_opens_a_cursor_makes_room_of_expired_ones() {
    let clock = Arc::new(SimClock::new(NOW));
    let limits = Limits { max_cursors: 2, cursor_idle_micros: 1000, ..small() };
    let engine = open_at(&clock, limits);
    fill(&engine, 10);
    let who = |name: &str| Principal::new(name, Role::ReadOnly);
    opened(&engine, &who("a"), "s");
    opened(&engine, &who("b"), "s");
    refused_as(&engine, &who("c"), stream("s", 1, 0), Status::Busy, &["max_cursors"]);
    clock.advance(Duration::from_millis(1));
    opened(&engine, &who("c"), "s");
    assert_eq!((figure(&engine, "open_cursors"), figure(&engine, "expired_cursors")), (1, 2));
}

#[test]
fn a_snapshot_that_was_let_go_of_is_said_by_name() {
    let mut options = Options { limits: small(), ..options() };
    options.storage.max_pinned_bytes = 0;
    let engine = open_on(SimDisk::new(1), options);
    done(&engine, create("s"));
    fill(&engine, 200);
    let cursor = opened(&engine, &admin(), "s");
    let sorted = opened(&engine, &admin(), "s.orderBy(n)");
    for _ in 0..3 {
        done(&engine, query("s.all().inc({n: 1})"));
        engine.flush().unwrap();
    }
    let words = &["let go of", "max_pinned_bytes"];
    let end = loop {
        match ask(&engine, fetch(cursor)) {
            Said::Page(..) => {}
            other => break other,
        }
    };
    let Said::Refused(Status::Busy, message) = end else { panic!("{end:?}") };
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    unknown(&engine, &admin(), cursor);
    // What was sorted before needs the snapshot no longer.
    assert_eq!(read_all(&engine, fetch(sorted), |_| ()).0.len(), 199);
    assert_eq!(held(&engine), [0; 4]);
}

#[test]
fn a_dropped_store_is_read_to_its_end() {
    let engine = filled(small(), 200);
    let cursor = opened(&engine, &admin(), "s");
    done(&engine, drop_store("s"));
    engine.flush().unwrap();
    assert_eq!(read_all(&engine, fetch(cursor), |_| ()).0.len(), 199);
    let engine = filled(small(), 200);
    opened(&engine, &admin(), "s");
    engine.close().unwrap();
}

#[test]
fn each_page_has_a_time_of_its_own_and_is_given_before_it_has_gone() {
    // Each look at the clock takes a millisecond; a page looks every 64 rows.
    let limits = Limits { query_micros: 10_000, ..Limits::default() };
    let clock = Arc::new(Ticking(SimClock::new(NOW)));
    let options = Options { limits, ..options() };
    let engine =
        Engine::open(SimDisk::new(1), clock, Arc::new(SimEntropy::new(1)), options).unwrap();
    done(&engine, create("s"));
    let mut batch = BatchBuf::new();
    for key in 0..5000u128 {
        batch.push(Some(Key(key)), &doc(&format!(r#"{{"n":{}}}"#, key % 2)));
    }
    done(&engine, Request::BatchInsert { store: "s", batch: batch.as_batch() });
    let (rows, pages) = read_all(&engine, query("s.filter(n = 1)"), |_| ());
    assert_eq!(rows.len(), 2500);
    assert!((6..100).contains(&pages), "{pages}");
    let scanned = |mut request: Request<'static>| {
        let (mut seen, mut pages) = (0, 0);
        loop {
            let Said::Rows(rows, next) = done(&engine, request) else { panic!() };
            (seen, pages) = (seen + rows.len(), pages + 1);
            let Some(after) = next else { return (seen, pages) };
            match &mut request {
                Request::Scan { after: key, .. } => *key = Some(Key(after)),
                Request::Range { from, .. } => *from = Key(after + 1),
                _ => panic!(),
            }
        }
    };
    let (store, reverse, limit) = ("s", false, 0);
    let scan = Request::Scan { store, after: None, limit, reverse };
    let range = Request::Range { store, from: Key::MIN, to: Key::MAX, limit, reverse };
    for request in [scan, range] {
        let (seen, pages) = scanned(request);
        assert!(seen == 5000 && (6..100).contains(&pages), "{seen} in {pages}");
    }
    // Where no row comes there is no page to be given.
    refused(&engine, query("s.filter(n = 2)"), Status::Timeout, &["longer than the 10 ms"]);
    let definition = &doc(r#"{"fields":["n"]}"#);
    done(&engine, Request::CreateIndex { store, if_not_exists: false, definition });
    while engine.tend().unwrap() {}
    let check = Request::CheckIndexes { store, index: None };
    refused(&engine, check, Status::Timeout, &["longer than the 10 ms", "query_time_ms"]);
    assert!(engine.running_queries().is_empty());
    assert_eq!(held(&engine), [0; 4]);
}
