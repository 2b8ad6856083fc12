//! Queries as text, and packets carried out by an engine.

use crate::marks::{came_to, reached};
use engine::{Engine, JobOptions, Limits, Options, Principal, Role, StorageOptions, pql as lang};
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::packet::HEADER_BYTES;
use proto::{Header, Opcode, Reply};
use std::sync::Arc;

/// Where the corpus of `pql` comes to.
pub(crate) const PQL_PLACES: &[&str] = &[
    "understood: ",
    ".get(",
    ".insert(",
    ".filter(",
    ".all()",
    ".lookup(",
    ".lookupOne(",
    ".distinct(",
    ".groupBy(",
    ".aggregate(",
    ".having(",
    ".orderBy(",
    ".skip(",
    ".limit(",
    ".pluck(",
    ".count()",
    ".set(",
    ".unset(",
    ".inc(",
    ".push(",
    ".upsert(",
    ".replace(",
    ".delete()",
    ".returning(before)",
    ".returning(after)",
    ".explain()",
    " and ",
    " or ",
    "not ",
    " in [",
    " between ",
    " contains ",
    " startsWith ",
    " ~ ",
    " exists",
    "$1",
    "date(",
    "decimal(",
    "objectId(",
    "binary(",
    "avg(",
    "max(",
    "sum(",
    "nested deeper than 48 levels",
    "does not fit 64 bits",
    "is no step; did you mean",
    "strings need quotes",
];

/// Any text as a query: what is understood is the same query after a way through its
/// canonical text; what is not is an error that points into the text. The editor
/// colours either from its first byte to its last.
pub fn pql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match lang::parse(text) {
        Ok(query) => {
            let written = lang::format(&query);
            // A mark for each step and condition in it.
            reached(format_args!("understood: {written}"));
            let again = lang::parse(&written).unwrap_or_else(|e| panic!("{written}: {e}"));
            assert_eq!(again, query, "{written}");
            assert_eq!(lang::format(&again), written);
        }
        Err(error) => {
            let (line, column) = error.position();
            assert!(line > 0 && column > 0, "errors have a place");
            reached(format_args!("refused: {error}"));
        }
    }
    let mut end = 0;
    for word in lang::highlight(text) {
        assert!(word.range.start >= end, "words stand in order");
        assert!(text.get(word.range.clone()).is_some(), "words are whole characters");
        end = word.range.end;
    }
}

/// Where the corpus of `dispatch` comes to.
pub(crate) const DISPATCH_PLACES: &[&str] = &[
    "Ping done",
    "Stats done",
    "CreateStore done",
    "DropStore done",
    "Insert done",
    "BatchInsert done",
    "Update done",
    "Delete done",
    "Query done",
    "Flush done",
    "CreateIndex done",
    "DropIndex done",
    "AlterStore done",
    "CreateSequence done",
    "DropSequence done",
    "NextNumbers done",
    "CloseCursor done",
    "List: rows",
    "Read: rows",
    "Scan: rows",
    "Range: rows",
    "Query: rows",
    "Stream: rows",
    "Fetch: rows",
    "CheckIndexes: rows",
    "ListSequences: rows",
    "RunningQueries: rows",
    "Begin done",
    "Within done",
    "Within: rows",
    "Savepoint done",
    "Rollback done",
    "Commit done",
    "Abort done",
    "Watch done",
    "Schedule done",
    "RetryJob done",
    "Apply done",
    "ReadVersion done",
    "Backup refused",
    "CancelQuery refused",
    "KeyExists",
    "NotUnique",
    "NotFound",
    "UnknownStore",
    "UnknownSequence",
    "UnknownQuery",
    "TransactionConflict",
    "ConditionFailed",
    "UnknownTransaction",
    "UnknownSavepoint",
    "NotInTransaction",
    "BadWatch",
    "WatchAhead",
    "SchemaMismatch",
    "BadQuery",
    "BadDocument",
    "BadChange",
    "BadPacket",
    "BadJob",
];

/// Little of everything, so that few packets come to a bound.
fn options() -> Options {
    let storage = StorageOptions {
        memtable_bytes: 64 << 10,
        wal_segment_bytes: 64 << 10,
        vlog_segment_bytes: 64 << 10,
        inline_max: 64,
        ..StorageOptions::default()
    };
    let limits = Limits {
        max_message_size: 64 << 10,
        max_document_size: 16 << 10,
        max_batch_size: 100,
        query_memory: 64 << 10,
        query_spill: 256 << 10,
        max_cursors: 4,
        max_session_cursors: 2,
        ..Limits::default()
    };
    Options { storage, limits, ..Options::default() }
}

/// Any bytes as packets of one session, one behind the other, carried out by an engine
/// that begins empty: each is answered by one whole reply, and what was acknowledged
/// survives a restart.
pub fn dispatch(data: &[u8]) {
    let disk = SimDisk::new(0);
    let clock = Arc::new(SimClock::new(1_700_000_000_000_000));
    let open = || {
        let entropy = Arc::new(SimEntropy::new(1));
        Engine::open(disk.clone(), clock.clone(), entropy, options())
    };
    let engine = open().expect("an empty disk takes a database");
    engine.begin_jobs(JobOptions::default(), || {}).expect("the simulated disk takes it");
    let who = Principal::new("fuzz", Role::Admin).in_session(engine.begin_session());
    let mut rest = data;
    let mut packets = 0;
    while !rest.is_empty() && packets < 64 {
        let len = Header::parse(rest).map_or(rest.len(), |h| HEADER_BYTES + h.body as usize);
        let (packet, more) = rest.split_at(len.min(rest.len()));
        // Passwords cost what they are meant to cost.
        let code = Header::parse(packet).map_or(0, |header| header.code);
        if code != Opcode::Auth as u16 {
            answered(&engine, &who, packet, code);
        }
        engine.maintenance().expect("the simulated disk takes it");
        engine.tend().expect("the simulated disk takes it");
        (rest, packets) = (more, packets + 1);
    }
    engine.end_session(&who);
    let before = listed(&engine, &who);
    engine.close().expect("the simulated disk syncs");
    let engine = open().expect("what was closed opens");
    assert_eq!(listed(&engine, &who), before, "the stores are those from before");
}

fn answered(engine: &Engine, who: &Principal, packet: &[u8], code: u16) {
    let mut out = Vec::new();
    engine.dispatch_packet(who, packet, &mut out);
    let (_, reply) = Reply::decode(&out).expect("every packet has a whole reply");
    let name = Opcode::from_number(code).map_or("unknown", Opcode::name);
    match reply {
        Reply::Error { status, message } => {
            assert!(!message.is_empty(), "a refusal says why");
            reached(format_args!("{name} refused: {status:?}: {message}"));
        }
        Reply::Rows(rows) if rows.is_empty() => reached(format_args!("{name}: no rows")),
        Reply::Rows(_) => reached(format_args!("{name}: rows")),
        _ => reached(format_args!("{name} done")),
    }
}

/// The stores, as a reply has them.
fn listed(engine: &Engine, who: &Principal) -> Vec<u8> {
    let mut out = Vec::new();
    engine.dispatch(who, 1, proto::Request::List, &mut out);
    came_to(&Reply::decode(&out), "the stores are listed");
    out
}
