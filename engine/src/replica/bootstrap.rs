//! A replica's data, from a snapshot of its primary.
//!
//! ```text
//! replica/incoming/...     files of the snapshot, as they come
//! replica/incoming.list    what they are: the primary's answer
//! replica/ready            they are all there and were checked: they will be the store
//! ```
//!
//! What must stay true:
//! * the order: files, synced; checked against their manifest; `ready`, durable; the store
//!   that is there is removed, its page file first; the new one is made of the files
//!   (`lsm`: a restore, which is no store before its last act); the record says that this is
//!   a replica; `ready` goes, then the files. A crash before `ready` leaves the store as it
//!   was, and files that nobody takes for one; after it the next start does the rest anew;
//! * so nothing but [`Bootstrap`] opens a directory with `ready` in it: ask [`place`] first;
//! * a replica whose commits the primary has not is never replaced: that is decided before
//!   (`terms.rs`), and told to people.

use std::io;
use std::sync::Arc;

use lsm::{BackupError, Restore, StoreId, Until};
use platform::{Clock, Disk, Open};
use proto::doc::{Doc, DocBuf, Value};

use super::follow::Fields;
use super::record::{DIR, Record};
use super::snapshot::no_state;
use super::{ReplicaRole, figure};
use crate::ops::finished;
use crate::{Engine, Refusal};

const INCOMING: &str = "replica/incoming";
const LIST: &str = "replica/incoming.list";
const READY: &str = "replica/ready";
const DRAFT: &str = "replica/ready.new";
const WANTED: &str = "replica/wanted";

/// What a directory holds, as far as a bootstrap goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing: a replica is to be made there from its beginning.
    Empty,
    /// A store that never had a part in replication: it makes commits, for all that is known.
    Alone,
    /// A store that makes commits, and was told to.
    Primary,
    /// A store that follows another.
    Replica,
    /// A store that follows another, whose log does not reach back to it: it is to be made
    /// anew.
    Behind,
    /// A bootstrap that has all its files: [`Bootstrap::finish`] it before anything else.
    Ready,
}

/// What `disk` holds.
///
/// # Errors
/// It cannot be read.
pub fn place(disk: &dyn Disk) -> io::Result<Place> {
    let names = match disk.list(DIR) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    let has = |path: &str| names.iter().any(|name| path == format!("{DIR}/{name}"));
    if has(READY) {
        return Ok(Place::Ready);
    }
    if !lsm::is_store(disk)? {
        return Ok(Place::Empty);
    }
    Ok(match Record::read(disk)?.map(|record| record.role) {
        None => Place::Alone,
        Some(ReplicaRole::Primary) => Place::Primary,
        Some(ReplicaRole::Replica) if has(WANTED) => Place::Behind,
        Some(ReplicaRole::Replica) => Place::Replica,
    })
}

impl Engine {
    /// Says on this replica's disk that its primary's log does not reach back to it: the
    /// next start has it made anew ([`Place::Behind`]).
    ///
    /// # Errors
    /// It is no replica; the disk refuses.
    pub fn want_bootstrap(&self) -> Result<(), Refusal> {
        self.replica.is_replica()?;
        let disk = &self.replica.disk;
        let want = || -> io::Result<()> {
            disk.create_dir(DIR)?;
            disk.open(WANTED, Open::Create)?.sync()?;
            disk.sync_dir(DIR)
        };
        want().map_err(|e| io_refusal("that the replica is to be made anew cannot be noted", &e))
    }
}

/// A file of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Incoming {
    name: String,
    bytes: u64,
    /// Bytes that have come.
    at: u64,
}

/// Files on their way. Whoever carries them asks [`Bootstrap::next`], and gives what is
/// answered to [`Bootstrap::take`], until there is no next.
pub struct Bootstrap {
    disk: Arc<dyn Disk>,
    set: StoreId,
    snapshot: u64,
    files: Vec<Incoming>,
}

/// What a primary says of a snapshot.
pub enum Offered {
    /// It is being made: ask again a little later.
    Making,
    /// It could not be: why.
    Failed(String),
    /// These are its files.
    Ready(Bootstrap),
}

