//! The files of the audit log.
//!
//! ```text
//! audit/0000000000000001.jsonl   lines, from the one with that number on
//! audit/0000000000000412.jsonl   the file that is written to
//! audit/cut-0000000000000412     what a start found behind the last good line, if that was
//!                                more than a piece of one line
//! ```
//!
//! What must stay true: a line that was synced stays, until its file is the oldest of more
//! than are kept; lines are only ever added behind the last good one, so that a crash
//! takes lines from the end and none from between. What cannot be read behind the last
//! good line is not thrown away unseen. After a sync that failed nothing is written any
//! more: what it left is not known.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use blake3::Hash;
use platform::{Disk, File, Open};

use super::line::{self, Event, Link, MAX_LINE, NOTHING};
use crate::OpenError;

/// Where they lie.
pub(super) const DIR: &str = "audit";
/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// How much of the audit log is kept.
#[derive(Clone, Copy, Debug)]
pub struct AuditOptions {
    /// Bytes of one file; at least 16 KiB. Default 16 MiB.
    pub file_bytes: u64,
    /// Files kept; the oldest goes when there is one more. At least 2. Default 64.
    pub keep: usize,
}

impl AuditOptions {
    /// Says what is out of bounds, and what it may be.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let option = |name, value, must: String| Err(OpenError::Option { name, value, must });
        let least = 2 * MAX_LINE;
        if self.file_bytes < least as u64 {
            let bytes = usize::try_from(self.file_bytes).unwrap_or(usize::MAX);
            return option("audit.file_size", bytes, format!("at least {least} bytes"));
        }
        if self.keep < 2 {
            return option("audit.keep", self.keep, "at least 2".to_owned());
        }
        Ok(())
    }
}

impl Default for AuditOptions {
    fn default() -> Self {
        AuditOptions { file_bytes: 16 << 20, keep: 64 }
    }
}

/// Where the audit log goes on.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    options: AuditOptions,
    /// The first lines of the files, oldest first.
    files: VecDeque<u64>,
    file: Arc<dyn File>,
    /// Bytes of good lines in it.
    len: u64,
    /// Whether something else may lie behind them.
    torn: bool,
    /// Changes made to the file, and to those before it.
    writes: u64,
    /// How many of them are durable.
    durable: u64,
    next: u64,
    last: Hash,
    failed: Option<String>,
}

/// Changes of a file that are to be made durable.
pub(super) struct Pending {
    file: Arc<dyn File>,
    writes: u64,
}

impl Pending {
    /// Makes them durable. Takes as long as the disk does: call it without a lock.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// What a start found behind the last good line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCut {
    /// The file.
    pub file: String,
    /// How many bytes.
    pub bytes: u64,
    /// Where they were put, if they were more than a piece of one line.
    pub kept_in: Option<String>,
}

