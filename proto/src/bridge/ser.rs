//! Writing: serde's calls become pushes on a [`DocBuf`].

use super::Error;
use super::types::{DATE_TIME, DECIMAL128, OBJECT_ID, TIMESTAMP};
use crate::doc::{Binary, Decimal128, DocBuf, MAX_DEPTH, ObjectId, Value};
use serde::ser::{self, Serialize, Serializer};

pub(super) fn document<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut out = DocBuf::new();
    value.serialize(Writer { out: &mut out, slot: Slot::Top, special: None })?;
    Ok(out.finish()?)
}

/// Where a value goes.
#[derive(Clone, Copy)]
enum Slot<'n> {
    /// It is the document itself, which is open already.
    Top,
    Field(&'n str),
    Item,
}

/// Writes one value.
struct Writer<'d, 'n> {
    out: &'d mut DocBuf,
    slot: Slot<'n>,
    /// The name of the newtype struct around it, if it is one of `types`.
    special: Option<&'static str>,
}

impl<'d> Writer<'d, '_> {
    fn put(self, value: Value<'_>) -> Result<(), Error> {
        match self.slot {
            Slot::Top => Err(not_a_document(value.type_name())),
            Slot::Field(name) => {
                self.out.value(Some(name), value);
                Ok(())
            }
            Slot::Item => {
                self.out.value(None, value);
                Ok(())
            }
        }
    }

    /// Opens a document or array here; all that is written next lies in it.
    fn open(self, array: bool) -> Result<Compound<'d>, Error> {
        let name = match self.slot {
            Slot::Top if array => return Err(not_a_document("sequence")),
            Slot::Top => return Ok(Compound { out: self.out, opened: 0, key: None, index: 0 }),
            Slot::Field(name) => Some(name),
            Slot::Item => None,
        };
        let mut compound = Compound { out: self.out, opened: 0, key: None, index: 0 };
        compound.begin(name, array)?;
        Ok(compound)
    }

    /// Opens what an enum variant holds: a document of one field, and in it more.
    fn variant(self, variant: &'static str, array: bool) -> Result<Compound<'d>, Error> {
        let mut compound = self.open(false)?;
        compound.begin(Some(variant), array)?;
        Ok(compound)
    }
}

fn not_a_document(kind: &str) -> Error {
    Error::new(format!("a value of type {kind} is no document; wrap it in a struct or a map"))
}

macro_rules! put {
    ($($method:ident($kind:ty) => |$v:ident| $value:expr;)*) => {$(
        fn $method(self, $v: $kind) -> Result<(), Error> { self.put($value) }
    )*};
}

