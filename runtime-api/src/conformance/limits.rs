//! Limits strike, on the thing they limit, with their own kind.

use super::Make;
use super::guests::{echo, guest};
use super::rig::{Rig, ask};
use crate::{Instance, TrapKind};

const MILLI: u64 = 1_000_000;

/// Work without end: a loop, a loop of calls, mutual calls by table, a loop in
/// each function the host calls.
fn endless() -> Vec<String> {
    let still = "(call $pack (i32.const 0) (i32.const 0))";
    let forever = "(loop $again (br $again))";
    vec![
        guest("", &format!("{forever} (unreachable)")),
        // A cycle whose only payment can be made at its one branch.
        guest("", "(loop $again (br_table $again $again (local.get $len))) (unreachable)"),
        guest("", "(loop $again (br_if $again (i32.const 1))) (unreachable)"),
        guest("(func $nothing)", "(loop $again (call $nothing) (br $again)) (unreachable)"),
        guest(
            "(table funcref (elem $nothing)) (func $nothing)",
            "(loop $again (call_indirect (i32.const 0)) (br $again)) (unreachable)",
        ),
        guest(
            "",
            "(loop $again (br_if $again (i32.const 1)) (br_if $again (i32.eqz (memory.size)))) (unreachable)",
        ),
        guest(
            "",
            "(loop $again (block (br_table 0 1 (local.get $len))) (br $again)) (unreachable)",
        ),
        guest(
            "",
            "(loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $again)) (unreachable)",
        ),
        guest(
            "",
            "(loop $again (if (i32.const 1) (then (br $again)) (else (br $again)))) (unreachable)",
        ),
        guest(
            &format!(r#"(func (export "free") (param i32 i32) {forever})"#),
            "(call $u64 (i64.const 1))",
        ),
        guest(&format!(r#"(func (export "init") {forever})"#), still),
        guest(&format!(r#"(func (export "_initialize") {forever})"#), still),
        guest(&format!("(func $main {forever}) (start $main)"), still),
        format!(
            r#"(module (memory (export "memory") 1)
                 (func (export "planck_abi") (result i32) {forever} (unreachable))
                 (func (export "alloc") (param i32) (result i32) (i32.const 1024))
                 (func (export "process") (param i32 i32) (result i64) (i64.const 0)))"#
        ),
        format!(
            r#"(module (memory (export "memory") 1)
                 (func (export "planck_abi") (result i32) (i32.const 1))
                 (func (export "alloc") (param i32) (result i32) {forever} (unreachable))
                 (func (export "process") (param i32 i32) (result i64) (i64.const 0)))"#
        ),
    ]
}

/// No clock moves, yet every endless guest ends, having used all its fuel.
pub fn loops_end_by_fuel(make: Make<'_>) {
    let rig = Rig::new(make).with(|limits| limits.fuel = 3_000_000);
    for wat in endless() {
        let trap = rig.trap(&wat, b"");
        assert_eq!(trap.kind(), TrapKind::OutOfFuel, "{trap}\n{wat}");
    }
}

/// Fuel without end: the clock, which moves a millisecond at each look, ends it.
pub fn loops_end_by_deadline_with_endless_fuel(make: Make<'_>) {
    let rig = Rig::stepping(make, MILLI).with(|limits| {
        limits.fuel = u64::MAX;
        limits.deadline_nanos = 5 * MILLI;
    });
    for wat in endless() {
        let trap = rig.trap(&wat, b"");
        assert_eq!(trap.kind(), TrapKind::Deadline, "{trap}\n{wat}");
    }
}

/// A guest that only waits on the host looks at the clock at every call.
pub fn host_calls_end_by_deadline(make: Make<'_>) {
    let wat = guest("", "(loop $again (drop (call $now)) (br $again)) (unreachable)");
    let rig = Rig::stepping(make, MILLI).with(|limits| limits.deadline_nanos = 50 * MILLI);
    assert_eq!(rig.trap(&wat, b"").kind(), TrapKind::Deadline);
}

/// One instruction that moves a mebibyte costs a mebibyte's work; growth too.
pub fn bulk_operations_cost_what_they_move(make: Make<'_>) {
    let rig = Rig::new(make);
    let cost = |body: &str| {
        let wat = guest(
            r#"(memory $unused 0) (data $d "0123456789")"#,
            &format!("{body} (call $pack (i32.const 0) (i32.const 0))"),
        );
        // A second memory is not allowed; the name only keeps the text honest.
        let wat = wat.replace("(memory $unused 0)", "");
        let mut instance = rig.start(&wat);
        ask(&mut *instance, b"");
        instance.last_call().fuel
    };
    let grow = "(drop (memory.grow (i32.const 16)))";
    let grown = cost(grow);
    let nothing = cost("");
    assert!(grown >= nothing + 16 * 1024, "growing 16 pages: {grown} after {nothing}");
    for bulk in [
        "(memory.fill (i32.const 0) (i32.const 7) (i32.const 1048576))",
        "(memory.copy (i32.const 0) (i32.const 65536) (i32.const 1000000))",
    ] {
        let moved = cost(&format!("{grow} {bulk}"));
        assert!(moved >= grown + 1_000_000 / 64, "{bulk}: {moved} after {grown}");
        assert!(moved <= grown + 20_000, "{bulk}: {moved} after {grown}");
    }
    // A length that is a lie is charged and then refused, never believed.
    let lie = guest("", "(memory.fill (i32.const 0) (i32.const 0) (i32.const -1)) (i64.const 0)");
    assert_eq!(rig.trap(&lie, b"").kind(), TrapKind::OutOfBounds);
}

/// Growth says -1 past the cap, as WebAssembly has it; the guest decides what then.
pub fn memory_grows_to_its_cap_and_no_further(make: Make<'_>) {
    let wat =
        guest("", "(call $u64 (i64.extend_i32_s (memory.grow (i32.load8_u (local.get $ptr)))))");
    let rig = Rig::new(make).with(|limits| limits.memory_bytes = 10 * 65_536);
    let mut instance = rig.start(&wat);
    let mut grow = |pages: u8| {
        i64::from_le_bytes(ask(&mut *instance, &[pages]).try_into().expect("eight bytes"))
    };
    assert_eq!(grow(10), -1, "1 + 10 pages are too many");
    assert_eq!(grow(9), 1, "1 + 9 pages are not");
    assert_eq!((grow(1), grow(0)), (-1, 10));
    assert_eq!(instance.memory_bytes(), 10 * 65_536);
    assert_eq!(instance.last_call().memory_bytes, 10 * 65_536);

    // The module's own maximum is lower: not our limit, so an abort stays an abort.
    let own = r#"(module (memory (export "memory") 1 2)
        (func (export "planck_abi") (result i32) (i32.const 1))
        (func (export "alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "process") (param i32 i32) (result i64)
          (if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then (unreachable)))
          (i64.const 0)))"#;
    assert_eq!(rig.trap(own, b"").kind(), TrapKind::Unreachable);
}

/// An allocator that panics when memory is refused ran out of memory.
pub fn a_guest_that_dies_of_a_refused_growth_is_out_of_memory(make: Make<'_>) {
    let wat = guest(
        "",
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)",
    );
    let rig = Rig::new(make);
    let trap = rig.trap(&wat, b"");
    assert_eq!(trap.kind(), TrapKind::Memory);
    assert!(trap.to_string().contains("raise wasm.memory"), "{trap}");
    // The host's own request for room is told the same.
    let mut response = Vec::new();
    let trap = rig
        .with(|limits| limits.memory_bytes = 65_536)
        .start(&echo())
        .process(&[0; 70_000], &mut response)
        .expect_err("no room for the request");
    assert_eq!(trap.kind(), TrapKind::Memory);
}

/// What a module starts with counts.
pub fn a_module_that_starts_too_large_is_refused(make: Make<'_>) {
    let rig = Rig::new(make).with(|limits| {
        limits.memory_bytes = 2 * 65_536;
        limits.table_elements = 100;
    });
    let large =
        echo().replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 3)"#);
    let fine = echo().replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 2)"#);
    assert_eq!(rig.try_start(&large).err().expect("refused").kind(), TrapKind::Memory);
    assert!(rig.try_start(&fine).is_ok());
    let table = |n| guest(&format!("(table {n} funcref)"), "(i64.const 0)");
    assert_eq!(rig.try_start(&table(101)).err().expect("refused").kind(), TrapKind::Memory);
    assert!(rig.try_start(&table(100)).is_ok());
}

