//! The record: one value, as bytes; and the pointer to it.
//!
//! Must stay true: both checksums begin with the place (segment, offset), and
//! together they cover every other byte, so a record is sound only where it was
//! written; lengths are used only after they add up to the pointer's, or after the
//! header has checked by itself (a walk).
//!
//! crc32c, since of 400 B it takes a fifth of the time of a crc64, and each read
//! verifies (`docs/decisions/0019-reads.md`); who reads a record by its pointer
//! compares length, keyspace and key with the tree's besides.
//!
//! ```text
//!  0       2     3       4          8
//! +-------+-----+-------+----------+
//! | magic | ver | flags | keyspace |  flags: compression, 0 = none; others refused
//! +-------+-----+-------+----------+
//! | lsn                            |  8
//! +---------------------+----+-----+
//! | value_len           | kl | zero|  16  kl: key length, u16
//! +---------------------+----+-----+
//! | head sum      | sum            |  24  head sum: crc32c(place, bytes 0..24)
//! +---------------+----------------+      sum: crc32c(place, bytes 0..24, key, value)
//! | key, value (no padding)        |  32
//! +--------------------------------+
//! place = segment, offset: 2 x 8 bytes, little-endian
//! ```

use crc_fast::{CrcAlgorithm, Digest};
use std::fmt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 2] = *b"PV";
const VERSION: u8 = 2;
pub(crate) const HEADER_LEN: usize = 32;
const CHECKED: usize = 24;

/// The longest key of a record: 1 KiB.
pub const MAX_KEY_BYTES: usize = 1024;
/// The longest value of a record: 64 MiB.
pub const MAX_VALUE_BYTES: usize = 64 << 20;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 2],
    version: u8,
    flags: u8,
    keyspace: U32,
    lsn: U64,
    value_len: U32,
    key_len: U16,
    zero: U16,
    head_sum: U32,
    sum: U32,
}
const _: () = assert!(size_of::<Header>() == HEADER_LEN);
const _: () = assert!(std::mem::offset_of!(Header, head_sum) == CHECKED);

/// Where a record lies. Sorts by segment, then length, then offset; kept in
/// tree leaves as the 16 bytes of [`Pointer::to_bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    /// The segment's number.
    pub segment: u32,
    /// Bytes of the whole record.
    pub len: u32,
    /// Where it begins in the file.
    pub offset: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawPointer {
    segment: U32,
    len: U32,
    offset: U64,
}
const _: () = assert!(size_of::<RawPointer>() == Pointer::BYTES);

impl Pointer {
    /// Bytes of a pointer on the disk: segment (4), length (4), offset (8), little-endian.
    pub const BYTES: usize = 16;

    /// The bytes kept in tree leaves.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let raw = RawPointer {
            segment: self.segment.into(),
            len: self.len.into(),
            offset: self.offset.into(),
        };
        let mut out = [0; Self::BYTES];
        out.copy_from_slice(raw.as_bytes());
        out
    }

    /// The pointer in `bytes`, or `None` if they are not 16.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let raw = RawPointer::read_from_bytes(bytes).ok()?;
        Some(Self { segment: raw.segment.get(), len: raw.len.get(), offset: raw.offset.get() })
    }
}

/// A verified record in a borrowed buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Whose it is.
    pub keyspace: u32,
    /// The commit that wrote it.
    pub lsn: u64,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// Why bytes are not the record a pointer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Short,
    Magic,
    Version(u8),
    Flags(u8),
    Length,
    Checksum,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "the record is cut short"),
            Self::Magic => write!(f, "no record starts here"),
            Self::Version(v) => write!(f, "the record has the unknown version {v}"),
            Self::Flags(v) => write!(f, "the record has the unknown compression {v}"),
            Self::Length => write!(f, "the record's lengths do not add up"),
            Self::Checksum => write!(f, "the record does not match its checksum"),
        }
    }
}

