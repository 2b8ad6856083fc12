//! The archiver: follows a living log, one sealed segment after the other.
//!
//! Must stay true: `archived` moves only when a file counts (see the module);
//! nothing is begun that would leave a hole; after an error the next step starts
//! the file over, and `archived` is where it was.

use super::write::{ASIDE, Job};
use super::{Archive, ArchivedRange, Error, StoreId, Summary, path, read};
use crate::{Lsn, Wal};
use platform::Disk;
use std::io::ErrorKind;
use std::sync::Arc;

/// What [`Archiver::step`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every sealed segment is archived.
    Idle,
    /// A piece of a file; ask again.
    More,
    /// A file counts from now on.
    Archived(Summary),
}

/// Copies a log into its archive. One per log; the caller locks.
pub struct Archiver {
    disk: Arc<dyn Disk>,
    dir: String,
    store: StoreId,
    files: Vec<ArchivedRange>,
    /// All up to here is archived; 0: the archive is empty.
    archived: Lsn,
    /// The newest file's, for its epoch and age.
    newest: Option<Summary>,
    job: Option<Job>,
}

impl Archiver {
    /// Opens the archive in `dir` (made if absent) for the log `wal`: checks that
    /// it is this store's, that its newest file is whole, and that it and the log
    /// have the same frame where they meet, as far as the log still has it.
    /// Removes what an interrupted copy left.
    ///
    /// # Errors
    /// [`Error::Io`]: try again. Others: the archive and this log do not belong
    /// together, by name; nothing was changed.
    pub fn open(disk: Arc<dyn Disk>, dir: &str, store: StoreId, wal: &Wal) -> Result<Self, Error> {
        make_dir(&*disk, dir)?;
        // A killed process may have left a name in the kernel only: it must not
        // be counted, and the log cut, before it is durable.
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        let archive = Archive::open(Arc::clone(&disk), dir)?;
        let mut newest = None;
        if let Some(file) = archive.files().last() {
            newest = Some(check_newest(&*disk, dir, store, file, wal)?);
        }
        for name in disk.list(dir).map_err(Error::io("list", dir))? {
            if name.strip_suffix(ASIDE).and_then(super::format::range_of).is_some() {
                let path = path(dir, &name);
                disk.remove(&path).map_err(Error::io("remove", &path))?;
            }
        }
        let files = archive.files().to_vec();
        let archived = files.last().map_or(0, |file| file.last_lsn);
        Ok(Self { disk, dir: dir.to_owned(), store, files, archived, newest, job: None })
    }

    /// All frames of the log up to here are in the archive, durably (from
    /// [`Archiver::first`] on); 0: none.
    pub fn archived(&self) -> Lsn {
        self.archived
    }

    /// The archive's first frame.
    pub fn first(&self) -> Option<Lsn> {
        self.files.first().map(|file| file.first_lsn)
    }

    /// The files, by LSN.
    pub fn files(&self) -> &[ArchivedRange] {
        &self.files
    }

    /// What is missing between the files: first and last frame of each hole.
    pub fn holes(&self) -> impl Iterator<Item = (Lsn, Lsn)> {
        let gap = |[a, b]: &[ArchivedRange; 2]| (a.last_lsn + 1, b.first_lsn - 1);
        self.files.array_windows().map(gap).filter(|(first, last)| first <= last)
    }

    /// Goes on for about `budget` bytes of frames: with the file begun, or with the
    /// oldest sealed segment not yet archived.
    ///
    /// # Errors
    /// Nothing counts that did not before; the next call starts the file over.
    /// [`Error::Hole`]: the log no longer has the frame the archive needs next.
    pub fn step(&mut self, wal: &Wal, budget: u64) -> Result<Progress, Error> {
        let mut job = match self.job.take() {
            Some(job) => job,
            None => match self.next_range(wal)? {
                Some(range) => Job::begin(&self.disk, &self.dir, self.store, wal, range)?,
                None => return Ok(Progress::Idle),
            },
        };
        match job.step(budget) {
            Ok(None) => {
                self.job = Some(job);
                Ok(Progress::More)
            }
            Ok(Some((file, summary))) => {
                self.archived = file.last_lsn;
                self.files.push(file);
                self.newest = Some(summary);
                Ok(Progress::Archived(summary))
            }
            Err(error) => {
                job.abandon();
                Err(error)
            }
        }
    }

