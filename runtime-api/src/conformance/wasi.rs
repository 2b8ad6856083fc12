//! WASI preview 1: each sentence of `docs/abi.md`, on every backend.

use super::Make;
use super::guests::{guest, wasi_guest};
use super::rig::{Rig, ask};
use crate::wasi::Wasi;
use crate::{CompileError, LogLevel, TrapKind, abi};

/// The clock of the rig's host, in nanoseconds.
const NOW: u64 = 1_700_000_000_123_456_000;
const BADF: u32 = 8;
const INVAL: u32 = 28;

/// `$say fd at len`: writes so many bytes from `at`; answers how many were taken, or the
/// errno above 2^16. Its one buffer stands at 16, the result at 24.
const SAY: &str = "(func $say (param $fd i32) (param $at i32) (param $len i32) (result i32)
    (local $errno i32)
    (i32.store (i32.const 16) (local.get $at)) (i32.store (i32.const 20) (local.get $len))
    (i32.store (i32.const 24) (i32.const -1))
    (local.set $errno (call $fd_write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 24)))
    (if (local.get $errno) (then (return (i32.add (i32.const 65536) (local.get $errno)))))
    (i32.load (i32.const 24)))";

fn numbers(response: &[u8]) -> Vec<u64> {
    response
        .chunks_exact(8)
        .map(|number| u64::from_le_bytes(number.try_into().expect("eight bytes")))
        .collect()
}

/// Answers its results as eight bytes each, from address 512 on.
fn answering(names: &[&str], more: &str, results: &[&str]) -> String {
    let stores: String = (512..)
        .step_by(8)
        .zip(results)
        .map(|(at, result)| format!("(i64.store (i32.const {at}) {result})"))
        .collect();
    let body = format!("{stores} (call $pack (i32.const 512) (i32.const {}))", 8 * results.len());
    wasi_guest(names, more, &body)
}

fn widened(result: &str) -> String {
    format!("(i64.extend_i32_u {result})")
}

