//! The flags of `planck`.

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
