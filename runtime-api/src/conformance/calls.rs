//! Calls that go well: requests, replies, imports, statics.

use std::sync::Arc;

use super::guests::{echo, guest};
use super::rig::{Rig, ask, reply_bytes};
use super::{Make, TestHost};
use crate::{CallKind, Host, Instance, LogLevel, TrapKind, Verdict, abi};
use proto::Status;
use proto::http::{HeadersBuf, write_request};

/// Whatever goes in comes out, from nothing to more than a first buffer holds.
pub fn echoes_requests_of_any_size(make: Make<'_>) {
    let mut instance = Rig::new(make).start(&echo());
    for len in [0, 1, 4_096, 4_097, 3, 200_000, 10] {
        let request: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
        assert_eq!(ask(&mut *instance, &request), request, "{len} bytes");
    }
}

/// The start section, then `_initialize`, then `init`, each once.
pub fn start_initialize_and_init_run_once_in_order(make: Make<'_>) {
    let wat = guest(
        r#"(global $order (mut i64) (i64.const 0))
           (func $note (param i64)
             (global.set $order (i64.add (i64.mul (global.get $order) (i64.const 10)) (local.get 0))))
           (func $first (call $note (i64.const 1)))
           (start $first)
           (func (export "_initialize") (call $note (i64.const 2)))
           (func (export "init") (call $note (i64.const 3)) (call $log (i32.const 2) (i32.const 0) (i32.const 0)))"#,
        "(call $u64 (global.get $order))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    assert_eq!(ask(&mut *instance, b""), 123_u64.to_le_bytes());
    assert_eq!(ask(&mut *instance, b""), 123_u64.to_le_bytes());
    assert_eq!(rig.host.logged().len(), 1, "init may use the host");
}

/// `process` sends its request on and answers the reply, which fits 1 KiB.
pub fn a_small_reply_comes_in_one_crossing(make: Make<'_>) {
    let wat = guest(
        "",
        "(call $pack (i32.const 1024) (i32.wrap_i64
           (call $request (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 1024))))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    for n in [0_u32, 1, 1_000, 1_024] {
        assert_eq!(ask(&mut *instance, &n.to_le_bytes()), reply_bytes(n), "{n} bytes");
    }
    assert_eq!(rig.host.requests(), 4);
    assert_eq!(instance.last_call().host_calls, 1);
}

