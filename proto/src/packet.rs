//! The packet: one header, one body, for every caller.
//!
//! ```text
//!  0        4         5      6      8            16           20         24
//!  +--------+---------+------+------+------------+------------+----------+- - - -
//!  | "PLNK" | version | kind | code | request id | body bytes | patience | body
//!  |  u8x4  |   u8    |  u8  | u16  |    u64     |    u32     |   u32    |
//!  +--------+---------+------+------+------------+------------+----------+- - - -
//! ```
//!
//! `kind` is 0 in a request, 1 in a reply, 2 in a Cancel. `code` is the operation of
//! a request, the status of a reply. A reply carries the id of its request, a Cancel
//! that of the request it is about. `patience` of a request is the milliseconds after
//! which its answer is not wanted any more, or 0. All else is 0: a Cancel has no code,
//! no body and no patience, a reply no patience. The first 16 bytes mean the same in
//! every version. There is no checksum: on the wire TLS guards the bytes, and from a
//! guest they never leave the process. `docs/protocol.md` is the whole of it.

use crate::codec::DecodeError;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of every packet.
pub const MAGIC: [u8; 4] = *b"PLNK";
/// The version of the protocol this crate speaks.
pub const VERSION: u8 = 1;
/// What the two sides of the wire agree to speak inside TLS.
pub const ALPN: &[u8] = b"planck/1";
/// Bytes of a header.
pub const HEADER_BYTES: usize = 24;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 4],
    version: u8,
    kind: u8,
    code: U16,
    id: U64,
    body: U32,
    patience: U32,
}

const _: () = assert!(size_of::<Layout>() == HEADER_BYTES);

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the caller.
    Request,
    /// To the caller.
    Reply,
    /// From the caller: the answer to a request is not wanted any more.
    Cancel,
}

/// A header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which way it goes.
    pub kind: Kind,
    /// An [`Opcode`] in a request, a [`crate::Status`] in a reply, 0 in a Cancel.
    pub code: u16,
    /// The caller's number for the request; its reply carries it too.
    pub id: u64,
    /// Bytes of the body that follows.
    pub body: u32,
    /// In a request: milliseconds after which its answer is not wanted any more; 0: it
    /// is wanted however long it takes.
    pub patience: u32,
}

/// The version and the id in a packet of another version than [`VERSION`]. `None`: it
/// is none, or ends before its id.
pub fn foreign(packet: &[u8]) -> Option<(u8, u64)> {
    let (version, id) = (*packet.get(4)?, packet.get(8..16)?.try_into().ok()?);
    (packet.starts_with(&MAGIC) && version != VERSION).then(|| (version, u64::from_le_bytes(id)))
}

impl Header {
    /// Reads a header off the front of `bytes`. The body's length is not compared
    /// with what follows: a stream may not have it yet.
    pub fn parse(bytes: &[u8]) -> Result<Header, DecodeError> {
        let Ok((layout, _)) = Layout::ref_from_prefix(bytes) else {
            return Err(DecodeError::new("packet header", "ends early"));
        };
        if layout.magic != MAGIC {
            return Err(DecodeError::new(
                "packet header",
                "does not begin with PLNK: the peer speaks another protocol",
            ));
        }
        if layout.version != VERSION {
            return Err(DecodeError::new(
                "protocol version",
                "is not 1: use a client and server of the same release",
            ));
        }
        let kind = match layout.kind {
            0 => Kind::Request,
            1 => Kind::Reply,
            2 => Kind::Cancel,
            _ => {
                return Err(DecodeError::new(
                    "packet kind",
                    "is neither request nor reply nor cancel",
                ));
            }
        };
        let (code, body, patience) = (layout.code.get(), layout.body.get(), layout.patience.get());
        if kind == Kind::Reply && patience != 0 {
            return Err(DecodeError::new("packet patience", "is not 0 in a reply"));
        }
        if kind == Kind::Cancel && (code, body, patience) != (0, 0, 0) {
            return Err(DecodeError::new(
                "cancel",
                "has a code, a body or a patience that is not 0",
            ));
        }
        Ok(Header { kind, code, id: layout.id.get(), body, patience })
    }

