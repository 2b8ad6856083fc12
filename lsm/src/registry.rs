//! Which snapshots live: count, oldest LSN, and the bound on their number.
//!
//! What must stay true: taking a snapshot costs one uncontended atomic exchange
//! here, no lock, unless more snapshots live than there are slots. Never more
//! than the bound are registered: there are no more slots than that, and what
//! does not find one is counted under a lock. Nothing's safety hangs on this:
//! pages and memtables live by their `Arc`s.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::Lsn;
use crate::prims::{AtomicU64, Mutex, SLOTS, TRIES};

/// A slot on a cache line of its own: 0 is free, else LSN + 1.
#[repr(align(64))]
struct Slot(AtomicU64);

/// See the module.
pub(crate) struct Registry {
    slots: Box<[Slot]>,
    overflow: Mutex<Overflow>,
    /// The most that may be registered.
    most: usize,
}

/// Those that found no slot.
#[derive(Default)]
struct Overflow {
    lsns: BTreeMap<Lsn, usize>,
    count: usize,
}

static NEXT_HINT: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    /// Where this thread looks for a free slot first: threads apart do not meet.
    static HINT: Cell<usize> = Cell::new(NEXT_HINT.fetch_add(TRIES / 4, Relaxed));
}

/// A number of this thread's own, for choosing where it looks first.
pub(crate) fn hint() -> usize {
    HINT.get() / (TRIES / 4)
}

impl Registry {
    /// At most `most` at a time.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Registry {
            slots: (0..SLOTS.min(most)).map(|_| Slot(AtomicU64::new(0))).collect(),
            overflow: Mutex::default(),
            most,
        })
    }

    /// `None` if as many as may be are registered.
    pub(crate) fn register(self: &Arc<Self>, lsn: Lsn) -> Option<Registration> {
        if let Some(slot) = self.take_slot(lsn, TRIES) {
            return Some(self.registration(lsn, Some(slot)));
        }
        let mut overflow = self.overflow.lock();
        if overflow.count < self.most - self.slots.len() {
            overflow.add(lsn);
            return Some(self.registration(lsn, None));
        }
        drop(overflow);
        // Before it is refused: any slot will do.
        let slot = self.take_slot(lsn, self.slots.len())?;
        Some(self.registration(lsn, Some(slot)))
    }

    /// Beyond the bound if need be: for a writer's own look at the latest state,
    /// of which there is one at a time.
    pub(crate) fn register_writer(self: &Arc<Self>, lsn: Lsn) -> Registration {
        self.register(lsn).unwrap_or_else(|| {
            self.overflow.lock().add(lsn);
            self.registration(lsn, None)
        })
    }

    fn registration(self: &Arc<Self>, lsn: Lsn, slot: Option<usize>) -> Registration {
        Registration { registry: Arc::clone(self), slot, lsn }
    }

    fn take_slot(&self, lsn: Lsn, tries: usize) -> Option<usize> {
        let hint = HINT.get();
        (0..tries.min(self.slots.len())).map(|i| (hint + i) % self.slots.len()).find(|slot| {
            let slot = &self.slots[*slot].0;
            slot.load(Relaxed) == 0 && slot.compare_exchange(0, lsn + 1, Relaxed, Relaxed).is_ok()
        })
    }

    /// The bound.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// How many live, and the oldest LSN among them.
    pub(crate) fn live(&self) -> (usize, Option<Lsn>) {
        let overflow = self.overflow.lock();
        let slots = self.slots.iter().filter_map(|s| s.0.load(Relaxed).checked_sub(1));
        let (mut count, mut oldest) = (overflow.count, overflow.lsns.keys().next().copied());
        for lsn in slots {
            count += 1;
            oldest = Some(oldest.map_or(lsn, |old: Lsn| old.min(lsn)));
        }
        (count, oldest)
    }
}

impl Overflow {
    fn add(&mut self, lsn: Lsn) {
        *self.lsns.entry(lsn).or_default() += 1;
        self.count += 1;
    }

    fn remove(&mut self, lsn: Lsn) {
        self.count -= 1;
        if let Some(count) = self.lsns.get_mut(&lsn) {
            *count -= 1;
            if *count == 0 {
                self.lsns.remove(&lsn);
            }
        }
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
        self.registry.overflow.lock().remove(self.lsn);
    }
}
