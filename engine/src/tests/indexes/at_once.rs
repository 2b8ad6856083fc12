//! Writers, builds and changes of the catalog at once.

use proto::{Key, Request, Status};

use super::super::kit::*;
use super::{built, entries, index};
use crate::Limits;
use crate::auth::Wanted;
use crate::index::Phase;

#[test]
fn a_write_under_an_older_catalog_keeps_an_index_made_since() {
    let engine = with_store();
    let before = engine.catalogs.read();
    index(&engine, r#"{"name": "i", "fields": ["m"], "filter": "m > 1"}"#);
    let snapshot = engine.lsm.snapshot().unwrap();
    let store = engine.catalogs.resolve(&before, &snapshot, Wanted::own("s")).unwrap();
    assert_eq!(store.indexes.len(), 1);
    assert_eq!(store.indexes[0].phase, Phase::Building);
    assert_eq!(
        store.indexes[0].definition,
        engine.catalogs.read().stores["s"].indexes[0].definition
    );
}

#[test]
fn writers_at_once_get_one_value_once() {
    let engine = open_with(Limits::default());
    built(&engine, r#"{"name": "i", "fields": ["m"], "unique": true}"#);
    let won: u32 = std::thread::scope(|scope| {
        let writer = |thread: u128| {
            let engine = &engine;
            scope.spawn(move || {
                let mut won = 0;
                for n in 0..100u128 {
                    let document = doc(&format!(r#"{{"m":{n}}}"#));
                    let key = Some(Key(thread * 1000 + n));
                    let request = Request::Insert { store: "s", key, document: &document };
                    match ask(engine, request) {
                        Said::Key(_) => won += 1,
                        Said::Refused(Status::NotUnique, _) => {}
                        other => panic!("{other:?}"),
                    }
                }
                won
            })
        };
        let threads: Vec<_> = (1..4).map(writer).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(won, 100);
    assert_eq!(entries(&engine, "i"), 100);
}

#[test]
fn writers_at_once_with_builds_leave_no_entry_behind() {
    let engine = with_store();
    for key in 0..600 {
        insert(&engine, key, &format!(r#"{{"m":{key}}}"#));
    }
    let over = std::sync::atomic::AtomicBool::new(false);
    /// Ends the writers, also if the test fails.
    struct Ends<'a>(&'a std::sync::atomic::AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        for thread in 0..2u128 {
            let (engine, over) = (&engine, &over);
            scope.spawn(move || {
                let mut n = thread;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let key = Key(n * 7919 % 600);
                    let document = doc(&format!(r#"{{"m":[{n},{}]}}"#, n % 5));
                    if n % 9 == 0 {
                        ask(engine, Request::Delete { store: "s", key });
                    } else {
                        let document = &document[..];
                        done(engine, Request::Update { store: "s", key, document, upsert: true });
                    }
                    n += 2;
                }
            });
        }
        for round in 0..30 {
            built(&engine, &format!(r#"{{"name":"i{round}","fields":["m"]}}"#));
            if round % 3 == 2 {
                // Not still: whoever writes meanwhile must not look like a fault.
                assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
                for gone in round - 2..=round {
                    let index = format!("i{gone}");
                    done(
                        &engine,
                        Request::DropIndex { store: "s", index: &index, if_exists: false },
                    );
                }
            }
        }
        built(&engine, r#"{"name":"last","fields":["m"]}"#);
    });
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
}
