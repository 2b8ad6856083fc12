//! Calls on the thread that has the request.

use super::{Rig, options};
use crate::TrapKind;
use crate::pool::{PoolOptions, vacate};
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    static TOLD: Cell<u32> = const { Cell::new(0) };
}

fn tell() {
    TOLD.set(TOLD.get() + 1);
}

fn seats(min: usize, max: usize, seats: usize) -> PoolOptions {
    PoolOptions { seats, ..options(min, max) }
}

/// What was answered here; `None`: it is for the workers.
fn here(rig: &Rig, route: u64, request: &[u8]) -> Option<Result<String, TrapKind>> {
    let mut response = Vec::new();
    let outcome = rig.pool.here(route, request, &mut response, None, None, tell).ok()?;
    let text = String::from_utf8(response).expect("text");
    Some(outcome.map(|_| text).map_err(|trap| trap.kind()))
}

#[test]
fn a_thread_keeps_its_instance_and_loses_it_by_a_trap() {
    let rig = Rig::new(seats(1, 1, 1));
    rig.run(|rig| {
        rig.until(|stats| stats.instances == 1);
        assert_eq!(here(rig, 0, b"a"), Some(Ok("1a".into())));
        assert_eq!(here(rig, 0, b"b"), Some(Ok("1b".into())));
        assert_eq!(here(rig, 0, b"trap"), Some(Err(TrapKind::DivisionByZero)));
        assert_eq!(here(rig, 0, b"panic"), Some(Err(TrapKind::Host)), "made anew, and gone again");
        assert_eq!(here(rig, 0, b"grow"), Some(Ok("3grow".into())));
        assert_eq!(here(rig, 0, b"abort"), Some(Err(TrapKind::Aborted)), "number 4");
        assert_eq!(here(rig, 0, b"c"), Some(Ok("4c".into())), "kept: the guest chose to fail");
        let stats = rig.pool.stats();
        assert_eq!((stats.instances, stats.busy, stats.calls, stats.here), (2, 0, 7, 7));
        assert_eq!((stats.recycled, TOLD.get()), (1, 0));
        vacate();
        assert_eq!(rig.pool.stats().instances, 1, "this thread's went");
    });
}

#[test]
fn there_are_as_many_seats_as_were_asked_for() {
    let rig = Rig::new(seats(1, 1, 2));
    rig.run(|rig| {
        rig.until(|stats| stats.instances == 1);
        assert!(here(rig, 0, b"a").is_some());
        std::thread::scope(|threads| {
            let second = threads.spawn(|| {
                assert!(here(rig, 0, b"b").is_some());
                // Its instance is alive while the third one tries.
                let third = std::thread::scope(|more| {
                    more.spawn(|| here(rig, 0, b"c")).join().expect("no panic")
                });
                assert_eq!(third, None, "a third seat");
            });
            second.join().expect("no panic");
        });
        rig.until(|stats| stats.instances == 2);
        // The second thread has ended, and its seat is free.
        let again = std::thread::scope(|t| t.spawn(|| here(rig, 0, b"d")).join());
        assert!(again.expect("no panic").is_some());
        vacate();
    });
}

#[test]
fn what_was_not_brief_is_for_the_workers_until_it_is_again() {
    let rig = Rig::new(seats(1, 1, 1));
    rig.run(|rig| {
        rig.until(|stats| stats.instances == 1);
        assert_eq!(here(rig, 7, b"long"), Some(Ok("1long".into())));
        assert_eq!(TOLD.get(), 1);
        assert_eq!(rig.pool.stats().instances, 1, "its thread is nobody's now");
        assert_eq!(here(rig, 7, b"a"), None, "a worker is free");
        assert!(here(rig, 8, b"a").is_some(), "another route is not to blame");
        assert_eq!(here(rig, 7 + 256, b"a"), None, "one of the same number is");
        for _ in 0..32 {
            assert_eq!(here(rig, 7, b"a"), None);
            rig.pool.learn(7, &crate::CallReport::default());
        }
        assert!(here(rig, 7, b"a").is_some());
        vacate();
    });
}

#[test]
fn no_two_are_sent_to_one_free_worker_while_there_are_seats() {
    let rig = Rig::new(seats(1, 1, 1));
    rig.run(|rig| {
        let until_idle = || {
            while rig.pool.shared.lock().idle_warm == 0 {
                std::thread::yield_now();
            }
        };
        until_idle();
        assert!(here(rig, 7, b"long").is_some());
        let send = || rig.pool.here(7, b"a", &mut Vec::new(), None, None, tell);
        let errand = send().expect_err("the worker is free");
        assert!(send().is_ok(), "it is as good as taken");
        drop(errand);
        let errand = send().expect_err("given up, it is free again");
        let (told, hear) = std::sync::mpsc::channel();
        rig.pool.submit_followed(b"b".to_vec(), None, None, errand, move |outcome| {
            told.send(outcome.is_ok()).expect("somebody hears");
        });
        assert_eq!(hear.recv(), Ok(true));
        until_idle();
        assert!(send().is_err(), "it came there and is done");
        vacate();
    });
}

#[test]
fn while_all_workers_are_busy_the_thread_helps_and_says_so_first() {
    let rig = Rig::new(seats(1, 1, 1));
    rig.run(|rig| {
        let slow = rig.send(b"wait");
        rig.until(|stats| stats.busy == 1);
        assert!(here(rig, 3, b"long").is_some());
        let before = TOLD.get();
        assert!(here(rig, 3, b"a").is_some(), "no worker is free");
        assert_eq!(TOLD.get(), before + 1, "told before it began");
        rig.fake.gate.open();
        assert!(slow.recv().expect("an answer").is_ok());
        vacate();
    });
}

#[test]
fn a_pool_that_closes_takes_nothing_here_and_another_pool_has_its_own() {
    let rig = Rig::new(seats(1, 1, 1));
    let other = Rig::new(seats(1, 1, 1));
    rig.run(|rig| {
        other.run(|other| {
            assert_eq!(here(rig, 0, b"a").map(|r| r.is_ok()), Some(true));
            assert_eq!(here(other, 0, b"a").map(|r| r.is_ok()), Some(true));
            rig.until(|stats| stats.instances == 1);
            vacate();
        });
        rig.pool.close(u64::MAX);
        assert_eq!(here(rig, 0, b"a"), None);
    });
    let none = Rig::new(options(1, 1));
    assert_eq!(here(&none, 0, b"a"), None, "a pool without seats");
    assert_eq!(Arc::strong_count(&none.pool), 1);
}
