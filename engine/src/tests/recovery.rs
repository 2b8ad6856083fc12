//! What is there after a reopen, a kill, a power cut, and while the disk fails.

use std::sync::Arc;

use lsm::{Batch, KeyspaceId, Lsm};
use platform::sim::{Fault, SimClock, SimDisk, SimEntropy, Times};
use proto::doc::DocBuf;
use proto::{Key, Request, Status};

use super::kit::*;
use crate::{Engine, OpenError, Options};

#[test]
fn everything_is_there_after_a_reopen() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    done(&engine, create("gone"));
    insert(&engine, 1, r#"{"a":1}"#);
    done(&engine, Request::Flush);
    insert(&engine, 2, r#"{"a":2}"#);
    done(&engine, drop_store("gone"));
    engine.close().unwrap();

    let engine = open_on(disk.restart(), options());
    assert_eq!(all(&engine), [r#"1 {"a":1}"#, r#"2 {"a":2}"#]);
    assert_eq!(engine.catalogs.read().stores.len(), 1);
    // The number of a dropped store is not given again.
    done(&engine, create("next"));
    assert_eq!(engine.catalogs.read().stores["next"].keyspace, KeyspaceId(18));
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    for key in 0..50 {
        insert(&engine, key, "{}");
    }
    let after = open_on(disk.kill(), options());
    assert_eq!(all(&after).len(), 50);
}

/// A small life in sync mode; returns how many steps were acknowledged. A step
/// that failed because the disk died ends it.
fn live(disk: Arc<SimDisk>) -> usize {
    let clock = Arc::new(SimClock::new(NOW));
    let opened = Engine::open(disk, clock, Arc::new(SimEntropy::new(1)), synced());
    let Ok(engine) = opened else { return 0 };
    let document =
        doc(r#"{"text":"longer than what stays in a leaf, so that it goes to the value log"}"#);
    let insert = |key| Request::Insert { store: "s", key: Some(Key(key)), document: &document };
    let steps = [
        create("s"),
        insert(1),
        insert(2),
        Request::Flush,
        query("s.filter(key = '00000000000000000000000000000001').delete()"),
        create("t"),
        insert(3),
        Request::Flush,
        drop_store("t"),
    ];
    for (at, step) in steps.iter().enumerate() {
        if let Said::Refused(status, message) = ask(&engine, *step) {
            assert!(
                matches!(status, Status::Io | Status::ReadOnly),
                "a dead disk is not {status}: {message}"
            );
            return at;
        }
    }
    steps.len()
}

/// Stores and keys of `s` after so many steps.
fn state(steps: usize) -> (Vec<&'static str>, Vec<u128>) {
    let stores = match steps {
        0 => vec![],
        1..=5 => vec!["s"],
        6..=8 => vec!["s", "t"],
        _ => vec!["s"],
    };
    let keys = match steps {
        0 | 1 => vec![],
        2 => vec![1],
        3 | 4 => vec![1, 2],
        5 | 6 => vec![2],
        _ => vec![2, 3],
    };
    (stores, keys)
}

#[test]
fn a_power_cut_at_any_call_loses_no_acknowledged_step() {
    let whole = SimDisk::new(9);
    assert_eq!(live(whole.clone()), 9);
    for cut in 1..=whole.calls() {
        let disk = SimDisk::new(cut);
        disk.crash_after(cut);
        let acknowledged = live(disk.clone());
        let engine = open_on(disk.restart(), synced());
        let found: Vec<String> = engine.catalogs.read().stores.keys().cloned().collect();
        let keys: Vec<u128> = if found.is_empty() {
            vec![]
        } else {
            all(&engine).iter().map(|row| row.split(' ').next().unwrap().parse().unwrap()).collect()
        };
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        // What was not acknowledged may have happened, whole.
        let possible = [state(acknowledged), state(acknowledged + 1)];
        assert!(
            possible.contains(&(found.clone(), keys.clone())),
            "cut {cut}, after {acknowledged}: {found:?} {keys:?}"
        );
    }
}

/// Users made, changed and dropped, in async mode; returns how many of the changes were
/// acknowledged.
fn people(disk: Arc<SimDisk>) -> usize {
    let clock = Arc::new(SimClock::new(NOW));
    let opened = Engine::open(disk, clock, Arc::new(SimEntropy::new(1)), options());
    let Ok(engine) = opened else { return 0 };
    let user = |role: &str| doc(&format!(r#"{{"role": "{role}", "key": "twelve-bytes"}}"#));
    let (admin, reader) = (user("admin"), user("read_only"));
    let changed = doc(r#"{"role": "none"}"#);
    let create = |user, definition| Request::CreateUser { user, if_not_exists: false, definition };
    let steps = [
        create("ann", &admin),
        create("bob", &reader),
        Request::AlterUser { user: "bob", change: &changed },
        Request::DropUser { user: "bob", if_exists: false },
    ];
    let done = |step: &Request<'_>| !matches!(ask(&engine, *step), Said::Refused(..));
    steps.iter().take_while(|step| done(step)).count()
}

#[test]
fn a_power_cut_at_any_call_loses_no_acknowledged_change_of_a_user_in_async_mode_either() {
    let states: [&[(&str, &str)]; 5] = [
        &[],
        &[("ann", "admin")],
        &[("ann", "admin"), ("bob", "read_only")],
        &[("ann", "admin"), ("bob", "none")],
        &[("ann", "admin")],
    ];
    let whole = SimDisk::new(9);
    assert_eq!(people(whole.clone()), 4);
    for cut in 1..=whole.calls() {
        let disk = SimDisk::new(cut);
        disk.crash_after(cut);
        let acknowledged = people(disk.clone());
        let engine = open_on(disk.restart_worst(), options());
        let catalog = engine.catalogs.read();
        let found: Vec<_> =
            catalog.users.iter().map(|(name, user)| (name.as_str(), user.role.name())).collect();
        let possible = states.get(acknowledged..(acknowledged + 2).min(5)).unwrap();
        assert!(possible.contains(&&found[..]), "cut {cut}, after {acknowledged}: {found:?}");
    }
}

#[test]
fn a_failed_sync_refuses_writes_and_reads_go_on() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), synced());
    done(&engine, create("s"));
    insert(&engine, 1, "{}");
    disk.fail_sync("wal");
    let document = doc("{}");
    let second = Request::Insert { store: "s", key: Some(Key(2)), document: &document };
    let Said::Refused(status, _) = ask(&engine, second) else { panic!() };
    assert!(matches!(status, Status::Io | Status::ReadOnly), "{status}");
    disk.clear_faults();
    for request in [second, create("t"), query("s.all().delete()")] {
        let Said::Refused(status, message) = ask(&engine, request) else { panic!() };
        assert_eq!(status, Status::ReadOnly, "{message}");
        assert!(message.contains("restart"), "{message}");
    }
    assert_eq!(all(&engine), ["1 {}"]);
    assert!(engine.poisoned().is_some());
    let Said::Document(stats) = done(&engine, Request::Stats) else { panic!() };
    assert!(stats.contains("\"poisoned\""), "{stats}");
    assert_eq!(engine.catalogs.read().stores.len(), 1);
    drop(engine);
    // (what the failed sync was to save may have been saved)
    let engine = open_on(disk.restart_worst(), synced());
    let found = all(&engine);
    assert!(found == ["1 {}"] || found == ["1 {}", "2 {}"], "{found:?}");
    insert(&engine, 3, "{}");
}

#[test]
fn a_full_disk_is_called_by_its_name_and_writes_go_on_when_there_is_space() {
    // Given an engine on a disk without any more space,
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    disk.set_budget(Some(0));
    // when it is written to until the log needs some,
    let document = doc_of(30_000);
    let insert = |key| {
        ask(&engine, Request::Insert { store: "s", key: Some(Key(key)), document: &document })
    };
    let (written, status, message) = (1..)
        .find_map(|key| match insert(key) {
            Said::Refused(status, message) => Some((key - 1, status, message)),
            _ => None,
        })
        .unwrap();
    // then it says so, reads go on,
    assert_eq!(status, Status::ReadOnly, "{message}");
    for words in ["space", "wal/", "writes by themselves"] {
        assert!(message.contains(words), "{message}");
    }
    assert!(!message.contains("restart"), "{message}");
    assert_eq!(all(&engine).len() as u128, written);
    // and so do writes, once there is space.
    disk.set_budget(None);
    assert!(!matches!(insert(written + 1), Said::Refused(..)));
    assert_eq!(all(&engine).len() as u128, written + 1);
}

#[test]
fn damage_is_named_and_never_served() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    let document = doc_of(1000);
    for key in 1..=2 {
        done(&engine, Request::Insert { store: "s", key: Some(Key(key)), document: &document });
    }
    done(&engine, Request::Flush);
    let file = disk.files().into_iter().find(|file| file.starts_with("vlog/")).unwrap();
    let end = disk.file_bytes(&file).unwrap().len() as u64;
    disk.corrupt(&file, end - 100, 1).unwrap();
    done(&engine, read(1));
    let scan = Request::Scan { store: "s", after: None, limit: 0, reverse: false };
    for request in [read(2), scan, query("s.filter(b exists)")] {
        refused(&engine, request, Status::Corrupt, &[&file, "offset", "planck restore --from"]);
    }
}

#[test]
fn a_read_that_fails_says_so_and_may_be_tried_again() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    let document = doc_of(1000);
    done(&engine, Request::Insert { store: "s", key: Some(Key(1)), document: &document });
    done(&engine, Request::Flush);
    disk.fail(Fault::Read, "vlog", Times::Next);
    refused(&engine, read(1), Status::Io, &["vlog", "try again"]);
    done(&engine, read(1));
}

/// Opens a disk whose keyspace 0 holds this.
fn with_catalog(records: &[(&[u8], Vec<u8>)]) -> Result<Engine, OpenError> {
    let disk = SimDisk::new(1);
    let clock = Arc::new(SimClock::new(NOW));
    let lsm = Lsm::open(disk.clone(), clock.clone(), lsm::Options::default()).unwrap();
    let mut batch = Batch::new();
    for (key, value) in records {
        batch.put(KeyspaceId(0), key, value);
    }
    lsm.commit(&batch).unwrap();
    drop(lsm);
    Engine::open(disk.kill(), clock, Arc::new(SimEntropy::new(1)), Options::default())
}

fn head(format: i64, next: i64) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("format", format).push("next_keyspace", next);
    doc.finish().unwrap()
}

fn store(keyspace: i64) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("keyspace", keyspace).push("created_at", proto::doc::Value::DateTime(5));
    doc.finish().unwrap()
}

