//! Writes one archived file: aside, synced, read back, renamed.
//!
//! Must stay true: the order of these steps, which is the one the module argues
//! from; a bounded piece of work per call; what fails leaves at most the file
//! aside, which counts for nothing and is overwritten or removed.

use super::file::FileReader;
use super::format::{self, BLOCK_BYTES, HEADER_LEN, Place};
use super::{Archive, ArchivedRange, Error, StoreId, Summary, path};
use crate::{Cursor, Lsn, Wal};
use crc_fast::Digest;
use platform::{Disk, File, Open};
use std::sync::Arc;

/// What a file is called until it is whole.
pub(super) const ASIDE: &str = ".new";

/// Capacity kept in the buffers between blocks.
const KEEP_BUFFER: usize = 1 << 20;

/// The copy of one range of frames, in pieces.
pub(super) struct Job {
    disk: Arc<dyn Disk>,
    dir: String,
    target: ArchivedRange,
    aside: String,
    phase: Phase,
}

enum Phase {
    Copy(Box<Copy>),
    /// Written and synced; being read back.
    Check {
        reader: Box<FileReader>,
        wrote: Summary,
    },
}

struct Copy {
    cursor: Cursor,
    file: Arc<dyn File>,
    at: u64,
    body: Digest,
    content: Digest,
    summary: Summary,
    /// The block being filled: first LSN, frames, bytes.
    first: Lsn,
    frames: u32,
    raw: Vec<u8>,
    out: Vec<u8>,
}

impl Job {
    /// Begins the copy of frames `first` to `last`, all durable, of `wal`.
    pub(super) fn begin(
        disk: &Arc<dyn Disk>,
        dir: &str,
        store: StoreId,
        wal: &Wal,
        (first, last): (Lsn, Lsn),
    ) -> Result<Self, Error> {
        let name = format::name(first, last);
        let aside = path(dir, &format!("{name}{ASIDE}"));
        let cursor = wal.cursor(first)?;
        let file = disk.open(&aside, Open::Create).map_err(Error::io("create", &aside))?;
        file.set_len(0).map_err(Error::io("empty", &aside))?;
        let copy = Copy {
            cursor,
            file,
            at: HEADER_LEN as u64,
            body: format::digest(),
            content: format::digest(),
            summary: Summary { store, first_lsn: first, ..Summary::default() },
            first,
            frames: 0,
            raw: Vec::new(),
            out: Vec::new(),
        };
        Ok(Self {
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
            target: ArchivedRange { name, first_lsn: first, last_lsn: last },
            aside,
            phase: Phase::Copy(Box::new(copy)),
        })
    }

    /// Goes on for about `budget` bytes of frames; the file, once it counts.
    pub(super) fn step(&mut self, budget: u64) -> Result<Option<(ArchivedRange, Summary)>, Error> {
        match &mut self.phase {
            Phase::Copy(copy) => {
                if !copy.step(&self.aside, self.target.last_lsn, budget)? {
                    return Ok(None);
                }
                let wrote = copy.finish(&self.aside)?;
                let range = (wrote.first_lsn, wrote.last_lsn);
                let store = Some(wrote.store);
                // Opened anew, by name: what is checked is what a restore would read.
                let reader = FileReader::open(&*self.disk, &self.aside, range, store)?;
                self.phase = Phase::Check { reader: Box::new(reader), wrote };
                Ok(None)
            }
            Phase::Check { reader, wrote } => {
                let until = reader.position().saturating_add(budget);
                while reader.position() < until {
                    if reader.next()?.is_none() {
                        if reader.summary() != wrote {
                            let why = "what was read back is not what was written";
                            return Err(Error::corrupt(&self.aside, 0, why));
                        }
                        let wrote = *wrote;
                        self.place(&wrote)?;
                        return Ok(Some((self.target.clone(), wrote)));
                    }
                }
                Ok(None)
            }
        }
    }

