//! Requests: what each operation carries, in the order it is written.
//!
//! ```text
//! Ping Stats List Flush ListSequences RunningQueries ReloadModule   (nothing)
//! ListUsers    (nothing), or after:str16
//! Auth         user:str16  key:str16
//! CreateStore  store:str16  if_not_exists:u8
//! DropStore    store:str16  if_exists:u8
//! Insert       store:str16  has_key:u8 key:16  document
//! BatchInsert  store:str16  count:u32  count x (has_key:u8 key:16 document)
//! Read Delete  store:str16  key:16
//! Update       store:str16  upsert:u8  key:16  document
//! Scan         store:str16  reverse:u8  has_after:u8 after:16  limit:u32
//! Range        store:str16  reverse:u8  from:16  to:16  limit:u32   (both ends included)
//! Backup       begin:u8  full:u8
//! CreateIndex  store:str16  if_not_exists:u8  definition: a document
//! DropIndex    store:str16  index:str16  if_exists:u8
//! AlterStore   store:str16  change: a document
//! CheckIndexes store:str16  index:str16 (empty: all of the store)
//! CreateSequence  sequence:str16  if_not_exists:u8
//! DropSequence    sequence:str16  if_exists:u8
//! AlterSequence   sequence:str16  change: a document
//! NextNumbers  sequence:str16  count:u32
//! Query        text:bytes32  parameters: nothing, or one document {"1": .., "2": ..}
//! Stream       rows:u32  bytes:u32  text:bytes32  parameters: as of Query
//! Fetch CloseCursor   cursor:u64
//! CancelQuery  query:u64
//! CreateUser   user:str16  if_not_exists:u8  definition: a document
//! AlterUser    user:str16  change: a document
//! DropUser     user:str16  if_exists:u8
//! CreateKey    user:str16  definition: a document
//! RevokeKey    user:str16  key:str16  if_exists:u8
//! DescribeStore  store:str16
//! FormatQuery  text:bytes32
//! Begin        read_only:u8  milliseconds:u32 (0: as long as one may last)
//! Commit Abort Savepoint   transaction:u64
//! Rollback     transaction:u64  savepoint:u64
//! Schedule     job: a document
//! RetryJob     job:16 (its key)
//! Within       transaction:u64  operation:u16  the body of that operation
//! Watch        what is watched: a document (docs/protocol.md draws it)
//! Apply        count:u32  count x a step: request/steps.rs
//! ReadVersion  store:str16  key:16
//! Follow Snapshot Position   what is asked for: a document (docs/protocol.md draws it)
//! ```
//!
//! The definition of an index: `{name?, fields: ["a.b", "-c"], unique?, sparse?,
//! filter?: "a > 1"}`. The change of a store: `{rename?: name, schema?: text or
//! null, ttl?: {field, seconds} or null}`; of a sequence: `{rename?: name, next?: n}`. A
//! user is `{role, key?: text, grants?: {store: role}}`; without a key one is made, and is
//! in the reply. The change of a user: `{role?, key?: text, or null to have one made,
//! grants?: {store: role, or null to take it away}}`. A key is `{name, expires?: datetime}`;
//! it is in the reply. A job is
//! `{path, upstream?, method?, headers?, payload?, due?: datetime or in_ms?: n, max_attempts?,
//! idempotency_key?}`.
//!
//! `limit` 0 asks for as many rows as fit a reply; so do `rows` and `bytes` of a
//! Stream, of each of its pages. Documents are BSON, checked by the engine, not here.
//!
//! Invariant: decoding borrows from the packet, copies nothing, and refuses a
//! body with bytes left over.

mod batch;
mod part;
mod steps;

use crate::codec::{DecodeError, Reader, Write};
use crate::packet::{HEADER_BYTES, Header, Kind, Opcode, foreign};
use crate::{Key, Status};
pub use batch::{Batch, BatchBuf};
pub use part::Part;
pub use steps::{Act, Condition, Step, Steps, StepsBuf};

