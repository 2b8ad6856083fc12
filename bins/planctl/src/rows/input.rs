//! Where rows come from: files and standard input, read by format.
//!
//! What must stay true: a file that is no pipe can be read again from any
//! [`Place`]; standard input is read once.

use super::bson::Documents;
use super::compressed::Compression;
use super::csv::{CsvRows, Dialect};
use super::json::{Lines, Objects};
use super::{Place, QUARANTINE, Rows, Shape, Stop};
use crate::failure::Failure;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFER: usize = 128 << 10;
/// How to get Parquet.
pub(crate) const NO_PARQUET: &str = "this planctl was built without Parquet; build one that has it with `cargo build --release \
     -p planctl --features parquet`";

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// An array of objects, or objects after each other
    Json,
    /// An object a line
    Ndjson,
    /// A line of names, then a line for each row
    Csv,
    /// BSON documents after each other, as mongodump writes them
    Bson,
    /// Parquet (if planctl was built with it)
    Parquet,
}

impl Format {
    /// By the end of the file's name, behind that of its compression.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        let (_, path) = Compression::of(path);
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Format::Json),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            "csv" | "tsv" => Some(Format::Csv),
            "bson" => Some(Format::Bson),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }

    /// What a row's place is counted in.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Format::Json | Format::Ndjson | Format::Csv => "line",
            Format::Bson => "document",
            Format::Parquet => "row",
        }
    }

    /// What rows of this format are put aside as.
    pub(crate) fn quarantine(self) -> Format {
        match self {
            Format::Parquet => Format::Ndjson,
            other => other,
        }
    }
}

/// One file, or standard input, to be read.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    format: Format,
    compression: Compression,
    separator: u8,
    /// `None` for standard input.
    file: Option<(File, Metadata)>,
}

impl Input {
    /// Opens `path`, or standard input for `-`.
    pub(crate) fn open(
        path: &Path,
        format: Option<Format>,
        separator: Option<u8>,
    ) -> Result<Input, Failure> {
        let stdin = path == Path::new("-");
        let Some(format) = format.or_else(|| Format::of(path)) else {
            let what = if stdin {
                "standard input has no name to tell its format by".to_owned()
            } else {
                format!(
                    "{} does not end with .json, .ndjson, .jsonl, .csv, .tsv, .bson or .parquet",
                    path.display()
                )
            };
            return Err(Failure::usage(format!(
                "{what}: say --format json, ndjson, csv, bson or parquet"
            )));
        };
        if format == Format::Parquet && !cfg!(feature = "parquet") {
            return Err(Failure::usage(NO_PARQUET));
        }
        let (compression, inner) = Compression::of(path);
        let tabs = inner.extension().is_some_and(|end| end.eq_ignore_ascii_case("tsv"));
        let separator = separator.unwrap_or(if tabs { b'\t' } else { b',' });
        let mut input = Input { path: path.to_owned(), format, compression, separator, file: None };
        if !stdin {
            let open = || {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if metadata.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Ok((file, metadata))
            };
            input.file = Some(open().map_err(|e| Failure::file("read", path, &e))?);
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

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// What the system knows of it, if it is a file that can be read twice.
    pub(crate) fn file(&self) -> Option<(&File, &Metadata)> {
        self.file.as_ref().filter(|(_, m)| m.is_file()).map(|(file, metadata)| (file, metadata))
    }

    /// How long it is, if that is known.
    pub(crate) fn bytes(&self) -> Option<u64> {
        Some(self.file()?.1.len())
    }

    /// Its rows from `start` on; `read` counts the bytes taken from it.
    pub(crate) fn rows(
        &self,
        shape: &Shape,
        start: Place,
        read: &Arc<AtomicU64>,
    ) -> Result<Box<dyn Rows>, Stop> {
        if self.format == Format::Parquet {
            return self.parquet(shape, start);
        }
        let (source, marked) = self.marked(read).map_err(Stop::Io)?;
        if self.format == Format::Csv {
            let dialect = Dialect { separator: self.separator, comments: marked };
            let rows = CsvRows::new(source, shape, dialect)?;
            if start.offset == 0 {
                return Ok(Box::new(rows));
            }
            let source = self.source(start.offset, read).map_err(Stop::Io)?;
            return Ok(Box::new(rows.from(source, start)));
        }
        let source = match start.offset {
            0 => source,
            offset => self.source(offset, read).map_err(Stop::Io)?,
        };
        let source = BufReader::with_capacity(BUFFER, source);
        let shape = shape.clone();
        Ok(match self.format {
            Format::Json => Box::new(Objects::new(source, shape, marked, start)),
            Format::Ndjson => Box::new(Lines::new(source, shape, marked, start)),
            Format::Bson => Box::new(Documents::new(source, shape, start)),
            Format::Csv | Format::Parquet => unreachable!("dealt with above"),
        })
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self, shape: &Shape, start: Place) -> Result<Box<dyn Rows>, Stop> {
        let Some((file, _)) = self.file() else {
            return Err(Stop::Io(io::Error::other(
                "Parquet is read from its end, so it must be a file",
            )));
        };
        let file = file.try_clone().map_err(Stop::Io)?;
        Ok(Box::new(super::parquet::ParquetRows::new(file, shape.clone(), start)?))
    }

    #[cfg(not(feature = "parquet"))]
    fn parquet(&self, _: &Shape, _: Place) -> Result<Box<dyn Rows>, Stop> {
        Err(Stop::Io(io::Error::other(NO_PARQUET)))
    }

    /// The text from its start, and whether it is a quarantine file.
    fn marked(&self, read: &Arc<AtomicU64>) -> io::Result<(Box<dyn Read>, bool)> {
        let mut source = self.source(0, read)?;
        let mut head = Vec::new();
        source.by_ref().take(QUARANTINE.len() as u64).read_to_end(&mut head)?;
        let marked = head == QUARANTINE.as_bytes();
        Ok((Box::new(Cursor::new(head).chain(source)), marked))
    }

    /// The text from a place on.
    fn source(&self, offset: u64, read: &Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
        let Some((file, metadata)) = &self.file else {
            let counted = Counted { inner: io::stdin(), read: read.clone() };
            return Ok(self.compression.reader(Box::new(counted)));
        };
        let mut file = file.try_clone()?;
        if metadata.is_file() {
            let packed = self.compression != Compression::None;
            file.seek(SeekFrom::Start(if packed { 0 } else { offset }))?;
        }
        let mut source =
            self.compression.reader(Box::new(Counted { inner: file, read: read.clone() }));
        if self.compression != Compression::None {
            let passed = io::copy(&mut source.by_ref().take(offset), &mut io::sink())?;
            if passed < offset {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(source)
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
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
            ("a.csv.gz", Some(Format::Csv)),
            ("a.tsv", Some(Format::Csv)),
            ("dump/shop/orders.bson.gz", Some(Format::Bson)),
            ("a.ndjson.zst", Some(Format::Ndjson)),
            ("a.parquet", Some(Format::Parquet)),
            ("csv", None),
            ("a.gz", None),
            ("a.txt", None),
            ("-", None),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }
}
