//! Parquet: columns of the types the first page has, or a manifest declares.
//!
//! What must stay true: a value that its column cannot hold exactly is an error that
//! says what to do, never another value. One row group is in memory at a time.

use super::cannot;
use super::write::{KEY, union};
use crate::failure::Failure;
use crate::rows::{Declared, Kind, Manifest, bare};
use parquet::basic::Compression;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use proto::Key;
use proto::doc::{Doc, Value};
use proto::json::write_value;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// A row group is written once it has so many rows, or about so many bytes.
const GROUP_ROWS: usize = 100_000;
const GROUP_BYTES: usize = 32 << 20;

/// Values of one column of a row group.
enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    /// Milliseconds.
    Time(Vec<i64>),
    Text(Vec<ByteArray>),
    /// Extended JSON.
    Json(Vec<ByteArray>),
    Bytes(Vec<ByteArray>),
}

struct Column {
    /// The field of documents, and the column's name.
    field: String,
    name: String,
    declared: Option<Declared>,
    values: Values,
    /// 1 where there is a value, 0 where there is none.
    levels: Vec<i16>,
}

/// Writes a file.
pub(super) struct Parquet {
    chosen: bool,
    columns: Vec<Column>,
    file: Option<SerializedFileWriter<Buffer>>,
    written: Buffer,
    bytes: usize,
}

