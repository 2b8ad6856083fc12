//! Sorted runs on disk, and merging them.
//!
//! What must stay true:
//! * a run is written once, from its beginning to its end, and unlinked as soon as
//!   it is made: it goes with its handle, whatever becomes of the query. A process
//!   that is killed in between leaves a name, which [`SpillSpace::open`] removes;
//! * what is read back is checked: a record that is not what was written is an
//!   error, never a row;
//! * at most [`FAN_IN`] runs are merged at a time, so memory and handles are
//!   bounded; equal entries come in the order of their runs.
//!
//! ```text
//! run     | record* |
//! record  | sort length u32 | payload length u32 | key u128 | check u64 |
//!         | sort bytes | payload bytes |
//! ```
//! All integers are little-endian.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use platform::{Disk, File, Open};
use proto::Status;

use super::QueryError;
use super::work::Work;

/// Where runs lie, below the data directory.
const DIR: &str = "spill";
/// Runs merged at a time.
pub(super) const FAN_IN: usize = 16;
/// Bytes written, or read, at a time.
const BLOCK: usize = 64 << 10;
const HEAD: usize = 4 + 4 + 16 + 8;

/// The directory of runs.
pub struct SpillSpace {
    disk: Arc<dyn Disk>,
    next: AtomicU64,
}

impl SpillSpace {
    /// Empties the directory of what a killed process left.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(disk: Arc<dyn Disk>) -> io::Result<SpillSpace> {
        match disk.list(DIR) {
            Ok(names) => {
                for name in names {
                    disk.remove(&format!("{DIR}/{name}"))?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(SpillSpace { disk, next: AtomicU64::new(0) })
    }

    /// Runs that were written so far.
    pub(super) fn runs(&self) -> u64 {
        self.next.load(Relaxed)
    }

    fn create(&self) -> io::Result<Arc<dyn File>> {
        let number = self.next.fetch_add(1, Relaxed);
        if number == 0 {
            self.disk.create_dir(DIR)?;
        }
        let name = format!("{DIR}/{number:016x}.run");
        let file = match self.disk.open(&name, Open::CreateNew) {
            // The first of two queries is still making the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.create_dir(DIR)?;
                self.disk.open(&name, Open::CreateNew)?
            }
            other => other?,
        };
        self.disk.remove(&name)?;
        Ok(file)
    }
}

fn failed(doing: &str, error: &io::Error) -> QueryError {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let advice = if full { "free some space on the disk" } else { "check the disk" };
    let message = format!(
        "cannot {doing} the sorted runs of this query in {DIR}/: {error}; {advice}, or ask for \
         less at a time"
    );
    QueryError::Refused(Status::Io, message)
}

fn damaged(offset: u64) -> QueryError {
    let message = format!(
        "a sorted run of this query in {DIR}/ was read back damaged at offset {offset}: check the \
         disk, then ask again"
    );
    QueryError::Refused(Status::Corrupt, message)
}

/// A hash of a record: words multiplied and folded.
fn check(parts: [&[u8]; 3]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = K;
    for part in parts {
        let mut words = part.chunks_exact(8);
        for word in words.by_ref() {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            hash = (hash ^ word).wrapping_mul(K);
            hash ^= hash >> 29;
        }
        for &byte in words.remainder() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(K);
        }
        hash = (hash ^ part.len() as u64).wrapping_mul(K);
        hash ^= hash >> 32;
    }
    hash
}

/// A run being written.
struct Writer {
    file: Arc<dyn File>,
    at: u64,
    buffer: Vec<u8>,
}

