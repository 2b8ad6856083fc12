//! Each request as bytes and back, and bytes of a stranger.

use super::*;
use proptest::prelude::*;

const DOC: &[u8] = &[12, 0, 0, 0, 0x10, b'a', 0, 7, 0, 0, 0, 0];

/// The body of a Read.
const READ: &[u8] = &[2, 0, b'a', b'b', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2];

fn every_request<'a>(batch: &'a BatchBuf, steps: &'a StepsBuf) -> Vec<Request<'a>> {
    let (store, key) = ("flights", Key(0xfeed));
    vec![
        Request::Ping,
        Request::Auth { user: "admin", key: "secret" },
        Request::Stats,
        Request::List,
        Request::CreateStore { store, if_not_exists: true },
        Request::DropStore { store, if_exists: false },
        Request::Insert { store, key: Some(key), document: DOC },
        Request::BatchInsert { store, batch: batch.as_batch() },
        Request::Read { store, key },
        Request::Update { store, key, document: DOC, upsert: true },
        Request::Delete { store, key },
        Request::Scan { store, after: Some(key), limit: 9, reverse: true },
        Request::Range { store, from: Key::MIN, to: key, limit: 0, reverse: false },
        Request::Query { text: "flights.count()", parameters: Some(DOC) },
        Request::Flush,
        Request::Backup { begin: true, full: false },
        Request::CreateIndex { store, if_not_exists: true, definition: DOC },
        Request::DropIndex { store, index: "i", if_exists: true },
        Request::AlterStore { store, change: DOC },
        Request::CheckIndexes { store, index: Some("i") },
        Request::CreateSequence { sequence: "n", if_not_exists: false },
        Request::DropSequence { sequence: "n", if_exists: true },
        Request::NextNumbers { sequence: "n", count: 7 },
        Request::ListSequences,
        Request::Stream { rows: 9, bytes: 1 << 20, text: "flights", parameters: Some(DOC) },
        Request::Fetch { cursor: 7 },
        Request::CloseCursor { cursor: 7 },
        Request::RunningQueries,
        Request::CancelQuery { query: 7 },
        Request::CreateUser { user: "ann", if_not_exists: true, definition: DOC },
        Request::AlterUser { user: "ann", change: DOC },
        Request::DropUser { user: "ann", if_exists: true },
        Request::ListUsers { after: Some("u") },
        Request::DescribeStore { store },
        Request::AlterSequence { sequence: "n", change: DOC },
        Request::FormatQuery { text: "flights.count( )" },
        Request::CreateKey { user: "ann", definition: DOC },
        Request::RevokeKey { user: "ann", key: "ci", if_exists: true },
        Request::Begin { read_only: true, millis: 5000 },
        Request::Commit { transaction: 7 },
        Request::Abort { transaction: 7 },
        Request::Savepoint { transaction: 7 },
        Request::Rollback { transaction: 7, savepoint: 2 },
        Request::Within { transaction: 7, part: Part { operation: Opcode::Read, body: READ } },
        Request::ReloadModule,
        Request::Watch { what: DOC },
        Request::Schedule { job: DOC },
        Request::RetryJob { job: key },
        Request::Apply { steps: steps.as_steps() },
        Request::ReadVersion { store, key },
        Request::Follow { what: DOC },
        Request::Snapshot { what: DOC },
        Request::Position { what: DOC },
        Request::Promote,
        Request::Demote,
    ]
}

fn two_documents() -> BatchBuf {
    let mut batch = BatchBuf::new();
    batch.push(Some(Key(1)), DOC);
    batch.push(None, DOC);
    batch
}

/// A step of each kind, under each condition.
const STEPS: [Step<'static>; 6] = [
    Step { store: "s", act: Act::Insert(None, DOC), condition: None },
    Step { store: "s", act: Act::Insert(Some(Key(1)), DOC), condition: Some(Condition::Absent) },
    Step { store: "ab", act: Act::Put(Key(2), DOC), condition: Some(Condition::Version(0x0102)) },
    Step { store: "s", act: Act::Replace(Key(3), DOC), condition: Some(Condition::Present) },
    Step { store: "s", act: Act::Delete(Key(4)), condition: None },
    Step { store: "s", act: Act::Check(Key(5)), condition: Some(Condition::Absent) },
];

fn each_step() -> StepsBuf {
    let mut steps = StepsBuf::new();
    STEPS.into_iter().for_each(|step| steps.push(step));
    steps
}

