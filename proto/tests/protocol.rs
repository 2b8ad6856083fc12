//! `docs/protocol.md` is what the encoders write: its golden packets, byte by byte, and
//! its tables of operations and statuses.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use proto::doc::{Binary, Decimal128, DocBuf, ObjectId, Regex, Value};
use proto::packet::{HEADER_BYTES, Header};
use proto::request::{Act, BatchBuf, Condition, Part, Step, StepsBuf};
use proto::wire::Greeting;
use proto::{Key, NewJob, Opcode, Reply, ReplyWriter, Request, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// SHA-256 of two modules, as text.
const NOW: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const BEFORE: &str = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752";

const K: Key = Key(0x0190_b0c2_a1d0_7e3f_8c4d_5e6f_7081_92a3);

/// The packets, by name.
#[derive(Default)]
struct Golden(BTreeMap<&'static str, Vec<u8>>);

impl Golden {
    fn put(&mut self, name: &'static str, packet: Vec<u8>) {
        assert!(self.0.insert(name, packet).is_none(), "{name} is there twice");
    }

    fn ask(&mut self, name: &'static str, id: u64, request: Request<'_>) {
        self.ask_with_patience(name, id, 0, request);
    }

    fn ask_with_patience(&mut self, name: &'static str, id: u64, patience: u32, ask: Request<'_>) {
        let mut packet = Vec::new();
        ask.encode_with_patience(id, patience, &mut packet);
        assert_eq!(Request::decode(&packet), Ok((id, ask)), "{name}");
        self.put(name, packet);
    }

    fn answer(&mut self, name: &'static str, id: u64, write: impl FnOnce(ReplyWriter<'_>)) {
        let mut packet = Vec::new();
        write(ReplyWriter::new(id, &mut packet));
        assert_eq!(Reply::decode(&packet).unwrap().0, id, "{name}");
        self.put(name, packet);
    }

    fn refuse(&mut self, name: &'static str, id: u64, status: Status, message: &str) {
        self.answer(name, id, |reply| reply.error(status, message));
    }
}

fn doc(fill: impl FnOnce(&mut DocBuf)) -> Vec<u8> {
    let mut doc = DocBuf::new();
    fill(&mut doc);
    doc.finish().unwrap()
}

fn golden() -> Golden {
    let mut g = Golden::default();
    let (store, sequence, user) = ("flights", "tickets", "bob");
    let d = doc(|doc| {
        doc.push("a", Value::Int32(7));
    });

    g.ask("auth", 1, Request::Auth { user: "ann", key: "correct horse battery" });
    let greeting = Greeting {
        server: "planck 0.1.0",
        session: 7,
        user: "ann",
        role: "read_write",
        max_message_size: 16 << 20,
        max_in_flight: 64,
        idle_timeout_ms: 604_800_000,
    };
    g.answer("auth-reply", 1, |reply| reply.document(&greeting.encode()));
    g.refuse("auth-refused", 1, Status::BadCredentials, "the user or the key is wrong");
    g.ask("ping", 2, Request::Ping);
    g.answer("empty-reply", 2, |reply| reply.empty());
    g.ask_with_patience("ping-with-patience", 3, 1500, Request::Ping);
    g.refuse("timeout-reply", 3, Status::Timeout, "the caller waited long enough");
    g.put("cancel", Header::cancel(3).to_bytes().to_vec());
    g.refuse("cancelled-reply", 3, Status::Cancelled, "cancelled; nothing changed");
    let mut foreign = Vec::new();
    Request::Ping.encode(4, &mut foreign);
    foreign[4] = 2;
    g.put("ping-of-version-2", foreign);
    g.refuse("unknown-version-reply", 4, Status::UnknownVersion, "version 1 is spoken here");

    g.ask("insert", 5, Request::Insert { store, key: None, document: &d });
    g.answer("key-reply", 5, |reply| reply.key(K));
    g.ask("insert-with-key", 6, Request::Insert { store, key: Some(K), document: &d });
    let mut batch = BatchBuf::new();
    batch.push(Some(Key(1)), &d);
    batch.push(None, &d);
    g.ask("batch-insert", 7, Request::BatchInsert { store, batch: batch.as_batch() });
    g.answer("keys-reply", 7, |reply| reply.keys(&[Key(1), K]));
    g.ask("read", 8, Request::Read { store, key: K });
    g.answer("row-reply", 8, |reply| {
        let mut rows = reply.rows(true);
        rows.push(K, &d);
        rows.finish(None);
    });
    let message = "there is no document under that key";
    g.refuse("not-found-reply", 8, Status::NotFound, message);
    g.ask("update", 9, Request::Update { store, key: K, document: &d, upsert: true });
    g.ask("delete", 10, Request::Delete { store, key: K });
    g.answer("count-reply", 10, |reply| reply.count(1));
    g.ask("scan", 11, Request::Scan { store, after: Some(K), limit: 100, reverse: false });
    let next = Key(K.0 + 1);
    g.answer("scan-reply", 11, |reply| {
        let mut rows = reply.rows(true);
        rows.push(next, &d);
        rows.finish(Some(next));
    });
    let (from, to) = (Key::MIN, Key::MAX);
    g.ask("range", 12, Request::Range { store, from, to, limit: 0, reverse: true });

    let one = doc(|doc| {
        doc.push("1", Value::Int32(7));
    });
    let text = "flights.filter(a = $1)";
    g.ask("query", 13, Request::Query { text, parameters: Some(&one) });
    let text = "flights.count()";
    g.ask("query-without-parameters", 14, Request::Query { text, parameters: None });
    let (rows, bytes, text) = (1000, 1 << 20, "flights.pluck(a)");
    g.ask("stream", 15, Request::Stream { rows, bytes, text, parameters: None });
    g.answer("cursor-reply", 15, |reply| {
        let mut rows = reply.rows(false);
        rows.push(Key::MIN, &d);
        rows.finish_with_cursor(42);
    });
    g.ask("fetch", 16, Request::Fetch { cursor: 42 });
    g.answer("last-page-reply", 16, |reply| reply.rows(false).finish(None));
    g.ask("close-cursor", 17, Request::CloseCursor { cursor: 42 });
    g.ask("running-queries", 18, Request::RunningQueries);
    g.ask("cancel-query", 19, Request::CancelQuery { query: 42 });
    g.ask("format-query", 20, Request::FormatQuery { text: "flights.count( )" });

    g.ask("list", 21, Request::List);
    g.ask("create-store", 22, Request::CreateStore { store, if_not_exists: true });
    g.ask("drop-store", 23, Request::DropStore { store, if_exists: false });
    let change = doc(|doc| {
        doc.push("rename", "trips");
    });
    g.ask("alter-store", 24, Request::AlterStore { store, change: &change });
    g.ask("describe-store", 25, Request::DescribeStore { store });
    let definition = doc(|doc| {
        doc.array("fields", |fields| {
            fields.item("from").item("-at");
        });
        doc.push("unique", true);
    });
    let definition = &definition[..];
    g.ask("create-index", 26, Request::CreateIndex { store, if_not_exists: false, definition });
    let index = "from_at_desc";
    g.ask("drop-index", 27, Request::DropIndex { store, index, if_exists: true });
    g.ask("check-indexes", 28, Request::CheckIndexes { store, index: None });
    g.ask("create-sequence", 29, Request::CreateSequence { sequence, if_not_exists: false });
    g.ask("drop-sequence", 30, Request::DropSequence { sequence, if_exists: true });
    g.ask("next-numbers", 31, Request::NextNumbers { sequence, count: 10 });
    let numbers = doc(|doc| {
        doc.push("first", Value::Int64(1)).push("count", Value::Int64(10));
    });
    g.answer("next-numbers-reply", 31, |reply| reply.document(&numbers));
    g.ask("list-sequences", 32, Request::ListSequences);
    let change = doc(|doc| {
        doc.push("next", Value::Int64(1000));
    });
    g.ask("alter-sequence", 33, Request::AlterSequence { sequence, change: &change });

    let definition = doc(|doc| {
        doc.push("role", "read_only");
    });
    let definition = &definition[..];
    g.ask("create-user", 34, Request::CreateUser { user, if_not_exists: false, definition });
    let change = doc(|doc| {
        doc.push("key", Value::Null);
    });
    g.ask("alter-user", 35, Request::AlterUser { user, change: &change });
    g.ask("drop-user", 36, Request::DropUser { user, if_exists: true });
    g.ask("list-users", 37, Request::ListUsers { after: None });
    g.ask("list-users-on", 44, Request::ListUsers { after: Some(user) });
    g.ask("stats", 38, Request::Stats);
    g.ask("flush", 39, Request::Flush);
    g.ask("backup", 40, Request::Backup { begin: true, full: false });

    let kinds = doc(|doc| {
        doc.push("double", 1.5).push("string", "né").doc("document", |_| {});
        doc.array("array", |items| {
            items.item(Value::Int32(1)).item(Value::Int32(2));
        });
        doc.push("binary", Value::Binary(Binary { subtype: 0, bytes: &[1, 2, 3] }));
        let id = ObjectId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        doc.push("objectId", Value::ObjectId(id)).push("bool", true);
        doc.push("dateTime", Value::DateTime(1_700_000_000_000)).push("null", Value::Null);
        doc.push("regex", Value::Regex(Regex { pattern: "^a", options: "i" }));
        doc.push("int32", Value::Int32(-1));
        doc.push("timestamp", Value::Timestamp((1_700_000_000 << 32) | 5));
        doc.push("int64", Value::Int64(1 << 40));
        let decimal: Decimal128 = "123.45".parse().unwrap();
        doc.push("decimal128", Value::Decimal128(decimal));
        doc.push("minKey", Value::MinKey).push("maxKey", Value::MaxKey);
    });
    g.ask("insert-every-kind", 41, Request::Insert { store, key: None, document: &kinds });

    let expires = Value::DateTime(1_800_000_000_000);
    let definition = doc(|doc| {
        doc.push("name", "ci").push("expires", expires);
    });
    g.ask("create-key", 42, Request::CreateKey { user, definition: &definition });
    let made = doc(|doc| {
        let key = "5b1ec5b7a90e41d20123456789abcdef0123456789abcdef0123456789abcdef";
        doc.push("user", user).push("name", "ci").push("key", key).push("expires", expires);
    });
    g.answer("create-key-reply", 42, |reply| reply.document(&made));
    g.ask("reload-module", 45, Request::ReloadModule);
    let reloaded = doc(|doc| {
        doc.push("module", NOW).push("before", BEFORE).push("changed", true);
        doc.push("took_us", Value::Int64(12_345));
    });
    g.answer("reload-module-reply", 45, |reply| reply.document(&reloaded));
    let job = NewJob::route("/a").text("hi").after(Duration::from_millis(1500)).max_attempts(3);
    g.ask("schedule", 46, Request::Schedule { job: &job.encode().unwrap() });
    g.ask("retry-job", 47, Request::RetryJob { job: K });
    g.ask("revoke-key", 43, Request::RevokeKey { user, key: "ci", if_exists: false });

    let transaction = 9;
    g.ask("begin", 45, Request::Begin { read_only: false, millis: 5000 });
    let begun = doc(|doc| {
        doc.push("transaction", Value::Int64(9)).push("lsn", Value::Int64(1234));
        doc.push("time_ms", Value::Int64(5000));
    });
    g.answer("begin-reply", 45, |reply| reply.document(&begun));
    let mut room = Vec::new();
    let part = Part::of(&Request::Read { store, key: K }, &mut room);
    g.ask("within", 46, Request::Within { transaction, part });
    g.ask("savepoint", 47, Request::Savepoint { transaction });
    g.ask("rollback", 48, Request::Rollback { transaction, savepoint: 2 });
    g.ask("commit", 49, Request::Commit { transaction });
    g.refuse("conflict-reply", 49, Status::TransactionConflict, "begin it again");
    g.ask("abort", 50, Request::Abort { transaction });

    let what = doc(|doc| {
        doc.array("stores", |list| {
            list.item("orders");
        });
        doc.push("since", "6f1c0000000000000000000000000a92.17.1233.0");
        doc.push("max_wait_ms", 30_000);
    });
    g.ask("watch", 51, Request::Watch { what: &what });
    let page = doc(|doc| {
        doc.array("events", |list| {
            list.item_doc(|event| {
                event.push("lsn", Value::Int64(1234)).push("at", Value::Int64(1));
                event.push("last", true).push("time", Value::DateTime(1_700_000_000_000));
                event.push("store", "orders").push("op", "insert").push("key", &K.to_string());
                event.doc("document", |document| {
                    document.push("n", 1);
                });
            });
        });
        doc.push("next", "6f1c0000000000000000000000000a92.17.1234.0");
        doc.push("durable", Value::Int64(1234));
    });
    g.answer("watch-reply", 51, |reply| reply.document(&page));
    g.refuse("watch-gap-reply", 51, Status::WatchGap, "begin anew (oldest 900, newest 1234)");
    g.ask("read-version", 51, Request::ReadVersion { store, key: K });
    g.answer("version-reply", 51, |reply| reply.versioned(1234, &d));
    let mut steps = StepsBuf::new();
    let version = Some(Condition::Version(1234));
    steps.push(Step { store, act: Act::Replace(K, &d), condition: version });
    steps.push(Step { store, act: Act::Insert(None, &d), condition: None });
    steps.push(Step { store: "seats", act: Act::Delete(K), condition: Some(Condition::Present) });
    steps.push(Step { store: "seats", act: Act::Check(next), condition: Some(Condition::Absent) });
    g.ask("apply", 52, Request::Apply { steps: steps.as_steps() });
    let keys: Vec<u8> = [K, next, K, next].into_iter().flat_map(Key::to_bytes).collect();
    let applied = doc(|doc| {
        doc.push("version", Value::Int64(1240));
        doc.push("keys", Value::Binary(Binary { subtype: 0, bytes: &keys }));
    });
    g.answer("apply-reply", 52, |reply| reply.document(&applied));
    let message = "step 1: it was to have version 1234, and has version 1236";
    g.refuse("condition-reply", 52, Status::ConditionFailed, message);

    let position = doc(|doc| {
        doc.push("lsn", Value::Int64(1240)).push("max_wait_ms", 5000);
    });
    g.ask("position", 53, Request::Position { what: &position });
    let reached = doc(|doc| {
        doc.push("role", "replica").push("term", Value::Int64(1));
        doc.push("lsn", Value::Int64(1240)).push("durable", Value::Int64(1240));
        doc.push("set", "6f1c0000000000000000000000000a92");
        doc.push("primary", "10.0.0.1:24010").push("connected", true);
        doc.push("primary_durable", Value::Int64(1242)).push("behind", Value::Int64(2));
    });
    g.answer("position-reply", 53, |reply| reply.document(&reached));
    g.refuse("not-leader-reply", 54, Status::NotLeader, "send them to the primary");
    let term = [[1u64, 1236, 0x0a0b], [2, 1240, 0x0c0d]].concat();
    let terms: Vec<u8> = term.into_iter().flat_map(u64::to_le_bytes).collect();
    let binary = |bytes| Value::Binary(Binary { subtype: 0, bytes });
    let follow = doc(|doc| {
        doc.push("set", "6f1c0000000000000000000000000a92");
        doc.push("replica", "7a000000000000000000000000000001").push("name", "two");
        doc.push("from", Value::Int64(1241)).push("skip", Value::Int64(0));
        doc.push("durable", Value::Int64(1240)).push("terms", binary(&terms));
        doc.push("max_bytes", Value::Int64(1 << 20)).push("max_wait_ms", Value::Int64(5000));
    });
    g.ask("follow", 55, Request::Follow { what: &follow });
    let page = doc(|doc| {
        doc.push("set", "6f1c0000000000000000000000000a92").push("terms", binary(&terms));
        doc.push("from", Value::Int64(1241)).push("skip", Value::Int64(0));
        doc.push("durable", Value::Int64(1240)).push("now", Value::Int64(1_700_000_000_000_000));
        doc.push("behind_bytes", Value::Int64(0)).push("frames", binary(&[]));
    });
    g.answer("follow-reply", 55, |reply| reply.document(&page));
    let begin = doc(|doc| {
        doc.push("begin", true).push("name", "two");
    });
    g.ask("snapshot", 56, Request::Snapshot { what: &begin });
    let piece = doc(|doc| {
        doc.push("snapshot", Value::Int64(7)).push("file", "0000000001.pages");
        doc.push("at", Value::Int64(4096)).push("max_bytes", Value::Int64(1 << 20));
    });
    g.ask("snapshot-piece", 56, Request::Snapshot { what: &piece });
    g.ask("promote", 57, Request::Promote);
    g.ask("demote", 58, Request::Demote);
    g
}

/// The blocks of the document that begin with ```hex and a name.
fn written() -> BTreeMap<&'static str, Vec<u8>> {
    let mut found = BTreeMap::new();
    for block in DOCUMENT.split("\n```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let hex = rest.split_once("\n```").unwrap().0;
        let bytes = hex.split_whitespace().map(|two| u8::from_str_radix(two, 16).unwrap());
        assert!(found.insert(name, bytes.collect()).is_none(), "{name} is there twice");
    }
    found
}

#[test]
fn the_golden_packets_are_what_the_encoders_write() {
    let (golden, written) = (golden().0, written());
    let names = |map: &BTreeMap<&'static str, Vec<u8>>| map.keys().copied().collect::<Vec<_>>();
    assert_eq!(names(&golden), names(&written), "every block is known, and every packet there");
    for (name, packet) in &golden {
        assert_eq!(packet, &written[name], "{name}: {}", hex(packet));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

#[test]
fn every_operation_has_a_golden_packet() {
    let of = |packet: &Vec<u8>| {
        Header::parse(&packet[..HEADER_BYTES]).ok().and_then(|header| match header.kind {
            proto::Kind::Request => Opcode::from_number(header.code),
            _ => None,
        })
    };
    let seen: BTreeSet<Opcode> = written().values().filter_map(of).collect();
    assert!(seen.iter().eq(Opcode::ALL), "a new operation needs a golden packet: {seen:?}");
}

/// The cells of the rows of tables whose first cell is a number.
fn numbered_rows() -> impl Iterator<Item = (u16, Vec<&'static str>)> {
    DOCUMENT.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim);
        Some((cells.next()?.parse().ok()?, cells.collect()))
    })
}

#[test]
fn the_table_of_statuses_is_the_real_one() {
    let mut found = Vec::new();
    for (number, cells) in numbered_rows() {
        let Some(status) = Status::from_number(number) else { continue };
        if let [told, class, _ends] = cells[..] {
            let Some((name, meaning)) = told.split_once(": ") else { continue };
            assert_eq!((name, class), (&*format!("{status:?}"), &*format!("{:?}", status.class())));
            let real = status.meaning().trim_end_matches('.');
            assert_eq!(meaning.to_lowercase(), real.to_lowercase(), "{status}");
            found.push(status);
        }
    }
    assert_eq!(found, Status::ALL, "each status has a row, in order");
}

#[test]
fn the_table_of_operations_is_the_real_one() {
    let mut found = Vec::new();
    for (number, cells) in numbered_rows() {
        if let [name, _body, _reply, _role] = cells[..] {
            let opcode = Opcode::from_number(number).unwrap();
            assert_eq!(opcode.name(), name);
            found.push(opcode);
        }
    }
    assert_eq!(found, Opcode::ALL, "each operation has a row, in order");
}
