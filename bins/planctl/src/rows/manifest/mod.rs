//! A manifest: what the fields of an import are declared to be.
//!
//! What must stay true: what is declared holds for every row that is stored, or the
//! row is bad and says which field, what it is and what it should be. Nothing is
//! rounded, cut or guessed on the way to a declared type. `docs/import.md` is the
//! reference of the file.

mod date;
mod kind;

use super::infer::infer;
use super::{Format, KeySpec};
use crate::failure::{Exit, Failure};
use kind::Converted;
pub(crate) use kind::{Kind, bare};
use proto::doc::{Doc, DocBuf, Value};
use serde::Deserialize;
use std::path::Path;

/// A manifest longer than this is none.
const MAX_BYTES: u64 = 1 << 20;

/// What a file says of the rows of another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest {
    /// How rows are written.
    pub(crate) format: Option<Format>,
    /// Fields the key is made of.
    pub(crate) key: Option<KeySpec>,
    /// CSV: what stands between cells.
    pub(crate) separator: Option<u8>,
    /// CSV: whether the first line is a row, and the columns are the fields in order.
    pub(crate) headless: bool,
    /// Texts that mean that there is no value.
    pub(crate) nulls: Vec<String>,
    /// What becomes of fields that are not declared.
    pub(crate) other: Other,
    /// The fields declared.
    pub(crate) fields: Vec<Declared>,
    /// The file as it is, to tell whether it changed.
    pub(crate) text: String,
}

/// What becomes of fields that are not declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Other {
    /// They are kept; CSV: typed by their text.
    #[default]
    Keep,
    /// They are left out.
    Drop,
    /// A row, or a header, that has one is bad.
    Refuse,
}

/// One field.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// Its name in the document.
    pub(crate) name: String,
    /// Its name in the file.
    pub(crate) column: String,
    pub(super) kind: Kind,
    /// Besides those of the manifest.
    pub(super) nulls: Vec<String>,
    /// Whether a row without it is bad.
    pub(in crate::rows) required: bool,
}

/// The file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: Option<String>,
    key: Option<String>,
    separator: Option<String>,
    header: Option<bool>,
    #[serde(default)]
    null: Vec<String>,
    #[serde(default)]
    other: Other,
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    name: String,
    column: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    format: Option<String>,
    #[serde(default)]
    null: Vec<String>,
    #[serde(default)]
    required: bool,
}

impl Manifest {
    /// Reads the file.
    pub(crate) fn open(path: &Path) -> Result<Manifest, Failure> {
        let wrong = |what: &str| Failure::invalid(format!("{}: {what}", path.display()));
        let length = std::fs::metadata(path).map_err(|e| Failure::file("read", path, &e))?.len();
        if length > MAX_BYTES {
            return Err(wrong("a manifest has at most 1 MiB; is this the data?"));
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| match Failure::file("read", path, &e) {
                Failure::Told { exit: Exit::Failure, message } => {
                    Failure::new(Exit::Invalid, message)
                }
                other => other,
            })?;
        Manifest::parse(&text).map_err(|what| wrong(&what))
    }

    /// Reads its text.
    pub(crate) fn parse(text: &str) -> Result<Manifest, String> {
        let read: Text = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        let format = match &read.format {
            None => None,
            Some(name) => {
                Some(<Format as clap::ValueEnum>::from_str(name, true).map_err(|_| {
                    format!("format: there is no {name:?}: say json, ndjson, csv, bson or parquet")
                })?)
            }
        };
        let separator = match read.separator.as_deref().map(str::as_bytes) {
            None => None,
            Some([byte]) if !matches!(byte, b'"' | b'\r' | b'\n') && byte.is_ascii() => Some(*byte),
            Some(_) => return Err("separator: one ASCII character, such as \";\"".to_owned()),
        };
        let key = match &read.key {
            None => None,
            Some(spec) => Some(spec.parse().map_err(|e| format!("key: {e}"))?),
        };
        let fields: Vec<Declared> =
            read.fields.into_iter().map(declared).collect::<Result<_, _>>()?;
        for (at, field) in fields.iter().enumerate() {
            let before = &fields[..at];
            if before.iter().any(|other| other.name == field.name) {
                return Err(format!("fields: `{}` is declared twice", field.name));
            }
            if before.iter().any(|other| other.column == field.column) {
                return Err(format!("fields: two fields take the column `{}`", field.column));
            }
        }
        let headless = read.header == Some(false);
        if headless && fields.is_empty() {
            return Err("header: false needs fields: they name the columns, in order".to_owned());
        }
        Ok(Manifest {
            format,
            key,
            separator,
            headless,
            nulls: read.null,
            other: read.other,
            fields,
            text: text.to_owned(),
        })
    }