    /// The 24 bytes of this header.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let layout = Layout {
            magic: MAGIC,
            version: VERSION,
            kind: match self.kind {
                Kind::Request => 0,
                Kind::Reply => 1,
                Kind::Cancel => 2,
            },
            code: U16::new(self.code),
            id: U64::new(self.id),
            body: U32::new(self.body),
            patience: U32::new(self.patience),
        };
        zerocopy::transmute!(layout)
    }

    /// A Cancel of the request that was sent with this id.
    pub fn cancel(id: u64) -> Header {
        Header { kind: Kind::Cancel, code: 0, id, body: 0, patience: 0 }
    }

    /// Splits one whole packet into header and body; the body must be exactly as
    /// long as the header says.
    pub fn split(packet: &[u8]) -> Result<(Header, &[u8]), DecodeError> {
        let header = Header::parse(packet)?;
        let body = &packet[HEADER_BYTES..];
        if body.len() != header.body as usize {
            return Err(DecodeError::new("packet body", "is not as long as the header says"));
        }
        Ok((header, body))
    }
}

macro_rules! opcodes {
    ($($number:literal $name:ident $doc:literal;)*) => {
        /// What a request asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Opcode { $(#[doc = $doc] $name = $number,)* }

        impl Opcode {
            /// Every operation.
            pub const ALL: &'static [Opcode] = &[$(Opcode::$name),*];

            /// The operation of a number, if there is one.
            pub fn from_number(number: u16) -> Option<Opcode> {
                match number { $($number => Some(Opcode::$name),)* _ => None }
            }

            /// Its name in logs, metrics and messages.
            pub fn name(self) -> &'static str {
                match self { $(Opcode::$name => stringify!($name),)* }
            }
        }
    };
}

