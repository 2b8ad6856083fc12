//! Who is told of what became durable (`durable.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use loom::thread;

use crate::durable::Watchers;
use crate::prims::AtomicU64;
use crate::{Lsm, Wal, explore};

fn store() -> Arc<Lsm> {
    Arc::new(Lsm {
        watchers: Watchers::new(0),
        wal: Wal(AtomicU64::new(0)),
        applied: AtomicU64::new(0),
        visible: AtomicU64::new(0),
    })
}

impl Lsm {
    /// A commit that is applied, then made durable, then told.
    fn synced(&self, lsn: u64) {
        self.applied.fetch_max(lsn, Release);
        self.wal.0.fetch_max(lsn, Release);
        self.tell_durable();
    }
}

#[test]
fn nobody_who_watches_misses_the_last_and_what_is_told_is_visible() {
    explore(|| {
        let store = store();
        let other = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.synced(1))
        };
        // Not loom's: what was told so far.
        let heard = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let watch = {
            let (heard, seen) = (Arc::clone(&heard), Arc::clone(&store));
            store.watch_durable(move |lsn| {
                assert!(seen.visible.load(Acquire) >= lsn, "told of {lsn}, which is not visible");
                heard.fetch_max(lsn, Relaxed);
            })
        };
        other.join().unwrap();
        assert_eq!(heard.load(Relaxed), 1, "news was missed");
        drop(watch);
    });
}

#[test]
fn two_that_sync_at_once_tell_of_the_further_one() {
    explore(|| {
        let store = store();
        let heard = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let told = Arc::clone(&heard);
        let watch = store.watch_durable(move |lsn| {
            told.fetch_max(lsn, Relaxed);
        });
        let other = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.synced(1))
        };
        store.synced(2);
        other.join().unwrap();
        assert_eq!(heard.load(Relaxed), 2, "news was missed");
        assert_eq!(store.visible.load(Acquire), 2);
        drop(watch);
    });
}
