//! Going on from a token: wherever a page ends, whoever writes, over restarts and power
//! cuts. No event is missing, none comes twice.

use std::sync::Arc;
use std::time::Duration;

use platform::sim::SimClock;
use proto::request::BatchBuf;
use proto::{Key, Request};

use super::*;
use crate::Options;

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// A random commit to `s` or `other`.
fn write(engine: &Engine, dice: &mut Dice) {
    let key = Key(u128::from(dice.roll(20)));
    let document = doc(&format!(
        r#"{{"n":{},"t":"{}"}}"#,
        dice.roll(1000),
        "x".repeat(dice.roll(300) as usize)
    ));
    let store = if dice.roll(3) == 0 { "other" } else { "s" };
    match dice.roll(5) {
        0 => drop(ask(engine, Request::Delete { store, key })),
        1 => {
            let mut batch = BatchBuf::new();
            (0..dice.roll(30)).for_each(|_| batch.push(None, &document));
            done(engine, Request::BatchInsert { store, batch: batch.as_batch() });
        }
        2 => drop(ask(engine, query("s.filter(n < 100).delete()"))),
        _ => drop(done(engine, Request::Update { store, key, document: &document, upsert: true })),
    }
}

/// With a log of many segments, all of which are kept.
fn small(mut options: Options) -> Options {
    options.storage.wal_segment_bytes = 8 << 10;
    options.storage.wal_keep_bytes = 64 << 20;
    options
}

/// After a shutdown, a kill or a power cut.
fn anew(engine: Engine, disk: &mut Arc<SimDisk>, how: u64, options: Options) -> Engine {
    if how == 0 {
        engine.close().unwrap();
    } else {
        *disk = if how == 1 { disk.kill() } else { disk.restart_worst() };
        drop(engine);
    }
    *disk = disk.restart();
    open_on(Arc::clone(disk), options)
}

#[test]
fn however_pages_are_cut_and_gone_on_from_each_event_comes_once() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let mut disk = SimDisk::new(seed);
        let mut engine = open_on(disk.clone(), small(synced()));
        done(&engine, create("s"));
        done(&engine, create("other"));
        let start = engine.lsm.last_lsn().to_string();
        // A few who follow by pages of their own, and stop anywhere.
        let stores =
            [r#"["s"]"#, r#"["s", "other"]"#, r#"[{"store": "other", "filter": "n < 500"}]"#];
        let mut followers: Vec<(usize, String, Vec<Event>)> =
            (0..6).map(|n| (n % 3, start.clone(), Vec::new())).collect();
        for round in 0..60 {
            for _ in 0..dice.roll(6) {
                write(&engine, &mut dice);
            }
            for (which, since, events) in &mut followers {
                if dice.roll(3) == 0 {
                    continue;
                }
                let most = [3000, 30_000][dice.roll(2) as usize];
                let bytes = 1 + dice.roll(most);
                let stores = stores[*which];
                let what =
                    format!(r#"{{"stores": {stores}, "since": {since}, "max_bytes": {bytes}}}"#);
                let got = watch(&engine, &what);
                // It comes back as if some of them had been lost.
                let kept = dice.roll(got.events.len() as u64 + 2) as usize;
                *since = match got.events.get(kept) {
                    Some(_) if kept > 0 => {
                        let Event { lsn, at, last, .. } = got.events[kept - 1];
                        format!("{:?}", placed(&got.next, lsn, if last { 0 } else { at }))
                    }
                    Some(_) => continue,
                    None => format!("{:?}", got.next),
                };
                let taken = kept.min(got.events.len());
                events.extend(got.events.into_iter().take(taken));
            }
            if dice.roll(15) == 0 {
                done(&engine, Request::Flush);
            }
            if round % 20 == 19 {
                engine = anew(engine, &mut disk, dice.roll(3), small(synced()));
            }
        }
        for (which, since, events) in &mut followers {
            events.extend(all_since(&engine, stores[*which], since));
            assert_eq!(*events, all_since(&engine, stores[*which], &start), "seed {seed}");
        }
    }
}

