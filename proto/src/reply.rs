//! Replies: what comes back, self-describing by its first byte.
//!
//! ```text
//! error      message:rest (UTF-8)                       status != Ok
//! 0 Empty
//! 1 Key      key:16
//! 2 Keys     count:u32  count x key:16
//! 3 Count    number:u64
//! 4 Document document                                    figures, not a stored one
//! 5 Rows     keyed:u8  more:u8 next:16  count:u32  count x ([key:16] document)
//! 6 Versioned  version:u64  document                     a stored one, and its version
//! ```
//!
//! In `Rows`, `keyed` says whether each document comes with its key (stored
//! documents do; plucked and grouped rows do not). `more` 0: that is all, and `next`
//! is zeros. 1: there is more, `next` is the key of the last row, and a Scan `after`
//! it goes on. 2: there may be more, `next` is the number of a cursor, big-endian and
//! below 2^64, and a Fetch of it goes on.
//!
//! Invariant: a writer is consumed by the call that ends the reply, so a reply
//! is ended exactly once, and an error takes back the rows written before it.

use crate::codec::{DecodeError, Reader};
use crate::packet::{HEADER_BYTES, Header, Kind};
use crate::{Key, Status};

const EMPTY: u8 = 0;
const KEY: u8 = 1;
const KEYS: u8 = 2;
const COUNT: u8 = 3;
const DOCUMENT: u8 = 4;
const ROWS: u8 = 5;
const VERSIONED: u8 = 6;

/// What `more` says.
const ALL: u8 = 0;
const AFTER_KEY: u8 = 1;
const CURSOR: u8 = 2;

/// Where, in a Rows body, `more` and `count` stand: filled in at the end.
const NEXT_AT: usize = 2;
const ROW_COUNT_AT: usize = NEXT_AT + 17;
const ROWS_FROM: usize = ROW_COUNT_AT + 4;

/// A reply, borrowed from its packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reply<'a> {
    /// Not carried out; nothing changed.
    Error {
        /// What kind of failure.
        status: Status,
        /// What happened and what to do, for people.
        message: &'a str,
    },
    /// Done, nothing to tell.
    Empty,
    /// The key of the document inserted or replaced.
    Key(Key),
    /// The keys of the documents inserted, in the order given.
    Keys(Keys<'a>),
    /// How many documents were counted, changed or removed.
    Count(u64),
    /// One document that is no stored one, such as figures: BSON.
    Document(&'a [u8]),
    /// Documents.
    Rows(Rows<'a>),
    /// A stored document.
    Versioned {
        /// The commit that wrote it; 0: the transaction that it is read in, which has none yet.
        version: u64,
        /// The document: BSON.
        document: &'a [u8],
    },
}

/// Keys of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keys<'a>(&'a [u8]);

impl<'a> Keys<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len() / 16
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each key.
    pub fn iter(&self) -> impl Iterator<Item = Key> + use<'a> {
        let mut walk = Reader::new(self.0);
        core::iter::from_fn(move || walk.key("key").ok())
    }
}

/// Documents of a result, checked to be framed well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rows<'a> {
    /// Whether each row comes with its key.
    pub keyed: bool,
    /// The key to go on after, if there is more of a scan.
    pub next: Option<Key>,
    /// The cursor to fetch from, if there may be more of a query.
    pub cursor: Option<u64>,
    count: u32,
    rows: &'a [u8],
}

