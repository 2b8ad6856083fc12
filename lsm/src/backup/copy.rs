//! Taking a backup, one bounded step at a time. See the module above for why it
//! is consistent and whole.
//!
//! What must stay true: a step copies at most [`STEP_BYTES`] and one record, page
//! or frame more, and holds no lock of the store while it does; the page file's
//! version is held (`source.rs`) from before the first step until all of it is copied,
//! or fails by name. Before anything of the backups' disk is asked while it is held,
//! it can be taken away: that disk may not answer.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use btree::{PAGE_BYTES, View};
use platform::{Disk, Lock, Open};
use vlog::SegmentFile;

use super::catalog::{self, BackupInfo, Found};
use super::error::Error;
use super::format::{self, Kind, LAST, Manifest, Part, TABLE_LINE};
use super::part::{self, Writer, join};
use super::source::{Begun, Extent, Source};
use super::table::{known_pages, put_line};
use crate::lease::Listed;
use crate::meta::Meta;
use crate::{Lsm, Lsn, PAGES, Retention, Snapshot, VLOG_DIR, segments};

/// What one step copies, in bytes.
const STEP_BYTES: u64 = 4 << 20;
/// What is read of the value log at once, and one record more.
const PIECE_BYTES: usize = 256 << 10;

/// How a backup is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// Take everything, whatever earlier backups have.
    pub full: bool,
}

/// How far a backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on: call [`Backup::step`] again.
    Copying {
        /// Bytes written so far.
        written: u64,
        /// Bytes of pages and values looked at so far, copied or already there.
        seen: u64,
        /// Of so many.
        of: u64,
    },
    /// It is there.
    Done(BackupInfo),
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Copying { written, seen, of } => {
                write!(f, "{seen} of {of} bytes looked at, {written} written")
            }
            Progress::Done(info) => info.fmt(f),
        }
    }
}

/// A backup being taken. Dropped before it is done, it is as if never begun; the
/// next one sweeps away what it left.
pub struct Backup<'l> {
    lsm: &'l Lsm,
    disk: Arc<dyn Disk>,
    dir: String,
    manifest: Manifest,
    frames: Frames,
    source: Arc<Source>,
    extent: Option<(Begun, Writer)>,
    pages: Option<PageCopy>,
    /// Bytes on their way.
    buf: Vec<u8>,
    seen: u64,
    of: u64,
    info: Option<BackupInfo>,
    /// Holds the version until its pages are copied, and shows in the stats that
    /// something does.
    held: Option<(Snapshot, Listed)>,
    /// Keeps the frames still to be copied; without it the backup may end earlier.
    retention: Option<Retention>,
    _lock: Box<dyn Lock>,
}

struct PageCopy {
    /// Half checksums of the pages that earlier parts have, by number; 0: none.
    known: Vec<u32>,
    part: Writer,
    table: Vec<u8>,
}

struct Frames {
    cursor: wal::Cursor,
    part: Writer,
    first: Lsn,
    count: u64,
    buf: Vec<u8>,
    /// The log was truncated before it was copied: it ends here.
    ended: bool,
}

