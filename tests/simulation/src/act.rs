//! What each action does to the store, and what it must have done.

use std::ops::Bound;

use lsm::{Batch, Cursor, Direction, Expect, KeyspaceId, Lsm, Lsn, Snapshot, State, Step};
use platform::sim::{Fault, SimDisk, Times, Verb};

use crate::model::{Model, Write};
use crate::plan::{Action, End, PLENTY, Put, Range, Require, SLOTS, counter, key, short};
use crate::world::{Done, Failure, World, faults};

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

    pub(crate) fn commit(&mut self, puts: &[Put]) -> Result<(), Failure> {
        let (writes, batch) = batch_of(puts);
        self.write("commit", &writes, |lsm| lsm.commit(&batch).map(|lsn| (lsn, ()))).map(drop)
    }

    /// A commit that is refused if the key is not as required, and only then.
    fn commit_if(
        &mut self,
        require: Require,
        keyspace: u32,
        number: u32,
        puts: &[Put],
    ) -> Result<(), Failure> {
        let (writes, mut batch) = batch_of(puts);
        let (key, last) = (key(number), self.model.last());
        let now = self.model.get(keyspace, &key, last).cloned();
        let other = match require {
            Require::ValueOf(back) => {
                self.model.get(keyspace, &key, last.saturating_sub(back)).cloned()
            }
            _ => None,
        };
        let (expect, holds) = match (require, &other) {
            (Require::Present, _) => (Expect::Present, now.is_some()),
            (Require::ValueOf(_), Some(value)) => {
                (Expect::Value(value), now.as_ref() == Some(value))
            }
            (Require::Absent | Require::ValueOf(_), _) => (Expect::Absent, now.is_none()),
        };
        batch.require(KeyspaceId(keyspace), &key, expect);
        if holds || self.lsm().poisoned().is_some() {
            return self
                .write("commit", &writes, |lsm| lsm.commit(&batch).map(|l| (l, ())))
                .map(drop);
        }
        // A refusal that is expected is no failure.
        let done = self.run("refused commit", |lsm| match lsm.commit(&batch) {
            Err(lsm::Error::Unmet { .. }) => Ok(None),
            other => other.map(Some),
        })?;
        match done {
            Done::Ok(Some(lsn)) => Err(format!("commit {lsn} was taken, its requirement unmet")),
            Done::Ok(None) => {
                self.mark("commit refused, its requirement unmet");
                Ok(())
            }
            Done::Crashed => Ok(()),
            Done::Failed => {
                self.note_poison();
                Ok(())
            }
        }
    }

    /// Takes numbers off a counter: never one that was given out before.
    fn reserve(&mut self, keyspace: u32, number: u32, n: u64) -> Result<(), Failure> {
        let key = key(number);
        let before = self.model.get(keyspace, &key, self.model.last()).cloned();
        let next = match before.as_deref().map(<[u8; 8]>::try_from) {
            None => 1,
            Some(Ok(bytes)) => u64::from_le_bytes(bytes),
            Some(Err(_)) => return Ok(()),
        };
        let Some(end) = next.checked_add(n) else { return Ok(()) };
        let writes = [Write::Put(keyspace, key.clone(), counter(end))];
        let taken = self.write("commit", &writes, |lsm| {
            let numbers = lsm.reserve(KeyspaceId(keyspace), &key, n)?;
            Ok((lsm.last_lsn(), numbers))
        })?;
        let Some(taken) = taken else {
            // In async mode the commit itself was taken; only its sync failed, so
            // nobody got the numbers.
            if let Some(lsm) = &self.lsm
                && lsm.poisoned().is_some()
                && !self.is_sync()
            {
                self.acked = lsm.last_lsn();
            }
            return Ok(());
        };
        if taken != (next..end) {
            return Err(format!("reserved {taken:?}, not {:?}", next..end));
        }
        if self.lsm().durable_lsn() < self.acked {
            return Err(format!("numbers {taken:?} were given out before they were durable"));
        }
        Ok(())
    }

    /// Reads a counter and writes one more, as one step.
    fn count(&mut self, keyspace: u32, number: u32) -> Result<(), Failure> {
        let (id, key) = (KeyspaceId(keyspace), key(number));
        let before = self.model.get(keyspace, &key, self.model.last()).cloned();
        let next = counter(count_of(before.as_deref()) + 1);
        let writes = [Write::Put(keyspace, key.clone(), next)];
        let read = self.write("commit_with", &writes, |lsm| {
            lsm.commit_with(|snapshot| {
                let found = snapshot.get(id, &key)?.map(lsm::Value::into_vec);
                let mut batch = Batch::new();
                batch.put(id, &key, &counter(count_of(found.as_deref()) + 1));
                Ok::<_, lsm::Error>((batch, found))
            })
        })?;
        match read {
            Some(found) if found.as_deref() != before.as_deref() => Err(format!(
                "commit_with read {}, not {}",
                short(found.as_deref()),
                short(before.as_deref())
            )),
            _ => Ok(()),
        }
    }

    /// A commit of `writes`, however it is made.
    pub(crate) fn write<T>(
        &mut self,
        name: &str,
        writes: &[Write],
        op: impl FnOnce(&Lsm) -> Result<(Lsn, T), lsm::Error>,
    ) -> Result<Option<T>, Failure> {
        let (last, poisoned) = (self.model.last(), self.lsm().poisoned().is_some());
        if !poisoned {
            self.tried(writes);
        }
        let dropping = writes.iter().any(|write| matches!(write, Write::Drop(_)));
        let before = self.disk.tally();
        let drops_behind = self.unflushed_drops;
        match self.run(name, op)? {
            Done::Ok((lsn, out)) => {
                if poisoned {
                    return Err(format!("commit {lsn} was taken by a log that had failed"));
                }
                if lsn != self.model.last() {
                    return Err(format!("commit {lsn} came after {last}"));
                }
                self.acked = lsn;
                if self.is_sync() && self.lsm().durable_lsn() < lsn {
                    return Err(format!("commit {lsn} was acknowledged before it was durable"));
                }
                if self.called(Verb::Write, "trees.pages") {
                    self.mark("commit flushed a set itself");
                }
                if let Some(state) = self.refused.take() {
                    self.mark(state);
                }
                if let State::ReadOnly { why, .. } = self.lsm().state() {
                    return Err(format!("commit {lsn} was taken by a store that says: {why}"));
                }
                if dropping {
                    self.unflushed_drops = lsn;
                }
                self.tell(|| format!("commit {lsn}"));
                Ok(Some(out))
            }
            Done::Crashed => {
                if dropping {
                    self.mark("drop in flight at a crash");
                }
                if drops_behind > 0 {
                    self.mark("drop not yet flushed at a crash");
                }
                Ok(None)
            }
            Done::Failed => {
                if self.lsm().poisoned().is_none() {
                    // Nothing of it is there, now or after a crash.
                    self.model.cut(last);
                    let now = self.disk.tally();
                    // (A requirement may also meet a want of descriptors: it reads.)
                    let shortage = now.no_space - before.no_space;
                    let only = shortage > 0 && faults(&now) - faults(&before) == shortage;
                    if only && !self.damaged() && self.lsm().state() == State::Healthy {
                        return Err("a commit was refused, the store says that it is well".into());
                    }
                    if now.no_space > before.no_space {
                        self.refused = Some("commit refused for want of space, then taken");
                    } else if now.no_descriptors > before.no_descriptors {
                        self.refused = Some("commit refused for want of descriptors, then taken");
                    }
                } else {
                    self.note_poison();
                }
                Ok(None)
            }
        }
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

    fn take_snapshot(&mut self, slot: usize) -> Result<(), Failure> {
        let Done::Ok(snapshot) = self.run("snapshot", Lsm::snapshot)? else { return Ok(()) };
        if snapshot.lsn() != self.acked {
            return Err(format!("a snapshot sees {}, not {}", snapshot.lsn(), self.acked));
        }
        self.slots[slot] = Some((snapshot, self.lsm().flushed_lsn(), self.collected));
        Ok(())
    }

    /// The snapshot to read through: the slot's, or a new one.
    fn through(&mut self, slot: usize) -> Result<Option<Snapshot>, Failure> {
        if let Some((snapshot, flushed, collected)) = &self.slots[slot] {
            let (snapshot, flushed, collected) = (snapshot.clone(), *flushed, *collected);
            if collected < self.collected {
                self.mark("snapshot read across a collection");
            }
            if flushed < self.lsm().flushed_lsn() {
                self.mark("snapshot read across a flush");
            }
            return Ok(Some(snapshot));
        }
        match self.run("snapshot", Lsm::snapshot)? {
            Done::Ok(snapshot) if snapshot.lsn() == self.acked => Ok(Some(snapshot)),
            Done::Ok(snapshot) => {
                Err(format!("a snapshot sees {}, not {}", snapshot.lsn(), self.acked))
            }
            _ => Ok(None),
        }
    }

    /// An answer that was given must be the model's; a refusal needs a reason.
    fn answer(&mut self, what: &str, got: Result<(), Wrong>) -> Result<(), Failure> {
        match got {
            Ok(()) => Ok(()),
            Err(Wrong::Answer(text)) => Err(format!("{what}: {text}")),
            Err(Wrong::Refused(lsm::Error::SnapshotExpired { .. }))
                if self.config.options.max_pinned_bytes < PLENTY && what != "compare" =>
            {
                self.mark("snapshot expired");
                Ok(())
            }
            Err(Wrong::Refused(error)) => {
                self.tell(|| format!("{what}: {error}"));
                if !self.blame() {
                    return Err(format!("{what} failed, and nobody is to blame: {error}"));
                }
                let tally = self.disk.tally();
                if tally.rotten_bits > 0 {
                    self.mark("bit rot seen by a read");
                } else if self.damaged() {
                    self.noticed();
                } else if tally.failed_reads > 0 {
                    self.mark("failed read of a read");
                }
                Ok(())
            }
        }
    }

    fn get(&mut self, slot: usize, keyspace: u32, number: u32) -> Result<(), Failure> {
        let Some(snapshot) = self.through(slot)? else { return Ok(()) };
        let key = key(number);
        let want = self.model.get(keyspace, &key, snapshot.lsn());
        let got = match snapshot.get(KeyspaceId(keyspace), &key) {
            Ok(found) if found.as_deref() == want.map(AsRef::as_ref) => Ok(()),
            Ok(found) => Err(Wrong::Answer(format!(
                "key {number} of {keyspace} at {} has {}, not {}",
                snapshot.lsn(),
                short(found.as_deref()),
                short(want.map(AsRef::as_ref))
            ))),
            Err(error) => Err(Wrong::Refused(error)),
        };
        self.answer("get", got)
    }

    fn many(&mut self, slot: usize, keyspace: u32, numbers: &[u32]) -> Result<(), Failure> {
        let Some(snapshot) = self.through(slot)? else { return Ok(()) };
        let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
        let got = match snapshot.multi_get(KeyspaceId(keyspace), &keys) {
            Ok(found) => {
                let want = keys.iter().map(|key| self.model.get(keyspace, key, snapshot.lsn()));
                let same = found.len() == keys.len()
                    && found
                        .iter()
                        .zip(want)
                        .all(|(found, want)| found.as_deref() == want.map(AsRef::as_ref));
                let wrong = || format!("keys {numbers:?} of {keyspace} have {found:?}");
                if same { Ok(()) } else { Err(Wrong::Answer(wrong())) }
            }
            Err(error) => Err(Wrong::Refused(error)),
        };
        self.answer("multi_get", got)
    }

    fn prefix(
        &mut self,
        slot: usize,
        keyspace: u32,
        number: u32,
        bytes: usize,
        reverse: bool,
    ) -> Result<(), Failure> {
        let Some(snapshot) = self.through(slot)? else { return Ok(()) };
        let mut prefix = key(number);
        prefix.truncate(bytes);
        let all = self.model.all(keyspace, snapshot.lsn());
        let mut want: Vec<_> = all.filter(|(key, _)| key.starts_with(&prefix)).collect();
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        if reverse {
            want.reverse();
        }
        let got = snapshot
            .prefix(KeyspaceId(keyspace), &prefix, direction)
            .map_err(Wrong::Refused)
            .and_then(|mut cursor| follow(&mut cursor, want.into_iter(), usize::MAX));
        self.answer("prefix", got)
    }

    fn scan(&mut self, slot: usize, range: Range) -> Result<(), Failure> {
        let Some(snapshot) = self.through(slot)? else { return Ok(()) };
        let got = scan(&snapshot, &self.model, range);
        self.answer("scan", got)
    }

    /// Everything a new snapshot shows, both ways, against the model.
    pub(crate) fn compare(&mut self) -> Result<(), Failure> {
        let Done::Ok(snapshot) = self.run("snapshot", Lsm::snapshot)? else { return Ok(()) };
        if snapshot.lsn() != self.acked {
            return Err(format!("a snapshot sees {}, not {}", snapshot.lsn(), self.acked));
        }
        self.compare_with("compare", &snapshot)?;
        // Held snapshots see what they saw, whatever was flushed and collected since.
        for slot in 0..SLOTS {
            if self.slots[slot].is_some()
                && let Some(held) = self.through(slot)?
            {
                self.compare_with("held snapshot", &held)?;
            }
        }
        Ok(())
    }

    /// Everything a snapshot shows, both ways, against the model at its commit.
    pub(crate) fn compare_with(&mut self, what: &str, snapshot: &Snapshot) -> Result<(), Failure> {
        for keyspace in 0..self.config.keyspaces {
            for reverse in [false, true] {
                let range = Range { keyspace, lo: None, hi: None, reverse, seek: None };
                let got = scan(snapshot, &self.model, range);
                self.answer(what, got)?;
            }
        }
        Ok(())
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

/// The writes of a commit, for the model and for the store.
fn batch_of(puts: &[Put]) -> (Vec<Write>, Batch) {
    let writes: Vec<Write> = puts.iter().map(|put| put.write()).collect();
    let mut batch = Batch::new();
    for write in &writes {
        match write {
            Write::Put(keyspace, key, value) => batch.put(KeyspaceId(*keyspace), key, value),
            Write::Delete(keyspace, key) => batch.delete(KeyspaceId(*keyspace), key),
            Write::Drop(keyspace) => batch.drop_keyspace(KeyspaceId(*keyspace)),
        }
    }
    (writes, batch)
}

/// A counter's value, 0 if the key holds something else.
fn count_of(value: Option<&[u8]>) -> u64 {
    value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// How a read may disappoint.
enum Wrong {
    Answer(String),
    Refused(lsm::Error),
}

impl From<lsm::Error> for Wrong {
    fn from(error: lsm::Error) -> Self {
        Wrong::Refused(error)
    }
}

/// A range through the cursor, compared with the model entry by entry, then again
/// from where it was told to seek to; and its count.
fn scan(snapshot: &Snapshot, model: &Model, range: Range) -> Result<(), Wrong> {
    let bound = |side: Option<(u32, bool)>| match side {
        None => Bound::Unbounded,
        Some((number, true)) => Bound::Included(key(number)),
        Some((number, false)) => Bound::Excluded(key(number)),
    };
    let (lo, hi) = (bound(range.lo), bound(range.hi));
    let inside = |key: &[u8]| {
        let above = match &lo {
            Bound::Unbounded => true,
            Bound::Included(lo) => key >= lo.as_slice(),
            Bound::Excluded(lo) => key > lo.as_slice(),
        };
        above
            && match &hi {
                Bound::Unbounded => true,
                Bound::Included(hi) => key <= hi.as_slice(),
                Bound::Excluded(hi) => key < hi.as_slice(),
            }
    };
    let direction = if range.reverse { Direction::Reverse } else { Direction::Forward };
    let id = KeyspaceId(range.keyspace);
    let slices = (lo.as_ref().map(Vec::as_slice), hi.as_ref().map(Vec::as_slice));
    let mut cursor = snapshot.range(id, slices.0, slices.1, direction)?;
    let all = model.all(range.keyspace, snapshot.lsn()).filter(|(key, _)| inside(key));
    let mut want: Vec<_> = all.collect();
    if range.reverse {
        want.reverse();
    }
    follow(&mut cursor, want.iter().copied(), if range.seek.is_some() { 3 } else { usize::MAX })?;
    if let Some(number) = range.seek {
        let to = key(number);
        cursor.seek(&to)?;
        let rest = want.iter().filter(|(key, _)| match direction {
            Direction::Forward => *key >= to.as_slice(),
            Direction::Reverse => *key <= to.as_slice(),
        });
        follow(&mut cursor, rest.copied(), usize::MAX)?;
    }
    // Counted without reading them, they are as many.
    let counted = snapshot.count_range(id, slices.0, slices.1)?;
    if counted.exact && counted.entries != want.len() as u64 {
        let (lsn, entries, want) = (snapshot.lsn(), counted.entries, want.len());
        return Err(Wrong::Answer(format!("at {lsn} {entries} keys are counted, not {want}")));
    }
    Ok(())
}

/// The next `most` entries are those wanted, and at the end there is no other.
fn follow<'a>(
    cursor: &mut Cursor,
    want: impl Iterator<Item = (&'a [u8], &'a crate::model::Bytes)>,
    most: usize,
) -> Result<(), Wrong> {
    let lsn = cursor.snapshot().lsn();
    let mut want = want.take(most);
    for _ in 0..most {
        let wanted = want.next();
        let got = cursor.next()?;
        let same = match (&got, &wanted) {
            (None, None) => return Ok(()),
            (Some((key, value)), Some((wanted, bytes))) => key == wanted && *value == &bytes[..],
            _ => false,
        };
        if !same {
            let show = |entry: Option<(&[u8], &[u8])>| match entry {
                None => "the end".to_owned(),
                Some((key, value)) => format!("{} = {}", key.escape_ascii(), short(Some(value))),
            };
            let wanted = wanted.map(|(key, value)| (key, &value[..]));
            return Err(Wrong::Answer(format!(
                "at {lsn} the next is {}, not {}",
                show(got),
                show(wanted)
            )));
        }
    }
    Ok(())
}
