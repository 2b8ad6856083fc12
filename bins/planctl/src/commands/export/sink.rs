//! Where an export goes.

use crate::failure::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::{StdoutLock, Write};
use std::path::{Path, PathBuf};

/// Standard output, or a file that appears when it is whole.
pub(super) enum Sink {
    Stdout(StdoutLock<'static>),
    /// A pipe or a device: written as it is.
    Direct {
        file: File,
        path: PathBuf,
    },
    File {
        file: File,
        /// The name it has until the end.
        part: PathBuf,
        path: PathBuf,
        done: bool,
    },
}

impl Sink {
    pub(super) fn open(path: Option<&Path>) -> Result<Sink, Failure> {
        let Some(path) = path else { return Ok(Sink::Stdout(std::io::stdout().lock())) };
        let fail = |e: std::io::Error| Failure::file("write", path, &e);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(fail(std::io::ErrorKind::IsADirectory.into()));
            }
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(path).map_err(fail)?;
                return Ok(Sink::Direct { file, path: path.to_owned() });
            }
            _ => {}
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&part).map_err(fail)?;
        Ok(Sink::File { file, part, path: path.to_owned(), done: false })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Sink::Stdout(out) => out.write_all(bytes).map_err(|e| Failure::output(&e)),
            Sink::Direct { file, path } | Sink::File { file, path, .. } => {
                file.write_all(bytes).map_err(|e| Failure::file("write", path, &e))
            }
        }
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        match &mut self {
            Sink::Stdout(out) => out.flush().map_err(|e| Failure::output(&e)),
            Sink::Direct { .. } => Ok(()),
            Sink::File { file, part, path, done } => {
                // Without the sync a crash could leave the name on an empty file.
                file.sync_all()
                    .and_then(|()| fs::rename(&*part, &*path))
                    .map_err(|e| Failure::file("write", path, &e))?;
                *done = true;
                Ok(())
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Sink::File { part, done: false, .. } = self {
            fs::remove_file(part).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_as_it_was_until_the_export_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        fs::write(&path, "old").unwrap();

        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write(b"new").unwrap();
        drop(sink);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.ndjson"]);

        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write(b"new").unwrap();
        sink.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.ndjson"]);
        assert!(Sink::open(Some(dir.path())).is_err());
    }
}
