//! The families of the engine and its storage.

use super::text::{COUNT, Kind, Page, SECONDS};
use engine::{Figures, State};

pub(super) fn operations(page: &mut Page, figures: Option<&Figures>) {
    let all = || figures.iter().flat_map(|figures| &figures.operations);
    let mut requests = page.family(
        "planck_requests_total",
        Kind::Counter,
        &["operation"],
        "requests that were understood, from the wire and from guests",
    );
    for of in all() {
        requests.sample(&[of.opcode.name()], of.requests as f64);
    }
    let mut took = page.family(
        "planck_request_duration_seconds",
        Kind::Histogram,
        &["operation", "origin"],
        "what requests took in the engine, by origin (wire, guest); operations that there were",
    );
    for of in all() {
        for (origin, seen) in [("wire", &of.wire), ("guest", &of.guest)] {
            if seen.count() > 0 {
                took.distribution(&[of.opcode.name(), origin], SECONDS, seen);
            }
        }
    }
    let mut refused = page.family(
        "planck_requests_refused_total",
        Kind::Counter,
        &["code"],
        "requests answered with an error, by its code",
    );
    for (status, count) in figures.iter().flat_map(|figures| &figures.refusals) {
        refused.sample(&[&status.to_string()], *count as f64);
    }
    let mut state = page.family(
        "planck_storage_state",
        Kind::Gauge,
        &["state"],
        "1 for the state of now: healthy, read_only or poisoned",
    );
    if let Some(figures) = figures {
        let now = match figures.storage.state {
            State::Healthy => "healthy",
            State::ReadOnly { .. } => "read_only",
            State::Poisoned { .. } => "poisoned",
        };
        for name in ["healthy", "read_only", "poisoned"] {
            state.sample(&[name], f64::from(u8::from(name == now)));
        }
    }
    page.gauge("planck_stores", "stores", figures.map(|figures| figures.stores as u64));
    page.gauge("planck_users", "users", figures.map(|figures| figures.users as u64));
}

pub(super) fn log(page: &mut Page, figures: Option<&Figures>) {
    let storage = figures.map(|figures| &figures.storage);
    page.counter(
        "planck_commits_total",
        "the number of the last commit",
        storage.map(|s| s.last_lsn),
    );
    page.gauge(
        "planck_commits_not_durable",
        "commits that a power cut would lose",
        storage.map(|s| s.last_lsn.saturating_sub(s.durable_lsn)),
    );
    page.gauge(
        "planck_commits_not_flushed",
        "commits that a start would replay",
        storage.map(|s| s.last_lsn.saturating_sub(s.flushed_lsn)),
    );
    page.gauge("planck_wal_bytes", "the log on disk", storage.map(|s| s.wal_bytes));
    page.counter(
        "planck_wal_appended_bytes_total",
        "bytes of frames appended",
        storage.map(|s| s.wal_appended_bytes),
    );
    page.histogram(
        "planck_wal_sync_seconds",
        "what commits, or the timer, waited until the log was durable",
        SECONDS,
        storage.map(|s| &s.syncs),
    );
    page.histogram(
        "planck_wal_sync_commits",
        "commits that one sync made durable",
        COUNT,
        storage.map(|s| &s.sync_groups),
    );
    page.gauge(
        "planck_log_holders",
        "those that keep the log from being cut",
        storage.map(|s| s.log_holders as u64),
    );
    page.counter(
        "planck_log_holders_let_go_total",
        "those let go since they held back too much",
        storage.map(|s| s.holders_let_go),
    );
    let archive = storage.and_then(|storage| storage.archive.as_ref());
    page.gauge(
        "planck_archive_waiting_bytes",
        "bytes of the log that wait to be archived",
        archive.map(|archive| archive.waiting_bytes),
    );
    page.counter(
        "planck_archive_failures_total",
        "attempts to archive that failed",
        archive.map(|archive| archive.failures_total),
    );
}

