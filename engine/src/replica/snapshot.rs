//! The data whole, for a new replica: a backup beside the store, given away in pieces.
//!
//! ```text
//! asked:    {begin: true, name}                       answered: {state, ...}
//!           {snapshot, file, at, max_bytes}           answered: {bytes}
//!
//! state: "making" {seen_bytes, of_bytes}    "failed" {reason}
//!        "ready"  {set, snapshot, lsn, files: [{name, bytes}]}
//! ```
//!
//! What must stay true:
//! * there is one at a time, for all replicas that begin meanwhile; it is made by the
//!   thread that calls [`Engine::tend_snapshot`], in `replica/snapshot/`, and goes when
//!   nobody has asked for a piece of it for a while, or with the next start. It takes as
//!   much of the disk as the data does;
//! * the log behind it is held as long as it is there, within the bound of all holders:
//!   who has it goes on from its last commit. One whose log is gone is no use, and made anew.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lsm::{BackupOptions, Lsn, Progress, Retention};
use parking_lot::Mutex;
use platform::{Disk, Open};
use proto::Status;
use proto::doc::{Binary, DocBuf, Value};

use super::follow::{Fields, bad};
use super::{figure, refusal};
use crate::ops::finished;
use crate::{Engine, Principal, Refusal};

/// Where it lies.
const DIR: &str = "replica/snapshot";
/// Nanoseconds after which one that nobody asks for goes.
const IDLE: u64 = 600_000_000_000;
/// Bytes of an answer around a piece.
const AROUND: usize = 256;
/// Files of a snapshot that an answer can name: a value-log segment each, and a few.
const MAX_FILES: usize = 1 << 16;

#[derive(Default)]
enum State {
    #[default]
    None,
    Asked,
    Making {
        seen: u64,
        of: u64,
    },
    Ready(Ready),
    Failed(String),
}

struct Ready {
    number: u64,
    lsn: Lsn,
    files: Vec<(String, u64)>,
    used: u64,
    hold: Retention,
}

/// The engine's part.
#[derive(Default)]
pub(crate) struct Snapshots {
    state: Mutex<State>,
    made: AtomicU64,
    /// Whether what a start before this one left is gone.
    swept: Mutex<bool>,
}

impl Snapshots {
    /// How many were made.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }
}

impl Engine {
    /// Begins a snapshot, tells of it, or gives a piece of it.
    pub(crate) fn snapshot(&self, who: &Principal, what: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.check_leads()?;
        let fields = Fields::of(what)?;
        if fields.text("file").is_ok() {
            return self.snapshot_piece(&fields);
        }
        fields.text("name")?;
        self.snapshot_state(who)
    }

    fn snapshot_state(&self, who: &Principal) -> Result<Vec<u8>, Refusal> {
        let mut state = self.replica.snapshots.state.lock();
        let useless = match &*state {
            State::Ready(ready) => ready.hold.from().is_none(),
            State::None => true,
            _ => false,
        };
        if useless {
            // It gives everything away: that is to be seen.
            let deed = self.own_deed("Snapshot", who.name());
            let begun = deed.begin();
            deed.end(begun.as_ref().err());
            begun?;
            *state = State::Asked;
        }
        let mut doc = DocBuf::new();
        match &mut *state {
            State::None | State::Asked => {
                doc.push("state", "making").push("seen_bytes", 0i64).push("of_bytes", 0i64);
            }
            State::Making { seen, of } => {
                doc.push("state", "making").push("seen_bytes", figure(*seen));
                doc.push("of_bytes", figure(*of));
            }
            State::Failed(why) => {
                doc.push("state", "failed").push("reason", why.as_str());
                // Who asks once more has it tried again.
                *state = State::None;
            }
            State::Ready(ready) => {
                ready.used = self.clock.monotonic_nanos();
                doc.push("state", "ready").push("set", &self.replica.set_name());
                doc.push("snapshot", figure(ready.number)).push("lsn", figure(ready.lsn));
                doc.array("files", |list| {
                    for (name, bytes) in &ready.files {
                        list.item_doc(|file| {
                            file.push("name", name.as_str()).push("bytes", figure(*bytes));
                        });
                    }
                });
            }
        }
        Ok(finished(doc))
    }