/// Bytes out, bytes in, calls of the host.
pub fn responses_requests_and_host_calls_are_bounded(make: Make<'_>) {
    let rig = Rig::new(make).with(|limits| {
        limits.response_bytes = 100;
        limits.request_bytes = 200;
        limits.host_calls = 3;
    });
    assert_eq!(rig.once(&echo(), &[7; 100]).map(|r| r.len()), Ok(100));
    assert_eq!(rig.trap(&echo(), &[7; 101]).kind(), TrapKind::ResponseTooLarge);
    assert_eq!(rig.trap(&echo(), &[7; 200]).kind(), TrapKind::ResponseTooLarge, "it is taken");
    assert_eq!(rig.trap(&echo(), &[7; 201]).kind(), TrapKind::RequestTooLarge);
    let send = |bytes: u32| {
        let call = format!(
            "(call $request (i32.const 0) (i32.const {bytes}) (i32.const 0) (i32.const 0))"
        );
        guest("", &format!("(drop {call}) (i64.const 0)"))
    };
    assert!(rig.once(&send(200), b"").is_ok());
    assert_eq!(rig.trap(&send(201), b"").kind(), TrapKind::RequestTooLarge);
    let random = |bytes: u32| {
        guest("", &format!("(call $random (i32.const 0) (i32.const {bytes})) (i64.const 0)"))
            .replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 2)"#)
    };
    assert!(rig.once(&random(65_536), b"").is_ok());
    assert_eq!(rig.trap(&random(65_537), b"").kind(), TrapKind::RequestTooLarge);
    let calls = |n: usize| guest("", &format!("{} (i64.const 0)", "(drop (call $now)) ".repeat(n)));
    assert!(rig.once(&calls(3), b"").is_ok());
    assert_eq!(rig.trap(&calls(4), b"").kind(), TrapKind::HostCalls);
    // The count is per call, not per instance.
    let mut instance = rig.start(&calls(3));
    for _ in 0..3 {
        ask(&mut *instance, b"");
    }
}

/// Fuel is a function of the call: the same on a fresh instance, again on the
/// next, and as much again on the same one.
pub fn the_same_call_costs_the_same_fuel(make: Make<'_>) {
    let rig = Rig::new(make);
    let wat = guest(
        "",
        "(local $i i32)
         (loop $more
           (i32.store8 (i32.add (i32.const 1024) (i32.and (local.get $i) (i32.const 1023))) (local.get $i))
           (drop (call $now))
           (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2000))))
         (memory.copy (i32.const 2048) (i32.const 1024) (i32.const 1024))
         (call $pack (i32.const 2048) (i32.const 1024))",
    );
    let fuel = |instance: &mut dyn Instance| {
        ask(instance, b"request");
        instance.last_call().fuel
    };
    let mut first = rig.start(&wat);
    let once = fuel(&mut *first);
    assert!(once > 2_000, "{once}");
    assert_eq!(fuel(&mut *rig.start(&wat)), once);
    let again = fuel(&mut *first);
    // The second call finds its request buffer: it is spared one `alloc`.
    assert!(again < once && once - again < 100, "{once}, then {again}");
    assert_eq!(fuel(&mut *first), again);
}
