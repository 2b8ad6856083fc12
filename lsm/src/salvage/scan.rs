//! Values of keys whose pages are lost, found in the value log: see the module
//! above for when one is known to be the last.
//!
//! What must stay true: a segment proves nothing unless every byte of its records
//! was read and every dead byte the table has is accounted for.

use std::collections::BTreeMap;

use btree::View;
use platform::Disk;
use vlog::{Pointer, SegmentFile};

use super::{Doubtful, Salvage};
use crate::backup::BackupError;
use crate::meta::Meta;
use crate::verify::At;
use crate::{KeyspaceId, Lsn, VLOG_DIR, segments};

/// Bytes of candidates kept in memory; with more, none is proven.
const CANDIDATES_BYTES: usize = 256 << 20;

/// The newest record found of a key in a lost range.
struct Candidate {
    lsn: Lsn,
    at: Pointer,
}

/// Candidates by keyspace and key, and the memory they take.
struct Candidates {
    found: BTreeMap<(u32, Vec<u8>), Candidate>,
    bytes: usize,
    most: usize,
}

impl Candidates {
    fn new(most: usize) -> Self {
        Candidates { found: BTreeMap::new(), bytes: 0, most }
    }

    /// Adds one of a key that has none; `false` if there is no room.
    fn add(&mut self, key: (u32, Vec<u8>), candidate: Candidate) -> bool {
        // The entry, its share of the tree's nodes, and the key's own allocation.
        let bytes = 2 * size_of::<((u32, Vec<u8>), Candidate)>() + key.1.len() + 16;
        if self.bytes + bytes > self.most {
            return false;
        }
        self.bytes += bytes;
        self.found.insert(key, candidate);
        true
    }
}

/// What is known of a segment.
#[derive(Default)]
struct Known {
    /// Bytes that a readable page names.
    named: u64,
    /// Bytes of records in it.
    bytes: u64,
    damaged: bool,
    /// It has a record of which there is a copy: one of the two is dead, but which is
    /// not known.
    twins: bool,
}

/// The scan to come, filled with what the trees say.
pub(super) struct Scan {
    segments: BTreeMap<u32, Known>,
    ids: Vec<u32>,
    /// The trees the directory shows.
    pub(super) trees: Vec<u32>,
    tail: vlog::Tail,
    /// Dead bytes as the table has them; `None`: it cannot be read.
    dead: Option<BTreeMap<u32, u64>>,
}

impl Scan {
    pub(super) fn new(source: &dyn Disk, meta: &Meta, view: &View) -> Self {
        let table = segments::table(view).ok();
        Scan {
            segments: BTreeMap::new(),
            ids: SegmentFile::ids(source, VLOG_DIR).unwrap_or_default(),
            trees: view.trees().map(|tree| tree.tree).collect(),
            tail: meta.tail,
            dead: table.map(|rows| rows.into_iter().map(|(id, row)| (id, row.dead)).collect()),
        }
    }

    /// A tree names these bytes.
    pub(super) fn named(&mut self, at: Pointer) {
        self.segments.entry(at.segment).or_default().named += u64::from(at.len);
    }

    /// What the table or the trees of dropped keyspaces say is not all there.
    pub(super) fn cannot_prove(&mut self) {
        self.dead = None;
    }
}

