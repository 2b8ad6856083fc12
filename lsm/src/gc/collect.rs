//! Steps 1 and 2: looking through one victim, a bounded piece at a time, and writing
//! anew what lives in it. (Step 3: `moves.rs`.)
//!
//! What must stay true:
//! * the values held are those of one batch, and one record more at most;
//! * a record is written anew only if its key's cell, in the keyspace's tree or a run of
//!   it, was its place when it was looked at; one that a newer run hides lives until a
//!   merge meets it (`runs/`).

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use vlog::{Pointer, Scan};

use super::Bar;
use super::moves::Move;
use crate::flush::Flusher;
use crate::meta::Meta;
use crate::segments::Changes;
use crate::version::Version;
use crate::{Error, Lsm, PAGES, Step};

/// Records looked at in one step: each costs a look into a tree.
const RECORDS: usize = 8192;

/// A victim on its way.
pub(super) struct Job {
    segment: u32,
    scan: Scan,
    batch: Vec<Survivor>,
    /// Keys and values of the batch.
    bytes: Vec<u8>,
    /// It was chosen at rest.
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

    /// Sorts the batch by keyspace and key.
    fn sort(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.sort_by(|a, b| (a.keyspace, self.key(a)).cmp(&(b.keyspace, self.key(b))));
        self.batch = batch;
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
            || !flusher.gc.moves.is_empty()
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
                break;
            }
        }
        // Nobody else names what is left.
        while !self.pace.attended() && !flusher.gc.moves.is_empty() {
            if self.name_moves(flusher).is_err() {
                break;
            }
        }
    }

    /// At rest: collects to a lower ratio, at last the segment being written too.
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

    /// One piece of collecting, if there is a victim or something is left of one.
    pub(crate) fn collect(
        &self,
        flusher: &mut Flusher,
        bar: Bar,
        idle: bool,
    ) -> Result<Option<Step>, Error> {
        // Nothing that is written anew could be named.
        if self.pages.poisoned().is_some() {
            return Ok(None);
        }
        if flusher.gc.moves_are_due(&self.options) {
            return self.name_moves(flusher).map(Some);
        }
        let bound = flusher.bound();
        // One chosen at rest is left when that is over.
        let mut job = match flusher.gc.job.take().filter(|job| idle || !job.idle) {
            Some(job) => job,
            None => {
                let Some(segment) = flusher.gc.victim(bar, bound) else {
                    return match flusher.gc.moves.is_empty() {
                        true => Ok(None),
                        false => self.name_moves(flusher).map(Some),
                    };
                };
                if !flusher.gc.suspects.contains(&segment) {
                    // None that is left of them is worth it.
                    flusher.gc.suspects.clear();
                }
                let from = flusher.gc.looked_through(segment);
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
        if (piece.ended || job.bytes.len() >= 2 * most)
            && let Err(error) = self.write_anew(flusher, &mut job, piece.ended)
        {
            // Naming what is written takes less room, and frees what it empties.
            if error.shortage().is_some() && !flusher.gc.moves.is_empty() {
                flusher.gc.moves.begin();
                return self.name_moves(flusher).map(Some);
            }
            return Err(error);
        }
        if !piece.ended {
            flusher.gc.job = Some(job);
        }
        Ok(Some(Step::Collected { segment, moved_bytes: 0, freed_bytes: 0 }))
    }

    /// Step 2: the batch goes to the value log. An error leaves what was written of it
    /// dead, and the victim to be begun again where it had cleared.
    fn write_anew(&self, flusher: &mut Flusher, job: &mut Job, ended: bool) -> Result<(), Error> {
        job.sort();
        self.end_large_segment(flusher)?;
        let mut moves = Vec::with_capacity(job.batch.len());
        for s in &job.batch {
            let (key, value) = (job.key(s), &job.bytes[s.value.clone()]);
            let to = self.values.append(s.keyspace, key, s.lsn, value)?;
            moves.push(Move {
                keyspace: s.keyspace,
                key: key.into(),
                from: s.at,
                to,
                seen: s.seen,
                tree: s.tree,
            });
        }
        self.values.sync()?;
        moves.iter().for_each(|m| flusher.gc.pending.wrote(m.to));
        flusher.gc.moves.add(moves, job.segment, job.scan.offset(), ended);
        self.gc.waiting.store(flusher.gc.moves.waiting(), Relaxed);
        job.batch.clear();
        job.bytes.clear();
        Ok(())
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
}
