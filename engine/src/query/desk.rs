//! What the engine keeps of its queries: parsed texts, those that run or wait to be
//! gone on with, slow ones.
//!
//! What must stay true: all of it is bounded, and a query that has ended is no
//! longer listed as running.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use lsm::KeyspaceId;
use parking_lot::Mutex;
use platform::Clock;
use proto::Status;

use super::QueryError;
use super::spill::SpillSpace;
use super::stream::{PageSize, Stream};
use super::table::{CursorFigures, CursorLimits, Ended, Table, Taken, Waiting, unknown};
use super::work::{Figures, Limits, Work};
use crate::Principal;
use crate::patience::Patience;
use crate::pql::{self, PqlError, ast::Query};

/// Bytes of text in each half of the cache of parsed queries.
const CACHE_BYTES: usize = 256 << 10;
/// Texts in each half.
const CACHE_TEXTS: usize = 256;
/// Slow queries that are remembered.
const SLOW: usize = 32;
/// Bytes of a text that are remembered of a running or slow query.
const SHOWN: usize = 256;
/// Cursors that expire in one step.
const EXPIRE: usize = 16;

/// A query that runs, or waits for its next page to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningQuery {
    /// To cancel it by: [`crate::Engine::cancel_query`]. Its cursor's too.
    pub id: u64,
    /// Whose it is.
    pub user: String,
    /// Its text, or the beginning of it.
    pub text: String,
    /// Microseconds since it, or this page of it, began, or since it waits.
    pub micros: u64,
    /// Whether it waits.
    pub waits: bool,
}

/// A query that took long, or a page of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowQuery {
    /// Slow queries are numbered from 1 on.
    pub number: u64,
    /// Whose it was.
    pub user: String,
    /// Its text, or the beginning of it.
    pub text: String,
    /// The steps it took: `index a, filter, sort`; empty if it did not come so far.
    pub plan: String,
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
    table: Mutex<Table>,
    /// The cursors that there are, to be looked at without the lock.
    open: AtomicUsize,
    limits: CursorLimits,
    next: AtomicU64,
    slow: Mutex<VecDeque<(Principal, SlowQuery)>>,
    slow_count: AtomicU64,
    /// Microseconds from which on a query is slow; 0: none is.
    slow_micros: u64,
    clock: Arc<dyn Clock>,
    space: Arc<SpillSpace>,
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
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        space: SpillSpace,
        slow_micros: u64,
        limits: CursorLimits,
    ) -> Desk {
        Desk {
            cache: Mutex::default(),
            table: Mutex::default(),
            open: AtomicUsize::new(0),
            limits,
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

    /// What one request may use that is no query; it is not listed.
    pub(crate) fn work(&self, limits: Limits, patience: &Patience) -> Work {
        Work::new(Arc::clone(&self.clock), limits, Arc::default(), None).within(patience)
    }

    /// Begins a query: it is listed, can be cancelled, and its time runs.
    pub(crate) fn begin(
        &self,
        who: &Principal,
        text: &str,
        limits: Limits,
        patience: &Patience,
    ) -> Running<'_> {
        let id = self.next.fetch_add(1, Relaxed);
        let cancelled = Arc::new(AtomicBool::new(false));
        let now = self.clock.monotonic_nanos();
        self.change(|table| table.begin(id, who, shown(text), now, Arc::clone(&cancelled)));
        let space = Arc::clone(&self.space);
        let work = Work::new(Arc::clone(&self.clock), limits, cancelled, Some(space));
        let work = work.within(patience);
        Running { desk: self, id, work: Some(work), within: 0, returned: None }
    }

    /// Goes on with a query that waits, as part of the transaction of that number it was
    /// asked in, 0: of none; it runs again, and its time runs anew. Gives the stores it
    /// shows too.
    ///
    /// # Errors
    /// The session has no such cursor; another request reads from it.
    pub(crate) fn resume(
        &self,
        who: &Principal,
        cursor: u64,
        within: u64,
        patience: &Patience,
    ) -> Result<(Running<'_>, Stream, PageSize, Vec<KeyspaceId>), QueryError> {
        let now = self.clock.monotonic_nanos();
        let Waiting { stream, work, size, stores, .. } = match self
            .change(|table| table.take(cursor, (who, within), now, self.limits.idle_nanos))
        {
            Taken::Waiting(waiting) => *waiting,
            Taken::Busy => {
                let message = format!(
                    "another request reads a page of cursor {cursor}: fetch them one by one"
                );
                return Err(QueryError::Refused(Status::Busy, message));
            }
            Taken::Unknown(expired) => {
                drop(expired);
                return Err(unknown(cursor, &self.limits));
            }
        };
        let running = Running { desk: self, id: cursor, work: Some(work), within, returned: None };
        running.work().go_on(patience)?;
        Ok((running, stream, size, stores))
    }

    /// Lets go of a cursor.
    ///
    /// # Errors
    /// The session has no such cursor.
    pub(crate) fn close(&self, who: &Principal, cursor: u64) -> Result<(), QueryError> {
        match self.change(|table| table.close(cursor, who)) {
            Ended::Unknown => Err(unknown(cursor, &self.limits)),
            Ended::Told | Ended::Gone(_) => Ok(()),
        }
    }

    /// Lets go of the cursors of a session that has ended. Cheap if there is none.
    pub(crate) fn end_session(&self, who: &Principal) {
        if self.open.load(Relaxed) > 0 {
            drop(self.change(|table| table.end_session(who)));
        }
    }

    /// Lets go of the cursors that are part of a transaction of a session. Cheap if there
    /// is none.
    pub(crate) fn end_within(&self, who: &Principal, within: u64) {
        if self.open.load(Relaxed) > 0 {
            drop(self.change(|table| table.end_within(who, within)));
        }
    }

    /// Ends the queries that are to go, by whose they are and, of those that wait, which
    /// stores they show: those that wait at once, those that run after a bounded piece of
    /// work.
    pub(crate) fn end_where(&self, goes: impl FnMut(&Principal, &[KeyspaceId]) -> bool) {
        drop(self.change(|table| table.end_where(goes)));
    }

    /// Lets go of some cursors that nobody fetched from for long. `true`: there may be
    /// more of them.
    pub(crate) fn expire(&self) -> bool {
        if self.open.load(Relaxed) == 0 {
            return false;
        }
        let now = self.clock.monotonic_nanos();
        let gone = self.change(|table| table.expire(now, self.limits.idle_nanos, EXPIRE));
        gone.len() == EXPIRE
    }

    /// Changes the table; what comes out of it is dropped by the caller, without the
    /// lock.
    fn change<T>(&self, f: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.lock();
        let out = f(&mut table);
        self.open.store(table.figures().open, Relaxed);
        out
    }

    /// The queries that run or wait, oldest first; with `who`, those of that user.
    pub(crate) fn list(&self, who: Option<&Principal>) -> Vec<RunningQuery> {
        let now = self.clock.monotonic_nanos();
        self.table.lock().list(now, who)
    }

    /// How many queries run, and what there is of cursors.
    pub(crate) fn figures(&self) -> (usize, CursorFigures) {
        let table = self.table.lock();
        (table.running(), table.figures())
    }

    /// Whose query it is.
    pub(crate) fn owner(&self, id: u64) -> Option<Principal> {
        self.table.lock().get(id).map(|entry| entry.who.clone())
    }

    /// Ends a query; with `who`, one of that user. `false` if there is none of that
    /// number.
    pub(crate) fn cancel(&self, id: u64, who: Option<&Principal>) -> bool {
        !matches!(self.change(|table| table.cancel(id, who)), Ended::Unknown)
    }

    /// The last slow queries, oldest first, of those with a number beyond `after`; with
    /// `who`, those of that user.
    pub(crate) fn slow(&self, after: u64, who: Option<&Principal>) -> Vec<SlowQuery> {
        if self.slow_count() <= after {
            return Vec::new();
        }
        let slow = self.slow.lock();
        let theirs = slow.iter().filter(|(by, _)| who.is_none_or(|who| who.is_user_of(by)));
        theirs.filter(|(_, slow)| slow.number > after).map(|(_, slow)| slow.clone()).collect()
    }

    /// How many runs of rows went to disk so far.
    pub(crate) fn spilled_runs(&self) -> u64 {
        self.space.runs()
    }

    /// How many queries were slow so far.
    pub(crate) fn slow_count(&self) -> u64 {
        self.slow_count.load(Relaxed)
    }

    /// Keeps a query in mind, if it was slow, before it leaves the table.
    fn look_back(&self, id: u64, work: &Work, returned: Option<u64>) {
        let figures = work.figures();
        if self.slow_micros == 0 || figures.micros < self.slow_micros {
            return;
        }
        let told = self.table.lock().get(id).map(|it| (it.who.clone(), it.text.clone()));
        // One that was ended from without is listed no more.
        let Some((who, text)) = told else { return };
        let user = who.name().to_owned();
        let mut plan = work.way().map(ToString::to_string).unwrap_or_default();
        if work.has_turned() {
            plan.push_str("; given up for another way");
        }
        let ended = self.clock.wall_micros();
        let mut slow = self.slow.lock();
        let number = self.slow_count.fetch_add(1, Relaxed) + 1;
        if slow.len() == SLOW {
            slow.pop_front();
        }
        slow.push_back((who, SlowQuery { number, user, text, plan, ended, returned, figures }));
    }
}

