//! Steps 1 to 4: emptying one victim, a bounded piece at a time.
//!
//! What must stay true:
//! * the bytes held are those of one batch, and one record more at most;
//! * a record is moved only while its key's cell, in the keyspace's tree or a run of
//!   it, is its place, looked up in the version that the commit is based on; one that
//!   a newer run hides lives until a merge meets it (`runs/`).

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use btree::Op;
use vlog::{Pointer, Scan};

use super::Bar;
use crate::flush::Flusher;
use crate::meta::Meta;
use crate::segments::Changes;
use crate::tree::Cell;
use crate::version::Version;
use crate::{Error, Lsm, PAGES, Step, segments};

/// Records looked at in one step: each costs a look into a tree.
const RECORDS: usize = 8192;

/// A victim on its way.
pub(super) struct Job {
    segment: u32,
    scan: Scan,
    batch: Vec<Survivor>,
    /// Keys and values of the batch.
    bytes: Vec<u8>,
    /// It was chosen while there was nothing else to do.
    idle: bool,
}

/// A record that lives.
struct Survivor {
    keyspace: u32,
    lsn: u64,
    at: Pointer,
    key: Range<usize>,
    value: Range<usize>,
    /// The version it was last seen alive in, and the tree that names it there.
    seen: u64,
    tree: u32,
}

/// What a piece of a scan came to.
struct Piece {
    ended: bool,
    /// Bytes of dead records met.
    dead: u64,
}

impl Job {
    fn key(&self, survivor: &Survivor) -> &[u8] {
        &self.bytes[survivor.key.clone()]
    }

    /// Step 1.
    fn look(&mut self, version: &Version, most: usize) -> Result<Piece, Error> {
        let (mut bytes, mut dead) = (0, 0);
        for _ in 0..RECORDS {
            let Some((at, record)) = self.scan.next()? else {
                return Ok(Piece { ended: true, dead });
            };
            bytes += at.len as usize;
            if let Some(tree) = version.names(at, record.keyspace, record.key)? {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(record.key);
                let middle = self.bytes.len();
                self.bytes.extend_from_slice(record.value);
                self.batch.push(Survivor {
                    keyspace: record.keyspace,
                    lsn: record.lsn,
                    at,
                    key: start..middle,
                    value: middle..self.bytes.len(),
                    seen: version.view.epoch(),
                    tree,
                });
            } else {
                dead += u64::from(at.len);
            }
            if bytes >= most {
                break;
            }
        }
        Ok(Piece { ended: false, dead })
    }

    /// Leaves in the batch what lives in `version`, in the order of keyspaces and keys.
    fn settle(&mut self, version: &Version) -> Result<(), Error> {
        let epoch = version.view.epoch();
        let mut batch = std::mem::take(&mut self.batch);
        batch.sort_by(|a, b| (a.keyspace, self.key(a)).cmp(&(b.keyspace, self.key(b))));
        for survivor in batch {
            let tree = match survivor.seen == epoch {
                true => Some(survivor.tree),
                false => version.names(survivor.at, survivor.keyspace, self.key(&survivor))?,
            };
            if let Some(tree) = tree {
                self.batch.push(Survivor { seen: epoch, tree, ..survivor });
            }
        }
        Ok(())
    }
}

impl Lsm {
    /// Whether garbage is owed for what was flushed, and there is some to free.
    pub(crate) fn owes_garbage(&self, flusher: &mut Flusher) -> bool {
        if flusher.gc.debt == 0 {
            return false;
        }
        let bar = Bar::busy(self.options.gc_dead_ratio);
        let due = self.has_grave(flusher)
            || flusher.gc.job.is_some()
            || flusher.gc.victim(bar, flusher.bound()).is_some();
        if !due {
            flusher.gc.debt = 0;
        }
        due
    }

    /// One piece of freeing: of dropped keyspaces first, which cost nothing to
    /// move and make victims cheaper.
    pub(crate) fn reclaim(
        &self,
        flusher: &mut Flusher,
        bar: Bar,
        idle: bool,
    ) -> Result<Option<Step>, Error> {
        match self.clear_grave(flusher)? {
            None => self.collect(flusher, bar, idle),
            step => Ok(step),
        }
    }

