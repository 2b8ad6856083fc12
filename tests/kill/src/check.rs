//! Whether a store holds exactly what its ledgers say.

use lsm::{Lsm, Snapshot};

use crate::plan::{LEDGER, ROWS, SLOTS, WRITERS, key, last_of_slot, value};

/// The number of the writer's last commit, 0 if there is none.
pub(crate) fn ledger(lsm: &Lsm, writer: u32) -> Result<u64, String> {
    read_ledger(&lsm.snapshot().map_err(|e| e.to_string())?, writer)
}

fn read_ledger(snapshot: &Snapshot, writer: u32) -> Result<u64, String> {
    let found = snapshot.get(LEDGER, &writer.to_be_bytes()).map_err(|e| e.to_string())?;
    let Some(found) = found else { return Ok(0) };
    let bytes: [u8; 8] = (*found).try_into().map_err(|_| "a ledger has no 8 bytes".to_owned())?;
    Ok(u64::from_le_bytes(bytes))
}

/// Compares each slot of each writer with what it must hold after the commits
/// its ledger counts. Returns the ledgers.
///
/// # Errors
/// The first slot that differs, in words.
pub(crate) fn check(lsm: &Lsm) -> Result<[u64; WRITERS as usize], String> {
    let snapshot = lsm.snapshot().map_err(|e| e.to_string())?;
    let mut ledgers = [0; WRITERS as usize];
    for writer in 0..WRITERS {
        let n = read_ledger(&snapshot, writer)?;
        ledgers[writer as usize] = n;
        for slot in 0..SLOTS {
            let found = snapshot.get(ROWS, &key(writer, slot)).map_err(|e| e.to_string())?;
            let last = last_of_slot(n, slot);
            let want = last.and_then(|m| value(writer, m));
            if found.as_deref() != want.as_deref() {
                return Err(format!(
                    "writer {writer} has {n} commits; its slot {slot} was last written by {last:?} \
                     and must hold {:?} bytes, it holds {:?}",
                    want.map(|v| v.len()),
                    found.map(|v| v.len())
                ));
            }
        }
    }
    Ok(ledgers)
}
