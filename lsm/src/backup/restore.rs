//! A store from a backup, and from an archive of the log behind it.
//!
//! What must stay true:
//! * the directory is empty before, or nothing is done. The first thing made in
//!   it, durably, is [`RESTORING`]; the last act turns it into the page file. In
//!   between, and after a crash there, it is no store and says so;
//! * every byte taken from the backup was checked against its manifest, and the
//!   store put together was verified whole, before that last act;
//! * frames are replayed dense and in order, up to what was asked for and no
//!   further; if that cannot be reached, it is refused;
//! * the restored store has an identity of its own: from its last commit on it
//!   numbers other commits than the old store did, and neither may be mistaken
//!   for the other by a backup or an archive.

use std::collections::BTreeMap;
use std::sync::Arc;

use btree::{PAGE_BYTES, PageFile};
use platform::{Clock, Disk, File, Open};
use vlog::SegmentFile;
use wal::Wal;
use wal::archive::{self, Archive};

use super::asked::{Restore, Restored, Until};
use super::catalog::{self, Found, Unreadable};
use super::error::Error;
use super::format::{self, Kind, Manifest};
use super::part::{self, join};
use crate::batch::decode;
use crate::directory::{self, RESTORING, StoreId};
use crate::meta::Meta;
use crate::options::Options;
use crate::{LOCK, Lsn, PAGES, VLOG_DIR, WAL_DIR, verify};

/// Restores into the root of `target`, which must hold no file. `options` are those
/// the store will be opened with. `progress` is told the bytes done, and all there
/// are.
///
/// # Errors
/// [`Error::NotEmpty`], [`Error::NoBackup`], [`Error::Unreachable`] and damage of a
/// manifest: nothing was changed. Later ones: what was made is removed again, as
/// far as the disk lets it; what is left opens as an unfinished restore.
pub fn restore(
    what: &Restore,
    target: &Arc<dyn Disk>,
    clock: &dyn Clock,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored, Error> {
    options.check()?;
    empty(&**target)?;
    let (manifest, unreadable) = choose(what)?;
    let archive = match &what.archive {
        Some((disk, dir)) => Some(Archive::open(Arc::clone(disk), dir).map_err(archived)?),
        None => None,
    };
    let _lock = target.lock(LOCK).map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => {
            Error::Store(crate::Error::InUse { file: LOCK.to_owned() })
        }
        _ => Error::io("lock", LOCK)(e),
    })?;
    let mut job =
        Job { what, manifest, target: Arc::clone(target), options, done: 0, of: 0, progress };
    job.of = job.manifest.parts.iter().map(|part| part.bytes).sum();
    let outcome = job.run(clock, archive);
    if outcome.is_err() {
        clean(&**target);
    }
    outcome.map(|done| Restored { unreadable, ..done })
}

/// Whether a new store can be put there.
///
/// # Errors
/// [`Error::NotEmpty`].
pub(crate) fn empty(target: &dyn Disk) -> Result<(), Error> {
    for (dir, prefix) in [("", ""), (WAL_DIR, "wal/"), (VLOG_DIR, "vlog/")] {
        let there = directory::names(target, dir)?;
        if let Some(name) = there.into_iter().find(|name| !dir.is_empty() || name != LOCK) {
            return Err(Error::NotEmpty { file: format!("{prefix}{name}") });
        }
    }
    Ok(())
}

fn archived(error: archive::Error) -> Error {
    Error::Unreachable { wanted: "a commit in the archive".to_owned(), why: error.to_string() }
}

