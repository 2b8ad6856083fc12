//! The frame: one atomic batch, as bytes.
//!
//! Must stay true:
//! * a frame starts at a multiple of 8 and its padding is zero;
//! * every byte is checked: the payload by its own checksum, which stands in the
//!   header; the header by another, which begins with the *place* (salt, segment
//!   number, epoch, offset). So a frame copied elsewhere, or left over from an earlier
//!   use of the file, never checks; the salt is unknown to clients, so a document
//!   cannot contain a frame. The payload's checksum needs neither LSN nor place:
//!   it is computed before any lock is taken;
//! * `header_check` alone vouches for the header: lengths are trusted only after
//!   it holds, and recovery can use a header whose payload is damaged.
//!
//! ```text
//!  0       4     6     8        12       16
//! +-------+-----+-----+--------+--------+
//! | magic | ver | hdr | length | flags  |  length: payload bytes; flags: 1 end mark
//! +-------+-----+-----+--------+--------+
//! | lsn               | wall_micros     |  16
//! +-------------------+-----------------+
//! | epoch             | durable_lsn     |  32
//! +-------------------+-----------------+
//! | payload_check     | header_check    |  48
//! +-------------------+-----------------+
//! | payload, then zeros to a multiple of 8 |  64
//! +----------------------------------------+
//! payload_check = crc32c(payload)
//! header_check  = crc64(place, bytes 0..56, 40 zeros)
//! place         = salt, segment number, epoch, offset: 4 x 8 bytes, little-endian
//! ```
//!
//! An end mark is a header alone, with the LSN that comes next. Recovery writes it
//! behind the last frame of a life, before it begins another.

use crate::Lsn;
use crc_fast::{CrcAlgorithm, checksum};
use std::fmt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// "PLKF" as bytes.
pub(crate) const MAGIC: [u8; 4] = *b"PLKF";
pub(crate) const VERSION: u16 = 2;
pub(crate) const HEADER_LEN: usize = 64;
/// Bytes of the header under `header_check`.
const CHECKED: usize = 56;
/// The flag of an end mark.
const MARK: u32 = 1;

/// The largest payload of one frame: 64 MiB. Lengths beyond it are damage.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    magic: [u8; 4],
    version: U16,
    header_len: U16,
    payload_len: U32,
    flags: U32,
    lsn: U64,
    wall_micros: U64,
    epoch: U64,
    durable_lsn: U64,
    payload_check: U64,
    header_check: U64,
}
const _: () = assert!(size_of::<Header>() == HEADER_LEN);
const _: () = assert!(std::mem::offset_of!(Header, header_check) == CHECKED);
const _: () = assert!(HEADER_LEN.is_multiple_of(8));

/// Where a frame lies: goes into its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) salt: u64,
    pub(crate) segment: u64,
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
}

/// What a frame says about itself, read from a header that checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) lsn: Lsn,
    pub(crate) wall_micros: u64,
    pub(crate) epoch: u64,
    /// The newest durable frame when this one was written.
    pub(crate) durable_lsn: Lsn,
    pub(crate) payload_len: usize,
    /// No frame: the mark behind the last one.
    pub(crate) is_mark: bool,
    payload_check: u64,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Short,
    Magic,
    Version(u16),
    HeaderCheck,
    Flags(u32),
    Length(u32),
    Checksum,
    Padding,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "the file ends inside the frame"),
            Self::Magic => write!(f, "no frame starts here"),
            Self::Version(v) => write!(f, "the frame has the unknown version {v}"),
            Self::HeaderCheck => write!(f, "the frame's header does not match its checksum"),
            Self::Flags(v) => write!(f, "the frame has the unknown flags {v:#x}"),
            Self::Length(v) => write!(f, "the frame claims {v} bytes, more than a frame may have"),
            Self::Padding => write!(f, "the bytes between the frame and the next are not zero"),
            Self::Checksum => write!(f, "the frame's payload does not match its checksum"),
        }
    }
}

/// Bytes a frame takes in the file, padding included.
pub(crate) fn frame_len(payload_len: usize) -> u64 {
    (HEADER_LEN + payload_len.next_multiple_of(8)) as u64
}

