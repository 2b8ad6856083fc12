//! When jobs are due, and firings of a timetable.

use super::*;

#[test]
fn jobs_are_due_in_the_order_of_their_time_and_not_before() {
    let World { engine, clock, told, .. } = world();
    let in_ms = |n: u32| schedule(&engine, &format!(r#"{{"path": "/a", "in_ms": {n}}}"#));
    let (third, first, second, late) = (in_ms(30), in_ms(10), in_ms(20), in_ms(1000));
    assert_eq!(told.load(SeqCst), 4);
    let nothing = engine.due_jobs(9, |_| false).unwrap();
    let now = i64::try_from(NOW / 1000).unwrap();
    assert_eq!((nothing.now, nothing.next), (vec![], Some(now + 10)));
    assert_eq!(engine.take_job(first).unwrap(), None, "it is not due");
    clock.advance(Duration::from_millis(30));
    assert_eq!(due(&engine), [first, second, third]);
    let some = engine.due_jobs(1, |key| key == first).unwrap();
    assert_eq!((some.now, some.next), (vec![second], Some(now + 30)));
    // Its time can be changed, and it can be taken away, as any document's.
    let text = format!("_jobs.filter(key = '{third}').set({{state: 'mine'}})");
    done(&engine, query(&text));
    done(&engine, Request::Delete { store: "_jobs", key: second });
    assert_eq!(due(&engine), [first, third]);
    assert_eq!(told.load(SeqCst), 6, "each write is told");
    let told = figures(&engine);
    assert_eq!((told.waiting, told.due, told.oldest_due_millis), (3, 2, 20));
    clock.advance(Duration::from_millis(970));
    assert_eq!(due(&engine), [first, third, late]);
}

#[test]
fn a_firing_becomes_one_job_with_its_note() {
    let World { engine, clock, disk, told } = world();
    let now = i64::try_from(NOW / 1000).unwrap();
    let entry = |when: &str| engine.cron_entry("nightly", when, &doc(A)).unwrap();
    let nightly = entry("0 3 * * * UTC");
    assert_eq!(engine.cron_last(&nightly).unwrap(), None);
    assert_eq!(engine.note_cron(&nightly, now, false).unwrap(), None);
    let before = engine.lsm.last_lsn();
    let key = engine.note_cron(&nightly, now + 10, true).unwrap().expect("it fires");
    assert_eq!(engine.lsm.last_lsn(), before + 1, "one commit");
    // Neither it nor one before comes again, after a restart neither.
    for at in [now + 10, now + 9, now] {
        assert_eq!(engine.note_cron(&nightly, at, true).unwrap(), None);
    }
    clock.advance(Duration::from_millis(10));
    let job = engine.take_job(key).unwrap().expect("it is due then");
    assert_eq!((job.cron.as_deref(), job.due), (Some("nightly"), now + 10));
    engine.close().unwrap();
    let engine = open_at(clock, disk, options());
    begin(&engine, JobOptions::default(), &told);
    assert_eq!(engine.note_cron(&nightly, now + 10, true).unwrap(), None);
    assert_eq!(engine.cron_last(&nightly).unwrap(), Some(now + 10));
    assert_eq!(count(&engine, "_jobs"), 1);
    // One that says something else begins anew.
    let hourly = engine.cron_entry("nightly", "0 * * * * UTC", &doc(A)).unwrap();
    assert_eq!(engine.cron_last(&hourly).unwrap(), None);
    assert_eq!(engine.cron_entry("x", "", &doc("{}")).unwrap_err().status, Status::BadJob);
}

#[test]
fn a_thousand_jobs_are_done_each_once_in_order() {
    let World { engine, clock, .. } = world();
    let mut keys: Vec<Key> = Vec::new();
    for n in 0..1000u64 {
        // In no order at all.
        let millis = n.wrapping_mul(7919) % 1000;
        let key = schedule(&engine, &format!(r#"{{"path": "/a", "in_ms": {millis}}}"#));
        keys.push(key);
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(figures(&engine).due, 1000);
    let mut done = Vec::new();
    loop {
        let some = engine.due_jobs(64, |_| false).unwrap().now;
        if some.is_empty() {
            break;
        }
        for key in some {
            let job = engine.take_job(key).unwrap().unwrap();
            assert!(engine.end_job(job.claim(), &JobEnd::Done).unwrap());
            done.push((job.due, key));
        }
    }
    assert!(done.windows(2).all(|pair| pair[0].0 <= pair[1].0), "by time");
    let mut found: Vec<Key> = done.into_iter().map(|(_, key)| key).collect();
    found.sort_unstable();
    assert_eq!(found, keys, "each once");
    assert_eq!((count(&engine, "_jobs"), figures(&engine).done), (0, 1000));
}

#[test]
fn stats_tell_of_jobs_where_there_may_be_any() {
    let stats = |engine: &Engine| text_of(&engine.stats().unwrap());
    assert!(!stats(&with_store()).contains("\"jobs\""));
    let World { engine, .. } = world();
    schedule(&engine, A);
    assert!(stats(&engine).contains(r#""jobs":{"waiting":1,"due":1,"running":0,"#));
    engine.jobs_at_work(3);
    assert!(stats(&engine).contains(r#""running":3"#));
    let mut packet = Vec::new();
    engine.dispatch(&admin(), 77, Request::Stats, &mut packet);
    assert!(matches!(Reply::decode(&packet).unwrap().1, Reply::Document(_)));
}
