//! All that a guest does in one call, as one transaction.

use std::sync::Arc;

use platform::sim::SimDisk;
use proto::{Key, Reply, Request, Status};

use super::kit::*;
use crate::{CallTransaction, Engine, Principal};

/// What a guest asks in one call.
fn in_call(engine: &Engine, call: &mut CallTransaction, request: Request<'_>) -> Said {
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    request.encode(77, &mut packet);
    engine.dispatch_in_call(&guest(), call, &packet, &mut out);
    said(&out)
}

fn guest() -> Principal {
    Principal::service("shop").in_session(9)
}

#[test]
fn a_guest_s_call_is_one_transaction_from_its_first_operation_on_documents() {
    let engine = with_store();
    let mut call = CallTransaction::default();
    let document = doc("{}");
    let put =
        |store, key| Request::Update { store, key: Key(key), document: &document, upsert: true };
    // What is not about documents is done at once, and by itself.
    assert_eq!(in_call(&engine, &mut call, create("t")), Said::Empty);
    assert!(!call.is_open() && engine.catalogs.read().stores.contains_key("t"));
    assert_eq!(in_call(&engine, &mut call, put("t", 1)), Said::Key(Key(1)));
    assert_eq!(in_call(&engine, &mut call, put("s", 1)), Said::Key(Key(1)));
    assert_eq!(in_call(&engine, &mut call, query("s.count()")), Said::Count(1));
    assert!(call.is_open() && call.may_run_again());
    assert_eq!(all(&engine).len(), 0);
    // Back to a place in it.
    let savepoint = Request::Savepoint { transaction: 0 };
    let Said::Count(savepoint) = in_call(&engine, &mut call, savepoint) else { panic!("none") };
    in_call(&engine, &mut call, put("s", 2));
    let rollback = Request::Rollback { transaction: 0, savepoint };
    assert_eq!(in_call(&engine, &mut call, rollback), Said::Empty);
    let before = engine.lsm.last_lsn();
    engine.commit_call(&guest(), call).unwrap();
    assert_eq!((engine.lsm.last_lsn(), all(&engine).len()), (before + 1, 1));
    // Dropped, it leaves no trace; nor what it let go of by itself.
    let mut call = CallTransaction::default();
    in_call(&engine, &mut call, put("s", 3));
    assert_eq!(in_call(&engine, &mut call, Request::Abort { transaction: 0 }), Said::Empty);
    assert!(!call.is_open());
    assert_eq!(in_call(&engine, &mut call, query("s.count()")), Said::Count(1));
    in_call(&engine, &mut call, put("s", 4));
    drop(call);
    assert_eq!(all(&engine).len(), 1);
    // What it has committed by itself is not to be done twice.
    let mut call = CallTransaction::default();
    in_call(&engine, &mut call, put("s", 3));
    let commit = Request::Commit { transaction: 0 };
    assert!(matches!(in_call(&engine, &mut call, commit), Said::Document(_)));
    assert!(!call.may_run_again() && !call.is_open());
    assert_eq!(all(&engine).len(), 2);
    // Disturbed, nothing of it is done.
    let mut call = CallTransaction::default();
    in_call(&engine, &mut call, query("s.filter(key >= '00').set({a: 1})"));
    insert(&engine, 9, "{}");
    let refusal = engine.commit_call(&guest(), call).unwrap_err();
    assert_eq!(refusal.status, Status::TransactionConflict);
    assert_eq!(done(&engine, query("s.filter(a = 1).count()")), Said::Count(0));
    // A call that looks for a store, does not find it and makes it, finds it then; once it has
    // written, what is made beside it is there for the next call.
    let mut call = CallTransaction::default();
    let read = |store| Request::Read { store, key: Key(1) };
    let unknown = |said| matches!(said, Said::Refused(Status::UnknownStore, _));
    assert!(unknown(in_call(&engine, &mut call, read("u"))));
    assert_eq!(in_call(&engine, &mut call, create("u")), Said::Empty);
    assert_eq!(in_call(&engine, &mut call, put("u", 1)), Said::Key(Key(1)));
    assert_eq!(in_call(&engine, &mut call, create("v")), Said::Empty);
    assert!(unknown(in_call(&engine, &mut call, put("v", 1))));
    assert_eq!(in_call(&engine, &mut call, query("u.count()")), Said::Count(1));
    engine.commit_call(&guest(), call).unwrap_err();
    let mut call = CallTransaction::default();
    assert_eq!(in_call(&engine, &mut call, put("v", 1)), Said::Key(Key(1)));
    engine.commit_call(&guest(), call).unwrap();
    // Nonsense is answered as ever.
    let mut out = Vec::new();
    engine.dispatch_in_call(&guest(), &mut CallTransaction::default(), b"nonsense", &mut out);
    assert!(matches!(Reply::decode(&out).unwrap().1, Reply::Error { .. }));
}

#[test]
fn what_does_not_fit_the_disk_is_refused_whole_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new(1);
    let engine = open_on(Arc::clone(&disk), synced());
    done(&engine, create("s"));
    let large = doc_of(40 << 10);
    let fill = |engine: &Engine, n: u128| {
        let mut call = CallTransaction::latest();
        for key in [Key(2 * n), Key(2 * n + 1)] {
            let put = Request::Update { store: "s", key, document: &large, upsert: true };
            assert_eq!(in_call(engine, &mut call, put), Said::Key(key));
        }
        engine.commit_call(&guest(), call)
    };
    fill(&engine, 0).unwrap();
    disk.set_capacity(Some(disk.used()));
    let (mut n, mut refused) = (1, None);
    // The log's file has some room of its own.
    while refused.is_none() && n < 2000 {
        refused = fill(&engine, n).err();
        n += u128::from(refused.is_none());
    }
    let refused = refused.expect("it is full");
    assert!(refused.message.contains("space"), "{}", refused.message);
    assert_eq!(done(&engine, query("s.count()")), Said::Count(2 * n as u64), "all or nothing");
    disk.set_capacity(None);
    fill(&engine, n).unwrap();
    assert_eq!(done(&engine, query("s.count()")), Said::Count(2 * n as u64 + 2));
}