pub(super) fn memory(page: &mut Page, figures: Option<&Figures>) {
    let storage = figures.map(|figures| &figures.storage);
    page.gauges(
        storage,
        &[
            ("planck_memtable_bytes", "writes in memory", |s| s.memtable_bytes as u64),
            ("planck_memtables_frozen", "sets that wait for a flush", |s| s.frozen as u64),
            ("planck_flush_debt_bytes", "memory that waits for its flush", |s| s.debt_bytes),
            ("planck_flush_debt_max_bytes", "what that may come to before commits wait", |s| {
                s.debt_bound_bytes
            }),
            ("planck_commits_waiting", "commits that wait for a flush now", |s| {
                s.waiting_commits as u64
            }),
        ],
    );
    page.histogram(
        "planck_flush_seconds",
        "from the first piece of a flush to its last",
        SECONDS,
        storage.map(|s| &s.flushes),
    );
    page.counters(
        storage,
        &[
            (
                "planck_commits_delayed_total",
                "commits put off a little, as flushes were behind",
                |s| s.delayed_commits,
            ),
            ("planck_commits_stalled_total", "commits that waited, as there was no room", |s| {
                s.stalled_commits
            }),
            (
                "planck_commits_refused_for_space_total",
                "commits refused, as the disk was full",
                |s| s.refused_for_space,
            ),
        ],
    );
    page.plain(
        "planck_commit_wait_seconds_total",
        Kind::Counter,
        "what both have waited, all together",
        storage.map(|s| s.stalled_micros as f64 / 1e6),
    );
    page.gauges(
        storage,
        &[
            ("planck_snapshots", "snapshots alive", |s| s.snapshots as u64),
            ("planck_pinned_memory_bytes", "memory held back for old snapshots", |s| {
                s.pinned_memory_bytes
            }),
            ("planck_pinned_disk_bytes", "bytes on disk held back for old snapshots", |s| {
                s.pinned_disk_bytes
            }),
            ("planck_backup_pinned_bytes", "of both, held back for a backup being taken", |s| {
                s.backup_pinned_bytes
            }),
        ],
    );
    page.plain(
        "planck_oldest_snapshot_seconds",
        Kind::Gauge,
        "for how long the oldest snapshot has held something back",
        storage.map(|s| s.oldest_pin_micros as f64 / 1e6),
    );
    page.counter(
        "planck_snapshots_expired_total",
        "versions taken away from old snapshots",
        storage.map(|s| s.expired_versions),
    );
    page.counter(
        "planck_page_cache_hits_total",
        "pages found in the cache",
        storage.map(|s| s.cache_hits),
    );
    page.counter(
        "planck_page_cache_misses_total",
        "pages read from the disk",
        storage.map(|s| s.cache_misses),
    );
}

pub(super) fn disk(page: &mut Page, figures: Option<&Figures>) {
    let storage = figures.map(|figures| &figures.storage);
    page.gauges(
        storage,
        &[
            ("planck_page_file_bytes", "the file of trees", |s| s.page_file_bytes),
            ("planck_page_file_free_bytes", "of it, free pages", |s| s.free_page_bytes),
            ("planck_vlog_bytes", "records in the value log", |s| s.value_bytes),
            ("planck_vlog_dead_bytes", "of them, dead", |s| s.dead_value_bytes),
            ("planck_gc_waiting_bytes", "records moved that no tree names yet", |s| {
                s.gc_waiting_bytes
            }),
            (
                "planck_gc_skipped_segments",
                "segments left alone, as what lives in them is not sure",
                |s| s.gc_skipped.len() as u64,
            ),
            ("planck_runs", "sorted runs beside the trees", |s| s.runs as u64),
            ("planck_run_entries", "entries in them", |s| s.run_entries),
        ],
    );
    page.counters(
        storage,
        &[
            ("planck_gc_segments_total", "segments removed", |s| s.gc_segments),
            ("planck_gc_moved_bytes_total", "living records moved", |s| s.gc_moved_bytes),
            ("planck_gc_freed_bytes_total", "records in removed segments", |s| s.gc_freed_bytes),
            ("planck_runs_written_total", "runs written", |s| s.runs_written),
            ("planck_run_merges_total", "pieces of runs merged into trees", |s| s.run_merges),
        ],
    );
    let mut corrupt = page.family(
        "planck_corrupt_total",
        Kind::Counter,
        &["kind"],
        "what failed its check when it was read: page, record, frame",
    );
    if let Some(damage) = storage.map(|storage| &storage.damage) {
        for (kind, count) in
            [("page", damage.pages), ("record", damage.records), ("frame", damage.frames)]
        {
            corrupt.sample(&[kind], count as f64);
        }
    }
    page.counter(
        "planck_read_errors_total",
        "reads that the disk failed",
        storage.map(|s| s.damage.read_errors),
    );
}

