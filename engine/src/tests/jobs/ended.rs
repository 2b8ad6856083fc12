//! What becomes of a job that was tried.

use super::*;

#[test]
fn what_a_call_did_and_that_its_job_is_done_are_one_commit() {
    let World { engine, .. } = world();
    let document = doc("{}");
    let insert = Request::Insert { store: "s", key: None, document: &document };
    let key = schedule(&engine, A);
    let taken = claim(&engine, key);
    // It fails: nothing of it is there, and the job is.
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    drop(call);
    assert_eq!((count(&engine, "s"), due(&engine)), (0, vec![key]));
    // Done.
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    let before = engine.lsm.last_lsn();
    assert!(engine.end_job_in_call(&guest(), call, taken, &JobEnd::Done).unwrap());
    assert_eq!(engine.lsm.last_lsn(), before + 1);
    assert_eq!((count(&engine, "s"), count(&engine, "_jobs")), (1, 0));
    // A second time it is not there, and nothing takes effect.
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    assert!(!engine.end_job_in_call(&guest(), call, taken, &JobEnd::Done).unwrap());
    assert_eq!(count(&engine, "s"), 1);
    // Taken away while it runs: a conflict, and then it is not there.
    let key = schedule(&engine, A);
    let taken = claim(&engine, key);
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    done(&engine, Request::Delete { store: "_jobs", key });
    let refusal = engine.end_job_in_call(&guest(), call, taken, &JobEnd::Done).unwrap_err();
    assert_eq!(refusal.status, Status::TransactionConflict, "{refusal}");
    assert_eq!(count(&engine, "s"), 1);
    // A call that asked for nothing, or took effect by its own word, ends its job too.
    for asks in [false, true] {
        let taken = claim(&engine, schedule(&engine, A));
        let mut call = CallTransaction::default().of_job();
        if asks {
            in_call(&engine, &mut call, insert);
            in_call(&engine, &mut call, Request::Commit { transaction: 0 });
        }
        assert!(engine.end_job_in_call(&guest(), call, taken, &JobEnd::Done).unwrap());
    }
    assert_eq!((count(&engine, "s"), count(&engine, "_jobs")), (2, 0));
    assert_eq!(figures(&engine).done, 3);
    // What refuses is given up, with what it wrote.
    let taken = claim(&engine, schedule(&engine, A));
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    let end = JobEnd::Refused("it said 404".to_owned());
    assert!(engine.end_job_in_call(&guest(), call, taken, &end).unwrap());
    assert_eq!((count(&engine, "s"), count(&engine, "_jobs")), (3, 0));
    assert_eq!(rows(&engine, "_dead_jobs.pluck(error)"), [r#"{"error":"it said 404"}"#]);
}

#[test]
fn one_comes_again_no_earlier_than_was_asked_for_within_a_day() {
    let day = 24 * 3600 * 1000;
    let retry = Retry { max_attempts: 99, base_millis: 1000, most_millis: 1000 };
    let World { engine, clock, .. } = world_of(JobOptions { retry, ..JobOptions::default() });
    let key = schedule(&engine, A);
    for (asked, given) in [(1, 1), (5000, 5000), (day, day), (day + 1, day), (u64::MAX, day)] {
        for fails in [true, false] {
            let taken = claim(&engine, key);
            let later = Later { why: "not now".to_owned(), asked_millis: asked };
            let end = if fails { JobEnd::Failed(later) } else { JobEnd::Postponed(later) };
            assert!(engine.end_job(taken, &end).unwrap());
            let pause = given + retry.pause(key, taken.attempts + u32::from(fails));
            clock.advance(Duration::from_millis(pause - 1));
            assert_eq!(due(&engine), [], "{asked}");
            clock.advance(Duration::from_millis(1));
            assert_eq!(due(&engine), [key], "{asked}");
        }
    }
}

#[test]
fn one_that_fails_comes_again_later_each_time_and_is_given_up_in_the_end() {
    let retry = Retry { max_attempts: 3, base_millis: 1000, most_millis: 1500 };
    let World { engine, clock, disk, told } =
        world_of(JobOptions { retry, ..JobOptions::default() });
    let key = schedule(&engine, A);
    for (attempt, pause) in [(1, retry.pause(key, 1)), (2, retry.pause(key, 2))] {
        let taken = claim(&engine, key);
        assert_eq!(taken.attempts, attempt - 1);
        let why = format!("no {attempt}");
        assert!(engine.end_job(taken, &JobEnd::Failed(Later::of(why.clone()))).unwrap());
        assert!(!engine.end_job(taken, &JobEnd::Done).unwrap(), "it was another attempt");
        let said = rows(&engine, "_jobs.pluck(state, attempts, error)");
        assert_eq!(
            said,
            [format!(r#"{{"state":"retrying","attempts":{attempt},"error":"{why}"}}"#)]
        );
        clock.advance(Duration::from_millis(pause - 1));
        assert_eq!(due(&engine), []);
        clock.advance(Duration::from_millis(1));
        assert_eq!(due(&engine), [key]);
    }
    // Put off does not count.
    let taken = claim(&engine, key);
    assert!(engine.end_job(taken, &JobEnd::Postponed(Later::of("full"))).unwrap());
    assert_eq!(due(&engine), []);
    clock.advance(Duration::from_secs(2));
    let last = claim(&engine, key);
    assert_eq!(last.attempts, 2);
    assert!(engine.end_job(last, &JobEnd::Failed(Later::of("no 3"))).unwrap());
    assert_eq!((count(&engine, "_jobs"), count(&engine, "_dead_jobs")), (0, 1));
    let dead = rows(&engine, "_dead_jobs.pluck(path, state, attempts, error)");
    assert_eq!(dead, [r#"{"path":"/a","state":"dead","attempts":3,"error":"no 3"}"#]);
    let figures = figures(&engine);
    assert_eq!((figures.failed, figures.given_up, figures.postponed), (3, 1, 1));
    // It can be put back, and then is as new; after a restart too.
    engine.close().unwrap();
    let engine = open_at(clock, disk, options());
    begin(&engine, JobOptions { retry, ..JobOptions::default() }, &told);
    assert_eq!(done(&engine, Request::RetryJob { job: key }), Said::Empty);
    refused(&engine, Request::RetryJob { job: key }, Status::NotFound, &["_dead_jobs"]);
    assert_eq!(claim(&engine, key), Claim { key, attempts: 0 });
    assert_eq!((count(&engine, "_jobs"), count(&engine, "_dead_jobs")), (1, 0));
    assert_eq!(rows(&engine, "_jobs.filter(error exists)"), Vec::<String>::new());
}

#[test]
fn what_somebody_wrote_that_is_no_job_is_given_up_and_stands_in_nobody_s_way() {
    let World { engine, .. } = world();
    let date = r#"{"$date": "2023-01-01T00:00:00Z"}"#;
    for (key, fields) in [
        (1, r#""kind": "rout""#),
        (2, r#""kind": "upstream", "method": "GET", "path": "/""#),
        (3, r#""kind": "route", "method": "GET", "path": "x""#),
        (4, r#""kind": "route", "method": "GET", "path": "/", "headers": {"planck-job": "1"}"#),
        (5, r#""kind": "route", "method": "GET", "path": "/", "payload": 7"#),
    ] {
        let document = doc(&format!(r#"{{{fields}, "due": {date}}}"#));
        done(&engine, Request::Insert { store: "_jobs", key: Some(Key(key)), document: &document });
    }
    // Never due.
    let document = doc(r#"{"kind": "route", "method": "GET", "path": "/", "due": 7}"#);
    done(&engine, Request::Insert { store: "_jobs", key: Some(Key(9)), document: &document });
    let good = schedule(&engine, A);
    for key in due(&engine) {
        assert_eq!(engine.take_job(key).unwrap().is_some(), key == good, "{key}");
    }
    assert_eq!((due(&engine), count(&engine, "_dead_jobs")), (vec![good], 5));
    assert_eq!(count(&engine, "_jobs"), 2);
    let said = rows(&engine, "_dead_jobs.filter(error ~ 'no job').pluck(attempts)");
    assert_eq!(said.len(), 5, "{said:?}");
}
