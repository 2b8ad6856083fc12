//! A short siege of the built `planck`: every honest answer right, memory bounded.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::time::Duration;

use siege::{Scale, besiege, misbehave};

#[test]
fn honest_answers_stay_right_and_memory_stays_bounded() {
    let scale = Scale {
        sockets: 300,
        sessions: 40,
        readers: 10,
        logins: 60,
        frames: 20_000,
        hold: Duration::from_secs(1),
        seed: 1,
    };
    let report = besiege(&tests::program("planck"), &scale).unwrap();
    println!("{report}");
    let before = report.all[0].memory[0];
    for figures in &report.all {
        // Memtables and caches fill: 48 and 64 MiB by the settings; and ten readers hold a
        // reply of six megabytes each.
        let most = before + (300 << 10);
        assert!(figures.memory[1] < most, "{}: {:?} KiB", figures.name, figures.memory);
        assert!(figures.asked > 20, "{}: {} honest reads", figures.name, figures.asked);
    }
}

#[test]
fn honest_answers_stay_right_while_guests_misbehave() {
    let planck = tests::program("planck");
    let report = misbehave(&planck, "wasmer", Duration::from_millis(300)).unwrap();
    println!("{report}");
    let before = report.all[0].memory[0];
    for figures in &report.all {
        // Eight instances of 16 MiB at most.
        let most = before + (160 << 10);
        assert!(figures.memory[1] < most, "{}: {:?} KiB", figures.name, figures.memory);
        assert!(figures.asked > 20, "{}: {} honest requests", figures.name, figures.asked);
    }
}
