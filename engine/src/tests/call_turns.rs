//! Calls that others disturb: the turn that they wait for, and what comes of it when many
//! count up one document.

#![allow(clippy::disallowed_methods)] // Threads that wait for each other are what is tested.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proto::doc::Doc;
use proto::{Key, Reply, Request, Status};

use super::audit_sync::gated;
use super::kit::*;
use crate::transaction::{ATTEMPTS, IN_TURN};
use crate::{CallTransaction, Engine, Principal};

/// Longer than anything here takes.
const LONG: u64 = 20_000_000_000;

fn guest() -> Principal {
    Principal::service("web")
}

fn in_call(engine: &Engine, call: &mut CallTransaction, request: &Request<'_>) -> Vec<u8> {
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    request.encode(77, &mut packet);
    engine.dispatch_in_call(&guest(), call, &packet, &mut out);
    out
}

const READ: Request<'_> = Request::Read { store: "s", key: Key(1) };

/// One attempt of a call that counts the document up, with some work in between.
fn count_up(engine: &Engine, mut call: CallTransaction, work: Duration) -> Result<(), Status> {
    let read = in_call(engine, &mut call, &READ);
    let Reply::Rows(rows) = Reply::decode(&read).unwrap().1 else { panic!("a document") };
    let (_, document) = rows.iter().next().unwrap();
    let n = Doc::parse(document).unwrap().get("n").and_then(|n| n.as_i64()).unwrap();
    thread::sleep(work);
    let document = &doc(&format!(r#"{{"n":{}}}"#, n + 1));
    let update = Request::Update { store: "s", key: Key(1), document, upsert: false };
    assert!(matches!(said(&in_call(engine, &mut call, &update)), Said::Key(_)));
    engine.commit_call(&guest(), call).map_err(|refusal| refusal.status)
}

/// A call that puts another document.
fn update_other(engine: &Engine, mut call: CallTransaction) -> Result<(), Status> {
    let document = &doc(r#"{"n":7}"#);
    let update = Request::Update { store: "s", key: Key(2), document, upsert: true };
    in_call(engine, &mut call, &update);
    engine.commit_call(&guest(), call).map_err(|refusal| refusal.status)
}

/// A call as `transaction/calls.rs` has it run. How often it was run again, and whether it was done.
fn call(engine: &Engine, turns: bool, dice: &AtomicU64) -> (u32, bool) {
    for attempt in 1..=ATTEMPTS {
        let call = match turns && attempt >= IN_TURN {
            true => CallTransaction::latest().in_turn(LONG),
            false => CallTransaction::latest(),
        };
        match count_up(engine, call, Duration::from_micros(300)) {
            Ok(()) => return (attempt - 1, true),
            Err(status) => assert_eq!(status, Status::TransactionConflict),
        }
        let most = 500 * 2u64.pow(attempt);
        let chance = dice.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed) >> 33;
        thread::sleep(Duration::from_micros(most / 2 + chance % (most / 2)));
    }
    (ATTEMPTS - 1, false)
}

#[test]
fn the_turn_is_one_calls_at_a_time_and_comes_in_order() {
    let engine = Arc::new(with_store());
    insert(&engine, 1, r#"{"n":0}"#);
    // Given a call that has the turn from its first look at a document on,
    let mut first = CallTransaction::latest().in_turn(LONG);
    in_call(&engine, &mut first, &READ);
    let (told, order) = mpsc::channel();
    let mut waiters = Vec::new();
    for number in 0..3 {
        let (other, told) = (Arc::clone(&engine), told.clone());
        waiters.push(thread::spawn(move || {
            let mut call = CallTransaction::latest().in_turn(LONG);
            in_call(&other, &mut call, &READ);
            told.send(number).unwrap();
            // What is done under it is committed before the next one begins.
            drop(call);
            assert_eq!(
                count_up(&other, CallTransaction::latest().in_turn(LONG), Duration::ZERO),
                Ok(())
            );
        }));
        while engine.transactions.turns.waiting() <= number {
            thread::yield_now();
        }
    }
    // then others wait for it, whatever they are for; who has no need of one does not,
    insert(&engine, 2, r#"{"n":0}"#);
    assert!(order.try_recv().is_err());
    assert_eq!(engine.transactions.turns.waiting(), 3);
    // and when its call ends they have it one after the other, in the order they came in.
    drop(first);
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    assert_eq!(order.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(engine.transactions.turns.waiting(), 0);
    assert_eq!(all(&engine), [r#"1 {"n":3}"#, r#"2 {"n":0}"#]);
}

#[test]
fn who_would_disturb_the_call_that_has_the_turn_lets_it_go_first() {
    let engine = Arc::new(with_store());
    insert(&engine, 1, r#"{"n":0}"#);
    insert(&engine, 2, r#"{"n":0}"#);
    // Given a call that has the turn, and has read a document,
    let mut first = CallTransaction::latest().in_turn(LONG);
    in_call(&engine, &mut first, &READ);
    let other = Arc::clone(&engine);
    let disturbs =
        thread::spawn(move || count_up(&other, CallTransaction::latest(), Duration::ZERO));
    // then another one that writes it is not committed before,
    thread::sleep(Duration::from_millis(100));
    assert!(!disturbs.is_finished());
    // one that writes something else is,
    let mut elsewhere = CallTransaction::latest();
    let document = &doc(r#"{"n":5}"#);
    let update = Request::Update { store: "s", key: Key(2), document, upsert: false };
    in_call(&engine, &mut elsewhere, &update);
    engine.commit_call(&guest(), elsewhere).unwrap();
    // and it is committed undisturbed; the other one is the one that is run again.
    let document = &doc(r#"{"n":1}"#);
    let update = Request::Update { store: "s", key: Key(1), document, upsert: false };
    in_call(&engine, &mut first, &update);
    engine.commit_call(&guest(), first).unwrap();
    assert_eq!(disturbs.join().unwrap(), Err(Status::TransactionConflict));
    assert_eq!(all(&engine), [r#"1 {"n":1}"#, r#"2 {"n":5}"#]);
}

#[test]
fn who_waits_in_vain_goes_on_without() {
    let engine = with_store();
    insert(&engine, 1, r#"{"n":0}"#);
    let mut first = CallTransaction::latest().in_turn(LONG);
    in_call(&engine, &mut first, &READ);
    // The clock of the test stands still, so only a wait for nothing ends.
    let other = CallTransaction::latest().in_turn(0);
    assert_eq!(update_other(&engine, other), Ok(()));
    assert_eq!(engine.transactions.turns.waiting(), 0);
    // A call that is let go of gives its turn on, and so does one that committed by its own
    // word and goes on.
    drop(first);
    let mut second = CallTransaction::latest().in_turn(LONG);
    in_call(&engine, &mut second, &READ);
    in_call(&engine, &mut second, &Request::Commit { transaction: 0 });
    assert_eq!(count_up(&engine, CallTransaction::latest().in_turn(LONG), Duration::ZERO), Ok(()));
    assert_eq!(all(&engine), [r#"1 {"n":1}"#, r#"2 {"n":7}"#]);
}

#[test]
fn the_turn_is_given_on_before_the_disk_is_waited_for() {
    // Given a call whose commit waits for a sync,
    let (_, gate, engine) = gated("wal/", synced());
    let engine = Arc::new(engine);
    insert(&engine, 1, r#"{"n":0}"#);
    gate.close();
    let other = Arc::clone(&engine);
    let first = CallTransaction::latest().in_turn(LONG);
    let waits = thread::spawn(move || count_up(&other, first, Duration::ZERO));
    gate.wait_for_one();
    // then the next one has the turn, and sees what the first has written.
    let turn = engine.transactions.turns.take(&*engine.clock, 0);
    assert!(turn.is_some());
    drop(turn);
    let mut second = CallTransaction::latest().in_turn(LONG);
    let read = said(&in_call(&engine, &mut second, &READ));
    assert_eq!(read, Said::Rows(vec![r#"1 {"n":1}"#.to_owned()], None));
    gate.open(false);
    assert_eq!(waits.join().unwrap(), Ok(()));
}

/// What decision 54 tells the numbers of: `cargo test -p engine --lib call_turns -- --nocapture`.
#[test]
fn many_that_count_up_one_document_are_seldom_given_up() {
    const CALLS: u64 = 60;
    let mut given_up = [0, 0];
    for threads in [1, 2, 4, 8u64] {
        for turns in [false, true] {
            let engine = with_store();
            insert(&engine, 1, r#"{"n":0}"#);
            let (again, lost, dice) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(7));
            let begun = std::time::Instant::now();
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for _ in 0..CALLS {
                            let (times, done) = call(&engine, turns, &dice);
                            again.fetch_add(u64::from(times), Relaxed);
                            lost.fetch_add(u64::from(!done), Relaxed);
                        }
                    });
                }
            });
            let (again, lost) = (again.into_inner(), lost.into_inner());
            let calls = threads * CALLS;
            println!(
                "{threads} threads, turns {turns}: {calls} calls, run again {:.2} times each, \
                 {lost} given up, {:.0} done a second",
                again as f64 / calls as f64,
                (calls - lost) as f64 / begun.elapsed().as_secs_f64()
            );
            assert_eq!(all(&engine), [format!(r#"1 {{"n":{}}}"#, calls - lost)]);
            given_up[usize::from(turns)] += lost;
        }
    }
    // Both are up to chance: a call in turn can be disturbed by those that are not yet, the
    // more the longer its thread is kept from running. Some forty of 900 without, mostly none with.
    assert!(given_up[1] * 5 <= given_up[0].max(10), "{given_up:?}");
}