impl Lsm {
    /// Begins a backup into `dir` (`""` is the root) of a disk, which keeps the
    /// backups of this store and nothing else. Writes, flushes and everything else
    /// go on meanwhile.
    ///
    /// # Errors
    /// [`BackupError`](crate::BackupError): nothing of an earlier backup was changed.
    pub fn backup(
        &self,
        disk: &Arc<dyn Disk>,
        dir: &str,
        options: BackupOptions,
    ) -> Result<Backup<'_>, Error> {
        let begun = self.begin_backup(disk, dir, options);
        if let Err(Error::Store(error)) = &begun {
            self.health.met_again(error);
        }
        begun
    }

    fn begin_backup(
        &self,
        disk: &Arc<dyn Disk>,
        dir: &str,
        options: BackupOptions,
    ) -> Result<Backup<'_>, Error> {
        let lock = catalog::lock(&**disk, dir)?;
        let Found { manifests: earlier, unreadable } = catalog::look(&**disk, dir)?;
        let store = self.store_id();
        if let Some(other) = earlier.iter().find(|manifest| manifest.store != store) {
            let (found, wanted) = (other.store, store);
            return Err(Error::OtherStore { dir: dir.to_owned(), found, wanted });
        }
        // What one that cannot be read needs is not known: it may be any older file.
        let unread = unreadable.last().map_or(0, |unreadable| unreadable.number);
        if unreadable.is_empty() {
            catalog::sweep(&**disk, dir, &earlier)?;
        }
        let number = catalog::next_number(&**disk, dir)?;
        let parent = earlier.last().filter(|_| !options.full);
        // With a part missing nothing is taken over: this one shall be whole. Nor on a
        // disk that has lost a manifest, of what was written before that was seen.
        let parent = parent.filter(|manifest| {
            manifest.parts.iter().all(|p| p.number > unread && part::is_there(&**disk, dir, p))
        });

        let begun = self.clock.wall_micros();
        let (snapshot, view, meta, cursor) = self.pin()?;
        let retention = self.retain("backup", meta.flushed + 1).ok();
        let mut manifest = Manifest {
            store,
            number,
            parent: parent.map_or(0, |parent| parent.number),
            lsn: meta.flushed,
            lsn_wall: 0,
            flushed: meta.flushed,
            flushed_wall: meta.wall,
            begun,
            ended: 0,
            tail: meta.tail,
            epoch: view.epoch(),
            pages: view.file_pages(),
            copied: 0,
            parts: Vec::new(),
        };
        let live = u64::from(view.file_pages()).saturating_sub(view.free_pages());
        let (values, skipped) = self.extents(&view, &meta, parent, &mut manifest)?;
        let of = live * PAGE_BYTES as u64
            + skipped
            + values.iter().map(|extent| extent.to - extent.from).sum::<u64>();
        // From here on the backups' disk is asked: all that is held can be taken away.
        let most = self.options.max_backup_pinned_bytes;
        let source = Arc::new(Source::new(view, values, most));
        let listed = snapshot.lease().list(&source).ok_or_else(|| source.taken())?;
        let known = known_pages(&**disk, dir, parent, live, &mut manifest)?;
        let name = |kind| format::part_name(number, kind, 0);
        let (pages, frames) = (name(Kind::Pages), name(Kind::Frames));
        let pages = PageCopy {
            known,
            part: Writer::new(&**disk, dir, &pages, Kind::Pages, store)?,
            table: Vec::new(),
        };
        let frames = Frames {
            cursor,
            part: Writer::new(&**disk, dir, &frames, Kind::Frames, store)?,
            first: meta.flushed + 1,
            count: 0,
            buf: Vec::new(),
            ended: false,
        };
        Ok(Backup {
            lsm: self,
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
            manifest,
            frames,
            source,
            extent: None,
            pages: Some(pages),
            buf: Vec::new(),
            seen: skipped,
            of,
            info: None,
            held: Some((snapshot, listed)),
            retention,
            _lock: lock,
        })
    }

    /// The newest committed version, held, and the log behind it.
    fn pin(&self) -> Result<(Snapshot, View, Meta, wal::Cursor), Error> {
        loop {
            let snapshot = self.backup_snapshot()?;
            let view = match snapshot.version() {
                Ok(version) => version.view.clone(),
                Err(_) => {
                    return Err(Error::HeldTooMuch { most: self.options.max_backup_pinned_bytes });
                }
            };
            let meta = Meta::decode(view.user(), PAGES)?;
            match self.wal.cursor(meta.flushed + 1) {
                Ok(cursor) => return Ok((snapshot, view, meta, cursor)),
                // A flush and a truncation came in between.
                Err(wal::Error::Gone { .. }) if self.flushed_lsn() > meta.flushed => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What must be copied of the value log; what the parent has goes into the
    /// manifest. Also the bytes of the latter.
    fn extents(
        &self,
        view: &View,
        meta: &Meta,
        parent: Option<&Manifest>,
        manifest: &mut Manifest,
    ) -> Result<(VecDeque<Extent>, u64), Error> {
        let mut there: BTreeMap<u32, Vec<Part>> = BTreeMap::new();
        for part in parent.into_iter().flat_map(|parent| parent.of(Kind::Values)) {
            there.entry(part.segment).or_default().push(*part);
        }
        let (mut extents, mut taken) = (VecDeque::new(), 0);
        let mut rows = segments::table(view)?;
        if meta.tail.segment > 0 {
            rows.entry(meta.tail.segment).or_default();
        }
        for (id, row) in rows {
            let is_tail = id == meta.tail.segment;
            // One wholly dead holds nothing, and may be removed at any moment.
            if !is_tail && row.is_dead() {
                continue;
            }
            let file = SegmentFile::open(&*self.disk, VLOG_DIR, id)?;
            let to = if is_tail { meta.tail.len } else { file.len() };
            let parts = there.remove(&id).unwrap_or_default();
            let from = if continues(&file, &parts, to)? {
                manifest.parts.extend(&parts);
                parts.last().map_or(0, |part| part.from + part.units)
            } else {
                0
            };
            taken += from;
            if from < to {
                extents.push_back(Extent { segment: id, from, to, file });
            }
        }
        Ok((extents, taken))
    }
}

/// Whether the parts are the beginning of the segment as it is now: they end where
/// it has the same bytes before.
fn continues(file: &SegmentFile, parts: &[Part], to: u64) -> Result<bool, Error> {
    let Some(last) = parts.last() else { return Ok(false) };
    let mut end = 0;
    for part in parts {
        if part.from != end {
            return Ok(false);
        }
        end = part.from + part.units;
    }
    if end > to {
        return Ok(false);
    }
    let len = last.units.min(LAST);
    let mut bytes = vec![0; len as usize];
    let got = file.read_raw(&mut bytes, end - len)?;
    Ok(format::checksum(&bytes[..got]) == last.last)
}

impl Backup<'_> {
    /// Copies a bounded piece.
    ///
    /// # Errors
    /// Of the store: a page, record or frame that cannot be read. Of the backup's
    /// disk. It cannot go on then: drop it, and begin another.
    pub fn step(&mut self) -> Result<Progress, Error> {
        let outcome = self.piece();
        if let Err(Error::Store(error)) = &outcome {
            self.lsm.health.met_again(error);
        }
        outcome
    }

    fn piece(&mut self) -> Result<Progress, Error> {
        if let Some(info) = &self.info {
            return Ok(Progress::Done(info.clone()));
        }
        let written = self.copy_frames(None)?;
        if written < STEP_BYTES && !self.copy_values()? && !self.copy_pages()? {
            return self.end();
        }
        Ok(Progress::Copying { written: self.manifest.copied, seen: self.seen, of: self.of })
    }

    /// Takes it to its end.
    ///
    /// # Errors
    /// As [`Backup::step`].
    pub fn run(mut self, progress: &mut dyn FnMut(&Progress)) -> Result<BackupInfo, Error> {
        loop {
            let now = self.step()?;
            progress(&now);
            if let Progress::Done(info) = now {
                return Ok(info);
            }
        }
    }

    /// Copies frames: a step's worth, or all up to a commit. Returns the bytes.
    fn copy_frames(&mut self, until: Option<Lsn>) -> Result<u64, Error> {
        let frames = &mut self.frames;
        let mut written = 0;
        while !frames.ended {
            let next = frames.first + frames.count;
            if until.map_or(written >= STEP_BYTES, |until| next > until) {
                break;
            }
            let frame = match frames.cursor.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(wal::Error::Gone { .. }) => {
                    frames.ended = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            frames.buf.clear();
            format::put_frame(&mut frames.buf, &frame);
            (self.manifest.lsn, self.manifest.lsn_wall) = (frame.lsn, frame.wall_micros);
            frames.part.write(&frames.buf)?;
            frames.count += 1;
            written += frames.buf.len() as u64;
        }
        let next = frames.first + frames.count;
        if let Some(retention) = &self.retention
            && retention.advance(next).is_err()
        {
            self.retention = None;
        }
        self.manifest.copied += written;
        Ok(written)
    }

    /// Copies values; false when there are no more.
    fn copy_values(&mut self) -> Result<bool, Error> {
        let mut left = STEP_BYTES;
        while left > 0 {
            let Some((_, part)) = &mut self.extent else {
                if !self.begin_extent()? {
                    return Ok(false);
                }
                continue;
            };
            self.buf.clear();
            let piece = PIECE_BYTES.min(left as usize);
            let goes_on = self.source.records(piece, &mut self.buf)?;
            part.write(&self.buf)?;
            let bytes = self.buf.len() as u64;
            left = left.saturating_sub(bytes);
            self.manifest.copied += bytes;
            self.seen += bytes;
            if !goes_on && let Some((begun, mut part)) = self.extent.take() {
                let units = begun.to - begun.from;
                let part =
                    part.finish(self.part(Kind::Values, begun.segment, begun.from, units))?;
                self.manifest.parts.push(part);
            }
        }
        Ok(true)
    }

    /// Begins the next extent, if there is one.
    fn begin_extent(&mut self) -> Result<bool, Error> {
        let Some(begun) = self.source.extent()? else { return Ok(false) };
        let Manifest { number, store, .. } = self.manifest;
        let name = format::part_name(number, Kind::Values, begun.segment);
        let mut part = Writer::new(&*self.disk, &self.dir, &name, Kind::Values, store)?;
        part.write(&begun.header)?;
        self.extent = Some((begun, part));
        Ok(true)
    }

    /// Copies pages; false when there are no more.
    fn copy_pages(&mut self) -> Result<bool, Error> {
        let Some(copy) = &mut self.pages else { return Ok(false) };
        let mut left = STEP_BYTES / PAGE_BYTES as u64;
        let (known, seen) = (&copy.known, &mut self.seen);
        let mut is_known = |page: u32, check: u32| {
            check != 0 && known.get(page as usize).is_some_and(|known| *known == check)
        };
        while left > 0 {
            let Some((at, page)) = self.source.page(&mut is_known)? else {
                let (page, meta) = self.source.meta_page()?;
                // Frames are all that is still to be copied.
                self.source.close();
                self.held = None;
                let check = btree::check_page(page, &meta).unwrap_or_default();
                copy.part.write(&meta[..])?;
                put_line(&mut copy.table, page, check);
                self.manifest.copied += PAGE_BYTES as u64;
                self.end_pages()?;
                return Ok(false);
            };
            copy.part.write(page.bytes())?;
            put_line(&mut copy.table, at.page, at.check);
            self.manifest.copied += PAGE_BYTES as u64;
            *seen += PAGE_BYTES as u64;
            left -= 1;
        }
        Ok(true)
    }

    fn end_pages(&mut self) -> Result<(), Error> {
        let Some(mut copy) = self.pages.take() else { return Ok(()) };
        // Subtrees that are there were not looked into.
        self.seen = self.of;
        copy.part.write(&copy.table)?;
        copy.part.write(&format::checksum(&copy.table).to_le_bytes())?;
        let units = copy.table.len() as u64 / TABLE_LINE;
        let part = copy.part.finish(self.part(Kind::Pages, 0, 0, units))?;
        self.manifest.parts.push(part);
        Ok(())
    }

    fn part(&self, kind: Kind, segment: u32, from: u64, units: u64) -> Part {
        let number = self.manifest.number;
        Part { kind, segment, number, from, units, bytes: 0, checksum: 0, last: 0 }
    }

    /// Copies the frames that are durable by now, and puts the manifest in place.
    fn end(&mut self) -> Result<Progress, Error> {
        // A log that failed still has what was durable before.
        let durable = self.lsm.sync().unwrap_or_else(|_| self.lsm.durable_lsn());
        self.copy_frames(Some(durable))?;
        let (first, count) = (self.frames.first, self.frames.count);
        let part = self.part(Kind::Frames, 0, first, count);
        let part = self.frames.part.finish(part)?;
        self.manifest.parts.push(part);
        self.manifest.ended = self.lsm.clock.wall_micros();
        let (disk, dir) = (&*self.disk, &*self.dir);
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;

        let name = join(dir, &format::manifest_name(self.manifest.number));
        let aside = format!("{name}.new");
        let file = disk.open(&aside, Open::CreateNew).map_err(Error::io("create", &aside))?;
        file.write_at(&self.manifest.encode(), 0).map_err(Error::io("write", &aside))?;
        file.sync().map_err(Error::io("sync", &aside))?;
        disk.rename(&aside, &name).map_err(Error::io("rename", &aside))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        let info = BackupInfo::from(&self.manifest);
        self.info = Some(info.clone());
        Ok(Progress::Done(info))
    }
}
