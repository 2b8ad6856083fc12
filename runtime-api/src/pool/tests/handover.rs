//! One pool after another.

use super::{Closer, Rig, options};
use crate::TrapKind;
use crate::pool::{Failure, PoolOptions, PoolStats, tidy, vacate};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

/// Its instances are numbered from `first` on.
fn rig(first: u64, options: PoolOptions) -> Rig {
    let rig = Rig::new(options);
    rig.fake.made.store(first, Ordering::SeqCst);
    rig
}

#[test]
fn what_waits_and_what_comes_is_the_next_ones_and_what_runs_ends_where_it_runs() {
    let (old, new) = (rig(0, options(1, 1)), rig(100, options(1, 1)));
    old.run(|old| {
        new.run(|new| {
            let running = old.send(b"wait");
            old.until(|stats| stats.busy == 1);
            let waiting = [old.send(b"a"), old.send(b"b")];
            new.pool.await_ready().expect("it starts");
            old.pool.retire(&new.pool);
            for (answer, text) in waiting.into_iter().zip(["100a", "100b"]) {
                let answer = answer.recv().expect("an answer").expect("no refusal");
                assert_eq!(answer.body, text.as_bytes());
            }
            assert_eq!(old.ask(b"late").as_deref(), Ok("100late"));
            let stats = old.pool.stats();
            assert_eq!((stats.busy, stats.waiting, stats.refused), (1, 0, 0));
            old.fake.gate.open();
            let answer = running.recv().expect("an answer").expect("no refusal");
            assert_eq!(answer.body, b"0wait");
            old.pool.await_end();
            old.until(|stats| stats.instances == 0);
        });
        // The newer one has closed: so has the older.
        assert_eq!(old.ask(b"x"), Err(Failure::Closed));
    });
}

#[test]
fn a_pool_is_ready_with_all_that_it_keeps_or_says_why_not() {
    let rig = Rig::new(options(3, 4));
    rig.run(|rig| {
        rig.pool.await_ready().expect("it starts");
        assert_eq!(rig.pool.stats().made, 3);
    });
    let rig = Rig::new(options(2, 2));
    rig.fake.refuse_starts.store(1, Ordering::SeqCst);
    rig.run(|rig| {
        let why = rig.pool.await_ready().expect_err("one could not be made");
        assert!(why.contains("guest"), "{why}");
    });
}

#[test]
fn in_a_storm_over_several_changes_each_request_is_answered_once_by_one_of_the_pools() {
    let bound = PoolOptions { queue: 4_000, ..options(2, 3) };
    let rigs: Vec<Rig> = (0..5).map(|_| Rig::new(bound.clone())).collect();
    std::thread::scope(|threads| {
        for rig in &rigs {
            for index in 0..3 {
                threads.spawn(move || rig.pool.worker(index));
            }
        }
        let _closers: Vec<Closer<'_>> = rigs.iter().map(Closer).collect();
        let (answered, answers) = channel();
        for thread in 0..3 {
            let (rigs, answered) = (&rigs, answered.clone());
            threads.spawn(move || {
                // To whichever there is, as who has looked a while ago.
                for n in 0..1_000 {
                    let answered = answered.clone();
                    let reply = move |outcome| answered.send(outcome).expect("awaited");
                    rigs[(n + thread) % 2].pool.submit(b"x".to_vec(), reply);
                }
            });
        }
        drop(answered);
        for pair in rigs.windows(2) {
            pair[1].pool.await_ready().expect("it starts");
            pair[0].pool.retire(&pair[1].pool);
        }
        let answered: Vec<_> = answers.iter().map(|outcome| outcome.expect("no refusal")).collect();
        assert_eq!(answered.len(), 3_000);
    });
    let all = rigs.iter().fold(PoolStats::default(), |before, rig| rig.pool.stats().after(&before));
    assert_eq!((all.calls, all.refused, all.instances), (3_000, 0, 0));
    assert_eq!((all.waits.count(), all.took.count()), (3_000, 3_000));
}

#[test]
fn a_thread_has_the_next_ones_instance_with_its_next_request_or_before_it_sleeps() {
    let seats = |first| rig(first, PoolOptions { seats: 1, ..options(1, 1) });
    let (old, new, newest) = (seats(0), seats(100), seats(200));
    let here = |rig: &Rig| {
        let mut response = Vec::new();
        rig.pool.here(0, b"a", &mut response, None, None, || ()).ok().map(|outcome| {
            assert!(outcome.is_ok());
            String::from_utf8(response).expect("text")
        })
    };
    old.run(|old| {
        new.run(|new| {
            newest.run(|newest| {
                old.pool.await_ready().expect("it starts");
                assert_eq!(here(old).as_deref(), Some("1a"));
                new.pool.await_ready().expect("it starts");
                old.pool.retire(&new.pool);
                assert_eq!(here(old), None, "it has closed");
                assert_eq!(here(new).as_deref(), Some("101a"));
                old.until(|stats| stats.instances == 0);
                tidy();
                assert_eq!(here(new).as_deref(), Some("101a"), "it serves: nothing to tidy");
                newest.pool.await_ready().expect("it starts");
                new.pool.retire(&newest.pool);
                new.until(|stats| stats.instances == 1);
                tidy();
                assert_eq!(new.pool.stats().instances, 0);
                vacate();
            });
        });
    });
}

#[test]
fn what_pools_counted_one_after_the_other_is_added() {
    let (old, new) = (Rig::new(options(1, 1)), Rig::new(options(1, 1)));
    for rig in [&old, &new] {
        rig.run(|rig| {
            assert!(rig.ask(b"x").is_ok());
            assert!(rig.ask(b"trap").is_err());
            assert!(rig.ask(b"grow").is_ok());
            rig.until(|stats| stats.made == 3);
        });
        assert_eq!(rig.ask(b"late"), Err(Failure::Closed));
    }
    let before = old.pool.stats().ended();
    let all = new.pool.stats().after(&before);
    assert_eq!((all.calls, all.made, all.recycled, all.refused), (6, 6, 2, 2));
    assert_eq!(all.trapped(TrapKind::DivisionByZero), 2);
    assert_eq!(all.took.count(), 6);
    let alive = PoolStats { instances: 2, busy: 1, waiting: 4, ..PoolStats::default() };
    let both = alive.clone().after(&alive);
    assert_eq!((both.instances, both.busy, both.waiting), (4, 2, 8));
    let ended = alive.ended();
    assert_eq!((ended.instances, ended.busy, ended.waiting), (0, 0, 0));
    assert_eq!(Arc::strong_count(&old.pool), 1);
}
