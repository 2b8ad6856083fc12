//! The meter charges no path less than the instructions on it.
//!
//! Random programs of nested blocks, loops, ifs and branches count what they run:
//! each straight piece adds its own length to a global and answers the sum. The
//! fuel the call cost must be at least that.

use std::fmt::Write as _;
use std::sync::Arc;

use runtime_api::conformance::{StepClock, TestHost, guest};
use runtime_api::{Limits, Runtime};
use runtime_wasmer::WasmerRuntime;

/// A program in the making. Labels are numbered; `open` holds those around the
/// current place, each with whether it is a loop's.
struct Program {
    text: String,
    seed: u64,
    labels: u32,
    open: Vec<(u32, bool)>,
}

impl Program {
    fn pick(&mut self, n: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % n
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// `length` instructions, counted: four that count and the rest filling.
    fn piece(&mut self) {
        let length = 4 + self.pick(120);
        let _written = writeln!(
            self.text,
            "(global.set $ran (i64.add (global.get $ran) (i64.const {length})))"
        );
        for _ in 4..length {
            self.put("(drop (i32.const 7))");
        }
    }

    /// A condition that changes from turn to turn. No call in it: the meter may pay
    /// at calls, and the paths are to reach branches with debt.
    fn condition(&mut self) -> String {
        let shift = 20 + self.pick(40);
        self.put(
            "(global.set $state (i64.add (i64.mul (global.get $state) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))",
        );
        format!(
            "(i32.wrap_i64 (i64.and (i64.shr_u (global.get $state) (i64.const {shift})) (i64.const 1)))"
        )
    }

    /// True for the first 3000 times anywhere.
    fn turn(&mut self) -> &'static str {
        self.put("(global.set $turns (i32.add (global.get $turns) (i32.const 1)))");
        "(i32.lt_u (global.get $turns) (i32.const 3000))"
    }

    fn label(&mut self, is_loop: bool) -> u32 {
        self.labels += 1;
        self.open.push((self.labels, is_loop));
        self.labels
    }

    /// Branches back are taken only while the turns last.
    fn branch(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let which = self.pick(self.open.len() as u64) as usize;
        let (label, is_loop) = self.open[which];
        let condition = self.condition();
        let turn = self.turn();
        match (is_loop, self.pick(4)) {
            (true, _) => self.put(&format!("(br_if $l{label} (i32.and {condition} {turn}))")),
            (false, 0) => self.put(&format!("(if {condition} (then (br $l{label})))")),
            (false, 1) => {
                let forward: Vec<_> =
                    self.open.iter().filter(|(_, l)| !l).map(|(n, _)| *n).collect();
                let other = forward[self.pick(forward.len() as u64) as usize];
                // Falls through where the turns are over, so that code behind it lives.
                self.put(&format!("(if {turn} (then (br_table $l{label} $l{other} {condition})))"));
            }
            (false, _) => self.put(&format!("(br_if $l{label} {condition})")),
        }
    }

    fn body(&mut self, depth: u32) {
        for _ in 0..1 + self.pick(4) {
            match if depth == 0 { 0 } else { self.pick(7) } {
                0 => self.piece(),
                1 => {
                    let label = self.label(false);
                    self.put(&format!("(block $l{label}"));
                    self.body(depth - 1);
                    self.put(")");
                    self.open.pop();
                }
                2 => {
                    let label = self.label(true);
                    self.put(&format!("(loop $l{label}"));
                    self.body(depth - 1);
                    let turn = self.turn();
                    self.put(&format!("(br_if $l{label} {turn}))"));
                    self.open.pop();
                }
                3 => {
                    let label = self.label(false);
                    let condition = self.condition();
                    self.put(&format!("(if $l{label} {condition} (then"));
                    self.body(depth - 1);
                    self.put(")");
                    if self.pick(2) == 0 {
                        self.put("(else");
                        self.body(depth - 1);
                        self.put(")");
                    }
                    self.put(")");
                    self.open.pop();
                }
                4 => self.put("(call $leaf)"),
                _ => self.branch(),
            }
        }
    }
}

/// What has run, the state of the conditions, the turns taken; a function that
/// counts its five instructions.
const HELPERS: &str = "
  (global $ran (mut i64) (i64.const 0))
  (global $state (mut i64) (i64.const 88172645463325252))
  (global $turns (mut i32) (i32.const 0))
  (func $leaf
    (global.set $ran (i64.add (global.get $ran) (i64.const 5)))
    (drop (i32.const 7)))";

