//! Indexes against sets computed anew: by a model that knows nothing of entries but
//! what a document demands, through random writes, builds, flushes and restarts; and a
//! build cut off at every disk call.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use platform::sim::SimDisk;
use proptest::prelude::*;
use proto::doc::{Arrays, Doc};
use proto::{Key, Request, Status, order};

use super::kit::*;
use crate::Engine;
use crate::index::Index;

/// Documents by key, as JSON.
type Model = BTreeMap<u128, String>;

const DEFINITIONS: [&str; 8] = [
    r#"{"name": "one", "fields": ["a"]}"#,
    r#"{"name": "down", "fields": ["-a"]}"#,
    r#"{"name": "two", "fields": ["a", "-b"]}"#,
    r#"{"name": "nested", "fields": ["b.c", "a"], "sparse": true}"#,
    r#"{"name": "partial", "fields": ["a"], "filter": "a > 1 or b.c = 'x'"}"#,
    r#"{"name": "uniq", "fields": ["u"], "unique": true}"#,
    r#"{"name": "uniq2", "fields": ["u", "a"], "unique": true, "sparse": true}"#,
    r#"{"name": "deep", "fields": ["b.c.d"]}"#,
];

/// The field's values as the meaning of a query has them: each item, and the whole.
fn values(doc: Doc<'_>, path: &str, descending: bool) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    for value in doc.path_all(path, Arrays::Both) {
        let mut key = Vec::new();
        order::order_key(Some(value), &mut key);
        keys.insert(key);
    }
    if keys.is_empty() {
        keys.insert(vec![4]);
    }
    let turn = |key: Vec<u8>| key.iter().map(|byte| !byte).collect();
    if descending { keys.into_iter().map(turn).collect() } else { keys }
}

fn demanded(index: &Index, model: &Model) -> BTreeSet<Vec<u8>> {
    let definition = &index.definition;
    let mut all = BTreeSet::new();
    for (key, text) in model {
        let bytes = doc(text);
        let doc = Doc::parse(&bytes).unwrap();
        if definition.filter.as_ref().is_some_and(|f| !f.predicate.holds(Key(*key), doc)) {
            continue;
        }
        let missing = |path: &str| doc.path_all(path, Arrays::Both).is_empty();
        if definition.sparse && definition.fields.iter().all(|field| missing(&field.path)) {
            continue;
        }
        let mut rows = vec![Vec::new()];
        for field in &definition.fields {
            let values = values(doc, &field.path, field.descending);
            let longer = |row: &Vec<u8>| {
                let row = row.clone();
                let cut = if definition.fields.len() <= 4 { 240 } else { 125 };
                let add = move |v: &Vec<u8>| [&row[..], &v[..v.len().min(cut)]].concat();
                values.iter().map(add).collect::<Vec<_>>()
            };
            rows = rows.iter().flat_map(longer).collect();
        }
        all.extend(rows.into_iter().map(|row| [&row[..], &key.to_be_bytes()].concat()));
    }
    all
}

fn found(engine: &Engine, index: &Index) -> BTreeSet<Vec<u8>> {
    let snapshot = engine.lsm.snapshot().unwrap();
    let all = Bound::Unbounded;
    let mut cursor = snapshot.range(index.keyspace, all, all, lsm::Direction::Forward).unwrap();
    let mut keys = BTreeSet::new();
    while cursor.advance().unwrap() {
        keys.insert(cursor.key().to_vec());
    }
    keys
}

/// Every ready index, the figures, and the engine's own proof.
fn agrees(engine: &Engine, model: &Model) {
    let catalog = engine.catalogs.read();
    let store = &catalog.stores["s"];
    assert_eq!(store.documents_now(engine), model.len() as u64);
    for index in store.indexes.iter().filter(|index| index.is_ready()) {
        let (found, demanded) = (found(engine, index), demanded(index, model));
        assert_eq!(found, demanded, "{} of {model:?}", index.name);
        assert_eq!(index.entries_now(engine), found.len() as u64, "{}", index.name);
    }
    let (_, differences) = engine.compare_indexes("s", None).unwrap();
    assert_eq!(differences.kept, []);
}

fn settle(engine: &Engine) {
    while engine.tend().unwrap() {}
}

#[derive(Clone, Debug)]
enum Act {
    Put(u128, String),
    Replace(u128, String),
    Delete(u128),
    Batch(Vec<(u128, String)>),
    Set(u8, u8),
    DeleteWhere(u8),
    Create(usize),
    Drop(usize),
    Tend,
    Flush,
    Reopen,
}

