//! The service in a simulated world: guests, clients of the wire, watchers and jobs on one
//! engine, seeded, one thread at a time, replayable.
//!
//! A seed makes a [`Plan`]; [`run`] carries it out. Guests run in the interpreter, and others
//! come in between any two of their instructions, around each call of the host, before the
//! commit lock and between a commit's write and its sync. The machine is killed, loses power,
//! fails reads, writes and syncs, runs full. What must stay true:
//! * same plan, same run: one hash over every answer and every disk call;
//! * the commits of the log, carried out one after the other on a model that shares no code
//!   with the engine, answer every step as it was answered, leave the documents and index
//!   entries that are there, and make the events that watchers are told, each once;
//! * what is acknowledged, or told, survives as its mode promises; a job is done once.
//!
//! `oracle.rs` is the serial order, `model.rs` what a step does, `baton.rs` the turns.

mod actor;
mod baton;
mod guest;
mod model;
mod oracle;
mod packets;
mod plan;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use simulation::{Outcome, Simulator, shrink_list, words_of};

pub use plan::{Action, Config, Ending, Fields, Job, Plan, Step};
use world::World;

/// States that the default seeds must reach.
const WANTED: &[&str] = &[
    "a call in its turn",
    "a call run again",
    "a client's transaction in conflict",
    "a commit found that nobody was told of",
    "a job delivered outside",
    "a job delivered outside again",
    "a job done with its call",
    "a trap",
    "an index dropped",
    "an index made",
    "background work that failed",
    "commits lost to a power cut",
    "committed",
    "crash",
    "crash while calls were under way",
    "dropped",
    "failed to open",
    "not unique",
    "read",
    "reopened",
    "the timetable fired",
    "unknown",
];

/// The simulator of the service; it counts transactions found to be right: those that took
/// effect, and others.
pub const SIMULATOR: Simulator<Plan, 2> = Simulator {
    name: "interplay",
    seeds: 100,
    wanted: WANTED,
    plan: Plan::new,
    run,
    shrink,
    config: |plan| &plan.config,
    summary: |[committed, others]| {
        format!(": {committed} transactions in their order, {others} others\nfaults that struck:")
    },
};

/// Carries out a plan. `tell`: keep the history.
#[must_use]
pub fn run(plan: &Plan, tell: bool) -> Outcome<2> {
    let mut world = World::new(plan, tell);
    let carried = catch_unwind(AssertUnwindSafe(|| {
        world.begin()?;
        for action in &plan.actions {
            world.act(action)?;
        }
        world.finish()
    }));
    // A failure may leave somebody at something.
    let hash = world.hash();
    world.stop();
    let failure = match carried {
        Ok(result) => result.err(),
        Err(panic) => Some(format!("panic: {}", words_of(&*panic))),
    };
    Outcome {
        hash,
        tally: world.tally,
        counted: world.checked(),
        failure,
        told: world.history.take().unwrap_or_default(),
        marks: std::mem::take(&mut world.marks),
    }
}

/// Runs tried at most to make a plan small.
const TRIES: usize = 1500;

/// The smallest plan found that fails, from one that does.
#[must_use]
pub fn shrink(plan: &Plan) -> Plan {
    shrink_by(plan, &mut |candidate| run(candidate, false).failure.is_some())
}

/// As [`shrink`], with another judge of what fails, asked at most [`TRIES`] times.
fn shrink_by(plan: &Plan, judge: &mut dyn FnMut(&Plan) -> bool) -> Plan {
    let mut tries = 0;
    let mut fails = |candidate: &Plan| {
        tries += 1;
        tries <= TRIES && judge(candidate)
    };
    let mut best = plan.clone();
    best.actions = shrink_list(best.actions, &mut |actions| {
        fails(&Plan { actions: actions.to_vec(), ..plan.clone() })
    });
    for at in 0..best.actions.len() {
        let Some(steps) = steps_of(&best.actions[at]) else { continue };
        let mut candidate = best.clone();
        let steps = shrink_list(steps, &mut |steps| {
            set_steps(&mut candidate.actions[at], steps.to_vec());
            fails(&candidate)
        });
        set_steps(&mut best.actions[at], steps);
    }
    best
}

fn steps_of(action: &Action) -> Option<Vec<Step>> {
    match action {
        Action::Call { steps, .. } | Action::Wire { steps, .. } => Some(steps.clone()),
        _ => None,
    }
}

fn set_steps(action: &mut Action, new: Vec<Step>) {
    if let Action::Call { steps, .. } | Action::Wire { steps, .. } = action {
        *steps = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulation::End;

    #[test]
    fn what_is_left_fails_and_nothing_of_it_can_be_left_out() {
        let mut plan = Plan::new(3);
        plan.actions.extend(Plan::new(4).actions);
        let call = |steps| Action::Call { actor: 0, get: false, steps, status: 200 };
        let middle = plan.actions.len() / 2;
        let steps = vec![Step::All(0), Step::Delete(0, 99), Step::All(1)];
        plan.actions.insert(middle, call(steps));
        plan.actions.push(Action::Crash(End::WorstPower));
        let wanted = |action: &Action| {
            steps_of(action).is_some_and(|steps| steps.contains(&Step::Delete(0, 99)))
        };
        let last = |action: &Action| matches!(action, Action::Crash(End::WorstPower));
        let mut asked = 0;
        let small = shrink_by(&plan, &mut |plan| {
            asked += 1;
            let at = plan.actions.iter().position(wanted);
            at.is_some_and(|at| plan.actions[at..].iter().any(last))
        });
        assert!(asked <= TRIES && small.seed == plan.seed, "{asked}");
        let [one, two] = &small.actions[..] else { panic!("{:?}", small.actions) };
        assert_eq!(steps_of(one), Some(vec![Step::Delete(0, 99)]));
        assert!(last(two));
    }

    #[test]
    fn a_plan_that_never_fails_again_stays_as_it_is() {
        let plan = Plan::new(5);
        let mut asked = 0;
        let same = shrink_by(&plan, &mut |_| {
            asked += 1;
            false
        });
        assert_eq!(same.actions.len(), plan.actions.len());
        assert!(asked <= TRIES && asked >= plan.actions.len(), "{asked}");
    }
}
