//! The transactions that are open over several requests.
//!
//! What must stay true:
//! * one is found by the user and the session that began it, and by nobody else;
//! * they are bounded ([`DeskLimits`]): in all, of one session, in how long they last and
//!   in how long nobody uses them; what they hold is counted by themselves;
//! * one is used by one request at a time. What ends it meanwhile ends it when that
//!   request has;
//! * nothing large is dropped under the lock: what goes is handed out.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use platform::Clock;
use proto::Status;

use super::Within;
use super::turn::Turns;
use crate::{Principal, Refusal, TransactionFigures};

/// Those that expire in one step.
const EXPIRE: usize = 16;

/// Bounds of the transactions that are open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeskLimits {
    /// In all.
    pub(crate) all: usize,
    /// Of one session.
    pub(crate) session: usize,
    /// Nanoseconds in which nobody uses one.
    pub(crate) idle: u64,
    /// Nanoseconds that one lasts.
    pub(crate) time: u64,
}

struct Entry {
    who: Principal,
    /// When it is over, whatever happens.
    until: u64,
    /// When it was used last.
    used: u64,
    /// `None`: a request uses it.
    within: Option<Box<Within>>,
}

#[derive(Default)]
struct Table {
    open: BTreeMap<u64, Entry>,
    next: u64,
}

/// See the module.
pub(crate) struct Desk {
    table: Mutex<Table>,
    /// How many there are, to be looked at without the lock.
    count: AtomicUsize,
    /// Bytes that all of them hold.
    pub(super) held: Arc<AtomicU64>,
    expired: AtomicU64,
    pub(super) committed: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) again: AtomicU64,
    /// For calls that are disturbed again and again.
    pub(crate) turns: Arc<Turns>,
    limits: DeskLimits,
    clock: Arc<dyn Clock>,
}

/// A transaction in use by a request.
pub(crate) struct Used<'d> {
    desk: &'d Desk,
    number: u64,
    within: Option<Box<Within>>,
}

impl Desk {
    pub(crate) fn new(clock: Arc<dyn Clock>, limits: DeskLimits) -> Desk {
        Desk {
            table: Mutex::default(),
            count: AtomicUsize::new(0),
            held: Arc::default(),
            expired: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            again: AtomicU64::new(0),
            turns: Arc::default(),
            limits,
            clock,
        }
    }

    /// Keeps one for the requests to come: its number, and for how many milliseconds it
    /// lasts. It lasts as long as was asked for in milliseconds, and no longer than any.
    ///
    /// # Errors
    /// Which bound is in the way.
    pub(crate) fn keep(
        &self,
        who: &Principal,
        within: Within,
        millis: u32,
    ) -> Result<(u64, u64), Refusal> {
        let now = self.clock.monotonic_nanos();
        let asked = if millis == 0 { u64::MAX } else { u64::from(millis) * 1_000_000 };
        let lasts = asked.min(self.limits.time);
        let within = Box::new(within);
        let (kept, gone) = self.change(|table| {
            let gone = table.expire(now, self.limits.idle, EXPIRE);
            (table.keep(who, within, (now, now.saturating_add(lasts)), &self.limits), gone)
        });
        self.note(&gone);
        Ok((kept.map_err(|(refusal, _)| refusal)?, lasts / 1_000_000))
    }

    /// One of that number, for a request of who began it.
    ///
    /// # Errors
    /// There is none, or another request uses it.
    pub(crate) fn take(&self, who: &Principal, number: u64) -> Result<Used<'_>, Refusal> {
        let now = self.clock.monotonic_nanos();
        let (taken, gone) = self.change(|table| table.take(who, number, now, self.limits.idle));
        self.note(gone.as_slice());
        match taken {
            Some(Some(within)) => Ok(Used { desk: self, number, within: Some(within) }),
            Some(None) => {
                let message = format!(
                    "another request uses transaction {number}: send its requests one after the \
                     other"
                );
                Err(Refusal::new(Status::Busy, message))
            }
            None => Err(self.unknown(number)),
        }
    }

    /// Lets go of those of a session that has ended. Cheap if there is none.
    pub(crate) fn end_session(&self, who: &Principal) {
        if self.count.load(Relaxed) > 0 {
            drop(self.change(|table| table.remove_where(|entry| entry.who == *who, usize::MAX)));
        }
    }

    /// Lets go of some that are over. `true`: there may be more of them.
    pub(crate) fn expire(&self) -> bool {
        if self.count.load(Relaxed) == 0 {
            return false;
        }
        let now = self.clock.monotonic_nanos();
        let gone = self.change(|table| table.expire(now, self.limits.idle, EXPIRE));
        self.note(&gone);
        gone.len() == EXPIRE
    }

    pub(crate) fn figures(&self) -> TransactionFigures {
        TransactionFigures {
            open: self.count.load(Relaxed),
            memory: self.held.load(Relaxed),
            expired: self.expired.load(Relaxed),
            committed: self.committed.load(Relaxed),
            conflicts: self.conflicts.load(Relaxed),
            again: self.again.load(Relaxed),
        }
    }

    fn note(&self, gone: &[Entry]) {
        self.expired.fetch_add(gone.len() as u64, Relaxed);
    }

    /// Changes the table; what comes out of it is dropped by the caller, without the lock.
    fn change<T>(&self, f: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.lock();
        let out = f(&mut table);
        self.count.store(table.open.len(), Relaxed);
        out
    }

    fn unknown(&self, number: u64) -> Refusal {
        let millis = |nanos: u64| nanos / 1_000_000;
        let message = format!(
            "this session has no transaction {number}: it was committed or aborted, it lasted \
             longer than it may (limits.transaction_time_ms in db.yaml: {}, or what was asked \
             for), or nobody used it for {} ms (limits.transaction_idle_ms): begin another one",
            millis(self.limits.time),
            millis(self.limits.idle)
        );
        Refusal::new(Status::UnknownTransaction, message)
    }
}

