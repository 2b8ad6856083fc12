//! A primary and a replica of it, in one process, page by page.

use std::sync::Arc;

use platform::Disk;
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::Doc;
use proto::{Key, Request, Status};

use super::kit::*;
use crate::{
    AuditOptions, Bootstrap, Engine, Offered, Options, Place, Principal, Refusal, ReplicaOptions,
    ReplicaRole, Role, Took, place,
};

fn options_of(primary: &str) -> Options {
    let replica =
        ReplicaOptions { primary: Some(primary.to_owned()), name: "two".to_owned(), bootstraps: 0 };
    Options { replica, ..options() }
}

fn open_of(disk: &Arc<SimDisk>, primary: &str, seed: u64) -> Engine {
    let disk: Arc<dyn Disk> = disk.clone();
    let clock = Arc::new(SimClock::new(NOW + seed));
    Engine::open(disk, clock, Arc::new(SimEntropy::new(seed)), options_of(primary)).unwrap()
}

/// The document that is answered.
fn document(engine: &Engine, who: &Principal, request: Request<'_>) -> Result<Vec<u8>, Refusal> {
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    request.encode(1, &mut packet);
    engine.dispatch_packet(who, &packet, &mut out);
    match proto::Reply::decode(&out).unwrap().1 {
        proto::Reply::Document(document) => Ok(document.to_vec()),
        proto::Reply::Error { status, message } => Err(Refusal::new(status, message)),
        other => panic!("{other:?}"),
    }
}

fn replicator() -> Principal {
    Principal::new("two", Role::Replica)
}

/// One page from one to the other.
fn page(primary: &Engine, replica: &Engine, bytes: u32) -> Result<Took, Refusal> {
    let what = replica.follow_request(bytes, 0)?;
    let page = document(primary, &replicator(), Request::Follow { what: &what })?;
    replica.take_followed(&page)
}

/// Until the replica has all that is durable.
fn follow(primary: &Engine, replica: &Engine) {
    primary.sync().unwrap();
    while page(primary, replica, 1 << 20).unwrap().more {}
}

/// Makes the data of a replica on an empty disk.
fn bootstrap(primary: &Engine, disk: &Arc<SimDisk>) {
    let disk: Arc<dyn Disk> = disk.clone();
    assert_eq!(place(&*disk).unwrap(), Place::Empty);
    let ask = Bootstrap::ask("two");
    let mut incoming = loop {
        let told = document(primary, &replicator(), Request::Snapshot { what: &ask }).unwrap();
        match Bootstrap::offered(&disk, &told).unwrap() {
            Offered::Making => drop(primary.tend_snapshot(&|| true).unwrap().unwrap()),
            Offered::Failed(why) => panic!("{why}"),
            Offered::Ready(incoming) => break incoming,
        }
    };
    while let Some(what) = incoming.next(1000) {
        let piece = document(primary, &replicator(), Request::Snapshot { what: &what }).unwrap();
        incoming.take(&piece).unwrap();
    }
    incoming.finish(&SimClock::new(NOW), &options().storage).unwrap();
    assert_eq!(place(&*disk).unwrap(), Place::Replica);
}

