//! Queries that change documents while others do: nothing is lost, nothing is changed
//! that was not chosen, and nobody waits for a scan.

use std::sync::Arc;

use platform::sim::SimDisk;
use proto::{Key, Request};

use super::kit::*;
use crate::Engine;

fn filled() -> Engine {
    let engine = with_store();
    done(&engine, create("t"));
    for key in 0..10 {
        insert(&engine, key, &format!(r#"{{"n":{key},"x":0}}"#));
    }
    engine
}

fn write(engine: &Engine, text: &str) {
    done(engine, query(text));
}

/// What the query changed, with `others` written between its choice and its change.
fn around(engine: &Engine, text: &str, others: &[&str]) -> Option<u64> {
    let changed = engine.change_around(text, || {
        for other in others {
            match *other {
                "flush" => drop(engine.lsm.flush().unwrap()),
                "drop" => {
                    done(engine, drop_store("s"));
                    done(engine, create("s"));
                }
                other => write(engine, other),
            }
        }
    });
    changed.unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"))
}

#[test]
fn what_was_chosen_is_changed_only_as_it_was_chosen() {
    let set = "s.filter(n < 5).set({y: 1})";
    let cases: &[(&str, &[&str], Option<u64>)] = &[
        // Nobody else; another store; other documents; new ones that meet the filter.
        (set, &[], Some(5)),
        (set, &["t.insert({n: 1})"], Some(5)),
        (set, &["s.filter(n = 7).set({x: 3})"], Some(5)),
        (set, &["s.insert({n: 3, x: 9})"], Some(6)),
        (set, &["s.filter(n = 7).set({n: 2})", "flush"], Some(6)),
        // One of the chosen: changed, changed and back to what it was, gone, gone to disk.
        (set, &["s.filter(n = 3).set({x: 3})"], Some(5)),
        (set, &["s.filter(n = 3).set({x: 3})", "s.filter(n = 3).set({x: 0})"], Some(5)),
        (set, &["s.filter(n = 3).set({n: 9})"], Some(4)),
        (set, &["s.filter(n = 3).delete()"], Some(4)),
        (set, &["s.filter(n < 9).delete()"], Some(0)),
        (set, &["s.filter(n = 3).set({x: 3})", "flush"], Some(5)),
        (set, &["drop"], None),
        // Those that go.
        ("s.filter(n < 5).delete()", &["s.filter(n = 3).set({x: 3})"], Some(5)),
        ("s.filter(n < 5).delete()", &["s.filter(n = 3).set({n: 8})"], Some(4)),
        ("s.filter(n < 5).delete()", &["s.filter(n = 3).delete()"], Some(4)),
        ("s.filter(n < 5).delete().returning(before)", &["s.filter(n = 3).set({x: 3})"], Some(5)),
        ("s.all().delete()", &["s.filter(n = 3).set({x: 3})"], Some(10)),
        ("s.all().delete()", &["s.insert({n: 30})"], Some(11)),
        ("s.all().delete()", &["s.filter(n = 3).delete()"], Some(9)),
        // Some of those that meet the filter.
        ("s.all().orderBy(n desc).limit(2).set({y: 1})", &["s.insert({n: 30})"], None),
        ("s.all().orderBy(n desc).limit(2).set({y: 1})", &["s.filter(n = 9).delete()"], None),
        ("s.all().orderBy(n desc).limit(2).set({y: 1})", &["s.filter(n = 9).set({x: 5})"], None),
        ("s.filter(n > 5).orderBy(n).limit(2).set({y: 1})", &["s.filter(n = 3).delete()"], Some(2)),
        ("s.all().limit(2).delete()", &["s.filter(n = 0).set({x: 5})"], None),
        ("s.all().orderBy(n).skip(1).limit(2).set({y: 1})", &["s.filter(n = 0).delete()"], None),
        ("s.all().orderBy(n).skip(1).limit(2).set({y: 1})", &["t.insert({n: 0})"], Some(2)),
        // A document is made only where there is still none.
        ("s.filter(n = 77).upsert({n: 77})", &[], Some(1)),
        ("s.filter(n = 77).upsert({n: 77})", &["t.insert({n: 77})"], Some(1)),
        ("s.filter(n = 77).upsert({n: 77})", &["s.insert({n: 77})"], Some(1)),
        ("s.filter(n = 77).upsert({n: 77})", &["s.insert({n: 78})"], Some(1)),
        ("s.filter(n = 77).upsert({n: 77})", &["s.insert({n: 77})", "flush"], Some(1)),
    ];
    for (text, others, wanted) in cases {
        let engine = filled();
        assert_eq!(around(&engine, text, others), *wanted, "{text} around {others:?}");
        let changed = all(&engine).iter().filter(|row| row.contains("\"y\"")).count() as u64;
        if text.contains("set({y") {
            assert_eq!(changed, wanted.unwrap_or(0), "{text} around {others:?}");
        }
        if text.contains("upsert") {
            let made = all(&engine).iter().filter(|row| row.contains("\"n\":77")).count();
            assert_eq!(made, 1, "{text} around {others:?}");
        }
        // Chosen anew it is carried out all the same.
        if wanted.is_none() {
            write(&engine, text);
        }
        assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
    }
}

#[test]
fn nothing_is_lost_and_nothing_made_twice_between_many() {
    let engine = Arc::new(open_on(SimDisk::new(1), options()));
    done(&engine, create("s"));
    let unique = doc(r#"{"name":"u","fields":["u"],"unique":true}"#);
    done(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition: &unique });
    while engine.tend().unwrap() {}
    for key in 0..40 {
        insert(&engine, key, r#"{"kind":"counter","n":0,"m":0}"#);
    }
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 15;
    let taken: u64 = std::thread::scope(|scope| {
        let work = |thread: u64| {
            let engine = Arc::clone(&engine);
            move || {
                let mut taken = 0;
                for round in 0..ROUNDS {
                    // All of them, without an index; one of them by its key; one by name,
                    // made by whoever comes first; a value that only one may have.
                    write(&engine, r#"s.filter(kind = "counter").inc({n: 1})"#);
                    let key = Key(u128::from(thread * 7 + round) % 40);
                    write(&engine, &format!(r#"s.filter(key = "{key}").inc({{m: 1}})"#));
                    let name = format!(
                        r#"s.filter(name = "of {round}").upsert({{name: "of {round}", by: {thread}}})"#
                    );
                    write(&engine, &name);
                    let claim = format!(r#"s.filter(key = "{key}").set({{u: {round}}})"#);
                    taken += u64::from(!matches!(ask(&engine, query(&claim)), Said::Refused(..)));
                    // A job is taken by one.
                    write(&engine, r#"s.insert({job: "new"})"#);
                    write(
                        &engine,
                        r#"s.filter(job = "new").orderBy(key).limit(1).set({job: "taken"}).inc({by_how_many: 1})"#,
                    );
                }
                taken
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let sum = |text: &str| match done(&engine, query(text)) {
        Said::Rows(rows, None) => rows.join(" "),
        other => panic!("{other:?}"),
    };
    let total = THREADS * ROUNDS;
    assert_eq!(
        sum(r#"s.filter(kind = "counter").aggregate(least: min(n), most: max(n), m: sum(m))"#),
        format!(r#"{{"least":{total},"most":{total},"m":{total}}}"#)
    );
    assert!(taken >= ROUNDS.min(40), "{taken}");
    let count = |text: &str| match done(&engine, query(text)) {
        Said::Count(n) => n,
        other => panic!("{other:?}"),
    };
    assert_eq!(count("s.filter(by exists).count()"), ROUNDS);
    assert_eq!(count(r#"s.filter(job = "taken").count()"#), total);
    assert_eq!(count("s.filter(by_how_many > 1).count()"), 0);
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
}
