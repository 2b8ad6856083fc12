//! Values of the tester: their order by the words of the reference, their BSON and
//! their PQL.

use proto::doc::{Array, Binary, Decimal128, DecimalParts, Doc, DocBuf, ObjectId, Regex, Value};
use std::cmp::Ordering;

/// A value. Decimals are a coefficient and an exponent.
#[derive(Clone, Debug)]
pub enum V {
    Min,
    Null,
    Int(i32),
    Long(i64),
    Double(f64),
    Decimal(i128, i32),
    Text(String),
    Doc(Vec<(String, V)>),
    Array(Vec<V>),
    Binary(u8, Vec<u8>),
    Id([u8; 12]),
    Bool(bool),
    Date(i64),
    Stamp(u64),
    Regex(String),
    Max,
}

/// A number as a point of a line. Finite ones are in ten-thousandths, exactly: the
/// tester makes no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Nan,
    MinusInfinity,
    At(i128),
    Infinity,
}

const UNIT: i128 = 10_000;

impl V {
    /// What kind it is, in the order of kinds.
    pub fn kind(&self) -> u8 {
        match self {
            V::Min => 1,
            V::Null => 2,
            V::Int(_) | V::Long(_) | V::Double(_) | V::Decimal(..) => 3,
            V::Text(_) => 4,
            V::Doc(_) => 5,
            V::Array(_) => 6,
            V::Binary(..) => 7,
            V::Id(_) => 8,
            V::Bool(_) => 9,
            V::Date(_) => 10,
            V::Stamp(_) => 11,
            V::Regex(_) => 12,
            V::Max => 13,
        }
    }

    pub fn is_number(&self) -> bool {
        self.kind() == 3
    }

    fn point(&self) -> Point {
        match self {
            V::Int(n) => Point::At(i128::from(*n) * UNIT),
            V::Long(n) => Point::At(i128::from(*n) * UNIT),
            V::Double(d) if d.is_nan() => Point::Nan,
            V::Double(d) if d.is_infinite() && *d < 0.0 => Point::MinusInfinity,
            V::Double(d) if d.is_infinite() => Point::Infinity,
            V::Double(d) => {
                // Whole and quarter parts are exact.
                let whole = d.trunc();
                Point::At(whole as i128 * UNIT + ((d - whole) * 10_000.0) as i128)
            }
            V::Decimal(coefficient, exponent) => {
                let scale = 10i128.pow((exponent + 4) as u32);
                Point::At(coefficient * scale)
            }
            other => panic!("{other:?} is no number"),
        }
    }

    /// The order of the reference, for values that are there.
    pub fn order(&self, other: &V) -> Ordering {
        let kinds = self.kind().cmp(&other.kind());
        if kinds != Ordering::Equal {
            return kinds;
        }
        match (self, other) {
            (V::Text(x), V::Text(y)) => x.as_bytes().cmp(y.as_bytes()),
            (V::Doc(x), V::Doc(y)) => {
                for ((n, v), (m, w)) in x.iter().zip(y) {
                    let here = n.as_bytes().cmp(m.as_bytes()).then_with(|| v.order(w));
                    if here != Ordering::Equal {
                        return here;
                    }
                }
                x.len().cmp(&y.len())
            }
            (V::Array(x), V::Array(y)) => {
                for (v, w) in x.iter().zip(y) {
                    let here = v.order(w);
                    if here != Ordering::Equal {
                        return here;
                    }
                }
                x.len().cmp(&y.len())
            }
            (V::Binary(s, x), V::Binary(t, y)) => s.cmp(t).then_with(|| x.cmp(y)),
            (V::Id(x), V::Id(y)) => x.cmp(y),
            (V::Bool(x), V::Bool(y)) => x.cmp(y),
            (V::Date(x), V::Date(y)) => x.cmp(y),
            (V::Stamp(x), V::Stamp(y)) => x.cmp(y),
            (V::Regex(x), V::Regex(y)) => x.cmp(y),
            (x, y) if x.is_number() => x.point().cmp(&y.point()),
            _ => Ordering::Equal,
        }
    }

