//! Transactions: each sees its snapshot and its own writes by every way to read, and what
//! is committed is what would have come of one after the other, in the order of LSNs.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use lsm::{
    Batch, Direction, Error, KeyspaceId, Lsm, Lsn, Options, Snapshot, SyncMode, Transaction, Values,
};
use platform::sim::{SimClock, SimDisk};
use proptest::prelude::*;

const A: KeyspaceId = KeyspaceId(1);
const B: KeyspaceId = KeyspaceId(2);

fn open_with(options: Options) -> Lsm {
    Lsm::open(SimDisk::new(1), Arc::new(SimClock::new(0)), options).unwrap()
}

fn open() -> Lsm {
    open_with(Options { inline_max: 8, ..Options::default() })
}

fn put(lsm: &Lsm, keyspace: KeyspaceId, key: &[u8], value: &[u8]) -> Lsn {
    let mut batch = Batch::new();
    match lsm.get(keyspace, key).unwrap() {
        Some(_) => batch.put(keyspace, key, value),
        None => batch.put_new(keyspace, key, value),
    }
    lsm.commit(&batch).unwrap()
}

/// Writes a key in a transaction, which reads it first.
fn write(transaction: &mut Transaction, keyspace: KeyspaceId, key: &[u8], value: Option<&[u8]>) {
    let mut batch = Batch::new();
    match (transaction.view().contains(keyspace, key).unwrap(), value) {
        (true, Some(value)) => batch.put(keyspace, key, value),
        (false, Some(value)) => batch.put_new(keyspace, key, value),
        (true, None) => batch.delete_present(keyspace, key),
        (false, None) => {}
    }
    transaction.write(&batch).unwrap();
}

fn commit(lsm: &Lsm, transaction: Transaction) -> Result<Lsn, Error> {
    lsm.commit_transaction(transaction, || Ok(()))
}

fn is_conflict(outcome: Result<Lsn, Error>, keyspace: KeyspaceId, key: &[u8]) -> bool {
    matches!(
        outcome,
        Err(Error::Conflict { keyspace: of, key: at, .. }) if of == keyspace && *at == *key
    )
}

fn scan(
    snapshot: &Snapshot,
    keyspace: KeyspaceId,
    low: Bound<&[u8]>,
    high: Bound<&[u8]>,
    direction: Direction,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = snapshot.range(keyspace, low, high, direction).unwrap();
    let mut all = Vec::new();
    while let Some((key, value)) = cursor.next().unwrap() {
        all.push((key.to_vec(), value.to_vec()));
    }
    all
}

/// What a snapshot shows of a keyspace, by every way there is.
fn shows(snapshot: &Snapshot, keyspace: KeyspaceId, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let want: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    assert_eq!(scan(snapshot, keyspace, Unbounded, Unbounded, Direction::Forward), want);
    let down: Vec<_> = want.iter().rev().cloned().collect();
    assert_eq!(scan(snapshot, keyspace, Unbounded, Unbounded, Direction::Reverse), down);
    let keys: Vec<[u8; 1]> = (0..40).map(|n| [n]).collect();
    let (many, mut some) = (snapshot.multi_get(keyspace, &keys).unwrap(), Values::default());
    snapshot.read_many(keyspace, &keys, usize::MAX, &mut some).unwrap();
    for (n, key) in keys.iter().enumerate() {
        let want = model.get(&key[..]).map(Vec::as_slice);
        assert_eq!(snapshot.get(keyspace, key).unwrap().as_deref(), want, "{key:?}");
        assert_eq!(snapshot.contains(keyspace, key).unwrap(), want.is_some(), "{key:?}");
        assert_eq!(snapshot.glance(keyspace, key).unwrap(), want.is_some(), "{key:?}");
        assert_eq!((many[n].as_deref(), some.get(n)), (want, want), "{key:?}");
        // A cursor that is placed anew, by its keys alone.
        let mut cursor =
            snapshot.range(keyspace, Unbounded, Unbounded, Direction::Forward).unwrap();
        cursor.seek(key).unwrap();
        let next = model.range(key.to_vec()..).next();
        assert_eq!(cursor.advance().unwrap(), next.is_some());
        assert_eq!(cursor.key(), next.map_or(&[][..], |(key, _)| key));
        assert_eq!(cursor.value().unwrap(), next.map_or(&[][..], |(_, value)| value));
    }
    for (low, high) in [(Included(&[5][..]), Excluded(&[30][..])), (Excluded(&[3]), Unbounded)] {
        let lies = |(key, _): &(&Vec<u8>, &Vec<u8>)| {
            std::ops::RangeBounds::<[u8]>::contains(&(low, high), &***key)
        };
        let want = model.iter().filter(lies).count() as u64;
        let counted = snapshot.count_range(keyspace, low, high).unwrap();
        assert_eq!((counted.entries, counted.exact), (want, true));
    }
    assert_eq!(snapshot.count_seen(keyspace).unwrap(), Some(model.len() as u64));
    assert!(!snapshot.is_vacant(keyspace).unwrap() || model.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8, Option<u8>),
    Flush,
    Savepoint,
    Rollback(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..40, prop::option::of(any::<u8>())).prop_map(|(k, v)| Step::Write(k, v)),
        1 => Just(Step::Flush),
        1 => Just(Step::Savepoint),
        1 => (0usize..4).prop_map(Step::Rollback),
    ]
}