impl<'d> Serializer for Writer<'d, '_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'d>;
    type SerializeTuple = Compound<'d>;
    type SerializeTupleStruct = Compound<'d>;
    type SerializeTupleVariant = Compound<'d>;
    type SerializeMap = Compound<'d>;
    type SerializeStruct = Compound<'d>;
    type SerializeStructVariant = Compound<'d>;

    put! {
        serialize_bool(bool) => |v| Value::Bool(v);
        serialize_i8(i8) => |v| Value::Int32(v.into());
        serialize_i16(i16) => |v| Value::Int32(v.into());
        serialize_i32(i32) => |v| Value::Int32(v);
        serialize_u8(u8) => |v| Value::Int32(v.into());
        serialize_u16(u16) => |v| Value::Int32(v.into());
        serialize_u32(u32) => |v| Value::Int64(v.into());
        serialize_f32(f32) => |v| Value::Double(v.into());
        serialize_f64(f64) => |v| Value::Double(v);
        serialize_char(char) => |v| Value::String(v.encode_utf8(&mut [0; 4]));
        serialize_str(&str) => |v| Value::String(v);
    }

    fn serialize_i64(self, v: i64) -> Result<(), Error> {
        let date_time = self.special == Some(DATE_TIME);
        self.put(if date_time { Value::DateTime(v) } else { Value::Int64(v) })
    }

    fn serialize_u64(self, v: u64) -> Result<(), Error> {
        if self.special == Some(TIMESTAMP) {
            return self.put(Value::Timestamp(v));
        }
        self.serialize_u128(v.into())
    }

    fn serialize_i128(self, v: i128) -> Result<(), Error> {
        match i64::try_from(v) {
            Ok(n) => self.put(Value::Int64(n)),
            Err(_) => self.put(long(Decimal128::from_i128(v))?),
        }
    }

    fn serialize_u128(self, v: u128) -> Result<(), Error> {
        // What passes i128 has more than 34 digits, so the largest stands for it.
        self.serialize_i128(i128::try_from(v).unwrap_or(i128::MAX))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let value = match self.special {
            Some(OBJECT_ID) => bytes.try_into().ok().map(|id| Value::ObjectId(ObjectId(id))),
            Some(DECIMAL128) => {
                bytes.try_into().ok().map(|d| Value::Decimal128(Decimal128::from_bytes(d)))
            }
            _ => Some(Value::Binary(Binary { subtype: 0, bytes })),
        };
        self.put(value.ok_or_else(|| Error::new("a value of the wrong length"))?)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.put(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.put(Value::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.put(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.put(Value::String(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.special = name.starts_with('$').then_some(name);
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut compound = self.open(false)?;
        compound.field(variant, value)?;
        compound.close()
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Compound<'d>, Error> {
        self.open(true)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Compound<'d>, Error> {
        self.open(true)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Compound<'d>, Error> {
        self.open(true)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'d>, Error> {
        self.variant(variant, true)
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Compound<'d>, Error> {
        self.open(false)
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Compound<'d>, Error> {
        self.open(false)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'d>, Error> {
        self.variant(variant, false)
    }
}

fn long(decimal: Option<Decimal128>) -> Result<Value<'static>, Error> {
    decimal
        .map(Value::Decimal128)
        .ok_or_else(|| Error::new("the integer has more than 34 digits; keep it as a string"))
}

/// Fields or items being written one by one.
struct Compound<'d> {
    out: &'d mut DocBuf,
    /// How many documents and arrays are to be closed at the end.
    opened: usize,
    /// A map's key, until its value comes.
    key: Option<String>,
    /// The item to come, for errors.
    index: usize,
}

impl Compound<'_> {
    fn begin(&mut self, name: Option<&str>, array: bool) -> Result<(), Error> {
        // Checked here and not at the end: a value that holds itself has none.
        if self.out.begin(name, array) > MAX_DEPTH {
            return Err(Error::new(format!("documents are nested deeper than {MAX_DEPTH}")));
        }
        self.opened += 1;
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        let writer = Writer { out: self.out, slot: Slot::Field(name), special: None };
        value.serialize(writer).map_err(|error| error.within(name))
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let writer = Writer { out: self.out, slot: Slot::Item, special: None };
        value.serialize(writer).map_err(|error| error.within(&self.index.to_string()))?;
        self.index += 1;
        Ok(())
    }

    fn close(self) -> Result<(), Error> {
        for _ in 0..self.opened {
            self.out.end();
        }
        Ok(())
    }
}

macro_rules! compound {
    (items: $($kind:ident::$method:ident;)*) => {$(
        impl ser::$kind for Compound<'_> {
            type Ok = ();
            type Error = Error;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }
            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )*};
    (fields: $($kind:ident;)*) => {$(
        impl ser::$kind for Compound<'_> {
            type Ok = ();
            type Error = Error;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.field(name, value)
            }
            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )*};
}

compound! { items:
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

compound! { fields:
    SerializeStruct;
    SerializeStructVariant;
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key = Some(key.serialize(super::key::KeyWriter)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let key = self.key.take().ok_or_else(|| Error::new("a map gave a value before its key"))?;
        self.field(&key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}