fn io_refusal(what: &str, error: &io::Error) -> Refusal {
    let message =
        format!("{what}: {error}; free space or mend the disk, then start the replica again");
    Refusal::new(proto::Status::Io, message)
}

fn backup_refusal(error: &BackupError) -> Refusal {
    Refusal::new(proto::Status::Corrupt, format!("the snapshot that came is not whole: {error}"))
}

impl Bootstrap {
    /// What a replica of that name asks its primary first, until there is a snapshot.
    pub fn ask(name: &str) -> Vec<u8> {
        let mut doc = DocBuf::new();
        doc.push("begin", true).push("name", name);
        finished(doc)
    }

    /// What its answer means. Files that came before, of the same snapshot, are gone on with.
    ///
    /// # Errors
    /// The answer is none; the disk refuses.
    pub fn offered(disk: &Arc<dyn Disk>, answer: &[u8]) -> Result<Offered, Refusal> {
        let fields = Fields::of(answer)?;
        match fields.text("state")? {
            "making" => Ok(Offered::Making),
            "failed" => Ok(Offered::Failed(fields.text("reason")?.to_owned())),
            "ready" => Bootstrap::of(disk, answer).map(Offered::Ready),
            other => Err(no_state(other)),
        }
    }

    fn of(disk: &Arc<dyn Disk>, answer: &[u8]) -> Result<Bootstrap, Refusal> {
        let mut bootstrap = Bootstrap::parse(disk, answer)?;
        let begun = read(&**disk, LIST).is_ok_and(|list| list == answer);
        let begin = || -> io::Result<()> {
            if begun {
                return Ok(());
            }
            sweep(&**disk)?;
            disk.create_dir(INCOMING)?;
            let list = disk.open(LIST, Open::Create)?;
            list.set_len(0)?;
            list.write_at(answer, 0)?;
            list.sync()?;
            disk.sync_dir(DIR)
        };
        begin().map_err(|e| io_refusal("the snapshot cannot be taken in", &e))?;
        for file in &mut bootstrap.files {
            let there = disk.open(&format!("{INCOMING}/{}", file.name), Open::Read);
            // What a power cut left of it shows when all of it is checked.
            file.at = there.and_then(|file| file.len()).map_or(0, |len| len.min(file.bytes));
        }
        Ok(bootstrap)
    }

