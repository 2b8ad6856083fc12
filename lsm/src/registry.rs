//! Which snapshots live, for the stats: count and oldest LSN.
//!
//! What must stay true: taking a snapshot costs one uncontended atomic exchange
//! here, no lock, unless more snapshots live than there are slots. Nothing's
//! safety hangs on this: pages and memtables live by their `Arc`s.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use parking_lot::Mutex;

use crate::Lsn;

const SLOTS: usize = 256;
/// Slots tried before giving up and taking the lock.
const TRIES: usize = 64;

/// A slot on a cache line of its own: 0 is free, else LSN + 1.
#[repr(align(64))]
struct Slot(AtomicU64);

/// See the module.
pub(crate) struct Registry {
    slots: Box<[Slot]>,
    overflow: Mutex<BTreeMap<Lsn, usize>>,
}

static NEXT_HINT: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    /// Where this thread looks for a free slot first: threads apart do not meet.
    static HINT: Cell<usize> = Cell::new(NEXT_HINT.fetch_add(TRIES / 4, Relaxed));
}

impl Registry {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Registry {
            slots: (0..SLOTS).map(|_| Slot(AtomicU64::new(0))).collect(),
            overflow: Mutex::default(),
        })
    }

    pub(crate) fn register(self: &Arc<Self>, lsn: Lsn) -> Registration {
        let hint = HINT.get();
        let slot = (0..TRIES).map(|i| (hint + i) % SLOTS).find(|slot| {
            let slot = &self.slots[*slot].0;
            slot.load(Relaxed) == 0 && slot.compare_exchange(0, lsn + 1, Relaxed, Relaxed).is_ok()
        });
        if slot.is_none() {
            *self.overflow.lock().entry(lsn).or_default() += 1;
        }
        Registration { registry: Arc::clone(self), slot, lsn }
    }

    /// How many live, and the oldest LSN among them.
    pub(crate) fn live(&self) -> (usize, Option<Lsn>) {
        let overflow = self.overflow.lock();
        let slots = self.slots.iter().filter_map(|s| s.0.load(Relaxed).checked_sub(1));
        let (mut count, mut oldest) = (overflow.values().sum(), overflow.keys().next().copied());
        for lsn in slots {
            count += 1;
            oldest = Some(oldest.map_or(lsn, |old: Lsn| old.min(lsn)));
        }
        (count, oldest)
    }
}

/// One live snapshot; dropped with it.
pub(crate) struct Registration {
    registry: Arc<Registry>,
    slot: Option<usize>,
    lsn: Lsn,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.registry.slots[slot].0.store(0, Relaxed);
            return;
        }
        let mut overflow = self.registry.overflow.lock();
        if let Some(count) = overflow.get_mut(&self.lsn) {
            *count -= 1;
            if *count == 0 {
                overflow.remove(&self.lsn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_beyond_the_slots() {
        let registry = Registry::new();
        assert_eq!(registry.live(), (0, None));
        let mut held: Vec<_> = (0..1000).map(|lsn| registry.register(lsn + 5)).collect();
        assert_eq!(registry.live(), (1000, Some(5)));
        held.drain(..10);
        assert_eq!(registry.live(), (990, Some(15)));
        drop(held);
        assert_eq!(registry.live(), (0, None));
    }
}
