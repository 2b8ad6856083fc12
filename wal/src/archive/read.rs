//! Reads an archive directory: what is there, and its frames in order.
//!
//! Must stay true: frames come dense and in order, across files as within them;
//! a hole, an overlap, a file of another store, or one flipped bit ends the
//! reading with an error that names it. Only files that are asked for are read,
//! so damage elsewhere does not stop a restore that does not need it.

use super::file::{FileReader, Found, read_ends};
use super::{ArchivedRange, Error, StoreId, Summary, format, path};
use crate::{Frame, Lsn};
use platform::{Disk, Open};
use std::collections::VecDeque;
use std::sync::Arc;

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the last frame there is.
    End,
    /// To this frame, included.
    Lsn(Lsn),
    /// Up to the first frame later than this (microseconds since 1970), which is
    /// not included. Wall time may step back: what follows a frame that is too
    /// late is not included either.
    Wall(u64),
}

/// An archive directory, as it was when it was listed.
pub struct Archive {
    disk: Arc<dyn Disk>,
    dir: String,
    files: Vec<ArchivedRange>,
}

impl Archive {
    /// Lists the archive in `dir`, which must exist.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Overlap`] if two names claim the same frame.
    pub fn open(disk: Arc<dyn Disk>, dir: &str) -> Result<Self, Error> {
        let names = disk.list(dir).map_err(Error::io("list", dir))?;
        let mut files: Vec<ArchivedRange> = Vec::new();
        for name in names {
            if let Some((first_lsn, last_lsn)) = format::range_of(&name) {
                files.push(ArchivedRange { name, first_lsn, last_lsn });
            }
        }
        files.sort_by_key(|file| (file.first_lsn, file.last_lsn));
        if let Some([a, b]) = files.array_windows().find(|[a, b]| b.first_lsn <= a.last_lsn) {
            let (file, other) = (path(dir, &b.name), path(dir, &a.name));
            return Err(Error::Overlap { file, other });
        }
        Ok(Self { disk, dir: dir.to_owned(), files })
    }

    /// The files, by LSN.
    pub fn files(&self) -> &[ArchivedRange] {
        &self.files
    }

    /// The first and the last frame, if there is any.
    pub fn bounds(&self) -> Option<(Lsn, Lsn)> {
        Some((self.files.first()?.first_lsn, self.files.last()?.last_lsn))
    }

    /// What is missing between the files: first and last frame of each hole.
    pub fn holes(&self) -> Vec<(Lsn, Lsn)> {
        let gap = |[a, b]: &[ArchivedRange; 2]| (a.last_lsn + 1, b.first_lsn - 1);
        self.files.array_windows().map(gap).filter(|(first, last)| first <= last).collect()
    }

    /// Whether all frames from `first` to `last` are there, by the names.
    ///
    /// # Errors
    /// [`Error::Hole`], [`Error::NotThere`].
    pub fn covers(&self, first: Lsn, last: Lsn) -> Result<(), Error> {
        for wanted in [first, last] {
            if self.bounds().is_none_or(|(a, b)| !(a..=b).contains(&wanted)) {
                return Err(self.not_there(wanted));
            }
        }
        match self.holes().into_iter().find(|hole| hole.0 <= last && hole.1 >= first) {
            Some((first, last)) => Err(Error::Hole { dir: self.dir.clone(), first, last }),
            None => Ok(()),
        }
    }

    fn not_there(&self, wanted: Lsn) -> Error {
        let has = match self.bounds() {
            Some((first, last)) => format!("frames {first} to {last}"),
            None => "none".to_owned(),
        };
        Error::NotThere { dir: self.dir.clone(), wanted, has }
    }

    /// What a file says about itself: two small reads.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Misnamed`].
    pub fn summary(&self, file: &ArchivedRange) -> Result<Summary, Error> {
        summary(&*self.disk, &self.dir, file)
    }

    /// All frames from `from` on. Give the store they must be of, if it is known;
    /// if not, they must all be of one.
    ///
    /// # Errors
    /// [`Error::NotThere`] if `from` is before the first frame or more than one
    /// behind the last; [`Error::Hole`] if it is in a hole.
    pub fn frames(&self, from: Lsn, until: Until, store: Option<StoreId>) -> Result<Frames, Error> {
        let from = from.max(1);
        match self.bounds() {
            Some((first, last)) if from >= first && from <= last + 1 => {}
            _ => return Err(self.not_there(from)),
        }
        let files: VecDeque<_> =
            self.files.iter().filter(|file| file.last_lsn >= from).cloned().collect();
        Ok(Frames {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            files,
            reader: None,
            next: from,
            until,
            store,
            epoch: 0,
            last: None,
            stopped: None,
        })
    }