impl Writer {
    fn push(
        &mut self,
        work: &Work,
        sort: &[u8],
        key: u128,
        payload: &[u8],
    ) -> Result<(), QueryError> {
        work.tick(sort.len() + payload.len())?;
        let (Ok(sort_len), Ok(payload_len)) =
            (u32::try_from(sort.len()), u32::try_from(payload.len()))
        else {
            return Err(work.no_memory("sort"));
        };
        let mut head = [0; 24];
        head[..4].copy_from_slice(&sort_len.to_le_bytes());
        head[4..8].copy_from_slice(&payload_len.to_le_bytes());
        head[8..].copy_from_slice(&key.to_le_bytes());
        work.take_disk((HEAD + sort.len() + payload.len()) as u64)?;
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(&check([&head, sort, payload]).to_le_bytes());
        self.buffer.extend_from_slice(sort);
        self.buffer.extend_from_slice(payload);
        if self.buffer.len() >= BLOCK {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), QueryError> {
        self.file.write_at(&self.buffer, self.at).map_err(|e| failed("write", &e))?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self, work: &Work) -> Result<Run, QueryError> {
        self.write()?;
        work.run_written();
        Ok(Run { file: self.file, len: self.at })
    }
}

/// A run on disk.
struct Run {
    file: Arc<dyn File>,
    len: u64,
}

/// A run being read.
struct Reader {
    run: Run,
    /// Where the buffer's first byte lies in the file.
    at: u64,
    buffer: Vec<u8>,
    /// Where the next record begins in the buffer.
    from: usize,
    /// The record stood on, within the buffer.
    sort: (usize, usize),
    payload: (usize, usize),
    key: u128,
}

impl Reader {
    fn new(run: Run) -> Reader {
        let buffer = Vec::new();
        Reader { run, at: 0, buffer, from: 0, sort: (0, 0), payload: (0, 0), key: 0 }
    }

    /// Makes `bytes` from the next record on stand in the buffer.
    fn fill(&mut self, bytes: usize) -> Result<(), QueryError> {
        if self.buffer.len() - self.from >= bytes {
            return Ok(());
        }
        self.buffer.drain(..self.from);
        self.at += self.from as u64;
        self.from = 0;
        let start = self.at + self.buffer.len() as u64;
        let left = self.run.len.saturating_sub(start);
        let wanted = (bytes - self.buffer.len()).max(BLOCK);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        let old = self.buffer.len();
        if old + wanted < bytes {
            return Err(damaged(self.at));
        }
        self.buffer.resize(old + wanted, 0);
        let read = self.run.file.read_exact_at(&mut self.buffer[old..], start);
        read.map_err(|e| failed("read", &e))
    }

    fn advance(&mut self) -> Result<bool, QueryError> {
        if self.at + self.from as u64 == self.run.len {
            return Ok(false);
        }
        self.fill(HEAD)?;
        let offset = self.at + self.from as u64;
        let field = |at: usize| -> [u8; 4] {
            let from = self.from + at;
            self.buffer[from..from + 4].try_into().unwrap_or_default()
        };
        let sort = u32::from_le_bytes(field(0)) as usize;
        let payload = u32::from_le_bytes(field(4)) as usize;
        let all = HEAD + sort + payload;
        if all as u64 > self.run.len - offset {
            return Err(damaged(offset));
        }
        self.fill(all)?;
        let record = &self.buffer[self.from..self.from + all];
        let (head, rest) = record.split_at(24);
        let (sum, rest) = rest.split_at(8);
        let (sort_bytes, payload_bytes) = rest.split_at(sort);
        if check([head, sort_bytes, payload_bytes]).to_le_bytes() != *sum {
            return Err(damaged(offset));
        }
        self.key = head[8..].try_into().map_or(0, u128::from_le_bytes);
        let first = self.from + HEAD;
        self.sort = (first, first + sort);
        self.payload = (first + sort, first + sort + payload);
        self.from += all;
        Ok(true)
    }

    fn sort(&self) -> &[u8] {
        &self.buffer[self.sort.0..self.sort.1]
    }