/// A primary with the store `s` and a document, and a replica of it.
fn pair() -> (Engine, Engine, Arc<SimDisk>) {
    let primary = with_store();
    insert(&primary, 1, r#"{"a": 1}"#);
    let disk = SimDisk::new(2);
    bootstrap(&primary, &disk);
    let replica = open_of(&disk, "db.example:24010", 7);
    (primary, replica, disk)
}

fn same(primary: &Engine, replica: &Engine) {
    assert_eq!(all(primary), all(replica));
    let (one, two) = (primary.lsm.last_lsn(), replica.lsm.last_lsn());
    assert_eq!(one, two);
}

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
fn what_writes_is_refused_with_the_address_of_the_primary() {
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    let (document, change) = (doc("{}"), doc(r#"{"ttl": null}"#));
    let (user, index) = (doc(r#"{"role": "none"}"#), doc(r#"{"fields": ["b"]}"#));
    let (store, key) = ("s", Key(1));
    let mut steps = proto::request::StepsBuf::new();
    let act = proto::request::Act::Put(key, &document);
    steps.push(proto::request::Step { store, act, condition: None });
    let batch = batch(&[(None, "{}")]);
    for request in [
        Request::Insert { store, key: None, document: &document },
        Request::BatchInsert { store, batch: batch.as_batch() },
        Request::Update { store, key, document: &document, upsert: true },
        Request::Delete { store, key },
        Request::Apply { steps: steps.as_steps() },
        query("s.insert({a: 1})"),
        query("s.filter(a = 1).set({a: 2})"),
        query("s.filter(a = 1).delete()"),
        Request::Stream { rows: 0, bytes: 0, text: "s.filter(a = 1).delete()", parameters: None },
        create("t"),
        Request::CreateStore { store: "t", if_not_exists: true },
        drop_store("s"),
        Request::AlterStore { store, change: &change },
        Request::CreateIndex { store, if_not_exists: true, definition: &index },
        Request::DropIndex { store, index: "x", if_exists: false },
        Request::CreateSequence { sequence: "n", if_not_exists: true },
        Request::NextNumbers { sequence: "n", count: 1 },
        Request::CreateUser { user: "u", if_not_exists: true, definition: &user },
        Request::AlterUser { user: "u", change: &user },
        Request::DropUser { user: "u", if_exists: false },
        Request::CreateKey { user: "u", definition: &user },
        Request::RevokeKey { user: "u", key: "k", if_exists: false },
        Request::Schedule { job: &document },
        Request::RetryJob { job: key },
    ] {
        refused(&replica, request, Status::NotLeader, &["primary", "db.example:24010"]);
    }
    // What finds nothing to change is no write.
    done(&replica, Request::CreateStore { store, if_not_exists: true });
    done(&replica, Request::DropStore { store: "none", if_exists: true });
    done(&replica, query("s.filter(a = 1).delete().explain()"));
    done(&replica, Request::Flush);
    // In a transaction: what reads is carried out.
    let begun = done(&replica, Request::Begin { read_only: false, millis: 0 });
    let Said::Document(text) = begun else { panic!("{begun:?}") };
    assert!(text.contains(r#""transaction": 1"#) || text.contains("transaction"), "{text}");
    let mut room = Vec::new();
    let part = proto::request::Part::of(&read(1), &mut room);
    done(&replica, Request::Within { transaction: 1, part });
    let mut room = Vec::new();
    let insert = Request::Insert { store, key: None, document: &document };
    let part = proto::request::Part::of(&insert, &mut room);
    let within = Request::Within { transaction: 1, part };
    refused(&replica, within, Status::NotLeader, &["db.example:24010"]);
    done(&replica, Request::Commit { transaction: 1 });
    // The engine's own work commits nothing either.
    let before = replica.lsm.last_lsn();
    while replica.tend().unwrap() {}
    assert_eq!(replica.lsm.last_lsn(), before);
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
fn who_may_follow_is_a_replica_or_an_admin() {
    let (primary, replica, _) = pair();
    let what = replica.follow_request(1 << 20, 0).unwrap();
    for role in Role::ALL {
        let who = Principal::new("u", role);
        let asked = document(&primary, &who, Request::Follow { what: &what });
        let may = matches!(role, Role::Replica | Role::Admin);
        assert_eq!(asked.is_ok(), may, "{}", role.name());
        // And nothing else.
        let reads = ask_as(&primary, &who, read(1));
        assert_eq!(matches!(reads, Said::Refused(..)), role < Role::ReadOnly, "{}", role.name());
    }
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

#[test]
fn a_promoted_replica_takes_writes_and_the_old_primary_is_fenced() {
    let (primary, replica, disk) = pair();
    insert(&primary, 2, "{}");
    follow(&primary, &replica);
    refused(&primary, Request::Promote, Status::WrongRole, &["already"]);
    let told = document(&replica, &admin(), Request::Promote).unwrap();
    let lsn = replica.lsm.last_lsn() as i64;
    let told = Doc::parse(&told).unwrap();
    let number = |name| told.get(name).unwrap().as_i64();
    assert_eq!((number("term"), number("lsn")), (Some(1), Some(lsn)));
    insert(&replica, 3, "{}");
    assert!(replica.leads());
    assert_eq!(page(&primary, &replica, 9).unwrap_err().status, Status::WrongRole);
    // It is the primary after a restart, too.
    replica.sync().unwrap();
    drop(replica);
    let promoted = open_of(&disk, "db.example:24010", 9);
    insert(&promoted, 4, "{}");

    // A replica of the new primary that comes to the old one tells it that it is none.
    let third = SimDisk::new(3);
    bootstrap(&promoted, &third);
    let third = open_of(&third, "x:1", 5);
    follow(&promoted, &third);
    let what = third.follow_request(1 << 20, 0).unwrap();
    let asked = document(&primary, &replicator(), Request::Follow { what: &what }).unwrap_err();
    assert_eq!(asked.status, Status::OlderTerm, "{asked}");
    assert!(!primary.leads());
    refused(&primary, query("s.insert({a: 1})"), Status::NotLeader, &["replica"]);
    // It had no commit of its own since: it may follow.
    follow(&promoted, &primary);
    same(&promoted, &primary);
    same(&promoted, &third);
}

#[test]
fn an_old_primary_with_commits_of_its_own_is_not_merged() {
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    insert(&primary, 2, r#"{"of": "the old primary"}"#);
    done(&replica, Request::Promote);
    insert(&replica, 2, r#"{"of": "the new one"}"#);
    primary.sync().unwrap();
    replica.sync().unwrap();
    done(&primary, Request::Demote);
    refused(&primary, Request::Demote, Status::WrongRole, &["already"]);
    let before = primary.lsm.last_lsn();
    let refused = page(&replica, &primary, 1 << 20).unwrap_err();
    assert_eq!(refused.status, Status::Diverged, "{refused}");
    assert!(refused.message.contains(&format!("commits {before} to {before}")), "{refused}");
    assert_eq!(primary.lsm.last_lsn(), before);
    // Nor does a promoted one take a page of the old.
    let told = document(&primary, &replicator(), Request::Follow { what: &doc("{}") });
    assert_eq!(told.unwrap_err().status, Status::BadFollow);
}

#[test]
fn two_replicas_promoted_each_for_itself_do_not_follow_one_another() {
    let (primary, one, _) = pair();
    let disk = SimDisk::new(3);
    bootstrap(&primary, &disk);
    let two = open_of(&disk, "x:1", 5);
    follow(&primary, &one);
    follow(&primary, &two);
    done(&one, Request::Promote);
    done(&two, Request::Promote);
    done(&two, Request::Demote);
    one.sync().unwrap();
    assert_eq!(page(&one, &two, 1 << 20).unwrap_err().status, Status::Diverged);
}

#[test]
fn promotions_and_demotions_are_in_the_audit_log() {
    let disk = SimDisk::new(1);
    let audit = Some(AuditOptions::default());
    let engine = open_on(disk.clone(), Options { audit, ..options() });
    done(&engine, Request::Demote);
    done(&engine, Request::Promote);
    let of = |name: &&String| name.starts_with("audit/");
    let files = disk.files();
    let lines: String = files
        .iter()
        .filter(of)
        .map(|name| String::from_utf8(disk.file_bytes(name).unwrap()).unwrap())
        .collect();
    for words in [r#""Demote""#, r#""Promote""#] {
        assert_eq!(lines.matches(words).count(), 2, "begun and done: {lines}");
    }
}

#[test]
fn a_promotion_that_a_crash_cut_off_is_whole_or_was_none() {
    let calls = {
        let (primary, replica, disk) = pair();
        follow(&primary, &replica);
        let before = disk.calls();
        done(&replica, Request::Promote);
        disk.calls() - before
    };
    let (mut whole, mut none) = (0, 0);
    for at in 0..calls {
        let (primary, replica, disk) = pair();
        follow(&primary, &replica);
        disk.crash_after(at);
        let said = ask(&replica, Request::Promote);
        drop(replica);
        let disk = disk.restart_worst();
        let again = open_of(&disk, "x:1", 11);
        match again.leads() {
            true => {
                whole += 1;
                assert_eq!(again.replication().term, 1);
                insert(&again, 5, "{}");
            }
            false => {
                none += 1;
                assert!(matches!(said, Said::Refused(..)), "call {at}: {said:?}");
                follow(&primary, &again);
                same(&primary, &again);
                done(&again, Request::Promote);
            }
        }
    }
    assert!(whole > 0 && none > 0, "{whole} {none}");
}

#[test]
fn watchers_of_a_replica_see_what_is_committed_at_the_primary_and_go_on_at_either() {
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    let what = doc(r#"{"stores": ["s"], "since": 0}"#);
    let watch = |engine: &Engine, what: &[u8]| {
        text_of(&document(engine, &admin(), Request::Watch { what }).unwrap())
    };
    insert(&primary, 2, r#"{"n": 2}"#);
    follow(&primary, &replica);
    let lsn = primary.lsm.last_lsn() - 1;
    let since = doc(&format!(r#"{{"stores": ["s"], "since": {lsn}}}"#));
    let told = watch(&replica, &since);
    assert!(told.contains(r#""op": "insert""#) || told.contains("insert"), "{told}");
    assert_eq!(told, watch(&primary, &since), "token and all");
    drop(what);
}

#[test]
fn a_user_dropped_at_the_primary_is_out_at_the_replica_and_others_stay_in() {
    let (primary, replica, _) = pair();
    for user in ["ann", "bob"] {
        let definition = doc(r#"{"role": "read_only", "key": "a-key-of-my-own-choice"}"#);
        done(&primary, Request::CreateUser { user, if_not_exists: false, definition: &definition });
    }
    follow(&primary, &replica);
    let ann = replica.authenticate("ann", "a-key-of-my-own-choice").unwrap();
    let bob = replica.authenticate("bob", "a-key-of-my-own-choice").unwrap();
    assert!(!matches!(ask_as(&replica, &ann, read(1)), Said::Refused(..)));
    done(&primary, Request::DropUser { user: "ann", if_exists: false });
    done(&primary, create("more"));
    follow(&primary, &replica);
    let said = ask_as(&replica, &ann, read(1));
    assert!(matches!(said, Said::Refused(Status::NotAuthenticated, _)), "{said:?}");
    assert!(!matches!(ask_as(&replica, &bob, read(1)), Said::Refused(..)));
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
fn a_guest_that_would_write_is_answered_for_and_one_that_reads_is_not() {
    use crate::{Calls, Concluded};
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    let calls = Calls::new(Arc::new(replica), Principal::service("shop"), 1000, true);
    let response = |status| {
        let mut out = Vec::new();
        proto::http::write_response(&mut out, status, &proto::http::HeadersBuf::default(), b"");
        out
    };
    let conclude = |requests: &[Request<'_>], status| {
        let call = calls.begin_write(1, false);
        for request in requests {
            let (mut packet, mut reply) = (Vec::new(), Vec::new());
            request.encode(1, &mut packet);
            calls.request(call, &packet, &mut reply);
        }
        let (concluded, _) = calls.conclude(call, (1, false), &response(status), None);
        calls.end(call);
        concluded
    };
    let document = doc("{}");
    let insert = Request::Insert { store: "s", key: None, document: &document };
    assert_eq!(conclude(&[read(1)], 200), Concluded::Stands);
    assert_eq!(conclude(&[read(1)], 500), Concluded::Stands);
    let Concluded::Refused(refusal) = conclude(&[insert], 500) else { panic!() };
    assert_eq!(refusal.status, Status::NotLeader);
    assert!(refusal.message.contains("db.example:24010"), "{refusal}");
    // The guest has made something of it.
    assert_eq!(conclude(&[insert], 200), Concluded::Stands);
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
