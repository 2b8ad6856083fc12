//! The audit log: who did what that needs a right, in a chain that shows what was changed
//! in it later.
//!
//! What must stay true:
//! * nothing privileged is changed before a line that says so is durable; and its reply
//!   comes after the line of its end is. If the log cannot be written, it is refused;
//! * what needs no right to be caused (log-ins, refusals) is written without waiting for
//!   the disk, synced within a second or so by [`Engine::tend`], bounded
//!   (`throttle.rs`), and goes on when the log cannot be written: then it is counted,
//!   and the count is the first line once it can;
//! * no lock is held while the disk makes lines durable, but for the moment in which a
//!   file is begun; who waits for that shares a sync with all others who do;
//! * no line has a key, a document or a query in it.

mod check;
mod deed;
mod files;
mod line;
mod throttle;

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use platform::{Clock, Disk};
use proto::Status;
use serde_json::Value;

use crate::{AuditFigures, Engine, Principal, Refusal};
pub use check::{AuditReport, verify_audit};
pub(crate) use deed::Deed;
pub use files::{AuditCut, AuditOptions};
use files::{Pending, Writer};
use line::{Event, Who};
use throttle::{By, Kind, Throttle, Unsaid};

/// Nanoseconds after which lines that wait to be synced are.
const SYNC_AFTER: u64 = 1_000_000_000;

/// The outcome of a line that tells more of one before it.
const BESIDES: &str = "besides";

/// The log, open.
pub(crate) struct Audit {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    /// A sync has ended.
    synced: Condvar,
    began: AuditBegin,
}

/// Where the log goes on since the engine was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditBegin {
    /// The number of the line that tells the start.
    pub line: u64,
    /// Its hash: noted elsewhere, it proves all lines up to it.
    pub hash: String,
    /// What could not be read behind the line before it.
    pub cut: Option<AuditCut>,
}

struct Inner {
    writer: Writer,
    /// One is at work.
    syncing: bool,
    throttle: Throttle,
    /// Events that could not be written and were not told yet; and all there were.
    lost: u64,
    lost_ever: u64,
    /// When lines began to wait to be synced.
    waits_since: Option<u64>,
    error: Option<String>,
}

