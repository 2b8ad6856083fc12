//! One simulated file: what was written, what is durable, and the way between.
//!
//! Invariants:
//! * after `sync`, `durable` equals `live` wherever a pending change reached;
//! * before it, each pending change is for the power cut to decide, page by page;
//! * after a failed sync the decision has been made and pending is empty: a
//!   later sync saves nothing that this one lost, as Linux would have it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::content::{Content, PAGE, Piece, pieces};
use super::rng::Rng;
use super::tally::Tally;

/// What a device writes whole or not at all, at best.
pub(crate) const SECTOR: usize = 512;
const SECTOR_64: u64 = SECTOR as u64;

/// A change to the bytes that no sync has made durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    SetLen(u64),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Inode {
    live: Content,
    durable: Content,
    pending: Vec<Change>,
    /// Writes below this offset were paid for by an allocation.
    reserved: u64,
    /// A failed sync has let `live` and `durable` differ beyond what is pending.
    diverged: bool,
    /// Sectors that cannot be read until they are written whole.
    bad: BTreeSet<u64>,
}

/// What a power cut does to one piece of an unsynced change.
enum Fate {
    Kept,
    Torn,
    Dropped,
}

impl Inode {
    pub(crate) fn live(&self) -> &Content {
        &self.live
    }

    pub(crate) fn durable(&self) -> &Content {
        &self.durable
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Pages it takes up, those among them that were only allocated.
    pub(crate) fn pages(&self) -> u64 {
        let reserved = self.reserved.div_ceil(PAGE as u64);
        reserved + self.live.pages_from(reserved)
    }

    /// Whether a write to the page takes no further space.
    pub(crate) fn has_room(&self, page: u64) -> bool {
        page < self.reserved.div_ceil(PAGE as u64) || self.live.has_page(page)
    }

    pub(crate) fn reserve(&mut self, len: u64) {
        self.reserved = self.reserved.max(len);
    }

    pub(crate) fn write(&mut self, data: &[u8], offset: u64) {
        if data.is_empty() {
            return; // what a dying write did may be nothing
        }
        self.live.write(data, offset);
        self.pending.push(Change::Write { offset, data: data.into() });
        if !self.bad.is_empty() {
            // A medium gives a sector that is written whole another place.
            let (first, end) = (offset.div_ceil(SECTOR_64), offset + data.len() as u64);
            let to_end = end >= self.live.len();
            let end = if to_end { end.div_ceil(SECTOR_64) } else { end / SECTOR_64 };
            self.bad.retain(|sector| !(first..end).contains(sector));
        }
    }

    /// The sectors of these bytes cannot be read from now on.
    pub(crate) fn spoil(&mut self, offset: u64, len: u64) {
        self.bad.extend(offset / SECTOR_64..offset.saturating_add(len).div_ceil(SECTOR_64));
    }

    /// Whether a read of these bytes meets a sector that cannot be read.
    pub(crate) fn is_spoilt(&self, offset: u64, len: usize) -> bool {
        let end = offset.saturating_add(len as u64).min(self.live.len()).div_ceil(SECTOR_64);
        let first = offset / SECTOR_64;
        first < end && self.bad.range(first..end).next().is_some()
    }

    /// Zeros that take up no space, but for parts of pages.
    pub(crate) fn punch(&mut self, len: usize, offset: u64) {
        self.write(&vec![0; len], offset);
        self.live.forget_zeros(len, offset);
    }

    /// A write that never reaches the medium. `cached`: reads show it for now.
    pub(crate) fn lose(&mut self, data: &[u8], offset: u64, cached: bool) {
        let end = offset + data.len() as u64;
        if end > self.live.len() {
            self.set_len(end);
        }
        if cached {
            self.live.write(data, offset);
            self.diverged = true;
        }
    }

    /// Bytes of another write that land here, within the file's length.
    pub(crate) fn stray(&mut self, data: &[u8], offset: u64) {
        for content in [&mut self.live, &mut self.durable] {
            let left = usize::try_from(content.len().saturating_sub(offset)).unwrap_or(usize::MAX);
            content.write(&data[..left.min(data.len())], offset);
        }
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        self.live.set_len(len);
        self.reserved = self.reserved.min(len);
        self.bad.retain(|sector| sector * SECTOR_64 < len);
        self.pending.push(Change::SetLen(len));
    }

    pub(crate) fn sync(&mut self) {
        let (mut pages, mut shortest) = (BTreeSet::new(), self.live.len());
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, data } => {
                    pages.extend(pieces(offset, data.len()).map(|piece| piece.page));
                }
                Change::SetLen(len) => shortest = shortest.min(len),
            }
        }
        self.durable.set_len(shortest.min(self.durable.len()));
        self.durable.set_len(self.live.len());
        for page in pages {
            self.durable.take_page(&self.live, page);
        }
    }

    /// A sync that fails: some of the pending changes are durable, the others
    /// never will be, and reads go on showing them all.
    pub(crate) fn fail_sync(&mut self, rng: &mut Rng, tally: &mut Tally) {
        self.settle(rng, tally);
        self.diverged = true;
    }

    /// The file a power cut leaves.
    pub(crate) fn after_power_cut(
        self: &Arc<Self>,
        rng: Option<&mut Rng>,
        tally: &mut Tally,
    ) -> Arc<Self> {
        if self.pending.is_empty() && !self.diverged {
            return Arc::clone(self);
        }
        let mut file = Self::clone(self);
        match rng {
            Some(rng) => file.settle(rng, tally),
            None => {
                tally.dropped += file.pending.len() as u64;
                file.pending.clear();
            }
        }
        let (live, reserved) = (file.durable.clone(), file.reserved.min(file.durable.len()));
        let bad = file.bad;
        Arc::new(Self { live, durable: file.durable, reserved, bad, ..Self::default() })
    }

    /// Flips bits of what is stored, durable and written alike.
    pub(crate) fn corrupt(&mut self, offset: u64, xor: u8) {
        for content in [&mut self.live, &mut self.durable] {
            let mut byte = [0];
            if content.read(&mut byte, offset) == 1 {
                content.write(&[byte[0] ^ xor], offset);
            }
        }
    }

    /// Decides each pending change, page by page, and empties the list.
    fn settle(&mut self, rng: &mut Rng, tally: &mut Tally) {
        // Drawn once per file, so that "all kept" and "all lost" are common too.
        let keep = rng.below(5);
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { offset, data } => {
                    for piece in pieces(offset, data.len()) {
                        self.settle_piece(
                            &piece,
                            &data[piece.start..piece.start + piece.len],
                            keep,
                            rng,
                            tally,
                        );
                    }
                }
                Change::SetLen(len) => {
                    if matches!(fate(keep, rng), Fate::Dropped) {
                        tally.dropped += 1;
                    } else {
                        tally.kept += 1;
                        self.durable.set_len(len);
                    }
                }
            }
        }
    }

    fn settle_piece(
        &mut self,
        piece: &Piece,
        data: &[u8],
        keep: u64,
        rng: &mut Rng,
        tally: &mut Tally,
    ) {
        let offset = piece.page * PAGE as u64 + piece.within as u64;
        let end = offset + data.len() as u64;
        match fate(keep, rng) {
            Fate::Kept => {
                tally.kept += 1;
                self.durable.write(data, offset);
            }
            Fate::Torn if rng.coin() => {
                tally.torn += 1;
                self.keep_sectors(data, offset, rng);
            }
            Fate::Torn => {
                tally.torn += 1;
                let cut = rng.up_to(data.len());
                if rng.coin() {
                    self.durable.write(&data[..cut], offset);
                } else {
                    self.durable.write(&data[cut..], offset + cut as u64);
                }
            }
            Fate::Dropped => {
                tally.dropped += 1;
                // The new length may get out where the bytes did not: zeros.
                if end > self.durable.len() && rng.below(4) == 0 {
                    self.durable.set_len(end);
                }
            }
        }
    }

    /// Each sector of the piece is there or not, whatever became of the others.
    fn keep_sectors(&mut self, data: &[u8], offset: u64, rng: &mut Rng) {
        let mut start = 0;
        while start < data.len() {
            let in_sector = (offset + start as u64) % SECTOR as u64;
            let end = data.len().min(start + SECTOR - in_sector as usize);
            if rng.coin() {
                self.durable.write(&data[start..end], offset + start as u64);
            }
            start = end;
        }
    }
}

/// `keep` quarters are kept; of the rest a third is torn.
fn fate(keep: u64, rng: &mut Rng) -> Fate {
    if rng.below(4) < keep {
        Fate::Kept
    } else if rng.below(3) == 0 {
        Fate::Torn
    } else {
        Fate::Dropped
    }
}
