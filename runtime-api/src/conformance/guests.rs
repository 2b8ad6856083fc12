//! Guests as text: one frame, a body per case.

use crate::abi::Ty;
use crate::wasi::{self, Wasi};

/// The imports, a bump allocator, `planck_abi`; everything a guest needs but `process`.
///
/// * `$request $read $service $log $now $random`: the imports.
/// * `$pack ptr len`: what `process` returns.
/// * `$u64 value`: answers eight little-endian bytes, at address 64.
/// * `$top`: where `alloc` takes from; starts at 4096.
const FRAME: &str = r#"
  (import "planck" "host_request" (func $request (param i32 i32 i32 i32) (result i64)))
  (import "planck" "host_read" (func $read (param i32 i32 i32) (result i64)))
  (import "planck" "host_call_service" (func $service (param i32 i32 i32 i32 i32 i32) (result i64)))
  (import "planck" "host_log" (func $log (param i32 i32 i32)))
  (import "planck" "host_now" (func $now (result i64)))
  (import "planck" "host_random" (func $random (param i32 i32)))
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 4096))
  (func (export "planck_abi") (result i32) i32.const 1)
  (func $alloc (export "alloc") (param $len i32) (result i32)
    (local $at i32) (local $pages i32)
    (local.set $at (global.get $top))
    (global.set $top (i32.add (local.get $at) (local.get $len)))
    (local.set $pages
      (i32.sub
        (i32.shr_u (i32.add (global.get $top) (i32.const 65535)) (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1))
        (then (return (i32.const 0))))))
    (local.get $at))
  (func $pack (param $ptr i32) (param $len i32) (result i64)
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
      (i64.extend_i32_u (local.get $len))))
  (func $u64 (param $value i64) (result i64)
    (i64.store (i32.const 64) (local.get $value))
    (call $pack (i32.const 64) (i32.const 8)))
"#;

/// A guest whose `process`, with parameters `$ptr $len`, is `body`; `more` adds
/// definitions of its own.
pub fn guest(more: &str, body: &str) -> String {
    importing("", more, body)
}

/// The same, with `host_write` as `$write`: it is in no other guest of the suite, since a
/// module need not import it.
pub(super) fn writing(more: &str, body: &str) -> String {
    let import = r#"(import "planck" "host_write" (func $write (param i32 i32) (result i64)))"#;
    importing(import, more, body)
}

/// The same, with functions of WASI, each as `$name`.
pub(super) fn wasi_guest(names: &[&str], more: &str, body: &str) -> String {
    let types = |types: &[Ty]| -> String {
        types.iter().map(|ty| if *ty == Ty::I32 { " i32" } else { " i64" }).collect()
    };
    let import = |name: &&str| {
        let signature = Wasi::by_name(name).expect("a function of WASI").signature();
        let result = signature.result.map(|_| "(result i32)").unwrap_or_default();
        format!(
            r#"(import "{}" "{name}" (func ${name} (param{}) {result}))"#,
            wasi::MODULE,
            types(signature.params)
        )
    };
    importing(&names.iter().map(import).collect::<String>(), more, body)
}

fn importing(imports: &str, more: &str, body: &str) -> String {
    format!(
        "(module {imports} {FRAME} {more}\n (func $process (export \"process\") (param $ptr i32) (param $len i32) (result i64)\n{body}))"
    )
}

/// A guest that answers its request.
pub(super) fn echo() -> String {
    guest("", "(call $pack (local.get $ptr) (local.get $len))")
}
