//! Frames that break the rules of RFC 9113, and how each ends.
//!
//! That it ends is the point. The numbers are those the h2 crate gives: where RFC 9113 has
//! another one, or lets the stream end and not the connection, `docs/http-conformance.md`
//! says so.

use super::*;

/// What ends: all, or the stream; and by which error.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Connection(u32),
    Stream(u32),
    /// It was answered, with this first byte of a header block: an indexed status.
    Answer(u8),
    /// Closed without a word.
    Silence,
}

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const FRAME_SIZE: u32 = 6;
const OK: u8 = 0x88;
const BAD_REQUEST: u8 = 0x8c;

fn error(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.try_into().unwrap())
}

async fn end(house: &House, said: &[u8]) -> End {
    let mut stream = house.open(said).await;
    loop {
        match soon(next(&mut stream)).await {
            Err(_) => return End::Silence,
            Ok((GOAWAY, _, payload)) => return End::Connection(error(&payload[4..8])),
            Ok((RESET, _, payload)) => return End::Stream(error(&payload)),
            Ok((HEADERS, _, payload)) => return End::Answer(payload[0]),
            Ok(_) => {}
        }
    }
}

/// A head of literal fields, none of them to be remembered.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for text in fields.iter().map(|(name, value)| [name, value]) {
        block.push(0);
        for part in text {
            block.push(u8::try_from(part.len()).unwrap());
            block.extend(part.bytes());
        }
    }
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
}

const USUAL: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    head(&[&USUAL[..], more].concat())
}

fn without(name: &str) -> Vec<u8> {
    let kept: Vec<_> = USUAL.into_iter().filter(|field| field.0 != name).collect();
    head(&kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_rules_ends_by_the_error_they_give() {
    use End::{Answer, Connection, Stream};
    let house = house(HttpOptions::default()).await;
    // A request whose body is still to come.
    let post = |stream: u32, more: &[u8]| {
        frame(HEADERS, END_HEADERS, stream, &[&[0x83], &GET[1..], more].concat())
    };
    let open = |stream: u32| post(stream, &[]);
    // content-length: 3
    let of_three = post(1, &[0x0f, 0x0d, 1, b'3']);
    let (large, mut wrong) = (vec![0; 16_385], Vec::new());
    for (name, frames, expected) in [
        ("a request", get(1), Answer(OK)),
        ("an unknown kind", [frame(0x77, 0xff, 9, b"x"), get(1)].concat(), Answer(OK)),
        ("a frame too large", frame(DATA, 0, 1, &large), Connection(FRAME_SIZE)),
        ("settings of odd length", frame(SETTINGS, 0, 0, b"12345"), Connection(PROTOCOL)),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[]), Connection(PROTOCOL)),
        ("an acknowledgement with words", frame(SETTINGS, ACK, 0, &[0; 6]), Connection(PROTOCOL)),
        ("push that is no bit", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), Connection(PROTOCOL)),
        (
            "a window too large to be set",
            frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            Connection(PROTOCOL),
        ),
        (
            "frames smaller than they may be",
            frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
            Connection(PROTOCOL),
        ),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8]), Connection(PROTOCOL)),
        ("a short ping", frame(PING, 0, 0, &[0; 7]), Connection(PROTOCOL)),
        ("a window of nothing", frame(WINDOW, 0, 0, &[0; 4]), Connection(PROTOCOL)),
        ("a window of odd length", frame(WINDOW, 0, 0, &[0; 3]), Connection(PROTOCOL)),
        (
            "a window that overflows",
            frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Connection(FLOW_CONTROL),
        ),
        ("data of no stream", frame(DATA, 0, 0, b"x"), Connection(PROTOCOL)),
        ("data of an idle stream", frame(DATA, 0, 1, b"x"), Connection(PROTOCOL)),
        ("a head of no stream", frame(HEADERS, 5, 0, GET), Connection(PROTOCOL)),
        ("a head of a stream of ours", frame(HEADERS, 5, 2, GET), Connection(PROTOCOL)),
        ("a reset of an idle stream", frame(RESET, 0, 1, &[0; 4]), Connection(PROTOCOL)),
        (
            "a reset of odd length",
            [open(1), frame(RESET, 0, 1, b"x")].concat(),
            Connection(PROTOCOL),
        ),
        ("a push by the client", frame(PUSH, END_HEADERS, 1, GET), Connection(PROTOCOL)),
        ("a continuation of nothing", frame(CONTINUATION, 4, 1, GET), Connection(PROTOCOL)),
        (
            "something else in the middle of a head",
            [frame(HEADERS, 0, 1, GET), frame(PING, 0, 0, &[0; 8])].concat(),
            Connection(PROTOCOL),
        ),
        (
            "a continuation of another stream",
            [frame(HEADERS, 0, 1, GET), frame(CONTINUATION, 4, 3, GET)].concat(),
            Connection(PROTOCOL),
        ),
        ("an index that is none", frame(HEADERS, 5, 1, &[0xff, 0xff, 0x7f]), Connection(PROTOCOL)),
        (
            "a table larger than may be",
            frame(HEADERS, 5, 1, &[0x3f, 0xe1, 0xff, 0x7f]),
            Connection(PROTOCOL),
        ),
        ("padding beyond the frame", frame(HEADERS, 0xd, 1, &[9, 0x82]), Connection(PROTOCOL)),
        ("a stream number that goes back", [open(3), get(1)].concat(), Connection(PROTOCOL)),
        ("a name in capitals", with(&[("X", "y")]), Connection(PROTOCOL)),
        ("a header of the connection", with(&[("connection", "close")]), Stream(PROTOCOL)),
        ("a coding of the transfer", with(&[("transfer-encoding", "chunked")]), Stream(PROTOCOL)),
        ("te that is not trailers", with(&[("te", "gzip")]), Stream(PROTOCOL)),
        ("a pseudo header too many", with(&[(":method", "GET")]), Stream(PROTOCOL)),
        ("a pseudo header nobody knows", with(&[(":x", "y")]), Connection(PROTOCOL)),
        ("a status in a request", with(&[(":status", "200")]), Stream(PROTOCOL)),
        (
            "a pseudo header behind the others",
            head(&[&[("a", "b")], &USUAL[..]].concat()),
            Stream(PROTOCOL),
        ),
        ("no path", without(":path"), Stream(PROTOCOL)),
        ("no method", without(":method"), Stream(PROTOCOL)),
        ("no scheme", without(":scheme"), Stream(PROTOCOL)),
        ("no host", without(":authority"), Answer(BAD_REQUEST)),
        ("two hosts", with(&[("host", "i")]), Answer(BAD_REQUEST)),
        ("an empty path", head(&[USUAL[0], USUAL[1], (":path", ""), USUAL[3]]), Stream(PROTOCOL)),
        (
            "a body longer than it says",
            [of_three.clone(), frame(DATA, END_STREAM, 1, b"four")].concat(),
            Stream(PROTOCOL),
        ),
        (
            "a body shorter than it says",
            [of_three, frame(DATA, END_STREAM, 1, b"ab")].concat(),
            Stream(PROTOCOL),
        ),
    ] {
        let found = end(&house, &[hello(), frames].concat()).await;
        if found != expected {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    house.is_served().await;
}
