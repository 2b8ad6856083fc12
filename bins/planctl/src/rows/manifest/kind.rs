//! The types a field can be declared as, and how values become them.

use super::date::Pattern;
use proto::doc::{Binary, Decimal128, Value, ValueBuf};
use proto::json::{Limits, date_time_to_text, parse_json_value, write_value};

/// The names of types, for messages.
const NAMES: &str =
    "infer, string, int32, int64, double, decimal, bool, date, objectId, uuid, binary, json";
/// How much of a value a message shows, in characters.
const SHOWN: usize = 40;

/// What a field is declared to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// As it is; CSV: as its text reads.
    Infer,
    String,
    Int32,
    Int64,
    Double,
    Decimal,
    Bool,
    Date(Pattern),
    ObjectId,
    Uuid,
    /// Text is base64.
    Binary,
    /// Text is extended JSON.
    Json,
}

/// A value of the declared type.
pub(in crate::rows) enum Converted<'a> {
    Value(Value<'a>),
    Owned(ValueBuf),
}

impl Kind {
    pub(super) fn parse(name: &str, format: Option<&str>) -> Result<Kind, String> {
        let kind = match name {
            "infer" => Kind::Infer,
            "string" => Kind::String,
            "int32" => Kind::Int32,
            "int64" => Kind::Int64,
            "double" => Kind::Double,
            "decimal" => Kind::Decimal,
            "bool" => Kind::Bool,
            "date" => return Pattern::parse(format.unwrap_or("rfc3339")).map(Kind::Date),
            "objectId" => Kind::ObjectId,
            "uuid" => Kind::Uuid,
            "binary" => Kind::Binary,
            "json" => Kind::Json,
            _ => return Err(format!("there is no type `{name}`: say one of {NAMES}")),
        };
        match format {
            Some(_) => Err("only date has a format".to_owned()),
            None => Ok(kind),
        }
    }

    /// A value as one of this type, if it is that exactly, or text of it.
    pub(in crate::rows) fn convert<'a>(&self, value: Value<'a>) -> Result<Converted<'a>, String> {
        if let Value::String(text) = value
            && let Some(wrapper) = self.wrapper()
        {
            let found = parse_json_value(&wrap(wrapper, text), Limits::default());
            return found.map(Converted::Owned).map_err(|_| self.unlike(value));
        }
        let found = match (self, value) {
            (Kind::Infer, value) => Some(value),
            (Kind::String, Value::String(_))
            | (Kind::ObjectId, Value::ObjectId(_))
            | (Kind::Uuid, Value::Binary(Binary { subtype: 4, .. }))
            | (Kind::Binary, Value::Binary(_))
            | (Kind::Decimal, Value::Decimal128(_))
            | (Kind::Bool, Value::Bool(_)) => Some(value),
            (Kind::Int32, value) => {
                whole(value).and_then(|n| i32::try_from(n).ok()).map(Value::Int32)
            }
            (Kind::Int64, value) => whole(value).map(Value::Int64),
            (Kind::Double, value) => double(value).map(Value::Double),
            (Kind::Decimal, value) => decimal(value).map(Value::Decimal128),
            (Kind::Bool, Value::String(text)) => match text {
                "true" | "TRUE" | "True" | "t" | "1" => Some(Value::Bool(true)),
                "false" | "FALSE" | "False" | "f" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            (Kind::Date(_), Value::DateTime(_)) => Some(value),
            (Kind::Date(pattern), value) => pattern.millis(value).map(Value::DateTime),
            (Kind::Json, Value::String(text)) => {
                return parse_json_value(text, Limits::default())
                    .map(Converted::Owned)
                    .map_err(|e| format!("{} ({e})", self.unlike(value)));
            }
            (Kind::Json, value) => Some(value),
            _ => None,
        };
        found.map(Converted::Value).ok_or_else(|| self.unlike(value))
    }

    /// A value as text that [`Kind::convert`] reads as the same; `None` if it is of
    /// another type.
    pub(in crate::rows) fn text(&self, value: Value<'_>) -> Option<String> {
        let json = || {
            let mut text = String::new();
            write_value(value, &mut text);
            text
        };
        let text = match (self, value) {
            (Kind::Json, _) => json(),
            (Kind::Date(pattern), Value::DateTime(millis)) => pattern.text(millis)?,
            (_, value) => bare(value),
        };
        let back = match self {
            // Its text is typed as any cell is.
            Kind::Infer => return Some(text),
            _ => self.convert(Value::String(&text)).ok()?,
        };
        let same = match &back {
            Converted::Value(back) => equal(*back, value),
            Converted::Owned(back) => equal(back.get(), value),
        };
        same.then_some(text)
    }

    /// Extended JSON's wrapper of a type whose text it reads.
    fn wrapper(&self) -> Option<&'static str> {
        match self {
            Kind::ObjectId => Some("$oid"),
            Kind::Uuid => Some("$uuid"),
            Kind::Binary => Some("$binary"),
            _ => None,
        }
    }

    fn unlike(&self, value: Value<'_>) -> String {
        let mut shown = String::new();
        write_value(value, &mut shown);
        if shown.chars().count() > SHOWN {
            shown = shown.chars().take(SHOWN).chain("...".chars()).collect();
        }
        format!("{shown} is no {}", self.name())
    }

    fn name(&self) -> String {
        match self {
            Kind::Infer => "value".to_owned(),
            Kind::String => "string".to_owned(),
            Kind::Int32 => "int32".to_owned(),
            Kind::Int64 => "int64".to_owned(),
            Kind::Double => "double".to_owned(),
            Kind::Decimal => "decimal of up to 34 digits".to_owned(),
            Kind::Bool => "bool (true or false)".to_owned(),
            Kind::Date(pattern) => format!("date written as {pattern}"),
            Kind::ObjectId => "objectId (24 hex digits)".to_owned(),
            Kind::Uuid => "uuid (8-4-4-4-12 hex digits)".to_owned(),
            Kind::Binary => "binary (padded base64)".to_owned(),
            Kind::Json => "JSON".to_owned(),
        }
    }
}