    fn payload(&self) -> &[u8] {
        &self.buffer[self.payload.0..self.payload.1]
    }
}

/// What an operator has spilled: runs, oldest first.
#[derive(Default)]
pub(super) struct Runs {
    runs: Vec<Run>,
}

impl Runs {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Writes entries that come in order as one run more.
    ///
    /// # Errors
    /// `to` by name, if this query may not spill; the disk's.
    pub(super) fn add<'e>(
        &mut self,
        work: &Work,
        to: &str,
        mut entries: impl Iterator<Item = (&'e [u8], u128, &'e [u8])>,
    ) -> Result<(), QueryError> {
        self.add_by(work, to, |push| {
            entries.try_for_each(|(sort, key, payload)| push(sort, key, payload))
        })
    }

    /// As [`Runs::add`], of entries that `each` gives one by one, lent.
    ///
    /// # Errors
    /// As [`Runs::add`], and those of `each`.
    pub(super) fn add_by(
        &mut self,
        work: &Work,
        to: &str,
        each: impl FnOnce(&mut Push<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut writer = self.writer(work, to)?;
        each(&mut |sort, key, payload| writer.push(work, sort, key, payload))?;
        self.runs.push(writer.finish(work)?);
        if self.runs.len() == FAN_IN {
            self.compact(work, to)?;
        }
        Ok(())
    }

    fn writer(&self, work: &Work, to: &str) -> Result<Writer, QueryError> {
        let space = work.space().ok_or_else(|| work.no_memory(to))?;
        let file = space.create().map_err(|e| failed("make", &e))?;
        Ok(Writer { file, at: 0, buffer: Vec::with_capacity(BLOCK) })
    }

    /// Makes one run of all.
    fn compact(&mut self, work: &Work, to: &str) -> Result<(), QueryError> {
        let mut writer = self.writer(work, to)?;
        let mut merge = Merge::new(std::mem::take(&mut self.runs))?;
        while let Some(entry) = merge.next(work)? {
            writer.push(work, entry.sort, entry.key, entry.payload)?;
        }
        self.runs.push(writer.finish(work)?);
        Ok(())
    }

    /// Reads them all in order; equal entries in the order of their runs.
    pub(super) fn merge(self) -> Result<Merge, QueryError> {
        Merge::new(self.runs)
    }
}

/// Takes an entry of a run: what it sorts by, its key, its payload.
pub(super) type Push<'p> = dyn FnMut(&[u8], u128, &[u8]) -> Result<(), QueryError> + 'p;

/// An entry of a run, lent.
pub(super) struct Entry<'m> {
    pub(super) sort: &'m [u8],
    pub(super) key: u128,
    pub(super) payload: &'m [u8],
}

/// Runs read as one.
pub(super) struct Merge {
    readers: Vec<Reader>,
    /// The reader whose entry is lent; it moves before the next is looked for.
    lent: Option<usize>,
}

impl Merge {
    fn new(runs: Vec<Run>) -> Result<Merge, QueryError> {
        let mut readers = Vec::with_capacity(runs.len());
        for run in runs {
            let mut reader = Reader::new(run);
            if reader.advance()? {
                readers.push(reader);
            }
        }
        Ok(Merge { readers, lent: None })
    }

