//! Apply and ReadVersion as their callers see them: every step under every condition, all
//! or none, in several stores, in transactions; versions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proto::doc::{Doc, Value};
use proto::request::{Act, Condition, Step, StepsBuf};
use proto::{Key, Reply, Request, Status};

use super::audit_sync::gated;
use super::kit::*;
use super::transactions::{begin_as, within_as};
use crate::{Engine, Limits, Principal, Role};

fn steps(all: &[Step<'_>]) -> StepsBuf {
    let mut steps = StepsBuf::new();
    all.iter().for_each(|step| steps.push(*step));
    steps
}

fn step<'a>(act: Act<'a>, condition: Option<Condition>) -> Step<'a> {
    Step { store: "s", act, condition }
}

/// The version and the keys of an Apply that is carried out.
fn applied(packet: &[u8]) -> Result<(u64, Vec<Key>), (Status, String)> {
    match Reply::decode(packet).unwrap().1 {
        Reply::Error { status, message } => Err((status, message.to_owned())),
        Reply::Document(doc) => {
            let doc = Doc::parse(doc).unwrap();
            let version = doc.get("version").and_then(|v| v.as_i64()).unwrap() as u64;
            let Some(Value::Binary(keys)) = doc.get("keys") else { panic!("no keys") };
            let keys = keys.bytes.chunks(16).map(|key| Key::from_bytes(key.try_into().unwrap()));
            Ok((version, keys.collect()))
        }
        other => panic!("{other:?}"),
    }
}