    /// Reads every byte of every file, calls `progress` after each file with its
    /// name and how many of how many are done, and returns all faults found.
    pub fn verify(
        &self,
        store: Option<StoreId>,
        progress: &mut dyn FnMut(&str, usize, usize),
    ) -> Vec<Error> {
        let mut faults = Vec::new();
        for (first, last) in self.holes() {
            faults.push(Error::Hole { dir: self.dir.clone(), first, last });
        }
        let (mut store, mut epoch) = (store, 0);
        for (done, file) in self.files.iter().enumerate() {
            let whole = verify_file(&*self.disk, &self.dir, file, store, &mut |_| {});
            match whole {
                Ok(summary) => {
                    store.get_or_insert(summary.store);
                    if summary.first_epoch < epoch {
                        let why = "it is of an earlier life of the log than the file before";
                        faults.push(Error::corrupt(&path(&self.dir, &file.name), 0, why));
                    }
                    epoch = summary.last_epoch;
                }
                Err(fault) => faults.push(fault),
            }
            progress(&file.name, done + 1, self.files.len());
        }
        faults
    }
}

pub(super) fn summary(disk: &dyn Disk, dir: &str, file: &ArchivedRange) -> Result<Summary, Error> {
    let path = path(dir, &file.name);
    let handle = disk.open(&path, Open::Read).map_err(Error::io("open", &path))?;
    let (summary, ..) = read_ends(&*handle, &path)?;
    let (first, last) = (summary.first_lsn, summary.last_lsn);
    if (first, last) != (file.first_lsn, file.last_lsn) {
        return Err(Error::Misnamed { file: path, first, last });
    }
    Ok(summary)
}

/// Reads a whole file; `each` sees its frames.
pub(super) fn verify_file(
    disk: &dyn Disk,
    dir: &str,
    file: &ArchivedRange,
    store: Option<StoreId>,
    each: &mut dyn FnMut(&Frame<'_>),
) -> Result<Summary, Error> {
    let path = path(dir, &file.name);
    let mut reader = FileReader::open(disk, &path, (file.first_lsn, file.last_lsn), store)?;
    while let Some(found) = reader.next()? {
        each(&frame(&reader, &found));
    }
    Ok(*reader.summary())
}

fn frame<'a>(reader: &'a FileReader, found: &Found) -> Frame<'a> {
    Frame {
        lsn: found.lsn,
        wall_micros: found.wall,
        epoch: found.epoch,
        payload: &reader.bytes()[found.payload.clone()],
    }
}

/// The frames of an archive, in order. Made by [`Archive::frames`].
pub struct Frames {
    disk: Arc<dyn Disk>,
    dir: String,
    /// Those not yet begun.
    files: VecDeque<ArchivedRange>,
    reader: Option<FileReader>,
    next: Lsn,
    until: Until,
    store: Option<StoreId>,
    /// The newest epoch seen.
    epoch: u64,
    last: Option<(Lsn, u64)>,
    stopped: Option<(Lsn, u64)>,
}

impl Frames {
    /// The next frame; `None` when that is all, see [`Frames::stopped_at`].
    ///
    /// # Errors
    /// What is damaged or missing, by name. Ask no more after one.
    #[allow(clippy::should_implement_trait)] // lending: the frame borrows the buffer
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let Some(found) = self.find()? else { return Ok(None) };
        self.next = found.lsn + 1;
        self.last = Some((found.lsn, found.wall));
        Ok(self.reader.as_ref().map(|reader| frame(reader, &found)))
    }

    /// LSN and wall time of the last frame handed out.
    pub fn last(&self) -> Option<(Lsn, u64)> {
        self.last
    }

    /// LSN and wall time of the frame that was too late for [`Until::Wall`], if
    /// that is what ended the reading.
    pub fn stopped_at(&self) -> Option<(Lsn, u64)> {
        self.stopped
    }

    /// The store the frames are of, once one was read.
    pub fn store(&self) -> Option<StoreId> {
        self.store
    }

    fn find(&mut self) -> Result<Option<Found>, Error> {
        if self.stopped.is_some() {
            return Ok(None);
        }
        if let Until::Lsn(last) = self.until
            && self.next > last
        {
            return Ok(None);
        }
        loop {
            let Some(reader) = &mut self.reader else {
                if !self.enter()? {
                    return Ok(None);
                }
                continue;
            };
            let Some(found) = reader.next()? else {
                self.reader = None;
                continue;
            };
            if found.epoch < self.epoch {
                let why = format!(
                    "frame {} is of an earlier life of the log than the one before",
                    found.lsn
                );
                return Err(Error::corrupt(reader.path(), 0, why));
            }
            self.epoch = found.epoch;
            if found.lsn < self.next {
                continue;
            }
            if let Until::Wall(latest) = self.until
                && found.wall > latest
            {
                self.stopped = Some((found.lsn, found.wall));
                return Ok(None);
            }
            return Ok(Some(found));
        }
    }

    /// Opens the file that holds the next frame; `false` if there is none.
    fn enter(&mut self) -> Result<bool, Error> {
        let Some(file) = self.files.pop_front() else { return Ok(false) };
        if file.first_lsn > self.next {
            let (first, last) = (self.next, file.first_lsn - 1);
            return Err(Error::Hole { dir: self.dir.clone(), first, last });
        }
        let range = (file.first_lsn, file.last_lsn);
        let path = path(&self.dir, &file.name);
        let reader = FileReader::open(&*self.disk, &path, range, self.store)?;
        self.store = Some(reader.summary().store);
        self.reader = Some(reader);
        Ok(true)
    }
}