    /// The next entry in order. A run that was read to its end is gone from the disk.
    pub(super) fn next(&mut self, work: &Work) -> Result<Option<Entry<'_>>, QueryError> {
        if let Some(at) = self.lent.take()
            && !self.readers[at].advance()?
        {
            // Not swapped: the order of the runs decides between equals.
            let read = self.readers.remove(at);
            work.give_back_disk(read.run.len);
        }
        let order = |a: &Reader, b: &Reader| a.sort().cmp(b.sort()).then(a.key.cmp(&b.key));
        let mut least = 0;
        for at in 1..self.readers.len() {
            if order(&self.readers[at], &self.readers[least]) == Ordering::Less {
                least = at;
            }
        }
        if self.readers.is_empty() {
            return Ok(None);
        }
        self.lent = Some(least);
        let reader = &self.readers[least];
        Ok(Some(Entry { sort: reader.sort(), key: reader.key, payload: reader.payload() }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::work::Limits;
    use super::*;
    use platform::sim::{Fault, SimClock, SimDisk, Times};
    use proptest::prelude::*;
    use std::sync::atomic::AtomicBool;

    fn work(disk: &Arc<SimDisk>, spill: u64) -> Work {
        let space = SpillSpace::open(disk.clone()).unwrap();
        let limits = Limits { memory: 1 << 20, reply: 1 << 20, spill, micros: None };
        Work::new(
            Arc::new(SimClock::new(0)),
            limits,
            Arc::new(AtomicBool::new(false)),
            Some(Arc::new(space)),
        )
    }

    fn read(runs: Runs, work: &Work) -> Vec<(Vec<u8>, u128, Vec<u8>)> {
        let mut merge = runs.merge().unwrap();
        let mut all = Vec::new();
        while let Some(entry) = merge.next(work).unwrap() {
            all.push((entry.sort.to_vec(), entry.key, entry.payload.to_vec()));
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn runs_are_merged_in_order(
            parts in prop::collection::vec(prop::collection::vec((prop::collection::vec(0u8..3, 0..4), 0u128..4, 0usize..300), 0..12), 0..40)
        ) {
            let disk = SimDisk::new(1);
            let work = work(&disk, 1 << 30);
            let mut runs = Runs::default();
            let mut expected = Vec::new();
            for (number, part) in parts.into_iter().enumerate() {
                let mut part: Vec<_> = part.into_iter().map(|(sort, key, len)| (sort, key, vec![number as u8; len])).collect();
                part.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
                runs.add(&work, "sort", part.iter().map(|(s, k, p)| (&s[..], *k, &p[..]))).unwrap();
                expected.extend(part);
            }
            expected.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
            prop_assert_eq!(read(runs, &work), expected);
            prop_assert_eq!(work.held().disk, 0);
            prop_assert_eq!(disk.list(DIR).unwrap_or_default(), Vec::<String>::new());
        }
    }

    #[test]
    fn the_bound_on_disk_and_its_faults_are_errors_by_name() {
        let disk = SimDisk::new(1);
        let entry = [(&b"a"[..], 1u128, &[7u8; 1000][..])];
        let fault = |work: &Work| match Runs::default().add(work, "sort", entry.into_iter()) {
            Err(QueryError::Refused(status, message)) => (status, message),
            other => panic!("{other:?}"),
        };
        let (status, message) = fault(&work(&disk, 900));
        assert!(status == Status::QueryMemory && message.contains("query_spill"), "{message}");
        assert_eq!(fault(&work(&disk, 0)).0, Status::QueryMemory);
        let full = work(&disk, 1 << 20);
        disk.fail(Fault::Write, DIR, Times::Every);
        let (status, message) = fault(&full);
        assert!(status == Status::Io && message.contains("spill/"), "{message}");
    }

    #[test]
    fn a_run_read_back_damaged_is_an_error() {
        let disk = SimDisk::new(1);
        let work = work(&disk, 1 << 20);
        for at in [0, 5, 9, 25, 33, 60] {
            let mut runs = Runs::default();
            runs.add(&work, "sort", [(&b"abc"[..], 1u128, &[7u8; 100][..])].into_iter()).unwrap();
            let file = &runs.runs[0].file;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_at(&[byte[0] ^ 1], at).unwrap();
            let merged = runs.merge().map(|_| ());
            assert!(matches!(merged, Err(QueryError::Refused(Status::Corrupt, _))), "byte {at}");
        }
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let disk = SimDisk::new(1);
        disk.create_dir(DIR).unwrap();
        disk.open("spill/0000000000000007.run", Open::CreateNew).unwrap();
        let _space = SpillSpace::open(disk.clone()).unwrap();
        assert!(disk.list(DIR).unwrap().is_empty());
    }
}
