//! Where an export goes.
//!
//! What must stay true: a file appears under its name whole or not at all. One that
//! may go on later keeps its part and, in `state`, how much of it is sure.

use crate::failure::{Exit, Failure};
use crate::rows::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Standard output, or a file that appears when it is whole.
pub(super) struct Sink {
    out: Out,
    /// Bytes given so far.
    pub(super) bytes: u64,
    /// For messages: `None` is standard output.
    path: Option<PathBuf>,
    part: Option<Part>,
}

enum Out {
    Plain(Box<dyn Write>),
    Gzip(Box<GzEncoder<Box<dyn Write>>>),
}

/// The file until the end.
struct Part {
    /// The same file as the one written to.
    file: File,
    path: PathBuf,
    /// Whether it stays where the export fails.
    kept: bool,
    done: bool,
}

impl Sink {
    /// A file that goes away if the export fails, or standard output.
    pub(super) fn open(path: Option<&Path>) -> Result<Sink, Failure> {
        let compression = path.map_or(Compression::None, |path| Compression::of(path).0);
        if compression == Compression::Zstd {
            return Err(Failure::usage(
                "export writes gzip, not Zstandard: name the file .gz, or write to standard \
                 output through zstd",
            ));
        }
        let Some(path) = path else {
            let out = Out::Plain(Box::new(io::stdout()));
            return Ok(Sink { out, bytes: 0, path: None, part: None });
        };
        let fail = |e: io::Error| Failure::file("write", path, &e);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(fail(io::ErrorKind::IsADirectory.into()));
            }
            // A pipe or a device: written as it is.
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(path).map_err(fail)?;
                return Ok(Sink::over(Box::new(file), compression, path, None));
            }
            _ => {}
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&part).map_err(fail)?;
        let own = file.try_clone().map_err(fail)?;
        let part = Part { file: own, path: part, kept: false, done: false };
        Ok(Sink::over(Box::new(file), compression, path, Some(part)))
    }

    /// A file that stays if the export fails; `bytes` of it are there and sure.
    pub(super) fn resumable(path: &Path, bytes: u64) -> Result<Sink, Failure> {
        if Compression::of(path).0 != Compression::None {
            return Err(Failure::usage(
                "--resume does not go with compression: what is written cannot be gone on with; \
                 compress the file when it is whole",
            ));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{name}.part"));
        let open = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(bytes == 0).open(&part)?;
            if file.metadata()?.len() < bytes {
                return Err(io::Error::other("it is shorter than the export that goes on left it"));
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok((file.try_clone()?, file))
        };
        let (own, file) = open().map_err(|e| Failure::file("go on in", &part, &e))?;
        let part = Part { file: own, path: part, kept: true, done: false };
        let mut sink = Sink::over(Box::new(file), Compression::None, path, Some(part));
        sink.bytes = bytes;
        Ok(sink)
    }

    fn over(
        out: Box<dyn Write>,
        compression: Compression,
        path: &Path,
        part: Option<Part>,
    ) -> Sink {
        let out = match compression {
            Compression::Gzip => {
                Out::Gzip(Box::new(GzEncoder::new(out, flate2::Compression::fast())))
            }
            Compression::None | Compression::Zstd => Out::Plain(out),
        };
        Sink { out, bytes: 0, path: Some(path.to_owned()), part }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match &mut self.out {
            Out::Plain(out) => out.write_all(bytes),
            Out::Gzip(out) => out.write_all(bytes),
        };
        self.bytes += bytes.len() as u64;
        written.map_err(|e| self.failed(&e))
    }

    /// Makes what is written survive a crash.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        let synced = self.part.as_ref().map_or(Ok(()), |part| part.file.sync_data());
        synced.map_err(|e| self.failed(&e))
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let flushed = match &mut self.out {
            Out::Plain(out) => out.flush(),
            Out::Gzip(out) => out.try_finish().and_then(|()| out.get_mut().flush()),
        };
        flushed.map_err(|e| self.failed(&e))?;
        if let (Some(part), Some(path)) = (&mut self.part, &self.path) {
            // Without the sync a crash could leave the name on an empty file.
            part.file
                .sync_all()
                .and_then(|()| fs::rename(&part.path, path))
                .map_err(|e| Failure::file("write", path, &e))?;
            part.done = true;
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Failure {
        match &self.path {
            Some(path) => Failure::file("write", path, error),
            None => Failure::output(error),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(Part { path, kept: false, done: false, .. }) = &self.part {
            fs::remove_file(path).ok();
        }
    }
}

/// Refuses what an export that goes on cannot be.
pub(super) fn resumable(path: Option<&Path>) -> Result<&Path, Failure> {
    let file = path.filter(|path| fs::metadata(path).is_ok_and(|m| m.is_file()) || !path.exists());
    file.ok_or_else(|| {
        Failure::new(Exit::Usage, "--resume needs a file to go on in: name one that is no pipe")
    })
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

    #[test]
    fn a_part_that_is_kept_is_cut_to_what_is_sure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        let mut sink = Sink::resumable(&path, 0).unwrap();
        sink.write(b"one\ntw").unwrap();
        drop(sink);
        assert!(Sink::resumable(&path, 7).is_err());
        let mut sink = Sink::resumable(&path, 4).unwrap();
        sink.write(b"two\n").unwrap();
        assert_eq!(sink.bytes, 8);
        sink.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(names(dir.path()), ["a.ndjson"]);
    }
}