/// Whether a value came back: numbers by what they are worth.
fn equal(one: Value<'_>, other: Value<'_>) -> bool {
    one == other || one.is_number() && proto::order::equal(Some(one), Some(other))
}

/// A value as the text people write it as, all else as extended JSON.
pub(crate) fn bare(value: Value<'_>) -> String {
    match value {
        Value::String(text) => text.to_owned(),
        Value::Decimal128(decimal) => decimal.to_string(),
        Value::ObjectId(id) => id.to_string(),
        Value::Binary(Binary { subtype: 4, bytes }) if bytes.len() == 16 => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        }
        Value::Binary(Binary { subtype: 0, .. }) => {
            let mut json = String::new();
            write_value(value, &mut json);
            let text = json.split_once("\"base64\":\"").and_then(|(_, rest)| rest.split_once('"'));
            text.map(|(base64, _)| base64.to_owned()).unwrap_or(json)
        }
        Value::DateTime(millis) => date_time_to_text(millis).unwrap_or_else(|| {
            let mut json = String::new();
            write_value(value, &mut json);
            json
        }),
        Value::Double(d) if d.is_finite() => {
            let text = format!("{d:?}");
            match text.split_once('e') {
                // Import takes 1e20 for a name, as 1E5 may be one.
                Some((digits, exponent)) if !digits.contains('.') && !exponent.starts_with('-') => {
                    format!("{digits}e+{exponent}")
                }
                _ => text,
            }
        }
        Value::Double(d) if d.is_nan() => "NaN".to_owned(),
        Value::Double(d) => if d > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        other => {
            let mut json = String::new();
            write_value(other, &mut json);
            json
        }
    }
}

/// Extended JSON around a text.
fn wrap(wrapper: &str, text: &str) -> String {
    let mut json = format!("{{\"{wrapper}\":");
    let binary = wrapper == "$binary";
    if binary {
        json += "{\"base64\":";
    }
    write_value(Value::String(text), &mut json);
    json += if binary { ",\"subType\":\"00\"}}" } else { "}" };
    json
}

/// A whole number, of any type that is one exactly.
fn whole(value: Value<'_>) -> Option<i64> {
    match value {
        Value::String(text) => {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|_| plain)
        }
        value if value.is_number() => value.as_i64(),
        _ => None,
    }
}

/// A number as a double, if nothing is lost.
fn double(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Double(d) => Some(d),
        Value::Int32(n) => Some(f64::from(n)),
        Value::Int64(n) => {
            let d = n as f64;
            // i64::MAX rounds up to 2^63, which saturates back: not exact.
            (d as i64 == n && d < 9_223_372_036_854_775_808.0).then_some(d)
        }
        Value::String(text) => match text {
            "NaN" => Some(f64::NAN),
            "Infinity" | "inf" => Some(f64::INFINITY),
            "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
            _ => {
                let digits = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
                text.parse().ok().filter(|d: &f64| digits && d.is_finite())
            }
        },
        _ => None,
    }
}