#[test]
fn no_path_costs_less_than_its_instructions() {
    let runtime = WasmerRuntime::new(StepClock::new(0));
    let mut longest = 0;
    for seed in 0..80 {
        let mut program = Program { text: String::new(), seed, labels: 0, open: Vec::new() };
        program.body(5);
        let work = format!("{HELPERS} (func $work {})", program.text);
        let text = guest(&work, "(call $work) (call $u64 (global.get $ran))");
        let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let module = runtime.compile(&wasm).expect("it compiles");
        let host = Arc::new(TestHost::default());
        let mut instance = module.instantiate(host, &Limits::default()).expect("it starts");
        let mut response = Vec::new();
        let report = instance.process(b"", &mut response).expect("it ends");
        let ran = u64::from_le_bytes(response.try_into().expect("eight bytes"));
        assert!(report.fuel >= ran, "seed {seed}: {} paid for {ran}\n{text}", report.fuel);
        longest = longest.max(ran);
    }
    assert!(longest > 100_000, "the programs do run: {longest}");
}

const TURNS: u64 = 1_000;
/// Instructions in `P`, a straight piece; small enough not to be paid on the way.
const PIECE: u64 = 200;

/// One turn of a loop, `P` standing for a piece and `0` or `1` for what a condition
/// gives, with how many pieces a turn
/// runs and how many it may be charged: more where a longer way joins it.
const SHAPES: [(&str, u64, u64); 14] = [
    ("P", 1, 1),
    ("P P P", 3, 3),
    // Around an arm that leaves: what was owed before the `if` is owed behind it.
    ("P (if 0 (then (br $out)))", 1, 1),
    ("P (if 0 (then (return)) (else P))", 2, 2),
    ("P (if 1 (then P) (else (return)))", 2, 2),
    ("P (if 0 (then (unreachable)) (else P)) P", 3, 3),
    // Before a loop, in it, behind it.
    ("P (loop $inner P (br_if $inner 0)) P", 3, 3),
    // Leaving forward with a debt, past code that would have paid.
    ("(block $b P (br_if $b 1) (loop $never (br $never)))", 1, 1),
    ("(block $b P (br $b)) P", 2, 2),
    ("(block $a (block $b P (br_table $a $b 1)) P (call $piece))", 3, 4),
    ("(block $a (block $b P (br_table $b $a 1)) (call $piece) P)", 1, 1),
    // Back to the head by the middle.
    ("P (if 0 (then (br $again))) P", 2, 2),
    // Calls: the callee pays at its end and at its returns.
    ("(call $piece) P (call $returns)", 3, 3),
    ("(block $a P (if 1 (then P (br $a)) (else P)))", 2, 2),
];

#[test]
fn every_shape_costs_what_it_runs_and_little_more() {
    let runtime = WasmerRuntime::new(StepClock::new(0));
    let piece = "(drop (i32.const 7))".repeat(PIECE as usize);
    for (shape, runs, charged) in SHAPES {
        let turn = shape
            .replace('P', &piece)
            .replace(" 0", " (i32.eqz (global.get $one))")
            .replace(" 1", " (global.get $one)");
        let more = format!(
            "(global $one (mut i32) (i32.const 1)) (global $turns (mut i32) (i32.const {TURNS}))
             (func $piece {piece})
             (func $returns {piece} (if (global.get $one) (then (return))) {piece})
             (func $work (block $out (loop $again {turn}
               (br_if $again (global.set $turns (i32.sub (global.get $turns) (i32.const 1))) (global.get $turns)))))"
        );
        let text = guest(&more, "(call $work) (call $pack (i32.const 0) (i32.const 0))");
        let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{shape}"));
        let module = runtime.compile(&wasm).expect("it compiles");
        let host = Arc::new(TestHost::default());
        let mut instance = module.instantiate(host, &Limits::default()).expect("it starts");
        let fuel = instance.process(b"", &mut Vec::new()).expect("it ends").fuel;
        let least = TURNS * runs * PIECE;
        let most = TURNS * (charged * PIECE + 25) + 1_000;
        assert!((least..=most).contains(&fuel), "{shape}: {fuel}, not {least} to {most}");
    }
}
