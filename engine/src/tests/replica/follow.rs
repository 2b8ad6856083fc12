//! A replica is what its primary is, page by page.

use super::*;

#[test]
fn a_replica_has_what_its_primary_has() {
    let (primary, replica, disk) = pair();
    assert_eq!(
        (primary.replica_role(), replica.replica_role()),
        (ReplicaRole::Primary, ReplicaRole::Replica)
    );
    same(&primary, &replica);
    // Documents, stores, indexes, users and sequences come by the log.
    insert(&primary, 2, r#"{"a": 2}"#);
    done(&primary, Request::Delete { store: "s", key: Key(1) });
    let index = doc(r#"{"fields": ["a"]}"#);
    done(&primary, Request::CreateIndex { store: "s", if_not_exists: false, definition: &index });
    while primary.tend().unwrap() {}
    done(&primary, create("t"));
    done(&primary, Request::CreateSequence { sequence: "n", if_not_exists: false });
    done(&primary, Request::NextNumbers { sequence: "n", count: 5 });
    put_user(&primary, "ann", Role::ReadOnly);
    follow(&primary, &replica);
    same(&primary, &replica);
    let explain = "s.filter(a = 2).explain()";
    assert_eq!(done(&primary, query(explain)), done(&replica, query(explain)));
    assert_eq!(done(&primary, Request::ListSequences), done(&replica, Request::ListSequences));
    assert_eq!(
        done(&primary, Request::ListUsers { after: None }),
        done(&replica, Request::ListUsers { after: None })
    );
    assert_eq!(done(&primary, Request::List), done(&replica, Request::List));
    // The frames are the very ones.
    let frames = |engine: &Engine| {
        let mut cursor = engine.lsm.frames(engine.lsm.last_lsn() - 5).unwrap();
        let mut all = Vec::new();
        while let Some(frame) = cursor.next().unwrap() {
            all.push((frame.lsn, frame.wall_micros, frame.payload.to_vec()));
        }
        assert_eq!(all.len(), 6);
        all
    };
    assert_eq!(frames(&primary), frames(&replica));
    // And stay over a restart, without the clock or the primary.
    drop(replica);
    let replica = open_of(&disk, "db.example:24010", 8);
    same(&primary, &replica);
    assert!(!replica.leads());
}

#[test]
fn only_what_is_durable_is_shipped() {
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    insert(&primary, 2, "{}");
    assert_eq!(page(&primary, &replica, 1 << 20).unwrap(), Took { frames: 0, more: false });
    assert_eq!(all(&replica).len(), 1);
    primary.sync().unwrap();
    assert_eq!(page(&primary, &replica, 1 << 20).unwrap(), Took { frames: 1, more: false });
    assert_eq!(all(&replica).len(), 2);
}

#[test]
fn a_page_that_is_not_as_it_was_sent_changes_nothing() {
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    insert(&primary, 2, r#"{"text": "what was sent"}"#);
    insert(&primary, 3, r#"{"text": "and more"}"#);
    primary.sync().unwrap();
    let what = replica.follow_request(1 << 20, 0).unwrap();
    let good = document(&primary, &replicator(), Request::Follow { what: &what }).unwrap();
    let before = replica.lsm.last_lsn();
    let text = b"and more";
    let at = good.windows(text.len()).position(|w| w == text).unwrap();
    let mut damaged = good.clone();
    damaged[at] ^= 1;
    let refused = replica.take_followed(&damaged).unwrap_err();
    assert_eq!(refused.status, Status::BadFollow);
    assert!(refused.message.contains("checksum"), "{refused}");
    assert_eq!(replica.lsm.last_lsn(), before, "the frame before it was not applied either");
    assert_eq!(replica.take_followed(&good).unwrap().frames, 2);
    // A second time it is out of order.
    let refused = replica.take_followed(&good).unwrap_err();
    assert_eq!(refused.status, Status::BadFollow);
    assert!(refused.message.contains("was asked for"), "{refused}");
    same(&primary, &replica);
}

#[test]
fn another_store_is_refused_by_both() {
    let (primary, replica, _) = pair();
    let other = open_at(Arc::new(SimClock::new(NOW + 99)), SimDisk::new(9), options());
    let what = replica.follow_request(1 << 20, 0).unwrap();
    let asked = document(&other, &replicator(), Request::Follow { what: &what }).unwrap_err();
    assert_eq!(asked.status, Status::OtherStore);
    let other_replica_page = {
        let disk = SimDisk::new(3);
        bootstrap(&other, &disk);
        let second = open_of(&disk, "x:1", 4);
        let what = second.follow_request(1 << 20, 0).unwrap();
        document(&other, &replicator(), Request::Follow { what: &what }).unwrap()
    };
    let refused = replica.take_followed(&other_replica_page).unwrap_err();
    assert_eq!(refused.status, Status::OtherStore);
    same(&primary, &replica);
}
