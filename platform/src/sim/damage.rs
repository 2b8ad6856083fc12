//! What else may go wrong with a simulated disk: no room, no descriptors, bytes
//! that rot, bytes that land elsewhere.
//!
//! Invariant: everything is chosen by the disk's seed and the number of calls
//! made, and counted where it acts.

use std::io;

use super::content::{PAGE, pieces};
use super::fault::Fault;
use super::inode::SECTOR;
use super::names::InodeId;
use super::rng::Rng;
use super::state::State;

/// `EMFILE`.
const NO_DESCRIPTORS: i32 = 24;

impl State {
    pub(crate) fn set_budget(&mut self, bytes: Option<u64>) {
        self.budget = bytes;
    }

    pub(crate) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    pub(crate) fn set_max_handles(&mut self, handles: Option<u64>) {
        self.max_handles = handles;
    }

    /// Bytes of the pages of all files, those too that only a crash would bring back.
    pub(crate) fn used(&self) -> u64 {
        self.inodes.values().map(|inode| inode.pages() * PAGE as u64).sum()
    }

    /// Flips `bits` bits of what is durable in files under `prefix`, long files
    /// rather than short ones. Gives back where.
    pub(crate) fn rot(&mut self, prefix: &str, bits: usize) -> Vec<(String, u64, u8)> {
        let files: Vec<(String, InodeId, u64)> = self
            .names
            .live()
            .filter(|(path, _)| path.starts_with(prefix))
            .map(|(path, inode)| (path.to_owned(), inode, self.inode(inode).durable().len()))
            .collect();
        let all: u64 = files.iter().map(|(_, _, len)| len).sum();
        self.rots += 1;
        let mut rng = Rng::new(self.seed, self.calls.wrapping_mul(1 << 20) ^ (self.rots << 50));
        let mut flipped = Vec::new();
        for _ in 0..if all == 0 { 0 } else { bits } {
            let (mut at, xor) = (rng.below(all), 1 << rng.below(8));
            for (path, inode, len) in &files {
                if at < *len {
                    self.inode_mut(*inode).corrupt(at, xor);
                    self.tally.rotten_bits += 1;
                    flipped.push((path.clone(), at, xor));
                    break;
                }
                at -= len;
            }
        }
        flipped
    }

    pub(crate) fn corrupt(&mut self, path: &str, offset: u64, xor: u8) -> io::Result<()> {
        let inode = self.live(path)?;
        let file = self.inode_mut(inode);
        if offset >= file.live().len() {
            let why =
                format!("cannot corrupt {path} at {offset}: it has {} bytes", file.live().len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        file.corrupt(offset, xor);
        Ok(())
    }

    pub(crate) fn spoil(&mut self, path: &str, offset: u64, len: u64) -> io::Result<()> {
        let inode = self.live(path)?;
        let bytes = self.inode(inode).live().len();
        if offset >= bytes {
            let why = format!("cannot spoil {path} at {offset}: it has {bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        self.inode_mut(inode).spoil(offset, len.min(bytes - offset));
        Ok(())
    }

    /// How much of `wanted` bytes the disk takes there.
    pub(super) fn room(
        &mut self,
        inode: InodeId,
        wanted: usize,
        offset: u64,
    ) -> (usize, io::Result<()>) {
        let mut part = wanted;
        // What was allocated was paid for.
        let file = self.inode(inode);
        let paid = usize::try_from(file.reserved().saturating_sub(offset)).unwrap_or(usize::MAX);
        let paid = paid.min(wanted);
        if let Some(left) = self.budget {
            part = part.min(usize::try_from(left).unwrap_or(usize::MAX).saturating_add(paid));
        }
        if let Some(capacity) = self.capacity {
            let mut free = capacity.saturating_sub(self.used()) / PAGE as u64;
            let file = self.inode(inode);
            for piece in pieces(offset, part) {
                if !file.has_room(piece.page) {
                    if free == 0 {
                        part = piece.start;
                        break;
                    }
                    free -= 1;
                }
            }
        }
        if let Some(left) = &mut self.budget {
            *left -= part.saturating_sub(paid) as u64;
        }
        if part == wanted {
            return (part, Ok(()));
        }
        self.tally.no_space += 1;
        (part, Err(io::ErrorKind::StorageFull.into()))
    }

    /// The write lands in another place that is aligned as its own.
    pub(super) fn misdirect(&mut self, inode: InodeId, data: &[u8], offset: u64) {
        self.tally.misdirected_writes += 1;
        let mut rng = self.rng();
        let files: Vec<InodeId> = self.names.live().map(|(_, inode)| inode).collect();
        let victim = files.get(rng.up_to(files.len().saturating_sub(1))).copied();
        self.inode_mut(inode).lose(data, offset, false);
        let Some(victim) = victim else { return };
        let sectors = self.inode(victim).live().len() / SECTOR as u64;
        let at = rng.below(sectors) * SECTOR as u64 + offset % SECTOR as u64;
        if (victim, at) != (inode, offset) {
            self.inode_mut(victim).stray(data, at);
        }
    }

    /// Whether there is a descriptor for one more open file.
    pub(super) fn descriptor(&mut self, path: &str) -> io::Result<()> {
        let open = self.handles.values().sum::<u64>();
        if self.faults.strikes(Fault::Descriptors, path)
            || self.max_handles.is_some_and(|most| open >= most)
        {
            self.tally.no_descriptors += 1;
            return Err(io::Error::from_raw_os_error(NO_DESCRIPTORS));
        }
        Ok(())
    }
}
