//! Steps 3 and 4: the trees name the records written anew, those of many pieces and
//! victims together.
//!
//! Why many: survivors lie anywhere among the keys, so naming a few thousand of them
//! writes as many leaves. It waits until they are a sixteenth of the store, or their
//! keys take as much memory as a memtable may; then it goes through them in the order
//! of keys, a bounded number per step, so that neighbours share the leaves they write. A
//! flush that is due goes between two of these steps.
//!
//! What must stay true:
//! * a place is named only if the old one is named still, by the version that the commit
//!   is based on: looked up again unless it is the one in which the record was seen;
//! * until then the new place is nobody's: commits of others count it dead as soon as
//!   their tail takes it in, this one takes that back (`pending.rs`); and no segment that
//!   holds one is chosen or removed ([`Flusher::bound`]);
//! * a victim looked through is not chosen again meanwhile, and one looked through in
//!   part goes on where it was;
//! * how far victims are cleared is said by the commit of the last step: a crash before
//!   it looks through them again, and finds what was named dead. So a store that is closed
//!   names what it can in little time, and the rest is as after a crash: copies that no
//!   tail has taken in are cut, the others are counted dead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use btree::Op;
use vlog::Pointer;

use super::{Collector, SHARE};
use crate::flush::Flusher;
use crate::meta::Meta;
use crate::segments::Changes;
use crate::small::Small;
use crate::tree::Cell;
use crate::version::Version;
use crate::{Error, Lsm, Options, PAGES, Step, segments};

/// A record that was written anew.
pub(super) struct Move {
    pub(super) keyspace: u32,
    pub(super) key: Small,
    pub(super) from: Pointer,
    pub(super) to: Pointer,
    /// The version it was last seen alive in, and the tree that names it there.
    pub(super) seen: u64,
    pub(super) tree: u32,
}

impl Move {
    /// Bytes it takes.
    fn memory(&self) -> usize {
        size_of::<Move>() + self.key.as_ref().len()
    }
}

/// Bytes of pages that a move costs, about: what bounds a step.
const MOVE_BYTES: usize = 128;

/// So many are named at a time at least.
const LEAST: usize = 2;

/// However large a store is, no more bytes of records than this wait to be named: they
/// are there twice, and a store that is killed begins them again.
const MOST: u64 = 256 << 20;

/// A store that is closed begins another piece of naming for so long, in nanoseconds.
const CLOSING: u64 = 2_000_000_000;

/// Its pieces are smaller by so much.
const CLOSING_PARTS: usize = 8;

/// See the module.
#[derive(Default)]
pub(super) struct Moves {
    /// Once naming has begun, in the order of keyspaces and keys.
    moves: Vec<Move>,
    /// How many of them are named, once that has begun.
    named: Option<usize>,
    /// How many are named at a time, since there was no room for more: twice as many each
    /// time that there is.
    fewer: Option<usize>,
    /// Bytes of their records, and of memory.
    bytes: u64,
    memory: usize,
    /// How far victims were looked through.
    cleared: BTreeMap<u32, u64>,
    /// Victims looked through to their end.
    ended: BTreeSet<u32>,
    /// The first segment of the new places.
    first: Option<u32>,
}

impl Moves {
    pub(super) fn is_empty(&self) -> bool {
        self.cleared.is_empty()
    }

    pub(super) fn add(&mut self, moves: Vec<Move>, victim: u32, offset: u64, ended: bool) {
        for m in &moves {
            self.bytes += u64::from(m.from.len);
            self.memory += m.memory();
        }
        self.first = self.first.or(moves.first().map(|m| m.to.segment));
        self.moves.extend(moves);
        self.cleared.insert(victim, offset);
        if ended {
            self.ended.insert(victim);
        }
    }

    /// Bytes of records, those already named among them.
    pub(super) fn waiting(&self) -> u64 {
        self.bytes
    }

    /// Whether the victim waits for nothing but to be named.
    pub(super) fn has_ended(&self, victim: u32) -> bool {
        self.ended.contains(&victim)
    }

    /// Leaves out what is named and what this victim has: it is begun again. Returns the
    /// new places that nobody will name.
    fn forget(&mut self, victim: u32) -> Vec<Pointer> {
        let named = self.named.take().unwrap_or(0);
        let left = self.moves.drain(..).skip(named);
        let (gone, left): (Vec<_>, Vec<_>) = left.partition(|m| m.from.segment == victim);
        self.bytes = left.iter().map(|m| u64::from(m.from.len)).sum();
        self.memory = left.iter().map(Move::memory).sum();
        self.moves = left;
        self.cleared.remove(&victim);
        self.ended.remove(&victim);
        self.named = Some(0);
        if self.cleared.is_empty() {
            *self = Moves::default();
        }
        gone.into_iter().map(|m| m.to).collect()
    }

