//! The two files, `db.yaml` and `service.yaml`.
//!
//! Invariant: both are optional and every setting has a safe default; a setting
//! that is unknown or out of bounds stops the start, named with its file, its line
//! and what is allowed. The environment changes nothing.

pub mod db;
mod kinds;
pub mod service;
pub mod table;
pub mod times;

pub use db::Db;
pub use kinds::{Endpoint, FilePath};
pub use service::Service;

use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use times::Times;

/// The largest file read.
const MAX_FILE: u64 = 1 << 20;

/// Why the configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is there but cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file says something that is not allowed.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What, where, and what is allowed.
        message: String,
    },
}

/// Everything the two files say, or defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The service's directory.
    pub dir: PathBuf,
    /// `db.yaml`.
    pub db: Db,
    /// `service.yaml`, if there is one: without it there is no HTTP listener.
    pub service: Option<Service>,
}

impl Config {
    /// Reads both files in `dir`.
    ///
    /// # Errors
    /// What is wrong, where, and what is allowed.
    pub fn load(dir: &Path) -> Result<Config, ConfigError> {
        let (db, service) = (read(&dir.join("db.yaml"))?, read(&dir.join("service.yaml"))?);
        Config::of(dir, db.as_deref(), service.as_deref())
    }

    /// What the texts of the two files say, of a service in `dir`.
    ///
    /// # Errors
    /// What is wrong, where, and what is allowed.
    pub fn of(dir: &Path, db: Option<&str>, service: Option<&str>) -> Result<Config, ConfigError> {
        let at = |file: &str| {
            let path = dir.join(file);
            move |message| ConfigError::Invalid { path, message }
        };
        let db = db.map(parse::<Db>).transpose().map_err(at("db.yaml"))?.unwrap_or_default();
        check_db(&db).map_err(at("db.yaml"))?;
        let service = service.map(parse::<Service>).transpose().map_err(at("service.yaml"))?;
        service.as_ref().map(check_service).transpose().map_err(at("service.yaml"))?;
        Ok(Config { dir: dir.to_path_buf(), db, service })
    }

    /// A path of a setting: relative ones begin in the service's directory.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// Where the guest's module lies.
    pub fn module(&self, service: &Service) -> PathBuf {
        let default = || format!("wasm/planck.{}.wasm", service.name);
        self.path(&service.wasm.module.as_ref().map_or_else(default, |path| path.0.clone()))
    }
}

/// Reads one file; `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let failed = |error| ConfigError::Read { path: path.to_path_buf(), error };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(about) if about.len() > MAX_FILE => {
            let message = format!("it has {} bytes, {MAX_FILE} are allowed", about.len());
            return Err(ConfigError::Invalid { path: path.to_path_buf(), message });
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(failed)
}

/// What a text says. An empty one, or one of comments only, sets nothing.
fn parse<T: DeserializeOwned + Default>(text: &str) -> Result<T, String> {
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(blank) {
        return Ok(T::default());
    }
    serde_yaml::from_str(text).map_err(|error| say(&error))
}

/// `error` with its line in front.
fn say(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    match error.location() {
        Some(place) => {
            let suffix = format!(" at line {} column {}", place.line(), place.column());
            let text = text.strip_suffix(&suffix).unwrap_or(&text);
            format!("line {}, column {}: {text}", place.line(), place.column())
        }
        None => text,
    }
}

fn check_tls(tls: &db::Tls) -> Result<(), String> {
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        return Err("tls.cert_file and tls.key_file belong together: set both or none".to_owned());
    }
    for (file, name) in [(&tls.cert_file, "cert_file"), (&tls.client_ca_file, "client_ca_file")] {
        if !tls.enabled && file.is_some() {
            return Err(format!("tls.enabled is false, yet tls.{name} is set: remove one of them"));
        }
    }
    Ok(())
}

fn check_db(db: &Db) -> Result<(), String> {
    if db.limits.max_document_size.get() > db.limits.max_message_size.get() / 2 {
        return Err(format!(
            "limits.max_document_size is {}: it may be at most half of limits.max_message_size ({})",
            db.limits.max_document_size, db.limits.max_message_size
        ));
    }
    check_replica(&db.replica)?;
    check_tls(&db.tls)
}

