//! What `src/prims.rs` names, of loom, and small.

use std::ops::Deref;
use std::sync::Arc;

use loom::sync::MutexGuard;
use loom::sync::atomic::Ordering::{AcqRel, Acquire};
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

pub(crate) const SLOTS: usize = 2;
pub(crate) const TRIES: usize = 4;
pub(crate) const SHARDS: usize = 2;
pub(crate) const MAX_OPEN_FILES: usize = 1;

/// parking_lot's interface.
#[derive(Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// As arc_swap's: a load gives what was swapped in last, and all that was done before
/// that swap; it tells nobody anything itself.
pub(crate) struct ArcSwapOption<T> {
    now: AtomicUsize,
    /// What was ever in it. Not loom's: only `now` leads there.
    all: std::sync::Mutex<Vec<Option<Arc<T>>>>,
}

impl<T> ArcSwapOption<T> {
    pub(crate) fn new(value: Option<Arc<T>>) -> Self {
        ArcSwapOption { now: AtomicUsize::new(0), all: std::sync::Mutex::new(vec![value]) }
    }

    pub(crate) fn empty() -> Self {
        ArcSwapOption::new(None)
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        drop(self.swap(value));
    }

    pub(crate) fn load_full(&self) -> Option<Arc<T>> {
        // What changes a value reads the newest.
        let now = self.now.fetch_add(0, Acquire);
        self.all.lock().unwrap()[now].clone()
    }

    pub(crate) fn load(&self) -> Guard<Option<Arc<T>>> {
        Guard(self.load_full())
    }

    pub(crate) fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        let next = {
            let mut all = self.all.lock().unwrap();
            all.push(value);
            all.len() - 1
        };
        let last = self.now.swap(next, AcqRel);
        self.all.lock().unwrap()[last].take()
    }
}

/// As arc_swap's.
pub(crate) struct ArcSwap<T>(ArcSwapOption<T>);

impl<T> ArcSwap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        ArcSwap(ArcSwapOption::new(Some(value)))
    }

    pub(crate) fn from_pointee(value: T) -> Self {
        ArcSwap::new(Arc::new(value))
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        drop(self.swap(value));
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        self.0.load_full().unwrap()
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        Guard(self.load_full())
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        self.0.swap(Some(value)).unwrap()
    }
}

/// What a load gave.
pub(crate) struct Guard<T>(T);

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// As the standard library's: whoever gets a value has seen it written.
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    /// Not loom's: only `is_set` leads there.
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        OnceLock { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        if self.is_set.swap(true, AcqRel) { Err(value) } else { self.value.set(value) }
    }
}
