//! The turn under loom: every interleaving of a few committers, a rotation and a
//! failing disk. The text of `turn.rs` is compiled a second time on loom's locks.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

mod prims {
    //! parking_lot's interface over loom's locks.

    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::ops::{Deref, DerefMut};

    pub(crate) const SPINS: u32 = 1;

    pub(crate) fn pause() {}

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);
    pub(crate) struct Guard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            Guard(Some(self.0.lock().unwrap()))
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().unwrap()
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut Guard<'_, T>) {
            guard.0 = Some(self.0.wait(guard.0.take().unwrap()).unwrap());
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

#[allow(dead_code, reason = "the model uses a part of it")]
#[path = "../turn.rs"]
mod turn;

use turn::{Ended, Turn};

/// A log without bytes: how far it was appended, how far it is on the disk.
struct Log {
    turn: Turn,
    last: AtomicU64,
    disk: AtomicU64,
    syncing: AtomicBool,
    /// Syncs from this one on fail (0: none).
    fails_from: u64,
    syncs: AtomicU64,
}

impl Log {
    fn new(fails_from: u64) -> Arc<Self> {
        Arc::new(Self {
            turn: Turn::new(0),
            last: AtomicU64::new(0),
            disk: AtomicU64::new(0),
            syncing: AtomicBool::new(false),
            fails_from,
            syncs: AtomicU64::new(0),
        })
    }

    fn append(&self) -> u64 {
        self.last.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn flush(&self) -> Result<u64, String> {
        assert!(!self.syncing.swap(true, Ordering::AcqRel), "two syncs at once");
        let last = self.last.load(Ordering::Acquire);
        let n = self.syncs.fetch_add(1, Ordering::AcqRel) + 1;
        let failed = self.fails_from > 0 && n >= self.fails_from;
        assert!(!failed || n == self.fails_from, "a sync after one that failed");
        if !failed {
            self.disk.store(last, Ordering::Release);
        }
        self.syncing.store(false, Ordering::Release);
        if failed { Err("no".into()) } else { Ok(last) }
    }

    /// A commit; whether it was acknowledged.
    fn commit(&self) -> bool {
        let lsn = self.append();
        match self.turn.wait(lsn, || self.flush()) {
            Ok(()) => {
                assert!(self.disk.load(Ordering::Acquire) >= lsn, "told of what is not there");
                assert!(self.turn.durable() >= lsn);
                true
            }
            Err(Ended::Poisoned(_)) => {
                assert!(self.turn.is_poisoned());
                false
            }
            Err(Ended::Closed) => panic!("nobody closed it"),
        }
    }
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn all_who_commit_are_told_and_only_of_what_is_on_the_disk() {
    explore(|| {
        let log = Log::new(0);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let log = log.clone();
                thread::spawn(move || assert!(log.commit()))
            })
            .collect();
        assert!(log.commit());
        others.into_iter().for_each(|t| t.join().unwrap());
        assert!(log.syncs.load(Ordering::Acquire) <= 3);
    });
}

#[test]
fn after_a_failed_sync_there_is_no_other_and_nobody_is_told() {
    for fails_from in [1, 2] {
        explore(move || {
            let log = Log::new(fails_from);
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let log = log.clone();
                    thread::spawn(move || log.commit())
                })
                .collect();
            log.commit();
            others.into_iter().for_each(|t| {
                t.join().unwrap();
            });
            assert!(fails_from > 1 || log.turn.durable() == 0);
        });
    }
}

#[test]
fn a_rotation_syncs_alone_and_a_follower_is_woken() {
    explore(|| {
        let log = Log::new(0);
        let committer = {
            let log = log.clone();
            thread::spawn(move || assert!(log.commit()))
        };
        let rotating = {
            let log = log.clone();
            thread::spawn(move || {
                let held = log.turn.take().unwrap();
                held.publish(log.flush());
                drop(held);
            })
        };
        assert!(log.turn.wait_beyond(0).unwrap() >= 1);
        committer.join().unwrap();
        rotating.join().unwrap();
    });
}
