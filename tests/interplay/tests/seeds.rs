//! The default seeds: no failure, every wanted state reached, same seed same run.

use interplay::SIMULATOR;

/// Seeds of the default run.
const SEEDS: u64 = 1000;

#[test]
fn the_default_seeds_find_no_fault_and_reach_every_wanted_state() {
    let sum = SIMULATOR.all(0..SEEDS);
    assert_eq!(sum.marks.missing(SIMULATOR.wanted), [""; 0], "states never reached");
    let [committed, others] = sum.counted;
    assert!(committed > 10 * SEEDS && others > SEEDS, "{committed} {others}");
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_last_disk_call() {
    SIMULATOR.replays(0..30);
}
