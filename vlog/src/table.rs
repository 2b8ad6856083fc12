//! The segments as readers see them: found, opened and read without a lock.
//!
//! Must stay true:
//! * the table is swapped whole, so a reader sees one state of it; who changes it
//!   holds `change`;
//! * a reader's segment, file and mapping live until it is done, whatever is
//!   removed or closed meanwhile;
//! * readers write nothing that other readers read, but for a flag that is false
//!   once between two looks of the eviction: they scale.

use crate::prims::{ArcSwap, ArcSwapOption, AtomicBool, AtomicU64, Guard, MAX_OPEN_FILES, Mutex};
use platform::{File, Mapped};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// All segments.
pub(crate) struct Table {
    /// By number.
    list: ArcSwap<Vec<Arc<Segment>>>,
    change: Mutex<()>,
}

/// One segment.
pub(crate) struct Segment {
    pub(crate) id: u32,
    /// Bytes that are durable and may be read, header included.
    len: AtomicU64,
    open: ArcSwapOption<Opened>,
    /// Read since the last look of the eviction.
    used: AtomicBool,
}

/// A segment's file, open for reading.
pub(crate) struct Opened {
    pub(crate) file: Arc<dyn File>,
    /// Its bytes in memory, where that is possible.
    pub(crate) map: Option<Arc<dyn Mapped>>,
}

impl Segment {
    pub(crate) fn new(id: u32, len: u64) -> Segment {
        Segment {
            id,
            len: AtomicU64::new(len),
            open: ArcSwapOption::empty(),
            used: AtomicBool::new(false),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Release);
    }

    /// Its file, if it is open.
    pub(crate) fn opened(&self) -> Guard<Option<Arc<Opened>>> {
        // Storing only on change keeps the line shared between readers.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        self.open.load()
    }
}

impl Table {
    pub(crate) fn new(segments: Vec<Segment>) -> Table {
        let list = segments.into_iter().map(Arc::new).collect();
        Table { list: ArcSwap::from_pointee(list), change: Mutex::new(()) }
    }

    /// The table as it is now.
    pub(crate) fn now(&self) -> Guard<Arc<Vec<Arc<Segment>>>> {
        self.list.load()
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        find(&self.now(), id).is_some()
    }

    /// How much of a segment may be read from now on; nothing if there is no such.
    pub(crate) fn set_len(&self, id: u32, len: u64) {
        if let Some(segment) = find(&self.now(), id) {
            segment.set_len(len);
        }
    }

    /// Adds a segment above all others.
    pub(crate) fn push(&self, segment: Segment) {
        let _lock = self.change.lock();
        let mut list = Vec::clone(&self.list.load());
        list.push(Arc::new(segment));
        self.list.store(Arc::new(list));
    }

    pub(crate) fn retain(&self, keep: impl Fn(u32) -> bool) {
        let _lock = self.change.lock();
        let mut list = Vec::clone(&self.list.load());
        list.retain(|segment| keep(segment.id));
        self.list.store(Arc::new(list));
    }

    /// Keeps a segment's file open, and closes one not used of late if there are
    /// too many: those read since the last look get a second chance.
    pub(crate) fn keep_open(&self, segment: &Segment, opened: Arc<Opened>) {
        let _lock = self.change.lock();
        let list = self.list.load();
        let mut open = list.iter().filter(|s| s.open.load().is_some()).count();
        for _ in 0..2 {
            for other in list.iter().filter(|other| other.id != segment.id) {
                if open < MAX_OPEN_FILES {
                    break;
                }
                if other.open.load().is_some() && !other.used.swap(false, Ordering::Relaxed) {
                    other.open.store(None);
                    open -= 1;
                }
            }
        }
        segment.open.store(Some(opened));
    }

    #[cfg(test)]
    pub(crate) fn open_files(&self) -> usize {
        self.now().iter().filter(|s| s.open.load().is_some()).count()
    }
}

pub(crate) fn find(list: &[Arc<Segment>], id: u32) -> Option<&Segment> {
    let at = list.binary_search_by_key(&id, |segment| segment.id).ok()?;
    Some(&list[at])
}