/// A payload's checksum, for [`header`]: 32 bits in a field of 64.
pub(crate) fn payload_check(payload: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc32Iscsi, payload)
}

fn header_check(place: Place, head: &[u8]) -> u64 {
    debug_assert_eq!(head.len(), CHECKED);
    // Whole blocks of 128 are what the library is quick at.
    let mut bytes = [0; 128];
    bytes[..8].copy_from_slice(&place.salt.to_le_bytes());
    bytes[8..16].copy_from_slice(&place.segment.to_le_bytes());
    bytes[16..24].copy_from_slice(&place.epoch.to_le_bytes());
    bytes[24..32].copy_from_slice(&place.offset.to_le_bytes());
    bytes[32..32 + CHECKED].copy_from_slice(head);
    checksum(CrcAlgorithm::Crc64Nvme, &bytes)
}

/// What a new frame's header is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New {
    pub(crate) lsn: Lsn,
    pub(crate) wall_micros: u64,
    pub(crate) epoch: u64,
    pub(crate) durable_lsn: Lsn,
    /// Within [`MAX_PAYLOAD_BYTES`]: the caller refused others.
    pub(crate) payload_len: usize,
    pub(crate) payload_check: u64,
}

/// The header of a frame at `place`.
pub(crate) fn header(place: Place, new: &New) -> [u8; HEADER_LEN] {
    flagged(place, new, 0)
}

/// The mark behind the last frame of a life; `next` is the LSN that comes next.
pub(crate) fn mark(place: Place, next: Lsn, epoch: u64) -> [u8; HEADER_LEN] {
    let (wall_micros, durable_lsn, payload_len, payload_check) = (0, 0, 0, 0);
    let new = New { lsn: next, wall_micros, epoch, durable_lsn, payload_len, payload_check };
    flagged(place, &new, MARK)
}

fn flagged(place: Place, new: &New, flags: u32) -> [u8; HEADER_LEN] {
    let mut header = Header {
        magic: MAGIC,
        version: VERSION.into(),
        header_len: (HEADER_LEN as u16).into(),
        payload_len: (new.payload_len as u32).into(),
        flags: flags.into(),
        lsn: new.lsn.into(),
        wall_micros: new.wall_micros.into(),
        epoch: new.epoch.into(),
        durable_lsn: new.durable_lsn.into(),
        payload_check: new.payload_check.into(),
        header_check: 0.into(),
    };
    header.header_check = header_check(place, &header.as_bytes()[..CHECKED]).into();
    let mut out = [0; HEADER_LEN];
    out.copy_from_slice(header.as_bytes());
    out
}

/// Puts one whole frame into `out`, replacing what it holds.
pub(crate) fn encode(out: &mut Vec<u8>, place: Place, new: &New, payload: &[u8]) {
    out.clear();
    out.reserve(frame_len(payload.len()) as usize);
    out.extend_from_slice(&header(place, new));
    out.extend_from_slice(payload);
    out.resize(frame_len(payload.len()) as usize, 0);
}

/// Whether `bytes`, which need not check, look like frame `lsn` of `epoch`.
pub(crate) fn looks_like(bytes: &[u8], lsn: Lsn, epoch: u64) -> bool {
    Header::ref_from_prefix(bytes)
        .is_ok_and(|(h, _)| h.magic == MAGIC && h.lsn.get() == lsn && h.epoch.get() == epoch)
}

/// Checks a header alone. `bytes` begins with it.
///
/// # Errors
/// The first flaw found. Lengths in the answer are within [`MAX_PAYLOAD_BYTES`].
pub(crate) fn check_header(bytes: &[u8], place: Place) -> Result<Head, Flaw> {
    let Ok((h, _)) = Header::ref_from_prefix(bytes) else { return Err(Flaw::Short) };
    if h.magic != MAGIC {
        return Err(Flaw::Magic);
    }
    if header_check(place, &bytes[..CHECKED]) != h.header_check.get() {
        return Err(Flaw::HeaderCheck);
    }
    // From here on the header is what a writer wrote at this very place.
    if h.version.get() != VERSION || usize::from(h.header_len.get()) != HEADER_LEN {
        return Err(Flaw::Version(h.version.get()));
    }
    if h.flags.get() > MARK || (h.flags.get() == MARK && h.payload_len.get() > 0) {
        return Err(Flaw::Flags(h.flags.get()));
    }
    let payload_len = h.payload_len.get() as usize;
    if payload_len > MAX_PAYLOAD_BYTES {
        return Err(Flaw::Length(h.payload_len.get()));
    }
    Ok(Head {
        lsn: h.lsn.get(),
        wall_micros: h.wall_micros.get(),
        epoch: h.epoch.get(),
        durable_lsn: h.durable_lsn.get(),
        payload_len,
        is_mark: h.flags.get() == MARK,
        payload_check: h.payload_check.get(),
    })
}

