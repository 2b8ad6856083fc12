//! Batches, and whole stores with bytes of their files changed.

use crate::bytes::{Bytes, edits};
use lsm::{Batch, Direction, KeyspaceId, Lsm, Op, Options};
use platform::sim::{SimClock, SimDisk};
use platform::{Disk, Open};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Any bytes as a batch: what decodes is a list of operations that encode to it.
pub fn batch(data: &[u8]) {
    let Ok(ops) = lsm::decode(data) else { return };
    let mut again = Batch::new();
    for op in ops {
        match op {
            Op::Put(keyspace, key, value) => again.put(keyspace, key, value),
            Op::Delete(keyspace, key) => again.delete(keyspace, key),
            Op::DropKeyspace(keyspace) => again.drop_keyspace(keyspace),
        }
    }
    assert_eq!(again.check(), Ok(()));
    assert_eq!(again.bytes(), data.len());
}

const KS: KeyspaceId = KeyspaceId(1);
/// The commits up to this one are flushed: each key has been written by then.
const FLUSHED: u32 = 25;

fn options() -> Options {
    Options {
        memtable_bytes: 4 << 10,
        wal_segment_bytes: 4 << 10,
        vlog_segment_bytes: 8 << 10,
        inline_max: 16,
        ..Options::default()
    }
}

fn open(disk: Arc<SimDisk>) -> Result<Lsm, lsm::Error> {
    Lsm::open(disk, Arc::new(SimClock::new(1)), options())
}

/// Changes bytes in the files of a small store: it refuses to open, or every
/// answer is right or an error.
pub fn store(data: &[u8]) {
    let mut input = Bytes(data);
    let disk = SimDisk::new(0);
    let store = open(disk.clone()).expect("an empty disk takes a store");
    // All values a key ever had, the newest last.
    let mut model: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for n in 0..40u32 {
        let key = (n * 7 % 23).to_be_bytes();
        let value = vec![n as u8; n as usize * 5 % 90];
        let mut batch = Batch::new();
        batch.put(KS, &key, &value);
        store.commit(&batch).expect("the simulated disk takes it");
        let history = model.entry(key.to_vec()).or_default();
        if n <= FLUSHED {
            history.clear(); // what is in the trees cannot be undone any more
        }
        history.push(value);
        if n == FLUSHED {
            store.flush().expect("the simulated disk takes it");
        }
    }
    store.close().expect("the simulated disk syncs");
    let files: Vec<String> = disk.files().into_iter().filter(|f| !f.ends_with("LOCK")).collect();
    let path = &files[usize::from(input.u8()) % files.len()];
    let mut bytes = disk.file_bytes(path).expect("a listed file is there");
    let edits = edits(&mut input, bytes.len(), 16);
    for (at, to) in &edits {
        bytes[*at] = *to;
    }
    let file = disk.open(path, Open::Write).expect("a listed file is there");
    file.write_at(&bytes, 0).expect("the simulated disk takes it");

    let Ok(store) = open(disk) else { return };
    let Ok(snapshot) = store.snapshot() else { return };
    for (key, history) in &model {
        let Ok(found) = snapshot.get(KS, key) else { continue };
        // The end of a damaged log may be taken for a torn tail: then an older
        // value is right. Damage elsewhere never brings one back.
        let known =
            if path.starts_with("wal/") { &history[..] } else { &history[history.len() - 1..] };
        match found {
            Some(found) => {
                assert!(known.iter().any(|v| *found == v[..]), "{key:?} gives {found:?}")
            }
            None => panic!("{key:?} is gone"),
        }
    }
    let all = (Bound::Unbounded, Bound::Unbounded);
    let Ok(mut cursor) = snapshot.range(KS, all.0, all.1, Direction::Forward) else { return };
    let mut before: Option<Vec<u8>> = None;
    while let Ok(Some((key, _))) = cursor.next() {
        assert!(model.contains_key(key), "a key that was never written");
        assert!(before.as_deref().is_none_or(|b| b < key), "keys ascend");
        before = Some(key.to_vec());
    }
}