    /// Gives the whole file its name.
    fn place(&self, wrote: &Summary) -> Result<(), Error> {
        let to = path(&self.dir, &self.target.name);
        let there = Archive::open(Arc::clone(&self.disk), &self.dir)?;
        let overlap = there
            .files()
            .iter()
            .find(|file| file.first_lsn <= wrote.last_lsn && file.last_lsn >= wrote.first_lsn);
        match overlap {
            None => {
                self.disk.rename(&self.aside, &to).map_err(Error::io("rename", &self.aside))?;
            }
            // An earlier try that was not counted, or another store's.
            Some(file) if *file == self.target => {
                let store = Some(wrote.store);
                let has =
                    super::read::verify_file(&*self.disk, &self.dir, file, store, &mut |_| {})?;
                if has.content != wrote.content {
                    return Err(Error::Differs { file: to, lsn: wrote.first_lsn });
                }
                self.disk.remove(&self.aside).map_err(Error::io("remove", &self.aside))?;
            }
            Some(file) => {
                return Err(Error::Overlap { file: to, other: path(&self.dir, &file.name) });
            }
        }
        self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))
    }

    /// After a failure: gives back the space of the file aside, if that can be.
    /// It counts for nothing either way.
    pub(super) fn abandon(self) {
        let Self { disk, aside, phase, .. } = self;
        drop(phase);
        disk.remove(&aside).ok();
    }
}

impl Copy {
    /// Copies frames up to `last`; `true` when it has them all.
    fn step(&mut self, aside: &str, last: Lsn, budget: u64) -> Result<bool, Error> {
        let mut done = 0;
        while self.summary.last_lsn < last {
            if done >= budget {
                return Ok(false);
            }
            let Some(frame) = self.cursor.next()? else {
                let lsn = self.first + u64::from(self.frames);
                let why = "the log ends before a frame that was durable";
                return Err(crate::Error::corrupt("the log", 0, lsn, why).into());
            };
            let (wall, epoch) = (frame.wall_micros, frame.epoch);
            let summary = &mut self.summary;
            if summary.last_lsn == 0 {
                (summary.first_wall, summary.oldest_wall, summary.first_epoch) =
                    (wall, wall, epoch);
            }
            (summary.last_lsn, summary.last_wall, summary.last_epoch) = (frame.lsn, wall, epoch);
            summary.oldest_wall = summary.oldest_wall.min(wall);
            summary.newest_wall = summary.newest_wall.max(wall);
            format::encode_frame(&mut self.raw, wall, epoch, frame.payload);
            done += (format::FRAME_LEN + frame.payload.len()) as u64;
            self.frames += 1;
            if self.raw.len() >= BLOCK_BYTES {
                self.close_block(aside)?;
            }
        }
        Ok(true)
    }

    fn close_block(&mut self, aside: &str) -> Result<(), Error> {
        let summary = &mut self.summary;
        let place = Place { store: summary.store, file_first: summary.first_lsn, offset: self.at };
        self.out.clear();
        format::encode_block(&mut self.out, place, self.first, self.frames, &self.raw);
        self.file.write_at(&self.out, self.at).map_err(Error::io("write", aside))?;
        self.at += self.out.len() as u64;
        self.body.update(&self.out);
        self.content.update(&self.raw);
        summary.raw_bytes += self.raw.len() as u64;
        summary.blocks += 1;
        self.first += u64::from(self.frames);
        self.frames = 0;
        self.raw.clear();
        if self.raw.capacity().max(self.out.capacity()) > KEEP_BUFFER {
            (self.raw, self.out) = (Vec::new(), Vec::new());
        }
        Ok(())
    }

    /// Writes the last block, the footer and the header, and syncs.
    fn finish(&mut self, aside: &str) -> Result<Summary, Error> {
        if self.frames > 0 {
            self.close_block(aside)?;
        }
        self.summary.content = self.content.finalize();
        let header = format::encode_header(&self.summary);
        let file_bytes = self.at + format::FOOTER_LEN as u64;
        let footer = format::encode_footer(&header, file_bytes, self.body.finalize());
        self.file.write_at(&footer, self.at).map_err(Error::io("write", aside))?;
        self.file.write_at(&header, 0).map_err(Error::io("write", aside))?;
        self.file.sync().map_err(Error::io("sync", aside))?;
        Ok(self.summary)
    }
}
