//! A value held on its own.
//!
//! What must stay true: it is the value given, type and all. One of a fixed size takes no
//! memory beside its place: where rows come in the order of a field, its extreme is
//! another one with every row.

use proto::doc::{DocError, Value, ValueBuf};

/// See the module.
pub(super) enum Owned {
    Short(Value<'static>),
    Long(ValueBuf),
}

impl Owned {
    /// Copies a value.
    ///
    /// # Errors
    /// Those of [`ValueBuf::new`].
    pub(super) fn new(value: Value<'_>) -> Result<Owned, DocError> {
        Ok(Owned::Short(match value {
            Value::MinKey => Value::MinKey,
            Value::Null => Value::Null,
            Value::Int32(n) => Value::Int32(n),
            Value::Int64(n) => Value::Int64(n),
            Value::Double(d) => Value::Double(d),
            Value::Decimal128(d) => Value::Decimal128(d),
            Value::ObjectId(id) => Value::ObjectId(id),
            Value::Bool(b) => Value::Bool(b),
            Value::DateTime(n) => Value::DateTime(n),
            Value::Timestamp(t) => Value::Timestamp(t),
            Value::MaxKey => Value::MaxKey,
            Value::String(_)
            | Value::Doc(_)
            | Value::Array(_)
            | Value::Binary(_)
            | Value::Regex(_) => return Ok(Owned::Long(ValueBuf::new(value)?)),
        }))
    }

    /// The value.
    pub(super) fn get(&self) -> Value<'_> {
        match self {
            Owned::Short(value) => *value,
            Owned::Long(value) => value.get(),
        }
    }

    /// How many bytes it holds on to beside its place.
    pub(super) fn size(&self) -> usize {
        match self {
            Owned::Short(_) => 0,
            Owned::Long(value) => value.size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::doc::{Binary, Decimal128, Doc, ObjectId, Regex};
    use proto::json;

    #[test]
    fn every_value_is_the_one_given_and_a_short_one_takes_nothing() {
        let nested = json::parse_json(r#"{"a":[1,"x"]}"#).unwrap();
        let nested = Doc::parse(&nested).unwrap();
        for (value, short) in [
            (Value::MinKey, true),
            (Value::Null, true),
            (Value::Int32(-7), true),
            (Value::Int64(7), true),
            (Value::Double(0.5), true),
            (Value::Decimal128(Decimal128::from_bytes([1; 16])), true),
            (Value::ObjectId(ObjectId([2; 12])), true),
            (Value::Bool(true), true),
            (Value::DateTime(-1), true),
            (Value::Timestamp(3), true),
            (Value::MaxKey, true),
            (Value::String(""), false),
            (Value::Binary(Binary { subtype: 0, bytes: &[1, 2] }), false),
            (Value::Regex(Regex { pattern: "a", options: "i" }), false),
            (Value::Doc(nested), false),
            (nested.get("a").unwrap(), false),
        ] {
            let held = Owned::new(value).unwrap();
            assert_eq!(held.get(), value);
            assert_eq!(held.size() == 0, short, "{value:?}");
        }
        assert!(Owned::new(Value::Regex(Regex { pattern: "\0", options: "" })).is_err());
    }
}