/// Lines of stdout are info, of stderr warnings; what has no end is logged at the end of
/// the call; several buffers of one write are one text.
pub fn text_is_logged_line_by_line(make: Make<'_>) {
    let more = format!(r#"{SAY} (data (i32.const 128) "one\ntwoops\nthree\r\n\nno end")"#);
    let body = "(drop (call $say (i32.const 1) (i32.const 128) (i32.const 6)))
         (drop (call $say (i32.const 2) (i32.const 134) (i32.const 5)))
         ;; two buffers at once: 'o' of 'two', then the rest
         (i32.store (i32.const 32) (i32.const 134)) (i32.store (i32.const 36) (i32.const 1))
         (i32.store (i32.const 40) (i32.const 138)) (i32.store (i32.const 44) (i32.const 15))
         (if (call $fd_write (i32.const 1) (i32.const 32) (i32.const 2) (i32.const 24)) (then (unreachable)))
         (if (i32.ne (i32.load (i32.const 24)) (i32.const 16)) (then (unreachable)))
         (if (local.get $len) (then (unreachable)))
         (call $pack (i32.const 0) (i32.const 0))";
    let rig = Rig::new(make);
    let wat = wasi_guest(&["fd_write"], &more, body);
    let mut instance = rig.start(&wat);
    let said = |level, line: &str| (level, line.to_owned());
    let once = [
        said(LogLevel::Info, "one"),
        said(LogLevel::Warn, "oops"),
        said(LogLevel::Info, "two"),
        said(LogLevel::Info, "three"),
        said(LogLevel::Info, ""),
        said(LogLevel::Info, "no end"),
    ];
    ask(&mut *instance, b"");
    assert_eq!(rig.host.logged(), once);
    ask(&mut *instance, b"");
    assert_eq!(rig.host.logged()[6..], once, "nothing was left to the next call");
    // A trap loses no text, and making an instance is a call like others.
    instance.process(b"1", &mut Vec::new()).expect_err("it traps");
    assert_eq!(rig.host.logged()[12..], once);
    let init =
        r#"(func (export "init") (drop (call $say (i32.const 1) (i32.const 128) (i32.const 3))))"#;
    rig.start(&wasi_guest(&["fd_write"], &format!("{more} {init}"), "(i64.const 0)"));
    assert_eq!(rig.host.logged()[18..], [said(LogLevel::Info, "one")]);
}

/// A line is cut, a write takes 64 KiB at once from at most 1024 buffers, and all of it
/// counts as bytes of the log.
pub fn text_is_bounded(make: Make<'_>) {
    let line = abi::MAX_LOG_LINE_BYTES;
    let rig = Rig::new(make).with(|limits| limits.log_bytes = line + 10);
    // 64 KiB and more of zeros, one long line.
    let say = |fd: u32, len: u32| {
        widened(&format!("(call $say (i32.const {fd}) (i32.const 1000) (i32.const {len}))"))
    };
    let grow = "(drop (memory.grow (i32.const 8)))";
    let long = format!("(block (result i64) {grow} {})", say(1, (64 << 10) + 1));
    let list = |count: u32| {
        widened(&format!(
            "(call $fd_write (i32.const 1) (i32.const 40000) (i32.const {count}) (i32.const 24))"
        ))
    };
    let wat = answering(
        &["fd_write"],
        &format!(r#"{SAY} (data (i32.const 100) "\n1234567890123\n")"#),
        &[
            &long,
            &say(1, 64 << 10),
            &list(1_024),
            &list(1_025),
            &widened("(call $say (i32.const 1) (i32.const 100) (i32.const 15))"),
        ],
    );
    let answer = numbers(&rig.once(&wat, b"").expect("no trap"));
    assert_eq!(answer, [64 << 10, 64 << 10, 0, u64::from(INVAL), 15]);
    let logged = rig.host.logged();
    assert_eq!(logged[0], (LogLevel::Info, "\0".repeat(line as usize)), "the rest is dropped");
    assert_eq!(logged[1], (LogLevel::Info, "1234567890".to_owned()), "the allowance ends it");
    assert_eq!(logged.len(), 3, "and the note");
    assert!(logged[2].1.contains("log is full"), "{logged:?}");
}

/// What the host gives, and no arguments and no environment.
pub fn clocks_randomness_and_nothing_else_are_given(make: Make<'_>) {
    let time = |clock: u32| {
        format!(
            "(block (result i64) (drop (call $clock_time_get (i32.const {clock}) (i64.const 1) (i32.const 64))) (i64.load (i32.const 64)))"
        )
    };
    let wat = answering(
        &[
            "clock_time_get",
            "clock_res_get",
            "random_get",
            "args_sizes_get",
            "args_get",
            "environ_sizes_get",
            "environ_get",
            "sched_yield",
        ],
        "",
        &[
            &time(0),
            &time(1),
            &widened("(call $clock_time_get (i32.const 2) (i64.const 1) (i32.const 64))"),
            "(block (result i64) (drop (call $clock_res_get (i32.const 1) (i32.const 64))) (i64.load (i32.const 64)))",
            &widened("(call $clock_res_get (i32.const 4) (i32.const 64))"),
            "(block (result i64) (drop (call $random_get (i32.const 64) (i32.const 8))) (i64.load (i32.const 64)))",
            "(block (result i64) (drop (call $args_sizes_get (i32.const 64) (i32.const 68))) (i64.load (i32.const 64)))",
            "(block (result i64) (i64.store (i32.const 64) (i64.const -1))
               (drop (call $environ_sizes_get (i32.const 64) (i32.const 68))) (i64.load (i32.const 64)))",
            &widened("(call $args_get (i32.const 64) (i32.const 64))"),
            &widened("(call $environ_get (i32.const 64) (i32.const 64))"),
            &widened("(call $sched_yield)"),
        ],
    );
    let rig = Rig::new(make);
    let answer = numbers(&rig.once(&wat, b"").expect("no trap"));
    let random = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]);
    let bad = u64::from(INVAL);
    assert_eq!(answer, [NOW, NOW, bad, 1_000, bad, random, 0, 0, 0, 0, 0]);
    assert_eq!(rig.host.logged(), []);
}