/// Bytes of a record.
pub(crate) fn record_len(key_len: usize, value_len: usize) -> u64 {
    HEADER_LEN as u64 + key_len as u64 + value_len as u64
}

/// Of the place and the first 24 bytes of a header.
fn digest(segment: u32, offset: u64, head: &[u8]) -> Digest {
    let mut bytes = [0; 16 + CHECKED];
    bytes[..8].copy_from_slice(&u64::from(segment).to_le_bytes());
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    bytes[16..].copy_from_slice(head);
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&bytes);
    digest
}

/// The checksum so far: 32 bits.
fn sum(digest: &Digest) -> u32 {
    digest.finalize() as u32
}

/// The header of a record; key and value follow it. Lengths are within
/// [`MAX_KEY_BYTES`] and [`MAX_VALUE_BYTES`] (the caller refused others).
pub(crate) fn header(
    segment: u32,
    offset: u64,
    keyspace: u32,
    key: &[u8],
    lsn: u64,
    value: &[u8],
) -> [u8; HEADER_LEN] {
    let mut header = Header {
        magic: MAGIC,
        version: VERSION,
        flags: 0,
        keyspace: keyspace.into(),
        lsn: lsn.into(),
        value_len: (value.len() as u32).into(),
        key_len: (key.len() as u16).into(),
        zero: 0.into(),
        head_sum: 0.into(),
        sum: 0.into(),
    };
    let mut digest = digest(segment, offset, &header.as_bytes()[..CHECKED]);
    header.head_sum = sum(&digest).into();
    digest.update(key);
    digest.update(value);
    header.sum = sum(&digest).into();
    let mut out = [0; HEADER_LEN];
    out.copy_from_slice(header.as_bytes());
    out
}

/// The length that the header at a place gives its record: verified with the header,
/// so that a walk goes on by it. The rest of the record is not looked at.
pub(crate) fn claimed_len(bytes: &[u8], segment: u32, offset: u64) -> Result<u64, Flaw> {
    let (h, len) = head(bytes)?;
    if sum(&digest(segment, offset, &bytes[..CHECKED])) != h.head_sum.get() {
        return Err(Flaw::Checksum);
    }
    Ok(len)
}

/// A header that may be one, and the length it gives: within the limits, unverified.
fn head(bytes: &[u8]) -> Result<(&Header, u64), Flaw> {
    let Ok((h, _)) = Header::ref_from_prefix(bytes) else { return Err(Flaw::Short) };
    if h.magic != MAGIC {
        return Err(Flaw::Magic);
    }
    if h.version != VERSION {
        return Err(Flaw::Version(h.version));
    }
    let (key_len, value_len) = (usize::from(h.key_len.get()), h.value_len.get() as usize);
    if key_len > MAX_KEY_BYTES || value_len > MAX_VALUE_BYTES {
        return Err(Flaw::Length);
    }
    Ok((h, record_len(key_len, value_len)))
}

/// The parts of a record that [`check`] has passed.
pub(crate) fn split(bytes: &[u8]) -> Result<RecordRef<'_>, Flaw> {
    let Ok((h, rest)) = Header::ref_from_prefix(bytes) else { return Err(Flaw::Short) };
    let Some((key, value)) = rest.split_at_checked(usize::from(h.key_len.get())) else {
        return Err(Flaw::Length);
    };
    Ok(RecordRef { keyspace: h.keyspace.get(), lsn: h.lsn.get(), key, value })
}

