//! Frames on their way to another store.
//!
//! What must stay true: what [`shipped`] gives was written by [`ship`], byte for byte, or
//! nothing is given; whatever the bytes, it does not panic.
//!
//! ```text
//!  0       4        8        16           24
//! +-------+--------+--------+------------+------------
//! | check | length | lsn    | wall time  | payload ...     a frame; the next follows at once
//! | u32   | u32    | u64    | u64        |
//! +-------+--------+--------+------------+------------
//!   little-endian. check = crc32c(bytes 4..24, payload). `length` is the payload's.
//!   Nothing of the place a frame has in a log goes with it: another log has other places,
//!   and checksums of its own.
//! ```

use crc_fast::{CrcAlgorithm, Digest};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Lsn, MAX_BATCH_BYTES};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    check: U32,
    length: U32,
    lsn: U64,
    wall_micros: U64,
}
const HEAD: usize = size_of::<Head>();
const _: () = assert!(HEAD == 24);

/// The longest frame on its way, in bytes.
pub const MAX_SHIPPED_BYTES: usize = HEAD + MAX_BATCH_BYTES;

/// A frame that came from another store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped<'a> {
    /// Its number, there and here.
    pub lsn: Lsn,
    /// When it was committed there, in microseconds since 1970.
    pub wall_micros: u64,
    /// The batch.
    pub payload: &'a [u8],
}

/// Why bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShipError {
    /// A length that no frame has.
    #[error("the frame at byte {at} claims {length} bytes, more than a frame may have")]
    Length {
        /// Where it begins.
        at: usize,
        /// What it says.
        length: usize,
    },
    /// Bytes that are not as they were sent.
    #[error("the frame at byte {at} does not match its checksum")]
    Check {
        /// Where it begins.
        at: usize,
    },
}

fn check(head: &Head, payload: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&head.as_bytes()[4..]);
    digest.update(payload);
    digest.finalize() as u32
}

/// Appends a frame to what is sent.
///
/// # Panics
/// If the payload is longer than that of any commit.
pub fn ship(frame: &Shipped<'_>, out: &mut Vec<u8>) {
    assert!(frame.payload.len() <= MAX_BATCH_BYTES, "a commit is bounded");
    let mut head = Head {
        check: U32::ZERO,
        length: U32::new(frame.payload.len() as u32),
        lsn: U64::new(frame.lsn),
        wall_micros: U64::new(frame.wall_micros),
    };
    head.check = U32::new(check(&head, frame.payload));
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(frame.payload);
}

/// The whole frames that `bytes` begins with, and how many bytes they take: what is left
/// is the beginning of one.
///
/// # Errors
/// One of them is none, or not as it was sent: none of these bytes is to be trusted.
pub fn shipped(bytes: &[u8]) -> Result<(Vec<Shipped<'_>>, usize), ShipError> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Ok((head, rest)) = Head::ref_from_prefix(&bytes[at..]) {
        let length = head.length.get() as usize;
        if length > MAX_BATCH_BYTES {
            return Err(ShipError::Length { at, length });
        }
        let Some(payload) = rest.get(..length) else { break };
        if check(head, payload) != head.check.get() {
            return Err(ShipError::Check { at });
        }
        frames.push(Shipped { lsn: head.lsn.get(), wall_micros: head.wall_micros.get(), payload });
        at += HEAD + length;
    }
    Ok((frames, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<u8> {
        let mut bytes = Vec::new();
        ship(&Shipped { lsn: 0x0102, wall_micros: 0x0304, payload: b"ab" }, &mut bytes);
        ship(&Shipped { lsn: 0x0103, wall_micros: 0x0303, payload: b"" }, &mut bytes);
        bytes
    }

    #[test]
    fn golden() {
        let mut want = vec![0; 4];
        want.extend([2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0]);
        want.extend(b"ab");
        let sum = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &want[4..]) as u32;
        assert_eq!(sum, 0xe26c540e, "the checksum is CRC-32C");
        want[..4].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(two()[..26], want);
        let bytes = two();
        let (frames, used) = shipped(&bytes).unwrap();
        assert_eq!((frames.len(), used), (2, bytes.len()));
        assert_eq!(frames[0], Shipped { lsn: 0x0102, wall_micros: 0x0304, payload: b"ab" });
        assert_eq!((frames[1].lsn, frames[1].payload.len()), (0x0103, 0));
    }

    #[test]
    fn every_flipped_bit_shows_and_every_cut_leaves_whole_frames() {
        let good = two();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                match shipped(&bad) {
                    Err(_) => {}
                    // A length that grew beyond what came: the rest is waited for.
                    Ok((frames, used)) => {
                        assert!((4..8).contains(&(at % 26)), "bit {bit} of byte {at}");
                        assert!(used < good.len() && frames.len() < 2);
                    }
                }
            }
        }
        for len in 0..good.len() {
            let (frames, used) = shipped(&good[..len]).unwrap();
            assert_eq!((frames.len(), used), if len < 26 { (0, 0) } else { (1, 26) });
        }
    }
}
