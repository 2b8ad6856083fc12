//! The engine as a client sees it: requests in, answers out.

use std::sync::Arc;

use engine::{Engine, Limits, Options, Principal, Role};
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::{Doc, DocBuf};
use proto::{Reply, Request};

use crate::naive::Answer;
use crate::value::V;

pub fn open(disk: &Arc<SimDisk>, memory: Option<usize>) -> Engine {
    let mut options = Options::default();
    if let Some(query_memory) = memory {
        options.limits = Limits { query_memory, ..Limits::default() };
    }
    // Values leave the leaves early and fill segments, so that there is something to
    // collect.
    options.storage.inline_max = 64;
    options.storage.vlog_segment_bytes = 8 << 10;
    options.storage.gc_dead_ratio = 1;
    let clock = Arc::new(SimClock::new(1_700_000_000_000_000));
    Engine::open(disk.clone(), clock, Arc::new(SimEntropy::new(1)), options).expect("a sound disk")
}

/// Asks the engine.
pub fn ask(engine: &Engine, request: Request<'_>) -> Answer {
    let (answer, cursor) = page(engine, request);
    assert_eq!(cursor, None, "it fits a reply");
    answer
}

/// An answer, and the cursor of what is left of it.
fn page(engine: &Engine, request: Request<'_>) -> (Answer, Option<u64>) {
    let mut packet = Vec::new();
    request.encode(1, &mut packet);
    let mut out = Vec::new();
    engine.dispatch_packet(&Principal::new("tester", Role::Admin), &packet, &mut out);
    let mut cursor = None;
    let answer = match Reply::decode(&out).expect("a well-formed reply").1 {
        Reply::Error { status, message } => Answer::Refused(status, message.to_owned()),
        Reply::Count(n) => Answer::Count(n),
        Reply::Rows(rows) => {
            cursor = rows.cursor;
            Answer::Rows(
                rows.iter()
                    .map(|(key, doc)| (key.map(|k| k.0), V::read(Doc::parse(doc).expect("BSON"))))
                    .collect(),
            )
        }
        Reply::Key(key) => Answer::Key(key.0),
        Reply::Empty => Answer::Count(0),
        Reply::Document(doc) => Answer::Told(V::read(Doc::parse(doc).expect("BSON"))),
        other => panic!("{other:?}"),
    };
    (answer, cursor)
}

/// Asks a query in words.
pub fn ask_text(engine: &Engine, text: &str, parameters: &[V]) -> Answer {
    let given = given(parameters);
    let parameters = (!parameters.is_empty()).then_some(&given[..]);
    ask(engine, Request::Query { text, parameters })
}

/// As [`ask_text`], with so many rows read at a time.
pub fn ask_by_pages(engine: &Engine, text: &str, parameters: &[V], rows: u32) -> Answer {
    let given = given(parameters);
    let parameters = (!parameters.is_empty()).then_some(&given[..]);
    let (first, mut cursor) = page(engine, Request::Stream { rows, bytes: 0, text, parameters });
    let Answer::Rows(mut all) = first else { return first };
    while let Some(at) = cursor {
        let (more, next) = page(engine, Request::Fetch { cursor: at });
        let Answer::Rows(more) = more else { return more };
        assert!(more.len() <= rows as usize, "{} rows of {rows}", more.len());
        all.extend(more);
        cursor = next;
    }
    Answer::Rows(all)
}

fn given(parameters: &[V]) -> Vec<u8> {
    let mut given = DocBuf::new();
    for (number, value) in parameters.iter().enumerate() {
        value.push(&mut given, Some(&(number + 1).to_string()));
    }
    given.finish().expect("numbers are unique")
}
