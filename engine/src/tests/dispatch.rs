//! The path itself: decoding, roles, counts, replies to nonsense.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use platform::Clock;
use platform::sim::{SimDisk, SimEntropy};
use proptest::prelude::*;
use proto::doc::Doc;
use proto::request::{Act, Condition, Part, Step, StepsBuf};
use proto::{Header, Kind, Opcode, Reply, Request, Status};

use super::kit::*;
use crate::{Engine, Principal, Role};

#[test]
fn ping_is_answered_to_anybody() {
    let engine = open();
    let nobody = Principal::new("nobody", Role::None);
    assert_eq!(ask_as(&engine, &nobody, Request::Ping), Said::Empty);
}

#[test]
fn what_is_no_request_is_refused_under_its_id_if_it_has_one() {
    let engine = open();
    let header = |kind, code, body: &[u8]| {
        let body_len = body.len() as u32;
        let header = Header { kind, code, id: 5, body: body_len, patience: 0 };
        [&header.to_bytes()[..], body].concat()
    };
    let mut foreign = Header::cancel(6).to_bytes().to_vec();
    foreign[4] = 2;
    for (packet, id, status, word) in [
        (vec![], 0, Status::BadPacket, "header ends early"),
        (b"GET / HTTP/1.1\r\n\r\n-----------".to_vec(), 0, Status::BadPacket, "another protocol"),
        (header(Kind::Reply, 1, &[]), 5, Status::BadPacket, "not that of a request"),
        (header(Kind::Cancel, 0, &[]), 5, Status::BadPacket, "not that of a request"),
        (foreign, 6, Status::UnknownVersion, "protocol version is not 1"),
        (header(Kind::Request, 999, &[]), 5, Status::UnknownOpcode, "unknown to this server"),
        (header(Kind::Request, 1, &[0]), 5, Status::BadPacket, "left over"),
        (header(Kind::Request, 9, &[9]), 5, Status::BadPacket, "store name ends early"),
    ] {
        let mut out = Vec::new();
        engine.dispatch_packet(&admin(), &packet, &mut out);
        let (found, reply) = Reply::decode(&out).unwrap();
        assert_eq!(found, id, "{packet:?}");
        let Reply::Error { status: found, message } = reply else { panic!("{reply:?}") };
        assert_eq!(found, status, "{message}");
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_session_authenticates_once() {
    let words = &["already", "open another"];
    refused(&open(), Request::Auth { user: "a", key: "b" }, Status::BadPacket, words);
}

/// For each operation, a request that would be carried out if the role allowed it.
/// One that was given up.
static JOB_OF_OLD: LazyLock<Vec<u8>> = LazyLock::new(|| doc(r#"{"state": "dead"}"#));

fn each<'a>(batch: &'a proto::request::BatchBuf, document: &'a [u8]) -> Vec<Request<'a>> {
    static DDL: LazyLock<[Vec<u8>; 6]> = LazyLock::new(|| {
        [
            r#"{"fields": ["a"]}"#,
            r#"{"ttl": null}"#,
            r#"{"role": "read_only"}"#,
            r#"{"next": 7}"#,
            r#"{"name": "ci"}"#,
            r#"{"stores": ["s"]}"#,
        ]
        .map(doc)
    });
    static WITHIN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let (mut packet, mut room) = (Vec::new(), Vec::new());
        let part = Part::of(&read(1), &mut room);
        Request::Within { transaction: 1, part }.encode(1, &mut packet);
        packet
    });
    static JOB: LazyLock<Vec<u8>> = LazyLock::new(|| doc(r#"{"path": "/a"}"#));
    static APPLY: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let (mut packet, mut steps, document) = (Vec::new(), StepsBuf::new(), doc("{}"));
        let condition = Some(Condition::Present);
        for act in [Act::Insert(None, &document), Act::Put(proto::Key(1), &document)] {
            let condition = condition.filter(|_| act.key().is_some());
            steps.push(Step { store: "s", act, condition });
        }
        Request::Apply { steps: steps.as_steps() }.encode(1, &mut packet);
        packet
    });
    let [definition, change, user, sequence, key_of_user, watch] = &*DDL;
    let (store, key) = ("s", proto::Key(1));
    vec![
        Request::Ping,
        Request::Stats,
        Request::List,
        Request::CreateStore { store: "t", if_not_exists: true },
        Request::DropStore { store: "t", if_exists: true },
        Request::Insert { store, key: None, document },
        Request::BatchInsert { store, batch: batch.as_batch() },
        Request::Read { store, key },
        Request::Update { store, key, document, upsert: true },
        Request::Delete { store, key },
        Request::Scan { store, after: None, limit: 0, reverse: false },
        Request::Range { store, from: key, to: key, limit: 0, reverse: false },
        query("s.count()"),
        query("s.insert({a: 1})"),
        query("s.filter(a = 1).set({a: 1})"),
        query("s.filter(a = 1).delete()"),
        Request::Flush,
        Request::Backup { begin: false, full: false },
        Request::CreateIndex { store, if_not_exists: true, definition },
        Request::DropIndex { store, index: "i", if_exists: true },
        Request::AlterStore { store, change },
        Request::CheckIndexes { store, index: None },
        Request::CreateSequence { sequence: "n", if_not_exists: true },
        Request::DropSequence { sequence: "n", if_exists: true },
        Request::NextNumbers { sequence: "q", count: 2 },
        Request::ListSequences,
        Request::Stream { rows: 1, bytes: 0, text: "s", parameters: None },
        Request::Fetch { cursor: 1 },
        Request::CloseCursor { cursor: 1 },
        Request::RunningQueries,
        Request::CancelQuery { query: 1 },
        Request::CreateUser { user: "ann", if_not_exists: true, definition: user },
        Request::AlterUser { user: "bob", change: user },
        Request::DropUser { user: "ann", if_exists: true },
        Request::ListUsers { after: None },
        Request::DescribeStore { store },
        Request::AlterSequence { sequence: "q", change: sequence },
        Request::FormatQuery { text: "s" },
        Request::CreateKey { user: "bob", definition: key_of_user },
        Request::RevokeKey { user: "bob", key: "none", if_exists: true },
        Request::Begin { read_only: false, millis: 0 },
        Request::Commit { transaction: 1 },
        Request::Abort { transaction: 1 },
        Request::Savepoint { transaction: 1 },
        Request::Rollback { transaction: 1, savepoint: 1 },
        Request::decode(&WITHIN).unwrap().1,
        Request::ReloadModule,
        Request::Watch { what: watch },
        Request::Schedule { job: &JOB },
        Request::RetryJob { job: key },
        Request::decode(&APPLY).unwrap().1,
        Request::ReadVersion { store, key },
        Request::Follow { what: document },
        Request::Snapshot { what: key_of_user },
        Request::Position { what: document },
        Request::Promote,
        Request::Demote,
    ]
}

#[test]
fn every_role_does_what_it_may_and_nothing_else() {
    let (batch, document) = (batch(&[(None, "{}")]), doc("{}"));
    let requests = each(&batch, &document);
    for (who, expected) in [
        (
            Principal::new("u", Role::None),
            "y-----------------------------------------------------y--",
        ),
        (
            Principal::new("u", Role::Replica),
            "y---------------------------------------------------yyy--",
        ),
        (
            Principal::new("u", Role::ReadOnly),
            "yyy----y--yyy------------yyyyyy----y-y--yyyyyy-y---y--y--",
        ),
        (
            Principal::new("u", Role::ReadWrite),
            "yyy--yyyyyyyyyyy--------yyyyyyy----y-y--yyyyyy-y--yy--y--",
        ),
        (Principal::service("u"), "yyyy-yyyyyyyyyyy--y---y-yyyyyyy----y-y--yyyyyy-yyyyy--y--"),
        (
            Principal::new("u", Role::Admin),
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ),
    ] {
        let mut found = String::new();
        for request in &requests {
            let engine = with_backups();
            insert(&engine, 1, r#"{"a": 1}"#);
            done(&engine, Request::CreateSequence { sequence: "q", if_not_exists: false });
            put_user(&engine, "bob", Role::ReadWrite);
            let (store, document) = ("_dead_jobs", &JOB_OF_OLD);
            done(&engine, Request::Insert { store, key: Some(proto::Key(1)), document });
            // Cursor 1, if it may have one.
            let stream = Request::Stream { rows: 1, bytes: 0, text: "s", parameters: None };
            ask_as(&engine, &who, stream);
            // And transaction 1, with savepoint 1.
            ask_as(&engine, &who, Request::Begin { read_only: false, millis: 0 });
            ask_as(&engine, &who, Request::Savepoint { transaction: 1 });
            let lsn = engine.lsm.last_lsn();
            match ask_as(&engine, &who, *request) {
                Said::Refused(Status::Forbidden, message) => {
                    assert!(message.contains(who.role().name()), "{message}");
                    assert_eq!(engine.lsm.last_lsn(), lsn, "{request:?} changed something");
                    found.push('-');
                }
                // They may, and it comes to nothing: nobody follows, and it is the primary.
                Said::Refused(Status::BadFollow | Status::WrongRole, _)
                    if matches!(request, Request::Follow { .. } | Request::Promote) =>
                {
                    found.push('y');
                }
                Said::Refused(status, message) => panic!("{request:?}: {status} {message}"),
                _ => found.push('y'),
            }
        }
        assert_eq!(found, expected, "{who:?}");
    }
}

#[test]
fn who_may_not_read_is_not_told_what_is_wrong_with_a_query() {
    let nobody = Principal::new("nobody", Role::None);
    refused_as(&with_store(), &nobody, query("nonsense("), Status::Forbidden, &["none"]);
}

#[test]
fn requests_and_refusals_are_counted() {
    let engine = with_store();
    insert(&engine, 1, "{}");
    done(&engine, read(1));
    done(&engine, read(1));
    refused(&engine, read(2), Status::NotFound, &[]);
    engine.dispatch_packet(&admin(), b"nonsense", &mut Vec::new());
    let stats = engine.stats().unwrap();
    let stats = Doc::parse(&stats).unwrap();
    let figure = |path: &str| stats.path(path).and_then(|v| v.as_i64()).unwrap_or(-1);
    assert_eq!(figure("requests.Read"), 3);
    assert_eq!(figure("requests.Insert"), 1);
    assert_eq!(figure("requests.CreateStore"), 1);
    assert_eq!(figure("requests.Ping"), 0);
    assert_eq!(figure("refused"), 2);
    assert_eq!(figure("stores"), 1);
    assert_eq!(figure("lsn"), 2);
    assert_eq!(figure("flushed_lsn"), 0);
    assert!(figure("wal_bytes") > 0);
    let Said::Document(text) = done(&engine, Request::Stats) else { panic!() };
    assert!(text.contains("\"Stats\""), "{text}");
    assert!(!text.contains("poisoned"), "{text}");
}

/// A microsecond passes between two looks.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn wall_micros(&self) -> u64 {
        NOW
    }

    fn monotonic_nanos(&self) -> u64 {
        self.0.fetch_add(1000, Relaxed)
    }
}

#[test]
fn what_requests_take_is_told_by_origin_and_what_is_refused_by_code() {
    let entropy = Arc::new(SimEntropy::new(1));
    let clock = Arc::new(Ticking::default());
    let engine = Engine::open(SimDisk::new(1), clock, entropy, options()).unwrap();
    done(&engine, create("s"));
    let guest = Principal::service("web");
    for key in 1..=3 {
        ask_as(&engine, &guest, read(key));
    }
    refused(&engine, read(1), Status::NotFound, &[]);
    let figures = engine.figures().unwrap();
    let of = |opcode| figures.operations.iter().find(|of| of.opcode == opcode).unwrap();
    let reads = of(Opcode::Read);
    assert_eq!((reads.requests, reads.wire.count(), reads.guest.count()), (4, 1, 3));
    assert!(reads.guest.sum() >= 3000, "{:?}", reads.guest);
    assert_eq!(of(Opcode::Ping).wire.count(), 0);
    assert_eq!(figures.refusals, [(Status::NotFound, 4)]);
    assert_eq!((figures.stores, figures.users), (1, 0));
    let stats = engine.stats().unwrap();
    let stats = Doc::parse(&stats).unwrap();
    let figure = |path: &str| stats.path(path).and_then(|v| v.as_i64());
    assert_eq!(figure("latency.Read.count"), Some(4));
    assert!(figure("latency.Read.p50_us").is_some_and(|us| us >= 1));
    assert_eq!(figure("latency.Ping.count"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Bytes of a stranger, as they are and behind a header that fits them.
    #[test]
    fn nonsense_always_gets_one_well_formed_reply(
        packets in proptest::collection::vec(
            (any::<bool>(), 0u16..56, proptest::collection::vec(any::<u8>(), 0..120)),
            1..20,
        )
    ) {
        let engine = with_store();
        for (framed, code, bytes) in packets {
            let (kind, body) = (Kind::Request, bytes.len() as u32);
            let header = Header { kind, code, id: 3, body, patience: 0 };
            let packet = if framed { [&header.to_bytes()[..], &bytes].concat() } else { bytes };
            let mut out = Vec::new();
            engine.dispatch_packet(&admin(), &packet, &mut out);
            prop_assert!(Reply::decode(&out).is_ok(), "{:?}", out);
        }
    }

    /// Requests that begin well and have a few bytes changed.
    #[test]
    fn requests_with_changed_bytes_get_one_well_formed_reply(
        which in 0usize..49,
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let engine = with_store();
        insert(&engine, 9, "{}");
        ask(&engine, Request::Stream { rows: 1, bytes: 0, text: "s", parameters: None });
        ask(&engine, Request::Begin { read_only: false, millis: 0 });
        ask(&engine, Request::Savepoint { transaction: 1 });
        let (batch, document) = (batch(&[(None, "{}"), (Some(4), r#"{"a": [1, {"b": 2}]}"#)]), doc(r#"{"a": "x"}"#));
        let mut packet = Vec::new();
        each(&batch, &document)[which].encode(9, &mut packet);
        for (at, byte) in changes {
            let at = at % packet.len();
            packet[at] ^= byte;
        }
        let mut out = Vec::new();
        engine.dispatch_packet(&admin(), &packet, &mut out);
        prop_assert!(Reply::decode(&out).is_ok(), "{:?}", out);
    }
}

#[test]
fn each_operation_has_a_place_in_the_list_above() {
    let (batch, document) = (batch(&[]), doc("{}"));
    let mut listed: Vec<Opcode> = each(&batch, &document).iter().map(|r| r.opcode()).collect();
    listed.push(Opcode::Auth);
    listed.sort();
    listed.dedup();
    assert_eq!(listed, Opcode::ALL);
}
