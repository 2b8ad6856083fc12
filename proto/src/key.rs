//! 128-bit primary keys.
//!
//! Invariant: the bytes of a key, big-endian, sort as the number sorts; stores
//! keep documents in that order.

use core::fmt;
use core::str::FromStr;

/// The primary key of a document. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u128);

impl Key {
    /// The smallest key.
    pub const MIN: Key = Key(0);
    /// The largest key.
    pub const MAX: Key = Key(u128::MAX);

    /// A time-ordered key in the layout of UUID version 7: 48 bits of
    /// milliseconds since 1970, the version, 12 bits of `sequence`, the variant,
    /// 62 bits of `random`. Keys of one process that pass a rising
    /// (`millis`, `sequence`) sort in the order they were made.
    pub fn time_ordered(millis: u64, sequence: u16, random: u64) -> Key {
        let high = (millis << 16) | 0x7000 | u64::from(sequence & 0x0fff);
        let low = (0b10 << 62) | (random >> 2);
        Key((u128::from(high) << 64) | u128::from(low))
    }

    /// Big-endian bytes, as stored and sent.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The key of big-endian bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Key {
        Key(u128::from_be_bytes(bytes))
    }

    /// The key after this one, if any.
    pub fn next(self) -> Option<Key> {
        self.0.checked_add(1).map(Key)
    }

    /// The key before this one, if any.
    pub fn previous(self) -> Option<Key> {
        self.0.checked_sub(1).map(Key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is 32 hexadecimal digits, such as 0190b0c2a1d07e3f8c4d5e6f708192a3")
    }
}

impl std::error::Error for KeyError {}

impl FromStr for Key {
    type Err = KeyError;

    /// Exactly 32 hexadecimal digits of either case; no sign, no prefix.
    fn from_str(text: &str) -> Result<Key, KeyError> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(KeyError);
        }
        u128::from_str_radix(text, 16).map(Key).map_err(|_| KeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip_and_sort() {
        let key = Key(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(key.to_string(), "0123456789abcdef0011223344556677");
        assert_eq!("0123456789ABCDEF0011223344556677".parse(), Ok(key));
        assert_eq!(Key::from_bytes(key.to_bytes()), key);
        assert!(Key(255).to_bytes() < Key(256).to_bytes());
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        for text in
            ["", "1", "+123456789abcdef0011223344556677a", "zz23456789abcdef0011223344556677"]
        {
            assert_eq!(text.parse::<Key>(), Err(KeyError), "{text}");
        }
    }

    #[test]
    fn time_ordered_keys_follow_time_then_sequence() {
        let a = Key::time_ordered(1_700_000_000_000, 5, u64::MAX);
        let b = Key::time_ordered(1_700_000_000_000, 6, 0);
        let c = Key::time_ordered(1_700_000_000_001, 0, 0);
        assert!(a < b && b < c);
        assert_eq!(a.to_string(), "018bcfe568007005bfffffffffffffff");
    }
}
