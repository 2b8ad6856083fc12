//! What the page file's meta page keeps for us, switched together with the trees.
//!
//! What must stay true: the drawing below; the store's identity is there from the
//! moment the page file is; another version is refused by number, other bytes as
//! damage (the page's checksum holds: a version is not rotten).
//!
//! ```text
//!  0      4         6      8          16       20     24       32        40      56     64
//! +------+---------+------+----------+--------+------+--------+---------+-------+------+
//! | PLKL | version | zero | flushed  | vlog   | runs | vlog   | epoch   | store | wall |
//! |      | u16 = 6 | u16  | lsn, u64 | seg.   | u32  | length | of log  | 16 B  | u64  |
//! +------+---------+------+----------+--------+------+--------+---------+-------+------+
//!   little-endian. `vlog segment`, `length`: where the value log ends as far as
//!   any tree points. `epoch of log`: the life of the WAL that flushed last, or
//!   the first one if none did. `runs`: how many there are (`runs/`), so that it is
//!   known when some cannot be found. `store`: its identity, never changed. `wall`:
//!   the highest wall time of any commit up to `flushed`, in microseconds since
//!   1970: not that of the last one, since clocks are set back. 0 if there is none.
//! ```

use vlog::Tail;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::directory::StoreId;
use crate::{Error, Lsn};

const MAGIC: [u8; 4] = *b"PLKL";
const VERSION: u16 = 6;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 4],
    version: U16,
    zero0: U16,
    flushed: U64,
    vlog_segment: U32,
    runs: U32,
    vlog_len: U64,
    wal_epoch: U64,
    store: [u8; 16],
    wall: U64,
}
const _: () = assert!(size_of::<Raw>() == 64);

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// All commits up to here are in the trees.
    pub(crate) flushed: Lsn,
    /// Where the value log ended then.
    pub(crate) tail: Tail,
    /// How many runs there are.
    pub(crate) runs: u32,
    /// The WAL's epoch then.
    pub(crate) wal_epoch: u64,
    /// Whose page file this is.
    pub(crate) store: StoreId,
    /// The highest wall time of any commit up to `flushed`, in microseconds.
    pub(crate) wall: u64,
}

impl Meta {
    pub(crate) fn encode(self) -> [u8; 64] {
        let raw = Raw {
            magic: MAGIC,
            version: U16::new(VERSION),
            zero0: U16::ZERO,
            flushed: U64::new(self.flushed),
            vlog_segment: U32::new(self.tail.segment),
            runs: U32::new(self.runs),
            vlog_len: U64::new(self.tail.len),
            wal_epoch: U64::new(self.wal_epoch),
            store: self.store.0,
            wall: U64::new(self.wall),
        };
        zerocopy::transmute!(raw)
    }

    pub(crate) fn decode(bytes: &[u8; 64], file: &str) -> Result<Meta, Error> {
        let raw: &Raw = zerocopy::transmute_ref!(bytes);
        let found = raw.version.get();
        if raw.magic == MAGIC && found != VERSION {
            return Err(Error::Version { file: file.into(), found, known: VERSION });
        }
        let meta = Meta {
            flushed: raw.flushed.get(),
            tail: Tail { segment: raw.vlog_segment.get(), len: raw.vlog_len.get() },
            runs: raw.runs.get(),
            wal_epoch: raw.wal_epoch.get(),
            store: StoreId(raw.store),
            wall: raw.wall.get(),
        };
        if meta.encode() != *bytes {
            let what = "the store's 64 bytes of its meta page make no sense".into();
            return Err(Error::Corrupt { file: file.into(), what });
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let meta = Meta {
            flushed: 0x0807,
            tail: Tail { segment: 3, len: 0x0a09 },
            runs: 5,
            wal_epoch: 0x0c,
            store: StoreId([7; 16]),
            wall: 0x0e0d,
        };
        let mut want = [0; 64];
        want[..4].copy_from_slice(b"PLKL");
        want[4] = 6;
        want[8..10].copy_from_slice(&[0x07, 0x08]);
        want[16] = 3;
        want[20] = 5;
        want[24..26].copy_from_slice(&[0x09, 0x0a]);
        want[32] = 0x0c;
        want[40..56].copy_from_slice(&[7; 16]);
        want[56..58].copy_from_slice(&[0x0d, 0x0e]);
        assert_eq!(meta.encode(), want);
        assert_eq!(Meta::decode(&want, "f").unwrap(), meta);
        assert!(matches!(Meta::decode(&[0; 64], "f"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn other_versions_and_damage_are_refused_apart() {
        let mut bytes = Meta::default().encode();
        for (version, todo) in [(5, "planctl export"), (7, "run the release that wrote it")] {
            bytes[4] = version;
            let other = Meta::decode(&bytes, "f").unwrap_err();
            let of = u16::from(version);
            let named = matches!(&other, Error::Version { found, known: 6, .. } if *found == of);
            assert!(named && other.to_string().contains(todo), "{other}");
        }
        bytes[4] = 6;
        bytes[6] = 1;
        assert!(matches!(Meta::decode(&bytes, "f"), Err(Error::Corrupt { .. })));
    }
}
