//! How far the inputs of a target got: what they came to, by name.
//!
//! Must stay true: a mark changes nothing but the tally of this thread; under the
//! fuzzer, which has its own counters, it costs nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;

thread_local! {
    static TALLY: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Says that an input came here: the name of a place, or what an error says.
pub fn reached(place: impl Display) {
    if !cfg!(feature = "programs") {
        TALLY.with_borrow_mut(|tally| *tally.entry(place.to_string()).or_default() += 1);
    }
}

/// As [`reached`], of a result: what it is when it is one, or its error.
pub fn came_to<T, E: Display>(result: &Result<T, E>, place: &str) {
    match result {
        Ok(_) => reached(place),
        Err(error) => reached(error),
    }
}

/// What this thread's inputs came to since the last call, and how often.
pub fn take() -> BTreeMap<String, u64> {
    TALLY.take()
}
