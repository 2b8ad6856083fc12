//! Figures of a running store.

use std::sync::atomic::Ordering::Relaxed;

use platform::Distribution;

use crate::health::{Damage, State};
use crate::{ArchiveStats, Error, Lsm, Lsn};

/// A picture of a store; the figures are read one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The last commit.
    pub last_lsn: Lsn,
    /// The last commit that new snapshots see.
    pub visible_lsn: Lsn,
    /// The last commit that survives a power cut.
    pub durable_lsn: Lsn,
    /// The last commit in the trees: replay starts behind it.
    pub flushed_lsn: Lsn,
    /// Bytes of memory of all memtable sets of the current version.
    pub memtable_bytes: usize,
    /// Frozen sets waiting for their flush.
    pub frozen: usize,
    /// Bytes of memory that wait for their flush, less what of it is done.
    pub debt_bytes: u64,
    /// What [`Stats::debt_bytes`] may come to before commits wait wholly. (A batch
    /// may go beyond it by its own size.)
    pub debt_bound_bytes: u64,
    /// Commits that wait for a flush now.
    pub waiting_commits: usize,
    /// Commits that were put off a little, with as many sets frozen as may be.
    pub delayed_commits: u64,
    /// Commits that waited since there was no room.
    pub stalled_commits: u64,
    /// Microseconds both kinds have waited, all together.
    pub stalled_micros: u64,
    /// Commits that found no room and nobody who flushes, and flushed themselves.
    pub commits_that_flushed: u64,
    /// Snapshots alive, expired ones whose owners still have them included.
    pub snapshots: usize,
    /// The LSN of the oldest of them.
    pub oldest_snapshot: Option<Lsn>,
    /// For how long, in microseconds, the oldest version that is read has not been
    /// the current one: so long a snapshot has been holding something back.
    pub oldest_pin_micros: u64,
    /// Bytes of memory held back for old snapshots: memtable sets flushed since.
    pub pinned_memory_bytes: u64,
    /// Bytes of the disk held back for old snapshots: pages written anew since, as
    /// of the beginning of the last flush.
    pub pinned_disk_bytes: u64,
    /// Of both, bytes held back for a backup being taken.
    pub backup_pinned_bytes: u64,
    /// What they may come to before the backup fails.
    pub backup_pinned_bound_bytes: u64,
    /// Transactions that may write, and have not ended.
    pub transactions: usize,
    /// Bytes of memory of the keys of the last commits, which they are compared with.
    pub recent_bytes: usize,
    /// Versions taken away from their snapshots since the store was opened.
    pub expired_versions: u64,
    /// Versions taken away from a backup since then.
    pub expired_backups: u64,
    /// Bytes of the log's segments.
    pub wal_bytes: u64,
    /// Bytes of frames appended to the log since the store was opened.
    pub wal_appended_bytes: u64,
    /// How many commits each sync of the log made durable since then.
    pub sync_groups: Distribution,
    /// Nanoseconds that commits, or the timer, waited for syncs since then.
    pub syncs: Distribution,
    /// Nanoseconds that flushes took since then.
    pub flushes: Distribution,
    /// How the log's archive does; `None`: the log is not archived.
    pub archive: Option<ArchiveStats>,
    /// Replicas, watchers and others that keep the log from being cut.
    pub log_holders: usize,
    /// The first frame any of them needs.
    pub oldest_held: Option<Lsn>,
    /// Those let go since the store was opened, for holding back too much.
    pub holders_let_go: u64,
    /// Bytes of the page file.
    pub page_file_bytes: u64,
    /// Of them, bytes of pages that are free.
    pub free_page_bytes: u64,
    /// Bytes of records in the value log.
    pub value_bytes: u64,
    /// Of them, bytes that nothing points at any more. (What is written and about to be
    /// pointed at is none of them.)
    pub dead_value_bytes: u64,
    /// Segments of the value log removed since the store was opened.
    pub gc_segments: u64,
    /// Bytes of living records that collecting wrote again since then.
    pub gc_moved_bytes: u64,
    /// Bytes of living records that collecting has written again and the trees do not
    /// all name yet: there twice for the moment, at most a sixteenth of the value log
    /// and 256 MiB, or two steps of collecting, and a step more.
    pub gc_waiting_bytes: u64,
    /// Bytes of records in the segments removed since then.
    pub gc_freed_bytes: u64,
    /// Segments that collecting leaves alone until the store is opened again, by
    /// number, and why: what lives in them is not sure.
    pub gc_skipped: Vec<(u32, String)>,
    /// Runs beside the trees: flushed, and not merged into them yet.
    pub runs: usize,
    /// Entries in them.
    pub run_entries: u64,
    /// Runs written since the store was opened.
    pub runs_written: u64,
    /// Of them, those that took older runs in.
    pub runs_joined: u64,
    /// Pieces of runs merged into trees since then.
    pub run_merges: u64,
    /// Entries taken out of runs by them.
    pub run_merged_entries: u64,
    /// Page reads answered from the cache, and from the disk.
    pub cache_hits: u64,
    /// Page reads that went to the disk.
    pub cache_misses: u64,
    /// What was wrong with one of the two meta pages when the store was opened. A
    /// crash in the middle of a flush leaves it so; without one it was damage, and
    /// what was lost with it came back from the log.
    pub damaged_meta: Option<String>,
    /// Why the last flush failed, if it did.
    pub flush_error: Option<String>,
    /// Why segments of the log could not be removed, if they could not.
    pub trim_error: Option<String>,
    /// Whether it takes writes.
    pub state: State,
    /// Commits refused for want of space or file descriptors.
    pub refused_for_space: u64,
    /// What reads have met.
    pub damage: Damage,
    /// Why writes are refused, if they are.
    pub poisoned: Option<String>,
}

