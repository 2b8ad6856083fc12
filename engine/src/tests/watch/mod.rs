//! Change streams as their callers see them: what is told of a write, where a page ends
//! and what goes on from there, what a log does not have, who may watch.

mod ends;
mod follow;
mod told;

use platform::sim::SimDisk;
use proto::doc::Doc;
use proto::{Key, Reply, Request, Status};

use super::kit::*;
use crate::{Engine, Principal};

/// One event, as text where it has documents.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    lsn: i64,
    at: i64,
    last: bool,
    op: String,
    store: String,
    key: u128,
    document: Option<String>,
    before: Option<String>,
    /// What else it says.
    says: String,
}

impl Event {
    /// `insert s 1 {..} was {..} leaves`
    fn line(&self) -> String {
        let Event { op, store, key, document, before, says, last, .. } = self;
        let mut line = format!("{op} {store} {key}");
        line.extend(document.iter().map(|text| format!(" {text}")));
        line.extend(before.iter().map(|text| format!(" was {text}")));
        line.push_str(says);
        line.push_str(if *last { "." } else { "" });
        line
    }
}

struct Got {
    events: Vec<Event>,
    next: String,
    durable: i64,
    bytes: usize,
}

impl Got {
    fn lines(&self) -> Vec<String> {
        self.events.iter().map(Event::line).collect()
    }
}

/// A token with another place in it.
fn placed(token: &str, lsn: i64, at: i64) -> String {
    let (rest, _) = token.rsplit_once('.').unwrap();
    let (rest, _) = rest.rsplit_once('.').unwrap();
    format!("{rest}.{lsn}.{at}")
}

fn asked(engine: &Engine, who: &Principal, what: &str) -> Result<Got, (Status, String)> {
    let mut packet = Vec::new();
    Request::Watch { what: &doc(what) }.encode(77, &mut packet);
    let mut out = Vec::new();
    engine.dispatch_packet(who, &packet, &mut out);
    let page = match Reply::decode(&out).unwrap().1 {
        Reply::Document(page) => Doc::parse(page).unwrap(),
        Reply::Error { status, message } => return Err((status, message.to_owned())),
        other => panic!("{other:?}"),
    };
    let events = page.get("events").and_then(|v| v.as_array()).unwrap();
    let events = events.iter().map(|event| {
        let event = event.as_doc().unwrap();
        let number = |name| event.get(name).and_then(|v| v.as_i64()).unwrap();
        let text = |name| event.get(name).and_then(|v| v.as_str()).unwrap().to_owned();
        let document = |name| event.get(name).map(|v| text_of(v.as_doc().unwrap().as_bytes()));
        let flags = ["leaves", "enters", "omitted"].into_iter();
        let says = flags.filter(|flag| event.get(flag).is_some()).map(|flag| format!(" {flag}"));
        assert!(event.get("time").is_some());
        Event {
            lsn: number("lsn"),
            at: number("at"),
            last: event.get("last").and_then(|v| v.as_bool()).unwrap(),
            op: text("op"),
            store: text("store"),
            key: text("key").parse::<Key>().unwrap().0,
            document: document("document"),
            before: document("before"),
            says: says.collect(),
        }
    });
    Ok(Got {
        events: events.collect(),
        next: page.get("next").and_then(|v| v.as_str()).unwrap().to_owned(),
        durable: page.get("durable").and_then(|v| v.as_i64()).unwrap(),
        bytes: out.len(),
    })
}

fn watch(engine: &Engine, what: &str) -> Got {
    asked(engine, &admin(), what).unwrap_or_else(|(status, why)| panic!("{status}: {why}"))
}

/// All behind a place, with these words beside it; each commit whole.
fn all_since(engine: &Engine, stores: &str, since: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut since = since.to_owned();
    loop {
        let got = watch(engine, &format!(r#"{{"stores": {stores}, "since": {since}}}"#));
        if got.events.is_empty() {
            return events;
        }
        events.extend(got.events);
        assert!(events.len() < 100_000, "it does not get on");
        since = format!("{:?}", got.next);
    }
}

fn why(engine: &Engine, what: &str) -> (Status, String) {
    match asked(engine, &admin(), what) {
        Ok(got) => panic!("{:?}", got.lines()),
        Err(refusal) => refusal,
    }
}

/// The store `s`, each of whose commits is told at once.
fn told_at_once() -> Engine {
    let engine = open_on(SimDisk::new(1), synced());
    done(&engine, create("s"));
    engine
}

fn update(engine: &Engine, key: u128, text: &str) {
    let document = doc(text);
    let (store, key, document) = ("s", Key(key), &document);
    done(engine, Request::Update { store, key, document, upsert: true });
}

fn delete(engine: &Engine, key: u128) {
    done(engine, Request::Delete { store: "s", key: Key(key) });
}

fn alter(engine: &Engine, store: &str, change: &str) {
    done(engine, Request::AlterStore { store, change: &doc(change) });
}
