//! Documents, the order of their values, and packets.

use crate::marks::reached;
use proto::doc::{Doc, DocError, Value};
use proto::order::{compare, equal, order_key, order_key_desc};
use proto::wire::{AHEAD_BYTES, Fault, Server};
use proto::{Header, Kind, Reply, Request, json};

/// Where the corpus of `document` comes to.
pub(crate) const PLACES: &[&str] = &[
    "minKey",
    "null",
    "int32",
    "int64",
    "double",
    "decimal128",
    "string",
    "document",
    "array",
    "binary",
    "objectId",
    "bool",
    "dateTime",
    "timestamp",
    "regex",
    "maxKey",
    "through its text",
    "it ends within its length field",
    "its length field does not say how long it is",
    "it does not end with a zero byte",
    "there are bytes after its last element",
    "a field name has no end",
    "a field name is not UTF-8",
    "the items of an array are not named 0, 1, 2 and on",
    "an element's type or length is not one of BSON",
    "an element is longer than what holds it",
    "a string does not end with a zero byte",
    "a string is not UTF-8",
    "a regular expression is not UTF-8",
    "a bool is neither 0 nor 1",
    "occurs twice in the document",
    "nested deeper than 64",
    "refused: undefined",
    "refused: DBPointer",
    "refused: JavaScript code",
    "refused: JavaScript code with scope",
    "refused: symbol",
    "refused: binary subtype 2",
];

/// Every value in a document, and in the documents in it.
fn walk(value: Value<'_>) -> usize {
    reached(value.type_name());
    match value {
        Value::Doc(doc) => doc.iter().map(|(name, v)| name.len() + walk(v)).sum(),
        Value::Array(array) => array.iter().map(walk).sum(),
        _ => 1,
    }
}

/// Any bytes as a document: what parses can be walked to its end, and equals
/// itself after a way through its text; what does not can be walked without a panic.
pub fn document(data: &[u8]) {
    let doc = match Doc::parse(data) {
        Ok(doc) => doc,
        Err(error) => {
            match &error {
                DocError::Refused { kind, .. } => reached(format_args!("refused: {kind}")),
                _ => reached(&error),
            }
            std::hint::black_box(trusted(Value::Doc(Doc::trusted(data)), 0));
            return;
        }
    };
    std::hint::black_box(walk(Value::Doc(doc)));
    let text = json::to_json(doc);
    // A name with a dollar may stand for a type that JSON lacks.
    if !text.contains('$') {
        let again = json::parse_json(&text).unwrap_or_else(|e| panic!("{text} is none: {e}"));
        let (one, two) = (Value::Doc(doc), Value::Doc(Doc::trusted(&again)));
        assert!(equal(Some(one), Some(two)), "{text} is another document");
        reached("through its text");
    }
}

/// What a walk of bytes that nobody checked finds; only so deep, since who checks
/// bounds the depth.
fn trusted(value: Value<'_>, depth: usize) -> usize {
    match value {
        _ if depth > 80 => 0,
        Value::Doc(doc) => doc.iter().map(|(_, v)| trusted(v, depth + 1)).sum(),
        Value::Array(array) => array.iter().map(|v| trusted(v, depth + 1)).sum(),
        _ => 1,
    }
}

/// Where the corpus of `order` comes to.
pub(crate) const ORDER_PLACES: &[&str] = &[
    "minKey less null",
    "null less int32",
    "int32 equal int64",
    "int64 equal double",
    "double equal decimal128",
    "decimal128 equal decimal128",
    "double equal int32",
    "int64 greater double",
    "int64 less double",
    "decimal128 less double",
    "double less decimal128",
    "decimal128 less string",
    "string less string",
    "string less document",
    "document less array",
    "array greater document",
    "array less binary",
    "binary less binary",
    "binary less objectId",
    "objectId less bool",
    "bool less dateTime",
    "dateTime less timestamp",
    "timestamp less regex",
    "regex less regex",
    "regex less maxKey",
];

/// A document's values against each other: bytes of index keys sort as the values
/// do, upwards and downwards, and no key begins another.
pub fn order(data: &[u8]) {
    let Ok(doc) = Doc::parse(data) else { return };
    let mut values: Vec<Option<Value<'_>>> = vec![None];
    values.extend(doc.iter().take(16).map(|(_, value)| Some(value)));
    let key = |value| {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        order_key(value, &mut up);
        order_key_desc(value, &mut down);
        (up, down)
    };
    let keys: Vec<_> = values.iter().map(|value| key(*value)).collect();
    for (i, (a, (up_a, down_a))) in values.iter().zip(&keys).enumerate() {
        for (b, (up_b, down_b)) in values.iter().zip(&keys) {
            let order = compare(*a, *b);
            assert_eq!(order, up_a.cmp(up_b), "{a:?} {b:?}");
            assert_eq!(order.reverse(), down_a.cmp(down_b), "{a:?} {b:?}, downwards");
            assert!(order.is_eq() || !up_b.starts_with(up_a), "{a:?} begins {b:?}");
        }
        let next = values.get(i + 1).copied().flatten();
        if let (Some(a), Some(b)) = (a, next) {
            let order =
                ["less", "equal", "greater"][(compare(Some(*a), Some(b)) as i8 + 1) as usize];
            reached(format_args!("{} {order} {}", a.type_name(), b.type_name()));
        }
    }
}