impl<'a> Rows<'a> {
    fn decode(body: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let keyed = body.flag("keyed")?;
        let (more, next) = (body.u8("more")?, body.key("next")?);
        let (next, cursor) = match (more, u64::try_from(next.0)) {
            (ALL, Ok(0)) => (None, None),
            (AFTER_KEY, _) => (Some(next), None),
            (CURSOR, Ok(cursor)) => (None, Some(cursor)),
            (ALL, _) => return Err(DecodeError::new("next", "is absent but not zero")),
            (CURSOR, Err(_)) => return Err(DecodeError::new("cursor", "has more than 64 bits")),
            _ => return Err(DecodeError::new("more", "is none of 0, 1 and 2")),
        };
        let count = body.u32("row count")?;
        let rows = body.rest();
        let mut walk = Reader::new(rows);
        for _ in 0..count {
            if keyed {
                walk.key("row key")?;
            }
            walk.document("row document")?;
        }
        walk.done("rows")?;
        Ok(Rows { keyed, next, cursor, count, rows })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each document (BSON), with its key if the rows are keyed.
    pub fn iter(&self) -> impl Iterator<Item = (Option<Key>, &'a [u8])> + use<'a> {
        let (keyed, mut walk) = (self.keyed, Reader::new(self.rows));
        (0..self.count).map_while(move |_| {
            let key = if keyed { Some(walk.key("row key").ok()?) } else { None };
            Some((key, walk.document("row document").ok()?))
        })
    }
}

impl<'a> Reply<'a> {
    /// Reads a whole reply packet; gives the id of the request it answers too.
    pub fn decode(packet: &'a [u8]) -> Result<(u64, Reply<'a>), DecodeError> {
        let (header, body) = Header::split(packet)?;
        if header.kind != Kind::Reply {
            return Err(DecodeError::new("packet kind", "is not that of a reply, which is due"));
        }
        let status = Status::from_number(header.code)
            .ok_or(DecodeError::new("status", "is unknown: the server is of a newer release"))?;
        if status != Status::Ok {
            let message = core::str::from_utf8(body)
                .map_err(|_| DecodeError::new("error message", "is not UTF-8"))?;
            return Ok((header.id, Reply::Error { status, message }));
        }
        let mut body = Reader::new(body);
        let reply = match body.u8("reply tag")? {
            EMPTY => Reply::Empty,
            KEY => Reply::Key(body.key("key")?),
            KEYS => {
                let count = body.u32("key count")? as usize;
                let len =
                    count.checked_mul(16).ok_or(DecodeError::new("key count", "is too large"))?;
                Reply::Keys(Keys(body.take(len, "keys")?))
            }
            COUNT => Reply::Count(body.u64("count")?),
            DOCUMENT => Reply::Document(body.document("document")?),
            ROWS => Reply::Rows(Rows::decode(&mut body)?),
            VERSIONED => Reply::Versioned {
                version: body.u64("version")?,
                document: body.document("document")?,
            },
            _ => {
                return Err(DecodeError::new(
                    "reply tag",
                    "is unknown: the server is of a newer release",
                ));
            }
        };
        body.done("reply")?;
        Ok((header.id, reply))
    }
}

/// Appends one reply packet to a vector, without a copy of its rows.
#[derive(Debug)]
pub struct ReplyWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    id: u64,
}

impl<'a> ReplyWriter<'a> {
    /// Will answer request `id` at the end of `out`.
    pub fn new(id: u64, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, id }
    }

    fn finish(self, status: Status) {
        let body = u32::try_from(self.out.len() - self.start - HEADER_BYTES)
            .expect("writers keep replies under the message limit");
        let (kind, code) = (Kind::Reply, status as u16);
        let header = Header { kind, code, id: self.id, body, patience: 0 };
        self.out[self.start..self.start + HEADER_BYTES].copy_from_slice(&header.to_bytes());
    }

    fn begin(&mut self) -> &mut Vec<u8> {
        self.out.truncate(self.start);
        self.out.extend_from_slice(&[0; HEADER_BYTES]);
        self.out
    }

    /// The request failed; `message` says why and what to do.
    pub fn error(mut self, status: Status, message: &str) {
        debug_assert!(status != Status::Ok, "an error has a status");
        self.begin().extend_from_slice(message.as_bytes());
        self.finish(status);
    }

    /// Done, nothing to tell.
    pub fn empty(mut self) {
        self.begin().push(EMPTY);
        self.finish(Status::Ok);
    }

    /// The key of a document.
    pub fn key(mut self, key: Key) {
        let out = self.begin();
        out.push(KEY);
        out.extend_from_slice(&key.to_bytes());
        self.finish(Status::Ok);
    }

