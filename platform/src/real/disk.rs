//! The operating system's files under one root directory.
//!
//! Invariants:
//! * no path leaves the root; files are made 0600 and directories 0700;
//! * `sync` is fdatasync and is never tried twice; `sync_dir` is fsync on the
//!   directory; a directory made by `create_dir` is durable when it returns;
//! * every error names the operation and the path, and keeps its kind.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::direct::DirectFile;
use super::file::RealFile;
use crate::disk::{Disk, File, Lock, Named, Open};
use crate::path;

/// A directory of the operating system as a [`Disk`].
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The disk rooted at `root`, which is made (with its parents) if absent.
    ///
    /// # Errors
    /// When the root cannot be made or is not a directory.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        make_root(&root)
            .map_err(|e| named("make the data directory", &root.to_string_lossy(), &e))?;
        Self::existing(root)
    }

    /// The disk rooted at `root`, which must exist: for tools that only look.
    ///
    /// # Errors
    /// When the root is missing or is not a directory.
    pub fn existing(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let shown = root.to_string_lossy();
        // Absolute, so that a later change of the working directory is harmless.
        let full =
            fs::canonicalize(&root).map_err(|e| named("open the data directory", &shown, &e))?;
        if !full.is_dir() {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(named("open the data directory", &shown, &error));
        }
        Ok(Self { root: full })
    }

    /// The absolute path of the root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn file_path(&self, path: &str) -> io::Result<PathBuf> {
        path::check_file(path)?;
        Ok(self.root.join(path))
    }

    /// `join("")` would add a trailing slash.
    fn dir_path(&self, dir: &str) -> io::Result<PathBuf> {
        path::check_dir(dir)?;
        Ok(if dir.is_empty() { self.root.clone() } else { self.root.join(dir) })
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let file = open_file(&self.file_path(path)?, how).map_err(|e| named("open", path, &e))?;
        Ok(Arc::new(RealFile::new(file, path)))
    }

    fn open_write_through(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let full = self.file_path(path)?;
        let file = DirectFile::open(&full, path).map_err(|e| named("open", path, &e))?;
        Ok(Arc::new(file))
    }

    #[expect(clippy::disallowed_methods, reason = "the real disk is the one door to files")]
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (source, target) = (self.file_path(from)?, self.file_path(to)?);
        let step = || {
            // rename(2) would move a directory too, and the simulated disk has no such thing.
            if fs::symlink_metadata(&source)?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            // The kernel refuses this too, but calls it "not empty" when `to` holds `from`.
            if fs::symlink_metadata(&target).is_ok_and(|meta| meta.is_dir()) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            fs::rename(&source, &target)
        };
        step().map_err(|e| named(&format!("rename {from} to"), to, &e))
    }

    #[expect(clippy::disallowed_methods, reason = "the real disk is the one door to files")]
    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.file_path(path)?).map_err(|e| named("remove", path, &e))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        list_files(&self.dir_path(dir)?).map_err(|e| named("list", dir, &e))
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        path::check_dir(dir)?;
        for part in path::prefixes(dir) {
            let full = self.root.join(part);
            make_dir(&full).map_err(|e| named("make the directory", part, &e))?;
            // Also when it stood already: a killed process may have made it
            // and not come to this line.
            self.sync_dir(path::parent(part))?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        fsync_dir(&self.dir_path(dir)?).map_err(|e| named("sync the directory", dir, &e))
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        let step = || {
            let file = open_file(&self.file_path(path)?, Open::Create)?;
            // flock belongs to the open file description: a second holder in
            // this process is refused like one in another.
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok::<_, io::Error>(file)
        };
        match step() {
            Ok(file) => Ok(Box::new(RealLock { _file: file })),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!(
                    "{path} is locked: another process has this data directory open; stop it first"
                ),
            )),
            Err(e) => Err(named("lock", path, &e)),
        }
    }
}

/// The kernel lets the lock go when the descriptor closes, however we end.
struct RealLock {
    _file: fs::File,
}

impl Lock for RealLock {}

#[expect(clippy::disallowed_methods, reason = "the real disk is the one door to files")]
fn open_file(full: &Path, how: Open) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600);
    match how {
        Open::Read => &mut options,
        Open::Write => options.write(true),
        Open::CreateNew => options.write(true).create_new(true),
        Open::Create => options.write(true).create(true).truncate(false),
    };
    let file = options.open(full)?;
    // A directory opens for reading; better to say so now than at the first read.
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(file)
}

fn list_files(full: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(full)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let is_file = kind.is_file()
            || (kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|m| m.is_file()));
        // A name that is not UTF-8 was not made through this disk.
        if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Makes one directory, 0700; fine if it exists.
fn make_dir(full: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(full) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            if full.is_dir() {
                return Ok(());
            }
            Err(io::ErrorKind::NotADirectory.into())
        }
        other => other,
    }
}

/// Makes the root with its parents, and their names durable.
fn make_root(root: &Path) -> io::Result<()> {
    let above = match root.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => return Ok(()),
    };
    if root.is_dir() {
        // A killed process may have made it and not come to the last line.
        return match fsync_dir(above) {
            // Who may not even look there has not made it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            outcome => outcome,
        };
    }
    make_root(above)?;
    make_dir(root)?;
    fsync_dir(above)
}

fn fsync_dir(full: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(full, flags, Mode::empty())?;
    Ok(rustix::fs::fsync(dir)?)
}

/// The same kind, with what was tried and where.
pub(super) fn named(what: &str, path: &str, error: &io::Error) -> io::Error {
    let path = if path.is_empty() { "the data directory" } else { path };
    let text = format!("could not {what} {path}: {error}");
    io::Error::new(error.kind(), Named { text, os: error.raw_os_error() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_private() {
        let temp = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(temp.path().join("deep/root")).unwrap();
        disk.create_dir("a/b").unwrap();
        disk.open("a/b/file", Open::CreateNew).unwrap();
        let _lock = disk.lock("lock").unwrap();
        assert_eq!(mode(disk.root()), 0o700);
        assert_eq!(mode(&disk.root().join("a")), 0o700);
        assert_eq!(mode(&disk.root().join("a/b")), 0o700);
        assert_eq!(mode(&disk.root().join("a/b/file")), 0o600);
        assert_eq!(mode(&disk.root().join("lock")), 0o600);
    }

    #[test]
    fn a_missing_root_is_made_only_by_new() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        let error = RealDisk::existing(&root).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("data"), "{error}");
        RealDisk::new(&root).unwrap();
        RealDisk::existing(&root).unwrap();
    }

    #[test]
    fn an_error_names_the_file_and_keeps_its_kind() {
        let temp = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(temp.path()).unwrap();
        let error = disk.open("nothing", Open::Read).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("could not open nothing: "), "{error}");
    }
}