/// Verifies that `bytes` are exactly the record written at this place.
pub(crate) fn check(bytes: &[u8], segment: u32, offset: u64) -> Result<RecordRef<'_>, Flaw> {
    let (h, len) = head(bytes)?;
    if len != bytes.len() as u64 {
        return Err(Flaw::Length);
    }
    let mut digest = digest(segment, offset, &bytes[..CHECKED]);
    let head_sum = sum(&digest);
    digest.update(&bytes[HEADER_LEN..]);
    if head_sum != h.head_sum.get() || sum(&digest) != h.sum.get() {
        return Err(Flaw::Checksum);
    }
    if h.flags != 0 || h.zero.get() != 0 {
        return Err(Flaw::Flags(h.flags));
    }
    split(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(
        segment: u32,
        offset: u64,
        keyspace: u32,
        key: &[u8],
        lsn: u64,
        value: &[u8],
    ) -> Vec<u8> {
        let mut out = header(segment, offset, keyspace, key, lsn, value).to_vec();
        out.extend_from_slice(key);
        out.extend_from_slice(value);
        out
    }

    #[test]
    fn golden_bytes_of_version_2() {
        let hex: String = record(3, 64, 9, b"key", 17, b"value")
            .chunks(8)
            .map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
            .collect();
        expect_test::expect![[r#"
            5056020009000000
            1100000000000000
            0500000003000000
            de1f77494599287b
            6b657976616c7565
        "#]]
        .assert_eq(&hex);
    }

    #[test]
    fn golden_bytes_of_a_pointer() {
        let at = Pointer { segment: 1, len: 0x203, offset: 0x0405_0607 };
        assert_eq!(at.to_bytes(), [1, 0, 0, 0, 3, 2, 0, 0, 7, 6, 5, 4, 0, 0, 0, 0]);
        assert_eq!(Pointer::from_bytes(&at.to_bytes()), Some(at));
        assert_eq!(Pointer::from_bytes(&[0; 15]), None);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = record(3, 64, 9, b"key", 17, b"value");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad, 3, 64).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_walk_goes_by_a_length_that_was_verified() {
        let good = record(3, 64, 9, b"key", 17, b"value");
        let len = |bytes: &[u8]| claimed_len(bytes, 3, 64);
        // The header is enough,
        assert_eq!(len(&good[..HEADER_LEN]), Ok(40));
        assert_eq!(len(&good[..HEADER_LEN - 1]), Err(Flaw::Short));
        assert_eq!(claimed_len(&good, 3, 65), Err(Flaw::Checksum));
        // none of its bits counts unverified,
        for bit in 0..28 * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(len(&bad).is_err(), "bit {bit}");
        }
        // and damage behind it does not hide where the next record begins.
        let mut bad = good.clone();
        bad[33] ^= 1;
        assert_eq!((len(&bad), check(&bad, 3, 64)), (Ok(40), Err(Flaw::Checksum)));
    }

    #[test]
    fn a_record_checks_at_its_own_place_only() {
        let good = record(3, 64, 9, b"key", 17, b"value");
        assert!(check(&good, 3, 64).is_ok());
        assert_eq!(check(&good, 4, 64), Err(Flaw::Checksum));
        assert_eq!(check(&good, 3, 65), Err(Flaw::Checksum));
    }

    #[test]
    fn a_compression_this_version_does_not_know_is_refused() {
        // A writer of a later minor version would checksum its flag properly.
        let mut bytes = record(3, 64, 9, b"key", 17, b"value");
        bytes[3] = 1;
        let mut digest = digest(3, 64, &bytes[..CHECKED]);
        bytes[CHECKED..28].copy_from_slice(&sum(&digest).to_le_bytes());
        digest.update(&bytes[HEADER_LEN..]);
        bytes[28..HEADER_LEN].copy_from_slice(&sum(&digest).to_le_bytes());
        assert_eq!(check(&bytes, 3, 64), Err(Flaw::Flags(1)));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            segment: u32, offset: u64, keyspace: u32, lsn: u64,
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let bytes = record(segment, offset, keyspace, &key, lsn, &value);
            let read = check(&bytes, segment, offset).unwrap();
            prop_assert_eq!(read, RecordRef { keyspace, lsn, key: &key, value: &value });
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(check(&bytes, 1, 64).is_err());
        }
    }
}
