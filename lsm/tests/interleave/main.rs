//! What readers and writers share without a lock, under loom: every interleaving of a
//! few threads (up to so many preemptions), and every value that the memory model lets
//! a load see. The text is the store's own, compiled a second time on loom's atomics
//! and locks (`prims.rs`), with what is around it as small as can be. That of the page
//! file and of the value log is here too, so that one set of them serves all.
//!
//! What is plainly under a lock (counts, the page cache's sets, the views that live) has
//! no model here: there is one order of what is done under a lock.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../../src/durable.rs"]
mod durable;
#[allow(dead_code)]
#[path = "../../src/lease.rs"]
mod lease;
#[allow(dead_code)]
#[path = "../../../btree/src/pins.rs"]
mod pins;
#[allow(dead_code)]
#[path = "../../src/registry.rs"]
mod registry;
#[allow(dead_code, unreachable_pub)]
#[path = "../../src/retain.rs"]
mod retain;

#[allow(dead_code)]
#[path = "../../../vlog/src/table.rs"]
mod table;

mod leases;
mod numbers;
mod pages;
mod prims;
mod segments;
mod tables;
mod watches;

use lsm::{Error, Lsn, WalError};

/// What a lease counts errors in: nobody reads here.
mod health {
    pub(crate) struct Health;
}

/// A set of memtables, of which only is known which commits are in it.
mod set {
    use std::sync::atomic::Ordering::Relaxed;

    use loom::sync::atomic::AtomicBool;

    /// More commits than any model makes.
    const MOST: usize = 4;

    /// Whether each commit is in it. Relaxed: who has not learned of a commit in the
    /// right order may not find it.
    #[derive(Default)]
    pub(crate) struct MemSet([AtomicBool; MOST]);

    impl MemSet {
        pub(crate) fn bytes(&self) -> usize {
            1
        }

        pub(crate) fn write(&self, lsn: u64) {
            self.0[lsn as usize].store(true, Relaxed);
        }

        /// Whether a reader finds the commit.
        pub(crate) fn has(&self, lsn: u64) -> bool {
            self.0[lsn as usize].load(Relaxed)
        }
    }
}

/// A page of which nothing is looked at.
mod node {
    pub(crate) struct Page;
}

/// As the store's, but that trees are all commits up to `flushed`.
mod version {
    use std::sync::Arc;

    use crate::Lsn;
    use crate::set::MemSet;

    pub(crate) struct Version {
        /// The newest first; with each its last commit, when it is frozen.
        pub(crate) sets: Vec<(Arc<MemSet>, Lsn)>,
        pub(crate) view: View,
        pub(crate) flushed: Lsn,
    }

    #[derive(Clone, Copy)]
    pub(crate) struct View(pub(crate) u64);

    impl View {
        pub(crate) fn epoch(self) -> u64 {
            self.0
        }
    }

    impl Version {
        pub(crate) fn sets(&self) -> impl Iterator<Item = &Arc<MemSet>> {
            self.sets.iter().map(|(set, _)| set)
        }
    }
}

/// As much of a store as tells what is durable (`durable.rs`).
struct Lsm {
    watchers: durable::Watchers,
    wal: Wal,
    applied: prims::AtomicU64,
    visible: prims::AtomicU64,
}

/// A log of which is only known how far it is durable.
struct Wal(prims::AtomicU64);

impl Wal {
    fn durable_lsn(&self) -> Lsn {
        self.0.load(std::sync::atomic::Ordering::Acquire)
    }

    fn wait_durable(&self, _: Lsn) -> Result<(), WalError> {
        Ok(())
    }
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 100_000;
    builder.check(model);
}