/// Some in the leaf, some in the value log.
fn value(n: u8) -> Vec<u8> {
    vec![n; usize::from(n % 5) * 20 + 1]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_transaction_sees_its_own_writes_by_every_way_and_commits_what_it_saw(
        before in prop::collection::vec(step(), 0..30),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let lsm = open();
        let mut base = BTreeMap::new();
        for step in before {
            match step {
                Step::Write(key, Some(n)) => {
                    put(&lsm, A, &[key], &value(n));
                    base.insert(vec![key], value(n));
                }
                Step::Write(key, None) if base.remove(&[key][..]).is_some() => {
                    let mut batch = Batch::new();
                    batch.delete_present(A, &[key]);
                    lsm.commit(&batch).unwrap();
                }
                Step::Flush => drop(lsm.flush().unwrap()),
                _ => {}
            }
        }
        let (mut transaction, mut model) = (lsm.begin().unwrap(), base.clone());
        let mut savepoints = Vec::new();
        for step in steps {
            match step {
                Step::Write(key, of) => {
                    write(&mut transaction, A, &[key], of.map(value).as_deref());
                    match of {
                        Some(n) => drop(model.insert(vec![key], value(n))),
                        None => drop(model.remove(&[key][..])),
                    }
                }
                Step::Flush => drop(lsm.flush().unwrap()),
                Step::Savepoint => savepoints.push((transaction.savepoint(), model.clone())),
                Step::Rollback(to) if to < savepoints.len() => {
                    savepoints.truncate(to + 1);
                    transaction.rollback(savepoints[to].0);
                    model = savepoints[to].1.clone();
                }
                Step::Rollback(_) => {}
            }
        }
        shows(&transaction.view(), A, &model);
        // Nobody else sees any of it, before and after it is dropped.
        shows(&lsm.snapshot().unwrap(), A, &base);
        let before = lsm.last_lsn();
        let wrote = base != model;
        commit(&lsm, transaction).unwrap();
        prop_assert!(lsm.last_lsn() - before <= 1, "one frame");
        prop_assert!(!wrote || lsm.last_lsn() == before + 1);
        shows(&lsm.snapshot().unwrap(), A, &model);
        prop_assert_eq!(lsm.count(A), model.len() as u64);
        lsm.flush().unwrap();
        shows(&lsm.snapshot().unwrap(), A, &model);
        prop_assert_eq!(lsm.count(A), model.len() as u64);
    }
}

#[test]
fn a_lost_update_is_refused_and_names_the_key() {
    let lsm = open();
    put(&lsm, A, b"k", b"1");
    let mut transaction = lsm.begin().unwrap();
    write(&mut transaction, A, b"k", Some(b"2"));
    let other = put(&lsm, A, b"k", b"7");
    let error = commit(&lsm, transaction).unwrap_err();
    let Error::Conflict { keyspace: A, key, lsn } = &error else { panic!("{error}") };
    assert_eq!((&**key, *lsn), (&b"k"[..], other));
    assert!(error.to_string().contains("begin it again"), "{error}");
    assert_eq!(lsm.get(A, b"k").unwrap().as_deref(), Some(&b"7"[..]));
    assert_eq!(lsm.last_lsn(), other);
}

