//! Traces: which there are, what they hold, and what is dropped.

use super::*;

fn tracer(per_mille: u64, trusts: bool) -> (Tracer, mpsc::Receiver<Finished>) {
    let (queue, finished) = mpsc::channel(2);
    (Tracer { queue, per_mille, trusts, figures: Arc::default() }, finished)
}

fn parent(sampled: bool) -> Option<Parent> {
    Some(Parent { trace: 7, span: 9, sampled })
}

#[test]
fn all_or_none_or_some_are_traced() {
    let count = |per_mille, trusts, parent| {
        let (tracer, _finished) = tracer(per_mille, trusts);
        (0..1000).filter(|_| tracer.begin(parent).is_some()).count()
    };
    assert_eq!((count(0, false, None), count(1000, false, None)), (0, 1000));
    assert!((300..700).contains(&count(500, false, None)));
    // Who calls is not asked,
    assert_eq!((count(0, false, parent(true)), count(1000, false, parent(false))), (0, 1000));
    // unless that is wanted; their trace goes on either way.
    assert_eq!((count(0, true, parent(true)), count(1000, true, parent(false))), (1000, 0));
    assert_eq!((count(0, true, None), count(1000, true, None)), (0, 1000));
    let trace = tracer(1000, false).0.begin(parent(false)).unwrap();
    assert_eq!((trace.id, trace.parent), (7, Some(9)));
}

#[test]
fn a_trace_has_so_many_spans_and_the_rest_is_counted() {
    let (tracer, mut finished) = tracer(1000, false);
    let trace = tracer.begin(None).unwrap();
    for _ in 0..SPANS + 3 {
        trace.host_request(Instant::now(), Vec::new(), false, &[], 0);
    }
    tracer.finish(&trace, Vec::new(), false);
    assert_eq!(finished.try_recv().unwrap().spans.len(), SPANS + 1);
    assert_eq!(tracer.figures.dropped.load(Relaxed), 3);
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_counted() {
    let (tracer, mut finished) = tracer(1000, false);
    for _ in 0..3 {
        let trace = tracer.begin(None).unwrap();
        trace.host_request(Instant::now(), Vec::new(), false, &[], 0);
        tracer.finish(&trace, Vec::new(), false);
    }
    assert_eq!(tracer.figures.dropped.load(Relaxed), 2, "the spans of one trace");
    assert!(finished.try_recv().is_ok() && finished.try_recv().is_ok());
    assert!(finished.try_recv().is_err());
}

#[test]
fn a_thread_knows_the_trace_of_the_guest_it_runs() {
    let (tracer, mut finished) = tracer(1000, false);
    let trace = tracer.begin(None).unwrap();
    let following = Following(Arc::clone(&trace));
    assert!(Trace::current().is_none());
    following.begins();
    let committed = [Committed { lsn: 4, begun: 100, logged: 110, ended: 150 }];
    Trace::current().unwrap().host_request(Instant::now(), Vec::new(), true, &committed, 150);
    following.ends(false);
    assert!(Trace::current().is_none());
    tracer.finish(&trace, Vec::new(), false);
    let spans = finished.try_recv().unwrap().spans;
    let of = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let [host, commit, wait] = ["host request", "commit", "wait for sync"].map(of);
    assert_eq!(of("HTTP request").parent, None);
    assert_eq!(of("guest call").parent, Some(trace.root));
    assert_eq!((host.parent, host.failed), (Some(of("guest call").id), true));
    assert_eq!((commit.parent, wait.parent), (Some(host.id), Some(commit.id)));
    assert_eq!((commit.ended - commit.begun, wait.ended - wait.begun), (50, 40));
    assert_eq!(commit.attributes, [("planck.lsn", Value::Number(4))]);
}