    /// Begins naming, or goes on with it: where.
    pub(super) fn begin(&mut self) -> usize {
        if self.named.is_none() {
            self.moves
                .sort_by(|a, b| (a.keyspace, a.key.as_ref()).cmp(&(b.keyspace, b.key.as_ref())));
        }
        *self.named.get_or_insert(0)
    }
}

/// Moves that live, each with the tree that names it, in the order of trees and keys; and
/// the new places of the others.
type Settled<'a> = (Vec<(u32, &'a Move)>, Vec<Pointer>);

/// Which of these moves live in `version`. An error comes with the victim.
fn settle<'a>(moves: &'a [Move], version: &Version) -> Result<Settled<'a>, (u32, Error)> {
    let epoch = version.view.epoch();
    let (mut living, mut gone) = (Vec::with_capacity(moves.len()), Vec::new());
    for m in moves {
        let tree = match m.seen == epoch {
            true => Some(m.tree),
            false => version
                .names(m.from, m.keyspace, m.key.as_ref())
                .map_err(|error| (m.from.segment, error))?,
        };
        match tree {
            Some(tree) => living.push((tree, m)),
            None => gone.push(m.to),
        }
    }
    // The order of keys stays within a tree.
    living.sort_by_key(|(tree, _)| *tree);
    Ok((living, gone))
}

/// Whether it is about what a tree holds, and would be met again.
fn blames(error: &Error) -> bool {
    error.is_damage() || matches!(error, Error::Pages(btree::Error::Refused { .. }))
}

impl Collector {
    /// Where to begin with a victim.
    pub(super) fn looked_through(&self, segment: u32) -> u64 {
        let committed = self.rows.get(&segment).map_or(0, |row| row.cleared);
        committed.max(self.moves.cleared.get(&segment).copied().unwrap_or(0))
    }

    /// Segments from this one on have records that no tree names yet.
    pub(crate) fn bound(&self) -> u32 {
        self.moves.first.unwrap_or(u32::MAX)
    }

    /// Whether enough was written anew, or naming it has begun.
    pub(super) fn moves_are_due(&self, options: &Options) -> bool {
        let moves = &self.moves;
        let step = options.gc_step_bytes as u64;
        moves.named.is_some()
            || moves.bytes >= (self.totals().0 / SHARE).min(MOST).max(2 * step)
            || moves.memory >= options.memtable_bytes
            || !self.suspects.is_empty() && !moves.ended.is_empty()
    }
}

impl Lsm {
    /// Whether a flush that is due goes before the next piece of naming: they take turns,
    /// as long as no more garbage is owed than one set brings.
    pub(crate) fn flush_has_turn(&self, flusher: &Flusher) -> bool {
        let gc = &flusher.gc;
        let waits = gc.named_last && gc.moves.named.is_some();
        let owes_little = gc.debt <= self.options.memtable_bytes as u64;
        waits && owes_little && !self.version.load().frozen.is_empty()
    }

    /// Before the store is closed: the trees name what was moved, as much as goes in
    /// little time. What fails here is begun again some day.
    pub(crate) fn name_rest(&self) {
        let mut flusher = self.flusher.lock();
        let flusher = &mut *flusher;
        let began = self.clock.monotonic_nanos();
        let passed = || self.clock.monotonic_nanos().saturating_sub(began);
        while !flusher.gc.moves.is_empty()
            && self.pages.poisoned().is_none()
            && passed() < CLOSING
            && self.name_some(flusher, CLOSING_PARTS).is_ok()
        {}
    }

    /// The trees name a piece of the new places.
    ///
    /// # Errors
    /// Room or the disk may come back: nothing is lost, and it goes on where it was. (Of
    /// damage the victim is left alone, if it is known which; else what was written anew
    /// is dead, and victims go one by one.)
    pub(super) fn name_moves(&self, flusher: &mut Flusher) -> Result<Step, Error> {
        self.name_some(flusher, 1)
    }

