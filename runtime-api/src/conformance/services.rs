//! Calls of upstreams: the packet, and the body that arrives behind it.

use proto::Status;
use proto::service::ServiceReply;

use super::Make;
use super::guests::guest;
use super::rig::{Rig, ask, reply_bytes};

/// Definitions: `$stock` calls the upstream of that name with the request at `$ptr $len`, its
/// packet to 1024; `$body` reads `$len` bytes of the body from `$at` on to `$to`.
const STOCK: &str = r#"
  (data (i32.const 128) "stock")
  (func $stock (param $ptr i32) (param $len i32) (result i32)
    (i32.wrap_i64 (call $service (i32.const 128) (i32.const 5)
      (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 1024))))
  (func $body (param $at i32) (param $to i32) (param $len i32) (result i64)
    (call $read (i32.or (i32.const 0x80000000) (local.get $at)) (local.get $to) (local.get $len)))
"#;

fn packet(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

/// Not on the list: the reply is a packet that says so, not a trap, and there is no body.
pub fn a_service_nobody_allowed_is_refused_in_a_packet(make: Make<'_>) {
    let wat = guest(
        r#"(data (i32.const 128) "billing")"#,
        "(local $total i32)
         (local.set $total (i32.wrap_i64 (call $service
           (i32.const 128) (i32.const 7) (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 1024))))
         (if (i64.ne (call $read (i32.const 0x80000000) (i32.const 0) (i32.const 9)) (i64.const 0)) (then (unreachable)))
         (call $pack (i32.const 1024) (local.get $total))",
    );
    let reply = Rig::new(make).once(&wat, b"GET /").expect("a reply");
    let reply = ServiceReply::decode(&reply).expect("a reply packet");
    let ServiceReply::Error { status, message } = reply else { panic!("{reply:?}") };
    assert_eq!(status, Status::NoSuchUpstream);
    assert!(message.contains("'billing' is not on the allowlist"), "{message}");
}

/// The packet holds the head alone; the body is filled to the length asked for, of whatever
/// size, and then there is nothing more.
pub fn the_head_comes_first_and_the_body_in_parts(make: Make<'_>) {
    let head = guest(
        STOCK,
        "(call $pack (i32.const 1024) (call $stock (local.get $ptr) (local.get $len)))",
    );
    let rig = Rig::new(make);
    let reply = rig.once(&head, &packet(7)).expect("a reply");
    let ServiceReply::Head(head) = ServiceReply::decode(&reply).expect("a packet") else {
        panic!("a head")
    };
    assert_eq!((head.status, head.headers.get("a")), (203, Some(&b"b"[..])));

    // Reads parts of 100,000 to where memory was grown, until one is not full; 0 follows.
    let whole = guest(
        STOCK,
        "(local $at i32) (local $part i32)
         (drop (call $stock (local.get $ptr) (local.get $len)))
         (if (i32.eq (memory.grow (i32.const 10)) (i32.const -1)) (then (unreachable)))
         (loop $more
           (local.set $part (i32.wrap_i64 (call $body
             (local.get $at) (i32.add (i32.const 65536) (local.get $at)) (i32.const 100000))))
           (local.set $at (i32.add (local.get $at) (local.get $part)))
           (br_if $more (i32.eq (local.get $part) (i32.const 100000))))
         (if (i64.ne (call $body (local.get $at) (i32.const 0) (i32.const 9)) (i64.const 0)) (then (unreachable)))
         (call $pack (i32.const 65536) (local.get $at))",
    );
    for n in [0, 1, 65_536, 99_999, 100_000, 250_000] {
        assert_eq!(rig.once(&whole, &packet(n)).expect("a body"), reply_bytes(n), "{n} bytes");
    }
}

/// The next byte is the only one that can be asked for; requests to the engine in between,
/// with replies that wait, change nothing.
pub fn a_body_is_read_forwards_and_between_requests(make: Make<'_>) {
    let wat = guest(
        STOCK,
        "(drop (call $stock (local.get $ptr) (local.get $len)))
         (if (i64.ne (call $body (i32.const 1) (i32.const 2048) (i32.const 3)) (i64.const -1702)) (then (unreachable)))
         (if (i64.ne (call $body (i32.const 0) (i32.const 2048) (i32.const 3)) (i64.const 3)) (then (unreachable)))
         (if (i64.ne (call $body (i32.const 0) (i32.const 3000) (i32.const 3)) (i64.const -1702)) (then (unreachable)))
         (if (i64.ne (call $body (i32.const 3) (i32.const 3000) (i32.const 0)) (i64.const 0)) (then (unreachable)))
         ;; a reply of ten bytes waits while the body goes on
         (if (i64.ne (call $request (local.get $ptr) (local.get $len) (i32.const 0) (i32.const 0)) (i64.const 10)) (then (unreachable)))
         (if (i64.ne (call $body (i32.const 3) (i32.const 2051) (i32.const 100)) (i64.const 7)) (then (unreachable)))
         (if (i64.ne (call $read (i32.const 0) (i32.const 2058) (i32.const 100)) (i64.const 10)) (then (unreachable)))
         (call $pack (i32.const 2048) (i32.const 20))",
    );
    let answer = Rig::new(make).once(&wat, &packet(10)).expect("both");
    assert_eq!(answer, [reply_bytes(10), reply_bytes(10)].concat());
}

/// A failure is a negative status, and stays one.
pub fn a_body_that_breaks_off_is_no_whole_one(make: Make<'_>) {
    let wat = guest(
        STOCK,
        "(drop (call $stock (local.get $ptr) (local.get $len)))
         (i64.store (i32.const 2048) (call $body (i32.const 0) (i32.const 3000) (i32.const 40)))
         (i64.store (i32.const 2056) (call $body (i32.const 40) (i32.const 3000) (i32.const 40)))
         (i64.store (i32.const 2064) (call $body (i32.const 40) (i32.const 3000) (i32.const 1)))
         (call $pack (i32.const 2048) (i32.const 24))",
    );
    let answer =
        Rig::new(make).once(&wat, &[packet(100), packet(50)].concat()).expect("three numbers");
    let expected = [40_i64, -1707, -1707].map(i64::to_le_bytes).concat();
    assert_eq!(answer, expected);
}

/// What was not read is let go of, by whatever ends it: another call of a service, though it
/// fails, the end of the call, a trap.
pub fn a_body_ends_with_the_next_call_of_a_service_and_with_its_own(make: Make<'_>) {
    let wat = guest(
        STOCK,
        "(if (i32.eqz (local.get $len)) (then (return (call $u64 (call $body (i32.const 0) (i32.const 0) (i32.const 9))))))
         (drop (call $stock (local.get $ptr) (i32.const 4)))
         (if (i32.eq (local.get $len) (i32.const 5)) (then (unreachable)))
         (if (i32.eq (local.get $len) (i32.const 6)) (then
           (drop (call $service (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
         (call $u64 (call $body (i32.const 0) (i32.const 3000) (i32.const 9)))",
    );
    let rig = Rig::new(make);
    let mut instance = rig.start(&wat);
    assert_eq!(ask(&mut *instance, &packet(20)), 9_u64.to_le_bytes());
    assert_eq!(rig.host.bodies(), 0, "its call has ended");
    assert_eq!(ask(&mut *instance, b""), 0_u64.to_le_bytes(), "the next has none");
    assert_eq!(ask(&mut *instance, &[20, 0, 0, 0, 0, 0]), 0_u64.to_le_bytes(), "another call");
    assert!(instance.process(&[20, 0, 0, 0, 0], &mut Vec::new()).is_err(), "it traps");
    assert_eq!(rig.host.bodies(), 0);
}

/// What is left of the call's time is what the host is given.
pub fn a_service_has_no_more_patience_than_its_call(make: Make<'_>) {
    let wat = guest(
        STOCK,
        "(drop (call $stock (local.get $ptr) (local.get $len)))
         (drop (call $stock (local.get $ptr) (local.get $len)))
         (call $u64 (i64.const 0))",
    );
    let rig = Rig::stepping(make, 1_000_000);
    rig.once(&wat, &packet(1)).expect("an answer");
    let given = rig.host.patience();
    assert_eq!(given.len(), 2);
    assert!(given[0] < rig.limits.deadline_nanos && given[1] < given[0], "{given:?}");
}
