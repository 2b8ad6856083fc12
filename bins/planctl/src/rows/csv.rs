//! CSV rows: the first line names the fields, each further line is a document.
//!
//! What must stay true: an empty cell, or one that says what `--null` says, leaves
//! its field out; all others are kept, typed by [`super::infer`]. A quote that is
//! never closed does not read the file into memory, and the row it is in is a bad one:
//! behind the end of a file a row is put that is swallowed only by an open quote.

use super::infer::infer;
use super::manifest::{Declared, Other, undeclared};
use super::shape::{KEY, own_key};
use super::{BadRow, MAX_ROW_TEXT, Next, Place, Row, Rows, Shape, Stop};
use crate::output::count;
use proto::doc::{Doc, DocBuf, Value};
use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;

/// The row behind the end of a file; no file has it, as it holds NULs.
const END: &[u8] = b"\0planck: the end\0";
/// What is put there: the end of the last line, and a line of its own.
const BEHIND: [&[u8]; 3] = [b"\n", END, b"\n"];
/// What the reader may have read ahead of the row it gives.
const READ_AHEAD: usize = 128 << 10;

/// How a file of CSV is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// What stands between cells.
    pub(super) separator: u8,
    /// Whether lines that begin with # are no rows: a quarantine file's.
    pub(super) comments: bool,
}

pub(super) struct CsvRows<R: Read> {
    reader: csv::Reader<Limited<R>>,
    record: csv::ByteRecord,
    columns: Columns,
    shape: Shape,
    dialect: Dialect,
    /// Where this reader began.
    start: Place,
    watch: Rc<Watch>,
    /// Where the file ends, once all of it was given.
    end: Option<Place>,
}

/// What the source tells who reads its rows.
#[derive(Debug, Default)]
struct Watch {
    /// Bytes read since the last row.
    since: Cell<usize>,
    /// Bytes read in all.
    all: Cell<u64>,
    /// Whether that is all of the source.
    ended: Cell<bool>,
}

/// The columns of a file, and what becomes of each.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    all: Vec<Column>,
    /// Whether the file names them in its first line.
    named: bool,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    becomes: Becomes,
}

#[derive(Clone, Debug)]
enum Becomes {
    Inferred,
    Text,
    /// The row's primary key.
    Key,
    Declared(Declared),
    Nothing,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header, or takes the columns from the manifest.
    pub(super) fn new(source: R, shape: &Shape, dialect: Dialect) -> Result<CsvRows<R>, Stop> {
        let headless = shape.manifest.as_ref().filter(|manifest| manifest.headless);
        let named = headless.is_none();
        let (mut reader, watch) = reader(source, dialect, named);
        let header: csv::ByteRecord = match headless {
            Some(manifest) => manifest.fields.iter().map(|field| field.column.as_str()).collect(),
            None => header(reader.byte_headers().map_err(stop)?)?,
        };
        let all = columns(&header, shape).map_err(|what| Stop::Broken(BadRow::new(1, what)))?;
        Ok(CsvRows {
            reader,
            record: csv::ByteRecord::new(),
            columns: Columns { all, named },
            shape: shape.clone(),
            dialect,
            start: Place::default(),
            watch,
            end: None,
        })
    }

    /// The same columns, over a source that begins at `start`.
    pub(super) fn from(self, source: R, start: Place) -> CsvRows<R> {
        let (reader, watch) = reader(source, self.dialect, false);
        CsvRows { reader, watch, start, end: None, ..self }
    }

    fn row(&self, line: u64) -> Next {
        self.fields(line).map_err(|what| BadRow::new(line, what))
    }

    fn fields(&self, line: u64) -> Result<Row, String> {
        let mut doc = DocBuf::with_capacity(self.record.as_slice().len() * 2 + 256);
        let mut key = None;
        for (column, cell) in self.columns.all.iter().zip(&self.record) {
            let cell = std::str::from_utf8(cell)
                .map_err(|_| format!("column `{}` is not UTF-8; convert the file", column.name))?;
            let null = cell.is_empty() || self.shape.nulls.iter().any(|null| null == cell);
            match &column.becomes {
                Becomes::Declared(field) if null || field.is_null(cell) => {
                    if field.required {
                        return Err(field.missing());
                    }
                }
                Becomes::Declared(field) => field.push_cell(cell, &mut doc)?,
                // An empty cell asks for a key made elsewhere.
                _ if null => {}
                Becomes::Key => key = Some(own_key(Value::String(cell))?),
                Becomes::Text => {
                    doc.push(&column.name, cell);
                }
                Becomes::Inferred => {
                    if let Some(value) = infer(cell) {
                        doc.push(&column.name, value);
                    }
                }
                Becomes::Nothing => {}
            }
        }
        let document = doc.finish().map_err(|e| e.to_string())?;
        if let Some(made) = self.shape.made_of(Doc::trusted(&document))? {
            key = Some(made);
        }
        Ok(Row { key, document, line })
    }

