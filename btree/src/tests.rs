//! Tests of pinned pages. They are not in `pins.rs`, since `lsm/tests/interleave` compiles
//! its text too.

use std::sync::Arc;

use crate::node::{Page, build};
use crate::pins::{Bound, Pins};
use crate::run::Run;

fn page(number: u32) -> Arc<Page> {
    let mut run = Run::default();
    run.push(b"", &number.to_be_bytes(), b"v");
    Arc::new(build(&run, 0..1, 1, 1, 0, number))
}

#[test]
fn the_bound_holds_and_places_are_given_back() {
    // given: room for three
    let bound = Bound::new(3);
    let pins = Pins::new(4, &bound);
    let get = |pins: &Pins, i: usize| {
        pins.get(i, || Ok::<_, ()>(page(i as u32))).unwrap().map(|p| p.checksum())
    };
    assert_eq!((0..3).map(|i| get(&pins, i).is_some()).collect::<Vec<_>>(), [true; 3]);
    // then: a fourth is not kept, those kept are not loaded again
    assert_eq!(get(&pins, 3), None);
    assert_eq!(get(&pins, 9), None);
    let again = pins.get(1, || Err(())).unwrap().unwrap();
    assert_eq!(again.checksum(), page(1).checksum());
    assert_eq!(bound.held(), 3);
    // when: they go, then: there is room
    let other = Pins::new(1, &bound);
    assert_eq!(get(&other, 0), None);
    drop(pins);
    assert!(get(&other, 0).is_some());
    assert_eq!(bound.held(), 1);
    // a failed load keeps nothing
    let more = Pins::new(1, &bound);
    assert!(more.get(0, || Err(())).is_err());
    assert_eq!(bound.held(), 1);
}

#[test]
fn many_threads_pin_a_page_once() {
    let bound = Bound::new(100);
    let pins = Pins::new(50, &bound);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..50 {
                    assert!(pins.get(i, || Ok::<_, ()>(page(i as u32))).unwrap().is_some());
                }
            });
        }
    });
    assert_eq!(bound.held(), 50);
    drop(pins);
    assert_eq!(bound.held(), 0);
}