fn apply_as(
    engine: &Engine,
    who: &Principal,
    transaction: Option<u64>,
    all: &[Step<'_>],
) -> Result<(u64, Vec<Key>), (Status, String)> {
    let steps = steps(all);
    let (mut out, mut room) = (Vec::new(), Vec::new());
    let request = Request::Apply { steps: steps.as_steps() };
    let request = match transaction {
        None => request,
        Some(transaction) => {
            let part = proto::request::Part::of(&request, &mut room);
            Request::Within { transaction, part }
        }
    };
    engine.dispatch(who, 77, request, &mut out);
    applied(&out)
}

fn apply(engine: &Engine, all: &[Step<'_>]) -> Result<(u64, Vec<Key>), (Status, String)> {
    apply_as(engine, &admin(), None, all)
}

/// The version of a document of `s`, if it is there.
fn version(engine: &Engine, key: u128) -> Option<u64> {
    match ask(engine, Request::ReadVersion { store: "s", key: Key(key) }) {
        Said::Versioned(version, _) => Some(version),
        Said::Refused(Status::NotFound, _) => None,
        other => panic!("{other:?}"),
    }
}

fn index(engine: &Engine) {
    let definition = doc(r#"{"fields": ["a"], "unique": true}"#);
    let (store, definition) = ("s", &definition[..]);
    done(engine, Request::CreateIndex { store, if_not_exists: false, definition });
    while engine.tend().unwrap() {}
}

fn no_differences(engine: &Engine) {
    match done(engine, Request::CheckIndexes { store: "s", index: None }) {
        Said::Rows(rows, None) => assert!(rows[0].contains(r#""differences":0"#), "{rows:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_version_is_the_commit_that_wrote_the_document_last() {
    // Given documents that lie in a leaf, and one that lies in the value log,
    let engine = with_store();
    insert(&engine, 1, r#"{"a":1}"#);
    let first = engine.lsm.last_lsn();
    let long = doc_of(500);
    let put = |document: &[u8], key| {
        let upsert = true;
        done(&engine, Request::Update { store: "s", key: Key(key), document, upsert });
        engine.lsm.last_lsn()
    };
    let second = put(&long, 2);
    for round in 0..3 {
        assert_eq!((version(&engine, 1), version(&engine, 2)), (Some(first), Some(second)));
        let read = Request::ReadVersion { store: "s", key: Key(1) };
        assert_eq!(ask(&engine, read), Said::Versioned(first, r#"{"a":1}"#.to_owned()), "{round}");
        engine.flush().unwrap();
    }
    // then the same bytes are another version, and so is what a query writes;
    assert_eq!(version(&engine, 1).unwrap() + 2, put(&doc(r#"{"a":1}"#), 1));
    done(&engine, query("s.filter(a = 1).set({b: 2})"));
    engine.flush().unwrap();
    assert_eq!(version(&engine, 1), Some(engine.lsm.last_lsn()));
    assert_eq!(version(&engine, 2), Some(second));
    // what is not there has none, and what is made anew has a new one.
    done(&engine, Request::Delete { store: "s", key: Key(2) });
    assert_eq!(version(&engine, 2), None);
    let made = put(&long, 2);
    assert_eq!(version(&engine, 2), Some(made));
}

/// Each act, under each condition, where there is a document and where there is none, in a
/// store with an index and in one without, alone and in a transaction: what comes of it is
/// what the words say.
#[test]
fn every_step_does_under_every_condition_what_it_says() {
    let new = doc(r#"{"a":2}"#);
    let mut carried_out = 0;
    for case in 0..5 * 5 * 2 * 2 * 2 {
        let (act, condition) = (case % 5, case / 5 % 5);
        let [there, indexed, in_transaction] = [25, 50, 100].map(|n| case / n % 2 == 1);
        let engine = with_store();
        if indexed {
            index(&engine);
        }
        if there {
            insert(&engine, 1, r#"{"a":1}"#);
        }
        insert(&engine, 9, r#"{"a":9}"#);
        let now = version(&engine, 1);
        let key = Key(1);
        let act = [
            Act::Insert(Some(key), &new),
            Act::Put(key, &new),
            Act::Replace(key, &new),
            Act::Delete(key),
            Act::Check(key),
        ][act];
        let condition = [
            None,
            Some(Condition::Absent),
            Some(Condition::Present),
            Some(Condition::Version(now.unwrap_or(1))),
            Some(Condition::Version(now.unwrap_or(1) + 1)),
        ][condition];
        if matches!((act, condition), (Act::Check(_), None)) {
            continue;
        }
        let expected = match (condition, act) {
            (Some(Condition::Absent), _) if there => Err(Status::ConditionFailed),
            (Some(Condition::Present), _) if !there => Err(Status::ConditionFailed),
            (Some(Condition::Version(wanted)), _) if Some(wanted) != now => {
                Err(Status::ConditionFailed)
            }
            (_, Act::Insert(..)) if there => Err(Status::KeyExists),
            (_, Act::Replace(..) | Act::Delete(_)) if !there => Err(Status::NotFound),
            (_, Act::Insert(..) | Act::Put(..) | Act::Replace(..)) => Ok(Some(r#"{"a":2}"#)),
            (_, Act::Delete(_)) => Ok(None),
            (_, Act::Check(_)) => Ok(there.then_some(r#"{"a":1}"#)),
        };
        let other = doc(r#"{"a":8}"#);
        let with = [step(Act::Put(Key(8), &other), None), step(act, condition)];
        let before = (all(&engine), engine.lsm.last_lsn());
        let tx = in_transaction.then(|| begin_as(&engine, &admin(), false, 0));
        let said = apply_as(&engine, &admin(), tx, &with);
        let hint = format!("{act:?} {condition:?} there {there} indexed {indexed} in {tx:?}");
        match (said, expected) {
            (Err((found, message)), Err(wanted)) => {
                assert_eq!(found, wanted, "{hint}: {message}");
                assert!(message.starts_with("step 2: "), "{message}");
                if let Some(transaction) = tx {
                    done(&engine, Request::Commit { transaction });
                }
                assert_eq!((all(&engine), engine.lsm.last_lsn()), before, "{hint}");
            }
            (Ok((version_told, keys)), Ok(becomes)) => {
                carried_out += 1;
                assert_eq!(keys, [Key(8), key]);
                if let Some(transaction) = tx {
                    assert_eq!(version_told, 0);
                    done(&engine, Request::Commit { transaction });
                }
                let last = engine.lsm.last_lsn();
                assert_eq!(last, before.1 + 1, "{hint}: one commit");
                assert!(in_transaction || version_told == last);
                assert_eq!(version(&engine, 8), Some(last));
                let mut lines: BTreeMap<u128, String> =
                    [(8, other_line(8)), (9, other_line(9))].into();
                lines.extend(becomes.map(|text| (1, format!("1 {text}"))));
                assert_eq!(all(&engine), lines.into_values().collect::<Vec<_>>(), "{hint}");
                let is_new = !matches!(act, Act::Check(_) | Act::Delete(_));
                assert_eq!(version(&engine, 1), if is_new { Some(last) } else { becomes.and(now) });
            }
            (said, expected) => panic!("{hint}: {said:?}, not {expected:?}"),
        }
        if indexed {
            no_differences(&engine);
        }
        let count = all(&engine).len();
        assert_eq!(done(&engine, query("s.count()")), Said::Count(count as u64), "{hint}");
    }
    assert!(carried_out > 60, "{carried_out}");
}

fn other_line(n: u32) -> String {
    format!(r#"{n} {{"a":{n}}}"#)
}

#[test]
fn steps_in_several_stores_are_one_commit_or_none() {
    let engine = with_store();
    done(&engine, create("other"));
    index(&engine);
    let (one, two) = (doc(r#"{"a":1}"#), doc(r#"{"a":2}"#));
    let elsewhere = |act, condition| Step { store: "other", act, condition };
    let before = engine.lsm.last_lsn();
    let (version_told, keys) = apply(
        &engine,
        &[
            step(Act::Insert(None, &one), None),
            elsewhere(Act::Insert(None, &one), Some(Condition::Absent)),
            step(Act::Put(Key(7), &two), Some(Condition::Absent)),
            elsewhere(Act::Put(Key(7), &two), None),
        ],
    )
    .unwrap();
    assert_eq!((version_told, engine.lsm.last_lsn()), (before + 1, before + 1));
    assert_eq!((keys[2], keys[3], keys.len()), (Key(7), Key(7), 4));
    assert!(keys[0] != keys[1] && keys[0] > Key(7));
    assert_eq!(all(&engine).len(), 2);
    let in_other = Request::ReadVersion { store: "other", key: keys[1] };
    assert_eq!(ask(&engine, in_other), Said::Versioned(version_told, r#"{"a":1}"#.to_owned()));
    // An index that is unique is asked of all of it, and a document that goes makes room.
    let swapped = [
        step(Act::Put(Key(7), &one), Some(Condition::Version(version_told))),
        step(Act::Put(keys[0], &two), None),
    ];
    apply(&engine, &swapped).unwrap();
    let twice = [step(Act::Put(Key(8), &one), None), elsewhere(Act::Delete(Key(7)), None)];
    assert_eq!(apply(&engine, &twice).unwrap_err().0, Status::NotUnique);
    assert!(matches!(ask(&engine, Request::Read { store: "other", key: Key(7) }), Said::Rows(..)));
    no_differences(&engine);
    // Nothing but a check writes nothing; no step at all neither.
    let last = engine.lsm.last_lsn();
    let check = [step(Act::Check(Key(7)), Some(Condition::Version(last)))];
    assert_eq!(apply(&engine, &check), Ok((last, vec![Key(7)])));
    assert_eq!(apply(&engine, &[]), Ok((last, vec![])));
    assert_eq!(engine.lsm.last_lsn(), last);
}

#[test]
fn what_failed_is_told_by_store_key_and_versions() {
    let engine = with_store();
    insert(&engine, 1, "{}");
    let now = version(&engine, 1).unwrap();
    let one = doc(r#"{"a":1}"#);
    for (condition, key, words) in [
        (
            Condition::Version(now + 5),
            1,
            vec![format!("have version {}", now + 5), format!("has version {now}")],
        ),
        (Condition::Version(4), 2, vec!["have version 4".to_owned(), "is not there".to_owned()]),
        (Condition::Absent, 1, vec!["not to be there".to_owned(), format!("has version {now}")]),
        (Condition::Present, 2, vec!["was to be there".to_owned(), "is not there".to_owned()]),
    ] {
        let steps = steps(&[step(Act::Put(Key(key), &one), Some(condition))]);
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        let key = Key(key).to_string();
        words.extend([&*key, "the store \"s\"", "nothing was written", "step 1: "]);
        let request = Request::Apply { steps: steps.as_steps() };
        refused(&engine, request, Status::ConditionFailed, &words);
    }
}

#[test]
fn what_cannot_be_changes_nothing() {
    let engine = open_with(Limits { max_batch_size: 3, ..Limits::default() });
    insert(&engine, 1, "{}");
    let (good, bad) = (doc(r#"{"a":1}"#), doc(r#"{"key":1}"#));
    let put = |key| step(Act::Put(Key(key), &good), None);
    let unknown = Step { store: "none", ..put(5) };
    let is_refused = |all: &[Step<'_>], status, words: &[&str]| {
        let steps = steps(all);
        refused(&engine, Request::Apply { steps: steps.as_steps() }, status, words);
    };
    is_refused(&[put(2), put(3), put(4), put(5)], Status::BatchTooLarge, &["4 steps", "is 3"]);
    is_refused(&[put(2), put(2)], Status::BadPacket, &["step 2", "before this one"]);
    let check = step(Act::Check(Key(2)), Some(Condition::Absent));
    is_refused(&[put(2), check], Status::BadPacket, &["step 2"]);
    is_refused(&[put(2), unknown], Status::UnknownStore, &["none"]);
    let bad = [put(2), step(Act::Put(Key(3), &bad), None)];
    is_refused(&bad, Status::BadDocument, &["step 2", "key"]);
    assert_eq!(all(&engine), ["1 {}"]);
    // At the edge it is carried out; the same key in another store is another document.
    done(&engine, create("t"));
    apply(&engine, &[put(2), put(3), Step { store: "t", ..put(3) }]).unwrap();
}

#[test]
fn each_store_is_asked_about() {
    let engine = with_store();
    done(&engine, create("other"));
    let grants =
        doc(r#"{"role": "read_only", "key": "a-long-enough-key", "grants": {"s": "read_write"}}"#);
    let (user, definition) = ("ann", &grants[..]);
    done(&engine, Request::CreateUser { user, if_not_exists: false, definition });
    let ann = engine.authenticate("ann", "a-long-enough-key").unwrap();
    let reader = Principal::new("reader", Role::ReadOnly);
    let nobody = Principal::new("nobody", Role::None);
    let one = doc("{}");
    let put = step(Act::Put(Key(1), &one), None);
    let elsewhere = Step { store: "other", ..put };
    let check = step(Act::Check(Key(2)), Some(Condition::Absent));
    let check_elsewhere = Step { store: "other", ..check };
    for (who, all, may) in [
        (&ann, [put, check_elsewhere], true),
        (&ann, [put, elsewhere], false),
        (&reader, [check, check_elsewhere], true),
        (&reader, [check_elsewhere, put], false),
        (&nobody, [check, check_elsewhere], false),
    ] {
        let last = engine.lsm.last_lsn();
        match apply_as(&engine, who, None, &all) {
            Ok(_) => assert!(may, "{all:?}"),
            Err((status, message)) => {
                assert!(!may && status == Status::Forbidden, "{message}");
                assert_eq!(engine.lsm.last_lsn(), last);
            }
        }
    }
    // In a transaction it is asked about at the step, and once more at the commit.
    let ann = ann.in_session(5);
    let tx = begin_as(&engine, &ann, false, 0);
    assert_eq!(apply_as(&engine, &ann, Some(tx), &[elsewhere]).unwrap_err().0, Status::Forbidden);
    apply_as(&engine, &ann, Some(tx), &[put, check_elsewhere]).unwrap();
    let change = doc(r#"{"grants": {"s": null}}"#);
    done(&engine, Request::AlterUser { user, change: &change });
    let commit = ask_as(&engine, &ann, Request::Commit { transaction: tx });
    assert!(matches!(commit, Said::Refused(Status::Forbidden, _)), "{commit:?}");
}

#[test]
fn in_a_transaction_conditions_are_of_its_moment_and_count_as_reads() {
    let engine = with_store();
    insert(&engine, 1, r#"{"a":1}"#);
    insert(&engine, 2, r#"{"a":2}"#);
    let (one, two) = (version(&engine, 1).unwrap(), version(&engine, 2).unwrap());
    let new = doc(r#"{"a":7}"#);
    let who = admin();
    let tx = begin_as(&engine, &who, false, 0);
    let within = |all: &[Step<'_>]| apply_as(&engine, &who, Some(tx), all);
    let read =
        |key| within_as(&engine, &who, tx, Request::ReadVersion { store: "s", key: Key(key) });
    let put = [step(Act::Put(Key(1), &new), Some(Condition::Version(one)))];
    assert_eq!(within(&put), Ok((0, vec![Key(1)])));
    // Its own write has no version yet, which is told;
    assert_eq!(read(1), Said::Versioned(0, r#"{"a":7}"#.to_owned()));
    let (status, message) = within(&put).unwrap_err();
    assert_eq!(status, Status::ConditionFailed);
    assert!(message.contains("by this transaction itself"), "{message}");
    // what failed leaves it as it was, and it goes on.
    let both = [
        step(Act::Put(Key(3), &new), None),
        step(Act::Check(Key(2)), Some(Condition::Version(two + 9))),
    ];
    assert_eq!(within(&both).unwrap_err().0, Status::ConditionFailed);
    assert_eq!(read(3), within_as(&engine, &who, tx, Request::Read { store: "s", key: Key(3) }));
    within(&[step(Act::Check(Key(2)), Some(Condition::Version(two)))]).unwrap();
    // Somebody else writes what was only checked: a conflict.
    apply(&engine, &[step(Act::Put(Key(2), &new), Some(Condition::Version(two)))]).unwrap();
    let commit = ask(&engine, Request::Commit { transaction: tx });
    assert!(matches!(commit, Said::Refused(Status::TransactionConflict, _)), "{commit:?}");
    assert_eq!(version(&engine, 1), Some(one));
    // One that only reads may check, and not write.
    let tx = begin_as(&engine, &who, true, 0);
    let check = step(Act::Check(Key(1)), Some(Condition::Version(one)));
    apply_as(&engine, &who, Some(tx), &[check]).unwrap();
    let refused = apply_as(&engine, &who, Some(tx), &[step(Act::Put(Key(1), &new), None)]);
    assert_eq!(refused.unwrap_err().0, Status::NotInTransaction);
}

#[test]
fn what_a_condition_was_compared_with_is_durable_before_it_is_told() {
    // Given a commit whose sync hangs, and what it wrote is there for who writes next,
    let (_, gate, engine) = gated("wal/", synced());
    let engine = Arc::new(engine);
    insert(&engine, 1, "{}");
    let seen = version(&engine, 1).unwrap();
    gate.close();
    let one = doc(r#"{"a":1}"#);
    let writer = {
        let (engine, one) = (Arc::clone(&engine), one.clone());
        thread::spawn(move || {
            let update = Request::Update { store: "s", key: Key(1), document: &one, upsert: false };
            ask(&engine, update)
        })
    };
    gate.wait_for_one();
    // then a condition that fails for it is not told before it is known to last;
    let asker = {
        let engine = Arc::clone(&engine);
        thread::spawn(move || {
            let put = step(Act::Put(Key(1), &one), Some(Condition::Version(seen)));
            apply(&engine, &[put])
        })
    };
    thread::sleep(Duration::from_millis(200));
    assert!(!asker.is_finished(), "it was told of what a power cut may take back");
    // and if it is known never to have been, that is told instead.
    gate.open(true);
    let (status, message) = asker.join().unwrap().unwrap_err();
    assert_eq!(status, Status::ReadOnly, "{message}");
    assert!(matches!(writer.join().unwrap(), Said::Refused(..)));
    assert_eq!(version(&engine, 1), Some(seen));
}
