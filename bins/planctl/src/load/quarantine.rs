//! Bad rows put aside: each as it was, below a line that says why.
//!
//! What must stay true: the file can be imported again, by the same options, once
//! its rows are mended; a file that is there already is never written over, unless
//! the import that wrote it goes on, which cuts it to what that import had dealt with.
//!
//! ```text
//! # planctl quarantine of flights.csv
//! year,month,day                            CSV: its header
//! # flights.csv, line 17: column ...
//! 2013,13,1                                 the row
//! ```
//! BSON has no lines: FILE holds the documents alone, FILE.reasons the lines.

use crate::failure::{Exit, Failure};
use crate::rows::{Format, QUARANTINE};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Where bad rows go.
#[derive(Debug)]
pub(crate) struct Quarantine {
    path: PathBuf,
    format: Format,
    head: Option<Vec<u8>>,
    /// Made with the first bad row.
    file: Option<File>,
    reasons: Option<File>,
    bytes: u64,
}

impl Quarantine {
    /// `kept`: how much of the file an import that goes on keeps.
    pub(crate) fn open(path: &Path, format: Format, kept: u64) -> Result<Quarantine, Failure> {
        let mut quarantine = Quarantine {
            path: path.to_owned(),
            format: format.quarantine(),
            head: None,
            file: None,
            reasons: None,
            bytes: kept,
        };
        if kept == 0 {
            if path.try_exists().unwrap_or(true) {
                return Err(Failure::new(
                    Exit::Conflict,
                    format!(
                        "{} is there already; mend and import it, or name another file to put \
                         bad rows aside in",
                        path.display()
                    ),
                ));
            }
            return Ok(quarantine);
        }
        let open = || {
            let mut file = OpenOptions::new().write(true).open(path)?;
            if file.metadata()?.len() < kept {
                return Err(io::Error::other("it is shorter than the import that goes on left it"));
            }
            file.set_len(kept)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        quarantine.file = Some(open().map_err(|e| Failure::file("go on in", path, &e))?);
        if quarantine.format == Format::Bson {
            let reasons = OpenOptions::new().append(true).create(true).open(quarantine.beside());
            quarantine.reasons = Some(reasons.map_err(|e| quarantine.failed(&e))?);
        }
        Ok(quarantine)
    }

    /// The rows that follow are of a file that begins so.
    pub(crate) fn head(&mut self, head: Vec<u8>) -> Result<(), Failure> {
        match &self.head {
            Some(before) if *before != head => Err(Failure::usage(
                "the files have different columns, and bad rows of both cannot go into one \
                 file; import them one at a time",
            )),
            _ => {
                self.head = Some(head);
                Ok(())
            }
        }
    }

    /// Puts a row aside; `at` and `what` say where it stood and why.
    pub(crate) fn put(&mut self, at: &str, what: &str, raw: &[u8]) -> Result<(), Failure> {
        let reason: String = format!("# {at}: {what}").replace(['\n', '\r'], " ");
        let mut text = Vec::new();
        if self.file.is_none() {
            let file = OpenOptions::new().write(true).create_new(true).open(&self.path);
            self.file = Some(file.map_err(|e| self.failed(&e))?);
            if self.format == Format::Bson {
                let file = File::create(self.beside());
                self.reasons = Some(file.map_err(|e| self.failed(&e))?);
            } else {
                text.extend_from_slice(QUARANTINE.as_bytes());
                text.extend_from_slice(b": mend the rows below, then import this file\n");
                text.extend_from_slice(self.head.as_deref().unwrap_or_default());
            }
        }
        let line = format!("{reason}\n");
        match &mut self.reasons {
            Some(reasons) => {
                let written = reasons.write_all(line.as_bytes());
                written.map_err(|e| self.failed(&e))?;
            }
            None => text.extend_from_slice(line.as_bytes()),
        }
        text.extend_from_slice(raw);
        if let Some(file) = &mut self.file {
            let written = file.write_all(&text);
            written.map_err(|e| self.failed(&e))?;
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Makes what is put aside survive a crash; gives how long the file is.
    pub(crate) fn sync(&self) -> Result<u64, Failure> {
        for file in self.file.iter().chain(&self.reasons) {
            file.sync_data().map_err(|e| self.failed(&e))?;
        }
        Ok(self.bytes)
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".reasons");
        name.into()
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::file("put bad rows aside in", &self.path, error)
    }
}