/// A buffer of 16 bytes, a reply of 1000: fetched 100 at a time, the operation run once.
pub fn a_large_reply_is_read_in_parts_and_run_once(make: Make<'_>) {
    let wat = guest(
        "",
        "(local $total i32) (local $at i32)
         ;; a mark that an unfitting reply must not overwrite
         (i64.store (i32.const 1024) (i64.const 0x1122334455667788))
         (local.set $total (i32.wrap_i64
           (call $request (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 16))))
         (if (i64.ne (i64.load (i32.const 1024)) (i64.const 0x1122334455667788)) (then (unreachable)))
         (loop $more
           (local.set $at (i32.add (local.get $at) (i32.wrap_i64
             (call $read (local.get $at) (i32.add (i32.const 2048) (local.get $at)) (i32.const 100)))))
           (br_if $more (i32.lt_u (local.get $at) (local.get $total))))
         ;; at the end and far past it there is nothing more
         (if (i64.ne (call $read (local.get $at) (i32.const 0) (i32.const 9)) (i64.const 0)) (then (unreachable)))
         (if (i64.ne (call $read (i32.const -1) (i32.const 0) (i32.const 9)) (i64.const 0)) (then (unreachable)))
         (call $pack (i32.const 2048) (local.get $total))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    assert_eq!(ask(&mut *instance, &1_000_u32.to_le_bytes()), reply_bytes(1_000));
    assert_eq!(rig.host.requests(), 1);
    assert_eq!(instance.last_call().host_calls, 1 + 10 + 2);
}

/// Requests of one call come under one number, which ends with it, trap or not; a call
/// without requests has none. The body asks twice, and traps if its request is empty.
pub fn the_host_is_told_which_call_asks_and_when_it_ends(make: Make<'_>) {
    let wat = guest(
        "",
        "(if (i32.eq (local.get $len) (i32.const 1)) (then (return (call $u64 (i64.const 1)))))
         (drop (call $request (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 1024)))
         (drop (call $request (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 1024)))
         (if (i32.eqz (local.get $len)) (then (unreachable)))
         (call $u64 (i64.const 2))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    for request in [&b"123"[..], b"1", b"12", b"34"] {
        ask(&mut *instance, request);
    }
    assert_eq!(rig.host.calls(), [1, 1, 0, 2, 2, 0, 3, 3, 0]);
    match instance.process(b"", &mut Vec::new()) {
        Err(trap) => assert_eq!(trap.kind(), TrapKind::Unreachable),
        Ok(_) => panic!("it traps"),
    }
    assert_eq!(rig.host.calls()[9..], [4, 4, 0]);
}

/// The host concludes each call that made requests and answered, and no other; disturbed,
/// the call is run again whole, as a new one; and the host may answer in its place.
pub fn a_call_takes_effect_when_it_has_answered_and_runs_again_if_disturbed(make: Make<'_>) {
    let wat = guest(
        "(global $runs (mut i64) (i64.const 0)) (data (i32.const 900) \"stock\")
         (func (export \"init\")
           (drop (call $request (i32.const 0) (i32.const 4) (i32.const 1024) (i32.const 1024))))",
        "(global.set $runs (i64.add (global.get $runs) (i64.const 1)))
         (if (i32.eqz (local.get $len)) (then (return (call $u64 (global.get $runs)))))
         (drop (call $request (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 1024)))
         (if (i32.eq (local.get $len) (i32.const 2)) (then (unreachable)))
         (if (i32.eq (local.get $len) (i32.const 3)) (then (return (i64.const -7))))
         (if (i32.eq (local.get $len) (i32.const 5)) (then
           (drop (call $service (i32.const 900) (i32.const 5) (local.get $ptr) (local.get $len)
             (i32.const 1024) (i32.const 1024)))))
         (call $u64 (global.get $runs))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    let eight = |n: u64| n.to_le_bytes().to_vec();
    // What making an instance does takes effect as it does it.
    assert_eq!((rig.host.kinds(), rig.host.calls()), (vec![CallKind::Start], vec![1, 0]));
    assert_eq!(rig.host.concluded(), []);
    // One that made no request has done nothing.
    assert_eq!(ask(&mut *instance, b""), eight(1));
    assert_eq!(rig.host.concluded(), []);
    // Run again, twice: each a call of its own.
    rig.host.judge([Verdict::Again, Verdict::Again]);
    assert_eq!(ask(&mut *instance, b"1"), eight(4));
    let attempts = [1, 2, 3].map(|n| (n + 1, n as u32, false, eight(n + 1)));
    assert_eq!(rig.host.concluded(), attempts);
    assert_eq!(rig.host.calls(), [1, 0, 2, 0, 3, 0, 4, 0]);
    // The host is told when it begins which attempt that is; the making counts as a first.
    assert_eq!(rig.host.attempts(), [1, 1, 2, 3]);
    assert_eq!(rig.host.kinds().iter().filter(|kind| **kind == CallKind::Start).count(), 1);
    // Answered in its place.
    rig.host.judge([Verdict::Instead(b"refused".to_vec())]);
    assert_eq!(ask(&mut *instance, b"1"), b"refused");
    assert_eq!(rig.host.concluded().len(), 1);
    // That it called an upstream is said, and forgotten with the call.
    ask(&mut *instance, b"12345");
    ask(&mut *instance, b"1");
    let outbound: Vec<bool> = rig.host.concluded().iter().map(|call| call.2).collect();
    assert_eq!(outbound, [true, false]);
    // What ended without an answer is not concluded: by a status, and by a trap.
    assert!(instance.process(b"123", &mut Vec::new()).is_err());
    assert!(instance.process(b"12", &mut Vec::new()).is_err());
    assert_eq!(rig.host.concluded(), []);
    assert_eq!(rig.host.calls().last(), Some(&0), "but ended");
}

/// What is to change nothing is known by its method, and only the first time: run again it
/// is as any other.
pub fn what_a_call_is_for_is_told_before_it_begins(make: Make<'_>) {
    let wat = guest(
        "",
        "(drop (call $request (i32.const 0) (i32.const 4) (i32.const 1024) (i32.const 1024)))
         (call $u64 (i64.const 0))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    for method in ["GET", "POST", "HEAD", "OPTIONS", "GETS", "get"] {
        let mut request = Vec::new();
        write_request(&mut request, method, "/", "", &HeadersBuf::new(), b"");
        ask(&mut *instance, &request);
    }
    ask(&mut *instance, b"no request");
    use CallKind::{Read, Write};
    assert_eq!(rig.host.kinds(), [Read, Write, Read, Read, Write, Write, Write]);
    rig.host.judge([Verdict::Again]);
    let mut request = Vec::new();
    write_request(&mut request, "GET", "/", "", &HeadersBuf::new(), b"");
    ask(&mut *instance, &request);
    assert_eq!(rig.host.kinds()[7..], [Read, Write]);
}

/// What a call has read is to last before anything of it leaves: else no upstream is called.
pub fn no_upstream_is_called_where_nothing_may_leave(make: Make<'_>) {
    let wat = guest(
        "(data (i32.const 900) \"stock\")",
        "(if (local.get $len) (then
           (drop (call $request (i32.const 0) (i32.const 4) (i32.const 1024) (i32.const 1024)))))
         (drop (call $service (i32.const 900) (i32.const 5) (i32.const 16) (i32.const 4)
           (i32.const 1024) (i32.const 1024)))
         (call $u64 (i64.const 0))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    ask(&mut *instance, b"1");
    assert_eq!(rig.host.patience().len(), 1);
    rig.host.unsettle(Status::ReadOnly, "the log has failed");
    ask(&mut *instance, b"1");
    assert_eq!(rig.host.patience().len(), 1, "it was not called");
    ask(&mut *instance, b"");
    assert_eq!(rig.host.patience().len(), 2, "a call that has read nothing");
}

/// Bytes that waited for one call's `host_read` are gone in the next, and a reply
/// that fitted leaves nothing to read.
pub fn a_pending_reply_ends_with_its_call(make: Make<'_>) {
    let wat = guest(
        "",
        "(if (i32.eqz (local.get $len)) (then (return (call $u64 (call $read (i32.const 0) (i32.const 0) (i32.const 9))))))
         (drop (call $request (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 64)))
         (call $u64 (call $read (i32.const 0) (i32.const 0) (i32.const 9)))",
    );
    let mut instance = Rig::new(make).start(&wat);
    let read = |instance: &mut dyn Instance, request: &[u8]| {
        u64::from_le_bytes(ask(instance, request).try_into().expect("eight bytes"))
    };
    assert_eq!(read(&mut *instance, &500_u32.to_le_bytes()), 9, "it waits");
    assert_eq!(read(&mut *instance, b""), 0, "a new call has none");
    assert_eq!(read(&mut *instance, &64_u32.to_le_bytes()), 0, "it fitted");
}

/// The three small imports.
pub fn log_now_and_random_reach_the_host(make: Make<'_>) {
    let wat = guest(
        r#"(data (i32.const 128) "careful\n")"#,
        "(call $log (i32.const 1) (i32.const 128) (i32.const 8))
         (call $log (i32.const 77) (local.get $ptr) (local.get $len))
         (i64.store (i32.const 64) (call $now))
         (call $random (i32.const 72) (i32.const 300))
         (call $pack (i32.const 64) (i32.const 308))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    let response = ask(&mut *instance, b"\xff!");
    let random: Vec<u8> = (0..300_u32).map(|i| i as u8).collect();
    assert_eq!(response[..8], 1_700_000_000_123_456_u64.to_le_bytes());
    assert_eq!(response[8..], random);
    assert_eq!(
        rig.host.logged(),
        [(LogLevel::Warn, "careful".to_owned()), (LogLevel::Trace, "\u{fffd}!".to_owned())]
    );
}

/// A long line is cut, many lines end with one note, and the next call logs again.
pub fn log_is_bounded(make: Make<'_>) {
    let wat = guest(
        "",
        "(local $i i32)
         (loop $again
           (call $log (i32.const 2) (i32.const 0) (i32.const 60000))
           (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
         (call $pack (i32.const 0) (i32.const 0))",
    );
    let line = abi::MAX_LOG_LINE_BYTES;
    let rig = Rig::new(make).with(|limits| limits.log_bytes = 2 * line + 10);
    let mut instance = rig.start(&wat);
    let lengths = |host: &TestHost| -> Vec<usize> {
        host.logged()
            .iter()
            .filter(|(level, _)| *level == LogLevel::Info)
            .map(|(_, l)| l.len())
            .collect()
    };
    ask(&mut *instance, b"");
    assert_eq!(lengths(&rig.host), [line as usize, line as usize, 10]);
    assert_eq!(rig.host.logged().len(), 4, "and the note");
    ask(&mut *instance, b"");
    assert_eq!(lengths(&rig.host).len(), 6);
}

/// One `alloc` serves requests until one is larger.
pub fn the_request_buffer_is_kept_and_grows(make: Make<'_>) {
    // Answers where its request lies.
    let wat = guest("", "(call $u64 (i64.extend_i32_u (local.get $ptr)))");
    let mut instance = Rig::new(make).start(&wat);
    let mut at = |len: usize| {
        let answer = ask(&mut *instance, &vec![1; len]);
        u64::from_le_bytes(answer.try_into().expect("eight bytes"))
    };
    let first = at(0);
    assert_eq!((at(10), at(4_096)), (first, first));
    let second = at(5_000);
    assert_eq!(second, first + 4_096, "the bump allocator's next");
    assert_eq!((at(8_192), at(1)), (second, second));
}

/// `free` gets every response and every outgrown buffer, once.
pub fn responses_are_freed_when_free_is_exported(make: Make<'_>) {
    let wat = guest(
        r#"(global $freed (mut i64) (i64.const 0))
           (func (export "free") (param $ptr i32) (param $len i32)
             (global.set $freed (i64.add (global.get $freed) (i64.extend_i32_u (local.get $len)))))"#,
        "(call $u64 (global.get $freed))",
    );
    let mut instance = Rig::new(make).start(&wat);
    let mut freed = |len: usize| {
        let answer = ask(&mut *instance, &vec![1; len]);
        u64::from_le_bytes(answer.try_into().expect("eight bytes"))
    };
    assert_eq!(freed(0), 0);
    assert_eq!(freed(0), 8, "the first response");
    assert_eq!(freed(5_000), 8 + 8 + 4_096, "the second, and the outgrown buffer");
}

const COUNTER: &str = r"(global $count (mut i64) (i64.const 0))";
const COUNT_OR_DIE: &str = "
  (global.set $count (i64.add (global.get $count) (i64.const 1)))
  (i64.store (i32.const 3000) (global.get $count))
  (if (i32.eq (local.get $len) (i32.const 13)) (then (unreachable)))
  (call $u64 (i64.load (i32.const 3000)))";

/// A guest's own statics live from call to call; a trap ends them with the
/// instance, which refuses to run again; the next instance starts from nothing.
pub fn statics_persist_and_a_fresh_instance_is_clean(make: Make<'_>) {
    let rig = Rig::new(make);
    let wat = guest(COUNTER, COUNT_OR_DIE);
    let mut instance = rig.start(&wat);
    for n in 1..4_u64 {
        assert_eq!(ask(&mut *instance, b""), n.to_le_bytes());
    }
    let mut response = b"stale".to_vec();
    let trap = instance.process(&[0; 13], &mut response).expect_err("13 bytes kill it");
    assert_eq!((trap.kind(), response.len()), (TrapKind::Unreachable, 0));
    let trap = instance.process(b"", &mut response).expect_err("it is dead");
    assert_eq!(trap.kind(), TrapKind::Host);
    assert_eq!(ask(&mut *rig.start(&wat), b""), 1_u64.to_le_bytes());
}

/// All that one fills its memory with, up to the cap, is nowhere in the next, which may
/// well be given the same pages.
pub fn memory_of_one_that_trapped_is_zero_in_the_next(make: Make<'_>) {
    // 64 pages: as many as may be. The request's buffer lies from 4096 to 8192.
    let wat = guest(
        "(func $seen (param $at i32) (param $end i32) (result i64)
           (local $bits i64)
           (loop $more
             (local.set $bits (i64.or (local.get $bits) (i64.load (local.get $at))))
             (br_if $more (i32.lt_u
               (local.tee $at (i32.add (local.get $at) (i32.const 8))) (local.get $end))))
           (local.get $bits))",
        "(if (i32.eq (memory.grow (i32.const 63)) (i32.const -1)) (then (return (i64.const -1))))
         (if (local.get $len) (then
           (memory.fill (i32.const 0) (i32.const 0xa5) (i32.const 0x400000))
           (unreachable)))
         (call $u64 (i64.or
           (call $seen (i32.const 0) (i32.const 4096))
           (call $seen (i32.const 8192) (i32.const 0x400000))))",
    );
    let rig = Rig::new(make);
    let module = rig.compile(&wat).expect("it compiles");
    let start = || {
        let host = Arc::clone(&rig.host) as Arc<dyn Host>;
        module.instantiate(host, &rig.limits).unwrap_or_else(|trap| panic!("{trap}"))
    };
    for _ in 0..4 {
        let trap = start().process(b"x", &mut Vec::new()).expect_err("it dies");
        assert_eq!(trap.kind(), TrapKind::Unreachable);
        assert_eq!(ask(&mut *start(), b""), [0; 8]);
    }
}

/// `process` may end a call itself; nothing died.
pub fn a_negative_status_ends_the_call_and_keeps_the_instance(make: Make<'_>) {
    let wat = guest(
        COUNTER,
        "(global.set $count (i64.add (global.get $count) (i64.const 1)))
         (if (local.get $len) (then (return (i64.sub (i64.const 0) (i64.extend_i32_u (local.get $len))))))
         (call $u64 (global.get $count))",
    );
    let mut instance = Rig::new(make).start(&wat);
    let mut response = b"stale".to_vec();
    let trap = instance.process(b"seven b", &mut response).expect_err("a status");
    assert_eq!((trap.kind(), trap.status(), response.len()), (TrapKind::Aborted, -7, 0));
    assert!(!trap.kind().kills());
    assert_eq!(ask(&mut *instance, b""), 2_u64.to_le_bytes());
}
