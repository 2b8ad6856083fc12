//! The page cache: frames by page number, bounded in bytes, scan-resistant.
//!
//! Must stay true:
//! * it never holds more frames than its bound allows;
//! * a frame is served only if it is the version the reference vouches for, so
//!   that a page number used again can never serve the old page;
//! * the only lock on the read path is the one of a set of 8 frames.
//!
//! A set is two neighbouring cache lines: lock, counts, page numbers and guesses
//! in the first, the frames' addresses in the second. Each frame has a two-bit guess how soon it is wanted again
//! (the hardware policy RRIP): a frame comes in as "late" (2), a hit makes it
//! "soon" (0), the victim is a frame that is "never" (3); if there is none,
//! all age by one. Cursors bring leaves in as "never", so a scan of any length
//! takes at most one frame of each set from those that are looked up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;

use crate::format::Ref;
use crate::node::Page;

const WAYS: usize = 8;
/// What a frame costs: the page, and its share of the table.
const FRAME_BYTES: usize = size_of::<Page>() + 16 + size_of::<Set>() / WAYS;
const SOON: u8 = 0;
const LATE: u8 = 2;
const NEVER: u8 = 3;

/// Who asks for a page, and so how long it should stay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// A lookup, or an inner page: likely wanted again.
    Point,
    /// The leaf of a range: likely not.
    Scan,
    /// A page about to be replaced: do not keep it.
    Once,
}

/// How the page cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Pages found.
    pub hits: u64,
    /// Pages that had to be read from the disk.
    pub misses: u64,
    /// Bytes held, bookkeeping included (not those of inner pages kept by views: at
    /// most an eighth of `capacity` more).
    pub bytes: usize,
    /// The most it will hold.
    pub capacity: usize,
}

pub(crate) struct Cache {
    sets: Vec<Set>,
    /// Frames in use per set: 8, fewer if the cache is smaller than one set.
    ways: usize,
}

#[derive(Default)]
#[repr(align(128))]
struct Set {
    frames: RwLock<Frames>,
}

#[derive(Default)]
#[repr(C)]
struct Frames {
    /// 0 is an empty frame: page 0 is a meta page.
    numbers: [u32; WAYS],
    wanted: [AtomicU8; WAYS],
    hits: AtomicU64,
    misses: AtomicU64,
    pages: [Option<Arc<Page>>; WAYS],
}
const _: () = assert!(size_of::<Set>() == 128);

impl Cache {
    pub(crate) fn new(bytes: usize) -> Cache {
        let frames = bytes / FRAME_BYTES;
        let ways = frames.min(WAYS);
        let sets = frames.checked_div(ways).unwrap_or(0);
        let sets = (0..sets).map(|_| Set::default()).collect();
        Cache { sets, ways }
    }

    fn set(&self, page: u32) -> Option<&Set> {
        // Fibonacci hashing; neighbours in the file land in different sets.
        let hash = u64::from(page.wrapping_mul(0x9E37_79B9));
        self.sets.get(((hash * self.sets.len() as u64) >> 32) as usize)
    }

    pub(crate) fn get(&self, at: Ref, hint: Hint) -> Option<Arc<Page>> {
        let set = self.set(at.page())?;
        let frames = set.frames.read();
        let found = frames.numbers.iter().position(|&n| n == at.page());
        let page = found.and_then(|i| {
            let page = frames.pages[i].as_ref()?;
            // Before the count on the page's first line is waited for.
            page.hint();
            if !at.vouches_for(page.checksum()) {
                return None;
            }
            match hint {
                // Storing only on change keeps the line shared between readers.
                Hint::Point if frames.wanted[i].load(Relaxed) != SOON => {
                    frames.wanted[i].store(SOON, Relaxed);
                }
                Hint::Scan if frames.wanted[i].load(Relaxed) == NEVER => {
                    frames.wanted[i].store(LATE, Relaxed);
                }
                _ => {}
            }
            Some(Arc::clone(page))
        });
        let counter = if page.is_some() { &frames.hits } else { &frames.misses };
        counter.fetch_add(1, Relaxed);
        page
    }

    /// The set of this page will be looked at soon.
    pub(crate) fn hint_set(&self, page: u32) {
        if let Some(set) = self.set(page) {
            platform::prefetch(std::slice::from_ref(set));
        }
    }