    /// Frees what is owed: for who flushes and is not followed by [`Lsm::step`].
    pub(crate) fn pay_garbage(&self, flusher: &mut Flusher) {
        let bar = Bar::busy(self.options.gc_dead_ratio);
        loop {
            let step = match self.unlink(flusher) {
                Ok(None) if self.owes_garbage(flusher) => self.reclaim(flusher, bar, false),
                other => other,
            };
            // An error shows again in the next step, which is where it is told.
            if !matches!(step, Ok(Some(_))) {
                return;
            }
        }
    }

    /// While nothing else is to do: collects to a lower ratio, at last the
    /// segment being written too.
    pub(crate) fn tidy(&self, flusher: &mut Flusher) -> Result<Option<Step>, Error> {
        let bar = Bar::idle(self.options.gc_dead_ratio);
        if let Some(step) = self.collect(flusher, bar, true)? {
            return Ok(Some(step));
        }
        if let Some(step) = self.seal_tail(flusher, bar)? {
            return Ok(Some(step));
        }
        self.pass_retired(flusher)
    }

    /// Ends the segment being written if it alone keeps garbage over the bar.
    fn seal_tail(&self, flusher: &mut Flusher, bar: Bar) -> Result<Option<Step>, Error> {
        let tail = flusher.gc.tail;
        if flusher.bound() != u32::MAX || !flusher.gc.would_choose_tail(bar) {
            return Ok(None);
        }
        self.values.roll()?;
        let view = self.version.load().view.clone();
        let meta = Meta { tail: self.values.sync()?, ..Meta::decode(view.user(), PAGES)? };
        let write = self.pages.begin();
        let view = self.switch(flusher, &view, write, Changes::default(), meta)?;
        self.publish_view(view);
        Ok(Some(Step::Collected { segment: tail.segment, moved_bytes: 0, freed_bytes: 0 }))
    }

    /// One piece of collecting, if there is a victim.
    pub(crate) fn collect(
        &self,
        flusher: &mut Flusher,
        bar: Bar,
        idle: bool,
    ) -> Result<Option<Step>, Error> {
        let bound = flusher.bound();
        let mut job = match flusher.gc.job.take() {
            // Chosen for want of other work, which there is now.
            Some(job) if job.idle && !idle => return Ok(None),
            Some(job) => job,
            None => {
                let Some(segment) = flusher.gc.victim(bar, bound) else { return Ok(None) };
                let from = flusher.gc.rows.get(&segment).map_or(0, |row| row.cleared);
                match self.values.scan_from(segment, from) {
                    Ok(scan) => Job { segment, scan, batch: vec![], bytes: vec![], idle },
                    Err(error) => return self.give_up(flusher, segment, error.into()),
                }
            }
        };
        let version = self.version.load_full();
        let most = self.options.gc_step_bytes;
        let piece = match job.look(&version, most) {
            Ok(piece) => piece,
            Err(error) => return self.give_up(flusher, job.segment, error),
        };
        let gc = &mut flusher.gc;
        gc.debt = gc.debt.saturating_sub(piece.dead);
        let segment = job.segment;
        if !piece.ended && job.bytes.len() < 2 * most {
            gc.job = Some(job);
            return Ok(Some(Step::Collected { segment, moved_bytes: 0, freed_bytes: 0 }));
        }
        let moved_bytes = match self.rewrite(flusher, &version, &mut job, piece.ended) {
            Ok(moved) => moved,
            Err(error) if error.is_damage() => {
                return Ok(Some(self.skip(flusher, segment, &error)));
            }
            // Room or the disk may come back: it begins again where it had cleared.
            Err(error) => return Err(error),
        };
        if !piece.ended {
            flusher.gc.job = Some(job);
        }
        Ok(Some(Step::Collected { segment, moved_bytes, freed_bytes: 0 }))
    }