impl Writer {
    /// Goes on behind the last good line; says what lay behind it.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        options: AuditOptions,
    ) -> io::Result<(Writer, Option<AuditCut>)> {
        disk.create_dir(DIR)?;
        let mut files: VecDeque<u64> = list(&*disk)?.into();
        let mut cut = None;
        loop {
            let Some(&first) = files.back() else {
                let file = begin(&*disk, 1)?;
                files.push_back(1);
                return Ok((Writer::at(disk, options, files, file, None, 1), cut));
            };
            let file = disk.open(&path(first), Open::Write)?;
            let (last, good) = good_lines(&*file, first)?;
            let len = file.len()?;
            if good < len {
                let next = last.map_or(first, |link| link.seq + 1);
                cut = Some(set_aside(&*disk, &*file, (first, next), good, len)?);
                file.set_len(good)?;
                file.sync()?;
            }
            // One that was just begun when the machine stopped: the one before has the
            // last line.
            if last.is_none() && files.len() > 1 {
                disk.remove(&path(first))?;
                disk.sync_dir(DIR)?;
                files.pop_back();
                continue;
            }
            let writer = Writer::at(disk, options, files, file, last.map(|l| (l, good)), first);
            return Ok((writer, cut));
        }
    }

    fn at(
        disk: Arc<dyn Disk>,
        options: AuditOptions,
        files: VecDeque<u64>,
        file: Arc<dyn File>,
        last: Option<(Link, u64)>,
        first: u64,
    ) -> Writer {
        let (next, hash, len) =
            last.map_or((first, NOTHING, 0), |(link, good)| (link.seq + 1, link.hash, good));
        Writer {
            disk,
            options,
            files,
            file,
            len,
            torn: false,
            writes: 0,
            durable: 0,
            next,
            last: hash,
            failed: None,
        }
    }

    /// Adds a line; gives its number. `None`: it needs another file, and that may be begun
    /// only when the lines that are there are durable.
    ///
    /// # Errors
    /// It is not there. It may be tried again, unless a sync has failed.
    pub(super) fn append(&mut self, millis: i64, event: &Event<'_>) -> io::Result<Option<u64>> {
        if let Some(why) = &self.failed {
            return Err(io::Error::other(why.clone()));
        }
        let (mut line, hash) = line::write(self.next, self.last, millis, event);
        line.push('\n');
        // First: a file that is not the newest any more is mended by nobody.
        if self.torn {
            self.file.set_len(self.len)?;
            self.torn = false;
            self.writes += 1;
        }
        if self.len > 0 && self.len + line.len() as u64 > self.options.file_bytes {
            if self.durable < self.writes {
                return Ok(None);
            }
            self.rotate()?;
        }
        self.torn = true;
        self.file.write_at(line.as_bytes(), self.len)?;
        self.torn = false;
        self.writes += 1;
        self.len += line.len() as u64;
        self.last = hash;
        self.next += 1;
        Ok(Some(self.next - 1))
    }

    /// Changes made so far.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// Whether so many changes are durable.
    ///
    /// # Errors
    /// A sync has failed: no line is taken any more until the log is opened again.
    pub(super) fn is_durable(&self, writes: u64) -> io::Result<bool> {
        match &self.failed {
            Some(why) => Err(io::Error::other(why.clone())),
            None => Ok(writes <= self.durable),
        }
    }

    /// What a sync that begins now makes durable.
    pub(super) fn pending(&self) -> Pending {
        Pending { file: Arc::clone(&self.file), writes: self.writes }
    }

    /// A sync has ended so. Until then no other may be begun: one that failed takes what
    /// the next one would say is durable.
    pub(super) fn settle(&mut self, synced: &Pending, done: io::Result<()>) {
        if let Err(error) = done {
            self.failed = Some(format!("{error}; restart the service once its disk is mended"));
            return;
        }
        self.durable = synced.writes;
        // Only now: until the new file has a line, the one before has the last.
        if self.files.len() > self.options.keep {
            self.prune();
        }
    }

    /// The number of the last line, 0 if there is none, and its hash.
    pub(super) fn last(&self) -> (u64, Hash) {
        (self.next - 1, self.last)
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let file = begin(&*self.disk, self.next)?;
        self.files.push_back(self.next);
        self.file = file;
        self.len = 0;
        self.torn = false;
        Ok(())
    }

    /// Removes the oldest files beyond those kept. What cannot be removed is tried again
    /// with the next.
    fn prune(&mut self) {
        while self.files.len() > self.options.keep {
            let Some(&oldest) = self.files.front() else { return };
            if self.disk.remove(&path(oldest)).is_err() {
                return;
            }
            self.files.pop_front();
        }
        let oldest = self.files.front().copied().unwrap_or(0);
        for name in self.disk.list(DIR).unwrap_or_default() {
            let number = name.strip_prefix("cut-").and_then(|n| n.parse::<u64>().ok());
            if number.is_some_and(|number| number < oldest)
                && self.disk.remove(&format!("{DIR}/{name}")).is_err()
            {
                return;
            }
        }
    }
}

/// A new file for lines from `first` on. One that is there was begun in vain.
fn begin(disk: &dyn Disk, first: u64) -> io::Result<Arc<dyn File>> {
    let file = disk.open(&path(first), Open::Create)?;
    file.set_len(0)?;
    disk.sync_dir(DIR)?;
    Ok(file)
}

pub(super) fn path(first: u64) -> String {
    format!("{DIR}/{first:016}.jsonl")
}

