//! Backups on request: who asks, who does it, how it goes.
//!
//! What must stay true: one backup at a time, asked for by a request that returns
//! at once, taken by the thread that calls [`Engine::take_backup`], told by a
//! later request; where it goes is the operator's setting, never the caller's. A
//! backup that is there is told as such, whatever became of the pruning behind it.

use std::fmt;
use std::sync::Arc;

use lsm::{BackupError, BackupInfo, BackupOptions, Progress, Pruned};
use parking_lot::Mutex;
use platform::Disk;
use proto::doc::DocBuf;
use proto::{Opcode, Status};

use crate::audit::Deed;
use crate::{Engine, Principal, Refusal};

/// Where backups go.
#[derive(Clone)]
pub struct BackupTarget {
    /// The disk, whose root is given over to the backups of this engine.
    pub disk: Arc<dyn Disk>,
    /// Where that is, for people.
    pub path: String,
    /// How many backups are kept; at least 1.
    pub keep: usize,
}

impl fmt::Debug for BackupTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupTarget")
            .field("path", &self.path)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// How the backup asked for last goes.
#[derive(Default)]
enum State {
    #[default]
    Never,
    /// Somebody has asked, nobody has begun.
    Asked(BackupOptions),
    Running {
        seen: u64,
        of: u64,
        written: u64,
    },
    Done(TakenBackup),
    Failed(String),
}

/// A backup that was taken, and what became of the ones before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenBackup {
    /// The backup.
    pub info: BackupInfo,
    /// What was removed of the oldest; or why nothing could be.
    pub pruned: Result<Pruned, String>,
}

/// The engine's part.
pub(crate) struct Desk {
    target: Option<BackupTarget>,
    state: Mutex<State>,
}

impl Desk {
    pub(crate) fn new(target: Option<BackupTarget>) -> Desk {
        Desk { target, state: Mutex::default() }
    }
}

impl Engine {
    /// Asks for a backup if `begin`, and tells how the last one goes: a document of
    /// `state` (`never`, `asked`, `running`, `done`, `failed`), `path`, and what
    /// goes with the state.
    ///
    /// # Errors
    /// No place for backups is set; the audit log cannot be written.
    pub(crate) fn backup(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        begin: bool,
        full: bool,
    ) -> Result<Vec<u8>, Refusal> {
        let Some(target) = &self.backups.target else {
            let message = "there is no place for backups: set backup.dest_path in db.yaml and \
                           start the service again";
            return Err(Refusal::new(Status::NotSetUp, message));
        };
        let mut state = self.backups.state.lock();
        let busy = matches!(*state, State::Asked(_) | State::Running { .. });
        if begin && !busy {
            deed.tell("full", full);
            deed.begin()?;
            self.still_may(who, Opcode::Backup)?;
            *state = State::Asked(BackupOptions { full });
        }
        let mut doc = DocBuf::new();
        doc.push("path", target.path.as_str());
        doc.push("begun", begin && !busy);
        match &*state {
            State::Never => {
                doc.push("state", "never");
            }
            State::Asked(_) => {
                doc.push("state", "asked");
            }
            State::Running { seen, of, written } => {
                doc.push("state", "running");
                for (name, bytes) in [("seen", seen), ("of", of), ("written", written)] {
                    doc.push(&format!("{name}_bytes"), figure(*bytes));
                }
            }
            State::Done(TakenBackup { info, pruned }) => {
                doc.push("state", "done");
                doc.push("number", figure(info.number));
                doc.push("lsn", figure(info.lsn));
                doc.push("full", info.parent.is_none());
                doc.push("bytes", figure(info.bytes));
                doc.push("written_bytes", figure(info.copied));
                let (removed, freed) =
                    pruned.as_ref().map_or((0, 0), |pruned| (pruned.removed.len(), pruned.bytes));
                doc.push("removed", figure(removed as u64));
                doc.push("freed_bytes", figure(freed));
                if let Err(why) = pruned {
                    doc.push("not_removed", why.as_str());
                }
            }
            State::Failed(why) => {
                doc.push("state", "failed");
                doc.push("reason", why.as_str());
            }
        }
        doc.finish().map_err(|e| Refusal::new(Status::Internal, format!("{e}; please report this")))
    }

    /// Takes the backup that was asked for, if one was, to its end on this thread;
    /// then removes the oldest ones beyond those kept. `go_on` is asked between
    /// pieces: once it is false the backup is given up, as if never begun.
    ///
    /// # Errors
    /// Why it failed; whoever asks how it goes is told the same.
    pub fn take_backup(&self, go_on: &dyn Fn() -> bool) -> Option<Result<TakenBackup, String>> {
        let target = self.backups.target.as_ref()?;
        let options = match *self.backups.state.lock() {
            State::Asked(options) => options,
            _ => return None,
        };
        let taken = self.copy(target, options, go_on);
        let (state, outcome) = match taken {
            Ok(taken) => (State::Done(taken.clone()), Ok(taken)),
            Err(why) => (State::Failed(why.clone()), Err(why)),
        };
        *self.backups.state.lock() = state;
        Some(outcome)
    }

    fn copy(
        &self,
        target: &BackupTarget,
        options: BackupOptions,
        go_on: &dyn Fn() -> bool,
    ) -> Result<TakenBackup, String> {
        let words = |error: BackupError| format!("{}: {error}", target.path);
        let mut backup = self.lsm.backup(&target.disk, "", options).map_err(words)?;
        let info = loop {
            if !go_on() {
                return Err("the service is stopping: ask again when it is back".to_owned());
            }
            match backup.step().map_err(words)? {
                Progress::Copying { written, seen, of } => {
                    *self.backups.state.lock() = State::Running { seen, of, written };
                }
                Progress::Done(info) => break info,
            }
        };
        drop(backup);
        let pruned = lsm::prune(&*target.disk, "", target.keep).map_err(words);
        // Else the archive keeps what it kept: what the older ones need is not known.
        if let Ok(Pruned { first_lsn: Some(first), .. }) = &pruned {
            self.lsm.keep_archive_from(Some(*first));
        }
        Ok(TakenBackup { info, pruned })
    }
}

fn figure(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
