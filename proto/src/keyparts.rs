//! Keys made of fields: packed left to right, so that they sort by those fields.
//!
//! ```text
//! KeyParts::new().uint(2013, 16)?.uint(6, 8)?.text("JFK", 3)?
//!
//!  0        2     3              6                                16
//!  +--------+-----+--------------+---------------------------------+
//!  | 07 dd  | 06  | 'J' 'F' 'K'  | rest: 00 (finish), ff (_high)   |
//!  +--------+-----+--------------+---------------------------------+
//! ```
//!
//! What must stay true: an integer is big-endian in exactly its width, a text is
//! padded with zero bytes to exactly its width, and nothing is ever cut off. So two
//! lists of parts of the same widths give the same key only if they are equal, and
//! their keys compare as the lists do, part by part (texts as bytes). All keys that
//! begin with some parts lie from [`KeyParts::finish`] to [`KeyParts::finish_high`].

use crate::Key;
use core::fmt;

/// Bytes of a key.
const KEY_BYTES: usize = 16;

/// Builds a key from parts.
///
/// ```
/// use proto::keyparts::KeyParts;
/// # fn main() -> Result<(), proto::keyparts::KeyPartError> {
/// let june = KeyParts::new().uint(2013, 16)?.uint(6, 8)?;
/// let first = june.finish();
/// let last = june.finish_high();
/// let flight = june.uint(13, 8)?.text("JFK", 3)?.finish();
/// assert!(first <= flight && flight <= last);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyParts {
    bytes: [u8; KEY_BYTES],
    used: usize,
}

/// Why a part does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPartError {
    /// A width no integer has.
    Width {
        /// Bits asked for.
        bits: u32,
    },
    /// An integer that needs more bits than its part has.
    TooLarge {
        /// The integer.
        value: u64,
        /// Bits of the part.
        bits: u32,
    },
    /// A text that needs more bytes than its part has.
    TooLong {
        /// Bytes of the text.
        bytes: usize,
        /// Bytes of the part.
        limit: usize,
    },
    /// A text with a zero byte, which is what shorter texts are padded with.
    Nul,
    /// All parts together pass 16 bytes.
    Full {
        /// Bytes of all parts, this one included.
        bytes: usize,
    },
}

impl fmt::Display for KeyPartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPartError::Width { bits } => {
                write!(f, "an integer in a key has 8, 16, 24, 32, 48 or 64 bits, not {bits}")
            }
            KeyPartError::TooLarge { value, bits } => {
                write!(f, "{value} does not fit {bits} bits; give this part of the key more")
            }
            KeyPartError::TooLong { bytes, limit } => write!(
                f,
                "a text of {bytes} bytes does not fit {limit}; give this part of the key more"
            ),
            KeyPartError::Nul => {
                f.write_str("a text in a key cannot hold a NUL character: shorter ones end with it")
            }
            KeyPartError::Full { bytes } => write!(
                f,
                "the parts of the key make {bytes} bytes, and a key has 16; use fewer or \
                 narrower parts"
            ),
        }
    }
}

impl std::error::Error for KeyPartError {}

impl KeyParts {
    /// No parts yet.
    pub fn new() -> KeyParts {
        KeyParts::default()
    }

    /// Adds an unsigned integer of `bits` bits: 8, 16, 24, 32, 48 or 64.
    pub fn uint(self, value: u64, bits: u32) -> Result<KeyParts, KeyPartError> {
        if !matches!(bits, 8 | 16 | 24 | 32 | 48 | 64) {
            return Err(KeyPartError::Width { bits });
        }
        if bits < u64::BITS && value >> bits != 0 {
            return Err(KeyPartError::TooLarge { value, bits });
        }
        let width = bits as usize / 8;
        self.put(&value.to_be_bytes()[8 - width..], width)
    }

