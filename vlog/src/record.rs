//! The record: one value, as bytes; and the pointer to it.
//!
//! Must stay true: the checksum begins with the place (segment, offset) and
//! covers every other byte, so a record is sound only where it was written;
//! lengths are used only after they add up to the pointer's.
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
//! | checksum                       |  24  crc64(place, bytes 0..24, key, value)
//! +--------------------------------+
//! | key, value (no padding)        |  32
//! +--------------------------------+
//! place = segment, offset: 2 x 8 bytes, little-endian
//! ```

use crc_fast::{CrcAlgorithm, Digest};
use std::fmt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 2] = *b"PV";
const VERSION: u8 = 1;
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
    checksum: U64,
}
const _: () = assert!(size_of::<Header>() == HEADER_LEN);
const _: () = assert!(std::mem::offset_of!(Header, checksum) == CHECKED);

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

fn digest(segment: u32, offset: u64, head: &[u8]) -> Digest {
    let mut bytes = [0; 16 + CHECKED];
    bytes[..8].copy_from_slice(&u64::from(segment).to_le_bytes());
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    bytes[16..].copy_from_slice(head);
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(&bytes);
    digest
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
        checksum: 0.into(),
    };
    let mut digest = digest(segment, offset, &header.as_bytes()[..CHECKED]);
    digest.update(key);
    digest.update(value);
    header.checksum = digest.finalize().into();
    let mut out = [0; HEADER_LEN];
    out.copy_from_slice(header.as_bytes());
    out
}

/// The length a header claims, not yet verified but within the limits: for
/// walking a segment.
pub(crate) fn claimed_len(bytes: &[u8]) -> Result<u64, Flaw> {
    let Ok((h, _)) = Header::ref_from_prefix(bytes) else { return Err(Flaw::Short) };
    if h.magic != MAGIC {
        return Err(Flaw::Magic);
    }
    let (key_len, value_len) = (usize::from(h.key_len.get()), h.value_len.get() as usize);
    if key_len > MAX_KEY_BYTES || value_len > MAX_VALUE_BYTES {
        return Err(Flaw::Length);
    }
    Ok(record_len(key_len, value_len))
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
    let Ok((h, rest)) = Header::ref_from_prefix(bytes) else { return Err(Flaw::Short) };
    if h.magic != MAGIC {
        return Err(Flaw::Magic);
    }
    if h.version != VERSION {
        return Err(Flaw::Version(h.version));
    }
    if claimed_len(bytes)? != bytes.len() as u64 {
        return Err(Flaw::Length);
    }
    let mut digest = digest(segment, offset, &bytes[..CHECKED]);
    digest.update(rest);
    if digest.finalize() != h.checksum.get() {
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
    fn golden_bytes_of_version_1() {
        let hex: String = record(3, 64, 9, b"key", 17, b"value")
            .chunks(8)
            .map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
            .collect();
        expect_test::expect![[r#"
            5056010009000000
            1100000000000000
            0500000003000000
            b387ec6e88d7633f
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
        digest.update(&bytes[HEADER_LEN..]);
        bytes[CHECKED..HEADER_LEN].copy_from_slice(&digest.finalize().to_le_bytes());
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