#[test]
fn write_skew_is_refused() {
    let lsm = open();
    put(&lsm, A, b"x", b"1");
    put(&lsm, A, b"y", b"1");
    let (mut one, mut two) = (lsm.begin().unwrap(), lsm.begin().unwrap());
    for (transaction, key) in [(&mut one, b"x"), (&mut two, b"y")] {
        for key in [b"x", b"y"] {
            assert!(transaction.view().get(A, key).unwrap().is_some());
        }
        write(transaction, A, key, None);
    }
    commit(&lsm, one).unwrap();
    assert!(is_conflict(commit(&lsm, two), A, b"x"));
}

#[test]
fn of_a_range_what_was_come_past_is_read_and_nothing_behind_it() {
    let keys: [&[u8]; 5] = [b"b", b"d", b"f", b"h", b"j"];
    // Direction, how many entries are taken, and what conflicts then.
    for (direction, taken, hit, missed) in [
        (Direction::Forward, 1, &[&b"a"[..], b"b"][..], &[&b"c"[..], b"d", b"z"][..]),
        (Direction::Forward, 2, &[&b"a"[..], b"c", b"d"][..], &[&b"e"[..], b"f", b"z"][..]),
        (Direction::Forward, 5, &[&b"i"[..], b"j"][..], &[&b"k"[..]][..]),
        (Direction::Forward, 6, &[&b"k"[..], b"x"][..], &[&b"y"[..], b"z"][..]),
        (Direction::Reverse, 2, &[&b"h"[..], b"i", b"x"][..], &[&b"g"[..], b"a", b"y"][..]),
        (Direction::Reverse, 6, &[&b"a"[..], b"x"][..], &[&b"y"[..]][..]),
        (Direction::Forward, 0, &[][..], &[&b"a"[..], b"b"][..]),
    ] {
        for (keys_written, conflicts) in [(hit, true), (missed, false)] {
            for key in keys_written {
                for open_still in [false, true] {
                    let lsm = open();
                    for key in &keys {
                        put(&lsm, A, key, b"v");
                    }
                    lsm.flush().unwrap();
                    let mut transaction = lsm.begin().unwrap();
                    write(&mut transaction, B, b"out", Some(b"1"));
                    let mut cursor =
                        transaction.view().range(A, Unbounded, Excluded(b"y"), direction).unwrap();
                    for _ in 0..taken {
                        cursor.advance().unwrap();
                    }
                    let cursor = open_still.then_some(cursor);
                    put(&lsm, A, key, b"w");
                    let outcome = commit(&lsm, transaction);
                    // While it is open it may come to all of it.
                    let may = conflicts || (open_still && **key < b"y"[..]);
                    assert_eq!(
                        is_conflict(outcome, A, key),
                        may,
                        "{direction:?} {taken} {key:?} {open_still}"
                    );
                    drop(cursor);
                }
            }
        }
    }
}

#[test]
fn a_cursor_placed_anew_has_read_what_lies_before_and_behind_the_seek_apart() {
    for (key, conflicts) in [(&b"b"[..], true), (b"c", false), (b"e", false), (b"f", true)] {
        for guesses in [false, true] {
            let lsm = open();
            for key in [b"b", b"d", b"f", b"h"] {
                put(&lsm, A, key, b"v");
            }
            let mut transaction = lsm.begin().unwrap();
            write(&mut transaction, B, b"out", Some(b"1"));
            let view = transaction.view();
            let mut cursor = view.range(A, Unbounded, Unbounded, Direction::Forward).unwrap();
            if guesses {
                cursor.guesses();
            }
            assert!(cursor.advance().unwrap());
            cursor.seek(b"ee").unwrap();
            assert!(cursor.advance().unwrap());
            assert_eq!(cursor.key(), b"f");
            drop(cursor);
            put(&lsm, A, key, b"w");
            let outcome = commit(&lsm, transaction);
            assert_eq!(is_conflict(outcome, A, key), conflicts && !guesses, "{key:?} {guesses}");
        }
    }
}