/// Checks payload and padding. `bytes` is the whole frame, `head` its checked header.
///
/// # Errors
/// [`Flaw::Short`], [`Flaw::Checksum`] or [`Flaw::Padding`].
pub(crate) fn check_body(bytes: &[u8], head: &Head) -> Result<(), Flaw> {
    if bytes.len() as u64 != frame_len(head.payload_len) {
        return Err(Flaw::Short);
    }
    let (payload, padding) = bytes[HEADER_LEN..].split_at(head.payload_len);
    if payload_check(payload) != head.payload_check {
        return Err(Flaw::Checksum);
    }
    if padding.iter().any(|byte| *byte != 0) { Err(Flaw::Padding) } else { Ok(()) }
}

/// [`encode`] for tests.
#[cfg(test)]
pub(crate) fn whole(
    place: Place,
    lsn: Lsn,
    wall_micros: u64,
    epoch: u64,
    durable_lsn: Lsn,
    payload: &[u8],
) -> Vec<u8> {
    let (payload_len, payload_check) = (payload.len(), payload_check(payload));
    let mut out = Vec::new();
    let new = New { lsn, wall_micros, epoch, durable_lsn, payload_len, payload_check };
    encode(&mut out, place, &new, payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACE: Place = Place { salt: 7, segment: 3, epoch: 2, offset: 64 };

    fn hex(bytes: &[u8]) -> String {
        bytes
            .chunks(16)
            .map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
            .collect()
    }

    #[test]
    fn golden_bytes_of_version_2() {
        let out = whole(PLACE, 5, 1_700_000_000_000_000, 2, 4, b"planck");
        expect_test::expect![[r#"
            504c4b46020040000600000000000000
            050000000000000000401e18240a0600
            02000000000000000400000000000000
            078c3e3700000000381c24324743d7cd
            706c616e636b0000
        "#]]
        .assert_eq(&hex(&out));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let out = whole(PLACE, 5, 9, 2, 4, b"planck");
        for bit in 0..out.len() * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let seen = check_header(&bad, PLACE).and_then(|h| check_body(&bad, &h));
            assert!(seen.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_checks_at_its_own_place_only() {
        let out = whole(PLACE, 5, 9, 2, 4, b"planck");
        assert!(check_header(&out, PLACE).is_ok());
        for other in [
            Place { salt: 8, ..PLACE },
            Place { segment: 4, ..PLACE },
            Place { epoch: 3, ..PLACE },
            Place { offset: 72, ..PLACE },
        ] {
            assert_eq!(check_header(&out, other), Err(Flaw::HeaderCheck));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            salt: u64, segment: u64, offset: u64, lsn: u64, wall: u64, epoch: u64, durable: u64,
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let place = Place { salt, segment, epoch, offset };
            let out = whole(place, lsn, wall, epoch, durable, &payload);
            prop_assert_eq!(out.len() as u64, frame_len(payload.len()));
            let head = check_header(&out, place).unwrap();
            check_body(&out, &head).unwrap();
            prop_assert_eq!((head.lsn, head.wall_micros, head.epoch, head.durable_lsn), (lsn, wall, epoch, durable));
            prop_assert_eq!(&out[HEADER_LEN..HEADER_LEN + head.payload_len], &payload[..]);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(head) = check_header(&bytes, PLACE) {
                prop_assert!(check_body(&bytes, &head).is_err());
            }
        }
    }
}