fn check_replica(replica: &db::Replica) -> Result<(), String> {
    if !replica.enabled {
        return Ok(());
    }
    if replica.port.get() == 0 || replica.address.0.is_empty() || replica.uid.0.is_empty() {
        return Err(
            "replica.address, replica.port and replica.uid name the primary and its user: none of \
             them is empty or 0"
                .to_owned(),
        );
    }
    if replica.fingerprint.is_some() == replica.plaintext {
        return Err(
            "replica.enabled is true: set replica.fingerprint to that of the primary's certificate, \
             as its planck prints it, or replica.plaintext: true, and not both"
                .to_owned(),
        );
    }
    Ok(())
}

fn check_service(service: &Service) -> Result<(), String> {
    let wasm = &service.wasm;
    if wasm.min_instances.get() > wasm.max_instances.get() {
        return Err(format!(
            "wasm.min_instances is {} and wasm.max_instances {}: the minimum may be at most the maximum",
            wasm.min_instances, wasm.max_instances
        ));
    }
    check_upstreams(service)?;
    check_jobs(service)?;
    if service.http.http3 && !service.tls.enabled {
        return Err(
            "http.http3 is true, yet tls.enabled is false: HTTP/3 is always encrypted; remove one of them"
                .to_owned(),
        );
    }
    check_tls(&service.tls)
}

/// Upstreams at most.
const MAX_UPSTREAMS: usize = 64;

fn check_upstreams(service: &Service) -> Result<(), String> {
    let all = &service.upstreams;
    if all.is_empty() {
        return Ok(());
    }
    if all.len() > MAX_UPSTREAMS {
        return Err(format!("there are {} upstreams, {MAX_UPSTREAMS} are allowed", all.len()));
    }
    for (at, upstream) in all.iter().enumerate() {
        for (set, name) in
            [(!upstream.name.0.is_empty(), "name"), (!upstream.url.0.is_empty(), "url")]
        {
            if !set {
                return Err(format!("upstreams[{at}] has no {name}: set it"));
            }
        }
    }
    if !service.wasm.enabled {
        return Err("upstreams are called by the guest, yet wasm.enabled is false: remove one of \
                    them"
            .to_owned());
    }
    if service.wasm.max_instances.get() < 2 {
        return Err(
            "wasm.max_instances is 1, yet upstreams are set: it must be at least 2, since \
                    one instance is kept free of calls of upstreams"
                .to_owned(),
        );
    }
    Ok(())
}

/// Entries of a timetable at most.
const MAX_CRON: usize = 256;

fn check_jobs(service: &Service) -> Result<(), String> {
    let (base, most) = (service.jobs.retry_base_ms, service.jobs.retry_max_ms);
    if base.get() > most.get() {
        return Err(format!(
            "jobs.retry_base_ms is {base} and jobs.retry_max_ms {most}: the base may be at most \
             the maximum"
        ));
    }
    let all = &service.cron;
    if all.len() > MAX_CRON {
        return Err(format!("cron has {} entries, {MAX_CRON} are allowed", all.len()));
    }
    if !all.is_empty() && !service.wasm.enabled {
        return Err(
            "cron calls the guest, yet wasm.enabled is false: remove one of them".to_owned()
        );
    }
    for (at, entry) in all.iter().enumerate() {
        for (set, name) in [
            (!entry.name.0.is_empty(), "name"),
            (!entry.schedule.0.is_empty(), "schedule"),
            (!entry.route.0.is_empty(), "route"),
        ] {
            if !set {
                return Err(format!("cron[{at}] has no {name}: set it"));
            }
        }
        let name = &entry.name;
        if all[..at].iter().any(|other| other.name == *name) {
            return Err(format!("two entries of cron are called '{name}': rename one of them"));
        }
        Times::parse(&entry.schedule.0, &entry.timezone.0)
            .map_err(|why| format!("cron: the entry '{name}': {why}"))?;
    }
    Ok(())
}

/// The reference of all settings, as Markdown.
pub fn reference() -> String {
    format!(
        "# Settings\n\nBoth files are optional, and so is every setting. Unknown settings are refused. \
         Sizes take a unit: B, KiB, MiB or GiB. Printed by `planck --settings`.\n\n{}\n{}",
        table::reference::<Db>("db.yaml"),
        table::reference::<Service>("service.yaml")
    )
}

#[cfg(test)]
mod tests;