/// `poll_oneoff` gives what comes first, at once; the monotonic clock goes on by the
/// sleep, wall time does not.
pub fn a_sleep_moves_the_clock_and_takes_no_time(make: Make<'_>) {
    // $ask at user kind id timeout flags: one subscription.
    let more = "(func $ask (param $at i32) (param $user i64) (param $kind i32) (param $id i32)
         (param $timeout i64) (param $flags i32)
         (i64.store (local.get $at) (local.get $user)) (i32.store offset=8 (local.get $at) (local.get $kind))
         (i32.store offset=16 (local.get $at) (local.get $id)) (i64.store offset=24 (local.get $at) (local.get $timeout))
         (i32.store offset=40 (local.get $at) (local.get $flags)))
       (func $poll (param $count i32) (result i32)
         (call $poll_oneoff (i32.const 1024) (i32.const 2048) (local.get $count) (i32.const 1000)))
       (func $time (param $clock i32) (result i64)
         (drop (call $clock_time_get (local.get $clock) (i64.const 1) (i32.const 64))) (i64.load (i32.const 64)))";
    let then = |asks: &str, count: u32, results: &[&str]| {
        let poll = format!(
            "(block (result i64) {asks} {})",
            widened(&format!("(call $poll (i32.const {count}))"))
        );
        let mut all = vec![poll.as_str()];
        all.extend(results);
        let wat = answering(&["poll_oneoff", "clock_time_get"], more, &all);
        numbers(&Rig::new(make).once(&wat, b"").expect("no trap"))
    };
    let events = &widened("(i32.load (i32.const 1000))");
    let (user, kind) = ("(i64.load (i32.const 2048))", "(i64.load (i32.const 2056))");
    let (wall, mono) = ("(call $time (i32.const 0))", "(call $time (i32.const 1))");
    let five = "(call $ask (i32.const 1024) (i64.const 77) (i32.const 0) (i32.const 1) (i64.const 5000000000) (i32.const 0))";
    let three = "(call $ask (i32.const 1072) (i64.const 88) (i32.const 0) (i32.const 0) (i64.const 3000000000) (i32.const 0))";
    assert_eq!(
        then(five, 1, &[events, user, kind, wall, mono]),
        [0, 1, 77, 0, NOW, NOW + 5_000_000_000]
    );
    // The shorter of two.
    let both = format!("{five} {three}");
    assert_eq!(then(&both, 2, &[events, user, mono]), [0, 1, 88, NOW + 3_000_000_000]);
    // Until a moment: one that has passed, one that has not.
    let until = |moment: u64| {
        format!(
            "(call $ask (i32.const 1024) (i64.const 9) (i32.const 0) (i32.const 1) (i64.const {moment}) (i32.const 1))"
        )
    };
    assert_eq!(then(&until(NOW - 5), 1, &[events, mono]), [0, 1, NOW]);
    assert_eq!(then(&until(NOW + 5), 1, &[events, mono]), [0, 1, NOW + 5]);
    // Slept for ever, several times over: the clock stops at its end.
    let ever = "(call $ask (i32.const 1024) (i64.const 9) (i32.const 0) (i32.const 1) (i64.const -1) (i32.const 0)) (drop (call $poll (i32.const 1)))";
    assert_eq!(then(&format!("{ever} {ever}"), 1, &[mono]), [0, u64::MAX]);
    // What is no clock is told at once: stdout takes text, nothing else is there.
    let at_once = |kind: u32, id: u32| {
        format!(
            "{three} (call $ask (i32.const 1024) (i64.const 5) (i32.const {kind}) (i32.const {id}) (i64.const 9) (i32.const 0))"
        )
    };
    for (kind_asked, id, errno) in
        [(2, 1, 0), (2, 3, BADF), (1, 0, BADF), (0, 7, INVAL), (9, 1, BADF)]
    {
        let told = u64::from(errno) | (u64::from(kind_asked) << 16);
        let asks = at_once(kind_asked, id);
        assert_eq!(then(&asks, 2, &[events, user, kind, mono]), [0, 1, 5, told, NOW], "{asks}");
    }
    // Bounds.
    assert_eq!(then("", 0, &[]), [u64::from(INVAL)]);
    assert_eq!(then("", 64, &[]), [0]);
    assert_eq!(then("", 65, &[]), [u64::from(INVAL)]);
}

