//! Makes a failing plan small: fewer actions, fewer writes, a plainer
//! configuration.
//!
//! Invariant: what comes back fails too; it may fail with another message, since
//! the same fault may show elsewhere.

use crate::plan::{Action, Plan};
use crate::run;

/// Runs tried at most.
const TRIES: usize = 1500;

/// The shortest list found that fails, from one that does, by leaving out: whole runs of
/// items, then single ones, as long as it helps.
pub fn shrink_list<T: Clone>(items: Vec<T>, fails: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    let mut best = items;
    let mut size = best.len().max(1);
    while size > 0 {
        let (mut at, mut helped) = (0, false);
        while at < best.len() {
            let mut candidate = best.clone();
            candidate.drain(at..(at + size).min(best.len()));
            if fails(&candidate) {
                best = candidate;
                helped = true;
            } else {
                at += size;
            }
        }
        if !(helped && size == 1) {
            size /= 2;
        }
    }
    best
}

/// The smallest plan found that fails, from one that does.
#[must_use]
pub fn shrink(plan: &Plan) -> Plan {
    shrink_by(plan, &mut |candidate| run(candidate, false).failure.is_some())
}

/// As [`shrink`], with another judge of what fails, asked at most [`TRIES`] times.
fn shrink_by(plan: &Plan, judge: &mut dyn FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    let mut tries = 0;
    let mut fails = |candidate: &Plan| {
        tries += 1;
        tries <= TRIES && judge(candidate)
    };
    let with = |actions: &[Action]| Plan { actions: actions.to_vec(), ..plan.clone() };
    best.actions = shrink_list(best.actions, &mut |actions: &[Action]| fails(&with(actions)));
    for at in 0..best.actions.len() {
        let mut put = 0;
        while let Action::Commit(puts) = &best.actions[at]
            && puts.len() > 1
            && put < puts.len()
        {
            let mut candidate = best.clone();
            if let Action::Commit(puts) = &mut candidate.actions[at] {
                puts.remove(put);
            }
            if fails(&candidate) {
                best = candidate;
            } else {
                put += 1;
            }
        }
        if let Action::Crash(end, again) = &best.actions[at]
            && !again.is_empty()
        {
            let mut candidate = best.clone();
            candidate.actions[at] = Action::Crash(*end, Vec::new());
            if fails(&candidate) {
                best = candidate;
            }
        }
    }
    let plainer: [fn(&mut Plan); 6] = [
        |plan| plan.config.room_at_birth = None,
        |plan| plan.config.options.vlog_segment_bytes = 1 << 20,
        |plan| plan.config.options.wal_segment_bytes = 64 << 10,
        |plan| plan.config.options.memtable_bytes = 1 << 20,
        |plan| plan.config.options.max_frozen = 1,
        |plan| plan.config.options.cache_bytes = 1 << 20,
    ];
    for make_plainer in plainer {
        let mut candidate = best.clone();
        make_plainer(&mut candidate);
        if fails(&candidate) {
            best = candidate;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{End, Put};

    /// Four actions that fail together, with much around them.
    fn failing() -> (Plan, impl Fn(&Plan) -> bool) {
        let mut plan = Plan::new(3);
        plan.actions = Plan::new(4).actions;
        let puts = (0..9).map(|n| Put::Value(7, n, 1, n)).collect();
        let at = plan.actions.len();
        plan.actions.insert(at / 2, Action::Commit(puts));
        plan.actions.insert(at / 3, Action::Crash(End::WorstPower, vec![1, 2, 3]));
        plan.actions.push(Action::Resize(77));
        let fails = |plan: &Plan| {
            let has = |wanted: fn(&Action) -> bool| plan.actions.iter().position(wanted);
            let crash = has(|a| matches!(a, Action::Crash(End::WorstPower, _)));
            let commit = has(|a| {
                matches!(a, Action::Commit(puts)
                    if puts.iter().any(|put| matches!(put, Put::Value(7, 4, ..))))
            });
            let last = has(|a| matches!(a, Action::Resize(77)));
            matches!((crash, commit, last), (Some(a), Some(b), Some(c)) if a < b && b < c)
        };
        (plan, fails)
    }

    #[test]
    fn what_is_left_fails_and_nothing_of_it_can_be_left_out() {
        // Given a plan of many actions, of which three make it fail,
        let (plan, fails) = failing();
        assert!(plan.actions.len() > 20 && fails(&plan));
        // when it is shrunk, then those three are left, in their order,
        let small = shrink_by(&plan, &mut |plan| fails(plan));
        assert!(fails(&small));
        assert_eq!(small.actions.len(), 3, "{:?}", small.actions);
        // of the commit the one write, of the crash no crashed recoveries,
        assert!(
            matches!(&small.actions[0], Action::Crash(End::WorstPower, again) if again.is_empty())
        );
        assert!(matches!(&small.actions[1], Action::Commit(puts) if puts.len() == 1));
        // and a configuration that is plain.
        assert_eq!(small.config.room_at_birth, None);
        let options = &small.config.options;
        assert_eq!((options.max_frozen, options.memtable_bytes), (1, 1 << 20));
        assert_eq!(small.seed, plan.seed);
    }

    #[test]
    fn a_configuration_that_matters_stays_and_tries_are_bounded() {
        let (plan, _) = failing();
        let frozen = plan.config.options.max_frozen;
        let small = shrink_by(&plan, &mut |plan| plan.config.options.max_frozen == frozen);
        assert!(small.actions.is_empty());
        assert_eq!(small.config.options.max_frozen, frozen);
        // One that never fails again is given back as it was.
        let mut tries = 0;
        let same = shrink_by(&plan, &mut |_| {
            tries += 1;
            false
        });
        assert_eq!(same.actions.len(), plan.actions.len());
        assert!(tries <= TRIES && tries > plan.actions.len(), "{tries}");
    }
}