impl Audit {
    /// Opens the log, and says in it that the service starts.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: AuditOptions,
    ) -> std::io::Result<Audit> {
        let (writer, cut) = Writer::open(disk, options)?;
        let inner = Inner {
            writer,
            syncing: false,
            throttle: Throttle::default(),
            lost: 0,
            lost_ever: 0,
            waits_since: None,
            error: None,
        };
        let mut more = vec![("version", Value::from(env!("CARGO_PKG_VERSION")))];
        if let Some(cut) = &cut {
            more.push(("cut_file", cut.file.as_str().into()));
            more.push(("cut_bytes", cut.bytes.into()));
            more.extend(cut.kept_in.as_deref().map(|file| ("cut_kept_in", Value::from(file))));
        }
        let start = Event { more: &more, ..own("Start") };
        let began = AuditBegin { line: 0, hash: String::new(), cut: cut.clone() };
        let (inner, synced) = (Mutex::new(inner), Condvar::new());
        let mut audit = Audit { clock, inner, synced, began };
        let (line, hash) = {
            let mut inner = audit.inner.lock();
            audit.append(&mut inner, &start)?;
            audit.sync(&mut inner)?;
            inner.writer.last()
        };
        (audit.began.line, audit.began.hash) = (line, hash.to_string());
        Ok(audit)
    }

    /// Writes a line, and one for each of the rest of what it tells, which are durable when
    /// this returns; the number of the first.
    fn record(&self, event: &Event<'_>, rest: &[(&'static str, Value)]) -> Result<u64, Refusal> {
        let mut inner = self.inner.lock();
        let written = self.append(&mut inner, event).and_then(|seq| {
            for piece in rest.chunks(1) {
                let besides = Event { outcome: BESIDES, of: Some(seq), more: piece, ..*event };
                self.append(&mut inner, &besides)?;
            }
            self.sync(&mut inner)?;
            Ok(seq)
        });
        written.map_err(|error| {
            inner.error = Some(error.to_string());
            let message = format!(
                "the audit log cannot be written, and nothing that it has to show is done without \
                 it: {error}; nothing was changed: free space on the disk or mend it, and restart \
                 the service if this stays"
            );
            Refusal::new(Status::Io, message)
        })
    }

    /// Makes all lines durable that are there, with one sync for all who wait for one. The
    /// lock is not held over it: others write lines meanwhile, which the next sync is for.
    fn sync(&self, inner: &mut MutexGuard<'_, Inner>) -> std::io::Result<()> {
        let wanted = inner.writer.writes();
        while !inner.writer.is_durable(wanted)? {
            if inner.syncing {
                self.synced.wait(inner);
                continue;
            }
            (inner.syncing, inner.waits_since) = (true, None);
            let pending = inner.writer.pending();
            MutexGuard::unlocked(inner, || {
                let fell_over = Err(std::io::Error::other("a sync did not end"));
                let mut syncing = Syncing { audit: self, pending, done: fell_over };
                syncing.done = syncing.pending.sync();
            });
        }
        Ok(())
    }

    /// Writes a line, if there is one for its source, to be synced soon. One that cannot
    /// be written is counted.
    fn note(&self, kind: Kind, by: By, event: &Event<'_>) {
        let now = self.clock.monotonic_nanos();
        let mut inner = self.inner.lock();
        let Some(unsaid) = inner.throttle.takes(kind, by, now) else { return };
        let mut more = event.more.to_vec();
        if unsaid > 0 {
            more.push(("unsaid_before", unsaid.into()));
        }
        self.batch(&mut inner, &Event { more: &more, ..*event }, now);
    }

    /// Writes a line to be synced soon.
    fn batch(&self, inner: &mut MutexGuard<'_, Inner>, event: &Event<'_>, now: u64) {
        match self.append(inner, event) {
            Ok(_) => {
                inner.waits_since.get_or_insert(now);
            }
            Err(error) => lose(inner, error.to_string()),
        }
    }

    /// Adds a line, and before it what could not be written before.
    fn append(&self, inner: &mut MutexGuard<'_, Inner>, event: &Event<'_>) -> std::io::Result<u64> {
        // Taken at once: while a file is full others come here too.
        let lost = std::mem::take(&mut inner.lost);
        if lost > 0 {
            let more = [("events", Value::from(lost))];
            if let Err(error) = self.line(inner, &Event { more: &more, ..own("Lost") }) {
                inner.lost += lost;
                return Err(error);
            }
        }
        let seq = self.line(inner, event)?;
        inner.error = None;
        Ok(seq)
    }

    /// Adds a line, to another file if this one is full.
    fn line(&self, inner: &mut MutexGuard<'_, Inner>, event: &Event<'_>) -> std::io::Result<u64> {
        loop {
            let now = crate::millis(self.clock.wall_micros());
            if let Some(seq) = inner.writer.append(now, event)? {
                return Ok(seq);
            }
            self.sync(inner)?;
        }
    }

    /// How many lines of a source were not written.
    fn tell_unsaid(&self, inner: &mut MutexGuard<'_, Inner>, (kind, by, count): Unsaid, now: u64) {
        let user = Some(by.name.as_str()).filter(|name| !name.is_empty());
        let mut more = vec![("of_kind", Value::from(kind.name())), ("events", count.into())];
        more.extend(by.service.then(|| ("service", Value::from(true))));
        let who = Who::Stranger { user, address: None };
        self.batch(inner, &Event { who, more: &more, ..own("Unsaid") }, now);
    }

    /// Tells all that was not written: there is no later.
    fn drain(&self) {
        let now = self.clock.monotonic_nanos();
        let mut inner = self.inner.lock();
        while let Some(unsaid) = inner.throttle.drain() {
            self.tell_unsaid(&mut inner, unsaid, now);
        }
    }

    /// Syncs what waits long enough, and tells what was not written.
    fn tick(&self) {
        let now = self.clock.monotonic_nanos();
        let mut inner = self.inner.lock();
        while let Some(unsaid) = inner.throttle.unsaid(now) {
            self.tell_unsaid(&mut inner, unsaid, now);
        }
        if inner.waits_since.is_some_and(|since| now.saturating_sub(since) >= SYNC_AFTER)
            && let Err(error) = self.sync(&mut inner)
        {
            inner.waits_since = None;
            inner.error = Some(error.to_string());
        }
    }
}

