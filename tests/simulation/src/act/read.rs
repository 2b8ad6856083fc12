//! Reads of every kind, held to the model.

use std::ops::Bound;

use lsm::{Cursor, Direction, KeyspaceId, Lsm, Snapshot};

use crate::model::Model;
use crate::plan::{PLENTY, Range, SLOTS, key, short};
use crate::world::{Done, Failure, World};

impl World {
    pub(super) fn take_snapshot(&mut self, slot: usize) -> Result<(), Failure> {
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

    pub(super) fn get(&mut self, slot: usize, keyspace: u32, number: u32) -> Result<(), Failure> {
        let Some(snapshot) = self.through(slot)? else { return Ok(()) };
        let key = key(number);
        let want = self.model.get_versioned(keyspace, &key, snapshot.lsn());
        let got = match snapshot.get_versioned(KeyspaceId(keyspace), &key) {
            Ok(found) => {
                let (value, version) = found.unzip();
                let (wanted, written) = want.unzip();
                // Numbers that are given out are put without, wherever they stand.
                let without =
                    keyspace.is_multiple_of(2) || value.as_ref().is_some_and(|v| v.len() == 8);
                let same = value.as_deref() == wanted.map(AsRef::as_ref)
                    && (version == written || without && version == Some(0));
                let wrong = || {
                    Wrong::Answer(format!(
                        "key {number} of {keyspace} at {} has {} of {version:?}, not {} of \
                         {written:?}",
                        snapshot.lsn(),
                        short(value.as_deref()),
                        short(wanted.map(AsRef::as_ref))
                    ))
                };
                if same { Ok(()) } else { Err(wrong()) }
            }
            Err(error) => Err(Wrong::Refused(error)),
        };
        self.answer("get", got)
    }

    pub(super) fn many(
        &mut self,
        slot: usize,
        keyspace: u32,
        numbers: &[u32],
    ) -> Result<(), Failure> {
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

    pub(super) fn prefix(
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

    pub(super) fn scan(&mut self, slot: usize, range: Range) -> Result<(), Failure> {
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