    /// Steps 2 to 4. Returns the bytes moved.
    fn rewrite(
        &self,
        flusher: &mut Flusher,
        version: &Version,
        job: &mut Job,
        ended: bool,
    ) -> Result<u64, Error> {
        let view = &version.view;
        job.settle(version)?;
        if job.batch.is_empty() {
            job.bytes.clear();
            if ended {
                self.check_emptied(flusher, job.segment);
            }
            return Ok(0);
        }
        let mut changes = Changes::default();
        let mut cells = Vec::with_capacity(job.batch.len());
        let mut moved = 0;
        self.end_large_segment(flusher)?;
        for s in &job.batch {
            let value = &job.bytes[s.value.clone()];
            let to = self.values.append(s.keyspace, job.key(s), s.lsn, value)?;
            changes.dead(s.at);
            changes.named(to);
            cells.push(to);
            moved += u64::from(s.at.len);
        }
        let tail = self.values.sync()?;
        changes.cleared(job.segment, job.scan.offset());

        let mut write = self.pages.begin();
        // A keyspace's cells are in its tree and its runs: for each of them in key order.
        let mut moves: Vec<(&Survivor, &Pointer)> = job.batch.iter().zip(&cells).collect();
        moves.sort_by_key(|(s, _)| s.tree);
        for part in moves.chunk_by(|a, b| a.0.tree == b.0.tree) {
            let tree = part[0].0.tree;
            let ops = part.iter().map(|(s, to)| {
                let mut cell = Vec::with_capacity(1 + Pointer::BYTES);
                Cell::Pointer(**to).encode_into(&mut cell);
                (job.key(s), Op::Put(cell))
            });
            let mut next = part.iter();
            let mut fault = None;
            let applied = write.apply(tree, ops, &mut |key, old| {
                let next = next.next().filter(|(s, _)| job.key(s) == key);
                if Cell::decode_in(tree, old).ok() != next.map(|(s, _)| Cell::Pointer(s.at)) {
                    fault.get_or_insert_with(|| key.to_vec());
                }
            })?;
            if fault.is_some() || applied.replaced != part.len() as u64 {
                let what = format!("tree {tree} changed under a collection");
                return Err(Error::Corrupt { file: PAGES.into(), what });
            }
        }
        let meta = Meta { tail, ..Meta::decode(view.user(), PAGES)? };
        let view = self.switch(flusher, view, write, changes, meta)?;
        self.publish_view(view);
        self.gc.moved.fetch_add(moved, Relaxed);
        job.batch.clear();
        job.bytes.clear();
        if ended {
            self.check_emptied(flusher, job.segment);
        }
        Ok(moved)
    }

    /// After the last record: all of it is dead, but for what a damaged tree of a
    /// dropped keyspace names.
    fn check_emptied(&self, flusher: &mut Flusher, segment: u32) {
        let left = flusher.gc.rows.get(&segment).filter(|row| !row.is_dead());
        if let Some(row) = left {
            let what = format!(
                "{} of {} bytes of its records should be alive, no keyspace names them",
                row.bytes - row.dead,
                row.bytes
            );
            let error = Error::Corrupt { file: segments::file(segment), what };
            self.skip(flusher, segment, &error);
        }
    }

    /// A segment that could not be read: left alone, unless it was for want of
    /// descriptors, which ends; then it begins again where it had cleared.
    fn give_up(
        &self,
        flusher: &mut Flusher,
        segment: u32,
        error: Error,
    ) -> Result<Option<Step>, Error> {
        match error.shortage() {
            Some(_) => Err(error),
            None => Ok(Some(self.skip(flusher, segment, &error))),
        }
    }

    /// Leaves a segment alone until the store is opened again.
    fn skip(&self, flusher: &mut Flusher, segment: u32, error: &Error) -> Step {
        flusher.gc.skipped.insert(segment);
        self.health.met(error);
        self.gc.skipped.lock().insert(segment, error.to_string());
        Step::Collected { segment, moved_bytes: 0, freed_bytes: 0 }
    }
}
