//! What becomes of rows: counts, order, and what a failure says is in the store.

#[path = "../../tests/common/memory.rs"]
mod memory;

use super::*;
use crate::rows::Row;
use batch::Batcher;
use memory::Memory;
use proptest::prelude::*;
use proto::doc::{Doc, DocBuf};
use std::collections::BTreeMap;

/// Answers at once; keeps the answers until they are received.
#[derive(Default)]
struct Fake {
    memory: Memory,
    answers: VecDeque<Vec<u8>>,
    most: usize,
}

impl Wire for Fake {
    fn send(&mut self, request: &Request<'_>) -> Result<(), Failure> {
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        request.encode(1, &mut packet);
        self.memory.handle(&packet, &mut out);
        self.answers.push_back(out);
        self.most = self.most.max(self.answers.len());
        Ok(())
    }

    fn receive(&mut self) -> Result<Answer, Failure> {
        Ok(Answer::of(self.answers.pop_front().expect("an answer for each request")))
    }
}

fn options(on_conflict: OnConflict, batch_rows: usize) -> Options {
    Options {
        batch_rows,
        batch_bytes: 1 << 20,
        on_conflict,
        on_error: OnError::Stop,
        max_bad: 0,
        quarantine: false,
        resumed: false,
    }
}

fn sources() -> Vec<Source> {
    vec![Source { name: "f".to_owned(), unit: "line" }]
}

/// Sends rows as the reader gives them.
fn send(loader: &mut Loader<'_, Fake>, options: Options, rows: &[Row]) -> Result<(), Failure> {
    let mut batcher = Batcher::new(options, Mark::default());
    for row in rows {
        let end = Mark { rows: row.line, ..Mark::default() };
        if let Some(batch) = batcher.push(row, end, |_| ()) {
            loader.push(batch)?;
        }
    }
    if let Some(batch) = batcher.rest() {
        loader.push(batch)?;
    }
    loader.finish()
}

fn row(key: u128, n: i32, line: u64) -> Row {
    let mut doc = DocBuf::new();
    doc.push("n", n);
    Row { key: Some(Key(key)), document: doc.finish().unwrap(), line }
}

/// Loads rows `(key, n)` into a store that holds some already.
fn load(
    there: &[(u128, i32)],
    rows: &[(u128, i32)],
    options: Options,
) -> (BTreeMap<u128, i32>, Tally, Result<(), String>, usize) {
    let mut fake = Fake::default();
    let docs = there.iter().map(|(key, n)| (Key(*key), row(*key, *n, 0).document)).collect();
    fake.memory.stores.insert("s".to_owned(), docs);
    let mut loader = Loader::new(&mut fake, "s", options, sources(), None);
    let rows: Vec<Row> =
        rows.iter().enumerate().map(|(at, (key, n))| row(*key, *n, at as u64 + 1)).collect();
    let result = send(&mut loader, options, &rows);
    let result = result.map_err(|failure| match failure {
        Failure::Told { message, .. } => message,
        Failure::PipeClosed => panic!("no pipe is involved"),
    });
    let tally = loader.tally().clone();
    let read = |doc: &Vec<u8>| Doc::parse(doc).unwrap().get("n").unwrap().as_i64().unwrap() as i32;
    let docs = fake.memory.stores["s"].iter().map(|(key, doc)| (key.0, read(doc))).collect();
    (docs, tally, result, fake.most)
}

#[test]
fn batches_overlap_up_to_four() {
    let rows: Vec<_> = (0..20).map(|n| (n, 0)).collect();
    let (docs, tally, result, most) = load(&[], &rows, options(OnConflict::Fail, 2));
    assert_eq!((docs.len(), tally.inserted, result, most), (20, 20, Ok(()), 4));
}

#[test]
fn the_first_conflict_stops_and_its_line_and_what_is_stored_are_told() {
    let rows: Vec<_> = (1..=12).map(|n| (n, 0)).collect();
    let (docs, tally, result, _) = load(&[(5, 9)], &rows, options(OnConflict::Fail, 3));
    let message = result.unwrap_err();
    assert!(message.starts_with("f, line 5: PLK-1302"), "{message}");
    let stored = "10 rows were imported into s (6 of them from rows after it)";
    assert!(message.contains(stored), "{message}");
    // All but line 6, which stands behind line 5 in its batch; line 5 was there.
    assert_eq!((docs.len(), tally.inserted), (11, 10));
    assert!(!docs.contains_key(&6) && docs[&5] == 9);
}

