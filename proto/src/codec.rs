//! The few shapes that bodies are made of, read and written.
//!
//! ```text
//! u8 u16 u32 u64   little-endian
//! key              16 bytes, big-endian: they sort as the number does
//! str16            u16 length, that many bytes of UTF-8
//! bytes16          u16 length, that many bytes
//! bytes32          u32 length, that many bytes
//! rest             all that is left of the body
//! ```
//!
//! Invariant: a [`Reader`] never reads past its bytes and never panics; every
//! length is checked before it is used.

use crate::Key;
use core::fmt;

/// Why bytes could not be read as the message they should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What was being read, e.g. `store name`.
    pub what: &'static str,
    /// What is wrong with it, as the end of a sentence: "ends early".
    pub fault: &'static str,
}

impl DecodeError {
    pub(crate) fn new(what: &'static str, fault: &'static str) -> Self {
        Self { what, fault }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed message: the {} {}", self.what, self.fault)
    }
}

impl std::error::Error for DecodeError {}

/// Reads the shapes above off a byte slice, front to back.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if len > self.left.len() {
            return Err(DecodeError::new(what, "ends early"));
        }
        let (head, tail) = self.left.split_at(len);
        self.left = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.take(N, what)?;
        bytes.try_into().map_err(|_| DecodeError::new(what, "ends early"))
    }

    /// A byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// A byte that must be 0 or 1.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::new(what, "is neither 0 nor 1")),
        }
    }

    /// Two bytes.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A key.
    pub fn key(&mut self, what: &'static str) -> Result<Key, DecodeError> {
        self.array(what).map(Key::from_bytes)
    }

    /// A flag, then a key that means something only if the flag is 1 (else zeros).
    pub fn optional_key(&mut self, what: &'static str) -> Result<Option<Key>, DecodeError> {
        let present = self.flag(what)?;
        let key = self.key(what)?;
        match (present, key.0) {
            (true, _) => Ok(Some(key)),
            (false, 0) => Ok(None),
            (false, _) => Err(DecodeError::new(what, "is absent but not zero")),
        }
    }

    /// A short text.
    pub fn str16(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes16(what)?;
        core::str::from_utf8(bytes).map_err(|_| DecodeError::new(what, "is not UTF-8"))
    }

    /// Short bytes.
    pub fn bytes16(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(what)?;
        self.take(usize::from(len), what)
    }

    /// Bytes.
    pub fn bytes32(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u32(what)?;
        self.take(len as usize, what)
    }

    /// A BSON document, by the length it begins with. Only that length is checked.
    pub fn document(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let mut peek = *self;
        let len = peek.u32(what)? as usize;
        if len < 5 {
            return Err(DecodeError::new(what, "is shorter than the empty document"));
        }
        self.take(len, what)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.left)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Fails unless everything was read.
    pub fn done(self, what: &'static str) -> Result<(), DecodeError> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::new(what, "has bytes left over"))
        }
    }
}

/// Writes the shapes above at the end of a vector.
pub trait Write {
    /// A short text, cut at a character boundary if it is longer than 65,535 bytes.
    fn put_str16(&mut self, text: &str);
    /// Short bytes.
    ///
    /// # Panics
    /// If they are more than 65,535: callers check what comes from outside.
    fn put_bytes16(&mut self, bytes: &[u8]);
    /// Bytes.
    ///
    /// # Panics
    /// If they are 4 GiB or more.
    fn put_bytes32(&mut self, bytes: &[u8]);
    /// A key or its absence.
    fn put_optional_key(&mut self, key: Option<Key>);
}

impl Write for Vec<u8> {
    fn put_str16(&mut self, text: &str) {
        let mut end = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.put_bytes16(&text.as_bytes()[..end]);
    }

    fn put_bytes16(&mut self, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).expect("callers check lengths from outside");
        self.extend_from_slice(&len.to_le_bytes());
        self.extend_from_slice(bytes);
    }

    fn put_bytes32(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).expect("callers check lengths from outside");
        self.extend_from_slice(&len.to_le_bytes());
        self.extend_from_slice(bytes);
    }

    fn put_optional_key(&mut self, key: Option<Key>) {
        self.push(u8::from(key.is_some()));
        self.extend_from_slice(&key.unwrap_or_default().to_bytes());
    }
}