fn document() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        (0u8..4).prop_map(|n| n.to_string()),
        Just("1.5".to_owned()),
        Just("-7".to_owned()),
        Just("\"x\"".to_owned()),
        Just("true".to_owned()),
        Just(format!("\"{}\"", "long".repeat(80))),
    ];
    let value = prop_oneof![
        4 => scalar.clone(),
        1 => prop::collection::vec(scalar.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(","))),
        1 => scalar.clone().prop_map(|v| format!("{{\"c\":{v}}}")),
        1 => scalar.clone().prop_map(|v| format!("[{{\"c\":{{\"d\":{v}}}}},{{\"c\":{v}}},3,[1]]")),
    ];
    let field = |name: &'static str| {
        prop::option::weighted(0.7, value.clone())
            .prop_map(move |v| v.map(|v| format!("\"{name}\":{v}")))
    };
    let unique = prop::option::weighted(0.5, (0u8..30).prop_map(|n| format!("\"u\":{n}")));
    (field("a"), field("b"), unique).prop_map(|(a, b, u)| {
        let fields: Vec<String> = [a, b, u].into_iter().flatten().collect();
        format!("{{{}}}", fields.join(","))
    })
}

fn act() -> impl Strategy<Value = Act> {
    let key = 0u128..24;
    prop_oneof![
        6 => (key.clone(), document()).prop_map(|(k, d)| Act::Put(k, d)),
        4 => (key.clone(), document()).prop_map(|(k, d)| Act::Replace(k, d)),
        3 => key.clone().prop_map(Act::Delete),
        2 => prop::collection::vec((key, document()), 1..5).prop_map(Act::Batch),
        2 => (0u8..4, 0u8..4).prop_map(|(a, b)| Act::Set(a, b)),
        1 => (0u8..4).prop_map(Act::DeleteWhere),
        3 => (0usize..DEFINITIONS.len()).prop_map(Act::Create),
        1 => (0usize..DEFINITIONS.len()).prop_map(Act::Drop),
        3 => Just(Act::Tend),
        1 => Just(Act::Flush),
        1 => Just(Act::Reopen),
    ]
}

/// The requests of an act; returns whether it was carried out.
fn carried_out(engine: &Engine, request: Request<'_>) -> bool {
    match ask(engine, request) {
        Said::Refused(status, message) => {
            let expected = [
                Status::NotUnique,
                Status::KeyExists,
                Status::NotFound,
                Status::IndexExists,
                Status::UnknownIndex,
            ];
            assert!(expected.contains(&status), "{status}: {message}");
            false
        }
        _ => true,
    }
}

fn play(engine: &Engine, model: &mut Model, act: &Act) {
    let store = "s";
    match act {
        Act::Put(key, text) => {
            let document = doc(text);
            let key = Key(*key);
            if carried_out(
                engine,
                Request::Update { store, key, document: &document, upsert: true },
            ) {
                model.insert(key.0, text.clone());
            }
        }
        Act::Replace(key, text) => {
            let document = doc(text);
            let key = Key(*key);
            let there = model.contains_key(&key.0);
            if carried_out(
                engine,
                Request::Update { store, key, document: &document, upsert: false },
            ) {
                assert!(there);
                model.insert(key.0, text.clone());
            }
        }
        Act::Delete(key) => {
            let there = model.remove(key).is_some();
            assert_eq!(carried_out(engine, Request::Delete { store, key: Key(*key) }), there);
        }
        Act::Batch(items) => {
            let items: BTreeMap<u128, &str> = items.iter().map(|(k, t)| (*k, &**t)).collect();
            let given: Vec<_> = items.iter().map(|(key, text)| (Some(*key), *text)).collect();
            let batch = batch(&given);
            if carried_out(engine, Request::BatchInsert { store, batch: batch.as_batch() }) {
                model.extend(items.iter().map(|(key, text)| (*key, (*text).to_owned())));
            }
        }
        Act::Set(from, to) => {
            let text = format!("s.filter(a = {from} and not a = 'x').set({{a: {to}}})");
            if carried_out(engine, query(&text)) {
                reread(engine, model);
            }
        }
        Act::DeleteWhere(n) => {
            assert!(carried_out(engine, query(&format!("s.filter(b = {n}).delete()"))));
            reread(engine, model);
        }
        Act::Create(n) => {
            let definition = doc(DEFINITIONS[*n]);
            let definition = &definition;
            carried_out(engine, Request::CreateIndex { store, if_not_exists: false, definition });
        }
        Act::Drop(n) => {
            let definition = doc(DEFINITIONS[*n]);
            let name = Doc::parse(&definition).unwrap().get("name").unwrap();
            let index = name.as_str().unwrap();
            carried_out(engine, Request::DropIndex { store, index, if_exists: false });
        }
        Act::Tend => drop(engine.tend().unwrap()),
        Act::Flush => drop(done(engine, Request::Flush)),
        Act::Reopen => {}
    }
}

