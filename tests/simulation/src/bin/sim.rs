//! `sim [find] [SEEDS] [FIRST]`: see [`simulation::Simulator::program`].

use std::process::ExitCode;

fn main() -> ExitCode {
    simulation::SIMULATOR.program()
}
