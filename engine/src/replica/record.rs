//! What a server is, on its own disk: the one thing of replication that is in no log,
//! since each server has its own.
//!
//! What must stay true: the file changes by a rename, durably, so that after a crash it is
//! the one before or the one after; a server without one is a primary that never was
//! anything else, and its set is its own store's number.
//!
//! ```text
//! replica/role
//!  0      4         6      7      8        24       32       40       48      56      64
//! +------+---------+------+------+--------+--------+--------+--------+-------+-------+
//! | PLKR | version | role | zero | set    | number | id     | from   | zero  | check |
//! |      | u16 = 1 | u8   | u8   | 16 B   | u64    | u64    | u64    | 8 B   | 8 B   |
//! +------+---------+------+------+--------+--------+--------+--------+-------+-------+
//!   little-endian. role: 1 primary, 2 replica. set: which servers belong together: the
//!   number of the store that the first of them made. number, id, from: the last term that
//!   this server was promoted to (0: none). check: the first
//!   bytes of the BLAKE3 hash of all before.
//! ```

use std::io;

use lsm::StoreId;
use platform::{Disk, Open};

use super::terms::Term;

/// The directory of all that is replication's, beside the store.
pub(crate) const DIR: &str = "replica";
const FILE: &str = "replica/role";
const DRAFT: &str = "replica/role.new";
const MAGIC: [u8; 4] = *b"PLKR";
const VERSION: u16 = 1;

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaRole {
    /// Takes writes, and ships them.
    Primary,
    /// Takes the commits of a primary, and no others.
    Replica,
}

impl ReplicaRole {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            ReplicaRole::Primary => "primary",
            ReplicaRole::Replica => "replica",
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) role: ReplicaRole,
    pub(crate) set: StoreId,
    /// The last term it was promoted to. It may not have begun yet.
    pub(crate) promoted: Option<Term>,
}

const LEN: usize = 64;
/// Bytes under the checksum.
const CHECKED: usize = 56;

fn check_of(bytes: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(&bytes[..CHECKED]);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

impl Record {
    pub(crate) fn encode(&self) -> [u8; LEN] {
        let term = self.promoted.unwrap_or(Term { number: 0, from: 0, id: 0 });
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6] = match self.role {
            ReplicaRole::Primary => 1,
            ReplicaRole::Replica => 2,
        };
        bytes[8..24].copy_from_slice(&self.set.0);
        bytes[24..32].copy_from_slice(&term.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&term.id.to_le_bytes());
        bytes[40..48].copy_from_slice(&term.from.to_le_bytes());
        let check = check_of(&bytes);
        bytes[CHECKED..].copy_from_slice(&check);
        bytes
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Record, String> {
        let bytes: &[u8; LEN] = bytes.try_into().map_err(|_| format!("it has not {LEN} bytes"))?;
        if bytes[..4] != MAGIC {
            return Err("it does not begin as one".to_owned());
        }
        let found = u16::from_le_bytes([bytes[4], bytes[5]]);
        if found != VERSION {
            return Err(format!("it has format {found}, this version reads {VERSION}"));
        }
        let role = match bytes[6] {
            1 => ReplicaRole::Primary,
            2 => ReplicaRole::Replica,
            _ => return Err("it names no role".to_owned()),
        };
        let number_at = |at: usize| {
            let number = bytes[at..].first_chunk().expect("it has 64 bytes");
            u64::from_le_bytes(*number)
        };
        let term = Term { number: number_at(24), id: number_at(32), from: number_at(40) };
        let set = StoreId(*bytes[8..].first_chunk().expect("it has 64 bytes"));
        let record = Record { role, set, promoted: (term.number > 0).then_some(term) };
        if record.encode() != *bytes {
            return Err("it does not match its checksum".to_owned());
        }
        Ok(record)
    }

    /// The one of this disk; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<Option<Record>> {
        let file = match disk.open(FILE, Open::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = [0; LEN + 1];
        let len = file.read_at(&mut bytes, 0)?;
        let bad = |what| {
            let advice = "put the one before back, or begin anew with an empty directory";
            io::Error::new(io::ErrorKind::InvalidData, format!("{FILE}: {what}; {advice}"))
        };
        Record::decode(&bytes[..len]).map(Some).map_err(bad)
    }

    /// Makes it that of this disk. It lasts when this returns.
    ///
    /// # Errors
    /// The one before may be there still, or this one.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.create_dir(DIR)?;
        let file = disk.open(DRAFT, Open::Create)?;
        file.set_len(0)?;
        file.write_at(&self.encode(), 0)?;
        file.sync()?;
        disk.rename(DRAFT, FILE)?;
        disk.sync_dir(DIR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::sim::SimDisk;

    fn record() -> Record {
        let promoted = Some(Term { number: 3, from: 0x0908, id: 0x0b0a });
        Record { role: ReplicaRole::Replica, set: StoreId([7; 16]), promoted }
    }

    #[test]
    fn golden() {
        let mut want = [0; LEN];
        want[..4].copy_from_slice(b"PLKR");
        (want[4], want[6], want[24]) = (1, 2, 3);
        want[8..24].copy_from_slice(&[7; 16]);
        want[32..34].copy_from_slice(&[0x0a, 0x0b]);
        want[40..42].copy_from_slice(&[0x08, 0x09]);
        let hash = blake3::hash(&want[..56]);
        want[56..].copy_from_slice(&hash.as_bytes()[..8]);
        assert_eq!(record().encode(), want);
        assert_eq!(Record::decode(&want), Ok(record()));
        let never = Record { role: ReplicaRole::Primary, promoted: None, ..record() };
        assert_eq!(Record::decode(&never.encode()), Ok(never));
    }

    #[test]
    fn every_flipped_bit_shows() {
        let good = record().encode();
        for at in 0..LEN {
            for bit in 0..8 {
                let mut bad = good;
                bad[at] ^= 1 << bit;
                assert!(Record::decode(&bad).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(Record::decode(&good[..LEN - 1]).is_err());
        let disk = SimDisk::new(1);
        disk.create_dir(DIR).unwrap();
        disk.open(FILE, Open::Create).unwrap().write_at(&[1; 65], 0).unwrap();
        let error = Record::read(&*disk).unwrap_err().to_string();
        assert!(error.contains("replica/role: it has not 64 bytes; put"), "{error}");
    }

    #[test]
    fn a_crash_at_any_call_leaves_the_one_before_or_the_one_after() {
        let (one, two) = (Record { promoted: None, ..record() }, record());
        let disk = SimDisk::new(1);
        one.write(&*disk).unwrap();
        let before = disk.calls();
        two.write(&*disk).unwrap();
        let calls = disk.calls() - before;
        for (at, seed) in (0..calls).flat_map(|at| (0..8).map(move |seed| (at, seed))) {
            let disk = SimDisk::new(seed);
            one.write(&*disk).unwrap();
            disk.crash_after(at);
            let written = two.write(&*disk);
            assert!(written.is_err() && disk.is_crashed(), "at call {at}");
            let after = if seed == 0 { disk.restart_worst() } else { disk.restart() };
            let found = Record::read(&*after).unwrap();
            assert!(found == Some(one) || found == Some(two), "at call {at}: {found:?}");
        }
        assert_eq!(Record::read(&*disk.restart_worst()).unwrap(), Some(two));
    }
}
