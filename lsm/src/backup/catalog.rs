//! The backups in a directory: listed, checked, pruned.
//!
//! What must stay true:
//! * a file is removed only when no manifest names it, and that is durable; with a
//!   manifest that cannot be read nothing is removed at all, since what it names is
//!   not known;
//! * for everything else one manifest that cannot be read is that one's loss: the
//!   others are found, and it is named to whoever looks.

use std::collections::BTreeSet;
use std::fmt;

use platform::{Disk, Lock, Open};

use super::error::Error;
use super::format::{self, Flaw, Kind, Manifest};
use super::part::{self, join};
use crate::Lsn;
use crate::directory::{self, StoreId};

pub(crate) const LOCK: &str = "LOCK";
/// The longest manifest: more files than any backup has.
const MAX_MANIFEST: u64 = 1 << 30;

/// A backup, as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// Its number; a later backup has a higher one.
    pub number: u64,
    /// The backup it was added to; `None`: it took everything itself.
    pub parent: Option<u64>,
    /// Whose it is.
    pub store: StoreId,
    /// The last commit in it.
    pub lsn: Lsn,
    /// That commit's wall time in microseconds, where a frame in the backup tells.
    pub lsn_wall_micros: Option<u64>,
    /// The first commit it can be restored to.
    pub first_lsn: Lsn,
    /// When it was begun and ended, wall time in microseconds.
    pub begun_micros: u64,
    /// See `begun_micros`.
    pub ended_micros: u64,
    /// Bytes of all files it needs.
    pub bytes: u64,
    /// Of them, bytes written for it.
    pub copied: u64,
    /// Files it needs.
    pub files: usize,
}

impl From<&Manifest> for BackupInfo {
    fn from(manifest: &Manifest) -> Self {
        BackupInfo {
            number: manifest.number,
            parent: (manifest.parent > 0).then_some(manifest.parent),
            store: manifest.store,
            lsn: manifest.lsn,
            lsn_wall_micros: (manifest.lsn_wall > 0).then_some(manifest.lsn_wall),
            first_lsn: manifest.flushed,
            begun_micros: manifest.begun,
            ended_micros: manifest.ended,
            bytes: manifest.parts.iter().map(|part| part.bytes).sum(),
            copied: manifest.copied,
            files: manifest.parts.len(),
        }
    }
}

impl fmt::Display for BackupInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backup {} of store {}: up to commit {}", self.number, self.store, self.lsn)?;
        match self.parent {
            Some(parent) => write!(f, ", added to backup {parent}")?,
            None => f.write_str(", full")?,
        }
        write!(f, ", {} bytes in {} files, {} written", self.bytes, self.files, self.copied)
    }
}

/// A backup whose manifest is there and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its number, as its name has it.
    pub number: u64,
    /// What is wrong, with the file.
    pub why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backup {}, which cannot be read: {}", self.number, self.why)
    }
}

/// What [`backups`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backups {
    /// Those that can be read, oldest first.
    pub list: Vec<BackupInfo>,
    /// The others, oldest first. While there is one nothing is removed from the
    /// directory.
    pub unreadable: Vec<Unreadable>,
}

impl Backups {
    /// The first frame that any of them needs of the log's archive
    /// ([`LogArchive::keep_from`](crate::LogArchive)): the very first if one cannot be
    /// read; `None` if there is none.
    pub fn keep_from(&self) -> Option<Lsn> {
        if self.unreadable.is_empty() { Some(self.list.first()?.first_lsn) } else { Some(1) }
    }
}

/// The backups in a directory; none if there is no directory. A manifest that cannot
/// be read hides only its own backup.
///
/// # Errors
/// [`Error::Io`], [`Error::Store`]: the directory cannot be listed, or there are no file
/// descriptors to look into it.
pub fn backups(disk: &dyn Disk, dir: &str) -> Result<Backups, Error> {
    let found = look(disk, dir)?;
    let list = found.manifests.iter().map(BackupInfo::from).collect();
    Ok(Backups { list, unreadable: found.unreadable })
}

/// The manifests of a directory.
#[derive(Default)]
pub(crate) struct Found {
    /// Oldest first.
    pub(crate) manifests: Vec<Manifest>,
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Found {
    /// One that was asked for by its number.
    pub(crate) fn only(manifest: Manifest) -> Self {
        Found { manifests: vec![manifest], unreadable: Vec::new() }
    }

    /// Itself, if any can be read.
    pub(crate) fn some(self, dir: &str) -> Result<Self, Error> {
        if !self.manifests.is_empty() {
            return Ok(self);
        }
        let dir = dir.to_owned();
        Err(match self.unreadable.into_iter().next() {
            Some(Unreadable { why, .. }) => Error::NoneReadable { dir, why },
            None => Error::NoBackup { dir, wanted: "at all".to_owned() },
        })
    }

    /// All of them.
    ///
    /// # Errors
    /// [`Error::NothingRemoved`]: one cannot be read.
    pub(crate) fn all(self, dir: &str) -> Result<Vec<Manifest>, Error> {
        match self.unreadable.into_iter().next() {
            None => Ok(self.manifests),
            Some(Unreadable { number, why }) => {
                let file = join(dir, &format::manifest_name(number));
                Err(Error::NothingRemoved { file, why })
            }
        }
    }
}

/// Reads every manifest there is.
pub(crate) fn look(disk: &dyn Disk, dir: &str) -> Result<Found, Error> {
    let mut numbers: Vec<u64> = directory::names(disk, dir)?
        .iter()
        .filter_map(|name| format::manifest_number(name))
        .collect();
    numbers.sort_unstable();
    let mut found = Found::default();
    for number in numbers {
        match manifest(disk, dir, number) {
            Ok(manifest) => found.manifests.push(manifest),
            // That passes, and says nothing of the manifest.
            Err(Error::Io { source, doing, file }) if platform::shortage(&source).is_some() => {
                return Err(Error::Io { source, doing, file });
            }
            Err(error) => {
                found.unreadable.push(Unreadable { number, why: error.to_string() });
            }
        }
    }
    Ok(found)
}

/// The manifest of this number.
pub(crate) fn manifest(disk: &dyn Disk, dir: &str, number: u64) -> Result<Manifest, Error> {
    let path = join(dir, &format::manifest_name(number));
    let file = disk.open(&path, Open::Read).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::NoBackup { dir: dir.to_owned(), wanted: number.to_string() }
        }
        _ => Error::io("open", &path)(e),
    })?;
    let len = file.len().map_err(Error::io("read", &path))?;
    if len > MAX_MANIFEST {
        return Err(Error::damaged(&path, format!("no manifest has {len} bytes")));
    }
    let mut bytes = vec![0; len as usize];
    let got = file.read_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
    bytes.truncate(got);
    match Manifest::decode(&bytes) {
        Ok(manifest) if manifest.number == number => Ok(manifest),
        Ok(other) => Err(Error::damaged(&path, format!("it is that of backup {}", other.number))),
        Err(Flaw::Damaged(what)) => Err(Error::damaged(&path, what)),
        Err(Flaw::Version(found)) => {
            Err(Error::Version { file: path, found, known: format::VERSION })
        }
    }
}

