//! Calls of the host ABI, in any order and with any pointers, made by a guest on the
//! interpreter and foretold by a model that shares none of the host's code.
//!
//! What must stay true: the model checks a range by adding in 64 bits, keeps a memory of
//! its own, and is asked before the guest is run. Whatever the script, both come to the
//! same end: the same bytes, or a trap of the same kind.

use crate::marks::reached;
use platform::sim::SimClock;
use runtime_api::conformance::guest;
use runtime_api::{Host, Limits, LogLevel, Module, Runtime, ServiceBody, Trap, TrapKind};
use runtime_wasmi::WasmiRuntime;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Where the corpus of `guest_calls` comes to.
pub(crate) const PLACES: &[&str] = &[
    "host_request: answered",
    "host_request: waits",
    "host_read: a part",
    "host_read: nothing",
    "host_call_service: answered",
    "host_call_service: waits",
    "host_log: a line",
    "host_log: cut",
    "host_log: full",
    "host_now",
    "host_random",
    "memory.grow: grown",
    "memory.grow: refused",
    "ended: bad_pointer",
    "ended: host_calls",
    "ended: request_too_large",
    "ended: response_too_large",
    "ended: aborted",
    "ended: an answer of its own",
    "ended: its notes",
];

const PAGE: usize = 65_536;
/// Where the guest's `alloc` puts the request, and its notes.
pub(crate) const REQUEST_AT: usize = 4096;
const NOTES_AT: usize = 64;
/// Bytes of one call in a script: what, three of padding, six arguments.
pub(crate) const STEP: usize = 28;

fn limits() -> Limits {
    Limits {
        memory_bytes: 4 * PAGE as u64,
        host_calls: 40,
        request_bytes: 8192,
        response_bytes: 4096,
        log_bytes: 10_000,
        ..Limits::default()
    }
}

/// A guest that carries out the steps of its request, and answers a sum of what they gave.
fn text() -> String {
    const MORE: &str = r#"
      (global $pc (mut i32) (i32.const 0))
      (global $sum (mut i64) (i64.const 0))
      (func $a (param $n i32) (result i32)
        (i32.load offset=4 (i32.add (global.get $pc) (i32.shl (local.get $n) (i32.const 2)))))
      (func $note (param $value i64)
        (global.set $sum (i64.add (i64.mul (global.get $sum) (i64.const 31)) (local.get $value))))
    "#;
    let arguments =
        |n: u32| (0..n).map(|n| format!("(call $a (i32.const {n}))")).collect::<String>();
    let step = |what: u32, body: String| {
        format!("(if (i32.eq (local.get $what) (i32.const {what})) (then {body}))")
    };
    let noted = |call: &str, n: u32| format!("(call $note (call {call} {}))", arguments(n));
    let steps = [
        step(0, noted("$request", 4)),
        step(1, noted("$read", 3)),
        step(2, noted("$service", 6)),
        step(3, format!("(call $log {})", arguments(3))),
        step(4, noted("$now", 0)),
        step(5, format!("(call $random {})", arguments(2))),
        step(6, format!("(return (call $pack {}))", arguments(2))),
        step(7, format!("(call $note (i64.extend_i32_s (memory.grow {})))", arguments(1))),
    ];
    let body = format!(
        "(local $end i32) (local $what i32)
         (global.set $pc (local.get $ptr))
         (local.set $end (i32.add (local.get $ptr) (local.get $len)))
         (block $done (loop $next
           (br_if $done
             (i32.gt_u (i32.add (global.get $pc) (i32.const {STEP})) (local.get $end)))
           (local.set $what (i32.and (i32.load8_u (global.get $pc)) (i32.const 7)))
           {}
           (global.set $pc (i32.add (global.get $pc) (i32.const {STEP})))
           (br $next)))
         (call $u64 (global.get $sum))",
        steps.concat()
    );
    guest(MORE, &body)
}

/// Compiled once.
fn module() -> &'static Arc<dyn Module> {
    static MODULE: OnceLock<Arc<dyn Module>> = OnceLock::new();
    MODULE.get_or_init(|| {
        let wasm = wat::parse_str(text()).expect("the guest is well formed");
        let runtime = WasmiRuntime::new(Arc::new(SimClock::new(1)));
        runtime.compile(&wasm).expect("the guest keeps to the ABI")
    })
}

const NOW: u64 = 1_700_000_000_000_000;