/// What the writer wrote and nobody took yet.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self, out: &mut Vec<u8>) {
        out.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Parquet {
    pub(super) fn new(fields: &[String], manifest: Option<&Manifest>) -> Result<Self, Failure> {
        let mut columns: Vec<Column> = fields.iter().map(|name| Column::new(name)).collect();
        if let Some(manifest) = manifest.filter(|manifest| !manifest.fields.is_empty()) {
            if manifest.key.is_none() {
                columns.push(Column::new(KEY));
            }
            columns.extend(manifest.fields.iter().map(Column::declared));
        }
        let chosen = !columns.is_empty();
        let written = Buffer::default();
        Ok(Parquet { chosen, columns, file: None, written, bytes: 0 })
    }

    /// Decides the columns by the rows of the first page.
    fn open(&mut self, rows: &[(Key, Doc<'_>)]) -> Result<(), Failure> {
        if !self.chosen {
            self.columns = union(rows).iter().map(|name| Column::new(name)).collect();
        }
        for column in &mut self.columns {
            if column.declared.is_none() {
                column.values = inferred(&column.field, rows);
            }
        }
        let lines: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| format!("OPTIONAL {};", column.values.typed(&format!("c{at}"))))
            .collect();
        // Names go in afterwards: the text of a schema does not take all of them.
        let schema = parse_message_type(&format!("message rows {{ {} }}", lines.join(" ")));
        let schema = schema.and_then(|schema| self.named(&schema)).map_err(failed)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file =
            SerializedFileWriter::new(self.written.clone(), Arc::new(schema), Arc::new(properties));
        self.file = Some(file.map_err(failed)?);
        Ok(())
    }

    fn named(
        &self,
        schema: &parquet::schema::types::Type,
    ) -> Result<parquet::schema::types::Type, ParquetError> {
        use parquet::schema::types::Type;
        let fields = schema
            .get_fields()
            .iter()
            .zip(&self.columns)
            .map(|(field, column)| {
                let info = field.get_basic_info();
                Type::primitive_type_builder(&column.name, field.get_physical_type())
                    .with_repetition(info.repetition())
                    .with_converted_type(info.converted_type())
                    .with_logical_type(info.logical_type_ref().cloned())
                    .build()
                    .map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Type::group_type_builder("rows").with_fields(fields).build()
    }

    pub(super) fn page(
        &mut self,
        rows: &[(Key, Doc<'_>)],
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if self.file.is_none() {
            self.open(rows)?;
        }
        for (key, doc) in rows {
            self.row(*key, *doc)?;
            let count = self.columns.first().map_or(0, |column| column.levels.len());
            if count >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
                self.group()?;
            }
        }
        self.written.take(out);
        Ok(())
    }

    fn row(&mut self, key: Key, doc: Doc<'_>) -> Result<(), Failure> {
        let text = key.to_string();
        self.bytes += doc.as_bytes().len() + 16;
        if !self.chosen
            && let Some((name, _)) =
                doc.iter().find(|(name, _)| self.columns.iter().all(|c| c.field != *name))
        {
            return Err(Failure::invalid(format!(
                "the document under key {key} has a field `{name}`, and no document of the \
                 first page has: name the columns with --fields, or declare them with --manifest"
            )));
        }
        for column in &mut self.columns {
            let value = match column.field.as_str() {
                KEY => Some(Value::String(&text)),
                name => doc.get(name).filter(|value| *value != Value::Null),
            };
            column.levels.push(i16::from(value.is_some()));
            if let Some(value) = value {
                column.push(value).map_err(|what| {
                    Failure::invalid(format!(
                        "the document under key {key}: field `{}`: {what}",
                        column.field
                    ))
                })?;
            }
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut group = file.next_row_group().map_err(failed)?;
        for column in &mut self.columns {
            column.write(&mut group).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        self.bytes = 0;
        Ok(())
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.file.is_none() {
            self.open(&[])?;
        }
        if self.columns.iter().any(|column| !column.levels.is_empty()) {
            self.group()?;
        }
        if let Some(file) = self.file.take() {
            file.close().map_err(failed)?;
        }
        self.written.take(out);
        Ok(())
    }
}

fn failed(error: ParquetError) -> Failure {
    cannot("Parquet", &error)
}

impl Column {
    fn new(name: &str) -> Column {
        let (field, name) = (name.to_owned(), name.to_owned());
        Column { field, name, declared: None, values: Values::Text(vec![]), levels: vec![] }
    }

    fn declared(declared: &Declared) -> Column {
        let values = match declared.kind() {
            Kind::Bool => Values::Bool(vec![]),
            Kind::Int32 => Values::Int32(vec![]),
            Kind::Int64 => Values::Int64(vec![]),
            Kind::Double => Values::Double(vec![]),
            Kind::Date(_) => Values::Time(vec![]),
            Kind::Json => Values::Json(vec![]),
            Kind::Binary => Values::Bytes(vec![]),
            // Inferred by the first page.
            Kind::Infer => {
                let name = declared.column.clone();
                return Column { name, ..Column::new(&declared.name) };
            }
            Kind::String | Kind::Decimal | Kind::ObjectId | Kind::Uuid => Values::Text(vec![]),
        };
        let (field, name) = (declared.name.clone(), declared.column.clone());
        Column { field, name, declared: Some(declared.clone()), values, levels: vec![] }
    }

    fn push(&mut self, value: Value<'_>) -> Result<(), String> {
        let unfit = || {
            format!(
                "it is {}, and its column is not, by the documents of the first page; declare \
                 the field with --manifest",
                value.type_name()
            )
        };
        match (&mut self.values, value) {
            (Values::Bool(all), Value::Bool(b)) => all.push(b),
            (Values::Int32(all), value) if value.is_number() => {
                let n = value.as_i64().and_then(|n| i32::try_from(n).ok());
                all.push(n.ok_or_else(unfit)?);
            }
            (Values::Int64(all), value) if value.is_number() => {
                all.push(value.as_i64().ok_or_else(unfit)?);
            }
            (Values::Double(all), Value::Double(x)) => all.push(x),
            (Values::Double(all), Value::Int32(n)) => all.push(n.into()),
            (Values::Double(all), Value::Int64(n)) if n.unsigned_abs() <= 1 << 53 => {
                all.push(n as f64);
            }
            (Values::Time(all), Value::DateTime(millis)) => all.push(millis),
            (Values::Json(all), value) => {
                let mut text = String::new();
                write_value(value, &mut text);
                all.push(ByteArray::from(text.into_bytes()));
            }
            (Values::Bytes(all), Value::Binary(binary)) if binary.subtype == 0 => {
                all.push(ByteArray::from(binary.bytes.to_vec()));
            }
            (Values::Text(all), value) => {
                let text = match (&self.declared, value) {
                    (Some(declared), value) => declared.cell(value)?,
                    (None, Value::String(text)) => text.to_owned(),
                    (None, Value::ObjectId(_) | Value::Decimal128(_)) => bare(value),
                    _ => return Err(unfit()),
                };
                all.push(ByteArray::from(text.into_bytes()));
            }
            _ => return Err(unfit()),
        }
        Ok(())
    }

    fn write(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, Buffer>,
    ) -> Result<(), ParquetError> {
        let levels = std::mem::take(&mut self.levels);
        match &mut self.values {
            Values::Bool(all) => column::<BoolType>(group, all, &levels),
            Values::Int32(all) => column::<Int32Type>(group, all, &levels),
            Values::Int64(all) | Values::Time(all) => column::<Int64Type>(group, all, &levels),
            Values::Double(all) => column::<DoubleType>(group, all, &levels),
            Values::Text(all) | Values::Json(all) | Values::Bytes(all) => {
                column::<ByteArrayType>(group, all, &levels)
            }
        }
    }
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Buffer>,
    values: &mut Vec<T::T>,
    levels: &[i16],
) -> Result<(), ParquetError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, Some(levels), None)?;
        column.close()?;
    }
    values.clear();
    Ok(())
}

impl Values {
    /// A column of this type, as the text of a schema has it.
    fn typed(&self, name: &str) -> String {
        match self {
            Values::Bool(_) => format!("BOOLEAN {name}"),
            Values::Int32(_) => format!("INT32 {name}"),
            Values::Int64(_) => format!("INT64 {name}"),
            Values::Double(_) => format!("DOUBLE {name}"),
            Values::Time(_) => format!("INT64 {name} (TIMESTAMP_MILLIS)"),
            Values::Text(_) => format!("BYTE_ARRAY {name} (UTF8)"),
            Values::Json(_) => format!("BYTE_ARRAY {name} (JSON)"),
            Values::Bytes(_) => format!("BYTE_ARRAY {name}"),
        }
    }
}

/// The type that holds every value a field has in these rows.
fn inferred(field: &str, rows: &[(Key, Doc<'_>)]) -> Values {
    let values = rows.iter().filter_map(|(_, doc)| doc.get(field));
    let values: Vec<Value<'_>> = values.filter(|value| *value != Value::Null).collect();
    let all = |test: fn(&Value<'_>) -> bool| values.iter().all(test);
    let textual =
        |v: &Value<'_>| matches!(v, Value::String(_) | Value::ObjectId(_) | Value::Decimal128(_));
    if values.is_empty() || values.iter().all(textual) {
        Values::Text(vec![])
    } else if all(|v| matches!(v, Value::Bool(_))) {
        Values::Bool(vec![])
    } else if all(|v| matches!(v, Value::Int32(_))) {
        Values::Int32(vec![])
    } else if all(|v| matches!(v, Value::Int32(_) | Value::Int64(_))) {
        Values::Int64(vec![])
    } else if all(|v| matches!(v, Value::Int32(_) | Value::Double(_))) {
        Values::Double(vec![])
    } else if all(|v| matches!(v, Value::DateTime(_))) {
        Values::Time(vec![])
    } else if all(|v| matches!(v, Value::Binary(binary) if binary.subtype == 0)) {
        Values::Bytes(vec![])
    } else {
        Values::Json(vec![])
    }
}