    /// The keys of a batch.
    pub fn keys(mut self, keys: &[Key]) {
        let out = self.begin();
        out.push(KEYS);
        let count = u32::try_from(keys.len()).expect("a batch is bounded by limits.max_batch_size");
        out.extend_from_slice(&count.to_le_bytes());
        for key in keys {
            out.extend_from_slice(&key.to_bytes());
        }
        self.finish(Status::Ok);
    }

    /// A number of documents.
    pub fn count(mut self, number: u64) {
        let out = self.begin();
        out.push(COUNT);
        out.extend_from_slice(&number.to_le_bytes());
        self.finish(Status::Ok);
    }

    /// A document that is no stored one: BSON.
    pub fn document(mut self, document: &[u8]) {
        let out = self.begin();
        out.push(DOCUMENT);
        out.extend_from_slice(document);
        self.finish(Status::Ok);
    }

    /// A stored document, and its version.
    pub fn versioned(mut self, version: u64, document: &[u8]) {
        let out = self.begin();
        out.push(VERSIONED);
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(document);
        self.finish(Status::Ok);
    }

    /// Rows, one by one.
    pub fn rows(mut self, keyed: bool) -> RowsWriter<'a> {
        let out = self.begin();
        out.push(ROWS);
        out.push(u8::from(keyed));
        out.push(ALL);
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&0u32.to_le_bytes());
        RowsWriter { reply: self, keyed, count: 0 }
    }
}

/// Writes the rows of a reply straight into its packet, until
/// [`RowsWriter::finish`] or [`RowsWriter::fail`].
#[derive(Debug)]
#[must_use = "an unfinished reply is no reply"]
pub struct RowsWriter<'a> {
    reply: ReplyWriter<'a>,
    keyed: bool,
    count: u32,
}

