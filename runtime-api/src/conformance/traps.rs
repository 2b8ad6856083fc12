//! Faults of the guest's own code: the same kind on every backend.

use super::Make;
use super::guests::guest;
use super::rig::{Rig, ask};
use crate::TrapKind;

/// A body that traps, and how. Shared with the transcript.
pub(super) const FAULTS: [(&str, TrapKind); 16] = [
    ("(unreachable)", TrapKind::Unreachable),
    ("(i64.extend_i32_u (i32.div_u (i32.const 1) (local.get $len)))", TrapKind::DivisionByZero),
    ("(i64.rem_s (i64.const 1) (i64.extend_i32_u (local.get $len)))", TrapKind::DivisionByZero),
    (
        "(i64.extend_i32_u (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $len) (i32.const 1))))",
        TrapKind::IntegerOverflow,
    ),
    ("(i64.trunc_f64_s (f64.const 1e30))", TrapKind::IntegerOverflow),
    ("(i64.trunc_f32_u (f32.const -1))", TrapKind::IntegerOverflow),
    ("(i64.trunc_f64_u (f64.const nan))", TrapKind::BadConversion),
    ("(i64.load (i32.const 65529))", TrapKind::OutOfBounds),
    ("(i64.load offset=4294967295 (i32.const -1))", TrapKind::OutOfBounds),
    ("(i32.store8 (i32.const -1) (i32.const 0)) (i64.const 0)", TrapKind::OutOfBounds),
    (
        "(memory.fill (i32.const 1) (i32.const 0) (i32.const 65536)) (i64.const 0)",
        TrapKind::OutOfBounds,
    ),
    (
        "(memory.copy (i32.const 0) (i32.const 65535) (i32.const 2)) (i64.const 0)",
        TrapKind::OutOfBounds,
    ),
    ("(call_indirect (result i64) (i32.const 0))", TrapKind::BadTable),
    ("(call_indirect (result i64) (i32.const 1))", TrapKind::BadTable),
    ("(call_indirect (result i64) (i32.const 2))", TrapKind::BadTable),
    ("(table.set 0 (i32.const 9) (ref.null func)) (i64.const 0)", TrapKind::BadTable),
];

/// Slot 0 holds nothing, slot 1 a function of another type, slot 2 is outside.
pub(super) const TABLE: &str =
    "(table 2 funcref) (func $other (param f32)) (elem (i32.const 1) func $other)";

/// Each fault has its kind, an empty response, and hurts nobody else.
pub fn each_trap_has_its_kind_and_kills_only_its_instance(make: Make<'_>) {
    let rig = Rig::new(make);
    let mut bystander = rig.start(&super::guests::echo());
    for (body, kind) in FAULTS {
        let trap = rig.trap(&guest(TABLE, body), b"");
        assert_eq!(trap.kind(), kind, "{body}: {trap}");
        assert!(trap.kind().kills());
        assert_eq!(ask(&mut *bystander, body.as_bytes()), body.as_bytes());
    }
}

/// Recursion without end stops before fuel does, and the thread survives it, twice.
pub fn endless_recursion_is_a_stack_overflow(make: Make<'_>) {
    let wat =
        guest("", "(i64.add (call $process (local.get $ptr) (local.get $len)) (i64.const 1))");
    let rig = Rig::new(make);
    for _ in 0..2 {
        assert_eq!(rig.trap(&wat, b"").kind(), TrapKind::StackOverflow);
    }
}

/// A trap in the start section, `_initialize`, `init` or `planck_abi`, and data
/// that does not fit memory.
pub fn a_trap_while_starting_is_reported(make: Make<'_>) {
    let rig = Rig::new(make);
    for more in [
        "(func $boom (unreachable)) (start $boom)",
        r#"(func (export "_initialize") (unreachable))"#,
        r#"(func (export "init") (unreachable))"#,
    ] {
        let outcome = rig.try_start(&guest(more, "(i64.const 0)"));
        let trap = outcome.err().expect("it cannot start");
        assert_eq!(trap.kind(), TrapKind::Unreachable, "{more}");
    }
    let outcome = rig.try_start(&guest(r#"(data (i32.const 65535) "ab")"#, "(i64.const 0)"));
    assert_eq!(outcome.err().expect("data outside").kind(), TrapKind::OutOfBounds);
}
