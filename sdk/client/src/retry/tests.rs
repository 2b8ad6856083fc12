//! Every operation, every status, every way to fail: the table of the documentation.

use super::*;
use proto::bridge::to_doc;
use proto::request::{Act, BatchBuf, Step, StepsBuf};
use proto::{Class, Key, Opcode};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// Requests of every operation, with what they are called in the table.
fn with_all(mut each: impl FnMut(&str, &Request<'_>)) {
    let (store, document) = ("s", &proto::doc::EMPTY[..]);
    let key = Some(Key(1));
    let (mut keyed, mut keyless) = (BatchBuf::new(), BatchBuf::new());
    keyed.push(key, document);
    keyless.push(key, document);
    keyless.push(None, document);
    let (mut named, mut nameless) = (StepsBuf::new(), StepsBuf::new());
    let put = Step { store, act: Act::Put(Key(1), document), condition: None };
    named.push(put);
    nameless.push(put);
    nameless.push(Step { store, act: Act::Insert(None, document), condition: None });
    let with_key = to_doc(&BTreeMap::from([("key", "chosen")])).unwrap();
    let new_key = to_doc(&BTreeMap::from([("key", None::<i32>)])).unwrap();
    let rename = to_doc(&BTreeMap::from([("rename", "b")])).unwrap();
    let mut room = Vec::new();
    let part = proto::request::Part::of(&Request::Read { store, key: Key(1) }, &mut room);
    let (reading, writing) = ("s.count()", "s.all().delete()");
    for (name, request) in [
        ("Ping", Request::Ping),
        ("Auth", Request::Auth { user: "", key: "" }),
        ("Stats", Request::Stats),
        ("List", Request::List),
        ("CreateStore", Request::CreateStore { store, if_not_exists: false }),
        ("DropStore", Request::DropStore { store, if_exists: false }),
        ("Insert with a key", Request::Insert { store, key, document }),
        ("Insert without a key", Request::Insert { store, key: None, document }),
        ("BatchInsert with all keys", Request::BatchInsert { store, batch: keyed.as_batch() }),
        ("BatchInsert without a key", Request::BatchInsert { store, batch: keyless.as_batch() }),
        ("Read", Request::Read { store, key: Key(1) }),
        ("Update", Request::Update { store, key: Key(1), document, upsert: true }),
        ("Update", Request::Update { store, key: Key(1), document, upsert: false }),
        ("Delete", Request::Delete { store, key: Key(1) }),
        ("Scan", Request::Scan { store, after: None, limit: 0, reverse: false }),
        ("Range", Request::Range { store, from: Key(1), to: Key(2), limit: 0, reverse: false }),
        ("Query that reads", Request::Query { text: reading, parameters: None }),
        ("Query that may write", Request::Query { text: writing, parameters: None }),
        (
            "Stream that reads",
            Request::Stream { rows: 0, bytes: 0, text: reading, parameters: None },
        ),
        (
            "Stream that may write",
            Request::Stream { rows: 0, bytes: 0, text: writing, parameters: None },
        ),
        ("Fetch", Request::Fetch { cursor: 1 }),
        ("CloseCursor", Request::CloseCursor { cursor: 1 }),
        ("RunningQueries", Request::RunningQueries),
        ("CancelQuery", Request::CancelQuery { query: 1 }),
        ("Flush", Request::Flush),
        ("Backup that begins", Request::Backup { begin: true, full: false }),
        ("Backup that asks", Request::Backup { begin: false, full: false }),
        ("CreateIndex", Request::CreateIndex { store, if_not_exists: true, definition: document }),
        ("DropIndex", Request::DropIndex { store, index: "i", if_exists: false }),
        ("AlterStore without rename", Request::AlterStore { store, change: document }),
        ("AlterStore with rename", Request::AlterStore { store, change: &rename }),
        ("CheckIndexes", Request::CheckIndexes { store, index: None }),
        ("CreateSequence", Request::CreateSequence { sequence: store, if_not_exists: true }),
        ("DropSequence", Request::DropSequence { sequence: store, if_exists: true }),
        (
            "AlterSequence without rename",
            Request::AlterSequence { sequence: store, change: document },
        ),
        ("AlterSequence with rename", Request::AlterSequence { sequence: store, change: &rename }),
        ("NextNumbers", Request::NextNumbers { sequence: store, count: 1 }),
        ("ListSequences", Request::ListSequences),
        (
            "CreateUser with a key",
            Request::CreateUser { user: "u", if_not_exists: true, definition: &with_key },
        ),
        (
            "CreateUser without a key",
            Request::CreateUser { user: "u", if_not_exists: true, definition: document },
        ),
        ("AlterUser without a new key made", Request::AlterUser { user: "u", change: &with_key }),
        ("AlterUser without a new key made", Request::AlterUser { user: "u", change: document }),
        ("AlterUser with a new key made", Request::AlterUser { user: "u", change: &new_key }),
        ("DropUser", Request::DropUser { user: "u", if_exists: true }),
        ("ListUsers", Request::ListUsers { after: None }),
        ("DescribeStore", Request::DescribeStore { store }),
        ("FormatQuery", Request::FormatQuery { text: reading }),
        ("CreateKey", Request::CreateKey { user: "u", definition: document }),
        ("RevokeKey", Request::RevokeKey { user: "u", key: "k", if_exists: true }),
        ("Begin", Request::Begin { read_only: false, millis: 0 }),
        ("Commit", Request::Commit { transaction: 1 }),
        ("Abort", Request::Abort { transaction: 1 }),
        ("Savepoint", Request::Savepoint { transaction: 1 }),
        ("Rollback", Request::Rollback { transaction: 1, savepoint: 1 }),
        ("Within", Request::Within { transaction: 1, part }),
        ("ReloadModule", Request::ReloadModule),
        ("Watch", Request::Watch { what: reading.as_bytes() }),
        ("Schedule", Request::Schedule { job: document }),
        ("RetryJob", Request::RetryJob { job: Key(1) }),
        ("Apply with all keys", Request::Apply { steps: named.as_steps() }),
        ("Apply without a key", Request::Apply { steps: nameless.as_steps() }),
        ("ReadVersion", Request::ReadVersion { store, key: Key(1) }),
        ("Follow", Request::Follow { what: document }),
        ("Snapshot", Request::Snapshot { what: document }),
        ("Position", Request::Position { what: document }),
        ("Promote", Request::Promote),
        ("Demote", Request::Demote),
    ] {
        each(name, &request);
    }
}

fn kinds() -> [(Kind, bool, &'static str); 5] {
    [
        (Kind::Read, false, "reads"),
        (Kind::Repeatable, true, "repeatable, and the caller said so"),
        (Kind::Repeatable, false, "repeatable"),
        (Kind::Once, true, "once"),
        (Kind::Session, true, "of a session"),
    ]
}

fn refused(status: Status) -> Error {
    Error::Refused { status, message: String::new() }
}

/// Failures that are no answers, with what they are called in the table.
fn failures() -> Vec<(&'static str, Error)> {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let limit = Duration::from_secs(1);
    let late = |fate| Error::Timeout { what: "it", limit, fate };
    let lost = |fate| Error::Lost { source: reset(), fate };
    let address = || "h:1".to_owned();
    let other = || Error::Handshake { address: address(), source: io::Error::other("no") };
    vec![
        (
            "no connection: refused, unreachable, too slow",
            Error::Unreachable { address: address(), source: reset() },
        ),
        ("no connection: refused, unreachable, too slow", late(Fate::NotDone)),
        (
            "no connection: refused, unreachable, too slow",
            Error::Handshake { address: address(), source: reset() },
        ),
        ("no connection: the wrong certificate, no TLS", other()),
        ("no connection: the wrong certificate, no TLS", Error::NeedsTls { address: address() }),
        ("no connection: all are in use", Error::Exhausted { connections: 1, why: String::new() }),
        ("lost before all of it was sent", lost(Fate::NotDone)),
        ("lost, or no answer in time, after it was sent", lost(Fate::Unknown)),
        ("lost, or no answer in time, after it was sent", late(Fate::Unknown)),
        ("an answer that is none", Error::BadReply(String::new())),
    ]
}

#[test]
fn every_operation_has_its_kind_in_the_table() {
    let mut seen = Vec::new();
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    with_all(|name, request| {
        seen.push(request.opcode());
        let names = named.entry(format!("{:?}", kind(request))).or_default();
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    });
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, Opcode::ALL, "an operation is missing above");
    let line = |kind: &str| named[kind].join(", ");
    let expected = [
        format!("* **reads**: {}.", line("Read")),
        format!("* **repeatable**: {}.", line("Repeatable")),
        format!("* **once**: {}.", line("Once")),
        format!("* **of a session**: {}.", line("Session")),
    ]
    .join("\n");
    let table = include_str!("table.md");
    assert!(unwrapped(table).contains(&expected), "write into retry/table.md:\n{expected}");
}

/// The list without its line breaks.
fn unwrapped(text: &str) -> String {
    text.replace("\n  ", " ")
}

#[test]
fn the_table_of_the_documentation_is_what_is_done() {
    let mut lines = vec![
        format!("| | {} |", kinds().map(|(.., name)| name).join(" | ")),
        format!("|---|{}", "---|".repeat(kinds().len())),
    ];
    let mut row = |name: &str, errors: &[Error]| {
        let cell = |&(kind, repeat, _): &(Kind, bool, &str)| {
            let all: Vec<bool> = errors.iter().map(|e| again(kind, repeat, e)).collect();
            assert!(all.windows(2).all(|two| two[0] == two[1]), "{name} is two rows");
            if all[0] { "again" } else { "no" }
        };
        lines.push(format!(
            "| {name} | {} |",
            kinds().iter().map(cell).collect::<Vec<_>>().join(" | ")
        ));
    };
    let mut failures = failures();
    while !failures.is_empty() {
        let name = failures[0].0;
        let (same, others) = failures.into_iter().partition::<Vec<_>, _>(|(n, _)| *n == name);
        row(name, &same.into_iter().map(|(_, error)| error).collect::<Vec<_>>());
        failures = others;
    }
    let of = |wanted: &dyn Fn(Status) -> bool| {
        Status::ALL.iter().copied().filter(|s| wanted(*s)).map(refused).collect::<Vec<_>>()
    };
    row("answered `PLK-1601 Busy`", &of(&|status| status == Status::Busy));
    row("answered `PLK-1602 Timeout`", &of(&|status| status == Status::Timeout));
    row("answered `PLK-1445 NotReached`", &of(&|status| status == Status::NotReached));
    for class in [
        Class::Invalid,
        Class::NotFound,
        Class::Denied,
        Class::Conflict,
        Class::TooLarge,
        Class::Failed,
    ] {
        row(&format!("answered, class {class:?}"), &of(&|status| status.class() == class));
    }
    // Those of upstreams are told to guests alone.
    let of_wire = |status: Status| !(1700..1800).contains(&(status as u16));
    let busy = of(&|status| status.class() == Class::Busy && of_wire(status));
    assert_eq!(busy.len(), 3, "a status of class Busy has no row");
    let expected = lines.join("\n");
    let table = include_str!("table.md");
    assert!(table.contains(&expected), "write into retry/table.md:\n{expected}");
}

#[test]
fn no_operation_with_no_status_is_repeated_but_busy_and_none_of_a_session_ever() {
    with_all(|name, request| {
        let kind = kind(request);
        for repeat in [false, true] {
            for status in Status::ALL {
                // Of class Busy, what was waited for in vain would come again; the others were not done.
                let over = matches!(*status, Status::Timeout | Status::NotReached);
                let busy = status.class() == Class::Busy && !over;
                let expected = busy && kind != Kind::Session;
                assert_eq!(again(kind, repeat, &refused(*status)), expected, "{name} {status}");
            }
            for (what, error) in failures() {
                let again = again(kind, repeat, &error);
                let safe = match error.fate() {
                    Fate::NotDone => true,
                    Fate::Unknown => kind == Kind::Read || (repeat && kind == Kind::Repeatable),
                    Fate::Done => false,
                };
                assert!(safe || !again, "{name}: {what}");
                assert!(kind != Kind::Session || !again, "{name}: {what}");
            }
        }
    });
}

#[test]
fn a_query_reads_if_all_it_calls_is_known_to_read() {
    for text in [
        "flights",
        "flights.count()",
        "flights . filter ( a = 1 and (b > 2 or not (c exists)) )\n .count\t()",
        "flights.filter(day >= date(\"2013-01-01\") and fare < decimal(\"1\")).pluck(set, delete)",
        "flights.groupBy(from).aggregate(n: count(), late: avg(delay)).having(n > 1)",
        "flights.lookupOne(airlines, carrier = code as line).orderBy(a desc).skip(1).limit(2)",
        "flights.filter(`dep delay` = 1).explain()",
    ] {
        assert!(reads(text), "{text}");
    }
    for text in [
        "flights.all().delete()",
        "flights.insert({a: 1})",
        "flights.filter(a = 1).set\n({b: 1})",
        "flights.filter(a = 1).upsert({b: 1}).explain()",
        "flights.filter(a = 1).`delete`()",
        "flights.all().newStep()",
        "flights.all().Delete()",
        "flights.all().allé()",
        "flights.filter(a = \"word (in a string)\")",
    ] {
        assert!(!reads(text), "{text}");
    }
}

#[tokio::test]
async fn attempts_are_bounded_in_number_and_in_time() {
    let options = RetryOptions {
        attempts: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(1),
        within: Duration::from_secs(3600),
    };
    let mut attempts = Attempts::first(options);
    let made = [attempts.next().await, attempts.next().await, attempts.next().await];
    assert_eq!(made, [Some(()), Some(()), None]);
    let mut late = Attempts::first(RetryOptions { within: Duration::ZERO, ..options });
    assert_eq!(late.next().await, None);
}
