//! Backups, restores and verification, against the model.
//!
//! Invariants:
//! * a restored store is the model at the commit it says it ends with, and that
//!   is the commit that was asked for;
//! * what an unfinished restore leaves never opens as a store that is half there;
//! * a store that verifies clean opens, and answers everything.

use std::ops::Bound;
use std::sync::Arc;

use lsm::{BackupOptions, Batch, Direction, KeyspaceId, Lsm, Lsn, Restore, Until};
use platform::Clock;
use platform::sim::{Fault, SimDisk, Times};

use crate::act::put_in;
use crate::history::{ARCHIVE, damaged};
use crate::model::Write;
use crate::plan::{Asked, End, PLENTY, Put, Strike};
use crate::rng::{Rng, mix};
use crate::world::{Failure, World, faults};

/// Bytes of a page of the page file.
const PAGE: usize = 4096;

/// Where the backups lie on the archive's disk.
const BACKUPS: &str = "backups";

impl World {
    /// A backup, with a commit and a flush in the middle of it.
    pub(crate) fn backup(&mut self, full: bool, put: Put) -> Result<(), Failure> {
        let vault = Arc::clone(&self.vault) as _;
        let writes = [put.write()];
        let mut batch = Batch::new();
        match &writes[0] {
            Write::Put(keyspace, key, value) => put_in(&mut batch, *keyspace, key, value),
            Write::Delete(keyspace, key) => batch.delete(KeyspaceId(*keyspace), key),
            Write::Drop(keyspace) => batch.drop_keyspace(KeyspaceId(*keyspace)),
        }
        let durable = self.lsm().durable_lsn();
        let before = faults(&self.tally());
        let taken = self.write("backup", &writes, |lsm| {
            let begun = lsm.backup(&vault, BACKUPS, BackupOptions { full });
            let lsn = lsm.commit(&batch)?;
            // Its errors are the next flush's.
            drop(lsm.flush());
            Ok((lsn, begun.and_then(|backup| backup.run(&mut |_| ()))))
        })?;
        match taken {
            None => Ok(()),
            Some(Ok(info)) => {
                self.tell(|| format!("{info}"));
                let upper = self.acked;
                // Who may hold little of the log is let go: it ends where it was then.
                let short = self.config.options.wal_retain_bytes < PLENTY;
                if short && info.lsn < durable {
                    self.mark("backup that ends early, let go by the log");
                }
                if !short && info.lsn < durable || info.lsn > upper {
                    return Err(format!(
                        "the backup ends at {}, not {durable}..={upper}",
                        info.lsn
                    ));
                }
                if info.parent.is_some() {
                    self.mark("incremental backup");
                }
                self.backups.push(info);
                Ok(())
            }
            Some(Err(error)) => {
                self.tell(|| format!("backup: {error}"));
                if self.vault.is_crashed() {
                    self.mark("crash of a backup");
                } else if faults(&self.tally()) == before && !self.blame() {
                    return Err(format!("the backup failed, and nobody is to blame: {error}"));
                }
                Ok(())
            }
        }
    }