/// The newest backup from which what is asked for can be reached, and those that
/// cannot be read. A number asked for is that one or none: no other is looked at.
fn choose(what: &Restore) -> Result<(Manifest, Vec<Unreadable>), Error> {
    let reaches = |manifest: &Manifest| match what.until {
        Until::Latest => true,
        Until::Lsn(lsn) => manifest.flushed <= lsn,
        // Not when it was begun: a commit in its trees may be of a later time, by a
        // clock that was set back since.
        Until::Wall(micros) => manifest.flushed_wall <= micros,
    };
    let Found { manifests, unreadable } = match what.number {
        Some(number) => Found::only(catalog::manifest(&*what.disk, &what.dir, number)?),
        None => catalog::look(&*what.disk, &what.dir)?.some(&what.dir)?,
    };
    let mut why = manifests.first().map_or_else(String::new, |oldest| {
        format!(
            "backup {} cannot go back further than commit {}, the latest of those up to it was \
             made at {}",
            oldest.number, oldest.flushed, oldest.flushed_wall
        )
    });
    if matches!(what.until, Until::Wall(_)) {
        why += " (if the clock was wrong then, ask for a commit by its number)";
    }
    unreadable.iter().for_each(|unreadable| why += &format!("; {unreadable}"));
    let chosen = manifests.into_iter().rev().find(reaches);
    let unreachable = || Error::Unreachable { wanted: what.until.to_string(), why };
    Ok((chosen.ok_or_else(unreachable)?, unreadable))
}

/// Takes away what a failed restore made, its sign last. What cannot be removed
/// stays, and with it the sign.
fn clean(target: &dyn Disk) {
    for (dir, prefix) in [(WAL_DIR, "wal/"), (VLOG_DIR, "vlog/")] {
        for name in directory::names(target, dir).unwrap_or_default() {
            if target.remove(&format!("{prefix}{name}")).is_err() {
                return;
            }
        }
        if target.sync_dir(dir).is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound) {
            return;
        }
    }
    // A sign that comes back after a crash is no harm.
    drop(target.remove(RESTORING).and_then(|()| target.sync_dir("")));
}

struct Job<'a> {
    what: &'a Restore,
    manifest: Manifest,
    target: Arc<dyn Disk>,
    options: &'a Options,
    done: u64,
    of: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

/// Where the replay stands.
struct Replay {
    wal: Wal,
    until: Until,
    last: Lsn,
    last_wall: Option<u64>,
    left_out: Option<(Lsn, u64)>,
}