#[test]
fn every_request_round_trips_and_no_prefix_of_it_does() {
    let batch = two_documents();
    let steps = each_step();
    let requests = every_request(&batch, &steps);
    assert_eq!(requests.len(), Opcode::ALL.len(), "a new operation needs a line in this test");
    for request in requests {
        let mut packet = Vec::new();
        request.encode(42, &mut packet);
        assert_eq!(Request::decode(&packet), Ok((42, request)));
        for cut in 0..packet.len() {
            assert!(Request::decode(&packet[..cut]).is_err(), "{request:?} cut at {cut}");
        }
        packet.push(0);
        assert!(Request::decode(&packet).is_err(), "{request:?} with a byte more");
    }
}

#[test]
fn an_operation_within_a_transaction_is_its_own_body_behind_two_numbers() {
    let read = Request::Read { store: "ab", key: Key(0x0102) };
    let mut room = vec![9];
    let part = Part::of(&read, &mut room);
    let within = Request::Within { transaction: 0x0102_0304_0506_0708, part };
    let head = [8, 7, 6, 5, 4, 3, 2, 1, 9, 0];
    assert_eq!(body(within), [&head[..], READ].concat());
    assert_eq!(within.within(), (Some(0x0102_0304_0506_0708), read));
    assert_eq!(read.within(), (None, read));
    assert_eq!(within.store(), Some("ab"));
    // Of one that is within already, what is in it.
    let mut other = Vec::new();
    assert_eq!(Part::of(&within, &mut other).request(), read);
    // None within another one, none that is unknown, none with bytes left over.
    for (operation, tail) in [(44u16, body(within)), (999, READ.to_vec()), (1, vec![0])] {
        let bytes = [&7u64.to_le_bytes()[..], &operation.to_le_bytes(), &tail].concat();
        let header = Header {
            kind: Kind::Request,
            code: Opcode::Within as u16,
            id: 1,
            body: bytes.len() as u32,
            patience: 0,
        };
        let packet = [&header.to_bytes()[..], &bytes].concat();
        assert_eq!(Request::decode(&packet).unwrap_err().0, Status::BadPacket, "{operation}");
    }
}

