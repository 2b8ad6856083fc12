//! A guest's memory as the host may touch it: only through a checked range.
//!
//! Every copy starts from a [`Region`], and the only way to a `Region` is
//! [`region`], which adds pointer and length in 64 bits and compares with the
//! size of the memory as it is now. A guest may grow its memory at any time but
//! never shrink it, so a checked region stays inside until control returns.

use crate::{Trap, TrapKind};

/// A backend's view of one linear memory.
pub trait GuestMemory {
    /// Its size in bytes now.
    fn size(&self) -> u64;

    /// Copies out of it. `false` if the range is not inside.
    #[must_use]
    fn read(&self, at: u32, out: &mut [u8]) -> bool;

    /// Copies into it. `false` if the range is not inside.
    #[must_use]
    fn write(&mut self, at: u32, bytes: &[u8]) -> bool;
}

/// A memory that can be seen as a slice.
impl GuestMemory for &mut [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, at: u32, out: &mut [u8]) -> bool {
        let start = at as usize;
        let Some(from) = start.checked_add(out.len()).and_then(|end| self.get(start..end)) else {
            return false;
        };
        out.copy_from_slice(from);
        true
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> bool {
        let start = at as usize;
        let Some(to) = start.checked_add(bytes.len()).and_then(|end| self.get_mut(start..end))
        else {
            return false;
        };
        to.copy_from_slice(bytes);
        true
    }
}

/// A range known to lie inside a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    at: u32,
    len: u32,
}

/// Checks a guest's pointer and length. Both come as the guest's signed numbers
/// and mean unsigned ones. An empty range may point anywhere up to the end.
pub(crate) fn region<M: GuestMemory + ?Sized>(
    memory: &M,
    who: &str,
    what: &str,
    ptr: i32,
    len: i32,
) -> Result<Region, Trap> {
    let (at, len) = (ptr.cast_unsigned(), len.cast_unsigned());
    let end = u64::from(at) + u64::from(len);
    if end > memory.size() {
        return Err(Trap::new(
            TrapKind::BadPointer,
            format!(
                "{who}: {what} at {at:#x} with {len} bytes ends at {end:#x}, outside the guest's memory of {:#x} bytes; pass a pointer and a length inside it",
                memory.size()
            ),
        ));
    }
    Ok(Region { at, len })
}

impl Region {
    /// Bytes in it.
    pub(crate) fn len(self) -> u32 {
        self.len
    }

    /// Its first bytes, at most `most` of them.
    pub(crate) fn first(self, most: u32) -> Region {
        Region { len: self.len.min(most), ..self }
    }

    /// Replaces `out` with its bytes.
    pub(crate) fn read_into<M: GuestMemory + ?Sized>(
        self,
        memory: &M,
        out: &mut Vec<u8>,
    ) -> Result<(), Trap> {
        out.clear();
        out.resize(self.len as usize, 0);
        if memory.read(self.at, out) { Ok(()) } else { Err(shrunk()) }
    }

    /// Writes `bytes` at its start; they must not be more than it holds.
    pub(crate) fn write<M: GuestMemory + ?Sized>(
        self,
        memory: &mut M,
        bytes: &[u8],
    ) -> Result<(), Trap> {
        debug_assert!(bytes.len() <= self.len as usize, "callers compare lengths first");
        if bytes.len() <= self.len as usize && memory.write(self.at, bytes) {
            Ok(())
        } else {
            Err(shrunk())
        }
    }

    /// The part after the first `n` bytes.
    pub(crate) fn skip(self, n: u32) -> Self {
        let n = n.min(self.len);
        Self { at: self.at + n, len: self.len - n }
    }
}

fn shrunk() -> Trap {
    Trap::new(
        TrapKind::Host,
        "the runtime refused a copy that had been checked; please report this with the module",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(size: usize, ptr: i32, len: i32) -> Option<Region> {
        region(&&mut vec![0; size][..], "test", "bytes", ptr, len).ok()
    }

    #[test]
    fn a_region_is_inside_or_refused() {
        // Given a memory of 100 bytes; when asking for (ptr, len); then inside or not.
        for (ptr, len, inside) in [
            (0, 0, true),
            (0, 100, true),
            (100, 0, true),
            (99, 1, true),
            (99, 2, false),
            (101, 0, false),
            (0, 101, false),
            (-1, 0, false),
            (-1, 1, false),
            (0, -1, false),
            (1, -1, false),
            (-1, -1, false),
            (i32::MIN, i32::MIN, false),
        ] {
            assert_eq!(check(100, ptr, len).is_some(), inside, "({ptr}, {len})");
        }
    }

    #[test]
    fn a_region_copies_what_it_covers() {
        let memory: &mut &mut [u8] = &mut &mut [1, 2, 3, 4, 5][..];
        let mut out = vec![9; 40];
        let middle = region(memory, "t", "b", 1, 3).unwrap();
        middle.read_into(memory, &mut out).unwrap();
        assert_eq!(out, [2, 3, 4]);
        middle.skip(1).write(memory, &[7, 8]).unwrap();
        assert_eq!(**memory, [1, 2, 7, 8, 5]);
        assert_eq!(middle.skip(9).len(), 0);
    }
}