    /// Missing is below all.
    pub fn order_of(a: Option<&V>, b: Option<&V>) -> Ordering {
        match (a, b) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => a.order(b),
        }
    }

    /// The very same value: type, digits and all.
    pub fn same(&self, other: &V) -> bool {
        match (self, other) {
            (V::Double(x), V::Double(y)) => x == y || (x.is_nan() && y.is_nan()),
            (V::Doc(x), V::Doc(y)) => {
                x.len() == y.len() && x.iter().zip(y).all(|((n, v), (m, w))| n == m && v.same(w))
            }
            (V::Array(x), V::Array(y)) => {
                x.len() == y.len() && x.iter().zip(y).all(|(v, w)| v.same(w))
            }
            (V::Int(x), V::Int(y)) => x == y,
            (V::Long(x), V::Long(y)) => x == y,
            (V::Decimal(..), V::Decimal(..)) => self.order(other) == Ordering::Equal,
            (x, y) => !x.is_number() && !y.is_number() && x.order(y) == Ordering::Equal,
        }
    }

    /// Of an integer; 0 of others.
    pub fn whole(&self) -> i64 {
        match self {
            V::Int(n) => i64::from(*n),
            V::Long(n) => *n,
            _ => 0,
        }
    }

    pub fn field(&self, name: &str) -> Option<&V> {
        match self {
            V::Doc(fields) => fields.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    pub fn read(doc: Doc<'_>) -> V {
        V::Doc(doc.iter().map(|(name, value)| (name.to_owned(), V::of(value))).collect())
    }

    fn of(value: Value<'_>) -> V {
        match value {
            Value::MinKey => V::Min,
            Value::Null => V::Null,
            Value::Int32(n) => V::Int(n),
            Value::Int64(n) => V::Long(n),
            Value::Double(d) => V::Double(d),
            Value::Decimal128(decimal) => match decimal.parts() {
                DecimalParts::Finite { negative, coefficient, exponent } => {
                    let coefficient = coefficient as i128;
                    V::Decimal(if negative { -coefficient } else { coefficient }, exponent)
                }
                other => panic!("{other:?} was never made"),
            },
            Value::String(text) => V::Text(text.to_owned()),
            Value::Doc(doc) => V::read(doc),
            Value::Array(items) => V::Array(Array::iter(&items).map(V::of).collect()),
            Value::Binary(binary) => V::Binary(binary.subtype, binary.bytes.to_vec()),
            Value::ObjectId(id) => V::Id(id.0),
            Value::Bool(b) => V::Bool(b),
            Value::DateTime(millis) => V::Date(millis),
            Value::Timestamp(stamp) => V::Stamp(stamp),
            Value::Regex(regex) => V::Regex(regex.pattern.to_owned()),
            Value::MaxKey => V::Max,
        }
    }

    pub fn bson(&self) -> Vec<u8> {
        let V::Doc(fields) = self else { panic!("{self:?} is no document") };
        let mut doc = DocBuf::new();
        for (name, value) in fields {
            value.push(&mut doc, Some(name));
        }
        doc.finish().expect("fields are named once")
    }

    /// Into the document, or the array, opened last.
    pub fn push(&self, out: &mut DocBuf, name: Option<&str>) {
        let scalar = match self {
            V::Doc(fields) => {
                match name {
                    Some(name) => out.begin_doc(name),
                    None => out.begin_item_doc(),
                };
                for (name, value) in fields {
                    value.push(out, Some(name));
                }
                out.end();
                return;
            }
            V::Array(items) => {
                match name {
                    Some(name) => out.begin_array(name),
                    None => out.begin_item_array(),
                };
                for item in items {
                    item.push(out, None);
                }
                out.end();
                return;
            }
            V::Min => Value::MinKey,
            V::Null => Value::Null,
            V::Int(n) => Value::Int32(*n),
            V::Long(n) => Value::Int64(*n),
            V::Double(d) => Value::Double(*d),
            V::Decimal(c, e) => {
                Value::Decimal128(Decimal128::new(*c < 0, c.unsigned_abs(), *e).expect("small"))
            }
            V::Text(text) => Value::String(text),
            V::Binary(subtype, bytes) => Value::Binary(Binary { subtype: *subtype, bytes }),
            V::Id(id) => Value::ObjectId(ObjectId(*id)),
            V::Bool(b) => Value::Bool(*b),
            V::Date(millis) => Value::DateTime(*millis),
            V::Stamp(stamp) => Value::Timestamp(*stamp),
            V::Regex(pattern) => Value::Regex(Regex { pattern, options: "" }),
            V::Max => Value::MaxKey,
        };
        match name {
            Some(name) => out.push(name, scalar),
            None => out.item(scalar),
        };
    }

    /// As PQL writes it; `None`: it takes a parameter. The literal of an integer is
    /// of the small type, so a long that is small has none.
    pub fn literal(&self) -> Option<String> {
        Some(match self {
            V::Null => "null".to_owned(),
            V::Int(n) => n.to_string(),
            V::Long(n) if i32::try_from(*n).is_err() => n.to_string(),
            V::Double(d) if d.is_finite() => format!("{d:?}"),
            V::Decimal(c, e) => format!("decimal('{c}E{e}')"),
            V::Text(text) => format!("{text:?}"),
            V::Doc(fields) => {
                let all: Option<Vec<String>> = fields
                    .iter()
                    .map(|(name, value)| Some(format!("{name:?}: {}", value.literal()?)))
                    .collect();
                format!("{{{}}}", all?.join(", "))
            }
            V::Array(items) => {
                let all: Option<Vec<String>> = items.iter().map(V::literal).collect();
                format!("[{}]", all?.join(", "))
            }
            V::Binary(4, bytes) if bytes.len() == 16 => {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                format!("uuid('{}')", parts.join("-"))
            }
            V::Id(id) => {
                format!("objectId('{}')", id.iter().map(|b| format!("{b:02x}")).collect::<String>())
            }
            V::Bool(b) => b.to_string(),
            V::Date(millis) => format!("date({millis})"),
            _ => return None,
        })
    }
}

/// A key as the field `key` shows it.
pub fn key_text(key: u128) -> String {
    format!("{key:032x}")
}

impl PartialEq for V {
    fn eq(&self, other: &V) -> bool {
        self.same(other)
    }
}
