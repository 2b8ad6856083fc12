//! What is waited for, and what there is no more of.

use super::*;

#[test]
fn a_commit_longer_than_a_page_comes_in_pieces() {
    let (primary, replica, _) = pair();
    let document = doc_of(100_000);
    done(&primary, Request::Insert { store: "s", key: Some(Key(2)), document: &document });
    insert(&primary, 3, "{}");
    primary.sync().unwrap();
    let (mut pages, mut frames) = (0, 0);
    loop {
        let took = page(&primary, &replica, 1000).unwrap();
        (pages, frames) = (pages + 1, frames + took.frames);
        if !took.more {
            break;
        }
    }
    assert!(pages > 100 && frames == 2, "{pages} pages, {frames} frames");
    same(&primary, &replica);
}

#[test]
fn a_position_is_waited_for() {
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    insert(&primary, 2, "{}");
    let lsn = primary.sync().unwrap();
    let what = doc(&format!(r#"{{"lsn": {lsn}, "max_wait_ms": 5000}}"#));
    let position = Request::Position { what: &what };
    refused(&replica, position, Status::NotReached, &["cannot be read here yet"]);
    let mut packet = Vec::new();
    position.encode(1, &mut packet);
    let ask = |may_wait| {
        let mut out = Vec::new();
        let call = crate::Call::default();
        let waits = replica.watch_or_wait(&admin(), &packet, (None, may_wait), &call, &mut out);
        (waits, out)
    };
    let (waits, out) = ask(true);
    assert_eq!(waits, Some(crate::Waits { behind: lsn - 1, millis: 5000 }));
    assert!(out.is_empty());
    follow(&primary, &replica);
    let (waits, out) = ask(true);
    assert!(waits.is_none());
    let proto::Reply::Document(told) = proto::Reply::decode(&out).unwrap().1 else { panic!() };
    let told = Doc::parse(told).unwrap();
    assert_eq!(told.get("lsn").unwrap().as_i64(), Some(lsn as i64));
    assert_eq!(told.get("role").unwrap().as_str(), Some("replica"));
    assert_eq!(told.get("primary").unwrap().as_str(), Some("db.example:24010"));
    let wrong = doc(r#"{"lsm": 1}"#);
    refused(&replica, Request::Position { what: &wrong }, Status::BadFollow, &["lsm"]);
}

#[test]
fn a_replica_whose_log_is_gone_is_told_so_and_made_anew() {
    let disk = SimDisk::new(1);
    let mut small = options();
    small.storage.wal_segment_bytes = 4096;
    small.storage.wal_retain_bytes = 8192;
    small.storage.memtable_bytes = 16 << 10;
    let primary = open_on(disk, small);
    done(&primary, create("s"));
    let second = SimDisk::new(2);
    bootstrap(&primary, &second);
    let replica = open_of(&second, "x:1", 7);
    follow(&primary, &replica);
    let text = format!(r#"{{"text": "{}"}}"#, "x".repeat(1000));
    for n in 1..=100 {
        insert(&primary, n, &text);
    }
    primary.flush().unwrap();
    while primary.maintenance().unwrap() != crate::Step::Idle {}
    insert(&primary, 101, &text);
    primary.flush().unwrap();
    while primary.maintenance().unwrap() != crate::Step::Idle {}
    let refused = page(&primary, &replica, 1 << 20).unwrap_err();
    assert_eq!(refused.status, Status::TooFarBehind, "{refused}");
    assert!(refused.message.contains("from a snapshot"), "{refused}");
    replica.want_bootstrap().unwrap();
    drop(replica);
    assert_eq!(place(&*second).unwrap(), Place::Behind);
    let disk: Arc<dyn Disk> = second.clone();
    let ask = Bootstrap::ask("two");
    let mut incoming = loop {
        let told = document(&primary, &replicator(), Request::Snapshot { what: &ask }).unwrap();
        match Bootstrap::offered(&disk, &told).unwrap() {
            Offered::Making => drop(primary.tend_snapshot(&|| true)),
            Offered::Failed(why) => panic!("{why}"),
            Offered::Ready(incoming) => break incoming,
        }
    };
    while let Some(what) = incoming.next(1 << 20) {
        let piece = document(&primary, &replicator(), Request::Snapshot { what: &what }).unwrap();
        incoming.take(&piece).unwrap();
    }
    incoming.finish(&SimClock::new(NOW), &options().storage).unwrap();
    let replica = open_of(&second, "x:1", 7);
    follow(&primary, &replica);
    same(&primary, &replica);
}

#[test]
fn a_page_has_as_many_bytes_as_are_asked_for_and_a_message_holds() {
    let limits = crate::Limits {
        max_message_size: 64 << 10,
        max_document_size: 30_000,
        max_batch_size: 1000,
        ..crate::Limits::default()
    };
    let primary = open_with(limits);
    let disk = SimDisk::new(2);
    bootstrap(&primary, &disk);
    let replica = open_of(&disk, "x:1", 7);
    let document = doc_of(29_000);
    for key in 1..=5 {
        done(&primary, Request::Insert { store: "s", key: Some(Key(key)), document: &document });
    }
    primary.sync().unwrap();
    let frames = |bytes| {
        let what = replica.follow_request(bytes, 0).unwrap();
        let page = document_of(&primary, &what);
        assert!(page.len() + 30 <= 64 << 10, "{}", page.len());
        match Doc::parse(&page).unwrap().get("frames") {
            Some(proto::doc::Value::Binary(binary)) => binary.bytes.len(),
            other => panic!("{other:?}"),
        }
    };
    for bytes in [1, 4096, 40_000] {
        assert_eq!(frames(bytes), bytes as usize);
    }
    assert_eq!(frames(u32::MAX), (64 << 10) - 1024);
    follow(&primary, &replica);
    assert_eq!(primary.lsm.last_lsn(), replica.lsm.last_lsn());
    assert_eq!(done(&primary, read(5)), done(&replica, read(5)));
}

fn document_of(primary: &Engine, what: &[u8]) -> Vec<u8> {
    document(primary, &replicator(), Request::Follow { what }).unwrap()
}

/// As a replica of that number asks.
fn asks(set: &str, number: u8) -> Vec<u8> {
    let id = format!("{number:032x}");
    let none = proto::doc::Value::Binary(proto::doc::Binary { subtype: 0, bytes: &[] });
    let mut what = proto::doc::DocBuf::new();
    what.push("set", set).push("replica", id.as_str()).push("name", "n");
    what.push("from", 1i64).push("skip", 0i64).push("durable", 0i64).push("terms", none);
    what.push("max_bytes", 1i64).push("max_wait_ms", 0i64);
    what.finish().unwrap()
}

#[test]
fn so_many_replicas_are_known_and_no_more() {
    let clock = Arc::new(SimClock::new(NOW));
    let primary = open_at(clock.clone(), SimDisk::new(1), options());
    done(&primary, create("s"));
    primary.sync().unwrap();
    let set = primary.replica.set_name();
    let follows = |number| {
        let what = asks(&set, number);
        document(&primary, &replicator(), Request::Follow { what: &what }).map(drop)
    };
    for number in 1..=16 {
        follows(number).unwrap();
    }
    let refused = follows(17).unwrap_err();
    assert_eq!(refused.status, Status::Busy);
    assert!(refused.message.contains("16 replicas"), "{refused}");
    follows(3).unwrap();
    assert_eq!(primary.replication().followers.len(), 16);
    assert_eq!(primary.lsm.holders().len(), 16);
    // Who has not asked for a minute makes room.
    clock.advance(std::time::Duration::from_secs(61));
    follows(17).unwrap();
    assert_eq!(primary.lsm.holders().len(), 16);
    // And what nobody asks for in a day is kept for nobody.
    clock.advance(std::time::Duration::from_secs(25 * 3600));
    follows(1).unwrap();
    assert_eq!(primary.replication().followers.len(), 1);
    assert_eq!(primary.lsm.holders().len(), 1);
}

#[test]
fn a_snapshot_that_nobody_asks_for_goes() {
    let (clock, disk) = (Arc::new(SimClock::new(NOW)), SimDisk::new(1));
    let primary = open_at(clock.clone(), disk.clone(), options());
    done(&primary, create("s"));
    let ask = Bootstrap::ask("two");
    let state =
        || text_of(&document(&primary, &replicator(), Request::Snapshot { what: &ask }).unwrap());
    assert!(state().contains("making"));
    primary.tend_snapshot(&|| true).unwrap().unwrap();
    assert!(state().contains("ready"));
    let there = || disk.files().iter().any(|name| name.starts_with("replica/snapshot/"));
    clock.advance(std::time::Duration::from_secs(599));
    assert!(primary.tend_snapshot(&|| true).is_none() && there());
    clock.advance(std::time::Duration::from_secs(2));
    assert!(primary.tend_snapshot(&|| true).is_none());
    assert!(!there());
    assert!(primary.lsm.holders().is_empty());
    assert!(state().contains("making"), "it is made anew");
}

#[test]
fn the_log_is_kept_for_a_replica_that_is_away_and_no_longer_than_for_it() {
    let mut small = options();
    small.storage.wal_segment_bytes = 4096;
    small.storage.memtable_bytes = 16 << 10;
    let clock = Arc::new(SimClock::new(NOW));
    let primary = open_at(clock.clone(), SimDisk::new(1), small);
    done(&primary, create("s"));
    let disk = SimDisk::new(2);
    bootstrap(&primary, &disk);
    let replica = open_of(&disk, "x:1", 7);
    follow(&primary, &replica);
    let text = format!(r#"{{"text": "{}"}}"#, "x".repeat(1000));
    let goes_on = |keys: std::ops::Range<u128>| {
        keys.for_each(|key| insert(&primary, key, &text));
        for _ in 0..2 {
            insert(&primary, 1000, &text_of_one());
            done(&primary, Request::Delete { store: "s", key: Key(1000) });
            primary.flush().unwrap();
            while primary.maintenance().unwrap() != crate::Step::Idle {}
        }
    };
    // The snapshot that it began with has been let go of.
    clock.advance(std::time::Duration::from_secs(601));
    assert!(primary.tend_snapshot(&|| true).is_none());
    goes_on(1..100);
    follow(&primary, &replica);
    same(&primary, &replica);
    // What it says to be durable is kept for it no longer.
    primary.sync().unwrap();
    assert!(!page(&primary, &replica, 1 << 20).unwrap().more);
    let before = primary.lsm.oldest_lsn();
    goes_on(100..110);
    assert!(primary.lsm.oldest_lsn() > before);
}

fn text_of_one() -> String {
    r#"{"one": 1}"#.to_owned()
}