impl RowsWriter<'_> {
    /// Adds a row. The key is written only in keyed rows.
    pub fn push(&mut self, key: Key, document: &[u8]) {
        if self.keyed {
            self.reply.out.extend_from_slice(&key.to_bytes());
        }
        self.reply.out.extend_from_slice(document);
        self.count += 1;
    }

    /// Adds a row whose document `write` appends itself.
    pub fn push_with(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        if self.keyed {
            self.reply.out.extend_from_slice(&key.to_bytes());
        }
        write(self.reply.out);
        self.count += 1;
    }

    /// Bytes of the packet so far.
    pub fn bytes(&self) -> usize {
        self.reply.out.len() - self.reply.start
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no row so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Ends the reply; `next` says that there is more, after that key.
    pub fn finish(self, next: Option<Key>) {
        match next {
            Some(key) => self.end(AFTER_KEY, key),
            None => self.end(ALL, Key::MIN),
        }
    }

    /// Ends the reply; there may be more, to be fetched from that cursor.
    pub fn finish_with_cursor(self, cursor: u64) {
        self.end(CURSOR, Key(u128::from(cursor)));
    }

    fn end(self, more: u8, next: Key) {
        let body = self.reply.start + HEADER_BYTES;
        let out = &mut *self.reply.out;
        out[body + NEXT_AT] = more;
        out[body + NEXT_AT + 1..body + ROW_COUNT_AT].copy_from_slice(&next.to_bytes());
        out[body + ROW_COUNT_AT..body + ROWS_FROM].copy_from_slice(&self.count.to_le_bytes());
        self.reply.finish(Status::Ok);
    }

    /// Takes the rows back and answers with an error.
    pub fn fail(self, status: Status, message: &str) {
        self.reply.error(status, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOC: &[u8] = &[12, 0, 0, 0, 0x10, b'a', 0, 7, 0, 0, 0, 0];

    fn write(answer: impl FnOnce(ReplyWriter<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        answer(ReplyWriter::new(9, &mut out));
        out
    }

    #[test]
    fn every_reply_round_trips_and_no_prefix_of_it_does() {
        let packets = [
            write(|reply| reply.empty()),
            write(|reply| reply.key(Key(5))),
            write(|reply| reply.keys(&[Key(1), Key(2)])),
            write(|reply| reply.count(3)),
            write(|reply| reply.document(DOC)),
            write(|reply| {
                let mut rows = reply.rows(true);
                rows.push(Key(7), DOC);
                rows.push_with(Key(8), |out| out.extend_from_slice(DOC));
                rows.finish(Some(Key(8)));
            }),
            write(|reply| reply.rows(false).finish_with_cursor(7)),
            write(|reply| reply.versioned(0x0102, DOC)),
        ];
        for packet in &packets {
            assert_eq!(Reply::decode(packet).unwrap().0, 9);
            for cut in 0..packet.len() {
                assert!(Reply::decode(&packet[..cut]).is_err());
            }
        }
        let (_, Reply::Rows(rows)) = Reply::decode(&packets[5]).unwrap() else { panic!("rows") };
        assert_eq!(rows.next, Some(Key(8)));
        let found: Vec<_> = rows.iter().collect();
        assert_eq!(found, [(Some(Key(7)), DOC), (Some(Key(8)), DOC)]);
        let versioned = Reply::Versioned { version: 0x0102, document: DOC };
        assert_eq!(Reply::decode(&packets[7]), Ok((9, versioned)));
        assert_eq!(packets[7][HEADER_BYTES..][..9], [6, 2, 1, 0, 0, 0, 0, 0, 0]);
        let (_, Reply::Keys(keys)) = Reply::decode(&packets[2]).unwrap() else { panic!("keys") };
        assert_eq!(keys.iter().collect::<Vec<_>>(), [Key(1), Key(2)]);
    }

    #[test]
    fn unkeyed_rows_are_these_bytes() {
        let packet = write(|reply| {
            let mut rows = reply.rows(false);
            rows.push(Key(7), DOC);
            rows.finish(None);
        });
        let mut golden = vec![5, 0, 0];
        golden.extend_from_slice(&[0; 16]);
        golden.extend_from_slice(&[1, 0, 0, 0]);
        golden.extend_from_slice(DOC);
        assert_eq!(packet[HEADER_BYTES..], golden);
    }

    #[test]
    fn rows_of_a_cursor_are_these_bytes() {
        let packet = write(|reply| reply.rows(true).finish_with_cursor(0x0102_0304_0506_0708));
        let golden = [5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0];
        assert_eq!(packet[HEADER_BYTES..], golden);
        let (_, Reply::Rows(rows)) = Reply::decode(&packet).unwrap() else { panic!("rows") };
        assert_eq!((rows.next, rows.cursor), (None, Some(0x0102_0304_0506_0708)));
        for (more, first, what) in
            [(3, 0, "more"), (2, 1, "cursor"), (0, 1, "next"), (0, 0, "next")]
        {
            let mut bad = packet.clone();
            (bad[HEADER_BYTES + 2], bad[HEADER_BYTES + 3]) = (more, first);
            assert_eq!(Reply::decode(&bad).unwrap_err().what, what);
        }
        let scanned = write(|reply| reply.rows(true).finish(Some(Key(1 << 100))));
        let (_, Reply::Rows(rows)) = Reply::decode(&scanned).unwrap() else { panic!("rows") };
        assert_eq!((rows.next, rows.cursor), (Some(Key(1 << 100)), None));
    }

    #[test]
    fn a_failure_takes_the_rows_back() {
        let packet = write(|reply| {
            let mut rows = reply.rows(true);
            rows.push(Key(7), DOC);
            rows.fail(Status::ResultTooLarge, "too much");
        });
        let error = Reply::Error { status: Status::ResultTooLarge, message: "too much" };
        assert_eq!(Reply::decode(&packet), Ok((9, error)));
        assert_eq!(packet.len(), HEADER_BYTES + 8);
    }

    proptest! {
        #[test]
        fn bytes_of_a_stranger_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let len = body.len() as u32;
            let header = Header { kind: Kind::Reply, code: 0, id: 0, body: len, patience: 0 };
            let packet = [&header.to_bytes()[..], &body].concat();
            if let Ok((_, Reply::Rows(rows))) = Reply::decode(&packet) {
                prop_assert_eq!(rows.iter().count(), rows.len());
            }
        }
    }
}
