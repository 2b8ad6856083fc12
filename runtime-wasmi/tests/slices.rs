//! Slices of fuel are invisible: only when the clock is looked at depends on them.

use std::sync::Arc;

use runtime_api::conformance::{StepClock, TestHost, guest};
use runtime_api::{CallReport, Limits, Runtime, TrapKind};
use runtime_wasmi::WasmiRuntime;

/// Loops, calls, host calls, growth and bulk operations, then answers memory's end.
const WORK: &str = "
  (local $i i32)
  (drop (memory.grow (i32.const 3)))
  (loop $more
    (memory.fill (i32.const 1024) (local.get $i) (i32.const 2000))
    (memory.copy (i32.const 70000) (i32.const 1024) (i32.const 5000))
    (i32.store (i32.const 1024) (call $mix (local.get $i)))
    (drop (call $now))
    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50))))
  (call $pack (i32.const 70000) (i32.const 5000))";
const MIX: &str = "(func $mix (param $x i32) (result i32)
  (i32.mul (i32.rotl (local.get $x) (i32.const 7)) (i32.const -1640531527)))";

fn run(slice: u64, fuel: u64) -> (Result<Vec<u8>, TrapKind>, CallReport) {
    let runtime = WasmiRuntime::new(StepClock::new(0)).with_slice(slice);
    let module =
        runtime.compile(&wat::parse_str(guest(MIX, WORK)).expect("text")).expect("it compiles");
    let limits = Limits { fuel, ..Limits::default() };
    let mut instance =
        module.instantiate(Arc::new(TestHost::default()), &limits).expect("it starts");
    let mut response = Vec::new();
    let outcome = instance.process(b"", &mut response).map(|_| response).map_err(|t| t.kind());
    (outcome, instance.last_call())
}

#[test]
fn a_call_costs_and_answers_the_same_in_slices_of_any_size() {
    let whole = run(u64::MAX, 1_000_000);
    assert!(whole.0.is_ok() && whole.1.fuel > 5_000, "{:?}", whole.1);
    for slice in [1, 2, 7, 100, 3_333, 100_000] {
        assert_eq!(run(slice, 1_000_000), whole, "slices of {slice}");
    }
}

#[test]
fn fuel_that_just_suffices_suffices_in_slices_of_any_size() {
    let (_, report) = run(u64::MAX, 1_000_000);
    for slice in [1, 7, 100_000] {
        assert!(run(slice, report.fuel).0.is_ok(), "slices of {slice}");
        assert_eq!(run(slice, report.fuel - 1).0, Err(TrapKind::OutOfFuel), "slices of {slice}");
    }
}
