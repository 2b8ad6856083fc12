//! Open files: how many there may be, and which may be served.
//!
//! Invariants: connections never take the descriptors that the log and the trees
//! need; what is private to the service is never below `http.static_dir`.

use crate::config::Config;
use crate::service::Stop;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

/// Descriptors kept for data files, listeners and the log.
const RESERVED: usize = 192;
/// What the wire admits before it knows who is calling.
const UNAUTHENTICATED: usize = 64;

/// Asks for as many descriptors as this process may have.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!("the limit of open files could not be raised: {error}");
    }
}

/// HTTP connections that leave the descriptors everything else needs.
pub fn connections(wanted: usize, config: &Config) -> usize {
    let sessions = usize::try_from(config.db.max_sessions.get()).unwrap_or(usize::MAX);
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let kept = RESERVED.saturating_add(UNAUTHENTICATED).saturating_add(sessions);
    let most = limit.saturating_sub(kept).max(1);
    if wanted > most {
        tracing::warn!(
            "http.max_connections is {wanted}, but this process may open {limit} files: {most} \
             connections are let in; raise the limit (ulimit -n, LimitNOFILE) for more"
        );
    }
    wanted.min(most)
}

/// Refuses to serve a directory that holds, or lies in, what is private.
pub fn check_static_dir(config: &Config, directory: &Path) -> Result<(), Stop> {
    let real = |path: &Path| path.canonicalize().ok();
    let Some(root) = real(directory) else { return Ok(()) };
    let mut private = vec![config.dir.clone()];
    for tls in [&config.db.tls, &config.service.clone().unwrap_or_default().tls] {
        private.extend(tls.key_file.iter().map(|path| config.path(&path.0)));
    }
    let copies = [&config.db.backup.dest_path, &config.db.durability.log_archive.dest_path];
    let copies = copies.map(|path| config.path(&path.0));
    private.extend(copies.clone());
    let holds = private.iter().filter_map(|path| real(path)).any(|path| path.starts_with(&root));
    let inside = ["data", "tls", "cache", "run"].map(|name| config.path(name));
    let lies = inside
        .iter()
        .chain(&copies)
        .filter_map(|path| real(path))
        .any(|path| root.starts_with(path));
    if holds || lies {
        return Err(Stop::config(format!(
            "service.yaml: http.static_dir is {}, where keys or data of the service lie: give it a \
             folder of its own, such as static",
            directory.display()
        )));
    }
    Ok(())
}