/// The number for a new backup: no file that is left of another one has it.
pub(crate) fn next_number(disk: &dyn Disk, dir: &str) -> Result<u64, Error> {
    let names = directory::names(disk, dir)?;
    Ok(names.iter().filter_map(|name| format::any_number(name)).max().unwrap_or(0) + 1)
}

/// The lock of a backup directory, which is made if absent.
pub(crate) fn lock(disk: &dyn Disk, dir: &str) -> Result<Box<dyn Lock>, Error> {
    if !dir.is_empty() {
        disk.create_dir(dir).map_err(Error::io("make", dir))?;
    }
    let file = join(dir, LOCK);
    disk.lock(&file).map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => Error::Busy { file },
        _ => Error::io("lock", &file)(e),
    })
}

/// Removes what no manifest names. Returns the bytes given back.
pub(crate) fn sweep(disk: &dyn Disk, dir: &str, manifests: &[Manifest]) -> Result<u64, Error> {
    let mut named = BTreeSet::new();
    for manifest in manifests {
        named.insert(format::manifest_name(manifest.number));
        named.extend(manifest.parts.iter().map(format::Part::name));
    }
    let mut freed = 0;
    for name in directory::names(disk, dir)? {
        if format::any_number(&name).is_none() || named.contains(&name) {
            continue;
        }
        let path = join(dir, &name);
        let len = disk.open(&path, Open::Read).and_then(|file| file.len());
        disk.remove(&path).map_err(Error::io("remove", &path))?;
        freed += len.unwrap_or(0);
    }
    Ok(freed)
}

/// What [`prune`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The backups that are gone.
    pub removed: Vec<u64>,
    /// The bytes given back.
    pub bytes: u64,
    /// The first commit that the oldest backup kept can be restored to: archived
    /// frames up to it are needed by none.
    pub first_lsn: Option<Lsn>,
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} backups removed, {} bytes given back", self.removed.len(), self.bytes)
    }
}

/// Keeps the newest `keep` backups (at least one), and every file they name.
///
/// # Errors
/// [`Error::Busy`], [`Error::NothingRemoved`] for a manifest that cannot be read:
/// nothing was removed. [`Error::Io`]: what was not removed goes the next time.
pub fn prune(disk: &dyn Disk, dir: &str, keep: usize) -> Result<Pruned, Error> {
    let _lock = lock(disk, dir)?;
    let mut kept = look(disk, dir)?.all(dir)?;
    let gone: Vec<Manifest> = kept.drain(..kept.len().saturating_sub(keep.max(1))).collect();
    for old in &gone {
        let path = join(dir, &format::manifest_name(old.number));
        disk.remove(&path).map_err(Error::io("remove", &path))?;
    }
    if !gone.is_empty() {
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    Ok(Pruned {
        removed: gone.iter().map(|manifest| manifest.number).collect(),
        bytes: sweep(disk, dir, &kept)?,
        first_lsn: kept.first().map(|manifest| manifest.flushed),
    })
}

/// Reads every byte of a backup (the newest that can be read if no number is given)
/// against its manifest. `progress` is told the bytes read so far, and all there are.
///
/// # Errors
/// [`Error::Damaged`], naming the first file that is not as it was written.
pub fn check_backup(
    disk: &dyn Disk,
    dir: &str,
    number: Option<u64>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackupInfo, Error> {
    let manifest = match number {
        Some(number) => Some(manifest(disk, dir, number)?),
        None => look(disk, dir)?.some(dir)?.manifests.pop(),
    };
    let none = || Error::NoBackup { dir: dir.to_owned(), wanted: "at all".to_owned() };
    let manifest = manifest.ok_or_else(none)?;
    let info = BackupInfo::from(&manifest);
    let mut done = 0;
    for part in &manifest.parts {
        part::read(disk, dir, manifest.store, part, &mut |bytes| {
            done += bytes.len() as u64;
            progress(done, info.bytes);
            Ok(())
        })?;
    }
    Ok(info)
}

impl Manifest {
    /// The parts of one kind, in the order they are to be laid over each other.
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &format::Part> {
        self.parts.iter().filter(move |part| part.kind == kind)
    }
}