impl Table {
    fn keep(
        &mut self,
        who: &Principal,
        mut within: Box<Within>,
        (now, until): (u64, u64),
        limits: &DeskLimits,
    ) -> Result<u64, (Refusal, Box<Within>)> {
        let busy = |why: String| Refusal::new(Status::Busy, why);
        if self.open.len() >= limits.all {
            let why = format!(
                "{} transactions are open, as many as limits.max_transactions in db.yaml allows: \
                 try again when some have ended",
                self.open.len()
            );
            return Err((busy(why), within));
        }
        let of_session = self.open.values().filter(|entry| entry.who == *who).count();
        if of_session >= limits.session {
            let why = format!(
                "this session has {of_session} transactions open, as many as \
                 limits.max_session_transactions in db.yaml allows: commit or abort some"
            );
            return Err((busy(why), within));
        }
        self.next += 1;
        within.number = self.next;
        let (who, within) = (who.clone(), Some(within));
        self.open.insert(self.next, Entry { who, until, used: now, within });
        Ok(self.next)
    }

    /// `None`: there is none; none inside: it is in use. And one that was found to be over.
    #[allow(clippy::type_complexity)] // Named, it says no more.
    fn take(
        &mut self,
        who: &Principal,
        number: u64,
        now: u64,
        idle: u64,
    ) -> (Option<Option<Box<Within>>>, Option<Entry>) {
        match self.open.get_mut(&number).filter(|entry| entry.who == *who) {
            None => (None, None),
            Some(entry) if entry.is_over(now, idle) => (None, self.open.remove(&number)),
            Some(entry) => (Some(entry.within.take()), None),
        }
    }

    fn expire(&mut self, now: u64, idle: u64, most: usize) -> Vec<Entry> {
        self.remove_where(|entry| entry.is_over(now, idle), most)
    }

    fn remove_where(&mut self, goes: impl Fn(&Entry) -> bool, most: usize) -> Vec<Entry> {
        let gone = self.open.iter().filter(|(_, entry)| goes(entry)).map(|(number, _)| *number);
        let gone: Vec<u64> = gone.take(most).collect();
        gone.iter().filter_map(|number| self.open.remove(number)).collect()
    }
}

impl Entry {
    /// Whether its time has passed; one in use may go on with what it does.
    fn is_over(&self, now: u64, idle: u64) -> bool {
        self.within.is_some() && (now >= self.until || now.saturating_sub(self.used) >= idle)
    }
}

impl Used<'_> {
    /// It ends: nobody finds it any more.
    pub(crate) fn end(mut self) -> Option<Within> {
        let within = self.within.take();
        drop(self.desk.change(|table| table.open.remove(&self.number)));
        within.map(|within| *within)
    }
}

impl Deref for Used<'_> {
    type Target = Within;

    fn deref(&self) -> &Within {
        self.within.as_ref().expect("it is taken out only by who consumes this")
    }
}

impl Drop for Used<'_> {
    fn drop(&mut self) {
        let Some(within) = self.within.take() else { return };
        within.settle();
        let now = self.desk.clock.monotonic_nanos();
        // Of what broke off in the middle it is not known what it has done.
        let broken = std::thread::panicking();
        let back = self.desk.change(|table| match table.open.get_mut(&self.number) {
            Some(entry) if !broken => {
                (entry.used, entry.within) = (now, Some(within));
                None
            }
            _ => {
                table.open.remove(&self.number);
                Some(within)
            }
        });
        drop(back);
    }
}