#[test]
fn a_read_is_these_bytes() {
    let mut packet = Vec::new();
    Request::Read { store: "ab", key: Key(0x0102) }.encode(1, &mut packet);
    assert_eq!(packet[24..], [2, 0, b'a', b'b', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
}

#[test]
fn what_is_no_request_is_said_to_be_what_it_is() {
    let mut packet = Vec::new();
    Request::Ping.encode_with_patience(7, 1500, &mut packet);
    assert_eq!(Header::parse(&packet).unwrap().patience, 1500);
    assert_eq!(Request::decode(&packet), Ok((7, Request::Ping)));
    let (status, error) = Request::decode(&Header::cancel(7).to_bytes()).unwrap_err();
    assert_eq!((status, error.what), (Status::BadPacket, "packet kind"));
    packet[4] = 2;
    assert_eq!(Request::decode(&packet).unwrap_err().0, Status::UnknownVersion);
    packet[0] = b'p';
    assert_eq!(Request::decode(&packet).unwrap_err().0, Status::BadPacket);
}

fn body(request: Request<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    request.encode(1, &mut packet);
    packet.split_off(HEADER_BYTES)
}

#[test]
fn requests_about_cursors_and_running_queries_are_these_bytes() {
    let (rows, bytes, text) = (0x0102, 0x03, "s");
    let head = [2, 1, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, b's'];
    assert_eq!(body(Request::Stream { rows, bytes, text, parameters: None }), head);
    let parameters = Some(DOC);
    let stream = Request::Stream { rows, bytes, text, parameters };
    assert_eq!(body(stream), [&head[..], DOC].concat());
    let number = 0x0102_0304_0506_0708;
    let eight = [8, 7, 6, 5, 4, 3, 2, 1];
    assert_eq!(body(Request::Fetch { cursor: number }), eight);
    assert_eq!(body(Request::CloseCursor { cursor: number }), eight);
    assert_eq!(body(Request::CancelQuery { query: number }), eight);
    assert!(body(Request::RunningQueries).is_empty());
}

#[test]
fn requests_about_indexes_are_these_bytes() {
    let create = Request::CreateIndex { store: "s", if_not_exists: true, definition: DOC };
    assert_eq!(body(create), [&[1, 0, b's', 1][..], DOC].concat());
    let drop = Request::DropIndex { store: "s", index: "ab", if_exists: false };
    assert_eq!(body(drop), [1, 0, b's', 2, 0, b'a', b'b', 0]);
    let alter = Request::AlterStore { store: "s", change: DOC };
    assert_eq!(body(alter), [&[1, 0, b's'][..], DOC].concat());
    let all = Request::CheckIndexes { store: "s", index: None };
    assert_eq!(body(all), [1, 0, b's', 0, 0]);
    let next = Request::NextNumbers { sequence: "n", count: 0x0102 };
    assert_eq!(body(next), [1, 0, b'n', 2, 1, 0, 0]);
}

#[test]
fn requests_about_users_and_what_came_with_them_are_these_bytes() {
    let create = Request::CreateUser { user: "u", if_not_exists: true, definition: DOC };
    assert_eq!(body(create), [&[1, 0, b'u', 1][..], DOC].concat());
    let alter = Request::AlterUser { user: "u", change: DOC };
    assert_eq!(body(alter), [&[1, 0, b'u'][..], DOC].concat());
    assert_eq!(body(Request::DropUser { user: "u", if_exists: true }), [1, 0, b'u', 1]);
    assert!(body(Request::ListUsers { after: None }).is_empty());
    assert_eq!(body(Request::ListUsers { after: Some("u") }), [1, 0, b'u']);
    assert_eq!(body(Request::DescribeStore { store: "s" }), [1, 0, b's']);
    let alter = Request::AlterSequence { sequence: "n", change: DOC };
    assert_eq!(body(alter), [&[1, 0, b'n'][..], DOC].concat());
    assert_eq!(body(Request::FormatQuery { text: "s" }), [1, 0, 0, 0, b's']);
    let create = Request::CreateKey { user: "u", definition: DOC };
    assert_eq!(body(create), [&[1, 0, b'u'][..], DOC].concat());
    let revoke = Request::RevokeKey { user: "u", key: "ab", if_exists: true };
    assert_eq!(body(revoke), [1, 0, b'u', 2, 0, b'a', b'b', 1]);
}

#[test]
fn steps_are_these_bytes_and_give_back_what_they_were_made_of() {
    let steps = each_step();
    assert_eq!((steps.len(), steps.is_empty()), (6, false));
    assert_eq!(steps.as_steps().iter().collect::<Vec<_>>(), STEPS);
    let put = &STEPS[2];
    let mut one = StepsBuf::new();
    one.push(*put);
    let mut golden = vec![1, 0, 0, 0, 1, 2, 0, b'a', b'b', 3, 2, 1, 0, 0, 0, 0, 0, 0, 1];
    golden.extend_from_slice(&Key(2).to_bytes());
    golden.extend_from_slice(DOC);
    assert_eq!(body(Request::Apply { steps: one.as_steps() }), golden);
    assert_eq!((put.act.key(), put.act.document()), (Some(Key(2)), Some(DOC)));
    let check = STEPS[5].act;
    assert_eq!((check.key(), check.document()), (Some(Key(5)), None));
    let read = Request::ReadVersion { store: "ab", key: Key(0x0102) };
    assert_eq!(body(read), READ);
}

#[test]
fn steps_that_cannot_be_are_refused() {
    let (store, document) = ("s", DOC);
    let step = |act, condition| {
        let mut steps = StepsBuf::new();
        steps.push(Step { store, act, condition });
        let mut packet = Vec::new();
        Request::Apply { steps: steps.as_steps() }.encode(1, &mut packet);
        packet
    };
    let decoded = |packet: &[u8]| Request::decode(packet).map(|_| ()).map_err(|(_, e)| e.what);
    let never = Some(Condition::Version(0));
    assert_eq!(decoded(&step(Act::Put(Key(1), document), never)), Err("condition of a step"));
    assert_eq!(decoded(&step(Act::Check(Key(1)), None)), Err("condition of a check"));
    let unknown = step(Act::Insert(None, document), Some(Condition::Present));
    assert_eq!(decoded(&unknown), Err("condition of an insert without a key"));
    // Kind, condition, version, whether there is a key: 4 behind the header on.
    let good = step(Act::Put(Key(0), document), None);
    assert_eq!(decoded(&good), Ok(()));
    for (at, byte, what) in [
        (4, 5, "kind of a step"),
        (8, 4, "condition of a step"),
        (8, 3, "condition of a step"),
        (9, 1, "condition of a step"),
        (17, 0, "key of a step"),
        (17, 2, "key of a step"),
        (0, 0, "steps"),
        (0, 2, "kind of a step"),
    ] {
        let mut bad = good.clone();
        bad[HEADER_BYTES + at] = byte;
        assert_eq!(decoded(&bad), Err(what), "{byte} at {at}");
    }
}

#[test]
fn a_batch_gives_back_its_documents() {
    let batch = two_documents();
    let items: Vec<_> = batch.as_batch().iter().collect();
    assert_eq!(items, [(Some(Key(1)), DOC), (None, DOC)]);
}

proptest! {
    #[test]
    fn bytes_of_a_stranger_never_panic(code in 0u16..56, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (kind, len) = (Kind::Request, body.len() as u32);
        let header = Header { kind, code, id: 0, body: len, patience: 0 };
        let packet = [&header.to_bytes()[..], &body].concat();
        if let Ok((_, request)) = Request::decode(&packet) {
            let mut again = Vec::new();
            request.encode(0, &mut again);
            prop_assert_eq!(again, packet);
        }
    }
}
