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

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::node::Page;

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
        self.held.load(Relaxed) < self.most && self.held.try_update(Relaxed, Relaxed, more).is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::build;
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
}
