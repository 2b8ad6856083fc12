//! A disk that can be looked at by programs that write.
//!
//! Must stay true: nothing that lies on the disk below is changed, made or removed:
//! what is written stays in memory, by blocks, within a bound, and is gone with the
//! overlay. The lock is the disk's own if its file is there, so that nobody works on
//! what is looked at. Nothing written here survives a crash: a sync does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use crate::disk::{Disk, File, Lock, Open};
use crate::path;

/// Bytes kept together.
const BLOCK: usize = 4096;

/// See the module.
pub struct Overlay {
    below: Arc<dyn Disk>,
    names: Mutex<Names>,
    room: Arc<Room>,
}

#[derive(Default)]
struct Names {
    /// Files that were opened, made or renamed here; `None`: removed.
    files: BTreeMap<String, Option<Arc<Layer>>>,
    dirs: BTreeSet<String>,
}

/// The memory that all files may take.
struct Room {
    used: AtomicU64,
    most: u64,
}

impl Room {
    fn take(&self) -> io::Result<()> {
        let next = |used: u64| used.checked_add(BLOCK as u64).filter(|used| *used <= self.most);
        match self.used.fetch_update(Relaxed, Relaxed, next) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "what is only looked at was to be changed by more than the {} bytes there is \
                     memory for",
                    self.most
                ),
            )),
        }
    }
}

impl Overlay {
    /// Over `below`, with memory for `most` bytes of what is written.
    #[must_use]
    pub fn new(below: Arc<dyn Disk>, most: u64) -> Self {
        let room = Arc::new(Room { used: AtomicU64::new(0), most });
        Overlay { below, names: Mutex::default(), room }
    }

    /// The file as it is here, if it is there.
    fn find(&self, names: &mut Names, path: &str) -> io::Result<Arc<Layer>> {
        path::check_file(path)?;
        match names.files.get(path) {
            Some(Some(layer)) => return Ok(Arc::clone(layer)),
            Some(None) => return Err(missing(path)),
            None => {}
        }
        let file = self.below.open(path, Open::Read)?;
        let len = file.len()?;
        let bytes = Bytes { below: Some((file, len)), len, blocks: BTreeMap::new() };
        Ok(self.put(names, path, bytes))
    }

    fn put(&self, names: &mut Names, path: &str, bytes: Bytes) -> Arc<Layer> {
        let layer = Arc::new(Layer { bytes: Mutex::new(bytes), room: Arc::clone(&self.room) });
        names.files.insert(path.to_owned(), Some(Arc::clone(&layer)));
        layer
    }
}

fn missing(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{path} is not there"))
}

impl Disk for Overlay {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let mut names = self.names.lock();
        let found = match (self.find(&mut names, path), how) {
            (Ok(_), Open::CreateNew) => {
                let text = format!("{path} is there already");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            (Err(error), Open::Create | Open::CreateNew)
                if error.kind() == io::ErrorKind::NotFound =>
            {
                let bytes = Bytes { below: None, len: 0, blocks: BTreeMap::new() };
                self.put(&mut names, path, bytes)
            }
            (found, _) => found?,
        };
        Ok(found)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        path::check_file(to)?;
        let mut names = self.names.lock();
        let layer = self.find(&mut names, from)?;
        names.files.insert(from.to_owned(), None);
        names.files.insert(to.to_owned(), Some(layer));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut names = self.names.lock();
        self.find(&mut names, path)?;
        names.files.insert(path.to_owned(), None);
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        path::check_dir(dir)?;
        let names = self.names.lock();
        let mut found: BTreeSet<String> = match self.below.list(dir) {
            Ok(found) => found.into_iter().collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && names.dirs.contains(dir) => {
                BTreeSet::new()
            }
            Err(error) => return Err(error),
        };
        for (path, layer) in names.files.iter().filter(|(path, _)| path::parent(path) == dir) {
            let name = path.rsplit('/').next().unwrap_or(path);
            if layer.is_some() {
                found.insert(name.to_owned());
            } else {
                found.remove(name);
            }
        }
        Ok(found.into_iter().collect())
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        path::check_dir(dir)?;
        self.names.lock().dirs.extend(path::prefixes(dir).map(str::to_owned));
        Ok(())
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        match self.below.open(path, Open::Read) {
            Ok(_) => self.below.lock(path),
            // Whoever opens it for good makes it first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(NoLock)),
            Err(error) => Err(error),
        }
    }
}

/// Of a directory that nobody has opened yet.
struct NoLock;

impl Lock for NoLock {}

/// A file: the one below, and what was written over it.
struct Layer {
    bytes: Mutex<Bytes>,
    room: Arc<Room>,
}

struct Bytes {
    /// The file below, and how much of its beginning still counts.
    below: Option<(Arc<dyn File>, u64)>,
    len: u64,
    /// What was written, by the number of the block.
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Bytes {
    /// Fills `buf`, which lies within one block, from below; zeros where that ends.
    fn read_below(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buf.fill(0);
        let Some((file, counts)) = &self.below else { return Ok(()) };
        let len = buf.len().min(usize::try_from(counts.saturating_sub(offset)).unwrap_or(BLOCK));
        if len == 0 { Ok(()) } else { file.read_exact_at(&mut buf[..len], offset) }
    }

    /// The block, to be written to.
    fn block(&mut self, number: u64, room: &Room) -> io::Result<&mut [u8; BLOCK]> {
        if !self.blocks.contains_key(&number) {
            room.take()?;
            let mut block = Box::new([0; BLOCK]);
            self.read_below(&mut block[..], number * BLOCK as u64)?;
            self.blocks.insert(number, block);
        }
        Ok(self.blocks.get_mut(&number).expect("it was just put there"))
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            if let Some((_, counts)) = &mut self.below {
                *counts = len.min(*counts);
            }
            // What was cut off reads as zeros if the file grows again.
            self.blocks.retain(|number, block| {
                let keep = len.saturating_sub(number * BLOCK as u64).min(BLOCK as u64);
                block[keep as usize..].fill(0);
                keep > 0
            });
        }
        self.len = len;
    }
}

