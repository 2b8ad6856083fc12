//! Rows of an export in their format, page by page.
//!
//! What must stay true: a field that has no column is an error, never left out in
//! silence, unless `--fields` chose the columns.

use super::cannot;
use crate::failure::Failure;
#[cfg(not(feature = "parquet"))]
use crate::rows::NO_PARQUET;
use crate::rows::{Declared, Format, Manifest, bare};
use proto::Key;
use proto::doc::{Doc, DocBuf, Value};
use proto::json::write_row;

/// The primary key's column.
pub(super) const KEY: &str = "key";

pub(super) enum Writer {
    Ndjson,
    /// Whether no row is written yet.
    Json {
        first: bool,
    },
    Csv(Columns),
    Bson,
    #[cfg(feature = "parquet")]
    Parquet(Box<super::parquet::Parquet>),
}

pub(super) struct Columns {
    /// The fields of documents, and the names of their columns.
    fields: Vec<String>,
    names: Vec<String>,
    declared: Vec<Declared>,
    /// Whether the options named them.
    chosen: bool,
    header_written: bool,
}

impl Writer {
    pub(super) fn new(
        format: Format,
        fields: &[String],
        manifest: Option<&Manifest>,
    ) -> Result<Writer, Failure> {
        for (at, name) in fields.iter().enumerate() {
            if name.is_empty() || fields[..at].contains(name) {
                return Err(Failure::usage(format!(
                    "--fields: the name {name:?} is empty or given twice: name each field once, with \
                     a comma between two"
                )));
            }
        }
        Ok(match format {
            Format::Ndjson => Writer::Ndjson,
            Format::Json => Writer::Json { first: true },
            Format::Bson => Writer::Bson,
            Format::Csv => Writer::Csv(Columns::new(fields, manifest)),
            #[cfg(feature = "parquet")]
            Format::Parquet => {
                Writer::Parquet(Box::new(super::parquet::Parquet::new(fields, manifest)?))
            }
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => return Err(Failure::usage(NO_PARQUET)),
        })
    }

    /// Goes on behind so many rows, in a file with these columns.
    pub(super) fn resume(&mut self, rows: u64, columns: &[String]) {
        match self {
            Writer::Json { first } => *first = rows == 0,
            Writer::Csv(csv) if !columns.is_empty() => {
                csv.header_written = true;
                if !csv.chosen {
                    csv.fields = columns.to_vec();
                    csv.names = columns.to_vec();
                }
            }
            _ => {}
        }
    }

    /// The columns of the header that is written.
    pub(super) fn columns(&self) -> &[String] {
        match self {
            Writer::Csv(csv) if csv.header_written => &csv.names,
            _ => &[],
        }
    }

    /// Appends the text of a page of rows.
    pub(super) fn page(
        &mut self,
        rows: &[(Key, Doc<'_>)],
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match self {
            Writer::Ndjson => {
                for (key, doc) in rows {
                    write_row(*key, *doc, out);
                    out.push(b'\n');
                }
                Ok(())
            }
            Writer::Json { first } => {
                for (key, doc) in rows {
                    let before: &[u8] = if std::mem::take(first) { b"[\n" } else { b",\n" };
                    out.extend_from_slice(before);
                    write_row(*key, *doc, out);
                }
                Ok(())
            }
            Writer::Csv(columns) => columns.page(rows, out),
            Writer::Bson => rows.iter().try_for_each(|(key, doc)| {
                let mut row = DocBuf::with_capacity(doc.as_bytes().len() + 48);
                row.push(KEY, key.to_string().as_str());
                row.extend(doc.iter().filter(|(name, _)| *name != KEY));
                out.extend_from_slice(&row.finish().map_err(|e| cannot("BSON", &e))?);
                Ok(())
            }),
            #[cfg(feature = "parquet")]
            Writer::Parquet(parquet) => parquet.page(rows, out),
        }
    }

    /// Appends what comes after the last page.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Writer::Json { first } => {
                let end: &[u8] = if *first { b"[]\n" } else { b"\n]\n" };
                out.extend_from_slice(end);
                Ok(())
            }
            // Without a row there was no page to write the header with.
            Writer::Csv(columns) if !columns.header_written => columns.page(&[], out),
            #[cfg(feature = "parquet")]
            Writer::Parquet(parquet) => parquet.end(out),
            _ => Ok(()),
        }
    }
}

impl Columns {
    fn new(fields: &[String], manifest: Option<&Manifest>) -> Columns {
        let mut columns = Columns {
            fields: fields.to_vec(),
            names: fields.to_vec(),
            declared: Vec::new(),
            chosen: !fields.is_empty(),
            header_written: false,
        };
        if let Some(manifest) = manifest.filter(|manifest| !manifest.fields.is_empty()) {
            columns.chosen = true;
            columns.declared.clone_from(&manifest.fields);
            // What makes the key again need not be written beside what it is made of.
            if manifest.key.is_none() {
                columns.fields.push(KEY.to_owned());
                columns.names.push(KEY.to_owned());
            }
            columns.fields.extend(manifest.fields.iter().map(|field| field.name.clone()));
            columns.names.extend(manifest.fields.iter().map(|field| field.column.clone()));
        }
        columns
    }

