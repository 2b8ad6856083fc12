//! Stats: figures of the engine, as one document.

use std::sync::Arc;

use proto::Status;
use proto::doc::{DocBuf, Value};

use crate::catalog::Store;
use crate::{Engine, Figures, Principal, Refusal, Role, State, push_latency};

impl Engine {
    /// Figures as a BSON document: numbers under their names (bytes end in
    /// `_bytes`), `requests` by operation since the engine was opened, `latency` of those there
    /// were, the storage's `state` (`healthy`, `read_only`, `poisoned`), and reasons in words where there
    /// are any.
    ///
    /// # Errors
    /// The table of the value log's dead bytes cannot be read.
    pub fn stats(&self) -> Result<Vec<u8>, Refusal> {
        self.stats_for(None)
    }

    /// As somebody is told: who is no admin is told of the stores that they may read, of
    /// their own queries, and nothing of what stands beside the engine.
    pub(crate) fn stats_for(&self, who: Option<&Principal>) -> Result<Vec<u8>, Refusal> {
        let figures = self.figures()?;
        let Figures { storage, users, operations, refusals, .. } = figures;
        let Figures { queries, transactions, watches, jobs, audit, replication, .. } = figures;
        let seen = |store: &&Arc<Store>| who.is_none_or(|who| who.may_see(store.keyspace));
        let stores = self.catalogs.read().stores.values().filter(seen).count();
        let mut doc = DocBuf::with_capacity(1024);
        let figures = [
            ("stores", stores as u64),
            ("users", users as u64),
            ("lsn", storage.last_lsn),
            ("visible_lsn", storage.visible_lsn),
            ("durable_lsn", storage.durable_lsn),
            ("flushed_lsn", storage.flushed_lsn),
            ("memtable_bytes", storage.memtable_bytes as u64),
            ("frozen_memtables", storage.frozen as u64),
            ("debt_bytes", storage.debt_bytes),
            ("debt_bound_bytes", storage.debt_bound_bytes),
            ("waiting_commits", storage.waiting_commits as u64),
            ("delayed_commits", storage.delayed_commits),
            ("stalled_commits", storage.stalled_commits),
            ("stalled_us", storage.stalled_micros),
            ("refused_for_space", storage.refused_for_space),
            ("snapshots", storage.snapshots as u64),
            ("oldest_snapshot_lsn", storage.oldest_snapshot.unwrap_or(0)),
            ("pinned_memory_bytes", storage.pinned_memory_bytes),
            ("pinned_disk_bytes", storage.pinned_disk_bytes),
            ("expired_snapshots", storage.expired_versions),
            ("backup_pinned_bytes", storage.backup_pinned_bytes),
            ("backup_pinned_bound_bytes", storage.backup_pinned_bound_bytes),
            ("expired_backups", storage.expired_backups),
            ("wal_bytes", storage.wal_bytes),
            ("wal_appended_bytes", storage.wal_appended_bytes),
            ("log_holders", storage.log_holders as u64),
            ("log_holders_let_go", storage.holders_let_go),
            ("page_file_bytes", storage.page_file_bytes),
            ("free_page_bytes", storage.free_page_bytes),
            ("vlog_bytes", storage.value_bytes),
            ("vlog_dead_bytes", storage.dead_value_bytes),
            ("gc_segments", storage.gc_segments),
            ("gc_moved_bytes", storage.gc_moved_bytes),
            ("gc_waiting_bytes", storage.gc_waiting_bytes),
            ("gc_freed_bytes", storage.gc_freed_bytes),
            ("gc_skipped_segments", storage.gc_skipped.len() as u64),
            ("corrupt_pages", storage.damage.pages),
            ("corrupt_records", storage.damage.records),
            ("corrupt_frames", storage.damage.frames),
            ("read_errors", storage.damage.read_errors),
            ("cache_hits", storage.cache_hits),
            ("cache_misses", storage.cache_misses),
            ("refused", refusals.iter().map(|(_, count)| count).sum()),
            ("running_queries", queries.running as u64),
            ("slow_queries", queries.slow),
            ("open_cursors", queries.open_cursors as u64),
            ("expired_cursors", queries.expired_cursors),
            ("cursor_memory_bytes", queries.cursor_memory),
            ("cursor_spill_bytes", queries.cursor_spill),
            ("open_transactions", transactions.open as u64),
            ("transaction_memory_bytes", transactions.memory),
            ("expired_transactions", transactions.expired),
            ("committed_transactions", transactions.committed),
            ("transaction_conflicts", transactions.conflicts),
            ("guest_calls_again", transactions.again),
            ("watch_pages", watches.pages),
            ("watch_events", watches.events),
            ("watch_bytes", watches.bytes),
            ("watch_gaps", watches.gaps),
            ("watch_behind", watches.behind),
            ("watch_memory_bytes", watches.memory as u64),
            ("recent_commits_bytes", storage.recent_bytes as u64),
        ];
        for (name, number) in figures {
            doc.push(name, figure(number));
        }
        doc.doc("requests", |requests| {
            for of in &operations {
                requests.push(of.opcode.name(), figure(of.requests));
            }
        });
        doc.doc("latency", |latency| {
            for of in operations {
                push_latency(latency, of.opcode.name(), &of.wire.and(&of.guest));
            }
        });
        push_latency(&mut doc, "log_syncs", &storage.syncs);
        push_latency(&mut doc, "flushes", &storage.flushes);
        if let Some(audit) = &audit {
            doc.doc("audit", |doc| {
                doc.push("lines", figure(audit.lines)).push("files", figure(audit.files));
                doc.push("lost", figure(audit.lost));
                if let Some(error) = &audit.error {
                    doc.push("error", error.as_str());
                }
            });
        }
        if self.jobs.options().is_ok() {
            doc.doc("jobs", |doc| {
                doc.push("waiting", figure(jobs.waiting)).push("due", figure(jobs.due));
                doc.push("running", figure(jobs.running)).push("dead", figure(jobs.dead));
                doc.push("done", figure(jobs.done)).push("failed", figure(jobs.failed));
                doc.push("given_up", figure(jobs.given_up));
                doc.push("postponed", figure(jobs.postponed));
                doc.push("oldest_due_ms", figure(jobs.oldest_due_millis));
            });
        }
        if replication.link.is_some() || replication.term > 0 || !replication.followers.is_empty() {
            doc.doc("replication", |doc| replication.tell(doc));
        }
        if let Some(beside) = self.beside.get()
            && who.is_none_or(|who| who.role() == Role::Admin)
        {
            beside.stats(&mut doc);
        }
        if let Some(archive) = &storage.archive {
            doc.doc("archive", |doc| {
                doc.push("lsn", figure(archive.archived_lsn));
                doc.push("first_lsn", figure(archive.first_lsn.unwrap_or(0)));
                doc.push("files", figure(archive.files as u64));
                doc.push("holes", figure(archive.holes as u64));
                doc.push("waiting_bytes", figure(archive.waiting_bytes));
                doc.push("failures", figure(archive.failures_total));
                if let Some(error) = &archive.error {
                    doc.push("error", error.as_str());
                }
            });
        }
        let slow = self.queries.slow(0, who.and_then(super::running::whose));
        if !slow.is_empty() {
            doc.array("last_slow_queries", |list| {
                for query in &slow {
                    list.item_doc(|doc| {
                        doc.push("query", query.text.as_str());
                        doc.push("user", query.user.as_str()).push("plan", query.plan.as_str());
                        doc.push("ended", Value::DateTime(figure(query.ended / 1000)));
                        doc.push("time_us", figure(query.figures.micros));
                        doc.push("examined", figure(query.figures.examined));
                        doc.push("returned", query.returned.map(figure));
                        doc.push("spilled_bytes", figure(query.figures.spilled));
                    });
                }
            });
        }
        let (state, why) = match &storage.state {
            State::Healthy => ("healthy", None),
            State::ReadOnly { why, .. } => ("read_only", Some(why.clone())),
            State::Poisoned { why } => ("poisoned", Some(why.clone())),
        };
        doc.push("state", state);
        let skipped = storage.gc_skipped.first();
        for (name, reason) in [
            ("state_reason", &why),
            ("last_corruption", &storage.damage.last),
            ("gc_skipped_reason", &skipped.map(|(id, why)| format!("segment {id}: {why}"))),
            ("damaged_meta", &storage.damaged_meta),
            ("poisoned", &storage.poisoned),
            ("flush_error", &storage.flush_error),
            ("trim_error", &storage.trim_error),
        ] {
            if let Some(reason) = reason {
                doc.push(name, reason);
            }
        }
        doc.finish().map_err(|e| Refusal::new(Status::Internal, format!("{e}; please report this")))
    }
}

fn figure(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
