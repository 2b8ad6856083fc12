//! Responses in pieces: what leaves while `process` runs, and what becomes of the rest.

use std::sync::Arc;

use super::Make;
use super::guests::{echo, guest, writing};
use super::rig::{Rig, TestOutlet};
use crate::{Instance, PIECE_BYTES, Trap, TrapKind, Unwritten, Verdict};

/// Writes its request byte by byte, answers nothing more.
const BYTEWISE: &str = "
  (local $at i32)
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $at) (local.get $len)))
    (if (i64.ne (call $write (i32.add (local.get $ptr) (local.get $at)) (i32.const 1)) (i64.const 1))
      (then (unreachable)))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next)))
  (i64.const 0)";

/// Writes its request once, answers with what that returned.
const ONCE: &str = "(call $u64 (call $write (local.get $ptr) (local.get $len)))";

/// One call that writes to `outlet`: what it returns.
fn stream(
    instance: &mut dyn Instance,
    request: &[u8],
    outlet: &Arc<TestOutlet>,
) -> Result<Vec<u8>, Trap> {
    let mut response = b"stale".to_vec();
    let outcome = instance.process_to(request, &mut response, outlet.clone());
    if outcome.is_err() {
        assert_eq!(response, b"", "nothing is returned with a trap");
    }
    outcome.map(|_| response)
}

fn number(n: i64) -> [u8; 8] {
    n.to_le_bytes()
}

/// Each piece is there as it was written, in order, and the next call begins anew.
pub fn pieces_leave_while_the_call_runs(make: Make<'_>) {
    let rig = Rig::new(make);
    let mut instance = rig.start(&writing("", BYTEWISE));
    for _ in 0..2 {
        let outlet = TestOutlet::new();
        assert_eq!(stream(&mut *instance, b"abc", &outlet).expect("an answer"), b"");
        let one = |byte: &u8| (vec![*byte], true);
        assert_eq!(outlet.pieces(), b"abc".iter().map(one).collect::<Vec<_>>());
    }
    // An empty piece is one: it asks whether the client is there.
    let mut instance = rig.start(&writing("", ONCE));
    let outlet = TestOutlet::new();
    assert_eq!(stream(&mut *instance, b"", &outlet).expect("an answer"), number(0));
    assert_eq!(outlet.pieces(), [(Vec::new(), true)]);
}

/// What one call of `host_write` gives comes in parts of at most `PIECE_BYTES`; the last is
/// known to be.
pub fn a_large_piece_leaves_in_parts(make: Make<'_>) {
    let rig = Rig::new(make);
    let mut instance = rig.start(&writing("", ONCE));
    for len in [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
        let request: Vec<u8> = (0..len).map(|n| (n / 7) as u8).collect();
        let outlet = TestOutlet::new();
        let returned = stream(&mut *instance, &request, &outlet).expect("an answer");
        assert_eq!(returned, number(i64::from(len)));
        let pieces = outlet.pieces();
        assert_eq!(pieces.len(), len.div_ceil(PIECE_BYTES) as usize);
        assert!(pieces.iter().all(|(piece, _)| piece.len() <= PIECE_BYTES as usize));
        let ends: Vec<usize> = (0..pieces.len()).filter(|n| pieces[*n].1).collect();
        assert_eq!(ends, [pieces.len() - 1]);
        let whole: Vec<u8> = pieces.into_iter().flat_map(|(piece, _)| piece).collect();
        assert_eq!(whole, request);
    }
}

/// It is copied out as ever, and freed if `free` is exported.
pub fn what_process_returns_is_the_last_piece(make: Make<'_>) {
    let wat = writing(
        r#"(global $freed (mut i32) (i32.const 0))
           (func (export "free") (param i32 i32) (global.set $freed (local.get 1)))"#,
        "(drop (call $write (local.get $ptr) (i32.const 2)))
         (call $pack (i32.add (local.get $ptr) (i32.const 2)) (i32.sub (local.get $len) (i32.const 2)))",
    );
    let rig = Rig::new(make);
    let outlet = TestOutlet::new();
    let returned = stream(&mut *rig.start(&wat), b"abcd", &outlet).expect("an answer");
    assert_eq!((returned.as_slice(), outlet.pieces()), (&b"cd"[..], vec![(b"ab".to_vec(), true)]));
}

