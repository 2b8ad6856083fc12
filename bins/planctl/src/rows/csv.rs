//! CSV rows: the first line names the fields, each further line is a document.
//!
//! What must stay true: an empty cell, or one that says what `--null` says, leaves
//! its field out; all others are kept, typed by [`super::infer`]. A quote that is
//! never closed does not read the file into memory.

use super::infer::infer;
use super::manifest::{Declared, Other, undeclared};
use super::shape::{KEY, own_key};
use super::{BadRow, MAX_ROW_TEXT, Next, Place, Row, Rows, Shape, Stop};
use crate::output::count;
use proto::doc::{Doc, DocBuf, Value};
use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;

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
    /// Bytes read since the last row.
    since: Rc<Cell<usize>>,
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
        let (mut reader, since) = reader(source, dialect, named);
        let header: csv::ByteRecord = match headless {
            Some(manifest) => manifest.fields.iter().map(|field| field.column.as_str()).collect(),
            None => reader.byte_headers().map_err(stop)?.clone(),
        };
        let all = columns(&header, shape).map_err(|what| Stop::Broken(BadRow::new(1, what)))?;
        Ok(CsvRows {
            reader,
            record: csv::ByteRecord::new(),
            columns: Columns { all, named },
            shape: shape.clone(),
            dialect,
            start: Place::default(),
            since,
        })
    }

    /// The same columns, over a source that begins at `start`.
    pub(super) fn from(self, source: R, start: Place) -> CsvRows<R> {
        let (reader, since) = reader(source, self.dialect, false);
        CsvRows { reader, since, start, ..self }
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
) -> (csv::Reader<Limited<R>>, Rc<Cell<usize>>) {
    let since = Rc::new(Cell::new(0));
    let limited = Limited { inner: source, since: since.clone() };
    let reader = csv::ReaderBuilder::new()
        .buffer_capacity(READ_AHEAD)
        .delimiter(dialect.separator)
        .comment(dialect.comments.then_some(b'#'))
        .has_headers(named)
        // Whether a row has as many cells as there are columns is looked at here: the
        // first row of a reader that goes on somewhere is no header.
        .flexible(true)
        .from_reader(limited);
    (reader, since)
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
        self.since.set(0);
        let read = self.reader.read_byte_record(&mut self.record);
        let line = self.line(self.record.position().map_or(0, csv::Position::line));
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
        let position = self.reader.position();
        Place {
            offset: self.start.offset + position.byte(),
            lines: self.start.lines + position.line().saturating_sub(1),
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
    since: Rc<Cell<usize>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.since.get() > MAX_ROW_TEXT {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let read = self.inner.read(buffer)?;
        self.since.set(self.since.get() + read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::json::to_json;

    const PLAIN: Dialect = Dialect { separator: b',', comments: false };

    fn read_with(text: &[u8], shape: &Shape) -> Result<Vec<String>, String> {
        let told = |stop| match stop {
            Stop::Broken(bad) => format!("{}: {}", bad.line, bad.what),
            Stop::Io(error) => error.to_string(),
        };
        let mut rows = CsvRows::new(text, shape, PLAIN).map_err(told)?;
        let mut all = Vec::new();
        while let Some(next) = rows.next().map_err(told)? {
            all.push(match next {
                Ok(row) => {
                    let key = row.key.map_or("-".to_owned(), |key| key.to_string());
                    format!("{} {key} {}", row.line, to_json(Doc::parse(&row.document).unwrap()))
                }
                Err(bad) => format!("{}: {}", bad.line, bad.what),
            });
        }
        Ok(all)
    }

    fn read(text: &str) -> Vec<String> {
        read_with(text.as_bytes(), &Shape::default()).unwrap()
    }

    #[test]
    fn cells_are_typed_one_by_one_and_empty_ones_left_out() {
        let text =
            "\u{feff}n,x,t,b\n1,2.5,\"a, \"\"b\"\"\",true\n,,,\n007,1.0,\"two\nlines\",x\n8,,,\n";
        assert_eq!(
            read(text),
            [
                r#"2 - {"n":1,"x":2.5,"t":"a, \"b\"","b":true}"#,
                "3 - {}",
                r#"4 - {"n":"007","x":1.0,"t":"two\nlines","b":"x"}"#,
                r#"6 - {"n":8}"#,
            ]
        );
    }

    #[test]
    fn nulls_are_left_out_and_text_columns_stay_text() {
        let shape = Shape {
            nulls: vec!["NA".into(), "-".into()],
            text: vec!["code".into()],
            ..Shape::default()
        };
        let text = "code,n\n12,NA\nNA,-\n,5\ntrue,NAN\n";
        assert_eq!(
            read_with(text.as_bytes(), &shape).unwrap(),
            [
                r#"2 - {"code":"12"}"#,
                "3 - {}",
                r#"4 - {"n":5}"#,
                r#"5 - {"code":"true","n":"NAN"}"#,
            ]
        );
    }

    #[test]
    fn keys_come_from_fields_or_from_the_column_key() {
        let shape = Shape { key: Some("y:u16,c:t2".parse().unwrap()), ..Shape::default() };
        let text = "c,y\n12,2013\n9E,\n";
        let rows = read_with(text.as_bytes(), &shape).unwrap();
        assert_eq!(rows[0], r#"2 07dd3132000000000000000000000000 {"c":"12","y":2013}"#);
        assert!(rows[1].starts_with("3: it has no `y`"), "{}", rows[1]);

        let key = "000102030405060708090a0b0c0d0e0f";
        let rows = read(&format!("key,a\n{key},1\n,2\n12,3\n"));
        assert_eq!(rows[..2], [format!("2 {key} {{\"a\":1}}"), "3 - {\"a\":2}".to_owned()]);
        assert!(rows[2].contains("32 hexadecimal digits"), "{}", rows[2]);
    }

    #[test]
    fn a_row_that_does_not_fit_the_header_or_is_no_text_is_bad_and_the_next_is_read() {
        let rows = read_with(b"a,b\n1\n1,2,3\n\xff,1\n3,4\n", &Shape::default()).unwrap();
        assert_eq!(
            rows,
            [
                "2: it has 1 cell, and the first line names 2 columns",
                "3: it has 3 cells, and the first line names 2 columns",
                "4: column `a` is not UTF-8; convert the file",
                r#"5 - {"a":3,"b":4}"#,
            ]
        );
    }

    #[test]
    fn a_header_that_cannot_be_used_is_refused() {
        let keyed = Shape { key: Some("year:u16".parse().unwrap()), ..Shape::default() };
        let text = Shape { text: vec!["zip".into()], ..Shape::default() };
        for (csv, shape, says) in [
            ("", &Shape::default(), "1: the file is empty"),
            ("a,,b\n", &Shape::default(), "1: column 2 has no name"),
            ("a,b,a\n", &Shape::default(), "\"a\" occurs twice"),
            ("a,b\n", &keyed, "--key names `year`, and the columns are a, b"),
            ("a,b\n", &text, "--text names `zip`"),
            ("key,year\n", &keyed, "leave that option out"),
        ] {
            let error = read_with(csv.as_bytes(), shape).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_does_not_read_the_file_into_memory() {
        let endless = b"a,b\n1,2\n3,\"".chain(std::io::repeat(b'x'));
        let mut rows = CsvRows::new(endless, &Shape::default(), PLAIN).unwrap();
        assert!(matches!(rows.next(), Ok(Some(Ok(_)))));
        let Err(Stop::Broken(bad)) = rows.next() else { panic!("an endless row") };
        assert!(bad.what.contains("is a quote not closed?"), "{}", bad.what);
    }
}