    /// The field a column of the file is declared as.
    pub(in crate::rows) fn declared(&self, column: &str) -> Option<&Declared> {
        self.fields.iter().find(|field| field.column == column)
    }

    /// Whether a text means that there is no value.
    fn is_null(&self, field: Option<&Declared>, text: &str) -> bool {
        self.nulls.iter().any(|null| null == text) || field.is_some_and(|f| f.is_null(text))
    }

    /// A document with its fields as declared.
    pub(super) fn document(&self, doc: Doc<'_>) -> Result<Vec<u8>, String> {
        let mut out = DocBuf::with_capacity(doc.as_bytes().len() + 16);
        let mut seen = vec![false; self.fields.len()];
        for (column, value) in doc {
            let place = self.fields.iter().position(|field| field.column == column);
            let field = place.map(|at| &self.fields[at]);
            if matches!(value, Value::String(text) if self.is_null(field, text)) {
                continue;
            }
            match (field, self.other) {
                (Some(field), _) => {
                    if let Some(at) = place {
                        seen[at] = value != Value::Null;
                    }
                    field.push(value, &mut out)?;
                }
                (None, Other::Keep) => {
                    out.push(column, value);
                }
                (None, Other::Drop) => {}
                (None, Other::Refuse) => return Err(undeclared(column)),
            }
        }
        for (field, seen) in self.fields.iter().zip(seen) {
            if field.required && !seen {
                return Err(field.missing());
            }
        }
        out.finish().map_err(|e| e.to_string())
    }
}

impl Declared {
    /// Adds a value as what it is declared to be; null stays null.
    fn push(&self, value: Value<'_>, out: &mut DocBuf) -> Result<(), String> {
        if value == Value::Null {
            out.push(&self.name, value);
            return Ok(());
        }
        match self.kind.convert(value).map_err(|what| self.wrong(&what))? {
            Converted::Value(value) => out.push(&self.name, value),
            Converted::Owned(value) => out.push(&self.name, &value),
        };
        Ok(())
    }

    /// Adds a cell of CSV that is not empty.
    pub(in crate::rows) fn push_cell(&self, cell: &str, out: &mut DocBuf) -> Result<(), String> {
        if matches!(self.kind, Kind::Infer) {
            if let Some(value) = infer(cell) {
                out.push(&self.name, value);
            }
            return Ok(());
        }
        self.push(Value::String(cell), out)
    }

    /// Its type.
    #[cfg(feature = "parquet")]
    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// A value as a cell that is read as the same. What is wrong, if there is none.
    pub(crate) fn cell(&self, value: Value<'_>) -> Result<String, String> {
        let text = self.kind.text(value).filter(|text| !self.is_null(text));
        text.ok_or_else(|| {
            format!(
                "field `{}` is {} there, and cannot be written as the manifest declares it",
                self.name,
                value.type_name()
            )
        })
    }

    /// Whether a text means that this field has no value.
    pub(in crate::rows) fn is_null(&self, text: &str) -> bool {
        self.nulls.iter().any(|null| null == text)
    }

    fn wrong(&self, what: &str) -> String {
        format!("field `{}`: {what}", self.column)
    }

    pub(in crate::rows) fn missing(&self) -> String {
        format!("it has no `{}`, which the manifest requires", self.column)
    }
}

pub(in crate::rows) fn undeclared(column: &str) -> String {
    format!(
        "it has a field `{column}`, which the manifest does not declare; declare it, or say \
         other: keep, or other: drop"
    )
}

