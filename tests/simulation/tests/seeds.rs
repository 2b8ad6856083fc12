//! The default seeds: no failure, every wanted state reached, same seed same run.

use simulation::SIMULATOR;

/// Seeds of the default run.
const SEEDS: u64 = 2000;

#[test]
fn the_default_seeds_find_no_fault_and_reach_every_wanted_state() {
    let sum = SIMULATOR.all(0..SEEDS);
    for (name, count) in sum.tally.rows() {
        assert!(count > 0, "no fault of this kind struck: {name}");
    }
    assert_eq!(sum.marks.missing(SIMULATOR.wanted), [""; 0], "states never reached");
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_last_disk_call() {
    SIMULATOR.replays(0..40);
}
