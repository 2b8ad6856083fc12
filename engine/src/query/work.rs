//! What one query may use, and what it has used.
//!
//! What must stay true: every operator asks [`Work::tick`] for each row it reads,
//! so that a deadline or a cancellation is met after a bounded piece of work; every
//! byte an operator keeps is taken from the one budget of the query, and given back
//! when it is kept no longer, so that of a query whose rows wait to be fetched it is
//! known what it holds.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use platform::Clock;
use proto::Status;

use super::access::Choice;
use super::explain::Way;
use super::spill::SpillSpace;
use super::{QueryError, SelectPlan};
use crate::patience::Patience;

/// Rows, or 4 KiB of them, between two looks at the clock.
const PIECE: u32 = 64;
/// Nanoseconds. What has taken so long may take any time.
const BRIEF: u64 = 200_000;

/// What one query may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes to sort, group, join or change in.
    pub memory: usize,
    /// Bytes of the reply packet.
    pub reply: usize,
    /// Bytes of runs on disk at one time; 0: none.
    pub spill: u64,
    /// Microseconds each page of it may take; `None`: as long as it takes.
    pub micros: Option<u64>,
}

/// What a query has used so far, or for the page it is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Entries read, of stores, of indexes and of lookups.
    pub examined: u64,
    /// Of those, the entries of indexes.
    pub entries: u64,
    /// The most bytes held in memory at once.
    pub memory: usize,
    /// Bytes written to runs on disk.
    pub spilled: u64,
    /// Runs written.
    pub runs: u64,
    /// Microseconds since it, or the page, began.
    pub micros: u64,
}

/// The bounds and the use of one query. Passed to each step; used by one thread at
/// a time.
pub struct Work {
    clock: Arc<dyn Clock>,
    began: Cell<u64>,
    /// Half of the time of the page has gone, as of the last look at the clock.
    late: Cell<bool>,
    cancelled: Arc<AtomicBool>,
    /// Of who asked for the page it is at.
    patience: RefCell<Patience>,
    limits: Limits,
    space: Option<Arc<SpillSpace>>,
    countdown: Cell<u32>,
    used: Cell<usize>,
    on_disk: Cell<u64>,
    /// What is counted for each row, apart from the other figures.
    examined: Cell<u64>,
    entries: Cell<u64>,
    figures: Cell<Figures>,
    way: OnceCell<Way>,
    /// The walk is not worth going on with.
    tired: Cell<bool>,
    /// It was given up for another way.
    turned: Cell<bool>,
}

/// Bytes that a query holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// In memory.
    pub memory: u64,
    /// In runs on disk.
    pub disk: u64,
}

impl Work {
    /// Begins now. Without a `space`, nothing spills.
    pub fn new(
        clock: Arc<dyn Clock>,
        limits: Limits,
        cancelled: Arc<AtomicBool>,
        space: Option<Arc<SpillSpace>>,
    ) -> Work {
        let began = clock.monotonic_nanos();
        Work {
            began: Cell::new(began),
            late: Cell::new(false),
            clock,
            cancelled,
            patience: RefCell::default(),
            limits,
            space,
            countdown: Cell::new(PIECE),
            used: Cell::new(0),
            on_disk: Cell::new(0),
            examined: Cell::new(0),
            entries: Cell::new(0),
            figures: Cell::new(Figures::default()),
            way: OnceCell::new(),
            tired: Cell::new(false),
            turned: Cell::new(false),
        }
    }

    /// Ends, too, when the answer is not wanted any more.
    pub(super) fn within(self, patience: &Patience) -> Work {
        if !patience.is_endless() {
            self.patience.replace(patience.clone());
        }
        self
    }

    /// The page was given: whoever asked for it wants nothing more of this.
    pub(super) fn pause(&self) {
        self.patience.take();
    }

    /// Begins the next page, for who has so much patience: time runs anew, and the
    /// figures are those of that page.
    ///
    /// # Errors
    /// The query was cancelled meanwhile.
    pub(super) fn go_on(&self, patience: &Patience) -> Result<(), QueryError> {
        if !patience.is_endless() {
            self.patience.replace(patience.clone());
        }
        self.began.set(self.clock.monotonic_nanos());
        self.late.set(false);
        self.countdown.set(PIECE);
        self.examined.set(0);
        self.entries.set(0);
        self.figures.set(Figures { memory: self.used.get(), ..Figures::default() });
        self.check_cancelled()
    }

    /// Whether a page that has rows is better given now than filled.
    pub(crate) fn is_late(&self) -> bool {
        self.late.get()
    }

    /// What it holds now.
    pub(super) fn held(&self) -> Held {
        Held { memory: self.used.get() as u64, disk: self.on_disk.get() }
    }

    /// The operators of a plan were made, with this access to its documents.
    pub(super) fn goes(&self, plan: &Arc<SelectPlan>, choice: &Choice) {
        // Of a query that is made twice the first way is told.
        self.way.get_or_init(|| Way::new(plan, choice));
    }

    /// The way it goes, once that is known.
    pub(super) fn way(&self) -> Option<&Way> {
        self.way.get()
    }

    /// The walk is not worth going on with: its rows end before their end.
    pub(super) fn tires(&self) {
        self.tired.set(true);
    }

    /// Whether they did.
    pub(super) fn is_tired(&self) -> bool {
        self.tired.get()
    }

    /// The way is given up for another one.
    pub(super) fn turns(&self) {
        self.turned.set(true);
    }