    fn line(&self, line: u64) -> u64 {
        self.start.lines + line
    }
}

fn reader<R: Read>(
    source: R,
    dialect: Dialect,
    named: bool,
) -> (csv::Reader<Limited<R>>, Rc<Watch>) {
    let watch = Rc::new(Watch::default());
    let limited = Limited { inner: source, watch: watch.clone() };
    let reader = csv::ReaderBuilder::new()
        .buffer_capacity(READ_AHEAD)
        .delimiter(dialect.separator)
        .comment(dialect.comments.then_some(b'#'))
        .has_headers(named)
        // Whether a row has as many cells as there are columns is looked at here: the
        // first row of a reader that goes on somewhere is no header.
        .flexible(true)
        .from_reader(limited);
    (reader, watch)
}

/// The names in the first line.
fn header(record: &csv::ByteRecord) -> Result<csv::ByteRecord, Stop> {
    if record.len() == 1 && record.get(0) == Some(END) {
        return Ok(csv::ByteRecord::new());
    }
    match closed(record) {
        Ok(()) => Ok(record.clone()),
        Err(_) => Err(Stop::Broken(BadRow::new(1, UNCLOSED))),
    }
}

/// What is wrong with a row whose last cell goes on to the end of the file.
const UNCLOSED: &str = "a quote in it is never closed: close it, or write the quote twice if it is \
                        meant as one; was the file cut off?";

/// Whether no quote was left open; else the row without what is behind the file.
fn closed(record: &csv::ByteRecord) -> Result<(), csv::ByteRecord> {
    let whole = |cell| <[u8]>::strip_suffix(cell, b"\n").and_then(|cell| cell.strip_suffix(END));
    let Some(last) = record.iter().next_back().and_then(whole) else { return Ok(()) };
    let last = last.strip_suffix(b"\n").unwrap_or(last);
    Err(record.iter().take(record.len() - 1).chain([last]).collect())
}

/// The columns a header names; or what is wrong with it.
fn columns(header: &csv::ByteRecord, shape: &Shape) -> Result<Vec<Column>, String> {
    let mut columns: Vec<Column> = Vec::with_capacity(header.len());
    for (at, name) in header.iter().enumerate() {
        let name = std::str::from_utf8(name)
            .map_err(|_| format!("the name of column {} is not UTF-8; convert the file", at + 1))?;
        if name.is_empty() {
            return Err(format!(
                "column {} has no name; the first line must name every column",
                at + 1
            ));
        }
        if name.contains('\0') || columns.iter().any(|column| column.name == name) {
            return Err(format!("the column name {name:?} occurs twice or holds a NUL; rename it"));
        }
        columns.push(Column { name: name.to_owned(), becomes: becomes(name, shape)? });
    }
    if columns.is_empty() {
        return Err("the file is empty; the first line must name the columns".to_owned());
    }
    if (shape.key.is_some() || shape.id != super::Id::Field)
        && columns.iter().any(|column| matches!(column.becomes, Becomes::Key))
    {
        return Err("the column `key` is the primary key, and --key or --id makes another; leave \
                    that option out, or rename the column"
            .to_owned());
    }
    let missing = |option: &str, name: &str| {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        Err(format!("{option} names `{name}`, and the columns are {}", names.join(", ")))
    };
    let named = |name: &str| columns.iter().any(|column| column.name == name);
    for name in &shape.text {
        if !named(name) {
            return missing("--text", name);
        }
    }
    for field in shape.manifest.iter().flat_map(|manifest| &manifest.fields) {
        if !named(&field.column) {
            return missing("the manifest", &field.column);
        }
    }
    let made = |name: &str| {
        columns.iter().any(|column| match &column.becomes {
            Becomes::Declared(field) => field.name == name,
            Becomes::Inferred | Becomes::Text => column.name == name,
            Becomes::Key | Becomes::Nothing => false,
        })
    };
    for name in shape.key.iter().flat_map(|spec| spec.fields()) {
        if !made(name) {
            return missing("--key", name);
        }
    }
    Ok(columns)
}