/// The first lines of the files, oldest first.
pub(super) fn list(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let number = |name: &String| {
        let digits = name.strip_suffix(".jsonl").filter(|digits| digits.len() == 16)?;
        digits.parse().ok().filter(|first| *first > 0)
    };
    let mut files: Vec<u64> = disk.list(DIR)?.iter().filter_map(number).collect();
    files.sort_unstable();
    Ok(files)
}

/// The last line of a file up to which all are good, and where it ends.
fn good_lines(file: &dyn File, first: u64) -> io::Result<(Option<Link>, u64)> {
    let mut lines = Lines::new(file);
    let (mut last, mut good) = (None::<Link>, 0);
    while let Some(piece) = lines.next()? {
        let Some(link) = line::read(piece.bytes).filter(|_| piece.ended) else { break };
        let follows = match last {
            None => link.seq == first,
            Some(before) => (link.seq, link.prev) == (before.seq + 1, before.hash),
        };
        if !follows {
            break;
        }
        good = piece.offset + piece.bytes.len() as u64 + 1;
        last = Some(link);
    }
    Ok((last, good))
}

/// Keeps what lies behind the good lines, if it is more than a piece of one line.
fn set_aside(
    disk: &dyn Disk,
    file: &dyn File,
    (first, next): (u64, u64),
    good: u64,
    len: u64,
) -> io::Result<AuditCut> {
    let mut behind = Lines::from(file, good);
    let piece = behind.next()?;
    let torn = piece.is_some_and(|piece| !piece.ended && piece.bytes.len() as u64 == len - good);
    let kept_in = format!("{DIR}/cut-{next:016}");
    if !torn {
        let aside = disk.open(&kept_in, Open::Create)?;
        aside.set_len(0)?;
        let mut buffer = vec![0; CHUNK];
        let mut at = good;
        while at < len {
            let got = file.read_at(&mut buffer, at)?;
            if got == 0 {
                break;
            }
            aside.write_at(&buffer[..got], at - good)?;
            at += got as u64;
        }
        aside.sync()?;
        disk.sync_dir(DIR)?;
    }
    let kept_in = Some(kept_in).filter(|_| !torn);
    Ok(AuditCut { file: path(first), bytes: len - good, kept_in })
}

/// Reads a file line by line, in bounded memory.
pub(super) struct Lines<'f> {
    file: &'f dyn File,
    /// Where `bytes` begin in the file.
    base: u64,
    bytes: Vec<u8>,
    used: usize,
    ended: bool,
}

/// A line without its line feed; `ended`: it had one.
pub(super) struct Piece<'l> {
    pub(super) offset: u64,
    pub(super) bytes: &'l [u8],
    pub(super) ended: bool,
}

impl<'f> Lines<'f> {
    pub(super) fn new(file: &'f dyn File) -> Lines<'f> {
        Lines::from(file, 0)
    }

    fn from(file: &'f dyn File, base: u64) -> Lines<'f> {
        Lines { file, base, bytes: Vec::new(), used: 0, ended: false }
    }

    /// The next line; one that is too long, or is the last and has no line feed, is not
    /// ended, and none comes after it.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        loop {
            let (start, offset) = (self.used, self.base + self.used as u64);
            let rest = &self.bytes[start..];
            if let Some(n) = rest.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
                self.used += n + 1;
                let bytes = &self.bytes[start..start + n];
                return Ok(Some(Piece { offset, bytes, ended: true }));
            }
            if self.ended || rest.len() >= MAX_LINE {
                self.ended = true;
                self.used = self.bytes.len();
                let bytes = &self.bytes[start..];
                return Ok(
                    Some(Piece { offset, bytes, ended: false }).filter(|_| !bytes.is_empty())
                );
            }
            self.bytes.drain(..start);
            self.base += start as u64;
            self.used = 0;
            let len = self.bytes.len();
            self.bytes.resize(len + CHUNK, 0);
            let got = self.file.read_at(&mut self.bytes[len..], self.base + len as u64)?;
            self.bytes.truncate(len + got);
            self.ended = got < CHUNK;
        }
    }
}
