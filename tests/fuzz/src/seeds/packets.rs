//! Packets of every operation and reply, sessions of them, and queries: those of
//! `docs/pql.md`, which is the whole of the language.

use super::Seeds;
use proto::http::{HeadersBuf, write_request, write_response};
use proto::request::{Act, BatchBuf, Condition, Part, Step, StepsBuf};
use proto::{Header, Key, Kind, NewJob, Opcode, ReplyWriter, Request, Status, json};

const PQL: &str = include_str!("../../../../docs/pql.md");

/// What stands in the blocks of that name, and what follows the name.
fn blocks(name: &str) -> Vec<(&'static str, &'static str)> {
    let begins = |block: &&'static str| block.starts_with(name);
    let pieces = PQL.split("```").skip(1).step_by(2).filter(begins);
    let parts = |block: &'static str| block[name.len()..].split_once('\n').expect("a head line");
    pieces.map(parts).map(|(head, body)| (head.trim(), body)).collect()
}

/// Every query of the documentation.
fn queries() -> Vec<&'static str> {
    let bodies = blocks("pql").into_iter().chain(blocks("error"));
    let texts = bodies.flat_map(|(_, body)| body.split("\n\n"));
    texts.map(str::trim).filter(|text| !text.is_empty()).collect()
}

fn doc(text: &str) -> Vec<u8> {
    json::parse_json(text).expect("a document")
}

fn packet(request: Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(7, &mut out);
    out
}