/// What the host answers: as many bytes as the packet's first two say.
fn answer(packet: &[u8], out: &mut Vec<u8>) {
    let len = packet.first_chunk().map_or(0, |two| u16::from_le_bytes(*two)) % 5000;
    out.extend((0..len).map(|n| (n as u8).wrapping_add(packet.len() as u8)));
}

/// The other side of the imports; it looks at what it is given.
#[derive(Default)]
struct Watcher {
    random: AtomicU32,
    logged: AtomicU32,
}

impl Host for Watcher {
    fn request(&self, _: u64, packet: &[u8], reply: &mut Vec<u8>) {
        assert!(packet.len() <= limits().request_bytes as usize && reply.is_empty());
        answer(packet, reply);
    }

    fn call_service(
        &self,
        name: &str,
        packet: &[u8],
        patience_nanos: u64,
        reply: &mut Vec<u8>,
    ) -> Option<Box<dyn ServiceBody>> {
        // A byte that is not UTF-8 becomes a character of three.
        assert!(name.len() <= 3 * limits().request_bytes as usize);
        assert!(patience_nanos <= limits().deadline_nanos);
        self.request(0, packet, reply);
        None
    }

    fn log(&self, _: LogLevel, line: &str) {
        assert!(line.len() <= 3 * 8192);
        self.logged.fetch_add(1, Ordering::Relaxed);
    }

    fn now_micros(&self) -> u64 {
        NOW
    }

    fn random(&self, out: &mut [u8]) {
        for byte in out {
            *byte = self.random.fetch_add(1, Ordering::Relaxed) as u8;
        }
    }
}

/// What the guest and its host come to, by the words of `docs/abi.md`.
struct Model {
    memory: Vec<u8>,
    waiting: Vec<u8>,
    calls: u32,
    log_left: usize,
    random: u32,
    lines: u32,
    sum: i64,
}

type Range = std::ops::Range<usize>;