    /// Restores into an empty disk, opens what is there, and compares. `strike`: what
    /// that disk does meanwhile. `move_in`: life goes on there.
    pub(crate) fn restore(
        &mut self,
        asked: Asked,
        strike: Option<Strike>,
        move_in: bool,
    ) -> Result<(), Failure> {
        // What a damaged log has lost is in no model any more.
        self.backups.retain(|info| info.lsn <= self.model.last());
        let Some(last) = self.backups.last().cloned() else { return Ok(()) };
        if self.damaged() && self.lsm.is_some() {
            return Ok(());
        }
        let target = SimDisk::new(self.disk.calls() ^ 0x5EED);
        match strike {
            Some(Strike::Crash(calls)) => target.crash_after(calls),
            Some(Strike::Read(after)) => target.fail(Fault::Read, "", Times::After(after)),
            None => {}
        }
        let until = match asked {
            Asked::Latest => Until::Latest,
            Asked::Back(commits) => Until::Lsn(last.lsn.saturating_sub(commits)),
            Asked::Wall(commits) => match self.model.wall(last.lsn.saturating_sub(commits)) {
                Some(wall) => Until::Wall(wall),
                None => return Ok(()),
            },
        };
        let vault: Arc<dyn platform::Disk> = Arc::clone(&self.vault) as _;
        let has_archive = self.vault.files().iter().any(|file| file.starts_with(ARCHIVE));
        let archive = has_archive.then(|| (Arc::clone(&vault), ARCHIVE.to_owned()));
        let what = Restore { disk: vault, dir: BACKUPS.into(), number: None, archive, until };
        // Another salt each time, as from real entropy: it makes the store's identity.
        let wal_salt = mix(self.config.options.wal_salt ^ self.hash());
        let options = lsm::Options { archive: None, wal_salt, ..self.config.options.clone() };
        let before = faults(&self.tally());
        let into = Arc::clone(&target) as _;
        let done = lsm::restore(&what, &into, &*self.clock, &options, &mut |_, _| ());
        match done {
            Ok(restored) => {
                self.tell(|| format!("{restored}"));
                let lsn = restored.lsn;
                let passed_over = !restored.unreadable.is_empty();
                if passed_over && !damaged(&self.vault.tally()) && faults(&self.tally()) == before {
                    return Err(format!("a sound backup was passed over: {restored}"));
                }
                let least = if passed_over { 0 } else { last.lsn };
                self.right_end(least, until, lsn, restored.left_out, has_archive)?;
                if let (Until::Wall(wall), Some((next, _))) = (until, restored.left_out)
                    && (next..=self.model.last())
                        .any(|later| self.model.wall(later).is_some_and(|at| at <= wall))
                {
                    self.mark("restored to a moment that came twice");
                }
                match asked {
                    Asked::Latest => self.mark("restored"),
                    Asked::Back(_) => self.mark("restored to a commit"),
                    Asked::Wall(_) => self.mark("restored to a moment"),
                }
                if restored.from_archive > 0 {
                    self.mark("restored with frames of the archive");
                }
                let target = target.restart();
                let opened =
                    Lsm::open(Arc::clone(&target) as _, Arc::clone(&self.clock) as _, options)
                        .map_err(|e| format!("what was restored does not open: {e}"))?;
                self.is_model(&opened, lsn)?;
                drop(opened);
                if move_in {
                    self.move_in(target, lsn)?;
                }
                Ok(())
            }
            Err(error) => {
                self.tell(|| format!("restore: {error}"));
                if target.is_crashed() {
                    self.mark("crash of a restore");
                    return self.unfinished(&target.restart(), options);
                }
                if target.tally().failed_reads > 0 {
                    self.mark("failed read of what a restore had written");
                    return self.unfinished(&target.restart(), options);
                }
                // What lies before the oldest backup's trees cannot be had.
                let unreachable =
                    matches!(error, lsm::BackupError::Unreachable { .. }) && asked != Asked::Latest;
                if !unreachable && faults(&self.tally()) == before && !damaged(&self.vault.tally())
                {
                    return Err(format!("it cannot be restored: {error}"));
                }
                if damaged(&self.vault.tally()) {
                    self.mark("restore refused a damaged backup");
                }
                Ok(())
            }
        }
    }

    /// Whether a restore ended where it was told to: not before `least`, if as far as
    /// can be.
    fn right_end(
        &self,
        least: Lsn,
        until: Until,
        lsn: Lsn,
        left_out: Option<(Lsn, u64)>,
        has_archive: bool,
    ) -> Result<(), Failure> {
        let right = match until {
            Until::Latest => lsn >= least && lsn <= self.model.last(),
            Until::Lsn(wanted) => lsn == wanted,
            Until::Wall(wall) => {
                let next = match left_out {
                    Some((next, at)) => {
                        next == lsn + 1 && at > wall && self.model.wall(next) == Some(at)
                    }
                    // The end of what there was: of a backup, one that a crash kept from
                    // being reported among them, or of the archive.
                    None => {
                        has_archive
                            || lsm::backups(&*self.vault.snapshot(), BACKUPS)
                                .is_ok_and(|all| all.list.iter().any(|info| info.lsn == lsn))
                    }
                };
                // Of no commit in it, however the clock was set since.
                next && self.model.highest_wall(lsn).is_none_or(|at| at <= wall)
            }
        };
        if right { Ok(()) } else { Err(format!("restored up to {lsn}, asked for {until}")) }
    }