pub(super) fn make(seeds: &mut Seeds) {
    let (one, two) = (doc(r#"{"a": 1, "b": {"c": [1, "x"]}}"#), doc(r#"{"a": 2}"#));
    let key = Key::from_bytes([9; 16]);
    let mut batch = BatchBuf::new();
    batch.push(Some(key), &one);
    batch.push(None, &two);
    requests(seeds, &one, &two, key, &batch);
    nearly(seeds, &one);
    replies(seeds, &one, key);
    web(seeds);
    for (n, text) in queries().into_iter().enumerate() {
        seeds.add("pql", &format!("documented-{n:03}"), text.as_bytes().to_vec());
    }
    for (name, text) in [
        ("deep", format!("s.filter({}a = 1{})", "(".repeat(40), ")".repeat(40))),
        ("too-deep", format!("s.filter({}a = 1{})", "(".repeat(60), ")".repeat(60))),
        ("values", r#"s.insert({a: [1, -3, 1.5, 2e10, "\u00e9\n", 'it\'s', true, null], "b c": {}, d: date(5), e: date("2013-01-01T05:15:00+02:00"), f: decimal("NaN"), g: objectId("0123456789abcdef01234567"), h: uuid("00112233-4455-6677-8899-aabbccddeeff"), i: binary("AQI=", 5)})"#.to_owned()),
        ("every-step", "s.filter(a > $1 and not b exists or `dep delay` ~ \"x\").lookup(t, a = b as c).filter(c.d contains 1).groupBy(e).aggregate(n: count(), m: avg(f)).having(n > 1).orderBy(n desc, e).skip(2).limit(3).pluck(e, n).explain()".to_owned()),
        ("every-edit", "s.all().set({a: 1}).unset(b, c.0).inc({d: 1}).push({e: [1]}).returning(before)".to_owned()),
        ("long-integer", "s.filter(a = 99999999999999999999)".to_owned()),
    ] {
        seeds.add("pql", name, text.into_bytes());
    }
    sessions(seeds, &one, &two, key, &batch);
}

/// One of every operation, with and without what may be left out.
fn requests(seeds: &mut Seeds, one: &[u8], two: &[u8], key: Key, batch: &BatchBuf) {
    let index = doc(r#"{"name": "i", "fields": ["a", "-b.c"], "unique": true, "filter": "a > 1"}"#);
    let store = "s";
    let mut add = |name: &str, request| seeds.add("packet", name, packet(request));
    add("ping", Request::Ping);
    add("auth", Request::Auth { user: "u", key: "k" });
    add("stats", Request::Stats);
    add("list", Request::List);
    add("create-store", Request::CreateStore { store, if_not_exists: true });
    add("drop-store", Request::DropStore { store, if_exists: false });
    add("insert", Request::Insert { store, key: None, document: one });
    add("insert-keyed", Request::Insert { store, key: Some(key), document: one });
    add("batch-insert", Request::BatchInsert { store, batch: batch.as_batch() });
    add("read", Request::Read { store, key });
    add("update", Request::Update { store, key, document: two, upsert: true });
    add("delete", Request::Delete { store, key });
    add("scan", Request::Scan { store, after: None, limit: 0, reverse: false });
    add("scan-on", Request::Scan { store, after: Some(key), limit: 9, reverse: true });
    add("range", Request::Range { store, from: key, to: key, limit: 1, reverse: false });
    add("query", Request::Query { text: "s.filter(a = 1)", parameters: None });
    add("query-with", Request::Query { text: "s.filter(a = $1)", parameters: Some(two) });
    let text = "s.orderBy(a)";
    add("stream", Request::Stream { rows: 2, bytes: 0, text, parameters: None });
    add("fetch", Request::Fetch { cursor: 1 });
    add("close-cursor", Request::CloseCursor { cursor: u64::MAX });
    add("running-queries", Request::RunningQueries);
    add("cancel-query", Request::CancelQuery { query: 3 });
    add("flush", Request::Flush);
    add("backup", Request::Backup { begin: true, full: false });
    add("create-index", Request::CreateIndex { store, if_not_exists: false, definition: &index });
    add("drop-index", Request::DropIndex { store, index: "i", if_exists: true });
    add("alter-store", Request::AlterStore { store, change: two });
    add("check-indexes", Request::CheckIndexes { store, index: Some("i") });
    add("create-sequence", Request::CreateSequence { sequence: "n", if_not_exists: true });
    add("drop-sequence", Request::DropSequence { sequence: "n", if_exists: true });
    add("next-numbers", Request::NextNumbers { sequence: "n", count: 5 });
    add("list-sequences", Request::ListSequences);
    add("begin", Request::Begin { read_only: true, millis: 9 });
    add("commit", Request::Commit { transaction: 1 });
    add("rollback", Request::Rollback { transaction: 1, savepoint: 1 });
    let what = doc(
        r#"{"stores": ["s", {"store": "t", "filter": "a = $1", "parameters": {"1": 1}}], "since": 1}"#,
    );
    add("watch", Request::Watch { what: &what });
    let mut room = Vec::new();
    let part = Part::of(&Request::Insert { store, key: None, document: one }, &mut room);
    add("within", Request::Within { transaction: 1, part });
    add("schedule", Request::Schedule { job: one });
    add("retry-job", Request::RetryJob { job: Key(7) });
    add("read-version", Request::ReadVersion { store, key });
    add("apply", Request::Apply { steps: steps(one, two, key, 7).as_steps() });
}

/// A step of each kind, under each condition.
fn steps(one: &[u8], two: &[u8], key: Key, version: u64) -> StepsBuf {
    let (mut steps, version) = (StepsBuf::new(), Some(Condition::Version(version)));
    let other = Key::from_bytes([8; 16]);
    for (store, act, condition) in [
        ("s", Act::Insert(None, one), None),
        ("s", Act::Insert(Some(other), two), Some(Condition::Absent)),
        ("s", Act::Replace(key, two), version),
        ("t", Act::Put(key, one), None),
        ("t", Act::Check(other), Some(Condition::Absent)),
    ] {
        steps.push(Step { store, act, condition });
    }
    steps
}

/// Nearly packets. Header: magic, version at 4, kind 5, code 6, body length 16, patience 20.
fn nearly(seeds: &mut Seeds, one: &[u8]) {
    let good = packet(Request::Insert { store: "s", key: None, document: one });
    let ping = packet(Request::Ping);
    let mut changed = |name: &str, of: &[u8], at: usize, to: u8| {
        let mut bytes = of.to_vec();
        bytes[at] = to;
        seeds.add("packet", name, bytes);
    };
    changed("magic", &ping, 0, b'X');
    changed("version", &ping, 4, 2);
    changed("kind", &ping, 5, 3);
    changed("cancel-with-code", &ping, 5, 2);
    changed("unknown-operation", &ping, 6, 200);
    changed("body-length", &ping, 16, 1);
    changed("patience", &ping, 20, 1);
    changed("name-not-utf8", &good, 26, 0xFF);
    changed("name-too-long", &good, 24, 200);
    changed("flag-of-two", &good, 27, 2);
    // The key of 16 bytes, then the document with its length.
    changed("document-too-long", &good, 44, 200);
    let longer = |more: &[u8]| {
        let body = (good.len() - 24 + more.len()) as u32;
        let mut bytes = [&good[..], more].concat();
        bytes[16..20].copy_from_slice(&body.to_le_bytes());
        bytes
    };
    seeds.add("packet", "bytes-left", longer(&[0]));
    seeds.add("packet", "cut-header", ping[..20].to_vec());
    let cancel = Header::cancel(7).to_bytes();
    seeds.add("packet", "cancel", cancel.to_vec());
    seeds.add("packet", "session", [&ping[..], &cancel, &good, b"GET /"].concat());
}

fn replies(seeds: &mut Seeds, one: &[u8], key: Key) {
    let mut add = |name: &str, write: &dyn Fn(ReplyWriter<'_>)| {
        let mut out = Vec::new();
        write(ReplyWriter::new(7, &mut out));
        seeds.add("packet", &format!("reply-{name}"), out);
    };
    add("error", &|reply| reply.error(Status::BadPacket, "no such thing"));
    add("empty", &|reply| reply.empty());
    add("key", &|reply| reply.key(key));
    add("keys", &|reply| reply.keys(&[key, key]));
    add("count", &|reply| reply.count(12));
    add("document", &|reply| reply.document(one));
    add("versioned", &|reply| reply.versioned(9, one));
    add("keyed-rows", &|reply| {
        let mut rows = reply.rows(true);
        rows.push(key, one);
        rows.finish(Some(key));
    });
    add("rows", &|reply| {
        let mut rows = reply.rows(false);
        rows.push(key, one);
        rows.push(key, one);
        rows.finish_with_cursor(3);
    });
    let body = |code, body: &[u8]| {
        let (kind, len) = (Kind::Reply, body.len() as u32);
        let header = Header { kind, code, id: 1, body: len, patience: 0 };
        [&header.to_bytes()[..], body].concat()
    };
    let mut impatient = body(Status::Ok as u16, &[0]);
    impatient[20] = 1;
    seeds.add("packet", "reply-patience", impatient);
    seeds.add("packet", "reply-unknown-status", body(9999, &[0]));
    seeds.add("packet", "reply-unknown-tag", body(Status::Ok as u16, &[99]));
    seeds.add("packet", "reply-many-keys", body(Status::Ok as u16, &[2, 255, 255, 255, 255]));
}

fn web(seeds: &mut Seeds) {
    let mut headers = HeadersBuf::new();
    assert!(headers.push("accept", b"text/html") && headers.push("x", b""));
    let mut out = Vec::new();
    write_request(&mut out, "GET", "/flights?from=JFK", "127.0.0.1:9", &headers, b"body");
    seeds.add("packet", "http-request", out.clone());
    out.truncate(out.len() / 2);
    seeds.add("packet", "http-request-cut", out);
    let mut out = Vec::new();
    write_response(&mut out, 200, &headers, b"body");
    seeds.add("packet", "http-response", out);
}

/// Whole sessions, one packet behind the other.
fn sessions(seeds: &mut Seeds, one: &[u8], two: &[u8], key: Key, batch: &BatchBuf) {
    let mut add = |name: &str, requests: &[Request<'_>]| {
        let mut out = Vec::new();
        requests.iter().for_each(|request| request.encode(1, &mut out));
        seeds.add("dispatch", name, out);
    };
    let store = "s";
    let create = Request::CreateStore { store, if_not_exists: false };
    let many = Request::BatchInsert { store, batch: batch.as_batch() };
    add(
        "documents",
        &[
            create,
            Request::Insert { store, key: Some(key), document: one },
            Request::Insert { store, key: Some(key), document: one },
            Request::BatchInsert { store, batch: batch.as_batch() },
            Request::Read { store, key },
            Request::Update { store, key, document: two, upsert: false },
            Request::Flush,
            Request::Scan { store, after: None, limit: 1, reverse: false },
            Request::Range {
                store,
                from: Key::from_bytes([0; 16]),
                to: key,
                limit: 0,
                reverse: true,
            },
            Request::Delete { store, key },
            Request::Read { store, key },
            Request::Update { store, key, document: two, upsert: true },
            Request::List,
            Request::Stats,
            Request::DropStore { store, if_exists: false },
            Request::DropStore { store, if_exists: true },
            Request::Scan { store, after: None, limit: 0, reverse: false },
        ],
    );
    let index = doc(r#"{"name": "i", "fields": ["a", "-b.c"], "sparse": true}"#);
    let only = doc(r#"{"name": "u", "fields": ["a"], "unique": true, "filter": "a > 1"}"#);
    let schema =
        doc(r#"{"schema": "{\"required\": [\"a\"]}", "ttl": {"field": "at", "seconds": 9}}"#);
    let rename = doc(r#"{"rename": "t"}"#);
    let query = |text| Request::Query { text, parameters: None };
    add(
        "indexes",
        &[
            create,
            many,
            Request::CreateIndex { store, if_not_exists: false, definition: &index },
            Request::CreateIndex { store, if_not_exists: false, definition: &only },
            many,
            query("s.filter(a = 2)"),
            query("s.filter(a > 0 and b.c = 1).orderBy(a).explain()"),
            query("s.orderBy(a desc).limit(1)"),
            query("s.filter(a = 1).set({a: 2})"),
            Request::CheckIndexes { store, index: None },
            Request::AlterStore { store, change: &schema },
            Request::Insert { store, key: None, document: two },
            query("s.insert({b: 1})"),
            Request::DropIndex { store, index: "i", if_exists: false },
            Request::AlterStore { store, change: &rename },
            query("t.count()"),
            Request::List,
        ],
    );
    let keyed = doc(r#"{"1": {"a": [1, 2]}, "2": 3}"#);
    let stream = |rows| Request::Stream { rows, bytes: 0, text: "s.orderBy(a)", parameters: None };
    add(
        "streams",
        &[
            create,
            many,
            many,
            stream(1),
            Request::RunningQueries,
            Request::Fetch { cursor: 1 },
            Request::Fetch { cursor: 1 },
            stream(2),
            stream(1),
            Request::CloseCursor { cursor: 2 },
            Request::CancelQuery { query: 1 },
            Request::Query {
                text: "s.filter(a != $2 or b = $1).set({c: 1})",
                parameters: Some(&keyed),
            },
            query("s.groupBy(a).aggregate(n: count(), m: max(b))"),
            query("s.lookup(s, a = a as same).filter(same.a = 2)"),
        ],
    );
    add(
        "sequences",
        &[
            Request::CreateSequence { sequence: "n", if_not_exists: false },
            Request::NextNumbers { sequence: "n", count: 5 },
            Request::NextNumbers { sequence: "n", count: 0 },
            Request::ListSequences,
            Request::DropSequence { sequence: "n", if_exists: false },
            Request::NextNumbers { sequence: "n", count: 1 },
            Request::Backup { begin: true, full: true },
            Request::Ping,
        ],
    );
    transactions(seeds, one, two, key);
    jobs(seeds, one);
    conditions(seeds, one, two, key);
    let mut nonsense = Vec::new();
    create.encode(1, &mut nonsense);
    Request::Insert { store, key: None, document: &[9, 0, 0, 0, 32, b'a', 0, 1, 0] }
        .encode(2, &mut nonsense);
    nonsense.extend_from_slice(b"PLNK, but no packet");
    seeds.add("dispatch", "nonsense", nonsense);
    // A header that is one, and a body that no Insert has.
    let code = Opcode::Insert as u16;
    let header = Header { kind: Kind::Request, code, id: 1, body: 1, patience: 0 };
    seeds.add("dispatch", "malformed", [&header.to_bytes()[..], &[255]].concat());
    documented(seeds);
}

/// Changes, followed by every kind of description.
fn watches(seeds: &mut Seeds, one: &[u8], two: &[u8], key: Key) {
    let store = "s";
    let change = doc(r#"{"before_images": true}"#);
    let mut out = Vec::new();
    let mut add = |request: Request<'_>| request.encode(1, &mut out);
    add(Request::CreateStore { store, if_not_exists: true });
    add(Request::AlterStore { store, change: &change });
    add(Request::Update { store, key, document: one, upsert: true });
    add(Request::Update { store, key, document: two, upsert: false });
    add(Request::Delete { store, key });
    for text in [
        r#"{"stores": ["s"], "since": 0}"#,
        r#"{"stores": [{"store": "s", "filter": "a = 1", "before": true, "fields": ["a"]}], "since": 0, "max_bytes": 1}"#,
        r#"{"stores": [{"store": "s", "operations": ["delete"], "from": "00000000000000000000000000000000"}], "since": 2}"#,
        r#"{"stores": ["s"], "since": 99}"#,
        r#"{"stores": ["none"]}"#,
        r#"{"stores": []}"#,
    ] {
        let what = doc(text);
        add(Request::Watch { what: &what });
    }
    seeds.add("dispatch", "watches", out);
}

/// Transactions: one that goes through, one that is disturbed, one that is let go of.
fn transactions(seeds: &mut Seeds, one: &[u8], two: &[u8], key: Key) {
    let store = "s";
    let insert = Request::Insert { store, key: None, document: one };
    let update = |document| Request::Update { store, key, document, upsert: true };
    let scan = Request::Scan { store, after: None, limit: 0, reverse: false };
    let set = Request::Query { text: "s.filter(a = 1).set({a: 2})", parameters: None };
    let begin = Request::Begin { read_only: false, millis: 0 };
    let mut out = Vec::new();
    let mut add = |within: Option<u64>, request: Request<'_>| {
        let mut room = Vec::new();
        let request = match within {
            Some(transaction) => {
                let part = Part::of(&request, &mut room);
                Request::Within { transaction, part }
            }
            None => request,
        };
        request.encode(1, &mut out);
    };
    add(None, Request::CreateStore { store, if_not_exists: false });
    add(None, begin);
    for request in [insert, update(one), scan, set] {
        add(Some(1), request);
    }
    add(None, Request::Savepoint { transaction: 1 });
    add(Some(1), Request::Delete { store, key });
    add(None, Request::Rollback { transaction: 1, savepoint: 1 });
    add(None, Request::Rollback { transaction: 1, savepoint: 9 });
    add(None, Request::Commit { transaction: 1 });
    add(None, begin);
    add(Some(2), scan);
    add(None, update(two));
    add(Some(2), insert);
    add(Some(2), Request::Flush);
    add(None, Request::Commit { transaction: 2 });
    add(None, begin);
    add(Some(3), insert);
    add(None, Request::Abort { transaction: 3 });
    add(Some(3), scan);
    seeds.add("dispatch", "transactions", out);
    watches(seeds, one, two, key);
}

/// Jobs: one that waits, one of a transaction, those that are none, and what is done with
/// them otherwise.
fn jobs(seeds: &mut Seeds, one: &[u8]) {
    let job = NewJob::route("/a?b=1").method("PUT").header("x-a", "b").text("hi");
    let job = job.max_attempts(3).idempotency_key("k").encode().expect("it is one");
    let mut out = Vec::new();
    let mut add = |request: Request<'_>| request.encode(1, &mut out);
    add(Request::Schedule { job: &job });
    add(Request::Begin { read_only: false, millis: 0 });
    let mut room = Vec::new();
    let part = Part::of(&Request::Schedule { job: &job }, &mut room);
    add(Request::Within { transaction: 1, part });
    add(Request::Commit { transaction: 1 });
    add(Request::Schedule { job: one });
    add(Request::Insert { store: "_dead_jobs", key: Some(Key(7)), document: one });
    add(Request::RetryJob { job: Key(7) });
    add(Request::RetryJob { job: Key(7) });
    add(Request::Query { text: "_jobs.filter(path exists).set({due: 1})", parameters: None });
    add(Request::DropStore { store: "_jobs", if_exists: false });
    seeds.add("dispatch", "jobs", out);
}

/// Versions, and steps under conditions that hold and that do not.
fn conditions(seeds: &mut Seeds, one: &[u8], two: &[u8], key: Key) {
    let mut out = Vec::new();
    let mut add = |request: Request<'_>| request.encode(1, &mut out);
    for store in ["s", "t"] {
        add(Request::CreateStore { store, if_not_exists: false });
    }
    let (store, read) = ("s", Request::ReadVersion { store: "s", key });
    add(Request::Insert { store, key: Some(key), document: one });
    add(read);
    // The fourth commit was that one: the first made the stores of jobs.
    let holds = steps(one, two, key, 4);
    for _ in 0..2 {
        add(Request::Apply { steps: holds.as_steps() });
    }
    add(read);
    add(Request::Begin { read_only: false, millis: 0 });
    let mut room = Vec::new();
    let mut deletes = StepsBuf::new();
    let act = Act::Delete(key);
    deletes.push(Step { store, act, condition: Some(Condition::Present) });
    for request in [Request::Apply { steps: deletes.as_steps() }, read] {
        let part = Part::of(&request, &mut room);
        add(Request::Within { transaction: 1, part });
    }
    add(Request::Commit { transaction: 1 });
    add(Request::Apply { steps: deletes.as_steps() });
    seeds.add("dispatch", "conditions", out);
}

/// The queries of the documentation on its documents, some in each session.
fn documented(seeds: &mut Seeds) {
    let mut begin = Vec::new();
    for (store, documents) in blocks("data") {
        Request::CreateStore { store, if_not_exists: false }.encode(1, &mut begin);
        let mut batch = BatchBuf::new();
        for (n, text) in (1u128..).zip(documents.lines()) {
            batch.push(Some(Key::from_bytes(n.to_be_bytes())), &doc(text));
        }
        Request::BatchInsert { store, batch: batch.as_batch() }.encode(1, &mut begin);
    }
    for (n, some) in queries().chunks(24).enumerate() {
        let mut out = begin.clone();
        for text in some {
            Request::Query { text, parameters: None }.encode(1, &mut out);
        }
        seeds.add("dispatch", &format!("documented-{n}"), out);
    }
}