#[test]
fn a_bad_row_comes_after_the_rows_before_it_were_sent() {
    let mut fake = Fake::default();
    fake.memory.stores.insert("s".to_owned(), BTreeMap::new());
    let options = options(OnConflict::Fail, 100);
    let mut loader = Loader::new(&mut fake, "s", options, sources(), None);
    let mut batcher = Batcher::new(options, Mark::default());
    assert!(batcher.push(&row(1, 1, 1), Mark::default(), |_| ()).is_none());
    loader.take(Parcel::Batch(batcher.rest().unwrap())).unwrap();
    let bad = BadRow { line: 2, what: "it is bad".to_owned() };
    let failure = loader.take(Parcel::Bad(0, bad)).unwrap_err();
    let Failure::Told { exit, message } = failure else { panic!("a bad row is told") };
    assert_eq!(exit, Exit::Invalid);
    assert!(message.starts_with("f, line 2: it is bad\nstopped there; 1 row was"), "{message}");
}

#[test]
fn a_batch_is_bounded_by_bytes_and_a_long_row_goes_alone() {
    let mut fake = Fake::default();
    fake.memory.stores.insert("s".to_owned(), BTreeMap::new());
    let each = row(0, 0, 0).document.len() + 17;
    let options = Options { batch_bytes: each * 3, ..options(OnConflict::Fail, 100) };
    let mut loader = Loader::new(&mut fake, "s", options, sources(), None);
    let mut long = DocBuf::new();
    long.push("t", "x".repeat(each * 4).as_str());
    let long = Row { key: Some(Key(100)), document: long.finish().unwrap(), line: 9 };
    let mut rows: Vec<Row> = (0..4).map(|n| row(n, 0, 1)).collect();
    rows.extend([long, row(9, 0, 1)]);
    send(&mut loader, options, &rows).unwrap();
    assert_eq!(fake.memory.batches, [3, 1, 1, 1]);
}

proptest! {
    /// Whatever the batches: skip keeps the first of each key, replace the last.
    #[test]
    fn of_rows_with_one_key_the_policy_chooses(
        there in proptest::collection::vec((0u128..12, 0i32..100), 0..6),
        rows in proptest::collection::vec((0u128..12, 100i32..999), 0..30),
        batch in 1usize..8,
    ) {
        let there: Vec<_> = there.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        let (docs, tally, result, _) = load(&there, &rows, options(OnConflict::Skip, batch));
        let mut expected: BTreeMap<u128, i32> = there.iter().copied().collect();
        for (key, n) in &rows {
            expected.entry(*key).or_insert(*n);
        }
        prop_assert_eq!(&result, &Ok(()));
        prop_assert_eq!(tally.inserted as usize, expected.len() - there.len());
        prop_assert_eq!(tally.rows() as usize, rows.len());
        prop_assert_eq!(docs, expected);

        let (docs, tally, result, _) = load(&there, &rows, options(OnConflict::Replace, batch));
        let mut expected: BTreeMap<u128, i32> = there.iter().copied().collect();
        expected.extend(rows.iter().copied());
        prop_assert_eq!(&result, &Ok(()));
        prop_assert_eq!(tally.inserted as usize, expected.len() - there.len());
        prop_assert_eq!(tally.rows() as usize, rows.len());
        prop_assert_eq!(docs, expected);
    }
}

#[test]
fn an_import_that_goes_on_takes_its_own_rows_for_done_and_no_others() {
    let resumed = Options { resumed: true, ..options(OnConflict::Fail, 3) };
    let rows: Vec<_> = (1..=9).map(|n| (n, n as i32)).collect();
    let (docs, tally, result, _) = load(&[(2, 2), (3, 3), (4, 4)], &rows, resumed);
    assert_eq!((docs.len(), tally.inserted, tally.skipped, result), (9, 6, 3, Ok(())));
    let (docs, _, result, _) = load(&[(2, 2), (3, 33)], &rows, resumed);
    assert!(result.unwrap_err().starts_with("f, line 3: PLK-1302"));
    assert_eq!(docs[&3], 33);
}

#[test]
fn batches_of_one_key_never_fly_together() {
    let rows: Vec<_> = (0..20).map(|n| (n % 4, 100 + n as i32)).collect();
    let (docs, _, result, most) = load(&[], &rows, options(OnConflict::Replace, 2));
    assert_eq!((docs[&3], most, result), (119, 2, Ok(())));
    let rows: Vec<_> = (0..20).map(|n| (n, 0)).collect();
    let (_, _, _, most) = load(&[], &rows, options(OnConflict::Replace, 2));
    assert_eq!(most, 4);
}