    /// Everything in `lsm` is the model at `lsn`.
    fn is_model(&mut self, lsm: &Lsm, lsn: Lsn) -> Result<(), Failure> {
        if lsm.last_lsn() != lsn {
            return Err(format!("restored up to {lsn}, opened at {}", lsm.last_lsn()));
        }
        let snapshot = lsm.snapshot().map_err(|e| e.to_string())?;
        self.compare_with("compare", &snapshot)
            .map_err(|text| format!("the restored store: {text}"))
    }

    /// What a crash of a restore left: no store, all of it, or an empty directory.
    fn unfinished(&mut self, target: &Arc<SimDisk>, options: lsm::Options) -> Result<(), Failure> {
        let empty = target.files().iter().all(|file| file == "LOCK");
        let clock = Arc::clone(&self.clock) as _;
        match Lsm::open(Arc::clone(target) as _, clock, options) {
            Err(error) => {
                self.tell(|| format!("open: {error}"));
                self.mark("unfinished restore refused");
                Ok(())
            }
            Ok(lsm) if empty => {
                if lsm.last_lsn() == 0 {
                    Ok(())
                } else {
                    Err("commits out of nothing".into())
                }
            }
            Ok(lsm) => self.is_model(&lsm, lsm.last_lsn()),
        }
    }

    /// Life goes on in the restored store, with an archive and backups of its own.
    fn move_in(&mut self, target: Arc<SimDisk>, lsn: Lsn) -> Result<(), Failure> {
        self.mark("moved into a restored store");
        self.let_go();
        self.lsm = None;
        self.leave();
        self.disk = target;
        self.disk.record(400);
        self.model.cut(lsn);
        (self.acked, self.promised) = (lsn, lsn);
        self.backups.clear();
        self.born = lsn;
        self.meta_rotten = false;
        self.sync_failed = None;
        self.struck_now();
        match self.open() {
            Ok(lsm) => self.found(lsm, lsn, End::Kill),
            Err(error) => Err(format!("what was restored does not open: {error}")),
        }
    }

    /// Verifies the running store: clean, unless somebody is to blame.
    pub(crate) fn verify(&mut self) -> Result<(), Failure> {
        let before = faults(&self.tally());
        let report = self.lsm().verify().and_then(|mut verify| {
            while !verify.step()? {}
            Ok(verify.into_report())
        });
        match report {
            Ok(report) if report.is_clean() => {
                self.mark("verified while running");
                Ok(())
            }
            Ok(report) => {
                self.tell(|| format!("verify: {report}"));
                if !self.damaged() && faults(&self.tally()) == before {
                    return Err(format!("a sound store does not verify: {report}"));
                }
                Ok(())
            }
            Err(error) => {
                self.tell(|| format!("verify: {error}"));
                if !self.blame() {
                    return Err(format!("verify failed, and nobody is to blame: {error}"));
                }
                Ok(())
            }
        }
    }

    /// Verifies the closed store on the disk. Returns whether it is clean.
    pub(crate) fn verify_closed(&mut self) -> Result<bool, Failure> {
        let disk = Arc::clone(&self.disk) as _;
        match lsm::verify(&disk, &mut |_, _| ()) {
            Ok(report) if report.is_clean() => {
                self.mark("verified when closed");
                Ok(true)
            }
            Ok(report) => {
                self.tell(|| format!("verify: {report}"));
                if !self.damaged() {
                    return Err(format!("a sound store does not verify: {report}"));
                }
                self.mark("damage named by verify");
                Ok(false)
            }
            Err(error) => {
                self.tell(|| format!("verify: {error}"));
                if !self.damaged() {
                    return Err(format!("it cannot be verified: {error}"));
                }
                Ok(false)
            }
        }
    }

