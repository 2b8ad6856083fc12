//! Two hundred real kills: see the crate.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::path::Path;

/// One store, killed again and again. Not several at once: a store's lock would
/// be inherited for a moment by the child that another thread is starting.
#[test]
fn nothing_acknowledged_is_missing_after_a_kill() {
    let program = Path::new(env!("CARGO_BIN_EXE_kill"));
    let dir = tempfile::tempdir().unwrap();
    let report = kill::cycles(program, dir.path(), 200, 1).unwrap();
    println!("{report}");
    // Kills that hit nothing would prove nothing.
    assert!(report.acknowledged > 2000, "{report}");
    assert!(report.replayed > 100, "{report}");
    assert!(report.early <= 100, "{report}");
}
