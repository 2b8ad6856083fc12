//! What writer `w` writes in its commit `n`, as a function of both.
//!
//! Commit n (from 1) of a writer touches slot `n % SLOTS`, in one atomic batch
//! over two keyspaces: the slot's value (or its deletion, each seventh time) in
//! `ROWS`, and the writer's ledger, its last n, in `LEDGER`.

use lsm::{Batch, KeyspaceId};

/// Writers of a child.
pub const WRITERS: u32 = 4;
/// Slots of a writer, written round and round: most of what is written dies.
pub const SLOTS: u64 = 300;
pub const ROWS: KeyspaceId = KeyspaceId(1);
pub const LEDGER: KeyspaceId = KeyspaceId(2);

/// The key of a writer's slot.
pub fn key(writer: u32, slot: u64) -> [u8; 16] {
    let mut key = [0; 16];
    // Scattered, so that writers meet in the same leaves.
    key[..8].copy_from_slice(&(slot.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_be_bytes());
    key[8..12].copy_from_slice(&writer.to_be_bytes());
    key[12..].copy_from_slice(&(slot as u32).to_be_bytes());
    key
}

/// What commit `n` leaves in its slot: `None` is a delete.
pub fn value(writer: u32, n: u64) -> Option<Vec<u8>> {
    if n.is_multiple_of(7) {
        return None;
    }
    let mut value = Vec::new();
    // From values that stay in a leaf to some that need several pages of the log.
    let len = [20, 90, 400, 3000][(n % 4) as usize] as usize;
    while value.len() < len {
        value.extend_from_slice(&u64::from(writer).to_le_bytes());
        value.extend_from_slice(&n.to_le_bytes());
    }
    value.truncate(len);
    Some(value)
}

/// The batch of commit `n`.
pub fn batch(writer: u32, n: u64) -> Batch {
    let mut batch = Batch::new();
    match value(writer, n) {
        Some(value) => batch.put(ROWS, &key(writer, n % SLOTS), &value),
        None => batch.delete(ROWS, &key(writer, n % SLOTS)),
    }
    batch.put(LEDGER, &writer.to_be_bytes(), &n.to_le_bytes());
    batch
}

/// The commit that wrote the slot last when `n` commits were made.
pub fn last_of_slot(n: u64, slot: u64) -> Option<u64> {
    let behind = (n % SLOTS + SLOTS - slot % SLOTS) % SLOTS;
    n.checked_sub(behind).filter(|m| *m > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_commit_of_a_slot_is_the_greatest_that_hits_it() {
        for n in 0..2 * SLOTS + 5 {
            for slot in 0..SLOTS {
                let want = (1..=n).rev().find(|m| m % SLOTS == slot);
                assert_eq!(last_of_slot(n, slot), want, "n {n}, slot {slot}");
            }
        }
    }
}