    /// Adds a text of at most `width` bytes, padded with zero bytes to `width`.
    pub fn text(self, text: &str, width: usize) -> Result<KeyParts, KeyPartError> {
        if text.len() > width {
            return Err(KeyPartError::TooLong { bytes: text.len(), limit: width });
        }
        if text.contains('\0') {
            return Err(KeyPartError::Nul);
        }
        self.put(text.as_bytes(), width)
    }

    fn put(mut self, bytes: &[u8], width: usize) -> Result<KeyParts, KeyPartError> {
        let end = self.used.saturating_add(width);
        if end > KEY_BYTES {
            return Err(KeyPartError::Full { bytes: end });
        }
        self.bytes[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used = end;
        Ok(self)
    }

    /// How many bytes the parts fill so far.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether there is no part so far.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The key: these parts, then zeros. Also the first of all keys that begin with
    /// these parts.
    pub fn finish(&self) -> Key {
        Key::from_bytes(self.bytes)
    }

    /// The last of all keys that begin with these parts: then all ones.
    pub fn finish_high(&self) -> Key {
        let mut bytes = self.bytes;
        bytes[self.used..].fill(0xff);
        Key::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_these_bytes() {
        let parts = KeyParts::new().uint(2013, 16).unwrap().uint(6, 8).unwrap();
        let parts = parts.text("9E", 3).unwrap().uint(0x01_02_03, 24).unwrap();
        assert_eq!(parts.len(), 9);
        assert_eq!(parts.finish().to_string(), "07dd06394500010203".to_owned() + "00000000000000");
        assert_eq!(
            parts.finish_high().to_string(),
            "07dd06394500010203".to_owned() + "ffffffffffffff"
        );
    }

    #[test]
    fn every_width_takes_its_largest_value_and_no_larger() {
        for bits in [8u32, 16, 24, 32, 48] {
            let most = (1u64 << bits) - 1;
            let key = KeyParts::new().uint(most, bits).unwrap().finish();
            assert_eq!(key.0, u128::from(most) << (128 - bits), "{bits}");
            let error = KeyParts::new().uint(most + 1, bits).unwrap_err();
            assert_eq!(error, KeyPartError::TooLarge { value: most + 1, bits });
        }
        assert_eq!(KeyParts::new().uint(u64::MAX, 64).unwrap().finish_high(), Key::MAX);
        for bits in [0, 1, 40, 56, 72, u32::MAX] {
            assert_eq!(KeyParts::new().uint(0, bits).unwrap_err(), KeyPartError::Width { bits });
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_not_cut() {
        let long = KeyParts::new().text("JFKX", 3).unwrap_err();
        assert_eq!(long, KeyPartError::TooLong { bytes: 4, limit: 3 });
        assert_eq!(KeyParts::new().text("a\0", 3).unwrap_err(), KeyPartError::Nul);
        let full = KeyParts::new().text("x", 15).unwrap();
        assert!(full.uint(1, 8).is_ok());
        assert_eq!(full.uint(1, 16).unwrap_err(), KeyPartError::Full { bytes: 17 });
        assert!(matches!(full.text("", usize::MAX), Err(KeyPartError::Full { .. })));
    }

    #[test]
    fn no_parts_span_all_keys() {
        let none = KeyParts::new();
        assert!(none.is_empty());
        assert_eq!((none.finish(), none.finish_high()), (Key::MIN, Key::MAX));
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_parts_and_lie_in_the_range_of_their_prefix(
            a in (any::<u16>(), "[ -~]{0,4}", any::<u32>()),
            b in (any::<u16>(), "[ -~]{0,4}", any::<u32>()),
        ) {
            let prefix = |of: &(u16, String, u32)| {
                KeyParts::new().uint(of.0.into(), 16).unwrap().text(&of.1, 4).unwrap()
            };
            let key = |of| prefix(of).uint(of.2.into(), 32).unwrap().finish();
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            let of_a = prefix(&a);
            let inside = of_a.finish() <= key(&b) && key(&b) <= of_a.finish_high();
            prop_assert_eq!(inside, (a.0, &a.1) == (b.0, &b.1));
        }
    }
}