    /// As [`Lsm::name_moves`], one of so many parts of a piece.
    fn name_some(&self, flusher: &mut Flusher, parts: usize) -> Result<Step, Error> {
        let mut moves = std::mem::take(&mut flusher.gc.moves);
        let version = self.version.load_full();
        let segment = *moves.cleared.keys().next().expect("called only if there are some");
        let from = moves.begin();
        let full = (self.options.gc_step_bytes / MOVE_BYTES / parts).max(LEAST);
        let most = moves.fewer.unwrap_or(full).min(full);
        let to = (from + most).min(moves.moves.len());
        let ended = to == moves.moves.len();
        let cleared = if ended { Some(&moves.cleared) } else { None };
        let outcome = match settle(&moves.moves[from..to], &version) {
            Ok((living, gone)) => self
                .commit_moves(flusher, &version, &living, cleared)
                .map(|()| (living.iter().map(|(_, m)| u64::from(m.from.len)).sum::<u64>(), gone))
                .map_err(|error| ((moves.cleared.len() == 1).then_some(segment), error)),
            Err((victim, error)) => Err((Some(victim), error)),
        };
        let (moved_bytes, gone) = match outcome {
            Ok(done) => done,
            Err((_, error)) if !blames(&error) => {
                // The page file keeps some free pages for a full disk: enough for a few.
                let fewer = error.shortage().is_some() && most > LEAST;
                moves.fewer = if fewer { Some((most / 8).max(LEAST)) } else { moves.fewer };
                flusher.gc.moves = moves;
                let step = Step::Collected { segment, moved_bytes: 0, freed_bytes: 0 };
                return if fewer { Ok(step) } else { Err(error) };
            }
            Err((victim, error)) => {
                // A victim half looked through is begun again, with the others.
                flusher.gc.job = None;
                let (step, gone) = match victim {
                    Some(victim) => {
                        let gone = moves.forget(victim);
                        flusher.gc.moves = moves;
                        (self.skip(flusher, victim, &error), gone)
                    }
                    // Which of them has records there?
                    None => {
                        flusher.gc.suspects.extend(moves.cleared.keys());
                        let step = Step::Collected { segment, moved_bytes: 0, freed_bytes: 0 };
                        (step, moves.moves.drain(from..).map(|m| m.to).collect())
                    }
                };
                self.give_up_places(flusher, gone);
                return Ok(step);
            }
        };
        self.gc.moved.fetch_add(moved_bytes, Relaxed);
        flusher.gc.named_last = true;
        if ended {
            for victim in moves.ended {
                flusher.gc.suspects.remove(&victim);
                self.check_emptied(flusher, victim);
            }
        } else {
            moves.named = Some(to);
            moves.fewer = moves.fewer.map(|fewer| fewer.saturating_mul(2));
            flusher.gc.moves = moves;
        }
        self.give_up_places(flusher, gone);
        Ok(Step::Collected { segment, moved_bytes, freed_bytes: 0 })
    }

    /// New places that nobody will name are garbage from now on. Figures too.
    fn give_up_places(&self, flusher: &mut Flusher, places: Vec<Pointer>) {
        flusher.gc.give_up(places, self.version.load().view.epoch());
        self.gc.count(&flusher.gc);
        self.gc.waiting.store(flusher.gc.moves.waiting(), Relaxed);
    }

    fn commit_moves(
        &self,
        flusher: &mut Flusher,
        version: &Version,
        moves: &[(u32, &Move)],
        cleared: Option<&BTreeMap<u32, u64>>,
    ) -> Result<(), Error> {
        let view = &version.view;
        let mut changes = Changes::default();
        for (_, m) in moves {
            changes.dead(m.from);
            changes.named(m.to);
        }
        for (victim, offset) in cleared.into_iter().flatten() {
            // One that died meanwhile may be gone, and its row with it.
            if flusher.gc.rows.contains_key(victim) {
                changes.cleared(*victim, *offset);
            }
        }
        let mut write = self.pages.begin();
        // A keyspace's cells are in its tree and its runs: for each of them in key order.
        for part in moves.chunk_by(|a, b| a.0 == b.0) {
            let tree = part[0].0;
            let ops = part.iter().map(|(_, m)| {
                let mut cell = Vec::with_capacity(1 + Pointer::BYTES);
                Cell::Pointer(m.to).encode_into(&mut cell);
                (m.key.as_ref(), Op::Put(cell))
            });
            let mut next = part.iter();
            let mut fault = None;
            let applied = write.apply(tree, ops, &mut |key, old| {
                let next = next.next().filter(|(_, m)| m.key.as_ref() == key);
                if Cell::decode_in(tree, old).ok() != next.map(|(_, m)| Cell::Pointer(m.from)) {
                    fault.get_or_insert_with(|| key.to_vec());
                }
            })?;
            if fault.is_some() || applied.replaced != part.len() as u64 {
                let what = format!("tree {tree} changed under a collection");
                return Err(Error::Corrupt { file: PAGES.into(), what });
            }
        }
        // What a flush in progress has written is taken in too, as dead for now.
        let tail = self.values.sync()?;
        let meta = Meta { tail, ..Meta::decode(view.user(), PAGES)? };
        let view = self.switch(flusher, view, write, changes, meta)?;
        self.publish_view(view);
        Ok(())
    }

    /// After the last record: all of it is dead, but for what a damaged tree of a
    /// dropped keyspace names.
    fn check_emptied(&self, flusher: &mut Flusher, segment: u32) {
        if self.has_grave(flusher) {
            // A keyspace was dropped since: what its tree still names is alive until that
            // is cleared, and the segment may be looked through again then.
            return;
        }
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

    /// Leaves a segment alone until the store is opened again.
    pub(super) fn skip(&self, flusher: &mut Flusher, segment: u32, error: &Error) -> Step {
        flusher.gc.skipped.insert(segment);
        flusher.gc.suspects.remove(&segment);
        self.health.met(error);
        self.gc.skipped.lock().insert(segment, error.to_string());
        Step::Collected { segment, moved_bytes: 0, freed_bytes: 0 }
    }
}
