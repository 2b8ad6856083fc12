//! The storage engine in a simulated world: seeded, single-threaded, replayable.
//!
//! A seed makes a [`Plan`] (configuration, workload, faults); [`run`] carries it
//! out on `platform::sim::SimDisk` with a model beside it (`world.rs`, `act.rs`)
//! and tells what it found. What must stay true:
//! * same plan, same run: one hash over every operation, answer and disk call;
//! * an answer without an error is the model's; an error has somebody to blame;
//! * after a crash the store is the model at one LSN between what was promised
//!   and what was tried.
//!
//! What is not asked, since no store could give it: a write that the medium
//! acknowledged and lost, or bits that rot, at the very end of the log look like
//! an end that was never written; then an earlier LSN is found, whole.

mod act;
mod backup;
mod history;
mod marks;
mod model;
mod plan;
mod rng;
mod runner;
mod shrink;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use marks::Marks;
pub use model::Model;
pub use plan::{Action, Asked, Config, End, Plan, Put, Range, Require, Strike};
pub use rng::{Rng, mix};
pub use runner::{Outcome, Simulator, Sum};
pub use shrink::{shrink, shrink_list};

use marks::WANTED;
use world::World;

/// The simulator of the storage engine; it counts commits acknowledged at the ends of runs.
pub const SIMULATOR: Simulator<Plan, 1> = Simulator {
    name: "sim",
    seeds: 1000,
    wanted: WANTED,
    plan: Plan::new,
    run,
    shrink,
    config: |plan| &plan.config,
    summary: |[commits]| format!(", {commits} commits; faults that struck:"),
};

/// Carries out a plan. `tell`: keep the history.
#[must_use]
pub fn run(plan: &Plan, tell: bool) -> Outcome<1> {
    let mut world = World::new(plan.seed, plan.config.clone(), tell);
    let carried = catch_unwind(AssertUnwindSafe(|| {
        world.begin()?;
        for action in &plan.actions {
            world.act(action)?;
        }
        world.finish()
    }));
    let failure = match carried {
        Ok(result) => result.err(),
        Err(panic) => Some(format!("panic: {}", words_of(&*panic))),
    };
    Outcome {
        hash: world.hash(),
        tally: world.all_tally(),
        counted: [world.acked],
        failure,
        told: world.told.take().unwrap_or_default(),
        marks: world.marks,
    }
}

/// What a panic said.
#[must_use]
pub fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without words").to_owned()
}