#[test]
fn what_a_power_cut_takes_back_was_told_to_nobody() {
    for seed in 0..8 {
        let mut dice = Dice(seed);
        let mut disk = SimDisk::new(seed);
        let mut engine = open_on(disk.clone(), small(options()));
        done(&engine, create("s"));
        done(&engine, create("other"));
        engine.sync().unwrap();
        let start = engine.lsm.last_lsn().to_string();
        let (mut since, mut told) = (start.clone(), Vec::new());
        for _ in 0..8 {
            for _ in 0..4 {
                let before = all_since(&engine, r#"["s"]"#, &since);
                write(&engine, &mut dice);
                // In the kernel, and not yet told.
                assert_eq!(all_since(&engine, r#"["s"]"#, &since), before);
                if dice.roll(2) == 0 {
                    engine.sync().unwrap();
                    let got = watch(&engine, &format!(r#"{{"stores": ["s"], "since": {since}}}"#));
                    assert_eq!(got.durable as u64, engine.lsm.last_lsn());
                    since = format!("{:?}", got.next);
                    told.extend(got.events);
                }
            }
            // What was not synced is gone; its numbers are given again.
            engine = anew(engine, &mut disk, 2, small(options()));
            let now = all_since(&engine, r#"["s"]"#, &start);
            assert_eq!(now[..told.len().min(now.len())], told, "seed {seed}");
            told.extend(all_since(&engine, r#"["s"]"#, &since));
            assert_eq!(now, told, "seed {seed}");
            since = format!(
                "{:?}",
                watch(
                    &engine,
                    &format!(r#"{{"stores": ["s"], "since": {since}, "max_bytes": 8000000}}"#)
                )
                .next
            );
        }
    }
}

#[test]
fn a_commit_is_cut_only_if_it_alone_is_larger_than_a_page() {
    let engine = told_at_once();
    let since = engine.lsm.last_lsn().to_string();
    insert(&engine, 1, "{}");
    let filled = doc(&format!(r#"{{"t":"{}"}}"#, "x".repeat(200)));
    let mut batch = BatchBuf::new();
    (2..12).for_each(|key| batch.push(Some(Key(key)), &filled));
    done(&engine, Request::BatchInsert { store: "s", batch: batch.as_batch() });
    insert(&engine, 12, "{}");
    let page = |since: &str, bytes: usize| {
        watch(&engine, &format!(r#"{{"stores": ["s"], "since": {since}, "max_bytes": {bytes}}}"#))
    };
    let keys = |got: &Got| got.events.iter().map(|e| (e.key, e.last)).collect::<Vec<_>>();
    // It does not fit behind the first one, and would not alone.
    let first = page(&since, 1500);
    assert_eq!(keys(&first), [(1, true)]);
    let mut next = first.next;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let got = page(&format!("{next:?}"), 1500);
        assert!(got.bytes < 1500 + 400);
        seen.push(keys(&got));
        next = got.next;
    }
    let cut = |from: u128, to: u128| (from..=to).map(|key| (key, key == 11)).collect::<Vec<_>>();
    assert_eq!(seen, [cut(2, 4), cut(5, 7), cut(8, 10), vec![(11, true), (12, true)]]);
    // Where it fits alone it is on a page of its own, or with others, whole.
    let got = page(&since, 6000);
    assert_eq!(keys(&got).len(), 12);
    let got = page(&since, 4800);
    assert_eq!(keys(&got), [(1, true)]);
    let got = page(&format!("{:?}", got.next), 4800);
    assert_eq!(keys(&got), cut(2, 11));
    // The least there is: one event.
    assert_eq!(page(&since, 1).events.len(), 1);
    let small = placed(&got.next, got.events[0].lsn, 1);
    assert_eq!(keys(&page(&format!("{small:?}"), 1)), cut(3, 4));
}

#[test]
fn a_page_ends_after_so_much_of_the_log_with_or_without_an_event() {
    let engine = told_at_once();
    done(&engine, create("other"));
    let start = engine.lsm.last_lsn();
    let large = doc_of((1 << 20) + 1000);
    for key in 0..25 {
        let (store, key, document) = ("other", Some(Key(key)), &large);
        done(&engine, Request::Insert { store, key, document });
    }
    insert(&engine, 1, "{}");
    let got = watch(&engine, &format!(r#"{{"stores": ["s"], "since": {start}}}"#));
    assert_eq!(got.events.len(), 1);
    for _ in 0..50 {
        let (store, key, document) = ("other", Key(1), &large);
        done(&engine, Request::Update { store, key, document, upsert: false });
    }
    insert(&engine, 2, "{}");
    let got = watch(&engine, &format!(r#"{{"stores": ["s"], "since": {}}}"#, start + 26));
    assert_eq!(got.events.len(), 1);
    let got = watch(&engine, &format!(r#"{{"stores": ["s"], "since": {start}}}"#));
    // 64 reads of one commit each, but for the small one, behind which a read goes on.
    assert_eq!((got.events.len(), got.next.ends_with(&format!(".{}.0", start + 65))), (1, true));
    let got = watch(&engine, &format!(r#"{{"stores": ["s"], "since": {:?}}}"#, got.next));
    assert_eq!(got.lines(), ["insert s 2 {}."]);
}

#[test]
fn the_documents_of_a_snapshot_and_what_came_since_are_the_store() {
    for seed in 20..26 {
        let mut dice = Dice(seed);
        let disk = SimDisk::new(seed);
        let engine = open_on(disk, small(synced()));
        done(&engine, create("s"));
        done(&engine, create("other"));
        (0..40).for_each(|_| write(&engine, &mut dice));
        // The snapshot of a transaction that only reads.
        let mut out = Vec::new();
        engine.dispatch(&admin(), 77, Request::Begin { read_only: true, millis: 0 }, &mut out);
        let Reply::Document(begun) = Reply::decode(&out).unwrap().1 else { panic!() };
        let begun = Doc::parse(begun).unwrap();
        let number = |name| begun.get(name).and_then(|v| v.as_i64()).unwrap();
        let (transaction, since) = (number("transaction") as u64, number("lsn"));
        (0..10).for_each(|_| write(&engine, &mut dice));
        let scan = Request::Scan { store: "s", after: None, limit: 0, reverse: false };
        let said = crate::tests::transactions::within_as(&engine, &admin(), transaction, scan);
        let Said::Rows(rows, None) = said else { panic!("{said:?}") };
        let mut copy: std::collections::BTreeMap<u128, String> = rows
            .iter()
            .map(|row| row.split_once(' ').unwrap())
            .map(|(key, document)| (key.parse().unwrap(), document.to_owned()))
            .collect();
        (0..40).for_each(|_| write(&engine, &mut dice));
        for event in all_since(&engine, r#"["s"]"#, &since.to_string()) {
            let there = match &event.document {
                Some(document) => copy.insert(event.key, document.clone()),
                None => copy.remove(&event.key),
            };
            assert_eq!(there.is_some(), event.op != "insert", "seed {seed}: {event:?}");
        }
        let copy: Vec<String> = copy.iter().map(|(key, doc)| format!("{key} {doc}")).collect();
        assert_eq!(copy, all(&engine), "seed {seed}");
    }
}

#[test]
fn threads_that_write_and_watch_see_one_order() {
    let engine = open_on(SimDisk::new(1), small(synced()));
    done(&engine, create("s"));
    let start = engine.lsm.last_lsn().to_string();
    let (writers, each) = (3_u64, 120);
    let told: Vec<Vec<Event>> = std::thread::scope(|scope| {
        for writer in 0..writers {
            let engine = &engine;
            scope.spawn(move || {
                for n in 0..each {
                    insert(engine, u128::from(writer * 1000 + n), &format!(r#"{{"n":{n}}}"#));
                }
            });
        }
        let watchers: Vec<_> = (0..3)
            .map(|nth| {
                let (engine, start) = (&engine, start.clone());
                scope.spawn(move || {
                    let (mut events, mut since, mut dice) = (Vec::new(), start, Dice(nth));
                    while events.len() < (writers * each) as usize {
                        let bytes = 1 + dice.roll(5000);
                        let what = format!(
                            r#"{{"stores": ["s"], "since": {since}, "max_bytes": {bytes}}}"#
                        );
                        let got = watch(engine, &what);
                        // What is told of can be read.
                        for event in got.events.iter().take(3) {
                            assert!(!matches!(done(engine, read(event.key)), Said::Empty));
                        }
                        since = format!("{:?}", got.next);
                        events.extend(got.events);
                    }
                    events
                })
            })
            .collect();
        watchers.into_iter().map(|watcher| watcher.join().unwrap()).collect()
    });
    let all = all_since(&engine, r#"["s"]"#, &start);
    assert!(all.windows(2).all(|pair| (pair[0].lsn, pair[0].at) < (pair[1].lsn, pair[1].at)));
    for events in told {
        assert_eq!(events, all);
    }
}

#[test]
fn what_is_held_for_watchers_is_bounded_and_let_go_of() {
    let clock = Arc::new(SimClock::new(NOW));
    let engine = open_at(Arc::clone(&clock), SimDisk::new(1), synced());
    done(&engine, create("s"));
    let start = engine.lsm.last_lsn().to_string();
    let document = doc_of(256 << 10);
    let put = |key| {
        let (store, key, document) = ("s", Some(Key(key)), &document);
        done(&engine, Request::Insert { store, key, document });
    };
    // Nobody watches: nothing is held.
    (0..8).for_each(put);
    assert_eq!(engine.figures().unwrap().watches.memory, 0);
    // Somebody is behind, another one comes along: of what was read once, 4 MiB.
    let mut since = engine.lsm.last_lsn().to_string();
    for key in 8..60 {
        put(key);
        let got = watch(&engine, &format!(r#"{{"stores": ["s"], "since": {since}}}"#));
        assert_eq!(got.events.len(), 1);
        since = format!("{:?}", got.next);
        let held = engine.figures().unwrap().watches.memory;
        assert!((256 << 10..=4 << 20).contains(&held), "{held}");
    }
    assert_eq!(all_since(&engine, r#"["s"]"#, &start).len(), 60);
    assert!(engine.figures().unwrap().watches.behind >= 52);
    assert_eq!(engine.figures().unwrap().storage.log_holders, 1);
    clock.advance(Duration::from_secs(131));
    engine.tend().unwrap();
    let figures = engine.figures().unwrap();
    assert_eq!((figures.watches.memory, figures.watches.behind), (0, 0));
    assert_eq!(figures.storage.log_holders, 0);
}