/// A query that runs, until this is dropped.
pub(crate) struct Running<'d> {
    desk: &'d Desk,
    id: u64,
    /// `None` once it waits.
    work: Option<Work>,
    /// The transaction that it is part of; 0: none.
    pub(crate) within: u64,
    /// To be set when it, or a page of it, succeeds.
    pub(crate) returned: Option<u64>,
}

impl Running<'_> {
    /// What it may use, and has used.
    pub(crate) fn work(&self) -> &Work {
        self.work.as_ref().expect("it is taken out only by who consumes this")
    }

    /// It is listed with the stores whose documents it shows: whoever may not read them
    /// any more has it ended.
    pub(crate) fn shows(&self, stores: Vec<KeyspaceId>) {
        self.desk.change(|table| table.shows(self.id, stores));
    }

    /// Waits with what is left of its rows, which are of these stores; the number of its
    /// cursor.
    ///
    /// # Errors
    /// There is no room for another cursor; it was cancelled. It has ended then.
    pub(crate) fn wait(
        mut self,
        stream: Stream,
        size: PageSize,
        stores: Vec<KeyspaceId>,
    ) -> Result<u64, QueryError> {
        let (desk, id) = (self.desk, self.id);
        let work = self.work.take().expect("it is taken out only here, and this is consumed");
        desk.look_back(id, &work, self.returned);
        work.pause();
        let waiting = Box::new(Waiting { stream, work, size, stores, within: self.within });
        let now = desk.clock.monotonic_nanos();
        let limits = &desk.limits;
        let (parked, gone) = desk.change(|table| {
            let expired = table.expire(now, limits.idle_nanos, EXPIRE);
            let parked = table.park(id, waiting, now, limits);
            let refused = if parked.is_err() { table.remove(id) } else { None };
            (parked, (expired, refused))
        });
        drop(gone);
        parked.map(|()| id).map_err(|(error, _)| error)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(work) = &self.work {
            self.desk.look_back(self.id, work, self.returned);
            drop(self.desk.change(|table| table.remove(self.id)));
        }
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
