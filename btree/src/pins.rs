//! Inner pages kept by what refers to them, so that a lookup goes down without
//! asking the cache: the roots by their version, the children by their parent.
//!
//! Must stay true:
//! * a pinned page is the one its reference vouched for when it was loaded; pages
//!   never change, so it stays the right one;
//! * leaves are never pinned, and no more pages than the bound: an eighth of what
//!   the cache may hold. What does not fit is looked up in the cache.
//!
//! A page lives in several versions if it did not change: what it pins serves all
//! of them, and goes with the last.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::node::Page;
use crate::prims::{AtomicUsize, OnceLock};

/// How many pages are pinned, and may be.
pub(crate) struct Bound {
    held: AtomicUsize,
    most: usize,
}

impl Bound {
    pub(crate) fn new(most: usize) -> Arc<Bound> {
        Arc::new(Bound { held: AtomicUsize::new(0), most })
    }

    fn take(&self) -> bool {
        let more = |held: usize| (held < self.most).then_some(held + 1);
        self.held.load(Relaxed) < self.most
            && self.held.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }
}

/// Places for the pages that one thing refers to.
pub(crate) struct Pins {
    slots: Box<[OnceLock<Arc<Page>>]>,
    bound: Arc<Bound>,
}

impl Pins {
    pub(crate) fn new(len: usize, bound: &Arc<Bound>) -> Pins {
        Pins { slots: (0..len).map(|_| OnceLock::new()).collect(), bound: Arc::clone(bound) }
    }

    /// What they count against.
    pub(crate) fn bound(&self) -> &Arc<Bound> {
        &self.bound
    }

    /// The page in place `i`, put there now if it is not; `None` if it cannot be kept.
    pub(crate) fn get<E>(
        &self,
        i: usize,
        load: impl FnOnce() -> Result<Arc<Page>, E>,
    ) -> Result<Option<&Arc<Page>>, E> {
        let Some(slot) = self.slots.get(i) else { return Ok(None) };
        if let Some(page) = slot.get() {
            return Ok(Some(page));
        }
        if self.bound.most == 0 {
            return Ok(None);
        }
        let page = load()?;
        if !self.bound.take() {
            return Ok(None);
        }
        if slot.set(page).is_err() {
            // Another thread was first: one page, counted once.
            self.bound.held.fetch_sub(1, Relaxed);
        }
        Ok(slot.get())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let held = self.slots.iter().filter(|slot| slot.get().is_some()).count();
        self.bound.held.fetch_sub(held, Relaxed);
    }
}