impl Model {
    fn number(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.memory[at..at + 4].try_into().expect("four bytes"))
    }

    fn range(&self, at: u32, len: u32) -> Result<Range, TrapKind> {
        let end = u64::from(at) + u64::from(len);
        match end <= self.memory.len() as u64 {
            true => Ok(at as usize..end as usize),
            false => Err(TrapKind::BadPointer),
        }
    }

    fn call(&mut self) -> Result<(), TrapKind> {
        if self.calls == limits().host_calls {
            return Err(TrapKind::HostCalls);
        }
        self.calls += 1;
        Ok(())
    }

    fn note(&mut self, value: i64) {
        self.sum = self.sum.wrapping_mul(31).wrapping_add(value);
    }

    fn exchange(&mut self, who: &str, sent: &[Range], out: Range) -> Result<(), TrapKind> {
        if sent.iter().any(|range| range.len() > limits().request_bytes as usize) {
            return Err(TrapKind::RequestTooLarge);
        }
        let packet = self.memory[sent[sent.len() - 1].clone()].to_vec();
        let mut reply = Vec::new();
        answer(&packet, &mut reply);
        let total = reply.len();
        if total <= out.len() {
            self.memory[out.start..out.start + total].copy_from_slice(&reply);
            self.waiting.clear();
            reached(format_args!("{who}: answered"));
        } else {
            self.waiting = reply;
            reached(format_args!("{who}: waits"));
        }
        self.note(total as i64);
        Ok(())
    }

    /// One step; an answer of the guest's own ends the call.
    fn step(&mut self, what: u8, a: [u32; 6]) -> Result<Option<i64>, TrapKind> {
        if !matches!(what, 6 | 7) {
            self.call()?;
        }
        match what {
            0 => {
                let (packet, out) = (self.range(a[0], a[1])?, self.range(a[2], a[3])?);
                self.exchange("host_request", &[packet], out)?;
            }
            1 => {
                let out = self.range(a[1], a[2])?;
                let from = (a[0] as usize).min(self.waiting.len());
                let len = (self.waiting.len() - from).min(out.len());
                let part = self.waiting[from..from + len].to_vec();
                self.memory[out.start..out.start + len].copy_from_slice(&part);
                reached(if len > 0 { "host_read: a part" } else { "host_read: nothing" });
                self.note(len as i64);
            }
            2 => {
                let (name, packet) = (self.range(a[0], a[1])?, self.range(a[2], a[3])?);
                let out = self.range(a[4], a[5])?;
                self.exchange("host_call_service", &[name, packet], out)?;
            }
            3 => self.log(a[1], a[2])?,
            4 => {
                reached("host_now");
                self.note(NOW as i64);
            }
            5 => {
                let range = self.range(a[0], a[1])?;
                if range.len() > 65_536 {
                    return Err(TrapKind::RequestTooLarge);
                }
                for at in range {
                    self.memory[at] = self.random as u8;
                    self.random = self.random.wrapping_add(1);
                }
                reached("host_random");
            }
            6 => return Ok(Some(i64::from(a[0]) << 32 | i64::from(a[1]))),
            _ => {
                let pages = self.memory.len() / PAGE;
                let wanted = pages as u64 + u64::from(a[0]);
                let grows = wanted * PAGE as u64 <= limits().memory_bytes;
                if grows {
                    self.memory.resize(wanted as usize * PAGE, 0);
                }
                reached(if grows { "memory.grow: grown" } else { "memory.grow: refused" });
                self.note(if grows { pages as i64 } else { -1 });
            }
        }
        Ok(None)
    }

    fn log(&mut self, at: u32, len: u32) -> Result<(), TrapKind> {
        let line = self.range(at, len)?;
        if self.log_left == 0 {
            reached("host_log: full");
            return Ok(());
        }
        let kept = line.len().min(8192).min(self.log_left);
        reached(if kept < line.len() { "host_log: cut" } else { "host_log: a line" });
        self.log_left -= kept.max(1);
        // The last line is followed by a note.
        self.lines += if self.log_left == 0 { 2 } else { 1 };
        Ok(())
    }

    /// The whole call.
    fn run(&mut self, script: &[u8]) -> Result<Vec<u8>, TrapKind> {
        if script.len() > limits().request_bytes as usize {
            return Err(TrapKind::RequestTooLarge);
        }
        self.memory[REQUEST_AT..REQUEST_AT + script.len()].copy_from_slice(script);
        let end = REQUEST_AT + script.len();
        let mut at = REQUEST_AT;
        let packed = loop {
            if at + STEP > end {
                let sum = self.sum.to_le_bytes();
                self.memory[NOTES_AT..NOTES_AT + 8].copy_from_slice(&sum);
                reached("ended: its notes");
                break (NOTES_AT as i64) << 32 | 8;
            }
            let arguments = std::array::from_fn(|n| self.number(at + 4 + 4 * n));
            if let Some(packed) = self.step(self.memory[at] & 7, arguments)? {
                reached("ended: an answer of its own");
                break packed;
            }
            at += STEP;
        };
        if packed < 0 {
            return Err(TrapKind::Aborted);
        }
        let response = self.range((packed >> 32) as u32, packed as u32)?;
        if response.len() > limits().response_bytes as usize {
            return Err(TrapKind::ResponseTooLarge);
        }
        Ok(self.memory[response].to_vec())
    }
}

/// Any bytes as a script of host calls: they come to what the model says, and an
/// instance that lives on does so from the start again.
pub fn guest_calls(data: &[u8]) {
    let mut model = Model {
        memory: vec![0; PAGE],
        waiting: Vec::new(),
        calls: 0,
        log_left: limits().log_bytes as usize,
        random: 0,
        lines: 0,
        sum: 0,
    };
    let foretold = model.run(data);
    if let Err(kind) = &foretold {
        reached(format_args!("ended: {}", kind.name()));
    }
    let host = Arc::new(Watcher::default());
    let watched: Arc<dyn Host> = host.clone();
    let mut instance = module().instantiate(watched, &limits()).expect("an empty start");
    let mut response = vec![7; 3];
    let came = instance.process(data, &mut response);
    let kind = |trap: Trap| trap.kind();
    assert_eq!(came.map(|_| response.clone()).map_err(kind), foretold);
    assert!(foretold.is_ok() || response.is_empty(), "no half of a response");
    assert_eq!(host.logged.load(Ordering::Relaxed), model.lines);
    let report = instance.last_call();
    assert_eq!(report.host_calls, model.calls);
    assert!(report.memory_bytes <= limits().memory_bytes);
    let dies = foretold.is_err_and(|kind| kind.kills());
    let again = instance.process(&[], &mut response).map_err(kind);
    assert_eq!(again.is_err_and(|kind| kind == TrapKind::Host), dies, "the dead stay dead");
}
