//! What a replica answers, and to whom.

use super::*;

#[test]
fn what_writes_is_refused_with_the_address_of_the_primary() {
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    let (document, change) = (doc("{}"), doc(r#"{"ttl": null}"#));
    let (user, index) = (doc(r#"{"role": "none"}"#), doc(r#"{"fields": ["b"]}"#));
    let (store, key) = ("s", Key(1));
    let mut steps = proto::request::StepsBuf::new();
    let act = proto::request::Act::Put(key, &document);
    steps.push(proto::request::Step { store, act, condition: None });
    let batch = batch(&[(None, "{}")]);
    for request in [
        Request::Insert { store, key: None, document: &document },
        Request::BatchInsert { store, batch: batch.as_batch() },
        Request::Update { store, key, document: &document, upsert: true },
        Request::Delete { store, key },
        Request::Apply { steps: steps.as_steps() },
        query("s.insert({a: 1})"),
        query("s.filter(a = 1).set({a: 2})"),
        query("s.filter(a = 1).delete()"),
        Request::Stream { rows: 0, bytes: 0, text: "s.filter(a = 1).delete()", parameters: None },
        create("t"),
        Request::CreateStore { store: "t", if_not_exists: true },
        drop_store("s"),
        Request::AlterStore { store, change: &change },
        Request::CreateIndex { store, if_not_exists: true, definition: &index },
        Request::DropIndex { store, index: "x", if_exists: false },
        Request::CreateSequence { sequence: "n", if_not_exists: true },
        Request::NextNumbers { sequence: "n", count: 1 },
        Request::CreateUser { user: "u", if_not_exists: true, definition: &user },
        Request::AlterUser { user: "u", change: &user },
        Request::DropUser { user: "u", if_exists: false },
        Request::CreateKey { user: "u", definition: &user },
        Request::RevokeKey { user: "u", key: "k", if_exists: false },
        Request::Schedule { job: &document },
        Request::RetryJob { job: key },
    ] {
        refused(&replica, request, Status::NotLeader, &["primary", "db.example:24010"]);
    }
    // What finds nothing to change is no write.
    done(&replica, Request::CreateStore { store, if_not_exists: true });
    done(&replica, Request::DropStore { store: "none", if_exists: true });
    done(&replica, query("s.filter(a = 1).delete().explain()"));
    done(&replica, Request::Flush);
    // In a transaction: what reads is carried out.
    let begun = done(&replica, Request::Begin { read_only: false, millis: 0 });
    let Said::Document(text) = begun else { panic!("{begun:?}") };
    assert!(text.contains(r#""transaction": 1"#) || text.contains("transaction"), "{text}");
    let mut room = Vec::new();
    let part = proto::request::Part::of(&read(1), &mut room);
    done(&replica, Request::Within { transaction: 1, part });
    let mut room = Vec::new();
    let insert = Request::Insert { store, key: None, document: &document };
    let part = proto::request::Part::of(&insert, &mut room);
    let within = Request::Within { transaction: 1, part };
    refused(&replica, within, Status::NotLeader, &["db.example:24010"]);
    done(&replica, Request::Commit { transaction: 1 });
    // The engine's own work commits nothing either.
    let before = replica.lsm.last_lsn();
    while replica.tend().unwrap() {}
    assert_eq!(replica.lsm.last_lsn(), before);
}

#[test]
fn who_may_follow_is_a_replica_or_an_admin() {
    let (primary, replica, _) = pair();
    let what = replica.follow_request(1 << 20, 0).unwrap();
    for role in Role::ALL {
        let who = Principal::new("u", role);
        let asked = document(&primary, &who, Request::Follow { what: &what });
        let may = matches!(role, Role::Replica | Role::Admin);
        assert_eq!(asked.is_ok(), may, "{}", role.name());
        // And nothing else.
        let reads = ask_as(&primary, &who, read(1));
        assert_eq!(matches!(reads, Said::Refused(..)), role < Role::ReadOnly, "{}", role.name());
    }
}

#[test]
fn watchers_of_a_replica_see_what_is_committed_at_the_primary_and_go_on_at_either() {
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    let what = doc(r#"{"stores": ["s"], "since": 0}"#);
    let watch = |engine: &Engine, what: &[u8]| {
        text_of(&document(engine, &admin(), Request::Watch { what }).unwrap())
    };
    insert(&primary, 2, r#"{"n": 2}"#);
    follow(&primary, &replica);
    let lsn = primary.lsm.last_lsn() - 1;
    let since = doc(&format!(r#"{{"stores": ["s"], "since": {lsn}}}"#));
    let told = watch(&replica, &since);
    assert!(told.contains(r#""op": "insert""#) || told.contains("insert"), "{told}");
    assert_eq!(told, watch(&primary, &since), "token and all");
    drop(what);
}

#[test]
fn a_user_dropped_at_the_primary_is_out_at_the_replica_and_others_stay_in() {
    let (primary, replica, _) = pair();
    for user in ["ann", "bob"] {
        let definition = doc(r#"{"role": "read_only", "key": "a-key-of-my-own-choice"}"#);
        done(&primary, Request::CreateUser { user, if_not_exists: false, definition: &definition });
    }
    follow(&primary, &replica);
    let ann = replica.authenticate("ann", "a-key-of-my-own-choice").unwrap();
    let bob = replica.authenticate("bob", "a-key-of-my-own-choice").unwrap();
    assert!(!matches!(ask_as(&replica, &ann, read(1)), Said::Refused(..)));
    done(&primary, Request::DropUser { user: "ann", if_exists: false });
    done(&primary, create("more"));
    follow(&primary, &replica);
    let said = ask_as(&replica, &ann, read(1));
    assert!(matches!(said, Said::Refused(Status::NotAuthenticated, _)), "{said:?}");
    assert!(!matches!(ask_as(&replica, &bob, read(1)), Said::Refused(..)));
}

#[test]
fn a_guest_that_would_write_is_answered_for_and_one_that_reads_is_not() {
    use crate::{Calls, Concluded};
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    let calls = Calls::new(Arc::new(replica), Principal::service("shop"), 1000, true);
    let response = |status| {
        let mut out = Vec::new();
        proto::http::write_response(&mut out, status, &proto::http::HeadersBuf::default(), b"");
        out
    };
    let conclude = |requests: &[Request<'_>], status| {
        let call = calls.begin_write(1, false);
        for request in requests {
            let (mut packet, mut reply) = (Vec::new(), Vec::new());
            request.encode(1, &mut packet);
            calls.request(call, &packet, &mut reply);
        }
        let (concluded, _) = calls.conclude(call, (1, false), &response(status), None);
        calls.end(call);
        concluded
    };
    let document = doc("{}");
    let insert = Request::Insert { store: "s", key: None, document: &document };
    assert_eq!(conclude(&[read(1)], 200), Concluded::Stands);
    assert_eq!(conclude(&[read(1)], 500), Concluded::Stands);
    let Concluded::Refused(refusal) = conclude(&[insert], 500) else { panic!() };
    assert_eq!(refusal.status, Status::NotLeader);
    assert!(refusal.message.contains("db.example:24010"), "{refusal}");
    // The guest has made something of it.
    assert_eq!(conclude(&[insert], 200), Concluded::Stands);
}