impl Job<'_> {
    fn run(mut self, clock: &dyn Clock, archive: Option<Archive>) -> Result<Restored, Error> {
        let (target, manifest) = (Arc::clone(&self.target), self.manifest.clone());
        // First of all the sign that this is no store.
        let pages =
            target.open(RESTORING, Open::CreateNew).map_err(Error::io("make", RESTORING))?;
        target.sync_dir("").map_err(Error::io("sync", "the directory"))?;

        let mut bytes = self.values()?;
        bytes += self.pages(&*pages)?;
        drop(pages);
        let (store, epoch) = self.stamp(clock)?;
        let wal = Wal::create_at(
            Arc::clone(&target),
            WAL_DIR,
            self.options.wal(),
            manifest.flushed + 1,
            epoch - 1,
        )?;
        let mut replay = Replay {
            wal,
            until: self.what.until,
            last: manifest.flushed,
            last_wall: None,
            left_out: None,
        };
        let from_backup = self.backup_frames(&mut replay)?;
        let from_archive = self.archive_frames(&mut replay, archive)?;
        if let Until::Lsn(wanted) = self.what.until
            && replay.last < wanted
        {
            let why = format!("the backup and the archive end at commit {}", replay.last);
            return Err(Error::Unreachable { wanted: self.what.until.to_string(), why });
        }
        replay.wal.sync()?;
        drop(replay.wal);

        let report = verify::files(&target, RESTORING, &mut |_, _| {})?;
        if !report.is_clean() {
            return Err(Error::Unsound(report.to_string()));
        }
        target.rename(RESTORING, PAGES).map_err(Error::io("rename", RESTORING))?;
        target.sync_dir("").map_err(Error::io("sync", "the directory"))?;
        Ok(Restored {
            backup: manifest.number,
            from: manifest.store,
            store,
            lsn: replay.last,
            wall_micros: replay.last_wall,
            from_backup,
            from_archive,
            left_out: replay.left_out,
            bytes,
            unreadable: Vec::new(),
        })
    }

    fn tell(&mut self, bytes: usize) {
        self.done += bytes as u64;
        (self.progress)(self.done, self.of);
    }

    /// The value log, segment by segment.
    fn values(&mut self) -> Result<u64, Error> {
        let target = Arc::clone(&self.target);
        target.create_dir(VLOG_DIR).map_err(Error::io("make", VLOG_DIR))?;
        let mut segments: BTreeMap<u32, Vec<format::Part>> = BTreeMap::new();
        for part in self.manifest.of(Kind::Values) {
            segments.entry(part.segment).or_default().push(*part);
        }
        let mut all = 0;
        for (id, parts) in segments {
            let path = SegmentFile::path_of(VLOG_DIR, id);
            let file = target.open(&path, Open::CreateNew).map_err(Error::io("create", &path))?;
            let mut at = 0;
            for part in parts {
                let name = join(&self.what.dir, &part.name());
                if part.from != at {
                    return Err(Error::damaged(&name, "it does not follow the part before it"));
                }
                self.part(&part, &mut |bytes| {
                    file.write_at(bytes, at).map_err(Error::io("write", &path))?;
                    at += bytes.len() as u64;
                    Ok(())
                })?;
            }
            file.sync().map_err(Error::io("sync", &path))?;
            all += at;
        }
        target.sync_dir(VLOG_DIR).map_err(Error::io("sync", VLOG_DIR))?;
        Ok(all)
    }

    /// The page file: parts laid over each other, the oldest first.
    fn pages(&mut self, file: &dyn File) -> Result<u64, Error> {
        let count = self.manifest.pages;
        let len = u64::from(count) * PAGE_BYTES as u64;
        file.set_len(len).map_err(Error::io("write", RESTORING))?;
        let parts: Vec<_> = self.manifest.of(Kind::Pages).copied().collect();
        let newest = parts.last().map(|part| part.number);
        for part in &parts {
            // Where each page goes is said behind them.
            let path = join(&self.what.dir, &part.name());
            let places = super::table::read_table(&*self.what.disk, &self.what.dir, part)?;
            let mut places = places.into_iter();
            let mut page = Vec::with_capacity(PAGE_BYTES);
            let is_newest = Some(part.number) == newest;
            self.part(part, &mut |mut bytes| {
                while !bytes.is_empty() {
                    let piece = bytes.len().min(PAGE_BYTES - page.len());
                    page.extend_from_slice(&bytes[..piece]);
                    bytes = &bytes[piece..];
                    if page.len() < PAGE_BYTES {
                        break;
                    }
                    let Some((number, check)) = places.next() else { return Ok(()) };
                    let whole = page.first_chunk::<PAGE_BYTES>();
                    if whole.and_then(|page| btree::check_page(number, page)) != Some(check) {
                        let what = format!("page {number} in it does not check");
                        return Err(Error::damaged(&path, what));
                    }
                    // Meta pages are of the newest; a page behind the end is of a
                    // time when the file was longer.
                    if number < count && (number > 1 || is_newest) {
                        let at = u64::from(number) * PAGE_BYTES as u64;
                        file.write_at(&page, at).map_err(Error::io("write", RESTORING))?;
                    }
                    page.clear();
                }
                Ok(())
            })?;
        }
        file.sync().map_err(Error::io("sync", RESTORING))?;
        Ok(len)
    }

    /// Gives the page file its new identity, and the life of the log that will be
    /// written beside it. Twice, so that both meta pages are of this store.
    fn stamp(&self, clock: &dyn Clock) -> Result<(StoreId, u64), Error> {
        let manifest = &self.manifest;
        let pages = PageFile::open(Arc::clone(&self.target), RESTORING, self.options.pages())?;
        let view = pages.view();
        let old = Meta::decode(view.user(), RESTORING)?;
        let is = (old.store, old.flushed, old.wall, old.tail, view.epoch());
        let wall = manifest.flushed_wall;
        if is != (manifest.store, manifest.flushed, wall, manifest.tail, manifest.epoch) {
            let what = "its pages are not of the version its manifest describes";
            return Err(Error::damaged(&format::manifest_name(manifest.number), what));
        }
        drop(view);
        let epoch = old.wal_epoch + 1;
        let store = StoreId::new(clock, self.options);
        for wal_epoch in [old.wal_epoch, epoch] {
            let mut write = pages.begin();
            write.set_user(Meta { store, wal_epoch, ..old }.encode());
            write.commit()?;
        }
        Ok((store, epoch))
    }

    /// The frames of the backup, as far as they are wanted.
    fn backup_frames(&mut self, replay: &mut Replay) -> Result<u64, Error> {
        let parts: Vec<_> = self.manifest.of(Kind::Frames).copied().collect();
        let (mut found, mut used) = (0, 0);
        for part in &parts {
            let path = join(&self.what.dir, &part.name());
            let mut held: Vec<u8> = Vec::new();
            let mut next = part.from;
            self.part(part, &mut |bytes| {
                held.extend_from_slice(bytes);
                let mut at = 0;
                loop {
                    let rest = &held[at..];
                    let bad =
                        |what: &str| Err(Error::damaged(&path, format!("frame {next}: {what}")));
                    let Some(len) = format::frame_len(rest) else {
                        return bad("it is longer than any");
                    };
                    let Some(whole) = rest.get(..len) else { break };
                    if whole.is_empty() {
                        break;
                    }
                    // Its head may say more than has been read.
                    let len = format::frame_len(whole).unwrap_or(len);
                    let Some(whole) = rest.get(..len) else { break };
                    let Some(frame) = format::frame(whole) else {
                        return bad("it does not match its checksum");
                    };
                    if frame.lsn != next {
                        return bad("another one is there");
                    }
                    next += 1;
                    found += 1;
                    used += u64::from(replay.take(&frame)?);
                    at += len;
                }
                held.drain(..at);
                Ok(())
            })?;
            if !held.is_empty() || next != part.from.saturating_add(part.units) {
                return Err(Error::damaged(&path, format!("it ends at frame {next}")));
            }
        }
        if self.manifest.flushed + found != self.manifest.lsn {
            let what = format!("it says commit {}, its frames do not reach it", self.manifest.lsn);
            return Err(Error::damaged(&format::manifest_name(self.manifest.number), what));
        }
        Ok(used)
    }

    /// The frames of the archive behind them, as far as they are wanted.
    fn archive_frames(
        &mut self,
        replay: &mut Replay,
        archive: Option<Archive>,
    ) -> Result<u64, Error> {
        let Some(archive) = archive else { return Ok(0) };
        let next = replay.last + 1;
        let goes_on = archive.bounds().is_some_and(|(_, last)| last >= next);
        if !goes_on || replay.left_out.is_some() || self.what.until == Until::Lsn(replay.last) {
            return Ok(0);
        }
        let store = archive::StoreId(self.manifest.store.0);
        let mut frames =
            archive.frames(next, archive::Until::End, Some(store)).map_err(archived)?;
        let mut used = 0;
        loop {
            let frame = match frames.next() {
                // What lies behind the last one wanted may be missing or damaged.
                Err(_) if self.what.until == Until::Lsn(replay.last) => break,
                frame => frame.map_err(archived)?,
            };
            let Some(frame) = frame else { break };
            if !replay.take(&frame)? {
                break;
            }
            used += 1;
        }
        Ok(used)
    }

    fn part(
        &mut self,
        part: &format::Part,
        body: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (disk, dir, store) = (Arc::clone(&self.what.disk), &self.what.dir, self.manifest.store);
        let mut read = 0;
        part::read(&*disk, dir, store, part, &mut |bytes| {
            read += bytes.len();
            body(bytes)
        })?;
        self.tell(read);
        Ok(())
    }
}

impl Replay {
    /// Appends a frame to the new log, unless it is not wanted any more.
    fn take(&mut self, frame: &wal::Frame<'_>) -> Result<bool, Error> {
        let wanted = self.left_out.is_none()
            && match self.until {
                Until::Latest => true,
                Until::Lsn(lsn) => frame.lsn <= lsn,
                Until::Wall(micros) => frame.wall_micros <= micros,
            };
        if !wanted {
            self.left_out.get_or_insert((frame.lsn, frame.wall_micros));
            return Ok(false);
        }
        let lsn = frame.lsn;
        decode(frame.payload)
            .map_err(|source| Error::Store(crate::Error::Frame { lsn, source }))?;
        let given = self.wal.append(frame.wall_micros, frame.payload)?;
        if given != lsn {
            let what = format!("frame {lsn} came where {given} was to come");
            return Err(Error::damaged("the replay", what));
        }
        (self.last, self.last_wall) = (lsn, Some(frame.wall_micros));
        Ok(true)
    }
}
