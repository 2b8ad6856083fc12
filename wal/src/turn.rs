//! The turn: who makes frames durable for all who wait (group commit), and what
//! everybody is told afterwards.
//!
//! Must stay true:
//! * at most one holder at a time: a kernel reports a failed writeback once, and
//!   a second sync beside the failing one would "succeed";
//! * the outcome (the durable LSN, or poison) is published before the turn is
//!   given back, so who gets it next, or is woken, sees it;
//! * after a failed sync no frame becomes durable any more, and nobody who waits
//!   is told so;
//! * `durable` only grows. Nobody waits for anything but a running flush: one who
//!   finds the turn free takes it at once (no delay when idle), and what he
//!   flushes is all that was appended until then.
//!
//! The module names its locks by `super::prims`, so that the same text runs on
//! loom's in `tests/model.rs`, where every interleaving is tried.

use super::prims::{AtomicBool, AtomicU64, Condvar, Guard, Mutex, Ordering, SPINS, pause};

pub(crate) struct Turn {
    state: Mutex<State>,
    moved: Condvar,
    durable: AtomicU64,
    /// Set with `State::poison`; lets an append look without the lock.
    poisoned: AtomicBool,
}

struct State {
    busy: bool,
    closed: bool,
    poison: Option<Poison>,
}

struct Poison {
    why: String,
    /// A sync failed: none may be tried again. Otherwise (a write failed) what
    /// was appended before can still be made durable.
    by_sync: bool,
}

/// Why a wait ended without what was waited for.
#[derive(Debug)]
pub(crate) enum Ended {
    Poisoned(String),
    Closed,
}

/// The turn in hand; given back when dropped.
pub(crate) struct Held<'a> {
    turn: &'a Turn,
}

impl Turn {
    pub(crate) fn new(durable: u64) -> Self {
        Self {
            state: Mutex::new(State { busy: false, closed: false, poison: None }),
            moved: Condvar::new(),
            durable: AtomicU64::new(durable),
            poisoned: AtomicBool::new(false),
        }
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn poisoned(&self) -> Option<String> {
        self.state.lock().poison.as_ref().map(|p| p.why.clone())
    }

    /// The first failure is the one to report; the stricter one to obey.
    pub(crate) fn poison(&self, by_sync: bool, why: String) {
        let mut state = self.state.lock();
        match &mut state.poison {
            Some(poison) => poison.by_sync |= by_sync,
            None => state.poison = Some(Poison { why, by_sync }),
        }
        self.poisoned.store(true, Ordering::Release);
        self.moved.notify_all();
    }

    /// Returns when `lsn` is durable. `flush` makes all that was appended until
    /// it is called durable and returns the newest LSN of it; it runs on this
    /// thread, if nobody else is at it.
    pub(crate) fn wait(
        &self,
        lsn: u64,
        mut flush: impl FnMut() -> Result<u64, String>,
    ) -> Result<(), Ended> {
        if self.durable() >= lsn {
            return Ok(());
        }
        let mut spun = false;
        let mut state = self.state.lock();
        loop {
            // Under the lock: outcomes are published before the turn is free.
            if self.durable() >= lsn {
                return Ok(());
            }
            if let Some(poison) = &state.poison
                && poison.by_sync
            {
                return Err(Ended::Poisoned(poison.why.clone()));
            }
            if !state.busy {
                let held = self.hold(state);
                held.publish(flush());
                drop(held);
                state = self.state.lock();
            } else if spun {
                self.moved.wait(&mut state);
            } else {
                // A flush may be about to end: sleeping and waking costs more.
                drop(state);
                spun = true;
                for _ in 0..SPINS {
                    if self.durable() >= lsn {
                        return Ok(());
                    }
                    pause();
                }
                state = self.state.lock();
            }
        }
    }

    /// Takes the turn for something that no sync may run beside.
    pub(crate) fn take(&self) -> Result<Held<'_>, String> {
        let mut state = self.state.lock();
        while state.busy {
            self.moved.wait(&mut state);
        }
        if let Some(poison) = &state.poison {
            return Err(poison.why.clone());
        }
        Ok(self.hold(state))
    }

    fn hold(&self, mut state: Guard<'_, State>) -> Held<'_> {
        state.busy = true;
        Held { turn: self }
    }

    /// Returns the durable LSN once it is above `after`.
    pub(crate) fn wait_beyond(&self, after: u64) -> Result<u64, Ended> {
        let mut state = self.state.lock();
        loop {
            let durable = self.durable();
            if durable > after {
                return Ok(durable);
            }
            if let Some(poison) = &state.poison
                && poison.by_sync
            {
                return Err(Ended::Poisoned(poison.why.clone()));
            }
            if state.closed {
                return Err(Ended::Closed);
            }
            self.moved.wait(&mut state);
        }
    }

    /// Ends every [`Turn::wait_beyond`], now and later.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.moved.notify_all();
    }
}

impl Held<'_> {
    /// Tells everybody how a sync of all frames up to the LSN ended.
    pub(crate) fn publish(&self, outcome: Result<u64, String>) {
        match outcome {
            Ok(lsn) => {
                let state = self.turn.state.lock();
                // A sync beside this one failed: those who wait were told so, and what
                // they wrote must not become visible afterwards.
                if !state.poison.as_ref().is_some_and(|poison| poison.by_sync) {
                    self.turn.durable.fetch_max(lsn, Ordering::AcqRel);
                }
            }
            Err(why) => self.turn.poison(true, why),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.turn.state.lock().busy = false;
        self.turn.moved.notify_all();
    }
}
