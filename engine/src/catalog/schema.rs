//! What documents of a store must look like: JSON Schema.
//!
//! What must stay true: a schema is compiled once, when it is set or loaded; it fetches
//! nothing, and its patterns take linear time. It is asked of every document written
//! from then on, in `ops/change.rs`; documents from before are left as they are.
//!
//! A document is shown to its schema as JSON: numbers of every type as numbers (a
//! decimal as the nearest double), date-times as RFC 3339 text, object ids as 24
//! hexadecimal digits, every other type as in extended JSON.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use proto::doc::{Array, Doc, Value};
use proto::json::{date_time_to_text, write_value};
use proto::{Key, Status};
use serde_json::{Map, Number, Value as Json};

use crate::Refusal;

/// Bytes of the text of a schema at most.
pub(crate) const MAX_SCHEMA: usize = 64 << 10;
/// Bytes one compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;
/// Characters of what is wrong that a message has.
const SHOWN: usize = 300;

/// A schema, compiled.
pub(crate) struct Schema {
    /// As it was set.
    pub(crate) text: String,
    validator: Validator,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.text).finish()
    }
}

impl Schema {
    /// Compiles the text of a schema.
    pub(crate) fn parse(text: &str) -> Result<Schema, Refusal> {
        let bad = |why: String| Refusal::new(Status::BadChange, format!("the schema: {why}"));
        if text.len() > MAX_SCHEMA {
            let bytes = text.len();
            return Err(bad(format!("it has {bytes} bytes, it may have {MAX_SCHEMA}: shorten it")));
        }
        if text.trim().is_empty() {
            return Err(bad("it is empty: give one such as {\"required\": [\"name\"]}".to_owned()));
        }
        let json: Json =
            serde_json::from_str(text).map_err(|e| bad(format!("it is no JSON: {e}")))?;
        if !json.is_object() {
            return Err(bad("it must be an object, such as {\"required\": [\"name\"]}".to_owned()));
        }
        let patterns = PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .offline()
            .build(&json)
            .map_err(|e| {
                let place = e.instance_path().to_string();
                let fault = short(&e.to_string());
                bad(format!(
                    "{}{fault}; mend it there and set it again, nothing was changed",
                    at(&place)
                ))
            })?;
        Ok(Schema { text: text.to_owned(), validator })
    }

    /// Whether a document may be written.
    ///
    /// # Errors
    /// The path that failed, and how.
    pub(crate) fn check(&self, key: Key, doc: Doc<'_>) -> Result<(), Refusal> {
        let json = object(doc);
        let Err(error) = self.validator.validate(&json) else { return Ok(()) };
        let place = error.instance_path().to_string();
        let message = format!(
            "document {key} is not as the store's schema asks: {}{}",
            at(&place),
            short(&error.to_string())
        );
        Err(Refusal::new(Status::SchemaMismatch, message))
    }
}

fn at(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!("at {place}: ") }
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push_str("..");
    }
    short
}

fn object(doc: Doc<'_>) -> Json {
    Json::Object(
        doc.iter().map(|(name, value)| (name.to_owned(), json(value))).collect::<Map<_, _>>(),
    )
}

fn array(items: Array<'_>) -> Json {
    Json::Array(items.iter().map(json).collect())
}

fn json(value: Value<'_>) -> Json {
    let double = |d: f64| Number::from_f64(d).map(Json::Number);
    let whole = match value {
        Value::Null => Some(Json::Null),
        Value::Bool(yes) => Some(Json::Bool(yes)),
        Value::Int32(n) => Some(n.into()),
        Value::Int64(n) => Some(n.into()),
        Value::Double(d) => double(d),
        Value::Decimal128(d) => d.to_string().parse().ok().and_then(double),
        Value::String(text) => Some(text.into()),
        Value::Doc(doc) => Some(object(doc)),
        Value::Array(items) => Some(array(items)),
        Value::DateTime(millis) => date_time_to_text(millis).map(Json::String),
        Value::ObjectId(id) => {
            Some(Json::String(id.0.iter().map(|byte| format!("{byte:02x}")).collect()))
        }
        _ => None,
    };
    whole.unwrap_or_else(|| {
        let mut text = String::new();
        write_value(value, &mut text);
        serde_json::from_str(&text).unwrap_or(Json::Null)
    })
}