fn decimal(value: Value<'_>) -> Option<Decimal128> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Int32(n) => Decimal128::from_i128(n.into()),
        Value::Int64(n) => Decimal128::from_i128(n.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(kind: &str, value: Value<'_>) -> Result<String, String> {
        let converted = Kind::parse(kind, None).unwrap().convert(value)?;
        let mut text = String::new();
        match &converted {
            Converted::Value(value) => write_value(*value, &mut text),
            Converted::Owned(value) => write_value(value.get(), &mut text),
        }
        Ok(text)
    }

    #[test]
    fn texts_and_exact_values_become_the_type() {
        for (kind, value, json) in [
            ("int32", Value::String("-12"), "-12"),
            ("int32", Value::String("007"), "7"),
            ("int32", Value::Double(5.0), "5"),
            ("int64", Value::Int32(5), "5"),
            ("double", Value::String("1e5"), "100000.0"),
            ("double", Value::Int32(3), "3.0"),
            ("double", Value::String("-inf"), r#"{"$numberDouble":"-Infinity"}"#),
            ("decimal", Value::String("1.50"), r#"{"$numberDecimal":"1.50"}"#),
            ("bool", Value::String("t"), "true"),
            ("string", Value::String("007"), r#""007""#),
            ("date", Value::String("2013-01-01"), r#"{"$date":"2013-01-01T00:00:00Z"}"#),
            (
                "objectId",
                Value::String("0102030405060708090a0b0c"),
                r#"{"$oid":"0102030405060708090a0b0c"}"#,
            ),
            ("binary", Value::String("AAE="), r#"{"$binary":{"base64":"AAE=","subType":"00"}}"#),
            ("json", Value::String("[1, {\"a\": null}]"), r#"[1,{"a":null}]"#),
            ("json", Value::Int32(1), "1"),
        ] {
            assert_eq!(convert(kind, value), Ok(json.to_owned()), "{kind} {value:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back_or_is_not_written() {
        let uuid = [7; 16];
        for (kind, value, text) in [
            ("int32", Value::Int32(-5), Some("-5")),
            ("int32", Value::Double(5.5), None),
            ("double", Value::Double(1e20), Some("1e+20")),
            ("double", Value::Double(f64::NEG_INFINITY), Some("-Infinity")),
            ("string", Value::String("007"), Some("007")),
            ("string", Value::Int32(7), None),
            ("json", Value::String("x"), Some("\"x\"")),
            ("date", Value::DateTime(1000), Some("1970-01-01T00:00:01Z")),
            ("bool", Value::Bool(true), Some("true")),
            (
                "uuid",
                Value::Binary(Binary { subtype: 4, bytes: &uuid }),
                Some("07070707-0707-0707-0707-070707070707"),
            ),
            ("binary", Value::Binary(Binary { subtype: 0, bytes: &[0, 1] }), Some("AAE=")),
            ("binary", Value::Binary(Binary { subtype: 5, bytes: &[0, 1] }), None),
        ] {
            let kind = Kind::parse(kind, None).unwrap();
            assert_eq!(kind.text(value).as_deref(), text, "{kind:?} {value:?}");
        }
    }

    #[test]
    fn nothing_is_rounded_or_guessed() {
        for (kind, value) in [
            ("int32", Value::String("2147483648")),
            ("int32", Value::String("1.0")),
            ("int32", Value::String("")),
            ("int32", Value::String("+")),
            ("int32", Value::Bool(true)),
            ("int64", Value::Double(1.5)),
            ("double", Value::Int64((1 << 53) + 1)),
            ("double", Value::Int64(i64::MAX)),
            ("double", Value::String("infinity")),
            ("double", Value::String("1e999")),
            ("bool", Value::String("yes")),
            ("bool", Value::Int32(1)),
            ("string", Value::Int32(1)),
            ("date", Value::String("1.1.2013")),
            ("date", Value::Int32(1)),
            ("objectId", Value::String("01")),
            ("uuid", Value::String("x")),
            ("binary", Value::String("A")),
            ("json", Value::String("{")),
        ] {
            let error = convert(kind, value).unwrap_err();
            assert!(error.contains(" is no "), "{kind} {value:?}: {error}");
        }
        let long = "x".repeat(1000);
        assert!(convert("int32", Value::String(&long)).unwrap_err().len() < 100);
    }
}
