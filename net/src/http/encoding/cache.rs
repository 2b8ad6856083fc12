//! Static files as they were coded, so that each is coded once.
//!
//! What must stay true: what is kept never has more bytes than it may; what was used
//! longest ago goes first. A file that changed has another key: it is never served as it
//! was before.

use super::Coding;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What one entry costs beside its bytes, about.
const OVERHEAD: usize = 256;

/// What is coded how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Which file.
    pub(crate) path: PathBuf,
    /// What its tag was.
    pub(crate) tag: String,
    /// The coding.
    pub(crate) coding: Coding,
}

#[derive(Debug)]
struct Entry {
    /// None: it does not get smaller.
    coded: Option<Bytes>,
    used: u64,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    /// By when they were used last.
    order: BTreeMap<u64, Key>,
    bytes: usize,
    clock: u64,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Cache {
    kept: Mutex<Kept>,
    limit: usize,
}

fn cost(key: &Key, coded: Option<&Bytes>) -> usize {
    // The key is there twice.
    OVERHEAD + 2 * (key.path.as_os_str().len() + key.tag.len()) + coded.map_or(0, Bytes::len)
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Cache {
        Cache { kept: Mutex::default(), limit }
    }

    /// What was kept: the coded bytes, or that there are none that are smaller.
    pub(crate) fn get(&self, key: &Key) -> Option<Option<Bytes>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *kept;
        let entry = kept.entries.get_mut(key)?;
        kept.clock += 1;
        let before = std::mem::replace(&mut entry.used, kept.clock);
        if let Some(key) = kept.order.remove(&before) {
            kept.order.insert(kept.clock, key);
        }
        Some(entry.coded.clone())
    }

    /// Keeps it, if it is not larger than all that may be kept.
    pub(crate) fn put(&self, key: Key, coded: Option<Bytes>) {
        let due = cost(&key, coded.as_ref());
        if due > self.limit {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(&key);
        while kept.bytes + due > self.limit {
            let Some((_, oldest)) = kept.order.pop_first() else { break };
            kept.forget(&oldest);
        }
        kept.clock += 1;
        let used = kept.clock;
        kept.bytes += due;
        kept.order.insert(used, key.clone());
        kept.entries.insert(key, Entry { coded, used });
    }
}

impl Kept {
    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= cost(key, entry.coded.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { path: name.into(), tag: "t".into(), coding: Coding::Gzip }
    }

    fn bytes(len: usize) -> Option<Bytes> {
        Some(Bytes::from(vec![0; len]))
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_was_used_longest_ago_goes_first() {
        let each = cost(&key("a"), bytes(1000).as_ref());
        let cache = Cache::new(3 * each);
        for name in ["a", "b", "c"] {
            cache.put(key(name), bytes(1000));
        }
        assert!(cache.get(&key("a")).is_some(), "three fit to the last byte");
        cache.put(key("d"), bytes(1000));
        let here = ["a", "b", "c", "d"].map(|name| cache.get(&key(name)).is_some());
        assert_eq!(here, [true, false, true, true]);
        cache.put(key("e"), bytes(3000));
        let kept = cache.kept.lock().unwrap();
        assert!(kept.bytes <= cache.limit && kept.entries.len() == kept.order.len());
    }

    #[test]
    fn what_is_larger_than_all_is_not_kept_and_drives_nobody_out() {
        let each = cost(&key("a"), bytes(1000).as_ref());
        let cache = Cache::new(each);
        cache.put(key("a"), bytes(1000));
        cache.put(key("b"), bytes(1001));
        assert!(cache.get(&key("a")).is_some() && cache.get(&key("b")).is_none());
        cache.put(key("a"), None);
        assert_eq!(cache.get(&key("a")), Some(None), "that it is not worth it is known, too");
        assert_eq!(cache.get(&Key { tag: "u".into(), ..key("a") }), None, "another file by now");
    }
}
