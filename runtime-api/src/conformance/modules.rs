//! Modules that must be refused, each with the words that help.

use super::Make;
use super::guests::{echo, guest};
use super::rig::{Rig, binary};
use crate::{CompileError, TrapKind, abi};

/// Each absent export by its name, and only those.
pub fn missing_exports_are_named(make: Make<'_>) {
    let rig = Rig::new(make);
    let CompileError::Exports(all) = rig.refusal("(module)") else { panic!("exports are missing") };
    assert_eq!(
        all,
        [
            "memory is missing",
            "planck_abi is missing, a function () -> i32",
            "alloc is missing, a function (i32) -> i32",
            "process is missing, a function (i32, i32) -> i64"
        ]
    );
    for (name, start) in [("memory", "memory is"), ("alloc", "alloc is"), ("process", "process is")]
    {
        let wat = echo().replace(&format!("(export \"{name}\")"), "");
        let CompileError::Exports(one) = rig.refusal(&wat) else { panic!("{name} is missing") };
        assert!(one.len() == 1 && one[0].starts_with(start), "{one:?}");
    }
}

/// An export of another kind or signature is not the export.
pub fn exports_of_another_shape_are_named(make: Make<'_>) {
    let rig = Rig::new(make);
    for (more, said) in [
        (r#"(func (export "init") (param i32))"#, "init must be a function ()"),
        (r#"(func (export "free") (param i32))"#, "free must be a function (i32, i32)"),
        (
            r#"(global (export "_initialize") i32 (i32.const 0))"#,
            "_initialize must be a function ()",
        ),
        (r#"(func (export "planck:start"))"#, "planck:start is a name the host keeps for itself"),
        (
            r#"(global (export "planck:fuel") (mut i64) (i64.const 9))"#,
            "planck:fuel is a name the host keeps for itself",
        ),
    ] {
        let refusal = rig.refusal(&guest(more, "(i64.const 0)"));
        assert_eq!(refusal, CompileError::Exports(vec![said.to_owned()]));
    }
    let wat = r#"(module (memory (export "m") 1) (global (export "memory") i32 (i32.const 0))
        (func (export "planck_abi") (result i64) (i64.const 1))
        (func (export "alloc") (param i64) (result i32) (i32.const 1))
        (func (export "process") (param i32 i32) (result i32) (i32.const 1)))"#;
    let CompileError::Exports(faults) = rig.refusal(wat) else { panic!("all four are wrong") };
    assert_eq!(faults.len(), 4, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.contains("must be")), "{faults:?}");
}

/// Imports from elsewhere, unknown ones, and known ones of another shape.
pub fn unknown_imports_are_named(make: Make<'_>) {
    let rig = Rig::new(make);
    for (import, said) in [
        (r#"(import "env" "puts" (func (param i32)))"#, "env.puts"),
        (r#"(import "planck" "host_write" (func (param i32 i32)))"#, "planck.host_write"),
        (
            r#"(import "wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#,
            "wasi_unstable.fd_write (of WASI there is preview 1 alone",
        ),
        (
            r#"(import "wasi_snapshot_preview1" "fd_poll" (func (param i32)))"#,
            "wasi_snapshot_preview1.fd_poll",
        ),
        (
            r#"(import "planck" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#,
            "planck.fd_write",
        ),
        (
            r#"(import "planck" "host_now" (func (result i32)))"#,
            "host_now as (0 parameters, 1 results), it is () -> i64",
        ),
        (r#"(import "planck" "memory" (memory 1))"#, "planck.memory (not a function)"),
        (r#"(import "planck" "g" (global i32))"#, "planck.g (not a function)"),
    ] {
        let wat =
            format!(r#"(module {import} (func (export "planck_abi") (result i32) (i32.const 1)))"#);
        let CompileError::Imports(faults) = rig.refusal(&wat) else { panic!("{import}") };
        assert!(faults.len() == 1 && faults[0].contains(said), "{faults:?}");
    }
}

/// No prefix of a module is a module, and none crashes the compiler.
pub fn every_truncation_is_refused(make: Make<'_>) {
    let rig = Rig::new(make);
    let whole = binary(&echo());
    assert!(rig.runtime.compile(&whole).is_ok());
    // The text's names end it as a custom section: without that it is whole still.
    let names = 8 + whole[8..].windows(5).position(|w| w == b"\x04name").expect("a name section");
    let without = (names - 4..names - 1).find(|at| rig.runtime.compile(&whole[..*at]).is_ok());
    let whole = &whole[..without.expect("the module without its names")];
    let mut cut = 0;
    for len in 0..whole.len() {
        match rig.runtime.compile(&whole[..len]) {
            Ok(_) => panic!("{len} of {} bytes were taken", whole.len()),
            Err(CompileError::Truncated { offset }) => {
                assert!(offset <= len);
                cut += 1;
            }
            // Cut between two sections: something is missing instead.
            Err(_) => {}
        }
    }
    assert!(cut > whole.len() * 9 / 10, "{cut} of {} said what happened", whole.len());
}

/// Text, components, garbage.
pub fn other_files_are_refused(make: Make<'_>) {
    let rig = Rig::new(make);
    for (bytes, said) in [
        (&b""[..], "empty"),
        (b"(module)", "does not begin with"),
        (b"\x7fELF\x02\x01\x01\0", "does not begin with"),
        (b"\0asm\x0d\0\x01\0", "component"),
        (b"\0asm\x02\0\0\0", "binary version"),
    ] {
        let refusal = rig.runtime.compile(bytes).expect_err("not a module").to_string();
        assert!(refusal.contains(said), "{refusal}");
    }
    // A flipped byte anywhere is refused or makes another module; it never crashes.
    let whole = binary(&echo());
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 0x55;
        let _either_way = rig.runtime.compile(&bent).is_ok();
    }
}

/// Named at compile time if the function is a constant, else at the first start.
pub fn another_abi_version_is_refused(make: Make<'_>) {
    let rig = Rig::new(make);
    let constant = "(func (export \"planck_abi\") (result i32) i32.const 1)";
    let other = echo().replace(constant, "(func (export \"planck_abi\") (result i32) i32.const 2)");
    assert_eq!(rig.refusal(&other), CompileError::AbiVersion { found: 2 });
    let computed = echo().replace(
        constant,
        "(func (export \"planck_abi\") (result i32) (i32.add (i32.const 1) (memory.size)))",
    );
    let trap = rig.try_start(&computed).err().expect("version 2");
    assert_eq!(trap.kind(), TrapKind::Protocol);
    assert!(trap.to_string().contains("returned 2"), "{trap}");
}

/// Whatever one backend lacks, both refuse.
pub fn features_outside_the_set_are_refused(make: Make<'_>) {
    let rig = Rig::new(make);
    for (what, wat) in [
        ("threads", guest("", "(i64.extend_i32_u (i32.atomic.load (i32.const 0)))")),
        ("shared memory", echo().replace(r#""memory") 1)"#, r#""memory") 1 1 shared)"#)),
        ("memory64", echo().replace(r#""memory") 1)"#, r#""memory") i64 1)"#)),
        ("multi-memory", guest("(memory 1)", "(i64.const 0)")),
        ("tail calls", guest("", "(return_call $process (local.get $ptr) (local.get $len))")),
        ("exceptions", guest("(tag $t)", "(throw $t)")),
        ("garbage collection", guest("(type $s (struct))", "(drop (struct.new $s)) (i64.const 0)")),
        (
            "function references",
            guest("(type $f (func))", "(call_ref $f (ref.null $f)) (i64.const 0)"),
        ),
        (
            "relaxed SIMD",
            guest(
                "",
                "(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))) (i64.const 0)",
            ),
        ),
        (
            "table.grow",
            guest(
                "(table 1 funcref)",
                "(drop (table.grow 0 (ref.null func) (i32.const 1))) (i64.const 0)",
            ),
        ),
    ] {
        let refusal = rig.refusal(&wat);
        assert!(matches!(refusal, CompileError::Invalid { .. }), "{what}: {refusal}");
    }
}

/// Memory no pointer of ours could reach, tables past any limit.
pub fn too_large_modules_are_refused(make: Make<'_>) {
    let rig = Rig::new(make);
    let pages = abi::MAX_MEMORY_BYTES / abi::PAGE_BYTES + 1;
    let memory = echo().replace(r#""memory") 1)"#, &format!(r#""memory") {pages})"#));
    let table = guest(&format!("(table {} funcref)", abi::MAX_TABLE_ELEMENTS + 1), "(i64.const 0)");
    let tables = guest(&"(table 1 funcref)".repeat(abi::MAX_TABLES + 1), "(i64.const 0)");
    for wat in [memory, table, tables] {
        let refusal = rig.refusal(&wat);
        assert!(matches!(refusal, CompileError::TooLarge(_)), "{refusal}");
    }
}
