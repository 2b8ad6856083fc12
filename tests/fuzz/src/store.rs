//! Batches, and whole stores with bytes of their files changed.

use crate::bytes::{Bytes, Image, edits, put_file};
use crate::marks::reached;
use crate::{values, wal_log};
use lsm::{Batch, Direction, KeyspaceId, Lsm, Op, Options, Step};
use platform::sim::{SimClock, SimDisk};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

/// Where the corpus of `batch` comes to.
pub(crate) const BATCH_PLACES: &[&str] = &[
    "a put",
    "a delete",
    "a drop",
    "a value before",
    "no operation",
    "one operation",
    "many operations",
    "the batch has format 1",
    "it is shorter than its header",
    "reserved bytes are set",
    "an operation's header is cut off",
    "a key is cut off",
    "a value is cut off",
    "a reserved bit is set",
    "a reserved keyspace is written",
    "lengths do not fit the kind of operation",
    "an unknown kind of operation",
    "bytes follow the last operation",
    "a value before is the last",
    "a value before stands before another key's operation",
    "its version does not say whether it has values before",
];

/// Any bytes as a batch: what decodes is a list of operations that encode to it.
pub fn batch(data: &[u8]) {
    let ops = match lsm::decode(data) {
        Ok(ops) => ops,
        Err(error) => return reached(error),
    };
    let mut again = Batch::new();
    for told in ops.told() {
        let op = told.op;
        if let Some(before) = told.before
            && let Op::Put(keyspace, key, _) | Op::Delete(keyspace, key) = op
        {
            again.before(keyspace, key, before);
            reached("a value before");
        }
        match op {
            Op::Put(keyspace, key, value) => again.put(keyspace, key, value),
            Op::Delete(keyspace, key) => again.delete(keyspace, key),
            Op::DropKeyspace(keyspace) => again.drop_keyspace(keyspace),
        }
        reached(match op {
            Op::Put(..) => "a put",
            Op::Delete(..) => "a delete",
            Op::DropKeyspace(_) => "a drop",
        });
    }
    reached(["no operation", "one operation", "many operations"][again.len().min(2)]);
    assert_eq!(again.check(), Ok(()));
    assert_eq!(again.bytes(), data.len());
}

const KS: KeyspaceId = KeyspaceId(1);
/// The commits up to this one are flushed: each key has been written by then.
const FLUSHED: u32 = 25;
/// The bit of the choice of a file that has its checksums made right.
pub(crate) const RESEALED: u8 = 0x80;

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

/// What commit `n` writes.
pub(crate) fn value(n: u32) -> Vec<u8> {
    vec![n as u8; n as usize * 5 % 90]
}

/// All values that a key ever had, the newest last.
type Model = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// A small store, and what was written into it. Made once: it is the same every time.
fn made() -> &'static (Image, Model) {
    static MADE: OnceLock<(Image, Model)> = OnceLock::new();
    MADE.get_or_init(|| {
        let disk = SimDisk::new(0);
        let store = open(disk.clone()).expect("an empty disk takes a store");
        let mut model = Model::new();
        for n in 0..40u32 {
            let key = (n * 7 % 23).to_be_bytes();
            let value = value(n);
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
        (Image::of(&disk), model)
    })
}

/// A disk with the small store.
pub(crate) struct Laid {
    disk: Arc<SimDisk>,
    model: &'static Model,
    /// The paths of its files.
    pub(crate) files: Vec<String>,
}

impl Laid {
    pub(crate) fn new() -> Laid {
        let (image, model) = made();
        Laid { disk: image.disk(0), model, files: image.files() }
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        self.disk.file_bytes(path).expect("a listed file is there")
    }
}

/// Makes every checksum in a file of a store right.
fn reseal(kind: &str, bytes: &mut [u8]) {
    match kind {
        "wal" => wal_log::reseal_segment(bytes),
        "vlog" => values::reseal_segment(bytes),
        _ => btree::fuzz::reseal(bytes),
    }
}