pub(super) fn queries(page: &mut Page, figures: Option<&Figures>) {
    let queries = figures.map(|figures| &figures.queries);
    page.gauges(
        queries,
        &[
            ("planck_queries_running", "queries that run", |q| q.running as u64),
            ("planck_cursors", "cursors that wait for their next page", |q| q.open_cursors as u64),
            ("planck_cursor_memory_bytes", "memory they hold", |q| q.cursor_memory),
            ("planck_cursor_disk_bytes", "what they hold on disk", |q| q.cursor_spill),
        ],
    );
    page.counters(
        queries,
        &[
            ("planck_queries_slow_total", "queries that took limits.slow_query_ms", |q| q.slow),
            ("planck_query_spilled_runs_total", "runs of rows that did not fit memory", |q| {
                q.spilled_runs
            }),
            ("planck_cursors_expired_total", "cursors nobody fetched from", |q| q.expired_cursors),
        ],
    );
    let transactions = figures.map(|figures| &figures.transactions);
    page.gauges(
        transactions,
        &[
            ("planck_transactions", "transactions that are open", |t| t.open as u64),
            ("planck_transaction_memory_bytes", "memory their reads and writes take", |t| t.memory),
        ],
    );
    page.gauge(
        "planck_recent_commits_bytes",
        "keys of the last commits, which transactions are compared with",
        figures.map(|figures| figures.storage.recent_bytes as u64),
    );
    page.counters(
        transactions,
        &[
            ("planck_transactions_committed_total", "transactions that wrote something", |t| {
                t.committed
            }),
            (
                "planck_transaction_conflicts_total",
                "transactions that another commit disturbed",
                |t| t.conflicts,
            ),
            (
                "planck_guest_calls_again_total",
                "calls of guests that were run again since another commit disturbed them",
                |t| t.again,
            ),
            (
                "planck_transactions_expired_total",
                "transactions nobody used, or that lasted too long",
                |t| t.expired,
            ),
        ],
    );
    let jobs = figures.map(|figures| &figures.jobs);
    page.gauges(
        jobs,
        &[
            ("planck_jobs_waiting", "jobs that wait, due or not, those at work included", |j| {
                j.waiting
            }),
            ("planck_jobs_due", "of them, those whose time has come", |j| j.due),
            ("planck_jobs_running", "jobs at work", |j| j.running),
            ("planck_jobs_dead", "jobs that were given up, and are kept", |j| j.dead),
        ],
    );
    page.gauge(
        "planck_jobs_oldest_due_seconds",
        "how long ago the oldest job that is due was to be run",
        jobs.map(|jobs| jobs.oldest_due_millis / 1000),
    );
    page.counters(
        jobs,
        &[
            ("planck_jobs_done_total", "jobs that were done", |j| j.done),
            ("planck_jobs_failed_total", "attempts of jobs that failed", |j| j.failed),
            ("planck_jobs_given_up_total", "jobs that were given up", |j| j.given_up),
            ("planck_jobs_postponed_total", "times a job was put off without an attempt", |j| {
                j.postponed
            }),
        ],
    );
    let audit = figures.and_then(|figures| figures.audit.as_ref());
    page.counter(
        "planck_audit_lines_total",
        "lines of the audit log",
        audit.map(|audit| audit.lines),
    );
    page.counter(
        "planck_audit_lost_total",
        "lines of the audit log that could not be written",
        audit.map(|audit| audit.lost),
    );
    page.gauge("planck_audit_files", "files of the audit log", audit.map(|audit| audit.files));
}

pub(super) fn watches(page: &mut Page, figures: Option<&Figures>, waiting: Option<u64>) {
    let watches = figures.map(|figures| &figures.watches);
    page.gauge(
        "planck_watchers_waiting",
        "watches of the wire, and event streams that follow stores, that wait for a commit",
        waiting,
    );
    page.gauges(
        watches,
        &[
            (
                "planck_watch_behind_commits",
                "how many commits the watcher furthest behind was, of those of the last seconds",
                |w| w.behind,
            ),
            ("planck_watch_memory_bytes", "the newest commits, held once for all who watch", |w| {
                w.memory as u64
            }),
        ],
    );
    page.counters(
        watches,
        &[
            ("planck_watch_pages_total", "pages given to watchers, empty ones too", |w| w.pages),
            ("planck_watch_events_total", "events given to watchers", |w| w.events),
            ("planck_watch_bytes_total", "bytes of the pages that had events", |w| w.bytes),
            (
                "planck_watch_gaps_total",
                "watchers told that the log does not reach back to where they were",
                |w| w.gaps,
            ),
        ],
    );
}
