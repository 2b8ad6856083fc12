//! A run: the store on its disk, the model beside it, and what was promised.
//!
//! Invariants:
//! * `acked` is the last commit that returned `Ok`; `promised` the last one of
//!   which a power cut may take nothing; the model's last one the last that was
//!   tried and may be found;
//! * an error needs somebody to blame: a fault that struck, a disk without room,
//!   damage. Otherwise it is a failure of the store;
//! * whatever is answered without an error is what the model says.

use std::sync::Arc;

use lsm::{BackupInfo, LogArchive, Lsm, Lsn, Options, Retention, Snapshot, SyncMode};
use platform::sim::{Call, SimClock, SimDisk, Tally, Verb};

use crate::history::{ARCHIVE, damaged};
use crate::marks::Marks;
use crate::model::{Model, Write};
use crate::plan::{Config, End, SLOTS};
use crate::rng::mix;

/// What went wrong, in words.
pub type Failure = String;

/// See the module.
pub struct World {
    pub(crate) config: Config,
    pub(crate) disk: Arc<SimDisk>,
    /// The archive's disk.
    pub(crate) vault: Arc<SimDisk>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) lsm: Option<Lsm>,
    pub(crate) model: Model,
    /// The last commit that returned.
    pub(crate) acked: Lsn,
    /// A power cut may take nothing up to here.
    pub(crate) promised: Lsn,
    /// Snapshots held, with the flushed LSN and the segments collected when they
    /// were taken.
    pub(crate) slots: [Option<(Snapshot, Lsn, u64)>; SLOTS],
    /// Readers of the log, with the first frame each has not read.
    pub(crate) holds: [Option<(Retention, Lsn)>; 2],
    /// One of the two meta pages is rotten, and was not written over since.
    pub(crate) meta_rotten: bool,
    /// Value-log segments that were collected.
    pub(crate) collected: u64,
    /// The commit the store was restored to; 0 if it was not.
    pub(crate) born: Lsn,
    /// Backups taken of this store, oldest first.
    pub(crate) backups: Vec<BackupInfo>,
    /// How the machine ends when the planned call comes.
    pub(crate) end: End,
    /// Calls after which each recovery is crashed.
    pub(crate) again: Vec<u64>,
    /// What had struck disks that were left behind.
    left: Tally,
    /// What had struck when the store was opened.
    struck: Tally,
    /// The disk calls of the last operation.
    pub(crate) calls: Vec<Call>,
    /// A sync failed: the state that the next opening will have reached.
    pub(crate) sync_failed: Option<&'static str>,
    /// The last commit that drops a keyspace, unless it is flushed.
    pub(crate) unflushed_drops: Lsn,
    /// Runs beside the trees when last looked at.
    pub(crate) runs: usize,
    /// Moved values waited for their names when it was last looked, and what was flushed.
    pub(crate) waiting: bool,
    pub(crate) flushed: lsm::Lsn,
    /// A commit was refused, for this.
    pub(crate) refused: Option<&'static str>,
    pub(crate) marks: Marks,
    hash: u64,
    /// What happened, if it is to be told.
    pub(crate) told: Option<Vec<String>>,
}

/// How a run may go on after an operation.
pub(crate) enum Done<T> {
    Ok(T),
    /// The machine ended in it; it stands again now.
    Crashed,
    /// Refused, for a reason there is.
    Failed,
}

impl World {
    pub(crate) fn new(seed: u64, config: Config, tell: bool) -> Self {
        let disk = SimDisk::new(seed);
        disk.record(400);
        World {
            config,
            disk,
            vault: SimDisk::new(mix(seed)),
            clock: Arc::new(SimClock::new(1_700_000_000_000_000)),
            lsm: None,
            model: Model::default(),
            acked: 0,
            promised: 0,
            slots: Default::default(),
            holds: Default::default(),
            meta_rotten: false,
            collected: 0,
            born: 0,
            backups: Vec::new(),
            left: Tally::default(),
            end: End::Power,
            again: Vec::new(),
            struck: Tally::default(),
            calls: Vec::new(),
            sync_failed: None,
            unflushed_drops: 0,
            runs: 0,
            waiting: false,
            flushed: 0,
            refused: None,
            marks: Marks::default(),
            hash: seed,
            told: tell.then(Vec::new),
        }
    }

