//! What a pool counts.

use platform::Distribution;

use crate::TrapKind;

/// Gauges and counters of a pool, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Instances alive.
    pub instances: usize,
    /// Jobs running.
    pub busy: usize,
    /// Jobs waiting.
    pub waiting: usize,
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Those of them that ran on the thread that had the request.
    pub here: u64,
    /// Calls that ended in a trap, by [`TrapKind::index`].
    pub traps: [u64; TrapKind::ALL.len()],
    /// Jobs that were never run: queue full, waited too long, closed.
    pub refused: u64,
    /// Instances made since the start.
    pub made: u64,
    /// Instances that could not be made.
    pub failed_starts: u64,
    /// Why the last of those could not.
    pub last_failed_start: Option<String>,
    /// Instances replaced because they held too much memory.
    pub recycled: u64,
    /// Time a call takes of late, in nanoseconds: a moving mean over about 16 calls.
    pub mean_call_nanos: u64,
    /// Nanoseconds that jobs waited before they were run, since the start.
    pub waits: Distribution,
    /// Nanoseconds that calls took, since the start.
    pub took: Distribution,
}

impl PoolStats {
    /// How often calls ended by a trap of that kind.
    pub fn trapped(&self, kind: TrapKind) -> u64 {
        self.traps[kind.index()]
    }

    /// With those of a pool that was before: what was counted is added, and what is told of
    /// the last call or start is this one's.
    #[must_use]
    pub fn after(mut self, before: &PoolStats) -> PoolStats {
        for (mine, theirs) in [
            (&mut self.instances, before.instances),
            (&mut self.busy, before.busy),
            (&mut self.waiting, before.waiting),
        ] {
            *mine += theirs;
        }
        for (mine, theirs) in [
            (&mut self.calls, before.calls),
            (&mut self.here, before.here),
            (&mut self.refused, before.refused),
            (&mut self.made, before.made),
            (&mut self.failed_starts, before.failed_starts),
            (&mut self.recycled, before.recycled),
        ] {
            *mine += theirs;
        }
        self.traps.iter_mut().zip(before.traps).for_each(|(mine, theirs)| *mine += theirs);
        self.waits = self.waits.and(&before.waits);
        self.took = self.took.and(&before.took);
        self
    }

    /// What stays of a pool that has ended: what was counted.
    #[must_use]
    pub fn ended(self) -> PoolStats {
        PoolStats { instances: 0, busy: 0, waiting: 0, ..self }
    }

    pub(super) fn count(&mut self, outcome: Result<(), TrapKind>, nanos: u64) {
        self.calls += 1;
        if let Err(kind) = outcome {
            self.traps[kind.index()] += 1;
        }
        let mean = self.mean_call_nanos;
        self.mean_call_nanos = if self.calls == 1 { nanos } else { mean - mean / 16 + nanos / 16 };
    }
}
