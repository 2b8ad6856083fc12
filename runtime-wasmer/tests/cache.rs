//! The cache of compiled modules on the simulated disk.

use std::sync::Arc;

use platform::Disk;
use platform::sim::SimDisk;
use runtime_api::conformance::{StepClock, TestHost, guest};
use runtime_api::{Limits, Runtime};
use runtime_wasmer::{CacheStats, WasmerRuntime};

const DIR: &str = "cache/modules";

fn runtime(disk: &Arc<SimDisk>) -> WasmerRuntime {
    WasmerRuntime::new(StepClock::new(0)).with_cache(Arc::clone(disk) as Arc<dyn Disk>, DIR)
}

/// A module that answers `number`.
fn module(number: u32) -> Vec<u8> {
    let text = guest("", &format!("(call $u64 (i64.const {number}))"));
    wat::parse_str(text).expect("text")
}

/// Compiles and runs it; what it answered.
fn run(runtime: &WasmerRuntime, wasm: &[u8]) -> u64 {
    let module = runtime.compile(wasm).expect("it compiles");
    let host = Arc::new(TestHost::default());
    let mut instance = module.instantiate(host, &Limits::default()).expect("it starts");
    let mut response = Vec::new();
    instance.process(b"", &mut response).expect("it answers");
    u64::from_le_bytes(response.try_into().expect("eight bytes"))
}

fn files(disk: &SimDisk) -> Vec<String> {
    disk.list(DIR).expect("the cache's directory")
}

fn stats(hits: u64, misses: u64, refused: u64) -> CacheStats {
    CacheStats { hits, misses, refused, failed_writes: 0 }
}

#[test]
fn a_module_is_compiled_once_and_then_loaded() {
    let disk = SimDisk::new(1);
    let first = runtime(&disk);
    assert_eq!(run(&first, &module(7)), 7);
    assert_eq!(run(&first, &module(7)), 7);
    assert_eq!(first.cache_stats(), stats(1, 1, 0));
    let second = runtime(&disk);
    assert_eq!((run(&second, &module(7)), run(&second, &module(8))), (7, 8));
    assert_eq!(second.cache_stats(), stats(1, 1, 0));
    assert_eq!(files(&disk).len(), 2);
}

#[test]
fn loaded_code_is_metered_like_compiled_code() {
    let disk = SimDisk::new(1);
    let text = guest("", "(loop $again (br $again)) (unreachable)");
    let wasm = wat::parse_str(text).expect("text");
    for stats_wanted in [stats(0, 1, 0), stats(1, 0, 0)] {
        let runtime = runtime(&disk);
        let module = runtime.compile(&wasm).expect("it compiles");
        assert_eq!(runtime.cache_stats(), stats_wanted);
        let limits = Limits { fuel: 5_000_000, ..Limits::default() };
        let mut instance =
            module.instantiate(Arc::new(TestHost::default()), &limits).expect("it starts");
        let trap = instance.process(b"", &mut Vec::new()).expect_err("it loops");
        assert_eq!(trap.kind(), runtime_api::TrapKind::OutOfFuel);
    }
}

#[test]
fn a_damaged_file_is_refused_and_written_over() {
    let disk = SimDisk::new(1);
    run(&runtime(&disk), &module(7));
    let path = format!("{DIR}/{}", files(&disk)[0]);
    let len = disk.file_bytes(&path).expect("the file").len() as u64;
    // Magic, length, key, hash, the first, a middle and the last byte of the code.
    for at in [0, 8, 16, 48, 80, len / 2, len - 1] {
        disk.corrupt(&path, at, 0x40).expect("in the file");
        let after = runtime(&disk);
        assert_eq!(run(&after, &module(7)), 7);
        assert_eq!(after.cache_stats(), stats(0, 0, 1), "byte {at}");
        assert_eq!(run(&after, &module(7)), 7);
        assert_eq!(after.cache_stats(), stats(1, 0, 1), "it was written over");
    }
}

#[test]
fn another_modules_file_under_this_name_is_refused() {
    let disk = SimDisk::new(1);
    run(&runtime(&disk), &module(7));
    let seven = format!("{DIR}/{}", files(&disk)[0]);
    run(&runtime(&disk), &module(8));
    let eight = files(&disk).into_iter().map(|f| format!("{DIR}/{f}")).find(|f| *f != seven);
    disk.rename(&eight.expect("two files"), &seven).expect("renamed");
    let after = runtime(&disk);
    assert_eq!(run(&after, &module(7)), 7, "and not 8");
    assert_eq!(after.cache_stats(), stats(0, 0, 1));
}

#[test]
fn a_short_or_empty_file_is_refused() {
    let disk = SimDisk::new(1);
    run(&runtime(&disk), &module(7));
    let path = format!("{DIR}/{}", files(&disk)[0]);
    for len in [0, 1, 79, 80, 100] {
        disk.open(&path, platform::Open::Write).expect("it is there").set_len(len).expect("cut");
        let after = runtime(&disk);
        assert_eq!(run(&after, &module(7)), 7);
        assert_eq!(after.cache_stats(), stats(0, 0, 1), "{len} bytes");
    }
}

#[test]
fn a_crash_at_any_call_of_a_write_leaves_nothing_wrong() {
    for calls in 0.. {
        let disk = SimDisk::new(calls);
        disk.crash_after(calls);
        let before = runtime(&disk);
        assert_eq!(run(&before, &module(7)), 7, "a disk that fails costs time only");
        let crashed = disk.is_crashed();
        assert_eq!(before.cache_stats().failed_writes, u64::from(crashed));
        let after = runtime(&disk.restart());
        assert_eq!((run(&after, &module(7)), run(&after, &module(8))), (7, 8));
        assert_eq!(after.cache_stats().failed_writes, 0);
        if !crashed {
            assert_eq!(after.cache_stats().hits, 1, "a finished write survives");
            break;
        }
    }
}

#[test]
fn the_directory_holds_a_bounded_number_of_files() {
    let disk = SimDisk::new(1);
    let runtime = runtime(&disk);
    for number in 0..12 {
        run(&runtime, &module(number));
        assert!(files(&disk).len() <= 8, "{:?}", files(&disk));
    }
    assert_eq!(run(&runtime, &module(11)), 11);
    assert_eq!(runtime.cache_stats(), stats(1, 12, 0), "the newest is kept");
}