    /// Everything that was done, answered, and asked of the disk.
    pub(crate) fn hash(&self) -> u64 {
        mix(self.hash ^ self.disk.trace() ^ mix(self.vault.trace()))
    }

    /// Notes an outcome.
    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        let what = what();
        for byte in what.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if let Some(told) = &mut self.told {
            told.push(what);
        }
    }

    pub(crate) fn mark(&mut self, state: &'static str) {
        self.marks.mark(state);
    }

    pub(crate) fn is_sync(&self) -> bool {
        self.config.options.sync == SyncMode::Sync
    }

    /// Bytes on the medium are not what was written: silence is not expected.
    pub(crate) fn damaged(&self) -> bool {
        damaged(&self.disk.tally())
    }

    /// Faults that struck, on both disks.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.disk.tally();
        tally += self.vault.tally();
        tally
    }

    /// Whether somebody is to blame for an error.
    pub(crate) fn blame(&self) -> bool {
        damaged(&self.tally()) || faults(&self.tally()) != faults(&self.struck)
    }

    /// The store; open it first.
    pub(crate) fn lsm(&self) -> &Lsm {
        self.lsm.as_ref().expect("actions run on an open store")
    }

    fn options(&self) -> Options {
        let wal_salt = mix(self.config.options.wal_salt ^ self.disk.calls());
        let archive = self.config.archive.then(|| {
            let disk = Arc::clone(&self.vault) as _;
            LogArchive { step_bytes: 2 << 10, ..LogArchive::new(disk, ARCHIVE) }
        });
        Options { wal_salt, archive, ..self.config.options.clone() }
    }

    /// Runs an operation of the store and sorts out how it ended.
    pub(crate) fn run<T>(
        &mut self,
        name: &str,
        op: impl FnOnce(&Lsm) -> Result<T, lsm::Error>,
    ) -> Result<Done<T>, Failure> {
        drop(self.disk.take_calls());
        let result = op(self.lsm());
        self.calls = self.disk.take_calls();
        // A commit does not go to the archive: its answer counts, the machine ends
        // before the next action.
        let commits = ["commit", "commit_with", "backup"].contains(&name);
        let at_archive = self.vault.is_crashed() && !commits;
        if self.disk.is_crashed() || at_archive {
            self.tell(|| format!("{name}: crashed"));
            if !self.disk.is_crashed() {
                self.mark("crash of the archive's disk");
            }
            self.crashed_in(name);
            self.stand_up(self.end)?;
            return Ok(Done::Crashed);
        }
        self.watch()?;
        match result {
            Ok(value) => Ok(Done::Ok(value)),
            Err(error) => {
                self.tell(|| format!("{name}: {error}"));
                if !self.blame() {
                    return Err(format!("{name} failed, and nobody is to blame: {error}"));
                }
                Ok(Done::Failed)
            }
        }
    }

    /// What must hold after every call.
    fn watch(&mut self) -> Result<(), Failure> {
        let lsm = self.lsm.as_ref().expect("actions run on an open store");
        let (durable, flushed, last) = (lsm.durable_lsn(), lsm.flushed_lsn(), lsm.last_lsn());
        if durable < self.promised && !self.damaged() {
            return Err(format!("durable up to {durable}, after {} was", self.promised));
        }
        if flushed > durable {
            return Err(format!("flushed up to {flushed}, durable only up to {durable}"));
        }
        if durable > last || last > self.model.last() + 1 {
            return Err(format!("durable {durable}, last {last}, tried {}", self.model.last()));
        }
        self.promised = self.promised.max(durable.min(self.model.last()));
        Ok(())
    }

    /// Marks what a crash interrupted, from the disk calls made in it.
    pub(crate) fn crashed_in(&mut self, name: &str) {
        let calls = &self.calls;
        let wrote = |verb: Verb, place: &str, n: usize| {
            calls.iter().filter(|c| c.verb == verb && c.ok && c.path.starts_with(place)).count()
                >= n
        };
        let switched = wrote(Verb::Sync, "trees.pages", 2);
        let values = wrote(Verb::Sync, "vlog", 1) || wrote(Verb::Write, "trees.pages", 1);
        if name == "step" {
            let moved = wrote(Verb::Write, "vlog", 1);
            let pages = wrote(Verb::Write, "trees.pages", 1);
            if pages && !switched && self.waiting {
                self.mark("crash while moved values were being named");
            }
            if moved && !switched {
                self.mark("crash in a collection after values moved, before the switch");
                if self.runs > 0 {
                    self.mark("crash in a collection beside runs");
                }
            } else if pages && !switched && self.runs > 0 {
                self.mark("crash in a merge of runs, before the switch");
            }
        } else if matches!(name, "flushing step" | "flush") || name == "commit" && values {
            if values && self.runs > 0 {
                self.mark("crash in a flush beside runs");
            }
            if switched {
                self.mark("crash in a flush after the switch");
            } else if values {
                self.mark("crash in a flush after values, before the switch");
            }
        }
        match name {
            "commit" => self.mark("crash in a commit"),
            "close" => self.mark("crash in a clean close"),
            _ => {}
        }
    }

    /// The machine has ended, or ends here; it comes back, and so does the store.
    pub(crate) fn stand_up(&mut self, end: End) -> Result<(), Failure> {
        let mut end = end;
        self.let_go();
        self.marks_before(end);
        let mut floor = self.floor(end);
        let tried = self.model.last();
        let mut again = std::mem::take(&mut self.again).into_iter();
        let mut crashes = 0;
        loop {
            self.lsm = None;
            let after = |disk: &SimDisk| match end {
                End::Kill => disk.kill(),
                End::Power => disk.restart(),
                End::WorstPower => disk.restart_worst(),
            };
            (self.disk, self.vault) = (after(&self.disk), after(&self.vault));
            self.tell(|| format!("{end:?}; {floor}..={tried} may be found"));
            self.struck_now();
            if let Some(calls) = again.next() {
                self.disk.crash_after(calls);
            }
            if self.config.verify_crashed && !self.damaged() {
                self.verify_closed()?;
                self.mark("verified before recovery");
            }
            let opened = self.open();
            if self.disk.is_crashed() {
                crashes += 1;
                self.mark("crash in recovery");
                if crashes > 1 {
                    self.mark("crash in recovery again and again");
                }
                // A kill first and then a power cut is a power cut.
                if end == End::Kill && crashes % 2 == 1 {
                    end = End::Power;
                    floor = floor.min(self.floor(End::Power));
                }
                continue;
            }
            self.disk.disarm();
            return match opened {
                Ok(lsm) => self.found(lsm, floor, end),
                Err(error) => self.refused_at_open(error),
            };
        }
    }

    /// Gives back what readers hold.
    pub(crate) fn let_go(&mut self) {
        self.slots = Default::default();
        self.holds = Default::default();
    }

    fn floor(&self, end: End) -> Lsn {
        match end {
            End::Kill => self.acked,
            _ if self.is_sync() => self.acked,
            _ => self.promised,
        }
    }

    fn marks_before(&mut self, end: End) {
        let unsynced = self.acked > self.promised;
        if self.config.archive
            && let Some(lsm) = &self.lsm
            && let Ok(stats) = lsm.stats()
            && stats.archive.is_some_and(|a| a.archived_lsn < stats.flushed_lsn)
        {
            self.mark("archive behind at a crash");
        }
        match end {
            End::Kill if unsynced => self.mark("kill with unsynced commits"),
            _ => {}
        }
    }

    pub(crate) fn open(&mut self) -> Result<Lsm, lsm::Error> {
        drop(self.disk.take_calls());
        let disk = Arc::clone(&self.disk) as _;
        Lsm::open(disk, Arc::clone(&self.clock) as _, self.options())
    }

    /// The store is back: is it the one that was?
    pub(crate) fn found(&mut self, lsm: Lsm, floor: Lsn, end: End) -> Result<(), Failure> {
        let (found, tried) = (lsm.last_lsn(), self.model.last());
        self.tell(|| format!("opened at {found}"));
        // A write that the medium lost, or bytes that rot at the very end of the
        // log, look like an end that was never durable.
        let least = if self.damaged() { 0 } else { floor };
        if !(least..=tried).contains(&found) {
            return Err(format!("found commits up to {found}, not {floor}..={tried} ({end:?})"));
        }
        if lsm.durable_lsn() != found {
            return Err(format!("found {found}, but only {} is durable", lsm.durable_lsn()));
        }
        if found > self.acked {
            self.mark("failed commit found after a crash");
        } else if tried > self.acked {
            self.mark("failed commit gone after a crash");
        }
        if found < self.acked && !self.damaged() {
            self.mark("async commits lost to a power cut");
        }
        if end == End::Power && found == tried {
            self.mark("power cut with nothing lost");
        }
        let calls = self.disk.take_calls();
        let wrote = |verb: Verb, place: &str| {
            calls.iter().any(|c| c.verb == verb && c.ok && c.path.starts_with(place))
        };
        if wrote(Verb::SetLen, "wal") {
            self.mark("torn tail of the log cut");
        }
        if wrote(Verb::SetLen, "vlog") {
            self.mark("torn tail of the value log cut");
        }
        if wrote(Verb::Write, "trees.pages") && found > 0 {
            self.mark("recovery that flushes");
        }
        self.model.cut(found);
        (self.acked, self.promised) = (found, found);
        self.refused = None;
        self.lsm = Some(lsm);
        self.compare()
    }

    /// Opening was refused: with damage it may be, by name; with faults it works
    /// once they are gone.
    pub(crate) fn refused_at_open(&mut self, error: lsm::Error) -> Result<(), Failure> {
        let text = error.to_string();
        self.tell(|| format!("open: {text}"));
        if self.damaged() {
            let named = ["trees.pages", "wal", "vlog", "LOCK"].iter().any(|f| text.contains(f));
            if !named && faults(&self.tally()) == faults(&self.struck) {
                return Err(format!("opening is refused without naming a file: {text}"));
            }
            let tally = self.disk.tally();
            if tally.rotten_bits > 0 {
                self.mark("bit rot refused at open");
            }
            self.noticed();
            return Ok(());
        }
        Err(format!("it does not open: {text}"))
    }

    pub(crate) fn noticed(&mut self) {
        let tally = self.disk.tally();
        if tally.lost_writes > 0 {
            self.mark("lost write noticed");
        }
        if tally.misdirected_writes > 0 {
            self.mark("misdirected write noticed");
        }
    }

    /// The model takes a commit that was tried.
    pub(crate) fn tried(&mut self, writes: &[Write]) {
        let wall = self.wall();
        self.model.commit(writes, wall);
    }

    /// Faults end, there is room again.
    pub(crate) fn mend(&mut self) {
        self.vault.clear_faults();
        self.disk.clear_faults();
        self.disk.set_capacity(None);
        self.disk.set_max_handles(None);
        let sound = |lsm: &Lsm| lsm.poisoned().is_none() && lsm.flush_poisoned().is_none();
        if self.lsm.as_ref().is_some_and(sound) {
            // From here on it goes on by itself.
            self.struck_now();
        }
    }

    /// Another disk takes the place of this one, and of the archive's.
    pub(crate) fn leave(&mut self) {
        self.hash = self.hash();
        self.left += self.tally();
        self.vault = SimDisk::new(self.hash);
    }

    /// Faults that struck, on all disks there ever were.
    pub(crate) fn all_tally(&self) -> Tally {
        let mut tally = self.tally();
        tally += self.left;
        tally
    }

    /// Whatever has struck so far excuses nothing from here on.
    pub(crate) fn struck_now(&mut self) {
        self.struck = self.tally();
    }
}

/// Faults that a store may answer with an error.
pub(crate) fn faults(tally: &Tally) -> u64 {
    tally.failed_reads
        + tally.short_reads
        + tally.failed_writes
        + tally.failed_syncs
        + tally.failed_names
        + tally.no_space
        + tally.no_descriptors
}