impl Salvage<'_> {
    /// Finds values of lost ranges; saves those that are proven.
    pub(super) fn scan(&mut self, mut scan: Scan) -> Result<(), BackupError> {
        let mut found = Candidates::new(CANDIDATES_BYTES);
        let mut too_many = false;
        for id in scan.ids.clone() {
            if id > scan.tail.segment {
                continue;
            }
            too_many |= !self.scan_segment(&mut scan, id, &mut found)?;
        }
        let dead = scan.dead.take().filter(|_| !too_many);
        // Older records of a key are dead: what is left are the newest ones.
        let mut newest: BTreeMap<u32, u64> = BTreeMap::new();
        let found = found.found;
        for candidate in found.values() {
            let segment = candidate.at.segment;
            *newest.entry(segment).or_default() += u64::from(candidate.at.len);
        }
        let mut record = Vec::new();
        for ((keyspace, key), candidate) in found {
            let id = candidate.at.segment;
            let proven = dead.as_ref().is_some_and(|dead| {
                let known = scan.segments.get(&id);
                let (named, newest) = (known.map_or(0, |k| k.named), newest.get(&id).copied());
                let alive = named + newest.unwrap_or(0);
                let said = dead.get(&id).copied().unwrap_or(0);
                known.is_some_and(|k| {
                    !k.damaged && !k.twins && k.bytes.checked_sub(alive) == Some(said)
                })
            });
            if proven {
                let file = SegmentFile::open(self.source, VLOG_DIR, id);
                let read =
                    file.and_then(|file| Ok(file.read(candidate.at, &mut record)?.value.len()));
                match read {
                    Ok(len) => {
                        let value = &record[record.len() - len..];
                        self.batch.put_versioned(KeyspaceId(keyspace), &key, value, false);
                        self.report.from_scan += 1;
                        self.write(false)?;
                    }
                    // It could a moment ago. Its range is told as lost.
                    Err(error) => {
                        let path = SegmentFile::path_of(VLOG_DIR, id);
                        let at = At::Offset(candidate.at.offset);
                        self.faults.fault(&path, at, Some(keyspace), error.to_string());
                    }
                }
            } else {
                let at = (id, candidate.at.offset);
                self.report.doubt(Doubtful { keyspace, key, lsn: candidate.lsn, at });
            }
        }
        Ok(())
    }

    /// Scans one segment; false if there are too many candidates.
    fn scan_segment(
        &mut self,
        scan: &mut Scan,
        id: u32,
        found: &mut Candidates,
    ) -> Result<bool, BackupError> {
        let mut known = scan.segments.remove(&id).unwrap_or_default();
        let whole = self.scan_records(scan, id, found, &mut known);
        scan.segments.insert(id, known);
        whole
    }

    fn scan_records(
        &mut self,
        scan: &mut Scan,
        id: u32,
        found: &mut Candidates,
        known: &mut Known,
    ) -> Result<bool, BackupError> {
        let path = SegmentFile::path_of(VLOG_DIR, id);
        let file = match SegmentFile::open(self.source, VLOG_DIR, id) {
            Ok(file) => file,
            Err(error) => {
                known.damaged = true;
                self.faults.fault(&path, At::File, None, error.to_string());
                return Ok(true);
            }
        };
        let end = match id == scan.tail.segment {
            true => scan.tail.len.min(file.len()),
            false => file.len(),
        };
        known.damaged |= id == scan.tail.segment && file.len() < scan.tail.len;
        let mut at = SegmentFile::FIRST;
        let mut records = file.scan(at, end);
        loop {
            match records.next() {
                Ok(None) => return Ok(true),
                Ok(Some((place, record))) => {
                    let len = u64::from(place.len);
                    at = place.offset + len;
                    known.bytes += len;
                    self.done += len;
                    let (keyspace, lsn) = (record.keyspace, record.lsn);
                    if !self.ranges.holds(keyspace, record.key) {
                        continue;
                    }
                    let key = (keyspace, record.key.to_vec());
                    if let Some(other) = found.found.get_mut(&key) {
                        if lsn > other.lsn {
                            *other = Candidate { lsn, at: place };
                        } else if lsn == other.lsn {
                            known.twins = true;
                            scan.segments.entry(other.at.segment).or_default().twins = true;
                        }
                    } else if !found.add(key, Candidate { lsn, at: place }) {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    known.damaged = true;
                    self.faults.fault(&path, At::Offset(at), None, error.to_string());
                    match file.find(at + 1, end).at {
                        Some(next) => at = next,
                        None => return Ok(true),
                    }
                    records = file.scan(at, end);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_bounded_by_the_bytes_of_their_keys() {
        let candidate = || Candidate { lsn: 1, at: Pointer { segment: 1, len: 1, offset: 0 } };
        let taken = |len: usize| {
            let mut found = Candidates::new(100_000);
            let key = |n: u32| (1, [&n.to_be_bytes()[..], &vec![b'k'; len]].concat());
            let taken = (0..).take_while(|n| found.add(key(*n), candidate())).count();
            assert!(found.bytes <= 100_000 && found.found.len() == taken);
            taken
        };
        let (short, long) = (taken(0), taken(1000));
        assert!((80..=100).contains(&long), "{long}");
        assert!(short > 5 * long && short < 1000, "{short}");
    }
}