impl Lsm {
    /// Figures for a dashboard.
    ///
    /// # Errors
    /// The table of dead bytes cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        let version = self.version.load_full();
        let (snapshots, oldest_snapshot) = self.registry.live();
        let (value_bytes, dead_value_bytes) = *self.gc.usage.lock();
        let pinned = self.version.pinned(&self.disk_pins());
        let (expired_versions, expired_backups) = self.version.expired();
        let holders = self.retain.figures();
        let (load, waits) = (self.load(&version), self.pace.waits());
        // Not below, where guards live to the end of the statement.
        let state = self.state();
        let (runs, run_entries) = version.runs.totals(&version.view);
        let cache = self.pages.cache_stats();
        let (sync_groups, wal_appended_bytes) = self.wal.written();
        let (recent_bytes, transactions) = self.recent.held();
        Ok(Stats {
            last_lsn: self.last_lsn(),
            visible_lsn: self.visible.load(std::sync::atomic::Ordering::Acquire),
            durable_lsn: self.durable_lsn(),
            flushed_lsn: version.flushed,
            memtable_bytes: version.sets().map(|set| set.bytes()).sum(),
            frozen: version.frozen.len(),
            debt_bytes: load.debt,
            debt_bound_bytes: load.bound,
            waiting_commits: waits.now,
            delayed_commits: waits.delayed,
            stalled_commits: waits.stalls,
            stalled_micros: waits.micros,
            commits_that_flushed: waits.own_flushes,
            snapshots,
            oldest_snapshot,
            oldest_pin_micros: pinned.micros,
            pinned_memory_bytes: pinned.memory,
            pinned_disk_bytes: pinned.disk,
            backup_pinned_bytes: pinned.backups,
            backup_pinned_bound_bytes: self.options.max_backup_pinned_bytes,
            transactions,
            recent_bytes,
            expired_versions,
            expired_backups,
            wal_bytes: self.wal.total_bytes(),
            wal_appended_bytes,
            sync_groups,
            syncs: self.timings.syncs.read(),
            flushes: self.timings.flushes.read(),
            archive: self.archiving.stats(&self.wal.segments()),
            log_holders: holders.holders,
            oldest_held: holders.oldest,
            holders_let_go: holders.let_go,
            page_file_bytes: u64::from(version.view.file_pages()) * btree::PAGE_BYTES as u64,
            free_page_bytes: version.view.free_pages() * btree::PAGE_BYTES as u64,
            value_bytes,
            dead_value_bytes,
            gc_segments: self.gc.segments.load(Relaxed),
            gc_moved_bytes: self.gc.moved.load(Relaxed),
            gc_waiting_bytes: self.gc.waiting.load(Relaxed),
            gc_freed_bytes: self.gc.freed.load(Relaxed),
            gc_skipped: self.gc.skipped.lock().clone().into_iter().collect(),
            runs,
            run_entries,
            runs_written: self.runs.written.load(Relaxed),
            runs_joined: self.runs.joined.load(Relaxed),
            run_merges: self.runs.pieces.load(Relaxed),
            run_merged_entries: self.runs.merged.load(Relaxed),
            cache_hits: cache.hits,
            cache_misses: cache.misses,
            damaged_meta: self.pages.damaged_meta().map(str::to_owned),
            flush_error: self.flush_error.lock().clone(),
            trim_error: self.trim_error.lock().clone(),
            state,
            refused_for_space: self.health.refused(),
            damage: self.health.damage(),
            poisoned: self.poisoned(),
        })
    }
}