/// What a query did to the documents is not what is tested here.
fn reread(engine: &Engine, model: &mut Model) {
    *model = all(engine)
        .iter()
        .map(|row| {
            let (key, text) = row.split_once(' ').unwrap();
            (key.parse().unwrap(), text.to_owned())
        })
        .collect();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn an_index_is_the_set_computed_anew(acts in prop::collection::vec(act(), 1..70)) {
        let mut disk = SimDisk::new(1);
        let mut engine = open_on(disk.clone(), synced());
        done(&engine, create("s"));
        let mut model = Model::new();
        for act in &acts {
            if let Act::Reopen = act {
                drop(engine);
                disk = disk.restart();
                engine = open_on(disk.clone(), synced());
            }
            play(&engine, &mut model, act);
            agrees(&engine, &model);
        }
        settle(&engine);
        agrees(&engine, &model);
        done(&engine, Request::Flush);
        agrees(&engine, &model);
        let catalog = engine.catalogs.read();
        for index in &catalog.stores["s"].indexes {
            prop_assert!(index.phase != crate::index::Phase::Building);
        }
    }
}

/// Documents, an index made, writes between the pieces of its build. Returns the state
/// after each write tried, and how many were acknowledged.
fn build(disk: Arc<SimDisk>) -> (Vec<Model>, usize) {
    let mut states = vec![Model::new()];
    let clock = Arc::new(platform::sim::SimClock::new(NOW));
    let entropy = Arc::new(platform::sim::SimEntropy::new(1));
    let Ok(engine) = Engine::open(disk, clock, entropy, synced()) else { return (states, 0) };
    let mut acknowledged = 0;
    let died = |said: Said| matches!(said, Said::Refused(Status::Io | Status::ReadOnly, _));
    if died(ask(&engine, create("s"))) {
        return (states, 0);
    }
    let first: Vec<(Option<u128>, String)> =
        (0..300).map(|n| (Some(n), format!(r#"{{"a":[{},{}],"u":{n}}}"#, n % 7, n % 3))).collect();
    let first: Vec<_> = first.iter().map(|(k, t)| (*k, t.as_str())).collect();
    let items = batch(&first);
    states.push(first.iter().map(|(key, text)| (key.unwrap(), (*text).to_owned())).collect());
    if died(ask(&engine, Request::BatchInsert { store: "s", batch: items.as_batch() })) {
        return (states, acknowledged);
    }
    acknowledged += 1;
    for text in [DEFINITIONS[0], DEFINITIONS[5]] {
        let definition = doc(text);
        let request =
            Request::CreateIndex { store: "s", if_not_exists: true, definition: &definition };
        if died(ask(&engine, request)) {
            return (states, acknowledged);
        }
    }
    for round in 0..12u128 {
        // Behind, at and before where the build is.
        let (key, text) = match round % 3 {
            0 => (round * 20, None),
            1 => (299 - round, Some(format!(r#"{{"a":{round}}}"#))),
            _ => (130 + round, Some(format!(r#"{{"a":null,"u":{}}}"#, 1000 + round))),
        };
        let mut model = states.last().unwrap().clone();
        let said = match &text {
            None => {
                model.remove(&key);
                ask(&engine, Request::Delete { store: "s", key: Key(key) })
            }
            Some(text) => {
                model.insert(key, text.clone());
                let document = doc(text);
                let (key, document) = (Key(key), &document[..]);
                ask(&engine, Request::Update { store: "s", key, document, upsert: true })
            }
        };
        states.push(model);
        if died(said) {
            return (states, acknowledged);
        }
        acknowledged += 1;
        if engine.tend().is_err() || (round == 5 && engine.flush().is_err()) {
            return (states, acknowledged);
        }
    }
    (states, acknowledged)
}

#[test]
fn a_build_cut_off_at_any_disk_call_goes_on_and_ends_right() {
    let whole = SimDisk::new(7);
    let (states, acknowledged) = build(whole.clone());
    assert_eq!((states.len(), acknowledged), (14, 13));
    for cut in 1..=whole.calls() {
        let disk = SimDisk::new(cut);
        disk.crash_after(cut);
        let (states, acknowledged) = build(disk.clone());
        let engine = open_on(disk.restart(), synced());
        if !engine.catalogs.read().stores.contains_key("s") {
            assert_eq!(acknowledged, 0, "cut {cut}");
            continue;
        }
        let mut model = Model::new();
        reread(&engine, &mut model);
        let parse = |state: &Model| -> Model {
            state.iter().map(|(key, text)| (*key, text_of(&doc(text)))).collect()
        };
        let possible = [states.get(acknowledged), states.get(acknowledged + 1)];
        assert!(possible.into_iter().flatten().any(|s| parse(s) == model), "cut {cut}");
        agrees(&engine, &model);
        settle(&engine);
        agrees(&engine, &model);
        let catalog = engine.catalogs.read();
        assert!(catalog.stores["s"].indexes.iter().all(|index| index.is_ready()), "cut {cut}");
    }
}
