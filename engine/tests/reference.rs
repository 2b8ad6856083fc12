//! Runs the examples of `docs/pql.md` and compares their results with the text.
//!
//! What must stay true: every block of PQL in the reference is run, on the data the
//! reference shows, and every result in it is what the engine says.

use std::sync::Arc;

use engine::{Engine, Options, Principal, Role};
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::Doc;
use proto::{Key, Reply, Request, json};

const REFERENCE: &str = include_str!("../../docs/pql.md");

/// A fenced block: its label and its text.
struct Block {
    label: &'static str,
    text: &'static str,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rest = REFERENCE;
    while let Some(at) = rest.find("```") {
        let (label, body) = rest[at + 3..].split_once('\n').expect("a fence ends its line");
        let end = body.find("```").expect("a block is closed");
        blocks.push(Block { label, text: &body[..end] });
        rest = &body[end + 3..];
    }
    blocks
}

/// An engine with the data of the reference.
fn engine(blocks: &[Block]) -> Engine {
    let (disk, clock) = (SimDisk::new(1), Arc::new(SimClock::new(1_700_000_000_000_000)));
    let engine = Engine::open(disk, clock, Arc::new(SimEntropy::new(1)), Options::default());
    let engine = engine.expect("an empty disk can be opened");
    for block in blocks {
        let Some(store) = block.label.strip_prefix("data ") else { continue };
        ask(&engine, Request::CreateStore { store, if_not_exists: false });
        for (number, line) in block.text.lines().enumerate() {
            let document = json::parse_json(line).expect("a line of data is JSON");
            let key = Some(Key(number as u128 + 1));
            let answer = ask(&engine, Request::Insert { store, key, document: &document });
            assert!(!answer.starts_with("PLK"), "{answer}");
        }
    }
    engine
}

/// The answer as text: a line for each row.
fn ask(engine: &Engine, request: Request<'_>) -> String {
    let mut packet = Vec::new();
    request.encode(1, &mut packet);
    let mut out = Vec::new();
    engine.dispatch_packet(&Principal::new("reader", Role::Admin), &packet, &mut out);
    match Reply::decode(&out).expect("a reply is well formed").1 {
        Reply::Error { status, message } => format!("{status}: {message}\n"),
        Reply::Count(number) => format!("{number}\n"),
        Reply::Key(key) => format!("{key}\n"),
        Reply::Document(document) => json::to_json(Doc::trusted(document)) + "\n",
        Reply::Rows(rows) => rows.iter().fold(String::new(), |mut text, (key, document)| {
            match key {
                Some(key) => json::write_row(key, Doc::trusted(document), &mut text),
                None => json::write_json(Doc::trusted(document), &mut text),
            }
            text + "\n"
        }),
        other => format!("{other:?}\n"),
    }
}

#[test]
fn every_example_gives_what_the_reference_says() {
    let blocks = blocks();
    let mut run = 0;
    let mut wrong = String::new();
    for (at, block) in blocks.iter().enumerate() {
        let queries: Vec<&str> = match block.label {
            "pql" => block.text.split("\n\n").collect(),
            "error" => vec![block.text.trim_end()],
            "text" | "result" => continue,
            label => {
                assert!(label.starts_with("data "), "a block of an unknown kind: {label}");
                continue;
            }
        };
        let engine = engine(&blocks);
        let answers: Vec<String> = queries
            .iter()
            .map(|text| ask(&engine, Request::Query { text, parameters: None }))
            .collect();
        run += queries.len();
        for answer in &answers {
            assert_eq!(answer.starts_with("PLK"), block.label == "error", "{answer}");
        }
        let expected = blocks.get(at + 1).filter(|next| next.label == "result");
        let expected = expected.expect("a result follows each example");
        let answer = answers.join("\n");
        if expected.text != answer {
            wrong.push_str(&format!("<<<{}\n>>>{answer}===\n", block.text));
        }
    }
    assert!(run >= 30, "only {run} examples were found");
    assert!(wrong.is_empty(), "the reference says other than the engine:\n{wrong}");
}
