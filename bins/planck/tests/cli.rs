//! The flags of `planck`, and its tools.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::process::{Command, Output};

fn planck(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_planck")).args(arguments).output().expect("planck runs")
}

#[test]
fn settings_are_printed() {
    let output = planck(&["--settings"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(
            "| `durability.flush_interval_in_ms` | 1000 | a whole number from 0 to 60000 |"
        )
    );
}

#[test]
fn without_a_directory_the_usage_is_shown() {
    let output = planck(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--dir"));
}

#[test]
fn an_audit_log_is_checked_and_its_first_bad_line_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let verify = |more: &[&str]| {
        let place = dir.path().to_str().unwrap();
        let output = planck(&[&["audit", "verify", "--dir", place][..], more].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(verify(&[]).0, Some(78), "no such directory");
    let disk = platform::real::RealDisk::new(&data).unwrap();
    assert_eq!(verify(&[]).0, Some(0), "nothing to check");
    let open = || {
        let options =
            engine::Options { audit: Some(engine::AuditOptions::default()), ..Default::default() };
        let (clock, entropy) = (platform::real::RealClock::new(), platform::real::RealEntropy);
        let disk = std::sync::Arc::new(disk.clone());
        engine::Engine::open(
            disk,
            std::sync::Arc::new(clock),
            std::sync::Arc::new(entropy),
            options,
        )
        .unwrap()
    };
    let engine = open();
    let begun = engine.audit_begin().unwrap().clone();
    engine.close().unwrap();
    open().close().unwrap();
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("the chain is whole: 4 lines, 1 to 4, in 1 files; line 4 has"),
        "{said}"
    );
    let line = begun.line.to_string();
    assert_eq!(verify(&["--line", &line, "--hash", &begun.hash]).0, Some(0));
    let (code, said) = verify(&["--line", "2", "--hash", &begun.hash]);
    assert!(code == Some(65) && said.contains("line 2 has not the hash that was noted"), "{said}");
    let (code, said) = verify(&["--line", "5", "--hash", &begun.hash]);
    assert!(code == Some(65) && said.contains("line 5 is not there"), "{said}");
    // A word of the third line is changed.
    let file = data.join("audit/0000000000000001.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let third = text.match_indices("Start").nth(1).unwrap().0;
    let mut changed = text.into_bytes();
    changed[third..third + 5].copy_from_slice(b"Stack");
    std::fs::write(&file, changed).unwrap();
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("0000000000000001.jsonl, its line 3 at byte"), "{said}");
    assert!(said.contains("2 lines before it are good"), "{said}");
}
