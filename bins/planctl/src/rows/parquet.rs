//! Parquet rows, through the crate's record reader: no arrow.
//!
//! What must stay true: a column that is null leaves its field out, since the format
//! does not tell null from nothing. Times finer than milliseconds are cut to them, as
//! times of text are. What no type of ours holds is a bad row, not another value.
//!
//! A place is a number of rows: reading goes on at the row group that holds the row.

use super::{BadRow, Next, Place, Rows, Shape, Stop};
use parquet::data_type::Decimal;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Record};
use proto::doc::{Binary, Decimal128, DocBuf, Value};
use proto::json::write_json;
use std::fs::File;

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

pub(super) struct ParquetRows {
    records: RowIter<'static>,
    shape: Shape,
    /// Rows given.
    rows: u64,
    /// The row given last, as JSON.
    last: Vec<u8>,
}

impl ParquetRows {
    pub(super) fn new(file: File, shape: Shape, start: Place) -> Result<ParquetRows, Stop> {
        let whole = SerializedFileReader::new(file.try_clone().map_err(Stop::Io)?).map_err(stop)?;
        // The row groups before the one that holds the first row are not read.
        let (mut passed, mut groups) = (0u64, 0usize);
        for group in whole.metadata().row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            if passed + rows > start.offset {
                break;
            }
            passed += rows;
            groups += 1;
        }
        let later = move |_: &RowGroupMetaData, group: usize| group >= groups;
        let options = ReadOptionsBuilder::new().with_predicate(Box::new(later)).build();
        let reader = SerializedFileReader::new_with_options(file, options).map_err(stop)?;
        let mut records = RowIter::from_file_into(Box::new(reader));
        for _ in passed..start.offset {
            match records.next() {
                Some(record) => record.map(drop).map_err(stop)?,
                None => break,
            }
        }
        Ok(ParquetRows { records, shape, rows: start.offset, last: Vec::new() })
    }
}

fn stop(error: ParquetError) -> Stop {
    Stop::Io(std::io::Error::other(error))
}

impl Rows for ParquetRows {
    fn next(&mut self) -> Result<Option<Next>, Stop> {
        let record = match self.records.next() {
            None => return Ok(None),
            Some(record) => record.map_err(stop)?,
        };
        self.rows += 1;
        self.last.clear();
        let document = document(record).and_then(|doc| doc.finish().map_err(|e| e.to_string()));
        Ok(Some(match document {
            Ok(document) => {
                write_json(proto::doc::Doc::trusted(&document), &mut self.last);
                self.shape.row(document, self.rows)
            }
            Err(what) => Err(BadRow::new(self.rows, what)),
        }))
    }

    fn place(&self) -> Place {
        Place { offset: self.rows, lines: self.rows, ..Place::default() }
    }

    fn raw(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.last);
        out.push(b'\n');
    }
}

fn document(record: Record) -> Result<DocBuf, String> {
    let mut doc = DocBuf::new();
    for (name, field) in record.into_columns() {
        if !matches!(field, Field::Null) {
            put(Some(&name), &field, &mut doc)
                .map_err(|what| format!("column `{name}`: {what}"))?;
        }
    }
    Ok(doc)
}

/// Adds a field of this name, or an item of the open array.
fn put(name: Option<&str>, field: &Field, out: &mut DocBuf) -> Result<(), String> {
    let value = match field {
        Field::Null => Value::Null,
        Field::Bool(b) => Value::Bool(*b),
        Field::Byte(n) => Value::Int32((*n).into()),
        Field::Short(n) => Value::Int32((*n).into()),
        Field::Int(n) | Field::TimeMillis(n) => Value::Int32(*n),
        Field::Long(n) | Field::TimeMicros(n) => Value::Int64(*n),
        Field::UByte(n) => Value::Int32((*n).into()),
        Field::UShort(n) => Value::Int32((*n).into()),
        Field::UInt(n) => Value::Int64((*n).into()),
        Field::ULong(n) => {
            let n =
                i64::try_from(*n).map_err(|_| format!("{n} does not fit 64 bits with a sign"))?;
            Value::Int64(n)
        }
        Field::Float16(x) => Value::Double(x.to_f64()),
        Field::Float(x) => Value::Double((*x).into()),
        Field::Double(x) => Value::Double(*x),
        Field::Decimal(decimal) => Value::Decimal128(self::decimal(decimal)?),
        Field::Str(text) => Value::String(text),
        Field::Bytes(bytes) => Value::Binary(Binary { subtype: 0, bytes: bytes.data() }),
        Field::Date(days) => Value::DateTime(i64::from(*days) * DAY),
        Field::TimestampMillis(millis) => Value::DateTime(*millis),
        Field::TimestampMicros(micros) => Value::DateTime(micros.div_euclid(1000)),
        Field::Group(group) => {
            match name {
                Some(name) => out.begin_doc(name),
                None => out.begin_item_doc(),
            };
            for (name, field) in group.get_column_iter() {
                put(Some(name), field, out)?;
            }
            out.end();
            return Ok(());
        }
        Field::ListInternal(list) => {
            match name {
                Some(name) => out.begin_array(name),
                None => out.begin_item_array(),
            };
            list.elements().iter().try_for_each(|field| put(None, field, out))?;
            out.end();
            return Ok(());
        }
        Field::MapInternal(map) => {
            match name {
                Some(name) => out.begin_doc(name),
                None => out.begin_item_doc(),
            };
            for (key, field) in map.entries() {
                let Field::Str(key) = key else {
                    return Err("a key of the map is no text".to_owned());
                };
                put(Some(key), field, out)?;
            }
            out.end();
            return Ok(());
        }
    };
    match name {
        Some(name) => out.push(name, value),
        None => out.item(value),
    };
    Ok(())
}

/// Big-endian, two's complement, scaled by tens.
fn decimal(decimal: &Decimal) -> Result<Decimal128, String> {
    let bytes = decimal.data();
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let unfit = || "the decimal has more than 34 digits".to_owned();
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    let spare = bytes.len().saturating_sub(16);
    if bytes[..spare].iter().any(|byte| *byte != wide[0]) {
        return Err(unfit());
    }
    let bytes = &bytes[spare..];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    let n = i128::from_be_bytes(wide);
    if (n < 0) != negative {
        return Err(unfit());
    }
    Decimal128::new(n < 0, n.unsigned_abs(), -decimal.scale()).ok_or_else(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::data_type::ByteArray;

    #[test]
    fn decimals_of_any_width_are_themselves() {
        let of = |bytes: &[u8]| {
            decimal(&Decimal::from_bytes(ByteArray::from(bytes.to_vec()), 38, 2))
                .map(|decimal| decimal.to_string())
        };
        assert_eq!(of(&[0x04, 0xd2]), Ok("12.34".to_owned()));
        assert_eq!(of(&[0xfb, 0x2e]), Ok("-12.34".to_owned()));
        assert_eq!(of(&[0xff; 20]), Ok("-0.01".to_owned()));
        assert_eq!(of(&[]), Ok("0.00".to_owned()));
        assert!(of(&[0x7f; 16]).is_err());
        assert!(of(&[1; 20]).is_err());
    }
}