fn declared(field: Field) -> Result<Declared, String> {
    let wrong = |what: String| format!("field `{}`: {what}", field.name);
    let column = field.column.clone().unwrap_or_else(|| field.name.clone());
    if field.name.is_empty() || column.is_empty() || field.name.contains('\0') {
        return Err(wrong("a name is empty or holds a NUL".to_owned()));
    }
    let kind = Kind::parse(field.kind.as_deref().unwrap_or("infer"), field.format.as_deref())
        .map_err(wrong)?;
    Ok(Declared { name: field.name, column, kind, nulls: field.null, required: field.required })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::json::{parse_json, to_json};

    const FULL: &str = r#"
key: year:u16,n:u32
null: [NA]
other: refuse
fields:
  - {name: year, type: int32, required: true}
  - {name: n, column: number, type: int64}
  - {name: at, type: date, format: "%d.%m.%Y", null: ["-"]}
  - {name: code, type: string}
"#;

    fn document(manifest: &str, json: &str) -> Result<String, String> {
        let manifest = Manifest::parse(manifest).unwrap();
        let doc = parse_json(json).unwrap();
        manifest.document(Doc::trusted(&doc)).map(|doc| to_json(Doc::parse(&doc).unwrap()))
    }

    #[test]
    fn fields_are_renamed_and_typed_and_nulls_left_out() {
        assert_eq!(
            document(FULL, r#"{"number": "7", "year": 2013, "at": "31.12.2013", "code": "NA"}"#),
            Ok(r#"{"n":7,"year":2013,"at":{"$date":"2013-12-31T00:00:00Z"}}"#.to_owned())
        );
        assert_eq!(
            document(FULL, r#"{"year": "2013", "at": "-", "code": null}"#),
            Ok(r#"{"year":2013,"code":null}"#.to_owned())
        );
    }

    #[test]
    fn a_row_that_is_not_as_declared_is_bad() {
        for (json, says) in [
            (r#"{"number": 1}"#, "it has no `year`, which the manifest requires"),
            (r#"{"year": null}"#, "it has no `year`"),
            (r#"{"year": "NA"}"#, "it has no `year`"),
            (r#"{"year": 2013.5}"#, "field `year`: 2013.5 is no int32"),
            (r#"{"year": 1, "extra": 1}"#, "`extra`, which the manifest does not declare"),
            (r#"{"year": 1, "at": "2013-01-01"}"#, "field `at`: "),
            (r#"{"year": 1, "code": 5}"#, "field `code`: 5 is no string"),
        ] {
            let error = document(FULL, json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
        let kept = "fields: [{name: a, type: int32}]";
        assert_eq!(document(kept, r#"{"b": 1, "a": 2}"#), Ok(r#"{"b":1,"a":2}"#.to_owned()));
        let dropped = "other: drop\nfields: [{name: a, type: int32}]";
        assert_eq!(document(dropped, r#"{"b": 1, "a": 2}"#), Ok(r#"{"a":2}"#.to_owned()));
        let renamed = "fields: [{name: b, column: a}]";
        assert!(document(renamed, r#"{"b": 1, "a": 2}"#).is_err());
    }

    #[test]
    fn a_manifest_that_is_wrong_says_where() {
        for (text, says) in [
            ("feilds: []", "unknown field `feilds`"),
            ("fields: [{name: a, typ: int32}]", "unknown field `typ`"),
            ("fields: [{name: a, type: int}]", "field `a`: there is no type `int`: say one of"),
            ("fields: [{name: a, type: int32, format: \"%Y\"}]", "only date"),
            ("fields: [{name: a, type: date, format: \"%Q\"}]", "field `a`: %Q"),
            ("fields: [{name: a}, {name: a, column: b}]", "declared twice"),
            ("fields: [{name: a}, {name: b, column: a}]", "take the column `a`"),
            ("separator: ab", "separator: one"),
            ("format: xml", "format: there is no \"xml\": say json"),
            ("header: false", "needs fields"),
            ("key: a", "key: `a`"),
            ("fields: [", "line "),
        ] {
            let error = Manifest::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
