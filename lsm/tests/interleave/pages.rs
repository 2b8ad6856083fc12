//! Inner pages that are kept by what refers to them (`btree/src/pins.rs`).

use std::sync::Arc;

use loom::thread;

use crate::explore;
use crate::node::Page;
use crate::pins::{Bound, Pins};

fn get(pins: &Pins, place: usize) -> bool {
    pins.get(place, || Ok::<_, ()>(Arc::new(Page))).unwrap().is_some()
}

#[test]
fn no_more_pages_than_the_bound_and_each_is_counted_once() {
    // The same page for both; one each, with room for one, and for both.
    for (theirs, most) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
        explore(move || {
            let bound = Bound::new(most);
            let pins = Arc::new(Pins::new(2, &bound));
            let other = {
                let pins = Arc::clone(&pins);
                thread::spawn(move || get(&pins, theirs))
            };
            let mine = get(&pins, 0);
            assert!(bound.held() <= most, "more than the bound");
            let theirs_kept = other.join().unwrap();
            assert!(mine || theirs_kept, "nobody keeps what there is room for");
            let kept = if theirs == 0 { 1 } else { usize::from(mine) + usize::from(theirs_kept) };
            assert_eq!(bound.held(), kept, "pages are counted as often as they are kept");
            drop(pins);
            assert_eq!(bound.held(), 0, "places are given back");
        });
    }
}
