//! What the engine keeps of its queries: parsed texts, those that run, slow ones.
//!
//! What must stay true: all of it is bounded, and a query that has ended is no
//! longer listed as running.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use platform::Clock;

use super::spill::SpillSpace;
use super::work::{Figures, Limits, Work};
use crate::pql::{self, PqlError, ast::Query};

/// Bytes of text in each half of the cache of parsed queries.
const CACHE_BYTES: usize = 256 << 10;
/// Texts in each half.
const CACHE_TEXTS: usize = 256;
/// Slow queries that are remembered.
const SLOW: usize = 32;
/// Bytes of a text that are remembered of a running or slow query.
const SHOWN: usize = 256;

/// A query that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningQuery {
    /// To cancel it by: [`crate::Engine::cancel_query`].
    pub id: u64,
    /// Its text, or the beginning of it.
    pub text: String,
    /// Microseconds since it began.
    pub micros: u64,
}

/// A query that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowQuery {
    /// Its text, or the beginning of it.
    pub text: String,
    /// When it ended, in microseconds since 1970.
    pub ended: u64,
    /// Rows it gave, or documents it changed; `None` if it failed.
    pub returned: Option<u64>,
    /// What it took.
    pub figures: Figures,
}

/// See the module.
pub(crate) struct Desk {
    cache: Mutex<Cache>,
    running: Mutex<BTreeMap<u64, Entry>>,
    next: AtomicU64,
    slow: Mutex<VecDeque<SlowQuery>>,
    slow_count: AtomicU64,
    /// Microseconds from which on a query is slow; 0: none is.
    slow_micros: u64,
    clock: Arc<dyn Clock>,
    space: Arc<SpillSpace>,
}

struct Entry {
    text: String,
    began: u64,
    cancelled: Arc<AtomicBool>,
}

/// Two generations of parsed texts: when the young one is full it becomes the old
/// one, and what is asked for again moves back.
#[derive(Default)]
struct Cache {
    young: BTreeMap<Box<str>, Arc<Query>>,
    bytes: usize,
    old: BTreeMap<Box<str>, Arc<Query>>,
}

impl Cache {
    fn get(&mut self, text: &str) -> Option<Arc<Query>> {
        if let Some(query) = self.young.get(text) {
            return Some(Arc::clone(query));
        }
        let (text, query) = self.old.remove_entry(text)?;
        self.put(text, Arc::clone(&query));
        Some(query)
    }

    fn put(&mut self, text: Box<str>, query: Arc<Query>) {
        if self.young.len() == CACHE_TEXTS || self.bytes + text.len() > CACHE_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += text.len();
        self.young.insert(text, query);
    }
}

impl Desk {
    pub(crate) fn new(clock: Arc<dyn Clock>, space: SpillSpace, slow_micros: u64) -> Desk {
        Desk {
            cache: Mutex::default(),
            running: Mutex::default(),
            next: AtomicU64::new(1),
            slow: Mutex::default(),
            slow_count: AtomicU64::new(0),
            slow_micros,
            clock,
            space: Arc::new(space),
        }
    }

    /// What a text means; remembered, so that it is parsed once.
    pub(crate) fn parse(&self, text: &str) -> Result<Arc<Query>, PqlError> {
        if let Some(query) = self.cache.lock().get(text) {
            return Ok(query);
        }
        let query = Arc::new(pql::parse(text)?);
        self.cache.lock().put(text.into(), Arc::clone(&query));
        Ok(query)
    }

    /// Begins a query: it is listed, can be cancelled, and its time runs.
    pub(crate) fn begin(&self, text: &str, limits: Limits) -> Running<'_> {
        let id = self.next.fetch_add(1, Relaxed);
        let cancelled = Arc::new(AtomicBool::new(false));
        let entry = Entry {
            text: shown(text),
            began: self.clock.monotonic_nanos(),
            cancelled: Arc::clone(&cancelled),
        };
        self.running.lock().insert(id, entry);
        let space = Arc::clone(&self.space);
        let work = Work::new(Arc::clone(&self.clock), limits, cancelled, Some(space));
        Running { desk: self, id, work, returned: None }
    }

    /// The queries that run, oldest first.
    pub(crate) fn running(&self) -> Vec<RunningQuery> {
        let now = self.clock.monotonic_nanos();
        let running = self.running.lock();
        let show = |(id, entry): (&u64, &Entry)| RunningQuery {
            id: *id,
            text: entry.text.clone(),
            micros: now.saturating_sub(entry.began) / 1000,
        };
        running.iter().map(show).collect()
    }

    /// Cancels a query; `false` if none of that number runs.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        let running = self.running.lock();
        running.get(&id).map(|entry| entry.cancelled.store(true, Relaxed)).is_some()
    }

    /// The last slow queries, oldest first.
    pub(crate) fn slow(&self) -> Vec<SlowQuery> {
        self.slow.lock().iter().cloned().collect()
    }

    /// How many queries were slow so far.
    pub(crate) fn slow_count(&self) -> u64 {
        self.slow_count.load(Relaxed)
    }
}

/// A query that runs, until this is dropped.
pub(crate) struct Running<'d> {
    desk: &'d Desk,
    id: u64,
    pub(crate) work: Work,
    /// To be set when it succeeds.
    pub(crate) returned: Option<u64>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let entry = self.desk.running.lock().remove(&self.id);
        let figures = self.work.figures();
        if self.desk.slow_micros == 0 || figures.micros < self.desk.slow_micros {
            return;
        }
        self.desk.slow_count.fetch_add(1, Relaxed);
        let mut slow = self.desk.slow.lock();
        if slow.len() == SLOW {
            slow.pop_front();
        }
        slow.push_back(SlowQuery {
            text: entry.map(|entry| entry.text).unwrap_or_default(),
            ended: self.desk.clock.wall_micros(),
            returned: self.returned,
            figures,
        });
    }
}

fn shown(text: &str) -> String {
    let mut end = text.len().min(SHOWN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut shown = text[..end].to_owned();
    if end < text.len() {
        shown.push_str("..");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
        let mut cache = Cache::default();
        let query = Arc::new(pql::parse("s").unwrap());
        cache.put("kept".into(), Arc::clone(&query));
        for n in 0..5000 {
            assert!(cache.get("kept").is_some(), "{n}");
            cache.put(format!("{n}").into(), Arc::clone(&query));
            assert!(cache.young.len() <= CACHE_TEXTS && cache.old.len() <= CACHE_TEXTS);
        }
        assert!(cache.get("1").is_none());
        for n in 0..40 {
            cache.put("x".repeat(20_000 + n).into(), Arc::clone(&query));
            let bytes = |half: &BTreeMap<Box<str>, _>| half.keys().map(|k| k.len()).sum::<usize>();
            assert!(bytes(&cache.young) <= CACHE_BYTES && bytes(&cache.old) <= CACHE_BYTES);
        }
    }
}
