//! `interplay [find] [SEEDS] [FIRST]`: see [`simulation::Simulator::program`].

use std::process::ExitCode;

fn main() -> ExitCode {
    interplay::SIMULATOR.program()
}