#[test]
fn what_is_not_there_was_read_too_by_every_way_to_look() {
    type Look = fn(&Snapshot);
    let looks: [Look; 8] = [
        |view| assert!(view.get(A, b"k").unwrap().is_none()),
        |view| assert!(!view.contains(A, b"k").unwrap()),
        |view| assert_eq!(view.multi_get(A, &[b"k"]).unwrap(), [None]),
        |view| view.read_many(A, &[b"k"], 1, &mut Values::default()).unwrap(),
        |view| assert_eq!(view.count_seen(A).unwrap(), Some(0)),
        |view| assert!(view.is_vacant(A).unwrap()),
        |view| assert!(scan(view, A, Unbounded, Unbounded, Direction::Reverse).is_empty()),
        |view| assert!(!view.prefix(A, b"k", Direction::Forward).unwrap().advance().unwrap()),
    ];
    for (n, look) in looks.iter().enumerate() {
        let lsm = open();
        let mut transaction = lsm.begin().unwrap();
        look(&transaction.view());
        write(&mut transaction, B, b"out", Some(b"1"));
        put(&lsm, A, b"k", b"1");
        assert!(is_conflict(commit(&lsm, transaction), A, b"k"), "{n}");
    }
    // What is only a guess is none of it.
    let lsm = open();
    let mut transaction = lsm.begin().unwrap();
    let view = transaction.view();
    assert!(!view.glance(A, b"k").unwrap());
    assert_eq!(view.count(A).unwrap(), 0);
    assert_eq!(view.count_range(A, Unbounded, Unbounded).unwrap().entries, 0);
    write(&mut transaction, B, b"out", Some(b"1"));
    put(&lsm, A, b"k", b"1");
    commit(&lsm, transaction).unwrap();
}

