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

    pub(crate) fn reserve(&mut self, len: u64) {
        self.reserved = self.reserved.max(len);
    }

    pub(crate) fn write(&mut self, data: &[u8], offset: u64) {
        if data.is_empty() {
            return; // what a dying write did may be nothing
        }
        self.live.write(data, offset);
        self.pending.push(Change::Write { offset, data: data.into() });
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        self.live.set_len(len);
        self.reserved = self.reserved.min(len);
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
    pub(crate) fn fail_sync(&mut self, rng: &mut Rng) {
        self.settle(rng);
        self.diverged = true;
    }

    /// The file a power cut leaves.
    pub(crate) fn after_power_cut(self: &Arc<Self>, rng: Option<&mut Rng>) -> Arc<Self> {
        if self.pending.is_empty() && !self.diverged {
            return Arc::clone(self);
        }
        let mut file = Self::clone(self);
        match rng {
            Some(rng) => file.settle(rng),
            None => file.pending.clear(),
        }
        Arc::new(Self { live: file.durable.clone(), durable: file.durable, ..Self::default() })
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
    fn settle(&mut self, rng: &mut Rng) {
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
                        );
                    }
                }
                Change::SetLen(len) => {
                    if !matches!(fate(keep, rng), Fate::Dropped) {
                        self.durable.set_len(len);
                    }
                }
            }
        }
    }

    fn settle_piece(&mut self, piece: &Piece, data: &[u8], keep: u64, rng: &mut Rng) {
        let offset = piece.page * PAGE as u64 + piece.within as u64;
        let end = offset + data.len() as u64;
        match fate(keep, rng) {
            Fate::Kept => self.durable.write(data, offset),
            Fate::Torn => {
                let cut = rng.up_to(data.len());
                if rng.coin() {
                    self.durable.write(&data[..cut], offset);
                } else {
                    self.durable.write(&data[cut..], offset + cut as u64);
                }
            }
            // The new length may get out where the bytes did not: zeros.
            Fate::Dropped if end > self.durable.len() && rng.below(4) == 0 => {
                self.durable.set_len(end)
            }
            Fate::Dropped => {}
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