/// Where the corpus of `packet` comes to.
pub(crate) const PACKET_PLACES: &[&str] = &[
    "Ping",
    "Auth",
    "Stats",
    "List",
    "CreateStore",
    "DropStore",
    "Insert",
    "BatchInsert",
    "Read",
    "Update",
    "Delete",
    "Scan",
    "Range",
    "Query",
    "Flush",
    "Backup",
    "CreateIndex",
    "DropIndex",
    "AlterStore",
    "CheckIndexes",
    "CreateSequence",
    "DropSequence",
    "NextNumbers",
    "ListSequences",
    "Stream",
    "Fetch",
    "CloseCursor",
    "RunningQueries",
    "CancelQuery",
    "the packet header ends early",
    "the packet header does not begin with PLNK",
    "the protocol version is not 1",
    "the packet patience is not 0 in a reply",
    "the cancel has a code",
    "the packet kind is neither",
    "the packet kind is not that of a request",
    "a session: a request",
    "a session: a request that was cancelled",
    "a session: a fault",
    "the packet body is not as long",
    "the operation is unknown",
    "the store name ends early",
    "the store name is not UTF-8",
    "the key is neither 0 nor 1",
    "the document ends early",
    "the body has bytes left over",
    "reply: error",
    "reply: empty",
    "reply: key",
    "reply: keys",
    "reply: count",
    "reply: document",
    "reply: versioned",
    "reply: keyed rows",
    "reply: rows",
    "the status is unknown",
    "the reply tag is unknown",
    "reply: malformed message: the keys ends early",
    "a request of HTTP",
    "a response of HTTP",
    "the peer ends early",
];

/// Any bytes as a packet, a session, a guest's request or its response: what decodes
/// encodes and decodes to the same.
pub fn packet(data: &[u8]) {
    let whole = session(data, data.len().max(1));
    assert_eq!(session(data, 1), whole, "however it is cut");
    assert_eq!(session(data, 25), whole, "however it is cut");
    match Request::decode(data) {
        Ok((id, request)) => {
            reached(request.opcode().name());
            if let Request::Apply { steps } = request {
                assert_eq!(steps.iter().count(), steps.len(), "as many as it says");
            }
            if let Request::BatchInsert { batch, .. } = request {
                assert_eq!(batch.iter().count(), batch.len(), "as many as it says");
            }
            let mut again = Vec::new();
            request.encode(id, &mut again);
            let (id_again, request_again) =
                Request::decode(&again).expect("what was encoded from a request is one");
            assert_eq!((id_again, format!("{request_again:?}")), (id, format!("{request:?}")));
        }
        Err((_, error)) => reached(error),
    }
    if Header::parse(data).is_ok_and(|header| header.kind == Kind::Reply) {
        reply(data);
    }
    http(data);
}

/// What comes of a session whose bytes arrive in pieces of that length.
fn session(data: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Fault>) {
    let mut server = Server::new();
    server.open(4096, 4);
    let (mut packets, mut left) = (Vec::new(), data);
    loop {
        let taken = server.feed(&left[..piece.min(left.len())]);
        left = &left[taken..];
        server.advance(0);
        assert!(server.kept() <= 4096 + AHEAD_BYTES, "what is kept is bounded");
        if taken > 0 {
            continue;
        }
        let mut batch = server.detach();
        let begun = batch.tickets().len();
        while let Some((ticket, packet)) = batch.next_request() {
            reached("a session: a request");
            if ticket.cancelled {
                reached("a session: a request that was cancelled");
            }
            packets.push(packet.to_vec());
        }
        server.answered(begun);
        server.advance(0);
        if let Some(fault) = server.last_word() {
            reached("a session: a fault");
            return (packets, Some(fault));
        }
        if begun == 0 {
            return (packets, None);
        }
    }
}

fn reply(data: &[u8]) {
    match Reply::decode(data) {
        Ok((_, Reply::Empty)) => reached("reply: empty"),
        Ok((_, Reply::Key(_))) => reached("reply: key"),
        Ok((_, Reply::Keys(keys))) => {
            reached("reply: keys");
            assert_eq!(keys.iter().count(), keys.len());
        }
        Ok((_, Reply::Count(_))) => reached("reply: count"),
        Ok((_, Reply::Document(_))) => reached("reply: document"),
        Ok((_, Reply::Versioned { .. })) => reached("reply: versioned"),
        Ok((_, Reply::Rows(rows))) => {
            let keyed = rows.iter().filter(|(key, _)| key.is_some()).count();
            reached(if keyed > 0 { "reply: keyed rows" } else { "reply: rows" });
            assert_eq!(rows.iter().count(), rows.len());
        }
        Ok((_, Reply::Error { .. })) => reached("reply: error"),
        Err(error) => reached(format_args!("reply: {error}")),
    }
}

fn http(data: &[u8]) {
    match proto::http::HttpRequest::decode(data) {
        Ok(request) => {
            reached("a request of HTTP");
            assert_eq!(request.headers.iter().count(), request.headers.len());
        }
        Err(error) => reached(format_args!("HTTP: {error}")),
    }
    if let Ok(response) = proto::http::HttpResponse::decode(data) {
        reached("a response of HTTP");
        assert_eq!(response.headers.iter().count(), response.headers.len());
    }
}
