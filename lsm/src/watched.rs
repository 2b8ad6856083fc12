//! What one thread commits, for who traces it.
//!
//! What must stay true: a commit on a thread that nobody watches costs one look at a
//! cell of that thread's.

use std::cell::RefCell;

use platform::Clock;

use crate::Lsn;
use crate::batch::Batch;

/// A commit, with moments in the store's monotonic nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its number.
    pub lsn: Lsn,
    /// When it asked for room.
    pub begun: u64,
    /// When its frame was in the log, and its writes in the memtables.
    pub logged: u64,
    /// When it was acknowledged: in sync mode once it was durable.
    pub ended: u64,
}

thread_local! {
    static WATCHED: RefCell<Option<Vec<Committed>>> = const { RefCell::new(None) };
}

/// Does something, and gives what this thread committed meanwhile.
pub fn watched<T>(f: impl FnOnce() -> T) -> (T, Vec<Committed>) {
    let before = WATCHED.replace(Some(Vec::new()));
    let out = f();
    (out, WATCHED.replace(before).unwrap_or_default())
}

/// A commit being made; nothing if nobody watches.
pub(crate) struct Seen<'a> {
    clock: &'a dyn Clock,
    moments: Option<(u64, u64)>,
}

impl<'a> Seen<'a> {
    pub(crate) fn begin(clock: &'a dyn Clock) -> Seen<'a> {
        let is_watched = WATCHED.with_borrow(Option::is_some);
        let moments = is_watched.then(|| clock.monotonic_nanos()).map(|now| (now, now));
        Seen { clock, moments }
    }

    pub(crate) fn logged(&mut self) {
        if let Some((_, logged)) = &mut self.moments {
            *logged = self.clock.monotonic_nanos();
        }
    }

    /// The batch was acknowledged as commit `lsn`; an empty one is none.
    pub(crate) fn end(self, lsn: Lsn, batch: &Batch) {
        let Some((begun, logged)) = self.moments.filter(|_| !batch.is_empty()) else { return };
        let ended = self.clock.monotonic_nanos();
        WATCHED.with_borrow_mut(|watched| {
            watched.iter_mut().for_each(|all| all.push(Committed { lsn, begun, logged, ended }));
        });
    }
}
