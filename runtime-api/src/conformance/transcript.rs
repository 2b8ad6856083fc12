//! The same inputs give the same replies on every backend.
//!
//! Programs and inputs are run in a fixed order and every reply, or the kind of
//! every trap, is hashed. The hash is a constant here: a backend that differs in
//! one byte fails, and so does a change of the ABI nobody meant.

use super::Make;
use super::guests::{echo, guest};
use super::rig::Rig;
use super::traps::{FAULTS, TABLE};

/// What every backend must arrive at.
const EXPECTED: u64 = 0x8b2c_050a_2051_2a99;

/// NaNs that arithmetic makes are the canonical one, whatever went in.
pub fn nans_are_canonical(make: Make<'_>) {
    let rig = Rig::new(make);
    for (f32, f64) in [
        ("(f32.div (f32.const 0) (f32.const 0))", "(f64.div (f64.const 0) (f64.const 0))"),
        ("(f32.sqrt (f32.const -1))", "(f64.sqrt (f64.const -1))"),
        (
            "(f32.add (f32.const nan:0x123456) (f32.const 1))",
            "(f64.mul (f64.const -nan:0x123456) (f64.const 1))",
        ),
        (
            "(f32.sub (f32.const inf) (f32.const inf))",
            "(f64.min (f64.const nan:0x77) (f64.const 1))",
        ),
        ("(f32.demote_f64 (f64.const -nan:0xfffff))", "(f64.promote_f32 (f32.const nan:0x200001))"),
        (
            "(f32x4.extract_lane 2 (f32x4.sub (v128.const f32x4 0 0 inf 0) (v128.const f32x4 0 0 inf 0)))",
            "(f64x2.extract_lane 1 (f64x2.sqrt (v128.const f64x2 1 -1)))",
        ),
    ] {
        let wat = guest(
            "",
            &format!(
                "(f32.store (i32.const 64) {f32}) (f64.store (i32.const 68) {f64}) (call $pack (i32.const 64) (i32.const 12))"
            ),
        );
        let bits = rig.once(&wat, b"").expect("no trap");
        assert_eq!(bits[..4], 0x7fc0_0000_u32.to_le_bytes(), "{f32}");
        assert_eq!(bits[4..], 0x7ff8_0000_0000_0000_u64.to_le_bytes(), "{f64}");
    }
}

