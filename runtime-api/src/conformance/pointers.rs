//! Pointers a guest must not get away with.

use super::Make;
use super::guests::guest;
use super::rig::{Rig, ask};
use crate::TrapKind;

/// Ranges outside one page of memory: negative, past the end, wrapping, empty but outside.
const BAD: [(i64, i64); 9] = [
    (-1, 1),
    (-1, 0),
    (65_536, 1),
    (65_535, 2),
    (0, 65_537),
    (0, -1),
    (1, -1),
    (-16, 32),
    (i32::MIN as i64, i32::MIN as i64),
];

/// Every pointer of every import.
pub fn imports_refuse_ranges_outside_memory(make: Make<'_>) {
    let rig = Rig::new(make);
    for (ptr, len) in BAD {
        let bad = format!("(i32.const {ptr}) (i32.const {len})");
        let fine = "(i32.const 0) (i32.const 8)";
        for call in [
            format!("(drop (call $request {bad} {fine}))"),
            format!("(drop (call $request {fine} {bad}))"),
            format!("(drop (call $read (i32.const 0) {bad}))"),
            format!("(drop (call $service {bad} {fine} {fine}))"),
            format!("(drop (call $service {fine} {bad} {fine}))"),
            format!("(drop (call $service {fine} {fine} {bad}))"),
            format!("(call $log (i32.const 0) {bad})"),
            format!("(call $random {bad})"),
        ] {
            let trap = rig.trap(&guest("", &format!("{call} (i64.const 0)")), b"");
            assert_eq!(trap.kind(), TrapKind::BadPointer, "{call}: {trap}");
            assert!(trap.to_string().starts_with("host_"), "it names the import: {trap}");
        }
    }
    assert_eq!((rig.host.requests(), rig.host.logged().len()), (0, 0));
}

/// The reply's buffer is checked before the operation, which could be a write.
pub fn nothing_runs_when_the_reply_buffer_is_bad(make: Make<'_>) {
    let rig = Rig::new(make);
    let wat = guest(
        "",
        "(call $request (local.get $ptr) (local.get $len) (i32.const 65530) (i32.const 7))",
    );
    assert_eq!(rig.trap(&wat, b"a write").kind(), TrapKind::BadPointer);
    assert_eq!(rig.host.requests(), 0);
}

/// What `process` returns.
pub fn process_refuses_ranges_outside_memory(make: Make<'_>) {
    let rig = Rig::new(make);
    for (ptr, len) in BAD {
        if ptr < 0 {
            continue; // a negative result is a status
        }
        let body = format!("(call $pack (i32.const {ptr}) (i32.const {len}))");
        let trap = rig.trap(&guest("", &body), b"");
        assert_eq!(trap.kind(), TrapKind::BadPointer, "({ptr}, {len}): {trap}");
        assert!(trap.to_string().starts_with("process"), "{trap}");
    }
}

/// `alloc` that gives nothing, or room that is not there.
pub fn alloc_must_give_room(make: Make<'_>) {
    let rig = Rig::new(make);
    for (gives, kind) in [
        ("0", TrapKind::Memory),
        ("-1", TrapKind::BadPointer),
        ("65535", TrapKind::BadPointer),
        ("61441", TrapKind::BadPointer),
    ] {
        let wat = format!(
            r#"(module (memory (export "memory") 1)
                 (func (export "planck_abi") (result i32) i32.const 1)
                 (func (export "alloc") (param i32) (result i32) i32.const {gives})
                 (func (export "process") (param i32 i32) (result i64) i64.const 0))"#
        );
        assert_eq!(rig.trap(&wat, b"x").kind(), kind, "alloc gave {gives}");
    }
}

/// The last byte is inside, and so is the empty range behind it.
pub fn ranges_up_to_the_last_byte_are_fine(make: Make<'_>) {
    let wat = guest(
        "",
        "(call $random (i32.const 65280) (i32.const 256))
         (call $random (i32.const 65536) (i32.const 0))
         (call $log (i32.const 0) (i32.const 65535) (i32.const 1))
         (call $pack (i32.const 65535) (i32.const 1))",
    );
    let mut instance = Rig::new(make).start(&wat);
    assert_eq!(ask(&mut *instance, b""), [255]);
}
