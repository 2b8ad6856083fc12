//! Batches: what is sent is what was added, what the server says comes back, and a condition
//! that fails is not tried again.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod common;

use common::*;
use planck_client::proto::Request;
use planck_client::proto::doc::{Binary, DocBuf, Value};
use planck_client::proto::request::{Act, Step};
use planck_client::{Applied, Batch, Condition, Error, Key, Result, Status, Transaction};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

type Asked = Arc<Mutex<Vec<String>>>;

/// A server that knows one document, of version 7, and does any batch that asks for that.
async fn server(asked: &Asked) -> Fake {
    let asked = Arc::clone(asked);
    Fake::answering(move |_, request, reply| {
        let (within, request) = request.within();
        let told = |fields: &[(&str, Value<'_>)]| {
            let mut doc = DocBuf::new();
            for (name, value) in fields {
                doc.push(name, *value);
            }
            doc.finish().unwrap()
        };
        match request {
            Request::Begin { .. } => {
                reply.document(&told(&[("transaction", 1i64.into()), ("lsn", 7i64.into())]))
            }
            Request::Commit { .. } => reply.document(&told(&[("lsn", 8i64.into())])),
            Request::ReadVersion { key: Key(1), .. } => {
                let document = planck_client::proto::bridge::to_doc(&DOC).unwrap();
                reply.versioned(7, &document);
            }
            Request::ReadVersion { .. } => reply.error(Status::NotFound, "none"),
            Request::Apply { steps } => {
                let mut keys = Vec::new();
                let mut holds = true;
                for Step { store, act, condition } in steps.iter() {
                    let name = match act {
                        Act::Insert(..) => "insert",
                        Act::Put(..) => "put",
                        Act::Replace(..) => "replace",
                        Act::Delete(_) => "delete",
                        Act::Check(_) => "check",
                    };
                    let place = format!("{name} {store} {:?} {condition:?}", act.key());
                    asked.lock().unwrap().push(place);
                    keys.extend(act.key().unwrap_or(Key(99)).to_bytes());
                    holds &= !matches!(condition, Some(Condition::Version(n)) if n != 7);
                    assert!(act.document().is_none_or(|bytes| bytes.len() > 5), "the document");
                }
                if !holds {
                    return reply.error(Status::ConditionFailed, "it has version 7");
                }
                let version = if within.is_some() { 0i64 } else { 8 };
                let keys = Value::Binary(Binary { subtype: 0, bytes: &keys });
                reply.document(&told(&[("version", version.into()), ("keys", keys)]));
            }
            _ => reply.empty(),
        }
    })
    .await
}

const DOC: BTreeMap<String, u64> = BTreeMap::new();

#[tokio::test]
async fn steps_are_sent_as_they_were_added() {
    let asked = Asked::default();
    let server = server(&asked).await;
    let client = client(server.config());
    let (s, log) = (client.store("s"), client.store("log"));
    let found = soon(s.get_versioned(Key(1))).await.unwrap().unwrap();
    assert_eq!((found.version, &found.value), (7, &DOC));
    assert!(soon(s.get_versioned(Key(2))).await.unwrap().is_none());
    let mut batch = Batch::new();
    assert!(batch.is_empty());
    let document = BTreeMap::from([("n".to_owned(), 1u64)]);
    batch.replace(&s, Key(1), &document, Condition::Version(found.version)).unwrap();
    batch.insert(&log, None, &document, None).unwrap();
    batch.insert(&log, Some(Key(3)), &document, Condition::Absent).unwrap();
    batch.put(&s, Key(4), &document, None).unwrap().delete(&log, Key(5), Condition::Present);
    batch.check(&log, Key(6), Condition::Absent);
    assert_eq!(batch.len(), 6);
    let applied = soon(client.apply(&batch)).await.unwrap();
    let keys = [1, 99, 3, 4, 5, 6].map(Key).to_vec();
    assert_eq!(applied, Applied { version: 8, keys });
    let key = |n| Some(Key(n));
    assert_eq!(
        *asked.lock().unwrap(),
        [
            format!("replace s {:?} Some(Version(7))", key(1)),
            "insert log None None".to_owned(),
            format!("insert log {:?} Some(Absent)", key(3)),
            format!("put s {:?} None", key(4)),
            format!("delete log {:?} Some(Present)", key(5)),
            format!("check log {:?} Some(Absent)", key(6)),
        ]
    );
}

#[tokio::test]
async fn a_condition_that_fails_is_told_and_not_tried_again() {
    let asked = Asked::default();
    let server = server(&asked).await;
    let client = client(server.config()).repeating();
    let mut batch = Batch::new();
    batch.delete(&client.store::<u64>("s"), Key(1), Condition::Version(6));
    let error = soon(client.apply(&batch)).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::ConditionFailed));
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn it_may_be_part_of_a_transaction() {
    let asked = Asked::default();
    let server = server(&asked).await;
    let client = client(server.config());
    let work = async |tx: &Transaction| -> Result<Applied> {
        let mut batch = Batch::new();
        batch.delete(&tx.store::<u64>("s"), Key(1), Condition::Version(7));
        tx.apply(&batch).await
    };
    let applied = soon(client.transaction(work)).await.unwrap();
    assert_eq!(applied, Applied { version: 0, keys: vec![Key(1)] });
}

#[tokio::test]
async fn what_no_message_holds_is_not_sent() {
    let asked = Asked::default();
    let server = server(&asked).await;
    let mut config = server.config();
    config.connect.max_message_size = 4096;
    let client = client(config);
    let store = client.store("s");
    let apply = async |bytes: usize| {
        let mut batch = Batch::new();
        let document = BTreeMap::from([("text".to_owned(), "x".repeat(bytes))]);
        batch.put(&store, Key(1), &document, None)?;
        client.apply(&batch).await
    };
    // What stands around the text: found once, so that the edge is one of a byte.
    let error = soon(apply(9000)).await.unwrap_err().to_string();
    let whole: usize = error.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    let most = 4096 - (whole - 9000);
    soon(apply(most)).await.unwrap();
    let error = soon(apply(most + 1)).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(why) if why.contains("4097")), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 1);
}