    fn parse(disk: &Arc<dyn Disk>, answer: &[u8]) -> Result<Bootstrap, Refusal> {
        let fields = Fields::of(answer)?;
        let mut files = Vec::new();
        let list = Doc::parse(answer).ok().and_then(|doc| doc.get("files"));
        let Some(Value::Array(list)) = list else { return Err(no_state("without files")) };
        for file in list.iter() {
            let Value::Doc(file) = file else { return Err(no_state("of such files")) };
            let bytes = file.get("bytes").and_then(|n| n.as_i64());
            let name = file.get("name").and_then(|name| name.as_str());
            let (Some(name), Some(bytes)) = (name, bytes.and_then(|n| u64::try_from(n).ok()))
            else {
                return Err(no_state("of such files"));
            };
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
            if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
                return Err(no_state("with names of such files"));
            }
            files.push(Incoming { name: name.to_owned(), bytes, at: 0 });
        }
        let (set, snapshot) = (fields.id("set")?, fields.number("snapshot")?);
        Ok(Bootstrap { disk: Arc::clone(disk), set, snapshot, files })
    }

    /// Bytes that have come, and all there are.
    pub fn progress(&self) -> (u64, u64) {
        let sum = |f: fn(&Incoming) -> u64| self.files.iter().map(f).sum();
        (sum(|file| file.at), sum(|file| file.bytes))
    }

    /// What is asked for next; `None`: all has come.
    pub fn next(&self, max_bytes: u32) -> Option<Vec<u8>> {
        let file = self.files.iter().find(|file| file.at < file.bytes)?;
        let mut doc = DocBuf::new();
        doc.push("snapshot", figure(self.snapshot)).push("file", file.name.as_str());
        doc.push("at", figure(file.at)).push("max_bytes", i64::from(max_bytes));
        Some(finished(doc))
    }

    /// Takes in what was answered to [`Bootstrap::next`].
    ///
    /// # Errors
    /// It is no piece; the disk refuses.
    pub fn take(&mut self, answer: &[u8]) -> Result<(), Refusal> {
        let bytes = Fields::of(answer)?.bytes("bytes")?;
        let Some(file) = self.files.iter_mut().find(|file| file.at < file.bytes) else {
            return Err(no_state("beyond its end"));
        };
        let left = file.bytes - file.at;
        if bytes.is_empty() || bytes.len() as u64 > left {
            return Err(no_state("of such pieces"));
        }
        let path = format!("{INCOMING}/{}", file.name);
        let written = self.disk.open(&path, Open::Create).and_then(|to| {
            to.write_at(bytes, file.at)?;
            // Each file before the next is begun, so that little is done anew after a crash.
            if bytes.len() as u64 == left { to.sync() } else { Ok(()) }
        });
        written.map_err(|e| io_refusal("the snapshot cannot be taken in", &e))?;
        file.at += bytes.len() as u64;
        Ok(())
    }

    /// All has come: checks it, and makes it the store. Nobody has the directory open.
    /// `options` are those the store will be opened with.
    ///
    /// # Errors
    /// What came is damaged: it was removed, begin anew. The disk refuses.
    pub fn finish(self, clock: &dyn Clock, options: &lsm::Options) -> Result<(), Refusal> {
        let checked = lsm::check_backup(&*self.disk, INCOMING, None, &mut |_, _| {});
        if let Err(error) = checked {
            drop(sweep(&*self.disk));
            return Err(backup_refusal(&error));
        }
        let ready = || -> io::Result<()> {
            self.disk.sync_dir(INCOMING)?;
            // Aside first: once it has its name it is whole.
            let ready = self.disk.open(DRAFT, Open::Create)?;
            ready.set_len(0)?;
            ready.write_at(&self.set.0, 0)?;
            ready.sync()?;
            self.disk.rename(DRAFT, READY)?;
            self.disk.sync_dir(DIR)
        };
        ready().map_err(|e| io_refusal("the snapshot cannot be taken in", &e))?;
        Bootstrap::complete(&self.disk, clock, options)
    }

    /// Of a directory that is [`Place::Ready`]: makes the snapshot there the store.
    ///
    /// # Errors
    /// The disk refuses; it goes on at the next call.
    pub fn complete(
        disk: &Arc<dyn Disk>,
        clock: &dyn Clock,
        options: &lsm::Options,
    ) -> Result<(), Refusal> {
        let refused = |e: &io::Error| io_refusal("the replica's data cannot be made", e);
        let set = read(&**disk, READY).map_err(|e| refused(&e))?;
        let set = StoreId(set.as_slice().try_into().map_err(|_| no_state("without its set"))?);
        lsm::clear(&**disk)?;
        let from = Restore {
            disk: Arc::clone(disk),
            dir: INCOMING.to_owned(),
            number: None,
            archive: None,
            until: Until::Latest,
        };
        lsm::restore(&from, disk, clock, options, &mut |_, _| {})
            .map_err(|error| backup_refusal(&error))?;
        let record = Record { role: ReplicaRole::Replica, set, promoted: None };
        let end = || -> io::Result<()> {
            record.write(&**disk)?;
            for name in [WANTED, READY] {
                remove(&**disk, name)?;
            }
            disk.sync_dir(DIR)?;
            sweep(&**disk)
        };
        end().map_err(|e| refused(&e))
    }
}

fn read(disk: &dyn Disk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX).min(64 << 20);
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn remove(disk: &dyn Disk, path: &str) -> io::Result<()> {
    match disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Takes away what came.
fn sweep(disk: &dyn Disk) -> io::Result<()> {
    disk.create_dir(DIR)?;
    remove(disk, LIST)?;
    let names = match disk.list(INCOMING) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    names.iter().try_for_each(|name| remove(disk, &format!("{INCOMING}/{name}")))?;
    disk.sync_dir(DIR)
}
