//! Makes a failing plan small: fewer actions, fewer writes, a plainer
//! configuration.
//!
//! Invariant: what comes back fails too; it may fail with another message, since
//! the same fault may show elsewhere.

use crate::plan::{Action, Plan};
use crate::run;

/// Runs tried at most.
const TRIES: usize = 1500;

/// The smallest plan found that fails, from one that does.
#[must_use]
pub fn shrink(plan: &Plan) -> Plan {
    let mut best = plan.clone();
    let mut tries = 0;
    let mut fails = |candidate: &Plan| {
        tries += 1;
        tries <= TRIES && run(candidate, false).failure.is_some()
    };
    // Whole runs of actions, then single ones, as long as it helps.
    let mut size = best.actions.len().max(1);
    while size > 0 {
        let mut at = 0;
        let mut helped = false;
        while at < best.actions.len() {
            let mut candidate = best.clone();
            candidate.actions.drain(at..(at + size).min(best.actions.len()));
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
