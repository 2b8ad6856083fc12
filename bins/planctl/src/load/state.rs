//! `--resume`: what an import writes down so that another can go on.
//!
//! What must stay true: what the file says is done was acknowledged by the server
//! before it was written; the file is replaced as a whole. A server that lost its
//! newest writes (a power cut may take the last second) is found out: the file holds
//! several marks, each with a key that was stored before it, and an import goes on
//! from the newest mark whose key is there. Another input, store, server or other
//! options are refused, never mixed.
//!
//! ```text
//! FILE.planck-import, beside the first FILE: YAML, see the struct
//! ```

use super::batch::Mark;
use crate::failure::{Exit, Failure};
use crate::rows::{Input, Made, Place};
use proto::Key;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const VERSION: u32 = 1;
/// What of a file is hashed, besides its length and time.
const HEAD: u64 = 64 << 10;
/// Marks kept: at least so many seconds can be lost by the server.
const MARKS: usize = 16;
/// The file is written this often at most.
const EVERY: Duration = Duration::from_millis(200);
/// A mark this much older than the newest stays.
const APART: Duration = Duration::from_secs(1);

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    planck_import: u32,
    /// Who is written to.
    server: String,
    store: String,
    /// A hash of all that decides what a row becomes.
    options: String,
    files: Vec<Identity>,
    /// For the keys of rows that bring none.
    millis: u64,
    salt: u64,
    /// Oldest first.
    marks: Vec<Done>,
}

/// What tells a file from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    path: String,
    bytes: u64,
    /// Milliseconds since 1970.
    modified: u64,
    /// SHA-256 of its first 64 KiB.
    head: String,
}

/// So much is dealt with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Done {
    file: usize,
    offset: u64,
    lines: u64,
    columns: u64,
    in_array: bool,
    rows: u64,
    /// Rows passed over.
    pub(crate) bad: u64,
    /// Bytes of the quarantine file.
    pub(crate) quarantine: u64,
    /// The key stored last.
    key: Option<String>,
}

impl Done {
    /// Where to go on.
    pub(crate) fn mark(&self) -> Mark {
        let Done { offset, lines, columns, in_array, .. } = *self;
        let place = Place { offset, lines, columns, in_array };
        Mark { file: self.file, place, rows: self.rows }
    }

    /// The key stored last.
    pub(super) fn key(&self) -> Option<Key> {
        self.key.as_ref().and_then(|key| key.parse().ok())
    }

    fn new(mark: Mark, bad: u64, quarantine: u64, key: Option<Key>) -> Done {
        let Place { offset, lines, columns, in_array } = mark.place;
        let Mark { file, rows, .. } = mark;
        let key = key.map(|key| key.to_string());
        Done { file, offset, lines, columns, in_array, rows, bad, quarantine, key }
    }
}

/// The record of an import that runs.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    record: Record,
    /// When the newest mark but one was made, and when the file was written.
    apart: Instant,
    written: Instant,
    /// Whether there was a file to go on from.
    pub(crate) resumed: bool,
}