impl File for Layer {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock();
        let left = usize::try_from(bytes.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let (number, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let part = &mut buf[done..len.min(done + BLOCK - within)];
            match bytes.blocks.get(&number) {
                Some(block) => part.copy_from_slice(&block[within..within + part.len()]),
                None => bytes.read_below(part, at)?,
            }
            done += part.len();
        }
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock();
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (number, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let part = &buf[done..buf.len().min(done + BLOCK - within)];
            let block = bytes.block(number, &self.room)?;
            block[within..within + part.len()].copy_from_slice(part);
            done += part.len();
            bytes.len = bytes.len.max(at + part.len() as u64);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().set_len(len);
        Ok(())
    }

    /// Without the zeros, which are there as they are read.
    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock();
        bytes.len = bytes.len.max(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    fn below() -> Arc<SimDisk> {
        let disk = SimDisk::new(1);
        disk.create_dir("a").unwrap();
        disk.open("a/old", Open::CreateNew).unwrap().write_at(&[7; 10_000], 0).unwrap();
        disk.open("LOCK", Open::CreateNew).unwrap();
        disk
    }

    fn read(disk: &dyn Disk, path: &str) -> Vec<u8> {
        let file = disk.open(path, Open::Read).unwrap();
        let mut bytes = vec![1; file.len().unwrap() as usize];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
        bytes
    }

    #[test]
    fn what_is_written_is_read_and_nothing_below_is_changed() {
        // Given a disk with a file,
        let disk = below();
        let over = Overlay::new(Arc::clone(&disk) as _, 1 << 20);
        let (calls, files) = (disk.calls(), disk.files());
        // when a program writes within it, cuts it, and writes behind its end,
        let mut model = vec![7; 10_000];
        let file = over.open("a/old", Open::Write).unwrap();
        file.write_at(&[1; 5000], 3000).unwrap();
        model[3000..8000].fill(1);
        assert_eq!(read(&over, "a/old"), model);
        file.set_len(4500).unwrap();
        file.set_len(9000).unwrap();
        file.write_at(&[2; 100], 9950).unwrap();
        model.truncate(4500);
        model.resize(9950, 0);
        model.resize(10_050, 2);
        // then it reads what it wrote, in every piece,
        assert_eq!(read(&over, "a/old"), model);
        for (at, len) in [(0, 1), (4090, 10), (4499, 2), (9949, 200), (10_050, 5)] {
            let mut piece = vec![9; len];
            let got = file.read_at(&mut piece, at as u64).unwrap();
            assert_eq!(piece[..got], model[at..model.len().min(at + len)], "{at} {len}");
        }
        // and names come and go,
        over.create_dir("b").unwrap();
        over.open("b/new", Open::CreateNew).unwrap().allocate(1 << 40).unwrap();
        assert_eq!(over.open("b/new", Open::Read).unwrap().len().unwrap(), 1 << 40);
        over.rename("a/old", "b/old").unwrap();
        assert_eq!((over.list("a").unwrap(), over.list("b").unwrap().len()), (vec![], 2));
        over.remove("b/new").unwrap();
        assert_eq!(over.list("b").unwrap(), ["old"]);
        for (path, how, kind) in [
            ("a/old", Open::Write, io::ErrorKind::NotFound),
            ("b/old", Open::CreateNew, io::ErrorKind::AlreadyExists),
        ] {
            assert_eq!(over.open(path, how).err().unwrap().kind(), kind);
        }
        assert_eq!(over.list("c").unwrap_err().kind(), io::ErrorKind::NotFound);
        // while below nothing has happened.
        assert_eq!((disk.calls(), disk.files()), (calls, files));
        assert_eq!(disk.file_bytes("a/old").unwrap(), vec![7; 10_000]);
    }

    #[test]
    fn what_is_written_is_bounded() {
        let over = Overlay::new(below(), 2 * BLOCK as u64);
        let file = over.open("new", Open::Create).unwrap();
        file.write_at(&[1; 2 * BLOCK], 0).unwrap();
        file.write_at(&[2; 2 * BLOCK], 0).unwrap();
        let error = file.write_at(&[1], 2 * BLOCK as u64).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    }

    #[test]
    fn the_lock_is_that_of_the_disk_below_and_none_is_made() {
        let disk = below();
        let over = Overlay::new(Arc::clone(&disk) as _, 0);
        let held = disk.lock("LOCK").unwrap();
        assert_eq!(over.lock("LOCK").err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        let held = over.lock("LOCK").unwrap();
        assert_eq!(disk.lock("LOCK").err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        drop(over.lock("other").unwrap());
        assert!(!disk.files().contains(&"other".to_owned()));
    }
}
