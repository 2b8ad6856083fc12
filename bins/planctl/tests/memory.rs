//! Imports and exports of every format in bounded memory, through the binary and a wire.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::Service;
use common::memory::CELL;
use std::process::{Command, Stdio};

/// 120 MiB of text.
const ROWS: usize = 2048;
/// What a process may have of data, in KiB: two thirds of that.
const LIMIT: u32 = 80 << 10;

/// Runs `planctl ARGS --dir DIR` within [`LIMIT`]; whether it succeeded, and what it said.
fn limited(service: &Service, args: &[&str]) -> (bool, String) {
    let limit = format!("ulimit -d {LIMIT}; exec \"$0\" \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &limit, env!("CARGO_BIN_EXE_planctl")]).args(args);
    command.arg("--dir").arg(service.dir.path());
    let out = command.stdin(Stdio::null()).output().unwrap();
    (out.status.success(), String::from_utf8(out.stderr).unwrap())
}

/// Out into a file of that name, and in again.
fn goes_through(name: &str) {
    let service = Service::start();
    {
        let mut memory = service.memory.lock().unwrap();
        (memory.endless, memory.forgets) = (ROWS as u128, true);
    }
    let path = service.path(name);
    let file = path.to_str().unwrap();
    let (done, told) = limited(&service, &["export", "endless", file]);
    assert!(done, "{name}: {told}");
    let bytes = std::fs::metadata(&path).unwrap().len();
    // Equal cells are almost nothing in a file that is packed.
    let packed = name.ends_with(".gz") || name.ends_with(".parquet");
    assert!(packed || bytes > (CELL * ROWS) as u64, "{bytes}");
    let (done, told) = limited(&service, &["import", "s", file, "--create"]);
    assert!(done, "{name}: {told}");
    assert_eq!(service.memory.lock().unwrap().batches.iter().sum::<usize>(), ROWS, "{name}");
}

#[test]
fn csv_goes_through_bounded_memory() {
    goes_through("rows.csv");
}

#[test]
fn ndjson_goes_through_bounded_memory_packed_too() {
    goes_through("rows.ndjson");
    goes_through("rows.ndjson.gz");
}

#[test]
fn one_long_array_of_json_goes_through_bounded_memory() {
    goes_through("rows.json");
}

#[test]
fn bson_goes_through_bounded_memory() {
    goes_through("rows.bson");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_goes_through_bounded_memory() {
    goes_through("rows.parquet");
}

#[test]
fn the_limit_is_one() {
    // A single row of half the bytes does not fit.
    let service = Service::start();
    let file = service.file("wide.csv", &format!("n\n{}\n", "x".repeat(CELL * ROWS / 2)));
    assert!(!limited(&service, &["import", "s", &file, "--create"]).0);
}
