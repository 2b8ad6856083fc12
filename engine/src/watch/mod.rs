//! Change streams: the commits of the log as events, page by page.
//!
//! ```text
//! spec.rs   what is asked for     token.rs  a place in the log, as clients keep it
//! log.rs    the commits           event.rs  an operation as it is told
//! mod.rs    pages of events, and what is remembered of who watches
//! ops/watch.rs   the operation
//! ```
//!
//! What must stay true:
//! * events come in the order of commits and, within one, of its operations; each that is
//!   wanted once, none left out, wherever a page ends and whoever goes on from its token;
//! * a page ends between two commits, unless one commit alone does not fit it;
//! * what a watcher needs of the log is kept for it for [`KEEP`] after its last page, and
//!   as long as the log's holders may hold it (`lsm/src/retain.rs`); then it is told that
//!   there is a gap, and from where on there is something;
//! * nothing is held for a watcher beside: no thread, no queue. What it does not fetch
//!   costs the disk that the log is on, within that bound.

mod event;
mod log;
mod spec;
mod token;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lsm::{KeyspaceId, Lsm, Lsn, Retention, StoreId};
use parking_lot::Mutex;
use platform::Clock;
use proto::doc::DocBuf;

use crate::patience::Patience;
use crate::{Refusal, WatchFigures};
use event::Event;
pub(crate) use log::Commit;
use log::Log;
pub(crate) use spec::{Since, Spec, StoreSpec};
pub(crate) use token::{Place, Token};

/// Nanoseconds for which the log is kept for who watched last: longer than any waits.
const KEEP: u64 = 120_000_000_000;
/// Nanoseconds in which who watches is remembered together.
const SPAN: u64 = 10_000_000_000;
/// Bytes of the log that are read at once, and for one page, however few events they have.
const READ_BYTES: usize = 1 << 20;
const PAGE_READS: usize = 64;

/// See the module.
pub(crate) struct Desk {
    set: StoreId,
    log: Log,
    stays: Mutex<VecDeque<Stay>>,
    pages: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    gaps: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// Of all who have watched in one span of time.
struct Stay {
    began: u64,
    /// The first commit that one of them has not been given.
    from: Lsn,
    /// How many commits the one furthest behind was behind then.
    behind: u64,
    /// Keeps the log for them; `None`: there is no more of it from there on.
    hold: Option<Retention>,
}

/// A store that is watched.
pub(crate) struct Watched<'a> {
    pub(crate) spec: StoreSpec<'a>,
    pub(crate) keyspace: KeyspaceId,
    /// The name it has now.
    pub(crate) name: String,
}

/// Some events, and where they end.
pub(crate) struct Page {
    /// The document that says so.
    pub(crate) document: Vec<u8>,
    pub(crate) events: usize,
    pub(crate) next: Place,
}

impl Desk {
    /// Of one of the servers of `set`: places in its log are places in those of all.
    pub(crate) fn new(clock: Arc<dyn Clock>, set: StoreId) -> Desk {
        Desk {
            set,
            log: Log::default(),
            stays: Mutex::default(),
            pages: AtomicU64::new(0),
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            clock,
        }
    }