opcodes! {
    1  Ping        "Is anybody there?";
    2  Auth        "Says who is calling; the first request of every wire session.";
    3  Stats       "Figures of the engine, as one document.";
    4  List        "The stores, a row each.";
    5  CreateStore "Makes a store.";
    6  DropStore   "Removes a store with all its documents.";
    7  Insert      "Adds one document.";
    8  BatchInsert "Adds many documents, all or none.";
    9  Read        "The document under a key.";
    10 Update      "Replaces the document under a key.";
    11 Delete      "Removes the document under a key.";
    12 Scan        "Documents in key order, a page at a time.";
    13 Range       "Documents between two keys, a page at a time.";
    14 Query       "Runs PQL.";
    15 Flush       "Moves what is in memory to the tree and value log now.";
    16 Backup      "Begins a backup, or tells how the last one goes.";
    17 CreateIndex "Makes an index of a store; it is built while writes go on.";
    18 DropIndex   "Removes an index.";
    19 AlterStore  "Renames a store, or says when its documents expire.";
    20 CheckIndexes "Compares indexes with their documents; a row for each difference.";
    21 CreateSequence "Makes a sequence of numbers.";
    22 DropSequence "Removes a sequence.";
    23 NextNumbers "Takes the next numbers of a sequence.";
    24 ListSequences "The sequences, a row each.";
    25 Stream      "Runs PQL; its rows come in pages of the size asked for.";
    26 Fetch       "The next page of rows of a cursor.";
    27 CloseCursor "Lets go of a cursor before its end.";
    28 RunningQueries "The queries that run, or wait for their next page to be fetched, a row each.";
    29 CancelQuery "Ends a query of RunningQueries.";
    30 CreateUser  "Makes a user.";
    31 AlterUser   "Gives a user another role, grants or key; everybody may give themselves another key.";
    32 DropUser    "Removes a user; their sessions end.";
    33 ListUsers   "The users, a row each, page by page; of their keys the names, not the keys.";
    34 DescribeStore "One store whole, with its schema, as one document.";
    35 AlterSequence "Renames a sequence, or lets it go on from a higher number.";
    36 FormatQuery "Writes PQL in its canonical form; runs nothing.";
    37 CreateKey   "Makes a user one more key; everybody may make themselves one.";
    38 RevokeKey   "Takes a key from a user; the sessions it opened end.";
    39 Begin       "Begins a transaction.";
    40 Commit      "Makes a transaction take effect, whole or not at all.";
    41 Abort       "Lets go of a transaction.";
    42 Savepoint   "Marks a place in a transaction to come back to.";
    43 Rollback    "Undoes what a transaction wrote since a savepoint.";
    44 Within      "An operation on documents as part of a transaction.";
    45 ReloadModule "Reads the guest's module again, and has the new one serve.";
    46 Watch       "What changed in stores since a place in the log: waits for it, if it may.";
    48 Schedule    "Has a route, or a service outside, called once this is committed and due.";
    49 RetryJob    "Puts a job that was given up back among those that wait.";
    52 Apply       "Several writes, in any stores, each under a condition: all or none.";
    53 ReadVersion "The document under a key, with its version.";
    54 Follow      "The durable commits of a primary behind a place, for a replica; waits, if it may.";
    55 Snapshot    "Has a primary make a snapshot for a new replica, tells of it, or gives a piece of it.";
    56 Position    "How far this server is; waits, if asked, until a commit can be read here.";
    57 Promote     "Makes a replica the primary, in a new term.";
    58 Demote      "Makes the primary a replica: it writes nothing any more.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_these_bytes() {
        let id = 0x0102_0304_0506_0708;
        let header = Header { kind: Kind::Reply, code: 0x04b2, id, body: 5, patience: 0 };
        let golden = [
            b'P', b'L', b'N', b'K', 1, 1, 0xb2, 0x04, 8, 7, 6, 5, 4, 3, 2, 1, 5, 0, 0, 0, 0, 0, 0,
            0,
        ];
        assert_eq!(header.to_bytes(), golden);
        assert_eq!(Header::parse(&golden), Ok(header));
        let header = Header { kind: Kind::Request, patience: 0x0a0b_0c0d, ..header };
        let mut golden = golden;
        golden[5] = 0;
        golden[20..].copy_from_slice(&[13, 12, 11, 10]);
        assert_eq!(header.to_bytes(), golden);
        assert_eq!(Header::parse(&golden), Ok(header));
        let golden =
            [b'P', b'L', b'N', b'K', 1, 2, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Header::cancel(id).to_bytes(), golden);
        assert_eq!(Header::parse(&golden), Ok(Header::cancel(id)));
    }

    #[test]
    fn each_wrong_field_is_named() {
        let request = Header { kind: Kind::Request, code: 1, id: 7, body: 0, patience: 0 };
        let reply = Header { kind: Kind::Reply, ..request };
        let (good, cancel) = (request.to_bytes(), Header::cancel(7));
        for (header, at, what) in [
            (request, 0, "packet header"),
            (request, 4, "protocol version"),
            (request, 5, "packet kind"),
            (reply, 20, "packet patience"),
            (cancel, 6, "cancel"),
            (cancel, 16, "cancel"),
            (cancel, 23, "cancel"),
        ] {
            let mut bad = header.to_bytes();
            assert_eq!(Header::parse(&bad), Ok(header));
            bad[at] ^= 0x40;
            assert_eq!(Header::parse(&bad).unwrap_err().what, what);
        }
        assert_eq!(Header::parse(&good[..23]).unwrap_err().fault, "ends early");
        assert_eq!(Header::split(&[&good[..], &[0]].concat()).unwrap_err().what, "packet body");
    }

    #[test]
    fn of_a_packet_of_another_version_the_id_is_known() {
        let mut packet = Header::cancel(0x0102).to_bytes();
        assert_eq!(foreign(&packet), None);
        packet[4] = 9;
        packet[16..].fill(0xff);
        assert_eq!(foreign(&packet), Some((9, 0x0102)));
        assert_eq!(foreign(&packet[..16]), Some((9, 0x0102)));
        assert_eq!(foreign(&packet[..15]), None);
        packet[0] = b'p';
        assert_eq!(foreign(&packet), None);
    }
}