/// One operation, borrowed from its packet.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // The fields are drawn at the top of the file.
pub enum Request<'a> {
    Ping,
    Auth { user: &'a str, key: &'a str },
    Stats,
    List,
    CreateStore { store: &'a str, if_not_exists: bool },
    DropStore { store: &'a str, if_exists: bool },
    Insert { store: &'a str, key: Option<Key>, document: &'a [u8] },
    BatchInsert { store: &'a str, batch: Batch<'a> },
    Read { store: &'a str, key: Key },
    Update { store: &'a str, key: Key, document: &'a [u8], upsert: bool },
    Delete { store: &'a str, key: Key },
    Scan { store: &'a str, after: Option<Key>, limit: u32, reverse: bool },
    Range { store: &'a str, from: Key, to: Key, limit: u32, reverse: bool },
    Query { text: &'a str, parameters: Option<&'a [u8]> },
    Stream { rows: u32, bytes: u32, text: &'a str, parameters: Option<&'a [u8]> },
    Fetch { cursor: u64 },
    CloseCursor { cursor: u64 },
    RunningQueries,
    CancelQuery { query: u64 },
    Flush,
    Backup { begin: bool, full: bool },
    CreateIndex { store: &'a str, if_not_exists: bool, definition: &'a [u8] },
    DropIndex { store: &'a str, index: &'a str, if_exists: bool },
    AlterStore { store: &'a str, change: &'a [u8] },
    CheckIndexes { store: &'a str, index: Option<&'a str> },
    CreateSequence { sequence: &'a str, if_not_exists: bool },
    DropSequence { sequence: &'a str, if_exists: bool },
    NextNumbers { sequence: &'a str, count: u32 },
    ListSequences,
    CreateUser { user: &'a str, if_not_exists: bool, definition: &'a [u8] },
    AlterUser { user: &'a str, change: &'a [u8] },
    DropUser { user: &'a str, if_exists: bool },
    ListUsers { after: Option<&'a str> },
    DescribeStore { store: &'a str },
    AlterSequence { sequence: &'a str, change: &'a [u8] },
    FormatQuery { text: &'a str },
    CreateKey { user: &'a str, definition: &'a [u8] },
    RevokeKey { user: &'a str, key: &'a str, if_exists: bool },
    Begin { read_only: bool, millis: u32 },
    Commit { transaction: u64 },
    Abort { transaction: u64 },
    Savepoint { transaction: u64 },
    Rollback { transaction: u64, savepoint: u64 },
    Within { transaction: u64, part: Part<'a> },
    ReloadModule,
    Watch { what: &'a [u8] },
    Schedule { job: &'a [u8] },
    RetryJob { job: Key },
    Apply { steps: Steps<'a> },
    ReadVersion { store: &'a str, key: Key },
    Follow { what: &'a [u8] },
    Snapshot { what: &'a [u8] },
    Position { what: &'a [u8] },
    Promote,
    Demote,
}

impl<'a> Request<'a> {
    /// The operation's number.
    pub fn opcode(&self) -> Opcode {
        match self {
            Request::Ping => Opcode::Ping,
            Request::Auth { .. } => Opcode::Auth,
            Request::Stats => Opcode::Stats,
            Request::List => Opcode::List,
            Request::CreateStore { .. } => Opcode::CreateStore,
            Request::DropStore { .. } => Opcode::DropStore,
            Request::Insert { .. } => Opcode::Insert,
            Request::BatchInsert { .. } => Opcode::BatchInsert,
            Request::Read { .. } => Opcode::Read,
            Request::Update { .. } => Opcode::Update,
            Request::Delete { .. } => Opcode::Delete,
            Request::Scan { .. } => Opcode::Scan,
            Request::Range { .. } => Opcode::Range,
            Request::Query { .. } => Opcode::Query,
            Request::Stream { .. } => Opcode::Stream,
            Request::Fetch { .. } => Opcode::Fetch,
            Request::CloseCursor { .. } => Opcode::CloseCursor,
            Request::RunningQueries => Opcode::RunningQueries,
            Request::CancelQuery { .. } => Opcode::CancelQuery,
            Request::Flush => Opcode::Flush,
            Request::Backup { .. } => Opcode::Backup,
            Request::CreateIndex { .. } => Opcode::CreateIndex,
            Request::DropIndex { .. } => Opcode::DropIndex,
            Request::AlterStore { .. } => Opcode::AlterStore,
            Request::CheckIndexes { .. } => Opcode::CheckIndexes,
            Request::CreateSequence { .. } => Opcode::CreateSequence,
            Request::DropSequence { .. } => Opcode::DropSequence,
            Request::NextNumbers { .. } => Opcode::NextNumbers,
            Request::ListSequences => Opcode::ListSequences,
            Request::CreateUser { .. } => Opcode::CreateUser,
            Request::AlterUser { .. } => Opcode::AlterUser,
            Request::DropUser { .. } => Opcode::DropUser,
            Request::ListUsers { .. } => Opcode::ListUsers,
            Request::DescribeStore { .. } => Opcode::DescribeStore,
            Request::AlterSequence { .. } => Opcode::AlterSequence,
            Request::FormatQuery { .. } => Opcode::FormatQuery,
            Request::CreateKey { .. } => Opcode::CreateKey,
            Request::RevokeKey { .. } => Opcode::RevokeKey,
            Request::ReloadModule => Opcode::ReloadModule,
            Request::Watch { .. } => Opcode::Watch,
            Request::Schedule { .. } => Opcode::Schedule,
            Request::RetryJob { .. } => Opcode::RetryJob,
            Request::Begin { .. } => Opcode::Begin,
            Request::Commit { .. } => Opcode::Commit,
            Request::Abort { .. } => Opcode::Abort,
            Request::Savepoint { .. } => Opcode::Savepoint,
            Request::Rollback { .. } => Opcode::Rollback,
            Request::Within { .. } => Opcode::Within,
            Request::Apply { .. } => Opcode::Apply,
            Request::ReadVersion { .. } => Opcode::ReadVersion,
            Request::Follow { .. } => Opcode::Follow,
            Request::Snapshot { .. } => Opcode::Snapshot,
            Request::Position { .. } => Opcode::Position,
            Request::Promote => Opcode::Promote,
            Request::Demote => Opcode::Demote,
        }
    }

    /// The transaction it is part of, if it is, and the operation itself.
    pub fn within(&self) -> (Option<u64>, Request<'a>) {
        match self {
            Request::Within { transaction, part } => (Some(*transaction), part.request()),
            other => (None, *other),
        }
    }

    /// The store it names, or is about; if it is about one. Those of a query stand in its
    /// text, those of an Apply in its steps.
    pub fn store(&self) -> Option<&'a str> {
        match *self {
            Request::CreateStore { store, .. }
            | Request::DropStore { store, .. }
            | Request::AlterStore { store, .. }
            | Request::DescribeStore { store }
            | Request::Insert { store, .. }
            | Request::BatchInsert { store, .. }
            | Request::Read { store, .. }
            | Request::ReadVersion { store, .. }
            | Request::Update { store, .. }
            | Request::Delete { store, .. }
            | Request::Scan { store, .. }
            | Request::Range { store, .. }
            | Request::CreateIndex { store, .. }
            | Request::DropIndex { store, .. }
            | Request::CheckIndexes { store, .. } => Some(store),
            Request::Ping | Request::Auth { .. } | Request::Stats | Request::List => None,
            Request::Query { .. } | Request::Stream { .. } | Request::FormatQuery { .. } => None,
            Request::Fetch { .. } | Request::CloseCursor { .. } => None,
            Request::RunningQueries | Request::CancelQuery { .. } => None,
            Request::Flush | Request::Backup { .. } => None,
            Request::CreateSequence { .. } | Request::DropSequence { .. } => None,
            Request::AlterSequence { .. } | Request::NextNumbers { .. } => None,
            Request::ListSequences | Request::ListUsers { .. } => None,
            Request::CreateUser { .. } | Request::AlterUser { .. } => None,
            Request::DropUser { .. } | Request::CreateKey { .. } => None,
            Request::RevokeKey { .. } | Request::ReloadModule => None,
            // They stand in its document.
            Request::Watch { .. } => None,
            Request::Begin { .. } | Request::Commit { .. } | Request::Abort { .. } => None,
            Request::Savepoint { .. } | Request::Rollback { .. } => None,
            Request::Schedule { .. } => Some("_jobs"),
            Request::RetryJob { .. } => Some("_dead_jobs"),
            Request::Apply { .. } => None,
            Request::Follow { .. } | Request::Snapshot { .. } => None,
            Request::Position { .. } | Request::Promote | Request::Demote => None,
            Request::Within { part, .. } => part.request().store(),
        }
    }

    /// Reads a whole request packet; gives its id too, for the reply.
    ///
    /// # Errors
    /// The status and reason to answer with.
    pub fn decode(packet: &'a [u8]) -> Result<(u64, Request<'a>), (Status, DecodeError)> {
        Request::decode_whole(packet).map(|(header, request)| (header.id, request))
    }

    /// As [`Request::decode`], with the whole header.
    ///
    /// # Errors
    /// As there.
    pub fn decode_whole(packet: &'a [u8]) -> Result<(Header, Request<'a>), (Status, DecodeError)> {
        let bad = |error| (Status::BadPacket, error);
        let (header, body) = Header::split(packet).map_err(|error| match foreign(packet) {
            Some(_) => (Status::UnknownVersion, error),
            None => bad(error),
        })?;
        if header.kind != Kind::Request {
            return Err(bad(DecodeError::new("packet kind", "is not that of a request")));
        }
        let Some(opcode) = Opcode::from_number(header.code) else {
            let error = DecodeError::new("operation", "is unknown to this server");
            return Err((Status::UnknownOpcode, error));
        };
        Request::decode_body(opcode, body).map(|request| (header, request)).map_err(bad)
    }

    fn decode_body(opcode: Opcode, body: &'a [u8]) -> Result<Request<'a>, DecodeError> {
        let mut body = Reader::new(body);
        let request = match opcode {
            Opcode::Ping => Request::Ping,
            Opcode::Auth => {
                Request::Auth { user: body.str16("user")?, key: body.str16("user's key")? }
            }
            Opcode::Stats => Request::Stats,
            Opcode::List => Request::List,
            Opcode::CreateStore => Request::CreateStore {
                store: body.str16("store name")?,
                if_not_exists: body.flag("if_not_exists")?,
            },
            Opcode::DropStore => Request::DropStore {
                store: body.str16("store name")?,
                if_exists: body.flag("if_exists")?,
            },
            Opcode::Insert => Request::Insert {
                store: body.str16("store name")?,
                key: body.optional_key("key")?,
                document: body.document("document")?,
            },
            Opcode::BatchInsert => Request::BatchInsert {
                store: body.str16("store name")?,
                batch: Batch::decode(&mut body)?,
            },
            Opcode::Read => {
                Request::Read { store: body.str16("store name")?, key: body.key("key")? }
            }
            Opcode::Update => Request::Update {
                store: body.str16("store name")?,
                upsert: body.flag("upsert")?,
                key: body.key("key")?,
                document: body.document("document")?,
            },
            Opcode::Delete => {
                Request::Delete { store: body.str16("store name")?, key: body.key("key")? }
            }
            Opcode::Scan => Request::Scan {
                store: body.str16("store name")?,
                reverse: body.flag("reverse")?,
                after: body.optional_key("after")?,
                limit: body.u32("limit")?,
            },
            Opcode::Range => Request::Range {
                store: body.str16("store name")?,
                reverse: body.flag("reverse")?,
                from: body.key("from")?,
                to: body.key("to")?,
                limit: body.u32("limit")?,
            },
            Opcode::Query => {
                let (text, parameters) = query(&mut body)?;
                Request::Query { text, parameters }
            }
            Opcode::Stream => {
                let (rows, bytes) = (body.u32("rows of a page")?, body.u32("bytes of a page")?);
                let (text, parameters) = query(&mut body)?;
                Request::Stream { rows, bytes, text, parameters }
            }
            Opcode::Fetch => Request::Fetch { cursor: body.u64("cursor")? },
            Opcode::CloseCursor => Request::CloseCursor { cursor: body.u64("cursor")? },
            Opcode::RunningQueries => Request::RunningQueries,
            Opcode::CancelQuery => Request::CancelQuery { query: body.u64("query")? },
            Opcode::Flush => Request::Flush,
            Opcode::Backup => {
                Request::Backup { begin: body.flag("begin")?, full: body.flag("full")? }
            }
            Opcode::CreateIndex => Request::CreateIndex {
                store: body.str16("store name")?,
                if_not_exists: body.flag("if_not_exists")?,
                definition: body.document("index")?,
            },
            Opcode::DropIndex => Request::DropIndex {
                store: body.str16("store name")?,
                index: body.str16("index name")?,
                if_exists: body.flag("if_exists")?,
            },
            Opcode::AlterStore => Request::AlterStore {
                store: body.str16("store name")?,
                change: body.document("change")?,
            },
            Opcode::CheckIndexes => Request::CheckIndexes {
                store: body.str16("store name")?,
                index: Some(body.str16("index name")?).filter(|name| !name.is_empty()),
            },
            Opcode::CreateSequence => Request::CreateSequence {
                sequence: body.str16("sequence name")?,
                if_not_exists: body.flag("if_not_exists")?,
            },
            Opcode::DropSequence => Request::DropSequence {
                sequence: body.str16("sequence name")?,
                if_exists: body.flag("if_exists")?,
            },
            Opcode::NextNumbers => Request::NextNumbers {
                sequence: body.str16("sequence name")?,
                count: body.u32("count")?,
            },
            Opcode::ListSequences => Request::ListSequences,
            Opcode::CreateUser => Request::CreateUser {
                user: body.str16("user")?,
                if_not_exists: body.flag("if_not_exists")?,
                definition: body.document("definition of the user")?,
            },
            Opcode::AlterUser => {
                Request::AlterUser { user: body.str16("user")?, change: body.document("change")? }
            }
            Opcode::DropUser => {
                Request::DropUser { user: body.str16("user")?, if_exists: body.flag("if_exists")? }
            }
            Opcode::ListUsers => Request::ListUsers {
                after: match body.remaining() {
                    0 => None,
                    _ => Some(body.str16("user to go on behind")?),
                },
            },
            Opcode::DescribeStore => Request::DescribeStore { store: body.str16("store name")? },
            Opcode::AlterSequence => Request::AlterSequence {
                sequence: body.str16("sequence name")?,
                change: body.document("change")?,
            },
            Opcode::FormatQuery => Request::FormatQuery { text: query_text(&mut body)? },
            Opcode::CreateKey => Request::CreateKey {
                user: body.str16("user")?,
                definition: body.document("definition of the key")?,
            },
            Opcode::RevokeKey => Request::RevokeKey {
                user: body.str16("user")?,
                key: body.str16("name of the key")?,
                if_exists: body.flag("if_exists")?,
            },
            Opcode::Begin => {
                Request::Begin { read_only: body.flag("read_only")?, millis: body.u32("time")? }
            }
            Opcode::Commit => Request::Commit { transaction: body.u64("transaction")? },
            Opcode::Abort => Request::Abort { transaction: body.u64("transaction")? },
            Opcode::Savepoint => Request::Savepoint { transaction: body.u64("transaction")? },
            Opcode::Rollback => Request::Rollback {
                transaction: body.u64("transaction")?,
                savepoint: body.u64("savepoint")?,
            },
            Opcode::Within => Request::Within {
                transaction: body.u64("transaction")?,
                part: Part::decode(&mut body)?,
            },
            Opcode::ReloadModule => Request::ReloadModule,
            Opcode::Watch => Request::Watch { what: body.document("what is watched")? },
            Opcode::Schedule => Request::Schedule { job: body.document("job")? },
            Opcode::RetryJob => Request::RetryJob { job: body.key("job")? },
            Opcode::Apply => Request::Apply { steps: Steps::decode(&mut body)? },
            Opcode::ReadVersion => {
                Request::ReadVersion { store: body.str16("store name")?, key: body.key("key")? }
            }
            Opcode::Follow => Request::Follow { what: body.document("what is followed")? },
            Opcode::Snapshot => Request::Snapshot { what: body.document("what of a snapshot")? },
            Opcode::Position => Request::Position { what: body.document("what position")? },
            Opcode::Promote => Request::Promote,
            Opcode::Demote => Request::Demote,
        };
        body.done("body")?;
        Ok(request)
    }

    /// Appends this request to `out` as one packet. Store and user names longer
    /// than 65,535 bytes are cut; the engine refuses far shorter ones.
    pub fn encode(&self, id: u64, out: &mut Vec<u8>) {
        self.encode_with_patience(id, 0, out);
    }

    /// As [`Request::encode`]; the answer is not wanted any more after `patience`
    /// milliseconds, unless that is 0.
    pub fn encode_with_patience(&self, id: u64, patience: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        self.encode_body(out);
        let body =
            u32::try_from(out.len() - start - HEADER_BYTES).expect("a request is under 4 GiB");
        let (kind, code) = (Kind::Request, self.opcode() as u16);
        let header = Header { kind, code, id, body, patience };
        out[start..start + HEADER_BYTES].copy_from_slice(&header.to_bytes());
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match *self {
            Request::Ping | Request::Stats | Request::List | Request::Flush => {}
            Request::ListSequences | Request::RunningQueries | Request::ReloadModule => {}
            Request::Promote | Request::Demote => {}
            Request::ListUsers { after } => after.into_iter().for_each(|user| out.put_str16(user)),
            Request::CreateIndex { store, if_not_exists, definition }
            | Request::CreateUser { user: store, if_not_exists, definition } => {
                out.put_str16(store);
                out.push(u8::from(if_not_exists));
                out.extend_from_slice(definition);
            }
            Request::DropIndex { store, index, if_exists }
            | Request::RevokeKey { user: store, key: index, if_exists } => {
                out.put_str16(store);
                out.put_str16(index);
                out.push(u8::from(if_exists));
            }
            Request::AlterStore { store, change }
            | Request::AlterUser { user: store, change }
            | Request::CreateKey { user: store, definition: change }
            | Request::AlterSequence { sequence: store, change } => {
                out.put_str16(store);
                out.extend_from_slice(change);
            }
            Request::CheckIndexes { store, index } => {
                out.put_str16(store);
                out.put_str16(index.unwrap_or_default());
            }
            Request::NextNumbers { sequence, count } => {
                out.put_str16(sequence);
                out.extend_from_slice(&count.to_le_bytes());
            }
            Request::Backup { begin, full } => {
                out.push(u8::from(begin));
                out.push(u8::from(full));
            }
            Request::Auth { user, key } => {
                out.put_str16(user);
                out.put_str16(key);
            }
            Request::CreateStore { store, if_not_exists: flag }
            | Request::DropStore { store, if_exists: flag }
            | Request::CreateSequence { sequence: store, if_not_exists: flag }
            | Request::DropSequence { sequence: store, if_exists: flag }
            | Request::DropUser { user: store, if_exists: flag } => {
                out.put_str16(store);
                out.push(u8::from(flag));
            }
            Request::Insert { store, key, document } => {
                out.put_str16(store);
                out.put_optional_key(key);
                out.extend_from_slice(document);
            }
            Request::BatchInsert { store, batch } => {
                out.put_str16(store);
                out.extend_from_slice(&batch.count.to_le_bytes());
                out.extend_from_slice(batch.items);
            }
            Request::Read { store, key }
            | Request::ReadVersion { store, key }
            | Request::Delete { store, key } => {
                out.put_str16(store);
                out.extend_from_slice(&key.to_bytes());
            }
            Request::Update { store, key, document, upsert } => {
                out.put_str16(store);
                out.push(u8::from(upsert));
                out.extend_from_slice(&key.to_bytes());
                out.extend_from_slice(document);
            }
            Request::Scan { store, after, limit, reverse } => {
                out.put_str16(store);
                out.push(u8::from(reverse));
                out.put_optional_key(after);
                out.extend_from_slice(&limit.to_le_bytes());
            }
            Request::Range { store, from, to, limit, reverse } => {
                out.put_str16(store);
                out.push(u8::from(reverse));
                out.extend_from_slice(&from.to_bytes());
                out.extend_from_slice(&to.to_bytes());
                out.extend_from_slice(&limit.to_le_bytes());
            }
            Request::DescribeStore { store } => out.put_str16(store),
            Request::Watch { what }
            | Request::Follow { what }
            | Request::Snapshot { what }
            | Request::Position { what } => out.extend_from_slice(what),
            Request::FormatQuery { text } => out.put_bytes32(text.as_bytes()),
            Request::Query { text, parameters } => {
                out.put_bytes32(text.as_bytes());
                out.extend_from_slice(parameters.unwrap_or_default());
            }
            Request::Stream { rows, bytes, text, parameters } => {
                out.extend_from_slice(&rows.to_le_bytes());
                out.extend_from_slice(&bytes.to_le_bytes());
                out.put_bytes32(text.as_bytes());
                out.extend_from_slice(parameters.unwrap_or_default());
            }
            Request::Fetch { cursor: number }
            | Request::CloseCursor { cursor: number }
            | Request::CancelQuery { query: number }
            | Request::Commit { transaction: number }
            | Request::Abort { transaction: number }
            | Request::Savepoint { transaction: number } => {
                out.extend_from_slice(&number.to_le_bytes());
            }
            Request::Begin { read_only, millis } => {
                out.push(u8::from(read_only));
                out.extend_from_slice(&millis.to_le_bytes());
            }
            Request::Schedule { job } => out.extend_from_slice(job),
            Request::RetryJob { job } => out.extend_from_slice(&job.to_bytes()),
            Request::Rollback { transaction, savepoint } => {
                out.extend_from_slice(&transaction.to_le_bytes());
                out.extend_from_slice(&savepoint.to_le_bytes());
            }
            Request::Apply { steps } => {
                out.extend_from_slice(&steps.count.to_le_bytes());
                out.extend_from_slice(steps.items);
            }
            Request::Within { transaction, part } => {
                out.extend_from_slice(&transaction.to_le_bytes());
                out.extend_from_slice(&(part.operation as u16).to_le_bytes());
                out.extend_from_slice(part.body);
            }
        }
    }
}

/// A query's text, and its parameters if there are any.
fn query<'a>(body: &mut Reader<'a>) -> Result<(&'a str, Option<&'a [u8]>), DecodeError> {
    let text = query_text(body)?;
    let parameters = if body.remaining() == 0 { None } else { Some(body.document("parameters")?) };
    Ok((text, parameters))
}

fn query_text<'a>(body: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    core::str::from_utf8(body.bytes32("query text")?)
        .map_err(|_| DecodeError::new("query text", "is not UTF-8"))
}

#[cfg(test)]
mod tests;