#[test]
fn a_transaction_that_only_reads_never_fails_and_sees_one_moment() {
    let lsm = open();
    put(&lsm, A, b"x", b"1");
    let transaction = lsm.begin().unwrap();
    let at = transaction.lsn();
    let view = transaction.view();
    put(&lsm, A, b"x", b"2");
    put(&lsm, A, b"y", b"2");
    assert_eq!(view.get(A, b"x").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(view.get(A, b"y").unwrap(), None);
    let refuses = || -> Result<(), Error> { panic!("it is not asked") };
    assert_eq!(lsm.commit_transaction(transaction, refuses).unwrap(), at);
    assert_eq!(lsm.last_lsn(), 3);
}

#[test]
fn what_was_written_unread_conflicts_with_nobody_and_is_counted_once() {
    for (there, theirs) in [(false, true), (true, true), (false, false), (true, false)] {
        for removed in [false, true] {
            let lsm = open();
            if there {
                put(&lsm, A, b"k", b"0");
            }
            let mut transaction = lsm.begin().unwrap();
            let mut batch = Batch::new();
            match there {
                true => batch.put(A, b"k", b"mine"),
                false => batch.put_new(A, b"k", b"mine"),
            }
            batch.unread(A, b"k");
            transaction.write(&batch).unwrap();
            if removed {
                write(&mut transaction, A, b"k", None);
            }
            // Meanwhile somebody makes, or removes, the very same.
            let mut other = Batch::new();
            match (there, theirs) {
                (false, true) => other.put_new(A, b"k", b"theirs"),
                (true, true) => other.delete_present(A, b"k"),
                (_, false) => other.put(B, b"k", b"elsewhere"),
            }
            lsm.commit(&other).unwrap();
            commit(&lsm, transaction).unwrap();
            let now = lsm.get(A, b"k").unwrap();
            assert_eq!(now.as_deref(), (!removed).then_some(&b"mine"[..]));
            assert_eq!(lsm.count(A), u64::from(!removed), "{there} {theirs} {removed}");
            lsm.flush().unwrap();
            assert_eq!(lsm.count(A), u64::from(!removed));
        }
    }
}

#[test]
fn what_is_written_counts_as_read_and_stays_so_when_it_is_undone() {
    for undone in [false, true] {
        let lsm = open();
        let mut transaction = lsm.begin().unwrap();
        let to = transaction.savepoint();
        let mut batch = Batch::new();
        // As of a key that was just made: nobody looked.
        batch.put_new(A, b"k", b"mine");
        transaction.write(&batch).unwrap();
        if undone {
            transaction.rollback(to);
            assert!(transaction.is_empty());
            assert!(transaction.view().get(A, b"k").unwrap().is_none());
        }
        write(&mut transaction, B, b"out", Some(b"1"));
        put(&lsm, A, b"k", b"theirs");
        assert!(is_conflict(commit(&lsm, transaction), A, b"k"), "{undone}");
        assert_eq!(lsm.count(A), 1);
    }
}

#[test]
fn a_cursor_goes_on_with_what_it_saw_when_writes_are_added_and_undone() {
    let lsm = open();
    let mut transaction = lsm.begin().unwrap();
    write(&mut transaction, A, b"a", Some(b"1"));
    let to = transaction.savepoint();
    write(&mut transaction, A, b"b", Some(b"1"));
    let view = transaction.view();
    write(&mut transaction, A, b"a", Some(b"2"));
    write(&mut transaction, A, b"c", Some(b"2"));
    let seen = |view: &Snapshot| scan(view, A, Unbounded, Unbounded, Direction::Forward);
    let pairs = |pairs: &[(&[u8], &[u8])]| -> Vec<(Vec<u8>, Vec<u8>)> {
        pairs.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
    };
    assert_eq!(seen(&view), pairs(&[(b"a", b"1"), (b"b", b"1")]));
    transaction.rollback(to);
    assert_eq!(seen(&view), pairs(&[(b"a", b"1"), (b"b", b"1")]));
    assert_eq!(seen(&transaction.view()), pairs(&[(b"a", b"1")]));
    transaction.rollback(to);
    commit(&lsm, transaction).unwrap();
    assert_eq!(seen(&lsm.snapshot().unwrap()), pairs(&[(b"a", b"1")]));
}

#[test]
fn a_dropped_keyspace_conflicts_with_who_read_or_wrote_it_and_cannot_be_dropped_within() {
    for (reads, conflicts) in [(true, true), (false, false)] {
        let lsm = open();
        put(&lsm, A, b"k", b"1");
        let mut transaction = lsm.begin().unwrap();
        if reads {
            transaction.view().get(A, b"other").unwrap();
        }
        write(&mut transaction, B, b"k", Some(b"1"));
        let mut batch = Batch::new();
        batch.drop_keyspace(A);
        let error = transaction.write(&batch).unwrap_err();
        assert!(error.to_string().contains("cannot be dropped"), "{error}");
        lsm.commit(&batch).unwrap();
        assert_eq!(is_conflict(commit(&lsm, transaction), A, b""), conflicts);
    }
    let lsm = open();
    let mut transaction = lsm.begin().unwrap();
    let mut batch = Batch::new();
    batch.put(A, b"k", b"1");
    batch.unread(A, b"k");
    transaction.write(&batch).unwrap();
    batch.clear();
    batch.drop_keyspace(A);
    lsm.commit(&batch).unwrap();
    assert!(is_conflict(commit(&lsm, transaction), A, b""));
}

#[test]
fn writes_that_cancel_out_are_no_commit_and_none_is_told() {
    let lsm = open();
    let ((), committed) = lsm::watched(|| {
        let mut transaction = lsm.begin().unwrap();
        write(&mut transaction, A, b"k", Some(b"1"));
        write(&mut transaction, A, b"k", None);
        assert_eq!(commit(&lsm, transaction).unwrap(), 0);
    });
    assert_eq!((committed.len(), lsm.last_lsn()), (0, 0));
    let ((), committed) = lsm::watched(|| {
        let mut transaction = lsm.begin().unwrap();
        write(&mut transaction, A, b"k", Some(b"1"));
        commit(&lsm, transaction).unwrap();
    });
    assert_eq!(committed.iter().map(|commit| commit.lsn).collect::<Vec<_>>(), [1]);
}

#[test]
fn too_much_written_since_is_told_and_never_taken_for_nothing() {
    let lsm = open();
    let mut old = lsm.begin().unwrap();
    write(&mut old, B, b"out", Some(b"1"));
    let mut reads_nothing = lsm.begin().unwrap();
    let mut batch = Batch::new();
    batch.put(B, b"else", b"1");
    batch.unread(B, b"else");
    reads_nothing.write(&batch).unwrap();
    let only_reads = lsm.begin().unwrap();
    // More keys than are kept.
    let mut batch = Batch::new();
    for n in 0..20_000u32 {
        batch.put(A, &[&n.to_be_bytes()[..], &[7; 900]].concat(), b"");
    }
    for _ in 0..2 {
        lsm.commit(&batch).unwrap();
    }
    assert!(matches!(commit(&lsm, old), Err(Error::TooOld { lsn: 0 })));
    assert!(matches!(commit(&lsm, reads_nothing), Err(Error::TooOld { lsn: 0 })));
    commit(&lsm, only_reads).unwrap();
    let mut new = lsm.begin().unwrap();
    write(&mut new, B, b"out", Some(b"2"));
    commit(&lsm, new).unwrap();
}

#[test]
fn what_breaks_a_limit_adds_nothing_and_the_last_word_may_refuse() {
    let lsm = open();
    let mut transaction = lsm.begin().unwrap();
    write(&mut transaction, A, b"k", Some(b"1"));
    let (bytes, written) = (transaction.bytes(), transaction.written());
    assert!(bytes > written && written > 0);
    let mut batch = Batch::new();
    batch.put(A, b"large", &vec![7; lsm::MAX_BATCH_BYTES - 38]);
    assert!(batch.check().is_ok());
    assert!(matches!(transaction.write(&batch), Err(Error::Batch(_))));
    batch.put(A, &[7; 2000], b"");
    assert!(matches!(transaction.write(&batch), Err(Error::Batch(_))));
    assert_eq!(transaction.written(), written);
    let refused = lsm.commit_transaction(transaction, || Err::<(), _>(Error::Cursor));
    assert!(matches!(refused, Err(Error::Cursor)));
    assert_eq!(lsm.last_lsn(), 0);
    // Nor is the commit lock held.
    put(&lsm, A, b"k", b"1");
}

#[test]
fn what_was_made_and_removed_again_is_no_write() {
    let lsm = open();
    let mut transaction = lsm.begin().unwrap();
    for _ in 0..3 {
        write(&mut transaction, A, b"k", Some(b"1"));
        write(&mut transaction, A, b"k", None);
    }
    commit(&lsm, transaction).unwrap();
    assert_eq!((lsm.last_lsn(), lsm.count(A)), (0, 0));
    let mut transaction = lsm.begin().unwrap();
    for n in 0..100u8 {
        write(&mut transaction, A, b"k", Some(&[n]));
    }
    let before = lsm.stats().unwrap().wal_appended_bytes;
    commit(&lsm, transaction).unwrap();
    let logged = lsm.stats().unwrap().wal_appended_bytes - before;
    assert!(logged < 200, "the last value alone is logged: {logged} bytes");
    assert_eq!(lsm.get(A, b"k").unwrap().as_deref(), Some(&[99][..]));
}

/// Counters raised by threads that begin again on a conflict: no raise is lost, whatever
/// else is committed meanwhile, in either mode.
#[test]
fn threads_that_begin_again_lose_nothing() {
    const THREADS: u64 = 4;
    const RAISES: u64 = 60;
    for sync in [SyncMode::Async, SyncMode::Sync] {
        let options = Options { sync, memtable_bytes: 16 << 10, ..Options::default() };
        let lsm = open_with(options);
        let number = |value: Option<lsm::Value>| {
            value.map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().unwrap()))
        };
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let lsm = &lsm;
                scope.spawn(move || {
                    for n in 0..RAISES {
                        loop {
                            let mut transaction = lsm.begin().unwrap();
                            let key = [(n % 3) as u8];
                            let now = number(transaction.view().get(A, &key).unwrap());
                            write(&mut transaction, A, &key, Some(&(now + 1).to_be_bytes()));
                            match commit(lsm, transaction) {
                                Ok(_) => break,
                                Err(Error::Conflict { keyspace: A, .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                        put(lsm, B, &thread.to_be_bytes(), &n.to_be_bytes());
                    }
                });
            }
        });
        let all = (0..3).map(|key| number(lsm.get(A, &[key]).unwrap())).sum::<u64>();
        assert_eq!(all, THREADS * RAISES);
    }
}