    /// The next page of events behind `place`, none if there is none by now.
    ///
    /// # Errors
    /// As [`Desk::commits`]; the answer is not wanted any more.
    pub(crate) fn page(
        &self,
        lsm: &Lsm,
        stores: &[Watched<'_>],
        place: Place,
        (max_bytes, most): (usize, usize),
        patience: &Patience,
    ) -> Result<Page, Refusal> {
        let names: Vec<&str> = stores.iter().map(|store| store.name.as_str()).collect();
        let settled = lsm.settled_lsn();
        let mut filling = Filling { stores, names: &names, most, room: max_bytes, place };
        let mut page = DocBuf::new();
        page.begin_array("events");
        let (mut count, mut is_full) = (0, false);
        for _ in 0..PAGE_READS {
            if is_full || filling.place.from() > settled {
                break;
            }
            patience.check(&*self.clock)?;
            let from = filling.place.from();
            let commits = self.log.read(lsm, from, settled, READ_BYTES)?;
            if commits.is_empty() {
                break;
            }
            for commit in commits {
                let added = filling.add(&commit, count == 0)?;
                count += added.events.len();
                added.write(&mut page, &commit, &names);
                is_full = added.is_full;
                if is_full {
                    break;
                }
            }
        }
        page.end();
        let next = filling.place;
        let token = Token {
            log: self.set,
            stores: stores.iter().map(|store| store.keyspace).collect(),
            place: next,
        };
        page.push("next", &token.to_string());
        page.push("durable", i64::try_from(settled).unwrap_or(i64::MAX));
        let document = crate::ops::finished(page);
        self.pages.fetch_add(1, Relaxed);
        self.events.fetch_add(count as u64, Relaxed);
        self.bytes.fetch_add(if count > 0 { document.len() as u64 } else { 0 }, Relaxed);
        Ok(Page { document, events: count, next })
    }

    /// Settled commits from `from` to `upto` on, at least one if there is one, and then until
    /// they take `most` bytes.
    ///
    /// # Errors
    /// The log's: it does not reach back so far, or cannot be read.
    pub(crate) fn commits(
        &self,
        lsm: &Lsm,
        from: Lsn,
        upto: Lsn,
        most: usize,
    ) -> Result<Vec<Arc<Commit>>, lsm::Error> {
        self.log.read(lsm, from, upto, most)
    }

    /// Keeps the log from `from` on for a while, for who comes back for it.
    pub(crate) fn stays(&self, lsm: &Lsm, from: Lsn) {
        let now = self.clock.monotonic_nanos();
        let behind = lsm.settled_lsn().saturating_sub(from.saturating_sub(1));
        let mut stays = self.stays.lock();
        let gone = expired(&mut stays, now);
        let hold = || lsm.retain("watch", from).ok();
        match stays.back_mut().filter(|stay| now.saturating_sub(stay.began) < SPAN) {
            Some(stay) => {
                stay.behind = stay.behind.max(behind);
                if from < stay.from {
                    // Before the other one goes.
                    let hold = hold();
                    (stay.from, stay.hold) = (from, hold);
                }
            }
            None => stays.push_back(Stay { began: now, from, behind, hold: hold() }),
        }
        drop((stays, gone));
    }

    /// Whether the log is kept for nobody any more: then nothing of it is in memory.
    pub(crate) fn rest(&self) {
        let mut stays = self.stays.lock();
        if stays.is_empty() {
            return;
        }
        let gone = expired(&mut stays, self.clock.monotonic_nanos());
        let is_over = stays.is_empty();
        drop((stays, gone));
        if is_over {
            self.log.rest();
        }
    }

    /// Somebody was told of a gap.
    pub(crate) fn gap(&self) {
        self.gaps.fetch_add(1, Relaxed);
    }

    pub(crate) fn figures(&self) -> WatchFigures {
        let now = self.clock.monotonic_nanos();
        let stays = self.stays.lock();
        let of_late = stays.iter().filter(|stay| now.saturating_sub(stay.began) < 2 * SPAN);
        let behind = of_late.map(|stay| stay.behind).max().unwrap_or(0);
        drop(stays);
        WatchFigures {
            pages: self.pages.load(Relaxed),
            events: self.events.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            gaps: self.gaps.load(Relaxed),
            behind,
            memory: self.log.held(),
        }
    }
}

/// Takes out what is over.
fn expired(stays: &mut VecDeque<Stay>, now: u64) -> Vec<Stay> {
    let over = stays.partition_point(|stay| now.saturating_sub(stay.began) > KEEP + SPAN);
    stays.drain(..over).collect()
}

/// A page being filled.
struct Filling<'p, 'a> {
    stores: &'p [Watched<'a>],
    names: &'p [&'p str],
    /// Bytes that one event may have at most.
    most: usize,
    /// Bytes that are left.
    room: usize,
    place: Place,
}

/// What a page takes of one commit.
struct Added<'c> {
    events: Vec<Event<'c>>,
    /// The last of them is the last of the commit.
    is_whole: bool,
    /// The page has room for no more.
    is_full: bool,
}

impl Filling<'_, '_> {
    /// Takes the events of a commit, all or none; if it is the first on the page
    /// (`is_first`) as many as fit, and one at least.
    fn add<'c>(&mut self, commit: &'c Commit, is_first: bool) -> Result<Added<'c>, Refusal> {
        let given = if commit.lsn == self.place.lsn { self.place.at } else { 0 };
        let (mut events, mut bytes) = (Vec::new(), 0);
        for (at, told) in (1..).zip(commit.ops()?.told()) {
            let (lsm::Op::Put(keyspace, ..)
            | lsm::Op::Delete(keyspace, _)
            | lsm::Op::DropKeyspace(keyspace)) = told.op;
            let store = self.stores.iter().position(|store| store.keyspace == keyspace);
            let Some(store) = store.filter(|_| at > given) else { continue };
            let event = Event::of(&self.stores[store].spec, (at, store), &told)?;
            let Some(mut event) = event else { continue };
            event.fit(self.names, self.most);
            let more = event.bytes(self.names);
            let fits = bytes + more <= self.room;
            match (fits, is_first, events.last()) {
                (true, ..) | (false, true, None) => {}
                // It is cut behind the event before.
                (false, true, Some(Event { at, .. })) => {
                    self.place = Place { lsn: commit.lsn, at: *at };
                    return Ok(Added { events, is_whole: false, is_full: true });
                }
                (false, false, _) => {
                    return Ok(Added { events: Vec::new(), is_whole: false, is_full: true });
                }
            }
            bytes += more;
            events.push(event);
        }
        self.place = Place { lsn: commit.lsn, at: 0 };
        self.room = self.room.saturating_sub(bytes);
        Ok(Added { events, is_whole: true, is_full: self.room == 0 })
    }
}

impl Added<'_> {
    fn write(&self, page: &mut DocBuf, commit: &Commit, names: &[&str]) {
        for (nth, event) in self.events.iter().enumerate() {
            let is_last = self.is_whole && nth + 1 == self.events.len();
            page.item_doc(|doc| {
                event.write(doc, (commit.lsn, commit.wall_micros), is_last, names[event.store]);
            });
        }
    }
}