/// Where the corpus of `store` comes to.
pub(crate) const PLACES: &[&str] = &[
    "trees.pages: the value",
    "trees.pages: walked to the end",
    "trees.pages: get: trees.pages, page 5",
    "trees.pages: walk: trees.pages, page 5",
    "trees.pages: opening: trees.pages, page",
    "trees.pages, sums right: the value",
    "trees.pages, sums right: another value",
    "trees.pages, sums right: no value",
    "trees.pages, sums right: get: trees.pages, page 5",
    "trees.pages, sums right: work: trees.pages, page 5",
    "trees.pages, sums right: at rest",
    "its count of entries is wrong: run verify",
    "sums right: opening: trees.pages has page file format",
    "of the tree directory is damaged: the root of",
    "is damaged: free list: ",
    "wal: an older value",
    "wal: opening: the log is damaged",
    "wal, sums right: another value",
    "wal, sums right: at rest",
    "wal, sums right: opening: the log is damaged",
    "vlog: get: the value log is damaged",
    "vlog: opening: the value log is damaged",
    "vlog, sums right: another value",
    "vlog, sums right: at rest",
];

/// Changes bytes in a file of a small store. It refuses to open, or every answer is
/// right or an error; if the checksums were made right again, answers may be wrong, but
/// nothing panics, reading or working.
pub fn store(data: &[u8]) {
    let mut input = Bytes(data);
    let laid = Laid::new();
    let choice = input.u8();
    let resealed = choice & RESEALED != 0;
    let path = &laid.files[usize::from(choice & !RESEALED) % laid.files.len()];
    let kind = path.split('/').next().unwrap_or_default();
    let mut bytes = laid.bytes(path);
    for (at, to) in edits(&mut input, bytes.len(), 16) {
        bytes[at] = to;
    }
    if resealed {
        reseal(kind, &mut bytes);
    }
    put_file(&laid.disk, path, &bytes);
    let how = if resealed { ", sums right" } else { "" };
    let at = |what: &dyn std::fmt::Display| reached(format_args!("{kind}{how}: {what}"));

    let store = match open(laid.disk.clone()) {
        Ok(store) => store,
        Err(error) => return at(&format_args!("opening: {error}")),
    };
    let Ok(snapshot) = store.snapshot() else { return };
    for (key, history) in laid.model {
        // The end of a damaged log may be taken for a torn tail: then an older
        // value is right. Damage elsewhere never brings one back.
        let newest = &history[history.len() - 1..];
        let known = if kind == "wal" { &history[..] } else { newest };
        match snapshot.get(KS, key) {
            Ok(Some(found)) if *found == newest[0][..] => at(&"the value"),
            Ok(Some(found)) => {
                let is_older = known.iter().any(|v| *found == v[..]);
                assert!(is_older || resealed, "{key:?} gives {found:?}");
                at(&if is_older { "an older value" } else { "another value" });
            }
            Ok(None) => {
                assert!(resealed, "{key:?} is gone");
                at(&"no value");
            }
            Err(error) => at(&format_args!("get: {error}")),
        }
    }
    for direction in [Direction::Forward, Direction::Reverse] {
        match walk(&laid, &snapshot, direction, resealed) {
            Ok(()) => at(&"walked to the end"),
            Err(error) => at(&format_args!("walk: {error}")),
        }
    }
    drop(snapshot);
    if resealed {
        match work(&store) {
            Ok(()) => at(&"at rest"),
            Err(error) => at(&format_args!("work: {error}")),
        }
    }
}

fn walk(
    laid: &Laid,
    snapshot: &lsm::Snapshot,
    direction: Direction,
    resealed: bool,
) -> Result<(), lsm::Error> {
    let mut cursor = snapshot.range(KS, Bound::Unbounded, Bound::Unbounded, direction)?;
    let mut before: Option<Vec<u8>> = None;
    while let Some((key, _)) = cursor.next()? {
        let in_order = before.as_deref().is_none_or(|before| match direction {
            Direction::Forward => before < key,
            Direction::Reverse => before > key,
        });
        assert!(resealed || in_order, "keys ascend, or descend");
        assert!(resealed || laid.model.contains_key(key), "a key that was never written");
        before = Some(key.to_vec());
    }
    Ok(())
}

/// What a store does when nobody looks, over pages and values that are not what it
/// wrote: it may refuse.
fn work(store: &Lsm) -> Result<(), lsm::Error> {
    let mut batch = Batch::new();
    batch.put(KS, b"new", &[7; 40]);
    batch.delete(KS, &3u32.to_be_bytes());
    store.commit(&batch)?;
    store.flush()?;
    for _ in 0..8 {
        if store.step()? == Step::Idle {
            break;
        }
    }
    Ok(())
}