/// A trap, or a negative status, is told as ever; what was written had left.
pub fn a_trap_leaves_what_was_written_and_returns_nothing(make: Make<'_>) {
    let body = |end: &str| format!("(drop (call $write (local.get $ptr) (local.get $len))) {end}");
    let rig = Rig::new(make);
    for (end, kind) in
        [("unreachable", TrapKind::Unreachable), ("(i64.const -7)", TrapKind::Aborted)]
    {
        let outlet = TestOutlet::new();
        let mut instance = rig.start(&writing("", &body(end)));
        let trap = stream(&mut *instance, b"ab", &outlet).expect_err("it ends so");
        assert_eq!((trap.kind(), outlet.pieces().len()), (kind, 1), "{trap}");
    }
}

/// `-1603` at the piece that is not taken, and at each one after it; the call may go on.
pub fn a_client_that_has_gone_is_told_of_at_every_piece(make: Make<'_>) {
    let wat = writing(
        "",
        "(i64.store (i32.const 64) (call $write (local.get $ptr) (i32.const 1)))
         (i64.store (i32.const 72) (call $write (local.get $ptr) (local.get $len)))
         (i64.store (i32.const 80) (call $write (local.get $ptr) (i32.const 0)))
         (call $pack (i32.const 64) (i32.const 24))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    let outlet = TestOutlet::refusing(1, Unwritten::Gone);
    // The second is in the middle of more than one part.
    let request = vec![b'x'; PIECE_BYTES as usize + 1];
    let returned = stream(&mut *instance, &request, &outlet).expect("it goes on");
    assert_eq!(returned, [1, -1603, -1603].map(number).concat());
    assert_eq!(outlet.pieces().len(), 1);
    assert_eq!(outlet.patience().len(), 3, "the rest of a refused piece is not tried");
}

/// The wait has what is left of the call's time, less each time, and its end is that of the
/// call.
pub fn a_client_is_waited_for_until_the_deadline(make: Make<'_>) {
    let rig = Rig::stepping(make, 1_000_000);
    let mut instance = rig.start(&writing("", BYTEWISE));
    let outlet = TestOutlet::refusing(2, Unwritten::Late);
    let trap = stream(&mut *instance, b"abcd", &outlet).expect_err("too late");
    assert_eq!(trap.kind(), TrapKind::Deadline, "{trap}");
    assert!(trap.to_string().contains("the client did not take"), "{trap}");
    let given = outlet.patience();
    assert_eq!(given.len(), 3);
    assert!(given[0] < rig.limits.deadline_nanos, "{given:?}");
    assert!(given.windows(2).all(|two| two[1] < two[0]), "{given:?}");
}

/// The host says what they are instead.
pub fn first_bytes_that_are_no_response_trap(make: Make<'_>) {
    let rig = Rig::new(make);
    let outlet = TestOutlet::refusing(0, Unwritten::Malformed("status: is missing".to_owned()));
    let trap = stream(&mut *rig.start(&writing("", ONCE)), b"?", &outlet).expect_err("no response");
    assert_eq!(trap.kind(), TrapKind::Protocol);
    assert!(trap.to_string().contains("no response: status: is missing"), "{trap}");
}

/// A piece may be as large as a response; all together may be larger.
pub fn a_piece_is_bounded_and_their_sum_is_not(make: Make<'_>) {
    let rig = Rig::new(make).with(|limits| limits.response_bytes = 100);
    let wat = writing(
        "",
        "(local $left i32)
         (local.set $left (i32.const 50))
         (loop $again
           (drop (call $write (local.get $ptr) (local.get $len)))
           (local.set $left (i32.sub (local.get $left) (i32.const 1)))
           (br_if $again (local.get $left)))
         (i64.const 0)",
    );
    let outlet = TestOutlet::new();
    stream(&mut *rig.start(&wat), &[b'x'; 100], &outlet).expect("5,000 bytes in all");
    assert_eq!(outlet.pieces().len(), 50);
    let outlet = TestOutlet::new();
    let trap = stream(&mut *rig.start(&wat), &[b'x'; 101], &outlet).expect_err("one too many");
    assert_eq!((trap.kind(), outlet.pieces().len()), (TrapKind::ResponseTooLarge, 0), "{trap}");
}

/// A range that ends outside memory traps, and no part of it has left.
pub fn ranges_are_checked_before_anything_leaves(make: Make<'_>) {
    let rig = Rig::new(make);
    for (ptr, len, is_fine) in [
        (65_535, 1, true),
        (65_536, 0, true),
        (65_535, 2, false),
        (0, 65_537, false),
        (-1, 1, false),
    ] {
        let body = format!("(call $u64 (call $write (i32.const {ptr}) (i32.const {len})))");
        let outlet = TestOutlet::new();
        let outcome = stream(&mut *rig.start(&writing("", &body)), b"", &outlet);
        match outcome {
            Ok(returned) => assert!(is_fine && returned == number(len), "{ptr} {len}"),
            Err(trap) => {
                assert_eq!((trap.kind(), is_fine), (TrapKind::BadPointer, false), "{trap}");
                assert_eq!(outlet.pieces(), [], "{ptr} {len}");
            }
        }
    }
}

/// Not while an instance is made, and not from `alloc` or `free`.
pub fn nothing_leaves_outside_of_process(make: Make<'_>) {
    let rig = Rig::new(make);
    let init = r#"(func (export "init") (drop (call $write (i32.const 0) (i32.const 4))))"#;
    let trap = rig.try_start(&writing(init, "(i64.const 0)")).err().expect("it traps");
    assert_eq!(trap.kind(), TrapKind::Protocol, "{trap}");
    assert!(trap.to_string().contains("only process may call it"), "{trap}");
    let free = r#"(func (export "free") (param i32 i32) (drop (call $write (i32.const 0) (i32.const 4))))"#;
    let outlet = TestOutlet::new();
    let mut instance = rig.start(&writing(free, "(call $pack (local.get $ptr) (local.get $len))"));
    let trap = stream(&mut *instance, b"ab", &outlet).expect_err("it traps");
    assert_eq!((trap.kind(), outlet.pieces().len()), (TrapKind::Protocol, 0), "{trap}");
}

/// The host puts them together, within what a response may have, and concludes the call
/// when it has all of it.
pub fn where_nobody_takes_pieces_they_are_put_together(make: Make<'_>) {
    let mut rig = Rig::new(make);
    rig.limits.response_bytes = 10;
    let mut instance = rig.start(&writing("", ONCE));
    let mut response = Vec::new();
    for _ in 0..2 {
        instance.process(b"ab", &mut response).expect("an answer");
        assert_eq!(response, [&b"ab"[..], &number(2)].concat());
    }
    let mut instance = rig.start(&writing("", BYTEWISE));
    instance.process(b"0123456789", &mut response).expect("as many as there may be");
    assert_eq!(response, b"0123456789");
    let trap = instance.process(b"0123456789+", &mut response).expect_err("one too many");
    assert_eq!((trap.kind(), response.len()), (TrapKind::ResponseTooLarge, 0), "{trap}");
}

/// Asks the host for something, writes its request as a head, asks again if it has three
/// bytes, answers with what writing returned.
const ASKING: &str = "
  (local $wrote i64)
  (drop (call $request (local.get $ptr) (i32.const 1) (i32.const 1024) (i32.const 64)))
  (local.set $wrote (call $write (local.get $ptr) (local.get $len)))
  (drop (call $write (local.get $ptr) (local.get $len)))
  (if (i32.eq (local.get $len) (i32.const 3)) (then
    (drop (call $request (local.get $ptr) (i32.const 1) (i32.const 1024) (i32.const 64)))))
  (call $u64 (local.get $wrote))";

/// What the call has done takes effect before its head leaves; if it cannot, nothing leaves,
/// and the call is run again, or the host answers in its place.
pub fn what_was_done_takes_effect_before_the_head_leaves(make: Make<'_>) {
    let rig = Rig::new(make);
    let mut instance = rig.start(&writing("", ASKING));
    let outlet = TestOutlet::new();
    rig.host.judge([Verdict::Again, Verdict::Stands]);
    assert_eq!(stream(&mut *instance, b"ab", &outlet).expect("an answer"), number(2));
    assert_eq!(outlet.pieces().len(), 2, "those of the second run");
    let head = |attempt| (u64::from(attempt), attempt, false, b"ab".to_vec());
    let concluded = rig.host.concluded();
    assert_eq!(concluded[..2], [head(1), head(2)]);
    // Once more at its end, for what came behind; it cannot be run again any more.
    assert_eq!((concluded.len(), concluded[2].1, concluded[2].2), (3, 2, true));
    let outlet = TestOutlet::new();
    rig.host.judge([Verdict::Instead(b"refused".to_vec())]);
    assert_eq!(stream(&mut *instance, b"ab", &outlet).expect("an answer"), b"refused");
    assert_eq!((outlet.pieces().len(), rig.host.concluded().len()), (0, 1));
}

/// Its guest is told: nothing leaves by any later piece either.
pub fn a_disturbed_call_is_told_so_and_writes_nothing(make: Make<'_>) {
    let rig = Rig::new(make);
    let wat = writing(
        "(global $told (mut i64) (i64.const 0))",
        "(if (i64.ne (global.get $told) (i64.const 0)) (then (return (call $u64 (global.get $told)))))
         (drop (call $request (local.get $ptr) (i32.const 1) (i32.const 1024) (i32.const 64)))
         (global.set $told (call $write (local.get $ptr) (local.get $len)))
         (call $u64 (call $write (local.get $ptr) (local.get $len)))",
    );
    let outlet = TestOutlet::new();
    rig.host.judge([Verdict::Again]);
    let returned = stream(&mut *rig.start(&wat), b"ab", &outlet).expect("the second run's");
    assert_eq!((returned, outlet.pieces().len()), (number(-1305).to_vec(), 0));
    // Ending by a negative status is an end as any other then.
    let ends =
        "(drop (call $request (local.get $ptr) (i32.const 1) (i32.const 1024) (i32.const 64)))
         (call $write (local.get $ptr) (local.get $len))";
    let mut instance = rig.start(&writing("", ends));
    rig.host.judge([Verdict::Instead(b"refused".to_vec())]);
    assert_eq!(stream(&mut *instance, b"ab", &outlet).expect("the host's"), b"refused");
}

/// What was done behind the head and cannot take effect breaks the response off.
pub fn what_is_done_behind_the_head_takes_effect_or_the_response_breaks_off(make: Make<'_>) {
    let rig = Rig::new(make);
    let mut instance = rig.start(&writing("", ASKING));
    for verdict in [Verdict::Again, Verdict::Instead(b"refused".to_vec())] {
        let outlet = TestOutlet::new();
        rig.host.judge([Verdict::Stands, verdict]);
        let trap = stream(&mut *instance, b"abc", &outlet).expect_err("it breaks off");
        assert_eq!((trap.kind(), outlet.pieces().len()), (TrapKind::Aborted, 2), "{trap}");
        assert!(trap.to_string().contains("write before"), "{trap}");
    }
    assert_eq!(stream(&mut *instance, b"ab", &TestOutlet::new()).expect("it lives"), number(2));
}

/// They count, and look at the deadline.
pub fn pieces_are_host_calls(make: Make<'_>) {
    let rig = Rig::new(make).with(|limits| limits.host_calls = 3);
    let mut instance = rig.start(&writing("", BYTEWISE));
    let outlet = TestOutlet::new();
    stream(&mut *instance, b"abc", &outlet).expect("three");
    assert_eq!(instance.last_call().host_calls, 3);
    let trap = stream(&mut *instance, b"abcd", &outlet).expect_err("four");
    assert_eq!((trap.kind(), outlet.pieces().len()), (TrapKind::HostCalls, 6), "{trap}");
    let rig = Rig::stepping(make, 100_000_000);
    let trap = stream(&mut *rig.start(&writing("", BYTEWISE)), &[b'x'; 50], &TestOutlet::new());
    assert_eq!(trap.expect_err("time passes").kind(), TrapKind::Deadline);
}

/// A host has to know beforehand which modules write.
pub fn who_imports_it_is_known(make: Make<'_>) {
    let rig = Rig::new(make);
    for (wat, writes) in
        [(writing("", "(i64.const 0)"), true), (guest("", "(i64.const 0)"), false), (echo(), false)]
    {
        assert_eq!(rig.compile(&wat).expect("a module").writes(), writes);
    }
}