    /// Verifies after rot, then opens: what is clean must answer everything.
    pub(crate) fn verify_and_open(&mut self) -> Result<(), Failure> {
        self.let_go();
        self.mend();
        self.disk.disarm();
        let Some(lsm) = self.lsm.take() else { return Ok(()) };
        drop(lsm);
        let clean = self.verify_closed()?;
        let noticed = |world: &World| {
            world.marks.count("bit rot refused at open")
                + world.marks.count("bit rot seen by a read")
        };
        let before = noticed(self);
        match self.open() {
            Ok(lsm) => {
                let floor = self.acked;
                self.found(lsm, floor, End::Kill)?;
            }
            Err(error) => self.refused_at_open(error)?,
        }
        if clean && noticed(self) > before {
            return Err("verify found nothing wrong, the store did".into());
        }
        Ok(())
    }

    /// Salvages what the disk holds into an empty one: only true values are there,
    /// and all of them if it says so. So many sectors of it cannot be read meanwhile.
    pub(crate) fn salvage(&mut self, sectors: u32) -> Result<(), Failure> {
        self.let_go();
        self.mend();
        self.disk.disarm();
        let was_open = self.lsm.take().is_some();
        let (last, rotten) = (self.model.last(), self.damaged());
        let target = SimDisk::new(self.disk.calls() ^ 0xA1FA);
        let source = if sectors == 0 { Arc::clone(&self.disk) } else { self.spoilt(sectors) };
        let damaged = rotten || sectors > 0;
        let (from, into) = (Arc::clone(&source) as _, Arc::clone(&target) as _);
        let options = lsm::Options { archive: None, ..self.config.options.clone() };
        let clock = Arc::clone(&self.clock);
        let done = lsm::salvage(&from, &into, Arc::clone(&clock) as _, &options, &mut |_| ());
        match done {
            Ok(report) => {
                self.tell(|| format!("{report}"));
                self.mark("salvaged");
                if source.tally().failed_reads > self.disk.tally().failed_reads {
                    self.mark("salvaged past sectors that cannot be read");
                }
                let lsm = Lsm::open(target as _, clock as _, options)
                    .map_err(|e| format!("what was salvaged does not open: {e}"))?;
                let snapshot = lsm.snapshot().map_err(|e| e.to_string())?;
                let as_of = report.as_of;
                if as_of.is_some_and(|lsn| lsn > last) {
                    return Err(format!("salvaged as of {as_of:?}, the last commit is {last}"));
                }
                let mut saved = 0;
                for keyspace in 0..self.config.keyspaces {
                    let all = (Bound::Unbounded, Bound::Unbounded);
                    let (id, forward) = (KeyspaceId(keyspace), Direction::Forward);
                    let mut cursor =
                        snapshot.range(id, all.0, all.1, forward).map_err(|e| e.to_string())?;
                    while let Some((key, value)) = cursor.next().map_err(|e| e.to_string())? {
                        saved += 1;
                        let is_true = match as_of {
                            Some(lsn) => {
                                self.model.get(keyspace, key, lsn).is_some_and(|v| v[..] == *value)
                            }
                            None => self.model.ever(keyspace, key).any(|v| v[..] == *value),
                        };
                        if !is_true {
                            return Err(format!(
                                "salvage as of {as_of:?} gives {} of {keyspace} a value it had not",
                                key.escape_ascii()
                            ));
                        }
                    }
                }
                let all = |lsn| -> usize {
                    (0..self.config.keyspaces).map(|k| self.model.all(k, lsn).count()).sum()
                };
                match as_of {
                    Some(lsn) if report.is_whole() && saved != all(lsn) => {
                        return Err(format!("salvage says all is there, it has {saved} keys"));
                    }
                    _ if !(damaged
                        || report.is_whole() && as_of.is_some_and(|at| at >= self.acked)) =>
                    {
                        return Err(format!("a sound store is not salvaged whole: {report}"));
                    }
                    _ if !report.is_whole() => self.mark("salvaged in part"),
                    _ => {}
                }
            }
            Err(error) => {
                self.tell(|| format!("salvage: {error}"));
                if !rotten {
                    return Err(format!("a sound store cannot be salvaged: {error}"));
                }
            }
        }
        if !was_open {
            return Ok(());
        }
        match self.open() {
            Ok(lsm) => self.found(lsm, self.acked, End::Kill),
            Err(error) => self.refused_at_open(error),
        }
    }

