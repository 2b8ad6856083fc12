//! States a good simulator reaches: a run says when it was in one.
//!
//! Invariant: every mark names a state of [`WANTED`] or an incidental one; the
//! run over the default seeds fails if a wanted one was never reached.

use std::collections::BTreeMap;

/// States reached, and how often.
#[derive(Clone, Debug, Default)]
pub struct Marks(BTreeMap<&'static str, u64>);

/// What the default seeds must reach.
pub const WANTED: &[&str] = &[
    "archive read",
    "archive that cannot be read, by name",
    "archive behind at a crash",
    "async commits lost to a power cut",
    "bit rot refused at open",
    "bit rot seen by a read",
    "bit rot that nobody reads",
    "clock set back",
    "commit flushed a set itself",
    "commit refused for want of descriptors, then taken",
    "commit refused for want of space, then taken",
    "commit refused, its requirement unmet",
    "crash in a clean close",
    "copy to the archive failed",
    "crash in a collection after values moved, before the switch",
    "crash in a collection beside runs",
    "crash in a commit",
    "crash in a flush beside runs",
    "crash in a merge of runs, before the switch",
    "filter of a run built anew",
    "keyspace with runs dropped",
    "living values moved beside runs",
    "run written",
    "runs joined",
    "runs merged into a tree",
    "crash in a flush after values, before the switch",
    "crash in a flush after the switch",
    "crash while moved values were being named",
    "flush while moved values waited",
    "crash in recovery",
    "crash in recovery again and again",
    "drop in flight at a crash",
    "drop not yet flushed at a crash",
    "failed read of a read",
    "failed read of what a restore had written",
    "failed open, then opened",
    "failed sync of the log, then opened again",
    "failed sync of the page file, then opened again",
    "failed sync of the value log, then opened again",
    "failed commit found after a crash",
    "failed commit gone after a crash",
    "crash of a backup",
    "crash of a restore",
    "crash of the archive's disk",
    "damage named by verify",
    "flush in pieces",
    "garbage freed",
    "incremental backup",
    "living values moved",
    "kill with unsynced commits",
    "log segment gone after a flush",
    "log read by a holder",
    "lost write noticed",
    "misdirected write noticed",
    "newest meta page rotten, opened with the older one",
    "power cut with nothing lost",
    "reader of the log let go",
    "recovery that flushes",
    "moved into a restored store",
    "restored",
    "restored to a commit",
    "restored to a moment",
    "restored to a moment that came twice",
    "restored with frames of the archive",
    "salvaged",
    "salvaged in part",
    "salvaged past sectors that cannot be read",
    "snapshot expired",
    "snapshot read across a collection",
    "snapshot read across a flush",
    "store made on a disk without room, later with",
    "torn tail of the log cut",
    "torn tail of the value log cut",
    "unfinished restore refused",
    "verified before recovery",
    "verified when closed",
    "verified while running",
];

impl Marks {
    /// The state was reached.
    pub fn mark(&mut self, state: &'static str) {
        *self.0.entry(state).or_default() += 1;
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Marks) {
        for (state, count) in &other.0 {
            *self.0.entry(state).or_default() += count;
        }
    }

    /// Every state reached, with its count, by name.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(state, count)| (*state, *count))
    }

    /// How often a state was reached.
    pub fn count(&self, state: &str) -> u64 {
        self.0.get(state).copied().unwrap_or(0)
    }

    /// Of the states that are wanted, those that were never reached.
    pub fn missing(&self, wanted: &[&'static str]) -> Vec<&'static str> {
        wanted.iter().copied().filter(|state| self.count(state) == 0).collect()
    }
}
