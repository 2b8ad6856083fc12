//! How often each kind of fault has struck, over all restarts.
//!
//! Invariant: a count is raised where the fault acts, never where it is asked
//! for: a fault that nothing met is not counted.

use std::ops::AddAssign;

/// Faults that have struck a [`SimDisk`](super::SimDisk) and those it was
/// restarted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Power cuts.
    pub power_cuts: u64,
    /// Processes killed.
    pub kills: u64,
    /// Pieces of unsynced writes that a power cut or a failed sync kept.
    pub kept: u64,
    /// Pieces of which it kept a part.
    pub torn: u64,
    /// Pieces of which it kept nothing.
    pub dropped: u64,
    /// Unsynced changes of names that a power cut kept.
    pub names_kept: u64,
    /// Unsynced changes of names that it undid.
    pub names_undone: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Reads that gave less than there was.
    pub short_reads: u64,
    /// Writes that failed, those that did a part of their work among them.
    pub failed_writes: u64,
    /// Writes that did a part of their work, then failed.
    pub short_writes: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Creates, renames and removes that failed.
    pub failed_names: u64,
    /// Calls refused for want of space.
    pub no_space: u64,
    /// Opens refused for want of descriptors.
    pub no_descriptors: u64,
    /// Bits flipped at rest.
    pub rotten_bits: u64,
    /// Writes acknowledged that never reached the medium.
    pub lost_writes: u64,
    /// Writes acknowledged that landed elsewhere.
    pub misdirected_writes: u64,
}

impl Tally {
    /// Every count with its name, in a fixed order.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, u64); 18] {
        [
            ("power cuts", self.power_cuts),
            ("kills", self.kills),
            ("unsynced pieces kept", self.kept),
            ("unsynced pieces torn", self.torn),
            ("unsynced pieces dropped", self.dropped),
            ("unsynced names kept", self.names_kept),
            ("unsynced names undone", self.names_undone),
            ("failed reads", self.failed_reads),
            ("short reads", self.short_reads),
            ("failed writes", self.failed_writes),
            ("short writes", self.short_writes),
            ("failed syncs", self.failed_syncs),
            ("failed creates, renames, removes", self.failed_names),
            ("no space", self.no_space),
            ("no descriptors", self.no_descriptors),
            ("rotten bits", self.rotten_bits),
            ("lost writes", self.lost_writes),
            ("misdirected writes", self.misdirected_writes),
        ]
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self {
            power_cuts,
            kills,
            kept,
            torn,
            dropped,
            names_kept,
            names_undone,
            failed_reads,
            short_reads,
            failed_writes,
            short_writes,
            failed_syncs,
            failed_names,
            no_space,
            no_descriptors,
            rotten_bits,
            lost_writes,
            misdirected_writes,
        } = other;
        self.power_cuts += power_cuts;
        self.kills += kills;
        self.kept += kept;
        self.torn += torn;
        self.dropped += dropped;
        self.names_kept += names_kept;
        self.names_undone += names_undone;
        self.failed_reads += failed_reads;
        self.short_reads += short_reads;
        self.failed_writes += failed_writes;
        self.short_writes += short_writes;
        self.failed_syncs += failed_syncs;
        self.failed_names += failed_names;
        self.no_space += no_space;
        self.no_descriptors += no_descriptors;
        self.rotten_bits += rotten_bits;
        self.lost_writes += lost_writes;
        self.misdirected_writes += misdirected_writes;
    }
}
