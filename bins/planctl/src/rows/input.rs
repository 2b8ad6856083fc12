//! Where rows come from: files and standard input, read by format.

use super::csv::CsvRows;
use super::json::{Lines, Objects};
use super::{Rows, Shape, Stop};
use crate::failure::Failure;
use std::cell::Cell;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

const BUFFER: usize = 128 << 10;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// An array of objects, or objects after each other
    Json,
    /// An object a line
    Ndjson,
    /// A line of names, then a line for each row
    Csv,
}

impl Format {
    /// By the end of the file's name.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Format::Json),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }
}

/// One file, or standard input, to be read.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    format: Format,
    /// `None` for standard input.
    file: Option<File>,
    bytes: Option<u64>,
}

impl Input {
    /// Opens `path`, or standard input for `-`.
    pub(crate) fn open(path: &Path, format: Option<Format>) -> Result<Input, Failure> {
        let stdin = path == Path::new("-");
        let Some(format) = format.or_else(|| Format::of(path)) else {
            let what = if stdin {
                "standard input has no name to tell its format by".to_owned()
            } else {
                format!("{} does not end with .json, .ndjson, .jsonl or .csv", path.display())
            };
            return Err(Failure::usage(format!("{what}: say --format json, ndjson or csv")));
        };
        let mut input = Input { path: path.to_owned(), format, file: None, bytes: None };
        if !stdin {
            let open = || {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if metadata.is_dir() {
                    return Err(std::io::ErrorKind::IsADirectory.into());
                }
                Ok((file, metadata.is_file().then_some(metadata.len())))
            };
            let (file, bytes) = open().map_err(|e| Failure::file("read", path, &e))?;
            input.file = Some(file);
            input.bytes = bytes;
        }
        Ok(input)
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        match self.file {
            Some(_) => self.path.display().to_string(),
            None => "standard input".to_owned(),
        }
    }

    /// Its format.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// How long it is, if that is known.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Its rows; `read` counts the bytes taken from it.
    pub(crate) fn rows(self, shape: &Shape, read: Rc<Cell<u64>>) -> Result<Box<dyn Rows>, Stop> {
        let source: Box<dyn Read> = match self.file {
            Some(file) => Box::new(file),
            None => Box::new(std::io::stdin().lock()),
        };
        let counted = Counted { inner: source, read };
        Ok(match self.format {
            Format::Json => {
                Box::new(Objects::new(BufReader::with_capacity(BUFFER, counted), shape.clone()))
            }
            Format::Ndjson => {
                Box::new(Lines::new(BufReader::with_capacity(BUFFER, counted), shape.clone()))
            }
            Format::Csv => Box::new(CsvRows::new(counted, shape)?),
        })
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.set(self.read.get().saturating_add(read as u64));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_format() {
        for (name, format) in [
            ("a.json", Some(Format::Json)),
            ("dir.csv/a.NDJSON", Some(Format::Ndjson)),
            ("a.b.jsonl", Some(Format::Ndjson)),
            ("a.csv", Some(Format::Csv)),
            ("csv", None),
            ("a.txt", None),
            ("-", None),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }
}