/// Functions that are served, in part at least.
const SERVED: [&str; 13] = [
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "random_get",
    "fd_write",
    "fd_fdstat_get",
    "fd_prestat_get",
    "poll_oneoff",
    "proc_exit",
    "sched_yield",
];

fn zeros(wasi: Wasi) -> String {
    let zero = |ty: &abi::Ty| if *ty == abi::Ty::I32 { "(i32.const 0)" } else { "(i64.const 0)" };
    wasi.signature().params.iter().map(zero).collect()
}

/// Every other function answers EBADF, and is named in the log once in each call.
pub fn what_is_not_here_is_refused_with_its_name_in_the_log(make: Make<'_>) {
    let refused: Vec<Wasi> = Wasi::all().filter(|wasi| !SERVED.contains(&wasi.name())).collect();
    assert_eq!(refused.len(), 33);
    let named = |rig: &Rig, name: &str| {
        let logged = rig.host.logged();
        let of = |(level, line): &&(LogLevel, String)| {
            *level == LogLevel::Warn && line.contains(&format!("WASI function {name} was refused"))
        };
        (logged.iter().filter(of).count(), logged.len())
    };
    for wasi in refused {
        let name = wasi.name();
        let call = widened(&format!("(call ${name} {})", zeros(wasi)));
        let rig = Rig::new(make);
        let mut instance = rig.start(&answering(&[name], "", &[&call, &call]));
        for n in 1..=2 {
            assert_eq!(numbers(&ask(&mut *instance, b"")), [u64::from(BADF); 2], "{name}");
            assert_eq!(named(&rig, name), (n, n), "{name}");
        }
    }
    // Text for another descriptor is refused too; questions that libc asks at every start
    // are only answered.
    let rig = Rig::new(make);
    let wat = answering(
        &["fd_write", "fd_fdstat_get", "fd_prestat_get"],
        SAY,
        &[
            &widened("(call $say (i32.const 3) (i32.const 0) (i32.const 1))"),
            &widened("(call $fd_prestat_get (i32.const 3) (i32.const 64))"),
            &widened("(call $fd_fdstat_get (i32.const 0) (i32.const 64))"),
            &widened("(call $fd_fdstat_get (i32.const 2) (i32.const 64))"),
            "(i64.load (i32.const 64))",
            "(i64.load (i32.const 72))",
            "(i64.load (i32.const 80))",
        ],
    );
    let bad = u64::from(BADF);
    assert_eq!(
        numbers(&rig.once(&wat, b"").expect("no trap")),
        [65_536 + bad, bad, bad, 0, 0x1_0002, 64, 0]
    );
    assert_eq!(named(&rig, "fd_write"), (1, 1));
}