    /// The frames to copy next: those of the oldest sealed segment that are not
    /// yet archived.
    fn next_range(&self, wal: &Wal) -> Result<Option<(Lsn, Lsn)>, Error> {
        let segments = wal.segments();
        let Some(oldest) = segments.first() else { return Ok(None) };
        let next = match self.archived {
            0 => oldest.first_lsn,
            archived => archived + 1,
        };
        if next < oldest.first_lsn {
            let (first, last) = (next, oldest.first_lsn - 1);
            return Err(Error::Hole { dir: self.dir.clone(), first, last });
        }
        // A segment ends where the next begins; the last one is being written.
        let end = segments.array_windows().map(|[_, next]| next.first_lsn - 1);
        let durable = wal.durable_lsn();
        Ok(end
            .into_iter()
            .find(|last| *last >= next)
            .filter(|last| *last <= durable)
            .map(|last| (next, last)))
    }

    /// Removes the oldest file if its newest frame is older than `before`
    /// (microseconds since 1970) and no frame from `keep_from` on is in it. Never
    /// the newest file. Returns what was removed: ask again.
    ///
    /// # Errors
    /// [`Error::Io`]; a file that cannot be read is kept and named.
    pub fn prune(
        &mut self,
        before: u64,
        keep_from: Option<Lsn>,
    ) -> Result<Option<ArchivedRange>, Error> {
        let [oldest, second, ..] = &self.files[..] else { return Ok(None) };
        if keep_from.is_some_and(|keep| oldest.last_lsn >= keep) {
            return Ok(None);
        }
        // A clock that once ran ahead must not keep a file for ever: what was
        // written after it bounds its age.
        let mut age = read::summary(&*self.disk, &self.dir, oldest)?.newest_wall;
        if age >= before {
            age = age.min(read::summary(&*self.disk, &self.dir, second)?.newest_wall);
            age = age.min(self.newest.map_or(age, |newest| newest.newest_wall));
        }
        if age >= before {
            return Ok(None);
        }
        let path = path(&self.dir, &oldest.name);
        self.disk.remove(&path).map_err(Error::io("remove", &path))?;
        let removed = self.files.remove(0);
        // Oldest first, one at a time: a power cut may bring the oldest back, it
        // never leaves a hole.
        self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        Ok(Some(removed))
    }
}

/// Reads the newest file whole, and compares its last frame with the log's.
fn check_newest(
    disk: &dyn Disk,
    dir: &str,
    store: StoreId,
    file: &ArchivedRange,
    wal: &Wal,
) -> Result<Summary, Error> {
    let last = file.last_lsn;
    let mut archived = None;
    let summary = read::verify_file(disk, dir, file, Some(store), &mut |frame| {
        if frame.lsn == last {
            let payload = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, frame.payload);
            archived = Some((frame.wall_micros, frame.epoch, payload));
        }
    })?;
    if last > wal.durable_lsn() {
        let (dir, log) = (dir.to_owned(), wal.durable_lsn());
        return Err(Error::Ahead { dir, archived: last, log });
    }
    let differs = || Error::Differs { file: path(dir, &file.name), lsn: last };
    match wal.cursor(last) {
        Ok(mut cursor) => {
            if let Some(frame) = cursor.next()? {
                let payload = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, frame.payload);
                if archived != Some((frame.wall_micros, frame.epoch, payload)) {
                    return Err(differs());
                }
            }
        }
        Err(crate::Error::Gone { .. }) => {
            // The log goes on behind it, or there is a hole, which a step reports.
            if wal.epoch() < summary.last_epoch {
                return Err(differs());
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(summary)
}

/// Makes `dir`, and the names on the way to it durable.
fn make_dir(disk: &dyn Disk, dir: &str) -> Result<(), Error> {
    if dir.is_empty() {
        return Ok(());
    }
    // There already, as a rule. But whoever made it may have been killed before its name
    // was durable: an archive must not count in a directory that a power cut takes away.
    if disk.list(dir).is_ok() {
        let above = dir.rsplit_once('/').map_or("", |(above, _)| above);
        return match disk.sync_dir(above) {
            // It belongs to somebody else, who made the directory too.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            outcome => outcome.map_err(Error::io("sync", above)),
        };
    }
    disk.create_dir(dir).map_err(Error::io("make", dir))
}
