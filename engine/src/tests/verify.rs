//! The proof of all indexes, of a database that is only looked at.

use std::sync::Arc;

use lsm::Batch;
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::Request;
use proto::doc::Value;

use super::kit::*;
use crate::Engine;

#[test]
fn all_indexes_are_proven_without_a_byte_changed() {
    // Given two stores with indexes, in part not flushed, and closed by a kill,
    let disk = SimDisk::new(4);
    let engine = open_on(Arc::clone(&disk), options());
    done(&engine, create("s"));
    done(&engine, create("t"));
    let definition = doc(r#"{"name": "i", "fields": ["m"]}"#);
    let index = Request::CreateIndex { store: "s", if_not_exists: false, definition: &definition };
    done(&engine, index);
    while engine.tend().unwrap() {}
    for key in 1..6 {
        insert(&engine, key, &format!(r#"{{"m":{key}}}"#));
    }
    engine.flush().unwrap();
    insert(&engine, 7, r#"{"m":7}"#);
    let i = Arc::clone(engine.catalogs.read().stores["s"].index("i").unwrap());
    let proven = |disk: &Arc<SimDisk>| {
        let bytes = |disk: &Arc<SimDisk>| -> Vec<_> {
            disk.files().into_iter().map(|f| (disk.file_bytes(&f), f)).collect()
        };
        let (before, calls) = (bytes(disk), disk.calls());
        let over = Arc::new(platform::Overlay::new(Arc::clone(disk) as _, 1 << 20));
        let (clock, entropy) = (Arc::new(SimClock::new(NOW)), Arc::new(SimEntropy::new(9)));
        let engine = Engine::open(over, clock, entropy, options()).unwrap();
        let report = engine.verify_indexes(&mut |_, _| {});
        drop(engine);
        // (with all it looked at as it was)
        assert!(before == bytes(disk) && calls == disk.calls());
        report
    };
    // when they are compared, then all is well;
    let report = proven(&disk.snapshot());
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.stores, report.indexes, report.unfinished), (2, 1, 0));
    // when an entry is gone, then it is named, with its store and index.
    let entry = [&i.prefix(&[Some(Value::Int32(2))]).bytes[..], &2u128.to_be_bytes()].concat();
    let mut batch = Batch::new();
    batch.delete_present(i.keyspace, &entry);
    engine.lsm.commit(&batch).unwrap();
    let report = proven(&disk.snapshot());
    let said = report.to_string();
    assert!(said.starts_with("1 fault between"), "{said}");
    assert!(said.contains("store \"s\", index \"i\": document"), "{said}");
    assert!(said.contains("it has no entry"), "{said}");
}
