//! What each action does to the store, and what it must have done.

mod read;
mod write;

use lsm::{Lsm, Step};
use platform::sim::{Fault, SimDisk, Times, Verb};

use crate::plan::{Action, End, Put};
use crate::world::{Done, Failure, World, faults};
pub(crate) use write::put_in;

impl World {
    /// Makes the store. On a disk without room first, if so planned.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        if let Some(room) = self.config.room_at_birth {
            self.disk.set_capacity(Some(room));
            match self.open() {
                Ok(lsm) => drop(lsm),
                Err(error) => {
                    self.tell(|| format!("open without room: {error}"));
                    self.mark("store made on a disk without room, later with");
                }
            }
            self.mend();
        }
        match self.open() {
            Ok(lsm) => self.found(lsm, 0, End::Kill),
            Err(error) => Err(format!("a new store does not open: {error}")),
        }
    }

    /// One action. Without a store (its opening was refused) only the disk's.
    pub(crate) fn act(&mut self, action: &Action) -> Result<(), Failure> {
        self.tell(|| format!("{action:?}"));
        if self.vault.is_crashed() && self.lsm.is_some() {
            self.mark("crash of the archive's disk");
            self.stand_up(self.end)?;
        }
        if self.lsm.is_none()
            && !matches!(action, Action::Restore(..) | Action::Mend | Action::Salvage(_))
        {
            return Ok(());
        }
        match action {
            Action::Commit(puts) => self.commit(puts),
            Action::Count(keyspace, number) => self.count(*keyspace, *number),
            Action::CommitIf(require, keyspace, number, puts) => {
                self.commit_if(*require, *keyspace, *number, puts)
            }
            Action::Reserve(keyspace, number, n) => self.reserve(*keyspace, *number, *n),
            Action::Snapshot(slot) => self.take_snapshot(*slot),
            Action::Release(slot) => {
                self.slots[*slot] = None;
                Ok(())
            }
            Action::Get(slot, keyspace, number) => self.get(*slot, *keyspace, *number),
            Action::Many(slot, keyspace, numbers) => self.many(*slot, *keyspace, numbers),
            Action::Prefix(slot, keyspace, number, bytes, reverse) => {
                self.prefix(*slot, *keyspace, *number, *bytes, *reverse)
            }
            Action::Salvage(sectors) => self.salvage(*sectors),
            Action::Scan(slot, range) => self.scan(*slot, *range),
            Action::Compare => self.compare(),
            Action::Step(steps) => self.step(*steps),
            Action::Flush => self.flush(),
            Action::Sync => self.sync(),
            Action::Wait(micros) => {
                self.clock.advance(std::time::Duration::from_micros(*micros));
                // Now and then somebody sets the wall clock back meanwhile.
                if micros.trailing_zeros() % 4 == 1 {
                    self.clock.set_wall_micros(self.wall().saturating_sub(3 * micros));
                    self.mark("clock set back");
                }
                Ok(())
            }
            Action::Reopen => self.reopen(),
            Action::Resize(bytes) => {
                self.config.options.memtable_bytes = *bytes;
                Ok(())
            }
            Action::Crash(end, again) => {
                self.again.clone_from(again);
                self.mark_drops();
                self.stand_up(*end)
            }
            Action::CrashAt(calls, end) => {
                self.disk.crash_after(*calls);
                self.end = *end;
                Ok(())
            }
            Action::CrashAtArchive(calls, end) => {
                self.vault.crash_after(*calls);
                self.end = *end;
                Ok(())
            }
            Action::Archive => self.archive_now(),
            Action::Backup(full, put) => self.backup(*full, *put),
            Action::Restore(asked, strike, move_in) => self.restore(*asked, *strike, *move_in),
            Action::Verify => self.verify(),
            Action::VerifyAndOpen => self.verify_and_open(),
            Action::RotMeta => self.rot_meta(),
            Action::Hold(slot) => self.hold(*slot),
            Action::ReadHeld(slot) => self.read_held(*slot),
            Action::Fault(fault, place, after) => {
                let (disk, place) = self.place(place);
                disk.fail(*fault, place, Times::After(*after));
                Ok(())
            }
            Action::Full(bytes) => {
                self.disk.set_capacity(Some(self.disk.used() + bytes));
                Ok(())
            }
            Action::NoHandles => {
                self.disk.set_max_handles(Some(0));
                Ok(())
            }
            Action::Mend => {
                self.mend();
                Ok(())
            }
            Action::Rot(place, bits) => {
                let (disk, place) = self.place(place);
                let flipped = disk.rot(place, *bits);
                self.tell(|| format!("rot: {flipped:?}"));
                Ok(())
            }
        }
    }

    /// A disk and what of it: `@` is the archive's.
    fn place<'a>(&self, place: &'a str) -> (&SimDisk, &'a str) {
        place.strip_prefix('@').map_or((&self.disk, place), |rest| (&self.vault, rest))
    }

    /// The end of a run: with faults gone, everything is there and goes on.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.disk.disarm();
        self.vault.disarm();
        if self.vault.is_crashed() {
            self.stand_up(self.end)?;
        }
        self.mend();
        if self.lsm.is_some() {
            self.step(40)?;
            self.compare()?;
            self.reopen()?;
        }
        if self.lsm.is_some() {
            self.flush()?;
        }
        if self.lsm.is_some() {
            self.commit(&[Put::Value(0, 0, 10, u32::MAX)])?;
            self.step(300)?;
        }
        if self.lsm.is_some() {
            self.compare()?;
            self.verify()?;
            self.archive_all()?;
        }
        if self.disk.tally().rotten_bits > 0
            && self.marks.count("bit rot refused at open") == 0
            && self.marks.count("bit rot seen by a read") == 0
        {
            self.mark("bit rot that nobody reads");
        }
        Ok(())
    }

    /// Steps of background work, until nothing is left.
    fn step(&mut self, steps: u32) -> Result<(), Failure> {
        for _ in 0..steps {
            // What a step writes when no set waits for its flush is a collection's.
            let name = if self.lsm().debt().frozen == 0 { "step" } else { "flushing step" };
            match self.run(name, Lsm::step)? {
                Done::Ok(step) => {
                    self.tell(|| format!("{step:?}"));
                    self.note_flush();
                    match step {
                        Step::Idle => {
                            self.mark("nothing left to do");
                            break;
                        }
                        Step::Collected { moved_bytes, freed_bytes, .. } => {
                            self.collected += u64::from(freed_bytes > 0);
                            if moved_bytes > 0 {
                                self.mark("living values moved");
                                if self.runs > 0 {
                                    self.mark("living values moved beside runs");
                                }
                            }
                            if freed_bytes > 0 {
                                self.mark("garbage freed");
                            }
                        }
                        Step::Filtered { .. } => self.mark("filter of a run built anew"),
                        Step::Flushing { .. } => self.mark("flush in pieces"),
                        Step::ArchiveFailed => self.mark("copy to the archive failed"),
                        _ => {}
                    }
                }
                Done::Crashed => break,
                Done::Failed => self.note_poison(),
            }
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        match self.run("flush", Lsm::flush)? {
            Done::Ok(lsn) => {
                self.tell(|| format!("flushed up to {lsn}"));
                self.note_flush();
                if lsn != self.acked {
                    return Err(format!("flushed up to {lsn}, the last commit is {}", self.acked));
                }
            }
            Done::Crashed => {}
            Done::Failed => self.note_poison(),
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        match self.run("sync", Lsm::sync)? {
            Done::Ok(lsn) if lsn < self.acked => {
                Err(format!("synced up to {lsn}, the last commit is {}", self.acked))
            }
            Done::Ok(_) => Ok(()),
            Done::Crashed => Ok(()),
            Done::Failed => {
                self.note_poison();
                Ok(())
            }
        }
    }

    /// Closes in order, opens again. Faults may strike; when they are gone it opens.
    pub(crate) fn reopen(&mut self) -> Result<(), Failure> {
        self.let_go();
        self.mark_drops();
        let lsm = self.lsm.take().expect("actions run on an open store");
        let blamed = self.blame();
        drop(self.disk.take_calls());
        let closed = lsm.close();
        self.calls = self.disk.take_calls();
        if self.disk.is_crashed() {
            self.crashed_in("close");
            return self.stand_up(self.end);
        }
        match closed {
            Ok(()) => self.promised = self.promised.max(self.acked),
            Err(error) => {
                self.tell(|| format!("close: {error}"));
                if !blamed && !self.blame() {
                    return Err(format!("close failed, and nobody is to blame: {error}"));
                }
            }
        }
        if let Some(state) = self.sync_failed.take() {
            self.mark(state);
        }
        // The contract has implementations retry short reads: a store may take
        // one for the end of a file when it opens.
        self.disk.clear_fault(Fault::ShortRead);
        // What strikes from here on may still show later.
        self.struck_now();
        let before = faults(&self.tally());
        let mut opened = self.open();
        if let Err(error) = &opened
            && !self.disk.is_crashed()
            && !self.damaged()
        {
            let error = error.to_string();
            self.tell(|| format!("open: {error}"));
            if faults(&self.tally()) == before {
                return Err(format!("opening failed, and nobody is to blame: {error}"));
            }
            self.mark("failed open, then opened");
            self.mend();
            self.struck_now();
            opened = self.open();
        }
        if self.disk.is_crashed() {
            self.mark("crash in recovery");
            return self.stand_up(self.end);
        }
        match opened {
            Ok(lsm) => self.found(lsm, self.acked, End::Kill),
            Err(error) => self.refused_at_open(error),
        }
    }

    fn called(&self, verb: Verb, place: &str) -> bool {
        self.calls.iter().any(|call| call.verb == verb && call.ok && call.path.starts_with(place))
    }

    fn note_flush(&mut self) {
        if self.called(Verb::Remove, "wal") || self.called(Verb::Rename, "wal") {
            self.mark("log segment gone after a flush");
        }
        let dropped = self.unflushed_drops > 0;
        let flushed = self.lsm().flushed_lsn();
        let gone = flushed >= self.unflushed_drops;
        if let Ok(stats) = self.lsm().stats() {
            let reached = [
                (stats.runs_written > 0, "run written"),
                (stats.runs_joined > 0, "runs joined"),
                (stats.run_merges > 0, "runs merged into a tree"),
                (dropped && gone && stats.runs < self.runs, "keyspace with runs dropped"),
                (self.waiting && self.flushed < flushed, "flush while moved values waited"),
            ];
            for (_, mark) in reached.into_iter().filter(|(is, _)| *is) {
                self.mark(mark);
            }
            self.runs = stats.runs;
            self.waiting = stats.gc_waiting_bytes > 0;
            self.flushed = flushed;
        }
        if gone {
            self.unflushed_drops = 0;
        }
    }

    fn mark_drops(&mut self) {
        if self.unflushed_drops > 0 {
            self.mark("drop not yet flushed at a crash");
        }
    }

    /// Remembers which sync failed.
    pub(crate) fn note_poison(&mut self) {
        let failed = self.disk.tally().failed_syncs;
        if failed == 0 {
            return;
        }
        if self.lsm().poisoned().is_some() {
            self.sync_failed = Some("failed sync of the log, then opened again");
        } else if let Some(why) = self.lsm().flush_poisoned() {
            self.sync_failed = Some(if why.contains("vlog") {
                "failed sync of the value log, then opened again"
            } else {
                "failed sync of the page file, then opened again"
            });
        }
    }
}