    /// Whether it was.
    pub(super) fn has_turned(&self) -> bool {
        self.turned.get()
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What was used until now.
    pub fn figures(&self) -> Figures {
        let micros = self.clock.monotonic_nanos().saturating_sub(self.began.get()) / 1000;
        let (examined, entries) = (self.examined.get(), self.entries.get());
        Figures { examined, entries, micros, ..self.figures.get() }
    }

    /// A row of so many bytes was read.
    ///
    /// # Errors
    /// The deadline has passed, or the query was cancelled.
    pub(crate) fn examined(&self, bytes: usize) -> Result<(), QueryError> {
        self.examined.set(self.examined.get() + 1);
        self.tick(bytes)
    }

    /// An entry of an index was read.
    pub(super) fn entry(&self) -> Result<(), QueryError> {
        self.entries.set(self.entries.get() + 1);
        self.examined(0)
    }

    /// A row of so many bytes was worked on.
    pub(super) fn tick(&self, bytes: usize) -> Result<(), QueryError> {
        let cost = 1 + u32::try_from(bytes >> 12).unwrap_or(PIECE);
        match self.countdown.get().checked_sub(cost) {
            Some(left) => {
                self.countdown.set(left);
                Ok(())
            }
            None => {
                self.countdown.set(PIECE);
                self.look()
            }
        }
    }

    /// A document of so many bytes is changed: for who works on rows outside.
    ///
    /// # Errors
    /// The deadline has passed, or the query was cancelled.
    pub fn work_on(&self, bytes: usize) -> Result<(), QueryError> {
        self.tick(bytes)
    }

    /// For who has waited, or is about to commit.
    ///
    /// # Errors
    /// The deadline has passed, or the query was cancelled.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        self.look()
    }

    #[cold]
    fn look(&self) -> Result<(), QueryError> {
        self.check_cancelled()?;
        let patience = self.patience.borrow();
        patience.check(&*self.clock).map_err(QueryError::from_refusal)?;
        if self.limits.micros.is_none() && patience.until().is_none() {
            return Ok(());
        }
        let (now, began) = (self.clock.monotonic_nanos(), self.began.get());
        let nanos = now.saturating_sub(began);
        if nanos >= BRIEF {
            platform::sharing::long_ahead();
        }
        if patience.until().is_some_and(|until| nanos >= until.saturating_sub(began) / 2) {
            self.late.set(true);
        }
        let Some(micros) = self.limits.micros else { return Ok(()) };
        let took = nanos / 1000;
        if took >= micros / 2 {
            self.late.set(true);
        }
        if took >= micros {
            let message = format!(
                "this took longer than the {} ms it may take, after {} documents: filter by key, \
                 ask for less at a time, or raise limits.query_time_ms in db.yaml",
                micros / 1000,
                self.examined.get()
            );
            return Err(QueryError::Refused(Status::Timeout, message));
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Result<(), QueryError> {
        if self.cancelled.load(Relaxed) { Err(QueryError::cancelled()) } else { Ok(()) }
    }

    /// Takes bytes of memory; `false`, and nothing is taken, if there are not as
    /// many left.
    pub(super) fn try_take(&self, bytes: usize) -> bool {
        let used = self.used.get().saturating_add(bytes);
        if used > self.limits.memory {
            return false;
        }
        self.used.set(used);
        let figures = self.figures.get();
        self.figures.set(Figures { memory: figures.memory.max(used), ..figures });
        true
    }

    /// Takes bytes of memory, or says by name what needs them and what to do.
    pub(super) fn take(&self, bytes: usize, to: &str) -> Result<(), QueryError> {
        if self.try_take(bytes) { Ok(()) } else { Err(self.no_memory(to)) }
    }

    pub(super) fn no_memory(&self, to: &str) -> QueryError {
        let advice = match to {
            "group" => {
                "group by fields of fewer values, filter first, or let it spill to disk \
                        (limits.query_spill)"
            }
            "look up" => {
                "make an index of the field that is looked up in the other store, or look up \
                 fewer documents for each row"
            }
            "sort" => {
                "add a limit(n), pluck fewer fields, filter first, or let it spill to disk \
                       (limits.query_spill)"
            }
            _ => "choose fewer documents at a time with filter(..) or limit(n)",
        };
        let message = format!(
            "to {to}, this query needs more than the {} bytes it may use: {advice}",
            self.limits.memory
        );
        QueryError::Refused(Status::QueryMemory, message)
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_sub(bytes));
    }

    /// All operators of the query are gone, and with them what they held: it is begun
    /// anew.
    pub fn holds_nothing(&self) {
        self.used.set(0);
        self.on_disk.set(0);
    }

    /// Bytes of memory that may still be taken.
    pub(super) fn left(&self) -> usize {
        self.limits.memory.saturating_sub(self.used.get())
    }

    /// Where runs go, if they may be written.
    pub(super) fn space(&self) -> Option<&Arc<SpillSpace>> {
        self.space.as_ref().filter(|_| self.limits.spill > 0)
    }

    /// Takes bytes on disk.
    pub(super) fn take_disk(&self, bytes: u64) -> Result<(), QueryError> {
        let on_disk = self.on_disk.get().saturating_add(bytes);
        if on_disk > self.limits.spill {
            let message = format!(
                "this query needs more than the {} bytes it may write to disk to sort and group: \
                 filter first, add a limit(n), pluck fewer fields, or raise limits.query_spill in \
                 db.yaml",
                self.limits.spill
            );
            return Err(QueryError::Refused(Status::QueryMemory, message));
        }
        self.on_disk.set(on_disk);
        let figures = self.figures.get();
        self.figures.set(Figures { spilled: figures.spilled.saturating_add(bytes), ..figures });
        Ok(())
    }

    pub(super) fn give_back_disk(&self, bytes: u64) {
        self.on_disk.set(self.on_disk.get().saturating_sub(bytes));
    }

    pub(super) fn run_written(&self) {
        let figures = self.figures.get();
        self.figures.set(Figures { runs: figures.runs + 1, ..figures });
    }
}