    /// This page will be read soon: a hint, which counts as no use of it.
    pub(crate) fn hint(&self, page: u32) {
        let Some(set) = self.set(page) else { return };
        let frames = set.frames.read();
        let found = frames.numbers.iter().position(|&n| n == page);
        if let Some(page) = found.and_then(|i| frames.pages[i].as_ref()) {
            page.hint();
        }
    }

    pub(crate) fn insert(&self, number: u32, page: Arc<Page>, hint: Hint) {
        let wanted = match hint {
            Hint::Once => return,
            Hint::Scan => NEVER,
            Hint::Point => LATE,
        };
        let Some(set) = self.set(number) else { return };
        let mut frames = set.frames.write();
        let ways = self.ways;
        let same = frames.numbers[..ways].iter().position(|&n| n == number);
        let free = || frames.numbers[..ways].iter().position(|&n| n == 0);
        let at = match same.or_else(free) {
            Some(at) => at,
            None => frames.victim(ways),
        };
        frames.numbers[at] = number;
        frames.wanted[at].store(wanted, Relaxed);
        // Drop the old page (4 KiB to give back) after the lock.
        let old = frames.pages[at].replace(page);
        drop(frames);
        drop(old);
    }

    /// Frames it may hold.
    pub(crate) fn frames(&self) -> usize {
        self.sets.len() * self.ways
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let mut stats = CacheStats {
            capacity: self.sets.len() * self.ways * FRAME_BYTES,
            ..CacheStats::default()
        };
        for set in &self.sets {
            let frames = set.frames.read();
            stats.hits += frames.hits.load(Relaxed);
            stats.misses += frames.misses.load(Relaxed);
            stats.bytes += frames.pages.iter().flatten().count() * FRAME_BYTES;
        }
        stats
    }
}

impl Frames {
    fn victim(&mut self, ways: usize) -> usize {
        let wanted = &mut self.wanted[..ways];
        let latest = wanted.iter_mut().map(|w| *w.get_mut()).max().unwrap_or(NEVER);
        let age = NEVER.saturating_sub(latest);
        let mut victim = 0;
        for (i, w) in wanted.iter_mut().enumerate().rev() {
            let w = w.get_mut();
            *w += age;
            if *w >= NEVER {
                victim = i;
            }
        }
        victim
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::build;
    use crate::run::Run;

    fn page(number: u32) -> (Ref, Arc<Page>) {
        let mut run = Run::default();
        run.push(b"", &number.to_be_bytes(), b"v");
        let page = build(&run, 0..1, 1, 1, 0, number);
        (Ref::new(number, page.checksum()), Arc::new(page))
    }

    #[test]
    fn the_bound_is_reached_and_respected() {
        let bound = 100 * FRAME_BYTES;
        let cache = Cache::new(bound);
        for n in 2..1000 {
            cache.insert(n, page(n).1, Hint::Point);
            assert!(cache.stats().bytes <= bound);
        }
        // 100 frames are 12 sets of 8.
        assert_eq!(cache.stats().bytes, 96 * FRAME_BYTES);
    }

    #[test]
    fn a_cache_smaller_than_a_set_keeps_its_bound() {
        let cache = Cache::new(3 * FRAME_BYTES + 100);
        for n in 2..50 {
            cache.insert(n, page(n).1, Hint::Point);
        }
        assert_eq!(cache.stats().bytes, 3 * FRAME_BYTES);
        let none = Cache::new(100);
        none.insert(2, page(2).1, Hint::Point);
        assert_eq!(none.stats(), CacheStats::default());
        assert!(none.get(page(2).0, Hint::Point).is_none());
    }

    #[test]
    fn a_scan_leaves_looked_up_pages_alone() {
        // given: a cache where 64 pages of 160 are looked up
        let cache = Cache::new(160 * FRAME_BYTES);
        for n in 2..66 {
            cache.insert(n, page(n).1, Hint::Point);
            assert!(cache.get(page(n).0, Hint::Point).is_some());
        }
        let kept =
            |cache: &Cache| (2..66).filter(|&n| cache.get(page(n).0, Hint::Once).is_some()).count();
        let before = kept(&cache);
        // when: a scan of many times its size passes
        for n in 1000..6000 {
            cache.insert(n, page(n).1, Hint::Scan);
        }
        // then: nothing looked up is lost
        assert_eq!(kept(&cache), before);
    }

    #[test]
    fn another_version_of_a_page_is_a_miss() {
        let cache = Cache::new(1 << 20);
        let (_, old) = page(7);
        cache.insert(7, old, Hint::Point);
        assert!(cache.get(Ref::new(7, 12345), Hint::Point).is_none());
    }
}
