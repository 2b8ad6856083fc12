//! `--key year:u16,carrier:t2`: which fields make the key, and how wide they are.

use proto::doc::{Doc, Value};
use proto::{Key, KeyParts};
use std::str::FromStr;

/// The parts of a key, left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeySpec(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    field: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An unsigned integer of so many bits.
    Uint(u32),
    /// Text of so many bytes.
    Text(usize),
    /// A time, as whole seconds since 1970 in so many bits.
    Seconds(u32),
}

impl FromStr for KeySpec {
    type Err = String;

    fn from_str(text: &str) -> Result<KeySpec, String> {
        let parts: Vec<Part> = text.split(',').map(part).collect::<Result<_, _>>()?;
        // The widths alone decide whether the parts fit: try them on the least values.
        let mut probe = KeyParts::new();
        for Part { field, kind } in &parts {
            let tried = match *kind {
                Kind::Uint(bits) | Kind::Seconds(bits) => probe.uint(0, bits),
                Kind::Text(bytes) => probe.text("", bytes),
            };
            probe = tried.map_err(|e| format!("part `{field}`: {e}"))?;
        }
        Ok(KeySpec(parts))
    }
}

fn part(text: &str) -> Result<Part, String> {
    let wrong = || {
        format!(
            "`{text}` is no part of a key: write field:uN (N bits: 8, 16, 24, 32, 48, 64) for a \
             whole number, field:tN (N bytes) for text, or field:sN (N bits) for a time, such \
             as year:u16,carrier:t2"
        )
    };
    let (field, kind) = text.rsplit_once(':').ok_or_else(wrong)?;
    let width = kind.get(1..).ok_or_else(wrong)?;
    if field.is_empty() || !width.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let kind = match kind.as_bytes()[0] {
        b'u' => Kind::Uint(width.parse().map_err(|_| wrong())?),
        b's' => Kind::Seconds(width.parse().map_err(|_| wrong())?),
        b't' => Kind::Text(width.parse().ok().filter(|bytes| *bytes > 0).ok_or_else(wrong)?),
        _ => return Err(wrong()),
    };
    Ok(Part { field: field.to_owned(), kind })
}

impl KeySpec {
    /// The fields it needs.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|part| part.field.as_str())
    }

    /// The fields it takes as text, which must not be read as numbers.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let texts = self.0.iter().filter(|part| !matches!(part.kind, Kind::Uint(_)));
        texts.map(|part| part.field.as_str())
    }

    /// The key of a document. An error says which field and what to do.
    pub(crate) fn key(&self, doc: Doc<'_>) -> Result<Key, String> {
        let mut key = KeyParts::new();
        for Part { field, kind } in &self.0 {
            let value = doc.get(field).ok_or_else(|| {
                format!("it has no `{field}`, which the key is made of; give it, or change --key")
            })?;
            key = match *kind {
                Kind::Uint(bits) => key.uint(whole(field, value)?, bits),
                Kind::Text(bytes) => key.text(text(field, value)?, bytes),
                Kind::Seconds(bits) => key.uint(seconds(field, value)?, bits),
            }
            .map_err(|e| format!("field `{field}`: {e}"))?;
        }
        Ok(key.finish())
    }
}

fn whole(field: &str, value: Value<'_>) -> Result<u64, String> {
    value.as_i64().and_then(|n| u64::try_from(n).ok()).ok_or_else(|| {
        let mut shown = String::new();
        proto::json::write_value(value, &mut shown);
        format!(
            "field `{field}` is {} in this row, and its part of the key takes a whole number \
             from 0 up",
            shown.chars().take(40).collect::<String>()
        )
    })
}

fn seconds(field: &str, value: Value<'_>) -> Result<u64, String> {
    let millis = match value {
        Value::DateTime(millis) => Some(millis),
        Value::String(text) => proto::json::date_time_from_text(text),
        _ => None,
    };
    let seconds = millis.and_then(|millis| u64::try_from(millis.div_euclid(1000)).ok());
    seconds.ok_or_else(|| {
        format!(
            "field `{field}` is no time since 1970 in this row; its part of the key takes one \
             such as 2013-06-13T22:00:00Z"
        )
    })
}

fn text<'d>(field: &str, value: Value<'d>) -> Result<&'d str, String> {
    value.as_str().ok_or_else(|| {
        format!(
            "field `{field}` is {} in this row, and its part of the key takes text; write it in \
             quotes, or use {field}:uN",
            value.type_name()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::json::parse_json;

    fn spec(text: &str) -> KeySpec {
        text.parse().unwrap()
    }

    fn key(of: &str, json: &str) -> Result<String, String> {
        let bytes = parse_json(json).unwrap();
        spec(of).key(Doc::parse(&bytes).unwrap()).map(|key| key.to_string())
    }

    #[test]
    fn fields_are_packed_in_the_order_of_the_spec() {
        let json = r#"{"carrier": "UA", "year": 2013, "month": 1.0, "x": "y"}"#;
        assert_eq!(
            key("year:u16,month:u8,carrier:t3", json).unwrap(),
            "07dd01554100".to_owned() + "00000000000000000000"
        );
        // 1,383,454,800 seconds; what is less than a second is cut off.
        for time in [r#""2013-11-03T05:00:00Z""#, r#""2013-11-03T00:00:00.9-05:00""#] {
            let json = format!(r#"{{"at": {time}}}"#);
            assert_eq!(key("at:s32", &json).unwrap(), format!("5275d850{:024}", 0), "{time}");
        }
        assert_eq!(spec("a:u8,b:t2,c:t1,d:s32").texts().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!(spec("a:u8,b:t2,c:t1").texts().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(spec("a:u8,b:t2").fields().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_spec_that_is_none_says_how_to_write_one() {
        for text in [
            "", "year", "year:", "year:16", ":u8", "year:x8", "year:u", "a:u8,", "a:t0", "a:u+8",
            "a:s",
        ] {
            let error = text.parse::<KeySpec>().unwrap_err();
            assert!(error.contains("year:u16,carrier:t2"), "{text}: {error}");
        }
        assert!("a:u12".parse::<KeySpec>().unwrap_err().contains("not 12"));
        assert!("a:u64,b:t9".parse::<KeySpec>().unwrap_err().contains("17 bytes"));
        assert!("a:t17".parse::<KeySpec>().is_err());
    }

    #[test]
    fn a_value_that_does_not_fit_names_its_field() {
        for (of, json, says) in [
            ("a:u8", r#"{"b": 1}"#, "has no `a`"),
            ("a:u8", r#"{"a": 256}"#, "256 does not fit 8 bits"),
            ("a:u8", r#"{"a": -1}"#, "`a` is -1"),
            ("a:u8", r#"{"a": 1.5}"#, "`a` is 1.5"),
            ("a:u8", r#"{"a": "1"}"#, "`a` is \"1\""),
            ("a:t2", r#"{"a": 12}"#, "`a` is int32"),
            ("a:t2", r#"{"a": "ABC"}"#, "3 bytes does not fit 2"),
            ("a:t2", r#"{"a": null}"#, "`a` is null"),
            ("a:s32", r#"{"a": "noon"}"#, "`a` is no time"),
            ("a:s32", r#"{"a": "1969-12-31T23:59:59Z"}"#, "`a` is no time since 1970"),
            ("a:s32", r#"{"a": "2106-02-07T06:28:16Z"}"#, "does not fit 32 bits"),
        ] {
            let error = key(of, json).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
