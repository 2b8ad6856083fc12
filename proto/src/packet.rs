//! The packet: one header, one body, for every caller.
//!
//! ```text
//!  0        4        5      6       8            16           20       24
//!  +--------+--------+------+-------+------------+------------+--------+- - - -
//!  | "PLNK" | version| kind | code  | request id | body bytes | flags  | body
//!  |  u8x4  |   u8   |  u8  |  u16  |    u64     |    u32     |  u32   |
//!  +--------+--------+------+-------+------------+------------+--------+- - - -
//! ```
//!
//! `kind` is 0 in a request and 1 in a reply. `code` is the operation of a
//! request, the status of a reply. A reply carries the id of its request.
//! `flags` are 0 in version 1. There is no checksum: on the wire TLS guards the
//! bytes, and from a guest they never leave the process.

use crate::codec::DecodeError;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of every packet.
pub const MAGIC: [u8; 4] = *b"PLNK";
/// The version of the protocol this crate speaks.
pub const VERSION: u8 = 1;
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
    flags: U32,
}

const _: () = assert!(size_of::<Layout>() == HEADER_BYTES);

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the caller.
    Request,
    /// To the caller.
    Reply,
}

/// A header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which way it goes.
    pub kind: Kind,
    /// An [`Opcode`] in a request, a [`crate::Status`] in a reply.
    pub code: u16,
    /// The caller's number for the request; its reply carries it too.
    pub id: u64,
    /// Bytes of the body that follows.
    pub body: u32,
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
        if layout.flags.get() != 0 {
            return Err(DecodeError::new("packet flags", "are not 0"));
        }
        let kind = match layout.kind {
            0 => Kind::Request,
            1 => Kind::Reply,
            _ => return Err(DecodeError::new("packet kind", "is neither request nor reply")),
        };
        Ok(Header { kind, code: layout.code.get(), id: layout.id.get(), body: layout.body.get() })
    }

    /// The 24 bytes of this header.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let layout = Layout {
            magic: MAGIC,
            version: VERSION,
            kind: match self.kind {
                Kind::Request => 0,
                Kind::Reply => 1,
            },
            code: U16::new(self.code),
            id: U64::new(self.id),
            body: U32::new(self.body),
            flags: U32::new(0),
        };
        zerocopy::transmute!(layout)
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
    33 ListUsers   "The users, a row each; of their keys nothing.";
    34 DescribeStore "One store whole, with its schema, as one document.";
    35 AlterSequence "Renames a sequence, or lets it go on from a higher number.";
    36 FormatQuery "Writes PQL in its canonical form; runs nothing.";
    37 CreateKey   "Makes a user one more key; everybody may make themselves one.";
    38 RevokeKey   "Takes a key from a user; the sessions it opened end.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_these_bytes() {
        let header = Header { kind: Kind::Reply, code: 0x04b2, id: 0x0102_0304_0506_0708, body: 5 };
        let golden = [
            b'P', b'L', b'N', b'K', 1, 1, 0xb2, 0x04, 8, 7, 6, 5, 4, 3, 2, 1, 5, 0, 0, 0, 0, 0, 0,
            0,
        ];
        assert_eq!(header.to_bytes(), golden);
        assert_eq!(Header::parse(&golden), Ok(header));
    }

    #[test]
    fn each_wrong_field_is_named() {
        let good = Header { kind: Kind::Request, code: 1, id: 7, body: 0 }.to_bytes();
        for (at, what) in [
            (0, "packet header"),
            (4, "protocol version"),
            (5, "packet kind"),
            (20, "packet flags"),
        ] {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert_eq!(Header::parse(&bad).unwrap_err().what, what);
        }
        assert_eq!(Header::parse(&good[..23]).unwrap_err().fault, "ends early");
        assert_eq!(Header::split(&[&good[..], &[0]].concat()).unwrap_err().what, "packet body");
    }
}