    /// A copy of the disk, on which sectors of the store cannot be read.
    fn spoilt(&mut self, sectors: u32) -> Arc<SimDisk> {
        let disk = self.disk.snapshot();
        let files: Vec<_> = disk.files().into_iter().filter(|file| file != "LOCK").collect();
        let mut rng = Rng::new(self.disk.calls() ^ 0x5EC7);
        for _ in 0..sectors {
            let Some(file) = files.get(rng.below(files.len().max(1) as u64) as usize) else {
                continue;
            };
            let len = disk.file_bytes(file).map_or(0, |bytes| bytes.len() as u64);
            if len > 0 {
                let at = rng.below(len);
                self.tell(|| format!("{file} cannot be read at {at}"));
                // There is such a byte.
                drop(disk.spoil(file, at, 1));
            }
        }
        disk
    }

    /// The newest meta page rots: the store opens with the one before, and has all.
    pub(crate) fn rot_meta(&mut self) -> Result<(), Failure> {
        self.let_go();
        self.mend();
        self.disk.disarm();
        // After a failed sync a meta page may be in the kernel only, and look durable
        // to the process that comes next: then the medium has one good one, not two.
        if self.damaged() || self.tally().failed_syncs > 0 || self.meta_rotten {
            return Ok(());
        }
        // A switch that failed may have torn the other one, and nothing have been
        // committed since that makes it whole: opening tells.
        if self.tally().failed_writes > 0 {
            self.lsm = None;
            match self.open() {
                Ok(lsm) => self.found(lsm, self.acked, End::Kill)?,
                Err(error) => return self.refused_at_open(error),
            }
        }
        // A power cut in a switch may have torn it too.
        if self.lsm().stats().is_ok_and(|stats| stats.damaged_meta.is_some()) {
            return Ok(());
        }
        let epoch = |slot: usize| {
            let bytes = self.disk.file_bytes("trees.pages")?;
            let page = bytes.get(slot * PAGE..(slot + 1) * PAGE)?;
            let epoch = page[24..32].try_into().ok().map(u64::from_le_bytes);
            epoch.filter(|_| page[8..16] == *b"PLNKTREE")
        };
        let (Some(even), Some(odd)) = (epoch(0), epoch(1)) else { return Ok(()) };
        let (newest, floor) = (usize::from(odd > even), self.acked);
        let at = (newest * PAGE) as u64 + 24 + self.disk.calls() % 48;
        self.lsm = None;
        self.disk.corrupt("trees.pages", at, 0x10).map_err(|e| e.to_string())?;
        match self.open() {
            Ok(lsm) => self.found(lsm, floor, End::Kill)?,
            Err(error) => {
                return Err(format!("one rotten meta page and it does not open: {error}"));
            }
        }
        self.mark("newest meta page rotten, opened with the older one");
        // The next switch writes over it.
        self.meta_rotten = true;
        let before = self.lsm().flushed_lsn();
        self.commit(&[Put::Value(0, 1, 20, u32::MAX - 1)])?;
        self.flush()?;
        self.meta_rotten = self.lsm().flushed_lsn() == before;
        Ok(())
    }

    /// The clock's wall time.
    pub(crate) fn wall(&self) -> u64 {
        self.clock.wall_micros()
    }
}