fn index(keyspace: i64) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("keyspace", keyspace).push("created_at", proto::doc::Value::DateTime(5));
    doc.push("state", "ready").array("fields", |fields| {
        fields.item("a");
    });
    doc.finish().unwrap()
}

/// A user with a grant in a store.
fn granted(keyspace: &str) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("role", "none").push("created_at", proto::doc::Value::DateTime(5));
    doc.doc("grants", |doc| {
        doc.push(keyspace, "read_only");
    });
    doc.array("keys", |_| ());
    doc.finish().unwrap()
}

#[test]
fn a_catalog_that_cannot_be_read_is_not_opened() {
    let good: (&[u8], Vec<u8>) = (&[0], head(3, 17));
    assert!(with_catalog(&[good.clone(), (b"\x01s", store(16))]).is_ok());
    let user = (&b"\x02u"[..], granted("16"));
    assert!(with_catalog(&[good.clone(), (b"\x01s", store(16)), user]).is_ok());
    for (records, words) in [
        (vec![(&[0][..], head(4, 17))], "newer version (format 4, known 3)"),
        (vec![(&[0][..], head(2, 17))], "format 2, this program reads 3 only"),
        (vec![good.clone(), (b"\x03\0\0\0\x10i", store(16))], "the record of index"),
        (vec![good.clone(), (b"\x03\0\0\0\x10i", index(17))], r"its record \x03"),
        (vec![good.clone(), (b"\x01s", store(16)), (b"\x03\0\0\0\x10i", index(17))], "too low"),
        (vec![good.clone(), (b"\x01s", vec![1, 2, 3])], r"its record \x01s"),
        (vec![good.clone(), (b"\x01s", store(3))], r"its record \x01s"),
        (vec![good.clone(), (b"\x09s", store(16))], r"its record \ts"),
        (vec![good.clone(), (b"\x02u", granted("17"))], r"its record \x02u"),
        (vec![good.clone(), (b"\x02u", granted("s"))], r"its record \x02u"),
        (vec![good, (b"\x01s", store(17))], "missing or too low"),
        (vec![(b"\x01s", store(16))], "missing or too low"),
    ] {
        let Err(error) = with_catalog(&records) else { panic!("opened: {words}") };
        let told = error.to_string();
        assert!(told.contains(words), "{told}");
        let damage = matches!(error, OpenError::Catalog(_));
        assert_eq!(told.contains("`planck salvage --dir DIR --to NEW`"), damage, "{told}");
    }
}

#[test]
fn two_engines_do_not_share_a_directory() {
    let disk = SimDisk::new(1);
    let _first = open_on(disk.clone(), options());
    let second = Engine::open(
        disk,
        Arc::new(SimClock::new(NOW)),
        Arc::new(SimEntropy::new(1)),
        Options::default(),
    );
    let Err(error) = second else { panic!("opened twice") };
    assert!(error.to_string().contains("in use"), "{error}");
}

#[test]
fn maintenance_does_what_waits_and_then_nothing() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.storage.memtable_bytes = 4096;
    let engine = open_on(disk, options);
    done(&engine, create("s"));
    for key in 0..100 {
        insert(&engine, key, r#"{"text":"some bytes, to fill the memtable sooner or later"}"#);
    }
    let mut flushed = 0;
    loop {
        match engine.maintenance().unwrap() {
            crate::Step::Idle => break,
            crate::Step::Flushed(_) => flushed += 1,
            _ => {}
        }
    }
    assert!(flushed > 0);
    assert_eq!(engine.sync(), Ok(101));
    assert_eq!(engine.flush(), Ok(101));
    assert_eq!(all(&engine).len(), 100);
}
