//! `--resume`: what an export writes down so that another can go on.
//!
//! What must stay true: the bytes the file names are in the part, synced, before it
//! is written; the rows of them are those up to the key, and no others.

use crate::failure::{Exit, Failure};
use proto::Key;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;

/// The file: YAML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    planck_export: u32,
    server: String,
    store: String,
    /// Format, filter and fields.
    options: String,
    /// The key exported last.
    key: Option<String>,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    /// CSV: the columns of the header.
    pub(super) columns: Vec<String>,
    #[serde(skip)]
    path: PathBuf,
}

impl State {
    /// Finds the file of an export that broke off, or begins one.
    pub(super) fn open(
        file: &Path,
        server: &str,
        store: &str,
        options: &str,
    ) -> Result<State, Failure> {
        let mut name = file.as_os_str().to_owned();
        name.push(".planck-export");
        let path = PathBuf::from(name);
        let new = State {
            planck_export: VERSION,
            server: server.to_owned(),
            store: store.to_owned(),
            options: options.to_owned(),
            key: None,
            bytes: 0,
            rows: 0,
            columns: Vec::new(),
            path: path.clone(),
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(new),
            Err(error) => return Err(Failure::file("read", &path, &error)),
        };
        let refuse = |exit, what: &str| {
            let message = format!(
                "{} says how far an export came, and {what}; remove it to begin anew",
                path.display()
            );
            Err(Failure::new(exit, message))
        };
        let mut found: State = match serde_yaml::from_str(&text) {
            Ok(found) => found,
            Err(error) => return refuse(Exit::Invalid, &format!("cannot be read: {error}")),
        };
        found.path = path.clone();
        if found.after().is_none() != found.key.is_none() {
            return refuse(Exit::Invalid, "names no key");
        }
        let same = (found.planck_export, &found.server, &found.store, &found.options);
        if same != (VERSION, &new.server, &new.store, &new.options) {
            return refuse(Exit::Conflict, "that was of another store or with other options");
        }
        Ok(found)
    }

    /// The key behind which to go on.
    pub(super) fn after(&self) -> Option<Key> {
        self.key.as_ref().and_then(|key| key.parse().ok())
    }

    /// Writes down how far the export is.
    pub(super) fn write(
        &mut self,
        after: Option<Key>,
        bytes: u64,
        rows: u64,
    ) -> Result<(), Failure> {
        self.key = after.map(|key| key.to_string());
        (self.bytes, self.rows) = (bytes, rows);
        let text = serde_yaml::to_string(self)
            .map_err(|e| Failure::new(Exit::Failure, format!("cannot write the record: {e}")))?;
        let mut part = self.path.clone().into_os_string();
        part.push(".part");
        let write = || {
            let mut file = File::create(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            std::fs::rename(&part, &self.path)
        };
        write().map_err(|e| Failure::file("write", &self.path, &e))
    }

    /// The export is whole.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::file("remove", &self.path, &e))
            }
            _ => Ok(()),
        }
    }
}