impl State {
    /// Finds the file of an import that broke off, or begins one.
    pub(crate) fn open(
        inputs: &[Input],
        server: &str,
        store: &str,
        options: &str,
    ) -> Result<State, Failure> {
        let files = inputs.iter().map(identity).collect::<Result<Vec<_>, _>>()?;
        let path = beside(inputs[0].path());
        let hash = hex(&Sha256::digest(options.as_bytes()));
        let now = Instant::now();
        let (millis, salt) = fresh();
        let new = Record {
            planck_import: VERSION,
            server: server.to_owned(),
            store: store.to_owned(),
            options: hash,
            files,
            millis,
            salt,
            marks: Vec::new(),
        };
        let found = match std::fs::read_to_string(&path) {
            Ok(text) => Some(parse(&path, &text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::file("read", &path, &error)),
        };
        let resumed = found.is_some();
        let record = match found {
            Some(found) => same(&path, found, &new)?,
            None => new,
        };
        let mut state = State { path, record, apart: now, written: now, resumed };
        if !resumed {
            // The keys to be made are written down before the first is used.
            state.write()?;
        }
        Ok(state)
    }

    /// What the keys of rows that bring none are made of.
    pub(crate) fn made(&self) -> Made {
        Made { millis: self.record.millis, salt: self.record.salt }
    }

    /// The newest mark whose key `stored` finds. Cuts off the marks behind it.
    pub(crate) fn newest(
        &mut self,
        mut stored: impl FnMut(Key) -> Result<bool, Failure>,
    ) -> Result<Done, Failure> {
        while let Some(done) = self.record.marks.last() {
            let holds = match done.key() {
                Some(key) => stored(key)?,
                None => done.key.is_none(),
            };
            if holds {
                return Ok(done.clone());
            }
            self.record.marks.pop();
            if self.record.marks.is_empty() {
                return Err(Failure::new(
                    Exit::Conflict,
                    format!(
                        "{} says how far an import into {} came, and none of the rows it names \
                         is there: was the store emptied? Remove the file to begin anew",
                        self.path.display(),
                        self.record.store
                    ),
                ));
            }
        }
        Ok(Done::default())
    }

    /// Where the newest mark stands.
    pub(crate) fn last(&self) -> Mark {
        self.record.marks.last().map(Done::mark).unwrap_or_default()
    }

    /// Whether it is time to write.
    pub(crate) fn due(&self) -> bool {
        self.written.elapsed() >= EVERY
    }

    /// Writes down how far the import is.
    pub(crate) fn done(
        &mut self,
        mark: Mark,
        bad: u64,
        quarantine: u64,
        key: Option<Key>,
    ) -> Result<(), Failure> {
        let done = Done::new(mark, bad, quarantine, key);
        let marks = &mut self.record.marks;
        // The newest takes the place of the one before, unless that is old enough to
        // be worth keeping.
        if marks.len() > 1 && self.apart.elapsed() < APART {
            marks.pop();
        } else {
            self.apart = Instant::now();
        }
        marks.push(done);
        if marks.len() > MARKS {
            marks.remove(0);
        }
        self.write()
    }

    /// The import is whole: nothing is left to go on with.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        std::fs::remove_file(&self.path).map_err(|e| Failure::file("remove", &self.path, &e))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self) -> Result<(), Failure> {
        let text = serde_yaml::to_string(&self.record)
            .map_err(|e| Failure::new(Exit::Failure, format!("cannot write the record: {e}")))?;
        let mut part = self.path.clone().into_os_string();
        part.push(".part");
        let write = || {
            let mut file = File::create(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            std::fs::rename(&part, &self.path)
        };
        write().map_err(|e| Failure::file("write", &self.path, &e))?;
        self.written = Instant::now();
        Ok(())
    }
}

/// The name of the file beside an input.
fn beside(input: &Path) -> PathBuf {
    let mut name = input.as_os_str().to_owned();
    name.push(".planck-import");
    name.into()
}

fn parse(path: &Path, text: &str) -> Result<Record, Failure> {
    let wrong = |what: String| {
        Failure::invalid(format!(
            "{} should say how far an import came: {what}; remove it to begin anew",
            path.display()
        ))
    };
    let record: Record = serde_yaml::from_str(text).map_err(|e| wrong(e.to_string()))?;
    if record.planck_import != VERSION {
        return Err(wrong(format!("it has version {}, not {VERSION}", record.planck_import)));
    }
    Ok(record)
}

/// The record found, if it is of this import.
fn same(path: &Path, found: Record, wanted: &Record) -> Result<Record, Failure> {
    let other = if found.store != wanted.store {
        format!("into the store {}", found.store)
    } else if found.server != wanted.server {
        format!("to another service ({})", found.server)
    } else if found.files != wanted.files {
        "of other files, or the files were changed since".to_owned()
    } else if found.options != wanted.options {
        "with other options or another manifest".to_owned()
    } else {
        return Ok(found);
    };
    Err(Failure::new(
        Exit::Conflict,
        format!(
            "{} says how far an import came, and that was {other}; go on as it was begun, or \
             remove the file to begin anew",
            path.display()
        ),
    ))
}

fn identity(input: &Input) -> Result<Identity, Failure> {
    let Some((file, metadata)) = input.file() else {
        return Err(Failure::usage(format!(
            "--resume needs files that can be read again, and {} is none",
            input.name()
        )));
    };
    let failed = |e: std::io::Error| Failure::file("read", input.path(), &e);
    let mut head = Vec::new();
    let mut read = || {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        file.take(HEAD).read_to_end(&mut head)
    };
    read().map_err(failed)?;
    let path = input.path().canonicalize().map_err(failed)?;
    let since = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH);
    Ok(Identity {
        path: path.display().to_string(),
        bytes: metadata.len(),
        modified: since.map_or(0, |since| since.as_millis() as u64),
        head: hex(&Sha256::digest(&head)),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The time, and a number that another import hardly has.
fn fresh() -> (u64, u64) {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // The standard library's hash maps are seeded by the system's randomness.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u128(now.as_nanos());
    hasher.write_u32(std::process::id());
    (now.as_millis() as u64, hasher.finish())
}