    fn page(&mut self, rows: &[(Key, Doc<'_>)], out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut csv = csv::Writer::from_writer(out);
        let failed = |e: csv::Error| cannot("CSV", &e);
        if !std::mem::replace(&mut self.header_written, true) {
            if !self.chosen {
                self.names = union(rows);
                self.fields = self.names.clone();
            }
            csv.write_record(&self.names).map_err(failed)?;
        }
        let mut cells: Vec<String> = Vec::new();
        for (key, doc) in rows {
            cells.clear();
            cells.resize(self.fields.len(), String::new());
            for (name, value) in *doc {
                match self.fields.iter().position(|column| column == name) {
                    Some(_) if name == KEY => {}
                    Some(place) => {
                        cells[place] = self.cell(name, value).map_err(|what| {
                            Failure::invalid(format!("the document under key {key}: {what}"))
                        })?;
                    }
                    None if self.chosen => {}
                    None => return Err(self.unknown(name, *key)),
                }
            }
            if let Some(place) = self.fields.iter().position(|column| column == KEY) {
                cells[place] = key.to_string();
            }
            csv.write_record(&cells).map_err(failed)?;
        }
        csv.flush().map_err(|e| Failure::output(&e))
    }

    fn cell(&self, name: &str, value: Value<'_>) -> Result<String, String> {
        match self.declared.iter().find(|declared| declared.name == name) {
            _ if value == Value::Null => Ok(String::new()),
            Some(declared) => declared.cell(value),
            None => Ok(bare(value)),
        }
    }

    fn unknown(&self, name: &str, key: Key) -> Failure {
        Failure::invalid(format!(
            "the document under key {key} has a field `{name}`, and no document of the first \
             page has: name the columns with --fields {},{name}, or export NDJSON",
            self.names.join(",")
        ))
    }
}

/// The fields of these rows in the order first seen, behind the key.
pub(super) fn union(rows: &[(Key, Doc<'_>)]) -> Vec<String> {
    let mut names = vec![KEY.to_owned()];
    for (_, doc) in rows {
        for (name, _) in *doc {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::json::parse_json;

    fn written(format: Format, fields: &[&str], pages: &[&[&str]]) -> Result<String, Failure> {
        let fields: Vec<String> = fields.iter().map(|name| (*name).to_owned()).collect();
        let mut writer = Writer::new(format, &fields, None)?;
        let mut out = Vec::new();
        for page in pages {
            let docs: Vec<Vec<u8>> = page.iter().map(|text| parse_json(text).unwrap()).collect();
            let rows: Vec<_> = docs
                .iter()
                .enumerate()
                .map(|(number, doc)| (Key(number as u128), Doc::parse(doc).unwrap()))
                .collect();
            writer.page(&rows, &mut out)?;
        }
        writer.end(&mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    const ZERO: &str = "00000000000000000000000000000000";

    #[test]
    fn json_is_one_array_over_all_pages() {
        let row = format!("{{\"key\":\"{ZERO}\",\"a\":1}}");
        let pages: &[&[&str]] = &[&[r#"{"a": 1}"#], &[r#"{"a": 1}"#]];
        assert_eq!(written(Format::Json, &[], pages).unwrap(), format!("[\n{row},\n{row}\n]\n"));
        assert_eq!(written(Format::Json, &[], &[&[]]).unwrap(), "[]\n");
        assert_eq!(written(Format::Ndjson, &[], pages).unwrap(), format!("{row}\n{row}\n"));
    }

    #[test]
    fn csv_has_the_columns_of_the_first_page() {
        let page: &[&str] = &[r#"{"b": 1.5, "a": "x,\"y\""}"#, r#"{"c": null, "a": {"d": [1]}}"#];
        let text = written(Format::Csv, &[], &[page, &[r#"{"c": 1e20, "b": true}"#]]).unwrap();
        let one = "00000000000000000000000000000001";
        assert_eq!(
            text,
            format!(
                "key,b,a,c\n{ZERO},1.5,\"x,\"\"y\"\"\",\n{one},,\"{{\"\"d\"\":[1]}}\",\n\
                 {ZERO},true,,1e+20\n"
            )
        );
    }

    #[test]
    fn a_field_without_a_column_is_an_error_unless_columns_were_chosen() {
        let pages: &[&[&str]] = &[&[r#"{"a": 1}"#], &[r#"{"z": 2, "a": 3}"#]];
        let Err(Failure::Told { message, .. }) = written(Format::Csv, &[], pages) else {
            panic!("z has no column")
        };
        assert!(message.contains("`z`") && message.contains("--fields key,a,z"), "{message}");
        assert_eq!(written(Format::Csv, &["z", "a"], pages).unwrap(), "z,a\n,1\n2,3\n");
        assert!(written(Format::Csv, &["a", "a"], pages).is_err());
    }
}