    fn snapshot_piece(&self, fields: &Fields<'_>) -> Result<Vec<u8>, Refusal> {
        let (number, name, at) =
            (fields.number("snapshot")?, fields.text("file")?, fields.number("at")?);
        let asked = usize::try_from(fields.number("max_bytes")?).unwrap_or(usize::MAX);
        let file = {
            let mut state = self.replica.snapshots.state.lock();
            let State::Ready(ready) = &mut *state else { return Err(gone()) };
            let is_there = ready.files.iter().any(|(file, _)| file == name);
            if ready.number != number || !is_there || ready.hold.from().is_none() {
                return Err(gone());
            }
            ready.used = self.clock.monotonic_nanos();
            let file = self.replica.disk.open(&format!("{DIR}/{name}"), Open::Read);
            file.map_err(|e| io(&e))?
        };
        let mut bytes = vec![0; asked.clamp(1, self.limits.max_message_size - AROUND)];
        let len = file.read_at(&mut bytes, at).map_err(|e| io(&e))?;
        let mut doc = DocBuf::with_capacity(len + AROUND);
        doc.push("bytes", Value::Binary(Binary { subtype: 0, bytes: &bytes[..len] }));
        Ok(finished(doc))
    }

    /// The background's part: makes the snapshot that was asked for, if one was, to its end
    /// on this thread, and removes one that nobody wants any more. `go_on` is asked between
    /// pieces. `None`: there was nothing to make.
    ///
    /// # Errors
    /// Why it failed; who asks for it is told the same.
    pub fn tend_snapshot(&self, go_on: &dyn Fn() -> bool) -> Option<Result<Lsn, String>> {
        let snapshots = &self.replica.snapshots;
        let disk = &self.replica.disk;
        {
            let mut swept = snapshots.swept.lock();
            if !*swept {
                remove(&**disk).ok()?;
                *swept = true;
            }
        }
        let now = self.clock.monotonic_nanos();
        {
            let mut state = snapshots.state.lock();
            match &*state {
                State::Asked => *state = State::Making { seen: 0, of: 0 },
                State::Ready(ready) if now.saturating_sub(ready.used) > IDLE || !self.leads() => {
                    *state = State::None;
                    *snapshots.swept.lock() = remove(&**disk).is_ok();
                    return None;
                }
                _ => return None,
            }
        }
        let made = self.make_snapshot(go_on);
        let outcome = made.as_ref().map(|ready| ready.lsn).map_err(Clone::clone);
        *snapshots.state.lock() = match made {
            Ok(ready) => {
                snapshots.made.fetch_add(1, Relaxed);
                State::Ready(ready)
            }
            Err(why) => State::Failed(why),
        };
        Some(outcome)
    }

    fn make_snapshot(&self, go_on: &dyn Fn() -> bool) -> Result<Ready, String> {
        let words = |error: lsm::BackupError| error.to_string();
        let disk = &self.replica.disk;
        remove(&**disk).map_err(|e| e.to_string())?;
        let hold = self.lsm.retain("snapshot for replicas", self.lsm.settled_lsn() + 1);
        let hold = hold.map_err(|e| e.to_string())?;
        let mut backup = self.lsm.backup(disk, DIR, BackupOptions { full: true }).map_err(words)?;
        let info = loop {
            if !go_on() {
                return Err("the primary is stopping: ask again when it is back".to_owned());
            }
            match backup.step().map_err(words)? {
                Progress::Copying { seen, of, .. } => {
                    *self.replica.snapshots.state.lock() = State::Making { seen, of };
                }
                Progress::Done(info) => break info,
            }
        };
        drop(backup);
        hold.advance(info.lsn + 1).map_err(|e| e.to_string())?;
        let mut files = Vec::new();
        for name in disk.list(DIR).map_err(|e| e.to_string())? {
            let file = disk.open(&format!("{DIR}/{name}"), Open::Read);
            let bytes = file.and_then(|file| file.len()).map_err(|e| e.to_string())?;
            if bytes > 0 {
                files.push((name, bytes));
            }
        }
        if files.len() > MAX_FILES {
            let count = files.len();
            return Err(format!(
                "the snapshot has {count} files, {MAX_FILES} can be named: copy a backup instead"
            ));
        }
        // Another one each time: of another start, too.
        let number = self.entropy.next_u64() >> 1;
        Ok(Ready { number, lsn: info.lsn, files, used: self.clock.monotonic_nanos(), hold })
    }
}

/// Takes away all that is there.
fn remove(disk: &dyn Disk) -> std::io::Result<()> {
    let names = match disk.list(DIR) {
        Ok(names) => names,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for name in names {
        disk.remove(&format!("{DIR}/{name}"))?;
    }
    Ok(())
}

fn gone() -> Refusal {
    let message = "there is no such snapshot any more: begin with a new one";
    refusal(Status::NotFound, message)
}

fn io(error: &std::io::Error) -> Refusal {
    refusal(Status::Io, format!("a piece of the snapshot cannot be read: {error}"))
}

/// Said of a snapshot that has no such state.
pub(super) fn no_state(state: &str) -> Refusal {
    bad(format!("a snapshot is in no state {state:?} that is known here"))
}
