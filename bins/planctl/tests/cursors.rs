//! Results larger than a reply, through the binary and a wire, from the real engine.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::command;
use common::real::Real;
use engine::Limits;
use proto::Request;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Replies of 64 KiB.
fn small() -> Limits {
    Limits {
        max_batch_size: 1000,
        max_message_size: 64 << 10,
        max_document_size: 20_000,
        ..Limits::default()
    }
}

/// A document of about 3 KB: 10,000 of them, or a thousand, are more than a reply.
fn document(n: u32) -> String {
    format!("{{\"n\":{},\"g\":{},\"t\":\"{}\"}}", n * 7919 % 400, n % 4, "x".repeat(3000))
}

/// A service with 400 of them in store `s`: 20 replies.
fn filled(limits: Limits) -> Real {
    let real = Real::start(limits);
    real.fill("s", (0..400).map(document));
    real
}

/// Waits for the sessions of ended processes to end.
fn nothing_left(real: &Real) {
    for _ in 0..500 {
        if real.figure("open_cursors") == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("cursors are left");
}

#[test]
fn a_query_reads_every_page() {
    let real = filled(small());
    let out = real.run(&["query", "s.orderBy(n desc).pluck(n, t)", "--json"]).ok();
    let found: Vec<u32> =
        out.lines().map(|line| line[5..].split_once(',').unwrap().0.parse().unwrap()).collect();
    assert_eq!(found, (0..400).rev().collect::<Vec<_>>());
    assert!(real.figure("requests.Fetch") > 15);
    // For people a table for each page.
    let out = real.run(&["query", "s.filter(g = 1).pluck(n, t)"]).ok();
    let tables = out.matches("│ n ").count() + out.matches("│ n  ").count();
    assert!(tables >= 4, "{tables}");
    assert_eq!(out.matches("xxx ┆").count() + out.matches("xxx │").count(), 100);
    assert_eq!(real.run(&["query", "s.count()"]).ok(), "400\n");
    assert_eq!(real.run(&["query", "s.filter(g = 9)"]).ok(), "");
    nothing_left(&real);
    // Who reads only the beginning ends it.
    let dir = real.dir.path().to_str().unwrap();
    let mut child = command(&["query", "s", "--json", "--dir", dir]).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    nothing_left(&real);
}

/// 100 MB of rows through a process that may have 80 MiB of data.
#[test]
fn a_query_takes_bounded_memory_however_long_its_result_is() {
    let real = Real::start(Limits::default());
    real.fill("s", (0..2000).map(|n| format!("{{\"n\":{n},\"g\":1}}")));
    real.fill("big", [format!("{{\"code\":1,\"t\":\"{}\"}}", "x".repeat(50_000))].into_iter());
    let limited = |query: &str| {
        let limit = "ulimit -d 81920; \"$0\" \"$@\" | wc -c";
        let mut command = Command::new("bash");
        command.args([
            "-o",
            "pipefail",
            "-c",
            limit,
            env!("CARGO_BIN_EXE_planctl"),
            "query",
            query,
        ]);
        command.arg("--json").arg("--dir").arg(real.dir.path());
        let out = command.stdin(Stdio::null()).output().unwrap();
        (
            out.status.success(),
            String::from_utf8(out.stdout).unwrap().trim().parse::<u64>().unwrap(),
        )
    };
    let (done, bytes) = limited("s.lookupOne(big, g = code as b).pluck(n, b.t)");
    assert!(done && bytes > 100_000_000, "{bytes}");
}

#[test]
fn an_export_with_a_filter_or_fields_is_one_query() {
    let real = filled(small());
    let out = real.run(&["export", "s", "--filter", "g = 1 or g = 2", "--fields", "n"]).ok();
    let expected: Vec<String> = (0..400u32)
        .filter(|n| matches!(n % 4, 1 | 2))
        .map(|n| format!("{{\"key\":\"{n:032x}\",\"n\":{}}}", n * 7919 % 400))
        .collect();
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    // Documents larger than a thousandth of a reply.
    let out = real.run(&["export", "s", "--filter", "n >= 0"]).ok();
    assert_eq!(out.lines().count(), 400);
    let whole = real.run(&["export", "s"]).ok();
    assert!(out == whole, "the same, whichever way");
    assert_eq!(real.run(&["export", "s", "--fields", "key,n"]).ok().lines().count(), 400);
    real.run(&["export", "s", "--fields", "key"]).fails(2, "name one more");
    let csv = real.run(&["export", "s", "--format", "csv", "--filter", "g = 3"]).ok();
    assert_eq!(csv.lines().count(), 101);
    assert_eq!(real.run(&["export", "s", "--filter", "g = 9"]).ok(), "");
    real.run(&["export", "s", "--filter", "g ="]).fails(7, "PLK-1401");
    nothing_left(&real);
}

#[test]
fn a_cursor_that_was_let_go_of_is_asked_for_anew() {
    // Each fetch comes too late: 20 queries, each row once all the same.
    let real = filled(Limits { cursor_idle_micros: 1000, ..small() });
    real.slow.store(20, Ordering::Relaxed);
    let out = real.run(&["export", "s", "--filter", "n >= 0"]).ok();
    assert!(real.figure("expired_cursors") > 10);
    real.slow.store(0, Ordering::Relaxed);
    assert!(out == real.run(&["export", "s"]).ok());
    // A query says so.
    real.slow.store(20, Ordering::Relaxed);
    let ran = real.run(&["query", "s", "--json"]);
    assert!(
        ran.code == 3 && ran.err.contains("PLK-1405: this session has no cursor"),
        "{}",
        ran.err
    );
}

#[test]
fn a_filtered_export_that_was_killed_goes_on() {
    let real = filled(small());
    let path = real.path("out.ndjson");
    let out = path.to_str().unwrap();
    let args = ["export", "s", out, "--filter", "g != 1", "--resume"];
    real.slow.store(80, Ordering::Relaxed);
    let dir = real.dir.path().to_str().unwrap();
    let mut child = command(&[&args[..], &["--dir", dir]].concat()).spawn().unwrap();
    let state = real.path("out.ndjson.planck-export");
    while !std::fs::read_to_string(&state).is_ok_and(|text| text.contains("rows:")) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was written down");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!path.exists());
    real.slow.store(0, Ordering::Relaxed);
    nothing_left(&real);
    real.run(&args).ok();
    assert!(!state.exists());
    let whole = real.run(&["export", "s", "--filter", "g != 1"]).ok();
    assert_eq!(whole.lines().count(), 300);
    assert!(std::fs::read_to_string(&path).unwrap() == whole);
}

#[test]
fn queries_that_wait_are_shown_and_cancelled() {
    let real = filled(small());
    let text = "s.orderBy(n)";
    real.ask(&Request::Stream { rows: 1, bytes: 0, text, parameters: None });
    let out = real.run(&["queries", "--json"]).ok();
    assert!(
        out.starts_with("{\"id\":1,\"user\":\"test\",\"state\":\"waiting\",\"time_us\":"),
        "{out}"
    );
    assert!(out.ends_with(",\"query\":\"s.orderBy(n)\"}\n"), "{out}");
    assert!(real.run(&["queries"]).ok().contains("┆ test "));
    assert_eq!(real.run(&["cancel", "1", "--json"]).ok(), "{\"id\":1,\"done\":\"cancelled\"}\n");
    real.run(&["cancel", "1"]).fails(3, "PLK-1406");
    assert_eq!(real.run(&["queries", "--json"]).ok(), "");
    real.run(&["cancel", "one"]).fails(2, "one");
}