/// `proc_exit` ends the call and the instance, whatever its code; what was written is kept.
pub fn an_exit_is_a_trap(make: Make<'_>) {
    for code in [0, 3] {
        let rig = Rig::new(make);
        let more = format!(r#"{SAY} (data (i32.const 128) "going")"#);
        let body = format!(
            "(drop (call $say (i32.const 2) (i32.const 128) (i32.const 5))) (call $proc_exit (i32.const {code})) (i64.const 0)"
        );
        let wat = wasi_guest(&["fd_write", "proc_exit"], &more, &body);
        let trap = rig.trap(&wat, b"");
        assert_eq!(trap.kind(), TrapKind::Unreachable, "{trap}");
        assert!(trap.to_string().contains(&format!("proc_exit({code})")), "{trap}");
        assert_eq!(rig.host.logged(), [(LogLevel::Warn, "going".to_owned())]);
    }
}

/// As for the imports of `planck`: named, and before anything is done.
pub fn ranges_outside_memory_trap_and_nothing_is_done(make: Make<'_>) {
    let outside = "(i32.const 65533)";
    let rig = Rig::new(make);
    for (name, call) in [
        ("args_sizes_get", format!("(i32.const 0) {outside}")),
        ("environ_sizes_get", format!("{outside} (i32.const 0)")),
        ("clock_res_get", format!("(i32.const 0) {outside}")),
        ("clock_time_get", format!("(i32.const 0) (i64.const 0) {outside}")),
        ("random_get", format!("{outside} (i32.const 4)")),
        ("fd_fdstat_get", format!("(i32.const 1) {outside}")),
        ("fd_write", format!("(i32.const 1) {outside} (i32.const 1) (i32.const 0)")),
        ("fd_write", "(i32.const 1) (i32.const 128) (i32.const 2) (i32.const 0)".to_owned()),
        ("fd_write", format!("(i32.const 1) (i32.const 128) (i32.const 1) {outside}")),
        ("poll_oneoff", format!("{outside} (i32.const 0) (i32.const 1) (i32.const 0)")),
        ("poll_oneoff", format!("(i32.const 0) {outside} (i32.const 1) (i32.const 0)")),
        ("poll_oneoff", format!("(i32.const 0) (i32.const 0) (i32.const 1) {outside}")),
    ] {
        // At 128 a buffer of a whole line, then one that is outside.
        let more = r#"(data (i32.const 128) "\98\00\00\00\02\00\00\00\fd\ff\00\00\04\00\00\00\00\00\00\00\00\00\00\00a\n")"#;
        let body = format!("(drop (call ${name} {call})) (i64.const 0)");
        let trap = rig.trap(&wasi_guest(&[name], more, &body), b"");
        assert_eq!(trap.kind(), TrapKind::BadPointer, "{name} {call}: {trap}");
        assert!(trap.to_string().starts_with(name), "it names the function: {trap}");
    }
    assert_eq!(rig.host.logged(), []);
    let more = "(func (export \"init\") (drop (memory.grow (i32.const 2))))";
    let body = "(drop (call $random_get (i32.const 0) (i32.const 65537))) (i64.const 0)";
    let trap = rig.trap(&wasi_guest(&["random_get"], more, body), b"");
    assert_eq!(trap.kind(), TrapKind::RequestTooLarge);
}

/// They are counted with the others, and each looks at the clock: a guest that only sleeps
/// ends by its deadline.
pub fn its_calls_are_host_calls(make: Make<'_>) {
    let calls = |n: usize| {
        let body =
            format!("{} (drop (call $now)) (i64.const 0)", "(drop (call $sched_yield)) ".repeat(n));
        wasi_guest(&["sched_yield"], "", &body)
    };
    let rig = Rig::new(make).with(|limits| limits.host_calls = 3);
    let mut instance = rig.start(&calls(2));
    ask(&mut *instance, b"");
    assert_eq!(instance.last_call().host_calls, 3);
    assert_eq!(rig.trap(&calls(3), b"").kind(), TrapKind::HostCalls);

    let forever = "(loop $again
         (drop (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 64)))
         (br $again)) (unreachable)";
    let wat = wasi_guest(&["poll_oneoff"], "", forever);
    let rig = Rig::stepping(make, 1_000_000).with(|limits| limits.deadline_nanos = 50_000_000);
    assert_eq!(rig.trap(&wat, b"").kind(), TrapKind::Deadline);
}

/// All of preview 1 links at once; a function of another shape is named.
pub fn every_function_links_as_it_is_and_not_otherwise(make: Make<'_>) {
    let names: Vec<&str> = Wasi::all().map(Wasi::name).collect();
    let rig = Rig::new(make);
    let wat = wasi_guest(&names, "", "(call $u64 (i64.extend_i32_u (call $sched_yield)))");
    assert_eq!(numbers(&rig.once(&wat, b"").expect("it links")), [0]);
    // Imported twice, as linkers of several objects may do.
    let twice = r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#;
    rig.start(&wasi_guest(&["sched_yield"], "", "(i64.const 0)").replace("(module", twice));

    let odd = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))"#;
    let refusal = rig.refusal(&guest("", "(i64.const 0)").replace("(module", odd));
    let CompileError::Imports(faults) = refusal else { panic!("{refusal}") };
    assert_eq!(
        faults,
        ["wasi_snapshot_preview1.proc_exit as (1 parameters, 0 results), it is (i32)"]
    );
}