/// Programs: definitions and a body each.
const PROGRAMS: [(&str, &str); 8] = [
    // FNV-1a of the request.
    (
        "",
        "(local $h i64) (local $i i32) (local.set $h (i64.const 0xcbf29ce484222325))
         (block $done (loop $more
           (br_if $done (i32.ge_u (local.get $i) (local.get $len)))
           (local.set $h (i64.mul
             (i64.xor (local.get $h) (i64.load8_u (i32.add (local.get $ptr) (local.get $i))))
             (i64.const 0x100000001b3)))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br $more)))
         (call $u64 (local.get $h))",
    ),
    // How many primes below 20,000, by a sieve.
    (
        "",
        "(local $i i32) (local $j i32) (local $n i64)
         (local.set $i (i32.const 2))
         (loop $outer
           (if (i32.eqz (i32.load8_u (i32.add (i32.const 20000) (local.get $i))))
             (then
               (local.set $n (i64.add (local.get $n) (i64.const 1)))
               (local.set $j (i32.mul (local.get $i) (local.get $i)))
               (block $out (loop $inner
                 (br_if $out (i32.ge_u (local.get $j) (i32.const 20000)))
                 (i32.store8 (i32.add (i32.const 20000) (local.get $j)) (i32.const 1))
                 (local.set $j (i32.add (local.get $j) (local.get $i)))
                 (br $inner)))))
           (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 141))))
         (loop $rest
           (local.set $n (i64.add (local.get $n)
             (i64.extend_i32_u (i32.eqz (i32.load8_u (i32.add (i32.const 20000) (local.get $i)))))))
           (br_if $rest (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20000))))
         (call $u64 (local.get $n))",
    ),
    // Integer corners over the request's length.
    (
        "",
        "(local $x i64) (local.set $x (i64.extend_i32_u (local.get $len)))
         (call $u64 (i64.xor
           (i64.rotl (i64.sub (i64.clz (local.get $x)) (i64.const 77)) (i64.add (i64.ctz (local.get $x)) (i64.const 65)))
           (i64.add (i64.popcnt (i64.mul (local.get $x) (i64.const -7046029254386353131)))
             (i64.shr_s (i64.extend16_s (i64.mul (local.get $x) (i64.const 40503))) (i64.const 67)))))",
    ),
    // Floats: rounding, saturation, signed zero.
    (
        "",
        "(local $x f64) (local.set $x (f64.div (f64.convert_i32_s (i32.sub (local.get $len) (i32.const 5))) (f64.const 2)))
         (i64.store (i32.const 64) (i64.reinterpret_f64 (f64.nearest (local.get $x))))
         (i64.store (i32.const 72) (i64.reinterpret_f64 (f64.copysign (f64.sqrt (f64.abs (local.get $x))) (f64.const -0))))
         (i64.store (i32.const 80) (i64.trunc_sat_f64_s (f64.mul (local.get $x) (f64.const 1e300))))
         (i32.store (i32.const 88) (i32.reinterpret_f32 (f32.demote_f64 (f64.div (local.get $x) (f64.const 3)))))
         (i64.store (i32.const 92) (i64.reinterpret_f64 (f64.max (f64.const -0) (f64.const 0))))
         (call $pack (i32.const 64) (i32.const 36))",
    ),
    // A table of functions and a branch table.
    (
        "(table funcref (elem $a $b $c)) (type $t (func (param i64) (result i64)))
         (func $a (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
         (func $b (param i64) (result i64) (i64.mul (local.get 0) (i64.const 3)))
         (func $c (param i64) (result i64) (i64.sub (i64.const 0) (local.get 0)))",
        "(local $i i32) (local $x i64)
         (loop $more
           (local.set $x (call_indirect (type $t) (local.get $x) (i32.rem_u (i32.mul (local.get $i) (local.get $i)) (i32.const 3))))
           (block $two (block $one (block $zero
             (br_table $zero $one $two (i32.rem_u (local.get $i) (i32.const 5))))
             (local.set $x (i64.add (local.get $x) (i64.const 11))))
             (local.set $x (i64.xor (local.get $x) (i64.const 0x5555))))
           (br_if $more (i32.le_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $len))))
         (call $u64 (local.get $x))",
    ),
    // Vectors, several results, passive data.
    (
        r#"(data $d "passive data here")
           (func $two (param i32) (result i32 i32) (local.get 0) (i32.mul (local.get 0) (i32.const 9)))"#,
        "(memory.init $d (i32.const 512) (i32.const 0) (i32.const 17))
         (call $two (local.get $len)) (i32.store offset=4 (i32.const 0) (i32.const 0)) drop drop
         (v128.store (i32.const 64) (i8x16.shuffle 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1 0
           (i32x4.add (v128.load (i32.const 512)) (i32x4.splat (local.get $len))) (v128.const i64x2 1 2)))
         (v128.store (i32.const 80) (i16x8.q15mulr_sat_s (v128.load (i32.const 512)) (i16x8.splat (local.get $len))))
         (data.drop $d)
         (call $pack (i32.const 64) (i32.const 32))",
    ),
    // The host's replies, in parts.
    (
        "",
        "(local $total i64)
         (local.set $total (call $request (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 20)))
         (if (i64.gt_u (local.get $total) (i64.const 20))
           (then (drop (call $read (i32.const 3) (i32.const 1024) (i32.const 30000)))))
         (call $pack (i32.const 1024) (i32.wrap_i64 (local.get $total)))",
    ),
    // Memory as the guest sees it grow.
    (
        "",
        "(i32.store (i32.const 64) (memory.grow (i32.mul (local.get $len) (i32.const 3))))
         (i32.store (i32.const 68) (memory.size))
         (i32.store (i32.const 72) (memory.grow (i32.const 65536)))
         (call $pack (i32.const 64) (i32.const 12))",
    ),
];

/// Runs all programs and all faults on all inputs, each on an instance that lives
/// for its inputs, and compares the hash.
pub fn the_same_inputs_give_the_same_replies(make: Make<'_>) {
    let rig = Rig::new(make);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut note = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let inputs: [&[u8]; 6] = [b"", b"a", b"abcde", b"\x10\x27\0\0", b"hello, world", &[0xa5; 300]];
    let programs = PROGRAMS.iter().map(|(more, body)| guest(more, body));
    let faults = FAULTS.iter().map(|(body, _)| guest(TABLE, body));
    for wat in programs.chain(faults).chain([echo()]) {
        let mut instance = rig.start(&wat);
        for input in inputs {
            let mut response = Vec::new();
            match instance.process(input, &mut response) {
                Ok(_) => note(&response),
                Err(trap) => {
                    note(trap.kind().name().as_bytes());
                    instance = rig.start(&wat);
                }
            }
            note(b"|");
        }
    }
    assert_eq!(hash, EXPECTED, "{}: the transcript is {hash:#018x}", rig.runtime.name());
}
