//! What verify found.

use std::fmt;

use crate::Lsn;

/// Faults kept by name; more are only counted.
const KEPT: usize = 1000;

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The file as a whole.
    File,
    /// A page of the page file; it lies at 4096 times its number.
    Page(u32),
    /// A byte.
    Offset(u64),
    /// A frame of the log, and the byte where it begins or should.
    Frame(Lsn, u64),
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// Where in it.
    pub at: At,
    /// The keyspace, if it is known.
    pub keyspace: Option<u32>,
    /// What does not hold.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.at {
            At::File => {}
            At::Page(page) => write!(f, ", page {page} (offset {})", u64::from(page) * 4096)?,
            At::Offset(offset) => write!(f, ", offset {offset}")?,
            At::Frame(lsn, offset) => write!(f, ", frame {lsn} at offset {offset}")?,
        }
        if let Some(keyspace) = self.keyspace {
            write!(f, ", keyspace {keyspace}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What verify read, and every fault it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Pages of the trees and the free list read.
    pub pages: u64,
    /// Of the page file's pages, so many are free.
    pub free_pages: u64,
    /// Keys in the trees.
    pub keys: u64,
    /// Values in the value log that a tree points at, each read and found to be
    /// that key's.
    pub values: u64,
    /// Segments of the value log,
    pub segments: u64,
    /// the records in them, live and dead,
    pub records: u64,
    /// and these records' bytes,
    pub record_bytes: u64,
    /// of which so many are dead.
    pub dead_bytes: u64,
    /// Segments of the log,
    pub log_segments: u64,
    /// and the frames in them.
    pub frames: u64,
    /// The last commit in the trees,
    pub flushed_lsn: Lsn,
    /// and the last one in the log.
    pub last_lsn: Lsn,
    /// What does not hold; the first thousand.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub more_faults: u64,
    /// What a crash may leave and the next opening puts right.
    pub notes: Vec<Fault>,
}

impl Report {
    /// Whether everything holds.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Faults in all.
    pub fn count(&self) -> u64 {
        self.faults.len() as u64 + self.more_faults
    }

    pub(crate) fn fault(
        &mut self,
        file: &str,
        at: At,
        keyspace: Option<u32>,
        what: impl Into<String>,
    ) {
        if self.faults.len() >= KEPT {
            self.more_faults += 1;
            return;
        }
        let what = plain(what.into());
        self.faults.push(Fault { file: file.to_owned(), at, keyspace, what });
    }

    pub(crate) fn note(&mut self, file: &str, at: At, what: impl Into<String>) {
        if self.notes.len() < KEPT {
            let note = Fault { file: file.to_owned(), at, keyspace: None, what: what.into() };
            self.notes.push(note);
        }
    }
}

/// An error's own words: what all damage asks for need not be said in every line.
fn plain(mut what: String) -> String {
    if let Some(own) = what.strip_suffix(platform::advice::RESTORE) {
        let own = own.strip_suffix("else ").unwrap_or(own);
        what.truncate(own.strip_suffix("; ").unwrap_or(own).len());
    }
    what
}

impl fmt::Display for Report {
    /// One line of figures, then one for each fault and note.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            0 => f.write_str("no fault")?,
            1 => f.write_str("1 fault")?,
            n => write!(f, "{n} faults")?,
        }
        write!(
            f,
            " in {} pages ({} keys, {} free pages), {} records of {} bytes in {} value-log segments \
             ({} pointed at, {} bytes dead), {} frames in {} log segments; commits up to {} are in \
             the trees, up to {} in the log",
            self.pages,
            self.keys,
            self.free_pages,
            self.records,
            self.record_bytes,
            self.segments,
            self.values,
            self.dead_bytes,
            self.frames,
            self.log_segments,
            self.flushed_lsn,
            self.last_lsn
        )?;
        for fault in &self.faults {
            write!(f, "\nfault: {fault}")?;
        }
        if self.more_faults > 0 {
            write!(f, "\nand {} faults more", self.more_faults)?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote: {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_no_advice_and_errors_have_it() {
        let file = "vlog/0000000001.vlog".to_owned();
        let missing = vlog::Error::Missing { file: file.clone() };
        let why = "it is rotten".to_owned();
        let damaged = vlog::Error::Corrupt { file: file.clone(), offset: 77, why };
        let mut report = Report::default();
        for (error, end) in [(missing, "put it back"), (damaged, "can still be exported")] {
            for part in [&file[..], "planck verify", "planck restore", "planck salvage"] {
                assert!(error.to_string().contains(part), "{error}");
            }
            report.fault(&file, At::File, None, error.to_string());
            let line = report.faults.pop().map(|fault| fault.what).unwrap_or_default();
            assert!(line.ends_with(end), "{line}");
        }
    }
}