/// A sync at work. Its end is told whatever becomes of it: who waits for it must not wait
/// for ever, and nobody may take what it was to do for done.
struct Syncing<'a> {
    audit: &'a Audit,
    pending: Pending,
    done: std::io::Result<()>,
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        let mut inner = self.audit.inner.lock();
        let done = std::mem::replace(&mut self.done, Ok(()));
        inner.writer.settle(&self.pending, done);
        inner.syncing = false;
        self.audit.synced.notify_all();
    }
}

fn own(what: &'static str) -> Event<'static> {
    Event { what, who: Who::Own, object: None, outcome: "done", of: None, more: &[] }
}

fn lose(inner: &mut Inner, error: String) {
    inner.lost += 1;
    inner.lost_ever += 1;
    inner.error = Some(error);
}

impl Engine {
    /// Where the audit log goes on since the engine was opened; `None`: none is written.
    pub fn audit_begin(&self) -> Option<&AuditBegin> {
        self.audit.as_ref().map(|audit| &audit.began)
    }

    /// Writes into the audit log that somebody was locked out: an address for so many
    /// seconds, or strangers to a user from wherever, who take turns from now on. For the
    /// wire, whose part that is.
    pub fn audit_lockout(&self, user: Option<&str>, address: Option<&str>, seconds: Option<u64>) {
        let Some(audit) = &self.audit else { return };
        let (user, unknown) = self.known(user);
        let more = [seconds.map(|seconds| ("seconds", Value::from(seconds))), unknown];
        let more: Vec<_> = more.into_iter().flatten().collect();
        let who = Who::Stranger { user, address };
        audit.note(Kind::LockedOut, By::default(), &Event { who, more: &more, ..own("LockedOut") });
    }

    /// The name of a user that is there, or the word that it is none: what people type as
    /// a name may be a key.
    fn known<'n>(&self, user: Option<&'n str>) -> (Option<&'n str>, Option<(&'static str, Value)>) {
        let known = user.filter(|user| self.catalogs.read().users.contains_key(*user));
        (known, (known != user).then(|| ("unknown_user", true.into())))
    }

    /// Writes into the audit log who came in, or did not.
    pub(crate) fn audit_log_in(
        &self,
        user: &str,
        address: Option<&str>,
        entered: &Result<Principal, Refusal>,
    ) {
        let Some(audit) = &self.audit else { return };
        match entered {
            Ok(who) => {
                let key = who.key_in(&self.catalogs.read()).map(|key| Value::from(&*key.name));
                let more: Vec<_> = key.map(|key| ("key", key)).into_iter().collect();
                let event = Event { who: Who::Caller(who), more: &more, ..own("LogIn") };
                audit.note(Kind::LogIn, By::user(user), &event);
            }
            Err(refusal) => {
                let ((user, unknown), status) =
                    (self.known(Some(user)), refusal.status.to_string());
                let (who, more) = (Who::Stranger { user, address }, Vec::from_iter(unknown));
                let event = Event { who, outcome: &status, more: &more, ..own("LogIn") };
                audit.note(Kind::FailedLogIn, By::default(), &event);
            }
        }
    }

    /// The log's part of [`Engine::tend`].
    pub(crate) fn tend_audit(&self) {
        if let Some(audit) = &self.audit {
            audit.tick();
        }
    }

    /// Writes into the audit log that the service stops.
    pub(crate) fn audit_stop(&self) {
        let Some(audit) = &self.audit else { return };
        audit.drain();
        if let Err(refusal) = audit.record(&own("Stop"), &[]) {
            lose(&mut audit.inner.lock(), refusal.message);
        }
    }

    /// The log's part of the figures.
    pub(crate) fn audit_figures(&self) -> Option<AuditFigures> {
        let inner = self.audit.as_ref()?.inner.lock();
        Some(AuditFigures {
            lines: inner.writer.last().0,
            files: inner.writer.files() as u64,
            lost: inner.lost_ever,
            error: inner.error.clone(),
        })
    }
}