fn becomes(name: &str, shape: &Shape) -> Result<Becomes, String> {
    let manifest = shape.manifest.as_ref();
    if let Some(field) = manifest.and_then(|manifest| manifest.declared(name)) {
        return Ok(Becomes::Declared(field.clone()));
    }
    let text = shape.text.iter().any(|text| text == name)
        || shape.key.iter().flat_map(|spec| spec.texts()).any(|text| text == name);
    match manifest.map_or(Other::Keep, |manifest| manifest.other) {
        _ if name == KEY => Ok(Becomes::Key),
        Other::Keep if text => Ok(Becomes::Text),
        Other::Keep => Ok(Becomes::Inferred),
        Other::Drop => Ok(Becomes::Nothing),
        Other::Refuse => Err(undeclared(name)),
    }
}

impl<R: Read> Rows for CsvRows<R> {
    fn next(&mut self) -> Result<Option<Next>, Stop> {
        if self.end.is_some() {
            return Ok(None);
        }
        self.watch.since.set(0);
        let before = self.place();
        let read = self.reader.read_byte_record(&mut self.record);
        let line = self.line(self.record.position().map_or(0, csv::Position::line));
        if self.watch.ended.get() && matches!(read, Ok(true)) {
            if self.record.len() == 1 && self.record.get(0) == Some(END) {
                self.end = Some(before);
                return Ok(None);
            }
            if let Err(whole) = closed(&self.record) {
                self.end = Some(self.place());
                self.record = whole;
                return Ok(Some(Err(BadRow::new(line, UNCLOSED))));
            }
        }
        match read {
            Ok(false) => Ok(None),
            Ok(true) if self.record.len() != self.columns.all.len() => {
                let what = format!(
                    "it has {}, and {} {}",
                    count(self.record.len() as u64, "cell"),
                    if self.columns.named { "the first line names" } else { "the manifest has" },
                    count(self.columns.all.len() as u64, "column")
                );
                Ok(Some(Err(BadRow::new(line, what))))
            }
            Ok(true) => Ok(Some(self.row(line))),
            Err(error) => Err(stop_at(error, self.line(self.reader.position().line()))),
        }
    }

    fn place(&self) -> Place {
        if let Some(end) = self.end {
            return end;
        }
        let position = self.reader.position();
        let (byte, all) = (position.byte(), self.watch.all.get());
        // The lines of what is behind the file are none of it.
        let behind = match byte.saturating_sub(all) {
            0 => 0,
            1 => 1,
            _ => 2,
        };
        Place {
            offset: self.start.offset + byte.min(all),
            lines: self.start.lines + position.line().saturating_sub(1 + behind),
            ..Place::default()
        }
    }

    fn raw(&self, out: &mut Vec<u8>) {
        write_record(&self.record, self.dialect.separator, out);
    }

    fn head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.columns.named {
            let names: csv::ByteRecord =
                self.columns.all.iter().map(|column| column.name.as_str()).collect();
            write_record(&names, self.dialect.separator, &mut out);
        }
        out
    }
}

/// Appends a record as CSV. A cell that begins with # is quoted.
fn write_record(record: &csv::ByteRecord, separator: u8, out: &mut Vec<u8>) {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(separator)
        .comment(Some(b'#'))
        .flexible(true)
        .from_writer(out);
    // Into memory, cells of any number: nothing can fail.
    writer.write_byte_record(record).ok();
    writer.flush().ok();
}

fn stop(error: csv::Error) -> Stop {
    stop_at(error, 1)
}

fn stop_at(error: csv::Error, line: u64) -> Stop {
    match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            let what = format!(
                "the row after this line passes {} MiB; is a quote not closed?",
                MAX_ROW_TEXT >> 20
            );
            Stop::Broken(BadRow::new(line, what))
        }
        csv::ErrorKind::Io(error) => Stop::Io(error),
        other => Stop::Broken(BadRow::new(line, format!("{other:?}"))),
    }
}

/// Refuses to read on when no row has ended for too long.
struct Limited<R> {
    inner: R,
    watch: Rc<Watch>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Watch { since, all, ended } = &*self.watch;
        if since.get() > MAX_ROW_TEXT {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let read = self.inner.read(buffer)?;
        since.set(since.get() + read);
        all.set(all.get() + read as u64);
        if read > 0 || ended.get() {
            return Ok(read);
        }
        let behind = BEHIND.concat();
        // The reader's buffer is far longer.
        let Some(place) = buffer.get_mut(..behind.len()) else { return Ok(0) };
        place.copy_from_slice(&behind);
        ended.set(true);
        Ok(behind.len())
    }
}

#[cfg(test)]
mod tests;
