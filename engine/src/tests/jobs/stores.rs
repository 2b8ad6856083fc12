//! The stores of jobs: whose they are, and who may write to them.

use super::*;

#[test]
fn the_stores_are_the_system_s_and_writing_to_them_is_a_right_of_its_own() {
    let World { engine, .. } = world();
    let (ttl, rename) =
        (doc(r#"{"ttl": {"field": "failed", "seconds": 60}}"#), doc(r#"{"rename": "x"}"#));
    let schema = doc(r#"{"schema": "{}"}"#);
    let own = &["system's own"];
    for store in ["_jobs", "_dead_jobs", "_cron"] {
        refused(&engine, drop_store(store), Status::BadChange, own);
        for change in [&rename, &schema] {
            refused(&engine, Request::AlterStore { store, change }, Status::BadChange, own);
        }
        if store != "_dead_jobs" {
            refused(&engine, Request::AlterStore { store, change: &ttl }, Status::BadChange, own);
        }
        let drop = Request::DropIndex { store, index: "due", if_exists: true };
        refused(&engine, drop, Status::BadChange, own);
    }
    done(&engine, Request::AlterStore { store: "_dead_jobs", change: &ttl });
    // A role for all stores is none for these.
    let job = doc(A);
    let key = schedule(&engine, A);
    let (writer, document) = (Principal::new("w", Role::ReadWrite), doc("{}"));
    for request in [
        Request::Schedule { job: &job },
        Request::RetryJob { job: Key(1) },
        Request::Insert { store: "_jobs", key: None, document: &document },
        Request::Delete { store: "_jobs", key },
        query("_jobs.filter(path = '/a').delete()"),
        query("_dead_jobs.insert({a: 1})"),
    ] {
        refused_as(&engine, &writer, request, Status::Forbidden, &["schedule jobs"]);
        let tx = begin_as(&engine, &writer, false, 0);
        let mut room = Vec::new();
        let part = Part::of(&request, &mut room);
        let within = Request::Within { transaction: tx, part };
        refused_as(&engine, &writer, within, Status::Forbidden, &["schedule jobs"]);
    }
    assert_eq!(ask_as(&engine, &writer, query("_jobs.count()")), Said::Count(1));
    let service = Principal::service("service");
    assert!(matches!(ask_as(&engine, &service, Request::Schedule { job: &job }), Said::Key(_)));
    // Who was granted it there may, whatever the role; and who was granted less may not.
    let key = "correct-horse-battery";
    for (granted, may) in [("read_write", true), ("read_only", false)] {
        let definition = doc(&format!(
            r#"{{"role": "read_only", "key": "{key}", "grants": {{"_jobs": "{granted}"}}}}"#
        ));
        let definition = &definition;
        done(&engine, Request::CreateUser { user: granted, if_not_exists: false, definition });
        let who = engine.authenticate(granted, key).unwrap();
        let said = ask_as(&engine, &who, Request::Schedule { job: &job });
        assert_eq!(matches!(said, Said::Key(_)), may, "{said:?}");
        // Of the other store nothing was granted.
        let back = Request::RetryJob { job: Key(1) };
        refused_as(&engine, &who, back, Status::Forbidden, &["schedule jobs"]);
    }
}

#[test]
fn writes_under_conditions_are_writes_to_the_stores_of_jobs_as_others_are() {
    let World { engine, told, .. } = world();
    let key = schedule(&engine, A);
    let mut steps = StepsBuf::new();
    steps.push(Step { store: "_jobs", act: Act::Delete(key), condition: None });
    let apply = Request::Apply { steps: steps.as_steps() };
    let writer = Principal::new("w", Role::ReadWrite);
    refused_as(&engine, &writer, apply, Status::Forbidden, &["schedule jobs"]);
    let before = told.load(SeqCst);
    assert!(matches!(ask(&engine, apply), Said::Document(_)));
    assert_eq!((told.load(SeqCst), due(&engine)), (before + 1, vec![]), "who waits is told");
}
